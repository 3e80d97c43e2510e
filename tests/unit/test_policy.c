/*
 * What is demanded of a host: local rules, lists, findings and the security
 * of the MX records, as tables and in every combination.
 */
#include "config.h"

#include <arpa/inet.h>
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
#define PRINT "\"00112233445566778899aabbccddeeff" \
	"00112233445566778899aabbccddeeff\""

#define SEC DNS_SEC_SECURE
#define INS DNS_SEC_INSECURE
#define UNK DNS_SEC_UNKNOWN

static struct conf *
read_conf(const char *text)
{
	char err[CONF_ERR_MAX];
	struct conf *conf = NULL;

	if (conf_parse("t", text, &conf, err) != ST_OK)
		fail_msg("%s", err);
	return conf;
}

static struct policy_host
a_host(void)
{
	return (struct policy_host){ .destination = "d.example",
		.host = "mx.example", .mx = SEC, .now_s = NOW };
}

struct result {
	struct policy_plan plan;
	struct demand *demand;
	struct outcome why;
};

/* As host_policy.c does: a finding exists only where TLSA is wanted. */
static void
decide(const struct conf *conf, const struct policy_host *h,
	enum dane_finding finding, struct result *out)
{
	static const uint8_t digest[32] = { 7 };
	struct demand *found = demand_new(DEMAND_DANE, WHY_DANE);

	memset(out, 0, sizeof(*out));
	policy_plan(conf, h, &out->plan);
	if (!out->plan.want_tlsa)
		finding = DANE_NONE;
	if (finding == DANE_FOUND)
		demand_add_tlsa(found, 3, 1, 1, digest, sizeof(digest));
	out->demand = policy_decide(conf, h, &out->plan, finding, found,
		finding == DANE_NONE ? NULL : "base.example", &out->why);
	demand_free(&found);
	if (out->demand == NULL) {
		assert_int_equal(out->why.verdict, VERDICT_LATER);
		assert_int_equal(out->why.scope, SCOPE_HOST);
		assert_int_equal(out->why.stage, STAGE_POLICY);
		assert_int_not_equal(out->why.tls_failure, TLS_FAILURE_NONE);
	}
}

static void
result_clear(struct result *r)
{
	demand_free(&r->demand);
	policy_plan_clear(&r->plan);
}

/* "LEVEL WHY", or "skip". */
static void
describe(const struct result *r, char out[64])
{
	if (r->demand == NULL)
		(void)snprintf(out, 64, "skip");
	else
		(void)snprintf(out, 64, "%s %s", demand_level_name(
			r->demand->level), demand_why_name(r->demand->why));
}

/* ---- rules and findings ---- */

#define DEST(body) "destination \"d.example\" { " body " }\n"
#define HOST(body) "host \"mx.example\" { " body " }\n"
#define OVER " override = yes"
#define PRINTS "tls = fingerprint  fingerprints = {" PRINT "}"

