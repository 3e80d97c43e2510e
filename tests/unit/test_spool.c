/*
 * The life of a message in the spool, step by step: adding, ids, what is due,
 * results, holding.
 */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "tests/unit/test_spool_util.h"

static size_t
due(struct spool *s, struct spool_cursor *cursor, struct spool_delivery *out,
	size_t max)
{
	size_t count;

	assert_int_equal(test_all_due(s, test_now_ms, cursor, out, max, &count),
		ST_OK);
	return count;
}

static void
test_url(void **state)
{
	static const char *const bad[] = { "", "sqlite", "sqlite:", "pg:x" };
	struct spool_options opt = { 0 };
	struct spool *s;
	char err[512];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(spool_open(bad[i], &opt, &s, err,
			sizeof(err)), ST_PARSE);
		assert_null(s);
		assert_non_null(strstr(err, "sqlite:DIRECTORY"));
	}
	assert_int_equal(spool_open("sqlite:/nonexistent/a/b", &opt, &s, err,
		sizeof(err)), ST_SYS);
}

static void
test_empty(void **state)
{
	struct spool *s = test_open(*state);
	struct spool_cursor cursor = { 0 };
	struct spool_delivery d[4];
	struct spool_stats st;
	struct envelope *env;
	int64_t next;
	size_t count;
	void *data;
	int fd;

	assert_int_equal(due(s, &cursor, d, 4), 0);
	next = test_next_due(s, &cursor);
	assert_true(next == INT64_MAX);
	assert_int_equal(spool_expired(s, INT64_MAX, NULL, d, 4, &count),
		ST_OK);
	assert_int_equal(count, 0);
	assert_int_equal(spool_stats(s, T0, &st), ST_OK);
	assert_int_equal(st.messages, 0);
	assert_int_equal(st.oldest_received_ms, 0);
	assert_int_equal(spool_envelope(s, 5, 0, &env), ST_NOENT);
	assert_null(env);
	assert_int_equal(spool_body_get(s, UINT64_MAX, &data, &count, &fd),
		ST_NOENT);
	assert_false(spool_idle(s));
	assert_true(spool_free_bytes(s) > 0);
	spool_close(&s);
	assert_null(s);
}

static struct envelope *
full_envelope(void)
{
	struct envelope *env = test_envelope("a@one.test b@two.test "
		"\"c.d\"@one.test");

	env->received_ms = T0 - 5000;
	env->flags = ENVELOPE_8BITMIME | ENVELOPE_SMTPUTF8;
	env->ret = RET_HDRS;
	env->envid = xstrdup("env+2Bid");
	env->origin = xstrdup("uid 1000");
	env->rcpts[1].orcpt = xstrdup("rfc822;x@y.test");
	env->rcpts[1].notify = NOTIFY_SUCCESS | NOTIFY_FAILURE;
	return env;
}

static void
check_full_envelope(struct spool *s, uint64_t id, uint64_t delivery_id,
	size_t rcpts)
{
	struct envelope *env;

	assert_int_equal(spool_envelope(s, id, delivery_id, &env), ST_OK);
	assert_int_equal(env->id, id);
	assert_int_equal(env->received_ms, T0 - 5000);
	assert_int_equal(env->flags, ENVELOPE_8BITMIME | ENVELOPE_SMTPUTF8);
	assert_int_equal(env->ret, RET_HDRS);
	assert_int_equal(env->size_bytes, 12);
	assert_string_equal(env->sender, "s@x.test");
	assert_string_equal(env->envid, "env+2Bid");
	assert_string_equal(env->origin, "uid 1000");
	assert_int_equal(env->rcpt_count, rcpts);
	assert_string_equal(env->rcpts[0].address, "a@one.test");
	assert_string_equal(env->rcpts[0].destination, "one.test");
	assert_null(env->rcpts[0].orcpt);
	assert_string_equal(env->rcpts[1].address, "\"c.d\"@one.test");
	if (rcpts == 3) {
		assert_string_equal(env->rcpts[2].orcpt, "rfc822;x@y.test");
		assert_int_equal(env->rcpts[2].notify,
			NOTIFY_SUCCESS | NOTIFY_FAILURE);
	}
	envelope_free(&env);
}

