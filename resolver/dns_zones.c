/*
 * The tree of trust, from the root down.
 *
 * An entry is settled by settle() alone, once; what it then says holds until
 * its time is up.  Whoever waits for it is put on one list and called from
 * the loop, so nothing here is ever re-entered.
 *
 *	state     means                              leaves it when
 *	OPEN      parent, DS or DNSKEY not in yet    all that is needed is in
 *	SETTLED   trust, keys, why are final         time is up: removed
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "base/clock.h"
#include "base/mem.h"
#include "resolver/dns_table.h"
#include "resolver/dns_zones.h"
#include "resolver/resolver.h"

#define BOGUS_TTL_S 30
#define LATER_TTL_S 3
#define ENTRIES_MIN 256

LIST_HEAD(wait_list, dns_zones_wait);
TAILQ_HEAD(zone_list, zone);

/* One of the two answers that an entry needs. */
struct part {
	struct dns_ask *ask;
	struct dns_msg *msg;
	bool failed;
};

struct zone {
	struct dns_entry entry;		/* first */
	struct dns_zones *zones;
	TAILQ_ENTRY(zone) link;		/* of zones->open or ->settled */
	bool settled;
	struct part ds, key;
	struct dns_ds_list *proven;	/* the DS set, once it is proven */
	uint32_t proven_ttl;
	struct dns_zones_wait *parent_wait;
	struct wait_list waits;
	enum dns_trust trust;
	dns_name cut;			/* the zone that the name lies in */
	struct dns_keys *keys;		/* when cut is this name */
	int64_t until_ms;		/* monotonic */
	bool no_dnssec, reached;
	char why[DNS_WHY_MAX];
};

struct dns_zones_wait {
	LIST_ENTRY(dns_zones_wait) link;
	void (*cb)(void *arg);
	void *arg;
};

struct dns_zones {
	struct dns_zones_conf conf;
	struct dns_ds_list anchor;
	struct dns_table table;			/* struct zone */
	struct zone_list open;
	struct zone_list settled;	/* first: longest unused */
	struct wait_list ready;
	struct event *on_ready;
	struct dns_zones_stats stats;
};

static void zone_advance(struct zone *);

static void
part_drop(struct part *p)
{
	dns_query_cancel(&p->ask);
	dns_msg_free(&p->msg);
}

static void
zone_free(struct zone *z)
{
	part_drop(&z->ds);
	part_drop(&z->key);
	dns_zones_cancel(&z->parent_wait);
	mem_free(&z->proven);
	TAILQ_REMOVE(z->settled ? &z->zones->settled : &z->zones->open, z,
		link);
	dns_table_remove(&z->zones->table, &z->entry);
	dns_keys_free(&z->keys);
	free(z);
}

static void
on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct dns_zones *zs = arg;
	struct dns_zones_wait *w;

	(void)fd;
	(void)what;
	while ((w = LIST_FIRST(&zs->ready)) != NULL) {
		void (*cb)(void *) = w->cb;
		void *cb_arg = w->arg;

		LIST_REMOVE(w, link);
		free(w);
		cb(cb_arg);
	}
}

/* ---- settling -------------------------------------------------------- */

static void
settle(struct zone *z, enum dns_trust trust, int64_t ttl_s)
{
	struct dns_zones *zs = z->zones;
	struct dns_zones_wait *w;

	if (ttl_s > zs->conf.max_ttl_s)
		ttl_s = zs->conf.max_ttl_s;
	/* Even a TTL of zero serves those who wait for it now. */
	z->until_ms = clock_mono_ms() + (ttl_s < 1 ? 1 : ttl_s) * 1000;
	z->trust = trust;
	TAILQ_REMOVE(&zs->open, z, link);
	z->settled = true;
	part_drop(&z->ds);
	part_drop(&z->key);
	mem_free(&z->proven);
	TAILQ_INSERT_TAIL(&zs->settled, z, link);
	while ((w = LIST_FIRST(&z->waits)) != NULL) {
		LIST_REMOVE(w, link);
		LIST_INSERT_HEAD(&zs->ready, w, link);
	}
	event_active(zs->on_ready, EV_TIMEOUT, 0);
}

static void
why_set(struct zone *z, const char *why)
{
	char name[DNS_TEXT_MAX];

	dns_name_format(z->entry.name, name);
	snprintf(z->why, sizeof(z->why), "zone %.100s: %.*s",
		name[0] == '\0' ? "." : name, DNS_WHY_MAX - 120, why);
}

static void
settle_bad(struct zone *z, enum dns_trust trust, const char *why)
{
	why_set(z, why);
	settle(z, trust, trust == DNS_TRUST_LATER ? LATER_TTL_S :
		BOGUS_TTL_S);
}

