/*
 * The questions of one domain, and when they are all answered.
 *
 *	DNS      MX, _smtp._tls, _mta-sts for the report; route and MTA-STS
 *	         policy as delivery asks for them
 *	HOSTS    each host: addresses for the report, policy, sessions; beside
 *	         that what the domain publishes, when a cached policy is used
 *	RECHECK  when the policy rules all hosts out it is looked up once more,
 *	         as delivery does (RFC 8461 section 5.1); then HOSTS again for
 *	         those that it failed
 *
 * Answers that both the report and delivery need come from the resolver's
 * cache the second time.
 */
#include "config.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "smtpd-out/check/check_domain.h"
#include "smtpd-out/check/check_host.h"
#include "smtpd-out/check/check_verdict.h"
#include "smtpd-out/worker/sts_table.h"

enum stage {
	STAGE_OF_DNS = 0,
	STAGE_OF_HOSTS,
	STAGE_OF_RECHECK,
	STAGE_OF_END
};

/* A question for the report alone; where it belongs follows from its type. */
struct question {
	struct check_domain *owner;
	struct dns_request *request;
	void (*take)(struct check_facts *, const struct dns_answer *);
	struct check_lookup *lookup;
};

#define QUESTIONS_MAX (3 + 2 * ROUTE_HOSTS_MAX)

struct slot {				/* a host at work */
	struct check_domain *owner;
	struct check_run *run;
	size_t route_host;		/* its place in the route */
};

struct check_domain {
	struct check_env *env;
	struct check_facts *facts;
	enum stage stage;
	struct question questions[QUESTIONS_MAX];
	size_t question_count;
	struct route_lookup *lookup;
	struct route *route;
	struct sts_lookup *sts_lookup;
	struct sts_fetch *live;
	struct slot slots[ROUTE_HOSTS_MAX];	/* by place in the facts */
	size_t pending;
	bool rechecked;
	uint32_t blamed;		/* hosts that the policy failed */
	struct sts_view *old_view;	/* during the recheck */
	int64_t started_ms;
	struct event *step_ev;		/* nothing is pending any more */
	check_domain_cb *cb;
	void *arg;
};

static void
settled(struct check_domain *d)
{
	if (--d->pending == 0)
		event_active(d->step_ev, EV_TIMEOUT, 0);
}

/* ---- questions for the report ---- */

static void
on_question(struct dns_answer *a, void *arg)
{
	struct question *q = arg;
	struct check_domain *d = q->owner;

	q->request = NULL;
	check_lookup_take(q->lookup, a);
	if (q->take != NULL)
		q->take(d->facts, a);
	dns_answer_free(&a);
	settled(d);
}

static void
question(struct check_domain *d, const char *name, uint16_t type,
	const struct question *what)
{
	struct question *q;

	if (d->question_count == QUESTIONS_MAX || !str_is_domain(name))
		return;
	q = &d->questions[d->question_count++];
	*q = *what;
	q->owner = d;
	d->pending++;
	q->request = resolver_start(d->env->resolver, name, type, on_question,
		q);
}

static int
by_preference(const void *a, const void *b)
{
	const struct check_mx *x = a, *y = b;

	return x->preference != y->preference ? (x->preference > y->preference)
		- (x->preference < y->preference) : strcmp(x->host, y->host);
}

static void
take_mx(struct check_facts *f, const struct dns_answer *a)
{
	f->mx_total = a->count;
	for (size_t i = 0; i < a->count && i < CHECK_MX_MAX; i++) {
		const struct dns_mx *from = &a->records[i].u.mx;
		struct check_mx *to = &f->mx[f->mx_count++];

		to->preference = from->preference;
		str_sanitise(to->host, sizeof(to->host), from->host,
			strlen(from->host));
	}
	qsort(f->mx, f->mx_count, sizeof(f->mx[0]), by_preference);
}

static void
take_sts_record(struct check_facts *f, const struct dns_answer *a)
{
	struct sts_record record = { .id = "" };
	char why[STS_ERR_MAX] = "";

	f->sts.finding = sts_record_read(a, &record, why);
	(void)str_copy(f->sts.record_id, sizeof(f->sts.record_id), record.id);
	(void)str_copy(f->sts.record_why, sizeof(f->sts.record_why), why);
}

