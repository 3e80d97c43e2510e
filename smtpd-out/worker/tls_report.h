/*
 * The worker's end of TLSRPT: what sessions show is added up for a second or
 * until it is much, then handed to the parent.  A session costs no message.
 */
#ifndef SMTPD_OUT_TLS_REPORT_H
#define SMTPD_OUT_TLS_REPORT_H

#include "smtpd-out/ipc/ipc_report.h"
#include "smtpd-out/worker/tls_event.h"

struct event_base;
struct tls_report;

#define TLS_REPORT_WAIT_MS 1000
#define TLS_REPORT_EVENTS_MAX 100	/* distinct ones */
#define TLS_REPORT_BYTES_MAX (256U << 10)

/* msg is borrowed. */
typedef void tls_report_cb(const struct msg_tlsrpt *msg, void *arg);

struct tls_report *tls_report_new(struct event_base *, const struct conf *,
	tls_report_cb *, void *arg);
/* What was not handed over is lost. */
void tls_report_free(struct tls_report **);

void tls_report_note(struct tls_report *, const struct tls_note *);
/* Hands over what there is. */
void tls_report_flush(struct tls_report *);

#endif
