/*
 * "submit -bs": SMTP on standard input and output, spoken by the service.
 */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/fd.h"
#include "smtpd-out/command/submit_client.h"
#include "smtpd-out/command/submit_send.h"

/* Moves one block; 0 at the end, -1 when either side failed. */
static int
move(int from, int to)
{
	char block[16384];
	ssize_t n = read(from, block, sizeof(block));

	if (n < 0)
		return errno == EINTR ? 1 : -1;
	if (n == 0)
		return 0;
	return fd_write_all(to, block, (size_t)n) ? 1 : -1;
}

static int
carry(int fd)
{
	struct pollfd ends[2] = {
		{ .fd = fd, .events = POLLIN },
		{ .fd = STDIN_FILENO, .events = POLLIN },
	};

	for (;;) {
		int rc;

		if (poll(ends, 2, -1) < 0 && errno != EINTR)
			return EX_OSERR;
		if (ends[0].revents != 0) {
			rc = move(fd, STDOUT_FILENO);
			if (rc <= 0)
				return rc == 0 ? EX_OK : EX_IOERR;
		}
		if (ends[1].revents != 0 && ends[1].fd >= 0) {
			rc = move(STDIN_FILENO, fd);
			if (rc < 0)
				return EX_IOERR;
			if (rc == 0) {	/* its replies may still come */
				(void)shutdown(fd, SHUT_WR);
				ends[1].fd = -1;
			}
		}
	}
}

int
submit_proxy(const char *socket_path)
{
	struct submit_client c;
	int code;

	if (submit_client_open(&c, socket_path) != ST_OK) {
		/* The caller speaks SMTP: tell it in that language too. */
		(void)printf("421 4.3.2 Service is not there\r\n");
		(void)fflush(stdout);
		(void)fprintf(stderr, "smtpd-out submit: %s: %s\n",
			socket_path, strerror(errno));
		return EX_TEMPFAIL;
	}
	code = carry(c.fd);
	submit_client_close(&c);
	return code;
}