/* Findings in the columns: none, found, unusable, failed. */
static const struct {
	const char *conf;
	enum dns_security mx;
	const char *want[4];
} cases[] = {
	{ "", SEC, { "may default", "dane dane", "encrypt dane-unusable",
	    "skip" } },
	{ "", INS, { "may default", "dane dane", "encrypt dane-unusable",
	    "skip" } },
	{ "dane { insecure-mx = encrypt }", INS, { "may default",
	    "encrypt dane", "encrypt dane-unusable", "skip" } },
	{ "dane { insecure-mx = encrypt }", SEC, { "may default", "dane dane",
	    "encrypt dane-unusable", "skip" } },
	{ "dane { insecure-mx = may }", INS, { "may default", "may default",
	    "may default", "may default" } },
	{ "dane { insecure-mx = may }", UNK, { "may default", "may default",
	    "may default", "may default" } },
	{ "dane { insecure-mx = may }", SEC, { "may default", "dane dane",
	    "encrypt dane-unusable", "skip" } },
	/* Each level of a destination's rule. */
	{ DEST("tls = auto"), SEC, { "may default", "dane dane",
	    "encrypt dane-unusable", "skip" } },
	{ DEST("tls = none"), SEC, { "none local", "dane dane",
	    "encrypt dane-unusable", "skip" } },
	{ DEST("tls = may"), SEC, { "may local", "dane dane",
	    "encrypt dane-unusable", "skip" } },
	{ DEST("tls = encrypt"), SEC, { "encrypt local", "dane dane",
	    "encrypt local", "skip" } },
	{ DEST("tls = dane-only"), SEC, { "skip", "dane dane", "skip",
	    "skip" } },
	{ DEST("tls = pkix"), SEC, { "pkix local", "pkix local", "pkix local",
	    "pkix local" } },
	{ DEST(PRINTS), SEC, { "fingerprint local", "fingerprint local",
	    "fingerprint local", "fingerprint local" } },
	/* ... that may weaken. */
	{ DEST("tls = none" OVER), SEC, { "none override", "none override",
	    "none override", "none override" } },
	{ DEST("tls = may" OVER), SEC, { "may override", "may override",
	    "may override", "may override" } },
	{ DEST("tls = encrypt" OVER), SEC, { "encrypt override",
	    "encrypt override", "encrypt override", "encrypt override" } },
	{ DEST("tls = dane-only" OVER), SEC, { "skip", "dane dane", "skip",
	    "skip" } },
	{ DEST("tls = pkix" OVER), SEC, { "pkix override", "pkix override",
	    "pkix override", "pkix override" } },
	/* Unsigned MX records: anybody may have named this host. */
	{ DEST("tls = dane-only"), INS, { "skip", "skip", "skip", "skip" } },
	{ DEST("tls = dane-only"), UNK, { "skip", "skip", "skip", "skip" } },
	{ DEST("tls = dane-only") "dane { insecure-mx = may }", INS,
	    { "skip", "skip", "skip", "skip" } },
	{ DEST("tls = dane-only") HOST("tls = dane-only"), INS, { "skip",
	    "skip", "skip", "skip" } },
	{ HOST("tls = dane-only"), INS, { "skip", "dane dane", "skip",
	    "skip" } },
	{ HOST("tls = dane-only") "dane { insecure-mx = may }", INS,
	    { "skip", "dane dane", "skip", "skip" } },
	{ DEST("tls = encrypt") "dane { insecure-mx = may }", INS,
	    { "encrypt local", "encrypt local", "encrypt local",
	    "encrypt local" } },
	/* Host and destination: the one that asks for more. */
	{ DEST("tls = none") HOST("tls = encrypt"), SEC, { "encrypt local",
	    "dane dane", "encrypt local", "skip" } },
	{ DEST("tls = encrypt") HOST("tls = none"), SEC, { "encrypt local",
	    "dane dane", "encrypt local", "skip" } },
	{ DEST("tls = encrypt") HOST("tls = none" OVER), SEC,
	    { "encrypt local", "dane dane", "encrypt local", "skip" } },
	{ DEST("tls = may" OVER) HOST("tls = encrypt"), SEC,
	    { "encrypt local", "dane dane", "encrypt local", "skip" } },
	{ DEST("tls = encrypt") HOST("tls = pkix"), SEC, { "pkix local",
	    "pkix local", "pkix local", "pkix local" } },
	{ DEST("tls = dane-only") HOST("tls = pkix"), SEC, { "skip",
	    "dane dane", "skip", "skip" } },
	{ DEST("tls = dane-only") HOST(PRINTS OVER), SEC, { "skip",
	    "dane dane", "skip", "skip" } },
	{ DEST("tls = pkix") HOST(PRINTS), SEC, { "pkix local", "pkix local",
	    "pkix local", "pkix local" } },
	{ HOST("tls = auto"), SEC, { "may default", "dane dane",
	    "encrypt dane-unusable", "skip" } },
	{ DEST("tls = none") HOST("tls = auto"), SEC, { "none local",
	    "dane dane", "encrypt dane-unusable", "skip" } },
	/* The floor for everybody, and the lists. */
	{ "require-tls = yes\n", SEC, { "encrypt require-tls", "dane dane",
	    "encrypt require-tls", "skip" } },
	{ "require-tls = yes\ndane { insecure-mx = may }", INS,
	    { "encrypt require-tls", "encrypt require-tls",
	    "encrypt require-tls", "encrypt require-tls" } },
	{ "require-tls = yes\n" DEST("tls = none"), SEC,
	    { "encrypt require-tls", "dane dane", "encrypt require-tls",
	    "skip" } },
	{ "require-tls = yes\n" DEST("tls = none" OVER), SEC,
	    { "none override", "none override", "none override",
	    "none override" } },
	{ "require-tls = yes\n" DEST("tls = encrypt"), SEC,
	    { "encrypt local", "dane dane", "encrypt local", "skip" } },
	{ "require-tls = yes\n" DEST("tls = pkix"), SEC, { "pkix local",
	    "pkix local", "pkix local", "pkix local" } },
	{ "hosts-require-tls = {\"mx.example\"}", SEC,
	    { "encrypt hosts-require-tls", "dane dane",
	    "encrypt hosts-require-tls", "skip" } },
	{ "hosts-require-tls = {\".example\"}\n" DEST("tls = may"), SEC,
	    { "encrypt hosts-require-tls", "dane dane",
	    "encrypt hosts-require-tls", "skip" } },
	{ "hosts-require-tls = {\"192.0.2.0/24\"}", SEC,
	    { "encrypt hosts-require-tls", "dane dane",
	    "encrypt hosts-require-tls", "skip" } },
	{ "hosts-require-tls = {\"192.0.3.0/24\", \"x.example\"}", SEC,
	    { "may default", "dane dane", "encrypt dane-unusable", "skip" } },
	{ "hosts-avoid-tls = {\"mx.example\"}", SEC, { "none hosts-avoid-tls",
	    "dane dane", "encrypt dane-unusable", "skip" } },
	{ "hosts-avoid-tls = {\"mx.example\"}\n" DEST("tls = may"), SEC,
	    { "may local", "dane dane", "encrypt dane-unusable", "skip" } },
	{ "hosts-avoid-tls = {\"mx.example\"}\n" DEST("tls = encrypt"), SEC,
	    { "encrypt local", "dane dane", "encrypt local", "skip" } },
	{ "hosts-avoid-tls = {\".example\"}\nrequire-tls = yes\n", SEC,
	    { "encrypt require-tls", "dane dane", "encrypt require-tls",
	    "skip" } },
	{ "hosts-avoid-tls = {\".example\"}\n"
	    "hosts-require-tls = {\"mx.example\"}\n", SEC,
	    { "encrypt hosts-require-tls", "dane dane",
	    "encrypt hosts-require-tls", "skip" } },
	/* A rule whose day has passed is none; one to come is one. */
	{ DEST("tls = dane-only  until = \"2026-12-31\""), SEC,
	    { "may default", "dane dane", "encrypt dane-unusable", "skip" } },
	{ DEST("tls = none" OVER "  until = \"2026-12-31\""), SEC,
	    { "may default", "dane dane", "encrypt dane-unusable", "skip" } },
	{ DEST("tls = encrypt  until = \"2027-12-31\""), SEC,
	    { "encrypt local", "dane dane", "encrypt local", "skip" } },
	{ DEST("tls = encrypt  until = \"2026-12-31\"") HOST("tls = none"),
	    SEC, { "none local", "dane dane", "encrypt dane-unusable",
	    "skip" } },
	{ HOST("tls = encrypt  until = \"2026-12-31\"") DEST("tls = none"),
	    SEC, { "none local", "dane dane", "encrypt dane-unusable",
	    "skip" } },
};

