/*
 * What `check --dns` finds out and how it is printed.
 */
#ifndef SMTPD_OUT_CHECK_DNS_H
#define SMTPD_OUT_CHECK_DNS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/conf.h"

/* Looks a name up as the daemon would and prints the answer, its status and
 * the chain link by link.  Returns an exit code of sysexits.h: EX_OK, or
 * EX_TEMPFAIL where mail would have to wait, EX_CONFIG for a resolver or trust
 * anchor that cannot be used. */
int check_dns(const struct conf_resolver *, const char *name, uint16_t type,
	bool json);

#endif
