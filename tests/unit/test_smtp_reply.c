/*
 * Replies: every form that RFC 5321 4.2 allows, every way to break it, each
 * fed whole and one byte at a time, with the same result.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "smtpd-out/client/smtp_reply.h"

#define BYTES(s) (s), sizeof(s) - 1

static const struct reply_case {
	const char *bytes;
	size_t len;
	enum status st;
	int code;
	const char *enhanced;
	const char *text;
	size_t left;		/* bytes of the next reply */
} cases[] = {
	{ BYTES("250 ok\r\n"), ST_OK, 250, "", "ok", 0 },
	{ BYTES("250\r\n"), ST_OK, 250, "", "", 0 },
	{ BYTES("250 \r\n"), ST_OK, 250, "", "", 0 },
	{ BYTES("250 ok\n"), ST_OK, 250, "", "ok", 0 },
	{ BYTES("250-one\r\n250-two\r\n250 three\r\n"), ST_OK, 250, "",
		"one two three", 0 },
	{ BYTES("250-one\r\n250\r\n"), ST_OK, 250, "", "one ", 0 },
	{ BYTES("550 5.1.1 no such user\r\n"), ST_OK, 550, "5.1.1",
		"no such user", 0 },
	{ BYTES("550-5.7.1 a\r\n550-5.7.1 b\r\n550 5.7.1 c\r\n"), ST_OK, 550,
		"5.7.1", "a b c", 0 },
	{ BYTES("550 5.1.1\r\n"), ST_OK, 550, "5.1.1", "", 0 },
	/* another class, or not a code: text */
	{ BYTES("550 4.1.1 x\r\n"), ST_OK, 550, "", "4.1.1 x", 0 },
	{ BYTES("250 2.1 x\r\n"), ST_OK, 250, "", "2.1 x", 0 },
	{ BYTES("250 2.1234.5 x\r\n"), ST_OK, 250, "", "2.1234.5 x", 0 },
	{ BYTES("250 2.1.0000000000 x\r\n"), ST_OK, 250, "",
		"2.1.0000000000 x", 0 },
	{ BYTES("299 odd\r\n"), ST_OK, 299, "", "odd", 0 },
	{ BYTES("250 a\xc3\xa4\xff\r\n"), ST_OK, 250, "", "a\xc3\xa4\xff", 0 },
	/* the rest belongs to the next reply */
	{ BYTES("220 go\r\n250 injected\r\n"), ST_OK, 220, "", "go", 14 },
	{ BYTES("220 go\r\n\r\n"), ST_OK, 220, "", "go", 2 },
	/* unfinished */
	{ BYTES(""), ST_AGAIN, 0, "", "", 0 },
	{ BYTES("2"), ST_AGAIN, 0, "", "", 0 },
	{ BYTES("250 ok"), ST_AGAIN, 0, "", "", 0 },
	{ BYTES("250 ok\r"), ST_AGAIN, 0, "", "", 0 },
	{ BYTES("250-ok\r\n"), ST_AGAIN, 250, "", "ok", 0 },
	/* broken */
	{ BYTES("\r\n"), ST_PARSE, 0, "", "", 0 },
	{ BYTES("ok\r\n"), ST_PARSE, 0, "", "", 0 },
	{ BYTES("25\r\n"), ST_PARSE, 0, "", "", 0 },
	{ BYTES("25 x\r\n"), ST_PARSE, 0, "", "", 0 },
	{ BYTES("150 wait\r\n"), ST_PARSE, 0, "", "", 0 },
	{ BYTES("650 x\r\n"), ST_PARSE, 0, "", "", 0 },
	{ BYTES("2500 x\r\n"), ST_PARSE, 0, "", "", 0 },
	{ BYTES("250\tx\r\n"), ST_PARSE, 0, "", "", 0 },
	{ BYTES(" 250 x\r\n"), ST_PARSE, 0, "", "", 0 },
	{ BYTES("250-a\r\n550 b\r\n"), ST_PARSE, 0, "", "", 0 },
	{ BYTES("250-a\r\n\r\n"), ST_PARSE, 0, "", "", 0 },
	{ BYTES("250 a\rb\r\n"), ST_PARSE, 0, "", "", 0 },
	{ BYTES("250 a\r\r\n"), ST_PARSE, 0, "", "", 0 },
	{ BYTES("250 a\0b\r\n"), ST_PARSE, 0, "", "", 0 },
	{ BYTES("\0\0\0\r\n"), ST_PARSE, 0, "", "", 0 },
	{ BYTES("HTTP/1.1 400 Bad Request\r\n"), ST_PARSE, 0, "", "", 0 },
	{ BYTES("SSH-2.0-OpenSSH_9.2\r\n"), ST_PARSE, 0, "", "", 0 },
};

/* Feeds at most step bytes at a time. */
static enum status
feed(struct smtp_reply *r, const char *bytes, size_t len, size_t step,
	size_t *taken)
{
	enum status st = ST_AGAIN;
	size_t used;

	*taken = 0;
	while (*taken < len) {
		size_t n = len - *taken < step ? len - *taken : step;

		st = smtp_reply_feed(r, (const uint8_t *)bytes + *taken, n,
			&used);
		*taken += used;
		if (st != ST_AGAIN)
			return st;
		assert_int_equal(used, n);
	}
	return st;
}

