/*
 * Stands in for fetches of MTA-STS policies: what a domain serves is what the
 * test has written down, given from the loop or held back.
 */
#ifndef TESTS_UNIT_STS_FETCH_FAKE_H
#define TESTS_UNIT_STS_FETCH_FAKE_H

#include "base/err.h"

struct event_base;

void fake_fetch_init(struct event_base *);
void fake_fetch_clear(void);		/* checks that none is left */
/* What every fetch brings from now on: a policy's text, or a failure. */
void fake_fetch_text(const char *text);
void fake_fetch_fail(enum tls_failure);
void fake_fetch_local(void);		/* ... or our own */
void fake_fetch_hold(bool hold);	/* answer nothing; then: all */
size_t fake_fetch_count(void);		/* started since init */
size_t fake_fetch_most(void);		/* at a time, of one domain */

#endif
