/*
 * DANE for SMTP (RFC 7672), the pure part: which TLSA records count, where
 * they are looked for, and what follows from what was found.
 */
#ifndef POLICY_DANE_H
#define POLICY_DANE_H

#include "policy/demand.h"
#include "resolver/resolver.h"

enum dane_fault {
	DANE_USABLE = 0,
	DANE_USAGE_PKIX,	/* 0 or 1: not for SMTP (RFC 7672 3.1.3) */
	DANE_USAGE_UNKNOWN,
	DANE_SELECTOR_UNKNOWN,
	DANE_MATCHING_UNKNOWN,
	DANE_LENGTH,		/* digest of the wrong length, or no data */
	DANE_DATA		/* full certificate or key that is none (DER) */
};

/* A sentence for people. */
const char *dane_fault_text(enum dane_fault);
/* Judges one record by its form alone (RFC 6698 2.1, 7671 4). */
enum dane_fault dane_judge(const struct dns_tlsa *);

/* What is known of one MX host when TLSA is considered. */
struct dane_host {
	const char *name;		/* as in the MX record */
	enum dns_security mx;		/* of the MX RRset or its denial */
	enum dns_security address;	/* of the address RRsets in use */
	const char *canonical;		/* after CNAMEs */
	enum dns_security chain;	/* of the CNAMEs alone */
};

#define DANE_BASES_MAX 2

/*
 * The TLSA base domains to try, in order (RFC 7672 2.2.2): the securely
 * expanded name, then the original.  0 when TLSA must not be looked for.
 * *need_cname_out: the addresses are insecure at the end of an alias, so that
 * the name itself still counts if its CNAME alone is secure.
 */
size_t dane_bases(const struct dane_host *, const char *bases[DANE_BASES_MAX],
	bool *need_cname_out);

enum dane_finding {
	DANE_NONE = 0,		/* no TLSA here (securely, or unsigned) */
	DANE_FOUND,		/* usable records: they decide */
	DANE_UNUSABLE,		/* records, none usable: TLS without a check */
	DANE_FAILED		/* no trustworthy answer: not this host now */
};

/* What a TLSA answer means.  Usable records are added to the demand (which may
 * be NULL). */
enum dane_finding dane_read(const struct dns_answer *, struct demand *);

#endif
