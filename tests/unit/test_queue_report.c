/*
 * TLSRPT in the queue manager: totals of a day, the change of days, who wants a
 * report, mail exactly once, posts until they are taken, and what a crash at
 * each step leaves.
 */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "policy/tlsrpt_doc.h"
#include "smtpd-out/mail/dkim.h"
#include "smtpd-out/queue/queue_int.h"
#include "smtpd-out/queue/queue_report_int.h"
#include "tests/unit/queue_fake.h"

#define DAY_S INT64_C(86400)
#define TODAY_S (T0 / 1000 - T0 / 1000 % DAY_S)
#define CONF "tlsrpt { send = yes contact = \"pm@me.example\" }\n" \
	"dkim { domain = \"me.example\" selector = s1 key-file = \"/k\" }\n"

/* Of no use but for this test. */
static const char pem[] = "-----BEGIN PRIVATE KEY-----\n"
	"MC4CAQAwBQYDK2VwBCIEIPEmNwIBBcXowqFX/zAyyXq1iQWhc9GYHEmLD3Dy/Eyo\n"
	"-----END PRIVATE KEY-----\n";
static struct dkim_key *key;

static int
setup(void **state)
{
	char path[64], err[DKIM_ERR_MAX];
	const struct dkim_identity id = { .domain = "me.example",
		.selector = "s1", .key_file = path };
	int fd;

	(void)snprintf(path, sizeof(path), "/tmp/test_report.%d", getpid());
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, pem, strlen(pem)) != (ssize_t)strlen(pem) ||
	    close(fd) != 0 || dkim_key_open(&id, &key, err) != ST_OK)
		return -1;
	(void)unlink(path);
	if (fq_setup(state) != 0)
		return -1;
	fq_use_conf(CONF);
	queue_set_key(fq, key);
	return 0;
}

static int
teardown(void **state)
{
	dkim_key_close(&key);
	return fq_teardown(state);
}

static void
restart(void)
{
	fq_restart();
	queue_set_key(fq, key);
	fq_reports_clear();
}

/* ---- what a worker counts ---- */

static void
count(const char *domain, int64_t time_s, bool failed, uint64_t n)
{
	struct tlsrpt_event e = { .time_s = time_s, .domain = xstrdup(domain),
		.failed = failed, .count = n,
		.ended = failed ? TLSRPT_ENDED_FAILED : TLSRPT_ENDED_SECURED };
	const struct msg_tlsrpt msg = { .events = &e, .count = 1 };

	e.policy.type = TLSRPT_POLICY_STS;
	e.policy.domain = xstrdup(domain);
	if (failed) {
		e.failure.result = TLS_FAILURE_EXPIRED;
		e.failure.mx_host = xstrdup("mx.a.example");
		e.failure.reason = xstrdup("certificate-expired");
	}
	assert_int_equal(queue_tlsrpt(fq, WORKER_ID, &msg), ST_OK);
	tlsrpt_event_clear(&e);
}

static bool
row_of(int64_t day_s, const char *domain, unsigned part,
	struct spool_report *out)
{
	enum status st = spool_report_get(fq_spool, day_s, domain, part, out);

	assert_true(st == ST_OK || st == ST_NOENT);
	return st == ST_OK;
}

static void
check_totals(int64_t day_s, const char *domain, unsigned part, uint64_t good,
	uint64_t bad)
{
	struct tlsrpt_report totals;
	struct spool_report row;

	if (!row_of(day_s, domain, part, &row)) {
		assert_int_equal(good + bad, 0);
		return;
	}
	assert_true(report_totals(&row, &totals));
	assert_string_equal(totals.domain, domain);
	assert_int_equal(totals.start_s, day_s);
	assert_int_equal(tlsrpt_report_successes(&totals), good);
	assert_int_equal(tlsrpt_report_failures(&totals), bad);
	assert_true(totals.sessions[TLSRPT_ENDED_SECURED] <= good);
	tlsrpt_report_clear(&totals);
	spool_report_clear(&row);
}

