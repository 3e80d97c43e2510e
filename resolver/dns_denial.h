/*
 * Proofs that something does not exist: NSEC (RFC 4034 4, RFC 4035 5.4, RFC
 * 6840 4) and NSEC3 (RFC 5155 8, RFC 9276).  Pure functions over records that
 * have been verified already.
 */
#ifndef RESOLVER_DNS_DENIAL_H
#define RESOLVER_DNS_DENIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "resolver/dns_verify.h"

#define DNS_DENIAL_MAX 10		/* records of a kind per zone */
#define DNS_DENIAL_SEEN_MAX 40		/* of all zones in one message */
#define DNS_NSEC3_BOGUS 150		/* RFC 9276 3.2: never more */

/* The proven NSEC or NSEC3 records of one zone in one message. */
struct dns_denial {
	const uint8_t *zone;
	size_t nsec_count, nsec3_count;
	const struct dns_rr *nsec[DNS_DENIAL_MAX];
	const struct dns_rr *nsec3[DNS_DENIAL_MAX];
	unsigned iterations_max;	/* above: DNS_OPEN */
	struct dns_budget *budget;
};

struct dns_proof {
	enum dns_verdict verdict;
	const char *why;		/* static; when not GOOD */
};

/* The name exists, the type (and CNAME) does not. */
struct dns_proof dns_deny_type(const struct dns_denial *, const uint8_t *name,
	uint16_t type);
/* The name does not exist, and no wildcard stands for it. */
struct dns_proof dns_deny_name(const struct dns_denial *,
	const uint8_t *name);
/* The name itself does not exist, so that the wildcard below the ancestor of
 * so many labels answered rightly (RFC 4035 5.3.4, RFC 5155 8.8). */
struct dns_proof dns_deny_exact(const struct dns_denial *,
	const uint8_t *name, unsigned labels);

/* What the zone says of a delegation at name, when there is no DS record. */
enum dns_cut {
	DNS_CUT_UNPROVEN = 0,
	DNS_CUT_INSECURE,	/* delegated without DS, or under opt-out */
	DNS_CUT_NONE,		/* not a delegation */
	DNS_CUT_EXCEEDED
};
enum dns_cut dns_deny_ds(const struct dns_denial *, const uint8_t *name,
	const char **why_out);

/* For the two halves of this module. */
enum { DNS_BIT_NS = 2, DNS_BIT_CNAME = 5, DNS_BIT_SOA = 6, DNS_BIT_DNAME = 39,
	DNS_BIT_DS = 43 };
bool dns_bitmap_has(const uint8_t *map, size_t len, uint16_t type);
struct dns_proof dns_nsec3_deny_type(const struct dns_denial *,
	const uint8_t *name, uint16_t type);
struct dns_proof dns_nsec3_deny_name(const struct dns_denial *,
	const uint8_t *name);
struct dns_proof dns_nsec3_deny_exact(const struct dns_denial *,
	const uint8_t *name, unsigned labels);
enum dns_cut dns_nsec3_deny_ds(const struct dns_denial *,
	const uint8_t *name, const char **why_out);

#endif
