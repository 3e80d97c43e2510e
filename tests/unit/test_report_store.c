/*
 * Totals of days and reports: stored, due, asked for, listed and swept within
 * transactions; damaged rows; killed between the steps.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "spool/report_store.h"
#include "spool/spool_int.h"
#include "tests/unit/test_spool_util.h"

#define DAY INT64_C(86400)
#define D0 (19675 * DAY)

static char body[] = "totals\0\xff";

static struct spool_report
report(int64_t day_s, const char *domain, int64_t due_s)
{
	struct spool_report r = { .day_s = day_s, .due_s = due_s,
		.until_s = due_s + DAY, .totals = body,
		.totals_len = sizeof(body) - 1 };

	(void)str_copy(r.domain, sizeof(r.domain), domain);
	return r;
}

static uint64_t
put(struct spool *s, struct spool_report r)
{
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_report_put(s, &r), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	assert_true(r.row != 0);
	return r.row;
}

static void
put_rua(struct spool *s, uint64_t row, const char *uri, int64_t due_s,
	enum spool_rua_state state)
{
	struct spool_rua r = { .report = row, .kind = 1, .state = state,
		.due_s = due_s, .tries = 2 };

	(void)str_copy(r.rua, sizeof(r.rua), uri);
	(void)str_copy(r.note, sizeof(r.note), "why");
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_rua_put(s, &r), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
}

/* "domain/part ..." of all, read in pages. */
static void
check_all(struct spool *s, const struct spool_report_query *query,
	const char *want)
{
	for (size_t page = 1; page < 4; page++) {
		struct spool_report_position at = { .part = -1 };
		struct spool_report rows[3];
		char got[1000] = "";
		size_t count, len = 0;

		do {
			assert_int_equal(spool_report_list(s, query, &at, rows,
				page, &count), ST_OK);
			for (size_t i = 0; i < count; i++) {
				assert_int_equal(rows[i].totals_len,
					sizeof(body) - 1);
				assert_memory_equal(rows[i].totals, body,
					sizeof(body));
				len += (size_t)snprintf(got + len,
					sizeof(got) - len, "%s/%u ",
					rows[i].domain, rows[i].part);
			}
			spool_report_clear_all(rows, count);
		} while (count == page);
		assert_string_equal(got, want);
	}
}

static void
check_everything(struct spool *s, const char *want)
{
	const struct spool_report_query all = { .to_s = INT64_MAX };

	check_all(s, &all, want);
}

static void
check_due(struct spool *s, int64_t now_s, const char *want)
{
	struct spool_report rows[10];
	char got[300] = "";
	size_t count, len = 0;

	assert_int_equal(spool_report_due(s, now_s, rows, 10, &count), ST_OK);
	for (size_t i = 0; i < count; i++) {
		assert_null(rows[i].totals);
		len += (size_t)snprintf(got + len, sizeof(got) - len, "%s ",
			rows[i].domain);
	}
	assert_string_equal(got, want);
}

static void
test_put(void **state)
{
	struct spool *s = test_open(*state);
	struct spool_report r;
	uint64_t row;

	assert_int_equal(spool_report_get(s, D0, "a.example", 0, &r),
		ST_NOENT);
	row = put(s, report(D0, "a.example", D0 + DAY));
	(void)put(s, report(D0 + DAY, "a.example", D0 + 2 * DAY));
	(void)put(s, report(D0, "b.example", D0 + DAY));
	spool_close(&s);
	s = test_open(*state);
	assert_int_equal(spool_report_get(s, D0, "a.example", 0, &r), ST_OK);
	assert_int_equal(r.row, row);
	assert_int_equal(r.state, SPOOL_REPORT_OPEN);
	assert_int_equal(r.until_s, D0 + 2 * DAY);
	assert_int_equal(r.totals_len, sizeof(body) - 1);
	r.state = SPOOL_REPORT_DONE;
	r.tries = 7;
	(void)str_copy(r.note, sizeof(r.note), "no record");
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_report_mark(s, &r), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	spool_report_clear(&r);
	assert_int_equal(spool_report_by_row(s, row, &r), ST_OK);
	assert_int_equal(r.state, SPOOL_REPORT_DONE);
	assert_int_equal(r.tries, 7);
	assert_string_equal(r.note, "no record");
	assert_non_null(r.totals);
	spool_report_clear(&r);
	check_everything(s, "a.example/0 b.example/0 a.example/0 ");
	spool_close(&s);
}

