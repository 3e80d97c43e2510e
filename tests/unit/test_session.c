/*
 * The SMTP client against a scripted server: what must arrive, and what each
 * recipient must be told.  TLS is in test_session_tls.c, faults in every
 * state in test_session_faults.c.
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
#include "smtpd-out/client/smtp_command.h"
#include "tests/lib/scenario.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define RCPT_REFUSED { VERDICT_NEVER, SCOPE_RCPT, STAGE_RCPT, 550, "5.1.1", \
	false }
#define RCPT_LATER { VERDICT_LATER, SCOPE_RCPT, STAGE_RCPT, 452, "4.5.3", \
	false }

static const struct scenario scenarios[] = {
	{ .name = "plain", .rcpt_count = 2, .body = SCENARIO_MESSAGE,
	  .want = { WANT_OK, WANT_OK },
	  .steps = { GREETING, PLAIN, MAIL, SEND("250 ok"), RCPT(0),
	    SEND("250 ok"), RCPT(1), SEND("250 ok"), DATA, SEND("354 go"),
	    BODY, SEND("250 queued"), BYE } },
	{ .name = "multi-line replies", .body = SCENARIO_MESSAGE,
	  .want = { { VERDICT_DONE, SCOPE_RCPT, STAGE_EOM, 250, "2.6.0", 0 } },
	  .steps = { SEND("220-mx.example\r\n220-be nice\r\n220 now"),
	    EXPECT("EHLO"), PIPE, MAIL, RCPT(0), DATA,
	    SEND("250-a\r\n250 a\r\n250-b\r\n250 b\r\n354-c\r\n354 c"), BODY,
	    SEND("250-2.6.0 one\r\n250 2.6.0 two"), BYE } },
	{ .name = "one flight", .rcpt_count = 3, .body = SCENARIO_MESSAGE,
	  .want = { WANT_OK, WANT_OK, WANT_OK },
	  .steps = { GREETING, PIPE, MAIL, RCPT(0), RCPT(1), RCPT(2), DATA,
	    SEND("250 a\r\n250 b\r\n250 c\r\n250 d\r\n354 e"), BODY,
	    SEND("250 queued"), BYE } },
	{ .name = "HELO", .body = SCENARIO_MESSAGE, .want = { WANT_OK },
	  .steps = { GREETING, SEND("502 what?"), LINE("HELO client.example"),
	    SEND("250-mx.example\r\n250 PIPELINING"), MAIL, SEND("250 ok"),
	    RCPT(0), SEND("250 ok"), DATA, SEND("354 go"), BODY,
	    SEND("250 queued"), BYE } },
	{ .name = "BDAT", .body = SCENARIO_MESSAGE, .want = { WANT_OK },
	  .steps = { GREETING, SEND("250-mx.example\r\n250 CHUNKING"), MAIL,
	    SEND("250 ok"), RCPT(0), SEND("250 ok"), CHUNK("LAST"),
	    SEND("250 queued"), BYE } },
	{ .name = "BDAT, pipelined envelope", .rcpt_count = 2,
	  .body = SCENARIO_MESSAGE, .want = { RCPT_REFUSED, WANT_OK },
	  .steps = { GREETING, SEND("250-x\r\n250-PIPELINING\r\n250 CHUNKING"),
	    MAIL, RCPT(0), RCPT(1), SEND("250 a\r\n550 5.1.1 b\r\n250 c"),
	    CHUNK("LAST"), SEND("250 queued"), BYE } },
	{ .name = "BDAT refused", .want = { { VERDICT_NEVER, SCOPE_MESSAGE,
	    STAGE_EOM, 554, "5.6.0", false } },
	  .steps = { GREETING, SEND("250-mx.example\r\n250 CHUNKING"), MAIL,
	    SEND("250 ok"), RCPT(0), SEND("250 ok"), CHUNK("LAST"),
	    SEND("554 no"), LINE("RSET"), SEND("250 ok"), BYE } },

	/* recipients */
	{ .name = "one of three refused", .rcpt_count = 3,
	  .body = SCENARIO_MESSAGE, .want = { WANT_OK, RCPT_REFUSED, WANT_OK },
	  .steps = { GREETING, PIPE, MAIL, RCPT(0), RCPT(1), RCPT(2), DATA,
	    SEND("250 a\r\n250 b\r\n550 5.1.1 c\r\n250 d\r\n354 e"), BODY,
	    SEND("250 queued"), BYE } },
	{ .name = "too many recipients", .rcpt_count = 4,
	  .body = SCENARIO_MESSAGE,
	  .want = { WANT_OK, WANT_OK, RCPT_LATER, RCPT_LATER },
	  .steps = { GREETING, PIPE, MAIL, RCPT(0), RCPT(1), RCPT(2), RCPT(3),
	    DATA, SEND("250 a\r\n250 b\r\n250 b\r\n452 4.5.3 c\r\n"
	    "452 4.5.3 d\r\n354 e"), BODY, SEND("250 queued"), BYE } },
	{ .name = "552 to RCPT", .rcpt_count = 2, .body = SCENARIO_MESSAGE,
	  .want = { WANT_OK, { VERDICT_LATER, SCOPE_RCPT, STAGE_RCPT, 452,
	    NULL, false } },
	  .steps = { GREETING, PIPE, MAIL, RCPT(0), RCPT(1), DATA,
	    SEND("250 a\r\n250 b\r\n552 5.5.3 c\r\n354 e"), BODY,
	    SEND("250 queued"), BYE } },
	{ .name = "all refused, 354 all the same", .rcpt_count = 2, .body = "",
	  .want = { RCPT_REFUSED, RCPT_REFUSED },
	  .steps = { GREETING, PIPE, MAIL, RCPT(0), RCPT(1), DATA,
	    SEND("250 a\r\n550 5.1.1 b\r\n550 5.1.1 c\r\n354 e"), LINE("."),
	    SEND("554 no recipients"), BYE } },
	{ .name = "all refused, the empty message taken", .body = "",
	  .want = { RCPT_REFUSED },
	  .steps = { GREETING, PIPE, MAIL, RCPT(0), DATA,
	    SEND("250 a\r\n550 5.1.1 b\r\n354 e"), LINE("."),
	    SEND("250 fine"), BYE } },
	{ .name = "all refused, 354, then silence", .body = "",
	  .want = { RCPT_REFUSED },
	  .why = { VERDICT_LATER, SCOPE_MESSAGE, STAGE_EOM, 451, NULL, true },
	  .steps = { GREETING, PIPE, MAIL, RCPT(0), DATA,
	    SEND("250 a\r\n550 5.1.1 b\r\n354 e"), LINE(".") } },
	{ .name = "all refused, DATA too", .want = { RCPT_REFUSED },
	  .steps = { GREETING, PIPE, MAIL, RCPT(0), DATA,
	    SEND("250 a\r\n550 5.1.1 b\r\n503 c"), LINE("RSET"),
	    SEND("250 ok"), BYE } },
	{ .name = "all refused, no PIPELINING", .rcpt_count = 2,
	  .want = { RCPT_REFUSED, RCPT_LATER },
	  .steps = { GREETING, PLAIN, MAIL, SEND("250 a"), RCPT(0),
	    SEND("550 5.1.1 b"), RCPT(1), SEND("452 4.5.3 b"), LINE("RSET"),
	    SEND("250 ok"), BYE } },

	/* MAIL, DATA and the end */
	{ .name = "MAIL refused", .rcpt_count = 2, .want = {
	    { VERDICT_NEVER, SCOPE_MESSAGE, STAGE_MAIL, 550, "5.7.1", false },
	    { VERDICT_NEVER, SCOPE_MESSAGE, STAGE_MAIL, 550, "5.7.1", false } },
	  .steps = { GREETING, PIPE, MAIL, RCPT(0), RCPT(1), DATA,
	    SEND("550 5.7.1 a\r\n503 b\r\n503 c\r\n503 d"), LINE("RSET"),
	    SEND("250 ok"), BYE } },
	{ .name = "MAIL refused, RCPT and DATA taken", .body = "", .want = {
	    { VERDICT_NEVER, SCOPE_MESSAGE, STAGE_MAIL, 550, "5.7.1", false } },
	  .steps = { GREETING, PIPE, MAIL, RCPT(0), DATA,
	    SEND("550 5.7.1 a\r\n250 b\r\n354 d"), LINE("."), SEND("250 ok"),
	    BYE } },
	{ .name = "MAIL later", .want = {
	    { VERDICT_LATER, SCOPE_HOST, STAGE_MAIL, 452, "4.3.1", false } },
	  .steps = { GREETING, PLAIN, MAIL, SEND("452 4.3.1 full"),
	    LINE("RSET"), SEND("250 ok"), BYE } },
	{ .name = "DATA refused", .want = {
	    { VERDICT_NEVER, SCOPE_MESSAGE, STAGE_DATA, 554, "5.6.0", false } },
	  .steps = { GREETING, PIPE, MAIL, RCPT(0), DATA,
	    SEND("250 a\r\n250 b\r\n554 c"), LINE("RSET"), SEND("250 ok"),
	    BYE } },
	{ .name = "DATA later", .want = {
	    { VERDICT_LATER, SCOPE_HOST, STAGE_DATA, 451, "4.6.0", false } },
	  .steps = { GREETING, PIPE, MAIL, RCPT(0), DATA,
	    SEND("250 a\r\n250 b\r\n451 c"), LINE("RSET"), SEND("250 ok"),
	    BYE } },
	{ .name = "message refused", .body = SCENARIO_MESSAGE, .want = {
	    { VERDICT_NEVER, SCOPE_MESSAGE, STAGE_EOM, 554, "5.7.1", false } },
	  .steps = { GREETING, PIPE, MAIL, RCPT(0), DATA,
	    SEND("250 a\r\n250 b\r\n354 c"), BODY, SEND("554 5.7.1 spam"),
	    BYE } },
	{ .name = "message later", .body = SCENARIO_MESSAGE, .want = {
	    { VERDICT_LATER, SCOPE_MESSAGE, STAGE_EOM, 451, "4.7.1", false } },
	  .steps = { GREETING, PIPE, MAIL, RCPT(0), DATA,
	    SEND("250 a\r\n250 b\r\n354 c"), BODY, SEND("451 4.7.1 wait"),
	    BYE } },
	{ .name = "250 and then cut off", .body = SCENARIO_MESSAGE,
	  .want = { WANT_OK },
	  .steps = { GREETING, PIPE, MAIL, RCPT(0), DATA,
	    SEND("250 a\r\n250 b\r\n354 c"), BODY, SEND("250 queued"),
	    LINE("QUIT"), CUT } },
	{ .name = "RSET refused", .want = {
	    { VERDICT_NEVER, SCOPE_MESSAGE, STAGE_DATA, 554, "5.6.0", false } },
	  .steps = { GREETING, PIPE, MAIL, RCPT(0), DATA,
	    SEND("250 a\r\n250 b\r\n554 c"), LINE("RSET"), SEND("500 what"),
	    BYE } },

	/* what the peer lacks and the message needs */
	{ .name = "SMTPUTF8 lacking", .flags = ENVELOPE_SMTPUTF8, .want = {
	    { VERDICT_NEVER, SCOPE_HOST, STAGE_MAIL, 550, "5.6.7", false } },
	  .steps = { GREETING, PIPE, BYE } },
	{ .name = "SMTPUTF8", .flags = ENVELOPE_SMTPUTF8, .want = { WANT_OK },
	  .steps = { GREETING, SEND("250-x\r\n250 SMTPUTF8"),
	    LINE("MAIL FROM:<a@client.example> SMTPUTF8"), SEND("250 a"),
	    RCPT(0), SEND("250 a"), DATA, SEND("354 a"), BODY, SEND("250 a"),
	    BYE } },
	{ .name = "REQUIRETLS in clear text", .flags = ENVELOPE_REQUIRETLS,
	  .want = { { VERDICT_NEVER, SCOPE_HOST, STAGE_MAIL, 550, "5.7.30",
	    false } },
	  .steps = { GREETING, SEND("250-x\r\n250 REQUIRETLS"), BYE } },
	{ .name = "too large", .want = {
	    { VERDICT_NEVER, SCOPE_HOST, STAGE_MAIL, 552, "5.3.4", false } },
	  .steps = { GREETING, SEND("250-x\r\n250 SIZE 20"), BYE } },
	{ .name = "SIZE", .want = { WANT_OK },
	  .steps = { GREETING, SEND("250-x\r\n250 SIZE 28"),
	    LINE("MAIL FROM:<a@client.example> SIZE=28"), SEND("250 a"),
	    RCPT(0), SEND("250 a"), DATA, SEND("354 a"), BODY, SEND("250 a"),
	    BYE } },
	{ .name = "8BITMIME", .flags = ENVELOPE_8BITMIME, .want = { WANT_OK },
	  .steps = { GREETING, SEND("250-x\r\n250 8BITMIME"),
	    LINE("MAIL FROM:<a@client.example> BODY=8BITMIME"), SEND("250 a"),
	    RCPT(0), SEND("250 a"), DATA, SEND("354 a"), BODY, SEND("250 a"),
	    BYE } },
	{ .name = "8BITMIME lacking", .flags = ENVELOPE_8BITMIME,
	  .want = { WANT_OK },
	  .steps = { GREETING, PLAIN, MAIL, SEND("250 a"), RCPT(0),
	    SEND("250 a"), DATA, SEND("354 a"), BODY, SEND("250 a"), BYE } },
	{ .name = "LIMITS RCPTMAX", .rcpt_count = 3, .want = { WANT_OK,
	    WANT_OK, RCPT_LATER },
	  .steps = { GREETING,
	    SEND("250-x\r\n250-PIPELINING\r\n250 LIMITS RCPTMAX=2"), MAIL,
	    RCPT(0), RCPT(1), DATA, SEND("250 a\r\n250 b\r\n250 c\r\n354 d"),
	    BODY, SEND("250 a"), BYE } },
};

