/*
 * What the operator set for destinations and hosts at run time.
 */
#ifndef SPOOL_DEST_RULE_H
#define SPOOL_DEST_RULE_H

#include "base/conf.h"
#include "spool/spool.h"

#define SPOOL_RULES_MAX 1000

struct spool_dest_rule {
	bool host;			/* of an MX host, else a destination */
	char name[257];			/* "a.example" or ".example" */
	bool paused;
	struct conf_bounds bounds;	/* 0: not set */
};

/* In a transaction.  A rule that says nothing is removed. */
enum status spool_dest_rule_put(struct spool *, const struct spool_dest_rule *)
	MUST_CHECK;
/* All of them, at most max. */
enum status spool_dest_rules(struct spool *, struct spool_dest_rule *out,
	size_t max, size_t *count_out) MUST_CHECK;

#endif
