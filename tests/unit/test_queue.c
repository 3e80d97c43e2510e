/*
 * The queue manager: what is acknowledged is stored, what is stored is
 * delivered or reported, through every kind of failure around it.
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

#include "base/clock.h"
#include "base/mem.h"
#include "spool/spool_int.h"
#include "tests/unit/queue_fake.h"

static void
assert_empty(void)
{
	struct spool_stats s = fq_spool_stats();

	assert_int_equal(s.messages, 0);
	assert_int_equal(s.deliveries, 0);
	assert_int_equal(s.recipients, 0);
	assert_int_equal(fq_stats().active, 0);
	assert_int_equal(fq_stats().active_bytes, 0);
	assert_int_equal(fq_body_files(), 0);
}

/* ---- submissions ---- */

static void
test_accept(void **state)
{
	unsigned n = fq_submit("s@x.example", "a@y.example b@z.example "
		"c@y.example");

	(void)state;
	assert_int_equal(fq_requests[n].accepted, 0);	/* not yet */
	assert_int_equal(fq_spool_stats().messages, 0);
	fq_turn();
	assert_true(fq_requests[n].accepted != 0);
	assert_int_equal(fq_spool_stats().recipients, 3);
	assert_int_equal(fq_spool_stats().deliveries, 2);
	/* handed over at once, by destination */
	assert_int_equal(fq_job_count, 2);
	assert_int_equal(fq_job("y.example")->msg.env->rcpt_count, 2);
	assert_int_equal(fq_job("z.example")->msg.env->rcpt_count, 1);
	assert_int_equal(fq_job("y.example")->msg.attempt, 1);
	assert_non_null(strstr(fq_job("y.example")->body, "Hello"));
	assert_true(fq_job("y.example")->msg.env->received_ms == T0);
	fq_answer(fq_job("y.example"), 250);
	fq_answer(fq_job("z.example"), 250);
	fq_turn();
	assert_int_equal(fq_stats().sent, 3);
	assert_empty();
}

/* Five for each destination: one alone may not have many out. */
static unsigned
submit_spread(int i)
{
	char rcpt[32];

	(void)snprintf(rcpt, sizeof(rcpt), "a@y%d.example", i / 5);
	return fq_submit("s@x.example", rcpt);
}

static void
test_group_commit(void **state)
{
	unsigned first = 0, n = 0;

	(void)state;
	for (int i = 0; i < 50; i++) {
		n = submit_spread(i);
		first = first == 0 ? n : first;
	}
	fq_turn();
	assert_int_equal(fq_stats().commits, 1);
	assert_int_equal(fq_stats().accepted, 50);
	for (unsigned i = first; i <= n; i++)
		assert_true(fq_requests[i].accepted != 0);
	for (size_t i = 0; i < 50; i++)
		fq_answer(&fq_jobs[i], 250);
	fq_turn();
	assert_int_equal(fq_stats().commits, 2);
	assert_empty();
}

static void
test_disk_full_by_limit(void **state)
{
	unsigned n;

	(void)state;
	fq_use_conf("limit { free-space = 1125899906842624 }");
	n = fq_submit("s@x.example", "a@y.example");
	fq_turn();
	assert_int_equal(fq_requests[n].rejected, 452);
	assert_string_equal(fq_requests[n].enhanced, "4.3.1");
	queue_body_open(fq, INJECT_ID, 1000);
	assert_int_equal(fq_requests[1000].rejected, 452);
	assert_int_equal(fq_stats().rejected, 2);
	assert_int_equal(fq_job_count, 0);
	assert_empty();
}

static void
run_sql(const char *sql)
{
	assert_int_equal(sqlite3_exec(fq_spool->db, sql, NULL, NULL,
		NULL), SQLITE_OK);
}

/* The database can grow no more: what is too large is refused alone. */
static void
test_disk_full(void **state)
{
	struct envelope *big = fq_envelope("s@x.example", "a@y.example");
	char *body = xcalloc(900001, 1);
	unsigned small, large, after;

	(void)state;
	memset(body, 'x', 900000);
	run_sql("PRAGMA max_page_count = 60");
	small = fq_submit("s@x.example", "a@y.example");
	large = fq_submit_env(big, body);
	after = fq_submit("s@x.example", "a@z.example");
	fq_turn();
	assert_true(fq_requests[small].accepted != 0);
	assert_int_equal(fq_requests[large].rejected, 452);
	assert_true(fq_requests[after].accepted != 0);
	run_sql("PRAGMA max_page_count = 100000");
	large = fq_submit_env(fq_envelope("s@x.example", "a@y.example"),
		body);
	fq_turn();
	assert_true(fq_requests[large].accepted != 0);
	free(body);
}

/* ---- bodies in files ---- */

static uint64_t
open_file(unsigned request, size_t bytes)
{
	char block[1000];

	memset(block, 'b', sizeof(block));
	queue_body_open(fq, INJECT_ID, request);
	assert_true(fq_requests[request].token != 0);
	for (size_t i = 0; i < bytes; i += sizeof(block))
		assert_int_equal(write(fq_requests[request].fd, block,
			sizeof(block)), sizeof(block));
	return fq_requests[request].token;
}

