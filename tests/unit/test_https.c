/*
 * HTTPS requests against a scripted server on loopback: everything a server
 * can do wrong first, judged by the result and by what the server saw.
 */
#include "config.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/pem.h>

#include "base/log.h"
#include "tests/unit/https_util.h"

#define T(test) cmocka_unit_test(test)

static char big[71681];		/* 70 KiB */
static char kibi_chunk[1100];

/* ---- faults of the server ---- */

struct fault {
	const char *name;
	enum https_error error;
	unsigned status;
	const char *reason;		/* part of it; NULL: "" */
	int64_t timeout_ms;
	struct cert_spec spec;		/* no cn: the good one */
	struct peer_step steps[12];
};

/* clang-format off */
static const struct fault faults[] = {
	{ "not found", HTTPS_OK, 404, "answered 404", 0, { 0 },
	  { TLS, HEAD, SEND(STATUS("404 Not Found") "Content-Length: 2\r\n"
	    "\r\nno"), WAIT } },
	{ "server error", HTTPS_OK, 503, "answered 503", 0, { 0 },
	  { TLS, HEAD, SEND(STATUS("503 Busy") "Content-Length: 0\r\n\r\n"),
	    WAIT } },
	{ "redirection", HTTPS_OK, 301, "redirection", 0, { 0 },
	  { TLS, HEAD, SEND(STATUS("301 Moved") "Location: https://" HOST
	    "/q\r\nContent-Length: 0\r\n\r\n"),
	    { PEER_NEVER, "GET /q HTTP/1.1", 0 } } },
	{ "authentication", HTTPS_OK, 401, "answered 401", 0, { 0 },
	  { TLS, HEAD, SEND(STATUS("401 Who") "WWW-Authenticate: Basic "
	    "realm=\"x\"\r\nContent-Length: 0\r\n\r\n"),
	    { PEER_NEVER, "Authorization", 0 } } },
	{ "too large, announced", HTTPS_TOO_LARGE, 200, "65536 bytes", 0,
	  { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "Content-Length: 71680\r\n"
	    "\r\n"), SEND(big), WAIT } },
	{ "too large, chunked", HTTPS_TOO_LARGE, 200, "65536 bytes", 0,
	  { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "Transfer-Encoding: chunked"
	    "\r\n\r\n"), FLOOD(kibi_chunk), WAIT } },
	{ "too large, to the end", HTTPS_TOO_LARGE, 200, "65536 bytes", 0,
	  { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "\r\n"), FLOOD(kibi_chunk),
	    WAIT } },
	{ "header flood", HTTPS_TOO_LARGE, 200, "response header", 0, { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK")), FLOOD("X-Flood: xxxxxxxxxxxx"
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"), WAIT } },
	{ "one endless header line", HTTPS_TOO_LARGE, 200, "header", 0, { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") "X: "), FLOOD("xxxxxxxxxxxxxxxx"
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"), WAIT } },
	{ "endless status line", HTTPS_TOO_LARGE, 0, "header", 0, { 0 },
	  { TLS, HEAD, SEND("HTTP/1.1 200 "), FLOOD("xxxxxxxxxxxxxxxxxxxxxxx"
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"), WAIT } },
	{ "header without an end", HTTPS_PROTOCOL, 200, "not HTTP/1.1", 0,
	  { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") "X: "), FLOOD("no colon\r\n"),
	    WAIT } },
	{ "flood of interim responses", HTTPS_TOO_LARGE, 103, "header", 0,
	  { 0 },
	  { TLS, HEAD, FLOOD("HTTP/1.1 103 Early\r\nLink: xxxxxxxxxxxxxxxxxxx"
	    "xxxxxxxx\r\n\r\n"), WAIT } },
	{ "slow drip of the body", HTTPS_TIMEOUT, 200, "no end of the", 600,
	  { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "Content-Length: 100\r\n"
	    "\r\n"), DRIP("version: STSv1 mode: enforce mx: a.example", 50),
	    WAIT } },
	{ "slow drip of the header", HTTPS_TIMEOUT, 0, "timed out", 600,
	  { 0 },
	  { TLS, HEAD, DRIP(STATUS("200 OK") PLAIN PLAIN PLAIN, 50), WAIT } },
	{ "silence after the request", HTTPS_TIMEOUT, 0, "no response", 400,
	  { 0 }, { TLS, HEAD, WAIT } },
	{ "silence before TLS", HTTPS_TIMEOUT, 0, "no TLS handshake", 400,
	  { 0 }, { WAIT } },
	{ "no TLS", HTTPS_TLS, 0, "TLS handshake: ", 0, { 0 },
	  { SEND("HTTP/1.0 400 Bad\r\n\r\n"), WAIT } },
	{ "TLS 1.1 alone", HTTPS_TLS, 0, "TLS handshake: ", 0, { 0 },
	  { { PEER_TLS_FAIL, NULL, TLS1_1_VERSION } } },
	{ "a client certificate is wanted", HTTPS_PROTOCOL, 0, "broke off",
	  0, { 0 }, { { PEER_TLS_FAIL, NULL, 1 }, WAIT } },
	{ "self-signed", HTTPS_CERTIFICATE, 0, "is self-signed", 0,
	  { .cn = "x", .san = "DNS:" HOST }, { NOTHING } },
	{ "expired", HTTPS_CERTIFICATE, 0, "has expired", 0,
	  { .cn = "x", .san = "DNS:" HOST, .by_ca = true, .begin_s = -7200,
	    .end_s = -60 }, { NOTHING } },
	{ "not yet valid", HTTPS_CERTIFICATE, 0, "not valid yet", 0,
	  { .cn = "x", .san = "DNS:" HOST, .by_ca = true, .begin_s = 600,
	    .end_s = 7200 }, { NOTHING } },
	{ "other name", HTTPS_CERTIFICATE, 0, "another name", 0,
	  { .cn = "x", .san = "DNS:a.example", .by_ca = true }, { NOTHING } },
	{ "the name in the subject alone", HTTPS_CERTIFICATE, 0,
	  "another name", 0, { .cn = HOST, .by_ca = true }, { NOTHING } },
	{ "the name in the subject, another beside", HTTPS_CERTIFICATE, 0,
	  "another name", 0,
	  { .cn = HOST, .san = "DNS:a.example", .by_ca = true }, { NOTHING } },
	{ "partial wildcard", HTTPS_CERTIFICATE, 0, "another name", 0,
	  { .cn = "x", .san = "DNS:mta*.a.example", .by_ca = true },
	  { NOTHING } },
	{ "wildcard too far up", HTTPS_CERTIFICATE, 0, "another name", 0,
	  { .cn = "x", .san = "DNS:*.example", .by_ca = true }, { NOTHING } },
	{ "address instead of the name", HTTPS_CERTIFICATE, 0,
	  "another name", 0,
	  { .cn = "x", .san = "IP:127.0.0.1", .by_ca = true }, { NOTHING } },
	{ "cut off in the body", HTTPS_PROTOCOL, 200, "cut off", 0, { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "Content-Length: 100\r\n"
	    "\r\nversion"), BYE } },
	{ "cut off without an end of TLS", HTTPS_PROTOCOL, 200, "broke off",
	  0, { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "\r\nversion") } },
	{ "cut off in a chunk", HTTPS_PROTOCOL, 200, "", 0, { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "Transfer-Encoding: chunked"
	    "\r\n\r\n20\r\nversion"), BYE } },
	{ "malformed chunk", HTTPS_PROTOCOL, 200, "", 0, { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "Transfer-Encoding: chunked"
	    "\r\n\r\nzz\r\nversion\r\n0\r\n\r\n"), WAIT } },
	{ "cut off in the header", HTTPS_PROTOCOL, 0, "", 0, { 0 },
	  { TLS, HEAD, SEND("HTTP/1.1 20"), BYE } },
	{ "closed at once", HTTPS_TLS, 0, "", 0, { 0 }, { { PEER_SLEEP, NULL,
	    50 } } },
	{ "reset at once", HTTPS_TLS, 0, "", 0, { 0 },
	  { { PEER_SLEEP, NULL, 50 }, CUT } },
	{ "closed after TLS", HTTPS_PROTOCOL, 0, "", 0, { 0 },
	  { TLS, BYE } },
	{ "closed after the request", HTTPS_PROTOCOL, 0,
	  "without an answer", 0, { 0 }, { TLS, HEAD, BYE } },
	{ "HTTP/0.9", HTTPS_PROTOCOL, 0, "not HTTP/1.1", 0, { 0 },
	  { TLS, HEAD, SEND("version: STSv1\r\nmode: none\r\n"), BYE } },
	{ "HTTP/2 unasked", HTTPS_PROTOCOL, 0, "", 0, { 0 },
	  { TLS, HEAD, { PEER_BYTES, "\0\0\0\4\0\0\0\0\0", 9 }, BYE } },
	{ "SMTP", HTTPS_PROTOCOL, 0, "not HTTP/1.1", 0, { 0 },
	  { TLS, HEAD, SEND("220 mx.example ESMTP\r\n"), BYE } },
	{ "control characters in the status", HTTPS_OK, 500, "answered 500",
	  0, { 0 },
	  { TLS, HEAD, SEND("HTTP/1.1 500 \033[2J\001\r\n"
	    "Content-Length: 0\r\n\r\n"), WAIT } },
};
/* clang-format on */

static void
judge(const struct fault *f, const struct https_result *res)
{
	const char *want = f->reason != NULL ? f->reason : "";

	if (res->error != f->error || res->status != f->status ||
	    strstr(res->reason, want) == NULL || res->reason[0] == '\0')
		print_error("%s: %s, status %u, \"%s\"\n", f->name,
			https_error_name(res->error), res->status,
			res->reason);
	assert_int_equal(res->error, f->error);
	assert_int_equal(res->status, f->status);
	assert_non_null(strstr(res->reason, want));
	assert_true(res->reason[0] != '\0');
	if (res->error != HTTPS_OK)
		assert_int_equal(res->len, 0);
	assert_int_equal(res->body[res->len], 0);
}

static void
test_faults(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		const struct fault *f = &faults[i];
		const struct https_settings s = { .allow_private = true,
			.timeout_ms = f->timeout_ms };
		struct https_world w;

		world_open(&w, f->spec.cn == NULL ? &good_cert : &f->spec,
			f->steps, &s);
		judge(f, world_ask(&w, world_query(&w)));
		world_close(&w);
	}
}

