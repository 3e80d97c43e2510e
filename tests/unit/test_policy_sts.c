/*
 * MTA-STS beside local rules, DANE and what a message demands: a table of
 * words, then every combination with what must hold in all of them.
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
#include "policy/policy.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define NOW 1800000000			/* 2027-01-15 */
#define PRINTS "tls = fingerprint  fingerprints = {" \
	"\"00112233445566778899aabbccddeeff" \
	"00112233445566778899aabbccddeeff\"}"
#define DEST(body) "destination \"d.example\" { " body " }\n"
#define HOST(body) "host \"mx.example\" { " body " }\n"
#define OVER " override = yes"

#define SEC DNS_SEC_SECURE
#define INS DNS_SEC_INSECURE
#define PLAIN POLICY_MESSAGE_PLAIN
#define REQUIRE POLICY_MESSAGE_REQUIRE
#define OPTIONAL POLICY_MESSAGE_OPTIONAL

enum sts_case { NO_STS = 0, STS_NONE, TESTING, TESTING_OTHER, ENFORCE,
	ENFORCE_OTHER, UNKNOWN, STS_CASES };

static char listed[] = "mx.example", unlisted[] = "*.other.example";
static char *listed_mx[] = { listed }, *unlisted_mx[] = { unlisted };

static struct sts_policy policies[STS_CASES] = {
	[STS_NONE] = { STS_MODE_NONE, 86400, NULL, 0 },
	[TESTING] = { STS_MODE_TESTING, 86400, listed_mx, 1 },
	[TESTING_OTHER] = { STS_MODE_TESTING, 86400, unlisted_mx, 1 },
	[ENFORCE] = { STS_MODE_ENFORCE, 86400, listed_mx, 1 },
	[ENFORCE_OTHER] = { STS_MODE_ENFORCE, 86400, unlisted_mx, 1 },
};

static struct conf *
read_conf(const char *text)
{
	char err[CONF_ERR_MAX];
	struct conf *conf = NULL;

	if (conf_parse("t", text, &conf, err) != ST_OK)
		fail_msg("%s: %s", text, err);
	return conf;
}

struct facts {
	const char *conf;
	enum sts_case sts;
	enum dns_security mx;
	bool relay;
	enum policy_message message;
	enum dane_finding finding;
};

struct result {
	struct policy_plan plan;
	struct demand *demand;
	struct outcome why;
	enum demand_why blame;
};

static void
decide(const struct conf *conf, const struct facts *f, struct result *out)
{
	static const uint8_t digest[32] = { 7 };
	const struct outcome later = outcome_sts_later("d.example", "x");
	const struct policy_host h = { .destination = "d.example",
		.host = "mx.example", .mx = f->mx, .now_s = NOW,
		.relay = f->relay, .message = f->message,
		.sts = f->sts == NO_STS || f->sts == UNKNOWN ? NULL :
		&policies[f->sts],
		.sts_later = f->sts == UNKNOWN ? &later : NULL };
	struct demand *found = demand_new(DEMAND_DANE, WHY_DANE);
	enum dane_finding finding = f->finding;

	memset(out, 0, sizeof(*out));
	policy_plan(conf, &h, &out->plan);
	if (!out->plan.want_tlsa)
		finding = DANE_NONE;
	if (finding == DANE_FOUND)
		demand_add_tlsa(found, 3, 1, 1, digest, sizeof(digest));
	out->demand = policy_decide(conf, &h, &out->plan, finding, found,
		finding == DANE_NONE ? NULL : "base.example", &out->why);
	out->blame = policy_blame(&h, &out->plan, finding);
	demand_free(&found);
}

static void
result_clear(struct result *r)
{
	demand_free(&r->demand);
	policy_plan_clear(&r->plan);
}

/* "LEVEL WHY", with what is watched: "+host" or "+unlisted"; or why the host
 * is skipped. */
