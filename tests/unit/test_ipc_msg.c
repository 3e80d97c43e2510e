/*
 * Payloads between processes: out and in again, cut at every byte, changed at
 * every byte.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "policy/tlsrpt_record.h"
#include "smtpd-out/ipc/ipc_limits.h"
#include "smtpd-out/ipc/ipc_msg.h"
#include "smtpd-out/ipc/ipc_report.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct envelope *
sample(void)
{
	struct envelope *env = envelope_new("s@x.example");

	envelope_add_rcpt(env, "a@y.example", "y.example")->id = 7;
	envelope_add_rcpt(env, "b@y.example", "y.example")->id = 8;
	return env;
}

/* What each kind of payload has: encode a sample, decode and check or refuse
 * (false). */
struct kind {
	const char *name;
	void (*encode)(struct buf *);
	bool (*decode)(struct reader *, bool check);
};

static void
encode_submit(struct buf *out)
{
	struct msg_submit msg = { .env = sample(), .body = (const uint8_t *)
		"a\0b", .body_len = 3 };

	if (msg_submit_encode(&msg, out) != ST_OK)
		out->len = 0;
	envelope_free(&msg.env);
}

static bool
decode_submit(struct reader *in, bool check)
{
	struct msg_submit msg;
	enum status st = msg_submit_decode(in, &msg);

	if (st != ST_OK) {
		assert_null(msg.env);
		return false;
	}
	if (check) {
		assert_string_equal(msg.env->sender, "s@x.example");
		assert_int_equal(msg.env->rcpt_count, 2);
		assert_int_equal(msg.body_len, 3);
		assert_memory_equal(msg.body, "a\0b", 3);
		assert_int_equal(msg.file_token, 0);
	}
	assert_true(msg.env->rcpt_count > 0);
	assert_true(msg.body != NULL || msg.body_len == 0);
	envelope_free(&msg.env);
	return true;
}

static void
encode_submit_file(struct buf *out)
{
	struct msg_submit msg = { .env = sample(), .file_token = 0xabcdef };

	if (msg_submit_encode(&msg, out) != ST_OK)
		out->len = 0;
	envelope_free(&msg.env);
}

static bool
decode_submit_file(struct reader *in, bool check)
{
	struct msg_submit msg;

	if (msg_submit_decode(in, &msg) != ST_OK)
		return false;
	if (check) {
		assert_null(msg.body);
		assert_int_equal(msg.file_token, 0xabcdef);
	}
	envelope_free(&msg.env);
	return true;
}

static void
encode_rejected(struct buf *out)
{
	const struct msg_rejected msg = { .code = 452, .enhanced = "4.3.1",
		.text = "disk full" };

	if (msg_rejected_encode(&msg, out) != ST_OK)
		out->len = 0;
}

static bool
decode_rejected(struct reader *in, bool check)
{
	struct msg_rejected msg;

	if (msg_rejected_decode(in, &msg) != ST_OK)
		return false;
	if (check) {
		assert_int_equal(msg.code, 452);
		assert_string_equal(msg.enhanced, "4.3.1");
		assert_string_equal(msg.text, "disk full");
	}
	return true;
}

static void
encode_job(struct buf *out)
{
	char destination[] = "y.example";
	struct msg_job msg = { .env = sample(), .destination = destination,
		.attempt = 3, .body = (const uint8_t *)"", .body_len = 0 };

	if (msg_job_encode(&msg, out) != ST_OK)
		out->len = 0;
	envelope_free(&msg.env);
}

static bool
decode_job(struct reader *in, bool check)
{
	struct msg_job msg;

	if (msg_job_decode(in, &msg) != ST_OK) {
		assert_null(msg.env);
		assert_null(msg.destination);
		return false;
	}
	if (check) {
		assert_string_equal(msg.destination, "y.example");
		assert_int_equal(msg.attempt, 3);
		assert_non_null(msg.body);	/* empty, but inline */
		assert_int_equal(msg.body_len, 0);
	}
	msg_job_clear(&msg);
	assert_null(msg.env);
	return true;
}

