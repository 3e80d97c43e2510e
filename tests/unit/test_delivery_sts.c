/*
 * Jobs for destinations with an MTA-STS policy: what arrives where, what waits,
 * and what is told of it.  Resolver, fetches, sessions and the parent are
 * stand-ins.  And how outcomes combine.
 */
#include "config.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/worker/delivery.h"
#include "smtpd-out/worker/sts_table.h"
#include "tests/unit/resolver_fake.h"
#include "tests/unit/session_fake.h"
#include "tests/unit/sts_fetch_fake.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define JOBS_MAX 64
#define NOTES_MAX 64
#define POLICY(mode, mx) "version: STSv1\nmode: " mode "\nmx: " mx \
	"\nmax_age: 86400\n"
#define TLSA "_25._tcp."
#define TXT "_mta-sts.d.example"

struct job {
	unsigned finals;
	struct msg_rcpt_result last;
};

static struct event_base *base;
static struct conf *conf;
static struct route_local *local;
static struct session_env env;
static struct deliveries *all;
static struct job jobs[JOBS_MAX];
static size_t job_count;
static unsigned job_flags;

static struct {
	enum tls_note_kind kind;
	char host[64];
	bool sts, fallback, report;
	enum tls_failure failure, why;
} notes[NOTES_MAX];
static size_t note_count;

static void
on_result(uint64_t id, const struct msg_result *msg, void *arg)
{
	(void)arg;
	assert_true(id > 0 && id <= job_count);
	assert_int_equal(jobs[id].finals, 0);
	jobs[id].finals += msg->final;
	if (msg->rcpt_count > 0)
		jobs[id].last = msg->rcpts[0];
}

static void
on_idle(void *arg)
{
	(void)arg;
}

static void
on_note(const struct tls_note *n, void *arg)
{
	const char *reason;

	(void)arg;
	assert_true(note_count < NOTES_MAX);
	notes[note_count].kind = n->kind;
	notes[note_count].fallback = n->fallback;
	notes[note_count].report = n->report;
	notes[note_count].why = n->why == NULL ? TLS_FAILURE_NONE :
		n->why->tls_failure;
	(void)str_copy(notes[note_count].host, sizeof(notes[0].host),
		n->host);
	notes[note_count].sts = tls_note_sts(n, &notes[note_count].failure,
		&reason);
	assert_int_equal(reason[0] != '\0', notes[note_count].failure !=
		TLS_FAILURE_NONE);
	note_count++;
}

/* The parent knows nothing. */
struct question {
	uint64_t id;
	char domain[256];
};

static void
on_answer(evutil_socket_t fd, short what, void *arg)
{
	struct question *q = arg;
	struct msg_sts msg = { .what = MSG_STS_ANSWER };

	(void)fd;
	(void)what;
	(void)str_copy(msg.domain, sizeof(msg.domain), q->domain);
	if (env.sts != NULL)
		sts_table_take(env.sts, q->id, &msg);
	free(q);
}

static void
on_get(uint64_t request, const char *domain, void *arg)
{
	const struct timeval soon = { 0, 0 };
	struct question *q = xcalloc(1, sizeof(*q));

	(void)arg;
	q->id = request;
	(void)str_copy(q->domain, sizeof(q->domain), domain);
	(void)event_base_once(base, -1, EV_TIMEOUT, on_answer, q, &soon);
}

static void
on_save(uint64_t id, const struct msg_sts *msg, void *arg)
{
	(void)id;
	(void)msg;
	(void)arg;
}

static void
turn(unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
}

static void
close_all(void)
{
	turn(5);	/* answers under way have a table to go to */
	deliveries_free(&all);
	sts_table_free(&env.sts);
	route_local_free(&local);
	conf_free(&conf);
}

static void
use_conf(const char *more)
{
	const struct deliveries_port port = { .result = on_result,
		.idle = on_idle, .note = on_note, .arg = NULL };
	const struct sts_table_port sts_port = { on_get, on_save, 0, NULL };
	const struct sts_fetch_env fetch_env = { NULL, NULL, 0 };
	char err[CONF_ERR_MAX], text[1000];

	(void)snprintf(text, sizeof(text), "hostname = \"me.example\"\n"
		"local-addresses = {\"203.0.113.99\"}\n"
		"resolver { dnssec = off }\n"
		"timeout { idle = 5s }\n%s", more);
	close_all();
	if (conf_parse("t", text, &conf, err) != ST_OK)
		fail_msg("%s", err);
	local = route_local_new(conf);
	env.base = base;
	env.conf = conf;
	env.sts = sts_table_new(base, conf, &fetch_env, &sts_port);
	all = deliveries_new(&env, NULL, local, &port);
}

