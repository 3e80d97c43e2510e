/*
 * Demands that a message brings along (RFC 8689): when a host will do for
 * REQUIRETLS and how its certificate is then verified, and what is left of
 * policy under "TLS-Required: No".
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/policy.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define NOW_S 1795000000
#define REQUIRE POLICY_MESSAGE_REQUIRE
#define OPTIONAL POLICY_MESSAGE_OPTIONAL
#define PLAIN POLICY_MESSAGE_PLAIN
#define SECURE DNS_SEC_SECURE
#define INSECURE DNS_SEC_INSECURE
#define DEST(rule) "destination \"d.example\" { " rule " }"
#define HOST(rule) "host \"mx.example\" { " rule " }"
#define PRINT "fingerprints = {\"" \
	"0000000000000000000000000000000000000000000000000000000000000000\"}"

struct demand_case {
	const char *conf;
	enum policy_message message;
	enum dns_security mx;
	bool relay;
	enum dane_finding finding;
	bool asked;			/* TLSA matters */
	/* the demand, or the verdict when there is none */
	enum demand_level level;
	enum demand_why why;
	enum outcome_verdict verdict;
	const char *name;		/* the first reference name */
};

#define SKIP(v) DEMAND_NONE, WHY_DEFAULT, VERDICT_##v, NULL
#define GIVES(l, w, n) DEMAND_##l, WHY_##w, VERDICT_NONE, n

