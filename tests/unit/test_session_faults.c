/*
 * Hostile, broken and vanishing servers: each fault in each state costs one
 * session, tells every recipient what is true, and takes no longer than the
 * state's limit.
 */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "smtpd-out/client/smtp_command.h"
#include "tests/lib/scenario.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* A whole dialogue; each SEND is a place for a fault. */
static const struct peer_step dialogue[] = {
	SEND("220 mx.example"), LINE("EHLO client.example"),
	SEND("250-mx.example\r\n250 STARTTLS"), LINE("STARTTLS"),
	SEND("220 go"), TLS, LINE("EHLO client.example"),
	SEND("250-mx.example\r\n250 8BITMIME"), MAIL,
	SEND("250 mail"), RCPT(0),
	SEND("250 r0"), RCPT(1),
	SEND("250 r1"), LINE("DATA"),
	SEND("354 go"), BODY,
	SEND("250 queued"), LINE("QUIT"),
	SEND("221 bye"), WAIT, { PEER_END, NULL, 0 } };

static const struct place {
	const char *reply;		/* the one that goes wrong */
	enum outcome_stage stage;
	size_t limit;			/* offset in struct conf_timeout */
} places[] = {
#define LIMIT(name) offsetof(struct conf_timeout, name)
	{ "220 mx.example\r\n", STAGE_BANNER, LIMIT(banner_ms) },
	{ "250-mx.example\r\n250 STARTTLS\r\n", STAGE_EHLO,
		LIMIT(command_ms) },
	{ "220 go\r\n", STAGE_STARTTLS, LIMIT(command_ms) },
	{ "250-mx.example\r\n250 8BITMIME\r\n", STAGE_EHLO,
		LIMIT(command_ms) },
	{ "250 mail\r\n", STAGE_MAIL, LIMIT(mail_ms) },
	{ "250 r0\r\n", STAGE_RCPT, LIMIT(rcpt_ms) },
	{ "250 r1\r\n", STAGE_RCPT, LIMIT(rcpt_ms) },
	{ "354 go\r\n", STAGE_DATA, LIMIT(data_ms) },
	{ "250 queued\r\n", STAGE_EOM, LIMIT(data_end_ms) },
};

static char long_line[5000];

static const struct fault {
	const char *name;
	struct peer_step steps[3];	/* in place of the reply */
	int code;			/* of a reply that counts */
	bool waits;			/* ends by time alone */
} faults[] = {
	{ "closes", { { PEER_END, NULL, 0 } }, 0, false },
	{ "cuts", { CUT }, 0, false },
	{ "closes in mid-reply", { { PEER_BYTES, "250-half", 8 } }, 0,
		false },
	{ "says 421", { SEND("421 4.3.2 closing"), WAIT }, 421, false },
	{ "says 421 and closes", { SEND("421-4.3.2 a\r\n421 4.3.2 b") }, 421,
		false },
	{ "says nonsense", { SEND("what do you want?"), WAIT }, 0, false },
	{ "says 1xx", { SEND("150 wait"), WAIT }, 0, false },
	{ "mixes codes", { SEND("250-a\r\n354 b"), WAIT }, 0, false },
	{ "says NUL", { { PEER_BYTES, "250 a\0b\r\n", 9 }, WAIT }, 0, false },
	{ "says a bare CR", { SEND("250 a\rb"), WAIT }, 0, false },
	{ "says a line without end", { { PEER_SEND, long_line, 0 }, WAIT }, 0,
		false },
	{ "never ends a line", { { PEER_FLOOD, "250 xxxxxxxxxxxxxxxx", 0 } },
		0, false },
	{ "never ends a reply", { { PEER_FLOOD, "250-more\r\n", 0 } }, 0,
		false },
	{ "is silent", { WAIT }, 0, true },
	{ "says half a reply", { SEND("250-half"), WAIT }, 0, true },
	{ "drips", { { PEER_DRIP, "250-a reply of a hundred bytes, one every"
		" fiftieth of a second, is too slow for this client.\r\n"
		"250 end\r\n", 20 } }, 0, true },
};

