/*
 * Notices to the sender: who gets which (RFC 3461), and their text (RFC 3464,
 * 6522, 6533).  Pure: what goes in decides what comes out; no clock, no
 * randomness, no files.
 */
#ifndef SMTPD_OUT_BOUNCE_H
#define SMTPD_OUT_BOUNCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/envelope.h"
#include "base/err.h"

enum bounce_kind {
	BOUNCE_NONE = 0,	/* tell nobody */
	BOUNCE_FAILED,		/* given up; nothing more will be tried */
	BOUNCE_DELAYED,		/* not yet delivered, still being tried */
	BOUNCE_RELAYED		/* passed on to a host that cannot tell */
};

const char *bounce_kind_name(enum bounce_kind);

/* What is known of one recipient after an attempt. */
struct bounce_facts {
	const char *sender;	/* "" never gets a notice */
	unsigned flags;		/* of the envelope: a notice gets none */
	unsigned notify;	/* enum envelope_notify bits, 0: not given */
	enum outcome_verdict verdict;
	bool dsn_relayed;	/* the next hop was told NOTIFY and obeys */
	bool delay_due;		/* schedule_delay_due() */
};

/* RFC 3461 4.1, 5.2.1, 5.2.2, 6.1; RFC 5321 6.1. */
enum bounce_kind bounce_decide(const struct bounce_facts *);

struct bounce_rcpt {
	const struct envelope_rcpt *rcpt;
	const struct outcome *outcome;	/* what happened last */
	const char *remote_host;	/* MX that spoke; NULL or "" if none */
	const char *why;		/* rule that demanded TLS, or NULL */
	int64_t last_attempt_s;		/* 0: never tried */
};

struct bounce_input {
	enum bounce_kind kind;		/* not NONE */
	const struct envelope *env;	/* of the message concerned */
	const struct bounce_rcpt *rcpts;/* those that this notice is about */
	size_t rcpt_count;		/* at least one */
	const char *trail;		/* "host: what; host: what", or NULL */
	const char *hostname;		/* ours: Reporting-MTA, Message-ID */
	const char *postmaster;		/* From: and whom to ask */
	int64_t now_s;
	int64_t retry_until_s;		/* BOUNCE_DELAYED: tried until then */
	/* The message from its first byte; more than its header section is
	 * needed only for RET=FULL and then all of it (see below). */
	const void *body;
	size_t body_len;
	uint64_t full_bytes;		/* RET=FULL is honoured up to this */
};

/* How much of the body bounce_format() can use: the whole (env->size_bytes)
 * or BOUNCE_HEADER_BYTES at most. */
#define BOUNCE_HEADER_BYTES 65536
uint64_t bounce_body_wanted(const struct bounce_input *);

/*
 * Appends the whole message, CRLF line ends, to an empty out and tells what
 * flags its envelope needs (ENVELOPE_BOUNCE, and 8BITMIME, SMTPUTF8,
 * REQUIRETLS as the case may be).  The original is left out rather than
 * passing out->max_bytes; ST_LIMIT when even that does not fit.
 */
enum status bounce_format(const struct bounce_input *, struct buf *out,
	unsigned *flags_out) MUST_CHECK;

/* The envelope of the notice: null sender, to the sender of the original;
 * NULL when that is no address. */
struct envelope *bounce_envelope(const struct bounce_input *, unsigned flags);

#endif
