/*
 * What the operator sees and does: filters, actions, lists, counts.
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

static void
test_filters(void **state)
{
	struct spool *s = test_open(*state);
	uint64_t one = test_add(s, "a@one.test b@two.test", "x"), two;
	struct filter_case {
		struct spool_filter f;
		uint64_t matches;
	} cases[] = {
		{ { .held = -1 }, 4 },
		{ { .held = 1 }, 0 },
		{ { .held = 0 }, 4 },
		{ { .held = -1, .sender = "s@x.test" }, 4 },
		{ { .held = -1, .sender = "" }, 0 },
		{ { .held = -1, .sender = "S@x.test" }, 0 },
		{ { .held = -1, .rcpt = "a@one.test" }, 2 },
		{ { .held = -1, .rcpt = "one.test" }, 0 },
		{ { .held = -1, .destination = "one.test" }, 2 },
		{ { .held = -1, .destination = "test" }, 0 },
		{ { .held = -1, .destination = ".one.test" }, 0 },
		{ { .held = -1, .destination = ".test" }, 4 },
		{ { .held = -1, .older_than_ms = T0 + 1 }, 2 },
		{ { .held = -1, .older_than_ms = T0 }, 0 },
		{ { .held = -1, .message_id = 1 }, 0 },
		{ { .held = -1, .message_id = UINT64_MAX }, 0 },
		{ { .held = -1, .message_id = one }, 2 },
		{ { .held = -1, .message_id = one, .rcpt = "b@two.test" }, 1 },
		{ { .held = -1, .message_id = one + 1 }, 0 },
		{ { .held = -1, .message_id = 0, .destination = "two.test",
		    .older_than_ms = T0 + 1 }, 1 },
	};

	test_now_ms = T0 + 10000;
	two = test_add(s, "a@one.test z@three.test", "x");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t got = test_act(s, &cases[i].f, SPOOL_FLUSH);

		if (got != cases[i].matches)
			fail_msg("case %zu: %llu matches", i,
				(unsigned long long)got);
	}
	assert_true(two > one);
	spool_close(&s);
}

static void
test_remove(void **state)
{
	struct spool *s = test_open(*state);
	struct spool_filter f = { .held = -1, .rcpt = "a@one.test" };
	uint64_t id = test_add(s, "a@one.test b@one.test c@two.test", "x");
	struct envelope *env;

	assert_int_equal(test_act(s, &f, SPOOL_REMOVE), 1);
	assert_int_equal(spool_envelope(s, id, 0, &env), ST_OK);
	assert_int_equal(env->rcpt_count, 2);
	envelope_free(&env);
	f.rcpt = NULL;
	f.destination = "two.test";
	assert_int_equal(test_act(s, &f, SPOOL_REMOVE), 1);
	assert_int_equal(test_act(s, &test_any, SPOOL_REMOVE), 1);
	assert_int_equal(test_act(s, &test_any, SPOOL_REMOVE), 0);
	assert_int_equal(spool_envelope(s, id, 0, &env), ST_NOENT);
	spool_close(&s);
}

/* More than a batch of spool_act, some with several deliveries. */
static void
test_act_many(void **state)
{
	struct spool *s = test_open(*state);
	struct spool_body body = { .data = "x", .len = 1 };
	struct spool_filter f = { .held = -1, .destination = "one.test" };

	assert_int_equal(spool_begin(s), ST_OK);
	for (int i = 0; i < 700; i++) {
		struct envelope *env = test_envelope(i % 3 == 0 ?
			"a@one.test b@two.test c@one.test" : "a@one.test");

		assert_int_equal(spool_add(s, env, &body, T0, EXPIRES), ST_OK);
		envelope_free(&env);
	}
	assert_int_equal(spool_commit(s), ST_OK);
	assert_int_equal(test_act(s, &f, SPOOL_HOLD), 700);
	assert_int_equal(test_act(s, &test_any, SPOOL_FLUSH), 934);
	f.destination = "two.test";
	assert_int_equal(test_act(s, &f, SPOOL_REMOVE), 234);
	assert_int_equal(test_act(s, &test_any, SPOOL_REMOVE), 700);
	spool_close(&s);
}

struct listed {
	unsigned rows;
	uint64_t last_message;
	char text[SPOOL_TEXT_MAX];
};

static void
on_row(const struct spool_row *row, void *arg)
{
	struct listed *l = arg;

	assert_true(row->delivery.message_id >= l->last_message);
	assert_string_equal(row->sender, "s@x.test");
	assert_int_equal(row->size_bytes, 1);
	l->last_message = row->delivery.message_id;
	l->rows++;
	(void)str_copy(l->text, sizeof(l->text), row->text);
}

static void
test_list_pages(void **state)
{
	struct spool *s = test_open(*state);
	struct listed l = { 0 };
	struct spool_filter f = { .held = -1, .destination = "two.test" };
	uint64_t after = 0;
	unsigned pages = 0;
	bool more = true;

	for (int i = 0; i < 10; i++)
		(void)test_add(s, "a@one.test b@two.test c@one.test", "x");
	while (more) {
		assert_int_equal(spool_list(s, &test_any, &after, 3, on_row, &l,
			&more), ST_OK);
		pages++;
		assert_true(pages < 100);
	}
	assert_int_equal(l.rows, 30);
	assert_int_equal(pages, 4);
	l = (struct listed){ 0 };
	after = 0;
	assert_int_equal(spool_list(s, &f, &after, 4, on_row, &l, &more),
		ST_OK);
	assert_true(more);
	assert_int_equal(spool_list(s, &f, &after, 40, on_row, &l, &more),
		ST_OK);
	assert_false(more);
	assert_int_equal(l.rows, 10);
	f.destination = NULL;
	f.message_id = l.last_message;
	l = (struct listed){ 0 };
	after = 0;
	assert_int_equal(spool_list(s, &f, &after, 4, on_row, &l, &more),
		ST_OK);
	assert_int_equal(l.rows, 3);
	assert_false(more);
	spool_close(&s);
}

