/*
 * The byte queue keeps its bound and its bytes; the reader never leaves its
 * input.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

#define MODEL_MAX 5000

static uint32_t seed;

/* The same sequence each time, so that a failure can be repeated. */
static uint32_t
next_random(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed >> 8;
}

static void
test_bound(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 10);
	assert_int_equal(buf_room(&b), 10);
	assert_non_null(buf_data(&b));
	assert_null(buf_reserve(&b, 11));
	assert_null(buf_reserve(&b, SIZE_MAX));
	assert_int_equal(buf_put(&b, "0123456789a", 11), ST_LIMIT);
	assert_int_equal(b.len, 0);
	assert_int_equal(buf_put(&b, "01234", 5), ST_OK);
	assert_int_equal(buf_puts(&b, "567890"), ST_LIMIT);
	assert_int_equal(buf_printf(&b, "%d", 123456), ST_LIMIT);
	assert_int_equal(b.len, 5);
	assert_int_equal(buf_printf(&b, "%05d", 7), ST_OK);
	assert_memory_equal(buf_data(&b), "0123400007", 10);
	assert_int_equal(buf_room(&b), 0);
	assert_int_equal(buf_put(&b, NULL, 0), ST_OK);
	assert_int_equal(buf_put_u8(&b, 1), ST_LIMIT);
	buf_drain(&b, 10);
	assert_int_equal(buf_room(&b), 10);
	buf_clear(&b);
	assert_int_equal(b.max_bytes, 10);
	assert_int_equal(buf_puts(&b, "again"), ST_OK);
	buf_clear(&b);
	buf_clear(&b);
}

/* A put of several fields is refused whole or not at all. */
static void
test_put_whole(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 7);
	assert_int_equal(buf_put_u64(&b, 1), ST_LIMIT);
	assert_int_equal(buf_put_str(&b, "four"), ST_LIMIT);
	assert_int_equal(buf_put_bytes(&b, "x", SIZE_MAX), ST_LIMIT);
	assert_int_equal(buf_put_bytes(&b, "x", 0xffffffffU), ST_LIMIT);
	assert_int_equal(b.len, 0);
	assert_int_equal(buf_put_str(&b, "abc"), ST_OK);
	assert_memory_equal(buf_data(&b), "\0\0\0\3abc", 7);
	buf_clear(&b);
}

static void
test_reserve_commit(void **state)
{
	struct buf b;
	uint8_t *to;

	(void)state;
	buf_init(&b, 1000);
	to = buf_reserve(&b, 300);
	assert_non_null(to);
	memset(to, 'x', 300);
	buf_commit(&b, 10);		/* less than reserved */
	assert_int_equal(b.len, 10);
	assert_int_equal(buf_puts(&b, "end"), ST_OK);
	assert_memory_equal(buf_data(&b), "xxxxxxxxxxend", 13);
	buf_clear(&b);
}

/* Bytes that pass through do not make it grow. */
static void
test_compaction(void **state)
{
	struct buf b;
	char line[100];

	(void)state;
	memset(line, 'y', sizeof(line));
	buf_init(&b, 1 << 20);
	assert_int_equal(buf_put(&b, line, 50), ST_OK);
	for (int i = 0; i < 100000; i++) {
		assert_int_equal(buf_put(&b, line, sizeof(line)), ST_OK);
		buf_drain(&b, sizeof(line));
	}
	assert_int_equal(b.len, 50);
	assert_true(b.cap <= 4096);
	buf_clear(&b);
}

/* Random operations against a plain array. */
static void
run_model(struct buf *b, uint8_t *model)
{
	size_t len = 0;

	for (int i = 0; i < 20000; i++) {
		uint8_t bytes[700];
		size_t n = next_random() % sizeof(bytes);
		enum status st;

		if (next_random() % 100 == 0) {
			buf_clear(b);
			len = 0;
		}
		for (size_t k = 0; k < n; k++)
			bytes[k] = (uint8_t)next_random();
		if (next_random() % 2 == 0) {
			st = buf_put(b, bytes, n);
			assert_int_equal(st, len + n <= MODEL_MAX ? ST_OK :
				ST_LIMIT);
			if (st == ST_OK) {
				memcpy(model + len, bytes, n);
				len += n;
			}
		} else {
			n = n < len ? n : len;
			buf_drain(b, n);
			memmove(model, model + n, len - n);
			len -= n;
		}
		assert_int_equal(b->len, len);
		assert_int_equal(buf_room(b), MODEL_MAX - len);
		assert_memory_equal(buf_data(b), model, len);
	}
}

static void
test_model(void **state)
{
	uint8_t model[MODEL_MAX];
	struct buf b;

	(void)state;
	for (seed = 1; seed < 4; seed++) {
		uint32_t first = seed;

		buf_init(&b, MODEL_MAX);
		run_model(&b, model);
		buf_clear(&b);
		seed = first;
	}
}

