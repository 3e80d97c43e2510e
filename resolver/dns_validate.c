/*
 * Validation of a message against the zones that its records claim to be of.
 *
 * A record is taken for insecure only on a proof that its name lies in no
 * signed zone (RFC 4035 4.3); missing signatures are no such proof.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "resolver/dns_trust.h"
#include "resolver/dns_validate.h"

/* What a step comes to; NONE: wait. */
struct finding {
	enum dns_security security;
	const char *why;	/* when not SECURE */
	bool why_is_whole;	/* a sentence of a zone: needs no subject */
	uint32_t ttl;
};

enum dns_security
dns_security_worse(enum dns_security a, enum dns_security b)
{
	static const int rank[] = { [DNS_SEC_SECURE] = 0,
		[DNS_SEC_UNKNOWN] = 1, [DNS_SEC_INSECURE] = 2,
		[DNS_SEC_INDETERMINATE] = 3, [DNS_SEC_BOGUS] = 4 };

	return rank[a] >= rank[b] ? a : b;
}

static struct finding
found(enum dns_security security, const char *why, uint32_t ttl)
{
	return (struct finding){ security, why, false, ttl };
}

static enum dns_security
security_of(enum dns_verdict v)
{
	static const enum dns_security table[] = { [DNS_BAD] = DNS_SEC_BOGUS,
		[DNS_GOOD] = DNS_SEC_SECURE, [DNS_OPEN] = DNS_SEC_INSECURE,
		[DNS_EXCEEDED] = DNS_SEC_INDETERMINATE };

	return table[v];
}

/* ---- zones ----------------------------------------------------------- */

/* Finds the zone of a name.  True when it is secure and the step goes on with
 * its keys; else the finding is there, or wait_out is set. */
static bool
zone_get(struct dns_validate *v, const uint8_t *name, bool is_signer,
	struct dns_zone_info *info, struct finding *f,
	const uint8_t **wait_out)
{
	static const enum dns_security table[] = {
		[DNS_TRUST_INSECURE] = DNS_SEC_INSECURE,
		[DNS_TRUST_BOGUS] = DNS_SEC_BOGUS,
		[DNS_TRUST_LATER] = DNS_SEC_INDETERMINATE };

	dns_zones_find(v->zones, name, is_signer, &v->quota, info);
	if (info->trust == DNS_TRUST_SECURE)
		return true;
	if (info->trust == DNS_TRUST_WAIT) {
		*wait_out = info->wait_name;
		return false;
	}
	v->no_dnssec |= info->no_dnssec;
	v->reached |= info->reached;
	f->security = table[info->trust];
	f->why = info->why;
	f->why_is_whole = true;
	f->ttl = info->left_s < 0 ? 0 : info->left_s > INT32_MAX ? INT32_MAX :
		(uint32_t)info->left_s;
	return false;
}

static void
check_begin(struct dns_validate *v, struct dns_check *c)
{
	dns_zones_check(v->zones, c);
	c->budget = &v->budget;
}

/* ---- records that are there ------------------------------------------ */

/* The wildcard may answer only where the name itself does not exist. */
static struct finding
wildcard_judge(const struct dns_validate *v, const uint8_t *name,
	const struct dns_keys *keys, const struct dns_check *check,
	const struct dns_verified *ver)
{
	struct dns_denial d;
	struct dns_verified dv = dns_trust_denial(v->msg, keys, check, &d);
	struct dns_proof p;

	if (dv.verdict != DNS_GOOD)
		return found(security_of(dv.verdict), dv.why, 0);
	p = dns_deny_exact(&d, name, ver->labels);
	return found(security_of(p.verdict), p.why,
		dv.ttl < ver->ttl ? dv.ttl : ver->ttl);
}

static struct finding
unsigned_judge(struct dns_validate *v, const uint8_t *name, uint16_t type,
	const char *why, const uint8_t **wait_out)
{
	struct dns_zone_info info;
	struct finding f = { 0 };

	/* RFC 4035 3.1.4.1: DS records are of the zone above. */
	if (type == DNS_TYPE_DS && *name != 0)
		name = dns_name_up(name, 1);
	if (zone_get(v, name, false, &info, &f, wait_out))
		return found(DNS_SEC_BOGUS, why, 0);
	return f;
}

