/*
 * Notices: what of the original goes back, and that nothing in an address, a
 * reply or a body breaks their form.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "smtpd-out/mail/bounce_int.h"
#include "tests/unit/test_bounce_util.h"

/* ---- what goes back of the original ---- */

static const struct return_case {
	const char *what;
	enum bounce_kind kind;
	enum envelope_ret ret;
	unsigned flags;
	uint64_t full_bytes;
	bool whole_given;
	bool full;
} return_cases[] = {
	{ "default", BOUNCE_FAILED, RET_NONE, 0, 1000, true, false },
	{ "headers", BOUNCE_FAILED, RET_HDRS, 0, 1000, true, false },
	{ "full", BOUNCE_FAILED, RET_FULL, 0, 1000, true, true },
	{ "full, too large", BOUNCE_FAILED, RET_FULL, 0, 10, true, false },
	{ "full, not given", BOUNCE_FAILED, RET_FULL, 0, 1000, false, false },
	{ "full, confidential", BOUNCE_FAILED, RET_FULL, ENVELOPE_REQUIRETLS,
	    1000, true, false },
	{ "full of a delay", BOUNCE_DELAYED, RET_FULL, 0, 1000, true, false },
	{ "full of a success", BOUNCE_RELAYED, RET_FULL, 0, 1000, true,
	    false },
};

static void
test_return(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(return_cases) /
	    sizeof(return_cases[0]); i++) {
		const struct return_case *c = &return_cases[i];
		struct fixture f;

		fixture_init(&f, "me@here.test", "you@there.test");
		fixture_body(&f, test_body, strlen(test_body));
		f.in.body_len -= c->whole_given ? 0 : 3;
		f.in.kind = c->kind;
		f.env->ret = c->ret;
		f.env->flags = c->flags;
		f.in.full_bytes = c->full_bytes;
		fixture_format(&f);
		if (fixture_count(&f.out, "Text of the message") != c->full ||
		    fixture_count(&f.out, "Subject: hello") != 1)
			fail_msg("%s", c->what);
		assert_int_equal(f.flags & ENVELOPE_REQUIRETLS, c->flags);
		fixture_clear(&f);
	}
}

static void
test_body_wanted(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, "me@here.test", "you@there.test");
	f.env->size_bytes = 90000;
	assert_int_equal(bounce_body_wanted(&f.in), BOUNCE_HEADER_BYTES);
	f.env->ret = RET_FULL;
	assert_int_equal(bounce_body_wanted(&f.in), 90000);
	f.in.kind = BOUNCE_DELAYED;
	assert_int_equal(bounce_body_wanted(&f.in), BOUNCE_HEADER_BYTES);
	f.env->size_bytes = 10;
	assert_int_equal(bounce_body_wanted(&f.in), 10);
	fixture_clear(&f);
}

/* The smaller the room, the less of the original; then ST_LIMIT. */
static void
test_little_room(void **state)
{
	char *big = xmalloc(50000);
	struct fixture f;

	(void)state;
	(void)snprintf(big, 100, "Subject: hello\r\nX-A: ");
	memset(big + strlen(big), 'x', 50000 - strlen(big));
	for (size_t i = 500; i < 50000; i += 500)
		memcpy(big + i, i == 20000 ? "\r\n\r\nyy" : "\r\nX-B: ", 6);
	fixture_init(&f, "me@here.test", "you@there.test");
	fixture_body(&f, big, 50000);
	f.env->ret = RET_FULL;
	fixture_format(&f);
	fixture_has(&f, "\r\n\r\nyyx");
	f.out.max_bytes = 40000;
	fixture_format(&f);
	fixture_lacks(&f, "\r\n\r\nyyx");
	fixture_has(&f, "Subject: hello");
	f.out.max_bytes = 4000;
	fixture_format(&f);
	fixture_lacks(&f, "Subject: hello");
	buf_clear(&f.out);
	f.out.max_bytes = 1000;
	assert_int_equal(bounce_format(&f.in, &f.out, &f.flags), ST_LIMIT);
	assert_int_equal(f.out.len, 0);
	free(big);
	fixture_clear(&f);
}

#define Z200 "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz" \
	"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz" \
	"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"

