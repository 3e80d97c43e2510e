/*
 * The day's totals: adding up, bounds, merging, and the wire form.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "policy/tlsrpt.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define DAY INT64_C(1795219200)		/* 2026-11-21 */

static struct tlsrpt_event
event_sts(void)
{
	struct tlsrpt_event e = { .time_s = DAY + 3600, .count = 1,
		.domain = xstrdup("a.example"), .ended = TLSRPT_ENDED_SECURED,
		.policy = { .type = TLSRPT_POLICY_STS,
		    .domain = xstrdup("a.example") } };

	tlsrpt_policy_add_string(&e.policy, "version: STSv1");
	tlsrpt_policy_add_string(&e.policy, "mode: enforce");
	tlsrpt_policy_add_host(&e.policy, "*.mail.a.example");
	return e;
}

static struct tlsrpt_event
event_failed(enum tls_failure result, const char *host)
{
	struct tlsrpt_event e = event_sts();

	e.failed = true;
	e.ended = TLSRPT_ENDED_FAILED;
	e.failure = (struct tlsrpt_failure){ .result = result,
		.sending_ip = xstrdup("192.0.2.1"), .mx_host = xstrdup(host),
		.mx_helo = xstrdup("helo.example"),
		.receiving_ip = xstrdup("2001:db8::2"),
		.info = xstrdup("first words"),
		.reason = xstrdup("sts-mx-mismatch") };
	return e;
}

static void
add(struct tlsrpt_report *report, struct tlsrpt_event event)
{
	tlsrpt_report_add(report, &event);
	tlsrpt_event_clear(&event);
}

static void
test_names(void **state)
{
	static const char *const types[] = { "no-policy-found", "tlsa",
		"sts" };

	(void)state;
	for (unsigned i = 0; i < COUNT(types); i++) {
		assert_string_equal(tlsrpt_policy_type_name(
			(enum tlsrpt_policy_type)i), types[i]);
		assert_int_equal(tlsrpt_policy_type_parse(types[i]), i);
	}
	assert_int_equal(tlsrpt_policy_type_parse("other"),
		TLSRPT_POLICY_OTHER);
	assert_int_equal(tlsrpt_policy_type_parse("STS"),
		TLSRPT_POLICY_OTHER);
	for (unsigned i = 1; i < TLSRPT_ENDED_COUNT; i++)
		assert_string_not_equal(tlsrpt_ended_name(
			(enum tlsrpt_ended)i), "none");
	assert_int_equal(tlsrpt_day(DAY), DAY);
	assert_int_equal(tlsrpt_day(DAY + 86399), DAY);
	assert_int_equal(tlsrpt_day(DAY - 1), DAY - 86400);
	assert_int_equal(tlsrpt_day(-1), -86400);
}

static void
test_add(void **state)
{
	struct tlsrpt_report r;
	struct tlsrpt_event e = event_failed(TLS_FAILURE_EXPIRED, "mx.a");

	(void)state;
	tlsrpt_report_init(&r, "a.example", DAY + 5);
	assert_int_equal(r.start_s, DAY);
	assert_int_equal(r.end_s, DAY + 86399);
	assert_true(tlsrpt_report_empty(&r));
	add(&r, event_sts());
	add(&r, event_sts());
	add(&r, event_failed(TLS_FAILURE_VALIDATION, "mx.a"));
	free(e.failure.info);
	e.failure.info = xstrdup("other words");
	tlsrpt_report_add(&r, &e);
	e.count = 4;
	e.ended = TLSRPT_ENDED_NONE;	/* counted with another policy */
	tlsrpt_report_add(&r, &e);
	assert_false(tlsrpt_report_empty(&r));
	assert_int_equal(r.result_count, 1);
	assert_int_equal(r.results[0].successes, 2);
	assert_int_equal(r.results[0].failed, 6);
	assert_int_equal(r.results[0].failure_count, 2);
	assert_int_equal(r.results[0].failures[1].count, 5);
	assert_string_equal(r.results[0].failures[1].info, "other words");
	assert_int_equal(r.sessions[TLSRPT_ENDED_SECURED], 2);
	assert_int_equal(r.sessions[TLSRPT_ENDED_FAILED], 2);
	assert_int_equal(tlsrpt_report_successes(&r), 2);
	assert_int_equal(tlsrpt_report_failures(&r), 6);
	tlsrpt_event_clear(&e);
	tlsrpt_report_clear(&r);
	tlsrpt_report_clear(&r);
}

