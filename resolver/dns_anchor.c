/*
 * Reads the trust anchor file.  Its lines come from the operator, so ldns'
 * text parser may see them; what it made goes through dns_parse() like
 * everything else.  A DNSKEY line is kept as the DS record that it implies.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ldns/ldns.h>

#include "base/buf.h"
#include "resolver/dns_anchor.h"
#include "resolver/resolver.h"

#define ANCHOR_BYTES_MAX 65000

/* A response to (., DNSKEY) without records yet. */
static const uint8_t head[] = { 0, 0, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
	0, DNS_TYPE_DNSKEY, 0, 1 };

static enum status
rr_put(struct buf *b, const ldns_rr *rr)
{
	uint8_t *wire = NULL;
	size_t len;
	enum status st;

	if (ldns_rr2wire(&wire, rr, LDNS_SECTION_ANSWER, &len) !=
	    LDNS_STATUS_OK)
		return ST_PARSE;
	st = buf_put(b, wire, len);
	free(wire);
	return st;
}

static enum status
file_read(FILE *f, struct buf *b, unsigned *count_out, int *line)
{
	ldns_rdf *origin = ldns_dname_new_frm_str(".");
	ldns_rdf *prev = NULL;
	uint32_t ttl = 3600;
	enum status st = ST_OK;

	while (!feof(f) && st == ST_OK) {
		ldns_rr *rr = NULL;
		ldns_status s = ldns_rr_new_frm_fp_l(&rr, f, &ttl, &origin,
			&prev, line);

		if (s == LDNS_STATUS_SYNTAX_EMPTY ||
		    s == LDNS_STATUS_SYNTAX_TTL ||
		    s == LDNS_STATUS_SYNTAX_ORIGIN)
			continue;
		st = s == LDNS_STATUS_OK ? rr_put(b, rr) : ST_PARSE;
		*count_out += st == ST_OK ? 1U : 0U;
		ldns_rr_free(rr);
	}
	ldns_rdf_deep_free(origin);
	ldns_rdf_deep_free(prev);
	return st;
}

/* The DS record of SHA-256 that a DNSKEY implies. */
static bool
key_add(struct dns_ds_list *out, const struct dns_rr *key)
{
	uint8_t input[1 + UINT16_MAX], ds[4 + LDNS_SHA256_DIGEST_LENGTH];
	uint16_t tag = dns_key_tag(key->rdata, key->rdata_len);

	if (!dns_key_usable(key))
		return false;
	input[0] = 0;	/* the root */
	memcpy(input + 1, key->rdata, key->rdata_len);
	ds[0] = (uint8_t)(tag >> 8);
	ds[1] = (uint8_t)tag;
	ds[2] = key->rdata[3];
	ds[3] = 2;
	(void)ldns_sha256(input, key->rdata_len + 1U, ds + 4);
	dns_ds_list_add(out, ds, sizeof(ds));
	return true;
}

static const char *
records_take(const struct dns_msg *m, struct dns_ds_list *out)
{
	for (size_t i = 0; i < m->count; i++) {
		const struct dns_rr *rr = &m->rrs[i];

		if (*rr->owner != 0)
			return "holds a record of another name than the root";
		if (rr->type == DNS_TYPE_DS)
			dns_ds_list_add(out, rr->rdata, rr->rdata_len);
		else if (rr->type == DNS_TYPE_DNSKEY)
			(void)key_add(out, rr);
		else
			return "holds a record that is neither DS nor DNSKEY";
	}
	dns_ds_list_filter(out);
	return out->count > 0 ? NULL : "holds no key that can be used";
}

static const char *
bytes_take(struct buf *b, unsigned count, struct dns_ds_list *out)
{
	uint8_t *bytes = b->mem + b->start;
	struct dns_msg *m;
	const char *why;

	bytes[6] = (uint8_t)(count >> 8);
	bytes[7] = (uint8_t)count;
	if (dns_parse(bytes, b->len, &m, &why) != ST_OK)
		return why;
	why = records_take(m, out);
	dns_msg_free(&m);
	return why;
}

enum status
dns_anchor_read(const char *path, struct dns_ds_list *out,
	char err[CONF_ERR_MAX])
{
	FILE *f = fopen(path, "re");
	struct buf b;
	unsigned count = 0;
	int line = 0;
	const char *why = NULL;

	memset(out, 0, sizeof(*out));
	if (f == NULL) {
		snprintf(err, CONF_ERR_MAX, "trust anchor %s: %s", path,
			strerror(errno));
		return ST_SYS;
	}
	buf_init(&b, ANCHOR_BYTES_MAX);
	if (buf_put(&b, head, sizeof(head)) != ST_OK)
		abort();
	if (file_read(f, &b, &count, &line) != ST_OK)
		snprintf(err, CONF_ERR_MAX, "trust anchor %s:%d: not a DS or "
			"DNSKEY record", path, line);
	else if ((why = bytes_take(&b, count, out)) != NULL)
		snprintf(err, CONF_ERR_MAX, "trust anchor %s %s", path, why);
	else
		err[0] = '\0';
	fclose(f);
	buf_clear(&b);
	return err[0] == '\0' ? ST_OK : ST_PARSE;
}
