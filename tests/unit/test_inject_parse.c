/*
 * Tables of MAIL, RCPT, BDAT and EHLO arguments, faults first.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "smtpd-out/inject/inject_parse.h"

#define LONG64 "1234567890123456789012345678901234567890" \
	"123456789012345678901234"
#define LONG63 "123456789012345678901234567890123456789012345678901234567890123"
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void
check(const char *args, int got, int want)
{
	if (got != want)
		fail_msg("\"%s\": reply %d \"%s\", wanted %d", args, got,
			inject_reply_row((enum inject_reply)got)->text, want);
}

static void
mail_faults(void **state)
{
	static const struct {
		const char *args;
		enum inject_reply want;
	} cases[] = {
		{ "", REPLY_MAIL_SYNTAX },
		{ " ", REPLY_MAIL_SYNTAX },
		{ " FROM", REPLY_MAIL_SYNTAX },
		{ " FROM:", REPLY_MAIL_SYNTAX },
		{ " FROM: ", REPLY_MAIL_SYNTAX },
		{ " TO:<a@b.example>", REPLY_MAIL_SYNTAX },
		{ " FROM:<a@b.example", REPLY_MAIL_SYNTAX },
		{ " FROM:<\"a>@b.example>", REPLY_MAIL_SYNTAX },
		{ " FROM:<a@b.example>SIZE=1", REPLY_MAIL_SYNTAX },
		{ " FROM:<a@b.example>>", REPLY_MAIL_SYNTAX },
		{ " FROM:<a@b.example> \001", REPLY_MAIL_SYNTAX },
		{ " FROM:<a\rb@b.example>", REPLY_MAIL_SYNTAX },
		{ " FROM:<a>", REPLY_SENDER_NO_DOMAIN },
		{ " FROM:<a@>", REPLY_SENDER_BAD },
		{ " FROM:<@b.example>", REPLY_SENDER_BAD },
		{ " FROM:<a b@b.example>", REPLY_SENDER_BAD },
		{ " FROM:<a@b@c.example>", REPLY_SENDER_BAD },
		{ " FROM:<a@b..example>", REPLY_SENDER_BAD },
		{ " FROM:<.a@b.example>", REPLY_SENDER_BAD },
		{ " FROM:<@x a@b.example>", REPLY_SENDER_BAD },
		{ " FROM:<@x,:a@b.example>", REPLY_SENDER_BAD },
		{ " FROM:<" LONG64 "5@b.example>", REPLY_SENDER_BAD },
		{ " FROM:<a@" LONG64 ".example>", REPLY_SENDER_BAD },
		{ " FROM:<a@b.example> FOO", REPLY_PARAM_UNKNOWN },
		{ " FROM:<a@b.example> REQUIRETLS=", REPLY_PARAM },
		{ " FROM:<a@b.example> REQUIRETLS=no", REPLY_PARAM },
		{ " FROM:<a@b.example> REQUIRETLS REQUIRETLS", REPLY_PARAM },
		{ " FROM:<a@b.example> AUTH=<>", REPLY_PARAM_UNKNOWN },
		{ " FROM:<a@b.example> NOTIFY=NEVER", REPLY_PARAM_UNKNOWN },
		{ " FROM:<a@b.example> =", REPLY_PARAM_UNKNOWN },
		{ " FROM:<a@b.example> SIZE", REPLY_PARAM },
		{ " FROM:<a@b.example> SIZE=", REPLY_PARAM },
		{ " FROM:<a@b.example> SIZE=-1", REPLY_PARAM },
		{ " FROM:<a@b.example> SIZE=1x", REPLY_PARAM },
		{ " FROM:<a@b.example> SIZE=123456789012345678901",
			REPLY_PARAM },
		{ " FROM:<a@b.example> SIZE=1 SIZE=1", REPLY_PARAM },
		{ " FROM:<a@b.example> BODY=BINARYMIME", REPLY_PARAM },
		{ " FROM:<a@b.example> BODY", REPLY_PARAM },
		{ " FROM:<a@b.example> SMTPUTF8=1", REPLY_PARAM },
		{ " FROM:<a@b.example> RET=ALL", REPLY_PARAM },
		{ " FROM:<a@b.example> ENVID=", REPLY_PARAM },
		{ " FROM:<a@b.example> ENVID=a+2", REPLY_PARAM },
		{ " FROM:<a@b.example> ENVID=a+00", REPLY_PARAM },
		{ " FROM:<a@b.example> ENVID=" LONG64 LONG64, REPLY_PARAM },
		{ " FROM:<\303\251@b.example>", REPLY_UTF8_SENDER },
		{ " FROM:<a@\303\251.example>", REPLY_UTF8_SENDER },
		{ " FROM:<\303@b.example> SMTPUTF8", REPLY_SENDER_BAD },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct inject_mail mail;

		check(cases[i].args, (int)inject_parse_mail(cases[i].args,
			&mail), (int)cases[i].want);
	}
}

static void
mail_good(void **state)
{
	static const struct {
		const char *args, *sender;
		uint64_t size;
		bool smtputf8;
		enum envelope_ret ret;
		const char *envid;
	} cases[] = {
		{ " FROM:<>", "", 0, false, RET_NONE, "" },
		{ " from:<a@B.example>", "a@B.example", 0, false, RET_NONE,
			"" },
		{ " FROM: <a@b.example>  SIZE=12", "a@b.example", 12, false,
			RET_NONE, "" },
		{ " FROM:a@b.example BODY=8bitmime", "a@b.example", 0, false,
			RET_NONE, "" },
		{ " FROM:<a@b.example> BODY=7BIT RET=full ENVID=Q+2B1",
			"a@b.example", 0, false, RET_FULL, "Q+2B1" },
		{ " FROM:<a@b.example> RET=HDRS\tSMTPUTF8", "a@b.example", 0,
			true, RET_HDRS, "" },
		{ " FROM:<@x.example,@y.example:a@b.example>", "a@b.example",
			0, false, RET_NONE, "" },
		{ " FROM:<\"a b>\\\"c\"@b.example>", "\"a b>\\\"c\"@b.example",
			0, false, RET_NONE, "" },
		{ " FROM:<a@[192.0.2.1]>", "a@[192.0.2.1]", 0, false,
			RET_NONE, "" },
		{ " FROM:<\303\251@b.example> SMTPUTF8", "\303\251@b.example",
			0, true, RET_NONE, "" },
		{ " FROM:<" LONG64 "@b.example>", LONG64 "@b.example", 0,
			false, RET_NONE, "" },
		{ " FROM:<a@b.example> SIZE=99999999999999999999",
			"a@b.example", UINT64_MAX, false, RET_NONE, "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct inject_mail mail;

		check(cases[i].args, (int)inject_parse_mail(cases[i].args,
			&mail), REPLY_NONE);
		assert_string_equal(mail.sender, cases[i].sender);
		assert_true(mail.size_bytes == cases[i].size);
		assert_int_equal(mail.smtputf8, cases[i].smtputf8);
		assert_int_equal(mail.ret, cases[i].ret);
		assert_string_equal(mail.envid, cases[i].envid);
	}
}

static void
rcpt_faults(void **state)
{
	static const struct {
		const char *args;
		enum inject_reply want;
	} cases[] = {
		{ "", REPLY_RCPT_SYNTAX },
		{ " FROM:<a@b.example>", REPLY_RCPT_SYNTAX },
		{ " TO:<a@b.example", REPLY_RCPT_SYNTAX },
		{ " TO:<a\001b@b.example>", REPLY_RCPT_SYNTAX },
		{ " TO:<>", REPLY_RCPT_BAD },
		{ " TO:<root>", REPLY_RCPT_NO_DOMAIN },
		{ " TO:<@x:root>", REPLY_RCPT_NO_DOMAIN },
		{ " TO:<@:a@b.example>", REPLY_RCPT_BAD },
		{ " TO:<a%b>", REPLY_RCPT_NO_DOMAIN },
		{ " TO:<a@b.example.>>", REPLY_RCPT_SYNTAX },
		{ " TO:<a@-.>", REPLY_NONE },	/* a name, if a strange one */
		{ " TO:<a@[1.2.3.4>", REPLY_RCPT_BAD },
		{ " TO:<a@[1.2 .3.4]>", REPLY_RCPT_BAD },
		{ " TO:<a@b.example> SIZE=1", REPLY_PARAM_UNKNOWN },
		{ " TO:<a@b.example> NOTIFY", REPLY_PARAM },
		{ " TO:<a@b.example> NOTIFY=", REPLY_PARAM },
		{ " TO:<a@b.example> NOTIFY=NEVER,DELAY", REPLY_PARAM },
		{ " TO:<a@b.example> NOTIFY=SUCCESS,", REPLY_PARAM },
		{ " TO:<a@b.example> NOTIFY=SUCCES", REPLY_PARAM },
		{ " TO:<a@b.example> ORCPT=rfc822", REPLY_PARAM },
		{ " TO:<a@b.example> ORCPT=;a", REPLY_PARAM },
		{ " TO:<a@b.example> ORCPT=rfc822;", REPLY_PARAM },
		{ " TO:<a@b.example> ORCPT=rfc822;a=b", REPLY_PARAM },
		{ " TO:<a@b.example> ORCPT=rfc822;a+2", REPLY_PARAM },
		{ " TO:<a@b.example> ORCPT=r@2;a", REPLY_PARAM },
		{ " TO:<a@b.example> ORCPT=utf-8;\303", REPLY_PARAM },
		{ " TO:<a@b.example> ORCPT=rfc822;a ORCPT=rfc822;a",
			REPLY_PARAM },
		{ " TO:<a@b.example> ORCPT=rfc822;" LONG64 LONG64 LONG64
			LONG64 LONG64 LONG64 LONG64 LONG64, REPLY_PARAM },
		{ " TO:<a@b.example> ORCPT=rfc822;" LONG64 LONG64 LONG64
			LONG64 LONG64 LONG64 LONG64 LONG64 LONG64 LONG64,
			REPLY_PARAM },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct inject_rcpt rcpt;

		check(cases[i].args, (int)inject_parse_rcpt(cases[i].args,
			"host.example", &rcpt), (int)cases[i].want);
	}
}

