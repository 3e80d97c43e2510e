/*
 * Processes for the test of the inject role.
 */
#include "config.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/inject/inject.h"
#include "smtpd-out/ipc/ipc.h"
#include "smtpd-out/ipc/ipc_msg.h"
#include "tests/unit/inject_parent.h"

#define FILES 64

static void
must(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	abort();
}

/* ---- the fake parent ------------------------------------------------- */

static struct {
	struct event_base *base;
	struct ipc *ipc;
	int files[FILES];
	uint64_t tokens;
	unsigned opens, drops;
	char last[128];
} parent;

static void
answer(uint16_t type, uint64_t id, const struct buf *payload, int fd)
{
	if (ipc_send(parent.ipc, type, id, payload, fd) != ST_OK)
		abort();
}

static void
accept_with(uint64_t request, uint64_t id)
{
	struct buf payload;

	buf_init(&payload, 8);
	if (buf_put_u64(&payload, id) != ST_OK)
		abort();
	answer(IPC_ACCEPTED, request, &payload, -1);
	buf_clear(&payload);
}

static void
reject(uint64_t request, int code, const char *enhanced, const char *text)
{
	struct msg_rejected msg = { .code = code };
	struct buf payload;

	(void)str_copy(msg.enhanced, sizeof(msg.enhanced), enhanced);
	(void)str_copy(msg.text, sizeof(msg.text), text);
	buf_init(&payload, 8192);
	if (msg_rejected_encode(&msg, &payload) != ST_OK)
		abort();
	answer(IPC_REJECTED, request, &payload, -1);
	buf_clear(&payload);
}

uint64_t
role_sum(const char *text, size_t len)
{
	uint64_t sum = 14695981039346656037ULL;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ (unsigned char)text[i]) * 1099511628211ULL;
	return sum;
}

static void
keep(const struct envelope *env, const char *text, size_t len)
{
	FILE *f = fopen(parent.last, "w");

	must(f != NULL, parent.last);
	(void)fprintf(f, "<%s> flags=%u ret=%d envid=%s\n", env->sender,
		env->flags, (int)env->ret, env->envid == NULL ? "" :
		env->envid);
	for (size_t i = 0; i < env->rcpt_count; i++)
		(void)fprintf(f, "<%s> %u\n", env->rcpts[i].address,
			env->rcpts[i].notify);
	(void)fputc('\n', f);
	must(fwrite(text, 1, len, f) == len && fclose(f) == 0, "last");
}

/* Of what follows the Received field (three lines). */
static uint64_t
body_sum(const struct msg_submit *msg)
{
	size_t len = (size_t)msg->env->size_bytes;
	char *text = xmalloc(len + 1), *p = text;
	uint64_t sum;

	if (msg->body != NULL)
		memcpy(text, msg->body, len);
	else
		must(pread(parent.files[msg->file_token % FILES], text, len,
			0) == (ssize_t)len, "body file is short");
	text[len] = '\0';
	for (int i = 0; i < 3 && p != NULL; i++)
		p = strchr(p, '\n') + 1;
	sum = role_sum(p, len - (size_t)(p - text));
	keep(msg->env, p, len - (size_t)(p - text));
	free(text);
	return sum;
}

struct later {
	uint64_t request, id;
	struct event *ev;
};

static void
on_later(evutil_socket_t fd, short what, void *arg)
{
	struct later *later = arg;

	(void)fd;
	(void)what;
	accept_with(later->request, later->id);
	event_free(later->ev);
	free(later);
}

static void
answer_submit(uint64_t request, const struct msg_submit *msg)
{
	const char *to = msg->env->rcpts[0].address;
	const struct timeval pause = { 0, 300000 };
	struct later *later;
	char text[200];

	if (strncmp(to, "silent@", 7) == 0)
		return;
	if (strncmp(to, "reject@", 7) == 0) {
		reject(request, 452, "4.3.1", "full");
	} else if (strncmp(to, "stats@", 6) == 0) {
		(void)snprintf(text, sizeof(text), "opens=%u drops=%u "
			"origin=%s", parent.opens, parent.drops,
			msg->env->origin);
		reject(request, 550, "5.0.0", text);
	} else if (strncmp(to, "slow@", 5) == 0) {
		later = xcalloc(1, sizeof(*later));
		later->request = request;
		later->id = body_sum(msg);
		later->ev = evtimer_new(parent.base, on_later, later);
		(void)evtimer_add(later->ev, &pause);
	} else {
		accept_with(request, body_sum(msg));
	}
}

static void
open_file(uint64_t request)
{
	uint64_t token = ++parent.tokens;
	struct buf payload;
	int fd = memfd_create("body", MFD_CLOEXEC);

	must(fd >= 0, "memfd_create");
	parent.opens++;
	if (parent.files[token % FILES] > 0)
		(void)close(parent.files[token % FILES]);
	parent.files[token % FILES] = fd;
	buf_init(&payload, 8);
	if (buf_put_u64(&payload, token) != ST_OK)
		abort();
	answer(IPC_BODY_FILE, request, &payload, fd);
	buf_clear(&payload);
}

static void
on_frame(struct ipc *ipc, struct ipc_frame *frame, const char *why, void *arg)
{
	struct msg_submit msg;

	(void)ipc;
	(void)why;
	(void)arg;
	if (frame == NULL) {
		(void)event_base_loopbreak(parent.base);
		return;
	}
	switch (frame->type) {
	case IPC_SUBMIT:
		if (msg_submit_decode(&frame->body, &msg) != ST_OK)
			abort();
		answer_submit(frame->id, &msg);
		envelope_free(&msg.env);
		break;
	case IPC_BODY_OPEN:
		open_file(frame->id);
		break;
	case IPC_BODY_DROP:
		parent.drops++;
		break;
	default:
		break;
	}
}

