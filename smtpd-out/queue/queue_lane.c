/*
 * Whose turn it is, and who has enough.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "smtpd-out/ipc/limits.h"
#include "smtpd-out/queue/queue_lane.h"

#define WINDOW_LEAST 2
#define WINDOW_FIRST 8		/* or less in a small active set */
#define SMALL 16		/* an active set that is not halved */
#define WINDOW_MAX 100000
#define STALLED_MAX 1000
#define DEST_RCPTS_MAX 4000	/* out, of a destination and in all: they are */
#define RCPTS_MAX 100000	/* in memory, some 200 octets each */
#define ILL_MAX 64	/* more results that cannot be stored are no chance */
#define RATE_AHEAD_MS 10000	/* out at most what the rate takes in this */

struct lanes {
	struct table *by_name;
	TAILQ_HEAD(, dest) dests;
	TAILQ_HEAD(lane_list, lane) ready[SPOOL_CLASSES], stalled;
	size_t ready_count[SPOOL_CLASSES], stalled_count;
	size_t active[SPOOL_CLASSES];
	size_t rcpts;			/* of all that are out */
	enum spool_class turn;
};

void
lanes_init(struct queue *q)
{
	q->lanes = xcalloc(1, sizeof(*q->lanes));
	q->lanes->by_name = table_new();
	TAILQ_INIT(&q->lanes->dests);
	for (enum spool_class c = 0; c < SPOOL_CLASSES; c++)
		TAILQ_INIT(&q->lanes->ready[c]);
	TAILQ_INIT(&q->lanes->stalled);
}

static void
dest_free(struct queue *q, struct dest *d)
{
	for (enum spool_class c = 0; c < SPOOL_CLASSES; c++)
		lane_set(q, &d->lanes[c], LANE_UNKNOWN);
	TAILQ_REMOVE(&q->lanes->dests, d, link);
	(void)table_remove(q->lanes->by_name, d->name, strlen(d->name));
	free(d);
}

void
lanes_clear(struct queue *q)
{
	struct dest *d;

	while ((d = TAILQ_FIRST(&q->lanes->dests)) != NULL)
		dest_free(q, d);
	table_free(&q->lanes->by_name);
	mem_free(&q->lanes);
}

static size_t
window_first(const struct queue *q)
{
	size_t n = q->conf->limit.active / 500;

	return n < WINDOW_LEAST ? WINDOW_LEAST : n > WINDOW_FIRST ?
		WINDOW_FIRST : n;
}

struct dest *
dest_find(struct queue *q, const char *name)
{
	return table_get(q->lanes->by_name, name, strlen(name));
}

struct dest *
dest_get(struct queue *q, const char *name)
{
	struct dest *d = dest_find(q, name);
	size_t len = strlen(name);

	if (d != NULL)
		return d;
	d = xcalloc(1, sizeof(*d) + len + 1);
	memcpy(d->name, name, len + 1);
	d->window = window_first(q);
	for (enum spool_class c = 0; c < SPOOL_CLASSES; c++) {
		d->lanes[c].dest = d;
		d->lanes[c].class = c;
	}
	TAILQ_INSERT_TAIL(&q->lanes->dests, d, link);
	table_put(q->lanes->by_name, name, len, d);
	return d;
}

void
dest_release(struct queue *q, struct dest *d)
{
	if (d->active > 0)
		return;
	for (enum spool_class c = 0; c < SPOOL_CLASSES; c++)
		if (d->lanes[c].state > LANE_IDLE)
			return;
	dest_free(q, d);
}

/* ---- states ---- */

static bool
in_list(enum lane_state state)
{
	return state == LANE_READY || state == LANE_STALLED;
}

static struct lane_list *
list_of(struct queue *q, const struct lane *l, size_t **count_out)
{
	bool ready = l->state == LANE_READY;

	*count_out = ready ? &q->lanes->ready_count[l->class] :
		&q->lanes->stalled_count;
	return ready ? &q->lanes->ready[l->class] : &q->lanes->stalled;
}

void
lane_set(struct queue *q, struct lane *l, enum lane_state state)
{
	struct lane_list *list;
	size_t *count;

	if (in_list(l->state)) {
		list = list_of(q, l, &count);
		TAILQ_REMOVE(list, l, link);
		(*count)--;
	}
	l->state = state;
	if (in_list(state)) {
		list = list_of(q, l, &count);
		TAILQ_INSERT_TAIL(list, l, link);
		(*count)++;
	}
}

void
lane_due_at(struct queue *q, struct lane *l, int64_t when_ms)
{
	if (when_ms < l->cursor.next_ms)
		memset(&l->cursor, 0, sizeof(l->cursor));
	if (l->state == LANE_IDLE && when_ms < l->next_ms)
		l->next_ms = when_ms;
	work_due_at(q, when_ms);
}

void
dest_take(struct queue *q, struct dest *d, struct active *a)
{
	a->dest = d;
	a->class = a->delivery.attempts > 0 ? SPOOL_RETRY : SPOOL_NEW;
	d->active++;
	d->bytes += a->bytes;
	d->rcpts += a->env->rcpt_count;
	q->lanes->rcpts += a->env->rcpt_count;
	q->lanes->active[a->class]++;
}