/* Copies the dialogue with the fault at the place. */
static void
make_script(struct peer_step *script, const struct place *place,
	const struct fault *fault)
{
	size_t n = 0;

	while (dialogue[n].op != PEER_SEND ||
	    strcmp(dialogue[n].text, place->reply) != 0) {
		script[n] = dialogue[n];
		n++;
	}
	for (size_t i = 0; i < COUNT(fault->steps); i++)
		script[n++] = fault->steps[i];
	memset(&script[n], 0, sizeof(script[n]));
}

static void
check_fault(const char *name, const struct place *place,
	const struct fault *fault, const struct outcome *o)
{
	bool unsure = place->stage == STAGE_EOM && fault->code == 0;
	const struct want want = { VERDICT_LATER,
		unsure ? SCOPE_MESSAGE : SCOPE_HOST, place->stage,
		fault->code != 0 ? fault->code : 451, NULL, unsure };

	/* On a busy machine the reset may come before we have seen that the
	 * connection is up. */
	if (place->stage == STAGE_BANNER && o->stage == STAGE_CONNECT &&
	    strcmp(fault->name, "cuts") == 0)
		return;
	scenario_check(name, &want, o);
}

static void
run_fault(const struct place *place, const struct fault *fault)
{
	struct session_rcpt rcpts[2];
	struct session_txn txn;
	struct peer_step script[PEER_STEPS_MAX];
	struct peer *peer;
	struct client c;
	char name[128];
	int64_t began = clock_mono_ms();

	(void)snprintf(name, sizeof(name), "%.12s...: %s", place->reply,
		fault->name);
	make_script(script, place, fault);
	client_init(&c);
	if (fault->waits)
		*(int64_t *)(void *)((char *)&c.conf.timeout + place->limit) =
			200;
	peer = peer_start(AF_INET, script);
	client_add_peer(&c, peer);
	scenario_txn(&txn, rcpts, 2);
	c.txns[0] = &txn;
	client_run(&c);
	if (peer_join(peer) != NULL)
		fail_msg("%s: %s", name, peer_join(peer));
	if (clock_mono_ms() - began > 5000)
		fail_msg("%s: takes too long", name);
	assert_int_equal(c.closed, 1);
	assert_false(c.tls_failed);
	check_fault(name, place, fault, &c.why);
	assert_int_equal(c.done, place->stage >= STAGE_MAIL ? 1 : 0);
	for (size_t i = 0; c.done > 0 && i < 2; i++)
		check_fault(name, place, fault, &rcpts[i].outcome);
	peer_free(&peer);
}

static bool
same_limit_twice(const struct place *p, const struct fault *f)
{
	return f->waits && strcmp(p->reply, "250 r1\r\n") == 0;
}

static void
test_matrix(void **state)
{
	(void)state;
	memset(long_line, 'x', sizeof(long_line) - 1);
	memcpy(long_line, "250 ", 4);
	for (size_t f = 0; f < COUNT(faults); f++)
		for (size_t p = 0; p < COUNT(places); p++)
			if (!same_limit_twice(&places[p], &faults[f]))
				run_fault(&places[p], &faults[f]);
}

/* ---- single faults ---- */

#define LATER(stage) { VERDICT_LATER, SCOPE_HOST, stage, 451, NULL, false }
#define ENVELOPE MAIL, RCPT(0), DATA
#define ACCEPT SEND("250 a\r\n250 b\r\n354 c")

