/*
 * Reports to test with, and what tests do with files.
 */
#ifndef TESTS_UNIT_REPORT_SAMPLE_H
#define TESTS_UNIT_REPORT_SAMPLE_H

#include "policy/tlsrpt.h"

#define SAMPLE_DAY INT64_C(1795219200)		/* 2026-11-21 */

/* Three policies, with and without failures; organization and id are set. */
void report_sample(struct tlsrpt_report *);
/* Adds one failure to the sts policy of the sample. */
void report_sample_fail(struct tlsrpt_report *, enum tls_failure,
	const char *host, const char *info);
/* Adds successes to it. */
void report_sample_pass(struct tlsrpt_report *, uint64_t count);

#endif
