/*
 * The two tables of the SMTP client.  Data alone: what a step does stands in
 * session_step.c and session_txn.c, how it is called in session.c.
 */
#include "config.h"

#include "smtpd-out/client/session_step.h"
#include "smtpd-out/client/session_table.h"

#define MIN_BYTES_PER_MS 1	/* of a body, on average */

/* clang-format off */
#define TIMEOUT(field) \
	static int64_t \
	field(const struct conf_timeout *t) \
	{ \
		return t->field; \
	}
TIMEOUT(connect_ms)
TIMEOUT(banner_ms)
TIMEOUT(command_ms)
TIMEOUT(rcpt_ms)
TIMEOUT(data_ms)
TIMEOUT(block_ms)
TIMEOUT(data_end_ms)
TIMEOUT(rset_ms)
TIMEOUT(quit_ms)
TIMEOUT(tls_ms)
TIMEOUT(idle_ms)

#define READ SESSION_WANTS_READ
#define BOTH (SESSION_WANTS_READ | SESSION_WANTS_WRITTEN)
#define NONE SESSION_WANTS_NONE

static const struct session_state_row states[SESSION_STATE_COUNT] = {
	[SESSION_NEW] = { "NEW", NULL, NONE, STAGE_CONNECT, NULL },
	[SESSION_CONNECT] = { "CONNECT", connect_ms, NONE, STAGE_CONNECT,
		session_enter_connect },
	[SESSION_BANNER] = { "BANNER", banner_ms, READ, STAGE_BANNER,
		session_enter_banner },
	[SESSION_EHLO] = { "EHLO", command_ms, READ, STAGE_EHLO,
		session_enter_ehlo },
	[SESSION_HELO] = { "HELO", command_ms, READ, STAGE_EHLO,
		session_enter_helo },
	[SESSION_STARTTLS] = { "STARTTLS", command_ms, READ, STAGE_STARTTLS,
		session_enter_starttls },
	[SESSION_HANDSHAKE] = { "HANDSHAKE", tls_ms, READ, STAGE_TLS, NULL },
	[SESSION_EHLO_TLS] = { "EHLO_TLS", command_ms, READ, STAGE_EHLO,
		session_enter_ehlo },
	[SESSION_AUTH] = { "AUTH", command_ms, READ, STAGE_AUTH,
		session_enter_auth },
	[SESSION_READY] = { "READY", idle_ms, READ, STAGE_MAIL,
		session_enter_ready },
	[SESSION_ENVELOPE] = { "ENVELOPE", rcpt_ms, READ, STAGE_RCPT,
		session_enter_envelope },
	[SESSION_DATA] = { "DATA", data_ms, READ, STAGE_DATA,
		session_enter_data },
	[SESSION_BODY] = { "BODY", block_ms, BOTH, STAGE_DATA,
		session_enter_body },
	[SESSION_EOM] = { "EOM", data_end_ms, READ, STAGE_EOM, NULL },
	[SESSION_RESET] = { "RESET", rset_ms, READ, STAGE_DATA,
		session_enter_reset },
	[SESSION_QUIT] = { "QUIT", quit_ms, READ, STAGE_NONE,
		session_enter_quit },
	[SESSION_CLOSED] = { "CLOSED", NULL, NONE, STAGE_NONE,
		session_enter_closed },
};

#define ON(state) SESSION_BIT(SESSION_##state)
#define EV(event) SESSION_EV_##event
#define DO(step) session_step_##step

/* States in which a reply can come, and all that can end. */
#define TALKING (ON(BANNER) | ON(EHLO) | ON(HELO) | ON(STARTTLS) | \
	ON(EHLO_TLS) | ON(AUTH) | ON(READY) | ON(ENVELOPE) | ON(DATA) | ON(BODY) | \
	ON(EOM) | ON(RESET) | ON(QUIT))
#define LIVE (TALKING | ON(CONNECT) | ON(HANDSHAKE))