/* The authority of another test, or (having none of another name at hand) a
 * self-signed certificate. */
static void
distrust(struct https_world *w, bool same_name)
{
	const struct cert_spec lone = { .cn = "Another CA" };
	struct https_settings s = *https_settings(w->https);
	struct cert c;
	FILE *f;

	cert_make(&c, &lone);
	if (!same_name) {
		f = fopen(c.ca_file, "w");
		assert_non_null(f);
		assert_int_equal(PEM_write_X509(f, c.leaf), 1);
		assert_int_equal(fclose(f), 0);
	}
	s.ca_file = c.ca_file;
	https_free(&w->https);
	w->https = https_new(w->base, &s);
	cert_clear(&c);
}

/* The last one has the name of the authority that is trusted. */
static const struct fault foreign[] = {
	{ "untrusted authority", HTTPS_CERTIFICATE, 0, "not trusted", 0,
	  { .cn = "x", .san = "DNS:" HOST, .by_ca = true, .send_ca = true },
	  { NOTHING } },
	{ "unknown authority", HTTPS_CERTIFICATE, 0, "unknown authority", 0,
	  { .cn = "x", .san = "DNS:" HOST, .by_ca = true }, { NOTHING } },
	{ "authority in name only", HTTPS_CERTIFICATE, 0, "wrong signature",
	  0, { .cn = "x", .san = "DNS:" HOST, .by_ca = true }, { NOTHING } },
};

