/*
 * Runs a scenario and compares.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/scenario.h"

void
scenario_txn(struct session_txn *txn, struct session_rcpt *rcpts, size_t count)
{
	static const char *const addresses[SCENARIO_RCPTS_MAX] = {
		"r0@mx.example", "r1@mx.example", "r2@mx.example",
		"r3@mx.example" };

	memset(txn, 0, sizeof(*txn));
	memset(rcpts, 0, count * sizeof(*rcpts));
	for (size_t i = 0; i < count; i++)
		rcpts[i].address = addresses[i];
	txn->sender = "a@client.example";
	txn->rcpts = rcpts;
	txn->rcpt_count = count;
	txn->body.data = (const uint8_t *)SCENARIO_MESSAGE;
	txn->body.size_bytes = strlen(SCENARIO_MESSAGE);
	txn->body.fd = -1;
}

void
scenario_check(const char *name, const struct want *want,
	const struct outcome *got)
{
	const char *enhanced = want->enhanced != NULL ? want->enhanced :
		got->enhanced;

	if (got->verdict == want->verdict && got->scope == want->scope &&
	    got->stage == want->stage && got->code == want->code &&
	    got->maybe_duplicate == want->maybe_duplicate &&
	    strcmp(got->enhanced, enhanced) == 0)
		return;
	fail_msg("%s: got %s scope %d stage %s code %d %s%s: %s", name,
		outcome_verdict_name(got->verdict), (int)got->scope,
		outcome_stage_name(got->stage), got->code, got->enhanced,
		got->maybe_duplicate ? " duplicate" : "", got->text);
}

static void
check(const struct scenario *sc, const struct client *c,
	const struct session_rcpt *rcpts, size_t count)
{
	const struct want well = { VERDICT_DONE, SCOPE_HOST, STAGE_NONE, 221,
		"2.0.0", false };

	if (c->closed != 1 || c->done != (sc->undone ? 0 : 1))
		fail_msg("%s: done %u, closed %u", sc->name, c->done,
			c->closed);
	if (c->tls_failed != sc->tls_failed)
		fail_msg("%s: tls_failed", sc->name);
	scenario_check(sc->name, sc->why.verdict == VERDICT_NONE ? &well :
		&sc->why, &c->why);
	if (sc->undone)
		return;
	for (size_t i = 0; i < count; i++) {
		scenario_check(sc->name, &sc->want[i], &rcpts[i].outcome);
		assert_false(rcpts[i].dsn_relayed);	/* none has DSN */
	}
	if (c->info.tls_active != sc->tls_active)
		fail_msg("%s: tls_active", sc->name);
	assert_string_equal(c->info.ip, "127.0.0.1");
}

void
scenario_run(const struct scenario *sc)
{
	size_t count = sc->rcpt_count != 0 ? sc->rcpt_count : 1;
	struct session_rcpt rcpts[SCENARIO_RCPTS_MAX];
	struct session_txn txn;
	struct peer *peer = peer_start(AF_INET, sc->steps);
	struct client c;
	const char *failure;

	scenario_txn(&txn, rcpts, count);
	txn.flags = sc->flags;
	client_init(&c);
	client_add_peer(&c, peer);
	c.demand.level = sc->demand;
	c.demand.tls_first = sc->tls_first;
	c.target.no_starttls = sc->no_starttls;
	c.txns[0] = &txn;
	client_run(&c);
	failure = peer_join(peer);
	if (failure != NULL)
		fail_msg("%s: %s", sc->name, failure);
	check(sc, &c, rcpts, count);
	if (sc->body != NULL) {
		assert_int_equal(peer_body(peer)->len, strlen(sc->body));
		assert_memory_equal(buf_data(peer_body(peer)), sc->body,
			strlen(sc->body));
	}
	peer_free(&peer);
}
