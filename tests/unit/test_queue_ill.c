/*
 * A queue that things go wrong around: rows that cannot be stored, a disk that
 * is full for a while, a clock that was set, mail that piles up.  What is ill
 * must stop nothing else, and nothing may be forgotten.
 */
#include "config.h"

#include <event2/event.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/queue/queue_hold.h"
#include "smtpd-out/queue/queue_lane.h"
#include "spool/spool_int.h"
#include "tests/unit/queue_fake.h"

static size_t
jobs_of(const char *destination)
{
	size_t n = 0;

	for (size_t i = 0; i < fq_job_count; i++)
		n += !fq_jobs[i].answered &&
			strcmp(fq_jobs[i].msg.destination, destination) == 0;
	return n;
}

static void
submit_many(const char *rcpt, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		fq_submit("s@x.example", rcpt);
	fq_turn();
}

static void
answer_all(int code)
{
	for (size_t i = 0; i < fq_job_count; i++)
		if (!fq_jobs[i].answered)
			fq_answer(&fq_jobs[i], code);
	fq_run_ms(40);
}

static void
run_sql(const char *sql)
{
	char *why = NULL;

	if (sqlite3_exec(fq_spool->db, sql, NULL, NULL, &why) != SQLITE_OK)
		fail_msg("%s", why);
}

static void
pause_it(const char *name, bool paused)
{
	struct spool_dest_rule rule;

	queue_rule_get(fq, false, name, &rule);
	rule.paused = paused;
	assert_int_equal(queue_rule_set(fq, &rule), ST_OK);
	fq_run_ms(60);
}

/* ---- results that cannot be stored ---- */

/* One of them keeps nobody else's mail from going out, nor is it sent again;
 * it is stored when it can be. */
static void
test_one_result_is_ill(void **state)
{
	struct queue_stats before;

	(void)state;
	submit_many("a@a.example", 1);
	submit_many("a@b.example", 1);
	run_sql("CREATE TABLE kept AS SELECT * FROM message; DELETE FROM "
		"message WHERE id = (SELECT min(id) FROM message)");
	answer_all(250);
	assert_int_equal(fq_spool_stats().deliveries, 1);
	before = fq_stats();
	submit_many("a@c.example", 20);
	assert_in_range(jobs_of("c.example"), 1, 20);
	/* Nor does it make each commit two. */
	assert_int_equal(fq_stats().commits, before.commits + 1);
	answer_all(250);
	while (jobs_of("c.example") > 0)
		answer_all(250);
	fq_advance(HOUR);
	assert_int_equal(jobs_of("a.example"), 0);
	run_sql("INSERT INTO message SELECT * FROM kept WHERE id NOT IN "
		"(SELECT id FROM message) AND id = (SELECT min(id) FROM kept)");
	assert_true(queue_flush(fq));
	assert_int_equal(fq_spool_stats().deliveries, 0);
	fq_advance(HOUR);
	assert_int_equal(jobs_of("a.example"), 0);
}

/* Many of them are no chance: nothing more is handed out, that could be sent
 * twice. */
static void
test_results_are_ill(void **state)
{
	char rcpt[64];

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(rcpt, sizeof(rcpt), "a@d%u.example", i);
		submit_many(rcpt, 1);
	}
	run_sql("CREATE TRIGGER ill BEFORE DELETE ON recipient BEGIN "
		"SELECT raise(ABORT, 'no'); END");
	answer_all(250);
	submit_many("a@more.example", 1);
	assert_int_equal(jobs_of("more.example"), 0);
	run_sql("DROP TRIGGER ill");
	assert_true(queue_flush(fq));
	queue_kick(fq);
	fq_run_ms(60);
	assert_int_equal(jobs_of("more.example"), 1);
	assert_int_equal(fq_spool_stats().deliveries, 1);
}

