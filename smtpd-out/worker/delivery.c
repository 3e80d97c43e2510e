/*
 * One job: from host to host until every recipient has a result.
 */
#include "config.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "smtpd-out/worker/delivery_int.h"
#include "smtpd-out/worker/host_memory.h"

#define TURNED_AWAY_MAX 4	/* while others are served */

static void next_host(struct delivery *);

/* ---- the end of a job ---- */

void
delivery_free(struct delivery **dp)
{
	struct delivery *d = *dp;

	host_policy_cancel(&d->policy);
	pool_leave(d);
	delivery_sts_clear(d);
	route_cancel(&d->lookup);
	route_free(&d->route);
	free(d->txn_index);
	free(d->txn_rcpts);
	free(d->rcpts);
	if (d->body_fd >= 0)
		(void)close(d->body_fd);
	free(d->body);
	msg_job_clear(&d->job);
	mem_free(dp);
}

/* Why, when the attempt came no further than to connections. */
static const struct outcome *
reached_nobody(const struct delivery *d)
{
	for (size_t i = 0; i < d->job.env->rcpt_count; i++) {
		const struct outcome *o = &d->rcpts[i].outcome;

		if (o->verdict != VERDICT_LATER ||
		    (o->stage != STAGE_CONNECT && o->stage != STAGE_BANNER))
			return NULL;
	}
	return &d->rcpts[0].outcome;
}

/* The attempt is over.  When stopping, recipients without an answer stay with
 * the parent, which still has the job. */
static void
finish(struct delivery *d)
{
	struct dest *dest = d->dest;
	const struct outcome *nobody = reached_nobody(d);

	for (size_t i = 0; i < d->job.env->rcpt_count; i++)
		if (d->rcpts[i].outcome.verdict == VERDICT_NONE) {
			d->rcpts[i].outcome =
				outcome_local("attempt ended early");
			if (dest->all->stopping)
				goto drop;
		}
	delivery_report(d, true);
	if (nobody != NULL)
		dest_unreachable(dest, nobody);
drop:
	TAILQ_REMOVE(&dest->jobs, d, link);
	dest->running--;
	dest->all->jobs--;
	delivery_free(&d);
}

/* ---- transactions ---- */

static void
send_open(struct link *l)
{
	struct delivery *d = l->job;
	const struct envelope *env = d->job.env;
	size_t max, n = 0;

	dest_limits(d->dest);
	max = d->dest->bounds.recipients;
	for (size_t i = 0; i < env->rcpt_count && n < max; i++) {
		if (d->rcpts[i].state != RCPT_OPEN)
			continue;
		d->txn_index[n] = i;
		d->txn_rcpts[n++] = (struct session_rcpt){
			.address = env->rcpts[i].address,
			.orcpt = env->rcpts[i].orcpt,
			.notify = env->rcpts[i].notify,
		};
	}
	d->txn = (struct session_txn){
		.sender = env->sender,
		.envid = env->envid,
		.ret = env->ret,
		.flags = env->flags,
		.body = { .data = d->body, .fd = d->body_fd,
			.size_bytes = env->size_bytes },
		.rcpts = d->txn_rcpts,
		.rcpt_count = n,
	};
	l->messages++;
	session_send(l->session, &d->txn);
}

static struct outcome_source
source_of(const struct link *l)
{
	return (struct outcome_source){ .info = session_info(l->session),
		.level = l->demand->level, .why = l->demand->why };
}

/* An open session died, or was about to close, before our job got anywhere, or
 * a TLS session could not be resumed: not the job's fault. */
static bool
stale(const struct link *l, const struct outcome *why)
{
	if (session_info(l->session)->resuming)
		return true;
	return l->reused && why->verdict == VERDICT_LATER &&
		why->stage <= STAGE_MAIL && (!why->remote || why->code == 421);
}

/* True when some recipients stay open for a session of their own. */
static bool
take_outcomes(struct link *l, const struct session_txn *txn)
{
	const struct outcome_source from = source_of(l);
	struct delivery *d = l->job;
	bool again = false;

	for (size_t n = 0; n < txn->rcpt_count; n++) {
		struct rcpt *r = &d->rcpts[d->txn_index[n]];

		if (stale(l, &txn->rcpts[n].outcome)) {
			again = true;
			continue;
		}
		delivery_note(d, from.info->host, &txn->rcpts[n].outcome);
		delivery_take(r, &txn->rcpts[n].outcome, &from);
		r->dsn_relayed = txn->rcpts[n].dsn_relayed;
	}
	return again;
}

