/*
 * The work of "submit": a message from standard input to the service.
 */
#ifndef SMTPD_OUT_SUBMIT_SEND_H
#define SMTPD_OUT_SUBMIT_SEND_H

#include "smtpd-out/command/submit_args.h"

/* Both return an exit code of sysexits.h and have told the user why on
 * standard error when it is not EX_OK.  Nothing is sent unless every
 * recipient was taken. */
int submit_send(const struct submit_args *, const char *socket_path);
/* -bs: carries SMTP between standard input and output and the socket. */
int submit_proxy(const char *socket_path);

#endif
