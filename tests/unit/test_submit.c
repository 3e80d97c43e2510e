/*
 * The submit command against the real inject role (whose parent is a fake):
 * what arrives, and the exit codes.
 */
#include "config.h"

#include <fcntl.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "smtpd-out/command/cmd_submit.h"
#include "tests/unit/inject_parent.h"

#define WORDS 16

/* Runs the command with input on its standard input; output (both streams)
 * is owned text. */
static int
submit(const char *const *words, const char *input, size_t len, char **out)
{
	int in[2], outp[2], status = 0;
	char *text = xcalloc(1, 8192);
	size_t used = 0;
	pid_t pid, writer;
	ssize_t n;

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(outp, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		char *argv[WORDS + 1] = { NULL };
		int argc = 0;

		for (; argc < WORDS && words[argc] != NULL; argc++)
			argv[argc] = xstrdup(words[argc]);
		(void)dup2(in[0], 0);
		(void)dup2(outp[1], 1);
		(void)dup2(outp[1], 2);
		(void)close(in[1]);
		(void)close(outp[0]);
		status = cmd_submit(argc, argv);
		(void)fflush(stdout);
		_exit(status);
	}
	writer = fork();
	if (writer == 0) {
		(void)close(in[0]);
		(void)close(outp[0]);
		(void)close(outp[1]);
		(void)!write(in[1], input, len);
		_exit(0);
	}
	(void)close(in[0]);
	(void)close(in[1]);
	(void)close(outp[1]);
	while (used < 8191 && (n = read(outp[0], text + used, 8191 - used)) >
	    0)
		used += (size_t)n;
	(void)close(outp[0]);
	(void)waitpid(writer, NULL, 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	*out = text;
	return WEXITSTATUS(status);
}

static struct role role;

static int
start(void **state)
{
	(void)state;
	role_init(&role);
	role_start(&role);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	if (write(role.control, "s", 1) != 1 || role_wait(&role) != 0)
		return -1;
	role_clear(&role);
	return 0;
}

struct command_case {
	const char *words[WORDS];	/* after "submit --socket PATH" */
	const char *input;
	int code;
	const char *want;	/* of DIR/last or of the output; NULL: any */
};

/* Replaces what changes from run to run: Date and Message-ID. */
static void
mask(char *text)
{
	char *line = text;

	while (line != NULL && *line != '\0') {
		char *next = strchr(line, '\n');

		if (strncmp(line, "Date: ", 6) == 0 ||
		    strncmp(line, "Message-ID: <00", 15) == 0)
			memmove(line, next + 1, strlen(next + 1) + 1);
		else
			line = next == NULL ? NULL : next + 1;
	}
}

static void
run_case(const struct command_case *c)
{
	const char *words[WORDS] = { "submit", "--socket", role.path };
	char *out, *last;
	int code;

	for (size_t i = 0; i + 3 < WORDS && c->words[i] != NULL; i++)
		words[i + 3] = c->words[i];
	code = submit(words, c->input, strlen(c->input), &out);
	last = role_last(&role);
	if (code != c->code)
		fail_msg("%s: exit %d, wanted %d: %s", c->input, code,
			c->code, out);
	mask(last);
	if (c->code == EX_OK) {
		assert_string_equal(out, "");
		if (c->want != NULL)
			assert_string_equal(last, c->want);
	} else {
		assert_string_equal(last, "");
		if (strstr(out, c->want) == NULL)
			fail_msg("said \"%s\", wanted \"%s\"", out, c->want);
	}
	free(last);
	free(out);
}

static void
sent(void **state)
{
	static const struct command_case cases[] = {
		{ { "-f", "s@x.example", "r@b.example", NULL },
			"From: s@x.example\nSubject: x\n\nhi\n.\nrest\n", 0,
			"<s@x.example> flags=0 ret=0 envid=\n"
			"<r@b.example> 0\n\n"
			"From: s@x.example\r\nSubject: x\r\n\r\nhi\r\n" },
		{ { "-i", "-f", "s@x.example", "r@b.example", NULL },
			"From: x\n\nhi\n.\n..\nrest\rend", 0,
			"<s@x.example> flags=0 ret=0 envid=\n"
			"<r@b.example> 0\n\n"
			"From: x\r\n\r\nhi\r\n.\r\n..\r\nrest\r\nend\r\n" },
		/* text without a header, words that are lists, no domain */
		{ { "-f", "s@x.example", "-F", "N", "r@b.example, root", "a",
			NULL }, "just text\n", 0,
			"<s@x.example> flags=0 ret=0 envid=\n"
			"<r@b.example> 0\n<root@mx.example> 0\n"
			"<a@mx.example> 0\n\n"
			"From: N <s@x.example>\r\n\r\njust text\r\n" },
		{ { "-t", "-N", "success,delay", "-R", "hdrs", "-V", "a b+",
			"-f", "", "c@d.example" },
			"From: a\nTo: X <x@y.example>,\n z@y.example (c)\n"
			"Bcc: h@y.example\nCc: g: x@y.example;\n\n\303\251\n",
			0, "<> flags=1 ret=2 envid=a+20b+2B\n"
			"<c@d.example> 10\n<x@y.example> 10\n"
			"<z@y.example> 10\n<h@y.example> 10\n\n"
			"From: a\r\nTo: X <x@y.example>,\r\n z@y.example (c)"
			"\r\nCc: g: x@y.example;\r\n\r\n\303\251\r\n" },
		/* a domain in UTF-8 needs no SMTPUTF8, a local part does */
		{ { "-f", "s@x.example", "r@b\303\274cher.example", NULL },
			"From: a\n\n", 0,
			"<s@x.example> flags=0 ret=0 envid=\n"
			"<r@xn--bcher-kva.example> 0\n\nFrom: a\r\n\r\n" },
		{ { "-f", "s@x.example", "\303\251@b.example", NULL },
			"From: a\n\n", 0,
			"<s@x.example> flags=2 ret=0 envid=\n"
			"<\303\251@b.example> 0\n\nFrom: a\r\n\r\n" },
		{ { "-f", "<\"q r\"@x.example>", "[192.0.2.1]", NULL },
			"From: a\n\n", EX_NOUSER, "bad recipient" },
		{ { "--require-tls", "-f", "s@x.example", "r@b.example",
			NULL }, "From: a\nTLS-Required: No\n\n", 0,
			"<s@x.example> flags=4 ret=0 envid=\n"
			"<r@b.example> 0\n\nFrom: a\r\n"
			"TLS-Required: No\r\n\r\n" },
		{ { "-bi", NULL }, "", 0, "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		run_case(&cases[i]);
}

static void
refused(void **state)
{
	static const struct command_case cases[] = {
		{ { NULL }, "", EX_USAGE, "no recipients given" },
		{ { "-z", NULL }, "", EX_USAGE, "unknown option" },
		{ { "-t", NULL }, "Subject: x\n\n", EX_DATAERR,
			"no recipient" },
		{ { "-t", NULL }, "To: John Doe\n\n", EX_DATAERR,
			"malformed address in To" },
		{ { "a b@c", NULL }, "", EX_NOUSER, "bad recipient" },
		{ { "a..b@c.example", NULL }, "", EX_NOUSER,
			"bad recipient address \"a..b@c.example\"" },
		{ { "a@b..c", NULL }, "", EX_NOHOST, "bad recipient" },
		{ { "-f", "x@", "a@b.example", NULL }, "", EX_NOHOST,
			"bad sender" },
		{ { "-N", "maybe", "a@b.example", NULL }, "", EX_USAGE,
			"-N" },
		{ { "-R", "all", "a@b.example", NULL }, "", EX_USAGE, "-R" },
		{ { "reject@b.example", NULL }, "x\n", EX_TEMPFAIL,
			"452 4.3.1 full" },
		{ { "stats@b.example", NULL }, "x\n", EX_UNAVAILABLE,
			"550 5.0.0" },
		{ { "--require-tls", "-bs", NULL }, "x\n", EX_USAGE,
			"say REQUIRETLS in MAIL" },
		{ { "--socket", "/nonexistent/socket", "a@b.example", NULL },
			"x\n", EX_TEMPFAIL, "service is not there" },
		{ { "-c", "/nonexistent/conf", "--socket", "", "a@b.example",
			NULL }, "x\n", EX_TEMPFAIL, "service is not there" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		run_case(&cases[i]);
}

/* From, Date and Message-ID where missing; the user as sender. */
static void
filled_in(void **state)
{
	const char *const words[] = { "submit", "--socket", role.path,
		"r@b.example", NULL };
	const struct passwd *pw = getpwuid(getuid());
	char *out, *last, sender[200];

	(void)state;
	assert_int_equal(submit(words, "x\n", 2, &out), EX_OK);
	last = role_last(&role);
	assert_non_null(strstr(last, "\nDate: "));
	assert_non_null(strstr(last, "\nMessage-ID: <00"));
	assert_non_null(strstr(last, "@mx.example>\r\n"));
	assert_non_null(strstr(last, "\nFrom: "));
	if (pw != NULL) {
		(void)snprintf(sender, sizeof(sender), "<%s@mx.example> ",
			pw->pw_name);
		assert_memory_equal(last, sender, strlen(sender));
	}
	free(last);
	free(out);
}

static void
configured(void **state)
{
	char path[128];
	const char *const words[] = { "sendmail", "-c", path, "-t", NULL };
	const char *const missing[] = { "sendmail", "-c", "/nonexistent",
		"-t", NULL };
	char *out, *last;
	FILE *f;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/conf", role.dir);
	f = fopen(path, "w");
	assert_non_null(f);
	(void)fprintf(f, "hostname = \"mx.example\"\n"
		"listen \"unix:%s\" { }\n", role.path);
	(void)fclose(f);
	if (submit(words, "To: a@b.example\n\n", 17, &out) != EX_OK)
		fail_msg("%s", out);
	last = role_last(&role);
	assert_non_null(strstr(last, "<a@b.example>"));
	free(last);
	free(out);
	(void)unlink(path);
	assert_int_equal(submit(missing, "To: a@b.example\n\n", 17, &out),
		EX_CONFIG);
	free(out);
}

/* A large message streams, dots and all. */
static void
large(void **state)
{
	const char *const words[] = { "submit", "--socket", role.path, "-i",
		"r@b.example", NULL };
	size_t len = 6000000;
	char *text = xmalloc(len), *out, *last;

	(void)state;
	for (size_t i = 0; i < len; i += 60) {
		memset(text + i, '.', 59);
		text[i + 59] = '\n';
	}
	if (submit(words, text, len, &out) != EX_OK)
		fail_msg("%s", out);
	free(out);
	last = role_last(&role);
	free(last);
	/* larger than the service takes */
	text = xrealloc_n(text, 4, len);
	for (int i = 1; i < 4; i++)
		memcpy(text + (size_t)i * len, text, len);
	assert_int_equal(submit(words, text, 4 * len, &out), EX_UNAVAILABLE);
	assert_non_null(strstr(out, "5.3.4"));
	free(out);
	free(text);
}

static void
proxy(void **state)
{
	const char *const words[] = { "sendmail", "--socket", role.path,
		"-bs", NULL };
	const char *const missing[] = { "sendmail", "--socket",
		"/nonexistent", "-bs", NULL };
	static const char dialogue[] = "HELO x\r\nMAIL FROM:<>\r\n"
		"RCPT TO:<slow@b.example>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n";
	char *out, *last;

	(void)state;
	assert_int_equal(submit(words, dialogue, sizeof(dialogue) - 1, &out),
		EX_OK);
	assert_non_null(strstr(out, "250 2.0.0 Ok: queued as "));
	assert_non_null(strstr(out, "221 2.0.0 Bye"));
	free(out);
	last = role_last(&role);
	free(last);
	assert_int_equal(submit(missing, "", 0, &out), EX_TEMPFAIL);
	assert_non_null(strstr(out, "421 4.3.2"));
	free(out);
}

/* More recipients than a message may have: nothing is sent, and trying again
 * would not help. */
static void
many_rcpts(void **state)
{
	const char *const words[] = { "submit", "--socket", role.path, "-t",
		NULL };
	char *text = xmalloc(20000), *out, *last;
	size_t len = 0;

	(void)state;
	len += (size_t)sprintf(text, "To: a@b.example");
	for (int i = 0; i < 99; i++)
		len += (size_t)sprintf(text + len, ",\n r%d@b.example", i);
	(void)sprintf(text + len, "\n\nx\n");
	assert_int_equal(submit(words, text, strlen(text), &out), EX_OK);
	free(out);
	last = role_last(&role);
	assert_non_null(strstr(last, "<r98@b.example>"));
	free(last);
	(void)sprintf(text + len, ", z@b.example\n\nx\n");
	assert_int_equal(submit(words, text, strlen(text), &out),
		EX_UNAVAILABLE);
	assert_non_null(strstr(out, "z@b.example: 452 4.5.3"));
	free(out);
	free(text);
}

/* A service that says something odd, or nothing. */
static void
strange_service(void **state)
{
	static const struct {
		const char *say;
		int code;
	} cases[] = {
		{ "", EX_TEMPFAIL },
		{ "421 4.3.2 busy\r\n", EX_TEMPFAIL },
		{ "554 5.7.1 no\r\n", EX_UNAVAILABLE },
		{ "hello\r\n", EX_TEMPFAIL },
		{ "220\r\n", EX_TEMPFAIL },
		{ "220 ../x y\r\n", EX_TEMPFAIL },
		{ "220-x\r\n", EX_TEMPFAIL },
		{ "220 mx.example\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 ok\r\n",
			EX_TEMPFAIL },
		{ "220 mx.example\r\n250 ok\r\n250 ok\r\n550 5.1.1 no\r\n",
			EX_NOUSER },
		{ "220 mx.example\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 ok\r\n"
			"250 ok\r\n", EX_OK },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char path[128], sink[4096], *out;
		const char *const words[] = { "submit", "--socket", path,
			"a@b.example", NULL };
		pid_t pid;
		int fd, code;

		(void)snprintf(path, sizeof(path), "%s/odd", role.dir);
		fd = role_listen(path);
		pid = fork();
		if (pid == 0) {
			int peer = accept(fd, NULL, NULL);

			(void)send(peer, cases[i].say, strlen(cases[i].say),
				MSG_NOSIGNAL);
			(void)shutdown(peer, SHUT_WR);
			while (recv(peer, sink, sizeof(sink), 0) > 0)
				;
			_exit(0);
		}
		(void)close(fd);
		code = submit(words, "x\n", 2, &out);
		if (code != cases[i].code)
			fail_msg("%s: exit %d, %s", cases[i].say, code, out);
		free(out);
		(void)waitpid(pid, NULL, 0);
		(void)unlink(path);
	}
}

/* A service without REQUIRETLS must not even see the sender. */
static void
require_tls_missing(void **state)
{
	static const char *const greetings[] = {
		"220 mx.example\r\n250 ok\r\n",
		"220 mx.example\r\n250-x\r\n250-XREQUIRETLS\r\n250 DSN\r\n",
		"220 requiretls\r\n250 REQUIRETLSX\r\n",
	};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		char path[128], seen[4096] = "", *out;
		const char *const words[] = { "submit", "--socket", path,
			"--require-tls", "a@b.example", NULL };
		int fd, peer, code;
		size_t used = 0;
		ssize_t n;

		(void)snprintf(path, sizeof(path), "%s/old", role.dir);
		fd = role_listen(path);
		if (fork() == 0) {
			int status = 0;

			peer = accept(fd, NULL, NULL);
			(void)send(peer, greetings[i], strlen(greetings[i]),
				MSG_NOSIGNAL);
			while ((n = recv(peer, seen + used, sizeof(seen) -
			    used - 1, 0)) > 0)
				used += (size_t)n;
			status = strcmp(seen, "EHLO localhost\r\n") != 0;
			_exit(status);
		}
		(void)close(fd);
		code = submit(words, "x\n", 2, &out);
		assert_int_equal(code, EX_UNAVAILABLE);
		assert_non_null(strstr(out, "not offer REQUIRETLS"));
		free(out);
		assert_true(wait(&code) > 0);
		assert_int_equal(code, 0);
		(void)unlink(path);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sent),
		cmocka_unit_test(refused),
		cmocka_unit_test(filled_in),
		cmocka_unit_test(configured),
		cmocka_unit_test(large),
		cmocka_unit_test(proxy),
		cmocka_unit_test(many_rcpts),
		cmocka_unit_test(strange_service),
		cmocka_unit_test(require_tls_missing),
	};

	(void)alarm(100);
	return cmocka_run_group_tests(tests, start, end);
}
