/*
 * Domain names in wire form: lower case, uncompressed, self-delimiting, at
 * most DNS_NAME_MAX octets.  Whatever is handed to these functions has been
 * checked by dns_name_parse() or dns_parse().
 */
#ifndef RESOLVER_DNS_NAME_H
#define RESOLVER_DNS_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define DNS_NAME_MAX 255	/* RFC 1035 2.3.4 */
#define DNS_TEXT_MAX 1024	/* every octet escaped, and the NUL */

typedef uint8_t dns_name[DNS_NAME_MAX];

/* Text of a domain, with or without final dot; "" and "." are the root.
 * \DDD and \X escapes are read (RFC 1035 5.1). */
enum status dns_name_parse(const char *text, dns_name out) MUST_CHECK;
/* Without final dot; the root is "".  Odd octets become \DDD. */
void dns_name_format(const uint8_t *name, char out[DNS_TEXT_MAX]);

size_t dns_name_len(const uint8_t *name);
unsigned dns_name_labels(const uint8_t *name);	/* without the root */
void dns_name_copy(dns_name to, const uint8_t *from);
bool dns_name_eq(const uint8_t *, const uint8_t *);
/* Canonical order, RFC 4034 6.1. */
int dns_name_cmp(const uint8_t *, const uint8_t *);
/* True when child is parent or below it. */
bool dns_name_within(const uint8_t *child, const uint8_t *parent);
/* The name without its first count labels (which it must have). */
const uint8_t *dns_name_up(const uint8_t *name, unsigned count);
/* The last `labels` labels of a name. */
const uint8_t *dns_name_tail(const uint8_t *name, unsigned labels);
/* The longest name that both are within. */
const uint8_t *dns_name_common(const uint8_t *, const uint8_t *);
bool dns_name_is_wildcard(const uint8_t *name);
/* "*.parent"; ST_LIMIT when too long. */
enum status dns_name_wildcard(dns_name out, const uint8_t *parent) MUST_CHECK;
/* RFC 6672 2.2: replaces the suffix `owner` of name by `target`; ST_LIMIT
 * when the result is too long. */
enum status dns_name_replace(dns_name out, const uint8_t *name,
	const uint8_t *owner, const uint8_t *target) MUST_CHECK;

#endif
