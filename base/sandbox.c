/*
 * System-call filters by role (seccomp).  The lists are allow-lists; see the
 * header for what happens outside of them.
 */
#include "config.h"

#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sandbox.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define CALL(name) SCMP_SYS(name)

/* clang-format off */
/* What every role needs: memory, time, descriptors it holds, its loop. */
static const int common_calls[] = {
	CALL(read), CALL(write), CALL(readv), CALL(writev), CALL(pread64),
	CALL(pwrite64), CALL(close), CALL(fstat), CALL(newfstatat),
	CALL(statx), CALL(lseek), CALL(dup), CALL(fcntl), CALL(brk),
	CALL(mmap), CALL(munmap), CALL(mremap), CALL(mprotect), CALL(madvise),
	CALL(futex), CALL(rt_sigaction), CALL(rt_sigprocmask),
	CALL(rt_sigreturn), CALL(sigaltstack), CALL(exit), CALL(exit_group),
	CALL(clock_gettime), CALL(clock_getres), CALL(clock_nanosleep),
	CALL(gettimeofday), CALL(nanosleep), CALL(time), CALL(getrandom),
	CALL(getpid), CALL(gettid), CALL(getuid), CALL(geteuid), CALL(getgid),
	CALL(getegid), CALL(getppid), CALL(restart_syscall),
	CALL(epoll_create1), CALL(epoll_ctl), CALL(epoll_wait),
	CALL(epoll_pwait), CALL(epoll_pwait2), CALL(poll), CALL(ppoll),
	CALL(select), CALL(pselect6), CALL(timerfd_create),
	CALL(timerfd_settime), CALL(eventfd2), CALL(pipe2), CALL(sendmsg),
	CALL(recvmsg), CALL(sendto), CALL(recvfrom), CALL(sendmmsg),
	CALL(recvmmsg), CALL(shutdown), CALL(getsockname), CALL(getpeername),
	CALL(getsockopt), CALL(setsockopt), CALL(ioctl), CALL(uname),
	CALL(sysinfo), CALL(getrlimit), CALL(getrusage),
	CALL(sched_yield), CALL(sched_getaffinity), CALL(rseq),
	CALL(set_robust_list), CALL(membarrier), CALL(access),
	CALL(faccessat), CALL(faccessat2), CALL(readlink),
};
/* Syslog reconnects through a Unix datagram socket, hence socket, connect. */
static const int inject_calls[] = {
	CALL(accept), CALL(accept4), CALL(socket), CALL(connect),
	CALL(fdatasync), CALL(fsync), CALL(sync_file_range), CALL(ftruncate),
};
static const int worker_calls[] = {
	CALL(socket), CALL(socketpair), CALL(connect), CALL(bind),
	CALL(clone3), CALL(clone), CALL(set_tid_address),
};
/* A filter stays over execve: what a child's list allows works only when it
 * stands here as well. */
