/*
 * What an MTA-STS policy in testing mode would have demanded is watched: each
 * certificate gives its result type (RFC 8460 section 4.3), and the server gets
 * the mail all the same, under every demand that goes with it.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/client/tls.h"
#include "tests/lib/scenario.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define OFFER SEND("250-mx.example\r\n250 STARTTLS")
#define ASK GREETING, OFFER, LINE("STARTTLS"), SEND("220 go")
#define DELIVER LINE("EHLO client.example"), PLAIN, MAIL, SEND("250 a"), \
	RCPT(0), SEND("250 b"), DATA, SEND("354 c"), BODY, \
	SEND("250 queued"), BYE
#define SAN .san = "DNS:mx.d.example"

static const struct watch_case {
	const char *name;
	struct cert_spec spec;
	enum tls_failure want;
	const char *text;
} cases[] = {
	{ "good", { SAN, .by_ca = true }, 0, "" },
	{ "good, TLS 1.2", { SAN, .by_ca = true, .max_version = 0x0303 }, 0,
	    "" },
	{ "wildcard", { .san = "DNS:*.d.example", .by_ca = true }, 0, "" },
	{ "partial wildcard", { .san = "DNS:m*.d.example", .by_ca = true },
	    TLS_FAILURE_HOST_MISMATCH, "not for mx.d.example" },
	{ "wildcard too high", { .san = "DNS:*.example", .by_ca = true },
	    TLS_FAILURE_HOST_MISMATCH, "not for mx.d.example" },
	{ "CN only", { .cn = "mx.d.example", .by_ca = true },
	    TLS_FAILURE_HOST_MISMATCH, "not for mx.d.example" },
	{ "other name", { .san = "DNS:d.example", .by_ca = true },
	    TLS_FAILURE_HOST_MISMATCH, "not for mx.d.example" },
	{ "expired", { SAN, .by_ca = true, .begin_s = -7200,
	    .end_s = -3600 }, TLS_FAILURE_EXPIRED, "expired" },
	{ "not yet", { SAN, .by_ca = true, .begin_s = 3600, .end_s = 7200 },
	    TLS_FAILURE_VALIDATION, "not valid yet" },
	{ "self-signed", { SAN }, TLS_FAILURE_NOT_TRUSTED, "self-signed" },
	{ "no certificate", { .anonymous = true }, TLS_FAILURE_NOT_TRUSTED,
	    "no certificate" },
	{ "old TLS", { SAN, .by_ca = true, .max_version = 0x0302 },
	    TLS_FAILURE_VALIDATION, "TLSv1.1 is not new enough" },
};

static struct demand *
make_demand(const struct watch_case *w, enum demand_level level,
	const struct cert *c)
{
	struct demand *d = demand_new(level, WHY_DEFAULT);
	uint8_t digest[32];

	d->watch = DEMAND_WATCH_HOST;
	d->watch_name = xstrdup("mx.d.example");
	if (w->spec.anonymous || w->spec.max_version != 0)
		d->ciphers = xstrdup("ALL:@SECLEVEL=0");
	if (level == DEMAND_DANE) {
		d->tlsa_base = xstrdup("mx.example");
		cert_digest(c->leaf, 1, digest);
		demand_add_tlsa(d, 3, 1, 1, digest, sizeof(digest));
	}
	return d;
}

static void
run_case(const struct watch_case *w, enum demand_level level)
{
	static const struct peer_step steps[] = { ASK, TLS, DELIVER,
		{ PEER_END, NULL, 0 } };
	struct peer *peer = peer_start_cert(AF_INET, steps, &w->spec);
	struct demand *d = make_demand(w, level, peer_cert(peer));
	struct session_rcpt rcpt;
	struct session_txn txn;
	const char *failure;
	char ca_file[64];
	struct client c;

	client_init(&c);
	client_add_peer(&c, peer);
	scenario_txn(&txn, &rcpt, 1);
	c.txns[0] = &txn;
	c.target.demand = d;
	(void)str_copy(ca_file, sizeof(ca_file), peer_cert(peer)->ca_file);
	c.conf.ca_file = ca_file;
	c.conf.may_min_version = CONF_TLS_1_0;
	client_run(&c);
	failure = peer_join(peer);
	if (failure != NULL)
		fail_msg("%s: %s: %s", w->name, failure, c.why.text);
	assert_int_equal(rcpt.outcome.verdict, VERDICT_DONE);
	if (c.info.watched != w->want ||
	    strstr(c.info.watched_text, w->text) == NULL)
		fail_msg("%s: %s: %s", w->name,
			tls_failure_name(c.info.watched),
			c.info.watched_text);
	demand_free(&d);
	peer_free(&peer);
}

static void
test_may(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		run_case(&cases[i], DEMAND_MAY);
}

/* Under DANE, with its 1.2, the certificate is good for the records alone. */
static void
test_dane(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		if (!cases[i].spec.anonymous &&
		    cases[i].spec.max_version != 0x0302)
			run_case(&cases[i], DEMAND_DANE);
}

/* A file of authorities that cannot be read is told, and hinders nothing. */
static void
test_no_authorities(void **state)
{
	static const struct peer_step steps[] = { ASK, TLS, DELIVER,
		{ PEER_END, NULL, 0 } };
	const struct watch_case w = { .spec = { SAN, .by_ca = true } };
	struct peer *peer = peer_start_cert(AF_INET, steps, &w.spec);
	struct demand *d = make_demand(&w, DEMAND_MAY, peer_cert(peer));
	char none[] = "/nonexistent";
	struct session_rcpt rcpt;
	struct session_txn txn;
	struct client c;

	(void)state;
	client_init(&c);
	client_add_peer(&c, peer);
	scenario_txn(&txn, &rcpt, 1);
	c.txns[0] = &txn;
	c.target.demand = d;
	c.conf.ca_file = none;
	client_run(&c);
	assert_null(peer_join(peer));
	assert_int_equal(rcpt.outcome.verdict, VERDICT_DONE);
	assert_int_equal(c.info.watched, TLS_FAILURE_NOT_TRUSTED);
	demand_free(&d);
	peer_free(&peer);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_may),
		cmocka_unit_test(test_dane),
		cmocka_unit_test(test_no_authorities),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
