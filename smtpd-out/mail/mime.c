/*
 * Fields, parts and encodings of a received message.  What to look for in it
 * is decided elsewhere.
 */
#include "config.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "smtpd-out/mail/mime.h"

#define VALUE_MAX 2048

/* Length of the line at text with its end. */
static size_t
line_len(const char *text, size_t left)
{
	const char *end = memchr(text, '\n', left);

	return end == NULL ? left : (size_t)(end - text) + 1;
}

static bool
is_blank(const char *line, size_t len)
{
	return len == 0 || line[0] == '\n' ||
		(line[0] == '\r' && (len == 1 || line[1] == '\n'));
}

void
mime_split(const char *bytes, size_t len, struct mime_entity *out)
{
	size_t at = 0;

	*out = (struct mime_entity){ .head = bytes, .body = bytes + len,
		.head_len = len };
	while (at < len) {
		size_t n = line_len(bytes + at, len - at);

		if (is_blank(bytes + at, n)) {
			out->head_len = at;
			out->body = bytes + at + n;
			out->body_len = len - at - n;
			return;
		}
		at += n;
	}
}

/* Appends a line without its end and without leading space. */
static void
unfold(char raw[VALUE_MAX], size_t *used, const char *line, size_t len)
{
	while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
		len--;
	while (len > 0 && (line[0] == ' ' || line[0] == '\t')) {
		line++;
		len--;
	}
	if (*used > 0 && *used < VALUE_MAX)
		raw[(*used)++] = ' ';
	if (len > VALUE_MAX - *used)
		len = VALUE_MAX - *used;
	memcpy(raw + *used, line, len);
	*used += len;
}

bool
mime_field(const struct mime_entity *e, const char *name, char *out,
	size_t out_bytes)
{
	size_t name_len = strlen(name), at = 0, used = 0, n;
	char raw[VALUE_MAX];
	bool found = false;

	for (; at < e->head_len; at += n) {
		const char *line = e->head + at;

		n = line_len(line, e->head_len - at);
		if (line[0] == ' ' || line[0] == '\t') {
			if (found)
				unfold(raw, &used, line, n);
			continue;
		}
		if (found)
			break;
		if (n > name_len && line[name_len] == ':' &&
		    strncasecmp(line, name, name_len) == 0) {
			unfold(raw, &used, line + name_len + 1,
				n - name_len - 1);
			found = true;
		}
	}
	str_sanitise(out, out_bytes, raw, used);
	return found;
}

void
mime_word(const char *value, char *out, size_t out_bytes)
{
	size_t n = strcspn(value, "; \t("), i;

	for (i = 0; i < n && i + 1 < out_bytes; i++)
		out[i] = (char)tolower((unsigned char)value[i]);
	out[i] = '\0';
}

/* Copies a token or quoted string; returns what follows. */
static const char *
take_value(const char *from, char *out, size_t out_bytes)
{
	bool quoted = *from == '"';
	size_t used = 0;

	from += quoted;
	while (*from != '\0' && (quoted ? *from != '"' :
	    strchr("; \t", *from) == NULL)) {
		if (quoted && *from == '\\' && from[1] != '\0')
			from++;
		if (used + 1 < out_bytes)
			out[used++] = *from;
		from++;
	}
	out[used] = '\0';
	return from + (quoted && *from == '"');
}

bool
mime_param(const char *value, const char *name, char *out, size_t out_bytes)
{
	size_t len = strlen(name);

	value += strcspn(value, ";");
	while (*value != '\0') {
		bool this;

		value += strspn(value, "; \t");
		this = strncasecmp(value, name, len) == 0 &&
			value[len] == '=';
		value += strcspn(value, "=;");
		if (*value != '=')
			continue;
		value = take_value(value + 1, out, out_bytes);
		if (this)
			return true;
	}
	out[0] = '\0';
	return false;
}

