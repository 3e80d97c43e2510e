/*
 * Sessions without a network.
 */
#include "config.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "tests/unit/session_fake.h"

#define HOSTS_MAX 64

enum stage { FAKE_NEW, FAKE_READY, FAKE_SENT, FAKE_AFTER, FAKE_CLOSED };

struct session {
	TAILQ_ENTRY(session) link;
	struct session_info info;
	enum fake_host how;
	enum demand_level level;
	enum demand_why why;
	enum demand_watch watch;
	unsigned kind;			/* of all messages sent on it */
	enum stage stage;
	bool no_starttls, full_handshake, quitting, held;
	unsigned txns;
	struct session_txn *txn;
	const struct session_callbacks *cb;
	void *arg;
	struct event *ev;
};

static struct {
	const char *name;
	enum fake_host how;
} hosts[HOSTS_MAX];
static size_t host_count;
static struct fake_counts counts;
static TAILQ_HEAD(, session) all = TAILQ_HEAD_INITIALIZER(all);
static uint32_t seed;
static fake_send_cb *watcher;

static uint32_t
next_random(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed >> 8;
}

void
fake_sessions_seed(uint32_t value)
{
	seed = value;
}

void
fake_sessions_init(void)
{
	host_count = 0;
	memset(&counts, 0, sizeof(counts));
	watcher = NULL;
}

void
fake_sessions_watch(fake_send_cb *cb)
{
	watcher = cb;
}

void
fake_sessions_clear(void)
{
	assert_true(TAILQ_EMPTY(&all));
	assert_int_equal(counts.alive, 0);
}

void
fake_host_set(const char *host, enum fake_host how)
{
	size_t i = 0;

	while (i < host_count && strcmp(hosts[i].name, host) != 0)
		i++;
	assert_true(i < HOSTS_MAX);
	hosts[i].name = host;
	hosts[i].how = how;
	if (i == host_count)
		host_count++;
}

const struct fake_counts *
fake_sessions(void)
{
	return &counts;
}

static void
soon(struct session *s)
{
	event_active(s->ev, EV_TIMEOUT, 0);
}

static void
finish_txn(struct session *s)
{
	struct session_txn *txn = s->txn;

	for (size_t i = 0; i < txn->rcpt_count; i++)
		assert_int_not_equal(txn->rcpts[i].outcome.verdict,
			VERDICT_NONE);
	s->txn = NULL;
	s->info.reused = true;
	s->cb->done(s, txn, s->arg);
}

static void
all_rcpts(struct session *s, struct outcome o)
{
	for (size_t i = 0; i < s->txn->rcpt_count; i++)
		s->txn->rcpts[i].outcome = o;
}

static void
close_session(struct session *s, struct outcome why, bool tls_failed)
{
	assert_null(s->txn);
	s->stage = FAKE_CLOSED;
	s->cb->closed(s, &why, tls_failed, s->arg);
}

/* Lost with a transaction under way: done() with that, then closed(). */
static void
die(struct session *s, struct outcome why)
{
	if (s->txn != NULL) {
		all_rcpts(s, why);
		finish_txn(s);
	}
	close_session(s, why, false);
}

static struct outcome
bye(void)
{
	return outcome_reply(SCOPE_HOST, STAGE_EOM, 221, NULL, "bye");
}

static void
no_starttls(struct session *s, bool refused)
{
	s->info.starttls_refused = refused;
	s->no_starttls = true;
	if (s->level > DEMAND_MAY)
		close_session(s, outcome_tls_required(s->info.host, refused ?
			"454" : "not offered"), false);
}