static void
test_cases(void **state)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	const struct sockaddr *first = (const void *)&addr;

	(void)state;
	assert_int_equal(inet_pton(AF_INET, "192.0.2.7", &addr.sin_addr), 1);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct conf *conf = read_conf(cases[i].conf);
		struct policy_host h = a_host();

		h.mx = cases[i].mx;
		h.addrs = &first;
		h.addr_count = 1;
		for (int f = DANE_NONE; f <= DANE_FAILED; f++) {
			struct result r;
			char got[64];

			decide(conf, &h, (enum dane_finding)f, &r);
			describe(&r, got);
			if (strcmp(got, cases[i].want[f]) != 0)
				fail_msg("%s (MX %s), finding %d: \"%s\" "
					"instead of \"%s\"", cases[i].conf,
					dns_security_name(h.mx), f, got,
					cases[i].want[f]);
			result_clear(&r);
		}
		conf_free(&conf);
	}
}

/* Any address of a host may be the one that is connected to. */
static const struct {
	const char *conf;
	const char *addrs[2];
	const char *want;
} list_cases[] = {
	{ "hosts-require-tls = {\"192.0.2.0/24\"}",
	    { "192.0.2.7", "198.51.100.1" }, "encrypt hosts-require-tls" },
	{ "hosts-require-tls = {\"192.0.2.0/24\"}",
	    { "198.51.100.1", "192.0.2.7" }, "encrypt hosts-require-tls" },
	{ "hosts-require-tls = {\"192.0.2.0/24\"}",
	    { "198.51.100.1", NULL }, "may default" },
	{ "hosts-avoid-tls = {\"192.0.2.0/24\"}",
	    { "192.0.2.7", "198.51.100.1" }, "may default" },
	{ "hosts-avoid-tls = {\"192.0.2.0/24\"}",
	    { "192.0.2.7", "192.0.2.8" }, "none hosts-avoid-tls" },
	{ "hosts-avoid-tls = {\"mx.example\"}",
	    { "192.0.2.7", "198.51.100.1" }, "none hosts-avoid-tls" },
};

