/*
 * MTA-STS: policy files, TXT records, matches: each a table of cases; and what
 * an answer of the DNS means.
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
#include "base/str.h"
#include "policy/sts.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define BYTES(text) ((const uint8_t *)(text))

static const struct policy_case {
	const char *name, *text, *mx;
	enum sts_mode mode;
	int64_t max_age_s;
	const char *part;
} policies[] = {
#include "tests/unit/test_sts_policies.inc"
};

static const struct record_case {
	const char *text, *id, *part;
} records[] = {
#define STS_RECORDS
#include "tests/unit/test_sts_tables.inc"
#undef STS_RECORDS
};

static const struct match_case {
	const char *pattern, *host;
	bool fits;
} matches[] = {
#define STS_MATCHES
#include "tests/unit/test_sts_tables.inc"
#undef STS_MATCHES
};

/* Every sentence is printable, short, and names its section. */
static void
assert_sentence(const char *name, const char *err, const char *part)
{
	char clean[STS_ERR_MAX];

	str_sanitise(clean, sizeof(clean), err, strlen(err));
	if (strstr(err, part) == NULL || strcmp(clean, err) != 0 ||
	    strstr(err, "(RFC 8461 3.") == NULL)
		fail_msg("%s: \"%s\" without \"%s\"", name, err, part);
}

static char *
joined(const struct sts_policy *policy)
{
	char *all = xstrdup("");

	for (size_t i = 0; i < policy->mx_count; i++) {
		char *more = xasprintf("%s%s%s", all, i > 0 ? " " : "",
			policy->mx[i]);

		free(all);
		all = more;
	}
	return all;
}

static void
check_policy(const struct policy_case *c)
{
	struct sts_policy *policy = NULL;
	char err[STS_ERR_MAX], *mx;
	enum status st = sts_policy_parse(BYTES(c->text), strlen(c->text),
		&policy, err);

	if (c->mx == NULL) {
		if (st != ST_PARSE || policy != NULL)
			fail_msg("%s: accepted", c->name);
		assert_sentence(c->name, err, c->part);
		return;
	}
	if (st != ST_OK)
		fail_msg("%s: %s", c->name, err);
	assert_string_equal(err, "");
	mx = joined(policy);
	if (strcmp(mx, c->mx) != 0 || policy->mode != c->mode ||
	    policy->max_age_s != c->max_age_s)
		fail_msg("%s: mx \"%s\" mode %s max_age %lld", c->name, mx,
			sts_mode_name(policy->mode),
			(long long)policy->max_age_s);
	free(mx);
	sts_policy_free(&policy);
	assert_null(policy);
}

static void
test_policies(void **state)
{
	(void)state;
	assert_true(COUNT(policies) >= 100);
	for (size_t i = 0; i < COUNT(policies); i++)
		check_policy(&policies[i]);
}

static void
test_policy_cut(void **state)
{
	static const char text[] = "version: STSv1\r\nmode: enforce\r\n"
		"max_age: 604800\r\nmx: *.example.com\r\n";
	struct sts_policy *policy;
	char err[STS_ERR_MAX];

	(void)state;
	/* No beginning of it says less than the whole and still counts, but
	 * for the end of the last line, and a shorter last name. */
	for (size_t cut = 0; cut < sizeof(text) - 1; cut++) {
		char *copy = xstrndup(text, cut);
		enum status st = sts_policy_parse(BYTES(copy), cut, &policy,
			err);

		if (st == ST_OK) {
			assert_true(cut > (size_t)(strstr(text, "*.") -
				text) + 2);
			assert_int_equal(policy->mode, STS_MODE_ENFORCE);
			sts_policy_free(&policy);
		}
		free(copy);
	}
}

