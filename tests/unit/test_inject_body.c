/*
 * The receiver of message text: every case is fed whole, octet by octet and
 * split at every border, and must come out the same.
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
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "smtpd-out/inject/inject_body.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define X64 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static const struct inject_body_rules plain = {
	.message_bytes = 1000000,
	.inline_bytes = 100000,
	.line_bytes = 998,
	.hops = 3,
};

static struct inject_body_rules
normalising(void)
{
	struct inject_body_rules rules = plain;

	rules.normalise = true;
	return rules;
}

struct result {
	bool ended;
	enum inject_reply fault;
	size_t used;
	char text[4096];
};

/* Feeds text in pieces: first `split` octets, then the rest, or (step 1)
 * octet by octet. */
static void
feed(const struct inject_body_rules *rules, const char *text, size_t len,
	size_t split, size_t step, struct result *out)
{
	struct inject_pool pool = { 0, 1 << 20 };
	struct inject_body b;
	size_t used = 0;

	inject_body_init(&b, rules, &pool);
	while (used < len && !b.ended) {
		size_t n = used < split ? split - used : len - used;

		if (step > 0 && n > step)
			n = step;
		n = inject_body_text(&b, (const uint8_t *)text + used, n);
		assert_true(n > 0);
		used += n;
	}
	out->ended = b.ended;
	out->fault = b.fault;
	out->used = used;
	assert_true(b.mem.len < sizeof(out->text));
	memcpy(out->text, buf_data(&b.mem), b.mem.len);
	out->text[b.mem.len] = '\0';
	if (b.fault == REPLY_NONE)
		assert_true(b.stored_bytes == b.mem.len);
	inject_body_clear(&b);
	assert_true(pool.used_bytes == 0);
}

struct body_case {
	const char *text;	/* what the client sends after DATA */
	const char *want;	/* what is stored; NULL: a fault */
	enum inject_reply fault;
	size_t left;		/* octets after the end; SIZE_MAX: no end */
};

static void
run_case(const struct inject_body_rules *rules, const struct body_case *c)
{
	size_t len = strlen(c->text);

	for (size_t split = 0; split <= len + 1; split++) {
		struct result r;
		/* the last turn goes octet by octet */
		size_t step = split == len + 1 ? 1 : 0;

		feed(rules, c->text, len, step == 1 ? 0 : split, step, &r);
		if (r.ended != (c->left != SIZE_MAX))
			fail_msg("%s: ended %d", c->text, r.ended);
		if (r.ended && r.used != len - c->left)
			fail_msg("%s: %zu taken", c->text, r.used);
		if (r.fault != c->fault)
			fail_msg("%s: fault %d, wanted %d", c->text,
				(int)r.fault, (int)c->fault);
		if (c->want != NULL)
			assert_string_equal(r.text, c->want);
		else
			assert_string_equal(r.text, "");
	}
}

