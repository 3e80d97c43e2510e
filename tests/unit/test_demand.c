/*
 * Demands: copied whole, bounded, and the same only when every field is.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "policy/demand.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const uint8_t digest_a[32] = { 1 }, digest_b[32] = { 2 };

/* Something in every field. */
static struct demand *
sample(void)
{
	struct demand *d = demand_new(DEMAND_DANE, WHY_DANE);

	d->tlsa_base = xstrdup("mx.example");
	d->sni = xstrdup("sni.example");
	d->ca_file = xstrdup("/ca");
	d->ciphers = xstrdup("HIGH");
	d->cert_file = xstrdup("/cert");
	d->key_file = xstrdup("/key");
	d->min_version = 0x0304;
	demand_add_name(d, "mx.example");
	demand_add_name(d, ".example");
	demand_add_print(d, "aa");
	demand_add_print(d, "bb");
	d->watch = DEMAND_WATCH_HOST;
	d->watch_name = xstrdup("mx.example");
	demand_add_tlsa(d, 3, 1, 1, digest_a, sizeof(digest_a));
	demand_add_tlsa(d, 2, 0, 1, digest_b, sizeof(digest_b));
	return d;
}

static void
set_text(char **text, const char *value)
{
	free(*text);
	*text = value == NULL ? NULL : xstrdup(value);
}

/* clang-format off */
/* Each makes it another demand. */
static void level(struct demand *d) { d->level = DEMAND_PKIX; }
static void lower(struct demand *d) { d->level = DEMAND_MAY; }
static void why(struct demand *d) { d->why = WHY_LOCAL; }
static void base(struct demand *d) { set_text(&d->tlsa_base, "x.example"); }
static void no_base(struct demand *d) { set_text(&d->tlsa_base, NULL); }
static void sni(struct demand *d) { set_text(&d->sni, "x.example"); }
static void no_sni(struct demand *d) { set_text(&d->sni, NULL); }
static void ca(struct demand *d) { set_text(&d->ca_file, "/x"); }
static void no_ca(struct demand *d) { set_text(&d->ca_file, NULL); }
static void ciphers(struct demand *d) { set_text(&d->ciphers, "LOW"); }
static void no_ciphers(struct demand *d) { set_text(&d->ciphers, NULL); }
static void cert(struct demand *d) { set_text(&d->cert_file, "/x"); }
static void no_cert(struct demand *d) { set_text(&d->cert_file, NULL); }
static void key(struct demand *d) { set_text(&d->key_file, "/x"); }
static void no_key(struct demand *d) { set_text(&d->key_file, NULL); }
static void tls_first(struct demand *d) { d->tls_first = true; }
static void watch(struct demand *d) { d->watch = DEMAND_WATCH_UNLISTED; }
static void who(struct demand *d) { set_text(&d->watch_name, "x.example"); }
static void nobody(struct demand *d) { set_text(&d->watch_name, NULL); }
static void version(struct demand *d) { d->min_version = 0x0303; }
static void name_more(struct demand *d) { demand_add_name(d, "x.example"); }
static void name_other(struct demand *d) { set_text(&d->names[1], "y"); }
static void name_less(struct demand *d) { free(d->names[--d->name_count]); }
static void print_more(struct demand *d) { demand_add_print(d, "cc"); }
static void print_other(struct demand *d) { set_text(&d->prints[0], "dd"); }
static void print_less(struct demand *d) { free(d->prints[--d->print_count]); }
static void tlsa_usage(struct demand *d) { d->tlsa[0].usage = 2; }
static void tlsa_selector(struct demand *d) { d->tlsa[0].selector = 0; }
static void tlsa_matching(struct demand *d) { d->tlsa[0].matching = 2; }
static void tlsa_data(struct demand *d) { d->tlsa[0].data[31] ^= 1; }
static void tlsa_len(struct demand *d) { d->tlsa[1].len = 31; }
static void tlsa_less(struct demand *d) { free(d->tlsa[--d->tlsa_count].data); }
/* clang-format on */

static void
tlsa_more(struct demand *d)
{
	demand_add_tlsa(d, 3, 0, 1, digest_a, 32);
}

/* The same record twice is fewer records, whatever the count. */
static void
tlsa_twice(struct demand *d)
{
	d->tlsa[1].usage = d->tlsa[0].usage;
	d->tlsa[1].selector = d->tlsa[0].selector;
	memcpy(d->tlsa[1].data, d->tlsa[0].data, 32);
}

