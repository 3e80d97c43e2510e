/*
 * A worker's copy of what is remembered: learned once, told by the parent,
 * asked before a session; and what it says in the log.
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
#include "base/str.h"
#include "smtpd-out/worker/host_memory.h"

#define NOW INT64_C(1800000000)
#define DAY INT64_C(86400)

static struct msg_policy_host saved;
static unsigned saves;

static void
on_save(const struct msg_policy *msg, void *arg)
{
	assert_ptr_equal(arg, &saved);
	assert_int_equal(msg->count, 1);
	saved = msg->hosts[0];
	saves++;
}

static int
setup(void **state)
{
	saves = 0;
	clock_test_set(NOW * 1000);
	log_init("t", LOG_TO_STDERR, LOG_LEVEL_WARN);
	*state = host_memory_new(CONF_REMEMBER_REQUIRE, on_save, &saved);
	return 0;
}

static int
teardown(void **state)
{
	struct host_memory *m = *state;

	host_memory_free(&m);
	clock_test_real();
	return 0;
}

static void
tell(struct host_memory *m, const char *host, enum remember_level level,
	int64_t last_s)
{
	struct msg_policy_host h = { .level = level, .last_s = last_s };
	const struct msg_policy msg = { &h, 1 };

	(void)str_copy(h.host, sizeof(h.host), host);
	host_memory_take(m, &msg);
}

static enum demand_level
demanded(const struct host_memory *m, const char *host)
{
	struct demand d = { .level = DEMAND_MAY };

	host_memory_demand(m, host, &d);
	assert_int_equal(d.why, d.level == DEMAND_MAY ? WHY_DEFAULT :
		WHY_REMEMBERED);
	return d.level;
}

static const struct demand may = { .level = DEMAND_MAY },
	dane = { .level = DEMAND_DANE, .why = WHY_DANE };

/* What fn writes to standard error. */
static const char *
logged(void (*fn)(struct host_memory *), struct host_memory *m)
{
	static char text[2000];
	FILE *file = tmpfile();
	int old = dup(2);
	ssize_t n;

	assert_non_null(file);
	assert_true(dup2(fileno(file), 2) >= 0);
	fn(m);
	assert_true(dup2(old, 2) >= 0);
	(void)close(old);
	n = pread(fileno(file), text, sizeof(text) - 1, 0);
	assert_true(n >= 0);
	text[n] = '\0';
	(void)fclose(file);
	return text;
}

static void
test_learn(void **state)
{
	struct host_memory *m = *state;

	host_memory_ready(m, "mx.example", &may, false);
	assert_int_equal(saves, 0);
	assert_int_equal(demanded(m, "mx.example"), DEMAND_MAY);
	host_memory_ready(m, "mx.example", &may, true);
	assert_int_equal(saves, 1);
	assert_string_equal(saved.host, "mx.example");
	assert_int_equal(saved.level, REMEMBER_ENCRYPTED);
	assert_int_equal(demanded(m, "mx.example"), DEMAND_ENCRYPT);
	assert_int_equal(demanded(m, "mx2.example"), DEMAND_MAY);
	/* Told once, again when it is better or a day has gone. */
	host_memory_ready(m, "mx.example", &may, true);
	assert_int_equal(saves, 1);
	host_memory_ready(m, "mx.example", &dane, true);
	assert_int_equal(saves, 2);
	assert_int_equal(saved.level, REMEMBER_VERIFIED);
	clock_test_set((NOW + DAY) * 1000);
	host_memory_ready(m, "mx.example", &dane, true);
	assert_int_equal(saves, 3);
	host_memory_ready(m, "mx.example", &dane, true);
	assert_int_equal(saves, 3);
}

static void
test_told(void **state)
{
	struct host_memory *m = *state;

	tell(m, "mx.example", REMEMBER_ENCRYPTED, NOW - 50 * DAY);
	assert_int_equal(demanded(m, "mx.example"), DEMAND_ENCRYPT);
	clock_test_set((NOW + 11 * DAY) * 1000);	/* 61 days old */
	assert_int_equal(demanded(m, "mx.example"), DEMAND_MAY);
	tell(m, "mx.example", REMEMBER_ENCRYPTED, NOW);
	assert_int_equal(demanded(m, "mx.example"), DEMAND_ENCRYPT);
	tell(m, "mx.example", REMEMBER_NONE, 0);
	assert_int_equal(demanded(m, "mx.example"), DEMAND_MAY);
	tell(m, "mx.example", REMEMBER_NONE, 0);
	assert_int_equal(saves, 0);
}