/* The first row that fits counts, so that the common rows stand last. */
static const struct session_transition transitions[] = {
	{ ON(NEW), EV(START), DO(start), ON(CONNECT) },
	{ ON(NEW), EV(STOP), DO(drop), ON(CLOSED) },
	{ ON(CONNECT), EV(UP), DO(up), ON(BANNER) | ON(HANDSHAKE) | ON(CLOSED) },

	{ ON(BANNER), EV(2XX), DO(greeted), ON(EHLO) | ON(EHLO_TLS) },
	{ ON(BANNER), EV(4XX), DO(turned_away), ON(QUIT) },
	{ ON(BANNER), EV(5XX), DO(turned_away), ON(QUIT) },

	{ ON(EHLO), EV(2XX), DO(ehlo), ON(STARTTLS) | ON(READY) | ON(QUIT) },
	{ ON(EHLO), EV(5XX), DO(no_ehlo), ON(HELO) | ON(STARTTLS) |
		ON(QUIT) },
	{ ON(EHLO), EV(4XX), DO(turned_away), ON(QUIT) },

	{ ON(HELO), EV(2XX), DO(helo), ON(READY) },
	{ ON(HELO), EV(4XX), DO(turned_away), ON(QUIT) },
	{ ON(HELO), EV(5XX), DO(no_helo), ON(STARTTLS) | ON(QUIT) },

	{ ON(STARTTLS), EV(2XX), DO(starttls), ON(HANDSHAKE) | ON(CLOSED) },
	{ ON(STARTTLS), EV(4XX), DO(no_starttls), ON(READY) | ON(QUIT) },
	{ ON(STARTTLS), EV(5XX), DO(no_starttls), ON(READY) | ON(QUIT) },

	{ ON(HANDSHAKE), EV(TLS_UP), DO(tls_up), ON(EHLO_TLS) | ON(BANNER) },
	{ ON(HANDSHAKE), EV(TLS_FAIL), DO(tls_fail), ON(CLOSED) },

	{ ON(EHLO_TLS), EV(2XX), DO(ehlo_tls), ON(READY) | ON(AUTH) | ON(QUIT) },
	{ ON(EHLO_TLS), EV(4XX), DO(turned_away), ON(QUIT) },
	{ ON(EHLO_TLS), EV(5XX), DO(turned_away), ON(QUIT) },

	{ ON(AUTH), EV(2XX), DO(auth), ON(READY) | ON(CLOSED) },
	{ ON(AUTH), EV(3XX), DO(challenge), ON(AUTH) | ON(CLOSED) },
	{ ON(AUTH), EV(4XX), DO(no_auth), ON(QUIT) },
	{ ON(AUTH), EV(5XX), DO(no_auth), ON(QUIT) },

	{ ON(READY), EV(JOB), DO(job), ON(ENVELOPE) | ON(READY) },
	{ ON(READY), EV(TIMEOUT), DO(idle), ON(QUIT) },

	{ ON(ENVELOPE), EV(2XX), DO(envelope),
		ON(ENVELOPE) | ON(DATA) | ON(BODY) | ON(RESET) |
		ON(STARTTLS) },
	{ ON(ENVELOPE), EV(4XX), DO(envelope),
		ON(ENVELOPE) | ON(DATA) | ON(BODY) | ON(RESET) |
		ON(STARTTLS) },
	{ ON(ENVELOPE), EV(5XX), DO(envelope),
		ON(ENVELOPE) | ON(DATA) | ON(BODY) | ON(RESET) |
		ON(STARTTLS) },
	{ ON(ENVELOPE), EV(STOP), DO(stop), ON(QUIT) | ON(CLOSED) },

	{ ON(DATA), EV(3XX), DO(data), ON(BODY) | ON(EOM) },
	{ ON(DATA), EV(4XX), DO(no_data), ON(RESET) | ON(STARTTLS) },
	{ ON(DATA), EV(5XX), DO(no_data), ON(RESET) | ON(STARTTLS) },

	{ ON(BODY), EV(SENT), DO(sent), ON(EOM) },
	{ ON(BODY), EV(LOCAL), DO(local), ON(CLOSED) },
	{ ON(BODY), EV(2XX), DO(chunk), ON(BODY) | ON(CLOSED) },
	{ ON(BODY), EV(4XX), DO(no_body), ON(RESET) | ON(CLOSED) },
	{ ON(BODY), EV(5XX), DO(no_body), ON(RESET) | ON(CLOSED) },
	{ ON(BODY), EV(STOP), DO(stay), ON(BODY) },

	{ ON(EOM), EV(2XX), DO(eom), ON(EOM) | ON(READY) | ON(QUIT) |
		ON(RESET) },
	{ ON(EOM), EV(4XX), DO(eom), ON(EOM) | ON(READY) | ON(QUIT) |
		ON(RESET) },
	{ ON(EOM), EV(5XX), DO(eom), ON(EOM) | ON(READY) | ON(QUIT) |
		ON(RESET) },
	{ ON(EOM), EV(STOP), DO(stay), ON(EOM) },

	{ ON(RESET), EV(2XX), DO(reset), ON(RESET) | ON(READY) | ON(QUIT) },
	{ ON(RESET), EV(4XX), DO(no_reset), ON(RESET) | ON(QUIT) },
	{ ON(RESET), EV(5XX), DO(no_reset), ON(RESET) | ON(QUIT) },

	{ ON(QUIT), EV(2XX), DO(bye), ON(CLOSED) },
	{ ON(QUIT), EV(3XX), DO(bye), ON(CLOSED) },
	{ ON(QUIT), EV(4XX), DO(bye), ON(CLOSED) },
	{ ON(QUIT), EV(5XX), DO(bye), ON(CLOSED) },
	{ ON(QUIT), EV(421), DO(bye), ON(CLOSED) },
	{ ON(QUIT), EV(BAD), DO(bye), ON(CLOSED) },
	{ ON(QUIT), EV(LOST), DO(bye), ON(CLOSED) },
	{ ON(QUIT), EV(TIMEOUT), DO(bye), ON(CLOSED) },
	{ ON(QUIT), EV(STOP), DO(stay), ON(QUIT) },

	/* QUIT may not be said before the greeting, nor where the peer next
	 * expects a handshake, a response or the text of a message. */
	{ ON(CONNECT) | ON(BANNER) | ON(STARTTLS) | ON(HANDSHAKE) | ON(AUTH) |
		ON(DATA), EV(STOP), DO(drop), ON(CLOSED) },
	{ LIVE, EV(STOP), DO(stop), ON(QUIT) },
	{ LIVE, EV(TIMEOUT), DO(timeout), ON(CLOSED) },
	{ LIVE, EV(LOST), DO(lost), ON(CLOSED) },
	{ TALKING, EV(421), DO(421), ON(CLOSED) },
	{ TALKING, EV(BAD), DO(bad), ON(CLOSED) },
};

