/*
 * Commands, capabilities and the flight of unanswered commands.  What must
 * never happen: an argument that ends its command.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "smtpd-out/client/smtp_command.h"

#define ALL_CAPS 1023U

static void
assert_buf(const struct buf *b, const char *want)
{
	char got[4096];

	assert_true(b->len < sizeof(got));
	memcpy(got, buf_data(b), b->len);
	got[b->len] = '\0';
	assert_string_equal(got, want);
}

/* ---- capabilities ---- */

static const struct caps_case {
	const char *reply;
	unsigned flags;
	uint64_t size_max;
	unsigned rcpt_max, mail_max;
} caps_cases[] = {
	{ "250 mx.example\r\n", 0, 0, 0, 0 },
	/* the first line is a name, whatever it looks like */
	{ "250-STARTTLS\r\n250 DSN\r\n", SMTP_CAP_DSN, 0, 0, 0 },
	{ "250-a\r\n250-pipelining\r\n250-Size 1000\r\n250 StartTLS\r\n",
		SMTP_CAP_PIPELINING | SMTP_CAP_SIZE | SMTP_CAP_STARTTLS,
		1000, 0, 0 },
	{ "250-a\r\n250 SIZE\r\n", SMTP_CAP_SIZE, 0, 0, 0 },
	{ "250-a\r\n250 SIZE 0\r\n", SMTP_CAP_SIZE, 0, 0, 0 },
	{ "250-a\r\n250 SIZE 99999999999999999999999\r\n", SMTP_CAP_SIZE, 0,
		0, 0 },
	{ "250-a\r\n250 SIZE -5\r\n", SMTP_CAP_SIZE, 0, 0, 0 },
	{ "250-a\r\n250-STARTTLSX\r\n250-XSTARTTLS\r\n250 START TLS\r\n", 0,
		0, 0, 0 },
	{ "250-a\r\n250-  DSN  \r\n250 \r\n", SMTP_CAP_DSN, 0, 0, 0 },
	{ "250-a\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n"
	  "250-ENHANCEDSTATUSCODES\r\n250 REQUIRETLS\r\n",
		SMTP_CAP_8BITMIME | SMTP_CAP_SMTPUTF8 | SMTP_CAP_CHUNKING |
		SMTP_CAP_ENHANCED | SMTP_CAP_REQUIRETLS, 0, 0, 0 },
	{ "250-a\r\n250 LIMITS RCPTMAX=20 MAILMAX=5 RCPTDOMAINMAX=1 X\r\n",
		SMTP_CAP_LIMITS, 0, 20, 5 },
	{ "250-a\r\n250 LIMITS RCPTMAX=0 MAILMAX= rcptmax=x =3 mailmax=9\r\n",
		SMTP_CAP_LIMITS, 0, 0, 9 },
	{ "250-a\r\n250 LIMITS RCPTMAX=99999999999\r\n", SMTP_CAP_LIMITS, 0,
		UINT32_MAX, 0 },
};

static void
test_caps(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(caps_cases) / sizeof(caps_cases[0]);
	    i++) {
		const struct caps_case *c = &caps_cases[i];
		struct smtp_caps caps;
		struct smtp_reply r;
		size_t used;

		memset(&caps, 0xff, sizeof(caps));
		smtp_reply_init(&r);
		assert_int_equal(smtp_reply_feed(&r,
			(const uint8_t *)c->reply, strlen(c->reply), &used),
			ST_OK);
		smtp_caps_parse(&caps, &r);
		assert_int_equal(caps.flags, c->flags);
		assert_int_equal(caps.size_max, c->size_max);
		assert_int_equal(caps.rcpt_max, c->rcpt_max);
		assert_int_equal(caps.mail_max, c->mail_max);
		smtp_reply_clear(&r);
	}
}

/* ---- plain commands ---- */

