/*
 * The engine of the SMTP client: it turns what the connection tells into events
 * of the state table, calls the step of the row, and is the only code that
 * changes a state.  What the steps do is in session_step.c and session_txn.c.
 */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/client/session_step.h"

/* ---- engine ---- */

static bool
is_reply(enum session_event ev)
{
	return ev == SESSION_EV_2XX || ev == SESSION_EV_3XX ||
		ev == SESSION_EV_4XX || ev == SESSION_EV_5XX;
}

void
session_arm(struct session *s)
{
	const struct session_state_row *row = session_state_row(s->state);
	const struct conf_timeout *t = &s->env.conf->timeout;
	int64_t ms = row->timeout_ms != NULL ? row->timeout_ms(t) : -1;
	int64_t left;

	if (s->state == SESSION_ENVELOPE &&
	    smtp_flight_peek(&s->flight).verb == SMTP_VERB_MAIL)
		ms = t->mail_ms;
	if (s->state == SESSION_BODY) {
		left = s->body_end_ms - clock_mono_ms();
		if (left < ms)
			ms = left > 0 ? left : 0;
	}
	conn_deadline(s->conn, ms);
}

/* The time of a state runs anew with each complete reply, never with part of
 * one: a peer that drips gets no longer. */
static void
change_state(struct session *s, enum session_state next, enum session_event ev)
{
	const struct session_state_row *row = session_state_row(next);
	enum session_state old = s->state;

	if (next == old) {
		if (is_reply(ev))
			session_arm(s);
		return;
	}
	log_debug("session", "host", s->info.host, "ip", s->info.ip,
		"from", session_state_row(old)->name, "to", row->name,
		"event", session_event_name(ev), NULL);
	if (s->watcher != NULL)
		s->watcher->state(s, next, s->watcher->arg);
	s->state = next;
	if (old == SESSION_AUTH)
		session_auth_end(s);
	conn_watch(s->conn, (row->wants & SESSION_WANTS_READ) != 0,
		(row->wants & SESSION_WANTS_WRITTEN) != 0);
	if (row->enter != NULL)
		row->enter(s);
	if (s->state == next)
		session_arm(s);
}

/* A hole in the table or a step that breaks it: our own fault, which must
 * neither lose mail nor send it on. */
static enum session_state
broken(struct session *s, enum session_event ev)
{
	log_error("session-table", "state", session_state_row(s->state)->name,
		"event", session_event_name(ev), NULL);
	if (s->state == SESSION_EOM)
		s->why = outcome_unsure(s->info.host, "internal error");
	else
		s->why = outcome_local("SMTP client state table violated");
	return SESSION_CLOSED;
}

static unsigned
rules_of(const struct demand *d)
{
	return (demand_forbids_clear(d) ? SESSION_RULE_TLS : 0U) |
		(d->tls_first ? SESSION_RULE_TLS_FIRST : 0U) |
		(d->auth_file != NULL ? SESSION_RULE_AUTH : 0U);
}

void
session_engine(struct session *s, enum session_event ev)
{
	const struct session_transition *row =
		session_transition(s->state, ev);
	enum session_state next;

	if (s->state == SESSION_CLOSED)
		return;
	if (!is_reply(ev) && ev != SESSION_EV_421)
		s->sent = smtp_flight_peek(&s->flight);
	if (row == NULL && is_reply(ev)) {
		s->fault = "unexpected reply";
		ev = SESSION_EV_BAD;
		row = session_transition(s->state, ev);
	}
	if (row == NULL) {
		change_state(s, broken(s, ev), ev);
		return;
	}
	s->permitted = session_permitted(s->state, ev, rules_of(s->demand));
	next = row->step(s);
	if (!(s->permitted & SESSION_BIT(next)))
		next = broken(s, ev);
	change_state(s, next, ev);
}

/* ---- what the connection tells ---- */

static enum session_event
reply_event(int code)
{
	static const enum session_event classes[] = { SESSION_EV_2XX,
		SESSION_EV_3XX, SESSION_EV_4XX, SESSION_EV_5XX };

	return code == 421 ? SESSION_EV_421 : classes[code / 100 - 2];
}

static void
on_reply(struct session *s)
{
	char text[OUTCOME_TEXT_MAX];

	s->sent = smtp_flight_pop(&s->flight);
	if (s->auth != NULL)
		smtp_auth_scrub(s->auth, &s->reply);
	if (log_enabled(LOG_LEVEL_DEBUG)) {
		smtp_reply_text(&s->reply, text, sizeof(text));
		log_debug("reply", "host", s->info.host, "code",
			log_num(s->reply.code), "enhanced", s->reply.enhanced,
			"text", text, NULL);
	}
	if (s->watcher != NULL)
		s->watcher->reply(s, s->sent.verb, &s->reply,
			s->watcher->arg);
	session_engine(s, reply_event(s->reply.code));
}

static void
on_input(struct session *s)
{
	struct buf *in = conn_in(s->conn);
	enum status st;
	size_t used;

	while (s->state != SESSION_CLOSED && in->len > 0) {
		st = smtp_reply_feed(&s->reply, buf_data(in), in->len, &used);
		buf_drain(in, used);
		if (st == ST_AGAIN)
			continue;
		if (st == ST_OK) {
			on_reply(s);
			continue;
		}
		s->fault = st == ST_LIMIT ? "reply too long" :
			"malformed reply";
		smtp_reply_clear(&s->reply);
		buf_drain(in, in->len);
		session_engine(s, SESSION_EV_BAD);
	}
}

