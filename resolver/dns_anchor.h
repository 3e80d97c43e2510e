/*
 * The trust anchor: the root's keys, from a file of DS or DNSKEY lines.
 */
#ifndef RESOLVER_DNS_ANCHOR_H
#define RESOLVER_DNS_ANCHOR_H

#include <stddef.h>

#include "base/conf.h"
#include "resolver/dns_trust.h"

/* Reads a file in zone-file form; every record must be a DS or DNSKEY of the
 * root.  Fails with a sentence when there is none that can be used. */
enum status dns_anchor_read(const char *path, struct dns_ds_list *out,
	char err[CONF_ERR_MAX]) MUST_CHECK;

#endif
