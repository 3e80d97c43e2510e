/*
 * From a destination to an ordered list of hosts with addresses: MX, implicit
 * MX, address literals and configured relays.  Makes no connection.
 */
#include "config.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/worker/route.h"

struct route_local {
	struct sockaddr_storage *addrs;
	size_t count;
};

struct host_lookup {
	struct route_lookup *owner;
	size_t index;			/* in route->hosts */
	struct dns_request *a, *aaaa;
	bool later;			/* one of the two could not be asked */
	bool bogus;			/* for its signatures */
	bool absent;			/* NXDOMAIN */
	char why[200];
};

struct route_lookup {
	struct event *done_ev;
	struct resolver *resolver;
	const struct conf *conf;
	const struct route_local *local;
	char destination[STR_DOMAIN_MAX];
	uint16_t port;
	bool implicit;			/* no MX: the domain itself */
	bool relay;
	struct dns_request *mx;
	struct host_lookup lookups[ROUTE_HOSTS_MAX];
	size_t pending;
	struct route *route;
	route_cb *cb;
	void *arg;
};

/* ---- this machine ---- */

static void
local_add(struct route_local *local, const struct sockaddr *addr)
{
	size_t len = addr->sa_family == AF_INET ? sizeof(struct sockaddr_in) :
		sizeof(struct sockaddr_in6);

	if (addr->sa_family != AF_INET && addr->sa_family != AF_INET6)
		return;
	local->addrs = xrealloc_n(local->addrs, local->count + 1,
		sizeof(local->addrs[0]));
	memset(&local->addrs[local->count], 0, sizeof(local->addrs[0]));
	memcpy(&local->addrs[local->count++], addr, len);
}

struct route_local *
route_local_new(const struct conf *conf)
{
	struct route_local *local = xcalloc(1, sizeof(*local));
	struct ifaddrs *all = NULL;

	for (size_t i = 0; i < conf->local_addr_count; i++)
		local_add(local,
			(const struct sockaddr *)&conf->local_addrs[i].addr);

	if (conf->local_addr_count > 0 || getifaddrs(&all) != 0)
		return local;
	for (struct ifaddrs *i = all; i != NULL; i = i->ifa_next)
		if (i->ifa_addr != NULL)
			local_add(local, i->ifa_addr);
	freeifaddrs(all);
	return local;
}

void
route_local_free(struct route_local **localp)
{
	if (*localp == NULL)
		return;
	free((*localp)->addrs);
	mem_free(localp);
}

/* The address bytes; those of IPv4 also when it comes dressed as IPv6. */
static const uint8_t *
addr_bytes(const struct sockaddr *addr, size_t *len_out)
{
	const struct sockaddr_in6 *in6 = (const void *)addr;
	const struct sockaddr_in *in = (const void *)addr;

	*len_out = 4;
	if (addr->sa_family == AF_INET)
		return (const uint8_t *)&in->sin_addr;
	if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
		return in6->sin6_addr.s6_addr + 12;
	*len_out = 16;
	return in6->sin6_addr.s6_addr;
}

/* Addresses that lead home from any machine: 127/8, 0/8, ::1 and ::. */
static bool
leads_home(const uint8_t *bytes, size_t len)
{
	static const uint8_t zero[15];

	if (len == 4)
		return bytes[0] == 127 || bytes[0] == 0;
	return memcmp(bytes, zero, 15) == 0 && bytes[15] <= 1;
}

bool
route_local_match(const struct route_local *local,
	const struct sockaddr *addr)
{
	size_t len, other_len;
	const uint8_t *bytes = addr_bytes(addr, &len), *other;

	if (leads_home(bytes, len))
		return true;
	for (size_t i = 0; i < local->count; i++) {
		other = addr_bytes((const struct sockaddr *)&local->addrs[i],
			&other_len);
		if (len == other_len && memcmp(bytes, other, len) == 0)
			return true;
	}
	return false;
}

/* ---- order of hosts ---- */

