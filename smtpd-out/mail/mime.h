/*
 * Reading a message that somebody else wrote: fields, parts, encodings (RFC
 * 2045, 2046).  Everything borrows from the message; nothing is trusted, and
 * no work is more than linear in its size.  Lines may end in LF or CRLF.
 */
#ifndef SMTPD_OUT_MIME_H
#define SMTPD_OUT_MIME_H

#include "base/buf.h"

struct mime_entity {
	const char *head, *body;
	size_t head_len, body_len;
};

/* At the first empty line; without one all is header. */
void mime_split(const char *bytes, size_t len, struct mime_entity *out);
/* The first field of that name, unfolded, sanitised and cut; false and ""
 * when there is none. */
bool mime_field(const struct mime_entity *, const char *name, char *out,
	size_t out_bytes);
/* "type/subtype" of a Content-Type in lower case (the first word of any
 * field that is built like one). */
void mime_word(const char *value, char *out, size_t out_bytes);
/* A parameter of such a field; false and "" when there is none. */
bool mime_param(const char *value, const char *name, char *out,
	size_t out_bytes);
/* The next part of a multipart body.  *offset begins as 0; false after the
 * last one. */
bool mime_next(const struct mime_entity *, const char *boundary,
	size_t *offset, struct mime_entity *out);
/* The body without its Content-Transfer-Encoding; ST_LIMIT when out is full,
 * ST_PARSE when the encoding is not known. */
enum status mime_decode(const struct mime_entity *, struct buf *out)
	MUST_CHECK;

#endif
