/*
 * Handing out work: what is due goes to the worker of its destination, while
 * the active set and its memory are within bounds.
 *
 * The queue on disk is walked by a cursor in order of due time.  While there
 * is a backlog the cursor stays where it is; at the end a timer waits for the
 * next due time, and the walk starts over (so that what was put back earlier
 * than the cursor, by the operator or a clock step, is found again).
 */
#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "smtpd-out/queue_int.h"

#define BATCH 64			/* read from the index at once */
#define ACTIVE_BYTES_MAX (64U << 20)	/* inline bodies out with workers */
#define WALK_MAX 512			/* looked at in one turn */
#define SCAN_MIN_MS 20			/* between walks */
#define SCAN_MAX_MS 60000		/* a walk at least this often */
#define SCAN_FULL_MS 1000
#define SKIPPED_MS 200			/* until a worker may have room */
#define EXPIRE_MS 10000

struct active *
active_new(struct queue *q, const struct spool_delivery *delivery,
	struct envelope *env, uint64_t child)
{
	struct active *a = xcalloc(1, sizeof(*a));

	a->job_id = q->next_job++;
	a->child = child;
	a->delivery = *delivery;
	a->env = env;
	a->results = xcalloc(env->rcpt_count, sizeof(a->results[0]));
	a->states = xcalloc(env->rcpt_count, sizeof(a->states[0]));
	a->started_ms = clock_mono_ms();
	TAILQ_INSERT_TAIL(&q->actives, a, link);
	table_put_id(q->by_job, a->job_id, a);
	table_put_id(q->by_delivery, a->delivery.id, a);
	return a;
}

void
active_free(struct queue *q, struct active **ap)
{
	struct active *a = *ap;

	TAILQ_REMOVE(&q->actives, a, link);
	(void)table_remove_id(q->by_job, a->job_id);
	(void)table_remove_id(q->by_delivery, a->delivery.id);
	q->active_bytes -= a->bytes;
	envelope_free(&a->env);
	free(a->results);
	free(a->states);
	mem_free(ap);
}

static bool
is_full(const struct queue *q)
{
	return q->stopping || q->results_failing ||
		table_count(q->by_job) >= q->conf->limit.active ||
		q->active_bytes >= ACTIVE_BYTES_MAX;
}

static bool
send_job(struct queue *q, uint64_t worker, const struct active *a,
	const uint8_t *body, size_t body_len, int fd)
{
	struct msg_job job = {
		.env = a->env,
		.destination = (char *)(uintptr_t)a->delivery.destination,
		.attempt = a->delivery.attempts + 1,
		.body = body,
		.body_len = body_len,
	};
	struct buf payload;
	bool ok;

	buf_init(&payload, IPC_PAYLOAD_MAX);
	ok = msg_job_encode(&job, &payload) == ST_OK &&
		q->port.send_job(worker, a->job_id, &payload, fd, q->port.arg);
	buf_clear(&payload);
	return ok;
}

/* Takes env over, whatever the result. */
static bool
start_with(struct queue *q, uint64_t worker,
	const struct spool_delivery *delivery, struct envelope *env,
	const uint8_t *body, size_t body_len, int fd)
{
	struct active *a = active_new(q, delivery, env, worker);

	a->bytes = body != NULL ? body_len : 0;
	q->active_bytes += a->bytes;
	if (send_job(q, worker, a, body, body_len, fd))
		return true;
	active_free(q, &a);
	return false;
}

static void
unreadable(struct queue *q, const struct spool_delivery *d, enum status st)
{
	if (st == ST_NOENT)
		return;		/* removed meanwhile */
	log_error("unreadable-message", "message",
		log_num((long long)d->message_id), "destination",
		d->destination, "reason", status_name(st), "detail",
		spool_error(q->spool), NULL);
}

/* Reads envelope and body, and starts.  True also when the delivery can never
 * be started (damaged): it stays where it is and the walk goes on. */