static void
test_foreign(void **state)
{
	const size_t count = sizeof(foreign) / sizeof(foreign[0]);

	(void)state;
	for (size_t i = 0; i < count; i++) {
		struct https_world w;

		world_open(&w, &foreign[i].spec, foreign[i].steps, NULL);
		distrust(&w, i == count - 1);
		judge(&foreign[i], world_ask(&w, world_query(&w)));
		world_close(&w);
	}
}

/* ---- what is well ---- */

struct well {
	const char *name;
	const char *type;
	bool encoded;
	const char *body;
	struct cert_spec spec;
	struct peer_step steps[10];
};

/* clang-format off */
static const struct well wells[] = {
	{ "length", "text/plain", false, "hello", { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "Content-Length: 5\r\n\r\n"
	    "hello"), WAIT } },
	{ "more than announced", "text/plain", false, "hello", { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "Content-Length: 5\r\n\r\n"
	    "hello world"), WAIT } },
	{ "chunks", "text/plain", false, "hello world", { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "Transfer-Encoding: "
	    "chunked\r\n\r\n6\r\nhello \r\n5;x=y\r\nworld\r\n0\r\n"
	    "Content-Type: text/html\r\nContent-Encoding: br\r\n\r\n"),
	    WAIT } },
	{ "up to the end", "text/plain", false, "hello", { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "\r\nhello"), BYE } },
	{ "HTTP/1.0", "text/plain", false, "hello", { 0 },
	  { TLS, HEAD, SEND("HTTP/1.0 200 OK\r\n" PLAIN "\r\nhello"), BYE } },
	{ "drip, in time", "text/plain", false, "hello", { 0 },
	  { TLS, HEAD, DRIP(STATUS("200 OK") PLAIN "Content-Length: 5\r\n\r\n"
	    "hello", 2), WAIT } },
	{ "nothing", "", false, "", { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") "Content-Length: 0\r\n\r\n"),
	    WAIT } },
	{ "parameters and case", "text/plain", false, "x", { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") "conTent-tyPe:\t TEXT/Plain ; "
	    "charset=utf-8 \r\nContent-Length: 1\r\n\r\nx"), WAIT } },
	{ "html", "text/html", false, "x", { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") "Content-Type: text/html\r\n"
	    "Content-Length: 1\r\n\r\nx"), WAIT } },
	{ "two types", "", false, "x", { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "Content-Type: text/html"
	    "\r\nContent-Length: 1\r\n\r\nx"), WAIT } },
	{ "no type at all", "", false, "x", { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") "Content-Type: t\351xt/plain\r\n"
	    "Content-Length: 1\r\n\r\nx"), WAIT } },
	{ "type too long", "", false, "x", { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") "Content-Type: text/xxxxxxxxxxxxx"
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"
	    "Content-Length: 1\r\n\r\nx"), WAIT } },
	{ "gzip unasked", "text/plain", true, "\037\213\010x", { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "Content-Encoding: gzip\r\n"
	    "Content-Length: 4\r\n\r\n\037\213\010x"), WAIT } },
	{ "identity", "text/plain", false, "x", { 0 },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "Content-Encoding: "
	    "Identity\r\nContent-Length: 1\r\n\r\nx"), WAIT } },
	{ "after interim responses", "text/plain", false, "x", { 0 },
	  { TLS, HEAD, SEND(STATUS("103 Early") "Content-Type: a/b\r\n"
	    "Content-Encoding: br\r\n\r\n" STATUS("200 OK") PLAIN
	    "Content-Length: 1\r\n\r\nx"), WAIT } },
	{ "whole wildcard", "text/plain", false, "x",
	  { .cn = "x", .san = "DNS:*.a.example", .by_ca = true },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "Content-Length: 1\r\n\r\n"
	    "x"), WAIT } },
	{ "one of two names", "text/plain", false, "x",
	  { .cn = "x", .san = "DNS:a.example,DNS:" HOST, .by_ca = true },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "Content-Length: 1\r\n\r\n"
	    "x"), WAIT } },
	{ "TLS 1.2", "text/plain", false, "x",
	  { .cn = "x", .san = "DNS:" HOST, .by_ca = true,
	    .max_version = TLS1_2_VERSION },
	  { TLS, HEAD, SEND(STATUS("200 OK") PLAIN "Content-Length: 1\r\n\r\n"
	    "x"), WAIT } },
};
/* clang-format on */

