/*
 * How much a destination is given: its window of jobs, its rate, and what is
 * done while it is down: nobody tries again, waiting jobs get the outcome of
 * the one that tried, and the parent is told to keep the rest.
 */
#include "config.h"

#include <event2/event.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "smtpd-out/worker/delivery_int.h"

#define WAIT_MAX_MS 10000	/* for one's turn, in here */
#define TOLD_MS 100		/* jobs were on their way to us */

void
dest_limits(struct dest *dest)
{
	unsigned now = limits_generation(dest->all->limits) + 1;

	if (dest->generation == now)
		return;
	limits_get(dest->all->limits, dest->name, &dest->bounds);
	dest->generation = now;
	/* Places taken at another rate. */
	dest->slot = (struct pace_slot){ .taken = false };
	dest->rate.next_ns = 0;
}

size_t
dest_window(struct dest *dest)
{
	dest_limits(dest);
	return pace_limit(&dest->pace, dest->bounds.connections,
		clock_mono_ms());
}

static void
tell(struct dest *dest, int64_t ms, const struct outcome *why)
{
	struct msg_dest_hold msg = { .outcome = *why };
	const struct deliveries_port *port = &dest->all->port;

	dest->held_ms = clock_mono_ms();
	if (port->hold == NULL || dest->all->stopping)
		return;
	(void)str_copy(msg.destination, sizeof(msg.destination), dest->name);
	if (ms > 0)
		msg.until_s = (clock_wall_ms() + ms + 999) / 1000;
	port->hold(&msg, port->arg);
}

/* ---- down ---- */

bool
dest_is_down(struct dest *dest)
{
	return dest->down != NULL && pace_is_down(&dest->pace,
		clock_mono_ms());
}

void
dest_good(struct dest *dest)
{
	size_t in_use = dest->running + 1;

	if (!pace_good(&dest->pace, (unsigned)in_use))
		return;
	log_info("destination-up", "destination", dest->name, NULL);
	if (dest->down != NULL)
		tell(dest, 0, dest->down);
	mem_free(&dest->down);
}

void
dest_bad(struct dest *dest)
{
	pace_bad(&dest->pace);
}

void
dest_unreachable(struct dest *dest, const struct outcome *why)
{
	int64_t now_ms = clock_mono_ms();

	if (dest->ready > 0 || dest_is_down(dest) || dest->all->stopping)
		return;
	pace_down(&dest->pace, &dest->all->env->conf->retry, now_ms);
	if (dest->down == NULL)
		dest->down = xmalloc(sizeof(*dest->down));
	*dest->down = *why;
	dest->down_since_ms = now_ms;
	log_info("destination-down", "destination", dest->name, "seconds",
		log_num((dest->pace.until_ms - now_ms) / 1000), "reason",
		why->text, NULL);
	tell(dest, dest->pace.until_ms - now_ms, why);
}

void
dest_try_again(struct dest *dest)
{
	int64_t now_ms = clock_mono_ms();

	if (dest_is_down(dest) && now_ms - dest->down_since_ms >= TOLD_MS)
		dest->pace.until_ms = now_ms;
}

static void
end_waiting(struct dest *dest, struct delivery *d)
{
	struct delivery *gone = d;

	TAILQ_REMOVE(&dest->waiting, d, link);
	dest->waiting_count--;
	dest->all->jobs--;
	delivery_free(&gone);
}

void
dest_answer_waiting(struct dest *dest)
{
	struct delivery *d;

	while ((d = TAILQ_FIRST(&dest->waiting)) != NULL) {
		delivery_settle_without(d, dest->down, "", WHY_DEFAULT);
		delivery_report(d, true);
		end_waiting(dest, d);
	}
}

/* ---- rates ---- */

/* Nobody has tried: a final result without any is no attempt. */
static void
give_back(struct dest *dest, struct delivery *d)
{
	const struct msg_result none = { .final = true };

	dest->all->port.result(d->job_id, &none, dest->all->port.arg);
	end_waiting(dest, d);
}

static void
hold_for_rate(struct dest *dest, int64_t ms)
{
	const struct outcome o = outcome_local("the configured rate is used "
		"up");

	if (clock_mono_ms() - dest->held_ms >= TOLD_MS || dest->held_ms == 0)
		tell(dest, ms, &o);
}

bool
dest_gives_back(struct dest *dest, struct delivery *d)
{
	const struct conf_rate *rate = &dest->bounds.rate;
	int64_t ahead_ms;

	dest_limits(dest);
	if (rate->count == 0 || dest->all->port.hold == NULL)
		return false;
	ahead_ms = rate->per_ms * (int64_t)dest->waiting_count / rate->count;
	if (dest->waiting_count <= 1 || ahead_ms <= WAIT_MAX_MS)
		return false;
	give_back(dest, d);
	hold_for_rate(dest, WAIT_MAX_MS / 2);
	return true;
}

static bool
is_untried(const struct delivery *d)
{
	for (size_t i = 0; i < d->job.env->rcpt_count; i++)
		if (d->rcpts[i].outcome.verdict != VERDICT_NONE)
			return false;
	return true;
}

bool
delivery_gives_back(struct delivery *d, const struct conf_rate *rate,
	size_t ahead)
{
	const struct msg_result none = { .final = true };
	struct dest *dest = d->dest;
	struct delivery *gone = d;

	if (rate->count == 0 || ahead == 0 || dest->all->port.hold == NULL ||
	    dest->all->stopping || !is_untried(d) ||
	    rate->per_ms * (int64_t)ahead / rate->count <= WAIT_MAX_MS)
		return false;
	dest->all->port.result(d->job_id, &none, dest->all->port.arg);
	TAILQ_REMOVE(&dest->jobs, d, link);
	dest->running--;
	dest->all->jobs--;
	delivery_free(&gone);
	hold_for_rate(dest, WAIT_MAX_MS / 2);
	return true;
}

static void
on_slot(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	dest_pump(arg);
}

static void
wait_for_slot(struct dest *dest, int64_t ms)
{
	struct timeval tv = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	if (dest->ev == NULL)
		dest->ev = event_new(dest->all->env->base, -1, 0, on_slot,
			dest);
	(void)event_add(dest->ev, &tv);
}

bool
dest_may_go(struct dest *dest)
{
	struct deliveries *all = dest->all;
	struct conf_bounds total;
	int64_t ms;

	dest_limits(dest);
	limits_get_total(all->limits, &total);
	if (dest->bounds.rate.count == 0 && total.rate.count == 0) {
		dest->slot.taken = false;
		return true;
	}
	ms = pace_slot_wait(&dest->slot, &dest->rate, &dest->bounds.rate,
		&all->rate, &total.rate, clock_mono_ms());
	if (ms == 0) {
		dest->slot.taken = false;
		return true;
	}
	wait_for_slot(dest, ms);
	return false;
}