static const struct scenario scenarios[] = {
	{ .name = "554 greeting", .undone = true, .why = { VERDICT_NEVER,
	    SCOPE_HOST, STAGE_BANNER, 554, NULL, false },
	  .steps = { SEND("554 no service"), BYE } },
	/* Anybody could say that before the host is verified. */
	{ .name = "554 greeting, PKIX", .undone = true, .demand = DEMAND_PKIX,
	  .why = { VERDICT_LATER, SCOPE_HOST, STAGE_BANNER, 451, "4.7.0",
	    false },
	  .steps = { SEND("554 5.7.1 no service"), BYE } },
	{ .name = "554 greeting, DANE", .undone = true, .demand = DEMAND_DANE,
	  .why = { VERDICT_LATER, SCOPE_HOST, STAGE_BANNER, 451, "4.7.0",
	    false },
	  .steps = { SEND("554 5.7.1 no service"), BYE } },
	{ .name = "554 greeting, TLS of anybody", .undone = true,
	  .demand = DEMAND_ENCRYPT, .why = { VERDICT_NEVER, SCOPE_HOST,
	    STAGE_BANNER, 554, "5.7.1", false },
	  .steps = { SEND("554 5.7.1 no service"), BYE } },
	{ .name = "450 greeting", .undone = true, .why = { VERDICT_LATER,
	    SCOPE_HOST, STAGE_BANNER, 450, NULL, false },
	  .steps = { SEND("450 busy"), BYE } },
	{ .name = "EHLO later", .undone = true, .why = { VERDICT_LATER,
	    SCOPE_HOST, STAGE_EHLO, 451, NULL, false },
	  .steps = { GREETING, SEND("451 busy"), BYE } },
	{ .name = "EHLO and HELO refused", .undone = true, .why = {
	    VERDICT_NEVER, SCOPE_HOST, STAGE_EHLO, 550, "5.7.1", false },
	  .steps = { GREETING, SEND("550 who"), LINE("HELO client.example"),
	    SEND("550 5.7.1 go away"), BYE } },
	{ .name = "refusal in mid-message", .want = { { VERDICT_NEVER,
	    SCOPE_MESSAGE, STAGE_DATA, 552, "5.3.4", false } },
	  .why = { VERDICT_LATER, SCOPE_HOST, STAGE_DATA, 451, NULL, false },
	  .steps = { GREETING, PIPE, ENVELOPE,
	    SEND("250 a\r\n250 b\r\n354 c\r\n552 5.3.4 too large"),
	    { PEER_NEVER, ".", 0 } } },
	{ .name = "250 in mid-message", .want = { LATER(STAGE_DATA) },
	  .why = LATER(STAGE_DATA),
	  .steps = { GREETING, PIPE, ENVELOPE,
	    SEND("250 a\r\n250 b\r\n354 c\r\n250 thanks"),
	    { PEER_NEVER, ".", 0 } } },
	{ .name = "421 in mid-message", .want = { { VERDICT_LATER, SCOPE_HOST,
	    STAGE_DATA, 421, NULL, false } },
	  .why = { VERDICT_LATER, SCOPE_HOST, STAGE_DATA, 421, NULL, false },
	  .steps = { GREETING, PIPE, ENVELOPE,
	    SEND("250 a\r\n250 b\r\n354 c\r\n421 down"),
	    { PEER_NEVER, ".", 0 } } },
	{ .name = "unasked reply in READY", .undone = true,
	  .why = LATER(STAGE_MAIL),
	  .steps = { GREETING, SEND("250 mx.example\r\n250 more"), WAIT } },
	{ .name = "421 in READY", .undone = true, .why = { VERDICT_LATER,
	    SCOPE_HOST, STAGE_MAIL, 421, NULL, false },
	  .steps = { GREETING, SEND("250 mx.example\r\n421 down"), WAIT } },
	{ .name = "421 among pipelined replies", .rcpt_count = 2, .want = {
	    { VERDICT_LATER, SCOPE_HOST, STAGE_RCPT, 421, NULL, false },
	    { VERDICT_LATER, SCOPE_HOST, STAGE_RCPT, 421, NULL, false } },
	  .why = { VERDICT_LATER, SCOPE_HOST, STAGE_RCPT, 421, NULL, false },
	  .steps = { GREETING, PIPE, MAIL, RCPT(0), RCPT(1), DATA,
	    SEND("250 a\r\n250 b\r\n421 c"), WAIT } },
	{ .name = "refused before the end keeps its verdict", .rcpt_count = 2,
	  .want = { { VERDICT_NEVER, SCOPE_RCPT, STAGE_RCPT, 550, "5.1.1",
	    false }, { VERDICT_LATER, SCOPE_MESSAGE, STAGE_EOM, 451, NULL,
	    true } },
	  .why = { VERDICT_LATER, SCOPE_MESSAGE, STAGE_EOM, 451, NULL, true },
	  .steps = { GREETING, PIPE, MAIL, RCPT(0), RCPT(1), DATA,
	    SEND("250 a\r\n550 5.1.1 b\r\n250 c\r\n354 d"), BODY } },
	{ .name = "250 and a stray reply", .want = { WANT_OK },
	  .why = LATER(STAGE_MAIL), .body = SCENARIO_MESSAGE,
	  .steps = { GREETING, PIPE, ENVELOPE, ACCEPT, BODY,
	    SEND("250 queued\r\n250 and again"), WAIT } },
	{ .name = "354 to the end", .want = { { VERDICT_LATER, SCOPE_MESSAGE,
	    STAGE_EOM, 451, NULL, true } },
	  .why = { VERDICT_LATER, SCOPE_MESSAGE, STAGE_EOM, 451, NULL, true },
	  .steps = { GREETING, PIPE, ENVELOPE, ACCEPT, BODY, SEND("354 more"),
	    WAIT } },
	{ .name = "2xx to DATA", .want = { LATER(STAGE_DATA) },
	  .why = LATER(STAGE_DATA),
	  .steps = { GREETING, PIPE, ENVELOPE,
	    SEND("250 a\r\n250 b\r\n250 c"), WAIT } },
	{ .name = "354 to RCPT", .want = { LATER(STAGE_RCPT) },
	  .why = LATER(STAGE_RCPT),
	  .steps = { GREETING, PIPE, ENVELOPE, SEND("250 a\r\n354 b"),
	    WAIT } },
};

