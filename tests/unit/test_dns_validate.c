/*
 * The whole validator against a small signed world on loopback, with the
 * clock held still: what it says, what it asks for, and what the probe finds
 * when the resolver or the clock is wrong.
 *
 * The world: the root, "test" and "zone.test" are signed (denials are minimal
 * NSEC records made on the spot), "plain.test" is delegated without DS.
 */
#include "config.h"

#include <errno.h>
#include <seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "resolver/dns_parse.h"
#include "resolver/dns_zones.h"
#include "resolver/resolver.h"
#include "tests/lib/dnsfake.h"
#include "tests/lib/dnssign.h"

#define ANSWERS_MAX 64
#define HELD_MAX 128
#define ROUND_MS 15
#define DAY_MS (86400LL * 1000)

enum tamper { NOTHING = 0, STRIP_RRSIG, STRIP_NSEC, NO_OPT, SILENT, SPOIL,
	FAIL_DS, FORGE_MX, AD };

static struct dnssign_key *keys[3];	/* of the zones below */
static const char *const zones[3] = { "", "test", "zone.test" };

static const struct record {
	int zone;
	const char *owner;
	uint16_t type;
	const char *line;
} records[] = {
	{ 1, "plain.test", DNS_TYPE_NS, "plain.test. 300 NS ns.test." },
	{ 2, "zone.test", DNS_TYPE_MX, "zone.test. 300 MX 10 mx.zone.test." },
	{ 2, "mx.zone.test", DNS_TYPE_A, "mx.zone.test. 300 A 192.0.2.1" },
	{ 2, "_25._tcp.mx.zone.test", DNS_TYPE_TLSA,
		"_25._tcp.mx.zone.test. 300 TLSA 3 1 1 aabb" },
	{ 2, "alias.zone.test", DNS_TYPE_CNAME,
		"alias.zone.test. 200 CNAME mx.zone.test." },
	{ 2, "out.zone.test", DNS_TYPE_CNAME,
		"out.zone.test. 200 CNAME mx.plain.test." },
	{ -1, "plain.test", DNS_TYPE_MX, "plain.test. 300 MX 10 mx" },
	{ -1, "mx.plain.test", DNS_TYPE_A, "mx.plain.test. 300 A 192.0.2.2" },
};

struct held {
	struct dnsfake_query q;
	uint8_t bytes[600];
};

struct lab {
	struct event_base *base;
	struct dnsfake *fake;
	struct resolver *resolver;
	struct conf_resolver conf;
	struct conf_addr addr;
	char anchor[40];
	enum tamper tamper;
	bool in_rounds;			/* answer all questions of a while */
	struct event *round_timer;
	struct held held[HELD_MAX];
	size_t held_count;
	unsigned rounds, queries, key_queries;
	struct dns_answer *answers[ANSWERS_MAX];
	size_t count, wanted;
	enum resolver_state probed;
	char sentence[256];
	bool probe_told;
};

static struct dnspkt pkt;

/* ---- the world ------------------------------------------------------- */

static bool
within(const char *name, const char *zone)
{
	size_t n = strlen(name), z = strlen(zone);

	return z == 0 || (n >= z && strcmp(name + n - z, zone) == 0 &&
		(n == z || name[n - z - 1] == '.'));
}

/* -1: unsigned.  DS records are of the zone above. */
static int
zone_of(const char *name, uint16_t type)
{
	if (within(name, "plain.test") && !(type == DNS_TYPE_DS &&
	    strcmp(name, "plain.test") == 0))
		return -1;
	for (int z = 2; z > 0; z--)
		if (within(name, zones[z]) && !(type == DNS_TYPE_DS &&
		    strcmp(name, zones[z]) == 0))
			return z;
	return 0;
}

static void
sign(const struct lab *lab, int section, const char *owner, uint16_t type,
	int zone)
{
	struct dnssign_odd odd = { .spoil = lab->tamper == SPOIL };

	if (zone >= 0 && lab->tamper != STRIP_RRSIG)
		dnssign(&pkt, section, owner, type, keys[zone], &odd);
}

