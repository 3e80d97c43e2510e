/*
 * MTA-STS policies in the parent (queue_sts.h).
 *
 * What a worker reports waits for the next commit, at most SAVE_WAIT_MS, and is
 * compared with the store there: what a worker says is no reason to write.  A
 * fault of the spool keeps it waiting; a policy that was fetched must be there
 * after a restart.  Times that cannot be are put right, so that no worker can
 * make a policy last longer than RFC 8461 3.2 permits.
 */
#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/ipc/turn.h"
#include "smtpd-out/queue/queue_sts_int.h"

#define SAVE_WAIT_MS 1000
#define SAVE_AGAIN_MS 30000	/* after a fault */
#define WAITING_MAX 5000
#define WAITING_BYTES_MAX (16U << 20)
#define STORED_BYTES_MAX (64U << 20)
#define MAX_AGE_MAX_S 31557600	/* RFC 8461 3.2 */
#define RETRY_MAX_S (7 * 86400)
#define SAME_S 60		/* so near is the same time */
#define USED_AGAIN_S 3600
#define SWEEP_SLICE 500		/* removed in one commit */
#define JUMP_MS 600000		/* a clock that is set by more is doubtful */
#define DOUBT_MS 86400000	/* for so long, as is that of a start */

_Static_assert(MSG_STS_TEXT_MAX == SPOOL_STS_TEXT_MAX &&
	MSG_STS_ID_MAX == SPOOL_STS_ID_MAX &&
	MSG_STS_ERROR_MAX == SPOOL_STS_ERROR_MAX, "what travels is stored");
_Static_assert(MSG_STS_LIST_MX_MAX == STS_LIST_MX_MAX,
	"what a list has can travel");

void
sts_add_timer(struct event *ev, int64_t ms)
{
	const struct timeval tv = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	(void)event_add(ev, &tv);
}

void
sts_tell(struct queue *q, uint64_t worker, uint64_t id,
	enum msg_sts_what what, const char *domain)
{
	struct msg_sts msg = { .what = what };

	(void)str_copy(msg.domain, sizeof(msg.domain), domain);
	q->port.send_sts(worker, id, &msg, q->port.arg);
}

/* ---- what is known ---- */

