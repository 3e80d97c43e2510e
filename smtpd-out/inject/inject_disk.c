/*
 * The thread that waits for the disk.  It knows descriptors and numbers, and
 * touches nothing else of the process: two lists under a lock, an eventfd to
 * wake the loop.
 */
#include "config.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/mem.h"
#include "smtpd-out/inject/inject_disk.h"

#define STACK_BYTES (64U * 1024)

struct job {
	STAILQ_ENTRY(job) link;
	uint64_t request;
	struct inject_write what;	/* with a descriptor of its own */
	int error;
};

STAILQ_HEAD(job_list, job);

struct inject_disk {
	pthread_t thread;
	pthread_mutex_t lock;		/* of the three below */
	pthread_cond_t more;
	struct job_list asked, done;
	bool stop;
	int wake_fd;			/* eventfd: something is done */
	struct event *ev;
	inject_disk_cb *cb;
	void *arg;
};

/* ---- the thread ------------------------------------------------------ */

/*
 * An error of an earlier write is told once for each open file: here or by
 * the fdatasync that follows.  So it counts wherever it shows; only that a
 * file system does not know the call is no error.
 */
static int
write_out(const struct inject_write *what)
{
	if (what->sync)		/* with what is left to write */
		return fdatasync(what->fd) == 0 ? 0 : errno;
	if (sync_file_range(what->fd, (off_t)what->from, (off_t)what->len,
	    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
	    SYNC_FILE_RANGE_WAIT_AFTER) == 0)
		return 0;
	return errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP ||
		errno == ESPIPE ? 0 : errno;
}

static void
work(struct job *job)
{
	job->error = write_out(&job->what);
	/* The last one to close a file that was removed frees its blocks,
	 * which takes time as well. */
	(void)close(job->what.fd);
}

static struct job *
next_job(struct inject_disk *d)
{
	struct job *job;

	while (!d->stop && STAILQ_EMPTY(&d->asked))
		(void)pthread_cond_wait(&d->more, &d->lock);
	if (d->stop)
		return NULL;
	job = STAILQ_FIRST(&d->asked);
	STAILQ_REMOVE_HEAD(&d->asked, link);
	return job;
}

static void *
run(void *arg)
{
	const uint64_t one = 1;
	struct inject_disk *d = arg;
	struct job *job;

	(void)pthread_mutex_lock(&d->lock);
	while ((job = next_job(d)) != NULL) {
		(void)pthread_mutex_unlock(&d->lock);
		work(job);
		(void)pthread_mutex_lock(&d->lock);
		STAILQ_INSERT_TAIL(&d->done, job, link);
		(void)!write(d->wake_fd, &one, sizeof(one));
	}
	(void)pthread_mutex_unlock(&d->lock);
	return NULL;
}

/* ---- the loop -------------------------------------------------------- */

static void
on_done(evutil_socket_t fd, short what, void *arg)
{
	struct inject_disk *d = arg;
	struct job_list done = STAILQ_HEAD_INITIALIZER(done);
	struct job *job;
	uint64_t count;

	(void)what;
	(void)!read(fd, &count, sizeof(count));
	(void)pthread_mutex_lock(&d->lock);
	STAILQ_CONCAT(&done, &d->done);
	(void)pthread_mutex_unlock(&d->lock);
	while ((job = STAILQ_FIRST(&done)) != NULL) {
		STAILQ_REMOVE_HEAD(&done, link);
		d->cb(d->arg, job->request, job->error);
		free(job);
	}
}

bool
inject_disk_start(struct inject_disk *d, uint64_t request,
	const struct inject_write *what)
{
	int fd = fcntl(what->fd, F_DUPFD_CLOEXEC, 0);
	struct job *job;

	if (fd < 0)
		return false;
	job = xcalloc(1, sizeof(*job));
	job->request = request;
	job->what = *what;
	job->what.fd = fd;
	(void)pthread_mutex_lock(&d->lock);
	STAILQ_INSERT_TAIL(&d->asked, job, link);
	(void)pthread_cond_signal(&d->more);
	(void)pthread_mutex_unlock(&d->lock);
	return true;
}

/* Signals are the main thread's. */
static bool
start_thread(struct inject_disk *d)
{
	pthread_attr_t attr;
	sigset_t all, before;
	bool ok;

	if (pthread_attr_init(&attr) != 0)
		return false;
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	ok = pthread_create(&d->thread, &attr, run, d) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)pthread_attr_destroy(&attr);
	return ok;
}

struct inject_disk *
inject_disk_new(struct event_base *base, inject_disk_cb *cb, void *arg)
{
	struct inject_disk *d = xcalloc(1, sizeof(*d));

	d->cb = cb;
	d->arg = arg;
	STAILQ_INIT(&d->asked);
	STAILQ_INIT(&d->done);
	(void)pthread_mutex_init(&d->lock, NULL);
	(void)pthread_cond_init(&d->more, NULL);
	d->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (d->wake_fd >= 0)
		d->ev = event_new(base, d->wake_fd, EV_READ | EV_PERSIST,
			on_done, d);
	if (d->ev != NULL && event_add(d->ev, NULL) == 0 && start_thread(d))
		return d;
	if (d->ev != NULL)
		event_free(d->ev);
	if (d->wake_fd >= 0)
		(void)close(d->wake_fd);
	mem_free(&d);
	return NULL;
}

static void
drop_all(struct job_list *list, bool open)
{
	struct job *job;

	while ((job = STAILQ_FIRST(list)) != NULL) {
		STAILQ_REMOVE_HEAD(list, link);
		if (open)
			(void)close(job->what.fd);
		free(job);
	}
}

void
inject_disk_free(struct inject_disk **dp)
{
	struct inject_disk *d = *dp;

	if (d == NULL)
		return;
	(void)pthread_mutex_lock(&d->lock);
	d->stop = true;
	(void)pthread_cond_signal(&d->more);
	(void)pthread_mutex_unlock(&d->lock);
	(void)pthread_join(d->thread, NULL);
	drop_all(&d->asked, true);
	drop_all(&d->done, false);
	event_free(d->ev);
	(void)close(d->wake_fd);
	(void)pthread_cond_destroy(&d->more);
	(void)pthread_mutex_destroy(&d->lock);
	mem_free(dp);
}
