/*
 * Requests as such: how many run and wait, in what order they end, what
 * cancelling leaves, and that all of it works in the sandbox.
 */
#include "config.h"

#include <event2/event.h>
#include <netinet/in.h>
#include <seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/pem.h>

#include "base/log.h"
#include "base/sandbox.h"
#include "tests/unit/https_util.h"

#define T(test) cmocka_unit_test(test)

static const struct peer_step any_steps[] = { TLS_TRY, HEAD,
	SEND(STATUS("200 OK") "Content-Length: 3\r\n\r\nabc"), WAIT, { 0 } };

struct order {
	struct https_world *w;
	struct https_request *cancel;	/* in the callback */
	size_t n;
	enum https_error errors[8];
	int id[8];
};
struct one {
	struct order *order;
	int id;
};

static void
order_cb(struct https_result *res, void *arg)
{
	struct one *one = arg;
	struct order *o = one->order;

	assert_true(o->n < 8);
	o->errors[o->n] = res->error;
	o->id[o->n++] = one->id;
	https_cancel(&o->cancel);
	world_cb(res, o->w);
}

/* One at a time, two wait, the fourth is refused at once; in their order. */
static void
test_bound(void **state)
{
	static const struct peer_step steps[] = {
		TLS, HEAD, SEND(STATUS("200 OK") "Content-Length: 0\r\n\r\n"),
		WAIT, { PEER_AGAIN, NULL, 0 },
		TLS, HEAD, SEND(STATUS("200 OK") "Content-Length: 0\r\n\r\n"),
		WAIT, { PEER_AGAIN, NULL, 0 },
		TLS, HEAD, SEND(STATUS("200 OK") "Content-Length: 0\r\n\r\n"),
		WAIT, { 0 } };
	const struct https_settings s = { .allow_private = true,
		.flight_max = 1, .queue_max = 2 };
	struct https_stats stats;
	struct https_query q;
	struct https_world w;
	struct order o = { .w = &w };
	struct one ones[4];

	(void)state;
	world_open(&w, &good_cert, steps, &s);
	q = world_query(&w);
	for (int i = 0; i < 4; i++) {
		ones[i] = (struct one){ &o, i };
		assert_non_null(https_start(w.https, &q, order_cb, &ones[i]));
	}
	https_stats(w.https, &stats);
	assert_int_equal(stats.flight, 1);
	assert_int_equal(stats.waiting, 2);
	assert_int_equal(w.calls, 0);
	world_wait(&w, 4);
	assert_int_equal(o.id[0], 3);
	assert_int_equal(o.errors[0], HTTPS_BUSY);
	for (int i = 1; i < 4; i++) {
		assert_int_equal(o.id[i], i - 1);
		assert_int_equal(o.errors[i], HTTPS_OK);
	}
	https_stats(w.https, &stats);
	assert_int_equal(stats.started, 4);
	assert_int_equal(stats.ok, 3);
	assert_int_equal(stats.failed, 1);
	assert_int_equal(stats.flight + stats.waiting, 0);
	world_close(&w);
}

static void
trust(X509 *cert, const char *ca_file)
{
	FILE *f = fopen(ca_file, "a");

	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, cert), 1);
	assert_int_equal(fclose(f), 0);
}

/* Two at the same time for one name, with different addresses (the other one
 * of IPv6) and ports; the CA file of the first gets the certificate of the
 * other, which is then seen to have been read again. */
static void
test_together(void **state)
{
	static const struct cert_spec self_signed = { .cn = "x",
		.san = "DNS:" HOST };
	struct sockaddr_storage at;
	struct https_stats stats;
	struct https_query q;
	struct https_world w;
	struct order o = { .w = &w };
	struct one ones[2] = { { &o, 0 }, { &o, 1 } };
	struct peer *other;
	socklen_t len;

	(void)state;
	world_open(&w, &good_cert, any_steps, NULL);
	other = peer_start_cert(AF_INET6, any_steps, &self_signed);
	trust(peer_cert(other)->leaf, peer_cert(w.peer)->ca_file);
	q = world_query(&w);
	(void)https_start(w.https, &q, order_cb, &ones[0]);
	peer_addr(other, &at, &len);
	q.addrs = &at;
	q.port = ntohs(((struct sockaddr_in6 *)&at)->sin6_port);
	(void)https_start(w.https, &q, order_cb, &ones[1]);
	https_stats(w.https, &stats);
	assert_int_equal(stats.flight, 2);
	world_wait(&w, 2);
	assert_int_equal(o.errors[0], HTTPS_OK);
	assert_int_equal(o.errors[1], HTTPS_OK);
	assert_int_equal(o.id[0] + o.id[1], 1);
	https_free(&w.https);
	assert_null(peer_join(other));
	peer_free(&other);
	world_close(&w);
}

