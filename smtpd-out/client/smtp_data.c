/*
 * Body bytes from memory or a file to the wire.  Pure but for pread(2): the
 * descriptor is not moved, so that it may be shared.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "smtpd-out/client/smtp_data.h"

void
smtp_data_init(struct smtp_data *d, const struct session_body *body,
	enum smtp_data_form form)
{
	memset(d, 0, sizeof(*d));
	d->body = *body;
	d->form = form;
	d->line_start = true;
}

/* Reads exactly len bytes at the offset; a shorter file is a fault. */
static enum status
read_block(int fd, uint64_t offset, uint8_t *to, size_t len)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = pread(fd, to + got, len - got,
			(off_t)(offset + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = EIO;
		if (n <= 0)
			return ST_SYS;
		got += (size_t)n;
	}
	return ST_OK;
}

/* Where encoded bytes go; with to NULL they are only counted. */
struct sink {
	uint8_t *to;
	size_t len;
};

static void
emit(struct sink *s, const void *bytes, size_t len)
{
	if (s->to != NULL)
		memcpy(s->to + s->len, bytes, len);
	s->len += len;
}

static void
emit_crlf(struct smtp_data *d, struct sink *s)
{
	emit(s, "\r\n", 2);
	d->line_start = true;
	d->cr_pending = false;
}

/* A CR is held back until the next byte tells whether a LF follows. */
static void
encode(struct smtp_data *d, const uint8_t *p, size_t len, struct sink *s)
{
	size_t n;

	while (len > 0) {
		if (d->cr_pending || *p == '\n') {
			n = *p == '\n' ? 1 : 0;
			emit_crlf(d, s);
		} else if (*p == '\r') {
			d->cr_pending = true;
			n = 1;
		} else {
			n = str_text_run(p, len);
			n += n == 0;	/* a NUL */
			if (d->line_start && *p == '.' &&
			    d->form == SMTP_DATA_DOT)
				emit(s, ".", 1);
			emit(s, p, n);
			d->line_start = false;
		}
		p += n;
		len -= n;
	}
}

static void
encode_end(struct smtp_data *d, struct sink *s)
{
	if (d->cr_pending || !d->line_start)
		emit_crlf(d, s);
	if (d->form == SMTP_DATA_DOT)
		emit(s, ".\r\n", 3);
}

static void
encode_block(struct smtp_data *d, const uint8_t *p, size_t len,
	struct sink *s)
{
	encode(d, p, len, s);
	if (d->offset + len == d->body.size_bytes)
		encode_end(d, s);
}

/* The length must stand before the bytes, so that a chunk is encoded twice:
 * once to count.  Cheaper than a second buffer for every session. */
static void
put_chunk_head(const struct smtp_data *d, const uint8_t *p, size_t len,
	struct sink *s)
{
	struct smtp_data probe = *d;
	struct sink count = { NULL, 0 };
	bool last = d->offset + len == d->body.size_bytes;
	char head[48];
	int n;

	encode_block(&probe, p, len, &count);
	n = snprintf(head, sizeof(head), "BDAT %zu%s\r\n", count.len,
		last ? " LAST" : "");
	emit(s, head, (size_t)n);
}

enum status
smtp_data_next(struct smtp_data *d, struct buf *out)
{
	uint8_t block[SMTP_DATA_BLOCK];
	uint64_t left = d->body.size_bytes - d->offset;
	size_t len = left < sizeof(block) ? (size_t)left : sizeof(block);
	const uint8_t *p = block;
	struct sink s = { NULL, 0 };

	assert(!d->ended && d->form != SMTP_DATA_NONE);
	if (d->body.data != NULL)
		p = d->body.data + d->offset;
	else if (read_block(d->body.fd, d->offset, block, len) != ST_OK)
		return ST_SYS;
	s.to = buf_reserve(out, SMTP_DATA_ROOM(len));
	if (s.to == NULL)
		return ST_LIMIT;
	if (d->form == SMTP_DATA_CHUNK)
		put_chunk_head(d, p, len, &s);
	encode_block(d, p, len, &s);
	d->offset += len;
	buf_commit(out, s.len);
	d->ended = d->offset == d->body.size_bytes;
	return d->ended ? ST_EOF : ST_OK;
}
