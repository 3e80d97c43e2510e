/*
 * TLSRPT records: a table of texts, what an answer of the DNS means, and notes.
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
#include "policy/tlsrpt_record.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define BYTES(text) ((const uint8_t *)(text))
#define V "v=TLSRPTv1; "
#define D10 "0123456789"

/* The record, its targets joined by spaces (NULL: refused), part of the
 * sentence. */
static const struct record_case {
	const char *text, *targets, *part;
} records[] = {
	{ V "rua=mailto:a@example.com", "a@example.com", NULL },
	{ "v=TLSRPTv1;rua=mailto:a@example.com;", "a@example.com", NULL },
	{ "v=TLSRPTv1; \t rua=mailto:a@example.com ; \t", "a@example.com",
		NULL },
	{ V "rua=https://r.example/v1", "https://r.example/v1", NULL },
	{ V "rua=mailto:a@example.com,https://r.example/v1",
		"a@example.com https://r.example/v1", NULL },
	{ V "rua=mailto:a@example.com , \t mailto:b@example.com",
		"a@example.com b@example.com", NULL },
	{ V "rua=mailto:a@example.com; rua=mailto:b@example.com",
		"a@example.com b@example.com", NULL },
	{ V "foo=bar; rua=mailto:a@example.com; a.B-c_9=!:", "a@example.com",
		NULL },
	{ V "rua=MAILTO:a@example.com,HTTPS://R.Example/V1",
		"a@example.com https://R.Example/V1", NULL },
	{ V "rua=mailto:a%2Cb@example.com", NULL, "not a mail address" },
	{ V "rua=mailto:a%21b@example.com", "a!b@example.com", NULL },
	{ V "rua=mailto:%22a,b%22@example.com", NULL, "not a mail address" },
	{ V "rua=mailto:%22a%2Cb%22@example.com", "\"a,b\"@example.com",
		NULL },
	{ V "rua=mailto:%22a%3Cb%22@example.com", NULL, "angle bracket" },
	{ V "rua=mailto:%22a%3Eb%22@example.com", NULL, "angle bracket" },
	{ V "rua=mailto:%c3%bc@example.com", "\xc3\xbc@example.com", NULL },
	{ V "rua=mailto:a@example.com?subject=x=y", "a@example.com", NULL },
	{ V "rua=mailto:a+b@example.com", "a+b@example.com", NULL },
	{ V "rua=https://r.example", "https://r.example", NULL },
	{ V "rua=https://r.example:8443/x", "https://r.example:8443/x", NULL },
	{ V "rua=https://r.example:/x", "https://r.example:/x", NULL },
	{ V "rua=https://r.example?a=b&c=d", "https://r.example?a=b&c=d",
		NULL },
	{ V "rua=https://r.example/a%2Cb%21", "https://r.example/a%2Cb%21",
		NULL },
	{ V "rua=https://r.example/x#part", "https://r.example/x", NULL },
	{ V "rua=https://b%c3%bccher.example/", "https://b%c3%bccher.example/",
		NULL },
	{ V "rua=ftp://r.example/x,mailto:a@example.com", "a@example.com",
		NULL },
	{ V "rua=x-a+b.c:anything,mailto:a@example.com", "a@example.com",
		NULL },

	{ "", NULL, "does not begin" },
	{ "v=TLSRPTv1", NULL, "does not begin" },
	{ "v=TLSRPTv1 ; rua=mailto:a@example.com", NULL, "does not begin" },
	{ "v=tlsrptv1; rua=mailto:a@example.com", NULL, "does not begin" },
	{ "V=TLSRPTv1; rua=mailto:a@example.com", NULL, "does not begin" },
	{ "v=TLSRPTv2; rua=mailto:a@example.com", NULL, "does not begin" },
	{ " v=TLSRPTv1; rua=mailto:a@example.com", NULL, "does not begin" },
	{ "rua=mailto:a@example.com; v=TLSRPTv1;", NULL, "does not begin" },
	{ "v=STSv1; id=1", NULL, "does not begin" },
	{ "v=TLSRPTv1;", NULL, "there is no rua" },
	{ V "foo=bar", NULL, "there is no rua" },
	{ V "RUA=mailto:a@example.com", NULL, "there is no rua" },
	{ V "rua", NULL, "no \"=\"" },
	{ V "rua=", NULL, "no value" },
	{ V "rua=;", NULL, "no value" },
	{ V "rua= mailto:a@example.com", NULL, "white space after" },
	{ V "rua =mailto:a@example.com", NULL, "not a field name" },
	{ V "rua=mailto:a@example.com ", NULL, "white space at the end" },
	{ V "rua=mailto:a@example.com;;", NULL, "empty field" },
	{ V "rua=mailto:a@example.com,", NULL, "empty place" },
	{ V "rua=,mailto:a@example.com", NULL, "empty place" },
	{ V "rua=mailto:a@example.com,,mailto:b@example.com", NULL,
		"empty place" },
	{ V "rua=a@example.com", NULL, "not a URI" },
	{ V "rua=mailto:a@example.com!10m", NULL, "%21" },
	{ V "rua=mailto:", NULL, "not a mail address" },
	{ V "rua=mailto:a", NULL, "not a mail address" },
	{ V "rua=mailto:@example.com", NULL, "not a mail address" },
	{ V "rua=mailto:a@", NULL, "not a mail address" },
	{ V "rua=mailto:a@b..example", NULL, "not a mail address" },
	{ V "rua=mailto://a@example.com", "//a@example.com", NULL },
	{ V "rua=mailto:a%0d%0a@example.com", NULL, "not a mail address" },
	{ V "rua=mailto:a%00@example.com", NULL, "not a mail address" },
	{ V "rua=mailto:a%ff@example.com", NULL, "not a mail address" },
	{ V "rua=mailto:a%2@example.com", NULL, "two hex digits" },
	{ V "rua=mailto:a@example.com%", NULL, "two hex digits" },
	{ V "rua=mailto:a@example.com%2", NULL, "two hex digits" },
	{ V "rua=mailto:a b@example.com", NULL, "percent-encoded" },
	{ V "rua=mailto:<a@example.com>", NULL, "percent-encoded" },
	{ V "rua=mailto:\xc3\xbc@example.com", NULL, "percent-encoded" },
	{ V "rua=mailto:\"a\"@example.com", NULL, "percent-encoded" },
	{ V "rua=https:r.example", NULL, "no \"//\"" },
	{ V "rua=https:/r.example", NULL, "no \"//\"" },
	{ V "rua=https://", NULL, "no host name" },
	{ V "rua=https:///x", NULL, "no host name" },
	{ V "rua=https://a..b/", NULL, "no host name" },
	{ V "rua=https://a%2fb/", NULL, "no host name" },
	{ V "rua=https://a%00b/", NULL, "no host name" },
	{ V "rua=https://user@r.example/", NULL, "user name" },
	{ V "rua=https://r.example:443@evil.example/", NULL, "user name" },
	{ V "rua=https://192.0.2.1/", NULL, "an address" },
	{ V "rua=https://0x7f000001.1/", NULL, "an address" },
	{ V "rua=https://2130706433/", NULL, "an address" },
	{ V "rua=https://[2001:db8::1]/", NULL, "an address" },
	{ V "rua=https://r.example:0/", NULL, "bad port" },
	{ V "rua=https://r.example:65536/", NULL, "bad port" },
	{ V "rua=https://r.example:44x/", NULL, "bad port" },
	{ V "rua=https://r.example:000443/", NULL, "bad port" },
	{ V "rua=http://r.example/", NULL, "no place" },
	{ V "rua=ftp://r.example/", NULL, "no place" },
	{ V "rua=1http://r.example/", NULL, "not a URI" },
	{ V "rua=://r.example/", NULL, "not a URI" },
	{ V "rua=mailto:a@example.com; foo=a b", NULL, "not permitted" },
	{ V "rua=mailto:a@example.com; foo=", NULL, "no value" },
	{ V "rua=mailto:a@example.com; " D10 D10 D10 "abc=x", NULL,
		"not a field name" },
	{ V "rua=mailto:a@example.com mailto:b@example.com", NULL,
		"percent-encoded" },
};