static void
test_policy_sizes(void **state)
{
	static const char head[] = "version: STSv1\nmode: enforce\n"
		"max_age: 604800\nmx: a.example\n";
	static char big[STS_POLICY_MAX + 1];
	struct sts_policy *policy;
	char err[STS_ERR_MAX];
	size_t used = sizeof(head) - 1;

	(void)state;
	memset(big, 'x', sizeof(big));
	memcpy(big, head, used);
	memcpy(big + used, "note: ", 6);
	assert_int_equal(sts_policy_parse(BYTES(big), STS_POLICY_MAX, &policy,
		err), ST_OK);
	sts_policy_free(&policy);
	assert_int_equal(sts_policy_parse(BYTES(big), STS_POLICY_MAX + 1,
		&policy, err), ST_PARSE);
	assert_sentence("size", err, "longer than 65536 bytes");
	for (size_t i = 1; i < STS_MX_MAX; i++) {
		memcpy(big + used, "mx: b.example\n", 14);
		used += 14;
	}
	assert_int_equal(sts_policy_parse(BYTES(big), used, &policy, err),
		ST_OK);
	assert_int_equal(policy->mx_count, STS_MX_MAX);
	sts_policy_free(&policy);
	memcpy(big + used, "mx: b.example\n", 14);
	assert_int_equal(sts_policy_parse(BYTES(big), used + 14, &policy, err),
		ST_PARSE);
	assert_sentence("patterns", err, "line 1004: more than 1000");
}

static void
test_policy_nul(void **state)
{
	static const char text[] = "version: STSv1\nmode: enf\0rce\n"
		"max_age: 1\nmx: a.example\n";
	static const char later[] = "version: STSv1\nmode: enforce\n"
		"max_age: 1\nmx: a.example\0.evil.example\n";
	struct sts_policy *policy;
	char err[STS_ERR_MAX];

	(void)state;
	assert_int_equal(sts_policy_parse(BYTES(text), sizeof(text) - 1,
		&policy, err), ST_PARSE);
	assert_sentence("NUL", err, "line 2: ");
	assert_int_equal(sts_policy_parse(BYTES(later), sizeof(later) - 1,
		&policy, err), ST_PARSE);
	assert_sentence("NUL", err, "line 4: ");
}

static void
test_policy_copy(void **state)
{
	static const char *const texts[] = {
		"version: STSv1\nmode: testing\nmax_age: 7\nmx: a.example\n"
		"mx: *.b.example\n",
		"version: STSv1\nmode: none\nmax_age: 7\n",
	};
	struct sts_policy *policy, *copy;
	char err[STS_ERR_MAX], *before, *after;

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		assert_int_equal(sts_policy_parse(BYTES(texts[i]),
			strlen(texts[i]), &policy, err), ST_OK);
		before = joined(policy);
		copy = sts_policy_copy(policy);
		assert_int_equal(copy->mode, policy->mode);
		sts_policy_free(&policy);
		sts_policy_free(&policy);
		after = joined(copy);
		assert_string_equal(before, after);
		assert_int_equal(copy->max_age_s, 7);
		free(before);
		free(after);
		sts_policy_free(&copy);
	}
}

/* ---- notes ---- */

struct notes {
	char text[2000];
};

static void
on_note(unsigned line, const char *sentence, void *arg)
{
	struct notes *notes = arg;
	size_t used = strlen(notes->text);

	(void)snprintf(notes->text + used, sizeof(notes->text) - used,
		"%u %s\n", line, sentence);
}

static void
test_policy_notes(void **state)
{
	static const char text[] = "mode: enforce \nversion: STSv1\nfoo: bar\n"
		"mode: none\nmax_age: 1\nmx: a.example\nmx: A.example\n"
		"mx: b\xc3\xbc" "cher.example\n";
	struct notes notes = { "" };
	struct sts_policy *policy;
	char err[STS_ERR_MAX];

	(void)state;
	assert_int_equal(sts_policy_judge(BYTES(text), sizeof(text) - 1,
		&policy, err, on_note, &notes), ST_OK);
	sts_policy_free(&policy);
	assert_string_equal(notes.text,
		"1 white space at the end of the line (RFC 8461 3.2)\n"
		"2 version is not the first key, where other senders may "
		"expect it (RFC 8461 3.2)\n"
		"3 unknown key \"foo\" is ignored (RFC 8461 3.2)\n"
		"4 mode is there more than once, only the first one counts "
		"(RFC 8461 3.2)\n"
		"7 mx \"A.example\" is there more than once (RFC 8461 3.2)\n"
		"8 mx \"b\xc3\xbc" "cher.example\" should be written in "
		"A-labels; other senders may refuse it (RFC 8461 3.2)\n");
}