static void
submit_file(uint64_t child, unsigned request, uint64_t token, uint64_t size)
{
	struct msg_submit msg = { .env = fq_envelope("s@x.example",
		"a@y.example"), .file_token = token };

	msg.env->size_bytes = size;
	queue_submit(fq, child, request, &msg);
	assert_null(msg.env);
	fq_turn();
}

static void
test_body_file(void **state)
{
	uint64_t token = open_file(1000, BIG_BODY);

	(void)state;
	submit_file(INJECT_ID, 1001, token, BIG_BODY);
	assert_true(fq_requests[1001].accepted != 0);
	assert_int_equal(fq_body_files(), 1);
	fq_run_ms(60);
	assert_int_equal(fq_job_count, 1);
	assert_int_equal(strlen(fq_jobs[0].body), BIG_BODY);
	/* The token is used up. */
	submit_file(INJECT_ID, 1002, token, BIG_BODY);
	assert_int_equal(fq_requests[1002].rejected, 451);
	queue_body_drop(fq, INJECT_ID, token);
	assert_int_equal(fq_body_files(), 1);
	fq_answer(&fq_jobs[0], 250);
	fq_turn();
	assert_empty();
}

static void
test_body_file_faults(void **state)
{
	uint64_t token = open_file(1000, BIG_BODY);

	(void)state;
	submit_file(INJECT_ID, 1001, token + 1, BIG_BODY);	/* unknown */
	assert_int_equal(fq_requests[1001].rejected, 451);
	submit_file(INJECT_ID + 1, 1002, token, BIG_BODY);	/* another's */
	assert_int_equal(fq_requests[1002].rejected, 451);
	queue_body_drop(fq, INJECT_ID + 1, token);
	assert_int_equal(fq_body_files(), 1);
	submit_file(INJECT_ID, 1003, token, BIG_BODY + 1);	/* cut */
	assert_int_equal(fq_requests[1003].rejected, 451);
	assert_int_equal(fq_body_files(), 0);
	token = open_file(1004, BIG_BODY);
	queue_body_drop(fq, INJECT_ID, token);
	submit_file(INJECT_ID, 1005, token, BIG_BODY);
	assert_int_equal(fq_requests[1005].rejected, 451);
	assert_empty();
}

/* A bad one in the batch takes no other with it. */
static void
test_bad_one_in_batch(void **state)
{
	struct msg_submit bad = { .env = fq_envelope("s@x.example",
		"a@y.example"), .file_token = open_file(1000, BIG_BODY) };
	unsigned before, after;

	(void)state;
	before = fq_submit("s@x.example", "a@y.example");
	bad.env->size_bytes = 1;
	queue_submit(fq, INJECT_ID, 1001, &bad);
	after = fq_submit("s@x.example", "a@y.example");
	fq_turn();
	assert_true(fq_requests[before].accepted != 0);
	assert_int_equal(fq_requests[1001].rejected, 451);
	assert_true(fq_requests[after].accepted != 0);
	assert_int_equal(fq_spool_stats().messages, 2);
	assert_int_equal(fq_body_files(), 0);
}

/* The same file for two messages of one batch. */
static void
test_file_twice(void **state)
{
	uint64_t token = open_file(1000, BIG_BODY);
	struct msg_submit msg = { .env = fq_envelope("s@x.example",
		"a@y.example"), .file_token = token };

	(void)state;
	msg.env->size_bytes = BIG_BODY;
	queue_submit(fq, INJECT_ID, 1001, &msg);
	submit_file(INJECT_ID, 1002, token, BIG_BODY);
	assert_true(fq_requests[1001].accepted != 0);
	assert_int_equal(fq_requests[1002].rejected, 451);
	assert_int_equal(fq_body_files(), 1);
	fq_run_ms(60);
	assert_int_equal(fq_job_count, 1);
	assert_int_equal(strlen(fq_jobs[0].body), BIG_BODY);
}

static void
test_inject_gone(void **state)
{
	uint64_t used = open_file(1000, BIG_BODY);
	struct msg_submit msg = { .env = fq_envelope("s@x.example",
		"a@y.example"), .file_token = used };

	(void)state;
	for (unsigned i = 1100; i < 1200; i++)
		(void)open_file(i, 1000);
	assert_int_equal(fq_body_files(), 101);
	msg.env->size_bytes = BIG_BODY;
	queue_submit(fq, INJECT_ID, 1001, &msg);
	/* What was submitted whole is kept, though nobody will hear of it. */
	queue_child_gone(fq, INJECT_ID, GONE_CRASHED, 0);
	fq_turn();
	assert_int_equal(fq_spool_stats().messages, 1);
	assert_int_equal(fq_body_files(), 1);
}

/* ---- results ---- */

