/*
 * The key file and what may be wrong with it, signatures as far as their form
 * goes (tests/report/documents.py has them verified), and the key of the
 * configuration at the start and at a reload.
 */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/conf.h"
#include "smtpd-out/mail/dkim.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MESSAGE "From: a@b.example\r\nTo: c@d.example\r\n" \
	"Subject: one\r\n two\r\n\r\nbody\r\n"

/* Of no use but for this test. */
static const char pem[] =
	"-----BEGIN PRIVATE KEY-----\n"
	"MC4CAQAwBQYDK2VwBCIEIPEmNwIBBcXowqFX/zAyyXq1iQWhc9GYHEmLD3Dy/Eyo\n"
	"-----END PRIVATE KEY-----\n"
	;

static char path[64];

static void
put_file(const char *text, size_t len, mode_t mode)
{
	int fd;

	(void)unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), (ssize_t)len);
	assert_int_equal(fchmod(fd, mode), 0);
	(void)close(fd);
}

static enum status
open_key(struct dkim_key **key, char err[DKIM_ERR_MAX])
{
	const struct dkim_identity id = { .domain = "b.example",
		.selector = "s1", .key_file = path };

	return dkim_key_open(&id, key, err);
}

static void
test_sign(void **state)
{
	struct dkim_key *key = NULL;
	char err[DKIM_ERR_MAX];
	struct buf m;
	const char *text;
	size_t len;

	(void)state;
	clock_test_set(INT64_C(1800000000000));
	put_file(pem, strlen(pem), 0600);
	if (open_key(&key, err) != ST_OK)
		fail_msg("%s", err);
	assert_string_equal(dkim_key_algorithm(key), "ed25519-sha256");
	/* Nothing is read again. */
	(void)unlink(path);
	buf_init(&m, 4096);
	assert_int_equal(buf_puts(&m, MESSAGE), ST_OK);
	assert_int_equal(dkim_sign_message(key, &m, err), ST_OK);
	len = m.len;
	assert_int_equal(buf_put(&m, "", 1), ST_OK);
	text = (const char *)buf_data(&m);
	assert_int_equal(strncmp(text, "DKIM-Signature: v=1; ", 21), 0);
	assert_string_equal(text + len - strlen(MESSAGE), MESSAGE);
	assert_non_null(strstr(text, "a=ed25519-sha256; c=relaxed/relaxed; "
		"d=b.example;"));
	assert_non_null(strstr(text, "t=1800000000;"));
	buf_clear(&m);
	dkim_key_close(&key);
	assert_null(key);
	dkim_key_close(&key);
	clock_test_real();
}

static void
test_no_room(void **state)
{
	struct dkim_key *key = NULL;
	char err[DKIM_ERR_MAX];
	struct buf m;

	(void)state;
	put_file(pem, strlen(pem), 0400);
	assert_int_equal(open_key(&key, err), ST_OK);
	buf_init(&m, strlen(MESSAGE) + 100);
	assert_int_equal(buf_puts(&m, MESSAGE), ST_OK);
	assert_int_equal(dkim_sign_message(key, &m, err), ST_LIMIT);
	assert_int_equal(m.len, strlen(MESSAGE));
	assert_non_null(strstr(err, "does not fit"));
	dkim_key_close(&key);
	buf_clear(&m);
}

/* Whatever the message looks like, it is signed or refused. */
static void
test_odd_messages(void **state)
{
	static const char *const odd[] = { "", "\r\n", "x", "no header\r\n",
		"From: a@b.example", "From: a@b.example\r\n",
		"From: a@b.example\r\n\r\n", "\r\n\r\n\r\n", " folded\r\n\r\n",
		"From: a@b.example\nTo: x\n\nlf only\n", "From:\r\n\r\nx" };
	struct dkim_key *key = NULL;
	char err[DKIM_ERR_MAX];

	(void)state;
	put_file(pem, strlen(pem), 0400);
	assert_int_equal(open_key(&key, err), ST_OK);
	for (size_t i = 0; i < COUNT(odd); i++) {
		enum status st;
		struct buf m;

		buf_init(&m, 8192);
		assert_int_equal(buf_puts(&m, odd[i]), ST_OK);
		st = dkim_sign_message(key, &m, err);
		if (st != ST_OK)
			assert_int_equal(m.len, strlen(odd[i]));
		buf_clear(&m);
	}
	dkim_key_close(&key);
}

