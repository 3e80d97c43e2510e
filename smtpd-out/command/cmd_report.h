/*
 * The report command: what others report of TLS with this domain's servers,
 * and what this system has seen of others.  See smtpd-out-report(1).
 */
#ifndef SMTPD_OUT_CMD_REPORT_H
#define SMTPD_OUT_CMD_REPORT_H

#include <stdio.h>

int cmd_report(int argc, char **argv);
void cmd_report_usage(FILE *);

#endif
