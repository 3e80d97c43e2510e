/*
 * Destinations that get no mail for a while: down, as a worker says, or paused
 * by the operator; and the limits that the operator set.
 *
 * That a destination waits is one value in its row on disk, whatever it has
 * queued; the walk then does not meet it.  Why, is in memory, bounded, and gone
 * after a restart; a pause and limits stay.
 */
#ifndef SMTPD_OUT_QUEUE_HOLD_H
#define SMTPD_OUT_QUEUE_HOLD_H

#include "smtpd-out/ipc/ipc_limits.h"
#include "smtpd-out/queue/queue.h"
#include "spool/dest_rule.h"

/* From a worker. */
void queue_dest_hold(struct queue *, const struct msg_dest_hold *);
/* Gives a new worker what the operator set. */
void queue_limits(struct queue *, uint64_t worker);

/* The operator: replaces the rule of that name; one that says nothing ends
 * it.  ST_LIMIT when there are too many. */
enum status queue_rule_set(struct queue *, const struct spool_dest_rule *)
	MUST_CHECK;
/* The rule of exactly that name; all zero but name and host when none. */
void queue_rule_get(const struct queue *, bool host, const char *name,
	struct spool_dest_rule *out);
size_t queue_rules(const struct queue *, const struct spool_dest_rule **out);

/* What the queue knows of a destination. */
struct queue_dest {
	size_t active;
	bool paused;
	int64_t hold_until_ms;		/* 0: not on hold */
	char why[OUTCOME_TEXT_MAX];	/* of the hold */
	struct conf_bounds bounds;	/* that hold for it now */
};
void queue_dest(struct queue *, const char *name, struct queue_dest *out);
/* Names of destinations on hold, in no order; returns how many. */
size_t queue_holds(struct queue *, void (*cb)(const char *name, void *),
	void *arg);

#endif