static void
test_lists_of_networks(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(list_cases); i++) {
		struct conf *conf = read_conf(list_cases[i].conf);
		struct sockaddr_in in[2] = { { .sin_family = AF_INET },
			{ .sin_family = AF_INET } };
		const struct sockaddr *addrs[2] = { (const void *)&in[0],
			(const void *)&in[1] };
		struct policy_host h = a_host();
		struct result r;
		char got[64];

		h.addrs = addrs;
		for (size_t n = 0; n < 2 && list_cases[i].addrs[n] != NULL;
		    n++)
			h.addr_count += (size_t)inet_pton(AF_INET,
				list_cases[i].addrs[n], &in[n].sin_addr);
		decide(conf, &h, DANE_NONE, &r);
		describe(&r, got);
		if (strcmp(got, list_cases[i].want) != 0)
			fail_msg("%zu: %s: \"%s\"", i, list_cases[i].conf,
				got);
		result_clear(&r);
		conf_free(&conf);
	}
}

/* ---- every combination ---- */

static const char *const rules[] = {
	"", "tls = none", "tls = may", "tls = encrypt", "tls = dane-only",
	"tls = pkix", PRINTS,
};
#define RULES ((int)COUNT(rules))

struct combination {
	int dest, host;			/* of rules; dest + RULES: override */
	bool require;
	int insecure_mx;
	struct policy_host h;
	enum dane_finding finding;
};

static bool
overrides(const struct combination *c)
{
	return c->dest > RULES;
}

/* What must hold whatever the rest: nothing weakens in silence. */
static void
check_combination(const struct combination *c, const struct result *r)
{
	int dest = c->dest % RULES;
	bool proved = c->h.relay || c->h.mx == SEC;
	const struct demand *d = r->demand;

	if (d == NULL) {
		assert_true(r->why.text[0] != '\0');
		return;
	}
	if (d->level == DEMAND_DANE) {
		assert_int_equal(d->tlsa_count, 1);
		assert_string_equal(d->tlsa_base, "base.example");
		assert_int_equal(c->finding, DANE_FOUND);
	} else {
		assert_int_equal(d->tlsa_count, 0);
		assert_null(d->tlsa_base);
	}
	if (d->level == DEMAND_PKIX)
		assert_true(d->name_count > 0);
	if (d->level == DEMAND_FINGERPRINT)
		assert_true(d->print_count > 0);
	if (c->require && !overrides(c))
		assert_true(demand_forbids_clear(d));
	if (dest >= 4)
		assert_true(demand_verifies(d));
	if (dest == 4)
		assert_true(d->level == DEMAND_DANE && proved);
	if (dest == 3 || (c->host >= 3 && !overrides(c)))
		assert_true(demand_forbids_clear(d));
	/* What DANE says stands, but for an explicit word. */
	if (proved && !overrides(c) && dest < 5 && c->host < 5) {
		assert_true(c->finding != DANE_FAILED);
		assert_true(c->finding != DANE_FOUND ||
			d->level == DEMAND_DANE);
		assert_true(c->finding != DANE_UNUSABLE ||
			demand_forbids_clear(d));
	}
	assert_int_equal(r->plan.overridden && d->why != WHY_OVERRIDE, 0);
}

