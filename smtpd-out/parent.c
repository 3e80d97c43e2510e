/*
 * The parent's life: start, signals, children, reload, stop.
 *
 * Children come in generations: a reload starts new ones with the new
 * configuration and lets the old finish what they have, so no process ever
 * works with two configurations.
 */
#include "config.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/sandbox.h"
#include "base/str.h"
#include "resolver/resolver.h"
#include "smtpd-out/child.h"
#include "smtpd-out/control.h"
#include "smtpd-out/listener.h"
#include "smtpd-out/notify.h"
#include "smtpd-out/parent.h"
#include "smtpd-out/queue.h"

#define WORKERS_MAX 64
#define BACKLOG_MAX (8U << 20)	/* unsent bytes to one worker */
#define STABLE_MS 60000		/* a child this old has not "crashed often" */
#define OFTEN 3
#define STOP_SECONDS 60

/* A place for a child of the present generation. */
struct slot {
	struct parent *parent;
	struct child *child;		/* NULL while it waits to restart */
	enum ipc_side side;
	unsigned index;
	unsigned crashes;		/* in a row */
	struct event *restart_ev;
};

/* Every child, also of old generations. */
struct kid {
	TAILQ_ENTRY(kid) link;
	struct child *child;
	struct slot *slot;		/* NULL: old generation */
};

struct parent {
	struct event_base *base;
	const char *conf_path;
	char *conf_text;
	struct conf *conf;
	struct spool *spool;
	struct queue *queue;
	struct control *control;
	struct listeners listeners;
	struct slot inject;
	struct slot workers[WORKERS_MAX];
	unsigned worker_count;
	TAILQ_HEAD(, kid) kids;
	struct event *signals[5];
	struct event *stop_ev;
	bool stopping;
	bool ready_said;
	int status;
};

static void start_slot(struct slot *);

/* ---- children ---- */

static struct kid *
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

static void
check_stopped(struct parent *p)
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
	check_stopped(p);
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

/* ---- frames from children ---- */

static enum status
on_submit(struct parent *p, uint64_t child, struct ipc_frame *frame)
{
	struct msg_submit msg;
	enum status st = msg_submit_decode(&frame->body, &msg);

	if (st == ST_OK)
		queue_submit(p->queue, child, frame->id, &msg);
	return st;
}

static enum status
on_body_open(struct parent *p, uint64_t child, struct ipc_frame *frame)
{
	queue_body_open(p->queue, child, frame->id);
	return ST_OK;
}

static enum status
on_body_drop(struct parent *p, uint64_t child, struct ipc_frame *frame)
{
	queue_body_drop(p->queue, child, reader_u64(&frame->body));
	return ST_OK;
}

static enum status
on_result(struct parent *p, uint64_t child, struct ipc_frame *frame)
{
	struct msg_result msg;
	enum status st = msg_result_decode(&frame->body, &msg);

	if (st != ST_OK)
		return st;
	st = queue_result(p->queue, child, frame->id, &msg);
	msg_result_clear(&msg);
	return st;
}

static enum status
on_policy_save(struct parent *p, uint64_t child, struct ipc_frame *frame)
{
	struct msg_policy msg;
	enum status st = msg_policy_decode(&frame->body, &msg);

	(void)child;
	if (st != ST_OK)
		return st;
	queue_remember(p->queue, &msg);
	msg_policy_clear(&msg);
	return ST_OK;
}

typedef enum status frame_handler(struct parent *, uint64_t child,
	struct ipc_frame *);

static frame_handler *const handlers[IPC_TYPE_COUNT] = {
	[IPC_SUBMIT] = on_submit,
	[IPC_BODY_OPEN] = on_body_open,
	[IPC_BODY_DROP] = on_body_drop,
	[IPC_RESULT] = on_result,
	[IPC_POLICY_SAVE] = on_policy_save,
};

static enum status
on_child_frame(struct child *child, struct ipc_frame *frame, void *arg)
{
	/* The table let through only types with a row for this direction. */
	if (frame->type >= IPC_TYPE_COUNT || handlers[frame->type] == NULL)
		return ST_DENIED;
	return handlers[frame->type](arg, child_id(child), frame);
}

static const struct child_callbacks child_cbs = {
	.hello = on_child_hello,
	.frame = on_child_frame,
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
	TAILQ_INSERT_TAIL(&p->kids, k, link);
}

