/*
 * MX hosts and the sessions that are open to them, whatever the destination
 * they were made for.
 *
 * A job comes here with all that policy demands of the host.  It may travel on
 * an open session of another destination when that was made to the same host,
 * port and one of its present addresses, for messages of the same kind, and
 * its demand covers the job's (policy/demand.h).  Sessions in the clear after
 * a failed handshake are not shared.
 */
#include "config.h"

#include <event2/event.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "smtpd-out/worker/delivery_int.h"

#define SCAN_MAX 64		/* sessions or jobs looked at in one go */
#define STALE_MAX 2		/* then a session of its own */
#define PROBE_MS 100		/* between two tries of who is down */
#define PATIENCE_MS 5000	/* for a session to get free */
#define EXTRA_MS 1000
#define ASK_MAX 10		/* times in one attempt */
#define SWEEP_MIN 64

/* ---- hosts ---- */

static void feed_starved(struct deliveries *);

static void
on_work(evutil_socket_t fd, short what, void *arg)
{
	struct pool_host *h = arg;

	(void)fd;
	(void)what;
	pool_pump(h);
	/* What it did not need is for the others. */
	feed_starved(h->all);
}

static size_t
make_key(char key[STR_DOMAIN_MAX + 8], const char *name, uint16_t port)
{
	int len = snprintf(key, STR_DOMAIN_MAX + 8, "%s %u", name, port);

	return (size_t)len < STR_DOMAIN_MAX + 8 ? (size_t)len :
		STR_DOMAIN_MAX + 7;
}

static struct pool_host *
host_get(struct deliveries *all, const char *name, uint16_t port)
{
	char key[STR_DOMAIN_MAX + 8];
	size_t key_len = make_key(key, name, port), len = strlen(name);
	struct pool_host *h = table_get(all->hosts, key, key_len);

	if (h != NULL)
		return h;
	h = xcalloc(1, sizeof(*h) + len + 1);
	h->all = all;
	h->port = port;
	memcpy(h->name, name, len + 1);
	TAILQ_INIT(&h->idle);
	TAILQ_INIT(&h->waiting);
	h->ev = event_new(all->env->base, -1, 0, on_work, h);
	table_put(all->hosts, key, key_len, h);
	return h;
}

static void
host_free(struct pool_host *h)
{
	if (h->is_starved)
		TAILQ_REMOVE(&h->all->starved, h, starved_link);
	event_free(h->ev);
	free(h->down);
	free(h);
}

static void
drop_unused(void *value, void *arg)
{
	struct deliveries *all = arg;
	struct pool_host *h = value;
	char key[STR_DOMAIN_MAX + 8];
	int64_t now_ms = clock_mono_ms();

	if (h->links > 0 || !TAILQ_EMPTY(&h->waiting) ||
	    !pace_is_new(&h->pace, now_ms) || h->slot.at_ms > now_ms)
		return;
	(void)table_remove(all->hosts, key, make_key(key, h->name, h->port));
	host_free(h);
}

/* Costs little for each host that was met. */
void
pool_sweep(struct deliveries *all)
{
	if (table_count(all->hosts) <= all->hosts_sweep)
		return;
	table_each(all->hosts, drop_unused, all);
	all->hosts_sweep = 2 * table_count(all->hosts) + SWEEP_MIN;
}

static void
free_host(void *value, void *arg)
{
	(void)arg;
	host_free(value);
}

void
pool_free(struct deliveries *all)
{
	table_each(all->hosts, free_host, NULL);
	table_free(&all->hosts);
}

static void
take_limits(struct pool_host *h)
{
	unsigned now = limits_generation(h->all->limits) + 1;

	if (h->generation == now)
		return;
	limits_get_host(h->all->limits, h->name, &h->bounds);
	h->generation = now;
	/* Places taken at another rate. */
	h->slot = (struct pace_slot){ .taken = false };
	h->rate.next_ns = 0;
}

static void
pump_soon(struct pool_host *h)
{
	if (!TAILQ_EMPTY(&h->waiting))
		event_active(h->ev, EV_TIMEOUT, 0);
}

