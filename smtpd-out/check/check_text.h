/*
 * Facts and verdict for people: the verdict first, then what it rests on, in
 * aligned rows.
 */
#ifndef SMTPD_OUT_CHECK_TEXT_H
#define SMTPD_OUT_CHECK_TEXT_H

#include "base/buf.h"
#include "smtpd-out/check/check_verdict.h"

#define CHECK_REPORT_MAX (1U << 20)	/* of a buf for it; the rest is cut */

struct check_style {
	bool colour;
	size_t width;		/* columns to break lines at; 0: never */
	bool verbose;		/* every link, certificate and number */
};

void check_text(const struct check_facts *, const struct check_verdict *,
	const struct check_style *, struct buf *out);

/* The rows about a connection, for other services too. */
void check_text_tls(const struct cert_report *, int64_t now_s,
	const struct check_style *, struct buf *out);
/* Any other row. */
void check_text_row(const char *name, const char *text,
	const struct check_style *, struct buf *out);

#endif