static const struct hostile_case {
	const char *what;
	const char *body;
	size_t len;
	const char *has;	/* expected in the notice, or NULL */
	const char *lacks;
} hostile_cases[] = {
#define B(text) text, sizeof(text) - 1
	{ "nothing", B(""), NULL, NULL },
	{ "no header", B("\r\nSecret: x\r\n"), NULL, "Secret" },
	{ "no empty line", B("A: 1\r\nB: 2"), "A: 1\r\nB: 2\r\n", NULL },
	{ "text instead of header", B("A: 1\r\nno field here\r\nC: 3\r\n"),
	    "A: 1\r\n", "C: 3" },
	{ "begins with a continuation", B(" x: 1\r\nA: 1\r\n"), NULL,
	    "A: 1" },
	{ "no name", B(": 1\r\nA: 1\r\n"), NULL, "A: 1" },
	{ "space before colon", B("A : 1\r\n\r\n"), "A : 1\r\n", NULL },
	{ "NUL", B("A: x\0y\r\nB: 2\r\n\r\n"), "A: x?y\r\nB: 2", NULL },
	{ "NUL in a name", B("A\0: x\r\nB: 2\r\n\r\n"), NULL, "B: 2" },
	{ "bare LF", B("A: 1\nB: 2\n\nSecret: 3\n"), "A: 1\r\nB: 2\r\n",
	    "Secret" },
	{ "bare CR", B("A: 1\rB: 2\r\n\r\n"), "A: 1?B: 2\r\n", NULL },
	{ "escape", B("A: \033[2J\r\n\r\n"), "A: ?[2J\r\n", NULL },
	{ "not UTF-8", B("A: \xff\xfe\r\n\r\n"), "A: ??\r\n", NULL },
	{ "UTF-8", B("A: \xc3\xa9\r\n\r\n"), "A: =C3=A9\r\n", NULL },
	{ "tab", B("A: 1\r\n\tmore\r\n\r\n"), "A: 1\r\n more\r\n", NULL },
	{ "long line", B("A: " Z200 Z200 Z200 Z200 Z200 Z200 "end\r\nB: 2\r\n"),
	    "B: 2", "end" },
	{ "like a boundary", B("A: --=_0123\r\nB: --\r\n\r\n--\r\n"),
	    "A: --=_0123", NULL },
	{ "a dot", B(".: 1\r\n.\r\nB: 2\r\n"), "\r\n.: 1\r\n", "B: 2" },
	{ "no message id", B("Message-ID: <a b>\r\n\r\n"), NULL,
	    "In-Reply-To" },
	{ "two message ids", B("Message-ID: <a@b> <c@d>\r\n\r\n"), NULL,
	    "In-Reply-To" },
	{ "message id", B("message-id:\t<a@b> \r\n\r\n"),
	    "In-Reply-To: <a@b>\r\nReferences: <a@b>\r\n", NULL },
#undef B
};

static void
test_hostile_bodies(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(hostile_cases) /
	    sizeof(hostile_cases[0]); i++) {
		const struct hostile_case *c = &hostile_cases[i];
		struct fixture f;

		for (int ret = RET_NONE; ret <= RET_HDRS; ret++) {
			fixture_init(&f, "me@here.test", "you@there.test");
			fixture_body(&f, c->body, c->len);
			f.env->ret = (enum envelope_ret)ret;
			fixture_format(&f);
			if (c->has != NULL && ret != RET_FULL &&
			    fixture_count(&f.out, c->has) == 0)
				fail_msg("%s: lacks %s", c->what, c->has);
			if (c->lacks != NULL && ret != RET_FULL &&
			    fixture_count(&f.out, c->lacks) != 0)
				fail_msg("%s: has %s", c->what, c->lacks);
			fixture_clear(&f);
		}
	}
}

/* A header section without end is cut at whole lines. */
static void
test_endless_header(void **state)
{
	const size_t len = 1 << 20;
	char *big = xmalloc(len);
	struct fixture f;

	(void)state;
	for (size_t i = 0; i < len; i += 8)
		memcpy(big + i, "A: 123\r\n", 8);
	fixture_init(&f, "me@here.test", "you@there.test");
	fixture_body(&f, big, len);
	fixture_format(&f);
	assert_true(f.out.len < 40000);
	assert_true(fixture_count(&f.out, "\r\nA: 123\r\n") > 1000);
	free(big);
	fixture_clear(&f);
}

/* Random bytes as body, sender, address, reply: the form holds. */
static void
test_random(void **state)
{
	unsigned seed = 1;

	(void)state;
	for (int round = 0; round < 300; round++) {
		char noise[4][200];
		struct fixture f;

		for (size_t i = 0; i < sizeof(noise); i++) {
			static const char common[] = "\r\n: \t=.-\"<>;+\\";

			seed = seed * 1103515245 + 12345;
			noise[i / 200][i % 200] = (seed >> 16) % 3 == 0 ?
				common[(seed >> 20) % (sizeof(common) - 1)] :
				(char)(seed >> 18);
		}
		for (int i = 1; i < 4; i++)
			noise[i][199] = '\0';
		noise[1][0] = noise[2][0] = 'x';
		fixture_init(&f, noise[1], noise[2]);
		f.env->flags = round % 2 == 0 ? ENVELOPE_SMTPUTF8 : 0;
		f.env->envid = xstrdup(noise[3]);
		f.env->rcpts[0].orcpt = xasprintf("%s;%s",
			round % 3 == 0 ? "utf-8" : "rfc822", noise[3]);
		f.env->ret = RET_FULL;
		f.outcome = outcome_reply(SCOPE_RCPT, STAGE_RCPT, 550, NULL,
			noise[3]);
		f.rcpt.remote_host = noise[3];
		fixture_body(&f, noise[0], 200);
		f.in.kind = (enum bounce_kind)(1 + round % 3);
		fixture_format(&f);
		fixture_clear(&f);
	}
}

/* ---- addresses ---- */

