/*
 * The state table: every (state, event) pair is looked at, as data and by
 * running the engine on it; and what the table promises is computed from it:
 * that READY cannot be reached without a handshake where TLS is demanded.
 *
 *	SESSION_TABLE_PRINT=1 tests/unit/test_session_table
 *
 * prints the table for ARCHITECTURE.md.
 */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "base/clock.h"
#include "base/mem.h"
#include "smtpd-out/client/session_step.h"

#define STATES SESSION_STATE_COUNT
#define EVENTS SESSION_EVENT_COUNT
#define BIT(name) SESSION_BIT(SESSION_##name)

static const unsigned all_states = (1U << STATES) - 1;
static const unsigned not_live = BIT(NEW) | BIT(CLOSED);

#define TLS SESSION_RULE_TLS
#define SMTPS (SESSION_RULE_TLS | SESSION_RULE_TLS_FIRST)
#define WITH_AUTH (SESSION_RULE_TLS | SESSION_RULE_AUTH)

/* Rules as demands give them. */
static const unsigned rule_sets[] = { 0, TLS, SMTPS, WITH_AUTH,
	SMTPS | WITH_AUTH };
#define RULE_SETS (sizeof(rule_sets) / sizeof(rule_sets[0]))

static unsigned
next_of(unsigned state, unsigned event, unsigned rules)
{
	return session_permitted((enum session_state)state,
		(enum session_event)event, rules);
}

/* All that the row has, whatever the rules. */
static unsigned
row_of(unsigned state, unsigned event)
{
	const struct session_transition *t = session_transition(
		(enum session_state)state, (enum session_event)event);

	return t == NULL ? 0 : t->next;
}

/* States reachable from a set of states, without passing through `avoid`. */
static unsigned
reachable(unsigned from, unsigned avoid, unsigned rules)
{
	unsigned seen = from & ~avoid, before;

	do {
		before = seen;
		for (unsigned s = 0; s < STATES; s++)
			for (unsigned e = 0; seen & 1U << s && e < EVENTS; e++)
				seen |= next_of(s, e, rules) & ~avoid;
	} while (seen != before);
	return seen;
}

static void
test_rows(void **state)
{
	(void)state;
	for (unsigned s = 0; s < STATES; s++) {
		bool live = !(not_live & 1U << s);

		assert_non_null(session_state_row((enum session_state)s)->name);
		for (unsigned e = 0; e < EVENTS; e++) {
			unsigned next = row_of(s, e);

			assert_int_equal(next & ~all_states, 0);
			assert_int_equal(next & BIT(NEW), 0);
			/* a rule never takes all of a row away */
			for (size_t r = 0; r < RULE_SETS; r++) {
				unsigned some = next_of(s, e, rule_sets[r]);

				assert_int_equal(some & ~next, 0);
				assert_int_equal(some != 0, next != 0);
			}
		}
		assert_int_equal(live, next_of(s, SESSION_EV_TIMEOUT, 0) != 0);
		assert_int_equal(live, next_of(s, SESSION_EV_LOST, 0) != 0);
		assert_int_equal(s != SESSION_CLOSED,
			next_of(s, SESSION_EV_STOP, 0) != 0);
		assert_int_equal(live, session_state_row(
			(enum session_state)s)->timeout_ms != NULL);
	}
	for (unsigned e = 0; e < EVENTS; e++) {
		assert_non_null(session_event_name((enum session_event)e));
		assert_int_equal(row_of(SESSION_CLOSED, e), 0);
	}
}

/* Where replies are read, a bad one and a 421 have a row; elsewhere none. */
static void
test_replies(void **state)
{
	(void)state;
	for (unsigned s = 0; s < STATES; s++) {
		bool reads = s != SESSION_HANDSHAKE && (session_state_row(
			(enum session_state)s)->wants & SESSION_WANTS_READ);

		assert_int_equal(reads, next_of(s, SESSION_EV_BAD, 0) != 0);
		assert_int_equal(reads, next_of(s, SESSION_EV_421, 0) != 0);
	}
}

