/*
 * Where mail goes: the order of hosts, loops, and every kind of DNS answer.
 */
#include "config.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "smtpd-out/worker/route.h"
#include "tests/unit/resolver_fake.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct event_base *base;
static struct conf *conf;
static struct route_local *local;
static uint32_t seed;

static uint32_t
seeded(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed >> 7 | seed << 25;
}

static void
use_conf(const char *text)
{
	char err[CONF_ERR_MAX];

	conf_free(&conf);
	route_local_free(&local);
	if (conf_parse("t", text, &conf, err) != ST_OK)
		fail_msg("%s", err);
	local = route_local_new(conf);
}

static int
setup(void **state)
{
	(void)state;
	base = event_base_new();
	fake_dns_init(base);
	use_conf("hostname = \"me.example\"\n"
		"local-addresses = {\"192.0.2.99\", \"2001:db8::99\"}\n"
		"smtp-port = 2525\n");
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	fake_dns_clear();
	route_local_free(&local);
	conf_free(&conf);
	event_base_free(base);
	return 0;
}

/* ---- route_arrange ---- */

/* "PREF NAME ADDRESS ..." with "-" for no address, "?" for ask later. */
static struct route *
make_route(const char *text)
{
	struct route *r = xcalloc(1, sizeof(*r));
	char *copy = xstrdup(text), *save = NULL, *token;

	r->hosts = xcalloc(ROUTE_HOSTS_MAX, sizeof(r->hosts[0]));
	for (token = strtok_r(copy, " ", &save); token != NULL;
	    token = strtok_r(NULL, " ", &save)) {
		struct route_host *h = &r->hosts[r->host_count++];
		struct sockaddr_in *in;

		h->addrs = xcalloc(1, sizeof(h->addrs[0]));
		in = (void *)&h->addrs[0].addr;
		h->preference = (uint16_t)atoi(token);
		h->name = xstrdup(strtok_r(NULL, " ", &save));
		token = strtok_r(NULL, " ", &save);
		if (*token == '?') {
			h->outcome = outcome_dns_later(h->name, "SERVFAIL");
		} else if (*token == '-') {
			h->outcome = outcome_no_address("d.example");
		} else {
			in->sin_family = AF_INET;
			assert_int_equal(inet_pton(AF_INET, token,
				&in->sin_addr), 1);
			h->addr_count = 1;
		}
	}
	free(copy);
	return r;
}

static const char *
names_of(const struct route *r)
{
	static char out[1000];

	out[0] = '\0';
	for (size_t i = 0; i < r->host_count; i++)
		(void)snprintf(out + strlen(out), sizeof(out) - strlen(out),
			"%s%s", i > 0 ? " " : "", r->hosts[i].name);
	return out;
}

static const struct arrange_case {
	const char *hosts, *want;
	const char *enhanced;		/* of the outcome when want is "" */
} arrange_cases[] = {
	{ "30 c 192.0.2.3 10 a 192.0.2.1 20 b 192.0.2.2", "a b c", NULL },
	{ "0 a 192.0.2.1 65535 b 192.0.2.2", "a b", NULL },
	{ "10 a -", "", "5.4.4" },
	{ "10 a ?", "", "4.4.3" },
	{ "10 a - 20 b ? 30 c -", "", "4.4.3" },
	{ "10 a - 20 b -", "", "5.4.4" },
	/* a host without address keeps its place: it has its own reason */
	{ "10 a - 20 b 192.0.2.2", "a b", NULL },
	/* this machine and what is not preferred to it (RFC 5321 5.1) */
	{ "10 a 192.0.2.1 20 me.example 192.0.2.2 30 c 192.0.2.3", "a", NULL },
	{ "10 a 192.0.2.1 20 b 192.0.2.99 30 c 192.0.2.3", "a", NULL },
	{ "10 a 192.0.2.1 20 me.example 192.0.2.2 20 c 192.0.2.3", "a", NULL },
	{ "10 me.example 192.0.2.2 20 c 192.0.2.3", "", "5.4.6" },
	{ "10 a 192.0.2.99", "", "5.4.6" },
	{ "10 a 192.0.2.1 10 b 192.0.2.99", "", "5.4.6" },
	{ "10 a ? 20 me.example 192.0.2.2", "", "4.4.3" },
	{ "10 a - 20 me.example -", "", "5.4.4" },
};

