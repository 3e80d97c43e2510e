/*
 * Follows CNAME (RFC 1034 3.6.2) and DNAME (RFC 6672) within one message.
 *
 * A DNAME above the name takes precedence over a CNAME at it: that one is
 * made up by the server for the DNAME, is not signed, and must agree.
 */
#include "config.h"

#include <string.h>

#include "resolver/dns_chain.h"
#include "resolver/resolver.h"

static const struct dns_rr *
record_at(const struct dns_msg *m, const uint8_t *name, uint16_t type)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->rrs[i].section == DNS_ANSWER &&
		    m->rrs[i].type == type &&
		    dns_name_eq(m->rrs[i].owner, name))
			return &m->rrs[i];
	return NULL;
}

static const struct dns_rr *
dname_above(const struct dns_msg *m, const uint8_t *name)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->rrs[i].section == DNS_ANSWER &&
		    m->rrs[i].type == DNS_TYPE_DNAME &&
		    !dns_name_eq(m->rrs[i].owner, name) &&
		    dns_name_within(name, m->rrs[i].owner))
			return &m->rrs[i];
	return NULL;
}

static enum dns_end
bad(struct dns_chain *c, const char *why)
{
	c->why = why;
	return DNS_END_BAD;
}

static enum dns_end
link_add(struct dns_chain *c, const struct dns_rr *rr, const uint8_t *target)
{
	struct dns_link *l = &c->links[c->count];

	for (size_t i = 0; i < c->count; i++)
		if (dns_name_eq(c->links[i].from, target))
			return bad(c, "CNAME loop");
	if (dns_name_eq(c->last, target))
		return bad(c, "CNAME loop");
	if (c->count == DNS_CHAIN_MAX)
		return bad(c, "CNAME chain too long");
	l->owner = rr->owner;
	l->type = rr->type;
	dns_name_copy(l->from, c->last);
	dns_name_copy(c->last, target);
	if (rr->ttl < c->ttl)
		c->ttl = rr->ttl;
	c->count++;
	return DNS_END_NONE;
}

static enum dns_end
dname_link(const struct dns_msg *m, struct dns_chain *c,
	const struct dns_rr *dname)
{
	const struct dns_rr *made = record_at(m, c->last, DNS_TYPE_CNAME);
	dns_name target;

	if (dns_name_replace(target, c->last, dname->owner, dname->rdata) !=
	    ST_OK)
		return bad(c, "name too long after DNAME");
	if (made != NULL && !dns_name_eq(made->rdata, target))
		return bad(c, "CNAME does not agree with its DNAME");
	return link_add(c, dname, target);
}

/* A CNAME that was asked for and is made from a DNAME: it is unsigned, and as
 * good as the DNAME. */
static enum dns_end
made_answer(struct dns_chain *c, const struct dns_rr *dname,
	const struct dns_rr *made)
{
	dns_name target;

	if (dns_name_replace(target, c->last, dname->owner, dname->rdata) !=
	    ST_OK || !dns_name_eq(made->rdata, target))
		return bad(c, "CNAME does not agree with its DNAME");
	c->proof = dname->owner;
	c->proof_type = DNS_TYPE_DNAME;
	return DNS_END_ANSWER;
}

/* RFC 6672 5.2 and RFC 1034 3.6.2: either is alone at its name. */
static bool
single(const struct dns_msg *m, const struct dns_rr *rr)
{
	for (size_t i = 0; i < m->count; i++) {
		const struct dns_rr *other = &m->rrs[i];

		if (other != rr && other->section == DNS_ANSWER &&
		    other->type == rr->type &&
		    dns_name_eq(other->owner, rr->owner) &&
		    !dns_name_eq(other->rdata, rr->rdata))
			return false;
	}
	return true;
}

static bool
soa_above(const struct dns_msg *m, const uint8_t *name,
	const struct dns_rr **soa_out)
{
	for (size_t i = 0; i < m->count; i++) {
		if (m->rrs[i].section != DNS_AUTHORITY ||
		    m->rrs[i].type != DNS_TYPE_SOA ||
		    !dns_name_within(name, m->rrs[i].owner))
			continue;
		*soa_out = &m->rrs[i];
		return true;
	}
	return false;
}

static bool
is_referral(const struct dns_msg *m)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->rrs[i].section == DNS_AUTHORITY &&
		    m->rrs[i].type == DNS_TYPE_NS)
			return true;
	return false;
}

/* Nothing of the type and no link stands at c->last. */
static enum dns_end
negative_end(const struct dns_msg *m, struct dns_chain *c)
{
	const struct dns_rr *soa;

	if (m->rcode == DNS_RCODE_NXDOMAIN)
		return DNS_END_NXDOMAIN;
	if (soa_above(m, c->last, &soa))
		return DNS_END_NODATA;
	if (c->count > 0)
		return DNS_END_ASK;
	/* RFC 2308 2.2: NODATA may come without SOA, but with NS records
	 * and no SOA it is a referral: that server does not recurse. */
	return is_referral(m) ? bad(c, "a referral, not an answer") :
		DNS_END_NODATA;
}

static enum dns_end
step(const struct dns_msg *m, uint16_t type, struct dns_chain *c)
{
	const struct dns_rr *found = record_at(m, c->last, type);
	const struct dns_rr *rr = dname_above(m, c->last);

	if (found != NULL && type == DNS_TYPE_CNAME && rr != NULL &&
	    single(m, rr) && single(m, found))
		return made_answer(c, rr, found);
	if (found != NULL) {
		c->proof = found->owner;
		c->proof_type = type;
		return DNS_END_ANSWER;
	}
	if (rr != NULL)
		return single(m, rr) ? dname_link(m, c, rr) :
			bad(c, "several DNAME records at one name");
	rr = record_at(m, c->last, DNS_TYPE_CNAME);
	if (rr != NULL)
		return single(m, rr) ? link_add(c, rr, rr->rdata) :
			bad(c, "several CNAME records at one name");
	return negative_end(m, c);
}

void
dns_chain_follow(const struct dns_msg *m, const uint8_t *name, uint16_t type,
	struct dns_chain *c)
{
	c->count = 0;
	c->ttl = UINT32_MAX;
	c->why = NULL;
	c->proof = NULL;
	c->proof_type = 0;
	c->end = DNS_END_NONE;
	dns_name_copy(c->last, name);
	while (c->end == DNS_END_NONE)
		c->end = step(m, type, c);
}

uint32_t
dns_chain_negative_ttl(const struct dns_msg *m, const uint8_t *name)
{
	const struct dns_rr *soa;
	uint32_t minimum;

	if (!soa_above(m, name, &soa))
		return 0;
	minimum = dns_get32(soa->rdata + soa->rdata_len - 4);
	return minimum < soa->ttl ? minimum : soa->ttl;
}
