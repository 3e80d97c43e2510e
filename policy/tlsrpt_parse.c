/*
 * Reading the TLSRPT documents of others (RFC 8460 section 4.4).
 *
 * The text is scanned before jansson sees it, so that neither its recursion
 * nor its memory is in the hands of the sender.  What the RFC demands and
 * nothing can replace (the time, the list of policies, sane counts) must be
 * there; the rest may be missing.
 */
#include "config.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/str.h"
#include "policy/tlsrpt_doc.h"

#define FAULT(err, ...) \
	((void)snprintf((err), TLSRPT_ERR_MAX, __VA_ARGS__), ST_PARSE)

/* Depth and number of values, without regard to whether it is JSON. */
static enum status
scan(const char *text, size_t len, char err[TLSRPT_ERR_MAX])
{
	size_t depth = 0, values = 0;
	bool quoted = false;

	for (size_t i = 0; i < len; i++) {
		if (quoted && text[i] == '\\')
			i++;
		else if (text[i] == '"')
			quoted = !quoted;
		else if (quoted)
			continue;
		else if (text[i] == '[' || text[i] == '{')
			depth++;
		else if ((text[i] == ']' || text[i] == '}') && depth > 0)
			depth--;
		if (!quoted && strchr("[{,:", text[i]) != NULL)
			values++;
		if (depth > TLSRPT_DOC_DEPTH_MAX)
			return FAULT(err, "nested too deeply");
		if (values > TLSRPT_DOC_VALUES_MAX)
			return FAULT(err, "too many values");
	}
	return ST_OK;
}

/* A clean copy of a text or a number; NULL for anything else. */
static char *
text_of(const json_t *value, size_t max_bytes)
{
	char clean[TLSRPT_STRING_MAX + 1];

	if (json_is_integer(value))
		return xasprintf("%lld", (long long)json_integer_value(value));
	if (!json_is_string(value) || json_string_length(value) == 0)
		return NULL;
	str_sanitise(clean, max_bytes + 1, json_string_value(value),
		json_string_length(value));
	return xstrdup(clean);
}

static char *
get_text(const json_t *object, const char *key, size_t max_bytes)
{
	return text_of(json_object_get(object, key), max_bytes);
}

/* Domains in our one form where they can be had. */
static char *
get_domain(const json_t *object, const char *key)
{
	char *text = get_text(object, key, TLSRPT_TEXT_MAX);
	char domain[STR_DOMAIN_MAX];

	if (text == NULL || str_domain(text, domain) != ST_OK)
		return text;
	free(text);
	return xstrdup(domain);
}

/* A list, or the one text that stands for it. */
static void
get_list(const json_t *value, struct tlsrpt_policy *policy,
	void (*add)(struct tlsrpt_policy *, const char *))
{
	char *text = text_of(value, TLSRPT_STRING_MAX);
	const json_t *one;
	size_t i;

	if (text != NULL)
		add(policy, text);
	free(text);
	json_array_foreach(value, i, one) {
		text = text_of(one, TLSRPT_STRING_MAX);
		if (text != NULL)
			add(policy, text);
		free(text);
	}
}

/* A count that is not there is 0; a whole number in any notation will do. */
static enum status
get_count(const json_t *object, const char *key, uint64_t *out,
	char err[TLSRPT_ERR_MAX])
{
	const json_t *value = json_object_get(object, key);
	double real = json_number_value(value);

	*out = 0;
	if (value == NULL || json_is_null(value))
		return ST_OK;
	if (!json_is_number(value) || !(real >= 0) ||
	    !(real <= (double)TLSRPT_COUNT_MAX) ||
	    real - (double)(int64_t)real > 0)
		return FAULT(err, "%s is not a count", key);
	*out = (uint64_t)real;
	return ST_OK;
}

static bool
digits(const char **text, size_t count, int *out)
{
	*out = 0;
	for (; count > 0; count--, (*text)++) {
		if (!isdigit((unsigned char)**text))
			return false;
		*out = *out * 10 + (**text - '0');
	}
	return true;
}

static bool
skip(const char **text, const char *any)
{
	if (**text == '\0' || strchr(any, **text) == NULL)
		return false;
	(*text)++;
	return true;
}

