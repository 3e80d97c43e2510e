/*
 * Judging what somebody is about to publish or configure, by the parsers that
 * delivery uses.  Each lint_* function below fills a struct lint, prints
 * nothing and needs no network.
 */
#ifndef SMTPD_OUT_LINT_H
#define SMTPD_OUT_LINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define LINT_TEXT_MAX 640	/* of a sentence */

struct lint {
	json_t *values;		/* object: what was understood, in order */
	json_t *errors;		/* sentences: none of these and it is valid */
	json_t *warnings;
};

void lint_init(struct lint *);
void lint_clear(struct lint *);
bool lint_valid(const struct lint *);

/* A sentence, which ends in the section of an RFC or manual that says so.  It
 * is made printable. */
void lint_error(struct lint *, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void lint_warn(struct lint *, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The notes of parsers are warnings; arg is the struct lint. */
void lint_note(unsigned line, const char *sentence, void *arg);

/* Text into values; what is not UTF-8 is made printable first. */
void lint_set(struct lint *, const char *key, const char *text);
/* The same at the end of a list, which is made when there is none. */
void lint_add(struct lint *, const char *key, const char *text);

/* For people: aligned lines.  For programs: one object. */
void lint_print(const struct lint *, FILE *);
void lint_print_json(const struct lint *, FILE *);

void lint_sts_policy(struct lint *, const uint8_t *text, size_t len);
/* Each text is one TXT record of the name: bare, or as in a zone file, in
 * quoted strings, which are joined. */
void lint_sts_record(struct lint *, char *const *txt, size_t count);
void lint_tlsrpt_record(struct lint *, char *const *txt, size_t count);
void lint_sts_match(struct lint *, const char *pattern, const char *host);
/* Each text is one record, or the texts are the words of one. */
void lint_tlsa(struct lint *, char *const *rdata, size_t count);
void lint_address(struct lint *, const char *text);
/* name is used in errors ("NAME:LINE: ...").  Looks at the files that the
 * configuration names. */
void lint_config(struct lint *, const char *name, const char *text);

#endif
