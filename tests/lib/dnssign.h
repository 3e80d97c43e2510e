/*
 * Keys and signatures for tests: signs what stands in a message, also in ways
 * that no sane signer would.
 */
#ifndef TESTS_LIB_DNSSIGN_H
#define TESTS_LIB_DNSSIGN_H

#include <stdint.h>

#include "resolver/dns_parse.h"
#include "tests/lib/dnspkt.h"

#define SIGN_T0 1790000000	/* the date of all tests: September 2026 */

struct dnssign_key {
	char zone[256];
	uint8_t algorithm;
	uint16_t tag;
	uint8_t rdata[600];	/* DNSKEY */
	size_t rdata_len;
	void *pkey;
};

/* flags: 257 or 256 or something odd. */
struct dnssign_key *dnssign_key(const char *zone, uint8_t algorithm,
	uint16_t flags);
/* An Ed25519 key of 32 octets of seed. */
struct dnssign_key *dnssign_key_of(const char *zone, const uint8_t *seed);
void dnssign_key_free(struct dnssign_key *);
/* Changes flags and protocol after the fact; the tag follows. */
void dnssign_key_mark(struct dnssign_key *, uint16_t flags,
	uint8_t protocol);
void dnssign_add_key(struct dnspkt *, int section,
	const struct dnssign_key *);
void dnssign_add_ds(struct dnspkt *, int section, const struct dnssign_key *,
	uint8_t digest);
size_t dnssign_ds(const struct dnssign_key *, uint8_t digest,
	uint8_t out[64]);

/* What differs from a right signature; zero or NULL: nothing. */
struct dnssign_odd {
	const char *signer;
	int labels;			/* plus one; 0: right */
	int64_t inception, expiration;	/* 0: a day around SIGN_T0 */
	uint32_t original_ttl;
	uint8_t algorithm;
	uint16_t tag;
	bool spoil;			/* a bit of the signature */
};

/* Adds the RRSIG over (owner, type) of the section. */
void dnssign(struct dnspkt *, int section, const char *owner, uint16_t type,
	const struct dnssign_key *, const struct dnssign_odd *);

#endif