static void
on_new(struct session *s)
{
	switch (s->how) {
	case HOST_REFUSES:
		close_session(s, outcome_connect(s->info.host, "refused"),
			false);
		return;
	case HOST_BANNER_5XX:
		close_session(s, outcome_reply(SCOPE_HOST, STAGE_BANNER, 554,
			NULL, "no"), false);
		return;
	case HOST_TLS_FAILS:
		if (s->no_starttls)
			break;
		close_session(s, outcome_tls_failed(s->info.host,
			TLS_FAILURE_VALIDATION, "alert"), true);
		return;
	case HOST_NO_STARTTLS:
	case HOST_STARTTLS_454:
		no_starttls(s, s->how == HOST_STARTTLS_454);
		if (s->stage == FAKE_CLOSED)
			return;
		break;
	case HOST_BAD_CERT:
		if (s->level >= DEMAND_FINGERPRINT) {
			close_session(s, outcome_tls_failed(s->info.host,
				TLS_FAILURE_NOT_TRUSTED, "self-signed"), true);
			return;
		}
		if (s->watch == DEMAND_WATCH_HOST) {
			s->info.watched = TLS_FAILURE_NOT_TRUSTED;
			(void)str_copy(s->info.watched_text,
				sizeof(s->info.watched_text), "self-signed");
		}
		break;
	case HOST_RESUMES_BADLY:
		if (s->full_handshake || s->no_starttls)
			break;
		s->info.resuming = true;
		close_session(s, outcome_lost(STAGE_BANNER, s->info.host),
			false);
		return;
	case HOST_HANGS:
		return;
	default:
		break;
	}
	s->info.tls_active = !s->no_starttls;
	if (watcher != NULL && s->info.tls_active)
		s->info.proof = (struct demand_proof){ .tls = true,
			.names = s->level == DEMAND_PKIX ? 1 : 0 };
	(void)str_copy(s->info.ip, sizeof(s->info.ip), "192.0.2.1");
	s->stage = FAKE_READY;
	s->cb->ready(s, s->arg);
}

static void
answer_half(struct session *s)
{
	for (size_t i = 0; i < s->txn->rcpt_count; i++) {
		bool odd = strchr(s->txn->rcpts[i].address, '@')[-1] % 2 == 1;

		s->txn->rcpts[i].outcome = outcome_reply(SCOPE_RCPT, odd ?
			STAGE_EOM : STAGE_RCPT, odd ? 250 : 450, NULL, "half");
	}
	finish_txn(s);
}

static void
answer_all(struct session *s, int code)
{
	all_rcpts(s, outcome_reply(SCOPE_RCPT, code == 250 ? STAGE_EOM :
		STAGE_RCPT, code, NULL, "answer"));
	finish_txn(s);
}

static void
on_sent(struct session *s)
{
	s->stage = FAKE_AFTER;
	switch (s->how) {
	case HOST_LATER:
		answer_all(s, 450);
		break;
	case HOST_NEVER:
		answer_all(s, 550);
		break;
	case HOST_LACKS:
		all_rcpts(s, outcome_feature(s->info.host, s->kind ==
			ENVELOPE_REQUIRETLS ? "REQUIRETLS" : "SMTPUTF8"));
		finish_txn(s);
		break;
	case HOST_HALF:
		answer_half(s);
		break;
	case HOST_DIES_IN_MAIL:
		die(s, outcome_lost(STAGE_MAIL, s->info.host));
		return;
	case HOST_DIES_WHEN_REUSED:
		if (s->txns > 1) {
			die(s, outcome_lost(STAGE_MAIL, s->info.host));
			return;
		}
		answer_all(s, 250);
		break;
	case HOST_UNSURE:
		die(s, outcome_unsure(s->info.host, "lost"));
		return;
	case HOST_LATER_421:
		answer_all(s, 250);
		break;
	case HOST_HANGS_IN_DATA:
		s->stage = FAKE_SENT;
		s->held = true;
		return;
	default:
		answer_all(s, 250);
		break;
	}
	soon(s);
}

static void
on_after(struct session *s)
{
	if (s->how == HOST_LATER_421) {
		close_session(s, outcome_reply(SCOPE_HOST, STAGE_EOM, 421,
			NULL, "enough"), false);
		return;
	}
	s->stage = FAKE_READY;
	s->cb->ready(s, s->arg);
}

static void
on_step(evutil_socket_t fd, short what, void *arg)
{
	struct session *s = arg;

	(void)fd;
	(void)what;
	if (s->stage == FAKE_CLOSED)
		return;
	/* What is in the middle of a message is not interrupted. */
	if (s->quitting && s->stage != FAKE_SENT) {
		close_session(s, bye(), false);
		return;
	}
	if (s->stage == FAKE_NEW)
		on_new(s);
	else if (s->stage == FAKE_SENT)
		on_sent(s);
	else if (s->stage == FAKE_AFTER)
		on_after(s);
}

