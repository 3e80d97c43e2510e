/*
 * Opening listening sockets.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "smtpd-out/parent/listener.h"

#define BACKLOG 1024
#define SYSTEMD_FIRST_FD 3
#define ORPHAN_TRIES 20
#define ORPHAN_PAUSE_US 50000

static bool
unix_in_use(const struct conf_addr *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool used;

	if (fd < 0)
		return false;
	used = connect(fd, (const struct sockaddr *)&addr->addr,
		addr->addr_len) == 0;
	(void)close(fd);
	return used;
}

static enum status
prepare_unix(const struct conf_addr *addr)
{
	const char *path = addr->text + strlen("unix:");
	struct stat st;

	if (lstat(path, &st) != 0)
		return ST_OK;
	if (!S_ISSOCK(st.st_mode)) {
		errno = EEXIST;
		return ST_SYS;
	}
	for (unsigned tries = 0; unix_in_use(addr); tries++) {
		if (tries == ORPHAN_TRIES) {
			errno = EADDRINUSE;
			return ST_DENIED;
		}
		(void)usleep(ORPHAN_PAUSE_US);
	}
	return unlink(path) == 0 ? ST_OK : ST_SYS;
}

/* The listener of a parent that was killed lives a moment longer than that:
 * its address is free soon. */
static int
bind_patiently(int fd, const struct conf_addr *addr)
{
	unsigned tries = 0;
	int rc;

	while ((rc = bind(fd, (const struct sockaddr *)&addr->addr,
	    addr->addr_len)) != 0 && errno == EADDRINUSE &&
	    tries++ < ORPHAN_TRIES)
		(void)usleep(ORPHAN_PAUSE_US);
	return rc;
}

enum status
listener_open(const struct conf_addr *addr, unsigned mode, int *fd_out,
	char err[CONF_ERR_MAX])
{
	bool is_unix = addr->addr.ss_family == AF_UNIX;
	enum status st = ST_SYS;
	mode_t mask;
	int fd = -1, on = 1;

	if (is_unix && (st = prepare_unix(addr)) != ST_OK)
		goto fail;
	st = ST_SYS;
	fd = socket(addr->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC |
		SOCK_NONBLOCK, 0);
	if (fd < 0)
		goto fail;
	if (!is_unix)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on,
			sizeof(on));
	/* Born closed to everybody else; opened by mode when it is ready. */
	mask = umask(0177);
	if (bind_patiently(fd, addr) != 0) {
		(void)umask(mask);
		goto fail;
	}
	(void)umask(mask);
	if (listen(fd, BACKLOG) != 0 || (is_unix &&
	    chmod(addr->text + strlen("unix:"), mode) != 0))
		goto fail;
	*fd_out = fd;
	return ST_OK;
fail:
	(void)snprintf(err, CONF_ERR_MAX, "cannot listen on %s: %s",
		addr->text, strerror(errno));
	if (fd >= 0)
		(void)close(fd);
	return st;
}

static int
take_old(struct listeners *old, const char *text)
{
	int fd;

	for (size_t i = 0; old != NULL && i < old->count; i++)
		if (old->fds[i] >= 0 && strcmp(old->texts[i], text) == 0) {
			/* A copy: the old set stays whole if we fail. */
			fd = fcntl(old->fds[i], F_DUPFD_CLOEXEC, 3);
			return fd;
		}
	return -1;
}

/* Socket activation, sd_listen_fds(3): descriptors from 3 on. */
static int
take_activated(const struct conf_addr *addr)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	long count = fds == NULL ? 0 : strtol(fds, NULL, 10);

	if (pid == NULL || strtol(pid, NULL, 10) != (long)getpid())
		return -1;
	for (int fd = SYSTEMD_FIRST_FD; fd < SYSTEMD_FIRST_FD + count &&
	    count < 64; fd++) {
		struct sockaddr_storage name;
		socklen_t len = sizeof(name);
		size_t same = addr->addr_len;

		memset(&name, 0, sizeof(name));
		if (getsockname(fd, (struct sockaddr *)&name, &len) != 0 ||
		    name.ss_family != addr->addr.ss_family ||
		    memcmp(&name, &addr->addr, same) != 0)
			continue;
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
		(void)fcntl(fd, F_SETFL, O_NONBLOCK);
		return fd;
	}
	return -1;
}

enum status
listeners_open(const struct conf *conf, struct listeners *old,
	struct listeners *out, char err[CONF_ERR_MAX])
{
	enum status st = ST_OK;

	out->count = 0;
	out->fds = xcalloc(conf->listen_count, sizeof(out->fds[0]));
	out->texts = xcalloc(conf->listen_count, sizeof(out->texts[0]));
	for (size_t i = 0; i < conf->listen_count && st == ST_OK; i++) {
		const struct conf_listen *l = &conf->listens[i];
		int fd = take_old(old, l->addr.text);

		if (fd < 0)
			fd = take_activated(&l->addr);
		if (fd < 0)
			st = listener_open(&l->addr, l->mode, &fd, err);
		out->fds[i] = st == ST_OK ? fd : -1;
		out->texts[i] = xstrdup(l->addr.text);
		out->count = i + 1;
	}
	if (st != ST_OK)
		listeners_close(out);
	return st;
}

void
listeners_close(struct listeners *l)
{
	for (size_t i = 0; i < l->count; i++) {
		if (l->fds[i] >= 0)
			(void)close(l->fds[i]);
		free(l->texts[i]);
	}
	mem_free(&l->texts);
	mem_free(&l->fds);
	l->count = 0;
}
