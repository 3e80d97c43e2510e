/*
 * A hash table from short keys (bytes, copied) to borrowed pointers.  The
 * hash is seeded per process.  Grows; never shrinks.
 */
#ifndef BASE_TABLE_H
#define BASE_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct table;

struct table *table_new(void);
void table_free(struct table **);		/* values are not touched */
size_t table_count(const struct table *);

void *table_get(const struct table *, const void *key, size_t key_bytes);
/* Replaces the value of a key that is there; value is not NULL. */
void table_put(struct table *, const void *key, size_t key_bytes, void *value);
/* Returns the removed value or NULL. */
void *table_remove(struct table *, const void *key, size_t key_bytes);

/* Calls visit for each value; visit may remove the entry it is given, and
 * nothing else. */
void table_each(struct table *, void (*visit)(void *value, void *arg),
	void *arg);

void *table_get_id(const struct table *, uint64_t id);
void table_put_id(struct table *, uint64_t id, void *value);
void *table_remove_id(struct table *, uint64_t id);

#endif
