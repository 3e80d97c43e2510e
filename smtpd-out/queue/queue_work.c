/*
 * Handing out work: each destination in its turn gives some of what is due to
 * its worker, while there is room (queue_lane.h).
 *
 * The walk finds destinations on disk by the time they become due, those with
 * new mail and those with retries apart, and goes on from where it was: from
 * the start again only when something may have become due before that (the
 * operator, a worker that came up, a clock that was set) and once a minute.
 * What a destination in memory has due later, it remembers itself.
 */
#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "smtpd-out/ipc/turn.h"
#include "smtpd-out/queue/queue_lane.h"

#define BATCH 64			/* read from an index at once */
#define QUANTUM 16			/* of one destination in one turn */
#define WALK_MAX 512			/* looked at in one loop turn */
#define TURN_MS 20			/* then others have their turn */
#define SCAN_MIN_MS 20			/* between walks */
#define SCAN_MAX_MS 60000		/* from the start at least this often */
#define SKIPPED_MIN_MS 200		/* until a worker may have room */
#define SKIPPED_MAX_MS 5000
#define SMALL_BODY 4096			/* always goes inline */
#define DAMAGED_MAX 10000		/* ids that are remembered */

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

struct msg_rcpt_result *
active_result(struct active *a, size_t i)
{
	if (a->results[i] == NULL)
		a->results[i] = xcalloc(1, sizeof(*a->results[i]));
	return a->results[i];
}

void
active_free(struct queue *q, struct active **ap)
{
	struct active *a = *ap;

	TAILQ_REMOVE(&q->actives, a, link);
	(void)table_remove_id(q->by_job, a->job_id);
	(void)table_remove_id(q->by_delivery, a->delivery.id);
	q->active_bytes -= a->bytes;
	q->ill_count -= a->ill;
	dest_give(q, a);
	for (size_t i = 0; i < a->env->rcpt_count; i++)
		free(a->results[i]);
	free(a->results);
	envelope_free(&a->env);
	free(a->states);
	mem_free(ap);
}

/* Nothing will be tried before the next start; it can be removed, and is given
 * up in the end. */
static void
set_damaged(struct queue *q, uint64_t id)
{
	if (table_count(q->damaged) < DAMAGED_MAX)
		table_put_id(q->damaged, id, q);
}

enum start { STARTED = 0, START_NOT, START_LATER };

static enum start
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
	enum start s = START_LATER;
	struct buf payload;

	buf_init(&payload, IPC_PAYLOAD_MAX);
	if (msg_job_encode(&job, &payload) != ST_OK) {
		log_error("message-too-large", "delivery",
			log_num((long long)a->delivery.id), "destination",
			job.destination, NULL);
		set_damaged(q, a->delivery.id);
		s = START_NOT;
	} else if (q->port.send_job(worker, a->job_id, &payload, fd,
	    q->port.arg)) {
		s = STARTED;
	}
	buf_clear(&payload);
	return s;
}

/*
 * Half of what may be in memory is for small bodies: else a hundred hosts that
 * are slow to take somewhat larger ones would keep all others waiting.  What
 * is beyond goes as a file, as large bodies do; -1 when it cannot.
 */
static int
spill(struct queue *q, const uint8_t *body, size_t body_len)
{
	int fd;

	if (body == NULL || body_len <= SMALL_BODY ||
	    q->active_bytes + body_len <= ACTIVE_BYTES_MAX / 2 ||
	    spool_free_bytes(q->spool) < q->conf->limit.free_bytes ||
	    spool_body_spill(q->spool, body, body_len, &fd) != ST_OK)
		return -1;
	return fd;
}

/* Takes env over, whatever the result. */
static enum start
start_with(struct queue *q, struct dest *dest, uint64_t worker,
	const struct spool_delivery *delivery, struct envelope *env,
	const uint8_t *body, size_t body_len, int fd)
{
	struct active *a = active_new(q, delivery, env, worker);
	int spilled = spill(q, body, body_len);
	enum start s;

	if (spilled >= 0)
		body = NULL;
	a->bytes = body != NULL ? body_len : 0;
	q->active_bytes += a->bytes;
	s = send_job(q, worker, a, body, body_len, spilled >= 0 ? spilled :
		fd);
	if (spilled >= 0)
		(void)close(spilled);
	if (s == STARTED)
		dest_take(q, dest, a);
	else
		active_free(q, &a);
	return s;
}