static bool
start_from_disk(struct queue *q, const struct spool_delivery *d)
{
	struct envelope *env = NULL;
	uint64_t worker;
	void *data = NULL;
	size_t len = 0;
	enum status st;
	int fd = -1;
	bool ok;

	worker = q->port.worker_for(d->destination, 0, q->port.arg);
	if (worker == 0)
		return false;
	st = spool_envelope(q->spool, d->message_id, d->id, &env);
	if (st == ST_OK)
		st = spool_body_get(q->spool, d->message_id, &data, &len, &fd);
	if (st != ST_OK) {
		unreadable(q, d, st);
		envelope_free(&env);
		return true;
	}
	ok = start_with(q, worker, d, env, data, len, fd);
	free(data);
	if (fd >= 0)
		(void)close(fd);
	return ok;
}

/* Recipients of one destination, as an envelope of its own. */
static struct envelope *
envelope_part(const struct envelope *env, const char *destination)
{
	struct envelope *part = envelope_new(env->sender);

	part->id = env->id;
	part->received_ms = env->received_ms;
	part->size_bytes = env->size_bytes;
	part->flags = env->flags;
	part->ret = env->ret;
	part->envid = env->envid == NULL ? NULL : xstrdup(env->envid);
	part->origin = env->origin == NULL ? NULL : xstrdup(env->origin);
	for (size_t i = 0; i < env->rcpt_count; i++) {
		const struct envelope_rcpt *from = &env->rcpts[i];
		struct envelope_rcpt *to;

		if (strcmp(from->destination, destination) != 0)
			continue;
		to = envelope_add_rcpt(part, from->address, from->destination);
		to->id = from->id;
		to->notify = from->notify;
		to->orcpt = from->orcpt == NULL ? NULL : xstrdup(from->orcpt);
	}
	return part;
}

void
work_start_message(struct queue *q, const struct envelope *env,
	const uint8_t *body, size_t body_len)
{
	struct spool_delivery ds[BATCH];
	size_t count = 0;

	/* Large bodies and whatever does not fit come by the walk. */
	if (is_full(q) || body == NULL || spool_deliveries_of(q->spool,
	    env->id, ds, BATCH, &count) != ST_OK) {
		queue_kick(q);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		uint64_t worker = q->port.worker_for(ds[i].destination,
			body_len, q->port.arg);

		if (is_full(q) || worker == 0 || !start_with(q, worker, &ds[i],
		    envelope_part(env, ds[i].destination), body, body_len,
		    -1)) {
			queue_kick(q);
			return;
		}
	}
	if (count == BATCH)
		queue_kick(q);
}

/* Milliseconds until the walk's timer ends; INT64_MAX when it is not set. */
static int64_t
due_remaining(const struct queue *q)
{
	struct timeval end, now;

	if (!event_pending(q->due_ev, EV_TIMEOUT, &end))
		return INT64_MAX;
	(void)evutil_gettimeofday(&now, NULL);
	return (int64_t)(end.tv_sec - now.tv_sec) * 1000 +
		(end.tv_usec - now.tv_usec) / 1000;
}

void
work_due_at(struct queue *q, int64_t when_ms)
{
	int64_t ms = when_ms - clock_wall_ms();
	struct timeval tv;

	if (ms < SCAN_MIN_MS)
		ms = SCAN_MIN_MS;
	if (ms > SCAN_MAX_MS)
		ms = SCAN_MAX_MS;
	/* Never later than it was: kicks may come faster than it ends. */
	if (q->stopping || due_remaining(q) <= ms)
		return;
	tv.tv_sec = ms / 1000;
	tv.tv_usec = ms % 1000 * 1000;
	(void)event_add(q->due_ev, &tv);
}