static bool
host_is_local(const struct route_host *host, const char *hostname,
	const struct route_local *local)
{
	if (strcmp(host->name, hostname) == 0)
		return true;
	for (size_t i = 0; i < host->addr_count; i++)
		if (route_local_match(local,
		    (const struct sockaddr *)&host->addrs[i].addr))
			return true;
	return false;
}

static void
host_clear(struct route_host *host)
{
	mem_free(&host->addrs);
	mem_free(&host->name);
}

static int
by_preference(const void *a, const void *b)
{
	const struct route_host *x = a, *y = b;

	return (x->preference > y->preference) -
		(x->preference < y->preference);
}

/* Random first, then a stable sort by preference (RFC 5321 5.1). */
static void
shuffle_and_sort(struct route *route, uint32_t (*random)(void))
{
	struct route_host *h = route->hosts, swap;

	for (size_t i = route->host_count; i > 1; i--) {
		size_t j = random() % i;

		swap = h[i - 1];
		h[i - 1] = h[j];
		h[j] = swap;
	}
	for (size_t i = 1; i < route->host_count; i++)
		for (size_t j = i; j > 0 &&
		    by_preference(&h[j - 1], &h[j]) > 0; j--) {
			swap = h[j - 1];
			h[j - 1] = h[j];
			h[j] = swap;
		}
}

/* Every host failed to give an address: the gentlest reason counts, and now
 * speaks for the destination. */
static struct outcome
no_address_outcome(const struct route *route, const char *destination)
{
	struct outcome o = outcome_no_address(destination);

	if (route->host_count == 1)
		o = route->hosts[0].outcome;
	for (size_t i = 0; i < route->host_count; i++)
		if (route->hosts[i].outcome.verdict == VERDICT_LATER)
			o = route->hosts[i].outcome;
	o.scope = SCOPE_DESTINATION;
	return o;
}

static void
cut(struct route *route, size_t from)
{
	for (size_t i = from; i < route->host_count; i++)
		host_clear(&route->hosts[i]);
	if (from < route->host_count)
		route->host_count = from;
}

static char *
bogus_host(const struct route *route, const struct outcome *o)
{
	for (size_t i = 0; i < route->host_count; i++)
		if (o->tls_failure != TLS_FAILURE_NONE &&
		    strcmp(route->hosts[i].outcome.text, o->text) == 0)
			return xstrdup(route->hosts[i].name);
	return NULL;
}

/* No host has an address. */
static void
give_up(struct route *route, const char *destination)
{
	route->outcome = no_address_outcome(route, destination);
	route->bogus = bogus_host(route, &route->outcome);
	cut(route, 0);
}

void
route_arrange(struct route *route, const char *destination,
	const char *hostname, const struct route_local *local,
	uint32_t (*random)(void))
{
	size_t addressed = 0, kept = 0;
	uint16_t limit = 0;
	bool looped = false;

	shuffle_and_sort(route, random);
	for (size_t i = 0; i < route->host_count && !looped; i++) {
		looped = host_is_local(&route->hosts[i], hostname, local);
		limit = route->hosts[i].preference;
	}
	if (looped) {
		while (kept < route->host_count &&
		    route->hosts[kept].preference < limit)
			kept++;
		cut(route, kept);
		if (route->host_count == 0) {
			route->outcome = outcome_loop(destination);
			return;
		}
	}
	for (size_t i = 0; i < route->host_count; i++)
		addressed += route->hosts[i].addr_count > 0;
	if (addressed == 0)
		give_up(route, destination);
}

/* ---- lookups ---- */

static uint32_t
random_32(void)
{
	uint32_t bits = 0;

	(void)!getrandom(&bits, sizeof(bits), 0);
	return bits;
}

struct outcome
route_outcome(const struct route *route, const char *destination,
	const struct sts_view *sts)
{
	const struct outcome *o = &route->outcome;
	struct outcome later;

	if (o->verdict != VERDICT_NEVER || route->proven || sts == NULL)
		return *o;
	if (sts->what == STS_VIEW_DEFER) {
		later = sts->later;
		later.scope = SCOPE_DESTINATION;
		return later;
	}
	return sts_view_enforces(sts) ?
		outcome_sts_no_host(destination, o->text) : *o;
}

