/*
 * MTA-STS: what follows from the record of a domain and from what is cached of
 * it (RFC 8461 sections 3.3, 5 and 5.1).  Pure functions.
 *
 * A policy in force outlasts its record, a new id that cannot be fetched, and
 * DNS that fails: whoever can only take things away from us switches nothing
 * off.
 */
#ifndef POLICY_STS_STATE_H
#define POLICY_STS_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/sts.h"

enum sts_act {
	STS_ACT_NONE = 0,	/* as if there were no policy */
	STS_ACT_USE,		/* what is cached */
	STS_ACT_LIST,		/* what a list of the operator's says */
	STS_ACT_FETCH,		/* fetch, then decide again */
	STS_ACT_DEFER		/* it cannot be known: mail waits */
};

const char *sts_act_name(enum sts_act);

struct sts_known {		/* at one moment */
	enum sts_finding finding;
	bool in_force;		/* a policy is cached and has not expired */
	bool same_id;		/* and the record has its id */
	bool backing_off;	/* a failed fetch is not to be repeated yet */
	bool listed;		/* a list has a policy, in whatever mode */
	bool list_enforces;	/* and it protects */
	bool may_ignore;	/* mta-sts { dns-failure = ignore } */
};

enum sts_act sts_decide(const struct sts_known *);

/* How long to wait after that many failures in a row: doubling. */
int64_t sts_backoff_s(uint32_t failures, int64_t first_s, int64_t max_s);

#endif
