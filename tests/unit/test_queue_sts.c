/*
 * MTA-STS policies in the queue manager: asked for, reported, stored with the
 * next commit, never for longer than they may last, fetched anew in time.
 */
#include "config.h"

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
#include "smtpd-out/queue/queue_sts.h"
#include "spool/spool_int.h"
#include "spool/sts_store.h"
#include "tests/unit/queue_fake.h"

#define DAY_S 86400
#define T0_S (T0 / 1000)
#define SOON_MS 1300		/* longer than it waits for a commit */
#define TEXT "version: STSv1\r\nmode: enforce\r\n"

static enum status
save(struct msg_sts msg, const char *domain)
{
	enum status st;

	(void)str_copy(msg.domain, sizeof(msg.domain), domain);
	if (msg.text != NULL) {
		msg.text = xstrdup(msg.text);
		msg.text_len = strlen(msg.text);
	}
	/* As it comes off the channel; a list has no business there. */
	msg.list_mx = xcalloc(1, sizeof(msg.list_mx[0]));
	msg.list_mx[0] = xstrdup("mx.example");
	msg.list_mx_count = 1;
	st = queue_sts_save(fq, WORKER_ID, &msg);
	msg_sts_clear(&msg);
	return st;
}

static struct msg_sts
policy(const char *id, int64_t max_age_s)
{
	static char text[] = TEXT;
	struct msg_sts msg = { .what = MSG_STS_FETCHED, .text = text,
		.fetched_s = clock_wall_s(), .used_s = clock_wall_s(),
		.expires_s = clock_wall_s() + max_age_s };

	(void)str_copy(msg.id, sizeof(msg.id), id);
	return msg;
}

static void
fetched(const char *domain, const char *id, int64_t max_age_s)
{
	assert_int_equal(save(policy(id, max_age_s), domain), ST_OK);
}

static void
failed(const char *domain, uint32_t failures, int64_t next_try_s)
{
	struct msg_sts msg = { .what = MSG_STS_FAILED,
		.tried_s = clock_wall_s(), .next_try_s = next_try_s,
		.failures = failures, .failure = TLS_FAILURE_NOT_TRUSTED,
		.error = "no", .used_s = clock_wall_s() };

	assert_int_equal(save(msg, domain), ST_OK);
}

/* What a worker is told of a domain. */
static const struct msg_sts *
get(const char *domain)
{
	struct msg_sts msg = { .what = MSG_STS_GET };
	static uint64_t request = 1000;

	fq_sts_clear();
	(void)str_copy(msg.domain, sizeof(msg.domain), domain);
	assert_int_equal(queue_sts_get(fq, WORKER_ID, ++request, &msg), ST_OK);
	assert_int_equal(fq_sts_count, 1);
	assert_int_equal(fq_sts[0].worker, WORKER_ID);
	assert_int_equal(fq_sts[0].id, request);
	assert_int_equal(fq_sts[0].msg.what, MSG_STS_ANSWER);
	assert_string_equal(fq_sts[0].msg.domain, domain);
	return &fq_sts[0].msg;
}

static bool
stored(const char *domain)
{
	struct spool_sts row;
	enum status st = spool_sts_get(fq_spool, domain, &row);

	spool_sts_clear(&row);
	return st == ST_OK;
}

static void
test_known(void **state)
{
	const struct msg_sts *m;

	(void)state;
	m = get("a.example");
	assert_false(m->found);
	assert_null(m->text);
	fetched("a.example", "id1", 1000);
	for (int i = 0; i < 3; i++) {
		m = get("a.example");
		assert_true(m->found);
		assert_string_equal(m->id, "id1");
		assert_string_equal(m->text, TEXT);
		assert_int_equal(m->fetched_s, T0_S);
		assert_int_equal(m->expires_s, T0_S + 1000);
		assert_int_equal(m->used_s, T0_S);
		/* Before the commit, after it, and after a restart. */
		if (i == 0)
			assert_true(queue_flush(fq));
		else if (i == 1)
			fq_restart();
	}
	assert_int_equal(fq_stats().commits, 0);
	clock_test_set(T0 + 1000 * 1000 - 1);
	assert_non_null(get("a.example")->text);
	clock_test_set(T0 + 1000 * 1000);
	m = get("a.example");			/* never beyond its time */
	assert_null(m->text);
	assert_string_equal(m->id, "");
	assert_int_equal(m->expires_s, 0);
}

