/*
 * Names in wire form, and the hash table they are looked up in.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "resolver/dns_name.h"
#include "resolver/dns_table.h"

static const uint8_t *
name(const char *text)
{
	static dns_name ring[8];
	static unsigned next;
	uint8_t *to = ring[next++ % 8];

	assert_int_equal(dns_name_parse(text, to), ST_OK);
	return to;
}

static void
text_both_ways(void **state)
{
	static const char *const cases[][2] = {
		{ "", "" }, { ".", "" }, { "A.Example.", "a.example" },
		{ "a.example", "a.example" }, { "*.x", "*.x" },
		{ "a\\.b.c", "a\\046b.c" }, { "\\000.x", "\\000.x" },
		{ "a\\032b", "a\\032b" }, { "_25._tcp.mx", "_25._tcp.mx" },
	};
	char out[DNS_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		dns_name_format(name(cases[i][0]), out);
		assert_string_equal(out, cases[i][1]);
	}
}

static void
text_refused(void **state)
{
	char longer[400];
	dns_name out;
	static const char *const cases[] = { "a..b", ".a", "..", "a\\",
		"\\256.x", "\\12" };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(dns_name_parse(cases[i], out), ST_PARSE);
	memset(longer, 'a', sizeof(longer));
	longer[64] = '\0';
	assert_int_equal(dns_name_parse(longer, out), ST_PARSE);
	longer[63] = '\0';
	assert_int_equal(dns_name_parse(longer, out), ST_OK);
	/* 255 octets of wire form are 253 of text; one more is too many. */
	for (size_t i = 0; i < 254; i++)
		longer[i] = i % 2 == 0 ? 'a' : '.';
	longer[253] = '\0';
	assert_int_equal(dns_name_parse(longer, out), ST_OK);
	assert_int_equal(dns_name_len(out), 255);
	longer[0] = 'b';
	longer[253] = 'x';
	longer[254] = '\0';
	assert_int_equal(dns_name_parse(longer, out), ST_PARSE);
}

static void
canonical_order(void **state)
{
	/* RFC 4034 6.1. */
	static const char *const sorted[] = { "example", "a.example",
		"yljkjljk.a.example", "z.a.example", "zabc.a.example",
		"z.example", "\\001.z.example", "*.z.example",
		"\\200.z.example" };
	size_t n = sizeof(sorted) / sizeof(sorted[0]);

	(void)state;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < n; k++) {
			int d = dns_name_cmp(name(sorted[i]),
				name(sorted[k]));

			assert_int_equal((d > 0) - (d < 0),
				(i > k) - (i < k));
		}
}

static void
relations(void **state)
{
	dns_name out;

	(void)state;
	assert_true(dns_name_within(name("a.b"), name("b")));
	assert_true(dns_name_within(name("b"), name("b")));
	assert_true(dns_name_within(name("b"), name("")));
	assert_false(dns_name_within(name("ab"), name("b")));
	assert_false(dns_name_within(name("b"), name("a.b")));
	assert_true(dns_name_eq(dns_name_common(name("x.a.b"), name("y.a.b")),
		name("a.b")));
	assert_true(dns_name_eq(dns_name_common(name("x"), name("y")),
		name("")));
	assert_true(dns_name_eq(dns_name_tail(name("a.b.c"), 2), name("b.c")));
	assert_int_equal(dns_name_replace(out, name("x.old.a"),
		name("old.a"), name("new.b")), ST_OK);
	assert_true(dns_name_eq(out, name("x.new.b")));
	assert_int_equal(dns_name_wildcard(out, name("b")), ST_OK);
	assert_true(dns_name_eq(out, name("*.b")));
	assert_true(dns_name_is_wildcard(out));
}

static void
table(void **state)
{
	static struct dns_entry entries[1000];
	struct dns_table t;
	char text[32];

	(void)state;
	dns_table_init(&t);
	for (size_t i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "n%zu.example", i / 2);
		dns_table_add(&t, &entries[i], name(text),
			i % 2 == 0 ? 1 : 28);
	}
	assert_int_equal(t.count, 1000);
	assert_ptr_equal(dns_table_find(&t, name("n7.example"), 28),
		&entries[15]);
	assert_null(dns_table_find(&t, name("n7.example"), 15));
	dns_table_remove(&t, &entries[15]);
	assert_null(dns_table_find(&t, name("n7.example"), 28));
	assert_ptr_equal(dns_table_find(&t, name("n7.example"), 1),
		&entries[14]);
	dns_table_clear(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_both_ways),
		cmocka_unit_test(text_refused),
		cmocka_unit_test(canonical_order),
		cmocka_unit_test(relations),
		cmocka_unit_test(table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