static void
run_combination(struct combination *c)
{
	static const char *const words[] = { "dane", "encrypt", "may" };
	static const enum dns_security mxs[] = { SEC, INS, UNK };
	char *text = xasprintf("require-tls = %s\n"
		"dane { insecure-mx = %s }\n"
		"destination \"d.example\" { %s%s }\n"
		"host \"mx.example\" { %s }\n", c->require ? "yes" : "no",
		words[c->insecure_mx], rules[c->dest % RULES],
		c->dest > RULES ? OVER : "", rules[c->host]);
	struct conf *conf = read_conf(text);

	for (int i = 0; i < 3 * 2 * 4; i++) {
		struct result r;

		c->h = a_host();
		c->h.mx = mxs[i % 3];
		c->h.relay = i / 3 % 2 != 0;
		c->finding = (enum dane_finding)(i / 6);
		decide(conf, &c->h, c->finding, &r);
		check_combination(c, &r);
		result_clear(&r);
	}
	conf_free(&conf);
	free(text);
}

static void
test_combinations(void **state)
{
	(void)state;
	for (int dest = 0; dest < 2 * RULES; dest++)
		for (int host = 0; host < RULES; host++)
			for (int i = 0; i < 6; i++) {
				struct combination c = { .dest = dest,
					.host = host, .require = i % 2 != 0,
					.insecure_mx = i / 2 };

				run_combination(&c);
			}
}

/* ---- names and other details ---- */

static void
check_names(const struct demand *d, const char *want)
{
	char got[256] = "";

	for (size_t i = 0; i < d->name_count; i++) {
		(void)strcat(got, i > 0 ? " " : "");
		(void)strcat(got, d->names[i]);
	}
	assert_string_equal(got, want);
}

