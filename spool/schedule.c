/*
 * Back-off, expiry and the time of the delay notice.  Knows no clock.
 */
#include "config.h"

#include "spool/schedule.h"

#define SPREAD 0.1	/* so that what failed together does not return so */

/* first * factor^(n-1), bounded by max; a factor that does not grow is 1. */
static int64_t
backoff(const struct conf_retry *retry, unsigned attempts)
{
	double factor = retry->factor_percent > 100 ?
		retry->factor_percent / 100.0 : 1.0;
	int64_t max = retry->max_ms > 1 ? retry->max_ms : 1;
	double ms = retry->first_ms > 1 ? (double)retry->first_ms : 1;

	for (unsigned n = 1; n < attempts && factor > 1.0 &&
	    ms < (double)max; n++)
		ms *= factor;
	return ms < (double)max ? (int64_t)ms : max;
}

/* ms * [1 - SPREAD, 1 + SPREAD]. */
static int64_t
spread(int64_t ms, uint32_t random)
{
	double part = (double)random / (double)UINT32_MAX;
	double spread_ms = (double)ms * (1.0 - SPREAD + 2.0 * SPREAD * part);

	return spread_ms < 1.0 ? 1 : spread_ms >= 0x1p62 ?
		INT64_C(1) << 62 : (int64_t)spread_ms;
}

/* A sum that stays at the end of time instead of wrapping. */
static int64_t
later(int64_t a, int64_t b)
{
	int64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

int64_t
schedule_next(const struct conf_retry *retry, unsigned attempts,
	int64_t now_ms, int64_t received_ms, int64_t expires_ms,
	bool delay_noticed, uint32_t random)
{
	int64_t next = later(now_ms, spread(backoff(retry, attempts), random));
	int64_t notice = later(received_ms, retry->delay_notice_ms);

	if (retry->delay_notice_ms > 0 && !delay_noticed && notice > now_ms &&
	    notice < next)
		next = notice;
	return next < expires_ms ? next : expires_ms;
}

bool
schedule_expired(int64_t now_ms, int64_t expires_ms)
{
	return now_ms >= expires_ms;
}

bool
schedule_delay_due(const struct conf_retry *retry, int64_t now_ms,
	int64_t received_ms, bool delay_noticed)
{
	return retry->delay_notice_ms > 0 && !delay_noticed &&
		now_ms >= later(received_ms, retry->delay_notice_ms);
}
