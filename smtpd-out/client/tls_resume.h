/*
 * TLS sessions that may be resumed.  Private to tls.c.
 *
 * In a resumption the peer shows no certificate: the library brings back the
 * verdict of the first handshake, whatever that was about.  So a session is
 * offered only where everything that verification depends on is as it was then
 * (tls_resume_key()), it is kept only once what was demanded had been verified,
 * and the certificate that it came with is verified again (tls_verify_done()).
 *
 * Each session is used once (RFC 8446 C.4), and what comes of it lives no
 * longer than it would have (4.6.1): at last the certificate is shown again.
 * Bounded; the oldest go first.
 */
#ifndef SMTPD_OUT_TLS_RESUME_H
#define SMTPD_OUT_TLS_RESUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "policy/demand.h"

#define TLS_RESUME_KEY_BYTES 32
#define TLS_RESUME_MAX 512		/* sessions; and refusals */
#define TLS_RESUME_EACH_MAX 4		/* sessions of one key */
/* Of certificates and tickets, as they are sent: in memory a certificate of
 * many short names is fifty times that, and the peer chooses it. */
#define TLS_RESUME_BYTES (2 << 20)
#define TLS_RESUME_ONE_BYTES 16384	/* of one session */

struct tls_resume;

struct tls_kept {
	SSL_SESSION *session;
	int64_t proven_ms;	/* monotonic: its certificate was shown */
	size_t size_bytes;	/* of its certificates and its ticket */
};

/* lifetime_ms: no session is offered later than that after its certificate was
 * shown. */
struct tls_resume *tls_resume_new(int64_t lifetime_ms);
void tls_resume_free(struct tls_resume **);

/* The key of a connection: the address and port of the peer, the server name
 * that is sent, and every field of the demand; names, prints and records only
 * where they are verified.  False, and no session may be kept or offered, when
 * fd is not connected to an Internet address. */
bool tls_resume_key(const struct demand *, const char *server_name, int fd,
	uint8_t key[TLS_RESUME_KEY_BYTES]);

/* A session that may be offered, the caller's now; false without one. */
bool tls_resume_take(struct tls_resume *,
	const uint8_t key[TLS_RESUME_KEY_BYTES], struct tls_kept *out);
/* The session is taken over, whether it is kept or not. */
void tls_resume_put(struct tls_resume *,
	const uint8_t key[TLS_RESUME_KEY_BYTES], const struct tls_kept *);
/* A resumption failed: all handshakes are full ones for a lifetime. */
void tls_resume_refuse(struct tls_resume *,
	const uint8_t key[TLS_RESUME_KEY_BYTES]);

#endif