static void
take_tlsrpt(struct check_facts *f, const struct dns_answer *a)
{
	char why[TLSRPT_ERR_MAX] = "";

	f->tlsrpt.finding = tlsrpt_record_read(a, &f->tlsrpt.record, why);
	(void)str_copy(f->tlsrpt.why, sizeof(f->tlsrpt.why), why);
}

static void
ask_published(struct check_domain *d)
{
	struct check_facts *f = d->facts;
	char name[STR_DOMAIN_MAX + 16];

	if (!str_is_domain(f->domain) || f->relay)
		return;
	question(d, f->domain, DNS_TYPE_MX, &(struct question){
		.take = take_mx, .lookup = &f->mx_lookup });
	(void)snprintf(name, sizeof(name), "_smtp._tls.%s", f->domain);
	question(d, name, DNS_TYPE_TXT, &(struct question){
		.take = take_tlsrpt, .lookup = &f->tlsrpt.lookup });
	(void)snprintf(name, sizeof(name), "_mta-sts.%s", f->domain);
	question(d, name, DNS_TYPE_TXT, &(struct question){
		.take = take_sts_record, .lookup = &f->sts.lookup });
}

/* ---- local rules ---- */

static void
add_rule(struct check_facts *f, const struct conf_destination *rule,
	bool of_host)
{
	struct check_rule *to = &f->rules[f->rule_count];

	if (rule == NULL || f->rule_count == CHECK_RULES_MAX)
		return;
	for (size_t i = 0; i < f->rule_count; i++)
		if (f->rules[i].of_host == of_host &&
		    strcmp(f->rules[i].match, rule->match) == 0)
			return;
	f->rule_count++;
	to->of_host = of_host;
	(void)str_copy(to->match, sizeof(to->match), rule->match);
	to->tls = rule->rule.tls;
	to->override = rule->rule.override;
	to->until_s = rule->rule.until_s;
	to->expired = policy_rule_expired(rule, f->now_s);
}

/* ---- hosts ---- */

static void
take_host(struct check_host *to, const struct route_host *from)
{
	(void)str_copy(to->name, sizeof(to->name), from->name);
	(void)str_copy(to->canonical, sizeof(to->canonical), from->canonical);
	to->preference = from->preference;
	to->mx_security = from->mx_security;
	to->address_security = from->address_security;
	to->addr_count = from->addr_count;
	to->addrs = xcalloc(from->addr_count + 1, sizeof(to->addrs[0]));
	for (size_t i = 0; i < from->addr_count; i++) {
		const struct sockaddr_storage *a = &from->addrs[i].addr;
		const void *bytes = a->ss_family == AF_INET ?
			(const void *)&((const struct sockaddr_in *)a)->
			sin_addr : &((const struct sockaddr_in6 *)a)->
			sin6_addr;

		(void)inet_ntop(a->ss_family, bytes, to->addrs[i],
			sizeof(to->addrs[i]));
	}
}

/* With --mx, that host alone. */
static void
take_hosts(struct check_domain *d)
{
	const char *only = d->env->options.only_mx;
	struct check_facts *f = d->facts;

	f->port = d->route->port;
	f->hosts = xcalloc(d->route->host_count + 1, sizeof(f->hosts[0]));
	for (size_t i = 0; i < d->route->host_count; i++) {
		if (only != NULL && strcmp(d->route->hosts[i].name, only) != 0)
			continue;
		d->slots[f->host_count].route_host = i;
		take_host(&f->hosts[f->host_count++], &d->route->hosts[i]);
		add_rule(f, conf_host(d->env->conf, d->route->hosts[i].name),
			true);
	}
	if (d->route->host_count == 0) {
		f->route = route_outcome(d->route, f->domain, f->sts.view);
	} else if (f->host_count == 0) {
		f->only_mx_missing = true;
		f->route = outcome_local("the host named by --mx is not one "
			"of its mail hosts");
	}
}

static void
ask_addresses(struct check_domain *d, struct check_host *h)
{
	if (d->env->conf->ipv6)
		question(d, h->name, DNS_TYPE_AAAA, &(struct question){
			.lookup = &h->aaaa });
	if (d->env->conf->ipv4)
		question(d, h->name, DNS_TYPE_A, &(struct question){
			.lookup = &h->a });
}