/* ---- asking ---------------------------------------------------------- */

static void
part_take(struct zone *z, struct part *p, const struct dns_reply *r)
{
	p->ask = NULL;
	p->msg = r->msg;
	p->failed = r->msg == NULL;
	if (r->msg == NULL) {
		snprintf(z->why, sizeof(z->why), "%s", r->why);
		z->no_dnssec = r->no_dnssec;
	}
	z->reached |= r->reached;
	zone_advance(z);
}

static void
on_ds(const struct dns_reply *r, void *arg)
{
	struct zone *z = arg;

	part_take(z, &z->ds, r);
}

static void
on_key(const struct dns_reply *r, void *arg)
{
	struct zone *z = arg;

	part_take(z, &z->key, r);
}

static void
part_ask(struct zone *z, struct part *p)
{
	bool ds = p == &z->ds;

	if (p->ask == NULL && p->msg == NULL && !p->failed)
		p->ask = dns_query_start(z->zones->conf.query, z->entry.name,
			ds ? DNS_TYPE_DS : DNS_TYPE_DNSKEY,
			ds ? on_ds : on_key, z);
}

/* True when the answer is there; else it has been asked for, or failed and
 * the entry is settled. */
static bool
part_needed(struct zone *z, struct part *p)
{
	char why[DNS_WHY_MAX];

	part_ask(z, p);
	if (p->failed) {
		snprintf(why, sizeof(why), "%.200s", z->why);
		settle_bad(z, DNS_TRUST_LATER, why);
	}
	return p->msg != NULL;
}

/* ---- the steps ------------------------------------------------------- */

void
dns_zones_check(const struct dns_zones *zs, struct dns_check *out)
{
	out->when.now_s = clock_wall_s();
	out->when.skew_s = zs->conf.skew_s;
	out->iterations_max = zs->conf.iterations_max;
}

static void
check_begin(struct zone *z, struct dns_check *c, struct dns_budget *b)
{
	b->checks = DNS_ZONE_CHECKS;
	b->hashes = DNS_ZONE_HASHES;
	dns_zones_check(z->zones, c);
	c->budget = b;
}

/* The DS records are proven (or the anchor): the keys decide. */
static void
keys_judge(struct zone *z, const struct dns_ds_list *ds, uint32_t ttl)
{
	struct dns_check check;
	struct dns_budget budget;
	uint32_t key_ttl;
	bool exceeded;
	const char *why;

	check_begin(z, &check, &budget);
	z->keys = dns_trust_keys(z->key.msg, z->entry.name, ds, &check,
		&key_ttl, &exceeded, &why);
	z->zones->stats.checks += DNS_ZONE_CHECKS - budget.checks;
	if (z->keys == NULL) {
		settle_bad(z, exceeded ? DNS_TRUST_LATER : DNS_TRUST_BOGUS,
			why);
		return;
	}
	dns_name_copy(z->cut, z->entry.name);
	settle(z, DNS_TRUST_SECURE, ttl < key_ttl ? ttl : key_ttl);
}

static void
root_advance(struct zone *z)
{
	if (part_needed(z, &z->key))
		keys_judge(z, &z->zones->anchor, UINT32_MAX);
}

static void
child_keys(struct zone *z)
{
	if (part_needed(z, &z->key))
		keys_judge(z, z->proven, z->proven_ttl);
}

/* The DS answer, judged with the keys of the zone above. */
static void
child_judge(struct zone *z, const struct dns_zone_info *parent)
{
	struct dns_check check;
	struct dns_budget budget;
	struct dns_ds_list ds;
	uint32_t ttl = 0;
	const char *why = NULL;
	enum dns_child child;

	check_begin(z, &check, &budget);
	child = dns_trust_child(z->ds.msg, z->entry.name, parent->keys,
		&check, &ds, &ttl, &why);
	z->zones->stats.checks += DNS_ZONE_CHECKS - budget.checks;
	if (parent->left_s < ttl)
		ttl = (uint32_t)parent->left_s;
	switch (child) {
	case DNS_CHILD_SIGNED:
		z->proven = xmalloc(sizeof(ds));
		*z->proven = ds;
		z->proven_ttl = ttl;
		child_keys(z);
		return;
	case DNS_CHILD_SAME_ZONE:
		dns_name_copy(z->cut, parent->keys->zone);
		settle(z, DNS_TRUST_SECURE, ttl);
		return;
	case DNS_CHILD_INSECURE:
		why_set(z, why);
		settle(z, DNS_TRUST_INSECURE, ttl);
		return;
	default:
		settle_bad(z, child == DNS_CHILD_EXCEEDED ? DNS_TRUST_LATER :
			DNS_TRUST_BOGUS, why);
	}
}

