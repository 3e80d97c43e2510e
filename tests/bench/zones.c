/*
 * Makes many small signed zones, each with keys of its own, for measurements:
 * DIR/dN.test.zone for N in [0, COUNT) with an MX host on an address of its
 * own and a TLSA record, and DIR/delegations, what the parent zone has of them.
 *
 * usage: zones DIR COUNT FIRST-ADDRESS TLSA-HEX
 *
 * TLSA-HEX is the SHA-256 of the sink's public key (3 1 1).
 */
#include "config.h"

#include <arpa/inet.h>
#include <ldns/ldns.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TTL 3600

static void
check(int good, const char *what)
{
	if (good)
		return;
	(void)fprintf(stderr, "zones: %s\n", what);
	exit(1);
}

static void
push(ldns_dnssec_zone *zone, const char *text)
{
	ldns_rr *rr = NULL;

	check(ldns_rr_new_frm_str(&rr, text, TTL, NULL, NULL) ==
		LDNS_STATUS_OK, text);
	check(ldns_dnssec_zone_add_rr(zone, rr) == LDNS_STATUS_OK, text);
}

static ldns_dnssec_zone *
records(const char *origin, uint32_t address, const char *hex)
{
	struct in_addr in = { htonl(address) };
	ldns_dnssec_zone *zone = ldns_dnssec_zone_new();
	char line[400], a[INET_ADDRSTRLEN];

	check(zone != NULL, "no memory");
	check(inet_ntop(AF_INET, &in, a, sizeof(a)) != NULL, "address");
	(void)snprintf(line, sizeof(line), "%s IN SOA ns.nic.test. "
		"hostmaster.nic.test. 1 3600 900 604800 300", origin);
	push(zone, line);
	(void)snprintf(line, sizeof(line), "%s IN NS ns.nic.test.", origin);
	push(zone, line);
	(void)snprintf(line, sizeof(line), "%s IN MX 10 mx.%s", origin,
		origin);
	push(zone, line);
	(void)snprintf(line, sizeof(line), "mx.%s IN A %s", origin, a);
	push(zone, line);
	(void)snprintf(line, sizeof(line), "_25._tcp.mx.%s IN TLSA 3 1 1 %s",
		origin, hex);
	push(zone, line);
	return zone;
}

static void
make_zone(const char *dir, unsigned n, uint32_t address, const char *hex,
	FILE *parent)
{
	char origin[64], path[512];
	ldns_dnssec_zone *zone;
	ldns_key_list *keys = ldns_key_list_new();
	ldns_rr_list *fresh = ldns_rr_list_new();
	ldns_key *key = ldns_key_new_frm_algorithm(
		LDNS_SIGN_ECDSAP256SHA256, 256);
	ldns_rr *dnskey, *ds;
	FILE *f;

	(void)snprintf(origin, sizeof(origin), "d%u.test.", n);
	zone = records(origin, address, hex);
	check(key != NULL, "no key");
	ldns_key_set_pubkey_owner(key, ldns_dname_new_frm_str(origin));
	ldns_key_set_flags(key, 257);
	ldns_key_set_keytag(key, 0);
	dnskey = ldns_key2rr(key);
	ldns_rr_set_ttl(dnskey, TTL);
	ldns_key_set_keytag(key, ldns_calc_keytag(dnskey));
	ldns_key_set_inception(key, (uint32_t)time(NULL) - 86400);
	ldns_key_set_expiration(key, (uint32_t)time(NULL) + 60 * 86400);
	check(ldns_dnssec_zone_add_rr(zone, dnskey) == LDNS_STATUS_OK, origin);
	check(ldns_key_list_push_key(keys, key), origin);
	check(ldns_dnssec_zone_sign(zone, fresh, keys,
		ldns_dnssec_default_replace_signatures, NULL) ==
		LDNS_STATUS_OK, "signing");
	(void)snprintf(path, sizeof(path), "%s/d%u.test.zone", dir, n);
	f = fopen(path, "w");
	check(f != NULL, path);
	ldns_dnssec_zone_print(f, zone);
	check(fclose(f) == 0, path);
	ds = ldns_key_rr2ds(dnskey, LDNS_SHA256);
	(void)fprintf(parent, "d%u NS ns.nic.test.\n", n);
	ldns_rr_print(parent, ds);
	ldns_rr_free(ds);
	ldns_key_list_free(keys);
	ldns_rr_list_free(fresh);	/* the zone has the records */
	ldns_dnssec_zone_deep_free(zone);
}

int
main(int argc, char **argv)
{
	char path[512];
	struct in_addr in;
	unsigned count;
	FILE *parent;

	if (argc != 5 || inet_pton(AF_INET, argv[3], &in) != 1) {
		(void)fprintf(stderr, "usage: zones DIR COUNT FIRST-ADDRESS "
			"TLSA-HEX\n");
		return 64;
	}
	count = (unsigned)strtoul(argv[2], NULL, 10);
	(void)snprintf(path, sizeof(path), "%s/delegations", argv[1]);
	parent = fopen(path, "w");
	check(parent != NULL, path);
	for (unsigned n = 0; n < count; n++)
		make_zone(argv[1], n, ntohl(in.s_addr) + n, argv[4], parent);
	check(fclose(parent) == 0, path);
	return 0;
}
