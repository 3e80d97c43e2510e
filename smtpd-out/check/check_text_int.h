/*
 * Private to check_text*.c.
 */
#ifndef SMTPD_OUT_CHECK_TEXT_INT_H
#define SMTPD_OUT_CHECK_TEXT_INT_H

#include "smtpd-out/check/check_page.h"

/* The rows of a host. */
void check_text_host(struct page *, const struct check_facts *,
	const struct check_host *);

#endif
