/*
 * Which limit holds: at run time before the configuration, the name before
 * its parents, each value by itself.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "smtpd-out/ipc/limits.h"

static struct conf *conf;
static struct limits *limits;

static int
setup(void **state)
{
	char err[CONF_ERR_MAX];

	(void)state;
	assert_int_equal(conf_parse("test", "hostname = \"mail.example\"\n"
		"limit { destination-sessions = 7 session-recipients = 9 }\n"
		"destination \".conf.test\" { max-connections = 2\n"
		" rate = 3/1m max-recipients = 4 }\n"
		"host \"mx.conf.test\" { max-connections = 5 }\n",
		&conf, err), ST_OK);
	limits = limits_new(conf);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	limits_free(&limits);
	conf_free(&conf);
	return 0;
}

static void
test_defaults(void **state)
{
	struct conf_bounds b;

	(void)state;
	limits_get(limits, "a.example", &b);
	assert_int_equal(b.connections, 7);
	assert_int_equal(b.recipients, 9);
	assert_int_equal(b.rate.count, 0);
	limits_get_host(limits, "mx.example", &b);
	assert_int_equal(b.connections, 0);
	limits_get_total(limits, &b);
	assert_int_equal(b.connections, 0);
	limits_get(limits, "a.conf.test", &b);
	assert_int_equal(b.connections, 2);
	assert_int_equal(b.rate.count, 3);
	assert_int_equal(b.recipients, 4);
	limits_get_host(limits, "mx.conf.test", &b);
	assert_int_equal(b.connections, 5);
}

static void
test_run_time(void **state)
{
	struct msg_limit_rule rules[] = {
		{ false, "a.example", { 3, 0, { 0, 0 } } },
		{ false, ".example", { 4, 5, { 6, 1000 } } },
		{ true, "a.example", { 10, 0, { 5, 60000 } } },
	};
	const struct msg_limits msg = { .workers = 4, .rules = rules,
		.count = 3 };
	const struct msg_limits none = { .workers = 1 };
	struct conf_bounds b;
	unsigned generation = limits_generation(limits);

	(void)state;
	limits_set(limits, &msg);
	assert_int_not_equal(limits_generation(limits), generation);
	limits_get(limits, "a.example", &b);
	assert_int_equal(b.connections, 3);	/* its own */
	assert_int_equal(b.recipients, 5);	/* the parent's */
	assert_int_equal(b.rate.count, 6);
	assert_int_equal(b.rate.per_ms, 1000);
	limits_get(limits, "b.c.example", &b);
	assert_int_equal(b.connections, 4);
	/* Not a domain below. */
	limits_get(limits, "example", &b);
	assert_int_equal(b.connections, 7);
	limits_get(limits, "aexample", &b);
	assert_int_equal(b.connections, 7);
	/* A host's is shared by the workers. */
	limits_get_host(limits, "a.example", &b);
	assert_int_equal(b.connections, 3);
	assert_int_equal(b.rate.count, 2);
	limits_set(limits, &none);
	limits_get(limits, "a.example", &b);
	assert_int_equal(b.connections, 7);
}

static void
test_rate_texts(void **state)
{
	static const struct {
		const char *text;
		unsigned count;		/* 0: refused */
		int64_t per_ms;
	} rows[] = {
		{ "100/1m", 100, 60000 }, { "10/s", 10, 1000 },
		{ "5000/1h", 5000, 3600000 }, { "1/30s", 1, 30000 },
		{ "1/d", 1, 86400000 }, { "", 0, 0 }, { "/", 0, 0 },
		{ "10", 0, 0 }, { "10/", 0, 0 }, { "0/1m", 0, 0 },
		{ "-1/1m", 0, 0 }, { "1/2d", 0, 0 }, { "1/0s", 0, 0 },
		{ "10/x", 0, 0 }, { "99999999999999999999/s", 0, 0 },
		{ "1/99999999999999999999999999999999999s", 0, 0 },
	};
	struct conf_rate rate = { .count = 1 };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		enum status st = conf_rate_parse(rows[i].text, &rate);

		if ((st == ST_OK) != (rows[i].count > 0))
			fail_msg("%s", rows[i].text);
		if (st == ST_OK) {
			assert_int_equal(rate.count, rows[i].count);
			assert_int_equal(rate.per_ms, rows[i].per_ms);
		}
	}
	assert_int_equal(conf_rate_parse("0", &rate), ST_OK);
	assert_int_equal(rate.count, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_defaults, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_run_time, setup,
			teardown),
		cmocka_unit_test(test_rate_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
