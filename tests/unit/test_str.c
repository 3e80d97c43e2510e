/*
 * Domains, addresses, sanitising, ids, durations: mostly what must be refused.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define L63 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg"
#define L61 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffg"
#define D253 L63 "." L63 "." L63 "." L61
#define D252 L63 "." L63 "." L63 "." \
	"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff"

static const struct domain_case {
	const char *text;
	const char *want;		/* NULL: ST_PARSE */
} domain_cases[] = {
	{ "", NULL },
	{ ".", NULL },
	{ "..", NULL },
	{ "a..", NULL },
	{ ".a", NULL },
	{ "a..b", NULL },
	{ "a b", NULL },
	{ "a\tb", NULL },
	{ "a\r\nb", NULL },
	{ "a@b", NULL },
	{ "a/b", NULL },
	{ "a%b", NULL },
	{ "[192.0.2.1]", NULL },
	{ "a,b", NULL },
	{ "a\x7f", NULL },
	{ L63 "x.example", NULL },
	{ D253 "x", NULL },
	{ D253 "..", NULL },
	{ D253 ".x", NULL },
	{ D252 "..", NULL },	/* 254 octets, the last label empty */
	{ D253, D253 },
	{ D253 ".", D253 },
	{ L63 ".example", L63 ".example" },
	{ "Example.ORG", "example.org" },
	{ "example.org.", "example.org" },
	{ "_dmarc.Example.org", "_dmarc.example.org" },
	{ "localhost", "localhost" },
	{ "a-b.c--d", "a-b.c--d" },
	/* U-labels (RFC 5891), not by the transitional rules */
	{ "m\xc3\xbcnchen.example", "xn--mnchen-3ya.example" },
	{ "M\xc3\x9cNCHEN.Example", "xn--mnchen-3ya.example" },
	{ "mu\xcc\x88nchen.example", "xn--mnchen-3ya.example" },
	{ "stra\xc3\x9f" "e.example", "xn--strae-oqa.example" },
	{ "m\xc3\xbcnchen.example.", "xn--mnchen-3ya.example" },
	{ "b\xc3\xbc" "cher\xe3\x80\x82" "example", "xn--bcher-kva.example" },
	{ "\xef\xbd\x81.example", "a.example" },	/* full width a */
	{ "xn--mnchen-3ya.example", "xn--mnchen-3ya.example" },
	{ "m\xfcnchen.example", NULL },			/* Latin-1 */
	{ "m\xc3", NULL },				/* cut UTF-8 */
	{ "\xe2\x84\x80.example", NULL },		/* a/c in one sign */
	{ "a\xc2\xa0" "b.example", NULL },		/* no-break space */
	{ "a\xef\xbc\x8f" "b.example", NULL },		/* full width / */
	{ "\xc3\xbc\xef\xbc\x8f" "b.example", NULL },
	{ "\xc3\xbc\xc2\xa0" "b.example", NULL },
	{ "_x.m\xc3\xbcnchen.example", "_x.xn--mnchen-3ya.example" },
	{ "\xe2\x80\xae" "a.example", NULL },		/* right to left */
	{ "\xe3\x80\x82", NULL },
};

static void
test_domain(void **state)
{
	char out[STR_DOMAIN_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(domain_cases); i++) {
		const struct domain_case *c = &domain_cases[i];
		enum status st = str_domain(c->text, out);

		if ((st == ST_OK) != (c->want != NULL))
			fail_msg("\"%s\": %s", c->text, status_name(st));
		if (c->want == NULL)
			continue;
		assert_string_equal(out, c->want);
		assert_true(str_is_domain(out));
		assert_int_equal(str_domain(c->want, out), ST_OK);
		assert_string_equal(out, c->want);
	}
}

