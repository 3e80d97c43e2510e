/*
 * How much a destination, an MX host and all together may be given: what the
 * operator set at run time, else what the configuration says, else the
 * defaults of `limit`.
 *
 * The first that says something counts, for each value: the rule at run time
 * for exactly this name, the one for the longest parent domain, the same two
 * of the configuration, `limit`.
 */
#ifndef SMTPD_OUT_LIMITS_H
#define SMTPD_OUT_LIMITS_H

#include "smtpd-out/ipc/ipc_limits.h"

struct limits;

/* conf is borrowed. */
struct limits *limits_new(const struct conf *);
void limits_free(struct limits **);
void limits_set(struct limits *, const struct msg_limits *);
/* Changes with each limits_set(), so that copies can be made anew. */
unsigned limits_generation(const struct limits *);

/* Of a destination; all of its mail is in one worker.  connections and
 * recipients are never 0; a rate of 0 is no bound. */
void limits_get(const struct limits *, const char *destination,
	struct conf_bounds *out);
/* This worker's part, rounded up, of what holds for an MX host and for all;
 * connections 0 is no bound, recipients is not used. */
void limits_get_host(const struct limits *, const char *host,
	struct conf_bounds *out);
void limits_get_total(const struct limits *, struct conf_bounds *out);

#endif
