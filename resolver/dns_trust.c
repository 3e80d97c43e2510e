/*
 * The two steps that carry trust from a zone to the one below it.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "resolver/dns_trust.h"
#include "resolver/resolver.h"

#define DIGEST_SHA1 1

void
dns_ds_list_add(struct dns_ds_list *l, const uint8_t *ds, size_t len)
{
	if (l->count == DNS_DS_MAX || len > DNS_DS_BYTES ||
	    !dns_algorithm_known(ds[2]) || !dns_digest_known(ds[3]))
		return;
	memcpy(l->ds[l->count].bytes, ds, len);
	l->ds[l->count++].len = len;
}

void
dns_ds_list_filter(struct dns_ds_list *l)
{
	bool better = false;
	size_t kept = 0;

	for (size_t i = 0; i < l->count; i++)
		better |= l->ds[i].bytes[3] != DIGEST_SHA1;
	for (size_t i = 0; i < l->count; i++)
		if (!better || l->ds[i].bytes[3] != DIGEST_SHA1)
			l->ds[kept++] = l->ds[i];
	l->count = kept;
}

/* ---- denial ---------------------------------------------------------- */

static bool
denial_add(struct dns_denial *d, const struct dns_rr *rr)
{
	bool nsec = rr->type == DNS_TYPE_NSEC;
	const struct dns_rr **list = nsec ? d->nsec : d->nsec3;
	size_t *count = nsec ? &d->nsec_count : &d->nsec3_count;

	if (*count == DNS_DENIAL_MAX)
		return false;
	list[(*count)++] = rr;
	return true;
}

static bool
seen_before(const struct dns_denial *d, const struct dns_rr *rr)
{
	bool nsec = rr->type == DNS_TYPE_NSEC;
	const struct dns_rr *const *list = nsec ? d->nsec : d->nsec3;
	size_t count = nsec ? d->nsec_count : d->nsec3_count;

	for (size_t i = 0; i < count; i++)
		if (dns_name_eq(list[i]->owner, rr->owner))
			return true;
	return false;
}

/* A message about names of several zones has the denials of each. */
static bool
signed_by(const struct dns_msg *m, const struct dns_rr *rr,
	const uint8_t *zone, struct dns_set *set)
{
	const uint8_t *signer;

	(void)dns_set_find(m, DNS_AUTHORITY, rr->owner, rr->type, set);
	signer = dns_verify_signer(set);
	return signer != NULL && dns_name_eq(signer, zone);
}

/* A denial made from a wildcard proves nothing (RFC 4035 5.3.4), nor do
 * several records at one name. */
static struct dns_verified
denial_verify(const struct dns_set *set, const struct dns_keys *zone,
	const struct dns_check *check)
{
	struct dns_verified v;

	dns_verify(set, zone, &check->when, check->budget, &v);
	if (v.verdict == DNS_GOOD && (v.wildcard || set->count != 1)) {
		v.verdict = DNS_BAD;
		v.why = "the denial is made from a wildcard or ambiguous";
	}
	return v;
}

static struct dns_verified
too_many(void)
{
	return (struct dns_verified){ .verdict = DNS_EXCEEDED,
		.why = "too many NSEC or NSEC3 records" };
}

static struct dns_verified
denial_take(struct dns_denial *d, const struct dns_rr *rr,
	struct dns_verified v, uint32_t *ttl)
{
	if (v.verdict != DNS_GOOD)
		return v;
	if (v.ttl < *ttl)
		*ttl = v.ttl;
	return denial_add(d, rr) ? v : too_many();
}

struct dns_verified
dns_trust_denial(const struct dns_msg *m, const struct dns_keys *zone,
	const struct dns_check *check, struct dns_denial *d)
{
	struct dns_set *set = xmalloc(sizeof(*set));
	struct dns_verified v = { .verdict = DNS_GOOD, .ttl = UINT32_MAX };
	uint32_t ttl = UINT32_MAX;
	unsigned looked_at = 0;

	memset(d, 0, sizeof(*d));
	d->zone = zone->zone;
	d->iterations_max = check->iterations_max;
	d->budget = check->budget;
	for (size_t i = 0; i < m->count && v.verdict == DNS_GOOD; i++) {
		const struct dns_rr *rr = &m->rrs[i];

		if (rr->section != DNS_AUTHORITY ||
		    (rr->type != DNS_TYPE_NSEC && rr->type != DNS_TYPE_NSEC3) ||
		    seen_before(d, rr))
			continue;
		if (++looked_at > DNS_DENIAL_SEEN_MAX)
			v = too_many();
		else if (signed_by(m, rr, zone->zone, set))
			v = denial_take(d, rr, denial_verify(set, zone,
				check), &ttl);
	}
	v.ttl = ttl;
	free(set);
	return v;
}

/* ---- DS -------------------------------------------------------------- */

static enum dns_child
child_from(enum dns_verdict v)
{
	return v == DNS_EXCEEDED ? DNS_CHILD_EXCEEDED : DNS_CHILD_BOGUS;
}

static enum dns_child
child_signed(const struct dns_set *set, struct dns_ds_list *out,
	const char **why_out)
{
	for (size_t i = 0; i < set->count; i++)
		dns_ds_list_add(out, set->rrs[i]->rdata,
			set->rrs[i]->rdata_len);
	dns_ds_list_filter(out);
	if (out->count > 0)
		return DNS_CHILD_SIGNED;
	*why_out = "its DS records are all of unknown algorithms or digests";
	return DNS_CHILD_INSECURE;
}