/* Nobody else commits: by itself, once for all of them; else with mail. */
static void
test_commit(void **state)
{
	(void)state;
	fetched("a.example", "1", 1000);
	fetched("b.example", "1", 1000);
	fq_turn();
	assert_int_equal(fq_stats().commits, 0);
	fq_run_ms(SOON_MS);
	assert_int_equal(fq_stats().commits, 1);
	assert_true(stored("a.example") && stored("b.example"));
	fetched("c.example", "1", 1000);
	(void)fq_submit("s@x.example", "a@d.example");
	fq_turn();
	assert_int_equal(fq_stats().commits, 2);
	assert_true(stored("c.example"));
	fq_run_ms(SOON_MS);
	assert_int_equal(fq_stats().commits, 2);
}

/* A failed fetch never takes a policy away; a good one ends the failures. */
static void
test_failures(void **state)
{
	const struct msg_sts *m;

	(void)state;
	failed("a.example", 1, T0_S + 300);
	m = get("a.example");
	assert_true(m->found);
	assert_null(m->text);
	assert_int_equal(m->failures, 1);
	assert_int_equal(m->next_try_s, T0_S + 300);
	assert_int_equal(m->failure, TLS_FAILURE_NOT_TRUSTED);
	assert_string_equal(m->error, "no");
	assert_true(queue_flush(fq));
	fetched("a.example", "id1", 10000);
	assert_true(queue_flush(fq));
	m = get("a.example");
	assert_non_null(m->text);
	assert_int_equal(m->failures, 0);
	assert_int_equal(m->next_try_s, 0);
	assert_string_equal(m->error, "");
	failed("a.example", 1, T0_S + 300);
	failed("a.example", 2, T0_S + 900);
	assert_true(queue_flush(fq));
	fq_restart();
	m = get("a.example");
	assert_string_equal(m->text, TEXT);
	assert_int_equal(m->failures, 2);
	assert_int_equal(m->next_try_s, T0_S + 900);
}

/* What a worker says of times is not believed beyond what can be. */
static void
test_times(void **state)
{
	struct msg_sts msg = policy("id1", INT64_C(1) << 40);
	const struct msg_sts *m;

	(void)state;
	msg.fetched_s = msg.used_s = INT64_MAX;
	assert_int_equal(save(msg, "a.example"), ST_OK);
	failed("a.example", 0, INT64_MAX);
	m = get("a.example");
	assert_int_equal(m->fetched_s, T0_S);
	assert_int_equal(m->used_s, T0_S);
	assert_int_equal(m->expires_s, T0_S + 31557600);
	assert_int_equal(m->next_try_s, T0_S + 7 * DAY_S);
	assert_int_equal(m->failures, 1);
}

/* A domain has one worker; and what is no report is none. */
static void
test_denied(void **state)
{
	static const enum msg_sts_what never[] = { MSG_STS_GET,
		MSG_STS_ANSWER, MSG_STS_FORGET, MSG_STS_REFRESH };
	struct msg_sts msg = policy("1", 1000);

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		msg.what = never[i];
		assert_int_equal(save(msg, "a.example"), ST_DENIED);
	}
	fq_owns = false;
	msg.what = MSG_STS_FETCHED;
	assert_int_equal(save(msg, "a.example"), ST_DENIED);
	(void)str_copy(msg.domain, sizeof(msg.domain), "a.example");
	assert_int_equal(queue_sts_get(fq, WORKER_ID, 1, &msg), ST_DENIED);
	msg.what = MSG_STS_GET;			/* nor may it be read */
	assert_int_equal(queue_sts_get(fq, WORKER_ID, 1, &msg), ST_DENIED);
	fq_owns = true;
	assert_false(get("a.example")->found);
}

