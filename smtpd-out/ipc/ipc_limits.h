/*
 * Payloads about destinations as a whole: which one is down (DEST_HOLD), and
 * what the operator allows (LIMITS).
 */
#ifndef SMTPD_OUT_IPC_LIMITS_H
#define SMTPD_OUT_IPC_LIMITS_H

#include "base/buf.h"
#include "base/conf.h"
#include "base/err.h"

/*
 * DEST_HOLD, worker -> parent: no mail of the destination before until_s
 * (Unix time), because of the outcome (verdict "later").  The parent hands
 * out none till then, new mail included; jobs that are out are not touched.
 * A later one replaces it.  until_s 0: it works again, now.  The parent bounds
 * the time by the longest retry interval.  Not an attempt of any message.
 */
struct msg_dest_hold {
	char destination[256];
	int64_t until_s;
	struct outcome outcome;		/* not looked at when until_s is 0 */
};
enum status msg_dest_hold_encode(const struct msg_dest_hold *, struct buf *)
	MUST_CHECK;
enum status msg_dest_hold_decode(struct reader *, struct msg_dest_hold *)
	MUST_CHECK;

/* LIMITS, parent -> worker: every rule that was set at run time; each one
 * replaces all before it.  Comes before the first JOB. */
#define MSG_LIMITS_MAX 1000
struct msg_limit_rule {
	bool host;		/* of an MX host, else of a destination */
	char match[257];	/* "a.example" or ".example" */
	struct conf_bounds bounds;	/* 0: not set by this rule */
};
struct msg_limits {
	uint32_t workers;	/* that share what holds for all, 1..1024 */
	struct msg_limit_rule *rules;
	size_t count;
};
enum status msg_limits_encode(const struct msg_limits *, struct buf *)
	MUST_CHECK;
enum status msg_limits_decode(struct reader *, struct msg_limits *)
	MUST_CHECK;
void msg_limits_clear(struct msg_limits *);

#endif