static void
fill_result(struct msg_rcpt_result *r, uint64_t id)
{
	memset(r, 0, sizeof(*r));
	r->rcpt_id = id;
	r->dsn_relayed = id % 2 == 1;
	r->outcome = outcome_unsure("mx.example", "lost");
	r->outcome.remote = true;
	(void)str_copy(r->mx, sizeof(r->mx), "mx.example");
	(void)str_copy(r->ip, sizeof(r->ip), "192.0.2.1");
	(void)str_copy(r->tls, sizeof(r->tls), "encrypted");
	(void)str_copy(r->why, sizeof(r->why), "default");
	(void)str_copy(r->proto, sizeof(r->proto), "TLSv1.3");
	(void)str_copy(r->cipher, sizeof(r->cipher), "AES");
}

static void
encode_result(struct buf *out)
{
	struct msg_rcpt_result rcpts[2];
	const struct msg_result msg = { .final = true, .rcpts = rcpts,
		.rcpt_count = 2 };

	fill_result(&rcpts[0], 1);
	fill_result(&rcpts[1], 2);
	if (msg_result_encode(&msg, out) != ST_OK)
		out->len = 0;
}

static bool
decode_result(struct reader *in, bool check)
{
	struct msg_rcpt_result want;
	struct msg_result msg;

	if (msg_result_decode(in, &msg) != ST_OK) {
		assert_null(msg.rcpts);
		return false;
	}
	for (size_t i = 0; i < msg.rcpt_count; i++)
		assert_true(str_is_enhanced_code(
			msg.rcpts[i].outcome.enhanced));
	if (check) {
		assert_true(msg.final);
		assert_int_equal(msg.rcpt_count, 2);
		for (size_t i = 0; i < 2; i++) {
			fill_result(&want, i + 1);
			assert_memory_equal(&msg.rcpts[i], &want,
				sizeof(want));
		}
	}
	msg_result_clear(&msg);
	return true;
}

static void
encode_policy(struct buf *out)
{
	struct msg_policy_host hosts[] = {
		{ "a.example", REMEMBER_NONE, 0 },
		{ "b.example", REMEMBER_VERIFIED, 1800000000 },
	};
	const struct msg_policy msg = { .hosts = hosts, .count = 2 };

	if (msg_policy_encode(&msg, out) != ST_OK)
		out->len = 0;
}

static bool
decode_policy(struct reader *in, bool check)
{
	struct msg_policy msg;

	if (msg_policy_decode(in, &msg) != ST_OK) {
		assert_null(msg.hosts);
		return false;
	}
	assert_true(msg.count <= MSG_POLICY_HOSTS_MAX);
	for (size_t i = 0; i < msg.count; i++) {
		assert_true(msg.hosts[i].level < REMEMBER_LEVELS);
		assert_true(msg.hosts[i].last_s >= 0);
		assert_true(msg.hosts[i].host[0] != '\0');
	}
	if (check) {
		assert_int_equal(msg.count, 2);
		assert_string_equal(msg.hosts[0].host, "a.example");
		assert_int_equal(msg.hosts[0].level, REMEMBER_NONE);
		assert_string_equal(msg.hosts[1].host, "b.example");
		assert_int_equal(msg.hosts[1].level, REMEMBER_VERIFIED);
		assert_int_equal(msg.hosts[1].last_s, 1800000000);
	}
	msg_policy_clear(&msg);
	return true;
}

static void
encode_sts(struct buf *out)
{
	char text[] = "version: STSv1\r\n\0\xff", mx1[] = "mx.y.example",
		mx2[] = "*.y.example";
	char *mx[] = { mx1, mx2 };
	struct msg_sts msg = { .what = MSG_STS_ANSWER, .domain = "y.example",
		.found = true, .id = "20260101T00Z", .text = text,
		.text_len = sizeof(text) - 1, .fetched_s = 1, .expires_s = 2,
		.used_s = 3, .tried_s = 4, .next_try_s = INT64_MAX,
		.failures = 6, .failure = TLS_FAILURE_NOT_TRUSTED,
		.error = "no", .list_mode = MSG_STS_LIST_ENFORCE,
		.list_mx = mx, .list_mx_count = 2, .list_expires_s = 7 };

	if (msg_sts_encode(&msg, out) != ST_OK)
		out->len = 0;
}

