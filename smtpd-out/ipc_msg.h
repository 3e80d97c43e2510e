/*
 * The messages between parent and children: one table, and the payloads.
 *
 * Payload structs own their strings; *_free releases.  Decoders bound every
 * field and return NULL or ST_PARSE on any fault.
 */
#ifndef SMTPD_OUT_IPC_MSG_H
#define SMTPD_OUT_IPC_MSG_H

#include "base/envelope.h"
#include "base/err.h"
#include "policy/remember.h"
#include "smtpd-out/ipc.h"

#define IPC_VERSION 1
#define IPC_PAYLOAD_MAX (16U * 1024 * 1024)

enum ipc_type {
	IPC_NONE = 0,
	IPC_HELLO,	/* child -> parent: u16 IPC_VERSION */
	IPC_STOP,	/* parent -> child: finish and exit */
	IPC_SUBMIT,	/* inject -> parent: struct msg_submit */
	IPC_ACCEPTED,	/* parent -> inject: u64 queue id; durable now */
	IPC_REJECTED,	/* parent -> inject: struct msg_rejected */
	IPC_BODY_OPEN,	/* inject -> parent: wants a file for a large body */
	IPC_BODY_FILE,	/* parent -> inject: u64 token, descriptor attached */
	IPC_BODY_DROP,	/* inject -> parent: u64 token, not needed any more */
	IPC_JOB,	/* parent -> worker: struct msg_job */
	IPC_RESULT,	/* worker -> parent: struct msg_result */
	IPC_POLICY,	/* parent -> worker: struct msg_policy */
	IPC_POLICY_SAVE,	/* worker -> parent: struct msg_policy */
	IPC_TYPE_COUNT
};

/* Which descriptor travels with a frame. */
enum ipc_fd_rule { IPC_FD_NONE = 0, IPC_FD_MAY, IPC_FD_MUST };

struct ipc_msg_row {
	const char *name;
	unsigned from, to;		/* sets of 1 << enum ipc_side */
	bool before_hello;		/* the first frame of a child, once */
	size_t min_bytes, max_bytes;	/* of the payload */
	enum ipc_fd_rule fd;
};

/* The row when `from` may send `type` to `to`; NULL when it may not. */
const struct ipc_msg_row *ipc_msg_row(uint16_t type, enum ipc_side from,
	enum ipc_side to);

/* SUBMIT, id = inject's request number (also of BODY_OPEN and the replies).
 * The body is inline (body, len) or in the file of an earlier BODY_FILE. */
struct msg_submit {
	struct envelope *env;
	const uint8_t *body;	/* borrowed from the frame; NULL: file */
	size_t body_len;
	uint64_t file_token;
};
enum status msg_submit_encode(const struct msg_submit *, struct buf *)
	MUST_CHECK;
enum status msg_submit_decode(struct reader *, struct msg_submit *)
	MUST_CHECK;

struct msg_rejected {
	int code;		/* 452, 451, 554 ... */
	char enhanced[OUTCOME_ENHANCED_MAX];
	char text[OUTCOME_TEXT_MAX];
};
enum status msg_rejected_encode(const struct msg_rejected *, struct buf *)
	MUST_CHECK;
enum status msg_rejected_decode(struct reader *, struct msg_rejected *)
	MUST_CHECK;

/* JOB, id = job number; body inline or the frame's descriptor. */
struct msg_job {
	struct envelope *env;	/* recipients of one destination only */
	char *destination;
	uint32_t attempt;	/* 1 for the first */
	const uint8_t *body;	/* borrowed; NULL: descriptor */
	size_t body_len;
};
enum status msg_job_encode(const struct msg_job *, struct buf *) MUST_CHECK;
enum status msg_job_decode(struct reader *, struct msg_job *) MUST_CHECK;
void msg_job_clear(struct msg_job *);

/* RESULT, id = job number.  Several may come for one job, each for recipients
 * that are settled; the one with `final` ends the job. */
struct msg_rcpt_result {
	uint64_t rcpt_id;
	bool dsn_relayed;
	struct outcome outcome;
	char mx[256], ip[64];
	char tls[16], why[24], proto[16], cipher[64];
};
#define MSG_TRAIL_MAX 1024

struct msg_result {
	bool final;
	/* With `final`: "host: what happened; host: ..." of the hosts that
	 * were tried in vain, cut; for notices. */
	char trail[MSG_TRAIL_MAX];
	struct msg_rcpt_result *rcpts;
	size_t rcpt_count;
};
enum status msg_result_encode(const struct msg_result *, struct buf *)
	MUST_CHECK;
enum status msg_result_decode(struct reader *, struct msg_result *)
	MUST_CHECK;
void msg_result_clear(struct msg_result *);

/* POLICY: what is remembered of hosts now (level 0: nothing any more); comes
 * before the first JOB and after each change.  POLICY_SAVE: what a session
 * achieved (last_s is not looked at). */
#define MSG_POLICY_HOSTS_MAX 500
struct msg_policy_host {
	char host[256];
	enum remember_level level;
	int64_t last_s;
};
struct msg_policy {
	struct msg_policy_host *hosts;
	size_t count;
};
enum status msg_policy_encode(const struct msg_policy *, struct buf *)
	MUST_CHECK;
enum status msg_policy_decode(struct reader *, struct msg_policy *)
	MUST_CHECK;
void msg_policy_clear(struct msg_policy *);

#endif
