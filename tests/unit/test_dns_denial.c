/*
 * Proofs of absence, each with what must not be taken for one.  The records
 * are not signed: whoever calls these functions has seen to that.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <ldns/ldns.h>

#include "resolver/dns_denial.h"
#include "resolver/resolver.h"
#include "tests/lib/dnspkt.h"

enum ask { TYPE, NAME, EXACT, CUT };

static struct dnspkt pkt;
static struct dns_msg *msg;
static struct dns_denial denial;
static struct dns_budget budget;
static dns_name zone;
static unsigned iterations_max = 50;

static void
begin(void)
{
	dnspkt_start(&pkt, 1, "x.test", 1, 0, PKT_DO);
}

static void
wire(const char *text, dns_name out)
{
	assert_int_equal(dns_name_parse(text, out), ST_OK);
}

static void
gather(void)
{
	const char *why;

	dns_msg_free(&msg);
	assert_int_equal(dns_parse(pkt.bytes, pkt.len, &msg, &why), ST_OK);
	wire("test", zone);
	budget = (struct dns_budget){ 32, 32 };
	memset(&denial, 0, sizeof(denial));
	denial.zone = zone;
	denial.budget = &budget;
	denial.iterations_max = iterations_max;
	for (size_t i = 0; i < msg->count; i++) {
		if (msg->rrs[i].type == DNS_TYPE_NSEC)
			denial.nsec[denial.nsec_count++] = &msg->rrs[i];
		else
			denial.nsec3[denial.nsec3_count++] = &msg->rrs[i];
	}
}

/* The verdict on one question; of a cut, its number. */
static int
prove(enum ask ask, const char *name, unsigned arg)
{
	const char *why = NULL;
	struct dns_proof p = { DNS_BAD, NULL };
	dns_name n;

	gather();
	wire(name, n);
	switch (ask) {
	case TYPE:
		p = dns_deny_type(&denial, n, (uint16_t)arg);
		break;
	case NAME:
		p = dns_deny_name(&denial, n);
		break;
	case EXACT:
		p = dns_deny_exact(&denial, n, arg);
		break;
	default:
		return (int)dns_deny_ds(&denial, n, &why);
	}
	assert_true(p.verdict == DNS_GOOD || p.why != NULL);
	return (int)p.verdict;
}

/* ---- NSEC ------------------------------------------------------------ */