static bool
decode_sts(struct reader *in, bool check)
{
	struct msg_sts msg;

	if (msg_sts_decode(in, &msg) != ST_OK) {
		assert_null(msg.text);
		assert_null(msg.list_mx);
		return false;
	}
	if (check) {
		assert_int_equal(msg.what, MSG_STS_ANSWER);
		assert_true(msg.found);
		assert_string_equal(msg.domain, "y.example");
		assert_string_equal(msg.id, "20260101T00Z");
		assert_int_equal(msg.text_len, 18);
		assert_memory_equal(msg.text, "version: STSv1\r\n\0\xff", 19);
		assert_int_equal(msg.expires_s, 2);
		assert_true(msg.next_try_s == INT64_MAX);
		assert_int_equal(msg.failure, TLS_FAILURE_NOT_TRUSTED);
		assert_string_equal(msg.error, "no");
		assert_int_equal(msg.list_mode, MSG_STS_LIST_ENFORCE);
		assert_int_equal(msg.list_mx_count, 2);
		assert_string_equal(msg.list_mx[1], "*.y.example");
		assert_int_equal(msg.list_expires_s, 7);
	}
	assert_true(msg.domain[0] != '\0');
	assert_true((msg.text != NULL) == (msg.id[0] != '\0'));
	assert_true(msg.text == NULL || msg.text[msg.text_len] == '\0');
	msg_sts_clear(&msg);
	return true;
}

static void
encode_hold(struct buf *out)
{
	struct msg_dest_hold msg = { .until_s = 1800000000 };

	(void)str_copy(msg.destination, sizeof(msg.destination), "y.example");
	msg.outcome = outcome_child_died();
	if (msg_dest_hold_encode(&msg, out) != ST_OK)
		out->len = 0;
}

static bool
decode_hold(struct reader *in, bool check)
{
	struct msg_dest_hold msg;

	if (msg_dest_hold_decode(in, &msg) != ST_OK)
		return false;
	assert_int_equal(msg.outcome.verdict, VERDICT_LATER);
	assert_true(msg.until_s >= 0);
	if (check) {
		assert_string_equal(msg.destination, "y.example");
		assert_int_equal(msg.until_s, 1800000000);
	}
	return true;
}

static void
encode_limits(struct buf *out)
{
	struct msg_limit_rule rules[] = {
		{ false, "a.example", { 3, 4, { 5, 60000 } } },
		{ true, ".b.example", { 0, 0, { 0, 0 } } },
	};
	const struct msg_limits msg = { .workers = 2, .rules = rules,
		.count = 2 };

	if (msg_limits_encode(&msg, out) != ST_OK)
		out->len = 0;
}

static bool
decode_limits(struct reader *in, bool check)
{
	struct msg_limits msg;

	if (msg_limits_decode(in, &msg) != ST_OK) {
		assert_null(msg.rules);
		return false;
	}
	assert_true(msg.count <= MSG_LIMITS_MAX && msg.workers > 0);
	if (check) {
		assert_int_equal(msg.workers, 2);
		assert_int_equal(msg.count, 2);
		assert_string_equal(msg.rules[0].match, "a.example");
		assert_int_equal(msg.rules[0].bounds.connections, 3);
		assert_int_equal(msg.rules[0].bounds.recipients, 4);
		assert_int_equal(msg.rules[0].bounds.rate.count, 5);
		assert_int_equal(msg.rules[0].bounds.rate.per_ms, 60000);
		assert_true(msg.rules[1].host);
	}
	msg_limits_clear(&msg);
	return true;
}

