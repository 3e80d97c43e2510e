/*
 * smtpd-out lint: judges what somebody is about to publish; smtpd-out-lint(1).
 */
#ifndef SMTPD_OUT_CMD_LINT_H
#define SMTPD_OUT_CMD_LINT_H

#include <stdio.h>

/* lint [--json] WHAT ARGUMENT ...; 0 valid, 65 invalid. */
int cmd_lint(int argc, char **argv);
void cmd_lint_usage(FILE *);

#endif
