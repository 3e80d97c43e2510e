/*
 * Arguments of SMTP and LMTP commands, as pure functions of text: RFC 5321
 * (commands, paths), 1870 (SIZE), 6152 (BODY), 6531 (SMTPUTF8), 3461 (DSN),
 * 8689 (REQUIRETLS), 3030 (BDAT).  The text is what follows the verb, without
 * CRLF; it holds no NUL.  Each function returns REPLY_NONE or what to tell the
 * submitter.
 */
#ifndef SMTPD_OUT_INJECT_PARSE_H
#define SMTPD_OUT_INJECT_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/envelope.h"
#include "base/str.h"
#include "smtpd-out/inject/inject_reply.h"

#define INJECT_ADDRESS_BYTES 321	/* 320 octets (base/str) and the NUL */
#define INJECT_ENVID_BYTES 101		/* RFC 3461 4.4 */
#define INJECT_ORCPT_BYTES 501		/* RFC 3461 4.2 */
#define INJECT_HELO_BYTES 256		/* RFC 5321 4.5.3.1.2 */

struct inject_mail {
	char sender[INJECT_ADDRESS_BYTES];	/* without <>; "" is null */
	bool address_utf8;		/* the address is not ASCII */
	bool smtputf8;			/* SMTPUTF8 was given */
	bool require_tls;		/* REQUIRETLS was given */
	uint64_t size_bytes;		/* SIZE, 0 when not given */
	enum envelope_ret ret;
	char envid[INJECT_ENVID_BYTES];	/* xtext as given, "" when not */
};

struct inject_rcpt {
	char address[INJECT_ADDRESS_BYTES];	/* route removed */
	char destination[STR_DOMAIN_MAX];	/* normalised, or "[literal]" */
	size_t local_len;		/* of address, before its '@' */
	bool address_utf8;
	unsigned notify;		/* enum envelope_notify bits */
	char orcpt[INJECT_ORCPT_BYTES];	/* as given, "" when not */
};

enum inject_reply inject_parse_mail(const char *args, struct inject_mail *out)
	MUST_CHECK;
/* hostname completes "postmaster", which must work bare (RFC 5321 4.5.1). */
enum inject_reply inject_parse_rcpt(const char *args, const char *hostname,
	struct inject_rcpt *out) MUST_CHECK;
enum inject_reply inject_parse_bdat(const char *args, uint64_t *size_out,
	bool *last_out) MUST_CHECK;
/* A name fit for a Received header; odd characters become '?'. */
enum inject_reply inject_parse_helo(const char *args,
	char out[INJECT_HELO_BYTES]) MUST_CHECK;

#endif