static void
encode_tlsrpt(struct buf *out)
{
	char domain[] = "y.example", mx[] = "mx.y.example", line[] = "3 1 1 A";
	char *lines[] = { line };
	struct tlsrpt_event events[2] = {
		{ .time_s = 1800000000, .domain = domain, .count = 3,
		    .ended = TLSRPT_ENDED_SECURED },
		{ .time_s = 1800000000, .domain = domain, .failed = true,
		    .count = 1, .failure = { .result = TLS_FAILURE_EXPIRED,
		    .mx_host = mx } },
	};
	const struct msg_tlsrpt msg = { .events = events, .count = 2 };

	events[0].policy = (struct tlsrpt_policy){ .type =
		TLSRPT_POLICY_TLSA, .domain = mx, .strings = lines,
		.string_count = 1 };
	if (msg_tlsrpt_encode(&msg, out) != ST_OK)
		out->len = 0;
}

static bool
decode_tlsrpt(struct reader *in, bool check)
{
	struct msg_tlsrpt msg;

	if (msg_tlsrpt_decode(in, &msg) != ST_OK) {
		assert_null(msg.events);
		return false;
	}
	assert_true(msg.count <= MSG_TLSRPT_MAX);
	for (size_t i = 0; i < msg.count; i++)
		assert_true(msg.events[i].count > 0 &&
			msg.events[i].policy.type < TLSRPT_POLICY_OTHER);
	if (check) {
		assert_int_equal(msg.count, 2);
		assert_int_equal(msg.events[0].count, 3);
		assert_string_equal(msg.events[0].policy.strings[0],
			"3 1 1 A");
		assert_int_equal(msg.events[1].failure.result,
			TLS_FAILURE_EXPIRED);
	}
	msg_tlsrpt_clear(&msg);
	return true;
}

static void
encode_found(struct buf *out)
{
	struct msg_report msg = { .what = MSG_REPORT_FOUND,
		.domain = "y.example", .text = "two" };

	msg_report_add_target(&msg, TLSRPT_MAILTO, "tls@y.example");
	msg_report_add_target(&msg, TLSRPT_HTTPS, "https://y.example/v1");
	if (msg_report_encode(&msg, out) != ST_OK)
		out->len = 0;
	msg_report_clear(&msg);
}

static bool
decode_found(struct reader *in, bool check)
{
	struct msg_report msg;

	if (msg_report_decode(in, &msg) != ST_OK) {
		assert_null(msg.targets);
		assert_null(msg.body);
		return false;
	}
	if (check) {
		assert_int_equal(msg.what, MSG_REPORT_FOUND);
		assert_string_equal(msg.text, "two");
		assert_int_equal(msg.target_count, 2);
		assert_int_equal(msg.targets[1].kind, TLSRPT_HTTPS);
		assert_string_equal(msg.targets[1].text,
			"https://y.example/v1");
	}
	assert_true((msg.body != NULL) == (msg.what == MSG_REPORT_POST));
	msg_report_clear(&msg);
	return true;
}

static const struct kind kinds[] = {
	{ "tlsrpt", encode_tlsrpt, decode_tlsrpt },
	{ "report", encode_found, decode_found },
	{ "submit", encode_submit, decode_submit },
	{ "submit of a file", encode_submit_file, decode_submit_file },
	{ "rejected", encode_rejected, decode_rejected },
	{ "job", encode_job, decode_job },
	{ "result", encode_result, decode_result },
	{ "policy", encode_policy, decode_policy },
	{ "sts", encode_sts, decode_sts },
	{ "hold", encode_hold, decode_hold },
	{ "limits", encode_limits, decode_limits },
};

static bool
decode(const struct kind *k, const uint8_t *bytes, size_t len, bool check)
{
	uint8_t *copy = xmalloc(len);	/* exact, so that tools see overruns */
	struct reader r;
	bool ok;

	memcpy(copy, bytes, len);
	reader_init(&r, copy, len);
	ok = k->decode(&r, check);
	free(copy);
	return ok;
}

static void
test_round_trip(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		struct buf b;

		buf_init(&b, 100000);
		kinds[i].encode(&b);
		if (!decode(&kinds[i], buf_data(&b), b.len, true))
			fail_msg("%s", kinds[i].name);
		/* One byte more is one too many. */
		assert_int_equal(buf_put_u8(&b, 0), ST_OK);
		assert_false(decode(&kinds[i], buf_data(&b), b.len, false));
		buf_clear(&b);
	}
}

