/*
 * Names of statuses, and every outcome text that we ourselves can produce.
 * Remote replies come in through outcome_reply() alone.
 */
#include "config.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"

const char *
status_name(enum status st)
{
	static const char *const names[] = {
		[ST_OK] = "ok",
		[ST_AGAIN] = "again",
		[ST_EOF] = "end",
		[ST_PARSE] = "malformed",
		[ST_LIMIT] = "limit exceeded",
		[ST_TIMEOUT] = "timed out",
		[ST_SYS] = "system error",
		[ST_DENIED] = "denied",
		[ST_NOENT] = "not found",
		[ST_FULL] = "storage full",
		[ST_CORRUPT] = "storage damaged",
	};

	if ((size_t)st >= sizeof(names) / sizeof(names[0]))
		return "unknown";
	return names[st];
}

/* Result types of RFC 8460 section 4.3, and what to tell people of them. */
static const struct failure_row {
	const char *name, *meaning, *cure;
} failures[TLS_FAILURE_COUNT] = {
	[TLS_FAILURE_NONE] = { "none", "nothing failed", "nothing" },
	[TLS_FAILURE_STARTTLS] = { "starttls-not-supported",
	    "the mail server did not offer STARTTLS, or refused it",
	    "offer STARTTLS on that server, or look for a firewall that takes "
	    "it out of the server's answers." },
	[TLS_FAILURE_HOST_MISMATCH] = { "certificate-host-mismatch",
	    "the certificate does not name the mail server",
	    "get a certificate with the name of the mail server in its "
	    "subjectAltName." },
	[TLS_FAILURE_EXPIRED] = { "certificate-expired",
	    "the certificate of the mail server has expired",
	    "renew the certificate of that server." },
	[TLS_FAILURE_NOT_TRUSTED] = { "certificate-not-trusted",
	    "the certificate is not issued by an authority that the sender "
	    "trusts, or its chain was not sent whole",
	    "use a certificate of a known authority and send the whole chain, "
	    "or publish TLSA records." },
	[TLS_FAILURE_VALIDATION] = { "validation-failure",
	    "the TLS handshake failed, or the server did not fit the "
	    "published policy",
	    "make the certificate of that server and the published records "
	    "(TLSA) match again, and offer TLS 1.2 or newer." },
	[TLS_FAILURE_TLSA_INVALID] = { "tlsa-invalid",
	    "TLSA records are published, but none of them can be used",
	    "correct the TLSA records of that server." },
	[TLS_FAILURE_DNSSEC_INVALID] = { "dnssec-invalid",
	    "the DNS answers could not be had or not be proven by DNSSEC",
	    "look at the DNSSEC signatures of the domain and at its name "
	    "servers: MX, address or TLSA records cannot be looked up." },
	[TLS_FAILURE_DANE_REQUIRED] = { "dane-required",
	    "the sender demands DANE, and there are no usable TLSA records",
	    "publish TLSA records for that server and sign the zone." },
	[TLS_FAILURE_STS_FETCH] = { "sts-policy-fetch-error",
	    "the MTA-STS policy file could not be fetched",
	    "make the policy file answer at https://mta-sts.DOMAIN/.well-known"
	    "/mta-sts.txt with status 200, text/plain and no redirect." },
	[TLS_FAILURE_STS_INVALID] = { "sts-policy-invalid",
	    "the MTA-STS policy file is malformed",
	    "correct the MTA-STS policy file: version, mode, max_age and an mx "
	    "line for each mail server." },
	[TLS_FAILURE_STS_WEBPKI] = { "sts-webpki-invalid",
	    "the web server of the MTA-STS policy has no valid certificate",
	    "give the web server a certificate of a known authority for "
	    "mta-sts.DOMAIN, and renew it in time." },
};

static const struct failure_row *
failure_row(enum tls_failure failure)
{
	static const struct failure_row unknown = { "unknown",
		"a kind of failure that is not known here",
		"ask the sender of the report what it means." };

	return (size_t)failure < TLS_FAILURE_COUNT ? &failures[failure] :
		&unknown;
}

const char *
tls_failure_name(enum tls_failure failure)
{
	return failure_row(failure)->name;
}

enum tls_failure
tls_failure_parse(const char *name)
{
	for (unsigned i = TLS_FAILURE_NONE + 1; i < TLS_FAILURE_COUNT; i++)
		if (strcmp(failures[i].name, name) == 0)
			return (enum tls_failure)i;
	return TLS_FAILURE_NONE;
}

