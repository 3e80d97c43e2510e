/*
 * Time of loop turns.
 */
#include "config.h"

#include <event2/event.h>
#include <stdbool.h>

#include "base/clock.h"
#include "smtpd-out/ipc/turn.h"

#define SLOW_US 100000

static struct {
	bool running;
	int64_t start_us, cpu_us, mark_us, longest_us;
	const char *mark, *longest;
	struct turn_worst worst;
} turn = { .worst = { .what = "", .cpu_what = "" } };

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
	now = clock_mono_us();
	if (turn.start_us == 0) {
		turn.cpu_us = clock_cpu_us();
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
	int64_t now = clock_mono_us();
	int64_t cpu_us = clock_cpu_us() - turn.cpu_us;

	end_mark(now);
	if (now - turn.start_us > turn.worst.us) {
		turn.worst.us = now - turn.start_us;
		turn.worst.what = turn.longest;
	}
	if (cpu_us > turn.worst.cpu_us) {
		turn.worst.cpu_us = cpu_us;
		turn.worst.cpu_what = turn.longest;
	}
	turn.worst.slow += now - turn.start_us > SLOW_US;
	turn.worst.cpu_slow += cpu_us > SLOW_US;
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
