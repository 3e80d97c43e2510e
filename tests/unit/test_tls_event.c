/*
 * What sessions and policy lookups are in a report: each result type, each
 * policy, what is not told, and how it is added up on its way.
 */
#include "config.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "smtpd-out/worker/tls_report.h"

#define DOMAIN "a.example"
#define HOST "mx.a.example"
#define DAY_S INT64_C(1699920000)
#define T0 INT64_C(1700000000000)

static struct conf *conf;

static int
setup(void **state)
{
	static const char text[] = "hostname = \"me.example\"\n"
		"destination \"relayed.example\" { relay = \"r.example\" }\n";
	char err[CONF_ERR_MAX];

	(void)state;
	return conf_parse("t", text, &conf, err) == ST_OK ? 0 : -1;
}

static int
teardown(void **state)
{
	(void)state;
	conf_free(&conf);
	return 0;
}

/* ---- sessions ---- */

struct story {
	struct tls_note note;
	struct session_info info;
	struct demand *demand;
	struct outcome why;
	struct tlsa_seen tlsa;
	char *texts[1];
	struct sts_view view;
	struct sts_policy policy;
	char *mx[1];
	char text[64];
};

/* A session that is ready for mail, under that demand. */
static struct story *
up(enum demand_level level, enum demand_why rule)
{
	struct story *s = xcalloc(1, sizeof(*s));

	s->demand = demand_new(level, rule);
	s->note = (struct tls_note){ .kind = TLS_NOTE_UP,
		.destination = DOMAIN, .host = HOST, .rule = rule,
		.demand = s->demand, .info = &s->info };
	s->info = (struct session_info){ .host = HOST, .ip = "192.0.2.1",
		.local_ip = "192.0.2.9", .helo = "mail.a.example",
		.tls_active = true };
	return s;
}

static struct story *
failed(enum demand_level level, enum demand_why rule, struct outcome why)
{
	struct story *s = up(level, rule);

	s->note.kind = TLS_NOTE_FAILED;
	s->info.tls_active = false;
	s->why = why;
	s->note.why = &s->why;
	return s;
}

static struct story *
skipped(enum demand_why rule, struct outcome why)
{
	struct story *s = failed(DEMAND_MAY, rule, why);

	demand_free(&s->demand);
	s->note.kind = TLS_NOTE_SKIPPED;
	s->note.demand = NULL;
	s->note.info = NULL;
	return s;
}

static struct story *
with_tlsa(struct story *s, enum dane_finding finding)
{
	static char record[] = "3 1 1 AB";

	s->texts[0] = record;
	s->tlsa = (struct tlsa_seen){ .finding = finding, .base =
		"base.a.example", .texts = s->texts,
		.count = finding == DANE_FAILED ? 0 : 1 };
	s->note.tlsa = &s->tlsa;
	return s;
}

static struct story *
nameless(struct story *s)
{
	s->note.host = "";
	return s;
}

static struct story *
with_sts(struct story *s, enum sts_mode mode, const char *pattern)
{
	s->mx[0] = xstrdup(pattern);
	s->policy = (struct sts_policy){ .mode = mode, .mx = s->mx,
		.mx_count = 1, .max_age_s = 1000 };
	(void)snprintf(s->text, sizeof(s->text),
		"version: STSv1\r\nmode: x\n\nmx: %s", pattern);
	s->view = (struct sts_view){ .refs = 1, .what = STS_VIEW_POLICY,
		.policy = &s->policy, .text = s->text };
	s->note.sts = &s->view;
	return s;
}

/* No policy, because the lookup failed. */
static struct story *
with_lookup(struct story *s, enum tls_failure failure)
{
	s->view.failure = failure;
	(void)snprintf(s->view.reason, sizeof(s->view.reason), "the reason");
	s->note.sts = &s->view;
	return s;
}

