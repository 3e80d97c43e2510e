/*
 * Which connections may carry which messages: every level against every
 * level, proof and rule; and each field that must be the same.
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
#define LEVELS 6
#define ANY_PROOF ((struct demand_proof){ true, true, 1 })

static const uint8_t digest_a[32] = { 1 }, digest_b[32] = { 2 };

/* As policy makes them of one host, without any rule. */
static struct demand *
make(enum demand_level level)
{
	static const enum demand_why whys[LEVELS] = {
		[DEMAND_NONE] = WHY_HOSTS_AVOID,
		[DEMAND_MAY] = WHY_DEFAULT,
		[DEMAND_ENCRYPT] = WHY_REQUIRE_TLS,
		[DEMAND_FINGERPRINT] = WHY_LOCAL,
		[DEMAND_PKIX] = WHY_STS,
		[DEMAND_DANE] = WHY_DANE,
	};
	struct demand *d = demand_new(level, whys[level]);

	if (level == DEMAND_FINGERPRINT)
		demand_add_print(d, "aa");
	if (level == DEMAND_PKIX || level == DEMAND_DANE)
		demand_add_name(d, "mx.example");
	if (level == DEMAND_DANE) {
		d->tlsa_base = xstrdup("mx.example");
		demand_add_tlsa(d, 3, 1, 1, digest_a, sizeof(digest_a));
	}
	return d;
}

/* clang-format off */
/* Rows: what the connection was made under; columns: what is needed.  With
 * everything proved that can be. */
static const bool by_level[LEVELS][LEVELS] = {
	/*		 none   may    encr.  finger pkix   dane */
	[DEMAND_NONE] = { true, false, false, false, false, false },
	[DEMAND_MAY] = { false, true,  false, false, false, false },
	[DEMAND_ENCRYPT] = { false, true, true, false, false, false },
	/* Only by a rule, which is for what it names. */
	[DEMAND_FINGERPRINT] = { false, false, false, true, false, false },
	[DEMAND_PKIX] = { false, true, true, false, true, false },
	[DEMAND_DANE] = { false, true, true, false, false, true },
};
/* clang-format on */

static void
test_levels(void **state)
{
	(void)state;
	for (int h = 0; h < LEVELS; h++)
		for (int n = 0; n < LEVELS; n++) {
			struct demand *had = make((enum demand_level)h);
			struct demand *need = make((enum demand_level)n);

			if (demand_covers(had, &ANY_PROOF, need) !=
			    by_level[h][n])
				fail_msg("%s for %s", demand_level_name(
					had->level), demand_level_name(
					need->level));
			demand_free(&had);
			demand_free(&need);
		}
}

/* Without TLS nothing that needs it, whatever was asked for; and a demand that
 * verifies is covered by what was verified only. */
static void
test_proofs(void **state)
{
	(void)state;
	for (int h = 0; h < LEVELS; h++)
		for (int n = 0; n < LEVELS; n++)
			for (unsigned bits = 0; bits < 8; bits++) {
				const struct demand_proof p = { bits & 1,
					bits & 2, (bits & 4) != 0 };
				struct demand *had = make(
					(enum demand_level)h);
				struct demand *need = make(
					(enum demand_level)n);
				bool want = by_level[h][n];

				if (n >= DEMAND_ENCRYPT && !p.tls)
					want = false;
				if (n == DEMAND_PKIX && p.names == 0)
					want = false;
				if (n == DEMAND_DANE && p.names == 0 &&
				    !p.by_key)
					want = false;
				if (demand_covers(had, &p, need) != want)
					fail_msg("%d for %d, proof %u", h, n,
						bits);
				demand_free(&had);
				demand_free(&need);
			}
}

static const struct name_case {
	const char *had[3], *need[3];
	uint32_t proved;
	bool covers;
} name_cases[] = {
	{ { "a" }, { "a" }, 1, true },
	{ { "a" }, { "b" }, 1, false },
	{ { "a" }, { "a", "b" }, 1, true },
	{ { "a" }, { "b", "a" }, 1, true },
	/* Which of them it was. */
	{ { "a", "b" }, { "a" }, 1, true },
	{ { "a", "b" }, { "a" }, 2, false },
	{ { "a", "b" }, { "b" }, 2, true },
	{ { "a", "b" }, { "b" }, 3, true },
	{ { "a", "b" }, { "c" }, 3, false },
	{ { "a", "b" }, { "a", "b" }, 0, false },
	{ { "mx", "d1" }, { "mx", "d2" }, 1, true },
	{ { "mx", "d1" }, { "mx", "d2" }, 2, false },
	{ { ".d" }, { ".d" }, 1, true },
	{ { ".d" }, { "a.d" }, 1, false },
	{ { "a" }, { NULL }, 1, false },
	{ { "a" }, { "a" }, 0xfffffffe, false },
};

static void
add_names(struct demand *d, const char *const names[3])
{
	for (size_t i = 0; i < 3 && names[i] != NULL; i++)
		demand_add_name(d, names[i]);
}

static void
test_names(void **state)
{
	static const enum demand_level levels[] = { DEMAND_PKIX, DEMAND_DANE };

	(void)state;
	for (size_t i = 0; i < COUNT(name_cases); i++)
		for (size_t n = 0; n < COUNT(levels); n++) {
			const struct name_case *c = &name_cases[i];
			struct demand_proof p = { .tls = true,
				.names = c->proved };
			struct demand *had = demand_new(levels[n], WHY_STS);
			struct demand *need = demand_new(levels[n], WHY_STS);

			add_names(had, c->had);
			add_names(need, c->need);
			if (demand_covers(had, &p, need) != c->covers)
				fail_msg("case %zu", i);
			/* With usage 3 names mean nothing, to DANE. */
			p.by_key = true;
			if (demand_covers(had, &p, need) != (c->covers ||
			    levels[n] == DEMAND_DANE))
				fail_msg("case %zu by key", i);
			demand_free(&had);
			demand_free(&need);
		}
}

