/*
 * Everything that `check` finds out of one domain, as plain data: what DNS
 * says, what policy follows from it, what each host did in a live test, and
 * what the daemon has queued.  check_domain.c fills it in, check_verdict.c
 * concludes, check_text.c and check_json.c print.  Remote text in it is
 * printable and cut.
 */
#ifndef SMTPD_OUT_CHECK_FACTS_H
#define SMTPD_OUT_CHECK_FACTS_H

#include <netinet/in.h>

#include "base/conf.h"
#include "base/err.h"
#include "base/str.h"
#include "policy/dane.h"
#include "policy/policy.h"
#include "policy/sts.h"
#include "policy/sts_view.h"
#include "policy/tlsrpt_record.h"
#include "resolver/resolver.h"
#include "smtpd-out/client/cert_report.h"
#include "smtpd-out/client/session.h"
#include "smtpd-out/worker/route.h"

#define CHECK_TEXT_MAX 512
#define CHECK_MX_MAX 64			/* records of a set that are kept */
#define CHECK_RULES_MAX 4
#define CHECK_ZONES_MAX 24
#define CHECK_KEYWORDS_MAX 64		/* of an answer to EHLO */
#define CHECK_TRIES 2			/* a session, and one in the clear */

/* What came of a DNS question. */
struct check_lookup {
	bool asked;
	enum dns_result result;
	enum dns_security security;
	char why[CHECK_TEXT_MAX];	/* when LATER or not secure, or "" */
};

/* The result and its security. */
void check_lookup_take(struct check_lookup *, const struct dns_answer *);

struct check_zone {			/* a link of the DNSSEC chain */
	char name[STR_DOMAIN_MAX];	/* "." for the root */
	char text[CHECK_TEXT_MAX];
};

struct check_mx {			/* as published */
	char host[STR_DOMAIN_MAX];	/* "" for the null MX */
	uint16_t preference;
};

struct check_rule {			/* of the configuration */
	bool of_host;			/* else of the destination */
	char match[STR_DOMAIN_MAX + 1];
	enum conf_tls tls;
	bool override;
	int64_t until_s;		/* 0: for ever */
	bool expired;
};

#define CHECK_NO_MATCH (-1)
#define CHECK_NOT_SEEN (-2)		/* no certificate to compare with */

struct check_tlsa {
	uint8_t usage, selector, matching;
	uint8_t *data;
	size_t len;
	bool secure;			/* else it is ignored */
	enum dane_fault fault;
	int matched;		/* place in the chain, or one of these */
};

struct check_tlsa_set {			/* one question for TLSA records */
	char name[STR_DOMAIN_MAX + 16];
	struct check_lookup lookup;
	struct check_tlsa *records;
	size_t count;
};

enum check_phase {
	CHECK_PHASE_CONNECT = 0,
	CHECK_PHASE_BANNER,
	CHECK_PHASE_EHLO,		/* or HELO */
	CHECK_PHASE_STARTTLS,
	CHECK_PHASE_TLS,
	CHECK_PHASE_EHLO_TLS,
	CHECK_PHASE_AUTH,
	CHECK_PHASE_QUIT,
	CHECK_PHASES
};

const char *check_phase_name(enum check_phase);

struct check_words {
	char **words;
	size_t count;
};

struct check_session {			/* a live test of a host */
	bool up;			/* it would take mail now */
	bool clear;			/* without TLS after a failed one */
	struct outcome why;		/* when not up */
	struct session_info info;
	char banner[CHECK_TEXT_MAX];
	struct check_words ehlo, ehlo_tls;	/* what each EHLO brought */
	bool requiretls;		/* REQUIRETLS is among the latter */
	int64_t ms[CHECK_PHASES];	/* -1: not reached */
	struct cert_report *cert;	/* NULL: no handshake ended */
};

