/*
 * What the parts of the submitter's session share: inject_session.c has states,
 * input and life, inject_command.c the commands, inject_transfer.c the way
 * of a message to the queue.
 */
#ifndef SMTPD_OUT_INJECT_SESSION_INT_H
#define SMTPD_OUT_INJECT_SESSION_INT_H

#include "base/envelope.h"
#include "smtpd-out/inject/inject_parse.h"
#include "smtpd-out/inject/inject_session.h"

struct inject_txn {		/* from MAIL to the final reply */
	struct envelope *env;	/* NULL: no transaction */
	uint64_t *hashes;	/* of the recipients in env, for duplicates */
	size_t rcpt_replies;	/* RCPTs accepted, incl. duplicates */
	size_t pooled_bytes;	/* memory accounted for the envelope */
	bool smtputf8;
	struct inject_body body;
	bool body_begun;
	uint64_t request;	/* 0: the queue knows nothing yet */
	bool submitted;		/* the decision is the queue's now */
	uint64_t token;		/* of the file; 0: none */
	struct msg_rejected refusal;	/* the words behind REPLY_REFUSED */
};

struct inject_session {
	struct inject_session_args args;
	char origin[64];
	enum inject_state state;
	char helo[INJECT_HELO_BYTES];
	bool extended;		/* EHLO or LHLO was said, not HELO */
	bool tls_active;
	char tls[96];		/* "TLSv1.3 CIPHER" for Received */
	bool line_skipped;	/* within an over-long command line */
	bool stopping;
	unsigned errors;
	unsigned long messages;	/* transactions so far, for the token */
	struct buf out;
	struct inject_txn txn;
	uint64_t chunk_left;
	bool chunk_last;
	enum inject_reply chunk_fault;	/* not NONE: chunk is dropped */
	enum inject_state chunk_from;	/* and this state resumed */
	int64_t started_ms, active_ms;
};

/* The only function that changes a state. */
void inject_set_state(struct inject_session *, enum inject_state);
void inject_say(struct inject_session *, enum inject_reply);
void inject_say_text(struct inject_session *, int code, const char *enhanced,
	const char *text);
/* Says it, counts it when the submitter broke the protocol, and closes when
 * that was once too often. */
void inject_error(struct inject_session *, enum inject_reply);
void inject_close(struct inject_session *, enum inject_reply);

void inject_txn_clear(struct inject_session *);
/* Makes ready to receive text: Received header, limits. */
void inject_body_begin(struct inject_session *);
/* After text was taken, or when a file came: what is next? */
void inject_text_step(struct inject_session *);
void inject_chunk_step(struct inject_session *);
/* Ends the message with a fault; one_reply: in the middle of BDAT. */
void inject_txn_fail(struct inject_session *, enum inject_reply,
	bool one_reply);

/* Handles one command line without its line end. */
void inject_command(struct inject_session *, const char *line);

#endif
