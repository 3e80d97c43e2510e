/*
 * Room kept for bad times: a file of zeroes that is given up when the disk is
 * full, so that what is done can still be recorded (or mail that was
 * delivered would be delivered again).  Without it no new mail is taken.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/log.h"
#include "spool/spool_int.h"

#define RESERVE_NAME "reserve"
#define RESERVE_BYTES (4 * 1024 * 1024)

void
spool_reserve_release(struct spool *s)
{
	if (!s->reserve_held)
		return;
	s->reserve_held = false;
	if (unlinkat(s->dir_fd, RESERVE_NAME, 0) == 0)
		log_warn("spool-full", "why", s->error, "action",
			"no new mail until there is room", NULL);
}

enum status
spool_reserve_take(struct spool *s)
{
	int fd, error;

	if (s->reserve_held)
		return ST_OK;
	fd = openat(s->dir_fd, RESERVE_NAME,
		O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return spool_fail_errno(s, "create", RESERVE_NAME);
	error = posix_fallocate(fd, 0, RESERVE_BYTES);
	(void)close(fd);
	if (error != 0) {
		(void)unlinkat(s->dir_fd, RESERVE_NAME, 0);
		errno = error;
		return spool_fail_errno(s, "allocate", RESERVE_NAME);
	}
	s->reserve_held = true;
	return ST_OK;
}

/* A full disk does not keep the queue from being worked off. */
enum status
spool_reserve_open(struct spool *s)
{
	enum status st = spool_reserve_take(s);

	if (st == ST_FULL)
		log_warn("spool-full", "why", s->error, NULL);
	return st == ST_FULL ? ST_OK : st;
}
