/*
 * Messages from the network: every malformed one is refused, whole; what
 * comes out is canonical.  Also what a message says: dns_chain.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "resolver/dns_chain.h"
#include "resolver/dns_parse.h"
#include "resolver/resolver.h"
#include "tests/lib/dnspkt.h"

static struct dnspkt pkt;

static struct dns_msg *
parse_ok(void)
{
	struct dns_msg *m = NULL;
	const char *why = NULL;

	if (dns_parse(pkt.bytes, pkt.len, &m, &why) != ST_OK)
		fail_msg("refused: %s", why);
	return m;
}

static void
parse_bad(const char *reason)
{
	struct dns_msg *m = NULL;
	const char *why = NULL;

	assert_int_not_equal(dns_parse(pkt.bytes, pkt.len, &m, &why), ST_OK);
	assert_null(m);
	assert_string_equal(why, reason);
}

static void
start(const char *qname, uint16_t type)
{
	dnspkt_start(&pkt, 0x1234, qname, type, 0, PKT_DO);
}

static void
name_is(const uint8_t *wire, const char *text)
{
	char out[DNS_TEXT_MAX];

	dns_name_format(wire, out);
	assert_string_equal(out, text);
}

static void
good(void **state)
{
	struct dns_set *set = calloc(1, sizeof(*set));
	struct dns_msg *m, *copy;

	(void)state;
	start("Example.Test", DNS_TYPE_MX);
	dnspkt_add(&pkt, 0, "EXAMPLE.test. 300 IN MX 10 MX1.Example.Test.");
	dnspkt_add(&pkt, 0, "EXAMPLE.test. 200 IN MX 20 mx2.example.test.");
	dnspkt_add(&pkt, 0, "example.test. 300 IN MX 10 mx1.example.TEST.");
	dnspkt_add(&pkt, 0, "example.test. 300 IN RRSIG MX 13 2 300 "
		"20300101000000 20200101000000 12345 Example.Test. aGVsbG8=");
	dnspkt_add(&pkt, 2, "mx1.example.test. 300 IN A 192.0.2.1");
	m = parse_ok();
	name_is(m->qname, "example.test");
	assert_int_equal(m->qtype, DNS_TYPE_MX);
	assert_true(m->opt && m->opt_do && !m->ad);
	assert_int_equal(m->count, 4);
	copy = dns_msg_copy(m);
	dns_msg_free(&m);
	assert_true(dns_set_find(copy, DNS_ANSWER, copy->qname, DNS_TYPE_MX,
		set));
	assert_int_equal(set->count, 2);	/* one was a duplicate */
	assert_int_equal(set->sig_count, 1);
	assert_int_equal(set->ttl, 200);
	name_is(set->rrs[0]->rdata + 2, "mx1.example.test");
	name_is(set->sigs[0]->rdata + 18, "example.test");
	dns_msg_free(&copy);
	free(set);
}

static void
ede(void **state)
{
	struct dns_msg *m;

	(void)state;
	dnspkt_start(&pkt, 1, "x.test", 1, DNS_SERVFAIL, PKT_DO | PKT_EDE);
	m = parse_ok();
	assert_int_equal(m->rcode, DNS_SERVFAIL);
	assert_int_equal(m->ede, 22);
	assert_string_equal(m->ede_text, "test");
	dns_msg_free(&m);
}

static void
headers(void **state)
{
	(void)state;
	start("x.test", 1);
	pkt.bytes[2] &= 0x7f;
	parse_bad("not a response");
	start("x.test", 1);
	pkt.bytes[2] |= 0x20;
	parse_bad("not of opcode QUERY");
	start("x.test", 1);
	pkt.bytes[5] = 2;
	parse_bad("not exactly one question");
	start("x.test", 1);
	pkt.bytes[2] |= 2;
	parse_bad("truncated");
	pkt.len = 11;
	parse_bad("shorter than a header");
	start("x.test", 1);
	pkt.bytes[11] = 3;
	parse_bad("record cut short");
	start("x.test", 1);
	pkt.bytes[pkt.len++] = 0;
	parse_bad("octets after the end");
	start("x.test", 1);
	pkt.bytes[12 + 11] = 3;
	parse_bad("question of another class");
	/* A compression pointer to itself. */
	start("x.test", 1);
	pkt.bytes[12] = 0xc0;
	pkt.bytes[13] = 12;
	parse_bad("malformed question");
}

static void
counts(void **state)
{
	(void)state;
	start("x.test", 1);
	for (int i = 0; i < 256; i++)
		dnspkt_raw(&pkt, 0, "x.test", 1, 1, "\1\2\3\4", 4);
	parse_bad("too many records");
	dnspkt_start(&pkt, 1, "x.test", 1, 0, 0);
	dnspkt_raw(&pkt, 2, "", DNS_TYPE_OPT, 0, "", 0);
	parse_bad("more than one OPT record, or a named one");
	start("x.test", 1);
	dnspkt_raw(&pkt, 2, "x.test", DNS_TYPE_TSIG, 0, "abc", 3);
	parse_bad("unexpected TSIG or TKEY record");
	start("x.test", 1);
	dnspkt_raw(&pkt, 0, "", DNS_TYPE_OPT, 0, "", 0);
	parse_bad("OPT record in a wrong section");
}