/* Each of these makes another policy or another row. */
static void
test_distinct(void **state)
{
	struct tlsrpt_report r;
	struct tlsrpt_event e;

	(void)state;
	tlsrpt_report_init(&r, "a.example", DAY);
	add(&r, event_sts());
	e = event_sts();
	e.policy.type = TLSRPT_POLICY_TLSA;
	add(&r, e);
	e = event_sts();
	tlsrpt_policy_add_string(&e.policy, "max_age: 1");
	add(&r, e);
	e = event_sts();
	tlsrpt_policy_add_host(&e.policy, "mx.a.example");
	add(&r, e);
	e = event_sts();
	free(e.policy.domain);
	e.policy.domain = xstrdup("b.example");
	add(&r, e);
	assert_int_equal(r.result_count, 5);
	add(&r, event_failed(TLS_FAILURE_EXPIRED, "mx.a"));
	add(&r, event_failed(TLS_FAILURE_EXPIRED, "mx.b"));
	add(&r, event_failed(TLS_FAILURE_STARTTLS, "mx.b"));
	e = event_failed(TLS_FAILURE_STARTTLS, "mx.b");
	mem_free(&e.failure.receiving_ip);
	add(&r, e);
	e = event_failed(TLS_FAILURE_STARTTLS, "mx.b");
	e.failure.reason[0] = 'x';
	add(&r, e);
	assert_int_equal(r.result_count, 5);
	assert_int_equal(r.results[0].failure_count, 5);
	tlsrpt_report_clear(&r);
}

static void
test_rows_bounded(void **state)
{
	struct tlsrpt_report r;
	char host[32];

	(void)state;
	tlsrpt_report_init(&r, "a.example", DAY);
	for (int i = 0; i < 1000; i++) {
		(void)snprintf(host, sizeof(host), "mx%d.a.example", i);
		add(&r, event_failed(i % 2 ? TLS_FAILURE_EXPIRED :
			TLS_FAILURE_STARTTLS, host));
	}
	assert_int_equal(r.result_count, 1);
	assert_int_equal(r.results[0].failure_count, TLSRPT_FAILURES_MAX + 2);
	assert_int_equal(r.results[0].failed, 1000);
	assert_string_equal(r.results[0].failures[100].reason,
		TLSRPT_REASON_OVERFLOW);
	assert_null(r.results[0].failures[100].mx_host);
	assert_int_equal(r.results[0].failures[100].count, 450);
	assert_int_equal(r.results[0].failures[101].count, 450);
	/* A row that is there goes on counting. */
	add(&r, event_failed(TLS_FAILURE_STARTTLS, "mx0.a.example"));
	assert_int_equal(r.results[0].failures[0].count, 2);
	tlsrpt_report_clear(&r);
}

static void
test_policies_bounded(void **state)
{
	struct tlsrpt_report r;
	char line[32];

	(void)state;
	tlsrpt_report_init(&r, "a.example", DAY);
	for (int i = 0; i < 300; i++) {
		struct tlsrpt_event e = event_sts();

		e.policy.type = (enum tlsrpt_policy_type)(i % 3);
		(void)snprintf(line, sizeof(line), "id %d", i);
		tlsrpt_policy_add_string(&e.policy, line);
		add(&r, e);
	}
	assert_int_equal(r.result_count, TLSRPT_POLICIES_MAX + 3);
	assert_int_equal(r.results[TLSRPT_POLICIES_MAX].policy.string_count,
		0);
	assert_int_equal(tlsrpt_report_successes(&r), 300);
	for (int i = 0; i < 100; i++)
		tlsrpt_policy_add_string(&r.results[0].policy, "x");
	assert_int_equal(r.results[0].policy.string_count, TLSRPT_STRINGS_MAX);
	tlsrpt_report_clear(&r);
}

