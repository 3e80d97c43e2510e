/*
 * Framed channel between our processes.  Knows frames and descriptors; what a
 * frame may look like it asks ipc_msg.c, what it means is the owner's matter.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/ipc/ipc.h"
#include "smtpd-out/ipc/ipc_msg.h"
#include "smtpd-out/ipc/turn.h"

#define HEADER_BYTES 16
#define FLAG_FD 1
#define READ_CHUNK (64 * 1024)
#define READ_TURN (1024 * 1024)		/* per loop turn, for fairness */
#define OUT_MAX (256U * 1024 * 1024)	/* hard bound on unsent bytes */
#define CHUNK_MAX (128 * 1024)
#define FDS_MAX 256			/* received, not yet claimed */

/* Bytes to send; a descriptor goes with the first of them. */
struct chunk {
	TAILQ_ENTRY(chunk) link;
	struct buf bytes;
	int fd;
	bool started;
};

struct ipc {
	int fd;
	enum ipc_side self, peer;
	bool hello_seen;
	bool failed;
	bool write_dead;		/* the other side reads no more */
	char why[128];
	struct event *read_ev, *write_ev, *end_ev;
	struct buf in;
	int fds[FDS_MAX];
	size_t fd_count;
	TAILQ_HEAD(chunk_list, chunk) out;
	size_t out_bytes;
	ipc_cb *cb;
	void (*flush_cb)(void *);
	void *arg, *flush_arg;
};

static void
chunk_free(struct ipc *ipc, struct chunk *c)
{
	TAILQ_REMOVE(&ipc->out, c, link);
	ipc->out_bytes -= c->bytes.len;
	if (c->fd >= 0)
		(void)close(c->fd);
	buf_clear(&c->bytes);
	free(c);
}

void
ipc_fail(struct ipc *ipc, const char *why)
{
	if (ipc->failed)
		return;
	ipc->failed = true;
	(void)str_copy(ipc->why, sizeof(ipc->why), why);
	(void)event_del(ipc->read_ev);
	(void)event_del(ipc->write_ev);
	event_active(ipc->end_ev, EV_TIMEOUT, 0);
}

static void
on_end(evutil_socket_t fd, short what, void *arg)
{
	struct ipc *ipc = arg;

	(void)fd;
	(void)what;
	ipc->cb(ipc, NULL, ipc->why, ipc->arg);
}

/* ---- receiving ---- */

static void
keep_fds(struct ipc *ipc, struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL;
	    c = CMSG_NXTHDR(msg, c)) {
		int got[8];
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(got, CMSG_DATA(c), n * sizeof(int));
		for (size_t i = 0; i < n; i++) {
			if (ipc->fd_count < FDS_MAX)
				ipc->fds[ipc->fd_count++] = got[i];
			else
				(void)close(got[i]);
		}
	}
	if ((msg->msg_flags & MSG_CTRUNC) != 0)
		ipc_fail(ipc, "too many descriptors in one message");
}

/* Bytes read, 0 when nothing is there (or the channel has just failed). */
static size_t
receive(struct ipc *ipc)
{
	union {
		char room[CMSG_SPACE(8 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_len = READ_CHUNK };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room) };
	ssize_t n;

	iov.iov_base = buf_reserve(&ipc->in, READ_CHUNK);
	if (iov.iov_base == NULL) {
		ipc_fail(ipc, "frame too large");
		return 0;
	}
	n = recvmsg(ipc->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n > 0) {
		buf_commit(&ipc->in, (size_t)n);
		keep_fds(ipc, &msg);
		return (size_t)n;
	}
	/* Reset: it ended before it had read everything of ours. */
	if (n == 0 || errno == ECONNRESET)
		ipc_fail(ipc, IPC_WHY_EOF);
	else if (errno != EAGAIN && errno != EINTR)
		ipc_fail(ipc, strerror(errno));
	return 0;
}

static int
claim_fd(struct ipc *ipc)
{
	int fd;

	if (ipc->fd_count == 0)
		return -1;
	fd = ipc->fds[0];
	ipc->fd_count--;
	memmove(ipc->fds, ipc->fds + 1, ipc->fd_count * sizeof(int));
	return fd;
}

