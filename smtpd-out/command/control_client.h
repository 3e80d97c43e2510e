/*
 * The operator's end of the control socket (control.h).
 */
#ifndef SMTPD_OUT_CONTROL_CLIENT_H
#define SMTPD_OUT_CONTROL_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

/* "unix:PATH" of the daemon with that configuration, owned; NULL, and said on
 * standard error, when the file cannot be read. */
char *control_client_find(const char *conf_path);

/* Connected, or -1 with errno. */
int control_client_open(const char *control);

/* Asks, and calls `line` with each line of the answer but the last.  The exit
 * status; what went wrong has been said on standard error unless quiet.  The
 * last line is given out when *end_out is wanted. */
typedef void control_client_cb(const json_t *line, void *arg);
int control_client_ask(const char *control, const json_t *request,
	control_client_cb *line, void *arg, json_t **end_out);

#endif
