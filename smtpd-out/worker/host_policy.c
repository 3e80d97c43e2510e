/*
 * TLSA lookups for a host, one base domain after the other.
 */
#include "config.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "smtpd-out/worker/host_policy.h"

struct host_policy {
	struct resolver *resolver;
	const struct conf *conf;
	char destination[STR_DOMAIN_MAX];
	const struct route_host *host;
	uint16_t port;
	const struct sockaddr *addrs[SESSION_ADDRS_MAX];
	struct policy_host facts;
	struct policy_plan plan;
	const char *bases[DANE_BASES_MAX];
	size_t base_count, base;	/* base: the one being asked */
	struct dns_request *request;
	enum dane_finding finding;
	bool at_fault;			/* FAILED, but for our resolver */
	int64_t fresh_until_ms;
	struct demand *found;		/* usable records */
	struct tlsa_seen *tlsa;		/* all of them; NULL: none */
	struct event *done_ev;
	host_policy_cb *cb;
	host_policy_seen_cb *seen;
	void *arg;
};

static void
warn_rules(const struct host_policy *p)
{
	const struct conf_destination *rules[] = {
		conf_destination(p->conf, p->destination),
		conf_host(p->conf, p->facts.host),
	};

	for (size_t i = 0; i < 2; i++)
		if (rules[i] != NULL && policy_rule_expired(rules[i],
		    p->facts.now_s) && log_once(rules[i]->match))
			log_warn("rule-expired", "rule", rules[i]->match,
				NULL);
	if (p->plan.overridden)
		log_warn("policy-overridden", "destination", p->destination,
			"mx", p->facts.host, "demand", demand_level_name(
			p->plan.floor->level), NULL);
}

static void
on_done(evutil_socket_t fd, short what, void *arg)
{
	struct host_policy *p = arg;
	struct host_policy_result result = {
		.rule = policy_blame(&p->facts, &p->plan, p->finding),
		.fresh_until_ms = p->fresh_until_ms };
	host_policy_cb *cb = p->cb;
	void *cb_arg = p->arg;

	(void)fd;
	(void)what;
	result.demand = policy_decide(p->conf, &p->facts, &p->plan,
		p->finding, p->found, p->base < p->base_count ?
		p->bases[p->base] : NULL, &result.why);
	/* What our own resolver cannot do is nobody else's failure. */
	if (result.demand == NULL && p->finding == DANE_FAILED &&
	    p->at_fault &&
	    result.why.tls_failure == TLS_FAILURE_DNSSEC_INVALID)
		result.why = outcome_tlsa_unasked(p->facts.host);
	result.tlsa = p->tlsa;
	p->tlsa = NULL;
	host_policy_cancel(&p);
	cb(&result, cb_arg);
}

static void
finish(struct host_policy *p, enum dane_finding finding)
{
	p->finding = finding;
	event_active(p->done_ev, EV_TIMEOUT, 0);
}

static void ask_tlsa(struct host_policy *);

static void
take_ttl(struct host_policy *p, const struct dns_answer *answer)
{
	int64_t until_ms = clock_mono_ms() + (int64_t)answer->ttl_s * 1000;

	if (until_ms < p->fresh_until_ms)
		p->fresh_until_ms = until_ms;
}

static void
on_tlsa(struct dns_answer *answer, void *arg)
{
	struct host_policy *p = arg;
	enum dane_finding finding;

	p->request = NULL;
	finding = dane_read(answer, p->found);
	p->tlsa = tlsa_seen_new(finding, p->bases[p->base], answer);
	p->at_fault = resolver_at_fault(p->resolver, answer);
	take_ttl(p, answer);
	if (p->seen != NULL)
		p->seen(answer, p->arg);
	log_debug("tlsa", "name", answer->name, "result",
		dns_result_name(answer->result), "security",
		dns_security_name(answer->security), "why", answer->why,
		NULL);
	dns_answer_free(&answer);
	if (finding != DANE_NONE) {
		finish(p, finding);
		return;
	}
	p->base++;
	ask_tlsa(p);
}