/* A CNAME at the name: where nothing is delegated, nothing is cut. */
static enum dns_child
child_alias(const struct dns_msg *m, const struct dns_set *set,
	const struct dns_keys *parent, const struct dns_check *check,
	struct dns_verified *v, const char **why_out)
{
	struct dns_denial d;
	struct dns_verified denial;
	struct dns_proof p;

	if (!v->wildcard)
		return DNS_CHILD_SAME_ZONE;
	denial = dns_trust_denial(m, parent, check, &d);
	*why_out = denial.why;
	if (denial.verdict != DNS_GOOD)
		return child_from(denial.verdict);
	p = dns_deny_exact(&d, set->owner, v->labels);
	*why_out = p.why;
	if (p.verdict == DNS_OPEN)
		return DNS_CHILD_INSECURE;
	return p.verdict == DNS_GOOD ? DNS_CHILD_SAME_ZONE :
		child_from(p.verdict);
}

static enum dns_child
child_denied(const struct dns_msg *m, const uint8_t *name,
	const struct dns_keys *parent, const struct dns_check *check,
	uint32_t *ttl_out, const char **why_out)
{
	static const enum dns_child children[] = {
		[DNS_CUT_UNPROVEN] = DNS_CHILD_BOGUS,
		[DNS_CUT_INSECURE] = DNS_CHILD_INSECURE,
		[DNS_CUT_NONE] = DNS_CHILD_SAME_ZONE,
		[DNS_CUT_EXCEEDED] = DNS_CHILD_EXCEEDED,
	};
	struct dns_denial d;
	struct dns_verified v = dns_trust_denial(m, parent, check, &d);

	*ttl_out = v.ttl;
	*why_out = v.why;
	if (v.verdict != DNS_GOOD)
		return child_from(v.verdict);
	if (d.nsec_count + d.nsec3_count == 0) {
		*why_out = "neither a DS record nor a proof of its absence "
			"is given";
		return DNS_CHILD_BOGUS;
	}
	return children[dns_deny_ds(&d, name, why_out)];
}

enum dns_child
dns_trust_child(const struct dns_msg *m, const uint8_t *name,
	const struct dns_keys *parent, const struct dns_check *check,
	struct dns_ds_list *ds_out, uint32_t *ttl_out, const char **why_out)
{
	struct dns_set *set = xmalloc(sizeof(*set));
	struct dns_verified v;
	enum dns_child child;
	bool ds = dns_set_find(m, DNS_ANSWER, name, DNS_TYPE_DS, set);

	ds_out->count = 0;
	*why_out = NULL;
	if (!ds && !dns_set_find(m, DNS_ANSWER, name, DNS_TYPE_CNAME, set)) {
		child = child_denied(m, name, parent, check, ttl_out,
			why_out);
		free(set);
		return child;
	}
	dns_verify(set, parent, &check->when, check->budget, &v);
	*ttl_out = v.ttl;
	*why_out = v.why;
	if (v.verdict != DNS_GOOD)
		child = child_from(v.verdict);
	else if (ds)
		child = child_signed(set, ds_out, why_out);
	else
		child = child_alias(m, set, parent, check, &v, why_out);
	free(set);
	return child;
}

/* ---- DNSKEY ---------------------------------------------------------- */

struct key_work {
	const struct dns_set *set;
	const struct dns_check *check;
	unsigned misses;
	bool exceeded;
	struct dns_verified v;
};

/* True when this key, which a DS record names, has signed the set. */
static bool
key_signed(struct key_work *w, const struct dns_rr *key)
{
	struct dns_keys *one = dns_keys_new_one(key);

	dns_verify(w->set, one, &w->check->when, w->check->budget, &w->v);
	dns_keys_free(&one);
	if (w->v.verdict == DNS_EXCEEDED)
		w->exceeded = true;
	return w->v.verdict == DNS_GOOD;
}

static bool
ds_try(struct key_work *w, const uint8_t *ds, size_t len)
{
	for (size_t i = 0; i < w->set->count && !w->exceeded; i++) {
		const struct dns_rr *key = w->set->rrs[i];

		if (key->rdata[3] != ds[2] || !dns_key_usable(key) ||
		    dns_key_tag(key->rdata, key->rdata_len) != dns_get16(ds))
			continue;
		if (!dns_key_matches(key, ds, len)) {
			if (++w->misses > DNS_DS_MISSES_MAX) {
				w->exceeded = true;
				w->v.why = "too many keys fit the tag of a DS "
					"record but not its digest";
			}
			continue;
		}
		if (key_signed(w, key))
			return true;
	}
	return false;
}

struct dns_keys *
dns_trust_keys(const struct dns_msg *m, const uint8_t *name,
	const struct dns_ds_list *ds, const struct dns_check *check,
	uint32_t *ttl_out, bool *exceeded_out, const char **why_out)
{
	struct dns_set *set = xmalloc(sizeof(*set));
	struct key_work w = { .set = set, .check = check };
	struct dns_keys *keys = NULL;
	bool found;

	*why_out = "it has no DNSKEY records";
	found = dns_set_find(m, DNS_ANSWER, name, DNS_TYPE_DNSKEY, set);
	if (found && set->count > DNS_KEYS_MAX) {
		w.exceeded = true;
		*why_out = "it has too many DNSKEY records";
	} else if (found) {
		w.v.why = "no key fits the DS records or trust anchor";
		for (size_t i = 0; i < ds->count && keys == NULL; i++)
			if (ds_try(&w, ds->ds[i].bytes, ds->ds[i].len))
				keys = dns_keys_new(set);
		*why_out = w.v.why;
	}
	*ttl_out = w.v.ttl;
	*exceeded_out = w.exceeded;
	free(set);
	return keys;
}
