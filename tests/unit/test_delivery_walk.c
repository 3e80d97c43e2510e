/*
 * A random walk of deliveries to domains whose MTA-STS policies come, change
 * and go, over hosts that they share, good and bad.  Of every transaction it is
 * asked: was there an enforced policy of its domain in force, as far as had
 * been heard, all the time since the job came?  Then it must travel on a
 * connection that was verified for a host that the policy names.
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
#define DOMAINS 5
#define HOSTS 3
#define JOBS_MAX 4000
#define HEARD_MAX 2000
#define STEPS 2500
#define WALKS 40
#define START_MS INT64_C(1800000000000)

/* What has been heard of a domain, in its order. */
struct heard {
	int64_t at_ms, until_s;		/* in force from, to */
	struct sts_policy *policy;	/* NULL: forgotten */
};

static struct event_base *base;
static struct conf *conf;
static struct route_local *local;
static struct session_env env;
static struct deliveries *all;
static struct {
	unsigned domain;
	int64_t added_ms;
	unsigned flags;
} jobs[JOBS_MAX];
static size_t job_count;
static struct {
	struct heard heard[HEARD_MAX];
	size_t count;
	char id[MSG_STS_ID_MAX], *text;
	int64_t expires_s;
} domains[DOMAINS];
static size_t seen_protected, seen_open, seen_shared;
static uint32_t seed;

