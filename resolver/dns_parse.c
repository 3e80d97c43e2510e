/*
 * Turns a DNS response into struct dns_msg.
 *
 * The message is walked here, record by record, and each record is checked
 * (dns_shape) before ldns sees it.  ldns then undoes the compression and puts
 * the record into canonical form; what it made must end exactly where the
 * record does.  TSIG and a second OPT are refused: nothing we ask is answered
 * with them, and ldns leaks memory on them.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <ldns/ldns.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "resolver/dns_parse.h"
#include "resolver/dns_shape.h"
#include "resolver/resolver.h"

#define HEADER_LEN 12
#define MEM_MAX (1024 * 1024)
#define CLASS_IN 1

struct walk {
	const uint8_t *wire;
	size_t len, pos;
	struct dns_msg *msg;
	struct buf out;			/* becomes msg->mem */
	ldns_buffer *scratch;
	size_t owner_at[DNS_MSG_RECORDS_MAX], rdata_at[DNS_MSG_RECORDS_MAX];
	const char *why;
};

/* Where a record lies in the message. */
struct place {
	size_t start, rdata, end;
	uint16_t type, class;
	uint32_t ttl;
};

uint16_t
dns_get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

uint32_t
dns_get32(const uint8_t *p)
{
	return (uint32_t)dns_get16(p) << 16 | dns_get16(p + 2);
}

static enum status
bad(struct walk *w, const char *why)
{
	w->why = why;
	return ST_PARSE;
}

/* Bytes of the name at *pos, lower case and uncompressed, through ldns. */
static enum status
name_read(struct walk *w, size_t *pos, dns_name out)
{
	ldns_rdf *name = NULL;
	size_t end = *pos;

	if (!dns_shape_name(w->wire, w->len, &end, true))
		return ST_PARSE;
	if (ldns_wire2dname(&name, w->wire, w->len, pos) != LDNS_STATUS_OK)
		return ST_PARSE;
	if (*pos != end || ldns_rdf_size(name) > DNS_NAME_MAX) {
		ldns_rdf_deep_free(name);
		return ST_PARSE;
	}
	ldns_dname2canonical(name);
	memcpy(out, ldns_rdf_data(name), ldns_rdf_size(name));
	ldns_rdf_deep_free(name);
	return ST_OK;
}

static enum status
header_read(struct walk *w)
{
	struct dns_msg *m = w->msg;

	if (w->len < HEADER_LEN)
		return bad(w, "shorter than a header");
	if (w->len > DNS_MSG_BYTES_MAX)
		return bad(w, "too long");
	if ((w->wire[2] & 0x80) == 0)
		return bad(w, "not a response");
	if ((w->wire[2] & 0x78) != 0)
		return bad(w, "not of opcode QUERY");
	m->id = dns_get16(w->wire);
	m->authoritative = (w->wire[2] & 4) != 0;
	m->truncated = (w->wire[2] & 2) != 0;
	m->ad = (w->wire[3] & 0x20) != 0;
	m->rcode = w->wire[3] & 15;
	if (dns_get16(w->wire + 4) != 1)
		return bad(w, "not exactly one question");
	w->pos = HEADER_LEN;
	if (name_read(w, &w->pos, m->qname) != ST_OK || w->len - w->pos < 4)
		return bad(w, "malformed question");
	m->qtype = dns_get16(w->wire + w->pos);
	if (dns_get16(w->wire + w->pos + 2) != CLASS_IN)
		return bad(w, "question of another class");
	w->pos += 4;
	return ST_OK;
}

static enum status
place_read(struct walk *w, struct place *p)
{
	size_t pos = w->pos;
	const uint8_t *fixed;

	p->start = pos;
	if (!dns_shape_name(w->wire, w->len, &pos, true) || w->len - pos < 10)
		return bad(w, "record cut short");
	fixed = w->wire + pos;
	p->type = dns_get16(fixed);
	p->class = dns_get16(fixed + 2);
	p->ttl = dns_get32(fixed + 4);
	p->rdata = pos + 10;
	if (w->len - p->rdata < dns_get16(fixed + 8))
		return bad(w, "record data cut short");
	p->end = p->rdata + dns_get16(fixed + 8);
	w->pos = p->end;
	return ST_OK;
}

