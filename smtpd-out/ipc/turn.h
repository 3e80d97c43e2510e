/*
 * How long the turns of an event loop take: nothing in the parent may hold up
 * the others.  Beside the time on the clock stands that on the processor: what
 * is long on the clock alone waited for the disk, or for a busy machine.
 *
 * turn_run() dispatches; whatever begins to work in a callback says so with
 * turn_mark(), at the latest when it may take long.  The turn lasts from its
 * first mark until the loop waits again.
 */
#ifndef SMTPD_OUT_TURN_H
#define SMTPD_OUT_TURN_H

#include <stdint.h>

struct event_base;

/* Until event_base_loopbreak() or nothing is left to wait for. */
void turn_run(struct event_base *);
/* `what` is a constant; without turn_run() this does nothing. */
void turn_mark(const char *what);

/* The longest by each; they need not be the same turn. */
struct turn_worst {
	int64_t us, cpu_us;
	const char *what;	/* the mark with the most of it; "" for none */
	const char *cpu_what;
	uint64_t slow, cpu_slow;	/* turns above 100 ms */
};
void turn_worst(struct turn_worst *out);

#endif
