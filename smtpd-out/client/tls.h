/*
 * TLS for the SMTP client: one context shared by the sessions of a worker, and
 * one struct tls for each connection.  The only client file that sees OpenSSL.
 *
 * What a connection must verify is decided when it is made, from its demand:
 * DEMAND_MAY and DEMAND_ENCRYPT take any certificate (RFC 7435), the others
 * verify it within the handshake, so that a connection that comes up has what
 * was demanded:
 *	DANE		TLSA records (RFC 7672 3.1): usage 3 by itself, without
 *			names and dates; usage 2 with names and dates
 *	PKIX		a chain to the CA file, and a name in subjectAltName
 *	FINGERPRINT	SHA-256 of the certificate or of its public key
 * What a demand only watches (MTA-STS in testing mode) is judged after that,
 * and changes nothing.
 * Sessions are resumed only under an equal demand of the same host, and
 * verified again (tls_resume.h); a resumption that fails is no failure of the
 * host.
 *
 * OpenSSL writes to the socket with write(2): the process must ignore SIGPIPE.
 */
#ifndef SMTPD_OUT_TLS_H
#define SMTPD_OUT_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/conf.h"
#include "base/err.h"
#include "policy/demand.h"

#define TLS_ERROR_MAX 256

struct cert_report;
struct tls_client;
struct tls;

enum tls_result {
	TLS_OK = 0,
	TLS_WANT_READ,		/* again when the socket is readable */
	TLS_WANT_WRITE,		/* again when it is writable */
	TLS_ENDED,		/* the peer closed in order */
	TLS_FAILED		/* tls_error() says why */
};

/* What is demanded of one connection; demand outlives the struct tls. */
struct tls_params {
	const char *host;	/* for SNI (RFC 6066 3), unless a literal */
	const struct demand *demand;
	bool full;			/* no session is offered */
};

/* NULL with a reason in err when the library or its files fail.  OpenSSL reads
 * its configuration here: call it before the sandbox is entered. */
struct tls_client *tls_client_new(const struct conf *,
	char err[TLS_ERROR_MAX]);
void tls_client_free(struct tls_client **);	/* after all its sessions */
/* Keeps sessions for so long; without this each handshake is a full one. */
void tls_client_resume(struct tls_client *, int64_t lifetime_ms);

/* Prepares a handshake on a connected non-blocking socket, which stays the
 * caller's.  NULL with a reason in err. */
struct tls *tls_new(struct tls_client *, const struct tls_params *, int fd,
	char err[TLS_ERROR_MAX]);
void tls_free(struct tls **);

/* TLS_OK: done, and all that the demand asks of the peer is verified. */
enum tls_result tls_handshake(struct tls *) MUST_CHECK;
enum tls_result tls_read(struct tls *, void *, size_t, size_t *got_out)
	MUST_CHECK;
enum tls_result tls_write(struct tls *, const void *, size_t,
	size_t *sent_out) MUST_CHECK;
bool tls_pending(const struct tls *);	/* bytes wait inside */
void tls_goodbye(struct tls *);		/* close_notify, without waiting */

const char *tls_error(const struct tls *);
/* A session was offered, and the peer has said nothing under it yet: when the
 * connection fails now it may be the session, which is not offered again. */
bool tls_offered(const struct tls *);
/* With DEMAND_WATCH_HOST, after the handshake: what would have failed under a
 * demand for that, and a sentence; TLS_FAILURE_NONE when nothing. */
enum tls_failure tls_watched(const struct tls *, const char **text_out);
/* After the handshake: what of the demand's alternatives was there. */
void tls_proof(const struct tls *, struct demand_proof *out);
/* What kind of failure that was (RFC 8460 4.3). */
enum tls_failure tls_failure(const struct tls *);
/* True when the failure is the peer's alert or a protocol fault, not just the
 * end of the connection. */
bool tls_refused(const struct tls *);
const char *tls_proto(const struct tls *);	/* "TLSv1.3" */
const char *tls_cipher(const struct tls *);

/* What the peer has shown, once the handshake has come to an end; the chain
 * also when its verification failed.  Owned by the caller (cert_report.h).
 * name: who its certificate is tried for against the known authorities; NULL:
 * it is not. */
struct cert_report *tls_report(const struct tls *, const char *name);

#endif
