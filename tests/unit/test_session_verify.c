/*
 * Certificates of every kind against every demand, with real handshakes: what
 * fails has a reason of its own and the result type of RFC 8460 section 4.3,
 * and the server sees no mail.
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
#include "smtpd-out/client/tls.h"
#include "tests/lib/scenario.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define OFFER SEND("250-mx.example\r\n250 STARTTLS")
#define ASK GREETING, OFFER, LINE("STARTTLS"), SEND("220 go")
#define DELIVER LINE("EHLO client.example"), PLAIN, MAIL, SEND("250 a"), \
	RCPT(0), SEND("250 b"), DATA, SEND("354 c"), BODY, \
	SEND("250 queued"), BYE
#define SAN .san = "DNS:mx.example"
#define EXPIRED .begin_s = -7200, .end_s = -3600
#define EARLY .begin_s = 3600, .end_s = 7200

enum record {
	NO_RECORD = 0,
	EE_CERT,	/* 3 0 1 */
	EE_KEY,		/* 3 1 1 */
	TA_CERT,	/* 2 0 1 */
	TA_KEY,		/* 2 1 1 */
	WRONG		/* 3 1 1 of another key */
};

static const struct verify_case {
	const char *name;
	enum demand_level level;
	enum record record;
	struct cert_spec spec;
	enum tls_failure failure;	/* NONE: delivered */
	const char *text;
	const char *also;		/* one more reference name */
} cases[] = {
	/* no demand: any certificate, RFC 7435 */
	{ "may, self-signed", DEMAND_MAY, 0, { 0 }, 0, NULL, NULL },
	{ "may, expired", DEMAND_MAY, 0, { EXPIRED }, 0, NULL, NULL },
	{ "encrypt, self-signed", DEMAND_ENCRYPT, 0, { 0 }, 0, NULL, NULL },
	{ "encrypt, old TLS", DEMAND_ENCRYPT, 0, { .max_version = 0x0302 },
	    TLS_FAILURE_VALIDATION, "new enough (1.2)", NULL },
	{ "dane, old TLS", DEMAND_DANE, EE_KEY, { .max_version = 0x0302 },
	    TLS_FAILURE_VALIDATION, "new enough (1.2)", NULL },

	/* usage 3: the record alone counts, not names, not dates */
	{ "3 0 1", DEMAND_DANE, EE_CERT, { 0 }, 0, NULL, NULL },
	{ "3 1 1", DEMAND_DANE, EE_KEY, { 0 }, 0, NULL, NULL },
	{ "3 1 1 expired", DEMAND_DANE, EE_KEY, { EXPIRED }, 0, NULL, NULL },
	{ "3 1 1 other name", DEMAND_DANE, EE_KEY,
	    { .san = "DNS:other.example" }, 0, NULL, NULL },
	{ "3 1 1 TLS 1.2", DEMAND_DANE, EE_KEY, { .max_version = 0x0303 }, 0,
	    NULL, NULL },
	{ "mismatch", DEMAND_DANE, WRONG, { SAN }, TLS_FAILURE_VALIDATION,
	    "TLSA", NULL },
	{ "mismatch TLS 1.2", DEMAND_DANE, WRONG,
	    { SAN, .max_version = 0x0303 }, TLS_FAILURE_VALIDATION, "TLSA",
	    NULL },
	{ "mismatch with a known CA", DEMAND_DANE, WRONG,
	    { SAN, .by_ca = true, .send_ca = true }, TLS_FAILURE_VALIDATION,
	    "TLSA", NULL },

	/* usage 2: chain, names and dates */
	{ "2 0 1", DEMAND_DANE, TA_CERT,
	    { SAN, .by_ca = true, .send_ca = true }, 0, NULL, NULL },
	{ "2 1 1", DEMAND_DANE, TA_KEY,
	    { SAN, .by_ca = true, .send_ca = true }, 0, NULL, NULL },
	{ "2 1 1 TA not sent", DEMAND_DANE, TA_KEY, { SAN, .by_ca = true },
	    TLS_FAILURE_VALIDATION, "TLSA", NULL },
	{ "2 1 1 expired", DEMAND_DANE, TA_KEY,
	    { SAN, EXPIRED, .by_ca = true, .send_ca = true },
	    TLS_FAILURE_EXPIRED, "expired", NULL },
	{ "2 1 1 other name", DEMAND_DANE, TA_KEY,
	    { .san = "DNS:other.example", .by_ca = true, .send_ca = true },
	    TLS_FAILURE_HOST_MISMATCH, "not for mx.example", NULL },
	{ "2 1 1 next-hop name", DEMAND_DANE, TA_KEY,
	    { .san = "DNS:d.example", .by_ca = true, .send_ca = true }, 0,
	    NULL, "d.example" },
	{ "2 1 1 CN only", DEMAND_DANE, TA_KEY,
	    { .cn = "mx.example", .by_ca = true, .send_ca = true },
	    TLS_FAILURE_HOST_MISMATCH, "not for mx.example", NULL },
	{ "2 1 1 self-signed leaf", DEMAND_DANE, TA_KEY,
	    { SAN, .send_ca = true }, TLS_FAILURE_VALIDATION, "TLSA", NULL },

	/* a known authority and a name */
	{ "pkix", DEMAND_PKIX, 0, { SAN, .by_ca = true }, 0, NULL, NULL },
	{ "pkix wildcard below the root", DEMAND_PKIX, 0,
	    { .san = "DNS:*.example", .by_ca = true },
	    TLS_FAILURE_HOST_MISMATCH, "mx.example", NULL },
	{ "pkix wildcard, one label", DEMAND_PKIX, 0,
	    { .san = "DNS:*.d.example", .by_ca = true }, 0, NULL,
	    "mx.d.example" },
	{ "pkix wildcard, two labels", DEMAND_PKIX, 0,
	    { .san = "DNS:*.d.example", .by_ca = true },
	    TLS_FAILURE_HOST_MISMATCH, "mx.example", "a.mx.d.example" },
	{ "pkix partial wildcard", DEMAND_PKIX, 0,
	    { .san = "DNS:m*.d.example", .by_ca = true },
	    TLS_FAILURE_HOST_MISMATCH, "mx.example", "mx.d.example" },
	{ "pkix CN only", DEMAND_PKIX, 0,
	    { .cn = "mx.example", .by_ca = true },
	    TLS_FAILURE_HOST_MISMATCH, "mx.example", NULL },
	{ "pkix other name", DEMAND_PKIX, 0,
	    { .san = "DNS:other.example", .by_ca = true },
	    TLS_FAILURE_HOST_MISMATCH, "not for mx.example", NULL },
	{ "pkix expired", DEMAND_PKIX, 0, { SAN, EXPIRED, .by_ca = true },
	    TLS_FAILURE_EXPIRED, "expired", NULL },
	{ "pkix not yet", DEMAND_PKIX, 0, { SAN, EARLY, .by_ca = true },
	    TLS_FAILURE_VALIDATION, "not valid yet", NULL },
	{ "pkix self-signed", DEMAND_PKIX, 0, { SAN },
	    TLS_FAILURE_NOT_TRUSTED, "self-signed", NULL },

	/* a certificate by its digest */
	{ "fingerprint", DEMAND_FINGERPRINT, EE_CERT, { EXPIRED }, 0, NULL,
	    NULL },
	{ "fingerprint of the key", DEMAND_FINGERPRINT, EE_KEY, { 0 }, 0,
	    NULL, NULL },
	/* a cipher list that leaves the choice to the server */
	{ "encrypt, no certificate", DEMAND_ENCRYPT, 0, { .anonymous = true },
	    0, NULL, NULL },
	{ "pkix, no certificate", DEMAND_PKIX, 0, { .anonymous = true },
	    TLS_FAILURE_NOT_TRUSTED, "not the one demanded", NULL },
	{ "dane, no certificate", DEMAND_DANE, EE_KEY, { .anonymous = true },
	    TLS_FAILURE_NOT_TRUSTED, "not the one demanded", NULL },
	{ "fingerprint, no certificate", DEMAND_FINGERPRINT, EE_KEY,
	    { .anonymous = true }, TLS_FAILURE_NOT_TRUSTED,
	    "not the one demanded", NULL },

	{ "other fingerprint", DEMAND_FINGERPRINT, WRONG, { SAN },
	    TLS_FAILURE_NOT_TRUSTED, "not the one demanded", NULL },
};

