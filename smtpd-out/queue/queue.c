/*
 * The parent's queue manager: the group commit.
 *
 * Submissions and results wait in two lists; a timer of zero length, set by
 * the first of them, runs after the other events of the loop turn and puts
 * all of them into one transaction (of very many, such as those of a worker
 * that ended, a part in each turn).  If that fails, results are tried again
 * alone (and kept until they succeed: what was delivered must not be sent
 * again), then each submission alone, so that one that is bad or too large
 * for the disk does not take the others with it.
 */
#include "config.h"

#include <event2/event.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "spool/spool_room.h"
#include "smtpd-out/ipc/turn.h"
#include "smtpd-out/queue/queue_int.h"

#define RETRY_COMMIT_MS 1000
#define IDLE_MS 200		/* housekeeping of the spool after a commit */
#define IDLE_MORE_MS 20		/* and its next part */
#define ROOM_MS 5		/* between parts of removed large bodies */
#define BATCH { .size = 512, .least = 128, .most = 4096 }
#define RECHECK_START_MS 5000
#define RECHECK_SLICE { .size = 16, .least = 8, .most = 64 }

static void
add_timer(struct event *ev, int64_t ms)
{
	struct timeval tv = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	(void)event_add(ev, &tv);
}

void
queue_schedule_commit(struct queue *q)
{
	if (!event_pending(q->commit_ev, EV_TIMEOUT, NULL))
		add_timer(q->commit_ev, 0);
}

/* ---- commit ---- */

static enum status
notices_apply(struct queue *q)
{
	struct notice_op *n;
	enum status st;

	TAILQ_FOREACH(n, &q->notices, link) {
		st = submit_store(q, n->env, n->body, n->body_len, 0);
		if (st != ST_OK)
			return st;
	}
	return ST_OK;
}

static enum status
results_apply(struct queue *q, unsigned max)
{
	struct result_op *op;
	enum status st;

	q->batch_results = 0;
	q->batch_rcpts = 0;
	TAILQ_FOREACH(op, &q->results, link) {
		if (q->batch_rcpts >= max)
			break;
		q->batch_results++;
		q->batch_rcpts += op->count > 0 ? op->count : 1;
		st = result_apply(q, op);
		if (st != ST_OK)
			return st;
	}
	return notices_apply(q);
}

static void
one_done(struct queue *q, struct result_op *op)
{
	TAILQ_REMOVE(&q->results, op, link);
	result_done(q, op);
	result_op_free(&op);
}

static void
notices_done(struct queue *q)
{
	struct notice_op *n;

	TAILQ_FOREACH(n, &q->notices, link) {
		submit_log(n->env);
		work_start_message(q, n->env, n->body, n->body_len);
	}
	notice_list_clear(&q->notices);
}

static void
results_done(struct queue *q)
{
	for (; q->batch_results > 0; q->batch_results--)
		one_done(q, TAILQ_FIRST(&q->results));
	notices_done(q);
	q->results_failing = false;
}

enum status
queue_transaction(struct queue *q,
	enum status (*apply)(struct queue *, void *), void *arg)
{
	enum status st = spool_begin(q->spool);

	if (st == ST_OK)
		st = apply(q, arg);
	if (st == ST_OK)
		st = spool_commit(q->spool);
	if (st == ST_OK) {
		q->stats.commits++;
		return ST_OK;
	}
	spool_rollback(q->spool);
	notice_list_clear(&q->notices);
	q->batch_results = q->batch_submits = 0;
	return st;
}

static enum status
apply_results(struct queue *q, void *arg)
{
	(void)arg;
	return results_apply(q, UINT_MAX);
}

static enum status
apply_result(struct queue *q, void *arg)
{
	enum status st = result_apply(q, arg);

	return st == ST_OK ? notices_apply(q) : st;
}

static enum status
apply_submit(struct queue *q, void *arg)
{
	return submit_apply(q, arg);
}

