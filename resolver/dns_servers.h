/*
 * The resolvers to ask; for this folder alone.
 */
#ifndef RESOLVER_DNS_SERVERS_H
#define RESOLVER_DNS_SERVERS_H

#include <stddef.h>

#include "base/conf.h"

/* Reads at most max addresses (port 53; text is owned by them).  Lines that
 * make no sense are passed over, as resolv.conf(5) has it. */
enum status dns_servers_read(const char *path, struct conf_addr *out,
	size_t max, size_t *count_out) MUST_CHECK;
/* For dnssec = trust-ad: ST_DENIED and a sentence unless all are on a loopback
 * address or listed as trusted. */
enum status dns_servers_trusted(const struct conf_resolver *,
	const struct conf_addr *servers, size_t count,
	char err[CONF_ERR_MAX]) MUST_CHECK;
#define DNS_SERVER_TEXT_MAX 64
/* "192.0.2.1:53", "[2001:db8::1]:53"; ST_PARSE for another family. */
enum status dns_servers_format(const struct conf_addr *,
	char out[DNS_SERVER_TEXT_MAX]) MUST_CHECK;
void dns_servers_free(struct conf_addr *, size_t count);

#endif
