/*
 * TLS for submitters: one server per listener with a certificate, one struct
 * inject_tls for each connection.  Clients are not asked for certificates.
 * Sessions are never resumed.
 *
 * OpenSSL writes to the socket with write(2): the process must ignore SIGPIPE.
 */
#ifndef SMTPD_OUT_INJECT_TLS_H
#define SMTPD_OUT_INJECT_TLS_H

#include "smtpd-out/client/tls.h"

struct inject_tls_server;
struct inject_tls;

/* Reads the files: before the sandbox is entered.  NULL with a reason. */
struct inject_tls_server *inject_tls_server_new(const char *cert_file,
	const char *key_file, char err[TLS_ERROR_MAX]);
void inject_tls_server_free(struct inject_tls_server **);

/* On a connected non-blocking socket, which stays the caller's; NULL when
 * memory or the library fails. */
struct inject_tls *inject_tls_new(struct inject_tls_server *, int fd);
void inject_tls_free(struct inject_tls **);

enum tls_result inject_tls_handshake(struct inject_tls *) MUST_CHECK;
enum tls_result inject_tls_read(struct inject_tls *, void *, size_t,
	size_t *got_out) MUST_CHECK;
enum tls_result inject_tls_write(struct inject_tls *, const void *, size_t,
	size_t *sent_out) MUST_CHECK;
bool inject_tls_pending(const struct inject_tls *);	/* bytes wait inside */
void inject_tls_goodbye(struct inject_tls *);	/* close_notify, no waiting */

const char *inject_tls_proto(const struct inject_tls *);
const char *inject_tls_cipher(const struct inject_tls *);
/* Of the last TLS_FAILED. */
const char *inject_tls_error(const struct inject_tls *);

#endif