static const struct nsec_case {
	const char *about;
	const char *records[3];
	enum ask ask;
	const char *name;
	unsigned arg;		/* type, or labels */
	int verdict;
} nsec_cases[] = {
	{ "no such type", { "x.test. NSEC z.test. A RRSIG NSEC" },
		TYPE, "x.test", DNS_TYPE_MX, DNS_GOOD },
	{ "the type is there", { "x.test. NSEC z.test. A MX RRSIG NSEC" },
		TYPE, "x.test", DNS_TYPE_MX, DNS_BAD },
	{ "a CNAME is there", { "x.test. NSEC z.test. CNAME RRSIG NSEC" },
		TYPE, "x.test", DNS_TYPE_MX, DNS_BAD },
	{ "parent's side", { "x.test. NSEC z.test. NS RRSIG NSEC" },
		TYPE, "x.test", DNS_TYPE_MX, DNS_BAD },
	{ "apex", { "x.test. NSEC z.test. NS SOA RRSIG NSEC" },
		TYPE, "x.test", DNS_TYPE_MX, DNS_GOOD },
	{ "DS at parent", { "x.test. NSEC z.test. NS RRSIG NSEC" },
		TYPE, "x.test", DNS_TYPE_DS, DNS_GOOD },
	{ "DS at child", { "x.test. NSEC z.test. NS SOA RRSIG NSEC" },
		TYPE, "x.test", DNS_TYPE_DS, DNS_BAD },
	{ "empty non-terminal", { "a.test. NSEC b.x.test. A RRSIG NSEC" },
		TYPE, "x.test", DNS_TYPE_MX, DNS_GOOD },
	{ "name does not exist, no wildcard shown",
		{ "a.test. NSEC z.test. A RRSIG NSEC" },
		TYPE, "x.test", DNS_TYPE_MX, DNS_BAD },
	{ "wildcard without the type",
		{ "a.test. NSEC z.test. A", "*.test. NSEC a.test. A" },
		TYPE, "x.test", DNS_TYPE_MX, DNS_GOOD },
	{ "wildcard with the type",
		{ "a.test. NSEC z.test. A", "*.test. NSEC a.test. MX" },
		TYPE, "x.test", DNS_TYPE_MX, DNS_BAD },
	{ "wildcard with CNAME",
		{ "a.test. NSEC z.test. A", "*.test. NSEC a.test. CNAME" },
		TYPE, "x.test", DNS_TYPE_MX, DNS_BAD },
	{ "wildcard of a wrong encloser",
		{ "a.test. NSEC y.x.test. A", "*.test. NSEC a.test. A" },
		TYPE, "b.x.test", DNS_TYPE_MX, DNS_BAD },
	{ "of another name", { "a.test. NSEC b.test. A" },
		TYPE, "x.test", DNS_TYPE_MX, DNS_BAD },

	{ "no such name", { "a.test. NSEC z.test. A",
		"test. NSEC a.test. NS SOA" }, NAME, "x.test", 0, DNS_GOOD },
	{ "upper case next", { "a.test. NSEC Z.TEST. A",
		"test. NSEC a.test. NS SOA" }, NAME, "x.test", 0, DNS_GOOD },
	{ "one record for both", { "test. NSEC z.test. NS SOA" },
		NAME, "x.test", 0, DNS_GOOD },
	{ "last record", { "w.test. NSEC test. A",
		"test. NSEC a.test. NS SOA" }, NAME, "x.test", 0, DNS_GOOD },
	{ "wildcard not denied", { "a.test. NSEC z.test. A" },
		NAME, "x.test", 0, DNS_BAD },
	/* ldns looks at the parent's wildcard only. */
	{ "wildcard of the closest encloser not denied",
		{ "w.test. NSEC zz.test. A" }, NAME, "x.y.z.test", 0,
		DNS_BAD },
	{ "closest encloser is deeper",
		{ "a.z.test. NSEC z.z.test. A", "z.test. NSEC a.z.test. A" },
		NAME, "x.y.z.test", 0, DNS_GOOD },
	{ "owner is the name", { "x.test. NSEC z.test. A",
		"test. NSEC a.test. NS SOA" }, NAME, "x.test", 0, DNS_BAD },
	{ "next is the name", { "a.test. NSEC x.test. A",
		"test. NSEC a.test. NS SOA" }, NAME, "x.test", 0, DNS_BAD },
	{ "empty non-terminal exists", { "a.test. NSEC b.x.test. A",
		"test. NSEC a.test. NS SOA" }, NAME, "x.test", 0, DNS_BAD },
	{ "wildcard is an empty non-terminal",
		{ "a.test. NSEC z.test. A", "test. NSEC b.*.test. NS SOA" },
		NAME, "x.test", 0, DNS_BAD },
	{ "below a delegation", { "d.test. NSEC z.test. NS RRSIG NSEC",
		"test. NSEC a.test. NS SOA" }, NAME, "x.d.test", 0, DNS_BAD },
	{ "below a DNAME", { "d.test. NSEC z.test. DNAME RRSIG NSEC",
		"test. NSEC a.test. NS SOA" }, NAME, "x.d.test", 0, DNS_BAD },
	{ "beside a delegation", { "d.test. NSEC z.test. NS RRSIG NSEC",
		"test. NSEC a.test. NS SOA" }, NAME, "x.test", 0, DNS_GOOD },

	{ "wildcard may answer", { "a.test. NSEC z.test. A" },
		EXACT, "x.test", 1, DNS_GOOD },
	{ "the name exists", { "x.test. NSEC z.test. A" },
		EXACT, "x.test", 1, DNS_BAD },
	{ "a closer name exists", { "a.y.test. NSEC z.y.test. A" },
		EXACT, "x.y.test", 1, DNS_BAD },
	{ "nothing shown", { NULL }, EXACT, "x.test", 1, DNS_BAD },

	{ "delegation", { "x.test. NSEC z.test. NS RRSIG NSEC" },
		CUT, "x.test", 0, DNS_CUT_INSECURE },
	{ "plain name", { "x.test. NSEC z.test. A RRSIG NSEC" },
		CUT, "x.test", 0, DNS_CUT_NONE },
	{ "DS bit", { "x.test. NSEC z.test. NS DS RRSIG NSEC" },
		CUT, "x.test", 0, DNS_CUT_UNPROVEN },
	{ "DS and CNAME bits", { "x.test. NSEC z.test. NS DS CNAME" },
		CUT, "x.test", 0, DNS_CUT_UNPROVEN },
	{ "child's side", { "x.test. NSEC z.test. NS SOA RRSIG NSEC" },
		CUT, "x.test", 0, DNS_CUT_UNPROVEN },
	{ "below another delegation", { "d.test. NSEC z.test. NS RRSIG" },
		CUT, "x.d.test", 0, DNS_CUT_UNPROVEN },
	{ "not there", { "a.test. NSEC z.test. A" },
		CUT, "x.test", 0, DNS_CUT_NONE },
	{ "nothing shown", { NULL }, CUT, "x.test", 0, DNS_CUT_UNPROVEN },
};

