/*
 * The reply parser.  It keeps one unfinished line and the text of the lines
 * before it, both bounded, and never looks at a byte twice, so that a peer
 * that drips or floods costs no more than the bound.
 */
#include "config.h"

#include <string.h>

#include "base/str.h"
#include "smtpd-out/client/smtp_reply.h"

void
smtp_reply_init(struct smtp_reply *r)
{
	memset(r, 0, sizeof(*r));
	buf_init(&r->text, SMTP_REPLY_TEXT_MAX);
	buf_init(&r->line, SMTP_REPLY_LINE_MAX);
}

void
smtp_reply_clear(struct smtp_reply *r)
{
	buf_clear(&r->text);
	buf_clear(&r->line);
	smtp_reply_init(r);
}

static void
begin(struct smtp_reply *r)
{
	r->code = 0;
	r->enhanced[0] = '\0';
	r->line_count = 0;
	r->complete = false;
	buf_drain(&r->text, r->text.len);
	buf_drain(&r->line, r->line.len);
}

static bool
is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

/* The code of a line, 0 when there is none.  RFC 5321 4.2.1 gives the second
 * digit a meaning up to 5; servers use others, and nothing depends on it. */
static int
parse_code(const uint8_t *p, size_t len)
{
	if (len < 3 || p[0] < '2' || p[0] > '5' || !is_digit(p[1]) ||
	    !is_digit(p[2]))
		return 0;
	return (p[0] - '0') * 100 + (p[1] - '0') * 10 + (p[2] - '0');
}

/* Length of the enhanced code in front of a text, 0 when there is none.  It
 * counts only when its class agrees with the code (RFC 2034 section 4). */
static size_t
enhanced_len(int code, const char *text, size_t len, char *out)
{
	char word[OUTCOME_ENHANCED_MAX];
	size_t n = 0;

	while (n < len && text[n] != ' ')
		if (++n >= sizeof(word))
			return 0;
	memcpy(word, text, n);
	word[n] = '\0';
	if (word[0] != '0' + code / 100 || !str_is_enhanced_code(word))
		return 0;
	if (out != NULL)
		memcpy(out, word, n + 1);
	return n;
}

/* One line without its end. */
static enum status
take_line(struct smtp_reply *r, const uint8_t *p, size_t len)
{
	int code = parse_code(p, len);
	bool more = len > 3 && p[3] == '-';
	size_t skip = len > 3 ? 4 : 3;

	if (code == 0 || (r->code != 0 && code != r->code))
		return ST_PARSE;
	if (len > 3 && p[3] != '-' && p[3] != ' ')
		return ST_PARSE;
	if (memchr(p, '\0', len) != NULL || memchr(p, '\r', len) != NULL)
		return ST_PARSE;
	if (++r->line_count > SMTP_REPLY_LINES_MAX)
		return ST_LIMIT;
	r->code = code;
	if (r->line_count == 1)
		(void)enhanced_len(code, (const char *)p + skip, len - skip,
			r->enhanced);
	if (buf_put(&r->text, p + skip, len - skip) != ST_OK ||
	    buf_put(&r->text, "\n", 1) != ST_OK)
		return ST_LIMIT;
	r->complete = !more;
	return ST_OK;
}

/* The line in r->line ends with LF. */
static enum status
end_line(struct smtp_reply *r)
{
	const uint8_t *p = buf_data(&r->line);
	size_t len = r->line.len - 1;
	enum status st;

	if (len > 0 && p[len - 1] == '\r')
		len--;
	st = take_line(r, p, len);
	buf_drain(&r->line, r->line.len);
	return st;
}

enum status
smtp_reply_feed(struct smtp_reply *r, const uint8_t *bytes, size_t len,
	size_t *used_out)
{
	enum status st;

	*used_out = 0;
	if (r->complete)
		begin(r);
	while (*used_out < len) {
		const uint8_t *p = bytes + *used_out;
		const uint8_t *lf = memchr(p, '\n', len - *used_out);
		size_t n = lf != NULL ? (size_t)(lf - p) + 1 : len - *used_out;

		if (buf_put(&r->line, p, n) != ST_OK)
			return ST_LIMIT;
		*used_out += n;
		if (lf == NULL)
			break;
		if ((st = end_line(r)) != ST_OK)
			return st;
		if (r->complete)
			return ST_OK;
	}
	return ST_AGAIN;
}

const char *
smtp_reply_line(const struct smtp_reply *r, size_t *pos, size_t *len_out)
{
	const char *text = (const char *)buf_data(&r->text) + *pos;
	const char *lf;

	if (*pos >= r->text.len)
		return NULL;
	lf = memchr(text, '\n', r->text.len - *pos);
	*len_out = lf != NULL ? (size_t)(lf - text) : r->text.len - *pos;
	*pos += *len_out + 1;
	return text;
}

void
smtp_reply_text(const struct smtp_reply *r, char *out, size_t out_bytes)
{
	size_t pos = 0, len, used = 0, skip;
	const char *line;

	out[0] = '\0';
	while ((line = smtp_reply_line(r, &pos, &len)) != NULL) {
		skip = enhanced_len(r->code, line, len, NULL);
		if (skip < len && line[skip] == ' ' && skip > 0)
			skip++;
		if (used > 0 && used + 1 < out_bytes)
			out[used++] = ' ';
		line += skip;
		len -= skip;
		if (len > out_bytes - 1 - used)
			len = out_bytes - 1 - used;
		memcpy(out + used, line, len);
		used += len;
		out[used] = '\0';
	}
}

struct outcome
smtp_reply_outcome(const struct smtp_reply *r, enum outcome_scope scope,
	enum outcome_stage stage)
{
	char text[OUTCOME_TEXT_MAX];

	smtp_reply_text(r, text, sizeof(text));
	return outcome_reply(scope, stage, r->code, r->enhanced, text);
}