static void
test_add_and_read(void **state)
{
	struct spool *s = test_open(*state);
	struct envelope *env = full_envelope();
	struct spool_body body = { .data = "Subject: x\r\n", .len = 12 };
	struct spool_delivery d[4];
	size_t count;
	void *data;
	int fd;

	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_add(s, env, &body, T0 + 7, EXPIRES), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	test_check_totals(s);
	spool_close(&s);
	s = test_open(*state);
	assert_int_equal(spool_deliveries_of(s, env->id, d, 4, &count), ST_OK);
	assert_int_equal(count, 2);
	assert_string_equal(d[0].destination, "one.test");
	assert_string_equal(d[1].destination, "two.test");
	assert_int_equal(d[0].next_ms, T0 + 7);
	assert_int_equal(d[0].received_ms, T0 - 5000);
	assert_int_equal(d[0].expires_ms, EXPIRES);
	assert_int_equal(d[0].attempts, 0);
	check_full_envelope(s, env->id, 0, 3);
	check_full_envelope(s, env->id, d[0].id, 2);
	assert_int_equal(spool_body_get(s, env->id, &data, &count, &fd),
		ST_OK);
	assert_int_equal(fd, -1);
	assert_int_equal(count, 12);
	assert_memory_equal(data, "Subject: x\r\n", 12);
	free(data);
	envelope_free(&env);
	spool_close(&s);
}

/* Nothing of a bad message stays, and the transaction goes on. */
static void
test_add_refuses(void **state)
{
	struct spool *s = test_open(*state);
	struct spool_body body = { .data = "x", .len = 1 };
	struct spool_body file = { .file_token = 77 };
	struct envelope *none = envelope_new("a@b.test");
	struct envelope *good = test_envelope("a@one.test");
	struct envelope *nowhere = test_envelope("a@one.test");

	mem_free(&nowhere->rcpts[0].destination);
	nowhere->rcpts[0].destination = xstrdup("");
	assert_int_equal(spool_add(s, good, &body, T0, EXPIRES), ST_SYS);
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_begin(s), ST_SYS);
	assert_int_equal(spool_add(s, none, &body, T0, EXPIRES), ST_PARSE);
	assert_int_equal(spool_add(s, nowhere, &body, T0, EXPIRES), ST_PARSE);
	assert_int_equal(spool_add(s, good, &file, T0, EXPIRES), ST_NOENT);
	assert_int_equal(spool_add(s, good, &body, T0, EXPIRES), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	assert_int_equal(spool_commit(s), ST_SYS);
	test_check_totals(s);
	envelope_free(&none);
	envelope_free(&good);
	envelope_free(&nowhere);
	spool_close(&s);
}

static void
test_rollback(void **state)
{
	struct spool *s = test_open(*state);
	struct envelope *env = test_envelope("a@one.test");
	struct spool_body body = { .data = "x", .len = 1 };
	struct spool_stats st;
	uint64_t id;

	spool_rollback(s);
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_add(s, env, &body, T0, EXPIRES), ST_OK);
	id = env->id;
	spool_rollback(s);
	assert_int_equal(spool_stats(s, T0, &st), ST_OK);
	assert_int_equal(st.messages, 0);
	test_check_totals(s);
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_add(s, env, &body, T0, EXPIRES), ST_OK);
	spool_close(&s);		/* an open transaction is undone */
	s = test_open(*state);
	assert_int_equal(test_add(s, "a@one.test", "x"), id);
	envelope_free(&env);
	spool_close(&s);
}

/* Ids only grow: across restarts, removals, and a clock that steps back. */
static void
test_ids(void **state)
{
	struct spool *s = test_open(*state);
	uint64_t last = 0, id;

	for (int i = 0; i < 6; i++) {
		id = test_add(s, "a@one.test b@two.test", "x");
		assert_true(id > last + (i == 0 ? 0 : 4));
		last = id;
		if (i == 0)
			assert_int_equal(id, T0 * 1000);
		if (i % 2 == 0)
			test_finish(s, id);
		if (i == 2)
			test_now_ms -= 1000000000;
		spool_close(&s);
		s = test_open(*state);
	}
	test_now_ms = T0 + 60000;
	assert_int_equal(test_add(s, "a@one.test", "x"), test_now_ms * 1000);
	test_now_ms = INT64_MAX;	/* nonsense must not wrap around */
	assert_true(test_add(s, "a@one.test", "x") >
		(uint64_t)(T0 + 60000) * 1000);
	spool_close(&s);
}