static int64_t
later_of(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static void
merge_fetched(struct spool_sts *row, const struct msg_sts *msg)
{
	spool_sts_clear(row);
	(void)str_copy(row->id, sizeof(row->id), msg->id);
	row->text = xmalloc(msg->text_len + 1);
	memcpy(row->text, msg->text, msg->text_len + 1);
	row->text_len = msg->text_len;
	row->fetched_s = msg->fetched_s;
	row->expires_s = msg->expires_s;
	row->tried_s = row->next_try_s = 0;
	row->failures = row->failure = 0;
	row->error[0] = '\0';
}

static void
merge(struct spool_sts *row, const struct msg_sts *msg)
{
	row->used_s = later_of(row->used_s, msg->used_s);
	if (msg->what == MSG_STS_FETCHED) {
		merge_fetched(row, msg);
	} else if (msg->what == MSG_STS_FAILED) {
		row->tried_s = msg->tried_s;
		row->next_try_s = msg->next_try_s;
		row->failures = msg->failures;
		row->failure = (unsigned)msg->failure;
		(void)str_copy(row->error, sizeof(row->error), msg->error);
	}
}

/* The row on disk, or an empty one; a damaged one is as none, and the next
 * report replaces it. */
static enum status
load(struct queue *q, const char *domain, struct spool_sts *row)
{
	enum status st = spool_sts_get(q->spool, domain, row);

	if (st == ST_CORRUPT)
		log_warn("sts-policy", "domain", domain, "reason",
			spool_error(q->spool), NULL);
	if (st == ST_OK)
		return ST_OK;
	memset(row, 0, sizeof(*row));
	(void)str_copy(row->domain, sizeof(row->domain), domain);
	return st == ST_CORRUPT ? ST_NOENT : st;
}

static bool
is_empty(const struct spool_sts *row)
{
	return row->text == NULL && row->failures == 0 && row->used_s == 0;
}

enum status
queue_sts_known(struct queue *q, const char *domain, struct msg_sts *out)
{
	const struct sts_op *op;
	struct spool_sts row;
	enum status st = load(q, domain, &row);

	if (st != ST_OK && st != ST_NOENT)
		log_error("sts-policy", "domain", domain, "reason",
			spool_error(q->spool), NULL);
	TAILQ_FOREACH(op, &q->sts->ops, link)
		if (strcmp(op->msg.domain, domain) == 0 &&
		    (op->msg.what != MSG_STS_USED || row.text != NULL))
			merge(&row, &op->msg);
	*out = (struct msg_sts){ .what = MSG_STS_ANSWER,
		.found = !is_empty(&row), .used_s = row.used_s,
		.tried_s = row.tried_s, .next_try_s = row.next_try_s,
		.failures = row.failures };
	(void)str_copy(out->domain, sizeof(out->domain), domain);
	(void)str_copy(out->error, sizeof(out->error), row.error);
	if (row.failure < TLS_FAILURE_COUNT)
		out->failure = (enum tls_failure)row.failure;
	if (row.text != NULL && row.expires_s > clock_wall_s()) {
		(void)str_copy(out->id, sizeof(out->id), row.id);
		out->text = row.text;
		out->text_len = row.text_len;
		out->fetched_s = row.fetched_s;
		out->expires_s = row.expires_s;
		row.text = NULL;
	}
	spool_sts_clear(&row);
	sts_lists_answer(q->sts->lists, clock_wall_s(), out);
	return st == ST_NOENT ? ST_OK : st;
}

enum status
queue_sts_get(struct queue *q, uint64_t worker, uint64_t request,
	const struct msg_sts *msg)
{
	struct msg_sts answer;

	if (msg->what != MSG_STS_GET ||
	    !q->port.owns(worker, msg->domain, q->port.arg))
		return ST_DENIED;
	/* There may be a new one in its place. */
	if (sts_lists_outdated(q->sts->lists, clock_wall_s()))
		sts_set_conf(q);
	/* Not knowing must not pass for none: without an answer mail waits. */
	if (queue_sts_known(q, msg->domain, &answer) == ST_OK)
		q->port.send_sts(worker, request, &answer, q->port.arg);
	msg_sts_clear(&answer);
	return ST_OK;
}

/* ---- what a worker reports ---- */

static int64_t
at_most(int64_t time_s, int64_t max_s)
{
	return time_s < max_s ? time_s : max_s;
}

static void
put_right(struct msg_sts *msg, int64_t now_s)
{
	msg->used_s = at_most(msg->used_s, now_s);
	msg->fetched_s = at_most(msg->fetched_s, now_s);
	msg->expires_s = at_most(msg->expires_s, now_s + MAX_AGE_MAX_S);
	msg->tried_s = at_most(msg->tried_s, now_s);
	msg->next_try_s = at_most(msg->next_try_s, now_s + RETRY_MAX_S);
	if (msg->what == MSG_STS_FAILED && msg->failures == 0)
		msg->failures = 1;
}

static void
op_free(struct queue *q, struct sts_op *op)
{
	TAILQ_REMOVE(&q->sts->ops, op, link);
	q->sts->count--;
	q->sts->bytes -= op->msg.text_len;
	msg_sts_clear(&op->msg);
	free(op);
}

static bool
is_full(const struct queue_sts *sts, const struct msg_sts *msg)
{
	return sts->count >= WAITING_MAX ||
		sts->bytes + msg->text_len > WAITING_BYTES_MAX;
}

/* A policy counts for more than what else workers have to say. */
static void
make_room(struct queue *q)
{
	struct sts_op *op, *next;

	for (op = TAILQ_FIRST(&q->sts->ops); op != NULL; op = next) {
		next = TAILQ_NEXT(op, link);
		if (op->msg.what != MSG_STS_FETCHED)
			op_free(q, op);
	}
}

static void
add_op(struct queue *q, struct msg_sts *msg)
{
	struct queue_sts *sts = q->sts;
	struct sts_op *op;

	if (is_full(sts, msg) && msg->what == MSG_STS_FETCHED)
		make_room(q);
	if (is_full(sts, msg)) {
		if (log_once("sts-not-stored full"))
			log_warn("sts-not-stored", "domain", msg->domain,
				"reason", "too many wait", NULL);
		return;
	}
	op = xcalloc(1, sizeof(*op));
	op->msg = *msg;		/* with all that it owns */
	*msg = (struct msg_sts){ .what = op->msg.what };
	TAILQ_INSERT_TAIL(&sts->ops, op, link);
	sts->count++;
	sts->bytes += op->msg.text_len;
	if (!event_pending(sts->save_ev, EV_TIMEOUT, NULL))
		sts_add_timer(sts->save_ev, SAVE_WAIT_MS);
}

enum status
queue_sts_save(struct queue *q, uint64_t worker, struct msg_sts *msg)
{
	if (!q->port.owns(worker, msg->domain, q->port.arg) ||
	    (msg->what != MSG_STS_FETCHED && msg->what != MSG_STS_FAILED &&
	    msg->what != MSG_STS_USED && msg->what != MSG_STS_ABSENT))
		return ST_DENIED;
	put_right(msg, clock_wall_s());
	refresh_result(q, worker, msg);
	if (msg->what != MSG_STS_ABSENT)
		add_op(q, msg);
	return ST_OK;
}

/* ---- inside the transaction ---- */

static bool
near(int64_t a, int64_t b)
{
	return a - b < SAME_S && b - a < SAME_S;
}

/* True when the store would not change for it. */
static bool
is_stored(const struct spool_sts *row, const struct msg_sts *msg)
{
	bool used = msg->used_s < row->used_s + USED_AGAIN_S ||
		msg->used_s == 0;

	if (msg->what == MSG_STS_FETCHED)
		return used && row->text != NULL && row->failures == 0 &&
			row->text_len == msg->text_len &&
			memcmp(row->text, msg->text, msg->text_len) == 0 &&
			strcmp(row->id, msg->id) == 0 &&
			near(row->fetched_s, msg->fetched_s) &&
			near(row->expires_s, msg->expires_s);
	if (msg->what == MSG_STS_FAILED)
		return used && row->failures == msg->failures &&
			near(row->next_try_s, msg->next_try_s);
	return used || row->text == NULL;
}

static enum status
store(struct queue *q, const struct msg_sts *msg)
{
	struct spool_sts row;
	enum status st = load(q, msg->domain, &row);

	if (st != ST_OK && st != ST_NOENT)
		return st;
	st = ST_OK;
	if (!is_stored(&row, msg)) {
		merge(&row, msg);
		st = spool_sts_put(q->spool, &row);
	}
	spool_sts_clear(&row);
	return st;
}

/* Policies that still protect somebody. */
static void
log_gone(const struct spool_sts *gone, size_t count)
{
	size_t in_force = 0, last = 0;

	for (size_t i = 0; i < count; i++)
		if (gone[i].id[0] != '\0' &&
		    gone[i].expires_s > clock_wall_s()) {
			in_force++;
			last = i;
		}
	if (in_force > 0 && log_once("sts-cache-full"))
		log_warn("sts-cache-full", "forgotten",
			log_num((long long)in_force), "domain",
			gone[last].domain, "option", "mta-sts cache-size",
			NULL);
}

/* A clock that is wrong, perhaps only until it is set, lets a policy expire but
 * not be forgotten. */
static bool
clock_is_steady(struct queue_sts *sts)
{
	int64_t now_ms = clock_mono_ms();
	int64_t apart_ms = clock_wall_ms() - now_ms;

	if (apart_ms - sts->apart_ms > JUMP_MS ||
	    sts->apart_ms - apart_ms > JUMP_MS) {
		sts->apart_ms = apart_ms;
		sts->steady_ms = now_ms;
	}
	return now_ms - sts->steady_ms >= DOUBT_MS;
}

/* Workers keep what they work with: nobody is told.  A damaged row is no reason
 * to keep what is good from being stored. */
static enum status
sweep(struct queue *q)
{
	const struct spool_sts_bounds bounds = {
		.now_s = clock_wall_s(),
		.stale_s = clock_is_steady(q->sts) ? clock_wall_s() : 0,
		.used_since_s = clock_wall_s() - q->conf->sts.unused_s,
		.keep_domains = q->conf->sts.cache_domains,
		.keep_bytes = STORED_BYTES_MAX,
	};
	struct spool_sts *gone = xcalloc(SWEEP_SLICE, sizeof(gone[0]));
	size_t count = 0;
	enum status st = spool_sts_sweep(q->spool, &bounds, gone, SWEEP_SLICE,
		&count);

	log_gone(gone, count);
	q->sts->sweep_more = count == SWEEP_SLICE;
	free(gone);
	if (st == ST_CORRUPT && log_once("sts-sweep"))
		log_warn("sts-policy", "reason", spool_error(q->spool), NULL);
	return st == ST_CORRUPT ? ST_OK : st;
}

bool
sts_waiting(const struct queue *q)
{
	return q->sts->sweep || !TAILQ_EMPTY(&q->sts->ops);
}

enum status
sts_apply(struct queue *q)
{
	const struct sts_op *op;

	TAILQ_FOREACH(op, &q->sts->ops, link) {
		enum status st = store(q, &op->msg);

		if (st != ST_OK)
			return st;
	}
	return sts_waiting(q) ? sweep(q) : ST_OK;
}

/* ---- after it ---- */

static void
drop_ops(struct queue *q, const char *domain)
{
	struct sts_op *op, *next;

	for (op = TAILQ_FIRST(&q->sts->ops); op != NULL; op = next) {
		next = TAILQ_NEXT(op, link);
		if (domain == NULL || strcmp(op->msg.domain, domain) == 0)
			op_free(q, op);
	}
}

void
sts_done(struct queue *q)
{
	drop_ops(q, NULL);
	q->sts->sweep = q->sts->sweep_more;
	q->sts->sweep_more = false;
	(void)event_del(q->sts->save_ev);
	if (q->sts->sweep)
		sts_add_timer(q->sts->save_ev, SAVE_WAIT_MS);
}

void
sts_failed(struct queue *q, enum status st)
{
	if (log_once("sts-not-stored"))
		log_warn("sts-not-stored", "reason", spool_error(q->spool),
			NULL);
	q->sts->sweep = false;
	/* A damaged table gets no better; a full disk does. */
	if (st == ST_CORRUPT || st == ST_LIMIT)
		drop_ops(q, NULL);
	if (!TAILQ_EMPTY(&q->sts->ops))
		sts_add_timer(q->sts->save_ev, SAVE_AGAIN_MS);
}

/* ---- the operator ---- */

enum status
queue_sts_forget(struct queue *q, const char *domain)
{
	struct msg_sts known;
	enum status st = spool_begin(q->spool);
	bool found;

	if (st != ST_OK)
		return st;
	queue_sts_known(q, domain, &known);
	found = known.found;
	msg_sts_clear(&known);
	st = spool_sts_forget(q->spool, domain);
	found = found || st == ST_OK;
	if (st == ST_OK || st == ST_NOENT)
		st = spool_commit(q->spool);
	if (st != ST_OK) {
		spool_rollback(q->spool);
		return st;
	}
	drop_ops(q, domain);
	sts_tell(q, 0, 0, MSG_STS_FORGET, domain);
	return found ? ST_OK : ST_NOENT;
}

/* ---- life ---- */

const struct sts_lists *
queue_sts_lists(const struct queue *q)
{
	return q->sts->lists;
}

void
sts_set_conf(struct queue *q)
{
	sts_lists_free(&q->sts->lists);
	q->sts->lists = sts_lists_new(&q->conf->sts, q->spool,
		clock_wall_s());
}

static void
on_save(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	turn_mark("policies");
	queue_schedule_commit(arg);
}

void
sts_init(struct queue *q)
{
	struct queue_sts *sts = xcalloc(1, sizeof(*sts));

	TAILQ_INIT(&sts->ops);
	sts->save_ev = event_new(q->base, -1, 0, on_save, q);
	sts->steady_ms = clock_mono_ms();
	sts->apart_ms = clock_wall_ms() - sts->steady_ms;
	q->sts = sts;
	sts_set_conf(q);
	refresh_init(q);
}

void
sts_clear(struct queue *q)
{
	refresh_clear(q);
	drop_ops(q, NULL);
	sts_lists_free(&q->sts->lists);
	event_free(q->sts->save_ev);
	mem_free(&q->sts);
}
