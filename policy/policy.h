/*
 * What transport security a delivery demands: plain data, computed before any
 * connection is made, never weakened afterwards.  Pure functions.
 */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include "base/conf.h"

enum demand_level {
	DEMAND_NONE = 0,	/* do not use TLS */
	DEMAND_MAY,		/* use TLS when offered, any certificate; fall
				 * back to clear text (RFC 7435) */
	DEMAND_ENCRYPT		/* TLS or nothing, certificate not verified */
};

enum demand_why {		/* the rule that decided; why= in the log */
	WHY_DEFAULT = 0,	/* nobody demanded anything */
	WHY_LOCAL,		/* a destination rule */
	WHY_REQUIRE_TLS		/* require-tls = yes */
};

struct demand {
	enum demand_level level;
	enum demand_why why;
};

const char *demand_level_name(enum demand_level);
const char *demand_why_name(enum demand_why);
/* True when clear text must never carry the message. */
bool demand_forbids_clear(const struct demand *);

/* The demand for every host of a destination, from local rules alone. */
struct demand policy_local(const struct conf *, const char *destination);

#endif
