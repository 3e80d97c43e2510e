/*
 * gzip of TLSRPT documents.  The bound of what comes out is the buffer's.
 */
#include "config.h"

#include <limits.h>
#include <zlib.h>

#include "policy/tlsrpt_doc.h"

#define GZIP_BITS (MAX_WBITS + 16)
#define BLOCK 16384

/* Runs one of the two until its end, block by block into out. */
static enum status
run(z_stream *z, int (*step)(z_stream *, int), struct buf *out)
{
	enum status st = ST_OK;
	int rc = Z_OK;

	while (rc == Z_OK && st == ST_OK) {
		uint8_t block[BLOCK];

		z->next_out = block;
		z->avail_out = sizeof(block);
		rc = step(z, Z_FINISH);
		if (rc == Z_BUF_ERROR && z->avail_out == 0)
			rc = Z_OK;
		st = buf_put(out, block, sizeof(block) - z->avail_out);
	}
	if (st != ST_OK)
		return st;
	return rc == Z_STREAM_END ? ST_OK : ST_PARSE;
}

enum status
tlsrpt_gzip(const void *data, size_t len, struct buf *out)
{
	z_stream z = { .next_in = (z_const Bytef *)data };
	enum status st;

	if (len > INT_MAX)
		return ST_LIMIT;
	z.avail_in = (uInt)len;
	if (deflateInit2(&z, Z_BEST_COMPRESSION, Z_DEFLATED, GZIP_BITS, 8,
	    Z_DEFAULT_STRATEGY) != Z_OK)
		return ST_SYS;
	st = run(&z, deflate, out);
	(void)deflateEnd(&z);
	return st;
}

enum status
tlsrpt_gunzip(const void *data, size_t len, struct buf *out)
{
	z_stream z = { .next_in = (z_const Bytef *)data };
	enum status st;

	if (len > INT_MAX)
		return ST_LIMIT;
	z.avail_in = (uInt)len;
	if (inflateInit2(&z, GZIP_BITS) != Z_OK)
		return ST_SYS;
	st = run(&z, inflate, out);
	(void)inflateEnd(&z);
	return st;
}

bool
tlsrpt_is_gzip(const void *data, size_t len)
{
	const uint8_t *bytes = data;

	return len >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
}