static void
on_host(void *arg)
{
	struct slot *slot = arg;

	slot->run = NULL;
	settled(slot->owner);
}

static void
start_host(struct check_domain *d, size_t i)
{
	struct slot *slot = &d->slots[i];
	struct check_host *facts = &d->facts->hosts[i];
	const struct sts_view *view = d->facts->sts.view;
	const struct check_host_query query = {
		.domain = d->facts->domain,
		.route = d->route,
		.host = slot->route_host,
		.sts = view,
		.facts = facts,
	};

	facts->sts_listed = view != NULL && view->policy != NULL &&
		sts_policy_allows(view->policy, facts->name);
	slot->owner = d;
	if (d->route->hosts[slot->route_host].addr_count == 0) {
		facts->skipped = d->route->hosts[slot->route_host].outcome;
		return;
	}
	d->pending++;
	slot->run = check_host_start(d->env, &query, on_host, slot);
}

/* ---- MTA-STS ---- */

/* As delivery_sts.c has it. */
static bool
wants_sts(const struct check_domain *d)
{
	return d->env->session.sts != NULL &&
		str_is_domain(d->facts->domain) && !d->facts->relay;
}

static void
on_view(struct sts_view *view, void *arg)
{
	struct check_domain *d = arg;

	d->sts_lookup = NULL;
	d->facts->sts.view = view;
	settled(d);
}

static void
on_live(struct sts_fetch_result *result, void *arg)
{
	struct check_domain *d = arg;
	struct check_sts *sts = &d->facts->sts;

	d->live = NULL;
	sts->live = result->policy;
	result->policy = NULL;
	sts->live_failure = result->failure;
	(void)str_copy(sts->live_why, sizeof(sts->live_why), result->reason);
	sts_fetch_result_free(&result);
	settled(d);
}

/* Delivery is content with what it has; who asks wants to know more. */
static void
ask_live(struct check_domain *d)
{
	struct check_sts *sts = &d->facts->sts;

	if (sts->view == NULL || sts->view->source == STS_SOURCE_FETCHED ||
	    sts->finding != STS_FINDING_RECORD ||
	    (sts->view->failure != TLS_FAILURE_NONE &&
	    d->facts->queue.state != CHECK_DAEMON_ASKED))
		return;
	sts->live_asked = true;
	d->pending++;
	d->live = sts_fetch_start(&d->env->fetch, d->facts->domain, on_live,
		d);
}

/* True when it is looked up once more. */
static bool
start_recheck(struct check_domain *d)
{
	struct check_verdict v;

	check_verdict(d->facts, &v);
	if (v.result < CHECK_DEFERRED || d->rechecked ||
	    check_sts_blamed(d->facts) == 0)
		return false;
	d->rechecked = true;
	d->pending++;
	d->sts_lookup = sts_recheck_start(d->env->session.sts,
		d->facts->domain, on_view, d);
	return true;
}

/* ---- DNSSEC, link by link ---- */

static void
add_zones(struct check_domain *d, const char *name)
{
	struct check_facts *f = d->facts;
	const char *dot = strchr(name, '.');
	const char *shown = *name == '\0' ? "." : name;
	struct check_zone *zone;

	if (*name != '\0')
		add_zones(d, dot == NULL ? "" : dot + 1);
	if (f->zone_count == CHECK_ZONES_MAX)
		return;
	zone = &f->zones[f->zone_count];
	for (size_t i = 0; i < f->zone_count; i++)
		if (strcmp(f->zones[i].name, shown) == 0)
			return;
	if (!resolver_explain(d->env->resolver, name, zone->text,
	    sizeof(zone->text)))
		return;
	(void)str_copy(zone->name, sizeof(zone->name), shown);
	f->zone_count++;
}

/* ---- from stage to stage ---- */

static void
begin_hosts(struct check_domain *d)
{
	struct check_facts *f = d->facts;

	d->stage = STAGE_OF_HOSTS;
	f->dns_ms = clock_mono_ms() - d->started_ms;
	take_hosts(d);
	/* Nothing may be over before everything has begun. */
	d->pending++;
	ask_live(d);
	for (size_t i = 0; i < f->host_count; i++) {
		ask_addresses(d, &f->hosts[i]);
		start_host(d, i);
	}
	settled(d);
}

