/*
 * What of the original goes back: its header section made safe, whatever the
 * body is.  Nothing in here trusts that the body is a message at all.
 */
#include "config.h"

#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "smtpd-out/mail/bounce_int.h"

#define LINE_MAX_BYTES 998		/* RFC 5322 2.1.1, without CRLF */
#define HEADERS_OUT_MAX 32768

struct line {
	const uint8_t *at;
	size_t len;		/* without the line end */
};

/* The next line of [*pos, end); ends at LF, CRLF or the end. */
static bool
next_line(const uint8_t **pos, const uint8_t *end, struct line *out)
{
	const uint8_t *lf;

	if (*pos == end)
		return false;
	lf = memchr(*pos, '\n', (size_t)(end - *pos));
	out->at = *pos;
	out->len = (size_t)((lf == NULL ? end : lf) - *pos);
	*pos = lf == NULL ? end : lf + 1;
	if (out->len > 0 && out->at[out->len - 1] == '\r')
		out->len--;
	return true;
}

/* RFC 5322 2.2: printable ASCII but colon, then a colon (4.5: after spaces). */
static bool
is_field(const struct line *line)
{
	size_t n = 0;

	while (n < line->len && line->at[n] > 32 && line->at[n] < 127 &&
	    line->at[n] != ':')
		n++;
	if (n == 0)
		return false;
	while (n < line->len && (line->at[n] == ' ' || line->at[n] == '\t'))
		n++;
	return n < line->len && line->at[n] == ':';
}

static bool
is_continuation(const struct line *line)
{
	return line->len > 0 && (line->at[0] == ' ' || line->at[0] == '\t');
}

/* One line: tabs as spaces, control characters and what is not UTF-8 as "?",
 * cut to what RFC 5322 allows. */
static void
put_line(const struct line *line, struct sink *out)
{
	char raw[LINE_MAX_BYTES + 8], safe[LINE_MAX_BYTES + 1];
	size_t len = line->len < sizeof(raw) ? line->len : sizeof(raw);

	for (size_t i = 0; i < len; i++)
		raw[i] = line->at[i] == '\t' ? ' ' : (char)line->at[i];
	str_sanitise(safe, sizeof(safe), raw, len);
	sink_puts(out, safe);
	sink_puts(out, "\r\n");
}

void
bounce_headers(const void *body, size_t len, struct sink *out)
{
	const uint8_t *pos = body, *end = pos + len;
	struct line line;
	bool in_field = false;

	while (next_line(&pos, end, &line)) {
		if (!is_field(&line) && !(in_field && is_continuation(&line)))
			break;
		if (out->buf.len + LINE_MAX_BYTES + 2 > HEADERS_OUT_MAX)
			break;
		in_field = true;
		put_line(&line, out);
	}
}

bool
bounce_is_clean(const void *body, size_t len)
{
	const uint8_t *p = body;
	size_t column = 0;

	for (size_t i = 0; i < len; i++) {
		if (p[i] == '\r' && i + 1 < len && p[i + 1] == '\n') {
			column = 0;
			i++;
			continue;
		}
		if (p[i] == '\0' || p[i] == '\r' || p[i] == '\n' ||
		    ++column > LINE_MAX_BYTES)
			return false;
	}
	return true;
}

static bool
is_id(const char *text, size_t len)
{
	if (len < 3 || len >= BOUNCE_MESSAGE_ID_MAX || text[0] != '<' ||
	    text[len - 1] != '>')
		return false;
	for (size_t i = 1; i + 1 < len; i++)
		if (text[i] <= 32 || text[i] > 126 || text[i] == '<' ||
		    text[i] == '>')
			return false;
	return true;
}

void
bounce_message_id(const struct buf *headers, char out[BOUNCE_MESSAGE_ID_MAX])
{
	static const char name[] = "message-id:";
	const uint8_t *pos = buf_data(headers), *end = pos + headers->len;
	struct line line;

	out[0] = '\0';
	while (next_line(&pos, end, &line)) {
		const char *value = (const char *)line.at + sizeof(name) - 1;
		size_t left;

		if (line.len < sizeof(name) - 1 ||
		    strncasecmp((const char *)line.at, name,
		    sizeof(name) - 1) != 0)
			continue;
		left = line.len - (sizeof(name) - 1);
		for (; left > 0 && *value == ' '; value++)
			left--;
		while (left > 0 && value[left - 1] == ' ')
			left--;
		if (is_id(value, left)) {
			memcpy(out, value, left);
			out[left] = '\0';
		}
		return;
	}
}
