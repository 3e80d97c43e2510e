/*
 * Policy lists of the operator's: the last good one stays, also over a
 * restart, until it expires.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "smtpd-out/queue/sts_lists.h"
#include "spool/spool_int.h"
#include "spool/sts_store.h"
#include "tests/unit/test_spool_util.h"

#define NOW INT64_C(1700000000)

static char one[100], two[100];
static char *paths[] = { one, two };
static struct conf_sts conf = { .enable = true, .lists = paths };
static struct spool *spool;

static int
setup(void **state)
{
	if (test_dir_setup(state) != 0)
		return -1;
	log_init("t", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	(void)snprintf(one, sizeof(one), "%s/one.json", (char *)*state);
	(void)snprintf(two, sizeof(two), "%s/two.json", (char *)*state);
	conf.list_count = 1;
	spool = test_open(*state);
	return 0;
}

static int
teardown(void **state)
{
	spool_close(&spool);
	return test_dir_teardown(state);
}

static void
write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

/* A list with one domain. */
static void
write_list(const char *path, const char *domain, const char *mode,
	int64_t timestamp_s, int64_t expires_s)
{
	char *text = xasprintf("{\"version\":\"0.1\",\"timestamp\":%lld,"
		"\"expires\":%lld,\"policies\":{\"%s\":{\"mode\":\"%s\","
		"\"mxs\":[\"mx.%s\"]}}}", (long long)timestamp_s,
		(long long)expires_s, domain, mode, domain);

	write_file(path, text);
	free(text);
}

/* The domain, as the lists have it when they are read now: mode and number of
 * lists. */
static void
check_now(int64_t now_s, const char *domain, enum sts_mode mode, size_t count)
{
	struct sts_lists *lists = sts_lists_new(&conf, spool, now_s);
	struct sts_lists_entry found[4];

	assert_int_equal(sts_lists_find(lists, domain, now_s, found, 4),
		count);
	assert_int_equal(sts_lists_find(lists, "other.example", now_s, found,
		4), 0);
	if (count > 0) {
		assert_int_equal(sts_lists_find(lists, domain, now_s, found,
			1), 1);
		assert_int_equal(found[0].policy->mode, mode);
	}
	sts_lists_free(&lists);
}

static void
restart(void **state)
{
	spool_close(&spool);
	spool = test_open(*state);
}

static bool
is_kept(const char *path)
{
	char *text;
	size_t len;
	enum status st = spool_sts_list_get(spool, path, &text, &len);

	free(text);
	return st == ST_OK;
}

/* Bad in every way that a file can be: the last good one stays. */
static void
test_last_good(void **state)
{
	static const char *const bad[] = { "", "{", "[]", "x\0",
		"{\"version\":\"0.1\",\"expires\":1700009999,\"policies\":"
		"{\"a.example\":{\"policy-alias\":\"x\"}}}",
		"{\"version\":\"0.1\",\"expires\":1600000000,\"policies\":"
		"{}}" };

	check_now(NOW, "a.example", STS_MODE_NONE, 0);	/* no file yet */
	assert_false(is_kept(one));
	write_list(one, "a.example", "enforce", 10, NOW + 1000);
	check_now(NOW, "a.example", STS_MODE_ENFORCE, 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		write_file(one, bad[i]);
		check_now(NOW, "a.example", STS_MODE_ENFORCE, 1);
		restart(state);
		check_now(NOW + 999, "a.example", STS_MODE_ENFORCE, 1);
	}
	assert_int_equal(unlink(one), 0);
	check_now(NOW, "a.example", STS_MODE_ENFORCE, 1);
	assert_int_equal(mkdir(one, 0700), 0);
	check_now(NOW, "a.example", STS_MODE_ENFORCE, 1);
	assert_int_equal(rmdir(one), 0);
	assert_int_equal(mkfifo(one, 0600), 0);		/* nobody writes */
	check_now(NOW, "a.example", STS_MODE_ENFORCE, 1);
	assert_int_equal(unlink(one), 0);
	/* Until its own end. */
	check_now(NOW + 1000, "a.example", STS_MODE_NONE, 0);
	assert_false(is_kept(one));
	check_now(NOW, "a.example", STS_MODE_NONE, 0);
}

static void
test_replaced(void **state)
{
	(void)state;
	write_list(one, "a.example", "enforce", 10, NOW + 1000);
	check_now(NOW, "a.example", STS_MODE_ENFORCE, 1);
	write_list(one, "a.example", "testing", 10, NOW + 1000);
	check_now(NOW, "a.example", STS_MODE_TESTING, 1);
	/* Somebody brings an older one back. */
	write_list(one, "a.example", "enforce", 9, NOW + 1000);
	check_now(NOW, "a.example", STS_MODE_TESTING, 1);
	write_list(one, "b.example", "enforce", 11, NOW + 1000);
	check_now(NOW, "a.example", STS_MODE_NONE, 0);
	check_now(NOW, "b.example", STS_MODE_ENFORCE, 1);
}

/* The first one that names the domain; others are not changed by a bad one. */
static void
test_several(void **state)
{
	(void)state;
	conf.list_count = 2;
	write_list(one, "a.example", "testing", 10, NOW + 1000);
	write_list(two, "a.example", "enforce", 10, NOW + 2000);
	check_now(NOW, "a.example", STS_MODE_TESTING, 2);
	check_now(NOW + 1000, "a.example", STS_MODE_ENFORCE, 1);
	assert_false(is_kept(one));
	assert_true(is_kept(two));
	conf.list_count = 1;
	check_now(NOW, "a.example", STS_MODE_TESTING, 1);
	assert_true(is_kept(one));
	assert_false(is_kept(two));		/* not configured any more */
	conf.enable = false;
	check_now(NOW, "a.example", STS_MODE_TESTING, 0);
	conf.enable = true;
	assert_true(is_kept(one));		/* for when it is on again */
}

