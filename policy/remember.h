/*
 * What is remembered of a host's TLS, and what follows from it: trust on first
 * use, for hosts that publish no policy (RFC 7435).  Pure functions.
 *
 * The level fades: a host that gave less, but TLS still, for long enough is
 * remembered by that; one that was not seen with TLS at all is forgotten.
 */
#ifndef POLICY_REMEMBER_H
#define POLICY_REMEMBER_H

#include "policy/demand.h"

enum remember_level {		/* stored: never renumber */
	REMEMBER_NONE = 0,	/* nothing known, or clear text */
	REMEMBER_ENCRYPTED,	/* TLS, nobody verified */
	REMEMBER_VERIFIED,	/* TLS, verified by the host's own records */
	REMEMBER_LEVELS
};

#define REMEMBER_HOSTS_MAX 50000
#define REMEMBER_FRESH_S INT64_C(86400)		/* no need to store again */
#define REMEMBER_FADE_S (30 * INT64_C(86400))	/* less may take its place */
#define REMEMBER_EXPIRE_S (60 * INT64_C(86400))	/* forgotten */

struct remembered {
	enum remember_level level;
	int64_t last_s;		/* when that level was last achieved */
};

const char *remember_level_name(enum remember_level);

/* What a session under that demand shows of the host.  That a rule of ours had
 * its certificate verified says nothing of the next destination there. */
enum remember_level remember_shown(const struct demand *, bool tls_active);
/* True when such a session is worse than what was seen before, and nobody here
 * chose that. */
bool remember_is_downgrade(const struct demand *, bool tls_active,
	enum remember_level had);
/* What counts at that time; had may be NULL. */
enum remember_level remember_present(const struct remembered *had,
	int64_t now_s);
/* True when what was shown is to be stored in the place of had (or NULL). */
bool remember_changes(const struct remembered *had, enum remember_level shown,
	int64_t now_s);
/* remember-tls = require: no clear text where there was TLS before.  True when
 * it changed the demand.  What the operator said of this host (no TLS, a rule
 * with override) or the sender of his message (RFC 8689 section 5) stands. */
bool remember_raise(struct demand *, enum remember_level had);

#endif
