/*
 * "smtpd-out submit", also reached as "sendmail": a sendmail-compatible
 * command.  Returns an exit code of sysexits.h.
 */
#ifndef SMTPD_OUT_CMD_SUBMIT_H
#define SMTPD_OUT_CMD_SUBMIT_H

#include <stdio.h>

int cmd_submit(int argc, char **argv);
void cmd_submit_usage(FILE *);

#endif
