/*
 * The page as a whole.  Every text that somebody else wrote goes through
 * html_text(), within <bdi>, so that neither markup nor right-to-left marks in
 * it reach beyond it; the policy in the head forbids scripts besides.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "smtpd-out/report/report_chart.h"
#include "smtpd-out/report/report_html.h"
#include "smtpd-out/report/report_summary.h"

#define DOMAINS_MAX 500		/* with a table of their own */
#define GOOD_MAX 1000		/* named as free of failures */
#define DETAILS_MAX 3		/* sentences about one kind of failure */

static void
put_remote(struct sink *out, const char *text)
{
	sink_puts(out, "<bdi>");
	html_text(out, text);
	sink_puts(out, "</bdi>");
}

static void
put_head(const struct report_page *page, struct sink *out)
{
	time_t at = (time_t)page->now_s;
	char date[40] = "";
	struct tm tm;

	sink_puts(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n"
		"<meta charset=\"utf-8\">\n"
		"<meta name=\"viewport\" content=\"width=device-width, "
		"initial-scale=1\">\n"
		"<meta name=\"color-scheme\" content=\"light dark\">\n"
		"<meta name=\"robots\" content=\"noindex\">\n"
		"<meta http-equiv=\"Content-Security-Policy\" "
		"content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
		"<title>TLS reports");
	if (page->host != NULL) {
		sink_puts(out, " of ");
		html_text(out, page->host);
	}
	sink_puts(out, "</title>\n<style>\n");
	sink_puts(out, report_style);
	sink_puts(out, "</style>\n</head>\n<body>\n<header><h1>TLS reports"
		"</h1>\n<p>");
	if (page->host != NULL) {
		html_text(out, page->host);
		sink_puts(out, ", ");
	}
	if (gmtime_r(&at, &tm) != NULL)
		(void)strftime(date, sizeof(date), "%d %B %Y, %H:%M UTC", &tm);
	sink_printf(out, "as of %s</p></header>\n<main>\n", date);
}

static void
put_names(struct sink *out, const struct report_names *names, size_t max)
{
	for (size_t i = 0; i < names->count && i < max; i++) {
		sink_puts(out, i == 0 ? "" : "<br>");
		put_remote(out, names->list[i]);
	}
	if (names->more > 0 || names->count > max)
		sink_puts(out, "<br>and more");
}

static void
put_note(struct sink *out, const char *label,
	const struct report_names *names, size_t max)
{
	if (names->count == 0)
		return;
	sink_printf(out, "<span class=\"note\">%s: ", label);
	put_names(out, names, max);
	sink_puts(out, "</span>");
}

/* Ends a cell and begins one; the label is seen where the screen is narrow. */
static void
put_cell(struct sink *out, const char *label, const char *attributes)
{
	sink_printf(out, "</div></td><td data-label=\"%s\"%s><div>", label,
		attributes);
}

static void
put_trouble(const struct report_trouble *t, bool received, struct sink *out)
{
	char first[REPORT_DAY_MAX], last[REPORT_DAY_MAX];

	report_day_text(t->first_s, first);
	report_day_text(t->last_s, last);
	sink_puts(out, "<tr><td><div><code>");
	put_remote(out, t->type);
	sink_printf(out, "</code><span class=\"note\">%s</span>",
		t->meaning);
	put_note(out, "Reason", &t->reasons, REPORT_NAMES_MAX);
	put_note(out, "Details", &t->infos, DETAILS_MAX);
	put_cell(out, "Sessions", " class=\"n\"");
	html_number(out, t->count);
	put_cell(out, "Mail server", "");
	put_names(out, &t->hosts, REPORT_NAMES_MAX);
	if (received) {
		put_cell(out, "Reported by", "");
		put_names(out, &t->senders, REPORT_NAMES_MAX);
	}
	put_cell(out, "Seen", " class=\"when\"");
	sink_puts(out, last);
	if (strcmp(first, last) != 0)
		sink_printf(out, "<span class=\"note\">since %s</span>",
			first);
	put_cell(out, "What to do", "");
	html_text(out, t->cure);
	sink_puts(out, "</div></td></tr>\n");
}