static void
test_well(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(wells) / sizeof(wells[0]); i++) {
		const struct well *t = &wells[i];
		const struct https_result *res;
		struct https_world w;

		world_open(&w, t->spec.cn == NULL ? &good_cert : &t->spec,
			t->steps, NULL);
		res = world_ask(&w, world_query(&w));
		if (res->error != HTTPS_OK ||
		    strcmp(res->media_type, t->type) != 0)
			print_error("%s: %s, %s, \"%s\"\n", t->name,
				https_error_name(res->error), res->reason,
				res->media_type);
		assert_int_equal(res->error, HTTPS_OK);
		assert_int_equal(res->status, 200);
		assert_string_equal(res->media_type, t->type);
		assert_int_equal(res->encoded, t->encoded);
		assert_int_equal(res->len, strlen(t->body));
		assert_memory_equal(res->body, t->body, res->len + 1);
		assert_string_equal(res->peer, "127.0.0.1");
		assert_string_equal(res->reason, "");
		world_close(&w);
	}
}

/* The request to the letter: no cookie, no encoding, nothing of a proxy. */
static void
test_request(void **state)
{
	static const struct peer_step steps[] = { TLS, HEAD,
		SEND(STATUS("200 OK") "Content-Length: 0\r\n\r\n"), WAIT,
		{ 0 } };
	const struct buf *got;
	struct https_world w;
	char want[256];

	(void)state;
	world_open(&w, &good_cert, steps, NULL);
	assert_int_equal(world_ask(&w, world_query(&w))->error, HTTPS_OK);
	(void)snprintf(want, sizeof(want), "GET /p?x=1 HTTP/1.1\r\n"
		"Host: " HOST ":%u\r\nUser-Agent: smtpd-out\r\nAccept: */*\r\n"
		"\r\n", w.port);
	https_free(&w.https);
	assert_null(peer_join(w.peer));
	got = peer_body(w.peer);
	assert_int_equal(got->len, strlen(want));
	assert_memory_equal(buf_data(got), want, got->len);
	world_close(&w);
}

