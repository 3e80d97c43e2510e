/*
 * Bodies: what goes in comes out after the receiver has taken off the dots or
 * the chunk heads, from memory and from a file, at every size around the
 * block border; and nothing but the end looks like the end.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "smtpd-out/client/smtp_data.h"

#define WIRE_MAX (16U * 1024 * 1024)

/* Runs a source to its end into wire. */
static enum status
drain(const struct session_body *body, enum smtp_data_form form,
	struct buf *wire)
{
	struct smtp_data d;
	struct buf out;
	enum status st;

	smtp_data_init(&d, body, form);
	buf_init(&out, SMTP_DATA_ROOM(SMTP_DATA_BLOCK));
	do {
		st = smtp_data_next(&d, &out);
		assert_int_equal(buf_put(wire, buf_data(&out), out.len), ST_OK);
		buf_drain(&out, out.len);
	} while (st == ST_OK);
	buf_clear(&out);
	return st;
}

/* The receiver's side of RFC 5321 4.5.2, strict: the one CRLF.CRLF is last,
 * and no CR or LF stands alone. */
static void
unstuff(const struct buf *wire, struct buf *got)
{
	const uint8_t *p = buf_data(wire), *end = p + wire->len;

	for (;;) {
		const uint8_t *lf = memchr(p, '\n', (size_t)(end - p));

		assert_non_null(lf);
		assert_true(lf > p && lf[-1] == '\r');
		assert_null(memchr(p, '\r', (size_t)(lf - 1 - p)));
		if (lf - p == 2 && *p == '.')
			break;
		if (*p == '.')
			p++;
		assert_int_equal(buf_put(got, p, (size_t)(lf + 1 - p)), ST_OK);
		p = lf + 1;
	}
	assert_ptr_equal(p + 3, end);
}

static void
unchunk(const struct buf *wire, struct buf *got)
{
	const char *p = (const char *)buf_data(wire), *end = p + wire->len;
	bool last = false;

	while (!last) {
		size_t n;
		int head = 0;
		char line[64] = "";
		const char *lf = memchr(p, '\n', (size_t)(end - p));

		assert_non_null(lf);
		assert_true(lf - p < 60);
		memcpy(line, p, (size_t)(lf - p));
		assert_int_equal(sscanf(line, "BDAT %zu%n", &n, &head), 1);
		last = strcmp(line + head, " LAST\r") == 0;
		assert_true(last || strcmp(line + head, "\r") == 0);
		assert_true(n <= (size_t)(end - lf - 1));
		assert_int_equal(buf_put(got, lf + 1, n), ST_OK);
		p = lf + 1 + n;
	}
	assert_ptr_equal(p, end);
}

static int
file_of(const uint8_t *bytes, size_t len)
{
	char path[] = "/tmp/test_smtp_data.XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	for (size_t at = 0; at < len;) {
		ssize_t n = write(fd, bytes + at, len - at);

		assert_true(n > 0);
		at += (size_t)n;
	}
	return fd;
}

static void
check_one(const struct session_body *body, enum smtp_data_form form,
	const uint8_t *want, size_t want_len)
{
	struct buf wire, got;

	buf_init(&wire, WIRE_MAX);
	buf_init(&got, WIRE_MAX);
	assert_int_equal(drain(body, form, &wire), ST_EOF);
	(form == SMTP_DATA_DOT ? unstuff : unchunk)(&wire, &got);
	assert_int_equal(got.len, want_len);
	assert_memory_equal(buf_data(&got), want, want_len);
	buf_clear(&wire);
	buf_clear(&got);
}

/* All four ways. */
static void
check(const uint8_t *in, size_t len, const uint8_t *want, size_t want_len)
{
	struct session_body memory = { .data = in, .fd = -1,
		.size_bytes = len };
	struct session_body file = { .fd = file_of(in, len),
		.size_bytes = len };

	check_one(&memory, SMTP_DATA_DOT, want, want_len);
	check_one(&memory, SMTP_DATA_CHUNK, want, want_len);
	check_one(&file, SMTP_DATA_DOT, want, want_len);
	check_one(&file, SMTP_DATA_CHUNK, want, want_len);
	/* pread leaves the descriptor where it was */
	assert_int_equal(lseek(file.fd, 0, SEEK_CUR), (off_t)len);
	(void)close(file.fd);
}