static void
test_hostile_text(void **state)
{
	struct tlsrpt_report r;
	struct tlsrpt_event e = event_failed(TLS_FAILURE_EXPIRED, "mx.a");
	char *big = xmalloc(100001);

	(void)state;
	memset(big, 'A', 100000);
	big[100000] = '\0';
	free(e.failure.info);
	e.failure.info = big;
	free(e.failure.mx_helo);
	e.failure.mx_helo = xstrdup("a\r\nb\x01\xff");
	tlsrpt_report_init(&r, "a.example", DAY);
	add(&r, e);
	assert_int_equal(strlen(r.results[0].failures[0].info),
		TLSRPT_TEXT_MAX);
	assert_string_equal(r.results[0].failures[0].mx_helo, "a??b??");
	tlsrpt_report_clear(&r);
}

static void
test_counts_end(void **state)
{
	struct tlsrpt_report r;
	struct tlsrpt_event e = event_sts();

	(void)state;
	tlsrpt_report_init(&r, "a.example", DAY);
	e.count = UINT64_MAX - 1;
	tlsrpt_report_add(&r, &e);
	tlsrpt_report_add(&r, &e);
	assert_true(r.results[0].successes == (uint64_t)TLSRPT_COUNT_MAX);
	tlsrpt_event_clear(&e);
	tlsrpt_report_clear(&r);
}

static struct tlsrpt_report
sample(void)
{
	struct tlsrpt_report r;
	struct tlsrpt_event e = event_sts();

	tlsrpt_report_init(&r, "a.example", DAY);
	add(&r, e);
	add(&r, event_failed(TLS_FAILURE_EXPIRED, "mx.a"));
	e = event_failed(TLS_FAILURE_DANE_REQUIRED, "mx.b");
	e.policy.type = TLSRPT_POLICY_TLSA;
	add(&r, e);
	r.organization = xstrdup("Org");
	return r;
}

static void
test_merge(void **state)
{
	struct tlsrpt_report a = sample(), b = sample();

	(void)state;
	b.results[0].failed += 7;	/* not told row by row */
	tlsrpt_report_merge(&a, &b);
	assert_int_equal(a.result_count, 2);
	assert_int_equal(a.results[0].successes, 2);
	assert_int_equal(a.results[0].failed, 9);
	assert_int_equal(a.results[0].failures[0].count, 2);
	assert_int_equal(a.results[1].failed, 2);
	assert_int_equal(a.sessions[TLSRPT_ENDED_FAILED], 4);
	tlsrpt_report_clear(&a);
	tlsrpt_report_clear(&b);
}

static void
test_event_wire(void **state)
{
	struct tlsrpt_event e = event_failed(TLS_FAILURE_STS_WEBPKI, "mx.a");
	struct tlsrpt_event back;
	struct reader in;
	struct buf buf;

	(void)state;
	buf_init(&buf, 1 << 20);
	assert_int_equal(tlsrpt_event_encode(&e, &buf), ST_OK);
	reader_init(&in, buf_data(&buf), buf.len);
	assert_int_equal(tlsrpt_event_decode(&in, &back), ST_OK);
	assert_true(reader_ok(&in, true));
	assert_true(tlsrpt_policy_same(&e.policy, &back.policy));
	assert_string_equal(back.domain, "a.example");
	assert_string_equal(back.failure.mx_host, "mx.a");
	assert_int_equal(back.failure.result, TLS_FAILURE_STS_WEBPKI);
	assert_true(back.failed);
	assert_int_equal(back.ended, TLSRPT_ENDED_FAILED);
	tlsrpt_event_clear(&back);
	/* Cut anywhere it is refused. */
	for (size_t n = 0; n < buf.len; n++) {
		reader_init(&in, buf_data(&buf), n);
		assert_int_equal(tlsrpt_event_decode(&in, &back), ST_PARSE);
		assert_null(back.domain);
	}
	tlsrpt_event_clear(&e);
	buf_clear(&buf);
}