const char *
tls_failure_meaning(enum tls_failure failure)
{
	return failure_row(failure)->meaning;
}

const char *
tls_failure_cure(enum tls_failure failure)
{
	return failure_row(failure)->cure;
}

const char *
outcome_verdict_name(enum outcome_verdict v)
{
	static const char *const names[] = {
		[VERDICT_NONE] = "none",
		[VERDICT_DONE] = "sent",
		[VERDICT_LATER] = "deferred",
		[VERDICT_NEVER] = "bounced",
	};

	if ((size_t)v >= sizeof(names) / sizeof(names[0]))
		return "unknown";
	return names[v];
}

/* Per stage: its name and the subject.detail of RFC 3463 when the peer gave no
 * enhanced code of its own. */
static const struct stage_row {
	const char *name;
	const char *detail;
} stages[] = {
	[STAGE_NONE] = { "none", "0.0" },
	[STAGE_DNS] = { "dns", "4.3" },
	[STAGE_POLICY] = { "policy", "7.0" },
	[STAGE_CONNECT] = { "connect", "4.1" },
	[STAGE_BANNER] = { "banner", "3.2" },
	[STAGE_EHLO] = { "ehlo", "5.0" },
	[STAGE_STARTTLS] = { "starttls", "7.0" },
	[STAGE_TLS] = { "tls", "7.5" },
	[STAGE_AUTH] = { "auth", "7.8" },
	[STAGE_MAIL] = { "mail", "1.0" },
	[STAGE_RCPT] = { "rcpt", "1.0" },
	[STAGE_DATA] = { "data", "6.0" },
	[STAGE_EOM] = { "eom", "6.0" },
	[STAGE_QUEUE] = { "queue", "4.7" },
};

static const struct stage_row *
stage_row(enum outcome_stage stage)
{
	if ((size_t)stage >= sizeof(stages) / sizeof(stages[0]))
		stage = STAGE_NONE;
	return &stages[stage];
}

const char *
outcome_stage_name(enum outcome_stage stage)
{
	return stage_row(stage)->name;
}

static enum outcome_verdict
verdict_of_class(char class)
{
	if (class == '2')
		return VERDICT_DONE;
	return class == '5' ? VERDICT_NEVER : VERDICT_LATER;
}

struct outcome
outcome_reply(enum outcome_scope scope, enum outcome_stage stage, int code,
	const char *enhanced, const char *text)
{
	struct outcome o = { .scope = scope, .stage = stage, .remote = true,
		.code = code };
	char class = code >= 200 && code < 300 ? '2' :
		code >= 500 && code < 600 ? '5' : '4';

	o.verdict = verdict_of_class(class);
	if (enhanced != NULL && enhanced[0] == class &&
	    str_is_enhanced_code(enhanced))
		(void)snprintf(o.enhanced, sizeof(o.enhanced), "%s", enhanced);
	else
		(void)snprintf(o.enhanced, sizeof(o.enhanced), "%c.%s", class,
			class == '2' ? "0.0" : stage_row(stage)->detail);
	str_sanitise(o.text, sizeof(o.text), text, strlen(text));
	return o;
}

static struct outcome local_outcome(enum outcome_scope, enum outcome_stage,
	int, const char *, const char *, ...)
	__attribute__((format(printf, 5, 6)));

/* The verdict follows from the class of the enhanced code. */
static struct outcome
local_outcome(enum outcome_scope scope, enum outcome_stage stage, int code,
	const char *enhanced, const char *fmt, ...)
{
	struct outcome o = { .scope = scope, .stage = stage, .code = code,
		.verdict = verdict_of_class(enhanced[0]) };
	/* Larger than the result, so that str_sanitise() does the cutting and
	 * finds the border of a character. */
	char raw[OUTCOME_TEXT_MAX + 4];
	va_list ap;

	(void)snprintf(o.enhanced, sizeof(o.enhanced), "%s", enhanced);
	va_start(ap, fmt);
	(void)vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	str_sanitise(o.text, sizeof(o.text), raw, strlen(raw));
	return o;
}

/* Told in reports (RFC 8460 4.3) by that name. */
static struct outcome
with_failure(enum tls_failure failure, struct outcome o)
{
	o.tls_failure = failure;
	return o;
}

