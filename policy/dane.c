/*
 * Judging TLSA records and answers.
 */
#include "config.h"

#include <string.h>

#include "policy/dane.h"

#define MATCHING_FULL 0
#define DATA_MAX 8192		/* of a full certificate or key */

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

/* One DER SEQUENCE that fills the data exactly, as a certificate and a public
 * key both are. */
static bool
is_der_sequence(const uint8_t *data, size_t len)
{
	size_t at = 2, body, bytes;

	if (len < 4 || data[0] != 0x30)
		return false;
	body = data[1];
	if (body & 0x80) {
		bytes = body & 0x7f;
		if (bytes < 1 || bytes > 3 || len < 2 + bytes)
			return false;
		for (body = 0; bytes > 0; bytes--)
			body = body << 8 | data[at++];
	}
	return at + body == len;
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
	if (t->len == 0 || t->len > DATA_MAX)
		return DANE_LENGTH;
	return is_der_sequence(t->data, t->len) ? DANE_USABLE : DANE_DATA;
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