static void
test_scenarios(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(scenarios); i++)
		scenario_run(&scenarios[i]);
}

/* ---- several transactions ---- */

#define DELIVER MAIL, RCPT(0), DATA, SEND("250 a\r\n250 b\r\n354 c"), BODY, \
	SEND("250 queued")

static const struct peer_step three[] = {
	GREETING, PIPE, DELIVER,
	MAIL, RCPT(0), DATA, SEND("250 a\r\n250 b\r\n451 c"), LINE("RSET"),
	SEND("250 ok"), DELIVER, BYE, { PEER_END, NULL, 0 } };

static void
test_three(void **state)
{
	struct session_rcpt rcpts[3];
	struct session_txn txns[3];
	struct peer *peer = peer_start(AF_INET, three);
	struct client c;

	(void)state;
	client_init(&c);
	client_add_peer(&c, peer);
	for (size_t i = 0; i < 3; i++) {
		scenario_txn(&txns[i], &rcpts[i], 1);
		c.txns[i] = &txns[i];
	}
	client_run(&c);
	assert_null(peer_join(peer));
	assert_int_equal(c.done, 3);
	assert_int_equal(c.ready, 4);
	assert_true(c.info.reused);
	assert_int_equal(rcpts[0].outcome.verdict, VERDICT_DONE);
	assert_int_equal(rcpts[1].outcome.verdict, VERDICT_LATER);
	assert_int_equal(rcpts[2].outcome.verdict, VERDICT_DONE);
	peer_free(&peer);
}