/* ---- sessions ---- */

static void
on_idle(evutil_socket_t fd, short what, void *arg)
{
	struct link *l = arg;

	(void)fd;
	(void)what;
	if (l->is_idle)
		link_quit(l);
}

static void
wait_idle(struct link *l)
{
	int64_t ms = l->dest->all->env->conf->timeout.idle_ms;
	struct timeval tv = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	(void)event_add(l->idle_ev, &tv);
}

static void
attach(struct link *l, struct delivery *d, bool reused)
{
	l->job = d;
	l->reused = reused;
	(void)event_del(l->idle_ev);
}

/* The job leaves the session: to another host, or it is finished. */
static void
leave(struct link *l)
{
	struct delivery *d = l->job;

	l->job = NULL;
	if (delivery_reopen(d) == 0 || d->dest->all->stopping) {
		finish(d);
	} else if (d->route == NULL) {
		/* It came to an open session: that host has answered. */
		(void)str_copy(d->answered, sizeof(d->answered),
			session_info(l->session)->host);
		delivery_start(d);
	} else {
		next_host(d);
	}
}

/* As if the job had never met this session. */
static void
start_over(struct link *l)
{
	struct delivery *d = l->job;

	l->job = NULL;
	d->stale++;
	/* At most once: the next handshake is a full one. */
	d->sessions -= session_info(l->session)->resuming;
	(void)delivery_reopen(d);
	if (d->dest->all->stopping) {
		finish(d);
	} else if (d->route == NULL) {
		delivery_start(d);
	} else {
		d->host = l->host;
		next_host(d);
	}
}

/* What an open session does next. */
static void
take_next(struct link *l)
{
	struct dest *dest = l->dest;
	struct delivery *next = NULL;

	if (dest->all->stopping || link_is_spent(l)) {
		link_quit(l);
		dest_pump(dest);
		return;
	}
	/* Who waits for the host has waited longer. */
	next = pool_take_waiter(l);
	if (next != NULL) {
		pool_adopt(l, next);
		dest_pump(dest);
		return;
	}
	if (link_is_fresh(l) && !TAILQ_EMPTY(&dest->waiting) &&
	    pool_may_go(l->at))
		next = dest_take_waiting(dest, &l->message);
	if (next != NULL) {
		delivery_attach(l, next);
		return;
	}
	pool_idle(l);
	wait_idle(l);
	/* Jobs of another kind need a session of their own. */
	dest_pump(dest);
}

static void
on_session_ready(struct session *session, void *arg)
{
	struct link *l = arg;

	host_memory_ready(l->dest->all->env->memory,
		session_info(session)->host, l->made,
		session_info(session)->tls_active);
	link_note(l, NULL);
	pool_ready(l);
	if (l->job == NULL)
		take_next(l);
	else if (l->dest->all->stopping)
		session_quit(session);
	else
		send_open(l);
}

static void
on_session_done(struct session *session, struct session_txn *txn, void *arg)
{
	struct link *l = arg;

	bool again = take_outcomes(l, txn);

	(void)session;
	delivery_report(l->job, false);
	/* More recipients than one transaction takes: ready() goes on. */
	if (again)
		start_over(l);
	else if (delivery_count_open(l->job) == 0)
		leave(l);
}

/* Why the job's open recipients got no answer here.  An orderly end while we
 * stop says nothing of them: verdict NONE, they stay with the parent. */
static struct outcome
closed_outcome(const struct link *l, const struct outcome *why)
{
	struct outcome none = { .verdict = VERDICT_NONE };

	/* Who does not speak of STARTTLS cannot do REQUIRETLS, today or
	 * tomorrow.  Where DANE or MTA-STS say that there is TLS, somebody may
	 * have stripped it: that is tried again. */
	if (l->message == POLICY_MESSAGE_REQUIRE &&
	    why->tls_failure == TLS_FAILURE_STARTTLS &&
	    !session_info(l->session)->starttls_refused &&
	    l->demand->level != DEMAND_DANE && !sts_view_enforces(l->sts))
		return outcome_require_tls(session_info(l->session)->host,
			why->text);
	if (why->verdict != VERDICT_DONE)
		return *why;
	return l->dest->all->stopping ? none : outcome_local("session ended");
}

