/*
 * Windows, back-off and rates, with a clock of our own.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "smtpd-out/worker/pace.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct conf_retry retry = { .first_ms = 1000, .max_ms = 10000,
	.factor_percent = 200 };

static void
test_window_grows_when_used_up(void **state)
{
	struct pace p = { 0 };

	(void)state;
	assert_int_equal(pace_limit(&p, 20, 0), PACE_FIRST);
	for (int i = 0; i < 100; i++)
		assert_false(pace_good(&p, 1));
	assert_int_equal(pace_limit(&p, 20, 0), PACE_FIRST);
	for (int i = 0; i < 6; i++)
		(void)pace_good(&p, pace_limit(&p, 20, 0));
	assert_int_equal(pace_limit(&p, 20, 0), PACE_FIRST + 2);
	for (int i = 0; i < 100; i++)
		(void)pace_good(&p, pace_limit(&p, 20, 0));
	assert_int_equal(pace_limit(&p, 20, 0), 20);
	assert_int_equal(pace_limit(&p, 3, 0), 3);
	assert_true(pace_limit(&p, 0, 0) >= 20);
}

/* What was at the limit does not grow behind it. */
static void
test_window_shrinks_at_once(void **state)
{
	struct pace p = { 0 };

	(void)state;
	for (int i = 0; i < 1000; i++)
		(void)pace_good(&p, pace_limit(&p, 20, 0));
	pace_bad(&p);
	assert_true(pace_limit(&p, 20, 0) <= 11);
	pace_bad(&p);
	assert_true(pace_limit(&p, 20, 0) <= 6);
	for (int i = 0; i < 10; i++)
		pace_bad(&p);
	assert_int_equal(pace_limit(&p, 20, 0), 1);
	/* And then grows slowly. */
	for (int i = 0; i < 10; i++) {
		assert_int_equal(pace_limit(&p, 20, 0), 1);
		(void)pace_good(&p, 1);
	}
	for (int i = 0; i < 20; i++) {
		assert_int_equal(pace_limit(&p, 20, 0), 2);
		(void)pace_good(&p, 2);
	}
	assert_int_equal(pace_limit(&p, 20, 0), 3);
}

static void
test_down(void **state)
{
	static const int64_t want_ms[] = { 1000, 2001, 4003, 8007, 10000,
		10000 };
	struct pace p = { 0 };
	int64_t now = 50;

	(void)state;
	for (size_t i = 0; i < COUNT(want_ms); i++) {
		pace_down(&p, &retry, now);
		assert_true(pace_is_down(&p, now));
		assert_int_equal(pace_limit(&p, 20, now), 0);
		now += want_ms[i] - 1;
		assert_int_equal(pace_limit(&p, 20, now), 0);
		now++;
		assert_false(pace_is_down(&p, now));
		assert_int_equal(pace_limit(&p, 20, now), 1);	/* a probe */
		assert_false(pace_is_new(&p, now));
	}
	assert_true(pace_is_new(&p, now + 3600000));
	assert_true(pace_good(&p, 1));		/* was down */
	assert_false(pace_good(&p, 1));
	assert_int_equal(pace_limit(&p, 20, now), PACE_FIRST);
	assert_true(pace_is_new(&p, now));
	/* And from the beginning. */
	pace_down(&p, &retry, now);
	assert_int_equal(pace_limit(&p, 20, now + 1000), 1);
}

static void
test_down_does_not_overflow(void **state)
{
	const struct conf_retry huge = { .first_ms = INT64_MAX / 4,
		.max_ms = INT64_MAX / 2, .factor_percent = 1000 };
	struct pace p = { 0 };

	(void)state;
	for (int i = 0; i < 100; i++)
		pace_down(&p, &huge, 1000);
	assert_true(p.until_ms > 1000);
}

static const struct conf_rate rates[] = { { 1, 1000 }, { 10, 1000 },
	{ 100, 60000 }, { 7, 3000 }, { 3, 1000 }, { 100000, 1000 },
	{ 5000, 3600000 }, { 1, 86400000 } };

/* Whoever takes as fast as it is permitted gets what is permitted. */
static void
test_rate(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rates); i++) {
		const struct conf_rate *r = &rates[i];
		struct pace_rate rate = { 0 };
		int64_t start = 1000000, end = start + 3 * r->per_ms;
		int64_t now = start, taken = 0;

		while (now < end && taken < 1000000) {
			int64_t ms = pace_rate_wait(&rate, r, now);

			assert_int_equal(pace_rate_take(&rate, r, now), ms);
			now += ms;
			taken++;
		}
		assert_true(taken >= 3 * (int64_t)r->count);
		assert_true(taken <= 3 * (int64_t)r->count + 2 +
			r->count * 100 / r->per_ms);
	}
}

/* Places are given out in advance, to as many as ask. */
static void
test_rate_in_advance(void **state)
{
	const struct conf_rate r = { 10, 10000 };
	const struct conf_rate none = { 0, 0 };
	struct pace_rate rate = { 0 };

	(void)state;
	for (int64_t i = 0; i < 50; i++)
		assert_int_equal(pace_rate_take(&rate, &r, 7000), i * 1000);
	assert_int_equal(pace_rate_wait(&rate, &r, 7000), 50000);
	/* What was not used is not saved up. */
	assert_int_equal(pace_rate_take(&rate, &r, 900000), 0);
	assert_int_equal(pace_rate_take(&rate, &r, 900000), 1000);
	for (int i = 0; i < 50; i++)
		assert_int_equal(pace_rate_take(&rate, &none, 0), 0);
}

/* Of two rates the slower counts; waiting takes no further places. */
static void
test_slots(void **state)
{
	const struct conf_rate slow = { 1, 1000 }, fast = { 10, 1000 };
	struct pace_rate a = { 0 }, all = { 0 };
	struct pace_slot s = { 0 };

	(void)state;
	assert_int_equal(pace_slot_wait(&s, &a, &slow, &all, &fast, 50), 0);
	s.taken = false;
	for (int64_t now = 50; now < 1050; now += 10)
		assert_int_equal(pace_slot_wait(&s, &a, &slow, &all, &fast,
			now), 1050 - now);
	assert_int_equal(pace_slot_wait(&s, &a, &slow, &all, &fast, 1050), 0);
	assert_int_equal(pace_rate_wait(&all, &fast, 250), 0);
	s.taken = false;
	assert_int_equal(pace_slot_wait(&s, &all, &fast, NULL, NULL, 5000), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_window_grows_when_used_up),
		cmocka_unit_test(test_window_shrinks_at_once),
		cmocka_unit_test(test_down),
		cmocka_unit_test(test_down_does_not_overflow),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_rate_in_advance),
		cmocka_unit_test(test_slots),
	};

	return cmocka_run_group_tests_name("pace", tests, NULL, NULL);
}