static void
describe(const struct result *r, char out[64])
{
	static const char *const watch[] = { "", " +host", " +unlisted" };

	if (r->demand != NULL)
		(void)snprintf(out, 64, "%s %s%s", demand_level_name(
			r->demand->level), demand_why_name(r->demand->why),
			watch[r->demand->watch]);
	else if (strstr(r->why.text, "mail hosts that the MTA-STS") != NULL)
		(void)snprintf(out, 64, "unlisted");
	else if (strstr(r->why.text, "cannot be found out") != NULL)
		(void)snprintf(out, 64, "unknown");
	else
		(void)snprintf(out, 64, "skip");
}

/* ---- by word ---- */

/* In the columns what MTA-STS says: nothing, mode none, testing, testing with
 * other hosts, enforce, enforce with other hosts, not known now. */
static const struct {
	struct facts f;
	const char *want[STS_CASES];
} cases[] = {
	{ { "", 0, SEC, false, PLAIN, DANE_NONE }, { "may default",
	    "may default", "may default +host", "may default +unlisted",
	    "pkix sts", "unlisted", "unknown" } },
	{ { "", 0, INS, false, PLAIN, DANE_NONE }, { "may default",
	    "may default", "may default +host", "may default +unlisted",
	    "pkix sts", "unlisted", "unknown" } },
	/* DANE decides; with unsigned MX records the policy names the hosts */
	{ { "", 0, SEC, false, PLAIN, DANE_FOUND }, { "dane dane",
	    "dane dane", "dane dane +host", "dane dane +unlisted",
	    "dane dane +host", "dane dane +unlisted", "dane dane" } },
	{ { "", 0, INS, false, PLAIN, DANE_FOUND }, { "dane dane",
	    "dane dane", "dane dane +host", "dane dane +unlisted",
	    "dane dane +host", "unlisted", "unknown" } },
	{ { "", 0, SEC, false, PLAIN, DANE_UNUSABLE }, {
	    "encrypt dane-unusable", "encrypt dane-unusable",
	    "encrypt dane-unusable +host", "encrypt dane-unusable +unlisted",
	    "pkix sts", "unlisted", "unknown" } },
	/* ... and nothing makes up for it when it fails */
	{ { "", 0, SEC, false, PLAIN, DANE_FAILED }, { "skip", "skip", "skip",
	    "skip", "skip", "skip", "skip" } },
	{ { "dane { insecure-mx = encrypt }", 0, INS, false, PLAIN,
	    DANE_FOUND }, { "encrypt dane", "encrypt dane",
	    "encrypt dane +host", "encrypt dane +unlisted", "pkix sts",
	    "unlisted", "unknown" } },
	{ { "dane { insecure-mx = may }", 0, INS, false, PLAIN, DANE_FOUND }, {
	    "may default", "may default", "may default +host",
	    "may default +unlisted", "pkix sts", "unlisted", "unknown" } },
	/* rules that are a floor */
	{ { DEST("tls = none"), 0, SEC, false, PLAIN, DANE_NONE }, {
	    "none local", "none local", "none local",
	    "none local", "pkix sts", "unlisted", "unknown" } },
	{ { DEST("tls = may"), 0, SEC, false, PLAIN, DANE_NONE }, {
	    "may local", "may local", "may local +host",
	    "may local +unlisted", "pkix sts", "unlisted", "unknown" } },
	{ { DEST("tls = encrypt"), 0, SEC, false, PLAIN, DANE_NONE }, {
	    "encrypt local", "encrypt local", "encrypt local +host",
	    "encrypt local +unlisted", "pkix sts", "unlisted", "unknown" } },
	{ { HOST("tls = none"), 0, SEC, false, PLAIN, DANE_NONE }, {
	    "none local", "none local", "none local",
	    "none local", "pkix sts", "unlisted", "unknown" } },
	{ { "require-tls = yes\n", 0, SEC, false, PLAIN, DANE_NONE }, {
	    "encrypt require-tls", "encrypt require-tls",
	    "encrypt require-tls +host", "encrypt require-tls +unlisted",
	    "pkix sts", "unlisted", "unknown" } },
	{ { "hosts-avoid-tls = {\"mx.example\"}", 0, SEC, false, PLAIN,
	    DANE_NONE }, { "none hosts-avoid-tls", "none hosts-avoid-tls",
	    "none hosts-avoid-tls", "none hosts-avoid-tls",
	    "pkix sts", "unlisted", "unknown" } },
	/* rules that take its place, for the destination or the host */
	{ { DEST("tls = pkix"), 0, SEC, false, PLAIN, DANE_NONE }, {
	    "pkix local", "pkix local", "pkix local", "pkix local",
	    "pkix local", "pkix local", "pkix local" } },
	{ { DEST(PRINTS), 0, INS, false, PLAIN, DANE_NONE }, {
	    "fingerprint local", "fingerprint local", "fingerprint local",
	    "fingerprint local", "fingerprint local", "fingerprint local",
	    "fingerprint local" } },
	{ { HOST("tls = pkix"), 0, SEC, false, PLAIN, DANE_NONE }, {
	    "pkix local", "pkix local", "pkix local", "pkix local",
	    "pkix local", "unlisted", "unknown" } },
	{ { HOST(PRINTS), 0, INS, false, PLAIN, DANE_NONE }, {
	    "fingerprint local", "fingerprint local", "fingerprint local",
	    "fingerprint local", "fingerprint local", "unlisted",
	    "unknown" } },
	{ { DEST("tls = dane-only"), 0, SEC, false, PLAIN, DANE_FOUND }, {
	    "dane dane", "dane dane", "dane dane +host",
	    "dane dane +unlisted", "dane dane +host", "dane dane +unlisted",
	    "dane dane" } },
	{ { DEST("tls = dane-only"), 0, SEC, false, PLAIN, DANE_NONE }, {
	    "skip", "skip", "skip", "skip", "skip", "skip", "skip" } },
	/* rules that say override */
	{ { DEST("tls = none" OVER), 0, SEC, false, PLAIN, DANE_NONE }, {
	    "none override", "none override", "none override",
	    "none override", "none override", "none override",
	    "none override" } },
	{ { DEST("tls = may" OVER), 0, SEC, false, PLAIN, DANE_FOUND }, {
	    "may override", "may override", "may override", "may override",
	    "may override", "may override", "may override" } },
	{ { HOST("tls = may" OVER), 0, SEC, false, PLAIN, DANE_NONE }, {
	    "may override", "may override", "may override", "may override",
	    "may override", "may override", "may override" } },
	/* a relay is the operator's */
	{ { "", 0, SEC, true, PLAIN, DANE_NONE }, { "may default",
	    "may default", "may default", "may default", "may default",
	    "may default", "may default" } },
	/* RFC 8689: an enforced policy that names the host leads there */
	{ { "", 0, INS, false, REQUIRE, DANE_NONE }, { "skip", "skip", "skip",
	    "skip", "pkix requiretls", "unlisted", "unknown" } },
	{ { "", 0, SEC, false, REQUIRE, DANE_NONE }, { "pkix requiretls",
	    "pkix requiretls", "pkix requiretls", "pkix requiretls",
	    "pkix requiretls", "unlisted", "unknown" } },
	{ { "", 0, INS, false, REQUIRE, DANE_FOUND }, { "skip", "skip",
	    "skip", "skip", "dane requiretls", "unlisted", "unknown" } },
	{ { "", 0, SEC, false, REQUIRE, DANE_FOUND }, { "dane requiretls",
	    "dane requiretls", "dane requiretls", "dane requiretls",
	    "dane requiretls", "dane requiretls", "dane requiretls" } },
	{ { HOST("tls = pkix"), 0, INS, false, REQUIRE, DANE_NONE }, { "skip",
	    "skip", "skip", "skip", "pkix requiretls", "unlisted",
	    "unknown" } },
	/* ... and the header field that wants none of it */
	{ { "", 0, SEC, false, OPTIONAL, DANE_FOUND }, {
	    "may tls-required-no", "may tls-required-no",
	    "may tls-required-no", "may tls-required-no",
	    "may tls-required-no", "may tls-required-no",
	    "may tls-required-no" } },
};

