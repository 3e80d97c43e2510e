/*
 * The demand for one host of a route: local rules and, where they leave it to
 * DNS, TLSA lookups (RFC 7672 2.2).  The thinking is policy/'s; this asks the
 * questions.
 *
 * host_policy_start() gives exactly one callback, never from within, or is
 * cancelled.
 */
#ifndef SMTPD_OUT_HOST_POLICY_H
#define SMTPD_OUT_HOST_POLICY_H

#include "policy/policy.h"
#include "policy/sts_view.h"
#include "policy/tlsa_seen.h"
#include "smtpd-out/worker/route.h"

struct event_base;
struct host_policy;

struct host_policy_result {
	struct demand *demand;		/* owned by the callback; NULL: skip */
	struct outcome why;		/* then: why this host is not used */
	enum demand_why rule;		/* and whose demand that was */
	int64_t fresh_until_ms;		/* monotonic; then ask again */
	struct tlsa_seen *tlsa;		/* owned by the callback; NULL: none */
};

typedef void host_policy_cb(struct host_policy_result *, void *arg);

/* Sees each TLSA answer that is looked at; the answer is borrowed. */
typedef void host_policy_seen_cb(const struct dns_answer *, void *arg);

struct host_policy_query {		/* which host, for which message */
	const char *destination;	/* copied */
	const struct route *route;	/* outlives the lookup */
	size_t host;			/* of route */
	enum policy_message message;
	const struct sts_view *sts;	/* NULL: none; outlives the lookup */
	host_policy_seen_cb *seen;	/* NULL: nobody; with the cb's arg */
};

struct host_policy *host_policy_start(struct event_base *, struct resolver *,
	const struct conf *, const struct host_policy_query *,
	host_policy_cb *, void *arg);
void host_policy_cancel(struct host_policy **);

#endif
