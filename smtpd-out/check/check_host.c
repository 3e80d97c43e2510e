/*
 * host_policy and session as delivery uses them, with somebody who looks over
 * their shoulder.  A session ends with QUIT where delivery would begin with
 * MAIL.
 */
#include "config.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "smtpd-out/check/check_host.h"
#include "smtpd-out/client/auth_file.h"
#include "smtpd-out/client/session_watch.h"
#include "smtpd-out/client/tls.h"
#include "smtpd-out/worker/host_memory.h"
#include "smtpd-out/worker/host_policy.h"

struct check_run {
	struct check_env *env;
	struct check_host_query q;
	struct host_policy *policy;
	struct demand *demand;		/* of the sessions */
	struct session *session;
	struct session_watcher watcher;
	enum session_state state;
	int64_t entered_ms;
	struct event *next_ev;		/* a session has ended */
	struct event *limit_ev;		/* the time for this host is over */
	bool again;			/* in clear text */
	check_host_cb *cb;
	void *arg;
};

/* ---- over the shoulder ---- */

static struct check_session *
current(struct check_run *r)
{
	return &r->q.facts->tries[r->q.facts->try_count - 1];
}

static enum check_phase
phase_of(enum session_state state)
{
	switch (state) {
	case SESSION_CONNECT:
		return CHECK_PHASE_CONNECT;
	case SESSION_BANNER:
		return CHECK_PHASE_BANNER;
	case SESSION_EHLO:
	case SESSION_HELO:
		return CHECK_PHASE_EHLO;
	case SESSION_STARTTLS:
		return CHECK_PHASE_STARTTLS;
	case SESSION_HANDSHAKE:
		return CHECK_PHASE_TLS;
	case SESSION_EHLO_TLS:
		return CHECK_PHASE_EHLO_TLS;
	case SESSION_AUTH:
		return CHECK_PHASE_AUTH;
	case SESSION_QUIT:
		return CHECK_PHASE_QUIT;
	default:
		return CHECK_PHASES;
	}
}

static void
on_state(const struct session *session, enum session_state to, void *arg)
{
	struct check_run *r = arg;
	struct check_session *s = current(r);
	enum check_phase phase = phase_of(r->state);
	const struct tls *tls = session_tls(session);
	int64_t now_ms = clock_mono_ms();

	if (phase < CHECK_PHASES)
		s->ms[phase] = (s->ms[phase] > 0 ? s->ms[phase] : 0) + now_ms -
			r->entered_ms;
	if (r->state == SESSION_HANDSHAKE && tls != NULL && s->cert == NULL)
		s->cert = tls_report(tls, r->q.facts->name);
	if (r->state == SESSION_AUTH && to != SESSION_AUTH)
		r->q.facts->auth = to == SESSION_READY ? CHECK_AUTH_ACCEPTED :
			CHECK_AUTH_REFUSED;
	r->state = to;
	r->entered_ms = now_ms;
}

static void
take_keywords(struct check_session *s, const struct session *session,
	const struct smtp_reply *reply)
{
	bool tls = session_info(session)->tls_active;
	struct check_words *to = tls ? &s->ehlo_tls : &s->ehlo;
	size_t pos = 0, len;
	const char *line = smtp_reply_line(reply, &pos, &len);

	/* The first is its name. */
	while (line != NULL &&
	    (line = smtp_reply_line(reply, &pos, &len)) != NULL) {
		check_words_add(to, line, len);
		if (tls && len == 10 && strncasecmp(line, "REQUIRETLS", 10) ==
		    0)
			s->requiretls = true;
	}
}

static void
on_reply(const struct session *session, enum smtp_verb verb,
	const struct smtp_reply *reply, void *arg)
{
	struct check_run *r = arg;
	struct check_session *s = current(r);
	char text[CHECK_TEXT_MAX];

	if (verb == SMTP_VERB_GREETING) {
		smtp_reply_text(reply, text, sizeof(text));
		str_sanitise(s->banner, sizeof(s->banner), text, strlen(text));
	} else if (verb == SMTP_VERB_EHLO && reply->code / 100 == 2) {
		take_keywords(s, session, reply);
	}
}

/* ---- sessions ---- */

