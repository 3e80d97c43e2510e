/*
 * TXT records of the form "v=NAME; key=value; key=value;", which RFC 8461 3.1
 * and RFC 8460 3 share.  For this folder.
 */
#ifndef POLICY_TXT_FIELDS_H
#define POLICY_TXT_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/judge.h"
#include "resolver/resolver.h"

/* Pieces of the record. */
struct txt_field {
	const char *name, *value;
	size_t name_len, value_len;
};

struct txt_fields {
	const char *pos;
	size_t left;
	const char *rfc;	/* named in sentences, "RFC 8461 3.1" */
};

/* The text begins with version, such as "v=STSv1", and ";". */
bool txt_fields_begin(const void *text, size_t len, const char *version);
/* The text must have passed txt_fields_begin(). */
void txt_fields_init(struct txt_fields *, const void *text, size_t len,
	const char *rfc);
/* ST_EOF after the last field; ST_PARSE with the judge's sentence.  The value
 * is not empty; what else it may hold depends on the field. */
enum status txt_fields_next(struct txt_fields *, const struct judge *,
	struct txt_field *out) MUST_CHECK;

/* Which record of an answer counts: those that do not begin so are discarded
 * first, exactly one must be left.  A failure is not an absence. */
enum txt_pick {
	TXT_PICK_NONE = 0,
	TXT_PICK_ONE,		/* in *out, borrowed from the answer */
	TXT_PICK_SEVERAL,
	TXT_PICK_FAILED
};

enum txt_pick txt_fields_pick(const struct dns_answer *, const char *version,
	struct dns_bytes *out);

bool txt_field_is(const struct txt_field *, const char *name);
/* An extension's value: visible ASCII without "=" and ";". */
bool txt_value_plain(const struct txt_field *);
/* A key by the grammar of both RFCs and of policy files: 1 to 32 letters,
 * digits, "_", "-", ".", the first a letter or digit. */
bool txt_name_valid(const char *name, size_t len);

#endif
