/*
 * The resolver against scripted servers on loopback: what they do wrong costs
 * one server or one lookup, never more.
 */
#include "config.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <cmocka.h>
#include <event2/event.h>

#include "base/clock.h"
#include "base/log.h"
#include "resolver/dns_servers.h"
#include "resolver/resolver.h"
#include "tests/lib/dnsfake.h"

#define ANSWERS_MAX 64

struct lab {
	struct event_base *base;
	struct dnsfake *fakes[2];	/* the first follows the script */
	struct resolver *resolver;
	struct dns_answer *answers[ANSWERS_MAX];
	size_t count, wanted;
	struct conf_resolver conf;
	struct conf_addr addrs[2];
	bool tcp_seen, mute;
	struct dns_request *to_cancel;
};

static struct dnspkt pkt;

static void
reply_start(const struct dnsfake_query *q, unsigned rcode, unsigned flags)
{
	dnspkt_start(&pkt, 0, q->name, q->type, rcode, flags);
	dnspkt_echo(&pkt, q->bytes, q->len);
}

static void
reply_a(const struct dnsfake_query *q, const char *address)
{
	char line[1200];

	reply_start(q, 0, 0);
	snprintf(line, sizeof(line), "%s. 60 IN A %s", q->name, address);
	dnspkt_add(&pkt, 0, line);
	dnsfake_send(q, &pkt);
}

static void
do_servfail(const struct dnsfake_query *q)
{
	reply_start(q, 2, PKT_EDE);
	dnsfake_send(q, &pkt);
}

static void
do_refused(const struct dnsfake_query *q)
{
	reply_start(q, 5, 0);
	dnsfake_send(q, &pkt);
}

static void
do_silent(const struct dnsfake_query *q)
{
	(void)q;
}

static void
do_truncated(const struct dnsfake_query *q)
{
	if (q->tcp) {
		reply_a(q, "192.0.2.9");
		return;
	}
	reply_start(q, 0, PKT_TC);
	dnsfake_send(q, &pkt);
}

/* A forger who guessed the port but not the id: passed over. */
static void
do_wrong_id(const struct dnsfake_query *q)
{
	reply_start(q, 0, 0);
	dnspkt_add(&pkt, 0, "wrong-id.test. 60 IN A 192.0.2.66");
	pkt.bytes[0] ^= 0x55;
	dnsfake_send(q, &pkt);
	reply_a(q, "192.0.2.1");
}

/* A forger who guessed even the id, but not the case of the letters. */
static void
do_wrong_case(const struct dnsfake_query *q)
{
	if (q->tcp) {
		reply_a(q, "192.0.2.1");
		return;
	}
	reply_start(q, 0, 0);
	dnspkt_add(&pkt, 0, "wrong-case.test. 60 IN A 192.0.2.66");
	for (size_t i = 13; i < 28; i++)
		if (pkt.bytes[i] >= 'A')
			pkt.bytes[i] ^= 0x20;
	dnsfake_send(q, &pkt);
}

static void
do_wrong_question(const struct dnsfake_query *q)
{
	reply_start(q, 0, 0);
	dnspkt_add(&pkt, 0, "wrong-question.test. 60 IN A 192.0.2.66");
	pkt.bytes[13] ^= 1;
	dnsfake_send(q, &pkt);
}

static void
do_malformed(const struct dnsfake_query *q)
{
	reply_start(q, 0, 0);
	dnspkt_raw(&pkt, 0, q->name, 1, 60, "\1\2\3", 3);
	dnsfake_send(q, &pkt);
}

static void
do_cut(const struct dnsfake_query *q)
{
	reply_start(q, 0, 0);
	dnspkt_add(&pkt, 0, "cut.test. 60 IN A 192.0.2.66");
	pkt.len -= 14;
	dnsfake_send(q, &pkt);
}

static void
do_query_back(const struct dnsfake_query *q)
{
	reply_start(q, 0, 0);
	pkt.bytes[2] &= 0x7f;
	dnsfake_send(q, &pkt);
}

