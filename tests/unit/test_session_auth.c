/*
 * AUTH to a relay: only under TLS, only to a verified server, never in a log,
 * and whatever fails defers.
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

#include "base/log.h"
#include "tests/lib/scenario.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define OFFER SEND("250-mx.example\r\n250 STARTTLS")
#define UP GREETING, OFFER, LINE("STARTTLS"), SEND("220 go"), TLS, \
	LINE("EHLO client.example")
#define BOTH SEND("250-x\r\n250 AUTH GSSAPI LOGIN PLAIN")
#define LOGIN_ONLY SEND("250-x\r\n250 AUTH CRAM-MD5 login")
#define PLAIN_B64 "AHVzZXIAczNjcmV0IXdvcmQ="
#define SAY_PLAIN LINE("AUTH PLAIN " PLAIN_B64)
#define ASK_USER SEND("334 VXNlcm5hbWU6")
#define ASK_PASSWORD SEND("334 UGFzc3dvcmQ6")
#define OK SEND("235 2.7.0 welcome")
#define DELIVER MAIL, SEND("250 a"), RCPT(0), SEND("250 b"), DATA, \
	SEND("354 c"), BODY, SEND("250 queued"), BYE
#define NEVER(text) { PEER_NEVER, text, 0 }
#define ENCRYPT_ONLY DEMAND_ENCRYPT

static const struct auth_case {
	const char *name;
	enum demand_level level;	/* 0: fingerprint of the peer */
	bool tls_first;
	mode_t mode;			/* of the file; 0: 0600 */
	bool delivered;
	enum outcome_stage stage;	/* else: deferred, there */
	const char *enhanced;
	const char *text;		/* part of why */
	struct peer_step steps[32];
} cases[] = {
	{ .name = "PLAIN", .delivered = true,
	  .steps = { UP, BOTH, SAY_PLAIN, OK, DELIVER } },
	{ .name = "LOGIN", .delivered = true,
	  .steps = { UP, LOGIN_ONLY, LINE("AUTH LOGIN"), ASK_USER,
	    LINE("dXNlcg=="), ASK_PASSWORD, LINE("czNjcmV0IXdvcmQ="), OK,
	    DELIVER } },
	{ .name = "smtps", .tls_first = true, .delivered = true,
	  .steps = { TLS, GREETING, BOTH, SAY_PLAIN, OK, DELIVER } },
	{ .name = "what was said in clear text is forgotten",
	  .delivered = true,
	  .steps = { GREETING, SEND("250-x\r\n250-AUTH LOGIN\r\n"
	    "250 STARTTLS"), LINE("STARTTLS"), SEND("220 go"), TLS,
	    LINE("EHLO client.example"), SEND("250-x\r\n250 AUTH PLAIN"),
	    SAY_PLAIN, OK, DELIVER } },

	/* never to somebody who might be anybody */
	{ .name = "not verified", .level = ENCRYPT_ONLY, .stage = STAGE_AUTH,
	  .enhanced = "4.7.8", .text = "not verified",
	  .steps = { UP, BOTH, NEVER("AUTH") } },
	{ .name = "not demanded", .level = DEMAND_MAY, .stage = STAGE_AUTH,
	  .enhanced = "4.7.8", .text = "not verified",
	  .steps = { UP, BOTH, NEVER("AUTH") } },
	{ .name = "no TLS", .stage = STAGE_STARTTLS, .enhanced = "4.7.10",
	  .text = "TLS is required", .steps = { GREETING, BOTH,
	    NEVER("AUTH") } },
	{ .name = "no TLS, not demanded", .level = DEMAND_MAY,
	  .stage = STAGE_STARTTLS, .enhanced = "4.7.10",
	  .text = "TLS is required",
	  .steps = { GREETING, BOTH, NEVER("AUTH") } },
	{ .name = "file for all to read", .mode = 0644, .stage = STAGE_AUTH,
	  .enhanced = "4.7.8", .text = "cannot be read",
	  .steps = { UP, BOTH, NEVER("AUTH") } },

	/* nor without AUTH */
	{ .name = "not offered", .stage = STAGE_AUTH, .enhanced = "4.7.8",
	  .text = "offers neither", .steps = { UP, PLAIN, NEVER("MAIL") } },
	{ .name = "others offered", .stage = STAGE_AUTH, .enhanced = "4.7.8",
	  .text = "offers neither", .steps = { UP,
	    SEND("250-x\r\n250 AUTH CRAM-MD5 XPLAIN"), NEVER("MAIL") } },
	{ .name = "refused", .stage = STAGE_AUTH, .enhanced = "4.7.8",
	  .text = "535 bad password", .steps = { UP, BOTH, SAY_PLAIN,
	    SEND("535 5.7.8 bad password"), BYE } },
	{ .name = "refused for now", .stage = STAGE_AUTH, .enhanced = "4.7.8",
	  .text = "454 no", .steps = { UP, BOTH, SAY_PLAIN,
	    SEND("454 4.7.0 no"), BYE } },
	{ .name = "name refused", .stage = STAGE_AUTH, .enhanced = "4.7.8",
	  .text = "535 who", .steps = { UP, LOGIN_ONLY, LINE("AUTH LOGIN"),
	    ASK_USER, LINE("dXNlcg=="), SEND("535 who"), BYE } },
	{ .name = "250 is not 235", .stage = STAGE_AUTH, .enhanced = "4.5.0",
	  .text = "unexpected", .steps = { UP, BOTH, SAY_PLAIN,
	    SEND("250 hello"), NEVER("MAIL") } },

	/* challenges that are none */
	{ .name = "password asked first", .stage = STAGE_AUTH,
	  .enhanced = "4.7.8", .text = "something else",
	  .steps = { UP, LOGIN_ONLY, LINE("AUTH LOGIN"), ASK_PASSWORD,
	    NEVER("=") } },
	{ .name = "name asked twice", .stage = STAGE_AUTH,
	  .enhanced = "4.7.8", .text = "something else",
	  .steps = { UP, LOGIN_ONLY, LINE("AUTH LOGIN"), ASK_USER,
	    LINE("dXNlcg=="), ASK_USER, NEVER("=") } },
	{ .name = "asked again", .stage = STAGE_AUTH, .enhanced = "4.7.8",
	  .text = "something else", .steps = { UP, BOTH, SAY_PLAIN,
	    SEND("334 "), NEVER("=") } },

	{ .name = "421", .stage = STAGE_AUTH, .enhanced = "4.7.8",
	  .text = "closing", .steps = { UP, BOTH, SAY_PLAIN,
	    SEND("421 closing"), WAIT } },
	{ .name = "lost", .stage = STAGE_AUTH, .enhanced = "4.4.2",
	  .text = "lost", .steps = { UP, BOTH, SAY_PLAIN } },
	{ .name = "malformed", .stage = STAGE_AUTH, .enhanced = "4.5.0",
	  .text = "malformed", .steps = { UP, BOTH, SAY_PLAIN, SEND("hm"),
	    NEVER("MAIL") } },
};