/* The row of its destination is lost or wrong: counted again. */
static void
test_lost_row(void **state)
{
	(void)state;
	submit_many("a@a.example", 2);
	submit_many("a@b.example", 2);
	run_sql("DELETE FROM destination WHERE name = 'a.example'; "
		"UPDATE destination SET deliveries = 1 "
		"WHERE name = 'b.example'");
	answer_all(250);
	assert_int_equal(fq_spool_stats().deliveries, 0);
	submit_many("a@c.example", 1);
	assert_int_equal(jobs_of("c.example"), 1);
}

/* Mail without a row of its destination would never be found. */
static void
test_lost_row_at_start(void **state)
{
	(void)state;
	fq_worker = 0;
	submit_many("a@a.example", 2);
	submit_many("a@b.example", 2);
	submit_many("a@c.example", 2);
	run_sql("DELETE FROM destination WHERE name <> 'b.example'");
	fq_restart();
	fq_worker = WORKER_ID;
	fq_run_ms(5200);
	fq_advance(61000);
	assert_int_equal(jobs_of("a.example"), 2);
	assert_int_equal(jobs_of("b.example"), 2);
	assert_int_equal(jobs_of("c.example"), 2);
}

/* ---- a resume that cannot be stored ---- */

static void
test_resume_on_full_disk(void **state)
{
	(void)state;
	pause_it("a.example", true);
	submit_many("a@a.example", 2);
	fq_run_ms(60);
	run_sql("CREATE TRIGGER full BEFORE UPDATE ON destination BEGIN "
		"SELECT raise(ABORT, 'no'); END");
	pause_it("a.example", false);
	fq_run_ms(100);
	assert_int_equal(jobs_of("a.example"), 0);
	run_sql("DROP TRIGGER full");
	fq_run_ms(1500);
	assert_int_equal(jobs_of("a.example"), 2);
}

/* One damaged rule does not end the others. */
static void
test_damaged_rule(void **state)
{
	struct spool_dest_rule rule = { .name = "b.example",
		.bounds = { .connections = 3 } };

	(void)state;
	pause_it("a.example", true);
	assert_int_equal(queue_rule_set(fq, &rule), ST_OK);
	run_sql("UPDATE destination_rule SET connections = -5, rate = -1");
	fq_restart();
	submit_many("a@a.example", 1);
	submit_many("a@b.example", 1);
	fq_run_ms(60);
	assert_int_equal(jobs_of("a.example"), 0);
	assert_int_equal(jobs_of("b.example"), 1);
}

/* ---- much of something ---- */

/* All expire at once, and in minutes, not days. */
static void
test_many_expire(void **state)
{
	(void)state;
	fq_use_conf("retry { expire = 1h  delay-notice = 0s }");
	pause_it("a.example", true);
	for (unsigned i = 0; i < 600; i++)
		fq_submit("", "a@a.example");
	fq_turn();
	fq_restart();
	fq_advance(2 * HOUR);
	fq_run_ms(3000);
	assert_int_equal(fq_spool_stats().deliveries, 0);
}

/* Those that were paused do not all come to memory at once. */
static void
test_many_resume(void **state)
{
	char rcpt[64];

	(void)state;
	fq_use_conf("limit { active = 4 }");
	pause_it(".x.example", true);
	for (unsigned i = 0; i < 400; i++) {
		(void)snprintf(rcpt, sizeof(rcpt), "a@n%u.x.example", i);
		fq_submit("s@x.example", rcpt);
	}
	fq_turn();
	fq_run_ms(200);
	assert_int_equal(fq_open_jobs(), 0);
	pause_it(".x.example", false);
	fq_run_ms(300);
	assert_in_range(lanes_ready(fq, SPOOL_NEW), 1, 130);
	for (unsigned i = 0; i < 1000 && fq_spool_stats().deliveries > 0; i++)
		answer_all(250);
	assert_int_equal(fq_spool_stats().deliveries, 0);
}

