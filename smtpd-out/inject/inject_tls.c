/*
 * The server side of TLS, for submitters over TCP.
 */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/inject/inject_tls.h"

struct inject_tls_server {
	SSL_CTX *ctx;
};

struct inject_tls {
	SSL *ssl;
	bool failed;			/* nothing more may be said on it */
	char error[TLS_ERROR_MAX];
};

/* The reason of the first error in OpenSSL's queue, which is emptied. */
static void
take_error(char err[TLS_ERROR_MAX], const char *otherwise)
{
	unsigned long code = ERR_peek_error();
	const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);

	if (reason == NULL && code != 0 && ERR_SYSTEM_ERROR(code))
		reason = strerror(ERR_GET_REASON(code));
	(void)str_copy(err, TLS_ERROR_MAX, reason != NULL ? reason :
		otherwise);
	ERR_clear_error();
}

struct inject_tls_server *
inject_tls_server_new(const char *cert_file, const char *key_file,
	char err[TLS_ERROR_MAX])
{
	struct inject_tls_server *server = xcalloc(1, sizeof(*server));

	ERR_clear_error();
	server->ctx = SSL_CTX_new(TLS_server_method());
	if (server->ctx == NULL ||
	    SSL_CTX_set_min_proto_version(server->ctx, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_use_certificate_chain_file(server->ctx, cert_file) != 1 ||
	    SSL_CTX_use_PrivateKey_file(server->ctx, key_file,
	    SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(server->ctx) != 1) {
		take_error(err, "no TLS context");
		inject_tls_server_free(&server);
		return NULL;
	}
	SSL_CTX_set_options(server->ctx, SSL_OP_NO_COMPRESSION |
		SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
		SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(server->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
		SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
		SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_clear_mode(server->ctx, SSL_MODE_AUTO_RETRY);
	(void)SSL_CTX_set_session_cache_mode(server->ctx, SSL_SESS_CACHE_OFF);
	(void)SSL_CTX_set_num_tickets(server->ctx, 0);
	SSL_CTX_set_verify(server->ctx, SSL_VERIFY_NONE, NULL);
	return server;
}

void
inject_tls_server_free(struct inject_tls_server **server)
{
	if (*server == NULL)
		return;
	SSL_CTX_free((*server)->ctx);
	mem_free(server);
}

struct inject_tls *
inject_tls_new(struct inject_tls_server *server, int fd)
{
	struct inject_tls *tls = xcalloc(1, sizeof(*tls));

	ERR_clear_error();
	tls->ssl = SSL_new(server->ctx);
	if (tls->ssl == NULL || SSL_set_fd(tls->ssl, fd) != 1) {
		inject_tls_free(&tls);
		return NULL;
	}
	SSL_set_accept_state(tls->ssl);
	return tls;
}

void
inject_tls_free(struct inject_tls **tls)
{
	if (*tls == NULL)
		return;
	SSL_free((*tls)->ssl);
	ERR_clear_error();
	mem_free(tls);
}

/* What a call that returned rc has come to. */
static enum tls_result
result_of(struct inject_tls *tls, int rc)
{
	int error = errno;

	if (rc > 0)
		return TLS_OK;
	switch (SSL_get_error(tls->ssl, rc)) {
	case SSL_ERROR_WANT_READ:
		return TLS_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		return TLS_WANT_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		return TLS_ENDED;
	default:
		tls->failed = true;
		take_error(tls->error, error != 0 ? strerror(error) :
			"connection ended");
		return TLS_FAILED;
	}
}

enum tls_result
inject_tls_handshake(struct inject_tls *tls)
{
	ERR_clear_error();
	errno = 0;
	return result_of(tls, SSL_do_handshake(tls->ssl));
}

enum tls_result
inject_tls_read(struct inject_tls *tls, void *room, size_t len,
	size_t *got_out)
{
	*got_out = 0;
	ERR_clear_error();
	errno = 0;
	return result_of(tls, SSL_read_ex(tls->ssl, room, len, got_out));
}

enum tls_result
inject_tls_write(struct inject_tls *tls, const void *bytes, size_t len,
	size_t *sent_out)
{
	*sent_out = 0;
	ERR_clear_error();
	errno = 0;
	return result_of(tls, SSL_write_ex(tls->ssl, bytes, len, sent_out));
}

bool
inject_tls_pending(const struct inject_tls *tls)
{
	/* Not SSL_has_pending(): half a record counts there, and nothing but
	 * the socket brings the other half. */
	return SSL_pending(tls->ssl) > 0;
}

void
inject_tls_goodbye(struct inject_tls *tls)
{
	if (!tls->failed && SSL_is_init_finished(tls->ssl))
		(void)SSL_shutdown(tls->ssl);
	ERR_clear_error();
}

const char *
inject_tls_proto(const struct inject_tls *tls)
{
	return SSL_get_version(tls->ssl);
}

const char *
inject_tls_cipher(const struct inject_tls *tls)
{
	return SSL_get_cipher_name(tls->ssl);
}

const char *
inject_tls_error(const struct inject_tls *tls)
{
	return tls->error;
}
