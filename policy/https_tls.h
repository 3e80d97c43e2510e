/*
 * The certificates that HTTPS servers are judged by: the only file of policy/
 * that knows OpenSSL, for libcurl alone would accept the subject's CN in
 * place of a subjectAltName (RFC 8461 section 3.3, RFC 9525).
 */
#ifndef POLICY_HTTPS_TLS_H
#define POLICY_HTTPS_TLS_H

#include <stdbool.h>
#include <stddef.h>

struct https_trust;

/* Reads the CA file; a file that cannot be read is one line in the log. */
struct https_trust *https_trust_new(const char *ca_file);
void https_trust_free(struct https_trust **);
/* Looks whether the file has changed; reads it again then, and keeps what it
 * had when that fails.  False when there are no certificates at all. */
bool https_trust_ready(struct https_trust *);

/* What libcurl 7.88 does not tell of a connection. */
struct https_seen {
	long verify_result;	/* of OpenSSL; not 0 only after a failure */
	bool ended;		/* the server said that TLS ends */
};

/* Makes an SSL_CTX that libcurl has prepared trust these, for that host name
 * in subjectAltName alone.  seen must live as long as the connection. */
bool https_trust_apply(struct https_trust *, void *ssl_ctx, const char *host,
	struct https_seen *seen);

/* What OpenSSL's verify result means, to follow "the certificate". */
const char *https_trust_words(long verify_result);

#endif