static void
on_restart(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
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

static void
start_generation(struct parent *p)
{
	p->worker_count = wanted_workers(p->conf);
	for (unsigned i = 0; i < p->worker_count; i++)
		start_slot(&p->workers[i]);
	start_slot(&p->inject);
}

/* The slots let go of their children, which finish on their own. */
static void
retire_generation(struct parent *p)
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

/* ---- what the queue asks of us ---- */

static void
send_to(struct parent *p, uint64_t child, uint16_t type, uint64_t id,
	const struct buf *payload, int fd)
{
	struct kid *k = kid_by_id(p, child);

	if (k == NULL || child_ipc(k->child) == NULL)
		return;		/* it died; its clients know by now */
	if (ipc_send(child_ipc(k->child), type, id, payload, fd) == ST_LIMIT)
		child_kill(k->child, "does not read its channel");
}

static void
port_accepted(uint64_t child, uint64_t request, uint64_t id, void *arg)
{
	struct buf payload;

	buf_init(&payload, 16);
	if (buf_put_u64(&payload, id) == ST_OK)
		send_to(arg, child, IPC_ACCEPTED, request, &payload, -1);
	buf_clear(&payload);
}

static void
port_rejected(uint64_t child, uint64_t request,
	const struct msg_rejected *msg, void *arg)
{
	struct buf payload;

	buf_init(&payload, 4096);
	if (msg_rejected_encode(msg, &payload) == ST_OK)
		send_to(arg, child, IPC_REJECTED, request, &payload, -1);
	buf_clear(&payload);
}

static void
port_body_file(uint64_t child, uint64_t request, uint64_t token, int fd,
	void *arg)
{
	struct buf payload;

	buf_init(&payload, 16);
	if (buf_put_u64(&payload, token) == ST_OK)
		send_to(arg, child, IPC_BODY_FILE, request, &payload, fd);
	buf_clear(&payload);
}

/* A destination has one worker: its connections, limits and caches are in one
 * process (FNV-1a, stable while the number of workers is). */
static uint64_t
port_worker_for(const char *destination, size_t bytes, void *arg)
{
	struct parent *p = arg;
	uint32_t hash = 2166136261U;
	struct child *c;

	for (; *destination != '\0'; destination++)
		hash = (hash ^ (unsigned char)*destination) * 16777619U;
	c = p->workers[hash % p->worker_count].child;
	if (c == NULL || child_state(c) != CHILD_RUNNING ||
	    child_ipc(c) == NULL ||
	    ipc_backlog(child_ipc(c)) + bytes > BACKLOG_MAX)
		return 0;
	return child_id(c);
}

static bool
port_send_job(uint64_t worker, uint64_t job, const struct buf *payload,
	int fd, void *arg)
{
	struct kid *k = kid_by_id(arg, worker);

	return k != NULL && child_ipc(k->child) != NULL &&
		ipc_send(child_ipc(k->child), IPC_JOB, job, payload, fd) ==
		ST_OK;
}

static bool
is_up(const struct child *c)
{
	return child_side(c) == IPC_WORKER && child_state(c) == CHILD_RUNNING;
}

static void
port_remembered(const struct msg_policy *msg, uint64_t child, void *arg)
{
	struct parent *p = arg;
	struct buf payload;
	struct kid *k;

	buf_init(&payload, IPC_PAYLOAD_MAX);
	if (msg_policy_encode(msg, &payload) != ST_OK)
		goto out;
	TAILQ_FOREACH(k, &p->kids, link)
		if (child == 0 ? is_up(k->child) :
		    child_id(k->child) == child)
			send_to(p, child_id(k->child), IPC_POLICY, 0,
				&payload, -1);
out:
	buf_clear(&payload);
}

static void
port_broken(void *arg)
{
	struct parent *p = arg;

	log_error("spool", "reason", spool_error(p->spool), "action",
		"this process ends, to start afresh", NULL);
	p->status = EX_IOERR;
	(void)event_base_loopbreak(p->base);
}

/* ---- signals ---- */

static void
on_sigchld(evutil_socket_t fd, short what, void *arg)
{
	struct parent *p = arg;
	struct kid *k;
	int status;
	pid_t pid;

	(void)fd;
	(void)what;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		TAILQ_FOREACH(k, &p->kids, link)
			if (child_pid(k->child) == pid) {
				child_reaped(k->child, status);
				break;
			}
}

static void
on_stop_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct parent *p = arg;

	(void)fd;
	(void)what;
	log_warn("stop-timeout", "children", "still running", NULL);
	(void)event_base_loopbreak(p->base);
}

static void
on_terminate(evutil_socket_t sig, short what, void *arg)
{
	struct parent *p = arg;
	struct timeval tv = { .tv_sec = STOP_SECONDS };

	(void)what;
	if (p->stopping)
		return;
	p->stopping = true;
	log_info("stopping", "signal", log_num(sig), NULL);
	notify_send("STOPPING=1");
	queue_stop(p->queue);
	retire_generation(p);
	(void)event_add(p->stop_ev, &tv);
	check_stopped(p);
}

/* What a running parent cannot change is named; the rest takes effect. */
static void
warn_fixed(const struct conf *old, const struct conf *new)
{
	if (strcmp(old->spool, new->spool) != 0 ||
	    strcmp(old->control, new->control) != 0 ||
	    strcmp(old->user, new->user) != 0)
		log_warn("reload", "ignored", "spool, control and user change "
			"at a restart only", NULL);
}