/* 3,000 octets by UDP although we said 1,232. */
static void
do_oversize(const struct dnsfake_query *q)
{
	char line[100];

	reply_start(q, 0, 0);
	for (int i = 0; i < 100; i++) {
		snprintf(line, sizeof(line), "oversize.test. 60 IN A "
			"192.0.2.%d", i);
		dnspkt_add(&pkt, 0, line);
	}
	dnsfake_send(q, &pkt);
}

static void
do_chain(const struct dnsfake_query *q)
{
	reply_start(q, 0, 0);
	dnspkt_add(&pkt, 0, "chain.test. 60 IN CNAME mid.test.");
	dnspkt_add(&pkt, 0, "mid.test. 40 IN CNAME end.test.");
	dnsfake_send(q, &pkt);
}

static void
do_loop(const struct dnsfake_query *q)
{
	bool one = strcmp(q->name, "loop.test") == 0;

	reply_start(q, 0, 0);
	dnspkt_add(&pkt, 0, one ? "loop.test. 60 IN CNAME pool.test." :
		"pool.test. 60 IN CNAME loop.test.");
	dnsfake_send(q, &pkt);
}

/* A new name each time, for ever. */
static void
do_endless(const struct dnsfake_query *q)
{
	char line[1200];

	reply_start(q, 0, 0);
	snprintf(line, sizeof(line), "%s. 60 IN CNAME endless%u.test.",
		q->name, dnsfake_seen(q->fake));
	dnspkt_add(&pkt, 0, line);
	dnsfake_send(q, &pkt);
}

static void
do_nxdomain(const struct dnsfake_query *q)
{
	reply_start(q, 3, 0);
	dnspkt_add(&pkt, 1, "test. 600 IN SOA ns. h. 1 2 3 4 77");
	dnsfake_send(q, &pkt);
}

static void
do_nodata(const struct dnsfake_query *q)
{
	reply_start(q, 0, 0);
	dnspkt_add(&pkt, 1, "test. 33 IN SOA ns. h. 1 2 3 4 77");
	dnsfake_send(q, &pkt);
}

static void
do_no_opt(const struct dnsfake_query *q)
{
	char line[1200];

	dnspkt_start(&pkt, 0, q->name, q->type, 0, PKT_NO_OPT);
	dnspkt_echo(&pkt, q->bytes, q->len);
	snprintf(line, sizeof(line), "%s. 60 IN A 192.0.2.4", q->name);
	dnspkt_add(&pkt, 0, line);
	dnsfake_send(q, &pkt);
}

static const struct script {
	const char *prefix;
	void (*act)(const struct dnsfake_query *);
} script[] = {
	{ "servfail", do_servfail }, { "refused", do_refused },
	{ "silent", do_silent }, { "truncated", do_truncated },
	{ "wrong-id", do_wrong_id }, { "wrong-case", do_wrong_case },
	{ "wrong-question", do_wrong_question },
	{ "malformed", do_malformed }, { "cut", do_cut },
	{ "query-back", do_query_back }, { "oversize", do_oversize },
	{ "chain", do_chain }, { "loop", do_loop }, { "pool", do_loop },
	{ "endless", do_endless }, { "nxdomain", do_nxdomain },
	{ "nodata", do_nodata }, { "no-opt", do_no_opt },
};

static void
on_query(const struct dnsfake_query *q, void *arg)
{
	struct lab *lab = arg;

	lab->tcp_seen |= q->tcp;
	if (lab->mute)
		return;
	for (size_t i = 0; i < sizeof(script) / sizeof(script[0]); i++) {
		if (strncmp(q->name, script[i].prefix,
		    strlen(script[i].prefix)) == 0) {
			script[i].act(q);
			return;
		}
	}
	reply_a(q, "192.0.2.1");
}

/* The second server knows only right answers. */
static void
on_query_good(const struct dnsfake_query *q, void *arg)
{
	(void)arg;
	reply_a(q, "192.0.2.2");
}

