/*
 * The adding up of a day's TLS results (RFC 8460), and the ownership of its
 * parts.  Nothing here knows of DNS, sessions or files; the wire form is in
 * tlsrpt_wire.c.
 *
 * A domain can make its policies and the words of its servers change with each
 * session: rows and policies are therefore bounded, totals are not cut.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "policy/tlsrpt.h"

static const char *const type_names[TLSRPT_POLICY_TYPES] = {
	[TLSRPT_POLICY_NONE] = "no-policy-found",
	[TLSRPT_POLICY_TLSA] = "tlsa",
	[TLSRPT_POLICY_STS] = "sts",
	[TLSRPT_POLICY_OTHER] = "other",
};

const char *
tlsrpt_policy_type_name(enum tlsrpt_policy_type type)
{
	return (size_t)type < TLSRPT_POLICY_TYPES ? type_names[type] : "other";
}

enum tlsrpt_policy_type
tlsrpt_policy_type_parse(const char *name)
{
	for (unsigned i = 0; i < TLSRPT_POLICY_OTHER; i++)
		if (strcmp(type_names[i], name) == 0)
			return (enum tlsrpt_policy_type)i;
	return TLSRPT_POLICY_OTHER;
}

const char *
tlsrpt_ended_name(enum tlsrpt_ended ended)
{
	static const char *const names[TLSRPT_ENDED_COUNT] = {
		[TLSRPT_ENDED_NONE] = "none",
		[TLSRPT_ENDED_SECURED] = "secured",
		[TLSRPT_ENDED_ENCRYPTED] = "encrypted",
		[TLSRPT_ENDED_CLEAR] = "clear",
		[TLSRPT_ENDED_FAILED] = "failed",
	};

	return (size_t)ended < TLSRPT_ENDED_COUNT ? names[ended] : "none";
}

int64_t
tlsrpt_day(int64_t unix_s)
{
	int64_t into = unix_s % TLSRPT_DAY_S;

	return unix_s - (into < 0 ? into + TLSRPT_DAY_S : into);
}

/* Copies text that may have come from a peer; NULL stays NULL. */
static char *
copy_text(const char *text, size_t max_bytes)
{
	char clean[TLSRPT_STRING_MAX + 1];

	if (text == NULL)
		return NULL;
	str_sanitise(clean, max_bytes + 1, text, strlen(text));
	return xstrdup(clean);
}

static void
list_add(char ***list, size_t *count, size_t max, const char *text)
{
	if (*count >= max)
		return;
	*list = xrealloc_n(*list, *count + 1, sizeof((*list)[0]));
	(*list)[(*count)++] = copy_text(text, TLSRPT_STRING_MAX);
}

static void
list_clear(char ***list, size_t *count)
{
	for (size_t i = 0; i < *count; i++)
		free((*list)[i]);
	mem_free(list);
	*count = 0;
}

void
tlsrpt_policy_add_string(struct tlsrpt_policy *policy, const char *text)
{
	list_add(&policy->strings, &policy->string_count, TLSRPT_STRINGS_MAX,
		text);
}

void
tlsrpt_policy_add_host(struct tlsrpt_policy *policy, const char *pattern)
{
	list_add(&policy->mx_hosts, &policy->mx_host_count, TLSRPT_HOSTS_MAX,
		pattern);
}

void
tlsrpt_policy_copy(struct tlsrpt_policy *to, const struct tlsrpt_policy *from)
{
	*to = (struct tlsrpt_policy){ .type = from->type,
		.domain = copy_text(from->domain, TLSRPT_TEXT_MAX) };
	for (size_t i = 0; i < from->string_count; i++)
		tlsrpt_policy_add_string(to, from->strings[i]);
	for (size_t i = 0; i < from->mx_host_count; i++)
		tlsrpt_policy_add_host(to, from->mx_hosts[i]);
}

void
tlsrpt_policy_clear(struct tlsrpt_policy *policy)
{
	list_clear(&policy->mx_hosts, &policy->mx_host_count);
	list_clear(&policy->strings, &policy->string_count);
	free(policy->domain);
	*policy = (struct tlsrpt_policy){ 0 };
}

void
tlsrpt_failure_clear(struct tlsrpt_failure *failure)
{
	free(failure->reason);
	free(failure->info);
	free(failure->receiving_ip);
	free(failure->mx_helo);
	free(failure->mx_host);
	free(failure->sending_ip);
	free(failure->other);
	*failure = (struct tlsrpt_failure){ 0 };
}

