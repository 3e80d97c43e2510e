/*
 * A DNS message from the network as plain, checked data.  Pure.
 *
 * Every record that comes out has the shape its type demands (RFC 1035, 3596,
 * 4034, 5155, 6698), its names are uncompressed and lower case, and its RDATA
 * is in canonical form (RFC 4034 6.2), so that nothing later needs to look at
 * lengths again before it reads a fixed field.
 */
#ifndef RESOLVER_DNS_PARSE_H
#define RESOLVER_DNS_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "resolver/dns_name.h"

#define DNS_MSG_RECORDS_MAX 256		/* of all sections together */
#define DNS_MSG_BYTES_MAX 65535
#define DNS_EDE_TEXT_MAX 128

enum dns_section { DNS_ANSWER = 0, DNS_AUTHORITY };

enum dns_rcode {
	DNS_NOERROR = 0, DNS_FORMERR = 1, DNS_SERVFAIL = 2,
	DNS_RCODE_NXDOMAIN = 3, DNS_NOTIMP = 4, DNS_REFUSED = 5
};

/* Types that only this folder handles. */
enum { DNS_TYPE_SRV = 33, DNS_TYPE_OPT = 41, DNS_TYPE_RRSIG = 46,
	DNS_TYPE_NSEC = 47, DNS_TYPE_NSEC3 = 50, DNS_TYPE_NSEC3PARAM = 51,
	DNS_TYPE_TKEY = 249, DNS_TYPE_TSIG = 250, DNS_TYPE_ANY = 255 };

struct dns_rr {
	const uint8_t *owner;
	const uint8_t *rdata;
	uint32_t ttl;
	uint16_t type;
	uint16_t rdata_len;
	enum dns_section section;
};

struct dns_msg {
	uint16_t id;
	unsigned rcode;			/* with the OPT record's upper bits */
	bool authoritative, truncated, ad;
	bool opt, opt_do;		/* an OPT record; its DO bit */
	int ede;			/* first RFC 8914 code, -1 none */
	char ede_text[DNS_EDE_TEXT_MAX];	/* sanitised */
	dns_name qname;
	uint16_t qtype;
	struct dns_rr *rrs;		/* answer and authority sections */
	size_t count;
	uint8_t *mem;			/* holds owners and RDATA */
	size_t mem_len;
};

/* ST_PARSE with a reason (a static text) in *why_out for anything that is not
 * a well-formed response to one IN question; ST_LIMIT above the bounds. */
enum status dns_parse(const uint8_t *wire, size_t len,
	struct dns_msg **msg_out, const char **why_out) MUST_CHECK;
struct dns_msg *dns_msg_copy(const struct dns_msg *);
void dns_msg_free(struct dns_msg **);

/* All records of one owner and type in one section, without duplicates, and
 * the signatures that cover them. */
struct dns_set {
	const uint8_t *owner;
	uint16_t type;
	enum dns_section section;
	uint32_t ttl;			/* the smallest */
	size_t count, sig_count;
	const struct dns_rr *rrs[DNS_MSG_RECORDS_MAX];
	const struct dns_rr *sigs[DNS_MSG_RECORDS_MAX];
};

/* False when there is no such record. */
bool dns_set_find(const struct dns_msg *, enum dns_section,
	const uint8_t *owner, uint16_t type, struct dns_set *out);

uint16_t dns_get16(const uint8_t *);
uint32_t dns_get32(const uint8_t *);

/* RDATA fields of an RRSIG (RFC 4034 3.1). */
struct dns_sig {
	uint16_t covered, tag;
	uint8_t algorithm, labels;
	uint32_t original_ttl, expiration, inception;
	const uint8_t *signer;
	const uint8_t *bytes;
	size_t len, head_len;	/* head: RDATA without the signature */
};
void dns_sig_read(const struct dns_rr *, struct dns_sig *out);

#endif
