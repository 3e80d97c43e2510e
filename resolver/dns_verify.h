/*
 * Is this set of records signed by this zone?  Pure: records, keys and the
 * time in, a verdict out (RFC 4035 5.3, RFC 6840).
 */
#ifndef RESOLVER_DNS_VERIFY_H
#define RESOLVER_DNS_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "resolver/dns_key.h"
#include "resolver/dns_parse.h"

/* Bounds against CVE-2023-50387 (KeyTrap) and its like. */
#define DNS_SET_CHECKS_MAX 8	/* signature checks per set */
#define DNS_TAG_KEYS_MAX 2	/* keys tried per signature */

/* What is left to spend; shared by all sets of one lookup or one zone. */
struct dns_budget {
	unsigned checks;	/* of signatures */
	unsigned hashes;	/* NSEC3 */
};

struct dns_when {
	int64_t now_s;
	int64_t skew_s;		/* allowed difference of clocks */
};

enum dns_verdict {
	DNS_BAD = 0,	/* not proven; see why */
	DNS_GOOD,	/* proven */
	DNS_OPEN,	/* proven to be of no status: opt-out, iterations */
	DNS_EXCEEDED	/* a bound was met: nothing is known */
};

struct dns_verified {
	enum dns_verdict verdict;
	const char *why;	/* static; when not GOOD */
	uint32_t ttl;		/* capped by original TTL and expiry */
	bool wildcard;		/* made from a wildcard ... */
	unsigned labels;	/* ... whose parent has so many labels */
};

void dns_verify(const struct dns_set *, const struct dns_keys *,
	const struct dns_when *, struct dns_budget *,
	struct dns_verified *out);

/* The zone that a set claims to be signed by: the deepest signer that can be
 * (RFC 4035 5.3.1); NULL when there is none. */
const uint8_t *dns_verify_signer(const struct dns_set *);

#endif
