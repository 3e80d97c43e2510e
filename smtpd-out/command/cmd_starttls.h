/*
 * check --starttls: the services beside mail delivery.
 */
#ifndef SMTPD_OUT_CMD_STARTTLS_H
#define SMTPD_OUT_CMD_STARTTLS_H

#include <stdbool.h>

#include "base/conf.h"
#include "smtpd-out/check/check_text.h"

struct starttls_args {
	const char *protocol;		/* NULL: the option was not given */
	const char *pkix;		/* as given, or NULL */
	bool dane;
};

/* Judges the arguments first: an exit code, or -1 to go on. */
int cmd_starttls_check(const struct starttls_args *, const char *where);
/* Looks and prints; an exit code of sysexits.h. */
int cmd_starttls(const struct conf *, const struct starttls_args *,
	const char *where, bool json, const struct check_style *);

#endif
