/*
 * Writing a TLSRPT document, and its names (RFC 8460 sections 4.4, 5.1, 5.3).
 */
#include "config.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/str.h"
#include "policy/tlsrpt_doc.h"

static json_t *
text_json(const char *text)
{
	char clean[TLSRPT_STRING_MAX + 1];

	str_sanitise(clean, sizeof(clean), text, strlen(text));
	return json_string(clean);
}

/* Nothing is written of what is absent. */
static void
set_text(json_t *object, const char *key, const char *text)
{
	if (text != NULL && text[0] != '\0')
		(void)json_object_set_new(object, key, text_json(text));
}

static void
set_list(json_t *object, const char *key, char *const *list, size_t count)
{
	json_t *array;

	if (count == 0)
		return;
	array = json_array();
	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(array, text_json(list[i]));
	(void)json_object_set_new(object, key, array);
}

static void
set_count(json_t *object, const char *key, uint64_t count)
{
	(void)json_object_set_new(object, key, json_integer(
		count > (uint64_t)TLSRPT_COUNT_MAX ? TLSRPT_COUNT_MAX :
		(json_int_t)count));
}

/* RFC 3339, in UTC. */
static void
set_time(json_t *object, const char *key, int64_t unix_s)
{
	time_t at = (time_t)unix_s;
	char text[40] = "";
	struct tm tm;

	if (gmtime_r(&at, &tm) != NULL)
		(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	set_text(object, key, text);
}

/* RFC 3986 section 3, as far as it tells a URI from words. */
static bool
is_uri(const char *text)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789+-.");

	return n > 1 && text[n] == ':' && text[n + 1] != '\0' &&
		str_is_ascii(text) && strpbrk(text, " \"<>\\^`{|}") == NULL;
}

static json_t *
failure_json(const struct tlsrpt_failure *f)
{
	json_t *row = json_object();

	set_text(row, "result-type", f->result == TLS_FAILURE_NONE &&
		f->other != NULL ? f->other : tls_failure_name(f->result));
	set_text(row, "sending-mta-ip", f->sending_ip);
	set_text(row, "receiving-mx-hostname", f->mx_host);
	set_text(row, "receiving-mx-helo", f->mx_helo);
	set_text(row, "receiving-ip", f->receiving_ip);
	set_count(row, "failed-session-count", f->count);
	if (f->info != NULL && is_uri(f->info))
		set_text(row, "additional-information", f->info);
	set_text(row, "failure-reason-code", f->reason);
	return row;
}

static json_t *
result_json(const struct tlsrpt_result *result)
{
	json_t *whole = json_object(), *policy = json_object();
	json_t *summary = json_object(), *details = json_array();
	const struct tlsrpt_policy *p = &result->policy;

	set_text(policy, "policy-type", tlsrpt_policy_type_name(p->type));
	set_list(policy, "policy-string", p->strings, p->string_count);
	set_text(policy, "policy-domain", p->domain);
	set_list(policy, "mx-host", p->mx_hosts, p->mx_host_count);
	set_count(summary, "total-successful-session-count",
		result->successes);
	set_count(summary, "total-failure-session-count", result->failed);
	for (size_t i = 0; i < result->failure_count; i++)
		(void)json_array_append_new(details,
			failure_json(&result->failures[i]));
	(void)json_object_set_new(whole, "policy", policy);
	(void)json_object_set_new(whole, "summary", summary);
	if (result->failure_count > 0)
		(void)json_object_set(whole, "failure-details", details);
	json_decref(details);
	return whole;
}

static int
on_dump(const char *bytes, size_t count, void *arg)
{
	return buf_put(arg, bytes, count) == ST_OK ? 0 : -1;
}

enum status
tlsrpt_doc_format(const struct tlsrpt_report *report, struct buf *out)
{
	json_t *whole = json_object(), *range = json_object();
	json_t *policies = json_array();
	int rc;

	set_text(whole, "organization-name", report->organization);
	set_time(range, "start-datetime", report->start_s);
	set_time(range, "end-datetime", report->end_s);
	(void)json_object_set_new(whole, "date-range", range);
	set_text(whole, "contact-info", report->contact);
	set_text(whole, "report-id", report->id);
	for (size_t i = 0; i < report->result_count; i++)
		(void)json_array_append_new(policies,
			result_json(&report->results[i]));
	(void)json_object_set_new(whole, "policies", policies);
	rc = json_dump_callback(whole, on_dump, out, JSON_INDENT(2));
	json_decref(whole);
	return rc == 0 && buf_put(out, "\n", 1) == ST_OK ? ST_OK : ST_LIMIT;
}

char *
tlsrpt_doc_id(const char *domain, int64_t day_s, unsigned part,
	const char *host)
{
	time_t at = (time_t)day_s;
	char day[16] = "", more[16] = "";
	struct tm tm;

	if (gmtime_r(&at, &tm) != NULL)
		(void)strftime(day, sizeof(day), "%Y-%m-%d", &tm);
	if (part > 0)
		(void)snprintf(more, sizeof(more), ".%u", part);
	return xasprintf("%s%s.%s@%s", day, more, domain, host);
}

char *
tlsrpt_doc_file(const struct tlsrpt_report *report, unsigned part,
	const char *submitter)
{
	char more[16] = "";

	if (part > 0)
		(void)snprintf(more, sizeof(more), "!%u", part);
	return xasprintf("%s!%s!%lld!%lld%s.json.gz", submitter,
		report->domain, (long long)report->start_s,
		(long long)report->end_s, more);
}

char *
tlsrpt_doc_subject(const struct tlsrpt_report *report, const char *submitter)
{
	return xasprintf("Report Domain: %s Submitter: %s Report-ID: <%s>",
		report->domain, submitter, report->id);
}

char *
tlsrpt_doc_file_domain(const char *name)
{
	const char *first = strchr(name, '!');
	const char *second = first == NULL ? NULL : strchr(first + 1, '!');
	char text[STR_DOMAIN_MAX], domain[STR_DOMAIN_MAX];
	size_t len = second == NULL ? 0 : (size_t)(second - first - 1);

	if (len == 0 || len >= sizeof(text))
		return NULL;
	memcpy(text, first + 1, len);
	text[len] = '\0';
	return str_domain(text, domain) == ST_OK ? xstrdup(domain) : NULL;
}
