/*
 * Certificate verification as demanded.
 *
 * DANE is OpenSSL's own (RFC 7671, with digest agility); we give it usable
 * records only, take the subject's CN out of consideration, and never let it
 * fall back to PKIX: without a record that it accepted there is no connection.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "base/str.h"
#include "smtpd-out/client/tls_verify.h"

#define PRINT_BYTES 32
#define TLSA_DANE_EE 3		/* certificate usage, RFC 7671 5.1 */
#define NAME_FLAGS (X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | \
	X509_CHECK_FLAG_NEVER_CHECK_SUBJECT)

static const int versions[] = {
	[CONF_TLS_VERSION_DEFAULT] = TLS1_2_VERSION,
	[CONF_TLS_1_0] = TLS1_VERSION,
	[CONF_TLS_1_1] = TLS1_1_VERSION,
	[CONF_TLS_1_2] = TLS1_2_VERSION,
	[CONF_TLS_1_3] = TLS1_3_VERSION,
};

static bool
apply_versions(SSL *ssl, const struct demand *d, const struct conf *conf)
{
	int oldest = d->level <= DEMAND_MAY ? versions[conf->may_min_version] :
		versions[conf->min_version];
	const char *ciphers = d->ciphers != NULL ? d->ciphers : conf->ciphers;

	if (d->min_version != 0)
		oldest = d->min_version;
	if (SSL_set_min_proto_version(ssl, oldest) != 1)
		return false;
	if (ciphers != NULL && SSL_set_cipher_list(ssl, ciphers) != 1)
		return false;
	/* RFC 7435: where clear text would do, weak TLS is still better, and
	 * old servers have small keys. */
	if (d->level <= DEMAND_MAY)
		SSL_set_security_level(ssl, 0);
	return true;
}

static bool
apply_certificate(SSL *ssl, const struct demand *d)
{
	if (d->cert_file == NULL)
		return true;
	return SSL_use_certificate_chain_file(ssl, d->cert_file) == 1 &&
		SSL_use_PrivateKey_file(ssl, d->key_file, SSL_FILETYPE_PEM) ==
		1 && SSL_check_private_key(ssl) == 1;
}

/* Names are looked for in subjectAltName alone; a wildcard is a whole left-most
 * label.  A reference ".d" is any name below d. */
static bool
apply_names(SSL *ssl, const struct demand *d)
{
	SSL_set_hostflags(ssl, NAME_FLAGS);
	for (size_t i = 0; i < d->name_count; i++)
		if (SSL_add1_host(ssl, d->names[i]) != 1)
			return false;
	return true;
}

/* Usages 0 and 1 want a chain to a known authority as well (RFC 6698 2.1.1);
 * mail to MX hosts never has them (RFC 7672 3.1.3), other services may. */
static bool
apply_authorities(SSL *ssl, const struct demand *d,
	const struct tls_setting *set)
{
	X509_STORE *store;

	for (size_t i = 0; i < d->tlsa_count; i++) {
		if (d->tlsa[i].usage > 1)
			continue;
		store = tls_stores_get(set->stores, d->ca_file != NULL ?
			d->ca_file : set->conf->ca_file);
		return store != NULL && SSL_set1_verify_cert_store(ssl,
			store) == 1;
	}
	return true;
}