void
fake_sessions_release(void)
{
	struct session *s;

	TAILQ_FOREACH(s, &all, link)
		if (s->held) {
			s->held = false;
			s->how = HOST_OK;
			soon(s);
		}
}

/* ---- the interface ---- */

struct session *
session_start(const struct session_env *env,
	const struct session_target *target,
	const struct session_callbacks *cb, void *arg)
{
	struct session *s = xcalloc(1, sizeof(*s));

	assert_true(target->addr_count > 0);
	assert_non_null(target->demand);
	assert_true(!target->no_starttls ||
		target->demand->level <= DEMAND_MAY);
	(void)str_copy(s->info.host, sizeof(s->info.host), target->host);
	for (size_t i = 0; i < host_count; i++)
		if (strcmp(hosts[i].name, target->host) == 0)
			s->how = hosts[i].how;
	if (s->how == HOST_RANDOM)
		s->how = (enum fake_host)(next_random() % HOST_HANGS);
	s->no_starttls = target->no_starttls;
	s->full_handshake = target->full_handshake;
	s->level = target->demand->level;
	s->why = target->demand->why;
	s->watch = target->demand->watch;
	if (s->why == WHY_STS) {
		assert_int_equal(s->level, DEMAND_PKIX);
		assert_int_equal(target->demand->name_count, 1);
		assert_string_equal(target->demand->names[0], target->host);
	}
	s->cb = cb;
	s->arg = arg;
	s->ev = event_new(env->base, -1, 0, on_step, s);
	TAILQ_INSERT_TAIL(&all, s, link);
	counts.started++;
	counts.clear_starts += target->no_starttls;
	if (++counts.alive > counts.most_alive)
		counts.most_alive = counts.alive;
	soon(s);
	return s;
}

bool
session_is_ready(const struct session *s)
{
	return s->stage == FAKE_READY && s->txn == NULL && !s->quitting;
}

static unsigned
demand_kind(const struct session_txn *txn)
{
	return txn->flags & (ENVELOPE_REQUIRETLS | ENVELOPE_TLS_OPTIONAL);
}

void
session_send(struct session *s, struct session_txn *txn)
{
	assert_int_equal(s->stage, FAKE_READY);
	assert_null(s->txn);
	assert_true(txn->rcpt_count > 0);
	for (size_t i = 0; i < txn->rcpt_count; i++)
		assert_int_equal(txn->rcpts[i].outcome.verdict, VERDICT_NONE);
	/* A session serves messages with one demand alone (RFC 8689). */
	if (s->txns == 0)
		s->kind = demand_kind(txn);
	assert_int_equal(s->kind, demand_kind(txn));
	if (s->kind == ENVELOPE_REQUIRETLS)
		assert_true(s->info.tls_active && s->level >=
			DEMAND_FINGERPRINT);
	if (watcher != NULL)
		watcher(&s->info, s->level, s->why, txn);
	counts.clear_txns += !s->info.tls_active;
	counts.sts_txns += s->why == WHY_STS;
	if (txn->rcpt_count > counts.most_rcpts)
		counts.most_rcpts = txn->rcpt_count;
	counts.txns++;
	s->txns++;
	s->txn = txn;
	s->stage = FAKE_SENT;
	soon(s);
}

void
session_quit(struct session *s)
{
	s->quitting = true;
	if (!s->held)
		soon(s);
}

void
session_abort(struct session *s)
{
	s->stage = FAKE_CLOSED;
}

void
session_free(struct session **sp)
{
	struct session *s = *sp;

	if (s == NULL)
		return;
	assert_int_equal(s->stage, FAKE_CLOSED);
	TAILQ_REMOVE(&all, s, link);
	counts.alive--;
	event_free(s->ev);
	mem_free(sp);
}

const struct session_info *
session_info(const struct session *s)
{
	return &s->info;
}