/* Which records speak of the certificate that was seen. */
static void
match_tlsa(struct check_host *h)
{
	const struct cert_report *cert = NULL;

	for (size_t i = 0; i < h->try_count && cert == NULL; i++)
		cert = h->tries[i].cert;
	if (cert == NULL || cert->count == 0)
		return;
	for (size_t i = 0; i < h->tlsa_count; i++)
		for (size_t n = 0; n < h->tlsa[i].count; n++) {
			struct check_tlsa *t = &h->tlsa[i].records[n];

			t->matched = cert_report_match(cert, t->usage,
				t->selector, t->matching, t->data, t->len);
		}
}

static void
finish(struct check_run *r)
{
	check_host_cb *cb = r->cb;
	void *arg = r->arg;

	match_tlsa(r->q.facts);
	check_host_cancel(&r);
	cb(arg);
}

static void
on_ready(struct session *session, void *arg)
{
	struct check_run *r = arg;

	struct check_session *s = current(r);
	enum check_auth auth = r->q.facts->auth;

	s->up = auth == CHECK_AUTH_NONE || auth == CHECK_AUTH_ACCEPTED ||
		session_auth_possible(session, auth != CHECK_AUTH_UNUSABLE,
		&s->why);
	session_quit(session);
}

static void
on_closed(struct session *session, const struct outcome *why, bool tls_failed,
	void *arg)
{
	struct check_run *r = arg;
	struct check_session *s = current(r);

	s->info = *session_info(session);
	if (!s->up && s->why.verdict == VERDICT_NONE)
		s->why = why->verdict == VERDICT_DONE ?
			outcome_local("session ended") : *why;
	r->again = tls_failed && !s->up && !s->clear &&
		r->demand->level == DEMAND_MAY;
	event_active(r->next_ev, EV_TIMEOUT, 0);
}

static void
on_txn(struct session *session, struct session_txn *txn, void *arg)
{
	(void)session;
	(void)txn;
	(void)arg;
}

static const struct session_callbacks callbacks = {
	.ready = on_ready,
	.done = on_txn,			/* there is none */
	.closed = on_closed,
};

static void
start_session(struct check_run *r, bool clear)
{
	const struct route_host *h = &r->q.route->hosts[r->q.host];
	const struct session_target target = {
		.host = h->name,
		.addrs = h->addrs,
		.addr_count = h->addr_count,
		.demand = r->demand,
		.no_starttls = clear,
		.watcher = &r->watcher,
	};
	struct check_session *s = &r->q.facts->tries[r->q.facts->try_count++];

	s->clear = clear;
	for (size_t i = 0; i < CHECK_PHASES; i++)
		s->ms[i] = -1;
	r->state = SESSION_NEW;
	r->entered_ms = clock_mono_ms();
	r->session = session_start(&r->env->session, &target, &callbacks, r);
}

static void
on_next(evutil_socket_t fd, short what, void *arg)
{
	struct check_run *r = arg;

	(void)fd;
	(void)what;
	session_free(&r->session);
	if (r->again && r->q.facts->try_count < CHECK_TRIES) {
		r->again = false;
		start_session(r, true);
	} else {
		finish(r);
	}
}

/* Delivery has more patience than somebody who waits for an answer. */
static void
on_limit(evutil_socket_t fd, short what, void *arg)
{
	struct check_run *r = arg;
	struct check_session *s;

	(void)fd;
	(void)what;
	if (r->session == NULL)
		return;
	s = current(r);
	s->info = *session_info(r->session);
	if (!s->up)
		s->why = outcome_timeout(session_state_row(r->state)->stage,
			r->q.facts->name);
	r->again = false;
	session_abort(r->session);
	event_active(r->next_ev, EV_TIMEOUT, 0);
}

/* ---- policy ---- */

/* Servers turn their sets around. */
static int
by_numbers(const void *a, const void *b)
{
	const struct check_tlsa *x = a, *y = b;
	size_t len = x->len < y->len ? x->len : y->len;

	if (x->usage != y->usage)
		return x->usage - y->usage;
	if (x->selector != y->selector)
		return x->selector - y->selector;
	if (x->matching != y->matching)
		return x->matching - y->matching;
	return memcmp(x->data, y->data, len);
}

