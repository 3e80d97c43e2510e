/*
 * Messages from a resolver: whatever comes is refused or becomes plain data
 * that the rest may read without looking at lengths.
 */
#include "config.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "resolver/dns_answer.h"
#include "resolver/dns_chain.h"
#include "resolver/dns_parse.h"
#include "resolver/dns_verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool fact)
{
	if (!fact)
		abort();
}

/* An answer made of a set, as the resolver does, and copied. */
static void
answer_make(const struct dns_msg *m, const struct dns_set *set)
{
	struct dns_answer *a = dns_answer_make(&(struct dns_answer_parts){
		.name = m->qname, .canonical = set->owner, .type = set->type,
		.result = DNS_FOUND, .set = set, .ede = m->ede });
	struct dns_answer *b = dns_answer_copy(a);

	must(a->count == set->count && b->count == a->count);
	must(dns_answer_size(a) == dns_answer_size(b));
	dns_answer_free(&a);
	dns_answer_free(&b);
}

static void
records_read(const struct dns_msg *m)
{
	struct dns_set *set = calloc(1, sizeof(*set));
	char text[DNS_TEXT_MAX];

	for (size_t i = 0; i < m->count && i < 20; i++) {
		const struct dns_rr *rr = &m->rrs[i];
		struct dns_sig sig;
		dns_name again;

		dns_name_format(rr->owner, text);
		must(dns_name_parse(text, again) == ST_OK);
		must(dns_name_eq(again, rr->owner));
		must(dns_set_find(m, rr->section, rr->owner, rr->type, set));
		(void)dns_verify_signer(set);
		answer_make(m, set);
		if (rr->type != DNS_TYPE_RRSIG)
			continue;
		dns_sig_read(rr, &sig);
		must(sig.head_len + sig.len == rr->rdata_len);
	}
	free(set);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_msg *m = NULL, *copy;
	struct dns_chain chain;
	const char *why = NULL;

	if (dns_parse(data, size, &m, &why) != ST_OK) {
		must(m == NULL && why != NULL);
		return 0;
	}
	must(m->count <= DNS_MSG_RECORDS_MAX);
	copy = dns_msg_copy(m);
	dns_msg_free(&m);
	dns_chain_follow(copy, copy->qname, copy->qtype, &chain);
	must(chain.end != DNS_END_NONE && chain.count <= DNS_CHAIN_MAX);
	must(chain.end != DNS_END_BAD || chain.why != NULL);
	(void)dns_chain_negative_ttl(copy, chain.last);
	records_read(copy);
	dns_msg_free(&copy);
	return 0;
}
