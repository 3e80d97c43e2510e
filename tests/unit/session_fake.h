/*
 * Stands in for SMTP sessions: each host behaves as the test has written
 * down, one step per loop turn, and the rules of session.h are checked.
 */
#ifndef TESTS_UNIT_SESSION_FAKE_H
#define TESTS_UNIT_SESSION_FAKE_H

#include "smtpd-out/client/session.h"

enum fake_host {
	HOST_OK = 0,		/* takes everything */
	HOST_REFUSES,		/* no connection */
	HOST_BANNER_5XX,	/* 554 instead of a greeting */
	HOST_TLS_FAILS,		/* handshake fails; takes mail in the clear */
	HOST_LATER,		/* 450 for each recipient */
	HOST_NEVER,		/* 550 for each recipient */
	HOST_LACKS,		/* a feature that the message needs */
	HOST_HALF,		/* odd recipients taken, even ones 450 */
	HOST_DIES_IN_MAIL,	/* lost at MAIL, in each transaction */
	HOST_DIES_WHEN_REUSED,	/* takes one message, lost at the next */
	HOST_UNSURE,		/* lost after the final dot */
	HOST_LATER_421,		/* takes one transaction, then 421 */
	HOST_NO_STARTTLS,	/* offers none: takes mail in the clear, or
				 * ends where TLS is demanded */
	HOST_STARTTLS_454,	/* offers it and then refuses */
	HOST_BAD_CERT,		/* a certificate that nobody knows */
	HOST_RESUMES_BADLY,	/* lost before it greets, unless the handshake
				 * is a full one */
	HOST_HANGS,		/* never gets ready */
	HOST_HANGS_IN_DATA,	/* never answers a transaction */
	HOST_RANDOM		/* any of the above but the hanging ones */
};

void fake_sessions_init(void);
void fake_sessions_clear(void);		/* checks that none is left */
void fake_host_set(const char *host, enum fake_host);
void fake_sessions_seed(uint32_t);
/* Told of each transaction before it is sent; level and why are those that the
 * session was made under.  Such sessions have proved what they were asked for,
 * so that destinations can share them. */
typedef void fake_send_cb(const struct session_info *, enum demand_level,
	enum demand_why, const struct session_txn *);
void fake_sessions_watch(fake_send_cb *);
/* Lets what hangs in a transaction go on and take it. */
void fake_sessions_release(void);

struct fake_counts {
	size_t started, alive, most_alive, txns, clear_starts;
	size_t most_rcpts;	/* in one transaction */
	size_t clear_txns;	/* transactions without TLS */
	size_t sts_txns;	/* transactions verified for MTA-STS */
};
const struct fake_counts *fake_sessions(void);

#endif