static void
test_record_notes(void **state)
{
	static const char text[] = "v=STSv1; foo=bar; id=1; id=2";
	struct notes notes = { "" };
	struct sts_record record;
	char err[STS_ERR_MAX];

	(void)state;
	assert_int_equal(sts_record_judge(BYTES(text), sizeof(text) - 1,
		&record, err, on_note, &notes), ST_OK);
	assert_string_equal(notes.text,
		"0 unknown field \"foo\" is ignored (RFC 8461 3.1)\n"
		"0 id is there more than once, only the first one counts "
		"(RFC 8461 3.2)\n");
}

/* ---- records ---- */

static void
test_records(void **state)
{
	char err[STS_ERR_MAX];

	(void)state;
	assert_true(COUNT(records) >= 40);
	for (size_t i = 0; i < COUNT(records); i++) {
		const struct record_case *c = &records[i];
		struct sts_record record;
		enum status st = sts_record_parse(BYTES(c->text),
			strlen(c->text), &record, err);

		if (c->id == NULL) {
			if (st != ST_PARSE)
				fail_msg("\"%s\": accepted", c->text);
			assert_string_equal(record.id, "");
			assert_sentence(c->text, err, c->part);
			continue;
		}
		if (st != ST_OK)
			fail_msg("\"%s\": %s", c->text, err);
		assert_string_equal(record.id, c->id);
		assert_string_equal(err, "");
	}
}

static void
test_record_bytes(void **state)
{
	static const char nul[] = "v=STSv1; id=1\0; id=2";
	static char big[STS_RECORD_MAX + 1];
	struct sts_record record;
	char err[STS_ERR_MAX];

	(void)state;
	assert_int_equal(sts_record_parse(BYTES(nul), sizeof(nul) - 1, &record,
		err), ST_PARSE);
	assert_int_equal(sts_record_parse(NULL, 0, &record, err), ST_PARSE);
	memset(big, 'x', sizeof(big));
	memcpy(big, "v=STSv1; id=1; a=", 17);
	assert_int_equal(sts_record_parse(BYTES(big), STS_RECORD_MAX, &record,
		err), ST_OK);
	assert_int_equal(sts_record_parse(BYTES(big), STS_RECORD_MAX + 1,
		&record, err), ST_PARSE);
}

/* ---- answers ---- */

#define TXT_MAX 3

static const struct answer_case {
	const char *name;
	enum dns_result result;
	enum dns_security security;
	const char *txt[TXT_MAX];
	enum sts_finding finding;
	const char *id, *part;
} answers[] = {
	{ "no such name", DNS_NXDOMAIN, DNS_SEC_INSECURE, { NULL },
		STS_FINDING_NONE, "", "" },
	{ "no TXT", DNS_NODATA, DNS_SEC_SECURE, { NULL }, STS_FINDING_NONE,
		"", "" },
	{ "one", DNS_FOUND, DNS_SEC_INSECURE, { "v=STSv1; id=a;" },
		STS_FINDING_RECORD, "a", "" },
	{ "one, nothing checked", DNS_FOUND, DNS_SEC_UNKNOWN,
		{ "v=STSv1; id=a;" }, STS_FINDING_RECORD, "a", "" },
	{ "one among others", DNS_FOUND, DNS_SEC_SECURE,
		{ "v=spf1 -all", "v=STSv1; id=a;", "hello" },
		STS_FINDING_RECORD, "a", "" },
	{ "others only", DNS_FOUND, DNS_SEC_SECURE,
		{ "v=spf1 -all", "hello", "" }, STS_FINDING_NONE, "", "" },
	{ "almost one is discarded", DNS_FOUND, DNS_SEC_SECURE,
		{ "v=STSv1 ; id=b", "v=STSv10; id=c", "v=STSv1; id=a" },
		STS_FINDING_RECORD, "a", "" },
	{ "two", DNS_FOUND, DNS_SEC_SECURE,
		{ "v=STSv1; id=a;", "v=STSv1; id=b;" }, STS_FINDING_INVALID,
		"", "more than one" },
	{ "the same twice", DNS_FOUND, DNS_SEC_SECURE,
		{ "v=STSv1; id=a;", "v=STSv1; id=a;" }, STS_FINDING_INVALID,
		"", "more than one" },
	{ "a good and a malformed one", DNS_FOUND, DNS_SEC_SECURE,
		{ "v=STSv1; id=a;", "v=STSv1;" }, STS_FINDING_INVALID, "",
		"more than one" },
	{ "a malformed one", DNS_FOUND, DNS_SEC_SECURE, { "v=STSv1; id=a-b" },
		STS_FINDING_INVALID, "", "letters and digits" },
	{ "later", DNS_LATER, DNS_SEC_INDETERMINATE, { NULL },
		STS_FINDING_FAILED, "", "because" },
	{ "bogus", DNS_LATER, DNS_SEC_BOGUS, { NULL }, STS_FINDING_FAILED, "",
		"because" },
	{ "bogus, with records", DNS_FOUND, DNS_SEC_BOGUS,
		{ "v=STSv1; id=a;" }, STS_FINDING_FAILED, "", "because" },
	{ "bogus denial", DNS_NXDOMAIN, DNS_SEC_BOGUS, { NULL },
		STS_FINDING_FAILED, "", "because" },
	{ "nothing known", DNS_NONE, DNS_SEC_UNKNOWN, { NULL },
		STS_FINDING_FAILED, "", "because" },
};