/* Time runs while one waits for its turn. */
static void
test_wait_timeout(void **state)
{
	static const struct peer_step steps[] = { TLS, HEAD, WAIT, { 0 } };
	const struct https_settings s = { .allow_private = true,
		.flight_max = 1, .timeout_ms = 1000 };
	struct https_query q;
	struct https_world w;

	(void)state;
	world_open(&w, &good_cert, steps, &s);
	q = world_query(&w);
	assert_non_null(https_start(w.https, &q, world_cb, &w));
	q.timeout_ms = 100;
	assert_non_null(https_start(w.https, &q, world_cb, &w));
	world_wait(&w, 1);
	/* Nothing is known of the host. */
	assert_int_equal(w.result->error, HTTPS_BUSY);
	assert_non_null(strstr(w.result->reason, "turn"));
	world_wait(&w, 2);
	assert_int_equal(w.result->error, HTTPS_TIMEOUT);
	assert_non_null(strstr(w.result->reason, "no response"));
	world_close(&w);
}

/* Connections are accepted by the kernel, and never answered. */
static int
mute_host(struct sockaddr_storage *at, uint16_t *port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	memset(at, 0, sizeof(*at));
	memcpy(at, &sa, sizeof(sa));
	*port = ntohs(sa.sin_port);
	return fd;
}

static void
ask_mute(struct order *o, const struct sockaddr_storage *at, uint16_t port,
	struct one *one)
{
	struct https_query q = world_query(o->w);

	q.addrs = at;
	q.port = port;
	assert_non_null(https_start(o->w->https, &q, order_cb, one));
}

/* One that does not answer does not keep the other from its turn. */
static void
test_slow(void **state)
{
	const struct https_settings s = { .allow_private = true,
		.flight_max = 1, .slow_ms = 100, .timeout_ms = 1500 };
	struct sockaddr_storage at;
	struct https_stats stats;
	struct https_query q;
	struct https_world w;
	struct order o = { .w = &w };
	struct one ones[2] = { { &o, 0 }, { &o, 1 } };
	uint16_t port;
	int fd = mute_host(&at, &port);

	(void)state;
	world_open(&w, &good_cert, any_steps, &s);
	q = world_query(&w);
	ask_mute(&o, &at, port, &ones[0]);
	assert_non_null(https_start(w.https, &q, order_cb, &ones[1]));
	https_stats(w.https, &stats);
	assert_int_equal(stats.flight, 1);
	assert_int_equal(stats.waiting, 1);
	world_wait(&w, 2);
	assert_int_equal(o.id[0], 1);
	assert_int_equal(o.errors[0], HTTPS_OK);
	assert_int_equal(o.errors[1], HTTPS_TIMEOUT);
	(void)close(fd);
	world_close(&w);
}

/* More slow ones than there may be: the oldest give way, and that is not said
 * of their hosts; nor when one has had too little time of its own. */
static void
test_slow_bound(void **state)
{
	const struct https_settings s = { .allow_private = true,
		.flight_max = 1, .slow_ms = 20, .timeout_ms = 1000 };
	struct one ones[HTTPS_SLOW_TIMES + 2];
	struct order o = { .n = 0 };
	struct sockaddr_storage at;
	struct https_stats stats;
	struct https_world w;
	uint16_t port;
	int fd = mute_host(&at, &port);

	(void)state;
	world_open(&w, &good_cert, any_steps, &s);
	o.w = &w;
	for (int i = 0; i < HTTPS_SLOW_TIMES + 2; i++) {
		ones[i] = (struct one){ &o, i };
		ask_mute(&o, &at, port, &ones[i]);
	}
	world_wait(&w, 2);
	https_stats(w.https, &stats);
	assert_int_equal(stats.flight, HTTPS_SLOW_TIMES);
	assert_int_equal(stats.waiting, 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(o.id[i], i);
		assert_int_equal(o.errors[i], HTTPS_BUSY);
	}
	(void)close(fd);
	world_drop(&w);
}

/* The slot came too late. */
static void
test_late(void **state)
{
	const struct https_settings s = { .allow_private = true,
		.flight_max = 1, .slow_ms = 300, .timeout_ms = 500 };
	struct sockaddr_storage at;
	struct https_world w;
	struct order o = { .w = &w };
	struct one ones[2] = { { &o, 0 }, { &o, 1 } };
	uint16_t port;
	int fd = mute_host(&at, &port);

	(void)state;
	world_open(&w, &good_cert, any_steps, &s);
	ask_mute(&o, &at, port, &ones[0]);
	ask_mute(&o, &at, port, &ones[1]);
	world_wait(&w, 2);
	for (int i = 0; i < 2; i++)
		assert_int_equal(o.errors[i], o.id[i] == 0 ? HTTPS_TIMEOUT :
			HTTPS_BUSY);
	(void)close(fd);
	world_drop(&w);
}

