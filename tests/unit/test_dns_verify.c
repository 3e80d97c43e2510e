/*
 * Signatures: each rule of RFC 4035 5.3.1 has a signature here that is right
 * but for that rule, and must be refused.  Then the steps from a zone to the
 * one below it: DS records and keys.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "resolver/dns_trust.h"
#include "resolver/dns_verify.h"
#include "resolver/resolver.h"
#include "tests/lib/dnssign.h"

static struct dnspkt pkt, keys_pkt;
static struct dnssign_key *key, *other;
static struct dns_budget budget;
static struct dns_verified got;

static struct dns_msg *
parse(const struct dnspkt *p)
{
	struct dns_msg *m = NULL;
	const char *why = NULL;

	if (dns_parse(p->bytes, p->len, &m, &why) != ST_OK)
		fail_msg("refused: %s", why);
	return m;
}

static void
set_of(const struct dns_msg *m, const char *owner, uint16_t type,
	struct dns_set *set)
{
	dns_name wire;

	assert_int_equal(dns_name_parse(owner, wire), ST_OK);
	assert_true(dns_set_find(m, DNS_ANSWER, wire, type, set));
}

static struct dns_keys *
keys_of(struct dnssign_key *const *list, size_t count)
{
	struct dns_set *set = calloc(1, sizeof(*set));
	struct dns_keys *ks;
	struct dns_msg *m;

	dnspkt_start(&keys_pkt, 1, list[0]->zone, DNS_TYPE_DNSKEY, 0, 0);
	for (size_t i = 0; i < count; i++)
		dnssign_add_key(&keys_pkt, 0, list[i]);
	m = parse(&keys_pkt);
	set_of(m, list[0]->zone, DNS_TYPE_DNSKEY, set);
	ks = dns_keys_new(set);
	dns_msg_free(&m);
	free(set);
	return ks;
}

/* Verifies (owner, type) of pkt with the keys; the result is in got. */
static void
verify_with(struct dnssign_key *const *list, size_t count, const char *owner,
	uint16_t type, int64_t now)
{
	struct dns_set *set = calloc(1, sizeof(*set));
	struct dns_when when = { now, 300 };
	struct dns_keys *ks = keys_of(list, count);
	struct dns_msg *m = parse(&pkt);

	set_of(m, owner, type, set);
	dns_verify(set, ks, &when, &budget, &got);
	dns_msg_free(&m);
	dns_keys_free(&ks);
	free(set);
}

static void
verify(const char *owner, uint16_t type, int64_t now)
{
	budget = (struct dns_budget){ 32, 32 };
	verify_with(&key, 1, owner, type, now);
}

static void
two_mx(const char *owner)
{
	char line[200];

	dnspkt_start(&pkt, 1, owner, DNS_TYPE_MX, 0, PKT_DO);
	snprintf(line, sizeof(line), "%s. 300 IN MX 20 MX2.Zone.test.", owner);
	dnspkt_add(&pkt, 0, line);
	snprintf(line, sizeof(line), "%s. 300 IN MX 10 mx.zone.test.", owner);
	dnspkt_add(&pkt, 0, line);
}

static void
is_good(void)
{
	if (got.verdict != DNS_GOOD)
		fail_msg("refused: %s", got.why);
}

static void
is_bad(enum dns_verdict verdict, const char *part)
{
	assert_int_equal(got.verdict, verdict);
	if (strstr(got.why, part) == NULL)
		fail_msg("\"%s\" lacks \"%s\"", got.why, part);
}

static int
group_setup(void **state)
{
	(void)state;
	key = dnssign_key("zone.test", 13, 257);
	other = dnssign_key("zone.test", 13, 257);
	return 0;
}

static int
group_teardown(void **state)
{
	(void)state;
	dnssign_key_free(key);
	dnssign_key_free(other);
	return 0;
}