static void
on_reload(evutil_socket_t sig, short what, void *arg)
{
	struct parent *p = arg;
	struct listeners listeners;
	char err[CONF_ERR_MAX], *text = NULL;
	struct conf *conf = NULL;

	(void)sig;
	(void)what;
	if (p->stopping)
		return;
	if (conf_read(p->conf_path, &text, err) != ST_OK ||
	    conf_parse(p->conf_path, text, &conf, err) != ST_OK ||
	    resolver_check_conf(&conf->resolver, err) != ST_OK ||
	    listeners_open(conf, &p->listeners, &listeners, err) != ST_OK) {
		log_error("reload", "reason", err, "kept",
			"the old configuration", NULL);
		conf_free(&conf);
		free(text);
		return;
	}
	warn_fixed(p->conf, conf);
	retire_generation(p);
	listeners_close(&p->listeners);
	p->listeners = listeners;
	log_init("parent", conf->log_target, conf->log_level);
	queue_set_conf(p->queue, conf);
	conf_free(&p->conf);
	free(p->conf_text);
	p->conf = conf;
	p->conf_text = text;
	start_generation(p);
	log_info("reloaded", "file", p->conf_path, NULL);
}

/* ---- life ---- */

static bool
open_spool(struct parent *p)
{
	const struct spool_options options = {
		.inline_bytes = p->conf->limit.inline_bytes,
	};
	char err[CONF_ERR_MAX] = "";

	if (spool_open(p->conf->spool, &options, &p->spool, err,
	    sizeof(err)) == ST_OK)
		return true;
	log_error("spool", "reason", err, NULL);
	p->status = EX_IOERR;
	return false;
}

static bool
open_sockets(struct parent *p)
{
	char err[CONF_ERR_MAX] = "";

	if (listeners_open(p->conf, NULL, &p->listeners, err) == ST_OK &&
	    control_new(p->base, p->conf, p->spool, p->queue, &p->control,
	    err) == ST_OK)
		return true;
	log_error("listen", "reason", err, NULL);
	p->status = EX_OSERR;
	return false;
}

static void
add_signals(struct parent *p)
{
	static const struct {
		int sig;
		event_callback_fn cb;
	} rows[] = {
		{ SIGCHLD, on_sigchld }, { SIGTERM, on_terminate },
		{ SIGINT, on_terminate }, { SIGHUP, on_reload },
	};

	(void)signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		p->signals[i] = evsignal_new(p->base, rows[i].sig, rows[i].cb,
			p);
		(void)event_add(p->signals[i], NULL);
	}
	p->stop_ev = event_new(p->base, -1, 0, on_stop_timeout, p);
}

static void
run(struct parent *p)
{
	if (p->conf->sandbox && sandbox_supported() &&
	    sandbox_enter(SANDBOX_PARENT) != ST_OK) {
		log_error("sandbox", "reason", "refused by the kernel", NULL);
		p->status = EX_OSERR;
		return;
	}
	if (!sandbox_supported())
		log_warn("sandbox", "state", "off: built with sanitizers",
			NULL);
	log_init("parent", p->conf->log_target, p->conf->log_level);
	start_generation(p);
	(void)event_base_dispatch(p->base);
	if (!queue_flush(p->queue)) {
		log_error("stop", "reason", "results could not be stored; "
			"mail may be sent twice", NULL);
		p->status = EX_IOERR;
	}
}

static void
kill_rest(struct parent *p)
{
	struct kid *k;

	while ((k = TAILQ_FIRST(&p->kids)) != NULL) {
		TAILQ_REMOVE(&p->kids, k, link);
		child_kill(k->child, "parent ends");
		child_free(&k->child);
		free(k);
	}
}

static void
close_all(struct parent *p)
{
	kill_rest(p);
	control_free(&p->control);
	queue_free(&p->queue);
	spool_close(&p->spool);
	listeners_close(&p->listeners);
	for (size_t i = 0; i < 5; i++)
		if (p->signals[i] != NULL)
			event_free(p->signals[i]);
	if (p->stop_ev != NULL)
		event_free(p->stop_ev);
	for (unsigned i = 0; i < WORKERS_MAX; i++)
		event_free(p->workers[i].restart_ev);
	event_free(p->inject.restart_ev);
	event_base_free(p->base);
	conf_free(&p->conf);
	free(p->conf_text);
}

int
parent_main(const char *conf_path, char *conf_text, struct conf *conf)
{
	struct parent *p = xcalloc(1, sizeof(*p));
	const struct queue_port port = {
		.accepted = port_accepted,
		.rejected = port_rejected,
		.body_file = port_body_file,
		.worker_for = port_worker_for,
		.send_job = port_send_job,
		.remembered = port_remembered,
		.broken = port_broken,
		.arg = p,
	};
	int status;

	p->conf_path = conf_path;
	p->conf_text = conf_text;
	p->conf = conf;
	p->worker_count = 1;
	TAILQ_INIT(&p->kids);
	p->base = event_base_new();
	for (unsigned i = 0; i < WORKERS_MAX; i++)
		slot_init(&p->workers[i], p, IPC_WORKER, i);
	slot_init(&p->inject, p, IPC_INJECT, 0);
	if (open_spool(p)) {
		add_signals(p);
		p->queue = queue_new(p->base, conf, p->spool, &port);
		if (open_sockets(p))
			run(p);
	}
	close_all(p);
	status = p->status;
	free(p);
	log_info("stopped", "status", log_num(status), NULL);
	return status;
}
