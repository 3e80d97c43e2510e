/*
 * Sessions by key, the latest first, and all by age.
 */
#include "config.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/table.h"
#include "smtpd-out/client/tls_resume.h"

struct entry;

struct place {			/* the sessions of one key */
	uint8_t key[TLS_RESUME_KEY_BYTES];
	TAILQ_HEAD(entry_list, entry) entries;	/* the oldest first */
	size_t count;
};

struct entry {
	TAILQ_ENTRY(entry) in_place, by_age;
	struct place *place;
	SSL_SESSION *session;
	int64_t until_ms;		/* monotonic */
};

struct tls_resume {
	struct table *places;
	TAILQ_HEAD(, entry) all;	/* the oldest first */
	size_t count;
	int64_t lifetime_ms;
};

struct tls_resume *
tls_resume_new(int64_t lifetime_ms)
{
	struct tls_resume *r = xcalloc(1, sizeof(*r));

	r->places = table_new();
	TAILQ_INIT(&r->all);
	r->lifetime_ms = lifetime_ms;
	return r;
}

/* The session goes to the caller. */
static SSL_SESSION *
unlink_entry(struct tls_resume *r, struct entry *e)
{
	SSL_SESSION *session = e->session;
	struct place *p = e->place;

	TAILQ_REMOVE(&r->all, e, by_age);
	TAILQ_REMOVE(&p->entries, e, in_place);
	r->count--;
	if (--p->count == 0) {
		(void)table_remove(r->places, p->key, sizeof(p->key));
		free(p);
	}
	free(e);
	return session;
}

void
tls_resume_free(struct tls_resume **r)
{
	struct entry *e;

	if (*r == NULL)
		return;
	while ((e = TAILQ_FIRST(&(*r)->all)) != NULL)
		SSL_SESSION_free(unlink_entry(*r, e));
	table_free(&(*r)->places);
	mem_free(r);
}

/* ---- the key ---- */

static void
add(EVP_MD_CTX *md, const void *bytes, size_t len)
{
	uint64_t size = len;

	(void)EVP_DigestUpdate(md, &size, sizeof(size));
	(void)EVP_DigestUpdate(md, bytes, len);
}

static void
add_number(EVP_MD_CTX *md, uint64_t number)
{
	(void)EVP_DigestUpdate(md, &number, sizeof(number));
}

/* NULL is not "". */
static void
add_text(EVP_MD_CTX *md, const char *text)
{
	add_number(md, text != NULL);
	if (text != NULL)
		add(md, text, strlen(text));
}

static void
add_texts(EVP_MD_CTX *md, char **texts, size_t count)
{
	add_number(md, count);
	for (size_t i = 0; i < count; i++)
		add_text(md, texts[i]);
}

static int
by_content(const void *a, const void *b)
{
	const struct demand_tlsa *x = *(const struct demand_tlsa *const *)a;
	const struct demand_tlsa *y = *(const struct demand_tlsa *const *)b;
	int order = (x->usage - y->usage) * 65536 +
		(x->selector - y->selector) * 256 + x->matching - y->matching;
	size_t len = x->len < y->len ? x->len : y->len;

	if (order == 0 && len > 0)
		order = memcmp(x->data, y->data, len);
	return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* Name servers turn their sets around: the order says nothing. */
static void
add_records(EVP_MD_CTX *md, const struct demand *d)
{
	const struct demand_tlsa *sorted[DEMAND_TLSA_MAX];
	size_t count = d->tlsa_count;

	add_number(md, count);
	if (count > DEMAND_TLSA_MAX)
		count = DEMAND_TLSA_MAX;
	for (size_t i = 0; i < count; i++)
		sorted[i] = &d->tlsa[i];
	qsort(sorted, count, sizeof(sorted[0]), by_content);
	for (size_t i = 0; i < count; i++) {
		add_number(md, sorted[i]->usage);
		add_number(md, sorted[i]->selector);
		add_number(md, sorted[i]->matching);
		add(md, sorted[i]->data, sorted[i]->len);
	}
}

static void
add_demand(EVP_MD_CTX *md, const struct demand *d)
{
	const char *const texts[] = { d->tlsa_base, d->sni, d->ca_file,
		d->ciphers, d->cert_file, d->key_file, d->auth_file,
		d->watch_name };
	const uint64_t numbers[] = { (uint64_t)d->level, (uint64_t)d->why,
		(uint64_t)d->min_version, d->tls_first, (uint64_t)d->watch };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		add_text(md, texts[i]);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		add_number(md, numbers[i]);
	if (!demand_verifies(d))
		return;
	add_texts(md, d->names, d->name_count);
	add_texts(md, d->prints, d->print_count);
	add_records(md, d);
}

static bool
add_peer(EVP_MD_CTX *md, int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct sockaddr_storage room;
	} peer;
	socklen_t len = sizeof(peer);

	memset(&peer, 0, sizeof(peer));
	if (getpeername(fd, &peer.any, &len) != 0)
		return false;
	switch (peer.any.sa_family) {
	case AF_INET:
		add(md, &peer.v4.sin_addr, sizeof(peer.v4.sin_addr));
		add_number(md, peer.v4.sin_port);
		return true;
	case AF_INET6:
		add(md, &peer.v6.sin6_addr, sizeof(peer.v6.sin6_addr));
		add_number(md, peer.v6.sin6_port);
		add_number(md, peer.v6.sin6_scope_id);
		return true;
	default:
		return false;
	}
}

