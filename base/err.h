/*
 * The two kinds of failure, never mixed.
 *
 * status: what a function could or could not do locally; checked at once.
 * outcome: what happened to mail; plain data, copied freely.
 *
 * An outcome has a scope (how much of the mail it settles) and a verdict.
 * Remote text in it is already sanitised (str_sanitise) and cut.  Outcomes
 * are built only by the constructors below: all local failure texts and their
 * RFC 3463 codes stand on one page, err.c.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdbool.h>

#define MUST_CHECK __attribute__((warn_unused_result))

enum status {
	ST_OK = 0,
	ST_AGAIN,	/* nothing now, ask later (would block) */
	ST_EOF,		/* the other side ended in order */
	ST_PARSE,	/* input is not of the form required */
	ST_LIMIT,	/* a configured or built-in bound was met */
	ST_TIMEOUT,	/* time ran out */
	ST_SYS,		/* the system refused; errno tells */
	ST_DENIED,	/* not permitted */
	ST_NOENT,	/* no such thing */
	ST_FULL,	/* storage is full */
	ST_CORRUPT	/* storage is damaged */
};

const char *status_name(enum status);

enum outcome_scope {
	SCOPE_RCPT = 0,		/* this recipient only */
	SCOPE_MESSAGE,		/* all recipients of this message here */
	SCOPE_HOST,		/* this MX host; try the next one */
	SCOPE_DESTINATION	/* no host of the destination will do */
};

enum outcome_verdict {
	VERDICT_NONE = 0,	/* not decided yet */
	VERDICT_DONE,		/* the next hop has taken responsibility */
	VERDICT_LATER,		/* try again */
	VERDICT_NEVER		/* bounce */
};

enum outcome_stage {
	STAGE_NONE = 0,
	STAGE_DNS,		/* finding hosts and addresses */
	STAGE_POLICY,		/* deciding what is demanded */
	STAGE_CONNECT,		/* TCP connection */
	STAGE_BANNER,		/* 220 greeting */
	STAGE_EHLO,		/* EHLO or HELO */
	STAGE_STARTTLS,		/* STARTTLS command */
	STAGE_TLS,		/* handshake and verification */
	STAGE_AUTH,		/* AUTH to a relay */
	STAGE_MAIL,		/* MAIL FROM */
	STAGE_RCPT,		/* RCPT TO */
	STAGE_DATA,		/* DATA or BDAT */
	STAGE_EOM,		/* reply to the end of the message */
	STAGE_QUEUE		/* our own queue (expiry, removal) */
};

/* Why TLS, or the policy that demanded it, failed: the result types of RFC
 * 8460 section 4.3. */
enum tls_failure {
	TLS_FAILURE_NONE = 0,
	TLS_FAILURE_STARTTLS,		/* starttls-not-supported */
	TLS_FAILURE_HOST_MISMATCH,	/* certificate-host-mismatch */
	TLS_FAILURE_EXPIRED,		/* certificate-expired */
	TLS_FAILURE_NOT_TRUSTED,	/* certificate-not-trusted */
	TLS_FAILURE_VALIDATION,		/* validation-failure */
	TLS_FAILURE_TLSA_INVALID,	/* tlsa-invalid */
	TLS_FAILURE_DNSSEC_INVALID,	/* dnssec-invalid */
	TLS_FAILURE_DANE_REQUIRED,	/* dane-required */
	TLS_FAILURE_STS_FETCH,		/* sts-policy-fetch-error */
	TLS_FAILURE_STS_INVALID,	/* sts-policy-invalid */
	TLS_FAILURE_STS_WEBPKI,		/* sts-webpki-invalid */
	TLS_FAILURE_COUNT
};

const char *tls_failure_name(enum tls_failure);
/* TLS_FAILURE_NONE when there is no such result type. */
enum tls_failure tls_failure_parse(const char *name);
/* For people: what was seen, and what the receiving postmaster should do. */
const char *tls_failure_meaning(enum tls_failure);
const char *tls_failure_cure(enum tls_failure);

