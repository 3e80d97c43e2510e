/*
 * Work by destination: order, waiting, counts, and that each question is
 * answered by an index.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "spool/spool_int.h"
#include "tests/unit/test_spool_util.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* The names of the lanes that are due, with a space behind each. */
static void
lanes(struct spool *s, enum spool_class class, char out[1000])
{
	struct spool_lane at = { 0 }, found[2];
	size_t count, used = 0;

	out[0] = '\0';
	do {
		assert_int_equal(spool_lanes(s, class, test_now_ms, &at, found,
			2, &count), ST_OK);
		for (size_t i = 0; i < count; i++)
			used += (size_t)snprintf(out + used, 1000 - used,
				"%s ", found[i].destination);
	} while (count == 2);
}

#define assert_lanes(s, class, want) do { \
	char text[1000]; \
	lanes(s, class, text); \
	assert_string_equal(text, want); \
} while (0)

static void
retry(struct spool *s, uint64_t message, int64_t next_ms)
{
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_retry(s, test_delivery(s, message).id, next_ms,
		true, false, "x"), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	test_check_totals(s);
}

static void
test_classes(void **state)
{
	struct spool *s = test_open(*state);
	uint64_t a, b;
	int64_t next;

	a = test_add(s, "x@a.test", "1");
	b = test_add(s, "x@b.test", "1");
	(void)test_add(s, "x@a.test y@c.test", "1");
	assert_lanes(s, SPOOL_NEW, "a.test b.test c.test ");
	assert_lanes(s, SPOOL_RETRY, "");
	retry(s, a, T0);
	retry(s, b, T0 + 100);
	assert_lanes(s, SPOOL_NEW, "a.test c.test ");
	assert_lanes(s, SPOOL_RETRY, "a.test ");
	assert_int_equal(spool_next_lane(s, T0, &next), ST_OK);
	assert_int_equal(next, T0 + 100);
	test_now_ms += 100;
	assert_lanes(s, SPOOL_RETRY, "a.test b.test ");
	test_finish(s, a);
	assert_lanes(s, SPOOL_RETRY, "b.test ");
	test_finish(s, b);
	assert_lanes(s, SPOOL_RETRY, "");
	spool_close(&s);
}

static void
wait(struct spool *s, const char *destination, int64_t until_ms)
{
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_destination_wait(s, destination, until_ms),
		ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	test_check_totals(s);
}

static void
test_waiting(void **state)
{
	struct spool *s = test_open(*state);
	struct spool_filter f = { .destination = "a.test", .held = -1 };
	struct spool_lane w[4];
	size_t count;
	int64_t next;

	(void)test_add(s, "x@a.test", "1");
	(void)test_add(s, "x@b.test", "1");
	wait(s, "a.test", T0 + 50);
	assert_lanes(s, SPOOL_NEW, "b.test ");
	assert_int_equal(spool_next_lane(s, T0, &next), ST_OK);
	assert_int_equal(next, T0 + 50);
	/* New mail waits as well; a restart changes nothing. */
	(void)test_add(s, "x@a.test", "1");
	spool_close(&s);
	s = test_open(*state);
	assert_lanes(s, SPOOL_NEW, "b.test ");
	assert_int_equal(spool_waiting(s, "", w, 4, &count), ST_OK);
	assert_int_equal(count, 1);
	assert_string_equal(w[0].destination, "a.test");
	assert_int_equal(w[0].due_ms, T0 + 50);
	test_now_ms = T0 + 50;
	assert_lanes(s, SPOOL_NEW, "b.test a.test ");
	/* For ever; a flush ends it. */
	wait(s, "a.test", INT64_MAX);
	(void)test_add(s, "x@a.test", "1");
	test_now_ms += 1000000;
	assert_lanes(s, SPOOL_NEW, "b.test ");
	(void)test_act(s, &f, SPOOL_FLUSH);
	assert_lanes(s, SPOOL_NEW, "b.test a.test ");
	/* Of a destination without mail nothing is kept. */
	wait(s, "c.test", INT64_MAX);
	assert_int_equal(spool_waiting(s, "", w, 4, &count), ST_OK);
	assert_int_equal(count, 0);
	spool_close(&s);
}

static void
test_rollback(void **state)
{
	struct spool *s = test_open(*state);
	uint64_t id = test_add(s, "x@a.test", "1");

	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_retry(s, test_delivery(s, id).id, T0 + 9, true,
		false, "x"), ST_OK);
	assert_int_equal(spool_destination_wait(s, "a.test", INT64_MAX),
		ST_OK);
	spool_rollback(s);
	assert_lanes(s, SPOOL_NEW, "a.test ");
	assert_lanes(s, SPOOL_RETRY, "");
	(void)test_add(s, "x@b.test", "1");
	test_check_totals(s);
	spool_close(&s);
}