static void
test_arrange(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(arrange_cases); i++)
		for (seed = 0; seed < 20; seed++) {
			const struct arrange_case *c = &arrange_cases[i];
			struct route *r = make_route(c->hosts);
			uint32_t first = seed;

			route_arrange(r, "d.example", "me.example", local,
				seeded);
			seed = first;
			if (strcmp(names_of(r), c->want) != 0)
				fail_msg("%s: %s", c->hosts, names_of(r));
			if (r->host_count == 0) {
				assert_string_equal(r->outcome.enhanced,
					c->enhanced);
				assert_int_equal(r->outcome.scope,
					SCOPE_DESTINATION);
			}
			route_free(&r);
		}
}

/* Within one preference each order is about as likely. */
static void
test_random_order(void **state)
{
	unsigned first[4] = { 0 }, orders[4][4] = { { 0 } };

	(void)state;
	seed = 12345;
	for (int run = 0; run < 4000; run++) {
		struct route *r = make_route("10 a 192.0.2.1 10 b 192.0.2.2 "
			"10 c 192.0.2.3 10 d 192.0.2.4 20 z 192.0.2.5");

		route_arrange(r, "d.example", "me.example", local, seeded);
		assert_int_equal(r->host_count, 5);
		assert_string_equal(r->hosts[4].name, "z");
		first[r->hosts[0].name[0] - 'a']++;
		for (int i = 0; i < 4; i++)
			orders[i][r->hosts[i].name[0] - 'a']++;
		route_free(&r);
	}
	for (int i = 0; i < 4; i++) {
		assert_in_range(first[i], 850, 1150);
		for (int j = 0; j < 4; j++)
			assert_in_range(orders[i][j], 850, 1150);
	}
}

/* ---- lookups ---- */

static struct route *got;
static unsigned calls;

static void
on_route(struct route *route, void *arg)
{
	assert_ptr_equal(arg, &got);
	got = route;
	calls++;
}

static void
turn(void)
{
	for (int i = 0; i < 20; i++)
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
}

static struct route *
find(const char *destination)
{
	got = NULL;
	calls = 0;
	(void)route_start(base, NULL, conf, local, destination, on_route,
		&got);
	assert_int_equal(calls, 0);	/* never from within */
	turn();
	assert_int_equal(calls, 1);
	assert_non_null(got);
	assert_int_equal(got->host_count == 0,
		got->outcome.verdict != VERDICT_NONE);
	return got;
}

static void
assert_fails(const char *destination, const char *enhanced, int code)
{
	struct route *r = find(destination);

	assert_int_equal(r->host_count, 0);
	assert_string_equal(r->outcome.enhanced, enhanced);
	assert_int_equal(r->outcome.code, code);
	route_free(&r);
	assert_null(r);
}

/* Addresses of a host in text. */
static const char *
addrs_of(const struct route_host *h)
{
	static char out[2000];
	char text[INET6_ADDRSTRLEN];

	out[0] = '\0';
	for (size_t i = 0; i < h->addr_count; i++) {
		const struct sockaddr_in *in = (const void *)&h->addrs[i].addr;
		const struct sockaddr_in6 *in6 = (const void *)in;
		bool v4 = in->sin_family == AF_INET;

		assert_int_equal(h->addrs[i].len, v4 ? sizeof(*in) :
			sizeof(*in6));
		(void)inet_ntop(in->sin_family, v4 ?
			(const void *)&in->sin_addr :
			(const void *)&in6->sin6_addr, text, sizeof(text));
		(void)snprintf(out + strlen(out), sizeof(out) - strlen(out),
			"%s%s:%u", i > 0 ? " " : "", text,
			ntohs(v4 ? in->sin_port : in6->sin6_port));
	}
	return out;
}

