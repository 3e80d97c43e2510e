/*
 * Jobs through hosts: sessions and resolver are stand-ins, the rest is real.
 * What must hold always: every recipient of a job is reported exactly once,
 * the job ends exactly once, and nothing is left behind.
 */
#include "config.h"

#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/worker/delivery.h"
#include "tests/unit/resolver_fake.h"
#include "tests/unit/session_fake.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define JOBS_MAX 1200
#define TLSA "_25._tcp."
#define RCPTS_MAX 400

struct job {
	size_t rcpts;
	unsigned reported[RCPTS_MAX];
	enum outcome_verdict verdicts[RCPTS_MAX];
	unsigned results, finals;
	struct msg_rcpt_result last;
};

static struct event_base *base;
static struct conf *conf;
static struct route_local *local;
static struct session_env env;
static struct deliveries *all;
static struct job *jobs;	/* by job id */
static size_t job_count;
static unsigned idles;
static unsigned job_flags;	/* of the envelopes of jobs to come */
static unsigned holds;
static struct msg_dest_hold last_hold;

static void
on_result(uint64_t id, const struct msg_result *msg, void *arg)
{
	struct job *j = &jobs[id];

	assert_ptr_equal(arg, &jobs);
	assert_true(id > 0 && id <= job_count);
	assert_int_equal(j->finals, 0);		/* nothing after the end */
	assert_true(msg->final || msg->rcpt_count > 0);
	j->results++;
	j->finals += msg->final;
	for (size_t i = 0; i < msg->rcpt_count; i++) {
		const struct msg_rcpt_result *r = &msg->rcpts[i];

		assert_true(r->rcpt_id >= 1 && r->rcpt_id <= j->rcpts);
		assert_int_equal(j->reported[r->rcpt_id - 1]++, 0);
		assert_int_not_equal(r->outcome.verdict, VERDICT_NONE);
		j->verdicts[r->rcpt_id - 1] = r->outcome.verdict;
		j->last = *r;
	}
	if (!msg->final)
		return;
	for (size_t i = 0; i < j->rcpts && j->results + msg->rcpt_count > 1;
	    i++)
		assert_int_equal(j->reported[i], 1);
}

static void
on_idle(void *arg)
{
	assert_ptr_equal(arg, &jobs);
	idles++;
}

/* What sessions show: each but a fallback at most once is not our affair
 * here; that nothing is missing in it is. */
static void
on_note(const struct tls_note *n, void *arg)
{
	assert_ptr_equal(arg, &jobs);
	assert_non_null(n->destination);
	assert_int_equal(n->kind == TLS_NOTE_SKIPPED, n->demand == NULL);
	assert_int_equal(n->kind == TLS_NOTE_UP, n->why == NULL);
	assert_true(n->why == NULL || n->why->tls_failure !=
		TLS_FAILURE_NONE);
}

static void
on_hold(const struct msg_dest_hold *msg, void *arg)
{
	assert_ptr_equal(arg, &jobs);
	holds++;
	last_hold = *msg;
}

static void
use_conf(const char *more)
{
	char err[CONF_ERR_MAX], text[1000];
	const struct deliveries_port port = { .result = on_result,
		.idle = on_idle, .note = on_note, .arg = &jobs,
		.hold = on_hold };

	(void)snprintf(text, sizeof(text), "hostname = \"me.example\"\n"
		"local-addresses = {\"203.0.113.99\"}\n"
		"resolver { dnssec = off }\n%s", more);
	deliveries_free(&all);
	route_local_free(&local);
	conf_free(&conf);
	if (conf_parse("t", text, &conf, err) != ST_OK)
		fail_msg("%s", err);
	local = route_local_new(conf);
	env.base = base;
	env.conf = conf;
	all = deliveries_new(&env, NULL, local, &port);
}

static int
setup(void **state)
{
	(void)state;
	base = event_base_new();
	fake_dns_init(base);
	fake_sessions_init();
	jobs = xcalloc(JOBS_MAX, sizeof(jobs[0]));
	job_count = 0;
	idles = 0;
	job_flags = 0;
	holds = 0;
	log_init("t", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	use_conf("timeout { idle = 50ms }");
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_FOUND,
		"10 mx1.example 20 mx2.example 30 mx3.example");
	fake_dns_a("mx1.example", "192.0.2.1");
	fake_dns_a("mx2.example", "192.0.2.2");
	fake_dns_a("mx3.example", "192.0.2.3");
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	deliveries_free(&all);
	fake_sessions_clear();
	fake_dns_clear();
	route_local_free(&local);
	conf_free(&conf);
	event_base_free(base);
	free(jobs);
	return 0;
}

static struct job *
add_job(const char *destination, size_t rcpts, int fd)
{
	struct msg_job job = { .env = envelope_new("s@x.example"),
		.destination = xstrdup(destination), .attempt = 1,
		.body = (const uint8_t *)"text\r\n", .body_len = 6 };
	char text[300];

	assert_true(job_count + 1 < JOBS_MAX && rcpts <= RCPTS_MAX);
	jobs[++job_count].rcpts = rcpts;
	for (size_t i = 1; i <= rcpts; i++) {
		(void)snprintf(text, sizeof(text), "u%zu@%s", i, destination);
		envelope_add_rcpt(job.env, text, destination)->id = i;
	}
	job.env->size_bytes = 6;
	job.env->flags = job_flags;
	deliveries_add(all, job_count, &job, fd);
	return &jobs[job_count];
}

static void
turn(unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
}

static unsigned
count_verdict(const struct job *j, enum outcome_verdict v)
{
	unsigned n = 0;

	for (size_t i = 0; i < j->rcpts; i++)
		n += j->verdicts[i] == v;
	return n;
}

