/*
 * Certificate authorities, parsed once per CA file instead of once for each
 * connection (Debian's file takes some 10 ms of CPU).  Private to tls*.c.
 */
#ifndef SMTPD_OUT_TLS_STORE_H
#define SMTPD_OUT_TLS_STORE_H

#include <openssl/ssl.h>

struct tls_stores;

struct tls_stores *tls_stores_new(void);
void tls_stores_free(struct tls_stores **);

/* The authorities of a PEM file, owned by the cache; SSL objects keep their
 * own reference.  A file that has changed since is read again, and while it
 * cannot be read there are none: NULL. */
X509_STORE *tls_stores_get(struct tls_stores *, const char *path);

#endif
