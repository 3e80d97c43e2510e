/*
 * One domain, looked at in the order in which delivery goes: route and
 * MTA-STS policy, then all hosts at once, each for itself.
 *
 * check_domain_start() gives exactly one callback, never from within, or is
 * cancelled; the facts are then the callback's (check_facts_free).
 */
#ifndef SMTPD_OUT_CHECK_DOMAIN_H
#define SMTPD_OUT_CHECK_DOMAIN_H

#include "smtpd-out/check/check_env.h"
#include "smtpd-out/check/check_facts.h"

struct check_domain;
typedef void check_domain_cb(struct check_facts *, void *arg);

/* domain: normalised, or a literal as str_address() gives it. */
struct check_domain *check_domain_start(struct check_env *,
	const char *domain, check_domain_cb *, void *arg);
void check_domain_cancel(struct check_domain **);

#endif