static void
nsec(void **state)
{
	size_t n = sizeof(nsec_cases) / sizeof(nsec_cases[0]);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		const struct nsec_case *c = &nsec_cases[i];
		int got;

		begin();
		for (size_t k = 0; k < 3 && c->records[k] != NULL; k++)
			dnspkt_add(&pkt, 1, c->records[k]);
		got = prove(c->ask, c->name, c->arg);
		if (got != c->verdict)
			fail_msg("%s: %d, not %d", c->about, got, c->verdict);
	}
}

static void
bitmaps(void **state)
{
	static const uint8_t map[] = { 0, 2, 0x40, 1, 1, 1, 0x80 };

	(void)state;
	assert_true(dns_bitmap_has(map, sizeof(map), 1));
	assert_true(dns_bitmap_has(map, sizeof(map), 15));
	assert_true(dns_bitmap_has(map, sizeof(map), 256));
	assert_false(dns_bitmap_has(map, sizeof(map), 2));
	assert_false(dns_bitmap_has(map, sizeof(map), 16));
	assert_false(dns_bitmap_has(map, sizeof(map), 257));
	assert_false(dns_bitmap_has(map, sizeof(map), 512));
	assert_false(dns_bitmap_has(map, 0, 1));
}

/* ---- NSEC3 ----------------------------------------------------------- */

/* ldns hashes here, so that the two are held against each other. */
static void
hash_text(const char *name, unsigned iterations, char out[64])
{
	ldns_rdf *n = ldns_dname_new_frm_str(name);
	ldns_rdf *h = ldns_nsec3_hash_name(n, 1, (uint16_t)iterations, 2,
		(uint8_t *)(uintptr_t)"\xab\xcd");
	char *text = ldns_rdf2str(h);

	assert_int_equal(strcspn(text, "."), 32);
	memcpy(out, text, 32);
	out[32] = '\0';
	free(text);
	ldns_rdf_deep_free(h);
	ldns_rdf_deep_free(n);
}

/* One step on (or back) in base 32. */
static void
hash_step(char *text, int by)
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuv";

	for (int i = 31; i >= 0; i--) {
		long v = strchr(digits, text[i]) - digits + by;

		text[i] = digits[(v + 32) % 32];
		if (v >= 0 && v < 32)
			return;
	}
}

static void
nsec3_record(const char *owner, const char *next, int flags,
	unsigned iterations, const char *types)
{
	char line[300];

	snprintf(line, sizeof(line), "%s.test. NSEC3 1 %d %u abcd %s %s",
		owner, flags, iterations, next, types);
	dnspkt_add(&pkt, 1, line);
}

/* The record at a name's own hash. */
static void
match_add(const char *name, int flags, const char *types)
{
	char owner[64], next[64];

	hash_text(name, 5, owner);
	memcpy(next, owner, sizeof(next));
	hash_step(next, 1);
	nsec3_record(owner, next, flags, 5, types);
}

