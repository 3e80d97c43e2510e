/*
 * smtps against a scripted server: TLS from the first byte, and not one octet
 * of SMTP without it.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/scenario.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define SMTPS .tls_first = true, .demand = DEMAND_ENCRYPT
#define DELIVER MAIL, SEND("250 a"), RCPT(0), SEND("250 b"), DATA, \
	SEND("354 c"), BODY, SEND("250 queued")
#define TLS_BROKEN { VERDICT_LATER, SCOPE_HOST, STAGE_TLS, 451, "4.7.5", \
	false }
#define NEVER(text) { PEER_NEVER, text, 0 }
#define SLEEP { PEER_SLEEP, NULL, 50 }

static const struct scenario scenarios[] = {
	{ .name = "delivered", SMTPS, .tls_active = true, .want = { WANT_OK },
	  .body = SCENARIO_MESSAGE,
	  .steps = { TLS, GREETING, PLAIN, DELIVER, BYE } },
	/* smtps is a demand of its own, whatever the level beside it */
	{ .name = "level may", .tls_first = true, .demand = DEMAND_MAY,
	  .tls_active = true, .want = { WANT_OK },
	  .steps = { TLS, GREETING, PLAIN, DELIVER, BYE } },
	{ .name = "no second TLS", SMTPS, .tls_active = true,
	  .want = { WANT_OK }, .steps = { TLS, GREETING,
	    SEND("250-x\r\n250 STARTTLS"), DELIVER, BYE } },
	{ .name = "capabilities count", SMTPS, .tls_active = true,
	  .want = { WANT_OK }, .steps = { TLS, GREETING, PIPE, MAIL, RCPT(0),
	    DATA, SEND("250 a\r\n250 b\r\n354 c"), BODY, SEND("250 d"),
	    BYE } },

	/* a server that does not speak TLS sees no SMTP */
	{ .name = "clear text greeting", SMTPS, .undone = true,
	  .tls_failed = true, .why = TLS_BROKEN,
	  .steps = { SLEEP, SEND("220 mx.example ESMTP"), NEVER("EHLO") } },
	{ .name = "clear text before our hello, or after it", SMTPS,
	  .undone = true, .tls_failed = true, .why = TLS_BROKEN,
	  .steps = { SEND("220 mx.example ESMTP"), NEVER("EHLO") } },
	{ .name = "silence, then the end", SMTPS, .undone = true,
	  .tls_failed = true, .why = TLS_BROKEN, .steps = { SLEEP } },
	{ .name = "cut", SMTPS, .undone = true, .tls_failed = true,
	  .why = TLS_BROKEN, .steps = { SLEEP, CUT } },
	{ .name = "old TLS only", SMTPS, .undone = true, .tls_failed = true,
	  .why = TLS_BROKEN,
	  .steps = { { PEER_TLS_FAIL, NULL, 0x0302 }, NEVER("EHLO") } },
	/* TLS 1.3 tells of it after the handshake */
	{ .name = "client certificate demanded", SMTPS, .undone = true,
	  .tls_failed = true, .why = TLS_BROKEN,
	  .steps = { { PEER_TLS_FAIL, NULL, 1 }, WAIT } },

	/* under TLS */
	{ .name = "turned away", SMTPS, .undone = true,
	  .why = { VERDICT_NEVER, SCOPE_HOST, STAGE_BANNER, 554, NULL, false },
	  .steps = { TLS, SEND("554 no"), BYE } },
	{ .name = "EHLO refused", SMTPS, .undone = true,
	  .why = { VERDICT_NEVER, SCOPE_HOST, STAGE_EHLO, 502, NULL, false },
	  .steps = { TLS, GREETING, SEND("502 what"), BYE } },
	{ .name = "lost before the greeting", SMTPS, .undone = true,
	  .why = { VERDICT_LATER, SCOPE_HOST, STAGE_BANNER, 451, "4.4.2",
	    false }, .steps = { TLS } },
};

static void
test_scenarios(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(scenarios); i++)
		scenario_run(&scenarios[i]);
}

/* Twice on one connection. */
static void
test_reuse(void **state)
{
	static const struct peer_step steps[] = { TLS, GREETING, PLAIN,
		DELIVER, DELIVER, BYE, { PEER_END, NULL, 0 } };
	struct session_rcpt rcpts[2];
	struct session_txn txns[2];
	struct peer *peer = peer_start(AF_INET, steps);
	struct client c;

	(void)state;
	client_init(&c);
	client_add_peer(&c, peer);
	c.demand.level = DEMAND_ENCRYPT;
	c.demand.tls_first = true;
	for (size_t i = 0; i < 2; i++) {
		scenario_txn(&txns[i], &rcpts[i], 1);
		c.txns[i] = &txns[i];
	}
	client_run(&c);
	assert_null(peer_join(peer));
	assert_int_equal(c.done, 2);
	assert_true(c.info.reused);
	assert_string_equal(c.info.proto, "TLSv1.3");
	peer_free(&peer);
}

/* The handshake has its own time, also when it comes first. */
static void
test_stall(void **state)
{
	static const struct peer_step steps[] = { NEVER("EHLO"),
		{ PEER_END, NULL, 0 } };
	struct peer *peer = peer_start(AF_INET, steps);
	struct client c;

	(void)state;
	client_init(&c);
	client_add_peer(&c, peer);
	c.demand.tls_first = true;
	c.conf.timeout.tls_ms = 100;
	client_run(&c);
	assert_null(peer_join(peer));
	assert_int_equal(c.why.stage, STAGE_TLS);
	peer_free(&peer);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scenarios),
		cmocka_unit_test(test_reuse),
		cmocka_unit_test(test_stall),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