/* It stays on disk, where the operator can remove it; the others go on. */
static void
unreadable(struct queue *q, struct lane *l, uint64_t id, enum status st)
{
	if (st == ST_NOENT)
		return;		/* removed meanwhile */
	log_error("unreadable-message", "delivery", log_num((long long)id),
		"destination", l->dest->name, "reason", status_name(st),
		"detail", spool_error(q->spool), NULL);
	if (st == ST_CORRUPT)
		set_damaged(q, id);
	else
		l->again = true;
}

/* Reads envelope and body, and starts.  START_NOT when it never can be. */
static enum start
start_from_disk(struct queue *q, struct lane *l, uint64_t id)
{
	struct dest *dest = l->dest;
	struct spool_delivery d;
	struct envelope *env = NULL;
	uint64_t worker = q->port.worker_for(dest->name, 0, q->port.arg);
	void *data = NULL;
	size_t len = 0;
	enum start s;
	enum status st;
	int fd = -1;

	if (worker == 0)
		return START_LATER;
	st = spool_delivery(q->spool, id, &d);
	if (st == ST_OK && strcmp(d.destination, dest->name) != 0)
		st = ST_CORRUPT;
	if (st == ST_OK) {
		st = spool_envelope(q->spool, d.message_id, id, &env);
		if (st == ST_OK)
			st = spool_body_get(q->spool, d.message_id, &data,
				&len, &fd);
		/* A delivery without the rest: nobody removed that. */
		if (st == ST_NOENT)
			st = ST_CORRUPT;
	}
	if (st != ST_OK) {
		unreadable(q, l, id, st);
		envelope_free(&env);
		return START_NOT;
	}
	s = start_with(q, dest, worker, &d, env, data, len, fd);
	free(data);
	if (fd >= 0)
		(void)close(fd);
	return s;
}

/* ---- a destination's turn ---- */

/* Nothing more is due: when is the next? */
static void
lane_rest(struct queue *q, struct lane *l)
{
	if (spool_lane_next(q->spool, l->dest->name, l->class, &l->cursor,
	    &l->next_ms) != ST_OK) {
		log_error("queue-walk", "detail", spool_error(q->spool), NULL);
		l->again = true;
	}
	/* What could not be read lies before the cursor. */
	if (l->again) {
		memset(&l->cursor, 0, sizeof(l->cursor));
		if (l->next_ms > clock_wall_ms() + SCAN_MAX_MS)
			l->next_ms = clock_wall_ms() + SCAN_MAX_MS;
		l->again = false;
	}
	lane_set(q, l, LANE_IDLE);
	if (l->next_ms != INT64_MAX)
		work_due_at(q, l->next_ms);
	dest_release(q, l->dest);
}

static void
lane_stall(struct queue *q, struct lane *l)
{
	lane_set(q, l, LANE_STALLED);
	work_due_at(q, clock_wall_ms() + SKIPPED_MIN_MS);
}

/* False when it cannot go on; the cursor is then before what is left. */
static bool
lane_give(struct queue *q, struct lane *l, const struct spool_due *due,
	size_t count)
{
	for (size_t i = 0; i < count; i++) {
		enum start s = START_NOT;

		if (lanes_full(q))
			s = START_LATER;
		else if (!queue_is_active(q, due[i].id) &&
		    table_get_id(q->damaged, due[i].id) == NULL)
			s = start_from_disk(q, l, due[i].id);
		if (s != START_LATER)
			continue;
		l->cursor.next_ms = due[i].next_ms;
		l->cursor.id = due[i].id - 1;
		if (lanes_full(q))
			lane_set(q, l, LANE_READY);
		else
			lane_stall(q, l);
		return false;
	}
	return true;
}

static void
lane_serve(struct queue *q, struct lane *l, int64_t now_ms)
{
	struct spool_due due[QUANTUM];
	size_t room = dest_room(q, l->dest, l->class), count = 0;
	int64_t until_ms;

	if (hold_until(q, l->dest->name, &until_ms)) {
		hold_park(q, l->dest->name, until_ms);
		lane_set(q, l, LANE_UNKNOWN);
		dest_release(q, l->dest);
		return;
	}
	if (room == 0) {
		lane_set(q, l, LANE_BLOCKED);
		return;
	}
	if (room > QUANTUM)
		room = QUANTUM;
	if (spool_lane_due(q->spool, l->dest->name, l->class, now_ms,
	    &l->cursor, due, room, &count) != ST_OK) {
		log_error("queue-walk", "destination", l->dest->name, "detail",
			spool_error(q->spool), NULL);
		l->again = true;
	}
	if (!lane_give(q, l, due, count))
		return;
	if (count < room)
		lane_rest(q, l);
	else
		lane_set(q, l, LANE_READY);	/* behind the others */
}

