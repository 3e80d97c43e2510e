/*
 * OpenSSL, used directly on a non-blocking socket: the boundary of STARTTLS is
 * then ours, and what the library wants is seen as it is.  The error queue is
 * per thread and sticky, so that it is cleared before every call.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/client/cert_report_tls.h"
#include "smtpd-out/client/tls.h"
#include "smtpd-out/client/tls_resume.h"
#include "smtpd-out/client/tls_verify.h"

struct tls_client {
	SSL_CTX *ctx;
	struct tls_setting set;
	struct tls_resume *resume;	/* NULL: off */
};

struct tls {
	SSL *ssl;
	const struct demand *demand;
	struct tls_client *client;
	bool keyed;			/* key holds one */
	uint8_t key[TLS_RESUME_KEY_BYTES];
	bool offered;			/* a session, which was not taken yet */
	bool up;
	int64_t proven_ms;		/* see tls_resume.h */
	size_t chain_bytes;		/* once it is up */
	SSL_SESSION *fresh;		/* from before that */
	bool refused;
	enum tls_failure watched;
	char watched_text[TLS_ERROR_MAX];
	enum tls_failure failure;
	char error[TLS_ERROR_MAX];
};

/* The oldest entry of the queue is the cause, later ones its echo. */
static void
take_error(char err[TLS_ERROR_MAX], const char *otherwise)
{
	unsigned long code = ERR_peek_error();
	const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;

	(void)str_copy(err, TLS_ERROR_MAX, reason != NULL ? reason :
		otherwise);
	ERR_clear_error();
}