/* A worker that repeats itself is no reason to write. */
static void
test_repeated(void **state)
{
	struct msg_sts used = { .what = MSG_STS_USED };
	int before = sqlite3_total_changes(fq_spool->db);

	(void)state;
	for (int i = 0; i < 100; i++) {
		fetched("a.example", "1", 100000);
		assert_true(queue_flush(fq));
		clock_test_set(T0 + i * 100);
	}
	assert_int_equal(sqlite3_total_changes(fq_spool->db) - before, 1);
	clock_test_set(T0 + 2 * HOUR);
	used.used_s = T0_S + 7200;
	assert_int_equal(save(used, "a.example"), ST_OK);
	assert_int_equal(save(used, "b.example"), ST_OK);
	assert_true(queue_flush(fq));
	assert_int_equal(sqlite3_total_changes(fq_spool->db) - before, 2);
	assert_int_equal(get("a.example")->used_s, T0_S + 7200);
	assert_false(stored("b.example"));	/* used, but not there */
	assert_false(get("b.example")->found);
}

static void
test_forget(void **state)
{
	(void)state;
	assert_int_equal(queue_sts_forget(fq, "a.example"), ST_NOENT);
	fetched("a.example", "1", 1000);
	assert_true(queue_flush(fq));
	fetched("a.example", "2", 1000);		/* still waiting */
	fetched("b.example", "1", 1000);
	fq_sts_clear();
	assert_int_equal(queue_sts_forget(fq, "a.example"), ST_OK);
	assert_int_equal(fq_sts_count, 1);
	assert_int_equal(fq_sts[0].worker, 0);		/* all of them */
	assert_int_equal(fq_sts[0].id, 0);
	assert_int_equal(fq_sts[0].msg.what, MSG_STS_FORGET);
	assert_true(queue_flush(fq));
	assert_false(stored("a.example"));
	assert_true(stored("b.example"));
	fetched("c.example", "1", 1000);		/* waiting only */
	assert_int_equal(queue_sts_forget(fq, "c.example"), ST_OK);
	assert_true(queue_flush(fq));
	assert_false(stored("c.example"));
}

/* ---- faults ---- */

static void
run_sql(const char *sql)
{
	assert_int_equal(sqlite3_exec(fq_spool->db, sql, NULL, NULL, NULL),
		SQLITE_OK);
}

/* A full disk: it waits, mail goes its way, and then it is stored. */
static void
test_full(void **state)
{
	static char big[60000];
	struct msg_sts msg = policy("1", 1000);

	(void)state;
	run_sql("PRAGMA max_page_count = 1");	/* no more than there are */
	memset(big, 'x', sizeof(big) - 1);
	msg.text = big;
	assert_int_equal(save(msg, "a.example"), ST_OK);
	assert_true(queue_flush(fq));
	assert_false(stored("a.example"));
	assert_non_null(get("a.example")->text);	/* still known */
	run_sql("PRAGMA max_page_count = 100000");
	assert_true(queue_flush(fq));
	assert_true(stored("a.example"));
}

/* A table that cannot be written: mail and its results do not wait for it. */
static void
test_damaged_table(void **state)
{
	unsigned request;

	(void)state;
	run_sql("CREATE TEMP TRIGGER t BEFORE INSERT ON sts_policy "
		"BEGIN SELECT RAISE(ABORT, 'no'); END");
	fetched("a.example", "1", 1000);
	request = fq_submit("s@x.example", "a@d.example");
	fq_turn();
	assert_true(fq_requests[request].accepted != 0);
	fq_answer(fq_job("d.example"), 250);
	fetched("b.example", "1", 1000);
	assert_true(queue_flush(fq));
	assert_int_equal(fq_spool_stats().messages, 0);
	run_sql("DROP TRIGGER t");
	fetched("c.example", "1", 1000);
	assert_true(queue_flush(fq));
	assert_true(stored("c.example"));
}

