/*
 * A bare SMTP client for measurements: speaks the protocol and does nothing
 * else.  It loads what is measured, and run against the sink it shows the
 * sink's own ceiling.  One thread for each session.
 *
 * usage: source [-dts] [-i MS] ADDRESS PORT SESSIONS MESSAGES OCTETS FROM TO
 *
 * -d	a new connection for each message
 * -t	STARTTLS
 * -s	the header holds the time at which the message was begun
 * -i	so many milliseconds between the messages of a session
 *
 * %d in TO is the number of the message.  Prints as JSON what it took once all
 * sessions were connected, and the seconds of the longest message.
 */
#include "config.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER 65536
#define LINE 74
#define PATIENCE 60		/* seconds for a reply */

static struct {
	struct sockaddr_in to;
	unsigned sessions, messages, pause_ms;
	size_t octets;
	const char *from, *rcpt;
	bool reconnect, tls, stamp;
} opt;

struct client {
	int fd;
	SSL *ssl;
	bool pipelining;
	size_t len;
	char buf[BUFFER];
};

static SSL_CTX *ctx;
static char block[BUFFER];		/* of whole lines */
static size_t block_len;
static atomic_uint next_message, failed;
static _Atomic uint64_t longest_ns;
static pthread_barrier_t ready;		/* all sessions are connected */

static uint64_t
now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static bool
put(struct client *c, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = c->ssl != NULL ? SSL_write(c->ssl, bytes,
			(int)len) : write(c->fd, bytes, len);

		if (n <= 0)
			return false;
		bytes += n;
		len -= (size_t)n;
	}
	return true;
}

/* Reads one reply; its code, or 0. */
static int
reply(struct client *c)
{
	for (;;) {
		char *end = memchr(c->buf, '\n', c->len);
		ssize_t n;

		if (end != NULL) {
			int code = atoi(c->buf);
			bool last = c->buf[3] != '-';
			size_t used = (size_t)(end - c->buf) + 1;

			if (memmem(c->buf, used, "PIPELINING", 10) != NULL)
				c->pipelining = true;
			memmove(c->buf, c->buf + used, c->len - used);
			c->len -= used;
			if (last)
				return code;
			continue;
		}
		n = c->ssl != NULL ? SSL_read(c->ssl, c->buf + c->len,
			(int)(BUFFER - c->len)) : read(c->fd, c->buf + c->len,
			BUFFER - c->len);
		if (n <= 0)
			return 0;
		c->len += (size_t)n;
	}
}

static bool
ask(struct client *c, const char *line, int want)
{
	return put(c, line, strlen(line)) && reply(c) == want;
}

static void
disconnect(struct client *c)
{
	if (c->fd < 0)
		return;
	(void)ask(c, "QUIT\r\n", 221);
	SSL_free(c->ssl);
	(void)close(c->fd);
	c->ssl = NULL;
	c->fd = -1;
	c->len = 0;
}

static bool
connect_client(struct client *c)
{
	struct timeval limit = { .tv_sec = PATIENCE };
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM, 0);
	(void)setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit,
		sizeof(limit));
	(void)setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit,
		sizeof(limit));
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(c->fd, (struct sockaddr *)&opt.to, sizeof(opt.to)) != 0 ||
	    reply(c) != 220 || !ask(c, "EHLO source.test\r\n", 250))
		return false;
	if (!opt.tls)
		return true;
	if (!ask(c, "STARTTLS\r\n", 220))
		return false;
	c->ssl = SSL_new(ctx);
	return SSL_set_fd(c->ssl, c->fd) == 1 && SSL_connect(c->ssl) == 1 &&
		ask(c, "EHLO source.test\r\n", 250);
}

/* All at once they would overrun the short listen queues of some servers:
 * one after the other, and again where no banner comes. */
static void
connect_first(struct client *c, unsigned index)
{
	(void)usleep(index * 4000);
	for (unsigned i = 0; i < 5 && !connect_client(c); i++) {
		(void)close(c->fd);
		c->fd = -1;
	}
}

static bool
envelope(struct client *c, unsigned number)
{
	char to[256], mail[400], rcpt[400], all[900];
	const char *at = strstr(opt.rcpt, "%d");

	(void)snprintf(to, sizeof(to), "%s", opt.rcpt);
	if (at != NULL)
		(void)snprintf(to, sizeof(to), "%.*s%u%s",
			(int)(at - opt.rcpt), opt.rcpt, number, at + 2);
	(void)snprintf(mail, sizeof(mail), "MAIL FROM:<%s>\r\n", opt.from);
	(void)snprintf(rcpt, sizeof(rcpt), "RCPT TO:<%s>\r\n", to);
	if (!c->pipelining)
		return ask(c, mail, 250) && ask(c, rcpt, 250) &&
			ask(c, "DATA\r\n", 354);
	(void)snprintf(all, sizeof(all), "%s%sDATA\r\n", mail, rcpt);
	return put(c, all, strlen(all)) && reply(c) == 250 &&
		reply(c) == 250 && reply(c) == 354;
}

