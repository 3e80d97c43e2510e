/*
 * Sessions by key, the latest first, and all by age; and the keys under which
 * peers have broken a resumption off.
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

struct place {			/* what is known of one key */
	uint8_t key[TLS_RESUME_KEY_BYTES];
	TAILQ_HEAD(entry_list, entry) entries;	/* the oldest first */
	size_t count;
	TAILQ_ENTRY(place) by_age;	/* while it is refused */
	bool refused;
	int64_t refused_until_ms;
};

struct entry {
	TAILQ_ENTRY(entry) in_place, by_age;
	struct place *place;
	struct tls_kept kept;
	int64_t until_ms;		/* monotonic */
};

struct tls_resume {
	struct table *places;
	TAILQ_HEAD(, entry) all;	/* the oldest first */
	size_t count, size_bytes;	/* of these */
	TAILQ_HEAD(, place) refused;	/* the oldest first */
	size_t refused_count;
	int64_t lifetime_ms;
};

struct tls_resume *
tls_resume_new(int64_t lifetime_ms)
{
	struct tls_resume *r = xcalloc(1, sizeof(*r));

	r->places = table_new();
	TAILQ_INIT(&r->all);
	TAILQ_INIT(&r->refused);
	r->lifetime_ms = lifetime_ms;
	return r;
}

static struct place *
place_get(struct tls_resume *r, const uint8_t key[TLS_RESUME_KEY_BYTES])
{
	struct place *p = table_get(r->places, key, TLS_RESUME_KEY_BYTES);

	if (p != NULL)
		return p;
	p = xcalloc(1, sizeof(*p));
	memcpy(p->key, key, sizeof(p->key));
	TAILQ_INIT(&p->entries);
	table_put(r->places, p->key, sizeof(p->key), p);
	return p;
}

static void
place_drop_unused(struct tls_resume *r, struct place *p)
{
	if (p->count > 0 || p->refused)
		return;
	(void)table_remove(r->places, p->key, sizeof(p->key));
	free(p);
}

/* The session goes to the caller. */
static struct tls_kept
unlink_entry(struct tls_resume *r, struct entry *e)
{
	struct tls_kept kept = e->kept;
	struct place *p = e->place;

	TAILQ_REMOVE(&r->all, e, by_age);
	TAILQ_REMOVE(&p->entries, e, in_place);
	r->count--;
	r->size_bytes -= kept.size_bytes;
	p->count--;
	place_drop_unused(r, p);
	free(e);
	return kept;
}

static void
drop_entry(struct tls_resume *r, struct entry *e)
{
	SSL_SESSION_free(unlink_entry(r, e).session);
}

static void
forgive(struct tls_resume *r, struct place *p)
{
	TAILQ_REMOVE(&r->refused, p, by_age);
	r->refused_count--;
	p->refused = false;
	place_drop_unused(r, p);
}

void
tls_resume_free(struct tls_resume **r)
{
	struct entry *e;
	struct place *p;

	if (*r == NULL)
		return;
	while ((e = TAILQ_FIRST(&(*r)->all)) != NULL)
		drop_entry(*r, e);
	while ((p = TAILQ_FIRST(&(*r)->refused)) != NULL)
		forgive(*r, p);
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
	const SSL_SESSION *s = e->kept.session;
	X509 *leaf = SSL_SESSION_get0_peer(e->kept.session);

	return clock_mono_ms() < e->until_ms &&
		SSL_SESSION_is_resumable(s) == 1 && leaf != NULL &&
		X509_cmp_current_time(X509_get0_notAfter(leaf)) > 0;
}

bool
tls_resume_take(struct tls_resume *r, const uint8_t key[TLS_RESUME_KEY_BYTES],
	struct tls_kept *out)
{
	struct place *p;

	while ((p = table_get(r->places, key, TLS_RESUME_KEY_BYTES)) != NULL &&
	    p->count > 0) {
		struct entry *e = TAILQ_LAST(&p->entries, entry_list);
		bool usable = is_usable(e);

		*out = unlink_entry(r, e);
		if (usable)
			return true;
		SSL_SESSION_free(out->session);
	}
	return false;
}

static int64_t
until_ms(const struct tls_resume *r, const struct tls_kept *kept)
{
	int64_t ours_ms = kept->proven_ms + r->lifetime_ms;
	int64_t theirs_ms = clock_mono_ms() +
		(int64_t)SSL_SESSION_get_timeout(kept->session) * 1000;

	return theirs_ms < ours_ms ? theirs_ms : ours_ms;
}

static bool
is_refused(struct tls_resume *r, const uint8_t key[TLS_RESUME_KEY_BYTES])
{
	struct place *p = table_get(r->places, key, TLS_RESUME_KEY_BYTES);

	if (p == NULL || !p->refused)
		return false;
	if (clock_mono_ms() < p->refused_until_ms)
		return true;
	forgive(r, p);
	return false;
}

void
tls_resume_put(struct tls_resume *r, const uint8_t key[TLS_RESUME_KEY_BYTES],
	const struct tls_kept *kept)
{
	struct place *p;
	struct entry *e;

	if (kept->size_bytes > TLS_RESUME_ONE_BYTES || is_refused(r, key)) {
		SSL_SESSION_free(kept->session);
		return;
	}
	p = place_get(r, key);
	e = xcalloc(1, sizeof(*e));
	e->place = p;
	e->kept = *kept;
	e->until_ms = until_ms(r, kept);
	TAILQ_INSERT_TAIL(&p->entries, e, in_place);
	TAILQ_INSERT_TAIL(&r->all, e, by_age);
	p->count++;
	r->count++;
	r->size_bytes += kept->size_bytes;
	if (p->count > TLS_RESUME_EACH_MAX)
		drop_entry(r, TAILQ_FIRST(&p->entries));
	while (r->count > TLS_RESUME_MAX || r->size_bytes > TLS_RESUME_BYTES)
		drop_entry(r, TAILQ_FIRST(&r->all));
}

void
tls_resume_refuse(struct tls_resume *r,
	const uint8_t key[TLS_RESUME_KEY_BYTES])
{
	struct place *p = place_get(r, key);
	struct entry *e;

	if (p->refused)
		TAILQ_REMOVE(&r->refused, p, by_age);
	else
		r->refused_count++;
	p->refused = true;
	p->refused_until_ms = clock_mono_ms() + r->lifetime_ms;
	TAILQ_INSERT_TAIL(&r->refused, p, by_age);
	while ((e = TAILQ_FIRST(&p->entries)) != NULL)
		drop_entry(r, e);
	if (r->refused_count > TLS_RESUME_MAX)
		forgive(r, TAILQ_FIRST(&r->refused));
}
