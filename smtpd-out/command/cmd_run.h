/*
 * smtpd-out run, and the roles it re-executes.
 */
#ifndef SMTPD_OUT_CMD_RUN_H
#define SMTPD_OUT_CMD_RUN_H

#include <stdio.h>

int cmd_run(int argc, char **argv);
/* argv: "--role" ROLE INDEX LISTEN_COUNT CONF_NAME; see child.h. */
int cmd_role(int argc, char **argv);
void cmd_run_usage(FILE *);

#endif