static void
test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct conf *conf = read_conf(cases[i].f.conf);

		for (int s = 0; s < STS_CASES; s++) {
			struct facts f = cases[i].f;
			struct result r;
			char got[64];

			f.sts = (enum sts_case)s;
			decide(conf, &f, &r);
			describe(&r, got);
			if (strcmp(got, cases[i].want[s]) != 0)
				fail_msg("%zu (%s), sts %d: \"%s\" instead of "
					"\"%s\"", i, f.conf, s, got,
					cases[i].want[s]);
			result_clear(&r);
		}
		conf_free(&conf);
	}
}

/* ---- every combination ---- */

static const char *const rules[] = { "", "tls = none", "tls = may",
	"tls = encrypt", "tls = dane-only", "tls = pkix", PRINTS };
#define RULES ((int)COUNT(rules))

static void
check_skipped(const struct facts *f, const struct result *r)
{
	bool sts = r->why.tls_failure == TLS_FAILURE_STS_FETCH ||
		strstr(r->why.text, "MTA-STS policy of") != NULL;

	assert_int_equal(r->blame == WHY_STS, sts);
	assert_int_equal(r->why.scope, SCOPE_HOST);
	assert_int_equal(r->why.stage, STAGE_POLICY);
	assert_true(r->why.verdict == VERDICT_LATER ||
		f->message == REQUIRE);
	if (f->sts == ENFORCE_OTHER && r->plan.sts != POLICY_STS_OFF)
		assert_int_equal(r->why.verdict, VERDICT_LATER);
}

