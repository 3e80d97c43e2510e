/*
 * Verification of one set of records.
 *
 * The signed data is built here (RFC 4034 3.1.8.1, 6.2, 6.3), as ldns takes
 * duplicates for forgery and decodes the key anew for each signature.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "resolver/dns_verify.h"
#include "resolver/resolver.h"

#define SIGNED_MAX (1024 * 1024)

/* How near a signature came to being good; the best is reported. */
enum stage {
	STAGE_NO_SIG = 0, STAGE_SIGNER, STAGE_LABELS, STAGE_ALGORITHM,
	STAGE_EARLY, STAGE_EXPIRED, STAGE_NO_KEY, STAGE_FORGED
};

static const char *const stage_texts[] = {
	"it is not signed",
	"it is signed by another zone",
	"its signature has an impossible label count",
	"it is signed with an unknown algorithm only",
	"its signature is not valid yet",
	"its signature has expired",
	"no key of the zone fits its signature",
	"its signature does not verify",
};

struct work {
	const struct dns_set *set;
	const struct dns_keys *keys;
	const struct dns_when *when;
	struct dns_budget *budget;
	struct dns_verified *out;
	struct buf data;
	const struct dns_rr *sorted[DNS_MSG_RECORDS_MAX];
	unsigned checks;
	enum stage stage;
};

/* Labels that count: the root and a leading "*" do not (RFC 4034 3.1.3). */
static unsigned
owner_labels(const uint8_t *owner)
{
	return dns_name_labels(owner) - (dns_name_is_wildcard(owner) ? 1 : 0);
}

static bool
signer_possible(const struct dns_set *set, const uint8_t *signer)
{
	/* RFC 4035 3.1.4.1: a DS set belongs to the parent's side. */
	if (set->type == DNS_TYPE_DS && dns_name_eq(signer, set->owner) &&
	    *signer != 0)
		return false;
	return dns_name_within(set->owner, signer);
}

const uint8_t *
dns_verify_signer(const struct dns_set *set)
{
	const uint8_t *best = NULL;

	for (size_t i = 0; i < set->sig_count; i++) {
		struct dns_sig sig;

		dns_sig_read(set->sigs[i], &sig);
		if (signer_possible(set, sig.signer) && (best == NULL ||
		    dns_name_labels(sig.signer) > dns_name_labels(best)))
			best = sig.signer;
	}
	return best;
}

/* RFC 1982 serial arithmetic on 32 bits: seconds from b to a. */
static int32_t
serial_diff(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b);
}

static enum stage
time_check(const struct dns_sig *sig, const struct dns_when *when)
{
	uint32_t now = (uint32_t)when->now_s;

	if (serial_diff(sig->expiration, sig->inception) < 0)
		return STAGE_EXPIRED;
	if (serial_diff(sig->inception, now) > when->skew_s)
		return STAGE_EARLY;
	if (serial_diff(now, sig->expiration) > when->skew_s)
		return STAGE_EXPIRED;
	return STAGE_NO_KEY;
}

/* How far the signature gets without looking at a key; STAGE_NO_KEY is all
 * the way. */
static enum stage
sig_check(const struct work *w, const struct dns_sig *sig)
{
	if (!dns_name_eq(sig->signer, w->keys->zone) ||
	    !signer_possible(w->set, sig->signer))
		return STAGE_SIGNER;
	if (sig->labels > owner_labels(w->set->owner) ||
	    sig->labels < dns_name_labels(sig->signer))
		return STAGE_LABELS;
	if (!dns_algorithm_known(sig->algorithm))
		return STAGE_ALGORITHM;
	return time_check(sig, w->when);
}

static int
rdata_cmp(const void *a, const void *b)
{
	const struct dns_rr *x = *(const struct dns_rr *const *)a;
	const struct dns_rr *y = *(const struct dns_rr *const *)b;
	size_t len = x->rdata_len < y->rdata_len ? x->rdata_len :
		y->rdata_len;
	int d = memcmp(x->rdata, y->rdata, len);

	return d != 0 ? d : x->rdata_len - y->rdata_len;
}

