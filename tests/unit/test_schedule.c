/*
 * The schedule, case by case: numbers in, a time out.
 */
#include "config.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "spool/schedule.h"

#define MIN INT64_C(60000)
#define NOW (1000 * MIN)
#define NEVER INT64_MAX
#define MID 0x7fffffffU		/* no spread, within a rounding */

static const struct conf_retry usual = { .first_ms = 5 * MIN,
	.max_ms = 60 * MIN, .expire_ms = 7200 * MIN,
	.delay_notice_ms = 240 * MIN, .factor_percent = 200 };

static const struct next_case {
	const char *what;
	unsigned attempts;
	int64_t received, expires;
	bool noticed;
	uint32_t random;
	int64_t wait;		/* expected, from NOW */
} cases[] = {
	{ "first", 1, NOW, NEVER, true, MID, 5 * MIN },
	{ "zero counts as first", 0, NOW, NEVER, true, MID, 5 * MIN },
	{ "second doubles", 2, NOW, NEVER, true, MID, 10 * MIN },
	{ "fourth", 4, NOW, NEVER, true, MID, 40 * MIN },
	{ "bounded", 5, NOW, NEVER, true, MID, 60 * MIN },
	{ "bounded far out", 4000000000U, NOW, NEVER, true, MID, 60 * MIN },
	{ "least", 1, NOW, NEVER, true, 0, 270000 },
	{ "most", 1, NOW, NEVER, true, UINT32_MAX, 330000 },
	{ "at expiry", 3, NOW, NOW + 7 * MIN, true, MID, 7 * MIN },
	{ "expired", 3, NOW, NOW - 1, true, MID, -1 },
	{ "notice comes first", 4, NOW - 230 * MIN, NEVER, false, MID,
		10 * MIN },
	{ "notice was sent", 4, NOW - 230 * MIN, NEVER, true, MID, 40 * MIN },
	{ "notice is due now", 4, NOW - 240 * MIN, NEVER, false, MID,
		40 * MIN },
	{ "notice is later", 1, NOW - 230 * MIN, NEVER, false, MID, 5 * MIN },
	{ "expiry before notice", 4, NOW - 230 * MIN, NOW + 2, false, MID, 2 },
	{ "received at the end of time", 1, NEVER, NEVER, false, MID,
		5 * MIN },
};

static void
test_next(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct next_case *c = &cases[i];
		int64_t got = schedule_next(&usual, c->attempts, NOW,
			c->received, c->expires, c->noticed, c->random);

		if (got - NOW < c->wait - 1 || got - NOW > c->wait + 1)
			fail_msg("%s: %lld", c->what, (long long)(got - NOW));
	}
}

/* Whatever the configuration holds: never before now, never past expiry. */
static void
test_odd_values(void **state)
{
	static const unsigned factors[] = { 0, 1, 99, 100, 101, 1000,
		UINT_MAX };
	static const int64_t times[] = { INT64_MIN, -1, 0, 1, MIN, INT64_MAX };
	const size_t n = sizeof(times) / sizeof(times[0]);

	(void)state;
	for (size_t i = 0; i < 7 * n * n; i++) {
		struct conf_retry r = { .factor_percent = factors[i % 7],
			.first_ms = times[i / 7 % n],
			.max_ms = times[i / 7 / n], .delay_notice_ms = 0 };
		int64_t got = schedule_next(&r, 30, NOW, 0, NEVER, false,
			(uint32_t)i * 2654435761U);

		assert_true(got > NOW);
	}
}

static void
test_expired(void **state)
{
	(void)state;
	assert_false(schedule_expired(NOW, NOW + 1));
	assert_true(schedule_expired(NOW, NOW));
	assert_false(schedule_expired(NOW, NEVER));
}

static void
test_delay_due(void **state)
{
	struct conf_retry none = usual;

	(void)state;
	none.delay_notice_ms = 0;
	assert_false(schedule_delay_due(&usual, NOW, NOW - 240 * MIN + 1,
		false));
	assert_true(schedule_delay_due(&usual, NOW, NOW - 240 * MIN, false));
	assert_false(schedule_delay_due(&usual, NOW, 0, true));
	assert_false(schedule_delay_due(&none, NOW, 0, false));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_next),
		cmocka_unit_test(test_odd_values),
		cmocka_unit_test(test_expired),
		cmocka_unit_test(test_delay_due),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
