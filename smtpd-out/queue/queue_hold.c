/*
 * Destinations that wait, and limits set at run time (queue_hold.h).
 */
#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/ipc/limits.h"
#include "smtpd-out/ipc/turn.h"
#include "smtpd-out/queue/queue_hold.h"
#include "smtpd-out/queue/queue_lane.h"

#define HOLDS_MAX 10000
#define PARKS_MAX 20000		/* for a worker that is not sane */
#define SWEEP_MS 10
#define SWEEP_FAILED_MS 1000
#define SWEEP_BROKEN_MS 60000
#define WAKE_MS 1000
/* Rows in one transaction, from the walk. */
#define PARKS { .size = 64, .least = 32, .most = 256 }
#define SWEEP_SLICE 256

struct hold {
	TAILQ_ENTRY(hold) link;		/* in order of arrival */
	int64_t until_ms;
	struct hold_look look;		/* of queue_expire.c */
	struct outcome outcome;
	char name[];
};

/* For the row on disk, with the next commit. */
struct park {
	TAILQ_ENTRY(park) link;
	int64_t until_ms;
	char name[];
};

struct holds {
	struct table *by_name;
	TAILQ_HEAD(, hold) list;
	struct table *parks_by_name;
	TAILQ_HEAD(, park) parks;
	struct slice slice;		/* of them, in one transaction */
	size_t applied;			/* the first ones, by the last one */
	struct spool_dest_rule *rules;
	size_t rule_count;
	struct table *paused;		/* names of rules, that pause */
	struct event *sweep_ev;
	char swept[256];		/* up to this destination */
};

static void
hold_free(struct queue *q, struct hold *h)
{
	TAILQ_REMOVE(&q->holds->list, h, link);
	(void)table_remove(q->holds->by_name, h->name, strlen(h->name));
	free(h);
}

static struct hold *
hold_find(struct queue *q, const char *name)
{
	struct hold *h = table_get(q->holds->by_name, name, strlen(name));
	int64_t now_ms = clock_wall_ms();

	/* Longer than it can be: the clock was set back. */
	if (h == NULL || (h->until_ms > now_ms &&
	    h->until_ms - now_ms <= q->conf->retry.max_ms))
		return h;
	hold_free(q, h);
	return NULL;
}

static bool
is_paused(const struct queue *q, const char *name)
{
	if (table_count(q->holds->paused) == 0)
		return false;
	while (name != NULL) {
		if (table_get(q->holds->paused, name, strlen(name)) != NULL)
			return true;
		name = name[0] == '\0' ? NULL : strchr(name + 1, '.');
	}
	return false;
}

bool
hold_until(struct queue *q, const char *name, int64_t *until_ms_out)
{
	struct hold *h;

	*until_ms_out = INT64_MAX;
	if (is_paused(q, name))
		return true;
	h = hold_find(q, name);
	if (h != NULL)
		*until_ms_out = h->until_ms;
	return h != NULL;
}

bool
hold_why(struct queue *q, const char *name, struct outcome *out)
{
	struct hold *h = hold_find(q, name);

	if (h != NULL)
		*out = h->outcome;
	else if (is_paused(q, name))
		*out = outcome_paused();
	return h != NULL || is_paused(q, name);
}

/* ---- the rows on disk ---- */

void
hold_park(struct queue *q, const char *name, int64_t until_ms)
{
	struct holds *hs = q->holds;
	size_t len = strlen(name);
	struct park *p = table_get(hs->parks_by_name, name, len);

	if (p == NULL && table_count(hs->parks_by_name) >= PARKS_MAX)
		return;
	if (p == NULL) {
		p = xcalloc(1, sizeof(*p) + len + 1);
		memcpy(p->name, name, len + 1);
		table_put(hs->parks_by_name, name, len, p);
		TAILQ_INSERT_TAIL(&hs->parks, p, link);
	}
	p->until_ms = until_ms;
	queue_schedule_commit(q);
}

bool
hold_full(const struct queue *q)
{
	return table_count(q->holds->parks_by_name) >= q->holds->slice.size;
}

