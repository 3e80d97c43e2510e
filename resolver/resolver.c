/*
 * The public face: requests, the cache, and who waits for which lookup.
 *
 * Equal requests share one lookup.  Every answer, from the cache or not, goes
 * through the list `ready` and is handed over from the loop, so that nothing
 * is ever called back inside the call that asked.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "resolver/dns_anchor.h"
#include "resolver/dns_answer.h"
#include "resolver/dns_cache.h"
#include "resolver/dns_lookup.h"
#include "resolver/dns_probe.h"
#include "resolver/dns_query.h"
#include "resolver/dns_servers.h"
#include "resolver/dns_table.h"
#include "resolver/dns_zones.h"
#include "resolver/resolver.h"

#define RESOLV_CONF "/etc/resolv.conf"
#define TRUST_ANCHOR "/usr/share/dns/root.key"	/* dns-root-data */
#define BYTES_PER_ENTRY 2048	/* the cache's bound in bytes */
#define DEFAULT_LOOKUP_MS 20000
#define DEFAULT_TIMEOUT_MS 2000
#define DEFAULT_MAX_TTL_S 86400
#define PROBE_PAUSE_MS 10000	/* between probes that lookups cause */

TAILQ_HEAD(request_list, dns_request);

/* A lookup under way and who waits for it. */
struct shared {
	struct dns_entry entry;		/* first */
	struct resolver *resolver;
	struct dns_lookup *lookup;
	size_t bogus;			/* times that it came out so */
	struct request_list requests;
};

struct dns_request {
	TAILQ_ENTRY(dns_request) link;
	struct resolver *resolver;
	struct shared *shared;		/* NULL once in resolver->ready */
	struct dns_answer *answer;	/* set once in resolver->ready */
	uint64_t turn;
	resolver_cb *cb;
	void *arg;
};

struct resolver {
	struct dns_lookup_env env;
	struct dns_cache *cache;
	struct dns_table lookups;	/* struct shared */
	struct request_list ready;
	struct event *on_ready;
	uint64_t turn;			/* counts runs of on_ready() */
	uint64_t lookup_count, hit_count, later_count;
	uint64_t security_count[DNS_SEC_INDETERMINATE + 1];
	struct dns_ds_list anchor;
	int64_t skew_s;
	struct dns_probe *probe;
	struct event *on_probe_due;
	int64_t probed_ms;		/* monotonic; when the last began */
	size_t probe_servers;		/* that it has been through */
	enum resolver_state state;
	char sentence[DNS_WHY_MAX];
	resolver_probe_cb *probe_cb;
	void *probe_arg;
};

static void
request_ready(struct dns_request *rq, struct dns_answer *a)
{
	rq->shared = NULL;
	rq->answer = a;
	rq->turn = rq->resolver->turn;
	TAILQ_INSERT_TAIL(&rq->resolver->ready, rq, link);
	event_active(rq->resolver->on_ready, EV_TIMEOUT, 0);
}

/* Hands over what was ready when the turn began: a callback that asks again
 * for what is cached must not keep the loop here. */
static void
on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct resolver *r = arg;
	uint64_t turn = r->turn++;
	struct dns_request *rq;

	(void)fd;
	(void)what;
	while ((rq = TAILQ_FIRST(&r->ready)) != NULL && rq->turn <= turn) {
		TAILQ_REMOVE(&r->ready, rq, link);
		rq->cb(rq->answer, rq->arg);
		free(rq);
	}
}

/* ---- the probe ------------------------------------------------------- */

