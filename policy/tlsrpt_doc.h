/*
 * The TLSRPT document (RFC 8460 section 4.4): a report as JSON and back, gzip,
 * and the names that go with it.  Pure functions.
 *
 * Writing follows the RFC to the letter.  Its additional-information is a URI:
 * an info that is none stays out of the document.  Reading takes what others
 * really send (a string where an array belongs, fractions of seconds, other
 * keys), bounded in bytes, depth, values and rows, and sanitises all text.
 */
#ifndef POLICY_TLSRPT_DOC_H
#define POLICY_TLSRPT_DOC_H

#include "policy/tlsrpt.h"

#define TLSRPT_DOC_MAX (10U << 20)	/* bytes of a document */
#define TLSRPT_DOC_DEPTH_MAX 16
#define TLSRPT_DOC_VALUES_MAX 400000	/* bounds the memory of a parse */
#define TLSRPT_DOC_RESULTS_MAX 1000	/* policies read of a document */
#define TLSRPT_DOC_ROWS_MAX 10000	/* failure rows read of a document */
#define TLSRPT_ERR_MAX 256	/* as in tlsrpt_record.h */

/* Appends the JSON; ST_LIMIT when it does not fit. */
enum status tlsrpt_doc_format(const struct tlsrpt_report *, struct buf *)
	MUST_CHECK;
/*
 * Reads a document.  domain is that of the first policy of type sts or
 * no-policy-found, else of the first policy; a mail or a file name knows it
 * better.  On a fault err says what is wrong and *out is empty.
 */
enum status tlsrpt_doc_parse(const void *, size_t, struct tlsrpt_report *out,
	char err[TLSRPT_ERR_MAX]) MUST_CHECK;

/* The same bytes for the same input. */
enum status tlsrpt_gzip(const void *, size_t, struct buf *out) MUST_CHECK;
/* ST_LIMIT as soon as out is full, however much would follow. */
enum status tlsrpt_gunzip(const void *, size_t, struct buf *out) MUST_CHECK;
bool tlsrpt_is_gzip(const void *, size_t);

/*
 * Names (5.1, 5.3), owned by the caller.  The id is the same each time it is
 * made for a domain, day and part, and another one on another host of the same
 * submitter; part is 0 for the report of the whole day, or its rest, and counts
 * those that are sent before the day is over.
 */
char *tlsrpt_doc_id(const char *domain, int64_t day_s, unsigned part,
	const char *host);
/* sender!policy-domain!begin!end[!part].json.gz */
char *tlsrpt_doc_file(const struct tlsrpt_report *, unsigned part,
	const char *submitter);
char *tlsrpt_doc_subject(const struct tlsrpt_report *, const char *submitter);
/* The domain in such a file name (without its folder), or NULL. */
char *tlsrpt_doc_file_domain(const char *name);

#endif