static void
test_later(void **state)
{
	(void)state;
	fq_submit("s@x.example", "a@y.example");
	fq_turn();
	fq_answer(fq_job("y.example"), 450);
	fq_turn();
	assert_int_equal(fq_stats().deferred, 1);
	assert_int_equal(fq_stats().active, 0);
	fq_advance(60000);
	assert_int_equal(fq_open_jobs(), 0);	/* five minutes, spread 10% */
	fq_advance(5 * 60000);
	assert_int_equal(fq_open_jobs(), 1);
	assert_int_equal(fq_job("y.example")->msg.attempt, 2);
	fq_answer(fq_job("y.example"), 450);
	fq_turn();
	fq_advance(6 * 60000);
	assert_int_equal(fq_open_jobs(), 0);	/* ten by now */
	fq_advance(6 * 60000);
	assert_int_equal(fq_job("y.example")->msg.attempt, 3);
	fq_answer(fq_job("y.example"), 250);
	fq_turn();
	assert_empty();
}

static void
test_never(void **state)
{
	struct job *notice;

	(void)state;
	fq_submit("s@x.example", "a@y.example b@y.example");
	fq_turn();
	fq_answer(fq_job("y.example"), 550);
	fq_turn();
	assert_int_equal(fq_stats().bounced, 2);
	assert_int_equal(fq_spool_stats().messages, 1);	/* the notice */
	notice = fq_job("x.example");
	assert_non_null(notice);
	assert_string_equal(notice->msg.env->sender, "");
	assert_int_equal(notice->msg.env->rcpt_count, 1);
	assert_string_equal(notice->msg.env->rcpts[0].address, "s@x.example");
	assert_true((notice->msg.env->flags & ENVELOPE_BOUNCE) != 0);
	assert_non_null(strstr(notice->body, "Status: 5.1.1"));
	assert_non_null(strstr(notice->body, "a@y.example"));
	assert_non_null(strstr(notice->body, "b@y.example"));
	assert_non_null(strstr(notice->body, "Subject: test"));
	/* and it gets no notice of its own */
	fq_answer(notice, 550);
	fq_turn();
	assert_int_equal(fq_open_jobs(), 0);
	assert_empty();
}

/* Nothing is told of what nobody wants to hear. */
static void
test_no_notice(void **state)
{
	struct envelope *env = fq_envelope("s@x.example", "a@y.example");

	(void)state;
	fq_submit("", "a@y.example");
	env->rcpts[0].notify = NOTIFY_NEVER;
	(void)fq_submit_env(env, "x\r\n");
	env = fq_envelope("s@x.example", "a@y.example");
	env->rcpts[0].notify = NOTIFY_SUCCESS;
	(void)fq_submit_env(env, "x\r\n");
	fq_turn();
	assert_int_equal(fq_job_count, 3);
	for (size_t i = 0; i < 3; i++)
		fq_answer(&fq_jobs[i], 550);
	fq_turn();
	assert_int_equal(fq_job_count, 3);
	assert_empty();
}

static void
test_parts(void **state)
{
	struct job *j;

	(void)state;
	fq_submit("s@x.example", "a@y.example b@y.example c@y.example");
	fq_turn();
	j = fq_job("y.example");
	fq_answer_one(j, 0, 250, false);
	fq_turn();
	assert_int_equal(fq_spool_stats().recipients, 2);
	assert_int_equal(fq_stats().sent, 1);
	fq_answer_one(j, 0, 550, false);	/* too late to change it */
	assert_int_equal(fq_stats().late_answers, 1);
	fq_answer_one(j, 1, 550, false);	/* waits for the end */
	fq_turn();
	assert_int_equal(fq_spool_stats().recipients, 2);
	fq_answer_one(j, 2, 450, true);
	fq_turn();
	assert_int_equal(fq_stats().bounced, 1);
	assert_int_equal(fq_stats().deferred, 1);
	fq_answer(fq_job("x.example"), 250);	/* the notice, of b alone */
	fq_turn();
	assert_int_equal(fq_spool_stats().recipients, 1);
	fq_advance(HOUR);
	j = fq_job("y.example");
	assert_int_equal(j->msg.env->rcpt_count, 1);
	assert_string_equal(j->msg.env->rcpts[0].address, "c@y.example");
	fq_answer(j, 250);
	fq_turn();
	assert_empty();
}

/* A final result that leaves recipients out: those are tried again.  Without
 * any result the worker gave the job back: that is no attempt. */
static void
test_incomplete_final(void **state)
{
	const struct msg_result empty = { .final = true };
	struct msg_rcpt_result r = { .outcome = outcome_local("later") };
	struct msg_result one = { .final = true, .rcpts = &r,
		.rcpt_count = 1 };
	struct job *j;

	(void)state;
	fq_submit("s@x.example", "a@y.example b@y.example");
	fq_turn();
	j = fq_job("y.example");
	assert_int_equal(queue_result(fq, WORKER_ID, j->id, &empty), ST_OK);
	j->answered = true;
	fq_turn();
	assert_int_equal(fq_stats().deferred, 0);
	fq_advance(1000);
	j = fq_job("y.example");
	assert_int_equal(j->msg.attempt, 1);
	r.rcpt_id = j->msg.env->rcpts[0].id;
	assert_int_equal(queue_result(fq, WORKER_ID, j->id, &one), ST_OK);
	j->answered = true;
	fq_turn();
	assert_int_equal(fq_stats().deferred, 2);
	fq_advance(HOUR);
	assert_int_equal(fq_job("y.example")->msg.env->rcpt_count, 2);
}