static void
test_totals(void **state)
{
	(void)state;
	count("a.example", TODAY_S, false, 3);
	count("a.example", TODAY_S + 5, true, 1);
	count("b.example", TODAY_S, false, 1);
	fq_turn();
	check_totals(TODAY_S, "a.example", 0, 0, 0);
	fq_run_ms(REPORT_TOTALS_WAIT_MS + 200);	/* by itself */
	check_totals(TODAY_S, "a.example", 0, 3, 1);
	assert_int_equal(fq_stats().commits, 1);
	count("a.example", TODAY_S, false, 2);
	assert_true(queue_flush(fq));
	restart();
	check_totals(TODAY_S, "a.example", 0, 5, 1);
	check_totals(TODAY_S, "b.example", 0, 1, 0);
}

/* Many commits do not write them many times. */
static void
test_bundled(void **state)
{
	(void)state;
	count("a.example", TODAY_S, false, 1);
	for (int i = 0; i < 5; i++) {
		(void)fq_submit("s@x.example", "a@d.example");
		fq_turn();
	}
	check_totals(TODAY_S, "a.example", 0, 0, 0);
	assert_true(queue_flush(fq));
	check_totals(TODAY_S, "a.example", 0, 1, 0);
}

/* Very many domains do not hold up the loop: some in each commit. */
static void
test_slices(void **state)
{
	char domain[40];
	size_t rows;

	(void)state;
	for (int i = 0; i < 450; i++) {
		(void)snprintf(domain, sizeof(domain), "d%d.example", i);
		count(domain, TODAY_S, false, 1);
	}
	fq_run_ms(REPORT_TOTALS_WAIT_MS + 500);
	assert_int_equal(fq_stats().commits, 3);
	assert_int_equal(spool_report_count(fq_spool, TODAY_S, &rows), ST_OK);
	assert_int_equal(rows, 450);
	for (int i = 0; i < 450; i++) {
		(void)snprintf(domain, sizeof(domain), "d%d.example", i);
		count(domain, TODAY_S, false, 1);
	}
	assert_true(queue_flush(fq));		/* at a stop: all at once */
	check_totals(TODAY_S, "d449.example", 0, 2, 0);
}

/* A worker that floods us fills no memory. */
static void
test_flood(void **state)
{
	static char line[TLSRPT_STRING_MAX];
	struct tlsrpt_event e = { .time_s = TODAY_S, .count = 1, .domain =
		xstrdup("a.example") };
	const struct msg_tlsrpt msg = { .events = &e, .count = 1 };
	struct queue_report_stats stats = { 0 };

	(void)state;
	memset(line, 'x', sizeof(line) - 1);
	for (size_t i = 0; i < TLSRPT_STRINGS_MAX; i++)
		tlsrpt_policy_add_string(&e.policy, line);
	for (unsigned i = 0; i < 300; i++) {
		(void)snprintf(e.policy.strings[0], 20, "%u", i);
		assert_int_equal(queue_tlsrpt(fq, WORKER_ID, &msg), ST_OK);
	}
	queue_report_stats(fq, &stats);
	assert_true(stats.overflow > 100 && stats.overflow < 250);
	assert_true(queue_flush(fq));		/* without the texts */
	check_totals(TODAY_S, "a.example", 0, 300 - stats.overflow, 0);
	tlsrpt_event_clear(&e);
}

/* Nor does a domain with ever other policies fill the disk, or a mail to
 * whomever its record names. */
static void
test_fat(void **state)
{
	static char line[TLSRPT_STRING_MAX];
	struct tlsrpt_event e = { .time_s = TODAY_S, .count = 1, .domain =
		xstrdup("a.example") };
	const struct msg_tlsrpt msg = { .events = &e, .count = 1 };
	struct spool_report row;

	(void)state;
	memset(line, 'x', sizeof(line) - 1);
	for (size_t i = 0; i < TLSRPT_STRINGS_MAX / 4; i++)
		tlsrpt_policy_add_string(&e.policy, line);
	for (unsigned i = 0; i < 4; i++) {
		(void)snprintf(e.policy.strings[0], 20, "%u", i);
		assert_int_equal(queue_tlsrpt(fq, WORKER_ID, &msg), ST_OK);
		assert_true(queue_flush(fq));
		assert_true(row_of(TODAY_S, "a.example", 0, &row));
		assert_true(row.totals_len > 0);
		assert_true(row.totals_len <= 128U << 10);
		spool_report_clear(&row);
	}
	check_totals(TODAY_S, "a.example", 0, 4, 0);
	tlsrpt_event_clear(&e);
}