void
tlsrpt_event_clear(struct tlsrpt_event *event)
{
	tlsrpt_failure_clear(&event->failure);
	tlsrpt_policy_clear(&event->policy);
	free(event->domain);
	*event = (struct tlsrpt_event){ 0 };
}

static void
result_clear(struct tlsrpt_result *result)
{
	for (size_t i = 0; i < result->failure_count; i++)
		tlsrpt_failure_clear(&result->failures[i]);
	free(result->failures);
	tlsrpt_policy_clear(&result->policy);
}

void
tlsrpt_report_clear(struct tlsrpt_report *report)
{
	for (size_t i = 0; i < report->result_count; i++)
		result_clear(&report->results[i]);
	free(report->results);
	free(report->domain);
	free(report->id);
	free(report->contact);
	free(report->organization);
	*report = (struct tlsrpt_report){ 0 };
}

void
tlsrpt_report_init(struct tlsrpt_report *report, const char *domain,
	int64_t day_s)
{
	*report = (struct tlsrpt_report){ .domain = xstrdup(domain),
		.start_s = tlsrpt_day(day_s) };
	report->end_s = report->start_s + TLSRPT_DAY_S - 1;
}

static bool
text_same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool
list_same(char *const *a, size_t a_count, char *const *b, size_t b_count)
{
	for (size_t i = 0; i < a_count && i < b_count; i++)
		if (strcmp(a[i], b[i]) != 0)
			return false;
	return a_count == b_count;
}

bool
tlsrpt_policy_same(const struct tlsrpt_policy *a,
	const struct tlsrpt_policy *b)
{
	return a->type == b->type && text_same(a->domain, b->domain) &&
		list_same(a->strings, a->string_count, b->strings,
		b->string_count) &&
		list_same(a->mx_hosts, a->mx_host_count, b->mx_hosts,
		b->mx_host_count);
}

static bool
failure_same(const struct tlsrpt_failure *a, const struct tlsrpt_failure *b)
{
	return a->result == b->result && text_same(a->other, b->other) &&
		text_same(a->mx_host, b->mx_host) &&
		text_same(a->receiving_ip, b->receiving_ip) &&
		text_same(a->reason, b->reason) &&
		text_same(a->sending_ip, b->sending_ip) &&
		text_same(a->mx_helo, b->mx_helo);
}

void
tlsrpt_count_add(uint64_t *total, uint64_t more)
{
	uint64_t max = (uint64_t)TLSRPT_COUNT_MAX;

	*total = more > max || *total > max - more ? max : *total + more;
}

static struct tlsrpt_result *
result_find(const struct tlsrpt_report *report,
	const struct tlsrpt_policy *policy)
{
	for (size_t i = 0; i < report->result_count; i++)
		if (tlsrpt_policy_same(&report->results[i].policy, policy))
			return &report->results[i];
	return NULL;
}

static struct tlsrpt_result *
result_new(struct tlsrpt_report *report, const struct tlsrpt_policy *policy)
{
	struct tlsrpt_result *result;

	report->results = xrealloc_n(report->results, report->result_count + 1,
		sizeof(report->results[0]));
	result = &report->results[report->result_count++];
	memset(result, 0, sizeof(*result));
	tlsrpt_policy_copy(&result->policy, policy);
	return result;
}

/* The row of a policy; where there is no place for one more, that of its type
 * alone, of which there is at most one per type. */
static struct tlsrpt_result *
result_for(struct tlsrpt_report *report, const struct tlsrpt_policy *policy)
{
	struct tlsrpt_policy clean;
	struct tlsrpt_policy rest = { .type = policy->type,
		.domain = report->domain };
	struct tlsrpt_result *result;

	tlsrpt_policy_copy(&clean, policy);
	result = result_find(report, &clean);
	if (result == NULL && report->result_count < TLSRPT_POLICIES_MAX)
		result = result_new(report, &clean);
	if (result == NULL)
		result = result_find(report, &rest);
	if (result == NULL)
		result = result_new(report, &rest);
	tlsrpt_policy_clear(&clean);
	return result;
}

static struct tlsrpt_failure *
failure_find(const struct tlsrpt_result *result,
	const struct tlsrpt_failure *failure)
{
	for (size_t i = 0; i < result->failure_count; i++)
		if (failure_same(&result->failures[i], failure))
			return &result->failures[i];
	return NULL;
}