/* A damaged row is as none, and the next report replaces it. */
static void
test_damaged_row(void **state)
{
	(void)state;
	fetched("a.example", "1", 1000);
	assert_true(queue_flush(fq));
	run_sql("UPDATE sts_policy SET text = NULL");
	log_init("t", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	assert_false(get("a.example")->found);
	fetched("a.example", "2", 1000);
	assert_true(queue_flush(fq));
	assert_string_equal(get("a.example")->id, "2");
	run_sql("UPDATE sts_policy SET text = NULL");
	assert_int_equal(queue_sts_forget(fq, "a.example"), ST_OK);
	assert_false(stored("a.example"));
}

/* One that stands in the way of the sweep keeps nothing from being stored. */
static void
test_damaged_sweep(void **state)
{
	(void)state;
	fetched("a.example", "1", 1000);
	assert_true(queue_flush(fq));
	run_sql("UPDATE sts_policy SET expires_s = -1");
	log_init("t", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	fetched("b.example", "1", 1000);
	assert_true(queue_flush(fq));
	assert_true(stored("b.example"));
}

/* A spool that cannot be read does not know; it does not know of none. */
static void
test_unreadable(void **state)
{
	struct msg_sts msg = { .what = MSG_STS_GET };

	(void)state;
	fetched("a.example", "1", 1000);
	assert_true(queue_flush(fq));
	run_sql("ALTER TABLE sts_policy RENAME TO away");
	fq_sts_clear();
	(void)str_copy(msg.domain, sizeof(msg.domain), "a.example");
	assert_int_equal(queue_sts_get(fq, WORKER_ID, 7, &msg), ST_OK);
	assert_int_equal(fq_sts_count, 0);
	run_sql("ALTER TABLE away RENAME TO sts_policy");
	assert_non_null(get("a.example")->text);
}

/* Policies are kept, whatever else waits with them. */
static void
test_full_of_failures(void **state)
{
	char domain[40];

	(void)state;
	for (unsigned i = 0; i < 5000; i++) {
		(void)snprintf(domain, sizeof(domain), "i%u.example", i);
		failed(domain, 1, T0_S + 300);
	}
	fetched("a.example", "1", 1000);
	assert_true(queue_flush(fq));
	assert_true(stored("a.example"));
	assert_false(stored("i0.example"));
}

/* What is too much goes as fast as it comes. */
static void
test_sweep_again(void **state)
{
	struct spool_sts row;
	unsigned left = 0;
	char domain[40];

	(void)state;
	fq_use_conf("mta-sts { cache-size = 10 }\n");
	for (unsigned i = 0; i < 1200; i++) {
		(void)snprintf(domain, sizeof(domain), "i%u.example", i);
		failed(domain, 1, T0_S + 300);
	}
	fq_run_ms(4 * SOON_MS);
	for (unsigned i = 0; i < 1200; i++) {
		(void)snprintf(domain, sizeof(domain), "i%u.example", i);
		left += spool_sts_get(fq_spool, domain, &row) == ST_OK;
	}
	assert_int_equal(left, 10);
}

/* A worker gone mad: what waits is bounded, by number and by size. */
static void
test_flood(void **state)
{
	static char big[MSG_STS_TEXT_MAX];
	struct msg_sts msg = policy("1", 1000);
	char domain[40];

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	msg.text = big;
	for (unsigned i = 0; i < 300; i++) {
		(void)snprintf(domain, sizeof(domain), "h%u.example", i);
		assert_int_equal(save(msg, domain), ST_OK);
	}
	assert_true(queue_flush(fq));
	assert_true(stored("h255.example"));
	assert_false(stored("h257.example"));
	for (unsigned i = 0; i < 6000; i++) {
		(void)snprintf(domain, sizeof(domain), "i%u.example", i);
		failed(domain, 1, T0_S + 300);
	}
	assert_true(queue_flush(fq));
	assert_true(stored("i4999.example"));
	assert_false(stored("i5000.example"));
}

/* More domains than may be: the least recently used go, but not those that
 * were there first. */
static void
test_bound(void **state)
{
	char domain[40];

	(void)state;
	fq_use_conf("mta-sts { cache-size = 10 }\n");
	for (unsigned i = 0; i < 30; i++) {
		(void)snprintf(domain, sizeof(domain), "h%02u.example", i);
		fetched(domain, "1", 100000);
		clock_test_set(T0 + (i + 1) * 1000);
	}
	assert_true(queue_flush(fq));
	assert_true(stored("h00.example") && stored("h04.example"));
	assert_false(stored("h05.example") || stored("h24.example"));
	assert_true(stored("h25.example") && stored("h29.example"));
}

/* ---- fetching anew ---- */

/* The domains that a worker was asked to fetch again, in `ms`. */
static void
check_refreshes(unsigned ms, const char *want)
{
	char got[400] = "";
	size_t len = 0;

	fq_sts_clear();
	fq_run_ms(ms);
	for (size_t i = 0; i < fq_sts_count; i++) {
		assert_int_equal(fq_sts[i].msg.what, MSG_STS_REFRESH);
		assert_int_equal(fq_sts[i].worker, WORKER_ID);
		assert_int_equal(fq_sts[i].id, 0);
		if (strstr(got, fq_sts[i].msg.domain) == NULL)
			len += (size_t)snprintf(got + len, sizeof(got) - len,
				"%s ", fq_sts[i].msg.domain);
	}
	assert_string_equal(got, want);
}

/* A clock that is years ahead, or behind, for a while: then all is as it was,
 * also for who starts again. */
static void
test_clock(void **state)
{
	static const int64_t years[] = { 10, -10, 40, -40 };

	(void)state;
	fetched("a.example", "1", 4 * DAY_S);
	assert_true(queue_flush(fq));
	for (size_t i = 0; i < sizeof(years) / sizeof(years[0]); i++) {
		clock_test_wall(T0 + years[i] * 365 * 24 * HOUR);
		failed("b.example", 1, clock_wall_s() + 300);
		assert_true(queue_flush(fq));
		assert_int_equal(get("a.example")->text != NULL, years[i] < 0);
		failed("a.example", 1, clock_wall_s() + 300);
		assert_true(queue_flush(fq));
		clock_test_wall(T0);
		failed("c.example", 1, clock_wall_s() + 300);
		assert_true(queue_flush(fq));
		assert_string_equal(get("a.example")->text, TEXT);
		assert_int_equal(get("a.example")->expires_s, T0_S +
			4 * DAY_S);
	}
	/* What has expired by a clock that goes on is removed. */
	clock_test_set(T0 + 5 * 24 * HOUR);
	fetched("b.example", "1", 4 * DAY_S);
	assert_true(queue_flush(fq));
	assert_false(stored("a.example"));
}

static void
test_refresh(void **state)
{
	(void)state;
	fq_use_conf("mta-sts { refresh-check = 20ms }\n");
	fetched("a.example", "1", 4 * DAY_S);
	fetched("b.example", "1", 40 * DAY_S);
	assert_true(queue_flush(fq));
	check_refreshes(60, "");
	clock_test_set(T0 + 49 * HOUR);
	check_refreshes(60, "a.example ");
	/* It failed, and waits; the policy is in force until its end. */
	failed("a.example", 1, clock_wall_s() + 3600);
	assert_true(queue_flush(fq));
	check_refreshes(60, "");
	assert_non_null(get("a.example")->text);
	clock_test_set(T0 + 51 * HOUR);
	check_refreshes(60, "a.example ");
	fetched("a.example", "1", 4 * DAY_S);
	assert_true(queue_flush(fq));
	check_refreshes(60, "");
	fq_worker = 0;				/* nobody can do it now */
	clock_test_set(T0 + 21 * 24 * HOUR);
	check_refreshes(60, "");
	fq_worker = WORKER_ID;
	check_refreshes(60, "b.example ");
	/* 60 days without mail: it may expire. */
	fetched("c.example", "1", 365 * DAY_S);
	clock_test_set(T0 + 21 * 24 * HOUR + 190 * 24 * HOUR);
	check_refreshes(60, "");
	fq_use_conf("mta-sts { refresh-check = 20ms unused = 365d }\n");
	check_refreshes(60, "c.example ");
	fq_use_conf("mta-sts { refresh-check = 20ms unused = 365d enable = no "
		"}\n");
	check_refreshes(60, "");
}

/* Many of them: all in the end, a few at a time. */
static void
test_refresh_many(void **state)
{
	char domain[40];
	bool seen[100] = { false };
	unsigned n = 0;

	(void)state;
	fq_use_conf("mta-sts { refresh-check = 100ms }\n");
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(domain, sizeof(domain), "h%02u.example", i);
		fetched(domain, "1", 4 * DAY_S);
	}
	assert_true(queue_flush(fq));
	clock_test_set(T0 + 49 * HOUR);
	fq_sts_clear();
	for (int i = 0; i < 100 && fq_sts_count < 100; i++)
		fq_run_ms(5);
	assert_int_equal(fq_sts_count, 100);
	for (size_t i = 0; i < fq_sts_count; i++) {
		unsigned at = (unsigned)atoi(fq_sts[i].msg.domain + 1);

		n += !seen[at];
		seen[at] = true;
	}
	assert_int_equal(n, 100);
}

/* What the operator's lists say comes with the answer, while they last; what
 * the domain itself says is beside it. */
static void
test_list(void **state)
{
	char path[] = "/tmp/test-sts-list-XXXXXX", conf[200];
	int fd = mkstemp(path);
	const struct msg_sts *m;

	(void)state;
	assert_true(fd >= 0);
	assert_true(dprintf(fd, "{\"version\":\"0.1\",\"expires\":%lld,"
		"\"policies\":{\"a.example\":{\"mode\":\"enforce\",\"mxs\":"
		"[\"mx.a.example\",\".b.example\"]},\"t.example\":{\"mode\":"
		"\"testing\",\"mxs\":[\"*.t.example\"]}}}",
		(long long)T0_S + 1000) > 0);
	(void)close(fd);
	(void)snprintf(conf, sizeof(conf), "mta-sts { lists = {\"%s\"}\n"
		"refresh-check = 20ms }\n", path);
	fq_use_conf(conf);
	m = get("a.example");
	assert_false(m->found);
	assert_null(m->text);
	assert_int_equal(m->list_mode, MSG_STS_LIST_ENFORCE);
	assert_int_equal(m->list_mx_count, 2);
	assert_string_equal(m->list_mx[1], ".b.example");
	assert_int_equal(m->list_expires_s, T0_S + 1000);
	assert_int_equal(get("t.example")->list_mode, MSG_STS_LIST_TESTING);
	assert_int_equal(get("sub.a.example")->list_mode, MSG_STS_LIST_NONE);
	fetched("a.example", "1", 5000);
	m = get("a.example");
	assert_non_null(m->text);
	assert_int_equal(m->list_mode, MSG_STS_LIST_ENFORCE);
	assert_int_equal(unlink(path), 0);
	fq_restart();
	assert_int_equal(get("t.example")->list_mode, MSG_STS_LIST_TESTING);
	clock_test_set(T0 + 1000 * 1000);
	assert_int_equal(get("t.example")->list_mode, MSG_STS_LIST_NONE);
	fq_run_ms(60);			/* the walk notices, and says so */
	assert_int_equal(get("t.example")->list_mode, MSG_STS_LIST_NONE);
}

static void
write_list(const char *path, int hours, const char *mx)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fprintf(f, "{\"version\":\"0.1\",\"expires\":%lld,"
		"\"policies\":{\"a.example\":{\"mode\":\"enforce\","
		"\"mxs\":[\"%s\"]}}}", (long long)T0_S + hours * 3600,
		mx) > 0);
	assert_int_equal(fclose(f), 0);
}

