/*
 * Sessions of submitters, by script: what is sent and every octet that must
 * come back.  Each script runs whole, octet by octet and in odd pieces.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "tests/unit/inject_fake.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define NOW_MS INT64_C(1795000000000)

#define GREETING "220 mx.example ESMTP smtpd-out\r\n"
#define EHLO "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 100000\r\n" \
	"250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250-CHUNKING\r\n" \
	"250 ENHANCEDSTATUSCODES\r\n"
#define MAIL "250 2.1.0 Sender ok\r\n"
#define RCPT "250 2.1.5 Recipient ok\r\n"
#define DATA "354 End with CRLF.CRLF\r\n"
#define QUEUED1 "250 2.0.0 Ok: queued as 0000000000001\r\n"
#define QUEUED2 "250 2.0.0 Ok: queued as 0000000000002\r\n"
#define BYE "221 2.0.0 Bye\r\n"
#define RESET "250 2.0.0 Reset\r\n"
#define CHUNK "250 2.0.0 Chunk received\r\n"
#define BARE "550 5.6.11 Message has a CR or LF that is not part of a CRLF\r\n"
#define ONE "MAIL FROM:<s@a.example>\r\nRCPT TO:<r@b.example>\r\n"

struct script {
	const char *send;
	const char *want;	/* after the greeting and EHLO */
};

static char *
output(struct fake *f)
{
	struct buf *out = inject_session_output(f->session);
	char *text = xstrndup((const char *)buf_data(out), out->len);

	buf_drain(out, out->len);
	return text;
}

static void
expect(struct fake *f, const char *want)
{
	char *got = output(f);

	if (strcmp(got, want) != 0)
		fail_msg("got:\n%s\nwanted:\n%s", got, want);
	free(got);
}

static void
begin(struct fake *f)
{
	const char *hello = f->listen.protocol == CONF_LMTP ?
		"LHLO me.example\r\n" : "EHLO me.example\r\n";

	fake_session(f);
	inject_session_start(f->session, REPLY_NONE);
	(void)fake_feed(f, hello, strlen(hello), 0);
	free(output(f));
}

static void
feed(struct fake *f, const char *text)
{
	(void)fake_feed(f, text, strlen(text), 0);
}

static void
run_with(const struct script *script, void (*setup)(struct fake *),
	enum conf_protocol protocol)
{
	static const size_t steps[] = { 0, 1, 2, 3, 7 };

	for (size_t i = 0; i < COUNT(steps); i++) {
		struct fake f;
		char *got;

		fake_init(&f, protocol);
		if (setup != NULL)
			setup(&f);
		begin(&f);
		(void)fake_feed(&f, script->send, strlen(script->send),
			steps[i]);
		got = output(&f);
		if (strcmp(got, script->want) != 0)
			fail_msg("sent (step %zu):\n%s\ngot:\n%s\nwanted:\n%s",
				steps[i], script->send, got, script->want);
		free(got);
		fake_clear(&f);
		assert_true(f.pool.used_bytes == 0);
	}
}

static void
run(const struct script *scripts, size_t count, void (*setup)(struct fake *))
{
	for (size_t i = 0; i < count; i++)
		run_with(&scripts[i], setup, CONF_SMTP);
}

/* ---- what may go wrong with commands --------------------------------- */

static void
command_faults(void **state)
{
	static const struct script scripts[] = {
		{ "FOO\r\n", "500 5.5.2 Command not recognized\r\n" },
		{ "\r\n", "500 5.5.2 Command not recognized\r\n" },
		{ "LHLO x\r\n", "500 5.5.2 Command not recognized\r\n" },
		{ "NOOP\n", "500 5.5.2 Command must end in CRLF\r\n" },
		{ "NO\rOP\r\n",
			"500 5.5.2 Control character within a command\r\n" },
		{ "AUTH PLAIN AGEAYg==\r\n",
			"502 5.5.1 Command not offered here\r\n" },
		{ "STARTTLS\r\n", "502 5.5.1 Command not offered here\r\n" },
		{ "EHLO\r\n", "501 5.5.4 Give your host name\r\n" },
		{ "DATA\r\n", "503 5.5.1 No valid recipients\r\n" },
		{ "RCPT TO:<a@b.example>\r\n",
			"503 5.5.1 Need MAIL first\r\n" },
		{ "MAIL FROM:<>\r\nMAIL FROM:<>\r\n",
			MAIL "503 5.5.1 Sender already given\r\n" },
		{ "MAIL FROM:<>\r\nDATA\r\n",
			MAIL "503 5.5.1 No valid recipients\r\n" },
		{ "MAIL FROM:<> SIZE=100001\r\n", "552 5.3.4 Message is "
			"larger than allowed here\r\n" },
		{ "MAIL FROM:<>\r\nRCPT TO:<root>\r\nDATA\r\n", MAIL
			"553 5.1.3 Recipient address needs a domain\r\n"
			"503 5.5.1 No valid recipients\r\n" },
		{ "MAIL FROM:<>\r\nRCPT TO:<\303\251@b.example>\r\n", MAIL
			"553 5.6.7 Recipient address needs SMTPUTF8 in "
			"MAIL\r\n" },
		{ ONE "DATA now\r\n",
			MAIL RCPT "501 5.5.4 Command takes no argument\r\n" },
		{ "RSET x\r\nQUIT x\r\nVRFY\r\n",
			"501 5.5.4 Command takes no argument\r\n"
			"501 5.5.4 Command takes no argument\r\n"
			"501 5.5.4 Bad value of a parameter\r\n" },
		{ "GET / HTTP/1.1\r\nHost: x\r\n" ONE,
			"421 4.7.0 This is not your protocol\r\n" },
		{ "MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\n"
			"RCPT TO:<c@b.example>\r\nRCPT TO:<d@b.example>\r\n"
			"RCPT TO:<e@b.example>\r\nRCPT TO:<f@b.example>\r\n"
			"RCPT TO:<g@b.example>\r\n", MAIL RCPT RCPT RCPT RCPT
			RCPT "452 4.5.3 Too many recipients\r\n" },
	};

	(void)state;
	run(scripts, COUNT(scripts), NULL);
}

