/*
 * The submitter's end of an SMTP dialogue with our own service, over a
 * blocking socket: one message, then done.
 */
#ifndef SMTPD_OUT_SUBMIT_CLIENT_H
#define SMTPD_OUT_SUBMIT_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "smtpd-out/command/submit_header.h"

#define SUBMIT_REPLY_BYTES 600

struct submit_client {
	int fd;
	struct buf in;
	int code;			/* of the last reply; 0: lost */
	char text[SUBMIT_REPLY_BYTES];	/* its last line, after the code */
	bool requiretls;		/* one of its lines was REQUIRETLS */
	char host[256];			/* the service's name */
};

/* ST_SYS with errno when nobody listens at path. */
enum status submit_client_open(struct submit_client *, const char *path)
	MUST_CHECK;
void submit_client_close(struct submit_client *);

/* Reads one reply; false when the service is gone (code is then 0). */
bool submit_client_reply(struct submit_client *);
/* Sends all; false when the service is gone. */
bool submit_client_put(struct submit_client *, const void *, size_t);
/* Sends a line and reads the reply; true when its first digit is `digit`. */
bool submit_client_ask(struct submit_client *, const char *line, int digit);

#endif