static void
refuse(enum status want, const char *words)
{
	struct dkim_key *key = NULL;
	char err[DKIM_ERR_MAX];

	assert_int_equal(open_key(&key, err), want);
	assert_null(key);
	if (strstr(err, path) == NULL || strstr(err, words) == NULL)
		fail_msg("%s", err);
	/* Never a piece of the key. */
	assert_null(strstr(err, "MC4CAQ"));
}

static void
test_bad_files(void **state)
{
	static const mode_t modes[] = { 0640, 0604, 0660, 0601, 0777 };
	static const char *const texts[] = { "", "x", "\n",
		"-----BEGIN PRIVATE KEY-----\nAAAA\n"
		"-----END PRIVATE KEY-----\n",
		"-----BEGIN PUBLIC KEY-----\n"
		"MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
		"-----END PUBLIC KEY-----\n" };
	static char big[100000];

	(void)state;
	(void)unlink(path);
	refuse(ST_SYS, "No such file");
	for (size_t i = 0; i < COUNT(modes); i++) {
		put_file(pem, strlen(pem), modes[i]);
		refuse(ST_DENIED, "0600");
	}
	for (size_t i = 0; i < COUNT(texts); i++) {
		put_file(texts[i], strlen(texts[i]), 0600);
		refuse(ST_PARSE, "is not a private key");
	}
	put_file(pem, strlen(pem) / 2, 0600);
	refuse(ST_PARSE, "is not a private key");
	memset(big, 'A', sizeof(big));
	put_file(big, sizeof(big), 0600);
	refuse(ST_LIMIT, "too large");
	(void)unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	refuse(ST_DENIED, "regular file");
	(void)unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	refuse(ST_DENIED, "regular file");
	(void)rmdir(path);
}

static struct conf *
conf_of(const char *domain)
{
	char err[CONF_ERR_MAX], text[300];
	struct conf *c = NULL;

	(void)snprintf(text, sizeof(text), "dkim { domain = \"%s\" "
		"selector = s1 key-file = \"%s\" }", domain, path);
	assert_int_equal(conf_parse("t", text, &c, err),
		ST_OK);
	return c;
}

static void
test_conf(void **state)
{
	struct conf *a = conf_of("a.example"), *b = conf_of("b.example");
	struct dkim_key *key = NULL, *next = NULL;
	char err[DKIM_ERR_MAX];
	struct conf *none = NULL;

	(void)state;
	assert_int_equal(conf_parse("t", "", &none, err), ST_OK);
	assert_int_equal(dkim_conf_open(none, &key, err), ST_OK);
	assert_null(key);
	(void)unlink(path);
	assert_int_equal(dkim_conf_open(a, &key, err), ST_SYS);
	assert_non_null(strstr(err, "dkim: key-file: "));
	put_file(pem, strlen(pem), 0600);
	assert_int_equal(dkim_conf_open(a, &key, err), ST_OK);
	/* A reload: read anew, kept, refused, gone. */
	assert_int_equal(dkim_conf_reopen(a, a, key, &next, err), ST_OK);
	assert_ptr_not_equal(key, next);
	dkim_key_close(&next);
	(void)unlink(path);
	assert_int_equal(dkim_conf_reopen(a, a, key, &next, err), ST_OK);
	assert_ptr_equal(key, next);
	assert_int_equal(dkim_conf_reopen(a, b, key, &next, err), ST_SYS);
	assert_null(next);
	put_file("x", 1, 0600);
	assert_int_equal(dkim_conf_reopen(a, a, key, &next, err), ST_PARSE);
	assert_null(next);
	assert_int_equal(dkim_conf_reopen(a, none, key, &next, err), ST_OK);
	assert_null(next);
	dkim_key_close(&key);
	(void)unlink(path);
	conf_free(&a);
	conf_free(&b);
	conf_free(&none);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sign),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_odd_messages),
		cmocka_unit_test(test_bad_files),
		cmocka_unit_test(test_conf),
	};

	(void)snprintf(path, sizeof(path), "/tmp/test_dkim.%d", getpid());
	return cmocka_run_group_tests_name("dkim", tests, NULL, NULL);
}