static void
test_names(void **state)
{
	static const struct {
		const char *conf;
		enum dns_security mx;
		bool relay;
		enum dane_finding finding;
		const char *want;
	} rows[] = {
		/* An MX name from unsigned DNS is no name to trust. */
		{ DEST("tls = pkix"), SEC, false, DANE_NONE,
		    "mx.example d.example .d.example" },
		{ DEST("tls = pkix"), INS, false, DANE_NONE,
		    "d.example .d.example" },
		{ DEST("tls = pkix"), UNK, false, DANE_NONE,
		    "d.example .d.example" },
		{ DEST("tls = pkix"), UNK, true, DANE_NONE, "mx.example" },
		{ DEST("tls = pkix  match-names = {\"a.example\", "
		    "\".b.example\"}"), SEC, false, DANE_NONE,
		    "a.example .b.example" },
		{ DEST("tls = pkix  match-names = {\"a.example\"}"), INS, true,
		    DANE_NONE, "a.example" },
		{ HOST("tls = pkix"), INS, false, DANE_NONE, "mx.example" },
		{ HOST("tls = pkix  match-names = {\"a.example\"}"), INS,
		    false, DANE_NONE, "a.example" },
		{ DEST("tls = pkix") HOST("tls = pkix"), INS, false,
		    DANE_NONE, "d.example .d.example" },
		/* RFC 7672 3.2.2. */
		{ "", SEC, false, DANE_FOUND,
		    "base.example mx.example d.example" },
		{ "", INS, false, DANE_FOUND, "base.example mx.example" },
		{ "", SEC, true, DANE_FOUND, "base.example mx.example" },
		/* Names need someone who looks at them. */
		{ DEST("tls = encrypt  match-names = {\"a.example\"}"), SEC,
		    false, DANE_NONE, "" },
		{ DEST("tls = encrypt  match-names = {\"a.example\"}"), SEC,
		    false, DANE_FOUND, "base.example mx.example d.example" },
		{ "", SEC, false, DANE_UNUSABLE, "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct conf *conf = read_conf(rows[i].conf);
		struct policy_host h = a_host();
		struct result r;

		h.mx = rows[i].mx;
		h.relay = rows[i].relay;
		decide(conf, &h, rows[i].finding, &r);
		assert_non_null(r.demand);
		check_names(r.demand, rows[i].want);
		result_clear(&r);
		conf_free(&conf);
	}
}

/* What else a rule says travels with every demand that it leads to. */
static void
test_details(void **state)
{
	static const char *const levels[] = { "may", "encrypt", "dane-only",
		"pkix" };

	(void)state;
	for (size_t i = 0; i < COUNT(levels); i++) {
		char *text = xasprintf("destination \"d.example\" { tls = %s "
			"ca-file = \"/dev/null\" sni = \"s.example\" "
			"ciphers = \"HIGH\" certificate = \"/dev/null\" "
			"key = \"/dev/null\" min-version = \"1.3\" }",
			levels[i]);
		struct conf *conf = read_conf(text);
		struct policy_host h = a_host();
		struct result r;

		decide(conf, &h, DANE_FOUND, &r);
		assert_string_equal(r.demand->ca_file, "/dev/null");
		assert_string_equal(r.demand->sni, "s.example");
		assert_string_equal(r.demand->ciphers, "HIGH");
		assert_string_equal(r.demand->cert_file, "/dev/null");
		assert_string_equal(r.demand->key_file, "/dev/null");
		assert_int_equal(r.demand->min_version, 0x0304);
		result_clear(&r);
		conf_free(&conf);
		free(text);
	}
}

/* TLS 1.0 for those who cannot do better, never where a certificate is
 * verified. */
static void
test_old_versions(void **state)
{
	static const struct {
		const char *rule;
		enum dane_finding finding;
		int want;
	} rows[] = {
		{ "tls = may  min-version = \"1.0\"", DANE_NONE, 0x0301 },
		{ "tls = encrypt  min-version = \"1.1\"", DANE_NONE, 0x0302 },
		{ "tls = may  min-version = \"1.0\"", DANE_FOUND, 0 },
		{ "tls = dane-only  min-version = \"1.1\"", DANE_FOUND, 0 },
		{ "tls = pkix  min-version = \"1.0\"", DANE_NONE, 0 },
		{ PRINTS "  min-version = \"1.1\"", DANE_NONE, 0 },
		{ "tls = pkix  min-version = \"1.2\"", DANE_NONE, 0x0303 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char *text = xasprintf("destination \"d.example\" { %s }",
			rows[i].rule);
		struct conf *conf = read_conf(text);
		struct policy_host h = a_host();
		struct result r;

		decide(conf, &h, rows[i].finding, &r);
		assert_int_equal(r.demand->min_version, rows[i].want);
		result_clear(&r);
		conf_free(&conf);
		free(text);
	}
}

/* A relay is named by the operator: nobody else's MX record led there. */
static void
test_relay(void **state)
{
	struct conf *conf = read_conf(DEST("tls = dane-only")
		"dane { insecure-mx = may }");
	struct policy_host h = a_host();
	struct result r;

	(void)state;
	h.relay = true;
	h.mx = UNK;
	decide(conf, &h, DANE_FOUND, &r);
	assert_int_equal(r.demand->level, DEMAND_DANE);
	result_clear(&r);
	conf_free(&conf);
}

static void
test_outcomes(void **state)
{
	static const struct {
		const char *conf;
		enum dns_security mx;
		enum dane_finding finding;
		enum tls_failure failure;
		const char *word;
	} rows[] = {
		{ "", SEC, DANE_FAILED, TLS_FAILURE_DNSSEC_INVALID,
		    "cannot be looked up" },
		{ DEST("tls = dane-only"), SEC, DANE_FAILED,
		    TLS_FAILURE_DNSSEC_INVALID, "cannot be looked up" },
		{ DEST("tls = dane-only"), SEC, DANE_NONE,
		    TLS_FAILURE_DANE_REQUIRED, "no secure TLSA" },
		{ DEST("tls = dane-only"), SEC, DANE_UNUSABLE,
		    TLS_FAILURE_DANE_REQUIRED, "usable" },
		{ DEST("tls = dane-only"), INS, DANE_FOUND,
		    TLS_FAILURE_DANE_REQUIRED, "not signed" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct conf *conf = read_conf(rows[i].conf);
		struct policy_host h = a_host();
		struct result r;

		h.mx = rows[i].mx;
		decide(conf, &h, rows[i].finding, &r);
		assert_null(r.demand);
		assert_int_equal(r.why.tls_failure, rows[i].failure);
		assert_non_null(strstr(r.why.text, rows[i].word));
		assert_non_null(strstr(r.why.text, "mx.example"));
		result_clear(&r);
		conf_free(&conf);
	}
}

static void
test_expired(void **state)
{
	struct conf_destination d = { .rule = { .until_s = NOW } };

	(void)state;
	assert_false(policy_rule_expired(&d, NOW - 1));
	assert_true(policy_rule_expired(&d, NOW));
	d.rule.until_s = 0;
	assert_false(policy_rule_expired(&d, INT64_MAX));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_lists_of_networks),
		cmocka_unit_test(test_combinations),
		cmocka_unit_test(test_names), cmocka_unit_test(test_details),
		cmocka_unit_test(test_old_versions),
		cmocka_unit_test(test_relay),
		cmocka_unit_test(test_outcomes),
		cmocka_unit_test(test_expired),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