static void
test_domain_long(void **state)
{
	static char text[100000];
	char out[STR_DOMAIN_MAX];

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	assert_int_equal(str_domain(text, out), ST_PARSE);
	assert_false(str_is_domain(text));
	for (size_t i = 1; i < sizeof(text) - 1; i += 2)
		text[i] = '.';
	assert_int_equal(str_domain(text, out), ST_PARSE);
	for (size_t i = 0; i + 3 < sizeof(text); i += 2)
		memcpy(text + i, "\xc3\xbc", 2);
	assert_int_equal(str_domain(text, out), ST_PARSE);
}

static void
test_is_domain(void **state)
{
	(void)state;
	assert_true(str_is_domain("a.example"));
	assert_true(str_is_domain(D253));
	assert_false(str_is_domain(D253 "x"));
	assert_false(str_is_domain("A.example"));
	assert_false(str_is_domain("a.example."));
	assert_false(str_is_domain(""));
	assert_false(str_is_domain("."));
	assert_false(str_is_domain("m\xc3\xbcnchen.example"));
	assert_false(str_is_domain(L63 "x"));
}

#define LOCAL64 L63 "x"

static const struct address_case {
	const char *text;
	size_t local;
	const char *domain;		/* NULL: ST_PARSE */
	bool utf8;
} address_cases[] = {
	{ "", 0, NULL, false },
	{ "@", 0, NULL, false },
	{ "a", 0, NULL, false },
	{ "a@", 0, NULL, false },
	{ "@b.example", 0, NULL, false },
	{ "a@b@c.example", 0, NULL, false },
	{ ".a@b.example", 0, NULL, false },
	{ "a.@b.example", 0, NULL, false },
	{ "a..b@c.example", 0, NULL, false },
	{ "a b@c.example", 0, NULL, false },
	{ "a@b.example ", 0, NULL, false },
	{ "<a@b.example>", 0, NULL, false },
	{ "a@b.example>", 0, NULL, false },
	{ "a\r\nRCPT@b.example", 0, NULL, false },
	{ "\"a\r\nb\"@b.example", 0, NULL, false },
	{ "\"a\tb\"@b.example", 0, NULL, false },
	{ "a\x7f@b.example", 0, NULL, false },
	{ "a\xc2\x85@b.example", 0, NULL, false },	/* U+0085, C1 */
	{ "\"\xc2\x9b" "1m\"@b.example", 0, NULL, false },
	{ "a\xff@b.example", 0, NULL, false },
	{ "a\xc3@b.example", 0, NULL, false },
	{ "@relay.example:a@b.example", 0, NULL, false },
	{ "a,b@c.example", 0, NULL, false },
	{ "a\"b@c.example", 0, NULL, false },
	{ "\"a", 0, NULL, false },
	{ "\"a\"", 0, NULL, false },
	{ "\"a\\", 0, NULL, false },
	{ "\"a\\\"@b.example", 0, NULL, false },
	{ "\"a\"b@c.example", 0, NULL, false },
	{ "\"a\".b@c.example", 0, NULL, false },
	{ "a@[]", 0, NULL, false },
	{ "a@[192.0.2.1", 0, NULL, false },
	{ "a@[192.0.2.1]x", 0, NULL, false },
	{ "a@[192.0.2.1]]", 0, NULL, false },
	{ "a@[a b]", 0, NULL, false },
	{ "a@[a\xc3\xbc]", 0, NULL, false },
	{ LOCAL64 "x@b.example", 0, NULL, false },
	{ LOCAL64 "@b.example", 64, "b.example", false },
	{ "a@" D253, 1, D253, false },
	{ "a@" D253 "x", 0, NULL, false },
	{ "a@b.Example.", 1, "b.example", false },
	{ "A.b+c@B.Example", 5, "b.example", false },
	{ "a@localhost", 1, "localhost", false },
	{ "a!b%c=d/e@f.example", 9, "f.example", false },
	{ "\"a b\"@c.example", 5, "c.example", false },
	{ "\"a@b\"@c.example", 5, "c.example", false },
	{ "\"a\\\"b\\\\\"@c.example", 8, "c.example", false },
	{ "\"..\"@c.example", 4, "c.example", false },
	{ "\"\"@c.example", 2, "c.example", false },
	{ "a@[192.0.2.1]", 1, "[192.0.2.1]", false },
	{ "a@[IPv6:2001:DB8::1]", 1, "[ipv6:2001:db8::1]", false },
	{ "j\xc3\xb6rg@b.example", 5, "b.example", true },
	{ "a@m\xc3\xbcnchen.example", 1, "xn--mnchen-3ya.example", true },
};

