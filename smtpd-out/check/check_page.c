/*
 * Rows of text.  What finds no room in the buffer is cut: only people read it.
 */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "smtpd-out/check/check_page.h"

#define LABEL_WIDTH 12
#define INDENT (LABEL_WIDTH + 2)
#define LINE_BYTES_MAX 8192

/* Columns of a text, as far as one per character goes. */
static size_t
columns(const char *text, size_t len)
{
	size_t count = 0;

	for (size_t i = 0; i < len; i++)
		count += ((unsigned char)text[i] & 0xc0) != 0x80;
	return count;
}

/* Text with the spaces before its words; a word that finds no room begins a
 * new line below the row. */
static void
flow(struct page *p, const char *text)
{
	while (*text != '\0') {
		size_t gap = strspn(text, " ");
		size_t len = gap + strcspn(text + gap, " ");
		size_t wide = columns(text, len);

		if (p->style->width > 0 && gap > 0 && p->column + wide >
		    p->style->width && p->column > INDENT) {
			(void)!buf_printf(p->out, "\n%*s", INDENT, "");
			p->column = INDENT;
			text += gap;
			len -= gap;
			wide -= gap;
		}
		(void)!buf_put(p->out, text, len);
		p->column += wide;
		text += len;
	}
}

void
page_put(struct page *p, enum tone tone, const char *text)
{
	static const char *const codes[] = { "", "\033[32m", "\033[33m",
		"\033[31m", "\033[2m", "\033[1m" };
	bool paint = p->style->colour && tone != TONE_NONE;

	if (paint)
		(void)!buf_puts(p->out, codes[tone]);
	flow(p, text);
	if (paint)
		(void)!buf_puts(p->out, "\033[0m");
}

void
page_printf(struct page *p, const char *fmt, ...)
{
	struct buf text;
	va_list ap;

	buf_init(&text, LINE_BYTES_MAX);
	va_start(ap, fmt);
	if (buf_vprintf(&text, fmt, ap) == ST_OK && buf_put(&text, "", 1) ==
	    ST_OK)
		page_put(p, TONE_NONE, (const char *)buf_data(&text));
	va_end(ap);
	buf_clear(&text);
}

void
page_end(struct page *p)
{
	(void)!buf_puts(p->out, "\n");
	p->column = 0;
}

void
page_label(struct page *p, const char *name)
{
	char text[LABEL_WIDTH + 8];

	(void)snprintf(text, sizeof(text), "  %-*s", LABEL_WIDTH, name);
	page_put(p, TONE_DIM, text);
}

void
page_row(struct page *p, const char *name, const char *text)
{
	page_label(p, name);
	page_put(p, TONE_NONE, text);
	page_end(p);
}

void
check_text_row(const char *name, const char *text,
	const struct check_style *style, struct buf *out)
{
	struct page p = { .style = style, .out = out };

	page_row(&p, name, text);
}

static enum tone
tone_of(enum dns_security s)
{
	return s == DNS_SEC_SECURE ? TONE_GOOD : s == DNS_SEC_BOGUS ||
		s == DNS_SEC_INDETERMINATE ? TONE_BAD : TONE_WARN;
}

/* "  secure", and why not. */
void
page_security(struct page *p, const struct check_lookup *l)
{
	page_put(p, TONE_NONE, "  ");
	page_put(p, tone_of(l->security), dns_security_name(l->security));
	if (l->why[0] != '\0') {
		page_put(p, TONE_NONE, ": ");
		page_put(p, TONE_NONE, l->why);
	}
}

void
page_date(int64_t unix_s, bool with_time, char out[32])
{
	time_t t = (time_t)unix_s;
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL || strftime(out, 32, with_time ?
	    "%Y-%m-%d %H:%M:%S UTC" : "%Y-%m-%d", &tm) == 0)
		(void)str_copy(out, 32, "?");
}

void
page_list(struct page *p, char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		page_printf(p, "%s%s", i > 0 ? ", " : "", list[i]);
}