static void
test_foreign_answers(void **state)
{
	struct msg_rcpt_result r = { .rcpt_id = 12345,
		.outcome = fq_outcome(550) };
	struct msg_result msg = { .final = true, .rcpts = &r,
		.rcpt_count = 1 };
	struct job *j;

	(void)state;
	fq_submit("s@x.example", "a@y.example");
	fq_turn();
	j = fq_job("y.example");
	assert_int_equal(queue_result(fq, WORKER_ID + 1, j->id, &msg),
		ST_DENIED);
	assert_int_equal(queue_result(fq, WORKER_ID, j->id + 1000, &msg),
		ST_OK);
	assert_int_equal(fq_stats().late_answers, 1);
	/* a recipient of another job changes nothing */
	msg.final = false;
	assert_int_equal(queue_result(fq, WORKER_ID, j->id, &msg), ST_OK);
	fq_turn();
	assert_int_equal(fq_stats().late_answers, 2);
	assert_int_equal(fq_spool_stats().recipients, 1);
	fq_answer(j, 250);
	/* again, when it is over */
	j->answered = false;
	fq_answer(j, 550);
	fq_turn();
	assert_int_equal(fq_stats().sent, 1);
	assert_int_equal(fq_stats().bounced, 0);
	assert_empty();
}

/* More than one notice can hold: then there are several, and each recipient is
 * in one of them. */
static void
test_notice_about_many(void **state)
{
	enum { MANY = 9000 };
	struct envelope *env = envelope_new("s@x.example");
	struct msg_result msg = { .final = true, .rcpt_count = MANY };
	char address[40], said[OUTCOME_TEXT_MAX];
	size_t named = 0, notices = 0;
	struct job *job;

	(void)state;
	for (int i = 0; i < MANY; i++) {
		(void)snprintf(address, sizeof(address), "u%05d@y.example",
			i);
		(void)envelope_add_rcpt(env, address, "y.example");
	}
	(void)fq_submit_env(env, "Subject: test\r\n\r\nHello\r\n");
	fq_turn();
	job = fq_job("y.example");
	assert_int_equal(job->msg.env->rcpt_count, MANY);
	memset(said, 'x', sizeof(said) - 1);
	said[sizeof(said) - 1] = '\0';
	msg.rcpts = xcalloc(MANY, sizeof(msg.rcpts[0]));
	for (size_t i = 0; i < MANY; i++) {
		msg.rcpts[i].rcpt_id = job->msg.env->rcpts[i].id;
		msg.rcpts[i].outcome = outcome_reply(SCOPE_RCPT, STAGE_RCPT,
			550, "5.1.1", said);
	}
	assert_int_equal(queue_result(fq, WORKER_ID, job->id, &msg), ST_OK);
	job->answered = true;
	free(msg.rcpts);
	fq_turn();
	assert_int_equal(fq_stats().bounced, MANY);
	fq_advance(1000);
	while ((job = fq_job("x.example")) != NULL) {
		const char *at = job->body;

		while ((at = strstr(at, "Final-Recipient:")) != NULL) {
			named++;
			at++;
		}
		notices++;
		fq_answer(job, 250);
	}
	assert_int_equal(named, MANY);
	assert_true(notices > 1 && notices <= 4);
	fq_turn();
	assert_empty();
}

/* A notice about a message with REQUIRETLS has its headers alone, needs what it
 * needed, and is the end of it when it cannot be delivered. */
static void
test_notice_requires_tls(void **state)
{
	static const unsigned flags[] = { ENVELOPE_REQUIRETLS, 0 };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct envelope *env = fq_envelope("s@x.example",
			"a@y.example");
		struct job *notice;

		env->flags |= flags[i];
		env->ret = RET_FULL;
		(void)fq_submit_env(env, "Subject: test\r\n\r\nSecret\r\n");
		fq_turn();
		fq_answer(fq_job("y.example"), 550);
		fq_turn();
		notice = fq_job("x.example");
		assert_non_null(notice);
		assert_string_equal(notice->msg.env->sender, "");
		assert_int_equal(notice->msg.env->flags, flags[i] |
			ENVELOPE_BOUNCE);
		assert_non_null(strstr(notice->body, "Subject: test"));
		assert_int_equal(strstr(notice->body, "Secret") == NULL,
			flags[i] != 0);
		fq_answer(notice, 550);
		fq_turn();
		assert_empty();
		assert_int_equal(fq_open_jobs(), 0);
	}
}

/* ---- time ---- */