static void
test_address(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(address_cases); i++) {
		const struct address_case *c = &address_cases[i];
		char domain[STR_DOMAIN_MAX];
		size_t local = 99;
		bool utf8 = false;
		enum status st = str_address(c->text, &local, domain, &utf8);

		if ((st == ST_OK) != (c->domain != NULL))
			fail_msg("\"%s\": %s", c->text, status_name(st));
		if (c->domain == NULL)
			continue;
		assert_int_equal(local, c->local);
		assert_string_equal(domain, c->domain);
		assert_int_equal(utf8, c->utf8);
	}
}

static const struct sanitise_case {
	const char *text;
	size_t room;
	const char *want;
} sanitise_cases[] = {
	{ "", 10, "" },
	{ "plain text", 99, "plain text" },
	{ "a\r\nb\tc\x1b[1m\x7f", 99, "a??b?c?[1m?" },
	{ "a\xc2\x85" "b\xc2\x9b" "c", 99, "a?b?c" },	/* C1 */
	{ "\xc2\xa0", 99, "\xc2\xa0" },		/* first after C1 */
	{ "a\xe2\x80\xae" "b\xe2\x81\xa6" "c\xd8\x9c", 99, "a?b?c?" },
	{ "\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\x8f", 99, "???" },
	{ "\xe2\x80\x93\xd8\x9b", 99, "\xe2\x80\x93\xd8\x9b" },
	{ "a\xff\xfe", 99, "a??" },
	{ "\xc0\xaf", 99, "??" },		/* overlong */
	{ "\xed\xa0\x80", 99, "???" },		/* surrogate */
	{ "\xf4\x90\x80\x80", 99, "????" },	/* above U+10FFFF */
	{ "\xe2\x82", 99, "??" },		/* cut */
	{ "\xe2\x82\xac", 99, "\xe2\x82\xac" },
	{ "\xf0\x9f\x98\x80", 5, "\xf0\x9f\x98\x80" },
	{ "\xf0\x9f\x98\x80", 4, "" },		/* no half character */
	{ "a\xe2\x82\xac", 4, "a" },
	{ "a\xe2\x82\xac", 5, "a\xe2\x82\xac" },
	{ "abcdef", 4, "abc" },
	{ "abc", 1, "" },
	{ "\n\n\n\n", 3, "??" },
};

static void
test_sanitise(void **state)
{
	char out[100] = "untouched";

	(void)state;
	str_sanitise(out, 0, "abc", 3);
	assert_string_equal(out, "untouched");
	for (size_t i = 0; i < COUNT(sanitise_cases); i++) {
		const struct sanitise_case *c = &sanitise_cases[i];

		memset(out, 'Z', sizeof(out));
		str_sanitise(out, c->room, c->text, strlen(c->text));
		assert_string_equal(out, c->want);
	}
	str_sanitise(out, sizeof(out), "a\0b", 3);
	assert_string_equal(out, "a?b");
	str_sanitise(out, sizeof(out), "\xe2\x82\xac", 2);	/* by length */
	assert_string_equal(out, "??");
}

