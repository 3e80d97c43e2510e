/*
 * struct dns_answer: one allocation that holds the struct, its records and
 * all they point to, so that one free takes it down.
 *
 * The block is filled by a function that runs twice: first over no memory,
 * only counting, then over a block of the size counted.
 */
#include "config.h"

#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "resolver/dns_answer.h"

struct pool {
	uint8_t *mem;	/* NULL: only count */
	size_t used;
};

static void *
pool_put(struct pool *p, const void *bytes, size_t len)
{
	uint8_t *to = p->mem == NULL ? NULL : p->mem + p->used;

	if (to != NULL && len > 0)
		memcpy(to, bytes, len);
	p->used += len;
	return to;
}

static char *
pool_text(struct pool *p, const char *text)
{
	return text == NULL ? NULL : pool_put(p, text, strlen(text) + 1);
}

static char *
pool_name(struct pool *p, const uint8_t *name)
{
	char text[DNS_TEXT_MAX];

	dns_name_format(name, text);
	return pool_text(p, text);
}

/* The answer and its records stand first, for their alignment. */
static struct dns_answer *
pool_start(struct pool *p, size_t count)
{
	struct dns_answer *a = (struct dns_answer *)(void *)p->mem;
	size_t at = sizeof(*a);

	at = (at + alignof(struct dns_record) - 1) /
		alignof(struct dns_record) * alignof(struct dns_record);
	p->used = at + count * sizeof(struct dns_record);
	if (a != NULL) {
		a->records = (struct dns_record *)(void *)(p->mem + at);
		a->count = count;
	}
	return a;
}

/* ---- from a message ---- */

static struct dns_bytes
txt_join(struct pool *p, const struct dns_rr *rr)
{
	struct dns_bytes b = { NULL, 0 };
	size_t pos = 0;

	while (pos < rr->rdata_len) {
		size_t len = rr->rdata[pos];
		uint8_t *at = pool_put(p, rr->rdata + pos + 1, len);

		if (b.data == NULL)
			b.data = at;
		b.len += len;
		pos += len + 1;
	}
	return b;
}

static struct dns_bytes
bytes_put(struct pool *p, const struct dns_rr *rr, size_t skip)
{
	struct dns_bytes b;

	b.len = rr->rdata_len - skip;
	b.data = pool_put(p, rr->rdata + skip, b.len);
	return b;
}

static void
record_make(struct pool *p, const struct dns_rr *rr, struct dns_record *out)
{
	const uint8_t *r = rr->rdata;
	struct dns_bytes b;

	switch (rr->type) {
	case DNS_TYPE_A:
		memcpy(&out->u.a, r, 4);
		return;
	case DNS_TYPE_AAAA:
		memcpy(&out->u.aaaa, r, 16);
		return;
	case DNS_TYPE_MX:
		out->u.mx.preference = dns_get16(r);
		out->u.mx.host = pool_name(p, r + 2);
		return;
	case DNS_TYPE_TLSA:
		b = bytes_put(p, rr, 3);
		out->u.tlsa = (struct dns_tlsa){ r[0], r[1], r[2], b.data,
			b.len };
		return;
	case DNS_TYPE_TXT:
		out->u.txt = txt_join(p, rr);
		return;
	case DNS_TYPE_NS:
	case DNS_TYPE_CNAME:
	case DNS_TYPE_DNAME:
	case DNS_TYPE_PTR:
		out->u.name = pool_name(p, r);
		return;
	default:
		out->u.raw = bytes_put(p, rr, 0);
	}
}

static void
parts_fill(struct pool *p, const struct dns_answer_parts *parts)
{
	size_t count = parts->set == NULL ? 0 : parts->set->count;
	struct dns_answer *a = pool_start(p, count), none;
	struct dns_record unused;

	if (a == NULL)
		a = &none;
	a->type = parts->type;
	a->result = parts->result;
	a->security = parts->security;
	a->chain_security = parts->chain_security;
	a->ttl_s = parts->ttl_s;
	a->ede = parts->ede;
	a->silent = parts->silent;
	a->name = pool_name(p, parts->name);
	a->canonical = pool_name(p, parts->canonical);
	a->why = pool_text(p, parts->why);
	for (size_t i = 0; i < count; i++)
		record_make(p, parts->set->rrs[i],
			p->mem == NULL ? &unused : &a->records[i]);
}

struct dns_answer *
dns_answer_make(const struct dns_answer_parts *parts)
{
	struct pool p = { NULL, 0 };

	parts_fill(&p, parts);
	p.mem = xcalloc(1, p.used);
	p.used = 0;
	parts_fill(&p, parts);
	return (struct dns_answer *)(void *)p.mem;
}

