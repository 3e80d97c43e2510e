/*
 * The MTA-STS policies that a worker's deliveries ask for (RFC 8461): for each
 * domain at most one lookup and one fetch at a time, whoever waits.  The parent
 * keeps what outlives the worker; what follows from what is decided by
 * policy/sts_state.
 *
 * sts_lookup_start() gives exactly one callback, never from within, or is
 * cancelled.  The view is then the callback's (sts_view_unref).
 */
#ifndef SMTPD_OUT_STS_TABLE_H
#define SMTPD_OUT_STS_TABLE_H

#include "base/conf.h"
#include "policy/sts_fetch.h"
#include "policy/sts_view.h"
#include "smtpd-out/ipc/ipc_msg.h"

struct event_base;
struct sts_table;
struct sts_lookup;

#define STS_ENTRIES_MAX 10000		/* domains known at a time */
#define STS_BYTES_MAX (32U << 20)	/* of their policies */
#define STS_PARENT_MS 10000		/* for the parent's answer */
#define STS_FRESH_MIN_MS 5000		/* a view holds so long at least */
#define STS_FRESH_MAX_MS 3600000	/* and at most */
#define STS_RECHECK_MS 500		/* younger answers are not asked anew */

/* To the parent: STS_GET with this request number, and STS_SAVE. */
struct sts_table_port {
	void (*get)(uint64_t request, const char *domain, void *arg);
	void (*save)(uint64_t id, const struct msg_sts *, void *arg);
	int64_t wait_ms;	/* for its answer; 0: STS_PARENT_MS */
	void *arg;
};

struct sts_table *sts_table_new(struct event_base *, const struct conf *,
	const struct sts_fetch_env *, const struct sts_table_port *);
/* No callback runs after this.  Not to be called from one. */
void sts_table_free(struct sts_table **);

typedef void sts_lookup_cb(struct sts_view *view, void *arg);

/* domain is normalised, and no address literal. */
struct sts_lookup *sts_lookup_start(struct sts_table *, const char *domain,
	sts_lookup_cb *, void *arg);
/* The same, asking anew even if what is known is fresh, before mail fails for a
 * policy (RFC 8461 section 5.1).  Not when that was just done. */
struct sts_lookup *sts_recheck_start(struct sts_table *, const char *domain,
	sts_lookup_cb *, void *arg);
void sts_lookup_cancel(struct sts_lookup **);

/* An STS message of the parent. */
void sts_table_take(struct sts_table *, uint64_t id, const struct msg_sts *);

/* False when by now something else is known of the domain than that. */
bool sts_table_holds(const struct sts_table *, const char *domain,
	const struct sts_view *);
size_t sts_table_count(const struct sts_table *);

#endif