static void
refuse_event(struct tlsrpt_event e)
{
	struct tlsrpt_event back;
	struct reader in;
	struct buf buf;

	buf_init(&buf, 1 << 20);
	assert_int_equal(tlsrpt_event_encode(&e, &buf), ST_OK);
	reader_init(&in, buf_data(&buf), buf.len);
	assert_int_equal(tlsrpt_event_decode(&in, &back), ST_PARSE);
	tlsrpt_event_clear(&e);
	buf_clear(&buf);
}

/* What a worker that was taken over might send. */
static void
test_event_refused(void **state)
{
	struct tlsrpt_event e;

	(void)state;
	e = event_sts();
	e.domain[1] = ' ';
	refuse_event(e);
	e = event_sts();
	mem_free(&e.domain);
	refuse_event(e);
	e = event_sts();
	e.time_s = -1;
	refuse_event(e);
	e = event_sts();
	e.count = UINT64_MAX;
	refuse_event(e);
	e = event_sts();
	e.ended = TLSRPT_ENDED_COUNT;
	refuse_event(e);
	e = event_sts();
	e.policy.type = TLSRPT_POLICY_TYPES;
	refuse_event(e);
	e = event_sts();
	e.failed = true;	/* and no result type */
	refuse_event(e);
	e = event_failed(TLS_FAILURE_COUNT, "mx.a");
	refuse_event(e);
}

static void
test_report_wire(void **state)
{
	struct tlsrpt_report r = sample(), back;
	struct reader in;
	struct buf buf;

	(void)state;
	buf_init(&buf, 1 << 20);
	assert_int_equal(tlsrpt_report_encode(&r, &buf), ST_OK);
	reader_init(&in, buf_data(&buf), buf.len);
	assert_int_equal(tlsrpt_report_decode(&in, &back), ST_OK);
	assert_true(reader_ok(&in, true));
	assert_int_equal(back.start_s, DAY);
	assert_int_equal(back.result_count, 2);
	assert_int_equal(back.results[0].failures[0].result,
		TLS_FAILURE_EXPIRED);
	assert_int_equal(back.sessions[TLSRPT_ENDED_FAILED], 2);
	assert_string_equal(back.organization, "Org");
	tlsrpt_report_clear(&back);
	for (size_t n = 0; n < buf.len; n++) {
		reader_init(&in, buf_data(&buf), n);
		assert_int_equal(tlsrpt_report_decode(&in, &back), ST_PARSE);
	}
	/* No single changed byte does harm. */
	for (size_t n = 0; n < buf.len; n++) {
		uint8_t *byte = buf.mem + buf.start + n;

		*byte ^= 0xff;
		reader_init(&in, buf_data(&buf), buf.len);
		if (tlsrpt_report_decode(&in, &back) == ST_OK)
			tlsrpt_report_clear(&back);
		*byte ^= 0xff;
	}
	tlsrpt_report_clear(&r);
	buf_clear(&buf);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_distinct),
		cmocka_unit_test(test_rows_bounded),
		cmocka_unit_test(test_policies_bounded),
		cmocka_unit_test(test_hostile_text),
		cmocka_unit_test(test_counts_end),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_event_wire),
		cmocka_unit_test(test_event_refused),
		cmocka_unit_test(test_report_wire),
	};

	return cmocka_run_group_tests_name("tlsrpt", tests, NULL, NULL);
}
