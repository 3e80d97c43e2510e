/*
 * The probe: two questions that every validating lookup depends on.
 *
 * The root's DNSKEY set must be signed by a key of the trust anchor.  When it
 * is not, the times in the signatures tell a wrong clock from a wrong anchor.
 * The root has no DS record, so asking for one shows whether the proof that
 * something does not exist gets through.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "resolver/dns_probe.h"

#define DAY_S 86400

/* What is kept of a reply until the other is there. */
struct half {
	struct dns_ask *ask;
	bool in;
	struct dns_reply reply;
	char why[DNS_WHY_MAX];
};

struct dns_probe {
	const struct dns_ds_list *anchor;
	int64_t skew_s;
	dns_probe_cb *cb;
	void *arg;
	struct half key, ds;
};

static enum resolver_state
say(char why[DNS_WHY_MAX], enum resolver_state state, const char *text)
{
	snprintf(why, DNS_WHY_MAX, "%s", text);
	return state;
}

/* What cannot be proved is an error, not an absence. */
#define STRIPS "this resolver strips DNSSEC records, without which mail waits "

static enum resolver_state
judge_failure(const struct dns_reply *r, char why[DNS_WHY_MAX])
{
	if (r->no_dnssec)
		return say(why, RESOLVER_STRIPS, STRIPS "(it answers without "
			"EDNS and the DO bit)");
	snprintf(why, DNS_WHY_MAX, "resolver unreachable: %.200s", r->why);
	return RESOLVER_UNREACHABLE;
}

static struct dns_keys *
keys_at(const struct dns_msg *m, const struct dns_ds_list *anchor,
	const struct dns_when *when)
{
	static const uint8_t root[1] = { 0 };
	struct dns_budget budget = { 16, 0 };
	struct dns_check check = { *when, &budget, 0 };
	uint32_t ttl;
	bool exceeded;
	const char *why;

	return dns_trust_keys(m, root, anchor, &check, &ttl, &exceeded, &why);
}

/* True when a signature is right but for the time; tells how far it is off:
 * above 0: not valid yet, below: expired. */
static bool
right_but_for_time(const struct dns_msg *m, const struct dns_ds_list *anchor,
	const struct dns_when *now, int64_t *off_out)
{
	for (size_t i = 0; i < m->count; i++) {
		struct dns_sig sig;
		struct dns_when then = *now;
		struct dns_keys *keys;
		int32_t to_start, to_end;

		if (m->rrs[i].type != DNS_TYPE_RRSIG)
			continue;
		dns_sig_read(&m->rrs[i], &sig);
		to_start = (int32_t)(sig.inception - (uint32_t)now->now_s);
		to_end = (int32_t)(sig.expiration - (uint32_t)now->now_s);
		if (sig.covered != DNS_TYPE_DNSKEY || (to_start <= 0 &&
		    to_end >= 0))
			continue;
		then.now_s += to_start;
		keys = keys_at(m, anchor, &then);
		if (keys == NULL)
			continue;
		dns_keys_free(&keys);
		*off_out = to_start > 0 ? to_start : to_end;
		return true;
	}
	return false;
}

static enum resolver_state
judge_keys(const struct dns_msg *m, const struct dns_ds_list *anchor,
	const struct dns_when *when, char why[DNS_WHY_MAX])
{
	struct dns_keys *keys = keys_at(m, anchor, when);
	bool signatures = false;
	int64_t off;

	if (keys != NULL) {
		dns_keys_free(&keys);
		return RESOLVER_VALIDATING;
	}
	for (size_t i = 0; i < m->count; i++)
		signatures |= m->rrs[i].type == DNS_TYPE_RRSIG;
	if (!signatures)
		return say(why, RESOLVER_STRIPS, STRIPS "(no signatures)");
	if (!right_but_for_time(m, anchor, when, &off))
		return say(why, RESOLVER_ANCHOR, "trust anchor does not match "
			"the root's keys");
	if (off > DAY_S)
		return say(why, RESOLVER_CLOCK, "clock is wrong by more than a "
			"day (signatures not yet valid)");
	return say(why, RESOLVER_CLOCK, off > 0 ?
		"clock is wrong (signatures not yet valid)" :
		"clock is wrong, or the resolver's data is old (signatures "
		"have expired)");
}

enum resolver_state
dns_probe_judge(const struct dns_reply *key, const struct dns_reply *ds,
	const struct dns_ds_list *anchor, const struct dns_when *when,
	char why[DNS_WHY_MAX])
{
	enum resolver_state state;

	why[0] = '\0';
	if (key->msg == NULL)
		return judge_failure(key, why);
	state = judge_keys(key->msg, anchor, when, why);
	if (state != RESOLVER_VALIDATING)
		return state;
	if (ds->msg == NULL)
		return judge_failure(ds, why);
	for (size_t i = 0; i < ds->msg->count; i++)
		if (ds->msg->rrs[i].type == DNS_TYPE_NSEC ||
		    ds->msg->rrs[i].type == DNS_TYPE_NSEC3)
			return RESOLVER_VALIDATING;
	return say(why, RESOLVER_STRIPS, STRIPS "(no proofs of absence)");
}

static void
probe_free(struct dns_probe *p)
{
	dns_query_cancel(&p->key.ask);
	dns_query_cancel(&p->ds.ask);
	dns_msg_free(&p->key.reply.msg);
	dns_msg_free(&p->ds.reply.msg);
	free(p);
}

static void
half_take(struct dns_probe *p, struct half *h, const struct dns_reply *r)
{
	struct dns_when when = { clock_wall_s(), p->skew_s };
	dns_probe_cb *cb = p->cb;
	void *arg = p->arg;
	enum resolver_state state;
	char why[DNS_WHY_MAX];

	h->ask = NULL;
	h->in = true;
	h->reply = *r;
	if (r->why != NULL) {
		snprintf(h->why, sizeof(h->why), "%s", r->why);
		h->reply.why = h->why;
	}
	if (!p->key.in || !p->ds.in)
		return;
	state = dns_probe_judge(&p->key.reply, &p->ds.reply, p->anchor, &when,
		why);
	probe_free(p);
	cb(state, why, arg);
}

static void
on_key(const struct dns_reply *r, void *arg)
{
	struct dns_probe *p = arg;

	half_take(p, &p->key, r);
}

static void
on_ds(const struct dns_reply *r, void *arg)
{
	struct dns_probe *p = arg;

	half_take(p, &p->ds, r);
}

struct dns_probe *
dns_probe_start(struct dns_query *dq, const struct dns_ds_list *anchor,
	int64_t skew_s, dns_probe_cb *cb, void *arg)
{
	static const uint8_t root[1] = { 0 };
	struct dns_probe *p = xcalloc(1, sizeof(*p));

	p->anchor = anchor;
	p->skew_s = skew_s;
	p->cb = cb;
	p->arg = arg;
	p->key.ask = dns_query_start(dq, root, DNS_TYPE_DNSKEY, on_key, p);
	p->ds.ask = dns_query_start(dq, root, DNS_TYPE_DS, on_ds, p);
	return p;
}

void
dns_probe_cancel(struct dns_probe **pp)
{
	if (*pp == NULL)
		return;
	probe_free(*pp);
	*pp = NULL;
}
