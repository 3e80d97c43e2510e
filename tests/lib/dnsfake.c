/*
 * A fake DNS server for tests.
 */
#include "config.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/mem.h"
#include "resolver/dns_name.h"
#include "tests/lib/dnsfake.h"

struct dnsfake {
	struct event_base *base;
	dnsfake_cb *cb;
	void *arg;
	int udp, tcp, conn;
	struct event *on_udp, *on_tcp, *on_conn;
	struct sockaddr_in addr, from;
	unsigned seen;
	uint8_t in[70000];
	size_t in_len;
};

static void
dispatch(struct dnsfake *f, const uint8_t *bytes, size_t len, bool tcp)
{
	struct dnsfake_query q = { .fake = f, .bytes = bytes, .len = len,
		.tcp = tcp };
	dns_name name;
	size_t n;

	if (len < 17)
		return;
	n = dns_name_len(bytes + 12);
	memcpy(name, bytes + 12, n);
	for (size_t i = 0; i < n; i++)
		if (name[i] >= 'A' && name[i] <= 'Z')
			name[i] = (uint8_t)(name[i] + 32);
	dns_name_format(name, q.name);
	q.type = (uint16_t)(bytes[12 + n] << 8 | bytes[13 + n]);
	f->seen++;
	f->cb(&q, f->arg);
}

static void
on_udp(evutil_socket_t fd, short what, void *arg)
{
	struct dnsfake *f = arg;
	socklen_t from_len = sizeof(f->from);
	uint8_t in[4096];
	ssize_t n = recvfrom(fd, in, sizeof(in), 0, (void *)&f->from,
		&from_len);

	(void)what;
	if (n > 0)
		dispatch(f, in, (size_t)n, false);
}

static void
conn_close(struct dnsfake *f)
{
	if (f->conn < 0)
		return;
	event_free(f->on_conn);
	close(f->conn);
	f->conn = -1;
}

static void
on_conn(evutil_socket_t fd, short what, void *arg)
{
	struct dnsfake *f = arg;
	ssize_t n = read(fd, f->in + f->in_len, sizeof(f->in) - f->in_len);
	size_t want;

	(void)what;
	if (n <= 0) {
		conn_close(f);
		return;
	}
	f->in_len += (size_t)n;
	while (f->in_len >= 2) {
		want = (size_t)(f->in[0] << 8 | f->in[1]) + 2;
		if (f->in_len < want)
			return;
		dispatch(f, f->in + 2, want - 2, true);
		memmove(f->in, f->in + want, f->in_len - want);
		f->in_len -= want;
	}
}

static void
on_tcp(evutil_socket_t fd, short what, void *arg)
{
	struct dnsfake *f = arg;

	(void)what;
	conn_close(f);
	f->conn = accept(fd, NULL, NULL);
	f->in_len = 0;
	f->on_conn = event_new(f->base, f->conn, EV_READ | EV_PERSIST,
		on_conn, f);
	event_add(f->on_conn, NULL);
}

static bool
sockets_open(struct dnsfake *f)
{
	socklen_t len = sizeof(f->addr);

	memset(&f->addr, 0, sizeof(f->addr));
	f->addr.sin_family = AF_INET;
	f->addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	f->udp = socket(AF_INET, SOCK_DGRAM, 0);
	f->tcp = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(f->udp, (void *)&f->addr, sizeof(f->addr)) == 0 &&
	    getsockname(f->udp, (void *)&f->addr, &len) == 0 &&
	    bind(f->tcp, (void *)&f->addr, sizeof(f->addr)) == 0 &&
	    listen(f->tcp, 10) == 0)
		return true;
	close(f->udp);
	close(f->tcp);
	return false;
}

struct dnsfake *
dnsfake_new(struct event_base *base, dnsfake_cb *cb, void *arg)
{
	struct dnsfake *f = xcalloc(1, sizeof(*f));
	int tries = 20;

	f->base = base;
	f->cb = cb;
	f->arg = arg;
	f->conn = -1;
	/* The TCP port of the same number may be in use. */
	while (!sockets_open(f))
		if (--tries == 0)
			abort();
	f->on_udp = event_new(base, f->udp, EV_READ | EV_PERSIST, on_udp, f);
	f->on_tcp = event_new(base, f->tcp, EV_READ | EV_PERSIST, on_tcp, f);
	event_add(f->on_udp, NULL);
	event_add(f->on_tcp, NULL);
	return f;
}

void
dnsfake_free(struct dnsfake **fp)
{
	struct dnsfake *f = *fp;

	if (f == NULL)
		return;
	conn_close(f);
	event_free(f->on_udp);
	event_free(f->on_tcp);
	close(f->udp);
	close(f->tcp);
	mem_free(fp);
}

void
dnsfake_send(const struct dnsfake_query *q, const struct dnspkt *p)
{
	struct dnsfake *f = q->fake;
	uint8_t head[2] = { (uint8_t)(p->len >> 8), (uint8_t)p->len };

	if (!q->tcp) {
		if (sendto(f->udp, p->bytes, p->len, 0, (void *)&f->from,
		    sizeof(f->from)) < 0)
			perror("dnsfake: sendto");
		return;
	}
	if (send(f->conn, head, 2, MSG_NOSIGNAL) != 2 ||
	    send(f->conn, p->bytes, p->len, MSG_NOSIGNAL) < 0)
		perror("dnsfake: send");
}

void
dnsfake_addr(const struct dnsfake *f, struct conf_addr *out)
{
	memset(out, 0, sizeof(*out));
	memcpy(&out->addr, &f->addr, sizeof(f->addr));
	out->addr_len = sizeof(f->addr);
}

unsigned
dnsfake_seen(const struct dnsfake *f)
{
	return f->seen;
}
