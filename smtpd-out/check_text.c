/*
 * The report of `check` as text.  Output that finds no room is cut: only people
 * read it.
 */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "smtpd-out/check_text.h"
#include "smtpd-out/check_words.h"

#define LABEL_WIDTH 12
#define INDENT (LABEL_WIDTH + 2)
#define LINE_BYTES_MAX 8192
#define DAY_S INT64_C(86400)
#define SOON_S (14 * DAY_S)	/* a certificate that ends */
#define DATA_SHOWN 16		/* bytes of a TLSA record, unless verbose */

enum tone { TONE_NONE = 0, TONE_GOOD, TONE_WARN, TONE_BAD, TONE_DIM,
	TONE_STRONG };

struct page {
	const struct check_style *style;
	struct buf *out;
	int64_t now_s;
	size_t column;
};

/* ---- rows ---- */

/* Columns of a text, as far as one per character goes. */
static size_t
columns(const char *text, size_t len)
{
	size_t count = 0;

	for (size_t i = 0; i < len; i++)
		count += ((unsigned char)text[i] & 0xc0) != 0x80;
	return count;
}

/* Text with the spaces before its words; a word that finds no room begins a
 * new line below the row. */
static void
flow(struct page *p, const char *text)
{
	while (*text != '\0') {
		size_t gap = strspn(text, " ");
		size_t len = gap + strcspn(text + gap, " ");
		size_t wide = columns(text, len);

		if (p->style->width > 0 && gap > 0 && p->column + wide >
		    p->style->width && p->column > INDENT) {
			(void)!buf_printf(p->out, "\n%*s", INDENT, "");
			p->column = INDENT;
			text += gap;
			len -= gap;
			wide -= gap;
		}
		(void)!buf_put(p->out, text, len);
		p->column += wide;
		text += len;
	}
}

static void
put(struct page *p, enum tone tone, const char *text)
{
	static const char *const codes[] = { "", "\033[32m", "\033[33m",
		"\033[31m", "\033[2m", "\033[1m" };
	bool paint = p->style->colour && tone != TONE_NONE;

	if (paint)
		(void)!buf_puts(p->out, codes[tone]);
	flow(p, text);
	if (paint)
		(void)!buf_puts(p->out, "\033[0m");
}

static void putf(struct page *, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void
putf(struct page *p, const char *fmt, ...)
{
	struct buf text;
	va_list ap;

	buf_init(&text, LINE_BYTES_MAX);
	va_start(ap, fmt);
	if (buf_vprintf(&text, fmt, ap) == ST_OK && buf_put(&text, "", 1) ==
	    ST_OK)
		put(p, TONE_NONE, (const char *)buf_data(&text));
	va_end(ap);
	buf_clear(&text);
}

static void
end(struct page *p)
{
	(void)!buf_puts(p->out, "\n");
	p->column = 0;
}

static void
label(struct page *p, const char *name)
{
	char text[LABEL_WIDTH + 8];

	(void)snprintf(text, sizeof(text), "  %-*s", LABEL_WIDTH, name);
	put(p, TONE_DIM, text);
}

static void
row(struct page *p, const char *name, const char *text)
{
	label(p, name);
	put(p, TONE_NONE, text);
	end(p);
}

void
check_text_row(const char *name, const char *text,
	const struct check_style *style, struct buf *out)
{
	struct page p = { .style = style, .out = out };

	row(&p, name, text);
}

static enum tone
tone_of(enum dns_security s)
{
	return s == DNS_SEC_SECURE ? TONE_GOOD : s == DNS_SEC_BOGUS ||
		s == DNS_SEC_INDETERMINATE ? TONE_BAD : TONE_WARN;
}

/* "  secure", and why not. */
static void
put_security(struct page *p, const struct check_lookup *l)
{
	put(p, TONE_NONE, "  ");
	put(p, tone_of(l->security), dns_security_name(l->security));
	if (l->why[0] != '\0') {
		put(p, TONE_NONE, ": ");
		put(p, TONE_NONE, l->why);
	}
}

static void
date(int64_t unix_s, bool with_time, char out[32])
{
	time_t t = (time_t)unix_s;
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL || strftime(out, 32, with_time ?
	    "%Y-%m-%d %H:%M:%S UTC" : "%Y-%m-%d", &tm) == 0)
		(void)str_copy(out, 32, "?");
}

