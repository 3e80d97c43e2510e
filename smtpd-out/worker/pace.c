/*
 * Windows, back-off and rates (pace.h).  No loop, no clock.
 */
#include "config.h"

#include <limits.h>

#include "smtpd-out/worker/pace.h"

#define NS_PER_MS 1000000
#define AT_ONCE_NS ((int64_t)100 * NS_PER_MS)
#define GROW_AFTER 3		/* successes */
#define CAREFUL_ROUNDS 10
#define FORGET_MS 600000	/* a window that nobody has used since */

static unsigned
window_of(const struct pace *p)
{
	return p->window == 0 ? PACE_FIRST : p->window;
}

bool
pace_is_down(const struct pace *p, int64_t now_ms)
{
	return p->failures > 0 && now_ms < p->until_ms;
}

unsigned
pace_limit(const struct pace *p, unsigned max, int64_t now_ms)
{
	unsigned n = window_of(p);

	if (p->failures > 0)
		return now_ms < p->until_ms ? 0 : 1;
	return max > 0 && n > max ? max : n;
}

/* A window that is not used up says nothing of whether more would be taken. */
bool
pace_good(struct pace *p, unsigned in_use)
{
	bool was_down = p->failures > 0;
	unsigned n = window_of(p);

	p->failures = 0;
	if (was_down) {
		p->window = PACE_FIRST;
		p->careful = false;
		p->credit = 0;
		return true;
	}
	p->window = n;
	if (in_use < n || n >= UINT_MAX / CAREFUL_ROUNDS)
		return false;
	p->credit++;
	if (p->credit >= (p->careful ? CAREFUL_ROUNDS * n : GROW_AFTER)) {
		p->window = n + 1;
		p->credit = 0;
	}
	return false;
}

void
pace_bad(struct pace *p)
{
	unsigned n = window_of(p);

	p->window = n > 1 ? n / 2 : 1;
	p->careful = true;
	p->credit = 0;
}

void
pace_down(struct pace *p, const struct conf_retry *retry, int64_t now_ms)
{
	int64_t ms = retry->first_ms;

	for (unsigned i = 0; i < p->failures && ms < retry->max_ms; i++)
		ms = ms > INT64_MAX / 1000 ? retry->max_ms :
			ms * retry->factor_percent / 100 + 1;
	if (ms > retry->max_ms)
		ms = retry->max_ms;
	if (p->failures < UINT_MAX)
		p->failures++;
	p->until_ms = now_ms + ms;
	p->window = 1;
}

bool
pace_is_new(const struct pace *p, int64_t now_ms)
{
	if (p->failures == 0)
		return p->window == 0 || p->window >= PACE_FIRST;
	return now_ms - p->until_ms > FORGET_MS;
}

static int64_t
interval_ns(const struct conf_rate *rate)
{
	return rate->per_ms * NS_PER_MS / rate->count;
}

int64_t
pace_rate_wait(const struct pace_rate *r, const struct conf_rate *rate,
	int64_t now_ms)
{
	int64_t now_ns = now_ms * NS_PER_MS, slack_ns;

	if (rate->count == 0)
		return 0;
	slack_ns = AT_ONCE_NS - interval_ns(rate);
	if (slack_ns > 0)
		now_ns += slack_ns;
	if (r->next_ns <= now_ns)
		return 0;
	return (r->next_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS;
}

int64_t
pace_rate_take(struct pace_rate *r, const struct conf_rate *rate,
	int64_t now_ms)
{
	int64_t wait_ms = pace_rate_wait(r, rate, now_ms);

	if (rate->count == 0)
		return 0;
	if (r->next_ns < now_ms * NS_PER_MS)
		r->next_ns = now_ms * NS_PER_MS;
	r->next_ns += interval_ns(rate);
	return wait_ms;
}

int64_t
pace_slot_wait(struct pace_slot *slot, struct pace_rate *r,
	const struct conf_rate *rate, struct pace_rate *also,
	const struct conf_rate *also_rate, int64_t now_ms)
{
	int64_t one, two = 0;

	if (!slot->taken) {
		one = pace_rate_take(r, rate, now_ms);
		if (also != NULL)
			two = pace_rate_take(also, also_rate, now_ms);
		slot->at_ms = now_ms + (one > two ? one : two);
		slot->taken = true;
	}
	return slot->at_ms > now_ms ? slot->at_ms - now_ms : 0;
}
