/*
 * The way to TLS, protocol by protocol: what is sent, in which order, and what
 * each answer leads to, fed whole and one octet at a time.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "smtpd-out/starttls/starttls_find.h"
#include "smtpd-out/starttls/starttls_frame.h"

#define XML "<?xml version='1.0'?><stream:stream id='1'>"
#define FEATURES(x) XML "<stream:features>" x "</stream:features>"
#define STREAM(ns) "<?xml version='1.0'?><stream:stream to='they.test' " ns \
	" xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
#define C2S STREAM("xmlns='jabber:client'")

/* Turns: what the peer says, and what must have been said since. "TLS" for the
 * handshake; then says is what is said first under TLS. */
struct turn {
	const char *peer, *we;
};

static const struct talk_case {
	const char *protocol;
	struct turn turns[10];
	enum starttls_result result;
	bool offered;
	const char *before, *after;	/* lists, joined by commas */
} cases[] = {
	{ "smtp", {
	    { "220 hi\r\n", "EHLO we.test\r\n" },
	    { "250-peer hello\r\n250-SIZE 10\r\n250 STARTTLS\r\n",
		"STARTTLS\r\n" },
	    { "220 go\r\n", NULL }, { "TLS", "EHLO we.test\r\n" },
	    { "250-peer\r\n250 AUTH PLAIN\r\n", "QUIT\r\n" },
	    { "221 bye\r\n", "" } }, STARTTLS_OK, true, "SIZE 10,STARTTLS",
	    "AUTH PLAIN" },
	{ "lmtp", {
	    { "220-a\r\n220 b\r\n", "LHLO we.test\r\n" },
	    { "250 STARTTLS\r\n", "STARTTLS\r\n" },
	    { "454 4.7.0 not now\r\n", "QUIT\r\n" }, { "221 x\r\n", "" } },
	    STARTTLS_ABSENT, false, "", "" },
	{ "submission", {
	    { "220 hi\r\n", "EHLO we.test\r\n" },
	    { "250-x\r\n250 starttls\r\n", "STARTTLS\r\n" },
	    { "501 no\r\n", "QUIT\r\n" }, { "221 x\r\n", "" } },
	    STARTTLS_REFUSED, true, "starttls", "" },
	{ "smtp", { { "554 no\r\n", "QUIT\r\n" }, { "221 x\r\n", "" } },
	    STARTTLS_TURNED_AWAY, false, "", "" },
	{ "smtp", {
	    { "220 hi\r\n", "EHLO we.test\r\n" },
	    { "502 what?\r\n", "STARTTLS\r\n" },
	    { "220 go\r\n", NULL }, { "TLS", "EHLO we.test\r\n" },
	    { "250-x\r\n250 STARTTLS\r\n", "QUIT\r\n" } },
	    STARTTLS_STRIPPED, false, "", "STARTTLS" },
	{ "smtp", { { "hello\r\n", "" } }, STARTTLS_GARBAGE, false, "", "" },
	{ "smtp", { { "220 hi\r\n", "EHLO we.test\r\n" },
	    { "250-x\r\nx\r\n", "" } }, STARTTLS_GARBAGE, false, "", "" },
	{ "imap", {
	    { "* OK [CAPABILITY x] hi\r\n", "a1 CAPABILITY\r\n" },
	    { "* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\n* x\r\n"
		"a1 OK\r\n", "a2 STARTTLS\r\n" },
	    { "a2 OK go\r\n", NULL }, { "TLS", "a3 CAPABILITY\r\n" },
	    { "* CAPABILITY IMAP4rev1\r\na3 OK\r\n", "a4 LOGOUT\r\n" },
	    { "* BYE\r\na4 OK\r\n", "" } }, STARTTLS_OK, true,
	    "IMAP4rev1,STARTTLS,LOGINDISABLED", "IMAP4rev1" },
	{ "imap", { { "* PREAUTH root\r\n", "a4 LOGOUT\r\n" } },
	    STARTTLS_TURNED_AWAY, false, "", "" },
	{ "imap", { { "* OK\r\n", "a1 CAPABILITY\r\n" },
	    { "a2 OK\r\n", "" } }, STARTTLS_GARBAGE, false, "", "" },
	{ "pop3", {
	    { "+OK hi\r\n", "CAPA\r\n" },
	    { "+OK\r\nSTLS\r\nUIDL\r\n.\r\n", "STLS\r\n" },
	    { "+OK go\r\n", NULL }, { "TLS", "CAPA\r\n" },
	    { "-ERR\r\n", "QUIT\r\n" }, { "+OK\r\n", "" } }, STARTTLS_OK,
	    true, "STLS,UIDL", "" },
	{ "nntp", {
	    { "201 hi\r\n", "CAPABILITIES\r\n" },
	    { "101 list\r\nVERSION 2\r\nSTARTTLS\r\n.\r\n", "STARTTLS\r\n" },
	    { "382 go\r\n", NULL }, { "TLS", "CAPABILITIES\r\n" },
	    { "101 list\r\nVERSION 2\r\n.\r\n", "QUIT\r\n" },
	    { "205 bye\r\n", "" } }, STARTTLS_OK, true,
	    "VERSION 2,STARTTLS", "VERSION 2" },
	{ "nntp", { { "400 no\r\n", "QUIT\r\n" } }, STARTTLS_TURNED_AWAY,
	    false, "", "" },
	{ "xmpp-client", {
	    { "", C2S },
	    { FEATURES("<starttls xmlns='x'><required/></starttls>"
		"<mechanisms><mechanism>PLAIN</mechanism></mechanisms>"
		"<c/>"),
		"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" },
	    { "<proceed xmlns='x'/>", NULL }, { "TLS", C2S },
	    { FEATURES(""), "</stream:stream>" },
	    { "</stream:stream>", "" } }, STARTTLS_OK, true,
	    "starttls,PLAIN,c", "" },
	{ "xmpp-server", {
	    { "", STREAM("from='we.test' xmlns='jabber:server'") },
	    { XML "<stream:features/>",
		"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" },
	    { "<failure/>", "</stream:stream>" } }, STARTTLS_ABSENT, false,
	    "", "" },
	{ "xmpp-client", { { "", C2S },
	    { XML "<stream:error><x/></stream:error></stream:stream>",
		"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
		"</stream:stream>" } }, STARTTLS_ABSENT, false, "", "" },
	{ "xmpp-client", { { "", C2S }, { "HTTP/1.1 400", "" } },
	    STARTTLS_GARBAGE, false, "", "" },
	{ "postgres", { { "", "\10\4\322\26\57" }, { "S", NULL },
	    { "TLS", "" } }, STARTTLS_OK, false, "", "" },
	{ "postgres", { { "", "\10\4\322\26\57" }, { "N", "" } },
	    STARTTLS_ABSENT, false, "", "" },
	{ "none", { { "TLS", "" } }, STARTTLS_OK, false, "", "" },
};

