/*
 * The shape of records in a raw message; for dns_parse alone.
 */
#ifndef RESOLVER_DNS_SHAPE_H
#define RESOLVER_DNS_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The fields of a type's RDATA; NULL for a type that is taken as opaque. */
const char *dns_shape_fields(uint16_t type);
/* True when wire[pos..end) is exactly those fields. */
bool dns_shape_check(const char *fields, const uint8_t *wire, size_t pos,
	size_t end);
/* Steps over a name that lies wholly before end. */
bool dns_shape_name(const uint8_t *wire, size_t end, size_t *pos,
	bool compressed);

#endif
