/*
 * A thousand questions at once: no more of them are under way than a
 * resolver's socket holds, all are answered, and a dead server in front does
 * not hold them up one window after the other.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/time.h>

#include <cmocka.h>
#include <event2/event.h>

#include "base/clock.h"
#include "base/log.h"
#include "resolver/dns_name.h"
#include "resolver/dns_query.h"
#include "tests/lib/dnsfake.h"

#define QUESTIONS 1000
#define FIRST_WINDOW 96
#define TIMEOUT_MS 300

struct burst {
	struct event_base *base;
	struct dnsfake *fakes[2];
	struct dns_query *query;
	unsigned answered, failed;
};

static void
on_silent(const struct dnsfake_query *q, void *arg)
{
	(void)q;
	(void)arg;
}

static void
on_good(const struct dnsfake_query *q, void *arg)
{
	static struct dnspkt pkt;
	char line[1200];

	(void)arg;
	dnspkt_start(&pkt, 0, q->name, q->type, 0, 0);
	dnspkt_echo(&pkt, q->bytes, q->len);
	(void)snprintf(line, sizeof(line), "%s. 60 IN A 192.0.2.1", q->name);
	dnspkt_add(&pkt, 0, line);
	dnsfake_send(q, &pkt);
}

static void
on_reply(const struct dns_reply *r, void *arg)
{
	struct burst *b = arg;
	struct dns_msg *msg = r->msg;

	b->answered += msg != NULL;
	b->failed += msg == NULL;
	dns_msg_free(&msg);
}

/* One server, or a silent one and one that answers. */
static void
burst_start(struct burst *b, dnsfake_cb *first, dnsfake_cb *second)
{
	struct conf_addr addrs[2] = { { .text = NULL } };
	struct dns_query_conf conf = { .servers = addrs, .tries = 1,
		.server_count = second != NULL ? 2 : 1,
		.timeout_ms = TIMEOUT_MS };
	char err[CONF_ERR_MAX] = "", text[32];
	dns_name name;

	*b = (struct burst){ .base = event_base_new() };
	b->fakes[0] = dnsfake_new(b->base, first, NULL);
	dnsfake_addr(b->fakes[0], &addrs[0]);
	if (second != NULL) {
		b->fakes[1] = dnsfake_new(b->base, second, NULL);
		dnsfake_addr(b->fakes[1], &addrs[1]);
	}
	assert_int_equal(dns_query_new(b->base, &conf, &b->query, err), ST_OK);
	for (unsigned i = 0; i < QUESTIONS; i++) {
		(void)snprintf(text, sizeof(text), "n%u.test", i);
		assert_int_equal(dns_name_parse(text, name), ST_OK);
		(void)dns_query_start(b->query, name, 1, on_reply, b);
	}
}

static void
burst_run(struct burst *b, int64_t ms, unsigned wanted)
{
	int64_t end = clock_mono_ms() + ms;
	struct timeval tv = { 0, 5000 };

	while (clock_mono_ms() < end && b->answered + b->failed < wanted) {
		(void)event_base_loopexit(b->base, &tv);
		(void)event_base_loop(b->base, EVLOOP_ONCE);
	}
}

static void
burst_end(struct burst *b)
{
	dns_query_free(&b->query);
	dnsfake_free(&b->fakes[0]);
	dnsfake_free(&b->fakes[1]);
	event_base_free(b->base);
}

static void
test_window(void **state)
{
	struct burst b;

	(void)state;
	burst_start(&b, on_silent, NULL);
	burst_run(&b, TIMEOUT_MS / 2, 1);
	assert_int_equal(dnsfake_seen(b.fakes[0]), FIRST_WINDOW);
	assert_int_equal(b.answered + b.failed, 0);
	burst_end(&b);
}

static void
test_all_answered(void **state)
{
	struct dns_query_stats stats;
	struct burst b;

	(void)state;
	burst_start(&b, on_good, NULL);
	burst_run(&b, 10000, QUESTIONS);
	assert_int_equal(b.answered, QUESTIONS);
	dns_query_stats(b.query, &stats);
	assert_int_equal(stats.timeouts, 0);
	assert_int_equal(stats.packets, QUESTIONS);
	burst_end(&b);
}

static void
test_dead_first(void **state)
{
	int64_t began = clock_mono_ms();
	struct burst b;

	(void)state;
	burst_start(&b, on_silent, on_good);
	burst_run(&b, 10000, QUESTIONS);
	assert_int_equal(b.answered, QUESTIONS);
	assert_int_equal(dnsfake_seen(b.fakes[0]), FIRST_WINDOW);
	assert_true(clock_mono_ms() - began < 10 * TIMEOUT_MS);
	burst_end(&b);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_all_answered),
		cmocka_unit_test(test_dead_first),
	};

	log_init("test", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