static void
test_scenarios(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(scenarios); i++)
		scenario_run(&scenarios[i]);
}

/* Every reply in pieces of one byte. */
static void
test_split(void **state)
{
	struct peer_step script[COUNT(dialogue)];
	struct session_rcpt rcpts[2];
	struct session_txn txn;
	struct peer *peer;
	struct client c;

	(void)state;
	memcpy(script, dialogue, sizeof(script));
	for (size_t i = 0; i < COUNT(script); i++)
		if (script[i].op == PEER_SEND) {
			script[i].op = PEER_DRIP;
			script[i].n = 1;
		}
	peer = peer_start(AF_INET, script);
	client_init(&c);
	client_add_peer(&c, peer);
	scenario_txn(&txn, rcpts, 2);
	c.txns[0] = &txn;
	client_run(&c);
	assert_null(peer_join(peer));
	assert_int_equal(rcpts[0].outcome.verdict, VERDICT_DONE);
	assert_int_equal(rcpts[1].outcome.verdict, VERDICT_DONE);
	assert_int_equal(c.why.verdict, VERDICT_DONE);
	peer_free(&peer);
}

/* ---- times of single states ---- */

static void
run_silence(const struct peer_step *steps, size_t limit, enum outcome_verdict
	verdict, unsigned done)
{
	struct session_rcpt rcpt;
	struct session_txn txn;
	struct peer *peer = peer_start(AF_INET, steps);
	struct client c;

	client_init(&c);
	client_add_peer(&c, peer);
	*(int64_t *)(void *)((char *)&c.conf.timeout + limit) = 100;
	scenario_txn(&txn, &rcpt, 1);
	c.txns[0] = &txn;
	c.stay = true;
	client_run(&c);
	assert_null(peer_join(peer));
	assert_int_equal(c.done, done);
	assert_int_equal(c.why.verdict, verdict);
	peer_free(&peer);
}