static void
test_numbers(void **state)
{
	struct buf b;
	struct reader r;

	(void)state;
	buf_init(&b, 100);
	assert_int_equal(buf_put_u8(&b, 0xfe), ST_OK);
	assert_int_equal(buf_put_u16(&b, 0xfedc), ST_OK);
	assert_int_equal(buf_put_u32(&b, 0xfedcba98), ST_OK);
	assert_int_equal(buf_put_u64(&b, 0xfedcba9876543210), ST_OK);
	assert_memory_equal(buf_data(&b), "\xfe\xfe\xdc\xfe\xdc\xba\x98"
		"\xfe\xdc\xba\x98\x76\x54\x32\x10", 15);
	reader_init(&r, buf_data(&b), b.len);
	assert_int_equal(reader_u8(&r), 0xfe);
	assert_int_equal(reader_u16(&r), 0xfedc);
	assert_int_equal(reader_u32(&r), 0xfedcba98);
	assert_true(reader_u64(&r) == 0xfedcba9876543210);
	assert_true(reader_ok(&r, true));
	buf_clear(&b);
}

static void
read_all_kinds(struct reader *r)
{
	size_t len;
	char *text;

	(void)reader_u8(r);
	(void)reader_u16(r);
	(void)reader_u32(r);
	(void)reader_u64(r);
	text = reader_str(r, 100);
	free(text);
	(void)reader_bytes(r, 100, &len);
}

/* Cut at every byte: bad, and stays bad. */
static void
test_reader_truncated(void **state)
{
	struct buf b;
	struct reader r;
	size_t len = 7;

	(void)state;
	buf_init(&b, 1000);
	assert_int_equal(buf_put_u8(&b, 1), ST_OK);
	assert_int_equal(buf_put_u16(&b, 2), ST_OK);
	assert_int_equal(buf_put_u32(&b, 3), ST_OK);
	assert_int_equal(buf_put_u64(&b, 4), ST_OK);
	assert_int_equal(buf_put_str(&b, "text"), ST_OK);
	assert_int_equal(buf_put_bytes(&b, "\0\1\2", 3), ST_OK);
	for (size_t n = 0; n <= b.len; n++) {
		/* A copy of exact size, so that tools see an overrun. */
		uint8_t *copy = malloc(n > 0 ? n : 1);

		assert_non_null(copy);
		memcpy(copy, buf_data(&b), n);
		reader_init(&r, copy, n);
		read_all_kinds(&r);
		assert_int_equal(reader_ok(&r, true), n == b.len);
		if (n < b.len) {
			assert_int_equal(reader_u8(&r), 0);
			assert_null(reader_str(&r, 10));
			assert_null(reader_bytes(&r, 10, &len));
			assert_int_equal(len, 0);
			assert_false(reader_ok(&r, false));
		}
		free(copy);
	}
	buf_clear(&b);
}

static const struct str_case {
	const char *bytes;
	size_t len, max;
	const char *want;	/* NULL: none */
	bool ok;
} str_cases[] = {
	{ "\0\0\0\0", 4, 10, "", true },
	{ "\0\0\0\3abc", 7, 3, "abc", true },
	{ "\0\0\0\3abc", 7, 2, NULL, false },
	{ "\0\0\0\3ab", 6, 10, NULL, false },
	{ "\0\0\0\3a\0c", 7, 10, NULL, false },	/* NUL within */
	{ "\0\0\0\1\0", 5, 10, NULL, false },
	{ "\xff\xff\xff\xff", 4, 10, NULL, true },	/* absent */
	{ "\xff\xff\xff\xfe", 4, SIZE_MAX, NULL, false },
	{ "\x7f\xff\xff\xff" "abc", 7, SIZE_MAX, NULL, false },
	{ "\0\0\0", 3, 10, NULL, false },
	{ "", 0, 10, NULL, false },
};

static void
test_reader_strings(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(str_cases) / sizeof(str_cases[0]); i++) {
		const struct str_case *c = &str_cases[i];
		struct reader r;
		char *got;

		reader_init(&r, c->bytes, c->len);
		got = reader_str(&r, c->max);
		assert_int_equal(reader_ok(&r, true), c->ok);
		if (c->want == NULL)
			assert_null(got);
		else
			assert_string_equal(got, c->want);
		free(got);
	}
}

static void
test_reader_bytes(void **state)
{
	struct reader r;
	const uint8_t *at;
	size_t len;

	(void)state;
	reader_init(&r, "\0\0\0\0\0\0\0\2\0x\xff\xff\xff\xff", 14);
	at = reader_bytes(&r, 0, &len);
	assert_non_null(at);	/* empty is not absent */
	assert_int_equal(len, 0);
	at = reader_bytes(&r, 2, &len);
	assert_int_equal(len, 2);
	assert_memory_equal(at, "\0x", 2);
	assert_false(reader_ok(&r, true));	/* something is left */
	assert_true(reader_ok(&r, false));
	assert_null(reader_bytes(&r, 2, &len));
	assert_true(reader_ok(&r, true));
}

static void
test_absent_string(void **state)
{
	struct buf b;
	struct reader r;

	(void)state;
	buf_init(&b, 100);
	assert_int_equal(buf_put_str(&b, NULL), ST_OK);
	assert_int_equal(buf_put_str(&b, ""), ST_OK);
	reader_init(&r, buf_data(&b), b.len);
	assert_null(reader_str(&r, 10));
	assert_true(reader_ok(&r, false));
	free(reader_str(&r, 10));
	assert_true(reader_ok(&r, true));
	buf_clear(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_put_whole),
		cmocka_unit_test(test_reserve_commit),
		cmocka_unit_test(test_compaction),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_reader_truncated),
		cmocka_unit_test(test_reader_strings),
		cmocka_unit_test(test_reader_bytes),
		cmocka_unit_test(test_absent_string),
	};

	return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