enum check_auth {			/* the password of a relay */
	CHECK_AUTH_NONE = 0,		/* none is needed */
	CHECK_AUTH_LEFT_OUT,		/* not tried */
	CHECK_AUTH_HIDDEN,		/* not read: this user may not */
	CHECK_AUTH_UNUSABLE,		/* delivery cannot read it either */
	CHECK_AUTH_ACCEPTED,
	CHECK_AUTH_REFUSED
};

const char *check_auth_name(enum check_auth);

struct check_host {
	char name[STR_DOMAIN_MAX];	/* or "[literal]" */
	uint16_t preference;
	enum dns_security mx_security, address_security;
	char canonical[STR_DOMAIN_MAX];	/* "" without an address */
	struct check_lookup a, aaaa;
	char (*addrs)[INET6_ADDRSTRLEN];
	size_t addr_count;
	bool sts_listed;		/* the policy names it */
	struct check_tlsa_set tlsa[DANE_BASES_MAX];
	size_t tlsa_count;
	enum demand_why rule;		/* who decided */
	struct demand *demand;		/* NULL: the host is not used */
	struct outcome skipped;		/* then: why; verdict NONE else */
	enum check_auth auth;
	char auth_why[CHECK_TEXT_MAX];	/* when HIDDEN or UNUSABLE */
	struct check_session tries[CHECK_TRIES];
	size_t try_count;
};

struct check_sts {
	bool wanted;			/* it is looked for here at all */
	struct check_lookup lookup;	/* of the TXT record */
	enum sts_finding finding;
	char record_id[STS_ID_MAX + 1];
	char record_why[CHECK_TEXT_MAX];
	struct sts_view *view;		/* what delivery works with; or NULL */
	/* When that is from the cache: what is published now. */
	bool live_asked;
	struct sts_policy *live;
	enum tls_failure live_failure;
	char live_why[CHECK_TEXT_MAX];
};

struct check_tlsrpt {
	struct check_lookup lookup;
	enum tlsrpt_finding finding;
	struct tlsrpt_record *record;	/* with FINDING_RECORD */
	char why[CHECK_TEXT_MAX];
};

enum check_daemon_state {
	CHECK_DAEMON_NONE = 0,		/* none runs */
	CHECK_DAEMON_ASKED,
	CHECK_DAEMON_DENIED,		/* not for this user */
	CHECK_DAEMON_FAILED		/* no answer that can be read */
};

struct check_queue {			/* of the domain, in the daemon */
	enum check_daemon_state state;
	uint64_t waiting, held, active;
	bool more;			/* than were counted */
	bool paused;			/* by the operator */
	int64_t hold_until_s;		/* it is down; 0: it is not */
	char hold_reason[CHECK_TEXT_MAX];
	int64_t next_s;			/* the earliest attempt; 0: none */
	int64_t expires_s;		/* the first to bounce */
	char last_error[CHECK_TEXT_MAX];
};

struct check_facts {
	char asked[STR_DOMAIN_MAX + 80];	/* as it was given, printable */
	char domain[STR_DOMAIN_MAX];
	int64_t now_s;
	bool connected;			/* live tests were made */
	enum resolver_state resolver;
	char resolver_text[CHECK_TEXT_MAX];
	struct check_lookup mx_lookup;
	struct check_mx mx[CHECK_MX_MAX];
	size_t mx_count, mx_total;
	struct check_zone zones[CHECK_ZONES_MAX];
	size_t zone_count;
	struct check_rule rules[CHECK_RULES_MAX];
	size_t rule_count;
	bool relay;
	uint16_t port;
	struct outcome route;		/* why there is no host; NONE else */
	bool only_mx_missing;		/* --mx named none of them */
	struct check_host *hosts;	/* in the order of attempts */
	size_t host_count;
	struct check_sts sts;
	struct check_tlsrpt tlsrpt;
	struct check_queue queue;
	int64_t dns_ms, total_ms;
};

void check_facts_free(struct check_facts **);
/* Of a host: for another round with it. */
void check_host_clear(struct check_host *);
void check_words_add(struct check_words *, const char *text, size_t len);

/* The session that counts: the last one; or NULL. */
const struct check_session *check_last_try(const struct check_host *);

#endif
