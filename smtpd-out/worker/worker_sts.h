/*
 * MTA-STS in a worker: its table of policies, the HTTPS client that fetches
 * them, and the channel to the parent that keeps them.
 */
#ifndef SMTPD_OUT_WORKER_STS_H
#define SMTPD_OUT_WORKER_STS_H

#include "base/conf.h"
#include "smtpd-out/ipc/ipc.h"

struct event_base;
struct resolver;
struct sts_table;
struct worker_sts;

/* Before the sandbox.  NULL when mta-sts { enable = no }. */
struct worker_sts *worker_sts_new(struct event_base *, const struct conf *,
	struct resolver *, struct ipc *);
void worker_sts_free(struct worker_sts **);
struct sts_table *worker_sts_table(const struct worker_sts *);

/* An STS frame; fails the channel when it is malformed. */
void worker_sts_take(struct worker_sts *, struct ipc_frame *);

#endif