static void
lab_resolver(struct lab *lab, size_t servers)
{
	char err[CONF_ERR_MAX] = "";

	resolver_free(&lab->resolver);
	lab->conf.servers = lab->addrs;
	lab->conf.server_count = servers;
	if (resolver_new(lab->base, &lab->conf, &lab->resolver, err) != ST_OK)
		fail_msg("%s", err);
}

static int
setup(void **state)
{
	struct lab *lab = calloc(1, sizeof(*lab));

	lab->base = event_base_new();
	lab->fakes[0] = dnsfake_new(lab->base, on_query, lab);
	lab->fakes[1] = dnsfake_new(lab->base, on_query_good, lab);
	dnsfake_addr(lab->fakes[0], &lab->addrs[0]);
	dnsfake_addr(lab->fakes[1], &lab->addrs[1]);
	lab->conf.dnssec = CONF_DNSSEC_OFF;
	lab->conf.timeout_ms = 400;
	lab->conf.lookup_ms = 3000;
	lab->conf.tries = 1;
	lab->conf.cache_entries = 100;
	lab_resolver(lab, 2);
	*state = lab;
	return 0;
}

static int
teardown(void **state)
{
	struct lab *lab = *state;

	resolver_free(&lab->resolver);
	dnsfake_free(&lab->fakes[0]);
	dnsfake_free(&lab->fakes[1]);
	for (size_t i = 0; i < lab->count; i++)
		dns_answer_free(&lab->answers[i]);
	event_base_free(lab->base);
	free(lab);
	return 0;
}

static void
on_answer(struct dns_answer *a, void *arg)
{
	struct lab *lab = arg;

	lab->answers[lab->count++] = a;
	if (lab->to_cancel != NULL)
		resolver_cancel(&lab->to_cancel);
	if (lab->count >= lab->wanted)
		event_base_loopbreak(lab->base);
}

static void
wait_for(struct lab *lab, size_t count)
{
	struct timeval limit = { 5, 0 };

	lab->wanted = lab->count + count;
	event_base_loopexit(lab->base, &limit);
	event_base_dispatch(lab->base);
	assert_int_equal(lab->count, lab->wanted);
}

static struct dns_answer *
look_up(struct lab *lab, const char *name, uint16_t type)
{
	size_t before = lab->count;

	assert_non_null(resolver_start(lab->resolver, name, type, on_answer,
		lab));
	assert_int_equal(lab->count, before);	/* never inside */
	wait_for(lab, 1);
	return lab->answers[before];
}

static void
is_address(const struct dns_answer *a, const char *address)
{
	char text[INET_ADDRSTRLEN];

	assert_int_equal(a->result, DNS_FOUND);
	assert_null(a->why);
	inet_ntop(AF_INET, &a->records[0].u.a, text, sizeof(text));
	assert_string_equal(text, address);
	assert_int_equal(a->security, DNS_SEC_UNKNOWN);
}

static void
is_later(const struct dns_answer *a, const char *part)
{
	assert_int_equal(a->result, DNS_LATER);
	assert_int_equal(a->count, 0);
	assert_non_null(a->why);
	if (strstr(a->why, part) == NULL)
		fail_msg("\"%s\" lacks \"%s\"", a->why, part);
}

static void
plain(void **state)
{
	struct dns_answer *a = look_up(*state, "plain.test", 1);

	is_address(a, "192.0.2.1");
	assert_string_equal(a->name, "plain.test");
	assert_string_equal(a->canonical, "plain.test");
	assert_int_equal(a->ttl_s, 60);
}

/* What the first server does wrong, the second makes good. */
static void
fail_over(void **state)
{
	static const char *const names[] = { "servfail.test", "refused.test",
		"silent.test", "wrong-question.test", "malformed.test",
		"cut.test", "query-back.test" };
	struct lab *lab = *state;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		lab_resolver(lab, 2);
		print_message("# %s\n", names[i]);
		is_address(look_up(lab, names[i], 1), "192.0.2.2");
		/* and is asked first from then on */
		is_address(look_up(lab, "next.test", 1), "192.0.2.2");
	}
}

