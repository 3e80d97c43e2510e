/*
 * Keys and signatures of DNSSEC in OpenSSL's terms.
 *
 * A key is decoded once, when its zone is found to be secure; each check of
 * a signature then starts from a copy of a prepared context.
 */
#include "config.h"

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include "base/mem.h"
#include "resolver/dns_key.h"
#include "resolver/resolver.h"

#define RSA_BYTES_MIN 64	/* RFC 5702 2.1: 512 bits */
#define RSA_BYTES_MAX 512	/* RFC 5702 2.1: 4096 bits */
#define RSA_EXPONENT_MAX 8	/* a longer one only costs us time */
#define EC_SIG_MAX 112		/* DER of two 48-octet numbers */

enum kind { KIND_NONE = 0, KIND_RSA, KIND_EC, KIND_EDWARDS };

static const struct algorithm {
	uint8_t number;
	enum kind kind;
	const char *name;	/* of the curve or the key type */
	const char *digest;
	size_t key_len;		/* 0: any */
} algorithms[] = {
	{ 8, KIND_RSA, "RSA", "SHA256", 0 },
	{ 10, KIND_RSA, "RSA", "SHA512", 0 },
	{ 13, KIND_EC, "P-256", "SHA256", 64 },
	{ 14, KIND_EC, "P-384", "SHA384", 96 },
	{ 15, KIND_EDWARDS, "ED25519", NULL, 32 },
	{ 16, KIND_EDWARDS, "ED448", NULL, 57 },
};

static const struct algorithm *
algorithm_find(uint8_t number)
{
	for (size_t i = 0; i < sizeof(algorithms) / sizeof(algorithms[0]); i++)
		if (algorithms[i].number == number)
			return &algorithms[i];
	return NULL;
}

bool
dns_algorithm_known(uint8_t algorithm)
{
	return algorithm_find(algorithm) != NULL;
}

static const EVP_MD *
digest_find(uint8_t digest)
{
	switch (digest) {
	case 1:
		return EVP_sha1();
	case 2:
		return EVP_sha256();
	case 4:
		return EVP_sha384();
	default:
		return NULL;
	}
}

bool
dns_digest_known(uint8_t digest)
{
	return digest_find(digest) != NULL;
}

uint16_t
dns_key_tag(const uint8_t *rdata, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += (i & 1) != 0 ? rdata[i] : (uint32_t)rdata[i] << 8;
	sum += sum >> 16 & 0xffff;
	return (uint16_t)sum;
}

bool
dns_key_usable(const struct dns_rr *k)
{
	uint16_t flags = dns_get16(k->rdata);

	return (flags & 0x0100) != 0 && (flags & 0x0080) == 0 &&
		k->rdata[2] == 3;
}

bool
dns_key_matches(const struct dns_rr *k, const uint8_t *ds, size_t ds_len)
{
	uint8_t input[DNS_NAME_MAX + UINT16_MAX], out[EVP_MAX_MD_SIZE];
	size_t owner_len = dns_name_len(k->owner);
	const EVP_MD *md = digest_find(ds[3]);
	unsigned len = 0;

	memcpy(input, k->owner, owner_len);
	memcpy(input + owner_len, k->rdata, k->rdata_len);
	return md != NULL && EVP_Digest(input, owner_len + k->rdata_len, out,
		&len, md, NULL) == 1 && ds_len == len + 4U &&
		memcmp(out, ds + 4, len) == 0;
}

/* ---- decoding -------------------------------------------------------- */

/* Finishes a set of parameters into a public key. */
static EVP_PKEY *
pkey_from(const char *type, OSSL_PARAM_BLD *build)
{
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY *key = NULL;

	if (params == NULL || ctx == NULL ||
	    EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		key = NULL;
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_free(params);
	return key;
}

/* RFC 3110 2: length of the exponent (1 or 3 octets), exponent, modulus. */
static EVP_PKEY *
rsa_decode(const uint8_t *p, size_t len)
{
	size_t e_len = p[0], head = 1;
	OSSL_PARAM_BLD *build;
	BIGNUM *e, *n;
	EVP_PKEY *key = NULL;

	if (e_len == 0 && len >= 3) {
		e_len = dns_get16(p + 1);
		head = 3;
	}
	if (e_len == 0 || e_len > RSA_EXPONENT_MAX || len < head + e_len ||
	    len - head - e_len < RSA_BYTES_MIN ||
	    len - head - e_len > RSA_BYTES_MAX)
		return NULL;
	e = BN_bin2bn(p + head, (int)e_len, NULL);
	n = BN_bin2bn(p + head + e_len, (int)(len - head - e_len), NULL);
	build = OSSL_PARAM_BLD_new();
	if (e != NULL && n != NULL && build != NULL &&
	    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
	    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) == 1)
		key = pkey_from("RSA", build);
	OSSL_PARAM_BLD_free(build);
	BN_free(e);
	BN_free(n);
	return key;
}

