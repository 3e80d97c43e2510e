/*
 * A signer for tests.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>

#include "base/buf.h"
#include "base/mem.h"
#include "resolver/resolver.h"
#include "tests/lib/dnssign.h"

static uint16_t
tag_of(const uint8_t *r, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += (i & 1) != 0 ? r[i] : (uint32_t)r[i] << 8;
	return (uint16_t)(sum + (sum >> 16));
}

static size_t
rsa_encode(EVP_PKEY *pkey, uint8_t *out)
{
	BIGNUM *n = NULL, *e = NULL;
	int e_len;
	size_t used;

	if (EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &n) != 1 ||
	    EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e) != 1)
		abort();
	e_len = BN_bn2bin(e, out + 1);
	out[0] = (uint8_t)e_len;
	used = (size_t)e_len + 1;
	used += (size_t)BN_bn2bin(n, out + used);
	BN_free(n);
	BN_free(e);
	return used;
}

static size_t
public_encode(EVP_PKEY *pkey, uint8_t alg, uint8_t *out)
{
	uint8_t point[200];
	size_t len = 200;

	if (alg == 8 || alg == 10 || alg == 5)
		return rsa_encode(pkey, out);
	if (alg == 13 || alg == 14) {
		if (EVP_PKEY_get_octet_string_param(pkey,
		    OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point), &len) != 1)
			abort();
		memcpy(out, point + 1, len - 1);
		return len - 1;
	}
	if (EVP_PKEY_get_raw_public_key(pkey, out, &len) != 1)
		abort();
	return len;
}

static struct dnssign_key *
key_wrap(const char *zone, uint8_t alg, uint16_t flags, EVP_PKEY *pkey)
{
	struct dnssign_key *k = xcalloc(1, sizeof(*k));

	if (pkey == NULL || strlen(zone) >= sizeof(k->zone))
		abort();
	strcpy(k->zone, zone);
	k->algorithm = alg;
	k->pkey = pkey;
	k->rdata[3] = alg;
	k->rdata_len = 4 + public_encode(pkey, alg, k->rdata + 4);
	dnssign_key_mark(k, flags, 3);
	return k;
}

struct dnssign_key *
dnssign_key_of(const char *zone, const uint8_t *seed)
{
	return key_wrap(zone, 15, 257, EVP_PKEY_new_raw_private_key(
		EVP_PKEY_ED25519, NULL, seed, 32));
}

struct dnssign_key *
dnssign_key(const char *zone, uint8_t alg, uint16_t flags)
{
	EVP_PKEY *pkey = NULL;

	switch (alg) {
	case 5:
	case 8:
	case 10:
		pkey = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024);
		break;
	case 13:
		pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
		break;
	case 14:
		pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-384");
		break;
	case 15:
		pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
		break;
	case 16:
		pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED448");
		break;
	}
	return key_wrap(zone, alg, flags, pkey);
}

void
dnssign_key_free(struct dnssign_key *k)
{
	EVP_PKEY_free(k->pkey);
	free(k);
}

void
dnssign_key_mark(struct dnssign_key *k, uint16_t flags, uint8_t protocol)
{
	k->rdata[0] = (uint8_t)(flags >> 8);
	k->rdata[1] = (uint8_t)flags;
	k->rdata[2] = protocol;
	k->tag = tag_of(k->rdata, k->rdata_len);
}

void
dnssign_add_key(struct dnspkt *p, int section, const struct dnssign_key *k)
{
	dnspkt_raw(p, section, k->zone, DNS_TYPE_DNSKEY, 300, k->rdata,
		k->rdata_len);
}

size_t
dnssign_ds(const struct dnssign_key *k, uint8_t digest, uint8_t out[64])
{
	const EVP_MD *md = digest == 1 ? EVP_sha1() : digest == 4 ?
		EVP_sha384() : EVP_sha256();
	uint8_t in[1000];
	dns_name owner;
	unsigned len;
	size_t n;

	if (dns_name_parse(k->zone, owner) != ST_OK)
		abort();
	n = dns_name_len(owner);
	memcpy(in, owner, n);
	memcpy(in + n, k->rdata, k->rdata_len);
	out[0] = (uint8_t)(k->tag >> 8);
	out[1] = (uint8_t)k->tag;
	out[2] = k->algorithm;
	out[3] = digest;
	if (EVP_Digest(in, n + k->rdata_len, out + 4, &len, md, NULL) != 1)
		abort();
	return len + 4;
}

void
dnssign_add_ds(struct dnspkt *p, int section, const struct dnssign_key *k,
	uint8_t digest)
{
	uint8_t ds[64];
	size_t len = dnssign_ds(k, digest, ds);

	dnspkt_raw(p, section, k->zone, DNS_TYPE_DS, 300, ds, len);
}

/* ---- signatures ------------------------------------------------------ */

static void
put(struct buf *b, const void *bytes, size_t len)
{
	if (buf_put(b, bytes, len) != ST_OK)
		abort();
}

static void
put_int(struct buf *b, uint64_t v, unsigned octets)
{
	for (unsigned i = octets; i-- > 0;) {
		uint8_t c = (uint8_t)(v >> (8 * i));

		put(b, &c, 1);
	}
}