static void
test_denied(void **state)
{
	struct tlsrpt_event e = { .domain = xstrdup("a.example"), .count = 1 };
	const struct msg_tlsrpt msg = { .events = &e, .count = 1 };

	(void)state;
	fq_owns = false;
	assert_int_equal(queue_tlsrpt(fq, WORKER_ID, &msg), ST_DENIED);
	assert_true(queue_flush(fq));
	check_totals(TODAY_S, "a.example", 0, 0, 0);
	tlsrpt_event_clear(&e);
}

/* Whatever a worker says of times: today, or yesterday just after it. */
static void
test_days(void **state)
{
	(void)state;
	count("a.example", 0, false, 1);
	count("a.example", TODAY_S + 9 * DAY_S, false, 1);
	count("a.example", TODAY_S - 1, false, 1);
	clock_test_set((TODAY_S + DAY_S + 5) * 1000);
	count("a.example", TODAY_S, false, 1);
	count("a.example", TODAY_S + DAY_S, false, 1);
	clock_test_set((TODAY_S + DAY_S + 700) * 1000);
	count("a.example", TODAY_S, false, 1);
	assert_true(queue_flush(fq));
	check_totals(TODAY_S, "a.example", 0, 4, 0);
	check_totals(TODAY_S + DAY_S, "a.example", 0, 2, 0);
}

static void
test_too_many(void **state)
{
	struct queue_report_stats stats;

	(void)state;
	fq_use_conf("tlsrpt { max-domains = 2 }");
	count("a.example", TODAY_S, false, 1);
	assert_true(queue_flush(fq));
	restart();
	count("b.example", TODAY_S, false, 1);
	count("c.example", TODAY_S, false, 1);
	count("a.example", TODAY_S, false, 1);
	assert_true(queue_flush(fq));
	check_totals(TODAY_S, "a.example", 0, 2, 0);
	check_totals(TODAY_S, "b.example", 0, 1, 0);
	check_totals(TODAY_S, "c.example", 0, 0, 0);
	queue_report_stats(fq, &stats);
	assert_int_equal(stats.overflow, 1);
	clock_test_set((TODAY_S + 2 * DAY_S) * 1000);
	count("c.example", TODAY_S + 2 * DAY_S, false, 1);
	assert_true(queue_flush(fq));
	check_totals(TODAY_S + 2 * DAY_S, "c.example", 0, 1, 0);
}

/* ---- sending ---- */

static void
to_time(int64_t s)
{
	clock_test_set(s * 1000);
	report_pump(fq);
	fq_turn();
}

/* A day's totals, and the time when they are due for sure. */
static void
day_over(const char *domain, bool failed)
{
	count(domain, TODAY_S, failed, 2);
	assert_true(queue_flush(fq));
	to_time(TODAY_S + DAY_S + 5 * 3600);
}

static void
answer(enum msg_report_what what, const char *mailto, const char *https)
{
	struct fq_report *asked = &fq_reports[fq_report_count - 1];
	struct msg_report msg = { .what = what, .text = "says who" };

	assert_true(fq_report_count > 0);
	(void)str_copy(msg.domain, sizeof(msg.domain), asked->msg.domain);
	if (mailto != NULL)
		msg_report_add_target(&msg, TLSRPT_MAILTO, mailto);
	if (https != NULL)
		msg_report_add_target(&msg, TLSRPT_HTTPS, https);
	assert_int_equal(queue_report_done(fq, asked->worker, asked->id, &msg),
		ST_OK);
	msg_report_clear(&msg);
	fq_turn();
}

static enum spool_report_state
state_of(const char *domain, char note[SPOOL_REPORT_NOTE_MAX])
{
	struct spool_report row;
	enum spool_report_state state;

	assert_true(row_of(TODAY_S, domain, 0, &row));
	state = row.state;
	(void)str_copy(note, SPOOL_REPORT_NOTE_MAX, row.note);
	spool_report_clear(&row);
	return state;
}

static void
check_done(const char *domain, const char *note)
{
	char got[SPOOL_REPORT_NOTE_MAX];

	assert_int_equal(state_of(domain, got), SPOOL_REPORT_DONE);
	if (strstr(got, note) == NULL)
		fail_msg("%s: \"%s\", not \"%s\"", domain, got, note);
}

/* The only one that was asked for. */
static const struct msg_report *
asked(enum msg_report_what what)
{
	assert_int_equal(fq_report_count, 1);
	assert_int_equal(fq_reports[0].worker, WORKER_ID);
	assert_int_equal(fq_reports[0].msg.what, what);
	return &fq_reports[0].msg;
}

