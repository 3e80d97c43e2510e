/*
 * Text that grows: messages, reports, pages.
 */
#include "config.h"

#include <stdarg.h>
#include <string.h>

#include "base/sink.h"

#define WRAP_COLUMN 74
#define BASE64_LINE 57		/* bytes; 76 columns (RFC 2045 6.8) */

void
sink_init(struct sink *s, size_t max_bytes)
{
	buf_init(&s->buf, max_bytes);
	s->full = false;
}

void
sink_clear(struct sink *s)
{
	buf_clear(&s->buf);
}

void
sink_put(struct sink *s, const void *bytes, size_t count)
{
	if (!s->full && buf_put(&s->buf, bytes, count) != ST_OK)
		s->full = true;
}

void
sink_puts(struct sink *s, const char *text)
{
	sink_put(s, text, strlen(text));
}

void
sink_printf(struct sink *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (!s->full && buf_vprintf(&s->buf, fmt, ap) != ST_OK)
		s->full = true;
	va_end(ap);
}

bool
sink_is_ascii(const struct sink *s)
{
	const uint8_t *p = buf_data(&s->buf);

	for (size_t i = 0; i < s->buf.len; i++)
		if (p[i] > 127)
			return false;
	return true;
}

void
sink_wrap(struct sink *s, const char *indent, const char *text)
{
	size_t column = 0;

	while (*text != '\0') {
		size_t word = strcspn(text, " ");

		if (column > 0 && column + 1 + word > WRAP_COLUMN) {
			sink_puts(s, "\r\n");
			column = 0;
		}
		sink_puts(s, column == 0 ? indent : " ");
		column += word + (column == 0 ? strlen(indent) : 1);
		sink_put(s, text, word);
		text += word;
		text += strspn(text, " ");
	}
	sink_puts(s, "\r\n");
}

static bool
qp_plain(const uint8_t *data, size_t left)
{
	if (data[0] == ' ' || data[0] == '\t')
		return left > 1 && data[1] != '\r';
	return data[0] > 32 && data[0] < 127 && data[0] != '=';
}

void
sink_field(struct sink *out, const char *name, const char *value)
{
	size_t column = strlen(name) + 2;

	sink_printf(out, "%s: ", name);
	while (*value != '\0') {
		size_t spaces = strspn(value, " ");
		size_t word = strcspn(value + spaces, " ");

		if (spaces > 0 && word > 0 && column + spaces + word > 76) {
			sink_puts(out, "\r\n");
			column = 0;
		}
		sink_put(out, value, spaces + word);
		column += spaces + word;
		value += spaces + word;
	}
	sink_puts(out, "\r\n");
}

void
sink_quoted_printable(struct sink *s, const uint8_t *data, size_t len)
{
	size_t column = 0;

	for (size_t i = 0; i < len; i++) {
		bool plain = qp_plain(data + i, len - i);

		if (data[i] == '\r' && i + 1 < len && data[i + 1] == '\n') {
			sink_puts(s, "\r\n");
			column = 0;
			i++;
			continue;
		}
		if (column + (plain ? 1 : 3) > 75) {
			sink_puts(s, "=\r\n");
			column = 0;
		}
		if (plain)
			sink_put(s, data + i, 1);
		else
			sink_printf(s, "=%02X", data[i]);
		column += plain ? 1 : 3;
	}
}

static void
base64_group(const uint8_t *data, size_t count, char out[4])
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"abcdefghijklmnopqrstuvwxyz0123456789+/";
	unsigned bits = (unsigned)data[0] << 16;

	if (count > 1)
		bits |= (unsigned)data[1] << 8;
	if (count > 2)
		bits |= data[2];
	out[0] = digits[bits >> 18];
	out[1] = digits[bits >> 12 & 63];
	out[2] = count > 1 ? digits[bits >> 6 & 63] : '=';
	out[3] = count > 2 ? digits[bits & 63] : '=';
}

void
sink_base64(struct sink *s, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i += BASE64_LINE) {
		size_t line = len - i < BASE64_LINE ? len - i : BASE64_LINE;
		char group[4];

		for (size_t j = 0; j < line; j += 3) {
			base64_group(data + i + j, line - j, group);
			sink_put(s, group, sizeof(group));
		}
		sink_puts(s, "\r\n");
	}
}