static void
test_times(void **state)
{
	static const struct peer_step idle[] = { GREETING, PIPE, ENVELOPE,
		ACCEPT, BODY, SEND("250 queued"), BYE,
		{ PEER_END, NULL, 0 } };
	static const struct peer_step quit[] = { SEND("554 no"), LINE("QUIT"),
		WAIT, { PEER_END, NULL, 0 } };
	static const struct peer_step rset[] = { GREETING, PIPE, ENVELOPE,
		SEND("250 a\r\n250 b\r\n450 c"), LINE("RSET"), WAIT,
		{ PEER_END, NULL, 0 } };

	(void)state;
	run_silence(idle, LIMIT(idle_ms), VERDICT_DONE, 1);
	run_silence(quit, LIMIT(quit_ms), VERDICT_NEVER, 0);
	run_silence(rset, LIMIT(rset_ms), VERDICT_LATER, 1);
}

/* ---- stop and abort anywhere ---- */

/* Holds the dialogue for a while at each place: the stop comes there. */
static void
run_stop(const struct place *place, bool stop)
{
	/* only the last place depends on having been reached */
	const int64_t after_ms = place->stage == STAGE_EOM ? 400 : 50;
	const struct fault hold = { .name = "holds", .steps = {
		{ PEER_SLEEP, NULL, (size_t)after_ms * 2 },
		{ PEER_SEND, place->reply, 0 }, WAIT } };
	struct session_rcpt rcpts[2];
	struct session_txn txn;
	struct peer_step script[PEER_STEPS_MAX];
	struct peer *peer;
	struct client c;

	make_script(script, place, &hold);
	client_init(&c);
	c.quit_after_ms = stop ? after_ms : 0;
	c.abort_after_ms = stop ? 0 : after_ms;
	peer = peer_start(AF_INET, script);
	client_add_peer(&c, peer);
	scenario_txn(&txn, rcpts, 2);
	c.txns[0] = &txn;
	if (place->stage == STAGE_EOM)
		c.conf.timeout.quit_ms = 100;
	client_run(&c);
	(void)peer_join(peer);
	if (!stop) {
		assert_int_equal(c.closed, 0);
		assert_int_equal(c.done, 0);
	} else if (place->stage == STAGE_EOM) {
		assert_int_equal(rcpts[0].outcome.verdict, VERDICT_DONE);
	} else if (c.done > 0) {
		assert_int_equal(rcpts[0].outcome.verdict, VERDICT_LATER);
		assert_false(rcpts[0].outcome.maybe_duplicate);
	}
	assert_int_equal(c.closed, stop ? 1 : 0);
	peer_free(&peer);
}

static void
test_stop(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(places); i++) {
		run_stop(&places[i], true);
		run_stop(&places[i], false);
	}
}

/* Stops while a pipelined envelope of count recipients awaits its answers. */
static void
run_stop_envelope(const struct peer_step *steps, size_t count)
{
	struct session_rcpt *rcpts = xcalloc(count, sizeof(*rcpts));
	struct session_txn txn;
	struct peer *peer = peer_start(AF_INET, steps);
	struct client c;

	client_init(&c);
	client_add_peer(&c, peer);
	c.quit_after_ms = 100;
	scenario_txn(&txn, rcpts, 1);
	for (size_t i = 0; i < count; i++)
		rcpts[i].address = "r0@mx.example";
	txn.rcpt_count = count;
	c.txns[0] = &txn;
	client_run(&c);
	if (peer_join(peer) != NULL)
		fail_msg("%s", peer_join(peer));
	assert_int_equal(c.done, 1);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(rcpts[i].outcome.verdict, VERDICT_LATER);
	peer_free(&peer);
	mem_free(&rcpts);
}

/* QUIT must not become the text of a message; but where it may be said it is,
 * even when the flight is full. */
static void
test_stop_envelope(void **state)
{
	static const struct peer_step data[] = { GREETING, PIPE,
		{ PEER_NEVER, "QUIT", 0 }, { PEER_END, NULL, 0 } };
	static const struct peer_step full[] = { GREETING, PIPE,
		{ PEER_LINES, "", SMTP_FLIGHT_MAX }, BYE,
		{ PEER_END, NULL, 0 } };

	(void)state;
	run_stop_envelope(data, 2);
	run_stop_envelope(full, 200);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matrix),
		cmocka_unit_test(test_scenarios),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_stop_envelope),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
