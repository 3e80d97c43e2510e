/*
 * The policies of a worker, with a resolver, fetches and a parent that are
 * stand-ins.  What must hold: one callback for each lookup or its cancel, one
 * fetch of a domain at a time, the parent knows what outlives us, and nobody
 * who fails or lies switches a policy off.
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

#define NOW_S INT64_C(1800000000)
#define DAY_S 86400
#define ENFORCE "version: STSv1\r\nmode: enforce\r\nmx: mx1.example\r\n" \
	"max_age: 604800\r\n"
#define OTHER "version: STSv1\r\nmode: enforce\r\nmx: mx2.example\r\n" \
	"max_age: 604800\r\n"
#define TESTING "version: STSv1\r\nmode: testing\r\nmx: mx1.example\r\n" \
	"max_age: 604800\r\n"
#define NONE "version: STSv1\r\nmode: none\r\nmax_age: 604800\r\n"
#define RECORD(id) "v=STSv1; id=" id ";"
#define TXT "_mta-sts.d.example"
#define VIEWS_MAX 64

static struct event_base *base;
static struct conf *conf;
static struct sts_table *table;
static const struct sts_fetch_env env;

/* The parent: answers at once, unless it is mute. */
static struct {
	bool mute;
	bool holding;			/* answer later: see answer() */
	uint64_t held;
	char held_domain[256];
	struct msg_sts row;		/* its answer; text borrowed */
	unsigned gets, fetched, failed, used, absent;
	struct msg_sts last;		/* text is a copy of its beginning */
	char last_text[600];
	uint64_t last_id;
} parent;

static struct sts_view *views[VIEWS_MAX];
static unsigned view_count;

static void
answer(uint64_t id, const char *domain)
{
	struct msg_sts msg = parent.row;

	msg.what = MSG_STS_ANSWER;
	(void)str_copy(msg.domain, sizeof(msg.domain), domain);
	sts_table_take(table, id, &msg);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	answer(parent.held, parent.held_domain);
}

static void
on_get(uint64_t request, const char *domain, void *arg)
{
	const struct timeval soon = { 0, 0 };

	(void)arg;
	assert_true(request != 0);
	parent.gets++;
	parent.held = request;
	(void)str_copy(parent.held_domain, sizeof(parent.held_domain),
		domain);
	if (!parent.mute && !parent.holding)
		(void)event_base_once(base, -1, EV_TIMEOUT, on_timer, NULL,
			&soon);
}

/* Keeps what a parent would keep. */
static void
on_save(uint64_t id, const struct msg_sts *msg, void *arg)
{
	(void)arg;
	parent.last = *msg;
	parent.last_id = id;
	parent.last_text[0] = '\0';
	if (msg->text != NULL)
		(void)str_copy(parent.last_text, sizeof(parent.last_text),
			msg->text);
	parent.fetched += msg->what == MSG_STS_FETCHED;
	parent.failed += msg->what == MSG_STS_FAILED;
	parent.used += msg->what == MSG_STS_USED;
	parent.absent += msg->what == MSG_STS_ABSENT;
	if (msg->what == MSG_STS_FETCHED) {
		assert_non_null(msg->text);
		assert_int_equal(msg->text_len, strlen(msg->text));
		assert_true(msg->id[0] != '\0');
		assert_int_equal(msg->fetched_s, clock_wall_s());
		assert_int_equal(msg->expires_s, clock_wall_s() + 604800);
	}
	if (msg->what == MSG_STS_FAILED) {
		assert_int_not_equal(msg->failure, TLS_FAILURE_NONE);
		assert_true(msg->next_try_s > clock_wall_s());
		assert_true(msg->error[0] != '\0');
	}
}

static void
use_conf(const char *text)
{
	const struct sts_table_port port = { on_get, on_save, 50, NULL };
	char err[CONF_ERR_MAX];

	sts_table_free(&table);
	conf_free(&conf);
	if (conf_parse("t", text, &conf, err) != ST_OK)
		fail_msg("%s", err);
	table = sts_table_new(base, conf, &env, &port);
}