static void
test_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(answers); i++) {
		const struct answer_case *c = &answers[i];
		struct dns_record set[TXT_MAX];
		struct dns_answer answer = { .type = DNS_TYPE_TXT,
			.result = c->result, .security = c->security,
			.records = set, .why = (char *)(uintptr_t)"because" };
		struct sts_record record;
		char err[STS_ERR_MAX];
		enum sts_finding finding;

		for (size_t t = 0; t < TXT_MAX && c->txt[t] != NULL; t++) {
			set[t].u.txt.data = BYTES(c->txt[t]);
			set[t].u.txt.len = strlen(c->txt[t]);
			answer.count++;
		}
		finding = sts_record_read(&answer, &record, err);
		if (finding != c->finding || strcmp(record.id, c->id) != 0)
			fail_msg("%s: %s \"%s\" %s", c->name,
				sts_finding_name(finding), record.id, err);
		if (c->part[0] == '\0')
			assert_string_equal(err, "");
		assert_non_null(strstr(err, c->part));
	}
}

/* ---- matches ---- */

static void
test_matches(void **state)
{
	(void)state;
	assert_true(COUNT(matches) >= 40);
	for (size_t i = 0; i < COUNT(matches); i++)
		if (sts_match(matches[i].pattern, matches[i].host) !=
		    matches[i].fits)
			fail_msg("\"%s\" and \"%s\"", matches[i].pattern,
				matches[i].host);
}

static void
test_allows(void **state)
{
	static const char text[] = "version: STSv1\nmode: enforce\n"
		"max_age: 1\nmx: mx.example.com\nmx: *.Example.net\n";
	struct sts_policy *policy;
	char err[STS_ERR_MAX];

	(void)state;
	assert_int_equal(sts_policy_parse(BYTES(text), sizeof(text) - 1,
		&policy, err), ST_OK);
	assert_true(sts_policy_allows(policy, "mx.example.com"));
	assert_true(sts_policy_allows(policy, "MX.EXAMPLE.COM."));
	assert_true(sts_policy_allows(policy, "a.example.net"));
	assert_false(sts_policy_allows(policy, "example.net"));
	assert_false(sts_policy_allows(policy, "a.b.example.net"));
	assert_false(sts_policy_allows(policy, "mx.example.com.evil.example"));
	assert_false(sts_policy_allows(policy, ""));
	sts_policy_free(&policy);
	policy = xcalloc(1, sizeof(*policy));
	assert_false(sts_policy_allows(policy, "mx.example.com"));
	sts_policy_free(&policy);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_policies),
		cmocka_unit_test(test_policy_cut),
		cmocka_unit_test(test_policy_sizes),
		cmocka_unit_test(test_policy_nul),
		cmocka_unit_test(test_policy_copy),
		cmocka_unit_test(test_policy_notes),
		cmocka_unit_test(test_record_notes),
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_record_bytes),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_matches),
		cmocka_unit_test(test_allows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