void
route_free(struct route **routep)
{
	if (*routep == NULL)
		return;
	cut(*routep, 0);
	free((*routep)->bogus);
	free((*routep)->hosts);
	mem_free(routep);
}

static void
finish(struct route_lookup *l)
{
	event_active(l->done_ev, EV_TIMEOUT, 0);
}

static void
on_done(evutil_socket_t fd, short what, void *arg)
{
	struct route_lookup *l = arg;
	struct route *route = l->route;

	(void)fd;
	(void)what;
	if (route->host_count > 0 && !l->relay)
		route_arrange(route, l->destination, l->conf->hostname,
			l->local, random_32);
	else if (route->host_count > 0 && route->hosts[0].addr_count == 0)
		give_up(route, l->destination);
	l->route = NULL;
	l->cb(route, l->arg);
	route_cancel(&l);
}

static struct route_host *
add_host(struct route *route, const char *name, uint16_t preference)
{
	struct route_host *host;

	/* Many routes are held at a time, most of one host. */
	route->hosts = xrealloc_n(route->hosts, route->host_count + 1,
		sizeof(*host));
	host = &route->hosts[route->host_count++];
	memset(host, 0, sizeof(*host));
	host->name = xstrdup(name);
	host->preference = preference;
	host->fresh_until_ms = INT64_MAX;
	return host;
}

static void
add_address(struct route_lookup *l, struct route_host *host, int family,
	const void *bytes)
{
	struct session_addr *to;
	struct sockaddr_in *in;
	struct sockaddr_in6 *in6;

	if (host->addr_count == SESSION_ADDRS_MAX)
		return;
	host->addrs = xrealloc_n(host->addrs, host->addr_count + 1,
		sizeof(*to));
	to = &host->addrs[host->addr_count];
	in = (struct sockaddr_in *)&to->addr;
	in6 = (struct sockaddr_in6 *)&to->addr;
	memset(to, 0, sizeof(*to));
	if (family == AF_INET) {
		in->sin_family = AF_INET;
		in->sin_port = htons(l->port);
		memcpy(&in->sin_addr, bytes, 4);
		to->len = sizeof(*in);
	} else {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(l->port);
		memcpy(&in6->sin6_addr, bytes, 16);
		to->len = sizeof(*in6);
	}
	host->addr_count++;
}

static void
host_verdict(struct route_lookup *l, struct host_lookup *h)
{
	struct route_host *host = &l->route->hosts[h->index];

	if (host->addr_count > 0)
		return;
	if (h->later)
		host->outcome = h->bogus ? outcome_dns_bogus(host->name,
			h->why) : outcome_dns_later(host->name, h->why);
	else if (l->relay)	/* the operator's mistake, not the sender's */
		host->outcome = outcome_dns_later(host->name,
			"the relay has no address");
	else if (l->implicit && h->absent)
		host->outcome = outcome_no_domain(host->name);
	else
		host->outcome = outcome_no_address(l->destination);
	/* Another host may still have one. */
	host->outcome.scope = SCOPE_HOST;
}

static enum dns_security
weaker(enum dns_security a, enum dns_security b)
{
	if (a == DNS_SEC_SECURE)
		return b;
	return b == DNS_SEC_SECURE ? a : a < b ? a : b;
}

static void
take_ttl(struct route_host *host, const struct dns_answer *answer)
{
	int64_t until_ms = clock_mono_ms() + (int64_t)answer->ttl_s * 1000;

	if (answer->result != DNS_LATER && until_ms < host->fresh_until_ms)
		host->fresh_until_ms = until_ms;
}

/* Only answers that gave addresses count: a denial that cannot be trusted for
 * one family does not spoil the other (RFC 7672 2.2.2). */
static void
take_security(struct route_host *host, const struct dns_answer *answer)
{
	bool first = host->canonical[0] == '\0';

	host->address_security = first ? answer->security :
		weaker(host->address_security, answer->security);
	host->chain_security = first ? answer->chain_security :
		weaker(host->chain_security, answer->chain_security);
	(void)str_copy(host->canonical, sizeof(host->canonical),
		answer->canonical);
}