static void
test_reach(void **state)
{
	(void)state;
	assert_int_equal(reachable(BIT(NEW), 0, 0),
		all_states & ~(unsigned)BIT(AUTH));
	assert_int_equal(reachable(BIT(NEW), 0, WITH_AUTH),
		all_states & ~(unsigned)BIT(HELO));
	assert_int_equal(reachable(BIT(NEW), 0, SMTPS | WITH_AUTH),
		all_states & ~(unsigned)(BIT(HELO) | BIT(EHLO) |
		BIT(STARTTLS)));
	for (size_t r = 0; r < RULE_SETS; r++)
		for (unsigned s = 0; s < STATES; s++)
			assert_true(reachable(1U << s, 0, rule_sets[r]) &
				BIT(CLOSED));
	/* one way into a transaction */
	for (unsigned s = 0; s < STATES; s++)
		for (unsigned e = 0; e < EVENTS; e++)
			if (row_of(s, e) & BIT(ENVELOPE))
				assert_true(s == SESSION_READY ||
					s == SESSION_ENVELOPE);
	/* a failed handshake leads nowhere but to the end */
	assert_int_equal(next_of(SESSION_HANDSHAKE, SESSION_EV_TLS_FAIL, 0),
		BIT(CLOSED));
}

/* The promise: no transaction without TLS where it is demanded. */
static void
test_strict(void **state)
{
	unsigned without = reachable(BIT(NEW), BIT(HANDSHAKE), TLS);

	(void)state;
	assert_true(reachable(BIT(NEW), BIT(HANDSHAKE), 0) & BIT(READY));
	assert_int_equal(without & (BIT(READY) | BIT(ENVELOPE) | BIT(DATA) |
		BIT(BODY) | BIT(EOM) | BIT(HELO) | BIT(EHLO_TLS)), 0);
	/* and exactly four edges make the difference, besides those of a
	 * STARTTLS that comes late */
	for (unsigned s = 0, edges = 0; s < STATES; s++) {
		for (unsigned e = 0; e < EVENTS; e++)
			edges += (next_of(s, e, 0) & ~BIT(STARTTLS)) !=
				(next_of(s, e, TLS) & ~BIT(STARTTLS));
		if (s == STATES - 1)
			assert_int_equal(edges, 4);
	}
}

/* The promise of smtps: not even a greeting is read, nor QUIT said, without
 * TLS. */
static void
test_tls_first(void **state)
{
	(void)state;
	assert_int_equal(reachable(BIT(NEW), BIT(HANDSHAKE), SMTPS),
		BIT(NEW) | BIT(CONNECT) | BIT(CLOSED));
	assert_int_equal(next_of(SESSION_CONNECT, SESSION_EV_UP, SMTPS),
		BIT(HANDSHAKE) | BIT(CLOSED));
	assert_int_equal(next_of(SESSION_CONNECT, SESSION_EV_UP, TLS),
		BIT(BANNER));
	assert_int_equal(next_of(SESSION_BANNER, SESSION_EV_2XX, SMTPS),
		BIT(EHLO_TLS));
	assert_int_equal(next_of(SESSION_HANDSHAKE, SESSION_EV_TLS_UP, 0),
		BIT(EHLO_TLS));
}

/* The promise of AUTH: never without TLS, and no transaction without AUTH. */
static void
test_auth(void **state)
{
	(void)state;
	for (size_t r = 0; r < RULE_SETS; r++) {
		if (!(rule_sets[r] & SESSION_RULE_AUTH))
			continue;
		assert_int_equal(reachable(BIT(NEW), BIT(AUTH), rule_sets[r]) &
			(BIT(READY) | BIT(ENVELOPE) | BIT(BODY)), 0);
		assert_int_equal(reachable(BIT(NEW), BIT(HANDSHAKE),
			rule_sets[r]) & BIT(AUTH), 0);
	}
	for (unsigned s = 0; s < STATES; s++)
		for (unsigned e = 0; e < EVENTS; e++)
			if (row_of(s, e) & BIT(AUTH))
				assert_true(s == SESSION_EHLO_TLS ||
					s == SESSION_AUTH);
}

static void
test_timeouts(void **state)
{
	const struct conf_timeout t = { .block_ms = 180000 };

	(void)state;
	assert_int_equal(session_body_limit_ms(&t, 0), 180000);
	assert_int_equal(session_body_limit_ms(&t, 50000000), 50180000);
	assert_true(session_body_limit_ms(&t, UINT64_MAX) > 0);
}

/* ---- the engine on every pair ---- */

struct walk {
	struct session_env env;
	struct conf conf;
	struct session *s;
	struct session_rcpt rcpt;
	struct session_txn txn;
	unsigned done, closed;
};

static void
on_ready(struct session *s, void *arg)
{
	(void)s;
	(void)arg;
}

static void
on_done(struct session *s, struct session_txn *txn, void *arg)
{
	struct walk *w = arg;

	(void)s;
	assert_ptr_equal(txn, &w->txn);
	w->done++;
}

static void
on_closed(struct session *s, const struct outcome *why, bool tls_failed,
	void *arg)
{
	struct walk *w = arg;

	(void)s;
	(void)tls_failed;
	assert_int_not_equal(why->verdict, VERDICT_NONE);
	w->closed++;
}

