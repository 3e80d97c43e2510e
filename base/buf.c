/*
 * Byte queue and bounded reader.  Knows nothing of what the bytes mean.
 */
#include "config.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

#define BUF_MIN_CAP 256
#define STR_NULL 0xffffffffU

void
buf_init(struct buf *b, size_t max_bytes)
{
	memset(b, 0, sizeof(*b));
	b->max_bytes = max_bytes;
}

void
buf_clear(struct buf *b)
{
	mem_free(&b->mem);
	b->start = b->len = b->cap = 0;
}

const uint8_t *
buf_data(const struct buf *b)
{
	static const uint8_t nothing;

	return b->mem == NULL ? &nothing : b->mem + b->start;
}

size_t
buf_room(const struct buf *b)
{
	return b->max_bytes - b->len;
}

uint8_t *
buf_reserve(struct buf *b, size_t count)
{
	size_t need, cap;

	if (count > b->max_bytes - b->len)
		return NULL;
	need = b->len + count;
	if (b->start + need <= b->cap && b->mem != NULL)
		return b->mem + b->start + b->len;
	/* Moving costs at most as much as was drained: amortised constant. */
	if (need <= b->cap && b->start >= b->len && b->mem != NULL) {
		memmove(b->mem, b->mem + b->start, b->len);
		b->start = 0;
		return b->mem + b->len;
	}
	cap = b->cap < BUF_MIN_CAP ? BUF_MIN_CAP : b->cap;
	while (cap < need + b->start)
		cap = cap > SIZE_MAX / 2 ? need + b->start : cap * 2;
	b->mem = xrealloc_n(b->mem, cap, 1);
	b->cap = cap;
	return b->mem + b->start + b->len;
}

void
buf_commit(struct buf *b, size_t count)
{
	assert(b->start + b->len + count <= b->cap);
	b->len += count;
}

void
buf_drain(struct buf *b, size_t count)
{
	assert(count <= b->len);
	b->len -= count;
	b->start = b->len == 0 ? 0 : b->start + count;
}

enum status
buf_put(struct buf *b, const void *bytes, size_t count)
{
	uint8_t *to = buf_reserve(b, count);

	if (to == NULL)
		return ST_LIMIT;
	if (count > 0)
		memcpy(to, bytes, count);
	b->len += count;
	return ST_OK;
}

enum status
buf_puts(struct buf *b, const char *text)
{
	return buf_put(b, text, strlen(text));
}

enum status
buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	enum status st = ST_OK;
	char *text = NULL;
	int n = vasprintf(&text, fmt, ap);

	if (n < 0)
		return ST_SYS;
	st = buf_put(b, text, (size_t)n);
	free(text);
	return st;
}

enum status
buf_printf(struct buf *b, const char *fmt, ...)
{
	enum status st;
	va_list ap;

	va_start(ap, fmt);
	st = buf_vprintf(b, fmt, ap);
	va_end(ap);
	return st;
}

static enum status
put_be(struct buf *b, uint64_t value, size_t count)
{
	uint8_t *to = buf_reserve(b, count);

	if (to == NULL)
		return ST_LIMIT;
	for (size_t i = 0; i < count; i++)
		to[i] = (uint8_t)(value >> (8 * (count - 1 - i)));
	b->len += count;
	return ST_OK;
}

enum status
buf_put_u8(struct buf *b, uint8_t value)
{
	return put_be(b, value, 1);
}

enum status
buf_put_u16(struct buf *b, uint16_t value)
{
	return put_be(b, value, 2);
}

enum status
buf_put_u32(struct buf *b, uint32_t value)
{
	return put_be(b, value, 4);
}

enum status
buf_put_u64(struct buf *b, uint64_t value)
{
	return put_be(b, value, 8);
}

enum status
buf_put_bytes(struct buf *b, const void *bytes, size_t count)
{
	if (count >= STR_NULL || count > SIZE_MAX - 4 ||
	    buf_room(b) < 4 + count)
		return ST_LIMIT;
	(void)!put_be(b, count, 4);
	return buf_put(b, bytes, count);
}

enum status
buf_put_str(struct buf *b, const char *text)
{
	if (text == NULL)
		return buf_put_u32(b, STR_NULL);
	return buf_put_bytes(b, text, strlen(text));
}

void
reader_init(struct reader *r, const void *bytes, size_t count)
{
	r->pos = bytes;
	r->left = count;
	r->bad = false;
}

static uint64_t
get_be(struct reader *r, size_t count)
{
	uint64_t value = 0;

	if (r->bad || r->left < count) {
		r->bad = true;
		return 0;
	}
	for (size_t i = 0; i < count; i++)
		value = value << 8 | r->pos[i];
	r->pos += count;
	r->left -= count;
	return value;
}

uint8_t
reader_u8(struct reader *r)
{
	return (uint8_t)get_be(r, 1);
}

uint16_t
reader_u16(struct reader *r)
{
	return (uint16_t)get_be(r, 2);
}

uint32_t
reader_u32(struct reader *r)
{
	return (uint32_t)get_be(r, 4);
}

uint64_t
reader_u64(struct reader *r)
{
	return get_be(r, 8);
}

const uint8_t *
reader_bytes(struct reader *r, size_t max_bytes, size_t *len_out)
{
	const uint8_t *at;
	size_t count = reader_u32(r);

	*len_out = 0;
	if (r->bad || count == STR_NULL)
		return NULL;
	if (count > max_bytes || count > r->left) {
		r->bad = true;
		return NULL;
	}
	at = r->pos;
	r->pos += count;
	r->left -= count;
	*len_out = count;
	return at;
}

char *
reader_str(struct reader *r, size_t max_bytes)
{
	size_t count;
	const uint8_t *at = reader_bytes(r, max_bytes, &count);

	if (at == NULL)
		return NULL;
	if (count > 0 && memchr(at, 0, count) != NULL) {
		r->bad = true;
		return NULL;
	}
	return xstrndup((const char *)at, count);
}

bool
reader_ok(const struct reader *r, bool all)
{
	return !r->bad && (!all || r->left == 0);
}