static int
setup(void **state)
{
	(void)state;
	clock_test_set(NOW_S * 1000);
	base = event_base_new();
	fake_dns_init(base);
	fake_dns_ttl(300);
	fake_fetch_init(base);
	memset(&parent, 0, sizeof(parent));
	view_count = 0;
	log_init("t", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	use_conf("");
	return 0;
}

static void
drop_views(void)
{
	while (view_count > 0)
		sts_view_unref(&views[--view_count]);
}

static int
teardown(void **state)
{
	(void)state;
	drop_views();
	sts_table_free(&table);
	fake_dns_clear();
	fake_fetch_clear();
	conf_free(&conf);
	event_base_free(base);
	clock_test_real();
	return 0;
}

static void
on_view(struct sts_view *view, void *arg)
{
	if (arg != NULL)
		*(struct sts_lookup **)arg = NULL;
	assert_true(view_count < VIEWS_MAX);
	views[view_count++] = view;
}

static void
turn(unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
}

static void
later(int64_t seconds)
{
	clock_test_set(clock_wall_ms() + seconds * 1000);
}

/* One lookup, to its end. */
static const struct sts_view *
look(void)
{
	unsigned before = view_count;

	(void)sts_lookup_start(table, "d.example", on_view, NULL);
	assert_int_equal(view_count, before);	/* never from within */
	turn(10);
	assert_int_equal(view_count, before + 1);
	return views[before];
}

/* The table as after a restart: the parent still has what it was told. */
static void
restart(const char *text, const char *id, int64_t expires_s)
{
	char *copy = text == NULL ? NULL : xstrdup(text);

	free(parent.row.text);
	memset(&parent.row, 0, sizeof(parent.row));
	parent.row.found = text != NULL;
	parent.row.text = copy;
	parent.row.text_len = text == NULL ? 0 : strlen(text);
	parent.row.expires_s = expires_s;
	parent.row.used_s = clock_wall_s();
	(void)str_copy(parent.row.id, sizeof(parent.row.id), id);
	use_conf("");
}

static void
forget_row(void)
{
	free(parent.row.text);
	memset(&parent.row, 0, sizeof(parent.row));
}

static void
take(enum msg_sts_what what, uint64_t id)
{
	struct msg_sts msg = { .what = what, .domain = "d.example" };

	sts_table_take(table, id, &msg);
}

static void
take_refresh_of(uint64_t id)
{
	take(MSG_STS_REFRESH, id);
	turn(10);
}

/* ---- discovery ---- */

static void
test_none(void **state)
{
	const struct sts_view *v = look();

	(void)state;
	assert_int_equal(v->what, STS_VIEW_NONE);
	assert_int_equal(v->failure, TLS_FAILURE_NONE);
	assert_int_equal(fake_fetch_count(), 0);
	assert_int_equal(parent.gets, 1);
	assert_int_equal(parent.fetched + parent.failed + parent.used, 0);
}

static void
test_first(void **state)
{
	const struct sts_view *v;

	(void)state;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, "x|" RECORD("1"));
	fake_fetch_text(ENFORCE);
	v = look();
	assert_int_equal(v->what, STS_VIEW_POLICY);
	assert_int_equal(v->source, STS_SOURCE_FETCHED);
	assert_int_equal(v->policy->mode, STS_MODE_ENFORCE);
	assert_string_equal(v->id, "1");
	assert_string_equal(v->text, ENFORCE);
	assert_int_equal(parent.fetched, 1);
	assert_string_equal(parent.last_text, ENFORCE);
	assert_string_equal(parent.last.id, "1");
	assert_int_equal(parent.last.used_s, NOW_S);
	/* Fresh for the time of the record; then the id is enough. */
	later(299);
	assert_ptr_equal(look(), v);
	assert_int_equal(fake_dns_asked(), 1);
	later(2);
	v = look();
	assert_int_equal(v->source, STS_SOURCE_CACHE);
	assert_int_equal(fake_dns_asked(), 2);
	assert_int_equal(fake_fetch_count(), 1);
	assert_int_equal(parent.gets, 1);
}

/* Twenty at once: one lookup, one question, one fetch. */
static void
test_crowd(void **state)
{
	(void)state;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	fake_fetch_text(ENFORCE);
	for (int i = 0; i < 20; i++) {
		(void)sts_lookup_start(table, "d.example", on_view, NULL);
		turn(i % 3 == 0);
	}
	turn(10);
	assert_int_equal(view_count, 20);
	for (int i = 0; i < 20; i++)
		assert_ptr_equal(views[i], views[0]);
	assert_int_equal(fake_dns_asked(), 1);
	assert_int_equal(fake_fetch_count(), 1);
	assert_int_equal(parent.gets, 1);
}