static void
test_expired(void **state)
{
	struct sts_lists *lists;
	struct sts_lists_entry found;

	(void)state;
	write_list(one, "a.example", "testing", 10, NOW + 1000);
	lists = sts_lists_new(&conf, spool, NOW);
	assert_false(sts_lists_outdated(lists, NOW + 999));
	assert_int_equal(sts_lists_find(lists, "a.example", NOW + 999, &found,
		1), 1);
	assert_string_equal(found.path, one);
	assert_int_equal(found.expires_s, NOW + 1000);
	assert_true(sts_lists_outdated(lists, NOW + 1000));
	assert_int_equal(sts_lists_find(lists, "a.example", NOW + 1000,
		&found, 1), 0);
	sts_lists_free(&lists);
	lists = sts_lists_new(&conf, spool, NOW + 1000);
	assert_false(sts_lists_outdated(lists, NOW + 5000));	/* said once */
	sts_lists_free(&lists);
}

static void
use_again(struct sts_lists **lists, int64_t now_s)
{
	assert_true(sts_lists_outdated(*lists, now_s));
	sts_lists_free(lists);
	*lists = sts_lists_new(&conf, spool, now_s);
	assert_false(sts_lists_outdated(*lists, now_s));
}

/* The new one comes when the old one has been gone for a while, or the first
 * when we have long been running; and the clock may have been wrong. */
static void
test_late(void **state)
{
	struct sts_lists_entry found;
	struct sts_lists *lists;

	(void)state;
	lists = sts_lists_new(&conf, spool, NOW);
	assert_false(sts_lists_outdated(lists, NOW + 1));
	write_file(one, "nonsense");
	use_again(&lists, NOW + 2);
	assert_int_equal(sts_lists_find(lists, "a.example", NOW, &found, 1),
		0);
	write_list(one, "a.example", "enforce", 10, NOW + 1000);
	use_again(&lists, NOW + 3);
	assert_int_equal(sts_lists_find(lists, "a.example", NOW + 3, &found,
		1), 1);
	use_again(&lists, NOW + 1000);
	assert_int_equal(sts_lists_find(lists, "a.example", NOW + 1000,
		&found, 1), 0);
	assert_false(sts_lists_outdated(lists, NOW + 1500));
	write_list(one, "a.example", "enforce", 11, NOW + 20000);
	use_again(&lists, NOW + 2000);
	assert_int_equal(sts_lists_find(lists, "a.example", NOW + 2000,
		&found, 1), 1);
	use_again(&lists, NOW + 300000000);
	use_again(&lists, NOW + 2001);
	assert_int_equal(sts_lists_find(lists, "a.example", NOW + 2001,
		&found, 1), 1);
	assert_int_equal(unlink(one), 0);
	assert_false(sts_lists_outdated(lists, NOW + 2002));
	sts_lists_free(&lists);
}

/* The spool does not take it: used all the same. */
static void
test_not_stored(void **state)
{
	(void)state;
	assert_int_equal(sqlite3_exec(spool->db, "CREATE TEMP TRIGGER t BEFORE "
		"INSERT ON sts_list BEGIN SELECT RAISE(ABORT, 'no'); END",
		NULL, NULL, NULL), SQLITE_OK);
	write_list(one, "a.example", "testing", 10, NOW + 1000);
	check_now(NOW, "a.example", STS_MODE_TESTING, 1);
	assert_false(is_kept(one));
}

/* Damage in the spool is not taken for a list. */
static void
test_damaged(void **state)
{
	(void)state;
	write_list(one, "a.example", "testing", 10, NOW + 1000);
	check_now(NOW, "a.example", STS_MODE_TESTING, 1);
	assert_int_equal(sqlite3_exec(spool->db, "UPDATE sts_list SET text = "
		"x'7b00'", NULL, NULL, NULL), SQLITE_OK);
	check_now(NOW, "a.example", STS_MODE_TESTING, 1);
	assert_int_equal(sqlite3_exec(spool->db, "UPDATE sts_list SET text = "
		"x'7b00'", NULL, NULL, NULL), SQLITE_OK);
	write_file(one, "{");
	check_now(NOW, "a.example", STS_MODE_TESTING, 0);
	assert_false(is_kept(one));
}

static void
test_check(void **state)
{
	char err[CONF_ERR_MAX];

	(void)state;
	assert_int_not_equal(sts_lists_check(&conf, NOW, err), ST_OK);
	assert_non_null(strstr(err, "one.json: No such file"));
	write_list(one, "a.example", "testing", 10, NOW + 1000);
	assert_int_equal(sts_lists_check(&conf, NOW, err), ST_OK);
	assert_int_not_equal(sts_lists_check(&conf, NOW + 1000, err), ST_OK);
	assert_non_null(strstr(err, "one.json: it expired"));
	conf.list_count = 2;
	assert_int_not_equal(sts_lists_check(&conf, NOW, err), ST_OK);
	assert_non_null(strstr(err, "two.json"));
	write_file(two, "{\n{");
	assert_int_not_equal(sts_lists_check(&conf, NOW, err), ST_OK);
	assert_non_null(strstr(err, "two.json: line 2"));
	assert_false(is_kept(one));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_last_good), T(test_replaced), T(test_several),
		T(test_expired), T(test_late), T(test_not_stored),
		T(test_damaged),
		T(test_check),
	};

	return cmocka_run_group_tests_name("sts_lists", tests, NULL, NULL);
}
