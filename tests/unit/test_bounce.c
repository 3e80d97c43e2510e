/*
 * Notices: who gets which, whole notices against recorded ones, single fields.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "smtpd-out/mail/bounce_int.h"
#include "tests/unit/test_bounce_util.h"

/* ---- the decision ---- */

#define S NOTIFY_SUCCESS
#define F NOTIFY_FAILURE
#define D NOTIFY_DELAY
#define N NOTIFY_NEVER

static const struct decide_case {
	const char *what;
	struct bounce_facts f;
	enum bounce_kind want;
} decide_cases[] = {
	/* RFC 3461 4.1 */
	{ "failure by default", { "s@x", 0, 0, VERDICT_NEVER, false, false },
	    BOUNCE_FAILED },
	{ "failure asked", { "s@x", 0, F, VERDICT_NEVER, false, false },
	    BOUNCE_FAILED },
	{ "failure among others", { "s@x", 0, S | F | D, VERDICT_NEVER, false,
	    false }, BOUNCE_FAILED },
	{ "failure not asked", { "s@x", 0, S | D, VERDICT_NEVER, false,
	    false }, BOUNCE_NONE },
	{ "never", { "s@x", 0, N, VERDICT_NEVER, false, false },
	    BOUNCE_NONE },
	{ "never beats the rest", { "s@x", 0, N | S | F, VERDICT_NEVER, false,
	    false }, BOUNCE_NONE },
	{ "failure is ours even if the peer has DSN", { "s@x", 0, F,
	    VERDICT_NEVER, true, false }, BOUNCE_FAILED },
	/* a notice of a notice */
	{ "null sender", { "", 0, F, VERDICT_NEVER, false, false },
	    BOUNCE_NONE },
	{ "null sender, success", { "", 0, S, VERDICT_DONE, false, false },
	    BOUNCE_NONE },
	{ "null sender, delay", { "", 0, D, VERDICT_LATER, false, true },
	    BOUNCE_NONE },
	{ "own notice", { "s@x", ENVELOPE_BOUNCE, 0, VERDICT_NEVER, false,
	    false }, BOUNCE_NONE },
	/* delay */
	{ "delay by default", { "s@x", 0, 0, VERDICT_LATER, false, true },
	    BOUNCE_DELAYED },
	{ "delay asked", { "s@x", 0, D, VERDICT_LATER, false, true },
	    BOUNCE_DELAYED },
	{ "delay not due", { "s@x", 0, D, VERDICT_LATER, false, false },
	    BOUNCE_NONE },
	{ "delay not asked", { "s@x", 0, F, VERDICT_LATER, false, true },
	    BOUNCE_NONE },
	{ "delay never", { "s@x", 0, N, VERDICT_LATER, false, true },
	    BOUNCE_NONE },
	/* RFC 3461 5.2.1 and 5.2.2 */
	{ "peer tells", { "s@x", 0, S, VERDICT_DONE, true, false },
	    BOUNCE_NONE },
	{ "peer cannot tell", { "s@x", 0, S, VERDICT_DONE, false, false },
	    BOUNCE_RELAYED },
	{ "success not asked", { "s@x", 0, F | D, VERDICT_DONE, false,
	    false }, BOUNCE_NONE },
	{ "success by default", { "s@x", 0, 0, VERDICT_DONE, false, true },
	    BOUNCE_NONE },
	{ "undecided", { "s@x", 0, S | F | D, VERDICT_NONE, false, true },
	    BOUNCE_NONE },
};

static void
test_decide(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(decide_cases) /
	    sizeof(decide_cases[0]); i++)
		if (bounce_decide(&decide_cases[i].f) != decide_cases[i].want)
			fail_msg("%s: %s", decide_cases[i].what,
				bounce_kind_name(bounce_decide(
				&decide_cases[i].f)));
}

/* ---- one notice ---- */