/* An enforced policy is met, or something better is, or the operator or the
 * sender said otherwise. */
static void
check_enforced(const struct facts *f, const struct result *r)
{
	const struct demand *d = r->demand;

	if (r->plan.sts == POLICY_STS_OFF)
		return;
	assert_true(demand_verifies(d));
	assert_true(d->min_version == 0 || d->min_version >= 0x0303);
	assert_int_equal(r->plan.overridden, 0);
	if (f->sts != ENFORCE)
		assert_true(d->level == DEMAND_DANE && f->mx == SEC);
	if (d->why == WHY_STS) {
		assert_int_equal(d->level, DEMAND_PKIX);
		assert_int_equal(d->name_count, 1);
		assert_string_equal(d->names[0], "mx.example");
		assert_null(d->ca_file);
		assert_int_equal(d->watch, DEMAND_WATCH_NONE);
	}
}

/* Beside a policy that does not decide everything is as without one. */
static void
check_unchanged(const struct conf *conf, const struct facts *f,
	const struct result *r)
{
	struct facts without = *f;
	struct result other;

	without.sts = NO_STS;
	decide(conf, &without, &other);
	assert_int_equal(r->demand == NULL, other.demand == NULL);
	if (r->demand != NULL) {
		other.demand->watch = r->demand->watch;
		if (r->demand->watch_name != NULL)
			other.demand->watch_name =
				xstrdup(r->demand->watch_name);
		assert_true(demand_same(r->demand, other.demand));
	}
	result_clear(&other);
}

