/*
 * A scripted DNS server on loopback, UDP and TCP on one ephemeral port, in
 * the loop of the test.
 */
#ifndef TESTS_LIB_DNSFAKE_H
#define TESTS_LIB_DNSFAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "tests/lib/dnspkt.h"

struct event_base;
struct dnsfake;

struct dnsfake_query {
	struct dnsfake *fake;
	const uint8_t *bytes;
	size_t len;
	char name[1024];	/* lower case */
	uint16_t type;
	bool tcp;
};

/* Answers by calling dnsfake_send() any number of times, also none. */
typedef void dnsfake_cb(const struct dnsfake_query *, void *arg);

struct dnsfake *dnsfake_new(struct event_base *, dnsfake_cb *, void *arg);
void dnsfake_free(struct dnsfake **);
void dnsfake_send(const struct dnsfake_query *, const struct dnspkt *);
void dnsfake_addr(const struct dnsfake *, struct conf_addr *out);
unsigned dnsfake_seen(const struct dnsfake *);

#endif