bool
tls_resume_key(const struct demand *d, const char *server_name, int fd,
	uint8_t key[TLS_RESUME_KEY_BYTES])
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;
	unsigned len = 0;

	if (ok && (ok = add_peer(md, fd))) {
		add_text(md, server_name);
		add_demand(md, d);
		ok = EVP_DigestFinal_ex(md, key, &len) == 1 &&
			len == TLS_RESUME_KEY_BYTES;
	}
	EVP_MD_CTX_free(md);
	return ok;
}

/* ---- sessions ---- */

/* The server's own bound, ours, and that of the certificate. */
static bool
is_usable(const struct entry *e)
{
	const SSL_SESSION *s = e->session;
	X509 *leaf = SSL_SESSION_get0_peer(e->session);

	return clock_mono_ms() < e->until_ms &&
		SSL_SESSION_is_resumable(s) == 1 && leaf != NULL &&
		X509_cmp_current_time(X509_get0_notAfter(leaf)) > 0;
}

SSL_SESSION *
tls_resume_take(struct tls_resume *r, const uint8_t key[TLS_RESUME_KEY_BYTES])
{
	struct place *p;

	while ((p = table_get(r->places, key, TLS_RESUME_KEY_BYTES)) != NULL) {
		struct entry *e = TAILQ_LAST(&p->entries, entry_list);
		bool usable = is_usable(e);
		SSL_SESSION *session = unlink_entry(r, e);

		if (usable)
			return session;
		SSL_SESSION_free(session);
	}
	return NULL;
}

static int64_t
lifetime(const struct tls_resume *r, const SSL_SESSION *session)
{
	int64_t theirs_ms = (int64_t)SSL_SESSION_get_timeout(session) * 1000;

	return theirs_ms < r->lifetime_ms ? theirs_ms : r->lifetime_ms;
}

void
tls_resume_put(struct tls_resume *r, const uint8_t key[TLS_RESUME_KEY_BYTES],
	SSL_SESSION *session)
{
	struct place *p = table_get(r->places, key, TLS_RESUME_KEY_BYTES);
	struct entry *e = xcalloc(1, sizeof(*e));

	if (p == NULL) {
		p = xcalloc(1, sizeof(*p));
		memcpy(p->key, key, sizeof(p->key));
		TAILQ_INIT(&p->entries);
		table_put(r->places, p->key, sizeof(p->key), p);
	}
	e->place = p;
	e->session = session;
	e->until_ms = clock_mono_ms() + lifetime(r, session);
	TAILQ_INSERT_TAIL(&p->entries, e, in_place);
	TAILQ_INSERT_TAIL(&r->all, e, by_age);
	p->count++;
	r->count++;
	if (p->count > TLS_RESUME_EACH_MAX)
		SSL_SESSION_free(unlink_entry(r, TAILQ_FIRST(&p->entries)));
	else if (r->count > TLS_RESUME_MAX)
		SSL_SESSION_free(unlink_entry(r, TAILQ_FIRST(&r->all)));
}

void
tls_resume_drop(struct tls_resume *r, const uint8_t key[TLS_RESUME_KEY_BYTES])
{
	struct place *p;

	while ((p = table_get(r->places, key, TLS_RESUME_KEY_BYTES)) != NULL)
		SSL_SESSION_free(unlink_entry(r, TAILQ_FIRST(&p->entries)));
}
