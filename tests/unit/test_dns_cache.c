/*
 * The cache of answers, and answers themselves.
 */
#include "config.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "resolver/dns_answer.h"
#include "resolver/dns_cache.h"
#include "tests/lib/dnspkt.h"

#define T0 1790000000000LL

static struct dnspkt pkt;

static const uint8_t *
name(const char *text)
{
	static dns_name n;

	assert_int_equal(dns_name_parse(text, n), ST_OK);
	return n;
}

/* An answer made from the records of pkt at its question. */
static struct dns_answer *
answer(uint32_t ttl_s)
{
	struct dns_set *set = calloc(1, sizeof(*set));
	struct dns_msg *m;
	const char *why;
	struct dns_answer *a;

	assert_int_equal(dns_parse(pkt.bytes, pkt.len, &m, &why), ST_OK);
	a = dns_answer_make(&(struct dns_answer_parts){ .name = m->qname,
		.canonical = m->qname, .type = m->qtype, .result = DNS_FOUND,
		.security = DNS_SEC_SECURE, .ttl_s = ttl_s, .ede = -1,
		.set = dns_set_find(m, DNS_ANSWER, m->qname, m->qtype, set) ?
			set : NULL });
	dns_msg_free(&m);
	free(set);
	return a;
}

static struct dns_answer *
one(const char *qname, uint16_t type, const char *line, uint32_t ttl_s)
{
	dnspkt_start(&pkt, 1, qname, type, 0, 0);
	dnspkt_add(&pkt, 0, line);
	return answer(ttl_s);
}

/* Made, copied, and the first one gone: the copy stands by itself. */
static struct dns_answer *
copied(struct dns_answer *a)
{
	struct dns_answer *c = dns_answer_copy(a);

	assert_int_equal(dns_answer_size(a), dns_answer_size(c));
	dns_answer_free(&a);
	assert_null(a);
	return c;
}

static void
records(void **state)
{
	struct dns_answer *a;

	(void)state;
	a = copied(one("x.test", DNS_TYPE_MX, "x.test. 60 IN MX 7 M.x.test.",
		1));
	assert_string_equal(a->name, "x.test");
	assert_string_equal(a->records[0].u.mx.host, "m.x.test");
	assert_int_equal(a->records[0].u.mx.preference, 7);
	dns_answer_free(&a);
	a = copied(one("x.test", DNS_TYPE_MX, "x.test. 60 IN MX 0 .", 1));
	assert_string_equal(a->records[0].u.mx.host, "");
	dns_answer_free(&a);
	a = copied(one("x.test", DNS_TYPE_A, "x.test. 60 IN A 192.0.2.7", 1));
	assert_int_equal(ntohl(a->records[0].u.a.s_addr), 0xc0000207);
	dns_answer_free(&a);
	a = copied(one("x.test", DNS_TYPE_AAAA,
		"x.test. 60 IN AAAA 2001:db8::9", 1));
	assert_int_equal(a->records[0].u.aaaa.s6_addr[15], 9);
	dns_answer_free(&a);
	a = copied(one("x.test", DNS_TYPE_TXT,
		"x.test. 60 IN TXT \"ab\" \"\" \"c\"", 1));
	assert_int_equal(a->records[0].u.txt.len, 3);
	assert_memory_equal(a->records[0].u.txt.data, "abc", 3);
	dns_answer_free(&a);
	a = copied(one("x.test", DNS_TYPE_TLSA,
		"x.test. 60 IN TLSA 3 1 1 AABB", 1));
	assert_int_equal(a->records[0].u.tlsa.usage, 3);
	assert_int_equal(a->records[0].u.tlsa.matching, 1);
	assert_int_equal(a->records[0].u.tlsa.len, 2);
	assert_memory_equal(a->records[0].u.tlsa.data, "\xaa\xbb", 2);
	dns_answer_free(&a);
	a = copied(one("x.test", DNS_TYPE_NS, "x.test. 60 IN NS ns.test.", 1));
	assert_string_equal(a->records[0].u.name, "ns.test");
	dns_answer_free(&a);
	a = copied(one("x.test", DNS_TYPE_DS, "x.test. 60 IN DS 1 13 2 "
		"0000000000000000000000000000000000000000000000000000000000"
		"0000FF", 1));
	assert_int_equal(a->records[0].u.raw.len, 36);
	assert_int_equal(a->records[0].u.raw.data[35], 0xff);
	dns_answer_free(&a);
}