static void
pump_in(struct pool_host *h, int64_t ms)
{
	struct timeval tv = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	(void)event_add(h->ev, &tv);
}

bool
pool_may_go(struct pool_host *h)
{
	int64_t ms;

	take_limits(h);
	if (h->bounds.rate.count == 0)
		return true;
	ms = pace_slot_wait(&h->slot, &h->rate, &h->bounds.rate, NULL, NULL,
		clock_mono_ms());
	if (ms == 0)
		return true;
	pump_in(h, ms);
	return false;
}

void
pool_went(struct pool_host *h)
{
	h->slot.taken = false;
}

/* ---- the life of a session ---- */

void
pool_opened(struct link *l, const char *host, uint16_t port)
{
	l->at = host_get(l->dest->all, host, port);
	l->at->links++;
	l->dest->all->open++;
	l->born_ms = clock_mono_ms();
}

void
pool_idle(struct link *l)
{
	l->is_idle = true;
	TAILQ_INSERT_HEAD(&l->dest->idle, l, dest_link);
	TAILQ_INSERT_HEAD(&l->at->idle, l, host_link);
	TAILQ_INSERT_HEAD(&l->dest->all->idle, l, all_link);
	l->dest->idle_count++;
	feed_starved(l->dest->all);
}

void
pool_busy(struct link *l)
{
	if (!l->is_idle)
		return;
	l->is_idle = false;
	TAILQ_REMOVE(&l->dest->idle, l, dest_link);
	TAILQ_REMOVE(&l->at->idle, l, host_link);
	TAILQ_REMOVE(&l->dest->all->idle, l, all_link);
	l->dest->idle_count--;
}

/* The next one that waits for room among all sessions, when there is some.
 * Who got on without it is passed over. */
static void
feed_starved(struct deliveries *all)
{
	struct conf_bounds total;
	struct pool_host *h;
	bool found = false;

	limits_get_total(all->limits, &total);
	if (total.connections > 0 && all->open >= total.connections &&
	    TAILQ_EMPTY(&all->idle))
		return;
	while (!found && (h = TAILQ_FIRST(&all->starved)) != NULL) {
		TAILQ_REMOVE(&all->starved, h, starved_link);
		h->is_starved = false;
		found = !TAILQ_EMPTY(&h->waiting);
		pump_soon(h);
	}
}

void
pool_gone(struct link *l)
{
	pool_busy(l);
	if (l->gone)
		return;
	l->gone = true;
	l->at->links--;
	l->dest->all->open--;
	if (l->was_ready)
		l->dest->ready--;
	pump_soon(l->at);
	feed_starved(l->dest->all);
}

void
pool_ready(struct link *l)
{
	struct pool_host *h = l->at;

	if (!l->was_ready) {
		l->was_ready = true;
		l->dest->ready++;
	}
	if (pace_good(&h->pace, (unsigned)h->links))
		log_info("host-up", "mx", h->name, NULL);
	mem_free(&h->down);
	dest_good(l->dest);
	if (!TAILQ_EMPTY(&h->waiting))
		pump_soon(h);
}

static bool
found_nobody(const struct outcome *why)
{
	return why->verdict == VERDICT_LATER &&
		(why->stage == STAGE_CONNECT || why->stage == STAGE_BANNER);
}

static void
host_down(struct pool_host *h, const struct outcome *why)
{
	int64_t now_ms = clock_mono_ms();

	/* Others that are under way will tell. */
	if (h->links > 0 || pace_is_down(&h->pace, now_ms))
		return;
	pace_down(&h->pace, &h->all->env->conf->retry, now_ms);
	if (h->down == NULL)
		h->down = xmalloc(sizeof(*h->down));
	*h->down = *why;
	h->down_since_ms = now_ms;
	log_info("host-down", "mx", h->name, "seconds",
		log_num((h->pace.until_ms - now_ms) / 1000), "reason",
		why->text, NULL);
}

void
pool_closed(struct link *l, const struct outcome *why)
{
	/* A full handshake will tell. */
	bool refused = !l->was_ready && found_nobody(why) &&
		!session_info(l->session)->resuming;
	bool enough = why->remote && why->code == 421 && l->job != NULL &&
		!l->reused;

	pool_gone(l);
	if (l->dest->all->stopping)
		return;
	if (refused || enough) {
		pace_bad(&l->at->pace);
		dest_bad(l->dest);
	}
	if (refused)
		host_down(l->at, why);
}

