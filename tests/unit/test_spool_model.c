/*
 * Random operations beside a model in memory: after each transaction the spool
 * must say what the model says.  Fixed seeds.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "tests/unit/test_spool_util.h"

#define RCPTS_MAX 4000
#define DUE_MAX 2000

struct rcpt {
	uint64_t message, delivery, id;
	char destination[16];
	int64_t next_ms, expires_ms;
	bool held, in_file, gone;
};

struct model {
	struct rcpt rcpts[RCPTS_MAX];
	size_t count;
};

static struct model now, before;	/* before: at the last commit */
static uint32_t seed;

static uint32_t
roll(uint32_t sides)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % sides;
}

static void
copy_model(struct model *to, const struct model *from)
{
	to->count = from->count;
	memcpy(to->rcpts, from->rcpts, from->count * sizeof(to->rcpts[0]));
}

/* ---- operations ---- */

static void
learn(struct spool *s, const struct envelope *env, bool in_file)
{
	struct spool_delivery d[8];
	size_t count;

	assert_int_equal(spool_deliveries_of(s, env->id, d, 8, &count), ST_OK);
	for (size_t i = 0; i < env->rcpt_count; i++) {
		struct rcpt *r = &now.rcpts[now.count++];

		memset(r, 0, sizeof(*r));
		r->message = env->id;
		r->id = env->rcpts[i].id;
		r->in_file = in_file;
		(void)snprintf(r->destination, sizeof(r->destination), "%.15s",
			env->rcpts[i].destination);
		for (size_t j = 0; j < count; j++)
			if (strcmp(d[j].destination, r->destination) == 0) {
				r->delivery = d[j].id;
				r->next_ms = d[j].next_ms;
				r->expires_ms = d[j].expires_ms;
			}
		assert_int_not_equal(r->delivery, 0);
	}
}

static void
op_add(struct spool *s)
{
	struct envelope *env = envelope_new("s@x.test");
	struct spool_body body = { .data = "body", .len = 4 };
	uint32_t count = 1 + roll(4);

	if (now.count + 4 > RCPTS_MAX)
		goto out;
	for (uint32_t i = 0; i < count; i++) {
		char address[32], destination[16];

		(void)snprintf(destination, sizeof(destination), "d%u.test",
			(unsigned)roll(3));
		(void)snprintf(address, sizeof(address), "u%u@%s",
			(unsigned)i, destination);
		(void)envelope_add_rcpt(env, address, destination);
	}
	if (roll(4) == 0) {
		body = (struct spool_body){
			.file_token = test_body_file(s, 100) };
		env->size_bytes = 100;
	}
	assert_int_equal(spool_add(s, env, &body, test_now_ms + roll(500),
		test_now_ms + 1000 + roll(9000)), ST_OK);
	learn(s, env, body.data == NULL);
out:
	envelope_free(&env);
}

static struct rcpt *
some_rcpt(void)
{
	for (int tries = 0; now.count > 0 && tries < 20; tries++) {
		struct rcpt *r = &now.rcpts[roll((uint32_t)now.count)];

		if (!r->gone)
			return r;
	}
	return NULL;
}

static void
op_finish(struct spool *s)
{
	struct rcpt *r = some_rcpt();
	struct spool_rcpt_result result = { .finished = true };

	if (r == NULL)
		return;
	result.rcpt_id = r->id;
	assert_int_equal(spool_results(s, r->delivery, &result, 1), ST_OK);
	/* Again, late: nothing happens. */
	assert_int_equal(spool_results(s, r->delivery, &result, 1), ST_OK);
	r->gone = true;
}

static void
op_retry(struct spool *s)
{
	struct rcpt *r = some_rcpt();
	int64_t next = test_now_ms + roll(2000);

	if (r == NULL)
		return;
	assert_int_equal(spool_retry(s, r->delivery, next, true, false,
		"later"), ST_OK);
	for (size_t i = 0; i < now.count; i++)
		if (now.rcpts[i].delivery == r->delivery)
			now.rcpts[i].next_ms = next;
}

/* One of the operator's actions on one destination or one message. */
static void
op_act(struct spool *s)
{
	static const enum spool_action actions[] = { SPOOL_FLUSH, SPOOL_HOLD,
		SPOOL_RELEASE, SPOOL_RELEASE, SPOOL_REMOVE };
	enum spool_action action = actions[roll(5)];
	struct rcpt *r = some_rcpt();
	struct spool_filter f = { .held = -1 };
	uint64_t ignored;

	if (r == NULL)
		return;
	if (action == SPOOL_REMOVE || roll(2) == 0)
		f.message_id = r->message;
	f.destination = r->destination;
	assert_int_equal(spool_act(s, &f, action, test_now_ms, &ignored),
		ST_OK);
	for (size_t i = 0; i < now.count; i++) {
		struct rcpt *m = &now.rcpts[i];

		if (strcmp(m->destination, f.destination) != 0 ||
		    (f.message_id != 0 && m->message != f.message_id))
			continue;
		m->held = action == SPOOL_HOLD ||
			(action != SPOOL_RELEASE && m->held);
		m->gone = m->gone || action == SPOOL_REMOVE;
		if (action == SPOOL_FLUSH)
			m->next_ms = test_now_ms;
	}
}