static void
test_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		struct buf b, small;

		buf_init(&b, 100000);
		kinds[i].encode(&b);
		for (size_t n = 0; n < b.len; n++) {
			assert_false(decode(&kinds[i], buf_data(&b), n,
				false));
			/* Too little room is noticed as well. */
			buf_init(&small, n);
			kinds[i].encode(&small);
			assert_int_equal(small.len, 0);
			buf_clear(&small);
		}
		buf_clear(&b);
	}
}

static void
test_changed(void **state)
{
	static const uint8_t values[] = { 0, 1, 0x7f, 0x80, 0xff };

	(void)state;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		struct buf b;

		buf_init(&b, 100000);
		kinds[i].encode(&b);
		for (size_t n = 0; n < b.len; n++)
			for (size_t v = 0; v < COUNT(values); v++) {
				uint8_t old = b.mem[b.start + n];

				b.mem[b.start + n] = values[v];
				(void)decode(&kinds[i], buf_data(&b), b.len,
					false);
				b.mem[b.start + n] = old;
			}
		assert_true(decode(&kinds[i], buf_data(&b), b.len, true));
		buf_clear(&b);
	}
}

/* Counts that promise more than is there; memory stays in proportion. */
static void
test_hostile_counts(void **state)
{
	static const uint32_t counts[] = { 1, 2, 10000, 10001, 0x7fffffff,
		0xffffffff };

	(void)state;
	for (size_t i = 0; i < COUNT(counts); i++) {
		struct msg_result msg;
		struct reader r;
		struct buf b;

		buf_init(&b, 1000);
		assert_int_equal(buf_put_u8(&b, 1), ST_OK);
		assert_int_equal(buf_put_u32(&b, counts[i]), ST_OK);
		assert_int_equal(buf_put(&b, "\0\0\0\0\0\0\0\1", 8), ST_OK);
		reader_init(&r, buf_data(&b), b.len);
		assert_int_equal(msg_result_decode(&r, &msg), ST_PARSE);
		buf_clear(&b);
	}
}

static void
test_no_recipients(void **state)
{
	struct msg_submit submit = { .env = envelope_new("") };
	struct msg_result result = { .final = true };
	struct reader r;
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	assert_int_equal(msg_submit_encode(&submit, &b), ST_OK);
	envelope_free(&submit.env);
	reader_init(&r, buf_data(&b), b.len);
	assert_int_equal(msg_submit_decode(&r, &submit), ST_PARSE);
	buf_clear(&b);
	/* A result without recipients ends a job. */
	assert_int_equal(msg_result_encode(&result, &b), ST_OK);
	reader_init(&r, buf_data(&b), b.len);
	assert_int_equal(msg_result_decode(&r, &result), ST_OK);
	assert_true(result.final);
	assert_int_equal(result.rcpt_count, 0);
	msg_result_clear(&result);
	buf_clear(&b);
}

static const struct outcome_case {
	int scope, verdict, stage, code;
	const char *enhanced;
	bool ok;
} outcome_cases[] = {
	{ SCOPE_RCPT, VERDICT_DONE, STAGE_EOM, 250, "2.0.0", true },
	{ SCOPE_DESTINATION, VERDICT_NEVER, STAGE_QUEUE, 599, "5.0.0", true },
	{ SCOPE_DESTINATION + 1, VERDICT_DONE, STAGE_EOM, 250, "2.0.0",
		false },
	{ SCOPE_RCPT, VERDICT_NONE, STAGE_EOM, 250, "2.0.0", false },
	{ SCOPE_RCPT, VERDICT_NEVER + 1, STAGE_EOM, 250, "2.0.0", false },
	{ SCOPE_RCPT, VERDICT_DONE, STAGE_QUEUE + 1, 250, "2.0.0", false },
	{ SCOPE_RCPT, VERDICT_DONE, STAGE_EOM, 600, "2.0.0", false },
	{ SCOPE_RCPT, VERDICT_DONE, STAGE_EOM, 250, "", false },
	{ SCOPE_RCPT, VERDICT_DONE, STAGE_EOM, 250, "2.0", false },
	{ SCOPE_RCPT, VERDICT_DONE, STAGE_EOM, 250, "2.0.0\n", false },
};

