/*
 * Hash table by (name, type) with chaining; doubles when as full as it has
 * buckets.  SipHash-1-3 as published by Aumasson and Bernstein, so that
 * names chosen by others cannot be made to collide.
 */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"
#include "resolver/dns_table.h"

#define FIRST_BUCKETS 64

static uint64_t
rotate(uint64_t x, int bits)
{
	return (x << bits) | (x >> (64 - bits));
}

static void
sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

static uint64_t
word_at(const uint8_t *p, size_t len)
{
	uint64_t w = 0;

	for (size_t i = 0; i < len && i < 8; i++)
		w |= (uint64_t)p[i] << (8 * i);
	return w;
}

static uint64_t
hash_of(const struct dns_table *t, const uint8_t *name, uint16_t type)
{
	size_t len = dns_name_len(name);
	uint64_t v[4] = { t->key[0] ^ 0x736f6d6570736575ULL,
		t->key[1] ^ 0x646f72616e646f6dULL,
		t->key[0] ^ 0x6c7967656e657261ULL,
		t->key[1] ^ 0x7465646279746573ULL };

	for (size_t i = 0; i <= len; i += 8) {
		uint64_t w = word_at(name + i, len - i);

		if (len - i < 8)
			w |= (uint64_t)type << 40 | (uint64_t)len << 56;
		v[3] ^= w;
		sip_round(v);
		v[0] ^= w;
	}
	v[2] ^= 0xff;
	/* The type's high bits may share octets with the name's tail; mix it
	 * once more by itself. */
	v[1] ^= type;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void
dns_table_init(struct dns_table *t)
{
	memset(t, 0, sizeof(*t));
	t->bucket_count = FIRST_BUCKETS;
	t->buckets = xcalloc(t->bucket_count, sizeof(*t->buckets));
	if (getrandom(t->key, sizeof(t->key), 0) != sizeof(t->key))
		abort();	/* the kernel always has 16 bytes */
}

void
dns_table_clear(struct dns_table *t)
{
	mem_free(&t->buckets);
	t->bucket_count = t->count = 0;
}

static struct dns_entry **
bucket_of(const struct dns_table *t, uint64_t hash)
{
	return &t->buckets[hash & (t->bucket_count - 1)];
}

static void
grow(struct dns_table *t)
{
	struct dns_entry **old = t->buckets, **to;
	size_t old_count = t->bucket_count;

	t->bucket_count *= 2;
	t->buckets = xcalloc(t->bucket_count, sizeof(*t->buckets));
	for (size_t i = 0; i < old_count; i++) {
		struct dns_entry *e = old[i], *next;

		for (; e != NULL; e = next) {
			next = e->next;
			to = bucket_of(t, e->hash);
			e->next = *to;
			*to = e;
		}
	}
	mem_free(&old);
}

void
dns_table_add(struct dns_table *t, struct dns_entry *e, const uint8_t *name,
	uint16_t type)
{
	struct dns_entry **to;

	if (t->count >= t->bucket_count)
		grow(t);
	dns_name_copy(e->name, name);
	e->type = type;
	e->hash = hash_of(t, name, type);
	to = bucket_of(t, e->hash);
	e->next = *to;
	*to = e;
	t->count++;
}

void
dns_table_remove(struct dns_table *t, struct dns_entry *e)
{
	struct dns_entry **p = bucket_of(t, e->hash);

	while (*p != e) {
		assert(*p != NULL);
		p = &(*p)->next;
	}
	*p = e->next;
	e->next = NULL;
	t->count--;
}

struct dns_entry *
dns_table_find(const struct dns_table *t, const uint8_t *name, uint16_t type)
{
	uint64_t hash = hash_of(t, name, type);
	struct dns_entry *e = *bucket_of(t, hash);

	while (e != NULL && (e->hash != hash || e->type != type ||
	    !dns_name_eq(e->name, name)))
		e = e->next;
	return e;
}

struct dns_entry *
dns_table_any(const struct dns_table *t)
{
	for (size_t i = 0; i < t->bucket_count && t->count > 0; i++)
		if (t->buckets[i] != NULL)
			return t->buckets[i];
	return NULL;
}