static void
put_list(struct page *p, char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		putf(p, "%s%s", i > 0 ? ", " : "", list[i]);
}

/* ---- the verdict ---- */

static void
say_verdict(struct page *p, const struct check_facts *f,
	const struct check_verdict *v)
{
	static const enum tone tones[] = { TONE_GOOD, TONE_GOOD, TONE_GOOD,
		TONE_GOOD, TONE_WARN, TONE_WARN, TONE_BAD, TONE_BAD };

	put(p, TONE_STRONG, f->domain);
	put(p, TONE_NONE, ": ");
	put(p, tones[v->result], check_result_name(v->result));
	end(p);
	row(p, "verdict", v->reason);
	if (v->next[0] != '\0')
		row(p, "next", v->next);
}

/* ---- the domain ---- */

static void
say_mx(struct page *p, const struct check_facts *f)
{
	const struct check_lookup *l = &f->mx_lookup;

	if (f->relay) {
		row(p, "relay", "a local rule names the host; no MX is asked "
			"for");
		return;
	}
	if (!l->asked)
		return;
	label(p, "MX");
	if (l->result == DNS_FOUND) {
		putf(p, "%zu record%s", f->mx_total,
			f->mx_total == 1 ? "" : "s");
	} else {
		put(p, l->result == DNS_LATER ? TONE_BAD : TONE_NONE,
			l->result == DNS_NODATA ? "none: the domain itself is "
			"the host" : l->result == DNS_NXDOMAIN ?
			"the domain does not exist" : "no usable answer");
	}
	put_security(p, l);
	end(p);
	for (size_t i = 0; i < f->mx_count; i++) {
		label(p, "");
		putf(p, "%5u %s", f->mx[i].preference,
			f->mx[i].host[0] == '\0' ? ". (takes no mail)" :
			f->mx[i].host);
		end(p);
	}
	for (size_t i = 0; p->style->verbose && i < f->zone_count; i++) {
		label(p, i == 0 ? "zones" : "");
		putf(p, "%-28s %s", f->zones[i].name,
			f->zones[i].text);
		end(p);
	}
}

static void
say_policy(struct page *p, const struct sts_policy *policy)
{
	put(p, policy->mode == STS_MODE_ENFORCE ? TONE_GOOD : TONE_WARN,
		sts_mode_name(policy->mode));
	if (policy->mx_count > 0) {
		put(p, TONE_NONE, ", for ");
		put_list(p, policy->mx, policy->mx_count > 8 &&
			!p->style->verbose ? 8 : policy->mx_count);
	}
	putf(p, ", max_age %lld",
		(long long)policy->max_age_s);
}

static void
say_view(struct page *p, const struct check_sts *s)
{
	const struct sts_view *v = s->view;

	if (v == NULL)
		return;
	label(p, "  policy");
	if (v->what == STS_VIEW_DEFER) {
		put(p, TONE_BAD, v->later.text);
	} else if (v->what == STS_VIEW_POLICY) {
		say_policy(p, v->policy);
		putf(p, " (%s)",
			sts_source_name(v->source));
	} else {
		put(p, TONE_NONE, "none in force");
	}
	end(p);
	if (v->failure != TLS_FAILURE_NONE) {
		label(p, "");
		put(p, TONE_BAD, tls_failure_name(v->failure));
		putf(p, ": %s", v->reason);
		end(p);
	}
}

