/*
 * Builds DNS messages for tests from lines of zone-file text.
 */
#ifndef TESTS_LIB_DNSPKT_H
#define TESTS_LIB_DNSPKT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dnspkt {
	uint8_t bytes[65536];
	size_t len;
	size_t opt_len;	/* the OPT record stays last */
};

enum { PKT_DO = 1, PKT_NO_OPT = 2, PKT_AD = 4, PKT_TC = 8, PKT_EDE = 16 };

/* A response to (name, type); flags are PKT_*. */
void dnspkt_start(struct dnspkt *, uint16_t id, const char *name,
	uint16_t type, unsigned rcode, unsigned flags);
/* section: 0 answer, 1 authority, 2 additional; in that order. */
void dnspkt_add(struct dnspkt *, int section, const char *line);
/* A record of any shape. */
void dnspkt_raw(struct dnspkt *, int section, const char *owner,
	uint16_t type, uint32_t ttl, const void *rdata, size_t len);
/* The question section of a query as it came, with its case. */
void dnspkt_echo(struct dnspkt *, const uint8_t *query, size_t len);

#endif