/* ---- comparison ---- */

static int
compare_due(const void *left, const void *right)
{
	const struct rcpt *a = *(struct rcpt *const *)left;
	const struct rcpt *b = *(struct rcpt *const *)right;

	if (a->next_ms != b->next_ms)
		return a->next_ms < b->next_ms ? -1 : 1;
	return (a->delivery > b->delivery) - (a->delivery < b->delivery);
}

/* The model's due deliveries in order, each once. */
static size_t
model_due(struct rcpt **out)
{
	size_t count = 0, unique = 0;

	for (size_t i = 0; i < now.count; i++) {
		struct rcpt *r = &now.rcpts[i];

		if (!r->gone && !r->held && r->next_ms <= test_now_ms)
			out[count++] = r;
	}
	qsort(out, count, sizeof(out[0]), compare_due);
	for (size_t i = 0; i < count; i++)
		if (unique == 0 ||
		    out[unique - 1]->delivery != out[i]->delivery)
			out[unique++] = out[i];
	return unique;
}

static void
check_due(struct spool *s)
{
	static struct rcpt *want[RCPTS_MAX];
	static struct spool_delivery got[DUE_MAX];
	struct spool_cursor cursor = { 0 };
	size_t count = model_due(want), have = 0, step;

	do {
		assert_int_equal(test_all_due(s, test_now_ms, &cursor,
			got + have, 1 + roll(7), &step), ST_OK);
		have += step;
		assert_true(have + 8 < DUE_MAX);
	} while (step > 0);
	assert_int_equal(have, count);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(got[i].id, want[i]->delivery);
}

static void
check_counts(struct spool *s, const char *dir)
{
	struct spool_stats st;
	size_t rcpts = 0, files = 0;
	uint64_t file_seen = 0;

	for (size_t i = 0; i < now.count; i++) {
		const struct rcpt *r = &now.rcpts[i];

		rcpts += !r->gone;
		if (!r->gone && r->in_file && r->message != file_seen) {
			files++;
			file_seen = r->message;
		}
	}
	assert_int_equal(spool_stats(s, test_now_ms, &st), ST_OK);
	assert_int_equal(st.recipients, rcpts);
	assert_true(test_body_files(dir) >= files);
	test_check_totals(s);
}

static void
check_expired(struct spool *s)
{
	static struct spool_delivery got[DUE_MAX];
	uint64_t last = 0;
	size_t count, want = 0;

	/* Recipients of one delivery are beside each other only by delivery;
	 * count each delivery at its first living recipient. */
	for (size_t i = 0; i < now.count; i++) {
		const struct rcpt *r = &now.rcpts[i];
		bool first = !r->gone && r->expires_ms <= test_now_ms;

		for (size_t j = i; first && j-- > 0 &&
		    now.rcpts[j].message == r->message;)
			first = now.rcpts[j].gone ||
				now.rcpts[j].delivery != r->delivery;
		want += first;
	}
	assert_int_equal(spool_expired(s, test_now_ms, NULL, got, DUE_MAX,
		&count), ST_OK);
	assert_int_equal(count, want);
	for (size_t i = 0; i < count; i++) {
		assert_true(got[i].expires_ms <= test_now_ms);
		assert_int_not_equal(got[i].id, last);
		last = got[i].id;
	}
}

static void
transaction(struct spool *s)
{
	static void (*const ops[])(struct spool *) = { op_add, op_add,
		op_finish, op_finish, op_finish, op_retry, op_act };
	uint32_t steps = 1 + roll(8);

	copy_model(&before, &now);
	assert_int_equal(spool_begin(s), ST_OK);
	while (steps-- > 0)
		ops[roll(7)](s);
	if (roll(6) == 0) {
		spool_rollback(s);
		copy_model(&now, &before);
	} else {
		assert_int_equal(spool_commit(s), ST_OK);
	}
}

static void
run(const char *dir, uint32_t with_seed)
{
	struct spool *s = test_open(dir);

	seed = with_seed;
	now.count = 0;
	for (int i = 0; i < 400; i++) {
		transaction(s);
		test_now_ms += (int64_t)roll(300) - 20;
		check_due(s);
		if (i % 10 == 0) {
			check_counts(s, dir);
			check_expired(s);
		}
		if (roll(25) == 0)
			(void)spool_idle(s);
		if (roll(25) == 0) {
			spool_close(&s);
			s = test_open(dir);
		}
	}
	(void)test_act(s, &test_any, SPOOL_REMOVE);
	spool_close(&s);
	s = test_open(dir);
	assert_int_equal(test_body_files(dir), 0);
	spool_close(&s);
}

static void
test_seed_1(void **state)
{
	run(*state, 1);
}

static void
test_seed_2(void **state)
{
	run(*state, 20261121);
}

static void
test_seed_3(void **state)
{
	run(*state, 0xdecade);
}

#define T(f) cmocka_unit_test_setup_teardown(f, test_dir_setup, \
	test_dir_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_seed_1), T(test_seed_2), T(test_seed_3),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
