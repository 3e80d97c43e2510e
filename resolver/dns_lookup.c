/*
 * Takes a question through as many messages as its chain of names needs.
 * Every step is bounded: links, questions, and time for the whole.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "base/clock.h"
#include "base/mem.h"
#include "resolver/dns_answer.h"
#include "resolver/dns_chain.h"
#include "resolver/dns_lookup.h"
#include "resolver/dns_validate.h"

#define BOGUS_TTL_S 30
#define PREFETCH_LABELS 2	/* the registrable levels */

struct dns_lookup {
	const struct dns_lookup_env *env;
	dns_lookup_cb *cb;
	void *arg;
	struct event *timer;
	dns_name name;			/* asked for */
	dns_name current;		/* after the links so far */
	uint16_t type;
	struct dns_ask *ask;
	struct dns_msg *msg;		/* in work */
	struct dns_chain *chain;	/* of msg; NULL: none came yet */
	size_t links;			/* followed so far */
	uint32_t ttl;			/* smallest so far */
	enum dns_security security, chain_security;
	struct dns_validate validate;
	struct dns_zones_wait *wait;
	struct dns_lookup_facts facts;
	int64_t started_ms;		/* monotonic */
	int ede;
};

static void
lookup_free(struct dns_lookup *l)
{
	dns_query_cancel(&l->ask);
	dns_zones_cancel(&l->wait);
	dns_msg_free(&l->msg);
	event_free(l->timer);
	free(l->chain);
	free(l);
}

/* Last act: detaches, frees, then calls. */
static void
finish(struct dns_lookup *l, const struct dns_answer_parts *parts)
{
	struct dns_answer *a = dns_answer_make(parts);
	struct dns_lookup_facts facts = l->facts;
	dns_lookup_cb *cb = l->cb;
	void *arg = l->arg;

	lookup_free(l);
	cb(a, &facts, arg);
}

/* Nobody has answered anything since it began. */
static bool
is_silent(const struct dns_lookup *l)
{
	struct dns_query_stats stats;

	dns_query_stats(l->env->query, &stats);
	return !l->facts.reached && stats.heard_ms <= l->started_ms;
}

static void
finish_later(struct dns_lookup *l, enum dns_security security,
	const char *why)
{
	struct dns_answer_parts parts = { .name = l->name,
		.canonical = l->current, .type = l->type,
		.result = DNS_LATER, .security = security,
		.chain_security = l->chain_security, .why = why,
		.ede = l->ede,
		.silent = is_silent(l),
		.ttl_s = security == DNS_SEC_BOGUS ? BOGUS_TTL_S : 0 };

	if (l->env->dnssec == CONF_DNSSEC_OFF)
		parts.security = DNS_SEC_UNKNOWN;
	finish(l, &parts);
}

static uint32_t
ttl_clamp(const struct dns_lookup *l, uint32_t ttl)
{
	if (l->ttl < ttl)
		ttl = l->ttl;
	if (ttl < l->env->min_ttl_s)
		ttl = l->env->min_ttl_s;
	/* Never beyond what the signatures allow. */
	if (l->env->zones != NULL && l->validate.ttl < ttl)
		ttl = l->validate.ttl;
	return ttl > l->env->max_ttl_s ? l->env->max_ttl_s : ttl;
}

static const char *
why_of(const struct dns_lookup *l)
{
	return l->validate.why[0] == '\0' ? NULL : l->validate.why;
}

static void
finish_positive(struct dns_lookup *l)
{
	struct dns_answer_parts parts = { .name = l->name,
		.canonical = l->chain->last, .type = l->type,
		.result = DNS_FOUND, .security = l->security,
		.chain_security = l->chain_security, .ede = l->msg->ede,
		.why = why_of(l) };
	struct dns_set *set = xmalloc(sizeof(*set));

	(void)dns_set_find(l->msg, DNS_ANSWER, l->chain->last, l->type, set);
	parts.set = set;
	parts.ttl_s = ttl_clamp(l, set->ttl);
	finish(l, &parts);
	free(set);
}

static void
finish_negative(struct dns_lookup *l)
{
	struct dns_answer_parts parts = { .name = l->name,
		.canonical = l->chain->last, .type = l->type,
		.result = l->chain->end == DNS_END_NXDOMAIN ? DNS_NXDOMAIN :
			DNS_NODATA,
		.security = l->security,
		.chain_security = l->chain_security, .ede = l->msg->ede,
		.why = why_of(l) };

	parts.ttl_s = ttl_clamp(l,
		dns_chain_negative_ttl(l->msg, l->chain->last));
	finish(l, &parts);
}

static void on_reply(const struct dns_reply *, void *arg);
static void validate(struct dns_lookup *);

static void
ask(struct dns_lookup *l)
{
	l->ask = dns_query_start(l->env->query, l->current, l->type, on_reply,
		l);
}

