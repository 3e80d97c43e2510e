/*
 * A queue that is not there: the port of a session under test, which keeps
 * what was submitted and answers as told.
 */
#ifndef TESTS_INJECT_FAKE_H
#define TESTS_INJECT_FAKE_H

#include "base/conf.h"
#include "smtpd-out/inject/inject_session.h"

enum fake_answer {
	FAKE_ACCEPT = 0,	/* queue id 1, 2, ... */
	FAKE_REJECT,		/* 452 4.3.1 no "space", bad octets */
	FAKE_SILENT,		/* the test answers, or nobody does */
	FAKE_BROKEN		/* the channel does not take it */
};

struct fake {
	struct conf conf;
	struct conf_listen listen;
	bool starttls;		/* of sessions to come */
	struct inject_pool pool;
	struct inject_session *session;
	enum fake_answer answer, file_answer, disk_answer;
	int disk_error;		/* with FAKE_REJECT: the errno */
	uint64_t last_request, last_token;
	bool submit_due, file_due, disk_due;
	bool syncing, durable;	/* the last file: its end is on the disk */
	uint64_t disk_bytes;	/* of the last file, written out */
	unsigned submits, opens, drops, forgets, writes;
	uint64_t dropped_token;
	struct envelope *env;	/* of the last submit */
	char *body;		/* of the last submit, NUL at its end */
	size_t body_len;
	int file_fd;		/* our copy of the last file handed out */
};

void fake_init(struct fake *, enum conf_protocol);
void fake_clear(struct fake *);
void fake_session(struct fake *);	/* a new one, not yet started */

/* Offers text in pieces of at most `step` octets (0: whole) and answers for
 * the queue as it goes; returns how much was used. */
size_t fake_feed(struct fake *, const char *text, size_t len, size_t step);
/* Gives the pending answers; false when there were none. */
bool fake_answer(struct fake *);
/* The disk's answer to what was asked last. */
void fake_disk(struct fake *, int error);

#endif