/* ---- the walk on disk ---- */

static void
walk_found(struct queue *q, enum spool_class class, const char *name)
{
	struct dest *d = dest_find(q, name);
	int64_t until_ms;

	if (d != NULL && d->lanes[class].state != LANE_UNKNOWN)
		return;
	if (hold_until(q, name, &until_ms)) {
		hold_park(q, name, until_ms);
		return;
	}
	if (q->port.worker_for(name, 0, q->port.arg) == 0) {
		q->skipped = true;
		return;
	}
	d = dest_get(q, name);
	memset(&d->lanes[class].cursor, 0, sizeof(d->lanes[class].cursor));
	lane_set(q, &d->lanes[class], LANE_READY);
}

static void
walk_end(struct queue *q, int64_t now_ms)
{
	int64_t next_ms = INT64_MAX;

	if (spool_next_lane(q->spool, now_ms, &next_ms) != ST_OK)
		log_error("queue-walk", "detail", spool_error(q->spool), NULL);
	work_due_at(q, next_ms);
	if (!q->skipped)
		return;
	/* Not in vain and again at once: each time a little later. */
	q->skipped_ms = q->skipped_ms == 0 ? SKIPPED_MIN_MS :
		q->skipped_ms * 2 < SKIPPED_MAX_MS ? q->skipped_ms * 2 :
		SKIPPED_MAX_MS;
	q->skipped = false;
	q->walk_all = true;
	work_due_at(q, now_ms + q->skipped_ms);
}

/* Finds more destinations of a class; false when there are none, or enough. */
static bool
walk(struct queue *q, enum spool_class class, int64_t now_ms, size_t *seen)
{
	struct spool_lane found[BATCH];
	size_t count = 0;

	if (!q->walking[class] || !class_has_room(q, class) || hold_full(q) ||
	    lanes_ready(q, class) >= READY_AHEAD || *seen >= WALK_MAX)
		return false;
	if (spool_lanes(q->spool, class, now_ms, &q->walk_at[class], found,
	    BATCH, &count) != ST_OK)
		log_error("queue-walk", "detail", spool_error(q->spool), NULL);
	for (size_t i = 0; i < count; i++)
		walk_found(q, class, found[i].destination);
	*seen += count;
	if (count < BATCH) {
		q->walking[class] = false;
		/* From here on when more is due. */
		q->walk_at[class].due_ms = now_ms;
		q->walk_at[class].destination[0] = '\0';
		walk_end(q, now_ms);
	}
	return count > 0;
}

void
work_pump(struct queue *q)
{
	const struct timeval soon = { .tv_usec = 0 };
	int64_t now_ms = clock_wall_ms(), start_ms = clock_mono_ms();
	size_t seen = 0;

	while (!lanes_full(q)) {
		bool more = walk(q, SPOOL_NEW, now_ms, &seen);
		struct lane *l;

		more |= walk(q, SPOOL_RETRY, now_ms, &seen);
		l = lane_turn(q);
		if (l != NULL)
			lane_serve(q, l, now_ms);
		else if (!more)
			break;
		if (clock_mono_ms() - start_ms >= TURN_MS)
			break;
	}
	if (!lanes_full(q) && (seen >= WALK_MAX ||
	    clock_mono_ms() - start_ms >= TURN_MS))
		(void)event_add(q->pump_ev, &soon);
}

static void
on_pump(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	turn_mark("hand-out");
	work_pump(arg);
}

/* ---- fresh mail ---- */

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

/* Straight from memory, when its destination has nothing older waiting. */
static bool
start_fresh(struct queue *q, struct dest *dest,
	const struct spool_delivery *d, const struct envelope *env,
	const uint8_t *body, size_t body_len)
{
	struct lane *l = &dest->lanes[SPOOL_NEW];
	int64_t until_ms;
	uint64_t worker;

	if (body == NULL || l->state > LANE_IDLE || lanes_full(q) ||
	    !class_has_room(q, SPOOL_NEW) ||
	    dest_room(q, dest, SPOOL_NEW) == 0 ||
	    hold_until(q, dest->name, &until_ms))
		return false;
	worker = q->port.worker_for(dest->name, body_len, q->port.arg);
	if (worker == 0 || start_with(q, dest, worker, d,
	    envelope_part(env, dest->name), body, body_len, -1) != STARTED)
		return false;
	if (l->state == LANE_IDLE && l->next_ms > d->next_ms) {
		l->cursor.next_ms = d->next_ms;
		l->cursor.id = d->id;
	}
	return true;
}

