/*
 * SMTP replies (RFC 5321 4.2), parsed as the bytes come.  Pure: no I/O.
 *
 *	reply      = *( code "-" [text] eol ) code [ SP [text] ] eol
 *	code       = %x32-35 DIGIT DIGIT, the same on every line
 *	eol        = CRLF / LF
 *
 * A lone LF ends a line too, as other clients take it: in a reply nothing can
 * be smuggled by it.  A CR elsewhere, a NUL, a 1xx code, another code on a
 * later line, or no code at all is ST_PARSE.  Every length is bounded.
 */
#ifndef SMTPD_OUT_SMTP_REPLY_H
#define SMTPD_OUT_SMTP_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define SMTP_REPLY_LINE_MAX 4096	/* with eol; RFC 5321 says 512 */
#define SMTP_REPLY_LINES_MAX 256
#define SMTP_REPLY_TEXT_MAX 32768	/* all lines of one reply */

struct smtp_reply {
	int code;			/* 200..599; 0 before the first line */
	char enhanced[OUTCOME_ENHANCED_MAX];	/* RFC 2034; "" when none */
	size_t line_count;
	struct buf text;		/* lines without code, LF after each */
	struct buf line;		/* the unfinished line */
	bool complete;			/* the last line has been seen */
};

void smtp_reply_init(struct smtp_reply *);
void smtp_reply_clear(struct smtp_reply *);

/*
 * Takes bytes up to the end of one reply; *used_out tells how many.  ST_OK: the
 * reply is complete, and valid until the next feed, which begins a new one.
 * ST_AGAIN: all were taken, more are needed.  ST_PARSE, ST_LIMIT: the peer does
 * not speak SMTP; only smtp_reply_clear() may follow.
 */
enum status smtp_reply_feed(struct smtp_reply *, const uint8_t *bytes,
	size_t len, size_t *used_out) MUST_CHECK;

/* The lines one by one: *pos starts at 0; NULL after the last.  The text is
 * not NUL-terminated. */
const char *smtp_reply_line(const struct smtp_reply *, size_t *pos,
	size_t *len_out);

/* All lines in one, a space between, each without its enhanced code; cut to
 * fit.  Not sanitised: that is for the constructor of the outcome. */
void smtp_reply_text(const struct smtp_reply *, char *out, size_t out_bytes);

/* What the reply means for mail, at this stage. */
struct outcome smtp_reply_outcome(const struct smtp_reply *,
	enum outcome_scope, enum outcome_stage);

#endif