/* A record just around a name's hash. */
static void
cover_add(const char *name, int flags)
{
	char owner[64], next[64];

	hash_text(name, 5, owner);
	memcpy(next, owner, sizeof(next));
	hash_step(owner, -1);
	hash_step(next, 1);
	nsec3_record(owner, next, flags, 5, "A RRSIG");
}

/* "=NAME:TYPES" is a match, "-NAME" a cover; "+" in front: opt-out. */
static const struct nsec3_case {
	const char *about;
	const char *records[4];
	enum ask ask;
	const char *name;
	unsigned arg;
	int verdict;
} nsec3_cases[] = {
	{ "no such type", { "=x.test:A RRSIG" }, TYPE, "x.test", DNS_TYPE_MX,
		DNS_GOOD },
	{ "the type is there", { "=x.test:A MX RRSIG" }, TYPE, "x.test",
		DNS_TYPE_MX, DNS_BAD },
	{ "a CNAME is there", { "=x.test:CNAME RRSIG" }, TYPE, "x.test",
		DNS_TYPE_MX, DNS_BAD },
	{ "parent's side", { "=x.test:NS RRSIG" }, TYPE, "x.test",
		DNS_TYPE_MX, DNS_BAD },
	{ "DS at child", { "=x.test:NS SOA RRSIG" }, TYPE, "x.test",
		DNS_TYPE_DS, DNS_BAD },
	{ "DS at parent", { "=x.test:NS RRSIG" }, TYPE, "x.test",
		DNS_TYPE_DS, DNS_GOOD },
	{ "empty non-terminal", { "=x.test: " }, TYPE, "x.test", DNS_TYPE_MX,
		DNS_GOOD },
	{ "wildcard without the type", { "=test:NS SOA", "-x.test",
		"=*.test:A" }, TYPE, "x.test", DNS_TYPE_MX, DNS_GOOD },
	{ "wildcard with the type", { "=test:NS SOA", "-x.test",
		"=*.test:MX" }, TYPE, "x.test", DNS_TYPE_MX, DNS_BAD },
	{ "wildcard, next closer not covered", { "=test:NS SOA",
		"=*.test:A" }, TYPE, "x.test", DNS_TYPE_MX, DNS_BAD },
	{ "no wildcard shown", { "=test:NS SOA", "-x.test" }, TYPE, "x.test",
		DNS_TYPE_MX, DNS_BAD },
	{ "opt-out says nothing", { "=test:NS SOA", "+-x.test" }, TYPE,
		"x.test", DNS_TYPE_MX, DNS_OPEN },
	{ "DS under opt-out", { "=test:NS SOA", "+-x.test" }, TYPE, "x.test",
		DNS_TYPE_DS, DNS_OPEN },
	{ "nothing", { "-q.test" }, TYPE, "x.test", DNS_TYPE_MX, DNS_BAD },

	{ "no such name", { "=test:NS SOA", "-x.test", "-*.test" }, NAME,
		"x.test", 0, DNS_GOOD },
	{ "deeper", { "=y.test:A", "-b.y.test", "-*.y.test" }, NAME,
		"a.b.y.test", 0, DNS_GOOD },
	{ "next closer not covered", { "=y.test:A", "-a.b.y.test",
		"-*.y.test" }, NAME, "a.b.y.test", 0, DNS_BAD },
	{ "wildcard not denied", { "=test:NS SOA", "-x.test" }, NAME,
		"x.test", 0, DNS_BAD },
	{ "wildcard exists", { "=test:NS SOA", "-x.test", "=*.test:A" }, NAME,
		"x.test", 0, DNS_BAD },
	{ "no encloser", { "-x.test", "-*.test" }, NAME, "x.test", 0,
		DNS_BAD },
	{ "the name exists", { "=x.test:A", "=test:NS SOA", "-*.test" }, NAME,
		"x.test", 0, DNS_BAD },
	{ "opt-out", { "=test:NS SOA", "+-x.test", "-*.test" }, NAME,
		"x.test", 0, DNS_OPEN },
	{ "encloser is a delegation", { "=d.test:NS RRSIG", "-x.d.test",
		"-*.d.test" }, NAME, "x.d.test", 0, DNS_BAD },
	{ "encloser has a DNAME", { "=d.test:DNAME RRSIG", "-x.d.test",
		"-*.d.test" }, NAME, "x.d.test", 0, DNS_BAD },

	{ "wildcard may answer", { "-x.test" }, EXACT, "x.test", 1,
		DNS_GOOD },
	{ "wildcard deeper", { "-b.y.test" }, EXACT, "a.b.y.test", 2,
		DNS_GOOD },
	{ "wildcard, wrong closer", { "-a.b.y.test" }, EXACT, "a.b.y.test", 2,
		DNS_BAD },
	{ "wildcard, opt-out", { "+-x.test" }, EXACT, "x.test", 1, DNS_OPEN },
	{ "wildcard, the name exists", { "=x.test:A" }, EXACT, "x.test", 1,
		DNS_BAD },

	{ "delegation", { "=x.test:NS" }, CUT, "x.test", 0,
		DNS_CUT_INSECURE },
	{ "plain name", { "=x.test:A" }, CUT, "x.test", 0, DNS_CUT_NONE },
	{ "DS bit", { "=x.test:NS DS" }, CUT, "x.test", 0,
		DNS_CUT_UNPROVEN },
	{ "child's side", { "=x.test:NS SOA" }, CUT, "x.test", 0,
		DNS_CUT_UNPROVEN },
	{ "opt-out", { "=test:NS SOA", "+-x.test" }, CUT, "x.test", 0,
		DNS_CUT_INSECURE },
	{ "no opt-out", { "=test:NS SOA", "-x.test" }, CUT, "x.test", 0,
		DNS_CUT_NONE },
	{ "no encloser", { "+-x.test" }, CUT, "x.test", 0,
		DNS_CUT_UNPROVEN },
};