static void
fresh_delivery(struct queue *q, const struct spool_delivery *d,
	const struct envelope *env, const uint8_t *body, size_t body_len)
{
	struct dest *dest = dest_find(q, d->destination);
	struct lane *l;

	/* Those that are many on disk are no reason to fill memory. */
	if (dest == NULL && (lanes_full(q) ||
	    lanes_ready(q, SPOOL_NEW) >= READY_AHEAD)) {
		q->walking[SPOOL_NEW] = true;
		return;
	}
	dest = dest_get(q, d->destination);
	l = &dest->lanes[SPOOL_NEW];
	if (start_fresh(q, dest, d, env, body, body_len) &&
	    l->state == LANE_IDLE)
		return;
	if (d->next_ms < l->cursor.next_ms)	/* the clock was set back */
		memset(&l->cursor, 0, sizeof(l->cursor));
	if (l->state == LANE_IDLE || l->state == LANE_UNKNOWN)
		lane_set(q, l, LANE_READY);
}

/* More destinations than were looked at: the walk, which is before them, finds
 * those that are not in memory.  No kick: walks from the start, again and
 * again, would come nowhere. */
static void
wake_many(struct queue *q, const struct envelope *env, int64_t next_ms)
{
	for (size_t i = 0; i < env->rcpt_count; i++) {
		struct dest *d = dest_find(q, env->rcpts[i].destination);
		struct lane *l;

		if (d == NULL)
			continue;
		l = &d->lanes[SPOOL_NEW];
		if (next_ms < l->cursor.next_ms)	/* set back */
			memset(&l->cursor, 0, sizeof(l->cursor));
		if (l->state == LANE_IDLE || l->state == LANE_UNKNOWN)
			lane_set(q, l, LANE_READY);
	}
	work_due_at(q, 0);
}

void
work_start_message(struct queue *q, const struct envelope *env,
	const uint8_t *body, size_t body_len)
{
	struct spool_delivery ds[BATCH];
	size_t count = 0;

	if (spool_deliveries_of(q->spool, env->id, ds, BATCH, &count) !=
	    ST_OK)
		queue_kick(q);
	for (size_t i = 0; i < count; i++)
		fresh_delivery(q, &ds[i], env, body, body_len);
	if (count == BATCH)
		wake_many(q, env, ds[0].next_ms);
}

void
work_retried(struct queue *q, struct active *a, int64_t next_ms)
{
	for (enum spool_class c = 0; a->dest != NULL && c < SPOOL_CLASSES; c++)
		lane_due_at(q, &a->dest->lanes[c], next_ms);
	work_due_at(q, next_ms);
}

/* ---- time ---- */

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

static void
on_due(evutil_socket_t fd, short what, void *arg)
{
	struct queue *q = arg;
	int64_t now_ms = clock_wall_ms(), mono_ms = clock_mono_ms();
	bool all = q->kicked;

	(void)fd;
	(void)what;
	turn_mark("hand-out");
	q->kicked = false;
	/* Also when the clock was set back: what is due now lies behind. */
	if (all || q->walk_all || mono_ms - q->walked_all_ms >= SCAN_MAX_MS ||
	    now_ms < q->walk_at[SPOOL_NEW].due_ms) {
		memset(q->walk_at, 0, sizeof(q->walk_at));
		q->walked_all_ms = mono_ms;
		q->walk_all = false;
	}
	for (enum spool_class c = 0; c < SPOOL_CLASSES; c++)
		q->walking[c] = true;
	lanes_wake(q, now_ms, all);
	lanes_unstall(q);
	work_pump(q);
	work_due_at(q, INT64_MAX);
}

void
queue_kick(struct queue *q)
{
	q->kicked = true;
	q->skipped_ms = 0;
	work_due_at(q, 0);
}

void
work_init(struct queue *q)
{
	q->due_ev = event_new(q->base, -1, 0, on_due, q);
	q->pump_ev = event_new(q->base, -1, 0, on_pump, q);
	q->damaged = table_new();
	lanes_init(q);
	queue_kick(q);
}

void
work_clear(struct queue *q)
{
	lanes_clear(q);
	table_free(&q->damaged);
	event_free(q->pump_ev);
	event_free(q->due_ev);
}
