/*
 * What is remembered of hosts: stored, found, listed, swept, and all of it
 * within transactions.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/str.h"
#include "spool/policy_store.h"
#include "tests/unit/test_spool_util.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static enum status
put(struct spool *s, const char *host, unsigned level, int64_t last_s)
{
	struct spool_host_tls h = { .level = level, .last_s = last_s };

	(void)str_copy(h.host, sizeof(h.host), host);
	return spool_host_tls_put(s, &h);
}

static void
commit_one(struct spool *s, const char *host, unsigned level, int64_t last_s)
{
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(put(s, host, level, last_s), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
}

/* "host level last" of each row in order. */
static void
check_all(struct spool *s, const char *want)
{
	struct spool_host_tls list[20];
	char got[1000] = "";
	size_t count = 0, len = 0;

	assert_int_equal(spool_host_tls_list(s, "", list, COUNT(list),
		&count), ST_OK);
	for (size_t i = 0; i < count; i++)
		len += (size_t)snprintf(got + len, sizeof(got) - len,
			"%s%s %u %lld", i > 0 ? ", " : "", list[i].host,
			list[i].level, (long long)list[i].last_s);
	assert_string_equal(got, want);
}

static void
test_put(void **state)
{
	struct spool *s = test_open(*state);
	struct spool_host_tls h;

	check_all(s, "");
	assert_int_equal(spool_host_tls_get(s, "mx.example", &h), ST_NOENT);
	commit_one(s, "mx.example", 1, 100);
	assert_int_equal(spool_host_tls_get(s, "mx.example", &h), ST_OK);
	assert_string_equal(h.host, "mx.example");
	assert_int_equal(h.level, 1);
	assert_int_equal(h.last_s, 100);
	commit_one(s, "mx.example", 2, 90);	/* replaced, up and down */
	commit_one(s, "a.example", 1, 50);
	check_all(s, "a.example 1 50, mx.example 2 90");
	spool_close(&s);
	s = test_open(*state);
	check_all(s, "a.example 1 50, mx.example 2 90");
	spool_close(&s);
}

static void
test_forget(void **state)
{
	struct spool *s = test_open(*state);

	commit_one(s, "mx.example", 1, 100);
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_host_tls_forget(s, "x.example"), ST_NOENT);
	assert_int_equal(spool_host_tls_forget(s, "mx.example"), ST_OK);
	assert_int_equal(spool_host_tls_forget(s, "mx.example"), ST_NOENT);
	assert_int_equal(spool_commit(s), ST_OK);
	check_all(s, "");
	spool_close(&s);
}

/* Part of the group commit like all else. */
static void
test_transaction(void **state)
{
	struct spool *s = test_open(*state);
	struct spool_host_tls out[1];
	size_t n;

	assert_int_equal(put(s, "mx.example", 1, 1), ST_SYS);
	assert_int_equal(spool_host_tls_forget(s, "mx.example"), ST_SYS);
	assert_int_equal(spool_host_tls_sweep(s, 0, 0, out, 1, &n), ST_SYS);
	commit_one(s, "a.example", 1, 1);
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(put(s, "b.example", 1, 1), ST_OK);
	assert_int_equal(spool_host_tls_forget(s, "a.example"), ST_OK);
	spool_rollback(s);
	check_all(s, "a.example 1 1");
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(put(s, "b.example", 1, 1), ST_OK);
	/* Neither loses the other. */
	assert_int_equal(spool_host_tls_forget(s, "c.example"), ST_NOENT);
	assert_int_equal(spool_commit(s), ST_OK);
	check_all(s, "a.example 1 1, b.example 1 1");
	spool_close(&s);
}

static void
test_list(void **state)
{
	struct spool *s = test_open(*state);
	struct spool_host_tls list[7];
	char host[32], after[SPOOL_HOST_MAX] = "";
	size_t count, seen = 0;

	assert_int_equal(spool_begin(s), ST_OK);
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(host, sizeof(host), "h%02u.example", i);
		assert_int_equal(put(s, host, i, i), ST_OK);
	}
	assert_int_equal(spool_commit(s), ST_OK);
	do {
		assert_int_equal(spool_host_tls_list(s, after, list,
			COUNT(list), &count), ST_OK);
		for (size_t i = 0; i < count; i++)
			assert_int_equal(list[i].level, seen++);
		if (count > 0)
			(void)str_copy(after, sizeof(after),
				list[count - 1].host);
	} while (count > 0);
	assert_int_equal(seen, 100);
	spool_close(&s);
}

static void
sweep(struct spool *s, int64_t before_s, size_t keep, size_t max,
	size_t want)
{
	struct spool_host_tls out[10];
	size_t count = 99;

	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_host_tls_sweep(s, before_s, keep, out, max,
		&count), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	assert_int_equal(count, want);
	for (size_t i = 0; i < count; i++) {
		struct spool_host_tls h;

		assert_int_equal(spool_host_tls_get(s, out[i].host, &h),
			ST_NOENT);
	}
}

static void
test_sweep(void **state)
{
	struct spool *s = test_open(*state);

	sweep(s, 1000, 0, 10, 0);
	commit_one(s, "e.example", 1, 10);
	commit_one(s, "d.example", 2, 20);
	commit_one(s, "c.example", 1, 30);
	commit_one(s, "b.example", 2, 40);
	commit_one(s, "a.example", 1, 50);
	sweep(s, 0, 5, 10, 0);
	sweep(s, 10, 9, 10, 0);			/* seen at that time: kept */
	sweep(s, 21, 9, 10, 2);
	check_all(s, "a.example 1 50, b.example 2 40, c.example 1 30");
	sweep(s, 0, 2, 10, 1);			/* the oldest goes */
	check_all(s, "a.example 1 50, b.example 2 40");
	commit_one(s, "c.example", 1, 60);
	commit_one(s, "b.example", 2, 70);	/* used again */
	sweep(s, 0, 1, 1, 1);			/* at most one a call */
	check_all(s, "b.example 2 70, c.example 1 60");
	sweep(s, 1000, 0, 10, 2);
	check_all(s, "");
	spool_close(&s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, test_dir_setup, \
	test_dir_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_put), T(test_forget), T(test_transaction),
		T(test_list), T(test_sweep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
