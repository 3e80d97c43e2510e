/*
 * smtpd-out queue ..., and mailq by name: asks the daemon's control socket.
 */
#ifndef SMTPD_OUT_CMD_QUEUE_H
#define SMTPD_OUT_CMD_QUEUE_H

#include <stdio.h>

int cmd_queue(int argc, char **argv);
int cmd_mailq(int argc, char **argv);
void cmd_queue_usage(FILE *);

#endif