static void
say_sts(struct page *p, const struct check_facts *f)
{
	const struct check_sts *s = &f->sts;

	if (!s->wanted)
		return;
	label(p, "MTA-STS");
	if (s->finding == STS_FINDING_RECORD)
		putf(p, "record with id %s", s->record_id);
	else if (s->finding == STS_FINDING_NONE)
		put(p, TONE_NONE, "no record");
	else
		put(p, TONE_BAD, s->record_why);
	end(p);
	if (s->finding != STS_FINDING_NONE || (s->view != NULL &&
	    s->view->what != STS_VIEW_NONE))
		say_view(p, s);
	if (!s->live_asked)
		return;
	label(p, "  live");
	if (s->live != NULL)
		say_policy(p, s->live);
	else
		putf(p, "%s: %s",
			tls_failure_name(s->live_failure), s->live_why);
	end(p);
}

static void
say_tlsrpt(struct page *p, const struct check_facts *f)
{
	const struct check_tlsrpt *t = &f->tlsrpt;

	if (!t->lookup.asked)
		return;
	label(p, "TLSRPT");
	if (t->record == NULL) {
		put(p, t->finding == TLSRPT_FINDING_NONE ? TONE_NONE :
			TONE_BAD, t->finding == TLSRPT_FINDING_NONE ?
			"nobody asks for reports" : t->why);
	}
	for (size_t i = 0; t->record != NULL && i < t->record->rua_count;
	    i++)
		putf(p, "%s%s", i > 0 ? ", " : "", t->record->rua[i].uri);
	end(p);
}

static void
say_rules(struct page *p, const struct check_facts *f)
{
	char until[32];

	for (size_t i = 0; i < f->rule_count; i++) {
		const struct check_rule *r = &f->rules[i];

		label(p, i == 0 ? "local rule" : "");
		putf(p, "%s \"%s\": tls = %s%s", r->of_host ?
			"host" : "destination", r->match,
			check_rule_tls(r->tls), r->override ? " override" :
			"");
		if (r->until_s != 0) {
			date(r->until_s - 1, false, until);
			putf(p, " until %s", until);
		}
		if (r->expired)
			put(p, TONE_WARN, " (over: it does not count)");
		end(p);
	}
}

static void
say_queue(struct page *p, const struct check_queue *q)
{
	char next[32];

	if (q->state == CHECK_DAEMON_DENIED || q->state ==
	    CHECK_DAEMON_FAILED)
		row(p, "queue", q->state == CHECK_DAEMON_DENIED ? "the daemon "
			"answers root and its own user only" :
			"the daemon does not answer");
	if (q->state != CHECK_DAEMON_ASKED)
		return;
	label(p, "queue");
	if (q->waiting + q->held + q->active == 0) {
		put(p, TONE_NONE, "nothing waits");
	} else {
		putf(p, "%s%llu waiting, %llu held, %llu "
			"being tried", q->more ? "more than " : "",
			(unsigned long long)q->waiting,
			(unsigned long long)q->held,
			(unsigned long long)q->active);
	}
	if (q->next_s != 0) {
		date(q->next_s, true, next);
		putf(p, "; next attempt %s", next);
	}
	end(p);
	if (q->last_error[0] != '\0')
		row(p, "  last error", q->last_error);
}

/* ---- certificates ---- */

static void
say_dates(struct page *p, const struct cert_info *c)
{
	char from[32], to[32];
	enum tone tone = c->not_after_s < p->now_s || c->not_before_s >
		p->now_s ? TONE_BAD : c->not_after_s < p->now_s + SOON_S ?
		TONE_WARN : TONE_NONE;

	date(c->not_before_s, false, from);
	date(c->not_after_s, false, to);
	label(p, "");
	put(p, tone, "valid ");
	put(p, tone, from);
	put(p, tone, " to ");
	put(p, tone, to);
	putf(p, ", key %s, %s", c->key, c->signature);
	end(p);
}

