/*
 * What is remembered of a host's TLS: what a session shows, what is worse
 * than before, what is stored, and what is demanded then.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "policy/remember.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define NOW INT64_C(1800000000)
#define DAY INT64_C(86400)

#define NON REMEMBER_NONE
#define ENC REMEMBER_ENCRYPTED
#define VER REMEMBER_VERIFIED

static const struct {
	enum demand_level level;
	enum demand_why why;
	bool tls;
	enum remember_level shown;
	bool worse_than_enc, worse_than_ver;
} sessions[] = {
	{ DEMAND_MAY, WHY_DEFAULT, false, NON, true, true },
	{ DEMAND_MAY, WHY_LOCAL, false, NON, true, true },
	{ DEMAND_MAY, WHY_OVERRIDE, false, NON, true, true },
	{ DEMAND_MAY, WHY_TLS_OPTIONAL, false, NON, true, true },
	/* Whoever wants no TLS gets none. */
	{ DEMAND_NONE, WHY_LOCAL, false, NON, false, false },
	{ DEMAND_NONE, WHY_HOSTS_AVOID, false, NON, false, false },
	{ DEMAND_MAY, WHY_DEFAULT, true, ENC, false, true },
	{ DEMAND_MAY, WHY_LOCAL, true, ENC, false, true },
	{ DEMAND_ENCRYPT, WHY_REMEMBERED, true, ENC, false, true },
	{ DEMAND_ENCRYPT, WHY_REQUIRE_TLS, true, ENC, false, true },
	{ DEMAND_ENCRYPT, WHY_DANE_UNUSABLE, true, ENC, false, true },
	/* Less by our own choice. */
	{ DEMAND_ENCRYPT, WHY_DANE, true, ENC, false, false },
	{ DEMAND_MAY, WHY_OVERRIDE, true, ENC, false, false },
	{ DEMAND_MAY, WHY_TLS_OPTIONAL, true, ENC, false, false },
	/* Verified for one destination: no less, but no promise. */
	{ DEMAND_PKIX, WHY_LOCAL, true, ENC, false, false },
	{ DEMAND_FINGERPRINT, WHY_LOCAL, true, ENC, false, false },
	{ DEMAND_PKIX, WHY_REQUIRETLS, true, ENC, false, false },
	{ DEMAND_DANE, WHY_DANE, true, VER, false, false },
	{ DEMAND_DANE, WHY_REQUIRETLS, true, VER, false, false },
};

static void
test_sessions(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(sessions); i++) {
		const struct demand d = { .level = sessions[i].level,
			.why = sessions[i].why };
		bool tls = sessions[i].tls;

		if (remember_shown(&d, tls) != sessions[i].shown ||
		    remember_is_downgrade(&d, tls, NON) ||
		    remember_is_downgrade(&d, tls, ENC) !=
		    sessions[i].worse_than_enc ||
		    remember_is_downgrade(&d, tls, VER) !=
		    sessions[i].worse_than_ver)
			fail_msg("row %zu", i);
	}
}

static const struct {
	enum remember_level had;
	int64_t age_s;
	enum remember_level shown;
	bool stored;
} changes[] = {
	{ NON, 0, ENC, true }, { NON, 0, VER, true }, { NON, 0, NON, false },
	/* Clear text never takes the place of anything. */
	{ ENC, 0, NON, false }, { ENC, 400 * DAY, NON, false },
	{ VER, 59 * DAY, NON, false },
	/* Better at once, the same once a day. */
	{ ENC, 0, VER, true }, { ENC, 50 * DAY, VER, true },
	{ ENC, 0, ENC, false }, { ENC, DAY - 1, ENC, false },
	{ ENC, DAY, ENC, true }, { VER, DAY - 1, VER, false },
	{ VER, DAY, VER, true },
	/* Worse, but TLS: only after a long time. */
	{ VER, 0, ENC, false }, { VER, 30 * DAY - 1, ENC, false },
	{ VER, 30 * DAY, ENC, true },
	/* Expired, or from a clock that was wrong. */
	{ VER, 61 * DAY, ENC, true }, { ENC, -DAY, ENC, true },
	{ VER, -400 * DAY, ENC, true },
};

static void
test_changes(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(changes); i++) {
		const struct remembered had = { changes[i].had,
			NOW - changes[i].age_s };

		if (remember_changes(&had, changes[i].shown, NOW) !=
		    changes[i].stored)
			fail_msg("row %zu", i);
	}
	assert_true(remember_changes(NULL, ENC, NOW));
	assert_false(remember_changes(NULL, NON, NOW));
}

static void
test_present(void **state)
{
	struct remembered had = { VER, NOW };

	(void)state;
	assert_int_equal(remember_present(NULL, NOW), NON);
	assert_int_equal(remember_present(&had, NOW), VER);
	assert_int_equal(remember_present(&had, NOW + 60 * DAY), VER);
	assert_int_equal(remember_present(&had, NOW + 60 * DAY + 1), NON);
	assert_int_equal(remember_present(&had, NOW - 10 * DAY), VER);
}

/* Used at least once a month, TLS is never forgotten, whatever its level. */
static void
test_no_gap(void **state)
{
	struct remembered had = { VER, NOW };

	(void)state;
	for (int64_t now_s = NOW; now_s < NOW + 400 * DAY;
	    now_s += 29 * DAY) {
		assert_int_not_equal(remember_present(&had, now_s), NON);
		if (remember_changes(&had, ENC, now_s)) {
			had.level = ENC;
			had.last_s = now_s;
		}
	}
	assert_int_equal(had.level, ENC);
}

static const struct {
	enum demand_level level;
	enum demand_why why;
	bool raised;
} raises[] = {
	{ DEMAND_MAY, WHY_DEFAULT, true },
	{ DEMAND_MAY, WHY_LOCAL, true },
	{ DEMAND_MAY, WHY_OVERRIDE, false },
	{ DEMAND_MAY, WHY_TLS_OPTIONAL, false },
	{ DEMAND_NONE, WHY_LOCAL, false },
	{ DEMAND_NONE, WHY_HOSTS_AVOID, false },
	{ DEMAND_ENCRYPT, WHY_LOCAL, false },
	{ DEMAND_ENCRYPT, WHY_REQUIRE_TLS, false },
	{ DEMAND_PKIX, WHY_LOCAL, false },
	{ DEMAND_DANE, WHY_DANE, false },
};

static void
test_raise(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(raises); i++)
		for (int had = NON; had <= VER; had++) {
			struct demand d = { .level = raises[i].level,
				.why = raises[i].why };
			bool want = raises[i].raised && had != NON;

			assert_int_equal(remember_raise(&d,
				(enum remember_level)had), want);
			assert_int_equal(d.level, want ? DEMAND_ENCRYPT :
				raises[i].level);
			assert_int_equal(d.why, want ? WHY_REMEMBERED :
				raises[i].why);
		}
}

static void
test_names(void **state)
{
	(void)state;
	assert_string_equal(remember_level_name(NON), "none");
	assert_string_equal(remember_level_name(ENC), "encrypted");
	assert_string_equal(remember_level_name(VER), "verified");
	assert_string_equal(remember_level_name(REMEMBER_LEVELS), "unknown");
	assert_string_equal(demand_why_name(WHY_REMEMBERED), "remembered");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sessions),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_present), cmocka_unit_test(test_no_gap),
		cmocka_unit_test(test_raise), cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
