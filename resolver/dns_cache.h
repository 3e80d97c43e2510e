/*
 * Answers remembered until their time is up; bounded in number and bytes, the
 * longest unused go first.  No loop; time is base/clock.
 */
#ifndef RESOLVER_DNS_CACHE_H
#define RESOLVER_DNS_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "resolver/resolver.h"

struct dns_cache;

struct dns_cache *dns_cache_new(size_t entries_max, size_t bytes_max);
void dns_cache_free(struct dns_cache **);
/* Keeps a copy for answer->ttl_s seconds; nothing when that is 0. */
void dns_cache_put(struct dns_cache *, const uint8_t *name, uint16_t type,
	const struct dns_answer *);
/* A copy with the time that is left as ttl_s; NULL when there is none. */
struct dns_answer *dns_cache_get(struct dns_cache *, const uint8_t *name,
	uint16_t type);
void dns_cache_drop(struct dns_cache *, const uint8_t *name, uint16_t type);
size_t dns_cache_count(const struct dns_cache *);
void dns_cache_flush(struct dns_cache *);

#endif