/* The change of days: nothing before it, then once, at a random time within
 * the spread. */
static void
test_due(void **state)
{
	struct spool_report row;

	(void)state;
	count("a.example", TODAY_S, true, 1);
	assert_true(queue_flush(fq));
	assert_true(row_of(TODAY_S, "a.example", 0, &row));
	assert_true(row.due_s >= TODAY_S + DAY_S + 600);
	assert_true(row.due_s < TODAY_S + DAY_S + 600 + 4 * 3600);
	assert_int_equal(row.until_s, row.due_s + DAY_S);
	spool_report_clear(&row);
	to_time(row.due_s - 1);
	assert_int_equal(fq_report_count, 0);
	to_time(row.due_s);
	assert_string_equal(asked(MSG_REPORT_FIND)->domain, "a.example");
	to_time(row.due_s + 60);		/* asked once at a time */
	assert_int_equal(fq_report_count, 1);
}

static void
check_mail(const struct job *job, const char *to)
{
	assert_non_null(job);
	assert_string_equal(job->msg.env->sender, "pm@me.example");
	assert_string_equal(job->msg.env->rcpts[0].address, to);
	assert_int_equal(job->msg.env->rcpts[0].notify, NOTIFY_NEVER);
	assert_true(job->msg.env->flags & ENVELOPE_TLS_OPTIONAL);
	assert_ptr_equal(strstr(job->body, "DKIM-Signature:"), job->body);
	assert_non_null(strstr(job->body, "TLS-Required: No\r\n"));
	assert_non_null(strstr(job->body, "TLS-Report-Domain: a.example\r\n"));
	assert_non_null(strstr(job->body, "TLS-Report-Submitter: me.example"));
}

static void
test_mail(void **state)
{
	(void)state;
	day_over("a.example", true);
	answer(MSG_REPORT_FOUND, "tls@a.example", NULL);
	check_done("a.example", "");
	check_mail(fq_job("a.example"), "tls@a.example");
	fq_answer(fq_job("a.example"), 250);
	fq_turn();
	restart();
	to_time(TODAY_S + DAY_S + 20 * 3600);
	assert_int_equal(fq_report_count, 0);
	assert_int_equal(fq_spool_stats().messages, 0);
}

static void
check_document(const struct msg_report *m)
{
	struct tlsrpt_report r;
	char err[TLSRPT_ERR_MAX];
	struct buf json;

	buf_init(&json, TLSRPT_DOC_MAX);
	assert_int_equal(tlsrpt_gunzip(m->body, m->body_len, &json), ST_OK);
	assert_int_equal(tlsrpt_doc_parse(buf_data(&json), json.len, &r, err),
		ST_OK);
	assert_string_equal(r.id, "2023-11-14.a.example@me.example");
	assert_string_equal(r.contact, "pm@me.example");
	assert_int_equal(r.start_s, TODAY_S);
	assert_int_equal(r.end_s, TODAY_S + DAY_S - 1);
	assert_int_equal(tlsrpt_report_failures(&r), 2);
	tlsrpt_report_clear(&r);
	buf_clear(&json);
}

static void
test_post(void **state)
{
	int64_t now_s = TODAY_S + DAY_S + 5 * 3600;
	char note[SPOOL_REPORT_NOTE_MAX];

	(void)state;
	day_over("a.example", true);
	answer(MSG_REPORT_FOUND, NULL, "https://r.example/x");
	assert_int_equal(state_of("a.example", note), SPOOL_REPORT_SENDING);
	assert_int_equal(fq_report_count, 2);
	assert_int_equal(fq_reports[1].msg.what, MSG_REPORT_POST);
	assert_string_equal(fq_reports[1].msg.targets[0].text,
		"https://r.example/x");
	check_document(&fq_reports[1].msg);
	answer(MSG_REPORT_FAILED, NULL, NULL);	/* 10, 20, 40 minutes ... */
	to_time(now_s + 599);
	assert_int_equal(fq_report_count, 2);
	to_time(now_s + 600);
	assert_int_equal(fq_report_count, 3);
	check_document(&fq_reports[2].msg);	/* the same again */
	answer(MSG_REPORT_FAILED, NULL, NULL);
	to_time(now_s + 600 + 1199);
	assert_int_equal(fq_report_count, 3);
	to_time(now_s + 600 + 1200);
	answer(MSG_REPORT_TAKEN, NULL, NULL);
	check_done("a.example", "");
	to_time(now_s + 20 * 3600);
	assert_int_equal(fq_report_count, 4);
}

