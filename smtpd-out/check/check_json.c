/*
 * JSON of `check`.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "smtpd-out/check/check_json.h"
#include "smtpd-out/check/check_words.h"

/* Everything here is UTF-8 or has been made so; a hole in that is no reason to
 * fail. */
json_t *
jtext(const char *text)
{
	json_t *value = json_string(text);

	return value != NULL ? value : json_string("?");
}

json_t *
jtext_or_null(const char *text)
{
	return text == NULL || text[0] == '\0' ? json_null() :
		jtext(text);
}

static void
set(json_t *o, const char *key, json_t *value)
{
	(void)json_object_set_new(o, key, value);
}

static json_t *
integer(int64_t n)
{
	return json_integer((json_int_t)n);
}

static json_t *
failure(enum tls_failure f)
{
	return f == TLS_FAILURE_NONE ? json_null() : jtext(tls_failure_name(f));
}

static json_t *
words(char *const *list, size_t count)
{
	json_t *a = json_array();

	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(a, jtext(list[i]));
	return a;
}

/* ---- DNS ---- */

static json_t *
lookup(const struct check_lookup *l)
{
	if (!l->asked)
		return json_null();
	return json_pack("{s:s, s:s, s:o}", "result",
		dns_result_name(l->result), "security",
		dns_security_name(l->security), "why", jtext_or_null(l->why));
}

static json_t *
published_mx(const struct check_facts *f)
{
	json_t *a = json_array();

	for (size_t i = 0; i < f->mx_count; i++)
		(void)json_array_append_new(a, json_pack("{s:o, s:i}", "host",
			jtext(f->mx[i].host[0] == '\0' ? "." : f->mx[i].host),
			"preference", (int)f->mx[i].preference));
	return a;
}

static json_t *
zones(const struct check_facts *f)
{
	json_t *a = json_array();

	for (size_t i = 0; i < f->zone_count; i++)
		(void)json_array_append_new(a, json_pack("{s:o, s:o}", "name",
			jtext(f->zones[i].name), "status",
			jtext(f->zones[i].text)));
	return a;
}

static json_t *
rules(const struct check_facts *f)
{
	json_t *a = json_array();

	for (size_t i = 0; i < f->rule_count; i++) {
		const struct check_rule *r = &f->rules[i];

		(void)json_array_append_new(a, json_pack(
			"{s:s, s:o, s:s, s:b, s:o, s:b}", "for", r->of_host ?
			"host" : "destination", "match", jtext(r->match), "tls",
			check_rule_tls(r->tls), "override", r->override,
			"until", r->until_s == 0 ? json_null() :
			integer(r->until_s), "expired", r->expired));
	}
	return a;
}

/* ---- TLSA ---- */

static json_t *
tlsa_record(const struct check_tlsa_set *set_, const struct check_tlsa *t)
{
	char *data = check_hex(t->data, t->len);
	bool usable = t->secure && t->fault == DANE_USABLE;
	json_t *o = json_pack("{s:o, s:i, s:i, s:i, s:o, s:b, s:o, s:o}",
		"name", jtext(set_->name), "usage", (int)t->usage, "selector",
		(int)t->selector, "matching", (int)t->matching, "data",
		jtext(data), "usable", usable, "why", usable ? json_null() :
		jtext(t->secure ? dane_fault_text(t->fault) : "it is not "
			"signed"), "matches", t->matched == CHECK_NOT_SEEN ?
		json_null() : json_boolean(t->matched >= 0));

	if (t->matched >= 0)
		set(o, "matched_certificate", json_integer(t->matched));
	free(data);
	return o;
}

static void
put_tlsa(json_t *o, const struct check_host *h)
{
	json_t *records = json_array(), *asked = json_array();

	for (size_t i = 0; i < h->tlsa_count; i++) {
		const struct check_tlsa_set *s = &h->tlsa[i];
		json_t *l = lookup(&s->lookup);

		set(l, "name", jtext(s->name));
		(void)json_array_append_new(asked, l);
		for (size_t n = 0; n < s->count; n++)
			(void)json_array_append_new(records, tlsa_record(s,
				&s->records[n]));
	}
	set(o, "tlsa", records);
	set(o, "tlsa_lookups", asked);
}

/* ---- TLS ---- */

static json_t *
certificate(const struct cert_info *c)
{
	return json_pack("{s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:o, "
		"s:o, s:b, s:b}", "subject", jtext(c->subject), "issuer",
		jtext(c->issuer), "names", words(c->names, c->name_count),
		"name_count", (json_int_t)c->name_total, "not_before",
		integer(c->not_before_s), "not_after", integer(c->not_after_s),
		"serial", jtext(c->serial), "key", jtext(c->key), "signature",
		jtext(c->signature), "sha256", jtext(c->print), "key_sha256",
		jtext(c->key_print), "ca", c->ca, "self_issued",
		c->self_issued);
}

