/*
 * Certificates as plain data.  Whatever a peer puts into one is bounded and
 * made printable here; what cannot be read is left empty.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "base/mem.h"
#include "smtpd-out/client/cert_report_tls.h"

#define DIGEST_MAX EVP_MAX_MD_SIZE
#define SERIAL_BITS 160		/* RFC 5280 4.1.2.2 */

struct cert_report *
cert_report_new(void)
{
	return xcalloc(1, sizeof(struct cert_report));
}

void
cert_report_free(struct cert_report **rp)
{
	struct cert_report *r = *rp;

	if (r == NULL)
		return;
	for (size_t i = 0; i < r->count; i++) {
		struct cert_info *c = &r->certs[i];

		for (size_t n = 0; n < c->name_count; n++)
			free(c->names[n]);
		free(c->names);
		free(c->der);
		free(c->key_der);
	}
	free(r->certs);
	mem_free(rp);
}

/* ---- one certificate ---- */

static void
take_print(const uint8_t *der, size_t len, char out[CERT_REPORT_PRINT])
{
	uint8_t digest[DIGEST_MAX];
	unsigned digest_len = 0;

	if (EVP_Digest(der, len, digest, &digest_len, EVP_sha256(), NULL) != 1)
		return;
	for (unsigned i = 0; i < digest_len; i++)
		(void)snprintf(out + (size_t)2 * i, 3, "%02x", digest[i]);
}

static uint8_t *
take_der(uint8_t *from, int len, size_t *len_out)
{
	uint8_t *to = NULL;

	if (len > 0) {
		to = xmalloc((size_t)len);
		memcpy(to, from, (size_t)len);
		*len_out = (size_t)len;
	}
	OPENSSL_free(from);
	return to;
}

static void
take_name(const X509_NAME *name, char *out, size_t out_bytes)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	long len;

	if (bio != NULL && X509_NAME_print_ex(bio, name, 0, XN_FLAG_ONELINE &
	    ~ASN1_STRFLGS_ESC_MSB) >= 0) {
		len = BIO_get_mem_data(bio, &text);
		if (len > 0)
			str_sanitise(out, out_bytes, text, (size_t)len);
	}
	BIO_free(bio);
}

static int64_t
take_time(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static void
take_alt_names(struct cert_info *c, X509 *cert)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL,
		NULL);
	char text[CERT_REPORT_TEXT];

	for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);

		if (g->type != GEN_DNS)
			continue;
		c->name_total++;
		if (c->name_count == CERT_REPORT_NAMES)
			continue;
		str_sanitise(text, sizeof(text), (const char *)
			ASN1_STRING_get0_data(g->d.dNSName),
			(size_t)ASN1_STRING_length(g->d.dNSName));
		c->names = xrealloc_n(c->names, c->name_count + 1,
			sizeof(c->names[0]));
		c->names[c->name_count++] = xstrdup(text);
	}
	GENERAL_NAMES_free(all);
}

static void
take_key(struct cert_info *c, X509 *cert)
{
	const EVP_PKEY *key = X509_get0_pubkey(cert);
	char group[24] = "";
	const char *type;
	size_t len;

	if (key == NULL)
		return;
	type = EVP_PKEY_get0_type_name(key);
	if (EVP_PKEY_get_group_name(key, group, sizeof(group), &len) == 1) {
		if (strcmp(group, "prime256v1") == 0)
			(void)str_copy(group, sizeof(group), "P-256");
		else if (strcmp(group, "secp384r1") == 0)
			(void)str_copy(group, sizeof(group), "P-384");
		(void)snprintf(c->key, sizeof(c->key), "%.8s %s",
			type == NULL ? "?" : type, group);
	} else {
		(void)snprintf(c->key, sizeof(c->key), "%.12s %d",
			type == NULL ? "?" : type, EVP_PKEY_get_bits(key));
	}
}

