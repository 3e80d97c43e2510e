/*
 * Private to the queue: destinations that are in work, and whose turn it is.
 *
 * A destination is in memory while mail of it is out or about to be; its two
 * lanes (spool.h) wait in a ring each for their turn.  All others are on disk
 * only, found there in the order in which they become due.  So memory depends
 * on `limit active`, not on the queue.
 *
 * Nobody takes everything.  A destination starts with a small window that grows
 * with what it takes and shrinks when it fails, so that a slow one never has
 * much; it is bounded by half of what is left of one half of the active set.
 * The other half is for destinations that have nothing out yet.  Retries may
 * have three quarters of the whole, new mail seven eighths.
 */
#ifndef SMTPD_OUT_QUEUE_LANE_H
#define SMTPD_OUT_QUEUE_LANE_H

#include <sys/queue.h>

#include "smtpd-out/queue/queue_int.h"

#define ACTIVE_BYTES_MAX (32U << 20)	/* inline bodies out with workers */
#define READY_AHEAD 64		/* destinations found ahead */

enum lane_state {
	LANE_UNKNOWN = 0,	/* not looked at: the walk on disk finds it */
	LANE_IDLE,		/* nothing more is due before next_ms */
	LANE_READY,		/* in the ring of its class */
	LANE_BLOCKED,		/* until a delivery of its destination ends */
	LANE_STALLED		/* its worker takes nothing just now */
};

struct lane {
	TAILQ_ENTRY(lane) link;		/* READY, STALLED */
	struct dest *dest;
	enum spool_class class;
	enum lane_state state;
	struct spool_cursor cursor;	/* all before it is handed out */
	int64_t next_ms;		/* IDLE */
	bool again;			/* some before it could not be read */
};

struct dest {
	TAILQ_ENTRY(dest) link;
	struct lane lanes[SPOOL_CLASSES];
	size_t active;
	uint64_t bytes;			/* inline bodies that are out */
	size_t rcpts;			/* recipients */
	size_t window;			/* what it may have out, at most */
	size_t cap;			/* what its rate allows to be out */
	unsigned cap_changes;		/* of limits, when cap was made */
	char name[];
};

struct lanes;

void lanes_init(struct queue *);
void lanes_clear(struct queue *);

struct dest *dest_find(struct queue *, const char *name);
/* Or makes it. */
struct dest *dest_get(struct queue *, const char *name);
/* Frees it when nothing of it is in work; else nothing. */
void dest_release(struct queue *, struct dest *);
/* A delivery goes out, and comes back. */
void dest_take(struct queue *, struct dest *, struct active *);
void dest_give(struct queue *, struct active *);

void lane_set(struct queue *, struct lane *, enum lane_state);
/* Something of it may be due at that time, wherever it is in order. */
void lane_due_at(struct queue *, struct lane *, int64_t when_ms);
/* The lane whose turn it is; NULL for none. */
struct lane *lane_turn(struct queue *);
/* How many more deliveries may go out: in all, and of a destination. */
bool lanes_full(const struct queue *);
size_t dest_room(struct queue *, struct dest *, enum spool_class);
bool class_has_room(const struct queue *, enum spool_class);
size_t lanes_ready(const struct queue *, enum spool_class);

/* Lanes that are due now become ready; with `all`, every known one looks at
 * its mail again from the start. */
void lanes_wake(struct queue *, int64_t now_ms, bool all);
/* Those without a worker are tried again. */
void lanes_unstall(struct queue *);

#endif