static void
test_expiry(void **state)
{
	(void)state;
	fq_submit("s@x.example", "a@y.example b@y.example");
	fq_turn();
	fq_answer_one(fq_job("y.example"), 0, 250, false);
	clock_test_set(T0 + 5 * 24 * HOUR);
	fq_answer_one(fq_job("y.example"), 1, 450, true);
	fq_turn();
	assert_int_equal(fq_stats().bounced, 1);
	assert_int_equal(fq_stats().sent, 1);
	assert_non_null(strstr(fq_job("x.example")->body, "Status: 5.4.7"));
	assert_non_null(strstr(fq_job("x.example")->body, "says the host"));
	assert_null(strstr(fq_job("x.example")->body, "a@y.example"));
}

/* Just before the end it is tried once more, not after. */
static void
test_last_attempt(void **state)
{
	(void)state;
	fq_submit("s@x.example", "a@y.example");
	fq_turn();
	clock_test_set(T0 + 5 * 24 * HOUR - 60000);
	fq_answer(fq_job("y.example"), 450);
	fq_turn();
	assert_int_equal(fq_stats().bounced, 0);
	assert_null(fq_job("y.example"));
	fq_advance(60000);
	assert_non_null(fq_job("y.example"));
	fq_answer(fq_job("y.example"), 450);
	fq_turn();
	assert_int_equal(fq_stats().bounced, 1);
}

/* A message that kills its worker each time does so not forever. */
static void
test_expiry_of_a_killer(void **state)
{
	(void)state;
	fq_submit("s@x.example", "a@y.example");
	fq_turn();
	clock_test_set(T0 + 5 * 24 * HOUR);
	queue_child_gone(fq, WORKER_ID, GONE_CRASHED_OFTEN, 0);
	fq_turn();
	assert_int_equal(fq_stats().bounced, 1);
	assert_non_null(strstr(fq_job("x.example")->body, "Status: 5.4.7"));
}

static void
hold(enum spool_action action)
{
	const struct spool_filter any = { .held = -1 };
	uint64_t count;

	assert_int_equal(spool_begin(fq_spool), ST_OK);
	assert_int_equal(spool_act(fq_spool, &any, action, clock_wall_ms(),
		&count), ST_OK);
	assert_int_equal(spool_commit(fq_spool), ST_OK);
	queue_kick(fq);
}

static void
test_expiry_while_held(void **state)
{
	(void)state;
	fq_worker = 0;
	fq_submit("s@x.example", "a@y.example");
	fq_turn();
	hold(SPOOL_HOLD);
	fq_worker = WORKER_ID;
	fq_advance(2 * HOUR);
	assert_int_equal(fq_job_count, 0);
	clock_test_set(T0 + 5 * 24 * HOUR);
	fq_run_ms(1300);
	assert_int_equal(fq_stats().bounced, 1);
	assert_int_equal(fq_job_count, 1);
	assert_non_null(strstr(fq_job("x.example")->body, "held"));
}

/* No worker for days: the sender is told all the same, and what waits does
 * not keep the held ones from their end. */
static void
test_expiry_without_worker(void **state)
{
	(void)state;
	fq_worker = 0;
	for (int i = 0; i < 70; i++)
		fq_submit("s@x.example", "a@y.example");
	fq_turn();
	clock_test_set(T0 + 5 * 24 * HOUR + 30 * 60000);
	fq_run_ms(1200);
	assert_int_equal(fq_stats().bounced, 0);	/* it may come back */
	fq_restart();
	clock_test_set(T0 + 5 * 24 * HOUR + 2 * HOUR);
	fq_run_ms(1300);
	assert_true(fq_stats().bounced >= 60);
}

static void
test_delay_notice(void **state)
{
	struct job *notice;

	(void)state;
	fq_submit("s@x.example", "a@y.example");
	fq_turn();
	fq_answer(fq_job("y.example"), 450);
	fq_turn();
	assert_null(fq_job("x.example"));
	fq_advance(4 * HOUR);
	fq_answer(fq_job("y.example"), 450);
	fq_turn();
	notice = fq_job("x.example");
	assert_non_null(notice);
	assert_non_null(strstr(notice->body, "Action: delayed"));
	assert_int_equal(notice->msg.env->flags & ENVELOPE_BOUNCE,
		ENVELOPE_BOUNCE);
	fq_answer(notice, 250);
	fq_turn();
	for (int i = 0; i < 3; i++) {
		fq_advance(5 * HOUR);
		fq_answer(fq_job("y.example"), 450);
		fq_turn();
		assert_null(fq_job("x.example"));	/* once */
	}
	/* remembered over a restart */
	fq_restart();
	fq_advance(5 * HOUR);
	fq_answer(fq_job("y.example"), 450);
	fq_turn();
	assert_null(fq_job("x.example"));
	assert_int_equal(fq_spool_stats().messages, 1);
}

/* ---- workers that end ---- */

static void
test_worker_gone_in_order(void **state)
{
	struct job *j;

	(void)state;
	fq_submit("s@x.example", "a@y.example b@y.example");
	fq_turn();
	j = fq_job("y.example");
	fq_answer_one(j, 0, 250, false);
	queue_child_gone(fq, WORKER_ID, GONE_IN_ORDER, 0);
	j->answered = true;
	fq_turn();
	assert_int_equal(fq_stats().deferred, 0);	/* never tried */
	fq_run_ms(60);
	j = fq_job("y.example");
	assert_non_null(j);
	assert_int_equal(j->msg.attempt, 1);
	assert_int_equal(j->msg.env->rcpt_count, 1);
	assert_string_equal(j->msg.env->rcpts[0].address, "b@y.example");
}

