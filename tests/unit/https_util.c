/*
 * Common to the tests of HTTPS.
 */
#include "config.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/https_util.h"

#define PATIENCE_S 20

const struct cert_spec good_cert = { .cn = "another.example",
	.san = "DNS:" HOST, .by_ca = true };

static void
set_port(struct https_world *w)
{
	socklen_t len;

	peer_addr(w->peer, &w->addr, &len);
	w->port = ntohs(((struct sockaddr_in *)&w->addr)->sin_port);
}

void
world_open(struct https_world *w, const struct cert_spec *spec,
	const struct peer_step *steps, const struct https_settings *settings)
{
	struct https_settings s = { .allow_private = true };

	memset(w, 0, sizeof(*w));
	if (settings != NULL)
		s = *settings;
	if (s.timeout_ms == 0)
		s.timeout_ms = 10000;
	if (s.connect_timeout_ms == 0)
		s.connect_timeout_ms = 10000;
	if (steps != NULL) {
		w->peer = peer_start_cert(AF_INET, steps, spec);
		set_port(w);
	}
	if (s.ca_file == NULL)
		s.ca_file = w->peer != NULL ? peer_cert(w->peer)->ca_file :
			"/dev/null";
	w->base = event_base_new();
	assert_non_null(w->base);
	w->https = https_new(w->base, &s);
	assert_non_null(w->https);
}

void
world_drop(struct https_world *w)
{
	https_result_free(&w->result);
	https_free(&w->https);
	event_base_free(w->base);
	peer_free(&w->peer);
}

void
world_close(struct https_world *w)
{
	const char *failure;

	https_free(&w->https);
	failure = w->peer != NULL ? peer_join(w->peer) : NULL;
	if (failure != NULL)
		print_error("peer: %s\n", failure);
	assert_null(failure);
	world_drop(w);
}

void
world_cb(struct https_result *res, void *arg)
{
	struct https_world *w = arg;

	https_result_free(&w->result);
	w->result = res;
	w->calls++;
}

struct https_query
world_query(const struct https_world *w)
{
	return (struct https_query){ .host = HOST, .path = "/p?x=1",
		.port = w->port, .addrs = &w->addr, .addr_count = 1,
		.body_max = 65536 };
}

void
world_wait(struct https_world *w, size_t calls)
{
	const struct timeval tv = { .tv_sec = PATIENCE_S };

	(void)event_base_loopexit(w->base, &tv);
	while (w->calls < calls && !event_base_got_exit(w->base))
		(void)event_base_loop(w->base, EVLOOP_ONCE);
	assert_int_equal(w->calls, calls);
}

const struct https_result *
world_ask(struct https_world *w, struct https_query q)
{
	size_t before = w->calls;

	assert_non_null(https_start(w->https, &q, world_cb, w));
	assert_int_equal(w->calls, before);	/* never at once */
	world_wait(w, before + 1);
	return w->result;
}

struct sockaddr_storage
world_address(const char *text)
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
	return ss;
}

void
world_alone(struct https_world *w, bool allow_private, int64_t timeout_ms)
{
	struct https_settings s = { .allow_private = allow_private,
		.timeout_ms = timeout_ms };
	struct cert c;

	cert_make(&c, &good_cert);
	s.ca_file = c.ca_file;
	world_open(w, NULL, NULL, &s);
	w->addr = world_address("127.0.0.1");
	cert_clear(&c);
}

int
world_child(int (*work)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(work());
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status))
		print_error("child: signal %d\n", WTERMSIG(status));
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
