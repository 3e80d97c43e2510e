/*
 * Whose turn it is: no destination takes all, nor do retries; those that are
 * down or paused wait as a whole; a damaged message stops nobody.
 */
#include "config.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/str.h"
#include "smtpd-out/queue/queue_hold.h"
#include "smtpd-out/queue/queue_int.h"
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

/* One with very much leaves room, and the next one's only message is out at
 * once, not behind it. */
static void
test_one_has_much(void **state)
{
	(void)state;
	fq_use_conf("limit { active = 100 }");
	submit_many("a@big.example", 500);
	fq_run_ms(60);
	assert_int_equal(jobs_of("big.example"), 2);
	/* It gets more as it takes more, but not all. */
	for (int i = 0; i < 100; i++) {
		fq_answer(fq_job("big.example"), 250);
		fq_turn();
	}
	assert_in_range(jobs_of("big.example"), 10, 25);
	submit_many("a@small.example", 1);
	assert_int_equal(jobs_of("small.example"), 1);
}

/* Hundreds that take all they may and never answer: there is still room. */
static void
test_many_are_slow(void **state)
{
	char rcpt[64];

	(void)state;
	fq_use_conf("limit { active = 100 }");
	for (unsigned i = 0; i < 15; i++)
		for (unsigned d = 0; d < 60; d++) {
			(void)snprintf(rcpt, sizeof(rcpt), "a@slow%u.example",
				d);
			fq_submit("s@x.example", rcpt);
		}
	fq_turn();
	fq_run_ms(100);
	for (unsigned d = 0; d < 60; d++) {
		(void)snprintf(rcpt, sizeof(rcpt), "slow%u.example", d);
		assert_in_range(jobs_of(rcpt), 1, 20);
	}
	assert_in_range(fq_open_jobs(), 60, 95);
	submit_many("a@small.example", 1);
	assert_int_equal(jobs_of("small.example"), 1);
}

/* Whoever waits on disk gets its turn, each as soon as the others. */
static void
test_in_turn(void **state)
{
	size_t done[3] = { 0 };

	(void)state;
	fq_use_conf("limit { active = 12 }");
	fq_worker = 0;
	submit_many("a@a.example", 200);
	submit_many("a@b.example", 20);
	submit_many("a@c.example", 20);
	fq_worker = WORKER_ID;
	queue_kick(fq);
	fq_run_ms(60);
	for (int i = 0; i < 2000 && done[1] + done[2] < 40; i++) {
		struct job *j = NULL;

		for (size_t n = 0; n < fq_job_count && j == NULL; n++)
			if (!fq_jobs[n].answered)
				j = &fq_jobs[n];
		if (j == NULL) {
			fq_run_ms(25);
			continue;
		}
		done[j->msg.destination[0] - 'a']++;
		fq_answer(j, 250);
		fq_turn();
	}
	assert_int_equal(done[1] + done[2], 40);
	assert_true(done[0] < 100);
}

/* Retries leave room for new mail, and new mail for retries. */
static void
test_classes(void **state)
{
	char rcpt[64];

	(void)state;
	fq_use_conf("limit { active = 64 }");
	for (unsigned d = 0; d < 200; d++) {
		struct job *j;

		(void)snprintf(rcpt, sizeof(rcpt), "a@old%u.example", d);
		submit_many(rcpt, 1);
		(void)snprintf(rcpt, sizeof(rcpt), "old%u.example", d);
		j = fq_job(rcpt);
		assert_non_null(j);
		fq_answer(j, 450);
		fq_turn();
	}
	fq_advance(2 * HOUR);
	assert_int_equal(fq_open_jobs(), 48);
	for (unsigned d = 0; d < 200; d++) {
		(void)snprintf(rcpt, sizeof(rcpt), "a@new%u.example", d);
		submit_many(rcpt, 1);
	}
	fq_run_ms(60);
	assert_int_equal(fq_open_jobs(), 64);
	for (size_t i = 0; i < fq_job_count; i++)
		if (!fq_jobs[i].answered && fq_jobs[i].msg.attempt == 2) {
			fq_answer(&fq_jobs[i], 250);
			break;
		}
	fq_run_ms(60);
	assert_int_equal(fq_open_jobs(), 64);
}

/* What is waiting is not asked about again and again. */
static void
test_no_rewalk(void **state)
{
	(void)state;
	fq_worker = 0;
	submit_many("a@a.example", 300);
	fq_run_ms(300);
	fq_asked = 0;
	fq_run_ms(1000);
	assert_true(fq_asked < 20);
}