/* clang-format off */
static const struct demand_case cases[] = {
	/* REQUIRETLS: what will not do */
	{ "", REQUIRE, INSECURE, false, DANE_NONE, true, SKIP(NEVER) },
	{ "", REQUIRE, DNS_SEC_UNKNOWN, false, DANE_NONE, true, SKIP(NEVER) },
	/* a forged MX record may name any host with TLSA records */
	{ "", REQUIRE, INSECURE, false, DANE_FOUND, true, SKIP(NEVER) },
	{ "dane { insecure-mx = may }", REQUIRE, INSECURE, false, DANE_FOUND,
	  false, SKIP(NEVER) },
	{ DEST("tls = dane-only"), REQUIRE, INSECURE, false, DANE_FOUND,
	  false, SKIP(LATER) },
	/* the operator's word for a host does not say whose host it is */
	{ HOST("tls = dane-only"), REQUIRE, INSECURE, false, DANE_FOUND, true,
	  SKIP(NEVER) },
	{ HOST("tls = pkix"), REQUIRE, INSECURE, false, DANE_NONE, false,
	  SKIP(NEVER) },
	{ "", REQUIRE, INSECURE, false, DANE_UNUSABLE, true, SKIP(NEVER) },
	{ "", REQUIRE, SECURE, false, DANE_FAILED, true, SKIP(LATER) },
	{ DEST("tls = dane-only"), REQUIRE, SECURE, false, DANE_NONE, true,
	  SKIP(LATER) },
	/* rules that do not verify are not enough, nor do they weaken */
	{ "require-tls = yes", REQUIRE, INSECURE, false, DANE_NONE, true,
	  SKIP(NEVER) },
	{ DEST("tls = encrypt"), REQUIRE, INSECURE, false, DANE_NONE, true,
	  SKIP(NEVER) },
	{ DEST("tls = none override = yes"), REQUIRE, INSECURE, false,
	  DANE_NONE, true, SKIP(NEVER) },
	{ "hosts-avoid-tls = {\"mx.example\"}", REQUIRE, INSECURE, false,
	  DANE_NONE, true, SKIP(NEVER) },

	/* and what will */
	{ "", REQUIRE, SECURE, false, DANE_FOUND, true,
	  GIVES(DANE, REQUIRETLS, "base.example") },
	{ "", REQUIRE, SECURE, false, DANE_NONE, true,
	  GIVES(PKIX, REQUIRETLS, "mx.example") },
	{ "", REQUIRE, SECURE, false, DANE_UNUSABLE, true,
	  GIVES(PKIX, REQUIRETLS, "mx.example") },
	{ "hosts-avoid-tls = {\"mx.example\"}", REQUIRE, SECURE, false,
	  DANE_NONE, true, GIVES(PKIX, REQUIRETLS, "mx.example") },
	{ DEST("tls = none override = yes"), REQUIRE, SECURE, false,
	  DANE_FOUND, true, GIVES(DANE, REQUIRETLS, "base.example") },
	{ DEST("tls = may override = yes"), REQUIRE, SECURE, false,
	  DANE_NONE, true, GIVES(PKIX, REQUIRETLS, "mx.example") },
	{ DEST("tls = pkix"), REQUIRE, INSECURE, false, DANE_NONE, false,
	  GIVES(PKIX, REQUIRETLS, "d.example") },
	{ DEST("tls = pkix match-names = {\"x.example\"} override = yes"),
	  REQUIRE, INSECURE, false, DANE_NONE, false,
	  GIVES(PKIX, REQUIRETLS, "x.example") },
	{ DEST("tls = fingerprint " PRINT), REQUIRE, INSECURE, false,
	  DANE_NONE, false, GIVES(FINGERPRINT, REQUIRETLS, NULL) },
	{ HOST("tls = dane-only"), REQUIRE, SECURE, false, DANE_FOUND, true,
	  GIVES(DANE, REQUIRETLS, "base.example") },
	{ HOST("tls = pkix"), REQUIRE, SECURE, false, DANE_NONE, false,
	  GIVES(PKIX, REQUIRETLS, "mx.example") },
	{ DEST("relay = \"mx.example\""), REQUIRE, DNS_SEC_UNKNOWN, true,
	  DANE_NONE, true, GIVES(PKIX, REQUIRETLS, "mx.example") },

	/* TLS-Required: No */
	{ "", OPTIONAL, SECURE, false, DANE_NONE, false,
	  GIVES(MAY, TLS_OPTIONAL, NULL) },
	{ "require-tls = yes", OPTIONAL, SECURE, false, DANE_NONE, false,
	  GIVES(ENCRYPT, REQUIRE_TLS, NULL) },
	{ "require-tls = yes " DEST("tls = none"), OPTIONAL, SECURE, false,
	  DANE_NONE, false, GIVES(ENCRYPT, REQUIRE_TLS, NULL) },
	{ "hosts-require-tls = {\"mx.example\"}", OPTIONAL, SECURE, false,
	  DANE_NONE, false, GIVES(ENCRYPT, HOSTS_REQUIRE, NULL) },
	{ "hosts-avoid-tls = {\"mx.example\"}", OPTIONAL, SECURE, false,
	  DANE_NONE, false, GIVES(NONE, TLS_OPTIONAL, NULL) },
	{ DEST("tls = none"), OPTIONAL, SECURE, false, DANE_NONE, false,
	  GIVES(NONE, TLS_OPTIONAL, NULL) },
	{ DEST("tls = encrypt"), OPTIONAL, SECURE, false, DANE_NONE, false,
	  GIVES(MAY, TLS_OPTIONAL, NULL) },
	{ DEST("tls = dane-only"), OPTIONAL, SECURE, false, DANE_NONE, false,
	  GIVES(MAY, TLS_OPTIONAL, NULL) },
	{ DEST("tls = pkix"), OPTIONAL, SECURE, false, DANE_NONE, false,
	  GIVES(MAY, TLS_OPTIONAL, NULL) },
	{ DEST("tls = fingerprint " PRINT), OPTIONAL, SECURE, false,
	  DANE_NONE, false, GIVES(MAY, TLS_OPTIONAL, NULL) },
	{ DEST("tls = encrypt override = yes"), OPTIONAL, SECURE, false,
	  DANE_NONE, false, GIVES(ENCRYPT, OVERRIDE, NULL) },
	{ DEST("tls = pkix override = yes"), OPTIONAL, INSECURE, false,
	  DANE_NONE, false, GIVES(PKIX, OVERRIDE, "d.example") },
	{ DEST("tls = dane-only override = yes"), OPTIONAL, SECURE, false,
	  DANE_FOUND, true, GIVES(DANE, DANE, "base.example") },
	{ DEST("tls = encrypt override = yes until = \"2001-01-01\""),
	  OPTIONAL, SECURE, false, DANE_NONE, false,
	  GIVES(MAY, TLS_OPTIONAL, NULL) },
	/* our own relay is not the recipient's affair */
	{ DEST("relay = \"mx.example\" tls = pkix"), OPTIONAL,
	  DNS_SEC_UNKNOWN, true, DANE_NONE, false,
	  GIVES(PKIX, LOCAL, "mx.example") },

	/* the twins without a demand of the message */
	{ "", PLAIN, INSECURE, false, DANE_NONE, true,
	  GIVES(MAY, DEFAULT, NULL) },
	{ "", PLAIN, INSECURE, false, DANE_FOUND, true,
	  GIVES(DANE, DANE, "base.example") },
	{ "", PLAIN, SECURE, false, DANE_UNUSABLE, true,
	  GIVES(ENCRYPT, DANE_UNUSABLE, NULL) },
	{ DEST("tls = none override = yes"), PLAIN, SECURE, false, DANE_NONE,
	  false, GIVES(NONE, OVERRIDE, NULL) },
	{ "require-tls = yes", PLAIN, SECURE, false, DANE_NONE, true,
	  GIVES(ENCRYPT, REQUIRE_TLS, NULL) },
};
/* clang-format on */

