/*
 * Sockets, the race of addresses, and TLS on top.  Knows nothing of SMTP.
 * libevent is seen here and nowhere else in the client.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/client/conn.h"

#define DRAIN_READS 8	/* after a failed write: what the peer said last */

enum conn_phase {
	PHASE_NEW = 0,
	PHASE_CONNECTING,	/* race is set */
	PHASE_OPEN,		/* bytes go both ways */
	PHASE_HANDSHAKE,	/* tls is set and not ready */
	PHASE_FAILED,		/* tls_new() failed, to be told */
	PHASE_CLOSED
};

struct attempt {
	struct conn *conn;
	int fd;
	struct event *ev;
};

/* Addresses in the order of trying, and the tries under way. */
struct race {
	struct session_addr addrs[SESSION_ADDRS_MAX];
	struct attempt tries[SESSION_ADDRS_MAX];
	size_t count;
	size_t next;		/* the next to be tried */
	size_t open;		/* tries under way */
};

struct conn {
	struct event_base *base;
	conn_cb *cb;
	void *arg;
	enum conn_phase phase;
	int fd;
	struct tls *tls;
	struct race *race;
	struct event *ev_read, *ev_write;	/* once connected */
	struct event *ev_wake, *ev_deadline, *ev_stagger;
	bool watch_written;
	bool block_sent;	/* of a body, since the last input */
	bool out_secret;
	struct buf in, out;
	char error[TLS_ERROR_MAX];
	char ip[64];
};

static void
ms_to_timeval(int64_t ms, struct timeval *tv)
{
	tv->tv_sec = (time_t)(ms / 1000);
	tv->tv_usec = (suseconds_t)(ms % 1000 * 1000);
}

static void
drop_event(struct event **ev)
{
	if (*ev != NULL)
		event_free(*ev);
	*ev = NULL;
}

/* c->error says why. */
static void
lost(struct conn *c)
{
	c->cb(CONN_LOST, c->arg);
}

static void
clear_out(struct conn *c)
{
	if (c->out_secret && c->out.mem != NULL)
		explicit_bzero(c->out.mem, c->out.cap);
	c->out_secret = false;
	buf_clear(&c->out);
}

/* ---- race ---- */

static void
attempt_end(struct race *r, struct attempt *a)
{
	if (a->ev == NULL)
		return;
	drop_event(&a->ev);
	(void)close(a->fd);
	a->fd = -1;
	r->open--;
}

static void
race_free(struct conn *c)
{
	if (c->race == NULL)
		return;
	for (size_t i = 0; i < c->race->count; i++)
		attempt_end(c->race, &c->race->tries[i]);
	mem_free(&c->race);
}

static void
name_peer(struct conn *c, const struct session_addr *a)
{
	if (getnameinfo((const struct sockaddr *)&a->addr, a->len, c->ip,
	    sizeof(c->ip), NULL, 0, NI_NUMERICHOST) != 0)
		(void)str_copy(c->ip, sizeof(c->ip), "unknown");
}

static void on_read(evutil_socket_t, short, void *);
static void on_write(evutil_socket_t, short, void *);

static void
win(struct conn *c, struct attempt *a)
{
	const int on = 1;

	c->fd = a->fd;
	drop_event(&a->ev);
	a->fd = -1;
	c->race->open--;
	name_peer(c, &c->race->addrs[a - c->race->tries]);
	race_free(c);
	(void)event_del(c->ev_stagger);
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c->ev_read = event_new(c->base, c->fd, EV_READ | EV_PERSIST, on_read,
		c);
	c->ev_write = event_new(c->base, c->fd, EV_WRITE, on_write, c);
	c->phase = PHASE_OPEN;
	c->cb(CONN_UP, c->arg);
}

static void try_next(struct conn *);

static void
on_attempt(evutil_socket_t fd, short what, void *arg)
{
	struct attempt *a = arg;
	struct conn *c = a->conn;
	int error = 0;
	socklen_t len = sizeof(error);

	(void)what;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		error = errno;
	if (error == 0) {
		win(c, a);
		return;
	}
	(void)str_copy(c->error, sizeof(c->error), strerror(error));
	attempt_end(c->race, a);
	try_next(c);
}