/* Whatever goes in, what comes out is clean UTF-8 within bounds. */
static void
test_sanitise_random(void **state)
{
	uint32_t seed = 5;

	(void)state;
	for (int run = 0; run < 20000; run++) {
		char in[40], out[24];
		size_t len, room;

		for (size_t i = 0; i < sizeof(in); i++) {
			seed = seed * 1664525 + 1013904223;
			in[i] = (char)(seed >> 16);
			if (seed % 3 == 0)
				in[i] = (char)(0x80 | (in[i] & 0x3f));
		}
		len = seed % sizeof(in);
		room = 1 + (seed >> 8) % sizeof(out);
		str_sanitise(out, room, in, len);
		assert_true(strlen(out) < room);
		assert_true(str_is_utf8(out, strlen(out)));
		for (size_t i = 0; out[i] != '\0'; i++)
			assert_true((unsigned char)out[i] >= 32 &&
				out[i] != 127);
	}
}

static void
test_utf8_ascii(void **state)
{
	(void)state;
	assert_true(str_is_utf8("", 0));
	assert_true(str_is_utf8("a\0b", 3));
	assert_true(str_is_utf8("\xf4\x8f\xbf\xbf", 4));
	assert_false(str_is_utf8("\x80", 1));
	assert_false(str_is_utf8("\xc1\xbf", 2));
	assert_false(str_is_utf8("\xe0\x9f\xbf", 3));
	assert_false(str_is_utf8("\xf0\x8f\xbf\xbf", 4));
	assert_false(str_is_utf8("\xf5\x80\x80\x80", 4));
	assert_true(str_is_ascii("abc"));
	assert_false(str_is_ascii("ab\xc3\xbc"));
}

static void
test_enhanced_code(void **state)
{
	static const char *const good[] = { "2.0.0", "4.7.10", "5.123.999" };
	static const char *const bad[] = { "", "5", "5.", "5.1", "5.1.",
		"3.0.0", "1.0.0", "55.1.1", "5.1.1.1", "5.1111.1", "5.1.1000",
		"5..1", " 5.1.1", "5.1.1 ", "5.1.x", "5.-1.1", "5,1,1" };

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++)
		assert_true(str_is_enhanced_code(good[i]));
	for (size_t i = 0; i < COUNT(bad); i++)
		if (str_is_enhanced_code(bad[i]))
			fail_msg("\"%s\" taken", bad[i]);
}

static void
test_id(void **state)
{
	static const uint64_t ids[] = { 0, 1, 30, 31, 32, 960, 961,
		UINT32_MAX, 1700000000000000, INT64_MAX,
		(uint64_t)INT64_MAX + 1, UINT64_MAX - 1, UINT64_MAX };
	static const char *const bad[] = { "", "1", "000000000000",
		"00000000000000", "000000000000a", "000000000000B",
		"000000000000 ", "zzzzzzzzzzzzz", "-000000000001",
		"00000\0000000" };
	char text[STR_ID_MAX], last[STR_ID_MAX] = "";
	uint64_t id;

	(void)state;
	for (size_t i = 0; i < COUNT(ids); i++) {
		str_id_format(ids[i], text);
		assert_int_equal(strlen(text), STR_ID_MAX - 1);
		assert_true(strcmp(last, text) < 0);	/* order is kept */
		assert_int_equal(str_id_parse(text, &id), ST_OK);
		assert_true(id == ids[i]);
		memcpy(last, text, sizeof(last));
	}
	/* One more than the last is no 64-bit number. */
	text[STR_ID_MAX - 2]++;
	assert_int_equal(str_id_parse(text, &id), ST_PARSE);
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(str_id_parse(bad[i], &id), ST_PARSE);
}

