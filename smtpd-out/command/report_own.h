/*
 * What this system has counted of others, and what became of its reports: asked
 * of the daemon, kept as plain data.
 */
#ifndef SMTPD_OUT_REPORT_OWN_H
#define SMTPD_OUT_REPORT_OWN_H

#include "policy/tlsrpt.h"

struct report_target {
	char *to;
	char *state;			/* "waiting", "sent", "dropped" */
	char *note;
	int64_t due_s;
	unsigned tries;
};

struct report_own {			/* a report: day, domain, part */
	struct tlsrpt_report report;
	int64_t day_s, due_s;
	unsigned part, tries;
	char *state;			/* "open", "sending", "done" */
	char *note;
	struct report_target *targets;
	size_t target_count;
};

struct report_own_set {
	struct report_own *items;
	size_t count;
	uint64_t overflow;		/* events that found no place */
};

struct report_own_query {
	const char *control;		/* control_client_find() */
	const char *domain;		/* NULL: all */
	int64_t from_s, to_s;		/* days, both included; to_s 0: all */
	int64_t ticket;			/* 0: all */
};

/* The exit status; what went wrong was said. */
int report_own_get(const struct report_own_query *, struct report_own_set *);
void report_own_clear(struct report_own_set *);

/* One report for each domain and day, its parts added up; owned array. */
struct tlsrpt_report *report_own_days(const struct report_own_set *,
	size_t *count_out);

#endif