static void (*const changes[])(struct demand *) = {
	level, lower, why, base, no_base, sni, no_sni, ca, no_ca, ciphers,
	no_ciphers, cert, no_cert, key, no_key, tls_first, version, name_more,
	name_other, name_less, print_more, print_other, print_less,
	tlsa_usage, tlsa_selector, tlsa_matching, tlsa_data, tlsa_len,
	tlsa_less, tlsa_more, tlsa_twice, watch, who, nobody,
};

static void
test_same(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(changes); i++) {
		struct demand *a = sample(), *b = sample();

		assert_true(demand_same(a, b));
		changes[i](b);
		if (demand_same(a, b) || demand_same(b, a))
			fail_msg("change %zu", i);
		assert_true(demand_same(b, b));
		demand_free(&a);
		demand_free(&b);
	}
}

/* The order of sets says nothing. */
static void
test_order(void **state)
{
	struct demand *a = sample(), *b = sample();
	struct demand_tlsa t = b->tlsa[0];
	char *name = b->names[0], *print = b->prints[0];

	(void)state;
	b->tlsa[0] = b->tlsa[1];
	b->tlsa[1] = t;
	b->names[0] = b->names[1];
	b->names[1] = name;
	b->prints[0] = b->prints[1];
	b->prints[1] = print;
	assert_true(demand_same(a, b));
	demand_free(&a);
	demand_free(&b);
}

/* A copy is the same, shares nothing, and outlives what it was made of. */
static void
test_copy(void **state)
{
	struct demand *a = sample(), *b = demand_copy(a), *c = sample();

	(void)state;
	assert_true(demand_same(a, b));
	assert_ptr_not_equal(a->tlsa[0].data, b->tlsa[0].data);
	assert_ptr_not_equal(a->names[0], b->names[0]);
	demand_free(&a);
	assert_null(a);
	assert_true(demand_same(b, c));
	demand_free(&b);
	demand_free(&c);
	a = demand_new(DEMAND_MAY, WHY_DEFAULT);
	b = demand_copy(a);
	assert_true(demand_same(a, b));
	assert_null(b->tlsa_base);
	demand_free(&a);
	demand_free(&b);
	demand_free(&b);
}

/* However much is given: bounded, each text once. */
static void
test_bounds(void **state)
{
	struct demand *d = demand_new(DEMAND_DANE, WHY_DANE), *copy;
	char text[16];

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(text, sizeof(text), "n%u", i / 2);
		demand_add_name(d, text);
		demand_add_print(d, text);
		demand_add_tlsa(d, 3, 1, 1, digest_a, sizeof(digest_a));
	}
	assert_int_equal(d->name_count, DEMAND_NAMES_MAX);
	assert_int_equal(d->print_count, DEMAND_PRINTS_MAX);
	assert_int_equal(d->tlsa_count, DEMAND_TLSA_MAX);
	assert_string_equal(d->names[0], "n0");
	assert_string_equal(d->names[1], "n1");
	copy = demand_copy(d);
	assert_true(demand_same(d, copy));
	demand_free(&d);
	demand_free(&copy);
	d = demand_new(DEMAND_DANE, WHY_DANE);
	demand_add_tlsa(d, 3, 1, 0, NULL, 0);
	copy = demand_copy(d);
	assert_int_equal(copy->tlsa[0].len, 0);
	demand_free(&d);
	demand_free(&copy);
}

static void
test_levels(void **state)
{
	static const struct {
		enum demand_level level;
		const char *name;
		bool forbids_clear, verifies;
	} rows[] = {
		{ DEMAND_NONE, "none", false, false },
		{ DEMAND_MAY, "may", false, false },
		{ DEMAND_ENCRYPT, "encrypt", true, false },
		{ DEMAND_FINGERPRINT, "fingerprint", true, true },
		{ DEMAND_PKIX, "pkix", true, true },
		{ DEMAND_DANE, "dane", true, true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct demand *d = demand_new(rows[i].level, WHY_DEFAULT);

		assert_string_equal(demand_level_name(d->level),
			rows[i].name);
		assert_int_equal(demand_forbids_clear(d),
			rows[i].forbids_clear);
		assert_int_equal(demand_verifies(d), rows[i].verifies);
		demand_free(&d);
	}
	assert_string_equal(demand_level_name((enum demand_level)99),
		"unknown");
	assert_string_equal(demand_why_name((enum demand_why)99), "unknown");
	assert_string_equal(demand_why_name(WHY_DANE_UNUSABLE),
		"dane-unusable");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same), cmocka_unit_test(test_order),
		cmocka_unit_test(test_copy), cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_levels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