static void
check_case(const struct reply_case *c, size_t step)
{
	struct smtp_reply r;
	char text[256];
	size_t taken;

	smtp_reply_init(&r);
	assert_int_equal(feed(&r, c->bytes, c->len, step, &taken), c->st);
	if (c->st == ST_OK) {
		assert_int_equal(r.code, c->code);
		assert_string_equal(r.enhanced, c->enhanced);
		smtp_reply_text(&r, text, sizeof(text));
		assert_string_equal(text, c->text);
		assert_int_equal(c->len - taken, c->left);
	}
	smtp_reply_clear(&r);
}

static void
test_forms(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t step = 1; step < 40; step++)
			check_case(&cases[i], step);
}

/* The second reply starts clean. */
static void
test_two(void **state)
{
	static const char bytes[] =
		"550-5.1.1 no\r\n550 5.1.1 no\r\n250 yes\r\n";
	struct smtp_reply r;
	char text[32];
	size_t taken, more;

	(void)state;
	smtp_reply_init(&r);
	assert_int_equal(feed(&r, BYTES(bytes), 7, &taken), ST_OK);
	assert_int_equal(r.code, 550);
	assert_int_equal(r.line_count, 2);
	assert_int_equal(feed(&r, bytes + taken, sizeof(bytes) - 1 - taken, 3,
		&more), ST_OK);
	assert_int_equal(r.code, 250);
	assert_string_equal(r.enhanced, "");
	smtp_reply_text(&r, text, sizeof(text));
	assert_string_equal(text, "yes");
	smtp_reply_clear(&r);
}

static enum status
feed_line(size_t text_len, size_t step)
{
	static char bytes[SMTP_REPLY_LINE_MAX * 4];
	struct smtp_reply r;
	enum status st;
	size_t taken;

	memset(bytes, 'x', sizeof(bytes));
	memcpy(bytes, "250 ", 4);
	memcpy(bytes + 4 + text_len, "\r\n", 2);
	smtp_reply_init(&r);
	st = feed(&r, bytes, text_len + 6, step, &taken);
	smtp_reply_clear(&r);
	return st;
}

static void
test_line_bound(void **state)
{
	static const size_t steps[] = { 1, 100, 100000 };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(feed_line(SMTP_REPLY_LINE_MAX - 6, steps[i]),
			ST_OK);
		assert_int_equal(feed_line(SMTP_REPLY_LINE_MAX - 5, steps[i]),
			ST_LIMIT);
		assert_int_equal(feed_line(SMTP_REPLY_LINE_MAX * 3, steps[i]),
			ST_LIMIT);
	}
}

/* Lines without end: the bounds of lines and of text both hold. */
static size_t
feed_endless(const char *line)
{
	struct smtp_reply r;
	size_t count = 0, used;

	smtp_reply_init(&r);
	while (smtp_reply_feed(&r, (const uint8_t *)line, strlen(line),
	    &used) == ST_AGAIN) {
		assert_true(r.text.len <= SMTP_REPLY_TEXT_MAX);
		assert_true(++count < 100000);
	}
	smtp_reply_clear(&r);
	return count;
}

static void
test_endless(void **state)
{
	char line[1030];

	(void)state;
	assert_int_equal(feed_endless("250-x\r\n"), SMTP_REPLY_LINES_MAX);
	memset(line, 'y', sizeof(line));
	memcpy(line, "250-", 4);
	memcpy(line + 1027, "\r\n", 3);
	assert_int_equal(feed_endless(line), SMTP_REPLY_TEXT_MAX / 1024);
}

static void
test_text_cut(void **state)
{
	struct smtp_reply r;
	char text[8];
	size_t taken;

	(void)state;
	smtp_reply_init(&r);
	assert_int_equal(feed(&r, BYTES("250-2.0.0 abcd\r\n250 2.0.0 efgh\r\n"),
		99, &taken), ST_OK);
	smtp_reply_text(&r, text, sizeof(text));
	assert_string_equal(text, "abcd ef");
	smtp_reply_text(&r, text, 1);
	assert_string_equal(text, "");
	smtp_reply_clear(&r);
}

static void
test_outcome(void **state)
{
	struct smtp_reply r;
	struct outcome o;
	size_t taken;

	(void)state;
	smtp_reply_init(&r);
	assert_int_equal(feed(&r, BYTES("452-4.5.3 too \x01many\r\n"
		"452 4.5.3 rcpts\r\n"), 99, &taken), ST_OK);
	o = smtp_reply_outcome(&r, SCOPE_RCPT, STAGE_RCPT);
	assert_int_equal(o.verdict, VERDICT_LATER);
	assert_int_equal(o.code, 452);
	assert_string_equal(o.enhanced, "4.5.3");
	assert_string_equal(o.text, "too ?many rcpts");
	assert_true(o.remote);
	smtp_reply_clear(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_two),
		cmocka_unit_test(test_line_bound),
		cmocka_unit_test(test_endless),
		cmocka_unit_test(test_text_cut),
		cmocka_unit_test(test_outcome),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