/* Slow hosts with messages that are not small keep nobody waiting. */
static void
test_many_bytes(void **state)
{
	static char body[200001];
	char rcpt[64];

	(void)state;
	memset(body, 'x', sizeof(body) - 1);
	for (unsigned i = 0; i < 500; i++) {
		(void)snprintf(rcpt, sizeof(rcpt), "a@slow%u.example", i);
		fq_submit_env(fq_envelope("s@x.example", rcpt), body);
		fq_turn();
	}
	fq_run_ms(200);
	assert_int_equal(fq_open_jobs(), 500);
	submit_many("a@quick.example", 1);
	assert_int_equal(jobs_of("quick.example"), 1);
	assert_true(fq_stats().active_bytes <= 32U << 20);
	for (size_t i = 0; i < fq_job_count; i++)
		assert_int_equal(strlen(fq_jobs[i].body),
			fq_jobs[i].msg.env->size_bytes);
}

/* Messages with very many recipients do not fill memory: neither those that
 * wait for their results, nor what came of some. */
static void
test_many_recipients(void **state)
{
	size_t before, out = 0;
	struct job *j;

	(void)state;
	submit_many("a@a.example", 60);
	while (fq_open_jobs() > 0)
		answer_all(250);	/* its window is wide now */
	before = mallinfo2().uordblks + mallinfo2().hblkhd;
	for (unsigned i = 0; i < 20; i++) {
		struct envelope *env = envelope_new("s@x.example");

		for (unsigned n = 0; n < 1000; n++)
			envelope_add_rcpt(env, "a@a.example", "a.example");
		fq_submit_env(env, "x\r\n");
		fq_turn();
	}
	fq_run_ms(60);
	for (size_t i = 0; i < fq_job_count; i++)
		if (!fq_jobs[i].answered)
			out += fq_jobs[i].msg.env->rcpt_count;
	assert_in_range(out, 2000, 5000);
	/* The fake worker has a copy of each, too. */
	assert_true(mallinfo2().uordblks + mallinfo2().hblkhd - before <
		2 * out * 300);
	j = fq_job("a.example");
	for (size_t i = 0; i < 900; i++)
		fq_answer_one(j, i, 250, false);
	fq_turn();
	assert_int_equal(fq_spool_stats().recipients, 19100);
	for (unsigned i = 0; i < 100 && fq_open_jobs() > 0; i++)
		for (size_t n = 0; n < fq_job_count; n++)
			if (!fq_jobs[n].answered) {
				fq_answer(&fq_jobs[n], 250);
				fq_turn();
			}
	assert_int_equal(fq_spool_stats().deliveries, 0);
}

/* A message to very many destinations, some of them busy: all get it, and
 * nobody's walk begins anew for it. */
static void
test_many_destinations(void **state)
{
	struct envelope *env = envelope_new("s@x.example");
	char rcpt[64];

	(void)state;
	fq_run_ms(60);
	for (unsigned i = 180; i < 200; i++) {
		(void)snprintf(rcpt, sizeof(rcpt), "a@d%u.example", i);
		submit_many(rcpt, 1);
	}
	fq_run_ms(60);
	for (unsigned i = 0; i < 200; i++) {
		(void)snprintf(rcpt, sizeof(rcpt), "a@d%u.example", i);
		(void)envelope_add_rcpt(env, rcpt, rcpt + 2);
	}
	fq_submit_env(env, "x\r\n");
	fq_turn();
	assert_false(fq->kicked);
	fq_run_ms(200);
	assert_int_equal(fq_open_jobs(), 220);
}

/* Messages with very many recipients do not go into one transaction that holds
 * up the loop. */
