/*
 * Making, copying and comparing demands.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "policy/demand.h"

const char *
demand_level_name(enum demand_level level)
{
	static const char *const names[] = {
		[DEMAND_NONE] = "none",
		[DEMAND_MAY] = "may",
		[DEMAND_ENCRYPT] = "encrypt",
		[DEMAND_FINGERPRINT] = "fingerprint",
		[DEMAND_PKIX] = "pkix",
		[DEMAND_DANE] = "dane",
	};

	if ((size_t)level >= sizeof(names) / sizeof(names[0]))
		return "unknown";
	return names[level];
}

const char *
demand_why_name(enum demand_why why)
{
	static const char *const names[] = {
		[WHY_DEFAULT] = "default",
		[WHY_LOCAL] = "local",
		[WHY_OVERRIDE] = "override",
		[WHY_REQUIRE_TLS] = "require-tls",
		[WHY_HOSTS_REQUIRE] = "hosts-require-tls",
		[WHY_HOSTS_AVOID] = "hosts-avoid-tls",
		[WHY_REMEMBERED] = "remembered",
		[WHY_DANE] = "dane",
		[WHY_DANE_UNUSABLE] = "dane-unusable",
		[WHY_STS] = "sts",
		[WHY_REQUIRETLS] = "requiretls",
		[WHY_TLS_OPTIONAL] = "tls-required-no",
	};

	if ((size_t)why >= sizeof(names) / sizeof(names[0]))
		return "unknown";
	return names[why];
}

struct demand *
demand_new(enum demand_level level, enum demand_why why)
{
	struct demand *d = xcalloc(1, sizeof(*d));

	d->level = level;
	d->why = why;
	return d;
}

static char *
copy_text(const char *text)
{
	return text == NULL ? NULL : xstrdup(text);
}

struct demand *
demand_copy(const struct demand *from)
{
	struct demand *d = demand_new(from->level, from->why);

	d->tlsa_base = copy_text(from->tlsa_base);
	d->sni = copy_text(from->sni);
	d->ca_file = copy_text(from->ca_file);
	d->ciphers = copy_text(from->ciphers);
	d->cert_file = copy_text(from->cert_file);
	d->key_file = copy_text(from->key_file);
	d->min_version = from->min_version;
	d->tls_first = from->tls_first;
	d->auth_file = copy_text(from->auth_file);
	d->watch = from->watch;
	d->watch_name = copy_text(from->watch_name);
	for (size_t i = 0; i < from->name_count; i++)
		demand_add_name(d, from->names[i]);
	for (size_t i = 0; i < from->print_count; i++)
		demand_add_print(d, from->prints[i]);
	for (size_t i = 0; i < from->tlsa_count; i++)
		demand_add_tlsa(d, from->tlsa[i].usage, from->tlsa[i].selector,
			from->tlsa[i].matching, from->tlsa[i].data,
			from->tlsa[i].len);
	return d;
}

static void
free_texts(char **texts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(texts[i]);
	free(texts);
}

void
demand_free(struct demand **dp)
{
	struct demand *d = *dp;

	if (d == NULL)
		return;
	for (size_t i = 0; i < d->tlsa_count; i++)
		free(d->tlsa[i].data);
	free(d->tlsa);
	free_texts(d->prints, d->print_count);
	free_texts(d->names, d->name_count);
	free(d->watch_name);
	free(d->auth_file);
	free(d->key_file);
	free(d->cert_file);
	free(d->ciphers);
	free(d->ca_file);
	free(d->sni);
	free(d->tlsa_base);
	mem_free(dp);
}

static bool
has_text(char *const *texts, size_t count, const char *text)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(texts[i], text) == 0)
			return true;
	return false;
}

static void
add_text(char ***texts, size_t *count, size_t max, const char *text)
{
	if (*count >= max || has_text(*texts, *count, text))
		return;
	*texts = xrealloc_n(*texts, *count + 1, sizeof(char *));
	(*texts)[(*count)++] = xstrdup(text);
}

void
demand_add_name(struct demand *d, const char *name)
{
	add_text(&d->names, &d->name_count, DEMAND_NAMES_MAX, name);
}

void
demand_add_print(struct demand *d, const char *hex)
{
	add_text(&d->prints, &d->print_count, DEMAND_PRINTS_MAX, hex);
}

void
demand_add_tlsa(struct demand *d, uint8_t usage, uint8_t selector,
	uint8_t matching, const uint8_t *data, size_t len)
{
	struct demand_tlsa *t;

	if (d->tlsa_count >= DEMAND_TLSA_MAX)
		return;
	d->tlsa = xrealloc_n(d->tlsa, d->tlsa_count + 1, sizeof(*t));
	t = &d->tlsa[d->tlsa_count++];
	t->usage = usage;
	t->selector = selector;
	t->matching = matching;
	t->data = xmalloc(len);
	if (len > 0)
		memcpy(t->data, data, len);
	t->len = len;
}

bool
demand_forbids_clear(const struct demand *d)
{
	return d->level >= DEMAND_ENCRYPT || d->tls_first ||
		d->auth_file != NULL;
}

bool
demand_verifies(const struct demand *d)
{
	return d->level >= DEMAND_FINGERPRINT;
}

static bool
same_text(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return strcmp(a, b) == 0;
}

static bool
same_set(char *const *a, size_t a_count, char *const *b, size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++)
		if (!has_text(b, b_count, a[i]))
			return false;
	return true;
}

static bool
has_tlsa(const struct demand *d, const struct demand_tlsa *t)
{
	for (size_t i = 0; i < d->tlsa_count; i++)
		if (d->tlsa[i].usage == t->usage &&
		    d->tlsa[i].selector == t->selector &&
		    d->tlsa[i].matching == t->matching &&
		    d->tlsa[i].len == t->len &&
		    memcmp(d->tlsa[i].data, t->data, t->len) == 0)
			return true;
	return false;
}

static bool
same_tlsa(const struct demand *a, const struct demand *b)
{
	if (a->tlsa_count != b->tlsa_count)
		return false;
	for (size_t i = 0; i < b->tlsa_count; i++)
		if (!has_tlsa(a, &b->tlsa[i]) || !has_tlsa(b, &a->tlsa[i]))
			return false;
	return true;
}

/* What is done to a connection, whoever the peer must be. */
static bool
same_way(const struct demand *a, const struct demand *b)
{
	return a->min_version == b->min_version &&
		a->tls_first == b->tls_first &&
		same_text(a->sni, b->sni) &&
		same_text(a->ca_file, b->ca_file) &&
		same_text(a->ciphers, b->ciphers) &&
		same_text(a->cert_file, b->cert_file) &&
		same_text(a->key_file, b->key_file) &&
		same_text(a->auth_file, b->auth_file);
}