static void
good(void **state)
{
	(void)state;
	two_mx("zone.test");
	dnssign(&pkt, 0, "zone.test", DNS_TYPE_MX, key, NULL);
	verify("zone.test", DNS_TYPE_MX, SIGN_T0);
	is_good();
	assert_int_equal(got.ttl, 300);
	assert_false(got.wildcard);
	assert_int_equal(budget.checks, 31);
	/* A record twice is one record (RFC 4034 6.3). */
	dnspkt_add(&pkt, 0, "zone.test. 300 IN MX 10 MX.zone.test.");
	verify("zone.test", DNS_TYPE_MX, SIGN_T0);
	is_good();
	/* One record too many is forged. */
	dnspkt_add(&pkt, 0, "zone.test. 300 IN MX 5 mx.evil.test.");
	verify("zone.test", DNS_TYPE_MX, SIGN_T0);
	is_bad(DNS_BAD, "does not verify");
}

static void
algorithms(void **state)
{
	static const uint8_t numbers[] = { 8, 10, 13, 14, 15, 16 };
	struct dnssign_key *saved = key;

	(void)state;
	for (size_t i = 0; i < sizeof(numbers); i++) {
		struct dnssign_odd spoiled = { .spoil = true };

		key = dnssign_key("zone.test", numbers[i], 256);
		two_mx("zone.test");
		dnssign(&pkt, 0, "zone.test", DNS_TYPE_MX, key, NULL);
		verify("zone.test", DNS_TYPE_MX, SIGN_T0);
		is_good();
		two_mx("zone.test");
		dnssign(&pkt, 0, "zone.test", DNS_TYPE_MX, key, &spoiled);
		verify("zone.test", DNS_TYPE_MX, SIGN_T0);
		is_bad(DNS_BAD, "does not verify");
		dnssign_key_free(key);
	}
	/* SHA-1 counts as unknown, however right the signature. */
	key = dnssign_key("zone.test", 5, 256);
	two_mx("zone.test");
	dnssign(&pkt, 0, "zone.test", DNS_TYPE_MX, key, NULL);
	verify("zone.test", DNS_TYPE_MX, SIGN_T0);
	is_bad(DNS_BAD, "unknown algorithm");
	dnssign_key_free(key);
	key = saved;
	for (unsigned a = 0; a < 256; a++)
		assert_int_equal(dns_algorithm_known((uint8_t)a),
			a == 8 || a == 10 || (a >= 13 && a <= 16));
}

