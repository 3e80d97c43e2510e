/*
 * The password file and the exchange of AUTH, without a connection.
 */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "smtpd-out/client/smtp_auth.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define PLAIN_B64 "AHVzZXIAczNjcmV0IXdvcmQ="

static const struct file_case {
	const char *text;
	size_t len;		/* 0: of the string */
	mode_t mode;
	const char *why;	/* NULL: good */
	const char *user, *password;
} file_cases[] = {
	{ "user:s3cret!word\n", 0, 0600, NULL, "user", "s3cret!word" },
	{ "user:s3cret!word", 0, 0400, NULL, "user", "s3cret!word" },
	{ "u:p\r\n", 0, 0600, NULL, "u", "p" },
	{ "u@d.example:a:b: \n", 0, 0600, NULL, "u@d.example", "a:b: " },
	{ "u:p", 0, 0640, "mode", NULL, NULL },
	{ "u:p", 0, 0604, "mode", NULL, NULL },
	{ "u:p", 0, 0620, "mode", NULL, NULL },
	{ "u:p", 0, 0601, "mode", NULL, NULL },
	{ "", 0, 0600, "one line", NULL, NULL },
	{ "\n", 0, 0600, "one line", NULL, NULL },
	{ "user", 0, 0600, "one line", NULL, NULL },
	{ ":p", 0, 0600, "one line", NULL, NULL },
	{ "u:", 0, 0600, "one line", NULL, NULL },
	{ "u:p\nv:q\n", 0, 0600, "one line", NULL, NULL },
	{ "u:p\n\n", 0, 0600, "one line", NULL, NULL },
	{ "u:p\rq\n", 0, 0600, "one line", NULL, NULL },
	{ "u:p\0q", 5, 0600, "one line", NULL, NULL },
};

static void
write_file(char path[32], const char *text, size_t len, mode_t mode)
{
	int fd;

	(void)strcpy(path, "/tmp/test_auth_XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), (ssize_t)len);
	assert_int_equal(fchmod(fd, mode), 0);
	assert_int_equal(close(fd), 0);
}

static bool
is_zero(const struct auth_secret *s)
{
	static const struct auth_secret zero;

	return memcmp(s, &zero, sizeof(zero)) == 0;
}

static void
test_file(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(file_cases); i++) {
		const struct file_case *f = &file_cases[i];
		struct auth_secret secret;
		char path[32], err[AUTH_ERR_MAX];
		enum status st;

		write_file(path, f->text, f->len != 0 ? f->len :
			strlen(f->text), f->mode);
		st = auth_file_read(path, &secret, err);
		if ((st == ST_OK) != (f->why == NULL) ||
		    strstr(err, f->why != NULL ? f->why : "") == NULL)
			fail_msg("case %zu: %s", i, err);
		if (st == ST_OK) {
			assert_string_equal(secret.user, f->user);
			assert_string_equal(secret.password, f->password);
			auth_secret_wipe(&secret);
		} else {
			assert_null(strstr(err, "u:p"));
		}
		assert_true(is_zero(&secret));
		assert_int_equal(unlink(path), 0);
	}
}

static void
test_file_limits(void **state)
{
	static char text[2 * AUTH_TEXT_MAX + 100];
	struct auth_secret secret;
	char path[32], err[AUTH_ERR_MAX];

	(void)state;
	memset(text, 'x', sizeof(text));
	text[AUTH_TEXT_MAX] = ':';
	write_file(path, text, 2 * AUTH_TEXT_MAX + 1, 0600);
	assert_int_equal(auth_file_read(path, &secret, err), ST_OK);
	assert_int_equal(strlen(secret.user), AUTH_TEXT_MAX);
	assert_int_equal(strlen(secret.password), AUTH_TEXT_MAX);
	assert_int_equal(unlink(path), 0);
	write_file(path, text, 2 * AUTH_TEXT_MAX + 2, 0600);
	assert_int_equal(auth_file_read(path, &secret, err), ST_PARSE);
	assert_int_equal(unlink(path), 0);
	write_file(path, text, sizeof(text), 0600);
	assert_int_equal(auth_file_read(path, &secret, err), ST_PARSE);
	assert_int_equal(unlink(path), 0);
}

static void
test_no_file(void **state)
{
	struct auth_secret secret;
	char path[32], err[AUTH_ERR_MAX];

	(void)state;
	assert_int_equal(auth_file_read("/nonexistent", &secret, err), ST_SYS);
	assert_non_null(strstr(err, "/nonexistent"));
	assert_int_equal(auth_file_read("/tmp", &secret, err), ST_DENIED);
	/* a FIFO without a writer must not hang */
	write_file(path, "", 0, 0600);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(auth_file_read(path, &secret, err), ST_DENIED);
	assert_non_null(strstr(err, "regular"));
	assert_int_equal(unlink(path), 0);
}

static void
test_foreign_owner(void **state)
{
	struct auth_secret secret;
	char path[32], err[AUTH_ERR_MAX];

	(void)state;
	if (geteuid() != 0)
		skip();
	write_file(path, "u:p", 3, 0600);
	assert_int_equal(chown(path, 12345, 0), 0);
	assert_int_equal(auth_file_read(path, &secret, err), ST_DENIED);
	assert_non_null(strstr(err, "another user"));
	assert_int_equal(unlink(path), 0);
}

/* ---- exchange ---- */

