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
#include "smtpd-out/delivery_int.h"

/* ---- destinations ---- */

struct delivery *
dest_take_waiting(struct dest *dest, const enum policy_message *message)
{
	struct delivery *d = TAILQ_FIRST(&dest->waiting);

	while (d != NULL && message != NULL &&
	    delivery_message(d) != *message)
		d = TAILQ_NEXT(d, link);
	if (d == NULL || dest->all->stopping)
		return NULL;
	TAILQ_REMOVE(&dest->waiting, d, link);
	TAILQ_INSERT_TAIL(&dest->jobs, d, link);
	dest->running++;
	return d;
}

bool
link_is_fresh(const struct link *l)
{
	return clock_mono_ms() < l->fresh_until_ms && (l->sts == NULL ||
		sts_table_holds(l->dest->all->env->sts, l->dest->name,
		l->sts));
}

/* An idle session that the job may use. */
static struct link *
idle_link(struct dest *dest, enum policy_message message)
{
	struct link *l;

	TAILQ_FOREACH(l, &dest->links, link)
		if (l->job == NULL && l->is_ready && l->message == message &&
		    link_is_fresh(l))
			return l;
	return NULL;
}

void
dest_make_room(struct dest *dest)
{
	unsigned max = dest->all->env->conf->limit.destination_sessions;
	struct link *l, *idle = NULL;
	size_t count = dest->running;

	TAILQ_FOREACH(l, &dest->links, link)
		if (l->job == NULL && l->is_ready) {
			idle = l;
			count++;
		}
	if (count <= max || idle == NULL)
		return;
	idle->is_ready = false;
	session_quit(idle->session);
}

void
dest_pump(struct dest *dest)
{
	unsigned max = dest->all->env->conf->limit.destination_sessions;
	struct delivery *d;
	struct link *l;

	while (dest->running < max && (d = dest_take_waiting(dest, NULL)) !=
	    NULL) {
		l = idle_link(dest, delivery_message(d));
		if (l != NULL) {
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
	all->jobs++;
	TAILQ_INSERT_TAIL(&d->dest->waiting, d, link);
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
