/*
 * STARTTLS against a scripted server: what is demanded decides, nothing said
 * in clear text is believed afterwards, and no injected byte is ever read.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/scenario.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define OFFER SEND("250-mx.example\r\n250 STARTTLS")
#define ASK LINE("STARTTLS")
#define UP ASK, SEND("220 go"), TLS, LINE("EHLO client.example")
#define DELIVER MAIL, SEND("250 a"), RCPT(0), SEND("250 b"), DATA, \
	SEND("354 c"), BODY, SEND("250 queued")
#define MUST SEND("530 5.7.0 Must issue a STARTTLS command first")
#define ASKED { VERDICT_LATER, SCOPE_HOST, STAGE_STARTTLS, 451, "4.7.0", \
	false }
#define REFUSED { VERDICT_NEVER, SCOPE_MESSAGE, STAGE_MAIL, 530, "5.7.0", \
	false }
#define GONE(stage) { VERDICT_LATER, SCOPE_HOST, stage, 451, NULL, false }
#define NO_TLS { VERDICT_LATER, SCOPE_HOST, STAGE_STARTTLS, 451, "4.7.10", \
	false }
#define TLS_BROKEN { VERDICT_LATER, SCOPE_HOST, STAGE_TLS, 451, "4.7.5", \
	false }
#define INJECTED { VERDICT_LATER, SCOPE_HOST, STAGE_STARTTLS, 451, "4.5.0", \
	false }

static const struct scenario scenarios[] = {
	{ .name = "TLS taken when offered", .demand = DEMAND_MAY,
	  .tls_active = true, .want = { WANT_OK }, .body = SCENARIO_MESSAGE,
	  .steps = { GREETING, OFFER, UP, PLAIN, DELIVER, BYE } },
	{ .name = "TLS demanded", .demand = DEMAND_ENCRYPT,
	  .tls_active = true, .want = { WANT_OK }, .body = SCENARIO_MESSAGE,
	  .steps = { GREETING, OFFER, UP, PLAIN, DELIVER, BYE } },
	{ .name = "demand outweighs the fallback flag", .no_starttls = true,
	  .demand = DEMAND_ENCRYPT, .tls_active = true, .want = { WANT_OK },
	  .body = SCENARIO_MESSAGE,
	  .steps = { GREETING, OFFER, UP, PLAIN, DELIVER, BYE } },
	/* PIPELINING and SIZE were said in clear text only */
	{ .name = "all is forgotten", .demand = DEMAND_MAY,
	  .tls_active = true, .want = { WANT_OK }, .body = SCENARIO_MESSAGE,
	  .steps = { GREETING, SEND("250-x\r\n250-PIPELINING\r\n250-CHUNKING"
	    "\r\n250-SIZE 1\r\n250-LIMITS RCPTMAX=1\r\n250 STARTTLS"), UP,
	    PLAIN, DELIVER, BYE } },
	{ .name = "learned under TLS", .demand = DEMAND_MAY,
	  .tls_active = true, .want = { WANT_OK }, .body = SCENARIO_MESSAGE,
	  .steps = { GREETING, OFFER, UP,
	    SEND("250-x\r\n250-PIPELINING\r\n250 STARTTLS"), MAIL, RCPT(0),
	    DATA, SEND("250 a\r\n250 b\r\n354 c"), BODY, SEND("250 d"),
	    BYE } },
	{ .name = "REQUIRETLS", .demand = DEMAND_MAY, .tls_active = true,
	  .flags = ENVELOPE_REQUIRETLS, .want = { WANT_OK },
	  .steps = { GREETING, OFFER, UP, SEND("250-x\r\n250 REQUIRETLS"),
	    LINE("MAIL FROM:<a@client.example> REQUIRETLS"), SEND("250 a"),
	    RCPT(0), SEND("250 b"), DATA, SEND("354 c"), BODY,
	    SEND("250 queued"), BYE } },

	{ .name = "REQUIRETLS said in clear text only", .demand = DEMAND_MAY,
	  .tls_active = true, .flags = ENVELOPE_REQUIRETLS,
	  .want = { { VERDICT_NEVER, SCOPE_HOST, STAGE_MAIL, 550, "5.7.30",
	    false } },
	  .steps = { GREETING, SEND("250-x\r\n250-REQUIRETLS\r\n"
	    "250 STARTTLS"), UP, PLAIN, BYE } },
	{ .name = "a word like REQUIRETLS", .demand = DEMAND_MAY,
	  .tls_active = true, .flags = ENVELOPE_REQUIRETLS,
	  .want = { { VERDICT_NEVER, SCOPE_HOST, STAGE_MAIL, 550, "5.7.30",
	    false } },
	  .steps = { GREETING, OFFER, UP, SEND("250-x\r\n250 XREQUIRETLS"),
	    BYE } },

	/* clear text, where it may be */
	{ .name = "not offered", .demand = DEMAND_MAY, .want = { WANT_OK },
	  .steps = { GREETING, PLAIN, DELIVER, BYE } },
	{ .name = "not wanted", .demand = DEMAND_NONE, .want = { WANT_OK },
	  .steps = { GREETING, OFFER, DELIVER, BYE } },
	{ .name = "after a failure", .demand = DEMAND_MAY,
	  .no_starttls = true, .want = { WANT_OK },
	  .steps = { GREETING, OFFER, DELIVER, BYE } },
	{ .name = "454", .demand = DEMAND_MAY, .want = { WANT_OK },
	  .steps = { GREETING, OFFER, ASK, SEND("454 not now"), DELIVER,
	    BYE } },
	{ .name = "502", .demand = DEMAND_MAY, .want = { WANT_OK },
	  .steps = { GREETING, OFFER, ASK, SEND("502 what"), DELIVER, BYE } },

	/* and where it must not be */
	{ .name = "demanded, not offered", .demand = DEMAND_ENCRYPT,
	  .undone = true, .why = NO_TLS, .steps = { GREETING, PLAIN, BYE } },
	{ .name = "demanded, EHLO refused", .demand = DEMAND_ENCRYPT,
	  .undone = true, .why = NO_TLS,
	  .steps = { GREETING, SEND("502 what"), BYE } },
	{ .name = "demanded, 454", .demand = DEMAND_ENCRYPT,
	  .undone = true, .why = NO_TLS,
	  .steps = { GREETING, OFFER, ASK, SEND("454 not now"), BYE } },
	{ .name = "demanded, 502", .demand = DEMAND_ENCRYPT,
	  .undone = true, .why = NO_TLS,
	  .steps = { GREETING, OFFER, ASK, SEND("502 what"), BYE } },
	{ .name = "demanded, masked", .demand = DEMAND_ENCRYPT,
	  .undone = true, .why = NO_TLS,
	  .steps = { GREETING, SEND("250-x\r\n250 XXXXXXXA"), BYE } },
	{ .name = "demanded, odd answer", .demand = DEMAND_ENCRYPT,
	  .undone = true, .why = INJECTED,
	  .steps = { GREETING, OFFER, ASK, SEND("354 go on"), WAIT } },

	/* 530: TLS after all */
	{ .name = "530 to MAIL", .demand = DEMAND_MAY, .tls_active = true,
	  .want = { WANT_OK }, .body = SCENARIO_MESSAGE,
	  .steps = { GREETING, PLAIN, MAIL, MUST, UP, PLAIN, DELIVER, BYE } },
	{ .name = "530 to all of a flight", .demand = DEMAND_MAY,
	  .rcpt_count = 2, .tls_active = true, .want = { WANT_OK, WANT_OK },
	  .body = SCENARIO_MESSAGE,
	  .steps = { GREETING, PIPE, MAIL, RCPT(0), RCPT(1), DATA, MUST, MUST,
	    SEND("503 no MAIL"), MUST, UP, PIPE, MAIL, RCPT(0), RCPT(1), DATA,
	    SEND("250 a\r\n250 b\r\n250 c\r\n354 d"), BODY,
	    SEND("250 queued"), BYE } },
	{ .name = "530, and RCPT taken", .demand = DEMAND_MAY,
	  .tls_active = true, .want = { WANT_OK }, .body = SCENARIO_MESSAGE,
	  .steps = { GREETING, PIPE, MAIL, RCPT(0), DATA, MUST,
	    SEND("250 why not\r\n450 no"), UP, PLAIN, DELIVER, BYE } },
	/* a lone dot, and nothing is believed delivered */
	{ .name = "530, and DATA taken", .demand = DEMAND_MAY,
	  .want = { ASKED }, .body = "",
	  .steps = { GREETING, PIPE, MAIL, RCPT(0), DATA, MUST,
	    SEND("250 why not\r\n354 go"), BODY, SEND("250 got it"), BYE } },
	{ .name = "530 to HELO", .demand = DEMAND_MAY, .tls_active = true,
	  .want = { WANT_OK }, .steps = { GREETING, SEND("502 what"),
	    LINE("HELO client.example"), MUST, UP, PLAIN, DELIVER, BYE } },
	{ .name = "530 to EHLO, demanded", .demand = DEMAND_ENCRYPT,
	  .tls_active = true, .want = { WANT_OK },
	  .steps = { GREETING, MUST, UP, PLAIN, DELIVER, BYE } },
	{ .name = "530, STARTTLS refused", .demand = DEMAND_MAY,
	  .want = { ASKED }, .why = ASKED,
	  .steps = { GREETING, PLAIN, MAIL, MUST, ASK, SEND("502 what"),
	    BYE } },
	{ .name = "530 under TLS", .demand = DEMAND_MAY, .tls_active = true,
	  .want = { REFUSED }, .steps = { GREETING, OFFER, UP, PLAIN, MAIL,
	    MUST, LINE("RSET"), SEND("250 ok"), BYE } },
	{ .name = "530 again", .demand = DEMAND_MAY, .tls_active = true,
	  .want = { REFUSED }, .steps = { GREETING, PLAIN, MAIL, MUST, UP,
	    PLAIN, MAIL, MUST, LINE("RSET"), SEND("250 ok"), BYE } },
	{ .name = "530 that wants AUTH", .demand = DEMAND_MAY,
	  .want = { REFUSED }, .steps = { GREETING, PLAIN, MAIL,
	    SEND("530 5.7.0 Authentication required"), LINE("RSET"),
	    SEND("250 ok"), BYE } },
	{ .name = "530, TLS not wanted", .demand = DEMAND_NONE,
	  .want = { REFUSED }, .steps = { GREETING, PLAIN, MAIL, MUST,
	    LINE("RSET"), SEND("250 ok"), BYE } },
	{ .name = "530 after a failure", .demand = DEMAND_MAY,
	  .no_starttls = true, .want = { ASKED },
	  .steps = { GREETING, OFFER, MAIL, MUST, LINE("RSET"),
	    SEND("250 ok"), BYE } },
	{ .name = "530, lost", .demand = DEMAND_MAY,
	  .want = { GONE(STAGE_STARTTLS) }, .why = GONE(STAGE_STARTTLS),
	  .steps = { GREETING, PLAIN, MAIL, MUST, ASK } },
	{ .name = "530, handshake fails", .demand = DEMAND_MAY,
	  .tls_failed = true, .want = { TLS_BROKEN }, .why = TLS_BROKEN,
	  .steps = { GREETING, PLAIN, MAIL, MUST, ASK, SEND("220 go"),
	    { PEER_TLS_FAIL, NULL, 0x0302 }, WAIT } },

	/* injection */
	{ .name = "a reply behind the 220", .demand = DEMAND_MAY,
	  .undone = true, .why = INJECTED,
	  .steps = { GREETING, OFFER, ASK,
	    SEND("220 go\r\n250-x\r\n250 PIPELINING"), WAIT } },
	{ .name = "a byte behind the 220", .demand = DEMAND_ENCRYPT,
	  .undone = true, .why = INJECTED,
	  .steps = { GREETING, OFFER, ASK, { PEER_BYTES, "220 go\r\n2", 9 },
	    WAIT } },
	{ .name = "a NUL behind the 220", .demand = DEMAND_MAY,
	  .undone = true, .why = INJECTED,
	  .steps = { GREETING, OFFER, ASK, { PEER_BYTES, "220 go\r\n\0", 9 },
	    WAIT } },
	{ .name = "the 220 before it was asked for", .demand = DEMAND_MAY,
	  .undone = true, .why = INJECTED,
	  .steps = { GREETING, SEND("250-x\r\n250 STARTTLS\r\n220 go"),
	    WAIT } },

	/* handshakes that fail */
	{ .name = "no TLS behind the 220", .demand = DEMAND_MAY,
	  .undone = true, .tls_failed = true, .why = TLS_BROKEN,
	  .steps = { GREETING, OFFER, ASK, SEND("220 go"),
	    { PEER_SLEEP, NULL, 50 }, SEND("250 I never meant it"), WAIT } },
	{ .name = "closed instead", .demand = DEMAND_MAY,
	  .undone = true, .tls_failed = true, .why = TLS_BROKEN,
	  .steps = { GREETING, OFFER, ASK, SEND("220 go") } },
	{ .name = "cut off instead", .demand = DEMAND_ENCRYPT,
	  .undone = true, .tls_failed = true, .why = TLS_BROKEN,
	  .steps = { GREETING, OFFER, ASK, SEND("220 go"),
	    { PEER_SLEEP, NULL, 50 }, CUT } },
	{ .name = "TLS 1.1 only", .demand = DEMAND_MAY,
	  .undone = true, .tls_failed = true, .why = TLS_BROKEN,
	  .steps = { GREETING, OFFER, ASK, SEND("220 go"),
	    { PEER_TLS_FAIL, NULL, 0x0302 }, WAIT } },
	{ .name = "client certificate demanded", .demand = DEMAND_MAY,
	  .undone = true, .tls_failed = true, .why = TLS_BROKEN,
	  .steps = { GREETING, OFFER, ASK, SEND("220 go"),
	    { PEER_TLS_FAIL, NULL, 1 }, WAIT } },

	/* after the handshake */
	{ .name = "EHLO refused under TLS", .demand = DEMAND_MAY,
	  .undone = true, .why = { VERDICT_NEVER, SCOPE_HOST, STAGE_EHLO, 502,
	    NULL, false },
	  .steps = { GREETING, OFFER, UP, SEND("502 what"), BYE } },
	{ .name = "lost under TLS", .demand = DEMAND_MAY, .undone = true,
	  .why = GONE(STAGE_EHLO), .steps = { GREETING, OFFER, UP } },
	{ .name = "250 and end without close_notify", .demand = DEMAND_MAY,
	  .tls_active = true, .want = { WANT_OK }, .body = SCENARIO_MESSAGE,
	  .steps = { GREETING, OFFER, UP, PLAIN, DELIVER, CUT } },
};

