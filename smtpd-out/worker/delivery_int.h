/*
 * Private to delivery*.c (a job and its sessions; the hosts) and deliveries.c
 * (the destinations that share them).
 */
#ifndef SMTPD_OUT_DELIVERY_INT_H
#define SMTPD_OUT_DELIVERY_INT_H

#include <sys/queue.h>

#include "base/str.h"
#include "base/table.h"
#include "smtpd-out/worker/delivery.h"
#include "smtpd-out/worker/delivery_pool.h"
#include "smtpd-out/worker/host_policy.h"
#include "smtpd-out/worker/sts_table.h"

enum rcpt_state {
	RCPT_OPEN = 0,		/* to be tried at the present host */
	RCPT_TRIED,		/* this host has answered, another may try */
	RCPT_SETTLED,		/* nothing in this attempt changes it */
	RCPT_REPORTED		/* and the parent knows */
};

struct rcpt {
	enum rcpt_state state;
	bool dsn_relayed;
	struct outcome outcome;
	struct session_info info;	/* of the session that gave outcome */
	enum demand_level level;	/* demanded of it */
	enum demand_why why;
};

struct delivery {
	TAILQ_ENTRY(delivery) link;	/* dest->waiting or dest->jobs */
	struct dest *dest;
	uint64_t job_id;
	struct msg_job job;
	uint8_t *body;			/* own copy of inline bytes */
	int body_fd;
	struct rcpt *rcpts;
	struct route_lookup *lookup;
	struct route *route;
	size_t host;			/* next host of the route */
	bool clear_next;		/* TLS failed there: without it */
	char trail[MSG_TRAIL_MAX];	/* hosts tried in vain */
	char answered[STR_DOMAIN_MAX];	/* host that needs no second try */
	unsigned sessions;		/* started in this attempt */
	struct host_policy *policy;	/* being found out for a host */
	size_t policy_host;
	struct sts_lookup *sts_lookup;
	struct sts_view *sts;		/* NULL: not asked for */
	uint32_t sts_failed;		/* hosts, as bits, that its policy or
					 * its demand ruled out */
	uint32_t only_hosts;		/* to be tried again; 0: all */
	bool sts_rechecked;		/* in this attempt */
	struct pool_host *at;		/* whose waiting list it is on */
	TAILQ_ENTRY(delivery) wait_link;
	int64_t wait_since_ms;		/* for its turn there */
	int64_t entered_ms;		/* with what it needs */
	bool keeps_place;		/* it asks again what it needs */
	unsigned asked_again;		/* so often, in this attempt */
	struct host_policy_result *need;	/* of that host; or NULL */
	unsigned stale;			/* open sessions that died under it */
	unsigned turned_away;		/* while other sessions were open */
	bool probe;			/* of a destination that was down */
	struct session_txn txn;
	struct session_rcpt *txn_rcpts;
	size_t *txn_index;		/* of txn_rcpts in rcpts */
};

/* A session and what it works on. */
struct link {
	TAILQ_ENTRY(link) link;		/* dest->links or reap list */
	TAILQ_ENTRY(link) dest_link, host_link, all_link;	/* idle */
	struct dest *dest;		/* whose jobs it carries now */
	struct pool_host *at;
	struct session *session;
	struct delivery *job;		/* NULL: idle */
	struct event *idle_ev;
	size_t host;			/* in job->route, for the fallback */
	struct demand *made;		/* what it was made under */
	struct demand *demand;		/* what dest needs: covered by that */
	struct sts_view *sts;		/* and with this; NULL: not asked */
	struct tlsa_seen *tlsa;		/* NULL: none */
	enum policy_message message;	/* by messages of this kind alone */
	int64_t fresh_until_ms;		/* monotonic; no new job after it */
	bool report;			/* made for a report of ours on TLS */
	bool fallback;			/* in the clear: TLS failed before */
	bool noted;			/* see tls_note.h */
	bool reused;			/* job came to an open session */
	bool is_idle;			/* on the three lists */
	bool was_ready, gone;		/* gone: not counted any more */
	unsigned messages;		/* so far */
	int64_t born_ms;
};

struct dest {
	char name[STR_DOMAIN_MAX];
	struct deliveries *all;
	TAILQ_HEAD(job_list, delivery) waiting;
	size_t waiting_count;
	struct link_list links;
	struct link_list idle;		/* of these, last used first */
	size_t idle_count, ready;	/* ready: open, and got ready */
	struct job_list jobs;			/* out of waiting */
	size_t running;			/* how many */
	struct pace pace;
	struct pace_rate rate;
	struct pace_slot slot;
	struct conf_bounds bounds;
	unsigned generation;		/* of bounds */
	struct event *ev;		/* for the slot */
	struct outcome *down;		/* why, while it is */
	int64_t down_since_ms, held_ms;	/* held: told the parent last */
};

