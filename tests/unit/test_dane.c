/*
 * TLSA records by their form, answers by what they mean, hosts by where TLSA
 * is looked for: each a table of cases.
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
#include "policy/dane.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define SET_MAX 4

/* ---- data of records ---- */

struct blob {
	size_t len;
	const char *bytes;
};
#define BLOB(text) { sizeof(text) - 1, text }
#define B16 "0123456789abcdef"

/* The least that has the outline of a certificate, and of a key. */
#define CERT "\x30\x07\x30\x00\x30\x00\x03\x01\x00"
#define KEY "\x30\x05\x30\x00\x03\x01\x00"

enum {
	NOTHING = 0, LEN1, LEN20, LEN31, LEN32, LEN33, LEN48, LEN63, LEN64,
	LEN65, CERT_OK, CERT_LONG, CERT_CUT, CERT_REST, CERT_INNER_REST,
	CERT_OVER, CERT_NO_BITS, CERT_SET, CERT_BER_LONG, CERT_BER_ZERO,
	CERT_INDEFINITE, CERT_LEN_CUT, CERT_LEN_HUGE, KEY_OK, KEY_REAL,
	KEY_CUT, KEY_REST, KEY_NO_ALGORITHM, SEQUENCE_EMPTY, ONE_TAG, TEXT,
	BLOBS
};

static char cert_long[4 + 4 + 0x200 + 2 + 3];

static const struct blob blobs[BLOBS] = {
	[NOTHING] = BLOB(""),
	[LEN1] = BLOB("x"),
	[LEN20] = BLOB(B16 "0123"),
	[LEN31] = BLOB(B16 "0123456789abcde"),
	[LEN32] = BLOB(B16 B16),
	[LEN33] = BLOB(B16 B16 "0"),
	[LEN48] = BLOB(B16 B16 B16),
	[LEN63] = BLOB(B16 B16 B16 "0123456789abcde"),
	[LEN64] = BLOB(B16 B16 B16 B16),
	[LEN65] = BLOB(B16 B16 B16 B16 "0"),
	[CERT_OK] = BLOB(CERT),
	[CERT_LONG] = { sizeof(cert_long), cert_long },
	[CERT_CUT] = BLOB("\x30\x07\x30\x00\x30\x00\x03\x01"),
	[CERT_REST] = BLOB(CERT "\x00"),
	[CERT_INNER_REST] = BLOB("\x30\x09\x30\x00\x30\x00\x03\x01\x00\x05"
		"\x00"),
	[CERT_OVER] = BLOB("\x30\x07\x30\x00\x30\x00\x03\x7f\x00"),
	[CERT_NO_BITS] = BLOB("\x30\x04\x30\x00\x30\x00"),
	[CERT_SET] = BLOB("\x31\x07\x30\x00\x30\x00\x03\x01\x00"),
	[CERT_BER_LONG] = BLOB("\x30\x81\x07\x30\x00\x30\x00\x03\x01\x00"),
	[CERT_BER_ZERO] = BLOB("\x30\x82\x00\x07\x30\x00\x30\x00\x03\x01"
		"\x00"),
	[CERT_INDEFINITE] = BLOB("\x30\x80\x30\x00\x30\x00\x03\x01\x00\x00"
		"\x00"),
	[CERT_LEN_CUT] = BLOB("\x30\x82\x07"),
	[CERT_LEN_HUGE] = BLOB("\x30\x84\x00\x00\x00\x07\x30\x00\x30\x00\x03"
		"\x01\x00"),
	[KEY_OK] = BLOB(KEY),
	/* An Ed25519 key (RFC 8410). */
	[KEY_REAL] = BLOB("\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"
		"\x53\x51\xe7\xc6\xc4\x3f\xf1\x48\x30\x03\xc1\x60\xe7\xee"
		"\x15\xf9\x45\xb1\xdd\x0c\x00\x0b\xcc\xfc\xfc\x85\x8b\x2a"
		"\x4f\x3d\xb9\xcc"),
	[KEY_CUT] = BLOB("\x30\x05\x30\x00\x03\x01"),
	[KEY_REST] = BLOB(KEY KEY),
	[KEY_NO_ALGORITHM] = BLOB("\x30\x03\x03\x01\x00"),
	[SEQUENCE_EMPTY] = BLOB("\x30\x00"),
	[ONE_TAG] = BLOB("\x30"),
	[TEXT] = BLOB("-----BEGIN CERTIFICATE-----"),
};