/* Compares with text that has LF line ends. */
static void
assert_golden(const struct fixture *f, const char *want)
{
	const char *got = (const char *)buf_data(&f->out);
	char *flat = xmalloc(f->out.len + 1);
	size_t used = 0;

	for (size_t i = 0; i < f->out.len; i++)
		if (got[i] != '\r')
			flat[used++] = got[i];
	flat[used] = '\0';
	assert_string_equal(flat, want);
	free(flat);
}

static const char golden_failed[] =
	"Date: Tue, 14 Nov 2023 22:18:20 +0000\n"
	"From: Mail Delivery System <postmaster@example.org>\n"
	"To: <me@here.test>\n"
	"Subject: Your message could not be delivered\n"
	"Message-ID: <002296v0dkcgc.002296v0dkcgf.failed@out.example.org>\n"
	"In-Reply-To: <one@here.test>\n"
	"References: <one@here.test>\n"
	"Auto-Submitted: auto-replied\n"
	"MIME-Version: 1.0\n"
	"Content-Type: multipart/report; report-type=delivery-status;\n"
	" boundary=\"=_c543a7d3fdb4e164.00060a24181e4000\"\n"
	"\n"
	"This is a MIME-encapsulated message.\n"
	"\n"
	"--=_c543a7d3fdb4e164.00060a24181e4000\n"
	"Content-Description: Notification\n"
	"Content-Type: text/plain; charset=utf-8\n"
	"Content-Transfer-Encoding: 7bit\n"
	"\n"
	"This is the mail system at out.example.org.\n"
	"\n"
	"Your message was NOT delivered to:\n"
	"\n"
	"  <you@there.test>\n"
	"\n"
	"    What happened:\n"
	"        The mail server mx.there.test said: 550 5.1.1 no such user\n"
	"\n"
	"    What you can do:\n"
	"        This mailbox does not exist there. Check the part before "
	"the @ for\n"
	"        a typing error, or ask the recipient for the current "
	"address.\n"
	"\n"
	"Nothing more will be tried for these recipients. Other recipients "
	"of the\n"
	"same message, if there were any, are not affected.\n"
	"\n"
	"For help write to postmaster@example.org and name the queue id\n"
	"002296v0dkcgc. A report for programs and the header of your "
	"message are\n"
	"attached.\n"
	"\n"
	"--=_c543a7d3fdb4e164.00060a24181e4000\n"
	"Content-Description: Delivery report\n"
	"Content-Type: message/delivery-status\n"
	"Content-Transfer-Encoding: 7bit\n"
	"\n"
	"Original-Envelope-Id: QQ+123\n"
	"Reporting-MTA: dns; out.example.org\n"
	"X-Smtpd-Out-Queue-Id: 002296v0dkcgc\n"
	"Arrival-Date: Tue, 14 Nov 2023 22:13:20 +0000\n"
	"\n"
	"Original-Recipient: rfc822; You+tag@There.test\n"
	"Final-Recipient: rfc822; you@there.test\n"
	"Action: failed\n"
	"Status: 5.1.1\n"
	"Remote-MTA: dns; mx.there.test\n"
	"Diagnostic-Code: smtp; 550 5.1.1 no such user\n"
	"Last-Attempt-Date: Tue, 14 Nov 2023 22:15:00 +0000\n"
	"\n"
	"--=_c543a7d3fdb4e164.00060a24181e4000\n"
	"Content-Description: Header of your message\n"
	"Content-Type: text/rfc822-headers\n"
	"Content-Transfer-Encoding: 7bit\n"
	"\n"
	"Message-ID: <one@here.test>\n"
	"Subject: hello\n"
	"\n"
	"--=_c543a7d3fdb4e164.00060a24181e4000--\n";

static void
test_failed(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, "me@here.test", "you@there.test");
	f.env->envid = xstrdup("QQ+2B123");
	f.env->rcpts[0].orcpt = xstrdup("rfc822;You+2Btag@There.test");
	fixture_body(&f, test_body, strlen(test_body));
	fixture_format(&f);
	assert_golden(&f, golden_failed);
	assert_int_equal(f.flags, ENVELOPE_BOUNCE);
	fixture_clear(&f);
}