/* Each shape broken in each way that matters. */
static const struct shape_case {
	uint16_t type;
	size_t len;
	const char *rdata;
} broken[] = {
	{ DNS_TYPE_A, 3, "\1\2\3" },
	{ DNS_TYPE_A, 5, "\1\2\3\4\5" },
	{ DNS_TYPE_AAAA, 4, "\1\2\3\4" },
	{ DNS_TYPE_MX, 2, "\0\1" },
	{ DNS_TYPE_MX, 4, "\0\1\2a" },		/* runs past the end */
	{ DNS_TYPE_MX, 6, "\0\1\1a\0x" },	/* octet left over */
	{ DNS_TYPE_CNAME, 0, "" },
	{ DNS_TYPE_CNAME, 2, "\xc0\xff" },	/* pointer forwards */
	{ DNS_TYPE_CNAME, 3, "\x41zz" },
	{ DNS_TYPE_NS, 3, "\1a\1" },
	{ DNS_TYPE_SOA, 10, "\0\0\0\0\0\1\0\0\0\1" },
	{ DNS_TYPE_TXT, 0, "" },
	{ DNS_TYPE_TXT, 3, "\3ab" },
	{ DNS_TYPE_TLSA, 2, "\3\1" },
	{ DNS_TYPE_DS, 3, "\0\1\10" },
	{ DNS_TYPE_DS, 4, "\0\1\10\2" },
	{ DNS_TYPE_DS, 6, "\0\1\10\2ab" },	/* SHA-256 of two octets */
	{ DNS_TYPE_DNSKEY, 4, "\1\1\3\10" },
	{ DNS_TYPE_RRSIG, 2, "\0\1" },
	{ DNS_TYPE_RRSIG, 18, "\0\1\10\1\0\0\0\1\0\0\0\1\0\0\0\1\0\1" },
	{ DNS_TYPE_RRSIG, 19, "\0\1\10\1\0\0\0\1\0\0\0\1\0\0\0\1\0\1\0" },
	{ DNS_TYPE_RRSIG, 21,	/* compressed signer */
		"\0\1\10\1\0\0\0\1\0\0\0\1\0\0\0\1\0\1\xc0\14x" },
	{ DNS_TYPE_NSEC, 0, "" },
	{ DNS_TYPE_NSEC, 3, "\0\0\0" },		/* empty block */
	{ DNS_TYPE_NSEC, 4, "\0\0\2\x40" },
	{ DNS_TYPE_NSEC, 7, "\0\1\1\x40\0\1\x40" },	/* out of order */
	{ DNS_TYPE_NSEC3, 0, "" },
	{ DNS_TYPE_NSEC3, 5, "\1\0\0\0\0" },	/* no next owner */
	{ DNS_TYPE_NSEC3, 6, "\1\0\0\0\0\0" },	/* empty next owner */
	{ DNS_TYPE_NSEC3, 7, "\1\0\0\0\11ab" },	/* salt runs out */
	{ DNS_TYPE_NSEC3, 8, "\1\0\0\0\0\24ab" },
	{ DNS_TYPE_DNAME, 1, "\1" },
	{ DNS_TYPE_SRV, 6, "\0\1\0\1\0\1" },
};

static void
shapes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		start("x.test", 1);
		dnspkt_raw(&pkt, 0, "x.test", broken[i].type, 60,
			broken[i].rdata, broken[i].len);
		parse_bad("malformed record data");
	}
}

/* Cut anywhere, a message is refused and nothing is read past its end (the
 * copy is as long as the cut, so that valgrind and ASan would see). */
static void
every_cut(void **state)
{
	const char *why;
	struct dns_msg *m;

	(void)state;
	start("x.test", DNS_TYPE_MX);
	dnspkt_add(&pkt, 0, "x.test. 300 IN MX 10 mx.x.test.");
	dnspkt_add(&pkt, 1, "x.test. 300 IN NSEC y.test. A MX RRSIG NSEC");
	for (size_t len = 0; len < pkt.len; len++) {
		uint8_t *cut = malloc(len + 1);

		memcpy(cut, pkt.bytes, len);
		cut = realloc(cut, len == 0 ? 1 : len);
		assert_int_not_equal(dns_parse(cut, len, &m, &why), ST_OK);
		free(cut);
	}
}

/* ---- dns_chain ---- */

static struct dns_chain chain;

static void
follow(const char *qname, uint16_t type, enum dns_end end, const char *last,
	size_t links)
{
	struct dns_msg *m = parse_ok();
	dns_name wire;

	assert_int_equal(dns_name_parse(qname, wire), ST_OK);
	dns_chain_follow(m, wire, type, &chain);
	assert_int_equal(chain.end, end);
	if (end != DNS_END_BAD) {
		name_is(chain.last, last);
		assert_int_equal(chain.count, links);
	}
	dns_msg_free(&m);
}