bool
hold_waiting(const struct queue *q)
{
	return !TAILQ_EMPTY(&q->holds->parks);
}

enum status
hold_apply(struct queue *q)
{
	enum status st = ST_OK;
	struct holds *hs = q->holds;
	struct park *p;

	hs->applied = 0;
	slice_start(&hs->slice);
	TAILQ_FOREACH(p, &hs->parks, link) {
		if (hs->applied == hs->slice.size)
			break;
		hs->applied++;
		st = spool_destination_wait(q->spool, p->name, p->until_ms);
		if (st != ST_OK)
			return st;
	}
	return st;
}

/* What is more than memory is for, the walk finds. */
static void
dest_wake(struct queue *q, const char *name)
{
	struct dest *d = dest_find(q, name);

	if (d == NULL && (lanes_full(q) ||
	    lanes_ready(q, SPOOL_NEW) >= READY_AHEAD ||
	    lanes_ready(q, SPOOL_RETRY) >= READY_AHEAD)) {
		q->walk_all = true;
		work_due_at(q, clock_wall_ms() + WAKE_MS);
		return;
	}
	d = dest_get(q, name);
	for (enum spool_class c = 0; c < SPOOL_CLASSES; c++) {
		struct lane *l = &d->lanes[c];

		memset(&l->cursor, 0, sizeof(l->cursor));
		if (l->state <= LANE_IDLE)
			lane_set(q, l, LANE_READY);
	}
}

static void
park_free(struct queue *q, struct park *p)
{
	TAILQ_REMOVE(&q->holds->parks, p, link);
	(void)table_remove(q->holds->parks_by_name, p->name, strlen(p->name));
	free(p);
}

void
hold_done(struct queue *q)
{
	struct holds *hs = q->holds;
	struct park *p;

	if (hs->applied > 0)
		slice_end(&hs->slice, (unsigned)hs->applied);
	for (; hs->applied > 0; hs->applied--) {
		p = TAILQ_FIRST(&q->holds->parks);
		if (p == NULL)
			return;
		if (p->until_ms == 0)
			dest_wake(q, p->name);
		else if (p->until_ms != INT64_MAX)
			work_due_at(q, p->until_ms);
		park_free(q, p);
	}
	if (hold_waiting(q))
		queue_schedule_commit(q);
}

static void
sweep_in(struct queue *q, int64_t ms)
{
	const struct timeval tv = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	if (!q->stopping)
		(void)event_add(q->holds->sweep_ev, &tv);
}

/* The walk meets those that wait again, and a sweep those that no longer do:
 * of a pause that has ended nobody else would know. */
void
hold_failed(struct queue *q)
{
	struct park *p;

	while ((p = TAILQ_FIRST(&q->holds->parks)) != NULL)
		park_free(q, p);
	q->walk_all = true;
	q->holds->swept[0] = '\0';
	sweep_in(q, SWEEP_FAILED_MS);
}

/* ---- holds ---- */

static void
hold_end(struct queue *q, struct hold *h)
{
	hold_park(q, h->name, is_paused(q, h->name) ? INT64_MAX : 0);
	hold_free(q, h);
}

static bool
is_below(const char *match, const char *name)
{
	size_t n = strlen(match), len = strlen(name);

	return match[0] == '.' && n < len && strcmp(name + len - n, match) == 0;
}

void
queue_flush_holds(struct queue *q, const char *destination)
{
	struct hold *h, *next;

	for (h = TAILQ_FIRST(&q->holds->list); h != NULL; h = next) {
		next = TAILQ_NEXT(h, link);
		if (destination == NULL || strcmp(h->name, destination) == 0 ||
		    is_below(destination, h->name))
			hold_end(q, h);
	}
}

static struct hold *
hold_new(struct queue *q, const char *name)
{
	size_t len = strlen(name);
	struct hold *h;

	/* The oldest is the one that ends soonest, more or less. */
	if (table_count(q->holds->by_name) >= HOLDS_MAX)
		hold_free(q, TAILQ_FIRST(&q->holds->list));
	h = xcalloc(1, sizeof(*h) + len + 1);
	memcpy(h->name, name, len + 1);
	table_put(q->holds->by_name, name, len, h);
	TAILQ_INSERT_TAIL(&q->holds->list, h, link);
	return h;
}