static void
test_outcomes(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(outcome_cases); i++) {
		const struct outcome_case *c = &outcome_cases[i];
		struct msg_rcpt_result rcpt;
		struct msg_result msg = { .rcpts = &rcpt, .rcpt_count = 1 };
		struct reader r;
		struct buf b;

		fill_result(&rcpt, 1);
		rcpt.outcome.scope = (enum outcome_scope)c->scope;
		rcpt.outcome.verdict = (enum outcome_verdict)c->verdict;
		rcpt.outcome.stage = (enum outcome_stage)c->stage;
		rcpt.outcome.code = c->code;
		(void)str_copy(rcpt.outcome.enhanced,
			sizeof(rcpt.outcome.enhanced), c->enhanced);
		buf_init(&b, 10000);
		assert_int_equal(msg_result_encode(&msg, &b), ST_OK);
		reader_init(&r, buf_data(&b), b.len);
		if (msg_result_decode(&r, &msg) != (c->ok ? ST_OK : ST_PARSE))
			fail_msg("case %zu", i);
		msg_result_clear(&msg);
		buf_clear(&b);
	}
}

/* A worker's text is remote text, all of it. */
static void
test_result_is_sanitised(void **state)
{
	static const char evil[] = "x\r\nBcc: y\x1b\xff";
	struct msg_rcpt_result rcpt;
	struct msg_result msg = { .rcpts = &rcpt, .rcpt_count = 1 };
	struct reader r;
	struct buf b;

	(void)state;
	fill_result(&rcpt, 1);
	memcpy(rcpt.outcome.text, evil, sizeof(evil));
	memcpy(rcpt.mx, evil, sizeof(evil));
	memcpy(rcpt.ip, evil, sizeof(evil));
	memcpy(rcpt.cipher, evil, sizeof(evil));
	buf_init(&b, 10000);
	assert_int_equal(msg_result_encode(&msg, &b), ST_OK);
	reader_init(&r, buf_data(&b), b.len);
	assert_int_equal(msg_result_decode(&r, &msg), ST_OK);
	assert_string_equal(msg.rcpts[0].outcome.text, "x??Bcc: y??");
	assert_string_equal(msg.rcpts[0].mx, "x??Bcc: y??");
	assert_string_equal(msg.rcpts[0].ip, "x??Bcc: y??");
	assert_string_equal(msg.rcpts[0].cipher, "x??Bcc: y??");
	msg_result_clear(&msg);
	buf_clear(&b);
}

/* What a policy message may not be: each case spoils a good one. */
static enum status
sts_back(struct msg_sts *msg)
{
	struct reader r;
	enum status st;
	struct buf b;

	buf_init(&b, 1U << 20);
	assert_int_equal(msg_sts_encode(msg, &b), ST_OK);
	reader_init(&r, buf_data(&b), b.len);
	st = msg_sts_decode(&r, msg);
	if (st == ST_OK)
		msg_sts_clear(msg);
	buf_clear(&b);
	return st;
}

