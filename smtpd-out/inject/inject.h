/*
 * The inject role: the one process that listens for submitters.
 *
 * inject_main() is the whole life of the process: event loop, channel to the
 * parent (ipc_fd), listeners (listen_fds[i] belongs to conf->listens[i] and
 * is listening already), sandbox, HELLO, loop.  Returns the exit status: 0
 * after IPC_STOP once the transfers in progress are over (30 seconds at
 * most), else not 0.
 */
#ifndef SMTPD_OUT_INJECT_H
#define SMTPD_OUT_INJECT_H

#include <stddef.h>

struct conf;

int inject_main(struct conf *, int ipc_fd, const int *listen_fds,
	size_t listen_count);

#endif
