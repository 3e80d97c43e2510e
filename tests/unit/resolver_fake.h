/*
 * Stands in for the resolver: answers that the test has written down, given
 * from the loop, or held back until it says so.
 */
#ifndef TESTS_UNIT_RESOLVER_FAKE_H
#define TESTS_UNIT_RESOLVER_FAKE_H

#include "resolver/resolver.h"

struct event_base;

void fake_dns_init(struct event_base *);
void fake_dns_clear(void);	/* checks that no request is left */

/*
 * What is answered from now on; without one it is NXDOMAIN.  The records are
 * text: "10 mx1.example 20 mx2.example" for MX ("." is the root), usages for
 * TLSA (selector 1, matching type 1, a digest of zeroes), "one|two" for TXT,
 * addresses for the others.
 */
void fake_dns_set(const char *name, uint16_t type, enum dns_result,
	const char *records);
/* That once, and then no usable answer. */
void fake_dns_once(const char *name, uint16_t type, enum dns_result,
	const char *records);
/* How well proven every answer is from now on; DNS_SEC_UNKNOWN at first. */
void fake_dns_security(enum dns_security);
/* Whether what fails is our resolver's fault (resolver_at_fault()). */
void fake_dns_at_fault(bool);
/* How long every answer is good from now on; a day at first. */
void fake_dns_ttl(uint32_t seconds);
/* Short for an A record and no AAAA. */
void fake_dns_a(const char *name, const char *address);

void fake_dns_hold(bool hold);		/* answer nothing; then: all */
size_t fake_dns_pending(void);
size_t fake_dns_asked(void);		/* since init */
size_t fake_dns_forgotten(void);	/* resolver_forget() since init */

#endif