/* "_25._tcp.mx.example"; a name too long for that has no records. */
static void
ask_tlsa(struct host_policy *p)
{
	char name[STR_DOMAIN_MAX + 16];

	if (p->base >= p->base_count) {
		finish(p, DANE_NONE);
		return;
	}
	(void)snprintf(name, sizeof(name), "_%u._tcp.%s", p->port,
		p->bases[p->base]);
	if (!str_is_domain(name)) {
		p->base++;
		ask_tlsa(p);
		return;
	}
	p->request = resolver_start(p->resolver, name, DNS_TYPE_TLSA, on_tlsa,
		p);
}

/* The addresses at the end of an alias are unsigned; if the alias itself is
 * signed, the host's own name still counts (RFC 7672 2.2.2). */
static void
on_cname(struct dns_answer *answer, void *arg)
{
	struct host_policy *p = arg;

	p->request = NULL;
	take_ttl(p, answer);
	if (answer->result == DNS_LATER) {
		p->at_fault = resolver_at_fault(p->resolver, answer);
		finish(p, DANE_FAILED);
	} else {
		if (answer->result == DNS_FOUND &&
		    answer->security == DNS_SEC_SECURE)
			p->bases[p->base_count++] = p->host->name;
		ask_tlsa(p);
	}
	dns_answer_free(&answer);
}

static void
start(struct host_policy *p)
{
	const struct dane_host facts = {
		.name = p->host->name,
		.mx = p->host->mx_security,
		.address = p->host->address_security,
		.canonical = p->host->canonical,
		.chain = p->host->chain_security,
	};
	bool need_cname = false;

	if (!p->plan.want_tlsa || !str_is_domain(p->host->name)) {
		finish(p, DANE_NONE);
		return;
	}
	p->base_count = dane_bases(&facts, p->bases, &need_cname);
	if (need_cname)
		p->request = resolver_start(p->resolver, p->host->name,
			DNS_TYPE_CNAME, on_cname, p);
	else
		ask_tlsa(p);
}

static void
take_sts(struct host_policy *p, const struct sts_view *sts)
{
	if (sts->what == STS_VIEW_POLICY)
		p->facts.sts = sts->policy;
	else if (sts->what == STS_VIEW_DEFER)
		p->facts.sts_later = &sts->later;
	if (sts->fresh_until_ms < p->fresh_until_ms)
		p->fresh_until_ms = sts->fresh_until_ms;
}

struct host_policy *
host_policy_start(struct event_base *base, struct resolver *resolver,
	const struct conf *conf, const struct host_policy_query *query,
	host_policy_cb *cb, void *arg)
{
	struct host_policy *p = xcalloc(1, sizeof(*p));

	p->resolver = resolver;
	p->conf = conf;
	(void)str_copy(p->destination, sizeof(p->destination),
		query->destination);
	p->host = &query->route->hosts[query->host];
	p->port = query->route->port;
	p->fresh_until_ms = p->host->fresh_until_ms;
	for (size_t i = 0; i < p->host->addr_count; i++)
		p->addrs[i] = (const void *)&p->host->addrs[i].addr;
	p->facts = (struct policy_host){
		.destination = p->destination,
		.host = p->host->name,
		.addrs = p->addrs,
		.addr_count = p->host->addr_count,
		.relay = query->route->relay,
		.mx = p->host->mx_security,
		.message = query->message,
		.now_s = clock_wall_s(),
	};
	if (query->sts != NULL)
		take_sts(p, query->sts);
	p->cb = cb;
	p->seen = query->seen;
	p->arg = arg;
	p->found = demand_new(DEMAND_DANE, WHY_DANE);
	p->done_ev = event_new(base, -1, 0, on_done, p);
	policy_plan(conf, &p->facts, &p->plan);
	warn_rules(p);
	start(p);
	return p;
}

void
host_policy_cancel(struct host_policy **pp)
{
	struct host_policy *p = *pp;

	if (p == NULL)
		return;
	resolver_cancel(&p->request);
	event_free(p->done_ev);
	tlsa_seen_free(&p->tlsa);
	demand_free(&p->found);
	policy_plan_clear(&p->plan);
	mem_free(pp);
}