struct outcome
outcome_no_domain(const char *domain)
{
	return local_outcome(SCOPE_DESTINATION, STAGE_DNS, 550, "5.1.2",
		"domain %s does not exist", domain);
}

struct outcome
outcome_null_mx(const char *domain)
{
	return local_outcome(SCOPE_DESTINATION, STAGE_DNS, 556, "5.1.10",
		"domain %s does not accept mail (null MX, RFC 7505)", domain);
}

struct outcome
outcome_no_address(const char *domain)
{
	return local_outcome(SCOPE_DESTINATION, STAGE_DNS, 550, "5.4.4",
		"no mail host of %s has an address", domain);
}

struct outcome
outcome_bad_address(const char *address)
{
	return local_outcome(SCOPE_RCPT, STAGE_DNS, 553, "5.1.3",
		"bad destination address %s", address);
}

struct outcome
outcome_dns_later(const char *domain, const char *why)
{
	return local_outcome(SCOPE_DESTINATION, STAGE_DNS, 451, "4.4.3",
		"DNS lookup for %s failed: %s", domain, why);
}

/* RFC 8460 section 4.3.2.1. */
struct outcome
outcome_dns_bogus(const char *domain, const char *why)
{
	return with_failure(TLS_FAILURE_DNSSEC_INVALID, outcome_dns_later(
		domain, why));
}

struct outcome
outcome_loop(const char *domain)
{
	return local_outcome(SCOPE_DESTINATION, STAGE_DNS, 554, "5.4.6",
		"mail for %s loops back to this host", domain);
}

struct outcome
outcome_hops(unsigned hops)
{
	return local_outcome(SCOPE_MESSAGE, STAGE_QUEUE, 554, "5.4.6",
		"too many hops (%u Received headers): mail loop", hops);
}

struct outcome
outcome_connect(const char *host, const char *why)
{
	return local_outcome(SCOPE_HOST, STAGE_CONNECT, 451, "4.4.1",
		"connection to %s failed: %s", host, why);
}

struct outcome
outcome_lost(enum outcome_stage stage, const char *host)
{
	return local_outcome(SCOPE_HOST, stage, 451, "4.4.2",
		"connection with %s lost in state %s", host,
		outcome_stage_name(stage));
}

struct outcome
outcome_timeout(enum outcome_stage stage, const char *host)
{
	return local_outcome(SCOPE_HOST, stage, 451, "4.4.2",
		"connection with %s timed out in state %s", host,
		outcome_stage_name(stage));
}

struct outcome
outcome_protocol(enum outcome_stage stage, const char *host, const char *why)
{
	return local_outcome(SCOPE_HOST, stage, 451, "4.5.0",
		"protocol error by %s in state %s: %s", host,
		outcome_stage_name(stage), why);
}

struct outcome
outcome_tls_required(const char *host, const char *why)
{
	return with_failure(TLS_FAILURE_STARTTLS,
		local_outcome(SCOPE_HOST, STAGE_STARTTLS, 451,
		"4.7.10", "TLS is required but %s does not give it: %s", host,
		why));
}

struct outcome
outcome_tls_failed(const char *host, enum tls_failure failure,
	const char *why)
{
	return with_failure(failure,
		local_outcome(SCOPE_HOST, STAGE_TLS, 451, "4.7.5",
		"TLS with %s failed: %s", host, why));
}

/* The server demands TLS (530), and does not give it. */
struct outcome
outcome_tls_asked(const char *host, const char *why)
{
	return with_failure(TLS_FAILURE_STARTTLS,
		local_outcome(SCOPE_HOST, STAGE_STARTTLS, 451,
		"4.7.0", "%s takes mail with TLS only, but TLS with it "
		"failed: %s", host, why));
}

/* Never final, whatever the code: anybody on the way could say it. */
struct outcome
outcome_unproven(enum outcome_stage stage, const char *host, int code,
	const char *text)
{
	return local_outcome(SCOPE_HOST, stage, 451, "4.7.0",
		"%s turns us away before TLS can prove who it is: %d %s",
		host, code, text);
}

/* Never 5.7.8: the sender can do nothing about our password. */
struct outcome
outcome_auth(const char *host, const char *why)
{
	return local_outcome(SCOPE_HOST, STAGE_AUTH, 451, "4.7.8",
		"authentication with %s failed: %s", host, why);
}

