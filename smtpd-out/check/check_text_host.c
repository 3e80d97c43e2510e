/*
 * The report of `check` as text: each host, and the certificates it shows.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "smtpd-out/check/check_text_int.h"
#include "smtpd-out/check/check_words.h"

#define DAY_S INT64_C(86400)
#define SOON_S (14 * DAY_S)	/* a certificate that ends */
#define DATA_SHOWN 16		/* bytes of a TLSA record, unless verbose */

/* ---- certificates ---- */

static void
say_dates(struct page *p, const struct cert_info *c)
{
	char from[32], to[32];
	enum tone tone = c->not_after_s < p->now_s || c->not_before_s >
		p->now_s ? TONE_BAD : c->not_after_s < p->now_s + SOON_S ?
		TONE_WARN : TONE_NONE;

	page_date(c->not_before_s, false, from);
	page_date(c->not_after_s, false, to);
	page_label(p, "");
	page_put(p, tone, "valid ");
	page_put(p, tone, from);
	page_put(p, tone, " to ");
	page_put(p, tone, to);
	page_printf(p, ", key %s, %s", c->key, c->signature);
	page_end(p);
}

static void
say_cert(struct page *p, const struct cert_info *c, bool first)
{
	size_t shown = p->style->verbose || c->name_count <= 6 ?
		c->name_count : 6;

	page_label(p, first ? "certificate" : "  and");
	page_put(p, TONE_NONE, c->subject[0] == '\0' ? "(no subject)" :
		c->subject);
	page_put(p, TONE_NONE, c->self_issued ? ", issued by itself" :
		", issued by ");
	page_put(p, TONE_NONE, c->self_issued ? "" : c->issuer);
	page_end(p);
	if (shown > 0) {
		page_label(p, "");
		page_put(p, TONE_NONE, "for ");
		page_list(p, c->names, shown);
		if (shown < c->name_total)
			page_printf(p, " and %zu more",
				c->name_total - shown);
		page_end(p);
	}
	if (first || p->style->verbose)
		say_dates(p, c);
	if (!first && !p->style->verbose)
		return;
	page_label(p, "");
	page_printf(p, "SHA-256 %s", c->print);
	page_end(p);
	page_label(p, "");
	page_printf(p, "of key  %s", c->key_print);
	page_end(p);
}

static void
say_tls(struct page *p, const struct cert_report *r)
{
	page_label(p, "TLS");
	if (r->protocol[0] == '\0')
		page_put(p, TONE_BAD, "no handshake");
	else
		page_printf(p, "%s, %s%s%s", r->protocol, r->cipher,
			r->group[0] != '\0' ? ", " : "", r->group);
	page_end(p);
	for (size_t i = 0; i < r->count; i++)
		say_cert(p, &r->certs[i], i == 0);
	if (r->pkix_name[0] == '\0')
		return;
	page_label(p, "authorities");
	page_put(p, r->pkix == TLS_FAILURE_NONE ? TONE_GOOD : TONE_NONE,
		r->pkix == TLS_FAILURE_NONE ? "a known one vouches for " :
		"none that is known vouches for ");
	page_put(p, TONE_NONE, r->pkix_name);
	if (r->pkix != TLS_FAILURE_NONE)
		page_printf(p, ": %s", r->pkix_text);
	page_end(p);
}

void
check_text_tls(const struct cert_report *r, int64_t now_s,
	const struct check_style *style, struct buf *out)
{
	struct page p = { .style = style, .out = out, .now_s = now_s };

	say_tls(&p, r);
}

/* ---- hosts ---- */

static void
say_tlsa_record(struct page *p, const struct check_tlsa *t)
{
	bool usable = t->secure && t->fault == DANE_USABLE;
	size_t len = !p->style->verbose && t->len > DATA_SHOWN ? DATA_SHOWN :
		t->len;
	char *data = check_hex(t->data, len);

	page_label(p, "");
	page_printf(p, "%u %u %u %s%s  ", t->usage, t->selector,
		t->matching, data, len < t->len ? "..." : "");
	page_put(p, usable ? TONE_NONE : TONE_WARN, usable ? "usable" :
		t->secure ? dane_fault_text(t->fault) :
		"ignored: not signed");
	if (usable && t->matched == CHECK_NO_MATCH)
		page_put(p, TONE_WARN, ", fits no certificate of the chain");
	else if (usable && t->matched == 0)
		page_put(p, TONE_GOOD, ", fits the certificate");
	else if (usable && t->matched > 0)
		page_put(p, TONE_GOOD, ", fits the chain");
	page_end(p);
	free(data);
}

static void
say_tlsa(struct page *p, const struct check_host *h)
{
	for (size_t i = 0; i < h->tlsa_count; i++) {
		const struct check_tlsa_set *s = &h->tlsa[i];

		page_label(p, i == 0 ? "TLSA" : "");
		page_put(p, TONE_NONE, s->name);
		page_put(p, TONE_NONE, s->lookup.result == DNS_FOUND ? "" :
			s->lookup.result == DNS_LATER ? ": no usable answer" :
			": none");
		page_security(p, &s->lookup);
		page_end(p);
		for (size_t n = 0; n < s->count; n++)
			say_tlsa_record(p, &s->records[n]);
	}
	if (h->tlsa_count == 0 && h->addr_count > 0)
		page_row(p, "TLSA", h->address_security == DNS_SEC_SECURE ?
			"not asked for: a local rule decides" :
			h->address_security == DNS_SEC_UNKNOWN ?
			"not asked for: nothing proves the addresses" :
			"not asked for: the addresses are not signed");
}

