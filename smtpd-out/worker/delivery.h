/*
 * One delivery attempt: a job of the parent, carried through the hosts of its
 * destination until every recipient has a result, and the destinations that
 * share sessions among their jobs.
 *
 * Everything here belongs to one worker and its loop.  A job's results go out
 * through deliveries_port.result(): first, in parts, what the next hop took
 * (so that a crash repeats as little as possible), then one final part.
 */
#ifndef SMTPD_OUT_DELIVERY_H
#define SMTPD_OUT_DELIVERY_H

#include "smtpd-out/client/session.h"
#include "smtpd-out/ipc/ipc_limits.h"
#include "smtpd-out/ipc/ipc_msg.h"
#include "smtpd-out/worker/route.h"
#include "smtpd-out/worker/tls_note.h"

struct deliveries;

struct deliveries_port {
	void (*result)(uint64_t job_id, const struct msg_result *, void *arg);
	void (*idle)(void *arg);	/* stopping, and nothing is left */
	/* What sessions show of a destination; may be NULL. */
	void (*note)(const struct tls_note *, void *arg);
	void *arg;
	/* A destination is down, or is up again; may be NULL. */
	void (*hold)(const struct msg_dest_hold *, void *arg);
};

struct deliveries *deliveries_new(const struct session_env *,
	struct resolver *, const struct route_local *,
	const struct deliveries_port *);
void deliveries_free(struct deliveries **);	/* aborts all sessions */

/* Takes over the job's contents; body bytes are copied, body_fd (-1: inline)
 * is owned from now on. */
void deliveries_add(struct deliveries *, uint64_t job_id, struct msg_job *,
	int body_fd);

/* Starts nothing new and lets go of what is not past DATA; idle() follows
 * when no session is left.  Jobs without a result stay with the parent. */
void deliveries_stop(struct deliveries *);

size_t deliveries_jobs(const struct deliveries *);
/* session_env.limits have changed. */
void deliveries_limits(struct deliveries *);

/* Pure: how a new outcome for a recipient combines with an earlier one of
 * this attempt, and whether another host may still change it.  A refusal that
 * only speaks for one host bounces when no host says better, a possible
 * duplicate is never tried again in the same attempt. */
struct outcome delivery_merge(const struct outcome *old,
	const struct outcome *new);
bool delivery_settled(const struct outcome *);

/* Pure: what a session that is up has, as tls= in the log names it: "dane",
 * "sts", "pkix", "fingerprint", "encrypted" or "none". */
const char *delivery_achieved(bool tls_active, enum demand_level,
	enum demand_why);

/* Hosts and fallbacks tried in one attempt. */
#define DELIVERY_SESSIONS_MAX 10

#endif
