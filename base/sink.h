/*
 * A bounded output that remembers that it was full, so that those who write
 * many small things look once, at the end.
 */
#ifndef BASE_SINK_H
#define BASE_SINK_H

#include "base/buf.h"

struct sink {
	struct buf buf;
	bool full;		/* a put did not fit; the rest is void */
};

void sink_init(struct sink *, size_t max_bytes);
void sink_clear(struct sink *);
void sink_put(struct sink *, const void *, size_t);
void sink_puts(struct sink *, const char *);
void sink_printf(struct sink *, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
bool sink_is_ascii(const struct sink *);
/* Words of text, broken at spaces near column 74, each line after `indent`;
 * CRLF. */
void sink_wrap(struct sink *, const char *indent, const char *text);
/* "Name: value" and CRLF (RFC 5322 2.2), folded at spaces so that a line has 76
 * columns where it can, and never spaces alone. */
void sink_field(struct sink *, const char *name, const char *value);
/* RFC 2045 6.7; data has CRLF line ends. */
void sink_quoted_printable(struct sink *, const uint8_t *data, size_t len);
/* RFC 2045 6.8; lines of 76 columns and CRLF. */
void sink_base64(struct sink *, const uint8_t *data, size_t len);

#endif