static void
test_plain(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	assert_int_equal(smtp_command(&b, SMTP_VERB_EHLO, "me.example"), ST_OK);
	assert_int_equal(smtp_command(&b, SMTP_VERB_STARTTLS, NULL), ST_OK);
	assert_int_equal(smtp_command(&b, SMTP_VERB_QUIT, NULL), ST_OK);
	assert_buf(&b, "EHLO me.example\r\nSTARTTLS\r\nQUIT\r\n");
	assert_int_equal(smtp_command(&b, SMTP_VERB_EHLO, "a\r\nb"), ST_PARSE);
	assert_int_equal(smtp_command(&b, SMTP_VERB_EHLO, ""), ST_PARSE);
	assert_int_equal(b.len, 33);
	buf_clear(&b);
	buf_init(&b, 5);
	assert_int_equal(smtp_command(&b, SMTP_VERB_RSET, NULL), ST_LIMIT);
	assert_int_equal(b.len, 0);
}

/* ---- MAIL and RCPT ---- */

static const struct mail_case {
	unsigned caps;
	struct session_txn txn;
	enum status st;
	const char *line;
} mail_cases[] = {
	{ 0, { .sender = "a@b.example", .flags = ENVELOPE_8BITMIME,
		.ret = RET_FULL, .envid = "x" }, ST_OK,
		"MAIL FROM:<a@b.example>\r\n" },
	{ 0, { .sender = "" }, ST_OK, "MAIL FROM:<>\r\n" },
	{ ALL_CAPS, { .sender = "a@b.example", .body.size_bytes = 1234 },
		ST_OK, "MAIL FROM:<a@b.example> SIZE=1234\r\n" },
	{ ALL_CAPS, { .sender = "a@b.example", .flags = ENVELOPE_8BITMIME |
		ENVELOPE_SMTPUTF8 | ENVELOPE_REQUIRETLS, .ret = RET_HDRS,
		.envid = "q+2B1" }, ST_OK,
		"MAIL FROM:<a@b.example> SIZE=0 BODY=8BITMIME SMTPUTF8 "
		"REQUIRETLS RET=HDRS ENVID=q+2B1\r\n" },
	{ SMTP_CAP_DSN, { .sender = "a@b.example", .ret = RET_FULL }, ST_OK,
		"MAIL FROM:<a@b.example> RET=FULL\r\n" },
	{ SMTP_CAP_SMTPUTF8, { .sender = "\xc3\xa4@b.example" }, ST_OK,
		"MAIL FROM:<\xc3\xa4@b.example> SMTPUTF8\r\n" },
	{ 0, { .sender = "\"a <b> c\\\"\"@d.example" }, ST_OK,
		"MAIL FROM:<\"a <b> c\\\"\"@d.example>\r\n" },
	{ 0, { .sender = "a@b> X=<y" }, ST_PARSE, "" },
	{ 0, { .sender = "a@b\r\nRCPT TO:<x@y>" }, ST_PARSE, "" },
	{ 0, { .sender = "\"a\n\"@b.example" }, ST_PARSE, "" },
	{ 0, { .sender = "\"a\\\n\"@b.example" }, ST_PARSE, "" },
	{ 0, { .sender = "\"a@b.example" }, ST_PARSE, "" },
	{ 0, { .sender = "\"a\\" }, ST_PARSE, "" },
	{ ALL_CAPS, { .sender = "a@b.example", .envid = "a b" }, ST_PARSE, "" },
	{ ALL_CAPS, { .sender = "a@b.example", .envid = "a\rb" }, ST_PARSE,
		"" },
	{ ALL_CAPS, { .sender = "a@b.example", .envid = "" }, ST_PARSE, "" },
};

static void
test_mail(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(mail_cases) / sizeof(mail_cases[0]);
	    i++) {
		const struct mail_case *c = &mail_cases[i];
		struct smtp_caps caps = { .flags = c->caps };
		struct buf b;

		buf_init(&b, 4096);
		assert_int_equal(smtp_command_mail(&b, &caps, &c->txn), c->st);
		assert_buf(&b, c->line);
		buf_clear(&b);
	}
}

