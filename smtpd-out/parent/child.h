/*
 * Child processes of the parent: re-executed copies of this binary in a role,
 * each with one channel.
 *
 * Life: STARTING (until its HELLO) -> RUNNING -> STOPPING (told to finish) ->
 * DEAD.  A child is gone when its process has been reaped and its channel has
 * been read to the end, so that no result it sent is lost.  gone() comes once
 * from the loop; then the owner calls child_free().
 */
#ifndef SMTPD_OUT_CHILD_H
#define SMTPD_OUT_CHILD_H

#include <sys/types.h>

#include "smtpd-out/ipc/ipc.h"

enum child_state { CHILD_STARTING = 0, CHILD_RUNNING, CHILD_STOPPING,
	CHILD_DEAD };

struct child;

struct child_callbacks {
	void (*hello)(struct child *, void *arg);
	/* ST_OK, or what the child did wrong ends it. */
	enum status (*frame)(struct child *, struct ipc_frame *, void *arg);
	/* in_order: it was told to stop and exited with 0. */
	void (*gone)(struct child *, bool in_order, const char *why,
		void *arg);
};

struct child_spec {
	enum ipc_side side;		/* IPC_INJECT or IPC_WORKER */
	unsigned index;			/* of a worker */
	const char *conf_text;
	const char *conf_name;
	int64_t silence_ms;		/* that it may keep, then it ends */
	const int *listen_fds;		/* inject only */
	size_t listen_count;
};

/* NULL when the process could not be started (logged). */
struct child *child_start(struct event_base *, const struct child_spec *,
	const struct child_callbacks *, void *arg);
void child_stop(struct child *);	/* finish and exit */
void child_kill(struct child *, const char *why);	/* SIGKILL */
/* waitpid() said that it ended. */
void child_reaped(struct child *, int wait_status);
void child_free(struct child **);

uint64_t child_id(const struct child *);	/* never reused */
pid_t child_pid(const struct child *);
enum child_state child_state(const struct child *);
enum ipc_side child_side(const struct child *);
unsigned child_index(const struct child *);
int64_t child_age_ms(const struct child *);
struct ipc *child_ipc(struct child *);		/* NULL once it ended */
const char *child_name(const struct child *);	/* "worker 0" */

/* In the re-executed process: fixed descriptor numbers. */
#define CHILD_FD_IPC 3
#define CHILD_FD_CONF 4
#define CHILD_FD_LISTEN 5

#endif
