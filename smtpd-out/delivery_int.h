/*
 * Private to delivery.c (a job and its sessions) and deliveries.c (the
 * destinations that share them).
 */
#ifndef SMTPD_OUT_DELIVERY_INT_H
#define SMTPD_OUT_DELIVERY_INT_H

#include <sys/queue.h>

#include "base/str.h"
#include "base/table.h"
#include "smtpd-out/delivery.h"
#include "smtpd-out/host_policy.h"
#include "smtpd-out/sts_table.h"

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
	struct session_txn txn;
	struct session_rcpt *txn_rcpts;
	size_t *txn_index;		/* of txn_rcpts in rcpts */
};

/* A session and what it works on. */
struct link {
	TAILQ_ENTRY(link) link;		/* dest->links or reap list */
	struct dest *dest;
	struct session *session;
	struct delivery *job;		/* NULL: idle */
	struct event *idle_ev;
	size_t host;			/* in job->route, for the fallback */
	struct demand *demand;		/* what it was made under */
	struct sts_view *sts;		/* and with this; NULL: not asked */
	struct tlsa_seen *tlsa;		/* NULL: none */
	enum policy_message message;	/* by messages of this kind alone */
	int64_t fresh_until_ms;		/* monotonic; no new job after it */
	bool fallback;			/* in the clear: TLS failed before */
	bool noted;			/* see tls_note.h */
	bool reused;			/* job came to an open session */
	bool is_ready;
};

struct dest {
	char name[STR_DOMAIN_MAX];
	struct deliveries *all;
	TAILQ_HEAD(job_list, delivery) waiting;
	TAILQ_HEAD(, link) links;
	struct job_list jobs;			/* out of waiting */
	size_t running;			/* how many */
};

struct deliveries {
	const struct session_env *env;
	struct resolver *resolver;
	const struct route_local *local;
	struct deliveries_port port;
	struct table *dests;
	TAILQ_HEAD(reap_list, link) reap;
	struct event *reap_ev;
	size_t jobs, links;
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

/* What the job's message demands beyond policy.  Sessions are shared only
 * among messages that demand the same: a job must never travel on one that was
 * made under less (RFC 8689 section 4.2.1). */
enum policy_message delivery_message(const struct delivery *);

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
 * once, and of a host that was skipped. */
void link_note(struct link *, const struct outcome *why);
void delivery_note_skipped(const struct delivery *, const char *host,
	const struct host_policy_result *);

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
/* True while what policy was made from still counts (RFC 7672 2.2: DNS data is
 * used within its TTL): then the session may take another job. */
bool link_is_fresh(const struct link *);
/* Puts a session that has ended on the reap list. */
void link_ended(struct link *);

#endif
