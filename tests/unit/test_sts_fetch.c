/*
 * Fetching a policy: names from a scripted resolver, the file from a scripted
 * server, and what each of their faults is called.
 */
#include "config.h"

#include <event2/event.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "policy/sts.h"
#include "policy/sts_fetch.h"
#include "tests/unit/https_util.h"
#include "tests/unit/resolver_fake.h"

#define T(test) cmocka_unit_test(test)
#define DOMAIN "a.example"
#define POLICY "version: STSv1\r\nmode: enforce\r\nmx: *.a.example\r\n" \
	"max_age: 604800\r\n"
/* clang-format off */
#define SERVE(status, fields, body) SEND(STATUS(status) fields \
	"Connection: close\r\n\r\n" body), BYE
/* clang-format on */

struct fetcher {
	struct https_world w;
	struct sts_fetch_env env;
	struct sts_fetch_result *result;
	size_t calls;
};

static void
on_fetched(struct sts_fetch_result *res, void *arg)
{
	struct fetcher *f = arg;

	assert_null(f->result);
	f->result = res;
	f->calls++;
}

static void
fetcher_open(struct fetcher *f, const struct cert_spec *spec,
	const struct peer_step *steps, int64_t timeout_ms)
{
	const struct https_settings s = { .allow_private = true,
		.timeout_ms = timeout_ms };

	memset(f, 0, sizeof(*f));
	world_open(&f->w, spec, steps, &s);
	fake_dns_init(f->w.base);
	fake_dns_a(HOST, "127.0.0.1");
	f->env = (struct sts_fetch_env){ .https = f->w.https,
		.port = f->w.port };
}

static void
fetcher_close(struct fetcher *f)
{
	sts_fetch_result_free(&f->result);
	fake_dns_clear();
	world_close(&f->w);
}

static const struct sts_fetch_result *
fetch(struct fetcher *f, const char *domain)
{
	const struct timeval tv = { .tv_sec = 20 };

	assert_non_null(sts_fetch_start(&f->env, domain, on_fetched, f));
	assert_int_equal(f->calls, 0);
	(void)event_base_loopexit(f->w.base, &tv);
	while (f->calls == 0 && !event_base_got_exit(f->w.base))
		(void)event_base_loop(f->w.base, EVLOOP_ONCE);
	assert_int_equal(f->calls, 1);
	return f->result;
}

/* ---- the good ---- */

static const struct peer_step good_steps[] = { TLS,
	{ PEER_LINE, "GET /.well-known/mta-sts.txt HTTP/1.1", 0 }, HEAD,
	SERVE("200 OK", "Content-Type: Text/Plain; charset=utf-8\r\n",
	POLICY), { 0 } };

static void
test_good(void **state)
{
	const struct sts_fetch_result *res;
	struct fetcher f;

	(void)state;
	fetcher_open(&f, &good_cert, good_steps, 0);
	res = fetch(&f, DOMAIN);
	assert_int_equal(res->failure, TLS_FAILURE_NONE);
	assert_string_equal(res->reason, "");
	assert_non_null(res->policy);
	assert_int_equal(res->policy->mode, STS_MODE_ENFORCE);
	assert_int_equal(res->policy->max_age_s, 604800);
	assert_int_equal(res->policy->mx_count, 1);
	assert_string_equal(res->text, POLICY);
	assert_int_equal(res->len, strlen(POLICY));
	assert_int_equal(fake_dns_asked(), 2);
	fetcher_close(&f);
}

/* What is kept is taken out; freeing the rest does not touch it. */
static void
test_take(void **state)
{
	struct sts_policy *policy;
	struct fetcher f;
	char *text;

	(void)state;
	fetcher_open(&f, &good_cert, good_steps, 0);
	(void)fetch(&f, DOMAIN);
	policy = f.result->policy;
	text = f.result->text;
	f.result->policy = NULL;
	f.result->text = NULL;
	sts_fetch_result_free(&f.result);
	assert_null(f.result);
	assert_int_equal(policy->mode, STS_MODE_ENFORCE);
	assert_string_equal(text, POLICY);
	sts_policy_free(&policy);
	mem_free(&text);
	fetcher_close(&f);
}

/* One family fails, the other serves. */
static void
test_one_family(void **state)
{
	struct fetcher f;

	(void)state;
	fetcher_open(&f, &good_cert, good_steps, 0);
	fake_dns_set(HOST, DNS_TYPE_AAAA, DNS_LATER, NULL);
	assert_int_equal(fetch(&f, DOMAIN)->failure, TLS_FAILURE_NONE);
	fetcher_close(&f);
}

