/*
 * The TLSA records of a host as they were found, usable or not, for reports
 * (RFC 8460 section 4.4): what decides is in the demand.
 */
#ifndef POLICY_TLSA_SEEN_H
#define POLICY_TLSA_SEEN_H

#include "base/str.h"
#include "policy/dane.h"

#define TLSA_SEEN_TEXT_MAX 1024	/* of a record; what is longer is cut */

struct tlsa_seen {
	enum dane_finding finding;
	char base[STR_DOMAIN_MAX];	/* TLSA base domain */
	char **texts;			/* "3 1 1 HEX" */
	size_t count;			/* at most DEMAND_TLSA_MAX */
};

/* NULL when nothing was found that a report tells.  The records of an answer
 * that cannot be trusted are not looked at. */
struct tlsa_seen *tlsa_seen_new(enum dane_finding, const char *base,
	const struct dns_answer *);
void tlsa_seen_free(struct tlsa_seen **);

#endif