static void
test_mx(void **state)
{
	struct route *r;

	(void)state;
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_FOUND,
		"20 mx2.example 10 mx1.example");
	fake_dns_a("mx2.example", "192.0.2.2");
	fake_dns_set("mx1.example", DNS_TYPE_A, DNS_FOUND,
		"192.0.2.1 192.0.2.11");
	fake_dns_set("mx1.example", DNS_TYPE_AAAA, DNS_FOUND, "2001:db8::1");
	r = find("d.example");
	assert_string_equal(names_of(r), "mx1.example mx2.example");
	assert_int_equal(r->hosts[0].addr_count, 3);
	assert_non_null(strstr(addrs_of(&r->hosts[0]), "2001:db8::1:2525"));
	assert_non_null(strstr(addrs_of(&r->hosts[0]), "192.0.2.11:2525"));
	assert_string_equal(addrs_of(&r->hosts[1]), "192.0.2.2:2525");
	route_free(&r);
}

static void
test_null_mx(void **state)
{
	(void)state;
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_FOUND, "0 .");
	assert_fails("d.example", "5.1.10", 556);
	assert_int_equal(fake_dns_asked(), 1);
	/* Beside a real one it is a mistake and left out. */
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_FOUND,
		"0 . 10 mx.example");
	fake_dns_a("mx.example", "192.0.2.1");
	find("d.example");
	assert_string_equal(names_of(got), "mx.example");
	route_free(&got);
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_FOUND, "0 . 10 .");
	assert_fails("d.example", "5.4.4", 550);
}

static void
test_dns_failures(void **state)
{
	(void)state;
	assert_fails("gone.example", "5.1.2", 550);
	fake_dns_set("l.example", DNS_TYPE_MX, DNS_LATER, NULL);
	assert_fails("l.example", "4.4.3", 451);
	/* an MX host that does not exist, has nothing, or cannot be asked */
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_FOUND, "10 mx.example");
	assert_fails("d.example", "5.4.4", 550);
	fake_dns_set("mx.example", DNS_TYPE_A, DNS_NODATA, NULL);
	assert_fails("d.example", "5.4.4", 550);
	fake_dns_set("mx.example", DNS_TYPE_AAAA, DNS_LATER, NULL);
	assert_fails("d.example", "4.4.3", 451);
	/* names that are none */
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_FOUND,
		"10 a..b 20 MX.EXAMPLE 30 x/y");
	assert_fails("d.example", "5.4.4", 550);
}

static void
assert_bogus(const char *destination, enum tls_failure failure,
	const char *host)
{
	struct route *r = find(destination);

	assert_int_equal(r->host_count, 0);
	assert_int_equal(r->outcome.verdict, VERDICT_LATER);
	assert_int_equal(r->outcome.scope, SCOPE_DESTINATION);
	assert_int_equal(r->outcome.tls_failure, failure);
	if (host == NULL)
		assert_null(r->bogus);
	else
		assert_string_equal(r->bogus, host);
	route_free(&r);
}

/* RFC 8460 section 4.3.2.1: that is told, unless it is our resolver's fault. */
static void
test_bogus(void **state)
{
	struct route *r;

	(void)state;
	fake_dns_set("l.example", DNS_TYPE_MX, DNS_LATER, NULL);
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_FOUND,
		"10 none.example 20 mx.example");
	fake_dns_set("mx.example", DNS_TYPE_A, DNS_LATER, NULL);
	fake_dns_set("mx.example", DNS_TYPE_AAAA, DNS_LATER, NULL);
	assert_bogus("l.example", TLS_FAILURE_NONE, NULL);
	assert_bogus("d.example", TLS_FAILURE_NONE, NULL);
	fake_dns_security(DNS_SEC_INDETERMINATE);
	assert_bogus("l.example", TLS_FAILURE_NONE, NULL);
	assert_bogus("d.example", TLS_FAILURE_NONE, NULL);
	fake_dns_security(DNS_SEC_BOGUS);
	assert_bogus("l.example", TLS_FAILURE_DNSSEC_INVALID, NULL);
	assert_bogus("d.example", TLS_FAILURE_DNSSEC_INVALID, "mx.example");
	fake_dns_at_fault(true);
	assert_bogus("l.example", TLS_FAILURE_NONE, NULL);
	assert_bogus("d.example", TLS_FAILURE_NONE, NULL);
	fake_dns_at_fault(false);
	fake_dns_a("none.example", "192.0.2.1");
	r = find("d.example");
	assert_int_equal(r->host_count, 2);
	assert_null(r->bogus);
	assert_int_equal(r->hosts[1].outcome.tls_failure,
		TLS_FAILURE_DNSSEC_INVALID);
	route_free(&r);
}

