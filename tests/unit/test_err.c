/*
 * Every constructor of an outcome: verdict, scope and codes agree, and remote
 * text is harmless.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/str.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct reply_case {
	enum outcome_stage stage;
	int code;
	const char *given;
	enum outcome_verdict verdict;
	const char *enhanced;
} reply_cases[] = {
	{ STAGE_EOM, 250, "2.6.0", VERDICT_DONE, "2.6.0" },
	{ STAGE_EOM, 250, NULL, VERDICT_DONE, "2.0.0" },
	{ STAGE_RCPT, 251, "2.1.5", VERDICT_DONE, "2.1.5" },
	{ STAGE_RCPT, 550, "5.1.1", VERDICT_NEVER, "5.1.1" },
	{ STAGE_RCPT, 550, NULL, VERDICT_NEVER, "5.1.0" },
	{ STAGE_RCPT, 550, "", VERDICT_NEVER, "5.1.0" },
	{ STAGE_RCPT, 550, "4.1.1", VERDICT_NEVER, "5.1.0" },
	{ STAGE_RCPT, 450, "5.1.1", VERDICT_LATER, "4.1.0" },
	{ STAGE_RCPT, 450, "4.1.1.1", VERDICT_LATER, "4.1.0" },
	{ STAGE_RCPT, 550, "5.1.12345678", VERDICT_NEVER, "5.1.0" },
	{ STAGE_CONNECT, 421, "4.3.2", VERDICT_LATER, "4.3.2" },
	{ STAGE_DATA, 354, NULL, VERDICT_LATER, "4.6.0" },
	{ STAGE_MAIL, 0, NULL, VERDICT_LATER, "4.1.0" },
	{ STAGE_MAIL, -550, NULL, VERDICT_LATER, "4.1.0" },
	{ STAGE_MAIL, 600, NULL, VERDICT_LATER, "4.1.0" },
	{ STAGE_MAIL, 199, NULL, VERDICT_LATER, "4.1.0" },
	{ (enum outcome_stage)99, 550, NULL, VERDICT_NEVER, "5.0.0" },
};

static void
test_reply(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(reply_cases); i++) {
		const struct reply_case *c = &reply_cases[i];
		struct outcome o = outcome_reply(SCOPE_RCPT, c->stage, c->code,
			c->given, "text");

		assert_int_equal(o.verdict, c->verdict);
		assert_string_equal(o.enhanced, c->enhanced);
		assert_string_equal(o.text, "text");
		assert_int_equal(o.code, c->code);
		assert_true(o.remote);
		assert_false(o.maybe_duplicate);
	}
}

static void
test_reply_text(void **state)
{
	static char huge[4096];
	struct outcome o = outcome_reply(SCOPE_HOST, STAGE_EHLO, 550, NULL,
		"a\r\nb\x1b\xff");

	(void)state;
	assert_string_equal(o.text, "a??b??");
	memset(huge, 'x', sizeof(huge) - 1);
	o = outcome_reply(SCOPE_HOST, STAGE_EHLO, 550, huge, huge);
	assert_int_equal(strlen(o.text), OUTCOME_TEXT_MAX - 1);
	assert_string_equal(o.enhanced, "5.5.0");
}

struct local_case {
	struct outcome o;
	enum outcome_scope scope;
	enum outcome_verdict verdict;
	int code;
	const char *enhanced, *says;
};

static void
check_local(const struct local_case *c)
{
	assert_int_equal(c->o.scope, c->scope);
	assert_int_equal(c->o.verdict, c->verdict);
	assert_int_equal(c->o.code, c->code);
	assert_string_equal(c->o.enhanced, c->enhanced);
	assert_true(str_is_enhanced_code(c->o.enhanced));
	assert_int_equal(c->o.enhanced[0], '0' + c->code / 100);
	assert_non_null(strstr(c->o.text, c->says));
	assert_false(c->o.remote);
	assert_true(c->o.stage != STAGE_NONE);
	assert_int_equal(c->o.maybe_duplicate,
		strstr(c->o.text, "twice") != NULL);
}

static void
test_destinations(void **state)
{
	const struct local_case cases[] = {
		{ outcome_no_domain("d.example"), SCOPE_DESTINATION,
			VERDICT_NEVER, 550, "5.1.2", "d.example" },
		{ outcome_null_mx("d.example"), SCOPE_DESTINATION,
			VERDICT_NEVER, 556, "5.1.10", "null MX" },
		{ outcome_no_address("d.example"), SCOPE_DESTINATION,
			VERDICT_NEVER, 550, "5.4.4", "d.example" },
		{ outcome_bad_address("a@[x]"), SCOPE_RCPT, VERDICT_NEVER, 553,
			"5.1.3", "a@[x]" },
		{ outcome_dns_later("d.example", "SERVFAIL"),
			SCOPE_DESTINATION, VERDICT_LATER, 451, "4.4.3",
			"SERVFAIL" },
		{ outcome_loop("d.example"), SCOPE_DESTINATION, VERDICT_NEVER,
			554, "5.4.6", "loops" },
		{ outcome_hops(51), SCOPE_MESSAGE, VERDICT_NEVER, 554, "5.4.6",
			"51" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		check_local(&cases[i]);
}

static void
test_hosts(void **state)
{
	const struct local_case cases[] = {
		{ outcome_connect("mx", "refused"), SCOPE_HOST, VERDICT_LATER,
			451, "4.4.1", "refused" },
		{ outcome_lost(STAGE_DATA, "mx"), SCOPE_HOST, VERDICT_LATER,
			451, "4.4.2", "data" },
		{ outcome_timeout(STAGE_BANNER, "mx"), SCOPE_HOST,
			VERDICT_LATER, 451, "4.4.2", "banner" },
		{ outcome_protocol(STAGE_EHLO, "mx", "NUL"), SCOPE_HOST,
			VERDICT_LATER, 451, "4.5.0", "NUL" },
		{ outcome_tls_required("mx", "no STARTTLS"), SCOPE_HOST,
			VERDICT_LATER, 451, "4.7.10", "no STARTTLS" },
		{ outcome_tls_failed("mx", TLS_FAILURE_EXPIRED,
			"alert"), SCOPE_HOST,
			VERDICT_LATER, 451, "4.7.5", "alert" },
		{ outcome_feature("mx", "SMTPUTF8"), SCOPE_HOST, VERDICT_NEVER,
			550, "5.6.7", "SMTPUTF8" },
		{ outcome_feature("mx", "REQUIRETLS"), SCOPE_HOST,
			VERDICT_NEVER, 550, "5.7.30", "REQUIRETLS" },
		{ outcome_require_tls("mx", "why"), SCOPE_HOST,
			VERDICT_NEVER, 550, "5.7.30", "mx cannot give: why" },
		{ outcome_feature("mx", "8BITMIME"), SCOPE_HOST, VERDICT_NEVER,
			550, "5.6.3", "8BITMIME" },
		{ outcome_feature("mx", "OTHER"), SCOPE_HOST, VERDICT_NEVER,
			550, "5.3.3", "OTHER" },
		{ outcome_size("mx", 1000), SCOPE_HOST, VERDICT_NEVER, 552,
			"5.3.4", "1000" },
		{ outcome_unsure("mx", "lost"), SCOPE_MESSAGE, VERDICT_LATER,
			451, "4.4.2", "twice" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		check_local(&cases[i]);
}

static void
test_ours(void **state)
{
	const struct local_case cases[] = {
		{ outcome_expired("greylisted"), SCOPE_RCPT, VERDICT_NEVER,
			551, "5.4.7", "greylisted" },
		{ outcome_expired(""), SCOPE_RCPT, VERDICT_NEVER, 551,
			"5.4.7", "never tried" },
		{ outcome_expired(NULL), SCOPE_RCPT, VERDICT_NEVER, 551,
			"5.4.7", "never tried" },
		{ outcome_removed(), SCOPE_RCPT, VERDICT_NEVER, 550, "5.7.1",
			"operator" },
		{ outcome_child_died(), SCOPE_DESTINATION, VERDICT_LATER, 451,
			"4.3.0", "process" },
		{ outcome_local("no room"), SCOPE_DESTINATION, VERDICT_LATER,
			451, "4.3.0", "no room" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		check_local(&cases[i]);
}

/* A text full of long characters is cut between them. */
static void
test_cut_between_characters(void **state)
{
	char text[OUTCOME_TEXT_MAX * 2];

	(void)state;
	for (size_t shift = 0; shift < 3; shift++) {
		struct outcome o;

		memset(text, 'a', shift);
		for (size_t i = shift; i + 3 < sizeof(text); i += 3)
			memcpy(text + i, "\xe2\x82\xac\0", 4);
		o = outcome_local(text);
		assert_null(strchr(o.text, '?'));
		assert_true(str_is_utf8(o.text, strlen(o.text)));
		assert_true(strlen(o.text) > OUTCOME_TEXT_MAX - 5);
	}
}