/* Each is a valid signature, but for one thing. */
static void
rules(void **state)
{
	static const struct {
		struct dnssign_odd odd;
		const char *why;
	} cases[] = {
		{ { .signer = "test" }, "another zone" },
		{ { .signer = "sub.zone.test" }, "another zone" },
		{ { .signer = "evil.test" }, "another zone" },
		{ { .labels = 3 + 1 }, "label count" },
		{ { .labels = 0 + 1 }, "label count" },
		{ { .inception = SIGN_T0 + 301 }, "not valid yet" },
		{ { .expiration = SIGN_T0 - 301 }, "expired" },
		{ { .inception = SIGN_T0 + 200, .expiration = SIGN_T0 + 100 },
			"expired" },
		{ { .algorithm = 15 }, "no key" },
		{ { .algorithm = 99 }, "unknown algorithm" },
		{ { .tag = 1 }, "no key" },
		{ { .spoil = true }, "does not verify" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		two_mx("zone.test");
		dnssign(&pkt, 0, "zone.test", DNS_TYPE_MX, key,
			&cases[i].odd);
		verify("zone.test", DNS_TYPE_MX, SIGN_T0);
		is_bad(DNS_BAD, cases[i].why);
	}
	two_mx("zone.test");
	verify("zone.test", DNS_TYPE_MX, SIGN_T0);
	is_bad(DNS_BAD, "not signed");
}

/* A key that must not be used, although it has signed. */
static void
key_flags(void **state)
{
	static const struct {
		uint16_t flags;
		uint8_t protocol;
	} cases[] = { { 0, 3 }, { 1, 3 }, { 257 | 128, 3 }, { 257, 2 },
		{ 257, 0 } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		dnssign_key_mark(key, cases[i].flags, cases[i].protocol);
		two_mx("zone.test");
		dnssign(&pkt, 0, "zone.test", DNS_TYPE_MX, key, NULL);
		verify("zone.test", DNS_TYPE_MX, SIGN_T0);
		is_bad(DNS_BAD, "no key");
	}
	dnssign_key_mark(key, 257, 3);
}

static void
times(void **state)
{
	struct dnssign_odd odd = { .original_ttl = 200 };
	/* The clock of 32 bits wraps in 2106 (RFC 4034 3.1.5). */
	struct dnssign_odd wrap = { .inception = 0xfffffff0LL,
		.expiration = 0x100000010LL };

	(void)state;
	two_mx("zone.test");
	dnssign(&pkt, 0, "zone.test", DNS_TYPE_MX, key, &odd);
	verify("zone.test", DNS_TYPE_MX, SIGN_T0);
	is_good();
	assert_int_equal(got.ttl, 200);		/* original TTL */
	verify("zone.test", DNS_TYPE_MX, SIGN_T0 + 86390);
	is_good();
	assert_int_equal(got.ttl, 10);		/* expiry */
	verify("zone.test", DNS_TYPE_MX, SIGN_T0 + 86500);
	is_good();				/* within the skew */
	assert_int_equal(got.ttl, 0);
	verify("zone.test", DNS_TYPE_MX, SIGN_T0 + 86400 + 301);
	is_bad(DNS_BAD, "expired");
	verify("zone.test", DNS_TYPE_MX, SIGN_T0 - 86400 - 301);
	is_bad(DNS_BAD, "not valid yet");
	two_mx("zone.test");
	dnssign(&pkt, 0, "zone.test", DNS_TYPE_MX, key, &wrap);
	verify("zone.test", DNS_TYPE_MX, 0xffffffffLL);
	is_good();
	verify("zone.test", DNS_TYPE_MX, 0x100000001LL);
	is_good();
	verify("zone.test", DNS_TYPE_MX, 0x100000001LL + 1000);
	is_bad(DNS_BAD, "expired");
}

static void
wildcards(void **state)
{
	struct dnssign_odd odd = { .labels = 2 + 1 };

	(void)state;
	two_mx("a.b.zone.test");
	dnssign(&pkt, 0, "a.b.zone.test", DNS_TYPE_MX, key, &odd);
	verify("a.b.zone.test", DNS_TYPE_MX, SIGN_T0);
	is_good();
	assert_true(got.wildcard);
	assert_int_equal(got.labels, 2);
	/* The wildcard itself, asked for by name, is no expansion. */
	two_mx("*.zone.test");
	dnssign(&pkt, 0, "*.zone.test", DNS_TYPE_MX, key, NULL);
	verify("*.zone.test", DNS_TYPE_MX, SIGN_T0);
	is_good();
	assert_false(got.wildcard);
}

/* Keys with the same tag: words that change places keep the sum. */
static void
same_tag_keys(struct dnssign_key *copies, struct dnssign_key **list,
	size_t count)
{
	for (size_t i = 0; i < count; i++) {
		copies[i] = *other;
		for (size_t k = 0; k < i + 1; k++) {
			uint8_t *a = copies[i].rdata + 4 + 2 * k;
			uint8_t word[2] = { a[0], a[1] };

			memcpy(a, a + 2, 2);
			memcpy(a + 2, word, 2);
		}
		list[i] = &copies[i];
	}
}

/* CVE-2023-50387. */
static void
colliding_tags(void **state)
{
	static struct dnssign_key copies[12];
	struct dnssign_key *list[12];

	(void)state;
	same_tag_keys(copies, list, 12);
	two_mx("zone.test");
	dnssign(&pkt, 0, "zone.test", DNS_TYPE_MX, other, NULL);
	budget = (struct dns_budget){ 32, 32 };
	verify_with(list, 12, "zone.test", DNS_TYPE_MX, SIGN_T0);
	is_bad(DNS_EXCEEDED, "more signature checks");
	assert_int_equal(budget.checks, 32 - DNS_TAG_KEYS_MAX);
	/* One bad key with the tag of the right one does no harm. */
	list[1] = other;
	budget = (struct dns_budget){ 32, 32 };
	verify_with(list, 2, "zone.test", DNS_TYPE_MX, SIGN_T0);
	is_good();
}

static void
many_signatures(void **state)
{
	struct dnssign_odd odd = { .spoil = true };

	(void)state;
	two_mx("zone.test");
	for (int i = 0; i < 20; i++) {
		odd.expiration = SIGN_T0 + 1000 + i;
		dnssign(&pkt, 0, "zone.test", DNS_TYPE_MX, key, &odd);
	}
	verify("zone.test", DNS_TYPE_MX, SIGN_T0);
	is_bad(DNS_EXCEEDED, "more signature checks");
	assert_int_equal(budget.checks, 32 - DNS_SET_CHECKS_MAX);
	/* The budget of the whole lookup. */
	budget = (struct dns_budget){ 3, 32 };
	verify_with(&key, 1, "zone.test", DNS_TYPE_MX, SIGN_T0);
	is_bad(DNS_EXCEEDED, "more signature checks");
	assert_int_equal(budget.checks, 0);
}

/* True when both say the same, but for letter case and TTLs. */
static bool
same_data(const struct dns_set *a, const struct dns_set *b)
{
	size_t found = 0;

	if (a->count != b->count || !dns_name_eq(a->owner, b->owner))
		return false;
	for (size_t i = 0; i < a->count; i++)
		for (size_t k = 0; k < b->count; k++)
			found += a->rrs[i]->rdata_len == b->rrs[k]->rdata_len &&
				memcmp(a->rrs[i]->rdata, b->rrs[k]->rdata,
				a->rrs[i]->rdata_len) == 0 ? 1U : 0U;
	return found == a->count;
}

/* Whichever bit of the message is turned: what is still proven is what was
 * signed. */
static void
every_bit(void **state)
{
	struct dns_set *was = calloc(1, sizeof(*was));
	struct dns_set *is = calloc(1, sizeof(*is));
	struct dns_keys *ks = keys_of(&key, 1);
	struct dns_when when = { SIGN_T0, 300 };
	struct dns_msg *right, *m;
	unsigned proven = 0;
	const char *why;
	dns_name owner;

	(void)state;
	two_mx("zone.test");
	dnssign(&pkt, 0, "zone.test", DNS_TYPE_MX, key, NULL);
	right = parse(&pkt);
	set_of(right, "zone.test", DNS_TYPE_MX, was);
	assert_int_equal(dns_name_parse("zone.test", owner), ST_OK);
	for (size_t bit = 0; bit < pkt.len * 8; bit++) {
		pkt.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
		budget = (struct dns_budget){ 32, 32 };
		got.verdict = DNS_BAD;
		if (dns_parse(pkt.bytes, pkt.len, &m, &why) == ST_OK &&
		    dns_set_find(m, DNS_ANSWER, owner, DNS_TYPE_MX, is))
			dns_verify(is, ks, &when, &budget, &got);
		if (got.verdict == DNS_GOOD) {
			proven++;
			assert_true(same_data(was, is));
			assert_true(got.ttl <= 300);
		}
		dns_msg_free(&m);
		pkt.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	assert_true(proven > 0 && proven < pkt.len * 8 / 2);
	dns_msg_free(&right);
	dns_keys_free(&ks);
	free(was);
	free(is);
}

/* ---- from zone to zone ----------------------------------------------- */

static struct dns_ds_list ds_list;

static struct dns_check
check_now(void)
{
	budget = (struct dns_budget){ 32, 32 };
	return (struct dns_check){ { SIGN_T0, 300 }, &budget, 50 };
}

static enum dns_child
child(const char *name, const char **why)
{
	struct dns_check check = check_now();
	struct dns_keys *ks = keys_of(&key, 1);
	struct dns_msg *m = parse(&pkt);
	dns_name wire;
	uint32_t ttl;
	enum dns_child c;

	assert_int_equal(dns_name_parse(name, wire), ST_OK);
	c = dns_trust_child(m, wire, ks, &check, &ds_list, &ttl, why);
	dns_msg_free(&m);
	dns_keys_free(&ks);
	return c;
}

static void
ds_start(void)
{
	dnspkt_start(&pkt, 1, "sub.zone.test", DNS_TYPE_DS, 0, PKT_DO);
}

static void
ds_records(void **state)
{
	struct dnssign_key *sub = dnssign_key("sub.zone.test", 13, 257);
	struct dnssign_odd by_child = { .signer = "sub.zone.test" };
	const char *why;

	(void)state;
	ds_start();
	dnssign_add_ds(&pkt, 0, sub, 2);
	dnssign(&pkt, 0, "sub.zone.test", DNS_TYPE_DS, key, NULL);
	assert_int_equal(child("sub.zone.test", &why), DNS_CHILD_SIGNED);
	assert_int_equal(ds_list.count, 1);
	/* Unsigned, or signed by the child itself: bogus. */
	ds_start();
	dnssign_add_ds(&pkt, 0, sub, 2);
	assert_int_equal(child("sub.zone.test", &why), DNS_CHILD_BOGUS);
	dnssign(&pkt, 0, "sub.zone.test", DNS_TYPE_DS, key, &by_child);
	assert_int_equal(child("sub.zone.test", &why), DNS_CHILD_BOGUS);
	/* No DS record and no proof: stripped. */
	ds_start();
	assert_int_equal(child("sub.zone.test", &why), DNS_CHILD_BOGUS);
	/* SHA-1 beside SHA-256 does not count (RFC 4509 3). */
	ds_start();
	dnssign_add_ds(&pkt, 0, sub, 1);
	dnssign_add_ds(&pkt, 0, sub, 2);
	dnssign(&pkt, 0, "sub.zone.test", DNS_TYPE_DS, key, NULL);
	assert_int_equal(child("sub.zone.test", &why), DNS_CHILD_SIGNED);
	assert_int_equal(ds_list.count, 1);
	assert_int_equal(ds_list.ds[0].bytes[3], 2);
	ds_start();
	dnssign_add_ds(&pkt, 0, sub, 1);
	dnssign(&pkt, 0, "sub.zone.test", DNS_TYPE_DS, key, NULL);
	assert_int_equal(child("sub.zone.test", &why), DNS_CHILD_SIGNED);
	dnssign_key_free(sub);
}

/* What we do not know makes a zone insecure, not bogus (RFC 4035 5.2). */
static void
ds_unknown(void **state)
{
	static const uint8_t odd[][2] = { { 99, 2 }, { 13, 99 }, { 5, 2 },
		{ 7, 2 }, { 3, 2 }, { 12, 2 }, { 1, 2 } };
	uint8_t ds[36] = { 0 };
	const char *why;

	(void)state;
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		ds[2] = odd[i][0];
		ds[3] = odd[i][1];
		ds_start();
		dnspkt_raw(&pkt, 0, "sub.zone.test", DNS_TYPE_DS, 300, ds,
			sizeof(ds));
		/* not before its signature is right */
		assert_int_equal(child("sub.zone.test", &why),
			DNS_CHILD_BOGUS);
		dnssign(&pkt, 0, "sub.zone.test", DNS_TYPE_DS, key, NULL);
		assert_int_equal(child("sub.zone.test", &why),
			DNS_CHILD_INSECURE);
		assert_non_null(strstr(why, "unknown"));
	}
}

static void
ds_alias(void **state)
{
	struct dnssign_odd wildcard = { .labels = 2 + 1 };
	const char *why;

	(void)state;
	ds_start();
	dnspkt_add(&pkt, 0, "sub.zone.test. 300 IN CNAME x.zone.test.");
	assert_int_equal(child("sub.zone.test", &why), DNS_CHILD_BOGUS);
	dnssign(&pkt, 0, "sub.zone.test", DNS_TYPE_CNAME, key, NULL);
	assert_int_equal(child("sub.zone.test", &why), DNS_CHILD_SAME_ZONE);
	/* Made from a wildcard, it needs the proof that the name is not. */
	ds_start();
	dnspkt_add(&pkt, 0, "sub.zone.test. 300 IN CNAME x.zone.test.");
	dnssign(&pkt, 0, "sub.zone.test", DNS_TYPE_CNAME, key, &wildcard);
	assert_int_equal(child("sub.zone.test", &why), DNS_CHILD_BOGUS);
	dnspkt_add(&pkt, 1, "a.zone.test. 300 IN NSEC z.zone.test. A RRSIG "
		"NSEC");
	dnssign(&pkt, 1, "a.zone.test", DNS_TYPE_NSEC, key, NULL);
	assert_int_equal(child("sub.zone.test", &why), DNS_CHILD_SAME_ZONE);
}

/* NSEC records that may or may not stand for "no DS record here". */
static void
ds_denied(void **state)
{
	static const struct {
		const char *nsec;
		enum dns_child child;
	} cases[] = {
		{ "sub.zone.test. NSEC z.zone.test. NS RRSIG NSEC",
			DNS_CHILD_INSECURE },
		{ "sub.zone.test. NSEC z.zone.test. A RRSIG NSEC",
			DNS_CHILD_SAME_ZONE },
		{ "sub.zone.test. NSEC z.zone.test. CNAME RRSIG NSEC",
			DNS_CHILD_SAME_ZONE },
		{ "a.zone.test. NSEC z.zone.test. A RRSIG NSEC",
			DNS_CHILD_SAME_ZONE },
		{ "a.zone.test. NSEC x.sub.zone.test. A RRSIG NSEC",
			DNS_CHILD_SAME_ZONE },
		{ "sub.zone.test. NSEC z.zone.test. NS DS RRSIG NSEC",
			DNS_CHILD_BOGUS },
		{ "sub.zone.test. NSEC z.zone.test. NS SOA RRSIG NSEC",
			DNS_CHILD_BOGUS },	/* the child's own */
		{ "a.zone.test. NSEC b.zone.test. A RRSIG NSEC",
			DNS_CHILD_BOGUS },
		{ "t.zone.test. NSEC z.zone.test. A RRSIG NSEC",
			DNS_CHILD_BOGUS },
	};
	const char *why;
	char owner[64];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ds_start();
		dnspkt_add(&pkt, 1, cases[i].nsec);
		/* Unsigned it proves nothing. */
		assert_int_equal(child("sub.zone.test", &why),
			DNS_CHILD_BOGUS);
		sscanf(cases[i].nsec, "%63s", owner);
		dnssign(&pkt, 1, owner, DNS_TYPE_NSEC, key, NULL);
		if (child("sub.zone.test", &why) != cases[i].child)
			fail_msg("%s: %s", cases[i].nsec, why);
	}
}