static void
say_cert(struct page *p, const struct cert_info *c, bool first)
{
	size_t shown = p->style->verbose || c->name_count <= 6 ?
		c->name_count : 6;

	label(p, first ? "certificate" : "  and");
	put(p, TONE_NONE, c->subject[0] == '\0' ? "(no subject)" : c->subject);
	put(p, TONE_NONE, c->self_issued ? ", issued by itself" :
		", issued by ");
	put(p, TONE_NONE, c->self_issued ? "" : c->issuer);
	end(p);
	if (shown > 0) {
		label(p, "");
		put(p, TONE_NONE, "for ");
		put_list(p, c->names, shown);
		if (shown < c->name_total)
			putf(p, " and %zu more",
				c->name_total - shown);
		end(p);
	}
	if (first || p->style->verbose)
		say_dates(p, c);
	if (!first && !p->style->verbose)
		return;
	label(p, "");
	putf(p, "SHA-256 %s", c->print);
	end(p);
	label(p, "");
	putf(p, "of key  %s", c->key_print);
	end(p);
}

static void
say_tls(struct page *p, const struct cert_report *r)
{
	label(p, "TLS");
	if (r->protocol[0] == '\0')
		put(p, TONE_BAD, "no handshake");
	else
		putf(p, "%s, %s%s%s", r->protocol, r->cipher,
			r->group[0] != '\0' ? ", " : "", r->group);
	end(p);
	for (size_t i = 0; i < r->count; i++)
		say_cert(p, &r->certs[i], i == 0);
	if (r->pkix_name[0] == '\0')
		return;
	label(p, "authorities");
	put(p, r->pkix == TLS_FAILURE_NONE ? TONE_GOOD : TONE_NONE, r->pkix ==
		TLS_FAILURE_NONE ? "a known one vouches for " :
		"none that is known vouches for ");
	put(p, TONE_NONE, r->pkix_name);
	if (r->pkix != TLS_FAILURE_NONE)
		putf(p, ": %s", r->pkix_text);
	end(p);
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

	label(p, "");
	putf(p, "%u %u %u %s%s  ", t->usage, t->selector,
		t->matching, data, len < t->len ? "..." : "");
	put(p, usable ? TONE_NONE : TONE_WARN, usable ? "usable" : t->secure ?
		dane_fault_text(t->fault) : "ignored: not signed");
	if (usable && t->matched == CHECK_NO_MATCH)
		put(p, TONE_WARN, ", fits no certificate of the chain");
	else if (usable && t->matched == 0)
		put(p, TONE_GOOD, ", fits the certificate");
	else if (usable && t->matched > 0)
		put(p, TONE_GOOD, ", fits the chain");
	end(p);
	free(data);
}

