/*
 * Line ends and dots of a message on its way from a local program to SMTP.
 */
#include "config.h"

#include <string.h>

#include "smtpd-out/command/submit_header.h"

static enum status
end_line(struct submit_text *t, struct buf *out)
{
	if (t->dot) {
		t->dot = false;
		if (!t->ignore_dots) {
			t->ended = true;
			return ST_OK;
		}
		if (buf_puts(out, ".") != ST_OK)
			return ST_LIMIT;
	}
	t->line_len = 0;
	return buf_puts(out, "\r\n");
}

static enum status
put_run(struct submit_text *t, const uint8_t *bytes, size_t len,
	struct buf *out)
{
	if (t->line_len == 0 && !t->dot && len == 1 && bytes[0] == '.') {
		t->dot = true;
		return ST_OK;
	}
	if (t->dot && buf_puts(out, ".") != ST_OK)
		return ST_LIMIT;
	t->line_len += len + (t->dot ? 1 : 0);
	t->dot = false;
	return buf_put(out, bytes, len);
}

static size_t
run_len(const uint8_t *bytes, size_t len)
{
	size_t n = 0;

	while (n < len && bytes[n] != '\r' && bytes[n] != '\n')
		n++;
	return n;
}

enum status
submit_text_feed(struct submit_text *t, const uint8_t *bytes, size_t len,
	struct buf *out)
{
	enum status st = ST_OK;

	while (len > 0 && !t->ended && st == ST_OK) {
		size_t n = run_len(bytes, len);

		if (t->cr) {		/* CR or CRLF: one line end */
			t->cr = false;
			st = end_line(t, out);
			n = *bytes == '\n' ? 1 : 0;
		} else if (n > 0) {
			st = put_run(t, bytes, n, out);
		} else {
			n = 1;
			if (*bytes == '\r')
				t->cr = true;
			else
				st = end_line(t, out);
		}
		bytes += n;
		len -= n;
	}
	return st;
}

enum status
submit_text_end(struct submit_text *t, struct buf *out)
{
	if (t->ended || (!t->cr && !t->dot && t->line_len == 0))
		return ST_OK;
	t->cr = false;
	return end_line(t, out);
}

enum status
submit_stuff(const uint8_t *bytes, size_t len, bool *at_start,
	struct buf *out)
{
	while (len > 0) {
		const uint8_t *lf = memchr(bytes, '\n', len);
		size_t n = lf == NULL ? len : (size_t)(lf - bytes) + 1;

		if (*at_start && *bytes == '.' && buf_puts(out, ".") != ST_OK)
			return ST_LIMIT;
		if (buf_put(out, bytes, n) != ST_OK)
			return ST_LIMIT;
		*at_start = lf != NULL;
		bytes += n;
		len -= n;
	}
	return ST_OK;
}