static void
hold(const char *destination, int64_t until_ms)
{
	struct msg_dest_hold msg = { .until_s = until_ms / 1000,
		.outcome = outcome_child_died() };

	(void)str_copy(msg.destination, sizeof(msg.destination), destination);
	queue_dest_hold(fq, &msg);
	fq_turn();
}

static void
test_hold(void **state)
{
	struct queue_dest d;

	(void)state;
	submit_many("a@a.example", 1);
	hold("a.example", T0 + 600000);
	fq_answer(fq_job("a.example"), 450);
	submit_many("a@a.example", 5);
	fq_run_ms(60);
	assert_int_equal(jobs_of("a.example"), 0);
	submit_many("a@b.example", 1);
	assert_int_equal(jobs_of("b.example"), 1);
	queue_dest(fq, "a.example", &d);
	assert_int_equal(d.hold_until_ms, T0 + 600000);
	assert_non_null(strstr(d.why, "delivery process"));
	/* Not even those that are due before it ends, however often. */
	fq_advance(590000);
	fq_run_ms(100);
	assert_int_equal(jobs_of("a.example"), 0);
	fq_advance(10001);
	fq_run_ms(100);
	assert_int_equal(jobs_of("a.example"), 6);
	/* Nobody counted an attempt. */
	for (size_t i = 0; i < fq_job_count; i++)
		assert_true(fq_jobs[i].msg.attempt <= 2);
	queue_dest(fq, "a.example", &d);
	assert_int_equal(d.hold_until_ms, 0);
}

static void
test_hold_ends_early(void **state)
{
	(void)state;
	hold("a.example", T0 + 600000);
	submit_many("a@a.example", 3);
	fq_run_ms(60);
	assert_int_equal(jobs_of("a.example"), 0);
	hold("a.example", 0);
	fq_run_ms(60);
	assert_int_equal(jobs_of("a.example"), 3);
}

/* No longer than the longest retry interval, whatever a worker says. */
static void
test_hold_bound(void **state)
{
	(void)state;
	hold("a.example", T0 + 1000 * HOUR);
	submit_many("a@a.example", 1);
	fq_advance(HOUR + 1000);
	fq_run_ms(60);
	assert_int_equal(jobs_of("a.example"), 1);
}

/* The senders hear of it in time, though nothing was tried, and of the end. */
static void
test_hold_notices(void **state)
{
	struct job *notice;

	(void)state;
	fq_use_conf("retry { delay-notice = 30m max = 100h expire = 2h }");
	hold("a.example", T0 + 50 * HOUR);
	submit_many("a@a.example", 1);
	assert_int_equal(fq_open_jobs(), 0);
	fq_advance(HOUR / 2 + 1000);
	fq_run_ms(1100);
	notice = fq_job("x.example");
	assert_non_null(notice);
	assert_non_null(strstr(notice->body, "delivery process"));
	fq_answer(notice, 250);
	fq_turn();
	assert_int_equal(fq_spool_stats().messages, 1);
	assert_int_equal(jobs_of("a.example"), 0);
	fq_restart();		/* for the timer */
	hold("a.example", T0 + 50 * HOUR);
	fq_advance(2 * HOUR);
	fq_run_ms(1100);
	notice = fq_job("x.example");
	assert_non_null(notice);
	assert_non_null(strstr(notice->body, "5.4.7"));
	assert_null(fq_job("a.example"));
}