static void
test_restart(void **state)
{
	const struct sts_view *v;

	(void)state;
	restart(ENFORCE, "1", NOW_S + DAY_S);
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	v = look();
	assert_int_equal(v->what, STS_VIEW_POLICY);
	assert_int_equal(v->source, STS_SOURCE_CACHE);
	assert_int_equal(fake_fetch_count(), 0);
	forget_row();
}

/* Whatever an attacker takes away: the policy in force stays. */
static void
test_stays(void **state)
{
	static const struct {
		enum dns_result result;
		const char *records;
	} rows[] = {
		{ DNS_NXDOMAIN, NULL }, { DNS_NODATA, NULL },
		{ DNS_LATER, NULL }, { DNS_FOUND, "v=spf1 -all" },
		{ DNS_FOUND, RECORD("1") "|" RECORD("2") },
		{ DNS_FOUND, "v=STSv1; id=;" },
		{ DNS_FOUND, RECORD("2") },	/* and no fetch works */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct sts_view *v;

		restart(ENFORCE, "1", NOW_S + DAY_S);
		fake_dns_set(TXT, DNS_TYPE_TXT, rows[i].result,
			rows[i].records);
		v = look();
		assert_int_equal(v->what, STS_VIEW_POLICY);
		assert_string_equal(v->id, "1");
		/* ... to its end. */
		restart(ENFORCE, "1", NOW_S);
		v = look();
		assert_int_equal(v->what, rows[i].result == DNS_LATER ?
			STS_VIEW_DEFER : STS_VIEW_NONE);
	}
	forget_row();
}

static void
test_dns_failure(void **state)
{
	const struct sts_view *v;

	(void)state;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_LATER, NULL);
	v = look();
	assert_int_equal(v->what, STS_VIEW_DEFER);
	assert_int_equal(v->later.verdict, VERDICT_LATER);
	assert_int_equal(v->later.scope, SCOPE_HOST);
	assert_non_null(strstr(v->later.text, "d.example"));
	assert_int_equal(v->failure, TLS_FAILURE_STS_FETCH);
	/* Soon it is tried again. */
	later(6);
	/* Our own resolver's silence is told to nobody. */
	fake_dns_at_fault(true);
	v = look();
	assert_int_equal(v->what, STS_VIEW_DEFER);
	assert_int_equal(v->failure, TLS_FAILURE_NONE);
	fake_dns_at_fault(false);
	later(6);
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_NXDOMAIN, NULL);
	assert_int_equal(look()->what, STS_VIEW_NONE);
	use_conf("mta-sts { dns-failure = ignore }");
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_LATER, NULL);
	assert_int_equal(look()->what, STS_VIEW_NONE);
}

/* ---- fetches ---- */

static void
test_new_id(void **state)
{
	const struct sts_view *v;

	(void)state;
	restart(ENFORCE, "1", NOW_S + DAY_S);
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("2"));
	fake_fetch_text(OTHER);
	v = look();
	assert_string_equal(v->id, "2");
	assert_string_equal(v->policy->mx[0], "mx2.example");
	assert_int_equal(parent.fetched, 1);
	assert_string_equal(parent.last.id, "2");
	forget_row();
}

static void
test_backoff(void **state)
{
	static const int64_t waits[] = { 300, 600, 1200, 2400, 4800, 9600,
		19200, 28800, 28800 };
	const struct sts_view *v;

	(void)state;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	fake_dns_ttl(1);
	for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
		fake_fetch_fail(TLS_FAILURE_STS_WEBPKI);
		v = look();
		assert_int_equal(v->what, STS_VIEW_NONE);
		assert_int_equal(v->failure, TLS_FAILURE_STS_WEBPKI);
		assert_string_equal(v->reason, "it does not answer");
		assert_int_equal(fake_fetch_count(), i + 1);
		assert_int_equal(parent.failed, i + 1);
		assert_int_equal(parent.last.failures, i + 1);
		assert_int_equal(parent.last.next_try_s - clock_wall_s(),
			waits[i]);
		/* Until then mail goes on, and the failure is still told. */
		later(waits[i] - 1);
		v = look();
		assert_int_equal(v->failure, TLS_FAILURE_STS_WEBPKI);
		assert_int_equal(fake_fetch_count(), i + 1);
		later(6);
		drop_views();
	}
	fake_fetch_text(ENFORCE);
	v = look();
	assert_int_equal(v->what, STS_VIEW_POLICY);
	assert_int_equal(v->failure, TLS_FAILURE_NONE);
}