/* ---- from an answer ---- */

static void
record_copy(struct pool *p, uint16_t type, const struct dns_record *from,
	struct dns_record *to)
{
	*to = *from;
	switch (type) {
	case DNS_TYPE_A:
	case DNS_TYPE_AAAA:
		return;
	case DNS_TYPE_MX:
		to->u.mx.host = pool_text(p, from->u.mx.host);
		return;
	case DNS_TYPE_TLSA:
		to->u.tlsa.data = pool_put(p, from->u.tlsa.data,
			from->u.tlsa.len);
		return;
	case DNS_TYPE_NS:
	case DNS_TYPE_CNAME:
	case DNS_TYPE_DNAME:
	case DNS_TYPE_PTR:
		to->u.name = pool_text(p, from->u.name);
		return;
	default:	/* TXT and raw have one form */
		to->u.raw.data = pool_put(p, from->u.raw.data,
			from->u.raw.len);
	}
}

static void
answer_fill(struct pool *p, const struct dns_answer *from)
{
	struct dns_answer *a = pool_start(p, from->count), none;
	struct dns_record unused, *records;

	if (a == NULL)
		a = &none;
	records = p->mem == NULL ? NULL : a->records;
	*a = *from;
	a->records = records;
	a->name = pool_text(p, from->name);
	a->canonical = pool_text(p, from->canonical);
	a->why = pool_text(p, from->why);
	for (size_t i = 0; i < from->count; i++)
		record_copy(p, from->type, &from->records[i],
			records == NULL ? &unused : &records[i]);
}

size_t
dns_answer_size(const struct dns_answer *a)
{
	struct pool p = { NULL, 0 };

	answer_fill(&p, a);
	return p.used;
}

struct dns_answer *
dns_answer_copy(const struct dns_answer *from)
{
	struct pool p = { NULL, 0 };

	p.mem = xcalloc(1, dns_answer_size(from));
	answer_fill(&p, from);
	return (struct dns_answer *)(void *)p.mem;
}

void
dns_answer_free(struct dns_answer **ap)
{
	mem_free(ap);
}

const char *
dns_result_name(enum dns_result r)
{
	static const char *const names[] = { "none", "found", "nodata",
		"nxdomain", "later" };

	return (size_t)r < sizeof(names) / sizeof(names[0]) ? names[r] : "?";
}

const char *
dns_security_name(enum dns_security s)
{
	static const char *const names[] = { "unknown", "secure", "insecure",
		"bogus", "indeterminate" };

	return (size_t)s < sizeof(names) / sizeof(names[0]) ? names[s] : "?";
}

static const struct type_name {
	uint16_t type;
	const char *name;
} type_names[] = {
	{ DNS_TYPE_A, "A" }, { DNS_TYPE_NS, "NS" },
	{ DNS_TYPE_CNAME, "CNAME" }, { DNS_TYPE_SOA, "SOA" },
	{ DNS_TYPE_PTR, "PTR" }, { DNS_TYPE_MX, "MX" },
	{ DNS_TYPE_TXT, "TXT" }, { DNS_TYPE_AAAA, "AAAA" },
	{ DNS_TYPE_SRV, "SRV" }, { DNS_TYPE_DNAME, "DNAME" },
	{ DNS_TYPE_DS, "DS" }, { DNS_TYPE_NSEC, "NSEC" },
	{ DNS_TYPE_DNSKEY, "DNSKEY" }, { DNS_TYPE_NSEC3, "NSEC3" },
	{ DNS_TYPE_TLSA, "TLSA" },
};

const char *
dns_type_name(uint16_t type)
{
	static char text[16];

	for (size_t i = 0; i < sizeof(type_names) / sizeof(type_names[0]); i++)
		if (type_names[i].type == type)
			return type_names[i].name;
	snprintf(text, sizeof(text), "TYPE%u", type);	/* RFC 3597 5 */
	return text;
}

enum status
dns_type_parse(const char *text, uint16_t *type_out)
{
	char *end;
	unsigned long n;

	for (size_t i = 0; i < sizeof(type_names) / sizeof(type_names[0]);
	    i++) {
		if (strcasecmp(type_names[i].name, text) == 0) {
			*type_out = type_names[i].type;
			return ST_OK;
		}
	}
	if (strncasecmp(text, "TYPE", 4) != 0 || text[4] < '0' ||
	    text[4] > '9')
		return ST_PARSE;
	n = strtoul(text + 4, &end, 10);
	*type_out = (uint16_t)n;
	return *end == '\0' && n <= UINT16_MAX ? ST_OK : ST_PARSE;
}