/* One family cannot be asked, the other is found: that will do. */
static void
test_half_an_answer(void **state)
{
	struct route *r;

	(void)state;
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_FOUND, "10 mx.example");
	fake_dns_set("mx.example", DNS_TYPE_A, DNS_FOUND, "192.0.2.1");
	fake_dns_set("mx.example", DNS_TYPE_AAAA, DNS_LATER, NULL);
	r = find("d.example");
	assert_string_equal(addrs_of(&r->hosts[0]), "192.0.2.1:2525");
	assert_int_equal(r->hosts[0].outcome.verdict, VERDICT_NONE);
	route_free(&r);
}

/* Hosts without address beside others: theirs is a host's trouble. */
static void
test_some_without_address(void **state)
{
	struct route *r;

	(void)state;
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_FOUND,
		"10 none.example 20 ask.example 30 good.example");
	fake_dns_set("ask.example", DNS_TYPE_A, DNS_LATER, NULL);
	fake_dns_set("ask.example", DNS_TYPE_AAAA, DNS_NODATA, NULL);
	fake_dns_a("good.example", "192.0.2.1");
	r = find("d.example");
	assert_string_equal(names_of(r),
		"none.example ask.example good.example");
	assert_int_equal(r->hosts[0].outcome.verdict, VERDICT_NEVER);
	assert_int_equal(r->hosts[0].outcome.scope, SCOPE_HOST);
	assert_int_equal(r->hosts[1].outcome.verdict, VERDICT_LATER);
	assert_int_equal(r->hosts[1].outcome.scope, SCOPE_HOST);
	assert_int_equal(r->hosts[2].outcome.verdict, VERDICT_NONE);
	route_free(&r);
}

static void
test_implicit_mx(void **state)
{
	struct route *r;

	(void)state;
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_NODATA, NULL);
	fake_dns_set("d.example", DNS_TYPE_AAAA, DNS_FOUND, "2001:db8::1");
	fake_dns_set("d.example", DNS_TYPE_A, DNS_NODATA, NULL);
	r = find("d.example");
	assert_string_equal(names_of(r), "d.example");
	assert_string_equal(addrs_of(&r->hosts[0]), "2001:db8::1:2525");
	route_free(&r);
	fake_dns_set("d.example", DNS_TYPE_AAAA, DNS_NODATA, NULL);
	assert_fails("d.example", "5.4.4", 550);
	fake_dns_set("d.example", DNS_TYPE_A, DNS_LATER, NULL);
	assert_fails("d.example", "4.4.3", 451);
}

static void
test_loops(void **state)
{
	struct route *r;

	(void)state;
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_FOUND,
		"10 me.example 20 b.example");
	fake_dns_a("me.example", "192.0.2.50");
	fake_dns_a("b.example", "192.0.2.2");
	assert_fails("d.example", "5.4.6", 554);
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_FOUND,
		"10 b.example 20 c.example");
	fake_dns_set("c.example", DNS_TYPE_AAAA, DNS_FOUND, "2001:db8::99");
	r = find("d.example");
	assert_string_equal(names_of(r), "b.example");
	route_free(&r);
	/* by an IPv4 address dressed as IPv6 */
	fake_dns_set("b.example", DNS_TYPE_AAAA, DNS_FOUND,
		"::ffff:192.0.2.99");
	assert_fails("d.example", "5.4.6", 554);
	assert_fails("[192.0.2.99]", "5.4.6", 554);
	fake_dns_set("me.example", DNS_TYPE_MX, DNS_NODATA, NULL);
	assert_fails("me.example", "5.4.6", 554);
}

