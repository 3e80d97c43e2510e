/*
 * The filter of each role is on, forbids what it says and leaves what the
 * role needs.  Each attempt runs in a process of its own.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sandbox.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum end {
	END_OK = 0,	/* the call worked */
	END_REFUSED,	/* it failed with ENOSYS */
	END_KILLED,	/* SIGSYS */
	END_OTHER
};

static const char *const end_names[] = { "works", "is refused", "kills",
	"does something else" };

static pid_t parent;
static char path[64];

static int
as_result(long rc)
{
	if (rc >= 0)
		return END_OK;
	return errno == ENOSYS ? END_REFUSED : END_OTHER;
}

/* ---- attempts ---- */

static int
try_open_read(void)
{
	return as_result(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
}

static int
try_open_write(void)
{
	return as_result(open(path, O_WRONLY));
}

static int
try_open_rdwr(void)
{
	return as_result(open(path, O_RDWR));
}

static int
try_open_create(void)
{
	return as_result(openat(AT_FDCWD, path, O_RDONLY | O_CREAT, 0600));
}

static int
try_open_trunc(void)
{
	return as_result(open(path, O_RDONLY | O_TRUNC));
}

static int
try_open_tmpfile(void)
{
	return as_result(open("/tmp", O_TMPFILE | O_RDWR, 0600));
}

static int
try_old_open_write(void)
{
#ifdef SYS_open
	return as_result(syscall(SYS_open, path, O_WRONLY, 0));
#else
	errno = ENOSYS;
	return END_REFUSED;
#endif
}

static int
try_openat2(void)
{
	struct { uint64_t flags, mode, resolve; } how = { O_RDWR, 0, 0 };

	return as_result(syscall(SYS_openat2, AT_FDCWD, path, &how,
		sizeof(how)));
}

static int
try_unlink(void)
{
	return as_result(unlink("/tmp/no-such-file-at-all") == 0 ||
		errno == ENOENT ? 0 : -1);
}

static int
try_mkdir(void)
{
	return as_result(mkdir("/tmp", 0700) == 0 || errno == EEXIST ? 0 : -1);
}

static int
try_exec(void)
{
	char *const argv[] = { (char *)(uintptr_t)"true", NULL };

	return as_result(execv("/bin/true", argv));
}

static int
try_execveat(void)
{
	char *const argv[] = { (char *)(uintptr_t)"true", NULL };

	return as_result(syscall(SYS_execveat, AT_FDCWD, "/bin/true", argv,
		NULL, 0));
}

static int
try_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return as_result(pid);
}

static int
try_ptrace(void)
{
	return as_result(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int
try_setuid(void)
{
	return as_result(setuid(getuid()));
}

static int
try_kill(void)
{
	return as_result(kill(parent, 0));
}

/* kill() by another name. */
static int
try_tgkill(void)
{
	return as_result(syscall(SYS_tgkill, parent, parent, 0));
}

static int
try_own_tgkill(void)
{
	return as_result(syscall(SYS_tgkill, getpid(), gettid(), 0));
}

static int
try_foreign_limit(void)
{
	return as_result(syscall(SYS_prlimit64, parent, RLIMIT_NOFILE, NULL,
		NULL));
}

static int
try_own_limit(void)
{
	struct rlimit limit;

	return as_result(getrlimit(RLIMIT_NOFILE, &limit));
}

static void *
thread_body(void *arg)
{
	return arg;
}

/* Libraries of a worker may want one. */
static int
try_thread(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, thread_body, NULL) != 0)
		return END_REFUSED;
	return pthread_join(thread, NULL) == 0 ? END_OK : END_OTHER;
}

static int
try_listen(void)
{
	return as_result(listen(socket(AF_INET, SOCK_STREAM, 0), 1));
}

