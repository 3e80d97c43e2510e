/*
 * Where mail for a destination goes: hosts in order, each with addresses.
 *
 * route_start() gives exactly one callback, never from within, or is
 * cancelled.  The route is then the caller's (route_free).  RFC 5321 5.1,
 * RFC 7505 (null MX); hosts of one preference are in random order; hosts that
 * are this machine and those not preferred to it are left out.
 */
#ifndef SMTPD_OUT_ROUTE_H
#define SMTPD_OUT_ROUTE_H

#include "base/conf.h"
#include "base/err.h"
#include "base/str.h"
#include "policy/sts_view.h"
#include "resolver/resolver.h"
#include "smtpd-out/client/session.h"

#define ROUTE_HOSTS_MAX 16	/* MX hosts looked at, by preference */

struct route_host {
	char *name;		/* MX host, or "[literal]" */
	uint16_t preference;
	struct session_addr *addrs;
	size_t addr_count;	/* SESSION_ADDRS_MAX; 0: see outcome */
	enum dns_security mx_security;	/* of the MX RRset or its denial */
	enum dns_security address_security;	/* weakest of those found */
	enum dns_security chain_security;	/* of the aliases alone */
	char canonical[STR_DOMAIN_MAX];	/* name after aliases */
	int64_t fresh_until_ms;	/* monotonic: DNS says no more than that */
	struct outcome outcome;	/* why there is no address */
};

struct route {
	bool relay;		/* named by a rule: no MX was looked up */
	uint16_t port;
	struct route_host *hosts;
	size_t host_count;
	struct outcome outcome;	/* when host_count is 0: verdict != NONE */
	char *bogus;		/* then, and where its tls_failure tells of
				 * the addresses of a host: which one */
	bool proven;		/* DNSSEC says so; false for addresses */
};

/* Why there is no host, for a destination with that MTA-STS policy (NULL: not
 * asked for): whoever forges DNS must not have mail returned that an enforced
 * policy protects, or may protect. */
struct outcome route_outcome(const struct route *, const char *destination,
	const struct sts_view *);

/* This machine's own addresses, for loop detection; read once at start
 * (before the sandbox), from the configuration or the interfaces. */
struct route_local;
struct route_local *route_local_new(const struct conf *);
void route_local_free(struct route_local **);
bool route_local_match(const struct route_local *, const struct sockaddr *);

struct route_lookup;
typedef void route_cb(struct route *, void *arg);
struct route_lookup *route_start(struct event_base *, struct resolver *,
	const struct conf *, const struct route_local *,
	const char *destination, route_cb *, void *arg);
void route_cancel(struct route_lookup **);
void route_free(struct route **);

/* Pure: puts hosts in the order of attempts and removes this machine and what
 * is not preferred to it; sets the outcome when nothing is left.  random is
 * called for any 32 bits. */
void route_arrange(struct route *, const char *destination,
	const char *hostname, const struct route_local *,
	uint32_t (*random)(void));

#endif
