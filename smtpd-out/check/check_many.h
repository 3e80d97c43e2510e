/*
 * Many domains at a time, a bounded number at once; printed in the order in
 * which they were given, each when it and those before it are done.
 */
#ifndef SMTPD_OUT_CHECK_MANY_H
#define SMTPD_OUT_CHECK_MANY_H

#include "smtpd-out/check/check_env.h"
#include "smtpd-out/check/check_text.h"

#define CHECK_PARALLEL 32

struct check_output {
	bool json;
	bool progress;		/* a bar on standard error */
	struct check_style style;
};

/* names: normalised; NULL for one that is no domain, with what was given in
 * texts.  Returns the exit code of the worst verdict. */
int check_many(struct check_env *, char *const *names, char *const *texts,
	size_t count, const struct check_output *);

#endif