static void
test_worker_crashed(void **state)
{
	struct job *first, *second;

	(void)state;
	fq_submit("s@x.example", "a@y.example");
	fq_turn();
	first = fq_job("y.example");
	queue_child_gone(fq, WORKER_ID, GONE_CRASHED, 10000);
	fq_worker = WORKER_ID + 1;
	fq_turn();
	assert_int_equal(fq_stats().deferred, 1);
	assert_int_equal(fq_stats().active, 0);
	/* what it had sent comes too late */
	fq_answer(first, 550);
	fq_turn();
	assert_int_equal(fq_stats().late_answers, 1);
	assert_int_equal(fq_stats().bounced, 0);
	fq_advance(9000);
	assert_int_equal(fq_open_jobs(), 0);
	fq_advance(1000);
	second = fq_job("y.example");
	assert_non_null(second);
	assert_int_equal(second->msg.attempt, 1);	/* no attempt of its */
	assert_true(second->id != first->id);
	queue_child_gone(fq, WORKER_ID + 1, GONE_CRASHED_OFTEN, 10000);
	second->answered = true;
	fq_turn();
	fq_advance(60000);
	assert_int_equal(fq_open_jobs(), 0);	/* backs off like a failure */
	fq_advance(10 * 60000);
	assert_int_equal(fq_job("y.example")->msg.attempt, 2);
}

/* The final result is in hand, not yet on disk, when the worker ends. */
static void
test_worker_gone_after_final(void **state)
{
	(void)state;
	fq_submit("s@x.example", "a@y.example");
	fq_turn();
	fq_answer(fq_job("y.example"), 250);
	queue_child_gone(fq, WORKER_ID, GONE_CRASHED, 1000);
	fq_turn();
	assert_int_equal(fq_stats().sent, 1);
	assert_empty();
}

/* Refusals that came before the crash are believed. */
static void
test_worker_gone_with_refusal(void **state)
{
	(void)state;
	fq_submit("s@x.example", "a@y.example b@y.example");
	fq_turn();
	fq_answer_one(fq_job("y.example"), 1, 550, false);
	queue_child_gone(fq, WORKER_ID, GONE_CRASHED, 1000);
	fq_turn();
	assert_int_equal(fq_stats().bounced, 1);
	assert_int_equal(fq_stats().deferred, 1);
	assert_non_null(fq_job("x.example"));
}

static void
test_send_fails(void **state)
{
	(void)state;
	fq_send_fails = true;
	fq_submit("s@x.example", "a@y.example");
	fq_turn();
	assert_int_equal(fq_stats().active, 0);
	assert_int_equal(fq_stats().active_bytes, 0);
	fq_send_fails = false;
	fq_run_ms(300);
	assert_int_equal(fq_job_count, 1);
}

/* ---- bounds, flush, restart ---- */

static void
test_active_bound(void **state)
{
	(void)state;
	fq_use_conf("limit { active = 2 free-space = 0 }");
	for (int i = 0; i < 7; i++)
		fq_submit("s@x.example", "a@y.example");
	fq_run_ms(100);
	assert_int_equal(fq_stats().accepted, 7);
	assert_int_equal(fq_job_count, 2);
	for (size_t i = 0; i < 7; i++) {
		fq_run_ms(60);
		assert_true(fq_job_count > i);
		fq_answer(&fq_jobs[i], 250);
		fq_turn();
		assert_true(fq_stats().active <= 2);
	}
	assert_empty();
}

static void
test_worker_comes_up(void **state)
{
	(void)state;
	fq_worker = 0;
	for (int i = 0; i < 5; i++)
		fq_submit("s@x.example", "a@y.example");
	fq_run_ms(60);
	assert_int_equal(fq_stats().accepted, 5);
	assert_int_equal(fq_job_count, 0);
	fq_worker = WORKER_ID;
	queue_kick(fq);
	fq_run_ms(60);
	assert_int_equal(fq_job_count, 5);
}

/* The results of a message that is damaged on disk cannot be stored: those of
 * others are, so that a restart does not send these again. */
static void
test_damaged_message(void **state)
{
	struct job *j;

	(void)state;
	fq_submit("s@x.example", "a@y.example b@y.example");
	fq_turn();
	run_sql("DELETE FROM message");
	fq_submit("s@x.example", "c@z.example");
	fq_turn();
	j = fq_job("y.example");
	fq_answer_one(j, 0, 250, false);
	fq_answer_one(j, 1, 250, true);
	fq_turn();
	fq_answer(fq_job("z.example"), 550);
	fq_run_ms(1200);
	assert_int_equal(fq_stats().bounced, 1);
	assert_int_equal(fq_spool_stats().deliveries, 2);	/* and notice */
	assert_false(queue_flush(fq));
	fq_restart();
	fq_run_ms(100);
	assert_null(fq_job("z.example"));
	assert_non_null(fq_job("x.example"));
}

