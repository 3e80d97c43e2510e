/*
 * The sockets that submitters connect to.  Opened by the parent, which never
 * accepts on them: they go to inject, and live on while inject is replaced, so
 * that clients wait in the kernel instead of being refused.
 */
#ifndef SMTPD_OUT_LISTENER_H
#define SMTPD_OUT_LISTENER_H

#include "base/conf.h"

struct listeners {
	int *fds;		/* fds[i] belongs to conf->listens[i] */
	char **texts;
	size_t count;
};

/* Opens what conf names; shares sockets of the same address with `old` (may be
 * NULL; the caller closes it afterwards) or takes them from systemd
 * (LISTEN_FDS).  On failure `old` is as it was. */
enum status listeners_open(const struct conf *, struct listeners *old,
	struct listeners *out, char err[CONF_ERR_MAX]) MUST_CHECK;
void listeners_close(struct listeners *);

/* A bound, listening socket; a stale Unix socket is replaced, one that is in
 * use is ST_DENIED. */
enum status listener_open(const struct conf_addr *, unsigned mode,
	int *fd_out, char err[CONF_ERR_MAX]) MUST_CHECK;

#endif