/* Where the next delimiter line of the boundary begins; *after its end. */
static const char *
find_delimiter(const char *from, const char *end, const char *boundary,
	const char **after, bool *last)
{
	size_t len = strlen(boundary);

	while (from < end) {
		size_t n = line_len(from, (size_t)(end - from));

		if (n >= len + 2 && from[0] == '-' && from[1] == '-' &&
		    memcmp(from + 2, boundary, len) == 0) {
			const char *rest = from + 2 + len;
			size_t left = n - len - 2;

			*last = left >= 2 && memcmp(rest, "--", 2) == 0;
			if (*last || left == 0 ||
			    strchr(" \t\r\n", *rest) != NULL) {
				*after = from + n;
				return from;
			}
		}
		from += n;
	}
	*after = end;
	*last = true;
	return end;
}

bool
mime_next(const struct mime_entity *e, const char *boundary, size_t *offset,
	struct mime_entity *out)
{
	const char *end = e->body + e->body_len, *start, *stop, *after;
	bool last;

	if (*offset > e->body_len || boundary[0] == '\0')
		return false;
	if (*offset == 0) {
		(void)find_delimiter(e->body, end, boundary, &start, &last);
		if (last)
			return false;
	} else {
		start = e->body + *offset;
	}
	stop = find_delimiter(start, end, boundary, &after, &last);
	*offset = last ? e->body_len + 1 : (size_t)(after - e->body);
	/* The line end before a delimiter belongs to the delimiter. */
	if (stop > start && stop < end && stop[-1] == '\n')
		stop--;
	if (stop > start && stop < end && stop[-1] == '\r')
		stop--;
	mime_split(start, (size_t)(stop - start), out);
	return true;
}

static int
base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* What is no digit is skipped (RFC 2045 6.8), '=' ends it. */
static enum status
decode_base64(const char *text, size_t len, struct buf *out)
{
	uint8_t block[3];
	unsigned bits = 0, count = 0;

	for (size_t i = 0; i < len && text[i] != '='; i++) {
		int digit = base64_digit(text[i]);

		if (digit < 0)
			continue;
		bits = bits << 6 | (unsigned)digit;
		if (++count % 4 != 0)
			continue;
		block[0] = (uint8_t)(bits >> 16);
		block[1] = (uint8_t)(bits >> 8);
		block[2] = (uint8_t)bits;
		if (buf_put(out, block, 3) != ST_OK)
			return ST_LIMIT;
	}
	block[0] = (uint8_t)(count % 4 == 3 ? bits >> 10 : bits >> 4);
	block[1] = (uint8_t)(bits >> 2);
	return count % 4 < 2 ? ST_OK : buf_put(out, block, count % 4 - 1);
}

/* At a '=': how many characters of the text it stands for, and for what. */
static size_t
qp_escape(const char *text, size_t left, char *out, bool *any)
{
	int high = left >= 3 ? str_hex_digit(text[1]) : -1;
	int low = high >= 0 ? str_hex_digit(text[2]) : -1;

	*any = low >= 0;
	if (*any) {
		*out = (char)(high * 16 + low);
		return 3;
	}
	if (left >= 2 && text[1] == '\n')
		return 2;
	if (left >= 3 && text[1] == '\r' && text[2] == '\n')
		return 3;
	return 1;
}

static enum status
decode_quoted(const char *text, size_t len, struct buf *out)
{
	for (size_t i = 0, n; i < len; i += n) {
		char c = text[i];
		bool any = true;

		n = c == '=' ? qp_escape(text + i, len - i, &c, &any) : 1;
		if (any && buf_put(out, &c, 1) != ST_OK)
			return ST_LIMIT;
	}
	return ST_OK;
}

static enum status
decode_plain(const char *text, size_t len, struct buf *out)
{
	return buf_put(out, text, len);
}

enum status
mime_decode(const struct mime_entity *e, struct buf *out)
{
	static const struct {
		const char *name;
		enum status (*decode)(const char *, size_t, struct buf *);
	} rows[] = {
		{ "", decode_plain },
		{ "7bit", decode_plain },
		{ "8bit", decode_plain },
		{ "binary", decode_plain },
		{ "base64", decode_base64 },
		{ "quoted-printable", decode_quoted },
	};
	char value[64], name[32];

	(void)mime_field(e, "Content-Transfer-Encoding", value,
		sizeof(value));
	mime_word(value, name, sizeof(name));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (strcmp(rows[i].name, name) == 0)
			return rows[i].decode(e->body, e->body_len, out);
	return ST_PARSE;
}