/* However much waits for a worker that takes nothing, a turn of the loop looks
 * at a part of it, and nothing is forgotten. */
static void
test_long_walk(void **state)
{
	(void)state;
	fq_worker = 0;
	for (int i = 0; i < 1900; i++)
		(void)submit_spread(i);
	fq_turn();
	for (int i = 0; i < 20; i++) {
		(void)usleep(25000);
		fq_asked = 0;
		fq_turn();
		assert_true(fq_asked <= 1000);
	}
	fq_worker = WORKER_ID;
	for (int i = 0; i < 40 && fq_job_count < 1900; i++)
		fq_run_ms(50);
	assert_int_equal(fq_job_count, 1900);
}

static void
test_flush(void **state)
{
	(void)state;
	fq_submit("s@x.example", "a@y.example");
	fq_turn();
	fq_answer(fq_job("y.example"), 450);
	fq_turn();
	hold(SPOOL_FLUSH);
	fq_run_ms(60);
	assert_int_equal(fq_job("y.example")->msg.attempt, 2);
}

/* Kicks that come faster than the walk's pause do not put it off. */
static void
test_many_kicks(void **state)
{
	(void)state;
	fq_worker = 0;
	fq_submit("s@x.example", "a@y.example");
	fq_run_ms(60);
	fq_worker = WORKER_ID;
	for (int i = 0; i < 50 && fq_job_count == 0; i++) {
		queue_kick(fq);
		fq_run_ms(5);
	}
	assert_int_equal(fq_job_count, 1);
}

/* Removed by the operator while it is with the worker. */
static void
test_removed_meanwhile(void **state)
{
	(void)state;
	fq_submit("s@x.example", "a@y.example b@z.example");
	fq_turn();
	hold(SPOOL_REMOVE);
	fq_answer(fq_job("y.example"), 450);
	fq_answer(fq_job("z.example"), 550);
	fq_run_ms(60);
	assert_int_equal(fq_open_jobs(), 0);
	assert_empty();
}

static void
test_stop(void **state)
{
	(void)state;
	fq_submit("s@x.example", "a@y.example");
	fq_turn();
	queue_stop(fq);
	fq_submit("s@x.example", "a@z.example");
	fq_answer(fq_job("y.example"), 250);
	assert_true(queue_flush(fq));
	assert_int_equal(fq_stats().accepted, 2);
	assert_int_equal(fq_stats().sent, 1);
	fq_run_ms(60);
	assert_int_equal(fq_open_jobs(), 0);
	assert_int_equal(fq_spool_stats().messages, 1);
}

static void
test_restart(void **state)
{
	uint64_t token = open_file(1000, BIG_BODY);
	uint64_t dropped;

	(void)state;
	submit_file(INJECT_ID, 1001, token, BIG_BODY);
	dropped = open_file(1002, BIG_BODY);	/* never submitted */
	assert_true(dropped != token);
	for (int i = 0; i < 400; i++)
		(void)submit_spread(i);
	fq_turn();
	fq_run_ms(60);
	assert_int_equal(fq_open_jobs(), 401);
	/* Two of the small ones; when the file's job came depends on time. */
	for (size_t i = 0, answers = 0; answers < 2; i++)
		if (strlen(fq_jobs[i].body) < BIG_BODY) {
			fq_answer(&fq_jobs[i], 250);
			answers++;
		}
	fq_turn();
	fq_restart();			/* 399 were out */
	assert_int_equal(fq_body_files(), 1);
	fq_run_ms(100);
	assert_int_equal(fq_job_count, 399);
	for (size_t i = 0; i < 399; i++)
		fq_answer(&fq_jobs[i], 250);
	fq_turn();
	assert_empty();
}

/* Results that cannot be stored are kept until they can, and nothing new is
 * handed out meanwhile. */
static void
test_results_not_stored(void **state)
{
	struct job *j;

	(void)state;
	fq_submit("s@x.example", "a@y.example");
	fq_submit("s@x.example", "a@z.example");
	fq_turn();
	j = fq_job("y.example");
	assert_int_equal(sqlite3_exec(fq_spool->db, "CREATE TEMP TRIGGER t "
		"BEFORE DELETE ON recipient BEGIN "
		/* An error of no row's own, as when the disk has one. */
		"SELECT abs(-9223372036854775807 - 1); END", NULL, NULL, NULL),
		SQLITE_OK);
	fq_answer(j, 250);
	fq_turn();
	assert_int_equal(fq_stats().sent, 0);
	assert_true(queue_is_active(fq, fq_jobs[0].id) ||
		fq_stats().active == 2);
	assert_false(queue_flush(fq));
	fq_submit("s@x.example", "a@w.example");
	fq_run_ms(1200);
	assert_int_equal(fq_stats().accepted, 3);	/* still accepted */
	assert_null(fq_job("w.example"));
	assert_int_equal(sqlite3_exec(fq_spool->db, "DROP TRIGGER t", NULL,
		NULL, NULL), SQLITE_OK);
	fq_run_ms(1200);
	assert_int_equal(fq_stats().sent, 1);
	fq_run_ms(100);
	assert_non_null(fq_job("w.example"));
}

