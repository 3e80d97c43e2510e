/*
 * smtpd-out check: explains, and needs no daemon.
 */
#ifndef SMTPD_OUT_CMD_CHECK_H
#define SMTPD_OUT_CMD_CHECK_H

#include <stdio.h>

/* check [OPTIONS] DOMAIN ... | -, or --dns NAME TYPE */
int cmd_check(int argc, char **argv);
void cmd_check_usage(FILE *);

#endif
