/*
 * What a relay rule demands of the connection: smtps is a demand in itself,
 * whatever else the rules say.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "policy/policy.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define SMTPS "relay = \"smtps://relay.example\""

static struct conf *
parse(const char *text)
{
	char err[CONF_ERR_MAX];
	struct conf *conf;

	if (conf_parse("t", text, &conf, err) != ST_OK)
		fail_msg("%s: %s", text, err);
	return conf;
}

static const struct refused_case {
	const char *options;
	const char *why;
} refused_cases[] = {
	{ "tls = none " SMTPS, "tls = none" },
	{ "tls = pkix auth-file = \"/a\"", "without a relay" },
	{ SMTPS " auth-file = \"/a\"", "verified relay" },
	{ "tls = none relay = \"r\" auth-file = \"/a\"", "verified relay" },
	{ "tls = may " SMTPS " auth-file = \"/a\"", "verified relay" },
	{ "tls = encrypt " SMTPS " auth-file = \"/a\"", "verified relay" },
	{ "tls = pkix " SMTPS " auth-file = \"a\"", "absolute path" },
};

static void
test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(refused_cases); i++) {
		char *text = xasprintf("destination \"d.example\" { %s }",
			refused_cases[i].options);
		char err[CONF_ERR_MAX];
		struct conf *conf;

		if (conf_parse("t", text, &conf, err) != ST_PARSE ||
		    strstr(err, refused_cases[i].why) == NULL)
			fail_msg("%s: %s", text, err);
		mem_free(&text);
	}
}

static const struct policy_host relay = { .destination = "d.example",
	.host = "relay.example", .relay = true, .now_s = 2000000000 };

static const struct plan_case {
	const char *text;
	enum demand_level level;
	enum demand_why why;
	bool tls_first;
	bool forbids_clear;
} plan_cases[] = {
	{ "destination \"d.example\" { relay = \"relay.example\" }",
	    DEMAND_MAY, WHY_DEFAULT, false, false },
	{ "destination \"d.example\" { " SMTPS " }", DEMAND_ENCRYPT, WHY_LOCAL,
	    true, true },
	{ "destination \"d.example\" { tls = may " SMTPS " }", DEMAND_ENCRYPT,
	    WHY_LOCAL, true, true },
	{ "destination \"d.example\" { tls = pkix " SMTPS " }", DEMAND_PKIX,
	    WHY_LOCAL, true, true },
	/* what the others say does not weaken it */
	{ "hosts-avoid-tls = {\"relay.example\"}\n"
	    "destination \"d.example\" { " SMTPS " }", DEMAND_ENCRYPT,
	    WHY_LOCAL, true, true },
	{ "host \"relay.example\" { tls = none override = yes }\n"
	    "destination \"d.example\" { " SMTPS " }", DEMAND_ENCRYPT,
	    WHY_OVERRIDE, true, true },
	/* nor does the end of the rule */
	{ "destination \"d.example\" { tls = pkix until = \"2020-01-01\" "
	    SMTPS " }", DEMAND_ENCRYPT, WHY_LOCAL, true, true },
	{ "destination \".example\" { " SMTPS " }", DEMAND_ENCRYPT, WHY_LOCAL,
	    true, true },
};

static void
test_plan(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(plan_cases); i++) {
		const struct plan_case *p = &plan_cases[i];
		struct conf *conf = parse(p->text);
		struct policy_plan plan;
		struct demand *copy;

		policy_plan(conf, &relay, &plan);
		if (plan.floor->level != p->level || plan.floor->why != p->why)
			fail_msg("%s: %s by %s", p->text,
				demand_level_name(plan.floor->level),
				demand_why_name(plan.floor->why));
		assert_int_equal(plan.floor->tls_first, p->tls_first);
		assert_int_equal(demand_forbids_clear(plan.floor),
			p->forbids_clear);
		copy = demand_copy(plan.floor);
		assert_true(demand_same(copy, plan.floor));
		copy->tls_first = !copy->tls_first;
		assert_false(demand_same(copy, plan.floor));
		demand_free(&copy);
		policy_plan_clear(&plan);
		conf_free(&conf);
	}
}

#define AUTH "relay = \"relay.example\" auth-file = \"/a\""

/* A password goes with a demand that verifies, and nothing without it. */
static void
test_auth(void **state)
{
	static const struct {
		const char *text;
		bool sent;
	} cases[] = {
		{ "tls = pkix " AUTH, true },
		{ "tls = dane-only " AUTH, false },	/* no TLSA found */
		/* the rule is over: nothing verifies any more */
		{ "tls = pkix until = \"2020-01-01\" " AUTH, false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char *text = xasprintf("destination \"d.example\" { %s }",
			cases[i].text);
		struct conf *conf = parse(text);
		struct policy_plan plan;
		struct outcome why = { .verdict = VERDICT_NONE };
		struct demand *d, *other;

		policy_plan(conf, &relay, &plan);
		assert_true(demand_forbids_clear(plan.floor));
		d = policy_decide(conf, &relay, &plan, DANE_NONE, NULL, NULL,
			&why);
		assert_int_equal(d != NULL, cases[i].sent);
		if (d != NULL) {
			assert_string_equal(d->auth_file, "/a");
			other = demand_copy(d);
			assert_true(demand_same(other, d));
			mem_free(&other->auth_file);
			assert_false(demand_same(other, d));
			demand_free(&other);
		} else {
			assert_int_equal(why.verdict, VERDICT_LATER);
			assert_int_equal(why.scope, SCOPE_HOST);
		}
		demand_free(&d);
		policy_plan_clear(&plan);
		conf_free(&conf);
		mem_free(&text);
	}
}

/* The same destination by MX: a literal or a host of it is no relay. */
static void
test_not_relay(void **state)
{
	struct conf *conf = parse("destination \"d.example\" { " SMTPS " }");
	struct policy_host mx = relay;
	struct policy_plan plan;

	(void)state;
	mx.relay = false;
	policy_plan(conf, &mx, &plan);
	assert_false(plan.floor->tls_first);
	assert_int_equal(plan.floor->level, DEMAND_MAY);
	policy_plan_clear(&plan);
	conf_free(&conf);
}

/* TLSA records of the relay still decide, and smtps stays. */
static void
test_dane(void **state)
{
	static const uint8_t digest[32];
	struct conf *conf = parse("destination \"d.example\" { " SMTPS " }");
	struct demand *found = demand_new(DEMAND_DANE, WHY_DANE), *d;
	struct policy_plan plan;
	struct outcome why;

	(void)state;
	demand_add_tlsa(found, 3, 1, 1, digest, sizeof(digest));
	policy_plan(conf, &relay, &plan);
	assert_true(plan.want_tlsa);
	d = policy_decide(conf, &relay, &plan, DANE_FOUND, found,
		"relay.example", &why);
	assert_non_null(d);
	assert_int_equal(d->level, DEMAND_DANE);
	assert_true(d->tls_first);
	demand_free(&d);
	d = policy_decide(conf, &relay, &plan, DANE_UNUSABLE, found, NULL,
		&why);
	assert_true(d->tls_first);
	demand_free(&d);
	demand_free(&found);
	policy_plan_clear(&plan);
	conf_free(&conf);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_plan),
		cmocka_unit_test(test_auth),
		cmocka_unit_test(test_not_relay),
		cmocka_unit_test(test_dane),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