json_t *
check_json_tls(const struct cert_report *r)
{
	json_t *chain = json_array(), *pkix = json_null();

	for (size_t i = 0; i < r->count; i++)
		(void)json_array_append_new(chain, certificate(&r->certs[i]));
	if (r->pkix_name[0] != '\0')
		pkix = json_pack("{s:o, s:b, s:o, s:o}", "name",
			jtext(r->pkix_name), "valid", r->pkix ==
			TLS_FAILURE_NONE, "result_type", failure(r->pkix),
			"why", jtext_or_null(r->pkix_text));
	return json_pack("{s:o, s:o, s:o, s:o, s:I, s:o}", "protocol",
		jtext_or_null(r->protocol), "cipher", jtext_or_null(r->cipher),
		"group", jtext_or_null(r->group), "certificates", chain,
		"chain_length", (json_int_t)r->total, "pkix", pkix);
}

static json_t *
tls_of(const struct check_host *h)
{
	const struct check_session *s = check_last_try(h);
	json_t *o = json_null();

	for (size_t i = 0; i < h->try_count; i++)
		if (h->tries[i].cert != NULL && json_is_null(o))
			o = check_json_tls(h->tries[i].cert);
	if (!json_is_null(o))
		set(o, "achieved", jtext(s->up ? delivery_achieved(
			s->info.tls_active, h->demand->level, h->demand->why) :
			"none"));
	return o;
}

static json_t *
session(const struct check_session *s)
{
	json_t *times = json_object();
	json_t *o = json_pack("{s:b, s:b, s:o, s:b, s:o, s:o, s:o, s:b, s:o}",
		"takes_mail", s->up, "clear_text_fallback", s->clear, "ip",
		jtext_or_null(s->info.ip), "tls_active", s->info.tls_active,
		"banner", jtext_or_null(s->banner), "ehlo", words(s->ehlo.words,
		s->ehlo.count), "ehlo_tls", words(s->ehlo_tls.words,
		s->ehlo_tls.count), "requiretls", s->requiretls, "times_ms",
		times);

	for (unsigned i = 0; i < CHECK_PHASES; i++)
		if (s->ms[i] >= 0)
			set(times, check_phase_name(i), integer(s->ms[i]));
	set(o, "reason", s->up ? json_null() : jtext(s->why.text));
	set(o, "stage", s->up ? json_null() : jtext(outcome_stage_name(
		s->why.stage)));
	return o;
}

/* ---- hosts ---- */

static void
put_demand(json_t *o, const struct check_host *h)
{
	const struct demand *d = h->demand;
	const char *why;
	enum tls_failure watched = check_watched(h, &why);

	set(o, "demand", jtext(d == NULL ? "unusable" :
		demand_level_name(d->level)));
	set(o, "demand_why", jtext(demand_why_name(h->rule)));
	set(o, "demand_names", d == NULL ? json_array() : words(d->names,
		d->name_count));
	set(o, "watched", watched == TLS_FAILURE_NONE ? json_null() :
		json_pack("{s:o, s:o}", "result_type", failure(watched), "why",
		jtext(why)));
}

static json_t *
host(const struct check_facts *f, const struct check_host *h)
{
	const struct check_session *s = check_last_try(h);
	const struct outcome *why = check_host_why(h);
	json_t *o = json_pack("{s:o, s:i, s:s, s:s, s:s, s:o, s:o, s:o}",
		"host", jtext(h->name), "preference", (int)h->preference,
		"dnssec", check_host_dnssec(h), "mx_dnssec",
		dns_security_name(h->mx_security), "address_dnssec",
		dns_security_name(h->address_security), "canonical",
		jtext_or_null(h->canonical), "a", lookup(&h->a), "aaaa",
		lookup(&h->aaaa));
	json_t *list = json_array();

	for (size_t i = 0; i < h->addr_count; i++)
		(void)json_array_append_new(list, jtext(h->addrs[i]));
	set(o, "addresses", list);
	put_demand(o, h);
	put_tlsa(o, h);
	set(o, "sts_listed", f->sts.view == NULL || f->sts.view->policy ==
		NULL ? json_null() : json_boolean(h->sts_listed));
	set(o, "requiretls", s == NULL ? json_null() :
		json_boolean(s->requiretls));
	set(o, "password", h->auth == CHECK_AUTH_NONE ? json_null() :
		jtext(check_auth_name(h->auth)));
	set(o, "tls", tls_of(h));
	list = json_array();
	for (size_t i = 0; i < h->try_count; i++)
		(void)json_array_append_new(list, session(&h->tries[i]));
	set(o, "sessions", list);
	set(o, "result", jtext(why == NULL ? check_result_name(
		check_host_result(h)) : outcome_verdict_name(why->verdict)));
	set(o, "result_type", failure(check_host_failure(h)));
	set(o, "reason", why == NULL ? json_null() : jtext(why->text));
	return o;
}

