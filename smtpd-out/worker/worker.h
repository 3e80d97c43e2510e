/*
 * The worker role: everything that touches the network on behalf of a
 * delivery.  Entered by re-execution; returns the exit status.
 */
#ifndef SMTPD_OUT_WORKER_H
#define SMTPD_OUT_WORKER_H

#include "base/conf.h"

int worker_main(struct conf *, int ipc_fd, unsigned index);

#endif