/* A record that lives long makes nobody wait for longer than the back-off. */
static void
test_backoff_ttl(void **state)
{
	(void)state;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	fake_dns_ttl(86400);
	assert_int_equal(look()->failure, TLS_FAILURE_STS_FETCH);
	fake_fetch_text(ENFORCE);
	later(299);
	assert_int_equal(look()->what, STS_VIEW_NONE);
	later(2);
	assert_int_equal(look()->what, STS_VIEW_POLICY);
}

/* The back-off is for the id that failed; another one is fetched at once. */
static void
test_backoff_of_id(void **state)
{
	(void)state;
	restart(ENFORCE, "1", NOW_S + DAY_S);
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("2"));
	assert_string_equal(look()->id, "1");
	assert_int_equal(views[0]->failure, TLS_FAILURE_STS_FETCH);
	later(301 - 300 + 5);
	fake_dns_ttl(5);
	(void)sts_recheck_start(table, "d.example", on_view, NULL);
	turn(10);
	assert_int_equal(fake_fetch_count(), 1);
	later(10);
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("3"));
	fake_fetch_text(OTHER);
	assert_string_equal(look()->id, "3");
	assert_int_equal(fake_fetch_count(), 2);
	forget_row();
}

/* It outlives us. */
static void
test_backoff_stored(void **state)
{
	const struct sts_view *v;

	(void)state;
	restart(NULL, "", 0);
	parent.row.found = true;
	parent.row.failures = 3;
	parent.row.failure = TLS_FAILURE_STS_INVALID;
	parent.row.next_try_s = NOW_S + 100;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	fake_dns_ttl(5);
	v = look();
	assert_int_equal(v->what, STS_VIEW_NONE);
	assert_int_equal(v->failure, TLS_FAILURE_STS_INVALID);
	assert_int_equal(fake_fetch_count(), 0);
	later(101);
	(void)look();
	assert_int_equal(fake_fetch_count(), 1);
	assert_int_equal(parent.last.failures, 4);
	/* A time that no back-off gives comes of a wrong clock. */
	use_conf("");
	parent.row.next_try_s = NOW_S + 365 * DAY_S;
	(void)look();
	assert_int_equal(fake_fetch_count(), 2);
	forget_row();
}

/* When it is we who cannot fetch, that is no failure of the domain's: nothing
 * is stored, mail waits or goes by what is in force. */
static void
test_local(void **state)
{
	const struct sts_view *v;

	(void)state;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	fake_fetch_local();
	v = look();
	assert_int_equal(v->what, STS_VIEW_DEFER);
	assert_int_equal(v->failure, TLS_FAILURE_NONE);
	assert_non_null(strstr(v->later.text, "it does not answer"));
	assert_int_equal(parent.failed, 0);
	later(6);
	fake_fetch_text(ENFORCE);
	assert_int_equal(look()->source, STS_SOURCE_FETCHED);
	restart(ENFORCE, "0", NOW_S + DAY_S);
	fake_fetch_local();
	v = look();
	assert_int_equal(v->what, STS_VIEW_POLICY);
	assert_string_equal(v->id, "0");
	take_refresh_of(8);
	assert_int_equal(parent.absent, 1);
	assert_int_equal(parent.last_id, 8);
	assert_int_equal(parent.failed, 0);
	forget_row();
}

static void
test_mode_none(void **state)
{
	const struct sts_view *v;

	(void)state;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	fake_fetch_text(NONE);
	v = look();
	assert_int_equal(v->what, STS_VIEW_POLICY);
	assert_int_equal(v->policy->mode, STS_MODE_NONE);
	later(400);
	(void)look();
	assert_int_equal(fake_fetch_count(), 1);
}

static void
test_expiry(void **state)
{
	(void)state;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	fake_fetch_text(ENFORCE);
	(void)look();
	later(604801);
	fake_fetch_fail(TLS_FAILURE_STS_FETCH);
	assert_int_equal(look()->what, STS_VIEW_NONE);
	assert_int_equal(fake_fetch_count(), 2);
}

/* The clock is set while we run: far back a policy stays in force; far ahead it
 * has expired, and comes back with the right time, whatever could be fetched
 * meanwhile.  Nobody waits for a wrong time to come. */
