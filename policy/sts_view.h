/*
 * What is known of a domain's MTA-STS policy, as deliveries see it: immutable,
 * shared, counted.
 */
#ifndef POLICY_STS_VIEW_H
#define POLICY_STS_VIEW_H

#include "base/err.h"
#include "policy/sts.h"

enum sts_view_what {
	STS_VIEW_NONE = 0,	/* no policy */
	STS_VIEW_POLICY,	/* this one, of whatever mode */
	STS_VIEW_DEFER		/* it cannot be known now */
};

enum sts_source {
	STS_SOURCE_NONE = 0,
	STS_SOURCE_FETCHED,	/* just now */
	STS_SOURCE_CACHE,	/* earlier, and in force */
	STS_SOURCE_LIST		/* the operator's list */
};

const char *sts_source_name(enum sts_source);

struct sts_view {
	unsigned refs;
	enum sts_view_what what;
	enum sts_source source;
	struct sts_policy *policy;	/* with POLICY */
	char id[STS_ID_MAX + 1];	/* "" when from a list */
	char *text;			/* as fetched; NULL when from a list */
	struct outcome later;		/* with DEFER */
	/* Why no policy, or no newer one, could be had, for reports; counts
	 * also when mail goes on.  NONE: nothing failed. */
	enum tls_failure failure;
	char reason[STS_ERR_MAX];
	int64_t fresh_until_ms;		/* monotonic; then ask again */
};

/* Empty, with one reference. */
struct sts_view *sts_view_new(enum sts_view_what);
struct sts_view *sts_view_ref(struct sts_view *);
void sts_view_unref(struct sts_view **);	/* NULL inside is fine */

/* A policy that says enforce; false for NULL. */
bool sts_view_enforces(const struct sts_view *);

/* True when deliveries have to obey the same: policy and id, or its lack. */
bool sts_view_same(const struct sts_view *, const struct sts_view *);

#endif