static void
on_control(evutil_socket_t fd, short what, void *arg)
{
	char byte = 0;

	(void)what;
	(void)arg;
	if (read(fd, &byte, 1) == 1 && byte == 's')
		answer(IPC_STOP, 0, NULL, -1);
	else
		(void)event_base_loopbreak(parent.base);
}

static void
parent_run(int channel, int control)
{
	struct event *ev;

	parent.base = event_base_new();
	parent.ipc = ipc_new(parent.base, channel, IPC_PARENT, IPC_INJECT,
		on_frame, NULL);
	ev = event_new(parent.base, control, EV_READ | EV_PERSIST, on_control,
		NULL);
	(void)event_add(ev, NULL);
	(void)event_base_dispatch(parent.base);
	_exit(0);
}

/* ---- set-up ---------------------------------------------------------- */

int
role_listen(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)str_copy(un.sun_path, sizeof(un.sun_path), path);
	must(bind(fd, (struct sockaddr *)&un, sizeof(un)) == 0 &&
		listen(fd, 64) == 0, "unix listener");
	return fd;
}

static int
listen_tcp(uint16_t *port_out)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	must(bind(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0 &&
		listen(fd, 64) == 0 &&
		getsockname(fd, (struct sockaddr *)&sin, &len) == 0,
		"TCP listener");
	*port_out = ntohs(sin.sin_port);
	return fd;
}

void
role_init(struct role *r)
{
	static char hostname[] = "mx.example";

	memset(r, 0, sizeof(*r));
	(void)str_copy(r->dir, sizeof(r->dir), "/tmp/test-inject-XXXXXX");
	must(mkdtemp(r->dir) != NULL, "mkdtemp");
	(void)snprintf(r->path, sizeof(r->path), "%s/submit", r->dir);
	r->conf.hostname = hostname;
	r->conf.limit.message_bytes = 20000000;
	r->conf.limit.recipients = 100;
	r->conf.limit.line_bytes = 998;
	r->conf.limit.inject_command_ms = 10000;
	r->conf.limit.inject_session_ms = 30000;
	r->conf.limit.hops = 50;
	r->conf.limit.inline_bytes = 256 * 1024;
	r->conf.limit.sessions = 20;
	r->conf.limit.sessions_per_client = 10;
	r->conf.sandbox = true;
	r->conf.listens = r->listens;
	r->conf.listen_count = 3;
	r->listens[0].addr.addr.ss_family = AF_UNIX;
	r->listens[1].addr.addr.ss_family = AF_INET;
	r->listens[2].addr.addr.ss_family = AF_INET;
	r->loopback.family = AF_INET;
	r->loopback.bytes[0] = 127;
	r->loopback.prefix_bits = 8;
	r->listens[1].allow = &r->loopback;
	r->listens[1].allow_count = 1;
}

void
role_start(struct role *r)
{
	int fds[3], channel[2], control[2];

	fds[0] = role_listen(r->path);
	fds[1] = listen_tcp(&r->ports[1]);
	fds[2] = listen_tcp(&r->ports[2]);
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) == 0
		&& pipe(control) == 0, "socketpair");
	r->parent = fork();
	if (r->parent == 0) {
		(void)close(channel[1]);
		(void)close(control[1]);
		(void)snprintf(parent.last, sizeof(parent.last), "%s/last",
			r->dir);
		parent_run(channel[0], control[0]);
	}
	r->inject = fork();
	if (r->inject == 0) {
		(void)close(channel[0]);
		(void)close(control[1]);
		log_init("inject", LOG_TO_STDERR, LOG_LEVEL_ERROR);
		_exit(inject_main(&r->conf, channel[1], fds, 3));
	}
	must(r->parent > 0 && r->inject > 0, "fork");
	for (int i = 0; i < 3; i++)
		(void)close(fds[i]);
	(void)close(channel[0]);
	(void)close(channel[1]);
	(void)close(control[0]);
	r->control = control[1];
}

int
role_wait(struct role *r)
{
	int status = 0;

	must(waitpid(r->inject, &status, 0) == r->inject, "waitpid");
	(void)close(r->control);
	(void)waitpid(r->parent, NULL, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void
role_clear(struct role *r)
{
	char last[128];

	(void)snprintf(last, sizeof(last), "%s/last", r->dir);
	(void)unlink(last);
	(void)unlink(r->path);
	(void)rmdir(r->dir);
}

int
role_connect(const struct role *r, unsigned listen)
{
	struct timeval patience = { 20, 0 };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct sockaddr_in sin = { .sin_family = AF_INET };
	int fd;

	if (listen == 0) {
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		(void)str_copy(un.sun_path, sizeof(un.sun_path), r->path);
		must(connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0,
			"connect");
	} else {
		fd = socket(AF_INET, SOCK_STREAM, 0);
		sin.sin_port = htons(r->ports[listen]);
		sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		must(connect(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0,
			"connect");
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
		sizeof(patience));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience,
		sizeof(patience));
	return fd;
}

char *
role_last(const struct role *r)
{
	char path[128], *text = xcalloc(1, 65536);
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/last", r->dir);
	f = fopen(path, "r");
	if (f == NULL)
		return text;
	(void)!fread(text, 1, 65535, f);
	(void)fclose(f);
	(void)unlink(path);
	return text;
}