/* The walk reached the end: wait for the next due time, then start over. */
static void
rest(struct queue *q, int64_t now_ms)
{
	int64_t next_ms = INT64_MAX;

	if (spool_next_due(q->spool, &q->cursor, &next_ms) != ST_OK)
		log_error("queue-walk", "detail", spool_error(q->spool), NULL);
	q->walking = false;
	work_due_at(q, q->skipped ? now_ms + SKIPPED_MS : next_ms);
}

/* False when the bounds are met; the cursor is then before what is left. */
static bool
start_batch(struct queue *q, const struct spool_delivery *ds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (is_full(q)) {
			q->cursor.next_ms = ds[i].next_ms;
			q->cursor.id = ds[i].id - 1;
			return false;
		}
		if (!queue_is_active(q, ds[i].id) &&
		    !start_from_disk(q, &ds[i]))
			q->skipped = true;
	}
	return true;
}

void
work_pump(struct queue *q)
{
	struct spool_delivery ds[BATCH];
	int64_t now_ms = clock_wall_ms();
	size_t count = 0, seen = 0;

	/* Rows that no worker takes fill nothing: they would all be passed by
	 * in one turn, however many there are. */
	while (q->walking && !is_full(q) && seen < WALK_MAX) {
		if (spool_due(q->spool, now_ms, &q->cursor, ds, BATCH,
		    &count) != ST_OK) {
			log_error("queue-walk", "detail",
				spool_error(q->spool), NULL);
			count = 0;
		}
		seen += count;
		if (start_batch(q, ds, count) && count < BATCH)
			rest(q, now_ms);
	}
	if (seen >= WALK_MAX)
		work_due_at(q, now_ms);
}

static void
on_due(evutil_socket_t fd, short what, void *arg)
{
	struct queue *q = arg;

	(void)fd;
	(void)what;
	if (!q->walking) {
		memset(&q->cursor, 0, sizeof(q->cursor));
		q->skipped = false;
	}
	q->walking = true;
	work_pump(q);
	if (q->walking)		/* full: results pump, this is for safety */
		work_due_at(q, clock_wall_ms() + SCAN_FULL_MS);
}

void
queue_kick(struct queue *q)
{
	work_due_at(q, 0);
}

/* Mail that nobody tries, because it is held or because no worker takes it
 * long after its last attempt was due: only this ends it (RFC 5321
 * 4.5.4.1). */
static void
expire_untried(struct queue *q)
{
	int64_t now_ms = clock_wall_ms();
	struct spool_delivery ds[BATCH];
	struct envelope *env;
	struct active *a;
	size_t count;

	if (spool_expired(q->spool, now_ms, ds, BATCH, &count) != ST_OK)
		return;
	for (size_t i = 0; i < count; i++) {
		const struct outcome expired = outcome_expired(ds[i].held ?
			"held by the operator" : "no process to deliver it");

		if ((!ds[i].held && now_ms - ds[i].expires_ms <
		    q->conf->retry.max_ms) || queue_is_active(q, ds[i].id) ||
		    spool_envelope(q->spool, ds[i].message_id, ds[i].id,
		    &env) != ST_OK)
			continue;
		a = active_new(q, &ds[i], env, 0);
		for (size_t r = 0; r < env->rcpt_count; r++) {
			a->results[r].rcpt_id = env->rcpts[r].id;
			a->results[r].outcome = expired;
			a->states[r] = ACTIVE_RESULT;
		}
		result_add_final(q, a);
	}
}

static void
on_expire(evutil_socket_t fd, short what, void *arg)
{
	struct queue *q = arg;
	struct timeval tv = { .tv_sec = EXPIRE_MS / 1000 };

	(void)fd;
	(void)what;
	expire_untried(q);
	(void)event_add(q->expire_ev, &tv);
}

void
work_init(struct queue *q)
{
	struct timeval tv = { .tv_sec = 1 };

	q->due_ev = event_new(q->base, -1, 0, on_due, q);
	q->expire_ev = event_new(q->base, -1, 0, on_expire, q);
	(void)event_add(q->expire_ev, &tv);
	queue_kick(q);
}
