/*
 * Raw packets to one resolver and back, through c-ares; for dns_query alone.
 *
 * The callback runs from inside c-ares, possibly inside dns_carrier_send():
 * it must only take note.  reply is NULL when none came.
 */
#ifndef RESOLVER_DNS_CARRIER_H
#define RESOLVER_DNS_CARRIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct event_base;
struct dns_carrier;

/* status_text says why there is no reply; static. */
typedef void dns_carrier_cb(void *arg, const uint8_t *reply, size_t len,
	bool timeout, const char *status_text);

/* server is "ADDR:PORT" or "[ADDR]:PORT".  tcp: never use UDP. */
enum status dns_carrier_new(struct event_base *, const char *server, bool tcp,
	int64_t timeout_ms, struct dns_carrier **out) MUST_CHECK;
/* Calls back for all that is under way; not from a callback. */
void dns_carrier_free(struct dns_carrier **);
void dns_carrier_send(struct dns_carrier *, const uint8_t *packet, size_t len,
	dns_carrier_cb *, void *arg);
/* No more should be sent before an answer has come. */
bool dns_carrier_full(const struct dns_carrier *);
size_t dns_carrier_in_flight(const struct dns_carrier *);
/* Lets c-ares look for timeouts; to be called a few times a second. */
void dns_carrier_tick(struct dns_carrier *);

#endif
