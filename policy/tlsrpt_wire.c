/*
 * TLSRPT events and reports as bytes between our own processes and in the
 * store (base/buf.h).  What a worker sends is not trusted: decoding takes only
 * what encoding could have made.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "policy/tlsrpt.h"

#define WIRE_VERSION 1
/* Those of tlsrpt_report_add() and their overflow rows. */
#define WIRE_RESULTS_MAX (TLSRPT_POLICIES_MAX + TLSRPT_POLICY_TYPES)
#define WIRE_ROWS_MAX (TLSRPT_FAILURES_MAX + \
	WIRE_RESULTS_MAX * TLS_FAILURE_COUNT)

static bool
put_text(struct buf *out, const char *text, size_t max_bytes)
{
	char clean[TLSRPT_STRING_MAX + 1];

	if (text != NULL) {
		str_sanitise(clean, max_bytes + 1, text, strlen(text));
		text = clean;
	}
	return buf_put_str(out, text) == ST_OK;
}

/* NULL when absent; bad in the reader when it is not clean. */
static char *
get_text(struct reader *in, size_t max_bytes)
{
	char clean[TLSRPT_STRING_MAX + 1];
	char *text = reader_str(in, max_bytes);

	if (text == NULL)
		return NULL;
	str_sanitise(clean, sizeof(clean), text, strlen(text));
	if (strcmp(clean, text) != 0)
		in->bad = true;
	return text;
}

static bool
put_list(struct buf *out, char *const *list, size_t count, size_t max)
{
	count = count < max ? count : max;
	if (buf_put_u16(out, (uint16_t)count) != ST_OK)
		return false;
	for (size_t i = 0; i < count; i++)
		if (!put_text(out, list[i], TLSRPT_STRING_MAX))
			return false;
	return true;
}

static void
get_list(struct reader *in, char ***list, size_t *count, size_t max)
{
	size_t n = reader_u16(in);

	if (n > max)
		in->bad = true;
	if (!reader_ok(in, false) || n == 0)
		return;
	*list = xcalloc(n, sizeof((*list)[0]));
	while (*count < n && reader_ok(in, false)) {
		char *text = get_text(in, TLSRPT_STRING_MAX);

		if (text == NULL)
			in->bad = true;
		else
			(*list)[(*count)++] = text;
	}
}

static bool
put_policy(struct buf *out, const struct tlsrpt_policy *p)
{
	return buf_put_u8(out, (uint8_t)p->type) == ST_OK &&
		put_text(out, p->domain, TLSRPT_TEXT_MAX) &&
		put_list(out, p->strings, p->string_count,
		TLSRPT_STRINGS_MAX) &&
		put_list(out, p->mx_hosts, p->mx_host_count, TLSRPT_HOSTS_MAX);
}

static void
get_policy(struct reader *in, struct tlsrpt_policy *p)
{
	uint8_t type = reader_u8(in);

	if (type >= TLSRPT_POLICY_TYPES)
		in->bad = true;
	p->type = (enum tlsrpt_policy_type)type;
	p->domain = get_text(in, TLSRPT_TEXT_MAX);
	get_list(in, &p->strings, &p->string_count, TLSRPT_STRINGS_MAX);
	get_list(in, &p->mx_hosts, &p->mx_host_count, TLSRPT_HOSTS_MAX);
}

static bool
put_failure(struct buf *out, const struct tlsrpt_failure *f)
{
	return buf_put_u8(out, (uint8_t)f->result) == ST_OK &&
		put_text(out, f->other, TLSRPT_REASON_MAX) &&
		put_text(out, f->sending_ip, TLSRPT_TEXT_MAX) &&
		put_text(out, f->mx_host, TLSRPT_TEXT_MAX) &&
		put_text(out, f->mx_helo, TLSRPT_TEXT_MAX) &&
		put_text(out, f->receiving_ip, TLSRPT_TEXT_MAX) &&
		put_text(out, f->info, TLSRPT_TEXT_MAX) &&
		put_text(out, f->reason, TLSRPT_REASON_MAX) &&
		buf_put_u64(out, f->count) == ST_OK;
}

static uint64_t
get_count(struct reader *in)
{
	uint64_t n = reader_u64(in);

	if (n > (uint64_t)TLSRPT_COUNT_MAX)
		in->bad = true;
	return n;
}

static void
get_failure(struct reader *in, struct tlsrpt_failure *f)
{
	uint8_t result = reader_u8(in);

	if (result >= TLS_FAILURE_COUNT)
		in->bad = true;
	f->result = (enum tls_failure)result;
	f->other = get_text(in, TLSRPT_REASON_MAX);
	f->sending_ip = get_text(in, TLSRPT_TEXT_MAX);
	f->mx_host = get_text(in, TLSRPT_TEXT_MAX);
	f->mx_helo = get_text(in, TLSRPT_TEXT_MAX);
	f->receiving_ip = get_text(in, TLSRPT_TEXT_MAX);
	f->info = get_text(in, TLSRPT_TEXT_MAX);
	f->reason = get_text(in, TLSRPT_REASON_MAX);
	f->count = get_count(in);
}

/* The recipient domain decides whose report it is: a normalised one only. */
static char *
get_domain(struct reader *in)
{
	char *domain = reader_str(in, STR_DOMAIN_MAX);

	if (domain == NULL || !str_is_domain(domain))
		in->bad = true;
	return domain;
}

