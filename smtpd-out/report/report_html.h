/*
 * The page: what this system has seen of others' TLS, and what others have
 * reported of its own domains.  One self-contained file of HTML and CSS, with
 * no script and nothing fetched from anywhere.
 */
#ifndef SMTPD_OUT_REPORT_HTML_H
#define SMTPD_OUT_REPORT_HTML_H

#include "base/sink.h"
#include "smtpd-out/report/report_read.h"

struct report_page {
	const char *host;		/* whose page it is, or NULL */
	int64_t now_s;
	/* One per domain and day: sessions and results as counted here. */
	const struct tlsrpt_report *own;
	size_t own_count;
	const struct report_received *received;
	size_t received_count;
};

/* Whatever is in the reports, the page is well-formed. */
void report_html(const struct report_page *, struct sink *);

#endif
