/*
 * Policy lists: what is taken, what is refused and with which sentence.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "policy/sts_list.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define NOW INT64_C(1700000000)		/* 2023-11-14T22:13:20Z */
#define HEAD "{\"version\":\"0.1\",\"timestamp\":1600000000," \
	"\"expires\":1700000001,"

static struct sts_list *
parse(const char *text)
{
	char err[STS_ERR_MAX];
	struct sts_list *list;

	if (sts_list_parse(text, strlen(text), NOW, &list, err) != ST_OK)
		fail_msg("%s: %s", text, err);
	assert_string_equal(err, "");
	return list;
}

/* As it is distributed. */
static const char sample[] = "{\n"
	"  \"timestamp\": \"2023-10-01T00:00:00.000000+00:00\",\n"
	"  \"author\": \"Example Foundation\\u0007 https://example.org\",\n"
	"  \"expires\": \"2023-12-01T01:30:00+01:30\",\n"
	"  \"version\": \"0.1\",\n"
	"  \"pinsets\": {\"eff\": {\"static-spki-hashes\": [\"sha1/x=\"]}},\n"
	"  \"policy-aliases\": {\n"
	"    \"big\": {\"mode\": \"testing\", \"mxs\": [\".Mail.Example.\"],\n"
	"      \"report\": [\"https://r.example\"]}\n"
	"  },\n"
	"  \"policies\": {\n"
	"    \"one.example\": {\"mode\": \"enforce\", \"mxs\":\n"
	"      [\"MX.One.example\", \"*.Two.example\", \".three.example\"]},\n"
	"    \"Aliased.Example.\": {\"policy-alias\": \"big\"},\n"
	"    \"both.example\": {\"policy-alias\": \"big\", \"mode\": 7},\n"
	"    \"b\\u00fccher.example\": {\"mode\": \"testing\",\n"
	"      \"mxs\": [\"b\\u00fccher.example\"], \"mta-sts\": true}\n"
	"  }\n"
	"}\n";

static void
test_sample(void **state)
{
	struct sts_list *list;
	const struct sts_policy *p;
	const struct sts_list_info *info;
	char *text = xstrdup(sample);

	(void)state;
	/* A name of ours has no dot at its end, a pattern neither. */
	memcpy(strstr(text, ".Mail.Example."), ".Mail.Examples", 14);
	list = parse(text);
	info = sts_list_info(list);
	assert_string_equal(info->author, "Example Foundation? "
		"https://example.org");
	assert_int_equal(info->timestamp_s, 1696118400);
	assert_int_equal(info->expires_s, 1701388800);
	assert_int_equal(info->domains, 4);
	assert_int_equal(info->enforced, 1);
	p = sts_list_find(list, "one.example");
	assert_int_equal(p->mode, STS_MODE_ENFORCE);
	assert_int_equal(p->mx_count, 3);
	assert_string_equal(p->mx[0], "mx.one.example");
	assert_string_equal(p->mx[1], "*.two.example");
	assert_string_equal(p->mx[2], ".three.example");
	p = sts_list_find(list, "aliased.example");
	assert_int_equal(p->mode, STS_MODE_TESTING);
	assert_string_equal(p->mx[0], ".mail.examples");
	assert_ptr_equal(sts_list_find(list, "both.example"), p);
	p = sts_list_find(list, "xn--bcher-kva.example");
	assert_string_equal(p->mx[0], "xn--bcher-kva.example");
	assert_null(sts_list_find(list, "sub.one.example"));
	assert_null(sts_list_find(list, "example"));
	assert_null(sts_list_find(list, "big"));
	sts_list_free(&list);
	assert_null(list);
	sts_list_free(&list);
	free(text);
}