/* No more sessions than there are: then it waits for one of these. */
static bool
turned_away(const struct link *l, const struct outcome *why)
{
	return !l->was_ready && l->at->links > 0 && l->job->route != NULL &&
		why->verdict == VERDICT_LATER &&
		(why->stage == STAGE_CONNECT || why->stage == STAGE_BANNER) &&
		l->job->turned_away < TURNED_AWAY_MAX;
}

static void
try_again_there(struct link *l)
{
	struct delivery *d = l->job;

	l->job = NULL;
	d->turned_away++;
	d->host = l->host;
	next_host(d);
}

static void
job_lost_session(struct link *l, const struct outcome *why, bool tls_failed)
{
	const struct outcome_source from = source_of(l);
	struct delivery *d = l->job;
	struct outcome o = closed_outcome(l, why);

	if (stale(l, why)) {
		start_over(l);
		return;
	}
	if (!d->dest->all->stopping && turned_away(l, why)) {
		try_again_there(l);
		return;
	}
	if (o.verdict != VERDICT_NONE)
		delivery_settle_open(d, &o, &from);
	delivery_sts_blame(d, l->host, l->demand->why, why);
	/* No policy demands TLS: the same host again, in the clear, on a new
	 * connection (RFC 7435), and never without saying so. */
	if (tls_failed && l->demand->level == DEMAND_MAY && d->route != NULL) {
		log_warn("clear-text-fallback", "destination", l->dest->name,
			"mx", session_info(l->session)->host, "reason",
			why->text, NULL);
		d->host = l->host;
		d->clear_next = true;
	}
	leave(l);
}

static void
on_session_closed(struct session *session, const struct outcome *why,
	bool tls_failed, void *arg)
{
	struct link *l = arg;
	struct dest *dest = l->dest;

	(void)event_del(l->idle_ev);
	if (!session_info(session)->resuming)
		host_memory_closed(dest->all->env->memory,
			session_info(session)->host, l->made, why);
	link_note(l, why);
	pool_closed(l, why);
	link_ended(l);
	if (l->job != NULL)
		job_lost_session(l, why, tls_failed);
	dest_pump(dest);
}

static const struct session_callbacks session_cbs = {
	.ready = on_session_ready,
	.done = on_session_done,
	.closed = on_session_closed,
};

void
delivery_connect(struct delivery *d)
{
	struct host_policy_result *need = d->need;
	const struct route_host *h = &d->route->hosts[d->policy_host];
	struct dest *dest = d->dest;
	struct link *l = xcalloc(1, sizeof(*l));
	struct session_target target = {
		.host = h->name,
		.addrs = h->addrs,
		.addr_count = h->addr_count,
		.demand = need->demand,
		.no_starttls = d->clear_next && need->demand->level ==
			DEMAND_MAY,
		.full_handshake = d->stale > 0,
	};

	dest_make_room(dest);
	l->fallback = target.no_starttls;
	l->sts = d->sts == NULL ? NULL : sts_view_ref(d->sts);
	d->clear_next = false;
	d->sessions++;
	l->dest = dest;
	l->host = d->policy_host;
	l->job = d;
	l->made = demand_copy(need->demand);
	l->demand = need->demand;
	l->tlsa = need->tlsa;
	need->demand = NULL;
	need->tlsa = NULL;
	l->message = delivery_message(d);
	l->report = delivery_is_report(d);
	l->fresh_until_ms = need->fresh_until_ms;
	l->idle_ev = event_new(dest->all->env->base, -1, 0, on_idle, l);
	TAILQ_INSERT_TAIL(&dest->links, l, link);
	dest->all->links++;
	pool_opened(l, h->name, d->route->port);
	pool_went(l->at);
	pool_leave(d);
	l->session = session_start(dest->all->env, &target, &session_cbs, l);
}

static void
try_others(struct delivery *d)
{
	if (delivery_reopen(d) == 0)
		finish(d);
	else
		next_host(d);
}

void
delivery_host_down(struct delivery *d, const struct outcome *why)
{
	d->clear_next = false;
	delivery_settle_without(d, why, d->route->hosts[d->policy_host].name,
		WHY_DEFAULT);
	try_others(d);
}

void
delivery_drop(struct delivery *d)
{
	finish(d);
}

