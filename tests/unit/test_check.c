/*
 * The verdict of `check`, from facts made by hand: it combines the outcomes of
 * hosts as delivery does.  And that both ways of printing cope with whatever
 * facts there are.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <cmocka.h>

#include "base/mem.h"
#include "smtpd-out/check/check_json.h"
#include "smtpd-out/check/check_text.h"
#include "smtpd-out/check/check_verdict.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define HOSTS_MAX 12

enum fate {
	END = 0,
	DANE_UP,	/* takes mail, as demanded */
	STS_UP,
	PKIX_UP,
	PRINT_UP,
	MAY_TLS,	/* takes mail over TLS; nothing demanded */
	MAY_CLEAR,
	FALLBACK,	/* TLS failed, then in clear text */
	LATER,		/* this host not now */
	NEVER,		/* this host never */
	REFUSED,	/* 5xx in its own words */
	TLS_FAILED,
	SKIP_DNSSEC,	/* TLSA lookup failed */
	SKIP_UNLISTED,	/* not in the MTA-STS policy */
	SKIP_ADDRESS,	/* no address */
	STS_FAILED
};

static const struct fate_row {
	enum demand_level level;
	enum demand_why why;
	bool up, tls;
} fates[] = {
	[DANE_UP] = { DEMAND_DANE, WHY_DANE, true, true },
	[STS_UP] = { DEMAND_PKIX, WHY_STS, true, true },
	[PKIX_UP] = { DEMAND_PKIX, WHY_LOCAL, true, true },
	[PRINT_UP] = { DEMAND_FINGERPRINT, WHY_LOCAL, true, true },
	[MAY_TLS] = { DEMAND_MAY, WHY_DEFAULT, true, true },
	[MAY_CLEAR] = { DEMAND_MAY, WHY_DEFAULT, true, false },
	[FALLBACK] = { DEMAND_MAY, WHY_DEFAULT, false, false },
	[LATER] = { DEMAND_MAY, WHY_DEFAULT, false, false },
	[NEVER] = { DEMAND_MAY, WHY_DEFAULT, false, false },
	[REFUSED] = { DEMAND_MAY, WHY_DEFAULT, false, false },
	[TLS_FAILED] = { DEMAND_DANE, WHY_DANE, false, false },
	[STS_FAILED] = { DEMAND_PKIX, WHY_STS, false, false },
};

static struct outcome
failure_of(enum fate fate, const char *host)
{
	switch (fate) {
	case NEVER:
		return outcome_require_tls(host, "test");
	case REFUSED:
		return outcome_reply(SCOPE_HOST, STAGE_BANNER, 554, NULL,
			"go away");
	case TLS_FAILED:
	case FALLBACK:
		return outcome_tls_failed(host, TLS_FAILURE_VALIDATION,
			"test");
	case STS_FAILED:
		return outcome_tls_failed(host, TLS_FAILURE_EXPIRED, "test");
	case SKIP_DNSSEC:
		return outcome_tlsa_lookup(host);
	case SKIP_UNLISTED:
		return outcome_sts_mx_mismatch(host, "d.example");
	case SKIP_ADDRESS:
		return outcome_no_address("d.example");
	default:
		return outcome_connect(host, "test");
	}
}

static void
fill_host(struct check_host *h, enum fate fate, unsigned number)
{
	struct check_session *s = &h->tries[0];

	(void)snprintf(h->name, sizeof(h->name), "h%u.example", number);
	h->mx_security = h->address_security = DNS_SEC_INSECURE;
	h->sts_listed = fate != SKIP_UNLISTED;
	h->rule = fate == SKIP_UNLISTED ? WHY_STS : WHY_DANE;
	if (fate >= SKIP_DNSSEC && fate <= SKIP_ADDRESS) {
		h->skipped = failure_of(fate, h->name);
		if (fate == SKIP_ADDRESS)
			h->skipped.scope = SCOPE_HOST;
		return;
	}
	h->rule = fates[fate].why;
	h->demand = demand_new(fates[fate].level, fates[fate].why);
	h->try_count = 1;
	for (unsigned i = 0; i < CHECK_PHASES; i++)
		s->ms[i] = h->tries[1].ms[i] = -1;
	s->up = fates[fate].up;
	s->info.tls_active = fates[fate].tls;
	if (!s->up)
		s->why = failure_of(fate, h->name);
	if (fate == FALLBACK) {
		h->try_count = 2;
		h->tries[1].up = h->tries[1].clear = true;
	}
}