/* What is wrong in a row of counts is found, said and mended. */
static void
test_recheck(void **state)
{
	struct spool *s = test_open(*state);
	char name[256] = "";
	size_t mended, all = 0;
	bool more = true;

	for (int i = 0; i < 3; i++)
		(void)test_add(s, "x@a.test x@b.test x@c.test", "1");
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(sqlite3_exec(s->db, "UPDATE destination SET "
		"deliveries = 7 WHERE name = 'a.test'; UPDATE destination "
		"SET new_ms = NULL WHERE name = 'c.test'", NULL, NULL, NULL),
		SQLITE_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	assert_lanes(s, SPOOL_NEW, "a.test b.test ");
	while (more) {
		assert_int_equal(spool_begin(s), ST_OK);
		assert_int_equal(spool_recheck(s, name, 2, &mended, &more),
			ST_OK);
		assert_int_equal(spool_commit(s), ST_OK);
		all += mended;
	}
	assert_int_equal(all, 2);
	assert_lanes(s, SPOOL_NEW, "a.test b.test c.test ");
	test_check_totals(s);
	spool_close(&s);
}

static void
test_slices(void **state)
{
	struct spool *s = test_open(*state);
	struct spool_filter f = { .destination = ".test", .held = -1 };
	struct spool_walk at = { 0 };
	uint64_t count = 0;
	bool more = true;
	unsigned slices = 0;

	for (int i = 0; i < 700; i++)
		(void)test_add(s, "x@a.test x@b.test", "1");
	while (more) {
		uint64_t before = count;

		assert_int_equal(spool_begin(s), ST_OK);
		assert_int_equal(spool_act_slice(s, &f, SPOOL_REMOVE, T0, &at,
			&count, &more), ST_OK);
		assert_int_equal(spool_commit(s), ST_OK);
		assert_true(count - before <= 64);
		slices++;
	}
	assert_int_equal(count, 1400);
	assert_int_equal(slices, 22);
	test_check_totals(s);
	spool_close(&s);
}

static void
explain(struct spool *s, enum spool_stmt which, char out[4000])
{
	char sql[4000];
	sqlite3_stmt *stmt;
	size_t used = 0;

	(void)snprintf(sql, sizeof(sql), "EXPLAIN QUERY PLAN %s",
		spool_stmt_sql(which));
	assert_int_equal(sqlite3_prepare_v2(s->db, sql, -1, &stmt, NULL),
		SQLITE_OK);
	out[0] = '\0';
	while (sqlite3_step(stmt) == SQLITE_ROW)
		used += (size_t)snprintf(out + used, 4000 - used, "%s\n",
			sqlite3_column_text(stmt, 3));
	(void)sqlite3_finalize(stmt);
}

/* Nothing that is asked while mail flows may read more than it gives. */
static void
test_plans(void **state)
{
	static const enum spool_stmt hot[] = { STMT_DEST_GET, STMT_DEST_AFTER,
		STMT_DEST_WAITING, STMT_DEST_ONE, STMT_LANE_FIRST,
		STMT_LANES_NEW_SAME, STMT_LANES_NEW_LATER,
		STMT_LANES_RETRY_SAME, STMT_LANES_RETRY_LATER,
		STMT_LANES_NEXT, STMT_DUE_SAME, STMT_DUE_LATER, STMT_NEXT_DUE,
		STMT_DELIVERY, STMT_DELIVERY_ROW, STMT_EXPIRED,
		STMT_DELIVERIES_OF, STMT_RCPTS_OF_DELIVERY, STMT_RCPT_ANY,
		STMT_DELIVERY_ANY, STMT_MESSAGE, STMT_BODY_KIND, STMT_RETRY,
		STMT_WALK_DESTINATION, STMT_DELIVERIES_AFTER, STMT_TOP_OLDEST };
	static const char *const covering[] = { "delivery_lane",
		"destination_new", "destination_retry" };
	struct spool *s = test_open(*state);
	char plan[4000];

	for (size_t i = 0; i < COUNT(hot); i++) {
		explain(s, hot[i], plan);
		if (strstr(plan, "SEARCH") == NULL ||
		    strstr(plan, "TEMP B-TREE") != NULL ||
		    strstr(plan, "SCAN d") != NULL ||
		    strstr(plan, "SCAN m") != NULL ||
		    strstr(plan, "SCAN r") != NULL)
			fail_msg("%s\n%s", spool_stmt_sql(hot[i]), plan);
	}
	/* A damaged row is not even read by what finds the work. */
	explain(s, STMT_DUE_LATER, plan);
	if (strstr(plan, "COVERING INDEX delivery_lane") == NULL)
		fail_msg("%s", plan);
	for (size_t i = 0; i < COUNT(covering); i++) {
		explain(s, i == 0 ? STMT_DUE_SAME : i == 1 ?
			STMT_LANES_NEW_LATER : STMT_LANES_RETRY_LATER, plan);
		assert_non_null(strstr(plan, covering[i]));
	}
	/* Counting what is due is bounded by LIMIT. */
	explain(s, STMT_DUE_COUNT, plan);
	assert_non_null(strstr(plan, "SEARCH d USING"));
	spool_close(&s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, test_dir_setup, \
	test_dir_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_classes), T(test_waiting), T(test_rollback),
		T(test_recheck), T(test_slices), T(test_plans),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
