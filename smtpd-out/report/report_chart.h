/*
 * Pieces of the page: escaped text, numbers, and bars of sessions per day.
 */
#ifndef SMTPD_OUT_REPORT_CHART_H
#define SMTPD_OUT_REPORT_CHART_H

#include "base/sink.h"
#include "policy/tlsrpt.h"

#define CHART_DAYS_MAX 92	/* the last ones are shown */

extern const char report_style[];	/* CSS of the page */

struct chart_day {
	int64_t day_s;
	uint64_t sessions[TLSRPT_ENDED_COUNT];
};

struct chart {			/* zeroed: empty */
	struct chart_day *days;
	size_t day_count;
	uint64_t sessions[TLSRPT_ENDED_COUNT];
	bool no_clear;		/* sessions in clear text are not known */
	int64_t until_s;	/* no bars for days after it, where there are
				 * others: senders say any time; 0: all */
};

void chart_add(struct chart *, int64_t day_s, enum tlsrpt_ended,
	uint64_t count);
void chart_clear(struct chart *);
uint64_t chart_sessions(const struct chart *);
/* The numbers with their colours: a legend too. */
void chart_put_tiles(struct chart *, struct sink *);
/* The bars, and the same as a table. */
void chart_put_days(struct chart *, struct sink *);

/* Text of whatever origin, so that it can do nothing to the page. */
void html_text(struct sink *, const char *text);
/* With groups of three digits. */
void html_number(struct sink *, uint64_t);
/* "12.3 %", never 0 or 100 where that would be rounding. */
void html_share(struct sink *, uint64_t part, uint64_t whole);

#endif
