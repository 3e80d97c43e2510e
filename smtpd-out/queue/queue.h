/*
 * The parent's queue manager: what was submitted goes to disk before it is
 * acknowledged, what is due goes to a worker, what a worker reports goes to
 * disk before it is believed.
 *
 * Group commit: whatever came in during one loop turn is one transaction.
 * Children are known by 64-bit ids; an id or job that is not known any more is
 * a late answer, counted and ignored.  Knows nothing of sockets or processes:
 * struct queue_port is its view of them.
 */
#ifndef SMTPD_OUT_QUEUE_H
#define SMTPD_OUT_QUEUE_H

#include "base/conf.h"
#include "smtpd-out/ipc/ipc_msg.h"
#include "smtpd-out/ipc/ipc_report.h"
#include "spool/spool.h"

struct dkim_key;
struct event_base;
struct msg_limits;
struct queue;

struct queue_port {
	/* Replies to inject; the child may be gone. */
	void (*accepted)(uint64_t child, uint64_t request, uint64_t id,
		void *arg);
	void (*rejected)(uint64_t child, uint64_t request,
		const struct msg_rejected *, void *arg);
	void (*body_file)(uint64_t child, uint64_t request, uint64_t token,
		int fd, void *arg);
	/* The worker that serves a destination: its id, or 0 when it cannot
	 * take a job of that many bytes now (down, or its channel is full). */
	uint64_t (*worker_for)(const char *destination, size_t bytes,
		void *arg);
	bool (*send_job)(uint64_t worker, uint64_t job, const struct buf *,
		int fd, void *arg);
	/* What is remembered of hosts, for one worker or (0) for all. */
	void (*remembered)(const struct msg_policy *, uint64_t worker,
		void *arg);
	/* MTA-STS: a message for one worker or (0) for all; and whether a
	 * domain is one that this worker serves. */
	void (*send_sts)(uint64_t worker, uint64_t id, const struct msg_sts *,
		void *arg);
	/* TLSRPT: a step of sending, for that worker. */
	void (*send_report)(uint64_t worker, uint64_t id,
		const struct msg_report *, void *arg);
	bool (*owns)(uint64_t worker, const char *domain, void *arg);
	/* What the operator set, for one worker or (0) for all; may be NULL. */
	void (*limits)(const struct msg_limits *, uint64_t worker, void *arg);
	/* The spool takes nothing until this process has been replaced. */
	void (*broken)(void *arg);
	void *arg;
};

/* conf is borrowed and may be exchanged with queue_set_conf(). */
struct queue *queue_new(struct event_base *, const struct conf *,
	struct spool *, const struct queue_port *);
void queue_free(struct queue **);
void queue_set_conf(struct queue *, const struct conf *);
/* The key that notices are signed with where dkim { sign-notices } says so;
 * borrowed, NULL for none. */
void queue_set_key(struct queue *, const struct dkim_key *);

/* From inject.  queue_submit takes over msg->env and copies the body. */
void queue_submit(struct queue *, uint64_t child, uint64_t request,
	struct msg_submit *);
void queue_body_open(struct queue *, uint64_t child, uint64_t request);
void queue_body_drop(struct queue *, uint64_t child, uint64_t token);

/* From a worker.  ST_DENIED when the job is another child's. */
enum status queue_result(struct queue *, uint64_t child, uint64_t job,
	const struct msg_result *) MUST_CHECK;

/* From a worker: what hosts have shown; stored with the next commit. */
void queue_remember(struct queue *, const struct msg_policy *);
/* Gives a new worker all that is remembered. */
void queue_remembered(struct queue *, uint64_t worker);
/* The operator: nothing is known of that host.  ST_NOENT when nothing was. */
enum status queue_forget(struct queue *, const char *host) MUST_CHECK;

/* A child is gone.  Its files are dropped; its jobs return to the queue,
 * again_ms later, as an attempt only when it crashed often. */
enum queue_gone { GONE_NOT = 0, GONE_IN_ORDER, GONE_CRASHED,
	GONE_CRASHED_OFTEN };
void queue_child_gone(struct queue *, uint64_t child, enum queue_gone,
	int64_t again_ms);

/* The operator flushes: holds end, of that destination (".example" for those
 * below it) or all (NULL). */
void queue_flush_holds(struct queue *, const char *destination);
/* Looks for due work now (a worker came up, the operator changed things). */
void queue_kick(struct queue *);
/* The spool was changed by others: it may have cleaning up to do. */
void queue_housekeep(struct queue *);
/* Hands out no more work; submissions and results are still taken. */
void queue_stop(struct queue *);
/* Commits what is pending now; false when something could not be stored. */
bool queue_flush(struct queue *);

struct queue_stats {
	uint64_t accepted, rejected, sent, deferred, bounced, late_answers,
		commits;
	size_t active;
	uint64_t active_bytes;
};
void queue_stats(const struct queue *, struct queue_stats *out);
bool queue_is_active(const struct queue *, uint64_t delivery_id);

#endif
