/*
 * What the SMTP client does with a transaction: envelope, body, results.  The
 * results of recipients are decided here:
 *
 *	refused RCPT			that recipient
 *	refused MAIL, DATA, end		5xx the message, 4xx of MAIL and DATA
 *					the host, 4xx of the end the message
 *	lost after the end was sent	the message, may be a duplicate
 *	anything else that ends it	the host
 */
#include "config.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "smtpd-out/client/session_step.h"

/* Unsent commands of a flight; replies are always read meanwhile, so that a
 * peer which reads no further cannot lock both sides (RFC 2920 3.1). */
#define FLIGHT_BYTES 16384U

/* ---- results ---- */

static void
settle_rcpt(struct session *s, size_t i, const struct outcome *o)
{
	struct session_rcpt *rcpt = &s->txn->rcpts[i];

	if (rcpt->outcome.verdict != VERDICT_NONE)
		return;
	rcpt->outcome = *o;
	s->open_count--;
}

void
session_settle(struct session *s, const struct outcome *o)
{
	if (s->txn == NULL)
		return;
	for (size_t i = 0; i < s->txn->rcpt_count && s->open_count > 0; i++)
		settle_rcpt(s, i, o);
}

static void
settle_reply(struct session *s, enum outcome_stage stage)
{
	bool message = s->reply.code >= 500 || stage == STAGE_EOM;
	struct outcome o = smtp_reply_outcome(&s->reply, message ?
		SCOPE_MESSAGE : SCOPE_HOST, stage);

	session_settle(s, &o);
}

/* After TLS has failed with this host, or was refused to us: not the sender's
 * fault. */
static void
settle_530(struct session *s)
{
	char text[OUTCOME_TEXT_MAX];
	struct outcome o;

	smtp_reply_text(&s->reply, text, sizeof(text));
	o = outcome_tls_asked(s->info.host, text);
	session_settle(s, &o);
}

static void
take_mail_reply(struct session *s)
{
	if (s->reply.code < 300 || session_take_530(s))
		return;
	if (s->reply.code == 530 && s->no_starttls)
		settle_530(s);
	else
		settle_reply(s, STAGE_MAIL);
}

static void
settle_delivered(struct session *s)
{
	struct session_txn *txn = s->txn;
	struct outcome o = smtp_reply_outcome(&s->reply, SCOPE_RCPT,
		STAGE_EOM);

	for (size_t i = 0; i < txn->rcpt_count && s->open_count > 0; i++) {
		if (txn->rcpts[i].outcome.verdict != VERDICT_NONE)
			continue;
		txn->rcpts[i].dsn_relayed = session_offers(s, SMTP_CAP_DSN);
		settle_rcpt(s, i, &o);
	}
}

void
session_finish(struct session *s)
{
	if (s->txn != NULL)
		s->due |= SESSION_DUE_DONE;
}

/* ---- envelope ---- */

/* Without PIPELINING each chunk would wait for an answer: one is enough. */
static bool
uses_chunks(const struct session *s)
{
	return session_offers(s, SMTP_CAP_CHUNKING) &&
		(session_offers(s, SMTP_CAP_PIPELINING) ||
		s->txn->body.size_bytes <= SMTP_DATA_BLOCK);
}

static void
say_rcpt(struct session *s, size_t i)
{
	const struct session_rcpt *rcpt = &s->txn->rcpts[i];
	size_t from = conn_out(s->conn)->len;
	struct outcome o;

	if (rcpt->outcome.verdict != VERDICT_NONE)
		return;
	if (smtp_command_rcpt(conn_out(s->conn), &s->caps, rcpt) != ST_OK) {
		o = outcome_bad_address(rcpt->address);
		settle_rcpt(s, i, &o);
		return;
	}
	session_log_sent(s, from);
	smtp_flight_push(&s->flight, SMTP_VERB_RCPT, i);
}

/* Names recipients as far as the flight allows, then asks for DATA in the same
 * flight; BDAT waits, since it is not one command but all of the body. */
static void
say_envelope(struct session *s)
{
	bool pipelining = session_offers(s, SMTP_CAP_PIPELINING);

	if (session_tls_due(s))
		return;
	while (s->open_count > 0 && s->rcpt_next <= s->txn->rcpt_count) {
		if (smtp_flight_full(&s->flight) ||
		    (s->flight.count > 0 && !pipelining) ||
		    conn_out(s->conn)->len > FLIGHT_BYTES)
			break;
		if (s->rcpt_next < s->txn->rcpt_count) {
			say_rcpt(s, s->rcpt_next++);
			continue;
		}
		if (!pipelining || uses_chunks(s))
			break;
		s->rcpt_next++;
		session_say(s, SMTP_VERB_DATA, NULL);
	}
	conn_flush(s->conn);
}

