/*
 * Can validation work through this resolver?  Asks for the root's keys and
 * for a proof of absence, and says what is wrong when they cannot be proven.
 */
#ifndef RESOLVER_DNS_PROBE_H
#define RESOLVER_DNS_PROBE_H

#include "resolver/dns_query.h"
#include "resolver/dns_trust.h"
#include "resolver/resolver.h"

struct dns_probe;

/* The callback comes once, from the loop; why is good within it. */
typedef void dns_probe_cb(enum resolver_state, const char *why, void *arg);

struct dns_probe *dns_probe_start(struct dns_query *,
	const struct dns_ds_list *anchor, int64_t skew_s, dns_probe_cb *,
	void *arg);
void dns_probe_cancel(struct dns_probe **);

/* The judgement alone: the answers to (., DNSKEY) and (., DS).  why is filled
 * in unless VALIDATING. */
enum resolver_state dns_probe_judge(const struct dns_reply *key,
	const struct dns_reply *ds, const struct dns_ds_list *anchor,
	const struct dns_when *, char why[DNS_WHY_MAX]);

#endif
