/*
 * Proofs by NSEC3 records (RFC 5155 8).
 *
 * Every record used must have the same parameters; those with an unknown
 * algorithm or unknown flags are passed over (8.1, 8.2).  Hashing is what a
 * hostile zone can make dear (CVE-2023-50868): iterations are capped and the
 * hashes of one lookup are counted.
 */
#include "config.h"

#include <string.h>

#include <openssl/evp.h>

#include "resolver/dns_denial.h"
#include "resolver/resolver.h"

#define HASH_LEN 20	/* SHA-1 */
#define LABEL_LEN 32	/* of it in base 32 */

struct nsec3 {
	uint8_t owner[HASH_LEN], next[HASH_LEN];
	bool opt_out;
	const uint8_t *map;
	size_t map_len;
};

struct proof_work {
	const struct dns_denial *d;
	struct nsec3 recs[DNS_DENIAL_MAX];
	size_t count;
	unsigned iterations;
	const uint8_t *salt;	/* length octet first */
	bool exceeded;
};

static const struct dns_proof good = { DNS_GOOD, NULL };

static struct dns_proof
bad(const struct proof_work *w, const char *why)
{
	if (w->exceeded)
		return (struct dns_proof){ DNS_EXCEEDED,
			"the proof takes more NSEC3 hashes than are allowed" };
	return (struct dns_proof){ DNS_BAD, why };
}

static struct dns_proof
opted_out(void)
{
	return (struct dns_proof){ DNS_OPEN,
		"the zone does not say (NSEC3 opt-out)" };
}

/* One character of base32hex (RFC 4648 7), -1 for any other. */
static int
base32_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'v' ? c - 'a' + 10 : -1;
}

static bool
base32_decode(const uint8_t *text, uint8_t out[HASH_LEN])
{
	unsigned bits = 0, have = 0;
	size_t used = 0;

	for (size_t i = 0; i < LABEL_LEN; i++) {
		int v = base32_value(text[i]);

		if (v < 0)
			return false;
		bits = bits << 5 | (unsigned)v;
		have += 5;
		if (have >= 8) {
			have -= 8;
			out[used++] = (uint8_t)(bits >> have);
		}
	}
	return true;
}

/* The shape was checked by dns_parse(): the lengths inside are right. */
static bool
record_read(const struct dns_denial *d, const struct dns_rr *rr,
	struct nsec3 *n)
{
	const uint8_t *hash = rr->rdata + 5 + rr->rdata[4];

	if (rr->rdata[0] != 1 || rr->rdata[1] > 1 || hash[0] != HASH_LEN ||
	    rr->owner[0] != LABEL_LEN ||
	    !base32_decode(rr->owner + 1, n->owner) ||
	    !dns_name_eq(dns_name_up(rr->owner, 1), d->zone))
		return false;
	n->opt_out = (rr->rdata[1] & 1) != 0;
	memcpy(n->next, hash + 1, HASH_LEN);
	n->map = hash + 1 + HASH_LEN;
	n->map_len = (size_t)(rr->rdata + rr->rdata_len - n->map);
	return true;
}

static bool
same_parameters(const struct proof_work *w, const struct dns_rr *rr)
{
	return dns_get16(rr->rdata + 2) == w->iterations &&
		memcmp(rr->rdata + 4, w->salt, (size_t)w->salt[0] + 1) == 0;
}

static struct dns_proof
work_begin(struct proof_work *w, const struct dns_denial *d)
{
	memset(w, 0, sizeof(*w));
	w->d = d;
	for (size_t i = 0; i < d->nsec3_count; i++) {
		const struct dns_rr *rr = d->nsec3[i];

		if (!record_read(d, rr, &w->recs[w->count]))
			continue;
		if (w->count == 0) {
			w->iterations = dns_get16(rr->rdata + 2);
			w->salt = rr->rdata + 4;
		} else if (!same_parameters(w, rr)) {
			return bad(w, "the NSEC3 records have different "
				"parameters");
		}
		w->count++;
	}
	if (w->count == 0)
		return bad(w, "no NSEC3 record can be used");
	if (w->iterations > DNS_NSEC3_BOGUS)
		return (struct dns_proof){ DNS_EXCEEDED,
			"far too many NSEC3 iterations" };
	if (w->iterations > d->iterations_max)
		return (struct dns_proof){ DNS_OPEN,
			"too many NSEC3 iterations (RFC 9276)" };
	return good;
}

