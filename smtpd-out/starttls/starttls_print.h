/*
 * What a look at a service found: rows for people, an object for programs.
 * The keys are documented in smtpd-out-check(1) and bound by
 * tests/schema/starttls.json.
 */
#ifndef SMTPD_OUT_STARTTLS_PRINT_H
#define SMTPD_OUT_STARTTLS_PRINT_H

#include <jansson.h>

#include "base/buf.h"
#include "smtpd-out/check/check_text.h"
#include "smtpd-out/starttls/starttls_run.h"

void starttls_text(const struct starttls_report *, const struct check_style *,
	struct buf *out);
json_t *starttls_json(const struct starttls_report *);

#endif