static void
test_names(void **state)
{
	(void)state;
	for (int st = ST_OK; st <= ST_CORRUPT; st++)
		assert_true(strcmp(status_name((enum status)st), "unknown"));
	for (int v = 0; v <= VERDICT_NEVER; v++)
		assert_true(strcmp(outcome_verdict_name(
			(enum outcome_verdict)v), "unknown"));
	for (int s = 0; s <= STAGE_QUEUE; s++)
		assert_non_null(outcome_stage_name((enum outcome_stage)s));
	assert_string_equal(status_name((enum status)99), "unknown");
	assert_string_equal(outcome_verdict_name((enum outcome_verdict)99),
		"unknown");
	assert_string_equal(outcome_stage_name((enum outcome_stage)99),
		"none");
	for (int f = 0; f < TLS_FAILURE_COUNT; f++) {
		enum tls_failure failure = (enum tls_failure)f;

		assert_non_null(tls_failure_name(failure));
		assert_non_null(tls_failure_meaning(failure));
		assert_non_null(tls_failure_cure(failure));
		assert_int_equal(tls_failure_parse(tls_failure_name(failure)),
			failure);
	}
	assert_int_equal(TLS_FAILURE_COUNT, 12);
	assert_string_equal(tls_failure_name((enum tls_failure)99), "unknown");
	assert_non_null(tls_failure_cure((enum tls_failure)99));
	assert_int_equal(tls_failure_parse("unknown"), TLS_FAILURE_NONE);
	assert_string_equal(outcome_verdict_name(VERDICT_DONE), "sent");
	assert_string_equal(outcome_verdict_name(VERDICT_LATER), "deferred");
	assert_string_equal(outcome_verdict_name(VERDICT_NEVER), "bounced");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reply),
		cmocka_unit_test(test_reply_text),
		cmocka_unit_test(test_destinations),
		cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_ours),
		cmocka_unit_test(test_cut_between_characters),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
