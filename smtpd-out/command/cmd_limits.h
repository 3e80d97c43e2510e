/*
 * `queue pause`, `resume`, `limit`, `limits` and `stats`: words and printing.
 */
#ifndef SMTPD_OUT_CMD_LIMITS_H
#define SMTPD_OUT_CMD_LIMITS_H

#include <jansson.h>
#include <stdbool.h>

/* DEST, or DEST NAME=VALUE... for "limit": fills the request.  False, with a
 * word on standard error, when they are something else. */
bool limits_words(const char *cmd, int argc, char **argv, json_t *request);

/* For people. */
void limits_rule(const json_t *);
void limits_list(const json_t *);
void limits_stats(const json_t *);

#endif
