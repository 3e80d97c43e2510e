/*
 * A file loses its name at once, while we hold it open, and is then cut
 * shorter part by part.  A crash leaves nothing: what has no name goes when
 * the last descriptor does.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "spool/spool_int.h"
#include "spool/spool_room.h"

#define PART_BYTES (4LL * 1024 * 1024)	/* about 1 ms */
#define ASK_MAX 500	/* how often it is looked whether others have it open */

/* -1: small, or there are too many: the kernel frees it at once. */
static int
hold(struct spool *s, const char *name)
{
	struct stat sb;
	int fd;

	if (s->room.count == SPOOL_ROOM_MAX)
		return -1;
	fd = openat(s->body_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW |
		O_NONBLOCK);
	if (fd < 0)
		return -1;
	if (fstat(fd, &sb) == 0 && S_ISREG(sb.st_mode) &&
	    sb.st_size > PART_BYTES)
		return fd;
	(void)close(fd);
	return -1;
}

void
spool_room_remove(struct spool *s, const char *name)
{
	int fd = hold(s, name);

	if (unlinkat(s->body_fd, name, 0) == 0) {
		if (fd >= 0)
			s->room.files[s->room.count++] =
				(struct spool_room_file){ .fd = fd };
		return;
	}
	if (errno != ENOENT)
		log_warn("spool-body-left", "file", name, "why",
			strerror(errno), NULL);
	if (fd >= 0)
		(void)close(fd);
}

/*
 * Who still has it open (a worker whose message the operator has removed) must
 * not find it cut.  The kernel grants a write lease to nobody while others
 * have the file open, and without a name nobody will open it any more.
 */
static bool
ours_alone(struct spool_room_file *f)
{
	if (f->alone)
		return true;
	if (fcntl(f->fd, F_SETLEASE, F_WRLCK) != 0)
		return false;
	/* Who broke a lease would send us a signal. */
	(void)fcntl(f->fd, F_SETLEASE, F_UNLCK);
	f->alone = true;
	return true;
}

/* False: there is nothing left to do with it. */
static bool
give_part(struct spool_room_file *f)
{
	struct stat sb;

	/* Later, or the last one to close it frees it. */
	if (!ours_alone(f))
		return errno == EAGAIN && ++f->asked < ASK_MAX;
	return fstat(f->fd, &sb) == 0 && sb.st_size > PART_BYTES &&
		ftruncate(f->fd, sb.st_size - PART_BYTES) == 0;
}

bool
spool_give_room(struct spool *s)
{
	struct spool_room *r = &s->room;

	if (r->count == 0)
		return false;
	r->at = (r->at + 1) % r->count;
	if (!give_part(&r->files[r->at])) {
		(void)close(r->files[r->at].fd);
		r->files[r->at] = r->files[--r->count];
	}
	return r->count > 0;
}

bool
spool_room_waits(const struct spool *s)
{
	return s->room.count > 0;
}

void
spool_room_clear(struct spool *s)
{
	while (s->room.count > 0)
		(void)close(s->room.files[--s->room.count].fd);
}