/* ---- one job ---- */

static const struct one_case {
	const char *name;
	enum fake_host mx1, mx2, mx3;
	size_t rcpts;
	unsigned done, later, never;
	size_t sessions;
	const char *mx;		/* of the last result */
} one_cases[] = {
	{ "the first host takes it", HOST_OK, HOST_OK, HOST_OK, 3, 3, 0, 0, 1,
		"mx1.example" },
	{ "the first refuses", HOST_REFUSES, HOST_OK, HOST_OK, 3, 3, 0, 0, 2,
		"mx2.example" },
	{ "the first two refuse", HOST_REFUSES, HOST_BANNER_5XX, HOST_OK, 1,
		1, 0, 0, 3, "mx3.example" },
	{ "all refuse", HOST_REFUSES, HOST_REFUSES, HOST_REFUSES, 2, 0, 2, 0,
		3, "mx3.example" },
	{ "all say 554", HOST_BANNER_5XX, HOST_BANNER_5XX, HOST_BANNER_5XX, 2,
		0, 0, 2, 3, "mx3.example" },
	{ "one may be back", HOST_BANNER_5XX, HOST_REFUSES, HOST_BANNER_5XX,
		2, 0, 2, 0, 3, NULL },
	{ "unknown recipient ends it", HOST_NEVER, HOST_OK, HOST_OK, 2, 0, 0,
		2, 1, "mx1.example" },
	{ "greylisted, taken next door", HOST_LATER, HOST_OK, HOST_OK, 2, 2,
		0, 0, 2, "mx2.example" },
	{ "greylisted by all", HOST_LATER, HOST_LATER, HOST_LATER, 2, 0, 2, 0,
		3, "mx3.example" },
	{ "lacks a feature", HOST_LACKS, HOST_OK, HOST_OK, 2, 2, 0, 0, 2,
		"mx2.example" },
	{ "all lack it", HOST_LACKS, HOST_LACKS, HOST_LACKS, 2, 0, 0, 2, 3,
		"mx3.example" },
	{ "half here, half there", HOST_HALF, HOST_OK, HOST_OK, 5, 5, 0, 0, 2,
		"mx2.example" },
	{ "half and none", HOST_HALF, HOST_NEVER, HOST_OK, 4, 2, 0, 2, 2,
		"mx2.example" },
	{ "lost at MAIL", HOST_DIES_IN_MAIL, HOST_OK, HOST_OK, 2, 2, 0, 0, 2,
		"mx2.example" },
	{ "lost after the dot: not again", HOST_UNSURE, HOST_OK, HOST_OK, 2,
		0, 2, 0, 1, "mx1.example" },
	{ "421 after the message", HOST_LATER_421, HOST_OK, HOST_OK, 2, 2, 0,
		0, 1, "mx1.example" },
	{ "TLS fails, clear text", HOST_TLS_FAILS, HOST_OK, HOST_OK, 2, 2, 0,
		0, 2, "mx1.example" },
};

static void
test_one_job(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(one_cases); i++) {
		const struct one_case *c = &one_cases[i];
		struct job *j;
		size_t started = fake_sessions()->started;

		use_conf("timeout { idle = 0ms }");
		fake_host_set("mx1.example", c->mx1);
		fake_host_set("mx2.example", c->mx2);
		fake_host_set("mx3.example", c->mx3);
		j = add_job("d.example", c->rcpts, -1);
		assert_int_equal(deliveries_jobs(all), 1);
		turn(60);
		if (j->finals != 1 ||
		    count_verdict(j, VERDICT_DONE) != c->done ||
		    count_verdict(j, VERDICT_LATER) != c->later ||
		    count_verdict(j, VERDICT_NEVER) != c->never ||
		    fake_sessions()->started - started != c->sessions)
			fail_msg("%s: %u %u %u, %zu sessions", c->name,
				count_verdict(j, VERDICT_DONE),
				count_verdict(j, VERDICT_LATER),
				count_verdict(j, VERDICT_NEVER),
				fake_sessions()->started - started);
		if (c->mx != NULL)
			assert_string_equal(j->last.mx, c->mx);
		assert_int_equal(deliveries_jobs(all), 0);
	}
}

/* What the log will say of the host goes with the outcome it gave. */
static void
test_result_names_its_host(void **state)
{
	struct job *j;

	(void)state;
	fake_host_set("mx1.example", HOST_LATER);
	fake_host_set("mx2.example", HOST_LACKS);
	fake_host_set("mx3.example", HOST_LACKS);
	j = add_job("d.example", 1, -1);
	turn(60);
	assert_int_equal(j->finals, 1);
	assert_int_equal(j->last.outcome.verdict, VERDICT_LATER);
	assert_string_equal(j->last.mx, "mx1.example");
}

