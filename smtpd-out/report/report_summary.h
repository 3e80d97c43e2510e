/*
 * Many reports added up for people: by domain, and within it by sender, by day
 * and by what failed.  Pure; borrowed texts live as long as the reports.
 */
#ifndef SMTPD_OUT_REPORT_SUMMARY_H
#define SMTPD_OUT_REPORT_SUMMARY_H

#include "smtpd-out/mail/report_words.h"
#include "smtpd-out/report/report_read.h"

struct table;

#define REPORT_NAMES_MAX 12	/* hosts, senders, reasons that are named */
#define REPORT_TROUBLES_MAX 80	/* kinds of failure per domain */

struct report_names {		/* the first few, each once */
	const char *list[REPORT_NAMES_MAX];
	size_t count, more;	/* more: not listed, perhaps some twice */
};

struct report_total {
	const char *name;	/* sender, or day: "2026-11-21" */
	char day[REPORT_DAY_MAX];
	uint64_t good, bad;
	size_t reports;
};

/* One kind of failure at one domain. */
struct report_trouble {
	const char *type;	/* result type */
	const char *meaning;
	char cure[REPORT_CURE_MAX];
	uint64_t count;
	int64_t first_s, last_s;
	struct report_names hosts, senders, reasons, infos;
};

struct report_domain {
	const char *name;
	uint64_t good, bad;
	struct report_total *senders, *days;
	size_t sender_count, day_count;
	struct report_trouble *troubles;	/* most sessions first */
	size_t trouble_count;
};

struct report_summary {
	struct report_domain *domains;	/* most failures first */
	size_t domain_count;
	size_t reports, sender_count;
	uint64_t good, bad;
	int64_t first_s, last_s;
	struct table *by_name, *by_sender;	/* while it is added up */
};

void report_summary_add(struct report_summary *, const struct tlsrpt_report *,
	const char *sender);
/* Sorts; to be called once, after the last. */
void report_summary_end(struct report_summary *);
void report_summary_clear(struct report_summary *);

#endif
