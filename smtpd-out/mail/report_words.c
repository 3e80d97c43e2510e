/*
 * Reports in words.  What peers said stands indented and sanitised.
 */
#include "config.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "smtpd-out/mail/report_words.h"

#define LINE_MAX_BYTES (TLSRPT_TEXT_MAX + 128)
#define RANGE_MAX (REPORT_DAY_MAX + 40)
#define DOMAIN_WORD "DOMAIN"	/* in the cures, for the policy domain */

void
report_day_text(int64_t unix_s, char out[REPORT_DAY_MAX])
{
	time_t at = (time_t)unix_s;
	struct tm tm;

	out[0] = '\0';
	if (gmtime_r(&at, &tm) != NULL)
		(void)strftime(out, REPORT_DAY_MAX, "%Y-%m-%d", &tm);
}

const char *
report_failure_name(const struct tlsrpt_failure *f)
{
	return f->result == TLS_FAILURE_NONE && f->other != NULL ? f->other :
		tls_failure_name(f->result);
}

const char *
report_policy_words(enum tlsrpt_policy_type type)
{
	static const char *const words[TLSRPT_POLICY_TYPES] = {
		[TLSRPT_POLICY_NONE] = "no policy",
		[TLSRPT_POLICY_TLSA] = "DANE",
		[TLSRPT_POLICY_STS] = "MTA-STS",
		[TLSRPT_POLICY_OTHER] = "another kind of policy",
	};

	return (size_t)type < TLSRPT_POLICY_TYPES ? words[type] :
		words[TLSRPT_POLICY_OTHER];
}

/* Where a reason of ours says more than the result type does.  Other senders
 * have other words. */
static const struct {
	const char *reason, *cure;
} reasons[] = {
	{ "dane-no-match", "publish TLSA records that match the certificate "
	    "in use, before a new certificate is installed." },
	{ "sts-mx-mismatch", "name every MX host of the domain in an mx line "
	    "of the MTA-STS policy, and raise the id of the record." },
	{ TLSRPT_REASON_OVERFLOW, "see to the failures listed above first; "
	    "these are more of their kind." },
};

static const char *
cure_of(const struct tlsrpt_failure *f)
{
	for (size_t i = 0; f->reason != NULL &&
	    i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (strcmp(reasons[i].reason, f->reason) == 0)
			return reasons[i].cure;
	if (f->result == TLS_FAILURE_NONE)
		return tls_failure_cure(TLS_FAILURE_COUNT);
	return tls_failure_cure(f->result);
}

void
report_cure(const struct tlsrpt_failure *f, const char *policy_domain,
	char out[REPORT_CURE_MAX])
{
	const char *cure = cure_of(f);
	const char *at = strstr(cure, DOMAIN_WORD);

	if (at == NULL || policy_domain == NULL)
		(void)str_copy(out, REPORT_CURE_MAX, cure);
	else
		(void)snprintf(out, REPORT_CURE_MAX, "%.*s%s%s",
			(int)(at - cure), cure, policy_domain,
			at + strlen(DOMAIN_WORD));
	out[0] = (char)toupper((unsigned char)out[0]);
}

const char *
report_sessions_word(uint64_t count)
{
	return count == 1 ? "session" : "sessions";
}

static void
put_line(struct sink *out, const char *label, const char *text)
{
	char line[LINE_MAX_BYTES + REPORT_CURE_MAX];

	if (text == NULL || text[0] == '\0')
		return;
	(void)snprintf(line, sizeof(line), "%s: %s", label, text);
	sink_wrap(out, "    ", line);
}

static void
put_failure(struct sink *out, const struct tlsrpt_result *result,
	const struct tlsrpt_failure *f)
{
	char text[LINE_MAX_BYTES], cure[REPORT_CURE_MAX];

	report_cure(f, result->policy.domain, cure);
	(void)snprintf(text, sizeof(text), "%s, %" PRIu64 " %s",
		report_failure_name(f), f->count,
		report_sessions_word(f->count));
	sink_puts(out, "\r\n");
	sink_wrap(out, "  ", text);
	(void)snprintf(text, sizeof(text), "%s%s%s",
		report_policy_words(result->policy.type),
		result->policy.domain == NULL ? "" : " of ",
		result->policy.domain == NULL ? "" : result->policy.domain);
	put_line(out, "Policy", text);
	if (f->mx_host != NULL && f->receiving_ip != NULL) {
		(void)snprintf(text, sizeof(text), "%s [%s]", f->mx_host,
			f->receiving_ip);
		put_line(out, "Mail server", text);
	} else {
		put_line(out, "Mail server", f->mx_host != NULL ? f->mx_host :
			f->receiving_ip);
	}
	put_line(out, "Seen", f->result == TLS_FAILURE_NONE ?
		tls_failure_meaning(TLS_FAILURE_COUNT) :
		tls_failure_meaning(f->result));
	put_line(out, "Reason", f->reason);
	put_line(out, "Details", f->info);
	put_line(out, "What to do", cure);
}

void
report_words_results(const struct tlsrpt_report *r, struct sink *out)
{
	uint64_t bad = tlsrpt_report_failures(r);
	uint64_t good = tlsrpt_report_successes(r);
	char text[TLSRPT_TEXT_MAX];

	(void)snprintf(text, sizeof(text), "%" PRIu64 " %s succeeded, %" PRIu64
		" failed. A session to which two policies apply is counted "
		"for each of them.", good, report_sessions_word(good), bad);
	sink_wrap(out, "", text);
	for (size_t i = 0; i < r->result_count; i++)
		for (size_t j = 0; j < r->results[i].failure_count; j++)
			put_failure(out, &r->results[i],
				&r->results[i].failures[j]);
}

/* "2026-11-21", and of a part of that day its times. */
static void
put_range(const struct tlsrpt_report *r, char out[RANGE_MAX])
{
	time_t start = (time_t)r->start_s, end = (time_t)r->end_s;
	struct tm from, to;

	report_day_text(r->start_s, out);
	if ((r->start_s % TLSRPT_DAY_S == 0 &&
	    r->end_s - r->start_s == TLSRPT_DAY_S - 1) ||
	    gmtime_r(&start, &from) == NULL || gmtime_r(&end, &to) == NULL)
		return;
	(void)strftime(out, RANGE_MAX, "%Y-%m-%d, %H:%M:%S", &from);
	(void)strftime(out + strlen(out), RANGE_MAX - strlen(out),
		" to %H:%M:%S", &to);
}

void
report_words(const struct tlsrpt_report *r, const char *submitter,
	struct sink *out)
{
	char text[TLSRPT_TEXT_MAX * 4], range[RANGE_MAX];

	put_range(r, range);
	(void)snprintf(text, sizeof(text), "This is a report on TLS with the "
		"mail servers of %s, as seen by %s (%s) on %s (UTC).",
		r->domain, r->organization == NULL ? submitter :
		r->organization, submitter, range);
	sink_wrap(out, "", text);
	sink_puts(out, "\r\n");
	report_words_results(r, out);
	(void)snprintf(text, sizeof(text), "The attachment says the same to "
		"programs (RFC 8460). It is sent because %s asks for it in "
		"the DNS, at _smtp._tls.%s.%s%s%s", r->domain, r->domain,
		r->contact == NULL ? "" : " Questions: ",
		r->contact == NULL ? "" : r->contact,
		r->contact == NULL ? "" : ".");
	sink_puts(out, "\r\n");
	sink_wrap(out, "", text);
}
