/*
 * The envelope on the wire: what goes in comes out, and nothing else gets in.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/envelope.h"
#include "base/mem.h"

static struct envelope *
sample(void)
{
	struct envelope *env = envelope_new("s@x.example");
	struct envelope_rcpt *r;

	env->id = 0x1122334455667788;
	env->received_ms = 1700000000000;
	env->size_bytes = 12345;
	env->flags = ENVELOPE_8BITMIME | ENVELOPE_SMTPUTF8;
	env->ret = RET_HDRS;
	env->envid = xstrdup("E+2B1");
	env->origin = xstrdup("uid 1000");
	r = envelope_add_rcpt(env, "a@y.example", "y.example");
	r->id = 7;
	r->notify = NOTIFY_FAILURE | NOTIFY_DELAY;
	r->orcpt = xstrdup("rfc822;a@y.example");
	(void)envelope_add_rcpt(env, "b@[192.0.2.1]", "[192.0.2.1]");
	(void)envelope_add_rcpt(env, "\"c d\"@z.example", "z.example");
	return env;
}

static void
assert_text(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		assert_true(a == b);
	else
		assert_string_equal(a, b);
}

static void
assert_same(const struct envelope *a, const struct envelope *b)
{
	assert_true(a->id == b->id && a->received_ms == b->received_ms &&
		a->size_bytes == b->size_bytes && a->flags == b->flags &&
		a->ret == b->ret);
	assert_text(a->sender, b->sender);
	assert_text(a->envid, b->envid);
	assert_text(a->origin, b->origin);
	assert_int_equal(a->rcpt_count, b->rcpt_count);
	for (size_t i = 0; i < a->rcpt_count; i++) {
		assert_true(a->rcpts[i].id == b->rcpts[i].id);
		assert_int_equal(a->rcpts[i].notify, b->rcpts[i].notify);
		assert_text(a->rcpts[i].address, b->rcpts[i].address);
		assert_text(a->rcpts[i].destination, b->rcpts[i].destination);
		assert_text(a->rcpts[i].orcpt, b->rcpts[i].orcpt);
	}
}

static struct envelope *
decode(const struct buf *wire)
{
	struct reader r;
	struct envelope *env;

	reader_init(&r, buf_data(wire), wire->len);
	env = envelope_decode(&r);
	assert_int_equal(reader_ok(&r, true), env != NULL);
	return env;
}

static void
test_round_trip(void **state)
{
	struct envelope *env = sample(), *back;
	struct buf wire;

	(void)state;
	buf_init(&wire, 10000);
	assert_int_equal(envelope_encode(env, &wire), ST_OK);
	back = decode(&wire);
	assert_non_null(back);
	assert_same(env, back);
	envelope_free(&back);
	envelope_free(&env);
	assert_null(env);
	envelope_free(&env);
	buf_clear(&wire);
}

static void
test_many_rcpts(void **state)
{
	struct envelope *env = envelope_new(""), *back;
	char text[64];
	struct buf wire;

	(void)state;
	buf_init(&wire, 1 << 20);
	for (unsigned i = 0; i < ENVELOPE_RCPTS_MAX; i++) {
		(void)snprintf(text, sizeof(text), "u%u@y.example", i);
		envelope_add_rcpt(env, text, "y.example")->id = i;
	}
	assert_int_equal(envelope_encode(env, &wire), ST_OK);
	back = decode(&wire);
	assert_non_null(back);
	assert_same(env, back);
	envelope_free(&back);
	(void)envelope_add_rcpt(env, "one@toomany.example",
		"toomany.example");
	buf_clear(&wire);
	assert_int_equal(envelope_encode(env, &wire), ST_OK);
	assert_null(decode(&wire));
	envelope_free(&env);
	buf_clear(&wire);
}

/* Encoding into too little room and decoding too little: at every byte. */
static void
test_cut(void **state)
{
	struct envelope *env = sample(), *back;
	struct buf wire, small;

	(void)state;
	buf_init(&wire, 10000);
	assert_int_equal(envelope_encode(env, &wire), ST_OK);
	for (size_t n = 0; n < wire.len; n++) {
		uint8_t *copy = malloc(n > 0 ? n : 1);
		struct reader r;

		assert_non_null(copy);
		memcpy(copy, buf_data(&wire), n);
		reader_init(&r, copy, n);
		back = envelope_decode(&r);
		assert_null(back);
		assert_false(reader_ok(&r, false));
		free(copy);
		buf_init(&small, n);
		assert_int_equal(envelope_encode(env, &small), ST_LIMIT);
		buf_clear(&small);
	}
	envelope_free(&env);
	buf_clear(&wire);
}

/* Any byte changed: decoded or refused, never a crash; and what is decoded can
 * be encoded again. */
static void
test_changed_bytes(void **state)
{
	struct envelope *env = sample(), *back;
	struct buf wire, again;

	(void)state;
	buf_init(&wire, 10000);
	buf_init(&again, 10000);
	assert_int_equal(envelope_encode(env, &wire), ST_OK);
	for (size_t n = 0; n < wire.len; n++)
		for (unsigned bit = 0; bit < 8; bit++) {
			struct reader r;

			wire.mem[wire.start + n] ^= (uint8_t)(1U << bit);
			reader_init(&r, buf_data(&wire), wire.len);
			back = envelope_decode(&r);
			if (back != NULL) {
				buf_clear(&again);
				assert_int_equal(envelope_encode(back, &again),
					ST_OK);
			}
			envelope_free(&back);
			wire.mem[wire.start + n] ^= (uint8_t)(1U << bit);
		}
	envelope_free(&env);
	buf_clear(&again);
	buf_clear(&wire);
}

