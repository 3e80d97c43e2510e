/*
 * The destinations of a worker: jobs that wait, sessions that are open.
 *
 * A job waits in its destination until it may run, then takes an idle session
 * of the destination or finds its own way.  A session that has finished a job
 * takes the next one that waits.
 */
#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "smtpd-out/worker/delivery_int.h"

#define SWEEP_MIN 64
#define LEAST_MS 2000		/* that a demand is good for, at least */

/* ---- destinations ---- */

struct delivery *
dest_take_waiting(struct dest *dest, const enum policy_message *message)
{
	struct delivery *d = TAILQ_FIRST(&dest->waiting);

	while (d != NULL && message != NULL &&
	    delivery_message(d) != *message)
		d = TAILQ_NEXT(d, link);
	if (d == NULL || dest->all->stopping || dest_is_down(dest) ||
	    dest->running >= dest_window(dest) || !dest_may_go(dest))
		return NULL;
	TAILQ_REMOVE(&dest->waiting, d, link);
	TAILQ_INSERT_TAIL(&dest->jobs, d, link);
	dest->waiting_count--;
	dest->running++;
	d->probe = dest->pace.failures > 0;
	return d;
}

bool
link_is_fresh(const struct link *l)
{
	return clock_mono_ms() < l->fresh_until_ms && (l->sts == NULL ||
		sts_table_holds(l->dest->all->env->sts, l->dest->name,
		l->sts));
}

/* What DNS and the policy said counts for as long as they say, also for who
 * waits (RFC 7672 2.2). */
bool
delivery_is_outdated(const struct delivery *d)
{
	int64_t now_ms = clock_mono_ms();

	if (now_ms - d->entered_ms < LEAST_MS)
		return false;
	return now_ms >= d->need->fresh_until_ms || (d->sts != NULL &&
		!sts_table_holds(d->dest->all->env->sts, d->dest->name,
		d->sts));
}

bool
link_is_spent(const struct link *l)
{
	const struct conf *conf = l->dest->all->env->conf;

	return (conf->limit.session_messages > 0 &&
		l->messages >= conf->limit.session_messages) ||
		clock_mono_ms() - l->born_ms >= conf->timeout.reuse_ms;
}

void
link_quit(struct link *l)
{
	pool_gone(l);
	session_quit(l->session);
}

/* An idle session that the job may use. */
static struct link *
idle_link(struct dest *dest, enum policy_message message)
{
	struct link *l;

	TAILQ_FOREACH(l, &dest->idle, dest_link)
		if (l->message == message && link_is_fresh(l) &&
		    !link_is_spent(l))
			return pool_may_go(l->at) ? l : NULL;
	return NULL;
}

void
dest_make_room(struct dest *dest)
{
	dest_limits(dest);
	if (dest->running + dest->idle_count > dest->bounds.connections &&
	    !TAILQ_EMPTY(&dest->idle))
		link_quit(TAILQ_LAST(&dest->idle, link_list));
}

void
dest_pump(struct dest *dest)
{
	struct delivery *d;
	struct link *l;

	if (dest_is_down(dest)) {
		dest_answer_waiting(dest);
		return;
	}
	while ((d = dest_take_waiting(dest, NULL)) != NULL) {
		l = idle_link(dest, delivery_message(d));
		if (l != NULL) {
			pool_busy(l);
			delivery_attach(l, d);
		} else {
			delivery_start(d);
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
	TAILQ_INIT(&dest->jobs);
	TAILQ_INIT(&dest->links);
	TAILQ_INIT(&dest->idle);
	table_put(all->dests, name, strlen(name), dest);
	return dest;
}

static void
dest_clear(struct dest *dest)
{
	if (dest->ev != NULL)
		event_free(dest->ev);
	free(dest->down);
	free(dest);
}

static void
drop_empty_dest(void *value, void *arg)
{
	struct deliveries *all = arg;
	struct dest *dest = value;
	int64_t now_ms = clock_mono_ms();

	if (dest->running > 0 || !TAILQ_EMPTY(&dest->waiting) ||
	    !TAILQ_EMPTY(&dest->links) ||
	    !pace_is_new(&dest->pace, now_ms) || dest->slot.at_ms > now_ms)
		return;
	(void)table_remove(all->dests, dest->name, strlen(dest->name));
	dest_clear(dest);
}

/* Costs little for each destination that was met. */
static void
sweep(struct deliveries *all)
{
	if (table_count(all->dests) > all->dests_sweep) {
		table_each(all->dests, drop_empty_dest, all);
		all->dests_sweep = 2 * table_count(all->dests) + SWEEP_MIN;
	}
	pool_sweep(all);
}

static void
check_idle(struct deliveries *all)
{
	if (all->stopping && all->links == 0)
		all->port.idle(all->port.arg);
}

static void
link_free(struct link *l)
{
	session_free(&l->session);
	event_free(l->idle_ev);
	demand_free(&l->demand);
	demand_free(&l->made);
	sts_view_unref(&l->sts);
	tlsa_seen_free(&l->tlsa);
	free(l);
}

void
link_ended(struct link *l)
{
	struct deliveries *all = l->dest->all;

	TAILQ_REMOVE(&l->dest->links, l, link);
	TAILQ_INSERT_TAIL(&all->reap, l, link);
	event_active(all->reap_ev, EV_TIMEOUT, 0);
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
	sweep(all);
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
	all->jobs++;
	TAILQ_INSERT_TAIL(&d->dest->waiting, d, link);
	d->dest->waiting_count++;
	dest_try_again(d->dest);
	if (!dest_gives_back(d->dest, d))
		dest_pump(d->dest);
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
		dest->waiting_count--;
		dest->all->jobs--;
		delivery_free(&d);
	}
	TAILQ_FOREACH(l, &dest->links, link)
		session_quit(l->session);
}

void
deliveries_stop(struct deliveries *all)
{
	all->stopping = true;
	table_each(all->dests, stop_dest, NULL);
	pool_stop(all);
	event_active(all->reap_ev, EV_TIMEOUT, 0);
}

static void
pump_dest(void *value, void *arg)
{
	(void)arg;
	dest_pump(value);
}

void
deliveries_limits(struct deliveries *all)
{
	if (all->stopping)
		return;
	pool_limits(all);
	table_each(all->dests, pump_dest, NULL);
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
	all->limits = env->limits;
	if (all->limits == NULL)
		all->limits = all->own_limits = limits_new(env->conf);
	all->dests = table_new();
	all->hosts = table_new();
	TAILQ_INIT(&all->idle);
	TAILQ_INIT(&all->starved);
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
	while ((l = TAILQ_FIRST(&dest->links)) != NULL) {
		TAILQ_REMOVE(&dest->links, l, link);
		session_abort(l->session);
		link_free(l);
	}
	/* Also those that look for their way and have no session. */
	TAILQ_CONCAT(&dest->waiting, &dest->jobs, link);
	while ((d = TAILQ_FIRST(&dest->waiting)) != NULL) {
		TAILQ_REMOVE(&dest->waiting, d, link);
		delivery_free(&d);
	}
	dest_clear(dest);
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
	pool_free(all);
	while ((l = TAILQ_FIRST(&all->reap)) != NULL) {
		TAILQ_REMOVE(&all->reap, l, link);
		link_free(l);
	}
	event_free(all->reap_ev);
	limits_free(&all->own_limits);
	mem_free(allp);
}