static void
test_clock(void **state)
{
	const int64_t began_ms = clock_wall_ms();
	int64_t passed_ms = 0;
	static const int64_t years[] = { -20, 20, -1, 1, -40, 40 };

	(void)state;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	fake_fetch_text(ENFORCE);
	(void)look();
	fake_fetch_fail(TLS_FAILURE_STS_WEBPKI);
	for (size_t i = 0; i < sizeof(years) / sizeof(years[0]); i++) {
		passed_ms += STS_FRESH_MAX_MS;
		clock_test_set(began_ms + passed_ms);
		clock_test_wall(began_ms + passed_ms + years[i] * 365 *
			DAY_S * 1000);
		assert_int_equal(sts_view_enforces(look()), years[i] < 0);
		passed_ms += STS_FRESH_MAX_MS;
		clock_test_set(began_ms + passed_ms);
		assert_true(sts_view_enforces(look()));
		/* A new id is fetched now, not in twenty years. */
		fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, i % 2 == 0 ?
			RECORD("2") : RECORD("1"));
		fake_fetch_text(ENFORCE);
		passed_ms += STS_FRESH_MAX_MS;
		clock_test_set(began_ms + passed_ms);
		assert_string_equal(look()->id, i % 2 == 0 ? "2" : "1");
		fake_fetch_fail(TLS_FAILURE_STS_WEBPKI);
	}
}

/* ---- the parent ---- */

static void
test_parent_silent(void **state)
{
	const struct sts_view *v;

	(void)state;
	parent.mute = true;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	fake_fetch_text(ENFORCE);
	(void)sts_lookup_start(table, "d.example", on_view, NULL);
	for (int i = 0; i < 500 && view_count == 0; i++) {
		struct timespec nap = { 0, 10000000 };

		turn(2);
		(void)nanosleep(&nap, NULL);
	}
	assert_int_equal(view_count, 1);
	v = views[0];
	assert_int_equal(v->what, STS_VIEW_DEFER);
	assert_int_equal(fake_fetch_count(), 0);
	/* Its answer is late; the next question gets a new one. */
	answer(parent.held, "d.example");
	turn(5);
	assert_int_equal(view_count, 1);
	parent.mute = false;
	later(6);
	assert_int_equal(look()->what, STS_VIEW_POLICY);
	assert_int_equal(parent.gets, 2);
}

/* Whichever comes last. */
static void
test_order(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		restart(ENFORCE, "1", NOW_S + DAY_S);
		fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
		fake_dns_hold(i == 0);
		parent.holding = i == 1;
		(void)sts_lookup_start(table, "d.example", on_view, NULL);
		turn(10);
		assert_int_equal(view_count, i);
		/* Foreign and unasked answers count for nothing. */
		answer(parent.held + 1, "d.example");
		answer(0, "d.example");
		answer(parent.held, "other.example");
		turn(10);
		assert_int_equal(view_count, i);
		if (i == 0)
			fake_dns_hold(false);
		else
			answer(parent.held, "d.example");
		turn(10);
		assert_int_equal(view_count, i + 1);
		assert_string_equal(views[i]->id, "1");
	}
	forget_row();
}

/* What the store gives is read anew; damage counts as nothing. */
static void
test_stored_damage(void **state)
{
	(void)state;
	restart("version: STSv1\nmode: enforce\n", "1", NOW_S + DAY_S);
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	fake_fetch_text(ENFORCE);
	assert_int_equal(look()->source, STS_SOURCE_FETCHED);
	forget_row();
}

static void
test_used(void **state)
{
	(void)state;
	restart(ENFORCE, "1", NOW_S + 30 * DAY_S);
	parent.row.used_s = NOW_S - 2 * DAY_S;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	(void)look();
	assert_int_equal(parent.used, 1);
	assert_int_equal(parent.last.used_s, NOW_S);
	later(DAY_S - 10);
	(void)look();
	assert_int_equal(parent.used, 1);
	later(20);
	(void)look();
	assert_int_equal(parent.used, 2);
	later(3600);
	(void)look();
	assert_int_equal(parent.used, 2);
	forget_row();
}

static void
test_forget(void **state)
{
	const struct sts_view *v;

	(void)state;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	fake_fetch_text(ENFORCE);
	v = look();
	assert_true(sts_table_holds(table, "d.example", v));
	take(MSG_STS_FORGET, 0);
	assert_false(sts_table_holds(table, "d.example", v));
	fake_fetch_text(OTHER);
	v = look();
	assert_string_equal(v->policy->mx[0], "mx2.example");
	assert_int_equal(fake_fetch_count(), 2);
	/* Unknown domains, and while something is under way. */
	take(MSG_STS_FORGET, 0);
	fake_dns_hold(true);
	(void)sts_lookup_start(table, "d.example", on_view, NULL);
	turn(3);
	take(MSG_STS_FORGET, 0);
	fake_fetch_hold(true);
	fake_dns_hold(false);
	turn(5);
	take(MSG_STS_FORGET, 0);
	fake_fetch_hold(false);
	turn(5);
	assert_int_equal(view_count, 3);
	assert_int_equal(views[2]->what, STS_VIEW_POLICY);
	use_conf("");
	take(MSG_STS_FORGET, 0);
	assert_int_equal(sts_table_count(table), 0);
}