/* After each turn of the loop; no callback may come after it. */
static void
test_cancel(void **state)
{
	bool whole = false;

	(void)state;
	for (int turns = 0; turns < 60 && !whole; turns++) {
		struct https_request *r;
		struct https_query q;
		struct https_world w;

		world_open(&w, &good_cert, any_steps, NULL);
		q = world_query(&w);
		r = https_start(w.https, &q, world_cb, &w);
		for (int i = 0; i < turns && w.calls == 0; i++)
			(void)event_base_loop(w.base, EVLOOP_ONCE);
		if (w.calls == 0) {
			https_cancel(&r);
			assert_null(r);
			for (int i = 0; i < 3; i++)
				(void)event_base_loop(w.base,
					EVLOOP_NONBLOCK);
			assert_int_equal(w.calls, 0);
		} else {
			assert_int_equal(w.result->error, HTTPS_OK);
			whole = true;
		}
		world_drop(&w);
	}
	assert_true(whole);
}

/* The same for the end of all. */
static void
test_free_all(void **state)
{
	(void)state;
	for (int turns = 0; turns < 8; turns++) {
		struct https_query q;
		struct https_world w;
		const struct https_settings s = { .allow_private = true,
			.flight_max = 1 };

		world_open(&w, &good_cert, any_steps, &s);
		q = world_query(&w);
		(void)https_start(w.https, &q, world_cb, &w);
		(void)https_start(w.https, &q, world_cb, &w);
		q.addr_count = 0;
		(void)https_start(w.https, &q, world_cb, &w);
		for (int i = 0; i < turns; i++)
			(void)event_base_loop(w.base, EVLOOP_ONCE);
		world_drop(&w);
	}
}

/* One callback cancels the other, whose result is there already. */
static void
test_cancel_ended(void **state)
{
	struct https_query q;
	struct https_world w;
	struct order o = { .w = &w };
	struct one ones[2] = { { &o, 0 }, { &o, 1 } };
	struct https_stats stats;

	(void)state;
	world_alone(&w, true, 1000);
	q = world_query(&w);
	q.addr_count = 0;
	(void)https_start(w.https, &q, order_cb, &ones[0]);
	o.cancel = https_start(w.https, &q, order_cb, &ones[1]);
	world_wait(&w, 1);
	(void)event_base_loop(w.base, EVLOOP_NONBLOCK);
	assert_int_equal(w.calls, 1);
	https_stats(w.https, &stats);
	assert_int_equal(stats.cancelled, 1);
	world_close(&w);
}

/* One that waits gets the turn of one that is cancelled. */
static void
test_cancel_running(void **state)
{
	const struct https_settings s = { .allow_private = true,
		.flight_max = 1 };
	struct https_request *first;
	struct https_query q;
	struct https_world w;

	(void)state;
	world_open(&w, &good_cert, any_steps, &s);
	q = world_query(&w);
	first = https_start(w.https, &q, world_cb, &w);
	(void)https_start(w.https, &q, world_cb, &w);
	https_cancel(&first);
	world_wait(&w, 1);
	assert_int_equal(w.result->error, HTTPS_OK);
	assert_memory_equal(w.result->body, "abc", 4);
	world_close(&w);
}

/* ---- the sandbox ---- */

static struct https_world *boxed;

/* Beyond what a worker may do: no thread, no file. */
static bool
forbid(void)
{
	static const int calls[] = { SCMP_SYS(clone), SCMP_SYS(clone3),
		SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(open),
		SCMP_SYS(openat) };
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	bool ok = filter != NULL;

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		ok = ok && seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS,
			calls[i], 0) == 0;
	ok = ok && seccomp_load(filter) == 0;
	seccomp_release(filter);
	return ok;
}

static int
boxed_child(void)
{
	const struct https_result *res;
	struct https_query q = world_query(boxed);

	/* A filter cannot be added from within the worker's. */
	if (!forbid() || sandbox_enter(SANDBOX_WORKER) != ST_OK ||
	    !sandbox_active())
		return 2;
	res = world_ask(boxed, q);
	if (res->error != HTTPS_OK || res->len != 3) {
		(void)fprintf(stderr, "%s: %s\n", https_error_name(res->error),
			res->reason);
		return 1;
	}
	return 0;
}

static void
test_sandbox(void **state)
{
	struct https_world w;
	int rc;

	(void)state;
	if (!sandbox_supported())
		skip();
	world_open(&w, &good_cert, any_steps, NULL);
	boxed = &w;
	(void)event_reinit(w.base);
	rc = world_child(boxed_child);
	assert_int_equal(rc, 0);
	world_drop(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_bound), T(test_together), T(test_wait_timeout),
		T(test_slow), T(test_slow_bound), T(test_late),
		T(test_cancel), T(test_free_all), T(test_cancel_ended),
		T(test_cancel_running), T(test_sandbox),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	log_init("test", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