static void
test_commit_in_parts(void **state)
{
	uint64_t before;
	char rcpt[64];

	(void)state;
	before = fq_stats().commits;
	for (unsigned i = 0; i < 10; i++) {
		struct envelope *env = envelope_new("s@x.example");

		for (unsigned n = 0; n < 1000; n++) {
			(void)snprintf(rcpt, sizeof(rcpt), "a@m%u.example", n);
			(void)envelope_add_rcpt(env, rcpt, rcpt + 2);
		}
		fq_submit_env(env, "x\r\n");
	}
	for (unsigned i = 0; i < 4; i++)
		fq_turn();
	assert_int_equal(fq_spool_stats().messages, 10);
	assert_true(fq_stats().commits - before >= 5);
}

/* An inject that sends without waiting fills no memory and no directory. */
static void
test_submits_bounded(void **state)
{
	unsigned accepted = 0, rejected = 0;

	(void)state;
	fq_use_conf("hostname = \"me.example\"\nlimit { free-space = 0  "
		"sessions = 10 }");
	for (unsigned i = 1; i <= 1500; i++)
		assert_int_equal(fq_submit("s@x.example", "a@a.example"), i);
	for (unsigned i = 0; i < 40; i++)
		fq_turn();
	for (unsigned i = 1; i <= 1500; i++) {
		accepted += fq_requests[i].accepted != 0;
		rejected += fq_requests[i].rejected == 451;
	}
	assert_int_equal(accepted, 1020);
	assert_int_equal(rejected, 480);
	for (unsigned i = 0; i < 1500; i++) {
		queue_body_open(fq, INJECT_ID, 1999);
		(void)close(fq_requests[1999].fd);
		fq_requests[1999].fd = -1;
		if (fq_requests[1999].rejected != 0)
			break;
		fq_requests[1999].token = 0;
	}
	assert_int_equal(fq_requests[1999].rejected, 451);
	assert_int_equal(fq_body_files(), 1020);
}

/* ---- what cannot be read just now ---- */

static void
test_unreadable_for_a_while(void **state)
{
	struct msg_submit msg = { .env = fq_envelope("s@x.example",
		"a@a.example") };
	static char body[BIG_BODY];
	struct rlimit old, none;

	(void)state;
	submit_many("a@a.example", 1);	/* keeps it in memory */
	queue_body_open(fq, INJECT_ID, 1000);
	msg.file_token = fq_requests[1000].token;
	msg.env->size_bytes = sizeof(body);
	memset(body, 'x', sizeof(body));
	assert_int_equal(write(fq_requests[1000].fd, body, sizeof(body)),
		sizeof(body));
	queue_submit(fq, INJECT_ID, 1001, &msg);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	fq_worker = 0;
	fq_turn();
	assert_true(fq_requests[1001].accepted != 0);
	none = old;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	fq_worker = WORKER_ID;
	fq_run_ms(400);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(jobs_of("a.example"), 1);
	clock_test_set(T0 + 61000);
	for (unsigned i = 0; i < 3; i++) {
		event_active(fq->due_ev, EV_TIMEOUT, 0);
		fq_turn();
	}
	assert_int_equal(jobs_of("a.example"), 2);
}

/* A job that fits no frame stops nobody. */
static void
test_job_too_large(void **state)
{
	struct envelope *env = envelope_new("s@x.example");
	static char orcpt[2001], rcpt[2001];

	(void)state;
	memset(orcpt, 'o', sizeof(orcpt) - 1);
	memset(rcpt, 'r', sizeof(rcpt) - 1);
	memcpy(rcpt + sizeof(rcpt) - 11, "@a.example", 10);
	for (unsigned i = 0; i < 6000; i++)
		envelope_add_rcpt(env, rcpt, "a.example")->orcpt =
			xstrdup(orcpt);
	fq_submit_env(env, "x\r\n");
	fq_turn();
	submit_many("a@a.example", 3);
	fq_run_ms(300);
	assert_int_equal(jobs_of("a.example"), 3);
}