#define RULE_TLS SESSION_RULE_TLS
#define RULE_FIRST SESSION_RULE_TLS_FIRST
#define RULE_AUTH SESSION_RULE_AUTH

/* Edges that some rule takes out, or that are there under a rule only.  The
 * first four go on without TLS after it could have been had. */
static const struct ruled_edge {
	enum session_state from;
	enum session_event event;
	unsigned next;
	unsigned unless;	/* enum session_rule bits */
	unsigned only;
} ruled_edges[] = {
	{ SESSION_EHLO, EV(2XX), ON(READY), RULE_TLS, 0 },
	{ SESSION_EHLO, EV(5XX), ON(HELO), RULE_TLS, 0 },
	{ SESSION_STARTTLS, EV(4XX), ON(READY), RULE_TLS, 0 },
	{ SESSION_STARTTLS, EV(5XX), ON(READY), RULE_TLS, 0 },
	{ SESSION_CONNECT, EV(UP), ON(BANNER), RULE_FIRST, 0 },
	/* Under TLS there is no second STARTTLS. */
	{ SESSION_ENVELOPE, EV(2XX), ON(STARTTLS), RULE_TLS, 0 },
	{ SESSION_ENVELOPE, EV(4XX), ON(STARTTLS), RULE_TLS, 0 },
	{ SESSION_ENVELOPE, EV(5XX), ON(STARTTLS), RULE_TLS, 0 },
	{ SESSION_DATA, EV(4XX), ON(STARTTLS), RULE_TLS, 0 },
	{ SESSION_DATA, EV(5XX), ON(STARTTLS), RULE_TLS, 0 },
	{ SESSION_CONNECT, EV(UP), ON(HANDSHAKE) | ON(CLOSED), 0, RULE_FIRST },
	{ SESSION_HANDSHAKE, EV(TLS_UP), ON(EHLO_TLS), RULE_FIRST, 0 },
	{ SESSION_HANDSHAKE, EV(TLS_UP), ON(BANNER), 0, RULE_FIRST },
	{ SESSION_BANNER, EV(2XX), ON(EHLO), RULE_FIRST, 0 },
	{ SESSION_BANNER, EV(2XX), ON(EHLO_TLS), 0, RULE_FIRST },
	{ SESSION_EHLO_TLS, EV(2XX), ON(READY), RULE_AUTH, 0 },
	{ SESSION_EHLO_TLS, EV(2XX), ON(AUTH) | ON(QUIT), 0, RULE_AUTH },
};
/* clang-format on */

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

