/*
 * From facts to what delivery would do, and to words.  Pure: no network, no
 * clock.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "smtpd-out/check/check_verdict.h"
#include "smtpd-out/worker/delivery.h"

static const struct result_row {
	const char *name;
	const char *tls;		/* tls= of the delivery line */
	int code;
	const char *words;		/* after "to HOST" */
} results[] = {
	[CHECK_DANE] = { "dane", "dane", EX_OK, "over TLS, and its "
	    "certificate matches the signed TLSA records (DANE)" },
	[CHECK_STS] = { "sts", "sts", EX_OK, "over TLS, and a known authority "
	    "vouches for its name, as the domain's MTA-STS policy demands" },
	[CHECK_PKIX] = { "pkix", "pkix", EX_OK, "over TLS, and a known "
	    "authority vouches for its name, as a local rule demands" },
	[CHECK_FINGERPRINT] = { "fingerprint", "fingerprint", EX_OK, "over "
	    "TLS, and its certificate is the one that a local rule names" },
	[CHECK_ENCRYPTED] = { "encrypted", "encrypted", EX_OK, "over TLS, but "
	    "nothing proves that it is the right host" },
	[CHECK_PLAIN] = { "plain", "none", EX_OK, "in clear text" },
	[CHECK_DEFERRED] = { "deferred", NULL, EX_TEMPFAIL, NULL },
	[CHECK_BOUNCED] = { "bounced", NULL, EX_UNAVAILABLE, NULL },
};

const char *
check_result_name(enum check_result r)
{
	return results[r].name;
}

int
check_result_exit(enum check_result r)
{
	return results[r].code;
}

static enum check_result
result_of(bool tls_active, const struct demand *d)
{
	const char *tls = delivery_achieved(tls_active, d->level, d->why);
	enum check_result r = CHECK_DANE;

	while (r < CHECK_PLAIN && strcmp(results[r].tls, tls) != 0)
		r++;
	return r;
}

enum check_result
check_host_result(const struct check_host *h)
{
	const struct check_session *s = check_last_try(h);

	if (h->demand == NULL)
		return CHECK_DEFERRED;
	if (s == NULL)
		return result_of(h->demand->level >= DEMAND_ENCRYPT ||
			h->demand->tls_first, h->demand);
	if (!s->up)
		return CHECK_DEFERRED;
	return result_of(s->info.tls_active, h->demand);
}

/* ---- the walk ---- */

struct walk {
	const struct check_facts *facts;
	struct check_verdict *out;
	unsigned sessions;
	bool ended;
};

static void
take(struct walk *w, size_t host, const struct outcome *new)
{
	struct outcome old = w->out->outcome;

	w->out->outcome = delivery_merge(&old, new);
	/* "Later" of one host outweighs "never" of another. */
	if (old.verdict == VERDICT_NONE ||
	    w->out->outcome.verdict == new->verdict)
		w->out->host = host;
	w->ended = delivery_settled(new);
}

static void
walk_host(struct walk *w, size_t host)
{
	const struct check_host *h = &w->facts->hosts[host];
	const struct outcome done = { .verdict = VERDICT_DONE };

	if (h->demand == NULL) {
		take(w, host, &h->skipped);
		return;
	}
	if (!w->facts->connected) {
		take(w, host, &done);
		return;
	}
	for (size_t i = 0; i < h->try_count && !w->ended &&
	    w->sessions < DELIVERY_SESSIONS_MAX; i++) {
		w->sessions++;
		take(w, host, h->tries[i].up ? &done : &h->tries[i].why);
	}
}

static enum check_result
result_of_walk(const struct check_facts *f, const struct check_verdict *v)
{
	if (v->outcome.verdict == VERDICT_NEVER)
		return CHECK_BOUNCED;
	if (v->outcome.verdict != VERDICT_DONE)
		return CHECK_DEFERRED;
	return check_host_result(&f->hosts[v->host]);
}

/* ---- words ---- */

/* Why a session that is up has no TLS. */
static const char *
clear_why(const struct check_facts *f, const struct check_host *h)
{
	const struct check_session *s = check_last_try(h);

	if (s == NULL)
		return f->connected ? "" : ": nothing is demanded (TLS is "
			"used if the host offers it)";
	if (h->demand->level == DEMAND_NONE)
		return ": a local rule says so";
	if (s->clear)
		return ": TLS was offered and failed";
	return s->info.starttls_refused ? ": STARTTLS was offered and refused" :
		": STARTTLS is not offered";
}

