/*
 * What a running daemon knows: queued mail, cached MTA-STS policies and the
 * TLS it remembers of hosts, asked for at its control socket.  Each question
 * takes at most a few seconds; a daemon that does not answer is not asked
 * again.
 */
#ifndef SMTPD_OUT_CHECK_DAEMON_H
#define SMTPD_OUT_CHECK_DAEMON_H

#include "smtpd-out/check/check_facts.h"
#include "smtpd-out/ipc/ipc_msg.h"

struct check_daemon;

/* url: "unix:PATH". */
struct check_daemon *check_daemon_new(const char *url);
void check_daemon_free(struct check_daemon **);

void check_daemon_queue(struct check_daemon *, const char *domain,
	struct check_queue *out);
/* Fills in what is cached of out->domain, and what the lists in use say of it.
 * False when there is no answer. */
bool check_daemon_policy(struct check_daemon *, struct msg_sts *out);
/* Calls back for each host that had TLS. */
void check_daemon_hosts(struct check_daemon *,
	void (*host)(const struct msg_policy_host *, void *arg), void *arg);

#endif