const struct session_state_row *
session_state_row(enum session_state state)
{
	return &states[state];
}

const char *
session_event_name(enum session_event event)
{
	static const char *const names[SESSION_EVENT_COUNT] = {
		[SESSION_EV_START] = "start",
		[SESSION_EV_UP] = "up",
		[SESSION_EV_TLS_UP] = "tls ok",
		[SESSION_EV_TLS_FAIL] = "tls failed",
		[SESSION_EV_JOB] = "job",
		[SESSION_EV_2XX] = "2xx",
		[SESSION_EV_3XX] = "3xx",
		[SESSION_EV_4XX] = "4xx",
		[SESSION_EV_5XX] = "5xx",
		[SESSION_EV_421] = "421",
		[SESSION_EV_BAD] = "bad reply",
		[SESSION_EV_SENT] = "sent",
		[SESSION_EV_LOCAL] = "local failure",
		[SESSION_EV_TIMEOUT] = "timeout",
		[SESSION_EV_LOST] = "lost",
		[SESSION_EV_STOP] = "stop",
	};

	return names[event];
}

const struct session_transition *
session_transition(enum session_state state, enum session_event event)
{
	for (size_t i = 0; i < COUNT(transitions); i++)
		if (transitions[i].event == event &&
		    transitions[i].from & SESSION_BIT(state))
			return &transitions[i];
	return NULL;
}

unsigned
session_permitted(enum session_state state, enum session_event event,
	unsigned rules)
{
	const struct session_transition *t = session_transition(state, event);
	unsigned next = t != NULL ? t->next : 0;

	for (size_t i = 0; i < COUNT(ruled_edges); i++) {
		const struct ruled_edge *e = &ruled_edges[i];

		if (e->from == state && e->event == event &&
		    (e->unless & rules || (e->only & rules) != e->only))
			next &= ~e->next;
	}
	return next;
}

int64_t
session_body_limit_ms(const struct conf_timeout *t, uint64_t size_bytes)
{
	uint64_t ms = size_bytes / MIN_BYTES_PER_MS;

	if (ms > INT32_MAX)
		ms = INT32_MAX;
	return t->block_ms + (int64_t)ms;
}

/* ---- for ARCHITECTURE.md ---- */

