/*
 * How fast somebody may be given mail: a window of sessions that grows while
 * all is well and shrinks when it is not, back-off of who cannot be reached,
 * and a rate.  Pure: time is an argument, monotonic milliseconds.
 *
 * The window starts small, grows by a third with each round while it is used
 * up, and ends at the limit.  A connection that fails or is turned away halves
 * it, and from then on it grows by one in ten rounds.
 * Who is down gets nothing until its time is up, then one session at a time
 * until one has been of use.
 */
#ifndef SMTPD_OUT_PACE_H
#define SMTPD_OUT_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/conf_parts.h"

#define PACE_FIRST 5		/* sessions at first */

struct pace {
	unsigned window;	/* 0: nothing is known yet */
	unsigned credit;	/* what went well since it last changed */
	bool careful;		/* it has been too large */
	unsigned failures;	/* times in a row that it was down; 0: up */
	int64_t until_ms;	/* down until then */
};

/* How many sessions there may be now; max 0: any number. */
unsigned pace_limit(const struct pace *, unsigned max, int64_t now_ms);
/* A session got ready, or took mail.  True when it was down before. */
bool pace_good(struct pace *, unsigned in_use);
void pace_bad(struct pace *);
/* Nobody could be reached; the time grows as that of a message's retries. */
void pace_down(struct pace *, const struct conf_retry *, int64_t now_ms);
/* True while nothing may be sent at all. */
bool pace_is_down(const struct pace *, int64_t now_ms);
/* True when it is as if new, so that it may be forgotten. */
bool pace_is_new(const struct pace *, int64_t now_ms);

/* Evenly spaced, but for a tenth of a second's worth at once. */
struct pace_rate {
	int64_t next_ns;	/* when the next one is due */
};

/* Takes a place and says in how many milliseconds it is (0: now).  Without a
 * bound always 0. */
int64_t pace_rate_take(struct pace_rate *, const struct conf_rate *,
	int64_t now_ms);
/* In how many milliseconds a place would be that was taken now. */
int64_t pace_rate_wait(const struct pace_rate *, const struct conf_rate *,
	int64_t now_ms);

/* A place that was taken, and when it is: for whoever is next. */
struct pace_slot {
	bool taken;
	int64_t at_ms;
};

/* In how many milliseconds the next one may go; takes places as needed, of one
 * rate or of two.  When it has gone, `taken` is to be false again. */
int64_t pace_slot_wait(struct pace_slot *, struct pace_rate *,
	const struct conf_rate *, struct pace_rate *also,
	const struct conf_rate *also_rate, int64_t now_ms);

#endif
