/*
 * What the system allows a process: descriptors and ports.
 */
#ifndef BASE_RLIMITS_H
#define BASE_RLIMITS_H

#include "base/conf.h"

/* Raises the soft limit of descriptors to the hard one, for this process and
 * its children; how many there are then. */
uint64_t rlimits_raise(void);

/* The same.  Where the system allows less than `limit` needs, says so (if
 * asked to) and
 * lowers limit.active and limit.sessions in conf. */
void rlimits_apply(struct conf *, bool say);

/* For tests: the bounds for so many descriptors and local ports. */
struct rlimits_bounds {
	unsigned active, sessions;
};
void rlimits_bounds(const struct conf *, uint64_t descriptors, uint64_t ports,
	struct rlimits_bounds *out);

#endif
