/*
 * TLSRPT documents: what we write reads back the same; what others write is
 * taken as far as it makes sense; what is hostile ends at a bound.
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
#include "tests/unit/report_sample.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define RANGE "\"date-range\":{\"start-datetime\":\"2026-11-21T00:00:00Z\"," \
	"\"end-datetime\":\"2026-11-21T23:59:59Z\"}"
#define SUMMARY "\"summary\":{\"total-successful-session-count\":5," \
	"\"total-failure-session-count\":2}"
#define POLICY(more) "{" RANGE ",\"policies\":[{\"policy\":{" \
	"\"policy-type\":\"sts\",\"policy-domain\":\"A.Example.\"" more "}," \
	SUMMARY "}]}"
#define FAILURE(row) "{" RANGE ",\"policies\":[{\"policy\":{" \
	"\"policy-type\":\"sts\"}," SUMMARY ",\"failure-details\":[" row \
	"]}]}"

static struct tlsrpt_report report;
static char why[TLSRPT_ERR_MAX];

static enum status
parse(const char *text)
{
	tlsrpt_report_clear(&report);
	return tlsrpt_doc_parse(text, strlen(text), &report, why);
}

static void
good(const char *text)
{
	if (parse(text) != ST_OK)
		fail_msg("%s: %s", why, text);
}

static void
test_round_trip(void **state)
{
	struct tlsrpt_report first;
	struct buf a, b;

	(void)state;
	report_sample(&first);
	buf_init(&a, TLSRPT_DOC_MAX);
	buf_init(&b, TLSRPT_DOC_MAX);
	assert_int_equal(tlsrpt_doc_format(&first, &a), ST_OK);
	assert_int_equal(tlsrpt_doc_parse(buf_data(&a), a.len, &report, why),
		ST_OK);
	assert_string_equal(report.domain, "rcpt.example");
	assert_int_equal(report.start_s, SAMPLE_DAY);
	assert_int_equal(report.end_s, SAMPLE_DAY + 86399);
	assert_int_equal(report.result_count, 3);
	assert_int_equal(tlsrpt_doc_format(&report, &b), ST_OK);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(buf_data(&a), buf_data(&b), a.len);
	buf_clear(&b);
	/* It does not fit. */
	b.max_bytes = a.len - 1;
	assert_int_equal(tlsrpt_doc_format(&report, &b), ST_LIMIT);
	buf_clear(&a);
	buf_clear(&b);
	tlsrpt_report_clear(&first);
	tlsrpt_report_clear(&report);
}

static void
test_tolerant(void **state)
{
	(void)state;
	good(POLICY(",\"mx-host\":\"mx.a.example\""));
	assert_string_equal(report.domain, "a.example");
	assert_int_equal(report.results[0].policy.mx_host_count, 1);
	good(POLICY(",\"mx-host\":[\"a\",7,null,\"b\"],\"policy-string\":"
		"\"version: STSv1\",\"x\":{\"y\":[1]}"));
	assert_int_equal(report.results[0].policy.mx_host_count, 3);
	assert_int_equal(report.results[0].policy.string_count, 1);
	good("\xef\xbb\xbf" POLICY(""));
	assert_null(report.organization);
	assert_int_equal(report.results[0].successes, 5);
	good(FAILURE(""));
	assert_null(report.domain);
	good(FAILURE("{\"result-type\":\"certificate-expired\","
		"\"failed-session-count\":2.0,\"receiving-mx-hostname\":"
		"\"MX.example.\",\"failure-reason-code\":550,"
		"\"additional-info-uri\":\"https://x/\",\"receiving-ip\":null}"
		));
	assert_int_equal(report.results[0].failures[0].result,
		TLS_FAILURE_EXPIRED);
	assert_string_equal(report.results[0].failures[0].mx_host,
		"mx.example");
	assert_string_equal(report.results[0].failures[0].reason, "550");
	assert_string_equal(report.results[0].failures[0].info, "https://x/");
	assert_int_equal(report.results[0].failures[0].count, 2);
	good(FAILURE("{\"result-type\":\"quantum-failure\"}"));
	assert_int_equal(report.results[0].failures[0].result,
		TLS_FAILURE_NONE);
	assert_string_equal(report.results[0].failures[0].other,
		"quantum-failure");
	good("{" RANGE ",\"policies\":[]}");
	good("{" RANGE ",\"policies\":[{\"policy\":{\"policy-type\":\"dnssec\"}"
		"," SUMMARY ",\"failure-details\":null}]}");
	assert_int_equal(report.results[0].policy.type, TLSRPT_POLICY_OTHER);
	/* The recipient's domain is not that of the MX host. */
	good("{" RANGE ",\"policies\":[{\"policy\":{\"policy-type\":\"tlsa\","
		"\"policy-domain\":\"mx.example\"}," SUMMARY "},{\"policy\":{"
		"\"policy-type\":\"no-policy-found\",\"policy-domain\":"
		"\"rcpt.example\"}," SUMMARY "}]}");
	assert_string_equal(report.domain, "rcpt.example");
	tlsrpt_report_clear(&report);
}