static void
test_transaction(void **state)
{
	const struct spool_report_bounds bounds = { .before_s = INT64_MAX };
	const struct spool_report_ask ask = { .now_ms = 1 };
	struct spool *s = test_open(*state);
	struct spool_report r = report(D0, "a.example", D0);
	struct spool_rua rua = { .report = 1, .rua = "mailto:x@a.example" };
	uint64_t asked;
	size_t n;

	assert_int_equal(spool_report_put(s, &r), ST_SYS);
	assert_int_equal(spool_report_mark(s, &r), ST_SYS);
	assert_int_equal(spool_rua_put(s, &rua), ST_SYS);
	assert_int_equal(spool_report_ask(s, &ask, &asked), ST_SYS);
	assert_int_equal(spool_report_sweep(s, &bounds, 1, &n), ST_SYS);
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_report_put(s, &r), ST_OK);
	assert_int_equal(spool_rua_put(s, &rua), ST_OK);
	spool_rollback(s);
	check_everything(s, "");
	assert_int_equal(spool_rua_list(s, 1, &rua, 1, &n), ST_OK);
	assert_int_equal(n, 0);
	spool_close(&s);
}

static void
test_bounds(void **state)
{
	struct spool *s = test_open(*state);
	struct spool_report r = report(D0, "a.example", D0);

	r.totals = xcalloc(SPOOL_REPORT_TOTALS_MAX + 1, 1);
	r.totals_len = SPOOL_REPORT_TOTALS_MAX + 1;
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_report_put(s, &r), ST_LIMIT);
	r.totals_len--;
	assert_int_equal(spool_report_put(s, &r), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	spool_report_clear(&r);
	assert_int_equal(spool_report_get(s, D0, "a.example", 0, &r), ST_OK);
	assert_int_equal(r.totals_len, SPOOL_REPORT_TOTALS_MAX);
	spool_report_clear(&r);
	spool_close(&s);
}

static void
test_due(void **state)
{
	struct spool *s = test_open(*state);
	struct spool_report r = report(D0, "done.example", D0 + 1);
	int64_t next;

	assert_int_equal(spool_report_next_due(s, &next), ST_OK);
	assert_true(next == INT64_MAX);
	(void)put(s, report(D0, "late.example", D0 + 20));
	(void)put(s, report(D0, "soon.example", D0 + 10));
	r.state = SPOOL_REPORT_DONE;
	(void)put(s, r);
	check_due(s, D0 + 9, "");
	check_due(s, D0 + 10, "soon.example ");
	check_due(s, D0 + 20, "soon.example late.example ");
	assert_int_equal(spool_report_next_due(s, &next), ST_OK);
	assert_int_equal(next, D0 + 10);
	spool_close(&s);
}

static void
ask(struct spool *s, int64_t now_ms, bool today, const char *domain,
	uint64_t want)
{
	const struct spool_report_ask a = { .now_ms = now_ms,
		.today_s = D0 + DAY, .today = today, .domain = domain,
		.until_s = now_ms / 1000 + DAY };
	uint64_t count;

	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_report_ask(s, &a, &count), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	assert_int_equal(count, want);
}

/* Past days as they are; today as parts, so that it can go on. */
static void
test_ask(void **state)
{
	const int64_t now_ms = (D0 + DAY + 100) * 1000;
	struct spool_report_query asked = { .to_s = INT64_MAX,
		.asked_ms = now_ms };
	struct spool *s = test_open(*state);
	struct spool_rua rua;
	struct spool_report r;
	uint64_t row;
	size_t n;

	row = put(s, report(D0, "a.example", D0 + 2 * DAY));
	(void)put(s, report(D0 + DAY, "a.example", D0 + 2 * DAY));
	(void)put(s, report(D0 + DAY, "b.example", D0 + 2 * DAY));
	put_rua(s, row, "https://a.example/", D0 + 3 * DAY,
		SPOOL_RUA_WAITING);
	put_rua(s, row, "mailto:x@a.example", D0 + 3 * DAY, SPOOL_RUA_SENT);
	ask(s, now_ms, false, NULL, 1);
	check_due(s, D0 + DAY + 100, "a.example ");
	check_all(s, &asked, "a.example/0 ");
	assert_int_equal(spool_rua_list(s, row, &rua, 1, &n), ST_OK);
	assert_int_equal(n, 1);
	assert_string_equal(rua.rua, "https://a.example/");
	assert_string_equal(rua.note, "why");
	assert_int_equal(rua.due_s, D0 + DAY + 100);
	asked.asked_ms = now_ms + 1;
	ask(s, now_ms + 1, true, "a.example", 2);
	check_all(s, &asked, "a.example/0 a.example/1 ");
	assert_int_equal(spool_report_get(s, D0 + DAY, "a.example", 0, &r),
		ST_NOENT);
	(void)put(s, report(D0 + DAY, "a.example", D0 + 2 * DAY));
	ask(s, now_ms + 2, true, NULL, 4);
	check_everything(s, "a.example/0 a.example/1 a.example/2 b.example/1 ");
	assert_int_equal(spool_report_count(s, D0 + DAY, &n), ST_OK);
	assert_int_equal(n, 0);
	spool_close(&s);
}