#define OUTCOME_TEXT_MAX 512
#define OUTCOME_ENHANCED_MAX 12

struct outcome {
	enum outcome_scope scope;
	enum outcome_verdict verdict;
	enum outcome_stage stage;
	bool remote;			/* text is the peer's reply */
	bool maybe_duplicate;		/* lost after the final dot */
	enum tls_failure tls_failure;	/* what TLSRPT calls it */
	int code;			/* SMTP reply code, 0 when none */
	char enhanced[OUTCOME_ENHANCED_MAX];	/* "4.4.1" (RFC 3463) */
	char text[OUTCOME_TEXT_MAX];	/* one line, printable UTF-8 */
};

const char *outcome_verdict_name(enum outcome_verdict);
const char *outcome_stage_name(enum outcome_stage);

/* What the peer said.  code 2xx is done, 5xx never, all else later; without
 * an enhanced code (NULL or malformed, or of another class) one is made from
 * code and stage (RFC 3463, RFC 2034 section 4). */
struct outcome outcome_reply(enum outcome_scope, enum outcome_stage, int code,
	const char *enhanced, const char *text);

/* DNS: the destination does not exist, takes no mail, or cannot be asked. */
struct outcome outcome_no_domain(const char *domain);
struct outcome outcome_null_mx(const char *domain);	/* RFC 7505 */
struct outcome outcome_no_address(const char *domain);
struct outcome outcome_bad_address(const char *address);
struct outcome outcome_dns_later(const char *domain, const char *why);
struct outcome outcome_dns_bogus(const char *domain, const char *why);
struct outcome outcome_loop(const char *domain);	/* MX is this host */
struct outcome outcome_hops(unsigned hops);

/* Hosts and sessions; all of scope HOST and verdict LATER. */
struct outcome outcome_connect(const char *host, const char *why);
struct outcome outcome_lost(enum outcome_stage, const char *host);
struct outcome outcome_timeout(enum outcome_stage, const char *host);
struct outcome outcome_protocol(enum outcome_stage, const char *host,
	const char *why);
struct outcome outcome_tls_required(const char *host, const char *why);
struct outcome outcome_tls_failed(const char *host, enum tls_failure,
	const char *why);
struct outcome outcome_tls_asked(const char *host, const char *why);
/* A refusal by who has not proven yet to be the host that it must be. */
struct outcome outcome_unproven(enum outcome_stage stage, const char *host,
	int code, const char *text);
struct outcome outcome_auth(const char *host, const char *why);
struct outcome outcome_tlsa_lookup(const char *host);
struct outcome outcome_tlsa_unasked(const char *host);	/* our own fault */
/* MTA-STS (RFC 8461): the policy of the domain does not name the host; it names
 * some, but DNS that nobody signed says that there is none, and why; it cannot
 * be known now whether there is a policy, and why. */
struct outcome outcome_sts_mx_mismatch(const char *host, const char *domain);
struct outcome outcome_sts_no_host(const char *domain, const char *why);
struct outcome outcome_sts_later(const char *domain, const char *why);
struct outcome outcome_dane_required(const char *host, const char *why);

/* The peer lacks what the message needs; NEVER, scope HOST so that the other
 * hosts are tried first.  feature is an EHLO keyword. */
struct outcome outcome_feature(const char *host, const char *feature);
/* REQUIRETLS (RFC 8689) cannot be had of this host; NEVER, scope HOST. */
struct outcome outcome_require_tls(const char *host, const char *why);
struct outcome outcome_size(const char *host, unsigned long long limit);

/* After the final dot: later, marked as a possible duplicate. */
struct outcome outcome_unsure(const char *host, const char *why);

/* Our side. */
struct outcome outcome_expired(const char *last_text);
struct outcome outcome_paused(void);
struct outcome outcome_removed(void);
struct outcome outcome_child_died(void);
struct outcome outcome_local(const char *why);

#endif