static bool
add_records(const struct lab *lab, const char *name, uint16_t type, int zone)
{
	bool found = false;

	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
		const struct record *r = &records[i];

		if (r->zone != zone || r->type != type ||
		    strcmp(r->owner, name) != 0)
			continue;
		dnspkt_add(&pkt, 0, r->line);
		found = true;
	}
	for (int z = 0; z < 3 && zone >= 0; z++) {
		if (strcmp(zones[z], name) != 0)
			continue;
		if (type == DNS_TYPE_DNSKEY)
			dnssign_add_key(&pkt, 0, keys[z]);
		else if (type == DNS_TYPE_DS && z > 0)
			dnssign_add_ds(&pkt, 0, keys[z], 2);
		else
			continue;
		found = true;
	}
	if (found)
		sign(lab, 0, name, type, zone);
	return found;
}

/* "This name has these types and the next one is just after it." */
static void
add_denial(const struct lab *lab, const char *name, int zone)
{
	bool top = zone >= 0 && strcmp(name, zones[zone]) == 0;
	bool cut = strcmp(name, "plain.test") == 0;
	char line[1600];

	if (zone < 0)
		return;
	snprintf(line, sizeof(line), "%s. 60 SOA ns. h. 1 2 3 4 60",
		zones[zone]);
	dnspkt_add(&pkt, 1, line);
	sign(lab, 1, zones[zone], DNS_TYPE_SOA, zone);
	if (lab->tamper == STRIP_NSEC)
		return;
	snprintf(line, sizeof(line), "%s. 60 NSEC \\000.%s. %s RRSIG NSEC",
		name, name, top ? "NS SOA" : cut ? "NS" : "HINFO");
	if (*name == '\0')
		snprintf(line, sizeof(line), ". 60 NSEC test. NS SOA RRSIG "
			"NSEC DNSKEY");
	dnspkt_add(&pkt, 1, line);
	sign(lab, 1, name, DNS_TYPE_NSEC, zone);
}

/* TXT below "wild.zone.test" comes from a wildcard there. */
static void
add_wildcard(const struct lab *lab, const char *name)
{
	struct dnssign_odd odd = { .labels = 3 + 1 };
	char line[1600];

	snprintf(line, sizeof(line), "%s. 300 TXT wild", name);
	dnspkt_add(&pkt, 0, line);
	dnssign(&pkt, 0, name, DNS_TYPE_TXT, keys[2], &odd);
	if (lab->tamper == STRIP_NSEC)
		return;
	dnspkt_add(&pkt, 1, "wild.zone.test. 60 NSEC zz.wild.zone.test. A");
	sign(lab, 1, "wild.zone.test", DNS_TYPE_NSEC, 2);
}

static void
answer(const struct lab *lab, const struct dnsfake_query *q)
{
	int zone = zone_of(q->name, q->type);
	bool fails = lab->tamper == FAIL_DS && q->type == DNS_TYPE_DS;

	if (lab->tamper == SILENT)
		return;
	dnspkt_start(&pkt, 0, q->name, q->type, fails ? DNS_SERVFAIL : 0,
		lab->tamper == NO_OPT ? PKT_NO_OPT :
		lab->tamper == AD ? PKT_DO | PKT_AD : PKT_DO);
	if (lab->tamper == FORGE_MX && q->type == DNS_TYPE_MX)
		dnspkt_add(&pkt, 0, "zone.test. 300 MX 5 mx.evil.test.");
	else if (q->type == DNS_TYPE_TXT && within(q->name, "wild.zone.test"))
		add_wildcard(lab, q->name);
	else if (!fails && !add_records(lab, q->name, q->type, zone) &&
	    !add_records(lab, q->name, DNS_TYPE_CNAME, zone))
		add_denial(lab, q->name, zone);
	dnspkt_echo(&pkt, q->bytes, q->len);
	dnsfake_send(q, &pkt);
}

static void
on_round(evutil_socket_t fd, short what, void *arg)
{
	struct lab *lab = arg;
	size_t n = lab->held_count;

	(void)fd;
	(void)what;
	lab->rounds++;
	lab->held_count = 0;
	for (size_t i = 0; i < n; i++) {
		lab->held[i].q.bytes = lab->held[i].bytes;
		answer(lab, &lab->held[i].q);
	}
}

static void
on_query(const struct dnsfake_query *q, void *arg)
{
	struct lab *lab = arg;
	struct timeval tv = { 0, ROUND_MS * 1000 };

	lab->queries++;
	lab->key_queries += q->type == DNS_TYPE_DNSKEY ? 1U : 0U;
	if (!lab->in_rounds) {
		answer(lab, q);
		return;
	}
	assert_true(lab->held_count < HELD_MAX && q->len < 600);
	lab->held[lab->held_count].q = *q;
	memcpy(lab->held[lab->held_count++].bytes, q->bytes, q->len);
	if (!event_pending(lab->round_timer, EV_TIMEOUT, NULL))
		event_add(lab->round_timer, &tv);
}

