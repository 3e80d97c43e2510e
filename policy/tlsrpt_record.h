/*
 * The TXT record at _smtp._tls.DOMAIN that asks for reports (RFC 8460 3).
 * Pure: no network.
 */
#ifndef POLICY_TLSRPT_RECORD_H
#define POLICY_TLSRPT_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "resolver/resolver.h"

#define TLSRPT_RECORD_MAX 4096		/* bytes of a TXT record looked at */
#define TLSRPT_RUA_MAX 8		/* places that reports may go to */
#define TLSRPT_ERR_MAX 256

enum tlsrpt_kind {
	TLSRPT_MAILTO = 0,
	TLSRPT_HTTPS
};

struct tlsrpt_rua {
	enum tlsrpt_kind kind;
	char *uri;		/* as published */
	char *target;		/* mailto: the address, percent-decoded and a
				 * valid one (str_address), without header
				 * fields; https: the URL without a fragment,
				 * still encoded */
	char *host;		/* https: a normalised domain, never an
				 * address or literal; mailto: NULL */
	uint16_t port;		/* https: 443 unless said; mailto: 0 */
};

/* In the order of the record; at least one. */
struct tlsrpt_record {
	struct tlsrpt_rua *rua;
	size_t rua_count;
};

typedef void tlsrpt_note_cb(unsigned line, const char *sentence, void *arg);

/*
 * One TXT record, its strings joined.  ST_PARSE: err is a printable sentence
 * with the RFC section.  A URI of another scheme than the two, or beyond
 * TLSRPT_RUA_MAX, is left out; one must remain.  A malformed one makes the
 * record invalid.  Several rua fields add up.  *out is owned by the caller;
 * NULL unless ST_OK.
 */
enum status tlsrpt_record_parse(const uint8_t *text, size_t len,
	struct tlsrpt_record **out, char err[TLSRPT_ERR_MAX]) MUST_CHECK;
/* The same; note is called for what is ignored or unusual (line is 0). */
enum status tlsrpt_record_judge(const uint8_t *text, size_t len,
	struct tlsrpt_record **out, char err[TLSRPT_ERR_MAX],
	tlsrpt_note_cb *note, void *arg) MUST_CHECK;
void tlsrpt_record_free(struct tlsrpt_record **);
/* Begins with "v=TLSRPTv1;": others are discarded first. */
bool tlsrpt_record_is(const uint8_t *text, size_t len);

enum tlsrpt_finding {
	TLSRPT_FINDING_NONE = 0,	/* nobody asks for reports */
	TLSRPT_FINDING_RECORD,		/* exactly one, and valid */
	TLSRPT_FINDING_INVALID,		/* several, or malformed: as none */
	TLSRPT_FINDING_FAILED		/* no usable answer: ask again */
};

const char *tlsrpt_finding_name(enum tlsrpt_finding);
/* What a TXT answer means.  *out is set only with RECORD, NULL else; err is ""
 * or, with INVALID and FAILED, a printable sentence. */
enum tlsrpt_finding tlsrpt_record_read(const struct dns_answer *,
	struct tlsrpt_record **out, char err[TLSRPT_ERR_MAX]);

#endif
