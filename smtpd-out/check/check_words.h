/*
 * Words for what `check` found, shared by its two ways of printing.
 */
#ifndef SMTPD_OUT_CHECK_WORDS_H
#define SMTPD_OUT_CHECK_WORDS_H

#include "smtpd-out/check/check_facts.h"
#include "smtpd-out/check/check_verdict.h"
#include "smtpd-out/worker/delivery.h"

const char *check_rule_tls(enum conf_tls);
const char *check_daemon_state_name(enum check_daemon_state);
/* Of the MX record and the addresses, the weaker one. */
const char *check_host_dnssec(const struct check_host *);
/* Why a host does not take mail now; NULL when it does, or was not asked. */
const struct outcome *check_host_why(const struct check_host *);
/* What TLSRPT would call it, also where mail goes on in the clear. */
enum tls_failure check_host_failure(const struct check_host *);
char *check_hex(const uint8_t *, size_t);	/* owned */

#endif