/* False when this address cannot even be begun with. */
static bool
attempt_start(struct conn *c, size_t i)
{
	struct attempt *a = &c->race->tries[i];
	const struct session_addr *to = &c->race->addrs[i];
	int fd = socket(to->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK |
		SOCK_CLOEXEC, 0);

	if (fd < 0 || (connect(fd, (const struct sockaddr *)&to->addr,
	    to->len) != 0 && errno != EINPROGRESS)) {
		(void)str_copy(c->error, sizeof(c->error), strerror(errno));
		if (fd >= 0)
			(void)close(fd);
		return false;
	}
	a->conn = c;
	a->fd = fd;
	a->ev = event_new(c->base, fd, EV_WRITE, on_attempt, a);
	(void)event_add(a->ev, NULL);
	c->race->open++;
	return true;
}

static void
try_next(struct conn *c)
{
	struct race *r = c->race;
	struct timeval tv;

	while (r->next < r->count && !attempt_start(c, r->next++))
		;
	if (r->open == 0) {
		lost(c);
		return;
	}
	(void)event_del(c->ev_stagger);
	if (r->next < r->count) {
		ms_to_timeval(CONN_STAGGER_MS, &tv);
		(void)event_add(c->ev_stagger, &tv);
	}
}

static void
on_stagger(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	if (c->phase == PHASE_CONNECTING)
		try_next(c);
}

/* RFC 8305 section 4: families by turns, the order within each kept. */
static void
race_order(struct race *r, const struct session_addr *from, size_t count)
{
	size_t v6 = 0, rest = 0;

	while (r->count < count) {
		while (v6 < count && from[v6].addr.ss_family != AF_INET6)
			v6++;
		if (v6 < count)
			r->addrs[r->count++] = from[v6++];
		while (rest < count && from[rest].addr.ss_family == AF_INET6)
			rest++;
		if (rest < count)
			r->addrs[r->count++] = from[rest++];
	}
}

void
conn_connect(struct conn *c, const struct session_addr *addrs, size_t count)
{
	assert(c->phase == PHASE_NEW && count <= SESSION_ADDRS_MAX);
	c->race = xcalloc(1, sizeof(*c->race));
	race_order(c->race, addrs, count);
	c->phase = PHASE_CONNECTING;
	(void)str_copy(c->error, sizeof(c->error), "no address");
	event_active(c->ev_stagger, EV_TIMEOUT, 0);
}

/* ---- bytes ---- */

/* ST_OK: *n_out bytes came or went; ST_AGAIN; else over, error is set. */
static enum status
raw_status(struct conn *c, ssize_t n, size_t *n_out)
{
	*n_out = n > 0 ? (size_t)n : 0;
	if (n > 0)
		return ST_OK;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return ST_AGAIN;
	(void)str_copy(c->error, sizeof(c->error), n == 0 ?
		"closed by peer" : strerror(errno));
	return ST_EOF;
}

static enum status
tls_status(struct conn *c, enum tls_result result)
{
	if (result == TLS_WANT_WRITE)
		(void)event_add(c->ev_write, NULL);
	if (result == TLS_OK)
		return ST_OK;
	if (result == TLS_WANT_READ || result == TLS_WANT_WRITE)
		return ST_AGAIN;
	(void)str_copy(c->error, sizeof(c->error), tls_error(c->tls));
	return ST_EOF;
}

/* One read.  ST_AGAIN when there is nothing more for now.  Replies are short:
 * a thousand sessions keep what came, not the room for what might have. */
static enum status
read_once(struct conn *c)
{
	static uint8_t bytes[CONN_IN_MAX];
	size_t room = buf_room(&c->in), got = 0;
	enum status st;

	if (room == 0)
		return ST_AGAIN;
	if (c->tls != NULL)
		st = tls_status(c, tls_read(c->tls, bytes, room, &got));
	else
		st = raw_status(c, recv(c->fd, bytes, room, 0), &got);
	(void)!buf_put(&c->in, bytes, got);	/* there is room */
	return st;
}

