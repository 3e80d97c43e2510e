/*
 * A list of policies for domains that publish none, in the JSON format of the
 * STARTTLS Everywhere list (version 0.x).  Pure: no file, no clock.
 *
 *     { "version": "0.1", "timestamp": T, "expires": T, "author": "...",
 *       "policy-aliases": { NAME: { "mode": M, "mxs": [ P, ... ] }, ... },
 *       "policies": { DOMAIN: { "mode": M, "mxs": [ P, ... ] },
 *                     DOMAIN: { "policy-alias": NAME }, ... } }
 *
 * T: seconds since 1970, or "2026-01-31T12:00:00+00:00".  M: "testing" or
 * "enforce".  P: "mx.example", "*.example" for one label, or ".example" for
 * one or more.  Other members are ignored.
 *
 * A list is taken whole or not at all.
 */
#ifndef POLICY_STS_LIST_H
#define POLICY_STS_LIST_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "policy/sts.h"

#define STS_LIST_TEXT_MAX (16U << 20)
#define STS_LIST_DOMAINS_MAX 200000
#define STS_LIST_ALIASES_MAX 10000
#define STS_LIST_MX_MAX 64		/* patterns of one policy */
#define STS_LIST_AUTHOR_MAX 128

struct sts_list;

struct sts_list_info {
	char author[STS_LIST_AUTHOR_MAX];	/* printable, or "" */
	int64_t timestamp_s, expires_s;
	size_t domains, enforced;
};

/* ST_PARSE: malformed; ST_LIMIT: too large; ST_DENIED: it has expired.  err is
 * a printable sentence.  *out is NULL unless ST_OK. */
enum status sts_list_parse(const char *text, size_t len, int64_t now_s,
	struct sts_list **out, char err[STS_ERR_MAX]) MUST_CHECK;
void sts_list_free(struct sts_list **);
const struct sts_list_info *sts_list_info(const struct sts_list *);

/* The policy of exactly this domain (normalised), owned by the list; NULL when
 * there is none.  Its max_age_s is 0: it lasts as long as the list. */
const struct sts_policy *sts_list_find(const struct sts_list *,
	const char *domain);

#endif