static enum status
apply_all(struct queue *q, void *arg)
{
	const unsigned *max = arg;
	enum status st = results_apply(q, *max);
	struct submit_op *op;

	q->batch_submits = 0;
	TAILQ_FOREACH(op, &q->submits, link) {
		if (st != ST_OK || q->batch_rcpts >= *max)
			break;
		q->batch_submits++;
		q->batch_rcpts += op->env->rcpt_count;
		st = submit_apply(q, op);
	}
	if (st == ST_OK)
		st = remember_apply(q);
	if (st == ST_OK)
		st = sts_apply(q);
	if (st == ST_OK)
		st = hold_apply(q);
	return st == ST_OK ? report_apply(q) : st;
}

static enum status
apply_report(struct queue *q, void *arg)
{
	(void)arg;
	return report_apply(q);
}

static void
commit_report(struct queue *q)
{
	enum status st;

	if (!report_waiting(q))
		return;
	st = queue_transaction(q, apply_report, NULL);
	if (st == ST_OK)
		report_done(q);
	else
		report_failed(q, st);
}

static enum status
apply_holds(struct queue *q, void *arg)
{
	(void)arg;
	return hold_apply(q);
}

static void
commit_holds(struct queue *q)
{
	if (!hold_waiting(q))
		return;
	if (queue_transaction(q, apply_holds, NULL) == ST_OK)
		hold_done(q);
	else
		hold_failed(q);
}

static enum status
apply_sts(struct queue *q, void *arg)
{
	(void)arg;
	return sts_apply(q);
}

static void
commit_sts(struct queue *q)
{
	enum status st;

	if (!sts_waiting(q))
		return;
	st = queue_transaction(q, apply_sts, NULL);
	if (st == ST_OK)
		sts_done(q);
	else
		sts_failed(q, st);
}

static enum status
apply_remembered(struct queue *q, void *arg)
{
	(void)arg;
	return remember_apply(q);
}

/* Lost is lost: workers see the hosts again. */
static void
commit_remembered(struct queue *q)
{
	if (TAILQ_EMPTY(&q->remembers))
		return;
	if (queue_transaction(q, apply_remembered, NULL) == ST_OK) {
		remember_done(q);
		return;
	}
	if (log_once("not-remembered"))
		log_warn("not-remembered", "reason", spool_error(q->spool),
			NULL);
	remember_drop(q);
}

static void
result_singly(struct queue *q, struct result_op *op)
{
	enum status st = ST_AGAIN;

	if (!op->active->unstored && !op->active->aside)
		st = queue_transaction(q, apply_result, op);
	if (st == ST_OK) {
		one_done(q, op);
		notices_done(q);
	} else if (op->active->aside || (st != ST_AGAIN && st != ST_FULL &&
	    st != ST_SYS)) {
		result_aside(q, op, st);	/* its own fault */
	} else {
		op->active->unstored = true;
	}
}

/* Each result alone, those of one delivery in their order: what can be stored
 * is, so that it is not sent again after a restart. */
static void
results_singly(struct queue *q)
{
	struct result_op *op, *next;
	struct active *a;

	TAILQ_FOREACH(a, &q->actives, link)
		a->unstored = false;
	for (op = TAILQ_FIRST(&q->results); op != NULL; op = next) {
		next = TAILQ_NEXT(op, link);
		result_singly(q, op);
	}
}

/* While one waits that others than itself keep from being stored, no work is
 * handed out. */
static void
results_failed(struct queue *q, enum status st)
{
	/* A full disk has room again for all or for none. */
	if (st != ST_FULL)
		results_singly(q);
	if (TAILQ_EMPTY(&q->results)) {
		q->results_failing = false;
		return;
	}
	if (!q->results_failing)
		log_error("results-not-stored", "reason", status_name(st),
			"detail", spool_error(q->spool), NULL);
	q->results_failing = true;
	add_timer(q->commit_ev, RETRY_COMMIT_MS);
}