static const struct field_case {
	const char *sender, *rcpt, *orcpt;
	const char *has;	/* lines of the report */
	const char *lacks;
	unsigned flags;
} field_cases[] = {
	{ "me@x.test", "you@x.test", "rfc822;a+2Bb@x",
	    "\r\nOriginal-Recipient: rfc822; a+b@x\r\n"
	    "Final-Recipient: rfc822; you@x.test\r\n", NULL, 0 },
	{ "me@x.test", "you@x.test", "rfc822;a+2xb", "Final-", "Original-R",
	    0 },
	{ "me@x.test", "you@x.test", "no semicolon", NULL, "Original-R", 0 },
	{ "me@x.test", "you@x.test", ";x", NULL, "Original-R", 0 },
	{ "me@x.test", "you@x.test", "a b;x", NULL, "Original-R", 0 },
	{ "me@x.test", "you@x.test", "rfc822;a+0D+0ABcc:x",
	    "Original-Recipient: rfc822; a??Bcc:x\r\n", NULL, 0 },
	{ "me@x.test", "pel\xc3\xa9@x.test", "utf-8;pel\\x{E9}@x.test",
	    "\r\nOriginal-Recipient: utf-8; pel\\x{E9}@x.test\r\n"
	    "Final-Recipient: utf-8; pel\\x{E9}@x.test\r\n", "global", 0 },
	{ "me@x.test", "\xe2\x82\xac\xf0\x9f\x93\xa7@x.test",
	    "utf-8;\xe2\x82\xac@x",
	    "Original-Recipient: utf-8; \\x{20AC}@x\r\n"
	    "Final-Recipient: utf-8; \\x{20AC}\\x{1F4E7}@x.test\r\n",
	    "global", 0 },
	{ "j\xc3\xb6rg@x.test", "pel\xc3\xa9@x.test", "utf-8;pel\xc3\xa9@x",
	    "Original-Recipient: utf-8; pel\xc3\xa9@x\r\n"
	    "Final-Recipient: utf-8; pel\xc3\xa9@x.test\r\n",
	    "message/delivery-status",
	    ENVELOPE_SMTPUTF8 | ENVELOPE_8BITMIME },
	{ "j\xc3\xb6rg@x.test", "you@x.test", NULL,
	    "report-type=global-delivery-status", "Original-R",
	    ENVELOPE_SMTPUTF8 | ENVELOPE_8BITMIME },
	{ "me@x.test", "\"a  b\"@x.test", NULL,
	    "Final-Recipient: rfc822; \"a  b\"@x.test\r\n", NULL, 0 },
};

static void
test_addresses(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(field_cases) / sizeof(field_cases[0]);
	    i++) {
		const struct field_case *c = &field_cases[i];
		struct fixture f;

		fixture_init(&f, c->sender, c->rcpt);
		if (c->orcpt != NULL)
			f.env->rcpts[0].orcpt = xstrdup(c->orcpt);
		fixture_body(&f, test_body, strlen(test_body));
		fixture_format(&f);
		if (c->has != NULL)
			fixture_has(&f, c->has);
		if (c->lacks != NULL)
			fixture_lacks(&f, c->lacks);
		if (f.flags != (c->flags | ENVELOPE_BOUNCE))
			fail_msg("case %zu: flags %x", i, f.flags);
		fixture_clear(&f);
	}
}

static void
test_many_rcpts(void **state)
{
	enum { COUNT = 3000 };
	struct bounce_rcpt *rcpts = xcalloc(COUNT, sizeof(rcpts[0]));
	struct fixture f;

	(void)state;
	fixture_init(&f, "me@x.test", "you@x.test");
	fixture_body(&f, test_body, strlen(test_body));
	for (size_t i = 0; i < COUNT; i++)
		rcpts[i] = f.rcpt;
	f.in.rcpts = rcpts;
	f.in.rcpt_count = COUNT;
	fixture_format(&f);
	assert_int_equal(fixture_count(&f.out, "Final-Recipient:"), COUNT);
	fixture_has(&f, "and 2950 more");
	free(rcpts);
	fixture_clear(&f);
}

static bool
seen_before(const char *text, const void *arg)
{
	unsigned *left = *(unsigned *const *)arg;

	(void)text;
	return (*left)-- > 0;
}

static void
test_boundary(void **state)
{
	char one[BOUNCE_BOUNDARY_MAX], two[BOUNCE_BOUNDARY_MAX];
	unsigned left = 0;
	unsigned *arg = &left;

	(void)state;
	assert_true(bounce_boundary(5, 7, seen_before, &arg, one));
	left = 1;
	assert_true(bounce_boundary(5, 7, seen_before, &arg, two));
	assert_string_not_equal(one, two);
	left = 1000;
	assert_false(bounce_boundary(5, 7, seen_before, &arg, two));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_return),
		cmocka_unit_test(test_body_wanted),
		cmocka_unit_test(test_little_room),
		cmocka_unit_test(test_hostile_bodies),
		cmocka_unit_test(test_endless_header),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_many_rcpts),
		cmocka_unit_test(test_boundary),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