static enum starttls_want
feed(struct starttls *s, const char *text, size_t step, struct buf *out)
{
	enum starttls_want want = STARTTLS_WANT_INPUT;
	size_t len = strlen(text);

	for (size_t at = 0; at < len && want == STARTTLS_WANT_INPUT;
	    at += step)
		want = starttls_input(s, text + at, len - at < step ?
			len - at : step, out);
	return want;
}

static void
assert_list(const struct starttls_list *l, const char *want)
{
	char text[512] = "";

	for (size_t i = 0; i < l->count; i++)
		(void)snprintf(text + strlen(text), sizeof(text) -
			strlen(text), "%s%s", i > 0 ? "," : "", l->words[i]);
	assert_string_equal(text, want);
}

static void
run_case(const struct talk_case *c, size_t step)
{
	struct starttls *s = starttls_new(starttls_row(c->protocol),
		"we.test", "they.test");
	const struct starttls_facts *f = starttls_facts(s);
	enum starttls_want want;
	struct buf out;

	buf_init(&out, 4096);
	want = starttls_begin(s, &out);
	for (const struct turn *t = c->turns; t->peer != NULL; t++) {
		if (strcmp(t->peer, "TLS") == 0) {
			assert_int_equal(want, STARTTLS_WANT_TLS);
			want = starttls_secured(s, &out);
		} else if (t->peer[0] != '\0') {
			assert_int_equal(want, STARTTLS_WANT_INPUT);
			want = feed(s, t->peer, step, &out);
		}
		while (out.len > 0 && *buf_data(&out) == '\0')
			buf_drain(&out, 1);	/* of a length */
		assert_int_equal(buf_put(&out, "", 1), ST_OK);
		assert_string_equal((const char *)buf_data(&out),
			t->we == NULL ? "" : t->we);
		buf_clear(&out);
	}
	starttls_end(s, STARTTLS_CLOSED, "over");
	assert_int_equal(f->result, c->result);
	assert_int_equal(f->offered, c->offered);
	assert_list(&f->before, c->before);
	assert_list(&f->after, c->after);
	buf_clear(&out);
	starttls_free(&s);
}

static void
test_dialogues(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run_case(&cases[i], 1);
		run_case(&cases[i], 5);
		run_case(&cases[i], 10000);
	}
}

