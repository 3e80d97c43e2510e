/*
 * Judging TLSA records and answers.
 */
#include "config.h"

#include <string.h>

#include "base/buf.h"
#include "policy/dane.h"

#define SELECTOR_CERT 0
#define MATCHING_FULL 0
#define DER_SEQUENCE 0x30
#define DER_BIT_STRING 0x03

const char *
dane_fault_text(enum dane_fault fault)
{
	static const char *const texts[] = {
		[DANE_USABLE] = "usable",
		[DANE_USAGE_PKIX] = "usages 0 and 1 do not apply (RFC 7672)",
		[DANE_USAGE_UNKNOWN] = "unknown certificate usage",
		[DANE_SELECTOR_UNKNOWN] = "unknown selector",
		[DANE_MATCHING_UNKNOWN] = "unknown matching type",
		[DANE_LENGTH] = "association data has the wrong length",
		[DANE_DATA] = "association data is not a certificate or key",
	};

	if ((size_t)fault >= sizeof(texts) / sizeof(texts[0]))
		return "unknown";
	return texts[fault];
}

/* One DER element of that tag; its length is written as DER has it, in as few
 * octets as can be (X.690 10.1). */
static bool
take_element(struct reader *in, uint8_t tag, struct reader *body_out)
{
	bool tag_is = reader_u8(in) == tag;
	size_t len = reader_u8(in), octets;

	if (len & 0x80) {
		octets = len & 0x7f;
		if (octets < 1 || octets > 3)
			return false;
		for (len = 0; octets > 0; octets--) {
			len = len << 8 | reader_u8(in);
			if (len == 0)
				return false;
		}
		if (len < 0x80)
			return false;
	}
	if (!tag_is || !reader_ok(in, false) || len > in->left)
		return false;
	reader_init(body_out, in->pos, len);
	in->pos += len;
	in->left -= len;
	return true;
}

/* The outline of a Certificate (RFC 5280 4.1) or SubjectPublicKeyInfo: a
 * SEQUENCE of one or two others and a BIT STRING, and nothing behind it. */
static bool
has_form(const struct dns_tlsa *t)
{
	struct reader in, parts, part;

	reader_init(&in, t->data, t->len);
	if (!take_element(&in, DER_SEQUENCE, &parts) || !reader_ok(&in, true))
		return false;
	if (t->selector == SELECTOR_CERT &&
	    !take_element(&parts, DER_SEQUENCE, &part))
		return false;
	return take_element(&parts, DER_SEQUENCE, &part) &&
		take_element(&parts, DER_BIT_STRING, &part) &&
		reader_ok(&parts, true);
}

enum dane_fault
dane_judge(const struct dns_tlsa *t)
{
	static const size_t digest_bytes[] = { 0, 32, 64 };

	if (t->usage < 2)
		return DANE_USAGE_PKIX;
	if (t->usage > 3)
		return DANE_USAGE_UNKNOWN;
	if (t->selector > 1)
		return DANE_SELECTOR_UNKNOWN;
	if (t->matching > 2)
		return DANE_MATCHING_UNKNOWN;
	if (t->matching != MATCHING_FULL)
		return t->len == digest_bytes[t->matching] ? DANE_USABLE :
			DANE_LENGTH;
	if (t->len == 0)
		return DANE_LENGTH;
	return has_form(t) ? DANE_USABLE : DANE_DATA;
}

size_t
dane_bases(const struct dane_host *host, const char *bases[DANE_BASES_MAX],
	bool *need_cname_out)
{
	bool alias = strcmp(host->canonical, host->name) != 0;
	size_t count = 0;

	*need_cname_out = false;
	if (host->address == DNS_SEC_SECURE) {
		if (alias && host->chain == DNS_SEC_SECURE)
			bases[count++] = host->canonical;
		bases[count++] = host->name;
	} else if (alias && host->address == DNS_SEC_INSECURE) {
		if (host->chain == DNS_SEC_SECURE)
			bases[count++] = host->name;
		else
			*need_cname_out = true;
	}
	return count;
}

enum dane_finding
dane_read(const struct dns_answer *answer, struct demand *demand)
{
	size_t usable = 0;

	if (answer->result == DNS_LATER)
		return DANE_FAILED;
	if (answer->security == DNS_SEC_BOGUS ||
	    answer->security == DNS_SEC_INDETERMINATE)
		return DANE_FAILED;
	/* Unsigned TLSA proves nothing (RFC 7672 2.2). */
	if (answer->result != DNS_FOUND || answer->security != DNS_SEC_SECURE)
		return DANE_NONE;
	for (size_t i = 0; i < answer->count; i++) {
		const struct dns_tlsa *t = &answer->records[i].u.tlsa;

		if (dane_judge(t) != DANE_USABLE)
			continue;
		usable++;
		if (demand != NULL)
			demand_add_tlsa(demand, t->usage, t->selector,
				t->matching, t->data, t->len);
	}
	return usable > 0 ? DANE_FOUND : DANE_UNUSABLE;
}