static void
start(struct smtp_auth *a, struct buf *out)
{
	memset(a, 0, sizeof(*a));
	(void)strcpy(a->secret.user, "user");
	(void)strcpy(a->secret.password, "s3cret!word");
	buf_init(out, 4096);
}

static void
said(struct buf *out, const char *want)
{
	assert_int_equal(out->len, strlen(want));
	assert_memory_equal(buf_data(out), want, out->len);
	buf_clear(out);
}

static enum status
answer(struct smtp_auth *a, const char *text, struct buf *out)
{
	struct smtp_reply r;
	enum status st;
	size_t used;

	smtp_reply_init(&r);
	assert_int_equal(smtp_reply_feed(&r, (const uint8_t *)text,
		strlen(text), &used), ST_OK);
	st = smtp_auth_answer(a, &r, out);
	smtp_reply_clear(&r);
	return st;
}

static void
test_plain(void **state)
{
	struct smtp_auth a;
	struct buf out;

	(void)state;
	start(&a, &out);
	assert_int_equal(smtp_auth_begin(&a, SMTP_AUTH_PLAIN | SMTP_AUTH_LOGIN,
		&out), ST_OK);
	said(&out, "AUTH PLAIN " PLAIN_B64 "\r\n");
	assert_int_equal(answer(&a, "334 \r\n", &out), ST_PARSE);
	assert_int_equal(out.len, 0);
}

/* Too long for a command line: it waits for the challenge. */
static void
test_plain_long(void **state)
{
	struct smtp_auth a;
	struct buf out;

	(void)state;
	start(&a, &out);
	memset(a.secret.password, 'p', AUTH_TEXT_MAX);
	memset(a.secret.user, 'u', AUTH_TEXT_MAX);
	assert_int_equal(smtp_auth_begin(&a, SMTP_AUTH_PLAIN, &out), ST_OK);
	said(&out, "AUTH PLAIN\r\n");
	assert_int_equal(answer(&a, "334 \r\n", &out), ST_OK);
	assert_int_equal(out.len, 1368 + 2);
	buf_clear(&out);
	assert_int_equal(answer(&a, "334 \r\n", &out), ST_PARSE);
}

static const struct login_case {
	const char *first, *second;	/* NULL: is not asked for */
	bool ok_first, ok_second;
} login_cases[] = {
	{ "334 VXNlcm5hbWU6\r\n", "334 UGFzc3dvcmQ6\r\n", true, true },
	{ "334 VXNlciBOYW1lAA==\r\n", "334 cGFzc3dvcmQ=\r\n", true, true },
	{ "334 VXNlcm5hbWU6\r\n", "334 VXNlcm5hbWU6\r\n", true, false },
	{ "334 VXNlcm5hbWU6\r\n", "334 VG9rZW46\r\n", true, false },
	{ "334 VXNlcm5hbWU6\r\n", "334 Password:\r\n", true, false },
	{ "334 VXNlcm5hbWU6\r\n", "354 UGFzc3dvcmQ6\r\n", true, false },
	{ "334 UGFzc3dvcmQ6\r\n", NULL, false, false },
	{ "334 Username:\r\n", NULL, false, false },
	{ "334 \r\n", NULL, false, false },
	{ "334\r\n", NULL, false, false },
	{ "334 ====\r\n", NULL, false, false },
	{ "334 VXNlcm5hbWVzVXNlcm5hbWVzVXNlcm5hbWVzVXNlcm5hbWVz\r\n", NULL,
	    true, false },
};

static void
test_login(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(login_cases); i++) {
		const struct login_case *l = &login_cases[i];
		struct smtp_auth a;
		struct buf out;

		start(&a, &out);
		assert_int_equal(smtp_auth_begin(&a, SMTP_AUTH_LOGIN, &out),
			ST_OK);
		said(&out, "AUTH LOGIN\r\n");
		assert_int_equal(answer(&a, l->first, &out), l->ok_first ?
			ST_OK : ST_PARSE);
		said(&out, l->ok_first ? "dXNlcg==\r\n" : "");
		if (l->second == NULL)
			continue;
		assert_int_equal(answer(&a, l->second, &out), l->ok_second ?
			ST_OK : ST_PARSE);
		said(&out, l->ok_second ? "czNjcmV0IXdvcmQ=\r\n" : "");
		if (l->ok_second)
			assert_int_equal(answer(&a, l->second, &out),
				ST_PARSE);
	}
}

static void
test_scrub(void **state)
{
	static const char text[] = "535-no s3cret!words3cret!word\r\n"
		"535-" PLAIN_B64 "\r\n535 czNjcmV0IXdvcmQ= user s3cret!wor\r\n";
	struct smtp_auth a;
	struct smtp_reply r;
	struct buf out;
	char line[256];
	size_t used;

	(void)state;
	start(&a, &out);
	smtp_reply_init(&r);
	smtp_auth_scrub(&a, &r);
	assert_int_equal(smtp_reply_feed(&r, (const uint8_t *)text,
		strlen(text), &used), ST_OK);
	smtp_auth_scrub(&a, &r);
	smtp_reply_text(&r, line, sizeof(line));
	assert_string_equal(line, "no ********************** "
		"************************ **************** user s3cret!wor");
	smtp_reply_clear(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_file_limits),
		cmocka_unit_test(test_no_file),
		cmocka_unit_test(test_foreign_owner),
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_plain_long),
		cmocka_unit_test(test_login),
		cmocka_unit_test(test_scrub),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