static const char *
frame_fault(const struct ipc *ipc, const struct ipc_msg_row *row, size_t len,
	bool has_fd)
{
	if (row == NULL)
		return "message not allowed in this direction";
	if (len < row->min_bytes || len > row->max_bytes)
		return "message of wrong size";
	if (has_fd ? row->fd == IPC_FD_NONE : row->fd == IPC_FD_MUST)
		return "descriptor missing or unexpected";
	if (ipc->self == IPC_PARENT && row->before_hello == ipc->hello_seen)
		return "message out of order";
	return NULL;
}

/* Handles one frame; false when none is complete. */
static bool
take_frame(struct ipc *ipc)
{
	struct ipc_frame frame = { .fd = -1 };
	struct reader head;
	const char *fault;
	uint32_t len;
	uint16_t flags;

	if (ipc->in.len < HEADER_BYTES)
		return false;
	reader_init(&head, buf_data(&ipc->in), HEADER_BYTES);
	len = reader_u32(&head);
	frame.type = reader_u16(&head);
	flags = reader_u16(&head);
	frame.id = reader_u64(&head);
	fault = frame_fault(ipc, ipc_msg_row(frame.type, ipc->peer, ipc->self),
		len, (flags & FLAG_FD) != 0);
	if (fault != NULL) {
		ipc_fail(ipc, fault);
		return false;
	}
	if (ipc->in.len - HEADER_BYTES < len)
		return false;
	if ((flags & FLAG_FD) != 0 && (frame.fd = claim_fd(ipc)) < 0) {
		ipc_fail(ipc, "announced descriptor did not come");
		return false;
	}
	ipc->hello_seen = true;
	reader_init(&frame.body, buf_data(&ipc->in) + HEADER_BYTES, len);
	if (frame.type != IPC_PING)
		ipc->cb(ipc, &frame, NULL, ipc->arg);
	else if (ipc_send(ipc, IPC_PONG, frame.id, NULL, -1) != ST_OK)
		ipc_fail(ipc, "no way back");
	if (frame.fd >= 0)
		(void)close(frame.fd);
	buf_drain(&ipc->in, HEADER_BYTES + len);
	return true;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct ipc *ipc = arg;
	size_t total = 0, n;

	(void)fd;
	(void)what;
	turn_mark("channel");
	do {
		n = receive(ipc);
		total += n;
		while (!ipc->failed && take_frame(ipc))
			;
		/* It comes with the first byte of the frame it belongs to. */
		if (ipc->in.len == 0 && ipc->fd_count > 0)
			ipc_fail(ipc, "descriptor not announced");
	} while (n > 0 && total < READ_TURN && !ipc->failed);
	if (ipc->flush_cb != NULL)
		ipc->flush_cb(ipc->flush_arg);
}

/* ---- sending ---- */

static ssize_t
send_chunk(struct ipc *ipc, struct chunk *c)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = (void *)(uintptr_t)
		buf_data(&c->bytes), .iov_len = c->bytes.len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg;

	if (c->fd >= 0 && !c->started) {
		memset(&control, 0, sizeof(control));
		msg.msg_control = control.room;
		msg.msg_controllen = sizeof(control.room);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &c->fd, sizeof(int));
	}
	return sendmsg(ipc->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct ipc *ipc = arg;
	struct chunk *c;

	(void)fd;
	(void)what;
	turn_mark("channel");
	while ((c = TAILQ_FIRST(&ipc->out)) != NULL) {
		ssize_t n = send_chunk(ipc, c);

		/* Gone; what it sent before is still to be read. */
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			ipc->write_dead = true;
		else if (n < 0 && errno != EAGAIN && errno != EINTR)
			ipc_fail(ipc, strerror(errno));
		if (n < 0)
			break;
		c->started = true;
		buf_drain(&c->bytes, (size_t)n);
		ipc->out_bytes -= (size_t)n;
		if (c->bytes.len == 0)
			chunk_free(ipc, c);
	}
	if (c != NULL && !ipc->failed && !ipc->write_dead)
		(void)event_add(ipc->write_ev, NULL);
}