/* ---- which session for which job ---- */

static bool
is_address(const struct route_host *h, const char *ip)
{
	char text[64];

	for (size_t i = 0; i < h->addr_count; i++)
		if (getnameinfo((const struct sockaddr *)&h->addrs[i].addr,
		    h->addrs[i].len, text, sizeof(text), NULL, 0,
		    NI_NUMERICHOST) == 0 && strcmp(text, ip) == 0)
			return true;
	return false;
}

static bool
fits(const struct link *l, const struct delivery *d)
{
	const struct session_info *info = session_info(l->session);

	return d->stale < STALE_MAX && !d->clear_next && !l->fallback &&
		!link_is_spent(l) && l->message == delivery_message(d) &&
		demand_covers(l->made, &info->proof, d->need->demand) &&
		is_address(&d->route->hosts[d->policy_host], info->ip);
}

static struct link *
find_idle(struct pool_host *h, const struct delivery *d)
{
	unsigned looked = 0;
	struct link *l;

	TAILQ_FOREACH(l, &h->idle, host_link)
		if (fits(l, d))
			return l;
		else if (++looked >= SCAN_MAX)
			break;
	return NULL;
}

void
pool_leave(struct delivery *d)
{
	if (d->at != NULL) {
		TAILQ_REMOVE(&d->at->waiting, d, wait_link);
		d->at->waiting_count--;
	}
	d->at = NULL;
	if (d->need == NULL)
		return;
	demand_free(&d->need->demand);
	tlsa_seen_free(&d->need->tlsa);
	mem_free(&d->need);
}

struct delivery *
pool_take_waiter(struct link *l)
{
	struct pool_host *h = l->at;
	unsigned looked = 0;
	struct delivery *d;

	TAILQ_FOREACH(d, &h->waiting, wait_link) {
		if (fits(l, d) && !delivery_is_outdated(d))
			break;
		if (++looked >= SCAN_MAX)
			return NULL;
	}
	return d != NULL && pool_may_go(h) ? d : NULL;
}

void
pool_adopt(struct link *l, struct delivery *d)
{
	bool other = l->dest != d->dest;

	pool_busy(l);
	TAILQ_REMOVE(&l->dest->links, l, link);
	l->dest->ready--;
	l->dest = d->dest;
	l->dest->ready++;
	TAILQ_INSERT_TAIL(&l->dest->links, l, link);
	demand_free(&l->demand);
	sts_view_unref(&l->sts);
	tlsa_seen_free(&l->tlsa);
	l->demand = d->need->demand;
	l->tlsa = d->need->tlsa;
	l->sts = d->sts == NULL ? NULL : sts_view_ref(d->sts);
	l->fresh_until_ms = d->need->fresh_until_ms;
	l->host = d->policy_host;
	d->need->demand = NULL;
	d->need->tlsa = NULL;
	pool_leave(d);
	if (other) {
		log_debug("session-shared", "mx", l->at->name, "destination",
			l->dest->name, NULL);
		l->noted = false;
		l->report = delivery_is_report(d);
	}
	delivery_attach(l, d);
	link_note(l, NULL);
}

/* ---- jobs that wait ---- */

static bool
is_down(const struct pool_host *h, const struct delivery *d)
{
	int64_t now_ms = clock_mono_ms();

	if (h->down == NULL || !pace_is_down(&h->pace, now_ms))
		return false;
	/* Who was told to try again tries, one at a time. */
	return !d->probe || h->links > 0 ||
		now_ms - h->down_since_ms < PROBE_MS;
}

/* A host whose sessions hang must not hold up others for as long as these
 * may: one more each second for who has waited for some. */
static bool
is_impatient(struct pool_host *h, const struct delivery *d)
{
	int64_t now_ms = clock_mono_ms();
	int64_t at_ms = d->wait_since_ms + PATIENCE_MS;

	if (h->bounds.connections > 0 && h->links >= h->bounds.connections)
		return false;
	if (at_ms < h->extra_ms)
		at_ms = h->extra_ms;
	if (now_ms < at_ms) {
		pump_in(h, at_ms - now_ms);
		return false;
	}
	h->extra_ms = now_ms + EXTRA_MS;
	return true;
}