/* ---- the lab --------------------------------------------------------- */

static void
anchor_write(struct lab *lab, const char *text)
{
	FILE *f = fopen(lab->anchor, "w");
	uint8_t ds[64];
	size_t len = dnssign_ds(keys[0], 2, ds);

	if (text != NULL) {
		fputs(text, f);
	} else {
		fprintf(f, "; the root\n. IN DS %u 13 2 ", keys[0]->tag);
		for (size_t i = 4; i < len; i++)
			fprintf(f, "%02x", ds[i]);
		fputs("\n", f);
	}
	fclose(f);
}

static void
on_state(enum resolver_state state, const char *sentence, void *arg)
{
	struct lab *lab = arg;

	lab->probed = state;
	lab->probe_told = true;
	snprintf(lab->sentence, sizeof(lab->sentence), "%s", sentence);
	event_base_loopbreak(lab->base);
}

static void
loop(struct lab *lab)
{
	struct timeval limit = { 5, 0 };

	event_base_loopexit(lab->base, &limit);
	event_base_dispatch(lab->base);
}

static void
probe_is(struct lab *lab, enum resolver_state state, const char *part)
{
	const char *sentence;

	lab->probe_told = false;
	resolver_probe(lab->resolver, on_state, lab);
	while (!lab->probe_told)
		loop(lab);
	assert_string_equal(resolver_state_name(lab->probed),
		resolver_state_name(state));
	if (strstr(lab->sentence, part) == NULL)
		fail_msg("\"%s\" lacks \"%s\"", lab->sentence, part);
	assert_int_equal(resolver_state(lab->resolver, &sentence), state);
	assert_string_equal(sentence, lab->sentence);
}

/* A resolver without memory, its first probe over. */
static void
lab_resolver(struct lab *lab)
{
	char err[CONF_ERR_MAX] = "";

	resolver_free(&lab->resolver);
	/* Long, for slow machines, where an answer is to come. */
	lab->conf.timeout_ms = lab->tamper == SILENT ? 150 : 2500;
	if (resolver_new(lab->base, &lab->conf, &lab->resolver, err) != ST_OK)
		fail_msg("%s", err);
	lab->probe_told = false;
	resolver_probe(lab->resolver, on_state, lab);
	while (!lab->probe_told)
		loop(lab);
	lab->queries = lab->rounds = lab->key_queries = 0;
}

static int
setup(void **state)
{
	struct lab *lab = calloc(1, sizeof(*lab));

	strcpy(lab->anchor, "/tmp/test_dns_XXXXXX");
	close(mkstemp(lab->anchor));
	anchor_write(lab, NULL);
	lab->base = event_base_new();
	lab->fake = dnsfake_new(lab->base, on_query, lab);
	lab->round_timer = evtimer_new(lab->base, on_round, lab);
	dnsfake_addr(lab->fake, &lab->addr);
	lab->conf.servers = &lab->addr;
	lab->conf.server_count = 1;
	lab->conf.trust_anchor = lab->anchor;
	lab->conf.lookup_ms = 4000;
	lab->conf.tries = 1;
	lab->conf.cache_entries = 100;
	lab->conf.skew_s = 300;
	lab->conf.nsec3_iterations = 50;
	clock_test_set(SIGN_T0 * 1000LL);
	lab_resolver(lab);
	*state = lab;
	return 0;
}

static int
teardown(void **state)
{
	struct lab *lab = *state;

	resolver_free(&lab->resolver);
	dnsfake_free(&lab->fake);
	event_free(lab->round_timer);
	for (size_t i = 0; i < lab->count; i++)
		dns_answer_free(&lab->answers[i]);
	event_base_free(lab->base);
	remove(lab->anchor);
	free(lab);
	clock_test_real();
	return 0;
}

static void
on_answer(struct dns_answer *a, void *arg)
{
	struct lab *lab = arg;

	lab->answers[lab->count++] = a;
	if (lab->count >= lab->wanted)
		event_base_loopbreak(lab->base);
}