static void
state_set(struct resolver *r, enum resolver_state state, const char *why)
{
	static const char *const sentences[] = {
		[RESOLVER_UNKNOWN] = "not probed yet",
		[RESOLVER_VALIDATING] = "validating",
		[RESOLVER_TRUSTING] = "trusting the resolver's AD bit",
		[RESOLVER_OFF] = "dnssec = off: DANE is off" };
	bool changed = state != r->state;

	r->state = state;
	snprintf(r->sentence, sizeof(r->sentence), "%s",
		state <= RESOLVER_OFF ? sentences[state] : why);
	if (!changed)
		return;
	if (state == RESOLVER_VALIDATING || state == RESOLVER_TRUSTING)
		log_info("resolver", "state", resolver_state_name(state),
			"reason", r->sentence, NULL);
	else
		log_warn("resolver", "state", resolver_state_name(state),
			"reason", r->sentence, NULL);
}

static void
probe_tell(struct resolver *r)
{
	resolver_probe_cb *cb = r->probe_cb;

	r->probe_cb = NULL;
	if (cb != NULL)
		cb(r->state, r->sentence, r->probe_arg);
}

static void on_probed(enum resolver_state, const char *, void *);

static void
probe_start(struct resolver *r)
{
	r->probe_servers++;
	r->probe = dns_probe_start(r->env.query, &r->anchor, r->skew_s,
		on_probed, r);
}

static void
on_probed(enum resolver_state state, const char *why, void *arg)
{
	struct resolver *r = arg;
	bool mended = state == RESOLVER_VALIDATING &&
		r->state > RESOLVER_OFF;

	r->probe = NULL;
	/* Another server may do better. */
	if (state != RESOLVER_VALIDATING &&
	    r->probe_servers < dns_query_servers(r->env.query)) {
		dns_query_rotate(r->env.query);
		probe_start(r);
		return;
	}
	/* What failed under a wrong clock or resolver need not fail now. */
	if (mended) {
		dns_cache_flush(r->cache);
		dns_zones_flush(r->env.zones);
	}
	state_set(r, state, why);
	probe_tell(r);
}

static void
on_probe_due(evutil_socket_t fd, short what, void *arg)
{
	struct resolver *r = arg;

	(void)fd;
	(void)what;
	if (r->env.dnssec != CONF_DNSSEC_VALIDATE) {
		probe_tell(r);
		return;
	}
	r->probed_ms = clock_mono_ms();
	if (r->probe == NULL) {
		r->probe_servers = 0;
		probe_start(r);
	}
}

void
resolver_probe(struct resolver *r, resolver_probe_cb *cb, void *arg)
{
	r->probe_cb = cb;
	r->probe_arg = arg;
	event_active(r->on_probe_due, EV_TIMEOUT, 0);
}

/* A lookup that contradicts what the last probe found calls for another. */
static void
probe_hint(struct resolver *r, const struct dns_answer *a,
	const struct dns_lookup_facts *facts)
{
	bool failed = facts->no_dnssec || !facts->reached ||
		a->security == DNS_SEC_BOGUS;
	bool worked = a->security == DNS_SEC_SECURE ||
		(r->state == RESOLVER_UNREACHABLE && a->result != DNS_LATER);

	if (r->env.dnssec != CONF_DNSSEC_VALIDATE ||
	    (r->state == RESOLVER_VALIDATING ? !failed : !worked) ||
	    clock_mono_ms() - r->probed_ms < PROBE_PAUSE_MS)
		return;
	event_active(r->on_probe_due, EV_TIMEOUT, 0);
}

const char *
resolver_state_name(enum resolver_state s)
{
	static const char *const names[] = { "unknown", "validating",
		"trusting", "off", "strips", "anchor", "clock",
		"unreachable" };

	return (size_t)s < sizeof(names) / sizeof(names[0]) ? names[s] : "?";
}

bool
resolver_at_fault(const struct resolver *r, const struct dns_answer *a)
{
	return a->result == DNS_LATER && (a->silent ||
		(r->state >= RESOLVER_STRIPS &&
		r->state <= RESOLVER_UNREACHABLE));
}

enum resolver_state
resolver_state(const struct resolver *r, const char **sentence_out)
{
	if (sentence_out != NULL)
		*sentence_out = r->sentence;
	return r->state;
}