/* After MAILMAX the session says good-bye of its own accord. */
static const struct peer_step mailmax[] = {
	GREETING, SEND("250-x\r\n250-PIPELINING\r\n250 LIMITS MAILMAX=1"),
	DELIVER, BYE, { PEER_END, NULL, 0 } };

static void
test_mailmax(void **state)
{
	struct session_rcpt rcpts[2];
	struct session_txn txns[2];
	struct peer *peer = peer_start(AF_INET, mailmax);
	struct client c;

	(void)state;
	client_init(&c);
	client_add_peer(&c, peer);
	for (size_t i = 0; i < 2; i++) {
		scenario_txn(&txns[i], &rcpts[i], 1);
		c.txns[i] = &txns[i];
	}
	client_run(&c);
	assert_null(peer_join(peer));
	assert_int_equal(c.done, 1);
	assert_int_equal(c.ready, 1);
	assert_int_equal(c.why.verdict, VERDICT_DONE);
	peer_free(&peer);
}

/* ---- DSN ---- */

static const struct peer_step dsn[] = {
	GREETING, SEND("250-x\r\n250-PIPELINING\r\n250 DSN"),
	LINE("MAIL FROM:<> RET=HDRS ENVID=q1"),
	LINE("RCPT TO:<r0@mx.example> NOTIFY=SUCCESS,FAILURE "
		"ORCPT=rfc822;o@mx.example"),
	LINE("RCPT TO:<r1@mx.example>"), DATA,
	SEND("250 a\r\n250 b\r\n550 5.1.1 c\r\n354 d"), BODY,
	SEND("250 queued"), BYE, { PEER_END, NULL, 0 } };