/* Lengths of two octets: a certificate with a first part of 512. */
static void
fill_cert_long(void)
{
	static const char head[] = "\x30\x82\x02\x09\x30\x82\x02\x00";
	static const char tail[] = "\x30\x00\x03\x01\x00";

	memset(cert_long, 'x', sizeof(cert_long));
	memcpy(cert_long, head, sizeof(head) - 1);
	memcpy(cert_long + 8 + 0x200, tail, sizeof(tail) - 1);
}

/* ---- one record ---- */

static const struct {
	uint8_t usage, selector, matching;
	int blob;
	enum dane_fault want;
} records[] = {
	/* Every usage, selector and matching type that may be. */
	{ 0, 0, 1, LEN32, DANE_USAGE_PKIX },
	{ 0, 1, 2, LEN64, DANE_USAGE_PKIX },
	{ 1, 0, 0, CERT_OK, DANE_USAGE_PKIX },
	{ 1, 1, 1, LEN32, DANE_USAGE_PKIX },
	{ 0, 9, 9, NOTHING, DANE_USAGE_PKIX },
	{ 2, 0, 0, CERT_OK, DANE_USABLE },
	{ 2, 0, 1, LEN32, DANE_USABLE },
	{ 2, 0, 2, LEN64, DANE_USABLE },
	{ 2, 1, 0, KEY_OK, DANE_USABLE },
	{ 2, 1, 1, LEN32, DANE_USABLE },
	{ 2, 1, 2, LEN64, DANE_USABLE },
	{ 3, 0, 0, CERT_OK, DANE_USABLE },
	{ 3, 0, 1, LEN32, DANE_USABLE },
	{ 3, 0, 2, LEN64, DANE_USABLE },
	{ 3, 1, 0, KEY_OK, DANE_USABLE },
	{ 3, 1, 1, LEN32, DANE_USABLE },
	{ 3, 1, 2, LEN64, DANE_USABLE },
	/* Unknown ones (RFC 6698 2.1: unusable). */
	{ 4, 0, 1, LEN32, DANE_USAGE_UNKNOWN },
	{ 254, 0, 1, LEN32, DANE_USAGE_UNKNOWN },
	{ 255, 1, 1, LEN32, DANE_USAGE_UNKNOWN },
	{ 3, 2, 1, LEN32, DANE_SELECTOR_UNKNOWN },
	{ 2, 255, 1, LEN32, DANE_SELECTOR_UNKNOWN },
	{ 3, 1, 3, LEN32, DANE_MATCHING_UNKNOWN },
	{ 3, 1, 3, LEN48, DANE_MATCHING_UNKNOWN },
	{ 2, 0, 255, LEN32, DANE_MATCHING_UNKNOWN },
	/* Digests of a wrong length. */
	{ 3, 1, 1, NOTHING, DANE_LENGTH },
	{ 3, 1, 1, LEN1, DANE_LENGTH },
	{ 3, 1, 1, LEN20, DANE_LENGTH },
	{ 3, 1, 1, LEN31, DANE_LENGTH },
	{ 3, 1, 1, LEN33, DANE_LENGTH },
	{ 3, 1, 1, LEN64, DANE_LENGTH },
	{ 2, 0, 1, LEN48, DANE_LENGTH },
	{ 3, 1, 2, NOTHING, DANE_LENGTH },
	{ 3, 1, 2, LEN32, DANE_LENGTH },
	{ 3, 1, 2, LEN63, DANE_LENGTH },
	{ 3, 1, 2, LEN65, DANE_LENGTH },
	{ 2, 0, 2, LEN20, DANE_LENGTH },
	{ 3, 0, 0, NOTHING, DANE_LENGTH },
	{ 2, 1, 0, NOTHING, DANE_LENGTH },
	/* Full certificates and keys, and what is none. */
	{ 2, 0, 0, CERT_LONG, DANE_USABLE },
	{ 3, 1, 0, KEY_REAL, DANE_USABLE },
	{ 3, 0, 0, CERT_CUT, DANE_DATA },
	{ 3, 0, 0, CERT_REST, DANE_DATA },
	{ 3, 0, 0, CERT_INNER_REST, DANE_DATA },
	{ 2, 0, 0, CERT_OVER, DANE_DATA },
	{ 2, 0, 0, CERT_NO_BITS, DANE_DATA },
	{ 3, 0, 0, CERT_SET, DANE_DATA },
	{ 3, 0, 0, CERT_BER_LONG, DANE_DATA },
	{ 3, 0, 0, CERT_BER_ZERO, DANE_DATA },
	{ 3, 0, 0, CERT_INDEFINITE, DANE_DATA },
	{ 3, 0, 0, CERT_LEN_CUT, DANE_DATA },
	{ 3, 0, 0, CERT_LEN_HUGE, DANE_DATA },
	{ 3, 0, 0, KEY_OK, DANE_DATA },
	{ 2, 0, 0, KEY_REAL, DANE_DATA },
	{ 3, 1, 0, CERT_OK, DANE_DATA },
	{ 3, 1, 0, CERT_LONG, DANE_DATA },
	{ 3, 1, 0, KEY_CUT, DANE_DATA },
	{ 3, 1, 0, KEY_REST, DANE_DATA },
	{ 3, 1, 0, KEY_NO_ALGORITHM, DANE_DATA },
	{ 3, 1, 0, SEQUENCE_EMPTY, DANE_DATA },
	{ 3, 0, 0, SEQUENCE_EMPTY, DANE_DATA },
	{ 3, 0, 0, ONE_TAG, DANE_DATA },
	{ 3, 0, 0, TEXT, DANE_DATA },
	{ 3, 1, 0, LEN32, DANE_DATA },
	{ 2, 0, 0, LEN64, DANE_DATA },
};

