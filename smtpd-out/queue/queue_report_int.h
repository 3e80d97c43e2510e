/*
 * Private to queue_report.c, report_send.c and report_make.c.
 */
#ifndef SMTPD_OUT_QUEUE_REPORT_INT_H
#define SMTPD_OUT_QUEUE_REPORT_INT_H

#include <sys/queue.h>

#include "base/table.h"
#include "smtpd-out/queue/queue_report.h"
#include "spool/report_store.h"

struct event;

struct report_key {
	int64_t day_s;
	char domain[SPOOL_REPORT_DOMAIN_MAX];
};

/* What was counted and is not on disk. */
struct report_pending {
	TAILQ_ENTRY(report_pending) link;
	struct report_key key;
	struct tlsrpt_report report;
	size_t bytes;			/* of texts that were added */
	bool applied;			/* in the transaction under way */
};

/* What a worker was asked for. */
struct report_flight {
	TAILQ_ENTRY(report_flight) link;
	uint64_t id, worker, row;
	int64_t started_ms;		/* monotonic */
	char domain[SPOOL_REPORT_DOMAIN_MAX];
	char url[SPOOL_REPORT_RUA_MAX];	/* of a post; "": who wants it? */
};

struct queue_report {
	/* queue_report.c */
	TAILQ_HEAD(, report_pending) pending;
	size_t bytes;			/* of all of them */
	struct table *by_key;		/* day and domain, as counted */
	int64_t day_s;			/* of which ...; -1: not known */
	size_t day_domains;		/* so many have a row */
	bool save, all;			/* with the next commit; whole */
	bool sweep, sweep_more;
	struct event *save_ev, *sweep_ev;
	struct queue_report_stats stats;
	/* report_send.c */
	TAILQ_HEAD(, report_flight) flights;
	uint64_t next_flight;
	struct event *send_ev;
	bool no_key_said;
};

/* queue_report.c */
bool report_totals(const struct spool_report *, struct tlsrpt_report *out);

/* report_send.c */
void report_send_init(struct queue *);
void report_send_clear(struct queue *);
void report_pump(struct queue *);	/* takes the next steps */
void report_tick(struct queue *, int64_t ms);	/* a pump by then */

/* ---- report_step.c ---- */

/* What came of asking for one row. */
struct step {
	struct spool_report row;
	struct spool_rua targets[TLSRPT_RUA_MAX];
	size_t count;
	/* Mail that goes into the queue with it. */
	struct envelope *env;
	struct buf mail;
	size_t sent, dropped;
	uint32_t ended;			/* targets, as bits, that did here */
};
_Static_assert(TLSRPT_RUA_MAX <= 32, "targets are bits");

/* One line in the log. */
void step_say(const struct spool_report *, const char *to, const char *status,
	const char *reason);
void step_end_target(struct step *, struct spool_rua *, enum spool_rua_state,
	const char *note);
void step_end_row(struct spool_report *, const char *note);
/* Makes the mail for the targets that want it and marks them; where it cannot
 * be made they are dropped. */
void step_mail(struct queue *, struct step *);
/* Durable, or nothing has changed; then it is tried again later. */
bool step_commit(struct queue *, struct step *);
void step_commit_all(struct queue *, struct step *const *list, size_t count);
void step_free(struct step *);

/* report_make.c: the report of a row as it is sent; false: its totals are
 * damaged, or the spool fails. */
struct report_made {
	struct tlsrpt_report report;
	unsigned part;
};
bool report_make(const struct queue *, const struct spool_report *,
	struct report_made *out);
void report_made_clear(struct report_made *);
/* As gzip for HTTPS; and as signed mail for these addresses. */
enum status report_make_gzip(const struct report_made *, struct buf *out)
	MUST_CHECK;
struct envelope *report_make_mail(const struct queue *,
	const struct report_made *, const char *const *to, size_t to_count,
	struct buf *out, char *err, size_t err_bytes);

#endif
