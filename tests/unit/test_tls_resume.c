/*
 * Resumption of TLS sessions: only where all that verification depends on is as
 * it was, and never a way around it.  The peers fail when a handshake is not of
 * the kind that is expected.
 */
#include "config.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/ssl.h>

#include "base/clock.h"
#include "base/mem.h"
#include "smtpd-out/client/tls.h"
#include "smtpd-out/client/tls_resume.h"
#include "smtpd-out/client/tls_verify.h"
#include "tests/lib/scenario.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define ASK GREETING, SEND("250-mx.example\r\n250 STARTTLS"), \
	LINE("STARTTLS"), SEND("220 go")
/* In TLS 1.2 the server does not look at the name then. */
#define RESUMED { PEER_TLS, NULL, 1 }
#define DELIVER LINE("EHLO client.example"), PLAIN, MAIL, SEND("250 a"), \
	RCPT(0), SEND("250 b"), DATA, SEND("354 c"), BODY, \
	SEND("250 queued"), BYE
#define END { PEER_END, NULL, 0 }
#define AGAIN { PEER_AGAIN, NULL, 0 }
#define HOUR_MS 3600000
#define SHORT_MS 2
#define TLS_1_2 0x0303

enum record {
	NONE = 0,
	EE_KEY,		/* 3 1 1 */
	EE_CERT,	/* 3 0 1 */
	EE_BOTH,	/* 3 1 1 and 3 0 1 */
	EE_TURNED,	/* the same, in another order */
	TA_KEY,		/* 2 1 1 */
	PKIX_KEY,	/* 1 1 1 */
	WRONG		/* 3 1 1 of another key */
};

struct kind {
	enum demand_level level;
	enum record record;
	const char *also;		/* one more name */
};

static void
add_tlsa(struct demand *d, const struct cert *c, unsigned usage,
	unsigned selector, bool wrong)
{
	uint8_t digest[32];

	cert_digest(usage == 2 ? c->ca : c->leaf, selector, digest);
	digest[0] ^= wrong;
	demand_add_tlsa(d, (uint8_t)usage, (uint8_t)selector, 1, digest,
		sizeof(digest));
}

static void
add_records(struct demand *d, const struct cert *c, enum record record)
{
	if (record == TA_KEY)
		add_tlsa(d, c, 2, 1, false);
	if (record == PKIX_KEY)
		add_tlsa(d, c, 1, 1, false);
	if (record == EE_CERT || record == EE_TURNED)
		add_tlsa(d, c, 3, 0, false);
	if (record == EE_KEY || record == EE_BOTH || record == EE_TURNED ||
	    record == WRONG)
		add_tlsa(d, c, 3, 1, record == WRONG);
	if (record == EE_BOTH)
		add_tlsa(d, c, 3, 0, false);
}

static struct demand *
make_demand(const struct kind *k, const struct cert *c)
{
	struct demand *d = demand_new(k->level, WHY_LOCAL);
	char print[65];

	if (k->level == DEMAND_DANE)
		d->tlsa_base = xstrdup("mx.example");
	if (k->level == DEMAND_DANE || k->level == DEMAND_PKIX)
		demand_add_name(d, "mx.example");
	if (k->also != NULL)
		demand_add_name(d, k->also);
	d->ca_file = xstrdup(c->ca_file);
	add_records(d, c, k->record);
	if (k->level == DEMAND_FINGERPRINT) {
		cert_print(c->leaf, 1, print);
		demand_add_print(d, print);
	}
	return d;
}

/* ---- connections through one context ---- */

enum what {
	RESUMES,
	FULL,		/* a full handshake, and the mail arrives */
	REFUSED		/* a full handshake, and no mail */
};

static const struct peer_step resumes[] = { ASK, TLS, DELIVER, AGAIN,
	ASK, RESUMED, DELIVER, END };
static const struct peer_step full[] = { ASK, TLS, DELIVER, AGAIN,
	ASK, TLS, DELIVER, END };
static const struct peer_step refused[] = { ASK, TLS, DELIVER, AGAIN, ASK,
	{ PEER_TLS_TRY, NULL, 0 }, { PEER_NEVER, "EHLO", 0 }, END };
