/*
 * The server side of one SMTP (RFC 5321) or LMTP (RFC 2033) session with a
 * submitter.  A plain state machine: bytes in, bytes out, and questions to
 * the queue through struct inject_port.  No descriptors but the body file, no
 * event loop; time comes from base/clock.
 *
 * Life: new, start (the greeting or a refusal stands in the output), then
 * input whenever bytes came or an answer of the queue arrived, until
 * inject_session_done(); free at any time, which gives up what is unfinished.
 *
 * A message is acknowledged only after inject_session_accepted().
 */
#ifndef SMTPD_OUT_INJECT_SESSION_H
#define SMTPD_OUT_INJECT_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "smtpd-out/inject/inject_body.h"
#include "smtpd-out/inject/inject_reply.h"
#include "smtpd-out/ipc/ipc_msg.h"

struct inject_session;

/*
 * The way to the queue and to the disk.  request() gives a number; what is
 * answered to it is brought to the session by the caller of
 * inject_session_accepted(), _rejected(), _file() or _written() until
 * forget().  A file that comes after forget() must be dropped by the port
 * itself.  Nothing here calls back at once.
 */
struct inject_port {
	uint64_t (*request)(void *arg, struct inject_session *);
	void (*forget)(void *arg, uint64_t request);
	enum status (*submit)(void *arg, uint64_t request,
		const struct msg_submit *);
	enum status (*body_open)(void *arg, uint64_t request);
	void (*body_drop)(void *arg, uint64_t request, uint64_t token);
	/* False, with errno: it cannot be done, no answer comes. */
	bool (*write_out)(void *arg, uint64_t request,
		const struct inject_write *);
};

struct inject_session_args {	/* borrowed; outlive the session */
	const struct conf *conf;
	const struct conf_listen *listen;
	struct inject_pool *pool;
	const struct inject_port *port;
	void *port_arg;
	uint64_t id;		/* "id" in Received, in the log */
	const char *origin;	/* copied: "uid 1000" or "[192.0.2.1]" */
	bool starttls;		/* may be offered */
};

enum inject_state {
	INJECT_NEW = 0,		/* before the greeting */
	INJECT_GREETED,		/* wants EHLO, HELO or LHLO */
	INJECT_STARTTLS,	/* 220 was said: then the handshake */
	INJECT_READY,		/* no transaction */
	INJECT_MAIL,		/* sender given, no recipient yet */
	INJECT_RCPT,		/* at least one recipient */
	INJECT_DATA,		/* text up to CRLF.CRLF */
	INJECT_BDAT,		/* between chunks */
	INJECT_CHUNK,		/* octets of a chunk */
	INJECT_SPILL,		/* waits for a file of the queue */
	INJECT_DISK,		/* waits for the disk to have the text */
	INJECT_SUBMIT,		/* waits for the queue's decision */
	INJECT_CLOSING,		/* only output is left */
	INJECT_STATE_COUNT
};

#define INJECT_LINE_BYTES 2048	/* longest command line we look at */

struct inject_session *inject_session_new(const struct inject_session_args *);
void inject_session_free(struct inject_session **);

/* Greets, or with a reply other than REPLY_NONE says that and closes. */
void inject_session_start(struct inject_session *, enum inject_reply refusal);

/* Returns how many bytes were used; the caller keeps the rest and offers it
 * again with what follows.  Needs room for INJECT_LINE_BYTES + 1 bytes to
 * make progress.  May use nothing while the queue is asked or output waits. */
size_t inject_session_input(struct inject_session *, const uint8_t *, size_t);
/* False while input would not be used. */
bool inject_session_wants_input(const struct inject_session *);
/* Unsent replies; the caller drains them. */
struct buf *inject_session_output(struct inject_session *);
bool inject_session_done(const struct inject_session *);

/*
 * In INJECT_STARTTLS, once the output has gone, the caller must make sure that
 * nothing was sent in clear text behind the command (RFC 3207 section 6,
 * CVE-2011-0411) and then shake hands.  After this the session begins anew;
 * what was said before is forgotten.
 */
void inject_session_tls_up(struct inject_session *, const char *proto,
	const char *cipher);

/* Answers of the queue.  After each, offer kept input again. */
void inject_session_accepted(struct inject_session *, uint64_t queue_id);
void inject_session_rejected(struct inject_session *,
	const struct msg_rejected *);
/* Takes the descriptor. */
void inject_session_file(struct inject_session *, int fd, uint64_t token);
/* Of the disk: error is 0 or an errno. */
void inject_session_written(struct inject_session *, int error);

/* The service stops: ends now, or after the message in transfer. */
void inject_session_stop(struct inject_session *);
/* When inject_session_timeout() wants to be called (clock_mono_ms). */
int64_t inject_session_deadline_ms(const struct inject_session *);
void inject_session_timeout(struct inject_session *);

enum inject_state inject_session_state(const struct inject_session *);
const char *inject_state_name(enum inject_state);

#endif