/* ---- transactions ---- */

/* A transaction that had to wait for TLS begins anew. */
void
session_enter_ready(struct session *s)
{
	if (s->txn != NULL && s->open_count > 0) {
		smtp_reply_clear(&s->reply);
		conn_wake(s->conn);
		return;
	}
	session_finish(s);
	s->due |= SESSION_DUE_READY;
	smtp_reply_clear(&s->reply);	/* an idle session keeps no memory */
}

/* What the message needs and this peer lacks; NULL when nothing. */
static const char *
lacking(const struct session *s)
{
	if (smtp_needs_utf8(s->txn) && !session_offers(s, SMTP_CAP_SMTPUTF8))
		return "SMTPUTF8";
	if (s->txn->flags & ENVELOPE_REQUIRETLS &&
	    !(session_offers(s, SMTP_CAP_REQUIRETLS) && s->info.tls_active))
		return "REQUIRETLS";
	return NULL;
}

/* True when nothing need be sent to know the answer. */
static bool
refused_here(struct session *s)
{
	const char *feature = lacking(s);
	struct outcome o;

	if (feature != NULL)
		o = outcome_feature(s->info.host, feature);
	else if (s->caps.size_max > 0 &&
	    s->txn->body.size_bytes > s->caps.size_max)
		o = outcome_size(s->info.host, s->caps.size_max);
	else if (smtp_command_mail(conn_out(s->conn), &s->caps, s->txn) !=
	    ST_OK)
		o = outcome_local("sender cannot be written in SMTP");
	else
		return false;
	session_settle(s, &o);
	return true;
}

/* RFC 9422 section 4.2: those beyond the limit would be refused anyway. */
static void
defer_excess(struct session *s)
{
	struct outcome o;

	if (s->caps.rcpt_max == 0 || s->txn->rcpt_count <= s->caps.rcpt_max)
		return;
	o = outcome_reply(SCOPE_RCPT, STAGE_RCPT, 452, "4.5.3",
		"more recipients than the server takes at a time (RCPTMAX)");
	for (size_t i = s->caps.rcpt_max; i < s->txn->rcpt_count; i++)
		settle_rcpt(s, i, &o);
}

enum session_state
session_step_job(struct session *s)
{
	if (s->open_count == 0 || refused_here(s)) {
		session_enter_ready(s);
		return SESSION_READY;
	}
	/* RFC 6152 asks to convert or to refuse.  8-bit mail passes nearly
	 * everywhere, and conversion breaks signatures: it goes as it is. */
	if (s->txn->flags & ENVELOPE_8BITMIME &&
	    !session_offers(s, SMTP_CAP_8BITMIME))
		log_debug("8bitmime-not-offered", "host", s->info.host, NULL);
	session_log_sent(s, 0);		/* output was empty in READY */
	smtp_flight_push(&s->flight, SMTP_VERB_MAIL, 0);
	s->info.reused = s->mail_count++ > (s->tls_asked ? 1U : 0U);
	s->rcpt_next = 0;
	s->data.form = SMTP_DATA_NONE;
	defer_excess(s);
	return SESSION_ENVELOPE;
}

void
session_enter_envelope(struct session *s)
{
	say_envelope(s);
}

static void
take_rcpt_reply(struct session *s)
{
	struct outcome o;

	if (s->reply.code < 300 || session_tls_due(s))
		return;
	/* RFC 5321 4.5.3.1.10: 552 here means too many recipients. */
	if (s->reply.code == 552) {
		s->reply.code = 452;
		s->reply.enhanced[0] = '\0';
	}
	o = smtp_reply_outcome(&s->reply, SCOPE_RCPT, STAGE_RCPT);
	settle_rcpt(s, s->sent.rcpt, &o);
}

/* Decides only when nothing but DATA is left in flight. */
enum session_state
session_step_envelope(struct session *s)
{
	enum smtp_verb head;

	if (s->sent.verb == SMTP_VERB_RCPT)
		take_rcpt_reply(s);
	else
		take_mail_reply(s);
	say_envelope(s);
	head = smtp_flight_peek(&s->flight).verb;
	if (head == SMTP_VERB_DATA)
		return SESSION_DATA;
	if (head != SMTP_VERB_NONE)
		return SESSION_ENVELOPE;
	if (session_tls_due(s))
		return SESSION_STARTTLS;
	if (s->open_count == 0)
		return SESSION_RESET;
	return uses_chunks(s) ? SESSION_BODY : SESSION_DATA;
}

