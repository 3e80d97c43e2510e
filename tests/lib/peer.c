/*
 * The scripted server.  Blocking calls with a time limit in a thread; what it
 * saw is looked at after the thread has been joined.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <openssl/err.h>

#include "base/mem.h"
#include "tests/lib/peer.h"

#define PATIENCE_S 10
#define LINE_SIZE 8192

struct peer {
	struct peer_step steps[PEER_STEPS_MAX];
	size_t at;
	int listen_fd, fd;
	struct sockaddr_storage addr;
	socklen_t addr_len;
	pthread_t thread;
	bool joined;
	struct cert cert;
	SSL *ssl;
	uint8_t in[65536];
	size_t in_start, in_len;
	struct buf body;
	char failure[LINE_SIZE + 256];
};

/* ---- bytes ---- */

static void
fail(struct peer *p, const char *what, const char *detail)
{
	if (p->failure[0] == '\0')
		(void)snprintf(p->failure, sizeof(p->failure),
			"step %zu: %s: %s", p->at, what, detail);
}

static bool
send_all(struct peer *p, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = p->ssl != NULL ?
			SSL_write(p->ssl, bytes, (int)len) :
			send(p->fd, bytes, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		bytes += n;
		len -= (size_t)n;
	}
	return true;
}

/* More input; false at the end. */
static bool
fill(struct peer *p, size_t max)
{
	ssize_t n;

	if (max > sizeof(p->in))
		max = sizeof(p->in);
	p->in_start = p->in_len = 0;
	n = p->ssl != NULL ? SSL_read(p->ssl, p->in, (int)max) :
		recv(p->fd, p->in, max, 0);
	if (n <= 0)
		return false;
	p->in_len = (size_t)n;
	return true;
}

static bool
read_byte(struct peer *p, uint8_t *byte)
{
	if (p->in_start == p->in_len && !fill(p, sizeof(p->in)))
		return false;
	*byte = p->in[p->in_start++];
	return true;
}

/* A line with its end cut off, which may hold NUL; only CRLF ends one. */
static bool
read_octets(struct peer *p, char line[LINE_SIZE], size_t *len_out)
{
	size_t n = 0;
	uint8_t byte;

	while (n < LINE_SIZE - 1 && read_byte(p, &byte)) {
		line[n++] = (char)byte;
		if (n >= 2 && line[n - 2] == '\r' && line[n - 1] == '\n') {
			line[n - 2] = '\0';
			*len_out = n - 2;
			return true;
		}
	}
	line[n] = '\0';
	*len_out = n;
	return false;
}

static bool
read_line(struct peer *p, char line[LINE_SIZE])
{
	size_t len;

	return read_octets(p, line, &len);
}

static void
keep(struct peer *p, const void *bytes, size_t len)
{
	if (buf_put(&p->body, bytes, len) != ST_OK)
		fail(p, "body", "too long");
}

/* ---- steps ---- */

static void
expect(struct peer *p, const char *want, bool whole)
{
	char line[LINE_SIZE];

	if (!read_line(p, line)) {
		fail(p, want, "connection ended");
		return;
	}
	if (strncmp(line, want, strlen(want)) != 0 ||
	    (whole && strcmp(line, want) != 0))
		fail(p, want, line);
}

static void
read_lines(struct peer *p, const char *answer, size_t n)
{
	char line[LINE_SIZE];

	for (; n > 0; n--) {
		if (!read_line(p, line)) {
			fail(p, "lines", "connection ended");
			return;
		}
		(void)send_all(p, answer, strlen(answer));
	}
}

static void
quiet(struct peer *p, size_t ms)
{
	struct pollfd pfd = { .fd = p->fd, .events = POLLIN };

	if (p->in_start != p->in_len || poll(&pfd, 1, (int)ms) != 0)
		fail(p, "quiet", "something came");
}

static void
read_body(struct peer *p)
{
	char line[LINE_SIZE];
	size_t len, dot;

	while (read_octets(p, line, &len)) {
		dot = len > 0 && line[0] == '.' ? 1 : 0;
		if (dot == 1 && len == 1)
			return;
		keep(p, line + dot, len - dot);
		keep(p, "\r\n", 2);
	}
	fail(p, "body", "no final dot");
}

/* CRLF.CRLF; the CRLF before it may be that of DATA. */
static void
discard(struct peer *p)
{
	static const char end[] = "\r\n.\r\n";
	size_t matched = 2;
	uint8_t byte;

	while (matched < sizeof(end) - 1 && read_byte(p, &byte))
		matched = byte == (uint8_t)end[matched] ? matched + 1 :
			byte == '\r' ? 1 : 0;
	if (matched < sizeof(end) - 1)
		fail(p, "body", "no final dot");
}

static void
never(struct peer *p, const char *text)
{
	char line[LINE_SIZE];
	size_t len;

	while (read_octets(p, line, &len))
		if ((len == strlen(text) && memcmp(line, text, len) == 0) ||
		    (text[1] != '\0' && strstr(line, text) != NULL))
			fail(p, "never", line);
}

