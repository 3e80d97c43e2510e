/*
 * The sections tlsrpt and dkim: defaults that follow from others, and what is
 * refused.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/conf.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define KEY "dkim { domain = \"Example.org\" selector = s1 " \
	"key-file = \"/k.pem\" }\n"

static struct conf *
parse(const char *text)
{
	char err[CONF_ERR_MAX];
	struct conf *c = NULL;

	if (conf_parse("t.conf", text, &c, err) != ST_OK)
		fail_msg("%s", err);
	return c;
}

static void
test_defaults(void **state)
{
	struct conf *c = parse("hostname = \"mx.example.org\"");

	(void)state;
	assert_false(c->tlsrpt.send);
	assert_string_equal(c->tlsrpt.domain, "mx.example.org");
	assert_string_equal(c->tlsrpt.organization, "mx.example.org");
	assert_string_equal(c->tlsrpt.contact, "postmaster@mx.example.org");
	assert_string_equal(c->tlsrpt.from, "postmaster@mx.example.org");
	assert_true(c->tlsrpt.success_reports);
	assert_int_equal(c->tlsrpt.exclude_count, 0);
	assert_null(c->dkim.domain);
	assert_null(c->dkim.selector);
	assert_null(c->dkim.key_file);
	assert_false(c->dkim.sign_notices);
	conf_free(&c);
}

static void
test_everything(void **state)
{
	struct conf *c = parse("hostname = \"mx.example.org\"\n"
		"tlsrpt { organization = \"Example Org\"\n"
		"  contact = \"tls@example.net\" from = \"r@mx.example.org\"\n"
		"  domain = \"Reports.Example.org.\" success-reports = no\n"
		"  exclude = {\"A.example\", \".b.example\"} }\n"
		"dkim { domain = \"example.org\" selector = \"s1.k\"\n"
		"  key-file = \"/k\" sign-notices = yes }\n");

	(void)state;
	assert_true(c->tlsrpt.send);
	assert_string_equal(c->tlsrpt.organization, "Example Org");
	assert_string_equal(c->tlsrpt.contact, "tls@example.net");
	assert_string_equal(c->tlsrpt.from, "r@mx.example.org");
	assert_string_equal(c->tlsrpt.domain, "reports.example.org");
	assert_false(c->tlsrpt.success_reports);
	assert_int_equal(c->tlsrpt.exclude_count, 2);
	assert_true(conf_tlsrpt_excluded(c, "a.example"));
	assert_false(conf_tlsrpt_excluded(c, "x.a.example"));
	assert_true(conf_tlsrpt_excluded(c, "x.b.example"));
	assert_false(conf_tlsrpt_excluded(c, "b.example"));
	assert_false(conf_tlsrpt_excluded(c, "xb.example"));
	assert_string_equal(c->dkim.domain, "example.org");
	assert_string_equal(c->dkim.selector, "s1.k");
	assert_string_equal(c->dkim.key_file, "/k");
	assert_true(c->dkim.sign_notices);
	conf_free(&c);
}

/* Whether reports are sent, from what is given. */
static void
test_send(void **state)
{
	static const struct {
		const char *text;
		bool send;
		const char *domain;
	} cases[] = {
		{ "tlsrpt { }", false, "mx.example.org" },
		{ "tlsrpt { contact = \"p@example.org\" }", true,
		    "mx.example.org" },
		{ "tlsrpt { send = no contact = \"p@example.org\" }", false,
		    "mx.example.org" },
		{ "tlsrpt { send = yes }", true, "mx.example.org" },
		{ "tlsrpt { send = auto }", false, "mx.example.org" },
		{ KEY, false, "example.org" },
		{ "tlsrpt { send = yes }\n" KEY, true, "example.org" },
		{ "tlsrpt { send = yes domain = d.example }\n" KEY, true,
		    "d.example" },
		/* Without mail of ours the address does not matter. */
		{ "tlsrpt { send = no from = \"p@else.example\" }\n" KEY,
		    false, "example.org" },
		{ "tlsrpt { from = \"p@else.example\" send = yes }", true,
		    "mx.example.org" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char text[512] = "hostname = \"mx.example.org\"\n";
		struct conf *c;

		strncat(text, cases[i].text, sizeof(text) - 60);
		c = parse(text);
		if (c->tlsrpt.send != cases[i].send)
			fail_msg("%s", cases[i].text);
		assert_string_equal(c->tlsrpt.domain, cases[i].domain);
		conf_free(&c);
	}
}

static void
test_faults(void **state)
{
	static const struct {
		const char *text, *where, *what;
	} cases[] = {
		{ "tlsrpt {\n send = maybe }", ":2:", "auto no yes" },
		{ "tlsrpt {\n contact = \"nobody\" }", ":2:", "mail address" },
		{ "tlsrpt {\n contact = \"<a@b.example>\" }", ":2:",
		    "mail address" },
		{ "tlsrpt {\n from = \"a@b@c d\" }", ":2:", "mail address" },
		{ "tlsrpt {\n domain = \"a b\" }", ":2:", "host name" },
		{ "tlsrpt {\n organization = \"\" }", ":2:", "line of text" },
		{ "tlsrpt {\n organization = \"a\\nb\" }", ":2:",
		    "line of text" },
		{ "tlsrpt {\n success-reports = 2 }", ":2:", "yes nor no" },
		{ "tlsrpt {\n exclude = {\"a b\"} }", ":2:", "exclude" },
		{ "tlsrpt {\n unknown = 1 }", ":2:", "unknown" },
		{ "tlsrpt { }\ntlsrpt { }", ":2:", "given twice" },
		{ "dkim {\n key-file = \"k\" }", ":2:", "absolute path" },
		{ "dkim {\n selector = \"a b\" }", ":2:", "host name" },
		{ "dkim { selector = s }", "t.conf:", "belong together" },
		{ "dkim { domain = \"a.example\" }", "t.conf:",
		    "belong together" },
		{ "dkim { key-file = \"/k\" selector = s }", "t.conf:",
		    "belong together" },
		{ "dkim { sign-notices = yes }", "t.conf:", "without a key" },
		{ "tlsrpt { contact = \"a@example.net\" }\n" KEY, "t.conf:",
		    "domain of dkim" },
		{ "tlsrpt { contact = \"a@example.org\" "
		    "from = \"a@badexample.org\" }\n" KEY, "t.conf:",
		    "domain of dkim" },
	};
	char err[CONF_ERR_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char text[512] = "hostname=\"mx.example.org\" ";
		struct conf *c = NULL;

		strncat(text, cases[i].text, sizeof(text) - 60);
		if (conf_parse("t.conf", text, &c, err) != ST_PARSE ||
		    strstr(err, cases[i].where) == NULL ||
		    strstr(err, cases[i].what) == NULL)
			fail_msg("%s: %s", cases[i].text, err);
		assert_null(c);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_everything),
		cmocka_unit_test(test_send),
		cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests_name("conf_report", tests, NULL, NULL);
}