/* RFC 5155 5. */
static bool
hash_name(struct proof_work *w, const uint8_t *name, uint8_t out[HASH_LEN])
{
	uint8_t in[DNS_NAME_MAX + 256];
	size_t len = dns_name_len(name);
	unsigned n;

	if (w->d->budget->hashes == 0) {
		w->exceeded = true;
		return false;
	}
	w->d->budget->hashes--;
	memcpy(in, name, len);
	for (unsigned i = 0; i <= w->iterations; i++) {
		memcpy(in + len, w->salt + 1, w->salt[0]);
		if (EVP_Digest(in, len + w->salt[0], out, &n, EVP_sha1(),
		    NULL) != 1)
			return false;
		memcpy(in, out, HASH_LEN);
		len = HASH_LEN;
	}
	return true;
}

static bool
has(const struct nsec3 *n, uint16_t type)
{
	return dns_bitmap_has(n->map, n->map_len, type);
}

static bool
is_delegation(const struct nsec3 *n)
{
	return has(n, DNS_BIT_NS) && !has(n, DNS_BIT_SOA);
}

static const struct nsec3 *
match_hash(const struct proof_work *w, const uint8_t hash[HASH_LEN])
{
	for (size_t i = 0; i < w->count; i++)
		if (memcmp(w->recs[i].owner, hash, HASH_LEN) == 0)
			return &w->recs[i];
	return NULL;
}

static bool
covers(const struct nsec3 *n, const uint8_t *hash)
{
	bool after = memcmp(n->owner, hash, HASH_LEN) < 0;
	bool before = memcmp(hash, n->next, HASH_LEN) < 0;

	/* The last one of the zone points back to the first. */
	if (memcmp(n->owner, n->next, HASH_LEN) >= 0)
		return memcmp(n->owner, hash, HASH_LEN) != 0 &&
			(after || before);
	return after && before;
}

static const struct nsec3 *
cover_hash(const struct proof_work *w, const uint8_t hash[HASH_LEN])
{
	for (size_t i = 0; i < w->count; i++)
		if (covers(&w->recs[i], hash))
			return &w->recs[i];
	return NULL;
}

static const struct nsec3 *
find_match(struct proof_work *w, const uint8_t *name)
{
	uint8_t hash[HASH_LEN];

	return hash_name(w, name, hash) ? match_hash(w, hash) : NULL;
}

static const struct nsec3 *
find_cover(struct proof_work *w, const uint8_t *name)
{
	uint8_t hash[HASH_LEN];

	return hash_name(w, name, hash) ? cover_hash(w, hash) : NULL;
}

/* The closest encloser (RFC 5155 8.3): the deepest ancestor that exists, with
 * the name one label longer covered. */
struct encloser {
	const uint8_t *name;
	const struct nsec3 *match;		/* of name itself, if any */
	const struct nsec3 *next_closer;
};

/* False when neither a match of the name nor the proof is there. */
static bool
find_encloser(struct proof_work *w, const uint8_t *name, struct encloser *e)
{
	const uint8_t *at = name;
	uint8_t hash[HASH_LEN], last[HASH_LEN];
	const struct nsec3 *match;

	memset(e, 0, sizeof(*e));
	if (!hash_name(w, name, hash))
		return false;
	e->match = match_hash(w, hash);
	if (e->match != NULL)
		return true;
	do {
		if (dns_name_eq(at, w->d->zone))
			return false;
		at = dns_name_up(at, 1);
		memcpy(last, hash, HASH_LEN);
		if (!hash_name(w, at, hash))
			return false;
		match = match_hash(w, hash);
	} while (match == NULL);
	/* Below these it is not this zone that speaks. */
	if (is_delegation(match) || has(match, DNS_BIT_DNAME))
		return false;
	e->name = at;
	e->next_closer = cover_hash(w, last);
	return e->next_closer != NULL;
}

static struct dns_proof
bits_deny(const struct proof_work *w, const struct nsec3 *n,
	const uint8_t *name, uint16_t type)
{
	if (has(n, type))
		return bad(w, "the NSEC3 record says that the type exists");
	if (has(n, DNS_BIT_CNAME))
		return bad(w, "the NSEC3 record says that there is a CNAME");
	if (type == DNS_TYPE_DS && has(n, DNS_BIT_SOA) && *name != 0)
		return bad(w, "the NSEC3 record is of the child's side");
	if (type != DNS_TYPE_DS && is_delegation(n))
		return bad(w, "the NSEC3 record is of the parent's side");
	return good;
}