bool
demand_same(const struct demand *had, const struct demand *need)
{
	return had->level == need->level && had->why == need->why &&
		had->watch == need->watch &&
		same_way(had, need) && same_tlsa(had, need) &&
		same_text(had->tlsa_base, need->tlsa_base) &&
		same_text(had->watch_name, need->watch_name) &&
		same_set(had->names, had->name_count, need->names,
		need->name_count) &&
		same_set(had->prints, had->print_count, need->prints,
		need->print_count);
}

static bool
is_own_rule(const struct demand *d)
{
	return d->why == WHY_LOCAL || d->why == WHY_OVERRIDE;
}

/* A name that the certificate is for is one that will do. */
static bool
name_proved(const struct demand *had, const struct demand_proof *proof,
	const struct demand *need)
{
	for (size_t i = 0; i < had->name_count && i < 32; i++)
		if ((proof->names & 1U << i) != 0 && has_text(need->names,
		    need->name_count, had->names[i]))
			return true;
	return false;
}

static bool
peer_proved(const struct demand *had, const struct demand_proof *proof,
	const struct demand *need)
{
	switch (need->level) {
	case DEMAND_MAY:
		return true;
	case DEMAND_ENCRYPT:
		return proof->tls;
	case DEMAND_FINGERPRINT:
		return proof->tls && had->level == DEMAND_FINGERPRINT &&
			same_set(had->prints, had->print_count, need->prints,
			need->print_count);
	case DEMAND_PKIX:
		return proof->tls && had->level == DEMAND_PKIX &&
			name_proved(had, proof, need);
	case DEMAND_DANE:
		return proof->tls && had->level == DEMAND_DANE &&
			same_tlsa(had, need) &&
			same_text(had->tlsa_base, need->tlsa_base) &&
			(proof->by_key || name_proved(had, proof, need));
	case DEMAND_NONE:
		break;
	}
	return false;
}

bool
demand_covers(const struct demand *had, const struct demand_proof *proof,
	const struct demand *need)
{
	/* What a policy watches is reported: it must have been watched. */
	if (had->level < need->level || !same_way(had, need) ||
	    (need->watch != DEMAND_WATCH_NONE && (had->watch != need->watch ||
	    !same_text(had->watch_name, need->watch_name))))
		return false;
	/* Rules are for what they name; NONE is a rule, too. */
	if ((is_own_rule(had) || is_own_rule(need) ||
	    need->level == DEMAND_NONE) && !demand_same(had, need))
		return false;
	return need->level == DEMAND_NONE || peer_proved(had, proof, need);
}