static const struct peer_step *const scripts[] = { resumes, full, refused };

static void
deliver(struct client *c, struct tls_client *tls, struct peer *peer,
	const struct demand *d)
{
	struct session_rcpt rcpt;
	struct session_txn txn;

	client_init(c);
	client_add_peer(c, peer);
	scenario_txn(&txn, &rcpt, 1);
	c->txns[0] = &txn;
	c->tls = tls;
	c->target.demand = d;
	client_run(c);
	c->txns[0] = NULL;
}

struct pair {
	const char *name;
	struct kind first, second;
	enum what what;
	bool by_ca;
};

static void
run_pair(const struct pair *p, int max_version, int64_t lifetime_ms)
{
	const struct cert_spec spec = { .max_version = max_version,
		.by_ca = p->by_ca, .send_ca = p->by_ca,
		.san = "DNS:mx.example" };
	struct peer *peer = peer_start_cert(AF_INET, scripts[p->what], &spec);
	struct demand *first = make_demand(&p->first, peer_cert(peer));
	struct demand *second = make_demand(&p->second, peer_cert(peer));
	char err[TLS_ERROR_MAX];
	struct tls_client *tls;
	const char *failure;
	struct client c;

	client_init(&c);
	tls = tls_client_new(&c.conf, err);
	assert_non_null(tls);
	if (lifetime_ms > 0)
		tls_client_resume(tls, lifetime_ms);
	deliver(&c, tls, peer, first);
	assert_int_equal(c.done, 1);
	if (lifetime_ms == SHORT_MS)
		(void)poll(NULL, 0, 10 * SHORT_MS);
	deliver(&c, tls, peer, second);
	failure = peer_join(peer);
	if (failure != NULL)
		fail_msg("%s (%x): %s: %s", p->name, (unsigned)max_version,
			failure, c.why.text);
	assert_int_equal(c.done, p->what != REFUSED);
	assert_int_equal(c.tls_failed, p->what == REFUSED);
	if (p->what != REFUSED) {
		assert_int_equal(c.info.proof.by_key, p->second.level ==
			DEMAND_DANE && p->second.record != TA_KEY &&
			p->second.record != PKIX_KEY);
		assert_int_equal(c.info.proof.names != 0, p->second.level ==
			DEMAND_DANE || p->second.level == DEMAND_PKIX);
	}
	tls_client_free(&tls);
	demand_free(&first);
	demand_free(&second);
	peer_free(&peer);
}

#define DANE(record) { DEMAND_DANE, record, NULL }

static const struct pair pairs[] = {
	{ "may", { DEMAND_MAY, 0, NULL }, { DEMAND_MAY, 0, NULL }, RESUMES,
	    false },
	{ "encrypt", { DEMAND_ENCRYPT, 0, NULL }, { DEMAND_ENCRYPT, 0, NULL },
	    RESUMES, false },
	{ "fingerprint", { DEMAND_FINGERPRINT, 0, NULL },
	    { DEMAND_FINGERPRINT, 0, NULL }, RESUMES, false },
	{ "dane 3 1 1", DANE(EE_KEY), DANE(EE_KEY), RESUMES, false },
	{ "dane, turned around", DANE(EE_BOTH), DANE(EE_TURNED), RESUMES,
	    false },
	{ "dane 2 1 1", DANE(TA_KEY), DANE(TA_KEY), RESUMES, true },
	{ "dane 1 1 1", DANE(PKIX_KEY), DANE(PKIX_KEY), RESUMES, true },
	{ "pkix", { DEMAND_PKIX, 0, NULL }, { DEMAND_PKIX, 0, NULL }, RESUMES,
	    true },

	{ "may, then encrypt", { DEMAND_MAY, 0, NULL },
	    { DEMAND_ENCRYPT, 0, NULL }, FULL, false },
	{ "may, then dane", { DEMAND_MAY, 0, NULL }, DANE(EE_KEY), FULL,
	    false },
	{ "may, then a fingerprint", { DEMAND_MAY, 0, NULL },
	    { DEMAND_FINGERPRINT, 0, NULL }, FULL, false },
	{ "may, then pkix", { DEMAND_MAY, 0, NULL }, { DEMAND_PKIX, 0, NULL },
	    FULL, true },
	{ "dane, then other records", DANE(EE_KEY), DANE(EE_CERT), FULL,
	    false },
	{ "dane, then a record more", DANE(EE_KEY), DANE(EE_BOTH), FULL,
	    false },
	{ "dane, then a record less", DANE(EE_BOTH), DANE(EE_KEY), FULL,
	    false },
	{ "pkix, then one name more", { DEMAND_PKIX, 0, NULL },
	    { DEMAND_PKIX, 0, "d.example" }, FULL, true },
	{ "dane, then pkix", DANE(TA_KEY), { DEMAND_PKIX, 0, NULL }, FULL,
	    true },

	/* An unverified session, or one of other records, is no way around. */
	{ "may, then the wrong record", { DEMAND_MAY, 0, NULL }, DANE(WRONG),
	    REFUSED, false },
	{ "dane, then the wrong record", DANE(EE_KEY), DANE(WRONG), REFUSED,
	    false },
	{ "may, then pkix of nobody known", { DEMAND_MAY, 0, NULL },
	    { DEMAND_PKIX, 0, NULL }, REFUSED, false },
	{ "fingerprint, then pkix", { DEMAND_FINGERPRINT, 0, NULL },
	    { DEMAND_PKIX, 0, NULL }, REFUSED, false },
};