static void
check_targets(const char *domain, size_t want_sent, size_t want_dropped)
{
	struct spool_rua list[TLSRPT_RUA_MAX];
	struct spool_report row;
	size_t n, sent = 0, dropped = 0;

	assert_true(row_of(TODAY_S, domain, 0, &row));
	assert_int_equal(spool_rua_list(fq_spool, row.row, list,
		TLSRPT_RUA_MAX, &n), ST_OK);
	for (size_t i = 0; i < n; i++) {
		sent += list[i].state == SPOOL_RUA_SENT;
		dropped += list[i].state == SPOOL_RUA_DROPPED;
	}
	assert_int_equal(sent, want_sent);
	assert_int_equal(dropped, want_dropped);
	spool_report_clear(&row);
}

/* A day of trying, then it is dropped; both ways count apart. */
static void
test_given_up(void **state)
{
	(void)state;
	day_over("a.example", true);
	answer(MSG_REPORT_FOUND, "tls@a.example", "https://r.example/");
	check_mail(fq_job("a.example"), "tls@a.example");
	answer(MSG_REPORT_FAILED, NULL, NULL);
	to_time(TODAY_S + DAY_S * 2 + 5 * 3600);
	check_done("a.example", "given up");
	check_targets("a.example", 1, 1);
	/* The same when nobody can say where it goes. */
	clock_test_set(T0);
	day_over("b.example", true);
	answer(MSG_REPORT_FAILED, NULL, NULL);
	to_time(TODAY_S + DAY_S + 6 * 3600);
	answer(MSG_REPORT_FAILED, NULL, NULL);
	to_time(TODAY_S + DAY_S * 2 + 5 * 3600);
	check_done("b.example", "given up: says who");
}

/* A mail with a report is tried for a day as well, then nobody is told. */
static void
test_mail_expires(void **state)
{
	int64_t now_s = TODAY_S + DAY_S + 5 * 3600;

	(void)state;
	day_over("a.example", true);
	answer(MSG_REPORT_FOUND, "tls@a.example", NULL);
	clock_test_set((now_s + DAY_S - 60) * 1000);
	fq_answer(fq_job("a.example"), 450);
	fq_turn();
	assert_int_equal(fq_spool_stats().messages, 1);
	fq_advance(60000);
	fq_answer(fq_job("a.example"), 450);	/* the last attempt */
	fq_turn();
	assert_int_equal(fq_spool_stats().messages, 0);
	assert_null(fq_job("me.example"));
}

/* A machine that was off for days has tried nothing: each report, and each
 * place of it, is tried once before it is given up. */
static void
test_late_start(void **state)
{
	char note[SPOOL_REPORT_NOTE_MAX];

	(void)state;
	count("a.example", TODAY_S, true, 2);
	assert_true(queue_flush(fq));
	restart();
	to_time(TODAY_S + DAY_S * 4);
	(void)asked(MSG_REPORT_FIND);
	answer(MSG_REPORT_FOUND, "tls@a.example", "https://r.example/");
	check_mail(fq_job("a.example"), "tls@a.example");
	assert_int_equal(state_of("a.example", note), SPOOL_REPORT_SENDING);
	assert_int_equal(fq_report_count, 2);
	assert_int_equal(fq_reports[1].msg.what, MSG_REPORT_POST);
	answer(MSG_REPORT_FAILED, NULL, NULL);
	to_time(TODAY_S + DAY_S * 5);
	assert_int_equal(fq_report_count, 2);
	check_done("a.example", "given up");
	check_targets("a.example", 1, 1);
}

static void
test_nobody(void **state)
{
	(void)state;
	day_over("a.example", true);
	answer(MSG_REPORT_ABSENT, NULL, NULL);
	check_done("a.example", "says who");
	check_totals(TODAY_S, "a.example", 0, 0, 2);	/* still ours */
}