static void
take_serial(struct cert_info *c, X509 *cert)
{
	BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
	char *hex = n != NULL && BN_num_bits(n) <= SERIAL_BITS ? BN_bn2hex(n) :
		NULL;

	if (hex != NULL)
		(void)str_copy(c->serial, sizeof(c->serial), hex);
	OPENSSL_free(hex);
	BN_free(n);
}

static void
take_cert(struct cert_info *c, X509 *cert)
{
	uint8_t *der = NULL, *key = NULL;
	int len = i2d_X509(cert, &der);

	c->der = take_der(der, len, &c->der_len);
	len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &key);
	c->key_der = take_der(key, len, &c->key_der_len);
	take_print(c->der, c->der_len, c->print);
	take_print(c->key_der, c->key_der_len, c->key_print);
	take_name(X509_get_subject_name(cert), c->subject, sizeof(c->subject));
	take_name(X509_get_issuer_name(cert), c->issuer, sizeof(c->issuer));
	take_alt_names(c, cert);
	take_key(c, cert);
	take_serial(c, cert);
	c->not_before_s = take_time(X509_get0_notBefore(cert));
	c->not_after_s = take_time(X509_get0_notAfter(cert));
	(void)str_copy(c->signature, sizeof(c->signature),
		OBJ_nid2sn(X509_get_signature_nid(cert)));
	c->ca = X509_check_ca(cert) > 0;
	c->self_issued = X509_NAME_cmp(X509_get_subject_name(cert),
		X509_get_issuer_name(cert)) == 0;
	ERR_clear_error();
}

/* ---- the connection ---- */

void
cert_report_chain(struct cert_report *r, STACK_OF(X509) *chain)
{
	int count = sk_X509_num(chain);

	if (count <= 0 || r->count > 0)
		return;
	r->total = (size_t)count;
	r->certs = xcalloc(CERT_REPORT_CERTS, sizeof(r->certs[0]));
	while (r->count < r->total && r->count < CERT_REPORT_CERTS) {
		take_cert(&r->certs[r->count], sk_X509_value(chain,
			(int)r->count));
		r->count++;
	}
}

void
cert_report_connection(struct cert_report *r, SSL *ssl)
{
	const char *group;

	if (SSL_get_current_cipher(ssl) == NULL)
		return;
	(void)str_copy(r->protocol, sizeof(r->protocol), SSL_get_version(ssl));
	(void)str_copy(r->cipher, sizeof(r->cipher), SSL_get_cipher_name(ssl));
	group = SSL_group_to_name(ssl, (int)SSL_get_negotiated_group(ssl));
	if (group != NULL)
		(void)str_copy(r->group, sizeof(r->group), group);
	ERR_clear_error();
}

/* ---- TLSA ---- */

static bool
fits(const struct cert_info *c, unsigned selector, unsigned matching,
	const uint8_t *data, size_t len)
{
	const uint8_t *der = selector == 0 ? c->der : c->key_der;
	size_t der_len = selector == 0 ? c->der_len : c->key_der_len;
	uint8_t digest[DIGEST_MAX];
	unsigned digest_len = 0;

	if (selector > 1 || matching > 2 || der == NULL || data == NULL)
		return false;
	if (matching == 0)
		return len == der_len && memcmp(data, der, len) == 0;
	if (EVP_Digest(der, der_len, digest, &digest_len, matching == 1 ?
	    EVP_sha256() : EVP_sha512(), NULL) != 1)
		return false;
	return len == digest_len && memcmp(data, digest, len) == 0;
}

int
cert_report_match(const struct cert_report *r, unsigned usage,
	unsigned selector, unsigned matching, const uint8_t *data, size_t len)
{
	size_t end = usage == 1 || usage == 3 ? 1 : r->count;

	for (size_t i = 0; i < end && i < r->count; i++)
		if (fits(&r->certs[i], selector, matching, data, len))
			return (int)i;
	return -1;
}