static void
test_scenarios(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(scenarios); i++)
		scenario_run(&scenarios[i]);
}

/* An address literal is no name: no SNI (RFC 6066 section 3). */
static void
test_literal(void **state)
{
	static const struct peer_step steps[] = { GREETING, OFFER, ASK,
		SEND("220 go"), { PEER_TLS, "", 0 }, EXPECT("EHLO"), PLAIN,
		BYE, { PEER_END, NULL, 0 } };
	struct peer *peer = peer_start(AF_INET, steps);
	struct client c;

	(void)state;
	client_init(&c);
	client_add_peer(&c, peer);
	c.target.host = "[127.0.0.1]";
	client_run(&c);
	assert_null(peer_join(peer));
	assert_int_equal(c.why.verdict, VERDICT_DONE);
	peer_free(&peer);
}

static void
test_info(void **state)
{
	static const struct peer_step steps[] = { GREETING, OFFER, UP, PLAIN,
		DELIVER, BYE, { PEER_END, NULL, 0 } };
	struct session_rcpt rcpt;
	struct session_txn txn;
	struct peer *peer = peer_start(AF_INET, steps);
	struct client c;

	(void)state;
	client_init(&c);
	client_add_peer(&c, peer);
	scenario_txn(&txn, &rcpt, 1);
	c.txns[0] = &txn;
	client_run(&c);
	assert_null(peer_join(peer));
	assert_string_equal(c.info.host, "mx.example");
	assert_string_equal(c.info.proto, "TLSv1.3");
	assert_true(strlen(c.info.cipher) > 5);
	assert_false(c.info.reused);
	peer_free(&peer);
}

