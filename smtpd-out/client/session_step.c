/*
 * What the SMTP client does on the way to READY and at the end of a session:
 * connecting, greeting, STARTTLS, QUIT.  Transactions are in session_txn.c.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/client/session_step.h"

static enum outcome_stage
stage_of(const struct session *s)
{
	if (s->state == SESSION_ENVELOPE && s->sent.verb == SMTP_VERB_MAIL)
		return STAGE_MAIL;
	return session_state_row(s->state)->stage;
}

bool
session_offers(const struct session *s, enum smtp_cap cap)
{
	return (s->caps.flags & cap) != 0;
}

void
session_log_sent(struct session *s, size_t from)
{
	const struct buf *out = conn_out(s->conn);
	char text[OUTCOME_TEXT_MAX];

	if (!log_enabled(LOG_LEVEL_DEBUG) || out->len < from + 2)
		return;
	str_sanitise(text, sizeof(text), (const char *)buf_data(out) + from,
		out->len - from - 2);
	log_debug("command", "host", s->info.host, "text", text, NULL);
}

/* Fails only for a host name of ours that no configuration should have; the
 * reply that never comes then ends the session. */
void
session_say(struct session *s, enum smtp_verb verb, const char *arg)
{
	size_t from = conn_out(s->conn)->len;
	enum status st = smtp_flight_full(&s->flight) ? ST_LIMIT :
		smtp_command(conn_out(s->conn), verb, arg);

	if (st != ST_OK) {
		log_error("command", "host", s->info.host, "why",
			status_name(st), NULL);
		return;
	}
	session_log_sent(s, from);
	smtp_flight_push(&s->flight, verb, 0);
	conn_flush(s->conn);
}

/* It said more than it was asked for before TLS.  On a connection that begins
 * with TLS that is no TLS server, whether it spoke before our hello or after;
 * behind STARTTLS somebody put words into its mouth.  For a report both are
 * failed TLS (RFC 8460 section 4.3.3). */
static struct outcome
begun_by_peer(const struct session *s)
{
	struct outcome o;

	if (s->state == SESSION_CONNECT)
		return outcome_tls_failed(s->info.host, TLS_FAILURE_VALIDATION,
			"what the server says is not TLS");
	log_warn("starttls-injection", "host", s->info.host, "ip", s->info.ip,
		NULL);
	o = outcome_protocol(stage_of(s), s->info.host,
		"bytes injected before the TLS handshake");
	o.tls_failure = TLS_FAILURE_VALIDATION;
	return o;
}

/* All that was learned in clear text is forgotten here (RFC 3207 4.2). */
static enum session_state
begin_tls(struct session *s)
{
	const struct tls_params params = { .host = s->info.host,
		.demand = s->demand, .full = s->full_handshake };

	if (conn_start_tls(s->conn, s->env.tls, &params) != ST_OK) {
		s->why = begun_by_peer(s);
		return SESSION_CLOSED;
	}
	memset(&s->caps, 0, sizeof(s->caps));
	smtp_reply_clear(&s->reply);
	return SESSION_HANDSHAKE;
}

/* ---- connecting and greeting ---- */

enum session_state
session_step_start(struct session *s)
{
	(void)s;
	return SESSION_CONNECT;
}

void
session_enter_connect(struct session *s)
{
	conn_connect(s->conn, s->addrs, s->addr_count);
	mem_free(&s->addrs);
}

enum session_state
session_step_up(struct session *s)
{
	(void)str_copy(s->info.ip, sizeof(s->info.ip), conn_ip(s->conn));
	conn_local_ip(s->conn, s->info.local_ip, sizeof(s->info.local_ip));
	return s->demand->tls_first ? begin_tls(s) : SESSION_BANNER;
}

void
session_enter_banner(struct session *s)
{
	smtp_flight_push(&s->flight, SMTP_VERB_GREETING, 0);
}

enum session_state
session_step_greeted(struct session *s)
{
	char text[OUTCOME_TEXT_MAX];

	/* "220 ****************": the work of the same firewalls. */
	smtp_reply_text(&s->reply, text, sizeof(text));
	s->masked = strstr(text, "*****") != NULL;
	str_sanitise(s->info.helo, sizeof(s->info.helo), text,
		strcspn(text, " "));
	return s->info.tls_active ? SESSION_EHLO_TLS : SESSION_EHLO;
}

void
session_enter_ehlo(struct session *s)
{
	session_say(s, SMTP_VERB_EHLO, s->env.conf->hostname);
}

void
session_enter_helo(struct session *s)
{
	session_say(s, SMTP_VERB_HELO, s->env.conf->hostname);
}

/* Greeting, EHLO or HELO refused: another host may be better.  Where a host
 * must be verified no mail goes back for what is said before it is: else
 * whoever is in the middle could have protected mail returned. */
