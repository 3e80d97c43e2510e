/*
 * TLSA records in their presentation form (RFC 6698 section 2.2).
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "policy/tlsa_seen.h"

static char *
record_text(const struct dns_tlsa *t)
{
	char text[TLSA_SEEN_TEXT_MAX];
	size_t at = (size_t)snprintf(text, sizeof(text), "%u %u %u ",
		t->usage, t->selector, t->matching);

	for (size_t i = 0; i < t->len && at + 2 < sizeof(text); i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%02X",
			t->data[i]);
	return xstrdup(text);
}

struct tlsa_seen *
tlsa_seen_new(enum dane_finding finding, const char *base,
	const struct dns_answer *answer)
{
	struct tlsa_seen *seen;

	if (finding == DANE_NONE)
		return NULL;
	seen = xcalloc(1, sizeof(*seen));
	seen->finding = finding;
	(void)str_copy(seen->base, sizeof(seen->base), base);
	if (finding == DANE_FAILED)
		return seen;
	seen->texts = xcalloc(DEMAND_TLSA_MAX, sizeof(seen->texts[0]));
	for (size_t i = 0; i < answer->count && seen->count < DEMAND_TLSA_MAX;
	    i++)
		seen->texts[seen->count++] =
			record_text(&answer->records[i].u.tlsa);
	return seen;
}

void
tlsa_seen_free(struct tlsa_seen **seenp)
{
	struct tlsa_seen *seen = *seenp;

	if (seen == NULL)
		return;
	for (size_t i = 0; i < seen->count; i++)
		free(seen->texts[i]);
	free(seen->texts);
	mem_free(seenp);
}