static const struct number_case {
	const char *text;
	int64_t want;			/* -1: ST_PARSE */
} duration_cases[] = {
	{ "250ms", 250 }, { "90s", 90000 }, { "5m", 300000 },
	{ "1h", 3600000 }, { "5d", 432000000 }, { "1w", 604800000 },
	{ "1h30m", 5400000 }, { "0s", 0 }, { "1m1ms", 60001 },
	{ "9223372036854775807ms", INT64_MAX },
	{ "9223372036854775808ms", -1 },
	{ "99999999999999999999999ms", -1 },
	{ "9223372036854775807s", -1 },
	{ "9223372036854775s808ms", -1 },
	{ "", -1 }, { "5", -1 }, { "s", -1 }, { "-5s", -1 }, { "+5s", -1 },
	{ " 5s", -1 }, { "5 s", -1 }, { "5s ", -1 }, { "5S", -1 },
	{ "1.5h", -1 }, { "5y", -1 }, { "5sm", -1 }, { "0x5s", -1 },
	{ "1h30", -1 }, { "5mss", -1 },
}, size_cases[] = {
	{ "0", 0 }, { "10485760", 10485760 }, { "512K", 524288 },
	{ "512k", 524288 }, { "50M", 52428800 }, { "1G", 1073741824 },
	{ "8589934591G", 9223372035781033984 },
	{ "", -1 }, { "K", -1 }, { "-1", -1 }, { "+1", -1 }, { " 1", -1 },
	{ "1 ", -1 }, { "1 K", -1 }, { "1KB", -1 }, { "1T", -1 },
	{ "0x10", -1 }, { "1.5M", -1 }, { "17179869184G", -1 },
	{ "18446744073709551616", -1 },
	{ "99999999999999999999999", -1 },
	{ "99999999999999999999999K", -1 },
};

static void
test_durations(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(duration_cases); i++) {
		const struct number_case *c = &duration_cases[i];
		int64_t ms = -2;

		if (str_duration_ms(c->text, &ms) != (c->want < 0 ? ST_PARSE :
		    ST_OK))
			fail_msg("\"%s\"", c->text);
		assert_int_equal(ms, c->want < 0 ? -2 : c->want);
	}
}

static void
test_sizes(void **state)
{
	uint64_t bytes;

	(void)state;
	for (size_t i = 0; i < COUNT(size_cases); i++) {
		const struct number_case *c = &size_cases[i];

		bytes = 77;
		if (str_size(c->text, &bytes) != (c->want < 0 ? ST_PARSE :
		    ST_OK))
			fail_msg("\"%s\"", c->text);
		assert_true(bytes == (c->want < 0 ? 77 : (uint64_t)c->want));
	}
	assert_int_equal(str_size("18446744073709551615", &bytes), ST_OK);
	assert_true(bytes == UINT64_MAX);
}

static const struct xtext_case {
	const char *text;
	const char *want;		/* NULL: ST_PARSE */
} xtext_cases[] = {
	{ "", "" }, { "abc", "abc" }, { "a+2Bb", "a+b" }, { "+3D", "=" },
	{ "+20", " " }, { "+C3+BC", "\xc3\xbc" },
	{ "a b", NULL }, { "a=b", NULL }, { "+", NULL }, { "+2", NULL },
	{ "+2b", NULL },		/* hexadecimal in capitals */
	{ "+G0", NULL }, { "a+00", NULL }, { "a\n", NULL }, { "\x80", NULL },
	{ "a+2", NULL },
};

static void
test_xtext(void **state)
{
	char out[20];

	(void)state;
	for (size_t i = 0; i < COUNT(xtext_cases); i++) {
		const struct xtext_case *c = &xtext_cases[i];
		enum status st = str_xtext_decode(c->text, out, sizeof(out));

		if (st != (c->want == NULL ? ST_PARSE : ST_OK))
			fail_msg("\"%s\"", c->text);
		if (c->want != NULL)
			assert_string_equal(out, c->want);
	}
	assert_int_equal(str_xtext_decode("abc", out, 3), ST_LIMIT);
	assert_int_equal(str_xtext_decode("abc", out, 4), ST_OK);
	assert_int_equal(str_xtext_decode("", out, 0), ST_LIMIT);
	assert_int_equal(str_xtext_encode("a+b", out, 5), ST_LIMIT);
	assert_int_equal(str_xtext_encode("a+b", out, 6), ST_OK);
	assert_string_equal(out, "a+2Bb");
	assert_int_equal(str_xtext_encode("", out, 0), ST_LIMIT);
	assert_int_equal(str_xtext_encode("a\n=\xff", out, 20), ST_OK);
	assert_string_equal(out, "a+0A+3D+FF");
}