static struct outcome
tls_failed(enum tls_failure failure, const char *why)
{
	return outcome_tls_failed(HOST, failure, why);
}

/* "type result reason ended; ..." of all events. */
static void
check(struct story *s, const char *want)
{
	struct tlsrpt_event events[TLS_EVENTS_MAX];
	char got[500] = "";
	size_t count = tls_events(conf, &s->note, T0 / 1000, events), len = 0;

	for (size_t i = 0; i < count; i++) {
		const struct tlsrpt_event *e = &events[i];

		assert_int_equal(e->time_s, DAY_S);
		assert_string_equal(e->domain, s->note.destination);
		assert_int_equal(e->count, 1);
		assert_int_equal(e->failed,
			e->failure.result != TLS_FAILURE_NONE);
		if (e->failed) {
			if (s->note.host[0] != '\0')
				assert_string_equal(e->failure.mx_host, HOST);
			else
				assert_null(e->failure.mx_host);
			assert_true(e->failure.info[0] != '\0');
		}
		if (e->failed && s->note.info != NULL) {
			assert_string_equal(e->failure.sending_ip,
				"192.0.2.9");
			assert_string_equal(e->failure.receiving_ip,
				"192.0.2.1");
			assert_string_equal(e->failure.mx_helo,
				"mail.a.example");
		}
		len += (size_t)snprintf(got + len, sizeof(got) - len,
			"%s%s/%s %s %s %s", i > 0 ? "; " : "",
			tlsrpt_policy_type_name(e->policy.type),
			e->policy.domain, tls_failure_name(e->failure.result),
			e->failure.reason == NULL ? "-" : e->failure.reason,
			tlsrpt_ended_name(e->ended));
		tlsrpt_event_clear(&events[i]);
	}
	assert_string_equal(got, want);
	demand_free(&s->demand);
	free(s->mx[0]);
	free(s);
}

#define NONE "no-policy-found/" DOMAIN " "
#define TLSA "tlsa/base.a.example "
#define STS "sts/" DOMAIN " "

static void
test_success(void **state)
{
	(void)state;
	check(up(DEMAND_MAY, WHY_DEFAULT), NONE "none - encrypted");
	check(with_tlsa(up(DEMAND_DANE, WHY_DANE), DANE_FOUND),
		TLSA "none - secured");
	check(with_sts(up(DEMAND_PKIX, WHY_STS), STS_MODE_ENFORCE, HOST),
		STS "none - secured");
	check(with_sts(up(DEMAND_MAY, WHY_DEFAULT), STS_MODE_NONE, HOST),
		NONE "none - encrypted");
	/* REQUIRETLS by an enforced policy, and by PKIX alone. */
	check(with_sts(up(DEMAND_PKIX, WHY_REQUIRETLS), STS_MODE_ENFORCE,
		HOST), STS "none - secured");
	check(up(DEMAND_PKIX, WHY_REQUIRETLS), NONE "none - secured");
}

/* DANE decides, the policy is watched: each is told of. */
static void
test_both(void **state)
{
	struct story *s = with_sts(with_tlsa(up(DEMAND_DANE, WHY_DANE),
		DANE_FOUND), STS_MODE_ENFORCE, HOST);

	(void)state;
	s->demand->watch = DEMAND_WATCH_HOST;
	check(s, TLSA "none - secured; " STS "none - none");
	s = with_sts(with_tlsa(up(DEMAND_DANE, WHY_DANE), DANE_FOUND),
		STS_MODE_TESTING, HOST);
	s->demand->watch = DEMAND_WATCH_HOST;
	s->info.watched = TLS_FAILURE_NOT_TRUSTED;
	(void)snprintf(s->info.watched_text, sizeof(s->info.watched_text),
		"unknown");
	check(s, TLSA "none - secured; " STS "certificate-not-trusted "
		"certificate-untrusted none");
}

