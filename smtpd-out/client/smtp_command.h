/*
 * SMTP commands: how they are written, which are in flight, and what the peer
 * offers.  Pure: everything goes into a struct buf, nothing to a socket.
 */
#ifndef SMTPD_OUT_SMTP_COMMAND_H
#define SMTPD_OUT_SMTP_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "smtpd-out/client/session.h"
#include "smtpd-out/client/smtp_reply.h"

enum smtp_verb {
	SMTP_VERB_NONE = 0,
	SMTP_VERB_GREETING,	/* no command: the connection asks for it */
	SMTP_VERB_EHLO,
	SMTP_VERB_HELO,
	SMTP_VERB_STARTTLS,
	SMTP_VERB_AUTH,		/* or a response to its challenge */
	SMTP_VERB_MAIL,
	SMTP_VERB_RCPT,
	SMTP_VERB_DATA,
	SMTP_VERB_BDAT,		/* one chunk (RFC 3030) */
	SMTP_VERB_EOM,		/* the final dot, or BDAT LAST */
	SMTP_VERB_RSET,
	SMTP_VERB_QUIT
};

/* EHLO keywords that we use, a bit set. */
enum smtp_cap {
	SMTP_CAP_PIPELINING = 1,	/* RFC 2920 */
	SMTP_CAP_SIZE = 2,		/* RFC 1870 */
	SMTP_CAP_8BITMIME = 4,		/* RFC 6152 */
	SMTP_CAP_SMTPUTF8 = 8,		/* RFC 6531 */
	SMTP_CAP_DSN = 16,		/* RFC 3461 */
	SMTP_CAP_CHUNKING = 32,		/* RFC 3030 */
	SMTP_CAP_ENHANCED = 64,		/* RFC 2034 */
	SMTP_CAP_STARTTLS = 128,	/* RFC 3207 */
	SMTP_CAP_REQUIRETLS = 256,	/* RFC 8689 */
	SMTP_CAP_LIMITS = 512,		/* RFC 9422 */
	SMTP_CAP_AUTH = 1024,		/* RFC 4954 */
	SMTP_CAP_MASKED = 2048		/* a keyword overwritten with X */
};

struct smtp_caps {
	unsigned flags;		/* enum smtp_cap bits */
	uint64_t size_max;	/* of a message; 0: not told */
	unsigned rcpt_max;	/* RCPTMAX of LIMITS; 0: not told */
	unsigned mail_max;	/* MAILMAX of LIMITS; 0: not told */
	unsigned auth_mechs;	/* enum smtp_auth_mech bits */
};

/* What a 250 to EHLO offers; replaces all that caps held before. */
void smtp_caps_parse(struct smtp_caps *, const struct smtp_reply *);

/*
 * The commands.  ST_PARSE: an argument has a byte that could end the command
 * or start another; nothing is written.  ST_LIMIT: no room.
 * Parameters are written as far as the peer offers them.
 */
enum status smtp_command(struct buf *, enum smtp_verb, const char *arg)
	MUST_CHECK;
enum status smtp_command_mail(struct buf *, const struct smtp_caps *,
	const struct session_txn *) MUST_CHECK;
enum status smtp_command_rcpt(struct buf *, const struct smtp_caps *,
	const struct session_rcpt *) MUST_CHECK;

/* True when an address of the transaction needs SMTPUTF8, or the message. */
bool smtp_needs_utf8(const struct session_txn *);

/*
 * Commands sent and not answered yet, oldest first.  Bounded: whoever sends
 * waits while it is full, which also bounds a pipelined flight (RFC 2920 3.1).
 */
#define SMTP_FLIGHT_MAX 128

struct smtp_sent {
	enum smtp_verb verb : 8;
	unsigned rcpt : 24;	/* index of the recipient, for RCPT */
};

struct smtp_flight {
	struct smtp_sent sent[SMTP_FLIGHT_MAX];
	size_t head;
	size_t count;
};

bool smtp_flight_full(const struct smtp_flight *);
void smtp_flight_push(struct smtp_flight *, enum smtp_verb, size_t rcpt);
/* SMTP_VERB_NONE when nothing is in flight. */
struct smtp_sent smtp_flight_peek(const struct smtp_flight *);
struct smtp_sent smtp_flight_pop(struct smtp_flight *);

#endif
