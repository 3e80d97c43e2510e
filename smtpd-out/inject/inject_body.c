/*
 * The receiver of message text.  Plain octets are handled in runs; only CR,
 * LF, NUL and a dot at the start of a line are looked at one by one.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "smtpd-out/inject/inject_body.h"

#define SLICE_BYTES (16U * 1024)	/* taken between looks at memory */
#define WRITE_BYTES (64U * 1024)	/* written to the file at once */
#define PIECE_BYTES (1024U * 1024)	/* put on the disk at once */
#define POOL_FLOOR_BYTES (16U * 1024)	/* kept in memory even when short */
#define PREFIX_BYTES 2048

void
inject_body_init(struct inject_body *b, const struct inject_body_rules *rules,
	struct inject_pool *pool)
{
	memset(b, 0, sizeof(*b));
	b->rules = *rules;
	b->pool = pool;
	b->fd = -1;
	b->in_header = true;
	/* A slice may double (LF becomes CRLF) after the bound was tested. */
	buf_init(&b->mem, (size_t)rules->inline_bytes + PREFIX_BYTES +
		WRITE_BYTES + 2 * SLICE_BYTES);
}

static void
account(struct inject_body *b)
{
	b->pool->used_bytes += b->mem.cap - b->pooled_bytes;
	b->pooled_bytes = b->mem.cap;
}

void
inject_body_clear(struct inject_body *b)
{
	if (b->fd >= 0)
		(void)close(b->fd);
	b->fd = -1;
	buf_clear(&b->mem);
	account(b);
}

void
inject_body_fail(struct inject_body *b, enum inject_reply fault)
{
	if (b->fault == REPLY_NONE)
		b->fault = fault;
	buf_clear(&b->mem);
	account(b);
}

/* ---- storing --------------------------------------------------------- */

static void
store(struct inject_body *b, const void *bytes, size_t len)
{
	if (b->fault != REPLY_NONE)
		return;
	b->stored_bytes += len;
	if (buf_put(&b->mem, bytes, len) != ST_OK)
		inject_body_fail(b, REPLY_STORE);
}

void
inject_body_prefix(struct inject_body *b, const char *text)
{
	assert(b->text_bytes == 0);
	store(b, text, strlen(text));
	account(b);
}

bool
inject_body_wants_file(const struct inject_body *b)
{
	size_t len = b->mem.len;

	if (b->fd >= 0 || b->fault != REPLY_NONE)
		return false;
	return len > b->rules.inline_bytes || (len > POOL_FLOOR_BYTES &&
		b->pool->used_bytes > b->pool->max_bytes);
}

static enum inject_reply
fault_of(int error)
{
	return error == ENOSPC || error == EDQUOT || error == EFBIG ?
		REPLY_STORE_FULL : REPLY_STORE;
}

/* Writes what is held when it is at least `least`. */
static void
flush(struct inject_body *b, size_t least)
{
	size_t len = b->mem.len;

	if (b->fd < 0 || b->fault != REPLY_NONE || len < least || len == 0)
		return;
	if (!fd_write_all(b->fd, buf_data(&b->mem), len)) {
		inject_body_fail(b, fault_of(errno));
		return;
	}
	buf_drain(&b->mem, len);
	b->written_bytes += len;
}

void
inject_body_set_file(struct inject_body *b, int fd, uint64_t token)
{
	assert(b->fd < 0);
	b->fd = fd;
	b->token = token;
	flush(b, 0);
	/* From here on the buffer need only hold one write. */
	if (b->mem.len == 0)
		buf_clear(&b->mem);
	account(b);
}

/* ---- to the disk ----------------------------------------------------- */

static bool
piece_due(const struct inject_body *b)
{
	return b->written_bytes - b->flushed_bytes >= PIECE_BYTES;
}

bool
inject_body_next_write(struct inject_body *b, struct inject_write *write_out)
{
	if (b->fd < 0 || b->writing || b->durable)
		return false;
	if (b->ended)
		flush(b, 0);
	if (b->fault != REPLY_NONE || (!b->ended && !piece_due(b)))
		return false;
	write_out->fd = b->fd;
	write_out->from = b->flushed_bytes;
	write_out->len = b->written_bytes - b->flushed_bytes;
	write_out->sync = b->syncing = b->ended;
	b->flushed_bytes = b->written_bytes;
	b->writing = true;
	return true;
}

void
inject_body_written(struct inject_body *b, int error)
{
	b->writing = false;
	if (error != 0)
		inject_body_fail(b, fault_of(error));
	else
		b->durable = b->syncing && b->fault == REPLY_NONE;
}

bool
inject_body_waits(const struct inject_body *b)
{
	if (b->fd < 0 || b->fault != REPLY_NONE)
		return false;
	return b->ended ? !b->durable : b->writing && piece_due(b);
}

/* ---- the header ------------------------------------------------------ */

static bool
field_is(const struct inject_body *b, const char *name, const char **value)
{
	size_t len = strlen(name), at = len;

	if (b->field_len < len || strncasecmp(b->field, name, len) != 0)
		return false;
	/* obs-optional: white space before the colon (RFC 5322 4.5.8) */
	while (at < b->field_len && (b->field[at] == ' ' ||
	    b->field[at] == '\t'))
		at++;
	if (at >= b->field_len || b->field[at] != ':')
		return false;
	*value = b->field + at + 1;
	return true;
}

static bool
is_no(const struct inject_body *b, const char *value)
{
	const char *end = b->field + b->field_len;

	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	return end - value == 2 && strncasecmp(value, "No", 2) == 0;
}