static void
needs_none(const char *conf, bool failed, const char *note)
{
	fq_use_conf(conf);
	queue_set_key(fq, key);
	clock_test_set(T0);
	count("a.example", TODAY_S, failed, 1);
	assert_true(queue_flush(fq));
	to_time(TODAY_S + DAY_S + 5 * 3600);
	assert_int_equal(fq_report_count, 0);
	check_done("a.example", note);
	check_totals(TODAY_S, "a.example", 0, failed ? 0 : 1, failed ? 1 : 0);
}

static void
test_off(void **state)
{
	(void)state;
	needs_none("tlsrpt { send = no }", true, "off");
}

static void
test_excluded(void **state)
{
	(void)state;
	needs_none("tlsrpt { send = yes exclude = { \".example\" } }", true,
		"excluded");
}

static void
test_no_success(void **state)
{
	(void)state;
	needs_none("tlsrpt { send = yes success-reports = no }", false,
		"nothing failed");
}

static void
test_no_key(void **state)
{
	(void)state;
	queue_set_key(fq, NULL);
	day_over("a.example", true);
	answer(MSG_REPORT_FOUND, "tls@a.example", "https://r.example/");
	assert_null(fq_job("a.example"));
	assert_int_equal(fq_report_count, 2);	/* by HTTPS it goes */
	answer(MSG_REPORT_TAKEN, NULL, NULL);
	check_done("a.example", "");
	check_targets("a.example", 1, 1);
}

/* ---- answers that do not fit ---- */

static void
test_answers(void **state)
{
	struct msg_report msg = { .what = MSG_REPORT_TAKEN };
	uint64_t id;

	(void)state;
	day_over("a.example", true);
	id = fq_reports[0].id;
	(void)str_copy(msg.domain, sizeof(msg.domain), "a.example");
	assert_int_equal(queue_report_done(fq, WORKER_ID, id, &msg),
		ST_DENIED);
	msg.what = MSG_REPORT_ABSENT;
	assert_int_equal(queue_report_done(fq, WORKER_ID + 1, id, &msg),
		ST_OK);			/* not its question: ignored */
	assert_int_equal(queue_report_done(fq, WORKER_ID, id + 1, &msg),
		ST_OK);
	(void)str_copy(msg.domain, sizeof(msg.domain), "b.example");
	assert_int_equal(queue_report_done(fq, WORKER_ID, id, &msg),
		ST_DENIED);
	answer(MSG_REPORT_ABSENT, NULL, NULL);
	check_done("a.example", "says who");
	answer(MSG_REPORT_ABSENT, NULL, NULL);	/* late */
}

static void
test_worker_gone(void **state)
{
	char note[SPOOL_REPORT_NOTE_MAX];

	(void)state;
	day_over("a.example", true);
	queue_child_gone(fq, WORKER_ID, GONE_CRASHED, 0);
	fq_turn();
	assert_int_equal(state_of("a.example", note), SPOOL_REPORT_OPEN);
	assert_string_equal(note, "the worker ended");
	to_time(TODAY_S + DAY_S + 5 * 3600 + 600);
	assert_int_equal(fq_report_count, 2);
	fq_worker = 0;			/* nobody can be asked: later */
	answer(MSG_REPORT_FOUND, NULL, "https://r.example/");
	assert_int_equal(fq_report_count, 2);
	fq_worker = WORKER_ID;
	to_time(TODAY_S + DAY_S + 6 * 3600);
	assert_int_equal(fq_report_count, 3);
}

/* ---- crashes ---- */

static void
find_and_mail(void)
{
	queue_set_key(fq, key);
	fq_reports_clear();
	to_time(TODAY_S + DAY_S + 5 * 3600);
	answer(MSG_REPORT_FOUND, "tls@a.example", NULL);
}

static void
find_and_post(void)
{
	queue_set_key(fq, key);
	fq_reports_clear();
	to_time(TODAY_S + DAY_S + 5 * 3600);
	answer(MSG_REPORT_FOUND, NULL, "https://r.example/");
}

static void
post_taken(void)
{
	queue_set_key(fq, key);
	fq_reports_clear();
	to_time(TODAY_S + DAY_S + 5 * 3600);
	answer(MSG_REPORT_TAKEN, NULL, NULL);
}