/* The patterns of a list decide as those of a policy. */
static const struct {
	const char *host;
	bool allowed;
} hosts[] = {
	{ "mx.one.example", true }, { "MX.ONE.example", true },
	{ "one.example", false }, { "x.mx.one.example", false },
	{ "a.two.example", true }, { "two.example", false },
	{ "a.b.two.example", false },
	{ "a.three.example", true }, { "a.b.three.example", true },
	{ "mta7.am0.three.example", true }, { "three.example", false },
	{ "xthree.example", false }, { ".three.example", false },
	{ "a.three.example.evil.example", false },
};

static void
test_allows(void **state)
{
	struct sts_list *list = parse(HEAD "\"policies\":{\"a.example\":"
		"{\"mode\":\"enforce\",\"mxs\":[\"mx.one.example\","
		"\"*.two.example\",\".three.example\"]}}}");
	const struct sts_policy *p = sts_list_find(list, "a.example");

	(void)state;
	for (size_t i = 0; i < COUNT(hosts); i++)
		if (sts_policy_allows(p, hosts[i].host) != hosts[i].allowed)
			fail_msg("%s", hosts[i].host);
	sts_list_free(&list);
	/* Not in a policy that a domain publishes. */
	assert_false(sts_match(".three.example", "a.three.example"));
}

#define POLICIES(text) HEAD "\"policies\":{" text "}}"
#define ONE(text) POLICIES("\"a.example\":{" text "}")
#define MXS(text) ONE("\"mode\":\"enforce\",\"mxs\":" text)
#define TIMES(t, e) "{\"version\":\"0.1\",\"timestamp\":" t ",\"expires\":" \
	e ",\"policies\":{}}"