static void
on_parent(void *arg)
{
	struct zone *z = arg;

	z->parent_wait = NULL;
	zone_advance(z);
}

/* Takes an entry as far as what is there allows. */
static void
zone_advance(struct zone *z)
{
	struct dns_zone_info parent;
	unsigned quota = DNS_ZONES_PER_LOOKUP;

	if (*z->entry.name == 0) {
		root_advance(z);
		return;
	}
	if (z->proven != NULL) {
		child_keys(z);
		return;
	}
	if (z->parent_wait != NULL)
		return;
	dns_zones_find(z->zones, dns_name_up(z->entry.name, 1), false, &quota,
		&parent);
	switch (parent.trust) {
	case DNS_TRUST_WAIT:
		z->parent_wait = dns_zones_wait(z->zones, parent.wait_name,
			on_parent, z);
		return;
	case DNS_TRUST_SECURE:
		if (part_needed(z, &z->ds))
			child_judge(z, &parent);
		return;
	default:
		snprintf(z->why, sizeof(z->why), "%s", parent.why);
		z->no_dnssec = parent.no_dnssec;
		z->reached = parent.reached;
		settle(z, parent.trust, parent.left_s);
	}
}

/* ---- finding --------------------------------------------------------- */

static void
info_fill(struct dns_zones *zs, struct zone *z, struct dns_zone_info *out)
{
	out->trust = z->trust;
	out->why = z->why;
	out->left_s = (z->until_ms - clock_mono_ms()) / 1000;
	out->no_dnssec = z->no_dnssec;
	out->reached = z->reached;
	TAILQ_REMOVE(&zs->settled, z, link);
	TAILQ_INSERT_TAIL(&zs->settled, z, link);
}

/* The entry when it can be used, dropped when its time is up. */
static struct zone *
zone_get(struct dns_zones *zs, const uint8_t *name)
{
	struct zone *z = (struct zone *)dns_table_find(&zs->table, name, 0);

	if (z != NULL && z->settled && clock_mono_ms() >= z->until_ms) {
		zone_free(z);
		z = NULL;
	}
	return z;
}

static struct zone *
zone_new(struct dns_zones *zs, const uint8_t *name)
{
	struct zone *z = xcalloc(1, sizeof(*z));
	struct zone *old;

	while (zs->table.count >= zs->conf.entries_max &&
	    (old = TAILQ_FIRST(&zs->settled)) != NULL)
		zone_free(old);
	z->zones = zs;
	LIST_INIT(&z->waits);
	TAILQ_INSERT_TAIL(&zs->open, z, link);
	dns_table_add(&zs->table, &z->entry, name, 0);
	return z;
}

/* True when out is filled in from a settled entry.  One that only refers to
 * the zone above it is of no use once that is gone. */
static bool
info_get(struct dns_zones *zs, const uint8_t *name, struct dns_zone_info *out)
{
	struct zone *z = zone_get(zs, name), *cut;

	if (z == NULL || !z->settled)
		return false;
	info_fill(zs, z, out);
	if (z->trust != DNS_TRUST_SECURE)
		return true;
	cut = z->keys != NULL ? z : zone_get(zs, z->cut);
	if (cut == NULL || !cut->settled || cut->keys == NULL) {
		zone_free(z);
		return false;
	}
	out->keys = cut->keys;
	if (cut != z)
		TAILQ_REMOVE(&zs->settled, cut, link);
	if (cut != z)
		TAILQ_INSERT_TAIL(&zs->settled, cut, link);
	return true;
}

static void
wait_for(struct dns_zone_info *out, const uint8_t *name)
{
	memset(out, 0, sizeof(*out));
	out->trust = DNS_TRUST_WAIT;
	out->wait_name = name;
}

/* A new entry; the answers it is likely to need are asked for at once. */
static struct zone *
zone_start(struct dns_zones *zs, const uint8_t *name, bool both)
{
	struct zone *z = zone_new(zs, name);

	if (both && *name != 0)
		part_ask(z, &z->ds);
	if (both || *name == 0)
		part_ask(z, &z->key);
	zone_advance(z);
	return z;
}