static void
chains(void **state)
{
	(void)state;
	start("a.test", 1);
	dnspkt_add(&pkt, 0, "b.test. 60 IN CNAME c.test.");
	dnspkt_add(&pkt, 0, "a.test. 50 IN CNAME b.test.");
	follow("a.test", 1, DNS_END_ASK, "c.test", 2);
	assert_int_equal(chain.ttl, 50);
	follow("a.test", DNS_TYPE_CNAME, DNS_END_ANSWER, "a.test", 0);
	dnspkt_add(&pkt, 0, "c.test. 60 IN A 192.0.2.1");
	follow("a.test", 1, DNS_END_ANSWER, "c.test", 2);
	follow("c.test", 1, DNS_END_ANSWER, "c.test", 0);
	dnspkt_add(&pkt, 0, "c.test. 60 IN CNAME a.test.");
	follow("a.test", 28, DNS_END_BAD, NULL, 0);
	start("a.test", 1);
	dnspkt_add(&pkt, 0, "a.test. 60 IN CNAME b.test.");
	dnspkt_add(&pkt, 0, "a.test. 60 IN CNAME c.test.");
	follow("a.test", 1, DNS_END_BAD, NULL, 0);
}

static void
dnames(void **state)
{
	(void)state;
	start("x.old.test", 1);
	dnspkt_add(&pkt, 0, "old.test. 60 IN DNAME new.test.");
	dnspkt_add(&pkt, 0, "x.old.test. 60 IN CNAME x.new.test.");
	dnspkt_add(&pkt, 0, "x.new.test. 60 IN A 192.0.2.1");
	follow("x.old.test", 1, DNS_END_ANSWER, "x.new.test", 1);
	assert_int_equal(chain.links[0].type, DNS_TYPE_DNAME);
	/* The CNAME asked for is as good as the DNAME, and no better. */
	follow("x.old.test", DNS_TYPE_CNAME, DNS_END_ANSWER, "x.old.test", 0);
	assert_int_equal(chain.proof_type, DNS_TYPE_DNAME);
	/* A DNAME says nothing of its own name. */
	follow("old.test", 1, DNS_END_NODATA, "old.test", 0);
	start("x.old.test", 1);
	dnspkt_add(&pkt, 0, "old.test. 60 IN DNAME new.test.");
	dnspkt_add(&pkt, 0, "x.old.test. 60 IN CNAME x.evil.test.");
	follow("x.old.test", 1, DNS_END_BAD, NULL, 0);
	follow("x.old.test", DNS_TYPE_CNAME, DNS_END_BAD, NULL, 0);
}

static void
negatives(void **state)
{
	struct dns_msg *m;

	(void)state;
	dnspkt_start(&pkt, 1, "a.test", 1, 3, PKT_DO);
	dnspkt_add(&pkt, 1, "test. 600 IN SOA ns. h. 1 2 3 4 120");
	follow("a.test", 1, DNS_END_NXDOMAIN, "a.test", 0);
	m = parse_ok();
	assert_int_equal(dns_chain_negative_ttl(m, m->qname), 120);
	dns_msg_free(&m);
	dnspkt_start(&pkt, 1, "a.test", 1, 3, PKT_DO);
	dnspkt_add(&pkt, 0, "a.test. 60 IN CNAME b.test.");
	follow("a.test", 1, DNS_END_NXDOMAIN, "b.test", 1);
	start("a.test", 1);
	dnspkt_add(&pkt, 0, "a.test. 60 IN CNAME b.test.");
	dnspkt_add(&pkt, 1, "test. 60 IN SOA ns. h. 1 2 3 4 120");
	follow("a.test", 1, DNS_END_NODATA, "b.test", 1);
	start("a.test", 1);
	dnspkt_add(&pkt, 0, "a.test. 60 IN CNAME b.other.");
	dnspkt_add(&pkt, 1, "test. 60 IN SOA ns. h. 1 2 3 4 120");
	follow("a.test", 1, DNS_END_ASK, "b.other", 1);
	start("a.test", 1);
	follow("a.test", 1, DNS_END_NODATA, "a.test", 0);
	dnspkt_add(&pkt, 1, "test. 60 IN NS ns.test.");
	follow("a.test", 1, DNS_END_BAD, NULL, 0);
}

static void
chain_bound(void **state)
{
	char line[64];

	(void)state;
	start("n0.test", 1);
	for (int i = 0; i < DNS_CHAIN_MAX; i++) {
		snprintf(line, sizeof(line), "n%d.test. 9 IN CNAME n%d.test.",
			i, i + 1);
		dnspkt_add(&pkt, 0, line);
	}
	follow("n0.test", 1, DNS_END_ASK, "n12.test", DNS_CHAIN_MAX);
	dnspkt_add(&pkt, 0, "n12.test. 9 IN CNAME n13.test.");
	follow("n0.test", 1, DNS_END_BAD, NULL, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good),
		cmocka_unit_test(ede),
		cmocka_unit_test(headers),
		cmocka_unit_test(counts),
		cmocka_unit_test(shapes),
		cmocka_unit_test(every_cut),
		cmocka_unit_test(chains),
		cmocka_unit_test(dnames),
		cmocka_unit_test(negatives),
		cmocka_unit_test(chain_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