/* What must not pass: one field of a good envelope replaced. */
static const struct fault_case {
	const char *sender, *address, *destination, *orcpt;
	unsigned ret, flags, notify;
	bool ok;
} fault_cases[] = {
	{ "", "a@y.example", "y.example", NULL, 0, 0, 0, true },
	{ "", "a@y.example", "y.example", NULL, 2, 63, 15, true },
	{ NULL, "a@y.example", "y.example", NULL, 0, 0, 0, false },
	{ "", NULL, "y.example", NULL, 0, 0, 0, false },
	{ "", "a@y.example", NULL, NULL, 0, 0, 0, false },
	{ "", "a@y.example", "", NULL, 0, 0, 0, false },
	{ "", "a@y.example", "Y.example", NULL, 0, 0, 0, false },
	{ "", "a@y.example", "y.example.", NULL, 0, 0, 0, false },
	{ "", "a@y.example", "../y", NULL, 0, 0, 0, false },
	{ "", "a@y.example", "[", NULL, 0, 0, 0, false },
	{ "", "a@y.example", "[]", NULL, 0, 0, 0, false },
	{ "", "a@y.example", "[1.2.3.4", NULL, 0, 0, 0, false },
	{ "", "a@y.example", "[IPv6:::1]", NULL, 0, 0, 0, false },
	{ "", "a@y.example", "[ipv6:::1]", NULL, 0, 0, 0, true },
	{ "", "a@y.example", "[a b]", NULL, 0, 0, 0, false },
	{ "", "a@y.example", "y.example", NULL, 3, 0, 0, false },
	{ "", "a@y.example", "y.example", NULL, 255, 0, 0, false },
	{ "", "a@y.example", "y.example", NULL, 0, 64, 0, false },
	{ "", "a@y.example", "y.example", NULL, 0, 0, 16, false },
	{ "s\r\nDATA@x", "a@y.example", "y.example", NULL, 0, 0, 0, false },
	{ "", "a\r\nDATA@y.example", "y.example", NULL, 0, 0, 0, false },
	{ "", "a\x7f@y.example", "y.example", NULL, 0, 0, 0, false },
	{ "", "a@y.example", "y.example", "rfc822;\n", 0, 0, 0, false },
	{ "", "a\xff@y.example", "y.example", NULL, 0, 0, 0, false },
};

static void
put_text(struct buf *b, const char *text)
{
	assert_int_equal(buf_put_str(b, text), ST_OK);
}

static void
test_faults(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(fault_cases) / sizeof(fault_cases[0]);
	    i++) {
		const struct fault_case *c = &fault_cases[i];
		struct envelope *env;
		struct buf b;

		buf_init(&b, 10000);
		assert_int_equal(buf_put_u64(&b, 1), ST_OK);
		assert_int_equal(buf_put_u64(&b, 2), ST_OK);
		assert_int_equal(buf_put_u64(&b, 3), ST_OK);
		assert_int_equal(buf_put_u32(&b, c->flags), ST_OK);
		assert_int_equal(buf_put_u8(&b, (uint8_t)c->ret), ST_OK);
		put_text(&b, c->sender);
		put_text(&b, NULL);
		put_text(&b, NULL);
		assert_int_equal(buf_put_u32(&b, 1), ST_OK);
		assert_int_equal(buf_put_u64(&b, 4), ST_OK);
		put_text(&b, c->address);
		put_text(&b, c->destination);
		put_text(&b, c->orcpt);
		assert_int_equal(buf_put_u8(&b, (uint8_t)c->notify), ST_OK);
		env = decode(&b);
		if ((env != NULL) != c->ok)
			fail_msg("case %zu: %s", i, c->ok ? "refused" :
				"taken");
		envelope_free(&env);
		buf_clear(&b);
	}
}

/* A count that promises more than there is costs no memory. */
static void
test_hostile_count(void **state)
{
	static const uint32_t counts[] = { 2, 10000, 10001, 0x7fffffff,
		0xffffffff };

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		struct envelope *env = envelope_new("");
		struct buf b;

		buf_init(&b, 10000);
		assert_int_equal(envelope_encode(env, &b), ST_OK);
		b.len -= 4;
		assert_int_equal(buf_put_u32(&b, counts[i]), ST_OK);
		assert_int_equal(buf_put_u64(&b, 4), ST_OK);
		put_text(&b, "a@y.example");
		put_text(&b, "y.example");
		put_text(&b, NULL);
		assert_int_equal(buf_put_u8(&b, 0), ST_OK);
		envelope_free(&env);
		assert_null(decode(&b));
		buf_clear(&b);
	}
}

static void
test_long_strings(void **state)
{
	static char text[ENVELOPE_STR_MAX + 2];
	struct envelope *env, *back;
	struct buf b;

	(void)state;
	for (size_t extra = 0; extra < 2; extra++) {
		memset(text, 'a', ENVELOPE_STR_MAX + extra);
		env = envelope_new(text);
		buf_init(&b, 10000);
		assert_int_equal(envelope_encode(env, &b), ST_OK);
		back = decode(&b);
		assert_int_equal(back != NULL, extra == 0);
		envelope_free(&back);
		envelope_free(&env);
		buf_clear(&b);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_many_rcpts),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_changed_bytes),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_hostile_count),
		cmocka_unit_test(test_long_strings),
	};

	return cmocka_run_group_tests_name("envelope", tests, NULL, NULL);
}