/* Nothing of one exchange is left for the next: a full handshake (the peer
 * demands it), new addresses, no cookie. */
static void
test_again(void **state)
{
	static const struct peer_step steps[] = { TLS, HEAD,
		SEND(STATUS("200 OK") "Set-Cookie: a=b\r\n"
		"Alt-Svc: h2=\":1\"\r\n"
		"Strict-Transport-Security: max-age=9\r\n"
		"Content-Length: 0\r\n\r\n"), WAIT, { PEER_AGAIN, NULL, 0 },
		TLS, HEAD, SEND(STATUS("200 OK") "Content-Length: 0\r\n\r\n"),
		WAIT, { 0 } };
	struct sockaddr_storage nowhere = world_address("127.0.0.2");
	struct https_query q;
	struct https_world w;

	(void)state;
	world_open(&w, &good_cert, steps, NULL);
	q = world_query(&w);
	assert_int_equal(world_ask(&w, q)->error, HTTPS_OK);
	assert_int_equal(world_ask(&w, q)->error, HTTPS_OK);
	/* The same name, where nobody listens: the old pin must be gone. */
	q.addrs = &nowhere;
	assert_int_equal(world_ask(&w, q)->error, HTTPS_CONNECT);
	https_free(&w.https);
	assert_null(peer_join(w.peer));
	assert_null(memmem(buf_data(peer_body(w.peer)),
		peer_body(w.peer)->len, "Cookie", 6));
	world_close(&w);
}

/* ---- addresses ---- */

static uint16_t
dead_port(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	(void)close(fd);
	return ntohs(sa.sin_port);
}

static void
test_refused(void **state)
{
	const struct https_result *res;
	struct https_query q;
	struct https_world w;

	(void)state;
	world_alone(&w, true, 1000);
	q = world_query(&w);
	q.port = dead_port();
	res = world_ask(&w, q);
	assert_int_equal(res->error, HTTPS_CONNECT);
	assert_string_equal(res->reason, "cannot connect: Connection refused");
	assert_string_equal(res->peer, "");
	world_close(&w);
}

/* A dead address costs nothing but a moment. */
static void
test_second_address(void **state)
{
	static const struct peer_step steps[] = { TLS, HEAD,
		SEND(STATUS("200 OK") "Content-Length: 0\r\n\r\n"), WAIT,
		{ 0 } };
	struct sockaddr_storage list[3];
	const struct https_result *res;
	struct https_query q;
	struct https_world w;

	(void)state;
	world_open(&w, &good_cert, steps, NULL);
	list[0] = world_address("::1");
	list[1] = world_address("127.0.0.8");
	list[2] = w.addr;
	q = world_query(&w);
	q.addrs = list;
	q.addr_count = 3;
	res = world_ask(&w, q);
	assert_int_equal(res->error, HTTPS_OK);
	assert_string_equal(res->peer, "127.0.0.1");
	world_close(&w);
}

