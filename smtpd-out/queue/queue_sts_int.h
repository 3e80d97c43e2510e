/*
 * Private to queue_sts.c and queue_refresh.c.
 */
#ifndef SMTPD_OUT_QUEUE_STS_INT_H
#define SMTPD_OUT_QUEUE_STS_INT_H

#include "smtpd-out/queue/queue_int.h"
#include "smtpd-out/queue/queue_sts.h"
#include "smtpd-out/queue/sts_lists.h"
#include "spool/sts_store.h"

struct sts_refresh;

/* What a worker reported, not yet on disk. */
struct sts_op {
	TAILQ_ENTRY(sts_op) link;
	struct msg_sts msg;
};

struct queue_sts {
	struct sts_lists *lists;
	TAILQ_HEAD(, sts_op) ops;
	size_t count, bytes;
	bool sweep;			/* with the next commit */
	bool sweep_more;		/* and once more after it */
	struct event *save_ev, *refresh_ev;
	int64_t apart_ms;		/* wall time from monotonic time */
	int64_t steady_ms;		/* since when it has not changed */
	TAILQ_HEAD(, sts_refresh) refreshes;
	uint64_t next_refresh;
	int64_t after_expires_s;	/* how far the walk has come */
	char after[256];
};

/* queue_sts.c */
void sts_add_timer(struct event *, int64_t ms);
/* Without an answer: to one worker or (0) to all. */
void sts_tell(struct queue *, uint64_t worker, uint64_t id,
	enum msg_sts_what, const char *domain);

/* queue_refresh.c */
void refresh_init(struct queue *);
/* A worker has something to say of a domain: who waited for it hears it. */
void refresh_result(struct queue *, uint64_t worker, const struct msg_sts *);
void refresh_clear(struct queue *);

#endif