static void
failure_copy(struct tlsrpt_failure *to, const struct tlsrpt_failure *from)
{
	*to = (struct tlsrpt_failure){ .result = from->result,
		.other = copy_text(from->other, TLSRPT_REASON_MAX),
		.sending_ip = copy_text(from->sending_ip, TLSRPT_TEXT_MAX),
		.mx_host = copy_text(from->mx_host, TLSRPT_TEXT_MAX),
		.mx_helo = copy_text(from->mx_helo, TLSRPT_TEXT_MAX),
		.receiving_ip = copy_text(from->receiving_ip, TLSRPT_TEXT_MAX),
		.info = copy_text(from->info, TLSRPT_TEXT_MAX),
		.reason = copy_text(from->reason, TLSRPT_REASON_MAX) };
}

static struct tlsrpt_failure *
failure_new(struct tlsrpt_result *result, const struct tlsrpt_failure *failure)
{
	struct tlsrpt_failure *row;

	result->failures = xrealloc_n(result->failures,
		result->failure_count + 1, sizeof(result->failures[0]));
	row = &result->failures[result->failure_count++];
	failure_copy(row, failure);
	return row;
}

static size_t
rows_of(const struct tlsrpt_report *report)
{
	size_t n = 0;

	for (size_t i = 0; i < report->result_count; i++)
		n += report->results[i].failure_count;
	return n;
}

static void
failure_add(const struct tlsrpt_report *report, struct tlsrpt_result *result,
	const struct tlsrpt_failure *failure, uint64_t count)
{
	static char info[] = "more kinds of failure than are listed apart";
	static char reason[] = TLSRPT_REASON_OVERFLOW;
	struct tlsrpt_failure clean, *row;
	struct tlsrpt_failure rest = { .result = failure->result,
		.info = info, .reason = reason };

	failure_copy(&clean, failure);
	row = failure_find(result, &clean);
	if (row == NULL && rows_of(report) < TLSRPT_FAILURES_MAX)
		row = failure_new(result, &clean);
	if (row == NULL)
		row = failure_find(result, &rest);
	if (row == NULL)
		row = failure_new(result, &rest);
	tlsrpt_count_add(&row->count, count);
	tlsrpt_count_add(&result->failed, count);
	tlsrpt_failure_clear(&clean);
}

void
tlsrpt_report_add(struct tlsrpt_report *report,
	const struct tlsrpt_event *event)
{
	struct tlsrpt_result *result = result_for(report, &event->policy);

	if (event->failed)
		failure_add(report, result, &event->failure, event->count);
	else
		tlsrpt_count_add(&result->successes, event->count);
	if (event->ended > TLSRPT_ENDED_NONE &&
	    event->ended < TLSRPT_ENDED_COUNT)
		tlsrpt_count_add(&report->sessions[event->ended], event->count);
}

void
tlsrpt_report_merge(struct tlsrpt_report *report,
	const struct tlsrpt_report *more)
{
	for (size_t i = 0; i < more->result_count; i++) {
		const struct tlsrpt_result *from = &more->results[i];
		struct tlsrpt_result *to = result_for(report, &from->policy);
		uint64_t rows = 0;

		tlsrpt_count_add(&to->successes, from->successes);
		for (size_t j = 0; j < from->failure_count; j++) {
			failure_add(report, to, &from->failures[j],
				from->failures[j].count);
			tlsrpt_count_add(&rows, from->failures[j].count);
		}
		if (from->failed > rows)	/* not told row by row */
			tlsrpt_count_add(&to->failed, from->failed - rows);
	}
	for (size_t i = 0; i < TLSRPT_ENDED_COUNT; i++)
		tlsrpt_count_add(&report->sessions[i], more->sessions[i]);
}

uint64_t
tlsrpt_report_successes(const struct tlsrpt_report *report)
{
	uint64_t n = 0;

	for (size_t i = 0; i < report->result_count; i++)
		tlsrpt_count_add(&n, report->results[i].successes);
	return n;
}

uint64_t
tlsrpt_report_failures(const struct tlsrpt_report *report)
{
	uint64_t n = 0;

	for (size_t i = 0; i < report->result_count; i++)
		tlsrpt_count_add(&n, report->results[i].failed);
	return n;
}

bool
tlsrpt_report_empty(const struct tlsrpt_report *report)
{
	return tlsrpt_report_successes(report) == 0 &&
		tlsrpt_report_failures(report) == 0;
}
