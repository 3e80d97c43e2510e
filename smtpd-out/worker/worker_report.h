/*
 * TLSRPT in a worker: what its sessions show goes to the parent; where reports
 * of a domain go is looked up here, and what goes by HTTPS is posted here.
 */
#ifndef SMTPD_OUT_WORKER_REPORT_H
#define SMTPD_OUT_WORKER_REPORT_H

#include "base/conf.h"
#include "smtpd-out/ipc/ipc.h"

struct event_base;
struct resolver;
struct tls_note;
struct worker_report;

#define WORKER_REPORT_JOBS_MAX 200	/* at a time; the parent asks less */

/* conf is borrowed. */
struct worker_report *worker_report_new(struct event_base *,
	const struct conf *, struct resolver *, struct ipc *);
void worker_report_free(struct worker_report **);

void worker_report_note(struct worker_report *, const struct tls_note *);
/* Before the channel ends. */
void worker_report_flush(struct worker_report *);
/* A REPORT frame; fails the channel when it is malformed. */
void worker_report_take(struct worker_report *, struct ipc_frame *);

#endif