/* The batch failed: results alone, then each submission alone. */
static void
commit_singly(struct queue *q)
{
	struct submit_op *op;
	enum status st;

	st = TAILQ_EMPTY(&q->results) ? ST_OK :
		queue_transaction(q, apply_results, NULL);
	if (st == ST_OK)
		results_done(q);
	else
		results_failed(q, st);
	while ((op = TAILQ_FIRST(&q->submits)) != NULL) {
		st = queue_transaction(q, apply_submit, op);
		if (st == ST_OK)
			submit_done(q, op);
		else
			submit_failed(q, op, st);
	}
	commit_remembered(q);
	commit_sts(q);
	commit_holds(q);
	commit_report(q);
}

static void
batch_done(struct queue *q)
{
	results_done(q);
	for (; q->batch_submits > 0; q->batch_submits--)
		submit_done(q, TAILQ_FIRST(&q->submits));
	slice_end(&q->batch, (unsigned)q->batch_rcpts);
	if (!TAILQ_EMPTY(&q->results) || !TAILQ_EMPTY(&q->submits))
		queue_schedule_commit(q);
}

/* A part of them, or all. */
static void
commit(struct queue *q, bool all)
{
	unsigned max = all ? UINT_MAX : q->batch.size;

	if (TAILQ_EMPTY(&q->submits) && TAILQ_EMPTY(&q->results) &&
	    TAILQ_EMPTY(&q->remembers) && !sts_waiting(q) &&
	    !hold_waiting(q) && !report_waiting(q))
		return;
	slice_start(&q->batch);
	if (queue_transaction(q, apply_all, &max) != ST_OK) {
		commit_singly(q);
		if (spool_broken(q->spool) && q->port.broken != NULL)
			q->port.broken(q->port.arg);
	} else {
		batch_done(q);
		remember_done(q);
		sts_done(q);
		hold_done(q);
		report_done(q);
	}
	work_pump(q);
	queue_housekeep(q);
}

static void
on_commit(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	turn_mark("commit");
	commit(arg, false);
}

/* In a turn of its own; soon when the log has become long. */
void
queue_housekeep(struct queue *q)
{
	if (spool_room_waits(q->spool) &&
	    !event_pending(q->room_ev, EV_TIMEOUT, NULL))
		add_timer(q->room_ev, 0);
	if (spool_log_long(q->spool))
		add_timer(q->idle_ev, 0);
	else if (!event_pending(q->idle_ev, EV_TIMEOUT, NULL))
		add_timer(q->idle_ev, IDLE_MS);
}

static enum status
apply_recheck(struct queue *q, void *arg)
{
	size_t mended = 0;
	bool more = false;
	enum status st = spool_recheck(q->spool, q->recheck_at,
		q->recheck_slice.size, &mended, &more);

	(void)arg;
	if (mended > 0)
		log_error("queue-counts", "destinations",
			log_num((long long)mended), "action",
			"counted again: they did not agree with the mail",
			NULL);
	q->rechecked = st != ST_OK || !more;
	return st;
}

/* After the start: are the counts of destinations what they should be? */
static bool
recheck(struct queue *q)
{
	enum status st;

	slice_start(&q->recheck_slice);
	st = queue_transaction(q, apply_recheck, NULL);
	slice_end(&q->recheck_slice, q->recheck_slice.size);

	if (st != ST_OK) {
		log_error("queue-counts", "reason", spool_error(q->spool),
			NULL);
		q->rechecked = true;
	}
	return true;
}

static void
on_idle(evutil_socket_t fd, short what, void *arg)
{
	struct queue *q = arg;

	(void)fd;
	(void)what;
	turn_mark("housekeeping");
	if (q->rechecked || spool_log_long(q->spool) ?
	    spool_idle(q->spool) || !q->rechecked : recheck(q))
		add_timer(q->idle_ev, IDLE_MORE_MS);
}

/* Large bodies that were removed: others have their turn in between. */
static void
on_room(evutil_socket_t fd, short what, void *arg)
{
	struct queue *q = arg;

	(void)fd;
	(void)what;
	turn_mark("room");
	if (spool_give_room(q->spool))
		add_timer(q->room_ev, ROOM_MS);
}