static void
test_refresh(void **state)
{
	(void)state;
	restart(ENFORCE, "1", NOW_S + DAY_S);
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	fake_fetch_text(OTHER);
	take(MSG_STS_REFRESH, 77);
	turn(10);
	assert_int_equal(fake_fetch_count(), 1);
	assert_int_equal(parent.fetched, 1);
	assert_int_equal(parent.last_id, 77);
	assert_int_equal(parent.last.used_s, 0);	/* nobody wrote */
	assert_int_equal(view_count, 0);
	/* What comes next is not a refresh any more. */
	later(400);
	assert_int_equal(look()->source, STS_SOURCE_CACHE);
	/* The record is gone: the policy is still fetched, its id stays. */
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_NXDOMAIN, NULL);
	take(MSG_STS_REFRESH, 78);
	turn(10);
	assert_int_equal(parent.fetched, 2);
	assert_int_equal(parent.last_id, 78);
	assert_string_equal(parent.last.id, "1");
	/* ... and when that is gone, too, it stays to its end. */
	fake_fetch_fail(TLS_FAILURE_STS_FETCH);
	take(MSG_STS_REFRESH, 79);
	turn(10);
	assert_int_equal(parent.absent, 1);
	assert_int_equal(parent.last_id, 79);
	assert_int_equal(look()->what, STS_VIEW_POLICY);
	/* A failed one backs off as others do. */
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	take(MSG_STS_REFRESH, 80);
	turn(10);
	assert_int_equal(parent.failed, 1);
	assert_int_equal(parent.last_id, 80);
	forget_row();
}

/* Of a domain that has nothing, nothing is fetched. */
static void
test_refresh_nothing(void **state)
{
	(void)state;
	take(MSG_STS_REFRESH, 5);
	turn(10);
	assert_int_equal(parent.absent, 1);
	assert_int_equal(parent.last_id, 5);
	assert_int_equal(fake_fetch_count(), 0);
}

/* A refresh that comes while a lookup is under way is served by it. */
static void
test_refresh_meanwhile(void **state)
{
	(void)state;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	fake_fetch_text(ENFORCE);
	fake_fetch_hold(true);
	(void)sts_lookup_start(table, "d.example", on_view, NULL);
	turn(5);
	take(MSG_STS_REFRESH, 9);
	fake_fetch_hold(false);
	turn(5);
	assert_int_equal(parent.last_id, 9);
	assert_int_equal(fake_fetch_count(), 1);
	assert_int_equal(view_count, 1);
}

/* ---- lists ---- */

static void
test_list(void **state)
{
	char mx[] = "*.listed.example";
	char *mxs[] = { mx };
	const struct sts_view *v;

	(void)state;
	parent.row.list_mode = MSG_STS_LIST_ENFORCE;
	parent.row.list_mx = mxs;
	parent.row.list_mx_count = 1;
	parent.row.list_expires_s = NOW_S + DAY_S;
	v = look();
	assert_int_equal(v->what, STS_VIEW_POLICY);
	assert_int_equal(v->source, STS_SOURCE_LIST);
	assert_int_equal(v->policy->mode, STS_MODE_ENFORCE);
	assert_string_equal(v->policy->mx[0], "*.listed.example");
	assert_int_equal(parent.used, 0);
	/* DNS that fails does not switch it off ... */
	later(301);
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_LATER, NULL);
	assert_int_equal(look()->source, STS_SOURCE_LIST);
	/* ... a policy of the domain's own takes its place ... */
	later(301);
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	fake_fetch_text(TESTING);
	assert_int_equal(look()->source, STS_SOURCE_FETCHED);
	/* ... and too old it is none. */
	use_conf("");
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_NXDOMAIN, NULL);
	later(DAY_S);
	assert_int_equal(look()->what, STS_VIEW_NONE);
	forget_row();
}

static char list_mx[] = "mx.listed.example";
static char *list_mxs[] = { list_mx };

