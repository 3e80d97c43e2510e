/*
 * What a TLS peer showed: certificates as plain data, which TLSA record fits,
 * and that the chain is there also when its verification failed.
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
#include "smtpd-out/client/cert_report_tls.h"
#include "smtpd-out/client/session_watch.h"
#include "smtpd-out/client/tls.h"
#include "tests/lib/scenario.h"

#define OFFER SEND("250-mx.example\r\n250 STARTTLS")
#define ASK GREETING, OFFER, LINE("STARTTLS"), SEND("220 go")

static struct cert_report *
report_of(const struct cert *c, bool with_ca)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	struct cert_report *r = cert_report_new();

	assert_true(sk_X509_push(chain, c->leaf) > 0);
	if (with_ca)
		assert_true(sk_X509_push(chain, c->ca) > 0);
	cert_report_chain(r, chain);
	sk_X509_free(chain);
	return r;
}

static void
test_fields(void **state)
{
	const struct cert_spec spec = { .cn = "mx.example", .by_ca = true,
		.san = "DNS:mx.example,DNS:*.b.example,IP:192.0.2.1" };
	char print[65];
	struct cert_report *r;
	struct cert c;

	(void)state;
	cert_make(&c, &spec);
	r = report_of(&c, true);
	assert_int_equal(r->count, 2);
	assert_non_null(strstr(r->certs[0].subject, "mx.example"));
	assert_int_equal(r->certs[0].name_count, 2);
	assert_string_equal(r->certs[0].names[1], "*.b.example");
	assert_true(r->certs[0].not_before_s < r->certs[0].not_after_s);
	assert_true(r->certs[0].key[0] != '\0');
	assert_true(r->certs[0].signature[0] != '\0');
	assert_false(r->certs[0].self_issued);
	assert_true(r->certs[1].self_issued);
	cert_print(c.leaf, 0, print);
	assert_string_equal(r->certs[0].print, print);
	cert_print(c.leaf, 1, print);
	assert_string_equal(r->certs[0].key_print, print);
	cert_report_free(&r);
	cert_clear(&c);
}

static void
test_hostile_names(void **state)
{
	const struct cert_spec spec = { .cn = "a\x1b[31m\n\xff" };
	char san[8000] = "";
	struct cert_spec many = { .san = san };
	struct cert_report *r;
	struct cert c;

	(void)state;
	cert_make(&c, &spec);
	r = report_of(&c, false);
	for (const char *p = r->certs[0].subject; *p != '\0'; p++)
		assert_true((unsigned char)*p >= ' ');
	cert_report_free(&r);
	cert_clear(&c);
	for (int i = 0; i < 150; i++)
		(void)snprintf(san + strlen(san), sizeof(san) - strlen(san),
			"%sDNS:h%d.example", i > 0 ? "," : "", i);
	cert_make(&c, &many);
	r = report_of(&c, false);
	assert_int_equal(r->certs[0].name_count, CERT_REPORT_NAMES);
	assert_int_equal(r->certs[0].name_total, 150);
	cert_report_free(&r);
	cert_clear(&c);
}

static void
test_long_chain(void **state)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	const struct cert_spec spec = { .cn = "x" };
	struct cert_report *r = cert_report_new();
	struct cert c;

	(void)state;
	cert_make(&c, &spec);
	for (int i = 0; i < 40; i++)
		assert_true(sk_X509_push(chain, c.leaf) > 0);
	cert_report_chain(r, chain);
	assert_int_equal(r->count, CERT_REPORT_CERTS);
	assert_int_equal(r->total, 40);
	cert_report_free(&r);
	sk_X509_free(chain);
	cert_clear(&c);
}

static void
test_match(void **state)
{
	const struct cert_spec spec = { .by_ca = true };
	const uint8_t none = 0;
	uint8_t digest[32];
	struct cert_report *r;
	struct cert c;

	(void)state;
	cert_make(&c, &spec);
	r = report_of(&c, true);
	for (unsigned selector = 0; selector < 2; selector++) {
		const struct cert_info *leaf = &r->certs[0];

		cert_digest(c.leaf, selector, digest);
		assert_int_equal(cert_report_match(r, 3, selector, 1, digest,
			32), 0);
		assert_int_equal(cert_report_match(r, 3, selector, 1, digest,
			31), -1);
		assert_int_equal(cert_report_match(r, 3, 1 - selector, 1,
			digest, 32), -1);
		assert_int_equal(cert_report_match(r, 3, selector, 2, digest,
			32), -1);
		cert_digest(c.ca, selector, digest);
		assert_int_equal(cert_report_match(r, 2, selector, 1, digest,
			32), 1);
		/* usage 3 speaks of the server's own alone */
		assert_int_equal(cert_report_match(r, 3, selector, 1, digest,
			32), -1);
		assert_int_equal(cert_report_match(r, 3, selector, 0,
			selector == 0 ? leaf->der : leaf->key_der, selector ==
			0 ? leaf->der_len : leaf->key_der_len), 0);
	}
	assert_int_equal(cert_report_match(r, 3, 2, 1, digest, 32), -1);
	assert_int_equal(cert_report_match(r, 3, 0, 3, digest, 32), -1);
	assert_int_equal(cert_report_match(r, 3, 0, 0, &none, 0), -1);
	assert_int_equal(cert_report_match(r, 3, 0, 1, NULL, 0), -1);
	cert_report_free(&r);
	assert_null(r);
	cert_report_free(&r);
	cert_clear(&c);
}

