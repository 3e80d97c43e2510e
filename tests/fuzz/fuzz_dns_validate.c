/*
 * A hostile zone that signs whatever it likes: the input says what records it
 * has, of which shape and at which name; they are signed with the zone's own
 * key, so that every check behind the signature sees them.
 *
 * Input: an octet of choices, then records: type, owner, length, RDATA.
 */
#include "config.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "resolver/dns_chain.h"
#include "resolver/dns_trust.h"
#include "resolver/resolver.h"
#include "tests/lib/dnssign.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

#define RECORDS_MAX 12
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const uint16_t types[] = { DNS_TYPE_A, DNS_TYPE_MX, DNS_TYPE_CNAME,
	DNS_TYPE_DNAME, DNS_TYPE_DS, DNS_TYPE_DNSKEY, DNS_TYPE_NSEC,
	DNS_TYPE_NSEC3, DNS_TYPE_SOA, DNS_TYPE_TLSA, DNS_TYPE_TXT,
	DNS_TYPE_RRSIG };
/* The last two are hashes: of "zone.test" and near that of "a.zone.test",
 * without salt and iterations. */
static const char *const owners[] = { "zone.test", "a.zone.test",
	"*.zone.test", "sub.zone.test", "x.sub.zone.test", "z.zone.test",
	"6da6cnufrmmdnnpjmm7068a9cn6v9prs.zone.test",
	"pa0ad475kd4e8ubci8noh4njbrcnajj7.zone.test" };

static struct dnspkt pkt;
static struct dnssign_key *key;
static struct dns_keys *keys;

static void
must(bool fact)
{
	if (!fact)
		abort();
}

static void
key_make(void)
{
	static const uint8_t seed[32] = "a key for tests, known to all..";
	struct dns_msg *m;
	const char *why;

	if (key != NULL)
		return;
	key = dnssign_key_of("zone.test", seed);
	dnspkt_start(&pkt, 1, "zone.test", DNS_TYPE_DNSKEY, 0, PKT_DO);
	dnssign_add_key(&pkt, 0, key);
	must(dns_parse(pkt.bytes, pkt.len, &m, &why) == ST_OK);
	keys = dns_keys_new_one(&m->rrs[0]);
	dns_msg_free(&m);
}

/* The records of the input, answers first. */
static void
records_put(const uint8_t *data, size_t size, int section)
{
	for (int i = 0; i < RECORDS_MAX && size >= 3; i++) {
		size_t len = data[2] < size - 3 ? data[2] : size - 3;
		int where = (data[0] & 0x80) != 0;

		if (where == section)
			dnspkt_raw(&pkt, section, owners[data[1] %
				COUNT(owners)], types[(data[0] & 0x7f) %
				COUNT(types)], 300, data + 3, len);
		data += 3 + len;
		size -= 3 + len;
	}
}

static void
sign_all(const struct dns_msg *m, int section, bool wildcard)
{
	struct dnssign_odd odd = { .labels = wildcard ? 2 + 1 : 0 };
	char name[DNS_TEXT_MAX];

	for (size_t i = 0; i < m->count; i++) {
		const struct dns_rr *rr = &m->rrs[i];
		bool first = true;

		for (size_t k = 0; k < i; k++)
			first &= m->rrs[k].type != rr->type ||
				m->rrs[k].section != rr->section ||
				!dns_name_eq(m->rrs[k].owner, rr->owner);
		if (!first || rr->type == DNS_TYPE_RRSIG ||
		    (int)rr->section != section)
			continue;
		dns_name_format(rr->owner, name);
		dnssign(&pkt, section, name, rr->type, key, &odd);
	}
}

static struct dns_msg *
message_make(const uint8_t *data, size_t size)
{
	struct dns_msg *m, *all = NULL;
	const char *why;

	for (int section = 0; section < 2; section++) {
		dns_msg_free(&all);
		if (section == 0)
			dnspkt_start(&pkt, 1, "a.zone.test", DNS_TYPE_MX,
				data[0] & 1 ? 3 : 0, PKT_DO);
		records_put(data + 1, size - 1, section);
		if (dns_parse(pkt.bytes, pkt.len, &m, &why) != ST_OK)
			return NULL;
		sign_all(m, section, section == 0 && (data[0] & 2) != 0);
		dns_msg_free(&m);
		if (dns_parse(pkt.bytes, pkt.len, &all, &why) != ST_OK)
			return NULL;
	}
	return all;
}

static void
denials(const struct dns_msg *m, const struct dns_check *check)
{
	struct dns_denial d;
	struct dns_verified v = dns_trust_denial(m, keys, check, &d);
	dns_name name;

	if (v.verdict != DNS_GOOD) {
		must(v.why != NULL);
		return;
	}
	for (size_t i = 0; i < COUNT(owners); i++) {
		const char *why = NULL;

		must(dns_name_parse(owners[i], name) == ST_OK);
		(void)dns_deny_type(&d, name, DNS_TYPE_MX);
		(void)dns_deny_type(&d, name, DNS_TYPE_DS);
		(void)dns_deny_name(&d, name);
		(void)dns_deny_ds(&d, name, &why);
		if (dns_name_labels(name) > 2)
			(void)dns_deny_exact(&d, name, 2);
	}
}

static void
zones(const struct dns_msg *m, const struct dns_check *check)
{
	struct dns_ds_list ds;
	struct dns_keys *found;
	const char *why = NULL;
	uint8_t bytes[64];
	dns_name name;
	uint32_t ttl;
	bool exceeded;

	must(dns_name_parse("sub.zone.test", name) == ST_OK);
	(void)dns_trust_child(m, name, keys, check, &ds, &ttl, &why);
	must(dns_name_parse("zone.test", name) == ST_OK);
	ds.count = 0;
	dns_ds_list_add(&ds, bytes, dnssign_ds(key, 2, bytes));
	found = dns_trust_keys(m, name, &ds, check, &ttl, &exceeded, &why);
	must(found != NULL || why != NULL);
	dns_keys_free(&found);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_budget budget = { 32, 64 };
	struct dns_check check = { { SIGN_T0, 300 }, &budget, 50 };
	struct dns_chain chain;
	struct dns_msg *m;

	if (size < 1)
		return 0;
	key_make();
	m = message_make(data, size);
	if (m == NULL)
		return 0;
	dns_chain_follow(m, m->qname, m->qtype, &chain);
	denials(m, &check);
	zones(m, &check);
	must(budget.checks <= 32 && budget.hashes <= 64);
	dns_msg_free(&m);
	return 0;
}