bool
resolver_explain(struct resolver *r, const char *name, char *out,
	size_t out_bytes)
{
	dns_name wire;

	return r->env.zones != NULL && dns_name_parse(name, wire) == ST_OK &&
		dns_zones_explain(r->env.zones, wire, out, out_bytes);
}

/* ---- lookups --------------------------------------------------------- */

static void on_looked_up(struct dns_answer *,
	const struct dns_lookup_facts *, void *);

/* Where there are several resolvers, one that strips or alters records must
 * not stand for all: each is asked in turn. */
static bool
retry_elsewhere(struct shared *s)
{
	struct resolver *r = s->resolver;

	if (++s->bogus >= dns_query_servers(r->env.query))
		return false;
	dns_query_rotate(r->env.query);
	if (r->env.zones != NULL)
		dns_zones_forgive(r->env.zones);
	s->lookup = dns_lookup_start(&r->env, s->entry.name, s->entry.type,
		on_looked_up, s);
	return true;
}

static void
on_looked_up(struct dns_answer *a, const struct dns_lookup_facts *facts,
	void *arg)
{
	struct shared *s = arg;
	struct resolver *r = s->resolver;
	struct dns_request *rq;

	if (a->security == DNS_SEC_BOGUS && retry_elsewhere(s)) {
		dns_answer_free(&a);
		return;
	}
	r->later_count += a->result == DNS_LATER ? 1U : 0U;
	r->security_count[a->security]++;
	probe_hint(r, a, facts);
	dns_cache_put(r->cache, s->entry.name, s->entry.type, a);
	dns_table_remove(&r->lookups, &s->entry);
	while ((rq = TAILQ_FIRST(&s->requests)) != NULL) {
		TAILQ_REMOVE(&s->requests, rq, link);
		request_ready(rq, dns_answer_copy(a));
	}
	dns_answer_free(&a);
	free(s);
}

static struct shared *
shared_get(struct resolver *r, const uint8_t *name, uint16_t type)
{
	struct shared *s =
		(struct shared *)dns_table_find(&r->lookups, name, type);

	if (s != NULL)
		return s;
	s = xcalloc(1, sizeof(*s));
	s->resolver = r;
	TAILQ_INIT(&s->requests);
	dns_table_add(&r->lookups, &s->entry, name, type);
	s->lookup = dns_lookup_start(&r->env, name, type, on_looked_up, s);
	return s;
}

static void
shared_drop(struct shared *s)
{
	dns_lookup_cancel(&s->lookup);
	dns_table_remove(&s->resolver->lookups, &s->entry);
	free(s);
}

static struct dns_answer *
cannot_ask(const char *name, uint16_t type, const char *why)
{
	struct dns_answer a = { .type = type, .result = DNS_LATER,
		.security = DNS_SEC_INDETERMINATE,
		.chain_security = DNS_SEC_INDETERMINATE, .ede = -1 };
	struct dns_answer *copy;

	a.name = a.canonical = xstrdup(name);
	a.why = xstrdup(why);
	copy = dns_answer_copy(&a);
	mem_free(&a.name);
	mem_free(&a.why);
	return copy;
}

struct dns_request *
resolver_start(struct resolver *r, const char *name, uint16_t type,
	resolver_cb *cb, void *arg)
{
	struct dns_request *rq = xcalloc(1, sizeof(*rq));
	struct dns_answer *a;
	dns_name wire;

	rq->resolver = r;
	rq->cb = cb;
	rq->arg = arg;
	r->lookup_count++;
	/* Meta types (RFC 6895 3.1) have no answer that could be proven. */
	if (dns_name_parse(name, wire) != ST_OK || type == 0 ||
	    type == DNS_TYPE_OPT || type == DNS_TYPE_RRSIG ||
	    (type >= 128 && type <= 255)) {
		request_ready(rq, cannot_ask(name, type,
			"not a domain name or type that can be asked for"));
		return rq;
	}
	a = dns_cache_get(r->cache, wire, type);
	if (a != NULL) {
		r->hit_count++;
		request_ready(rq, a);
		return rq;
	}
	rq->shared = shared_get(r, wire, type);
	TAILQ_INSERT_TAIL(&rq->shared->requests, rq, link);
	return rq;
}

