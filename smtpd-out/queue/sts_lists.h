/*
 * The operator's policy lists in the parent (mta-sts { lists = ... }): read at
 * the start and at a reload, the last good text of each path kept in the
 * spool.  A file that cannot be used is refused with a line in the log, and
 * the last good one stays until it expires itself.
 */
#ifndef SMTPD_OUT_STS_LISTS_H
#define SMTPD_OUT_STS_LISTS_H

#include "base/conf.h"
#include "policy/sts_list.h"
#include "smtpd-out/ipc/ipc_msg.h"
#include "spool/spool.h"

struct sts_lists;

/* Never fails: what cannot be read is not there.  Outside of a transaction.
 * spool: NULL for none, and then no last good list either. */
struct sts_lists *sts_lists_new(const struct conf_sts *, struct spool *,
	int64_t now_s);
void sts_lists_free(struct sts_lists **);
/* True when it is time for a new sts_lists_new(), which says in the log what it
 * found: a list in use has expired; or one that could not be used may be good
 * now, because its file has changed or the clock was set back. */
bool sts_lists_outdated(const struct sts_lists *, int64_t now_s);

struct sts_lists_entry {
	const char *path;
	const struct sts_policy *policy;
	int64_t expires_s;
};
/* What the lists say of a domain, from the first on: at most max; those in
 * force only.  Borrowed. */
size_t sts_lists_find(const struct sts_lists *, const char *domain,
	int64_t now_s, struct sts_lists_entry *out, size_t max);

/* The first of them into an answer to a worker; nothing when there is none. */
void sts_lists_answer(const struct sts_lists *, int64_t now_s,
	struct msg_sts *out);

/* For --check-config: every file can be read and is good.  err: a sentence. */
enum status sts_lists_check(const struct conf_sts *, int64_t now_s,
	char err[CONF_ERR_MAX]) MUST_CHECK;

#endif