static const struct {
	const char *text, *want;	/* in the sentence; NULL: taken */
} cases[] = {
	{ "", "line" }, { "x", "line 1:" }, { "[]", "not an object" },
	{ "7", "line" }, { "{}", "version" }, { "{\n\n\"a\":,}", "line 3:" },
	{ HEAD "\"policies\":{}} x", "line 1:" },
	{ HEAD "\"policies\":{}", "line" },
	{ HEAD "\"policies\":{},}", "line" },
	{ POLICIES(""), NULL },
	{ HEAD "\"x\":1}", "\"policies\" is not an object" },
	{ HEAD "\"policies\":[]}", "\"policies\" is not an object" },
	{ HEAD "\"policy-aliases\":7,\"policies\":{}}", "policy-aliases" },
	{ HEAD "\"policy-aliases\":{\"x\":7},\"policies\":{}}", "\"x\"" },
	{ HEAD "\"policy-aliases\":{\"x\":{\"policy-alias\":\"x\"}},"
	    "\"policies\":{}}", "mode" },
	{ "{\"version\":\"1.0\",\"expires\":1800000000,\"policies\":{}}",
	    "version" },
	{ "{\"version\":0.1,\"expires\":1800000000,\"policies\":{}}",
	    "version" },
	{ "{\"version\":\"0.2\",\"expires\":1800000000,\"policies\":{}}",
	    NULL },
	{ "{\"version\":\"0.1\",\"policies\":{}}", "\"expires\" is missing" },
	/* times */
	{ TIMES("0", "1700000000"), "expired on Tue, 14 Nov 2023" },
	{ TIMES("0", "1700000001"), NULL },
	{ TIMES("0", "-1"), "\"expires\"" },
	{ TIMES("0", "1e9"), "\"expires\"" },
	{ TIMES("0", "null"), "\"expires\"" },
	{ TIMES("0", "99999999999999"), "\"expires\"" },
	{ TIMES("\"x\"", "1700000001"), "\"timestamp\"" },
	{ TIMES("{}", "1700000001"), "\"timestamp\"" },
	{ TIMES("0", "\"2023-11-14T22:13:20Z\""), "expired" },
	{ TIMES("0", "\"2023-11-14T22:13:21Z\""), NULL },
	{ TIMES("0", "\"2023-11-14T22:13:21\""), NULL },
	{ TIMES("0", "\"2023-11-14T22:13:21.999Z\""), NULL },
	{ TIMES("0", "\"2023-11-15T00:13:21+0200\""), NULL },
	{ TIMES("0", "\"2023-11-15T00:13:20+02:00\""), "expired" },
	{ TIMES("0", "\"2023-11-14T20:13:21-02:00\""), NULL },
	{ TIMES("0", "\"2024-02-29T00:00:00Z\""), NULL },
	{ TIMES("0", "\"2025-02-29T00:00:00Z\""), "\"expires\"" },
	{ TIMES("0", "\"2025-13-01T00:00:00Z\""), "\"expires\"" },
	{ TIMES("0", "\"2025-00-01T00:00:00Z\""), "\"expires\"" },
	{ TIMES("0", "\"2025-01-00T00:00:00Z\""), "\"expires\"" },
	{ TIMES("0", "\"2025-01-01T24:00:00Z\""), "\"expires\"" },
	{ TIMES("0", "\"2025-01-01T00:60:00Z\""), "\"expires\"" },
	{ TIMES("0", "\"2025-01-01\""), "\"expires\"" },
	{ TIMES("0", "\"2025-01-01T00:00:00ZZ\""), "\"expires\"" },
	{ TIMES("0", "\"2025-01-01T00:00:00+1\""), "\"expires\"" },
	{ TIMES("0", "\"2025-01-01T00:00:00+24:00\""), "\"expires\"" },
	{ TIMES("0", "\"2025-01-01T00:00:00+02:00x\""), "\"expires\"" },
	/* policies */
	{ POLICIES("\"a.example\":7"), "\"a.example\" is not an object" },
	{ POLICIES("\"a.example\":null"), "\"a.example\" is not an object" },
	{ POLICIES("\"a..example\":{}"), "is not a domain" },
	{ POLICIES("\"\":{}"), "is not a domain" },
	{ POLICIES("\"*.example\":{}"), "is not a domain" },
	{ ONE(""), "mode" }, { ONE("\"mode\":\"none\""), "mode" },
	{ ONE("\"mode\":1"), "mode" }, { ONE("\"mode\":\"Enforce\""), "mode" },
	{ ONE("\"mode\":\"testing\""), "mxs" },
	{ MXS("[]"), "1 to 64" }, { MXS("\"mx.example\""), "1 to 64" },
	{ MXS("{}"), "1 to 64" }, { MXS("[7]"), "not text" },
	{ MXS("[\"mx.example\",null]"), "not text" },
	{ MXS("[\"\"]"), "not a host name" },
	{ MXS("[\".\"]"), "not a host name" },
	{ MXS("[\"..example\"]"), "not a host name" },
	{ MXS("[\".*.example\"]"), "not a host name" },
	{ MXS("[\"mx.*.example\"]"), "left-most" },
	{ MXS("[\"a b\"]"), "not a host name" },
	{ MXS("[\"mx.example.\"]"), "dot" },
	{ MXS("[\"mx.example\\u0000\"]"), "line" },
	{ MXS("[\"mx.example\"]"), NULL }, { MXS("[\".example\"]"), NULL },
	{ ONE("\"policy-alias\":\"x\""), "no alias \"x\"" },
	{ ONE("\"policy-alias\":7"), "no alias" },
	{ ONE("\"policy-alias\":null"), "no alias" },
	/* the same name twice, as it is or in other letters */
	{ POLICIES("\"a.example\":{},\"a.example\":{}"), "line 1:" },
	{ POLICIES("\"a.example\":{\"mode\":\"testing\",\"mxs\":[\"m.x\"]},"
	    "\"A.Example.\":{\"mode\":\"enforce\",\"mxs\":[\"m.x\"]}"),
	    "twice" },
	{ HEAD "\"policies\":{},\"policies\":{}}", "line 1:" },
	/* text that is not to reach a terminal */
	{ POLICIES("\"\\u001b[2J.example\":{}"), "?[2J.example" },
	{ MXS("[\"\\n\\u001b\"]"), "\"??\"" },
};