/* The field that has been gathered is complete. */
static void
field_end(struct inject_body *b)
{
	const char *value;

	if (field_is(b, "Received", &value)) {
		if (++b->received > b->rules.hops)
			inject_body_fail(b, REPLY_HOPS);
	} else if (field_is(b, "TLS-Required", &value)) {
		b->tls_optional = b->field_len < sizeof(b->field) &&
			is_no(b, value);
	} else if (b->field_len < sizeof(b->field) &&
	    memchr(b->field, ':', b->field_len) == NULL &&
	    !(b->field_len >= 5 && memcmp(b->field, "From ", 5) == 0)) {
		/* No field at all: text without a header starts here. A
		 * mailbox separator line is passed over. */
		b->in_header = b->field_len == 0;
	}
	b->field_len = 0;
}

static void
header_run(struct inject_body *b, const uint8_t *bytes, size_t len)
{
	size_t room = sizeof(b->field) - b->field_len;

	if (b->line_len == 0 && bytes[0] != ' ' && bytes[0] != '\t')
		field_end(b);
	if (b->line_len == 0)
		room = sizeof(b->field) - b->field_len;
	if (len > room)
		len = room;
	if (b->in_header)
		memcpy(b->field + b->field_len, bytes, len);
	b->field_len += len;
}

/* ---- octets ---------------------------------------------------------- */

static void
put_run(struct inject_body *b, const uint8_t *bytes, size_t len)
{
	uint8_t bits = 0;

	if (b->fault != REPLY_NONE)
		return;
	for (size_t i = 0; i < len; i++)
		bits |= bytes[i];
	b->eight_bit |= (bits & 0x80) != 0;
	if (b->in_header)
		header_run(b, bytes, len);
	b->line_len += len;
	b->text_bytes += len;
	if (b->line_len > b->rules.line_bytes)
		inject_body_fail(b, REPLY_TEXT_LINE);
	if (b->text_bytes > b->rules.message_bytes)
		inject_body_fail(b, REPLY_SIZE);
	store(b, bytes, len);
}

static void
put_crlf(struct inject_body *b)
{
	if (b->in_header && b->line_len == 0) {
		field_end(b);
		b->in_header = false;
	}
	b->line_len = 0;
	b->text_bytes += 2;
	if (b->text_bytes > b->rules.message_bytes)
		inject_body_fail(b, REPLY_SIZE);
	store(b, "\r\n", 2);
}

/* A CR or LF on its own.  The next line is not at LINE_START: neither a dot
 * nor the end of the message is looked for after it. */
static void
put_bare(struct inject_body *b)
{
	b->line = LINE_TEXT;
	if (b->rules.normalise)
		put_crlf(b);
	else
		inject_body_fail(b, REPLY_BARE_NEWLINE);
}

static void
end(struct inject_body *b)
{
	if (b->in_header && b->fault == REPLY_NONE)
		field_end(b);
	b->in_header = false;
	b->ended = true;
}

static size_t
take_text(struct inject_body *b, const uint8_t *bytes, size_t len)
{
	size_t n = str_text_run(bytes, len);

	if (n > 0) {
		put_run(b, bytes, n);
		return n;
	}
	if (bytes[0] == '\r')
		b->line = LINE_CR;
	else if (bytes[0] == '\n')
		put_bare(b);
	else
		inject_body_fail(b, REPLY_NUL);
	return 1;
}

/* Takes at least one octet, or changes b->line so that the next call will. */
static size_t
take(struct inject_body *b, const uint8_t *bytes, size_t len)
{
	switch (b->line) {
	case LINE_START:
		if (*bytes == '.' && !b->chunked) {
			b->line = LINE_DOT;
			return 1;
		}
		b->line = LINE_TEXT;
		return 0;
	case LINE_DOT:		/* the dot itself is dropped (4.5.2) */
		b->line = *bytes == '\r' ? LINE_DOT_CR : LINE_TEXT;
		return *bytes == '\r' ? 1 : 0;
	case LINE_DOT_CR:
		if (*bytes != '\n') {
			put_bare(b);
			return 0;
		}
		end(b);
		return 1;
	case LINE_CR:
		if (*bytes != '\n') {
			put_bare(b);
			return 0;
		}
		put_crlf(b);
		b->line = LINE_START;
		return 1;
	case LINE_TEXT:
		break;
	}
	return take_text(b, bytes, len);
}

static size_t
take_slice(struct inject_body *b, const uint8_t *bytes, size_t len)
{
	size_t used = 0;

	while (used < len && !b->ended)
		used += take(b, bytes + used, len - used);
	flush(b, WRITE_BYTES);
	account(b);
	return used;
}

size_t
inject_body_text(struct inject_body *b, const uint8_t *bytes, size_t len)
{
	size_t used = 0;

	while (used < len && !b->ended && !inject_body_wants_file(b) &&
	    !inject_body_waits(b)) {
		size_t slice = len - used;

		used += take_slice(b, bytes + used,
			slice > SLICE_BYTES ? SLICE_BYTES : slice);
	}
	return used;
}

size_t
inject_body_chunk(struct inject_body *b, const uint8_t *bytes, size_t len)
{
	b->chunked = true;
	return inject_body_text(b, bytes, len);
}

void
inject_body_end_chunks(struct inject_body *b)
{
	b->chunked = true;
	if (b->line == LINE_CR)
		put_bare(b);
	/* What is stored is lines: DATA would have to end this one too. */
	if (b->line_len > 0)
		put_crlf(b);
	end(b);
	account(b);
}