static const char golden_delayed[] =
	"Date: Tue, 14 Nov 2023 22:18:20 +0000\n"
	"From: Mail Delivery System <postmaster@example.org>\n"
	"To: <me@here.test>\n"
	"Subject: Your message is delayed, delivery is still being tried\n"
	"Message-ID: <002296v0dkcgc.002296v0dkcgf.delayed@out.example.org>\n"
	"In-Reply-To: <one@here.test>\n"
	"References: <one@here.test>\n"
	"Auto-Submitted: auto-replied\n"
	"MIME-Version: 1.0\n"
	"Content-Type: multipart/report; report-type=delivery-status;\n"
	" boundary=\"=_85d96415908758f0.00060a24181e4000\"\n"
	"\n"
	"This is a MIME-encapsulated message.\n"
	"\n"
	"--=_85d96415908758f0.00060a24181e4000\n"
	"Content-Description: Notification\n"
	"Content-Type: text/plain; charset=utf-8\n"
	"Content-Transfer-Encoding: 7bit\n"
	"\n"
	"This is the mail system at out.example.org.\n"
	"\n"
	"Your message has NOT YET been delivered to:\n"
	"\n"
	"  <you@there.test>\n"
	"\n"
	"    What holds it up:\n"
	"        TLS is required but mx.there.test does not give it: "
	"STARTTLS is\n"
	"        not offered (status 4.7.10)\n"
	"\n"
	"    Who demands it:\n"
	"        The receiving domain has published TLSA records (DANE), so "
	"mail\n"
	"        goes there only over TLS with a certificate that matches "
	"them.\n"
	"\n"
	"    Host by host:\n"
	"        mx1.there.test: timed out; mx.there.test: no STARTTLS\n"
	"\n"
	"    What the receiving postmaster should do:\n"
	"        offer STARTTLS on that server, or look for a firewall that "
	"takes\n"
	"        it out of the server's answers.\n"
	"\n"
	"Delivery will be tried until Sun, 19 Nov 2023 13:20:00 +0000. If "
	"it does\n"
	"not succeed by then you will get another notice.\n"
	"You do not need to send it again.\n"
	"\n"
	"For help write to postmaster@example.org and name the queue id\n"
	"002296v0dkcgc. A report for programs and the header of your "
	"message are\n"
	"attached.\n"
	"\n"
	"--=_85d96415908758f0.00060a24181e4000\n"
	"Content-Description: Delivery report\n"
	"Content-Type: message/delivery-status\n"
	"Content-Transfer-Encoding: 7bit\n"
	"\n"
	"Reporting-MTA: dns; out.example.org\n"
	"X-Smtpd-Out-Queue-Id: 002296v0dkcgc\n"
	"Arrival-Date: Tue, 14 Nov 2023 22:13:20 +0000\n"
	"\n"
	"Final-Recipient: rfc822; you@there.test\n"
	"Action: delayed\n"
	"Status: 4.7.10\n"
	"Diagnostic-Code: X-smtpd-out; TLS is required but mx.there.test "
	"does not\n"
	" give it: STARTTLS is not offered\n"
	"Last-Attempt-Date: Tue, 14 Nov 2023 22:15:00 +0000\n"
	"Will-Retry-Until: Sun, 19 Nov 2023 13:20:00 +0000\n"
	"\n"
	"--=_85d96415908758f0.00060a24181e4000\n"
	"Content-Description: Header of your message\n"
	"Content-Type: text/rfc822-headers\n"
	"Content-Transfer-Encoding: 7bit\n"
	"\n"
	"Message-ID: <one@here.test>\n"
	"Subject: hello\n"
	"\n"
	"--=_85d96415908758f0.00060a24181e4000--\n";

