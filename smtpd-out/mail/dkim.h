/*
 * DKIM signatures (RFC 6376, 8301, 8463) of what this program itself writes:
 * TLSRPT mail, and notices where that is configured.  libopendkim does the
 * work; its one header is included in dkim.c alone.
 */
#ifndef SMTPD_OUT_DKIM_H
#define SMTPD_OUT_DKIM_H

#include "base/buf.h"

struct conf;
struct dkim_key;		/* a private key and what it signs for */

#define DKIM_ERR_MAX 512

/* The domain that signs, and where its public key stands in the DNS:
 * SELECTOR._domainkey.DOMAIN. */
struct dkim_identity {
	const char *domain, *selector;
	const char *key_file;		/* PEM: RSA, or Ed25519 */
	const char *user;		/* who may own it; NULL: we or root */
};

/*
 * Reads the key and signs a trial message with it, so that a key that opens is
 * one that works.  To be called while the file can be read, before privileges
 * are dropped and the sandbox is entered; afterwards no file is needed.  The
 * kind of key decides the algorithm.  On a fault err says what to do.
 */
enum status dkim_key_open(const struct dkim_identity *, struct dkim_key **out,
	char err[DKIM_ERR_MAX]) MUST_CHECK;
/* The key that the configuration names; *out is NULL, and all is well, when it
 * names none. */
enum status dkim_conf_open(const struct conf *, struct dkim_key **out,
	char err[DKIM_ERR_MAX]) MUST_CHECK;
/*
 * At a reload, with the privileges left by then: the key of the new
 * configuration.  Where its file cannot be read any more and the same one is
 * named as before, it is `had` itself, which is logged.
 */
enum status dkim_conf_reopen(const struct conf *old, const struct conf *new,
	struct dkim_key *had, struct dkim_key **out, char err[DKIM_ERR_MAX])
	MUST_CHECK;
/* The key is overwritten in memory. */
void dkim_key_close(struct dkim_key **);
/* "rsa-sha256" or "ed25519-sha256" */
const char *dkim_key_algorithm(const struct dkim_key *);

/*
 * Puts the signature field in front of the message, relaxed/relaxed over all of
 * its body.  The message is complete, its lines end in CRLF; max_bytes of the
 * buffer leaves room.  On a fault the buffer is as it was.
 */
enum status dkim_sign_message(const struct dkim_key *, struct buf *message,
	char err[DKIM_ERR_MAX]) MUST_CHECK;

#endif
