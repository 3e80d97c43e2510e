/*
 * The parent: owns the spool and the schedule, keeps the children alive, and
 * parses nothing that a remote host wrote.
 */
#ifndef SMTPD_OUT_PARENT_H
#define SMTPD_OUT_PARENT_H

#include "base/conf.h"

struct dkim_key;

/* Until parent_main() can do it, a reload that is asked for waits; it would end
 * the process. */
void parent_hold_reload(bool hold);

/* Runs until SIGTERM or SIGINT; returns the exit status.  conf_path is read
 * again at SIGHUP.  Takes over conf, conf_text and key (NULL: nothing is
 * signed). */
int parent_main(const char *conf_path, char *conf_text, struct conf *conf,
	struct dkim_key *key);

#endif
