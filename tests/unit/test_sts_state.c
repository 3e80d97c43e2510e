/*
 * What follows from the record and the cache of a domain: every combination
 * against a second description of the rules, and the words of RFC 8461 one by
 * one.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "policy/sts_state.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* in force, same id, backing off, listed, list enforces, may ignore */
static const struct {
	const char *name;
	struct sts_known known;
	enum sts_act want;
} cases[] = {
	{ "no record, nothing cached", { STS_FINDING_NONE, 0, 0, 0, 0, 0, 0 },
	    STS_ACT_NONE },
	{ "first record", { STS_FINDING_RECORD, 0, 0, 0, 0, 0, 0 },
	    STS_ACT_FETCH },
	{ "known id", { STS_FINDING_RECORD, 1, 1, 0, 0, 0, 0 },
	    STS_ACT_USE },
	{ "known id while another fetch waits", { STS_FINDING_RECORD, 1, 1, 1,
	    0, 0, 0 }, STS_ACT_USE },
	{ "new id", { STS_FINDING_RECORD, 1, 0, 0, 0, 0, 0 },
	    STS_ACT_FETCH },
	{ "new id that could not be fetched", { STS_FINDING_RECORD, 1, 0, 1, 0,
	    0, 0 }, STS_ACT_USE },
	{ "known id, expired", { STS_FINDING_RECORD, 0, 1, 0, 0, 0, 0 },
	    STS_ACT_FETCH },
	{ "could not be fetched, nothing in force", { STS_FINDING_RECORD, 0, 0,
	    1, 0, 0, 0 }, STS_ACT_NONE },
	{ "record gone, in force", { STS_FINDING_NONE, 1, 0, 0, 0, 0, 0 },
	    STS_ACT_USE },
	{ "two records, in force", { STS_FINDING_INVALID, 1, 0, 0, 0, 0, 0 },
	    STS_ACT_USE },
	{ "two records", { STS_FINDING_INVALID, 0, 0, 0, 0, 0, 0 },
	    STS_ACT_NONE },
	{ "DNS fails, in force", { STS_FINDING_FAILED, 1, 0, 0, 0, 0, 0 },
	    STS_ACT_USE },
	{ "DNS fails", { STS_FINDING_FAILED, 0, 0, 0, 0, 0, 0 },
	    STS_ACT_DEFER },
	{ "DNS fails, ignored", { STS_FINDING_FAILED, 0, 0, 0, 0, 0, 1 },
	    STS_ACT_NONE },
	{ "DNS fails, a list protects", { STS_FINDING_FAILED, 0, 0, 0, 1, 1,
	    0 }, STS_ACT_LIST },
	{ "DNS fails, a list only tests", { STS_FINDING_FAILED, 0, 0, 0, 1, 0,
	    0 }, STS_ACT_DEFER },
	{ "listed", { STS_FINDING_NONE, 0, 0, 0, 1, 0, 0 }, STS_ACT_LIST },
	{ "listed, and a policy of its own", { STS_FINDING_RECORD, 1, 1, 0, 1,
	    1, 0 }, STS_ACT_USE },
	{ "listed, own policy not to be had", { STS_FINDING_RECORD, 0, 0, 1, 1,
	    1, 0 }, STS_ACT_LIST },
};

static void
test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		enum sts_act got = sts_decide(&cases[i].known);

		if (got != cases[i].want)
			fail_msg("%s: %s", cases[i].name, sts_act_name(got));
	}
}

static void
test_combinations(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4 * 64; i++) {
		const struct sts_known k = { (enum sts_finding)(i / 64),
			i & 1, i & 2, i & 4, i & 8, i & 16, i & 32 };
		enum sts_act act = sts_decide(&k);

		/* Nothing that goes wrong ends a policy in force. */
		if (k.in_force)
			assert_true(act == STS_ACT_USE ||
				(act == STS_ACT_FETCH && !k.same_id));
		assert_true(act != STS_ACT_USE || k.in_force);
		assert_true(act != STS_ACT_FETCH || (!k.backing_off &&
			k.finding == STS_FINDING_RECORD));
		if (k.finding == STS_FINDING_RECORD && !k.in_force &&
		    !k.backing_off)
			assert_int_equal(act, STS_ACT_FETCH);
		/* That the DNS fails switches nothing off. */
		if (k.finding == STS_FINDING_FAILED && !k.may_ignore)
			assert_int_not_equal(act, STS_ACT_NONE);
		assert_true(act != STS_ACT_DEFER ||
			k.finding == STS_FINDING_FAILED);
		assert_true(act != STS_ACT_LIST || k.listed ||
			k.list_enforces);
		/* After a fetch that failed there is always an end. */
		if (k.backing_off)
			assert_int_not_equal(act, STS_ACT_FETCH);
	}
}

static void
test_backoff(void **state)
{
	static const struct {
		uint32_t failures;
		int64_t want;
	} rows[] = { { 1, 300 }, { 2, 600 }, { 3, 1200 }, { 9, 76800 },
		{ 10, 86400 }, { 1000, 86400 }, { UINT32_MAX, 86400 },
		{ 0, 300 } };

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_int_equal(sts_backoff_s(rows[i].failures, 300, 86400),
			rows[i].want);
	assert_int_equal(sts_backoff_s(1, 300, 60), 60);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_combinations),
		cmocka_unit_test(test_backoff),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