/* A socket that nobody serves; *port 0 is filled in. */
static int
listen_at(const char *address, uint16_t *port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
		.sin_port = htons(*port) };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	assert_int_equal(inet_pton(AF_INET, address, &sa.sin_addr), 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	*port = ntohs(sa.sin_port);
	return fd;
}

static bool
somebody_came(int fd)
{
	int client = accept(fd, NULL, NULL);

	if (client >= 0)
		(void)close(client);
	return client >= 0;
}

/* Loopback is refused by default, whatever its form; nobody connects. */
static void
test_private(void **state)
{
	const struct https_result *res;
	struct sockaddr_storage list[3];
	struct https_query q;
	struct https_world w;
	int fd;

	(void)state;
	world_alone(&w, false, 1000);
	fd = listen_at("127.0.0.1", &w.port);
	list[0] = w.addr;
	list[1] = world_address("::ffff:127.0.0.1");
	list[2] = world_address("64:ff9b::127.0.0.1");
	q = world_query(&w);
	q.addrs = list;
	q.addr_count = 3;
	res = world_ask(&w, q);
	assert_int_equal(res->error, HTTPS_PRIVATE_ADDRESS);
	assert_string_equal(res->reason, "the host has no public address "
		"(loopback)");
	assert_false(somebody_came(fd));
	q.addr_count = 0;
	assert_int_equal(world_ask(&w, q)->error, HTTPS_NO_ADDRESS);
	world_close(&w);

	world_alone(&w, true, 200);	/* and it is the setting that did it */
	q = world_query(&w);
	(void)getsockname(fd, (struct sockaddr *)&w.addr,
		&(socklen_t){ sizeof(w.addr) });
	q.port = ntohs(((struct sockaddr_in *)&w.addr)->sin_port);
	assert_int_equal(world_ask(&w, q)->error, HTTPS_TIMEOUT);
	assert_true(somebody_came(fd));
	(void)close(fd);
	world_close(&w);
}

static bool
interface_up(const char *name, const char *address_text)
{
	struct ifreq req = { 0 };
	struct sockaddr_in sa = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	bool ok;

	(void)snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
	(void)inet_pton(AF_INET, address_text, &sa.sin_addr);
	memcpy(&req.ifr_addr, &sa, sizeof(sa));
	ok = ioctl(fd, SIOCSIFADDR, &req) == 0;
	(void)memset(&req.ifr_ifru, 0, sizeof(req.ifr_ifru));
	req.ifr_flags = IFF_UP | IFF_RUNNING;
	ok = ok && ioctl(fd, SIOCSIFFLAGS, &req) == 0;
	(void)close(fd);
	return ok;
}

#define SKIPPED 77

/* In a network of its own: both a private and a public address listen. */
static int
mixed_child(void)
{
	struct sockaddr_storage list[2];
	const struct https_result *res;
	struct https_query q;
	struct https_world w;
	int inner, outer;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0 ||
	    !interface_up("lo", "127.0.0.1") ||
	    !interface_up("lo:1", "198.41.0.4"))
		return SKIPPED;
	world_alone(&w, false, 500);
	inner = listen_at("127.0.0.1", &w.port);
	outer = listen_at("198.41.0.4", &w.port);
	list[0] = world_address("127.0.0.1");
	list[1] = world_address("198.41.0.4");
	q = world_query(&w);
	q.addrs = list;
	q.addr_count = 2;
	res = world_ask(&w, q);
	if (res->error != HTTPS_TIMEOUT || strcmp(res->peer, "198.41.0.4") !=
	    0 || somebody_came(inner) || !somebody_came(outer)) {
		(void)fprintf(stderr, "%s, \"%s\", \"%s\"\n",
			https_error_name(res->error), res->peer, res->reason);
		return 1;
	}
	return 0;
}

static void
test_mixed(void **state)
{
	int rc = world_child(mixed_child);

	(void)state;
	if (rc == SKIPPED)
		skip();
	assert_int_equal(rc, 0);
}

/* ---- queries that are not asked ---- */

