/*
 * A receiver for measurements: takes everything, says 250, offers STARTTLS when
 * it is given a certificate.  One thread for each connection, no storage.
 *
 *	sink ADDRESS PORT [CERTIFICATE KEY]
 *
 * At SIGTERM it prints messages, connections and handshakes.
 */
#include "config.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ssl.h>

#define BUF_BYTES 65536

static SSL_CTX *tls;
static atomic_long messages, connections, handshakes;

struct peer {
	int fd;
	SSL *ssl;
	char in[BUF_BYTES];
	size_t start, end;
	char out[4096];
	size_t out_len;
};

static bool
flush_out(struct peer *p)
{
	size_t done = 0;

	while (done < p->out_len) {
		ssize_t n = p->ssl != NULL ? (ssize_t)SSL_write(p->ssl,
			p->out + done, (int)(p->out_len - done)) :
			write(p->fd, p->out + done, p->out_len - done);

		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	p->out_len = 0;
	return true;
}

static void
say(struct peer *p, const char *text)
{
	size_t len = strlen(text);

	if (p->out_len + len > sizeof(p->out))
		(void)flush_out(p);
	memcpy(p->out + p->out_len, text, len);
	p->out_len += len;
}

static bool
more(struct peer *p)
{
	ssize_t n;

	if (!flush_out(p))
		return false;
	memmove(p->in, p->in + p->start, p->end - p->start);
	p->end -= p->start;
	p->start = 0;
	if (p->end == sizeof(p->in))
		return false;
	n = p->ssl != NULL ? (ssize_t)SSL_read(p->ssl, p->in + p->end,
		(int)(sizeof(p->in) - p->end)) :
		read(p->fd, p->in + p->end, sizeof(p->in) - p->end);
	if (n <= 0)
		return false;
	p->end += (size_t)n;
	return true;
}

/* The next line without its end, or NULL. */
static char *
line(struct peer *p)
{
	for (;;) {
		char *at = p->in + p->start;
		char *nl = memchr(at, '\n', p->end - p->start);

		if (nl != NULL) {
			*nl = '\0';
			p->start = (size_t)(nl - p->in) + 1;
			return at;
		}
		if (!more(p))
			return NULL;
	}
}

static bool
body(struct peer *p)
{
	char *text;

	say(p, "354 go on\r\n");
	while ((text = line(p)) != NULL)
		if (strcmp(text, ".\r") == 0) {
			atomic_fetch_add(&messages, 1);
			say(p, "250 2.0.0 taken\r\n");
			return true;
		}
	return false;
}

static bool
start_tls(struct peer *p)
{
	say(p, "220 go on\r\n");
	if (!flush_out(p))
		return false;
	p->ssl = SSL_new(tls);
	(void)SSL_set_fd(p->ssl, p->fd);
	if (SSL_accept(p->ssl) != 1)
		return false;
	atomic_fetch_add(&handshakes, 1);
	p->start = p->end = 0;
	return true;
}

static bool
command(struct peer *p, const char *text)
{
	if (strncmp(text, "DATA", 4) == 0)
		return body(p);
	if (strncmp(text, "STARTTLS", 8) == 0 && tls != NULL)
		return start_tls(p);
	if (strncmp(text, "QUIT", 4) == 0) {
		say(p, "221 bye\r\n");
		(void)flush_out(p);
		return false;
	}
	if (strncmp(text, "EHLO", 4) == 0) {
		say(p, "250-sink\r\n250-PIPELINING\r\n");
		if (tls != NULL && p->ssl == NULL)
			say(p, "250-STARTTLS\r\n");
		say(p, "250 8BITMIME\r\n");
	} else {
		say(p, "250 2.0.0 ok\r\n");
	}
	return true;
}

static void *
serve(void *arg)
{
	struct peer *p = arg;
	char *text;

	say(p, "220 sink ESMTP\r\n");
	while ((text = line(p)) != NULL && command(p, text))
		;
	SSL_free(p->ssl);
	(void)close(p->fd);
	free(p);
	return NULL;
}

static void
on_term(int sig)
{
	char text[128];
	int n = snprintf(text, sizeof(text),
		"messages %ld connections %ld handshakes %ld\n",
		atomic_load(&messages), atomic_load(&connections),
		atomic_load(&handshakes));

	(void)sig;
	(void)!write(STDOUT_FILENO, text, (size_t)n);
	_exit(0);
}

static int
open_listener(const char *address, const char *port)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)strtoul(port, NULL, 10)) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	if (fd < 0 || inet_pton(AF_INET, address, &in.sin_addr) != 1)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&in, sizeof(in)) != 0 ||
	    listen(fd, 1024) != 0)
		return -1;
	return fd;
}

int
main(int argc, char **argv)
{
	int fd = argc < 3 ? -1 : open_listener(argv[1], argv[2]);

	if (fd < 0) {
		perror("sink");
		return 1;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGTERM, on_term);
	if (argc == 5) {
		tls = SSL_CTX_new(TLS_server_method());
		if (SSL_CTX_use_certificate_chain_file(tls, argv[3]) != 1 ||
		    SSL_CTX_use_PrivateKey_file(tls, argv[4],
		    SSL_FILETYPE_PEM) != 1)
			return 1;
	}
	for (;;) {
		struct peer *p = calloc(1, sizeof(*p));
		pthread_t thread;

		if (p == NULL)
			return 1;
		p->fd = accept(fd, NULL, NULL);
		if (p->fd < 0) {
			free(p);
			continue;
		}
		atomic_fetch_add(&connections, 1);
		if (pthread_create(&thread, NULL, serve, p) == 0)
			(void)pthread_detach(thread);
		else
			free(p);
	}
}