/* Those whose mail is not old enough yet do not take all turns. */
static void
test_hold_notices_in_turn(void **state)
{
	char name[32], rcpt[64];

	(void)state;
	fq_use_conf("retry { delay-notice = 30m max = 100h expire = 20h }");
	for (unsigned i = 0; i < 40; i++) {
		(void)snprintf(name, sizeof(name), "n%u.example", i);
		hold(name, T0 + 50 * HOUR);
	}
	hold("old.example", T0 + 50 * HOUR);
	submit_many("a@old.example", 1);
	fq_advance(HOUR / 4);
	for (unsigned i = 0; i < 40; i++) {
		(void)snprintf(rcpt, sizeof(rcpt), "a@n%u.example", i);
		submit_many(rcpt, 1);
	}
	fq_advance(HOUR / 4 + 1000);
	for (unsigned i = 0; i < 4 && fq_job("x.example") == NULL; i++) {
		event_active(fq->expire_ev, EV_TIMEOUT, 0);
		fq_turn();
	}
	assert_non_null(fq_job("x.example"));
	assert_non_null(strstr(fq_job("x.example")->body, "old.example"));
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

static void
test_pause(void **state)
{
	(void)state;
	pause_it("a.example", true);
	pause_it(".parent.example", true);
	submit_many("a@a.example b@b.parent.example c@c.example", 3);
	fq_run_ms(60);
	assert_int_equal(jobs_of("a.example"), 0);
	assert_int_equal(jobs_of("b.parent.example"), 0);
	assert_int_equal(jobs_of("c.example"), 3);
	/* It stays so. */
	fq_restart();
	fq_advance(HOUR);
	fq_run_ms(200);
	assert_int_equal(jobs_of("a.example"), 0);
	assert_int_equal(jobs_of("b.parent.example"), 0);
	pause_it("a.example", false);
	fq_run_ms(200);
	assert_int_equal(jobs_of("a.example"), 3);
	assert_int_equal(jobs_of("b.parent.example"), 0);
	pause_it(".parent.example", false);
	fq_run_ms(200);
	assert_int_equal(jobs_of("b.parent.example"), 3);
}

/* A pause that was ended just before a crash leaves nothing behind. */
static void
test_pause_sweep(void **state)
{
	(void)state;
	pause_it("a.example", true);
	submit_many("a@a.example", 2);
	fq_run_ms(60);
	assert_int_equal(spool_begin(fq_spool), ST_OK);
	assert_int_equal(spool_dest_rule_put(fq_spool,
		&(struct spool_dest_rule){ .name = "a.example" }), ST_OK);
	assert_int_equal(spool_commit(fq_spool), ST_OK);
	fq_restart();
	fq_run_ms(200);
	assert_int_equal(jobs_of("a.example"), 2);
}

static void
test_limits(void **state)
{
	struct spool_dest_rule rule = { .name = ".a.example",
		.bounds = { 3, 4, { 5, 60000 } } };
	const struct spool_dest_rule *rules;
	struct queue_dest d;

	(void)state;
	assert_int_equal(queue_rule_set(fq, &rule), ST_OK);
	fq_restart();
	assert_int_equal(queue_rules(fq, &rules), 1);
	queue_dest(fq, "b.a.example", &d);
	assert_int_equal(d.bounds.connections, 3);
	assert_int_equal(d.bounds.recipients, 4);
	assert_int_equal(d.bounds.rate.count, 5);
	/* No more is with a worker than its rate takes soon. */
	submit_many("a@b.a.example", 50);
	fq_run_ms(60);
	assert_int_equal(jobs_of("b.a.example"), 1);
	memset(&rule.bounds, 0, sizeof(rule.bounds));
	assert_int_equal(queue_rule_set(fq, &rule), ST_OK);
	assert_int_equal(queue_rules(fq, &rules), 0);
	fq_run_ms(60);
	assert_int_equal(jobs_of("b.a.example"), 8);
}

static void
run_sql(const char *sql)
{
	assert_int_equal(sqlite3_exec(fq_spool->db, sql, NULL, NULL, NULL),
		SQLITE_OK);
}

/* The others of its destination, and of all, go out; it can be removed. */
static void
test_damaged(void **state)
{
	uint64_t count = 0;

	(void)state;
	fq_worker = 0;
	submit_many("a@a.example", 4);
	run_sql("DELETE FROM message WHERE id = (SELECT min(id) FROM message "
		"WHERE id > (SELECT min(id) FROM message)); UPDATE body SET "
		"data = x'00' WHERE id = (SELECT max(id) FROM message)");
	submit_many("a@b.example", 1);
	fq_worker = WORKER_ID;
	queue_kick(fq);
	fq_run_ms(60);
	assert_int_equal(jobs_of("a.example"), 2);
	assert_int_equal(jobs_of("b.example"), 1);
	while (fq_open_jobs() > 0) {
		for (size_t i = 0; i < fq_job_count; i++)
			if (!fq_jobs[i].answered)
				fq_answer(&fq_jobs[i], 250);
		fq_run_ms(30);
	}
	assert_int_equal(fq_spool_stats().deliveries, 2);
	assert_int_equal(spool_begin(fq_spool), ST_OK);
	for (unsigned i = 1; i <= 4; i++)
		assert_int_equal(spool_purge(fq_spool,
			fq_requests[i].accepted, &count), ST_OK);
	assert_int_equal(spool_commit(fq_spool), ST_OK);
	assert_int_equal(count, 2);
	assert_int_equal(fq_spool_stats().deliveries, 0);
	assert_int_equal(fq_spool_stats().recipients, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fq_setup, fq_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_one_has_much), T(test_many_are_slow), T(test_in_turn),
		T(test_classes), T(test_no_rewalk), T(test_hold),
		T(test_hold_ends_early), T(test_hold_bound),
		T(test_hold_notices), T(test_hold_notices_in_turn),
		T(test_pause), T(test_pause_sweep),
		T(test_limits), T(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