/* The server's own words are not ours. */
static void
say_failure(const struct check_facts *f, struct check_verdict *v)
{
	const char *fate = v->result == CHECK_BOUNCED ? "bounces" : "waits";
	const struct outcome *why = &v->outcome;

	if (f->only_mx_missing)
		(void)snprintf(v->reason, sizeof(v->reason), "The host named "
			"by --mx is not one of the mail hosts of %s",
			f->domain);
	else if (why->remote && v->host < f->host_count)
		(void)snprintf(v->reason, sizeof(v->reason), "Mail %s: %s "
			"answers in state %s: %d %s", fate,
			f->hosts[v->host].name, outcome_stage_name(why->stage),
			why->code, why->text);
	else if (why->tls_failure != TLS_FAILURE_NONE)
		(void)snprintf(v->reason, sizeof(v->reason),
			"Mail %s: %s (%s)", fate, why->text,
			tls_failure_name(why->tls_failure));
	else
		(void)snprintf(v->reason, sizeof(v->reason), "Mail %s: %s",
			fate, why->text);
}

static void
say_reason(const struct check_facts *f, struct check_verdict *v)
{
	const struct check_host *h;

	if (v->result >= CHECK_DEFERRED) {
		say_failure(f, v);
		return;
	}
	h = &f->hosts[v->host];
	(void)snprintf(v->reason, sizeof(v->reason), "Mail %s to %s %s%s%s",
		f->connected ? "is delivered" : "goes", h->name,
		results[v->result].words, v->result == CHECK_PLAIN ?
		clear_why(f, h) : "", h->auth == CHECK_AUTH_LEFT_OUT ||
		h->auth == CHECK_AUTH_HIDDEN ? ", if it takes the password, "
		"which was not tried" : "");
}

enum tls_failure
check_watched(const struct check_host *h, const char **why_out)
{
	const struct check_session *s = check_last_try(h);

	*why_out = "";
	if (h->demand == NULL || h->demand->watch == DEMAND_WATCH_NONE)
		return TLS_FAILURE_NONE;
	if (h->demand->watch == DEMAND_WATCH_UNLISTED) {
		*why_out = "it does not name this host";
		return TLS_FAILURE_VALIDATION;
	}
	if (s == NULL || !s->up)
		return TLS_FAILURE_NONE;
	*why_out = s->info.tls_active ? s->info.watched_text :
		"there is no TLS";
	return s->info.tls_active ? s->info.watched : TLS_FAILURE_STARTTLS;
}

/* ---- what to mend ---- */

/* The sentence of a failure, for this domain. */
static void
put_cure(const struct check_facts *f, enum tls_failure failure, char *out,
	size_t out_bytes)
{
	const char *cure = tls_failure_cure(failure);
	const char *at = strstr(cure, "DOMAIN");
	size_t len;

	(void)snprintf(out, out_bytes, "%.*s%s%s", at == NULL ? 0 :
		(int)(at - cure), cure, at == NULL ? "" : f->domain,
		at == NULL ? cure : at + strlen("DOMAIN"));
	len = strlen(out);
	if (len > 0 && out[len - 1] == '.')
		out[len - 1] = '\0';
}

static bool
enforced_elsewhere(const struct check_facts *f, const struct check_host *h)
{
	return sts_view_enforces(f->sts.view) && !h->sts_listed &&
		h->rule == WHY_STS;
}

/* The record that would fit, when the certificate is the server's own. */
static bool
tlsa_to_publish(const struct check_facts *f, const struct check_host *h,
	char *out, size_t out_bytes)
{
	const struct check_session *s = check_last_try(h);
	const char *base = h->demand == NULL || h->demand->tlsa_base == NULL ?
		h->name : h->demand->tlsa_base;

	if (h->rule != WHY_DANE || s == NULL || s->cert == NULL ||
	    s->cert->count == 0)
		return false;
	(void)snprintf(out, out_bytes, "if that certificate is meant, "
		"publish _%u._tcp.%s. TLSA 3 1 1 %s", f->port, base,
		s->cert->certs[0].key_print);
	return true;
}