static const struct rcpt_case {
	unsigned caps;
	struct session_rcpt rcpt;
	enum status st;
	const char *line;
} rcpt_cases[] = {
	{ 0, { .address = "a@b.example", .orcpt = "rfc822;a@b.example",
		.notify = NOTIFY_NEVER }, ST_OK, "RCPT TO:<a@b.example>\r\n" },
	{ ALL_CAPS, { .address = "a@b.example" }, ST_OK,
		"RCPT TO:<a@b.example>\r\n" },
	{ ALL_CAPS, { .address = "a@b.example", .notify = NOTIFY_NEVER |
		NOTIFY_SUCCESS }, ST_OK,
		"RCPT TO:<a@b.example> NOTIFY=NEVER\r\n" },
	{ ALL_CAPS, { .address = "a@b.example", .orcpt = "rfc822;c+2Bd@e",
		.notify = NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY },
		ST_OK, "RCPT TO:<a@b.example> NOTIFY=SUCCESS,FAILURE,DELAY "
		"ORCPT=rfc822;c+2Bd@e\r\n" },
	{ ALL_CAPS, { .address = "a@b.example", .notify = NOTIFY_DELAY },
		ST_OK, "RCPT TO:<a@b.example> NOTIFY=DELAY\r\n" },
	{ ALL_CAPS, { .address = "a@b.example", .notify = 64 }, ST_OK,
		"RCPT TO:<a@b.example>\r\n" },
	{ 0, { .address = "" }, ST_PARSE, "" },
	{ 0, { .address = "a@b>\r\nDATA" }, ST_PARSE, "" },
	{ 0, { .address = "a b@c" }, ST_PARSE, "" },
	{ 0, { .address = "a@b\x7f" }, ST_PARSE, "" },
	{ ALL_CAPS, { .address = "a@b.example", .orcpt = "x\r\nDATA" },
		ST_PARSE, "" },
};

static void
test_rcpt(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rcpt_cases) / sizeof(rcpt_cases[0]);
	    i++) {
		const struct rcpt_case *c = &rcpt_cases[i];
		struct smtp_caps caps = { .flags = c->caps };
		struct buf b;

		buf_init(&b, 4096);
		assert_int_equal(smtp_command_rcpt(&b, &caps, &c->rcpt),
			c->st);
		assert_buf(&b, c->line);
		buf_clear(&b);
	}
}

static void
test_needs_utf8(void **state)
{
	struct session_rcpt rcpts[] = {
		{ .address = "a@b.example" },
		{ .address = "\xc3\xa4@b.example" },
	};
	struct session_txn txn = { .sender = "", .rcpts = rcpts,
		.rcpt_count = 1 };

	(void)state;
	assert_false(smtp_needs_utf8(&txn));
	txn.rcpt_count = 2;
	assert_true(smtp_needs_utf8(&txn));
	txn.rcpt_count = 1;
	txn.flags = ENVELOPE_SMTPUTF8;
	assert_true(smtp_needs_utf8(&txn));
}

/* ---- flight ---- */

static void
test_flight(void **state)
{
	struct smtp_flight f = { .count = 0 };

	(void)state;
	assert_int_equal(smtp_flight_peek(&f).verb, SMTP_VERB_NONE);
	assert_int_equal(smtp_flight_pop(&f).verb, SMTP_VERB_NONE);
	for (size_t round = 0; round < 5; round++) {
		for (size_t i = 0; i < SMTP_FLIGHT_MAX; i++) {
			assert_false(smtp_flight_full(&f));
			smtp_flight_push(&f, SMTP_VERB_RCPT, i);
		}
		assert_true(smtp_flight_full(&f));
		for (size_t i = 0; i < SMTP_FLIGHT_MAX - round; i++)
			assert_int_equal(smtp_flight_pop(&f).rcpt, i);
		while (f.count > 0)
			(void)smtp_flight_pop(&f);
		smtp_flight_push(&f, SMTP_VERB_DATA, 0);
		assert_int_equal(smtp_flight_peek(&f).verb, SMTP_VERB_DATA);
		assert_int_equal(smtp_flight_pop(&f).verb, SMTP_VERB_DATA);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_caps),
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_mail),
		cmocka_unit_test(test_rcpt),
		cmocka_unit_test(test_needs_utf8),
		cmocka_unit_test(test_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
