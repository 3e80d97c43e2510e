/*
 * The pure half of the submit command: line ends, address lists, header
 * editing, options.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "smtpd-out/command/submit_args.h"
#include "smtpd-out/command/submit_header.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- text ------------------------------------------------------------ */

static char *
convert(const char *in, bool ignore_dots, size_t step, bool *ended_out)
{
	struct submit_text t = { .ignore_dots = ignore_dots };
	size_t len = strlen(in), used = 0;
	struct buf out;
	char *text;

	buf_init(&out, 4096);
	while (used < len) {
		size_t n = step == 0 || len - used < step ? len - used : step;

		assert_int_equal(submit_text_feed(&t, (const uint8_t *)in +
			used, n, &out), ST_OK);
		used += n;
	}
	assert_int_equal(submit_text_end(&t, &out), ST_OK);
	*ended_out = t.ended;
	text = xstrndup((const char *)buf_data(&out), out.len);
	buf_clear(&out);
	return text;
}

static void
line_ends(void **state)
{
	static const struct {
		const char *in;
		bool ignore_dots;
		const char *want;
		bool ended;
	} cases[] = {
		{ "", false, "", false },
		{ "a", false, "a\r\n", false },
		{ "a\n", false, "a\r\n", false },
		{ "a\r\n", false, "a\r\n", false },
		{ "a\r", false, "a\r\n", false },
		{ "a\rb\r\rc\n\r\nd\n", false,
			"a\r\nb\r\n\r\nc\r\n\r\nd\r\n", false },
		{ "a\n.\nb\n", false, "a\r\n", true },
		{ "a\n.\r\nb\n", false, "a\r\n", true },
		{ "a\r.\rb\n", false, "a\r\n", true },
		{ ".", false, "", true },
		{ ".\n", false, "", true },
		{ "a\n.\nb\n", true, "a\r\n.\r\nb\r\n", false },
		{ ".", true, ".\r\n", false },
		{ "..\n.a\na.\n ", false, "..\r\n.a\r\na.\r\n \r\n", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		for (size_t step = 0; step < 4; step++) {
			bool ended;
			char *got = convert(cases[i].in, cases[i].ignore_dots,
				step, &ended);

			assert_string_equal(got, cases[i].want);
			assert_int_equal(ended, cases[i].ended);
			free(got);
		}
}

static void
stuffing(void **state)
{
	static const char in[] = ".\r\na\r\n..b\r\nc.\r\n.";
	static const char want[] = "..\r\na\r\n...b\r\nc.\r\n..";

	(void)state;
	for (size_t step = 1; step <= sizeof(in); step++) {
		bool start = true;
		struct buf out;

		buf_init(&out, 200);
		for (size_t at = 0; at < sizeof(in) - 1; at += step)
			assert_int_equal(submit_stuff((const uint8_t *)in + at,
				sizeof(in) - 1 - at < step ? sizeof(in) - 1 -
				at : step, &start, &out), ST_OK);
		assert_int_equal(out.len, sizeof(want) - 1);
		assert_memory_equal(buf_data(&out), want, out.len);
		buf_clear(&out);
	}
}

/* ---- addresses ------------------------------------------------------- */

static char *
join(const struct submit_list *list)
{
	struct buf out;
	char *text;

	buf_init(&out, 65536);
	for (size_t i = 0; i < list->count; i++)
		assert_int_equal(buf_printf(&out, "%s%s", i == 0 ? "" : "|",
			list->items[i]), ST_OK);
	text = xstrndup((const char *)buf_data(&out), out.len);
	buf_clear(&out);
	return text;
}

static void
addresses(void **state)
{
	static const struct {
		const char *in, *want;	/* NULL: malformed */
	} cases[] = {
		{ "", "" },
		{ " ,, ", "" },
		{ "a@b.example", "a@b.example" },
		{ "root", "root" },
		{ "a@b, c@d ,e@f", "a@b|c@d|e@f" },
		{ "A B <a@b>", "a@b" },
		{ "\"B, A\" <a@b>, \"x\\\"y\" <c@d>", "a@b|c@d" },
		{ "J. R. Doe <a@b>", "a@b" },
		{ "=?UTF-8?Q?=C3=A9_x?= =?UTF-8?B?w6k=?= <a@b>", "a@b" },
		{ "\303\251 <a@b>", "a@b" },
		{ "\303\251@b", "\303\251@b" },
		{ "<a@b>", "a@b" },
		{ "<@x,@y:a@b>", "a@b" },
		{ "a@b (Comment, (nested) \\) <x@y>)", "a@b" },
		{ "(c) a (c) . b (c) @ (c) d (c)", "a.b@d" },
		{ "a@b\r\n\t,\r\n c@d\r\n", "a@b|c@d" },
		{ "\"a b\"@c", "\"a b\"@c" },
		{ "a@[192.0.2.1]", "a@[192.0.2.1]" },
		{ "undisclosed-recipients:;", "" },
		{ "Team: a@b, C <c@d>;, e@f", "a@b|c@d|e@f" },
		{ "A B: a@b;, \"Q\":c@d;", "a@b|c@d" },
		{ "a@b; c@d", "a@b|c@d" },
		{ "John Doe", NULL },
		{ "a@b c@d", NULL },
		{ "<>", NULL },
		{ "X <>", NULL },
		{ "<a@b", NULL },
		{ "a@b>", NULL },
		{ "<a@b> x", NULL },
		{ "<a@b> <c@d>", NULL },
		{ "<<a@b>>", NULL },
		{ "<a b@c>", NULL },
		{ "(open a@b", NULL },
		{ "a@b )", NULL },
		{ "\"open a@b", NULL },
		{ "[open", NULL },
		{ "G: a@b", NULL },
		{ "G: H: a@b;;", NULL },
		{ "a\\b@c", NULL },
		{ "a\001@c", NULL },
		{ "@x,@y", NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct submit_list list = { NULL, 0 };
		enum status st = submit_addresses(cases[i].in,
			strlen(cases[i].in), &list);
		char *got = join(&list);

		if ((st == ST_OK) != (cases[i].want != NULL))
			fail_msg("%s: %s (%s)", cases[i].in, status_name(st),
				got);
		if (st == ST_OK)
			assert_string_equal(got, cases[i].want);
		free(got);
		submit_list_clear(&list);
	}
}

/* Sizes from outside stay bounded. */
static void
long_addresses(void **state)
{
	char *text = xmalloc(100001);
	struct submit_list list = { NULL, 0 };

	(void)state;
	memset(text, 'a', 100000);
	text[100000] = '\0';
	assert_int_equal(submit_addresses(text, 100000, &list), ST_PARSE);
	memcpy(text + 99990, "<a@b>", 5);
	assert_int_equal(submit_addresses(text, 99995, &list), ST_OK);
	assert_string_equal(list.items[0], "a@b");
	memset(text, '(', 100000);
	assert_int_equal(submit_addresses(text, 100000, &list), ST_PARSE);
	submit_list_clear(&list);
	free(text);
}

/* ---- header ---------------------------------------------------------- */

static void
header_end(void **state)
{
	static const struct {
		const char *in;
		size_t head, body;	/* SIZE_MAX: more is needed */
	} cases[] = {
		{ "", SIZE_MAX, 0 },
		{ "A: b\r\n", SIZE_MAX, 0 },
		{ "A: b\r\n\r\nx", 6, 8 },
		{ "\r\nx", 0, 2 },
		{ "text\r\n", 0, 0 },
		{ " text\r\n", 0, 0 },
		{ "A: b\r\ntext here\r\n", 6, 6 },
		{ "A: b\r\n\tfold\r\n \r\n\r\n", 16, 18 },
		{ "From me Sat\r\nA: b\r\n\r\n", 19, 21 },
		{ "A : b\r\n\r\n", 7, 9 },
		{ "A b: c\r\n", 0, 0 },
		{ ": c\r\n", 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		size_t head = 0, body = 0, len = strlen(cases[i].in);
		enum status st = submit_header_end(cases[i].in, len, false,
			&head, &body);

		if (cases[i].head == SIZE_MAX) {
			assert_int_equal(st, ST_AGAIN);
			assert_int_equal(submit_header_end(cases[i].in, len,
				true, &head, &body), ST_OK);
			assert_int_equal(head, len);
			assert_int_equal(body, len);
			continue;
		}
		assert_int_equal(st, ST_OK);
		if (head != cases[i].head || body != cases[i].body)
			fail_msg("%s: %zu %zu", cases[i].in, head, body);
	}
}

static void
header_rcpts(void **state)
{
	static const struct {
		const char *in, *want, *field;
	} cases[] = {
		{ "To: a@b\r\ncc: c@d,\r\n e@f\r\nBCC : g@h\r\n"
			"Reply-To: no@x\r\nX-To: no@x\r\n",
			"a@b|c@d|e@f|g@h", NULL },
		{ "To: a@b\r\nResent-To: c@d\r\nResent-Bcc: e@f\r\n",
			"c@d|e@f", NULL },
		{ "Subject: x\r\n To: no@x\r\n", "", NULL },
		{ "To: a@b\r\nCc: John Doe\r\n", NULL, "Cc" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct submit_list list = { NULL, 0 };
		char field[32], *got;
		enum status st = submit_header_rcpts(cases[i].in,
			strlen(cases[i].in), &list, field);

		got = join(&list);
		if (cases[i].want == NULL) {
			assert_int_equal(st, ST_PARSE);
			assert_string_equal(field, cases[i].field);
		} else {
			assert_int_equal(st, ST_OK);
			assert_string_equal(got, cases[i].want);
		}
		free(got);
		submit_list_clear(&list);
	}
}

static void
header_edit(void **state)
{
#define ADDED "Date: D\r\nMessage-ID: <i@h>\r\n"
	static const struct {
		const char *in, *name, *want;
	} cases[] = {
		{ "", NULL, ADDED "From: u@h\r\n\r\n" },
		{ "from: x@y\r\ndate: 1\r\nmessage-id: 2\r\n", NULL,
			"from: x@y\r\ndate: 1\r\nmessage-id: 2\r\n\r\n" },
		{ "From me now\r\nTo: a@b\r\nBcc: c@d,\r\n e@f\r\n"
			"Resent-Bcc: g@h\r\nReturn-Path: <z>\r\nX: y\r\n",
			NULL, "To: a@b\r\nX: y\r\n" ADDED
			"From: u@h\r\n\r\n" },
		{ "", "A B", ADDED "From: A B <u@h>\r\n\r\n" },
		{ "", "B, A \"x\"", ADDED
			"From: \"B, A \\\"x\\\"\" <u@h>\r\n\r\n" },
		{ "", "a\r\nBcc: x", ADDED
			"From: \"a??Bcc: x\" <u@h>\r\n\r\n" },
		{ "", "\303\251 x", ADDED
			"From: =?UTF-8?Q?=C3=A9=20x?= <u@h>\r\n\r\n" },
		{ "", "\303\251\303\251\303\251\303\251\303\251\303\251\303"
			"\251\303\251\303\251\303\251", ADDED "From: =?UTF-8?Q"
			"?=C3=A9=C3=A9=C3=A9=C3=A9=C3=A9=C3=A9=C3=A9=C3=A9"
			"=C3=A9?=\r\n =?UTF-8?Q?=C3=A9?= <u@h>\r\n\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct submit_fill fill = { "u@h", cases[i].name, "D",
			"<i@h>" };
		struct buf out;
		char *got;

		buf_init(&out, 4096);
		assert_int_equal(submit_header_edit(cases[i].in,
			strlen(cases[i].in), &fill, &out), ST_OK);
		got = xstrndup((const char *)buf_data(&out), out.len);
		assert_string_equal(got, cases[i].want);
		free(got);
		buf_clear(&out);
	}
}

/* ---- options --------------------------------------------------------- */

static bool
parse(const char *const *words, struct submit_args *out)
{
	static char store[16][64];
	static char *argv[17];
	char err[SUBMIT_ERR_BYTES];
	int argc = 0;

	for (; words[argc] != NULL; argc++) {
		(void)snprintf(store[argc], sizeof(store[0]), "%s",
			words[argc]);
		argv[argc] = store[argc];
	}
	argv[argc] = NULL;
	return submit_args_parse(argc, argv, out, err);
}

static void
options(void **state)
{
	static const char *const good[][16] = {
		{ "s", "-t", "-i", "-ftest@x", "-F", "Full Name", "--", "-r" },
		{ "s", "-tif", "test@x", "-FFull Name", "-r" "test@x", "--",
			"-r" },
		{ "s", "-oi", "-oem", "-om", "-t", "-r", "test@x", "-G", "-m",
			"-v", "-q1h", "-F", "Full Name", "--", "-r" },
		{ "s", "-B", "8BITMIME", "-U", "-L", "tag", "-n", "-Ac", "-ti",
			"-O", "A=b", "-ftest@x", "-FFull Name", "--", "-r" },
		{ "s", "-X", "log", "-h", "3", "-p", "smtp:x", "-em", "-d0",
			"-C", "cf", "-tiftest@x", "-FFull Name", "--", "-r" },
	};
	static const char *const bad[][4] = {
		{ "s", "-f" }, { "s", "-bd" }, { "s", "-z" }, { "s", "--foo" },
		{ "s", "--socket" }, { "s", "--require-tls=1" }, { "s", "-b" },
	};
	struct submit_args a;

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		assert_true(parse(good[i], &a));
		assert_int_equal(a.mode, SUBMIT_SEND);
		assert_true(a.rcpts_from_header);
		assert_true(a.ignore_dots);
		assert_string_equal(a.sender, "test@x");
		assert_string_equal(a.full_name, "Full Name");
		assert_int_equal(a.rcpt_count, 1);
		assert_string_equal(a.rcpts[0], "-r");
	}
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_false(parse(bad[i], &a));
}

static void
more_options(void **state)
{
	static const char *const words[] = { "s", "--socket=/a", "--config",
		"/b", "-Nnever", "-R", "hdrs", "-V", "id", "-bs", "a@b", "-t",
		NULL };
	static const char *const tls[] = { "s", "--require-tls", "-bp", NULL };
	static const char *const none[] = { "s", NULL };
	struct submit_args a;

	(void)state;
	assert_true(parse(words, &a));
	assert_string_equal(a.socket, "/a");
	assert_string_equal(a.conf_file, "/b");
	assert_string_equal(a.notify, "never");
	assert_string_equal(a.ret, "hdrs");
	assert_string_equal(a.envid, "id");
	assert_int_equal(a.mode, SUBMIT_SMTP);
	assert_int_equal(a.rcpt_count, 2);	/* options end at a recipient */
	assert_true(parse(tls, &a));
	assert_true(a.require_tls);
	assert_int_equal(a.mode, SUBMIT_QUEUE);
	assert_true(parse(none, &a));
	assert_int_equal(a.rcpt_count, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(line_ends),
		cmocka_unit_test(stuffing),
		cmocka_unit_test(addresses),
		cmocka_unit_test(long_addresses),
		cmocka_unit_test(header_end),
		cmocka_unit_test(header_rcpts),
		cmocka_unit_test(header_edit),
		cmocka_unit_test(options),
		cmocka_unit_test(more_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