struct tls_client *
tls_client_new(const struct conf *conf, char err[TLS_ERROR_MAX])
{
	struct tls_client *client = xcalloc(1, sizeof(*client));

	client->set.conf = conf;
	client->set.stores = tls_stores_new();
	ERR_clear_error();
	client->ctx = SSL_CTX_new(TLS_client_method());
	if (client->ctx == NULL ||
	    SSL_CTX_set_min_proto_version(client->ctx, TLS1_VERSION) != 1 ||
	    SSL_CTX_dane_enable(client->ctx) <= 0) {
		take_error(err, "no TLS context");
		tls_client_free(&client);
		return NULL;
	}
	SSL_CTX_set_options(client->ctx, SSL_OP_NO_COMPRESSION |
		SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_mode(client->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
		SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
		SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_clear_mode(client->ctx, SSL_MODE_AUTO_RETRY);
	(void)SSL_CTX_set_session_cache_mode(client->ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_verify(client->ctx, SSL_VERIFY_NONE, NULL);
	return client;
}

static void
put_session(struct tls *tls, SSL_SESSION *session)
{
	struct tls_kept kept = { .session = session,
		.proven_ms = tls->proven_ms };
	const unsigned char *ticket;

	SSL_SESSION_get0_ticket(session, &ticket, &kept.size_bytes);
	kept.size_bytes += tls->chain_bytes;
	tls_resume_put(tls->client->resume, tls->key, &kept);
}

/* From the library: a session that could be resumed; 1 when it is kept. */
static int
on_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls *tls = SSL_get_app_data(ssl);

	if (!tls->keyed)
		return 0;
	if (tls->up) {
		put_session(tls, session);
	} else {
		SSL_SESSION_free(tls->fresh);
		tls->fresh = session;
	}
	return 1;
}

void
tls_client_resume(struct tls_client *client, int64_t lifetime_ms)
{
	client->resume = tls_resume_new(lifetime_ms);
	(void)SSL_CTX_set_session_cache_mode(client->ctx,
		SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(client->ctx, on_session);
}

void
tls_client_free(struct tls_client **client)
{
	if (*client == NULL)
		return;
	tls_resume_free(&(*client)->resume);
	tls_stores_free(&(*client)->set.stores);
	SSL_CTX_free((*client)->ctx);
	mem_free(client);
}

/* The server name to send: what a rule says, the TLSA base domain (RFC 7672
 * 8.1), or the host's own name; none for an address literal. */
static const char *
server_name(const struct tls_params *params)
{
	const struct demand *d = params->demand;
	const char *name = d->sni != NULL ? d->sni : d->tlsa_base != NULL ?
		d->tlsa_base : params->host;

	return str_is_domain(name) ? name : NULL;
}

/* False when the library fails. */
static bool
offer_session(struct tls *tls, const char *name, int fd, bool full)
{
	struct tls_kept kept;

	if (tls->client->resume == NULL)
		return true;
	tls->keyed = tls_resume_key(tls->demand, name, fd, tls->key);
	if (!tls->keyed || full)
		return true;
	if (!tls_resume_take(tls->client->resume, tls->key, &kept))
		return true;
	tls->offered = SSL_set_session(tls->ssl, kept.session) == 1;
	tls->proven_ms = kept.proven_ms;
	SSL_SESSION_free(kept.session);
	return tls->offered;
}

struct tls *
tls_new(struct tls_client *client, const struct tls_params *params, int fd,
	char err[TLS_ERROR_MAX])
{
	struct tls *tls = xcalloc(1, sizeof(*tls));
	const char *name = server_name(params);

	ERR_clear_error();
	tls->failure = TLS_FAILURE_VALIDATION;
	tls->demand = params->demand;
	tls->client = client;
	tls->ssl = SSL_new(client->ctx);
	if (tls->ssl == NULL || SSL_set_fd(tls->ssl, fd) != 1 ||
	    !tls_verify_apply(tls->ssl, params->demand, &client->set) ||
	    (name != NULL && SSL_set_tlsext_host_name(tls->ssl, name) != 1) ||
	    SSL_set_app_data(tls->ssl, tls) != 1 ||
	    !offer_session(tls, name, fd, params->full))
		goto fail;
	SSL_set_connect_state(tls->ssl);
	return tls;
fail:
	take_error(err, "no TLS session");
	tls_free(&tls);
	return NULL;
}

void
tls_free(struct tls **tls)
{
	if (*tls == NULL)
		return;
	if ((*tls)->offered)
		tls_resume_refuse((*tls)->client->resume, (*tls)->key);
	SSL_free((*tls)->ssl);
	SSL_SESSION_free((*tls)->fresh);
	ERR_clear_error();
	mem_free(tls);
}

/* The words of the library for what an operator should know by its own. */
static void
explain(struct tls *tls)
{
	unsigned long code = ERR_peek_error();
	int reason = ERR_GET_REASON(code);
	int oldest = (int)SSL_get_min_proto_version(tls->ssl);

	if (code == 0 || ERR_GET_LIB(code) != ERR_LIB_SSL) {
		take_error(tls->error, "protocol error");
	} else if (reason == SSL_R_UNSUPPORTED_PROTOCOL ||
	    reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION) {
		(void)snprintf(tls->error, sizeof(tls->error), "the server "
			"has no version of TLS that is new enough (1.%d)",
			oldest - TLS1_VERSION);
	} else if (reason == SSL_R_WRONG_VERSION_NUMBER ||
	    reason == SSL_R_HTTP_REQUEST) {
		(void)str_copy(tls->error, sizeof(tls->error),
			"what the server says is not TLS");
	} else if (reason > SSL_AD_REASON_OFFSET &&
	    reason < SSL_AD_REASON_OFFSET + 256) {
		(void)snprintf(tls->error, sizeof(tls->error),
			"the server refused the handshake (alert: %s)",
			SSL_alert_desc_string_long(reason -
			SSL_AD_REASON_OFFSET));
	} else {
		take_error(tls->error, "protocol error");
	}
	ERR_clear_error();
}

/* rc is what the call returned, 1 for success. */
static enum tls_result
result(struct tls *tls, int rc, int saved_errno)
{
	switch (SSL_get_error(tls->ssl, rc)) {
	case SSL_ERROR_NONE:
		return TLS_OK;
	case SSL_ERROR_WANT_READ:
		return TLS_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		return TLS_WANT_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		(void)str_copy(tls->error, sizeof(tls->error),
			"closed by peer");
		return TLS_ENDED;
	case SSL_ERROR_SSL:
		tls->refused = ERR_GET_REASON(ERR_peek_error()) !=
			SSL_R_UNEXPECTED_EOF_WHILE_READING;
		explain(tls);
		return TLS_FAILED;
	default:
		take_error(tls->error, saved_errno != 0 ?
			strerror(saved_errno) : "closed by peer");
		return TLS_FAILED;
	}
}

static size_t
chain_bytes(const struct tls *tls)
{
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(tls->ssl);
	size_t sum = 0;
	int len;

	for (int i = 0; i < sk_X509_num(chain); i++)
		if ((len = i2d_X509(sk_X509_value(chain, i), NULL)) > 0)
			sum += (size_t)len;
	return sum;
}

/* The handshake is done, and what was demanded is verified. */
static void
keep_session(struct tls *tls)
{
	bool resumed = SSL_session_reused(tls->ssl) == 1;

	tls->up = true;
	if (!resumed)
		tls->proven_ms = clock_mono_ms();
	/* In TLS 1.2 it serves more than once. */
	if (resumed && tls->fresh == NULL && SSL_version(tls->ssl) <
	    TLS1_3_VERSION)
		tls->fresh = SSL_get1_session(tls->ssl);
	if (tls->keyed)
		tls->chain_bytes = chain_bytes(tls);
	if (tls->fresh != NULL && tls->keyed)
		put_session(tls, tls->fresh);
	else
		SSL_SESSION_free(tls->fresh);
	tls->fresh = NULL;
}

enum tls_result
tls_handshake(struct tls *tls)
{
	enum tls_result res;
	int rc;

	ERR_clear_error();
	errno = 0;
	rc = SSL_do_handshake(tls->ssl);
	res = result(tls, rc, errno);
	if (res == TLS_FAILED) {
		tls_verify_explain(tls->ssl, tls->demand, &tls->failure,
			tls->error, sizeof(tls->error));
	} else if (res == TLS_OK && !tls_verify_done(tls->ssl, tls->demand)) {
		tls->failure = TLS_FAILURE_NOT_TRUSTED;
		(void)str_copy(tls->error, sizeof(tls->error),
			"the certificate is not the one demanded");
		tls_verify_explain(tls->ssl, tls->demand, &tls->failure,
			tls->error, sizeof(tls->error));
		res = TLS_FAILED;
	} else if (res == TLS_OK && tls->demand->watch == DEMAND_WATCH_HOST) {
		tls->watched = tls_verify_watch(tls->ssl, tls->demand,
			&tls->client->set, tls->watched_text,
			sizeof(tls->watched_text));
	}
	if (res == TLS_OK)
		keep_session(tls);
	return res;
}

bool
tls_offered(const struct tls *tls)
{
	return tls->offered;
}

enum tls_failure
tls_watched(const struct tls *tls, const char **text_out)
{
	*text_out = tls->watched_text;
	return tls->watched;
}

void
tls_proof(const struct tls *tls, struct demand_proof *out)
{
	tls_verify_proof(tls->ssl, tls->demand, out);
}

enum tls_failure
tls_failure(const struct tls *tls)
{
	return tls->failure;
}

enum tls_result
tls_read(struct tls *tls, void *to, size_t len, size_t *got_out)
{
	int rc;

	*got_out = 0;
	ERR_clear_error();
	errno = 0;
	rc = SSL_read_ex(tls->ssl, to, len, got_out);
	if (rc == 1)
		tls->offered = false;
	return result(tls, rc, errno);
}

enum tls_result
tls_write(struct tls *tls, const void *from, size_t len, size_t *sent_out)
{
	int rc;

	*sent_out = 0;
	ERR_clear_error();
	errno = 0;
	rc = SSL_write_ex(tls->ssl, from, len, sent_out);
	return result(tls, rc, errno);
}

bool
tls_pending(const struct tls *tls)
{
	return SSL_pending(tls->ssl) > 0;
}

void
tls_goodbye(struct tls *tls)
{
	ERR_clear_error();
	if (SSL_is_init_finished(tls->ssl))
		(void)SSL_shutdown(tls->ssl);
	ERR_clear_error();
}

const char *
tls_error(const struct tls *tls)
{
	return tls->error;
}

bool
tls_refused(const struct tls *tls)
{
	return tls->refused;
}

const char *
tls_proto(const struct tls *tls)
{
	return SSL_get_version(tls->ssl);
}

const char *
tls_cipher(const struct tls *tls)
{
	return SSL_get_cipher_name(tls->ssl);
}

struct cert_report *
tls_report(const struct tls *tls, const char *name)
{
	struct cert_report *r = cert_report_new();
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(tls->ssl);

	cert_report_connection(r, tls->ssl);
	cert_report_chain(r, chain);
	if (name != NULL && r->count > 0 && str_is_domain(name)) {
		(void)str_copy(r->pkix_name, sizeof(r->pkix_name), name);
		r->pkix = tls_verify_apart(tls->ssl, chain, name,
			&tls->client->set, r->pkix_text,
			sizeof(r->pkix_text));
	}
	return r;
}
