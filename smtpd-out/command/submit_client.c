/*
 * Blocking SMTP client of the submit command.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/str.h"
#include "smtpd-out/command/submit_client.h"

#define IN_MAX 16384
#define PATIENCE_S 900		/* longer than the service's own patience */

enum status
submit_client_open(struct submit_client *c, const char *path)
{
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int error;

	memset(c, 0, sizeof(*c));
	buf_init(&c->in, IN_MAX);
	c->fd = -1;
	if (!str_copy(un.sun_path, sizeof(un.sun_path), path)) {
		errno = ENAMETOOLONG;
		return ST_SYS;
	}
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return ST_SYS;
	if (connect(c->fd, (const struct sockaddr *)&un, sizeof(un)) != 0) {
		error = errno;
		submit_client_close(c);
		errno = error;
		return ST_SYS;
	}
	(void)setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
		sizeof(patience));
	(void)setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &patience,
		sizeof(patience));
	return ST_OK;
}

void
submit_client_close(struct submit_client *c)
{
	if (c->fd >= 0)
		(void)close(c->fd);
	c->fd = -1;
	buf_clear(&c->in);
}

static bool
fill(struct submit_client *c)
{
	uint8_t *room = buf_reserve(&c->in, 1024);
	ssize_t n;

	if (room == NULL)	/* no line is that long */
		return false;
	do
		n = recv(c->fd, room, 1024, 0);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return false;
	buf_commit(&c->in, (size_t)n);
	return true;
}

/* The next line without its end, as text; false at the end. */
static bool
get_line(struct submit_client *c, char *line, size_t line_bytes)
{
	const uint8_t *lf;
	size_t len;

	while ((lf = memchr(buf_data(&c->in), '\n', c->in.len)) == NULL)
		if (!fill(c))
			return false;
	len = (size_t)(lf - buf_data(&c->in));
	str_sanitise(line, line_bytes, (const char *)buf_data(&c->in),
		len > 0 && lf[-1] == '\r' ? len - 1 : len);
	buf_drain(&c->in, len + 1);
	return true;
}

bool
submit_client_reply(struct submit_client *c)
{
	char line[SUBMIT_REPLY_BYTES];

	c->code = 0;
	c->requiretls = false;
	(void)str_copy(c->text, sizeof(c->text), "connection lost");
	do {
		if (!get_line(c, line, sizeof(line)))
			return false;
		if (strspn(line, "0123456789") != 3 || (line[3] != ' ' &&
		    line[3] != '-' && line[3] != '\0'))
			return false;
		if (line[3] != '\0' && strcasecmp(line + 4, "REQUIRETLS") == 0)
			c->requiretls = true;
	} while (line[3] == '-');
	c->code = (int)strtol(line, NULL, 10);
	(void)str_copy(c->text, sizeof(c->text), line[3] == '\0' ? "" :
		line + 4);
	return true;
}

bool
submit_client_put(struct submit_client *c, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	while (len > 0) {
		ssize_t n = send(c->fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

bool
submit_client_ask(struct submit_client *c, const char *line, int digit)
{
	/* When it cannot be sent there may still be a word of why. */
	(void)submit_client_put(c, line, strlen(line));
	return submit_client_reply(c) && c->code / 100 == digit;
}