static void
test_sts_bounds(void **state)
{
	static char text[MSG_STS_TEXT_MAX + 1];
	static char *mx[MSG_STS_LIST_MX_MAX + 1];
	char one[] = "mx.y.example";
	const struct msg_sts good = { .what = MSG_STS_FETCHED, .domain =
		"y.example", .id = "1", .text = text, .text_len = 1 };
	struct msg_sts m = good;

	(void)state;
	for (size_t i = 0; i <= MSG_STS_LIST_MX_MAX; i++)
		mx[i] = one;
	assert_int_equal(sts_back(&m), ST_OK);
	m = good, m.text_len = MSG_STS_TEXT_MAX;
	assert_int_equal(sts_back(&m), ST_OK);
	m = good, m.text_len = MSG_STS_TEXT_MAX + 1;
	assert_int_equal(sts_back(&m), ST_PARSE);
	m = good, m.what = MSG_STS_WHATS;
	assert_int_equal(sts_back(&m), ST_PARSE);
	m = good, m.domain[0] = 'Y';		/* not as we write names */
	assert_int_equal(sts_back(&m), ST_PARSE);
	m = good, m.domain[0] = '\0';
	assert_int_equal(sts_back(&m), ST_PARSE);
	m = good, m.domain[0] = '/';
	assert_int_equal(sts_back(&m), ST_PARSE);
	m = good, m.id[0] = '-';
	assert_int_equal(sts_back(&m), ST_PARSE);
	m = good, m.id[0] = '\0';
	assert_int_equal(sts_back(&m), ST_PARSE);
	m = good, m.text = NULL, m.text_len = 0;
	assert_int_equal(sts_back(&m), ST_PARSE);
	m = good, m.fetched_s = -1;
	assert_int_equal(sts_back(&m), ST_PARSE);
	m = good, m.failure = TLS_FAILURE_COUNT;
	assert_int_equal(sts_back(&m), ST_PARSE);
	m = good, m.list_mode = MSG_STS_LIST_TESTING;
	assert_int_equal(sts_back(&m), ST_PARSE);
	m = good, m.list_mx = mx, m.list_mx_count = 1;
	assert_int_equal(sts_back(&m), ST_PARSE);
	m = (struct msg_sts){ .domain = "y.example", .list_mx = mx,
		.list_mode = MSG_STS_LIST_TESTING,
		.list_mx_count = MSG_STS_LIST_MX_MAX };
	assert_int_equal(sts_back(&m), ST_OK);
	m = (struct msg_sts){ .domain = "y.example", .list_mx = mx,
		.list_mode = MSG_STS_LIST_TESTING,
		.list_mx_count = MSG_STS_LIST_MX_MAX + 1 };
	assert_int_equal(sts_back(&m), ST_PARSE);
}

/* A body above what may travel inline. */
static void
test_large_body(void **state)
{
	size_t len = 4 << 20;
	struct msg_submit msg = { .env = sample() };
	uint8_t *body = xcalloc(len + 1, 1);
	struct reader r;
	struct buf b;

	(void)state;
	for (size_t extra = 0; extra < 2; extra++) {
		struct msg_submit back;

		msg.body = body;
		msg.body_len = len + extra;
		buf_init(&b, IPC_PAYLOAD_MAX);
		assert_int_equal(msg_submit_encode(&msg, &b), ST_OK);
		reader_init(&r, buf_data(&b), b.len);
		assert_int_equal(msg_submit_decode(&r, &back), extra == 0 ?
			ST_OK : ST_PARSE);
		envelope_free(&back.env);
		buf_clear(&b);
	}
	envelope_free(&msg.env);
	free(body);
}

/* Each type has one direction, and a child has none to another. */
static void
test_directions(void **state)
{
	static const enum ipc_side sides[] = { IPC_PARENT, IPC_INJECT,
		IPC_WORKER };

	(void)state;
	for (unsigned type = 0; type <= IPC_TYPE_COUNT; type++) {
		unsigned down = 0, up = 0;

		for (size_t f = 0; f < 3; f++)
			for (size_t t = 0; t < 3; t++) {
				const struct ipc_msg_row *row = ipc_msg_row(
					(uint16_t)type, sides[f], sides[t]);

				if (row == NULL)
					continue;
				assert_true(f == 0 || t == 0);
				assert_true(f != t);
				assert_non_null(row->name);
				assert_true(row->min_bytes <= row->max_bytes);
				assert_true(row->max_bytes <=
					IPC_PAYLOAD_MAX);
				down += f == 0;
				up += t == 0;
			}
		assert_true(down == 0 || up == 0);
		assert_int_equal(down + up > 0, type != IPC_NONE &&
			type != IPC_TYPE_COUNT);
	}
}