/* A denial that a wildcard made is none (RFC 4035 5.3.4). */
static void
ds_denied_by_wildcard(void **state)
{
	struct dnssign_odd wildcard = { .labels = 2 + 1 };
	const char *why;

	(void)state;
	ds_start();
	dnspkt_add(&pkt, 1, "sub.zone.test. NSEC z.zone.test. NS RRSIG NSEC");
	dnssign(&pkt, 1, "sub.zone.test", DNS_TYPE_NSEC, key, &wildcard);
	assert_int_equal(child("sub.zone.test", &why), DNS_CHILD_BOGUS);
	assert_non_null(strstr(why, "wildcard"));
}

static void
denial_bound(void **state)
{
	const char *why;
	char line[100], owner[32];

	(void)state;
	ds_start();
	for (int i = 0; i <= DNS_DENIAL_MAX; i++) {
		snprintf(owner, sizeof(owner), "a%d.zone.test.", i);
		snprintf(line, sizeof(line), "%s NSEC b%d.zone.test. A", owner,
			i);
		dnspkt_add(&pkt, 1, line);
		dnssign(&pkt, 1, owner, DNS_TYPE_NSEC, key, NULL);
	}
	assert_int_equal(child("sub.zone.test", &why), DNS_CHILD_EXCEEDED);
}

