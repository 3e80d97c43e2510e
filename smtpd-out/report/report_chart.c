/*
 * Numbers and bars.  The bars are boxes with heights in per cent: they need no
 * script, grow with the window, and every number in them is there as text.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "smtpd-out/mail/report_words.h"
#include "smtpd-out/report/report_chart.h"

static const struct kind {
	enum tlsrpt_ended ended;
	const char *css, *name, *words;
} kinds[] = {			/* from the top of a bar down */
	{ TLSRPT_ENDED_FAILED, "failed", "Failed",
	    "TLS or its policy failed" },
	{ TLSRPT_ENDED_CLEAR, "clear", "Clear", "no TLS at all" },
	{ TLSRPT_ENDED_ENCRYPTED, "encrypted", "Encrypted",
	    "TLS, nobody verified" },
	{ TLSRPT_ENDED_SECURED, "secured", "Secured",
	    "TLS, verified by DANE or MTA&#8209;STS" },
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

void
html_text(struct sink *out, const char *text)
{
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '&' || c == '<' || c == '>' || c == '"' || c == '\'')
			sink_printf(out, "&#%u;", c);
		else if (c < 32 || c == 127)
			sink_puts(out, "?");
		else
			sink_put(out, text, 1);
	}
}

void
html_number(struct sink *out, uint64_t n)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, n);

	for (int i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			sink_puts(out, "&#8239;");
		sink_put(out, digits + i, 1);
	}
}

void
html_share(struct sink *out, uint64_t part, uint64_t whole)
{
	double share = whole == 0 ? 0 : 100 * (double)part / (double)whole;

	if (part > 0 && share < 0.1)
		sink_puts(out, "&lt;&#8239;0.1&#8239;%");
	else if (part < whole && share > 99.9)
		sink_puts(out, "&gt;&#8239;99.9&#8239;%");
	else
		sink_printf(out, part == 0 || part == whole ?
			"%.0f&#8239;%%" : "%.1f&#8239;%%", share);
}

void
chart_add(struct chart *c, int64_t day_s, enum tlsrpt_ended ended,
	uint64_t count)
{
	struct chart_day *day = NULL;

	if (count == 0)
		return;
	day_s = tlsrpt_day(day_s);
	for (size_t i = 0; i < c->day_count && day == NULL; i++)
		if (c->days[i].day_s == day_s)
			day = &c->days[i];
	if (day == NULL) {
		c->days = xrealloc_n(c->days, c->day_count + 1,
			sizeof(c->days[0]));
		day = &c->days[c->day_count++];
		memset(day, 0, sizeof(*day));
		day->day_s = day_s;
	}
	tlsrpt_count_add(&day->sessions[ended], count);
	tlsrpt_count_add(&c->sessions[ended], count);
}

void
chart_clear(struct chart *c)
{
	free(c->days);
	*c = (struct chart){ 0 };
}

/* The i-th kind, or NULL where it is not to be shown. */
static const struct kind *
shown(const struct chart *c, size_t i)
{
	return c->no_clear && kinds[i].ended == TLSRPT_ENDED_CLEAR ? NULL :
		&kinds[i];
}

static uint64_t
sum(const uint64_t sessions[TLSRPT_ENDED_COUNT])
{
	uint64_t n = 0;

	for (size_t i = 0; i < KINDS; i++)
		n += sessions[kinds[i].ended];
	return n;
}

uint64_t
chart_sessions(const struct chart *c)
{
	return sum(c->sessions);
}

void
chart_put_tiles(struct chart *c, struct sink *out)
{
	sink_puts(out, "<ul class=\"tiles\">\n");
	for (size_t i = KINDS; i-- > 0;) {
		uint64_t n = c->sessions[kinds[i].ended];

		if (shown(c, i) == NULL)
			continue;
		sink_printf(out, "<li class=\"%s\"><span class=\"name\">"
			"<i></i>%s</span><b>", kinds[i].css, kinds[i].name);
		html_number(out, n);
		sink_puts(out, "</b><span class=\"share\">");
		html_share(out, n, sum(c->sessions));
		sink_printf(out, "</span><small>%s</small></li>\n",
			kinds[i].words);
	}
	sink_puts(out, "</ul>\n");
}

static int
by_day(const void *a, const void *b)
{
	const struct chart_day *x = a, *y = b;

	return x->day_s < y->day_s ? -1 : x->day_s > y->day_s;
}

/* A round and even number that is not less than n. */
static uint64_t
scale_for(uint64_t n)
{
	static const unsigned steps[] = { 10, 12, 16, 20, 24, 30, 40, 50, 60,
		80 };
	uint64_t power = 1;

	if (n <= 10)
		return n + n % 2;
	for (;; power *= 10)
		for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
			if (power * steps[i] >= n ||
			    power > UINT64_MAX / 1000)
				return power * steps[i];
}

static void
put_numbers(const struct chart *c, const struct chart_day *day,
	struct sink *out)
{
	for (size_t i = KINDS; i-- > 0;)
		if (shown(c, i) != NULL)
			sink_printf(out, "%s%" PRIu64 " %s",
				i + 1 == KINDS ? "" : ", ",
				day->sessions[kinds[i].ended], kinds[i].css);
}

