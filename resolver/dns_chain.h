/*
 * What one message says to one question: the CNAME and DNAME links in it and
 * what stands at their end.  Pure; says nothing of proof.
 */
#ifndef RESOLVER_DNS_CHAIN_H
#define RESOLVER_DNS_CHAIN_H

#include <stddef.h>
#include <stdint.h>

#include "resolver/dns_parse.h"

#define DNS_CHAIN_MAX 12	/* links of a whole lookup */

enum dns_end {
	DNS_END_NONE = 0,
	DNS_END_ANSWER,		/* records of the type at `last` */
	DNS_END_NODATA,		/* none at `last` */
	DNS_END_NXDOMAIN,	/* `last` does not exist */
	DNS_END_ASK,		/* the message does not say: ask for `last` */
	DNS_END_BAD		/* makes no sense; see why */
};

struct dns_link {
	const uint8_t *owner;	/* of the CNAME or DNAME record */
	uint16_t type;		/* DNS_TYPE_CNAME or DNS_TYPE_DNAME */
	dns_name from;		/* the name it was used for */
};

struct dns_chain {
	struct dns_link links[DNS_CHAIN_MAX];
	size_t count;
	dns_name last;
	enum dns_end end;
	/* ANSWER: the set that proves it; not the one at `last` where that is
	 * a CNAME made from a DNAME. */
	const uint8_t *proof;
	uint16_t proof_type;
	uint32_t ttl;		/* smallest of the links */
	const char *why;	/* static */
};

void dns_chain_follow(const struct dns_msg *, const uint8_t *name,
	uint16_t type, struct dns_chain *out);
/* How long a negative answer for name holds: RFC 2308 5; 0 without SOA. */
uint32_t dns_chain_negative_ttl(const struct dns_msg *, const uint8_t *name);

#endif