static struct dns_answer *
look_up(struct lab *lab, const char *name, uint16_t type)
{
	(void)resolver_start(lab->resolver, name, type, on_answer, lab);
	lab->wanted = lab->count + 1;
	loop(lab);
	assert_int_equal(lab->count, lab->wanted);
	return lab->answers[lab->count - 1];
}

static void
is(const struct dns_answer *a, enum dns_result result,
	enum dns_security security, const char *part)
{
	if (a->result != result || a->security != security)
		fail_msg("%s: %s %s (%s)", a->name,
			dns_result_name(a->result),
			dns_security_name(a->security),
			a->why == NULL ? "" : a->why);
	if (part == NULL)
		assert_null(a->why);
	else if (a->why == NULL || strstr(a->why, part) == NULL)
		fail_msg("\"%s\" lacks \"%s\"", a->why, part);
}

/* ---- verdicts -------------------------------------------------------- */

static void
verdicts(void **state)
{
	struct lab *lab = *state;
	struct dns_answer *a;

	is(look_up(lab, "zone.test", DNS_TYPE_MX), DNS_FOUND, DNS_SEC_SECURE,
		NULL);
	is(look_up(lab, "_25._tcp.mx.zone.test", DNS_TYPE_TLSA), DNS_FOUND,
		DNS_SEC_SECURE, NULL);
	is(look_up(lab, "zone.test", DNS_TYPE_TXT), DNS_NODATA,
		DNS_SEC_SECURE, NULL);
	is(look_up(lab, "zone.test", DNS_TYPE_DS), DNS_FOUND, DNS_SEC_SECURE,
		NULL);
	is(look_up(lab, "plain.test", DNS_TYPE_DS), DNS_NODATA,
		DNS_SEC_SECURE, NULL);
	is(look_up(lab, "plain.test", DNS_TYPE_MX), DNS_FOUND,
		DNS_SEC_INSECURE, "zone plain.test: it is delegated without");
	is(look_up(lab, "a.b.plain.test", DNS_TYPE_TXT), DNS_NODATA,
		DNS_SEC_INSECURE, "plain.test");
	is(look_up(lab, "x.wild.zone.test", DNS_TYPE_TXT), DNS_FOUND,
		DNS_SEC_SECURE, NULL);
	a = look_up(lab, "alias.zone.test", DNS_TYPE_A);
	is(a, DNS_FOUND, DNS_SEC_SECURE, NULL);
	assert_int_equal(a->chain_security, DNS_SEC_SECURE);
	assert_int_equal(a->ttl_s, 200);
	a = look_up(lab, "out.zone.test", DNS_TYPE_A);
	is(a, DNS_FOUND, DNS_SEC_INSECURE, "plain.test");
	assert_int_equal(a->chain_security, DNS_SEC_SECURE);
	assert_string_equal(a->canonical, "mx.plain.test");
}

static void
explained(void **state)
{
	struct lab *lab = *state;
	char text[300];

	(void)look_up(lab, "mx.plain.test", DNS_TYPE_A);
	assert_true(resolver_explain(lab->resolver, "", text, sizeof(text)));
	assert_non_null(strstr(text, "secure: trust anchor"));
	assert_true(resolver_explain(lab->resolver, "test", text,
		sizeof(text)));
	assert_non_null(strstr(text, "secure: DS record fits"));
	assert_true(resolver_explain(lab->resolver, "plain.test", text,
		sizeof(text)));
	assert_non_null(strstr(text, "insecure: zone plain.test"));
	assert_false(resolver_explain(lab->resolver, "other.test", text,
		sizeof(text)));
}

static void
tampered(void **state)
{
	static const struct {
		enum tamper tamper;
		const char *name;
		uint16_t type;
		enum dns_security security;
		const char *part;
	} cases[] = {
		{ STRIP_RRSIG, "zone.test", DNS_TYPE_MX, DNS_SEC_BOGUS,
			"not signed" },
		{ SPOIL, "zone.test", DNS_TYPE_MX, DNS_SEC_BOGUS,
			"does not verify" },
		{ FORGE_MX, "zone.test", DNS_TYPE_MX, DNS_SEC_BOGUS,
			"MX zone.test: it is not signed, but its zone is" },
		{ STRIP_NSEC, "zone.test", DNS_TYPE_TXT, DNS_SEC_BOGUS,
			"TXT zone.test: its absence is not proven" },
		{ STRIP_NSEC, "plain.test", DNS_TYPE_MX, DNS_SEC_BOGUS,
			"zone plain.test: neither a DS record nor" },
		{ STRIP_NSEC, "x.wild.zone.test", DNS_TYPE_TXT, DNS_SEC_BOGUS,
			"TXT x.wild.zone.test: no NSEC record shows" },
		{ FAIL_DS, "zone.test", DNS_TYPE_MX, DNS_SEC_INDETERMINATE,
			"SERVFAIL" },
		{ NO_OPT, "zone.test", DNS_TYPE_MX, DNS_SEC_INDETERMINATE,
			"cannot do DNSSEC" },
		{ SILENT, "zone.test", DNS_TYPE_MX, DNS_SEC_INDETERMINATE,
			"no answer in time" },
	};
	struct lab *lab = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		lab->tamper = cases[i].tamper;
		lab_resolver(lab);
		is(look_up(lab, cases[i].name, cases[i].type), DNS_LATER,
			cases[i].security, cases[i].part);
	}
}

