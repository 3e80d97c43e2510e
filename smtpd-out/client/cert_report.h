/*
 * What a TLS connection showed of its peer: the certificate chain as it was
 * sent, protocol, cipher and key exchange, and which TLSA records fit.  Plain
 * data for `check`; decides nothing.  All text is printable.
 *
 * tls_report() (tls.h) makes one, also of a handshake that failed, as far as
 * it got.
 */
#ifndef SMTPD_OUT_CERT_REPORT_H
#define SMTPD_OUT_CERT_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define CERT_REPORT_CERTS 10	/* of a chain that are looked at */
#define CERT_REPORT_NAMES 100	/* of a certificate */
#define CERT_REPORT_TEXT 256
#define CERT_REPORT_PRINT 65	/* hex SHA-256 and NUL */

struct cert_info {
	char subject[CERT_REPORT_TEXT], issuer[CERT_REPORT_TEXT];
	char **names;			/* subjectAltName: DNS names */
	size_t name_count;
	size_t name_total;		/* also those left out */
	int64_t not_before_s, not_after_s;
	char serial[64];		/* hex */
	char key[40];			/* "EC P-256", "RSA 2048" */
	char signature[48];		/* "ecdsa-with-SHA256" */
	char print[CERT_REPORT_PRINT];	/* SHA-256 of the certificate */
	char key_print[CERT_REPORT_PRINT];	/* and of its public key */
	bool ca;
	bool self_issued;		/* subject and issuer are the same */
	uint8_t *der, *key_der;		/* certificate; SubjectPublicKeyInfo */
	size_t der_len, key_der_len;
};

struct cert_report {
	char protocol[16];		/* "TLSv1.3"; "" when not agreed on */
	char cipher[64];
	char group[32];			/* "X25519"; "" without or unknown */
	struct cert_info *certs;	/* as sent: the server's own first */
	size_t count, total;
	/* How the chain does against the known authorities and a name, whatever
	 * was demanded.  pkix_name "": not looked at. */
	char pkix_name[STR_DOMAIN_MAX];
	enum tls_failure pkix;		/* NONE: it is fine */
	char pkix_text[CERT_REPORT_TEXT];
};

struct cert_report *cert_report_new(void);
void cert_report_free(struct cert_report **);	/* NULL inside is fine */

/*
 * Which certificate a TLSA record speaks of (RFC 6698 2.1): its place in the
 * chain, 0 the server's own; -1 for none.  Usages 1 and 3 speak of the
 * server's own alone, 0 and 2 of any (that the chain hangs together is not
 * looked at).  False data of whatever length is no match.
 */
int cert_report_match(const struct cert_report *, unsigned usage,
	unsigned selector, unsigned matching, const uint8_t *data, size_t len);

#endif