struct outcome
outcome_tlsa_lookup(const char *host)
{
	return with_failure(TLS_FAILURE_DNSSEC_INVALID,
		local_outcome(SCOPE_HOST, STAGE_POLICY, 451,
		"4.7.5", "TLSA records of %s cannot be looked up or trusted "
		"now; DANE may be required there", host));
}

struct outcome
outcome_tlsa_unasked(const char *host)
{
	return local_outcome(SCOPE_HOST, STAGE_POLICY, 451, "4.4.3",
		"TLSA records of %s cannot be looked up now, for the resolvers "
		"of this system fail; DANE may be required there", host);
}

struct outcome
outcome_sts_mx_mismatch(const char *host, const char *domain)
{
	return with_failure(TLS_FAILURE_VALIDATION,
		local_outcome(SCOPE_HOST, STAGE_POLICY, 451,
		"4.7.5", "%s is not one of the mail hosts that the MTA-STS "
		"policy of %s names", host, domain));
}

struct outcome
outcome_sts_no_host(const char *domain, const char *why)
{
	return with_failure(TLS_FAILURE_VALIDATION,
		local_outcome(SCOPE_DESTINATION, STAGE_POLICY, 451,
		"4.7.5", "the MTA-STS policy of %s names mail hosts, but DNS "
		"without signatures leads to none: %s", domain, why));
}

struct outcome
outcome_sts_later(const char *domain, const char *why)
{
	return with_failure(TLS_FAILURE_STS_FETCH,
		local_outcome(SCOPE_HOST, STAGE_POLICY, 451,
		"4.7.5", "it cannot be found out now whether %s has an "
		"MTA-STS policy: %s", domain, why));
}

struct outcome
outcome_dane_required(const char *host, const char *why)
{
	return with_failure(TLS_FAILURE_DANE_REQUIRED,
		local_outcome(SCOPE_HOST, STAGE_POLICY, 451,
		"4.7.5", "a local rule demands DANE of %s, but %s", host, why));
}

struct outcome
outcome_feature(const char *host, const char *feature)
{
	const char *enhanced = strcmp(feature, "SMTPUTF8") == 0 ? "5.6.7" :
		strcmp(feature, "REQUIRETLS") == 0 ? "5.7.30" :
		strcmp(feature, "8BITMIME") == 0 ? "5.6.3" : "5.3.3";

	return local_outcome(SCOPE_HOST, STAGE_MAIL, 550, enhanced,
		"message needs %s, which %s does not offer", feature, host);
}

struct outcome
outcome_require_tls(const char *host, const char *why)
{
	return local_outcome(SCOPE_HOST, STAGE_POLICY, 550, "5.7.30",
		"message needs REQUIRETLS, which %s cannot give: %s", host,
		why);
}

struct outcome
outcome_size(const char *host, unsigned long long limit)
{
	return local_outcome(SCOPE_HOST, STAGE_MAIL, 552, "5.3.4",
		"message is larger than %s accepts (%llu bytes)", host, limit);
}

struct outcome
outcome_unsure(const char *host, const char *why)
{
	struct outcome o = local_outcome(SCOPE_MESSAGE, STAGE_EOM, 451,
		"4.4.2", "%s did not confirm the message after its end (%s); "
		"it may arrive twice", host, why);

	o.maybe_duplicate = true;
	return o;
}

struct outcome
outcome_expired(const char *last_text)
{
	return local_outcome(SCOPE_RCPT, STAGE_QUEUE, 551, "5.4.7",
		"message expired in the queue; last problem: %s",
		last_text != NULL && last_text[0] != '\0' ? last_text :
		"none, it was never tried");
}

struct outcome
outcome_paused(void)
{
	return local_outcome(SCOPE_DESTINATION, STAGE_QUEUE, 451, "4.3.2",
		"paused by the operator");
}

struct outcome
outcome_removed(void)
{
	return local_outcome(SCOPE_RCPT, STAGE_QUEUE, 550, "5.7.1",
		"removed from the queue by the operator");
}

struct outcome
outcome_child_died(void)
{
	return local_outcome(SCOPE_DESTINATION, STAGE_QUEUE, 451, "4.3.0",
		"delivery process ended unexpectedly");
}

struct outcome
outcome_local(const char *why)
{
	return local_outcome(SCOPE_DESTINATION, STAGE_QUEUE, 451, "4.3.0",
		"local error: %s", why);
}
