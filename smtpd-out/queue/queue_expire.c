/*
 * Mail that nobody tries: held by the operator, its destination paused or
 * down, no worker for it.  Only this ends it (RFC 5321 4.5.4.1), and tells the
 * sender that it is delayed.
 */
#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "smtpd-out/ipc/turn.h"
#include "smtpd-out/queue/queue_hold.h"
#include "smtpd-out/queue/queue_int.h"
#include "spool/schedule.h"

#define EXPIRE_MS 10000
#define EXPIRE_MORE_MS 50	/* when there may be more */
#define AGAIN_MS 60000		/* what cannot be stored is tried again */
#define CLOCK_MS 60000
#define CLOCK_MORE_MS 20
#define OURS_MAX 1000		/* settled at a time, beyond the active set */
#define EXPIRE_BATCH 64
#define NOTICE_BATCH 64
#define NOTICE_DESTINATIONS 16	/* looked at in one turn */

static void
add_ms(struct event *ev, int64_t ms)
{
	const struct timeval tv = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	(void)event_add(ev, &tv);
}

/* The end of an attempt that was none. */
static void
settle(struct queue *q, const struct spool_delivery *d,
	const struct outcome *outcome)
{
	struct envelope *env = NULL;
	struct active *a;

	if (spool_envelope(q->spool, d->message_id, d->id, &env) != ST_OK)
		return;
	a = active_new(q, d, env, 0);
	a->untried = true;
	for (size_t r = 0; r < env->rcpt_count; r++) {
		active_result(a, r)->rcpt_id = env->rcpts[r].id;
		active_result(a, r)->outcome = *outcome;
		a->states[r] = ACTIVE_RESULT;
	}
	result_add_final(q, a);
}

static bool
give_up(struct queue *q, const struct spool_delivery *d, int64_t now_ms,
	struct outcome *out)
{
	struct outcome why;

	if (d->held) {
		*out = outcome_expired("held by the operator");
		return true;
	}
	if (hold_why(q, d->destination, &why)) {
		*out = outcome_expired(why.text);
		out->tls_failure = why.tls_failure;
		return true;
	}
	*out = outcome_expired("no process to deliver it");
	return now_ms - d->expires_ms >= q->conf->retry.max_ms;
}

/* Each of these is out until it is on disk. */
static bool
may_settle(const struct queue *q)
{
	return !q->results_failing && table_count(q->by_job) <
		(size_t)q->conf->limit.active + OURS_MAX;
}

/* True when there may be more. */
static bool
expire_untried(struct queue *q)
{
	int64_t now_ms = clock_wall_ms();
	struct spool_delivery ds[EXPIRE_BATCH];
	struct outcome why;
	size_t count = 0;

	if (spool_expired(q->spool, now_ms, &q->expire_at, ds, EXPIRE_BATCH,
	    &count) != ST_OK)
		count = 0;
	for (size_t i = 0; i < count; i++)
		if (!queue_is_active(q, ds[i].id) &&
		    give_up(q, &ds[i], now_ms, &why))
			settle(q, &ds[i], &why);
	if (count == EXPIRE_BATCH)
		return true;
	memset(&q->expire_at, 0, sizeof(q->expire_at));
	return false;		/* from the start the next time */
}

struct delayed {
	struct queue *q;
	size_t left;
};

/* Mail of a destination on hold, in order of age, as far as it is old enough
 * for a notice.  One that has none of it takes no turn from the others. */
static void
on_hold(const char *name, void *arg)
{
	struct delayed *delayed = arg;
	struct queue *q = delayed->q;
	int64_t now_ms = clock_wall_ms();
	struct spool_delivery ds[NOTICE_BATCH];
	struct hold_look *look;
	struct outcome why;
	size_t count = 0;

	if (delayed->left == 0 || !hold_why(q, name, &why))
		return;
	look = hold_look(q, name);
	if (look == NULL || now_ms < look->at_ms || spool_deliveries_after(
	    q->spool, name, look->id, ds, NOTICE_BATCH, &count) != ST_OK)
		return;
	delayed->left--;
	if (count == 0)		/* what comes is newer */
		look->at_ms = now_ms + q->conf->retry.delay_notice_ms;
	for (size_t i = 0; i < count; i++) {
		look->at_ms = ds[i].received_ms +
			q->conf->retry.delay_notice_ms;
		if (now_ms < look->at_ms)
			return;
		look->id = ds[i].id;
		if (!ds[i].held && !queue_is_active(q, ds[i].id) &&
		    schedule_delay_due(&q->conf->retry, now_ms,
		    ds[i].received_ms, ds[i].delay_noticed))
			settle(q, &ds[i], &why);
	}
}

static void
on_expire(evutil_socket_t fd, short what, void *arg)
{
	struct queue *q = arg;
	struct delayed delayed = { .q = q, .left = NOTICE_DESTINATIONS };
	int64_t now_ms = clock_mono_ms();
	bool more = false;

	(void)fd;
	(void)what;
	turn_mark("expiry");
	if (may_settle(q)) {
		more = expire_untried(q);
		if (q->conf->retry.delay_notice_ms > 0)
			(void)queue_holds(q, on_hold, &delayed);
	}
	if (now_ms - q->again_ms >= AGAIN_MS) {
		q->again_ms = now_ms;
		result_again(q);
	}
	add_ms(q->expire_ev, more ? EXPIRE_MORE_MS : EXPIRE_MS);
}

/* ---- a clock that was set back ---- */

struct rewind {
	struct spool_rewind to;
	bool found;
};

static enum status
apply_rewind(struct queue *q, void *arg)
{
	struct rewind *r = arg;

	return spool_rewind(q->spool, &r->to, &r->found);
}

/* Nothing waits for longer than the longest interval: what is due later came
 * from a clock that was ahead, and would wait until then. */
static bool
clock_rewind(struct queue *q)
{
	int64_t now_ms = clock_wall_ms(), max_ms = q->conf->retry.max_ms;
	int64_t next_ms = INT64_MAX;
	struct rewind r = { .to = { .now_ms = now_ms } };

	if (max_ms > INT64_MAX / 8)
		return false;
	r.to.limit_ms = now_ms + max_ms + max_ms / 4 + CLOCK_MS;
	if (q->results_failing || spool_next_lane(q->spool, r.to.limit_ms,
	    &next_ms) != ST_OK || next_ms == INT64_MAX)
		return false;
	if (log_once("clock-set-back"))
		log_warn("clock-set-back", "action", "mail that would wait "
			"for longer than the longest retry is due now", NULL);
	if (queue_transaction(q, apply_rewind, &r) != ST_OK)
		return false;
	queue_kick(q);
	return r.found;
}

static void
on_clock(evutil_socket_t fd, short what, void *arg)
{
	struct queue *q = arg;

	(void)fd;
	(void)what;
	turn_mark("clock");
	add_ms(q->clock_ev, clock_rewind(q) ? CLOCK_MORE_MS : CLOCK_MS);
}

void
expire_init(struct queue *q)
{
	q->expire_ev = event_new(q->base, -1, 0, on_expire, q);
	q->clock_ev = event_new(q->base, -1, 0, on_clock, q);
	add_ms(q->expire_ev, 1000);
	add_ms(q->clock_ev, 1000);
}

void
expire_clear(struct queue *q)
{
	event_free(q->clock_ev);
	event_free(q->expire_ev);
}