static void
test_pairs(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(pairs); i++) {
		run_pair(&pairs[i], 0, HOUR_MS);
		run_pair(&pairs[i], TLS_1_2, HOUR_MS);
	}
}

static void
test_off(void **state)
{
	static const struct pair p = { "off", DANE(EE_KEY), DANE(EE_KEY), FULL,
		false };

	(void)state;
	run_pair(&p, 0, 0);
	run_pair(&p, TLS_1_2, 0);
}

static void
test_lifetime(void **state)
{
	static const struct pair p = { "too old", DANE(EE_KEY), DANE(EE_KEY),
		FULL, false };

	(void)state;
	run_pair(&p, 0, SHORT_MS);
	run_pair(&p, TLS_1_2, SHORT_MS);
}

/* The server breaks off when a session is offered: the owner is told that this
 * may be why, and the next handshake is a full one. */
static void
test_broken_off(void **state)
{
	static const struct peer_step steps[] = { ASK, TLS, DELIVER, AGAIN,
		ASK, { PEER_TAKE, NULL, 100 }, { PEER_CUT, NULL, 0 }, AGAIN,
		ASK, TLS, DELIVER, END };
	static const struct kind may = { DEMAND_MAY, 0, NULL };
	const struct cert_spec spec = { .san = "DNS:mx.example" };
	struct peer *peer = peer_start_cert(AF_INET, steps, &spec);
	struct demand *d = make_demand(&may, peer_cert(peer));
	char err[TLS_ERROR_MAX];
	struct tls_client *tls;
	struct client c;

	(void)state;
	client_init(&c);
	tls = tls_client_new(&c.conf, err);
	tls_client_resume(tls, HOUR_MS);
	deliver(&c, tls, peer, d);
	assert_false(c.resuming);
	deliver(&c, tls, peer, d);
	assert_true(c.tls_failed);
	assert_true(c.resuming);
	deliver(&c, tls, peer, d);
	assert_int_equal(c.done, 1);
	assert_false(c.resuming);
	assert_null(peer_join(peer));
	tls_client_free(&tls);
	demand_free(&d);
	peer_free(&peer);
}

/* ---- several connections in turn ---- */

struct chain {
	const struct peer_step *steps;
	struct cert_spec spec;
	const int *minutes;		/* when they are made */
	size_t count;
	size_t broken;			/* of these */
};

