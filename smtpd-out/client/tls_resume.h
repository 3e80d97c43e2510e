/*
 * TLS sessions that may be resumed.  Private to tls.c.
 *
 * In a resumption the peer shows no certificate: the library brings back the
 * verdict of the first handshake, whatever that was about.  So a session is
 * offered only where everything that verification depends on is as it was then
 * (tls_resume_key()), it is kept only once what was demanded had been verified,
 * and the certificate that it came with is verified again (tls_verify_done()).
 *
 * Each session is used once (RFC 8446 C.4).  Bounded; the oldest go first.
 */
#ifndef SMTPD_OUT_TLS_RESUME_H
#define SMTPD_OUT_TLS_RESUME_H

#include <stdbool.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "policy/demand.h"

#define TLS_RESUME_KEY_BYTES 32
#define TLS_RESUME_MAX 512		/* sessions */
#define TLS_RESUME_EACH_MAX 4		/* of one key */

struct tls_resume;

/* lifetime_ms: no session is offered later than that after it was made. */
struct tls_resume *tls_resume_new(int64_t lifetime_ms);
void tls_resume_free(struct tls_resume **);

/* The key of a connection: the address and port of the peer, the server name
 * that is sent, and every field of the demand; names, prints and records only
 * where they are verified.  False, and no session may be kept or offered, when
 * fd is not connected to an Internet address. */
bool tls_resume_key(const struct demand *, const char *server_name, int fd,
	uint8_t key[TLS_RESUME_KEY_BYTES]);

/* A session that may be offered, the caller's now; NULL without one. */
SSL_SESSION *tls_resume_take(struct tls_resume *,
	const uint8_t key[TLS_RESUME_KEY_BYTES]);
/* The session is taken over. */
void tls_resume_put(struct tls_resume *,
	const uint8_t key[TLS_RESUME_KEY_BYTES], SSL_SESSION *);
/* A resumption failed: the next handshakes are full ones. */
void tls_resume_drop(struct tls_resume *,
	const uint8_t key[TLS_RESUME_KEY_BYTES]);

#endif