static void
say_addresses(struct page *p, const struct check_host *h)
{
	const struct check_lookup *l = h->a.result == DNS_FOUND ||
		!h->aaaa.asked ? &h->a : &h->aaaa;

	page_label(p, "addresses");
	for (size_t i = 0; i < h->addr_count; i++)
		page_printf(p, "%s%s", i > 0 ? ", " : "", h->addrs[i]);
	if (h->addr_count == 0)
		page_put(p, TONE_BAD, "none");
	if (l->asked)
		page_security(p, l);
	page_end(p);
	if (h->canonical[0] != '\0' && strcmp(h->canonical, h->name) != 0)
		page_row(p, "alias of", h->canonical);
}

static void
say_demand(struct page *p, const struct check_facts *f,
	const struct check_host *h)
{
	const char *why;

	page_label(p, "demand");
	if (h->demand == NULL) {
		page_put(p, TONE_BAD, h->skipped.text);
	} else {
		page_printf(p, "%s (%s)", demand_level_name(
			h->demand->level), demand_why_name(h->rule));
		if (h->demand->name_count > 0) {
			page_put(p, TONE_NONE, ", for ");
			page_list(p, h->demand->names, h->demand->name_count);
		}
	}
	page_end(p);
	if (f->sts.view != NULL && f->sts.view->what == STS_VIEW_POLICY &&
	    !h->sts_listed) {
		page_label(p, "");
		page_put(p, TONE_WARN, "the MTA-STS policy does not name this "
			"host");
		page_end(p);
	}
	if (check_watched(h, &why) != TLS_FAILURE_NONE) {
		page_label(p, "");
		page_put(p, TONE_WARN, tls_failure_name(check_watched(h,
			&why)));
		page_printf(p, " by the MTA-STS policy, which does "
			"not decide here: %s", why);
		page_end(p);
	}
}

static void
say_times(struct page *p, const struct check_session *s)
{
	const char *between = "";

	page_label(p, "times");
	for (unsigned i = 0; i < CHECK_PHASES; i++) {
		if (s->ms[i] < 0)
			continue;
		page_printf(p, "%s%s %lld ms", between,
			check_phase_name(i), (long long)s->ms[i]);
		between = ", ";
	}
	page_end(p);
}

static void
say_words(struct page *p, const char *name, const struct check_words *w)
{
	if (w->count == 0)
		return;
	page_label(p, name);
	page_list(p, w->words, w->count);
	page_end(p);
}

static void
say_session(struct page *p, const struct check_session *s)
{
	if (s->clear)
		page_row(p, "again", "in clear text");
	if (s->info.ip[0] != '\0')
		page_row(p, "connected", s->info.ip);
	if (s->banner[0] != '\0')
		page_row(p, "banner", s->banner);
	say_words(p, "EHLO", &s->ehlo);
	if (s->cert != NULL)
		say_tls(p, s->cert);
	say_words(p, "EHLO (TLS)", &s->ehlo_tls);
	if (s->ehlo_tls.count > 0)
		page_row(p, "REQUIRETLS", s->requiretls ? "offered" :
			"not offered");
	say_times(p, s);
	page_label(p, "result");
	page_put(p, s->up ? TONE_GOOD : TONE_BAD, s->up ? "takes mail" :
		s->why.text);
	if (!s->up && s->why.tls_failure != TLS_FAILURE_NONE)
		page_printf(p, " (%s)", tls_failure_name(
			s->why.tls_failure));
	page_end(p);
}

static void
say_password(struct page *p, const struct check_host *h)
{
	static const struct {
		enum tone tone;
		const char *text;
	} rows[] = {
		[CHECK_AUTH_LEFT_OUT] = { TONE_WARN, "not tried: --auth does" },
		[CHECK_AUTH_HIDDEN] = { TONE_WARN, "not tried: " },
		[CHECK_AUTH_UNUSABLE] = { TONE_BAD, "cannot be used: " },
		[CHECK_AUTH_ACCEPTED] = { TONE_GOOD, "accepted" },
		[CHECK_AUTH_REFUSED] = { TONE_BAD, "refused" },
	};

	if (h->auth == CHECK_AUTH_NONE)
		return;
	page_label(p, "password");
	page_put(p, rows[h->auth].tone, rows[h->auth].text);
	page_put(p, TONE_NONE, h->auth_why);
	page_end(p);
}

void
check_text_host(struct page *p, const struct check_facts *f,
	const struct check_host *h)
{
	page_end(p);
	page_put(p, TONE_STRONG, h->name);
	if (!f->relay && h->name[0] != '[')
		page_printf(p, ", preference %u", h->preference);
	page_end(p);
	say_addresses(p, h);
	say_tlsa(p, h);
	say_demand(p, f, h);
	say_password(p, h);
	for (size_t i = 0; i < h->try_count; i++)
		say_session(p, &h->tries[i]);
	if (h->try_count == 0)
		page_row(p, "result", h->demand == NULL ? "not used" :
			"not connected to");
}
