/*
 * A TLSRPT report in words that a person can act on: used in the mail that
 * carries a report, by "report read" and on the page.  The explanation of each
 * result type is that of base/err.h.
 */
#ifndef SMTPD_OUT_REPORT_WORDS_H
#define SMTPD_OUT_REPORT_WORDS_H

#include "base/sink.h"
#include "policy/tlsrpt.h"

#define REPORT_DAY_MAX 32
#define REPORT_CURE_MAX 512

/* "2026-11-21" */
void report_day_text(int64_t unix_s, char out[REPORT_DAY_MAX]);
/* The result type as it is written in reports. */
const char *report_failure_name(const struct tlsrpt_failure *);
/* "DANE", "MTA-STS", "no policy" */
const char *report_policy_words(enum tlsrpt_policy_type);
/* What the postmaster of that policy domain (may be NULL) should do, a
 * sentence. */
void report_cure(const struct tlsrpt_failure *, const char *policy_domain,
	char out[REPORT_CURE_MAX]);
/* "1 session", "2 sessions" */
const char *report_sessions_word(uint64_t count);

/* What succeeded, what failed, and what to do; CRLF line ends. */
void report_words_results(const struct tlsrpt_report *, struct sink *);
/* The text part of the mail: that, and what it is. */
void report_words(const struct tlsrpt_report *, const char *submitter,
	struct sink *);

#endif
