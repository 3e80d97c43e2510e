/*
 * Time goes forward, its units agree, and tests can stop it.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"

static void
test_frozen(void **state)
{
	(void)state;
	clock_test_set(1700000000123);
	assert_int_equal(clock_wall_ms(), 1700000000123);
	assert_int_equal(clock_wall_us(), 1700000000123000);
	assert_int_equal(clock_wall_s(), 1700000000);
	assert_int_equal(clock_mono_ms(), 1700000000123);
	clock_test_set(1700000000124);
	assert_int_equal(clock_mono_ms(), 1700000000124);
	clock_test_wall(5);
	assert_int_equal(clock_wall_ms(), 5);
	assert_int_equal(clock_mono_ms(), 1700000000124);
	clock_test_real();
}

static void
test_real(void **state)
{
	int64_t before = (int64_t)time(NULL), wall, mono;

	(void)state;
	clock_test_set(0);
	clock_test_real();
	wall = clock_wall_s();
	assert_true(wall >= before && wall <= (int64_t)time(NULL) + 1);
	wall = clock_wall_us();
	assert_true(clock_wall_us() - wall < 60000000);
	mono = clock_mono_ms();
	for (int i = 0; i < 1000; i++) {
		int64_t next = clock_mono_ms();

		assert_true(next >= mono);
		mono = next;
	}
	assert_true(clock_wall_ms() / 1000 - clock_wall_s() <= 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frozen),
		cmocka_unit_test(test_real),
	};

	return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