static struct dns_tlsa
make_record(uint8_t usage, uint8_t selector, uint8_t matching, int blob)
{
	return (struct dns_tlsa){ usage, selector, matching,
		(const uint8_t *)blobs[blob].bytes, blobs[blob].len };
}

static void
test_records(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(records); i++) {
		struct dns_tlsa t = make_record(records[i].usage,
			records[i].selector, records[i].matching,
			records[i].blob);
		enum dane_fault got = dane_judge(&t);

		if (got != records[i].want)
			fail_msg("row %zu (%u %u %u): %s instead of %s", i,
				t.usage, t.selector, t.matching,
				dane_fault_text(got),
				dane_fault_text(records[i].want));
	}
}

/* A real key cut at every byte, or with one changed, is never read beyond
 * its end; only whole ones are usable. */
static void
test_cut(void **state)
{
	const struct blob *whole = &blobs[KEY_REAL];

	(void)state;
	for (size_t n = 0; n <= whole->len; n++) {
		uint8_t *copy = xmalloc(n);	/* for the sanitizer */
		struct dns_tlsa t = { 3, 1, 0, copy, n };

		if (n > 0)
			memcpy(copy, whole->bytes, n);
		assert_int_equal(dane_judge(&t) == DANE_USABLE,
			n == whole->len);
		for (size_t at = 0; at < n; at++) {
			copy[at] ^= 0xff;
			(void)dane_judge(&t);
			copy[at] ^= 0xff;
		}
		free(copy);
	}
}

