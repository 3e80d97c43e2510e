/*
 * What is known of a message besides its body: plain data that travels from
 * the submitter through the spool to the SMTP client.
 *
 * An envelope owns everything it points to.  Strings are NULL when absent,
 * except sender (the null reverse-path is "") and address.
 */
#ifndef BASE_ENVELOPE_H
#define BASE_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define ENVELOPE_RCPTS_MAX 10000	/* hard bound; configuration is lower */
#define ENVELOPE_STR_MAX 2048		/* longest string in an envelope */

/* RFC 3461 4.1 NOTIFY, a bit set; 0 = not given (means FAILURE and DELAY). */
enum envelope_notify {
	NOTIFY_NEVER = 1,
	NOTIFY_SUCCESS = 2,
	NOTIFY_FAILURE = 4,
	NOTIFY_DELAY = 8
};

/* RFC 3461 4.3 RET. */
enum envelope_ret { RET_NONE = 0, RET_FULL, RET_HDRS };

/* What the message needs of each hop, a bit set. */
enum envelope_flag {
	ENVELOPE_8BITMIME = 1,		/* body has octets above 127 */
	ENVELOPE_SMTPUTF8 = 2,		/* RFC 6531 */
	ENVELOPE_REQUIRETLS = 4,	/* RFC 8689 section 2 */
	ENVELOPE_TLS_OPTIONAL = 8,	/* RFC 8689 "TLS-Required: No" */
	ENVELOPE_BOUNCE = 16,		/* a notice of our own */
	ENVELOPE_REPORT = 32		/* a report of ours on TLS (RFC 8460) */
};

struct envelope_rcpt {
	uint64_t id;		/* spool's number of it; 0 before it has one */
	char *address;		/* as given, without <> */
	char *destination;	/* normalised domain or "[literal]" */
	char *orcpt;		/* RFC 3461 4.2, "type;xtext" as received */
	unsigned notify;	/* enum envelope_notify bits */
};

struct envelope {
	uint64_t id;		/* queue id; 0 before the spool gave one */
	int64_t received_ms;	/* Unix time of acceptance */
	uint64_t size_bytes;	/* of the body as stored, CRLF line ends */
	unsigned flags;		/* enum envelope_flag bits */
	enum envelope_ret ret;
	char *sender;		/* reverse-path without <>; "" is null */
	char *envid;		/* RFC 3461 4.4, xtext as received */
	char *origin;		/* who submitted: "uid 1000" or "[192.0.2.1]" */
	struct envelope_rcpt *rcpts;
	size_t rcpt_count;
};

struct envelope *envelope_new(const char *sender);
void envelope_free(struct envelope **);
/* Adds a recipient (strings are copied) and returns it; the pointer is valid
 * until the next add. */
struct envelope_rcpt *envelope_add_rcpt(struct envelope *, const char *address,
	const char *destination);

/* Wire form between our processes.  Decode bounds everything and checks that
 * destinations are normalised domains or literals, that flags are known and
 * that text is UTF-8 without control characters; NULL on any fault. */
enum status envelope_encode(const struct envelope *, struct buf *) MUST_CHECK;
struct envelope *envelope_decode(struct reader *);

#endif
