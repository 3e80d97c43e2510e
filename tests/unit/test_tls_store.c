/*
 * The cache of certificate authorities: parsed once, read again when the file
 * has changed, and never out of date authorities for a file that is gone or
 * broken.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "smtpd-out/client/tls_store.h"
#include "tests/lib/cert.h"

static const struct cert_spec spec = { .san = "DNS:mx.example",
	.by_ca = true };

static bool
trusts(X509_STORE *store, const struct cert *c)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	bool good;

	assert_int_equal(X509_STORE_CTX_init(ctx, store, c->leaf, NULL), 1);
	good = X509_verify_cert(ctx) == 1;
	X509_STORE_CTX_free(ctx);
	return good;
}

static void
test_once(void **state)
{
	struct tls_stores *stores = tls_stores_new();
	struct cert one, two;
	X509_STORE *a, *b;

	(void)state;
	cert_make(&one, &spec);
	cert_make(&two, &spec);
	a = tls_stores_get(stores, one.ca_file);
	b = tls_stores_get(stores, two.ca_file);
	assert_non_null(a);
	assert_non_null(b);
	assert_ptr_equal(tls_stores_get(stores, one.ca_file), a);
	assert_ptr_equal(tls_stores_get(stores, two.ca_file), b);
	assert_true(trusts(a, &one));
	assert_false(trusts(a, &two));
	assert_true(trusts(b, &two));
	assert_false(trusts(b, &one));
	assert_true(trusts(a, &one));	/* as before: nothing was added */
	tls_stores_free(&stores);
	assert_null(stores);
	tls_stores_free(&stores);
	cert_clear(&one);
	cert_clear(&two);
}

static void
test_changed(void **state)
{
	struct tls_stores *stores = tls_stores_new();
	struct cert one, two;
	X509_STORE *store;
	FILE *f;

	(void)state;
	cert_make(&one, &spec);
	cert_make(&two, &spec);
	assert_true(trusts(tls_stores_get(stores, one.ca_file), &one));
	assert_int_equal(rename(two.ca_file, one.ca_file), 0);
	store = tls_stores_get(stores, one.ca_file);
	assert_non_null(store);
	assert_true(trusts(store, &two));
	assert_false(trusts(store, &one));
	/* cut within, and gone */
	f = fopen(one.ca_file, "w");
	assert_non_null(f);
	assert_true(fputs("-----BEGIN CERTIFICATE-----\nAAAA\n", f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_null(tls_stores_get(stores, one.ca_file));
	assert_null(tls_stores_get(stores, one.ca_file));
	assert_int_equal(unlink(one.ca_file), 0);
	assert_null(tls_stores_get(stores, one.ca_file));
	tls_stores_free(&stores);
	cert_clear(&one);
	cert_clear(&two);
}

static void
test_late(void **state)
{
	struct tls_stores *stores = tls_stores_new();
	char path[80];
	struct cert c;

	(void)state;
	cert_make(&c, &spec);
	(void)snprintf(path, sizeof(path), "%s.late", c.ca_file);
	assert_null(tls_stores_get(stores, path));
	assert_int_equal(rename(c.ca_file, path), 0);
	assert_true(trusts(tls_stores_get(stores, path), &c));
	(void)unlink(path);
	tls_stores_free(&stores);
	cert_clear(&c);
}

/* A session that outlives the cache keeps what it verifies with. */
static void
test_shared(void **state)
{
	struct tls_stores *stores = tls_stores_new();
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	X509_STORE *store;
	struct cert c;

	(void)state;
	cert_make(&c, &spec);
	store = tls_stores_get(stores, c.ca_file);
	assert_int_equal(SSL_set1_verify_cert_store(ssl, store), 1);
	(void)unlink(c.ca_file);
	assert_null(tls_stores_get(stores, c.ca_file));
	tls_stores_free(&stores);
	assert_true(trusts(store, &c));
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	cert_clear(&c);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_once),
		cmocka_unit_test(test_changed),
		cmocka_unit_test(test_late),
		cmocka_unit_test(test_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