/* Killed before the commit: neither mark nor mail.  After it: both. */
static void
test_crash_mail(void **state)
{
	(void)state;
	count("a.example", TODAY_S, true, 2);
	assert_true(queue_flush(fq));
	assert_true(fq_die("before-commit", find_and_mail));
	assert_int_equal(fq_spool_stats().messages, 0);
	assert_true(fq_die("after-commit", find_and_mail));
	assert_int_equal(fq_spool_stats().messages, 1);
	check_done("a.example", "");
	restart();
	to_time(TODAY_S + DAY_S + 20 * 3600);
	assert_int_equal(fq_report_count, 0);
	assert_int_equal(fq_spool_stats().messages, 1);
}

/* Taken, and killed before the mark: the same goes again. */
static void
test_crash_post(void **state)
{
	char note[SPOOL_REPORT_NOTE_MAX];

	(void)state;
	count("a.example", TODAY_S, true, 2);
	assert_true(queue_flush(fq));
	assert_true(fq_die("before-commit", find_and_post));
	assert_int_equal(state_of("a.example", note), SPOOL_REPORT_OPEN);
	assert_true(fq_die("after-commit", find_and_post));
	assert_int_equal(state_of("a.example", note), SPOOL_REPORT_SENDING);
	assert_true(fq_die("before-commit", post_taken));
	restart();
	to_time(TODAY_S + DAY_S + 5 * 3600);
	check_document(asked(MSG_REPORT_POST));
	assert_true(fq_die("after-commit", post_taken));
	check_done("a.example", "");
	restart();
	to_time(TODAY_S + DAY_S + 20 * 3600);
	assert_int_equal(fq_report_count, 0);
}

static void
count_one(void)
{
	count("a.example", TODAY_S, true, 1);
	(void)queue_flush(fq);
}

/* An event counts once or not at all. */
static void
test_crash_totals(void **state)
{
	(void)state;
	count_one();
	assert_true(fq_die("before-commit", count_one));
	check_totals(TODAY_S, "a.example", 0, 0, 1);
	assert_true(fq_die("after-commit", count_one));
	check_totals(TODAY_S, "a.example", 0, 0, 2);
}

/* ---- the operator ---- */

static void
check_range(int64_t start_s, int64_t end_s)
{
	const struct msg_report *m = &fq_reports[fq_report_count - 1].msg;
	struct tlsrpt_report r;
	char err[TLSRPT_ERR_MAX];
	struct buf json;

	assert_true(fq_report_count > 0);
	assert_int_equal(m->what, MSG_REPORT_POST);
	buf_init(&json, TLSRPT_DOC_MAX);
	assert_int_equal(tlsrpt_gunzip(m->body, m->body_len, &json), ST_OK);
	assert_int_equal(tlsrpt_doc_parse(buf_data(&json), json.len, &r, err),
		ST_OK);
	assert_int_equal(r.start_s, start_s);
	assert_int_equal(r.end_s, end_s);
	tlsrpt_report_clear(&r);
	buf_clear(&json);
}

/* What was counted until then, posted. */
static void
send_part(int64_t time_s)
{
	int64_t ticket;
	uint64_t n;

	clock_test_set(time_s * 1000);
	count("a.example", time_s, true, 1);
	assert_int_equal(queue_report_send(fq, true, NULL, &ticket, &n),
		ST_OK);
	assert_int_equal(n, 1);
	fq_turn();
	answer(MSG_REPORT_FOUND, NULL, "https://r.example/x");
	fq_turn();
}

/* RFC 8460 section 4.1: the parts of a day follow each other, also two that
 * are asked for in one second, and a part keeps its range when it goes
 * again. */
static void
test_ranges(void **state)
{
	int64_t end_s = TODAY_S + DAY_S - 1;

	(void)state;
	send_part(TODAY_S + 36000);
	check_range(TODAY_S, TODAY_S + 36000);
	answer(MSG_REPORT_TAKEN, NULL, NULL);
	send_part(TODAY_S + 36100);
	check_range(TODAY_S + 36001, TODAY_S + 36100);
	answer(MSG_REPORT_TAKEN, NULL, NULL);
	send_part(TODAY_S + 36100);
	check_range(TODAY_S + 36101, TODAY_S + 36101);
	answer(MSG_REPORT_FAILED, NULL, NULL);
	count("a.example", TODAY_S + 37000, true, 1);
	assert_true(queue_flush(fq));
	restart();
	to_time(TODAY_S + 37000);
	check_range(TODAY_S + 36101, TODAY_S + 36101);
	answer(MSG_REPORT_TAKEN, NULL, NULL);
	fq_reports_clear();
	to_time(TODAY_S + DAY_S + 5 * 3600);
	answer(MSG_REPORT_FOUND, NULL, "https://r.example/x");
	check_range(TODAY_S + 36102, end_s);
	answer(MSG_REPORT_TAKEN, NULL, NULL);
}

