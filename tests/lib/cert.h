/*
 * Certificates of scripted servers, made for one test: a CA, and a leaf signed
 * by it or by itself.
 */
#ifndef TESTS_LIB_CERT_H
#define TESTS_LIB_CERT_H

#include <stdbool.h>
#include <stdint.h>

#include <openssl/ssl.h>

struct cert_spec {
	const char *cn;		/* NULL: "self-signed.example" */
	const char *san;	/* "DNS:mx.example", or NULL for none */
	int begin_s, end_s;	/* from now; both 0: an hour each way */
	bool by_ca;
	bool send_ca;		/* with the leaf */
	int max_version;	/* of TLS; 0: any */
	bool anonymous;		/* no certificate at all (TLS 1.2) */
};

struct cert {
	SSL_CTX *ctx;
	X509 *ca, *leaf;
	char ca_file[64];	/* PEM */
};

void cert_make(struct cert *, const struct cert_spec *);
void cert_clear(struct cert *);

/* SHA-256 of the whole (selector 0) or of its public key (1). */
void cert_digest(const X509 *, unsigned selector, uint8_t out[32]);
/* The same as 64 lower-case hex digits. */
void cert_print(const X509 *, unsigned selector, char out[65]);

#endif
