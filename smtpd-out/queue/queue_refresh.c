/*
 * Fetching MTA-STS policies anew: of those that expire, a few at a time, and
 * what the operator asks for.  The worker of the domain does it; here is only
 * who is to be asked, and who waits.
 */
#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/ipc/turn.h"
#include "smtpd-out/queue/queue_sts_int.h"

#define REFRESH_SLICE 20	/* asked for in one turn */
#define REFRESH_MORE_MS 2000	/* for a fetch beyond its own bounds */

struct sts_refresh {
	TAILQ_ENTRY(sts_refresh) link;
	uint64_t id, worker;
	char domain[256];
	queue_sts_refresh_cb *cb;
	void *arg;
	struct queue *q;
	struct event *timeout_ev;
};

/* ---- what expires ---- */

static enum status
refresh_slice(struct queue *q, struct spool_sts *rows, size_t *count)
{
	struct queue_sts *sts = q->sts;
	int64_t now_s = clock_wall_s();
	const struct spool_sts_due due = { .now_s = now_s,
		.used_since_s = now_s - q->conf->sts.unused_s,
		.after_expires_s = sts->after_expires_s, .after = sts->after };
	enum status st = spool_sts_due(q->spool, &due, rows, REFRESH_SLICE,
		count);

	for (size_t i = 0; i < *count; i++) {
		uint64_t worker = q->port.worker_for(rows[i].domain, 0,
			q->port.arg);

		if (worker != 0)
			sts_tell(q, worker, 0, MSG_STS_REFRESH,
				rows[i].domain);
	}
	return st;
}

/* A few at a time, so that a policy host with many domains is not asked for
 * all of them at once; the time of the next turn varies by a tenth. */
static void
refresh_later(struct queue *q, bool soon)
{
	int64_t ms = q->conf->sts.refresh_ms;
	uint32_t jitter;

	if (getrandom(&jitter, sizeof(jitter), 0) != sizeof(jitter))
		jitter = 0;
	if (soon)
		ms = ms / 10 + 1;
	sts_add_timer(q->sts->refresh_ev, ms - ms / 20 +
		(int64_t)(jitter % (uint32_t)(ms / 10 + 1)));
}

static void
on_refresh(evutil_socket_t fd, short what, void *arg)
{
	struct queue *q = arg;
	struct queue_sts *sts = q->sts;
	struct spool_sts *rows;
	size_t count = 0;

	(void)fd;
	(void)what;
	turn_mark("policies");
	if (q->stopping)
		return;
	if (!q->conf->sts.enable) {
		refresh_later(q, false);
		return;
	}
	if (sts_lists_outdated(sts->lists, clock_wall_s()))
		sts_set_conf(q);
	rows = xcalloc(REFRESH_SLICE, sizeof(rows[0]));
	if (refresh_slice(q, rows, &count) != ST_OK &&
	    log_once("sts-refresh"))
		log_warn("sts-refresh", "reason", spool_error(q->spool), NULL);
	if (count == REFRESH_SLICE) {
		sts->after_expires_s = rows[count - 1].expires_s;
		(void)str_copy(sts->after, sizeof(sts->after),
			rows[count - 1].domain);
	} else {
		sts->after_expires_s = 0;
		sts->after[0] = '\0';
	}
	free(rows);
	sts->sweep = true;
	queue_schedule_commit(q);
	refresh_later(q, count == REFRESH_SLICE);
}

/* ---- the operator ---- */

static void
refresh_free(struct queue *q, struct sts_refresh *r)
{
	TAILQ_REMOVE(&q->sts->refreshes, r, link);
	event_free(r->timeout_ev);
	free(r);
}

static void
end_refresh(struct queue *q, struct sts_refresh *r,
	const struct msg_sts *result)
{
	r->cb(result, r->arg);
	refresh_free(q, r);
}

static void
on_refresh_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct sts_refresh *r = arg;

	(void)fd;
	(void)what;
	end_refresh(r->q, r, NULL);
}

/* A worker fetches for a domain once at a time, for all who asked: whatever it
 * says of a fetch ends the waiting of all of them. */
void
refresh_result(struct queue *q, uint64_t worker, const struct msg_sts *msg)
{
	struct sts_refresh *r, *next;

	if (msg->what == MSG_STS_USED)
		return;
	for (r = TAILQ_FIRST(&q->sts->refreshes); r != NULL; r = next) {
		next = TAILQ_NEXT(r, link);
		if (r->worker == worker && strcmp(r->domain, msg->domain) == 0)
			end_refresh(q, r, msg);
	}
}

uint64_t
queue_sts_refresh(struct queue *q, const char *domain,
	queue_sts_refresh_cb *cb, void *arg)
{
	uint64_t worker = q->port.worker_for(domain, 0, q->port.arg);
	struct sts_refresh *r;

	if (worker == 0 || !q->conf->sts.enable)
		return 0;
	r = xcalloc(1, sizeof(*r));
	r->id = ++q->sts->next_refresh;
	r->worker = worker;
	(void)str_copy(r->domain, sizeof(r->domain), domain);
	r->cb = cb;
	r->arg = arg;
	r->q = q;
	r->timeout_ev = event_new(q->base, -1, 0, on_refresh_timeout, r);
	sts_add_timer(r->timeout_ev, q->conf->sts.fetch_ms +
		2 * q->conf->resolver.lookup_ms + REFRESH_MORE_MS);
	TAILQ_INSERT_TAIL(&q->sts->refreshes, r, link);
	sts_tell(q, worker, r->id, MSG_STS_REFRESH, domain);
	return r->id;
}

void
queue_sts_refresh_cancel(struct queue *q, uint64_t handle)
{
	struct sts_refresh *r;

	TAILQ_FOREACH(r, &q->sts->refreshes, link)
		if (r->id == handle) {
			refresh_free(q, r);
			return;
		}
}

void
sts_child_gone(struct queue *q, uint64_t child)
{
	struct sts_refresh *r, *next;

	for (r = TAILQ_FIRST(&q->sts->refreshes); r != NULL; r = next) {
		next = TAILQ_NEXT(r, link);
		if (r->worker == child)
			end_refresh(q, r, NULL);
	}
}

/* ---- life ---- */

void
refresh_init(struct queue *q)
{
	TAILQ_INIT(&q->sts->refreshes);
	q->sts->refresh_ev = event_new(q->base, -1, 0, on_refresh, q);
	refresh_later(q, true);
}

void
refresh_clear(struct queue *q)
{
	struct sts_refresh *r;

	while ((r = TAILQ_FIRST(&q->sts->refreshes)) != NULL)
		refresh_free(q, r);
	event_free(q->sts->refresh_ev);
}
