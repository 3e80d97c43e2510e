/*
 * Filling a report on certificates from OpenSSL's objects.  Private to tls.c
 * and cert_report.c.
 */
#ifndef SMTPD_OUT_CERT_REPORT_TLS_H
#define SMTPD_OUT_CERT_REPORT_TLS_H

#include <openssl/ssl.h>

#include "smtpd-out/client/cert_report.h"

/* Protocol, cipher and key exchange of a handshake that has come to an end. */
void cert_report_connection(struct cert_report *, SSL *);
void cert_report_chain(struct cert_report *, STACK_OF(X509) *chain);

#endif
