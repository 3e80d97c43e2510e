/*
 * Cached MTA-STS policies: stored, found, due, swept, all of it within
 * transactions; damaged rows; older schemas; the last good lists.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "spool/spool_int.h"
#include "spool/sts_store.h"
#include "tests/unit/test_spool_util.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define DAY 86400

static char body[] = "version: STSv1\r\nmode: enforce\r\n\0\xff";

static struct spool_sts
row(const char *domain, int64_t fetched_s, int64_t expires_s, int64_t used_s)
{
	struct spool_sts r = { .id = "id1", .text = body,
		.text_len = sizeof(body) - 1, .fetched_s = fetched_s,
		.expires_s = expires_s, .used_s = used_s };

	(void)str_copy(r.domain, sizeof(r.domain), domain);
	return r;
}

static struct spool_sts
failed(const char *domain, int64_t next_try_s, int64_t used_s)
{
	struct spool_sts r = { .tried_s = 1, .next_try_s = next_try_s,
		.failures = 3, .failure = 5, .error = "404",
		.used_s = used_s };

	(void)str_copy(r.domain, sizeof(r.domain), domain);
	return r;
}

static void
put(struct spool *s, struct spool_sts r)
{
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_sts_put(s, &r), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
}

static void
run(struct spool *s, const char *sql)
{
	assert_int_equal(sqlite3_exec(s->db, sql, NULL, NULL, NULL),
		SQLITE_OK);
}

/* The names, in order. */
static void
check_all(struct spool *s, const char *want)
{
	struct spool_sts list[20];
	char got[1000] = "";
	size_t count = 0, len = 0;

	assert_int_equal(spool_sts_list(s, "", list, COUNT(list), &count),
		ST_OK);
	for (size_t i = 0; i < count; i++) {
		assert_null(list[i].text);
		len += (size_t)snprintf(got + len, sizeof(got) - len, "%s%s",
			i > 0 ? " " : "", list[i].domain);
	}
	assert_string_equal(got, want);
}

static void
test_put(void **state)
{
	struct spool *s = test_open(*state);
	struct spool_sts r;

	assert_int_equal(spool_sts_get(s, "a.example", &r), ST_NOENT);
	assert_null(r.text);
	put(s, row("a.example", 100, 200, 150));
	put(s, failed("b.example", 500, 0));
	spool_close(&s);
	s = test_open(*state);
	assert_int_equal(spool_sts_get(s, "a.example", &r), ST_OK);
	assert_string_equal(r.domain, "a.example");
	assert_string_equal(r.id, "id1");
	assert_int_equal(r.text_len, sizeof(body) - 1);
	assert_memory_equal(r.text, body, sizeof(body));
	assert_int_equal(r.fetched_s, 100);
	assert_int_equal(r.expires_s, 200);
	assert_int_equal(r.used_s, 150);
	spool_sts_clear(&r);
	assert_int_equal(spool_sts_get(s, "b.example", &r), ST_OK);
	assert_null(r.text);
	assert_string_equal(r.id, "");
	assert_int_equal(r.next_try_s, 500);
	assert_int_equal(r.failures, 3);
	assert_int_equal(r.failure, 5);
	assert_string_equal(r.error, "404");
	check_all(s, "a.example b.example");
	put(s, failed("a.example", 9, 9));	/* replaced whole */
	assert_int_equal(spool_sts_get(s, "a.example", &r), ST_OK);
	assert_null(r.text);
	spool_close(&s);
}

static void
test_bounds(void **state)
{
	static char big[SPOOL_STS_TEXT_MAX + 1];
	struct spool *s = test_open(*state);
	struct spool_sts r = row("a.example", 1, 2, 3);

	memset(big, 'x', sizeof(big));
	r.text = big;
	r.text_len = SPOOL_STS_TEXT_MAX + 1;
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_sts_put(s, &r), ST_LIMIT);
	r.text_len = SPOOL_STS_TEXT_MAX;
	assert_int_equal(spool_sts_put(s, &r), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	assert_int_equal(spool_sts_get(s, "a.example", &r), ST_OK);
	assert_int_equal(r.text_len, SPOOL_STS_TEXT_MAX);
	assert_memory_equal(r.text, big, r.text_len);
	spool_sts_clear(&r);
	spool_close(&s);
}

