/*
 * Which addresses are not asked: both ends of every block, and their
 * neighbours.
 */
#include "config.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#include "policy/https.h"

static const char *
kind(const char *text)
{
	struct sockaddr_storage ss = { 0 };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&ss;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&ss;

	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		ss.ss_family = AF_INET;
	} else {
		assert_int_equal(inet_pton(AF_INET6, text, &v6->sin6_addr), 1);
		ss.ss_family = AF_INET6;
	}
	return https_address_kind((const struct sockaddr *)&ss);
}

/* clang-format off */
static const struct {
	const char *first, *last;	/* of a block */
	const char *kind;
} blocks[] = {
	{ "0.0.0.0", "0.255.255.255", "unspecified" },
	{ "10.0.0.0", "10.255.255.255", "private network" },
	{ "100.64.0.0", "100.127.255.255", "shared address" },
	{ "127.0.0.0", "127.255.255.255", "loopback" },
	{ "169.254.0.0", "169.254.169.254", "link-local" },
	{ "169.254.0.1", "169.254.255.255", "link-local" },
	{ "172.16.0.0", "172.31.255.255", "private network" },
	{ "192.0.0.0", "192.0.0.255", "reserved" },
	{ "192.0.2.0", "192.0.2.255", "documentation" },
	{ "192.88.99.0", "192.88.99.255", "reserved" },
	{ "192.168.0.0", "192.168.255.255", "private network" },
	{ "198.18.0.0", "198.19.255.255", "benchmarking" },
	{ "198.51.100.0", "198.51.100.255", "documentation" },
	{ "203.0.113.0", "203.0.113.255", "documentation" },
	{ "224.0.0.0", "239.255.255.255", "multicast" },
	{ "240.0.0.0", "255.255.255.255", "reserved" },
	{ "::", "::", "unspecified" },
	{ "::1", "::1", "loopback" },
	{ "::2", "::7f00:1", "reserved" },
	{ "::ffff:0.0.0.0", "::ffff:255.255.255.255", "IPv4-mapped" },
	{ "::ffff:8.8.8.8", "::ffff:127.0.0.1", "IPv4-mapped" },
	{ "64:ff9b::7f00:1", "64:ff9b::127.255.255.255", "loopback" },
	{ "64:ff9b::a00:1", "64:ff9b::10.1.2.3", "private network" },
	{ "64:ff9b:1::", "64:ff9b:1:ffff::8.8.8.8", "reserved" },
	{ "100::", "100::ffff", "reserved" },
	{ "1fff:ffff::", "1fff:ffff:ffff::1", "reserved" },
	{ "2001::", "2001:1ff:ffff::", "reserved" },
	{ "2001:db8::", "2001:db8:ffff::1", "documentation" },
	{ "2002:7f00:1::", "2002:7fff:ffff::1", "loopback" },
	{ "2002:c0a8:101::1", "2002:c0a8:ffff::", "private network" },
	{ "3fff::", "3fff:fff::1", "documentation" },
	{ "4000::", "fbff::1", "reserved" },
	{ "fc00::", "fdff:ffff::1", "private network" },
	{ "fe80::", "febf:ffff::1", "link-local" },
	{ "fec0::", "feff:ffff::1", "private network" },
	{ "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast" },
};

static const char *const public[] = {
	"1.0.0.0", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255",
	"100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255",
	"169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255",
	"192.0.1.0", "192.0.3.0", "192.88.98.255", "192.88.100.0",
	"192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0",
	"198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0",
	"223.255.255.255",
	"2000::1", "2001:200::1", "2001:4860:4860::8888", "2001:db7::1",
	"2001:db9::1", "2003::1", "2606:4700::1111", "3ffe::1",
	"3fff:1000::1", "64:ff9b::8.8.8.8", "2002:808:808::1",
};
/* clang-format on */

static void
test_blocks(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
		const char *first = kind(blocks[i].first);
		const char *last = kind(blocks[i].last);

		if (first == NULL || last == NULL)
			print_error("%s to %s\n", blocks[i].first,
				blocks[i].last);
		assert_non_null(first);
		assert_non_null(last);
		assert_string_equal(first, blocks[i].kind);
		assert_string_equal(last, blocks[i].kind);
	}
}

static void
test_public(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(public) / sizeof(public[0]); i++) {
		if (kind(public[i]) != NULL)
			print_error("%s: %s\n", public[i], kind(public[i]));
		assert_null(kind(public[i]));
	}
}

static void
test_other_family(void **state)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	(void)state;
	assert_non_null(https_address_kind((const struct sockaddr *)&un));
}

static void
test_names(void **state)
{
	(void)state;
	for (int e = HTTPS_OK; e <= HTTPS_LOCAL; e++)
		assert_string_not_equal(https_error_name((enum https_error)e),
			"unknown");
	assert_string_equal(https_error_name((enum https_error)99),
		"unknown");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_public),
		cmocka_unit_test(test_other_family),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