static int
setup(void **state)
{
	(void)state;
	clock_test_set(INT64_C(1800000000000));
	base = event_base_new();
	fake_dns_init(base);
	fake_fetch_init(base);
	fake_sessions_init();
	memset(jobs, 0, sizeof(jobs));
	job_count = note_count = 0;
	job_flags = 0;
	log_init("t", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	use_conf("");
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_FOUND,
		"10 mx1.example 20 mx2.example");
	fake_dns_a("mx1.example", "192.0.2.1");
	fake_dns_a("mx2.example", "192.0.2.2");
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, "v=STSv1; id=1;");
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	close_all();
	fake_sessions_clear();
	fake_dns_clear();
	fake_fetch_clear();
	event_base_free(base);
	clock_test_real();
	return 0;
}

static struct job *
add_job(void)
{
	struct msg_job job = { .env = envelope_new("s@x.example"),
		.destination = xstrdup("d.example"), .attempt = 1,
		.body = (const uint8_t *)"text\r\n", .body_len = 6 };

	assert_true(job_count + 1 < JOBS_MAX);
	envelope_add_rcpt(job.env, "u@d.example", "d.example")->id = 1;
	job.env->size_bytes = 6;
	job.env->flags = job_flags;
	deliveries_add(all, ++job_count, &job, -1);
	return &jobs[job_count];
}

static const struct msg_rcpt_result *
deliver(void)
{
	struct job *j = add_job();

	turn(80);
	assert_int_equal(j->finals, 1);
	return &j->last;
}

/* ---- one job by each kind of policy and host ---- */