static int64_t
get_time(struct reader *in)
{
	uint64_t n = reader_u64(in);

	if (n > INT64_C(1) << 40)
		in->bad = true;
	return (int64_t)n;
}

enum status
tlsrpt_event_encode(const struct tlsrpt_event *event, struct buf *out)
{
	bool ok = buf_put_u8(out, WIRE_VERSION) == ST_OK &&
		buf_put_u64(out, (uint64_t)event->time_s) == ST_OK &&
		buf_put_str(out, event->domain) == ST_OK &&
		put_policy(out, &event->policy) &&
		buf_put_u8(out, event->failed) == ST_OK &&
		put_failure(out, &event->failure) &&
		buf_put_u64(out, event->count) == ST_OK &&
		buf_put_u8(out, (uint8_t)event->ended) == ST_OK;

	return ok ? ST_OK : ST_LIMIT;
}

enum status
tlsrpt_event_decode(struct reader *in, struct tlsrpt_event *out)
{
	uint8_t version = reader_u8(in), failed, ended;

	*out = (struct tlsrpt_event){ 0 };
	out->time_s = get_time(in);
	out->domain = get_domain(in);
	get_policy(in, &out->policy);
	failed = reader_u8(in);
	get_failure(in, &out->failure);
	out->count = get_count(in);
	ended = reader_u8(in);
	out->failed = failed == 1;
	out->ended = (enum tlsrpt_ended)ended;
	if (version != WIRE_VERSION || failed > 1 ||
	    ended >= TLSRPT_ENDED_COUNT ||
	    (failed == 1) != (out->failure.result != TLS_FAILURE_NONE))
		in->bad = true;
	if (reader_ok(in, false))
		return ST_OK;
	tlsrpt_event_clear(out);
	return ST_PARSE;
}

static bool
put_result(struct buf *out, const struct tlsrpt_result *result)
{
	if (!put_policy(out, &result->policy) ||
	    buf_put_u64(out, result->successes) != ST_OK ||
	    buf_put_u64(out, result->failed) != ST_OK ||
	    buf_put_u16(out, (uint16_t)result->failure_count) != ST_OK)
		return false;
	for (size_t i = 0; i < result->failure_count; i++)
		if (!put_failure(out, &result->failures[i]))
			return false;
	return true;
}

static void
get_result(struct reader *in, struct tlsrpt_result *result, size_t *rows)
{
	size_t n;

	get_policy(in, &result->policy);
	result->successes = get_count(in);
	result->failed = get_count(in);
	n = reader_u16(in);
	if (n > *rows)
		in->bad = true;
	if (!reader_ok(in, false))
		return;
	*rows -= n;
	result->failures = xcalloc(n, sizeof(result->failures[0]));
	while (result->failure_count < n && reader_ok(in, false))
		get_failure(in, &result->failures[result->failure_count++]);
}

enum status
tlsrpt_report_encode(const struct tlsrpt_report *report, struct buf *out)
{
	size_t rows = 0;

	for (size_t i = 0; i < report->result_count; i++)
		rows += report->results[i].failure_count;
	if (report->result_count > WIRE_RESULTS_MAX || rows > WIRE_ROWS_MAX ||
	    buf_put_u8(out, WIRE_VERSION) != ST_OK ||
	    buf_put_str(out, report->domain) != ST_OK ||
	    buf_put_u64(out, (uint64_t)report->start_s) != ST_OK ||
	    buf_put_u64(out, (uint64_t)report->end_s) != ST_OK ||
	    !put_text(out, report->organization, TLSRPT_TEXT_MAX) ||
	    !put_text(out, report->contact, TLSRPT_TEXT_MAX) ||
	    !put_text(out, report->id, TLSRPT_TEXT_MAX))
		return ST_LIMIT;
	for (size_t i = 0; i < TLSRPT_ENDED_COUNT; i++)
		if (buf_put_u64(out, report->sessions[i]) != ST_OK)
			return ST_LIMIT;
	if (buf_put_u16(out, (uint16_t)report->result_count) != ST_OK)
		return ST_LIMIT;
	for (size_t i = 0; i < report->result_count; i++)
		if (!put_result(out, &report->results[i]))
			return ST_LIMIT;
	return ST_OK;
}

enum status
tlsrpt_report_decode(struct reader *in, struct tlsrpt_report *out)
{
	size_t rows = WIRE_ROWS_MAX, n;
	uint8_t version = reader_u8(in);

	*out = (struct tlsrpt_report){ 0 };
	out->domain = get_domain(in);
	out->start_s = get_time(in);
	out->end_s = get_time(in);
	out->organization = get_text(in, TLSRPT_TEXT_MAX);
	out->contact = get_text(in, TLSRPT_TEXT_MAX);
	out->id = get_text(in, TLSRPT_TEXT_MAX);
	for (size_t i = 0; i < TLSRPT_ENDED_COUNT; i++)
		out->sessions[i] = get_count(in);
	n = reader_u16(in);
	if (version != WIRE_VERSION || n > WIRE_RESULTS_MAX)
		in->bad = true;
	if (reader_ok(in, false))
		out->results = xcalloc(n, sizeof(out->results[0]));
	while (out->result_count < n && reader_ok(in, false))
		get_result(in, &out->results[out->result_count++], &rows);
	if (reader_ok(in, false))
		return ST_OK;
	tlsrpt_report_clear(out);
	return ST_PARSE;
}