static void
put_column(const struct chart *c, const struct chart_day *day,
	uint64_t scale, struct sink *out)
{
	char text[REPORT_DAY_MAX], words[REPORT_DAY_MAX + 200];
	struct sink numbers;

	sink_init(&numbers, 200);
	report_day_text(day->day_s, text);
	put_numbers(c, day, &numbers);
	(void)snprintf(words, sizeof(words), "%s: %.*s", text,
		(int)numbers.buf.len, (const char *)buf_data(&numbers.buf));
	sink_clear(&numbers);
	sink_printf(out, "<li><div class=\"bar\" role=\"img\" "
		"aria-label=\"%s\" title=\"%s\">", words, words);
	for (size_t i = 0; i < KINDS; i++) {
		uint64_t n = day->sessions[kinds[i].ended];

		if (n > 0)
			sink_printf(out, "<i class=\"%s\" "
				"style=\"height:%.3f%%\"></i>", kinds[i].css,
				100 * (double)n / (double)scale);
	}
	sink_puts(out, "</div>");
}

/* Some labels: the last day, and back from it in steps. */
static size_t
label_step(size_t days)
{
	return days <= 8 ? 1 : days <= 16 ? 2 : days <= 40 ? 7 : 14;
}

static int64_t
last_day(const struct chart *c)
{
	for (size_t i = c->day_count; c->until_s != 0 && i-- > 0;)
		if (c->days[i].day_s <= c->until_s)
			return c->days[i].day_s;
	return c->days[c->day_count - 1].day_s;
}

static void
put_columns(const struct chart *c, struct sink *out)
{
	int64_t last = last_day(c);
	int64_t first = c->days[0].day_s;
	size_t at = 0, days, step;
	uint64_t most = 1, scale;
	char text[REPORT_DAY_MAX];

	if (first < last - (CHART_DAYS_MAX - 1) * TLSRPT_DAY_S)
		first = last - (CHART_DAYS_MAX - 1) * TLSRPT_DAY_S;
	for (size_t i = 0; i < c->day_count; i++)
		if (c->days[i].day_s >= first && c->days[i].day_s <= last &&
		    sum(c->days[i].sessions) > most)
			most = sum(c->days[i].sessions);
	scale = scale_for(most);
	days = (size_t)((last - first) / TLSRPT_DAY_S) + 1;
	step = label_step(days);
	sink_puts(out, "<div class=\"chart\"><div class=\"axis\" "
		"aria-hidden=\"true\"><span>");
	html_number(out, scale);
	sink_puts(out, "</span><span>");
	html_number(out, scale / 2);
	sink_puts(out, "</span><span>0</span></div><ol class=\"bars\">\n");
	for (size_t i = 0; i < days; i++) {
		struct chart_day day = {
			.day_s = first + (int64_t)i * TLSRPT_DAY_S };

		while (at < c->day_count && c->days[at].day_s < day.day_s)
			at++;
		if (at < c->day_count && c->days[at].day_s == day.day_s)
			day = c->days[at];
		put_column(c, &day, scale, out);
		report_day_text(day.day_s, text);
		if ((days - 1 - i) % step == 0)
			sink_printf(out, "<span>%s</span>", text + 5);
		sink_puts(out, "</li>\n");
	}
	sink_puts(out, "</ol></div>\n");
}

static void
put_table(const struct chart *c, struct sink *out)
{
	char text[REPORT_DAY_MAX];

	sink_puts(out, "<details><summary>The same in numbers</summary>\n"
		"<div class=\"scroll\"><table class=\"numbers\"><thead><tr>"
		"<th scope=\"col\">Day</th>");
	for (size_t i = KINDS; i-- > 0;)
		if (shown(c, i) != NULL)
			sink_printf(out, "<th scope=\"col\">%s</th>",
				kinds[i].name);
	sink_puts(out, "</tr></thead><tbody>\n");
	for (size_t i = c->day_count; i-- > 0;) {
		report_day_text(c->days[i].day_s, text);
		sink_printf(out, "<tr><th scope=\"row\">%s</th>", text);
		for (size_t k = KINDS; k-- > 0;) {
			if (shown(c, k) == NULL)
				continue;
			sink_puts(out, "<td>");
			html_number(out,
				c->days[i].sessions[kinds[k].ended]);
			sink_puts(out, "</td>");
		}
		sink_puts(out, "</tr>\n");
	}
	sink_puts(out, "</tbody></table></div></details>\n");
}

void
chart_put_days(struct chart *c, struct sink *out)
{
	if (c->day_count == 0)
		return;
	qsort(c->days, c->day_count, sizeof(c->days[0]), by_day);
	sink_puts(out, "<figure><figcaption>Sessions per day (UTC)"
		"</figcaption>\n");
	put_columns(c, out);
	put_table(c, out);
	sink_puts(out, "</figure>\n");
}