static void
mend_auth(const struct check_facts *f, const struct check_host *h, char *out,
	size_t out_bytes)
{
	if (h->demand == NULL)
		(void)str_copy(out, out_bytes, "a password needs a rule that "
			"verifies the relay");
	else if (h->auth == CHECK_AUTH_UNUSABLE)
		(void)snprintf(out, out_bytes, "its auth-file must be mended: "
			"%s", h->auth_why);
	else if (h->auth == CHECK_AUTH_REFUSED)
		(void)str_copy(out, out_bytes, "compare name and password in "
			"its auth-file with those that it knows");
	else
		(void)snprintf(out, out_bytes, "ask its operator where it "
			"takes AUTH PLAIN or LOGIN; on port %u it does not",
			f->port);
}

static void
mend_host(const struct check_facts *f, const struct check_host *h,
	const struct outcome *why, char *out, size_t out_bytes)
{
	size_t len = strlen(h->name) + 2;

	(void)snprintf(out, out_bytes, "%s: ", h->name);
	if (len >= out_bytes)
		return;
	if (why->tls_failure != TLS_FAILURE_NONE && enforced_elsewhere(f, h))
		(void)snprintf(out + len, out_bytes - len, "add \"mx: %s\" to "
			"the MTA-STS policy and change the id of its record",
			h->name);
	else if (why->tls_failure == TLS_FAILURE_VALIDATION &&
	    tlsa_to_publish(f, h, out + len, out_bytes - len))
		return;
	else if (why->tls_failure != TLS_FAILURE_NONE)
		put_cure(f, why->tls_failure, out + len, out_bytes - len);
	else if (why->stage == STAGE_CONNECT)
		(void)snprintf(out + len, out_bytes - len, "see whether the "
			"server runs, and whether a firewall on the way stops "
			"port %u", f->port);
	else if (why->stage == STAGE_AUTH)
		mend_auth(f, h, out + len, out_bytes - len);
	else if (why->stage == STAGE_DNS)
		(void)str_copy(out + len, out_bytes - len, "mend its "
			"addresses in the DNS");
	else
		(void)str_copy(out + len, out_bytes - len, "its postmaster "
			"can say why it does not take mail from here");
}

/* The first host that does not take mail now; NULL: all would, or were not
 * asked. */
static const struct check_host *
failing_host(const struct check_facts *f, const struct outcome **why_out)
{
	for (size_t i = 0; i < f->host_count; i++) {
		const struct check_host *h = &f->hosts[i];
		const struct check_session *s = check_last_try(h);

		*why_out = h->demand == NULL ? &h->skipped : &h->tries[0].why;
		if (h->demand == NULL || (s != NULL && !h->tries[0].up))
			return h;
	}
	return NULL;
}

/* What is wrong on this side comes first. */
static bool
mend_resolver(const struct check_facts *f, char *out, size_t out_bytes)
{
	if (f->resolver == RESOLVER_UNKNOWN || f->resolver ==
	    RESOLVER_VALIDATING || f->resolver == RESOLVER_TRUSTING)
		return false;
	(void)snprintf(out, out_bytes, "on this machine: %s%s",
		f->resolver_text, f->resolver == RESOLVER_STRIPS ? "; name "
		"another one in resolver { servers }, or say dnssec = off" :
		"");
	return true;
}

static void
mend_domain(const struct check_facts *f, const struct outcome *why, char *out,
	size_t out_bytes)
{
	const struct check_lookup *l = &f->mx_lookup;

	if (f->only_mx_missing)
		(void)str_copy(out, out_bytes, "name one of those that are "
			"listed, or none");
	else if (l->security == DNS_SEC_BOGUS)
		(void)snprintf(out, out_bytes, "the DNSSEC signatures of %s "
			"must be mended: they do not verify", f->domain);
	else if (why->verdict == VERDICT_LATER)
		(void)snprintf(out, out_bytes, "the name servers of %s must "
			"answer; see smtpd-out check --dns %s MX", f->domain,
			f->domain);
	else if (l->asked && l->result == DNS_NXDOMAIN)
		(void)str_copy(out, out_bytes, "see whether the domain is "
			"spelt as it should be");
	else
		(void)snprintf(out, out_bytes, "nothing can be sent there; "
			"its postmaster must publish a mail host");
}

/* What a domain that gets its mail could still do better, most urgent first;
 * false when nothing is left. */