static void
on_tlsa(const struct dns_answer *a, void *arg)
{
	struct check_run *r = arg;
	struct check_host *h = r->q.facts;
	struct check_tlsa_set *set;

	if (h->tlsa_count == DANE_BASES_MAX)
		return;
	set = &h->tlsa[h->tlsa_count++];
	memset(set, 0, sizeof(*set));
	(void)str_copy(set->name, sizeof(set->name), a->name);
	check_lookup_take(&set->lookup, a);
	for (size_t i = 0; i < a->count && i < DEMAND_TLSA_MAX; i++) {
		const struct dns_tlsa *from = &a->records[i].u.tlsa;
		struct check_tlsa *to;

		set->records = xrealloc_n(set->records, set->count + 1,
			sizeof(set->records[0]));
		to = &set->records[set->count++];
		*to = (struct check_tlsa){ .usage = from->usage,
			.selector = from->selector, .matching = from->matching,
			.len = from->len, .fault = dane_judge(from),
			.secure = a->security == DNS_SEC_SECURE,
			.matched = CHECK_NOT_SEEN };
		to->data = xmalloc(from->len + 1);
		if (from->len > 0)
			memcpy(to->data, from->data, from->len);
	}
	if (set->count > 0)
		qsort(set->records, set->count, sizeof(set->records[0]),
			by_numbers);
}

/* The file is looked into here, so that what is wrong with it can be told. */
static void
look_at_password(struct check_run *r)
{
	struct check_host *h = r->q.facts;
	struct auth_secret secret;

	if (h->demand->auth_file == NULL)
		return;
	h->auth = auth_file_read(h->demand->auth_file, &secret,
		h->auth_why) == ST_OK ? CHECK_AUTH_LEFT_OUT :
		r->env->as_service ? CHECK_AUTH_UNUSABLE : CHECK_AUTH_HIDDEN;
	auth_secret_wipe(&secret);
}

static void
on_policy(struct host_policy_result *result, void *arg)
{
	struct check_run *r = arg;
	struct check_host *h = r->q.facts;
	int64_t ms = r->env->options.host_ms;
	const struct timeval tv = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	r->policy = NULL;
	tlsa_seen_free(&result->tlsa);
	h->demand = result->demand;
	h->rule = result->rule;
	if (h->demand == NULL) {
		h->skipped = result->why;
		finish(r);
		return;
	}
	host_memory_demand(r->env->session.memory, h->name, h->demand);
	h->rule = h->demand->why;
	look_at_password(r);
	if (!r->env->options.connect) {
		finish(r);
		return;
	}
	/* A password is sent only where somebody wants that. */
	r->demand = demand_copy(h->demand);
	if (!r->env->options.auth || h->auth != CHECK_AUTH_LEFT_OUT)
		mem_free(&r->demand->auth_file);
	(void)event_add(r->limit_ev, &tv);
	start_session(r, false);
}

struct check_run *
check_host_start(struct check_env *env, const struct check_host_query *query,
	check_host_cb *cb, void *arg)
{
	struct check_run *r = xcalloc(1, sizeof(*r));
	const struct host_policy_query policy = {
		.destination = query->domain,
		.route = query->route,
		.host = query->host,
		.message = POLICY_MESSAGE_PLAIN,
		.sts = query->sts,
		.seen = on_tlsa,
	};

	r->env = env;
	r->q = *query;
	r->cb = cb;
	r->arg = arg;
	r->watcher = (struct session_watcher){ on_state, on_reply, r };
	r->next_ev = event_new(env->base, -1, 0, on_next, r);
	r->limit_ev = event_new(env->base, -1, 0, on_limit, r);
	r->policy = host_policy_start(env->base, env->resolver, env->conf,
		&policy, on_policy, r);
	return r;
}

void
check_host_cancel(struct check_run **rp)
{
	struct check_run *r = *rp;

	if (r == NULL)
		return;
	host_policy_cancel(&r->policy);
	if (r->session != NULL)
		session_abort(r->session);
	session_free(&r->session);
	demand_free(&r->demand);
	event_free(r->next_ev);
	event_free(r->limit_ev);
	mem_free(rp);
}