/* RFC 6605 4: the two coordinates of the point. */
static EVP_PKEY *
ec_decode(const char *group, const uint8_t *p, size_t len)
{
	uint8_t point[1 + 96];
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	EVP_PKEY *key = NULL;

	point[0] = 4;	/* uncompressed */
	memcpy(point + 1, p, len);
	if (build != NULL && OSSL_PARAM_BLD_push_utf8_string(build,
	    OSSL_PKEY_PARAM_GROUP_NAME, group, 0) == 1 &&
	    OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY,
	    point, len + 1) == 1)
		key = pkey_from("EC", build);
	OSSL_PARAM_BLD_free(build);
	return key;
}

static EVP_PKEY *
decode(const struct algorithm *a, const uint8_t *p, size_t len)
{
	if (a->key_len != 0 && a->key_len != len)
		return NULL;
	switch (a->kind) {
	case KIND_RSA:
		return rsa_decode(p, len);
	case KIND_EC:
		return ec_decode(a->name, p, len);
	default:
		return EVP_PKEY_new_raw_public_key_ex(NULL, a->name, NULL, p,
			len);
	}
}

void
dns_key_prepare(void)
{
	uint8_t out[EVP_MAX_MD_SIZE];
	unsigned len;

	(void)OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL);
	(void)EVP_Digest("", 0, out, &len, EVP_sha256(), NULL);
}

static void
key_set(struct dns_key *k, const struct dns_rr *rr)
{
	const struct algorithm *a = algorithm_find(rr->rdata[3]);
	EVP_PKEY *pkey = NULL;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	k->tag = dns_key_tag(rr->rdata, rr->rdata_len);
	k->algorithm = rr->rdata[3];
	if (a != NULL)
		pkey = decode(a, rr->rdata + 4, rr->rdata_len - 4U);
	if (pkey == NULL || ctx == NULL || EVP_DigestVerifyInit_ex(ctx, NULL,
	    a->digest, NULL, NULL, pkey, NULL) != 1) {
		EVP_MD_CTX_free(ctx);
		ctx = NULL;
	}
	EVP_PKEY_free(pkey);	/* the context holds its own reference */
	k->prepared = ctx;
}

struct dns_keys *
dns_keys_new(const struct dns_set *set)
{
	size_t size = sizeof(struct dns_keys) +
		DNS_KEYS_MAX * sizeof(struct dns_key);
	struct dns_keys *ks = xcalloc(1, size);

	dns_name_copy(ks->zone, set->owner);
	for (size_t i = 0; i < set->count && ks->count < DNS_KEYS_MAX; i++)
		if (dns_key_usable(set->rrs[i]) &&
		    dns_algorithm_known(set->rrs[i]->rdata[3]))
			key_set(&ks->keys[ks->count++], set->rrs[i]);
	return ks;
}

struct dns_keys *
dns_keys_new_one(const struct dns_rr *rr)
{
	struct dns_keys *ks = xcalloc(1,
		sizeof(struct dns_keys) + sizeof(struct dns_key));

	dns_name_copy(ks->zone, rr->owner);
	ks->count = 1;
	key_set(&ks->keys[0], rr);
	return ks;
}

void
dns_keys_free(struct dns_keys **ksp)
{
	struct dns_keys *ks = *ksp;

	if (ks == NULL)
		return;
	for (size_t i = 0; i < ks->count; i++)
		EVP_MD_CTX_free(ks->keys[i].prepared);
	mem_free(ksp);
}

/* ---- signatures ------------------------------------------------------ */

/* RFC 6605 4: r and s of half the length each, which OpenSSL wants in DER. */
static int
ec_sig(const uint8_t *sig, size_t len, uint8_t der[EC_SIG_MAX])
{
	ECDSA_SIG *es = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(sig, (int)(len / 2), NULL);
	BIGNUM *s = BN_bin2bn(sig + len / 2, (int)(len / 2), NULL);
	uint8_t *to = der;
	int n = 0;

	if (es != NULL && r != NULL && s != NULL &&
	    ECDSA_SIG_set0(es, r, s) == 1) {
		r = s = NULL;	/* now owned by es */
		n = i2d_ECDSA_SIG(es, NULL) <= EC_SIG_MAX ?
			i2d_ECDSA_SIG(es, &to) : 0;
	}
	BN_free(r);
	BN_free(s);
	ECDSA_SIG_free(es);
	return n;
}

bool
dns_key_verify(const struct dns_key *k, const uint8_t *data, size_t len,
	const uint8_t *sig, size_t sig_len)
{
	const struct algorithm *a = algorithm_find(k->algorithm);
	uint8_t der[EC_SIG_MAX];
	EVP_MD_CTX *ctx;
	bool good = false;

	if (k->prepared == NULL || a == NULL)
		return false;
	if (a->kind == KIND_EC) {
		int n = sig_len == a->key_len ? ec_sig(sig, sig_len, der) : 0;

		if (n <= 0)
			return false;
		sig = der;
		sig_len = (size_t)n;
	}
	ctx = EVP_MD_CTX_new();
	if (ctx != NULL && EVP_MD_CTX_copy_ex(ctx, k->prepared) == 1)
		good = EVP_DigestVerify(ctx, sig, sig_len, data, len) == 1;
	EVP_MD_CTX_free(ctx);
	return good;
}
