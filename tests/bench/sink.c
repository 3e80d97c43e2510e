/*
 * A mail sink for measurements: takes everything on port 25 of all addresses,
 * keeps nothing, and counts in a file that others map.  One thread for each
 * connection; replies to pipelined commands go out together.
 *
 * usage: sink COUNTERS CERTIFICATE KEY [NETWORK/BITS=MODE]...
 *
 * The mode of an address is tls (STARTTLS is offered; the default), clear,
 * slow:MS (clear, and each reply comes after MS milliseconds), or hold:MS (as
 * tls, and the reply to MAIL comes after MS milliseconds).
 */
#include "config.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER 65536
#define OUT 4096
#define STACK ((size_t)128 * 1024)
#define MODES 16
#define DELAYS 65536
#define STAMP "X-Bench-Sent: "

/* The file; bench_world.py knows the order. */
struct counters {
	_Atomic uint64_t connections, handshakes, resumed, messages, octets;
	_Atomic uint64_t first_ns, last_ns;	/* arrival of messages */
	_Atomic uint64_t greeted, greeted_peak;	/* sessions after EHLO */
	_Atomic uint64_t stamped;		/* delays noted below */
	_Atomic uint64_t delay_ns[DELAYS];	/* from the stamp to the dot */
};

enum mode { TLS = 0, CLEAR, SLOW, HOLD };

struct network {
	uint32_t address, mask;
	enum mode mode;
	unsigned delay_ms;
};

struct peer {
	int fd;
	SSL *ssl;
	const struct network *net;
	bool greeted;
	size_t len, out_len;
	char out[OUT];
	char buf[BUFFER];
};

static SSL_CTX *ctx;
static struct counters *count;
static struct network networks[MODES] = { { 0, 0, TLS, 0 } };
static size_t network_count;

static uint64_t
now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static bool
flush(struct peer *p)
{
	size_t sent = 0;

	while (sent < p->out_len) {
		ssize_t n = p->ssl != NULL ?
			SSL_write(p->ssl, p->out + sent,
			(int)(p->out_len - sent)) :
			write(p->fd, p->out + sent, p->out_len - sent);

		if (n <= 0)
			return false;
		sent += (size_t)n;
	}
	p->out_len = 0;
	return true;
}

static bool
say(struct peer *p, const char *text)
{
	size_t len = strlen(text);

	if (p->net->mode == SLOW)
		(void)usleep(p->net->delay_ms * 1000);
	if (p->out_len + len > OUT && !flush(p))
		return false;
	memcpy(p->out + p->out_len, text, len);
	p->out_len += len;
	return p->net->mode != SLOW || flush(p);
}

static bool
fill(struct peer *p)
{
	size_t room = BUFFER - p->len;
	ssize_t n;

	if (!flush(p))
		return false;
	n = p->ssl != NULL ? SSL_read(p->ssl, p->buf + p->len, (int)room) :
		read(p->fd, p->buf + p->len, room);
	if (n <= 0)
		return false;
	p->len += (size_t)n;
	return true;
}

static void
drop(struct peer *p, size_t n)
{
	memmove(p->buf, p->buf + n, p->len - n);
	p->len -= n;
}

/* One line without its end; false when the connection is gone. */
static bool
get_line(struct peer *p, char *out, size_t size)
{
	char *end;
	size_t n;

	while ((end = memchr(p->buf, '\n', p->len)) == NULL)
		if (p->len == BUFFER || !fill(p))
			return false;
	n = (size_t)(end - p->buf) + 1;
	(void)snprintf(out, size, "%.*s", (int)n, p->buf);
	drop(p, n);
	return true;
}

static void
note_message(uint64_t sent_ns)
{
	uint64_t now = now_ns(), none = 0;

	(void)atomic_compare_exchange_strong(&count->first_ns, &none, now);
	atomic_store(&count->last_ns, now);
	if (sent_ns != 0)
		count->delay_ns[atomic_fetch_add(&count->stamped, 1) %
			DELAYS] = now - sent_ns;
	atomic_fetch_add(&count->messages, 1);
}

/* The stamp, if it stands in what is there of the header. */
static uint64_t
stamp(const struct peer *p)
{
	const char *at = memmem(p->buf, p->len, STAMP, sizeof(STAMP) - 1);
	char digits[24];

	if (at == NULL)
		return 0;
	(void)snprintf(digits, sizeof(digits), "%.*s",
		(int)(p->buf + p->len - at) - (int)(sizeof(STAMP) - 1),
		at + sizeof(STAMP) - 1);
	return strtoull(digits, NULL, 10);
}

/* Reads up to CRLF.CRLF. */
static bool
get_text(struct peer *p)
{
	static const char mark[] = "\r\n.\r\n";
	uint64_t sent_ns = 0;
	bool in_header = true;
	char *end;

	for (;;) {
		end = memmem(p->buf, p->len, mark, 5);
		if (in_header && (end != NULL || p->len > BUFFER / 2 ||
		    memmem(p->buf, p->len, "\r\n\r\n", 4) != NULL)) {
			sent_ns = stamp(p);
			in_header = false;
		}
		if (end != NULL)
			break;
		if (!in_header && p->len > 4) {
			atomic_fetch_add(&count->octets, p->len - 4);
			drop(p, p->len - 4);
		}
		if (!fill(p))
			return false;
	}
	atomic_fetch_add(&count->octets, (size_t)(end - p->buf) + 5);
	drop(p, (size_t)(end - p->buf) + 5);
	note_message(sent_ns);
	return true;
}