static const char *const replies[EVENTS] = {
	[SESSION_EV_2XX] = "250 ok\r\n",
	[SESSION_EV_3XX] = "354 go\r\n",
	[SESSION_EV_4XX] = "450 later\r\n",
	[SESSION_EV_5XX] = "550 never\r\n",
	[SESSION_EV_421] = "421 closing\r\n",
};

/* A session in the state, as if it had come there: in a transaction from READY
 * on, with the command of the state in flight. */
static void
put_in_state(struct walk *w, unsigned state, unsigned event)
{
	static const enum smtp_verb verbs[STATES] = {
		[SESSION_BANNER] = SMTP_VERB_GREETING,
		[SESSION_EHLO] = SMTP_VERB_EHLO,
		[SESSION_HELO] = SMTP_VERB_HELO,
		[SESSION_STARTTLS] = SMTP_VERB_STARTTLS,
		[SESSION_EHLO_TLS] = SMTP_VERB_EHLO,
		[SESSION_AUTH] = SMTP_VERB_AUTH,
		[SESSION_ENVELOPE] = SMTP_VERB_RCPT,
		[SESSION_DATA] = SMTP_VERB_DATA,
		[SESSION_BODY] = SMTP_VERB_BDAT,
		[SESSION_EOM] = SMTP_VERB_EOM,
		[SESSION_RESET] = SMTP_VERB_RSET,
		[SESSION_QUIT] = SMTP_VERB_QUIT,
	};
	const char *reply = replies[event];
	size_t used;

	w->s->state = (enum session_state)state;
	w->s->sent.verb = verbs[state];
	w->s->fault = "test";
	if (state >= SESSION_READY && state <= SESSION_EOM) {
		w->s->txn = &w->txn;
		w->s->open_count = 1;
		w->s->rcpt_next = 1;
		w->s->data.body = w->txn.body;
		w->s->data.form = SMTP_DATA_CHUNK;
	}
	if (reply != NULL)
		assert_int_equal(smtp_reply_feed(&w->s->reply,
			(const uint8_t *)reply, strlen(reply), &used), ST_OK);
}

static void
walk_one(struct walk *w, unsigned state, unsigned event, unsigned rules)
{
	const struct session_callbacks cb = { on_ready, on_done, on_closed };
	struct session_addr addr = { .len = sizeof(struct sockaddr_in) };
	static char no_file[] = "/nonexistent/auth";
	struct demand demand = { .level = DEMAND_MAY };
	struct session_target target = { .host = "mx.example",
		.addrs = &addr, .addr_count = 1, .demand = &demand };
	bool reply = event >= SESSION_EV_2XX && event <= SESSION_EV_5XX;
	unsigned next = next_of(state, event, rules);

	addr.addr.ss_family = AF_INET;
	demand.level = rules & TLS ? DEMAND_ENCRYPT : DEMAND_MAY;
	demand.auth_file = rules & SESSION_RULE_AUTH ? no_file : NULL;
	demand.tls_first = (rules & SESSION_RULE_TLS_FIRST) != 0;
	memset(&w->rcpt.outcome, 0, sizeof(w->rcpt.outcome));
	w->done = w->closed = 0;
	w->s = session_start(&w->env, &target, &cb, w);
	put_in_state(w, state, event);
	w->s->info.tls_active = demand.tls_first;
	if (state == SESSION_CONNECT && event == SESSION_EV_UP &&
	    demand.tls_first)
		goto out;	/* these need a socket: test_session_smtps */
	if (state == SESSION_STARTTLS && event == SESSION_EV_2XX)
		goto out;
	if (state == SESSION_HANDSHAKE && event == SESSION_EV_TLS_UP)
		goto out;
	session_engine(w->s, (enum session_event)event);
	if (state == SESSION_CLOSED)
		next = BIT(CLOSED);
	else if (next == 0 && reply)
		next = next_of(state, SESSION_EV_BAD, rules);
	if (next == 0)
		next = BIT(CLOSED);
	assert_true(next & SESSION_BIT(w->s->state));
	if (w->s->state == SESSION_CLOSED && state != SESSION_CLOSED)
		assert_int_equal(w->s->due & SESSION_DUE_CLOSED,
			SESSION_DUE_CLOSED);
	/* an end of any kind leaves nobody without an answer, and only a 250
	 * to the end of the message delivers it */
	if (w->s->due & SESSION_DUE_DONE)
		assert_int_not_equal(w->rcpt.outcome.verdict, VERDICT_NONE);
	if (w->s->txn != NULL && BIT(CLOSED) & SESSION_BIT(w->s->state))
		assert_true(w->s->due & SESSION_DUE_DONE);
	if (state != SESSION_EOM || event != SESSION_EV_2XX)
		assert_int_not_equal(w->rcpt.outcome.verdict, VERDICT_DONE);
out:
	session_abort(w->s);
	session_free(&w->s);
}

