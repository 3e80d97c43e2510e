/*
 * Jobs, their destinations, and the sessions that carry them.
 *
 * A job waits in its destination until it may run, then takes an idle session
 * of the destination or looks for the route and goes from host to host.  A
 * session that has finished a job takes the next one that waits.
 */
#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/table.h"
#include "smtpd-out/delivery.h"

#define SESSIONS_PER_ATTEMPT 10	/* hosts and fallbacks tried in one attempt */
#define RESULT_PART 100		/* recipients in one RESULT */

enum rcpt_state {
	RCPT_OPEN = 0,		/* to be tried at the present host */
	RCPT_TRIED,		/* this host has answered, another may try */
	RCPT_SETTLED,		/* nothing in this attempt changes it */
	RCPT_REPORTED		/* and the parent knows */
};

struct rcpt {
	enum rcpt_state state;
	bool dsn_relayed;
	struct outcome outcome;
	struct session_info info;	/* of the session that gave outcome */
};

struct delivery {
	TAILQ_ENTRY(delivery) link;	/* dest->waiting */
	struct dest *dest;
	uint64_t job_id;
	struct msg_job job;
	uint8_t *body;			/* own copy of inline bytes */
	int body_fd;
	struct rcpt *rcpts;
	struct route_lookup *lookup;
	struct route *route;
	size_t host;			/* next host of the route */
	bool clear_next;		/* TLS failed there: without it */
	unsigned sessions;		/* started in this attempt */
	struct demand demand;
	struct session_txn txn;
	struct session_rcpt *txn_rcpts;
	size_t *txn_index;		/* of txn_rcpts in rcpts */
};

/* A session and what it works on. */
struct link {
	TAILQ_ENTRY(link) link;		/* dest->links or reap list */
	struct dest *dest;
	struct session *session;
	struct delivery *job;		/* NULL: idle */
	struct event *idle_ev;
	size_t host;			/* in job->route, for the fallback */
	bool reused;			/* job came to an open session */
	bool is_ready;
};

struct dest {
	char name[STR_DOMAIN_MAX];
	struct deliveries *all;
	TAILQ_HEAD(, delivery) waiting;
	TAILQ_HEAD(, link) links;
	size_t running;			/* jobs out of waiting */
};

struct deliveries {
	const struct session_env *env;
	struct resolver *resolver;
	const struct route_local *local;
	struct deliveries_port port;
	struct table *dests;
	TAILQ_HEAD(reap_list, link) reap;
	struct event *reap_ev;
	size_t jobs, links;
	bool stopping;
};

static void start_fresh(struct delivery *);
static void next_host(struct delivery *);
static void pump(struct dest *);

/* ---- outcomes --------------------------------------------------------------- */

bool
delivery_settled(const struct outcome *o)
{
	switch (o->verdict) {
	case VERDICT_DONE:
		return true;
	case VERDICT_NEVER:
		return o->scope != SCOPE_HOST;
	case VERDICT_LATER:
		return o->maybe_duplicate || o->scope == SCOPE_DESTINATION;
	case VERDICT_NONE:
		break;
	}
	return false;
}

struct outcome
delivery_merge(const struct outcome *old, const struct outcome *new)
{
	/* "Later" from any host outweighs "never" that speaks for one host. */
	if (!delivery_settled(new) && old->verdict == VERDICT_LATER &&
	    new->verdict == VERDICT_NEVER)
		return *old;
	return *new;
}

/* ---- results to the parent ---------------------------------------------------- */

