/*
 * The policies of a worker on a random walk: lookups, cancels, refreshes,
 * operators who forget, records and policy hosts that come and go, time, and a
 * parent that answers when it likes.  Whatever the order: one callback for each
 * lookup, one fetch of a domain at a time, and while the parent has a policy
 * that is in force nobody is told that there is none.
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
#include "smtpd-out/worker/sts_table.h"
#include "tests/unit/resolver_fake.h"
#include "tests/unit/sts_fetch_fake.h"

#define STEPS 200000
#define DOMAINS 3
#define LOOKUPS 40
#define NOW_S INT64_C(1800000000)

static const char *const names[DOMAINS] = { "a.example", "b.example",
	"c.example" };
static const char *const texts[] = {
	"version: STSv1\nmode: enforce\nmx: mx1.example\nmax_age: 86400\n",
	"version: STSv1\nmode: enforce\nmx: mx2.example\nmax_age: 3000\n",
	"version: STSv1\nmode: testing\nmx: mx1.example\nmax_age: 604800\n",
	"version: STSv1\nmode: enforce\nmx: mx1.example\nmax_age: 0\n",
};

struct request {		/* a lookup, or a question to the parent */
	bool open;
	unsigned domain, forgotten;
	struct sts_lookup *lookup;
	uint64_t id;
};

static struct event_base *base;
static struct conf *conf;
static struct sts_table *table;
static const struct sts_fetch_env env;
static struct request lookups[LOOKUPS], gets[LOOKUPS];
static struct {
	char *text;
	char id[MSG_STS_ID_MAX];
	int64_t expires_s;
	unsigned forgotten;
	bool list;
} rows[DOMAINS];
static uint32_t seed;
static unsigned views, protections;
static bool dns_held, fetches_held;

