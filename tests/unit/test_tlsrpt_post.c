/*
 * Giving a report to an HTTPS target: names from a scripted resolver, answers
 * of a scripted server.
 */
#include "config.h"

#include <event2/event.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "policy/tlsrpt_post.h"
#include "tests/unit/https_util.h"
#include "tests/unit/resolver_fake.h"

/* clang-format off */
#define ANSWER(status) SEND(STATUS(status) "Content-Length: 0\r\n" \
	"Connection: close\r\n\r\n"), BYE
/* clang-format on */

struct poster {
	struct https_world w;
	struct tlsrpt_post_env env;
	size_t calls;
	bool taken;
	char reason[TLSRPT_POST_REASON_MAX];
};

static void
on_posted(bool taken, const char *reason, void *arg)
{
	struct poster *p = arg;

	p->calls++;
	p->taken = taken;
	(void)snprintf(p->reason, sizeof(p->reason), "%s", reason);
}

static void
poster_open(struct poster *p, const struct peer_step *steps)
{
	const struct https_settings s = { .allow_private = true,
		.timeout_ms = 3000 };

	memset(p, 0, sizeof(*p));
	if (steps != NULL)
		world_open(&p->w, &good_cert, steps, &s);
	else
		world_alone(&p->w, false, 1000);
	p->env.https = p->w.https;
	fake_dns_init(p->w.base);
}

static void
poster_run(struct poster *p, const char *path)
{
	char url[200];
	int64_t end_ms = clock_mono_ms() + 10000;

	(void)snprintf(url, sizeof(url), "https://" HOST ":%u%s",
		p->w.port != 0 ? p->w.port : 443, path);
	(void)tlsrpt_post_start(&p->env, url, "gzip", 4, on_posted, p);
	assert_int_equal(p->calls, 0);
	while (p->calls == 0 && clock_mono_ms() < end_ms)
		(void)event_base_loop(p->w.base, EVLOOP_ONCE);
	assert_int_equal(p->calls, 1);
}

static void
post(const struct peer_step *steps, const char *path, bool taken,
	const char *reason)
{
	struct poster p;

	poster_open(&p, steps);
	fake_dns_a(HOST, "127.0.0.1");
	poster_run(&p, path);
	assert_int_equal(p.taken, taken);
	if (strstr(p.reason, reason) == NULL)
		fail_msg("\"%s\", not \"%s\"", p.reason, reason);
	fake_dns_clear();
	world_close(&p.w);
}

static void
test_taken(void **state)
{
	static const struct peer_step ok[] = { TLS, HEAD, ANSWER("200 OK"),
		{ 0 } };
	static const struct peer_step created[] = { TLS, HEAD,
		ANSWER("201 Created"), { 0 } };

	(void)state;
	post(ok, "/v1/tlsrpt?x=1", true, "");
	post(created, "", true, "");
}

static void
test_refused(void **state)
{
	static const struct peer_step moved[] = { TLS, HEAD, SEND(
		STATUS("302 Found") "Location: https://b.example/\r\n"
		"Content-Length: 0\r\nConnection: close\r\n\r\n"), BYE, { 0 } };
	static const struct peer_step error[] = { TLS, HEAD,
		ANSWER("500 Internal"), { 0 } };

	(void)state;
	post(moved, "/", false, "302");
	post(error, "/", false, "500");
}

/* The twin of test_taken: our own networks are not talked to. */
static void
test_private(void **state)
{
	(void)state;
	post(NULL, "/", false, "loopback");
}

static void
test_no_address(void **state)
{
	struct poster p;

	(void)state;
	poster_open(&p, NULL);
	poster_run(&p, "/");
	assert_false(p.taken);
	assert_string_equal(p.reason, "the host has no address");
	fake_dns_clear();
	world_drop(&p.w);
}

static void
test_no_url(void **state)
{
	static const char *const bad[] = { "", "http://a.example/",
		"mailto:x@a.example", "https://", "https://192.0.2.1/",
		"https://a.example/,https://b.example/" };

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		struct poster p;

		poster_open(&p, NULL);
		(void)tlsrpt_post_start(&p.env, bad[i], "x", 1, on_posted,
			&p);
		while (p.calls == 0)
			(void)event_base_loop(p.w.base, EVLOOP_ONCE);
		assert_false(p.taken);
		assert_string_equal(p.reason, "not a URL for reports");
		fake_dns_clear();
		world_drop(&p.w);
	}
}

/* At any time, without a callback. */
static void
test_cancelled(void **state)
{
	struct tlsrpt_post *post;
	struct poster p;

	(void)state;
	poster_open(&p, NULL);
	fake_dns_hold(true);
	post = tlsrpt_post_start(&p.env, "https://" HOST "/", "x", 1,
		on_posted, &p);
	tlsrpt_post_cancel(&post);
	assert_null(post);
	tlsrpt_post_cancel(&post);
	assert_int_equal(p.calls, 0);
	fake_dns_clear();
	world_drop(&p.w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_taken), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_private),
		cmocka_unit_test(test_no_address),
		cmocka_unit_test(test_no_url),
		cmocka_unit_test(test_cancelled),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	log_init("t", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