/* True when it was the last. */
static bool
read_chunk(struct peer *p, const char *want)
{
	char line[LINE_SIZE];
	size_t len = 0;
	int head = 0;
	uint8_t byte;
	bool last;

	if (!read_line(p, line) ||
	    sscanf(line, "BDAT %zu%n", &len, &head) != 1) {
		fail(p, "BDAT", line);
		return true;
	}
	last = strcmp(line + head, " LAST") == 0;
	if (want != NULL && last != (strcmp(want, "LAST") == 0))
		fail(p, want, line);
	for (; len > 0 && read_byte(p, &byte); len--)
		keep(p, &byte, 1);
	if (len > 0)
		fail(p, "BDAT", "chunk cut off");
	return last || p->failure[0] != '\0';
}

static void
read_chunks(struct peer *p)
{
	while (!read_chunk(p, NULL))
		if (!send_all(p, "250 chunk\r\n", 11))
			return;
}

static void
read_head(struct peer *p)
{
	char line[LINE_SIZE];
	size_t len;

	while (read_octets(p, line, &len)) {
		keep(p, line, len);
		keep(p, "\r\n", 2);
		if (len == 0)
			return;
	}
	fail(p, "header", "no end");
}

static void
take(struct peer *p, size_t len)
{
	uint8_t byte;

	for (; len > 0 && read_byte(p, &byte); len--)
		keep(p, &byte, 1);
	if (len > 0)
		fail(p, "bytes", "too few");
}

static void
new_tls(struct peer *p)
{
	p->ssl = SSL_new(p->cert.ctx);
	(void)SSL_set_fd(p->ssl, p->fd);
}

static void
start_tls(struct peer *p, const char *sni, bool resumed)
{
	const char *got;

	new_tls(p);
	if (p->in_start != p->in_len) {
		fail(p, "TLS", "client spoke before the handshake");
		return;
	}
	if (SSL_accept(p->ssl) != 1) {
		fail(p, "TLS", "handshake failed");
		return;
	}
	if ((SSL_session_reused(p->ssl) == 1) != resumed) {
		fail(p, "TLS", resumed ? "no session was resumed" :
			"the session was resumed");
		return;
	}
	got = SSL_get_servername(p->ssl, TLSEXT_NAMETYPE_host_name);
	if (sni != NULL && strcmp(got != NULL ? got : "", sni) != 0)
		fail(p, "SNI", got != NULL ? got : "none");
}