static struct dns_keys *
zone_keys(const struct dns_ds_list *ds, bool *exceeded, const char **why)
{
	struct dns_check check = check_now();
	struct dns_msg *m = parse(&pkt);
	dns_name wire;
	uint32_t ttl;
	struct dns_keys *ks;

	assert_int_equal(dns_name_parse("zone.test", wire), ST_OK);
	ks = dns_trust_keys(m, wire, ds, &check, &ttl, exceeded, why);
	dns_msg_free(&m);
	return ks;
}

static void
ds_only(const struct dnssign_key *k)
{
	uint8_t ds[64];
	size_t len = dnssign_ds(k, 2, ds);

	ds_list.count = 0;
	dns_ds_list_add(&ds_list, ds, len);
}

static void
dnskeys(void **state)
{
	struct dns_keys *ks;
	const char *why;
	bool exceeded;

	(void)state;
	ds_only(key);
	dnspkt_start(&pkt, 1, "zone.test", DNS_TYPE_DNSKEY, 0, PKT_DO);
	assert_null(zone_keys(&ds_list, &exceeded, &why));
	assert_non_null(strstr(why, "no DNSKEY"));
	dnssign_add_key(&pkt, 0, key);
	dnssign_add_key(&pkt, 0, other);
	assert_null(zone_keys(&ds_list, &exceeded, &why));
	/* Signed by a key that the DS record does not name. */
	dnssign(&pkt, 0, "zone.test", DNS_TYPE_DNSKEY, other, NULL);
	assert_null(zone_keys(&ds_list, &exceeded, &why));
	dnssign(&pkt, 0, "zone.test", DNS_TYPE_DNSKEY, key, NULL);
	ks = zone_keys(&ds_list, &exceeded, &why);
	assert_non_null(ks);
	assert_int_equal(ks->count, 2);
	dns_keys_free(&ks);
	/* The DS record of a key that is not there. */
	ds_list.ds[0].bytes[10] ^= 1;
	assert_null(zone_keys(&ds_list, &exceeded, &why));
	assert_false(exceeded);
	assert_non_null(strstr(why, "no key fits"));
}

