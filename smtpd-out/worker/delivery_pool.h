/*
 * Private to delivery*.c and deliveries.c: MX hosts with what is open to them,
 * and how much a destination may be given.
 */
#ifndef SMTPD_OUT_DELIVERY_POOL_H
#define SMTPD_OUT_DELIVERY_POOL_H

#include <sys/queue.h>

#include "smtpd-out/ipc/limits.h"
#include "smtpd-out/worker/host_policy.h"
#include "smtpd-out/worker/pace.h"

struct deliveries;
struct delivery;
struct dest;
struct event;
struct link;
TAILQ_HEAD(link_list, link);

/* An MX host, whatever destinations lead to it: what is open there, and jobs
 * that know what they need of it and wait for a session. */
struct pool_host {
	struct deliveries *all;
	struct link_list idle;		/* last used first */
	TAILQ_HEAD(, delivery) waiting;
	size_t waiting_count;
	size_t links;			/* open */
	struct pace pace;
	struct pace_rate rate;
	struct pace_slot slot;
	struct conf_bounds bounds;
	unsigned generation;		/* of bounds */
	struct event *ev;		/* for the slot, and for work */
	struct outcome *down;		/* why, while it is */
	int64_t down_since_ms;
	int64_t extra_ms;		/* when one more may be made */
	TAILQ_ENTRY(pool_host) starved_link;
	bool is_starved;		/* waits for others to end */
	uint16_t port;
	char name[];
};

/* delivery_pool.c */
/* The job has what it needs of a host: an open session that fits is taken, one
 * is made, or the job waits for one or the other. */
void pool_enter(struct delivery *, struct host_policy_result *);
void pool_leave(struct delivery *);
/* A job that waits for the host and may travel on the session. */
struct delivery *pool_take_waiter(struct link *);
/* The session now belongs to the job's destination and carries the job. */
void pool_adopt(struct link *, struct delivery *);
/* May a message go to the host now?  When it does, pool_went(). */
bool pool_may_go(struct pool_host *);
void pool_went(struct pool_host *);
void pool_opened(struct link *, const char *host, uint16_t port);
void pool_ready(struct link *);
void pool_idle(struct link *);
void pool_busy(struct link *);	/* off the lists of the idle */
/* Will end, and holds up nobody any more. */
void pool_gone(struct link *);
void pool_closed(struct link *, const struct outcome *why);
void pool_pump(struct pool_host *);
void pool_limits(struct deliveries *);	/* they have changed */
void pool_stop(struct deliveries *);
void pool_free(struct deliveries *);
void pool_sweep(struct deliveries *);

/* delivery_pace.c */
void dest_limits(struct dest *);	/* bounds are as they are now */
size_t dest_window(struct dest *);
/* May a message go now?  If so, it must; else dest_pump() comes in time. */
bool dest_may_go(struct dest *);
void dest_good(struct dest *);
/* A connection failed or was turned away. */
void dest_bad(struct dest *);
/* The attempt found nobody: the destination is down, unless a session is
 * there. */
void dest_unreachable(struct dest *, const struct outcome *);
bool dest_is_down(struct dest *);
/* A job comes although the parent knows that the destination is down: somebody
 * wants to see it tried. */
void dest_try_again(struct dest *);
/* Ends all jobs that wait. */
void dest_answer_waiting(struct dest *);
/* A job that has come may wait too long for its turn: then back it goes. */
bool dest_gives_back(struct dest *, struct delivery *);
/* The same at a host: a job that so many wait before, and that nobody has
 * tried, is gone then. */
bool delivery_gives_back(struct delivery *, const struct conf_rate *,
	size_t ahead);

#endif