static void
set_list(enum msg_sts_list mode, int64_t expires_s)
{
	parent.row.list_mode = mode;
	parent.row.list_mx = list_mxs;
	parent.row.list_mx_count = 1;
	parent.row.list_expires_s = expires_s;
}

/* One that has expired may have been replaced. */
static void
test_list_renewed(void **state)
{
	(void)state;
	set_list(MSG_STS_LIST_ENFORCE, NOW_S + DAY_S);
	assert_int_equal(look()->source, STS_SOURCE_LIST);
	later(DAY_S - 1);
	assert_int_equal(look()->source, STS_SOURCE_LIST);
	set_list(MSG_STS_LIST_ENFORCE, NOW_S + 2 * DAY_S);
	later(5);
	assert_int_equal(look()->source, STS_SOURCE_LIST);
	/* Nobody says whether there is a new one: that is not none. */
	parent.mute = true;
	later(DAY_S);
	(void)sts_lookup_start(table, "d.example", on_view, NULL);
	for (int i = 0; i < 500 && view_count == 3; i++) {
		struct timespec nap = { 0, 10000000 };

		turn(2);
		(void)nanosleep(&nap, NULL);
	}
	assert_int_equal(view_count, 4);
	assert_int_equal(views[3]->what, STS_VIEW_DEFER);
}

/* A list that comes later is heard of within the hour; what was fetched here is
 * not lost for it, even if the parent could not keep it. */
static void
test_list_later(void **state)
{
	(void)state;
	assert_int_equal(look()->what, STS_VIEW_NONE);
	set_list(MSG_STS_LIST_ENFORCE, NOW_S + DAY_S);
	later(3601);
	assert_int_equal(look()->source, STS_SOURCE_LIST);
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	fake_fetch_text(ENFORCE);
	later(3601);
	assert_int_equal(look()->source, STS_SOURCE_FETCHED);
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_NXDOMAIN, NULL);
	forget_row();
	later(3601);
	assert_int_equal(look()->source, STS_SOURCE_CACHE);
	assert_int_equal(fake_fetch_count(), 1);
}

/* A list in testing mode does not stand in for a policy that we cannot fetch;
 * one that protects does. */
static void
test_list_local(void **state)
{
	(void)state;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	fake_fetch_local();
	set_list(MSG_STS_LIST_TESTING, NOW_S + DAY_S);
	assert_int_equal(look()->what, STS_VIEW_DEFER);
	use_conf("");
	set_list(MSG_STS_LIST_ENFORCE, NOW_S + DAY_S);
	assert_int_equal(look()->source, STS_SOURCE_LIST);
}

/* What an operator forgets while it is fetched: the list stays, and what comes
 * without a record is nobody's policy. */
static void
test_forget_fetching(void **state)
{
	(void)state;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	set_list(MSG_STS_LIST_ENFORCE, NOW_S + DAY_S);
	fake_fetch_hold(true);
	(void)sts_lookup_start(table, "d.example", on_view, NULL);
	turn(5);
	take(MSG_STS_FORGET, 0);
	fake_fetch_hold(false);
	turn(5);
	assert_int_equal(view_count, 1);
	assert_int_equal(views[0]->source, STS_SOURCE_LIST);
	restart(ENFORCE, "1", NOW_S + DAY_S);
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_NXDOMAIN, NULL);
	fake_fetch_text(OTHER);
	fake_fetch_hold(true);
	take(MSG_STS_REFRESH, 5);
	turn(5);
	take(MSG_STS_FORGET, 0);
	forget_row();
	fake_fetch_hold(false);
	turn(5);
	assert_int_equal(parent.fetched, 0);
	assert_int_equal(parent.absent, 1);
	assert_int_equal(parent.last_id, 5);
	assert_int_equal(look()->what, STS_VIEW_NONE);
}

/* ---- recheck ---- */

static void
test_recheck(void **state)
{
	(void)state;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	fake_fetch_text(ENFORCE);
	(void)look();
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("2"));
	fake_fetch_text(OTHER);
	assert_ptr_equal(look(), views[0]);
	/* Nothing is younger than what was asked just now. */
	(void)sts_recheck_start(table, "d.example", on_view, NULL);
	turn(10);
	assert_ptr_equal(views[2], views[0]);
	assert_int_equal(fake_dns_forgotten(), 0);
	later(1);
	(void)sts_recheck_start(table, "d.example", on_view, NULL);
	turn(10);
	assert_int_equal(view_count, 4);
	assert_string_equal(views[3]->id, "2");
	assert_false(sts_view_same(views[0], views[3]));
	assert_false(sts_table_holds(table, "d.example", views[0]));
	assert_true(sts_table_holds(table, "d.example", views[3]));
	assert_int_equal(fake_dns_forgotten(), 1);
	/* Once a second, whoever asks. */
	for (int i = 0; i < 5; i++)
		(void)sts_recheck_start(table, "d.example", on_view, NULL);
	turn(10);
	assert_int_equal(view_count, 9);
	assert_int_equal(fake_dns_asked(), 2);
	later(1);
	(void)sts_recheck_start(table, "d.example", on_view, NULL);
	turn(10);
	assert_int_equal(fake_dns_asked(), 3);
	assert_int_equal(fake_fetch_count(), 2);
}