static const int parent_calls[] = {
	CALL(socket), CALL(socketpair), CALL(connect), CALL(bind),
	CALL(listen), CALL(accept), CALL(accept4), CALL(open), CALL(openat),
	CALL(openat2), CALL(mkdir), CALL(mkdirat), CALL(rename),
	CALL(renameat), CALL(renameat2), CALL(unlink), CALL(unlinkat),
	CALL(chmod), CALL(fchmod), CALL(fchmodat), CALL(fchown), CALL(flock),
	CALL(getdents64), CALL(fdatasync), CALL(fsync), CALL(ftruncate),
	CALL(sync_file_range),
	CALL(fallocate), CALL(statfs), CALL(fstatfs), CALL(lstat), CALL(stat),
	CALL(getcwd), CALL(memfd_create), CALL(dup2), CALL(dup3), CALL(clone),
	CALL(clone3), CALL(fork), CALL(vfork), CALL(execve), CALL(wait4),
	CALL(waitid), CALL(kill), CALL(pidfd_open), CALL(pidfd_send_signal),
	CALL(set_tid_address), CALL(arch_prctl), CALL(prctl), CALL(seccomp),
	CALL(setsid), CALL(umask), CALL(utimensat), CALL(close_range),
	CALL(tgkill), CALL(prlimit64),
};
/* Nothing honest in any role: these kill. */
static const int deadly_calls[] = {
	CALL(ptrace), CALL(process_vm_readv), CALL(process_vm_writev),
	CALL(mount), CALL(umount2), CALL(pivot_root), CALL(chroot),
	CALL(unshare), CALL(setns), CALL(bpf), CALL(perf_event_open),
	CALL(init_module), CALL(finit_module), CALL(kexec_load), CALL(reboot),
	CALL(swapon), CALL(keyctl), CALL(add_key), CALL(userfaultfd),
	CALL(setuid), CALL(setgid), CALL(setreuid), CALL(setresuid),
	CALL(io_uring_setup),
};
static const int child_deadly_calls[] = {
	CALL(execve), CALL(execveat), CALL(fork), CALL(vfork), CALL(listen),
	CALL(kill),
};
static const struct {
	const int *calls;
	size_t count;
} role_calls[] = {
	[SANDBOX_PARENT] = { parent_calls, COUNT(parent_calls) },
	[SANDBOX_INJECT] = { inject_calls, COUNT(inject_calls) },
	[SANDBOX_WORKER] = { worker_calls, COUNT(worker_calls) },
};
/* clang-format on */

bool
sandbox_supported(void)
{
#ifdef WITH_SANITIZERS
	return false;
#else
	return true;
#endif
}

bool
sandbox_active(void)
{
	return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 2;
}

/* A call may be in two lists or unknown to this kernel's library: not an
 * error for the ones we allow; for those that must kill it would be. */
static bool
add_rules(scmp_filter_ctx filter, uint32_t action, const int *calls,
	size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int rc = calls[i] < 0 ? 0 :
			seccomp_rule_add(filter, action, calls[i], 0);

		if (rc != 0 && rc != -EEXIST)
			return false;
	}
	return true;
}

/* Opening a file for reading stays possible (certificates, time zone), for
 * writing or creating never. */
static bool
add_read_only_open(scmp_filter_ctx filter)
{
	const uint64_t writing = 3 | 0100 | 01000 | 02000; /* O_ACCMODE CREAT
							    * TRUNC APPEND */

	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(openat), 1,
		SCMP_A2(SCMP_CMP_MASKED_EQ, writing, 0)) == 0 &&
		seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(open), 1,
		SCMP_A1(SCMP_CMP_MASKED_EQ, writing, 0)) == 0;
}

/* Of its own user's processes, a child may signal and limit itself alone. */
static bool
add_self_only(scmp_filter_ctx filter)
{
	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(tgkill), 1,
		SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0)) == 0 &&
		seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(prlimit64), 1,
		SCMP_A0(SCMP_CMP_EQ, 0, 0)) == 0;
}

enum status
sandbox_enter(enum sandbox_role role)
{
	scmp_filter_ctx filter;
	struct rlimit no_core = { 0, 0 };
	bool ok;

	(void)setrlimit(RLIMIT_CORE, &no_core);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return ST_SYS;
	filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	if (filter == NULL)
		return ST_SYS;
	/* All threads: inject has one that waits for the disk. */
	ok = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1) == 0 &&
		add_rules(filter, SCMP_ACT_ALLOW, common_calls,
		COUNT(common_calls)) &&
		seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(prctl), 1,
		SCMP_A0(SCMP_CMP_EQ, PR_GET_SECCOMP, 0)) == 0 &&
		add_rules(filter, SCMP_ACT_ALLOW, role_calls[role].calls,
		role_calls[role].count) &&
		add_rules(filter, SCMP_ACT_KILL_PROCESS, deadly_calls,
		COUNT(deadly_calls));
	if (role != SANDBOX_PARENT)
		ok = ok && add_read_only_open(filter) &&
			add_self_only(filter) &&
			add_rules(filter, SCMP_ACT_KILL_PROCESS,
			child_deadly_calls, COUNT(child_deadly_calls));
	ok = ok && seccomp_load(filter) == 0;
	seccomp_release(filter);
	return ok ? ST_OK : ST_SYS;
}