static const struct one_case {
	const char *name;
	const char *policy;		/* NULL: the fetch fails */
	enum fake_host mx1, mx2;
	unsigned flags;
	enum outcome_verdict verdict;
	const char *mx, *tls, *why;
	enum tls_failure failure;
	size_t sessions;
} one_cases[] = {
	{ "enforce, good", POLICY("enforce", "*.example"), HOST_OK, HOST_OK, 0,
	    VERDICT_DONE, "mx1.example", "sts", "sts", 0, 1 },
	{ "enforce, the second is named", POLICY("enforce", "mx2.example"),
	    HOST_OK, HOST_OK, 0, VERDICT_DONE, "mx2.example", "sts", "sts", 0,
	    1 },
	{ "enforce, none is named", POLICY("enforce", "mx9.example"), HOST_OK,
	    HOST_OK, 0, VERDICT_LATER, "mx2.example", "none", "sts",
	    TLS_FAILURE_VALIDATION, 0 },
	{ "enforce, bad certificate, then good", POLICY("enforce",
	    "*.example"), HOST_BAD_CERT, HOST_OK, 0, VERDICT_DONE,
	    "mx2.example", "sts", "sts", 0, 2 },
	{ "enforce, bad certificates", POLICY("enforce", "*.example"),
	    HOST_BAD_CERT, HOST_BAD_CERT, 0, VERDICT_LATER, "mx2.example",
	    "none", "sts", TLS_FAILURE_NOT_TRUSTED, 2 },
	{ "enforce, stripped", POLICY("enforce", "*.example"),
	    HOST_NO_STARTTLS, HOST_STARTTLS_454, 0, VERDICT_LATER,
	    "mx2.example", "none", "sts", TLS_FAILURE_STARTTLS, 2 },
	{ "enforce, TLS fails", POLICY("enforce", "*.example"),
	    HOST_TLS_FAILS, HOST_TLS_FAILS, 0, VERDICT_LATER, "mx2.example",
	    "none", "sts", TLS_FAILURE_VALIDATION, 2 },
	{ "enforce, unlisted and 5xx", POLICY("enforce", "mx1.example"),
	    HOST_BANNER_5XX, HOST_OK, 0, VERDICT_LATER, "mx2.example", "none",
	    "sts", TLS_FAILURE_VALIDATION, 1 },
	{ "testing, good", POLICY("testing", "*.example"), HOST_OK, HOST_OK, 0,
	    VERDICT_DONE, "mx1.example", "encrypted", "default", 0, 1 },
	{ "testing, unlisted", POLICY("testing", "mx9.example"), HOST_OK,
	    HOST_OK, 0, VERDICT_DONE, "mx1.example", "encrypted", "default", 0,
	    1 },
	{ "testing, bad certificate", POLICY("testing", "*.example"),
	    HOST_BAD_CERT, HOST_OK, 0, VERDICT_DONE, "mx1.example",
	    "encrypted", "default", 0, 1 },
	{ "testing, no STARTTLS", POLICY("testing", "*.example"),
	    HOST_NO_STARTTLS, HOST_OK, 0, VERDICT_DONE, "mx1.example", "none",
	    "default", 0, 1 },
	{ "testing, TLS fails", POLICY("testing", "*.example"),
	    HOST_TLS_FAILS, HOST_OK, 0, VERDICT_DONE, "mx1.example", "none",
	    "default", 0, 2 },
	{ "none", "version: STSv1\nmode: none\nmax_age: 86400\n",
	    HOST_NO_STARTTLS, HOST_OK, 0, VERDICT_DONE, "mx1.example", "none",
	    "default", 0, 1 },
	{ "not to be had", NULL, HOST_NO_STARTTLS, HOST_OK, 0, VERDICT_DONE,
	    "mx1.example", "none", "default", 0, 1 },
	{ "REQUIRETLS, named", POLICY("enforce", "*.example"), HOST_OK,
	    HOST_OK, ENVELOPE_REQUIRETLS, VERDICT_DONE, "mx1.example", "pkix",
	    "requiretls", 0, 1 },
	{ "REQUIRETLS, stripped: not for ever", POLICY("enforce",
	    "*.example"), HOST_NO_STARTTLS, HOST_NO_STARTTLS,
	    ENVELOPE_REQUIRETLS, VERDICT_LATER, "mx2.example", "none",
	    "requiretls", TLS_FAILURE_STARTTLS, 2 },
	{ "REQUIRETLS, testing proves nothing", POLICY("testing",
	    "*.example"), HOST_OK, HOST_OK, ENVELOPE_REQUIRETLS,
	    VERDICT_NEVER, "mx2.example", "none", "requiretls", 0, 0 },
	{ "TLS-Required: No", POLICY("enforce", "mx9.example"),
	    HOST_NO_STARTTLS, HOST_OK, ENVELOPE_TLS_OPTIONAL, VERDICT_DONE,
	    "mx1.example", "none", "tls-required-no", 0, 1 },
};

static void
run_one(const struct one_case *c)
{
	const struct msg_rcpt_result *r;
	size_t before = fake_sessions()->started;
	size_t clear = fake_sessions()->clear_txns;

	use_conf("");
	if (c->policy != NULL)
		fake_fetch_text(c->policy);
	else
		fake_fetch_fail(TLS_FAILURE_STS_FETCH);
	fake_host_set("mx1.example", c->mx1);
	fake_host_set("mx2.example", c->mx2);
	job_flags = c->flags;
	note_count = 0;
	r = deliver();
	if (r->outcome.verdict != c->verdict ||
	    strcmp(r->mx, c->mx) != 0 || strcmp(r->tls, c->tls) != 0 ||
	    strcmp(r->why, c->why) != 0 ||
	    r->outcome.tls_failure != c->failure ||
	    fake_sessions()->started - before != c->sessions)
		fail_msg("%s: %s mx=%s tls=%s why=%s %s, %zu sessions: %s",
			c->name, outcome_verdict_name(r->outcome.verdict),
			r->mx, r->tls, r->why, tls_failure_name(
			r->outcome.tls_failure), fake_sessions()->started -
			before, r->outcome.text);
	if (strcmp(c->tls, "none") != 0 || c->verdict != VERDICT_DONE)
		assert_int_equal(fake_sessions()->clear_txns, clear);
}

static void
test_one(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(one_cases); i++)
		run_one(&one_cases[i]);
}

/* ---- what is told ---- */