void
dns_zones_find(struct dns_zones *zs, const uint8_t *name, bool both,
	unsigned *quota, struct dns_zone_info *out)
{
	struct zone *z;

	memset(out, 0, sizeof(*out));
	if (info_get(zs, name, out))
		return;
	z = (struct zone *)dns_table_find(&zs->table, name, 0);
	if (z != NULL) {
		wait_for(out, z->entry.name);
		return;
	}
	/* What holds for the parent may settle the matter without asking. */
	if (*name != 0) {
		dns_zones_find(zs, dns_name_up(name, 1), both, quota, out);
		if (out->trust != DNS_TRUST_SECURE &&
		    (out->trust != DNS_TRUST_WAIT || !both))
			return;
	}
	memset(out, 0, sizeof(*out));
	if (*quota == 0) {
		out->trust = DNS_TRUST_LATER;
		out->why = "the chain of zones is too long";
		return;
	}
	(*quota)--;
	wait_for(out, zone_start(zs, name, both)->entry.name);
}

struct dns_zones_wait *
dns_zones_wait(struct dns_zones *zs, const uint8_t *name, void (*cb)(void *),
	void *arg)
{
	struct zone *z = (struct zone *)dns_table_find(&zs->table, name, 0);
	struct dns_zones_wait *w = xcalloc(1, sizeof(*w));

	w->cb = cb;
	w->arg = arg;
	if (z != NULL && !z->settled) {
		LIST_INSERT_HEAD(&z->waits, w, link);
	} else {
		LIST_INSERT_HEAD(&zs->ready, w, link);
		event_active(zs->on_ready, EV_TIMEOUT, 0);
	}
	return w;
}

void
dns_zones_cancel(struct dns_zones_wait **wp)
{
	if (*wp == NULL)
		return;
	LIST_REMOVE(*wp, link);
	mem_free(wp);
}

/* ---- showing --------------------------------------------------------- */

bool
dns_zones_explain(struct dns_zones *zs, const uint8_t *name, char *out,
	size_t out_bytes)
{
	struct zone *z = zone_get(zs, name);
	size_t used;

	if (z == NULL || !z->settled)
		return false;
	if (z->trust != DNS_TRUST_SECURE) {
		snprintf(out, out_bytes, "%s: %s",
			z->trust == DNS_TRUST_INSECURE ? "insecure" :
			z->trust == DNS_TRUST_BOGUS ? "bogus" :
			"indeterminate", z->why);
		return true;
	}
	if (z->keys == NULL) {
		snprintf(out, out_bytes, "secure: not delegated, belongs to "
			"the zone above");
		return true;
	}
	used = (size_t)snprintf(out, out_bytes, "secure: %s, keys",
		*name == 0 ? "trust anchor" : "DS record fits");
	for (size_t i = 0; i < z->keys->count && used < out_bytes; i++)
		used += (size_t)snprintf(out + used, out_bytes - used,
			" %u/%u", z->keys->keys[i].tag,
			z->keys->keys[i].algorithm);
	return true;
}

void
dns_zones_stats(const struct dns_zones *zs, struct dns_zones_stats *out)
{
	*out = zs->stats;
	out->entries = zs->table.count;
}

/* ---- life ------------------------------------------------------------ */

struct dns_zones *
dns_zones_new(const struct dns_zones_conf *conf)
{
	struct dns_zones *zs = xcalloc(1, sizeof(*zs));

	zs->conf = *conf;
	zs->anchor = *conf->anchor;
	zs->conf.anchor = NULL;
	if (zs->conf.entries_max < ENTRIES_MIN)
		zs->conf.entries_max = ENTRIES_MIN;
	dns_table_init(&zs->table);
	TAILQ_INIT(&zs->open);
	TAILQ_INIT(&zs->settled);
	LIST_INIT(&zs->ready);
	zs->on_ready = evtimer_new(conf->base, on_ready, zs);
	if (zs->on_ready == NULL)
		abort();	/* out of memory */
	return zs;
}

void
dns_zones_flush(struct dns_zones *zs)
{
	while (!TAILQ_EMPTY(&zs->settled))
		zone_free(TAILQ_FIRST(&zs->settled));
}

void
dns_zones_forgive(struct dns_zones *zs)
{
	struct zone *z, *next;

	for (z = TAILQ_FIRST(&zs->settled); z != NULL; z = next) {
		next = TAILQ_NEXT(z, link);
		if (z->trust == DNS_TRUST_BOGUS || z->trust == DNS_TRUST_LATER)
			zone_free(z);
	}
}

void
dns_zones_free(struct dns_zones **zsp)
{
	struct dns_zones *zs = *zsp;
	struct zone *z;

	if (zs == NULL)
		return;
	/* They wait for each other: that ends before any goes.  Others must
	 * have cancelled. */
	TAILQ_FOREACH(z, &zs->open, link)
		dns_zones_cancel(&z->parent_wait);
	while ((z = TAILQ_FIRST(&zs->open)) != NULL)
		zone_free(z);
	dns_zones_flush(zs);
	dns_table_clear(&zs->table);
	event_free(zs->on_ready);
	mem_free(zsp);
}
