/*
 * One look at a service: where it is, the way to TLS, what it shows, and
 * whether that is what was wanted.
 */
#ifndef SMTPD_OUT_STARTTLS_RUN_H
#define SMTPD_OUT_STARTTLS_RUN_H

#include "base/conf.h"
#include "smtpd-out/client/cert_report.h"
#include "smtpd-out/starttls/starttls.h"
#include "smtpd-out/starttls/starttls_find.h"

struct starttls_request {
	const struct starttls_row *row;
	const char *text;		/* where, as it was given */
	bool dane;
	const char *pkix;		/* normalised name, or NULL */
};

struct starttls_report {
	const struct starttls_request *request;
	int64_t now_s;
	char resolver[256];		/* its state; "" when not asked */
	struct starttls_place place;
	struct starttls *engine;	/* NULL: no connection was tried */
	const struct starttls_facts *facts;	/* of it, or NULL */
	enum starttls_result result;
	char text[STARTTLS_TEXT_MAX];	/* why, unless OK */
	char ip[64];
	struct cert_report *cert;	/* NULL: no handshake */
	enum tls_failure failure;	/* of the handshake */
	bool verified;			/* all that was wanted of it */
	int64_t connect_ms, tls_ms, total_ms;	/* -1: not reached */
};

/* ST_DENIED with a sentence in err when it cannot even begin. */
enum status starttls_run(const struct conf *, const struct starttls_request *,
	struct starttls_report *out, char err[CONF_ERR_MAX]) MUST_CHECK;
void starttls_report_clear(struct starttls_report *);

#endif