/* A rate that the configuration no longer has keeps nothing back. */
static void
test_rate_ends_with_reload(void **state)
{
	struct conf *slow, *fast;
	char err[CONF_ERR_MAX];

	(void)state;
	assert_int_equal(conf_parse("t", "hostname = \"me.example\"\n"
		"limit { destination-rate = \"1/1m\" }", &slow, err), ST_OK);
	assert_int_equal(conf_parse("t", "hostname = \"me.example\"\n",
		&fast, err), ST_OK);
	queue_set_conf(fq, slow);
	submit_many("a@a.example", 20);
	fq_run_ms(60);
	assert_int_equal(jobs_of("a.example"), 1);
	queue_set_conf(fq, fast);
	queue_kick(fq);
	fq_run_ms(60);
	assert_int_equal(jobs_of("a.example"), 8);
	fq_restart();		/* with one of its own */
	conf_free(&slow);
	conf_free(&fast);
}

/* Very high ones do not wrap to very low ones. */
static void
test_high_rate(void **state)
{
	struct spool_dest_rule rule = { .name = "a.example",
		.bounds.rate = { 429497, 1000 } };

	(void)state;
	assert_int_equal(queue_rule_set(fq, &rule), ST_OK);
	submit_many("a@a.example", 20);
	fq_run_ms(60);
	assert_int_equal(jobs_of("a.example"), 8);
}

/* ---- the clock ---- */

/* Set back by years: what was to be tried later is tried. */
static void
test_clock_back(void **state)
{
	char name[64];

	(void)state;
	clock_test_set(T0 + 50000 * HOUR);
	fq_restart();
	submit_many("a@a.example", 3);
	answer_all(450);
	fq_worker = 0;
	submit_many("a@b.example", 3);
	for (unsigned i = 0; i < 90; i++) {
		(void)snprintf(name, sizeof(name), "a@n%u.example", i);
		fq_submit("s@x.example", name);
	}
	hold_park(fq, "c.example", clock_wall_ms() + HOUR);
	submit_many("a@c.example", 3);
	fq_worker = WORKER_ID;
	clock_test_set(T0);
	for (unsigned i = 0; i < 4; i++) {
		event_active(fq->clock_ev, EV_TIMEOUT, 0);
		fq_run_ms(300);
		fq_advance(HOUR);
	}
	assert_true(fq_stats().commits < 100);
	for (unsigned i = 0; i < 90; i++) {
		(void)snprintf(name, sizeof(name), "n%u.example", i);
		assert_int_equal(jobs_of(name), 1);
	}
	assert_int_equal(jobs_of("a.example"), 3);
	assert_int_equal(jobs_of("b.example"), 3);
	assert_int_equal(jobs_of("c.example"), 3);
}

/* A machine without a clock of its own starts in the past, and is told the time
 * later: the mail of before must not have expired by that. */
static void
test_clock_back_for_a_while(void **state)
{
	(void)state;
	submit_many("a@a.example", 1);
	answer_all(450);
	clock_test_set(HOUR);
	fq_restart();
	event_active(fq->clock_ev, EV_TIMEOUT, 0);
	fq_run_ms(100);
	assert_int_equal(jobs_of("a.example"), 1);
	answer_all(450);
	clock_test_set(T0 + HOUR);
	fq_advance(HOUR);
	assert_int_equal(jobs_of("a.example"), 1);
	answer_all(450);
	assert_int_equal(fq_spool_stats().deliveries, 1);
	assert_null(fq_job("x.example"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, fq_setup, fq_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_one_result_is_ill), T(test_results_are_ill),
		T(test_lost_row),
		T(test_lost_row_at_start), T(test_resume_on_full_disk),
		T(test_damaged_rule), T(test_many_expire),
		T(test_many_resume), T(test_many_bytes),
		T(test_many_destinations), T(test_many_recipients),
		T(test_commit_in_parts), T(test_submits_bounded),
		T(test_unreadable_for_a_while), T(test_job_too_large),
		T(test_rate_ends_with_reload), T(test_high_rate),
		T(test_clock_back), T(test_clock_back_for_a_while),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
