/*
 * What workers see of hosts (remember-tls), on its way to disk.
 *
 * It waits for the next commit, at most REMEMBER_WAIT_MS, and is told to all
 * workers after it.  The store is compared here once more: what a worker says
 * is no reason to write.
 */
#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/queue/queue_int.h"
#include "spool/policy_store.h"

#define REMEMBER_WAIT_MS 2000
#define WAITING_MAX 10000
#define SWEEP_SLICE 100
#define SWEEP_SLICES 5		/* in one commit */

static void
on_remember(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	queue_schedule_commit(arg);
}

void
remember_init(struct queue *q)
{
	TAILQ_INIT(&q->remembers);
	q->remember_ev = event_new(q->base, -1, 0, on_remember, q);
}

void
queue_remember(struct queue *q, const struct msg_policy *msg)
{
	const struct timeval wait = { .tv_sec = REMEMBER_WAIT_MS / 1000 };

	if (q->conf->remember_tls == CONF_REMEMBER_OFF)
		return;
	for (size_t i = 0; i < msg->count; i++) {
		struct remember_op *op;

		if (q->remember_count >= WAITING_MAX)
			return;		/* it will be seen again */
		op = xcalloc(1, sizeof(*op));
		(void)str_copy(op->host, sizeof(op->host), msg->hosts[i].host);
		op->level = msg->hosts[i].level;
		TAILQ_INSERT_TAIL(&q->remembers, op, link);
		q->remember_count++;
	}
	if (q->remember_count > 0 &&
	    !event_pending(q->remember_ev, EV_TIMEOUT, NULL))
		(void)event_add(q->remember_ev, &wait);
}

static void
add_change(struct queue *q, const struct spool_host_tls *h)
{
	struct msg_policy *c = &q->changes;
	struct msg_policy_host *to;

	c->hosts = xrealloc_n(c->hosts, c->count + 1, sizeof(*to));
	to = &c->hosts[c->count++];
	memset(to, 0, sizeof(*to));
	(void)str_copy(to->host, sizeof(to->host), h->host);
	to->level = h->level < REMEMBER_LEVELS ?
		(enum remember_level)h->level : REMEMBER_NONE;
	to->last_s = h->last_s;
}

/* ---- inside the transaction ---- */

static enum status
store(struct queue *q, const struct remember_op *op, int64_t now_s)
{
	struct spool_host_tls row;
	struct remembered had = { .level = REMEMBER_NONE };
	enum status st = spool_host_tls_get(q->spool, op->host, &row);

	if (st == ST_OK) {
		had.level = row.level < REMEMBER_LEVELS ?
			(enum remember_level)row.level : REMEMBER_NONE;
		had.last_s = row.last_s;
	} else if (st != ST_NOENT) {
		return st;
	}
	if (!remember_changes(&had, op->level, now_s))
		return ST_OK;
	memset(&row, 0, sizeof(row));
	(void)str_copy(row.host, sizeof(row.host), op->host);
	row.level = op->level;
	row.last_s = now_s;
	add_change(q, &row);
	return spool_host_tls_put(q->spool, &row);
}

static enum status
sweep(struct queue *q, int64_t now_s)
{
	struct spool_host_tls gone[SWEEP_SLICE];
	size_t count = SWEEP_SLICE;
	enum status st = ST_OK;

	for (int i = 0; st == ST_OK && count == SWEEP_SLICE &&
	    i < SWEEP_SLICES; i++) {
		st = spool_host_tls_sweep(q->spool,
			now_s - REMEMBER_EXPIRE_S, REMEMBER_HOSTS_MAX, gone,
			SWEEP_SLICE, &count);
		for (size_t n = 0; n < count; n++) {
			gone[n].level = REMEMBER_NONE;
			add_change(q, &gone[n]);
		}
	}
	return st;
}

enum status
remember_apply(struct queue *q)
{
	int64_t now_s = clock_wall_s();
	struct remember_op *op;
	enum status st = ST_OK;

	msg_policy_clear(&q->changes);
	TAILQ_FOREACH(op, &q->remembers, link) {
		st = store(q, op, now_s);
		if (st != ST_OK)
			return st;
	}
	return q->changes.count > 0 ? sweep(q, now_s) : ST_OK;
}

/* ---- after it ---- */

static void
tell(struct queue *q, uint64_t worker)
{
	struct msg_policy part = { .hosts = q->changes.hosts };
	size_t left = q->changes.count;

	while (left > 0) {
		part.count = left < MSG_POLICY_HOSTS_MAX ? left :
			MSG_POLICY_HOSTS_MAX;
		q->port.remembered(&part, worker, q->port.arg);
		part.hosts += part.count;
		left -= part.count;
	}
	msg_policy_clear(&q->changes);
}

void
remember_drop(struct queue *q)
{
	struct remember_op *op;

	while ((op = TAILQ_FIRST(&q->remembers)) != NULL) {
		TAILQ_REMOVE(&q->remembers, op, link);
		free(op);
	}
	q->remember_count = 0;
	(void)event_del(q->remember_ev);
	msg_policy_clear(&q->changes);
}

void
remember_done(struct queue *q)
{
	tell(q, 0);
	remember_drop(q);
}

void
remember_clear(struct queue *q)
{
	remember_drop(q);
	event_free(q->remember_ev);
}

void
queue_remembered(struct queue *q, uint64_t worker)
{
	struct spool_host_tls *rows = xcalloc(MSG_POLICY_HOSTS_MAX,
		sizeof(rows[0]));
	char after[SPOOL_HOST_MAX] = "";
	enum status st = ST_OK;
	size_t count;

	do {
		st = spool_host_tls_list(q->spool, after, rows,
			MSG_POLICY_HOSTS_MAX, &count);
		for (size_t i = 0; i < count; i++) {
			add_change(q, &rows[i]);
			(void)str_copy(after, sizeof(after), rows[i].host);
		}
		tell(q, worker);
	} while (count == MSG_POLICY_HOSTS_MAX);
	free(rows);
	if (st != ST_OK)
		log_error("remembered-hosts", "reason", spool_error(q->spool),
			NULL);
}

/* ---- the operator ---- */

static void
drop_waiting(struct queue *q, const char *host)
{
	struct remember_op *op, *next;

	for (op = TAILQ_FIRST(&q->remembers); op != NULL; op = next) {
		next = TAILQ_NEXT(op, link);
		if (strcmp(op->host, host) != 0)
			continue;
		TAILQ_REMOVE(&q->remembers, op, link);
		q->remember_count--;
		free(op);
	}
}

enum status
queue_forget(struct queue *q, const char *host)
{
	struct spool_host_tls gone = { .level = REMEMBER_NONE };
	enum status st = spool_begin(q->spool);

	if (st != ST_OK)
		return st;
	st = spool_host_tls_forget(q->spool, host);
	if (st == ST_OK)
		st = spool_commit(q->spool);
	if (st != ST_OK) {
		spool_rollback(q->spool);
		return st;
	}
	drop_waiting(q, host);
	(void)str_copy(gone.host, sizeof(gone.host), host);
	add_change(q, &gone);
	tell(q, 0);
	return ST_OK;
}
