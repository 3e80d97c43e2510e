/*
 * A growing byte queue with an upper bound, and the one bounded reader that
 * everything from outside goes through.
 *
 * struct buf is embedded: buf_init() .. buf_clear().  Bytes are appended at
 * the end and taken from the front.  Growth happens in one place and never
 * passes max_bytes: a put that would is refused whole with ST_LIMIT.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct buf {
	uint8_t *mem;		/* allocation, or NULL */
	size_t start;		/* offset of the first unread byte */
	size_t len;		/* unread bytes */
	size_t cap;		/* size of mem */
	size_t max_bytes;	/* len never exceeds this */
};

void buf_init(struct buf *, size_t max_bytes);
void buf_clear(struct buf *);			/* frees; keeps max_bytes */

/* The unread bytes; valid until the next put, reserve or clear. */
const uint8_t *buf_data(const struct buf *);
size_t buf_room(const struct buf *);		/* bytes that still fit */

/* Makes room for count bytes and returns where to write them, or NULL when
 * the bound forbids it; buf_commit() then adds what was written. */
uint8_t *buf_reserve(struct buf *, size_t count);
void buf_commit(struct buf *, size_t count);
void buf_drain(struct buf *, size_t count);	/* at most len */

enum status buf_put(struct buf *, const void *, size_t) MUST_CHECK;
enum status buf_puts(struct buf *, const char *) MUST_CHECK;
enum status buf_printf(struct buf *, const char *fmt, ...) MUST_CHECK
	__attribute__((format(printf, 2, 3)));
enum status buf_vprintf(struct buf *, const char *fmt, va_list) MUST_CHECK
	__attribute__((format(printf, 2, 0)));

/* Wire form used between our own processes: big endian; a string is a 32-bit
 * length and its bytes; NULL is length 0xffffffff. */
enum status buf_put_u8(struct buf *, uint8_t) MUST_CHECK;
enum status buf_put_u16(struct buf *, uint16_t) MUST_CHECK;
enum status buf_put_u32(struct buf *, uint32_t) MUST_CHECK;
enum status buf_put_u64(struct buf *, uint64_t) MUST_CHECK;
enum status buf_put_str(struct buf *, const char *) MUST_CHECK;
enum status buf_put_bytes(struct buf *, const void *, size_t) MUST_CHECK;

/*
 * Reader over borrowed bytes.  Any read past the end sets `bad` and yields
 * zero or NULL; callers read a whole message and test reader_ok() once.
 */
struct reader {
	const uint8_t *pos;
	size_t left;
	bool bad;
};

void reader_init(struct reader *, const void *, size_t);
uint8_t reader_u8(struct reader *);
uint16_t reader_u16(struct reader *);
uint32_t reader_u32(struct reader *);
uint64_t reader_u64(struct reader *);
/* Owned copy of a string without NUL bytes and of at most max_bytes; NULL when
 * the sender put NULL (not bad) or on any fault (bad). */
char *reader_str(struct reader *, size_t max_bytes);
/* Borrowed bytes of a length-prefixed field, at most max_bytes. */
const uint8_t *reader_bytes(struct reader *, size_t max_bytes,
	size_t *len_out);
/* True when nothing was bad; with `all` also when nothing is left over. */
bool reader_ok(const struct reader *, bool all);

#endif