static void
run_chain(const struct chain *ch)
{
	static const struct kind may = { DEMAND_MAY, 0, NULL };
	struct peer *peer = peer_start_cert(AF_INET, ch->steps, &ch->spec);
	struct demand *d = make_demand(&may, peer_cert(peer));
	int64_t begin_ms = clock_wall_ms();
	char err[TLS_ERROR_MAX];
	struct tls_client *tls;
	size_t broken = 0;
	const char *failure;
	struct client c;

	client_init(&c);
	tls = tls_client_new(&c.conf, err);
	tls_client_resume(tls, HOUR_MS);
	for (size_t i = 0; i < ch->count; i++) {
		clock_test_set(begin_ms + ch->minutes[i] * 60000);
		deliver(&c, tls, peer, d);
		broken += c.resuming;
		assert_int_equal(c.done, !c.resuming);
	}
	clock_test_real();
	failure = peer_join(peer);
	if (failure != NULL)
		fail_msg("%x: %s", (unsigned)ch->spec.max_version, failure);
	assert_int_equal(broken, ch->broken);
	tls_client_free(&tls);
	demand_free(&d);
	peer_free(&peer);
}

/* What is only watched (MTA-STS in testing mode) is watched again, too. */
static void
watch(const char *name, int max_version, enum tls_failure expected)
{
	static const struct kind may = { DEMAND_MAY, 0, NULL };
	const struct cert_spec spec = { .san = "DNS:mx.example",
		.by_ca = true, .max_version = max_version };
	struct peer *peer = peer_start_cert(AF_INET, resumes, &spec);
	struct demand *d = make_demand(&may, peer_cert(peer));
	char err[TLS_ERROR_MAX];
	struct tls_client *tls;
	struct client c;
	struct conf conf;

	client_init(&c);
	conf = c.conf;
	conf.ca_file = d->ca_file;
	tls = tls_client_new(&conf, err);
	tls_client_resume(tls, HOUR_MS);
	d->watch = DEMAND_WATCH_HOST;
	d->watch_name = xstrdup(name);
	for (int i = 0; i < 2; i++) {
		deliver(&c, tls, peer, d);
		assert_int_equal(c.done, 1);
		assert_int_equal(c.info.watched, expected);
	}
	assert_null(peer_join(peer));
	tls_client_free(&tls);
	demand_free(&d);
	peer_free(&peer);
}

static void
test_watched(void **state)
{
	(void)state;
	for (int version = 0; version <= TLS_1_2; version += TLS_1_2) {
		watch("mx.example", version, TLS_FAILURE_NONE);
		watch("d.example", version, TLS_FAILURE_HOST_MISMATCH);
	}
}

/* However often a session is renewed: at last the certificate is asked for
 * (RFC 8446 4.6.1). */
static void
test_renewed(void **state)
{
	static const struct peer_step steps[] = { ASK, TLS, DELIVER, AGAIN,
		ASK, RESUMED, DELIVER, AGAIN, ASK, TLS, DELIVER, END };
	static const int minutes[] = { 0, 40, 80 };
	struct chain ch = { steps, { .san = "DNS:mx.example" }, minutes,
		COUNT(minutes), 0 };

	(void)state;
	run_chain(&ch);
	ch.spec.max_version = TLS_1_2;
	run_chain(&ch);
}

/* A host that breaks resumptions off does so once, not with each session that
 * it gives us. */
static void
test_breaks_off(void **state)
{
	static const struct peer_step steps[] = { ASK, TLS, DELIVER, AGAIN,
		ASK, { PEER_TAKE, NULL, 100 }, { PEER_CUT, NULL, 0 }, AGAIN,
		ASK, TLS, DELIVER, AGAIN, ASK, TLS, DELIVER, END };
	static const int minutes[] = { 0, 1, 2, 3 };
	struct chain ch = { steps, { .san = "DNS:mx.example" }, minutes,
		COUNT(minutes), 1 };

	(void)state;
	run_chain(&ch);
	ch.spec.max_version = TLS_1_2;
	run_chain(&ch);
}

/* What is read of a certificate takes fifty times its size. */
static void
test_large_certificate(void **state)
{
	static const struct peer_step steps[] = { ASK, TLS, DELIVER, AGAIN,
		ASK, TLS, DELIVER, END };
	static const int minutes[] = { 0, 1 };
	static char san[3 * TLS_RESUME_ONE_BYTES];
	struct chain ch = { steps, { .san = san }, minutes, COUNT(minutes),
		0 };
	size_t len;

	(void)state;
	strcpy(san, "DNS:mx.example");
	for (len = strlen(san); len < sizeof(san) - 20; len = strlen(san))
		strcpy(san + len, ",DNS:a.example");
	run_chain(&ch);
	ch.spec.max_version = TLS_1_2;
	run_chain(&ch);
}