/* One resolver of two that strips what it passes on does no harm. */
static void
other_server(void **state)
{
	struct lab *lab = *state, *liar = calloc(1, sizeof(*liar));
	struct conf_addr addrs[2];

	liar->tamper = STRIP_RRSIG;
	liar->base = lab->base;
	liar->fake = dnsfake_new(lab->base, on_query, liar);
	dnsfake_addr(liar->fake, &addrs[0]);
	addrs[1] = lab->addr;
	lab->conf.servers = addrs;
	lab->conf.server_count = 2;
	lab_resolver(lab);
	assert_true(liar->queries > 0);
	assert_int_equal(lab->probed, RESOLVER_VALIDATING);
	is(look_up(lab, "zone.test", DNS_TYPE_MX), DNS_FOUND, DNS_SEC_SECURE,
		NULL);
	liar->queries = 0;
	is(look_up(lab, "plain.test", DNS_TYPE_MX), DNS_FOUND,
		DNS_SEC_INSECURE, "plain.test");
	assert_int_equal(liar->queries, 0);
	/* It begins to lie as well: both are asked, once each. */
	lab_resolver(lab);
	lab->tamper = STRIP_RRSIG;
	liar->queries = 0;
	is(look_up(lab, "zone.test", DNS_TYPE_MX), DNS_LATER, DNS_SEC_BOGUS,
		"not signed");
	assert_true(liar->queries > 0 && liar->queries < 10);
	dnsfake_free(&liar->fake);
	free(liar);
}

/* Bogus is remembered for a short while; other failures are not. */
static void
bogus_cached(void **state)
{
	struct lab *lab = *state;
	unsigned before;

	lab->tamper = FORGE_MX;
	(void)look_up(lab, "zone.test", DNS_TYPE_MX);
	lab->tamper = NOTHING;
	before = lab->queries;
	is(look_up(lab, "zone.test", DNS_TYPE_MX), DNS_LATER, DNS_SEC_BOGUS,
		"");
	assert_int_equal(lab->queries, before);
	clock_test_set(SIGN_T0 * 1000LL + 31000);
	is(look_up(lab, "zone.test", DNS_TYPE_MX), DNS_FOUND, DNS_SEC_SECURE,
		NULL);
	lab->tamper = SILENT;
	lab_resolver(lab);
	(void)look_up(lab, "mx.zone.test", DNS_TYPE_A);
	lab->tamper = NOTHING;
	for (int i = 0; i < 10; i++)	/* the zones that wait fail, too */
		event_base_loop(lab->base, EVLOOP_NONBLOCK);
	clock_test_set(SIGN_T0 * 1000LL + 39000);
	is(look_up(lab, "mx.zone.test", DNS_TYPE_A), DNS_FOUND,
		DNS_SEC_SECURE, NULL);
}

static void
time_passes(void **state)
{
	struct lab *lab = *state;

	is(look_up(lab, "zone.test", DNS_TYPE_MX), DNS_FOUND, DNS_SEC_SECURE,
		NULL);
	/* The signatures end in a day; so does all that rests on them. */
	clock_test_set(SIGN_T0 * 1000LL + DAY_MS + 600 * 1000);
	is(look_up(lab, "zone.test", DNS_TYPE_MX), DNS_LATER, DNS_SEC_BOGUS,
		"expired");
}

/* ---- what is asked for ----------------------------------------------- */