static void
put_senders(const struct report_domain *d, struct sink *out)
{
	sink_printf(out, "<details><summary>%zu sender%s</summary><div "
		"class=\"scroll\"><table class=\"numbers\"><thead><tr>"
		"<th scope=\"col\">Sender</th><th scope=\"col\">Reports</th>"
		"<th scope=\"col\">Succeeded</th><th scope=\"col\">Failed"
		"</th></tr></thead><tbody>\n", d->sender_count,
		d->sender_count == 1 ? "" : "s");
	for (size_t i = 0; i < d->sender_count; i++) {
		const struct report_total *t = &d->senders[i];

		sink_puts(out, "<tr><th scope=\"row\">");
		put_remote(out, t->name);
		sink_printf(out, "</th><td>%zu</td><td>", t->reports);
		html_number(out, t->good);
		sink_puts(out, "</td><td>");
		html_number(out, t->bad);
		sink_puts(out, "</td></tr>\n");
	}
	sink_puts(out, "</tbody></table></div></details>\n");
}

static void
put_domain(const struct report_domain *d, bool received, struct sink *out)
{
	sink_puts(out, "<article><h3>");
	put_remote(out, d->name[0] == '\0' ? "(no domain given)" : d->name);
	sink_puts(out, "</h3><p class=\"line\"><b class=\"bad\">");
	html_number(out, d->bad);
	sink_puts(out, " failed</b> of ");
	html_number(out, d->good + d->bad);
	sink_puts(out, " results (");
	html_share(out, d->bad, d->good + d->bad);
	sink_printf(out, ")</p>\n<table class=\"failures\"><thead><tr>"
		"<th scope=\"col\" class=\"w4\">Failure</th>"
		"<th scope=\"col\" class=\"w1 n\">Sessions</th>"
		"<th scope=\"col\" class=\"w3\">Mail server</th>%s"
		"<th scope=\"col\" class=\"w2\">Seen</th>"
		"<th scope=\"col\">What to do</th></tr></thead><tbody>\n",
		received ? "<th scope=\"col\" class=\"w2\">Reported by</th>" :
		"");
	for (size_t i = 0; i < d->trouble_count; i++)
		put_trouble(&d->troubles[i], received, out);
	sink_puts(out, "</tbody></table>\n");
	if (received)
		put_senders(d, out);
	sink_puts(out, "</article>\n");
}

static void
put_good(const struct report_summary *s, struct sink *out)
{
	size_t named = 0, good = 0;

	for (size_t i = 0; i < s->domain_count; i++)
		good += s->domains[i].bad == 0;
	if (good == 0)
		return;
	sink_printf(out, "<details class=\"good\"><summary>%zu domain%s "
		"without a failure</summary>\n<p>", good,
		good == 1 ? "" : "s");
	for (size_t i = 0; i < s->domain_count && named < GOOD_MAX; i++) {
		if (s->domains[i].bad > 0)
			continue;
		sink_puts(out, named++ == 0 ? "" : ", ");
		put_remote(out, s->domains[i].name);
		sink_puts(out, "&nbsp;(");
		html_number(out, s->domains[i].good);
		sink_puts(out, ")");
	}
	sink_puts(out, good > named ? " and more</p></details>\n" :
		"</p></details>\n");
}

static void
put_domains(const struct report_summary *s, bool received, struct sink *out)
{
	size_t shown = 0;

	sink_puts(out, "<h2 class=\"sub\">Failures by domain</h2>\n");
	for (size_t i = 0; i < s->domain_count; i++) {
		if (s->domains[i].bad == 0)
			continue;
		if (shown++ < DOMAINS_MAX)
			put_domain(&s->domains[i], received, out);
	}
	if (shown == 0)
		sink_puts(out, "<p class=\"fine\">Nothing failed.</p>\n");
	if (shown > DOMAINS_MAX)
		sink_printf(out, "<p>%zu more domains with failures are not "
			"shown.</p>\n", shown - DOMAINS_MAX);
	put_good(s, out);
}

