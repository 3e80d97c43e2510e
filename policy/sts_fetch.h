/*
 * Fetching the MTA-STS policy of a domain (RFC 8461 section 3.3): addresses of
 * mta-sts.DOMAIN from our resolver, one HTTPS GET, the policy parsed.
 *
 * sts_fetch_start() returns a handle; its owner gets exactly one callback
 * (never inside the starting call), after which the handle is gone, or calls
 * sts_fetch_cancel().  One fetch of a domain at a time is the caller's care;
 * how many are in flight in all is bounded by https.
 */
#ifndef POLICY_STS_FETCH_H
#define POLICY_STS_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "base/err.h"

struct event_base;
struct https;
struct resolver;
struct sts_fetch;
struct sts_policy;

#define STS_FETCH_REASON_MAX 256

struct sts_fetch_env {
	struct https *https;		/* its timeout is that of a fetch */
	struct resolver *resolver;
	uint16_t port;			/* 0: that of https */
};

struct sts_fetch_result {
	struct sts_policy *policy;	/* NULL on failure; whoever wants to
					 * keep it takes it and puts NULL */
	char *text;			/* as received, for the store, NUL
					 * terminated; may be taken too; NULL
					 * when nothing was received whole */
	size_t len;
	/* What RFC 8460 section 4.3.2 calls it: TLS_FAILURE_NONE with a policy,
	 * else TLS_FAILURE_STS_FETCH, TLS_FAILURE_STS_INVALID (received but
	 * not valid) or TLS_FAILURE_STS_WEBPKI (certificate). */
	enum tls_failure failure;
	char reason[STS_FETCH_REASON_MAX];	/* a sentence on failure */
	/* It is our side that failed (too many fetches, no CA file, a resolver
	 * that is silent): nothing is known of the domain. */
	bool local;
};

/* For requests of policies, as conf wants them; conf must outlive it. */
struct https *sts_fetch_https(struct event_base *, const struct conf *conf);

/* Frees what has not been taken. */
void sts_fetch_result_free(struct sts_fetch_result **);

/* The result is owned by the callback's owner. */
typedef void sts_fetch_cb(struct sts_fetch_result *result, void *arg);

/* domain is normalised (base/str.h).  Never fails: what cannot be asked ends
 * in the callback.  env is copied; what it points to must outlive the fetch. */
struct sts_fetch *sts_fetch_start(const struct sts_fetch_env *,
	const char *domain, sts_fetch_cb *, void *arg);
void sts_fetch_cancel(struct sts_fetch **);

#endif