static void
test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const char *text = cases[i].text, *want = cases[i].want;
		struct sts_list *list = (struct sts_list *)&list;
		char err[STS_ERR_MAX] = "?";
		enum status st = sts_list_parse(text, strlen(text), NOW,
			&list, err);

		if ((st == ST_OK) != (want == NULL) ||
		    (want != NULL && strstr(err, want) == NULL))
			fail_msg("%s: %s", text, err);
		if (want != NULL)
			assert_null(list);
		if (want != NULL && strncmp(want, "expired", 7) == 0)
			assert_int_equal(st, ST_DENIED);
		assert_true(str_is_utf8(err, strlen(err)));
		sts_list_free(&list);
	}
}

/* Cut anywhere, it is no list. */
static void
test_cut(void **state)
{
	(void)state;
	for (size_t len = 0; len < sizeof(sample) - 3; len++) {
		char *copy = xmalloc(len + 1), err[STS_ERR_MAX];
		struct sts_list *list;

		memcpy(copy, sample, len);
		assert_int_not_equal(sts_list_parse(copy, len, NOW, &list,
			err), ST_OK);
		assert_null(list);
		free(copy);
	}
}

static char *
repeat(const char *head, const char *part, size_t count, const char *tail)
{
	size_t n = strlen(part), used = strlen(head);
	char *text = xmalloc(used + n * count + strlen(tail) + 1);

	memcpy(text, head, used);
	for (size_t i = 0; i < count; i++, used += n)
		memcpy(text + used, part, n);
	memcpy(text + used, tail, strlen(tail) + 1);
	return text;
}

static void
check_refused(char *text, enum status want, const char *sentence)
{
	char err[STS_ERR_MAX];
	struct sts_list *list;

	assert_int_equal(sts_list_parse(text, strlen(text), NOW, &list, err),
		want);
	assert_null(list);
	assert_non_null(strstr(err, sentence));
	free(text);
}

static void
test_deep(void **state)
{
	(void)state;
	check_refused(repeat(HEAD "\"policies\":", "[", 1000000, ""),
		ST_PARSE, "line");
	check_refused(repeat(HEAD "\"policies\":", "{\"a\":", 1000000, ""),
		ST_PARSE, "line");
}

static void
test_large(void **state)
{
	char *text, *at, err[STS_ERR_MAX];
	struct sts_list *list;
	size_t n = STS_LIST_DOMAINS_MAX;

	(void)state;
	check_refused(repeat(HEAD, " ", STS_LIST_TEXT_MAX, "\"policies\":{}}"),
		ST_LIMIT, "more than 16777216 bytes");
	check_refused(repeat(HEAD "\"policies\":{\"a.example\":{\"mode\":"
		"\"testing\",\"mxs\":[", "\"m.x\",", STS_LIST_MX_MAX,
		"\"m.x\"]}}}"), ST_PARSE, "1 to 64");
	/* As many domains as there may be, and one more. */
	for (size_t more = 0; more < 2; more++) {
		text = xmalloc(n * 48 + 1000);
		at = text + sprintf(text, HEAD "\"policy-aliases\":{\"x\":"
			"{\"mode\":\"enforce\",\"mxs\":[\".mx.example\"]}},"
			"\"policies\":{");
		for (size_t i = 0; i < n + more; i++)
			at += sprintf(at, "%s\"d%zu.example\":"
				"{\"policy-alias\":\"x\"}", i > 0 ? "," : "",
				i);
		(void)sprintf(at, "}}");
		if (more) {
			check_refused(text, ST_LIMIT, "more than 200000");
			continue;
		}
		assert_int_equal(sts_list_parse(text, strlen(text), NOW,
			&list, err), ST_OK);
		assert_int_equal(sts_list_info(list)->domains, n);
		assert_non_null(sts_list_find(list, "d199999.example"));
		sts_list_free(&list);
		free(text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sample), cmocka_unit_test(test_allows),
		cmocka_unit_test(test_cases), cmocka_unit_test(test_cut),
		cmocka_unit_test(test_deep), cmocka_unit_test(test_large),
	};

	return cmocka_run_group_tests_name("sts_list", tests, NULL, NULL);
}
