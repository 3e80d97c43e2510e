/*
 * A mail sink for measurements: takes everything, with STARTTLS, keeps
 * nothing.  One thread for each connection.
 *
 * usage: sink ADDRESS PORT CERTIFICATE KEY
 */
#include "config.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER 65536

static SSL_CTX *ctx;

struct peer {
	int fd;
	SSL *ssl;
	size_t len;
	char buf[BUFFER];
};

static bool
say(struct peer *p, const char *text)
{
	size_t len = strlen(text);

	return p->ssl != NULL ? SSL_write(p->ssl, text, (int)len) > 0 :
		write(p->fd, text, len) == (ssize_t)len;
}

static bool
fill(struct peer *p)
{
	size_t room = BUFFER - p->len;
	ssize_t n = p->ssl != NULL ?
		SSL_read(p->ssl, p->buf + p->len, (int)room) :
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

/* Reads up to CRLF.CRLF. */
static bool
get_text(struct peer *p)
{
	static const char mark[] = "\r\n.\r\n";
	char *end;

	while ((end = memmem(p->buf, p->len, mark, 5)) == NULL) {
		if (p->len > 4)
			drop(p, p->len - 4);
		if (!fill(p))
			return false;
	}
	drop(p, (size_t)(end - p->buf) + 5);
	return true;
}

static bool
start_tls(struct peer *p)
{
	if (!say(p, "220 go\r\n"))
		return false;
	p->ssl = SSL_new(ctx);
	p->len = 0;
	return p->ssl != NULL && SSL_set_fd(p->ssl, p->fd) == 1 &&
		SSL_accept(p->ssl) == 1;
}

static bool
answer(struct peer *p, const char *line)
{
	if (strncasecmp(line, "EHLO", 4) == 0)
		return say(p, p->ssl != NULL ?
			"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n" :
			"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n"
			"250 STARTTLS\r\n");
	if (strncasecmp(line, "STARTTLS", 8) == 0)
		return start_tls(p);
	if (strncasecmp(line, "DATA", 4) == 0)
		return say(p, "354 go\r\n") && get_text(p) &&
			say(p, "250 2.0.0 taken\r\n");
	if (strncasecmp(line, "QUIT", 4) == 0)
		return (void)say(p, "221 2.0.0 bye\r\n"), false;
	return say(p, "250 2.0.0 ok\r\n");
}

static void *
serve(void *arg)
{
	struct peer *p = arg;
	char line[2048];

	if (say(p, "220 sink ESMTP\r\n"))
		while (get_line(p, line, sizeof(line)) && answer(p, line))
			;
	SSL_free(p->ssl);
	(void)close(p->fd);
	free(p);
	return NULL;
}

static int
listen_on(const char *address, const char *port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)atoi(port)) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	if (inet_pton(AF_INET, address, &sin.sin_addr) != 1 || fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
	    bind(fd, (struct sockaddr *)&sin, sizeof(sin)) != 0 ||
	    listen(fd, 1000) != 0) {
		perror("sink");
		exit(1);
	}
	return fd;
}

static void
accept_all(int listener)
{
	for (;;) {
		struct peer *p = calloc(1, sizeof(*p));
		pthread_t thread;
		int one = 1;

		if (p == NULL)
			exit(1);
		p->fd = accept(listener, NULL, NULL);
		(void)setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one,
			sizeof(one));
		if (p->fd < 0 || pthread_create(&thread, NULL, serve, p) != 0) {
			free(p);
			continue;
		}
		(void)pthread_detach(thread);
	}
}

int
main(int argc, char **argv)
{
	if (argc != 5) {
		(void)fprintf(stderr, "usage: sink ADDRESS PORT CERT KEY\n");
		return 64;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	ctx = SSL_CTX_new(TLS_server_method());
	if (ctx == NULL ||
	    SSL_CTX_use_certificate_chain_file(ctx, argv[3]) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, argv[4], SSL_FILETYPE_PEM) != 1) {
		(void)fprintf(stderr, "sink: certificate or key\n");
		return 1;
	}
	accept_all(listen_on(argv[1], argv[2]));
	return 0;
}