/* ---- policies ---- */

static json_t *
policy(const struct sts_policy *p)
{
	if (p == NULL)
		return json_null();
	return json_pack("{s:s, s:o, s:o}", "mode", sts_mode_name(p->mode),
		"mx", words(p->mx, p->mx_count), "max_age",
		integer(p->max_age_s));
}

static json_t *
mta_sts(const struct check_facts *f)
{
	const struct check_sts *s = &f->sts;
	const struct sts_view *v = s->view;
	json_t *o;

	if (!s->wanted)
		return json_null();
	o = json_pack("{s:o, s:s, s:o, s:o}", "lookup", lookup(&s->lookup),
		"record", sts_finding_name(s->finding), "id",
		jtext_or_null(s->record_id), "record_why",
		jtext_or_null(s->record_why));
	set(o, "policy", v == NULL ? json_null() : policy(v->policy));
	set(o, "source", jtext(v == NULL ? "none" :
		sts_source_name(v->source)));
	set(o, "policy_id", jtext_or_null(v == NULL ? NULL : v->id));
	set(o, "result_type", failure(v == NULL ? TLS_FAILURE_NONE :
		v->failure));
	set(o, "why", jtext_or_null(v == NULL ? NULL : v->what ==
		STS_VIEW_DEFER ? v->later.text : v->reason));
	set(o, "live", !s->live_asked ? json_null() : json_pack(
		"{s:o, s:o, s:o}", "policy", policy(s->live), "result_type",
		failure(s->live_failure), "why", jtext_or_null(s->live_why)));
	return o;
}

static json_t *
tlsrpt(const struct check_facts *f)
{
	const struct check_tlsrpt *t = &f->tlsrpt;
	json_t *list = json_array();

	for (size_t i = 0; t->record != NULL && i < t->record->rua_count; i++)
		(void)json_array_append_new(list, jtext(
			t->record->rua[i].uri));
	return json_pack("{s:o, s:s, s:o, s:o}", "lookup", lookup(&t->lookup),
		"record", tlsrpt_finding_name(t->finding), "rua", list, "why",
		jtext_or_null(t->why));
}

static json_t *
queue(const struct check_queue *q)
{
	json_t *o = json_pack("{s:s}", "daemon",
		check_daemon_state_name(q->state));

	if (q->state != CHECK_DAEMON_ASKED)
		return o;
	set(o, "waiting", integer((int64_t)q->waiting));
	set(o, "held", integer((int64_t)q->held));
	set(o, "active", integer((int64_t)q->active));
	set(o, "more", json_boolean(q->more));
	set(o, "paused", json_boolean(q->paused));
	set(o, "hold_until", q->hold_until_s == 0 ? json_null() :
		integer(q->hold_until_s));
	set(o, "next", q->next_s == 0 ? json_null() : integer(q->next_s));
	set(o, "expires", q->expires_s == 0 ? json_null() :
		integer(q->expires_s));
	set(o, "last_error", jtext_or_null(q->last_error));
	return o;
}

json_t *
check_json(const struct check_facts *f, const struct check_verdict *v)
{
	json_t *hosts = json_array();
	json_t *o = json_pack("{s:o, s:s, s:o, s:o, s:i, s:o, s:b}", "domain",
		jtext(f->domain), "verdict", check_result_name(v->result),
		"reason", jtext(v->reason), "next", jtext_or_null(v->next),
		"exit", check_result_exit(v->result), "result_type",
		failure(v->outcome.tls_failure), "connected", f->connected);

	set(o, "host", v->host < f->host_count ? jtext(f->hosts[v->host].name) :
		json_null());
	set(o, "time", integer(f->now_s));
	set(o, "resolver", json_pack("{s:s, s:o}", "state",
		resolver_state_name(f->resolver), "sentence",
		jtext(f->resolver_text)));
	set(o, "relay", json_boolean(f->relay));
	set(o, "mx_lookup", lookup(&f->mx_lookup));
	set(o, "mx_records", published_mx(f));
	set(o, "zones", zones(f));
	set(o, "rules", rules(f));
	for (size_t i = 0; i < f->host_count; i++)
		(void)json_array_append_new(hosts, host(f, &f->hosts[i]));
	set(o, "mx", hosts);
	set(o, "mta_sts", mta_sts(f));
	set(o, "tlsrpt", tlsrpt(f));
	set(o, "queue", queue(&f->queue));
	set(o, "times_ms", json_pack("{s:o, s:o}", "dns", integer(f->dns_ms),
		"total", integer(f->total_ms)));
	return o;
}
