/*
 * How long the turns of an event loop take: nothing in the parent may hold up
 * the others.
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

struct turn_worst {
	int64_t us;
	const char *what;	/* the mark with the most of it; "" for none */
	uint64_t slow;		/* turns above 100 ms */
};
void turn_worst(struct turn_worst *out);

#endif