/* A new list under the old name counts once the old one has expired, for the
 * first who asks. */
static void
test_list_renewed(void **state)
{
	char path[] = "/tmp/test-sts-list-XXXXXX", conf[200];
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		assert_true(dprintf(fd, "{\"version\":\"0.1\",\"expires\":"
			"%lld,\"policies\":{\"a.example\":{\"mode\":"
			"\"enforce\",\"mxs\":[\"mx%d.example\"]}}}",
			(long long)T0_S + (i + 1) * 1000, i) > 0);
		if (i == 0) {
			(void)snprintf(conf, sizeof(conf),
				"mta-sts { lists = {\"%s\"} }\n", path);
			fq_use_conf(conf);
		}
	}
	(void)close(fd);
	assert_string_equal(get("a.example")->list_mx[0], "mx0.example");
	clock_test_set(T0 + 1000 * 1000);
	assert_string_equal(get("a.example")->list_mx[0], "mx1.example");
	/* The next one comes late. */
	clock_test_set(T0 + 2000 * 1000);
	assert_int_equal(get("a.example")->list_mx_count, 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(get("a.example")->list_mx_count, 0);
	write_list(path, 3, "mx2.example");
	assert_string_equal(get("a.example")->list_mx[0], "mx2.example");
	assert_int_equal(unlink(path), 0);
}