/* ---- a session that should never have been offered ---- */

/* Both ends in one thread. */
static bool
shake(SSL *client, SSL *server)
{
	BIO *near, *far;
	char byte;

	assert_int_equal(BIO_new_bio_pair(&near, 0, &far, 0), 1);
	SSL_set_bio(client, near, near);
	SSL_set_bio(server, far, far);
	SSL_set_connect_state(client);
	SSL_set_accept_state(server);
	for (int i = 0; i < 10; i++) {
		(void)SSL_do_handshake(client);
		(void)SSL_do_handshake(server);
	}
	(void)SSL_read(client, &byte, 1);	/* the tickets */
	return SSL_is_init_finished(client) == 1 &&
		SSL_is_init_finished(server) == 1;
}

static SSL_SESSION *
unverified_session(SSL_CTX *ctx, const struct cert *cert)
{
	SSL *client = SSL_new(ctx), *server = SSL_new(cert->ctx);
	SSL_SESSION *session;

	SSL_set_verify(client, SSL_VERIFY_NONE, NULL);
	assert_true(shake(client, server));
	session = SSL_get1_session(client);
	(void)SSL_shutdown(client);
	SSL_free(client);
	SSL_free(server);
	return session;
}

static void
force(const struct kind *kind, int max_version, bool good)
{
	const struct cert_spec spec = { .san = "DNS:mx.example",
		.max_version = max_version };
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct tls_setting set = { .stores = tls_stores_new() };
	struct demand_proof proof;
	SSL_SESSION *session;
	SSL *client, *server;
	struct demand *d;
	struct cert cert;
	struct client c;

	client_init(&c);
	set.conf = &c.conf;
	cert_make(&cert, &spec);
	assert_true(SSL_CTX_dane_enable(ctx) > 0);
	session = unverified_session(ctx, &cert);
	d = make_demand(kind, &cert);
	client = SSL_new(ctx);
	server = SSL_new(cert.ctx);
	assert_true(tls_verify_apply(client, d, &set));
	assert_int_equal(SSL_set_session(client, session), 1);
	assert_true(shake(client, server));
	assert_int_equal(SSL_session_reused(client), 1);
	assert_int_equal(tls_verify_done(client, d), good);
	if (good) {
		tls_verify_proof(client, d, &proof);
		assert_int_equal(proof.by_key, kind->level == DEMAND_DANE);
	}
	SSL_SESSION_free(session);
	SSL_free(client);
	SSL_free(server);
	demand_free(&d);
	cert_clear(&cert);
	tls_stores_free(&set.stores);
	SSL_CTX_free(ctx);
}

/* The library takes each of these handshakes for a good one. */
static void
test_verified_again(void **state)
{
	static const struct kind good = DANE(EE_KEY);
	static const struct kind known = { DEMAND_FINGERPRINT, 0, NULL };
	static const struct kind bad[] = { DANE(WRONG), DANE(TA_KEY),
		DANE(PKIX_KEY), { DEMAND_PKIX, 0, NULL } };

	(void)state;
	for (int version = 0; version <= TLS_1_2; version += TLS_1_2) {
		force(&good, version, true);
		force(&known, version, true);
		for (size_t i = 0; i < COUNT(bad); i++)
			force(&bad[i], version, false);
	}
}

/* ---- the store ---- */

static bool
take(struct tls_resume *r, unsigned number)
{
	uint8_t key[TLS_RESUME_KEY_BYTES] = { 0 };
	struct tls_kept kept;

	memcpy(key, &number, sizeof(number));
	if (!tls_resume_take(r, key, &kept))
		return false;
	SSL_SESSION_free(kept.session);
	return true;
}

static void
put(struct tls_resume *r, unsigned number, SSL_SESSION *s, size_t bytes)
{
	const struct tls_kept kept = { s, clock_mono_ms(), bytes };
	uint8_t key[TLS_RESUME_KEY_BYTES] = { 0 };

	memcpy(key, &number, sizeof(number));
	assert_int_equal(SSL_SESSION_up_ref(s), 1);
	tls_resume_put(r, key, &kept);
}

