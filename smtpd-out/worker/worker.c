/*
 * The worker role: an event loop with a resolver, a TLS client and the
 * deliveries; the channel brings jobs and takes results.
 */
#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <sysexits.h>

#include "base/log.h"
#include "base/sandbox.h"
#include "smtpd-out/client/auth_file.h"
#include "smtpd-out/client/tls.h"
#include "smtpd-out/ipc/ipc_msg.h"
#include "smtpd-out/ipc/limits.h"
#include "smtpd-out/worker/delivery.h"
#include "smtpd-out/worker/host_memory.h"
#include "smtpd-out/worker/worker.h"
#include "smtpd-out/worker/worker_report.h"
#include "smtpd-out/worker/worker_sts.h"

#define STOP_SECONDS 30		/* for what is past DATA */

struct worker {
	struct event_base *base;
	struct ipc *ipc;
	struct resolver *resolver;
	struct route_local *local;
	struct session_env env;
	struct worker_sts *sts;
	struct worker_report *report;
	struct deliveries *deliveries;
	struct event *stop_ev, *drain_ev;
	int status;
};

static void
end(struct worker *w, int status)
{
	w->status = status;
	(void)event_base_loopbreak(w->base);
}

static void
on_stop_timeout(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	log_warn("stop-timeout", "sessions", "cut", NULL);
	end(arg, EX_OK);
}

/* Results may still be in the channel: leave when they have been written. */
static void
on_drain(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	struct timeval tv = { .tv_usec = 2000 };

	(void)fd;
	(void)what;
	worker_report_flush(w->report);
	if (ipc_backlog(w->ipc) == 0)
		end(w, EX_OK);
	else
		(void)event_add(w->drain_ev, &tv);
}

static void
on_idle(void *arg)
{
	struct worker *w = arg;

	event_active(w->drain_ev, EV_TIMEOUT, 0);
}

static void
on_result(uint64_t job_id, const struct msg_result *result, void *arg)
{
	struct worker *w = arg;
	struct buf payload;

	buf_init(&payload, IPC_PAYLOAD_MAX);
	if (msg_result_encode(result, &payload) != ST_OK ||
	    ipc_send(w->ipc, IPC_RESULT, job_id, &payload, -1) != ST_OK)
		/* The parent would wait for it for ever; but jobs of a
		 * worker that ends return to the queue. */
		ipc_fail(w->ipc, "a result cannot be told");
	buf_clear(&payload);
}

static void
on_note(const struct tls_note *note, void *arg)
{
	struct worker *w = arg;

	worker_report_note(w->report, note);
}

static void
on_hold(const struct msg_dest_hold *msg, void *arg)
{
	struct worker *w = arg;
	struct buf payload;

	buf_init(&payload, IPC_PAYLOAD_MAX);
	if (msg_dest_hold_encode(msg, &payload) != ST_OK ||
	    ipc_send(w->ipc, IPC_DEST_HOLD, 0, &payload, -1) != ST_OK)
		log_warn("hold-lost", "destination", msg->destination, NULL);
	buf_clear(&payload);
}

static void
on_memory_save(const struct msg_policy *msg, void *arg)
{
	struct worker *w = arg;
	struct buf payload;

	buf_init(&payload, IPC_PAYLOAD_MAX);
	if (msg_policy_encode(msg, &payload) != ST_OK ||
	    ipc_send(w->ipc, IPC_POLICY_SAVE, 0, &payload, -1) != ST_OK)
		log_warn("memory-lost", "host", msg->hosts[0].host, NULL);
	buf_clear(&payload);
}

static void
take_policy(struct worker *w, struct ipc_frame *frame)
{
	struct msg_policy msg;

	if (msg_policy_decode(&frame->body, &msg) != ST_OK) {
		ipc_fail(w->ipc, "malformed policy");
		return;
	}
	host_memory_take(w->env.memory, &msg);
	msg_policy_clear(&msg);
}

static void
take_limits(struct worker *w, struct ipc_frame *frame)
{
	struct msg_limits msg;

	if (msg_limits_decode(&frame->body, &msg) != ST_OK) {
		ipc_fail(w->ipc, "malformed limits");
		return;
	}
	limits_set(w->env.limits, &msg);
	msg_limits_clear(&msg);
	deliveries_limits(w->deliveries);
}