struct deliveries {
	const struct session_env *env;
	struct resolver *resolver;
	const struct route_local *local;
	struct deliveries_port port;
	struct limits *limits, *own_limits;
	struct table *dests, *hosts;
	size_t dests_sweep, hosts_sweep;	/* when to look for unused */
	struct pace_rate rate;			/* of all together */
	struct link_list reap;
	struct event *reap_ev;
	struct link_list idle;		/* all of them, longest idle last */
	TAILQ_HEAD(, pool_host) starved;
	size_t jobs, links;		/* links: until they are freed */
	size_t open;			/* of these, until they end */
	bool stopping;
};

/* delivery.c */
void delivery_free(struct delivery **);
/* Looks for the route and goes on from there. */
void delivery_start(struct delivery *);
/* Route and MTA-STS policy are there. */
void delivery_routed(struct delivery *);
/* Goes on with the next host, or ends. */
void delivery_resume(struct delivery *);
/* Gives a waiting job to an idle session that is ready. */
void delivery_attach(struct link *, struct delivery *);
/* A session of its own, to the host and with the need it has. */
void delivery_connect(struct delivery *);
/* The host is down, or the job's turn will not come: without a connection. */
void delivery_host_down(struct delivery *, const struct outcome *);
/* Lets go of a job while all stop. */
void delivery_drop(struct delivery *);

/* What the job's message demands beyond policy.  Sessions are shared only
 * among messages that demand the same: a job must never travel on one that was
 * made under less (RFC 8689 section 4.2.1). */
enum policy_message delivery_message(const struct delivery *);
/* A report of ours on TLS, which is not reported on (RFC 8460 section 3). */
bool delivery_is_report(const struct delivery *);

/* delivery_sts.c */
void delivery_sts_start(struct delivery *);
void delivery_sts_clear(struct delivery *);
/* A host did not get the mail: when it was for an enforced MTA-STS policy, that
 * is looked up once more before the attempt ends. */
void delivery_sts_blame(struct delivery *, size_t host, enum demand_why,
	const struct outcome *);
/* True when that is under way now; delivery_resume() follows. */
bool delivery_sts_recheck(struct delivery *);
/* Tells the log and the port of a session that is up (why NULL) or failed,
 * once, and of a host that policy ruled out. */
void link_note(struct link *, const struct outcome *why);
void delivery_note_skipped(const struct delivery *, const char *host,
	const struct host_policy_result *);
/* Likewise of one that is not known to have an address ("": of none), where its
 * DNS is bogus. */
void delivery_note_lost(const struct delivery *, const char *host,
	const struct outcome *);

/* delivery_result.c */
/* Where an outcome comes from, for the log. */
struct outcome_source {
	const struct session_info *info;
	enum demand_level level;
	enum demand_why why;
};

/* Tells the parent what is settled (with `final`: everything) and was not
 * told yet. */
void delivery_report(struct delivery *, bool final);
/* An outcome, and what is known of the host that it comes from. */
void delivery_take(struct rcpt *, const struct outcome *,
	const struct outcome_source *);
/* Remembers what kept a host from taking the mail, for the notice. */
void delivery_note(struct delivery *, const char *host,
	const struct outcome *);
/* For all open recipients; the second: of a host that was not connected to,
 * or of none (""). */
void delivery_settle_open(struct delivery *, const struct outcome *,
	const struct outcome_source *);
void delivery_settle_without(struct delivery *, const struct outcome *,
	const char *host, enum demand_why);
/* Recipients that another host may still help are open again; how many are
 * open. */
size_t delivery_reopen(struct delivery *);
size_t delivery_count_open(const struct delivery *);

/* deliveries.c */
/* The next job; with `message`, the next of that kind. */
struct delivery *dest_take_waiting(struct dest *,
	const enum policy_message *message);
/* Starts waiting jobs while the destination may have more. */
void dest_pump(struct dest *);
/* Ends an idle session, which serves another kind of message, when with the
 * jobs at work there are too many. */
void dest_make_room(struct dest *);
/* Ends a session that has no job. */
void link_quit(struct link *);
/* True when it has carried enough. */
bool link_is_spent(const struct link *);
/* True while what policy was made from still counts (RFC 7672 2.2: DNS data is
 * used within its TTL): then the session may take another job. */
bool link_is_fresh(const struct link *);
/* True when what a job that waits at a host needs was found too long ago. */
bool delivery_is_outdated(const struct delivery *);
/* Puts a session that has ended on the reap list. */
void link_ended(struct link *);

#endif