/* Many addresses of one family leave room for the other. */
static void
test_crowd(void **state)
{
	struct fetcher f;

	(void)state;
	fetcher_open(&f, &good_cert, good_steps, 0);
	fake_dns_set(HOST, DNS_TYPE_AAAA, DNS_FOUND, "::1 ::1 ::1 ::1 ::1 "
		"::1 ::1 ::1 ::1 ::1 ::1 ::1 ::1 ::1 ::1 ::1 ::1 ::1 ::1");
	assert_int_equal(fetch(&f, DOMAIN)->failure, TLS_FAILURE_NONE);
	fetcher_close(&f);
}

/* ---- the faults ---- */

static char long_policy[70001];

struct fault {
	const char *name;
	enum tls_failure failure;
	const char *reason;
	bool text;			/* the body is there all the same */
	int64_t timeout_ms;
	struct cert_spec spec;
	struct peer_step steps[12];
};

/* clang-format off */
static const struct fault faults[] = {
	{ "404", TLS_FAILURE_STS_FETCH, HOST ": the server answered 404",
	  false, 0, { 0 },
	  { TLS, HEAD, SERVE("404 Not Found", PLAIN, POLICY) } },
	{ "404 with a long page", TLS_FAILURE_STS_FETCH, "", false, 0,
	  { 0 },
	  { TLS, HEAD, SEND(STATUS("404 Not Found") PLAIN "\r\n"),
	    { PEER_FLOOD, POLICY, 0 }, WAIT } },
	{ "301", TLS_FAILURE_STS_FETCH, "redirection", false, 0, { 0 },
	  { TLS, HEAD, SERVE("301 Moved", PLAIN "Location: https://" HOST
	    "/x\r\n", POLICY) } },
	{ "204", TLS_FAILURE_STS_FETCH, "", false, 0, { 0 },
	  { TLS, HEAD, SERVE("204 Nothing", PLAIN, "") } },
	{ "206", TLS_FAILURE_STS_FETCH, "", false, 0, { 0 },
	  { TLS, HEAD, SERVE("206 Some", PLAIN, POLICY) } },
	{ "html", TLS_FAILURE_STS_FETCH, "not text/plain", false, 0, { 0 },
	  { TLS, HEAD, SERVE("200 OK", "Content-Type: text/html\r\n",
	    POLICY) } },
	{ "no type", TLS_FAILURE_STS_FETCH, "not text/plain", false, 0,
	  { 0 }, { TLS, HEAD, SERVE("200 OK", "", POLICY) } },
	{ "almost the type", TLS_FAILURE_STS_FETCH, "not text/plain", false,
	  0, { 0 },
	  { TLS, HEAD, SERVE("200 OK", "Content-Type: text/plainer\r\n",
	    POLICY) } },
	{ "gzip", TLS_FAILURE_STS_FETCH, "encoded", false, 0, { 0 },
	  { TLS, HEAD, SERVE("200 OK", PLAIN "Content-Encoding: gzip\r\n",
	    POLICY) } },
	{ "70 kB announced", TLS_FAILURE_STS_FETCH, "65536 bytes", false, 0,
	  { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "Content-Length: 70000\r\n"
	    "\r\n"), SEND(long_policy), WAIT } },
	{ "70 kB to the end", TLS_FAILURE_STS_FETCH, "65536 bytes", false,
	  0, { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "\r\n"), SEND(long_policy),
	    WAIT } },
	{ "slow drip", TLS_FAILURE_STS_FETCH, "timed out", false, 600,
	  { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "\r\n"),
	    { PEER_DRIP, POLICY, 50 }, WAIT } },
	{ "truncated, yet a whole policy to look at",
	  TLS_FAILURE_STS_FETCH, "broke off", false, 0, { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "\r\n" POLICY) } },
	{ "closed", TLS_FAILURE_STS_FETCH, "without an answer", false, 0,
	  { 0 }, { TLS, HEAD, BYE } },
	{ "TLS 1.1", TLS_FAILURE_STS_FETCH, "TLS handshake", false, 0,
	  { 0 }, { { PEER_TLS_FAIL, NULL, TLS1_1_VERSION } } },
	{ "expired", TLS_FAILURE_STS_WEBPKI, HOST ": the certificate has "
	  "expired", false, 0,
	  { .cn = "x", .san = "DNS:" HOST, .by_ca = true, .begin_s = -7200,
	    .end_s = -60 }, { NOTHING } },
	{ "self-signed", TLS_FAILURE_STS_WEBPKI, "self-signed", false, 0,
	  { .cn = "x", .san = "DNS:" HOST }, { NOTHING } },
	{ "of the domain, not the policy host", TLS_FAILURE_STS_WEBPKI,
	  "another name", false, 0,
	  { .cn = HOST, .san = "DNS:" DOMAIN, .by_ca = true }, { NOTHING } },
	{ "not a policy", TLS_FAILURE_STS_INVALID, "the policy is not valid: ",
	  true, 0, { 0 },
	  { TLS, HEAD, SERVE("200 OK", PLAIN, "hello \033[2J\r\n") } },
	{ "empty", TLS_FAILURE_STS_INVALID, "the policy is not valid: ", true,
	  0, { 0 }, { TLS, HEAD, SERVE("200 OK", PLAIN, "") } },
	{ "enforce without mx", TLS_FAILURE_STS_INVALID, "not valid", true, 0,
	  { 0 },
	  { TLS, HEAD, SERVE("200 OK", PLAIN, "version: STSv1\r\n"
	    "mode: enforce\r\nmax_age: 1\r\n") } },
};
/* clang-format on */