void
resolver_forget(struct resolver *r, const char *name, uint16_t type)
{
	dns_name wire;

	if (dns_name_parse(name, wire) == ST_OK)
		dns_cache_drop(r->cache, wire, type);
}

void
resolver_cancel(struct dns_request **rqp)
{
	struct dns_request *rq = *rqp;

	if (rq == NULL)
		return;
	*rqp = NULL;
	if (rq->shared != NULL) {
		TAILQ_REMOVE(&rq->shared->requests, rq, link);
		if (TAILQ_EMPTY(&rq->shared->requests))
			shared_drop(rq->shared);
	} else {
		TAILQ_REMOVE(&rq->resolver->ready, rq, link);
		dns_answer_free(&rq->answer);
	}
	free(rq);
}

/* ---- life ---- */

static const char *
anchor_path(const struct conf_resolver *conf)
{
	return conf->trust_anchor != NULL ? conf->trust_anchor : TRUST_ANCHOR;
}

enum status
resolver_check_conf(const struct conf_resolver *conf, char err[CONF_ERR_MAX])
{
	struct dns_ds_list anchor;

	if (conf->dnssec == CONF_DNSSEC_VALIDATE)
		return dns_anchor_read(anchor_path(conf), &anchor, err);
	if (conf->dnssec == CONF_DNSSEC_TRUST_AD)
		return dns_servers_trusted(conf, conf->servers,
			conf->server_count, err);
	return ST_OK;
}

static enum status
query_open(struct resolver *r, const struct conf_resolver *conf,
	const struct conf_addr *servers, size_t count,
	char err[CONF_ERR_MAX])
{
	bool validate = conf->dnssec == CONF_DNSSEC_VALIDATE;
	bool ad = conf->dnssec == CONF_DNSSEC_TRUST_AD;
	struct dns_query_conf q = { .servers = servers, .server_count = count,
		.timeout_ms = conf->timeout_ms > 0 ? conf->timeout_ms :
			DEFAULT_TIMEOUT_MS,
		.tries = conf->tries > 0 ? conf->tries : 2,
		.want_dnssec = validate, .checking_disabled = validate,
		.want_ad = ad };

	if (ad && dns_servers_trusted(conf, servers, count, err) != ST_OK)
		return ST_DENIED;
	return dns_query_new(r->env.base, &q, &r->env.query, err);
}

static enum status
servers_open(struct resolver *r, const struct conf_resolver *conf,
	char err[CONF_ERR_MAX])
{
	struct conf_addr found[DNS_SERVERS_MAX];
	size_t count;
	enum status st;

	if (conf->server_count > 0)
		return query_open(r, conf, conf->servers, conf->server_count,
			err);
	st = dns_servers_read(RESOLV_CONF, found, DNS_SERVERS_MAX, &count);
	if (st != ST_OK || count == 0) {
		snprintf(err, CONF_ERR_MAX, "no resolver: none is configured "
			"and %s names none", RESOLV_CONF);
		return ST_NOENT;
	}
	st = query_open(r, conf, found, count, err);
	dns_servers_free(found, count);
	return st;
}

static enum status
zones_open(struct resolver *r, const struct conf_resolver *conf,
	char err[CONF_ERR_MAX])
{
	enum status st = dns_anchor_read(anchor_path(conf), &r->anchor, err);

	dns_key_prepare();
	if (st == ST_OK)
		r->env.zones = dns_zones_new(&(struct dns_zones_conf){
			.base = r->env.base, .query = r->env.query,
			.anchor = &r->anchor, .skew_s = conf->skew_s,
			.iterations_max = conf->nsec3_iterations,
			.entries_max = conf->cache_entries / 2,
			.max_ttl_s = r->env.max_ttl_s });
	return st;
}