/* Without a list, this machine's interfaces and all that only leads home. */
static void
test_loopback(void **state)
{
	static const char *const home[] = { "127.0.0.1", "127.9.8.7",
		"0.0.0.0", "0.1.2.3" };
	static const char *const home6[] = { "::1", "::",
		"::ffff:127.0.0.1" };

	(void)state;
	use_conf("hostname = \"me.example\"");
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_FOUND, "10 mx.example");
	for (size_t i = 0; i < COUNT(home); i++) {
		fake_dns_a("mx.example", home[i]);
		assert_fails("d.example", "5.4.6", 554);
	}
	for (size_t i = 0; i < COUNT(home6); i++) {
		fake_dns_set("mx.example", DNS_TYPE_A, DNS_NODATA, NULL);
		fake_dns_set("mx.example", DNS_TYPE_AAAA, DNS_FOUND,
			home6[i]);
		assert_fails("d.example", "5.4.6", 554);
	}
}

static const struct literal_case {
	const char *text, *want;	/* NULL: 5.1.3 */
} literal_cases[] = {
	{ "[192.0.2.1]", "192.0.2.1:2525" },
	{ "[ipv6:2001:db8::1]", "2001:db8::1:2525" },
	{ "[]", NULL }, { "[", NULL }, { "[x]", NULL }, { "[192.0.2]", NULL },
	{ "[192.0.2.256]", NULL }, { "[ipv6:]", NULL },
	{ "[ipv6:192.0.2.1]", NULL }, { "[ipv6:2001:db8::1::2]", NULL },
	{ "[ipv6:1:2:3:4:5:6:7:8:9:a:b:c:d:e:f:0:1:2:3:4:5:6:7:8:9:0:1:2:3]",
		NULL },
};

static void
test_literals(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(literal_cases); i++) {
		const struct literal_case *c = &literal_cases[i];
		struct route *r;

		if (c->want == NULL) {
			assert_fails(c->text, "5.1.3", 553);
			continue;
		}
		r = find(c->text);
		assert_string_equal(names_of(r), c->text);
		assert_string_equal(addrs_of(&r->hosts[0]), c->want);
		route_free(&r);
	}
	assert_int_equal(fake_dns_asked(), 0);
}

/* Relays: no MX lookup, their own port, and a mistake defers. */
static void
test_relays(void **state)
{
	struct route *r;

	(void)state;
	use_conf("hostname = \"me.example\"\n"
		"local-addresses = {\"192.0.2.99\"}\n"
		"destination \"a.example\" { relay = \"R.example:2000\" }\n"
		"destination \".b.example\" { relay = \"[192.0.2.5]:26\" }\n"
		"destination \"c.example\" { relay = \"[2001:DB8::5]\" }\n"
		"destination \"d.example\" { relay = \"gone.example\" }\n");
	fake_dns_a("r.example", "192.0.2.4");
	r = find("a.example");
	assert_string_equal(names_of(r), "r.example");
	assert_string_equal(addrs_of(&r->hosts[0]), "192.0.2.4:2000");
	route_free(&r);
	r = find("x.b.example");
	assert_string_equal(addrs_of(&r->hosts[0]), "192.0.2.5:26");
	route_free(&r);
	r = find("c.example");
	assert_string_equal(addrs_of(&r->hosts[0]), "2001:db8::5:25");
	route_free(&r);
	r = find("d.example");
	assert_int_equal(r->host_count, 0);
	assert_int_equal(r->outcome.verdict, VERDICT_LATER);
	route_free(&r);
}

static void
test_families(void **state)
{
	(void)state;
	use_conf("hostname = \"me.example\"\nipv6 = no\n"
		"local-addresses = {\"192.0.2.99\"}\n");
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_FOUND, "10 mx.example");
	fake_dns_set("mx.example", DNS_TYPE_A, DNS_FOUND, "192.0.2.1");
	fake_dns_set("mx.example", DNS_TYPE_AAAA, DNS_FOUND, "2001:db8::1");
	find("d.example");
	assert_string_equal(addrs_of(&got->hosts[0]), "192.0.2.1:25");
	route_free(&got);
	use_conf("hostname = \"me.example\"\nipv4 = no\n"
		"local-addresses = {\"192.0.2.99\"}\n");
	find("d.example");
	assert_string_equal(addrs_of(&got->hosts[0]), "2001:db8::1:25");
	route_free(&got);
}