/* RFC 5155 8.5 to 8.7. */
struct dns_proof
dns_nsec3_deny_type(const struct dns_denial *d, const uint8_t *name,
	uint16_t type)
{
	struct proof_work w;
	struct dns_proof p = work_begin(&w, d);
	const struct nsec3 *match = NULL;
	struct encloser e;
	dns_name wildcard;

	if (p.verdict != DNS_GOOD)
		return p;
	if (!find_encloser(&w, name, &e))
		return bad(&w, "no NSEC3 record matches the name, and none "
			"shows its closest encloser");
	if (e.match != NULL)
		return bits_deny(&w, e.match, name, type);
	if (dns_name_wildcard(wildcard, e.name) == ST_OK)
		match = find_match(&w, wildcard);
	if (w.exceeded)
		return bad(&w, NULL);
	if (match != NULL) {
		p = bits_deny(&w, match, wildcard, type);
		if (p.verdict != DNS_GOOD)
			return p;
	}
	if (e.next_closer->opt_out)
		return opted_out();
	return match != NULL ? good :
		bad(&w, "no NSEC3 record matches the name or a wildcard");
}

/* RFC 5155 8.4. */
struct dns_proof
dns_nsec3_deny_name(const struct dns_denial *d, const uint8_t *name)
{
	struct proof_work w;
	struct dns_proof p = work_begin(&w, d);
	struct encloser e;
	dns_name wildcard;

	if (p.verdict != DNS_GOOD)
		return p;
	if (!find_encloser(&w, name, &e))
		return bad(&w, "no NSEC3 record shows the closest encloser");
	if (e.match != NULL)
		return bad(&w, "an NSEC3 record says that the name exists");
	if (dns_name_wildcard(wildcard, e.name) == ST_OK &&
	    find_cover(&w, wildcard) == NULL)
		return bad(&w, "no NSEC3 record denies the wildcard");
	return e.next_closer->opt_out ? opted_out() : good;
}

/* RFC 5155 8.8. */
struct dns_proof
dns_nsec3_deny_exact(const struct dns_denial *d, const uint8_t *name,
	unsigned labels)
{
	struct proof_work w;
	struct dns_proof p = work_begin(&w, d);
	const struct nsec3 *cover;

	if (p.verdict != DNS_GOOD)
		return p;
	cover = find_cover(&w, dns_name_tail(name, labels + 1));
	if (cover == NULL)
		return bad(&w, "no NSEC3 record shows that the wildcard may "
			"answer");
	return cover->opt_out ? opted_out() : good;
}

static enum dns_cut
match_deny_ds(const struct nsec3 *n, const uint8_t *name,
	const char **why_out)
{
	*why_out = "the NSEC3 record is of the child's side, or says that "
		"there is a DS record";
	if (has(n, DNS_BIT_DS) || (has(n, DNS_BIT_SOA) && *name != 0))
		return DNS_CUT_UNPROVEN;
	*why_out = "it is delegated without DS record";
	return has(n, DNS_BIT_NS) ? DNS_CUT_INSECURE : DNS_CUT_NONE;
}

/* RFC 5155 8.6, 8.9. */
enum dns_cut
dns_nsec3_deny_ds(const struct dns_denial *d, const uint8_t *name,
	const char **why_out)
{
	struct proof_work w;
	struct dns_proof p = work_begin(&w, d);
	struct encloser e;

	*why_out = p.why;
	if (p.verdict == DNS_OPEN)
		return DNS_CUT_INSECURE;
	if (p.verdict != DNS_GOOD)
		return p.verdict == DNS_EXCEEDED ? DNS_CUT_EXCEEDED :
			DNS_CUT_UNPROVEN;
	if (!find_encloser(&w, name, &e)) {
		*why_out = bad(&w, "no NSEC3 record shows that there is no DS "
			"record").why;
		return w.exceeded ? DNS_CUT_EXCEEDED : DNS_CUT_UNPROVEN;
	}
	if (e.match != NULL)
		return match_deny_ds(e.match, name, why_out);
	*why_out = "it may be delegated without DS record (NSEC3 opt-out)";
	return e.next_closer->opt_out ? DNS_CUT_INSECURE : DNS_CUT_NONE;
}
