/*
 * The report of `check` as text: the verdict, and what is known of the domain.
 */
#include "config.h"

#include "smtpd-out/check/check_text_int.h"
#include "smtpd-out/check/check_words.h"

/* ---- the verdict ---- */

static void
say_verdict(struct page *p, const struct check_facts *f,
	const struct check_verdict *v)
{
	static const enum tone tones[] = { TONE_GOOD, TONE_GOOD, TONE_GOOD,
		TONE_GOOD, TONE_WARN, TONE_WARN, TONE_BAD, TONE_BAD };

	page_put(p, TONE_STRONG, f->domain);
	page_put(p, TONE_NONE, ": ");
	page_put(p, tones[v->result], check_result_name(v->result));
	page_end(p);
	page_row(p, "verdict", v->reason);
	if (v->next[0] != '\0')
		page_row(p, "next", v->next);
}

/* ---- the domain ---- */

static void
say_mx(struct page *p, const struct check_facts *f)
{
	const struct check_lookup *l = &f->mx_lookup;

	if (f->relay) {
		page_row(p, "relay", "a local rule names the host; no MX is "
			"asked for");
		return;
	}
	if (!l->asked)
		return;
	page_label(p, "MX");
	if (l->result == DNS_FOUND) {
		page_printf(p, "%zu record%s", f->mx_total,
			f->mx_total == 1 ? "" : "s");
	} else {
		page_put(p, l->result == DNS_LATER ? TONE_BAD : TONE_NONE,
			l->result == DNS_NODATA ? "none: the domain itself is "
			"the host" : l->result == DNS_NXDOMAIN ?
			"the domain does not exist" : "no usable answer");
	}
	page_security(p, l);
	page_end(p);
	for (size_t i = 0; i < f->mx_count; i++) {
		page_label(p, "");
		page_printf(p, "%5u %s", f->mx[i].preference,
			f->mx[i].host[0] == '\0' ? ". (takes no mail)" :
			f->mx[i].host);
		page_end(p);
	}
	for (size_t i = 0; p->style->verbose && i < f->zone_count; i++) {
		page_label(p, i == 0 ? "zones" : "");
		page_printf(p, "%-28s %s", f->zones[i].name,
			f->zones[i].text);
		page_end(p);
	}
}

static void
say_policy(struct page *p, const struct sts_policy *policy)
{
	page_put(p, policy->mode == STS_MODE_ENFORCE ? TONE_GOOD : TONE_WARN,
		sts_mode_name(policy->mode));
	if (policy->mx_count > 0) {
		page_put(p, TONE_NONE, ", for ");
		page_list(p, policy->mx, policy->mx_count > 8 &&
			!p->style->verbose ? 8 : policy->mx_count);
	}
	page_printf(p, ", max_age %lld",
		(long long)policy->max_age_s);
}

static void
say_view(struct page *p, const struct check_sts *s)
{
	const struct sts_view *v = s->view;

	if (v == NULL)
		return;
	page_label(p, "  policy");
	if (v->what == STS_VIEW_DEFER) {
		page_put(p, TONE_BAD, v->later.text);
	} else if (v->what == STS_VIEW_POLICY) {
		say_policy(p, v->policy);
		page_printf(p, " (%s)",
			sts_source_name(v->source));
	} else {
		page_put(p, TONE_NONE, "none in force");
	}
	page_end(p);
	if (v->failure != TLS_FAILURE_NONE) {
		page_label(p, "");
		page_put(p, TONE_BAD, tls_failure_name(v->failure));
		page_printf(p, ": %s", v->reason);
		page_end(p);
	}
}

static void
say_sts(struct page *p, const struct check_facts *f)
{
	const struct check_sts *s = &f->sts;

	if (!s->wanted)
		return;
	page_label(p, "MTA-STS");
	if (s->finding == STS_FINDING_RECORD)
		page_printf(p, "record with id %s", s->record_id);
	else if (s->finding == STS_FINDING_NONE)
		page_put(p, TONE_NONE, "no record");
	else
		page_put(p, TONE_BAD, s->record_why);
	page_end(p);
	if (s->finding != STS_FINDING_NONE || (s->view != NULL &&
	    s->view->what != STS_VIEW_NONE))
		say_view(p, s);
	if (!s->live_asked)
		return;
	page_label(p, "  live");
	if (s->live != NULL)
		say_policy(p, s->live);
	else
		page_printf(p, "%s: %s",
			tls_failure_name(s->live_failure), s->live_why);
	page_end(p);
}