/* The last second of a day has room for one. */
static void
test_range_at_end(void **state)
{
	int64_t end_s = TODAY_S + DAY_S - 1;

	(void)state;
	for (int i = 0; i < 3; i++) {
		send_part(end_s);
		check_range(i == 0 ? TODAY_S : end_s, end_s);
		answer(MSG_REPORT_TAKEN, NULL, NULL);
	}
}

/* Two hosts that report for one domain do not give the same id. */
static void
test_host_in_id(void **state)
{
	(void)state;
	fq_use_conf("tlsrpt { send = yes domain = \"org.example\" "
		"from = \"pm@me.example\" }\n"
		"dkim { domain = \"me.example\" selector = s1 "
		"key-file = \"/k\" }\n");
	queue_set_key(fq, key);
	day_over("a.example", true);
	answer(MSG_REPORT_FOUND, "tls@a.example", NULL);
	assert_non_null(strstr(fq_job("a.example")->body,
		"<2023-11-14.a.example@me.example>"));
	assert_non_null(strstr(fq_job("a.example")->body,
		"TLS-Report-Submitter: org.example"));
}

static void
test_send_now(void **state)
{
	struct spool_report row;
	uint64_t n = 0;
	int64_t ticket;

	(void)state;
	count("a.example", TODAY_S, true, 2);
	assert_int_equal(queue_report_send(fq, false, NULL, &ticket, &n),
		ST_OK);
	assert_int_equal(n, 0);
	assert_int_equal(queue_report_send(fq, true, "b.example", &ticket,
		&n), ST_OK);
	assert_int_equal(n, 0);
	assert_int_equal(queue_report_send(fq, true, NULL, &ticket, &n),
		ST_OK);
	assert_int_equal(n, 1);
	fq_turn();
	assert_string_equal(asked(MSG_REPORT_FIND)->domain, "a.example");
	answer(MSG_REPORT_FOUND, "tls@a.example", NULL);
	assert_non_null(strstr(fq_job("a.example")->body,
		"<2023-11-14.1.a.example@me.example>"));
	/* The rest of the day is another report. */
	count("a.example", TODAY_S, true, 5);
	assert_true(queue_flush(fq));
	check_totals(TODAY_S, "a.example", 1, 0, 2);
	check_totals(TODAY_S, "a.example", 0, 0, 5);
	assert_true(row_of(TODAY_S, "a.example", 1, &row));
	assert_int_equal(row.asked_ms, ticket);
	assert_int_equal(row.state, SPOOL_REPORT_DONE);
	spool_report_clear(&row);
	clock_test_set((TODAY_S + DAY_S + 60) * 1000);
	fq_reports_clear();
	assert_int_equal(queue_report_send(fq, false, "a.example", &ticket,
		&n), ST_OK);
	assert_int_equal(n, 1);
	fq_turn();
	assert_int_equal(fq_report_count, 1);
}

/* Kept for a while, then gone. */
static void
test_kept(void **state)
{
	(void)state;
	count("a.example", TODAY_S, true, 1);
	assert_true(queue_flush(fq));
	clock_test_set((TODAY_S + 30 * DAY_S + 3600) * 1000);
	fq->report->sweep = true;
	assert_true(queue_flush(fq));
	check_totals(TODAY_S, "a.example", 0, 0, 1);
	clock_test_set((TODAY_S + 31 * DAY_S + 3600) * 1000);
	fq->report->sweep = true;
	assert_true(queue_flush(fq));
	check_totals(TODAY_S, "a.example", 0, 0, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_totals), T(test_bundled), T(test_slices), T(test_flood),
		T(test_fat), T(test_denied), T(test_days), T(test_too_many),
		T(test_due), T(test_mail), T(test_post), T(test_given_up),
		T(test_mail_expires),
		T(test_late_start), T(test_nobody), T(test_off),
		T(test_excluded), T(test_no_success), T(test_no_key),
		T(test_answers), T(test_worker_gone), T(test_crash_mail),
		T(test_crash_post), T(test_crash_totals), T(test_send_now),
		T(test_ranges), T(test_range_at_end), T(test_host_in_id),
		T(test_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
