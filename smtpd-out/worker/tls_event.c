/*
 * From what a session showed to the rows of a report.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "smtpd-out/worker/tls_event.h"

/* What failed, in the policy's view. */
struct fault {
	enum tls_failure failure;	/* NONE: nothing did */
	const char *reason;		/* failure-reason-code */
	const char *info;
};

/* Stable words: smtpd-out-report(1) lists them. */
static const char *const reasons[TLS_FAILURE_COUNT] = {
	[TLS_FAILURE_STARTTLS] = "starttls-missing",
	[TLS_FAILURE_HOST_MISMATCH] = "certificate-name",
	[TLS_FAILURE_EXPIRED] = "certificate-expired",
	[TLS_FAILURE_NOT_TRUSTED] = "certificate-untrusted",
	[TLS_FAILURE_VALIDATION] = "tls-handshake",
	[TLS_FAILURE_TLSA_INVALID] = "tlsa-unusable",
	[TLS_FAILURE_DNSSEC_INVALID] = "dnssec-bogus",
	[TLS_FAILURE_DANE_REQUIRED] = "dane-missing",
	[TLS_FAILURE_STS_FETCH] = "sts-fetch",
	[TLS_FAILURE_STS_INVALID] = "sts-malformed",
	[TLS_FAILURE_STS_WEBPKI] = "sts-certificate",
};

/* RFC 8460 sections 4.3.1 and 4.3.3: what these two types leave open is to be
 * said here.  The phrases are those of tls_verify.c, tls.c and session_step.c;
 * none is a peer's. */
static const struct {
	enum tls_failure failure;
	const char *phrase, *reason;
} details[] = {
	{ TLS_FAILURE_VALIDATION, "none of the TLSA records",
	    "dane-no-match" },
	{ TLS_FAILURE_VALIDATION, "is not valid yet",
	    "certificate-not-yet-valid" },
	{ TLS_FAILURE_VALIDATION, "no version of TLS that is new enough",
	    "tls-version" },
	{ TLS_FAILURE_VALIDATION, "the server refused the handshake",
	    "tls-refused" },
	{ TLS_FAILURE_VALIDATION, "what the server says is not TLS",
	    "tls-not-spoken" },
	{ TLS_FAILURE_VALIDATION, "bytes injected before the TLS handshake",
	    "tls-injection" },
	{ TLS_FAILURE_VALIDATION, "timed out", "tls-timeout" },
	{ TLS_FAILURE_VALIDATION, "closed by peer", "tls-closed" },
	{ TLS_FAILURE_NOT_TRUSTED, "is self-signed",
	    "certificate-self-signed" },
	{ TLS_FAILURE_NOT_TRUSTED, "authority is not known",
	    "certificate-issuer-unknown" },
};

static const char *
reason_of(enum tls_failure failure, const char *info)
{
	for (size_t i = 0; i < sizeof(details) / sizeof(details[0]); i++)
		if (details[i].failure == failure &&
		    strstr(info, details[i].phrase) != NULL)
			return details[i].reason;
	return (size_t)failure < TLS_FAILURE_COUNT ? reasons[failure] : NULL;
}

static struct fault
fault_of(const struct tls_note *n, enum tls_failure failure, const char *info)
{
	struct fault f = { .failure = failure, .info = info,
		.reason = reason_of(failure, info) };

	if (failure == TLS_FAILURE_STARTTLS && n->info != NULL &&
	    n->info->starttls_refused)
		f.reason = "starttls-refused";
	if (failure == TLS_FAILURE_DNSSEC_INVALID && n->tlsa != NULL)
		f.reason = "tlsa-lookup";
	return f;
}

static bool
wanted(const struct conf *conf, const struct tls_note *n)
{
	const struct conf_destination *rule = conf_destination(conf,
		n->destination);

	if (n->report || n->fallback || !str_is_domain(n->destination) ||
	    (rule != NULL && rule->relay_host != NULL))
		return false;
	return n->demand == NULL || n->demand->level != DEMAND_NONE;
}

static char *
text_or_null(const char *text)
{
	return text == NULL || text[0] == '\0' ? NULL : xstrdup(text);
}

static void
fill_failure(const struct tls_note *n, const struct fault *f,
	struct tlsrpt_failure *out)
{
	out->result = f->failure;
	out->reason = text_or_null(f->reason);
	out->info = text_or_null(f->info);
	out->mx_host = text_or_null(n->host);
	if (n->info == NULL)
		return;
	out->sending_ip = text_or_null(n->info->local_ip);
	out->receiving_ip = text_or_null(n->info->ip);
	out->mx_helo = text_or_null(n->info->helo);
}

/* A policy of that type and domain, met or not. */
static struct tlsrpt_event *
add(struct tlsrpt_event *out, size_t *count, const struct tls_note *n,
	enum tlsrpt_policy_type type, const struct fault *f)
{
	struct tlsrpt_event *e = &out[(*count)++];

	memset(e, 0, sizeof(*e));
	e->domain = xstrdup(n->destination);
	e->policy.type = type;
	e->policy.domain = xstrdup(n->destination);
	e->count = 1;
	e->failed = f->failure != TLS_FAILURE_NONE;
	if (e->failed)
		fill_failure(n, f, &e->failure);
	return e;
}

/* ---- tlsa ---- */

/* The host's records had a say in it: not so where something else ruled it
 * out, or a rule took the place of the search. */
