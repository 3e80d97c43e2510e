/*
 * Puts the files of large bodies on the disk, on a thread of its own: waiting
 * for the disk must not keep the loop from other submitters.
 *
 * The thread does one thing at a time, in the order of asking.  Bodies are
 * written out piece by piece as they come, so that the disk never has more
 * than one of them to do: whoever else syncs, as the parent does with its log,
 * stands behind little.
 *
 * Requests have numbers, as with the queue: who asked may be gone when the
 * answer comes.  The file is duplicated and may be closed meanwhile.
 */
#ifndef SMTPD_OUT_INJECT_DISK_H
#define SMTPD_OUT_INJECT_DISK_H

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct inject_disk;

struct inject_write {
	int fd;			/* borrowed */
	uint64_t from, len;	/* this part is written out */
	bool sync;		/* then all of it is durable, with metadata */
};

/* error: 0, or an errno.  From the loop, never from within a call here. */
typedef void inject_disk_cb(void *arg, uint64_t request, int error);

/* Starts the thread: before the sandbox.  NULL when there can be none. */
struct inject_disk *inject_disk_new(struct event_base *, inject_disk_cb *,
	void *arg);
/* Waits for what runs; what waits is dropped without an answer. */
void inject_disk_free(struct inject_disk **);
/* False, with errno, when it cannot be done: there will be no answer. */
bool inject_disk_start(struct inject_disk *, uint64_t request,
	const struct inject_write *);

#endif
