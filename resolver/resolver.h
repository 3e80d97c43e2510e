/*
 * DNS lookups with a security status, on one libevent loop.
 *
 * One resolver per worker; not thread-safe.  resolver_start() returns a
 * handle; its owner gets exactly one callback (never inside the starting
 * call, not even on a cache hit) after which the handle is gone, or calls
 * resolver_cancel().  An answer is immutable and owned by whoever asked.
 *
 * SERVFAIL, timeout, a malformed or bogus answer are DNS_LATER, never
 * "absent" (RFC 5321 5.1, RFC 7672 2.1).
 */
#ifndef RESOLVER_RESOLVER_H
#define RESOLVER_RESOLVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>

#include "base/conf.h"
#include "base/err.h"

struct event_base;
struct resolver;
struct dns_request;

enum dns_result {
	DNS_NONE = 0,
	DNS_FOUND,	/* at least one record of the type */
	DNS_NODATA,	/* the name exists, the type does not */
	DNS_NXDOMAIN,	/* the name does not exist */
	DNS_LATER	/* no usable answer; ask again later */
};

/* RFC 4033 section 5, and "unknown" where nothing was checked. */
enum dns_security {
	DNS_SEC_UNKNOWN = 0,	/* dnssec = off */
	DNS_SEC_SECURE,		/* chain of signatures to the trust anchor */
	DNS_SEC_INSECURE,	/* proven to be outside of signed zones */
	DNS_SEC_BOGUS,		/* should be signed, proof fails (=> LATER) */
	DNS_SEC_INDETERMINATE	/* could not be found out (=> LATER) */
};

const char *dns_result_name(enum dns_result);
const char *dns_security_name(enum dns_security);

/* Types we ask for (IANA numbers, RFC 1035 and others). */
enum dns_type {
	DNS_TYPE_A = 1, DNS_TYPE_NS = 2, DNS_TYPE_CNAME = 5, DNS_TYPE_SOA = 6,
	DNS_TYPE_PTR = 12, DNS_TYPE_MX = 15, DNS_TYPE_TXT = 16,
	DNS_TYPE_AAAA = 28, DNS_TYPE_DNAME = 39, DNS_TYPE_DS = 43,
	DNS_TYPE_DNSKEY = 48, DNS_TYPE_TLSA = 52
};

/* "MX"; "TYPE123" for others (RFC 3597), in a static buffer. */
const char *dns_type_name(uint16_t type);
enum status dns_type_parse(const char *text, uint16_t *type_out) MUST_CHECK;

/* One record; which member counts follows from the type that was asked.
 * Names are normalised: lower case, no trailing dot; the root is "". */
struct dns_mx { uint16_t preference; char *host; };
struct dns_bytes { const uint8_t *data; size_t len; };
struct dns_tlsa {
	uint8_t usage, selector, matching;
	const uint8_t *data;
	size_t len;
};

struct dns_record {
	union {
		struct in_addr a;
		struct in6_addr aaaa;
		struct dns_mx mx;
		struct dns_tlsa tlsa;
		struct dns_bytes txt;	/* character-strings joined */
		struct dns_bytes raw;	/* RDATA of any other type */
		char *name;		/* CNAME, DNAME, NS, PTR */
	} u;
};

struct dns_answer {
	char *name;			/* asked for */
	uint16_t type;
	enum dns_result result;
	enum dns_security security;	/* of the whole chain */
	char *canonical;		/* after CNAMEs; == name without */
	/* The CNAME chain alone: where `canonical` was reached securely even
	 * though the final set is not (RFC 7672 2.2.2 needs it). */
	enum dns_security chain_security;
	uint32_t ttl_s;			/* smallest of the chain, clamped */
	struct dns_record *records;
	size_t count;
	char *why;			/* a sentence when LATER or not secure;
					 * NULL else */
	int ede;			/* RFC 8914 code, -1: none */
	bool silent;			/* LATER, and no server of ours has
					 * answered anything meanwhile */
};

void dns_answer_free(struct dns_answer **);
/* Deep copy. */
struct dns_answer *dns_answer_copy(const struct dns_answer *);

/* The answer is owned by the callback's owner from then on. */
typedef void resolver_cb(struct dns_answer *answer, void *arg);

/* Fails with a sentence in err when no server can be used or the trust anchor
 * is unreadable.  conf is copied as needed.  conf->server_count == 0 means
 * the nameservers of /etc/resolv.conf.  Call before entering the sandbox. */
enum status resolver_new(struct event_base *, const struct conf_resolver *,
	struct resolver **out, char err[CONF_ERR_MAX]) MUST_CHECK;
/* What resolver_new() would refuse in a file or setting, said beforehand. */
enum status resolver_check_conf(const struct conf_resolver *,
	char err[CONF_ERR_MAX]) MUST_CHECK;
/* Cancels what is under way: no callback runs after this. */
void resolver_free(struct resolver **);

/* name is a normalised domain name.  Never fails: what cannot be asked is
 * answered with LATER through the callback. */
struct dns_request *resolver_start(struct resolver *, const char *name,
	uint16_t type, resolver_cb *, void *arg);
void resolver_cancel(struct dns_request **);
/* The next request for it asks the network, whatever is cached here. */
void resolver_forget(struct resolver *, const char *name, uint16_t type);

/* Whether DNSSEC works, and if not why.  Found out by a probe soon after
 * resolver_new(), and again when lookups contradict it; each change is one
 * line in the log. */
enum resolver_state {
	RESOLVER_UNKNOWN = 0,	/* not known yet */
	RESOLVER_VALIDATING,	/* we validate, and it works */
	RESOLVER_TRUSTING,	/* dnssec = trust-ad */
	RESOLVER_OFF,		/* dnssec = off: no DANE */
	RESOLVER_STRIPS,	/* DNSSEC records do not get through */
	RESOLVER_ANCHOR,	/* the trust anchor is not that of the root */
	RESOLVER_CLOCK,		/* signatures are not of our time */
	RESOLVER_UNREACHABLE	/* no resolver gives a usable answer */
};

const char *resolver_state_name(enum resolver_state);
/* That this answer is none, or bogus, says nothing of the domain: our resolvers
 * are silent, or by the last probe nothing can be validated here. */
bool resolver_at_fault(const struct resolver *, const struct dns_answer *);
/* The last state, and in *sentence_out (when not NULL) the sentence for it. */
enum resolver_state resolver_state(const struct resolver *,
	const char **sentence_out);
/* Probes now and calls back once, from the loop; one at a time: a second call
 * replaces the first one's callback; cb may be NULL. */
typedef void resolver_probe_cb(enum resolver_state, const char *sentence,
	void *arg);
void resolver_probe(struct resolver *, resolver_probe_cb *, void *arg);

/* What is known of a name in the chain of zones, without asking: a sentence
 * in out; false when nothing is known.  For `check --dns`. */
bool resolver_explain(struct resolver *, const char *name, char *out,
	size_t out_bytes);

struct resolver_stats {
	uint64_t lookups, cache_hits, packets, timeouts, malformed, later;
	uint64_t secure, insecure, bogus;	/* answers */
	uint64_t checks;			/* of signatures, for zones */
	size_t cache_entries, zone_entries, in_flight;
	enum resolver_state state;
};
void resolver_stats(const struct resolver *, struct resolver_stats *out);

#endif
