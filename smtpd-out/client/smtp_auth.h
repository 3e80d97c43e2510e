/*
 * The exchange of AUTH PLAIN (RFC 4616) and LOGIN, as a client (RFC 4954).
 * Pure: what to say next, and whether the challenge is the one to expect.
 */
#ifndef SMTPD_OUT_SMTP_AUTH_H
#define SMTPD_OUT_SMTP_AUTH_H

#include "base/buf.h"
#include "smtpd-out/client/auth_file.h"
#include "smtpd-out/client/smtp_reply.h"

enum smtp_auth_mech {		/* a bit set in smtp_caps */
	SMTP_AUTH_PLAIN = 1,
	SMTP_AUTH_LOGIN = 2
};

enum smtp_auth_step {		/* what the next 334 asks for */
	SMTP_AUTH_START = 0,	/* nothing was said yet */
	SMTP_AUTH_MESSAGE,	/* the whole of PLAIN */
	SMTP_AUTH_USER,
	SMTP_AUTH_PASSWORD,
	SMTP_AUTH_END		/* nothing more */
};

struct smtp_auth {
	struct auth_secret secret;
	enum smtp_auth_step step;
};

/* Writes the command with CRLF.  mechs: those offered, PLAIN is preferred.
 * ST_LIMIT: no room. */
enum status smtp_auth_begin(struct smtp_auth *, unsigned mechs, struct buf *)
	MUST_CHECK;
/* Answers a 334.  ST_PARSE: it asks for something else than it should; nothing
 * is written. */
enum status smtp_auth_answer(struct smtp_auth *, const struct smtp_reply *,
	struct buf *) MUST_CHECK;
/* Overwrites what of the secret a reply repeats, before anybody shows it. */
void smtp_auth_scrub(const struct smtp_auth *, struct smtp_reply *);

#endif