static void
add_record(struct demand *d, const struct cert *c, enum record record)
{
	unsigned selector = record == EE_CERT || record == TA_CERT ? 0 : 1;
	bool ta = record == TA_CERT || record == TA_KEY;
	uint8_t digest[32];
	char print[65];

	if (record == NO_RECORD)
		return;
	cert_digest(ta ? c->ca : c->leaf, selector, digest);
	cert_print(c->leaf, selector, print);
	if (record == WRONG) {
		digest[0] ^= 1;
		print[0] = print[0] == '0' ? '1' : '0';
	}
	if (d->level == DEMAND_DANE)
		demand_add_tlsa(d, ta ? 2 : 3, (uint8_t)selector, 1, digest,
			sizeof(digest));
	else
		demand_add_print(d, print);
}

static struct demand *
make_demand(const struct verify_case *v, const struct cert *c)
{
	struct demand *d = demand_new(v->level, WHY_LOCAL);

	if (v->level == DEMAND_DANE)
		d->tlsa_base = xstrdup("mx.example");
	if (v->level == DEMAND_DANE || v->level == DEMAND_PKIX)
		demand_add_name(d, "mx.example");
	if (v->also != NULL)
		demand_add_name(d, v->also);
	d->ca_file = xstrdup(c->ca_file);
	if (v->spec.anonymous)	/* which needs a list that allows for it */
		d->ciphers = xstrdup("ALL:@SECLEVEL=0");
	add_record(d, c, v->record);
	return d;
}