/* Reads, hands it over, and tells of an end after all that came before it. */
static enum status
read_in(struct conn *c)
{
	enum status st = read_once(c);

	if (c->in.len > 0) {
		c->block_sent = false;
		c->cb(CONN_INPUT, c->arg);
	}
	if (c->phase == PHASE_CLOSED)
		return ST_EOF;
	if (c->in.len == 0)
		buf_clear(&c->in);
	if (st == ST_EOF) {
		lost(c);
	} else if (c->phase == PHASE_OPEN && c->tls != NULL &&
	    tls_pending(c->tls)) {
		event_active(c->ev_read, EV_READ, 0);
	}
	return st;
}

/* The peer does not take any more, yet it may have said why. */
static void
write_failed(struct conn *c)
{
	char why[TLS_ERROR_MAX];

	(void)str_copy(why, sizeof(why), c->error);
	for (int i = 0; i < DRAIN_READS && c->phase == PHASE_OPEN; i++)
		if (read_in(c) != ST_OK)
			break;
	if (c->phase != PHASE_OPEN)
		return;
	(void)str_copy(c->error, sizeof(c->error), why);
	lost(c);
}

static void
write_out(struct conn *c)
{
	bool moved = false;
	enum status st = ST_OK;
	size_t sent;

	while (c->out.len > 0 && st == ST_OK) {
		if (c->tls != NULL)
			st = tls_status(c, tls_write(c->tls,
				buf_data(&c->out), c->out.len, &sent));
		else
			st = raw_status(c, send(c->fd, buf_data(&c->out),
				c->out.len, MSG_NOSIGNAL), &sent);
		if (st == ST_OK) {
			buf_drain(&c->out, sent);
			moved = true;
		}
	}
	if (st == ST_AGAIN && c->tls == NULL)
		(void)event_add(c->ev_write, NULL);
	if (c->out.len == 0 && !c->watch_written)
		clear_out(c);	/* in a body the next block follows */
	if (moved && c->watch_written)
		c->cb(CONN_WRITTEN, c->arg);
	if (st == ST_EOF && c->phase == PHASE_OPEN)
		write_failed(c);
}

static void
handshake(struct conn *c)
{
	enum status st = tls_status(c, tls_handshake(c->tls));

	if (st == ST_AGAIN)
		return;
	if (st != ST_OK) {
		c->cb(CONN_TLS_FAILED, c->arg);
		return;
	}
	c->phase = PHASE_OPEN;
	c->cb(CONN_TLS_UP, c->arg);
}

/* Under TLS either direction may wait for the other (a key update), so both
 * are tried on every event. */
static void
work(struct conn *c, bool readable, bool writable)
{
	if (c->phase == PHASE_HANDSHAKE) {
		handshake(c);
		return;
	}
	if (c->phase == PHASE_OPEN && c->out.len > 0 &&
	    (writable || c->tls != NULL))
		write_out(c);
	if (c->phase == PHASE_OPEN && (readable || c->tls != NULL))
		(void)read_in(c);
}

static void
on_read(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	work(arg, true, false);
}

static void
on_write(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	work(arg, false, true);
}

/* ---- the rest of the interface ---- */

static void
on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	if (c->phase == PHASE_FAILED)
		c->cb(CONN_TLS_FAILED, c->arg);
	else
		c->cb(CONN_WAKE, c->arg);
}

static void
on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	c->cb(CONN_DEADLINE, c->arg);
}

struct conn *
conn_new(struct event_base *base, conn_cb *cb, void *arg)
{
	struct conn *c = xcalloc(1, sizeof(*c));

	c->base = base;
	c->cb = cb;
	c->arg = arg;
	c->fd = -1;
	buf_init(&c->in, CONN_IN_MAX);
	buf_init(&c->out, CONN_OUT_MAX);
	c->ev_wake = event_new(base, -1, 0, on_wake, c);
	c->ev_deadline = event_new(base, -1, 0, on_deadline, c);
	c->ev_stagger = event_new(base, -1, 0, on_stagger, c);
	return c;
}