/* ---- sets ---- */

struct rec {
	uint8_t usage, selector, matching;
	int blob;
};

static const struct {
	const char *what;
	struct rec set[SET_MAX];
	size_t count, usable;
	enum dane_finding want;
} sets[] = {
	{ "one good", { { 3, 1, 1, LEN32 } }, 1, 1, DANE_FOUND },
	{ "two good", { { 3, 1, 1, LEN32 }, { 2, 1, 1, LEN32 } }, 2, 2,
	    DANE_FOUND },
	{ "EE and TA, all forms", { { 3, 1, 2, LEN64 }, { 2, 0, 1, LEN32 },
	    { 3, 0, 0, CERT_OK }, { 2, 1, 0, KEY_REAL } }, 4, 4, DANE_FOUND },
	{ "good and PKIX", { { 1, 1, 1, LEN32 }, { 3, 1, 1, LEN32 } }, 2, 1,
	    DANE_FOUND },
	{ "good and PKIX-TA", { { 0, 0, 1, LEN32 }, { 2, 0, 1, LEN32 } }, 2,
	    1, DANE_FOUND },
	{ "good among bad", { { 3, 1, 1, LEN31 }, { 3, 9, 1, LEN32 },
	    { 3, 1, 1, LEN32 }, { 3, 1, 9, LEN32 } }, 4, 1, DANE_FOUND },
	{ "good and private usage", { { 255, 1, 1, LEN32 },
	    { 3, 1, 1, LEN32 } }, 2, 1, DANE_FOUND },
	{ "good digest, bad certificate", { { 3, 0, 0, TEXT },
	    { 3, 0, 2, LEN64 } }, 2, 1, DANE_FOUND },
	{ "PKIX-EE alone", { { 1, 1, 1, LEN32 } }, 1, 0, DANE_UNUSABLE },
	{ "PKIX-TA alone", { { 0, 0, 1, LEN32 } }, 1, 0, DANE_UNUSABLE },
	{ "PKIX both", { { 0, 0, 1, LEN32 }, { 1, 1, 1, LEN32 } }, 2, 0,
	    DANE_UNUSABLE },
	{ "empty data", { { 3, 1, 1, NOTHING } }, 1, 0, DANE_UNUSABLE },
	{ "wrong length", { { 3, 1, 1, LEN33 }, { 3, 1, 2, LEN63 } }, 2, 0,
	    DANE_UNUSABLE },
	{ "SHA-256 said to be SHA-512", { { 3, 1, 2, LEN32 } }, 1, 0,
	    DANE_UNUSABLE },
	{ "SHA-1 length", { { 2, 0, 1, LEN20 } }, 1, 0, DANE_UNUSABLE },
	{ "certificate for a key", { { 3, 1, 0, CERT_OK } }, 1, 0,
	    DANE_UNUSABLE },
	{ "not DER", { { 3, 0, 0, TEXT }, { 3, 1, 0, LEN32 } }, 2, 0,
	    DANE_UNUSABLE },
	{ "all unknown", { { 4, 1, 1, LEN32 }, { 3, 2, 1, LEN32 },
	    { 3, 1, 3, LEN48 } }, 3, 0, DANE_UNUSABLE },
};

static void
test_sets(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(sets); i++) {
		struct dns_record list[SET_MAX];
		struct dns_answer answer = { .result = DNS_FOUND, .security =
			DNS_SEC_SECURE, .records = list, .count =
			sets[i].count };
		struct demand *d = demand_new(DEMAND_DANE, WHY_DANE);

		for (size_t n = 0; n < sets[i].count; n++)
			list[n].u.tlsa = make_record(sets[i].set[n].usage,
				sets[i].set[n].selector,
				sets[i].set[n].matching, sets[i].set[n].blob);
		if (dane_read(&answer, d) != sets[i].want ||
		    d->tlsa_count != sets[i].usable)
			fail_msg("%s: %zu usable", sets[i].what,
				d->tlsa_count);
		assert_int_equal(dane_read(&answer, NULL), sets[i].want);
		demand_free(&d);
	}
}

