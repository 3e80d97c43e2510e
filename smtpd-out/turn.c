/*
 * Time of loop turns.
 */
#include "config.h"

#include <event2/event.h>
#include <stdbool.h>
#include <time.h>

#include "smtpd-out/turn.h"

#define SLOW_US 100000

static struct {
	bool running;
	int64_t start_us, mark_us, longest_us;
	const char *mark, *longest;
	struct turn_worst worst;
} turn = { .worst = { .what = "" } };

static int64_t
now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void
end_mark(int64_t now)
{
	if (turn.mark != NULL && now - turn.mark_us >= turn.longest_us) {
		turn.longest_us = now - turn.mark_us;
		turn.longest = turn.mark;
	}
}

void
turn_mark(const char *what)
{
	int64_t now;

	if (!turn.running)
		return;
	now = now_us();
	if (turn.start_us == 0) {
		turn.start_us = now;
		turn.longest_us = 0;
		turn.longest = what;
	} else {
		end_mark(now);
	}
	turn.mark = what;
	turn.mark_us = now;
}

static void
turn_end(void)
{
	int64_t now = now_us();

	end_mark(now);
	if (now - turn.start_us > turn.worst.us) {
		turn.worst.us = now - turn.start_us;
		turn.worst.what = turn.longest;
	}
	turn.worst.slow += now - turn.start_us > SLOW_US;
	turn.start_us = 0;
	turn.mark = NULL;
}

void
turn_run(struct event_base *base)
{
	turn.start_us = 0;
	turn.mark = NULL;
	turn.running = true;
	while (event_base_loop(base, EVLOOP_ONCE) == 0 &&
	    !event_base_got_break(base))
		if (turn.start_us != 0)
			turn_end();
	turn.running = false;
}

void
turn_worst(struct turn_worst *out)
{
	*out = turn.worst;
}