static const struct peer_step good_steps[] = { ASK, TLS, DELIVER,
	{ PEER_END, NULL, 0 } };
/* TLS may be up for the server before we look at what is demanded. */
static const struct peer_step bad_steps[] = { ASK,
	{ PEER_TLS_TRY, NULL, 0 }, { PEER_NEVER, "EHLO", 0 },
	{ PEER_END, NULL, 0 } };

/* What the connection may be used for besides: demand_covers(). */
static void
check_proof(const struct verify_case *v, const struct demand_proof *p)
{
	bool by_key = v->record == EE_CERT || v->record == EE_KEY;
	bool by_name = v->level == DEMAND_PKIX || (v->level == DEMAND_DANE &&
		!by_key);

	assert_true(p->tls);
	assert_int_equal(p->by_key, v->level == DEMAND_DANE && by_key);
	if (by_name)
		assert_int_equal(p->names, v->also != NULL ? 2 : 1);
	else if (v->level != DEMAND_DANE)
		assert_int_equal(p->names, 0);
}

static void
run_case(const struct verify_case *v)
{
	bool good = v->failure == TLS_FAILURE_NONE;
	struct peer *peer = peer_start_cert(AF_INET, good ? good_steps :
		bad_steps, &v->spec);
	struct demand *d = make_demand(v, peer_cert(peer));
	struct session_rcpt rcpt;
	struct session_txn txn;
	struct client c;
	const char *failure;

	client_init(&c);
	client_add_peer(&c, peer);
	scenario_txn(&txn, &rcpt, 1);
	c.txns[0] = &txn;
	c.target.demand = d;
	client_run(&c);
	failure = peer_join(peer);
	if (failure != NULL)
		fail_msg("%s: %s: %s", v->name, failure, c.why.text);
	if (good) {
		assert_int_equal(c.done, 1);
		assert_int_equal(rcpt.outcome.verdict, VERDICT_DONE);
		check_proof(v, &c.info.proof);
	} else if (c.done != 0 || !c.tls_failed ||
	    c.why.tls_failure != v->failure ||
	    c.why.verdict != VERDICT_LATER || c.why.scope != SCOPE_HOST ||
	    strstr(c.why.text, v->text) == NULL) {
		fail_msg("%s: %s: %s", v->name,
			tls_failure_name(c.why.tls_failure), c.why.text);
	}
	demand_free(&d);
	peer_free(&peer);
}

static void
test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		run_case(&cases[i]);
}

/* ---- what else hinders TLS has its own text ---- */

static const struct {
	const char *name, *text;
	struct peer_step steps[12];
} texts[] = {
	{ "stripped", "takes it out", { GREETING, PLAIN, BYE } },
	{ "masked", "is masked", { GREETING,
	    SEND("250-mx.example\r\n250-SIZE 1000\r\n250 XXXXXXXA"), BYE } },
	{ "masked to the end", "is masked", { GREETING,
	    SEND("250-mx.example\r\n250 XXXXXXXX"), BYE } },
	{ "not a mask", "takes it out", { GREETING,
	    SEND("250-mx.example\r\n250-XCLIENT NAME\r\n250 XXX"), BYE } },
	{ "masked greeting", "greeting is masked", {
	    SEND("220 ****************************2*****"), EXPECT("EHLO"),
	    PLAIN, BYE } },
	{ "masked greeting, no EHLO", "hides STARTTLS", {
	    SEND("220 ****************************2*****"), EXPECT("EHLO"),
	    SEND("500 command unrecognized"), BYE } },
	{ "454", "not available now: 454 try later", { GREETING, OFFER,
	    LINE("STARTTLS"), SEND("454 4.7.0 try later"), BYE } },
	{ "502", "refused: 502 no", { GREETING, OFFER, LINE("STARTTLS"),
	    SEND("502 no"), BYE } },
	{ "alert", "refused the handshake (alert: ", { ASK,
	    { PEER_TLS_FAIL, NULL, 1 }, WAIT } },
	{ "not TLS", "is not TLS", { ASK, { PEER_SLEEP, NULL, 50 },
	    SEND("250 hello, this is no handshake"), WAIT } },
};

static void
test_texts(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		struct peer *peer = peer_start(AF_INET, texts[i].steps);
		const char *failure;
		struct client c;

		client_init(&c);
		client_add_peer(&c, peer);
		c.demand.level = DEMAND_ENCRYPT;
		client_run(&c);
		failure = peer_join(peer);
		if (failure != NULL || c.why.verdict != VERDICT_LATER ||
		    c.why.tls_failure != (c.tls_failed ?
		    TLS_FAILURE_VALIDATION : TLS_FAILURE_STARTTLS) ||
		    strstr(c.why.text, texts[i].text) == NULL)
			fail_msg("%s: %s: %s", texts[i].name, failure != NULL ?
				failure : "", c.why.text);
		peer_free(&peer);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