/* A host that policy rules out for now. */
static void
skip_host(struct delivery *d, const struct host_policy_result *result)
{
	const char *host = d->route->hosts[d->policy_host].name;

	/* To go on in the clear was meant for this one. */
	d->clear_next = false;
	delivery_sts_blame(d, d->policy_host, result->rule, &result->why);
	if (result->why.tls_failure != TLS_FAILURE_NONE)
		delivery_note_skipped(d, host, result);
	delivery_settle_without(d, &result->why, host, result->rule);
	try_others(d);
}

static void
on_host_policy(struct host_policy_result *result, void *arg)
{
	struct delivery *d = arg;
	struct dest *dest = d->dest;

	d->policy = NULL;
	if (dest->all->stopping) {
		demand_free(&result->demand);
		tlsa_seen_free(&result->tlsa);
		finish(d);
	} else if (result->demand != NULL) {
		host_memory_demand(dest->all->env->memory,
			d->route->hosts[d->policy_host].name, result->demand);
		pool_enter(d, result);
	} else {
		skip_host(d, result);
		tlsa_seen_free(&result->tlsa);
	}
	dest_pump(dest);
}

static void
start_policy(struct delivery *d, size_t host)
{
	const struct deliveries *all = d->dest->all;
	const struct host_policy_query query = {
		.destination = d->dest->name,
		.route = d->route,
		.host = host,
		.message = delivery_message(d),
		.sts = d->sts,
	};

	d->policy_host = host;
	d->policy = host_policy_start(all->env->base, all->resolver,
		all->env->conf, &query, on_host_policy, d);
}

/* The next host that has an address; the attempt ends when there is none. */
static void
next_host(struct delivery *d)
{
	while (d->host < d->route->host_count &&
	    d->sessions < DELIVERY_SESSIONS_MAX) {
		size_t host = d->host++;
		struct route_host *h = &d->route->hosts[host];

		if (strcmp(h->name, d->answered) == 0 || (d->only_hosts != 0 &&
		    (d->only_hosts & 1U << host) == 0))
			continue;
		if (h->addr_count > 0) {
			start_policy(d, host);
			return;
		}
		delivery_note_lost(d, h->name, &h->outcome);
		delivery_settle_without(d, &h->outcome, h->name, WHY_DEFAULT);
		if (delivery_reopen(d) == 0)
			break;
	}
	if (delivery_count_open(d) == 0 || !delivery_sts_recheck(d))
		finish(d);
}

void
delivery_resume(struct delivery *d)
{
	struct dest *dest = d->dest;

	if (dest->all->stopping)
		finish(d);
	else
		next_host(d);
	dest_pump(dest);
}

void
delivery_routed(struct delivery *d)
{
	struct route *route = d->route;
	struct dest *dest = d->dest;
	struct outcome o;

	if (dest->all->stopping) {
		finish(d);
	} else if (route->host_count == 0) {
		o = route_outcome(route, dest->name, d->sts);
		delivery_note_lost(d, route->bogus != NULL ? route->bogus : "",
			&o);
		delivery_settle_without(d, &o, "", o.stage == STAGE_POLICY ?
			WHY_STS : WHY_DEFAULT);
		finish(d);
	} else {
		next_host(d);
	}
	dest_pump(dest);
}

/* Without a host there is nothing to know a policy for, unless mail would go
 * back for it. */
static void
on_route(struct route *route, void *arg)
{
	struct delivery *d = arg;

	d->lookup = NULL;
	d->route = route;
	if (d->sts_lookup == NULL || (route->host_count == 0 &&
	    route->outcome.verdict != VERDICT_NEVER))
		delivery_routed(d);
}

enum policy_message
delivery_message(const struct delivery *d)
{
	return policy_message(d->job.env->flags);
}

bool
delivery_is_report(const struct delivery *d)
{
	return (d->job.env->flags & ENVELOPE_REPORT) != 0;
}

void
delivery_start(struct delivery *d)
{
	struct deliveries *all = d->dest->all;

	d->lookup = route_start(all->env->base, all->resolver, all->env->conf,
		all->local, d->dest->name, on_route, d);
	delivery_sts_start(d);
}

void
delivery_attach(struct link *l, struct delivery *d)
{
	attach(l, d, true);
	pool_went(l->at);
	send_open(l);
}
