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
 * A file is written out to the disk in pieces, one at a time: whenever
 * inject_body_next_write() has one, the owner sees to it and then calls
 * inject_body_written().  No byte is taken while inject_body_waits().
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
#include "smtpd-out/inject/inject_disk.h"
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
	uint64_t written_bytes;	/* to the file */
	uint64_t flushed_bytes;	/* on their way to the disk, or there */
	bool writing;		/* inject_body_written() will be called */
	bool syncing;		/* ... for the end */
	bool durable;		/* the end, too, is on the disk */
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
/* False: nothing is to be put on the disk now.  At the end this is true once
 * more, for the rest; when that has succeeded the body is durable. */
bool inject_body_next_write(struct inject_body *, struct inject_write *);
/* error: 0 or an errno. */
void inject_body_written(struct inject_body *, int error);
/* The disk has to catch up before more bytes are taken, or, at the end,
 * before the message is whole. */
bool inject_body_waits(const struct inject_body *);

#endif