/* RFC 6891 6.1 and the Extended DNS Error option, RFC 8914 2. */
static enum status
opt_read(struct walk *w, const struct place *p)
{
	struct dns_msg *m = w->msg;
	const uint8_t *o = w->wire + p->rdata;
	size_t left = p->end - p->rdata;

	if (m->opt || w->wire[p->start] != 0)
		return bad(w, "more than one OPT record, or a named one");
	m->opt = true;
	m->opt_do = (p->ttl & 0x8000) != 0;
	m->rcode |= p->ttl >> 24 << 4;
	while (left >= 4) {
		size_t len = dns_get16(o + 2);

		if (left - 4 < len)
			return bad(w, "EDNS option cut short");
		if (dns_get16(o) == 15 && len >= 2 && m->ede < 0) {
			m->ede = dns_get16(o + 4);
			str_sanitise(m->ede_text, sizeof(m->ede_text),
				(const char *)o + 6, len - 2);
		}
		o += 4 + len;
		left -= 4 + len;
	}
	return left == 0 ? ST_OK : bad(w, "EDNS option cut short");
}

static void
mem_put(struct walk *w, const void *bytes, size_t len)
{
	/* Cannot fail: at most 256 records of 64 KiB in all, each growing by
	 * a few names. */
	if (buf_put(&w->out, bytes, len) != ST_OK)
		abort();
}

/* The record by ldns, in canonical form: RDATA goes to w->out. */
static enum status
rdata_canonical(struct walk *w, const struct place *p)
{
	ldns_rr *rr = NULL;
	size_t pos = p->start;
	enum status st = ST_PARSE;

	if (ldns_wire2rr(&rr, w->wire, w->len, &pos, LDNS_SECTION_ANSWER) !=
	    LDNS_STATUS_OK)
		return ST_PARSE;
	ldns_buffer_clear(w->scratch);
	ldns_rr2canonical(rr);
	if (pos == p->end &&
	    ldns_rr_rdata2buffer_wire(w->scratch, rr) == LDNS_STATUS_OK) {
		mem_put(w, ldns_buffer_begin(w->scratch),
			ldns_buffer_position(w->scratch));
		st = ST_OK;
	}
	ldns_rr_free(rr);
	return st;
}

/* Records of one set follow each other: their owner is kept once. */
static void
owner_put(struct walk *w, const dns_name owner)
{
	size_t n = w->msg->count;

	if (n > 0 && dns_name_eq(buf_data(&w->out) + w->owner_at[n - 1],
	    owner)) {
		w->owner_at[n] = w->owner_at[n - 1];
		return;
	}
	w->owner_at[n] = w->out.len;
	mem_put(w, owner, dns_name_len(owner));
}

static enum status
record_keep(struct walk *w, const struct place *p, enum dns_section section)
{
	const char *fields = dns_shape_fields(p->type);
	struct dns_rr *rr = &w->msg->rrs[w->msg->count];
	size_t pos = p->start;
	dns_name owner;

	if (p->class != CLASS_IN)
		return bad(w, "record of another class");
	if (name_read(w, &pos, owner) != ST_OK)
		return bad(w, "malformed owner name");
	owner_put(w, owner);
	w->rdata_at[w->msg->count] = w->out.len;
	if (fields == NULL)
		mem_put(w, w->wire + p->rdata, p->end - p->rdata);
	else if (!dns_shape_check(fields, w->wire, p->rdata, p->end) ||
	    rdata_canonical(w, p) != ST_OK)
		return bad(w, "malformed record data");
	rr->type = p->type;
	rr->section = section;
	/* RFC 2181 8: a TTL with the top bit set counts as zero. */
	rr->ttl = p->ttl > INT32_MAX ? 0 : p->ttl;
	rr->rdata_len = (uint16_t)(w->out.len -
		w->rdata_at[w->msg->count]);
	w->msg->count++;
	return ST_OK;
}

static enum status
record_read(struct walk *w, int section)
{
	struct place p;

	if (place_read(w, &p) != ST_OK)
		return ST_PARSE;
	if (p.type == DNS_TYPE_TSIG || p.type == DNS_TYPE_TKEY)
		return bad(w, "unexpected TSIG or TKEY record");
	if (p.type == DNS_TYPE_OPT)
		return section == 2 ? opt_read(w, &p) :
			bad(w, "OPT record in a wrong section");
	/* Glue is of no use to a stub and cannot be proven. */
	if (section == 2)
		return ST_OK;
	return record_keep(w, &p, (enum dns_section)section);
}

static enum status
records_read(struct walk *w)
{
	unsigned counts[3], total = 0;
	enum status st;

	for (int i = 0; i < 3; i++) {
		counts[i] = dns_get16(w->wire + 6 + 2 * i);
		total += counts[i];
	}
	if (total > DNS_MSG_RECORDS_MAX) {
		w->why = "too many records";
		return ST_LIMIT;
	}
	w->msg->rrs = xcalloc(total + 1, sizeof(*w->msg->rrs));
	for (int i = 0; i < 3; i++) {
		while (counts[i]-- > 0) {
			st = record_read(w, i);
			if (st != ST_OK)
				return st;
		}
	}
	return w->pos == w->len ? ST_OK : bad(w, "octets after the end");
}

