/*
 * Making of struct dns_answer; for this folder alone.
 */
#ifndef RESOLVER_DNS_ANSWER_H
#define RESOLVER_DNS_ANSWER_H

#include "resolver/dns_parse.h"
#include "resolver/resolver.h"

/* What an answer is made of; all borrowed.  Names are in wire form. */
struct dns_answer_parts {
	const uint8_t *name, *canonical;
	uint16_t type;
	enum dns_result result;
	enum dns_security security, chain_security;
	uint32_t ttl_s;
	const struct dns_set *set;	/* when FOUND */
	const char *why;
	int ede;
	bool silent;
};

struct dns_answer *dns_answer_make(const struct dns_answer_parts *);
/* Bytes of memory that it takes. */
size_t dns_answer_size(const struct dns_answer *);

#endif
