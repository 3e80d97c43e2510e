/*
 * Cached MTA-STS policies (RFC 8461 section 3.3 and 10.2), and the last good
 * text of each policy list of the operator's, in the same database and the
 * same transactions as the queue.
 *
 * A row is what is known of one domain.  It has a policy (text, id, times), or
 * what is to be remembered of failed fetches, or both: a failure never removes
 * a policy.  The text is opaque here.
 */
#ifndef SPOOL_STS_STORE_H
#define SPOOL_STS_STORE_H

#include "spool/spool.h"

#define SPOOL_STS_TEXT_MAX 65536
#define SPOOL_STS_ID_MAX 33
#define SPOOL_STS_ERROR_MAX 256
#define SPOOL_STS_DOMAIN_MAX 256
#define SPOOL_STS_LIST_MAX (16U << 20)

struct spool_sts {
	char domain[SPOOL_STS_DOMAIN_MAX];
	char id[SPOOL_STS_ID_MAX];	/* "" without a policy */
	char *text;			/* owned, text[text_len] is NUL; NULL:
					 * no policy, or not asked for */
	size_t text_len;
	int64_t fetched_s, expires_s;	/* 0 without a policy */
	int64_t used_s;			/* last mail to it, 0: none yet */
	int64_t tried_s, next_try_s;	/* of a failed fetch, 0: it worked */
	uint32_t failures;		/* in a row */
	unsigned failure;		/* what kind; means nothing here */
	char error[SPOOL_STS_ERROR_MAX];
};
void spool_sts_clear(struct spool_sts *);
/* An array of rows, of which count are filled. */
void spool_sts_clear_all(struct spool_sts *, size_t count);

/* Adds or replaces the whole row; ST_LIMIT when the text is too long. */
enum status spool_sts_put(struct spool *, const struct spool_sts *)
	MUST_CHECK;
enum status spool_sts_get(struct spool *, const char *domain,
	struct spool_sts *out) MUST_CHECK;		/* ST_NOENT */
enum status spool_sts_forget(struct spool *, const char *domain)
	MUST_CHECK;					/* ST_NOENT */
/* In the order of names, those after `after` ("" for the first), without
 * texts. */
enum status spool_sts_list(struct spool *, const char *after,
	struct spool_sts *out, size_t max, size_t *count_out) MUST_CHECK;

/* Policies in force that are to be fetched anew, without texts: less than half
 * of their time is left, a failed try is not waited for, and mail went there
 * since used_since_s.  The first to expire come first; those after the given
 * (expiry, name), 0 and "" for all. */
struct spool_sts_due {
	int64_t now_s, used_since_s;
	int64_t after_expires_s;
	const char *after;
};
enum status spool_sts_due(struct spool *, const struct spool_sts_due *,
	struct spool_sts *out, size_t max, size_t *count_out) MUST_CHECK;

/* Removes, at most max in one call, and gives out (without texts) what went:
 * rows without a policy, or with one that had expired by stale_s, whose last
 * failure needs no remembering any more; then of what is more than keep_domains
 * or keep_bytes of text the least recently used, but last of all the older half
 * of those used since. */
struct spool_sts_bounds {
	int64_t now_s, used_since_s;
	int64_t stale_s;		/* 0: those stay for the time being */
	size_t keep_domains;
	uint64_t keep_bytes;
};
enum status spool_sts_sweep(struct spool *, const struct spool_sts_bounds *,
	struct spool_sts *out, size_t max, size_t *count_out) MUST_CHECK;
enum status spool_sts_count(struct spool *, size_t *domains_out,
	uint64_t *bytes_out) MUST_CHECK;

/* Policy lists, by the path of their file. */
enum status spool_sts_list_put(struct spool *, const char *path,
	const char *text, size_t len) MUST_CHECK;	/* ST_LIMIT */
/* Owned text, NUL behind it; ST_NOENT. */
enum status spool_sts_list_get(struct spool *, const char *path,
	char **text_out, size_t *len_out) MUST_CHECK;
/* Removes all but those of these paths. */
enum status spool_sts_list_keep(struct spool *, char *const *paths,
	size_t count) MUST_CHECK;

#endif