static void
check(const struct conf *conf, const struct facts *f, const struct result *r)
{
	if (f->sts != ENFORCE && f->sts != ENFORCE_OTHER &&
	    f->sts != UNKNOWN)
		check_unchanged(conf, f, r);
	if (r->plan.want_tlsa && f->finding == DANE_FAILED)
		assert_null(r->demand);
	if (r->demand == NULL) {
		check_skipped(f, r);
		return;
	}
	if (f->sts == ENFORCE || f->sts == ENFORCE_OTHER)
		check_enforced(f, r);
	if (f->sts == UNKNOWN && r->plan.sts != POLICY_STS_OFF)
		assert_true(r->demand->level == DEMAND_DANE && f->mx == SEC);
	assert_int_equal(r->demand->watch_name != NULL, r->demand->watch ==
		DEMAND_WATCH_HOST);
	assert_true(r->demand->watch == DEMAND_WATCH_NONE ||
		r->plan.sts == POLICY_STS_FULL);
}

static void
run_conf(const char *text)
{
	static const enum dns_security mxs[] = { SEC, INS, DNS_SEC_UNKNOWN };
	struct conf *conf = read_conf(text);

	for (int i = 0; i < STS_CASES * 3 * 2 * 3 * 4; i++) {
		int n = i / STS_CASES;
		const struct facts f = { text, (enum sts_case)(i % STS_CASES),
			mxs[n % 3], n / 3 % 2 != 0,
			(enum policy_message)(n / 6 % 3),
			(enum dane_finding)(n / 18) };
		struct result r;

		decide(conf, &f, &r);
		check(conf, &f, &r);
		result_clear(&r);
	}
	conf_free(&conf);
}

static void
test_combinations(void **state)
{
	static const char *const words[] = { "dane", "encrypt", "may" };

	(void)state;
	for (int i = 0; i < 2 * RULES * RULES * 2 * 3; i++) {
		int dest = i % (2 * RULES), host = i / (2 * RULES) % RULES;
		int rest = i / (2 * RULES * RULES);
		char *text = xasprintf("require-tls = %s\n"
			"dane { insecure-mx = %s }\n"
			"destination \"d.example\" { %s%s }\n"
			"host \"mx.example\" { %s }\n",
			rest % 2 != 0 ? "yes" : "no", words[rest / 2],
			rules[dest % RULES], dest > RULES ? OVER : "",
			rules[host]);

		run_conf(text);
		free(text);
	}
}

/* A rule's own CA file and old versions are for rules; what it says else goes
 * along. */
static void
test_details(void **state)
{
	struct conf *conf = read_conf(DEST("tls = may  ca-file = \"/dev/null\""
		"  min-version = \"1.0\"  sni = \"s.example\""));
	const struct facts f = { NULL, ENFORCE, INS, false, PLAIN, DANE_NONE };
	struct result r;

	(void)state;
	decide(conf, &f, &r);
	assert_int_equal(r.demand->level, DEMAND_PKIX);
	assert_null(r.demand->ca_file);
	assert_int_equal(r.demand->min_version, 0);
	assert_string_equal(r.demand->sni, "s.example");
	result_clear(&r);
	conf_free(&conf);
}

static void
test_outcomes(void **state)
{
	struct conf *conf = read_conf("");
	struct facts f = { NULL, ENFORCE_OTHER, INS, false, PLAIN, DANE_NONE };
	struct result r;

	(void)state;
	decide(conf, &f, &r);
	assert_null(r.demand);
	assert_int_equal(r.why.tls_failure, TLS_FAILURE_VALIDATION);
	assert_string_equal(r.why.enhanced, "4.7.5");
	assert_non_null(strstr(r.why.text, "mx.example"));
	assert_non_null(strstr(r.why.text, "d.example"));
	result_clear(&r);
	f.sts = UNKNOWN;
	decide(conf, &f, &r);
	assert_null(r.demand);
	assert_int_equal(r.why.tls_failure, TLS_FAILURE_STS_FETCH);
	assert_string_equal(r.why.enhanced, "4.7.5");
	assert_non_null(strstr(r.why.text, "d.example"));
	result_clear(&r);
	conf_free(&conf);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_combinations),
		cmocka_unit_test(test_details),
		cmocka_unit_test(test_outcomes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