/* MAIL that was said twice for one transaction is no reuse, the next is. */
static void
test_530_info(void **state)
{
	static const struct peer_step steps[] = { GREETING, PLAIN, MAIL, MUST,
		UP, PLAIN, DELIVER, DELIVER, BYE, { PEER_END, NULL, 0 } };

	(void)state;
	for (size_t count = 1; count <= 2; count++) {
		struct peer *peer = peer_start(AF_INET, count == 2 ? steps :
			(const struct peer_step[]){ GREETING, PLAIN, MAIL,
			MUST, UP, PLAIN, DELIVER, BYE,
			{ PEER_END, NULL, 0 } });
		struct session_rcpt rcpts[2];
		struct session_txn txns[2];
		struct client c;

		client_init(&c);
		client_add_peer(&c, peer);
		for (size_t i = 0; i < count; i++) {
			scenario_txn(&txns[i], &rcpts[i], 1);
			c.txns[i] = &txns[i];
		}
		client_run(&c);
		assert_null(peer_join(peer));
		assert_int_equal(c.done, count);
		assert_int_equal(c.info.reused, count == 2);
		peer_free(&peer);
	}
}

/* A handshake that stands still is bounded by its own time. */
static void
test_stall(void **state)
{
	static const struct peer_step steps[] = { GREETING, OFFER, ASK,
		SEND("220 go"), WAIT, { PEER_END, NULL, 0 } };
	struct peer *peer = peer_start(AF_INET, steps);
	struct client c;

	(void)state;
	client_init(&c);
	client_add_peer(&c, peer);
	c.conf.timeout.tls_ms = 100;
	client_run(&c);
	assert_null(peer_join(peer));
	assert_true(c.tls_failed);
	assert_int_equal(c.why.stage, STAGE_TLS);
	peer_free(&peer);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scenarios),
		cmocka_unit_test(test_literal),
		cmocka_unit_test(test_info),
		cmocka_unit_test(test_530_info),
		cmocka_unit_test(test_stall),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