static void
fill_result(const struct delivery *d, size_t i, struct msg_rcpt_result *out)
{
	const struct rcpt *r = &d->rcpts[i];

	memset(out, 0, sizeof(*out));
	out->rcpt_id = d->job.env->rcpts[i].id;
	out->dsn_relayed = r->dsn_relayed;
	out->outcome = r->outcome;
	(void)str_copy(out->mx, sizeof(out->mx), r->info.host);
	(void)str_copy(out->ip, sizeof(out->ip), r->info.ip);
	(void)str_copy(out->tls, sizeof(out->tls),
		r->info.tls_active ? "encrypted" : "none");
	(void)str_copy(out->why, sizeof(out->why),
		demand_why_name(d->demand.why));
	(void)str_copy(out->proto, sizeof(out->proto), r->info.proto);
	(void)str_copy(out->cipher, sizeof(out->cipher), r->info.cipher);
}

/* Sends what is settled (with `final`: everything) and not yet reported. */
static void
report(struct delivery *d, bool final)
{
	struct msg_rcpt_result part[RESULT_PART];
	struct msg_result result = { .rcpts = part };
	size_t count = d->job.env->rcpt_count;

	for (size_t i = 0; i < count; i++) {
		struct rcpt *r = &d->rcpts[i];

		if (r->state == RCPT_REPORTED || (!final &&
		    r->outcome.verdict != VERDICT_DONE))
			continue;
		r->state = RCPT_REPORTED;
		fill_result(d, i, &part[result.rcpt_count++]);
		if (result.rcpt_count < RESULT_PART)
			continue;
		d->dest->all->port.result(d->job_id, &result,
			d->dest->all->port.arg);
		result.rcpt_count = 0;
	}
	result.final = final;
	if (final || result.rcpt_count > 0)
		d->dest->all->port.result(d->job_id, &result,
			d->dest->all->port.arg);
}

static void
delivery_free(struct delivery *d)
{
	route_cancel(&d->lookup);
	route_free(&d->route);
	free(d->txn_index);
	free(d->txn_rcpts);
	free(d->rcpts);
	if (d->body_fd >= 0)
		(void)close(d->body_fd);
	free(d->body);
	msg_job_clear(&d->job);
	free(d);
}

static void
check_idle(struct deliveries *all)
{
	if (all->stopping && all->links == 0)
		all->port.idle(all->port.arg);
}

/* The attempt is over.  When stopping, recipients without an answer stay with
 * the parent, which still has the job. */
static void
finish(struct delivery *d)
{
	struct dest *dest = d->dest;

	for (size_t i = 0; i < d->job.env->rcpt_count; i++)
		if (d->rcpts[i].outcome.verdict == VERDICT_NONE) {
			d->rcpts[i].outcome =
				outcome_local("attempt ended early");
			if (dest->all->stopping)
				goto drop;
		}
	report(d, true);
drop:
	dest->running--;
	dest->all->jobs--;
	delivery_free(d);
}

static void
set_all_open(struct delivery *d, const struct outcome *o)
{
	for (size_t i = 0; i < d->job.env->rcpt_count; i++) {
		struct rcpt *r = &d->rcpts[i];

		if (r->state != RCPT_OPEN)
			continue;
		r->outcome = delivery_merge(&r->outcome, o);
		r->state = delivery_settled(o) ? RCPT_SETTLED : RCPT_TRIED;
	}
}

/* Recipients that another host may still help are open again. */
static size_t
reopen(struct delivery *d)
{
	size_t open = 0;

	for (size_t i = 0; i < d->job.env->rcpt_count; i++) {
		if (d->rcpts[i].state == RCPT_TRIED)
			d->rcpts[i].state = RCPT_OPEN;
		open += d->rcpts[i].state == RCPT_OPEN;
	}
	return open;
}

static size_t
count_open(const struct delivery *d)
{
	size_t open = 0;

	for (size_t i = 0; i < d->job.env->rcpt_count; i++)
		open += d->rcpts[i].state == RCPT_OPEN;
	return open;
}

/* ---- transactions ---------------------------------------------------------------- */

static void
send_open(struct link *l)
{
	struct delivery *d = l->job;
	size_t max = d->dest->all->env->conf->limit.session_rcpts, n = 0;
	const struct envelope *env = d->job.env;

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
	l->is_ready = false;
	session_send(l->session, &d->txn);
}