static void
test_due_order(void **state)
{
	struct spool *s = test_open(*state);
	struct spool_delivery d[8];
	struct spool_cursor cursor = { 0 };
	uint64_t ids[5];
	int64_t next;

	for (int i = 0; i < 5; i++)
		ids[i] = test_add(s, "a@one.test", "x");
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_retry(s, test_delivery(s, ids[0]).id, T0 + 50,
		true, false, "first"), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	assert_int_equal(due(s, &cursor, d, 3), 3);
	assert_int_equal(d[0].message_id, ids[1]);
	assert_int_equal(d[2].message_id, ids[3]);
	assert_int_equal(cursor.next_ms, T0);
	assert_int_equal(cursor.id, d[2].id);
	assert_int_equal(due(s, &cursor, d, 3), 1);
	assert_int_equal(d[0].message_id, ids[4]);
	assert_int_equal(due(s, &cursor, d, 3), 0);
	next = test_next_due(s, &cursor);
	assert_int_equal(next, T0 + 50);
	test_now_ms = T0 + 50;
	assert_int_equal(due(s, &cursor, d, 3), 1);
	assert_int_equal(d[0].message_id, ids[0]);
	assert_int_equal(d[0].attempts, 1);
	next = test_next_due(s, &cursor);
	assert_true(next == INT64_MAX);
	spool_close(&s);
}

static void
test_results(void **state)
{
	struct spool *s = test_open(*state);
	uint64_t id = test_add(s, "a@one.test b@one.test c@two.test", "x");
	struct spool_delivery d[4];
	struct spool_rcpt_result r[2] = { { .finished = false },
		{ .finished = true } };
	struct envelope *env;
	size_t count;

	assert_int_equal(spool_deliveries_of(s, id, d, 4, &count), ST_OK);
	assert_int_equal(spool_envelope(s, id, d[0].id, &env), ST_OK);
	r[0].rcpt_id = env->rcpts[0].id;
	r[0].text = "451 later";
	r[1].rcpt_id = env->rcpts[1].id;
	envelope_free(&env);
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_results(s, d[0].id, r, 2), ST_OK);
	assert_int_equal(spool_retry(s, d[0].id, T0 + 9, true, true, "t"),
		ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	test_check_totals(s);
	assert_int_equal(spool_envelope(s, id, 0, &env), ST_OK);
	assert_int_equal(env->rcpt_count, 2);
	envelope_free(&env);
	/* Late, foreign and unknown answers change nothing. */
	r[0].finished = true;
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_results(s, d[0].id, &r[1], 1), ST_OK);
	assert_int_equal(spool_results(s, d[1].id, r, 2), ST_OK);
	assert_int_equal(spool_results(s, UINT64_MAX, r, 2), ST_OK);
	assert_int_equal(spool_retry(s, 1, 0, true, false, NULL), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	test_check_totals(s);
	assert_int_equal(spool_envelope(s, id, d[0].id, &env), ST_OK);
	envelope_free(&env);
	assert_int_equal(spool_deliveries_of(s, id, d, 4, &count), ST_OK);
	assert_int_equal(count, 2);
	assert_true(d[0].delay_noticed);
	assert_int_equal(d[0].attempts, 1);
	test_finish(s, id);
	test_check_totals(s);
	assert_int_equal(spool_envelope(s, id, 0, &env), ST_NOENT);
	spool_close(&s);
}

static void
test_retry_flags(void **state)
{
	struct spool *s = test_open(*state);
	uint64_t id = test_add(s, "a@one.test", "x");
	struct spool_delivery d = test_delivery(s, id);
	char text[2 * SPOOL_TEXT_MAX];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_retry(s, d.id, T0 + 1, false, true, text),
		ST_OK);
	assert_int_equal(spool_retry(s, d.id, T0 + 2, true, false, NULL),
		ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	d = test_delivery(s, id);
	assert_int_equal(d.attempts, 1);
	assert_true(d.delay_noticed);
	assert_int_equal(d.next_ms, T0 + 2);
	spool_close(&s);
}

