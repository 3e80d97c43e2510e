/*
 * Starting, watching and ending the processes of the roles.
 */
#include "config.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/ipc/ipc_msg.h"
#include "smtpd-out/ipc/turn.h"
#include "smtpd-out/parent/child.h"

#define HELLO_SECONDS 30
#define STOP_SECONDS 45
#define PINGS 4			/* unanswered in its time */
#define HIGH_FD 64		/* above all fixed numbers of a child */

struct child {
	uint64_t id;
	enum ipc_side side;
	unsigned index;
	enum child_state state;
	pid_t pid;
	struct ipc *ipc;
	struct event *watch_ev;		/* hello and stop deadlines */
	struct event *gone_ev;
	int64_t started_ms;
	int64_t silence_ms;
	unsigned pings;			/* unanswered */
	bool reaped, exited_well, channel_ended;
	char name[32];
	char why[160];
	struct child_callbacks cb;
	void *arg;
};

extern char **environ;

/* ---- the new process ---- */

static int
conf_memfd(const char *text)
{
	int fd = memfd_create("smtpd-out.conf",
		MFD_CLOEXEC | MFD_ALLOW_SEALING);
	size_t len = strlen(text);

	if (fd < 0)
		return -1;
	if (write(fd, text, len) != (ssize_t)len || fcntl(fd, F_ADD_SEALS,
	    F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

/* Moves a copy of fd above HIGH_FD, so that the fixed numbers are free. */
static int
lift(int fd, posix_spawn_file_actions_t *actions, int to)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);

	if (high >= 0)
		(void)posix_spawn_file_actions_adddup2(actions, high, to);
	return high;
}

static pid_t
spawn(const struct child_spec *spec, int ipc_fd, int conf_fd)
{
	char index[16], count[16];
	char *argv[] = { (char *)(uintptr_t)"smtpd-out", (char *)(uintptr_t)
		"--role", (char *)(uintptr_t)(spec->side == IPC_INJECT ?
		"inject" : "worker"), index, count, (char *)(uintptr_t)
		spec->conf_name, NULL };
	size_t n = 0, fds = spec->listen_count + 2;
	int *high = xcalloc(fds, sizeof(int));
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t all, none;
	pid_t pid = -1;

	(void)snprintf(index, sizeof(index), "%u", spec->index);
	(void)snprintf(count, sizeof(count), "%zu", spec->listen_count);
	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawnattr_init(&attr);
	(void)sigfillset(&all);
	(void)sigemptyset(&none);
	(void)posix_spawnattr_setsigdefault(&attr, &all);
	(void)posix_spawnattr_setsigmask(&attr, &none);
	(void)posix_spawnattr_setflags(&attr,
		POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	high[n++] = lift(ipc_fd, &actions, CHILD_FD_IPC);
	high[n++] = lift(conf_fd, &actions, CHILD_FD_CONF);
	for (size_t i = 0; i < spec->listen_count; i++)
		high[n++] = lift(spec->listen_fds[i], &actions,
			CHILD_FD_LISTEN + (int)i);
	errno = posix_spawn(&pid, "/proc/self/exe", &actions, &attr, argv,
		environ);
	if (errno != 0)
		pid = -1;
	for (size_t i = 0; i < n; i++)
		if (high[i] >= 0)
			(void)close(high[i]);
	free(high);
	(void)posix_spawnattr_destroy(&attr);
	(void)posix_spawn_file_actions_destroy(&actions);
	return pid;
}

/* ---- watching ---- */

static const char *
state_name(enum child_state state)
{
	static const char *const names[] = {
		[CHILD_STARTING] = "starting",
		[CHILD_RUNNING] = "running",
		[CHILD_STOPPING] = "stopping",
		[CHILD_DEAD] = "dead",
	};

	return names[state];
}

static void
watch_in(struct child *c, int64_t ms)
{
	struct timeval tv = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	(void)event_add(c->watch_ev, &tv);
}

static void
set_state(struct child *c, enum child_state state)
{
	int64_t ms = state == CHILD_STOPPING ? STOP_SECONDS * 1000 :
		state == CHILD_RUNNING ? c->silence_ms / PINGS :
		HELLO_SECONDS * 1000;

	if (c->state == CHILD_DEAD || (c->state == state &&
	    state != CHILD_STARTING))
		return;
	log_debug("child", "name", c->name, "from", state_name(c->state),
		"to", state_name(state), NULL);
	c->state = state;
	(void)event_del(c->watch_ev);
	if (state != CHILD_DEAD)
		watch_in(c, ms);
}

static void
check_gone(struct child *c)
{
	if (c->reaped && c->channel_ended)
		event_active(c->gone_ev, EV_TIMEOUT, 0);
}

static void
on_gone(evutil_socket_t fd, short what, void *arg)
{
	struct child *c = arg;
	bool in_order = c->state == CHILD_STOPPING && c->exited_well;

	(void)fd;
	(void)what;
	set_state(c, CHILD_DEAD);
	c->cb.gone(c, in_order, c->why, c->arg);
}

void
child_kill(struct child *c, const char *why)
{
	if (c->why[0] == '\0')
		(void)str_copy(c->why, sizeof(c->why), why);
	if (!c->reaped)
		(void)kill(c->pid, SIGKILL);
}

/* One that hangs would keep its mail for ever. */
static void
ping(struct child *c)
{
	watch_in(c, c->silence_ms / PINGS);
	if (c->ipc == NULL)
		return;		/* it is on its way out */
	if (c->pings++ >= PINGS ||
	    ipc_send(c->ipc, IPC_PING, 0, NULL, -1) != ST_OK)
		child_kill(c, "does not answer");
}

static void
on_watch(evutil_socket_t fd, short what, void *arg)
{
	struct child *c = arg;

	(void)fd;
	(void)what;
	turn_mark("children");
	if (c->state == CHILD_RUNNING)
		ping(c);
	else
		child_kill(c, c->state == CHILD_STOPPING ?
			"did not stop in time" : "did not start in time");
}

static void
on_hello(struct child *c, struct ipc_frame *frame)
{
	if (reader_u16(&frame->body) != IPC_VERSION) {
		ipc_fail(c->ipc, "another version of this program");
		return;
	}
	if (c->state == CHILD_STARTING)
		set_state(c, CHILD_RUNNING);
	c->cb.hello(c, c->arg);
}

static void
on_frame(struct ipc *ipc, struct ipc_frame *frame, const char *why, void *arg)
{
	struct child *c = arg;

	if (frame == NULL) {
		c->channel_ended = true;
		/* Usually it is dead already and its end says more. */
		if (!c->reaped && c->state != CHILD_STOPPING)
			child_kill(c, strcmp(why, IPC_WHY_EOF) == 0 ? "" :
				why);
		ipc_free(&c->ipc);
		check_gone(c);
	} else if (frame->type == IPC_HELLO) {
		on_hello(c, frame);
	} else if (frame->type == IPC_PONG) {
		c->pings = 0;
	} else if (c->cb.frame(c, frame, c->arg) != ST_OK) {
		ipc_fail(ipc, "sent what it may not");
	}
}

void
child_reaped(struct child *c, int wait_status)
{
	c->reaped = true;
	c->exited_well = WIFEXITED(wait_status) &&
		WEXITSTATUS(wait_status) == 0;
	if (c->why[0] == '\0' && WIFSIGNALED(wait_status))
		(void)snprintf(c->why, sizeof(c->why), "ended by signal %d",
			WTERMSIG(wait_status));
	else if (c->why[0] == '\0')
		(void)snprintf(c->why, sizeof(c->why), "exited with %d",
			WEXITSTATUS(wait_status));
	check_gone(c);
}

/* ---- life ---- */

struct child *
child_start(struct event_base *base, const struct child_spec *spec,
	const struct child_callbacks *cb, void *arg)
{
	static uint64_t next_id = 1;
	int pair[2], conf_fd = conf_memfd(spec->conf_text);
	struct child *c;
	pid_t pid;

	if (conf_fd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
	    pair) != 0) {
		log_error("child-start", "reason", strerror(errno), NULL);
		if (conf_fd >= 0)
			(void)close(conf_fd);
		return NULL;
	}
	pid = spawn(spec, pair[1], conf_fd);
	(void)close(pair[1]);
	(void)close(conf_fd);
	if (pid < 0) {
		log_error("child-start", "reason", strerror(errno), NULL);
		(void)close(pair[0]);
		return NULL;
	}
	c = xcalloc(1, sizeof(*c));
	c->id = next_id++;
	c->side = spec->side;
	c->index = spec->index;
	c->pid = pid;
	c->cb = *cb;
	c->arg = arg;
	c->started_ms = clock_mono_ms();
	c->silence_ms = spec->silence_ms;
	(void)snprintf(c->name, sizeof(c->name), spec->side == IPC_INJECT ?
		"inject" : "worker %u", spec->index);
	c->watch_ev = event_new(base, -1, 0, on_watch, c);
	c->gone_ev = event_new(base, -1, 0, on_gone, c);
	c->ipc = ipc_new(base, pair[0], IPC_PARENT, spec->side, on_frame, c);
	set_state(c, CHILD_STARTING);
	return c;
}

void
child_stop(struct child *c)
{
	if (c->state == CHILD_STOPPING || c->state == CHILD_DEAD)
		return;
	set_state(c, CHILD_STOPPING);
	if (c->ipc != NULL &&
	    ipc_send(c->ipc, IPC_STOP, 0, NULL, -1) != ST_OK)
		child_kill(c, "cannot be told to stop");
}

void
child_free(struct child **cp)
{
	struct child *c = *cp;

	if (c == NULL)
		return;
	ipc_free(&c->ipc);
	event_free(c->gone_ev);
	event_free(c->watch_ev);
	mem_free(cp);
}

uint64_t
child_id(const struct child *c)
{
	return c->id;
}

pid_t
child_pid(const struct child *c)
{
	return c->pid;
}

enum child_state
child_state(const struct child *c)
{
	return c->state;
}

enum ipc_side
child_side(const struct child *c)
{
	return c->side;
}

unsigned
child_index(const struct child *c)
{
	return c->index;
}

int64_t
child_age_ms(const struct child *c)
{
	return clock_mono_ms() - c->started_ms;
}

struct ipc *
child_ipc(struct child *c)
{
	return c->ipc;
}

const char *
child_name(const struct child *c)
{
	return c->name;
}