static void
say_tlsa(struct page *p, const struct check_host *h)
{
	for (size_t i = 0; i < h->tlsa_count; i++) {
		const struct check_tlsa_set *s = &h->tlsa[i];

		label(p, i == 0 ? "TLSA" : "");
		put(p, TONE_NONE, s->name);
		put(p, TONE_NONE, s->lookup.result == DNS_FOUND ? "" :
			s->lookup.result == DNS_LATER ? ": no usable answer" :
			": none");
		put_security(p, &s->lookup);
		end(p);
		for (size_t n = 0; n < s->count; n++)
			say_tlsa_record(p, &s->records[n]);
	}
	if (h->tlsa_count == 0 && h->addr_count > 0)
		row(p, "TLSA", h->address_security == DNS_SEC_SECURE ?
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

	label(p, "addresses");
	for (size_t i = 0; i < h->addr_count; i++)
		putf(p, "%s%s", i > 0 ? ", " : "", h->addrs[i]);
	if (h->addr_count == 0)
		put(p, TONE_BAD, "none");
	if (l->asked)
		put_security(p, l);
	end(p);
	if (h->canonical[0] != '\0' && strcmp(h->canonical, h->name) != 0)
		row(p, "alias of", h->canonical);
}

static void
say_demand(struct page *p, const struct check_facts *f,
	const struct check_host *h)
{
	const char *why;

	label(p, "demand");
	if (h->demand == NULL) {
		put(p, TONE_BAD, h->skipped.text);
	} else {
		putf(p, "%s (%s)", demand_level_name(
			h->demand->level), demand_why_name(h->rule));
		if (h->demand->name_count > 0) {
			put(p, TONE_NONE, ", for ");
			put_list(p, h->demand->names, h->demand->name_count);
		}
	}
	end(p);
	if (f->sts.view != NULL && f->sts.view->what == STS_VIEW_POLICY &&
	    !h->sts_listed) {
		label(p, "");
		put(p, TONE_WARN, "the MTA-STS policy does not name this "
			"host");
		end(p);
	}
	if (check_watched(h, &why) != TLS_FAILURE_NONE) {
		label(p, "");
		put(p, TONE_WARN, tls_failure_name(check_watched(h, &why)));
		putf(p, " by the MTA-STS policy, which does "
			"not decide here: %s", why);
		end(p);
	}
}

static void
say_times(struct page *p, const struct check_session *s)
{
	const char *between = "";

	label(p, "times");
	for (unsigned i = 0; i < CHECK_PHASES; i++) {
		if (s->ms[i] < 0)
			continue;
		putf(p, "%s%s %lld ms", between,
			check_phase_name(i), (long long)s->ms[i]);
		between = ", ";
	}
	end(p);
}

static void
say_words(struct page *p, const char *name, const struct check_words *w)
{
	if (w->count == 0)
		return;
	label(p, name);
	put_list(p, w->words, w->count);
	end(p);
}

static void
say_session(struct page *p, const struct check_session *s)
{
	if (s->clear)
		row(p, "again", "in clear text");
	if (s->info.ip[0] != '\0')
		row(p, "connected", s->info.ip);
	if (s->banner[0] != '\0')
		row(p, "banner", s->banner);
	say_words(p, "EHLO", &s->ehlo);
	if (s->cert != NULL)
		say_tls(p, s->cert);
	say_words(p, "EHLO (TLS)", &s->ehlo_tls);
	if (s->ehlo_tls.count > 0)
		row(p, "REQUIRETLS", s->requiretls ? "offered" :
			"not offered");
	say_times(p, s);
	label(p, "result");
	put(p, s->up ? TONE_GOOD : TONE_BAD, s->up ? "takes mail" :
		s->why.text);
	if (!s->up && s->why.tls_failure != TLS_FAILURE_NONE)
		putf(p, " (%s)", tls_failure_name(
			s->why.tls_failure));
	end(p);
}

static void
say_host(struct page *p, const struct check_facts *f,
	const struct check_host *h)
{
	end(p);
	put(p, TONE_STRONG, h->name);
	if (!f->relay && h->name[0] != '[')
		putf(p, ", preference %u", h->preference);
	end(p);
	say_addresses(p, h);
	say_tlsa(p, h);
	say_demand(p, f, h);
	if (h->auth_left_out)
		row(p, "password", "not tried");
	for (size_t i = 0; i < h->try_count; i++)
		say_session(p, &h->tries[i]);
	if (h->try_count == 0)
		row(p, "result", h->demand == NULL ? "not used" :
			"not connected to");
}

void
check_text(const struct check_facts *f, const struct check_verdict *v,
	const struct check_style *style, struct buf *out)
{
	struct page p = { .style = style, .out = out, .now_s = f->now_s };

	say_verdict(&p, f, v);
	label(&p, "resolver");
	put(&p, f->resolver == RESOLVER_VALIDATING || f->resolver ==
		RESOLVER_TRUSTING ? TONE_NONE : TONE_BAD, f->resolver ==
		RESOLVER_VALIDATING ? "DNSSEC is validated here, and works" :
		f->resolver_text);
	end(&p);
	say_mx(&p, f);
	say_sts(&p, f);
	say_tlsrpt(&p, f);
	say_rules(&p, f);
	say_queue(&p, &f->queue);
	if (style->verbose) {
		label(&p, "times");
		putf(&p, "DNS %lld ms, in all %lld ms", (long long)f->dns_ms,
			(long long)f->total_ms);
		end(&p);
	}
	for (size_t i = 0; i < f->host_count; i++)
		say_host(&p, f, &f->hosts[i]);
}