static uint32_t
ttl_bound(int64_t ttl_s)
{
	return ttl_s < 0 ? 0 : ttl_s > INT32_MAX ? INT32_MAX :
		(uint32_t)ttl_s;
}

enum status
resolver_new(struct event_base *base, const struct conf_resolver *conf,
	struct resolver **out, char err[CONF_ERR_MAX])
{
	struct resolver *r = xcalloc(1, sizeof(*r));
	enum status st;

	r->env.base = base;
	r->env.dnssec = conf->dnssec;
	r->env.lookup_ms = conf->lookup_ms > 0 ? conf->lookup_ms :
		DEFAULT_LOOKUP_MS;
	r->env.min_ttl_s = ttl_bound(conf->min_ttl_s);
	r->env.max_ttl_s = conf->max_ttl_s > 0 ? ttl_bound(conf->max_ttl_s) :
		DEFAULT_MAX_TTL_S;
	r->cache = dns_cache_new(conf->cache_entries,
		conf->cache_entries * BYTES_PER_ENTRY);
	dns_table_init(&r->lookups);
	TAILQ_INIT(&r->ready);
	r->skew_s = conf->skew_s;
	r->on_ready = evtimer_new(base, on_ready, r);
	r->on_probe_due = evtimer_new(base, on_probe_due, r);
	if (r->on_ready == NULL || r->on_probe_due == NULL)
		abort();	/* out of memory */
	st = servers_open(r, conf, err);
	if (st == ST_OK && conf->dnssec == CONF_DNSSEC_VALIDATE)
		st = zones_open(r, conf, err);
	if (st != ST_OK) {
		resolver_free(&r);
		return st;
	}
	state_set(r, conf->dnssec == CONF_DNSSEC_VALIDATE ? RESOLVER_UNKNOWN :
		conf->dnssec == CONF_DNSSEC_OFF ? RESOLVER_OFF :
		RESOLVER_TRUSTING, NULL);
	resolver_probe(r, NULL, NULL);
	*out = r;
	return ST_OK;
}

void
resolver_free(struct resolver **rp)
{
	struct resolver *r = *rp;
	struct dns_entry *e;
	struct dns_request *rq;

	if (r == NULL)
		return;
	while ((e = dns_table_any(&r->lookups)) != NULL) {
		rq = TAILQ_FIRST(&((struct shared *)e)->requests);
		resolver_cancel(&rq);
	}
	while ((rq = TAILQ_FIRST(&r->ready)) != NULL)
		resolver_cancel(&rq);
	dns_probe_cancel(&r->probe);
	dns_zones_free(&r->env.zones);
	dns_query_free(&r->env.query);
	event_free(r->on_ready);
	event_free(r->on_probe_due);
	dns_table_clear(&r->lookups);
	dns_cache_free(&r->cache);
	mem_free(rp);
}

void
resolver_stats(const struct resolver *r, struct resolver_stats *out)
{
	struct dns_query_stats q;
	struct dns_zones_stats z = { 0, 0 };

	if (r->env.zones != NULL)
		dns_zones_stats(r->env.zones, &z);
	out->secure = r->security_count[DNS_SEC_SECURE];
	out->insecure = r->security_count[DNS_SEC_INSECURE];
	out->bogus = r->security_count[DNS_SEC_BOGUS];
	out->checks = z.checks;
	out->zone_entries = z.entries;
	out->state = r->state;
	dns_query_stats(r->env.query, &q);
	out->lookups = r->lookup_count;
	out->cache_hits = r->hit_count;
	out->packets = q.packets;
	out->timeouts = q.timeouts;
	out->malformed = q.malformed;
	out->later = r->later_count;
	out->cache_entries = dns_cache_count(r->cache);
	out->in_flight = r->lookups.count;
}