static void
pointers_set(struct walk *w)
{
	struct dns_msg *m = w->msg;

	m->mem_len = w->out.len;
	m->mem = xmalloc(m->mem_len + 1);
	memcpy(m->mem, buf_data(&w->out), m->mem_len);
	for (size_t i = 0; i < m->count; i++) {
		m->rrs[i].owner = m->mem + w->owner_at[i];
		m->rrs[i].rdata = m->mem + w->rdata_at[i];
	}
}

enum status
dns_parse(const uint8_t *wire, size_t len, struct dns_msg **msg_out,
	const char **why_out)
{
	struct walk w = { .wire = wire, .len = len };
	enum status st;

	*msg_out = NULL;
	w.msg = xcalloc(1, sizeof(*w.msg));
	w.msg->ede = -1;
	w.scratch = ldns_buffer_new(512);
	if (w.scratch == NULL)
		abort();
	buf_init(&w.out, MEM_MAX);
	st = header_read(&w);
	/* A cut message need not be well-formed; it will be asked again. */
	if (st == ST_OK && w.msg->truncated)
		st = bad(&w, "truncated");
	if (st == ST_OK)
		st = records_read(&w);
	if (st == ST_OK) {
		pointers_set(&w);
		*msg_out = w.msg;
	} else {
		dns_msg_free(&w.msg);
	}
	*why_out = w.why;
	buf_clear(&w.out);
	ldns_buffer_free(w.scratch);
	return st;
}

struct dns_msg *
dns_msg_copy(const struct dns_msg *from)
{
	struct dns_msg *m = xmalloc(sizeof(*m));

	*m = *from;
	m->mem = xmalloc(from->mem_len + 1);
	memcpy(m->mem, from->mem, from->mem_len);
	m->rrs = xcalloc(from->count + 1, sizeof(*m->rrs));
	for (size_t i = 0; i < from->count; i++) {
		m->rrs[i] = from->rrs[i];
		m->rrs[i].owner = m->mem + (from->rrs[i].owner - from->mem);
		m->rrs[i].rdata = m->mem + (from->rrs[i].rdata - from->mem);
	}
	return m;
}

void
dns_msg_free(struct dns_msg **mp)
{
	struct dns_msg *m = *mp;

	if (m == NULL)
		return;
	mem_free(&m->mem);
	mem_free(&m->rrs);
	mem_free(mp);
}

static bool
set_has(const struct dns_rr *const *rrs, size_t count,
	const struct dns_rr *rr)
{
	for (size_t i = 0; i < count; i++)
		if (rrs[i]->rdata_len == rr->rdata_len &&
		    memcmp(rrs[i]->rdata, rr->rdata, rr->rdata_len) == 0)
			return true;
	return false;
}

bool
dns_set_find(const struct dns_msg *m, enum dns_section section,
	const uint8_t *owner, uint16_t type, struct dns_set *s)
{
	s->type = type;
	s->section = section;
	s->ttl = UINT32_MAX;
	s->count = s->sig_count = 0;
	for (size_t i = 0; i < m->count; i++) {
		const struct dns_rr *rr = &m->rrs[i];
		bool sig = rr->type == DNS_TYPE_RRSIG &&
			type != DNS_TYPE_RRSIG && dns_get16(rr->rdata) == type;

		if (rr->section != section || (!sig && rr->type != type) ||
		    !dns_name_eq(rr->owner, owner))
			continue;
		/* RFC 4034 6.3: duplicates are one record. */
		if (sig && !set_has(s->sigs, s->sig_count, rr))
			s->sigs[s->sig_count++] = rr;
		if (sig || set_has(s->rrs, s->count, rr))
			continue;
		s->rrs[s->count++] = rr;
		s->owner = rr->owner;
		if (rr->ttl < s->ttl)
			s->ttl = rr->ttl;
	}
	return s->count > 0;
}

void
dns_sig_read(const struct dns_rr *rr, struct dns_sig *out)
{
	const uint8_t *r = rr->rdata;

	out->covered = dns_get16(r);
	out->algorithm = r[2];
	out->labels = r[3];
	out->original_ttl = dns_get32(r + 4);
	out->expiration = dns_get32(r + 8);
	out->inception = dns_get32(r + 12);
	out->tag = dns_get16(r + 16);
	out->signer = r + 18;
	out->head_len = 18 + dns_name_len(out->signer);
	out->bytes = r + out->head_len;
	out->len = rr->rdata_len - out->head_len;
}