static unsigned ended;
static enum msg_sts_what ended_with;

static void
on_refreshed(const struct msg_sts *msg, void *arg)
{
	assert_ptr_equal(arg, &ended);
	ended++;
	ended_with = msg == NULL ? MSG_STS_WHATS : msg->what;
}

static void
test_operator_refresh(void **state)
{
	struct msg_sts absent = { .what = MSG_STS_ABSENT, .error = "none" };
	struct msg_sts used = { .what = MSG_STS_USED, .used_s = T0_S };
	uint64_t one, two;

	(void)state;
	ended = 0;
	one = queue_sts_refresh(fq, "a.example", on_refreshed, &ended);
	two = queue_sts_refresh(fq, "a.example", on_refreshed, &ended);
	assert_true(one != 0 && two != 0 && one != two);
	assert_int_equal(fq_sts_count, 2);
	assert_int_equal(fq_sts[1].id, two);
	assert_int_equal(fq_sts[1].msg.what, MSG_STS_REFRESH);
	/* Another domain's, or no fetch at all, is no answer to it. */
	assert_int_equal(save(policy("1", 1000), "b.example"), ST_OK);
	assert_int_equal(save(used, "a.example"), ST_OK);
	assert_int_equal(ended, 0);
	/* One fetch for all who asked. */
	assert_int_equal(save(policy("2", 1000), "a.example"), ST_OK);
	assert_int_equal(ended, 2);
	assert_int_equal(ended_with, MSG_STS_FETCHED);
	assert_string_equal(get("a.example")->id, "2");
	assert_int_equal(save(policy("2", 1000), "a.example"), ST_OK);
	assert_int_equal(ended, 2);
	one = queue_sts_refresh(fq, "n.example", on_refreshed, &ended);
	queue_sts_refresh_cancel(fq, one);
	assert_int_equal(save(absent, "n.example"), ST_OK);
	assert_int_equal(ended, 2);
	(void)queue_sts_refresh(fq, "n.example", on_refreshed, &ended);
	assert_int_equal(save(absent, "n.example"), ST_OK);
	assert_int_equal(ended, 3);
	assert_int_equal(ended_with, MSG_STS_ABSENT);
	assert_false(get("n.example")->found);
}

