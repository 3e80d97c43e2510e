/*
 * One outgoing connection: several addresses raced (RFC 8305), then bytes both
 * ways in clear text or under TLS, and one deadline.
 *
 * The owner gets events, always from the loop and never inside a call of its
 * own.  A conn may be closed in its callback but not freed there.  The process
 * must ignore SIGPIPE (tls.h).
 */
#ifndef SMTPD_OUT_CONN_H
#define SMTPD_OUT_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "smtpd-out/client/session.h"
#include "smtpd-out/client/tls.h"

#define CONN_STAGGER_MS 250		/* RFC 8305 section 8 */
#define CONN_IN_MAX 16384		/* unread input */
#define CONN_OUT_MAX ((size_t)256 * 1024)	/* unsent output */

struct conn;

enum conn_event {
	CONN_WAKE = 0,	/* conn_wake() was called */
	CONN_UP,	/* connected; conn_ip() is known */
	CONN_TLS_UP,	/* handshake done */
	CONN_TLS_FAILED,/* handshake failed; conn_error() */
	CONN_INPUT,	/* there is something in conn_in(); take it all */
	CONN_WRITTEN,	/* some output left; only while watched */
	CONN_LOST,	/* over, or no address could be reached; conn_error() */
	CONN_DEADLINE	/* the deadline has passed */
};

typedef void conn_cb(enum conn_event, void *arg);

struct conn *conn_new(struct event_base *, conn_cb *, void *arg);
void conn_free(struct conn **);

/*
 * Races the addresses, which are copied: IPv6 and IPv4 by turns, IPv6 first,
 * the next one CONN_STAGGER_MS after the last or when one fails.  The first
 * that connects wins.
 */
void conn_connect(struct conn *, const struct session_addr *, size_t count);

struct buf *conn_in(struct conn *);
/* Output is appended here and sent after conn_flush(). */
struct buf *conn_out(struct conn *);
void conn_flush(struct conn *);
/* The output holds a secret: its memory is wiped once it has left. */
void conn_out_secret(struct conn *);

/*
 * Starts a handshake; CONN_TLS_UP or CONN_TLS_FAILED follows.  ST_DENIED when
 * a byte has come that was not asked for: whatever a peer, or somebody in
 * between, sent in clear text after its consent to STARTTLS must never be
 * read as said under TLS (RFC 3207 section 6, CVE-2011-0411).
 */
enum status conn_start_tls(struct conn *, struct tls_client *,
	const struct tls_params *) MUST_CHECK;

void conn_watch(struct conn *, bool input, bool written);
void conn_deadline(struct conn *, int64_t ms);	/* negative: none */
void conn_wake(struct conn *);
/* Ends it at once: unsent output is lost, no event follows. */
void conn_close(struct conn *);

const char *conn_error(const struct conn *);
const char *conn_ip(const struct conn *);	/* "" before CONN_UP */
/* Our end's address; "" when there is none. */
void conn_local_ip(const struct conn *, char *out, size_t out_bytes);
/* The TLS layer while there is one, for its names and errors; or NULL. */
const struct tls *conn_tls(const struct conn *);
/* Why the handshake failed, as TLSRPT names it. */
enum tls_failure conn_tls_failure(const struct conn *);

#endif