static void
test_delayed(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, "me@here.test", "you@there.test");
	fixture_body(&f, test_body, strlen(test_body));
	f.env->ret = RET_FULL;
	f.in.kind = BOUNCE_DELAYED;
	f.outcome = outcome_tls_required("mx.there.test",
		"STARTTLS is not offered");
	f.rcpt.why = "dane";
	f.in.trail = "mx1.there.test: timed out; mx.there.test: no STARTTLS";
	fixture_format(&f);
	assert_golden(&f, golden_delayed);
	fixture_clear(&f);
}

static const char golden_relayed[] =
	"Date: Tue, 14 Nov 2023 22:18:20 +0000\n"
	"From: Mail Delivery System <postmaster@example.org>\n"
	"To: <me@here.test>\n"
	"Subject: Your message was passed on\n"
	"Message-ID: <002296v0dkcgc.002296v0dkcgf.relayed@out.example.org>\n"
	"In-Reply-To: <one@here.test>\n"
	"References: <one@here.test>\n"
	"Auto-Submitted: auto-replied\n"
	"MIME-Version: 1.0\n"
	"Content-Type: multipart/report; report-type=delivery-status;\n"
	" boundary=\"=_998eed835008717b.00060a24181e4000\"\n"
	"\n"
	"This is a MIME-encapsulated message.\n"
	"\n"
	"--=_998eed835008717b.00060a24181e4000\n"
	"Content-Description: Notification\n"
	"Content-Type: text/plain; charset=utf-8\n"
	"Content-Transfer-Encoding: 7bit\n"
	"\n"
	"This is the mail system at out.example.org.\n"
	"\n"
	"Your message was handed over for:\n"
	"\n"
	"  <you@there.test>\n"
	"\n"
	"    What happened:\n"
	"        The mail server mx.there.test said: 250 2.0.0 Ok: queued "
	"as ABC\n"
	"\n"
	"The next mail server accepted the message but does not send "
	"confirmations,\n"
	"so you will not hear when it reaches the mailbox. You asked for "
	"this\n"
	"notice; there is nothing to do.\n"
	"\n"
	"For help write to postmaster@example.org and name the queue id\n"
	"002296v0dkcgc. A report for programs and the header of your "
	"message are\n"
	"attached.\n"
	"\n"
	"--=_998eed835008717b.00060a24181e4000\n"
	"Content-Description: Delivery report\n"
	"Content-Type: message/delivery-status\n"
	"Content-Transfer-Encoding: 7bit\n"
	"\n"
	"Reporting-MTA: dns; out.example.org\n"
	"X-Smtpd-Out-Queue-Id: 002296v0dkcgc\n"
	"Arrival-Date: Tue, 14 Nov 2023 22:13:20 +0000\n"
	"\n"
	"Final-Recipient: rfc822; you@there.test\n"
	"Action: relayed\n"
	"Status: 2.0.0\n"
	"Remote-MTA: dns; mx.there.test\n"
	"Diagnostic-Code: smtp; 250 2.0.0 Ok: queued as ABC\n"
	"Last-Attempt-Date: Tue, 14 Nov 2023 22:15:00 +0000\n"
	"\n"
	"--=_998eed835008717b.00060a24181e4000\n"
	"Content-Description: Header of your message\n"
	"Content-Type: text/rfc822-headers\n"
	"Content-Transfer-Encoding: 7bit\n"
	"\n"
	"Message-ID: <one@here.test>\n"
	"Subject: hello\n"
	"\n"
	"--=_998eed835008717b.00060a24181e4000--\n";

static void
test_relayed(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, "me@here.test", "you@there.test");
	fixture_body(&f, test_body, strlen(test_body));
	f.in.kind = BOUNCE_RELAYED;
	f.outcome = outcome_reply(SCOPE_MESSAGE, STAGE_EOM, 250, "2.0.0",
		"Ok: queued as ABC");
	fixture_format(&f);
	assert_golden(&f, golden_relayed);
	fixture_clear(&f);
}

/* ---- single fields ---- */