/* ---- of a connection ---- */

struct watched {
	struct cert_report *report;
	enum session_state last;
	unsigned states, replies;
};

static void
on_state(const struct session *s, enum session_state to, void *arg)
{
	struct watched *w = arg;

	if (w->last == SESSION_HANDSHAKE && session_tls(s) != NULL &&
	    w->report == NULL)
		w->report = tls_report(session_tls(s), "mx.example");
	w->last = to;
	w->states++;
}

static void
on_reply(const struct session *s, enum smtp_verb verb,
	const struct smtp_reply *reply, void *arg)
{
	struct watched *w = arg;

	(void)s;
	(void)verb;
	assert_true(reply->code >= 200);
	w->replies++;
}

static void
connect_to(const struct cert_spec *spec, enum demand_level level,
	struct watched *w)
{
	static const struct peer_step good[] = { ASK, TLS,
		LINE("EHLO client.example"), PLAIN, BYE,
		{ PEER_END, NULL, 0 } };
	static const struct peer_step bad[] = { ASK,
		{ PEER_TLS_TRY, NULL, 0 }, { PEER_NEVER, "EHLO", 0 },
		{ PEER_END, NULL, 0 } };
	const struct session_watcher watcher = { on_state, on_reply, w };
	struct peer *peer = peer_start_cert(AF_INET, level > DEMAND_ENCRYPT ?
		bad : good, spec);
	struct demand *d = demand_new(level, WHY_DEFAULT);
	char err[TLS_ERROR_MAX];
	struct client c;

	memset(w, 0, sizeof(*w));
	client_init(&c);
	client_add_peer(&c, peer);
	demand_add_name(d, "mx.example");
	c.target.demand = d;
	c.conf.ca_file = xstrdup(peer_cert(peer)->ca_file);
	c.tls = tls_client_new(&c.conf, err);
	assert_non_null(c.tls);
	c.target.watcher = &watcher;
	client_run(&c);
	if (peer_join(peer) != NULL)
		fail_msg("%s", peer_join(peer));
	assert_int_equal(c.tls_failed, level > DEMAND_ENCRYPT);
	tls_client_free(&c.tls);
	demand_free(&d);
	free(c.conf.ca_file);
	peer_free(&peer);
}

static void
test_connection(void **state)
{
	const struct cert_spec fine = { .san = "DNS:mx.example", .by_ca =
		true, .send_ca = true };
	const struct cert_spec other = { .san = "DNS:other.example", .by_ca =
		true, .send_ca = true };
	const struct cert_spec older = { .by_ca = true, .send_ca = true,
		.max_version = 0x0303 };
	struct watched w;

	(void)state;
	connect_to(&fine, DEMAND_ENCRYPT, &w);
	assert_non_null(w.report);
	assert_string_equal(w.report->protocol, "TLSv1.3");
	assert_true(w.report->cipher[0] != '\0' && w.report->group[0] != '\0');
	assert_int_equal(w.report->count, 2);
	assert_int_equal(w.report->pkix, TLS_FAILURE_NONE);
	assert_string_equal(w.report->pkix_name, "mx.example");
	assert_true(w.states >= 6 && w.replies >= 4);
	cert_report_free(&w.report);

	connect_to(&other, DEMAND_ENCRYPT, &w);
	assert_int_equal(w.report->pkix, TLS_FAILURE_HOST_MISMATCH);
	cert_report_free(&w.report);

	/* the handshake fails, and what was seen is kept */
	connect_to(&other, DEMAND_PKIX, &w);
	assert_non_null(w.report);
	assert_int_equal(w.report->count, 2);
	assert_int_equal(w.report->pkix, TLS_FAILURE_HOST_MISMATCH);
	assert_string_equal(w.report->certs[0].names[0], "other.example");
	cert_report_free(&w.report);
	connect_to(&older, DEMAND_PKIX, &w);
	assert_int_equal(w.report->count, 2);
	cert_report_free(&w.report);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_hostile_names),
		cmocka_unit_test(test_long_chain),
		cmocka_unit_test(test_match),
		cmocka_unit_test(test_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