static struct finding
set_judge(struct dns_validate *v, const struct dns_set *set,
	const uint8_t **wait_out)
{
	const uint8_t *signer = dns_verify_signer(set);
	struct dns_zone_info info;
	struct dns_check check;
	struct dns_verified ver;
	struct finding f = { 0 };

	if (signer == NULL)
		return unsigned_judge(v, set->owner, set->type, set->sig_count >
			0 ? "it is signed by a zone that it cannot be of" :
			"it is not signed, but its zone is", wait_out);
	if (!zone_get(v, signer, true, &info, &f, wait_out))
		return f;
	if (!dns_name_eq(info.keys->zone, signer))
		return found(DNS_SEC_BOGUS,
			"it is signed by a name that is no zone", 0);
	check_begin(v, &check);
	dns_verify(set, info.keys, &check.when, check.budget, &ver);
	if (ver.verdict == DNS_GOOD && ver.wildcard)
		return wildcard_judge(v, set->owner, info.keys, &check, &ver);
	return found(security_of(ver.verdict), ver.why, ver.ttl);
}

static struct finding
records_judge(struct dns_validate *v, const uint8_t *owner, uint16_t type,
	const uint8_t **wait_out)
{
	struct dns_set *set = xmalloc(sizeof(*set));
	struct finding f;

	(void)dns_set_find(v->msg, DNS_ANSWER, owner, type, set);
	f = set_judge(v, set, wait_out);
	free(set);
	return f;
}

/* ---- records that are not -------------------------------------------- */

/* The deepest zone above the name that has signed a denial. */
static const uint8_t *
denial_signer(const struct dns_validate *v, const uint8_t *name)
{
	struct dns_set *set = xmalloc(sizeof(*set));
	const uint8_t *best = NULL;
	unsigned seen = 0;

	for (size_t i = 0; i < v->msg->count; i++) {
		const struct dns_rr *rr = &v->msg->rrs[i];
		const uint8_t *signer;

		if (rr->section != DNS_AUTHORITY ||
		    (rr->type != DNS_TYPE_NSEC && rr->type != DNS_TYPE_NSEC3))
			continue;
		if (++seen > DNS_DENIAL_SEEN_MAX)
			break;
		(void)dns_set_find(v->msg, DNS_AUTHORITY, rr->owner, rr->type,
			set);
		signer = dns_verify_signer(set);
		if (signer != NULL && dns_name_within(name, signer) &&
		    (best == NULL || dns_name_labels(signer) >
		    dns_name_labels(best)))
			best = signer;
	}
	free(set);
	return best;
}

/* The SOA record gives the time for which the denial holds. */
static struct dns_verified
soa_verify(const struct dns_validate *v, const struct dns_keys *keys,
	const struct dns_check *check)
{
	struct dns_set *set = xmalloc(sizeof(*set));
	struct dns_verified ver = { .verdict = DNS_GOOD, .ttl = UINT32_MAX };

	if (dns_set_find(v->msg, DNS_AUTHORITY, keys->zone, DNS_TYPE_SOA, set))
		dns_verify(set, keys, &check->when, check->budget, &ver);
	free(set);
	return ver;
}

static struct finding
denial_judge(struct dns_validate *v, const struct dns_keys *keys,
	const uint8_t *name)
{
	struct dns_check check;
	struct dns_denial d;
	struct dns_verified ver;
	struct dns_proof p;
	uint32_t ttl;

	check_begin(v, &check);
	ver = soa_verify(v, keys, &check);
	if (ver.verdict != DNS_GOOD)
		return found(security_of(ver.verdict), ver.why, 0);
	ttl = ver.ttl;
	ver = dns_trust_denial(v->msg, keys, &check, &d);
	if (ver.verdict != DNS_GOOD)
		return found(security_of(ver.verdict), ver.why, 0);
	p = v->chain->end == DNS_END_NXDOMAIN ? dns_deny_name(&d, name) :
		dns_deny_type(&d, name, v->type);
	return found(security_of(p.verdict), p.why,
		ttl < ver.ttl ? ttl : ver.ttl);
}