/* 1: wants a certificate of the client; else the newest version to speak. */
static void
fail_tls(struct peer *p, size_t how)
{
	new_tls(p);
	if (how == 1) {
		SSL_set_verify(p->ssl, SSL_VERIFY_PEER |
			SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	} else {
		SSL_set_security_level(p->ssl, 0);
		(void)SSL_set_min_proto_version(p->ssl, TLS1_VERSION);
		if (how != 0)
			(void)SSL_set_max_proto_version(p->ssl, (int)how);
	}
	if (SSL_accept(p->ssl) == 1)
		fail(p, "TLS", "handshake succeeded");
	SSL_free(p->ssl);
	p->ssl = NULL;
}

/* What follows is read as far as there is a session. */
static void
try_tls(struct peer *p)
{
	new_tls(p);
	if (SSL_accept(p->ssl) == 1 && SSL_session_reused(p->ssl))
		fail(p, "TLS", "the session was resumed");
}

static void
drip(struct peer *p, const char *text, size_t ms)
{
	for (; *text != '\0' && send_all(p, text, 1); text++)
		(void)poll(NULL, 0, (int)ms);
}

static void
flood(struct peer *p, const char *text)
{
	for (size_t i = 0; i < 1000000; i++)
		if (!send_all(p, text, strlen(text)))
			return;
	fail(p, "flood", "client takes everything");
}

static void
wait_close(struct peer *p, size_t max, int pause_ms)
{
	while (fill(p, max))
		if (pause_ms > 0)
			(void)poll(NULL, 0, pause_ms);
}

static void
cut(struct peer *p)
{
	const struct linger now = { .l_onoff = 1, .l_linger = 0 };

	(void)setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static bool wait_client(struct peer *);

static void
again(struct peer *p)
{
	SSL_free(p->ssl);
	p->ssl = NULL;
	(void)close(p->fd);
	p->in_start = p->in_len = 0;
	if (!wait_client(p))
		fail(p, "accept", "no client came again");
}

static void
do_step(struct peer *p, const struct peer_step *s)
{
	switch (s->op) {
	case PEER_END:
		break;
	case PEER_SEND:
		(void)send_all(p, s->text, strlen(s->text));
		break;
	case PEER_BYTES:
		(void)send_all(p, s->text, s->n);
		break;
	case PEER_DRIP:
		drip(p, s->text, s->n);
		break;
	case PEER_FLOOD:
		flood(p, s->text);
		break;
	case PEER_EXPECT:
		expect(p, s->text, false);
		break;
	case PEER_LINE:
		expect(p, s->text, true);
		break;
	case PEER_LINES:
		read_lines(p, s->text, s->n);
		break;
	case PEER_QUIET:
		quiet(p, s->n);
		break;
	case PEER_BODY:
		read_body(p);
		break;
	case PEER_DISCARD:
		discard(p);
		break;
	case PEER_NEVER:
		never(p, s->text);
		break;
	case PEER_CHUNK:
		(void)read_chunk(p, s->text);
		break;
	case PEER_CHUNKS:
		read_chunks(p);
		break;
	case PEER_TLS:
		start_tls(p, s->text, s->n == 1);
		break;
	case PEER_TLS_FAIL:
		fail_tls(p, s->n);
		break;
	case PEER_TLS_TRY:
		try_tls(p);
		break;
	case PEER_HEAD:
		read_head(p);
		break;
	case PEER_TAKE:
		take(p, s->n);
		break;
	case PEER_BYE:
		(void)SSL_shutdown(p->ssl);
		break;
	case PEER_SLEEP:
		(void)poll(NULL, 0, (int)s->n);
		break;
	case PEER_WAIT:
		wait_close(p, sizeof(p->in), 0);
		break;
	case PEER_SLOW_READ:
		wait_close(p, s->n, 20);
		break;
	case PEER_CUT:
		cut(p);
		break;
	case PEER_AGAIN:
		again(p);
		break;
	}
}

static bool
wait_client(struct peer *p)
{
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	struct pollfd pfd = { .fd = p->listen_fd, .events = POLLIN };

	if (poll(&pfd, 1, PATIENCE_S * 1000) != 1)
		return false;
	p->fd = accept(p->listen_fd, NULL, NULL);
	if (p->fd < 0)
		return false;
	(void)setsockopt(p->fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
		sizeof(patience));
	(void)setsockopt(p->fd, SOL_SOCKET, SO_SNDTIMEO, &patience,
		sizeof(patience));
	return true;
}

static void *
run(void *arg)
{
	struct peer *p = arg;

	if (!wait_client(p)) {
		fail(p, "accept", "no client came");
		return NULL;
	}
	for (p->at = 0; p->steps[p->at].op != PEER_END &&
	    p->failure[0] == '\0'; p->at++)
		do_step(p, &p->steps[p->at]);
	SSL_free(p->ssl);
	p->ssl = NULL;
	(void)close(p->fd);
	p->fd = -1;
	ERR_clear_error();
	return NULL;
}

/* ---- interface ---- */

static void
bind_loopback(struct peer *p, int family)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
		.sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int rc;

	if (family == AF_INET6) {
		memcpy(&p->addr, &v6, sizeof(v6));
		p->addr_len = sizeof(v6);
	} else {
		memcpy(&p->addr, &v4, sizeof(v4));
		p->addr_len = sizeof(v4);
	}
	p->listen_fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	rc = bind(p->listen_fd, (struct sockaddr *)&p->addr, p->addr_len);
	if (rc != 0 || listen(p->listen_fd, 1) != 0 ||
	    getsockname(p->listen_fd, (struct sockaddr *)&p->addr,
	    &p->addr_len) != 0) {
		perror("peer");
		abort();
	}
}

struct peer *
peer_start(int family, const struct peer_step *steps)
{
	static const struct cert_spec self_signed;

	return peer_start_cert(family, steps, &self_signed);
}

struct peer *
peer_start_cert(int family, const struct peer_step *steps,
	const struct cert_spec *spec)
{
	struct peer *p = xcalloc(1, sizeof(*p));
	size_t n = 0;

	while (steps[n].op != PEER_END) {
		assert(n < PEER_STEPS_MAX - 1);
		p->steps[n] = steps[n];
		n++;
	}
	p->fd = -1;
	cert_make(&p->cert, spec);
	buf_init(&p->body, PEER_BODY_MAX);
	bind_loopback(p, family);
	if (pthread_create(&p->thread, NULL, run, p) != 0)
		abort();
	return p;
}

const char *
peer_join(struct peer *p)
{
	if (!p->joined)
		(void)pthread_join(p->thread, NULL);
	p->joined = true;
	return p->failure[0] != '\0' ? p->failure : NULL;
}

void
peer_free(struct peer **peer)
{
	struct peer *p = *peer;

	if (p == NULL)
		return;
	(void)shutdown(p->listen_fd, SHUT_RDWR);
	(void)peer_join(p);
	(void)close(p->listen_fd);
	cert_clear(&p->cert);
	buf_clear(&p->body);
	mem_free(peer);
}

void
peer_addr(const struct peer *p, struct sockaddr_storage *addr, socklen_t *len)
{
	memcpy(addr, &p->addr, sizeof(*addr));
	*len = p->addr_len;
}

const struct buf *
peer_body(const struct peer *p)
{
	return &p->body;
}

const struct cert *
peer_cert(const struct peer *p)
{
	return &p->cert;
}
