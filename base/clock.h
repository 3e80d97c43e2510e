/*
 * All time comes from here, so that tests can set it.
 * Not thread-safe to change; reading is.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

int64_t clock_wall_ms(void);	/* Unix time in milliseconds */
int64_t clock_wall_us(void);	/* Unix time in microseconds */
int64_t clock_wall_s(void);	/* Unix time in seconds */
int64_t clock_mono_ms(void);	/* monotonic, for timeouts and durations */
int64_t clock_mono_us(void);	/* the same in microseconds */
int64_t clock_cpu_us(void);	/* that this thread ran; never frozen */

/* Tests only: freezes both clocks at wall_ms until clock_test_real(). */
void clock_test_set(int64_t wall_ms);
/* Then: sets wall time alone, as somebody who sets the clock. */
void clock_test_wall(int64_t wall_ms);
void clock_test_real(void);

#endif