static void
one_round_trip(void **state)
{
	struct lab *lab = *state;

	lab->in_rounds = true;
	is(look_up(lab, "zone.test", DNS_TYPE_MX), DNS_FOUND, DNS_SEC_SECURE,
		NULL);
	assert_int_equal(lab->rounds, 1);
	assert_int_equal(lab->queries, 6);
	lab->queries = lab->rounds = 0;
	is(look_up(lab, "_25._tcp.mx.zone.test", DNS_TYPE_TLSA), DNS_FOUND,
		DNS_SEC_SECURE, NULL);
	assert_int_equal(lab->rounds, 1);
	assert_int_equal(lab->queries, 1);
	lab->queries = lab->rounds = 0;
	/* Root and "test" are known: only the new zone is asked for. */
	is(look_up(lab, "plain.test", DNS_TYPE_MX), DNS_FOUND,
		DNS_SEC_INSECURE, "plain.test");
	assert_int_equal(lab->rounds, 1);
	assert_int_equal(lab->queries, 3);
	lab->queries = lab->rounds = 0;
	(void)look_up(lab, "mx.plain.test", DNS_TYPE_A);
	assert_int_equal(lab->queries, 1);
}

static void
asked_once(void **state)
{
	struct lab *lab = *state;
	char name[64];

	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "n%d.zone.test", i);
		(void)resolver_start(lab->resolver, name, DNS_TYPE_TXT,
			on_answer, lab);
	}
	lab->wanted = 40;
	loop(lab);
	assert_int_equal(lab->count, 40);
	for (int i = 0; i < 40; i++)
		is(lab->answers[i], DNS_NODATA, DNS_SEC_SECURE, NULL);
	assert_int_equal(lab->key_queries, 3);
	assert_int_equal(lab->queries, 40 + 5);
}

/* A long name without signature: each label might be a zone. */
static void
long_chain(void **state)
{
	struct lab *lab = *state;
	char name[300] = "";

	for (int i = 0; i < 60; i++)
		strcat(name, "a.");
	strcat(name, "zone.test");
	(void)look_up(lab, "zone.test", DNS_TYPE_MX);
	lab->queries = 0;
	lab->tamper = NOTHING;
	is(look_up(lab, name, DNS_TYPE_TXT), DNS_NODATA, DNS_SEC_SECURE, NULL);
	assert_int_equal(lab->queries, 1);
	name[0] = 'b';
	lab->tamper = STRIP_RRSIG;
	is(look_up(lab, name, DNS_TYPE_TXT), DNS_LATER, DNS_SEC_BOGUS, "");
	assert_true(lab->queries <= 2 + DNS_ZONES_PER_LOOKUP);
}

static void
cancelled(void **state)
{
	struct lab *lab = *state;
	struct dns_request *rq[3];

	/* At each stage of a chain. */
	for (int turns = 0; turns < 30; turns++) {
		lab_resolver(lab);
		rq[0] = resolver_start(lab->resolver, "zone.test",
			DNS_TYPE_MX, on_answer, lab);
		rq[1] = resolver_start(lab->resolver, "out.zone.test",
			DNS_TYPE_A, on_answer, lab);
		rq[2] = resolver_start(lab->resolver, "out.zone.test",
			DNS_TYPE_TXT, on_answer, lab);
		lab->wanted = SIZE_MAX;
		for (int k = 0; k < turns; k++)
			event_base_loop(lab->base, EVLOOP_NONBLOCK);
		if (lab->count == 0) {
			for (int k = 0; k < 3; k++)
				resolver_cancel(&rq[k]);
			assert_int_equal(lab->count, 0);
		}
		while (lab->count > 0)
			dns_answer_free(&lab->answers[--lab->count]);
	}
}

/* ---- the probe ------------------------------------------------------- */

static void
probe(void **state)
{
	static const struct {
		enum tamper tamper;
		int64_t clock_ms;
		enum resolver_state state;
		const char *part;
	} cases[] = {
		{ NOTHING, 0, RESOLVER_VALIDATING, "validating" },
		{ STRIP_RRSIG, 0, RESOLVER_STRIPS,
			"this resolver strips DNSSEC records, without which "
			"mail waits (no signatures)" },
		{ STRIP_NSEC, 0, RESOLVER_STRIPS, "mail waits (no proofs" },
		{ NO_OPT, 0, RESOLVER_STRIPS, "mail waits (it answers" },
		{ SPOIL, 0, RESOLVER_ANCHOR, "trust anchor does not match" },
		{ SILENT, 0, RESOLVER_UNREACHABLE, "resolver unreachable" },
		{ NOTHING, -3 * DAY_MS, RESOLVER_CLOCK, "clock is wrong by "
			"more than a day (signatures not yet valid)" },
		{ NOTHING, -DAY_MS - 4000000, RESOLVER_CLOCK,
			"clock is wrong (signatures not yet valid)" },
		{ NOTHING, 9 * DAY_MS, RESOLVER_CLOCK, "have expired" },
		{ NOTHING, 0, RESOLVER_VALIDATING, "validating" },
	};
	struct lab *lab = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		lab->tamper = cases[i].tamper;
		clock_test_set(SIGN_T0 * 1000LL + cases[i].clock_ms);
		lab_resolver(lab);
		probe_is(lab, cases[i].state, cases[i].part);
	}
}