static void
take_outcomes(struct link *l, const struct session_txn *txn)
{
	struct delivery *d = l->job;

	for (size_t n = 0; n < txn->rcpt_count; n++) {
		struct rcpt *r = &d->rcpts[d->txn_index[n]];

		r->outcome = delivery_merge(&r->outcome,
			&txn->rcpts[n].outcome);
		r->dsn_relayed = txn->rcpts[n].dsn_relayed;
		r->info = *session_info(l->session);
		r->state = delivery_settled(&txn->rcpts[n].outcome) ?
			RCPT_SETTLED : RCPT_TRIED;
	}
}

/* ---- sessions ---------------------------------------------------------------------- */

static void
on_idle(evutil_socket_t fd, short what, void *arg)
{
	struct link *l = arg;

	(void)fd;
	(void)what;
	if (l->job == NULL && l->is_ready)
		session_quit(l->session);
	l->is_ready = false;
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
	if (reopen(d) == 0 || d->dest->all->stopping)
		finish(d);
	else if (d->route == NULL)
		start_fresh(d);		/* came to an open session */
	else
		next_host(d);
}

static struct delivery *
take_waiting(struct dest *dest)
{
	struct delivery *d = TAILQ_FIRST(&dest->waiting);

	if (d == NULL || dest->all->stopping)
		return NULL;
	TAILQ_REMOVE(&dest->waiting, d, link);
	dest->running++;
	return d;
}

static void
on_session_ready(struct session *session, void *arg)
{
	struct link *l = arg;
	struct delivery *next;

	l->is_ready = true;
	if (l->dest->all->stopping) {
		l->is_ready = false;
		session_quit(session);
		return;
	}
	if (l->job == NULL) {
		next = take_waiting(l->dest);
		if (next == NULL) {
			wait_idle(l);
			return;
		}
		attach(l, next, true);
	}
	send_open(l);
}

static void
on_session_done(struct session *session, struct session_txn *txn, void *arg)
{
	struct link *l = arg;

	(void)session;
	take_outcomes(l, txn);
	report(l->job, false);
	/* More recipients than one transaction takes: ready() goes on. */
	if (count_open(l->job) == 0)
		leave(l);
}

/* An open session died before our job got anywhere: not the job's fault. */
static bool
stale(const struct link *l, const struct outcome *why)
{
	return l->reused && why->verdict == VERDICT_LATER &&
		!why->remote && why->stage <= STAGE_MAIL;
}

/* Why the job's open recipients got no answer here.  An orderly end while we
 * stop says nothing of them: verdict NONE, they stay with the parent. */
static struct outcome
closed_outcome(const struct link *l, const struct outcome *why)
{
	struct outcome none = { .verdict = VERDICT_NONE };

	if (why->verdict != VERDICT_DONE)
		return *why;
	return l->dest->all->stopping ? none : outcome_local("session ended");
}