static void
nsec3_add(const char *text)
{
	char name[64];
	const char *colon;
	int flags = *text == '+' ? 1 : 0;

	text += flags;
	colon = strchr(text, ':');
	if (*text == '-') {
		cover_add(text + 1, flags);
		return;
	}
	snprintf(name, sizeof(name), "%.*s", (int)(colon - text - 1),
		text + 1);
	match_add(name, flags, colon + 1);
}

static void
nsec3(void **state)
{
	size_t n = sizeof(nsec3_cases) / sizeof(nsec3_cases[0]);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		const struct nsec3_case *c = &nsec3_cases[i];
		int got;

		begin();
		for (size_t k = 0; k < 4 && c->records[k] != NULL; k++)
			nsec3_add(c->records[k]);
		got = prove(c->ask, c->name, c->arg);
		if (got != c->verdict)
			fail_msg("%s: %d, not %d", c->about, got, c->verdict);
	}
}

/* The last record of the chain points back to the first. */
static void
nsec3_last(void **state)
{
	char low[64] = "00000000000000000000000000000001";
	char high[64] = "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvu";

	(void)state;
	begin();
	match_add("test", 0, "NS SOA");
	nsec3_record(low, low, 0, 5, "A");	/* a zone of one hash */
	assert_int_equal(prove(NAME, "x.test", 0), DNS_GOOD);
	begin();
	match_add("test", 0, "NS SOA");
	nsec3_record(high, low, 0, 5, "A");
	assert_int_equal(prove(NAME, "x.test", 0), DNS_BAD);
}

/* RFC 5155 8.1, 8.2: what is not known is passed over; parameters that differ
 * are a fault. */