static const struct {
	const char *policy;
	enum fake_host mx1;
	struct {
		enum tls_note_kind kind;
		bool sts, fallback;
		enum tls_failure failure;
	} want[3];
	size_t count;
} note_cases[] = {
	{ POLICY("enforce", "*.example"), HOST_OK,
	    { { TLS_NOTE_UP, true, false, 0 } }, 1 },
	{ POLICY("enforce", "mx2.example"), HOST_OK,
	    { { TLS_NOTE_SKIPPED, true, false, TLS_FAILURE_VALIDATION },
	    { TLS_NOTE_UP, true, false, 0 } }, 2 },
	{ POLICY("enforce", "*.example"), HOST_BAD_CERT,
	    { { TLS_NOTE_FAILED, true, false, TLS_FAILURE_NOT_TRUSTED },
	    { TLS_NOTE_UP, true, false, 0 } }, 2 },
	{ POLICY("enforce", "*.example"), HOST_NO_STARTTLS,
	    { { TLS_NOTE_FAILED, true, false, TLS_FAILURE_STARTTLS },
	    { TLS_NOTE_UP, true, false, 0 } }, 2 },
	{ POLICY("testing", "*.example"), HOST_OK,
	    { { TLS_NOTE_UP, true, false, 0 } }, 1 },
	{ POLICY("testing", "mx9.example"), HOST_OK,
	    { { TLS_NOTE_UP, true, false, TLS_FAILURE_VALIDATION } }, 1 },
	{ POLICY("testing", "*.example"), HOST_BAD_CERT,
	    { { TLS_NOTE_UP, true, false, TLS_FAILURE_NOT_TRUSTED } }, 1 },
	{ POLICY("testing", "*.example"), HOST_NO_STARTTLS,
	    { { TLS_NOTE_UP, true, false, TLS_FAILURE_STARTTLS } }, 1 },
	{ POLICY("testing", "*.example"), HOST_TLS_FAILS,
	    { { TLS_NOTE_FAILED, true, false, TLS_FAILURE_VALIDATION },
	    { TLS_NOTE_UP, true, true, TLS_FAILURE_STARTTLS } }, 2 },
	{ "version: STSv1\nmode: none\nmax_age: 86400\n", HOST_NO_STARTTLS,
	    { { TLS_NOTE_UP, false, false, 0 } }, 1 },
	{ NULL, HOST_OK, { { TLS_NOTE_UP, false, false, 0 } }, 1 },
};

static void
test_notes(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(note_cases); i++) {
		use_conf("");
		fake_fetch_text(note_cases[i].policy);
		fake_host_set("mx1.example", note_cases[i].mx1);
		note_count = 0;
		(void)deliver();
		if (note_count != note_cases[i].count)
			fail_msg("%zu: %zu notes", i, note_count);
		for (size_t n = 0; n < note_count; n++)
			if (notes[n].kind != note_cases[i].want[n].kind ||
			    notes[n].sts != note_cases[i].want[n].sts ||
			    notes[n].fallback !=
			    note_cases[i].want[n].fallback ||
			    notes[n].failure != note_cases[i].want[n].failure)
				fail_msg("%zu, note %zu: %d %d %s", i, n,
					(int)notes[n].kind, notes[n].sts,
					tls_failure_name(notes[n].failure));
	}
}

static void
check_note(const char *host, enum tls_failure why)
{
	const struct msg_rcpt_result *r;

	note_count = 0;
	r = deliver();
	assert_int_equal(r->outcome.verdict, VERDICT_LATER);
	assert_int_equal(r->outcome.tls_failure, why);
	assert_int_equal(note_count, why != TLS_FAILURE_NONE);
	if (note_count == 0)
		return;
	assert_int_equal(notes[0].kind, TLS_NOTE_SKIPPED);
	assert_int_equal(notes[0].why, why);
	assert_string_equal(notes[0].host, host);
}

/* DNS that is bogus, or silent; what is our own resolver's fault is not told
 * (RFC 8460 section 4.3.4 asks for no transient errors). */
static void
test_notes_of_dns(void **state)
{
	(void)state;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_NXDOMAIN, NULL);
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_FOUND, "10 mx1.example");
	fake_dns_security(DNS_SEC_SECURE);
	fake_dns_set(TLSA "mx1.example", DNS_TYPE_TLSA, DNS_LATER, NULL);
	check_note("mx1.example", TLS_FAILURE_DNSSEC_INVALID);
	fake_dns_at_fault(true);
	check_note("mx1.example", TLS_FAILURE_NONE);
	fake_dns_at_fault(false);
	fake_dns_security(DNS_SEC_BOGUS);
	fake_dns_set("mx1.example", DNS_TYPE_A, DNS_LATER, NULL);
	fake_dns_set("mx1.example", DNS_TYPE_AAAA, DNS_LATER, NULL);
	check_note("mx1.example", TLS_FAILURE_DNSSEC_INVALID);
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_LATER, NULL);
	check_note("", TLS_FAILURE_DNSSEC_INVALID);
	fake_dns_at_fault(true);
	check_note("", TLS_FAILURE_NONE);
	fake_dns_at_fault(false);
	fake_dns_security(DNS_SEC_INDETERMINATE);
	check_note("", TLS_FAILURE_NONE);
}

