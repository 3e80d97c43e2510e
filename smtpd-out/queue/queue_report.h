/*
 * TLSRPT in the parent (RFC 8460): what workers count is added to the totals
 * of its day and domain; after the day it is sent to whoever asks for it.
 *
 * Totals wait in memory for TOTALS_WAIT_MS, then go with the next commit.  An
 * event is applied once: what a crash takes away was never on disk.
 *
 * A report is due at a random time within tlsrpt { spread } after its day.
 * The domain's worker finds out where it goes.  By mail: it is put into our own
 * queue in the transaction that marks it as sent, so that it goes exactly once.
 * By HTTPS: the worker posts it, then it is marked; after a crash between the
 * two it goes again with the same report-id, by which the receiver knows it.
 * What does not get through is tried for a day.
 */
#ifndef SMTPD_OUT_QUEUE_REPORT_H
#define SMTPD_OUT_QUEUE_REPORT_H

#include "smtpd-out/ipc/ipc_report.h"

struct queue;
struct spool_report;

#define REPORT_TOTALS_WAIT_MS 1000
#define REPORT_FLIGHT_MAX 20	/* asked of workers at a time */

/* From a worker.  ST_DENIED: not a domain of its own. */
enum status queue_tlsrpt(struct queue *, uint64_t worker,
	const struct msg_tlsrpt *) MUST_CHECK;
/* An answer; late ones are ignored. */
enum status queue_report_done(struct queue *, uint64_t worker, uint64_t id,
	const struct msg_report *) MUST_CHECK;

/* The operator wants reports sent now: of past days; with `today` also of this
 * one, so far.  domain NULL: all.  The rows are marked with the ticket. */
enum status queue_report_send(struct queue *, bool today, const char *domain,
	int64_t *ticket_ms_out, uint64_t *count_out) MUST_CHECK;

/* The report of a row as it is sent, in its wire form (tlsrpt.h); false when
 * its totals are damaged. */
bool queue_report_encode(const struct queue *, const struct spool_report *,
	struct buf *out);

struct queue_report_stats {
	uint64_t overflow;		/* events without a place in a day */
	uint64_t sent, dropped;		/* targets */
	size_t flights;
};
void queue_report_stats(const struct queue *, struct queue_report_stats *out);

#endif