void
queue_dest_hold(struct queue *q, const struct msg_dest_hold *msg)
{
	int64_t now_ms = clock_wall_ms();
	int64_t max_ms = now_ms + q->conf->retry.max_ms;
	struct hold *h = hold_find(q, msg->destination);

	if (msg->until_s * 1000 <= now_ms) {
		if (h != NULL)
			hold_end(q, h);
		return;
	}
	if (h == NULL)
		h = hold_new(q, msg->destination);
	h->until_ms = msg->until_s * 1000 < max_ms ? msg->until_s * 1000 :
		max_ms;
	h->outcome = msg->outcome;
	log_info("destination-hold", "destination", h->name, "seconds",
		log_num((h->until_ms - now_ms) / 1000), "reason",
		h->outcome.text, NULL);
	if (!is_paused(q, h->name))
		hold_park(q, h->name, h->until_ms);
}

size_t
queue_holds(struct queue *q, void (*cb)(const char *name, void *), void *arg)
{
	int64_t now_ms = clock_wall_ms();
	struct hold *h, *next;
	char name[STR_DOMAIN_MAX];

	for (h = TAILQ_FIRST(&q->holds->list); h != NULL; h = next) {
		next = TAILQ_NEXT(h, link);
		/* It may end while it is asked for. */
		(void)str_copy(name, sizeof(name), h->name);
		if (h->until_ms <= now_ms)
			hold_free(q, h);
		else if (cb != NULL)
			cb(name, arg);
	}
	return table_count(q->holds->by_name);
}

struct hold_look *
hold_look(struct queue *q, const char *name)
{
	struct hold *h = hold_find(q, name);

	return h == NULL ? NULL : &h->look;
}

/* ---- rules ---- */

/* Ours, and those of workers. */
static void
set_limits(struct queue *q, bool tell, uint64_t worker)
{
	struct holds *hs = q->holds;
	struct msg_limits msg = { .workers = 1, .count = hs->rule_count };

	msg.rules = xcalloc(hs->rule_count, sizeof(msg.rules[0]));
	for (size_t i = 0; i < hs->rule_count; i++) {
		msg.rules[i].host = hs->rules[i].host;
		(void)str_copy(msg.rules[i].match, sizeof(msg.rules[i].match),
			hs->rules[i].name);
		msg.rules[i].bounds = hs->rules[i].bounds;
	}
	limits_set(q->limits, &msg);
	q->limits_changes++;
	if (tell && q->port.limits != NULL)
		q->port.limits(&msg, worker, q->port.arg);
	msg_limits_clear(&msg);
}

void
queue_limits(struct queue *q, uint64_t worker)
{
	set_limits(q, true, worker);
}

static enum status
rules_load(struct queue *q)
{
	struct holds *hs = q->holds;
	enum status st;

	hs->rule_count = 0;
	table_free(&hs->paused);
	hs->paused = table_new();
	st = spool_dest_rules(q->spool, hs->rules, SPOOL_RULES_MAX,
		&hs->rule_count);
	for (size_t i = 0; i < hs->rule_count; i++)
		if (hs->rules[i].paused && !hs->rules[i].host)
			table_put(hs->paused, hs->rules[i].name,
				strlen(hs->rules[i].name), &hs->rules[i]);
	return st;
}

void
queue_rule_get(const struct queue *q, bool host, const char *name,
	struct spool_dest_rule *out)
{
	*out = (struct spool_dest_rule){ .host = host };
	(void)str_copy(out->name, sizeof(out->name), name);
	for (size_t i = 0; i < q->holds->rule_count; i++)
		if (q->holds->rules[i].host == host &&
		    strcmp(q->holds->rules[i].name, name) == 0)
			*out = q->holds->rules[i];
}