/* A key that is revoked cannot be what a DS record trusts (RFC 5011 2.1). */
static void
revoked(void **state)
{
	const char *why;
	bool exceeded;

	(void)state;
	dnssign_key_mark(key, 257 | 128, 3);
	ds_only(key);
	dnspkt_start(&pkt, 1, "zone.test", DNS_TYPE_DNSKEY, 0, PKT_DO);
	dnssign_add_key(&pkt, 0, key);
	dnssign(&pkt, 0, "zone.test", DNS_TYPE_DNSKEY, key, NULL);
	assert_null(zone_keys(&ds_list, &exceeded, &why));
	dnssign_key_mark(key, 257, 3);
}

static void
ds_misses(void **state)
{
	static struct dnssign_key copies[12];
	struct dnssign_key *list[12];
	const char *why;
	bool exceeded;

	(void)state;
	same_tag_keys(copies, list, 12);
	ds_only(other);
	dnspkt_start(&pkt, 1, "zone.test", DNS_TYPE_DNSKEY, 0, PKT_DO);
	for (int i = 0; i < 12; i++)
		dnssign_add_key(&pkt, 0, list[i]);
	assert_null(zone_keys(&ds_list, &exceeded, &why));
	assert_true(exceeded);
	assert_non_null(strstr(why, "too many keys fit"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good),
		cmocka_unit_test(algorithms),
		cmocka_unit_test(rules),
		cmocka_unit_test(key_flags),
		cmocka_unit_test(times),
		cmocka_unit_test(wildcards),
		cmocka_unit_test(colliding_tags),
		cmocka_unit_test(many_signatures),
		cmocka_unit_test(every_bit),
		cmocka_unit_test(ds_records),
		cmocka_unit_test(ds_unknown),
		cmocka_unit_test(ds_alias),
		cmocka_unit_test(ds_denied),
		cmocka_unit_test(ds_denied_by_wildcard),
		cmocka_unit_test(denial_bound),
		cmocka_unit_test(dnskeys),
		cmocka_unit_test(revoked),
		cmocka_unit_test(ds_misses),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