static void
judge(const struct fault *t, const struct sts_fetch_result *res)
{
	if (res->failure != t->failure ||
	    strstr(res->reason, t->reason) == NULL)
		print_error("%s: %s, \"%s\"\n", t->name,
			tls_failure_name(res->failure), res->reason);
	assert_int_equal(res->failure, t->failure);
	assert_non_null(strstr(res->reason, t->reason));
	assert_true(res->reason[0] != '\0');
	assert_null(strchr(res->reason, '\033'));
	assert_null(res->policy);
	assert_int_equal(res->text != NULL, t->text);
}

static void
test_faults(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		const struct fault *t = &faults[i];
		struct fetcher f;

		fetcher_open(&f, t->spec.cn == NULL ? &good_cert : &t->spec,
			t->steps, t->timeout_ms);
		judge(t, fetch(&f, DOMAIN));
		fetcher_close(&f);
	}
}

/* 65,536 bytes are the most that is taken. */
static void
test_exact_size(void **state)
{
	static char body[STS_POLICY_MAX + 1];
	static const struct peer_step steps[] = { TLS, HEAD,
		SEND(STATUS("200 OK") PLAIN "Connection: close\r\n\r\n"),
		SEND(body), BYE, { 0 } };
	size_t n = strlen(POLICY);
	struct fetcher f;

	(void)state;
	memset(body, 'x', sizeof(body) - 1);
	memcpy(body, POLICY "x: ", n + 3);
	memcpy(body + sizeof(body) - 3, "\r\n", 3);
	fetcher_open(&f, &good_cert, steps, 0);
	(void)fetch(&f, DOMAIN);
	/* Whatever the parser says of so long a line: it was received. */
	assert_int_not_equal(f.result->failure, TLS_FAILURE_STS_FETCH);
	assert_int_equal(f.result->len, STS_POLICY_MAX);
	fetcher_close(&f);
}

/* ---- DNS ---- */

static void
dns_fault(enum dns_result v4, enum dns_result v6, const char *reason)
{
	struct fetcher f;

	fetcher_open(&f, NULL, NULL, 0);
	fake_dns_set(HOST, DNS_TYPE_A, v4, NULL);
	fake_dns_set(HOST, DNS_TYPE_AAAA, v6, NULL);
	assert_int_equal(fetch(&f, DOMAIN)->failure, TLS_FAILURE_STS_FETCH);
	assert_string_equal(f.result->reason, reason);
	assert_false(f.result->local);
	/* Our resolver is silent: nothing is known of them. */
	fake_dns_at_fault(true);
	sts_fetch_result_free(&f.result);
	f.calls = 0;
	assert_int_equal(fetch(&f, DOMAIN)->local, v4 == DNS_LATER ||
		v6 == DNS_LATER);
	fake_dns_at_fault(false);
	fetcher_close(&f);
}

static void
test_dns(void **state)
{
	(void)state;
	dns_fault(DNS_LATER, DNS_LATER, HOST ": SERVFAIL");
	dns_fault(DNS_NODATA, DNS_LATER, HOST ": SERVFAIL");
	dns_fault(DNS_LATER, DNS_NODATA, HOST ": SERVFAIL");
	dns_fault(DNS_NODATA, DNS_NODATA, HOST ": the host has no address");
	dns_fault(DNS_NXDOMAIN, DNS_NXDOMAIN, HOST ": the host has no "
		"address");
}

