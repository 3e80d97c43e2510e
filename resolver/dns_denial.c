/*
 * Proofs by NSEC records, and the choice between NSEC and NSEC3.
 *
 * Each NSEC says: between my owner and my next name there is nothing in this
 * zone.  Two kinds must not be believed for names below their owner: that of
 * a delegation, read at the parent's side (NS without SOA), and that of a
 * DNAME: what is below is not this zone's to deny (RFC 6840 4.1).
 */
#include "config.h"

#include <string.h>

#include "resolver/dns_denial.h"
#include "resolver/resolver.h"

static const struct dns_proof good = { DNS_GOOD, NULL };

static struct dns_proof
bad(const char *why)
{
	return (struct dns_proof){ DNS_BAD, why };
}

bool
dns_bitmap_has(const uint8_t *map, size_t len, uint16_t type)
{
	size_t at = type % 256 / 8;

	/* The shape of the blocks was checked by dns_parse(). */
	while (len > 2) {
		if (map[0] == type / 256)
			return at < map[1] &&
				(map[2 + at] & (0x80 >> (type % 8))) != 0;
		len -= (size_t)map[1] + 2;
		map += (size_t)map[1] + 2;
	}
	return false;
}

struct nsec {
	const uint8_t *owner;
	dns_name next;		/* lower case, unlike in the record */
	const uint8_t *map;
	size_t map_len;
};

static void
nsec_read(const struct dns_rr *rr, struct nsec *n)
{
	size_t len = dns_name_len(rr->rdata);

	n->owner = rr->owner;
	n->map = rr->rdata + len;
	n->map_len = rr->rdata_len - len;
	memcpy(n->next, rr->rdata, len);
	/* Length octets are below 64, so they are never letters. */
	for (size_t i = 0; i < len; i++)
		if (n->next[i] >= 'A' && n->next[i] <= 'Z')
			n->next[i] = (uint8_t)(n->next[i] + 32);
}

static bool
has(const struct nsec *n, uint16_t type)
{
	return dns_bitmap_has(n->map, n->map_len, type);
}

static bool
is_delegation(const struct nsec *n)
{
	return has(n, DNS_BIT_NS) && !has(n, DNS_BIT_SOA);
}

/* Nothing stands between; the last NSEC of a zone points to its apex. */
static bool
spans(const struct dns_denial *d, const struct nsec *n, const uint8_t *name)
{
	if (dns_name_cmp(n->owner, name) >= 0)
		return false;
	if (dns_name_eq(n->next, d->zone))
		return dns_name_within(name, d->zone);
	return dns_name_cmp(name, n->next) < 0;
}

static bool
covers(const struct dns_denial *d, const struct nsec *n, const uint8_t *name)
{
	if (!spans(d, n, name))
		return false;
	return !dns_name_within(name, n->owner) ||
		(!is_delegation(n) && !has(n, DNS_BIT_DNAME));
}

static bool
find_match(const struct dns_denial *d, const uint8_t *name, struct nsec *n)
{
	for (size_t i = 0; i < d->nsec_count; i++) {
		if (!dns_name_eq(d->nsec[i]->owner, name))
			continue;
		nsec_read(d->nsec[i], n);
		return true;
	}
	return false;
}

static bool
find_cover(const struct dns_denial *d, const uint8_t *name, struct nsec *n)
{
	for (size_t i = 0; i < d->nsec_count; i++) {
		nsec_read(d->nsec[i], n);
		if (covers(d, n, name))
			return true;
	}
	return false;
}

/* The type bits at the name itself (RFC 4035 5.4, RFC 6840 4.1 and 4.3). */
static struct dns_proof
bits_deny(const struct nsec *n, const uint8_t *name, uint16_t type)
{
	if (has(n, type))
		return bad("the NSEC record says that the type exists");
	if (has(n, DNS_BIT_CNAME))
		return bad("the NSEC record says that there is a CNAME");
	if (type == DNS_TYPE_DS && has(n, DNS_BIT_SOA) && *name != 0)
		return bad("the NSEC record is of the child's side");
	if (type != DNS_TYPE_DS && is_delegation(n))
		return bad("the NSEC record is of the parent's side");
	return good;
}

