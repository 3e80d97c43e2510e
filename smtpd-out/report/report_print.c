/*
 * The summary in words and columns.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "smtpd-out/report/report_print.h"

#define NAME_COLUMN 40

/* Shares of small failures are not rounded away. */
static void
put_share(struct sink *out, uint64_t good, uint64_t bad)
{
	double share = good + bad == 0 ? 0 : 100.0 * (double)bad /
		((double)good + (double)bad);

	if (bad > 0 && share < 0.1)
		sink_puts(out, " (under 0.1 %)");
	else if (bad > 0)
		sink_printf(out, " (%.1f %%)", share);
}

/* Words to a width of 78, LF, behind "LABEL: ". */
static void
put_words(struct sink *out, const char *label, const char *text)
{
	size_t column = strlen(label) + 1 + 6;

	if (text[0] == '\0')
		return;
	sink_printf(out, "      %s:", label);
	while (*text != '\0') {
		size_t word = strcspn(text, " ");

		if (column + 1 + word > 78) {
			sink_puts(out, "\n       ");
			column = 7;
		}
		sink_puts(out, " ");
		sink_put(out, text, word);
		column += 1 + word;
		text += word;
		text += strspn(text, " ");
	}
	sink_puts(out, "\n");
}

static void
put_names(struct sink *out, const char *label,
	const struct report_names *names)
{
	struct sink line;

	if (names->count == 0)
		return;
	sink_init(&line, 16384);
	for (size_t i = 0; i < names->count; i++)
		sink_printf(&line, "%s%s", i == 0 ? "" : ", ",
			names->list[i]);
	if (names->more > 0)
		sink_puts(&line, " and more");
	sink_put(&line, "", 1);
	if (!line.full)
		put_words(out, label, (const char *)buf_data(&line.buf));
	sink_clear(&line);
}

/* One column for texts of any script: cut by characters, not bytes. */
static void
put_name(struct sink *out, const char *name)
{
	size_t shown = 0;

	for (; *name != '\0' && shown < NAME_COLUMN; name++) {
		sink_put(out, name, 1);
		while (((unsigned char)name[1] & 0xc0) == 0x80)
			sink_put(out, ++name, 1);
		shown++;
	}
	sink_printf(out, "%*s", (int)(NAME_COLUMN - shown), "");
}

static void
put_totals(struct sink *out, const char *title,
	const struct report_total *list, size_t count)
{
	sink_puts(out, "\n  ");
	put_name(out, title);
	sink_printf(out, "%12s%12s\n", "succeeded", "failed");
	for (size_t i = 0; i < count; i++) {
		sink_puts(out, "    ");
		put_name(out, list[i].name != NULL ? list[i].name :
			list[i].day);
		sink_printf(out, "%10" PRIu64 " %11" PRIu64 "\n", list[i].good,
			list[i].bad);
	}
}

static void
put_trouble(struct sink *out, const struct report_trouble *t)
{
	char first[REPORT_DAY_MAX], last[REPORT_DAY_MAX];

	report_day_text(t->first_s, first);
	report_day_text(t->last_s, last);
	sink_printf(out, "\n    %s: %" PRIu64 " %s, %s", t->type, t->count,
		report_sessions_word(t->count), first);
	if (strcmp(first, last) != 0)
		sink_printf(out, " to %s", last);
	sink_puts(out, "\n");
	put_words(out, "Seen", t->meaning);
	put_names(out, "Where", &t->hosts);
	put_names(out, "Reported by", &t->senders);
	put_names(out, "Reason", &t->reasons);
	put_names(out, "Details", &t->infos);
	put_words(out, "What to do", t->cure);
}

static void
put_domain(struct sink *out, const struct report_domain *d)
{
	sink_printf(out, "\n%s\n  %" PRIu64 " %s succeeded, %" PRIu64
		" failed", d->name[0] == '\0' ? "(no domain given)" : d->name,
		d->good, report_sessions_word(d->good), d->bad);
	put_share(out, d->good, d->bad);
	sink_puts(out, "\n");
	if (d->trouble_count > 0)
		sink_puts(out, "\n  What failed, and what to do\n");
	for (size_t i = 0; i < d->trouble_count; i++)
		put_trouble(out, &d->troubles[i]);
	put_totals(out, "By sender", d->senders, d->sender_count);
	put_totals(out, "By day (UTC)", d->days, d->day_count);
}

static const char *
plural(size_t n)
{
	return n == 1 ? "" : "s";
}

void
report_print_text(const struct report_summary *s, size_t duplicates,
	struct sink *out)
{
	char first[REPORT_DAY_MAX], last[REPORT_DAY_MAX];

	if (s->reports == 0) {
		sink_puts(out, "no reports\n");
		return;
	}
	report_day_text(s->first_s, first);
	report_day_text(s->last_s, last);
	sink_printf(out, "%zu report%s of %zu sender%s on %zu domain%s, %s",
		s->reports, plural(s->reports), s->sender_count,
		plural(s->sender_count), s->domain_count,
		plural(s->domain_count), first);
	if (strcmp(first, last) != 0)
		sink_printf(out, " to %s", last);
	sink_puts(out, "\n");
	if (duplicates > 0)
		sink_printf(out, "%zu file%s held a report that was there "
			"already\n", duplicates, plural(duplicates));
	for (size_t i = 0; i < s->domain_count; i++)
		put_domain(out, &s->domains[i]);
}
