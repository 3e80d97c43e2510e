/*
 * A summary of reports on a terminal, or as JSON.
 */
#ifndef SMTPD_OUT_REPORT_PRINT_H
#define SMTPD_OUT_REPORT_PRINT_H

#include "base/sink.h"
#include "smtpd-out/report/report_summary.h"

/* For people; LF line ends. */
void report_print_text(const struct report_summary *, size_t duplicates,
	struct sink *);
/* One JSON object, for the interface that smtpd-out-report(1) documents. */
void report_print_json(const struct report_summary *,
	const struct report_set *, struct sink *);

#endif
