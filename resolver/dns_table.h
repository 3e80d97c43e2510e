/*
 * A hash table of objects known by (domain name, type).  The object embeds
 * struct dns_entry as its first member; the table owns nothing.  The hash is
 * keyed at random, so that nobody can choose names that collide.
 */
#ifndef RESOLVER_DNS_TABLE_H
#define RESOLVER_DNS_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "resolver/dns_name.h"

struct dns_entry {
	struct dns_entry *next;
	uint64_t hash;
	uint16_t type;
	dns_name name;
};

struct dns_table {
	struct dns_entry **buckets;
	size_t bucket_count;		/* a power of two */
	size_t count;
	uint64_t key[2];
};

void dns_table_init(struct dns_table *);
void dns_table_clear(struct dns_table *);	/* forgets, frees no entry */
void dns_table_add(struct dns_table *, struct dns_entry *,
	const uint8_t *name, uint16_t type);
void dns_table_remove(struct dns_table *, struct dns_entry *);
/* NULL when there is none. */
struct dns_entry *dns_table_find(const struct dns_table *,
	const uint8_t *name, uint16_t type);
/* Any entry, NULL when empty: to take a table down. */
struct dns_entry *dns_table_any(const struct dns_table *);

#endif