static void
test_xtext_all(void **state)
{
	char all[256], coded[800], back[256];

	(void)state;
	for (int i = 1; i < 256; i++)
		all[i - 1] = (char)i;
	all[255] = '\0';
	assert_int_equal(str_xtext_encode(all, coded, sizeof(coded)), ST_OK);
	assert_int_equal(str_xtext_decode(coded, back, sizeof(back)), ST_OK);
	assert_string_equal(back, all);
}

static const struct date_case {
	int64_t when;
	const char *want;
} date_cases[] = {
	{ 0, "Thu, 1 Jan 1970 00:00:00 +0000" },
	{ 951782400, "Tue, 29 Feb 2000 00:00:00 +0000" },
	{ 1795246811, "Sat, 21 Nov 2026 07:40:11 +0000" },
	{ 4102444799, "Thu, 31 Dec 2099 23:59:59 +0000" },
	{ 253402300799, "Fri, 31 Dec 9999 23:59:59 +0000" },
	{ -1, "Wed, 31 Dec 1969 23:59:59 +0000" },
};

static void
test_date(void **state)
{
	static const int64_t silly[] = { INT64_MIN, INT64_MAX,
		67768036191676799, 67768036191676800, -67768040609740800 };
	char out[40];

	(void)state;
	for (size_t i = 0; i < COUNT(date_cases); i++) {
		str_date(date_cases[i].when, out);
		assert_string_equal(out, date_cases[i].want);
	}
	for (size_t i = 0; i < COUNT(silly); i++) {
		str_date(silly[i], out);
		assert_true(strlen(out) < sizeof(out));
	}
}

static void
test_copy(void **state)
{
	char out[4] = "zzz";

	(void)state;
	assert_true(str_copy(out, sizeof(out), "abc"));
	assert_string_equal(out, "abc");
	assert_false(str_copy(out, sizeof(out), "abcd"));
	assert_string_equal(out, "abc");
	assert_true(str_copy(out, 1, ""));
	assert_string_equal(out, "");
	assert_false(str_copy(out, 0, ""));
}

/* Every octet at every place, and none of those that look alike in a word. */
static void
test_text_run(void **state)
{
	uint8_t bytes[40];

	(void)state;
	for (size_t at = 0; at < sizeof(bytes); at++) {
		for (unsigned c = 0; c < 256; c++) {
			bool ends = c == '\r' || c == '\n' || c == 0;

			memset(bytes, c == 0x80 ? 0x8a : 0x80, sizeof(bytes));
			bytes[at] = (uint8_t)c;
			assert_int_equal(str_text_run(bytes, sizeof(bytes)),
				ends ? at : sizeof(bytes));
			assert_int_equal(str_text_run(bytes, at), at);
			if (at + 1 < sizeof(bytes))
				bytes[at + 1] = '\n';
			assert_int_equal(str_text_run(bytes, sizeof(bytes)),
				ends ? at : at + 1);
		}
	}
	assert_int_equal(str_text_run(bytes, 0), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_domain),
		cmocka_unit_test(test_domain_long),
		cmocka_unit_test(test_is_domain),
		cmocka_unit_test(test_address),
		cmocka_unit_test(test_sanitise),
		cmocka_unit_test(test_sanitise_random),
		cmocka_unit_test(test_utf8_ascii),
		cmocka_unit_test(test_enhanced_code),
		cmocka_unit_test(test_id),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_xtext),
		cmocka_unit_test(test_xtext_all),
		cmocka_unit_test(test_date),
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_text_run),
	};

	return cmocka_run_group_tests_name("str", tests, NULL, NULL);
}