/* The message in work has been judged: what it says is taken over. */
static void
settle(struct dns_lookup *l)
{
	l->links += l->chain->count;
	if (l->links > DNS_CHAIN_MAX) {
		finish_later(l, DNS_SEC_INDETERMINATE,
			"CNAME chain too long");
		return;
	}
	if (l->chain->ttl < l->ttl)
		l->ttl = l->chain->ttl;
	switch (l->chain->end) {
	case DNS_END_ANSWER:
		finish_positive(l);
		return;
	case DNS_END_NODATA:
	case DNS_END_NXDOMAIN:
		finish_negative(l);
		return;
	default:
		dns_name_copy(l->current, l->chain->last);
		dns_msg_free(&l->msg);
		ask(l);
	}
}

/* All that the message says has been proven, or cannot be. */
static void
judged(struct dns_lookup *l)
{
	struct dns_validate *v = &l->validate;
	enum dns_security all = dns_security_worse(v->links, v->end);

	l->chain_security = v->links;
	l->security = all;
	l->facts.no_dnssec |= v->no_dnssec;
	l->facts.reached |= v->reached;
	if (all != DNS_SEC_BOGUS && all != DNS_SEC_INDETERMINATE) {
		settle(l);
		return;
	}
	dns_name_copy(l->current, l->chain->last);
	finish_later(l, all, v->why);
}

static void
on_zone(void *arg)
{
	struct dns_lookup *l = arg;

	l->wait = NULL;
	validate(l);
}

static void
validate(struct dns_lookup *l)
{
	const uint8_t *wait_name;

	if (dns_validate_run(&l->validate, &wait_name))
		judged(l);
	else
		l->wait = dns_zones_wait(l->env->zones, wait_name, on_zone,
			l);
}

/* The resolver's word (RFC 4035 4.9.3), where it is to be trusted. */
static void
trust_ad(struct dns_lookup *l)
{
	enum dns_security s = l->msg->ad ? DNS_SEC_SECURE : DNS_SEC_INSECURE;

	if (l->chain->count > 0)
		l->chain_security = dns_security_worse(l->chain_security, s);
	l->security = dns_security_worse(l->security, s);
}

static void
judge(struct dns_lookup *l)
{
	switch (l->env->dnssec) {
	case CONF_DNSSEC_VALIDATE:
		dns_validate_begin(&l->validate, l->msg, l->chain);
		validate(l);
		return;
	case CONF_DNSSEC_TRUST_AD:
		trust_ad(l);
		break;
	default:
		l->security = l->chain_security = DNS_SEC_UNKNOWN;
	}
	settle(l);
}

static void
on_reply(const struct dns_reply *r, void *arg)
{
	struct dns_lookup *l = arg;

	l->ask = NULL;
	l->msg = r->msg;
	l->facts.reached |= r->reached;
	l->facts.no_dnssec |= r->no_dnssec;
	if (r->msg == NULL) {
		l->ede = r->ede;
		finish_later(l, DNS_SEC_INDETERMINATE, r->why);
		return;
	}
	if (l->chain == NULL)
		l->chain = xcalloc(1, sizeof(*l->chain));
	dns_chain_follow(l->msg, l->current, l->type, l->chain);
	if (l->chain->end == DNS_END_BAD)
		finish_later(l, DNS_SEC_INDETERMINATE, l->chain->why);
	else
		judge(l);
}

/* What nearly every chain needs, asked for together with the question: one
 * round trip for all. */
static void
prefetch(struct dns_lookup *l)
{
	const uint8_t *name = l->name;
	unsigned labels;
	struct dns_zone_info info;

	if (l->type == DNS_TYPE_DS && *name != 0)
		name = dns_name_up(name, 1);
	labels = dns_name_labels(name);
	dns_zones_find(l->env->zones, dns_name_tail(name,
		labels < PREFETCH_LABELS ? labels : PREFETCH_LABELS), true,
		&l->validate.quota, &info);
}

static void
on_timeout(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	finish_later(arg, DNS_SEC_INDETERMINATE,
		"the lookup took longer than it may");
}

struct dns_lookup *
dns_lookup_start(const struct dns_lookup_env *env, const uint8_t *name,
	uint16_t type, dns_lookup_cb *cb, void *arg)
{
	struct dns_lookup *l = xcalloc(1, sizeof(*l));
	struct timeval tv = { (time_t)(env->lookup_ms / 1000),
		(suseconds_t)(env->lookup_ms % 1000 * 1000) };

	l->env = env;
	l->cb = cb;
	l->arg = arg;
	l->type = type;
	l->ttl = UINT32_MAX;
	l->ede = -1;
	l->started_ms = clock_mono_ms();
	dns_name_copy(l->name, name);
	dns_name_copy(l->current, name);
	l->timer = evtimer_new(env->base, on_timeout, l);
	if (l->timer == NULL || evtimer_add(l->timer, &tv) != 0)
		abort();	/* out of memory */
	l->security = l->chain_security = DNS_SEC_SECURE;
	dns_validate_init(&l->validate, env->zones, type);
	ask(l);
	if (env->zones != NULL)
		prefetch(l);
	return l;
}

void
dns_lookup_cancel(struct dns_lookup **lp)
{
	if (*lp == NULL)
		return;
	lookup_free(*lp);
	*lp = NULL;
}
