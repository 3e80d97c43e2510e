/*
 * The inject role: listeners, the channel to the parent, start and stop.
 * Connections are in inject_client.c, the protocol in inject_session.c.
 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/conf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rlimits.h"
#include "base/sandbox.h"
#include "base/str.h"
#include "smtpd-out/inject/inject.h"
#include "smtpd-out/inject/inject_client.h"
#include "smtpd-out/inject/inject_disk.h"
#include "smtpd-out/inject/inject_tls.h"
#include "smtpd-out/ipc/ipc.h"
#include "smtpd-out/ipc/ipc_msg.h"

#define ACCEPT_TURN 64		/* connections taken per loop turn */
#define POOL_BYTES (64U * 1024 * 1024)
#define BACKLOG_HIGH (8U * 1024 * 1024)	/* unsent to the parent: stop */
#define BACKLOG_LOW (2U * 1024 * 1024)
#define BACKLOG_TICK_MS 2
#define NO_FD_PAUSE_MS 1000	/* out of descriptors: accept later */
#define STOP_MS 30000

struct listener {
	struct inject *inject;
	const struct conf_listen *conf;
	struct inject_tls_server *tls;	/* NULL: no certificate */
	struct event *ev;
};

struct inject {
	struct event_base *base;
	const struct conf *conf;
	struct ipc *ipc;
	struct inject_disk *disk;
	struct inject_clients clients;
	struct listener *listeners;
	size_t listener_count;
	struct event *backlog_ev;	/* while clients are paused */
	struct event *accept_ev;	/* while out of descriptors */
	struct event *stop_ev;
	bool stopping;
	bool failed;			/* the channel ended, or worse */
};

static void
event_after(struct event *ev, int ms)
{
	const struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

	(void)evtimer_add(ev, &tv);
}

static void
finish(struct inject *in, bool failed)
{
	in->failed |= failed;
	(void)event_base_loopbreak(in->base);
}

/* ---- to the parent --------------------------------------------------- */

/* Reading stops while the channel is full: the submitters' sockets hold the
 * rest. */
static void
check_backlog(struct inject *in)
{
	if (in->clients.paused || ipc_backlog(in->ipc) < BACKLOG_HIGH)
		return;
	inject_clients_pause(&in->clients, true);
	event_after(in->backlog_ev, BACKLOG_TICK_MS);
}

static void
on_backlog(evutil_socket_t fd, short what, void *arg)
{
	struct inject *in = arg;

	(void)fd;
	(void)what;
	if (ipc_backlog(in->ipc) > BACKLOG_LOW)
		event_after(in->backlog_ev, BACKLOG_TICK_MS);
	else
		inject_clients_pause(&in->clients, false);
}

static enum status
queue_submit(void *arg, uint64_t request, const struct msg_submit *msg)
{
	struct inject *in = arg;
	struct buf payload;
	enum status st;

	buf_init(&payload, IPC_PAYLOAD_MAX);
	st = msg_submit_encode(msg, &payload);
	if (st == ST_OK)
		st = ipc_send(in->ipc, IPC_SUBMIT, request, &payload, -1);
	buf_clear(&payload);
	if (st != ST_OK)
		log_warn("inject_submit", "error", status_name(st), NULL);
	check_backlog(in);
	return st;
}

static enum status
queue_body_open(void *arg, uint64_t request)
{
	struct inject *in = arg;

	return ipc_send(in->ipc, IPC_BODY_OPEN, request, NULL, -1);
}

static void
queue_body_drop(void *arg, uint64_t request, uint64_t token)
{
	struct inject *in = arg;
	struct buf payload;

	buf_init(&payload, 8);
	/* When it cannot be sent the channel is gone, and the parent drops
	 * what a dead child had open. */
	if (buf_put_u64(&payload, token) != ST_OK ||
	    ipc_send(in->ipc, IPC_BODY_DROP, request, &payload, -1) != ST_OK)
		log_warn("inject_body_drop", "token",
			log_num((long long)token), NULL);
	buf_clear(&payload);
}

static bool
queue_write_out(void *arg, uint64_t request, const struct inject_write *what)
{
	struct inject *in = arg;

	return inject_disk_start(in->disk, request, what);
}