static void
say_tlsrpt(struct page *p, const struct check_facts *f)
{
	const struct check_tlsrpt *t = &f->tlsrpt;

	if (!t->lookup.asked)
		return;
	page_label(p, "TLSRPT");
	if (t->record == NULL) {
		page_put(p, t->finding == TLSRPT_FINDING_NONE ? TONE_NONE :
			TONE_BAD, t->finding == TLSRPT_FINDING_NONE ?
			"nobody asks for reports" : t->why);
	}
	for (size_t i = 0; t->record != NULL && i < t->record->rua_count;
	    i++)
		page_printf(p, "%s%s", i > 0 ? ", " : "",
			t->record->rua[i].uri);
	page_end(p);
}

static void
say_rules(struct page *p, const struct check_facts *f)
{
	char until[32];

	for (size_t i = 0; i < f->rule_count; i++) {
		const struct check_rule *r = &f->rules[i];

		page_label(p, i == 0 ? "local rule" : "");
		page_printf(p, "%s \"%s\": tls = %s%s", r->of_host ?
			"host" : "destination", r->match,
			check_rule_tls(r->tls), r->override ? " override" :
			"");
		if (r->until_s != 0) {
			page_date(r->until_s - 1, false, until);
			page_printf(p, " until %s", until);
		}
		if (r->expired)
			page_put(p, TONE_WARN, " (over: it does not count)");
		page_end(p);
	}
}

static void
say_queue(struct page *p, const struct check_queue *q)
{
	char next[32];

	if (q->state == CHECK_DAEMON_DENIED || q->state ==
	    CHECK_DAEMON_FAILED)
		page_row(p, "queue", q->state == CHECK_DAEMON_DENIED ?
			"the daemon answers root and its own user only" :
			"the daemon does not answer");
	if (q->state != CHECK_DAEMON_ASKED)
		return;
	page_label(p, "queue");
	if (q->waiting + q->held + q->active == 0) {
		page_put(p, TONE_NONE, "nothing waits");
	} else {
		page_printf(p, "%s%llu waiting, %llu held, %llu "
			"being tried", q->more ? "more than " : "",
			(unsigned long long)q->waiting,
			(unsigned long long)q->held,
			(unsigned long long)q->active);
	}
	if (q->next_s != 0) {
		page_date(q->next_s, true, next);
		page_printf(p, "; next attempt %s", next);
	}
	page_end(p);
	if (q->paused) {
		page_label(p, "");
		page_put(p, TONE_WARN, "paused by the operator: no mail is "
			"handed out");
		page_end(p);
	} else if (q->hold_until_s != 0) {
		page_date(q->hold_until_s, true, next);
		page_label(p, "");
		page_printf(p, "down, waits until %s: %s", next,
			q->hold_reason);
		page_end(p);
	}
	if (q->last_error[0] != '\0')
		page_row(p, "last error", q->last_error);
}

void
check_text(const struct check_facts *f, const struct check_verdict *v,
	const struct check_style *style, struct buf *out)
{
	struct page p = { .style = style, .out = out, .now_s = f->now_s };

	say_verdict(&p, f, v);
	page_label(&p, "resolver");
	page_put(&p, f->resolver == RESOLVER_VALIDATING || f->resolver ==
		RESOLVER_TRUSTING ? TONE_NONE : TONE_BAD, f->resolver ==
		RESOLVER_VALIDATING ? "DNSSEC is validated here, and works" :
		f->resolver_text);
	page_end(&p);
	say_mx(&p, f);
	say_sts(&p, f);
	say_tlsrpt(&p, f);
	say_rules(&p, f);
	say_queue(&p, &f->queue);
	if (style->verbose) {
		page_label(&p, "times");
		page_printf(&p, "DNS %lld ms, in all %lld ms",
			(long long)f->dns_ms, (long long)f->total_ms);
		page_end(&p);
	}
	for (size_t i = 0; i < f->host_count; i++)
		check_text_host(&p, f, &f->hosts[i]);
}