enum session_state
session_step_turned_away(struct session *s)
{
	char text[OUTCOME_TEXT_MAX];

	s->why = smtp_reply_outcome(&s->reply, SCOPE_HOST, stage_of(s));
	if (s->why.verdict == VERDICT_NEVER && !s->info.tls_active &&
	    demand_verifies(s->demand)) {
		smtp_reply_text(&s->reply, text, sizeof(text));
		s->why = outcome_unproven(stage_of(s), s->info.host,
			s->reply.code, text);
	}
	return SESSION_QUIT;
}

/* Goes on in clear text if the table, and so the demand, permits it. */
static enum session_state
in_clear(struct session *s, enum session_state next, const char *otherwise)
{
	if (s->permitted & SESSION_BIT(next))
		return next;
	s->why = outcome_tls_required(s->info.host, otherwise);
	return SESSION_QUIT;
}

/* Whoever must not speak in clear text asks for TLS whatever else was said. */
static bool
wants_tls(const struct session *s)
{
	return demand_forbids_clear(s->demand) ||
		(s->demand->level != DEMAND_NONE && !s->no_starttls);
}

enum session_state
session_step_ehlo(struct session *s)
{
	smtp_caps_parse(&s->caps, &s->reply);
	if (session_offers(s, SMTP_CAP_STARTTLS) && wants_tls(s))
		return SESSION_STARTTLS;
	if (session_offers(s, SMTP_CAP_MASKED))
		return in_clear(s, SESSION_READY, "STARTTLS is masked "
			"(\"XXXXXXXA\"): a firewall on the way, or an "
			"attacker, overwrites it");
	return in_clear(s, SESSION_READY, s->masked ? "STARTTLS is not "
		"offered, and the greeting is masked (\"****\"): a firewall "
		"on the way, or an attacker, takes it out" :
		"STARTTLS is not offered: the server lacks it, or somebody on "
		"the way takes it out");
}

bool
session_take_530(struct session *s)
{
	char text[OUTCOME_TEXT_MAX];

	if (s->reply.code != 530 || s->tls_asked || s->info.tls_active ||
	    s->no_starttls || s->demand->level == DEMAND_NONE)
		return false;
	/* 530 may also ask for AUTH (RFC 4954 section 6). */
	smtp_reply_text(&s->reply, text, sizeof(text));
	s->tls_asked = strcasestr(text, "TLS") != NULL;
	return s->tls_asked;
}

bool
session_tls_due(const struct session *s)
{
	return s->tls_asked && !s->info.tls_active;
}

enum session_state
session_step_no_ehlo(struct session *s)
{
	if (session_take_530(s))
		return SESSION_STARTTLS;
	return in_clear(s, SESSION_HELO, s->masked ? "EHLO is refused, and the "
		"greeting is masked (\"****\"): a firewall on the way, or an "
		"attacker, hides STARTTLS" : "EHLO is refused");
}

enum session_state
session_step_helo(struct session *s)
{
	memset(&s->caps, 0, sizeof(s->caps));
	return SESSION_READY;
}

enum session_state
session_step_no_helo(struct session *s)
{
	return session_take_530(s) ? SESSION_STARTTLS :
		session_step_turned_away(s);
}

/* ---- TLS ---- */

void
session_enter_starttls(struct session *s)
{
	session_say(s, SMTP_VERB_STARTTLS, NULL);
}

enum session_state
session_step_starttls(struct session *s)
{
	return begin_tls(s);
}

enum session_state
session_step_no_starttls(struct session *s)
{
	char why[OUTCOME_TEXT_MAX];
	size_t len;

	(void)snprintf(why, sizeof(why), "STARTTLS is offered but %s: %d ",
		s->reply.code < 500 ? "not available now" : "refused",
		s->reply.code);
	len = strlen(why);
	s->info.starttls_refused = true;
	smtp_reply_text(&s->reply, why + len, sizeof(why) - len);
	if (s->tls_asked) {
		s->why = outcome_tls_asked(s->info.host, why);
		return SESSION_QUIT;
	}
	return in_clear(s, SESSION_READY, why);
}

enum session_state
session_step_tls_up(struct session *s)
{
	const struct tls *tls = conn_tls(s->conn);
	const char *watched;

	s->info.tls_active = true;
	s->info.watched = tls_watched(tls, &watched);
	(void)str_copy(s->info.watched_text, sizeof(s->info.watched_text),
		watched);
	tls_proof(tls, &s->info.proof);
	(void)str_copy(s->info.proto, sizeof(s->info.proto), tls_proto(tls));
	(void)str_copy(s->info.cipher, sizeof(s->info.cipher),
		tls_cipher(tls));
	return s->demand->tls_first ? SESSION_BANNER : SESSION_EHLO_TLS;
}

