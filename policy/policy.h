/*
 * What transport security a delivery demands of each host: decided from local
 * rules and DNS answers before any connection is made.  Pure functions.
 *
 * Order (RFC 7672 section 2, smtpd-out.conf(5)): a local rule sets a floor, or
 * with pkix or fingerprint takes the place of the search; TLSA records decide
 * where they are published; else the floor stands.  A rule never weakens what
 * DANE demands unless it says override.
 *
 * A message may have a demand of its own (RFC 8689), which outweighs these:
 *
 * REQUIRETLS	TLS with a verified certificate: by DANE, by a rule that
 *		verifies, or by PKIX for a host name that is itself proven
 *		(section 4.2.1).  Nothing weakens it, override neither.
 * TLS-Required: No
 *		opportunistic TLS; of the rules only those count that say
 *		override, or that choose the relay: that is our own side.
 */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include <netinet/in.h>

#include "base/conf.h"
#include "base/envelope.h"
#include "policy/dane.h"
#include "policy/demand.h"
#include "resolver/resolver.h"

enum policy_message {
	POLICY_MESSAGE_PLAIN = 0,	/* demands nothing */
	POLICY_MESSAGE_REQUIRE,		/* REQUIRETLS */
	POLICY_MESSAGE_OPTIONAL		/* "TLS-Required: No" */
};

/* From enum envelope_flag bits; REQUIRETLS outweighs the header field. */
enum policy_message policy_message(unsigned envelope_flags);

struct policy_host {
	const char *destination;
	const char *host;		/* MX host, or the configured relay */
	const struct sockaddr *const *addrs;	/* any may be connected to */
	size_t addr_count;
	bool relay;			/* named by a local rule, not by MX */
	enum dns_security mx;		/* of the MX RRset or its denial */
	enum policy_message message;
	int64_t now_s;			/* for rules with `until` */
};

/* What the local rules say, and whether TLSA matters beside them. */
struct policy_plan {
	struct demand *floor;		/* owned */
	bool want_tlsa;
	bool dane_only;
	bool unproved;			/* dane-only for the destination, but
					 * unsigned MX records led here */
	bool of_host;			/* the rule names the host */
	bool overridden;		/* by a rule that may weaken: log it */
};

void policy_plan(const struct conf *, const struct policy_host *,
	struct policy_plan *out);
void policy_plan_clear(struct policy_plan *);

/*
 * The final demand.  found holds the usable TLSA records of `base` (may be NULL
 * unless finding is DANE_FOUND).  NULL when the host must not be used; why is
 * then set: scope HOST, verdict LATER, or NEVER when the message needs what
 * this host cannot give.
 */
struct demand *policy_decide(const struct conf *, const struct policy_host *,
	const struct policy_plan *, enum dane_finding,
	const struct demand *found, const char *base, struct outcome *why);

/* A rule whose until has passed does not count. */
bool policy_rule_expired(const struct conf_destination *, int64_t now_s);

#endif
