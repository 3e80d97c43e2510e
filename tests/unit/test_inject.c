/*
 * The inject role as a process: listeners, channel, limits, stop.  Loopback
 * and a Unix socket only.
 */
#include "config.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/sandbox.h"
#include "base/str.h"
#include "tests/unit/inject_parent.h"

#define GREETING "220 mx.example ESMTP smtpd-out\r\n"
#define BUSY "421 4.3.2 Too many sessions, try later\r\n"
#define STOPPING "421 4.3.2 Service is stopping, try later\r\n"

static void
put(int fd, const char *text)
{
	size_t len = strlen(text);

	while (len > 0) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n <= 0)
			fail_msg("send: peer is gone");
		text += n;
		len -= (size_t)n;
	}
}

/* One reply line, without its CRLF; "" at the end. */
static void
get(int fd, char *line, size_t size)
{
	size_t used = 0;

	while (used + 1 < size && recv(fd, line + used, 1, 0) == 1)
		if (line[used++] == '\n')
			break;
	line[used] = '\0';
}

static void
expect(int fd, const char *want)
{
	char line[1024];

	get(fd, line, sizeof(line));
	if (strcmp(line, want) != 0)
		fail_msg("got \"%s\", wanted \"%s\"", line, want);
}

/* Sends text and reads as many replies; the last must be `want`. */
static void
chat(int fd, const char *text, unsigned replies, const char *want)
{
	char line[1024];

	put(fd, text);
	for (unsigned i = 1; i < replies; i++)
		get(fd, line, sizeof(line));
	expect(fd, want);
}

static int
greeted(const struct role *r, unsigned listen)
{
	int fd = role_connect(r, listen);

	expect(fd, GREETING);
	chat(fd, "HELO me\r\n", 1, "250 mx.example\r\n");
	return fd;
}

static void
expect_queued(int fd, const char *text, size_t len)
{
	char want[128], id[STR_ID_MAX];

	str_id_format(role_sum(text, len), id);
	(void)snprintf(want, sizeof(want), "250 2.0.0 Ok: queued as %s\r\n",
		id);
	expect(fd, want);
}

static void
send_message(int fd, const char *rcpt, const char *text)
{
	char head[200];

	(void)snprintf(head, sizeof(head), "MAIL FROM:<s@a.example>\r\n"
		"RCPT TO:<%s@b.example>\r\nDATA\r\n", rcpt);
	chat(fd, head, 3, "354 End with CRLF.CRLF\r\n");
	put(fd, text);
	put(fd, ".\r\n");
}

/* What the role has told its parent; it may take a moment. */
static void
expect_stats(const struct role *r, unsigned listen, const char *want)
{
	int fd = greeted(r, listen);
	char line[300], got[300] = "";

	(void)snprintf(line, sizeof(line), "550 5.0.0 %s\r\n", want);
	for (int i = 0; i < 100 && strcmp(got, line) != 0; i++) {
		(void)usleep(i == 0 ? 0 : 50000);
		send_message(fd, "stats", "x\r\n");
		get(fd, got, sizeof(got));
	}
	assert_string_equal(got, line);
	(void)close(fd);
}

static int
stop(struct role *r)
{
	assert_int_equal(write(r->control, "s", 1), 1);
	return role_wait(r);
}

static void
messages(void **state)
{
	static const char text[] = "S: x\r\n\r\nhello\r\n";
	struct role r;
	char origin[100];

	(void)state;
	role_init(&r);
	role_start(&r);
	for (unsigned listen = 0; listen < 2; listen++) {
		int fd = greeted(&r, listen);

		send_message(fd, "r", text);
		expect_queued(fd, text, strlen(text));
		send_message(fd, "reject", text);
		expect(fd, "452 4.3.1 full\r\n");
		send_message(fd, "slow", text);
		expect_queued(fd, text, strlen(text));
		chat(fd, "QUIT\r\n", 1, "221 2.0.0 Bye\r\n");
		expect(fd, "");
		(void)close(fd);
	}
	(void)snprintf(origin, sizeof(origin), "opens=0 drops=0 origin=uid "
		"%lu", (unsigned long)getuid());
	expect_stats(&r, 0, origin);
	expect_stats(&r, 1, "opens=0 drops=0 origin=[127.0.0.1]");
	assert_int_equal(stop(&r), 0);
	role_clear(&r);
}

static void
not_allowed(void **state)
{
	struct role r;
	int fd;

	(void)state;
	role_init(&r);
	role_start(&r);
	fd = role_connect(&r, 2);
	expect(fd, "554 5.7.1 Client is not allowed to relay\r\n");
	(void)send(fd, "EHLO x\r\n", 8, MSG_NOSIGNAL);
	expect(fd, "");
	(void)close(fd);
	/* one that talks first, while nobody is there to accept it */
	(void)kill(r.inject, SIGSTOP);
	assert_int_equal(waitpid(r.inject, NULL, WUNTRACED), r.inject);
	fd = role_connect(&r, 1);
	put(fd, "EHLO x\r\n");
	(void)kill(r.inject, SIGCONT);
	expect(fd, "554 5.5.1 Client spoke before the greeting\r\n");
	expect(fd, "");
	(void)close(fd);
	assert_int_equal(stop(&r), 0);
	role_clear(&r);
}

