/*
 * The inside of a session, shared by its engine (session.c) and its steps
 * (session_step.c, session_txn.c), and looked into by the test that walks the
 * table.  Nobody else includes this.
 *
 * A step is called by the engine for one row of the table.  It may write
 * commands and settle recipients; it never changes the state, but names the
 * next one.  An enter action runs after each change of state.
 */
#ifndef SMTPD_OUT_SESSION_STEP_H
#define SMTPD_OUT_SESSION_STEP_H

#include "smtpd-out/client/conn.h"
#include "smtpd-out/client/session.h"
#include "smtpd-out/client/session_table.h"
#include "smtpd-out/client/session_watch.h"
#include "smtpd-out/client/smtp_auth.h"
#include "smtpd-out/client/smtp_command.h"
#include "smtpd-out/client/smtp_data.h"
#include "smtpd-out/client/smtp_reply.h"

/* Callbacks that wait until the engine has come to rest. */
enum session_due {
	SESSION_DUE_DONE = 1,
	SESSION_DUE_READY = 2,
	SESSION_DUE_CLOSED = 4
};

struct session {
	struct session_env env;
	struct session_callbacks cb;
	void *cb_arg;
	const struct session_watcher *watcher;	/* or NULL */
	struct session_addr *addrs;	/* until connected */
	size_t addr_count;
	struct demand *demand;		/* our own copy */
	bool no_starttls;		/* asked by the owner */
	bool full_handshake;		/* the same */
	bool masked;			/* the greeting was overwritten */
	bool tls_asked;			/* by a 530: STARTTLS, offered or not */
	bool stop_wanted;		/* session_quit() was called */
	unsigned due;			/* enum session_due bits */

	enum session_state state;	/* changed by the engine alone */
	unsigned permitted;		/* next states, while a step runs */
	struct outcome why;		/* how it ended; verdict NONE: well */
	struct session_info info;
	struct conn *conn;

	struct smtp_reply reply;	/* being parsed, then being answered */
	struct smtp_sent sent;		/* the command it answers, or the
					 * oldest without an answer */
	const char *fault;		/* what is bad about it */
	struct smtp_flight flight;
	struct smtp_caps caps;		/* of the last EHLO, no older */
	struct smtp_auth *auth;		/* in AUTH alone */

	struct session_txn *txn;
	size_t open_count;		/* recipients without a verdict */
	size_t rcpt_next;		/* the next one to be named */
	unsigned mail_count;		/* MAIL commands so far */
	struct smtp_data data;
	int64_t body_end_ms;		/* BODY lasts no longer */
};

/* The engine (session.c): the one place where the state changes. */
void session_engine(struct session *, enum session_event);
/* Starts the state's time anew. */
void session_arm(struct session *);

/* Puts the next block of the body out when the last one has left; a fault when
 * the body cannot be read. */
enum status session_feed(struct session *) MUST_CHECK;
/* Gives every recipient without a verdict this one. */
void session_settle(struct session *, const struct outcome *);
/* Logs the command that stands in the output from offset `from` on.  Nothing
 * secret may be written in that way. */
void session_log_sent(struct session *, size_t from);
/* The transaction, if there is one, goes back to its owner. */
void session_finish(struct session *);
/* AUTH, if nothing is against it; and the end of it, which wipes. */
enum session_state session_auth_begin(struct session *);
void session_auth_end(struct session *);
/* The reply is a 530 that wants STARTTLS (RFC 3207 section 4): true when it can
 * be had and is not there yet.  Once in a session. */
bool session_take_530(struct session *);
/* After that, until TLS is up: the transaction waits. */
bool session_tls_due(const struct session *);
bool session_offers(const struct session *, enum smtp_cap);
void session_say(struct session *, enum smtp_verb, const char *arg);

session_step_cb session_step_start, session_step_up, session_step_greeted,
	session_step_turned_away, session_step_ehlo, session_step_no_ehlo,
	session_step_helo, session_step_no_helo, session_step_starttls,
	session_step_no_starttls,
	session_step_tls_up, session_step_tls_fail, session_step_ehlo_tls,
	session_step_auth, session_step_challenge, session_step_no_auth,
	session_step_job, session_step_envelope, session_step_data,
	session_step_no_data, session_step_chunk, session_step_no_body,
	session_step_sent, session_step_local, session_step_eom,
	session_step_reset, session_step_no_reset, session_step_bye,
	session_step_idle, session_step_timeout, session_step_lost,
	session_step_bad, session_step_421, session_step_stop,
	session_step_drop, session_step_stay;

void session_enter_connect(struct session *);
void session_enter_banner(struct session *);
void session_enter_ehlo(struct session *);
void session_enter_helo(struct session *);
void session_enter_starttls(struct session *);
void session_enter_auth(struct session *);
void session_enter_ready(struct session *);
void session_enter_envelope(struct session *);
void session_enter_data(struct session *);
void session_enter_body(struct session *);
void session_enter_reset(struct session *);
void session_enter_quit(struct session *);
void session_enter_closed(struct session *);

#endif