static struct finding
absence_judge(struct dns_validate *v, const uint8_t **wait_out)
{
	const uint8_t *name = v->chain->last;
	const uint8_t *signer = denial_signer(v, name);
	struct dns_zone_info info;
	struct finding f = { 0 };

	if (signer == NULL)
		return unsigned_judge(v, name, v->type,
			"its absence is not proven, but its zone is signed",
			wait_out);
	if (!zone_get(v, signer, true, &info, &f, wait_out))
		return f;
	if (!dns_name_eq(info.keys->zone, signer))
		return found(DNS_SEC_BOGUS,
			"its absence is signed by a name that is no zone", 0);
	return denial_judge(v, info.keys, name);
}

/* ---- the steps ------------------------------------------------------- */

static void
why_set(struct dns_validate *v, const struct finding *f, const uint8_t *name,
	uint16_t type)
{
	char text[DNS_TEXT_MAX];

	if (f->why_is_whole) {
		snprintf(v->why, sizeof(v->why), "%s", f->why);
		return;
	}
	dns_name_format(name, text);
	snprintf(v->why, sizeof(v->why), "%s %.200s: %s", dns_type_name(type),
		text[0] == '\0' ? "." : text, f->why);
}

static void
take(struct dns_validate *v, const struct finding *f, bool is_link,
	const uint8_t *name, uint16_t type)
{
	enum dns_security *to = is_link ? &v->links : &v->end;
	enum dns_security all = dns_security_worse(v->links, v->end);

	*to = dns_security_worse(*to, f->security);
	if (f->ttl < v->ttl)
		v->ttl = f->ttl;
	if (f->security != DNS_SEC_SECURE &&
	    (dns_security_worse(all, f->security) != all ||
	    v->why[0] == '\0'))
		why_set(v, f, name, type);
}

/* False: has to wait. */
static bool
step_run(struct dns_validate *v, const uint8_t **wait_out)
{
	bool is_link = v->step < v->chain->count;
	const struct dns_link *l = &v->chain->links[v->step];
	const uint8_t *name = is_link ? l->owner : v->chain->last;
	uint16_t type = is_link ? l->type : v->type;
	struct finding f;

	if (is_link)
		f = records_judge(v, name, type, wait_out);
	else if (v->chain->end == DNS_END_ANSWER)
		f = records_judge(v, v->chain->proof, v->chain->proof_type,
			wait_out);
	else if (v->chain->end == DNS_END_ASK)
		f = found(DNS_SEC_SECURE, NULL, UINT32_MAX);
	else
		f = absence_judge(v, wait_out);
	if (*wait_out != NULL)
		return false;
	take(v, &f, is_link, name, type);
	return true;
}

bool
dns_validate_run(struct dns_validate *v, const uint8_t **wait_out)
{
	*wait_out = NULL;
	while (v->step <= v->chain->count) {
		if (!step_run(v, wait_out))
			return false;
		v->step++;
	}
	return true;
}

void
dns_validate_init(struct dns_validate *v, struct dns_zones *zones,
	uint16_t type)
{
	memset(v, 0, sizeof(*v));
	v->zones = zones;
	v->type = type;
	v->budget.checks = DNS_LOOKUP_CHECKS;
	v->budget.hashes = DNS_LOOKUP_HASHES;
	v->quota = DNS_ZONES_PER_LOOKUP;
	v->links = v->end = DNS_SEC_SECURE;
	v->ttl = UINT32_MAX;
}

void
dns_validate_begin(struct dns_validate *v, const struct dns_msg *msg,
	const struct dns_chain *chain)
{
	v->msg = msg;
	v->chain = chain;
	v->step = 0;
}
