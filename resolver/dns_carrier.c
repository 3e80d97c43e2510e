/*
 * One c-ares channel for one server, driven by libevent.
 *
 * The settings matter (measured on 1.18 and 1.34): EDNS with ednspsz, else
 * any UDP answer over 512 octets is thrown away; NOCHECKRESP, else SERVFAIL
 * loses its code; no query cache, whose key confuses DS with DNSKEY; one try
 * only, as dns_query does the fail-over.
 *
 * Questions that come faster than a resolver reads them are lost in its
 * socket buffer (Linux: fewer than 300 of them), and each costs a timeout.
 * So a window bounds those under way: it grows while answers come, and is
 * halved when one does not, as TCP's is.
 */
#define CARES_NO_DEPRECATED
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <ares.h>
#include <event2/event.h>

#include "base/clock.h"
#include "base/mem.h"
#include "resolver/dns_carrier.h"

#define EDNS_BYTES 1232
#define SNDBUF_BYTES (256 * 1024)
#define WINDOW_FIRST 96
#define WINDOW_MIN 64
#define WINDOW_MAX 512

struct watch {
	LIST_ENTRY(watch) link;
	struct dns_carrier *carrier;
	ares_socket_t fd;
	short what;
	struct event *event;
};

struct dns_carrier {
	struct event_base *base;
	ares_channel channel;
	LIST_HEAD(, watch) watches;
	size_t in_flight, window;
	size_t answered;	/* since the window grew */
	int64_t shrunk_ms, timeout_ms;
};

struct errand {
	struct dns_carrier *carrier;
	dns_carrier_cb *cb;
	void *arg;
};

static void
on_socket(evutil_socket_t fd, short what, void *arg)
{
	struct dns_carrier *c = arg;

	ares_process_fd(c->channel,
		(what & EV_READ) != 0 ? fd : ARES_SOCKET_BAD,
		(what & EV_WRITE) != 0 ? fd : ARES_SOCKET_BAD);
}

static struct watch *
watch_find(struct dns_carrier *c, ares_socket_t fd)
{
	struct watch *w;

	LIST_FOREACH(w, &c->watches, link)
		if (w->fd == fd)
			return w;
	return NULL;
}

static void
watch_free(struct watch *w)
{
	LIST_REMOVE(w, link);
	event_free(w->event);
	free(w);
}

static void
watch_set(struct dns_carrier *c, ares_socket_t fd, short what)
{
	struct watch *w = watch_find(c, fd);

	if (w != NULL && w->what == what)
		return;
	if (w != NULL)
		watch_free(w);
	if (what == 0)
		return;
	w = xcalloc(1, sizeof(*w));
	w->carrier = c;
	w->fd = fd;
	w->what = what;
	w->event = event_new(c->base, fd, (short)(what | EV_PERSIST),
		on_socket, c);
	if (w->event == NULL || event_add(w->event, NULL) != 0)
		abort();	/* out of memory */
	LIST_INSERT_HEAD(&c->watches, w, link);
}

/* c-ares tells what it waits for on a socket; neither: it is closed. */
static void
on_socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	watch_set(arg, fd, (short)((readable ? EV_READ : 0) |
		(writable ? EV_WRITE : 0)));
}

static int
channel_open(struct dns_carrier *c, bool tcp, int64_t timeout_ms)
{
	struct ares_options o;
	char lookups[] = "b";
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
		ARES_OPT_SOCK_STATE_CB | ARES_OPT_SOCK_SNDBUF |
		ARES_OPT_EDNSPSZ | ARES_OPT_LOOKUPS;

	memset(&o, 0, sizeof(o));
	o.flags = ARES_FLAG_EDNS | ARES_FLAG_NOCHECKRESP |
		ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES |
		(tcp ? ARES_FLAG_USEVC : 0);
	o.timeout = timeout_ms > 60000 ? 60000 : (int)timeout_ms;
	o.tries = 1;
	o.sock_state_cb = on_socket_state;
	o.sock_state_cb_data = c;
	o.socket_send_buffer_size = SNDBUF_BYTES;
	o.ednspsz = EDNS_BYTES;
	o.lookups = lookups;
#ifdef ARES_OPT_QUERY_CACHE
	o.qcache_max_ttl = 0;
	mask |= ARES_OPT_QUERY_CACHE;
#endif
	return ares_init_options(&c->channel, &o, mask);
}

enum status
dns_carrier_new(struct event_base *base, const char *server, bool tcp,
	int64_t timeout_ms, struct dns_carrier **out)
{
	struct dns_carrier *c = xcalloc(1, sizeof(*c));

	c->base = base;
	c->window = WINDOW_FIRST;
	c->timeout_ms = timeout_ms;
	LIST_INIT(&c->watches);
	if (channel_open(c, tcp, timeout_ms) != ARES_SUCCESS) {
		free(c);
		return ST_SYS;
	}
	if (ares_set_servers_ports_csv(c->channel, server) != ARES_SUCCESS) {
		ares_destroy(c->channel);
		free(c);
		return ST_PARSE;
	}
	*out = c;
	return ST_OK;
}

void
dns_carrier_free(struct dns_carrier **cp)
{
	struct dns_carrier *c = *cp;

	if (c == NULL)
		return;
	ares_destroy(c->channel);
	while (!LIST_EMPTY(&c->watches))
		watch_free(LIST_FIRST(&c->watches));
	mem_free(cp);
}

/* What was lost together counts once. */
static void
window_adapt(struct dns_carrier *c, int status)
{
	int64_t now = clock_mono_ms();

	if (status == ARES_ETIMEOUT) {
		if (now - c->shrunk_ms < c->timeout_ms)
			return;
		c->shrunk_ms = now;
		c->answered = 0;
		c->window = c->window / 2 > WINDOW_MIN ? c->window / 2 :
			WINDOW_MIN;
	} else if (c->in_flight >= c->window && ++c->answered >= c->window) {
		c->answered = 0;
		c->window += c->window < WINDOW_MAX;
	}
}

static void
on_answer(void *arg, int status, int timeouts, unsigned char *reply, int len)
{
	struct errand *e = arg;

	(void)timeouts;
	if (status != ARES_EDESTRUCTION)
		window_adapt(e->carrier, status);
	e->carrier->in_flight--;
	/* c-ares >= 1.28 parses answers itself, and drops what it dislikes. */
	if (status != ARES_SUCCESS || len < 0)
		e->cb(e->arg, NULL, 0, status == ARES_ETIMEOUT,
			status == ARES_EBADRESP ? "malformed answer" :
			ares_strerror(status));
	else
		e->cb(e->arg, reply, (size_t)len, false, NULL);
	free(e);
}

void
dns_carrier_send(struct dns_carrier *c, const uint8_t *packet, size_t len,
	dns_carrier_cb *cb, void *arg)
{
	struct errand *e = xcalloc(1, sizeof(*e));

	e->carrier = c;
	e->cb = cb;
	e->arg = arg;
	c->in_flight++;
	ares_send(c->channel, packet, (int)len, on_answer, e);
}

size_t
dns_carrier_in_flight(const struct dns_carrier *c)
{
	return c->in_flight;
}

bool
dns_carrier_full(const struct dns_carrier *c)
{
	return c->in_flight >= c->window;
}

void
dns_carrier_tick(struct dns_carrier *c)
{
	ares_process_fd(c->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}