/* "Z", "+02:00", "-0500", or nothing: UTC then. */
static bool
parse_zone(const char *text, int *seconds_out)
{
	int hours, minutes;
	char sign = *text;

	*seconds_out = 0;
	if (*text == '\0' || strcmp(text, "Z") == 0 || strcmp(text, "z") == 0)
		return true;
	if (!skip(&text, "+-") || !digits(&text, 2, &hours))
		return false;
	(void)skip(&text, ":");
	if (!digits(&text, 2, &minutes) || *text != '\0')
		return false;
	*seconds_out = (hours * 60 + minutes) * (sign == '-' ? -60 : 60);
	return true;
}

/* RFC 3339, fractions left out; a date alone is its first second. */
static bool
parse_time(const char *text, int64_t *out)
{
	struct tm tm = { 0 };
	int zone = 0;

	if (text == NULL || !digits(&text, 4, &tm.tm_year) ||
	    !skip(&text, "-") || !digits(&text, 2, &tm.tm_mon) ||
	    !skip(&text, "-") || !digits(&text, 2, &tm.tm_mday) ||
	    tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12 ||
	    tm.tm_mday < 1 || tm.tm_mday > 31)
		return false;
	if (*text != '\0') {
		if (!skip(&text, "Tt ") || !digits(&text, 2, &tm.tm_hour) ||
		    !skip(&text, ":") || !digits(&text, 2, &tm.tm_min) ||
		    !skip(&text, ":") || !digits(&text, 2, &tm.tm_sec) ||
		    tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
			return false;
		if (skip(&text, "."))
			text += strspn(text, "0123456789");
		if (!parse_zone(text, &zone))
			return false;
	}
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*out = (int64_t)timegm(&tm) - zone;
	return *out >= 0;
}

static enum status
get_range(const json_t *whole, struct tlsrpt_report *out,
	char err[TLSRPT_ERR_MAX])
{
	const json_t *range = json_object_get(whole, "date-range");
	const char *start = json_string_value(json_object_get(range,
		"start-datetime"));
	const char *end = json_string_value(json_object_get(range,
		"end-datetime"));

	if (!parse_time(start, &out->start_s))
		return FAULT(err, "start-datetime is missing or not a time");
	if (!parse_time(end, &out->end_s))
		return FAULT(err, "end-datetime is missing or not a time");
	if (out->end_s < out->start_s)
		return FAULT(err, "end-datetime is before start-datetime");
	return ST_OK;
}

static enum status
get_failure(const json_t *row, struct tlsrpt_failure *out,
	char err[TLSRPT_ERR_MAX])
{
	char *type = get_text(row, "result-type", TLSRPT_REASON_MAX);

	if (!json_is_object(row) || type == NULL) {
		free(type);
		return FAULT(err, "a failure has no result-type");
	}
	out->result = tls_failure_parse(type);
	if (out->result == TLS_FAILURE_NONE)
		out->other = type;
	else
		free(type);
	out->sending_ip = get_text(row, "sending-mta-ip", TLSRPT_TEXT_MAX);
	out->mx_host = get_domain(row, "receiving-mx-hostname");
	out->mx_helo = get_text(row, "receiving-mx-helo", TLSRPT_TEXT_MAX);
	out->receiving_ip = get_text(row, "receiving-ip", TLSRPT_TEXT_MAX);
	out->info = get_text(row, "additional-information", TLSRPT_TEXT_MAX);
	if (out->info == NULL)
		out->info = get_text(row, "additional-info-uri",
			TLSRPT_TEXT_MAX);
	out->reason = get_text(row, "failure-reason-code", TLSRPT_REASON_MAX);
	return get_count(row, "failed-session-count", &out->count, err);
}

static enum status
get_failures(const json_t *rows, struct tlsrpt_result *out, size_t *left,
	char err[TLSRPT_ERR_MAX])
{
	enum status st = ST_OK;
	const json_t *row;
	size_t i, n = json_array_size(rows);

	if (rows != NULL && !json_is_null(rows) && !json_is_array(rows))
		return FAULT(err, "failure-details is not a list");
	if (n > *left)
		return FAULT(err, "more than %d failures",
			TLSRPT_DOC_ROWS_MAX);
	*left -= n;
	out->failures = xcalloc(n, sizeof(out->failures[0]));
	json_array_foreach(rows, i, row) {
		st = get_failure(row, &out->failures[out->failure_count++],
			err);
		if (st != ST_OK)
			break;
	}
	return st;
}

static enum status
get_result(const json_t *whole, struct tlsrpt_result *out, size_t *rows_left,
	char err[TLSRPT_ERR_MAX])
{
	const json_t *policy = json_object_get(whole, "policy");
	const json_t *summary = json_object_get(whole, "summary");
	char *type = get_text(policy, "policy-type", TLSRPT_REASON_MAX);
	enum status st;

	if (type == NULL)
		return FAULT(err, "a policy has no policy-type");
	out->policy.type = tlsrpt_policy_type_parse(type);
	free(type);
	out->policy.domain = get_domain(policy, "policy-domain");
	get_list(json_object_get(policy, "policy-string"), &out->policy,
		tlsrpt_policy_add_string);
	get_list(json_object_get(policy, "mx-host"), &out->policy,
		tlsrpt_policy_add_host);
	if (!json_is_object(summary))
		return FAULT(err, "a policy has no summary");
	st = get_count(summary, "total-successful-session-count",
		&out->successes, err);
	if (st == ST_OK)
		st = get_count(summary, "total-failure-session-count",
			&out->failed, err);
	if (st == ST_OK)
		st = get_failures(json_object_get(whole, "failure-details"),
			out, rows_left, err);
	return st;
}

static enum status
get_results(const json_t *list, struct tlsrpt_report *out,
	char err[TLSRPT_ERR_MAX])
{
	size_t rows_left = TLSRPT_DOC_ROWS_MAX, i;
	enum status st = ST_OK;
	const json_t *one;

	if (!json_is_array(list))
		return FAULT(err, "there is no list of policies");
	if (json_array_size(list) > TLSRPT_DOC_RESULTS_MAX)
		return FAULT(err, "more than %d policies",
			TLSRPT_DOC_RESULTS_MAX);
	out->results = xcalloc(json_array_size(list),
		sizeof(out->results[0]));
	json_array_foreach(list, i, one) {
		st = get_result(one, &out->results[out->result_count++],
			&rows_left, err);
		if (st != ST_OK)
			break;
	}
	return st;
}

static void
guess_domain(struct tlsrpt_report *report)
{
	const char *domain = NULL;

	for (size_t i = 0; i < report->result_count; i++) {
		const struct tlsrpt_policy *p = &report->results[i].policy;

		if (p->domain == NULL)
			continue;
		if (p->type != TLSRPT_POLICY_TLSA) {
			domain = p->domain;
			break;
		}
		if (domain == NULL)
			domain = p->domain;
	}
	report->domain = domain == NULL ? NULL : xstrdup(domain);
}

enum status
tlsrpt_doc_parse(const void *text, size_t len, struct tlsrpt_report *out,
	char err[TLSRPT_ERR_MAX])
{
	json_error_t fault = { 0 };
	json_t *whole;
	enum status st;

	*out = (struct tlsrpt_report){ 0 };
	err[0] = '\0';
	if (len > TLSRPT_DOC_MAX)
		return FAULT(err, "larger than %u bytes", TLSRPT_DOC_MAX);
	/* Some write a byte order mark, which RFC 8259 lets us skip. */
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
		text = (const char *)text + 3;
		len -= 3;
	}
	st = scan(text, len, err);
	if (st != ST_OK)
		return st;
	whole = json_loadb(text, len, JSON_ALLOW_NUL, &fault);
	if (!json_is_object(whole)) {
		json_decref(whole);
		return FAULT(err, "not a JSON object (line %d)", fault.line);
	}
	out->organization = get_text(whole, "organization-name",
		TLSRPT_TEXT_MAX);
	out->contact = get_text(whole, "contact-info", TLSRPT_TEXT_MAX);
	out->id = get_text(whole, "report-id", TLSRPT_TEXT_MAX);
	st = get_range(whole, out, err);
	if (st == ST_OK)
		st = get_results(json_object_get(whole, "policies"), out, err);
	json_decref(whole);
	if (st == ST_OK)
		guess_domain(out);
	else
		tlsrpt_report_clear(out);
	return st;
}