static void
sweep(struct spool *s, int64_t before_s, size_t rows, uint64_t bytes,
	size_t max, size_t want)
{
	const struct spool_report_bounds b = { .before_s = before_s,
		.keep_rows = rows, .keep_bytes = bytes };
	size_t count;

	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_report_sweep(s, &b, max, &count), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	assert_int_equal(count, want);
}

static void
test_sweep(void **state)
{
	const size_t size = sizeof(body) - 1;
	struct spool *s = test_open(*state);
	struct spool_rua rua;
	uint64_t row = 0;
	size_t n;

	sweep(s, 0, 0, 0, 10, 0);
	for (int i = 0; i < 6; i++) {
		char domain[40];

		(void)snprintf(domain, sizeof(domain), "%c.example", 'a' + i);
		row = put(s, report(D0 + i * DAY, domain, D0));
		put_rua(s, row, "mailto:x@y", 0, SPOOL_RUA_SENT);
	}
	sweep(s, D0, 10, 10 * size, 10, 0);
	sweep(s, D0 + 2 * DAY, 10, 10 * size, 1, 1);
	sweep(s, D0 + 2 * DAY, 10, 10 * size, 9, 1);
	check_everything(s, "c.example/0 d.example/0 e.example/0 f.example/0 ");
	sweep(s, D0, 3, 10 * size, 9, 1);
	sweep(s, D0, 3, 2 * size, 9, 1);
	check_everything(s, "e.example/0 f.example/0 ");
	sweep(s, D0 + 100 * DAY, 3, 2 * size, 9, 2);
	assert_int_equal(spool_rua_list(s, row, &rua, 1, &n), ST_OK);
	assert_int_equal(n, 0);
	spool_close(&s);
}

/* Killed before the commit: neither the report is marked nor its URI. */
static void
test_crash(void **state)
{
	struct spool *s = test_open(*state);
	struct spool_report r = report(D0, "a.example", D0);
	struct spool_rua rua;
	uint64_t row = put(s, r);
	int status;
	size_t n;
	pid_t pid;

	put_rua(s, row, "mailto:x@y", 0, SPOOL_RUA_WAITING);
	spool_close(&s);
	pid = fork();
	if (pid == 0) {
		s = test_open(*state);
		rua = (struct spool_rua){ .report = row, .rua = "mailto:x@y",
			.state = SPOOL_RUA_SENT };
		r.row = row;
		r.state = SPOOL_REPORT_DONE;
		if (spool_begin(s) != ST_OK ||
		    spool_rua_put(s, &rua) != ST_OK ||
		    spool_report_mark(s, &r) != ST_OK)
			_exit(1);
		_exit(7);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 7);
	s = test_open(*state);
	assert_int_equal(spool_report_by_row(s, row, &r), ST_OK);
	assert_int_equal(r.state, SPOOL_REPORT_OPEN);
	spool_report_clear(&r);
	assert_int_equal(spool_rua_list(s, row, &rua, 1, &n), ST_OK);
	assert_int_equal(rua.state, SPOOL_RUA_WAITING);
	spool_close(&s);
}

static void
run(struct spool *s, const char *sql)
{
	assert_int_equal(sqlite3_exec(s->db, sql, NULL, NULL, NULL),
		SQLITE_OK);
}

static void
test_damaged(void **state)
{
	static const char *const damages[] = {
		"UPDATE report_day SET state = 3",
		"UPDATE report_day SET part = -1",
		"UPDATE report_day SET domain = printf('%300s', 'x')",
		"UPDATE report_day SET totals = zeroblob(1048577)",
	};

	for (size_t i = 0; i < 4; i++) {
		struct spool *s = test_open(*state);
		struct spool_report r;
		uint64_t row = put(s, report(D0 + (int64_t)i * DAY,
			"a.example", D0));

		run(s, damages[i]);
		assert_int_equal(spool_report_by_row(s, row, &r), ST_CORRUPT);
		assert_null(r.totals);
		run(s, "DELETE FROM report_day");
		spool_close(&s);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, test_dir_setup, \
	test_dir_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_put), T(test_transaction), T(test_bounds), T(test_due),
		T(test_ask), T(test_sweep), T(test_crash), T(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