static const struct status_case {
	enum bounce_kind kind;
	const char *enhanced;
	const char *status;
} status_cases[] = {
	{ BOUNCE_FAILED, "5.1.1", "5.1.1" },
	{ BOUNCE_FAILED, "4.4.1", "4.4.1" },
	{ BOUNCE_FAILED, "2.0.0", "5.0.0" },
	{ BOUNCE_FAILED, "", "5.0.0" },
	{ BOUNCE_DELAYED, "4.4.1", "4.4.1" },
	{ BOUNCE_DELAYED, "5.1.1", "4.0.0" },
	{ BOUNCE_RELAYED, "2.1.5", "2.1.5" },
	{ BOUNCE_RELAYED, "5.x", "2.0.0" },
};

static void
test_status(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(status_cases) /
	    sizeof(status_cases[0]); i++) {
		const struct status_case *c = &status_cases[i];
		char line[40];
		struct fixture f;

		fixture_init(&f, "me@x.test", "you@x.test");
		fixture_body(&f, test_body, strlen(test_body));
		f.in.kind = c->kind;
		(void)snprintf(f.outcome.enhanced, sizeof(f.outcome.enhanced),
			"%s", c->enhanced);
		fixture_format(&f);
		(void)snprintf(line, sizeof(line), "\r\nStatus: %s\r\n",
			c->status);
		fixture_has(&f, line);
		fixture_clear(&f);
	}
}

/* Remote and own words are told apart (RFC 3464 2.3.5, 2.3.6). */
static void
test_diagnostic(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, "me@x.test", "you@x.test");
	fixture_body(&f, test_body, strlen(test_body));
	f.outcome = outcome_reply(SCOPE_RCPT, STAGE_RCPT, 550, "5.1.1",
		"5.1.1 gone");
	fixture_format(&f);
	fixture_has(&f, "\r\nRemote-MTA: dns; mx.there.test\r\n"
		"Diagnostic-Code: smtp; 550 5.1.1 gone\r\n");
	f.outcome = outcome_no_domain("x.test");
	f.rcpt.last_attempt_s = 0;
	fixture_format(&f);
	fixture_lacks(&f, "Remote-MTA");
	fixture_lacks(&f, "Last-Attempt-Date");
	fixture_has(&f, "\r\nDiagnostic-Code: X-smtpd-out; domain x.test does "
		"not exist\r\n");
	fixture_clear(&f);
}

static void
test_deterministic(void **state)
{
	struct fixture a, b;

	(void)state;
	fixture_init(&a, "me@x.test", "you@x.test");
	fixture_init(&b, "me@x.test", "you@x.test");
	fixture_body(&a, test_body, strlen(test_body));
	fixture_body(&b, test_body, strlen(test_body));
	fixture_format(&a);
	fixture_format(&b);
	assert_int_equal(a.out.len, b.out.len);
	assert_memory_equal(buf_data(&a.out), buf_data(&b.out), a.out.len);
	fixture_clear(&a);
	fixture_clear(&b);
}

static void
test_envelope(void **state)
{
	struct envelope *env;
	struct fixture f;

	(void)state;
	fixture_init(&f, "Me@X.test", "you@x.test");
	env = bounce_envelope(&f.in, ENVELOPE_BOUNCE);
	assert_non_null(env);
	assert_string_equal(env->sender, "");
	assert_string_equal(env->rcpts[0].address, "Me@X.test");
	assert_string_equal(env->rcpts[0].destination, "x.test");
	assert_int_equal(env->flags, ENVELOPE_BOUNCE);
	envelope_free(&env);
	fixture_clear(&f);
	fixture_init(&f, "no address", "you@x.test");
	assert_null(bounce_envelope(&f.in, ENVELOPE_BOUNCE));
	fixture_clear(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decide),
		cmocka_unit_test(test_failed),
		cmocka_unit_test(test_delayed),
		cmocka_unit_test(test_relayed),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_diagnostic),
		cmocka_unit_test(test_deterministic),
		cmocka_unit_test(test_envelope),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