/* Part of the group commit like all else. */
static void
test_transaction(void **state)
{
	const struct spool_sts_bounds bounds = { .now_s = 1, .stale_s = 1 };
	struct spool *s = test_open(*state);
	struct spool_sts a = row("a.example", 1, 2, 3), out[1], r;
	char *const none = NULL;
	size_t n;

	assert_int_equal(spool_sts_put(s, &a), ST_SYS);
	assert_int_equal(spool_sts_forget(s, "a.example"), ST_SYS);
	assert_int_equal(spool_sts_sweep(s, &bounds, out, 1, &n), ST_SYS);
	assert_int_equal(spool_sts_list_put(s, "/l", "x", 1), ST_SYS);
	assert_int_equal(spool_sts_list_keep(s, &none, 0), ST_SYS);
	put(s, a);
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_sts_forget(s, "a.example"), ST_OK);
	assert_int_equal(spool_sts_forget(s, "a.example"), ST_NOENT);
	a = row("b.example", 1, 2, 3);
	assert_int_equal(spool_sts_put(s, &a), ST_OK);
	assert_int_equal(spool_sts_list_put(s, "/l", "x", 1), ST_OK);
	spool_rollback(s);
	check_all(s, "a.example");
	assert_int_equal(spool_sts_get(s, "a.example", &r), ST_OK);
	assert_int_equal(r.text_len, sizeof(body) - 1);
	spool_sts_clear(&r);
	spool_close(&s);
}

/* Killed between the change and its commit: the old row, whole. */
static void
test_crash(void **state)
{
	struct spool *s = test_open(*state);
	struct spool_sts r = row("a.example", 1, 2, 3);
	int status;
	pid_t pid;

	put(s, r);
	spool_close(&s);
	pid = fork();
	if (pid == 0) {
		s = test_open(*state);
		r.text_len = 3;
		r.expires_s = 99;
		if (spool_begin(s) != ST_OK || spool_sts_put(s, &r) != ST_OK ||
		    spool_sts_list_put(s, "/l", "x", 1) != ST_OK)
			_exit(1);
		_exit(7);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 7);
	s = test_open(*state);
	assert_int_equal(spool_sts_get(s, "a.example", &r), ST_OK);
	assert_int_equal(r.text_len, sizeof(body) - 1);
	assert_int_equal(r.expires_s, 2);
	spool_sts_clear(&r);
	spool_close(&s);
}

static void
check_due(struct spool *s, int64_t now_s, size_t max, const char *want)
{
	struct spool_sts_due due = { .now_s = now_s,
		.used_since_s = now_s - 60 * DAY, .after = "" };
	struct spool_sts list[8];
	char got[200] = "", after[SPOOL_STS_DOMAIN_MAX] = "";
	size_t count, len = 0;

	do {
		due.after = after;
		assert_int_equal(spool_sts_due(s, &due, list, max, &count),
			ST_OK);
		for (size_t i = 0; i < count; i++) {
			assert_null(list[i].text);
			len += (size_t)snprintf(got + len, sizeof(got) - len,
				"%s ", list[i].domain);
			due.after_expires_s = list[i].expires_s;
			(void)str_copy(after, sizeof(after), list[i].domain);
		}
	} while (count == max);
	assert_string_equal(got, want);
}

static void
test_due(void **state)
{
	const int64_t t = 1000 * DAY;
	struct spool *s = test_open(*state);
	struct spool_sts waiting = row("waiting.example", t, t + DAY, t);

	check_due(s, t, 3, "");
	put(s, row("long.example", t, t + 10 * DAY, t));
	put(s, row("short.example", t, t + DAY, t));
	put(s, row("also.example", t, t + DAY, t));
	put(s, row("unused.example", t, t + DAY, t - 70 * DAY));
	put(s, failed("failed.example", 0, t));
	waiting.next_try_s = t + DAY - 10;
	put(s, waiting);
	for (size_t max = 1; max < 4; max++) {
		check_due(s, t, max, "");
		check_due(s, t + DAY / 2, max, "");	/* half is left */
		check_due(s, t + DAY / 2 + 1, max,
			"also.example short.example ");
		check_due(s, t + DAY - 10, max,
			"also.example short.example waiting.example ");
		check_due(s, t + DAY, max, "");		/* expired: too late */
		check_due(s, t + 6 * DAY, max, "long.example ");
	}
	spool_close(&s);
}