/* The header, and text up to the size; small messages in one piece. */
static bool
text(struct client *c, unsigned number, uint64_t began)
{
	char buf[BUFFER + 16];
	size_t left, len = (size_t)snprintf(buf, sizeof(buf),
		"From: <%s>\r\nTo: <%s>\r\nSubject: %u\r\n"
		"Date: Mon, 01 Jun 2026 00:00:00 +0000\r\n"
		"Message-ID: <%u.%llu@source.test>\r\n", opt.from, "list",
		number, number, (unsigned long long)began);

	if (opt.stamp)
		len += (size_t)snprintf(buf + len, sizeof(buf) - len,
			"X-Bench-Sent: %llu\r\n", (unsigned long long)began);
	buf[len++] = '\r';
	buf[len++] = '\n';
	left = opt.octets > len ? opt.octets - len : LINE;
	while (left > 0) {
		size_t n = left < block_len ? left / LINE * LINE + LINE :
			block_len;

		if (n > sizeof(buf) - 16 - len)
			n = (sizeof(buf) - 16 - len) / LINE * LINE;
		memcpy(buf + len, block, n);
		len += n;
		left -= n < left ? n : left;
		if (left > 0 && !put(c, buf, len))
			return false;
		len = left > 0 ? 0 : len;
	}
	memcpy(buf + len, ".\r\n", 3);
	return put(c, buf, len + 3) && reply(c) == 250;
}

static bool
one(struct client *c, unsigned number)
{
	uint64_t began = now_ns(), took, most;

	if (c->fd < 0 && !connect_client(c))
		return false;
	if (!envelope(c, number) || !text(c, number, began))
		return false;
	took = now_ns() - began;
	most = atomic_load(&longest_ns);
	while (took > most && !atomic_compare_exchange_weak(&longest_ns,
	    &most, took))
		;
	if (opt.reconnect)
		disconnect(c);
	return true;
}

static void *
session(void *arg)
{
	struct client *c = calloc(1, sizeof(*c));
	unsigned number;

	if (c == NULL)
		exit(1);
	c->fd = -1;
	if (!opt.reconnect)
		connect_first(c, *(unsigned *)arg);
	(void)pthread_barrier_wait(&ready);
	while ((number = atomic_fetch_add(&next_message, 1)) < opt.messages) {
		if (!one(c, number)) {
			atomic_fetch_add(&failed, 1);
			disconnect(c);
		}
		if (opt.pause_ms > 0)
			(void)usleep(opt.pause_ms * 1000);
	}
	disconnect(c);
	free(c);
	return NULL;
}

static void
usage(void)
{
	(void)fprintf(stderr, "usage: source [-dts] [-i MS] ADDRESS PORT "
		"SESSIONS MESSAGES OCTETS FROM TO\n");
	exit(64);
}

static void
options(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "dtsi:")) != -1) {
		opt.reconnect |= c == 'd';
		opt.tls |= c == 't';
		opt.stamp |= c == 's';
		if (c == 'i')
			opt.pause_ms = (unsigned)atoi(optarg);
		if (c == '?')
			usage();
	}
	argv += optind;
	if (argc - optind != 7 || inet_pton(AF_INET, argv[0],
	    &opt.to.sin_addr) != 1)
		usage();
	opt.to.sin_family = AF_INET;
	opt.to.sin_port = htons((uint16_t)atoi(argv[1]));
	opt.sessions = (unsigned)atoi(argv[2]);
	opt.messages = (unsigned)atoi(argv[3]);
	opt.octets = strtoul(argv[4], NULL, 10);
	opt.from = argv[5];
	opt.rcpt = argv[6];
}

int
main(int argc, char **argv)
{
	struct rusage use;
	pthread_t *threads;
	unsigned *index;
	uint64_t began;

	options(argc, argv);
	(void)signal(SIGPIPE, SIG_IGN);
	ctx = SSL_CTX_new(TLS_client_method());
	threads = calloc(opt.sessions, sizeof(*threads));
	index = calloc(opt.sessions, sizeof(*index));
	if (ctx == NULL || threads == NULL || index == NULL ||
	    pthread_barrier_init(&ready, NULL, opt.sessions + 1) != 0)
		return 1;
	for (; block_len + LINE <= BUFFER - 1024; block_len += LINE) {
		memset(block + block_len, 'x', LINE - 2);
		memcpy(block + block_len + LINE - 2, "\r\n", 2);
	}
	for (unsigned i = 0; i < opt.sessions; i++) {
		index[i] = i;
		if (pthread_create(&threads[i], NULL, session, &index[i]) != 0)
			return 1;
	}
	(void)pthread_barrier_wait(&ready);
	began = now_ns();
	for (unsigned i = 0; i < opt.sessions; i++)
		(void)pthread_join(threads[i], NULL);
	began = now_ns() - began;
	(void)getrusage(RUSAGE_SELF, &use);
	(void)printf("{\"seconds\": %.6f, \"failed\": %u, \"longest\": %.6f, "
		"\"cpu\": %.6f}\n", (double)began / 1e9, atomic_load(&failed),
		(double)atomic_load(&longest_ns) / 1e9,
		(double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
		(double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6);
	return atomic_load(&failed) == 0 ? 0 : 1;
}