static bool
is_resuming(const struct session *s)
{
	const struct tls *tls = conn_tls(s->conn);

	return tls != NULL && tls_offered(tls);
}

enum session_state
session_step_tls_fail(struct session *s)
{
	s->info.resuming = is_resuming(s);
	s->why = outcome_tls_failed(s->info.host, conn_tls_failure(s->conn),
		conn_error(s->conn));
	return SESSION_CLOSED;
}

enum session_state
session_step_ehlo_tls(struct session *s)
{
	smtp_caps_parse(&s->caps, &s->reply);
	return s->demand->auth_file != NULL ? session_auth_begin(s) :
		SESSION_READY;
}

/* ---- ends ---- */

static struct outcome
interrupted(void)
{
	return outcome_local("delivery was interrupted");
}

/* Whatever has no verdict yet gets the reason of the end.  That a session ended
 * well delivers nothing. */
static void
settle_rest(struct session *s)
{
	struct outcome o = s->why;

	if (o.verdict == VERDICT_NONE)
		o = interrupted();
	session_settle(s, &o);
	session_finish(s);
}

/* Answers still due are of no interest: any reply is good-bye. */
void
session_enter_quit(struct session *s)
{
	settle_rest(s);
	memset(&s->flight, 0, sizeof(s->flight));
	session_say(s, SMTP_VERB_QUIT, NULL);
}

void
session_enter_closed(struct session *s)
{
	settle_rest(s);
	if (s->why.verdict == VERDICT_NONE)
		s->why = outcome_reply(SCOPE_HOST, STAGE_NONE, 221, "2.0.0",
			"closed");
	s->due |= SESSION_DUE_CLOSED;
	conn_close(s->conn);
}

enum session_state
session_step_bye(struct session *s)
{
	(void)s;
	return SESSION_CLOSED;
}

enum session_state
session_step_idle(struct session *s)
{
	(void)s;
	return SESSION_QUIT;
}

enum session_state
session_step_stay(struct session *s)
{
	return s->state;
}

/* QUIT, unless a DATA is in flight: the peer may take it for text. */
enum session_state
session_step_stop(struct session *s)
{
	struct outcome o = interrupted();

	session_settle(s, &o);
	if (s->state == SESSION_ENVELOPE && s->txn != NULL &&
	    s->rcpt_next > s->txn->rcpt_count)
		return SESSION_CLOSED;
	return SESSION_QUIT;
}

enum session_state
session_step_drop(struct session *s)
{
	s->why = interrupted();
	return SESSION_CLOSED;
}

enum session_state
session_step_timeout(struct session *s)
{
	s->info.resuming = is_resuming(s);
	if (s->state == SESSION_CONNECT)
		s->why = outcome_connect(s->info.host, "timed out");
	else if (s->state == SESSION_HANDSHAKE)
		s->why = outcome_tls_failed(s->info.host,
			TLS_FAILURE_VALIDATION, "timed out");
	else if (s->state == SESSION_EOM)
		s->why = outcome_unsure(s->info.host, "timed out");
	else
		s->why = outcome_timeout(stage_of(s), s->info.host);
	return SESSION_CLOSED;
}

/* In TLS 1.3 a server refuses the handshake after we think it done. */
static bool
refused_by_tls(const struct session *s)
{
	const struct tls *tls = conn_tls(s->conn);

	return (s->state == SESSION_EHLO_TLS || s->state == SESSION_BANNER) &&
		tls != NULL && tls_refused(tls);
}

enum session_state
session_step_lost(struct session *s)
{
	s->info.resuming = is_resuming(s);
	if (s->state == SESSION_CONNECT)
		s->why = outcome_connect(s->info.host, conn_error(s->conn));
	else if (s->state == SESSION_HANDSHAKE || refused_by_tls(s))
		s->why = outcome_tls_failed(s->info.host,
			conn_tls_failure(s->conn), conn_error(s->conn));
	else if (s->state == SESSION_EOM)
		s->why = outcome_unsure(s->info.host, "connection lost");
	else
		s->why = outcome_lost(stage_of(s), s->info.host);
	return SESSION_CLOSED;
}

enum session_state
session_step_bad(struct session *s)
{
	if (s->state == SESSION_EOM)
		s->why = outcome_unsure(s->info.host, s->fault);
	else
		s->why = outcome_protocol(stage_of(s), s->info.host, s->fault);
	return SESSION_CLOSED;
}

enum session_state
session_step_421(struct session *s)
{
	s->why = smtp_reply_outcome(&s->reply, SCOPE_HOST, stage_of(s));
	return SESSION_CLOSED;
}