static void
test_hold(void **state)
{
	struct spool *s = test_open(*state);
	struct spool_filter f = { .held = -1 };
	uint64_t id = test_add(s, "a@one.test b@two.test", "x");
	struct spool_delivery d[4];
	struct spool_cursor cursor = { 0 };
	struct spool_stats st;
	size_t count;

	(void)test_add(s, "c@one.test", "x");
	f.message_id = id;
	f.destination = "two.test";
	assert_int_equal(test_act(s, &f, SPOOL_HOLD), 1);
	assert_int_equal(test_act(s, &f, SPOOL_HOLD), 1);
	f.destination = NULL;
	f.held = 1;
	assert_int_equal(test_act(s, &f, SPOOL_HOLD), 1);
	assert_int_equal(spool_stats(s, T0, &st), ST_OK);
	assert_int_equal(st.held, 1);
	assert_int_equal(st.due, 2);
	assert_int_equal(due(s, &cursor, d, 4), 2);
	assert_string_equal(d[0].destination, "one.test");
	assert_string_equal(d[1].destination, "one.test");
	/* Held mail expires like any other. */
	assert_int_equal(spool_expired(s, EXPIRES - 1, NULL, d, 4, &count),
		ST_OK);
	assert_int_equal(count, 0);
	assert_int_equal(spool_expired(s, EXPIRES, NULL, d, 4, &count), ST_OK);
	assert_int_equal(count, 3);
	assert_int_equal(spool_expired(s, EXPIRES, NULL, d, 1, &count), ST_OK);
	assert_int_equal(count, 1);
	f.message_id = 0;
	assert_int_equal(test_act(s, &f, SPOOL_RELEASE), 1);
	assert_int_equal(test_act(s, &f, SPOOL_RELEASE), 0);
	cursor = (struct spool_cursor){ 0 };
	assert_int_equal(due(s, &cursor, d, 4), 3);
	spool_close(&s);
}

static void
test_flush(void **state)
{
	struct spool *s = test_open(*state);
	struct spool_filter f = { .held = -1, .destination = ".test" };
	struct spool_cursor cursor = { 0 };
	struct spool_delivery d[8];
	uint64_t id = test_add(s, "a@one.test b@two.test c@test", "x");
	size_t count;

	assert_int_equal(spool_deliveries_of(s, id, d, 8, &count), ST_OK);
	assert_int_equal(count, 3);
	assert_int_equal(spool_begin(s), ST_OK);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(spool_retry(s, d[i].id, T0 + 1000, true,
			false, NULL), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	assert_int_equal(due(s, &cursor, d, 8), 0);
	assert_int_equal(test_act(s, &f, SPOOL_FLUSH), 2);
	assert_int_equal(due(s, &cursor, d, 8), 2);
	assert_int_equal(d[0].attempts, 1);
	spool_close(&s);
}

static void
test_meta(void **state)
{
	struct spool *s = test_open(*state);
	char out[8];

	assert_int_equal(spool_meta_get(s, "k", out, sizeof(out)), ST_NOENT);
	assert_int_equal(spool_meta_set(s, "k", "v"), ST_SYS);
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_meta_set(s, "k", "one"), ST_OK);
	assert_int_equal(spool_meta_set(s, "k", "two"), ST_OK);
	assert_int_equal(spool_meta_set(s, "long", "12345678"), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	assert_int_equal(spool_meta_get(s, "k", out, sizeof(out)), ST_OK);
	assert_string_equal(out, "two");
	assert_int_equal(spool_meta_get(s, "long", out, sizeof(out)),
		ST_LIMIT);
	spool_close(&s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, test_dir_setup, \
	test_dir_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_url),
		T(test_empty),
		T(test_add_and_read),
		T(test_add_refuses),
		T(test_rollback),
		T(test_ids),
		T(test_due_order),
		T(test_results),
		T(test_retry_flags),
		T(test_hold),
		T(test_flush),
		T(test_meta),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
