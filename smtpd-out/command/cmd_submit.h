/*
 * "smtpd-out submit", also reached as "sendmail": a sendmail-compatible
 * command.  Returns an exit code of sysexits.h.
 */
#ifndef SMTPD_OUT_CMD_SUBMIT_H
#define SMTPD_OUT_CMD_SUBMIT_H

int cmd_submit(int argc, char **argv);

#endif
