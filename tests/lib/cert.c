/*
 * Making certificates.  A failure aborts the test.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "tests/lib/cert.h"

#define must(fact) do { \
	if (!(fact)) { \
		(void)fprintf(stderr, "cert: not so: %s\n", #fact); \
		abort(); \
	} \
} while (0)

static void
add_extension(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	must(ext != NULL && X509_add_ext(cert, ext, -1) == 1);
	X509_EXTENSION_free(ext);
}

static X509 *
new_cert(const char *cn, EVP_PKEY *key, int begin_s, int end_s)
{
	static long serial;
	X509 *cert = X509_new();

	must(cert != NULL && X509_set_version(cert, X509_VERSION_3) == 1);
	must(ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial) == 1);
	must(X509_gmtime_adj(X509_getm_notBefore(cert), begin_s) != NULL);
	must(X509_gmtime_adj(X509_getm_notAfter(cert), end_s) != NULL);
	must(X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN",
		MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0) == 1);
	must(X509_set_pubkey(cert, key) == 1);
	return cert;
}

static void
sign(X509 *cert, const X509 *issuer, EVP_PKEY *key)
{
	must(X509_set_issuer_name(cert, X509_get_subject_name(issuer)) == 1);
	must(X509_sign(cert, key, EVP_sha256()) > 0);
}

static void
write_ca(struct cert *c)
{
	int fd;
	FILE *f;

	(void)snprintf(c->ca_file, sizeof(c->ca_file), "/tmp/test_ca_XXXXXX");
	fd = mkstemp(c->ca_file);
	must(fd >= 0 && (f = fdopen(fd, "w")) != NULL);
	must(PEM_write_X509(f, c->ca) == 1 && fclose(f) == 0);
}

void
cert_make(struct cert *c, const struct cert_spec *spec)
{
	bool always = spec->begin_s == 0 && spec->end_s == 0;
	EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");

	must(ca_key != NULL && key != NULL);
	c->ca = new_cert("Test CA", ca_key, -86400, 86400);
	add_extension(c->ca, NID_basic_constraints, "critical,CA:TRUE");
	sign(c->ca, c->ca, ca_key);
	write_ca(c);
	c->leaf = new_cert(spec->cn != NULL ? spec->cn : "self-signed.example",
		key, always ? -3600 : spec->begin_s,
		always ? 3600 : spec->end_s);
	if (spec->san != NULL)
		add_extension(c->leaf, NID_subject_alt_name, spec->san);
	if (spec->by_ca)
		sign(c->leaf, c->ca, ca_key);
	else
		sign(c->leaf, c->leaf, key);
	c->ctx = SSL_CTX_new(TLS_server_method());
	must(c->ctx != NULL);
	must(SSL_CTX_use_certificate(c->ctx, c->leaf) == 1);
	must(SSL_CTX_use_PrivateKey(c->ctx, key) == 1);
	if (spec->send_ca)
		must(SSL_CTX_add1_chain_cert(c->ctx, c->ca) == 1);
	SSL_CTX_set_mode(c->ctx, SSL_MODE_NO_AUTO_CHAIN);
	if (spec->max_version != 0) {
		SSL_CTX_set_security_level(c->ctx, 0);
		must(SSL_CTX_set_min_proto_version(c->ctx, TLS1_VERSION) == 1);
		must(SSL_CTX_set_max_proto_version(c->ctx,
			spec->max_version) == 1);
	}
	if (spec->anonymous) {
		must(SSL_CTX_set_max_proto_version(c->ctx, TLS1_2_VERSION) ==
			1);
		must(SSL_CTX_set_cipher_list(c->ctx, "aNULL:@SECLEVEL=0") ==
			1);
	}
	EVP_PKEY_free(key);
	EVP_PKEY_free(ca_key);
}

void
cert_clear(struct cert *c)
{
	(void)unlink(c->ca_file);
	X509_free(c->leaf);
	X509_free(c->ca);
	SSL_CTX_free(c->ctx);
}

void
cert_digest(const X509 *cert, unsigned selector, uint8_t out[32])
{
	uint8_t *der = NULL;
	int len = selector == 0 ? i2d_X509(cert, &der) :
		i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);

	must(len > 0 && EVP_Digest(der, (size_t)len, out, NULL, EVP_sha256(),
		NULL) == 1);
	OPENSSL_free(der);
}

void
cert_print(const X509 *cert, unsigned selector, char out[65])
{
	uint8_t digest[32];

	cert_digest(cert, selector, digest);
	for (size_t i = 0; i < sizeof(digest); i++)
		(void)snprintf(out + 2 * i, 3, "%02x", digest[i]);
}