struct buf *
conn_in(struct conn *c)
{
	return &c->in;
}

struct buf *
conn_out(struct conn *c)
{
	return &c->out;
}

/* A body goes through the loop block by block, so that a fast receiver does
 * not keep other sessions waiting; commands and its first block, mostly all
 * of it, leave at once. */
void
conn_flush(struct conn *c)
{
	if (c->phase != PHASE_OPEN || c->out.len == 0)
		return;
	if (c->watch_written && c->block_sent)
		(void)event_add(c->ev_write, NULL);
	else
		event_active(c->ev_write, EV_WRITE, 0);
	c->block_sent = c->watch_written;
}

void
conn_out_secret(struct conn *c)
{
	c->out_secret = true;
}

/* A byte that the kernel holds already counts as well: the peer must not
 * speak before our ClientHello. */
static bool
input_waits(const struct conn *c)
{
	char byte;

	return c->in.len > 0 ||
		recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

enum status
conn_start_tls(struct conn *c, struct tls_client *client,
	const struct tls_params *params)
{
	assert(c->phase == PHASE_OPEN && c->tls == NULL);
	if (c->out.len > 0 || input_waits(c))
		return ST_DENIED;
	c->tls = tls_new(client, params, c->fd, c->error);
	if (c->tls == NULL) {
		c->phase = PHASE_FAILED;
		conn_wake(c);
		return ST_OK;
	}
	c->phase = PHASE_HANDSHAKE;
	event_active(c->ev_write, EV_WRITE, 0);
	return ST_OK;
}

void
conn_watch(struct conn *c, bool input, bool written)
{
	c->watch_written = written;
	if (!written && c->out.len == 0)
		clear_out(c);
	if (c->ev_read == NULL)
		return;
	if (input)
		(void)event_add(c->ev_read, NULL);
	else
		(void)event_del(c->ev_read);
}

void
conn_deadline(struct conn *c, int64_t ms)
{
	struct timeval tv;

	if (c->phase == PHASE_CLOSED)
		return;
	(void)event_del(c->ev_deadline);
	if (ms < 0)
		return;
	ms_to_timeval(ms, &tv);
	(void)event_add(c->ev_deadline, &tv);
}

void
conn_wake(struct conn *c)
{
	event_active(c->ev_wake, EV_TIMEOUT, 0);
}

void
conn_close(struct conn *c)
{
	if (c->phase == PHASE_CLOSED)
		return;
	if (c->tls != NULL && c->phase == PHASE_OPEN)
		tls_goodbye(c->tls);
	c->phase = PHASE_CLOSED;
	race_free(c);
	drop_event(&c->ev_read);
	drop_event(&c->ev_write);
	(void)event_del(c->ev_deadline);
	(void)event_del(c->ev_stagger);
	tls_free(&c->tls);
	if (c->fd >= 0)
		(void)close(c->fd);
	c->fd = -1;
	buf_clear(&c->in);
	clear_out(c);
}

void
conn_free(struct conn **conn)
{
	struct conn *c = *conn;

	if (c == NULL)
		return;
	conn_close(c);
	drop_event(&c->ev_wake);
	drop_event(&c->ev_deadline);
	drop_event(&c->ev_stagger);
	mem_free(conn);
}

const char *
conn_error(const struct conn *c)
{
	return c->error;
}

const char *
conn_ip(const struct conn *c)
{
	return c->ip;
}

void
conn_local_ip(const struct conn *c, char *out, size_t out_bytes)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);

	if (getsockname(c->fd, (struct sockaddr *)&addr, &len) != 0 ||
	    getnameinfo((const struct sockaddr *)&addr, len, out,
	    (socklen_t)out_bytes, NULL, 0, NI_NUMERICHOST) != 0)
		out[0] = '\0';
}

enum tls_failure
conn_tls_failure(const struct conn *c)
{
	return c->tls == NULL ? TLS_FAILURE_VALIDATION : tls_failure(c->tls);
}

const struct tls *
conn_tls(const struct conn *c)
{
	return c->tls;
}