static void
on_wake(struct session *s)
{
	if (s->state == SESSION_NEW)
		session_engine(s, s->stop_wanted ? SESSION_EV_STOP :
			SESSION_EV_START);
	else if (s->stop_wanted)
		session_engine(s, SESSION_EV_STOP);
	else if (s->state == SESSION_READY && s->txn != NULL)
		session_engine(s, SESSION_EV_JOB);
}

static void
on_written(struct session *s)
{
	if (s->state != SESSION_BODY)
		return;
	session_arm(s);
	if (conn_out(s->conn)->len > 0)
		return;
	if (s->data.ended)
		session_engine(s, SESSION_EV_SENT);
	else if (session_feed(s) != ST_OK)
		session_engine(s, SESSION_EV_LOCAL);
}

/* Within a callback the owner may send, quit or abort; none of these calls
 * back, and an abort clears what is still due. */
static void
notify(struct session *s)
{
	struct session_txn *txn = s->txn;

	if (s->due & SESSION_DUE_DONE) {
		s->due &= ~(unsigned)SESSION_DUE_DONE;
		s->txn = NULL;
		s->cb.done(s, txn, s->cb_arg);
	}
	if (s->due & SESSION_DUE_READY) {
		s->due &= ~(unsigned)SESSION_DUE_READY;
		if (s->state == SESSION_READY && s->txn == NULL &&
		    !s->stop_wanted)
			s->cb.ready(s, s->cb_arg);
	}
	if (s->due & SESSION_DUE_CLOSED) {
		s->due &= ~(unsigned)SESSION_DUE_CLOSED;
		s->cb.closed(s, &s->why, s->why.stage == STAGE_TLS, s->cb_arg);
	}
}

static void
on_conn(enum conn_event what, void *arg)
{
	static const enum session_event events[] = {
		[CONN_UP] = SESSION_EV_UP,
		[CONN_TLS_UP] = SESSION_EV_TLS_UP,
		[CONN_TLS_FAILED] = SESSION_EV_TLS_FAIL,
		[CONN_LOST] = SESSION_EV_LOST,
		[CONN_DEADLINE] = SESSION_EV_TIMEOUT,
	};
	struct session *s = arg;

	if (what == CONN_WAKE)
		on_wake(s);
	else if (what == CONN_INPUT)
		on_input(s);
	else if (what == CONN_WRITTEN)
		on_written(s);
	else
		session_engine(s, events[what]);
	notify(s);
}

/* ---- interface ---- */

struct session *
session_start(const struct session_env *env,
	const struct session_target *target,
	const struct session_callbacks *cb, void *arg)
{
	struct session *s = xcalloc(1, sizeof(*s));

	assert(target->addr_count >= 1 &&
		target->addr_count <= SESSION_ADDRS_MAX);
	s->env = *env;
	s->cb = *cb;
	s->cb_arg = arg;
	s->demand = demand_copy(target->demand);
	s->no_starttls = target->no_starttls;
	s->full_handshake = target->full_handshake;
	s->watcher = target->watcher;
	s->addr_count = target->addr_count;
	s->addrs = xcalloc(s->addr_count, sizeof(*s->addrs));
	memcpy(s->addrs, target->addrs, s->addr_count * sizeof(*s->addrs));
	(void)str_copy(s->info.host, sizeof(s->info.host), target->host);
	smtp_reply_init(&s->reply);
	s->conn = conn_new(env->base, on_conn, s);
	conn_wake(s->conn);
	return s;
}

bool
session_is_ready(const struct session *s)
{
	return s->state == SESSION_READY && s->txn == NULL && !s->stop_wanted;
}

void
session_send(struct session *s, struct session_txn *txn)
{
	struct outcome o;

	assert(s->txn == NULL);
	s->txn = txn;
	s->open_count = txn->rcpt_count;
	for (size_t i = 0; i < txn->rcpt_count; i++) {
		memset(&txn->rcpts[i].outcome, 0, sizeof(struct outcome));
		txn->rcpts[i].dsn_relayed = false;
	}
	if (s->state != SESSION_READY) {
		/* It ended between ready() and now. */
		o = outcome_lost(STAGE_MAIL, s->info.host);
		session_settle(s, &o);
		s->due |= SESSION_DUE_DONE;
	}
	conn_wake(s->conn);
}

void
session_quit(struct session *s)
{
	if (s->state == SESSION_CLOSED)
		return;
	s->stop_wanted = true;
	conn_wake(s->conn);
}

void
session_abort(struct session *s)
{
	conn_close(s->conn);
	session_auth_end(s);
	s->state = SESSION_CLOSED;
	s->due = 0;
	s->txn = NULL;
}

void
session_free(struct session **session)
{
	struct session *s = *session;

	if (s == NULL)
		return;
	conn_free(&s->conn);
	smtp_reply_clear(&s->reply);
	mem_free(&s->addrs);
	demand_free(&s->demand);
	mem_free(session);
}

const struct session_info *
session_info(const struct session *s)
{
	return &s->info;
}

const struct tls *
session_tls(const struct session *s)
{
	return conn_tls(s->conn);
}