static void
test_certificates(void **state)
{
	static const struct {
		enum tls_failure failure;
		const char *text, *want;
	} rows[] = {
		{ TLS_FAILURE_HOST_MISMATCH, "x",
		    "certificate-host-mismatch certificate-name failed" },
		{ TLS_FAILURE_EXPIRED, "x",
		    "certificate-expired certificate-expired failed" },
		{ TLS_FAILURE_NOT_TRUSTED, "x",
		    "certificate-not-trusted certificate-untrusted failed" },
		{ TLS_FAILURE_VALIDATION, "no shared cipher",
		    "validation-failure tls-handshake failed" },
		{ TLS_FAILURE_VALIDATION,
		    "the certificate matches none of the TLSA records",
		    "validation-failure dane-no-match failed" },
		{ TLS_FAILURE_STARTTLS, "x",
		    "starttls-not-supported starttls-missing failed" },
		{ TLS_FAILURE_NOT_TRUSTED, "the certificate is self-signed",
		    "certificate-not-trusted certificate-self-signed failed" },
		{ TLS_FAILURE_VALIDATION, "timed out",
		    "validation-failure tls-timeout failed" },
		{ TLS_FAILURE_VALIDATION, "the server refused the handshake "
		    "(alert: handshake failure)",
		    "validation-failure tls-refused failed" },
	};
	char want[200];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		(void)snprintf(want, sizeof(want), TLSA "%s", rows[i].want);
		check(with_tlsa(failed(DEMAND_DANE, WHY_DANE, tls_failed(
			rows[i].failure, rows[i].text)), DANE_FOUND), want);
		if (i == 4)
			continue;
		(void)snprintf(want, sizeof(want), STS "%s", rows[i].want);
		check(with_sts(failed(DEMAND_PKIX, WHY_STS, tls_failed(
			rows[i].failure, rows[i].text)), STS_MODE_ENFORCE,
			HOST), want);
		(void)snprintf(want, sizeof(want), NONE "%s", rows[i].want);
		check(failed(DEMAND_ENCRYPT, WHY_LOCAL, tls_failed(
			rows[i].failure, rows[i].text)), want);
	}
}

static void
test_clear(void **state)
{
	struct story *s = up(DEMAND_MAY, WHY_DEFAULT);

	(void)state;
	s->info.tls_active = false;
	check(s, NONE "starttls-not-supported starttls-missing clear");
	s = up(DEMAND_MAY, WHY_DEFAULT);
	s->info.tls_active = false;
	s->info.starttls_refused = true;
	check(s, NONE "starttls-not-supported starttls-refused clear");
	/* TLS fails, the mail goes on in the clear: one session. */
	check(failed(DEMAND_MAY, WHY_DEFAULT, tls_failed(
		TLS_FAILURE_VALIDATION, "x")),
		NONE "validation-failure tls-handshake clear");
	s = up(DEMAND_MAY, WHY_DEFAULT);
	s->info.tls_active = false;
	s->note.fallback = true;
	check(s, "");
	/* Testing mode does not stop it, and tells. */
	s = with_sts(up(DEMAND_MAY, WHY_DEFAULT), STS_MODE_TESTING, HOST);
	s->demand->watch = DEMAND_WATCH_HOST;
	s->info.tls_active = false;
	check(s, STS "starttls-not-supported starttls-missing clear");
}

