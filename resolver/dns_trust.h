/*
 * From zone to zone: what a parent says of a child, and whether the child's
 * keys are the right ones (RFC 4035 5.2).  Pure.
 */
#ifndef RESOLVER_DNS_TRUST_H
#define RESOLVER_DNS_TRUST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "resolver/dns_denial.h"
#include "resolver/dns_key.h"
#include "resolver/dns_parse.h"
#include "resolver/dns_verify.h"

#define DNS_DS_MAX 16		/* DS records looked at */
#define DNS_DS_BYTES 52		/* 4 and a SHA-384 */
#define DNS_DS_MISSES_MAX 4	/* digests that fit a tag but no key */

struct dns_ds_list {
	size_t count;
	struct {
		uint8_t bytes[DNS_DS_BYTES];	/* RDATA */
		size_t len;
	} ds[DNS_DS_MAX];
};

struct dns_check {
	struct dns_when when;
	struct dns_budget *budget;
	unsigned iterations_max;
};

/* Adds what can be used: known algorithm and digest; SHA-1 only where nothing
 * better is given (RFC 4509 3). */
void dns_ds_list_add(struct dns_ds_list *, const uint8_t *ds, size_t len);
void dns_ds_list_filter(struct dns_ds_list *);

enum dns_child {
	DNS_CHILD_BOGUS = 0,	/* unproven */
	DNS_CHILD_SIGNED,	/* with usable DS records */
	DNS_CHILD_INSECURE,	/* without, or with unusable ones only */
	DNS_CHILD_SAME_ZONE,	/* not a child: no cut here */
	DNS_CHILD_EXCEEDED
};

/* Judges the answer to (name, DS) with the keys of the zone above. */
enum dns_child dns_trust_child(const struct dns_msg *, const uint8_t *name,
	const struct dns_keys *parent, const struct dns_check *,
	struct dns_ds_list *ds_out, uint32_t *ttl_out, const char **why_out);

/* Judges the answer to (name, DNSKEY); NULL and a reason when no key that
 * fits the DS records has signed the keys. */
struct dns_keys *dns_trust_keys(const struct dns_msg *, const uint8_t *name,
	const struct dns_ds_list *, const struct dns_check *,
	uint32_t *ttl_out, bool *exceeded_out, const char **why_out);

/* Gathers the NSEC and NSEC3 records of the authority section that are signed
 * by the zone.  BAD when one does not verify, EXCEEDED when there are too
 * many. */
struct dns_verified dns_trust_denial(const struct dns_msg *,
	const struct dns_keys *zone, const struct dns_check *,
	struct dns_denial *out);

#endif
