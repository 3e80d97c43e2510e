/*
 * TLSRPT between worker and parent (RFC 8460): what sessions showed, and the
 * steps of sending a report that need the network.
 *
 * TLSRPT carries events of domains that the worker serves; it is not answered.
 * REPORT, id = the parent's number, asks the worker of a domain to _FIND where
 * reports go or to _POST one; REPORT_DONE with that id answers, once.  An
 * answer that comes late is ignored.
 */
#ifndef SMTPD_OUT_IPC_REPORT_H
#define SMTPD_OUT_IPC_REPORT_H

#include "base/buf.h"
#include "policy/tlsrpt.h"
#include "policy/tlsrpt_record.h"

#define MSG_TLSRPT_MAX 200		/* events in one message */
#define MSG_TLSRPT_BYTES_MAX (2U << 20)
#define MSG_REPORT_TARGET_MAX 1024	/* with the NUL; longer: left out */
#define MSG_REPORT_TEXT_MAX 256
#define MSG_REPORT_BODY_MAX (4U << 20)

struct msg_tlsrpt {
	struct tlsrpt_event *events;
	size_t count;
};
enum status msg_tlsrpt_encode(const struct msg_tlsrpt *, struct buf *)
	MUST_CHECK;
enum status msg_tlsrpt_decode(struct reader *, struct msg_tlsrpt *)
	MUST_CHECK;
void msg_tlsrpt_clear(struct msg_tlsrpt *);

enum msg_report_what {
	MSG_REPORT_FIND = 0,	/* parent: who wants reports of the domain? */
	MSG_REPORT_POST,	/* parent: give this to the https target */
	MSG_REPORT_FOUND,	/* worker: these targets, at least one */
	MSG_REPORT_ABSENT,	/* worker: nobody does; text may say why */
	MSG_REPORT_TAKEN,	/* worker: the server answered 2xx */
	MSG_REPORT_FAILED,	/* worker: try again later; text */
	MSG_REPORT_WHATS
};

struct msg_report_target {
	enum tlsrpt_kind kind;
	char text[MSG_REPORT_TARGET_MAX];	/* address, or URL */
};

struct msg_report {
	enum msg_report_what what;
	char domain[256];
	char text[MSG_REPORT_TEXT_MAX];
	struct msg_report_target *targets;	/* owned; POST: one */
	size_t target_count;
	uint8_t *body;				/* owned; POST: gzip */
	size_t body_len;
};
enum status msg_report_encode(const struct msg_report *, struct buf *)
	MUST_CHECK;
enum status msg_report_decode(struct reader *, struct msg_report *)
	MUST_CHECK;
void msg_report_clear(struct msg_report *);
/* What the receiver takes for a target; a worker that sends another ends. */
bool msg_report_target_ok(enum tlsrpt_kind, const char *text);
void msg_report_add_target(struct msg_report *, enum tlsrpt_kind,
	const char *text);

#endif
