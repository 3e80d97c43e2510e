/*
 * The operator's socket: one request, one answer, by local users that may
 * (root and the user the service runs as).
 *
 * A request is one line of JSON; the answer is lines of JSON, the last one
 * {"end":true,...} with "error" when it failed.  "cat" answers one line and
 * then the raw message.  Format: smtpd-out-ipc(7) is about children only;
 * this one is private to `smtpd-out queue` of the same version.
 */
#ifndef SMTPD_OUT_CONTROL_H
#define SMTPD_OUT_CONTROL_H

#include "base/conf.h"
#include "smtpd-out/queue/queue.h"
#include "spool/spool.h"

struct control;

enum status control_new(struct event_base *, const struct conf *,
	struct spool *, struct queue *, struct control **out,
	char err[CONF_ERR_MAX]) MUST_CHECK;
void control_free(struct control **);

#endif
