/*
 * DNSKEY records as OpenSSL keys: the only place of this folder that knows
 * OpenSSL's keys.  RFC 3110, 5702, 6605, 8080; RFC 8624 for what counts.
 */
#ifndef RESOLVER_DNS_KEY_H
#define RESOLVER_DNS_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "resolver/dns_parse.h"

#define DNS_KEYS_MAX 32		/* of one zone; more are a fault */

/* 8, 10, 13, 14, 15, 16.  All others (also 1, 3, 5, 6, 7, 12) are treated as
 * unknown: a zone that has only them is insecure (RFC 4035 5.2). */
bool dns_algorithm_known(uint8_t algorithm);
/* SHA-1, SHA-256, SHA-384. */
bool dns_digest_known(uint8_t digest);

/* RFC 4034 appendix B, of the RDATA. */
uint16_t dns_key_tag(const uint8_t *rdata, size_t len);
/* Zone key, protocol 3, not revoked (RFC 4034 2.1, RFC 5011 3). */
bool dns_key_usable(const struct dns_rr *dnskey);
/* RFC 4034 5.1.4: the digest in ds is that of this key at this owner. */
bool dns_key_matches(const struct dns_rr *dnskey, const uint8_t *ds,
	size_t ds_len);

struct dns_key {
	uint16_t tag;
	uint8_t algorithm;
	void *prepared;		/* EVP_MD_CTX, or NULL: the key is no key */
};

/* The usable keys of a zone, prepared. */
struct dns_keys {
	dns_name zone;
	size_t count;
	struct dns_key keys[];
};

/* Loads what OpenSSL would load on first use, as a sandbox may forbid that. */
void dns_key_prepare(void);
struct dns_keys *dns_keys_new(const struct dns_set *dnskeys);
struct dns_keys *dns_keys_new_one(const struct dns_rr *dnskey);
void dns_keys_free(struct dns_keys **);
bool dns_key_verify(const struct dns_key *, const uint8_t *data, size_t len,
	const uint8_t *sig, size_t sig_len);

#endif