static struct check_facts *
make_facts(const enum fate *list)
{
	struct check_facts *f = xcalloc(1, sizeof(*f));

	(void)str_copy(f->domain, sizeof(f->domain), "d.example");
	f->connected = true;
	f->tlsrpt.lookup.asked = true;
	f->port = 25;
	f->hosts = xcalloc(HOSTS_MAX + 1, sizeof(f->hosts[0]));
	for (unsigned i = 0; i < HOSTS_MAX && list[i] != END; i++)
		fill_host(&f->hosts[f->host_count++], list[i], i);
	return f;
}

static const struct verdict_case {
	enum fate hosts[HOSTS_MAX];
	enum check_result result;
	size_t host;
	const char *reason, *next;
} cases[] = {
	{ { DANE_UP }, CHECK_DANE, 0, "(DANE)", "TLSRPT" },
	{ { STS_UP }, CHECK_STS, 0, "MTA-STS policy demands", "TLSRPT" },
	{ { PKIX_UP }, CHECK_PKIX, 0, "local rule demands", NULL },
	{ { PRINT_UP }, CHECK_FINGERPRINT, 0, "local rule names", NULL },
	{ { MAY_TLS }, CHECK_ENCRYPTED, 0, "nothing proves",
	    "publish an MTA-STS policy" },
	{ { MAY_CLEAR }, CHECK_PLAIN, 0, "STARTTLS is not offered",
	    "h0.example: offer STARTTLS" },
	{ { FALLBACK }, CHECK_PLAIN, 0, "TLS was offered and failed",
	    "h0.example: " },
	{ { LATER }, CHECK_DEFERRED, 0, "Mail waits: connection to h0",
	    "port 25" },
	{ { NEVER }, CHECK_BOUNCED, 0, "Mail bounces", "h0.example" },
	{ { REFUSED }, CHECK_BOUNCED, 0, "h0.example answers in state banner: "
	    "554 go away", "postmaster" },
	{ { TLS_FAILED }, CHECK_DEFERRED, 0, "(validation-failure)",
	    "h0.example: " },
	{ { SKIP_DNSSEC }, CHECK_DEFERRED, 0, "(dnssec-invalid)", "h0" },
	/* the next host may do */
	{ { LATER, DANE_UP }, CHECK_DANE, 1, "h1.example", "h0.example: see" },
	{ { TLS_FAILED, MAY_TLS, DANE_UP }, CHECK_ENCRYPTED, 1, "h1.example",
	    "h0.example: " },
	{ { NEVER, SKIP_ADDRESS, STS_UP }, CHECK_STS, 2, "h2.example", NULL },
	/* "later" of one outweighs "never" of another, in any order */
	{ { NEVER, LATER }, CHECK_DEFERRED, 1, "h1", NULL },
	{ { LATER, NEVER }, CHECK_DEFERRED, 0, "h0", NULL },
	{ { LATER, REFUSED, SKIP_DNSSEC }, CHECK_DEFERRED, 2, "h2", NULL },
	{ { REFUSED, NEVER }, CHECK_BOUNCED, 1, "h1", NULL },
	/* an attempt has ten sessions; what is skipped costs none */
	{ { LATER, LATER, LATER, LATER, LATER, LATER, LATER, LATER, LATER,
	    LATER, DANE_UP }, CHECK_DEFERRED, 9, "h9", NULL },
	{ { SKIP_DNSSEC, LATER, LATER, LATER, LATER, LATER, LATER, LATER,
	    LATER, LATER, DANE_UP }, CHECK_DANE, 10, "h10", NULL },
};

static void
test_verdicts(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct verdict_case *c = &cases[i];
		struct check_facts *f = make_facts(c->hosts);
		struct check_verdict v;

		check_verdict(f, &v);
		if (v.result != c->result || v.host != c->host ||
		    strstr(v.reason, c->reason) == NULL || (c->next != NULL &&
		    strstr(v.next, c->next) == NULL))
			fail_msg("case %zu: %s of host %zu: %s; %s", i,
				check_result_name(v.result), v.host, v.reason,
				v.next);
		assert_int_equal(check_result_exit(v.result), v.result <
			CHECK_DEFERRED ? EX_OK : v.result == CHECK_DEFERRED ?
			EX_TEMPFAIL : EX_UNAVAILABLE);
		check_facts_free(&f);
		assert_null(f);
	}
}

/* ---- domains as a whole ---- */

