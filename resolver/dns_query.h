/*
 * Carries questions to the configured resolvers and brings back parsed,
 * plausible answers.  c-ares does the packets (UDP, repeated over TCP when
 * truncated); everything else is here: choice of server, fail-over, checks of
 * the answer against the question.  Identical questions under way are asked
 * once.
 *
 * A callback comes once, from the loop, never inside dns_query_start() or
 * dns_query_cancel().
 */
#ifndef RESOLVER_DNS_QUERY_H
#define RESOLVER_DNS_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "base/err.h"
#include "resolver/dns_parse.h"

#define DNS_SERVERS_MAX 8
#define DNS_WHY_MAX 256

struct event_base;
struct dns_query;	/* the carrier */
struct dns_ask;		/* one who waits for an answer */

struct dns_query_conf {
	const struct conf_addr *servers;	/* copied */
	size_t server_count;			/* 1 to DNS_SERVERS_MAX */
	int64_t timeout_ms;			/* of one try */
	unsigned tries;				/* per server */
	bool want_dnssec;	/* DO=1; an answer without is a failure */
	bool checking_disabled;	/* CD=1: we validate, not the resolver */
	bool want_ad;		/* AD=1 (RFC 6840 5.7) */
};

/* What came of a question: a message with NOERROR or NXDOMAIN, or none and
 * why.  The callback owns msg. */
struct dns_reply {
	struct dns_msg *msg;
	const char *why;	/* when there is no msg */
	int ede;		/* RFC 8914 code of a failure, -1 none */
	bool no_dnssec;		/* a server answered without EDNS or DO */
	bool reached;		/* some server answered something */
};
typedef void dns_ask_cb(const struct dns_reply *, void *arg);

enum status dns_query_new(struct event_base *, const struct dns_query_conf *,
	struct dns_query **out, char err[CONF_ERR_MAX]) MUST_CHECK;
void dns_query_free(struct dns_query **);	/* no callback after this */
struct dns_ask *dns_query_start(struct dns_query *, const uint8_t *name,
	uint16_t type, dns_ask_cb *, void *arg);
void dns_query_cancel(struct dns_ask **);

/* Asks another server first from now on: what this one says is not true. */
void dns_query_rotate(struct dns_query *);
size_t dns_query_servers(const struct dns_query *);

struct dns_query_stats {
	uint64_t packets, timeouts, malformed, refused;
	size_t in_flight;
	/* When some server answered something last: monotonic, 0 for never.
	 * A question that stays without an answer while nothing else is heard
	 * has another asked beside it, which any server can answer, and ends
	 * no sooner: so that silence of one name and of all servers can be
	 * told apart. */
	int64_t heard_ms;
};
void dns_query_stats(const struct dns_query *, struct dns_query_stats *out);

#endif
