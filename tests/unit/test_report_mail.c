/*
 * The mail of a report: addresses and names that would break its header, and
 * the mail of others, cut and bent in every way.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "policy/tlsrpt_doc.h"
#include "smtpd-out/mail/mime.h"
#include "smtpd-out/mail/report_mail.h"
#include "tests/unit/report_sample.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define BIG (1U << 20)

static struct tlsrpt_report report;

static struct report_mail
input(const char *const *to)
{
	return (struct report_mail){ .report = &report,
		.submitter = "s.example", .from = "f@s.example", .to = to,
		.to_count = 1, .now_s = SAMPLE_DAY };
}

static enum status
format(const struct report_mail *in, struct buf *out)
{
	buf_clear(out);
	return report_mail_format(in, out);
}

static void
test_refused(void **state)
{
	static const char *const bad[] = { "", "a", "a@b@c d",
		"a@b.example\r\nBcc: x@y.example", "<a@b.example>",
		"a@b.example>,<x@y.example",
		"a b@c.example", "\x01@b.example" };
	const char *to = "t@r.example";
	struct report_mail in = input(&to);
	struct buf out;

	(void)state;
	report_sample(&report);
	buf_init(&out, BIG);
	assert_int_equal(format(&in, &out), ST_OK);
	for (size_t i = 0; i < COUNT(bad); i++) {
		in = input(&bad[i]);
		assert_int_equal(format(&in, &out), ST_PARSE);
		assert_int_equal(out.len, 0);
		in = input(&to);
		in.from = bad[i];
		assert_int_equal(format(&in, &out), ST_PARSE);
		in = input(&to);
		in.submitter = bad[i];
		if (strcmp(bad[i], "a") != 0)
			assert_int_equal(format(&in, &out), ST_PARSE);
	}
	in = input(&to);
	in.to_count = 0;
	assert_int_equal(format(&in, &out), ST_PARSE);
	in = input(&to);
	report.id[0] = '>';
	assert_int_equal(format(&in, &out), ST_PARSE);
	report.id[0] = '\n';
	assert_int_equal(format(&in, &out), ST_PARSE);
	report.id[0] = '2';
	report.domain[0] = ' ';
	assert_int_equal(format(&in, &out), ST_PARSE);
	report.domain[0] = 'r';
	buf_clear(&out);
	out.max_bytes = 2000;
	assert_int_equal(format(&in, &out), ST_LIMIT);
	assert_int_equal(out.len, 0);
	buf_clear(&out);
	tlsrpt_report_clear(&report);
}

/* What a peer said cannot end a part, whatever it is. */
static void
test_hostile_words(void **state)
{
	const char *to = "t@r.example";
	struct report_mail_facts facts;
	struct report_mail in = input(&to);
	struct buf out, doc;

	(void)state;
	report_sample(&report);
	report_sample_fail(&report, TLS_FAILURE_STARTTLS, "x\r\n\r\n--=_tlsrpt",
		"\r\n--=_tlsrpt.0\r\n\r\n.\r\n");
	buf_init(&out, BIG);
	buf_init(&doc, BIG);
	assert_int_equal(format(&in, &out), ST_OK);
	assert_int_equal(buf_put(&out, "", 1), ST_OK);
	assert_null(strstr((const char *)buf_data(&out), "\n.\r\n"));
	assert_null(strstr((const char *)buf_data(&out), "\n--=_tlsrpt.0"));
	assert_int_equal(report_mail_find(buf_data(&out), out.len - 1, &doc,
		&facts), ST_OK);
	assert_true(tlsrpt_is_gzip(buf_data(&doc), doc.len));
	assert_string_equal(facts.domain, "rcpt.example");
	assert_string_equal(facts.submitter, "s.example");
	buf_clear(&out);
	buf_clear(&doc);
	tlsrpt_report_clear(&report);
}

static enum status
find(const char *mail, struct buf *doc)
{
	struct report_mail_facts facts;

	buf_clear(doc);
	return report_mail_find(mail, strlen(mail), doc, &facts);
}

#define JSON_PART "Content-Type: application/tlsrpt+json\n\n{}"