/* ---- at random, with crashes ---- */

#define MODEL_MAX 400

static uint32_t seed;

static uint32_t
next_random(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed >> 8;
}

/* By number in the address: what the sender may expect. */
static struct fate {
	bool done, stored_done;
	unsigned times;
} fates[MODEL_MAX];

static unsigned
number_of(const char *address)
{
	return (unsigned)atoi(address + 1);
}

static void
answer_at_random(struct job *j)
{
	size_t n = j->msg.env->rcpt_count;
	bool notice = j->msg.env->sender[0] == '\0';

	for (size_t i = 0; i < n && !notice; i++)
		/* What is known to be stored as sent is not sent again. */
		assert_false(fates[number_of(
			j->msg.env->rcpts[i].address)].stored_done);
	for (size_t i = 0; i < n; i++) {
		bool final = i + 1 == n;
		int code = notice || next_random() % 3 > 0 ? 250 : 450;

		fq_answer_one(j, i, code, final);
		if (notice || code != 250)
			continue;
		fates[number_of(j->msg.env->rcpts[i].address)].done = true;
		fates[number_of(j->msg.env->rcpts[i].address)].times++;
	}
}

static void
settle_fates(void)
{
	for (size_t i = 0; i < MODEL_MAX; i++)
		fates[i].stored_done = fates[i].stored_done || fates[i].done;
}

static void
random_step(unsigned *next)
{
	static const char *const names[] = { "y.example", "z.example",
		"w.example" };
	char rcpts[300] = "";
	unsigned count = 1 + next_random() % 4;

	if (*next + count < MODEL_MAX && next_random() % 2 == 0) {
		for (unsigned i = 0; i < count; i++)
			(void)snprintf(rcpts + strlen(rcpts),
				sizeof(rcpts) - strlen(rcpts), "u%u@%s ",
				(*next)++, names[next_random() % 3]);
		fq_submit("s@x.example", rcpts);
		fq_turn();
	}
	for (size_t i = 0; i < fq_job_count; i++)
		if (!fq_jobs[i].answered && next_random() % 4 == 0)
			answer_at_random(&fq_jobs[i]);
	if (next_random() % 8 == 0) {
		/* The results that came before are on disk first. */
		queue_child_gone(fq, fq_worker, GONE_CRASHED, 1000);
		for (size_t i = 0; i < fq_job_count; i++)
			fq_jobs[i].answered = true;
		fq_worker++;
	}
	fq_turn();
	settle_fates();
	if (next_random() % 16 == 0)
		fq_restart();
	clock_test_set(clock_wall_ms() + next_random() % (10 * 60000));
	queue_kick(fq);
	fq_run_ms(25);
}

static void
test_random(void **state)
{
	unsigned next = 0;

	(void)state;
	memset(fates, 0, sizeof(fates));
	seed = 2026;
	for (int step = 0; step < 100; step++)
		random_step(&next);
	/* Now everything is taken. */
	for (int i = 0; i < 200 && fq_spool_stats().messages > 0; i++) {
		for (size_t n = 0; n < fq_job_count; n++)
			if (!fq_jobs[n].answered)
				answer_at_random(&fq_jobs[n]);
		fq_turn();
		settle_fates();
		clock_test_set(clock_wall_ms() + HOUR);
		queue_kick(fq);
		fq_run_ms(25);
	}
	assert_true(next > 50);
	assert_empty();
	for (unsigned i = 0; i < next; i++)
		if (fates[i].times != 1)
			fail_msg("u%u was delivered %u times", i,
				fates[i].times);
}

int
main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, fq_setup, fq_teardown)
	const struct CMUnitTest tests[] = {
		T(test_accept), T(test_group_commit),
		T(test_disk_full_by_limit), T(test_disk_full),
		T(test_body_file), T(test_body_file_faults),
		T(test_bad_one_in_batch), T(test_file_twice),
		T(test_inject_gone), T(test_later), T(test_never),
		T(test_notice_about_many), T(test_notice_requires_tls),
		T(test_no_notice), T(test_parts), T(test_incomplete_final),
		T(test_foreign_answers), T(test_expiry), T(test_last_attempt),
		T(test_expiry_of_a_killer), T(test_expiry_while_held),
		T(test_expiry_without_worker), T(test_delay_notice),
		T(test_worker_gone_in_order), T(test_worker_crashed),
		T(test_worker_gone_after_final),
		T(test_worker_gone_with_refusal), T(test_send_fails),
		T(test_active_bound), T(test_worker_comes_up), T(test_flush),
		T(test_many_kicks), T(test_long_walk),
		T(test_damaged_message),
		T(test_removed_meanwhile), T(test_stop),
		T(test_restart), T(test_results_not_stored), T(test_random),
	};

	return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