static void
nsec3_odd(void **state)
{
	char h[64], next[64];
	uint8_t rdata[28] = { 2, 0, 0, 5, 2, 0xab, 0xcd, 20 };

	(void)state;
	hash_text("x.test", 5, h);
	memcpy(next, h, sizeof(next));
	hash_step(next, 1);
	begin();
	nsec3_record(h, next, 2, 5, "A");	/* unknown flag */
	assert_int_equal(prove(TYPE, "x.test", DNS_TYPE_MX), DNS_BAD);
	begin();
	strcat(h, ".test");
	dnspkt_raw(&pkt, 1, h, DNS_TYPE_NSEC3, 60, rdata, sizeof(rdata));
	assert_int_equal(prove(TYPE, "x.test", DNS_TYPE_MX), DNS_BAD);
	rdata[0] = 1;
	begin();
	dnspkt_raw(&pkt, 1, h, DNS_TYPE_NSEC3, 60, rdata, sizeof(rdata));
	assert_int_equal(prove(TYPE, "x.test", DNS_TYPE_MX), DNS_GOOD);
	/* an owner that is no hash, or of another zone */
	begin();
	dnspkt_raw(&pkt, 1, "x.test", DNS_TYPE_NSEC3, 60, rdata,
		sizeof(rdata));
	assert_int_equal(prove(TYPE, "x.test", DNS_TYPE_MX), DNS_BAD);
	h[32] = '\0';
	strcat(h, ".x.test");
	begin();
	dnspkt_raw(&pkt, 1, h, DNS_TYPE_NSEC3, 60, rdata, sizeof(rdata));
	assert_int_equal(prove(TYPE, "x.test", DNS_TYPE_MX), DNS_BAD);
	begin();
	match_add("x.test", 0, "A");
	hash_text("y.test", 6, h);
	nsec3_record(h, next, 0, 6, "A");
	assert_int_equal(prove(TYPE, "x.test", DNS_TYPE_MX), DNS_BAD);
}

/* RFC 9276: many iterations are insecure, far too many an error. */
static void
nsec3_iterations(void **state)
{
	static const struct {
		unsigned iterations, max;
		int verdict, cut;
	} cases[] = {
		{ 0, 50, DNS_GOOD, DNS_CUT_NONE },
		{ 50, 50, DNS_GOOD, DNS_CUT_NONE },
		{ 51, 50, DNS_OPEN, DNS_CUT_INSECURE },
		{ 1, 0, DNS_OPEN, DNS_CUT_INSECURE },
		{ 150, 50, DNS_OPEN, DNS_CUT_INSECURE },
		{ 151, 50, DNS_EXCEEDED, DNS_CUT_EXCEEDED },
		{ 151, 500, DNS_EXCEEDED, DNS_CUT_EXCEEDED },
		{ 65535, 65535, DNS_EXCEEDED, DNS_CUT_EXCEEDED },
	};
	char h[64];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		iterations_max = cases[i].max;
		hash_text("x.test", cases[i].iterations, h);
		begin();
		nsec3_record(h, h, 0, cases[i].iterations, "A");
		assert_int_equal(prove(TYPE, "x.test", DNS_TYPE_MX),
			cases[i].verdict);
		assert_int_equal(prove(CUT, "x.test", 0), cases[i].cut);
		if (cases[i].verdict != DNS_GOOD)
			assert_int_equal(budget.hashes, 32);	/* unspent */
	}
	iterations_max = 50;
}

/* CVE-2023-50868: a long name costs a hash per label, and no more than the
 * budget. */
static void
nsec3_hashes(void **state)
{
	const char *name = "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a."
		"a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.test";

	(void)state;
	begin();
	match_add("test", 0, "NS SOA");
	assert_int_equal(prove(NAME, name, 0), DNS_EXCEEDED);
	assert_int_equal(budget.hashes, 0);
	assert_int_equal(prove(TYPE, name, 1), DNS_EXCEEDED);
	assert_int_equal(prove(CUT, name, 0), DNS_CUT_EXCEEDED);
}

static int
teardown(void **state)
{
	(void)state;
	dns_msg_free(&msg);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nsec),
		cmocka_unit_test(bitmaps),
		cmocka_unit_test(nsec3),
		cmocka_unit_test(nsec3_last),
		cmocka_unit_test(nsec3_odd),
		cmocka_unit_test(nsec3_iterations),
		cmocka_unit_test(nsec3_hashes),
	};

	return cmocka_run_group_tests(tests, NULL, teardown);
}