/* Their signatures are not what they should be; not where we cannot tell. */
static bool
is_bogus(const struct route_lookup *l, const struct dns_answer *answer)
{
	return answer->result == DNS_LATER &&
		answer->security == DNS_SEC_BOGUS &&
		!resolver_at_fault(l->resolver, answer);
}

static void
take_addresses(struct host_lookup *h, struct dns_answer *answer)
{
	struct route_lookup *l = h->owner;
	struct route_host *host = &l->route->hosts[h->index];
	int family = answer->type == DNS_TYPE_A ? AF_INET : AF_INET6;

	if (answer->result == DNS_LATER) {
		h->later = true;
		h->bogus = h->bogus || is_bogus(l, answer);
		(void)str_copy(h->why, sizeof(h->why),
			answer->why != NULL ? answer->why : "no answer");
	}
	h->absent = h->absent || answer->result == DNS_NXDOMAIN;
	for (size_t i = 0; i < answer->count; i++)
		add_address(l, host, family, &answer->records[i].u);
	if (answer->count > 0)
		take_security(host, answer);
	take_ttl(host, answer);
	dns_answer_free(&answer);
	if (h->a == NULL && h->aaaa == NULL)
		host_verdict(l, h);
	if (--l->pending == 0)
		finish(l);
}

static void
on_a(struct dns_answer *answer, void *arg)
{
	struct host_lookup *h = arg;

	h->a = NULL;
	take_addresses(h, answer);
}

static void
on_aaaa(struct dns_answer *answer, void *arg)
{
	struct host_lookup *h = arg;

	h->aaaa = NULL;
	take_addresses(h, answer);
}

static void
look_up_hosts(struct route_lookup *l)
{
	for (size_t i = 0; i < l->route->host_count; i++)
		l->pending += (size_t)l->conf->ipv4 + (size_t)l->conf->ipv6;
	for (size_t i = 0; i < l->route->host_count; i++) {
		struct host_lookup *h = &l->lookups[i];

		h->owner = l;
		h->index = i;
		if (l->conf->ipv6)
			h->aaaa = resolver_start(l->resolver,
				l->route->hosts[i].name, DNS_TYPE_AAAA,
				on_aaaa, h);
		if (l->conf->ipv4)
			h->a = resolver_start(l->resolver,
				l->route->hosts[i].name, DNS_TYPE_A, on_a, h);
	}
}

static int
mx_order(const void *a, const void *b)
{
	const struct dns_record *x = a, *y = b;

	return (x->u.mx.preference > y->u.mx.preference) -
		(x->u.mx.preference < y->u.mx.preference);
}

/* "MX 0 ." alone: the domain takes no mail (RFC 7505 section 3). */
static bool
is_null_mx(const struct dns_answer *answer)
{
	return answer->count == 1 && answer->records[0].u.mx.host[0] == '\0';
}

static void
hosts_from_mx(struct route_lookup *l, struct dns_answer *answer)
{
	/* Any of one preference may be among those that are looked at. */
	for (size_t i = answer->count; i > 1; i--) {
		size_t j = random_32() % i;
		struct dns_record swap = answer->records[i - 1];

		answer->records[i - 1] = answer->records[j];
		answer->records[j] = swap;
	}
	qsort(answer->records, answer->count, sizeof(answer->records[0]),
		mx_order);
	for (size_t i = 0; i < answer->count &&
	    l->route->host_count < ROUTE_HOSTS_MAX; i++) {
		const struct dns_mx *mx = &answer->records[i].u.mx;
		struct route_host *host;

		/* A null MX beside others is a mistake: left out. */
		if (mx->host[0] == '\0' || !str_is_domain(mx->host))
			continue;
		host = add_host(l->route, mx->host, mx->preference);
		host->mx_security = answer->security;
		take_ttl(host, answer);
	}
	if (l->route->host_count == 0) {
		l->route->outcome = outcome_no_address(l->destination);
		finish(l);
		return;
	}
	look_up_hosts(l);
}