static void
test_dns_answers(void **state)
{
	static const struct {
		enum dns_result result;
		const char *records;
		enum outcome_verdict verdict;
		const char *enhanced;
	} cases[] = {
		{ DNS_NXDOMAIN, NULL, VERDICT_NEVER, "5.1.2" },
		{ DNS_LATER, NULL, VERDICT_LATER, "4.4.3" },
		{ DNS_FOUND, "0 .", VERDICT_NEVER, "5.1.10" },
		{ DNS_FOUND, "10 none.example", VERDICT_NEVER, "5.4.4" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct job *j;

		fake_dns_set("e.example", DNS_TYPE_MX, cases[i].result,
			cases[i].records);
		j = add_job("e.example", 2, -1);
		turn(20);
		assert_int_equal(j->finals, 1);
		assert_int_equal(j->last.outcome.verdict, cases[i].verdict);
		assert_string_equal(j->last.outcome.enhanced,
			cases[i].enhanced);
	}
	assert_int_equal(fake_sessions()->started, 0);
}

/* A host without an address is passed by, before and after others. */
static void
test_host_without_address(void **state)
{
	struct job *j;

	(void)state;
	fake_dns_set("e.example", DNS_TYPE_MX, DNS_FOUND,
		"10 none.example 20 ask.example 30 mx1.example "
		"40 nothing.example");
	fake_dns_set("ask.example", DNS_TYPE_A, DNS_LATER, NULL);
	j = add_job("e.example", 2, -1);
	turn(30);
	assert_int_equal(count_verdict(j, VERDICT_DONE), 2);
	/* The host that cannot be asked for may be the good one. */
	fake_host_set("mx1.example", HOST_BANNER_5XX);
	use_conf("");
	j = add_job("e.example", 1, -1);
	turn(30);
	assert_int_equal(count_verdict(j, VERDICT_LATER), 1);
}

/* With TLS demanded there is no second try in the clear. */
static void
test_no_clear_text_when_demanded(void **state)
{
	struct job *j;

	(void)state;
	use_conf("require-tls = yes");
	fake_host_set("mx1.example", HOST_TLS_FAILS);
	fake_host_set("mx2.example", HOST_TLS_FAILS);
	fake_host_set("mx3.example", HOST_TLS_FAILS);
	j = add_job("d.example", 2, -1);
	turn(60);
	assert_int_equal(count_verdict(j, VERDICT_LATER), 2);
	assert_int_equal(fake_sessions()->started, 3);
	assert_int_equal(fake_sessions()->clear_starts, 0);
}

static void
test_fallback_says_so(void **state)
{
	struct job *j;

	(void)state;
	fake_host_set("mx1.example", HOST_TLS_FAILS);
	j = add_job("d.example", 1, -1);
	turn(30);
	assert_int_equal(count_verdict(j, VERDICT_DONE), 1);
	assert_int_equal(fake_sessions()->clear_starts, 1);
	assert_string_equal(j->last.tls, "none");
	fake_host_set("mx1.example", HOST_OK);
	use_conf("");
	j = add_job("d.example", 1, -1);
	turn(30);
	assert_string_equal(j->last.tls, "encrypted");
}

/* Clear text is for the host whose TLS failed, not for the one that comes next
 * because policy now rules the first out. */
static void
test_fallback_is_for_its_host(void **state)
{
	struct job *j;

	(void)state;
	fake_dns_security(DNS_SEC_SECURE);
	fake_dns_once(TLSA "mx1.example", DNS_TYPE_TLSA, DNS_NODATA, NULL);
	fake_dns_set(TLSA "mx2.example", DNS_TYPE_TLSA, DNS_NODATA, NULL);
	fake_host_set("mx1.example", HOST_TLS_FAILS);
	j = add_job("d.example", 1, -1);
	turn(40);
	assert_int_equal(count_verdict(j, VERDICT_DONE), 1);
	assert_string_equal(j->last.mx, "mx2.example");
	assert_string_equal(j->last.tls, "encrypted");
	assert_int_equal(fake_sessions()->clear_starts, 0);
}

/* More recipients than a transaction takes, and more than a report. */
static void
test_many_recipients(void **state)
{
	struct job *j;

	(void)state;
	use_conf("limit { session-recipients = 70 }");
	j = add_job("d.example", 350, -1);
	turn(60);
	assert_int_equal(count_verdict(j, VERDICT_DONE), 350);
	assert_int_equal(fake_sessions()->most_rcpts, 70);
	assert_int_equal(fake_sessions()->txns, 5);
	assert_int_equal(fake_sessions()->started, 1);
	assert_true(j->results >= 5);	/* told as they were taken */
	fake_host_set("mx1.example", HOST_HALF);
	use_conf("limit { session-recipients = 70 }");
	j = add_job("d.example", 350, -1);
	turn(60);
	assert_int_equal(count_verdict(j, VERDICT_DONE), 350);
	/* The host has enough after one transaction. */
	fake_host_set("mx1.example", HOST_LATER_421);
	fake_host_set("mx2.example", HOST_OK);
	use_conf("limit { session-recipients = 70 }");
	j = add_job("d.example", 100, -1);
	turn(60);
	assert_int_equal(count_verdict(j, VERDICT_DONE), 100);
}

/* Hosts tried in one attempt are bounded. */
static void
test_attempt_is_bounded(void **state)
{
	static char mx[1000], name[16][20];
	struct job *j;

	(void)state;
	mx[0] = '\0';
	for (int i = 0; i < 16; i++) {
		(void)snprintf(name[i], 20, "h%02d.example", i);
		(void)snprintf(mx + strlen(mx), sizeof(mx) - strlen(mx),
			"%d %s ", i, name[i]);
		fake_dns_a(name[i], "192.0.2.1");
		fake_host_set(name[i], HOST_REFUSES);
	}
	fake_dns_set("e.example", DNS_TYPE_MX, DNS_FOUND, mx);
	j = add_job("e.example", 1, -1);
	turn(200);
	assert_int_equal(j->finals, 1);
	assert_int_equal(count_verdict(j, VERDICT_LATER), 1);
	assert_int_equal(fake_sessions()->started, 10);
}

/* A TLS session that cannot be resumed says nothing of the host, also where TLS
 * comes before the greeting: nobody is down, nobody's mail waits, and it is not
 * one of the tries. */
static void
test_resumption_fails(void **state)
{
	static char mx[1000], name[DELIVERY_SESSIONS_MAX][20];
	struct job *j;

	(void)state;
	fake_host_set("mx1.example", HOST_RESUMES_BADLY);
	fake_dns_set("e.example", DNS_TYPE_MX, DNS_FOUND, "10 mx1.example");
	for (size_t i = 0; i < 20; i++)
		(void)add_job("e.example", 1, -1);
	turn(100);
	for (size_t i = 1; i <= 20; i++)
		assert_int_equal(count_verdict(&jobs[i], VERDICT_DONE), 1);
	assert_int_equal(holds, 0);
	assert_true(fake_sessions()->started <= 10);
	assert_int_equal(fake_sessions()->clear_starts, 0);
	/* The last host that is tried. */
	mx[0] = '\0';
	for (size_t i = 0; i < COUNT(name); i++) {
		(void)snprintf(name[i], 20, "h%02zu.example", i);
		(void)snprintf(mx + strlen(mx), sizeof(mx) - strlen(mx),
			"%zu %s ", i, name[i]);
		fake_dns_a(name[i], "192.0.2.1");
		fake_host_set(name[i], i + 1 < COUNT(name) ? HOST_REFUSES :
			HOST_RESUMES_BADLY);
	}
	fake_dns_set("f.example", DNS_TYPE_MX, DNS_FOUND, mx);
	j = add_job("f.example", 1, -1);
	turn(200);
	assert_int_equal(count_verdict(j, VERDICT_DONE), 1);
}

static void
test_body_fd_is_closed(void **state)
{
	int fd = open("/dev/null", O_RDONLY);
	struct job *j = add_job("d.example", 1, fd);

	(void)state;
	turn(30);
	assert_int_equal(j->finals, 1);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

/* ---- many jobs ---- */

static void
test_sessions_are_shared(void **state)
{
	(void)state;
	use_conf("limit { destination-sessions = 3 }");
	for (int i = 0; i < 100; i++)
		(void)add_job("d.example", 2, -1);
	assert_int_equal(deliveries_jobs(all), 100);
	turn(300);
	for (size_t i = 1; i <= 100; i++)
		assert_int_equal(count_verdict(&jobs[i], VERDICT_DONE), 2);
	assert_int_equal(fake_sessions()->started, 3);
	assert_int_equal(fake_sessions()->txns, 100);
	assert_int_equal(deliveries_jobs(all), 0);
}

/* An idle session takes the next job, and ends when none comes. */
static void
test_idle_session(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++) {
		(void)add_job("d.example", 1, -1);
		turn(20);
	}
	assert_int_equal(fake_sessions()->started, 1);
	assert_int_equal(fake_sessions()->txns, 5);
	assert_int_equal(fake_sessions()->alive, 1);
	for (int i = 0; i < 50 && fake_sessions()->alive > 0; i++) {
		(void)usleep(10000);
		turn(5);
	}
	assert_int_equal(fake_sessions()->alive, 0);
}

/* What DNS said when a session was made counts no longer than it said: a
 * domain that has got TLSA records since gets no more mail in the clear,
 * however much there is of it and however long the session stays open. */
static void
test_session_outlives_its_records(void **state)
{
	struct job *j;

	(void)state;
	fake_dns_security(DNS_SEC_SECURE);
	fake_dns_set("e.example", DNS_TYPE_MX, DNS_FOUND, "10 mx1.example");
	fake_dns_set(TLSA "mx1.example", DNS_TYPE_TLSA, DNS_NODATA, NULL);
	fake_dns_ttl(1);
	fake_host_set("mx1.example", HOST_NO_STARTTLS);
	use_conf("timeout { idle = 1m }");
	for (int i = 0; i < 2; i++) {
		j = add_job("e.example", 1, -1);
		turn(30);
		assert_int_equal(count_verdict(j, VERDICT_DONE), 1);
	}
	assert_int_equal(fake_sessions()->started, 1);	/* so far it may */
	fake_dns_set(TLSA "mx1.example", DNS_TYPE_TLSA, DNS_FOUND, "3");
	(void)usleep(1100000);
	j = add_job("e.example", 1, -1);
	turn(30);
	assert_int_equal(count_verdict(j, VERDICT_LATER), 1);
	assert_int_equal(fake_sessions()->clear_txns, 2);
}

/* The same for a session that never comes to rest. */
static void
test_busy_session_outlives_its_records(void **state)
{
	struct job *last;

	(void)state;
	fake_dns_security(DNS_SEC_SECURE);
	fake_dns_set("e.example", DNS_TYPE_MX, DNS_FOUND, "10 mx1.example");
	fake_dns_set(TLSA "mx1.example", DNS_TYPE_TLSA, DNS_NODATA, NULL);
	fake_dns_ttl(0);
	fake_host_set("mx1.example", HOST_HANGS_IN_DATA);
	use_conf("limit { destination-sessions = 1 }");
	(void)add_job("e.example", 1, -1);
	turn(30);
	last = add_job("e.example", 1, -1);
	fake_dns_set(TLSA "mx1.example", DNS_TYPE_TLSA, DNS_FOUND, "3");
	fake_host_set("mx1.example", HOST_OK);
	fake_sessions_release();
	turn(40);
	assert_int_equal(count_verdict(last, VERDICT_DONE), 1);
	assert_string_equal(last->last.tls, "dane");
	assert_int_equal(fake_sessions()->started, 2);
}

/* The open session turns out to be dead: not the job's fault. */
static void
test_reused_session_dies(void **state)
{
	struct job *j;

	(void)state;
	fake_dns_set("e.example", DNS_TYPE_MX, DNS_FOUND, "10 mx1.example");
	fake_host_set("mx1.example", HOST_DIES_WHEN_REUSED);
	for (int i = 0; i < 4; i++) {
		j = add_job("e.example", 3, -1);
		turn(30);
		assert_int_equal(j->finals, 1);
		assert_int_equal(count_verdict(j, VERDICT_DONE), 3);
	}
	/* Not forever: a host that always dies defers. */
	fake_host_set("mx1.example", HOST_DIES_IN_MAIL);
	j = add_job("e.example", 3, -1);
	turn(30);
	assert_int_equal(count_verdict(j, VERDICT_LATER), 3);
}

/* The open session's host says later: the others are tried, it not again. */
static void
test_reused_session_refuses(void **state)
{
	struct job *j;

	(void)state;
	fake_host_set("mx1.example", HOST_HALF);
	j = add_job("d.example", 1, -1);
	turn(20);
	assert_int_equal(count_verdict(j, VERDICT_DONE), 1);
	assert_int_equal(fake_sessions()->started, 1);
	j = add_job("d.example", 2, -1);
	turn(30);
	assert_int_equal(count_verdict(j, VERDICT_DONE), 2);
	assert_string_equal(j->last.mx, "mx2.example");
	assert_int_equal(fake_sessions()->started, 2);
}

/* ---- messages with a demand of their own (RFC 8689) ---- */

static const struct require_case {
	const char *name;
	enum dns_security security;
	bool tlsa;
	enum fake_host mx1, mx2, mx3;
	enum outcome_verdict verdict;
	const char *enhanced;
	size_t sessions;
	const char *mx, *tls;
} require_cases[] = {
	{ "signed MX, PKIX", DNS_SEC_SECURE, false, HOST_OK, HOST_OK, HOST_OK,
		VERDICT_DONE, NULL, 1, "mx1.example", "pkix" },
	{ "DANE", DNS_SEC_SECURE, true, HOST_OK, HOST_OK, HOST_OK,
		VERDICT_DONE, NULL, 1, "mx1.example", "dane" },
	{ "unsigned MX", DNS_SEC_INSECURE, false, HOST_OK, HOST_OK, HOST_OK,
		VERDICT_NEVER, "5.7.30", 0, "mx3.example", "none" },
	{ "the next host has it", DNS_SEC_SECURE, false, HOST_LACKS,
		HOST_NO_STARTTLS, HOST_OK, VERDICT_DONE, NULL, 3,
		"mx3.example", "pkix" },
	{ "none has the keyword", DNS_SEC_SECURE, false, HOST_LACKS,
		HOST_LACKS, HOST_LACKS, VERDICT_NEVER, "5.7.30", 3,
		"mx3.example", "pkix" },
	{ "none has TLS", DNS_SEC_SECURE, false, HOST_NO_STARTTLS,
		HOST_NO_STARTTLS, HOST_NO_STARTTLS, VERDICT_NEVER, "5.7.30",
		3, "mx3.example", "none" },
	{ "no TLS right now", DNS_SEC_SECURE, false, HOST_STARTTLS_454,
		HOST_STARTTLS_454, HOST_STARTTLS_454, VERDICT_LATER, "4.7.10",
		3, "mx3.example", "none" },
	{ "stripped, says DANE", DNS_SEC_SECURE, true, HOST_NO_STARTTLS,
		HOST_NO_STARTTLS, HOST_NO_STARTTLS, VERDICT_LATER, "4.7.10",
		3, "mx3.example", "none" },
	{ "wrong certificates", DNS_SEC_SECURE, false, HOST_TLS_FAILS,
		HOST_TLS_FAILS, HOST_TLS_FAILS, VERDICT_LATER, "4.7.5", 3,
		"mx3.example", "none" },
	{ "one may be back", DNS_SEC_SECURE, false, HOST_LACKS, HOST_REFUSES,
		HOST_LACKS, VERDICT_LATER, NULL, 3, "mx2.example", "none" },
};

static void
set_tlsa(bool there)
{
	static const char *const names[] = { TLSA "mx1.example",
		TLSA "mx2.example", TLSA "mx3.example" };

	for (size_t i = 0; i < COUNT(names); i++)
		fake_dns_set(names[i], DNS_TYPE_TLSA, there ? DNS_FOUND :
			DNS_NODATA, "3");
}

static void
test_require_tls(void **state)
{
	(void)state;
	job_flags = ENVELOPE_REQUIRETLS;
	for (size_t i = 0; i < COUNT(require_cases); i++) {
		const struct require_case *c = &require_cases[i];
		size_t started = fake_sessions()->started;
		const struct msg_rcpt_result *r;
		struct job *j;

		use_conf("timeout { idle = 0ms }");
		fake_dns_security(c->security);
		set_tlsa(c->tlsa);
		fake_host_set("mx1.example", c->mx1);
		fake_host_set("mx2.example", c->mx2);
		fake_host_set("mx3.example", c->mx3);
		j = add_job("d.example", 2, -1);
		turn(80);
		r = &j->last;
		started = fake_sessions()->started - started;
		if (j->finals != 1 || count_verdict(j, c->verdict) != 2 ||
		    started != c->sessions)
			fail_msg("%s: %s %s, %zu sessions", c->name,
				outcome_verdict_name(r->outcome.verdict),
				r->outcome.text, started);
		if (c->enhanced != NULL)
			assert_string_equal(r->outcome.enhanced, c->enhanced);
		assert_string_equal(r->mx, c->mx);
		assert_string_equal(r->tls, c->tls);
		assert_string_equal(r->why, "requiretls");
	}
	assert_int_equal(fake_sessions()->clear_txns, 0);
	assert_int_equal(fake_sessions()->clear_starts, 0);
}

/* What defers a message of the usual kind lets one with TLS-Required: No
 * through; but not where a rule insists. */
static void
test_tls_optional(void **state)
{
	static const struct {
		const char *conf;
		unsigned flags;
		enum outcome_verdict verdict;
		const char *why;
	} cases[] = {
		{ "", 0, VERDICT_LATER, "dane" },
		{ "", ENVELOPE_TLS_OPTIONAL, VERDICT_DONE, "tls-required-no" },
		{ "require-tls = yes", ENVELOPE_TLS_OPTIONAL, VERDICT_LATER,
			"require-tls" },
		{ "destination \"d.example\" { tls = encrypt "
			"override = yes }", ENVELOPE_TLS_OPTIONAL,
			VERDICT_LATER, "override" },
		{ "", ENVELOPE_TLS_OPTIONAL | ENVELOPE_REQUIRETLS,
			VERDICT_LATER, "requiretls" },
	};

	(void)state;
	fake_dns_security(DNS_SEC_SECURE);
	set_tlsa(true);
	fake_host_set("mx1.example", HOST_TLS_FAILS);
	fake_host_set("mx2.example", HOST_TLS_FAILS);
	fake_host_set("mx3.example", HOST_TLS_FAILS);
	for (size_t i = 0; i < COUNT(cases); i++) {
		size_t clear = fake_sessions()->clear_txns;
		struct job *j;

		use_conf(cases[i].conf);
		job_flags = cases[i].flags;
		j = add_job("d.example", 1, -1);
		turn(80);
		assert_int_equal(j->last.outcome.verdict, cases[i].verdict);
		assert_string_equal(j->last.why, cases[i].why);
		assert_int_equal(fake_sessions()->clear_txns - clear,
			cases[i].verdict == VERDICT_DONE);
	}
}

static const unsigned kinds[] = { 0, ENVELOPE_REQUIRETLS,
	ENVELOPE_TLS_OPTIONAL };

/* An idle session serves the next message of its kind and no other.  (That no
 * two kinds meet on one session, session_fake checks.) */
static void
test_kinds_do_not_share(void **state)
{
	(void)state;
	fake_dns_security(DNS_SEC_SECURE);
	for (unsigned pair = 0; pair < 9; pair++) {
		size_t started = fake_sessions()->started;
		struct job *first, *second;

		use_conf("timeout { idle = 10s }");
		started = fake_sessions()->started;
		job_flags = kinds[pair / 3];
		first = add_job("d.example", 1, -1);
		turn(30);
		job_flags = kinds[pair % 3];
		second = add_job("d.example", 1, -1);
		turn(30);
		assert_int_equal(count_verdict(first, VERDICT_DONE), 1);
		assert_int_equal(count_verdict(second, VERDICT_DONE), 1);
		assert_int_equal(fake_sessions()->started - started,
			pair / 3 == pair % 3 ? 1 : 2);
	}
}

/* Nor does a session that has just finished; no job waits for ever. */
static void
test_kinds_take_turns(void **state)
{
	(void)state;
	fake_dns_security(DNS_SEC_SECURE);
	for (unsigned max = 1; max <= 3; max++) {
		char text[100];
		size_t first = job_count, alive;

		(void)snprintf(text, sizeof(text), "timeout { idle = 10s }"
			"limit { destination-sessions = %u }", max);
		use_conf(text);
		for (unsigned i = 0; i < 60; i++) {
			job_flags = kinds[i * 7 / 4 % 3];
			(void)add_job("d.example", 1, -1);
		}
		for (int i = 0; i < 400; i++)
			turn(1);
		for (size_t i = 1; i <= 60; i++)
			assert_int_equal(count_verdict(&jobs[first + i],
				VERDICT_DONE), 1);
		alive = fake_sessions()->alive;
		if (alive < 1 || alive > max)
			fail_msg("max %u: %zu sessions, most %zu", max, alive,
				fake_sessions()->most_alive);
	}
}

/* ---- hosts and pace ---- */

/* One host, many destinations: whoever comes later finds what is open. */
static void
test_shared_by_destinations(void **state)
{
	static const char *const names[] = { "e.example", "f.example",
		"g.example" };

	(void)state;
	use_conf("timeout { idle = 10s }");
	for (size_t i = 0; i < COUNT(names); i++)
		fake_dns_set(names[i], DNS_TYPE_MX, DNS_FOUND,
			"10 mx1.example");
	for (size_t i = 0; i < 9; i++) {
		struct job *j = add_job(names[i % COUNT(names)], 1, -1);

		turn(30);
		assert_int_equal(count_verdict(j, VERDICT_DONE), 1);
	}
	assert_int_equal(fake_sessions()->started, 1);
	/* Its address has changed: what is open leads elsewhere. */
	fake_dns_a("mx1.example", "192.0.2.7");
	(void)add_job("g.example", 1, -1);	/* still knows it */
	fake_dns_set("h.example", DNS_TYPE_MX, DNS_FOUND, "10 mx1.example");
	(void)add_job("h.example", 1, -1);
	turn(30);
	assert_int_equal(fake_sessions()->started, 2);
}

static void
add_neighbours(size_t count)
{
	static char names[30][40];

	for (size_t i = 0; i < count; i++) {
		(void)snprintf(names[i], 40, "n%zu.example", i);
		fake_dns_set(names[i], DNS_TYPE_MX, DNS_FOUND,
			"10 mx1.example");
		(void)add_job(names[i], 1, -1);
	}
}

/* All at once: they wait for one another. */
static void
test_many_at_one_host(void **state)
{
	(void)state;
	use_conf("limit { host-sessions = 2 }");
	add_neighbours(20);
	turn(300);
	for (size_t i = 1; i <= 20; i++)
		assert_int_equal(count_verdict(&jobs[i], VERDICT_DONE), 1);
	assert_int_equal(fake_sessions()->started, 2);
}

/* What a job needs of a host may change while it waits there. */
static void
test_wait_outlives_its_records(void **state)
{
	struct job *first, *second;

	(void)state;
	use_conf("limit { host-sessions = 1 }");
	fake_host_set("mx1.example", HOST_HANGS_IN_DATA);
	first = add_job("d.example", 1, -1);
	turn(30);
	fake_dns_ttl(1);
	fake_dns_set("e.example", DNS_TYPE_MX, DNS_FOUND, "10 mx1.example");
	second = add_job("e.example", 1, -1);
	turn(30);
	fake_dns_set("e.example", DNS_TYPE_MX, DNS_FOUND, "10 mx2.example");
	(void)usleep(2100000);
	fake_sessions_release();
	turn(30);
	assert_int_equal(count_verdict(first, VERDICT_DONE), 1);
	assert_int_equal(count_verdict(second, VERDICT_DONE), 1);
	assert_string_equal(second->last.mx, "mx2.example");
	assert_int_equal(second->finals, 1);
}

/* Room among all sessions that one host does not need is the next one's. */
static void
test_room_is_passed_on(void **state)
{
	static const char *const names[] = { "d.example", "e.example",
		"f.example" };

	(void)state;
	use_conf("limit { total-sessions = 1 } timeout { idle = 1h }");
	fake_dns_set("e.example", DNS_TYPE_MX, DNS_FOUND, "10 mx1.example");
	fake_dns_set("f.example", DNS_TYPE_MX, DNS_FOUND, "10 mx3.example");
	fake_host_set("mx1.example", HOST_HANGS_IN_DATA);
	for (size_t i = 0; i < 3; i++, turn(30))
		(void)add_job(names[i], 1, -1);
	assert_int_equal(jobs[3].results, 0);
	for (size_t i = 0; i < 2; i++, turn(30))
		fake_sessions_release();
	for (size_t i = 1; i <= 3; i++)
		assert_int_equal(count_verdict(&jobs[i], VERDICT_DONE), 1);
}

static void
test_down(void **state)
{
	(void)state;
	fake_host_set("mx1.example", HOST_REFUSES);
	fake_dns_set("e.example", DNS_TYPE_MX, DNS_FOUND, "10 mx1.example");
	fake_dns_set("f.example", DNS_TYPE_MX, DNS_FOUND,
		"10 mx1.example 20 mx2.example");
	for (size_t i = 0; i < 200; i++)
		(void)add_job("e.example", 1, -1);
	turn(100);
	for (size_t i = 1; i <= 200; i++)
		assert_int_equal(count_verdict(&jobs[i], VERDICT_LATER), 1);
	assert_true(fake_sessions()->started <= 5);
	assert_int_equal(holds, 1);
	assert_string_equal(last_hold.destination, "e.example");
	assert_true(last_hold.until_s > 0);
	/* The other host of another destination is taken at once. */
	(void)add_job("f.example", 1, -1);
	turn(30);
	assert_int_equal(count_verdict(&jobs[201], VERDICT_DONE), 1);
	assert_true(fake_sessions()->started <= 6);
	assert_int_equal(holds, 1);
	/* Somebody insists: one session, and it is up. */
	(void)usleep(150000);
	fake_host_set("mx1.example", HOST_OK);
	for (size_t i = 0; i < 20; i++)
		(void)add_job("e.example", 1, -1);
	turn(100);
	for (size_t i = 202; i <= 221; i++)
		assert_int_equal(count_verdict(&jobs[i], VERDICT_DONE), 1);
	assert_int_equal(holds, 2);
	assert_int_equal(last_hold.until_s, 0);
}

/* Given back without a result, and nothing is lost sight of. */
static void
test_rate_gives_back(void **state)
{
	size_t given_back = 0, open = 0;

	(void)state;
	use_conf("limit { destination-rate = \"1/5s\" }");
	for (size_t i = 0; i < 10; i++)
		(void)add_job("d.example", 1, -1);
	turn(50);
	for (size_t i = 1; i <= 10; i++)
		if (jobs[i].finals == 0)
			open++;
		else if (jobs[i].reported[0] == 0)
			given_back++;
	assert_int_equal(open, 2);
	assert_int_equal(given_back, 7);
	assert_int_equal(deliveries_jobs(all), 2);
	assert_int_equal(fake_sessions()->txns, 1);
	assert_int_equal(holds, 1);
}

/* The same for a host that many destinations share. */
static void
test_host_rate_gives_back(void **state)
{
	(void)state;
	use_conf("limit { host-rate = \"1/5s\" }");
	add_neighbours(30);
	turn(50);
	assert_int_equal(fake_sessions()->txns, 1);
	assert_int_equal(deliveries_jobs(all), 3);
	assert_int_equal(holds, 26);
}

/* ---- the end ---- */

static void
test_stop_when_empty(void **state)
{
	(void)state;
	deliveries_stop(all);
	turn(5);
	assert_int_equal(idles, 1);
}

/* Stopped after each number of turns: what has no answer gets no result. */
static void
test_stop_at_each_stage(void **state)
{
	(void)state;
	for (unsigned at = 0; at < 16; at++) {
		use_conf("limit { destination-sessions = 1 }");
		idles = 0;
		for (int i = 0; i < 3; i++)
			(void)add_job("d.example", 2, -1);
		for (unsigned i = 0; i < at; i++)
			(void)event_base_loop(base, EVLOOP_NONBLOCK |
				EVLOOP_ONCE);
		deliveries_stop(all);
		turn(30);
		assert_true(idles > 0);
		assert_int_equal(fake_sessions()->alive, 0);
		for (size_t i = 0; i < 3; i++) {
			const struct job *j = &jobs[job_count - i];

			assert_true(j->finals == 0 ||
				count_verdict(j, VERDICT_DONE) == 2);
		}
	}
}

static void
test_stop_while_hanging(void **state)
{
	struct job *first, *second;

	(void)state;
	fake_host_set("mx1.example", HOST_HANGS_IN_DATA);
	fake_dns_set("e.example", DNS_TYPE_MX, DNS_FOUND, "10 mx3.example");
	fake_host_set("mx3.example", HOST_HANGS);
	first = add_job("d.example", 2, -1);
	second = add_job("e.example", 2, -1);
	turn(30);
	deliveries_stop(all);
	turn(30);
	assert_int_equal(idles, 0);	/* one is in the middle of DATA */
	assert_int_equal(second->results, 0);
	fake_sessions_release();
	turn(30);
	assert_true(idles > 0);
	assert_int_equal(first->finals, 1);
	assert_int_equal(count_verdict(first, VERDICT_DONE), 2);
	assert_int_equal(second->results, 0);
}

static void
test_stop_in_lookup(void **state)
{
	struct job *j;

	(void)state;
	fake_dns_hold(true);
	j = add_job("d.example", 2, -1);
	turn(5);
	deliveries_stop(all);
	turn(5);
	assert_true(idles > 0);
	fake_dns_hold(false);
	turn(10);
	assert_int_equal(j->results, 0);
	assert_int_equal(fake_sessions()->started, 0);
}

/* Freed at each stage: the fakes check that nothing is left. */
static void
test_free_at_each_stage(void **state)
{
	(void)state;
	for (unsigned at = 0; at < 16; at++) {
		use_conf("limit { destination-sessions = 2 }");
		fake_host_set("mx1.example", at % 2 ? HOST_OK : HOST_REFUSES);
		for (int i = 0; i < 4; i++)
			(void)add_job("d.example", 2, -1);
		for (unsigned i = 0; i < at; i++)
			(void)event_base_loop(base, EVLOOP_NONBLOCK |
				EVLOOP_ONCE);
		deliveries_free(&all);
		assert_null(all);
		assert_int_equal(fake_dns_pending(), 0);
		fake_sessions_clear();
		turn(5);
	}
}

/* ---- at random ---- */

static uint32_t seed;

static uint32_t
next_random(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed >> 8;
}

static void
random_run(uint32_t value, bool stop)
{
	static const char *const names[] = { "d.example", "e.example",
		"f.example", "gone.example", "[192.0.2.9]" };
	size_t first = job_count, jobs_added = 60;

	seed = value;
	fake_sessions_seed(value);
	for (size_t i = 0; i < jobs_added; i++) {
		job_flags = kinds[next_random() % COUNT(kinds)];
		(void)add_job(names[next_random() % COUNT(names)],
			1 + next_random() % 40, -1);
		turn(next_random() % 4);
	}
	if (stop)
		deliveries_stop(all);
	for (int i = 0; i < 3000 && deliveries_jobs(all) > 0; i++)
		turn(1);
	if (!stop)
		assert_int_equal(deliveries_jobs(all), 0);
	for (size_t i = 1; i <= jobs_added; i++)
		if (!stop)
			assert_int_equal(jobs[first + i].finals, 1);
	if (stop) {
		turn(50);
		assert_true(idles > 0);
	}
}

static void
test_random(void **state)
{
	(void)state;
	fake_dns_set("e.example", DNS_TYPE_MX, DNS_FOUND,
		"10 mx1.example 10 mx2.example 20 none.example");
	fake_dns_set("f.example", DNS_TYPE_MX, DNS_NODATA, NULL);
	fake_dns_a("f.example", "192.0.2.7");
	fake_host_set("mx1.example", HOST_RANDOM);
	fake_host_set("mx2.example", HOST_RANDOM);
	fake_host_set("mx3.example", HOST_RANDOM);
	fake_host_set("f.example", HOST_RANDOM);
	fake_host_set("[192.0.2.9]", HOST_RANDOM);
	for (uint32_t run = 1; run <= 12; run++) {
		use_conf("limit { destination-sessions = 3 "
			"session-recipients = 10 } "
			"retry { first = 1ms max = 1ms }");
		idles = 0;
		random_run(run, run % 4 == 0);
	}
	assert_true(fake_sessions()->started > 100);
}

int
main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_one_job),
		T(test_result_names_its_host), T(test_dns_answers),
		T(test_host_without_address),
		T(test_no_clear_text_when_demanded), T(test_fallback_says_so),
		T(test_many_recipients), T(test_attempt_is_bounded),
		T(test_resumption_fails),
		T(test_body_fd_is_closed), T(test_sessions_are_shared),
		T(test_idle_session), T(test_session_outlives_its_records),
		T(test_busy_session_outlives_its_records),
		T(test_fallback_is_for_its_host), T(test_reused_session_dies),
		T(test_reused_session_refuses), T(test_require_tls),
		T(test_tls_optional), T(test_kinds_do_not_share),
		T(test_kinds_take_turns), T(test_shared_by_destinations),
		T(test_many_at_one_host),
		T(test_wait_outlives_its_records), T(test_room_is_passed_on),
		T(test_down), T(test_rate_gives_back),
		T(test_host_rate_gives_back), T(test_stop_when_empty),
		T(test_stop_at_each_stage), T(test_stop_while_hanging),
		T(test_stop_in_lookup), T(test_free_at_each_stage),
		T(test_random),
	};

	return cmocka_run_group_tests_name("delivery", tests, NULL, NULL);
}