static void
begin_again(struct check_domain *d, uint32_t hosts)
{
	struct check_facts *f = d->facts;

	d->stage = STAGE_OF_HOSTS;
	d->pending++;
	for (size_t i = 0; i < f->host_count; i++)
		if ((hosts & 1U << i) != 0) {
			check_host_clear(&f->hosts[i]);
			memset(f->hosts[i].tries, 0, sizeof(f->hosts[i].tries));
			start_host(d, i);
		}
	settled(d);
}

static void
finish(struct check_domain *d)
{
	struct check_facts *f = d->facts;
	check_domain_cb *cb = d->cb;
	void *arg = d->arg;

	if (str_is_domain(f->domain))
		add_zones(d, f->domain);
	for (size_t i = 0; i < f->host_count; i++)
		if (str_is_domain(f->hosts[i].name))
			add_zones(d, f->hosts[i].name);
	f->resolver = resolver_state(d->env->resolver, NULL);
	f->total_ms = clock_mono_ms() - d->started_ms;
	d->facts = NULL;
	check_domain_cancel(&d);
	cb(f, arg);
}

static void
on_step(evutil_socket_t fd, short what, void *arg)
{
	struct check_domain *d = arg;
	struct sts_view *old = d->old_view;
	bool changed;

	(void)fd;
	(void)what;
	if (d->stage == STAGE_OF_DNS) {
		begin_hosts(d);
	} else if (d->stage == STAGE_OF_RECHECK) {
		changed = !sts_view_same(d->facts->sts.view, old);
		sts_view_unref(&d->old_view);
		if (changed)
			begin_again(d, d->blamed);
		else
			finish(d);
	} else {
		d->blamed = check_sts_blamed(d->facts);
		if (d->blamed == 0 || !start_recheck(d)) {
			finish(d);
			return;
		}
		d->stage = STAGE_OF_RECHECK;
		d->old_view = d->facts->sts.view;
		d->facts->sts.view = NULL;
	}
}

static void
on_route(struct route *route, void *arg)
{
	struct check_domain *d = arg;

	d->lookup = NULL;
	d->route = route;
	settled(d);
}

/* ---- interface ---- */

static struct check_facts *
new_facts(struct check_env *env, const char *domain)
{
	const struct conf_destination *rule = conf_destination(env->conf,
		domain);
	struct check_facts *f = xcalloc(1, sizeof(*f));

	(void)str_copy(f->domain, sizeof(f->domain), domain);
	f->now_s = clock_wall_s();
	f->connected = env->options.connect;
	f->relay = rule != NULL && rule->relay_host != NULL;
	(void)str_copy(f->resolver_text, sizeof(f->resolver_text),
		env->resolver_text);
	add_rule(f, rule, false);
	check_daemon_queue(env->daemon, domain, &f->queue);
	return f;
}

struct check_domain *
check_domain_start(struct check_env *env, const char *domain,
	check_domain_cb *cb, void *arg)
{
	struct check_domain *d = xcalloc(1, sizeof(*d));

	d->env = env;
	d->cb = cb;
	d->arg = arg;
	d->started_ms = clock_mono_ms();
	d->step_ev = event_new(env->base, -1, 0, on_step, d);
	d->facts = new_facts(env, domain);
	d->facts->sts.wanted = wants_sts(d);
	d->pending++;
	d->lookup = route_start(env->base, env->resolver, env->conf,
		env->local, domain, on_route, d);
	ask_published(d);
	if (d->facts->sts.wanted) {
		d->pending++;
		d->sts_lookup = sts_lookup_start(env->session.sts, domain,
			on_view, d);
	}
	return d;
}

void
check_domain_cancel(struct check_domain **dp)
{
	struct check_domain *d = *dp;

	if (d == NULL)
		return;
	for (size_t i = 0; i < ROUTE_HOSTS_MAX; i++)
		check_host_cancel(&d->slots[i].run);
	for (size_t i = 0; i < d->question_count; i++)
		resolver_cancel(&d->questions[i].request);
	sts_fetch_cancel(&d->live);
	sts_lookup_cancel(&d->sts_lookup);
	sts_view_unref(&d->old_view);
	route_cancel(&d->lookup);
	route_free(&d->route);
	event_free(d->step_ev);
	check_facts_free(&d->facts);
	mem_free(dp);
}
