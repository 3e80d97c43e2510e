/*
 * Word to the service manager (sd_notify(3) protocol): nothing happens when
 * nobody asked for it.
 */
#ifndef SMTPD_OUT_NOTIFY_H
#define SMTPD_OUT_NOTIFY_H

void notify_send(const char *state);	/* "READY=1" */

#endif