static char auth_path[32];

static void
write_secret(mode_t mode)
{
	static const char text[] = "user:s3cret!word\n";
	int fd;

	(void)strcpy(auth_path, "/tmp/test_auth_XXXXXX");
	fd = mkstemp(auth_path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
	assert_int_equal(fchmod(fd, mode != 0 ? mode : 0600), 0);
	assert_int_equal(close(fd), 0);
}

static void
run(const struct auth_case *a, struct client *c, struct outcome *out)
{
	struct peer *peer = peer_start(AF_INET, a->steps);
	char print[65], *prints[] = { print };
	struct session_rcpt rcpt;
	struct session_txn txn;
	const char *failure;

	write_secret(a->mode);
	client_init(c);
	client_add_peer(c, peer);
	c->conf.timeout.quit_ms = 50;	/* PEER_NEVER does not answer */
	scenario_txn(&txn, &rcpt, 1);
	c->txns[0] = &txn;
	cert_print(peer_cert(peer)->leaf, 0, print);
	c->demand.level = a->level != 0 ? a->level : DEMAND_FINGERPRINT;
	c->demand.tls_first = a->tls_first;
	c->demand.auth_file = auth_path;
	c->demand.prints = prints;
	c->demand.print_count = 1;
	client_run(c);
	c->demand.prints = NULL;
	failure = peer_join(peer);
	if (failure != NULL)
		fail_msg("%s: %s", a->name, failure);
	peer_free(&peer);
	assert_int_equal(unlink(auth_path), 0);
	*out = c->done > 0 ? rcpt.outcome : c->why;
}

static void
test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct auth_case *a = &cases[i];
		struct outcome o;
		struct client c;

		run(a, &c, &o);
		if (a->delivered) {
			assert_int_equal(o.verdict, VERDICT_DONE);
			assert_true(c.info.tls_active);
			continue;
		}
		if (o.verdict != VERDICT_LATER || o.scope != SCOPE_HOST ||
		    o.stage != a->stage || strstr(o.text, a->text) == NULL ||
		    strcmp(o.enhanced, a->enhanced) != 0)
			fail_msg("%s: %s at %s: %s %s", a->name,
				outcome_verdict_name(o.verdict),
				outcome_stage_name(o.stage), o.enhanced,
				o.text);
		assert_null(strstr(o.text, auth_path));
	}
}