static void
set_text(char **text, const char *value)
{
	free(*text);
	*text = xstrdup(value);
}

/* clang-format off */
/* A change of either side that keeps them apart, at every level. */
static void sni(struct demand *d) { set_text(&d->sni, "x"); }
static void ca(struct demand *d) { set_text(&d->ca_file, "/x"); }
static void ciphers(struct demand *d) { set_text(&d->ciphers, "LOW"); }
static void cert(struct demand *d) { set_text(&d->cert_file, "/x"); }
static void key(struct demand *d) { set_text(&d->key_file, "/x"); }
static void auth(struct demand *d) { set_text(&d->auth_file, "/x"); }
static void first(struct demand *d) { d->tls_first = true; }
static void version(struct demand *d) { d->min_version = 0x0304; }
static void local(struct demand *d) { d->why = WHY_LOCAL; }
static void override(struct demand *d) { d->why = WHY_OVERRIDE; }
/* And of DANE. */
static void base(struct demand *d) { set_text(&d->tlsa_base, "x"); }
static void more(struct demand *d) { demand_add_tlsa(d, 3, 1, 1, digest_b, 32); }
static void usage(struct demand *d) { d->tlsa[0].usage = 2; }
static void data(struct demand *d) { d->tlsa[0].data[0] ^= 1; }
/* clang-format on */

static void (*const changes[])(struct demand *) = { sni, ca, ciphers, cert,
	key, auth, first, version, local, override, base, more, usage, data };
#define OF_ALL 10

static void
test_fields(void **state)
{
	(void)state;
	for (int level = DEMAND_MAY; level < LEVELS; level++)
		for (size_t i = 0; i < COUNT(changes); i++) {
			struct demand *a = make((enum demand_level)level);
			struct demand *b = make((enum demand_level)level);

			if (i >= OF_ALL && level != DEMAND_DANE)
				goto next;
			assert_true(demand_covers(a, &ANY_PROOF, b));
			changes[i](b);
			if (level == DEMAND_FINGERPRINT && b->why == WHY_LOCAL)
				b->why = WHY_OVERRIDE;
			if (demand_covers(a, &ANY_PROOF, b) ||
			    demand_covers(b, &ANY_PROOF, a))
				fail_msg("change %zu at level %d", i, level);
			assert_true(demand_covers(b, &ANY_PROOF, b));
next:
			demand_free(&a);
			demand_free(&b);
		}
}

/* Rules are shared by those for whom they are the same. */
static void
test_same_rule(void **state)
{
	struct demand *a = make(DEMAND_FINGERPRINT);
	struct demand *b = make(DEMAND_FINGERPRINT);

	(void)state;
	assert_true(demand_covers(a, &ANY_PROOF, b));
	demand_add_print(b, "bb");
	assert_false(demand_covers(a, &ANY_PROOF, b));
	assert_false(demand_covers(b, &ANY_PROOF, a));
	demand_free(&a);
	demand_free(&b);
	a = demand_new(DEMAND_ENCRYPT, WHY_LOCAL);
	b = make(DEMAND_MAY);
	assert_false(demand_covers(a, &ANY_PROOF, b));
	demand_free(&a);
	a = make(DEMAND_DANE);
	assert_true(demand_covers(a, &ANY_PROOF, b));
	b->why = WHY_OVERRIDE;
	assert_false(demand_covers(a, &ANY_PROOF, b));
	demand_free(&a);
	demand_free(&b);
}

/* Who decided is no matter, but for rules. */
static void
test_whys(void **state)
{
	(void)state;
	for (int w = WHY_DEFAULT; w <= WHY_TLS_OPTIONAL; w++) {
		struct demand *had = make(DEMAND_PKIX);
		struct demand *need = make(DEMAND_PKIX);

		need->why = (enum demand_why)w;
		assert_int_equal(demand_covers(had, &ANY_PROOF, need),
			w != WHY_LOCAL && w != WHY_OVERRIDE);
		demand_free(&had);
		demand_free(&need);
	}
}

/* What is to be reported must have been looked at. */
static void
test_watch(void **state)
{
	struct demand *had = make(DEMAND_DANE), *need = make(DEMAND_DANE);

	(void)state;
	had->watch = DEMAND_WATCH_HOST;
	had->watch_name = xstrdup("mx.example");
	assert_true(demand_covers(had, &ANY_PROOF, need));
	assert_false(demand_covers(need, &ANY_PROOF, had));
	need->watch = DEMAND_WATCH_HOST;
	need->watch_name = xstrdup("mx.example");
	assert_true(demand_covers(had, &ANY_PROOF, need));
	set_text(&need->watch_name, "other.example");
	assert_false(demand_covers(had, &ANY_PROOF, need));
	need->watch = DEMAND_WATCH_UNLISTED;
	assert_false(demand_covers(had, &ANY_PROOF, need));
	demand_free(&had);
	demand_free(&need);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_levels), cmocka_unit_test(test_proofs),
		cmocka_unit_test(test_names), cmocka_unit_test(test_fields),
		cmocka_unit_test(test_same_rule), cmocka_unit_test(test_whys),
		cmocka_unit_test(test_watch),
	};

	return cmocka_run_group_tests_name("demand_covers", tests, NULL, NULL);
}