static void
test_operator_refresh_lost(void **state)
{
	(void)state;
	ended = 0;
	(void)queue_sts_refresh(fq, "n.example", on_refreshed, &ended);
	queue_child_gone(fq, WORKER_ID, GONE_CRASHED, 0);
	assert_int_equal(ended, 1);
	assert_int_equal(ended_with, MSG_STS_WHATS);
	fq_worker = 0;
	assert_int_equal(queue_sts_refresh(fq, "a.example", on_refreshed,
		&ended), 0);
	fq_worker = WORKER_ID;
	queue_sts_refresh_cancel(fq, 12345);
	/* It does not answer. */
	fq_use_conf("mta-sts { fetch-timeout = 10ms }\n"
		"resolver { lookup-timeout = 10ms }\n");
	(void)queue_sts_refresh(fq, "a.example", on_refreshed, &ended);
	fq_run_ms(2200);
	assert_int_equal(ended, 2);
	assert_int_equal(ended_with, MSG_STS_WHATS);
	/* One that ends with the queue is simply gone. */
	(void)queue_sts_refresh(fq, "a.example", on_refreshed, &ended);
	fq_use_conf("mta-sts { enable = no }\n");
	assert_int_equal(ended, 2);
	assert_int_equal(queue_sts_refresh(fq, "a.example", on_refreshed,
		&ended), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fq_setup, fq_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_known), T(test_commit), T(test_failures),
		T(test_times), T(test_denied), T(test_repeated),
		T(test_forget), T(test_full), T(test_damaged_table),
		T(test_damaged_row), T(test_damaged_sweep),
		T(test_unreadable), T(test_full_of_failures),
		T(test_sweep_again), T(test_flood), T(test_bound),
		T(test_clock), T(test_refresh), T(test_refresh_many),
		T(test_operator_refresh),
		T(test_operator_refresh_lost), T(test_list),
		T(test_list_renewed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
