/*
 * Listening sockets: stale and busy ones, modes, sharing over a reload, and
 * what is handed over by the system.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "smtpd-out/parent/listener.h"

static char dir[64], path[100];
static char err[CONF_ERR_MAX];

static int
setup(void **state)
{
	(void)state;
	(void)snprintf(dir, sizeof(dir), "/tmp/test-listener-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/s", dir);
	err[0] = '\0';
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	(void)unlink(path);
	return rmdir(dir);
}

static struct conf_addr
addr_of(const char *text)
{
	struct conf_addr a;

	assert_int_equal(conf_addr_parse(text, 0, &a), ST_OK);
	return a;
}

static enum status
open_one(const char *text, unsigned mode, int *fd)
{
	struct conf_addr a = addr_of(text);
	enum status st = listener_open(&a, mode, fd, err);

	free(a.text);
	return st;
}

static const char *
unix_text(void)
{
	static char text[120];

	(void)snprintf(text, sizeof(text), "unix:%s", path);
	return text;
}

static bool
answers(const char *text)
{
	struct conf_addr a = addr_of(text);
	int fd = socket(a.addr.ss_family, SOCK_STREAM, 0);
	bool up = connect(fd, (struct sockaddr *)&a.addr, a.addr_len) == 0;

	(void)close(fd);
	free(a.text);
	return up;
}

static void
test_unix(void **state)
{
	struct stat st;
	int fd = -1, again = -1;

	(void)state;
	assert_int_equal(open_one(unix_text(), 0640, &fd), ST_OK);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(answers(unix_text()));
	/* in use: refused, and left alone */
	assert_int_equal(open_one(unix_text(), 0666, &again), ST_DENIED);
	assert_non_null(strstr(err, path));
	assert_true(answers(unix_text()));
	/* its owner is gone: replaced */
	(void)close(fd);
	assert_false(answers(unix_text()));
	assert_int_equal(open_one(unix_text(), 0666, &fd), ST_OK);
	assert_true(answers(unix_text()));
	(void)close(fd);
}

static void
test_not_a_socket(void **state)
{
	int fd = open(path, O_CREAT | O_WRONLY, 0600), other = -1;
	struct stat st;

	(void)state;
	assert_true(fd >= 0);
	(void)close(fd);
	assert_int_equal(open_one(unix_text(), 0666, &other), ST_SYS);
	assert_true(err[0] != '\0');
	assert_int_equal(stat(path, &st), 0);	/* the file is still there */
	(void)unlink(path);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_int_equal(open_one(unix_text(), 0666, &other), ST_SYS);
	(void)unlink(path);
	assert_int_equal(open_one("unix:/nonexistent/dir/s", 0666, &other),
		ST_SYS);
	assert_int_equal(other, -1);
}

static void
test_umask_is_restored(void **state)
{
	mode_t before = umask(027), after;
	int fd = -1;

	(void)state;
	assert_int_equal(open_one(unix_text(), 0666, &fd), ST_OK);
	after = umask(before);
	assert_int_equal(after, 027);
	(void)close(fd);
}

/* A free port of this machine, in text. */
static const char *
free_port(void)
{
	static char text[40];
	struct sockaddr_in in = { .sin_family = AF_INET };
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	(void)close(fd);
	(void)snprintf(text, sizeof(text), "127.0.0.1:%u",
		ntohs(in.sin_port));
	return text;
}

static void
test_tcp(void **state)
{
	const char *text = free_port();
	int fd = -1, again = -1;

	(void)state;
	assert_int_equal(open_one(text, 0, &fd), ST_OK);
	assert_true(answers(text));
	assert_int_equal(open_one(text, 0, &again), ST_SYS);
	assert_non_null(strstr(err, text));
	(void)close(fd);
	assert_int_equal(open_one("192.0.2.1:1", 0, &fd), ST_SYS);
}

static struct conf *
conf_of(const char *a, const char *b)
{
	char *text = xasprintf("listen \"%s\" { mode = 0600 }\n%s%s%s", a,
		b == NULL ? "" : "listen \"", b == NULL ? "" : b,
		b == NULL ? "" : "\" { }\n");
	struct conf *conf;

	if (conf_parse("t", text, &conf, err) != ST_OK)
		fail_msg("%s", err);
	free(text);
	return conf;
}

/* A reload keeps the sockets that stay, opens new ones, and fails whole. */
static void
test_reload(void **state)
{
	struct conf *one = conf_of(unix_text(), NULL);
	struct conf *two = conf_of(unix_text(), free_port());
	struct conf *bad = conf_of(unix_text(), "192.0.2.1:1");
	struct listeners old, new, none;

	(void)state;
	assert_int_equal(listeners_open(one, NULL, &old, err), ST_OK);
	assert_int_equal(old.count, 1);
	assert_int_equal(listeners_open(bad, &old, &none, err), ST_SYS);
	assert_int_equal(none.count, 0);
	assert_true(answers(unix_text()));
	assert_int_equal(listeners_open(two, &old, &new, err), ST_OK);
	assert_int_equal(new.count, 2);
	listeners_close(&old);
	assert_int_equal(old.count, 0);
	assert_true(answers(unix_text()));
	assert_true(answers(two->listens[1].addr.text));
	listeners_close(&new);
	listeners_close(&new);
	conf_free(&one);
	conf_free(&two);
	conf_free(&bad);
}

/* The process that the sockets were opened for, as systemd does it. */
static int
activated(const char *text, int listening, bool for_us)
{
	struct conf *conf = conf_of(text, NULL);
	struct listeners l;
	char pid[20];

	if (dup2(listening, 3) != 3)
		return 10;
	(void)snprintf(pid, sizeof(pid), "%d", (int)getpid() + !for_us);
	(void)setenv("LISTEN_PID", pid, 1);
	(void)setenv("LISTEN_FDS", "1", 1);
	if (listeners_open(conf, NULL, &l, err) != ST_OK)
		return 1;
	return l.fds[0] == 3 && (fcntl(3, F_GETFD) & FD_CLOEXEC) != 0 &&
		(fcntl(3, F_GETFL) & O_NONBLOCK) != 0 ? 0 : 2;
}

static int
in_child(const char *text, int listening, bool for_us)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(activated(text, listening, for_us));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void
test_activation(void **state)
{
	int fd = -1, tcp = -1;
	const char *text = free_port();

	(void)state;
	assert_int_equal(open_one(unix_text(), 0666, &fd), ST_OK);
	assert_int_equal(open_one(text, 0, &tcp), ST_OK);
	assert_int_equal(in_child(unix_text(), fd, true), 0);
	assert_int_equal(in_child(text, tcp, true), 0);
	/* another process's: not taken, and the address is in use */
	assert_int_equal(in_child(unix_text(), fd, false), 1);
	/* another address than the one configured */
	assert_int_equal(in_child(text, fd, true), 1);
	(void)close(fd);
	(void)close(tcp);
}

/* The system's socket was bound by a path without its trailing bytes. */
static void
test_activation_of_short_name(void **state)
{
	struct conf_addr a = addr_of(unix_text());
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	socklen_t len = (socklen_t)(sizeof(a.addr.ss_family) +
		strlen(path) + 1);

	(void)state;
	assert_int_equal(bind(fd, (struct sockaddr *)&a.addr, len), 0);
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(in_child(unix_text(), fd, true), 0);
	(void)close(fd);
	free(a.text);
}

int
main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_unix), T(test_not_a_socket), T(test_umask_is_restored),
		T(test_tcp), T(test_reload), T(test_activation),
		T(test_activation_of_short_name),
	};

	return cmocka_run_group_tests_name("listener", tests, NULL, NULL);
}
