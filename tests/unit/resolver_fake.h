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
 * text: "10 mx1.example 20 mx2.example" for MX ("." is the root), addresses
 * for the others.
 */
void fake_dns_set(const char *name, uint16_t type, enum dns_result,
	const char *records);
/* Short for an A record and no AAAA. */
void fake_dns_a(const char *name, const char *address);

void fake_dns_hold(bool hold);		/* answer nothing; then: all */
size_t fake_dns_pending(void);
size_t fake_dns_asked(void);		/* since init */

#endif