void
session_enter_data(struct session *s)
{
	if (s->flight.count == 0)
		session_say(s, SMTP_VERB_DATA, NULL);
}

/* 354.  Without a recipient a lone dot ends it (RFC 2920 section 3.1); also
 * where MAIL got a 530, which leaves nothing to be trusted. */
enum session_state
session_step_data(struct session *s)
{
	if (session_tls_due(s))
		settle_530(s);
	if (s->open_count > 0)
		return SESSION_BODY;
	smtp_flight_push(&s->flight, SMTP_VERB_EOM, 0);
	if (buf_puts(conn_out(s->conn), ".\r\n") != ST_OK)
		log_error("command", "host", s->info.host, NULL);
	conn_flush(s->conn);
	return SESSION_EOM;
}

enum session_state
session_step_no_data(struct session *s)
{
	if (session_tls_due(s))
		return SESSION_STARTTLS;
	settle_reply(s, STAGE_DATA);
	return SESSION_RESET;
}

/* ---- body ---- */

void
session_enter_body(struct session *s)
{
	s->body_end_ms = clock_mono_ms() + session_body_limit_ms(
		&s->env.conf->timeout, s->txn->body.size_bytes);
	smtp_data_init(&s->data, &s->txn->body, uses_chunks(s) ?
		SMTP_DATA_CHUNK : SMTP_DATA_DOT);
	if (session_feed(s) != ST_OK)
		session_engine(s, SESSION_EV_LOCAL);
}

/* With chunks an answer is due for each; a full flight waits for one. */
enum status
session_feed(struct session *s)
{
	enum status st;

	if (s->data.ended || conn_out(s->conn)->len > 0 ||
	    smtp_flight_full(&s->flight))
		return ST_OK;
	st = smtp_data_next(&s->data, conn_out(s->conn));
	if (st != ST_OK && st != ST_EOF)
		return st;
	if (st == ST_EOF)
		smtp_flight_push(&s->flight, SMTP_VERB_EOM, 0);
	else if (s->data.form == SMTP_DATA_CHUNK)
		smtp_flight_push(&s->flight, SMTP_VERB_BDAT, 0);
	conn_flush(s->conn);
	return ST_OK;
}

enum session_state
session_step_sent(struct session *s)
{
	(void)s;
	return SESSION_EOM;
}

/* Without the end mark the peer must discard what it has. */
enum session_state
session_step_local(struct session *s)
{
	s->why = outcome_local("message body cannot be read");
	return SESSION_CLOSED;
}

enum session_state
session_step_chunk(struct session *s)
{
	if (s->sent.verb != SMTP_VERB_BDAT) {
		s->fault = "unexpected reply";
		return session_step_bad(s);
	}
	return session_feed(s) == ST_OK ? SESSION_BODY : session_step_local(s);
}

/* A chunk was refused: all of it has been handed out, so that RSET can follow.
 * A refusal in the middle of DATA counts, but leaves no way to go on. */
enum session_state
session_step_no_body(struct session *s)
{
	settle_reply(s, STAGE_DATA);
	if (s->data.form == SMTP_DATA_CHUNK)
		return SESSION_RESET;
	s->why = outcome_lost(STAGE_DATA, s->info.host);
	return SESSION_CLOSED;
}

static enum session_state
next_txn(const struct session *s)
{
	bool used_up = s->caps.mail_max > 0 &&
		s->mail_count >= s->caps.mail_max;

	return s->stop_wanted || used_up ? SESSION_QUIT : SESSION_READY;
}

enum session_state
session_step_eom(struct session *s)
{
	bool ok = s->reply.code < 300;

	if (s->sent.verb == SMTP_VERB_BDAT) {
		if (!ok)
			settle_reply(s, STAGE_DATA);
		return SESSION_EOM;
	}
	if (ok)
		settle_delivered(s);
	else
		settle_reply(s, STAGE_EOM);
	/* RFC 3030 section 2: after a failed chunk only RSET clears up. */
	if (!ok && s->data.form == SMTP_DATA_CHUNK)
		return SESSION_RESET;
	return next_txn(s);
}

void
session_enter_reset(struct session *s)
{
	session_finish(s);
	session_say(s, SMTP_VERB_RSET, NULL);
}

/* Answers to chunks that were on their way come first. */
enum session_state
session_step_reset(struct session *s)
{
	return s->sent.verb == SMTP_VERB_RSET ? next_txn(s) : SESSION_RESET;
}

enum session_state
session_step_no_reset(struct session *s)
{
	return s->sent.verb == SMTP_VERB_RSET ? SESSION_QUIT : SESSION_RESET;
}