static void
test_table(void **state)
{
	static const struct {
		const char *in, *want;
	} rows[] = {
		{ "", "" },
		{ "a\r\n", "a\r\n" },
		{ "a", "a\r\n" },
		{ ".", ".\r\n" },
		{ ".\r\n", ".\r\n" },
		{ "..\r\n.\r\n", "..\r\n.\r\n" },
		{ "a\r\n.\r\nb\r\n", "a\r\n.\r\nb\r\n" },
		{ "\r\n", "\r\n" },
		{ "\r\n.", "\r\n.\r\n" },
		{ "a\r\n.\r\n.\r\n.", "a\r\n.\r\n.\r\n.\r\n" },
		/* lone CR and LF leave as CRLF: nothing to smuggle with */
		{ "a\n.\nb", "a\r\n.\r\nb\r\n" },
		{ "a\r.\rb", "a\r\n.\r\nb\r\n" },
		{ "a\r", "a\r\n" },
		{ "a\n", "a\r\n" },
		{ "a\r\r\nb\n\rc", "a\r\n\r\nb\r\n\r\nc\r\n" },
		{ "a\n.\r\nMAIL FROM:<>\r\n", "a\r\n.\r\nMAIL FROM:<>\r\n" },
		{ "8bit \xff\xfe\x80\r\n", "8bit \xff\xfe\x80\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check((const uint8_t *)rows[i].in, strlen(rows[i].in),
			(const uint8_t *)rows[i].want, strlen(rows[i].want));
}

static void
test_wire_form(void **state)
{
	struct session_body body = { .fd = -1 };
	struct buf wire;

	(void)state;
	body.data = (const uint8_t *)".a\r\n..\r\nb";
	body.size_bytes = 9;
	buf_init(&wire, 256);
	assert_int_equal(drain(&body, SMTP_DATA_DOT, &wire), ST_EOF);
	assert_int_equal(wire.len, 16);
	assert_memory_equal(buf_data(&wire), "..a\r\n...\r\nb\r\n.\r\n", 16);
	buf_drain(&wire, wire.len);
	assert_int_equal(drain(&body, SMTP_DATA_CHUNK, &wire), ST_EOF);
	assert_memory_equal(buf_data(&wire),
		"BDAT 11 LAST\r\n.a\r\n..\r\nb\r\n", wire.len);
	buf_drain(&wire, wire.len);
	body.size_bytes = 0;
	assert_int_equal(drain(&body, SMTP_DATA_CHUNK, &wire), ST_EOF);
	assert_int_equal(wire.len, 13);
	assert_memory_equal(buf_data(&wire), "BDAT 0 LAST\r\n", 13);
	buf_clear(&wire);
}

/* CRLF lines of every length up to 998 with dots in front, until len. */
static uint8_t *
make_lines(size_t len, unsigned seed)
{
	uint8_t *bytes = xmalloc(len + 1);
	size_t at = 0, line = seed;

	while (at < len) {
		size_t n = line++ % 999;

		for (size_t i = 0; i < n && at < len; i++)
			bytes[at++] = i < line % 4 ? '.' :
				(uint8_t)(32 + (i * 7 + line) % 224);
		if (at + 2 > len) {
			while (at < len)
				bytes[at++] = 'z';
			break;
		}
		bytes[at++] = '\r';
		bytes[at++] = '\n';
	}
	return bytes;
}

static void
check_lines(size_t len, unsigned seed)
{
	uint8_t *in = make_lines(len, seed);
	uint8_t *want = xmalloc(len + 2);
	size_t want_len = len;

	memcpy(want, in, len);
	if (len < 2 || memcmp(in + len - 2, "\r\n", 2) != 0) {
		memcpy(want + len, "\r\n", 2);
		want_len += 2;
	}
	check(in, len, want, want_len);
	mem_free(&in);
	mem_free(&want);
}

static void
test_borders(void **state)
{
	(void)state;
	for (size_t d = 0; d < 8; d++)
		for (unsigned seed = 0; seed < 3; seed++) {
			check_lines(SMTP_DATA_BLOCK - 4 + d, seed);
			check_lines(2 * SMTP_DATA_BLOCK - 4 + d, seed + 500);
		}
	check_lines(5 * 1024 * 1024, 1);
}

/* CR, LF and dot around the border of two blocks, in every arrangement. */
static void
test_split_marks(void **state)
{
	static const char marks[] = "\r\n.x";
	size_t len = SMTP_DATA_BLOCK + 3;
	uint8_t *in = xmalloc(len);

	(void)state;
	memset(in, 'x', len);
	for (unsigned n = 0; n < 4 * 4 * 4 * 4 * 4 * 4; n += 1) {
		struct session_body body = { .data = in, .fd = -1,
			.size_bytes = len };
		struct buf wire, a, b;
		unsigned v = n;

		for (size_t i = 0; i < 6; i++, v /= 4)
			in[SMTP_DATA_BLOCK - 3 + i] = (uint8_t)marks[v % 4];
		buf_init(&wire, WIRE_MAX);
		buf_init(&a, WIRE_MAX);
		buf_init(&b, WIRE_MAX);
		assert_int_equal(drain(&body, SMTP_DATA_DOT, &wire), ST_EOF);
		unstuff(&wire, &a);
		buf_drain(&wire, wire.len);
		assert_int_equal(drain(&body, SMTP_DATA_CHUNK, &wire), ST_EOF);
		unchunk(&wire, &b);
		assert_int_equal(a.len, b.len);
		assert_memory_equal(buf_data(&a), buf_data(&b), a.len);
		buf_clear(&wire);
		buf_clear(&a);
		buf_clear(&b);
	}
	mem_free(&in);
}

/* Worst expansion of a block fits in the room that is promised. */
static void
test_room(void **state)
{
	size_t len = 3 * SMTP_DATA_BLOCK;
	uint8_t *in = xmalloc(len);
	struct session_body body = { .data = in, .fd = -1, .size_bytes = len };
	struct buf wire;

	(void)state;
	for (size_t i = 0; i < len; i++)
		in[i] = i % 2 ? '.' : '\n';
	buf_init(&wire, WIRE_MAX);
	assert_int_equal(drain(&body, SMTP_DATA_DOT, &wire), ST_EOF);
	assert_int_equal(drain(&body, SMTP_DATA_CHUNK, &wire), ST_EOF);
	buf_clear(&wire);
	mem_free(&in);
}

/* A file that is shorter than promised, or gone, gives no end mark. */
static void
test_read_failure(void **state)
{
	size_t len = SMTP_DATA_BLOCK + 10;
	uint8_t *in = make_lines(len, 7);
	int fd = file_of(in, len);
	struct session_body body = { .fd = fd, .size_bytes = len + 1 };

	(void)state;
	for (int form = SMTP_DATA_DOT; form <= SMTP_DATA_CHUNK; form++) {
		struct buf wire;

		buf_init(&wire, WIRE_MAX);
		assert_int_equal(drain(&body, (enum smtp_data_form)form,
			&wire), ST_SYS);
		assert_true(wire.len >= SMTP_DATA_BLOCK);
		assert_null(memmem(buf_data(&wire), wire.len, "LAST", 4));
		assert_null(memmem(buf_data(&wire), wire.len, "\r\n.\r\n", 5));
		buf_clear(&wire);
	}
	(void)close(fd);
	body.fd = -1;
	body.size_bytes = 1;
	for (int form = SMTP_DATA_DOT; form <= SMTP_DATA_CHUNK; form++) {
		struct buf wire;

		buf_init(&wire, WIRE_MAX);
		assert_int_equal(drain(&body, (enum smtp_data_form)form,
			&wire), ST_SYS);
		assert_int_equal(wire.len, 0);
		buf_clear(&wire);
	}
	mem_free(&in);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_wire_form),
		cmocka_unit_test(test_borders),
		cmocka_unit_test(test_split_marks),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_read_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
