/*
 * Receives the text of one message: removes the dot stuffing of DATA, insists
 * on CRLF, keeps the limits, reads from the header what matters to a relay,
 * and keeps the result in memory or, when it grows, in a file.
 *
 * Nothing here waits or calls back.  The owner feeds bytes; when
 * inject_body_wants_file() turns true no byte is taken until the owner has
 * called inject_body_set_file().  After a fault the rest is read and
 * dropped, so that the end is still found and the session stays in step.
 *
 * The end of DATA is CRLF.CRLF and nothing else (RFC 5321 2.3.8, 4.1.1.4):
 * what another server might take for an end ("LF.LF", "CR.CR", "LF.CRLF")
 * is a fault, or, with `normalise`, text.  A NUL octet is a fault: no
 * transfer encoding short of BINARYMIME permits it (RFC 6152 section 3), and
 * next hops cut or strip it, which breaks signatures.
 */
#ifndef SMTPD_OUT_INJECT_BODY_H
#define SMTPD_OUT_INJECT_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "smtpd-out/inject/inject_reply.h"

/* Memory of all sessions together: when more is in use than max_bytes,
 * messages go to files however small they are. */
struct inject_pool {
	size_t used_bytes, max_bytes;
};

struct inject_body_rules {
	uint64_t message_bytes;	/* largest message, as received */
	uint64_t inline_bytes;	/* larger ones are kept in a file */
	size_t line_bytes;	/* longest line without its CRLF */
	unsigned hops;		/* most Received fields */
	bool normalise;		/* bare CR and LF become CRLF */
};

enum inject_line {		/* where in a line the next octet stands */
	LINE_START = 0,		/* after CRLF */
	LINE_DOT,		/* after CRLF "." */
	LINE_DOT_CR,		/* after CRLF "." CR */
	LINE_TEXT,		/* within */
	LINE_CR			/* after a CR */
};

#define INJECT_FIELD_BYTES 64

struct inject_body {
	struct inject_body_rules rules;
	struct inject_pool *pool;
	size_t pooled_bytes;	/* our share of pool->used_bytes */

	enum inject_line line;
	bool chunked;		/* BDAT: a dot means nothing */
	bool ended;
	enum inject_reply fault;	/* the first one; REPLY_NONE */

	struct buf mem;		/* all of it, or what is not yet written */
	int fd;			/* -1, or the file (owned) */
	uint64_t token;		/* of the file */
	uint64_t stored_bytes;	/* incl. prefix and what is in mem */
	uint64_t text_bytes;	/* as received, unstuffed */
	uint64_t written_bytes, flushed_bytes;	/* to the file; to the disk */
	size_t line_len;

	bool in_header;
	char field[INJECT_FIELD_BYTES];	/* start of the header field */
	size_t field_len;
	unsigned received;	/* Received fields */
	bool eight_bit;		/* some octet above 127 */
	bool tls_optional;	/* "TLS-Required: No" (RFC 8689 section 5) */
};

void inject_body_init(struct inject_body *, const struct inject_body_rules *,
	struct inject_pool *);
/* Closes the file and frees; also after init alone. */
void inject_body_clear(struct inject_body *);
/* Header lines of our own that go in front; before any text. */
void inject_body_prefix(struct inject_body *, const char *text);

/* Take bytes of DATA, or of BDAT chunks; return how many were taken: less
 * than given when the message has ended or a file is wanted. */
size_t inject_body_text(struct inject_body *, const uint8_t *, size_t);
size_t inject_body_chunk(struct inject_body *, const uint8_t *, size_t);
void inject_body_end_chunks(struct inject_body *);	/* after BDAT LAST */

bool inject_body_wants_file(const struct inject_body *);
void inject_body_set_file(struct inject_body *, int fd, uint64_t token);
/* Gives up: frees what is held and drops the rest. */
void inject_body_fail(struct inject_body *, enum inject_reply);
/* After the end, with a file: everything is on the disk, or there is a
 * fault. */
void inject_body_sync(struct inject_body *);

#endif