static void
test_unfit(void **state)
{
	static const char *const hosts[] = { "127.0.0.1", "a.0x7f000001",
		"1", "localhost", "a b.example", "user@a.example",
		"a.example:25", "a.example/x", "[::1]", "" };
	static const char *const paths[] = { "", "x", "/a b", "/a\r\nX: y",
		"/\303\244", "/a#b" };
	static const char *const types[] = { NULL, "", "a/b\r\nX: y" };
	struct https_query q;
	struct https_world w;

	(void)state;
	world_alone(&w, true, 1000);
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		q = world_query(&w);
		q.host = hosts[i];
		assert_int_equal(world_ask(&w, q)->error, HTTPS_LOCAL);
	}
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		q = world_query(&w);
		q.path = paths[i];
		assert_int_equal(world_ask(&w, q)->error, HTTPS_LOCAL);
	}
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		q = world_query(&w);
		q.method = HTTPS_POST;
		q.content_type = types[i];
		assert_int_equal(world_ask(&w, q)->error, HTTPS_LOCAL);
	}
	world_close(&w);
}

/* Without a CA file nothing is asked; with one again it works. */
static void
test_ca_file(void **state)
{
	static const struct peer_step steps[] = { TLS, HEAD,
		SEND(STATUS("200 OK") "Content-Length: 0\r\n\r\n"), WAIT,
		{ 0 } };
	struct https_settings s = { .allow_private = true };
	const struct https_result *res;
	struct https_world w;
	char path[100];

	(void)state;
	(void)snprintf(path, sizeof(path), "/tmp/test_https_ca.%d", getpid());
	s.ca_file = path;
	world_open(&w, &good_cert, steps, &s);
	res = world_ask(&w, world_query(&w));
	assert_int_equal(res->error, HTTPS_LOCAL);
	assert_string_equal(res->reason, "the CA file cannot be read");
	assert_int_equal(symlink(peer_cert(w.peer)->ca_file, path), 0);
	assert_int_equal(world_ask(&w, world_query(&w))->error, HTTPS_OK);
	(void)unlink(path);
	world_close(&w);
}

/* ---- POST ---- */

static void
post(const char *answer, enum https_error error, unsigned status, bool cut)
{
	const struct peer_step steps[] = { TLS, HEAD,
		{ PEER_TAKE, NULL, sizeof(big) - 1 }, SEND(answer),
		SEND(cut ? big : ""), cut ? (struct peer_step)FLOOD(big) :
		(struct peer_step)WAIT, WAIT, { 0 } };
	const struct https_result *res;
	const struct buf *got;
	const uint8_t *at;
	struct https_query q;
	struct https_world w;

	big[100] = '\0';		/* binary */
	world_open(&w, &good_cert, steps, NULL);
	q = world_query(&w);
	q.method = HTTPS_POST;
	q.path = "/v1/tlsrpt";
	q.content_type = "application/tlsrpt+gzip";
	q.body = big;
	q.body_len = sizeof(big) - 1;
	q.body_max = 1000;
	q.cut_body = true;
	big[100] = '\0';
	res = world_ask(&w, q);
	assert_int_equal(res->error, error);
	assert_int_equal(res->status, status);
	if (cut)
		assert_int_equal(res->len, 1000);
	https_free(&w.https);
	assert_null(peer_join(w.peer));
	got = peer_body(w.peer);
	assert_true(got->len > sizeof(big) - 1);
	at = buf_data(got) + got->len - (sizeof(big) - 1);
	assert_memory_equal(at, big, sizeof(big) - 1);
	big[100] = 'x';
	assert_memory_equal(buf_data(got), "POST /v1/tlsrpt HTTP/1.1\r\n", 26);
	assert_non_null(memmem(buf_data(got), got->len,
		"\r\nContent-Type: application/tlsrpt+gzip\r\n", 41));
	assert_non_null(memmem(buf_data(got), got->len,
		"\r\nContent-Length: 71680\r\n", 25));
	assert_null(memmem(buf_data(got), got->len, "Expect", 6));
	world_close(&w);
}

static void
test_post(void **state)
{
	(void)state;
	post(STATUS("200 OK") "Content-Length: 0\r\n\r\n", HTTPS_OK, 200,
		false);
	post(STATUS("201 Created") "Content-Length: 2\r\n\r\nok", HTTPS_OK,
		201, false);
	post(STATUS("204 Nothing") "\r\n", HTTPS_OK, 204, false);
	post(STATUS("400 Bad") "Content-Length: 0\r\n\r\n", HTTPS_OK, 400,
		false);
	post(STATUS("503 Later") "Content-Length: 0\r\n\r\n", HTTPS_OK, 503,
		false);
}