static const struct inject_queue queue = {
	queue_submit, queue_body_open, queue_body_drop, queue_write_out,
};

static void
on_written(void *arg, uint64_t request, int error)
{
	struct inject *in = arg;
	struct inject_session *s = inject_clients_find(&in->clients, request);

	if (error != 0 && log_once("inject_disk"))
		log_error("inject_disk", "error", strerror(error), NULL);
	if (s == NULL)		/* the submitter went away meanwhile */
		return;
	inject_session_written(s, error);
	inject_clients_answered(&in->clients, request);
}

static bool
send_hello(struct inject *in)
{
	struct buf payload;
	bool ok;

	buf_init(&payload, 2);
	ok = buf_put_u16(&payload, IPC_VERSION) == ST_OK &&
		ipc_send(in->ipc, IPC_HELLO, 0, &payload, -1) == ST_OK;
	buf_clear(&payload);
	return ok;
}

/* ---- from the parent ------------------------------------------------- */

/* Handlers return false when the frame is malformed. */

static bool
on_accepted(struct inject *in, struct ipc_frame *frame)
{
	uint64_t id = reader_u64(&frame->body);
	struct inject_session *s = inject_clients_find(&in->clients,
		frame->id);

	if (!reader_ok(&frame->body, true))
		return false;
	if (s != NULL) {
		inject_session_accepted(s, id);
		inject_clients_answered(&in->clients, frame->id);
	}
	return true;
}

static bool
on_rejected(struct inject *in, struct ipc_frame *frame)
{
	struct inject_session *s = inject_clients_find(&in->clients,
		frame->id);
	struct msg_rejected msg;

	if (msg_rejected_decode(&frame->body, &msg) != ST_OK)
		return false;
	if (s != NULL) {
		inject_session_rejected(s, &msg);
		inject_clients_answered(&in->clients, frame->id);
	}
	return true;
}

static bool
on_body_file(struct inject *in, struct ipc_frame *frame)
{
	uint64_t token = reader_u64(&frame->body);
	struct inject_session *s = inject_clients_find(&in->clients,
		frame->id);

	if (!reader_ok(&frame->body, true) || frame->fd < 0)
		return false;
	if (s == NULL || inject_session_state(s) != INJECT_SPILL) {
		/* The submitter went away while we asked. */
		queue_body_drop(in, frame->id, token);
		return true;
	}
	inject_session_file(s, frame->fd, token);
	frame->fd = -1;
	inject_clients_answered(&in->clients, frame->id);
	return true;
}

static void
listeners_close(struct inject *in)
{
	for (size_t i = 0; i < in->listener_count; i++)
		if (in->listeners[i].ev != NULL) {
			(void)close(event_get_fd(in->listeners[i].ev));
			event_free(in->listeners[i].ev);
			in->listeners[i].ev = NULL;
		}
	(void)event_del(in->accept_ev);
}

static bool
on_stop(struct inject *in, struct ipc_frame *frame)
{
	(void)frame;
	if (in->stopping)
		return true;
	in->stopping = true;
	listeners_close(in);
	event_after(in->stop_ev, STOP_MS);
	inject_clients_stop(&in->clients);
	return true;
}

static const struct {
	uint16_t type;
	bool (*handle)(struct inject *, struct ipc_frame *);
} handlers[] = {
	{ IPC_ACCEPTED, on_accepted },
	{ IPC_REJECTED, on_rejected },
	{ IPC_BODY_FILE, on_body_file },
	{ IPC_STOP, on_stop },
};

static void
on_frame(struct ipc *ipc, struct ipc_frame *frame, const char *why, void *arg)
{
	struct inject *in = arg;

	if (frame == NULL) {
		log_error("inject_channel", "why", why, NULL);
		finish(in, true);
		return;
	}
	for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++)
		if (handlers[i].type == frame->type) {
			if (!handlers[i].handle(in, frame))
				ipc_fail(ipc, "malformed message");
			return;
		}
	ipc_fail(ipc, "unexpected message");
}

static void
on_stop_time(evutil_socket_t fd, short what, void *arg)
{
	struct inject *in = arg;

	(void)fd;
	(void)what;
	log_warn("inject_stop", "unfinished",
		log_num((long long)in->clients.count), NULL);
	finish(in, false);
}