static bool
mend_published(const struct check_facts *f, const struct check_verdict *v,
	char *out, size_t out_bytes)
{
	const struct check_host *h = &f->hosts[v->host];
	const struct sts_view *view = f->sts.view;
	const char *why;

	if (v->result == CHECK_PLAIN && f->connected)
		(void)snprintf(out, out_bytes, "%s: offer STARTTLS", h->name);
	else if (view != NULL && view->failure != TLS_FAILURE_NONE)
		put_cure(f, view->failure, out, out_bytes);
	else if (f->sts.finding == STS_FINDING_INVALID)
		(void)snprintf(out, out_bytes, "MTA-STS: correct the record "
			"at _mta-sts.%s", f->domain);
	else if (check_watched(h, &why) != TLS_FAILURE_NONE)
		(void)snprintf(out, out_bytes, "%s: by the MTA-STS policy "
			"this fails (%s): %s", h->name, tls_failure_name(
			check_watched(h, &why)), why);
	else if (v->result >= CHECK_ENCRYPTED && view != NULL &&
	    view->what == STS_VIEW_POLICY &&
	    view->policy->mode == STS_MODE_TESTING)
		(void)str_copy(out, out_bytes, "MTA-STS: change the policy's "
			"mode from testing to enforce, and its id");
	else if (v->result >= CHECK_ENCRYPTED && h->demand->why ==
	    WHY_DANE_UNUSABLE)
		put_cure(f, TLS_FAILURE_TLSA_INVALID, out, out_bytes);
	else if (v->result >= CHECK_ENCRYPTED && f->relay)
		(void)str_copy(out, out_bytes, "a rule with tls = pkix or "
			"fingerprint would verify the relay");
	else if (v->result >= CHECK_ENCRYPTED && h->name[0] != '[')
		(void)snprintf(out, out_bytes, h->mx_security ==
			DNS_SEC_SECURE && h->address_security ==
			DNS_SEC_SECURE ? "publish TLSA records for %s: the "
			"zone is signed" : "publish an MTA-STS policy that "
			"names %s, or sign the zone and publish TLSA records",
			h->name);
	else if (f->tlsrpt.finding == TLSRPT_FINDING_INVALID)
		(void)snprintf(out, out_bytes, "TLSRPT: correct the record at "
			"_smtp._tls.%s", f->domain);
	else if (f->tlsrpt.lookup.asked &&
	    f->tlsrpt.finding == TLSRPT_FINDING_NONE)
		(void)snprintf(out, out_bytes, "publish a TLSRPT record at "
			"_smtp._tls.%s, to hear of failures", f->domain);
	else
		return false;
	return true;
}

static void
say_next(const struct check_facts *f, struct check_verdict *v)
{
	const struct outcome *why = &v->outcome;
	const struct check_host *h = v->host < f->host_count ?
		&f->hosts[v->host] : NULL;

	if (v->result < CHECK_DEFERRED)
		h = failing_host(f, &why);
	if (f->queue.paused)
		(void)str_copy(v->next, sizeof(v->next), "its mail is paused "
			"here: smtpd-out queue limits, and queue resume");
	else if (mend_resolver(f, v->next, sizeof(v->next)))
		return;
	else if (h != NULL)
		mend_host(f, h, why, v->next, sizeof(v->next));
	else if (v->result >= CHECK_DEFERRED)
		mend_domain(f, why, v->next, sizeof(v->next));
	else if (!mend_published(f, v, v->next, sizeof(v->next)))
		v->next[0] = '\0';
}

void
check_verdict(const struct check_facts *f, struct check_verdict *out)
{
	struct walk w = { .facts = f, .out = out };

	memset(out, 0, sizeof(*out));
	out->host = f->host_count;
	if (f->host_count == 0)
		out->outcome = f->route;
	for (size_t i = 0; i < f->host_count && !w.ended &&
	    w.sessions < DELIVERY_SESSIONS_MAX; i++)
		walk_host(&w, i);
	out->result = result_of_walk(f, out);
	say_reason(f, out);
	say_next(f, out);
}

uint32_t
check_sts_blamed(const struct check_facts *f)
{
	uint32_t bits = 0;

	if (!sts_view_enforces(f->sts.view))
		return 0;
	for (size_t i = 0; i < f->host_count; i++) {
		const struct check_host *h = &f->hosts[i];
		const struct outcome *why = h->demand == NULL ? &h->skipped :
			h->try_count > 0 && !h->tries[0].up ?
			&h->tries[0].why : NULL;

		if (why != NULL && h->rule == WHY_STS &&
		    why->tls_failure != TLS_FAILURE_NONE)
			bits |= 1U << i;
	}
	return bits;
}