/* Rules as they come, each with what it takes away and what it brings. */
static const struct rule_mark {
	unsigned rules;
	const char *without;
	const char *with;
} rule_marks[] = {
	{ RULE_TLS, "\\*", "" },
	{ RULE_TLS | RULE_FIRST, " (not smtps)", " (smtps)" },
	{ RULE_TLS | RULE_AUTH, " (no auth)", " (auth)" },
};

static const char *
mark_of(enum session_state state, enum session_event event, unsigned next)
{
	bool plain = session_permitted(state, event, 0) & SESSION_BIT(next);

	for (size_t i = 0; i < COUNT(rule_marks); i++) {
		bool ruled = session_permitted(state, event,
			rule_marks[i].rules) & SESSION_BIT(next);

		if (plain != ruled)
			return plain ? rule_marks[i].without :
				rule_marks[i].with;
	}
	return "";
}

static enum status
put_next(struct buf *b, enum session_state state, enum session_event event)
{
	const struct session_transition *t = session_transition(state, event);
	const char *sep = "";
	enum status st = ST_OK;

	for (unsigned i = 0; st == ST_OK && i < SESSION_STATE_COUNT; i++) {
		if (!(t->next & SESSION_BIT(i)))
			continue;
		st = buf_printf(b, "%s%s%s", sep, states[i].name,
			mark_of(state, event, i));
		sep = ", ";
	}
	return st;
}

/* Events that permit the same are put together. */
static bool
same_row(enum session_state state, unsigned a, unsigned b)
{
	enum session_event x = (enum session_event)a;
	enum session_event y = (enum session_event)b;
	bool same = session_permitted(state, x, 0) != 0 &&
		session_permitted(state, x, 0) ==
		session_permitted(state, y, 0);

	for (size_t i = 0; same && i < COUNT(rule_marks); i++)
		same = session_permitted(state, x, rule_marks[i].rules) ==
			session_permitted(state, y, rule_marks[i].rules);
	return same;
}

static enum status
put_events(struct buf *b, enum session_state state)
{
	unsigned seen = 0;
	enum status st = ST_OK;
	const char *sep = "";

	for (unsigned i = 0; st == ST_OK && i < SESSION_EVENT_COUNT; i++) {
		if (seen & 1U << i || !same_row(state, i, i))
			continue;
		st = buf_puts(b, sep);
		sep = "; ";
		for (unsigned k = i; st == ST_OK && k < SESSION_EVENT_COUNT;
		    k++) {
			if (!same_row(state, i, k))
				continue;
			st = buf_printf(b, "%s%s", k == i ? "" : ", ",
				session_event_name((enum session_event)k));
			seen |= 1U << k;
		}
		if (st == ST_OK)
			st = buf_puts(b, " -> ");
		if (st == ST_OK)
			st = put_next(b, state, (enum session_event)i);
	}
	return st;
}

/* The configuration key of the limit, by asking the function. */
static const char *
limit_name(const struct session_state_row *row)
{
	static const struct conf_timeout probe = { .connect_ms = 0,
		.banner_ms = 1, .command_ms = 2, .rcpt_ms = 3, .data_ms = 4,
		.block_ms = 5, .data_end_ms = 6, .rset_ms = 7, .quit_ms = 8,
		.tls_ms = 9, .idle_ms = 10 };
	static const char *const names[] = { "connect", "banner", "command",
		"mail, rcpt", "data", "block", "data-end", "rset", "quit",
		"tls", "idle" };

	return row->timeout_ms == NULL ? "" : names[row->timeout_ms(&probe)];
}

enum status
session_table_markdown(struct buf *b)
{
	enum status st = buf_puts(b, "| state | timeout | event -> permitted "
		"next |\n| --- | --- | --- |\n");

	for (unsigned i = 0; st == ST_OK && i < SESSION_STATE_COUNT; i++) {
		st = buf_printf(b, "| %s | %s | ", states[i].name,
			limit_name(&states[i]));
		if (st == ST_OK)
			st = put_events(b, (enum session_state)i);
		if (st == ST_OK)
			st = buf_puts(b, " |\n");
	}
	return st;
}