static void
put_section(const char *title, const char *words, struct chart *chart,
	const struct report_summary *s, struct sink *out)
{
	char first[REPORT_DAY_MAX], last[REPORT_DAY_MAX];

	report_day_text(s->first_s, first);
	report_day_text(s->last_s, last);
	sink_printf(out, "<h2>%s</h2>\n<p class=\"lead\">%s ", title, words);
	html_number(out, chart_sessions(chart));
	sink_printf(out, "&nbsp;sessions, <time>%s</time>", first);
	if (strcmp(first, last) != 0)
		sink_printf(out, " to <time>%s</time>", last);
	sink_puts(out, ".</p>\n");
	chart_put_tiles(chart, out);
	chart_put_days(chart, out);
}

static void
put_own(const struct report_page *page, struct sink *out)
{
	struct report_summary s = { 0 };
	struct chart chart = { 0 };

	for (size_t i = 0; i < page->own_count; i++) {
		const struct tlsrpt_report *r = &page->own[i];

		report_summary_add(&s, r, "this system");
		for (unsigned k = 1; k < TLSRPT_ENDED_COUNT; k++)
			chart_add(&chart, r->start_s, (enum tlsrpt_ended)k,
				r->sessions[k]);
	}
	report_summary_end(&s);
	sink_puts(out, "<section>\n");
	put_section("Mail sent from here", "How sessions with the mail "
		"servers of others ended.", &chart, &s, out);
	put_domains(&s, false, out);
	sink_puts(out, "</section>\n");
	chart_clear(&chart);
	report_summary_clear(&s);
}

/* The document has no sessions in the clear, and says of a success only which
 * policy it was under. */
static void
chart_report(struct chart *chart, const struct tlsrpt_report *r)
{
	uint64_t sessions[TLSRPT_ENDED_COUNT] = { 0 };

	for (size_t i = 0; i < r->result_count; i++) {
		const struct tlsrpt_result *result = &r->results[i];
		bool verified = result->policy.type == TLSRPT_POLICY_TLSA ||
			result->policy.type == TLSRPT_POLICY_STS;

		tlsrpt_count_add(&sessions[verified ? TLSRPT_ENDED_SECURED :
			TLSRPT_ENDED_ENCRYPTED], result->successes);
		tlsrpt_count_add(&sessions[TLSRPT_ENDED_FAILED],
			result->failed);
	}
	for (unsigned k = 1; k < TLSRPT_ENDED_COUNT; k++)
		chart_add(chart, r->start_s, (enum tlsrpt_ended)k,
			sessions[k]);
}

static void
put_received(const struct report_page *page, struct sink *out)
{
	struct report_summary s = { 0 };
	struct chart chart = { .no_clear = true,
		.until_s = page->now_s + TLSRPT_DAY_S };

	for (size_t i = 0; i < page->received_count; i++) {
		const struct report_received *one = &page->received[i];

		report_summary_add(&s, &one->report, report_sender(one));
		chart_report(&chart, &one->report);
	}
	report_summary_end(&s);
	sink_puts(out, "<section>\n");
	put_section("Mail sent to our domains", "What other systems report "
		"of their sessions with our mail servers. A session under two "
		"policies is counted for each; sessions in clear text are not "
		"reported.", &chart, &s, out);
	put_domains(&s, true, out);
	sink_puts(out, "</section>\n");
	chart_clear(&chart);
	report_summary_clear(&s);
}

void
report_html(const struct report_page *page, struct sink *out)
{
	put_head(page, out);
	if (page->own_count > 0)
		put_own(page, out);
	if (page->received_count > 0)
		put_received(page, out);
	if (page->own_count == 0 && page->received_count == 0)
		sink_puts(out, "<section class=\"empty\"><h2>Nothing yet</h2>"
			"<p>There is no report to show.</p></section>\n");
	sink_puts(out, "</main>\n<footer>SMTP TLS Reporting, RFC 8460. Made "
		"by " PACKAGE_STRING ".</footer>\n</body>\n</html>\n");
}
