/*
 * The CA file is read once, before the sandbox, and shared by all requests:
 * a bundle takes many milliseconds to parse.
 */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/log.h"
#include "base/mem.h"
#include "policy/https_tls.h"

struct https_trust {
	char *file;
	struct stat seen;	/* all zero: could not be looked at */
	X509_STORE *store;	/* NULL: none yet */
};

static void
read_file(struct https_trust *t)
{
	X509_STORE *store = X509_STORE_new();

	if (store != NULL && X509_STORE_load_file(store, t->file) == 1) {
		X509_STORE_free(t->store);
		t->store = store;
	} else {
		X509_STORE_free(store);
		log_warn("https-ca", "file", t->file, "reason",
			t->store != NULL ? "unreadable, keeping what was "
			"read before" : "unreadable", NULL);
	}
	ERR_clear_error();
}

static void
look(const struct https_trust *t, struct stat *now)
{
	memset(now, 0, sizeof(*now));
	if (stat(t->file, now) != 0)
		memset(now, 0, sizeof(*now));
}

struct https_trust *
https_trust_new(const char *ca_file)
{
	struct https_trust *t = xcalloc(1, sizeof(*t));

	t->file = xstrdup(ca_file);
	look(t, &t->seen);
	read_file(t);
	return t;
}

void
https_trust_free(struct https_trust **trust)
{
	if (*trust == NULL)
		return;
	X509_STORE_free((*trust)->store);
	mem_free(&(*trust)->file);
	mem_free(trust);
}

bool
https_trust_ready(struct https_trust *t)
{
	struct stat now;

	look(t, &now);
	if (now.st_ino != t->seen.st_ino || now.st_size != t->seen.st_size ||
	    now.st_mtim.tv_sec != t->seen.st_mtim.tv_sec ||
	    now.st_mtim.tv_nsec != t->seen.st_mtim.tv_nsec) {
		t->seen = now;
		read_file(t);
	}
	return t->store != NULL;
}

/* libcurl reports a failed verification only when it is the oldest entry in
 * the error queue, hence the clearing. */
static int
on_verify(X509_STORE_CTX *ctx, void *arg)
{
	struct https_seen *seen = arg;
	int rc = X509_verify_cert(ctx);

	if (rc <= 0) {
		seen->verify_result = X509_STORE_CTX_get_error(ctx);
		if (seen->verify_result == X509_V_OK)
			seen->verify_result = X509_V_ERR_UNSPECIFIED;
		ERR_clear_error();
	}
	return rc;
}

/* Without this a response cut off by an attacker looks whole when it has no
 * length of its own: libcurl takes any end for the right one. */
static void
on_message(int sent, int version, int type, const void *bytes, size_t len,
	SSL *ssl, void *arg)
{
	struct https_seen *seen = arg;

	(void)version;
	(void)ssl;
	if (!sent && type == SSL3_RT_ALERT && len == 2 &&
	    ((const uint8_t *)bytes)[1] == SSL_AD_CLOSE_NOTIFY)
		seen->ended = true;
}

bool
https_trust_apply(struct https_trust *t, void *ssl_ctx, const char *host,
	struct https_seen *seen)
{
	SSL_CTX *ctx = ssl_ctx;
	X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ctx);

	SSL_CTX_set1_cert_store(ctx, t->store);
	SSL_CTX_set_cert_verify_callback(ctx, on_verify, seen);
	SSL_CTX_set_msg_callback(ctx, on_message);
	(void)SSL_CTX_set_msg_callback_arg(ctx, seen);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	X509_VERIFY_PARAM_set_hostflags(param,
		X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
		X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
		X509_VERIFY_PARAM_set1_host(param, host, 0) == 1;
}

static const struct {
	long code;
	const char *words;
} faults[] = {
	{ X509_V_ERR_HOSTNAME_MISMATCH, "is for another name" },
	{ X509_V_ERR_CERT_HAS_EXPIRED, "has expired" },
	{ X509_V_ERR_CERT_NOT_YET_VALID, "is not valid yet" },
	{ X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "is self-signed" },
	{ X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
	    "is of an authority that is not trusted" },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT,
	    "is of an unknown authority" },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
	    "is of an unknown authority, or its chain was not sent" },
	{ X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
	    "is of an unknown authority, or its chain was not sent" },
	{ X509_V_ERR_CERT_SIGNATURE_FAILURE, "has a wrong signature" },
	{ X509_V_ERR_CERT_REVOKED, "has been revoked" },
	{ X509_V_ERR_INVALID_PURPOSE, "is not for a server" },
	{ X509_V_ERR_EE_KEY_TOO_SMALL, "has too short a key" },
	{ X509_V_ERR_CA_MD_TOO_WEAK, "has too weak a signature" },
};

const char *
https_trust_words(long verify_result)
{
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		if (faults[i].code == verify_result)
			return faults[i].words;
	return NULL;
}