static void
test_injection(void **state)
{
	static const struct { const char *protocol, *steps[3]; } all[] = {
		{ "smtp", { "220 x\r\n", "250 x\r\n", "220 go\r\n2" } },
		{ "imap", { "* OK\r\n", "a1 OK\r\n", "a2 OK\r\n* x\r\n" } },
		{ "pop3", { "+OK\r\n", "-ERR\r\n", "+OK\r\n\n" } },
		{ "nntp", { "200\r\n", "500\r\n", "382\r\n\r\n" } },
		{ "xmpp-client", { XML "<stream:features/>", "<proceed/> ",
		    NULL } },
		{ "postgres", { "SE", NULL, NULL } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct starttls *s = starttls_new(starttls_row(
			all[i].protocol), "we.test", "they.test");
		enum starttls_want want;
		struct buf out;

		buf_init(&out, 4096);
		want = starttls_begin(s, &out);
		for (size_t n = 0; n < 3 && all[i].steps[n] != NULL; n++) {
			assert_int_equal(want, STARTTLS_WANT_INPUT);
			want = starttls_input(s, all[i].steps[n],
				strlen(all[i].steps[n]), &out);
		}
		assert_int_equal(want, STARTTLS_WANT_CLOSE);
		assert_int_equal(starttls_facts(s)->result,
			STARTTLS_INJECTED);
		assert_false(starttls_facts(s)->tls);
		buf_clear(&out);
		starttls_free(&s);
	}
}

static void
test_bounds(void **state)
{
	static const char *const heads[] = { "220-", "* ", "+OK ", "<a>", };
	static const char *const names[] = { "smtp", "imap", "pop3",
		"xmpp-client" };
	struct buf out;

	(void)state;
	buf_init(&out, 4096);
	for (size_t i = 0; i < 4; i++) {
		struct starttls *s = starttls_new(starttls_row(names[i]),
			"we.test", "they.test");
		enum starttls_want want = starttls_begin(s, &out);
		size_t octets = 0;

		if (i < 3)
			want = starttls_input(s, heads[i], strlen(heads[i]),
				&out);
		for (; want == STARTTLS_WANT_INPUT && octets < 100000;
		    octets += 3)
			want = starttls_input(s, i == 3 ? heads[3] : "xxx", 3,
				&out);
		assert_int_equal(want, STARTTLS_WANT_CLOSE);
		assert_true(octets <= STARTTLS_ANSWER_MAX + 3);
		assert_int_equal(starttls_facts(s)->result,
			STARTTLS_GARBAGE);
		starttls_free(&s);
	}
	buf_clear(&out);
}

/* A list of a thousand words keeps some and counts all; escapes are gone. */
static void
test_long_list(void **state)
{
	struct starttls_list l = { .count = 0 };
	char text[8000] = "250-first\r\n";

	(void)state;
	for (int i = 0; i < 500; i++)
		(void)strcat(text, "250-\033W\r\n");
	starttls_list_take(&l, STARTTLS_FRAME_REPLY, text, strlen(text));
	assert_int_equal(l.count, STARTTLS_WORDS_MAX);
	assert_int_equal(l.total, 500);
	assert_string_equal(l.words[0], "?W");
	starttls_list_clear(&l);
}

/* Every row can be walked, and names what it must. */
static void
test_rows(void **state)
{
	const struct starttls_row *row;

	(void)state;
	for (size_t i = 0; (row = starttls_row_at(i)) != NULL; i++) {
		enum starttls_stage last = STARTTLS_CONNECT;
		size_t n = 0;

		assert_ptr_equal(starttls_row(row->name), row);
		for (; row->steps[n].frame != STARTTLS_FRAME_NONE; n++) {
			assert_true(row->steps[n].stage > last);
			last = row->steps[n].stage;
			assert_non_null(row->steps[n].good);
			assert_non_null(row->steps[n].bad);
			assert_true(n + 1 < STARTTLS_STEPS_MAX);
		}
		assert_true(row->offer == NULL || last == STARTTLS_END);
	}
	assert_null(starttls_row("gopher"));
	for (int r = STARTTLS_OPEN; r <= STARTTLS_DNS; r++)
		assert_non_null(starttls_result_name((enum starttls_result)r));
}

static void
test_places(void **state)
{
	static const struct {
		const char *text, *domain;
		uint16_t port;
		bool literal;
	} good[] = {
		{ "Mail.Example.", "mail.example", 0, false },
		{ "mail.example:143", "mail.example", 143, false },
		{ "192.0.2.1", "192.0.2.1", 0, true },
		{ "192.0.2.1:65535", "192.0.2.1", 65535, true },
		{ "2001:db8::1", "2001:db8::1", 0, true },
		{ "[2001:db8::1]", "2001:db8::1", 0, true },
		{ "[2001:db8::1]:25", "2001:db8::1", 25, true },
		{ "unix:/run/lmtp", "localhost", 0, false },
	};
	static const char *const bad[] = { "", ":25", "a.test:", "a.test:0",
		"a.test:65536", "a.test:25x", "a.test:+25", "[::1", "[::1]25",
		"[::1]:", "a b", "unix:", "a..b:1" };
	struct starttls_place p;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(starttls_place_parse(good[i].text, &p),
			ST_OK);
		assert_string_equal(p.domain, good[i].domain);
		assert_int_equal(p.port, good[i].port);
		assert_int_equal(p.literal, good[i].literal);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(starttls_place_parse(bad[i], &p), ST_PARSE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dialogues),
		cmocka_unit_test(test_injection),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_long_list),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
