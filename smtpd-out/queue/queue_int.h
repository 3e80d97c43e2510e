/*
 * Private to queue.c, queue_work.c, queue_result.c and notice.c.
 */
#ifndef SMTPD_OUT_QUEUE_INT_H
#define SMTPD_OUT_QUEUE_INT_H

#include <sys/queue.h>

#include "base/slice.h"
#include "base/table.h"
#include "smtpd-out/queue/queue.h"
#include "spool/spool_lane.h"

enum active_rcpt_state {
	ACTIVE_OPEN = 0,	/* no result yet */
	ACTIVE_RESULT,		/* a result, not yet on disk */
	ACTIVE_STORED		/* on disk (for a final "later": at the end) */
};

/* A delivery that is out with a worker (or being given up). */
struct active {
	TAILQ_ENTRY(active) link;
	uint64_t job_id;
	uint64_t child;			/* 0: none */
	struct spool_delivery delivery;
	struct envelope *env;		/* recipients of this delivery */
	/* One for each recipient: NULL before it has come, and once it is on
	 * disk and was told.  They are large, and a message may have many. */
	struct msg_rcpt_result **results;
	enum active_rcpt_state *states;
	size_t bytes;			/* counted against the bound */
	struct dest *dest;		/* whose share it takes; or NULL */
	enum spool_class class;
	bool untried;			/* settled without an attempt */
	int64_t started_ms;		/* monotonic */
	char trail[MSG_TRAIL_MAX];	/* hosts tried in vain */
	bool finishing;			/* the final result has come */
	bool unstored;			/* an earlier result still waits */
	bool aside, ill;		/* its results are; and that was said */
	enum queue_gone gone;		/* its worker ended before that */
	int64_t again_ms;		/* then: when to try again */
};

/* What one RESULT changes: the recipients named by index. */
struct result_op {
	TAILQ_ENTRY(result_op) link;
	struct active *active;
	size_t *indexes;
	size_t count;
	bool final;
	/* Set while it is applied, read after the commit. */
	bool retried;
	int64_t next_ms;
};

struct submit_op {
	TAILQ_ENTRY(submit_op) link;
	uint64_t child, request;
	struct envelope *env;
	uint8_t *body;			/* NULL: file */
	size_t body_len;
	uint64_t token;
};

/* A notice of ours that is stored in the same transaction as the results it
 * tells of. */
struct notice_op {
	TAILQ_ENTRY(notice_op) link;
	struct envelope *env;
	uint8_t *body;
	size_t body_len;
};
TAILQ_HEAD(notice_list, notice_op);

/* What a worker saw of a host, not stored yet. */
struct remember_op {
	TAILQ_ENTRY(remember_op) link;
	char host[256];
	enum remember_level level;
};

struct body_token {
	uint64_t token, child;
};

struct queue {
	struct event_base *base;
	const struct conf *conf;
	const struct dkim_key *key;	/* NULL: no signatures */
	struct spool *spool;
	struct queue_port port;
	struct event *commit_ev, *due_ev, *pump_ev, *expire_ev,
		*idle_ev, *room_ev, *clock_ev;
	TAILQ_HEAD(, submit_op) submits;
	size_t submit_count;
	TAILQ_HEAD(result_list, result_op) results;
	struct result_list aside;	/* those that cannot be stored */
	size_t ill_count;		/* deliveries that had such ones */
	/* How many of them are in a transaction, and in the last one. */
	struct slice batch;		/* in recipients */
	unsigned batch_submits, batch_results;
	size_t batch_rcpts;
	TAILQ_HEAD(, remember_op) remembers;
	size_t remember_count;
	struct event *remember_ev;
	struct msg_policy changes;	/* of the transaction under way */
	struct queue_sts *sts;
	struct queue_report *report;
	struct notice_list notices;	/* of the transaction under way */
	TAILQ_HEAD(, active) actives;
	struct table *by_job, *by_delivery;
	struct table *tokens;
	uint64_t next_job;
	uint64_t active_bytes;
	struct lanes *lanes;		/* queue_lane.h */
	struct holds *holds;		/* queue_hold.h */
	struct limits *limits;
	unsigned limits_changes;	/* so often were they set */
	struct table *damaged;		/* ids of deliveries */
	struct spool_cursor expire_at;
	int64_t again_ms;		/* monotonic, of result_again() */
	char recheck_at[256];		/* counts are checked up to here */
	bool rechecked;
	struct slice recheck_slice;	/* destinations */
	/* The walk over destinations on disk (queue_work.c). */
	struct spool_lane walk_at[SPOOL_CLASSES];
	bool walking[SPOOL_CLASSES];	/* it has not reached the end */
	bool walk_all;			/* from the start, the next time */
	bool kicked;			/* and what is in memory, too */
	int64_t walked_all_ms;		/* monotonic */
	bool skipped;			/* it passed by a worker that could
					 * take nothing */
	int64_t skipped_ms;		/* the wait after that */
	bool stopping;
	bool results_failing;		/* and the operator knows */
	struct queue_stats stats;
};