static struct outcome
mx_later(const struct route_lookup *l, const struct dns_answer *answer)
{
	const char *why = answer->why != NULL ? answer->why : "no answer";

	return is_bogus(l, answer) ? outcome_dns_bogus(l->destination, why) :
		outcome_dns_later(l->destination, why);
}

static void
on_mx(struct dns_answer *answer, void *arg)
{
	struct route_lookup *l = arg;

	l->mx = NULL;
	if (answer->result == DNS_FOUND && is_null_mx(answer)) {
		l->route->outcome = outcome_null_mx(l->destination);
		l->route->proven = answer->security == DNS_SEC_SECURE;
		finish(l);
	} else if (answer->result == DNS_FOUND) {
		hosts_from_mx(l, answer);
	} else if (answer->result == DNS_NODATA) {
		l->implicit = true;
		add_host(l->route, l->destination, 0)->mx_security =
			answer->security;
		take_ttl(&l->route->hosts[0], answer);
		look_up_hosts(l);
	} else {
		l->route->outcome = answer->result == DNS_NXDOMAIN ?
			outcome_no_domain(l->destination) :
			mx_later(l, answer);
		l->route->proven = answer->security == DNS_SEC_SECURE;
		finish(l);
	}
	dns_answer_free(&answer);
}

/* "[192.0.2.1]", "[ipv6:2001:db8::1]" (RFC 5321 4.1.3, already lower case). */
static bool
add_literal(struct route_lookup *l, const char *text)
{
	char inner[64];
	uint8_t bytes[16];
	size_t len = strlen(text);
	struct route_host *host;
	int family = AF_INET;
	const char *addr = inner;

	if (len < 3 || len - 2 >= sizeof(inner))
		return false;
	memcpy(inner, text + 1, len - 2);
	inner[len - 2] = '\0';
	if (strncmp(inner, "ipv6:", 5) == 0)
		addr += 5;
	if (addr > inner || strchr(addr, ':') != NULL)
		family = AF_INET6;
	if (inet_pton(family, addr, bytes) != 1)
		return false;
	host = add_host(l->route, text, 0);
	add_address(l, host, family, bytes);
	return true;
}

static void
start_relay(struct route_lookup *l, const struct conf_destination *rule)
{
	l->relay = l->route->relay = true;
	l->port = l->route->port = rule->relay_port;
	if (rule->relay_host[0] == '[') {
		if (!add_literal(l, rule->relay_host))
			l->route->outcome = outcome_bad_address(
				rule->relay_host);
		finish(l);
		return;
	}
	add_host(l->route, rule->relay_host, 0);
	look_up_hosts(l);
}

struct route_lookup *
route_start(struct event_base *base, struct resolver *resolver,
	const struct conf *conf, const struct route_local *local,
	const char *destination, route_cb *cb, void *arg)
{
	struct route_lookup *l = xcalloc(1, sizeof(*l));
	const struct conf_destination *rule = conf_destination(conf,
		destination);

	l->resolver = resolver;
	l->conf = conf;
	l->local = local;
	l->port = conf->smtp_port;
	l->cb = cb;
	l->arg = arg;
	l->done_ev = event_new(base, -1, 0, on_done, l);
	l->route = xcalloc(1, sizeof(*l->route));
	l->route->port = l->port;
	(void)str_copy(l->destination, sizeof(l->destination), destination);
	if (rule != NULL && rule->relay_host != NULL) {
		start_relay(l, rule);
	} else if (destination[0] == '[') {
		if (!add_literal(l, destination))
			l->route->outcome = outcome_bad_address(destination);
		finish(l);
	} else {
		l->mx = resolver_start(resolver, destination, DNS_TYPE_MX,
			on_mx, l);
	}
	return l;
}

void
route_cancel(struct route_lookup **lp)
{
	struct route_lookup *l = *lp;

	if (l == NULL)
		return;
	resolver_cancel(&l->mx);
	for (size_t i = 0; i < ROUTE_HOSTS_MAX; i++) {
		resolver_cancel(&l->lookups[i].a);
		resolver_cancel(&l->lookups[i].aaaa);
	}
	route_free(&l->route);
	event_free(l->done_ev);
	mem_free(lp);
}