/* What is added is a copy of the usable ones, in order. */
static void
test_copied(void **state)
{
	struct dns_record list[3] = {
		{ .u.tlsa = make_record(3, 1, 1, LEN32) },
		{ .u.tlsa = make_record(1, 1, 1, LEN32) },
		{ .u.tlsa = make_record(2, 0, 2, LEN64) },
	};
	struct dns_answer answer = { .result = DNS_FOUND,
		.security = DNS_SEC_SECURE, .records = list, .count = 3 };
	struct demand *d = demand_new(DEMAND_DANE, WHY_DANE);

	(void)state;
	assert_int_equal(dane_read(&answer, d), DANE_FOUND);
	assert_int_equal(d->tlsa_count, 2);
	assert_int_equal(d->tlsa[0].usage, 3);
	assert_int_equal(d->tlsa[0].selector, 1);
	assert_int_equal(d->tlsa[0].matching, 1);
	assert_int_equal(d->tlsa[0].len, 32);
	assert_memory_equal(d->tlsa[0].data, blobs[LEN32].bytes, 32);
	assert_ptr_not_equal(d->tlsa[0].data, blobs[LEN32].bytes);
	assert_int_equal(d->tlsa[1].usage, 2);
	assert_int_equal(d->tlsa[1].selector, 0);
	assert_int_equal(d->tlsa[1].matching, 2);
	assert_int_equal(d->tlsa[1].len, 64);
	demand_free(&d);
}

/* More than are looked at: still found, bounded. */
static void
test_many(void **state)
{
	struct dns_record list[DEMAND_TLSA_MAX + 5];
	struct dns_answer answer = { .result = DNS_FOUND,
		.security = DNS_SEC_SECURE, .records = list,
		.count = COUNT(list) };
	struct demand *d = demand_new(DEMAND_DANE, WHY_DANE);

	(void)state;
	for (size_t i = 0; i < COUNT(list); i++)
		list[i].u.tlsa = make_record(3, 1, 1, LEN32);
	assert_int_equal(dane_read(&answer, d), DANE_FOUND);
	assert_int_equal(d->tlsa_count, DEMAND_TLSA_MAX);
	demand_free(&d);
}

/* ---- answers ---- */

/* Rows: result; columns: unknown, secure, insecure, bogus, indeterminate. */
static void
test_answers(void **state)
{
	static const enum dane_finding want[][5] = {
		[DNS_FOUND] = { DANE_NONE, DANE_FOUND, DANE_NONE, DANE_FAILED,
			DANE_FAILED },
		[DNS_NODATA] = { DANE_NONE, DANE_NONE, DANE_NONE, DANE_FAILED,
			DANE_FAILED },
		[DNS_NXDOMAIN] = { DANE_NONE, DANE_NONE, DANE_NONE,
			DANE_FAILED, DANE_FAILED },
		[DNS_LATER] = { DANE_FAILED, DANE_FAILED, DANE_FAILED,
			DANE_FAILED, DANE_FAILED },
	};
	struct dns_record record = { .u.tlsa = make_record(3, 1, 1, LEN32) };

	(void)state;
	for (int result = DNS_FOUND; result <= DNS_LATER; result++)
		for (int sec = 0; sec < 5; sec++) {
			struct dns_answer answer = {
				.result = (enum dns_result)result,
				.security = (enum dns_security)sec,
				.records = &record,
				.count = result == DNS_FOUND,
			};
			struct demand *d = demand_new(DEMAND_DANE, WHY_DANE);

			if (dane_read(&answer, d) != want[result][sec])
				fail_msg("%s %s", dns_result_name(
					answer.result), dns_security_name(
					answer.security));
			/* Nothing unproved gets into a demand. */
			assert_int_equal(d->tlsa_count, want[result][sec] ==
				DANE_FOUND);
			demand_free(&d);
		}
}