static void
check_demand(size_t i, const struct demand *d, const struct outcome *why)
{
	const struct demand_case *c = &cases[i];

	if (c->verdict != VERDICT_NONE) {
		if (d != NULL)
			fail_msg("case %zu: demands %s", i,
				demand_level_name(d->level));
		assert_int_equal(why->verdict, c->verdict);
		assert_int_equal(why->scope, SCOPE_HOST);
		if (c->verdict == VERDICT_NEVER)
			assert_string_equal(why->enhanced, "5.7.30");
		return;
	}
	if (d == NULL)
		fail_msg("case %zu: %s", i, why->text);
	if (d->level != c->level || d->why != c->why)
		fail_msg("case %zu: %s, %s", i, demand_level_name(d->level),
			demand_why_name(d->why));
	if (c->name == NULL)
		assert_int_equal(d->name_count, 0);
	else
		assert_string_equal(d->names[0], c->name);
}

static void
test_cases(void **state)
{
	static const uint8_t digest[32];
	struct demand *found = demand_new(DEMAND_DANE, WHY_DANE);

	(void)state;
	demand_add_tlsa(found, 3, 1, 1, digest, sizeof(digest));
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct demand_case *c = &cases[i];
		const struct policy_host h = {
			.destination = "d.example", .host = "mx.example",
			.relay = c->relay, .mx = c->mx, .now_s = NOW_S,
			.message = c->message,
		};
		char err[CONF_ERR_MAX];
		struct conf *conf = NULL;
		struct policy_plan plan;
		struct outcome why;
		struct demand *d;

		if (conf_parse("t", c->conf, &conf, err) != ST_OK)
			fail_msg("case %zu: %s", i, err);
		policy_plan(conf, &h, &plan);
		if (plan.want_tlsa != c->asked)
			fail_msg("case %zu: TLSA wanted %d", i,
				plan.want_tlsa);
		d = policy_decide(conf, &h, &plan, c->finding, found,
			"base.example", &why);
		check_demand(i, d, &why);
		demand_free(&d);
		policy_plan_clear(&plan);
		conf_free(&conf);
	}
	demand_free(&found);
}

/* A PKIX demand for an address makes no sense: nobody certifies it. */
static void
test_literal(void **state)
{
	const struct policy_host h = { .destination = "[192.0.2.1]",
		.host = "[192.0.2.1]", .mx = DNS_SEC_SECURE, .now_s = NOW_S,
		.message = POLICY_MESSAGE_REQUIRE };
	char err[CONF_ERR_MAX];
	struct conf *conf = NULL;
	struct policy_plan plan;
	struct outcome why;

	(void)state;
	assert_int_equal(conf_parse("t", "", &conf, err), ST_OK);
	policy_plan(conf, &h, &plan);
	assert_null(policy_decide(conf, &h, &plan, DANE_NONE, NULL, NULL,
		&why));
	assert_int_equal(why.verdict, VERDICT_NEVER);
	policy_plan_clear(&plan);
	conf_free(&conf);
}

static void
test_flags(void **state)
{
	(void)state;
	assert_int_equal(policy_message(0), POLICY_MESSAGE_PLAIN);
	assert_int_equal(policy_message(ENVELOPE_BOUNCE | ENVELOPE_8BITMIME),
		POLICY_MESSAGE_PLAIN);
	assert_int_equal(policy_message(ENVELOPE_REQUIRETLS),
		POLICY_MESSAGE_REQUIRE);
	assert_int_equal(policy_message(ENVELOPE_TLS_OPTIONAL),
		POLICY_MESSAGE_OPTIONAL);
	assert_int_equal(policy_message(ENVELOPE_TLS_OPTIONAL |
		ENVELOPE_REQUIRETLS), POLICY_MESSAGE_REQUIRE);
}

/* Neither may pass for the other, nor for a demand without the message's. */
static void
test_not_same(void **state)
{
	struct demand *a = demand_new(DEMAND_PKIX, WHY_REQUIRETLS);
	struct demand *b = demand_new(DEMAND_PKIX, WHY_LOCAL);
	struct demand *c = demand_new(DEMAND_MAY, WHY_TLS_OPTIONAL);
	struct demand *d = demand_new(DEMAND_MAY, WHY_DEFAULT);

	(void)state;
	assert_false(demand_same(a, b));
	assert_false(demand_same(c, d));
	assert_string_equal(demand_why_name(a->why), "requiretls");
	assert_string_equal(demand_why_name(c->why), "tls-required-no");
	demand_free(&a);
	demand_free(&b);
	demand_free(&c);
	demand_free(&d);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_literal),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_not_same),
	};

	return cmocka_run_group_tests_name("policy_message", tests, NULL,
		NULL);
}
