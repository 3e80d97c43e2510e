/*
 * The session's part in AUTH: to a relay that is verified, under TLS, and to
 * nobody else.  Whatever goes wrong defers: a refused password is a mistake of
 * ours or of the relay's operator, never one of the sender.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/client/session_step.h"
#include "smtpd-out/client/session_watch.h"

static enum session_state
refuse(struct session *s, enum session_state next, const char *why)
{
	s->why = outcome_auth(s->info.host, why);
	return next;
}

/* What the relay lacks, or NULL. */
static const char *
lacking(const struct session *s)
{
	/* policy_decide() promises it; here it is looked at once more. */
	if (!s->info.tls_active || !demand_verifies(s->demand))
		return "its certificate was not verified, so that no password "
			"is sent";
	if (!(s->caps.auth_mechs & (SMTP_AUTH_PLAIN | SMTP_AUTH_LOGIN)))
		return "it offers neither AUTH PLAIN nor AUTH LOGIN";
	return NULL;
}

/* The sender may read this: it does not name the file. */
#define UNREADABLE "our password for it cannot be read; the log says why"

/* After EHLO under TLS: AUTH when all is there that it needs. */
enum session_state
session_auth_begin(struct session *s)
{
	const char *lacks = lacking(s);
	char err[AUTH_ERR_MAX];

	if (lacks != NULL)
		return refuse(s, SESSION_QUIT, lacks);
	s->auth = xcalloc(1, sizeof(*s->auth));
	if (auth_file_read(s->demand->auth_file, &s->auth->secret, err) !=
	    ST_OK) {
		session_auth_end(s);
		log_error("auth-file", "host", s->info.host, "reason", err,
			NULL);
		return refuse(s, SESSION_QUIT, UNREADABLE);
	}
	return SESSION_AUTH;
}

bool
session_auth_possible(const struct session *s, bool readable,
	struct outcome *why_out)
{
	const char *lacks = lacking(s);

	if (lacks == NULL && !readable)
		lacks = UNREADABLE;
	if (lacks != NULL)
		*why_out = outcome_auth(s->info.host, lacks);
	return lacks == NULL;
}

void
session_auth_end(struct session *s)
{
	if (s->auth == NULL)
		return;
	auth_secret_wipe(&s->auth->secret);
	mem_free(&s->auth);
}

/* A secret stands in the output. */
static void
said(struct session *s, const char *what)
{
	log_debug("command", "host", s->info.host, "text", what, NULL);
	smtp_flight_push(&s->flight, SMTP_VERB_AUTH, 0);
	conn_out_secret(s->conn);
	conn_flush(s->conn);
}

void
session_enter_auth(struct session *s)
{
	if (smtp_auth_begin(s->auth, s->caps.auth_mechs, conn_out(s->conn)) ==
	    ST_OK)
		said(s, "AUTH, and perhaps a response that is not shown");
	else
		log_error("command", "host", s->info.host, NULL);
}

enum session_state
session_step_auth(struct session *s)
{
	if (s->reply.code == 235)
		return SESSION_READY;
	s->fault = "unexpected reply";
	return session_step_bad(s);
}

/* QUIT would be taken for a response, so that there is no way but out. */
enum session_state
session_step_challenge(struct session *s)
{
	if (s->auth == NULL || smtp_auth_answer(s->auth, &s->reply,
	    conn_out(s->conn)) != ST_OK)
		return refuse(s, SESSION_CLOSED, "it asks for something else "
			"than name and password");
	said(s, "a response that is not shown");
	return SESSION_AUTH;
}

enum session_state
session_step_no_auth(struct session *s)
{
	char why[OUTCOME_TEXT_MAX];
	size_t len;

	(void)str_copy(why, sizeof(why), log_num(s->reply.code));
	len = strlen(why);
	why[len++] = ' ';
	smtp_reply_text(&s->reply, why + len, sizeof(why) - len);
	return refuse(s, SESSION_QUIT, why);
}