static void
put(struct dns_cache *c, const char *qname, uint32_t ttl_s)
{
	struct dns_answer *a;

	dnspkt_start(&pkt, 1, qname, 1, 0, 0);
	dnspkt_raw(&pkt, 0, qname, 1, 60, "\1\2\3\4", 4);
	a = answer(ttl_s);
	dns_cache_put(c, name(qname), 1, a);
	dns_answer_free(&a);
}

static bool
has(struct dns_cache *c, const char *qname)
{
	struct dns_answer *a = dns_cache_get(c, name(qname), 1);
	bool found = a != NULL;

	dns_answer_free(&a);
	return found;
}

static void
time_runs_out(void **state)
{
	struct dns_cache *c = dns_cache_new(10, 100000);
	struct dns_answer *a;

	(void)state;
	clock_test_set(T0);
	put(c, "a.test", 60);
	put(c, "zero.test", 0);
	assert_false(has(c, "zero.test"));
	assert_null(dns_cache_get(c, name("a.test"), 28));
	clock_test_set(T0 + 20000);
	a = dns_cache_get(c, name("a.test"), 1);
	assert_int_equal(a->ttl_s, 40);
	dns_answer_free(&a);
	clock_test_set(T0 + 60000);
	assert_false(has(c, "a.test"));
	assert_int_equal(dns_cache_count(c), 0);
	dns_cache_free(&c);
	clock_test_real();
}

static void
one_dropped(void **state)
{
	struct dns_cache *c = dns_cache_new(10, 100000);
	struct dns_answer *a;
	dns_name n;

	(void)state;
	put(c, "a.example", 60);
	put(c, "b.example", 60);
	assert_int_equal(dns_name_parse("a.example", n), ST_OK);
	dns_cache_drop(c, n, DNS_TYPE_TXT);	/* not there */
	assert_int_equal(dns_cache_count(c), 2);
	dns_cache_drop(c, n, DNS_TYPE_A);
	dns_cache_drop(c, n, DNS_TYPE_A);
	assert_null(dns_cache_get(c, n, DNS_TYPE_A));
	assert_int_equal(dns_name_parse("b.example", n), ST_OK);
	a = dns_cache_get(c, n, DNS_TYPE_A);
	assert_non_null(a);
	dns_answer_free(&a);
	dns_cache_free(&c);
}

static void
bounds(void **state)
{
	struct dns_cache *c = dns_cache_new(3, 100000);

	(void)state;
	put(c, "a.test", 60);
	put(c, "b.test", 60);
	put(c, "c.test", 60);
	assert_true(has(c, "a.test"));	/* now b is the longest unused */
	put(c, "d.test", 60);
	assert_false(has(c, "b.test"));
	assert_true(has(c, "a.test"));
	assert_int_equal(dns_cache_count(c), 3);
	dns_cache_free(&c);
	/* So many bytes as one entry takes, and a half. */
	c = dns_cache_new(100, 750);
	put(c, "a.test", 60);
	put(c, "b.test", 60);
	assert_int_equal(dns_cache_count(c), 1);
	assert_true(has(c, "b.test"));
	dns_cache_free(&c);
	c = dns_cache_new(0, 0);
	put(c, "a.test", 60);
	assert_false(has(c, "a.test"));
	dns_cache_free(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records),
		cmocka_unit_test(time_runs_out),
		cmocka_unit_test(one_dropped),
		cmocka_unit_test(bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