static void
refuse(struct tls_resume *r, unsigned number)
{
	uint8_t key[TLS_RESUME_KEY_BYTES] = { 0 };

	memcpy(key, &number, sizeof(number));
	tls_resume_refuse(r, key);
}

/* How many of the keys from 0 have a session still, the last ones. */
static unsigned
take_last(struct tls_resume *r, unsigned count)
{
	unsigned found = 0;

	for (unsigned i = 0; i < count; i++) {
		bool taken = take(r, i);

		assert_true(taken || found == 0);
		found += taken;
	}
	return found;
}

static void
check_bounds(struct tls_resume *r, SSL_SESSION *s)
{
	unsigned found = 0;

	for (int i = 0; i < TLS_RESUME_EACH_MAX + 3; i++)
		put(r, 7, s, 100);
	while (take(r, 7))
		found++;
	assert_int_equal(found, TLS_RESUME_EACH_MAX);
	for (unsigned i = 0; i < TLS_RESUME_MAX + 10; i++)
		put(r, i, s, 100);
	assert_int_equal(take_last(r, TLS_RESUME_MAX + 10), TLS_RESUME_MAX);
	for (unsigned i = 0; i < TLS_RESUME_MAX; i++)
		put(r, i, s, TLS_RESUME_ONE_BYTES);
	assert_int_equal(take_last(r, TLS_RESUME_MAX),
		TLS_RESUME_BYTES / TLS_RESUME_ONE_BYTES);
	put(r, 7, s, TLS_RESUME_ONE_BYTES + 1);
	assert_false(take(r, 7));
}

/* What was there goes, what comes is not kept, until the time is up. */
static void
check_refusals(struct tls_resume *r, SSL_SESSION *s)
{
	int64_t now_ms = clock_wall_ms();

	clock_test_set(now_ms);
	put(r, 7, s, 100);
	put(r, 8, s, 100);
	refuse(r, 7);
	assert_false(take(r, 7));
	clock_test_set(now_ms + HOUR_MS / 2);
	refuse(r, 7);
	clock_test_set(now_ms + HOUR_MS);
	put(r, 7, s, 100);
	assert_false(take(r, 7));
	clock_test_set(now_ms + HOUR_MS + HOUR_MS / 2);
	put(r, 7, s, 100);
	assert_true(take(r, 7));
	assert_false(take(r, 8));	/* too old */
	/* The oldest are forgotten. */
	for (unsigned i = 0; i < TLS_RESUME_MAX + 10; i++)
		refuse(r, i);
	for (unsigned i = 0; i < TLS_RESUME_MAX + 10; i++) {
		put(r, i, s, 100);
		assert_int_equal(take(r, i), i < 10);
	}
	clock_test_real();
}

static void
test_bounds(void **state)
{
	const struct cert_spec spec = { .san = "DNS:mx.example",
		.max_version = TLS_1_2 };
	const struct cert_spec old = { .begin_s = -7200, .end_s = -3600,
		.max_version = TLS_1_2 };
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct tls_resume *r = tls_resume_new(HOUR_MS);
	SSL_SESSION *s, *over;
	struct cert cert, expired;

	(void)state;
	cert_make(&cert, &spec);
	cert_make(&expired, &old);
	s = unverified_session(ctx, &cert);
	over = unverified_session(ctx, &expired);
	check_bounds(r, s);
	check_refusals(r, s);
	put(r, 600, over, 100);
	assert_false(take(r, 600));
	put(r, 600, s, 100);
	tls_resume_free(&r);
	SSL_SESSION_free(s);
	SSL_SESSION_free(over);
	cert_clear(&cert);
	cert_clear(&expired);
	SSL_CTX_free(ctx);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_lifetime),
		cmocka_unit_test(test_broken_off),
		cmocka_unit_test(test_watched),
		cmocka_unit_test(test_renewed),
		cmocka_unit_test(test_breaks_off),
		cmocka_unit_test(test_large_certificate),
		cmocka_unit_test(test_verified_again),
		cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
