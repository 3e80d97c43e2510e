/*
 * Owning what `check` found out.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "smtpd-out/check/check_facts.h"

#define WORD_MAX 128

const char *
check_phase_name(enum check_phase phase)
{
	static const char *const names[CHECK_PHASES] = {
		[CHECK_PHASE_CONNECT] = "connect",
		[CHECK_PHASE_BANNER] = "banner",
		[CHECK_PHASE_EHLO] = "ehlo",
		[CHECK_PHASE_STARTTLS] = "starttls",
		[CHECK_PHASE_TLS] = "tls",
		[CHECK_PHASE_EHLO_TLS] = "ehlo_tls",
		[CHECK_PHASE_AUTH] = "auth",
		[CHECK_PHASE_QUIT] = "quit",
	};

	return phase < CHECK_PHASES ? names[phase] : "unknown";
}

const char *
check_auth_name(enum check_auth auth)
{
	static const char *const names[] = {
		[CHECK_AUTH_NONE] = "none",
		[CHECK_AUTH_LEFT_OUT] = "not-tried",
		[CHECK_AUTH_HIDDEN] = "not-tried",
		[CHECK_AUTH_UNUSABLE] = "unusable",
		[CHECK_AUTH_ACCEPTED] = "accepted",
		[CHECK_AUTH_REFUSED] = "refused",
	};

	return names[auth];
}

void
check_words_add(struct check_words *w, const char *text, size_t len)
{
	char word[WORD_MAX];

	if (w->count == CHECK_KEYWORDS_MAX)
		return;
	str_sanitise(word, sizeof(word), text, len);
	w->words = xrealloc_n(w->words, w->count + 1, sizeof(w->words[0]));
	w->words[w->count++] = xstrdup(word);
}

static void
words_clear(struct check_words *w)
{
	for (size_t i = 0; i < w->count; i++)
		free(w->words[i]);
	mem_free(&w->words);
	w->count = 0;
}

void
check_host_clear(struct check_host *h)
{
	for (size_t i = 0; i < h->try_count; i++) {
		words_clear(&h->tries[i].ehlo);
		words_clear(&h->tries[i].ehlo_tls);
		cert_report_free(&h->tries[i].cert);
	}
	h->try_count = 0;
	for (size_t i = 0; i < h->tlsa_count; i++) {
		for (size_t n = 0; n < h->tlsa[i].count; n++)
			free(h->tlsa[i].records[n].data);
		mem_free(&h->tlsa[i].records);
	}
	h->tlsa_count = 0;
	demand_free(&h->demand);
	memset(&h->skipped, 0, sizeof(h->skipped));
}

void
check_facts_free(struct check_facts **fp)
{
	struct check_facts *f = *fp;

	if (f == NULL)
		return;
	for (size_t i = 0; i < f->host_count; i++) {
		check_host_clear(&f->hosts[i]);
		free(f->hosts[i].addrs);
	}
	free(f->hosts);
	sts_view_unref(&f->sts.view);
	sts_policy_free(&f->sts.live);
	tlsrpt_record_free(&f->tlsrpt.record);
	mem_free(fp);
}

const struct check_session *
check_last_try(const struct check_host *h)
{
	return h->try_count > 0 ? &h->tries[h->try_count - 1] : NULL;
}

void
check_lookup_take(struct check_lookup *to, const struct dns_answer *a)
{
	to->asked = true;
	to->result = a->result;
	to->security = a->security;
	if (a->why != NULL)
		str_sanitise(to->why, sizeof(to->why), a->why, strlen(a->why));
}
