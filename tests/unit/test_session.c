/*
 * The SMTP client against a scripted server: what must arrive, and what each
 * recipient must be told.  Faults in every state are in test_session_faults.c.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "tests/lib/client.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MESSAGE "Subject: test\r\n\r\n.dot\r\nend\r\n"

#define SEND(text) { PEER_SEND, text "\r\n", 0 }
#define EXPECT(text) { PEER_EXPECT, text, 0 }
#define LINE(text) { PEER_LINE, text, 0 }
#define BODY { PEER_BODY, NULL, 0 }
#define CHUNK(last) { PEER_CHUNK, last, 0 }
#define WAIT { PEER_WAIT, NULL, 0 }
#define GREETING SEND("220 mx.example ESMTP"), LINE("EHLO client.example")
#define BYE LINE("QUIT"), SEND("221 bye")
#define PIPE SEND("250-mx.example\r\n250 PIPELINING")
#define MAIL LINE("MAIL FROM:<a@client.example>")
#define RCPT(n) LINE("RCPT TO:<r" #n "@mx.example>")

/* What is expected of one recipient. */
struct want {
	enum outcome_verdict verdict;
	enum outcome_scope scope;
	enum outcome_stage stage;
	int code;
	const char *enhanced;
};

#define OK { VERDICT_DONE, SCOPE_RCPT, STAGE_EOM, 250, "2.0.0" }

struct scenario {
	const char *name;
	enum demand_level demand;
	unsigned flags;
	size_t rcpt_count;
	bool tls;			/* must have been active */
	enum outcome_verdict why;	/* how the session ends */
	enum outcome_stage why_stage;
	const char *body;		/* what must have arrived, or NULL */
	struct want want[4];
	struct peer_step steps[40];
};

static const struct scenario scenarios[] = {
	{ "plain", DEMAND_MAY, 0, 2, false, VERDICT_DONE, STAGE_NONE,
	  MESSAGE, { OK, OK },
	  { GREETING, SEND("250 mx.example"), MAIL, SEND("250 ok"), RCPT(0),
	    SEND("250 ok"), RCPT(1), SEND("250 ok"), LINE("DATA"),
	    SEND("354 go"), BODY, SEND("250 queued"), BYE } },
	{ "multi-line banner", DEMAND_MAY, 0, 1, false, VERDICT_DONE,
	  STAGE_NONE, MESSAGE, { OK },
	  { SEND("220-mx.example\r\n220-be nice\r\n220 now"), EXPECT("EHLO"),
	    PIPE, MAIL, RCPT(0), LINE("DATA"), SEND("250 a\r\n250 b\r\n354 c"),
	    BODY, SEND("250 2.0.0 queued"), BYE } },
	{ "all in one flight", DEMAND_MAY, 0, 3, false, VERDICT_DONE,
	  STAGE_NONE, MESSAGE, { OK, OK, OK },
	  { GREETING, PIPE, MAIL, RCPT(0), RCPT(1), RCPT(2), LINE("DATA"),
	    SEND("250 a\r\n250 b\r\n250 c\r\n250 d\r\n354 e"), BODY,
	    SEND("250 queued"), BYE } },
	{ "HELO", DEMAND_MAY, 0, 1, false, VERDICT_DONE, STAGE_NONE,
	  MESSAGE, { OK },
	  { GREETING, SEND("502 what?"), LINE("HELO client.example"),
	    SEND("250 mx.example"), MAIL, SEND("250 ok"), RCPT(0),
	    SEND("250 ok"), LINE("DATA"), SEND("354 go"), BODY,
	    SEND("250 queued"), BYE } },
	{ "BDAT", DEMAND_MAY, 0, 1, false, VERDICT_DONE, STAGE_NONE,
	  MESSAGE, { OK },
	  { GREETING, SEND("250-mx.example\r\n250 CHUNKING"), MAIL,
	    SEND("250 ok"), RCPT(0), SEND("250 ok"), CHUNK("LAST"),
	    SEND("250 queued"), BYE } },
};

/* ---- the runner ---- */

static const char *const addresses[] = { "r0@mx.example", "r1@mx.example",
	"r2@mx.example", "r3@mx.example" };

static void
check_rcpt(const struct scenario *sc, size_t i, const struct outcome *got)
{
	const struct want *want = &sc->want[i];

	if (got->verdict == want->verdict && got->scope == want->scope &&
	    got->stage == want->stage && got->code == want->code &&
	    strcmp(got->enhanced, want->enhanced) == 0)
		return;
	fail_msg("%s: recipient %zu: %s scope %d stage %s code %d %s: %s",
		sc->name, i, outcome_verdict_name(got->verdict),
		(int)got->scope, outcome_stage_name(got->stage), got->code,
		got->enhanced, got->text);
}

static void
run_scenario(const struct scenario *sc)
{
	struct session_rcpt rcpts[4] = { { .address = NULL } };
	struct session_txn txn = { .sender = "a@client.example",
		.flags = sc->flags, .rcpts = rcpts,
		.rcpt_count = sc->rcpt_count };
	struct peer *peer = peer_start(AF_INET, sc->steps);
	struct client c;
	const char *failure;

	for (size_t i = 0; i < sc->rcpt_count; i++)
		rcpts[i].address = addresses[i];
	txn.body.data = (const uint8_t *)MESSAGE;
	txn.body.size_bytes = strlen(MESSAGE);
	txn.body.fd = -1;
	client_init(&c);
	client_add_peer(&c, peer);
	c.target.demand.level = sc->demand;
	c.txns[0] = &txn;
	client_run(&c);
	failure = peer_join(peer);
	if (failure != NULL)
		fail_msg("%s: %s", sc->name, failure);
	if (c.closed != 1 || c.why.verdict != sc->why ||
	    c.why.stage != sc->why_stage)
		fail_msg("%s: ended as %s in %s: %s", sc->name,
			outcome_verdict_name(c.why.verdict),
			outcome_stage_name(c.why.stage), c.why.text);
	for (size_t i = 0; c.done > 0 && i < sc->rcpt_count; i++)
		check_rcpt(sc, i, &rcpts[i].outcome);
	assert_int_equal(c.info.tls_active, sc->tls);
	if (sc->body != NULL) {
		assert_int_equal(peer_body(peer)->len, strlen(sc->body));
		assert_memory_equal(buf_data(peer_body(peer)), sc->body,
			strlen(sc->body));
	}
	peer_free(&peer);
}

static void
test_scenarios(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(scenarios); i++)
		run_scenario(&scenarios[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scenarios),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
