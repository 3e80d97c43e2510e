/*
 * One lookup: a name and a type, followed through CNAME and DNAME links and
 * as many questions as they need, to one answer.  For resolver.c alone.
 *
 * The callback comes once, from the loop, never inside start or cancel.
 */
#ifndef RESOLVER_DNS_LOOKUP_H
#define RESOLVER_DNS_LOOKUP_H

#include "base/conf.h"
#include "resolver/dns_query.h"
#include "resolver/dns_zones.h"
#include "resolver/resolver.h"

struct dns_lookup;

/* What all lookups of a resolver share. */
struct dns_lookup_env {
	struct event_base *base;
	struct dns_query *query;
	struct dns_zones *zones;	/* NULL unless we validate */
	enum conf_dnssec dnssec;
	int64_t lookup_ms;
	uint32_t min_ttl_s, max_ttl_s;
};

/* Beside the answer: what a failure may say of the resolver. */
struct dns_lookup_facts {
	bool no_dnssec;		/* it answers without EDNS or DO */
	bool reached;		/* it answers */
};

/* The callback owns the answer. */
typedef void dns_lookup_cb(struct dns_answer *,
	const struct dns_lookup_facts *, void *arg);

struct dns_lookup *dns_lookup_start(const struct dns_lookup_env *,
	const uint8_t *name, uint16_t type, dns_lookup_cb *, void *arg);
void dns_lookup_cancel(struct dns_lookup **);

#endif