/* A failure after success, and a success after failure, probe by
 * themselves. */
static void
probe_by_lookup(void **state)
{
	struct lab *lab = *state;
	struct resolver_stats stats;

	assert_int_equal(resolver_state(lab->resolver, NULL),
		RESOLVER_VALIDATING);
	clock_test_set(SIGN_T0 * 1000LL + 20000);
	lab->tamper = STRIP_RRSIG;
	(void)look_up(lab, "zone.test", DNS_TYPE_MX);
	for (int i = 0; i < 20 && resolver_state(lab->resolver, NULL) !=
	    RESOLVER_STRIPS; i++)
		event_base_loop(lab->base, EVLOOP_ONCE);
	resolver_stats(lab->resolver, &stats);
	assert_int_equal(stats.state, RESOLVER_STRIPS);
	/* Mended: what was bogus is forgotten at once. */
	lab->tamper = NOTHING;
	probe_is(lab, RESOLVER_VALIDATING, "validating");
	is(look_up(lab, "zone.test", DNS_TYPE_MX), DNS_FOUND, DNS_SEC_SECURE,
		NULL);
	resolver_stats(lab->resolver, &stats);
	assert_int_equal(stats.secure, 1);
	assert_int_equal(stats.bogus, 1);
}

/* ---- configuration --------------------------------------------------- */

static void
anchors(void **state)
{
	static const struct {
		const char *text;
		const char *part;	/* NULL: good */
	} cases[] = {
		{ "", "holds no key" },
		{ "; nothing\n\n", "holds no key" },
		{ "nonsense\n", ":1: not a DS or DNSKEY" },
		{ "test. IN DS 1 13 2 0000000000000000000000000000000000000000"
			"000000000000000000000000\n",
			"another name than the root" },
		{ ". IN A 192.0.2.1\n", "neither DS nor DNSKEY" },
		{ ". IN DS 1 99 2 0000000000000000000000000000000000000000"
			"000000000000000000000000\n", "holds no key" },
		{ ". IN DS 1 13 2 00\n", "malformed" },
		{ NULL, NULL },
	};
	struct lab *lab = *state;
	struct resolver *r;
	char err[CONF_ERR_MAX];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum status st;

		anchor_write(lab, cases[i].text);
		st = resolver_new(lab->base, &lab->conf, &r, err);
		assert_int_equal(st == ST_OK, cases[i].part == NULL);
		assert_int_equal(resolver_check_conf(&lab->conf, err), st);
		if (st != ST_OK && strstr(err, cases[i].part) == NULL)
			fail_msg("\"%s\" lacks \"%s\"", err, cases[i].part);
		resolver_free(&r);
	}
	remove(lab->anchor);
	assert_int_not_equal(resolver_new(lab->base, &lab->conf, &r, err),
		ST_OK);
	assert_non_null(strstr(err, "trust anchor"));
}

/* The file that Debian ships, if it is here. */
static void
debian_anchor(void **state)
{
	struct lab *lab = *state;
	struct resolver *r;
	char err[CONF_ERR_MAX] = "", path[] = "/usr/share/dns/root.key";

	if (access(path, R_OK) != 0)
		skip();
	lab->conf.trust_anchor = path;
	if (resolver_new(lab->base, &lab->conf, &r, err) != ST_OK)
		fail_msg("%s", err);
	resolver_free(&r);
	/* It is not that of this world. */
	lab_resolver(lab);
	probe_is(lab, RESOLVER_ANCHOR, "trust anchor does not match");
	is(look_up(lab, "zone.test", DNS_TYPE_MX), DNS_LATER, DNS_SEC_BOGUS,
		"zone .: no key fits");
}

