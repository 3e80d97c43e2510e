/*
 * MTA-STS policies in the parent: workers ask for what is known of a domain
 * and report what they fetched; the spool remembers it; what expires soon is
 * fetched anew.  The text of a policy is not read here.
 */
#ifndef SMTPD_OUT_QUEUE_STS_H
#define SMTPD_OUT_QUEUE_STS_H

#include "smtpd-out/ipc/ipc_msg.h"

struct queue;
struct sts_lists;

/* From a worker: STS_GET, answered at once through the port (or never, when the
 * spool cannot be read), and STS_SAVE, stored with the next commit.  ST_DENIED:
 * not its domain, or not a thing that a worker may say.  Texts of the message
 * are taken over. */
enum status queue_sts_get(struct queue *, uint64_t worker, uint64_t request,
	const struct msg_sts *) MUST_CHECK;
enum status queue_sts_save(struct queue *, uint64_t worker, struct msg_sts *)
	MUST_CHECK;

/* What is known of a domain, also what waits for the commit; a policy that has
 * expired is not given out.  The caller clears it.  Other than ST_OK: there may
 * be more that the spool does not tell. */
enum status queue_sts_known(struct queue *, const char *domain,
	struct msg_sts *out);

/* The lists that are in use. */
const struct sts_lists *queue_sts_lists(const struct queue *);

/* The operator.  ST_NOENT when nothing was known. */
enum status queue_sts_forget(struct queue *, const char *domain) MUST_CHECK;

/* Asks the domain's worker for a fetch.  The handle ends with one callback
 * (never within this call; result NULL: the worker went away, or does not
 * answer) or with queue_sts_refresh_cancel().  0 when no worker can be asked
 * now. */
typedef void queue_sts_refresh_cb(const struct msg_sts *result, void *arg);
uint64_t queue_sts_refresh(struct queue *, const char *domain,
	queue_sts_refresh_cb *, void *arg);
void queue_sts_refresh_cancel(struct queue *, uint64_t handle);

#endif