static void
clear_text(struct host_memory *m)
{
	host_memory_ready(m, "down.example", &may, false);
	host_memory_ready(m, "down.example", &may, false);
}

static void
test_warns(void **state)
{
	const char *text;

	tell(*state, "down.example", REMEMBER_VERIFIED, NOW - DAY);
	text = logged(clear_text, *state);
	assert_non_null(strstr(text, " warn tls-downgrade host=down.example "
		"had=verified has=none since=2027-01-14T08:00:00Z "
		"action=continued"));
	/* Once for the two. */
	assert_null(strstr(strstr(text, "tls-downgrade") + 1,
		"tls-downgrade"));
	assert_int_equal(saves, 0);
}

static void
refused(struct host_memory *m)
{
	const struct demand d = { .level = DEMAND_ENCRYPT,
		.why = WHY_REMEMBERED };
	struct outcome why = outcome_tls_required("no.example",
		"STARTTLS is not offered");

	host_memory_closed(m, "no.example", &d, &why);
}

static void
test_warns_of_refusal(void **state)
{
	tell(*state, "no.example", REMEMBER_ENCRYPTED, NOW - DAY);
	assert_non_null(strstr(logged(refused, *state), " warn tls-downgrade "
		"host=no.example had=encrypted has=none "
		"since=2027-01-14T08:00:00Z action=refused"));
}

static void
other_ends(struct host_memory *m)
{
	const struct demand remembered = { .level = DEMAND_ENCRYPT,
		.why = WHY_REMEMBERED }, local = { .level = DEMAND_ENCRYPT,
		.why = WHY_LOCAL }, first = { .level = DEMAND_ENCRYPT,
		.tls_first = true }, none = { .level = DEMAND_NONE };
	struct outcome lost = outcome_connect("q.example", "refused"),
		tls = outcome_tls_required("q.example", "no");

	host_memory_closed(m, "q.example", &remembered, &lost);
	host_memory_closed(m, "q.example", &local, &tls);
	host_memory_closed(m, "unknown.example", &remembered, &tls);
	host_memory_ready(m, "q.example", &none, false);
	host_memory_ready(m, "q.example", &may, true);
	host_memory_ready(m, "new.example", &first, true);
	host_memory_ready(m, "new.example", &may, false);
	host_memory_ready(m, "", &may, true);
}

static void
test_says_nothing_else(void **state)
{
	tell(*state, "q.example", REMEMBER_ENCRYPTED, NOW);
	assert_string_equal(logged(other_ends, *state), "");
	assert_int_equal(saves, 0);
}

static void
test_modes(void **state)
{
	struct host_memory *m = host_memory_new(CONF_REMEMBER_OFF, on_save,
		&saved);

	(void)state;
	assert_null(m);
	host_memory_ready(m, "mx.example", &may, true);
	assert_int_equal(demanded(m, "mx.example"), DEMAND_MAY);
	tell(m, "mx.example", REMEMBER_VERIFIED, NOW);
	host_memory_free(&m);
	assert_int_equal(saves, 0);
	m = host_memory_new(CONF_REMEMBER_WARN, on_save, &saved);
	host_memory_ready(m, "mx.example", &may, true);
	assert_int_equal(saves, 1);
	assert_int_equal(demanded(m, "mx.example"), DEMAND_MAY);
	host_memory_free(&m);
	assert_null(m);
}

/* However many there are, the table has a bound. */
static void
test_bounded(void **state)
{
	struct host_memory *m = *state;
	char host[40];

	for (unsigned i = 0; i < REMEMBER_HOSTS_MAX + 10000; i++) {
		(void)snprintf(host, sizeof(host), "h%u.example", i);
		tell(m, host, REMEMBER_ENCRYPTED, NOW);
	}
	tell(m, "more.example", REMEMBER_ENCRYPTED, NOW);
	assert_int_equal(demanded(m, "more.example"), DEMAND_MAY);
	assert_int_equal(demanded(m, "h0.example"), DEMAND_ENCRYPT);
	tell(m, "h0.example", REMEMBER_NONE, 0);
	tell(m, "more.example", REMEMBER_ENCRYPTED, NOW);
	assert_int_equal(demanded(m, "more.example"), DEMAND_ENCRYPT);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_learn), T(test_told), T(test_warns),
		T(test_warns_of_refusal), T(test_says_nothing_else),
		T(test_modes), T(test_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
