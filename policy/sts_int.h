/*
 * Shared by sts.c and sts_policy.c, and looked at by lint, which tells what is
 * wrong with a pattern.
 */
#ifndef POLICY_STS_INT_H
#define POLICY_STS_INT_H

#include <stddef.h>

#include "base/str.h"

#define STS_PATTERN_TEXT_MAX 1020	/* as written, perhaps in U-labels */
#define STS_PATTERN_MAX (STR_DOMAIN_MAX + 2)

/* Puts an mx pattern into its normal form (RFC 8461 3.2).  NULL, or the end of
 * a sentence that begins with the pattern. */
const char *sts_pattern_parse(const char *text, size_t len,
	char out[STS_PATTERN_MAX]);

#endif