static bool
tlsa_applies(const struct tls_note *n)
{
	if (n->kind == TLS_NOTE_SKIPPED)
		return n->why->tls_failure == TLS_FAILURE_DNSSEC_INVALID ||
			n->why->tls_failure == TLS_FAILURE_DANE_REQUIRED;
	return n->tlsa != NULL && n->tlsa->finding != DANE_FAILED;
}

static struct fault
tlsa_fault(const struct tls_note *n)
{
	if (n->kind != TLS_NOTE_SKIPPED && n->tlsa->finding == DANE_UNUSABLE)
		return fault_of(n, TLS_FAILURE_TLSA_INVALID,
			"none of the TLSA records can be used");
	if (n->kind == TLS_NOTE_UP)
		return fault_of(n, TLS_FAILURE_NONE, "");
	return fault_of(n, n->why->tls_failure, n->why->text);
}

static void
add_tlsa(struct tlsrpt_event *out, size_t *count, const struct tls_note *n)
{
	const struct fault f = tlsa_fault(n);
	struct tlsrpt_event *e = add(out, count, n, TLSRPT_POLICY_TLSA, &f);

	free(e->policy.domain);
	e->policy.domain = xstrdup(n->tlsa != NULL ? n->tlsa->base :
		n->host[0] != '\0' ? n->host : n->destination);
	for (size_t i = 0; n->tlsa != NULL && i < n->tlsa->count; i++)
		tlsrpt_policy_add_string(&e->policy, n->tlsa->texts[i]);
}

/* ---- sts ---- */

/* The lines of the policy as fetched; of a list's, what they would be. */
static void
add_lines(struct tlsrpt_policy *p, const struct sts_view *view)
{
	const char *at = view->text;
	char line[TLSRPT_STRING_MAX];

	while (at != NULL && *at != '\0' &&
	    p->string_count < TLSRPT_STRINGS_MAX) {
		size_t len = strcspn(at, "\r\n");
		size_t keep = len < sizeof(line) ? len : sizeof(line) - 1;

		memcpy(line, at, keep);
		line[keep] = '\0';
		if (keep > 0)
			tlsrpt_policy_add_string(p, line);
		at += len;
		at += strspn(at, "\r\n");
	}
	for (size_t i = 0; i < view->policy->mx_count; i++)
		tlsrpt_policy_add_host(p, view->policy->mx[i]);
}

/* RFC 8461 section 4.1: the policy does not name the host. */
static bool
unlisted(const struct tls_note *n)
{
	return !sts_policy_allows(n->sts->policy, n->host);
}

static void
add_sts(struct tlsrpt_event *out, size_t *count, const struct tls_note *n)
{
	enum tls_failure failure;
	const char *info;
	struct tlsrpt_event *e;
	struct fault f;

	if (!tls_note_sts(n, &failure, &info))
		return;
	f = fault_of(n, failure, info);
	if (failure == TLS_FAILURE_VALIDATION && unlisted(n))
		f.reason = "sts-mx-mismatch";
	e = add(out, count, n, TLSRPT_POLICY_STS, &f);
	add_lines(&e->policy, n->sts);
}

/* A policy that could not be had, or not anew, for a reason on their side. */
static void
add_lookup(struct tlsrpt_event *out, size_t *count, const struct tls_note *n)
{
	struct fault f;

	if (n->sts == NULL || n->sts->failure == TLS_FAILURE_NONE)
		return;
	f = fault_of(n, n->sts->failure, n->sts->reason);
	(void)add(out, count, n, TLSRPT_POLICY_STS, &f);
}

/* ---- neither ---- */

static void
add_none(struct tlsrpt_event *out, size_t *count, const struct tls_note *n)
{
	struct fault f = fault_of(n, TLS_FAILURE_NONE, "");

	if (n->kind == TLS_NOTE_SKIPPED)
		return;
	if (n->kind == TLS_NOTE_FAILED)
		f = fault_of(n, n->why->tls_failure, n->why->text);
	else if (!n->info->tls_active)
		f = fault_of(n, TLS_FAILURE_STARTTLS,
			"STARTTLS is not offered or not given");
	(void)add(out, count, n, TLSRPT_POLICY_NONE, &f);
}

static enum tlsrpt_ended
ended(const struct tls_note *n)
{
	if (n->kind == TLS_NOTE_UP && n->info->tls_active)
		return demand_verifies(n->demand) ? TLSRPT_ENDED_SECURED :
			TLSRPT_ENDED_ENCRYPTED;
	/* Without a demand the mail goes on in clear text (RFC 7435). */
	if (n->kind == TLS_NOTE_UP || (n->demand != NULL &&
	    n->demand->level == DEMAND_MAY))
		return TLSRPT_ENDED_CLEAR;
	return TLSRPT_ENDED_FAILED;
}

size_t
tls_events(const struct conf *conf, const struct tls_note *n, int64_t now_s,
	struct tlsrpt_event out[TLS_EVENTS_MAX])
{
	size_t count = 0;

	if (!wanted(conf, n))
		return 0;
	if (tlsa_applies(n))
		add_tlsa(out, &count, n);
	add_sts(out, &count, n);
	if (count == 0)
		add_none(out, &count, n);
	add_lookup(out, &count, n);
	for (size_t i = 0; i < count; i++)
		out[i].time_s = tlsrpt_day(now_s);
	if (count > 0)
		out[0].ended = ended(n);
	return count;
}