/* The same alone: an error, never "absent". */
static void
no_fail_over(void **state)
{
	static const char *const cases[][2] = {
		{ "servfail.test", "SERVFAIL (EDE 22: test)" },
		{ "refused.test", "REFUSED" },
		{ "silent.test", "no answer in time" },
		{ "wrong-question.test", "" },
		{ "malformed.test", "malformed" }, { "cut.test", "malformed" },
		{ "query-back.test", "malformed" } };
	struct lab *lab = *state;

	lab_resolver(lab, 1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		is_later(look_up(lab, cases[i][0], 1), cases[i][1]);
	assert_int_equal(lab->answers[0]->ede, 22);
}

/* The name servers of one name, and with them the resolver for it, or nobody at
 * all: only the latter is silence. */
static void
silence(void **state)
{
	struct lab *lab = *state;
	struct dns_answer *a;

	for (lab->conf.tries = 1; lab->conf.tries < 3; lab->conf.tries++) {
		lab_resolver(lab, 1);
		a = look_up(lab, "silent.test", 1);
		is_later(a, "no answer in time");
		assert_false(a->silent);
	}
	assert_false(resolver_at_fault(lab->resolver, a));
	a = look_up(lab, "servfail.test", 1);
	assert_false(a->silent);
	lab->mute = true;
	a = look_up(lab, "plain.test", 1);
	is_later(a, "no answer in time");
	assert_true(a->silent);
	assert_true(resolver_at_fault(lab->resolver, a));
	lab->mute = false;
	a = look_up(lab, "plain.test", 1);
	is_address(a, "192.0.2.1");
	assert_false(a->silent);
	assert_false(resolver_at_fault(lab->resolver, a));
	a = look_up(lab, "nxdomain.test", 1);
	assert_false(resolver_at_fault(lab->resolver, a));
}

/* Given up, or gone with the resolver, while it is asked whether anybody is
 * there. */
static void
silence_ends(void **state)
{
	const struct timeval while_held = { 0, 600000 };
	struct lab *lab = *state;
	struct dns_request *a;

	lab->mute = true;
	lab->wanted = ANSWERS_MAX;
	for (int i = 0; i < 2; i++) {
		lab_resolver(lab, 1);		/* one try of 400 ms */
		a = resolver_start(lab->resolver, "a.test", 1, on_answer, lab);
		(void)resolver_start(lab->resolver, "b.test", 1, on_answer,
			lab);
		event_base_loopexit(lab->base, &while_held);
		event_base_dispatch(lab->base);
		assert_int_equal(lab->count, 0);
		if (i == 0)
			resolver_cancel(&a);
	}
	wait_for(lab, 2);
	assert_true(lab->answers[0]->silent);
	assert_true(lab->answers[1]->silent);
}

static void
truncated(void **state)
{
	struct lab *lab = *state;

	is_address(look_up(lab, "truncated.test", 1), "192.0.2.9");
	assert_true(lab->tcp_seen);
}

static void
oversize(void **state)
{
	struct lab *lab = *state;
	struct dns_answer *a = look_up(lab, "oversize.test", 1);

	is_address(a, "192.0.2.0");
	/* By TCP with c-ares 1.18; 1.34 takes what came. */
	assert_int_equal(a->count, 100);
}

static void
forged(void **state)
{
	struct lab *lab = *state;
	unsigned seen;

	is_address(look_up(lab, "wrong-id.test", 1), "192.0.2.1");
	assert_false(lab->tcp_seen);
	is_address(look_up(lab, "wrong-case.test", 1), "192.0.2.1");
	assert_true(lab->tcp_seen);
	/* It is not asked by UDP again for some time. */
	seen = dnsfake_seen(lab->fakes[0]);
	is_address(look_up(lab, "wrong-case2.test", 1), "192.0.2.1");
	assert_int_equal(dnsfake_seen(lab->fakes[0]), seen + 1);
}

static void
links(void **state)
{
	struct lab *lab = *state;
	struct dns_answer *a = look_up(lab, "chain.test", 1);

	is_address(a, "192.0.2.1");
	assert_string_equal(a->name, "chain.test");
	assert_string_equal(a->canonical, "end.test");
	assert_int_equal(a->ttl_s, 40);
	is_later(look_up(lab, "loop.test", 1), "CNAME chain too long");
	is_later(look_up(lab, "endless.test", 1), "CNAME chain too long");
	assert_true(dnsfake_seen(lab->fakes[0]) < 40);
}

static void
negative(void **state)
{
	struct lab *lab = *state;
	struct dns_answer *a = look_up(lab, "nxdomain.test", 1);
	unsigned seen;

	assert_int_equal(a->result, DNS_NXDOMAIN);
	assert_int_equal(a->ttl_s, 77);
	a = look_up(lab, "nodata.test", 1);
	assert_int_equal(a->result, DNS_NODATA);
	assert_int_equal(a->ttl_s, 33);
	seen = dnsfake_seen(lab->fakes[0]);
	a = look_up(lab, "nodata.test", 1);
	assert_int_equal(a->result, DNS_NODATA);
	assert_int_equal(dnsfake_seen(lab->fakes[0]), seen);
}

static void
asked_once(void **state)
{
	struct lab *lab = *state;
	struct resolver_stats stats;

	for (int i = 0; i < 10; i++)
		(void)resolver_start(lab->resolver, "same.test", 1, on_answer,
			lab);
	resolver_stats(lab->resolver, &stats);
	assert_int_equal(stats.in_flight, 1);
	wait_for(lab, 10);
	assert_int_equal(dnsfake_seen(lab->fakes[0]), 1);
	for (int i = 0; i < 10; i++)
		is_address(lab->answers[i], "192.0.2.1");
	/* From the cache, and not inside the call either. */
	is_address(look_up(lab, "same.test", 1), "192.0.2.1");
	assert_int_equal(dnsfake_seen(lab->fakes[0]), 1);
	resolver_stats(lab->resolver, &stats);
	assert_int_equal(stats.lookups, 11);
	assert_int_equal(stats.cache_hits, 1);
	assert_int_equal(stats.packets, 1);
	assert_int_equal(stats.in_flight, 0);
	/* Unless somebody wants it anew. */
	resolver_forget(lab->resolver, "other.test", 1);
	resolver_forget(lab->resolver, "no..name", 1);
	resolver_forget(lab->resolver, "same.test", 1);
	is_address(look_up(lab, "same.test", 1), "192.0.2.1");
	assert_int_equal(dnsfake_seen(lab->fakes[0]), 2);
}

static void
cancelled(void **state)
{
	struct lab *lab = *state;
	struct dns_request *a, *b, *c;

	a = resolver_start(lab->resolver, "a.test", 1, on_answer, lab);
	b = resolver_start(lab->resolver, "a.test", 1, on_answer, lab);
	c = resolver_start(lab->resolver, "c.test", 1, on_answer, lab);
	resolver_cancel(&a);
	resolver_cancel(&c);
	assert_null(a);
	resolver_cancel(&c);
	wait_for(lab, 1);
	assert_string_equal(lab->answers[0]->name, "a.test");
	(void)b;
	/* One that is ready, cancelled by the callback of another. */
	(void)resolver_start(lab->resolver, "a.test", 1, on_answer, lab);
	lab->to_cancel = resolver_start(lab->resolver, "a.test", 1,
		on_answer, lab);
	wait_for(lab, 1);
	assert_null(lab->to_cancel);
	event_base_loop(lab->base, EVLOOP_NONBLOCK);
	assert_int_equal(lab->count, 2);
	/* Taken down with a lookup, a hit and an orphan under way. */
	(void)resolver_start(lab->resolver, "silent.test", 1, on_answer, lab);
	(void)resolver_start(lab->resolver, "a.test", 1, on_answer, lab);
	a = resolver_start(lab->resolver, "silent2.test", 1, on_answer, lab);
	event_base_loop(lab->base, EVLOOP_NONBLOCK);
	resolver_cancel(&a);
	resolver_free(&lab->resolver);
}

static void
time_limit(void **state)
{
	struct lab *lab = *state;
	int64_t start = clock_mono_ms();

	lab->conf.timeout_ms = 2000;
	lab->conf.lookup_ms = 200;
	lab_resolver(lab, 1);
	is_later(look_up(lab, "silent.test", 1), "longer than it may");
	assert_true(clock_mono_ms() - start < 1500);
}

static void
no_edns(void **state)
{
	struct lab *lab = *state;

	is_address(look_up(lab, "no-opt.test", 1), "192.0.2.4");
}

static void
cannot_ask(void **state)
{
	struct lab *lab = *state;

	is_later(look_up(lab, "a..b", 1), "not a domain name");
	is_later(look_up(lab, "a.test", 255), "not a domain name");
	is_later(look_up(lab, "a.test", 0), "not a domain name");
	assert_int_equal(dnsfake_seen(lab->fakes[0]), 0);
}

static void
refused_connection(void **state)
{
	struct lab *lab = *state;

	lab_resolver(lab, 1);
	dnsfake_free(&lab->fakes[0]);
	is_later(look_up(lab, "a.test", 1), "resolver 127.0.0.1");
}

static void
many(void **state)
{
	struct lab *lab = *state;
	char name[32];

	/* More than one carrier takes at once. */
	lab->conf.timeout_ms = 3000;
	lab_resolver(lab, 2);
	for (int i = 0; i < 1500; i++) {
		snprintf(name, sizeof(name), "n%d.test", i);
		(void)resolver_start(lab->resolver, name, 1, on_answer, lab);
		if (i % ANSWERS_MAX != ANSWERS_MAX - 1)
			continue;
		wait_for(lab, ANSWERS_MAX);
		while (lab->count > 0) {
			is_address(lab->answers[--lab->count], "192.0.2.1");
			dns_answer_free(&lab->answers[lab->count]);
		}
	}
}

static void
resolv_conf(void **state)
{
	char path[] = "/tmp/test_dns_XXXXXX";
	struct conf_addr addrs[3];
	size_t count;
	FILE *f = fdopen(mkstemp(path), "w");

	(void)state;
	fputs("# comment\nsearch x\nnameserver 192.0.2.53\nnameserver nonsense"
		"\n  nameserver 1.2.3.4\nnameserver\t2001:db8::53\n", f);
	fclose(f);
	assert_int_equal(dns_servers_read(path, addrs, 3, &count), ST_OK);
	assert_int_equal(count, 2);
	assert_string_equal(addrs[0].text, "192.0.2.53");
	assert_int_equal(addrs[1].addr.ss_family, AF_INET6);
	dns_servers_free(addrs, count);
	remove(path);
	assert_int_equal(dns_servers_read(path, addrs, 3, &count), ST_SYS);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define LAB_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		LAB_TEST(plain),
		LAB_TEST(fail_over),
		LAB_TEST(no_fail_over),
		LAB_TEST(silence),
		LAB_TEST(silence_ends),
		LAB_TEST(truncated),
		LAB_TEST(oversize),
		LAB_TEST(forged),
		LAB_TEST(links),
		LAB_TEST(negative),
		LAB_TEST(asked_once),
		LAB_TEST(cancelled),
		LAB_TEST(time_limit),
		LAB_TEST(no_edns),
		LAB_TEST(cannot_ask),
		LAB_TEST(refused_connection),
		LAB_TEST(many),
		cmocka_unit_test(resolv_conf),
	};

	log_init("test", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