static void
test_no_host(void **state)
{
	const enum fate none[] = { END };
	struct check_facts *f = make_facts(none);
	struct check_verdict v;

	(void)state;
	f->route = outcome_no_domain("d.example");
	f->mx_lookup = (struct check_lookup){ .asked = true,
		.result = DNS_NXDOMAIN };
	check_verdict(f, &v);
	assert_int_equal(v.result, CHECK_BOUNCED);
	assert_int_equal(v.host, 0);
	assert_non_null(strstr(v.next, "spelt"));

	f->route = outcome_dns_later("d.example", "its signature");
	f->mx_lookup = (struct check_lookup){ .asked = true,
		.result = DNS_LATER, .security = DNS_SEC_BOGUS };
	check_verdict(f, &v);
	assert_int_equal(v.result, CHECK_DEFERRED);
	assert_non_null(strstr(v.next, "signatures of d.example"));
	check_facts_free(&f);
}

static void
test_untested(void **state)
{
	const enum fate list[] = { DANE_UP, MAY_CLEAR, END };
	struct check_facts *f = make_facts(list);
	struct check_verdict v;

	(void)state;
	f->connected = false;
	f->hosts[0].try_count = f->hosts[1].try_count = 0;
	check_verdict(f, &v);
	assert_int_equal(v.result, CHECK_DANE);
	demand_free(&f->hosts[0].demand);
	f->hosts[0].skipped = outcome_tlsa_lookup("h0.example");
	check_verdict(f, &v);
	assert_int_equal(v.result, CHECK_PLAIN);
	assert_int_equal(v.host, 1);
	assert_non_null(strstr(v.reason, "nothing is demanded"));
	check_facts_free(&f);
}

static void
test_own_side(void **state)
{
	const enum fate list[] = { MAY_TLS, END };
	struct check_facts *f = make_facts(list);
	struct check_verdict v;

	(void)state;
	f->relay = true;
	check_verdict(f, &v);
	assert_non_null(strstr(v.next, "verify the relay"));
	(void)str_copy(f->resolver_text, sizeof(f->resolver_text), "stripped");
	f->resolver = RESOLVER_STRIPS;
	check_verdict(f, &v);
	assert_string_equal(v.next, "on this machine: stripped; name another "
		"one in resolver { servers }, or say dnssec = off");
	f->queue.paused = true;
	check_verdict(f, &v);
	assert_non_null(strstr(v.next, "paused here"));
	check_facts_free(&f);
}

static struct sts_view *
make_view(enum sts_mode mode)
{
	static char host[] = "h0.example", *mx[] = { host };
	const struct sts_policy policy = { .mode = mode, .max_age_s = 86400,
		.mx = mx, .mx_count = 1 };
	struct sts_view *view = sts_view_new(STS_VIEW_POLICY);

	view->policy = sts_policy_copy(&policy);
	view->source = STS_SOURCE_FETCHED;
	return view;
}

static void
test_sts(void **state)
{
	const enum fate list[] = { STS_FAILED, SKIP_UNLISTED, LATER, END };
	const enum fate testing[] = { MAY_TLS, END };
	struct check_facts *f = make_facts(list);
	struct check_verdict v;

	(void)state;
	assert_int_equal(check_sts_blamed(f), 0);
	f->sts.view = make_view(STS_MODE_ENFORCE);
	assert_int_equal(check_sts_blamed(f), 3);
	check_verdict(f, &v);
	assert_int_equal(v.result, CHECK_DEFERRED);
	check_facts_free(&f);

	f = make_facts(&list[1]);
	f->sts.view = make_view(STS_MODE_ENFORCE);
	f->host_count = 1;
	check_verdict(f, &v);
	assert_non_null(strstr(v.next, "add \"mx: h0.example\""));
	f->host_count = 2;
	check_facts_free(&f);

	f = make_facts(testing);
	f->sts.view = make_view(STS_MODE_TESTING);
	check_verdict(f, &v);
	assert_non_null(strstr(v.next, "from testing to enforce"));
	f->hosts[0].demand->watch = DEMAND_WATCH_HOST;
	f->hosts[0].tries[0].info.watched = TLS_FAILURE_EXPIRED;
	check_verdict(f, &v);
	assert_non_null(strstr(v.next, "certificate-expired"));
	f->hosts[0].demand->watch = DEMAND_WATCH_UNLISTED;
	check_verdict(f, &v);
	assert_non_null(strstr(v.next, "does not name this host"));
	check_facts_free(&f);
}

/* ---- printing ---- */