static void
test_list_text(void **state)
{
	struct spool *s = test_open(*state);
	uint64_t id = test_add(s, "a@one.test", "x"), after = 0;
	struct spool_delivery d = test_delivery(s, id);
	struct spool_rcpt_result r = { .text = "450 of the recipient" };
	struct listed l = { 0 };
	struct envelope *env;
	bool more;

	assert_int_equal(spool_list(s, &test_any, &after, 4, on_row, &l, &more),
		ST_OK);
	assert_string_equal(l.text, "");
	assert_int_equal(spool_envelope(s, id, 0, &env), ST_OK);
	r.rcpt_id = env->rcpts[0].id;
	envelope_free(&env);
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_retry(s, d.id, T0, true, false, "of all"),
		ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	after = 0;
	assert_int_equal(spool_list(s, &test_any, &after, 4, on_row, &l, &more),
		ST_OK);
	assert_string_equal(l.text, "of all");
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_results(s, d.id, &r, 1), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	after = 0;
	assert_int_equal(spool_list(s, &test_any, &after, 4, on_row, &l, &more),
		ST_OK);
	assert_string_equal(l.text, "450 of the recipient");
	spool_close(&s);
}

static unsigned
flags_of(struct spool *s, uint64_t id)
{
	struct envelope *env;
	unsigned flags;

	assert_int_equal(spool_envelope(s, id, 0, &env), ST_OK);
	flags = env->flags;
	envelope_free(&env);
	return flags;
}

static uint64_t
set_flags(struct spool *s, const struct spool_filter *f, unsigned clear,
	unsigned set)
{
	struct spool_walk at = { 0 };
	uint64_t count = 0;
	bool more = true;

	assert_int_equal(spool_begin(s), ST_OK);
	while (more)
		assert_int_equal(spool_set_flags(s, f, clear, set, &at, &count,
			&more), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	test_check_totals(s);
	return count;
}

/* Flags are the message's: one matching recipient changes them for all, and
 * no other message's, nor other flags. */
static void
test_flags(void **state)
{
	struct spool *s = test_open(*state);
	uint64_t one = test_add(s, "a@one.test b@two.test c@two.test", "x");
	uint64_t two = test_add(s, "a@one.test", "x"), count = 0;
	struct spool_filter f = { .held = -1, .destination = "two.test" };
	struct spool_walk at = { 0 };
	bool more;

	assert_int_equal(spool_set_flags(s, &f, 0, 4, &at, &count, &more),
		ST_SYS);
	assert_int_equal(flags_of(s, one), 0);
	assert_int_equal(set_flags(s, &f, 12, 5), 1);
	assert_int_equal(flags_of(s, one), 5);
	assert_int_equal(flags_of(s, two), 0);
	assert_int_equal(set_flags(s, &test_any, 12, 8), 2);
	assert_int_equal(flags_of(s, one), 9);
	assert_int_equal(flags_of(s, two), 8);
	f.destination = "none.test";
	assert_int_equal(set_flags(s, &f, 12, 0), 0);
	assert_int_equal(flags_of(s, one), 9);
	/* until it is durable, nothing has happened */
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_set_flags(s, &test_any, 12, 0, &at, &count,
		&more), ST_OK);
	spool_rollback(s);
	assert_int_equal(flags_of(s, one), 9);
	spool_close(&s);
	s = test_open(*state);
	assert_int_equal(flags_of(s, one), 9);
	/* more messages than one batch, each counted once */
	for (int i = 0; i < 300; i++)
		(void)test_add(s, "a@one.test b@two.test", "x");
	assert_int_equal(set_flags(s, &test_any, 0, 4), 302);
	spool_close(&s);
}

static void
test_top(void **state)
{
	struct spool *s = test_open(*state);
	struct spool_dest_stats top[3];
	size_t count;

	(void)test_add(s, "a@one.test b@two.test", "x");
	test_now_ms += 5000;
	(void)test_add(s, "a@two.test b@three.test", "x");
	(void)test_add(s, "a@three.test b@three.test", "x");
	(void)test_add(s, "a@three.test b@four.test", "x");
	assert_int_equal(spool_top_destinations(s, top, 3, &count), ST_OK);
	assert_int_equal(count, 3);
	assert_string_equal(top[0].destination, "three.test");
	assert_int_equal(top[0].deliveries, 3);
	assert_int_equal(top[0].oldest_received_ms, T0 + 5000);
	assert_string_equal(top[1].destination, "two.test");
	assert_int_equal(top[1].oldest_received_ms, T0);
	assert_string_equal(top[2].destination, "four.test");
	spool_close(&s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, test_dir_setup, \
	test_dir_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_filters),
		T(test_remove),
		T(test_act_many),
		T(test_list_pages),
		T(test_list_text),
		T(test_flags),
		T(test_top),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