static void
job_lost_session(struct link *l, const struct outcome *why, bool tls_failed)
{
	struct delivery *d = l->job;
	struct outcome o = closed_outcome(l, why);

	if (stale(l, why) && !l->dest->all->stopping) {
		l->job = NULL;
		start_fresh(d);
		return;
	}
	for (size_t i = 0; i < d->job.env->rcpt_count; i++)
		if (d->rcpts[i].state == RCPT_OPEN)
			d->rcpts[i].info = *session_info(l->session);
	if (o.verdict != VERDICT_NONE)
		set_all_open(d, &o);
	/* No policy demands TLS: the same host again, in the clear, on a new
	 * connection (RFC 7435), and never without saying so. */
	if (tls_failed && d->demand.level == DEMAND_MAY && d->route != NULL) {
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

	(void)session;
	l->is_ready = false;
	(void)event_del(l->idle_ev);
	TAILQ_REMOVE(&dest->links, l, link);
	TAILQ_INSERT_TAIL(&dest->all->reap, l, link);
	event_active(dest->all->reap_ev, EV_TIMEOUT, 0);
	if (l->job != NULL)
		job_lost_session(l, why, tls_failed);
	pump(dest);
}

static const struct session_callbacks session_cbs = {
	.ready = on_session_ready,
	.done = on_session_done,
	.closed = on_session_closed,
};

static void
start_session(struct delivery *d, size_t host)
{
	const struct route_host *h = &d->route->hosts[host];
	struct dest *dest = d->dest;
	struct link *l = xcalloc(1, sizeof(*l));
	struct session_target target = {
		.host = h->name,
		.addrs = h->addrs,
		.addr_count = h->addr_count,
		.demand = d->demand,
		.no_starttls = d->clear_next,
	};

	d->clear_next = false;
	d->sessions++;
	l->dest = dest;
	l->host = host;
	l->job = d;
	l->idle_ev = event_new(dest->all->env->base, -1, 0, on_idle, l);
	TAILQ_INSERT_TAIL(&dest->links, l, link);
	dest->all->links++;
	l->session = session_start(dest->all->env, &target, &session_cbs, l);
}

/* The next host that has an address; the attempt ends when there is none. */
static void
next_host(struct delivery *d)
{
	while (d->host < d->route->host_count &&
	    d->sessions < SESSIONS_PER_ATTEMPT) {
		size_t host = d->host++;
		struct route_host *h = &d->route->hosts[host];

		if (h->addr_count > 0) {
			start_session(d, host);
			return;
		}
		set_all_open(d, &h->outcome);
		if (reopen(d) == 0)
			break;
	}
	finish(d);
}

static void
on_route(struct route *route, void *arg)
{
	struct delivery *d = arg;
	struct dest *dest = d->dest;

	d->lookup = NULL;
	d->route = route;
	if (route->host_count == 0) {
		set_all_open(d, &route->outcome);
		finish(d);
	} else {
		next_host(d);
	}
	pump(dest);
}

static void
start_fresh(struct delivery *d)
{
	struct deliveries *all = d->dest->all;

	d->lookup = route_start(all->env->base, all->resolver, all->env->conf,
		all->local, d->dest->name, on_route, d);
}

/* ---- destinations -------------------------------------------------------------------- */

static struct link *
idle_link(struct dest *dest)
{
	struct link *l;

	TAILQ_FOREACH(l, &dest->links, link)
		if (l->job == NULL && l->is_ready)
			return l;
	return NULL;
}

/* Starts waiting jobs while the destination may have more. */
static void
pump(struct dest *dest)
{
	unsigned max = dest->all->env->conf->limit.destination_sessions;
	struct delivery *d;
	struct link *l;

	while (dest->running < max && (d = take_waiting(dest)) != NULL) {
		l = idle_link(dest);
		if (l != NULL) {
			attach(l, d, true);
			send_open(l);
		} else {
			start_fresh(d);
		}
	}
}

static struct dest *
dest_get(struct deliveries *all, const char *name)
{
	struct dest *dest = table_get(all->dests, name, strlen(name));

	if (dest != NULL)
		return dest;
	dest = xcalloc(1, sizeof(*dest));
	dest->all = all;
	(void)str_copy(dest->name, sizeof(dest->name), name);
	TAILQ_INIT(&dest->waiting);
	TAILQ_INIT(&dest->links);
	table_put(all->dests, name, strlen(name), dest);
	return dest;
}

static void
drop_empty_dest(void *value, void *arg)
{
	struct deliveries *all = arg;
	struct dest *dest = value;

	if (dest->running > 0 || !TAILQ_EMPTY(&dest->waiting) ||
	    !TAILQ_EMPTY(&dest->links))
		return;
	(void)table_remove(all->dests, dest->name, strlen(dest->name));
	free(dest);
}

static void
link_free(struct link *l)
{
	session_free(&l->session);
	event_free(l->idle_ev);
	free(l);
}

/* The one place that frees sessions, after the loop turn they ended in. */
static void
on_reap(evutil_socket_t fd, short what, void *arg)
{
	struct deliveries *all = arg;
	struct link *l;

	(void)fd;
	(void)what;
	while ((l = TAILQ_FIRST(&all->reap)) != NULL) {
		TAILQ_REMOVE(&all->reap, l, link);
		link_free(l);
		all->links--;
	}
	if (table_count(all->dests) > 2 * (all->jobs + all->links) + 64)
		table_each(all->dests, drop_empty_dest, all);
	check_idle(all);
}

void
deliveries_add(struct deliveries *all, uint64_t job_id, struct msg_job *job,
	int body_fd)
{
	struct delivery *d = xcalloc(1, sizeof(*d));
	size_t rcpts = job->env->rcpt_count;

	d->job_id = job_id;
	d->job = *job;
	memset(job, 0, sizeof(*job));
	d->body_fd = body_fd;
	if (body_fd < 0) {
		d->body = xmalloc(d->job.body_len);
		if (d->job.body_len > 0)
			memcpy(d->body, d->job.body, d->job.body_len);
	}
	d->job.body = NULL;
	d->rcpts = xcalloc(rcpts, sizeof(d->rcpts[0]));
	d->txn_rcpts = xcalloc(rcpts, sizeof(d->txn_rcpts[0]));
	d->txn_index = xcalloc(rcpts, sizeof(d->txn_index[0]));
	d->dest = dest_get(all, d->job.destination);
	d->demand = policy_local(all->env->conf, d->dest->name);
	all->jobs++;
	TAILQ_INSERT_TAIL(&d->dest->waiting, d, link);
	pump(d->dest);
}

static void
stop_dest(void *value, void *arg)
{
	struct dest *dest = value;
	struct delivery *d;
	struct link *l;

	(void)arg;
	while ((d = TAILQ_FIRST(&dest->waiting)) != NULL) {
		TAILQ_REMOVE(&dest->waiting, d, link);
		dest->all->jobs--;
		delivery_free(d);
	}
	TAILQ_FOREACH(l, &dest->links, link)
		session_quit(l->session);
}

void
deliveries_stop(struct deliveries *all)
{
	all->stopping = true;
	table_each(all->dests, stop_dest, NULL);
	event_active(all->reap_ev, EV_TIMEOUT, 0);
}

size_t
deliveries_jobs(const struct deliveries *all)
{
	return all->jobs;
}

struct deliveries *
deliveries_new(const struct session_env *env, struct resolver *resolver,
	const struct route_local *local, const struct deliveries_port *port)
{
	struct deliveries *all = xcalloc(1, sizeof(*all));

	all->env = env;
	all->resolver = resolver;
	all->local = local;
	all->port = *port;
	all->dests = table_new();
	TAILQ_INIT(&all->reap);
	all->reap_ev = event_new(env->base, -1, 0, on_reap, all);
	return all;
}

static void
free_dest(void *value, void *arg)
{
	struct dest *dest = value;
	struct delivery *d;
	struct link *l;

	(void)arg;
	while ((d = TAILQ_FIRST(&dest->waiting)) != NULL) {
		TAILQ_REMOVE(&dest->waiting, d, link);
		delivery_free(d);
	}
	while ((l = TAILQ_FIRST(&dest->links)) != NULL) {
		TAILQ_REMOVE(&dest->links, l, link);
		session_abort(l->session);
		if (l->job != NULL)
			delivery_free(l->job);
		link_free(l);
	}
	free(dest);
}

void
deliveries_free(struct deliveries **allp)
{
	struct deliveries *all = *allp;
	struct link *l;

	if (all == NULL)
		return;
	table_each(all->dests, free_dest, NULL);
	table_free(&all->dests);
	while ((l = TAILQ_FIRST(&all->reap)) != NULL) {
		TAILQ_REMOVE(&all->reap, l, link);
		link_free(l);
	}
	event_free(all->reap_ev);
	mem_free(allp);
}
