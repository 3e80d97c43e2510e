/*
 * Reaching a host: several addresses, some of them dead, both families.
 */
#include "config.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/lib/scenario.h"

static const struct peer_step greeting[] = { GREETING, PLAIN, BYE,
	{ PEER_END, NULL, 0 } };

static int
listener(int family, int backlog, struct session_addr *a)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
		.sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memset(a, 0, sizeof(*a));
	a->len = family == AF_INET ? sizeof(v4) : sizeof(v6);
	memcpy(&a->addr, family == AF_INET ? (void *)&v4 : (void *)&v6,
		a->len);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a->addr, a->len) != 0) {
		if (fd >= 0)
			(void)close(fd);
		return -1;
	}
	if (backlog >= 0)
		assert_int_equal(listen(fd, backlog), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a->addr,
		&a->len), 0);
	return fd;
}

/* An address where nobody listens; the port is held, so that none will. */
static int
add_refusing(struct client *c, int family)
{
	int fd = listener(family, -1, &c->addrs[c->target.addr_count]);

	if (fd >= 0)
		c->target.addr_count++;
	return fd;
}

/* An address that swallows connections: its backlog is full. */
struct hole {
	int fds[4];
};

static void
add_hole(struct client *c, int family, struct hole *h)
{
	struct session_addr *a = &c->addrs[c->target.addr_count++];

	h->fds[0] = listener(family, 0, a);
	assert_true(h->fds[0] >= 0);
	for (int i = 1; i < 4; i++) {
		h->fds[i] = socket(family, SOCK_STREAM | SOCK_CLOEXEC |
			SOCK_NONBLOCK, 0);
		(void)!connect(h->fds[i], (struct sockaddr *)&a->addr, a->len);
	}
}

static void
close_hole(struct hole *h)
{
	for (int i = 0; i < 4; i++)
		(void)close(h->fds[i]);
}

static bool
have_ipv6(void)
{
	struct session_addr a;
	int fd = listener(AF_INET6, -1, &a);

	if (fd >= 0)
		(void)close(fd);
	return fd >= 0;
}

static void
run_to(struct client *c, struct peer *peer)
{
	client_run(c);
	if (peer_join(peer) != NULL)
		fail_msg("%s", peer_join(peer));
	assert_int_equal(c->why.verdict, VERDICT_DONE);
}

static void
test_refused_first(void **state)
{
	struct peer *peer = peer_start(AF_INET, greeting);
	struct client c;
	int fd;

	(void)state;
	client_init(&c);
	fd = add_refusing(&c, AF_INET);
	assert_true(fd >= 0);
	client_add_peer(&c, peer);
	run_to(&c, peer);
	(void)close(fd);
	peer_free(&peer);
}

static void
test_all_refused(void **state)
{
	struct client c;
	int a, b;

	(void)state;
	client_init(&c);
	a = add_refusing(&c, AF_INET);
	b = add_refusing(&c, AF_INET);
	client_run(&c);
	assert_int_equal(c.closed, 1);
	assert_int_equal(c.ready, 0);
	assert_int_equal(c.why.verdict, VERDICT_LATER);
	assert_int_equal(c.why.scope, SCOPE_HOST);
	assert_int_equal(c.why.stage, STAGE_CONNECT);
	if (strstr(c.why.text, "refused") == NULL)
		fail_msg("%s", c.why.text);
	(void)close(a);
	(void)close(b);
}

/* A dead address costs one stagger, not one timeout (RFC 8305). */
static void
test_hole_first(void **state)
{
	int64_t began = clock_mono_ms();
	struct peer *peer = peer_start(AF_INET, greeting);
	struct client c;
	struct hole h;

	(void)state;
	client_init(&c);
	add_hole(&c, AF_INET, &h);
	client_add_peer(&c, peer);
	run_to(&c, peer);
	assert_true(clock_mono_ms() - began >= 200);
	assert_true(clock_mono_ms() - began < 3000);
	close_hole(&h);
	peer_free(&peer);
}

static void
test_only_hole(void **state)
{
	struct client c;
	struct hole h;

	(void)state;
	client_init(&c);
	add_hole(&c, AF_INET, &h);
	c.conf.timeout.connect_ms = 150;
	client_run(&c);
	assert_int_equal(c.why.stage, STAGE_CONNECT);
	assert_int_equal(c.why.verdict, VERDICT_LATER);
	assert_non_null(strstr(c.why.text, "timed out"));
	close_hole(&h);
}

/* IPv6 goes first wherever it stands in the list. */
static void
test_ipv6_first(void **state)
{
	struct peer *v6;
	struct client c;
	struct hole a, b;
	int64_t began;

	(void)state;
	if (!have_ipv6())
		skip();
	began = clock_mono_ms();
	v6 = peer_start(AF_INET6, greeting);
	client_init(&c);
	add_hole(&c, AF_INET, &a);
	add_hole(&c, AF_INET, &b);
	client_add_peer(&c, v6);
	run_to(&c, v6);
	assert_true(clock_mono_ms() - began < 250);
	close_hole(&a);
	close_hole(&b);
	peer_free(&v6);
}

static void
test_ipv6_dead(void **state)
{
	struct peer *v4 = peer_start(AF_INET, greeting);
	struct client c;
	int fd;

	(void)state;
	client_init(&c);
	client_add_peer(&c, v4);
	fd = add_refusing(&c, AF_INET6);
	run_to(&c, v4);
	(void)close(fd);
	peer_free(&v4);
}

/* A family that the machine does not have fails at once. */
static void
test_no_family(void **state)
{
	struct client c;

	(void)state;
	client_init(&c);
	c.addrs[0].addr.ss_family = AF_APPLETALK;
	c.addrs[0].len = sizeof(struct sockaddr_in);
	c.target.addr_count = 1;
	client_run(&c);
	assert_int_equal(c.closed, 1);
	assert_int_equal(c.why.stage, STAGE_CONNECT);
}

/* Stop and abort while addresses are being raced. */
static void
test_stop(void **state)
{
	struct client c;
	struct hole h;

	(void)state;
	client_init(&c);
	add_hole(&c, AF_INET, &h);
	c.quit_after_ms = 30;
	client_run(&c);
	assert_int_equal(c.closed, 1);
	close_hole(&h);

	client_init(&c);
	add_hole(&c, AF_INET, &h);
	c.abort_after_ms = 30;
	client_run(&c);
	assert_int_equal(c.closed, 0);
	close_hole(&h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused_first),
		cmocka_unit_test(test_all_refused),
		cmocka_unit_test(test_hole_first),
		cmocka_unit_test(test_only_hole),
		cmocka_unit_test(test_ipv6_first),
		cmocka_unit_test(test_ipv6_dead),
		cmocka_unit_test(test_no_family),
		cmocka_unit_test(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
