/*
 * Notices are signed where the key is there and the configuration says so.
 */
#include "config.h"

#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "smtpd-out/mail/dkim.h"
#include "tests/unit/queue_fake.h"

/* Of no use but for this test. */
static const char pem[] = "-----BEGIN PRIVATE KEY-----\n"
	"MC4CAQAwBQYDK2VwBCIEIPEmNwIBBcXowqFX/zAyyXq1iQWhc9GYHEmLD3Dy/Eyo\n"
	"-----END PRIVATE KEY-----\n";

static struct dkim_key *
open_key(void)
{
	char path[64], err[DKIM_ERR_MAX];
	const struct dkim_identity id = { .domain = "me.example",
		.selector = "s1", .key_file = path };
	struct dkim_key *key;
	int fd;

	(void)snprintf(path, sizeof(path), "/tmp/test_notice.%d", getpid());
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, pem, strlen(pem)), (ssize_t)strlen(pem));
	(void)close(fd);
	if (dkim_key_open(&id, &key, err) != ST_OK)
		fail_msg("%s", err);
	(void)unlink(path);
	return key;
}

static void
test_signed(void **state)
{
	static const char *const confs[] = { "yes", "no" };
	struct dkim_key *key = open_key();
	char text[300];

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		bool signs = i == 0;	/* told to, and has the key */
		struct job *notice;

		(void)snprintf(text, sizeof(text), "dkim { domain = "
			"\"me.example\" selector = s1 key-file = \"/k\" "
			"sign-notices = %s }", confs[i % 2]);
		fq_use_conf(text);
		queue_set_key(fq, i < 2 ? key : NULL);
		fq_submit("s@x.example", "a@y.example");
		fq_turn();
		fq_answer(fq_job("y.example"), 550);
		fq_turn();
		notice = fq_job("x.example");
		assert_non_null(notice);
		assert_int_equal(strncmp(notice->body, "DKIM-Signature: v=1;",
			20) == 0, signs);
		assert_non_null(strstr(notice->body, "Action: failed"));
		fq_answer(notice, 250);
		fq_turn();
		assert_int_equal(fq_open_jobs(), 0);
	}
	dkim_key_close(&key);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_signed, fq_setup,
			fq_teardown),
	};

	return cmocka_run_group_tests_name("notice_dkim", tests, NULL, NULL);
}