/* Mail that wants no policy is told of, our own reports as such. */
static void
test_notes_of_optional(void **state)
{
	(void)state;
	job_flags = ENVELOPE_TLS_OPTIONAL;
	assert_int_equal(deliver()->outcome.verdict, VERDICT_DONE);
	assert_int_equal(note_count, 1);
	assert_false(notes[0].sts || notes[0].report);
	use_conf("");
	job_flags |= ENVELOPE_REPORT;
	assert_int_equal(deliver()->outcome.verdict, VERDICT_DONE);
	assert_int_equal(note_count, 2);
	assert_true(notes[1].report);
}

/* A job that finds an open session is no new session. */
static void
test_notes_of_shared(void **state)
{
	(void)state;
	fake_fetch_text(POLICY("enforce", "*.example"));
	for (int i = 0; i < 5; i++)
		assert_int_equal(deliver()->outcome.verdict, VERDICT_DONE);
	assert_int_equal(fake_sessions()->started, 1);
	assert_int_equal(fake_sessions()->sts_txns, 5);
	assert_int_equal(note_count, 1);
}

/* ---- when it cannot be known ---- */

static void
test_dns_failure(void **state)
{
	const struct msg_rcpt_result *r;

	(void)state;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_LATER, NULL);
	r = deliver();
	assert_int_equal(r->outcome.verdict, VERDICT_LATER);
	assert_string_equal(r->outcome.enhanced, "4.7.5");
	assert_string_equal(r->why, "sts");
	assert_int_equal(r->outcome.tls_failure, TLS_FAILURE_STS_FETCH);
	assert_int_equal(fake_sessions()->started, 0);
	use_conf("mta-sts { dns-failure = ignore }");
	assert_int_equal(deliver()->outcome.verdict, VERDICT_DONE);
	/* A rule of ours that verifies needs no policy. */
	use_conf("destination \"d.example\" { tls = pkix }");
	assert_int_equal(deliver()->outcome.verdict, VERDICT_DONE);
}

/* Nobody asks for what would count for nothing. */
static void
test_not_asked(void **state)
{
	(void)state;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_LATER, NULL);
	job_flags = ENVELOPE_TLS_OPTIONAL;
	assert_int_equal(deliver()->outcome.verdict, VERDICT_DONE);
	job_flags = 0;
	use_conf("destination \"d.example\" { relay = \"mx1.example\" }");
	assert_int_equal(deliver()->outcome.verdict, VERDICT_DONE);
	assert_int_equal(sts_table_count(env.sts), 0);
}

/* ---- rechecks ---- */

/* The policy no longer fits, and a new one is there: the same attempt. */
static void
test_changed(void **state)
{
	(void)state;
	fake_fetch_text(POLICY("enforce", "old.example"));
	assert_int_equal(deliver()->outcome.verdict, VERDICT_LATER);
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, "v=STSv1; id=2;");
	fake_fetch_text(POLICY("enforce", "mx2.example"));
	clock_test_set(clock_wall_ms() + 61000);	/* a recheck a minute */
	note_count = 0;
	assert_int_equal(deliver()->outcome.verdict, VERDICT_DONE);
	assert_string_equal(jobs[2].last.mx, "mx2.example");
	assert_string_equal(jobs[2].last.tls, "sts");
	assert_int_equal(fake_fetch_count(), 2);
}

/* Certificates that fail lead there as well; hosts that failed for another
 * reason are left alone. */
