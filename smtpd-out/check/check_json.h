/*
 * Facts and verdict as one JSON object; its keys are documented in
 * smtpd-out-check(1) and bound by tests/schema/check.json.
 */
#ifndef SMTPD_OUT_CHECK_JSON_H
#define SMTPD_OUT_CHECK_JSON_H

#include <jansson.h>

#include "smtpd-out/check/check_verdict.h"

json_t *check_json(const struct check_facts *, const struct check_verdict *);

/* The same for connections to other services: protocol, cipher, group, chain,
 * and how it does against the known authorities. */
json_t *check_json_tls(const struct cert_report *);

/* A text as JSON, "?" when it is not UTF-8; the empty one as null. */
json_t *jtext(const char *);
json_t *jtext_or_null(const char *);

#endif