/* ---- where TLSA is looked for ---- */

#define U DNS_SEC_UNKNOWN
#define S DNS_SEC_SECURE
#define I DNS_SEC_INSECURE
#define B DNS_SEC_BOGUS
#define X DNS_SEC_INDETERMINATE

static const struct {
	enum dns_security address, chain;
	bool alias;
	const char *bases;		/* h: host, c: canonical, in order */
	bool need_cname;
} hosts[] = {
	{ S, S, false, "h", false }, { S, I, false, "h", false },
	{ S, S, true, "ch", false }, { S, I, true, "h", false },
	{ S, U, true, "h", false },
	/* An unsigned host is not asked about (RFC 7672 2.2.2) ... */
	{ I, S, false, "", false }, { I, I, false, "", false },
	{ U, U, false, "", false }, { U, S, false, "", false },
	/* ... unless a signed alias leads there. */
	{ I, S, true, "h", false }, { I, I, true, "", true },
	{ I, U, true, "", true }, { I, B, true, "", true },
	{ U, U, true, "", false }, { U, S, true, "", false },
	{ B, S, true, "", false }, { B, B, false, "", false },
	{ X, S, true, "", false }, { X, X, false, "", false },
};

static void
test_bases(void **state)
{
	static const enum dns_security all[] = { U, S, I, B, X };

	(void)state;
	for (size_t i = 0; i < COUNT(hosts); i++)
		for (size_t mx = 0; mx < COUNT(all); mx++) {
			const struct dane_host h = {
				.name = "mx.example",
				.mx = all[mx],
				.address = hosts[i].address,
				.canonical = hosts[i].alias ? "c.example" :
					"mx.example",
				.chain = hosts[i].chain,
			};
			const char *bases[DANE_BASES_MAX] = { NULL };
			bool need = true;
			char got[DANE_BASES_MAX + 1] = "";
			size_t n = dane_bases(&h, bases, &need);

			assert_true(n <= DANE_BASES_MAX);
			for (size_t b = 0; b < n; b++)
				got[b] = bases[b] == h.name ? 'h' : 'c';
			if (strcmp(got, hosts[i].bases) != 0 ||
			    need != hosts[i].need_cname)
				fail_msg("row %zu: \"%s\" instead of \"%s\"",
					i, got, hosts[i].bases);
		}
}

/* In no combination is a name asked about that nothing secure leads to. */
static void
test_bases_all(void **state)
{
	(void)state;
	for (int bits = 0; bits < 5 * 5 * 5 * 2; bits++) {
		const struct dane_host h = {
			.name = "mx.example",
			.mx = (enum dns_security)(bits % 5),
			.address = (enum dns_security)(bits / 5 % 5),
			.chain = (enum dns_security)(bits / 25 % 5),
			.canonical = bits / 125 == 0 ? "mx.example" :
				"c.example",
		};
		const char *bases[DANE_BASES_MAX];
		bool need, alias = bits / 125 != 0;
		size_t n = dane_bases(&h, bases, &need);

		if (n > 0)
			assert_true(h.address == S || (alias && h.chain == S));
		assert_true(!need || (n == 0 && alias && h.address == I));
	}
}

static void
test_texts(void **state)
{
	(void)state;
	for (int f = DANE_USABLE; f <= DANE_DATA; f++)
		assert_true(strlen(dane_fault_text((enum dane_fault)f)) > 5);
	assert_string_equal(dane_fault_text((enum dane_fault)99), "unknown");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records), cmocka_unit_test(test_cut),
		cmocka_unit_test(test_sets), cmocka_unit_test(test_copied),
		cmocka_unit_test(test_many), cmocka_unit_test(test_answers),
		cmocka_unit_test(test_bases),
		cmocka_unit_test(test_bases_all),
		cmocka_unit_test(test_texts),
	};

	fill_cert_long();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