static void
test_dane(void **state)
{
	(void)state;
	/* No record is usable: encrypted, and told. */
	check(with_tlsa(up(DEMAND_ENCRYPT, WHY_DANE_UNUSABLE), DANE_UNUSABLE),
		TLSA "tlsa-invalid tlsa-unusable encrypted");
	check(with_tlsa(failed(DEMAND_ENCRYPT, WHY_DANE_UNUSABLE, tls_failed(
		TLS_FAILURE_STARTTLS, "x")), DANE_UNUSABLE),
		TLSA "tlsa-invalid tlsa-unusable failed");
	check(with_tlsa(skipped(WHY_DANE, outcome_tlsa_lookup(HOST)),
		DANE_FAILED), TLSA "dnssec-invalid tlsa-lookup failed");
	check(skipped(WHY_LOCAL, outcome_dane_required(HOST, "none")),
		"tlsa/" HOST " dane-required dane-missing failed");
	/* Before the host is known, or its name. */
	check(skipped(WHY_DEFAULT, outcome_dns_bogus(HOST, "x")),
		"tlsa/" HOST " dnssec-invalid dnssec-bogus failed");
	check(nameless(skipped(WHY_DEFAULT, outcome_dns_bogus(DOMAIN, "x"))),
		"tlsa/" DOMAIN " dnssec-invalid dnssec-bogus failed");
	/* Unsigned MX, so the records only encrypt: still theirs. */
	check(with_tlsa(up(DEMAND_ENCRYPT, WHY_DANE), DANE_FOUND),
		TLSA "none - encrypted");
}

static void
test_sts(void **state)
{
	struct story *s;

	(void)state;
	check(with_sts(skipped(WHY_STS, outcome_sts_mx_mismatch(HOST,
		DOMAIN)), STS_MODE_ENFORCE, "mx.b.example"),
		STS "validation-failure sts-mx-mismatch failed");
	s = with_sts(up(DEMAND_MAY, WHY_DEFAULT), STS_MODE_TESTING,
		"mx.b.example");
	s->demand->watch = DEMAND_WATCH_UNLISTED;
	check(s, STS "validation-failure sts-mx-mismatch encrypted");
	check(with_lookup(up(DEMAND_MAY, WHY_DEFAULT), TLS_FAILURE_STS_FETCH),
		NONE "none - encrypted; " STS
		"sts-policy-fetch-error sts-fetch none");
	check(with_lookup(up(DEMAND_MAY, WHY_DEFAULT),
		TLS_FAILURE_STS_INVALID), NONE "none - encrypted; " STS
		"sts-policy-invalid sts-malformed none");
	check(with_lookup(up(DEMAND_MAY, WHY_DEFAULT),
		TLS_FAILURE_STS_WEBPKI), NONE "none - encrypted; " STS
		"sts-webpki-invalid sts-certificate none");
	/* The old policy holds, the new one could not be had. */
	check(with_lookup(with_sts(up(DEMAND_PKIX, WHY_STS), STS_MODE_ENFORCE,
		HOST), TLS_FAILURE_STS_FETCH), STS "none - secured; " STS
		"sts-policy-fetch-error sts-fetch none");
	check(with_lookup(skipped(WHY_STS, outcome_sts_later(DOMAIN,
		"no answer")), TLS_FAILURE_STS_FETCH),
		STS "sts-policy-fetch-error sts-fetch failed");
	/* The same for a reason of our own is nobody's business. */
	check(with_lookup(skipped(WHY_STS, outcome_sts_later(DOMAIN,
		"no answer")), TLS_FAILURE_NONE), "");
}

static void
test_untold(void **state)
{
	struct story *s = up(DEMAND_MAY, WHY_TLS_OPTIONAL);

	(void)state;
	s->note.report = true;			/* our own reports */
	check(s, "");
	s = up(DEMAND_NONE, WHY_LOCAL);		/* our own choice */
	s->info.tls_active = false;
	check(s, "");
	s = up(DEMAND_MAY, WHY_DEFAULT);
	s->note.destination = "relayed.example";
	check(s, "");
	s = up(DEMAND_MAY, WHY_DEFAULT);
	s->note.destination = "[192.0.2.1]";
	check(s, "");
}