static void
on_empty(void *arg)
{
	struct inject *in = arg;

	if (in->stopping)
		finish(in, false);
}

/* ---- listeners ------------------------------------------------------- */

static void
origin_unix(int fd, char out[INJECT_ORIGIN_BYTES])
{
	struct ucred cred = { .uid = (uid_t)-1 };
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0)
		cred.uid = (uid_t)-1;
	(void)snprintf(out, INJECT_ORIGIN_BYTES, "uid %lu",
		(unsigned long)cred.uid);
}

/* ::ffff:192.0.2.1 is what a dual-stack listener sees of IPv4. */
static void
unmap(struct sockaddr_storage *addr)
{
	struct sockaddr_in6 v6;
	struct sockaddr_in v4 = { .sin_family = AF_INET };

	if (addr->ss_family != AF_INET6)
		return;
	memcpy(&v6, addr, sizeof(v6));
	if (!IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
		return;
	v4.sin_port = v6.sin6_port;
	memcpy(&v4.sin_addr, v6.sin6_addr.s6_addr + 12, 4);
	memcpy(addr, &v4, sizeof(v4));
}

static void
origin_tcp(const struct sockaddr_storage *addr, char out[INJECT_ORIGIN_BYTES])
{
	char text[INET6_ADDRSTRLEN] = "?";
	bool v6 = addr->ss_family == AF_INET6;
	const void *bytes = v6 ?
		(const void *)&((const struct sockaddr_in6 *)addr)->sin6_addr :
		(const void *)&((const struct sockaddr_in *)addr)->sin_addr;

	(void)inet_ntop(addr->ss_family, bytes, text, sizeof(text));
	/* As an address literal (RFC 5321 4.1.3). */
	(void)snprintf(out, INJECT_ORIGIN_BYTES, "[%s%s]", v6 ? "IPv6:" : "",
		text);
}

static enum inject_reply
admit_tcp(const struct conf_listen *listen, int fd,
	const struct sockaddr_storage *addr)
{
	char byte;

	if (!conf_net_match(listen->allow, listen->allow_count,
	    (const struct sockaddr *)addr))
		return REPLY_DENIED;
	/* RFC 5321 3.1: the client waits for the greeting. */
	if (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
		return REPLY_EARLY;
	return REPLY_NONE;
}

static void
take(struct listener *l, int fd, struct sockaddr_storage *addr)
{
	struct inject_clients *all = &l->inject->clients;
	enum inject_reply refusal = REPLY_NONE;
	char origin[INJECT_ORIGIN_BYTES];
	int on = 1;

	if (l->conf->addr.addr.ss_family == AF_UNIX) {
		origin_unix(fd, origin);
	} else {
		unmap(addr);
		origin_tcp(addr, origin);
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
			sizeof(on));
		refusal = admit_tcp(l->conf, fd, addr);
	}
	if (refusal == REPLY_NONE && inject_clients_of(all, origin) >=
	    l->inject->conf->limit.sessions_per_client)
		refusal = REPLY_BUSY_CLIENT;
	if (refusal != REPLY_NONE && log_once(origin))
		log_warn("inject_refused", "client", origin, "reply",
			inject_reply_row(refusal)->text, NULL);
	inject_client_new(all, &(struct inject_peer){ .fd = fd,
		.listen = l->conf, .tls = l->tls, .origin = origin }, refusal);
}

static void
listeners_pause(struct inject *in, bool paused)
{
	for (size_t i = 0; i < in->listener_count; i++)
		if (in->listeners[i].ev == NULL)
			continue;
		else if (paused)
			(void)event_del(in->listeners[i].ev);
		else
			(void)event_add(in->listeners[i].ev, NULL);
}

static void
on_accept_again(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	listeners_pause(arg, false);
}

static void
on_connection(evutil_socket_t listen_fd, short what, void *arg)
{
	struct listener *l = arg;

	(void)what;
	for (int i = 0; i < ACCEPT_TURN; i++) {
		struct sockaddr_storage addr = { .ss_family = AF_UNSPEC };
		socklen_t len = sizeof(addr);
		int fd = accept4(listen_fd, (struct sockaddr *)&addr, &len,
			SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			take(l, fd, &addr);
			continue;
		}
		if (errno == ECONNABORTED || errno == EINTR)
			continue;
		if (errno != EAGAIN && errno != EWOULDBLOCK) {
			if (log_once("inject_accept"))
				log_error("inject_accept", "error",
					strerror(errno), NULL);
			listeners_pause(l->inject, true);
			event_after(l->inject->accept_ev, NO_FD_PAUSE_MS);
		}
		break;
	}
}

/* Without its certificate a listener goes on without STARTTLS, loudly: who
 * needs TLS there will not submit, the others are not cut off. */
static void
open_tls(struct listener *l)
{
	char err[TLS_ERROR_MAX];

	if (l->conf->cert_file == NULL)
		return;
	l->tls = inject_tls_server_new(l->conf->cert_file, l->conf->key_file,
		err);
	if (l->tls == NULL)
		log_error("inject_tls", "listen", l->conf->addr.text,
			"certificate", l->conf->cert_file, "error", err, NULL);
}

static void
listeners_open(struct inject *in, const int *fds, size_t count)
{
	in->listeners = xcalloc(count, sizeof(in->listeners[0]));
	in->listener_count = count;
	for (size_t i = 0; i < count; i++) {
		struct listener *l = &in->listeners[i];

		l->inject = in;
		l->conf = &in->conf->listens[i];
		open_tls(l);
		(void)evutil_make_socket_nonblocking(fds[i]);
		l->ev = event_new(in->base, fds[i], EV_READ | EV_PERSIST,
			on_connection, l);
		if (l->ev == NULL)
			abort();	/* memory: see base/mem.h */
	}
	listeners_pause(in, false);
}

/* ---- life ------------------------------------------------------------ */

static bool
sandbox(const struct inject *in)
{
	if (!in->conf->sandbox || !sandbox_supported())
		return true;
	if (sandbox_enter(SANDBOX_INJECT) == ST_OK)
		return true;
	log_error("inject_sandbox", "error", strerror(errno), NULL);
	return false;
}

/* A terminal or service manager signals the whole group; when and how this
 * process ends is for the parent to say. */
static void
ignore_signals(void)
{
	static const int ignored[] = { SIGPIPE, SIGINT, SIGTERM, SIGHUP };

	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		(void)signal(ignored[i], SIG_IGN);
}

static void
inject_clear(struct inject *in)
{
	inject_disk_free(&in->disk);
	inject_clients_clear(&in->clients);
	listeners_close(in);
	event_free(in->stop_ev);
	event_free(in->accept_ev);
	event_free(in->backlog_ev);
	for (size_t i = 0; i < in->listener_count; i++)
		inject_tls_server_free(&in->listeners[i].tls);
	mem_free(&in->listeners);
	ipc_free(&in->ipc);
	event_base_free(in->base);
}

int
inject_main(struct conf *conf, int ipc_fd, const int *listen_fds,
	size_t listen_count)
{
	struct inject in = { .conf = conf };

	ignore_signals();
	rlimits_apply(conf, false);	/* the parent has said it */
	in.base = event_base_new();
	if (in.base == NULL)
		return EXIT_FAILURE;
	in.ipc = ipc_new(in.base, ipc_fd, IPC_INJECT, IPC_PARENT, on_frame,
		&in);
	in.disk = inject_disk_new(in.base, on_written, &in);
	inject_clients_init(&in.clients, in.base, conf);
	in.clients.pool.max_bytes = POOL_BYTES;
	in.clients.queue = &queue;
	in.clients.queue_arg = &in;
	in.clients.empty = on_empty;
	in.clients.empty_arg = &in;
	in.backlog_ev = evtimer_new(in.base, on_backlog, &in);
	in.accept_ev = evtimer_new(in.base, on_accept_again, &in);
	in.stop_ev = evtimer_new(in.base, on_stop_time, &in);
	if (in.disk == NULL || in.backlog_ev == NULL ||
	    in.accept_ev == NULL || in.stop_ev == NULL)
		return EXIT_FAILURE;
	listeners_open(&in, listen_fds, listen_count);
	if (!sandbox(&in) || !send_hello(&in))
		in.failed = true;
	else
		(void)event_base_dispatch(in.base);
	inject_clear(&in);
	return in.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
