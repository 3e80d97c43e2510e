/*
 * One event is one line, whatever its values hold.
 */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

static char out[3 * LOG_LINE_MAX];
static int saved, pipe_fds[2];

static void
capture(void)
{
	assert_int_equal(pipe(pipe_fds), 0);
	(void)fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK);
	saved = dup(2);
	assert_true(saved >= 0);
	assert_int_equal(dup2(pipe_fds[1], 2), 2);
	(void)close(pipe_fds[1]);
}

/* The text after the time, role and process id: "[pid] level ...". */
static const char *
captured(void)
{
	ssize_t n;
	const char *level;

	assert_int_equal(dup2(saved, 2), 2);
	(void)close(saved);
	n = read(pipe_fds[0], out, sizeof(out) - 1);
	(void)close(pipe_fds[0]);
	out[n > 0 ? n : 0] = '\0';
	if (n <= 0)
		return out;
	level = strstr(out, "] ");
	assert_non_null(level);
	return level + 2;
}

static void
test_prefix(void **state)
{
	char want[100];

	(void)state;
	log_init("worker 3", LOG_TO_STDERR, LOG_LEVEL_INFO);
	clock_test_set(1700000000007);
	capture();
	log_info("started", "a", "b", NULL);
	(void)captured();
	clock_test_real();
	(void)snprintf(want, sizeof(want),
		"2023-11-14T22:13:20.007Z worker 3[%d] info started a=b\n",
		(int)getpid());
	assert_string_equal(out, want);
}

static const struct value_case {
	const char *value, *want;
} value_cases[] = {
	{ "plain", "k=plain" },
	{ NULL, "k=-" },
	{ "", "k=\"\"" },
	{ "two words", "k=\"two words\"" },
	{ "a=b", "k=\"a=b\"" },
	{ "say \"hi\"", "k=\"say \\\"hi\\\"\"" },
	{ "back\\slash", "k=\"back\\\\slash\"" },
	{ "a\nerror forged=yes", "k=\"a?error forged=yes\"" },
	{ "a\r\nb\x1b[2J\x7f", "k=a??b?[2J?" },
	{ "\xff\xc2\x85", "k=??" },
	{ "j\xc3\xb6rg", "k=j\xc3\xb6rg" },
};

static void
test_values(void **state)
{
	(void)state;
	log_init("t", LOG_TO_STDERR, LOG_LEVEL_INFO);
	for (size_t i = 0; i < sizeof(value_cases) / sizeof(value_cases[0]);
	    i++) {
		char want[200];

		capture();
		log_warn("event", "k", value_cases[i].value, "z", "1", NULL);
		(void)snprintf(want, sizeof(want), "warn event %s z=1\n",
			value_cases[i].want);
		assert_string_equal(captured(), want);
	}
}

/* Cut to one line that ends, with no half character. */
static void
test_cut(void **state)
{
	static char big[3 * LOG_LINE_MAX];
	size_t len;

	(void)state;
	log_init("t", LOG_TO_STDERR, LOG_LEVEL_INFO);
	for (size_t shift = 0; shift < 3; shift++) {
		memset(big, 'a', shift);
		for (size_t i = shift; i + 3 < sizeof(big); i += 3)
			memcpy(big + i, "\xe2\x82\xac\0", 4);
		capture();
		log_info("event", "big", big, "more", "never seen", NULL);
		(void)captured();
		len = strlen(out);
		assert_true(len <= LOG_LINE_MAX && len > LOG_LINE_MAX - 8);
		assert_int_equal(out[len - 1], '\n');
		assert_ptr_equal(strchr(out, '\n'), out + len - 1);
		assert_true(str_is_utf8(out, len));
	}
	memset(big, '"', sizeof(big) - 1);	/* all escaped */
	capture();
	log_info("event", "big", big, NULL);
	(void)captured();
	assert_true(strlen(out) <= LOG_LINE_MAX);
	assert_int_equal(out[strlen(out) - 1], '\n');
}

static void
test_levels(void **state)
{
	(void)state;
	log_init("t", LOG_TO_STDERR, LOG_LEVEL_WARN);
	assert_true(log_enabled(LOG_LEVEL_ERROR));
	assert_true(log_enabled(LOG_LEVEL_WARN));
	assert_false(log_enabled(LOG_LEVEL_INFO));
	capture();
	log_info("no", NULL);
	log_debug("no", NULL);
	assert_string_equal(captured(), "");
	capture();
	log_error("yes", NULL);
	assert_string_equal(captured(), "error yes\n");
	log_init("t", LOG_TO_STDERR, LOG_LEVEL_DEBUG);
	capture();
	log_debug("yes", NULL);
	assert_string_equal(captured(), "debug yes\n");
}

static void
test_long_role(void **state)
{
	char role[500];

	(void)state;
	memset(role, 'r', sizeof(role) - 1);
	role[sizeof(role) - 1] = '\0';
	log_init(role, LOG_TO_STDERR, LOG_LEVEL_INFO);
	capture();
	log_info("event", NULL);
	assert_string_equal(captured(), "info event\n");
	log_init("t", LOG_TO_STDERR, LOG_LEVEL_INFO);
}

static void
test_num(void **state)
{
	const char *a = log_num(INT64_MIN), *b = log_num(INT64_MAX);

	(void)state;
	for (int i = 0; i < 14; i++)
		(void)log_num(i);
	assert_string_equal(a, "-9223372036854775808");
	assert_string_equal(b, "9223372036854775807");
}

static void
test_once(void **state)
{
	(void)state;
	clock_test_set(1700000000000);
	assert_true(log_once("key"));
	assert_false(log_once("key"));
	assert_true(log_once("other key"));
	clock_test_set(1700000059000);
	assert_false(log_once("key"));
	clock_test_set(1700000060001);
	assert_true(log_once("key"));
	assert_false(log_once("key"));
	clock_test_real();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefix),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_long_role),
		cmocka_unit_test(test_num),
		cmocka_unit_test(test_once),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
