/*
 * A TLSRPT report as mail (RFC 8460 section 5.3): made for others, and found in
 * what others sent.  Pure functions.
 */
#ifndef SMTPD_OUT_REPORT_MAIL_H
#define SMTPD_OUT_REPORT_MAIL_H

#include "base/str.h"
#include "policy/tlsrpt.h"

struct report_mail {
	const struct tlsrpt_report *report;	/* domain and id are set */
	const char *submitter;		/* our domain */
	const char *from;		/* address, within the DKIM domain */
	const char *const *to;		/* addresses of the rua */
	size_t to_count;		/* at least 1 */
	unsigned part;			/* as in tlsrpt_doc_id() */
	int64_t now_s;
};

/*
 * Puts the whole message into the empty buffer, without a signature; the same
 * input gives the same bytes.  It asks for delivery whatever the state of TLS
 * there (RFC 8460 section 3): "TLS-Required: No".  7bit, unless the report's
 * texts or the addresses are international.  ST_LIMIT when it does not fit,
 * ST_PARSE when an address or a name could break the header.
 */
enum status report_mail_format(const struct report_mail *, struct buf *out)
	MUST_CHECK;

#define REPORT_MAIL_DEPTH_MAX 8		/* multiparts and mails in mails */
#define REPORT_MAIL_PARTS_MAX 200

/* What the header of a report's mail says; "" when it does not. */
struct report_mail_facts {
	char domain[STR_DOMAIN_MAX];	/* TLS-Report-Domain, normalised */
	char submitter[STR_DOMAIN_MAX];
	char file[256];			/* name of the attachment */
};

/*
 * Finds the report in a message and puts its document (JSON, or gzip of it)
 * into the empty buffer.  The first part of type application/tlsrpt+gzip or
 * +json counts, else one whose type and name could be such.  ST_NOENT when
 * there is none.
 */
enum status report_mail_find(const void *message, size_t len, struct buf *out,
	struct report_mail_facts *) MUST_CHECK;

#endif
