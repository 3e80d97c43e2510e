/*
 * What the tests of notices share: one message with one recipient that
 * failed, and questions to the notice about it.
 */
#ifndef TESTS_UNIT_TEST_BOUNCE_UTIL_H
#define TESTS_UNIT_TEST_BOUNCE_UTIL_H

#include "smtpd-out/mail/bounce.h"

struct fixture {
	struct envelope *env;
	struct outcome outcome;
	struct bounce_rcpt rcpt;
	struct bounce_input in;
	struct buf out;
	unsigned flags;
};

extern const char test_body[];		/* a small message */

void fixture_init(struct fixture *, const char *sender, const char *rcpt);
void fixture_body(struct fixture *, const void *body, size_t len);
void fixture_clear(struct fixture *);
/* Formats and checks the form: header, three parts, flags that fit. */
void fixture_format(struct fixture *);
size_t fixture_count(const struct buf *, const char *text);
void fixture_has(const struct fixture *, const char *text);
void fixture_lacks(const struct fixture *, const char *text);

#endif