static long
field_of(pid_t pid, const char *name)
{
	char path[64], line[256];
	long value = -1;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%ld/status", (long)pid);
	f = fopen(path, "r");
	if (f == NULL)
		return -1;
	while (fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, name, strlen(name)) == 0)
			value = strtol(line + strlen(name), NULL, 10);
	(void)fclose(f);
	return value;
}

static char *
large(size_t bytes)
{
	char *text = xmalloc(bytes + 1);

	for (size_t i = 0; i < bytes; i += 100) {
		memset(text + i, 'a' + (int)(i / 100 % 26), 98);
		memcpy(text + i + 98, "\r\n", 2);
	}
	text[bytes] = '\0';
	return text;
}

static void
large_message(void **state)
{
	const size_t bytes = 10000000;
	char *text = large(bytes), origin[100];
	long before, after;
	struct role r;
	int fd;

	(void)state;
	role_init(&r);
	role_start(&r);
	fd = greeted(&r, 0);
	send_message(fd, "r", "x\r\n");
	expect_queued(fd, "x\r\n", 3);
	if (sandbox_supported())
		assert_int_equal(field_of(r.inject, "Seccomp:"), 2);
	before = field_of(r.inject, "VmHWM:");
	send_message(fd, "r", text);
	expect_queued(fd, text, bytes);
	after = field_of(r.inject, "VmHWM:");
	if (sandbox_supported() && after - before > 1024)
		fail_msg("%ld kB more for 10 MB", after - before);
	/* going away in the middle leaves nothing */
	chat(fd, "MAIL FROM:<>\r\nRCPT TO:<r@b.example>\r\nDATA\r\n", 3,
		"354 End with CRLF.CRLF\r\n");
	text[3000000] = '\0';
	put(fd, text);
	(void)close(fd);
	(void)snprintf(origin, sizeof(origin), "opens=2 drops=1 origin=uid "
		"%lu", (unsigned long)getuid());
	expect_stats(&r, 0, origin);
	assert_int_equal(stop(&r), 0);
	role_clear(&r);
	free(text);
}

/* Many large messages at once, and a submitter who reads nothing. */
static void
pipelined(void **state)
{
	char *text = large(40000), *batch = xmalloc(60000);
	struct role r;
	int fds[4];

	(void)state;
	role_init(&r);
	role_start(&r);
	(void)snprintf(batch, 60000, "MAIL FROM:<>\r\nRCPT TO:<r@b.example>"
		"\r\nDATA\r\n%s.\r\n", text);
	for (int i = 0; i < 4; i++)
		fds[i] = greeted(&r, 0);
	for (int turn = 0; turn < 20; turn++)
		for (int i = 0; i < 4; i++)
			put(fds[i], batch);
	for (int i = 0; i < 4; i++) {
		for (int turn = 0; turn < 20; turn++) {
			expect(fds[i], "250 2.1.0 Sender ok\r\n");
			expect(fds[i], "250 2.1.5 Recipient ok\r\n");
			expect(fds[i], "354 End with CRLF.CRLF\r\n");
			expect_queued(fds[i], text, 40000);
		}
		(void)close(fds[i]);
	}
	assert_int_equal(stop(&r), 0);
	role_clear(&r);
	free(batch);
	free(text);
}