/* More hosts and addresses than are looked at. */
static void
test_bounds(void **state)
{
	static char mx[2000], a[1000], name[20][20];

	(void)state;
	mx[0] = a[0] = '\0';
	for (int i = 0; i < 20; i++) {
		(void)snprintf(name[i], 20, "mx%02d.example", i);
		(void)snprintf(mx + strlen(mx), sizeof(mx) - strlen(mx),
			"%d %s ", 100 - i, name[i]);
		(void)snprintf(a + strlen(a), sizeof(a) - strlen(a),
			"192.0.2.%d ", i + 1);
	}
	for (int i = 0; i < 20; i++)
		fake_dns_a(name[i], a);
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_FOUND, mx);
	find("d.example");
	assert_int_equal(got->host_count, ROUTE_HOSTS_MAX);
	assert_string_equal(got->hosts[0].name, "mx19.example");
	assert_string_equal(got->hosts[15].name, "mx04.example");
	for (size_t i = 0; i < got->host_count; i++)
		assert_int_equal(got->hosts[i].addr_count, SESSION_ADDRS_MAX);
	route_free(&got);
}

/* Of more hosts of one preference than are looked at, any may be. */
static void
test_bound_is_fair(void **state)
{
	static char mx[2000], name[20][20];
	bool seen[20] = { false };

	(void)state;
	mx[0] = '\0';
	for (int i = 0; i < 20; i++) {
		(void)snprintf(name[i], 20, "mx%02d.example", i);
		(void)snprintf(mx + strlen(mx), sizeof(mx) - strlen(mx),
			"10 %s ", name[i]);
		fake_dns_a(name[i], "192.0.2.1");
	}
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_FOUND, mx);
	for (int run = 0; run < 60; run++) {
		find("d.example");
		for (size_t i = 0; i < got->host_count; i++)
			seen[atoi(got->hosts[i].name + 2)] = true;
		route_free(&got);
	}
	for (int i = 0; i < 20; i++)
		assert_true(seen[i]);
}

/* Cancelled at each stage: no callback, nothing left behind. */
static void
test_cancel(void **state)
{
	struct route_lookup *l;

	(void)state;
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_FOUND,
		"10 mx1.example 20 mx2.example");
	fake_dns_a("mx1.example", "192.0.2.1");
	fake_dns_a("mx2.example", "192.0.2.2");
	calls = 0;
	for (unsigned turns = 0; turns < 6; turns++) {
		l = route_start(base, NULL, conf, local, "d.example",
			on_route, &got);
		for (unsigned i = 0; i < turns && calls == 0; i++)
			(void)event_base_loop(base, EVLOOP_NONBLOCK |
				EVLOOP_ONCE);
		if (calls == 0) {
			route_cancel(&l);
			assert_null(l);
		}
		turn();
		assert_int_equal(fake_dns_pending(), 0);
		if (calls > 0)
			route_free(&got);
		assert_true(calls <= 1);
		calls = 0;
	}
	l = route_start(base, NULL, conf, local, "[192.0.2.1]", on_route,
		&got);
	route_cancel(&l);
	route_cancel(&l);
	turn();
	assert_int_equal(calls, 0);
}

/* One address answer has come, the others are held. */
static void
test_cancel_half_way(void **state)
{
	struct route_lookup *l;

	(void)state;
	fake_dns_set("d.example", DNS_TYPE_MX, DNS_FOUND,
		"10 mx1.example 20 mx2.example");
	l = route_start(base, NULL, conf, local, "d.example", on_route, &got);
	fake_dns_hold(true);
	turn();
	assert_int_equal(fake_dns_pending(), 4);
	calls = 0;
	route_cancel(&l);
	assert_int_equal(fake_dns_pending(), 0);
	fake_dns_hold(false);
	turn();
	assert_int_equal(calls, 0);
}

int
main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_arrange), T(test_random_order), T(test_mx),
		T(test_null_mx), T(test_dns_failures), T(test_bogus),
		T(test_half_an_answer),
		T(test_some_without_address), T(test_implicit_mx),
		T(test_loops), T(test_loopback), T(test_literals),
		T(test_relays), T(test_families), T(test_bounds),
		T(test_bound_is_fair), T(test_cancel),
		T(test_cancel_half_way),
	};

	return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