/* ---- life ---- */

struct queue *
queue_new(struct event_base *base, const struct conf *conf,
	struct spool *spool, const struct queue_port *port)
{
	struct queue *q = xcalloc(1, sizeof(*q));

	q->base = base;
	q->conf = conf;
	q->spool = spool;
	q->port = *port;
	TAILQ_INIT(&q->results);
	TAILQ_INIT(&q->aside);
	TAILQ_INIT(&q->notices);
	TAILQ_INIT(&q->actives);
	q->by_job = table_new();
	q->by_delivery = table_new();
	q->next_job = 1;
	q->commit_ev = event_new(base, -1, 0, on_commit, q);
	q->idle_ev = event_new(base, -1, 0, on_idle, q);
	q->room_ev = event_new(base, -1, 0, on_room, q);
	q->batch = (struct slice)BATCH;
	q->recheck_slice = (struct slice)RECHECK_SLICE;
	hold_init(q);
	submit_init(q);
	work_init(q);
	expire_init(q);
	add_timer(q->idle_ev, RECHECK_START_MS);
	remember_init(q);
	sts_init(q);
	report_init(q);
	return q;
}

void
queue_free(struct queue **qp)
{
	struct queue *q = *qp;
	struct result_op *op;
	struct active *a;

	if (q == NULL)
		return;
	submit_clear(q);
	TAILQ_CONCAT(&q->results, &q->aside, link);
	while ((op = TAILQ_FIRST(&q->results)) != NULL) {
		TAILQ_REMOVE(&q->results, op, link);
		result_op_free(&op);
	}
	while ((a = TAILQ_FIRST(&q->actives)) != NULL)
		active_free(q, &a);
	remember_clear(q);
	sts_clear(q);
	report_clear(q);
	notice_list_clear(&q->notices);
	table_free(&q->by_delivery);
	table_free(&q->by_job);
	event_free(q->room_ev);
	event_free(q->idle_ev);
	work_clear(q);
	hold_clear(q);
	expire_clear(q);
	event_free(q->commit_ev);
	mem_free(qp);
}

void
queue_set_conf(struct queue *q, const struct conf *conf)
{
	q->conf = conf;
	sts_set_conf(q);
	hold_set_conf(q);
}

void
queue_set_key(struct queue *q, const struct dkim_key *key)
{
	q->key = key;
}

void
queue_stop(struct queue *q)
{
	q->stopping = true;
	(void)event_del(q->due_ev);
	(void)event_del(q->pump_ev);
	(void)event_del(q->expire_ev);
	(void)event_del(q->clock_ev);
}

bool
queue_flush(struct queue *q)
{
	report_save(q);
	result_again(q);
	commit(q, true);
	return TAILQ_EMPTY(&q->results) && TAILQ_EMPTY(&q->aside) &&
		TAILQ_EMPTY(&q->submits);
}

void
queue_stats(const struct queue *q, struct queue_stats *out)
{
	*out = q->stats;
	out->active = table_count(q->by_job);
	out->active_bytes = q->active_bytes;
}

bool
queue_is_active(const struct queue *q, uint64_t delivery_id)
{
	return table_get_id(q->by_delivery, delivery_id) != NULL;
}

void
queue_child_gone(struct queue *q, uint64_t child, enum queue_gone how,
	int64_t again_ms)
{
	struct active *a;

	if (submit_waiting(q, child))
		commit(q, true);
	submit_drop_files(q, child);
	sts_child_gone(q, child);
	report_child_gone(q, child, how == GONE_IN_ORDER);
	TAILQ_FOREACH(a, &q->actives, link) {
		/* With a final result in hand it only waits for the disk. */
		if (a->child != child || a->finishing)
			continue;
		a->gone = how;
		a->again_ms = again_ms;
		result_add_final(q, a);
	}
	queue_schedule_commit(q);
}
