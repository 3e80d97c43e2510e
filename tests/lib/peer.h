/*
 * A scripted SMTP or HTTPS server on loopback, for tests: one connection (or
 * one after the other), one script, in a thread of its own.  It does what a
 * server should, or what none should.
 */
#ifndef TESTS_LIB_PEER_H
#define TESTS_LIB_PEER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "tests/lib/cert.h"

#define PEER_STEPS_MAX 96
#define PEER_BODY_MAX (64U * 1024 * 1024)

struct peer;

enum peer_op {
	PEER_END = 0,	/* closes the connection */
	PEER_SEND,	/* sends text */
	PEER_BYTES,	/* sends the first n bytes of text */
	PEER_DRIP,	/* sends text, a byte each n ms; stops when cut off */
	PEER_FLOOD,	/* sends text again and again until cut off */
	PEER_EXPECT,	/* reads a line that begins with text */
	PEER_LINE,	/* reads a line that is text and no more */
	PEER_LINES,	/* reads n lines, answers each with text */
	PEER_QUIET,	/* nothing may come for n ms */
	PEER_BODY,	/* reads up to the final dot, unstuffs, keeps it */
	PEER_DISCARD,	/* reads up to the final dot, keeps nothing */
	PEER_NEVER,	/* reads to the end of the connection; no line may be
			 * text, or hold it if it is a word */
	PEER_CHUNK,	/* reads one BDAT and its bytes, keeps them; text is
			 * "LAST" or "" */
	PEER_CHUNKS,	/* reads BDAT up to LAST, answers each with 250 */
	PEER_TLS,	/* full handshake, with n = 1 a resumption; text is the
			 * SNI to expect ("" for none), or NULL */
	PEER_TLS_FAIL,	/* a handshake that must fail: n is 1 to demand a
			 * certificate, the newest version spoken, or 0 */
	PEER_TLS_TRY,	/* a full handshake that may succeed or fail */
	PEER_HEAD,	/* reads lines up to an empty one, keeps them */
	PEER_TAKE,	/* reads n bytes, keeps them */
	PEER_BYE,	/* says that TLS ends here */
	PEER_SLEEP,	/* n ms */
	PEER_WAIT,	/* reads and ignores until the client closes */
	PEER_SLOW_READ,	/* reads n bytes every 20 ms until closed */
	PEER_CUT,	/* closes with a reset */
	PEER_AGAIN	/* closes, and waits for the next connection */
};

struct peer_step {
	enum peer_op op;
	const char *text;
	size_t n;
};

/* Steps are copied up to the first PEER_END; family is AF_INET or AF_INET6. */
struct peer *peer_start(int family, const struct peer_step *);
/* With a certificate of that kind instead of a self-signed one. */
struct peer *peer_start_cert(int family, const struct peer_step *,
	const struct cert_spec *);
const struct cert *peer_cert(const struct peer *);
/* Waits for the end of the script.  NULL when all went as written; else what
 * did not, valid until peer_free(). */
const char *peer_join(struct peer *);
void peer_free(struct peer **);

void peer_addr(const struct peer *, struct sockaddr_storage *, socklen_t *);
/* After peer_join(): what all PEER_BODY, PEER_CHUNK, PEER_HEAD and PEER_TAKE
 * steps kept. */
const struct buf *peer_body(const struct peer *);

#endif