static void
test_find(void **state)
{
	static const struct {
		const char *mail;
		enum status st;
		const char *doc;
	} cases[] = {
		{ JSON_PART, ST_OK, "{}" },
		{ "content-type:\n application/TLSRPT+json; x=y\n\n{}", ST_OK,
		    "{}" },
		{ "Content-Type: application/tlsrpt+json\r\n"
		    "Content-Transfer-Encoding: base64\r\n\r\ne3\r\n0=", ST_OK,
		    "{}" },
		{ "Content-Type: application/tlsrpt+json\n"
		    "Content-Transfer-Encoding: quoted-printable\n\n=7B=\n=7d",
		    ST_OK, "{}" },
		{ "Content-Type: application/tlsrpt+json\n"
		    "Content-Transfer-Encoding: x-uuencode\n\n{}", ST_PARSE,
		    "" },
		{ "Content-Type: multipart/report; boundary=b\n\n--b\n"
		    "Content-Type: text/plain\n\nx\n--b\n" JSON_PART "\n--b--",
		    ST_OK, "{}" },
		{ "Content-Type: multipart/report; boundary=\"b c\"\n\n"
		    "--b c\r\n" JSON_PART "\r\n--b c--\r\n", ST_OK, "{}" },
		/* The end of the message ends a part. */
		{ "Content-Type: multipart/report; boundary=b\n\n--b\n"
		    JSON_PART, ST_OK, "{}" },
		/* A longer boundary is another one. */
		{ "Content-Type: multipart/report; boundary=b\n\n--bb\n"
		    JSON_PART "\n--bb--", ST_NOENT, "" },
		{ "Content-Type: multipart/report\n\n--b\n" JSON_PART,
		    ST_NOENT, "" },
		{ "Content-Type: multipart/mixed; boundary=\"\"\n\n--\n"
		    JSON_PART, ST_NOENT, "" },
		{ "Content-Type: text/plain\n\n{}", ST_NOENT, "" },
		{ "\n{}", ST_NOENT, "" },
		{ "", ST_NOENT, "" },
		{ "From me\n" JSON_PART, ST_OK, "{}" },
		{ "Content-Type: message/rfc822\n\n" JSON_PART, ST_OK, "{}" },
		{ "Content-Type: application/json; name=a.json\n\n{}", ST_OK,
		    "{}" },
		{ "Content-Type: application/json\nContent-Disposition: "
		    "attachment; filename=\"a\\\"b.json\"\n\n{}", ST_OK,
		    "{}" },
		{ "Content-Type: application/json\n\n{}", ST_NOENT, "" },
		/* The right type counts more than a name before it. */
		{ "Content-Type: multipart/mixed; boundary=b\n\n--b\n"
		    "Content-Type: application/json; name=a.json\n\n[]\n--b\n"
		    JSON_PART "\n--b--", ST_OK, "{}" },
	};
	struct buf doc;

	(void)state;
	buf_init(&doc, BIG);
	for (size_t i = 0; i < COUNT(cases); i++) {
		if (find(cases[i].mail, &doc) != cases[i].st ||
		    doc.len != strlen(cases[i].doc) ||
		    memcmp(buf_data(&doc) == NULL ? (const uint8_t *)"" :
		    buf_data(&doc), cases[i].doc, doc.len) != 0)
			fail_msg("%zu: %s", i, cases[i].mail);
	}
	buf_clear(&doc);
	doc.max_bytes = 1;
	assert_int_equal(find(JSON_PART, &doc), ST_LIMIT);
	buf_clear(&doc);
}

/* Parts within parts, and many of them, end at a bound and in no time. */
static void
test_deep_and_many(void **state)
{
	struct buf mail, doc;
	struct report_mail_facts facts;

	(void)state;
	buf_init(&mail, 8 << 20);
	buf_init(&doc, BIG);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(buf_printf(&mail, "Content-Type: "
			"multipart/mixed; boundary=b%d\n\n--b%d\n", i, i),
			ST_OK);
	assert_int_equal(buf_puts(&mail, JSON_PART), ST_OK);
	assert_int_equal(report_mail_find(buf_data(&mail), mail.len, &doc,
		&facts), ST_NOENT);
	buf_clear(&mail);
	assert_int_equal(buf_puts(&mail, "Content-Type: multipart/mixed; "
		"boundary=b\n\n"), ST_OK);
	for (int i = 0; i < 100000; i++)
		assert_int_equal(buf_puts(&mail, "--b\n\nx\n"), ST_OK);
	assert_int_equal(buf_puts(&mail, "--b\n" JSON_PART), ST_OK);
	assert_int_equal(report_mail_find(buf_data(&mail), mail.len, &doc,
		&facts), ST_NOENT);
	buf_clear(&mail);
	buf_clear(&doc);
}

/* Our own mail, cut at every byte. */
static void
test_cut(void **state)
{
	const char *to = "t@r.example";
	struct report_mail_facts facts;
	struct report_mail in = input(&to);
	struct buf out, doc;

	(void)state;
	report_sample(&report);
	buf_init(&out, BIG);
	buf_init(&doc, BIG);
	assert_int_equal(format(&in, &out), ST_OK);
	for (size_t n = 0; n < out.len; n++) {
		/* A copy of its own, so that reading past it is seen. */
		char *copy = xmalloc(n + 1);

		memcpy(copy, buf_data(&out), n);
		copy = xrealloc_n(copy, n == 0 ? 1 : n, 1);
		buf_clear(&doc);
		(void)!report_mail_find(copy, n, &doc, &facts);
		free(copy);
	}
	buf_clear(&out);
	buf_clear(&doc);
	tlsrpt_report_clear(&report);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_hostile_words),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_deep_and_many),
		cmocka_unit_test(test_cut),
	};

	return cmocka_run_group_tests_name("report_mail", tests, NULL, NULL);
}
