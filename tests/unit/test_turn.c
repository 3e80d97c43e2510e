/*
 * Turns of a loop on the clock and on the processor, sizes of parts, and what
 * the system's limits leave of the configured ones.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "base/clock.h"
#include "base/rlimits.h"
#include "base/slice.h"
#include "smtpd-out/ipc/turn.h"

#define LONG_MS 120

static struct event_base *base;

/* ---- turns ---- */

static void
sleep_long(void)
{
	(void)usleep(LONG_MS * 1000);
}

static void
spin_long(void)
{
	int64_t until_us = clock_cpu_us() + LONG_MS * 1000;

	while (clock_cpu_us() < until_us)
		;
}

struct work {
	void (*run)(void);
	const char *what;
};

static void
on_work(evutil_socket_t fd, short what, void *arg)
{
	struct work *w = arg;

	(void)fd;
	(void)what;
	turn_mark("short");
	turn_mark(w->what);
	w->run();
	turn_mark("short");
}

static void
turn_of(void (*run)(void), const char *what)
{
	struct work w = { run, what };

	assert_int_equal(event_base_once(base, -1, EV_TIMEOUT, on_work, &w,
		NULL), 0);
	turn_run(base);
}

static void
nothing(void)
{
}

static void
test_turns(void **state)
{
	struct turn_worst w;

	(void)state;
	turn_worst(&w);
	assert_string_equal(w.what, "");
	assert_string_equal(w.cpu_what, "");
	assert_int_equal(w.us, 0);
	turn_mark("outside of a loop");
	sleep_long();
	turn_of(nothing, "nothing");
	turn_worst(&w);
	assert_int_equal(w.cpu_slow, 0);
	assert_true(w.cpu_us < LONG_MS * 1000);

	/* Waiting is no work. */
	turn_of(sleep_long, "sleep");
	turn_worst(&w);
	assert_true(w.us >= LONG_MS * 1000);
	assert_string_equal(w.what, "sleep");
	assert_true(w.slow >= 1);
	assert_true(w.cpu_us < LONG_MS * 1000);
	assert_int_equal(w.cpu_slow, 0);

	turn_of(spin_long, "spin");
	turn_worst(&w);
	assert_true(w.cpu_us >= LONG_MS * 1000);
	assert_string_equal(w.cpu_what, "spin");
	assert_int_equal(w.cpu_slow, 1);
	assert_true(w.slow >= 2);

	/* The worst stays. */
	turn_of(nothing, "nothing");
	turn_worst(&w);
	assert_string_equal(w.cpu_what, "spin");
	assert_int_equal(w.cpu_slow, 1);
}

/* ---- parts ---- */

static void
test_slices(void **state)
{
	static const struct {
		unsigned size, done;
		int64_t us;
		unsigned next;
	} rows[] = {
		{ 100, 100, SLICE_TARGET_US, 100 },
		{ 100, 100, SLICE_TARGET_US * 2, 50 },
		{ 100, 100, SLICE_TARGET_US * 1000, 10 },	/* the least */
		{ 100, 100, 1, 151 },
		{ 100, 100, 0, 151 },
		{ 100, 99, 1, 100 },		/* there was not more to do */
		{ 100, 0, SLICE_TARGET_US * 2, 10 },
		{ 100, 900, SLICE_TARGET_US * 2, 100 },
		{ 900, 900, 1, 1000 },		/* the most */
		{ 100, 100, SLICE_TARGET_US / 2, 100 },
		{ 100, 100, INT64_MAX, 10 },
		{ 1000, UINT32_MAX, SLICE_TARGET_US + 1, 1000 },
	};
	struct slice s = { .least = 10, .most = 1000 };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		s.size = rows[i].size;
		assert_int_equal(slice_next(&s, rows[i].done, rows[i].us),
			rows[i].next);
	}
	s.size = 100;
	clock_test_set(1000);
	slice_start(&s);
	clock_test_set(1000 + SLICE_TARGET_US * 4 / 1000);
	slice_end(&s, 100);
	assert_int_equal(s.size, 25);
	slice_start(&s);
	slice_end(&s, 25);
	assert_int_equal(s.size, 38);
	clock_test_real();
}

/* ---- the system's limits ---- */

static void
test_bounds(void **state)
{
	static const struct {
		uint64_t descriptors, ports;
		unsigned active, sessions;
	} rows[] = {
		{ UINT64_MAX, UINT64_MAX, 10000, 1000 },
		{ 20000, 28232, 10000, 1000 },
		{ 10200, 28232, 10000, 1000 },
		{ 10199, 28232, 9999, 1000 },
		{ 3200, 28232, 3000, 1000 },
		{ 3199, 28232, 2999, 999 },
		{ 1024, 28232, 824, 274 },
		{ 20000, 500, 500, 1000 },
		{ 20000, 1, 16, 1000 },
		{ 200, 28232, 16, 16 },
		{ 0, 0, 16, 16 },
	};
	struct rlimits_bounds b;
	struct conf *conf;
	char err[CONF_ERR_MAX];

	(void)state;
	assert_int_equal(conf_parse("test", "hostname = \"mail.example\"\n"
		"limit { active = 10000 sessions = 1000 }\n", &conf, err),
		ST_OK);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		rlimits_bounds(conf, rows[i].descriptors, rows[i].ports, &b);
		assert_int_equal(b.active, rows[i].active);
		assert_int_equal(b.sessions, rows[i].sessions);
	}
	/* What is small as configured stays small. */
	conf->limit.active = 3;
	conf->limit.sessions = 2;
	rlimits_bounds(conf, 0, 0, &b);
	assert_int_equal(b.active, 3);
	assert_int_equal(b.sessions, 2);
	conf_free(&conf);
}

/* `check` of many domains wants more than a shell gives. */
static void
test_raise(void **state)
{
	struct rlimit r;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
	r.rlim_cur = 64;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &r), 0);
	assert_true(rlimits_raise() == r.rlim_max);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
	assert_true(r.rlim_cur == r.rlim_max);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_turns),
		cmocka_unit_test(test_slices),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_raise),
	};
	int failed;

	base = event_base_new();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	event_base_free(base);
	return failed;
}
