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
#include "smtpd-out/ipc/ipc.h"

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
	IPC_STS_GET,	/* worker -> parent: struct msg_sts, MSG_STS_GET */
	IPC_STS,	/* parent -> worker: struct msg_sts */
	IPC_STS_SAVE,	/* worker -> parent: struct msg_sts */
	IPC_DEST_HOLD,	/* worker -> parent: struct msg_dest_hold */
	IPC_LIMITS,	/* parent -> worker: struct msg_limits */
	IPC_TLSRPT,	/* worker -> parent: struct msg_tlsrpt */
	IPC_REPORT,	/* parent -> worker: struct msg_report */
	IPC_REPORT_DONE,	/* worker -> parent: struct msg_report */
	IPC_PING,	/* parent -> child: are you there? */
	IPC_PONG,	/* child -> parent: yes; answered by ipc.c */
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

/* For the payloads of other files: an outcome, and a string into a fixed
 * field (too long is a fault, none is ""; sanitised). */
enum status msg_outcome_put(struct buf *, const struct outcome *) MUST_CHECK;
void msg_outcome_get(struct reader *, struct outcome *);
void msg_fixed_get(struct reader *, char *out, size_t out_bytes);

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

/*
 * MTA-STS policies (RFC 8461).  The parent keeps them and reads nothing of
 * their text; a worker asks at the first use of a domain and keeps what it
 * works with.
 *
 * STS_GET, id = the worker's request number, is answered by one STS with that
 * id and MSG_STS_ANSWER (text NULL: no policy that is in force).  STS with id
 * 0 or a number of the parent's comes unasked: _FORGET (the operator: nothing
 * is known of the domain any more, fetch anew when mail comes) and _REFRESH
 * (look for a new policy now, whatever the id says).  An answer that comes
 * late or was not asked for is ignored.
 *
 * STS_SAVE: _FETCHED, _FAILED or _USED; or _ABSENT, which only ends a refresh.
 * Its id is that of the _REFRESH that it ends, or 0.  A domain must be one
 * that the worker serves; anything else ends the worker.
 */
enum msg_sts_what {
	MSG_STS_GET = 0,	/* what is known?  (domain) */
	MSG_STS_ANSWER,		/* all of it */
	MSG_STS_FORGET,		/* (domain) */
	MSG_STS_REFRESH,	/* (domain) */
	MSG_STS_FETCHED,	/* a policy: domain, id, text, fetched_s,
				 * expires_s, used_s (0: no mail just now); the
				 * same again when only its time is new */
	MSG_STS_FAILED,		/* a fetch failed: domain, tried_s, next_try_s,
				 * failures, failure, error, used_s; an older
				 * policy stays in force */
	MSG_STS_USED,		/* mail went by it: domain, used_s; at most
				 * once a day */
	MSG_STS_ABSENT,		/* a refresh found no record: domain, error */
	MSG_STS_WHATS
};

/* What the operator's lists say of a domain without a policy of its own. */
enum msg_sts_list { MSG_STS_LIST_NONE = 0, MSG_STS_LIST_TESTING,
	MSG_STS_LIST_ENFORCE };

#define MSG_STS_ID_MAX 33		/* with the NUL */
#define MSG_STS_TEXT_MAX 65536		/* of a policy, as it was fetched */
#define MSG_STS_ERROR_MAX 256
#define MSG_STS_LIST_MX_MAX 64		/* patterns, as in a policy */

struct msg_sts {
	enum msg_sts_what what;
	char domain[256];
	bool found;			/* any of the following is known */
	char id[MSG_STS_ID_MAX];
	char *text;			/* owned; NULL: no policy in force */
	size_t text_len;		/* text[text_len] is NUL */
	int64_t fetched_s, expires_s;	/* with a text, else 0 */
	int64_t used_s;			/* last mail, 0: none */
	int64_t tried_s, next_try_s;	/* of a failed fetch, else 0 */
	uint32_t failures;		/* in a row */
	enum tls_failure failure;	/* of the last one */
	char error[MSG_STS_ERROR_MAX];	/* and a sentence, or "" */
	enum msg_sts_list list_mode;	/* with _ANSWER */
	char **list_mx;			/* owned: as in struct sts_policy */
	size_t list_mx_count;
	int64_t list_expires_s;		/* not to be used from then on */
};
enum status msg_sts_encode(const struct msg_sts *, struct buf *) MUST_CHECK;
enum status msg_sts_decode(struct reader *, struct msg_sts *) MUST_CHECK;
void msg_sts_clear(struct msg_sts *);

#endif