/* ---- life ---- */

/* Cancelled, or the table freed, after each number of turns. */
static void
test_cancel(void **state)
{
	(void)state;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	fake_fetch_text(ENFORCE);
	for (unsigned i = 0; i < 12; i++) {
		struct sts_lookup *a, *b;

		use_conf("");
		a = sts_lookup_start(table, "d.example", on_view, &a);
		b = sts_lookup_start(table, "d.example", on_view, &b);
		turn(i / 2);
		sts_lookup_cancel(&a);
		assert_null(a);
		sts_lookup_cancel(&a);
		if (i % 2 == 0) {
			turn(10);
			assert_null(b);
		}
		drop_views();
	}
}

static struct sts_lookup *victim;

static void
on_first(struct sts_view *view, void *arg)
{
	(void)arg;
	sts_view_unref(&view);
	sts_lookup_cancel(&victim);
	(void)sts_recheck_start(table, "d.example", on_view, NULL);
	(void)sts_lookup_start(table, "other.example", on_view, NULL);
}

/* A callback may start and cancel what it likes. */
static void
test_within(void **state)
{
	(void)state;
	(void)sts_lookup_start(table, "d.example", on_first, NULL);
	victim = sts_lookup_start(table, "d.example", on_view, &victim);
	turn(20);
	assert_int_equal(view_count, 2);
	assert_null(victim);
}

/* Names up to the greatest length; with the label in front they may be too
 * long for a record. */
static void
test_long_name(void **state)
{
	char name[260];
	size_t len = 0;

	(void)state;
	while (len < 245)
		len += (size_t)snprintf(name + len, sizeof(name) - len,
			"%s", "abcdefg.");
	(void)snprintf(name + len, sizeof(name) - len, "d.ex");
	assert_true(str_is_domain(name));
	(void)sts_lookup_start(table, name, on_view, NULL);
	assert_int_equal(view_count, 0);
	turn(10);
	assert_int_equal(view_count, 1);
	assert_int_equal(views[0]->what, STS_VIEW_NONE);
	assert_int_equal(fake_dns_asked(), 0);
}

/* More domains than are kept: those not used for longest go, a view that
 * somebody has stays. */
static void
test_bound(void **state)
{
	struct sts_view *kept;
	char name[64];

	(void)state;
	fake_dns_set(TXT, DNS_TYPE_TXT, DNS_FOUND, RECORD("1"));
	fake_fetch_text(ENFORCE);
	(void)look();
	kept = sts_view_ref(views[0]);
	for (unsigned i = 0; i < STS_ENTRIES_MAX + 50; i++) {
		(void)snprintf(name, sizeof(name), "d%u.example", i);
		(void)sts_lookup_start(table, name, on_view, NULL);
		turn(3);
		drop_views();
	}
	assert_true(sts_table_count(table) <= STS_ENTRIES_MAX + 1);
	assert_string_equal(kept->id, "1");
	assert_true(sts_table_holds(table, "d.example", kept));
	sts_view_unref(&kept);
	/* It is asked for again, and the parent has it. */
	restart(ENFORCE, "1", NOW_S + DAY_S);
	assert_int_equal(look()->source, STS_SOURCE_CACHE);
	forget_row();
}

#define T(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(none), T(first), T(crowd), T(restart), T(stays),
		T(dns_failure), T(new_id), T(backoff), T(backoff_of_id),
		T(backoff_stored), T(local), T(mode_none), T(expiry), T(clock),
		T(parent_silent), T(order), T(stored_damage), T(used),
		T(forget), T(refresh), T(refresh_nothing),
		T(refresh_meanwhile), T(list), T(list_renewed), T(list_later),
		T(list_local), T(forget_fetching), T(backoff_ttl),
		T(recheck), T(cancel),
		T(within), T(long_name), T(bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