static bool
apply_dane(SSL *ssl, const struct demand *d, const struct tls_setting *set)
{
	size_t accepted = 0;

	if (d->tlsa_count == 0 || d->tlsa_base == NULL ||
	    SSL_dane_enable(ssl, d->tlsa_base) <= 0)
		return false;
	(void)SSL_dane_set_flags(ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
	for (size_t i = 0; i < d->tlsa_count; i++) {
		const struct demand_tlsa *t = &d->tlsa[i];
		int rc = SSL_dane_tlsa_add(ssl, t->usage, t->selector,
			t->matching, t->data, t->len);

		if (rc < 0)
			return false;
		accepted += rc > 0;
	}
	ERR_clear_error();	/* of records it did not take */
	if (accepted == 0 || !apply_authorities(ssl, d, set))
		return false;
	SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
	return apply_names(ssl, d);
}

static bool
apply_pkix(SSL *ssl, const struct demand *d, const struct tls_setting *set)
{
	X509_STORE *store = tls_stores_get(set->stores, d->ca_file != NULL ?
		d->ca_file : set->conf->ca_file);

	if (store == NULL || d->name_count == 0 ||
	    SSL_set1_verify_cert_store(ssl, store) != 1)
		return false;
	SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
	return apply_names(ssl, d);
}

static bool
has_print(const struct demand *d, const uint8_t digest[PRINT_BYTES])
{
	char hex[PRINT_BYTES * 2 + 1];

	for (size_t i = 0; i < PRINT_BYTES; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	for (size_t i = 0; i < d->print_count; i++)
		if (strcmp(d->prints[i], hex) == 0)
			return true;
	return false;
}

/* The certificate itself, or its public key (SubjectPublicKeyInfo). */
static bool
print_matches(X509 *cert, const struct demand *d)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	uint8_t *der = NULL;
	int der_len;
	bool found;

	if (X509_digest(cert, EVP_sha256(), digest, &len) != 1)
		return false;
	if (has_print(d, digest))
		return true;
	der_len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	found = der_len > 0 && EVP_Digest(der, (size_t)der_len, digest, &len,
		EVP_sha256(), NULL) == 1 && has_print(d, digest);
	OPENSSL_free(der);
	return found;
}

/* ---- before the handshake ---- */

static bool
apply_level(SSL *ssl, const struct demand *d, const struct tls_setting *set)
{
	switch (d->level) {
	case DEMAND_DANE:
		return apply_dane(ssl, d, set);
	case DEMAND_PKIX:
		return apply_pkix(ssl, d, set);
	case DEMAND_FINGERPRINT:
		return d->print_count > 0;
	case DEMAND_NONE:
	case DEMAND_MAY:
	case DEMAND_ENCRYPT:
		break;
	}
	return true;
}

bool
tls_verify_apply(SSL *ssl, const struct demand *d,
	const struct tls_setting *set)
{
	SSL_set_verify(ssl, SSL_VERIFY_NONE, NULL);
	return apply_versions(ssl, d, set->conf) && apply_certificate(ssl, d) &&
		apply_level(ssl, d, set);
}

/* ---- after it ---- */

static bool
peer_print_matches(const SSL *ssl, const struct demand *d)
{
	X509 *leaf = SSL_get1_peer_certificate(ssl);
	bool found = leaf != NULL && print_matches(leaf, d);

	X509_free(leaf);
	return found;
}

/* The certificate of the handshake that a resumption rests on, verified as the
 * library does it in a full one: it shows none itself. */
static long
verify_again(SSL *ssl, X509_STORE *store)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509 *leaf = SSL_get0_peer_certificate(ssl);
	X509_VERIFY_PARAM *param;
	long code = X509_V_ERR_UNSPECIFIED;

	if (ctx == NULL || leaf == NULL || X509_STORE_CTX_init(ctx, store, leaf,
	    SSL_get_peer_cert_chain(ssl)) != 1)
		goto done;
	param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_auth_level(param, SSL_get_security_level(ssl));
	X509_STORE_CTX_set0_dane(ctx, SSL_get0_dane(ssl));
	if (X509_STORE_CTX_set_default(ctx, "ssl_server") != 1 ||
	    X509_VERIFY_PARAM_set1(param, SSL_get0_param(ssl)) != 1)
		goto done;
	code = X509_verify_cert(ctx) == 1 ? X509_V_OK :
		X509_STORE_CTX_get_error(ctx);
done:
	X509_STORE_CTX_free(ctx);
	ERR_clear_error();
	return code;
}

static void
judge_resumption(SSL *ssl)
{
	X509_STORE *store = NULL;

	if (SSL_get_verify_mode(ssl) != SSL_VERIFY_PEER)
		return;
	if (SSL_get0_verify_cert_store(ssl, &store) != 1 || store == NULL)
		store = SSL_CTX_get_cert_store(SSL_get_SSL_CTX(ssl));
	SSL_set_verify_result(ssl, verify_again(ssl, store));
}

bool
tls_verify_done(SSL *ssl, const struct demand *d)
{
	bool verified;

	if (SSL_session_reused(ssl))
		judge_resumption(ssl);
	/* Without a certificate, where the cipher list allows for that, the
	 * result is X509_V_OK. */
	verified = SSL_get0_peer_certificate(ssl) != NULL &&
		SSL_get_verify_result(ssl) == X509_V_OK &&
		SSL_get_verify_mode(ssl) == SSL_VERIFY_PEER;
	switch (d->level) {
	case DEMAND_DANE:
		return verified && SSL_get0_dane_authority(ssl, NULL, NULL) >=
			0;
	case DEMAND_PKIX:
		return verified;
	case DEMAND_FINGERPRINT:
		return peer_print_matches(ssl, d);
	case DEMAND_NONE:
	case DEMAND_MAY:
	case DEMAND_ENCRYPT:
		break;
	}
	return true;
}

void
tls_verify_proof(SSL *ssl, const struct demand *d, struct demand_proof *out)
{
	X509 *leaf = SSL_get0_peer_certificate(ssl);
	uint8_t usage = 0;

	*out = (struct demand_proof){ .tls = true };
	if (d->level == DEMAND_DANE)
		out->by_key = SSL_get0_dane_tlsa(ssl, &usage, NULL, NULL,
			NULL, NULL) >= 0 && usage == TLSA_DANE_EE;
	/* Of a certificate that nobody verified a name says nothing. */
	if (leaf == NULL || (d->level != DEMAND_PKIX &&
	    d->level != DEMAND_DANE))
		return;
	for (size_t i = 0; i < d->name_count; i++)
		if (X509_check_host(leaf, d->names[i], 0, NAME_FLAGS, NULL) ==
		    1)
			out->names |= 1U << i;
	ERR_clear_error();
}

