/*
 * Chained hash table, doubling at a load of one.
 */
#include "config.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"
#include "base/table.h"

#define FIRST_BUCKETS 64

struct entry {
	struct entry *next;
	uint64_t hash;
	void *value;
	size_t key_bytes;
	uint8_t key[];
};

struct table {
	struct entry **buckets;
	size_t bucket_count, count;
	uint64_t seed;
};

struct table *
table_new(void)
{
	struct table *t = xcalloc(1, sizeof(*t));

	t->bucket_count = FIRST_BUCKETS;
	t->buckets = xcalloc(t->bucket_count, sizeof(t->buckets[0]));
	(void)!getrandom(&t->seed, sizeof(t->seed), 0);
	return t;
}

void
table_free(struct table **tp)
{
	struct table *t = *tp;

	if (t == NULL)
		return;
	for (size_t i = 0; i < t->bucket_count; i++)
		for (struct entry *e = t->buckets[i], *next; e != NULL;
		    e = next) {
			next = e->next;
			free(e);
		}
	free(t->buckets);
	mem_free(tp);
}

size_t
table_count(const struct table *t)
{
	return t->count;
}

static uint64_t
hash_of(const struct table *t, const void *key, size_t key_bytes)
{
	uint64_t h = t->seed ^ 1469598103934665603ULL;
	const uint8_t *p = key;

	for (size_t i = 0; i < key_bytes; i++)
		h = (h ^ p[i]) * 1099511628211ULL;
	return h ^ h >> 29;
}

/* The link that points to the entry, or to where it would be. */
static struct entry **
find(const struct table *t, const void *key, size_t key_bytes, uint64_t hash)
{
	struct entry **at = &t->buckets[hash & (t->bucket_count - 1)];

	while (*at != NULL && ((*at)->hash != hash ||
	    (*at)->key_bytes != key_bytes ||
	    memcmp((*at)->key, key, key_bytes) != 0))
		at = &(*at)->next;
	return at;
}

void *
table_get(const struct table *t, const void *key, size_t key_bytes)
{
	struct entry *e = *find(t, key, key_bytes, hash_of(t, key, key_bytes));

	return e == NULL ? NULL : e->value;
}

static void
grow(struct table *t)
{
	size_t count = t->bucket_count * 2;
	struct entry **buckets = xcalloc(count, sizeof(buckets[0]));

	for (size_t i = 0; i < t->bucket_count; i++)
		for (struct entry *e = t->buckets[i], *next; e != NULL;
		    e = next) {
			struct entry **to = &buckets[e->hash & (count - 1)];

			next = e->next;
			e->next = *to;
			*to = e;
		}
	free(t->buckets);
	t->buckets = buckets;
	t->bucket_count = count;
}

void
table_put(struct table *t, const void *key, size_t key_bytes, void *value)
{
	uint64_t hash = hash_of(t, key, key_bytes);
	struct entry **at = find(t, key, key_bytes, hash), *e;

	if (*at != NULL) {
		(*at)->value = value;
		return;
	}
	e = xmalloc(sizeof(*e) + key_bytes);
	e->next = NULL;
	e->hash = hash;
	e->value = value;
	e->key_bytes = key_bytes;
	memcpy(e->key, key, key_bytes);
	*at = e;
	if (++t->count > t->bucket_count)
		grow(t);
}

void *
table_remove(struct table *t, const void *key, size_t key_bytes)
{
	struct entry **at = find(t, key, key_bytes,
		hash_of(t, key, key_bytes)), *e = *at;
	void *value;

	if (e == NULL)
		return NULL;
	value = e->value;
	*at = e->next;
	free(e);
	t->count--;
	return value;
}

void
table_each(struct table *t, void (*visit)(void *value, void *arg), void *arg)
{
	for (size_t i = 0; i < t->bucket_count; i++)
		for (struct entry *e = t->buckets[i], *next; e != NULL;
		    e = next) {
			next = e->next;
			visit(e->value, arg);
		}
}

void *
table_get_id(const struct table *t, uint64_t id)
{
	return table_get(t, &id, sizeof(id));
}

void
table_put_id(struct table *t, uint64_t id, void *value)
{
	table_put(t, &id, sizeof(id), value);
}

void *
table_remove_id(struct table *t, uint64_t id)
{
	return table_remove(t, &id, sizeof(id));
}
