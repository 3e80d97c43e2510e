/*
 * The states of an SMTP client session and the permitted transitions: two
 * constant tables, and pure questions about them.
 *
 * A connection comes up (CONNECT), the server greets (BANNER), and says what it
 * offers (EHLO, or HELO for an old one).  When it offers STARTTLS the session
 * goes through HANDSHAKE to EHLO_TLS, where everything is asked again, and to a
 * relay with a password on through AUTH (RFC 4954).  READY
 * waits for a transaction: ENVELOPE (MAIL, RCPT), DATA, BODY, EOM (the final
 * dot awaits its answer), and back; RESET ends one that was not completed.
 * QUIT says good-bye; CLOSED is the end.
 *
 * With TLS from the first byte (smtps, RFC 8314 section 3.3) HANDSHAKE follows
 * CONNECT, and BANNER leads to EHLO_TLS.
 *
 * What the demand rules out is taken out of the table, in session_permitted()
 * and nowhere else: where clear text is forbidden, READY is reachable through
 * HANDSHAKE only, and with smtps nothing but the end is reachable without it.
 */
#ifndef SMTPD_OUT_SESSION_TABLE_H
#define SMTPD_OUT_SESSION_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/conf.h"
#include "base/err.h"

struct session;

enum session_state {
	SESSION_NEW = 0,	/* made, not started */
	SESSION_CONNECT,	/* addresses are being raced */
	SESSION_BANNER,		/* waiting for the 220 greeting */
	SESSION_EHLO,		/* EHLO sent in clear text */
	SESSION_HELO,		/* HELO sent, EHLO was not understood */
	SESSION_STARTTLS,	/* STARTTLS sent */
	SESSION_HANDSHAKE,	/* TLS handshake under way */
	SESSION_EHLO_TLS,	/* EHLO sent under TLS */
	SESSION_AUTH,		/* AUTH sent, or a response of it */
	SESSION_READY,		/* idle, takes a transaction */
	SESSION_ENVELOPE,	/* MAIL and RCPT in flight, perhaps DATA */
	SESSION_DATA,		/* DATA awaits its 354 */
	SESSION_BODY,		/* message bytes are going out */
	SESSION_EOM,		/* all is sent, the verdict is awaited */
	SESSION_RESET,		/* RSET sent after an unfinished one */
	SESSION_QUIT,		/* QUIT sent */
	SESSION_CLOSED,		/* over */
	SESSION_STATE_COUNT
};

enum session_event {
	SESSION_EV_START = 0,	/* the owner starts it */
	SESSION_EV_UP,		/* an address answered */
	SESSION_EV_TLS_UP,	/* handshake done */
	SESSION_EV_TLS_FAIL,	/* handshake failed */
	SESSION_EV_JOB,		/* the owner gave a transaction */
	SESSION_EV_2XX,		/* a reply of this class ... */
	SESSION_EV_3XX,
	SESSION_EV_4XX,		/* ... other than 421 */
	SESSION_EV_5XX,
	SESSION_EV_421,		/* "closing channel" (RFC 5321 3.8) */
	SESSION_EV_BAD,		/* malformed, endless or unexpected reply */
	SESSION_EV_SENT,	/* the last body byte left */
	SESSION_EV_LOCAL,	/* the body cannot be read */
	SESSION_EV_TIMEOUT,	/* the state's time is over */
	SESSION_EV_LOST,	/* connection ended or never came up */
	SESSION_EV_STOP,	/* the owner wants an end */
	SESSION_EVENT_COUNT
};

#define SESSION_BIT(state) (1U << (state))

/* What a state waits for, apart from time. */
enum session_wants {
	SESSION_WANTS_NONE = 0,
	SESSION_WANTS_READ = 1,		/* replies */
	SESSION_WANTS_WRITTEN = 2	/* to hear that output went out */
};

/* What the demand of a session says to the table, a bit set. */
enum session_rule {
	SESSION_RULE_TLS = 1,		/* no transaction in clear text */
	SESSION_RULE_TLS_FIRST = 2,	/* nothing at all in clear text */
	SESSION_RULE_AUTH = 4		/* no transaction without AUTH */
};

typedef enum session_state session_step_cb(struct session *);

struct session_state_row {
	const char *name;
	int64_t (*timeout_ms)(const struct conf_timeout *); /* NULL: none */
	unsigned wants;			/* enum session_wants bits */
	enum outcome_stage stage;	/* for outcomes */
	void (*enter)(struct session *);	/* or NULL */
};

struct session_transition {
	unsigned from;			/* bit set of states */
	enum session_event event;
	session_step_cb *step;		/* does it and names the next state */
	unsigned next;			/* bit set of permitted states */
};

const struct session_state_row *session_state_row(enum session_state);
const char *session_event_name(enum session_event);
/* NULL when the event has no place in the state. */
const struct session_transition *session_transition(enum session_state,
	enum session_event);
/* The permitted next states under those rules (enum session_rule bits), 0 when
 * there is no row. */
unsigned session_permitted(enum session_state, enum session_event,
	unsigned rules);

/* How long BODY may last in all, however steadily it trickles: one block
 * timeout, and one second for each kilobyte. */
int64_t session_body_limit_ms(const struct conf_timeout *,
	uint64_t size_bytes);

/* The table as it stands in ARCHITECTURE.md. */
enum status session_table_markdown(struct buf *) MUST_CHECK;

#endif
