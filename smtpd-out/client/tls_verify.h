/*
 * From a demand to what OpenSSL verifies in the handshake, and from its verdict
 * to words.  Private to tls.c.
 */
#ifndef SMTPD_OUT_TLS_VERIFY_H
#define SMTPD_OUT_TLS_VERIFY_H

#include <stdbool.h>
#include <stddef.h>

#include <openssl/ssl.h>

#include "base/conf.h"
#include "base/err.h"
#include "policy/demand.h"
#include "smtpd-out/client/tls_store.h"

/* What all connections have in common. */
struct tls_setting {
	const struct conf *conf;
	struct tls_stores *stores;
};

/* False when the demand cannot be applied whole: the connection must then not
 * be made. */
bool tls_verify_apply(SSL *, const struct demand *,
	const struct tls_setting *);

/* After a handshake that succeeded: what was demanded is there.  Asked of
 * every connection, whatever the library said before; in a resumption, where it
 * verifies nothing, the certificate of the first handshake is verified
 * again. */
bool tls_verify_done(SSL *, const struct demand *);

/* After that: which of the names and records it was. */
void tls_verify_proof(SSL *, const struct demand *,
	struct demand_proof *out);

/* After a handshake that succeeded, with DEMAND_WATCH_HOST: whether what the
 * demand only watches was there, too.  TLS_FAILURE_NONE, or what would have
 * failed and a sentence. */
enum tls_failure tls_verify_watch(SSL *, const struct demand *,
	const struct tls_setting *, char *text, size_t text_bytes);

/* The same for any name and a chain, its certificate first (not empty), without
 * regard to the version of TLS. */
enum tls_failure tls_verify_apart(SSL *, STACK_OF(X509) *chain,
	const char *name, const struct tls_setting *, char *text,
	size_t text_bytes);

/* After a failed handshake: replaces text and failure when it was the
 * certificate that failed; leaves them otherwise. */
void tls_verify_explain(const SSL *, const struct demand *,
	enum tls_failure *failure, char *text, size_t text_bytes);

#endif