/* queue.c */
void queue_schedule_commit(struct queue *);
/* One transaction around apply; rolled back unless it is durable. */
enum status queue_transaction(struct queue *,
	enum status (*apply)(struct queue *, void *), void *arg) MUST_CHECK;

/* queue_submit.c: inside a transaction, after it, and when it failed. */
void submit_init(struct queue *);
void submit_clear(struct queue *);
enum status submit_store(struct queue *, struct envelope *,
	const uint8_t *body, size_t body_len, uint64_t token) MUST_CHECK;
enum status submit_apply(struct queue *, struct submit_op *) MUST_CHECK;
void submit_done(struct queue *, struct submit_op *);
void submit_failed(struct queue *, struct submit_op *, enum status);
void submit_op_free(struct queue *, struct submit_op *);
void submit_log(const struct envelope *);
/* With a file of that child. */
bool submit_waiting(const struct queue *, uint64_t child);
void submit_drop_files(struct queue *, uint64_t child);

/* queue_work.c */
struct active *active_new(struct queue *, const struct spool_delivery *,
	struct envelope *env, uint64_t child);
void active_free(struct queue *, struct active **);
/* The result of recipient i, to be filled in. */
struct msg_rcpt_result *active_result(struct active *, size_t i);
/* A message that is on disk now; the body is borrowed (NULL: a file). */
void work_start_message(struct queue *, const struct envelope *,
	const uint8_t *body, size_t body_len);
void work_init(struct queue *);
void work_clear(struct queue *);
/* The delivery is on disk again, due then. */
void work_retried(struct queue *, struct active *, int64_t next_ms);
void work_pump(struct queue *);	/* starts what is due and fits */

/* Makes the walk come by at that time at the latest. */
void work_due_at(struct queue *, int64_t when_ms);

/* queue_expire.c */
void expire_init(struct queue *);
void expire_clear(struct queue *);

/* queue_hold.c */
void hold_init(struct queue *);
void hold_set_conf(struct queue *);
void hold_clear(struct queue *);
/* True when no mail of the destination may go out before *until_ms_out. */
bool hold_until(struct queue *, const char *name, int64_t *until_ms_out);
bool hold_why(struct queue *, const char *name, struct outcome *out);
/* Its row on disk shall say so, with the next commit. */
void hold_park(struct queue *, const char *name, int64_t until_ms);
/* Enough of them: the walk goes on after the commit. */
bool hold_full(const struct queue *);
bool hold_waiting(const struct queue *);	/* for a transaction */
enum status hold_apply(struct queue *) MUST_CHECK;
void hold_done(struct queue *);
void hold_failed(struct queue *);
/* What notices of delay need to know of a destination on hold. */
struct hold_look {
	uint64_t id;		/* its mail up to this was looked at */
	int64_t at_ms;		/* none of the rest is old enough before */
};
struct hold_look *hold_look(struct queue *, const char *name);

/* queue_result.c: inside a transaction, after it, and when it failed. */
enum status result_apply(struct queue *, struct result_op *) MUST_CHECK;
void result_done(struct queue *, struct result_op *);
void result_op_free(struct result_op **);
void result_add_final(struct queue *, struct active *);
/* It cannot be stored though others can: it waits apart from them, and what
 * comes of its delivery with it; all of these are tried again. */
void result_aside(struct queue *, struct result_op *, enum status);
void result_again(struct queue *);

/* queue_remember.c: inside a transaction, after it, and when it failed. */
void remember_init(struct queue *);
enum status remember_apply(struct queue *) MUST_CHECK;
void remember_done(struct queue *);
void remember_drop(struct queue *);
void remember_clear(struct queue *);

/* queue_sts.c: inside a transaction, after it, and when it failed. */
void sts_init(struct queue *);
bool sts_waiting(const struct queue *);	/* for a transaction */
enum status sts_apply(struct queue *) MUST_CHECK;
void sts_done(struct queue *);
void sts_failed(struct queue *, enum status);
void sts_child_gone(struct queue *, uint64_t child);
void sts_set_conf(struct queue *);	/* there is a new one */
void sts_clear(struct queue *);

/* queue_report.c, report_send.c: inside a transaction, after it, and when it
 * failed. */
void report_init(struct queue *);
bool report_waiting(const struct queue *);	/* for a transaction */
enum status report_apply(struct queue *) MUST_CHECK;
void report_done(struct queue *);
void report_failed(struct queue *, enum status);
void report_save(struct queue *);	/* all of it with the next commit */
void report_child_gone(struct queue *, uint64_t child, bool in_order);
void report_clear(struct queue *);

/* notice.c: makes the notices for what op finishes, and for a delay. */
enum status notice_make(struct queue *, const struct result_op *,
	const struct msg_rcpt_result *finals, bool delayed)
	MUST_CHECK;
void notice_list_clear(struct notice_list *);

#endif
