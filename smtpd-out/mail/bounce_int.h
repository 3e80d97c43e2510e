/*
 * What the files of bounce share: the parts of a notice.
 */
#ifndef SMTPD_OUT_BOUNCE_INT_H
#define SMTPD_OUT_BOUNCE_INT_H

#include "base/sink.h"
#include "smtpd-out/mail/bounce.h"

/* Part one: for a person (bounce_text.c). */
const char *bounce_subject(enum bounce_kind);
void bounce_text(const struct bounce_input *, struct sink *);

/* Part two: for programs (bounce_report.c). */
void bounce_report(const struct bounce_input *, struct sink *);

/* Part three: the original (bounce_original.c). */
void bounce_headers(const void *body, size_t len, struct sink *);
/* True when the bytes may stand in a message as they are: CRLF only, no NUL,
 * lines within RFC 5321 4.5.3.1.6. */
bool bounce_is_clean(const void *body, size_t len);
/* "<id@host>" from extracted headers, or "". */
#define BOUNCE_MESSAGE_ID_MAX 252
void bounce_message_id(const struct buf *headers,
	char out[BOUNCE_MESSAGE_ID_MAX]);

/*
 * A boundary for which occurs() is false, from the content (seed) so that the
 * same input gives the same notice; "=_" is never in quoted-printable text.
 * False when each try occurs: somebody took pains.
 */
#define BOUNCE_BOUNDARY_MAX 64
bool bounce_boundary(uint64_t seed, uint64_t id,
	bool (*occurs)(const char *, const void *), const void *arg,
	char out[BOUNCE_BOUNDARY_MAX]);

/* The words of an outcome; a remote reply with its codes, once. */
void bounce_said(const struct outcome *, char *out, size_t out_bytes);
/* Text as one line of ASCII, "?" for what is not. */
void bounce_ascii(char *out, size_t out_bytes, const char *text);

#endif