/* "TLS-Required: No": no policy was applied, the session is one anyway. */
static void
test_optional(void **state)
{
	struct story *s;

	(void)state;
	check(up(DEMAND_MAY, WHY_TLS_OPTIONAL), NONE "none - encrypted");
	s = up(DEMAND_MAY, WHY_TLS_OPTIONAL);
	s->info.tls_active = false;
	check(s, NONE "starttls-not-supported starttls-missing clear");
	check(failed(DEMAND_MAY, WHY_TLS_OPTIONAL, tls_failed(
		TLS_FAILURE_VALIDATION, "x")),
		NONE "validation-failure tls-handshake clear");
}

/* RFC 8460 section 4.4: the policy as found. */
static void
test_policy(void **state)
{
	struct story *s = with_sts(with_tlsa(up(DEMAND_DANE, WHY_DANE),
		DANE_FOUND), STS_MODE_ENFORCE, HOST);
	struct tlsrpt_event e[TLS_EVENTS_MAX];

	(void)state;
	s->demand->watch = DEMAND_WATCH_HOST;
	assert_int_equal(tls_events(conf, &s->note, T0 / 1000, e), 2);
	assert_int_equal(e[0].policy.string_count, 1);
	assert_string_equal(e[0].policy.strings[0], "3 1 1 AB");
	assert_int_equal(e[0].policy.mx_host_count, 0);
	assert_int_equal(e[1].policy.string_count, 3);
	assert_string_equal(e[1].policy.strings[0], "version: STSv1");
	assert_string_equal(e[1].policy.strings[2], "mx: " HOST);
	assert_int_equal(e[1].policy.mx_host_count, 1);
	assert_string_equal(e[1].policy.mx_hosts[0], HOST);
	tlsrpt_event_clear(&e[0]);
	tlsrpt_event_clear(&e[1]);
	demand_free(&s->demand);
	free(s->mx[0]);
	free(s);
}

/* ---- added up ---- */

static size_t messages, distinct;
static uint64_t sessions;

static void
on_events(const struct msg_tlsrpt *msg, void *arg)
{
	assert_ptr_equal(arg, &messages);
	assert_true(msg->count > 0 && msg->count <= MSG_TLSRPT_MAX);
	messages++;
	distinct += msg->count;
	for (size_t i = 0; i < msg->count; i++)
		sessions += msg->events[i].count;
}

static void
note(struct tls_report *t, const char *domain)
{
	struct story *s = up(DEMAND_MAY, WHY_DEFAULT);

	s->note.destination = domain;
	tls_report_note(t, &s->note);
	demand_free(&s->demand);
	free(s);
}

static void
test_collected(void **state)
{
	struct event_base *base = event_base_new();
	struct tls_report *t = tls_report_new(base, conf, on_events,
		&messages);
	char domain[40];

	(void)state;
	tls_report_flush(t);
	assert_int_equal(messages, 0);
	for (int i = 0; i < 1000; i++)
		note(t, DOMAIN);
	assert_int_equal(messages, 0);
	for (int i = 0; i < 200 && messages == 0; i++) {
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
		(void)usleep(10000);
	}
	assert_int_equal(messages, 1);		/* after a second */
	assert_int_equal(distinct, 1);
	assert_int_equal(sessions, 1000);
	for (int i = 0; i < 250; i++) {		/* many at once: sooner */
		(void)snprintf(domain, sizeof(domain), "d%d.example", i);
		note(t, domain);
	}
	assert_int_equal(messages, 3);
	tls_report_flush(t);
	assert_int_equal(messages, 4);
	assert_int_equal(distinct, 251);
	assert_int_equal(sessions, 1250);
	note(t, DOMAIN);
	tls_report_free(&t);			/* lost, not leaked */
	event_base_free(base);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_success), cmocka_unit_test(test_both),
		cmocka_unit_test(test_certificates),
		cmocka_unit_test(test_clear), cmocka_unit_test(test_dane),
		cmocka_unit_test(test_sts), cmocka_unit_test(test_untold),
		cmocka_unit_test(test_optional), cmocka_unit_test(test_policy),
		cmocka_unit_test(test_collected),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