static unsigned
any(unsigned below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

static unsigned
index_of(const char *domain)
{
	return (unsigned)(domain[0] - 'a');
}

/* ---- the parent ---- */

static void
on_get(uint64_t request, const char *domain, void *arg)
{
	struct request *r = gets;

	(void)arg;
	while (r->open)
		assert_true(++r < gets + LOOKUPS);
	*r = (struct request){ .open = true, .domain = index_of(domain),
		.id = request };
}

static void
answer(struct request *r)
{
	static char mx[] = "mx.listed.example";
	static char *mxs[] = { mx };
	struct msg_sts msg = { .what = MSG_STS_ANSWER, .found = true };
	unsigned d = r->domain;

	r->open = false;
	(void)str_copy(msg.domain, sizeof(msg.domain), names[d]);
	if (rows[d].text != NULL && rows[d].expires_s > clock_wall_s()) {
		msg.text = rows[d].text;
		msg.text_len = strlen(msg.text);
		msg.expires_s = rows[d].expires_s;
		(void)str_copy(msg.id, sizeof(msg.id), rows[d].id);
	}
	if (rows[d].list) {
		msg.list_mode = MSG_STS_LIST_ENFORCE;
		msg.list_mx = mxs;
		msg.list_mx_count = 1;
		msg.list_expires_s = clock_wall_s() + 100 + any(10000);
	}
	sts_table_take(table, r->id, &msg);
}

static void
answer_all(void)
{
	for (unsigned i = 0; i < LOOKUPS; i++)
		if (gets[i].open)
			answer(&gets[i]);
}

static void
on_save(uint64_t id, const struct msg_sts *msg, void *arg)
{
	unsigned d = index_of(msg->domain);

	(void)id;
	(void)arg;
	if (msg->what != MSG_STS_FETCHED)
		return;
	assert_true(msg->id[0] != '\0');
	free(rows[d].text);
	rows[d].text = xstrdup(msg->text);
	rows[d].expires_s = msg->expires_s;
	(void)str_copy(rows[d].id, sizeof(rows[d].id), msg->id);
}

/* ---- lookups ---- */

static void
on_view(struct sts_view *view, void *arg)
{
	struct request *r = arg;
	unsigned d = r->domain;

	assert_true(r->open);
	r->open = false;
	r->lookup = NULL;
	views++;
	if (r->forgotten == rows[d].forgotten && rows[d].text != NULL &&
	    rows[d].expires_s > clock_wall_s()) {
		assert_int_equal(view->what, STS_VIEW_POLICY);
		assert_int_not_equal(view->source, STS_SOURCE_LIST);
		assert_string_equal(view->id, rows[d].id);
		assert_string_equal(view->text, rows[d].text);
		protections++;
	}
	sts_view_unref(&view);
}

static void
look_up(void)
{
	struct request *r = &lookups[any(LOOKUPS)];

	if (r->open) {
		if (any(2) == 0) {
			sts_lookup_cancel(&r->lookup);
			r->open = false;
		}
		return;
	}
	r->open = true;
	r->domain = any(DOMAINS);
	r->forgotten = rows[r->domain].forgotten;
	r->lookup = (any(4) == 0 ? sts_recheck_start : sts_lookup_start)(
		table, names[r->domain], on_view, r);
}

/* ---- the world ---- */

static void
change_record(void)
{
	/* Of one name it keeps the pointer. */
	static const char *const owners[DOMAINS] = { "_mta-sts.a.example",
		"_mta-sts.b.example", "_mta-sts.c.example" };
	static const struct {
		enum dns_result result;
		const char *text;
	} answers[] = { { DNS_NXDOMAIN, NULL }, { DNS_LATER, NULL },
		{ DNS_FOUND, "v=STSv1; id=1" },
		{ DNS_FOUND, "v=STSv1; id=2" },
		{ DNS_FOUND, "v=STSv1; id=3" }, { DNS_FOUND, "v=STSv1; i" } };
	unsigned i = any(6);

	fake_dns_set(owners[any(DOMAINS)], DNS_TYPE_TXT, answers[i].result,
		answers[i].text);
	fake_dns_ttl(1 + any(7200));
}

static void
change_host(void)
{
	unsigned i = any(40);

	if (i == 0)
		fake_fetch_local();
	else if (i < 20)
		fake_fetch_fail(TLS_FAILURE_STS_FETCH);
	else
		fake_fetch_text(texts[i % 4]);
}

static void
tell(enum msg_sts_what what)
{
	struct msg_sts msg = { .what = what };
	unsigned d = any(DOMAINS);

	(void)str_copy(msg.domain, sizeof(msg.domain), names[d]);
	if (what == MSG_STS_FORGET) {
		rows[d].forgotten++;
		mem_free(&rows[d].text);
	}
	sts_table_take(table, what == MSG_STS_REFRESH ? any(100) : 0, &msg);
}

static void
turn(unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
}

static void
open_table(void)
{
	const struct sts_table_port port = { on_get, on_save, 60000, NULL };

	sts_table_free(&table);
	memset(lookups, 0, sizeof(lookups));
	memset(gets, 0, sizeof(gets));
	table = sts_table_new(base, conf, &env, &port);
}

static void
step(void)
{
	switch (any(24)) {
	case 0: change_record(); break;
	case 1: change_host(); break;
	case 2: fake_dns_hold(dns_held = !dns_held); break;
	case 3: fake_fetch_hold(fetches_held = !fetches_held); break;
	case 4: tell(MSG_STS_REFRESH); break;
	case 5: tell(MSG_STS_FORGET); break;
	case 6: rows[any(DOMAINS)].list ^= true; break;
	case 7:
		clock_test_set(clock_wall_ms() + (any(50) == 0 ? 86400000 :
			any(400000)));
		break;
	case 8:
		if (any(30) == 0)
			open_table();
		break;
	case 9: case 10: case 11: answer_all(); break;
	case 12: case 13: case 14: case 15: look_up(); break;
	default: turn(1);
	}
}

static void
test_walk(void **state)
{
	(void)state;
	clock_test_set(NOW_S * 1000);
	base = event_base_new();
	fake_dns_init(base);
	fake_fetch_init(base);
	log_init("t", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	(void)log_once("sts-fetch-local");
	assert_int_equal(conf_parse("t", "", &conf, (char[CONF_ERR_MAX]){ 0 }),
		ST_OK);
	open_table();
	for (seed = 1; seed < STEPS; ) {
		uint32_t keep = seed;

		for (unsigned i = 0; i < 200; i++)
			step();
		seed = keep + 200;
	}
	fake_dns_hold(false);
	fake_fetch_hold(false);
	for (unsigned i = 0; i < 10; i++) {
		answer_all();
		turn(5);
	}
	for (unsigned i = 0; i < LOOKUPS; i++)
		assert_false(lookups[i].open);
	assert_int_equal(fake_fetch_most(), 1);
	assert_true(views > 10000 && protections > 2000);
	sts_table_free(&table);
	for (unsigned i = 0; i < DOMAINS; i++)
		free(rows[i].text);
	fake_dns_clear();
	fake_fetch_clear();
	conf_free(&conf);
	event_base_free(base);
	clock_test_real();
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_walk) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
