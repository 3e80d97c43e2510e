/*
 * Sizes of parts (slice.h).
 */
#include "config.h"

#include "base/clock.h"
#include "base/slice.h"

void
slice_start(struct slice *s)
{
	s->start_us = clock_mono_us();
}

/* Down at once to what would have been right, up by half at a time: a part
 * that is too long is felt by others, one that is too short only costs. */
unsigned
slice_next(const struct slice *s, unsigned done, int64_t us)
{
	uint64_t next = s->size;

	if (us > SLICE_TARGET_US)
		next = (uint64_t)done * SLICE_TARGET_US / (uint64_t)us;
	else if (us < SLICE_TARGET_US / 2 && done >= s->size)
		next += next / 2 + 1;
	if (next > s->size && us > SLICE_TARGET_US)
		next = s->size;
	if (next < s->least)
		next = s->least;
	return next > s->most ? s->most : (unsigned)next;
}

void
slice_end(struct slice *s, unsigned done)
{
	s->size = slice_next(s, done, clock_mono_us() - s->start_us);
}
