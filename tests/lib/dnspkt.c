/*
 * Messages for tests.  The OPT record is there from the start; records are
 * put in before it.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <ldns/ldns.h>

#include "resolver/dns_name.h"
#include "tests/lib/dnspkt.h"

static void
put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void
put(struct dnspkt *p, const void *bytes, size_t len)
{
	if (p->len + len > sizeof(p->bytes))
		abort();
	memcpy(p->bytes + p->len, bytes, len);
	p->len += len;
}

static void
count_up(struct dnspkt *p, int section)
{
	uint8_t *at = p->bytes + 6 + 2 * section;

	put16(at, (unsigned)(at[0] << 8 | at[1]) + 1);
}

static void
insert(struct dnspkt *p, int section, const uint8_t *bytes, size_t len)
{
	uint8_t opt[32];
	size_t n = p->opt_len;

	memcpy(opt, p->bytes + p->len - n, n);
	p->len -= n;
	put(p, bytes, len);
	put(p, opt, n);
	count_up(p, section);
}

void
dnspkt_start(struct dnspkt *p, uint16_t id, const char *name, uint16_t type,
	unsigned rcode, unsigned flags)
{
	uint8_t head[12] = { 0 }, tail[4], opt[11] = { 0, 0, 41, 4, 0xd0 };
	static const uint8_t ede[10] = { 0, 15, 0, 6, 0, 22, 't', 'e', 's',
		't' };
	dns_name wire;

	if (dns_name_parse(name, wire) != ST_OK)
		abort();
	p->len = p->opt_len = 0;
	put16(head, id);
	head[2] = (flags & PKT_TC) != 0 ? 0x83 : 0x81;
	head[3] = (uint8_t)(0x80U | rcode | ((flags & PKT_AD) != 0 ? 32U : 0U));
	head[5] = 1;
	head[11] = (flags & PKT_NO_OPT) != 0 ? 0 : 1;
	put(p, head, sizeof(head));
	put(p, wire, dns_name_len(wire));
	put16(tail, type);
	put16(tail + 2, 1);
	put(p, tail, sizeof(tail));
	if ((flags & PKT_NO_OPT) != 0)
		return;
	if ((flags & PKT_DO) != 0)
		opt[7] = 0x80;
	opt[10] = (flags & PKT_EDE) != 0 ? (uint8_t)sizeof(ede) : 0;
	put(p, opt, sizeof(opt));
	if ((flags & PKT_EDE) != 0)
		put(p, ede, sizeof(ede));
	p->opt_len = sizeof(opt) + opt[10];
}

void
dnspkt_add(struct dnspkt *p, int section, const char *line)
{
	ldns_rr *rr = NULL;
	uint8_t *wire = NULL;
	size_t len;

	if (ldns_rr_new_frm_str(&rr, line, 3600, NULL, NULL) !=
	    LDNS_STATUS_OK || ldns_rr2wire(&wire, rr, section + 1, &len) !=
	    LDNS_STATUS_OK)
		abort();
	insert(p, section, wire, len);
	free(wire);
	ldns_rr_free(rr);
}

void
dnspkt_raw(struct dnspkt *p, int section, const char *owner, uint16_t type,
	uint32_t ttl, const void *rdata, size_t len)
{
	uint8_t rr[65536];
	dns_name wire;
	size_t n;

	if (dns_name_parse(owner, wire) != ST_OK)
		abort();
	n = dns_name_len(wire);
	memcpy(rr, wire, n);
	put16(rr + n, type);
	put16(rr + n + 2, 1);
	put16(rr + n + 4, ttl >> 16);
	put16(rr + n + 6, ttl & 0xffff);
	put16(rr + n + 8, (unsigned)len);
	memcpy(rr + n + 10, rdata, len);
	insert(p, section, rr, n + 10 + len);
}

void
dnspkt_echo(struct dnspkt *p, const uint8_t *query, size_t len)
{
	size_t n = dns_name_len(p->bytes + 12) + 4;

	if (len >= 12 + n)
		memcpy(p->bytes + 12, query + 12, n);
	memcpy(p->bytes, query, 2);
}