/* In the refusing mode nothing but CRLF.CRLF ends a message. */
static void
strict(void **state)
{
	static const struct body_case cases[] = {
		{ ".\r\n", "", REPLY_NONE, 0 },
		{ "a\r\n.\r\n", "a\r\n", REPLY_NONE, 0 },
		{ "a\r\n.\r\nQUIT\r\n", "a\r\n", REPLY_NONE, 6 },
		{ "a\r\n\r\n..\r\n.b\r\n...c\r\n.\r\n",
			"a\r\n\r\n.\r\nb\r\n..c\r\n", REPLY_NONE, 0 },
		{ "a.\r\n.\r\n", "a.\r\n", REPLY_NONE, 0 },
		/* smuggling: what is after must not become a command */
		{ "a\n.\nMAIL\r\n.\r\n", NULL, REPLY_BARE_NEWLINE, 0 },
		{ "a\n.\r\nMAIL\r\n.\r\n", NULL, REPLY_BARE_NEWLINE, 0 },
		{ "a\r\n.\nMAIL\r\n.\r\n", NULL, REPLY_BARE_NEWLINE, 0 },
		{ "a\r.\rMAIL\r\n.\r\n", NULL, REPLY_BARE_NEWLINE, 0 },
		{ "a\r\n.\rMAIL\r\n.\r\n", NULL, REPLY_BARE_NEWLINE, 0 },
		{ "a\r.\r\nMAIL\r\n.\r\n", NULL, REPLY_BARE_NEWLINE, 0 },
		{ "a\r\n.\r\r\nMAIL\r\n.\r\n", NULL, REPLY_BARE_NEWLINE, 0 },
		{ "a\r\r\n.\r\n", NULL, REPLY_BARE_NEWLINE, 0 },
		{ "a\n\r.\r\nb\r\n.\r\n", NULL, REPLY_BARE_NEWLINE, 0 },
		{ "a\n.\n", NULL, REPLY_BARE_NEWLINE, SIZE_MAX },
		{ "a\n.\r\n", NULL, REPLY_BARE_NEWLINE, SIZE_MAX },
		{ "a\r\n.\n", NULL, REPLY_BARE_NEWLINE, SIZE_MAX },
		{ "a\r.\r", NULL, REPLY_BARE_NEWLINE, SIZE_MAX },
		{ "\n.\r\n", NULL, REPLY_BARE_NEWLINE, SIZE_MAX },
		{ ".\n", NULL, REPLY_BARE_NEWLINE, SIZE_MAX },
		{ "a\r\n.", "a\r\n", REPLY_NONE, SIZE_MAX },
		{ "a\r\n.\r", "a\r\n", REPLY_NONE, SIZE_MAX },
		{ "a\r", "a", REPLY_NONE, SIZE_MAX },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		run_case(&plain, &cases[i]);
}

/* The other mode makes text of them, and what it stores has no bare CR or
 * LF either. */
static void
normalise(void **state)
{
	static const struct body_case cases[] = {
		{ "a\r\n.\r\n", "a\r\n", REPLY_NONE, 0 },
		{ "a\nb\rc\r\n.\r\n", "a\r\nb\r\nc\r\n", REPLY_NONE, 0 },
		{ "a\n.\nMAIL\r\n.\r\n", "a\r\n.\r\nMAIL\r\n", REPLY_NONE, 0 },
		{ "a\n.\r\nMAIL\r\n.\r\n", "a\r\n.\r\nMAIL\r\n", REPLY_NONE,
			0 },
		{ "a\r\n.\nMAIL\r\n.\r\n", "a\r\n\r\nMAIL\r\n", REPLY_NONE,
			0 },
		{ "a\r.\rMAIL\r\n.\r\n", "a\r\n.\r\nMAIL\r\n", REPLY_NONE, 0 },
		{ "a\r\n.\rMAIL\r\n.\r\n", "a\r\n\r\nMAIL\r\n", REPLY_NONE,
			0 },
		{ "a\r\n.\r\r\n.\r\n", "a\r\n\r\n\r\n", REPLY_NONE, 0 },
		{ "a\r\r\n.\r\n", "a\r\n\r\n", REPLY_NONE, 0 },
		{ "a\n\r\n.\r\n", "a\r\n\r\n", REPLY_NONE, 0 },
		{ "a\n.\n", "a\r\n.\r\n", REPLY_NONE, SIZE_MAX },
		{ "a\n..b\n.\r\n.\r\n", "a\r\n..b\r\n.\r\n", REPLY_NONE, 0 },
	};
	struct inject_body_rules rules = normalising();

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		run_case(&rules, &cases[i]);
}

static void
nul(void **state)
{
	static const char text[] = "a\0b\r\n.\r\n";
	struct inject_body_rules rules[2] = { plain, normalising() };

	(void)state;
	for (size_t i = 0; i < 2; i++)
		for (size_t split = 0; split < sizeof(text); split++) {
			struct result r;

			feed(&rules[i], text, sizeof(text) - 1, split, 0, &r);
			assert_true(r.ended);
			assert_int_equal(r.fault, REPLY_NUL);
		}
}

static void
line_limit(void **state)
{
	static const char end[] = "\r\n.\r\n";
	struct inject_body_rules rules = plain;
	char text[64 + sizeof(end)];

	(void)state;
	rules.line_bytes = 40;
	for (size_t n = 39; n <= 41; n++)
		for (int stuffed = 0; stuffed < 2; stuffed++) {
			struct body_case c = { .text = text, .fault =
				n > 40 ? REPLY_TEXT_LINE : REPLY_NONE };
			char want[64];

			(void)snprintf(text, sizeof(text), "%s%.*s%s", stuffed ?
				".." : "x", (int)n - 1, X64, end);
			(void)snprintf(want, sizeof(want), "%c%.*s\r\n",
				stuffed ? '.' : 'x', (int)n - 1, X64);
			c.want = n > 40 ? NULL : want;
			run_case(&rules, &c);
		}
}

static void
size_limit(void **state)
{
	struct inject_body_rules rules = plain;
	static const struct {
		uint64_t limit;
		enum inject_reply fault;
	} cases[] = {
		{ 7, REPLY_SIZE }, { 9, REPLY_SIZE }, { 10, REPLY_NONE },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct body_case c = {
			.text = "abc\r\n..de\r\n.\r\n",
			.want = cases[i].fault == REPLY_NONE ?
				"abc\r\n.de\r\n" : NULL,
			.fault = cases[i].fault,
		};

		rules.message_bytes = cases[i].limit;
		run_case(&rules, &c);
	}
}

static void
hops(void **state)
{
	static const struct body_case cases[] = {
		{ "Received: a\r\nRECEIVED: b\r\n\tx\r\nReceived : c\r\n"
			"\r\nReceived: in text\r\n.\r\n",
			"Received: a\r\nRECEIVED: b\r\n\tx\r\nReceived : c\r\n"
			"\r\nReceived: in text\r\n", REPLY_NONE, 0 },
		{ "Received: a\r\nReceived: b\r\nReceived: c\r\nX: d\r\n"
			" Received: folded\r\nReceived-SPF: e\r\n.\r\n",
			"Received: a\r\nReceived: b\r\nReceived: c\r\nX: d\r\n"
			" Received: folded\r\nReceived-SPF: e\r\n", REPLY_NONE,
			0 },
		{ "Received: a\r\nReceived: b\r\nReceived: c\r\n"
			"Received: d\r\n\r\n.\r\n", NULL, REPLY_HOPS, 0 },
		{ "Received: a\r\nReceived: b\r\nReceived: c\r\n"
			"Received: d\r\n.\r\n", NULL, REPLY_HOPS, 0 },
		{ "From me\r\nReceived: a\r\nReceived: b\r\nReceived: c\r\n"
			"Received: d\r\n\r\n.\r\n", NULL, REPLY_HOPS, 0 },
		{ "text\r\nReceived: a\r\nReceived: b\r\nReceived: c\r\n"
			"Received: d\r\n.\r\n", "text\r\nReceived: a\r\n"
			"Received: b\r\nReceived: c\r\nReceived: d\r\n",
			REPLY_NONE, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		run_case(&plain, &cases[i]);
}

static void
header_facts(void **state)
{
	static const struct {
		const char *text;
		bool tls_optional, eight_bit;
	} cases[] = {
		{ "TLS-Required: No\r\n\r\n.\r\n", true, false },
		{ "tls-required:\tNO \r\n.\r\n", true, false },
		{ "TLS-Required:\r\n No\r\n.\r\n", true, false },
		{ "TLS-Required: No\r\n really\r\n.\r\n", false, false },
		{ "TLS-Required: Yes\r\n\r\n.\r\n", false, false },
		{ "TLS-Required: N\r\n\r\n.\r\n", false, false },
		{ "TLS-Required:\r\n\r\n.\r\n", false, false },
		{ "X: y\r\n\r\nTLS-Required: No\r\n.\r\n", false, false },
		{ "X: y\r\n\r\n\303\251\r\n.\r\n", false, true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct inject_pool pool = { 0, 1 << 20 };
		size_t len = strlen(cases[i].text);
		struct inject_body b;

		inject_body_init(&b, &plain, &pool);
		assert_int_equal(inject_body_text(&b,
			(const uint8_t *)cases[i].text, len), len);
		assert_true(b.ended);
		if (b.tls_optional != cases[i].tls_optional)
			fail_msg("%s", cases[i].text);
		assert_int_equal(b.eight_bit, cases[i].eight_bit);
		inject_body_clear(&b);
	}
}

/* BDAT: dots are text, CRLF may be split between chunks. */
static void
chunks(void **state)
{
	static const struct {
		const char *text, *want;
		enum inject_reply fault;
	} cases[] = {
		{ "", "", REPLY_NONE },
		{ "a\r\n.\r\n..b\r\n", "a\r\n.\r\n..b\r\n", REPLY_NONE },
		{ "a", "a\r\n", REPLY_NONE },
		{ "a\r", "", REPLY_BARE_NEWLINE },
		{ "a\nb\r\n", "", REPLY_BARE_NEWLINE },
		{ "a\rb\r\n", "", REPLY_BARE_NEWLINE },
		{ "\r\n.\r.\r\n", "", REPLY_BARE_NEWLINE },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		for (size_t split = 0; split <= strlen(cases[i].text);
		    split++) {
			struct inject_pool pool = { 0, 1 << 20 };
			const uint8_t *text =
				(const uint8_t *)cases[i].text;
			size_t len = strlen(cases[i].text);
			struct inject_body b;

			inject_body_init(&b, &plain, &pool);
			assert_int_equal(inject_body_chunk(&b, text, split),
				split);
			assert_int_equal(inject_body_chunk(&b, text + split,
				len - split), len - split);
			inject_body_end_chunks(&b);
			assert_int_equal(b.fault, cases[i].fault);
			assert_int_equal(b.mem.len, strlen(cases[i].want));
			assert_memory_equal(buf_data(&b.mem), cases[i].want,
				b.mem.len);
			inject_body_clear(&b);
		}
}

/* A message that outgrows memory stops at the border, goes on in the file and
 * is there octet for octet, and memory stays small. */
static void
spill(void **state)
{
	struct inject_pool pool = { 0, 8 << 20 };
	struct inject_body_rules rules = plain;
	struct inject_body b;
	struct inject_write what;
	char line[101], back[101];
	size_t lines = 60000, used = 0;
	int fd = memfd_create("body", 0);

	(void)state;
	assert_true(fd >= 0);
	memset(line, 'x', 98);
	memcpy(line + 98, "\r\n", 3);
	rules.message_bytes = 100 * lines;
	inject_body_init(&b, &rules, &pool);
	inject_body_prefix(&b, "Received: us\r\n");
	for (size_t i = 0; i < lines; i++) {
		size_t at = 0;

		(void)snprintf(line, 8, "%07zu", i);
		line[7] = 'x';
		while (at < 100) {
			at += inject_body_text(&b,
				(const uint8_t *)line + at, 100 - at);
			if (inject_body_next_write(&b, &what))
				inject_body_written(&b, 0);
			if (!inject_body_wants_file(&b))
				continue;
			assert_true(b.mem.len > rules.inline_bytes);
			assert_int_equal(inject_body_text(&b,
				(const uint8_t *)"x", 1), 0);
			inject_body_set_file(&b, fd, 7);
		}
		used += at;
		assert_true(pool.used_bytes <= 512 * 1024);
	}
	assert_int_equal(inject_body_text(&b, (const uint8_t *)".\r\n", 3), 3);
	assert_true(inject_body_next_write(&b, &what));
	assert_true(what.sync);
	inject_body_written(&b, 0);
	assert_true(b.ended && b.durable);
	assert_int_equal(b.fault, REPLY_NONE);
	assert_true(b.stored_bytes == used + 14);
	assert_true(lseek(fd, 0, SEEK_END) == (off_t)b.stored_bytes);
	for (size_t i = 0; i < lines; i++) {
		(void)snprintf(line, 8, "%07zu", i);
		line[7] = 'x';
		assert_int_equal(pread(fd, back, 100, (off_t)(14 + i * 100)),
			100);
		assert_memory_equal(back, line, 100);
	}
	inject_body_clear(&b);
	assert_true(pool.used_bytes == 0);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

/* When all sessions together hold too much, small messages spill as well. */
static void
pool_short(void **state)
{
	struct inject_pool pool = { 1000, 1000 };
	struct inject_body b;
	uint8_t text[40000];
	size_t used;

	(void)state;
	memset(text, 'x', sizeof(text));
	for (size_t i = 0; i + 2 <= sizeof(text); i += 500)
		memcpy(text + i, "\r\n", 2);
	inject_body_init(&b, &plain, &pool);
	used = inject_body_text(&b, text, sizeof(text));
	assert_true(inject_body_wants_file(&b));
	assert_true(used < sizeof(text));
	inject_body_clear(&b);
	assert_true(pool.used_bytes == 1000);
}

static void
disk_full(void **state)
{
	struct inject_pool pool = { 0, 8 << 20 };
	struct inject_body_rules rules = plain;
	struct inject_body b;
	uint8_t line[102];

	(void)state;
	memset(line, 'x', 100);
	memcpy(line + 100, "\r\n", 2);
	rules.inline_bytes = 1000;
	inject_body_init(&b, &rules, &pool);
	while (!inject_body_wants_file(&b))
		assert_true(inject_body_text(&b, line, 102) == 102);
	inject_body_set_file(&b, open("/dev/full", O_WRONLY), 1);
	assert_int_equal(b.fault, REPLY_STORE_FULL);
	assert_false(inject_body_wants_file(&b));
	for (size_t i = 0; i < 2000; i++)
		assert_true(inject_body_text(&b, line, 102) == 102);
	assert_int_equal(inject_body_text(&b, (const uint8_t *)".\r\nX", 4),
		3);
	assert_true(b.ended);
	assert_true(pool.used_bytes == 0);
	inject_body_clear(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(strict),
		cmocka_unit_test(normalise),
		cmocka_unit_test(nul),
		cmocka_unit_test(line_limit),
		cmocka_unit_test(size_limit),
		cmocka_unit_test(hops),
		cmocka_unit_test(header_facts),
		cmocka_unit_test(chunks),
		cmocka_unit_test(spill),
		cmocka_unit_test(pool_short),
		cmocka_unit_test(disk_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