/* The last chunk while it has room, unless a descriptor needs a new one. */
static struct chunk *
chunk_for(struct ipc *ipc, size_t need, int fd)
{
	struct chunk *c = TAILQ_LAST(&ipc->out, chunk_list);
	int copy = -1;

	if (c != NULL && fd < 0 && c->bytes.len + need <= CHUNK_MAX)
		return c;
	if (fd >= 0 && (copy = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0)
		return NULL;
	c = xcalloc(1, sizeof(*c));
	c->fd = copy;
	buf_init(&c->bytes, need > CHUNK_MAX ? need : CHUNK_MAX);
	TAILQ_INSERT_TAIL(&ipc->out, c, link);
	return c;
}

enum status
ipc_send(struct ipc *ipc, uint16_t type, uint64_t id,
	const struct buf *payload, int fd)
{
	const struct ipc_msg_row *row = ipc_msg_row(type, ipc->self,
		ipc->peer);
	size_t len = payload == NULL ? 0 : payload->len;
	struct chunk *c;

	assert(row != NULL);
	if (len < row->min_bytes || len > row->max_bytes ||
	    ipc->out_bytes + len + HEADER_BYTES > OUT_MAX)
		return ST_LIMIT;
	if (ipc->failed || ipc->write_dead)
		return ST_EOF;
	c = chunk_for(ipc, len + HEADER_BYTES, fd);
	if (c == NULL)
		return ST_SYS;
	if (buf_put_u32(&c->bytes, (uint32_t)len) != ST_OK ||
	    buf_put_u16(&c->bytes, type) != ST_OK ||
	    buf_put_u16(&c->bytes, fd >= 0 ? FLAG_FD : 0) != ST_OK ||
	    buf_put_u64(&c->bytes, id) != ST_OK ||
	    (len > 0 && buf_put(&c->bytes, buf_data(payload), len) != ST_OK))
		return ST_LIMIT;
	ipc->out_bytes += HEADER_BYTES + len;
	/* Written from the loop: frames of one turn share a system call. */
	(void)event_add(ipc->write_ev, NULL);
	return ST_OK;
}

/* ---- life ---- */

struct ipc *
ipc_new(struct event_base *base, int fd, enum ipc_side self,
	enum ipc_side peer, ipc_cb *cb, void *arg)
{
	struct ipc *ipc = xcalloc(1, sizeof(*ipc));

	ipc->fd = fd;
	ipc->self = self;
	ipc->peer = peer;
	ipc->cb = cb;
	ipc->arg = arg;
	TAILQ_INIT(&ipc->out);
	buf_init(&ipc->in, IPC_PAYLOAD_MAX + HEADER_BYTES + READ_CHUNK);
	(void)evutil_make_socket_nonblocking(fd);
	ipc->read_ev = event_new(base, fd, EV_READ | EV_PERSIST, on_readable,
		ipc);
	ipc->write_ev = event_new(base, fd, EV_WRITE, on_writable, ipc);
	ipc->end_ev = event_new(base, -1, 0, on_end, ipc);
	(void)event_add(ipc->read_ev, NULL);
	return ipc;
}

void
ipc_free(struct ipc **ipcp)
{
	struct ipc *ipc = *ipcp;
	struct chunk *c;

	if (ipc == NULL)
		return;
	event_free(ipc->end_ev);
	event_free(ipc->write_ev);
	event_free(ipc->read_ev);
	while ((c = TAILQ_FIRST(&ipc->out)) != NULL)
		chunk_free(ipc, c);
	for (size_t i = 0; i < ipc->fd_count; i++)
		(void)close(ipc->fds[i]);
	buf_clear(&ipc->in);
	(void)close(ipc->fd);
	mem_free(ipcp);
}

size_t
ipc_backlog(const struct ipc *ipc)
{
	return ipc->out_bytes;
}

void
ipc_pause(struct ipc *ipc, bool paused)
{
	if (ipc->failed)
		return;
	if (paused)
		(void)event_del(ipc->read_ev);
	else
		(void)event_add(ipc->read_ev, NULL);
}

void
ipc_set_flush_cb(struct ipc *ipc, void (*cb)(void *), void *arg)
{
	ipc->flush_cb = cb;
	ipc->flush_arg = arg;
}