static int
try_socket(void)
{
	return as_result(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int
try_connect(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
		.sin_port = htons(1) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0)
		return as_result(-1);
	return as_result(connect(fd, (struct sockaddr *)&in, sizeof(in)) ==
		0 || errno == ECONNREFUSED || errno == EINPROGRESS ? 0 : -1);
}

static int
try_bind(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	return as_result(bind(fd, (struct sockaddr *)&in, sizeof(in)));
}

static int
try_accept(void)
{
	int rc = accept(0, NULL, NULL);

	return as_result(rc >= 0 || errno == ENOTSOCK || errno == EINVAL ? 0 :
		-1);
}

/* What a loop, the allocator and the log ask for all the time. */
static int
try_daily_life(void)
{
	char *much = xmalloc(8 << 20);
	struct epoll_event ev = { .events = EPOLLIN };
	int fds[2], loop = epoll_create1(EPOLL_CLOEXEC);
	time_t now = time(NULL);
	struct tm tm;
	ssize_t n;

	memset(much, 1, 8 << 20);
	free(much);
	if (loop < 0 || pipe2(fds, O_CLOEXEC) != 0 ||
	    epoll_ctl(loop, EPOLL_CTL_ADD, fds[0], &ev) != 0 ||
	    write(fds[1], "x", 1) != 1 || epoll_wait(loop, &ev, 1, 0) != 1)
		return as_result(-1);
	n = read(fds[0], &(char){ 0 }, 1);
	if (n != 1 || clock_mono_ms() == 0 || clock_wall_s() == 0 ||
	    localtime_r(&now, &tm) == NULL)
		return as_result(-1);
	log_init("sandbox", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	log_error("test", "still", "writes", NULL);
	return sandbox_active() ? END_OK : END_OTHER;
}

static int
try_fsync(void)
{
	return as_result(fdatasync(0) == 0 || errno == EINVAL ||
		errno == EROFS ? 0 : -1);
}

static int
try_sync_range(void)
{
	return as_result(sync_file_range(0, 0, 1, SYNC_FILE_RANGE_WRITE) ==
		0 || errno == ESPIPE || errno == EINVAL ? 0 : -1);
}

#define P END_OK
#define R END_REFUSED
#define K END_KILLED

/* clang-format off */
static const struct attempt {
	const char *name;
	int (*run)(void);
	enum end ends[3];		/* parent, inject, worker */
} attempts[] = {
	{ "daily life", try_daily_life, { P, P, P } },
	{ "open to read", try_open_read, { P, P, P } },
	{ "open to write", try_open_write, { P, R, R } },
	{ "open to read and write", try_open_rdwr, { P, R, R } },
	{ "open to create", try_open_create, { P, R, R } },
	{ "open to truncate", try_open_trunc, { P, R, R } },
	{ "open a nameless file", try_open_tmpfile, { P, R, R } },
	{ "the old open to write", try_old_open_write, { P, R, R } },
	{ "openat2 to write", try_openat2, { P, R, R } },
	{ "unlink", try_unlink, { P, R, R } },
	{ "mkdir", try_mkdir, { P, R, R } },
	{ "exec", try_exec, { P, K, K } },
	{ "execveat", try_execveat, { R, K, K } },
	{ "ptrace", try_ptrace, { K, K, K } },
	{ "setuid", try_setuid, { K, K, K } },
	{ "kill of the parent", try_kill, { P, K, K } },
	{ "tgkill of the parent", try_tgkill, { P, R, R } },
	{ "tgkill of itself", try_own_tgkill, { P, P, P } },
	{ "limits of the parent", try_foreign_limit, { P, R, R } },
	{ "limits of its own", try_own_limit, { P, P, P } },
	{ "fork", try_fork, { P, R, P } },
	{ "thread", try_thread, { P, R, P } },
	{ "listen", try_listen, { P, K, K } },
	{ "socket", try_socket, { P, P, P } },
	{ "connect", try_connect, { P, P, P } },
	{ "bind", try_bind, { P, R, P } },
	{ "accept", try_accept, { P, P, R } },
	{ "fdatasync", try_fsync, { P, P, R } },
	{ "sync_file_range", try_sync_range, { P, P, R } },
};
/* clang-format on */

static enum end
end_of(const struct attempt *a, enum sandbox_role role)
{
	int status, fd;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		(void)alarm(10);
		fd = open("/dev/null", O_RDWR);
		(void)dup2(fd, 0);
		(void)dup2(fd, 2);
		/* As it is: the parent's filter stays with its children. */
		if (sandbox_enter(SANDBOX_PARENT) != ST_OK ||
		    (role != SANDBOX_PARENT && sandbox_enter(role) != ST_OK))
			_exit(99);
		_exit(a->run());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? END_KILLED : END_OTHER;
	if (WEXITSTATUS(status) == 99)
		fail_msg("the filter cannot be loaded");
	return (enum end)WEXITSTATUS(status);
}

static void
run_role(enum sandbox_role role)
{
	unsigned wrong = 0;

	if (!sandbox_supported())
		skip();
	for (size_t i = 0; i < COUNT(attempts); i++) {
		const struct attempt *a = &attempts[i];
		enum end end = end_of(a, role);

		if (end == a->ends[role])
			continue;
		print_error("%s %s\n", a->name,
			end_names[end > END_OTHER ? END_OTHER : end]);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

static void
test_parent(void **state)
{
	(void)state;
	run_role(SANDBOX_PARENT);
}

static void
test_inject(void **state)
{
	(void)state;
	run_role(SANDBOX_INJECT);
}

static void
test_worker(void **state)
{
	(void)state;
	run_role(SANDBOX_WORKER);
}

static int
setup(void **state)
{
	int fd;

	(void)state;
	parent = getpid();
	(void)snprintf(path, sizeof(path), "/tmp/test-sandbox-XXXXXX");
	fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int
teardown(void **state)
{
	(void)state;
	return unlink(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parent),
		cmocka_unit_test(test_inject),
		cmocka_unit_test(test_worker),
	};

	return cmocka_run_group_tests_name("sandbox", tests, setup, teardown);
}