static unsigned
any(unsigned n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

static void
turn(unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
}

static unsigned
domain_of(const char *name)
{
	unsigned d = (unsigned)(name[1] - '0');

	assert_true(name[0] == 'd' && d < DOMAINS);
	return d;
}

/* ---- the judge ---- */

static void
hear(unsigned d, struct sts_policy *policy, int64_t until_s)
{
	struct heard *h = &domains[d].heard[domains[d].count++];

	assert_true(domains[d].count < HEARD_MAX);
	*h = (struct heard){ clock_mono_ms(), until_s, policy };
}

/* True when one of what counted since then permits it, or there was none. */
static bool
permitted(unsigned d, int64_t since_ms, const char *host, bool verified)
{
	size_t i = domains[d].count;
	bool before = false;

	for (; i > 0 && !before; i--) {
		const struct heard *h = &domains[d].heard[i - 1];

		if (h->policy == NULL || h->until_s <= clock_wall_s() ||
		    h->policy->mode != STS_MODE_ENFORCE ||
		    (verified && sts_policy_allows(h->policy, host)))
			return true;
		before = h->at_ms <= since_ms;
	}
	return !before;
}

static void
on_send(const struct session_info *info, enum demand_level level,
	enum demand_why why, const struct session_txn *txn)
{
	bool verified = info->tls_active && level == DEMAND_PKIX &&
		(why == WHY_STS || why == WHY_REQUIRETLS);
	size_t job = (size_t)atol(txn->rcpts[0].address + 1);
	unsigned d;

	assert_true(job > 0 && job <= job_count);
	d = jobs[job].domain;
	assert_int_equal(txn->flags, jobs[job].flags);
	if (jobs[job].flags & ENVELOPE_TLS_OPTIONAL)
		return;
	if (!permitted(d, jobs[job].added_ms, info->host, verified))
		fail_msg("job %zu of d%u to %s, level %s by %s", job, d,
			info->host, demand_level_name(level),
			demand_why_name(why));
	seen_protected += verified;
	seen_open += !verified;
	seen_shared += info->reused;
}

/* ---- who is around ---- */

static void
on_result(uint64_t id, const struct msg_result *msg, void *arg)
{
	(void)msg;
	(void)arg;
	assert_true(id > 0 && id <= job_count);
}

static void
on_idle(void *arg)
{
	(void)arg;
}

struct question {
	uint64_t id;
	unsigned domain;
};

static void
on_answer(evutil_socket_t fd, short what, void *arg)
{
	struct question *q = arg;
	struct msg_sts msg = { .what = MSG_STS_ANSWER };

	(void)fd;
	(void)what;
	(void)snprintf(msg.domain, sizeof(msg.domain), "d%u.example",
		q->domain);
	if (domains[q->domain].text != NULL &&
	    domains[q->domain].expires_s > clock_wall_s()) {
		msg.found = true;
		msg.text = domains[q->domain].text;
		msg.text_len = strlen(msg.text);
		msg.expires_s = domains[q->domain].expires_s;
		(void)str_copy(msg.id, sizeof(msg.id),
			domains[q->domain].id);
	}
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
	*q = (struct question){ request, domain_of(domain) };
	(void)event_base_once(base, -1, EV_TIMEOUT, on_answer, q, &soon);
}

static void
on_save(uint64_t id, const struct msg_sts *msg, void *arg)
{
	unsigned d = domain_of(msg->domain);
	struct sts_policy *policy;
	char err[STS_ERR_MAX];

	(void)id;
	(void)arg;
	if (msg->what != MSG_STS_FETCHED)
		return;
	assert_int_equal(sts_policy_parse((const uint8_t *)msg->text,
		msg->text_len, &policy, err), ST_OK);
	hear(d, policy, msg->expires_s);
	free(domains[d].text);
	domains[d].text = xstrdup(msg->text);
	domains[d].expires_s = msg->expires_s;
	(void)str_copy(domains[d].id, sizeof(domains[d].id), msg->id);
}

/* ---- the walk ---- */

static void
stop_all(void)
{
	fake_dns_hold(false);
	fake_fetch_hold(false);
	turn(5);
	deliveries_free(&all);
	sts_table_free(&env.sts);
	route_local_free(&local);
	conf_free(&conf);
	turn(5);
}

static void
start_all(void)
{
	const struct deliveries_port port = { .result = on_result,
		.idle = on_idle };
	const struct sts_table_port sts_port = { on_get, on_save, 0, NULL };
	const struct sts_fetch_env fetch_env = { NULL, NULL, 0 };
	char err[CONF_ERR_MAX];

	assert_int_equal(conf_parse("t", "hostname = \"me.example\"\n"
		"local-addresses = {\"203.0.113.99\"}\n"
		"resolver { dnssec = off }\nretry { first = 1s max = 1s }\n"
		"timeout { idle = 1h reuse = 1h }\n", &conf, err), ST_OK);
	local = route_local_new(conf);
	env.base = base;
	env.conf = conf;
	env.sts = sts_table_new(base, conf, &fetch_env, &sts_port);
	all = deliveries_new(&env, NULL, local, &port);
}

static void
add_job(void)
{
	static const unsigned flags[] = { 0, 0, 0, 0, 0, 0,
		ENVELOPE_REQUIRETLS, ENVELOPE_TLS_OPTIONAL };
	unsigned d = any(DOMAINS);
	struct msg_job job = { .env = envelope_new("s@x.example"),
		.destination = xasprintf("d%u.example", d), .attempt = 1,
		.body = (const uint8_t *)"text\r\n", .body_len = 6 };
	char *address;

	if (++job_count >= JOBS_MAX)
		fail_msg("too many jobs");
	jobs[job_count].domain = d;
	jobs[job_count].added_ms = clock_mono_ms();
	jobs[job_count].flags = job.env->flags = flags[any(COUNT(flags))];
	address = xasprintf("j%zu@d%u.example", job_count, d);
	envelope_add_rcpt(job.env, address, job.destination)->id = 1;
	free(address);
	job.env->size_bytes = 6;
	deliveries_add(all, job_count, &job, -1);
}

static void
change_record(void)
{
	static const char *const texts[] = { "v=STSv1; id=1;",
		"v=STSv1; id=2;", "v=STSv1; id=3;", "v=STSv1; id=?;",
		"v=STSv1; id=1;|v=STSv1; id=2;" };
	static char names[DOMAINS][40];
	unsigned d = any(DOMAINS), n = any(COUNT(texts) + 2);

	(void)snprintf(names[d], sizeof(names[d]), "_mta-sts.d%u.example", d);
	fake_dns_set(names[d], DNS_TYPE_TXT, n < COUNT(texts) ? DNS_FOUND :
		n == COUNT(texts) ? DNS_LATER : DNS_NXDOMAIN,
		n < COUNT(texts) ? texts[n] : NULL);
}

static void
change_policy(void)
{
	static const char *const modes[] = { "enforce", "enforce", "enforce",
		"testing", "none" };
	static const char *const patterns[] = { "*.example", "mx0.example",
		"mx1.example", "mx2.example\nmx: mx0.example" };
	static const int ages[] = { 86400, 86400, 3600, 60, 0 };
	static char text[200];

	if (any(5) == 0) {
		fake_fetch_fail(TLS_FAILURE_STS_FETCH);
		return;
	}
	(void)snprintf(text, sizeof(text), "version: STSv1\nmode: %s\n"
		"mx: %s\nmax_age: %d\n", modes[any(COUNT(modes))],
		patterns[any(COUNT(patterns))], ages[any(COUNT(ages))]);
	fake_fetch_text(text);
}

static void
change_host(void)
{
	static const char *const hosts[HOSTS] = { "mx0.example",
		"mx1.example", "mx2.example" };
	static const enum fake_host kinds[] = { HOST_OK, HOST_OK, HOST_OK,
		HOST_NO_STARTTLS, HOST_TLS_FAILS, HOST_BAD_CERT, HOST_RANDOM };

	fake_host_set(hosts[any(HOSTS)], kinds[any(COUNT(kinds))]);
}

static void
forget_or_refresh(void)
{
	unsigned d = any(DOMAINS);
	struct msg_sts msg = { .what = any(3) == 0 ? MSG_STS_FORGET :
		MSG_STS_REFRESH };

	(void)snprintf(msg.domain, sizeof(msg.domain), "d%u.example", d);
	if (msg.what == MSG_STS_FORGET) {
		mem_free(&domains[d].text);
		hear(d, NULL, 0);
	}
	sts_table_take(env.sts, any(2), &msg);
}

static void
restart(void)
{
	stop_all();
	start_all();
}

static void
pass_time(void)
{
	static const int64_t ms[] = { 1, 100, 1000, 3000, 6000, 20000, 70000,
		4000000 };

	clock_test_set(clock_wall_ms() + ms[any(COUNT(ms))]);
}

static void
step(void)
{
	unsigned n = any(100);

	if (n < 30)
		add_job();
	else if (n < 50)
		pass_time();
	else if (n < 58)
		change_record();
	else if (n < 66)
		change_policy();
	else if (n < 72)
		change_host();
	else if (n < 76)
		forget_or_refresh();
	else if (n < 78)
		fake_fetch_hold(any(3) == 0);
	else if (n < 80)
		fake_dns_hold(any(3) == 0);
	else if (n == 80)
		restart();
	else
		turn(1 + any(6));
}

static void
prepare(void)
{
	static char names[DOMAINS][40], mx[DOMAINS][80];

	fake_dns_a("mx0.example", "192.0.2.1");
	fake_dns_a("mx1.example", "192.0.2.1");
	fake_dns_a("mx2.example", "192.0.2.1");
	fake_dns_ttl(5 + any(2) * 60);
	for (unsigned d = 0; d < DOMAINS; d++) {
		(void)snprintf(names[d], sizeof(names[d]), "d%u.example", d);
		(void)snprintf(mx[d], sizeof(mx[d]), "10 mx%u.example 20 "
			"mx%u.example", any(HOSTS), any(HOSTS));
		fake_dns_set(names[d], DNS_TYPE_MX, DNS_FOUND, mx[d]);
	}
	for (unsigned i = 0; i < 20; i++)
		change_record();
}

static void
forget_all(void)
{
	for (unsigned d = 0; d < DOMAINS; d++) {
		for (size_t i = 0; i < domains[d].count; i++)
			sts_policy_free(&domains[d].heard[i].policy);
		mem_free(&domains[d].text);
		domains[d].count = 0;
	}
	job_count = 0;
}

static void
test_walk(void **state)
{
	(void)state;
	log_init("t", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	for (uint32_t walk = 0; walk < WALKS; walk++) {
		seed = 7 + walk * 1000;
		clock_test_set(START_MS);
		base = event_base_new();
		fake_dns_init(base);
		fake_fetch_init(base);
		fake_sessions_init();
		fake_sessions_seed(walk);
		fake_sessions_watch(on_send);
		change_policy();
		prepare();
		start_all();
		for (unsigned i = 0; i < STEPS; i++)
			step();
		stop_all();
		fake_sessions_clear();
		fake_dns_clear();
		fake_fetch_clear();
		event_base_free(base);
		forget_all();
	}
	clock_test_real();
	print_message("transactions: %zu protected, %zu open, %zu on a "
		"connection that was open\n", seen_protected, seen_open,
		seen_shared);
	assert_true(seen_protected > 200 && seen_open > 200 &&
		seen_shared > 200);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_walk) };

	return cmocka_run_group_tests_name("delivery_walk", tests, NULL, NULL);
}
