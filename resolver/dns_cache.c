/*
 * Cache of answers: a hash table and a list in order of last use.
 */
#include "config.h"

#include <stdlib.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/mem.h"
#include "resolver/dns_answer.h"
#include "resolver/dns_cache.h"
#include "resolver/dns_table.h"

struct kept {
	struct dns_entry entry;		/* first */
	TAILQ_ENTRY(kept) link;
	struct dns_answer *answer;
	size_t bytes;
	int64_t until_ms;		/* monotonic */
};

struct dns_cache {
	struct dns_table table;
	TAILQ_HEAD(, kept) by_use;	/* first: longest unused */
	size_t entries_max, bytes_max, bytes;
};

struct dns_cache *
dns_cache_new(size_t entries_max, size_t bytes_max)
{
	struct dns_cache *c = xcalloc(1, sizeof(*c));

	dns_table_init(&c->table);
	TAILQ_INIT(&c->by_use);
	c->entries_max = entries_max;
	c->bytes_max = bytes_max;
	return c;
}

static void
drop(struct dns_cache *c, struct kept *k)
{
	dns_table_remove(&c->table, &k->entry);
	TAILQ_REMOVE(&c->by_use, k, link);
	c->bytes -= k->bytes;
	dns_answer_free(&k->answer);
	free(k);
}

void
dns_cache_flush(struct dns_cache *c)
{
	while (!TAILQ_EMPTY(&c->by_use))
		drop(c, TAILQ_FIRST(&c->by_use));
}

void
dns_cache_free(struct dns_cache **cp)
{
	if (*cp == NULL)
		return;
	dns_cache_flush(*cp);
	dns_table_clear(&(*cp)->table);
	mem_free(cp);
}

void
dns_cache_put(struct dns_cache *c, const uint8_t *name, uint16_t type,
	const struct dns_answer *answer)
{
	struct kept *k = (struct kept *)dns_table_find(&c->table, name, type);
	size_t bytes = sizeof(*k) + dns_answer_size(answer);

	if (k != NULL)
		drop(c, k);
	if (answer->ttl_s == 0 || c->entries_max == 0 || bytes > c->bytes_max)
		return;
	while (c->table.count >= c->entries_max ||
	    c->bytes > c->bytes_max - bytes)
		drop(c, TAILQ_FIRST(&c->by_use));
	k = xcalloc(1, sizeof(*k));
	k->answer = dns_answer_copy(answer);
	k->bytes = bytes;
	k->until_ms = clock_mono_ms() + (int64_t)answer->ttl_s * 1000;
	dns_table_add(&c->table, &k->entry, name, type);
	TAILQ_INSERT_TAIL(&c->by_use, k, link);
	c->bytes += bytes;
}

struct dns_answer *
dns_cache_get(struct dns_cache *c, const uint8_t *name, uint16_t type)
{
	struct kept *k = (struct kept *)dns_table_find(&c->table, name, type);
	struct dns_answer *a;
	int64_t left_ms;

	if (k == NULL)
		return NULL;
	left_ms = k->until_ms - clock_mono_ms();
	if (left_ms <= 0) {
		drop(c, k);
		return NULL;
	}
	TAILQ_REMOVE(&c->by_use, k, link);
	TAILQ_INSERT_TAIL(&c->by_use, k, link);
	a = dns_answer_copy(k->answer);
	a->ttl_s = (uint32_t)((left_ms + 999) / 1000);
	return a;
}

void
dns_cache_drop(struct dns_cache *c, const uint8_t *name, uint16_t type)
{
	struct kept *k = (struct kept *)dns_table_find(&c->table, name, type);

	if (k != NULL)
		drop(c, k);
}

size_t
dns_cache_count(const struct dns_cache *c)
{
	return c->table.count;
}