/* Everything that is logged, while the server repeats what it hears. */
static void
test_log(void **state)
{
	static const struct auth_case echo = { .name = "echo",
		.steps = { UP, BOTH, SAY_PLAIN,
		    SEND("535-AUTH PLAIN " PLAIN_B64 "\r\n"
		    "535 5.7.8 s3cret!word is wrong"), BYE } };
	char path[] = "/tmp/test_log_XXXXXX", text[65536];
	int fd = mkstemp(path), err = dup(STDERR_FILENO);
	struct outcome o;
	struct client c;
	ssize_t n;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	log_init("test", LOG_TO_STDERR, LOG_LEVEL_DEBUG);
	run(&echo, &c, &o);
	log_init("test", LOG_TO_STDERR, LOG_LEVEL_INFO);
	assert_int_equal(dup2(err, STDERR_FILENO), STDERR_FILENO);
	n = pread(fd, text, sizeof(text) - 1, 0);
	assert_true(n > 0);
	text[n] = '\0';
	assert_non_null(strstr(text, "EHLO client.example"));
	assert_non_null(strstr(text, "535"));
	assert_null(strstr(text, "s3cret"));
	assert_null(strstr(text, "AHVzZXIA"));
	assert_null(strstr(text, "czNjcmV0"));
	assert_null(strstr(o.text, "s3cret"));
	assert_null(strstr(o.text, "AHVzZXIA"));
	assert_non_null(strstr(o.text, "is wrong"));
	(void)close(err);
	(void)close(fd);
	(void)unlink(path);
}

static void
test_timeout(void **state)
{
	static const struct peer_step steps[] = { UP, BOTH, SAY_PLAIN, WAIT,
		{ PEER_END, NULL, 0 } };
	struct peer *peer = peer_start(AF_INET, steps);
	char print[65], *prints[] = { print };
	struct client c;

	(void)state;
	write_secret(0600);
	client_init(&c);
	client_add_peer(&c, peer);
	cert_print(peer_cert(peer)->leaf, 1, print);
	c.demand = (struct demand){ .level = DEMAND_FINGERPRINT,
		.auth_file = auth_path, .prints = prints, .print_count = 1 };
	c.conf.timeout.command_ms = 300;
	client_run(&c);
	assert_null(peer_join(peer));
	assert_int_equal(c.why.stage, STAGE_AUTH);
	assert_string_equal(c.why.enhanced, "4.4.2");
	peer_free(&peer);
	assert_int_equal(unlink(auth_path), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_log),
		cmocka_unit_test(test_timeout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