/* One submitter as a process of its own: true when it was told "queued". */
static int
submitter(const struct role *r, const char *message, size_t len)
{
	int fd = role_connect(r, 0);
	char text[4096];
	size_t used = 0;
	ssize_t n;

	while (len > 0 && (n = send(fd, message, len, MSG_NOSIGNAL)) > 0) {
		message += n;
		len -= (size_t)n;
	}
	(void)shutdown(fd, SHUT_WR);
	while ((n = recv(fd, text + used, sizeof(text) - 1 - used, 0)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	return strstr(text, "queued as") != NULL ? 0 : 1;
}

/* The parent stands still: what it does not take waits with the submitters,
 * and all goes through when it wakes up. */
static void
parent_slow(void **state)
{
	enum { COUNT = 60 };
	char *text = large(250000), *message = xmalloc(260000);
	pid_t pids[COUNT];
	struct role r;
	long high;

	(void)state;
	role_init(&r);
	r.conf.limit.sessions = r.conf.limit.sessions_per_client = COUNT;
	role_start(&r);
	(void)close(greeted(&r, 0));
	(void)kill(r.parent, SIGSTOP);
	assert_int_equal(waitpid(r.parent, NULL, WUNTRACED), r.parent);
	(void)snprintf(message, 260000, "HELO x\r\nMAIL FROM:<>\r\n"
		"RCPT TO:<r@b.example>\r\nDATA\r\n%s.\r\nQUIT\r\n", text);
	for (int i = 0; i < COUNT; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			_exit(submitter(&r, message, strlen(message)));
	}
	(void)usleep(700000);
	high = field_of(r.inject, "VmHWM:");
	(void)kill(r.parent, SIGCONT);
	for (int i = 0; i < COUNT; i++) {
		int status = 1;

		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	if (sandbox_supported() && high > 40000)
		fail_msg("%ld kB while the parent was away", high);
	assert_int_equal(stop(&r), 0);
	role_clear(&r);
	free(message);
	free(text);
}

/* A half-closed connection still gets its replies. */
static void
half_closed(void **state)
{
	struct role r;
	int fd;

	(void)state;
	role_init(&r);
	role_start(&r);
	fd = greeted(&r, 0);
	put(fd, "MAIL FROM:<>\r\nRCPT TO:<slow@b.example>\r\nDATA\r\nx\r\n"
		".\r\nNOOP\r\nMAIL FROM:<");
	(void)shutdown(fd, SHUT_WR);
	expect(fd, "250 2.1.0 Sender ok\r\n");
	expect(fd, "250 2.1.5 Recipient ok\r\n");
	expect(fd, "354 End with CRLF.CRLF\r\n");
	expect_queued(fd, "x\r\n", 3);
	expect(fd, "250 2.0.0 Ok\r\n");
	expect(fd, "");
	(void)close(fd);
	assert_int_equal(stop(&r), 0);
	role_clear(&r);
}

static void
session_limits(void **state)
{
	struct role r;
	int fds[6], fd;
	char line[200] = "";

	(void)state;
	role_init(&r);
	r.conf.limit.sessions = 6;
	r.conf.limit.sessions_per_client = 3;
	role_start(&r);
	for (int i = 0; i < 3; i++)
		fds[i] = greeted(&r, 0);
	fd = role_connect(&r, 0);
	expect(fd, "421 4.7.0 Too many sessions from this client, try "
		"later\r\n");
	(void)close(fd);
	for (int i = 3; i < 6; i++)
		fds[i] = greeted(&r, 1);
	fd = role_connect(&r, 0);
	expect(fd, BUSY);
	(void)close(fd);
	(void)close(fds[0]);
	for (int i = 0; i < 100 && strcmp(line, GREETING) != 0; i++) {
		(void)usleep(20000);
		fd = role_connect(&r, 0);
		get(fd, line, sizeof(line));
		(void)close(fd);
	}
	assert_string_equal(line, GREETING);
	for (int i = 1; i < 6; i++)
		(void)close(fds[i]);
	assert_int_equal(stop(&r), 0);
	role_clear(&r);
}

static void
idle(void **state)
{
	struct role r;
	int fd;

	(void)state;
	role_init(&r);
	r.conf.limit.inject_command_ms = 300;
	role_start(&r);
	fd = greeted(&r, 1);
	expect(fd, "421 4.4.2 Idle too long, closing\r\n");
	expect(fd, "");
	(void)close(fd);
	assert_int_equal(stop(&r), 0);
	role_clear(&r);
}

static void
stop_finishes(void **state)
{
	struct role r;
	int idle_fd, data_fd, slow_fd;

	(void)state;
	role_init(&r);
	role_start(&r);
	idle_fd = greeted(&r, 0);
	data_fd = greeted(&r, 0);
	slow_fd = greeted(&r, 1);
	chat(data_fd, "MAIL FROM:<>\r\nRCPT TO:<r@b.example>\r\nDATA\r\n", 3,
		"354 End with CRLF.CRLF\r\n");
	send_message(slow_fd, "slow", "y\r\n");
	(void)usleep(50000);
	assert_int_equal(write(r.control, "s", 1), 1);
	expect(idle_fd, STOPPING);
	expect(idle_fd, "");
	expect_queued(slow_fd, "y\r\n", 3);
	expect(slow_fd, STOPPING);
	put(data_fd, "x\r\n.\r\n");
	expect_queued(data_fd, "x\r\n", 3);
	expect(data_fd, STOPPING);
	(void)close(idle_fd);
	(void)close(data_fd);
	(void)close(slow_fd);
	assert_int_equal(role_wait(&r), 0);
	role_clear(&r);
}

static void
parent_dies(void **state)
{
	struct role r;
	int fd, status;

	(void)state;
	role_init(&r);
	role_start(&r);
	fd = greeted(&r, 0);
	send_message(fd, "silent", "x\r\n");
	(void)kill(r.parent, SIGKILL);
	expect(fd, "");
	(void)close(fd);
	status = role_wait(&r);
	assert_int_not_equal(status, 0);
	assert_int_not_equal(status, -1);
	role_clear(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages),
		cmocka_unit_test(not_allowed),
		cmocka_unit_test(large_message),
		cmocka_unit_test(pipelined),
		cmocka_unit_test(parent_slow),
		cmocka_unit_test(half_closed),
		cmocka_unit_test(session_limits),
		cmocka_unit_test(idle),
		cmocka_unit_test(stop_finishes),
		cmocka_unit_test(parent_dies),
	};

	(void)alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
