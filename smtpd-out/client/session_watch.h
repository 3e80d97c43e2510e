/*
 * Looking over the shoulder of a session, for `check`: what delivery itself
 * has no use for.  A watcher changes nothing, and keeps nothing that it is
 * given beyond the call.
 */
#ifndef SMTPD_OUT_SESSION_WATCH_H
#define SMTPD_OUT_SESSION_WATCH_H

#include "smtpd-out/client/session.h"
#include "smtpd-out/client/session_table.h"
#include "smtpd-out/client/smtp_command.h"
#include "smtpd-out/client/smtp_reply.h"

struct session_watcher {
	/* The state changes to this one; what the old one had is still there,
	 * the connection as well. */
	void (*state)(const struct session *, enum session_state to,
		void *arg);
	/* A reply, and what it answers. */
	void (*reply)(const struct session *, enum smtp_verb,
		const struct smtp_reply *, void *arg);
	void *arg;
};

/* Whether a session that is ready, under a demand without a password, would
 * have sent one that can be read or cannot; else what becomes of it. */
bool session_auth_possible(const struct session *, bool readable,
	struct outcome *why_out);

/* The TLS layer while there is one, or NULL. */
const struct tls *session_tls(const struct session *);

#endif
