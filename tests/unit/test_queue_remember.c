/*
 * What workers see of hosts, on its way through the queue manager: with the
 * next commit or soon, not more often than needed, then told to all workers.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/str.h"
#include "spool/policy_store.h"
#include "tests/unit/queue_fake.h"

#define DAY (24 * HOUR)
#define SOON_MS 2300		/* longer than it waits for a commit */

static void
saw(const char *host, enum remember_level level)
{
	struct msg_policy_host h = { .level = level };
	const struct msg_policy msg = { &h, 1 };

	(void)str_copy(h.host, sizeof(h.host), host);
	queue_remember(fq, &msg);
}

static unsigned
stored(const char *host)
{
	struct spool_host_tls h;

	return spool_host_tls_get(fq_spool, host, &h) == ST_OK ? h.level : 0;
}

/* Nobody else commits: by itself, once for all of them. */
static void
test_alone(void **state)
{
	(void)state;
	saw("a.example", REMEMBER_ENCRYPTED);
	saw("b.example", REMEMBER_VERIFIED);
	fq_turn();
	assert_int_equal(fq_stats().commits, 0);
	fq_run_ms(SOON_MS);
	assert_int_equal(fq_stats().commits, 1);
	assert_int_equal(stored("a.example"), REMEMBER_ENCRYPTED);
	assert_int_equal(stored("b.example"), REMEMBER_VERIFIED);
	assert_int_equal(fq_told_count, 2);
	assert_int_equal(fq_told_worker, 0);
	assert_string_equal(fq_told[1].host, "b.example");
	assert_int_equal(fq_told[1].level, REMEMBER_VERIFIED);
	assert_int_equal(fq_told[1].last_s, T0 / 1000);
}

/* Mail commits anyway: it goes along. */
static void
test_with_mail(void **state)
{
	(void)state;
	saw("a.example", REMEMBER_ENCRYPTED);
	(void)fq_submit("s@x.example", "a@d.example");
	fq_turn();
	assert_int_equal(fq_stats().commits, 1);
	assert_int_equal(stored("a.example"), REMEMBER_ENCRYPTED);
	assert_int_equal(fq_told_count, 1);
	fq_run_ms(SOON_MS);
	assert_int_equal(fq_stats().commits, 1);
}

/* A worker that repeats itself is no reason to write, or to lose. */
static void
test_repeated(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++) {
		saw("a.example", REMEMBER_VERIFIED);
		saw("a.example", REMEMBER_ENCRYPTED);
		saw("a.example", REMEMBER_NONE);
	}
	assert_true(queue_flush(fq));
	assert_int_equal(stored("a.example"), REMEMBER_VERIFIED);
	assert_int_equal(fq_told_count, 1);
	saw("a.example", REMEMBER_VERIFIED);
	assert_true(queue_flush(fq));
	assert_int_equal(fq_told_count, 1);
	clock_test_set(T0 + DAY);
	saw("a.example", REMEMBER_VERIFIED);
	assert_true(queue_flush(fq));
	assert_int_equal(fq_told_count, 2);
	assert_int_equal(fq_told[1].last_s, (T0 + DAY) / 1000);
}

/* After a restart a new worker gets all of it. */
static void
test_restart(void **state)
{
	char host[40];

	(void)state;
	for (unsigned i = 0; i < MSG_POLICY_HOSTS_MAX + 3; i++) {
		(void)snprintf(host, sizeof(host), "h%04u.example", i);
		saw(host, REMEMBER_ENCRYPTED);
	}
	assert_true(queue_flush(fq));
	assert_int_equal(fq_told_count, MSG_POLICY_HOSTS_MAX + 3);
	fq_restart();
	fq_told_count = 0;
	queue_remembered(fq, WORKER_ID);
	assert_int_equal(fq_told_count, MSG_POLICY_HOSTS_MAX + 3);
	assert_int_equal(fq_told_worker, WORKER_ID);
	assert_string_equal(fq_told[2].host, "h0002.example");
}

static void
test_forget(void **state)
{
	(void)state;
	assert_int_equal(queue_forget(fq, "a.example"), ST_NOENT);
	saw("a.example", REMEMBER_ENCRYPTED);
	assert_true(queue_flush(fq));
	fq_told_count = 0;
	saw("a.example", REMEMBER_VERIFIED);		/* still waiting */
	assert_int_equal(queue_forget(fq, "a.example"), ST_OK);
	assert_int_equal(fq_told_count, 1);
	assert_int_equal(fq_told[0].level, REMEMBER_NONE);
	assert_true(queue_flush(fq));
	assert_int_equal(stored("a.example"), 0);
	assert_int_equal(fq_told_count, 1);
}

/* What was not used for long goes when others come, and workers hear of it. */
static void
test_expiry(void **state)
{
	(void)state;
	saw("old.example", REMEMBER_ENCRYPTED);
	assert_true(queue_flush(fq));
	clock_test_set(T0 + 61 * DAY);
	fq_told_count = 0;
	saw("new.example", REMEMBER_ENCRYPTED);
	assert_true(queue_flush(fq));
	assert_int_equal(stored("old.example"), 0);
	assert_int_equal(stored("new.example"), REMEMBER_ENCRYPTED);
	assert_int_equal(fq_told_count, 2);
	assert_string_equal(fq_told[1].host, "old.example");
	assert_int_equal(fq_told[1].level, REMEMBER_NONE);
}

/* Over the bound the one that was not used for longest goes. */
static void
test_bound(void **state)
{
	struct spool_host_tls h = { .level = 1 };

	(void)state;
	assert_int_equal(spool_begin(fq_spool), ST_OK);
	for (unsigned i = 0; i < REMEMBER_HOSTS_MAX; i++) {
		(void)snprintf(h.host, sizeof(h.host), "h%u.example", i);
		h.last_s = T0 / 1000 - (i == 77);
		assert_int_equal(spool_host_tls_put(fq_spool, &h), ST_OK);
	}
	assert_int_equal(spool_commit(fq_spool), ST_OK);
	saw("new.example", REMEMBER_ENCRYPTED);
	assert_true(queue_flush(fq));
	assert_int_equal(stored("h77.example"), 0);
	assert_int_equal(stored("h78.example"), 1);
	assert_int_equal(stored("new.example"), 1);
	assert_int_equal(fq_told_count, 2);
}

static void
test_off(void **state)
{
	(void)state;
	fq_use_conf("remember-tls = off\n");
	saw("a.example", REMEMBER_ENCRYPTED);
	assert_true(queue_flush(fq));
	assert_int_equal(stored("a.example"), 0);
	assert_int_equal(fq_told_count, 0);
}

/* A worker gone mad: what waits is bounded. */
static void
test_flood(void **state)
{
	char host[40];

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		(void)snprintf(host, sizeof(host), "h%u.example", i);
		saw(host, REMEMBER_ENCRYPTED);
	}
	assert_true(queue_flush(fq));
	assert_int_equal(stored("h9999.example"), REMEMBER_ENCRYPTED);
	assert_int_equal(stored("h10000.example"), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fq_setup, fq_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_alone), T(test_with_mail), T(test_repeated),
		T(test_restart), T(test_forget), T(test_expiry),
		T(test_bound), T(test_off), T(test_flood),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