static void
test_dsn(void **state)
{
	struct session_rcpt rcpts[2];
	struct session_txn txn;
	struct peer *peer = peer_start(AF_INET, dsn);
	struct client c;

	(void)state;
	client_init(&c);
	client_add_peer(&c, peer);
	scenario_txn(&txn, rcpts, 2);
	txn.sender = "";
	txn.envid = "q1";
	txn.ret = RET_HDRS;
	rcpts[0].notify = NOTIFY_SUCCESS | NOTIFY_FAILURE;
	rcpts[0].orcpt = "rfc822;o@mx.example";
	c.txns[0] = &txn;
	client_run(&c);
	assert_null(peer_join(peer));
	assert_true(rcpts[0].dsn_relayed);
	assert_false(rcpts[1].dsn_relayed);
	peer_free(&peer);
}

/* ---- many recipients ---- */

#define MANY 1000

/* A flight is bounded: as long as nothing is answered no more than 128
 * commands come, and then as many as are answered. */
static void
test_many(void **state)
{
	static const struct peer_step steps[] = { GREETING, PIPE,
		{ PEER_LINES, "", SMTP_FLIGHT_MAX }, { PEER_QUIET, NULL, 50 },
		SEND("250 mail\r\n250 r0\r\n550 5.1.1 r1"),
		{ PEER_LINES, "", 3 }, { PEER_QUIET, NULL, 50 },
		SEND("250 ok"),
		{ PEER_LINES, "250 ok\r\n", MANY + 1 - SMTP_FLIGHT_MAX - 3 },
		DATA,
		{ PEER_SEND, NULL, 0 },
		BODY, SEND("250 queued"), BYE, { PEER_END, NULL, 0 } };
	struct peer_step script[PEER_STEPS_MAX];
	struct session_rcpt *rcpts = xcalloc(MANY, sizeof(*rcpts));
	struct session_txn txn;
	struct buf owed;
	struct peer *peer;
	struct client c;

	(void)state;
	memcpy(script, steps, sizeof(steps));
	buf_init(&owed, 65536);
	for (size_t i = 0; i < SMTP_FLIGHT_MAX - 1; i++)
		assert_int_equal(buf_puts(&owed, "250 ok\r\n"), ST_OK);
	assert_int_equal(buf_put(&owed, "354 go\r\n", 9), ST_OK);
	for (size_t i = 0; i < COUNT(steps); i++)
		if (script[i].op == PEER_SEND && script[i].text == NULL)
			script[i].text = (const char *)buf_data(&owed);
	client_init(&c);
	scenario_txn(&txn, rcpts, 1);
	for (size_t i = 0; i < MANY; i++)
		rcpts[i].address = "r0@mx.example";
	txn.rcpt_count = MANY;
	peer = peer_start(AF_INET, script);
	client_add_peer(&c, peer);
	c.txns[0] = &txn;
	client_run(&c);
	assert_null(peer_join(peer));
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(rcpts[i].outcome.verdict, i == 1 ?
			VERDICT_NEVER : VERDICT_DONE);
	peer_free(&peer);
	buf_clear(&owed);
	mem_free(&rcpts);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scenarios),
		cmocka_unit_test(test_three),
		cmocka_unit_test(test_mailmax),
		cmocka_unit_test(test_dsn),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
