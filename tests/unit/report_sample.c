#include "config.h"

#include <stdlib.h>

#include "base/mem.h"
#include "policy/tlsrpt_doc.h"
#include "tests/unit/report_sample.h"

static struct tlsrpt_event
event(enum tlsrpt_policy_type type, const char *domain)
{
	struct tlsrpt_event e = { .time_s = SAMPLE_DAY, .count = 1,
		.domain = xstrdup("rcpt.example"),
		.policy = { .type = type, .domain = xstrdup(domain) } };

	if (type == TLSRPT_POLICY_STS) {
		tlsrpt_policy_add_string(&e.policy, "version: STSv1");
		tlsrpt_policy_add_string(&e.policy, "mode: enforce");
		tlsrpt_policy_add_string(&e.policy, "mx: *.rcpt.example");
		tlsrpt_policy_add_string(&e.policy, "max_age: 604800");
		tlsrpt_policy_add_host(&e.policy, "*.rcpt.example");
	}
	if (type == TLSRPT_POLICY_TLSA)
		tlsrpt_policy_add_string(&e.policy, "3 1 1 "
			"e3b0c44298fc1c149afbf4c8996fb924"
			"27ae41e4649b934ca495991b7852b855");
	return e;
}

static void
add(struct tlsrpt_report *r, struct tlsrpt_event e)
{
	tlsrpt_report_add(r, &e);
	tlsrpt_event_clear(&e);
}

void
report_sample_fail(struct tlsrpt_report *r, enum tls_failure result,
	const char *host, const char *info)
{
	struct tlsrpt_event e = event(TLSRPT_POLICY_STS, "rcpt.example");

	e.failed = true;
	e.ended = TLSRPT_ENDED_FAILED;
	e.failure = (struct tlsrpt_failure){ .result = result,
		.sending_ip = xstrdup("192.0.2.25"),
		.mx_host = xstrdup(host), .mx_helo = xstrdup(host),
		.receiving_ip = xstrdup("2001:db8::25"),
		.info = xstrdup(info) };
	add(r, e);
}

void
report_sample_pass(struct tlsrpt_report *r, uint64_t count)
{
	struct tlsrpt_event e = event(TLSRPT_POLICY_STS, "rcpt.example");

	e.count = count;
	e.ended = TLSRPT_ENDED_SECURED;
	add(r, e);
}

void
report_sample(struct tlsrpt_report *r)
{
	struct tlsrpt_event e;

	tlsrpt_report_init(r, "rcpt.example", SAMPLE_DAY);
	r->organization = xstrdup("Sender Org");
	r->contact = xstrdup("postmaster@sender.example");
	r->id = tlsrpt_doc_id("rcpt.example", SAMPLE_DAY, 0,
		"sender.example");
	report_sample_pass(r, 120);
	report_sample_fail(r, TLS_FAILURE_EXPIRED, "mx1.rcpt.example",
		"https://sender.example/tls#expired");
	report_sample_fail(r, TLS_FAILURE_EXPIRED, "mx1.rcpt.example",
		"https://sender.example/tls#expired");
	report_sample_fail(r, TLS_FAILURE_STS_FETCH, "mx2.rcpt.example",
		"the web server answered 404");
	e = event(TLSRPT_POLICY_TLSA, "mx1.rcpt.example");
	e.failed = true;
	e.count = 3;
	e.failure = (struct tlsrpt_failure){ .result = TLS_FAILURE_VALIDATION,
		.mx_host = xstrdup("mx1.rcpt.example"),
		.reason = xstrdup("dane-no-match") };
	add(r, e);
	e = event(TLSRPT_POLICY_NONE, "rcpt.example");
	e.count = 7;
	e.ended = TLSRPT_ENDED_ENCRYPTED;
	add(r, e);
}
