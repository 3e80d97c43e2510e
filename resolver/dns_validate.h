/*
 * Proves what one message says, link by link.
 *
 * A small state machine: the links of the chain, then its end.  Each step
 * needs the keys of one zone; when they are not known yet, run() says for
 * which name to wait and goes on from there when called again.
 */
#ifndef RESOLVER_DNS_VALIDATE_H
#define RESOLVER_DNS_VALIDATE_H

#include "resolver/dns_chain.h"
#include "resolver/dns_zones.h"
#include "resolver/resolver.h"

/* Bounds of one lookup, beside those of each zone's entry. */
#define DNS_LOOKUP_CHECKS 32
#define DNS_LOOKUP_HASHES 32

struct dns_validate {
	struct dns_zones *zones;
	const struct dns_msg *msg;
	const struct dns_chain *chain;
	uint16_t type;
	struct dns_budget budget;	/* for the whole lookup */
	unsigned quota;			/* of new zones, likewise */
	size_t step;
	/* results */
	enum dns_security links, end;	/* the worst of each */
	uint32_t ttl;
	bool no_dnssec, reached;
	char why[DNS_WHY_MAX * 2];	/* where it is not secure */
};

/* Once per lookup. */
void dns_validate_init(struct dns_validate *, struct dns_zones *,
	uint16_t type);
/* Once per message. */
void dns_validate_begin(struct dns_validate *, const struct dns_msg *,
	const struct dns_chain *);
/* True when done; else *wait_out is the name to wait for, borrowed until the
 * caller returns to the loop. */
bool dns_validate_run(struct dns_validate *, const uint8_t **wait_out);

/* The worse of two: bogus, indeterminate, insecure, unknown, secure. */
enum dns_security dns_security_worse(enum dns_security, enum dns_security);

#endif