static void
test_changed_to_none(void **state)
{
	(void)state;
	fake_fetch_text(POLICY("enforce", "*.example"));
	fake_host_set("mx1.example", HOST_REFUSES);
	fake_host_set("mx2.example", HOST_BAD_CERT);
	assert_int_equal(deliver()->outcome.verdict, VERDICT_LATER);
	assert_int_equal(fake_sessions()->started, 2);
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, "v=STSv1; id=2;");
	fake_fetch_text("version: STSv1\nmode: none\nmax_age: 86400\n");
	clock_test_set(clock_wall_ms() + 61000);
	assert_int_equal(deliver()->outcome.verdict, VERDICT_DONE);
	/* One of them is still down. */
	assert_int_equal(fake_sessions()->started, 4);
	assert_string_equal(jobs[2].last.tls, "encrypted");
}

/* Unchanged: no host is tried twice, and the DNS is not asked for each. */
static void
test_unchanged(void **state)
{
	(void)state;
	fake_fetch_text(POLICY("enforce", "*.example"));
	fake_host_set("mx1.example", HOST_BAD_CERT);
	fake_host_set("mx2.example", HOST_BAD_CERT);
	for (int i = 0; i < 5; i++)
		assert_int_equal(deliver()->outcome.verdict, VERDICT_LATER);
	assert_int_equal(fake_sessions()->started, 10);
	assert_int_equal(fake_fetch_count(), 1);
	assert_int_equal(fake_sessions()->txns, 0);
}

/* A session made before the policy was known takes no more jobs. */
static void
test_old_session(void **state)
{
	(void)state;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_NXDOMAIN, NULL);
	assert_int_equal(deliver()->outcome.verdict, VERDICT_DONE);
	assert_int_equal(fake_sessions()->started, 1);
	/* The operator wants it looked at anew. */
	sts_table_take(env.sts, 0, &(struct msg_sts){
		.what = MSG_STS_FORGET, .domain = "d.example" });
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, "v=STSv1; id=1;");
	fake_fetch_text(POLICY("enforce", "*.example"));
	assert_int_equal(deliver()->outcome.verdict, VERDICT_DONE);
	assert_string_equal(jobs[2].last.tls, "sts");
	assert_int_equal(fake_sessions()->started, 2);
}

/* ---- life ---- */

/* Everything is freed, or stopped, after each number of turns. */
static void
test_stages(void **state)
{
	(void)state;
	fake_host_set("mx1.example", HOST_BAD_CERT);
	fake_host_set("mx2.example", HOST_BAD_CERT);
	for (unsigned i = 0; i < 60; i++) {
		use_conf("");
		fake_fetch_text(POLICY("enforce", "*.example"));
		fake_fetch_hold(i % 3 == 0);
		(void)add_job();
		(void)add_job();
		turn(i / 2);
		if (i % 2 == 0) {
			deliveries_stop(all);
			turn(3);
		}
		fake_fetch_hold(false);
		turn(i % 5);
		close_all();
		fake_dns_clear();
		fake_fetch_clear();
		job_count = note_count = 0;
		memset(jobs, 0, sizeof(jobs));
	}
	use_conf("");
}

/* DNS that nobody signed says that there is no host: an enforced policy keeps
 * mail from going back for it, nothing else does. */
static void
test_no_host(void **state)
{
	static const struct {
		const char *policy, *mx;
		enum dns_result result;
		enum dns_security security;
		enum outcome_verdict verdict;
	} rows[] = {
		{ POLICY("enforce", "*.example"), "0 .", DNS_FOUND,
		    DNS_SEC_INSECURE, VERDICT_LATER },
		{ POLICY("enforce", "*.example"), NULL, DNS_NXDOMAIN,
		    DNS_SEC_INSECURE, VERDICT_LATER },
		{ POLICY("enforce", "*.example"), "10 gone.example", DNS_FOUND,
		    DNS_SEC_INSECURE, VERDICT_LATER },
		{ POLICY("enforce", "*.example"), "10 me.example", DNS_FOUND,
		    DNS_SEC_INSECURE, VERDICT_LATER },
		{ POLICY("enforce", "*.example"), "0 .", DNS_FOUND,
		    DNS_SEC_SECURE, VERDICT_NEVER },
		{ POLICY("enforce", "*.example"), NULL, DNS_NXDOMAIN,
		    DNS_SEC_SECURE, VERDICT_NEVER },
		{ POLICY("testing", "*.example"), "0 .", DNS_FOUND,
		    DNS_SEC_INSECURE, VERDICT_NEVER },
		{ POLICY("none", "*.example"), NULL, DNS_NXDOMAIN,
		    DNS_SEC_INSECURE, VERDICT_NEVER },
		{ NULL, "0 .", DNS_FOUND, DNS_SEC_INSECURE, VERDICT_NEVER },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct msg_rcpt_result *r;

		use_conf("");
		if (rows[i].policy != NULL)
			fake_fetch_text(rows[i].policy);
		else
			fake_fetch_fail(TLS_FAILURE_STS_FETCH);
		fake_dns_set("d.example", DNS_TYPE_MX, rows[i].result,
			rows[i].mx);
		fake_dns_security(rows[i].security);
		r = deliver();
		assert_int_equal(r->outcome.verdict, rows[i].verdict);
		assert_int_equal(r->outcome.tls_failure, rows[i].verdict ==
			VERDICT_LATER ? TLS_FAILURE_VALIDATION :
			TLS_FAILURE_NONE);
		assert_string_equal(r->why, rows[i].verdict == VERDICT_LATER ?
			"sts" : "default");
	}
}