static void
take_job(struct worker *w, struct ipc_frame *frame)
{
	struct msg_job job;
	int fd = frame->fd;

	if (msg_job_decode(&frame->body, &job) != ST_OK) {
		ipc_fail(w->ipc, "malformed job");
		return;
	}
	if ((job.body == NULL) != (fd >= 0)) {
		msg_job_clear(&job);
		ipc_fail(w->ipc, "job without a body");
		return;
	}
	frame->fd = -1;
	deliveries_add(w->deliveries, frame->id, &job, fd);
}

static void
stop(struct worker *w)
{
	struct timeval tv = { .tv_sec = STOP_SECONDS };

	(void)event_add(w->stop_ev, &tv);
	deliveries_stop(w->deliveries);
}

static void
on_frame(struct ipc *ipc, struct ipc_frame *frame, const char *why, void *arg)
{
	struct worker *w = arg;

	(void)ipc;
	if (frame == NULL) {
		log_warn("channel-ended", "reason", why, NULL);
		end(w, EX_IOERR);
	} else if (frame->type == IPC_JOB) {
		take_job(w, frame);
	} else if (frame->type == IPC_POLICY) {
		take_policy(w, frame);
	} else if (frame->type == IPC_STS) {
		worker_sts_take(w->sts, frame);
	} else if (frame->type == IPC_REPORT) {
		worker_report_take(w->report, frame);
	} else if (frame->type == IPC_LIMITS) {
		take_limits(w, frame);
	} else if (frame->type == IPC_STOP) {
		stop(w);
	}
}

static bool
open_parts(struct worker *w, struct conf *conf)
{
	const struct deliveries_port port = { .result = on_result,
		.idle = on_idle, .note = on_note, .arg = w, .hold = on_hold };
	char err[CONF_ERR_MAX] = "";

	w->local = route_local_new(conf);
	if (resolver_new(w->base, &conf->resolver, &w->resolver, err) !=
	    ST_OK) {
		log_error("resolver", "reason", err, NULL);
		return false;
	}
	w->env.base = w->base;
	w->env.conf = conf;
	w->env.tls = tls_client_new(conf, err);
	if (w->env.tls == NULL) {
		log_error("tls", "reason", err, NULL);
		return false;
	}
	if (conf->tls_session_ms > 0)
		tls_client_resume(w->env.tls, conf->tls_session_ms);
	auth_files_check(conf);
	w->env.memory = host_memory_new(conf->remember_tls, on_memory_save, w);
	w->env.limits = limits_new(conf);
	w->sts = worker_sts_new(w->base, conf, w->resolver, w->ipc);
	w->env.sts = worker_sts_table(w->sts);
	w->report = worker_report_new(w->base, conf, w->resolver, w->ipc);
	w->deliveries = deliveries_new(&w->env, w->resolver, w->local, &port);
	return true;
}

static bool
say_hello(struct worker *w)
{
	struct buf payload;
	bool ok;

	buf_init(&payload, 16);
	ok = buf_put_u16(&payload, IPC_VERSION) == ST_OK &&
		ipc_send(w->ipc, IPC_HELLO, 0, &payload, -1) == ST_OK;
	buf_clear(&payload);
	return ok;
}

static void
close_parts(struct worker *w)
{
	deliveries_free(&w->deliveries);
	worker_report_free(&w->report);
	worker_sts_free(&w->sts);
	limits_free(&w->env.limits);
	host_memory_free(&w->env.memory);
	tls_client_free(&w->env.tls);
	resolver_free(&w->resolver);
	route_local_free(&w->local);
	ipc_free(&w->ipc);
	event_free(w->drain_ev);
	event_free(w->stop_ev);
	event_base_free(w->base);
}

int
worker_main(struct conf *conf, int ipc_fd, unsigned index)
{
	struct worker w = { .status = EX_SOFTWARE };

	(void)index;
	w.base = event_base_new();
	w.ipc = ipc_new(w.base, ipc_fd, IPC_WORKER, IPC_PARENT, on_frame, &w);
	w.stop_ev = event_new(w.base, -1, 0, on_stop_timeout, &w);
	w.drain_ev = event_new(w.base, -1, 0, on_drain, &w);
	if (!open_parts(&w, conf)) {
		w.status = EX_CONFIG;
	} else if (conf->sandbox && sandbox_supported() &&
	    sandbox_enter(SANDBOX_WORKER) != ST_OK) {
		log_error("sandbox", "reason", "refused by the kernel", NULL);
	} else if (say_hello(&w)) {
		(void)event_base_dispatch(w.base);
	}
	close_parts(&w);
	return w.status;
}
