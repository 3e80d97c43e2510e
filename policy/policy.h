/*
 * What transport security a delivery demands of each host: decided from local
 * rules and DNS answers before any connection is made.  Pure functions.
 *
 * Order (RFC 7672 section 2, smtpd-out.conf(5)): a local rule sets a floor, or
 * with pkix or fingerprint takes the place of the search; TLSA records decide
 * where they are published; else an MTA-STS policy of the destination that says
 * enforce (RFC 8461), which knows its hosts by name and verifies them; else the
 * floor stands.  A rule never weakens what DANE or MTA-STS demand unless it
 * says override.
 *
 * MTA-STS never makes up for DANE that fails (RFC 8461 section 2).  The other
 * way round DANE decides alone only where signed MX records name the host: with
 * unsigned ones anybody can name a host that has TLSA records of its own, so
 * that the policy must name it too.  A rule that verifies by pkix or by
 * fingerprint takes the place of MTA-STS when it speaks for the destination;
 * speaking for the host it does so only for hosts that the policy names.
 *
 * A message may have a demand of its own (RFC 8689), which outweighs these:
 *
 * REQUIRETLS	TLS with a verified certificate: by DANE, by a rule that
 *		verifies, or by PKIX for a host name that is itself proven
 *		(section 4.2.1), by signed MX records or by an MTA-STS policy
 *		in force.  Nothing weakens it, override neither.
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
#include "policy/sts.h"
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
	/* The destination's MTA-STS policy in force, or NULL; or why it cannot
	 * be known now whether there is one, which must not pass for none. */
	const struct sts_policy *sts;
	const struct outcome *sts_later;
};

enum policy_sts {	/* what an MTA-STS policy may do beside the rules */
	POLICY_STS_OFF = 0,	/* nothing */
	POLICY_STS_HOSTS,	/* rule hosts out */
	POLICY_STS_FULL		/* and demand a verified certificate */
};

/* What the local rules say, and what matters beside them. */
struct policy_plan {
	struct demand *floor;		/* owned */
	bool want_tlsa;
	enum policy_sts sts;
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

/* Then also: whose demand that was. */
enum demand_why policy_blame(const struct policy_host *,
	const struct policy_plan *, enum dane_finding);

/* A rule whose until has passed does not count. */
bool policy_rule_expired(const struct conf_destination *, int64_t now_s);

#endif