static void
sweep(struct spool *s, int64_t now_s, size_t domains, uint64_t bytes,
	size_t max, const char *want)
{
	const struct spool_sts_bounds bounds = { .now_s = now_s,
		.stale_s = now_s, .keep_domains = domains,
		.keep_bytes = bytes };
	struct spool_sts out[10];
	size_t count = 99;

	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_sts_sweep(s, &bounds, out, max, &count),
		ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	assert_true(count <= max);
	for (size_t i = 0; i < count; i++) {
		struct spool_sts r;

		assert_int_equal(spool_sts_get(s, out[i].domain, &r),
			ST_NOENT);
	}
	check_all(s, want);
}

static void
test_sweep(void **state)
{
	struct spool *s = test_open(*state);
	struct spool_sts r = row("c.example", 0, 1000, 30);
	size_t domains;
	uint64_t bytes;

	sweep(s, 1, 0, 0, 10, "");
	put(s, row("a.example", 0, 1000, 10));
	put(s, row("b.example", 0, 2000, 20));
	r.next_try_s = 5000;
	r.failures = 1;
	put(s, r);
	put(s, failed("d.example", 4000, 40));
	assert_int_equal(spool_sts_count(s, &domains, &bytes), ST_OK);
	assert_int_equal(domains, 4);
	assert_int_equal(bytes, 3 * (sizeof(body) - 1));
	sweep(s, 999, 10, 10000, 10, "a.example b.example c.example "
		"d.example");
	/* Expired, and no failure to remember. */
	sweep(s, 1000, 10, 10000, 10, "b.example c.example d.example");
	sweep(s, 4000 + DAY, 10, 10000, 10, "c.example");
	sweep(s, 5000 + DAY, 10, 10000, 10, "");
	spool_close(&s);
}

/* Too many: those without a policy go first, then by use; so many at once. */
static void
test_sweep_excess(void **state)
{
	struct spool *s = test_open(*state);
	const size_t n = sizeof(body) - 1;

	put(s, row("a.example", 0, 1000, 30));
	put(s, row("b.example", 0, 1000, 10));
	put(s, row("c.example", 0, 1000, 20));
	put(s, failed("d.example", 4000, 40));
	put(s, failed("e.example", 4000, 50));
	sweep(s, 1, 5, 5 * n, 10, "a.example b.example c.example d.example "
		"e.example");
	sweep(s, 1, 4, 5 * n, 10, "a.example b.example c.example e.example");
	sweep(s, 1, 1, 5 * n, 1, "a.example b.example c.example");
	sweep(s, 1, 2, 5 * n, 10, "a.example c.example");
	sweep(s, 1, 2, 2 * n - 1, 10, "a.example");
	sweep(s, 1, 0, 0, 10, "");
	spool_close(&s);
}

/* Ten domains known for long; then somebody brings hundreds with policies, all
 * used later: those that were there first, as far as used, do not go. */