static void
test_dns_timeout(void **state)
{
	struct fetcher f;

	(void)state;
	fetcher_open(&f, NULL, NULL, 100);
	fake_dns_hold(true);
	assert_int_equal(fetch(&f, DOMAIN)->failure, TLS_FAILURE_STS_FETCH);
	assert_string_equal(f.result->reason, HOST ": timed out: no DNS "
		"answer");
	fetcher_close(&f);
}

static void
test_private(void **state)
{
	const struct https_settings strict = { .ca_file = "/dev/null",
		.timeout_ms = 1000 };
	struct fetcher f;

	(void)state;
	fetcher_open(&f, NULL, NULL, 0);
	https_free(&f.w.https);
	f.w.https = https_new(f.w.base, &strict);
	f.env.https = f.w.https;
	assert_int_equal(fetch(&f, DOMAIN)->failure, TLS_FAILURE_STS_FETCH);
	assert_string_equal(f.result->reason, HOST ": the host has no public "
		"address (loopback)");
	fetcher_close(&f);
}

/* Without authorities we cannot fetch: that is told apart. */
static void
test_local(void **state)
{
	const struct https_settings blind = { .ca_file = "/nonexistent",
		.timeout_ms = 1000, .allow_private = true };
	struct fetcher f;

	(void)state;
	fetcher_open(&f, NULL, NULL, 0);
	https_free(&f.w.https);
	f.w.https = https_new(f.w.base, &blind);
	f.env.https = f.w.https;
	assert_true(fetch(&f, DOMAIN)->local);
	fetcher_close(&f);
	fetcher_open(&f, NULL, NULL, 100);
	fake_dns_hold(true);
	assert_false(fetch(&f, DOMAIN)->local);
	fetcher_close(&f);
}

static void
test_long_name(void **state)
{
	char domain[254];
	struct fetcher f;

	(void)state;
	for (size_t i = 0; i < sizeof(domain); i++)
		domain[i] = i % 50 == 49 ? '.' : 'a';
	domain[sizeof(domain) - 1] = '\0';	/* 253: fits, but not more */
	fetcher_open(&f, NULL, NULL, 0);
	assert_int_equal(fetch(&f, domain)->failure, TLS_FAILURE_STS_FETCH);
	assert_int_equal(fake_dns_asked(), 0);
	fetcher_close(&f);
}

/* ---- cancelling ---- */

static void
test_cancel(void **state)
{
	static const struct peer_step steps[] = { { PEER_TLS_TRY, NULL, 0 },
		HEAD, SERVE("200 OK", PLAIN, POLICY), { 0 } };
	bool whole = false;

	(void)state;
	for (int turns = 0; turns < 60 && !whole; turns++) {
		struct sts_fetch *fetch;
		struct fetcher f;

		fetcher_open(&f, &good_cert, steps, 0);
		fetch = sts_fetch_start(&f.env, DOMAIN, on_fetched, &f);
		for (int i = 0; i < turns && f.calls == 0; i++)
			(void)event_base_loop(f.w.base, EVLOOP_ONCE);
		whole = f.calls > 0;
		if (!whole) {
			sts_fetch_cancel(&fetch);
			assert_null(fetch);
			sts_fetch_cancel(&fetch);	/* harmless */
			for (int i = 0; i < 3; i++)
				(void)event_base_loop(f.w.base,
					EVLOOP_NONBLOCK);
			assert_int_equal(f.calls, 0);
		}
		sts_fetch_result_free(&f.result);
		fake_dns_clear();
		world_drop(&f.w);
	}
	assert_true(whole);
}

static void
test_cancel_long_name(void **state)
{
	char domain[254];
	struct sts_fetch *fetch;
	struct fetcher f;

	(void)state;
	memset(domain, 'a', sizeof(domain));
	domain[sizeof(domain) - 1] = '\0';
	fetcher_open(&f, NULL, NULL, 0);
	fetch = sts_fetch_start(&f.env, domain, on_fetched, &f);
	sts_fetch_cancel(&fetch);
	(void)event_base_loop(f.w.base, EVLOOP_NONBLOCK);
	assert_int_equal(f.calls, 0);
	fetcher_close(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_good), T(test_take), T(test_one_family),
		T(test_crowd), T(test_faults), T(test_exact_size),
		T(test_dns), T(test_dns_timeout), T(test_private),
		T(test_local), T(test_long_name), T(test_cancel),
		T(test_cancel_long_name),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	log_init("test", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	memset(long_policy, 'x', sizeof(long_policy) - 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