static void
print_both(const struct check_facts *f, size_t room)
{
	const struct check_style styles[] = { { .colour = false },
		{ .colour = true, .verbose = true, .width = 70 } };
	struct check_verdict v;
	struct buf out;
	json_t *o;

	check_verdict(f, &v);
	for (size_t i = 0; i < COUNT(styles); i++) {
		buf_init(&out, room);
		check_text(f, &v, &styles[i], &out);
		assert_true(out.len <= room);
		if (room > 10000)
			assert_int_equal(memchr(buf_data(&out), '\033',
				out.len) != NULL, styles[i].colour);
		buf_clear(&out);
	}
	o = check_json(f, &v);
	assert_non_null(o);
	assert_string_equal(json_string_value(json_object_get(o, "verdict")),
		check_result_name(v.result));
	assert_int_equal(json_array_size(json_object_get(o, "mx")),
		f->host_count);
	json_decref(o);
}

/* Facts with every kind of thing in them. */
static struct check_facts *
full_facts(void)
{
	const enum fate list[] = { FALLBACK, TLS_FAILED, SKIP_ADDRESS, REFUSED,
		DANE_UP, END };
	struct check_facts *f = make_facts(list);
	struct check_tlsa_set *set = &f->hosts[4].tlsa[0];

	f->sts.wanted = f->sts.live_asked = true;
	f->sts.finding = STS_FINDING_RECORD;
	f->sts.view = make_view(STS_MODE_TESTING);
	f->sts.view->failure = TLS_FAILURE_STS_FETCH;
	f->tlsrpt.lookup.asked = true;
	f->tlsrpt.finding = TLSRPT_FINDING_INVALID;
	f->queue = (struct check_queue){ .state = CHECK_DAEMON_ASKED,
		.waiting = 3, .next_s = INT64_MAX, .more = true };
	f->rules[f->rule_count++] = (struct check_rule){ .match = ".example",
		.tls = CONF_TLS_PKIX, .until_s = 1, .expired = true };
	f->zone_count = 1;
	f->mx_count = f->mx_total = 2;
	f->mx_lookup = (struct check_lookup){ .asked = true,
		.result = DNS_FOUND, .why = "why" };
	f->hosts[4].tlsa_count = 1;
	set->records = xcalloc(2, sizeof(set->records[0]));
	set->count = 2;
	set->records[0].data = xmalloc(1);
	set->records[0].matched = CHECK_NOT_SEEN;
	set->records[1].data = xcalloc(1, 100);
	set->records[1].len = 100;
	set->records[1].secure = true;
	check_words_add(&f->hosts[4].tries[0].ehlo, "SIZE\x1b[2J\xff", 9);
	f->hosts[4].tries[0].cert = cert_report_new();
	return f;
}

static void
test_printing(void **state)
{
	const enum fate none[] = { END };
	struct check_facts *f = make_facts(none);

	(void)state;
	f->route = outcome_null_mx("d.example");
	print_both(f, CHECK_REPORT_MAX);
	check_facts_free(&f);
	f = full_facts();
	print_both(f, CHECK_REPORT_MAX);
	for (size_t room = 0; room < 300; room += 7)
		print_both(f, room);
	check_facts_free(&f);
}

/* Lines end where a terminal does, but for words that are longer. */
static void
test_width(void **state)
{
	const struct check_style style = { .width = 80 };
	struct check_facts *f = full_facts();
	struct check_verdict v;
	struct buf out;
	char *text, *rest, *line;

	(void)state;
	check_verdict(f, &v);
	buf_init(&out, CHECK_REPORT_MAX);
	check_text(f, &v, &style, &out);
	text = xstrndup((const char *)buf_data(&out), out.len);
	rest = text;
	while ((line = strsep(&rest, "\n")) != NULL)
		if (strlen(line) > 80)
			fail_msg("%zu columns: %s", strlen(line), line);
	free(text);
	buf_clear(&out);
	check_facts_free(&f);
}

static void
test_words(void **state)
{
	struct check_facts *f = full_facts();
	struct check_words *w = &f->hosts[4].tries[0].ehlo;

	(void)state;
	assert_string_equal(w->words[0], "SIZE?[2J?");
	for (int i = 0; i < 500; i++)
		check_words_add(w, "X", 1);
	assert_int_equal(w->count, CHECK_KEYWORDS_MAX);
	check_facts_free(&f);
	check_facts_free(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_no_host),
		cmocka_unit_test(test_untested),
		cmocka_unit_test(test_own_side),
		cmocka_unit_test(test_sts),
		cmocka_unit_test(test_printing),
		cmocka_unit_test(test_width),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