static char *
targets(const struct tlsrpt_record *record)
{
	char *all = xstrdup("");

	for (size_t i = 0; i < record->rua_count; i++) {
		char *more = xasprintf("%s%s%s", all, i > 0 ? " " : "",
			record->rua[i].target);

		free(all);
		all = more;
	}
	return all;
}

static void
check_refused(const struct record_case *c, enum status st, const char *err)
{
	char clean[TLSRPT_ERR_MAX];

	str_sanitise(clean, sizeof(clean), err, strlen(err));
	if (st != ST_PARSE)
		fail_msg("\"%s\": accepted", c->text);
	if (strstr(err, c->part) == NULL ||
	    strcmp(clean, err) != 0 || strstr(err, "(RFC ") == NULL)
		fail_msg("\"%s\": %s", c->text, err);
}

static void
test_records(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(records); i++) {
		const struct record_case *c = &records[i];
		struct tlsrpt_record *record;
		char err[TLSRPT_ERR_MAX], *got;
		enum status st = tlsrpt_record_parse(BYTES(c->text),
			strlen(c->text), &record, err);

		if (c->targets == NULL) {
			assert_null(record);
			check_refused(c, st, err);
			continue;
		}
		if (st != ST_OK)
			fail_msg("\"%s\": %s", c->text, err);
		got = targets(record);
		assert_string_equal(got, c->targets);
		free(got);
		tlsrpt_record_free(&record);
		assert_null(record);
	}
}