/* The closest encloser that a covering NSEC implies. */
static const uint8_t *
encloser(const struct nsec *n, const uint8_t *name)
{
	const uint8_t *a = dns_name_common(name, n->owner);
	const uint8_t *b = dns_name_common(name, n->next);

	return dns_name_labels(a) > dns_name_labels(b) ? a : b;
}

static struct dns_proof
nsec_deny_type(const struct dns_denial *d, const uint8_t *name, uint16_t type)
{
	struct nsec n;
	dns_name wildcard;

	if (find_match(d, name, &n))
		return bits_deny(&n, name, type);
	if (!find_cover(d, name, &n))
		return bad("no NSEC record matches or covers the name");
	/* An empty non-terminal: it exists for what is below it. */
	if (dns_name_within(n.next, name))
		return good;
	if (dns_name_wildcard(wildcard, encloser(&n, name)) != ST_OK ||
	    !find_match(d, wildcard, &n))
		return bad("the name does not exist, and no wildcard's NSEC "
			"record is shown");
	return bits_deny(&n, wildcard, type);
}

static struct dns_proof
nsec_deny_name(const struct dns_denial *d, const uint8_t *name)
{
	struct nsec n;
	dns_name wildcard;

	if (!find_cover(d, name, &n))
		return bad("no NSEC record covers the name");
	if (dns_name_within(n.next, name))
		return bad("the name is an empty non-terminal: it exists");
	if (dns_name_wildcard(wildcard, encloser(&n, name)) != ST_OK)
		return good;	/* too long to exist */
	if (!find_cover(d, wildcard, &n) || dns_name_within(n.next, wildcard))
		return bad("no NSEC record denies the wildcard");
	return good;
}

static struct dns_proof
nsec_deny_exact(const struct dns_denial *d, const uint8_t *name,
	unsigned labels)
{
	struct nsec n;

	if (!find_cover(d, name, &n) || dns_name_within(n.next, name))
		return bad("no NSEC record shows that the wildcard may "
			"answer");
	if (dns_name_labels(encloser(&n, name)) != labels)
		return bad("a closer name exists than the wildcard's");
	return good;
}

static enum dns_cut
nsec_deny_ds(const struct dns_denial *d, const uint8_t *name,
	const char **why_out)
{
	struct nsec n;

	if (find_match(d, name, &n)) {
		*why_out = "the NSEC record is of the child's side, or says "
			"that there is a DS record";
		if (has(&n, DNS_BIT_DS) || (has(&n, DNS_BIT_SOA) && *name != 0))
			return DNS_CUT_UNPROVEN;
		*why_out = "it is delegated without DS record";
		return has(&n, DNS_BIT_NS) ? DNS_CUT_INSECURE : DNS_CUT_NONE;
	}
	*why_out = "no NSEC record matches or covers the name";
	return find_cover(d, name, &n) ? DNS_CUT_NONE : DNS_CUT_UNPROVEN;
}

/* ---- either kind ----------------------------------------------------- */

struct dns_proof
dns_deny_type(const struct dns_denial *d, const uint8_t *name, uint16_t type)
{
	return d->nsec3_count > 0 && d->nsec_count == 0 ?
		dns_nsec3_deny_type(d, name, type) :
		nsec_deny_type(d, name, type);
}

struct dns_proof
dns_deny_name(const struct dns_denial *d, const uint8_t *name)
{
	return d->nsec3_count > 0 && d->nsec_count == 0 ?
		dns_nsec3_deny_name(d, name) : nsec_deny_name(d, name);
}

struct dns_proof
dns_deny_exact(const struct dns_denial *d, const uint8_t *name,
	unsigned labels)
{
	return d->nsec3_count > 0 && d->nsec_count == 0 ?
		dns_nsec3_deny_exact(d, name, labels) :
		nsec_deny_exact(d, name, labels);
}

enum dns_cut
dns_deny_ds(const struct dns_denial *d, const uint8_t *name,
	const char **why_out)
{
	return d->nsec3_count > 0 && d->nsec_count == 0 ?
		dns_nsec3_deny_ds(d, name, why_out) :
		nsec_deny_ds(d, name, why_out);
}
