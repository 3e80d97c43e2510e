/*
 * Where a service is: its SRV record (RFC 2782) where the protocol has one and
 * no port was named, addresses, and TLSA records (RFC 7671, 7673).  Asks one
 * thing after the other and comes back when it knows.
 */
#ifndef SMTPD_OUT_STARTTLS_FIND_H
#define SMTPD_OUT_STARTTLS_FIND_H

#include <event2/event.h>

#include "base/str.h"
#include "policy/dane.h"
#include "resolver/resolver.h"
#include "smtpd-out/client/session.h"
#include "smtpd-out/starttls/starttls.h"

#define STARTTLS_TLSA_MAX 32

struct starttls_tlsa {
	uint8_t usage, selector, matching;
	uint8_t *data;
	size_t len;
	enum dane_fault fault;		/* USABLE: it counts */
	int matched;			/* cert_report_match(); -2: unknown */
};

struct starttls_place {
	char domain[STR_DOMAIN_MAX];	/* as asked for; or an address */
	char path[108];			/* of a Unix socket; "" for none */
	bool literal;
	bool srv;			/* server and port are from SRV */
	enum dns_security srv_security;
	char server[STR_DOMAIN_MAX];	/* == domain without SRV */
	uint16_t port;			/* 0: not said, before it is found */
	struct session_addr addrs[SESSION_ADDRS_MAX];
	size_t addr_count;
	enum dns_security security;	/* of the addresses */
	char canonical[STR_DOMAIN_MAX];
	/* With TLSA wanted. */
	char tlsa_name[STR_DOMAIN_MAX + 16];	/* where they were found */
	char tlsa_base[STR_DOMAIN_MAX];
	struct starttls_tlsa tlsa[STARTTLS_TLSA_MAX];
	size_t tlsa_count, usable;
	/* Why it cannot go on: OPEN when it can. */
	enum starttls_result result;
	char text[STARTTLS_TEXT_MAX];
};

/* "HOST", "HOST:PORT", "192.0.2.1:PORT", "[2001:db8::1]:PORT", "unix:PATH" */
enum status starttls_place_parse(const char *, struct starttls_place *out)
	MUST_CHECK;
void starttls_place_clear(struct starttls_place *);

struct starttls_finder {
	struct event_base *base;
	struct resolver *resolver;	/* not for literals and paths */
	const struct starttls_row *row;
	bool ipv4, ipv6;
	bool want_tlsa;
};

void starttls_find(const struct starttls_finder *, struct starttls_place *);

#endif