static void
test_walk(void **state)
{
	static char hostname[] = "client.example";
	struct walk w = { .conf = { .hostname = hostname } };
	int err = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY);

	(void)state;
	/* every pair without a row is logged as the bug that it would be */
	assert_int_equal(dup2(null, STDERR_FILENO), STDERR_FILENO);
	w.env.base = event_base_new();
	w.env.conf = &w.conf;
	w.rcpt.address = "r@mx.example";
	w.txn.sender = "";
	w.txn.rcpts = &w.rcpt;
	w.txn.rcpt_count = 1;
	w.txn.body.data = (const uint8_t *)"x\r\n";
	w.txn.body.size_bytes = 3;
	for (unsigned s = 0; s < STATES; s++)
		for (unsigned e = 0; e < EVENTS; e++)
			for (size_t r = 0; r < RULE_SETS; r++)
				walk_one(&w, s, e, rule_sets[r]);
	event_base_free(w.env.base);
	(void)dup2(err, STDERR_FILENO);
	(void)close(err);
	(void)close(null);
}

/* A body that trickles for ever meets the limit of the whole. */
static void
test_body_limit(void **state)
{
	struct walk w = { .conf.timeout.block_ms = 100000 };
	const struct session_callbacks cb = { on_ready, on_done, on_closed };
	struct session_addr addr = { .len = sizeof(struct sockaddr_in) };
	const struct demand demand = { .level = DEMAND_MAY };
	const struct session_target target = { .host = "mx.example",
		.addrs = &addr, .addr_count = 1, .demand = &demand };

	(void)state;
	w.env.base = event_base_new();
	w.env.conf = &w.conf;
	w.s = session_start(&w.env, &target, &cb, &w);
	w.s->state = SESSION_BODY;
	w.s->body_end_ms = clock_mono_ms() - 1;
	session_arm(w.s);
	while (w.s->state == SESSION_BODY)
		assert_int_equal(event_base_loop(w.env.base, EVLOOP_ONCE), 0);
	assert_int_equal(w.s->state, SESSION_CLOSED);
	assert_int_equal(w.closed, 1);
	session_free(&w.s);
	event_base_free(w.env.base);
}

/* ---- ARCHITECTURE.md ---- */

#define BEGIN_MARK "<!-- generated: SMTP client states -->\n"
#define END_MARK "<!-- end -->\n"

static char *
read_architecture(void)
{
	const char *dir = getenv("top_srcdir");
	char *path = xasprintf("%s/ARCHITECTURE.md", dir != NULL ? dir : ".");
	FILE *f = fopen(path, "r");
	char *text = xcalloc(1, 1 << 20);

	if (f == NULL)
		fail_msg("%s: cannot be opened", path);
	else {
		(void)!fread(text, 1, (1 << 20) - 1, f);
		(void)fclose(f);
	}
	mem_free(&path);
	return text;
}

static void
test_architecture(void **state)
{
	char *text = read_architecture();
	char *begin = strstr(text, BEGIN_MARK), *end;
	struct buf b;

	(void)state;
	buf_init(&b, 65536);
	assert_int_equal(session_table_markdown(&b), ST_OK);
	assert_int_equal(buf_put(&b, "", 1), ST_OK);
	assert_non_null(begin);
	begin += strlen(BEGIN_MARK);
	end = strstr(begin, END_MARK);
	assert_non_null(end);
	*end = '\0';
	assert_string_equal(begin, (const char *)buf_data(&b));
	buf_clear(&b);
	mem_free(&text);
}

static int
print_table(void)
{
	struct buf b;

	buf_init(&b, 65536);
	if (session_table_markdown(&b) != ST_OK)
		return 1;
	(void)fwrite(buf_data(&b), 1, b.len, stdout);
	buf_clear(&b);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_replies),
		cmocka_unit_test(test_reach),
		cmocka_unit_test(test_strict),
		cmocka_unit_test(test_tls_first),
		cmocka_unit_test(test_auth),
		cmocka_unit_test(test_timeouts),
		cmocka_unit_test(test_walk),
		cmocka_unit_test(test_body_limit),
		cmocka_unit_test(test_architecture),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	if (getenv("SESSION_TABLE_PRINT") != NULL)
		return print_table();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
