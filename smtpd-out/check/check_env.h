/*
 * What all domains of one run of `check` share: the parts of a worker
 * (resolver, TLS client, MTA-STS table) without a parent, and the daemon's
 * answers in its place.
 */
#ifndef SMTPD_OUT_CHECK_ENV_H
#define SMTPD_OUT_CHECK_ENV_H

#include "policy/sts_fetch.h"
#include "smtpd-out/check/check_daemon.h"
#include "smtpd-out/check/check_facts.h"
#include "smtpd-out/client/session.h"

#define CHECK_HOST_MS 120000	/* for all that is tried with one host */

struct event_base;

struct check_options {
	bool connect;		/* live tests */
	bool auth;		/* with the password of a relay */
	const char *only_mx;	/* normalised host, or NULL */
	int64_t host_ms;	/* 0: CHECK_HOST_MS */
};

struct check_env {
	struct event_base *base;
	const struct conf *conf;
	struct check_options options;
	bool as_service;	/* what we cannot read delivery cannot */
	struct resolver *resolver;
	struct route_local *local;
	struct session_env session;	/* with env.sts, env.memory */
	struct sts_fetch_env fetch;	/* for a live look at a policy */
	struct check_daemon *daemon;
	enum resolver_state resolver_state;
	char resolver_text[CHECK_TEXT_MAX];
	struct check_sts_port *sts_port;
};

/* NULL with a sentence in err.  conf is borrowed.  Leaves root for the
 * service's user, if there is one, and enters the sandbox of a worker when the
 * configuration wants it. */
struct check_env *check_env_new(const struct conf *,
	const struct check_options *, char err[CONF_ERR_MAX]);
void check_env_free(struct check_env **);

/* The same for what needs no such environment; before remote bytes come. */
bool check_confine(const struct conf *, char err[CONF_ERR_MAX]) MUST_CHECK;

#endif
