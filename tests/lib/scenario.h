/*
 * A dialogue between the client and a scripted server with what must come of
 * it, as one row of a table.
 */
#ifndef TESTS_LIB_SCENARIO_H
#define TESTS_LIB_SCENARIO_H

#include "tests/lib/client.h"

#define SCENARIO_RCPTS_MAX 4
#define SCENARIO_MESSAGE "Subject: test\r\n\r\n.dot\r\nend\r\n"

/* clang-format off */
#define SEND(text) { PEER_SEND, text "\r\n", 0 }
#define EXPECT(text) { PEER_EXPECT, text, 0 }
#define LINE(text) { PEER_LINE, text, 0 }
#define BODY { PEER_BODY, NULL, 0 }
#define CHUNK(last) { PEER_CHUNK, last, 0 }
#define TLS { PEER_TLS, "mx.example", 0 }
#define WAIT { PEER_WAIT, NULL, 0 }
#define CUT { PEER_CUT, NULL, 0 }
#define GREETING SEND("220 mx.example ESMTP"), LINE("EHLO client.example")
#define BYE LINE("QUIT"), SEND("221 bye"), WAIT
#define PLAIN SEND("250 mx.example")
#define PIPE SEND("250-mx.example\r\n250 PIPELINING")
#define MAIL LINE("MAIL FROM:<a@client.example>")
#define RCPT(n) LINE("RCPT TO:<r" #n "@mx.example>")
#define DATA LINE("DATA")
/* clang-format on */

/* What is expected of one recipient. */
struct want {
	enum outcome_verdict verdict;
	enum outcome_scope scope;
	enum outcome_stage stage;
	int code;
	const char *enhanced;
	bool maybe_duplicate;
};

#define WANT_OK { VERDICT_DONE, SCOPE_RCPT, STAGE_EOM, 250, "2.0.0", false }

struct scenario {
	const char *name;
	size_t rcpt_count;		/* default 1 */
	enum demand_level demand;	/* as it is: DEMAND_NONE is 0 */
	bool no_starttls;
	bool tls_first;			/* smtps */
	unsigned flags;			/* of the message */
	bool tls_active;		/* at done() */
	bool tls_failed;
	bool undone;			/* the session fails before READY */
	const char *body;		/* what must have arrived, or NULL */
	struct want why;		/* default: ended well */
	struct want want[SCENARIO_RCPTS_MAX];
	struct peer_step steps[40];
};

void scenario_run(const struct scenario *);
/* A transaction for r0@mx.example ... of SCENARIO_MESSAGE. */
void scenario_txn(struct session_txn *, struct session_rcpt *, size_t count);
void scenario_check(const char *name, const struct want *,
	const struct outcome *);

#endif
