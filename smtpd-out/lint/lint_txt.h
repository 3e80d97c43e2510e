/*
 * TXT records as people type them, made into the answer that a parser reads.
 */
#ifndef SMTPD_OUT_LINT_TXT_H
#define SMTPD_OUT_LINT_TXT_H

#include <stddef.h>

#include "resolver/resolver.h"
#include "smtpd-out/lint/lint.h"

struct lint_txt {
	struct dns_answer answer;	/* FOUND, of unknown security */
	uint8_t **data;
};

/* Faults of the writing become errors of the lint. */
void lint_txt_init(struct lint_txt *, struct lint *, char *const *txt,
	size_t count);
void lint_txt_clear(struct lint_txt *);

#endif
