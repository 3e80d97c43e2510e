/*
 * The header of a message that a local program submits, as pure functions of
 * text with CRLF line ends (RFC 5322): recipients from it, what is taken out
 * and what is put in.
 */
#ifndef SMTPD_OUT_SUBMIT_HEADER_H
#define SMTPD_OUT_SUBMIT_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* Line ends of the submitter become CRLF: LF, CRLF, and a CR on its own. */
struct submit_text {
	bool ignore_dots;	/* else a line of one dot is the end */
	bool ended;		/* by a dot; nothing more is taken */
	bool cr;		/* the last octet was a CR */
	bool dot;		/* the line so far is ".", not yet put out */
	size_t line_len;
};

/* ST_LIMIT when out is full; out grows by at most twice what is given. */
enum status submit_text_feed(struct submit_text *, const uint8_t *, size_t,
	struct buf *out) MUST_CHECK;
/* At the end of input: completes the last line. */
enum status submit_text_end(struct submit_text *, struct buf *out) MUST_CHECK;

/* Doubles the dots at line starts of CRLF text (RFC 5321 4.5.2); *at_start is
 * true at first and kept between calls. */
enum status submit_stuff(const uint8_t *, size_t, bool *at_start,
	struct buf *out) MUST_CHECK;

/*
 * Where the header ends: ST_OK with its length and where the body starts
 * (after the empty line, or at the first line that is no field); ST_AGAIN
 * when more text is needed (never with `all`).
 */
enum status submit_header_end(const char *text, size_t len, bool all,
	size_t *head_len_out, size_t *body_at_out) MUST_CHECK;

struct submit_list {		/* owned strings */
	char **items;
	size_t count;
};
void submit_list_add(struct submit_list *, const char *, size_t len);
void submit_list_clear(struct submit_list *);

/* Addresses of an address list (RFC 5322 3.4, 4.4): names, comments, routes
 * and groups removed.  ST_PARSE when it is not one. */
enum status submit_addresses(const char *text, size_t len,
	struct submit_list *) MUST_CHECK;
/* Of To, Cc and Bcc, or when there are any of Resent-To, -Cc and -Bcc.
 * field_out names the field that is malformed. */
enum status submit_header_rcpts(const char *head, size_t len,
	struct submit_list *, char field_out[32]) MUST_CHECK;

struct submit_fill {		/* what to add where missing */
	const char *from;	/* address */
	const char *full_name;	/* or NULL */
	const char *date;
	const char *message_id;	/* with <> */
};
/* The header without Bcc, Resent-Bcc, Return-Path and mailbox separator, with
 * what was missing, and the empty line. */
enum status submit_header_edit(const char *head, size_t len,
	const struct submit_fill *, struct buf *out) MUST_CHECK;

#endif
