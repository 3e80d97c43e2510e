/*
 * The owner of a session, as delivery is one: sends when ready, frees after
 * closed, from the loop.  Breaches of the contract of session.h abort.
 */
#include "config.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "smtpd-out/client/tls.h"
#include "tests/lib/client.h"

#define must(fact) do { \
	if (!(fact)) { \
		(void)fprintf(stderr, "client: not so: %s\n", #fact); \
		abort(); \
	} \
} while (0)

static void
on_ready(struct session *s, void *arg)
{
	struct client *c = arg;

	must(!c->in_call && c->closed == 0 && c->done == c->ready);
	must(session_is_ready(s));
	c->in_call = true;
	if (c->txns[c->ready] != NULL)
		session_send(s, c->txns[c->ready]);
	else if (!c->stay)
		session_quit(s);
	c->in_call = false;
	c->ready++;
}

static void
on_done(struct session *s, struct session_txn *txn, void *arg)
{
	struct client *c = arg;

	must(!c->in_call && c->closed == 0);
	must(txn == c->txns[c->done]);
	for (size_t i = 0; i < txn->rcpt_count; i++)
		must(txn->rcpts[i].outcome.verdict != VERDICT_NONE);
	c->info = *session_info(s);
	c->done++;
}

static void
on_closed(struct session *s, const struct outcome *why, bool tls_failed,
	void *arg)
{
	struct client *c = arg;

	c->resuming = session_info(s)->resuming;
	must(!c->in_call && c->closed == 0);
	c->closed++;
	c->why = *why;
	c->tls_failed = tls_failed;
	must(event_base_loopexit(c->base, NULL) == 0);
}

static void
on_quit_time(evutil_socket_t fd, short what, void *arg)
{
	struct client *c = arg;

	(void)fd;
	(void)what;
	c->in_call = true;
	session_quit(c->session);
	c->in_call = false;
}

static void
on_abort_time(evutil_socket_t fd, short what, void *arg)
{
	struct client *c = arg;

	(void)fd;
	(void)what;
	if (c->closed == 0)
		session_abort(c->session);
	(void)event_base_loopexit(c->base, NULL);
}

static void
at(struct event_base *base, int64_t ms, event_callback_fn fn, void *arg)
{
	struct timeval tv = { .tv_sec = (time_t)(ms / 1000),
		.tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	if (ms > 0)
		must(event_base_once(base, -1, EV_TIMEOUT, fn, arg, &tv) == 0);
}

static void
on_too_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	(void)fprintf(stderr, "client: the session is late\n");
	abort();
}

void
client_init(struct client *c)
{
	static char hostname[] = "client.example";
	struct conf_timeout *t = &c->conf.timeout;

	memset(c, 0, sizeof(*c));
	(void)signal(SIGPIPE, SIG_IGN);
	c->conf.hostname = hostname;
	t->connect_ms = t->banner_ms = t->command_ms = t->mail_ms =
		t->rcpt_ms = t->data_ms = t->block_ms = t->data_end_ms =
		t->rset_ms = t->quit_ms = t->tls_ms = t->idle_ms = 10000;
	c->target.host = "mx.example";
	c->target.addrs = c->addrs;
	c->demand.level = DEMAND_MAY;
	c->target.demand = &c->demand;
}

void
client_add_peer(struct client *c, const struct peer *p)
{
	struct session_addr *a = &c->addrs[c->target.addr_count++];

	peer_addr(p, &a->addr, &a->len);
}

void
client_run(struct client *c)
{
	const struct session_callbacks cb = { on_ready, on_done, on_closed };
	struct session_env env = { .conf = &c->conf };
	char err[TLS_ERROR_MAX];

	env.base = c->base = event_base_new();
	env.tls = c->tls != NULL ? c->tls : tls_client_new(&c->conf, err);
	must(env.base != NULL && env.tls != NULL);
	at(c->base, 15000, on_too_late, c);
	at(c->base, c->quit_after_ms, on_quit_time, c);
	at(c->base, c->abort_after_ms, on_abort_time, c);
	c->in_call = true;
	c->session = session_start(&env, &c->target, &cb, c);
	c->in_call = false;
	must(event_base_dispatch(c->base) >= 0);
	session_free(&c->session);
	must(c->session == NULL);
	if (c->tls == NULL)
		tls_client_free(&env.tls);
	event_base_free(c->base);
}
