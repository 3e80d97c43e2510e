/*
 * What delivery would do, from what was found: a pure function that walks the
 * hosts in their order and combines outcomes as delivery does
 * (delivery_merge()).
 */
#ifndef SMTPD_OUT_CHECK_VERDICT_H
#define SMTPD_OUT_CHECK_VERDICT_H

#include "smtpd-out/check/check_facts.h"

enum check_result {		/* what protects the mail, or its fate */
	CHECK_DANE = 0,
	CHECK_STS,
	CHECK_PKIX,		/* a local rule asked for it */
	CHECK_FINGERPRINT,	/* likewise */
	CHECK_ENCRYPTED,	/* TLS with nobody verified */
	CHECK_PLAIN,
	CHECK_DEFERRED,
	CHECK_BOUNCED
};

struct check_verdict {
	enum check_result result;
	size_t host;			/* whose outcome it is; host_count: of
					 * the domain as a whole */
	struct outcome outcome;		/* verdict DONE: delivered */
	char reason[2 * CHECK_TEXT_MAX];	/* one plain sentence */
	char next[2 * CHECK_TEXT_MAX];	/* the next thing to mend, or "" */
};

const char *check_result_name(enum check_result);
/* EX_OK, EX_TEMPFAIL or EX_UNAVAILABLE. */
int check_result_exit(enum check_result);

void check_verdict(const struct check_facts *, struct check_verdict *out);

/* Bits of the hosts that an enforced MTA-STS policy ruled out or failed: what
 * delivery looks the policy up once more for (RFC 8461 section 5.1). */
uint32_t check_sts_blamed(const struct check_facts *);

/* What a session under a demand achieves; of the host's last try, or without
 * one what its demand amounts to. */
enum check_result check_host_result(const struct check_host *);

/* What an MTA-STS policy that does not decide here (in testing mode, or beside
 * DANE) would object to, and a sentence. */
enum tls_failure check_watched(const struct check_host *,
	const char **why_out);

#endif