/* RFC 4034 3.1.8.1.  False when it would be too long. */
static bool
data_build(struct work *w, const struct dns_rr *rr, const struct dns_sig *sig)
{
	const struct dns_set *set = w->set;
	dns_name owner;
	size_t owner_len;

	dns_name_copy(owner, set->owner);
	if (sig->labels < owner_labels(set->owner) && dns_name_wildcard(owner,
	    dns_name_tail(set->owner, sig->labels)) != ST_OK)
		return false;
	owner_len = dns_name_len(owner);
	buf_drain(&w->data, w->data.len);
	if (buf_put(&w->data, rr->rdata, sig->head_len) != ST_OK)
		return false;
	for (size_t i = 0; i < set->count; i++) {
		const struct dns_rr *r = w->sorted[i];

		if (buf_put(&w->data, owner, owner_len) != ST_OK ||
		    buf_put_u16(&w->data, r->type) != ST_OK ||
		    buf_put_u16(&w->data, 1) != ST_OK ||
		    buf_put_u32(&w->data, sig->original_ttl) != ST_OK ||
		    buf_put_u16(&w->data, r->rdata_len) != ST_OK ||
		    buf_put(&w->data, r->rdata, r->rdata_len) != ST_OK)
			return false;
	}
	return true;
}

static void
sig_accept(struct work *w, const struct dns_sig *sig)
{
	struct dns_verified *v = w->out;
	int32_t left = serial_diff(sig->expiration, (uint32_t)w->when->now_s);

	v->verdict = DNS_GOOD;
	v->why = NULL;
	v->labels = sig->labels;
	v->wildcard = sig->labels < owner_labels(w->set->owner);
	v->ttl = w->set->ttl;
	if (sig->original_ttl < v->ttl)
		v->ttl = sig->original_ttl;
	if (left < 0)
		v->ttl = 0;	/* good only by the allowed skew */
	else if ((uint32_t)left < v->ttl)
		v->ttl = (uint32_t)left;
}

/* Tries the keys that a signature fits.  True ends the search. */
static bool
keys_try(struct work *w, const struct dns_rr *rr, const struct dns_sig *sig)
{
	unsigned tried = 0;

	for (size_t i = 0; i < w->keys->count; i++) {
		const struct dns_key *k = &w->keys->keys[i];

		if (k->tag != sig->tag || k->algorithm != sig->algorithm)
			continue;
		if (tried++ == DNS_TAG_KEYS_MAX ||
		    w->checks == DNS_SET_CHECKS_MAX ||
		    w->budget->checks == 0) {
			w->out->verdict = DNS_EXCEEDED;
			w->out->why = "it takes more signature checks than "
				"are allowed";
			return true;
		}
		if (tried == 1 && !data_build(w, rr, sig))
			return false;
		w->checks++;
		w->budget->checks--;
		w->stage = STAGE_FORGED;
		if (dns_key_verify(k, buf_data(&w->data), w->data.len,
		    sig->bytes, sig->len)) {
			sig_accept(w, sig);
			return true;
		}
	}
	return false;
}

void
dns_verify(const struct dns_set *set, const struct dns_keys *keys,
	const struct dns_when *when, struct dns_budget *budget,
	struct dns_verified *out)
{
	struct work w;
	bool end = false;

	memset(out, 0, sizeof(*out));
	w.set = set;
	w.keys = keys;
	w.when = when;
	w.budget = budget;
	w.out = out;
	w.checks = 0;
	w.stage = STAGE_NO_SIG;
	buf_init(&w.data, SIGNED_MAX);
	memcpy(w.sorted, set->rrs, set->count * sizeof(w.sorted[0]));
	qsort(w.sorted, set->count, sizeof(w.sorted[0]), rdata_cmp);
	for (size_t i = 0; i < set->sig_count && !end; i++) {
		struct dns_sig sig;
		enum stage stage;

		dns_sig_read(set->sigs[i], &sig);
		stage = sig_check(&w, &sig);
		if (stage > w.stage)
			w.stage = stage;
		if (stage == STAGE_NO_KEY)
			end = keys_try(&w, set->sigs[i], &sig);
	}
	if (!end)
		out->why = stage_texts[w.stage];
	buf_clear(&w.data);
}
