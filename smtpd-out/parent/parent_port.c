/*
 * Between the children's channels and the queue: frames become calls, and
 * what the queue asks for becomes frames.
 */
#include "config.h"

#include <event2/event.h>
#include <sysexits.h>

#include "base/log.h"
#include "smtpd-out/parent/parent_int.h"
#include "smtpd-out/queue/queue_hold.h"
#include "smtpd-out/queue/queue_report.h"
#include "smtpd-out/queue/queue_sts.h"

#define BACKLOG_MAX (8U << 20)	/* unsent bytes to one worker */

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

static enum status
on_sts_get(struct parent *p, uint64_t child, struct ipc_frame *frame)
{
	struct msg_sts msg;
	enum status st = msg_sts_decode(&frame->body, &msg);

	if (st != ST_OK)
		return st;
	st = queue_sts_get(p->queue, child, frame->id, &msg);
	msg_sts_clear(&msg);
	return st;
}

static enum status
on_sts_save(struct parent *p, uint64_t child, struct ipc_frame *frame)
{
	struct msg_sts msg;
	enum status st = msg_sts_decode(&frame->body, &msg);

	if (st != ST_OK)
		return st;
	st = queue_sts_save(p->queue, child, &msg);
	msg_sts_clear(&msg);
	return st;
}

/* A destination has one worker: its connections, limits and caches are in one
 * process (FNV-1a, stable while the number of workers is). */
static unsigned
share_of(const char *destination, unsigned workers)
{
	uint32_t hash = 2166136261U;

	for (; *destination != '\0'; destination++)
		hash = (hash ^ (unsigned char)*destination) * 16777619U;
	return hash % workers;
}

static bool
port_owns(uint64_t worker, const char *domain, void *arg)
{
	const struct kid *k = kid_by_id(arg, worker);

	return k != NULL && child_side(k->child) == IPC_WORKER &&
		share_of(domain, k->of) == k->index;
}

static enum status
on_dest_hold(struct parent *p, uint64_t child, struct ipc_frame *frame)
{
	struct msg_dest_hold msg;
	enum status st = msg_dest_hold_decode(&frame->body, &msg);

	if (st == ST_OK && !port_owns(child, msg.destination, p))
		return ST_DENIED;
	if (st == ST_OK)
		queue_dest_hold(p->queue, &msg);
	return st;
}

static enum status
on_tlsrpt(struct parent *p, uint64_t child, struct ipc_frame *frame)
{
	struct msg_tlsrpt msg;
	enum status st = msg_tlsrpt_decode(&frame->body, &msg);

	if (st != ST_OK)
		return st;
	st = queue_tlsrpt(p->queue, child, &msg);
	msg_tlsrpt_clear(&msg);
	return st;
}

static enum status
on_report_done(struct parent *p, uint64_t child, struct ipc_frame *frame)
{
	struct msg_report msg;
	enum status st = msg_report_decode(&frame->body, &msg);

	if (st != ST_OK)
		return st;
	st = queue_report_done(p->queue, child, frame->id, &msg);
	msg_report_clear(&msg);
	return st;
}

typedef enum status frame_handler(struct parent *, uint64_t child,
	struct ipc_frame *);

static frame_handler *const handlers[IPC_TYPE_COUNT] = {
	[IPC_SUBMIT] = on_submit,
	[IPC_BODY_OPEN] = on_body_open,
	[IPC_BODY_DROP] = on_body_drop,
	[IPC_RESULT] = on_result,
	[IPC_POLICY_SAVE] = on_policy_save,
	[IPC_DEST_HOLD] = on_dest_hold,
	[IPC_STS_GET] = on_sts_get,
	[IPC_STS_SAVE] = on_sts_save,
	[IPC_TLSRPT] = on_tlsrpt,
	[IPC_REPORT_DONE] = on_report_done,
};

enum status
port_frame(struct child *child, struct ipc_frame *frame, void *arg)
{
	/* The table let through only types with a row for this direction. */
	if (frame->type >= IPC_TYPE_COUNT || handlers[frame->type] == NULL)
		return ST_DENIED;
	return handlers[frame->type](arg, child_id(child), frame);
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

static uint64_t
port_worker_for(const char *destination, size_t bytes, void *arg)
{
	struct parent *p = arg;
	struct child *c = p->workers[share_of(destination,
		p->worker_count)].child;

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
port_send_sts(uint64_t child, uint64_t id, const struct msg_sts *msg,
	void *arg)
{
	struct parent *p = arg;
	struct buf payload;
	struct kid *k;

	buf_init(&payload, IPC_PAYLOAD_MAX);
	if (msg_sts_encode(msg, &payload) != ST_OK)
		goto out;
	TAILQ_FOREACH(k, &p->kids, link)
		if (child == 0 ? is_up(k->child) :
		    child_id(k->child) == child)
			send_to(p, child_id(k->child), IPC_STS, id, &payload,
				-1);
out:
	buf_clear(&payload);
}

static void
port_send_report(uint64_t worker, uint64_t id, const struct msg_report *msg,
	void *arg)
{
	struct buf payload;

	buf_init(&payload, IPC_PAYLOAD_MAX);
	if (msg_report_encode(msg, &payload) == ST_OK)
		send_to(arg, worker, IPC_REPORT, id, &payload, -1);
	buf_clear(&payload);
}

static void
port_limits(const struct msg_limits *msg, uint64_t child, void *arg)
{
	struct parent *p = arg;
	struct msg_limits all = *msg;
	struct buf payload;
	struct kid *k;

	all.workers = p->worker_count;
	buf_init(&payload, IPC_PAYLOAD_MAX);
	if (msg_limits_encode(&all, &payload) != ST_OK)
		goto out;
	TAILQ_FOREACH(k, &p->kids, link)
		if (child == 0 ? is_up(k->child) :
		    child_id(k->child) == child)
			send_to(p, child_id(k->child), IPC_LIMITS, 0,
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

void
port_init(struct parent *p, struct queue_port *out)
{
	*out = (struct queue_port){
		.accepted = port_accepted,
		.rejected = port_rejected,
		.body_file = port_body_file,
		.worker_for = port_worker_for,
		.send_job = port_send_job,
		.remembered = port_remembered,
		.limits = port_limits,
		.send_sts = port_send_sts,
		.send_report = port_send_report,
		.owns = port_owns,
		.broken = port_broken,
		.arg = p,
	};
}