static void
before_hello(void **state)
{
	static const char send[] = "MAIL FROM:<>\r\nNOOP\r\nRSET\r\n"
		"BDAT 3\r\nRSERCPT TO:<a@b.example>\r\nHELO me\r\nQUIT\r\n";
	struct fake f;

	(void)state;
	fake_init(&f, CONF_SMTP);
	fake_session(&f);
	inject_session_start(f.session, REPLY_NONE);
	feed(&f, send);
	expect(&f, GREETING
		"503 5.5.1 Introduce yourself first\r\n250 2.0.0 Ok\r\n"
		RESET "503 5.5.1 Introduce yourself first\r\n"
		"503 5.5.1 Introduce yourself first\r\n"
		"250 mx.example\r\n" BYE);
	assert_true(inject_session_done(f.session));
	fake_clear(&f);
}

static void
refusals(void **state)
{
	static const struct {
		enum inject_reply reply;
		const char *want;
	} cases[] = {
		{ REPLY_DENIED,
			"554 5.7.1 Client is not allowed to relay\r\n" },
		{ REPLY_EARLY,
			"554 5.5.1 Client spoke before the greeting\r\n" },
		{ REPLY_BUSY_CLIENT, "421 4.7.0 Too many sessions from this "
			"client, try later\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct fake f;

		fake_init(&f, CONF_SMTP);
		fake_session(&f);
		inject_session_start(f.session, cases[i].reply);
		feed(&f, "EHLO x\r\n" ONE);
		expect(&f, cases[i].want);
		assert_true(inject_session_done(f.session));
		fake_clear(&f);
	}
}

static void
too_many_errors(void **state)
{
	struct fake f;
	char *got;

	(void)state;
	fake_init(&f, CONF_SMTP);
	begin(&f);
	for (int i = 0; i < 40; i++)
		feed(&f, "FOO\r\n");
	got = output(&f);
	assert_non_null(strstr(got, "421 4.7.0 Too many errors"));
	assert_int_equal(inject_session_state(f.session), INJECT_CLOSING);
	free(got);
	/* Refused addresses are no reason to close. */
	begin(&f);
	feed(&f, "MAIL FROM:<>\r\n");
	for (int i = 0; i < 40; i++)
		feed(&f, "RCPT TO:<nodomain>\r\n");
	assert_int_equal(inject_session_state(f.session), INJECT_MAIL);
	fake_clear(&f);
}

/* A command line without an end is dropped as it comes, answered once. */
static void
endless_line(void **state)
{
	struct fake f;
	char *text = xmalloc(1000001);

	(void)state;
	memset(text, 'A', 1000000);
	text[1000000] = '\0';
	fake_init(&f, CONF_SMTP);
	begin(&f);
	assert_int_equal(fake_feed(&f, text, 1000000, 60000), 1000000);
	expect(&f, "");
	feed(&f, "\r\nNOOP\r\n");
	expect(&f, "500 5.5.2 Command line too long\r\n250 2.0.0 Ok\r\n");
	/* within the buffer, but longer than the command may be */
	memcpy(text, "NOOP ", 5);
	memcpy(text + 600, "\r\n", 3);
	feed(&f, text);
	expect(&f, "500 5.5.2 Command line too long\r\n");
	memset(text, 'A', 2047);
	memcpy(text + 2046, "\r\n", 3);
	feed(&f, text);
	expect(&f, "500 5.5.2 Command not recognized\r\n");
	free(text);
	fake_clear(&f);
}

static void
nul_in_command(void **state)
{
	struct fake f;

	(void)state;
	fake_init(&f, CONF_SMTP);
	begin(&f);
	(void)fake_feed(&f, "NO\0OP\r\n\0\r\nNOOP\r\n", 17, 0);
	expect(&f, "500 5.5.2 Control character within a command\r\n"
		"500 5.5.2 Control character within a command\r\n"
		"250 2.0.0 Ok\r\n");
	fake_clear(&f);
}

/* A client that pipelines for ever and reads nothing. */
static void
output_bounded(void **state)
{
	struct fake f;
	char *noops = xmalloc(6 * 100000 + 1);
	size_t used;

	(void)state;
	for (size_t i = 0; i < 100000; i++)
		memcpy(noops + 6 * i, "NOOP\r\n", 6);
	fake_init(&f, CONF_SMTP);
	begin(&f);
	used = fake_feed(&f, noops, 600000, 0);
	assert_true(used < 10000);
	assert_true(inject_session_output(f.session)->len < 20000);
	assert_false(inject_session_wants_input(f.session));
	free(output(&f));
	assert_true(inject_session_wants_input(f.session));
	assert_true(fake_feed(&f, noops, 600000, 0) > 0);
	free(noops);
	fake_clear(&f);
}

/* ---- messages -------------------------------------------------------- */

static void
dialogue(void **state)
{
	static const struct script scripts[] = {
		{ ONE "DATA\r\nS: x\r\n\r\nhi\r\n.\r\nQUIT\r\n",
			MAIL RCPT DATA QUEUED1 BYE },
		{ "mail from:<> body=8BITMIME\r\nrcpt to:<a@b.example>\r\n"
			"data\r\n.\r\n" ONE "DATA\r\n..\r\n.\r\n",
			MAIL RCPT DATA QUEUED1 MAIL RCPT DATA QUEUED2 },
		{ ONE "RSET\r\nDATA\r\n",
			MAIL RCPT RESET "503 5.5.1 No valid recipients\r\n" },
		{ ONE "EHLO again\r\nDATA\r\n",
			MAIL RCPT EHLO "503 5.5.1 No valid recipients\r\n" },
		{ ONE "NOOP\r\nHELP\r\nVRFY a\r\nDATA\r\n.\r\n", MAIL RCPT
			"250 2.0.0 Ok\r\n"
			"214 2.0.0 See RFC 5321 and smtpd-out(8)\r\n"
			"252 2.0.0 Will not verify; mail to it is accepted "
			"and tried\r\n" DATA QUEUED1 },
		/* one bad recipient does not stop the others */
		{ "MAIL FROM:<>\r\nRCPT TO:<bad>\r\nRCPT TO:<a@b.example>\r\n"
			"DATA\r\n.\r\n", MAIL
			"553 5.1.3 Recipient address needs a domain\r\n"
			RCPT DATA QUEUED1 },
		/* the smuggling sequences end nothing, and poison it all */
		{ ONE "DATA\r\na\n.\nMAIL FROM:<x@y.example>\r\n.\r\nNOOP\r\n",
			MAIL RCPT DATA BARE "250 2.0.0 Ok\r\n" },
		{ ONE "DATA\r\na\r\n.\nRSET\r\n.\r\nNOOP\r\n",
			MAIL RCPT DATA BARE "250 2.0.0 Ok\r\n" },
		{ ONE "DATA\r\na\n.\r\nRSET\r\n.\r\nNOOP\r\n",
			MAIL RCPT DATA BARE "250 2.0.0 Ok\r\n" },
		{ ONE "DATA\r\na\r.\rRSET\r\n.\r\nNOOP\r\n",
			MAIL RCPT DATA BARE "250 2.0.0 Ok\r\n" },
		{ ONE "DATA\r\na\r\n.\rRSET\r\n.\r\nNOOP\r\n",
			MAIL RCPT DATA BARE "250 2.0.0 Ok\r\n" },
		/* and what was refused is gone */
		{ ONE "DATA\r\n\n\r\n.\r\nDATA\r\n", MAIL RCPT DATA BARE
			"503 5.5.1 No valid recipients\r\n" },
	};

	(void)state;
	run(scripts, COUNT(scripts), NULL);
}

static void
chunking(void **state)
{
	static const struct script scripts[] = {
		{ ONE "BDAT 6 LAST\r\na\r\n.\r\nNOOP\r\n",
			MAIL RCPT QUEUED1 "250 2.0.0 Ok\r\n" },
		{ ONE "BDAT 2\r\na\rBDAT 1\r\n\nBDAT 0 LAST\r\n",
			MAIL RCPT CHUNK CHUNK QUEUED1 },
		{ ONE "BDAT 0\r\nBDAT 3 last\r\nabc", MAIL RCPT CHUNK
			QUEUED1 },
		/* whatever is thought of a chunk, its octets are no command */
		{ "BDAT 6\r\nQUIT\r\nNOOP\r\n",
			"503 5.5.1 Need MAIL first\r\n250 2.0.0 Ok\r\n" },
		{ "MAIL FROM:<>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n", MAIL
			"503 5.5.1 No valid recipients\r\n250 2.0.0 Ok\r\n" },
		{ ONE "BDAT 3\r\na\nbBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n",
			MAIL RCPT BARE "503 5.5.1 Need MAIL first\r\n"
			"250 2.0.0 Ok\r\n" },
		{ ONE "BDAT 3 LAST\r\nab\r", MAIL RCPT BARE },
		{ ONE "BDAT x\r\nQUIT\r\n", MAIL RCPT
			"501 5.5.4 Syntax: BDAT size [LAST]; closing\r\n" },
		{ ONE "BDAT 1\r\naDATA\r\nRCPT TO:<a@b.example>\r\n"
			"MAIL FROM:<>\r\nRSET\r\nNOOP\r\n", MAIL RCPT CHUNK
			"503 5.5.1 Command out of sequence\r\n"
			"503 5.5.1 Command out of sequence\r\n"
			"503 5.5.1 Command out of sequence\r\n"
			RESET "250 2.0.0 Ok\r\n" },
		{ ONE "BDAT 1\r\naEHLO x\r\n" ONE "DATA\r\n.\r\n",
			MAIL RCPT CHUNK EHLO MAIL RCPT DATA QUEUED1 },
	};

	(void)state;
	run(scripts, COUNT(scripts), NULL);
}

static void
lmtp(void **state)
{
	static const struct script scripts[] = {
		{ "EHLO x\r\nHELO x\r\n", "500 5.5.2 Command not recognized\r\n"
			"500 5.5.2 Command not recognized\r\n" },
		/* a reply for each RCPT that was taken, also a duplicate */
		{ "MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nRCPT TO:<x>\r\n"
			"RCPT TO:<a@B.example>\r\nRCPT TO:<c@b.example>\r\n"
			"DATA\r\nx\r\n.\r\nQUIT\r\n", MAIL RCPT
			"553 5.1.3 Recipient address needs a domain\r\n"
			RCPT RCPT DATA QUEUED1 QUEUED1 QUEUED1 BYE },
		{ "MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\n"
			"RCPT TO:<c@b.example>\r\nDATA\r\n\n\r\n.\r\n",
			MAIL RCPT RCPT DATA BARE BARE },
		{ "MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\n"
			"RCPT TO:<c@b.example>\r\nBDAT 1\r\nxBDAT 2 LAST\r\n"
			"\r\n", MAIL RCPT RCPT CHUNK QUEUED1 QUEUED1 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(scripts); i++)
		run_with(&scripts[i], NULL, CONF_LMTP);
}

static void
set_normalise(struct fake *f)
{
	f->listen.bare_newline = CONF_BARE_NORMALISE;
}

static void
normalised(void **state)
{
	static const struct script scripts[] = {
		{ "NOOP\n", "250 2.0.0 Ok\r\n" },
		{ ONE "DATA\r\na\n.\nRSET\r\n.\r\nNOOP\r\n",
			MAIL RCPT DATA QUEUED1 "250 2.0.0 Ok\r\n" },
	};

	(void)state;
	run(scripts, COUNT(scripts), set_normalise);
}

static void
set_reject(struct fake *f)
{
	f->answer = FAKE_REJECT;
}

static void
set_broken(struct fake *f)
{
	f->answer = FAKE_BROKEN;
}

static void
rejections(void **state)
{
	static const struct script reject = { ONE
		"DATA\r\na\r\n.\r\nNOOP\r\n", MAIL RCPT DATA
		"452 4.3.1 no \"space\"??250 smuggled?\r\n250 2.0.0 Ok\r\n" };
	static const struct script broken = { ONE
		"DATA\r\na\r\n.\r\nNOOP\r\n", MAIL RCPT DATA
		"451 4.3.0 Cannot store the message, try later\r\n"
		"250 2.0.0 Ok\r\n" };

	(void)state;
	run(&reject, 1, set_reject);
	run(&broken, 1, set_broken);
}

/* ---- REQUIRETLS (RFC 8689) ------------------------------------------- */

static void
set_unix(struct fake *f)
{
	f->listen.addr.addr.ss_family = AF_UNIX;
}

#define SECRET "MAIL FROM:<s@a.example> REQUIRETLS\r\n"

/* The parameter is good on the Unix socket alone, and never just ignored. */
static void
require_tls_offer(void **state)
{
	static const struct script open = { "EHLO x\r\n" SECRET, EHLO
		"555 5.7.10 REQUIRETLS needs TLS or the Unix socket\r\n" };
	static const struct script local = { "EHLO x\r\n" SECRET,
		"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 100000\r\n"
		"250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n"
		"250-CHUNKING\r\n250-REQUIRETLS\r\n"
		"250 ENHANCEDSTATUSCODES\r\n" MAIL };
	static const struct script lmtp = { SECRET, MAIL };

	(void)state;
	run(&open, 1, NULL);
	run(&local, 1, set_unix);
	run_with(&lmtp, set_unix, CONF_LMTP);
}

/* RFC 8689 section 4.1: the header field speaks only without the parameter,
 * and neither outlives its message. */
static void
require_tls_flags(void **state)
{
	static const struct {
		const char *mail, *header;
		unsigned want;
	} cases[] = {
		{ SECRET, "TLS-Required: No\r\n", ENVELOPE_REQUIRETLS },
		{ SECRET, "", ENVELOPE_REQUIRETLS },
		{ "MAIL FROM:<> requiretls\r\n", "", ENVELOPE_REQUIRETLS },
		{ "MAIL FROM:<s@a.example>\r\n", "tls-required: no\r\n",
			ENVELOPE_TLS_OPTIONAL },
		{ "MAIL FROM:<s@a.example>\r\n", "TLS-Required: Yes\r\n",
			0 },
		{ SECRET "RSET\r\nMAIL FROM:<s@a.example>\r\n", "", 0 },
	};
	struct fake f;

	(void)state;
	fake_init(&f, CONF_SMTP);
	set_unix(&f);
	begin(&f);
	for (size_t i = 0; i < COUNT(cases); i++) {
		feed(&f, cases[i].mail);
		feed(&f, "RCPT TO:<r@b.example>\r\nDATA\r\n");
		feed(&f, cases[i].header);
		feed(&f, "\r\nx\r\n.\r\n");
		assert_int_equal(f.submits, i + 1);
		assert_int_equal(f.env->flags, cases[i].want);
	}
	fake_clear(&f);
}

/* ---- STARTTLS (RFC 3207) --------------------------------------------- */

static void
set_starttls(struct fake *f)
{
	f->starttls = true;
}

#define READY_TLS "220 2.0.0 Ready to start TLS\r\n"
#define OUT_OF_SEQUENCE "503 5.5.1 Command out of sequence\r\n"

static void
starttls_faults(void **state)
{
	static const struct script scripts[] = {
		{ "STARTTLS now\r\n",
			"501 5.5.4 Command takes no argument\r\n" },
		{ ONE "STARTTLS\r\n", MAIL RCPT OUT_OF_SEQUENCE },
		{ SECRET,
			"555 5.7.10 REQUIRETLS needs TLS or the Unix "
			"socket\r\n" },
		/* what comes behind it is not read: it is for the caller */
		{ "STARTTLS\r\nNOOP\r\n" ONE, READY_TLS },
	};

	(void)state;
	run(scripts, COUNT(scripts), set_starttls);
}

/* Under TLS all begins anew, and REQUIRETLS may be asked for. */
static void
starttls_done(void **state)
{
	struct fake f;

	(void)state;
	clock_test_set(NOW_MS);
	fake_init(&f, CONF_SMTP);
	f.starttls = true;
	begin(&f);
	feed(&f, "EHLO me.example\r\nSTARTTLS\r\n");
	expect(&f, "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 100000"
		"\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n"
		"250-CHUNKING\r\n250-STARTTLS\r\n"
		"250 ENHANCEDSTATUSCODES\r\n" READY_TLS);
	assert_int_equal(inject_session_state(f.session), INJECT_STARTTLS);
	assert_false(inject_session_wants_input(f.session));
	inject_session_tls_up(f.session, "TLSv1.3", "A_CIPHER");
	feed(&f, SECRET "STARTTLS\r\nEHLO you.example\r\nSTARTTLS\r\n");
	expect(&f, "503 5.5.1 Introduce yourself first\r\n"
		"503 5.5.1 Introduce yourself first\r\n"
		"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 100000"
		"\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n"
		"250-CHUNKING\r\n250-REQUIRETLS\r\n"
		"250 ENHANCEDSTATUSCODES\r\n" OUT_OF_SEQUENCE);
	feed(&f, SECRET "RCPT TO:<r@b.example>\r\nDATA\r\nx\r\n.\r\n");
	assert_int_equal(f.env->flags, ENVELOPE_REQUIRETLS);
	assert_non_null(strstr(f.body, "from you.example (local uid 1000 "
		"TLSv1.3 A_CIPHER)\r\n\tby mx.example with ESMTPS id "));
	fake_clear(&f);
}

/* A handshake that takes too long, or the end of the service. */
static void
starttls_ends(void **state)
{
	struct fake f;

	(void)state;
	clock_test_set(NOW_MS);
	for (int stop = 0; stop < 2; stop++) {
		fake_init(&f, CONF_SMTP);
		f.starttls = true;
		begin(&f);
		feed(&f, "STARTTLS\r\n");
		if (stop)
			inject_session_stop(f.session);
		else {
			clock_test_set(NOW_MS + 70000);
			inject_session_timeout(f.session);
		}
		assert_int_equal(inject_session_state(f.session),
			INJECT_CLOSING);
		fake_clear(&f);
	}
}

/* What arrives at the queue. */
static void
envelope(void **state)
{
	struct fake f;

	(void)state;
	clock_test_set(NOW_MS);
	fake_init(&f, CONF_SMTP);
	begin(&f);
	feed(&f, "MAIL FROM:<s@A.example> RET=HDRS ENVID=e+2B1 SMTPUTF8\r\n"
		"RCPT TO:<R@B.Example> NOTIFY=SUCCESS ORCPT=rfc822;o@c\r\n"
		"RCPT TO:<R@b.example.>\r\nRCPT TO:<r@b.example>\r\n"
		"RCPT TO:<postmaster>\r\n"
		"DATA\r\nTLS-Required: No\r\n\r\n\303\251\r\n.\r\n");
	assert_int_equal(f.submits, 1);
	assert_string_equal(f.env->sender, "s@A.example");
	assert_string_equal(f.env->envid, "e+2B1");
	assert_string_equal(f.env->origin, "uid 1000");
	assert_int_equal(f.env->ret, RET_HDRS);
	assert_int_equal(f.env->flags, ENVELOPE_SMTPUTF8 | ENVELOPE_8BITMIME |
		ENVELOPE_TLS_OPTIONAL);
	assert_true(f.env->received_ms == NOW_MS);
	assert_int_equal(f.env->rcpt_count, 3);
	assert_string_equal(f.env->rcpts[0].address, "R@B.Example");
	assert_string_equal(f.env->rcpts[0].destination, "b.example");
	assert_string_equal(f.env->rcpts[0].orcpt, "rfc822;o@c");
	assert_int_equal(f.env->rcpts[0].notify, NOTIFY_SUCCESS);
	assert_string_equal(f.env->rcpts[1].address, "r@b.example");
	assert_string_equal(f.env->rcpts[2].address,
		"postmaster@mx.example");
	assert_string_equal(f.body, "Received: from me.example (local uid "
		"1000)\r\n\tby mx.example with UTF8SMTP id 0000000000010-1;"
		"\r\n\tWed, 18 Nov 2026 11:06:40 +0000\r\n"
		"TLS-Required: No\r\n\r\n\303\251\r\n");
	/* BODY=8BITMIME alone demands nothing of the next hop */
	feed(&f, "HELO [192.0.2.1]\r\nMAIL FROM:<> BODY=8BITMIME\r\n"
		"RCPT TO:<a@b.example>\r\nDATA\r\nx\r\n.\r\n");
	assert_int_equal(f.env->flags, 0);
	assert_string_equal(f.env->sender, "");
	assert_non_null(strstr(f.body, "from [192.0.2.1] (local uid 1000)"
		"\r\n\tby mx.example with SMTP id 0000000000010-2;"));
	fake_clear(&f);
	clock_test_real();
}

static void
hop_limit(void **state)
{
	static const struct script scripts[] = {
		{ ONE "DATA\r\nReceived: 1\r\nReceived: 2\r\nReceived: 3\r\n"
			"Received: 4\r\nReceived: 5\r\nReceived: 6\r\n"
			"\r\n.\r\n",
			MAIL RCPT DATA
			"554 5.4.6 Too many Received headers: mail loop\r\n" },
		{ ONE "DATA\r\nReceived: 1\r\nReceived: 2\r\nReceived: 3\r\n"
			"Received: 4\r\nReceived: 5\r\n\r\n.\r\n",
			MAIL RCPT DATA QUEUED1 },
	};

	(void)state;
	run(scripts, COUNT(scripts), NULL);
}

/* ---- large messages -------------------------------------------------- */

/* count lines of 100 octets, then the end. */
static char *
large(const char *before, size_t count, const char *after)
{
	size_t len = strlen(before);
	char *text = xmalloc(len + 100 * count + strlen(after) + 1);

	memcpy(text, before, len);
	for (size_t i = 0; i < count; i++) {
		memset(text + len, 'a' + (int)(i % 26), 98);
		memcpy(text + len + 98, "\r\n", 2);
		len += 100;
	}
	memcpy(text + len, after, strlen(after) + 1);
	return text;
}

static void
spill_one(const char *before, size_t count, const char *after,
	const char *want)
{
	char *text = large(before, count, after);
	struct fake f;

	fake_init(&f, CONF_SMTP);
	begin(&f);
	(void)fake_feed(&f, text, strlen(text), 1000);
	expect(&f, want);
	assert_int_equal(f.submits, 1);
	assert_int_equal(f.opens, 1);
	assert_int_equal(f.drops, 0);
	assert_memory_equal(f.body + f.body_len - 100 * count,
		text + strlen(before), 100 * count);
	fake_clear(&f);
	assert_true(f.pool.used_bytes == 0);
	free(text);
}

static void
spill(void **state)
{
	static const size_t counts[] = { 200, 500, 1000 };

	(void)state;
	for (size_t i = 0; i < COUNT(counts); i++) {
		char before[200];

		spill_one(ONE "DATA\r\n", counts[i], ".\r\nNOOP\r\n",
			MAIL RCPT DATA QUEUED1 "250 2.0.0 Ok\r\n");
		(void)snprintf(before, sizeof(before), ONE "BDAT %zu LAST\r\n",
			counts[i] * 100);
		spill_one(before, counts[i], "NOOP\r\n",
			MAIL RCPT QUEUED1 "250 2.0.0 Ok\r\n");
		(void)snprintf(before, sizeof(before), ONE "BDAT %zu\r\n",
			counts[i] * 100);
		spill_one(before, counts[i], "BDAT 0 LAST\r\nNOOP\r\n",
			MAIL RCPT CHUNK QUEUED1 "250 2.0.0 Ok\r\n");
	}
}

static void
spill_refused(void **state)
{
	static const struct {
		enum fake_answer answer;
		const char *want;
	} cases[] = {
		{ FAKE_REJECT, MAIL RCPT DATA "452 4.3.1 no \"space\"??250 "
			"smuggled?\r\n250 2.0.0 Ok\r\n" },
		{ FAKE_BROKEN, MAIL RCPT DATA "451 4.3.0 Cannot store the "
			"message, try later\r\n250 2.0.0 Ok\r\n" },
	};
	char *text = large(ONE "DATA\r\n", 500, ".\r\nNOOP\r\n");

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct fake f;

		fake_init(&f, CONF_SMTP);
		f.file_answer = cases[i].answer;
		begin(&f);
		(void)fake_feed(&f, text, strlen(text), 999);
		expect(&f, cases[i].want);
		assert_int_equal(f.submits, 0);
		assert_int_equal(f.drops, 0);
		fake_clear(&f);
	}
	free(text);
}

/* Too large, in the stream: dropped while it comes, file and all. */
static void
too_large(void **state)
{
	char *text = large(ONE "DATA\r\n", 1001, ".\r\nNOOP\r\n");
	struct fake f;

	(void)state;
	fake_init(&f, CONF_SMTP);
	begin(&f);
	(void)fake_feed(&f, text, strlen(text), 5000);
	expect(&f, MAIL RCPT DATA "552 5.3.4 Message is larger than allowed "
		"here\r\n250 2.0.0 Ok\r\n");
	assert_int_equal(f.submits, 0);
	assert_int_equal(f.drops, 1);
	assert_true(f.dropped_token == f.last_token);
	fake_clear(&f);
	free(text);
}

/* The submitter goes away at every octet: nothing is left behind. */
static void
vanishing(void **state)
{
	char *text = large(ONE "DATA\r\n", 210, ".\r\nQUIT\r\n");
	size_t len = strlen(text);

	(void)state;
	for (size_t cut = 0; cut < len; cut += cut < 100 || cut > len - 50 ||
	    (cut > 19500 && cut < 20600) ? 1 : 97) {
		struct fake f;

		fake_init(&f, CONF_SMTP);
		begin(&f);
		(void)fake_feed(&f, text, cut, 0);
		inject_session_free(&f.session);
		assert_int_equal(f.drops, f.submits == 1 ? 0 : f.opens);
		assert_true(f.pool.used_bytes == 0);
		fake_clear(&f);
	}
	free(text);
}

static void
vanishing_while_asked(void **state)
{
	char *text = large(ONE "DATA\r\n", 500, ".\r\nQUIT\r\n");
	struct fake f;

	(void)state;
	/* a file was asked for: it is the port's to drop */
	fake_init(&f, CONF_SMTP);
	f.file_answer = FAKE_SILENT;
	begin(&f);
	(void)fake_feed(&f, text, strlen(text), 0);
	assert_int_equal(inject_session_state(f.session), INJECT_SPILL);
	assert_false(inject_session_wants_input(f.session));
	inject_session_free(&f.session);
	assert_int_equal(f.forgets, 1);
	assert_int_equal(f.drops, 0);
	/* submitted: the queue decides, the file stays */
	f.file_answer = FAKE_ACCEPT;
	f.answer = FAKE_SILENT;
	begin(&f);
	(void)fake_feed(&f, text, strlen(text), 0);
	assert_int_equal(inject_session_state(f.session), INJECT_SUBMIT);
	inject_session_free(&f.session);
	assert_int_equal(f.forgets, 2);
	assert_int_equal(f.drops, 0);
	assert_true(f.pool.used_bytes == 0);
	fake_clear(&f);
	free(text);
}

/* Rejected after all: the file is dropped. */
static void
large_rejected(void **state)
{
	char *text = large(ONE "DATA\r\n", 500, ".\r\n");
	struct fake f;

	(void)state;
	fake_init(&f, CONF_SMTP);
	f.answer = FAKE_REJECT;
	begin(&f);
	(void)fake_feed(&f, text, strlen(text), 0);
	assert_int_equal(f.submits, 1);
	assert_int_equal(f.drops, 1);
	fake_clear(&f);
	free(text);
}

/* Envelopes of many sessions are bounded too. */
static void
memory_short(void **state)
{
	struct fake f;

	(void)state;
	fake_init(&f, CONF_SMTP);
	f.pool.max_bytes = 1000;
	f.pool.used_bytes = 1700;
	begin(&f);
	feed(&f, "MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\n");
	expect(&f, MAIL "452 4.3.1 Too much mail in transit, try later\r\n");
	feed(&f, "RSET\r\n");
	f.pool.used_bytes = 2002;
	feed(&f, "MAIL FROM:<>\r\n");
	expect(&f, RESET "452 4.3.1 Too much mail in transit, try later\r\n");
	inject_session_free(&f.session);
	assert_true(f.pool.used_bytes == 2002);
	fake_clear(&f);
}

/* ---- time and stopping ----------------------------------------------- */

static void
timeouts(void **state)
{
	struct fake f;

	(void)state;
	clock_test_set(NOW_MS);
	fake_init(&f, CONF_SMTP);
	begin(&f);
	assert_true(inject_session_deadline_ms(f.session) == NOW_MS + 60000);
	inject_session_timeout(f.session);	/* too early: nothing */
	expect(&f, "");
	clock_test_set(NOW_MS + 50000);
	feed(&f, "NOOP\r\n");
	clock_test_set(NOW_MS + 109000);
	inject_session_timeout(f.session);
	expect(&f, "250 2.0.0 Ok\r\n");
	clock_test_set(NOW_MS + 110000);
	inject_session_timeout(f.session);
	expect(&f, "421 4.4.2 Idle too long, closing\r\n");
	assert_true(inject_session_done(f.session));

	/* a slow drip of text does not help beyond the session's time */
	clock_test_set(NOW_MS);
	begin(&f);
	feed(&f, ONE "DATA\r\n");
	free(output(&f));
	for (int64_t at = 0; at < 600000; at += 30000) {
		clock_test_set(NOW_MS + at);
		inject_session_timeout(f.session);
		assert_int_equal(inject_session_state(f.session),
			INJECT_DATA);
		feed(&f, "x");
	}
	clock_test_set(NOW_MS + 600000);
	inject_session_timeout(f.session);
	expect(&f, "421 4.4.2 Session too long, closing\r\n");
	assert_true(f.pool.used_bytes == 0);
	fake_clear(&f);
	clock_test_real();
}

static void
queue_silent(void **state)
{
	struct fake f;

	(void)state;
	clock_test_set(NOW_MS);
	fake_init(&f, CONF_SMTP);
	f.answer = FAKE_SILENT;
	begin(&f);
	feed(&f, ONE "DATA\r\n.\r\nNOOP\r\n");
	expect(&f, MAIL RCPT DATA);
	clock_test_set(NOW_MS + 599999);
	inject_session_timeout(f.session);
	expect(&f, "");
	clock_test_set(NOW_MS + 600000);
	inject_session_timeout(f.session);
	expect(&f, "451 4.3.0 Queue does not answer, try later\r\n");
	/* a late answer is nobody's */
	inject_session_accepted(f.session, 9);
	expect(&f, "");
	/* no one takes the last reply */
	feed(&f, "QUIT\r\n");
	assert_false(inject_session_done(f.session));
	clock_test_set(NOW_MS + 700000);
	inject_session_timeout(f.session);
	assert_true(inject_session_done(f.session));
	fake_clear(&f);
	clock_test_real();
}

static void
stopping(void **state)
{
	static const char stop[] =
		"421 4.3.2 Service is stopping, try later\r\n";
	struct fake f;

	(void)state;
	fake_init(&f, CONF_SMTP);
	begin(&f);
	feed(&f, ONE);
	free(output(&f));
	inject_session_stop(f.session);
	expect(&f, stop);
	assert_true(inject_session_done(f.session));
	/* in transfer: to the end, then */
	begin(&f);
	feed(&f, ONE "DATA\r\nx\r\n");
	free(output(&f));
	inject_session_stop(f.session);
	expect(&f, "");
	feed(&f, ".\r\nMAIL FROM:<>\r\n");
	expect(&f, QUEUED1
		"421 4.3.2 Service is stopping, try later\r\n");
	/* between chunks as well */
	begin(&f);
	feed(&f, ONE "BDAT 1\r\nx");
	free(output(&f));
	inject_session_stop(f.session);
	feed(&f, "BDAT 2 LAST\r\n\r\n");
	expect(&f, QUEUED2
		"421 4.3.2 Service is stopping, try later\r\n");
	/* and while the queue is asked */
	f.answer = FAKE_SILENT;
	begin(&f);
	feed(&f, ONE "DATA\r\n.\r\n");
	free(output(&f));
	inject_session_stop(f.session);
	expect(&f, "");
	inject_session_accepted(f.session, 1);
	expect(&f, QUEUED1
		"421 4.3.2 Service is stopping, try later\r\n");
	fake_clear(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(command_faults),
		cmocka_unit_test(before_hello),
		cmocka_unit_test(refusals),
		cmocka_unit_test(too_many_errors),
		cmocka_unit_test(endless_line),
		cmocka_unit_test(nul_in_command),
		cmocka_unit_test(output_bounded),
		cmocka_unit_test(dialogue),
		cmocka_unit_test(chunking),
		cmocka_unit_test(lmtp),
		cmocka_unit_test(normalised),
		cmocka_unit_test(rejections),
		cmocka_unit_test(require_tls_offer),
		cmocka_unit_test(require_tls_flags),
		cmocka_unit_test(starttls_faults),
		cmocka_unit_test(starttls_done),
		cmocka_unit_test(starttls_ends),
		cmocka_unit_test(envelope),
		cmocka_unit_test(hop_limit),
		cmocka_unit_test(spill),
		cmocka_unit_test(spill_refused),
		cmocka_unit_test(too_large),
		cmocka_unit_test(vanishing),
		cmocka_unit_test(vanishing_while_asked),
		cmocka_unit_test(large_rejected),
		cmocka_unit_test(memory_short),
		cmocka_unit_test(timeouts),
		cmocka_unit_test(queue_silent),
		cmocka_unit_test(stopping),
	};

	log_init("test", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