static void
test_rua(void **state)
{
	static const char text[] = V "rua=HTTPS://B%c3%bccher.example:08443/x"
		"?a=b#c,https://r.example,mailto:a%2Bb@Example.com?cc=x";
	struct tlsrpt_record *record;
	char err[TLSRPT_ERR_MAX];

	(void)state;
	assert_int_equal(tlsrpt_record_parse(BYTES(text), sizeof(text) - 1,
		&record, err), ST_OK);
	assert_int_equal(record->rua_count, 3);
	assert_int_equal(record->rua[0].kind, TLSRPT_HTTPS);
	assert_string_equal(record->rua[0].uri,
		"HTTPS://B%c3%bccher.example:08443/x?a=b#c");
	assert_string_equal(record->rua[0].target,
		"https://B%c3%bccher.example:08443/x?a=b");
	assert_string_equal(record->rua[0].host, "xn--bcher-kva.example");
	assert_int_equal(record->rua[0].port, 8443);
	assert_string_equal(record->rua[1].host, "r.example");
	assert_int_equal(record->rua[1].port, 443);
	assert_int_equal(record->rua[2].kind, TLSRPT_MAILTO);
	assert_string_equal(record->rua[2].uri,
		"mailto:a%2Bb@Example.com?cc=x");
	assert_string_equal(record->rua[2].target, "a+b@Example.com");
	assert_null(record->rua[2].host);
	assert_int_equal(record->rua[2].port, 0);
	tlsrpt_record_free(&record);
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
test_notes(void **state)
{
	static const char text[] = V "foo=bar; rua=mailto:a@example.com?cc=x,"
		"ftp://r.example,https://r.example/#x";
	struct notes notes = { "" };
	struct tlsrpt_record *record;
	char err[TLSRPT_ERR_MAX];

	(void)state;
	assert_int_equal(tlsrpt_record_judge(BYTES(text), sizeof(text) - 1,
		&record, err, on_note, &notes), ST_OK);
	tlsrpt_record_free(&record);
	assert_string_equal(notes.text,
		"0 unknown field \"foo\" is ignored (RFC 8460 3)\n"
		"0 of \"mailto:a@example.com?cc=x\" only the address is used "
		"(RFC 8460 5.3)\n"
		"0 \"ftp://r.example\" is ignored: reports go to mailto and "
		"https only (RFC 8460 3)\n"
		"0 the fragment of \"https://r.example/#x\" is not used "
		"(RFC 8460 5.4)\n");
}

static void
test_bounds(void **state)
{
	static char text[TLSRPT_RECORD_MAX + 1];
	struct notes notes = { "" };
	struct tlsrpt_record *record;
	char err[TLSRPT_ERR_MAX];
	size_t used = (size_t)snprintf(text, sizeof(text), V "rua=mailto:a@a");

	(void)state;
	for (int i = 1; i < TLSRPT_RUA_MAX + 3; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
			",mailto:a@a");
	assert_int_equal(tlsrpt_record_judge(BYTES(text), used, &record, err,
		on_note, &notes), ST_OK);
	assert_int_equal(record->rua_count, TLSRPT_RUA_MAX);
	assert_string_equal(notes.text,
		"0 only the first 8 places are used (RFC 8460 3)\n");
	tlsrpt_record_free(&record);
	memset(text + used, 'x', sizeof(text) - used);
	memcpy(text + used, ";foo=", 5);
	assert_int_equal(tlsrpt_record_parse(BYTES(text), TLSRPT_RECORD_MAX,
		&record, err), ST_OK);
	tlsrpt_record_free(&record);
	assert_int_equal(tlsrpt_record_parse(BYTES(text),
		TLSRPT_RECORD_MAX + 1, &record, err), ST_PARSE);
	assert_int_equal(tlsrpt_record_parse(NULL, 0, &record, err), ST_PARSE);
}

/* ---- answers ---- */

#define TXT_MAX 3
#define GOOD V "rua=mailto:a@a"

static const struct answer_case {
	enum dns_result result;
	enum dns_security security;
	const char *txt[TXT_MAX];
	enum tlsrpt_finding finding;
} answers[] = {
	{ DNS_NXDOMAIN, DNS_SEC_INSECURE, { NULL }, TLSRPT_FINDING_NONE },
	{ DNS_NODATA, DNS_SEC_SECURE, { NULL }, TLSRPT_FINDING_NONE },
	{ DNS_FOUND, DNS_SEC_UNKNOWN, { GOOD }, TLSRPT_FINDING_RECORD },
	{ DNS_FOUND, DNS_SEC_SECURE, { "hello", GOOD, "v=TLSRPTv10; x=y" },
		TLSRPT_FINDING_RECORD },
	{ DNS_FOUND, DNS_SEC_SECURE, { "hello" }, TLSRPT_FINDING_NONE },
	{ DNS_FOUND, DNS_SEC_SECURE, { GOOD, GOOD }, TLSRPT_FINDING_INVALID },
	{ DNS_FOUND, DNS_SEC_SECURE, { GOOD, "v=TLSRPTv1;" },
		TLSRPT_FINDING_INVALID },
	{ DNS_FOUND, DNS_SEC_SECURE, { "v=TLSRPTv1; x=y" },
		TLSRPT_FINDING_INVALID },
	{ DNS_LATER, DNS_SEC_INDETERMINATE, { NULL }, TLSRPT_FINDING_FAILED },
	{ DNS_LATER, DNS_SEC_UNKNOWN, { NULL }, TLSRPT_FINDING_FAILED },
	{ DNS_FOUND, DNS_SEC_BOGUS, { GOOD }, TLSRPT_FINDING_FAILED },
	{ DNS_NXDOMAIN, DNS_SEC_BOGUS, { NULL }, TLSRPT_FINDING_FAILED },
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
			.records = set };
		struct tlsrpt_record *record;
		char err[TLSRPT_ERR_MAX];
		enum tlsrpt_finding finding;

		for (size_t t = 0; t < TXT_MAX && c->txt[t] != NULL; t++) {
			set[t].u.txt.data = BYTES(c->txt[t]);
			set[t].u.txt.len = strlen(c->txt[t]);
			answer.count++;
		}
		finding = tlsrpt_record_read(&answer, &record, err);
		if (finding != c->finding)
			fail_msg("%zu: %s %s", i, tlsrpt_finding_name(finding),
				err);
		assert_true((record != NULL) ==
			(finding == TLSRPT_FINDING_RECORD));
		assert_true((err[0] != '\0') ==
			(finding >= TLSRPT_FINDING_INVALID));
		tlsrpt_record_free(&record);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_rua),
		cmocka_unit_test(test_notes),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
