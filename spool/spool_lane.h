/*
 * Work by destination: who has something due, and what.
 */
#ifndef SPOOL_SPOOL_LANE_H
#define SPOOL_SPOOL_LANE_H

#include "spool/spool.h"

/* The mail of a destination is two lanes: never tried, and tried again. */
enum spool_class { SPOOL_NEW = 0, SPOOL_RETRY, SPOOL_CLASSES };

struct spool_lane {		/* as a cursor: start with zeroes */
	int64_t due_ms;
	char destination[256];
};

/* Destinations with something due at now_ms in that class, in order (due_ms,
 * name), after *cursor, at most max; *cursor moves past them.  Costs what it
 * gives, not what is queued. */
enum status spool_lanes(struct spool *, enum spool_class, int64_t now_ms,
	struct spool_lane *cursor, struct spool_lane *out, size_t max,
	size_t *count_out) MUST_CHECK;
/* When a destination next becomes due after that time; INT64_MAX: never. */
enum status spool_next_lane(struct spool *, int64_t after_ms,
	int64_t *next_ms_out) MUST_CHECK;

struct spool_due {
	uint64_t id;
	int64_t next_ms;
};
/*
 * Deliveries of one lane that are due at now_ms, in order (next_ms, id), after
 * *cursor, not held, at most max; *cursor moves past them.  The caller keeps
 * track of what it has taken: there is no lease on disk, a crash makes them
 * due again.  A flush or release may make deliveries due that lie before the
 * cursor: start again from zeroes after either.
 */
enum status spool_lane_due(struct spool *, const char *destination,
	enum spool_class, int64_t now_ms, struct spool_cursor *,
	struct spool_due *out, size_t max, size_t *count_out) MUST_CHECK;
/* When the next one after cursor becomes due; INT64_MAX for never. */
enum status spool_lane_next(struct spool *, const char *destination,
	enum spool_class, const struct spool_cursor *, int64_t *next_ms_out)
	MUST_CHECK;
/* A file without a name that holds data, for reading by who gets the work; it
 * is not durable. */
enum status spool_body_spill(struct spool *, const void *data, size_t len,
	int *fd_out) MUST_CHECK;
/* No mail of the destination is due before until_ms (0: no such time any
 * more, INT64_MAX: for ever), while it has any. */
enum status spool_destination_wait(struct spool *, const char *destination,
	int64_t until_ms) MUST_CHECK;
/* Destinations (by name, after that one) with such a time, in due_ms. */
enum status spool_waiting(struct spool *, const char *after,
	struct spool_lane *out, size_t max, size_t *count_out) MUST_CHECK;

/* Destinations that are due after limit_ms, later than anything can be unless
 * the clock was set back: some SPOOL_REWIND_MAX of their deliveries are due at
 * now_ms.  They expire when they did: the clock may be wrong now, not then.  In
 * a transaction. */
#define SPOOL_REWIND_MAX 256
struct spool_rewind {
	int64_t limit_ms, now_ms;
};
enum status spool_rewind(struct spool *, const struct spool_rewind *,
	bool *found_out) MUST_CHECK;

/* Compares the counts and due times of the next destinations after `name`
 * (start with "") with their deliveries and mends what differs; those with
 * more than SPOOL_RECOUNT_MAX are passed by.  In a transaction. */
#define SPOOL_RECOUNT_MAX 20000
enum status spool_recheck(struct spool *, char name[256], size_t max,
	size_t *mended_out, bool *more_out) MUST_CHECK;

#endif
