/*
 * The parent's children: start, restart with back-off, generations, end.
 */
#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "smtpd-out/ipc/turn.h"
#include "smtpd-out/parent/notify.h"
#include "smtpd-out/parent/parent_int.h"
#include "smtpd-out/queue/queue_hold.h"

#define STABLE_MS 60000		/* a child this old has not "crashed often" */
#define OFTEN 3

static void start_slot(struct slot *);

struct kid *
kid_by_id(struct parent *p, uint64_t id)
{
	struct kid *k;

	TAILQ_FOREACH(k, &p->kids, link)
		if (child_id(k->child) == id)
			return k;
	return NULL;
}

static struct kid *
kid_of(struct parent *p, const struct child *child)
{
	return kid_by_id(p, child_id(child));
}

/* 100 ms, 400 ms, 1.6 s ... 30 s. */
static int64_t
backoff_ms(unsigned crashes)
{
	int64_t ms = 100;

	for (unsigned i = 1; i < crashes && ms < 30000; i++)
		ms *= 4;
	return ms > 30000 ? 30000 : ms;
}

static void
restart_later(struct slot *slot, int64_t ms)
{
	struct timeval tv = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	(void)event_add(slot->restart_ev, &tv);
}

void
kids_check_stopped(struct parent *p)
{
	if (p->stopping && TAILQ_EMPTY(&p->kids))
		(void)event_base_loopbreak(p->base);
}

static void
on_child_gone(struct child *child, bool in_order, const char *why, void *arg)
{
	struct parent *p = arg;
	struct kid *k = kid_of(p, child);
	struct slot *slot = k->slot;
	enum queue_gone how = GONE_IN_ORDER;
	int64_t again_ms = 0;

	if (!in_order) {
		log_warn("child-died", "name", child_name(child), "pid",
			log_num(child_pid(child)), "reason", why, NULL);
		how = GONE_CRASHED;
	}
	if (slot != NULL) {
		slot->crashes = child_age_ms(child) > STABLE_MS ? 1 :
			slot->crashes + 1;
		again_ms = backoff_ms(slot->crashes);
		how = slot->crashes > OFTEN ? GONE_CRASHED_OFTEN : how;
		slot->child = NULL;
		if (!p->stopping)
			restart_later(slot, again_ms);
	}
	queue_child_gone(p->queue, child_id(child), how, again_ms);
	TAILQ_REMOVE(&p->kids, k, link);
	child_free(&k->child);
	free(k);
	kids_check_stopped(p);
}

static void
on_child_hello(struct child *child, void *arg)
{
	struct parent *p = arg;
	bool ready = p->inject.child != NULL &&
		child_state(p->inject.child) == CHILD_RUNNING;

	if (child_side(child) == IPC_WORKER &&
	    p->conf->remember_tls != CONF_REMEMBER_OFF)
		queue_remembered(p->queue, child_id(child));
	if (child_side(child) == IPC_WORKER)
		queue_limits(p->queue, child_id(child));
	log_info("child-up", "name", child_name(child), "pid",
		log_num(child_pid(child)), NULL);
	for (unsigned i = 0; i < p->worker_count; i++)
		ready = ready && p->workers[i].child != NULL &&
			child_state(p->workers[i].child) == CHILD_RUNNING;
	if (ready && !p->ready_said) {
		p->ready_said = true;
		log_info("ready", "workers", log_num(p->worker_count), NULL);
		notify_send("READY=1");
	}
	queue_kick(p->queue);
}

static const struct child_callbacks child_cbs = {
	.hello = on_child_hello,
	.frame = port_frame,
	.gone = on_child_gone,
};

static void
start_slot(struct slot *slot)
{
	struct parent *p = slot->parent;
	const struct child_spec spec = {
		.side = slot->side,
		.index = slot->index,
		.conf_text = p->conf_text,
		.conf_name = p->conf_path,
		.silence_ms = p->conf->timeout.process_ms,
		.listen_fds = slot->side == IPC_INJECT ? p->listeners.fds :
			NULL,
		.listen_count = slot->side == IPC_INJECT ?
			p->listeners.count : 0,
	};
	struct kid *k;

	slot->child = child_start(p->base, &spec, &child_cbs, p);
	if (slot->child == NULL) {
		slot->crashes++;
		restart_later(slot, backoff_ms(slot->crashes));
		return;
	}
	k = xcalloc(1, sizeof(*k));
	k->child = slot->child;
	k->slot = slot;
	k->index = slot->index;
	k->of = p->worker_count;
	TAILQ_INSERT_TAIL(&p->kids, k, link);
}

static void
on_restart(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	turn_mark("children");
	start_slot(arg);
}

static void
slot_init(struct slot *slot, struct parent *p, enum ipc_side side,
	unsigned index)
{
	slot->parent = p;
	slot->side = side;
	slot->index = index;
	slot->restart_ev = event_new(p->base, -1, 0, on_restart, slot);
}

static unsigned
wanted_workers(const struct conf *conf)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (conf->workers > 0)
		return conf->workers < WORKERS_MAX ? conf->workers :
			WORKERS_MAX;
	return cpus < 1 ? 1 : cpus > WORKERS_MAX ? WORKERS_MAX :
		(unsigned)cpus;
}

void
kids_start(struct parent *p)
{
	p->worker_count = wanted_workers(p->conf);
	for (unsigned i = 0; i < p->worker_count; i++)
		start_slot(&p->workers[i]);
	start_slot(&p->inject);
}

void
kids_retire(struct parent *p)
{
	struct kid *k;

	TAILQ_FOREACH(k, &p->kids, link) {
		if (k->slot != NULL) {
			k->slot->child = NULL;
			k->slot->crashes = 0;
			k->slot = NULL;
		}
		child_stop(k->child);
	}
	for (unsigned i = 0; i < p->worker_count; i++)
		(void)event_del(p->workers[i].restart_ev);
	(void)event_del(p->inject.restart_ev);
}

void
kids_reap(struct parent *p)
{
	struct kid *k;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		TAILQ_FOREACH(k, &p->kids, link)
			if (child_pid(k->child) == pid) {
				child_reaped(k->child, status);
				break;
			}
}

void
kids_init(struct parent *p)
{
	TAILQ_INIT(&p->kids);
	p->worker_count = 1;
	for (unsigned i = 0; i < WORKERS_MAX; i++)
		slot_init(&p->workers[i], p, IPC_WORKER, i);
	slot_init(&p->inject, p, IPC_INJECT, 0);
}

void
kids_clear(struct parent *p)
{
	struct kid *k;

	while ((k = TAILQ_FIRST(&p->kids)) != NULL) {
		TAILQ_REMOVE(&p->kids, k, link);
		child_kill(k->child, "parent ends");
		child_free(&k->child);
		free(k);
	}
	for (unsigned i = 0; i < WORKERS_MAX; i++)
		event_free(p->workers[i].restart_ev);
	event_free(p->inject.restart_ev);
}