static void
trust_ad(void **state)
{
	struct lab *lab = *state;
	struct resolver *r;
	struct conf_addr trusted;
	struct sockaddr_in *sin = (void *)&lab->addr.addr;
	char err[CONF_ERR_MAX];

	lab->conf.dnssec = CONF_DNSSEC_TRUST_AD;
	lab->tamper = AD;
	lab_resolver(lab);
	probe_is(lab, RESOLVER_TRUSTING, "AD bit");
	is(look_up(lab, "zone.test", DNS_TYPE_MX), DNS_FOUND, DNS_SEC_SECURE,
		NULL);
	lab->tamper = NOTHING;
	is(look_up(lab, "mx.zone.test", DNS_TYPE_A), DNS_FOUND,
		DNS_SEC_INSECURE, NULL);
	resolver_free(&lab->resolver);
	/* Only over a path that is our own, or said to be. */
	sin->sin_addr.s_addr = htonl(0xc0000235);
	assert_int_equal(resolver_new(lab->base, &lab->conf, &r, err),
		ST_DENIED);
	assert_non_null(strstr(err, "trust-ad"));
	trusted = lab->addr;
	lab->conf.trusted = &trusted;
	lab->conf.trusted_count = 1;
	assert_int_equal(resolver_new(lab->base, &lab->conf, &r, err), ST_OK);
	resolver_free(&r);
}

static void
off(void **state)
{
	struct lab *lab = *state;

	lab->conf.dnssec = CONF_DNSSEC_OFF;
	lab->tamper = AD;
	lab_resolver(lab);
	probe_is(lab, RESOLVER_OFF, "DANE is off");
	is(look_up(lab, "zone.test", DNS_TYPE_MX), DNS_FOUND,
		DNS_SEC_UNKNOWN, NULL);
	assert_int_equal(lab->queries, 1);
}

/* ---- sandbox --------------------------------------------------------- */

static void
no_files(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);

	if (ctx == NULL ||
	    seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(openat),
	    0) != 0 || seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS),
	    SCMP_SYS(open), 0) != 0 || seccomp_load(ctx) != 0)
		_exit(77);
	seccomp_release(ctx);
}

/* Once it is made, the resolver opens no file: not c-ares for a new channel,
 * not OpenSSL for a first key. */
static void
in_sandbox(void **state)
{
	struct lab *lab = *state;
	char err[CONF_ERR_MAX];
	int status;
	pid_t pid;

#ifdef WITH_SANITIZERS
	skip();
#endif
	resolver_free(&lab->resolver);
	if (resolver_new(lab->base, &lab->conf, &lab->resolver, err) != ST_OK)
		fail_msg("%s", err);
	pid = fork();
	if (pid == 0) {
		struct dns_answer *a;

		event_reinit(lab->base);
		no_files();
		a = look_up(lab, "zone.test", DNS_TYPE_MX);
		if (a->security != DNS_SEC_SECURE)
			_exit(1);
		/* without EDNS the channel is replaced */
		lab->tamper = NO_OPT;
		a = look_up(lab, "mx.zone.test", DNS_TYPE_A);
		if (a->result != DNS_LATER)
			_exit(2);
		lab->tamper = NOTHING;
		a = look_up(lab, "mx.zone.test", DNS_TYPE_A);
		_exit(a->security == DNS_SEC_SECURE ? 0 : 3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static int
group_setup(void **state)
{
	(void)state;
	log_init("test", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	keys[0] = dnssign_key(zones[0], 13, 257);
	keys[1] = dnssign_key(zones[1], 13, 257);
	keys[2] = dnssign_key(zones[2], 15, 257);
	return 0;
}

static int
group_teardown(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		dnssign_key_free(keys[i]);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define LAB_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		LAB_TEST(verdicts),
		LAB_TEST(explained),
		LAB_TEST(tampered),
		LAB_TEST(other_server),
		LAB_TEST(bogus_cached),
		LAB_TEST(time_passes),
		LAB_TEST(one_round_trip),
		LAB_TEST(asked_once),
		LAB_TEST(long_chain),
		LAB_TEST(cancelled),
		LAB_TEST(probe),
		LAB_TEST(probe_by_lookup),
		LAB_TEST(anchors),
		LAB_TEST(debian_anchor),
		LAB_TEST(trust_ad),
		LAB_TEST(off),
		LAB_TEST(in_sandbox),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