static int
rr_cmp(const void *a, const void *b)
{
	const struct dns_rr *x = *(const struct dns_rr *const *)a;
	const struct dns_rr *y = *(const struct dns_rr *const *)b;
	size_t len = x->rdata_len < y->rdata_len ? x->rdata_len :
		y->rdata_len;
	int d = memcmp(x->rdata, y->rdata, len);

	return d != 0 ? d : x->rdata_len - y->rdata_len;
}

static size_t
sign_bytes(const struct dnssign_key *k, const struct buf *b,
	uint8_t out[600])
{
	const char *md = k->algorithm == 15 || k->algorithm == 16 ? NULL :
		k->algorithm == 14 ? "SHA384" : k->algorithm == 10 ?
		"SHA512" : k->algorithm == 5 ? "SHA1" : "SHA256";
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t der[600];
	const uint8_t *at = der;
	size_t len = sizeof(der);
	int half = k->algorithm == 13 ? 32 : 48;
	ECDSA_SIG *es;

	if (EVP_DigestSignInit_ex(ctx, NULL, md, NULL, NULL, k->pkey, NULL) !=
	    1 || EVP_DigestSign(ctx, der, &len, buf_data(b), b->len) != 1)
		abort();
	EVP_MD_CTX_free(ctx);
	if (k->algorithm != 13 && k->algorithm != 14) {
		memcpy(out, der, len);
		return len;
	}
	es = d2i_ECDSA_SIG(NULL, &at, (long)len);
	BN_bn2binpad(ECDSA_SIG_get0_r(es), out, half);
	BN_bn2binpad(ECDSA_SIG_get0_s(es), out + half, half);
	ECDSA_SIG_free(es);
	return (size_t)half * 2;
}

static unsigned
right_labels(const uint8_t *owner)
{
	return dns_name_labels(owner) - (dns_name_is_wildcard(owner) ? 1 : 0);
}

/* RFC 4034 3.1.8.1: the RRSIG's RDATA without the signature ... */
static void
head_put(struct buf *b, const struct dns_set *set, unsigned labels,
	const struct dnssign_key *k, const struct dnssign_odd *o)
{
	dns_name signer;

	if (dns_name_parse(o->signer != NULL ? o->signer : k->zone, signer) !=
	    ST_OK)
		abort();
	put_int(b, set->type, 2);
	put_int(b, o->algorithm != 0 ? o->algorithm : k->algorithm, 1);
	put_int(b, labels, 1);
	put_int(b, o->original_ttl != 0 ? o->original_ttl : set->ttl, 4);
	put_int(b, (uint64_t)(o->expiration != 0 ? o->expiration :
		SIGN_T0 + 86400), 4);
	put_int(b, (uint64_t)(o->inception != 0 ? o->inception :
		SIGN_T0 - 86400), 4);
	put_int(b, o->tag != 0 ? o->tag : k->tag, 2);
	put(b, signer, dns_name_len(signer));
}

/* ... and the records, with the owner that the label count says. */
static void
records_put(struct buf *b, struct dns_set *set, unsigned labels,
	uint32_t ttl)
{
	dns_name owner;

	dns_name_copy(owner, set->owner);
	if (labels < right_labels(owner) && dns_name_wildcard(owner,
	    dns_name_tail(set->owner, labels)) != ST_OK)
		abort();
	qsort(set->rrs, set->count, sizeof(set->rrs[0]), rr_cmp);
	for (size_t i = 0; i < set->count; i++) {
		put(b, owner, dns_name_len(owner));
		put_int(b, set->type, 2);
		put_int(b, 1, 2);
		put_int(b, ttl, 4);
		put_int(b, set->rrs[i]->rdata_len, 2);
		put(b, set->rrs[i]->rdata, set->rrs[i]->rdata_len);
	}
}

void
dnssign(struct dnspkt *p, int section, const char *owner, uint16_t type,
	const struct dnssign_key *k, const struct dnssign_odd *odd)
{
	static const struct dnssign_odd none;
	const struct dnssign_odd *o = odd == NULL ? &none : odd;
	struct dns_set *set = xcalloc(1, sizeof(*set));
	uint8_t rdata[1400];
	struct dns_msg *m;
	struct buf b;
	dns_name wire;
	const char *why;
	size_t head;
	unsigned labels;

	buf_init(&b, 1 << 20);
	if (dns_name_parse(owner, wire) != ST_OK ||
	    dns_parse(p->bytes, p->len, &m, &why) != ST_OK ||
	    !dns_set_find(m, (enum dns_section)section, wire, type, set))
		abort();
	labels = o->labels > 0 ? (unsigned)o->labels - 1 : right_labels(wire);
	head_put(&b, set, labels, k, o);
	head = b.len;
	memcpy(rdata, buf_data(&b), head);
	if (labels <= right_labels(wire))
		records_put(&b, set, labels, o->original_ttl != 0 ?
			o->original_ttl : set->ttl);
	head += sign_bytes(k, &b, rdata + head);
	if (o->spoil)
		rdata[head - 1] ^= 1;
	dnspkt_raw(p, section, owner, DNS_TYPE_RRSIG, set->ttl, rdata, head);
	buf_clear(&b);
	dns_msg_free(&m);
	free(set);
}
