/*
 * How much of a long piece of work is done at once: as much as took about
 * SLICE_TARGET_US the last time, on this machine, with this disk, now.
 *
 * The whole of a part is measured, its commit and its fsync too, by the
 * monotonic clock: those who wait for the loop wait for that.
 */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdint.h>

#define SLICE_TARGET_US 15000

/* Units are what the owner says: rows, pages, destinations. */
struct slice {
	unsigned size;		/* of the next part: set it to begin with */
	unsigned least, most;	/* bounds of size */
	int64_t start_us;
};

void slice_start(struct slice *);
/* `done` units were done since the start. */
void slice_end(struct slice *, unsigned done);
/* The rule alone: the next size after `done` units in `us`. */
unsigned slice_next(const struct slice *, unsigned done, int64_t us);

#endif