enum status
queue_rule_set(struct queue *q, const struct spool_dest_rule *rule)
{
	struct spool_dest_rule old;
	enum status st;

	queue_rule_get(q, rule->host, rule->name, &old);
	if (q->holds->rule_count >= SPOOL_RULES_MAX && !old.paused &&
	    old.bounds.connections == 0 && old.bounds.recipients == 0 &&
	    old.bounds.rate.count == 0)
		return ST_LIMIT;
	st = spool_begin(q->spool);
	if (st == ST_OK)
		st = spool_dest_rule_put(q->spool, rule);
	if (st == ST_OK)
		st = spool_commit(q->spool);
	if (st != ST_OK) {
		spool_rollback(q->spool);
		return st;
	}
	st = rules_load(q);
	set_limits(q, true, 0);
	if (old.paused && !rule->paused) {
		q->holds->swept[0] = '\0';
		sweep_in(q, SWEEP_MS);
	}
	queue_kick(q);
	return st;
}

size_t
queue_rules(const struct queue *q, const struct spool_dest_rule **out)
{
	*out = q->holds->rules;
	return q->holds->rule_count;
}

void
queue_dest(struct queue *q, const char *name, struct queue_dest *out)
{
	struct dest *d = dest_find(q, name);
	struct hold *h = hold_find(q, name);

	memset(out, 0, sizeof(*out));
	out->active = d == NULL ? 0 : d->active;
	out->paused = is_paused(q, name);
	out->hold_until_ms = h == NULL ? 0 : h->until_ms;
	if (h != NULL)
		(void)str_copy(out->why, sizeof(out->why), h->outcome.text);
	limits_get(q->limits, name, &out->bounds);
}

/* Destinations that wait for ever and are not paused: those of a pause that
 * was ended, perhaps just before a crash. */
static void
on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct queue *q = arg;
	struct spool_lane *rows;
	size_t count = 0;

	(void)fd;
	(void)what;
	turn_mark("resume");
	if (hold_waiting(q)) {
		sweep_in(q, SWEEP_MS);
		return;
	}
	rows = xcalloc(SWEEP_SLICE, sizeof(rows[0]));
	if (spool_waiting(q->spool, q->holds->swept, rows, SWEEP_SLICE,
	    &count) != ST_OK) {
		log_error("queue-walk", "detail", spool_error(q->spool), NULL);
		sweep_in(q, SWEEP_BROKEN_MS);
	}
	for (size_t i = 0; i < count; i++)
		if (rows[i].due_ms == INT64_MAX &&
		    !is_paused(q, rows[i].destination))
			hold_park(q, rows[i].destination, 0);
	if (count > 0)
		(void)str_copy(q->holds->swept, sizeof(q->holds->swept),
			rows[count - 1].destination);
	if (count == SWEEP_SLICE)
		sweep_in(q, SWEEP_MS);
	free(rows);
}

/* ---- life ---- */

void
hold_init(struct queue *q)
{
	struct holds *hs = xcalloc(1, sizeof(*hs));

	q->holds = hs;
	hs->slice = (struct slice)PARKS;
	hs->by_name = table_new();
	hs->parks_by_name = table_new();
	hs->rules = xcalloc(SPOOL_RULES_MAX, sizeof(hs->rules[0]));
	TAILQ_INIT(&hs->list);
	TAILQ_INIT(&hs->parks);
	hs->sweep_ev = event_new(q->base, -1, 0, on_sweep, q);
	if (rules_load(q) != ST_OK)
		log_error("limits", "reason", spool_error(q->spool), NULL);
	hold_set_conf(q);
	sweep_in(q, SWEEP_MS);
}

void
hold_set_conf(struct queue *q)
{
	limits_free(&q->limits);
	q->limits = limits_new(q->conf);
	set_limits(q, false, 0);
}

void
hold_clear(struct queue *q)
{
	struct holds *hs = q->holds;

	while (!TAILQ_EMPTY(&hs->list))
		hold_free(q, TAILQ_FIRST(&hs->list));
	while (!TAILQ_EMPTY(&hs->parks))
		park_free(q, TAILQ_FIRST(&hs->parks));
	event_free(hs->sweep_ev);
	table_free(&hs->by_name);
	table_free(&hs->parks_by_name);
	table_free(&hs->paused);
	limits_free(&q->limits);
	free(hs->rules);
	mem_free(&q->holds);
}