static void
test_sweep_siege(void **state)
{
	struct spool *s = test_open(*state);
	const struct spool_sts_bounds bounds = { .now_s = 1000,
		.stale_s = 1000, .used_since_s = 50, .keep_domains = 20,
		.keep_bytes = 1000000 };
	struct spool_sts out[500], r;
	char domain[32];
	size_t n;

	assert_int_equal(spool_begin(s), ST_OK);
	for (int i = 0; i < 300; i++) {
		(void)snprintf(domain, sizeof(domain), "d%03d.example", i);
		r = row(domain, 0, 2000, i < 10 ? 100 : 200 + i);
		/* Nobody has written to one of them for long. */
		r.used_s = i == 5 ? 49 : r.used_s;
		assert_int_equal(spool_sts_put(s, &r), ST_OK);
	}
	assert_int_equal(spool_sts_sweep(s, &bounds, out, 500, &n), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	assert_int_equal(n, 280);
	check_all(s, "d000.example d001.example d002.example d003.example "
		"d004.example d006.example d007.example d008.example "
		"d009.example d289.example d290.example d291.example "
		"d292.example d293.example d294.example d295.example "
		"d296.example d297.example d298.example d299.example");
	spool_close(&s);
}

/* Large texts go before small ones, whoever is used; and what has expired but
 * is kept for its failure counts as no policy. */
static void
test_sweep_large(void **state)
{
	static char large[60000];
	struct spool *s = test_open(*state);
	struct spool_sts r = row("b.example", 0, 1000, 90);

	put(s, row("a.example", 0, 1000, 10));
	r.text = large;
	r.text_len = sizeof(large);
	put(s, r);
	put(s, row("c.example", 0, 1000, 20));
	sweep(s, 1, 10, 50000, 10, "a.example c.example");
	r = row("d.example", 0, 500, 99);
	r.failures = 1;
	r.next_try_s = 9000;
	put(s, r);
	sweep(s, 600, 2, 50000, 10, "a.example c.example");
	spool_close(&s);
}

static void
test_list(void **state)
{
	struct spool *s = test_open(*state);
	char domain[32], after[SPOOL_STS_DOMAIN_MAX] = "";
	struct spool_sts list[7];
	size_t count, seen = 0;

	assert_int_equal(spool_begin(s), ST_OK);
	for (int i = 0; i < 100; i++) {
		struct spool_sts r;

		(void)snprintf(domain, sizeof(domain), "d%02d.example", i);
		r = row(domain, i, 1000, 0);
		assert_int_equal(spool_sts_put(s, &r), ST_OK);
	}
	assert_int_equal(spool_commit(s), ST_OK);
	do {
		assert_int_equal(spool_sts_list(s, after, list, COUNT(list),
			&count), ST_OK);
		for (size_t i = 0; i < count; i++)
			assert_int_equal(list[i].fetched_s, seen++);
		if (count > 0)
			(void)str_copy(after, sizeof(after),
				list[count - 1].domain);
	} while (count > 0);
	assert_int_equal(seen, 100);
	spool_close(&s);
}

/* What someone else wrote into the table: a sentence, and the row can be
 * replaced and removed. */
static const char *const damages[] = {
	"UPDATE sts_policy SET policy_id = ''",
	"UPDATE sts_policy SET text = NULL",
	"UPDATE sts_policy SET text = zeroblob(65537)",
	"UPDATE sts_policy SET expires_s = -1",
	"UPDATE sts_policy SET policy_id = printf('%0100d', 1)",
	"UPDATE sts_policy SET fetched_s = -9223372036854775808",
};

static void
test_damaged(void **state)
{
	struct spool *s = test_open(*state);
	struct spool_sts r;

	for (size_t i = 0; i < COUNT(damages); i++) {
		put(s, row("a.example", 1, 2, 3));
		run(s, damages[i]);
		if (spool_sts_get(s, "a.example", &r) != ST_CORRUPT)
			fail_msg("%s", damages[i]);
		assert_null(r.text);
		assert_non_null(strstr(spool_error(s), "DAMAGED"));
	}
	put(s, row("a.example", 1, 2, 3));
	assert_int_equal(spool_sts_get(s, "a.example", &r), ST_OK);
	spool_sts_clear(&r);
	run(s, damages[2]);
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_sts_forget(s, "a.example"), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	check_all(s, "");
	spool_close(&s);
}

/* ---- lists ---- */

static void
check_list(struct spool *s, const char *path, const char *want)
{
	char *text;
	size_t len;

	assert_int_equal(spool_sts_list_get(s, path, &text, &len), want ==
		NULL ? ST_NOENT : ST_OK);
	if (want == NULL) {
		assert_null(text);
		return;
	}
	assert_int_equal(len, strlen(want));
	assert_string_equal(text, want);
	free(text);
}

static void
test_lists(void **state)
{
	static char big[SPOOL_STS_LIST_MAX + 1], one[] = "/1", three[] = "/3";
	char *const keep[] = { three, one };
	struct spool *s = test_open(*state);
	char *text;
	size_t len;

	check_list(s, "/1", NULL);
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_sts_list_put(s, "/1", "one", 3), ST_OK);
	assert_int_equal(spool_sts_list_put(s, "/2", "two", 3), ST_OK);
	assert_int_equal(spool_sts_list_put(s, "/3", "", 0), ST_OK);
	assert_int_equal(spool_sts_list_put(s, "/4", "four", 4), ST_OK);
	assert_int_equal(spool_sts_list_put(s, "/1", "ONE", 3), ST_OK);
	assert_int_equal(spool_sts_list_put(s, "/5", big, sizeof(big)),
		ST_LIMIT);
	assert_int_equal(spool_sts_list_put(s, "/5", big, sizeof(big) - 1),
		ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	spool_close(&s);
	s = test_open(*state);
	check_list(s, "/1", "ONE");
	check_list(s, "/3", "");
	assert_int_equal(spool_sts_list_get(s, "/5", &text, &len), ST_OK);
	assert_int_equal(len, SPOOL_STS_LIST_MAX);
	free(text);
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_sts_list_keep(s, keep, 2), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	check_list(s, "/1", "ONE");
	check_list(s, "/2", NULL);
	check_list(s, "/3", "");
	check_list(s, "/4", NULL);
	spool_close(&s);
}

/* ---- migration ---- */

static void
drop_all(struct spool *s)
{
	sqlite3_stmt *stmt;
	char *sql = NULL;

	spool_finalize(s);
	for (;;) {
		assert_int_equal(sqlite3_prepare_v2(s->db, "SELECT printf("
			"'DROP TABLE %w', name) FROM sqlite_schema WHERE "
			"type = 'table' AND name NOT LIKE 'sqlite_%' LIMIT 1",
			-1, &stmt, NULL), SQLITE_OK);
		if (sqlite3_step(stmt) == SQLITE_ROW)
			sql = xstrdup((const char *)sqlite3_column_text(stmt,
				0));
		(void)sqlite3_finalize(stmt);
		if (sql == NULL)
			break;
		run(s, sql);
		mem_free(&sql);
	}
}

/* The database as it was after these steps. */
static void
rebuild(struct spool *s, const struct spool_migration *steps, int count)
{
	char sql[64];

	drop_all(s);
	for (int i = 0; i < count; i++)
		run(s, steps[i].sql);
	(void)snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", count);
	run(s, sql);
}

/* A database of each earlier version, made by the steps of then. */
static void
test_from_older(void **state)
{
	int count;
	const struct spool_migration *all = spool_migrations(&count);

	for (int version = 1; version < count; version++) {
		char *dir = xasprintf("%s/%d", (char *)*state, version);
		struct spool *s;

		assert_int_equal(mkdir(dir, 0700), 0);
		s = test_open(dir);
		rebuild(s, all, version);
		spool_close(&s);
		s = test_open(dir);
		put(s, row("a.example", 1, 2, 3));
		check_all(s, "a.example");
		(void)test_add(s, "a@one.test", "x");
		test_check_totals(s);
		spool_close(&s);
		free(dir);
	}
}

/* The step needs nothing of the others but the first. */
static void
test_step_alone(void **state)
{
	int count;
	const struct spool_migration *all = spool_migrations(&count);
	struct spool_migration two[] = { all[0], { NULL } };
	struct spool *s = test_open(*state);

	for (int i = 0; i < count; i++)
		if (strstr(all[i].sql, "CREATE TABLE sts_policy") != NULL)
			two[1] = all[i];
	assert_non_null(two[1].sql);
	rebuild(s, two, 2);
	put(s, row("a.example", 1, 2, 3));
	check_all(s, "a.example");
	spool_close(&s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, test_dir_setup, \
	test_dir_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_put), T(test_bounds), T(test_transaction),
		T(test_crash), T(test_due), T(test_sweep),
		T(test_sweep_excess), T(test_sweep_siege),
		T(test_sweep_large), T(test_list), T(test_damaged),
		T(test_lists), T(test_from_older), T(test_step_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
