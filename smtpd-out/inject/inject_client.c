/*
 * Connections of submitters: reading, writing, timers, reaping.  What the
 * bytes mean is the session's matter.
 */
#include "config.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/inject/inject_client.h"

#define READ_BYTES (32U * 1024)
#define IN_MAX (2 * READ_BYTES)
#define LINGER_MS 2000		/* for the peer to take the last reply */
#define SLOT_BITS 20		/* of a request number */
#define SLOT_MASK ((UINT64_C(1) << SLOT_BITS) - 1)

struct inject_client {
	TAILQ_ENTRY(inject_client) link;	/* in dead */
	struct inject_clients *all;
	size_t slot;
	uint64_t request;		/* 0: the queue is not asked */
	int fd;
	bool eof;			/* the peer sends no more */
	bool lingering;			/* we send no more */
	struct inject_tls_server *tls_server;
	struct inject_tls *tls;		/* from the handshake on */
	bool shaking;			/* hands, that is */
	bool deaf;			/* input has to wait */
	struct inject_session *session;
	struct buf in;
	struct event *read_ev, *write_ev, *timer_ev;
	int64_t timer_ms;		/* when the timer will fire */
	char origin[INJECT_ORIGIN_BYTES];
};

static void turn(struct inject_client *);

/* ---- closing --------------------------------------------------------- */

static void
on_reap(evutil_socket_t fd, short what, void *arg)
{
	struct inject_clients *all = arg;
	struct inject_client *c;

	(void)fd;
	(void)what;
	while ((c = TAILQ_FIRST(&all->dead)) != NULL) {
		TAILQ_REMOVE(&all->dead, c, link);
		event_free(c->timer_ev);
		event_free(c->write_ev);
		event_free(c->read_ev);
		free(c);
	}
	if (all->count == 0 && all->empty != NULL)
		all->empty(all->empty_arg);
}

/* Ends the connection now; the struct lives until the loop's next turn. */
static void
client_close(struct inject_client *c)
{
	struct inject_clients *all = c->all;

	if (c->fd < 0)
		return;
	(void)event_del(c->read_ev);
	(void)event_del(c->write_ev);
	(void)event_del(c->timer_ev);
	inject_session_free(&c->session);
	buf_clear(&c->in);
	if (c->tls != NULL)
		inject_tls_goodbye(c->tls);
	inject_tls_free(&c->tls);
	(void)close(c->fd);
	c->fd = -1;
	all->slots[c->slot] = NULL;
	all->count--;
	TAILQ_INSERT_TAIL(&all->dead, c, link);
	event_active(all->reap_ev, EV_TIMEOUT, 0);
}

/* ---- moving bytes ---------------------------------------------------- */

/* Sends a part; 0 when the socket takes no more now, negative when it is
 * broken. */
