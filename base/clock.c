/*
 * Wall and monotonic time with a test override.
 */
#include "config.h"

#include <stdbool.h>
#include <time.h>

#include "base/clock.h"

static bool frozen;
static int64_t frozen_ms, frozen_wall_ms;

static int64_t
read_us(clockid_t id)
{
	struct timespec ts;

	(void)clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t
clock_wall_us(void)
{
	return frozen ? frozen_wall_ms * 1000 : read_us(CLOCK_REALTIME);
}

int64_t
clock_wall_ms(void)
{
	return clock_wall_us() / 1000;
}

int64_t
clock_wall_s(void)
{
	return clock_wall_us() / 1000000;
}

int64_t
clock_mono_ms(void)
{
	return clock_mono_us() / 1000;
}

int64_t
clock_mono_us(void)
{
	return frozen ? frozen_ms * 1000 : read_us(CLOCK_MONOTONIC);
}

int64_t
clock_cpu_us(void)
{
	return read_us(CLOCK_THREAD_CPUTIME_ID);
}

void
clock_test_set(int64_t wall_ms)
{
	frozen = true;
	frozen_ms = frozen_wall_ms = wall_ms;
}

void
clock_test_wall(int64_t wall_ms)
{
	frozen_wall_ms = wall_ms;
}

void
clock_test_real(void)
{
	frozen = false;
}