static const struct {
	long code;
	enum tls_failure failure;
	const char *text;
} faults[] = {
	{ X509_V_ERR_DANE_NO_MATCH, TLS_FAILURE_VALIDATION,
	    "the certificate matches none of the TLSA records" },
	{ X509_V_ERR_HOSTNAME_MISMATCH, TLS_FAILURE_HOST_MISMATCH,
	    "the certificate is for another name" },
	{ X509_V_ERR_CERT_HAS_EXPIRED, TLS_FAILURE_EXPIRED,
	    "the certificate has expired" },
	{ X509_V_ERR_CERT_NOT_YET_VALID, TLS_FAILURE_VALIDATION,
	    "the certificate is not valid yet" },
	{ X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, TLS_FAILURE_NOT_TRUSTED,
	    "the certificate is self-signed" },
	{ X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, TLS_FAILURE_NOT_TRUSTED,
	    "the certificate's authority is not trusted" },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, TLS_FAILURE_NOT_TRUSTED,
	    "the certificate's authority is not known" },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
	    TLS_FAILURE_NOT_TRUSTED,
	    "the certificate's authority is not known" },
	{ X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, TLS_FAILURE_NOT_TRUSTED,
	    "the certificate's authority is not known" },
	{ X509_V_ERR_CERT_UNTRUSTED, TLS_FAILURE_NOT_TRUSTED,
	    "the certificate is not trusted" },
};

/* The words for a result of verification; name: who it should have been. */
static enum tls_failure
explain(long code, const char *name, char *text, size_t text_bytes)
{
	enum tls_failure failure = TLS_FAILURE_VALIDATION;

	(void)str_copy(text, text_bytes, X509_verify_cert_error_string(code));
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		if (faults[i].code != code)
			continue;
		failure = faults[i].failure;
		(void)str_copy(text, text_bytes, faults[i].text);
	}
	if (code == X509_V_ERR_HOSTNAME_MISMATCH && name != NULL)
		(void)snprintf(text, text_bytes, "the certificate is not for "
			"%s", name);
	return failure;
}

void
tls_verify_explain(const SSL *ssl, const struct demand *d,
	enum tls_failure *failure, char *text, size_t text_bytes)
{
	long code = SSL_get_verify_result(ssl);

	/* Without verification the result says nothing of the failure. */
	if (code == X509_V_OK || SSL_get_verify_mode(ssl) != SSL_VERIFY_PEER)
		return;
	*failure = explain(code, d->name_count > 0 ? d->names[0] : NULL, text,
		text_bytes);
}

/* ---- what is only watched ---- */

/* The chain of the peer, verified apart from the connection, as apply_pkix()
 * would have had it done. */
static long
verify_apart(SSL *ssl, STACK_OF(X509) *chain, X509_STORE *store,
	const char *name)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509_VERIFY_PARAM *param;
	long code = X509_V_ERR_OUT_OF_MEM;

	if (ctx == NULL || X509_STORE_CTX_init(ctx, store,
	    sk_X509_value(chain, 0), chain) != 1 ||
	    X509_STORE_CTX_set_default(ctx, "ssl_server") != 1)
		goto done;
	param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_auth_level(param,
		SSL_CTX_get_security_level(SSL_get_SSL_CTX(ssl)));
	X509_VERIFY_PARAM_set_hostflags(param, NAME_FLAGS);
	if (X509_VERIFY_PARAM_set1_host(param, name, 0) != 1)
		goto done;
	code = X509_verify_cert(ctx) == 1 ? X509_V_OK :
		X509_STORE_CTX_get_error(ctx);
done:
	X509_STORE_CTX_free(ctx);
	return code;
}

enum tls_failure
tls_verify_apart(SSL *ssl, STACK_OF(X509) *chain, const char *name,
	const struct tls_setting *set, char *text, size_t text_bytes)
{
	X509_STORE *store = tls_stores_get(set->stores, set->conf->ca_file);
	enum tls_failure failure = TLS_FAILURE_NONE;
	long code;

	text[0] = '\0';
	if (store == NULL || sk_X509_num(chain) < 1) {
		(void)str_copy(text, text_bytes, store != NULL ?
			"the server shows no certificate" :
			"the file of known authorities cannot be read");
		return TLS_FAILURE_NOT_TRUSTED;
	}
	code = verify_apart(ssl, chain, store, name);
	if (code != X509_V_OK)
		failure = explain(code, name, text, text_bytes);
	ERR_clear_error();
	return failure;
}

enum tls_failure
tls_verify_watch(SSL *ssl, const struct demand *d,
	const struct tls_setting *set, char *text, size_t text_bytes)
{
	if (SSL_version(ssl) < TLS1_2_VERSION) {
		(void)snprintf(text, text_bytes, "%s is not new enough (1.2)",
			SSL_get_version(ssl));
		return TLS_FAILURE_VALIDATION;
	}
	return tls_verify_apart(ssl, SSL_get_peer_cert_chain(ssl),
		d->watch_name, set, text, text_bytes);
}