static void
test_times(void **state)
{
	static const struct {
		const char *text;
		int64_t unix_s;		/* -1: none */
	} cases[] = {
		{ "2026-11-21T00:00:00Z", SAMPLE_DAY },
		{ "2026-11-21t00:00:00z", SAMPLE_DAY },
		{ "2026-11-21 00:00:00Z", SAMPLE_DAY },
		{ "2026-11-21T00:00:00.123456Z", SAMPLE_DAY },
		{ "2026-11-21T02:00:00+02:00", SAMPLE_DAY },
		{ "2026-11-20T19:00:00-0500", SAMPLE_DAY },
		{ "2026-11-21T00:00:00", SAMPLE_DAY },
		{ "2026-11-21", SAMPLE_DAY },
		{ "2026-11-21T23:59:60Z", SAMPLE_DAY + 86400 },
		{ "", -1 },
		{ "2026", -1 },
		{ "2026-13-01T00:00:00Z", -1 },
		{ "2026-11-00T00:00:00Z", -1 },
		{ "2026-11-21T24:00:00Z", -1 },
		{ "2026-11-21T00:00:00Zx", -1 },
		{ "2026-11-21T00:00:00+2", -1 },
		{ "1969-12-31T00:00:00Z", -1 },
		{ "21.11.2026", -1 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char text[300];

		(void)snprintf(text, sizeof(text), "{\"date-range\":{"
			"\"start-datetime\":\"%s\",\"end-datetime\":"
			"\"2026-11-30T23:59:59Z\"},\"policies\":[]}",
			cases[i].text);
		if ((parse(text) == ST_OK) != (cases[i].unix_s >= 0))
			fail_msg("%s: %s", cases[i].text, why);
		if (cases[i].unix_s >= 0)
			assert_int_equal(report.start_s, cases[i].unix_s);
	}
	tlsrpt_report_clear(&report);
}

static void
test_refused(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{ "", "not a JSON object" },
		{ "{", "not a JSON object" },
		{ "[]", "not a JSON object" },
		{ "{\"a\":\"\xff\"}", "not a JSON object" },
		{ "{}", "start-datetime" },
		{ "{\"date-range\":7}", "start-datetime" },
		{ "{" RANGE "}", "list of policies" },
		{ "{" RANGE ",\"policies\":{}}", "list of policies" },
		{ "{" RANGE ",\"policies\":[7]}", "policy-type" },
		{ "{" RANGE ",\"policies\":[{}]}", "policy-type" },
		{ "{" RANGE ",\"policies\":[{\"policy\":{\"policy-type\":"
		    "\"sts\"}}]}", "summary" },
		{ FAILURE("7"), "result-type" },
		{ FAILURE("{}"), "result-type" },
		{ FAILURE("{\"result-type\":[]}"), "result-type" },
		{ FAILURE("{\"result-type\":\"x\",\"failed-session-count\":-1}"
		    ), "failed-session-count is not a count" },
		{ FAILURE("{\"result-type\":\"x\",\"failed-session-count\":1.5"
		    "}"), "not a count" },
		{ FAILURE("{\"result-type\":\"x\",\"failed-session-count\":"
		    "1e300}"), "not a count" },
		{ FAILURE("{\"result-type\":\"x\",\"failed-session-count\":"
		    "\"2\"}"), "not a count" },
		{ "{\"date-range\":{\"start-datetime\":\"2026-11-21\","
		    "\"end-datetime\":\"2026-11-20\"},\"policies\":[]}",
		    "before" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(parse(cases[i].text), ST_PARSE);
		if (strstr(why, cases[i].why) == NULL)
			fail_msg("%s: %s", cases[i].text, why);
		assert_null(report.results);
		assert_null(report.domain);
	}
}

static void
repeat(struct buf *b, const char *text, size_t count)
{
	for (size_t i = 0; i < count; i++)
		assert_int_equal(buf_puts(b, text), ST_OK);
}

/* A document of head, `count` times middle, tail. */
static void
refuse_many(const char *head, const char *middle, size_t count,
	const char *tail, const char *words)
{
	struct buf b;

	buf_init(&b, 64 << 20);
	repeat(&b, head, 1);
	repeat(&b, middle, count);
	repeat(&b, tail, 1);
	assert_int_equal(tlsrpt_doc_parse(buf_data(&b), b.len, &report, why),
		ST_PARSE);
	if (strstr(why, words) == NULL)
		fail_msg("%s", why);
	buf_clear(&b);
}

static void
test_bounds(void **state)
{
	(void)state;
	refuse_many("", "[", 100000, "", "nested");
	refuse_many("{", "\"a\":{", 100, "", "nested");
	refuse_many("[", "1,", TLSRPT_DOC_VALUES_MAX + 1, "1]", "values");
	refuse_many("\"", "0123456789", TLSRPT_DOC_MAX / 10 + 1, "\"",
		"larger");
	refuse_many("{" RANGE ",\"policies\":[7", ",7",
		TLSRPT_DOC_RESULTS_MAX, "]}", "1000 policies");
	refuse_many("{" RANGE ",\"policies\":[{\"policy\":{\"policy-type\":"
		"\"sts\"}," SUMMARY ",\"failure-details\":[7", ",7",
		TLSRPT_DOC_ROWS_MAX, "]}]}", "10000 failures");
	/* A bracket in a text is none. */
	good(POLICY(",\"mx-host\":\"[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[[[[\""));
	tlsrpt_report_clear(&report);
}

static void
test_hostile_text(void **state)
{
	char *text = xmalloc(20000), *doc;

	(void)state;
	memset(text, 'A', 19999);
	text[19999] = '\0';
	doc = xasprintf(FAILURE("{\"result-type\":\"%s\",\"receiving-mx-helo\""
		":\"a\\r\\nb\\u0000c\\u001b[31m\",\"receiving-mx-hostname\":"
		"\"%s\"}"), text, text);
	good(doc);
	assert_int_equal(strlen(report.results[0].failures[0].other),
		TLSRPT_REASON_MAX);
	assert_int_equal(strlen(report.results[0].failures[0].mx_host),
		TLSRPT_TEXT_MAX);
	assert_string_equal(report.results[0].failures[0].mx_helo,
		"a??b?c?[31m");
	free(doc);
	free(text);
	tlsrpt_report_clear(&report);
}

static void
test_gzip(void **state)
{
	static char big[1 << 20];
	struct buf zip, out;

	(void)state;
	memset(big, 'x', sizeof(big));
	buf_init(&zip, 1 << 20);
	buf_init(&out, sizeof(big));
	assert_int_equal(tlsrpt_gzip(big, sizeof(big), &zip), ST_OK);
	assert_true(tlsrpt_is_gzip(buf_data(&zip), zip.len));
	assert_int_equal(tlsrpt_gunzip(buf_data(&zip), zip.len, &out), ST_OK);
	assert_int_equal(out.len, sizeof(big));
	assert_memory_equal(buf_data(&out), big, sizeof(big));
	buf_clear(&out);
	out.max_bytes = sizeof(big) - 1;
	assert_int_equal(tlsrpt_gunzip(buf_data(&zip), zip.len, &out),
		ST_LIMIT);
	buf_clear(&out);
	out.max_bytes = sizeof(big);
	/* Cut anywhere, or changed, it is damaged or at its bound. */
	for (size_t n = 0; n < zip.len; n++) {
		buf_clear(&out);
		assert_int_equal(tlsrpt_gunzip(buf_data(&zip), n, &out),
			ST_PARSE);
	}
	for (size_t n = 10; n < zip.len; n++) {
		zip.mem[zip.start + n] ^= 0x55;
		buf_clear(&out);
		/* Some bits mean nothing; the checksum has the rest. */
		if (tlsrpt_gunzip(buf_data(&zip), zip.len, &out) == ST_OK)
			assert_memory_equal(buf_data(&out), big, sizeof(big));
		zip.mem[zip.start + n] ^= 0x55;
	}
	assert_int_equal(tlsrpt_gunzip("", 0, &out), ST_PARSE);
	assert_false(tlsrpt_is_gzip("", 0));
	buf_clear(&zip);
	zip.max_bytes = 10;
	assert_int_equal(tlsrpt_gzip(big, sizeof(big), &zip), ST_LIMIT);
	buf_clear(&zip);
	buf_clear(&out);
}

static void
test_names(void **state)
{
	static const struct {
		const char *name, *domain;
	} files[] = {
		{ "s.example!r.example!1!2.json.gz", "r.example" },
		{ "s.example!R.example.!1!2!3.json", "r.example" },
		{ "s!r", NULL }, { "", NULL }, { "!!", NULL },
		{ "s!a b!1!2.json", NULL }, { "plain.json", NULL },
	};
	struct tlsrpt_report r;
	char *text;

	(void)state;
	report_sample(&r);
	assert_string_equal(r.id, "2026-11-21.rcpt.example@sender.example");
	text = tlsrpt_doc_id("rcpt.example", SAMPLE_DAY + 5, 3, "s.example");
	assert_string_equal(text, "2026-11-21.3.rcpt.example@s.example");
	free(text);
	text = tlsrpt_doc_file(&r, 0, "s.example");
	assert_string_equal(text,
		"s.example!rcpt.example!1795219200!1795305599.json.gz");
	free(text);
	text = tlsrpt_doc_file(&r, 3, "s.example");
	assert_string_equal(text,
		"s.example!rcpt.example!1795219200!1795305599!3.json.gz");
	free(text);
	text = tlsrpt_doc_subject(&r, "s.example");
	assert_string_equal(text, "Report Domain: rcpt.example Submitter: "
		"s.example Report-ID: "
		"<2026-11-21.rcpt.example@sender.example>");
	free(text);
	for (size_t i = 0; i < COUNT(files); i++) {
		text = tlsrpt_doc_file_domain(files[i].name);
		if (files[i].domain == NULL)
			assert_null(text);
		else
			assert_string_equal(text, files[i].domain);
		free(text);
	}
	tlsrpt_report_clear(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_tolerant),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_hostile_text),
		cmocka_unit_test(test_gzip),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("tlsrpt_doc", tests, NULL, NULL);
}
