/*
 * What the parent keeps of a domain's MTA-STS policy, in the worker that works
 * with it, and the messages that tell the parent of changes.  Private to
 * sts_table.c.
 */
#ifndef SMTPD_OUT_STS_CACHED_H
#define SMTPD_OUT_STS_CACHED_H

#include "base/conf.h"
#include "policy/sts_fetch.h"
#include "smtpd-out/ipc/ipc_msg.h"

struct sts_cached {
	bool known;			/* the parent has answered */
	int64_t answered_ms;		/* monotonic, the last time */
	char id[STS_ID_MAX + 1];
	char *text;
	struct sts_policy *policy;	/* NULL: none, or not readable */
	int64_t expires_s, used_s, next_try_s;
	uint32_t failures;		/* in a row */
	enum tls_failure failure;
	char error[STS_ERR_MAX];
	struct sts_policy *list;	/* of the operator's, or NULL */
	int64_t list_expires_s;
};

void sts_cached_clear(struct sts_cached *);
/* All but the operator's list, so that the parent has to be asked. */
void sts_cached_forget(struct sts_cached *);
size_t sts_policy_bytes(const struct sts_policy *);	/* NULL: 0 */
size_t sts_cached_bytes(const struct sts_cached *);

bool sts_cached_in_force(const struct sts_cached *);
/* The list that it came from has expired: there may be a new one. */
bool sts_cached_list_over(const struct sts_cached *);
/* What the operator's lists say, unless that is too old; or NULL. */
const struct sts_policy *sts_cached_list(const struct sts_cached *);
/* A fetch has failed not long ago. */
bool sts_cached_waits(const struct sts_cached *, const struct conf_sts *);

/* The parent's answer.  Of one that is known only what lists say is taken: what
 * else has happened since comes from here, stored or not. */
void sts_cached_answer(struct sts_cached *, const struct msg_sts *);
/* A fetch that brought a policy, which is taken over; id: NULL for the old
 * one.  Fills in the message, which borrows. */
void sts_cached_fetched(struct sts_cached *, const char *id,
	struct sts_fetch_result *, struct msg_sts *);
void sts_cached_failed(struct sts_cached *, const struct conf_sts *,
	const struct sts_fetch_result *, struct msg_sts *);

#endif
