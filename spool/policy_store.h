/*
 * What is remembered of hosts beyond the mail for them, in the same database
 * and the same transactions as the queue.
 */
#ifndef SPOOL_POLICY_STORE_H
#define SPOOL_POLICY_STORE_H

#include "spool/spool.h"

#define SPOOL_HOST_MAX 256

/* One host and what it was seen to do; the level means nothing here. */
struct spool_host_tls {
	char host[SPOOL_HOST_MAX];
	unsigned level;
	int64_t last_s;			/* when it was last seen, Unix time */
};

/* Adds or replaces. */
enum status spool_host_tls_put(struct spool *,
	const struct spool_host_tls *) MUST_CHECK;
enum status spool_host_tls_get(struct spool *, const char *host,
	struct spool_host_tls *out) MUST_CHECK;		/* ST_NOENT */
enum status spool_host_tls_forget(struct spool *, const char *host)
	MUST_CHECK;					/* ST_NOENT */
/* In the order of names, those after `after` ("" for the first). */
enum status spool_host_tls_list(struct spool *, const char *after,
	struct spool_host_tls *out, size_t max, size_t *count_out) MUST_CHECK;
/* Removes what was last seen before that time, and the oldest of what is more
 * than `keep`; at most max in one call, which are given out. */
enum status spool_host_tls_sweep(struct spool *, int64_t before_s, size_t keep,
	struct spool_host_tls *out, size_t max, size_t *count_out) MUST_CHECK;

#endif