/* A worker names only targets that the parser of records lets through. */
static void
test_report_targets(void **state)
{
	static const struct {
		enum tlsrpt_kind kind;
		const char *text;
		bool ok;
	} rows[] = {
		{ TLSRPT_MAILTO, "a@b.example", true },
		{ TLSRPT_MAILTO, "a@b.example>\r\nBcc: x", false },
		{ TLSRPT_MAILTO, "a", false },
		{ TLSRPT_MAILTO, "", false },
		{ TLSRPT_HTTPS, "https://b.example/", true },
		{ TLSRPT_HTTPS, "http://b.example/", false },
		{ TLSRPT_HTTPS, "https://b.example/ x", false },
		{ TLSRPT_HTTPS, "https://b.example/\n", false },
		{ (enum tlsrpt_kind)2, "https://b.example/", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct msg_report msg = { .what = MSG_REPORT_FOUND,
			.domain = "y.example" };
		struct buf b;

		msg_report_add_target(&msg, rows[i].kind, rows[i].text);
		buf_init(&b, 10000);
		assert_int_equal(msg_report_encode(&msg, &b), ST_OK);
		assert_int_equal(decode_found(&(struct reader){
			.pos = buf_data(&b), .left = b.len }, false),
			rows[i].ok);
		buf_clear(&b);
		msg_report_clear(&msg);
	}
}

/* Strangers write records: what the worker's parser lets through, the parent
 * must take, or it would end the worker. */
static void
test_report_records(void **state)
{
	static const char *const records[] = {
		"v=TLSRPTv1; rua=mailto:%22a%3Cb%22@y.example",
		"v=TLSRPTv1; rua=mailto:%22a%3Eb%22@y.example",
		"v=TLSRPTv1; rua=mailto:%22a%20b%2C%40%5C%22%22@y.example",
		"v=TLSRPTv1; rua=mailto:%c3%bc@b%c3%bccher.example",
		"v=TLSRPTv1; rua=mailto:a@[192.0.2.1]",
		"v=TLSRPTv1; rua=HTTPS://Y.Example",
		"v=TLSRPTv1; rua=https://y.example:/?%00%ff#x",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(records); i++) {
		struct tlsrpt_record *record;
		char err[TLSRPT_ERR_MAX];

		if (tlsrpt_record_parse((const uint8_t *)records[i],
		    strlen(records[i]), &record, err) != ST_OK)
			continue;
		if (!msg_report_target_ok(record->rua[0].kind,
		    record->rua[0].target))
			fail_msg("%s", records[i]);
		tlsrpt_record_free(&record);
	}
}

/* The shortest names there are, and as many rules as there may be. */
static void
test_short_names(void **state)
{
	struct msg_limit_rule *rules = xcalloc(MSG_LIMITS_MAX,
		sizeof(rules[0]));
	struct msg_limits msg = { .workers = 1, .rules = rules }, got;

	(void)state;
	for (size_t i = 0; i < MSG_LIMITS_MAX; i++)
		(void)str_copy(rules[i].match, sizeof(rules[i].match),
			i % 2 == 0 ? "x" : "t.co");
	for (msg.count = 1; msg.count <= MSG_LIMITS_MAX; msg.count += 333) {
		struct reader r;
		struct buf b;

		buf_init(&b, IPC_PAYLOAD_MAX);
		assert_int_equal(msg_limits_encode(&msg, &b), ST_OK);
		reader_init(&r, buf_data(&b), b.len);
		assert_int_equal(msg_limits_decode(&r, &got), ST_OK);
		assert_int_equal(got.count, msg.count);
		assert_string_equal(got.rules[0].match, "x");
		msg_limits_clear(&got);
		buf_clear(&b);
	}
	free(rules);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_report_targets),
		cmocka_unit_test(test_report_records),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_short_names),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_changed),
		cmocka_unit_test(test_hostile_counts),
		cmocka_unit_test(test_no_recipients),
		cmocka_unit_test(test_outcomes),
		cmocka_unit_test(test_result_is_sanitised),
		cmocka_unit_test(test_sts_bounds),
		cmocka_unit_test(test_large_body),
		cmocka_unit_test(test_directions),
	};

	return cmocka_run_group_tests_name("ipc_msg", tests, NULL, NULL);
}
