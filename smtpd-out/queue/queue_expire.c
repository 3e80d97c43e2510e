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
#define EXPIRE_BATCH 64
#define NOTICE_BATCH 64
#define NOTICE_DESTINATIONS 16	/* looked at in one turn */

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
		a->results[r].rcpt_id = env->rcpts[r].id;
		a->results[r].outcome = *outcome;
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

static void
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
	if (count < EXPIRE_BATCH)	/* from the start the next time */
		memset(&q->expire_at, 0, sizeof(q->expire_at));
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
	struct timeval tv = { .tv_sec = EXPIRE_MS / 1000 };
	struct delayed delayed = { .q = q, .left = NOTICE_DESTINATIONS };

	(void)fd;
	(void)what;
	turn_mark("expiry");
	expire_untried(q);
	if (q->conf->retry.delay_notice_ms > 0)
		(void)queue_holds(q, on_hold, &delayed);
	(void)event_add(q->expire_ev, &tv);
}

void
expire_init(struct queue *q)
{
	struct timeval tv = { .tv_sec = 1 };

	q->expire_ev = event_new(q->base, -1, 0, on_expire, q);
	(void)event_add(q->expire_ev, &tv);
}
