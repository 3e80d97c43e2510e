/*
 * A worker's copy of what is remembered of hosts (remember-tls): filled by the
 * parent, asked before each session, told after its handshake.
 *
 * All functions but host_memory_new() take NULL for remember-tls = off.
 */
#ifndef SMTPD_OUT_HOST_MEMORY_H
#define SMTPD_OUT_HOST_MEMORY_H

#include "base/conf.h"
#include "smtpd-out/ipc/ipc_msg.h"

struct host_memory;

/* Called with what is to be stored. */
typedef void host_memory_save_cb(const struct msg_policy *, void *arg);

/* NULL for CONF_REMEMBER_OFF. */
struct host_memory *host_memory_new(enum conf_remember,
	host_memory_save_cb *, void *arg);
void host_memory_free(struct host_memory **);
/* From the parent. */
void host_memory_take(struct host_memory *, const struct msg_policy *);

/* remember-tls = require: raises the demand where TLS was seen before. */
void host_memory_demand(const struct host_memory *, const char *host,
	struct demand *);
/* A session is ready for mail: learns, and warns when it is worse than what
 * was seen before. */
void host_memory_ready(struct host_memory *, const char *host,
	const struct demand *, bool tls_active);
/* A session ended before that, or in order: warns when it did not get the TLS
 * that is demanded because it was seen before. */
void host_memory_closed(struct host_memory *, const char *host,
	const struct demand *, const struct outcome *);

#endif
