/*
 * The body of a message on its way out: read block by block from memory or a
 * descriptor, written with dots stuffed (RFC 5321 4.5.2) or as BDAT chunks
 * (RFC 3030).  Never more than one block is in memory.
 *
 * The stored form has CRLF line ends.  A lone CR or LF that is in it all the
 * same leaves as CRLF, in both forms: a receiver that takes a lone LF as a
 * line end must not find a second message inside the first.  An unfinished
 * last line gets its CRLF.  An empty body stays empty.
 */
#ifndef SMTPD_OUT_SMTP_DATA_H
#define SMTPD_OUT_SMTP_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "smtpd-out/client/session.h"

#define SMTP_DATA_BLOCK 65536	/* stored bytes taken at a time */
/* Room that a block may need: every byte doubled, and what frames it. */
#define SMTP_DATA_ROOM(block) (2 * (block) + 64)

enum smtp_data_form {
	SMTP_DATA_NONE = 0,
	SMTP_DATA_DOT,		/* for DATA: ends with CRLF "." CRLF */
	SMTP_DATA_CHUNK		/* for BDAT: a command before each block */
};

struct smtp_data {
	struct session_body body;	/* borrowed */
	enum smtp_data_form form;
	uint64_t offset;		/* stored bytes taken so far */
	bool line_start;
	bool cr_pending;		/* the last byte taken was a CR */
	bool ended;
};

void smtp_data_init(struct smtp_data *, const struct session_body *,
	enum smtp_data_form);

/*
 * Adds the next block to out.  ST_OK: more is to come; with BDAT one chunk was
 * added.  ST_EOF: this was the last, the end mark (the dot, or LAST) included.
 * ST_SYS: the body cannot be read to the size it was said to have; ST_LIMIT:
 * out has not the room.  In both cases nothing was added, and the connection
 * must be closed, so that the peer never sees an end.
 */
enum status smtp_data_next(struct smtp_data *, struct buf *out) MUST_CHECK;

#endif