static bool
window_has_room(struct pool_host *h, const struct delivery *d)
{
	unsigned max = pace_limit(&h->pace, h->bounds.connections,
		clock_mono_ms());

	if (max == 0 && d->probe)
		max = 1;
	if (h->links >= max && !TAILQ_EMPTY(&h->idle))
		link_quit(TAILQ_LAST(&h->idle, link_list));
	return h->links < max || is_impatient(h, d);
}

static bool
has_room(struct pool_host *h, const struct delivery *d)
{
	struct deliveries *all = h->all;
	struct conf_bounds total;

	if (!window_has_room(h, d))
		return false;
	limits_get_total(all->limits, &total);
	if (total.connections == 0 || all->open < total.connections)
		return true;
	if (!TAILQ_EMPTY(&all->idle))
		link_quit(TAILQ_LAST(&all->idle, link_list));
	if (all->open < total.connections)
		return true;
	if (!h->is_starved) {
		h->is_starved = true;
		TAILQ_INSERT_TAIL(&all->starved, h, starved_link);
	}
	return false;
}

/* From the route on, as a new job would; it keeps its place. */
static void
ask_again(struct delivery *d)
{
	const struct outcome o = outcome_local("no session before what DNS "
		"said had expired, again and again");

	pool_leave(d);
	if (d->asked_again++ >= ASK_MAX) {
		delivery_host_down(d, &o);
		return;
	}
	d->keeps_place = true;
	d->clear_next = false;
	d->host = 0;
	d->sts_failed = d->only_hosts = 0;
	route_free(&d->route);
	delivery_start(d);
}

/* True when it has left the list. */
static bool
serve(struct pool_host *h, struct delivery *d)
{
	struct dest *dest = d->dest;
	struct link *l;

	if (is_down(h, d)) {
		pool_leave(d);
		delivery_host_down(d, h->down);
		dest_pump(dest);
		return true;
	}
	l = find_idle(h, d);
	if (l == NULL && !has_room(h, d))
		return false;
	if (delivery_is_outdated(d)) {
		ask_again(d);
		dest_pump(dest);
		return true;
	}
	if (!pool_may_go(h))
		return false;
	if (l != NULL)
		pool_adopt(l, d);
	else
		delivery_connect(d);
	return true;
}

void
pool_pump(struct pool_host *h)
{
	struct delivery *d;

	take_limits(h);
	while ((d = TAILQ_FIRST(&h->waiting)) != NULL && serve(h, d))
		;
}

void
pool_enter(struct delivery *d, struct host_policy_result *result)
{
	struct pool_host *h = host_get(d->dest->all,
		d->route->hosts[d->policy_host].name, d->route->port);

	d->need = xmalloc(sizeof(*d->need));
	*d->need = *result;
	take_limits(h);
	if (!d->keeps_place && delivery_gives_back(d, &h->bounds.rate,
	    h->waiting_count))
		return;
	d->at = h;
	h->waiting_count++;
	d->entered_ms = clock_mono_ms();
	if (d->keeps_place) {
		TAILQ_INSERT_HEAD(&h->waiting, d, wait_link);
	} else {
		d->wait_since_ms = d->entered_ms;
		TAILQ_INSERT_TAIL(&h->waiting, d, wait_link);
	}
	d->keeps_place = false;
	pool_pump(h);
}

static void
limits_changed(void *value, void *arg)
{
	(void)arg;
	pump_soon(value);
}

void
pool_limits(struct deliveries *all)
{
	table_each(all->hosts, limits_changed, NULL);
}

static void
stop_host(void *value, void *arg)
{
	struct pool_host *h = value;
	struct delivery *d;

	(void)arg;
	while ((d = TAILQ_FIRST(&h->waiting)) != NULL) {
		pool_leave(d);
		delivery_drop(d);
	}
}

void
pool_stop(struct deliveries *all)
{
	table_each(all->hosts, stop_host, NULL);
}