void
dest_give(struct queue *q, struct active *a)
{
	struct dest *d = a->dest;

	if (d == NULL)
		return;
	a->dest = NULL;
	if (a->results[0] != NULL &&
	    a->results[0]->outcome.verdict == VERDICT_LATER)
		d->window /= 2;
	else if (d->window < WINDOW_MAX)
		d->window += 2;
	if (d->window < window_first(q))
		d->window = window_first(q);
	d->active--;
	d->bytes -= a->bytes;
	d->rcpts -= a->env->rcpt_count;
	q->lanes->rcpts -= a->env->rcpt_count;
	q->lanes->active[a->class]--;
	for (enum spool_class c = 0; c < SPOOL_CLASSES; c++)
		if (d->lanes[c].state == LANE_BLOCKED)
			lane_set(q, &d->lanes[c], LANE_READY);
	dest_release(q, d);
}

/* ---- room ---- */

bool
lanes_full(const struct queue *q)
{
	return q->stopping || q->results_failing ||
		q->ill_count >= ILL_MAX ||
		table_count(q->by_job) >= q->conf->limit.active ||
		q->active_bytes >= ACTIVE_BYTES_MAX;
}

/* What a class may still have out. */
static size_t
class_room(const struct queue *q, enum spool_class class)
{
	size_t max = q->conf->limit.active, out = q->lanes->active[class];

	max -= class == SPOOL_RETRY ? max / 4 : max / 8;
	return out < max ? max - out : 0;
}

bool
class_has_room(const struct queue *q, enum spool_class class)
{
	return class_room(q, class) > 0;
}

/* A destination with a rate does not need more than it sends soon. */
static size_t
rate_cap(struct queue *q, struct dest *d)
{
	struct conf_bounds b;

	if (d->cap_changes == q->limits_changes)
		return d->cap;
	d->cap_changes = q->limits_changes;
	d->cap = SIZE_MAX;
	limits_get(q->limits, d->name, &b);
	if (b.rate.count > 0)
		d->cap = 1 + (size_t)((int64_t)b.rate.count * RATE_AHEAD_MS /
			b.rate.per_ms);
	return d->cap;
}

/* Beside the first one: of inline bodies, or of recipients. */
static bool
has_much(const struct queue *q, const struct dest *d)
{
	return d->bytes >= (ACTIVE_BYTES_MAX - q->active_bytes) / 4 ||
		d->rcpts >= DEST_RCPTS_MAX || q->lanes->rcpts >= RCPTS_MAX;
}

size_t
dest_room(struct queue *q, struct dest *d, enum spool_class class)
{
	size_t max = q->conf->limit.active, out = table_count(q->by_job);
	size_t left = out < max ? max - out : 0;
	size_t of_class = class_room(q, class), cap = rate_cap(q, d);
	size_t kept = max < SMALL ? 0 : max / 2, share;

	share = 1;
	if (left > kept)
		share = (left - kept) / 2 > WINDOW_LEAST ?
			(left - kept) / 2 : WINDOW_LEAST;
	if (left > of_class)
		left = of_class;
	if (share > d->window)
		share = d->window;
	if (share > cap)
		share = cap;
	if (d->active >= share || (d->active > 0 && has_much(q, d)))
		return 0;
	return share - d->active < left ? share - d->active : left;
}

/* ---- turns ---- */

size_t
lanes_ready(const struct queue *q, enum spool_class class)
{
	return q->lanes->ready_count[class];
}

struct lane *
lane_turn(struct queue *q)
{
	for (int i = 0; i < SPOOL_CLASSES; i++) {
		enum spool_class c = q->lanes->turn;

		q->lanes->turn = c == SPOOL_NEW ? SPOOL_RETRY : SPOOL_NEW;
		if (class_has_room(q, c) && q->lanes->ready_count[c] > 0)
			return TAILQ_FIRST(&q->lanes->ready[c]);
	}
	return NULL;
}

void
lanes_wake(struct queue *q, int64_t now_ms, bool all)
{
	struct dest *d;

	TAILQ_FOREACH(d, &q->lanes->dests, link)
		for (enum spool_class c = 0; c < SPOOL_CLASSES; c++) {
			struct lane *l = &d->lanes[c];

			if (l->state == LANE_UNKNOWN)
				continue;
			if (all)
				memset(&l->cursor, 0, sizeof(l->cursor));
			if (all ? l->state == LANE_IDLE ||
			    l->state == LANE_BLOCKED : l->state == LANE_IDLE &&
			    l->next_ms <= now_ms)
				lane_set(q, l, LANE_READY);
			else if (l->state == LANE_IDLE)
				work_due_at(q, l->next_ms);
		}
}

void
lanes_unstall(struct queue *q)
{
	struct lane *l, *next;

	for (l = TAILQ_FIRST(&q->lanes->stalled); l != NULL; l = next) {
		struct dest *d = l->dest;

		next = TAILQ_NEXT(l, link);
		if (next != NULL && next->dest == d)
			next = TAILQ_NEXT(next, link);
		if (q->lanes->stalled_count <= STALLED_MAX) {
			lane_set(q, l, LANE_READY);
			continue;
		}
		/* Too many to keep: they are on disk. */
		for (enum spool_class c = 0; c < SPOOL_CLASSES; c++)
			if (d->lanes[c].state == LANE_STALLED)
				lane_set(q, &d->lanes[c], LANE_UNKNOWN);
		dest_release(q, d);
		q->walk_all = true;
	}
}