static void
rcpt_good(void **state)
{
	static const struct {
		const char *args, *address, *destination;
		unsigned notify;
		const char *orcpt;
	} cases[] = {
		{ " TO:<a@B.Example>", "a@B.Example", "b.example", 0, "" },
		{ " to: a@b.example.", "a@b.example.", "b.example", 0, "" },
		{ " TO:<Postmaster>", "Postmaster@host.example",
			"host.example", 0, "" },
		{ " TO:<@x,@y.z:Postmaster>", "Postmaster@host.example",
			"host.example", 0, "" },
		{ " TO:<@x.example:u@c.example>", "u@c.example", "c.example",
			0, "" },
		{ " TO:<u@[IPv6:2001:DB8::1]>", "u@[IPv6:2001:DB8::1]",
			"[ipv6:2001:db8::1]", 0, "" },
		{ " TO:<\"a@x\"@b.example>", "\"a@x\"@b.example", "b.example",
			0, "" },
		{ " TO:<u@b\303\274cher.example>", "u@b\303\274cher.example",
			"xn--bcher-kva.example", 0, "" },
		{ " TO:<a@b.example> NOTIFY=never", "a@b.example",
			"b.example", NOTIFY_NEVER, "" },
		{ " TO:<a@b.example> NOTIFY=SUCCESS,DELAY,FAILURE "
			"ORCPT=rfc822;a+2Bb@c", "a@b.example", "b.example",
			NOTIFY_SUCCESS | NOTIFY_DELAY | NOTIFY_FAILURE,
			"rfc822;a+2Bb@c" },
		{ " TO:<a@b.example> ORCPT=UTF-8;\\x{E9}@c", "a@b.example",
			"b.example", 0, "UTF-8;\\x{E9}@c" },
		{ " TO:<a@" LONG63 ".example>", "a@" LONG63 ".example",
			LONG63 ".example", 0, "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct inject_rcpt rcpt;

		check(cases[i].args, (int)inject_parse_rcpt(cases[i].args,
			"host.example", &rcpt), REPLY_NONE);
		assert_string_equal(rcpt.address, cases[i].address);
		assert_string_equal(rcpt.destination, cases[i].destination);
		assert_int_equal(rcpt.notify, cases[i].notify);
		assert_string_equal(rcpt.orcpt, cases[i].orcpt);
		assert_int_equal(rcpt.address[rcpt.local_len], '@');
	}
}

static void
bdat(void **state)
{
	static const struct {
		const char *args;
		enum inject_reply want;
		uint64_t size;
		bool last;
	} cases[] = {
		{ "", REPLY_BDAT_SYNTAX, 0, false },
		{ " LAST", REPLY_BDAT_SYNTAX, 0, false },
		{ " x", REPLY_BDAT_SYNTAX, 0, false },
		{ " -1", REPLY_BDAT_SYNTAX, 0, false },
		{ " 1x", REPLY_BDAT_SYNTAX, 0, false },
		{ " 1LAST", REPLY_BDAT_SYNTAX, 0, false },
		{ " 1 LAS", REPLY_BDAT_SYNTAX, 0, false },
		{ " 1 LAST 2", REPLY_BDAT_SYNTAX, 0, false },
		{ " 1 LASTX", REPLY_BDAT_SYNTAX, 0, false },
		{ " 1234567890123456789", REPLY_BDAT_SYNTAX, 0, false },
		{ " 123456789012345678", REPLY_NONE, 123456789012345678,
			false },
		{ " 0", REPLY_NONE, 0, false },
		{ " 0 LAST", REPLY_NONE, 0, true },
		{ " 12  last ", REPLY_NONE, 12, true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		uint64_t size = 0;
		bool last = false;

		check(cases[i].args, (int)inject_parse_bdat(cases[i].args,
			&size, &last), (int)cases[i].want);
		if (cases[i].want != REPLY_NONE)
			continue;
		assert_true(size == cases[i].size);
		assert_int_equal(last, cases[i].last);
	}
}

static void
helo(void **state)
{
	static const struct {
		const char *args, *want;	/* NULL: refused */
	} cases[] = {
		{ "", NULL },
		{ "  ", NULL },
		{ " a b", NULL },
		{ " a.example ", "a.example" },
		{ " [IPv6:::1]", "[IPv6:::1]" },
		{ " a)(;\001b", "a????b" },
		{ " \303\251.example", "??.example" },
		{ " " LONG64 LONG64 LONG64 LONG64, NULL },
		{ " " LONG64 LONG64 LONG64 LONG63, LONG64 LONG64 LONG64
			LONG63 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char name[INJECT_HELO_BYTES];
		enum inject_reply got = inject_parse_helo(cases[i].args, name);

		check(cases[i].args, (int)got, cases[i].want == NULL ?
			REPLY_HELLO_NAME : REPLY_NONE);
		if (cases[i].want != NULL)
			assert_string_equal(name, cases[i].want);
	}
}

/* Each reply can be sent: a code, a matching enhanced code, one line. */
static void
replies(void **state)
{
	(void)state;
	for (unsigned i = 0; i < REPLY_COUNT; i++) {
		const struct inject_reply_row *row =
			inject_reply_row((enum inject_reply)i);

		assert_in_range(row->code, 200, 599);
		assert_non_null(row->text);
		assert_true(strlen(row->text) < 80);
		if (row->enhanced == NULL)
			continue;
		assert_true(str_is_enhanced_code(row->enhanced));
		assert_int_equal(row->enhanced[0], '0' + row->code / 100);
	}
	assert_non_null(inject_reply_row((enum inject_reply)9999)->text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mail_faults),
		cmocka_unit_test(mail_good),
		cmocka_unit_test(rcpt_faults),
		cmocka_unit_test(rcpt_good),
		cmocka_unit_test(bdat),
		cmocka_unit_test(helo),
		cmocka_unit_test(replies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
