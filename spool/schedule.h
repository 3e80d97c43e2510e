/*
 * When to try again.  Pure functions of numbers (milliseconds).
 */
#ifndef SPOOL_SCHEDULE_H
#define SPOOL_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/conf.h"

/*
 * The next attempt after `attempts` finished ones (>= 1): first * factor^(n-1),
 * at most max, spread by +-10 % with random (any 32 bits).  Never later than
 * expires_ms (the last attempt is at expiry) and clamped to the time of a
 * delay notice that is still to be sent.
 */
int64_t schedule_next(const struct conf_retry *, unsigned attempts,
	int64_t now_ms, int64_t received_ms, int64_t expires_ms,
	bool delay_noticed, uint32_t random);

bool schedule_expired(int64_t now_ms, int64_t expires_ms);
/* A delay notice is due: enabled, not sent yet, old enough. */
bool schedule_delay_due(const struct conf_retry *, int64_t now_ms,
	int64_t received_ms, bool delay_noticed);

#endif
