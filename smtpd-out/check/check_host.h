/*
 * One host of a route, looked at: what policy demands of it, and what a
 * session under that demand finds, up to the second EHLO; no mail is begun.
 *
 * check_host_start() gives exactly one callback, never from within, or is
 * cancelled; the facts are then complete.
 */
#ifndef SMTPD_OUT_CHECK_HOST_H
#define SMTPD_OUT_CHECK_HOST_H

#include "smtpd-out/check/check_env.h"

struct check_run;
typedef void check_host_cb(void *arg);

struct check_host_query {
	const char *domain;		/* outlives the run, as all here */
	const struct route *route;
	size_t host;			/* of the route */
	const struct sts_view *sts;	/* or NULL */
	struct check_host *facts;	/* filled in; name and the like are */
};

struct check_run *check_host_start(struct check_env *,
	const struct check_host_query *, check_host_cb *, void *arg);
void check_host_cancel(struct check_run **);

#endif