static ssize_t
send_some(struct inject_client *c, const struct buf *out)
{
	size_t sent;
	ssize_t n;

	if (c->tls != NULL) {
		switch (inject_tls_write(c->tls, buf_data(out), out->len,
		    &sent)) {
		case TLS_OK:
			return (ssize_t)sent;
		case TLS_WANT_READ:
		case TLS_WANT_WRITE:
			return 0;
		default:
			return -1;
		}
	}
	do
		n = send(c->fd, buf_data(out), out->len,
			MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? 0 : n;
}

/* False when the connection is broken. */
static bool
write_out(struct inject_client *c)
{
	struct buf *out = inject_session_output(c->session);

	while (out->len > 0) {
		ssize_t n = send_some(c, out);

		if (n <= 0)
			return n == 0;
		buf_drain(out, (size_t)n);
	}
	buf_clear(out);
	return true;
}

/* An end without close_notify is one, too: half a message is never taken for
 * a whole one here. */
static bool
read_tls(struct inject_client *c)
{
	enum tls_result result = TLS_OK;
	uint8_t *room;
	size_t got;

	while (result == TLS_OK &&
	    (room = buf_reserve(&c->in, READ_BYTES)) != NULL) {
		result = inject_tls_read(c->tls, room, READ_BYTES, &got);
		if (result == TLS_OK)
			buf_commit(&c->in, got);
	}
	c->eof = c->eof || result == TLS_ENDED;
	return result != TLS_FAILED;
}

static bool
read_in(struct inject_client *c)
{
	uint8_t *room;
	ssize_t n;

	if (c->tls != NULL)
		return read_tls(c);
	room = buf_reserve(&c->in, READ_BYTES);
	if (room == NULL)	/* as much as we keep; later */
		return true;
	n = recv(c->fd, room, READ_BYTES, MSG_DONTWAIT);
	if (n > 0)
		buf_commit(&c->in, (size_t)n);
	else if (n == 0)
		c->eof = true;
	else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
		return false;
	return true;
}

static void
feed(struct inject_client *c)
{
	size_t used;

	if (c->all->paused)
		return;
	used = inject_session_input(c->session, buf_data(&c->in), c->in.len);
	buf_drain(&c->in, used);
	if (c->in.len == 0)
		buf_clear(&c->in);
}

/* ---- what to wait for ------------------------------------------------ */

static void
want(struct event *ev, bool wanted)
{
	if (wanted && !event_pending(ev, EV_READ | EV_WRITE, NULL))
		(void)event_add(ev, NULL);
	else if (!wanted)
		(void)event_del(ev);
}

/* Most clients say nothing before they have their reply: input is taken out
 * of the loop only when some comes that is not wanted. */
static void
hear(struct inject_client *c, bool wanted)
{
	c->deaf = !wanted;
	if (wanted)
		want(c->read_ev, true);
}

/* The timer is only moved when it would fire too late: most sessions are over
 * long before. */
static void
arm(struct inject_client *c, int64_t deadline_ms)
{
	int64_t left_ms = deadline_ms - clock_mono_ms();
	struct timeval tv;

	if (c->timer_ms != 0 && c->timer_ms <= deadline_ms)
		return;
	if (left_ms < 0)
		left_ms = 0;
	tv.tv_sec = (time_t)(left_ms / 1000);
	tv.tv_usec = (suseconds_t)(left_ms % 1000) * 1000;
	(void)evtimer_add(c->timer_ev, &tv);
	c->timer_ms = deadline_ms;
}

/*
 * The last reply is out.  Closing a socket with unread input makes the kernel
 * reset the connection, which can cost the peer that reply: so read (and drop)
 * a little longer.
 */
static void
linger(struct inject_client *c)
{
	if (c->eof) {
		client_close(c);
		return;
	}
	if (!c->lingering) {
		c->lingering = true;
		if (c->tls != NULL)
			inject_tls_goodbye(c->tls);
		(void)shutdown(c->fd, SHUT_WR);
	}
	buf_clear(&c->in);
	want(c->write_ev, false);
	hear(c, true);
	arm(c, clock_mono_ms() + LINGER_MS);
}

/* ---- STARTTLS --------------------------------------------------------- */

/* Before the handshake: nothing said in clear text may be left to be read as
 * if it had been said under TLS (RFC 3207 section 6, CVE-2011-0411). */
static bool
tls_begin(struct inject_client *c)
{
	char byte;

	if (c->in.len > 0) {
		log_warn("inject_starttls_injected", "client", c->origin,
			NULL);
		return false;
	}
	/* Room for nothing else: what is in the socket is the handshake's. */
	if (c->eof || recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
		return false;
	c->tls = inject_tls_new(c->tls_server, c->fd);
	c->shaking = c->tls != NULL;
	return c->shaking;
}

/* False when the connection is over. */
static bool
tls_step(struct inject_client *c)
{
	enum tls_result result;

	if (c->tls == NULL && !tls_begin(c))
		return false;
	if (inject_session_state(c->session) != INJECT_STARTTLS)
		return false;	/* stopped meanwhile, or too late */
	result = inject_tls_handshake(c->tls);
	if (result == TLS_ENDED || result == TLS_FAILED) {
		log_warn("inject_tls_failed", "client", c->origin, "reason",
			result == TLS_ENDED ? "connection ended" :
			inject_tls_error(c->tls), NULL);
		return false;
	}
	c->shaking = result != TLS_OK;
	if (result == TLS_OK)
		inject_session_tls_up(c->session, inject_tls_proto(c->tls),
			inject_tls_cipher(c->tls));
	hear(c, result != TLS_WANT_WRITE);
	want(c->write_ev, result == TLS_WANT_WRITE);
	arm(c, inject_session_deadline_ms(c->session));
	return true;
}

/* The 220 is out, or hands are being shaken. */
static bool
tls_due(struct inject_client *c)
{
	return c->shaking || (c->tls == NULL && inject_session_state(
		c->session) == INJECT_STARTTLS &&
		inject_session_output(c->session)->len == 0);
}

/* What is in OpenSSL's buffer makes no socket readable. */
static void
read_rest(struct inject_client *c)
{
	if (c->tls != NULL && inject_tls_pending(c->tls))
		event_active(c->read_ev, EV_READ, 0);
}

/* One step of everything that can go on; decides what to wait for. */
static void
turn(struct inject_client *c)
{
	bool waiting, room;

	if (c->shaking) {
		if (!tls_step(c))
			client_close(c);
		if (c->fd < 0 || c->shaking)
			return;
	}
	feed(c);
	if (!write_out(c)) {
		client_close(c);
		return;
	}
	/* Output that has gone may have let input in. */
	feed(c);
	if (inject_session_done(c->session)) {
		linger(c);
		return;
	}
	if (tls_due(c)) {
		if (!tls_step(c))
			client_close(c);
		return;
	}
	waiting = !inject_session_wants_input(c->session) || c->all->paused;
	if (c->eof && !waiting &&
	    inject_session_output(c->session)->len == 0) {
		client_close(c);	/* it will not say the rest */
		return;
	}
	room = buf_room(&c->in) >= READ_BYTES;
	hear(c, !waiting && room && !c->eof);
	want(c->write_ev, inject_session_output(c->session)->len > 0);
	arm(c, inject_session_deadline_ms(c->session));
	if (!waiting && room && !c->eof)
		read_rest(c);
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct inject_client *c = arg;

	(void)fd;
	(void)what;
	if (c->deaf) {
		want(c->read_ev, false);
		return;
	}
	if (!c->shaking && !read_in(c)) {
		client_close(c);
		return;
	}
	turn(c);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	turn(arg);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct inject_client *c = arg;

	(void)fd;
	(void)what;
	c->timer_ms = 0;
	if (c->lingering) {
		client_close(c);
		return;
	}
	inject_session_timeout(c->session);
	turn(c);
}

/* ---- the queue, for a session ---------------------------------------- */

static uint64_t
port_request(void *arg, struct inject_session *session)
{
	struct inject_client *c = arg;

	(void)session;
	c->request = c->all->next_request++ << SLOT_BITS | c->slot;
	return c->request;
}

static void
port_forget(void *arg, uint64_t request)
{
	struct inject_client *c = arg;

	if (c->request == request)
		c->request = 0;
}

static enum status
port_submit(void *arg, uint64_t request, const struct msg_submit *msg)
{
	struct inject_clients *all = ((struct inject_client *)arg)->all;

	return all->queue->submit(all->queue_arg, request, msg);
}

static enum status
port_body_open(void *arg, uint64_t request)
{
	struct inject_clients *all = ((struct inject_client *)arg)->all;

	return all->queue->body_open(all->queue_arg, request);
}

static void
port_body_drop(void *arg, uint64_t request, uint64_t token)
{
	struct inject_clients *all = ((struct inject_client *)arg)->all;

	all->queue->body_drop(all->queue_arg, request, token);
}

static bool
port_write_out(void *arg, uint64_t request, const struct inject_write *what)
{
	struct inject_clients *all = ((struct inject_client *)arg)->all;

	return all->queue->write_out(all->queue_arg, request, what);
}

static const struct inject_port port = {
	port_request, port_forget, port_submit, port_body_open,
	port_body_drop, port_write_out,
};

/* ---- the table ------------------------------------------------------- */

static bool
free_slot(struct inject_clients *all, size_t *slot_out)
{
	size_t total = all->conf->limit.sessions;

	for (size_t i = 1; i <= total; i++) {
		size_t slot = (all->last_slot + i) % total;

		if (all->slots[slot] != NULL)
			continue;
		all->last_slot = *slot_out = slot;
		return true;
	}
	return false;
}

/* No room for a session: a word, and that is all. */
static void
turn_away(int fd)
{
	const struct inject_reply_row *row = inject_reply_row(REPLY_BUSY);
	char text[128];
	int n = snprintf(text, sizeof(text), "%d %s %s\r\n", row->code,
		row->enhanced, row->text);

	(void)!send(fd, text, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)close(fd);
	if (log_once("inject_busy"))
		log_warn("inject_busy", "reply", row->text, NULL);
}

void
inject_client_new(struct inject_clients *all, const struct inject_peer *peer,
	enum inject_reply refusal)
{
	struct inject_session_args args = {
		.conf = all->conf,
		.listen = peer->listen,
		.pool = &all->pool,
		.port = &port,
		.id = all->next_session,
		.origin = peer->origin,
		.starttls = peer->tls != NULL,
	};
	int fd = peer->fd;
	struct inject_client *c;
	size_t slot;

	if (!free_slot(all, &slot)) {
		turn_away(fd);
		return;
	}
	all->next_session++;
	c = xcalloc(1, sizeof(*c));
	c->all = all;
	c->slot = slot;
	c->fd = fd;
	c->tls_server = peer->tls;
	(void)str_copy(c->origin, sizeof(c->origin), peer->origin);
	buf_init(&c->in, IN_MAX);
	c->read_ev = event_new(all->base, fd, EV_READ | EV_PERSIST,
		on_readable, c);
	c->write_ev = event_new(all->base, fd, EV_WRITE, on_writable, c);
	c->timer_ev = evtimer_new(all->base, on_timer, c);
	if (c->read_ev == NULL || c->write_ev == NULL || c->timer_ev == NULL)
		abort();	/* memory: see base/mem.h */
	args.port_arg = c;
	c->session = inject_session_new(&args);
	all->slots[slot] = c;
	all->count++;
	inject_session_start(c->session, refusal);
	turn(c);
}

size_t
inject_clients_of(const struct inject_clients *all, const char *origin)
{
	size_t n = 0;

	for (size_t i = 0; i < all->conf->limit.sessions; i++)
		if (all->slots[i] != NULL &&
		    strcmp(all->slots[i]->origin, origin) == 0)
			n++;
	return n;
}

static struct inject_client *
client_of(const struct inject_clients *all, uint64_t request)
{
	size_t slot = (size_t)(request & SLOT_MASK);
	struct inject_client *c = slot < all->conf->limit.sessions ?
		all->slots[slot] : NULL;

	return c != NULL && request != 0 && c->request == request ? c : NULL;
}

struct inject_session *
inject_clients_find(struct inject_clients *all, uint64_t request)
{
	struct inject_client *c = client_of(all, request);

	return c == NULL ? NULL : c->session;
}

void
inject_clients_answered(struct inject_clients *all, uint64_t request)
{
	size_t slot = (size_t)(request & SLOT_MASK);

	/* The answer may have ended the request: go by the slot. */
	if (slot < all->conf->limit.sessions && all->slots[slot] != NULL)
		turn(all->slots[slot]);
}

void
inject_clients_pause(struct inject_clients *all, bool paused)
{
	all->paused = paused;
	for (size_t i = 0; i < all->conf->limit.sessions; i++) {
		struct inject_client *c = all->slots[i];

		if (c == NULL)
			continue;
		if (paused && !c->lingering)
			want(c->read_ev, false);
		else if (!paused)
			turn(c);
	}
}

void
inject_clients_stop(struct inject_clients *all)
{
	for (size_t i = 0; i < all->conf->limit.sessions; i++) {
		struct inject_client *c = all->slots[i];

		if (c == NULL)
			continue;
		inject_session_stop(c->session);
		turn(c);
	}
	event_active(all->reap_ev, EV_TIMEOUT, 0);
}

void
inject_clients_init(struct inject_clients *all, struct event_base *base,
	const struct conf *conf)
{
	memset(all, 0, sizeof(*all));
	all->base = base;
	all->conf = conf;
	all->slots = xcalloc(conf->limit.sessions, sizeof(all->slots[0]));
	all->next_session = (uint64_t)clock_wall_us();
	all->next_request = 1;
	TAILQ_INIT(&all->dead);
	all->reap_ev = event_new(base, -1, 0, on_reap, all);
	if (all->reap_ev == NULL)
		abort();
}

void
inject_clients_clear(struct inject_clients *all)
{
	all->empty = NULL;
	for (size_t i = 0; i < all->conf->limit.sessions; i++)
		if (all->slots[i] != NULL)
			client_close(all->slots[i]);
	on_reap(-1, 0, all);
	event_free(all->reap_ev);
	mem_free(&all->slots);
}