/* ... nor does mail go back while nobody knows whether there is a policy. */
static void
test_no_host_unknown(void **state)
{
	const struct msg_rcpt_result *r;

	(void)state;
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_FOUND, "0 .");
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_LATER, NULL);
	r = deliver();
	assert_int_equal(r->outcome.verdict, VERDICT_LATER);
	assert_int_equal(r->outcome.tls_failure, TLS_FAILURE_STS_FETCH);
	assert_string_equal(r->why, "sts");
	fake_dns_security(DNS_SEC_SECURE);
	use_conf("");
	assert_int_equal(deliver()->outcome.verdict, VERDICT_NEVER);
	fake_dns_security(DNS_SEC_INSECURE);
	use_conf("mta-sts { dns-failure = ignore }\n");
	assert_int_equal(deliver()->outcome.verdict, VERDICT_NEVER);
}

/* ---- outcomes ---- */

static struct outcome
outcome_of(enum outcome_scope scope, enum outcome_verdict verdict)
{
	return (struct outcome){ .scope = scope, .verdict = verdict };
}

static void
test_settled(void **state)
{
	static const bool want[4][4] = {	/* by verdict, by scope */
		[VERDICT_NONE] = { false, false, false, false },
		[VERDICT_DONE] = { true, true, true, true },
		[VERDICT_LATER] = { [SCOPE_DESTINATION] = true },
		[VERDICT_NEVER] = { [SCOPE_RCPT] = true,
			[SCOPE_MESSAGE] = true, [SCOPE_DESTINATION] = true },
	};
	struct outcome o;

	(void)state;
	for (int v = 0; v < 4; v++)
		for (int s = 0; s < 4; s++) {
			o = outcome_of((enum outcome_scope)s,
				(enum outcome_verdict)v);
			assert_int_equal(delivery_settled(&o), want[v][s]);
		}
	o = outcome_unsure("mx", "lost");
	assert_true(delivery_settled(&o));
}

static void
test_merge(void **state)
{
	const struct outcome none = outcome_of(SCOPE_RCPT, VERDICT_NONE);
	const struct outcome done = outcome_of(SCOPE_RCPT, VERDICT_DONE);
	const struct outcome later = outcome_of(SCOPE_HOST, VERDICT_LATER);
	const struct outcome never = outcome_of(SCOPE_RCPT, VERDICT_NEVER);
	const struct outcome host = outcome_of(SCOPE_HOST, VERDICT_NEVER);
	const struct {
		const struct outcome *old, *new, *want;
	} cases[] = {
		{ &none, &done, &done }, { &none, &later, &later },
		{ &none, &host, &host }, { &none, &never, &never },
		{ &later, &done, &done }, { &later, &never, &never },
		{ &later, &host, &later },	/* the gentler one */
		{ &host, &later, &later }, { &host, &done, &done },
		{ &host, &host, &host }, { &host, &never, &never },
		{ &later, &later, &later },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct outcome got = delivery_merge(cases[i].old,
			cases[i].new);

		assert_int_equal(got.verdict, cases[i].want->verdict);
		assert_int_equal(got.scope, cases[i].want->scope);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_settled), cmocka_unit_test(test_merge),
		T(one), T(notes), T(notes_of_shared), T(notes_of_dns),
		T(notes_of_optional), T(dns_failure),
		T(not_asked), T(changed), T(changed_to_none), T(unchanged),
		T(old_session), T(stages), T(no_host), T(no_host_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