static bool
start_tls(struct peer *p)
{
	if (!say(p, "220 go\r\n") || !flush(p))
		return false;
	p->ssl = SSL_new(ctx);
	p->len = 0;
	if (p->ssl == NULL || SSL_set_fd(p->ssl, p->fd) != 1 ||
	    SSL_accept(p->ssl) != 1)
		return false;
	atomic_fetch_add(SSL_session_reused(p->ssl) ? &count->resumed :
		&count->handshakes, 1);
	return true;
}

static bool
greet(struct peer *p)
{
	uint64_t now, peak;

	if (!p->greeted) {
		p->greeted = true;
		now = atomic_fetch_add(&count->greeted, 1) + 1;
		peak = atomic_load(&count->greeted_peak);
		while (now > peak && !atomic_compare_exchange_weak(
		    &count->greeted_peak, &peak, now))
			;
	}
	return say(p, p->ssl != NULL || p->net->mode == CLEAR ||
		p->net->mode == SLOW ?
		"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n" :
		"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n"
		"250 STARTTLS\r\n");
}

static bool
answer(struct peer *p, const char *line)
{
	if (strncasecmp(line, "EHLO", 4) == 0)
		return greet(p);
	if (strncasecmp(line, "STARTTLS", 8) == 0)
		return start_tls(p);
	if (strncasecmp(line, "MAIL", 4) == 0 && p->net->mode == HOLD)
		(void)usleep(p->net->delay_ms * 1000);
	if (strncasecmp(line, "DATA", 4) == 0)
		return say(p, "354 go\r\n") && get_text(p) &&
			say(p, "250 2.0.0 taken\r\n");
	if (strncasecmp(line, "QUIT", 4) == 0)
		return (void)say(p, "221 2.0.0 bye\r\n"), (void)flush(p),
			false;
	return say(p, "250 2.0.0 ok\r\n");
}

static void *
serve(void *arg)
{
	struct peer *p = arg;
	char line[2048];

	atomic_fetch_add(&count->connections, 1);
	if (say(p, "220 sink ESMTP\r\n"))
		while (get_line(p, line, sizeof(line)) && answer(p, line))
			;
	if (p->greeted)
		atomic_fetch_sub(&count->greeted, 1);
	SSL_free(p->ssl);
	(void)close(p->fd);
	free(p);
	return NULL;
}

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static int
listener(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
		.sin_port = htons(25) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one,
	    sizeof(one)) != 0 ||
	    bind(fd, (struct sockaddr *)&sin, sizeof(sin)) != 0 ||
	    listen(fd, 4096) != 0)
		die("sink");
	return fd;
}

/* What the address that the client called is to be. */
static const struct network *
network_of(int fd)
{
	struct sockaddr_in sin = { 0 };
	socklen_t len = sizeof(sin);

	(void)getsockname(fd, (struct sockaddr *)&sin, &len);
	for (size_t i = 1; i <= network_count; i++)
		if ((ntohl(sin.sin_addr.s_addr) & networks[i].mask) ==
		    networks[i].address)
			return &networks[i];
	return &networks[0];
}

static void
accept_all(int fd)
{
	pthread_attr_t attr;
	int one = 1;

	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, STACK);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (;;) {
		struct peer *p = calloc(1, sizeof(*p));
		pthread_t thread;

		if (p == NULL)
			die("sink");
		p->fd = accept(fd, NULL, NULL);
		if (p->fd >= 0) {
			(void)setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one,
				sizeof(one));
			p->net = network_of(p->fd);
			if (pthread_create(&thread, &attr, serve, p) == 0)
				continue;
			(void)close(p->fd);
		}
		free(p);
	}
}

static void
add_network(const char *spec)
{
	struct network *n = &networks[network_count + 1];
	char address[32], mode[32];
	struct in_addr in;
	unsigned bits;

	if (network_count + 1 == MODES ||
	    sscanf(spec, "%31[0-9.]/%u=%31s", address, &bits, mode) != 3 ||
	    inet_pton(AF_INET, address, &in) != 1 || bits < 1 || bits > 32) {
		(void)fprintf(stderr, "sink: %s?\n", spec);
		exit(64);
	}
	n->mask = ~(uint32_t)0 << (32 - bits);
	n->address = ntohl(in.s_addr) & n->mask;
	n->mode = strcmp(mode, "clear") == 0 ? CLEAR : TLS;
	if (sscanf(mode, "slow:%u", &n->delay_ms) == 1)
		n->mode = SLOW;
	if (sscanf(mode, "hold:%u", &n->delay_ms) == 1)
		n->mode = HOLD;
	network_count++;
}

static void
map_counters(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0644);

	if (fd < 0 || ftruncate(fd, sizeof(*count)) != 0)
		die(path);
	count = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED,
		fd, 0);
	if (count == MAP_FAILED)
		die(path);
	(void)close(fd);
}

int
main(int argc, char **argv)
{
	if (argc < 4) {
		(void)fprintf(stderr, "usage: sink COUNTERS CERTIFICATE KEY "
			"[NETWORK/BITS=MODE]...\n");
		return 64;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	for (int i = 4; i < argc; i++)
		add_network(argv[i]);
	map_counters(argv[1]);
	ctx = SSL_CTX_new(TLS_server_method());
	if (ctx == NULL ||
	    SSL_CTX_use_certificate_chain_file(ctx, argv[2]) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, argv[3], SSL_FILETYPE_PEM) != 1) {
		(void)fprintf(stderr, "sink: certificate or key\n");
		return 1;
	}
	accept_all(listener());
	return 0;
}
