/*
 * What is known of zones: which names are signed zones and with what keys,
 * which are proven to be without, which failed.  Shared by all lookups of a
 * resolver; asks for DS and DNSKEY records as needed.
 *
 * There is one entry per name on the way down from the root.  Each is settled
 * from its parent's entry, the answer to (name, DS) and the answer to
 * (name, DNSKEY), in whatever order they come; all three can be under way at
 * once, so that a chain takes one round trip.
 */
#ifndef RESOLVER_DNS_ZONES_H
#define RESOLVER_DNS_ZONES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "resolver/dns_query.h"
#include "resolver/dns_trust.h"

struct dns_zones;
struct dns_zones_wait;

/* Bounds of the work for one entry. */
#define DNS_ZONE_CHECKS 16
#define DNS_ZONE_HASHES 32
/* New entries for which one lookup may be the cause. */
#define DNS_ZONES_PER_LOOKUP 20

enum dns_trust {
	DNS_TRUST_WAIT = 0,	/* not settled yet */
	DNS_TRUST_SECURE,	/* the name lies in a zone with these keys */
	DNS_TRUST_INSECURE,	/* proven to be in no signed zone */
	DNS_TRUST_BOGUS,	/* should be signed, proof fails */
	DNS_TRUST_LATER		/* could not be found out */
};

/* All borrowed: good until the caller returns to the loop. */
struct dns_zone_info {
	enum dns_trust trust;
	const struct dns_keys *keys;	/* SECURE; keys->zone is the zone */
	const char *why;		/* when neither SECURE nor WAIT */
	int64_t left_s;			/* how long this holds */
	bool no_dnssec, reached;	/* of LATER; see struct dns_reply */
	const uint8_t *wait_name;	/* WAIT: for dns_zones_wait() */
};

struct dns_zones_conf {
	struct event_base *base;
	struct dns_query *query;
	const struct dns_ds_list *anchor;	/* copied */
	int64_t skew_s;
	unsigned iterations_max;
	size_t entries_max;
	int64_t max_ttl_s;
};

struct dns_zones *dns_zones_new(const struct dns_zones_conf *);
void dns_zones_free(struct dns_zones **);	/* no callback after this */
void dns_zones_flush(struct dns_zones *);
/* Only what failed. */
void dns_zones_forgive(struct dns_zones *);

/* Of the zone that `name` lies in.  Starts to find out when unknown, as long
 * as *quota (new entries) lasts; then LATER.  both: a name that is likely to
 * be a zone, so ask for DS and DNSKEY at once. */
void dns_zones_find(struct dns_zones *, const uint8_t *name, bool both,
	unsigned *quota, struct dns_zone_info *out);
/* Calls back once, from the loop, when the entry of wait_name is settled;
 * then dns_zones_find() knows more. */
struct dns_zones_wait *dns_zones_wait(struct dns_zones *,
	const uint8_t *name, void (*cb)(void *arg), void *arg);
void dns_zones_cancel(struct dns_zones_wait **);

/* For `check --dns`: what is known of exactly this name, without asking; a
 * sentence in out; false when nothing is known. */
bool dns_zones_explain(struct dns_zones *, const uint8_t *name, char *out,
	size_t out_bytes);
void dns_zones_check(const struct dns_zones *, struct dns_check *out);

struct dns_zones_stats {
	uint64_t checks;	/* signatures checked for zones */
	size_t entries;
};
void dns_zones_stats(const struct dns_zones *, struct dns_zones_stats *out);

#endif
