/*
 * MTA-STS (RFC 8461), the pure part: the TXT record that announces a policy,
 * the policy file, and which MX hosts a policy permits.  No network, no clock.
 *
 * The grammar is taken by its word: what it does not derive is no policy.  A
 * domain that publishes such a thing is told by `lint`; a sender that guesses
 * would protect it today and not tomorrow.
 */
#ifndef POLICY_STS_H
#define POLICY_STS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "resolver/resolver.h"

#define STS_POLICY_MAX 65536		/* bytes of a policy body (3.3) */
#define STS_MX_MAX 1000			/* patterns in a policy */
#define STS_MAX_AGE_MAX 31557600	/* seconds; a year (3.2) */
#define STS_ID_MAX 32			/* characters (3.1) */
#define STS_PATTERN_MAX (STR_DOMAIN_MAX + 2)	/* normalised, and the NUL */
#define STS_RECORD_MAX 4096		/* bytes of a TXT record looked at */
#define STS_ERR_MAX 256

enum sts_mode {
	STS_MODE_NONE = 0,	/* no policy any more (8.3) */
	STS_MODE_TESTING,	/* report, deliver all the same */
	STS_MODE_ENFORCE	/* never deliver to a host that fails */
};

/* "none", "testing", "enforce". */
const char *sts_mode_name(enum sts_mode);

/* Patterns are normalised: lower-case A-labels, no trailing dot, with "*." in
 * front when any one label may stand there.  At least one unless mode NONE.
 * One of a policy list may begin with "." instead: any labels (sts_list.h). */
struct sts_policy {
	enum sts_mode mode;
	int64_t max_age_s;
	char **mx;
	size_t mx_count;
};

/*
 * What a valid text has that a postmaster should know (unknown keys and the
 * like): a sentence that ends in its RFC section, with the line number (0: of
 * the whole).  Printable.
 */
typedef void sts_note_cb(unsigned line, const char *sentence, void *arg);

/*
 * The body of a policy file (3.2).  ST_PARSE: err is a printable sentence with
 * the line number and RFC section.  Keys may come in any order; an unknown one
 * is ignored, and so is a repeated one other than mx, its first value counts.
 * *out is owned by the caller; NULL unless ST_OK.
 */
enum status sts_policy_parse(const uint8_t *text, size_t len,
	struct sts_policy **out, char err[STS_ERR_MAX]) MUST_CHECK;
/* The same; note is called for what is ignored or unusual. */
enum status sts_policy_judge(const uint8_t *text, size_t len,
	struct sts_policy **out, char err[STS_ERR_MAX], sts_note_cb *note,
	void *arg) MUST_CHECK;
void sts_policy_free(struct sts_policy **);
struct sts_policy *sts_policy_copy(const struct sts_policy *);

struct sts_record {
	char id[STS_ID_MAX + 1];
};

/* One TXT record, its strings joined (3.1).  err as above, without a line. */
enum status sts_record_parse(const uint8_t *text, size_t len,
	struct sts_record *out, char err[STS_ERR_MAX]) MUST_CHECK;
enum status sts_record_judge(const uint8_t *text, size_t len,
	struct sts_record *out, char err[STS_ERR_MAX], sts_note_cb *note,
	void *arg) MUST_CHECK;
/* Begins with "v=STSv1;": others are no business of ours (3.1). */
bool sts_record_is(const uint8_t *text, size_t len);

enum sts_finding {
	STS_FINDING_NONE = 0,	/* no such record */
	STS_FINDING_RECORD,	/* exactly one, and valid */
	STS_FINDING_INVALID,	/* several, or malformed: counts as none */
	STS_FINDING_FAILED	/* the DNS gave no usable answer: not absence */
};

const char *sts_finding_name(enum sts_finding);
/* What a TXT answer for _mta-sts means (3.1).  out counts only with RECORD; err
 * is "" or, with INVALID and FAILED, a printable sentence. */
enum sts_finding sts_record_read(const struct dns_answer *,
	struct sts_record *out, char err[STS_ERR_MAX]);

/* Puts an mx pattern into its normal form (3.2).  NULL, or the end of a
 * sentence that begins with the pattern. */
const char *sts_pattern_parse(const char *text, size_t len,
	char out[STS_PATTERN_MAX]);

/*
 * Whether the host name fits the pattern (4.1): without regard to case, "*" for
 * exactly one label, the left-most.  U-labels are converted; a host may end in
 * a dot as in the DNS, a pattern not.  False when either is malformed.
 */
bool sts_match(const char *pattern, const char *host);
/* Any pattern of the policy fits.  The mode is not looked at. */
bool sts_policy_allows(const struct sts_policy *, const char *host);

#endif