/* An answer without end: its status counts. */
static void
test_post_cut(void **state)
{
	(void)state;
	post(STATUS("200 OK") "Content-Length: 100000000\r\n\r\n", HTTPS_OK,
		200, true);
}

/* The status has come, and then not what was announced: the report was taken,
 * and must not be sent again.  An unfinished header is no answer. */
static void
test_post_status(void **state)
{
	static const struct peer_step steps[] = {
		TLS, HEAD, SEND(STATUS("200 OK") "Content-Length: 9\r\n\r\nx"),
		BYE, { PEER_AGAIN, NULL, 0 },
		TLS, HEAD, SEND(STATUS("202 OK") "\r\nx"),
		{ PEER_AGAIN, NULL, 0 },
		TLS, HEAD, SEND(STATUS("200 OK") "Content-Length: 9\r\n\r\nx"),
		WAIT, { PEER_AGAIN, NULL, 0 },
		TLS, HEAD, SEND(STATUS("200 OK") "Content-Length: 9\r\n"),
		WAIT, { PEER_AGAIN, NULL, 0 },
		TLS, HEAD, SEND(STATUS("102 Wait") "\r\n"), WAIT, { 0 } };
	static const struct {
		enum https_error error;
		unsigned status;
	} want[] = { { HTTPS_OK, 200 }, { HTTPS_OK, 202 }, { HTTPS_OK, 200 },
		{ HTTPS_TIMEOUT, 200 }, { HTTPS_TIMEOUT, 102 } };
	const struct https_settings s = { .allow_private = true,
		.timeout_ms = 400 };
	const struct https_result *res;
	struct https_query q;
	struct https_world w;

	(void)state;
	world_open(&w, &good_cert, steps, &s);
	q = world_query(&w);
	q.method = HTTPS_POST;
	q.content_type = "a/b";
	q.cut_body = true;
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		res = world_ask(&w, q);
		assert_int_equal(res->error, want[i].error);
		assert_int_equal(res->status, want[i].status);
	}
	world_close(&w);
}

/* Refused before the body was read; an empty body. */
static void
test_post_early(void **state)
{
	static const struct peer_step steps[] = { TLS, HEAD,
		SEND(STATUS("413 Large") "Content-Length: 0\r\nConnection: "
		"close\r\n\r\n"), WAIT, { PEER_AGAIN, NULL, 0 }, TLS, HEAD,
		SEND(STATUS("200 OK") "Content-Length: 0\r\n\r\n"), WAIT,
		{ 0 } };
	struct https_query q;
	struct https_world w;

	(void)state;
	world_open(&w, &good_cert, steps, NULL);
	q = world_query(&w);
	q.method = HTTPS_POST;
	q.content_type = "a/b";
	q.body = big;
	q.body_len = sizeof(big) - 1;
	assert_int_equal(world_ask(&w, q)->status, 413);
	q.body = NULL;
	q.body_len = 0;
	assert_int_equal(world_ask(&w, q)->status, 200);
	world_close(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_well), T(test_faults), T(test_foreign),
		T(test_request), T(test_again), T(test_refused),
		T(test_second_address), T(test_private), T(test_mixed),
		T(test_unfit), T(test_ca_file), T(test_post),
		T(test_post_cut), T(test_post_status), T(test_post_early),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	log_init("test", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	/* None of these may count: all would lead astray. */
	(void)setenv("http_proxy", "http://127.0.0.1:1", 1);
	(void)setenv("https_proxy", "http://127.0.0.1:1", 1);
	(void)setenv("ALL_PROXY", "socks5://127.0.0.1:1", 1);
	(void)setenv("SSL_CERT_FILE", "/nonexistent", 1);
	(void)setenv("CURL_CA_BUNDLE", "/nonexistent", 1);
	memset(big, 'x', sizeof(big) - 1);
	(void)snprintf(kibi_chunk, sizeof(kibi_chunk), "400\r\n%.1024s\r\n",
		big);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
