/*
 * The totals of days, on their way to disk.
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
#include "smtpd-out/queue/queue_int.h"
#include "smtpd-out/queue/queue_report_int.h"

#define AGAIN_MS 30000		/* after a fault of the spool */
#define WAITING_MAX 20000	/* days and domains in memory */
#define WAITING_BYTES_MAX (32U << 20)
#define SAVE_SLICE 200		/* of them in one commit: others wait */
#define NEXT_SLICE_MS 20
#define SWEEP_MS 3600000
#define SWEEP_SLICE 200		/* removed in one commit */
#define KEEP_ROWS 400000
#define KEEP_BYTES (512U << 20)
/* Of one domain and day with the texts of its policies, which are the domain's
 * to choose: those of many must fit, and a report must be no burden to whoever
 * its record names. */
#define LEAN_BYTES (128U << 10)
/* Clocks differ, and events travel: nothing is sent before. */
#define SETTLE_S 600

static void
add_timer(struct event *ev, int64_t ms)
{
	const struct timeval tv = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	(void)event_add(ev, &tv);
}

/* ---- what workers count ---- */

/* Only an event of the end of yesterday can still be on its way. */
static int64_t
day_of(const struct tlsrpt_event *e, int64_t now_s)
{
	int64_t today_s = tlsrpt_day(now_s), day_s = tlsrpt_day(e->time_s);

	return day_s == today_s - TLSRPT_DAY_S &&
		now_s < today_s + SETTLE_S ? day_s : today_s;
}

static struct report_pending *
pending_get(struct queue_report *r, int64_t day_s, const char *domain)
{
	struct report_key key;
	struct report_pending *p;

	memset(&key, 0, sizeof(key));
	key.day_s = day_s;
	(void)str_copy(key.domain, sizeof(key.domain), domain);
	p = table_get(r->by_key, &key, sizeof(key));
	if (p != NULL || table_count(r->by_key) >= WAITING_MAX)
		return p;
	p = xcalloc(1, sizeof(*p));
	p->key = key;
	tlsrpt_report_init(&p->report, domain, day_s);
	TAILQ_INSERT_TAIL(&r->pending, p, link);
	table_put(r->by_key, &key, sizeof(key), p);
	return p;
}

static void
pending_free(struct queue_report *r, struct report_pending *p)
{
	TAILQ_REMOVE(&r->pending, p, link);
	(void)table_remove(r->by_key, &p->key, sizeof(p->key));
	r->bytes -= p->bytes;
	tlsrpt_report_clear(&p->report);
	free(p);
}

static void
pending_clear(struct queue_report *r)
{
	while (!TAILQ_EMPTY(&r->pending))
		pending_free(r, TAILQ_FIRST(&r->pending));
}

static size_t
text_bytes(const char *text)
{
	return text == NULL ? 0 : strlen(text);
}

/* What an event adds at most, roughly. */
static size_t
event_bytes(const struct tlsrpt_event *e)
{
	const struct tlsrpt_policy *p = &e->policy;
	size_t n = sizeof(*e) + text_bytes(e->failure.info) +
		text_bytes(e->failure.mx_helo) + text_bytes(p->domain);

	for (size_t i = 0; i < p->string_count; i++)
		n += text_bytes(p->strings[i]);
	for (size_t i = 0; i < p->mx_host_count; i++)
		n += text_bytes(p->mx_hosts[i]);
	return n;
}

static void
overflow(struct queue_report *r, const char *domain)
{
	r->stats.overflow++;
	if (log_once("tlsrpt-overflow"))
		log_warn("tlsrpt-overflow", "domain", domain, "not_counted",
			log_num((long long)r->stats.overflow), "reason",
			"too many domains in a day (tlsrpt max-domains)",
			NULL);
}

enum status
queue_tlsrpt(struct queue *q, uint64_t worker, const struct msg_tlsrpt *msg)
{
	struct queue_report *r = q->report;
	int64_t now_s = clock_wall_s();

	for (size_t i = 0; i < msg->count; i++)
		if (!q->port.owns(worker, msg->events[i].domain, q->port.arg))
			return ST_DENIED;
	for (size_t i = 0; i < msg->count; i++) {
		const struct tlsrpt_event *e = &msg->events[i];
		struct report_pending *p = pending_get(r, day_of(e, now_s),
			e->domain);
		size_t bytes = event_bytes(e);

		if (p == NULL || r->bytes + bytes > WAITING_BYTES_MAX) {
			overflow(r, e->domain);
			continue;
		}
		tlsrpt_report_add(&p->report, e);
		p->bytes += bytes;
		r->bytes += bytes;
	}
	if (!TAILQ_EMPTY(&r->pending) && !r->save &&
	    !event_pending(r->save_ev, EV_TIMEOUT, NULL))
		add_timer(r->save_ev, REPORT_TOTALS_WAIT_MS);
	return ST_OK;
}

/* ---- inside the transaction ---- */

/* Without what the policies say: it is not ours to bound. */
static void
shrink(struct tlsrpt_report *report)
{
	struct tlsrpt_report small;

	for (size_t i = 0; i < report->result_count; i++) {
		struct tlsrpt_policy *p = &report->results[i].policy;
		struct tlsrpt_policy bare = { .type = p->type };

		bare.domain = p->domain;
		p->domain = NULL;
		tlsrpt_policy_clear(p);
		*p = bare;
	}
	tlsrpt_report_init(&small, report->domain, report->start_s);
	tlsrpt_report_merge(&small, report);
	tlsrpt_report_clear(report);
	*report = small;
}

static enum status
encode(struct tlsrpt_report *report, struct buf *out)
{
	enum status st = tlsrpt_report_encode(report, out);

	if (st == ST_OK && out->len <= LEAN_BYTES)
		return ST_OK;
	shrink(report);
	buf_clear(out);
	return tlsrpt_report_encode(report, out);
}

/* False when they are not what was stored. */
bool
report_totals(const struct spool_report *row, struct tlsrpt_report *out)
{
	struct reader in;

	reader_init(&in, row->totals, row->totals_len);
	if (tlsrpt_report_decode(&in, out) == ST_OK)
		return true;
	log_error("tls-report", "domain", row->domain, "reason",
		"its totals are damaged", NULL);
	return false;
}

static int64_t
random_below(int64_t bound)
{
	uint64_t value;

	if (getrandom(&value, sizeof(value), 0) != sizeof(value))
		value = 0;
	return (int64_t)(value % (uint64_t)bound);
}

/* A row for a day that has none; false when there are too many. */
static enum status
new_row(struct queue *q, const struct report_pending *p,
	struct spool_report *row)
{
	struct queue_report *r = q->report;
	int64_t day_s = p->report.start_s;
	enum status st = ST_OK;

	if (r->day_s != day_s) {
		st = spool_report_count(q->spool, day_s, &r->day_domains);
		r->day_s = st == ST_OK ? day_s : -1;
	}
	if (st != ST_OK)
		return st;
	if (r->day_domains >= q->conf->tlsrpt.domains)
		return ST_LIMIT;
	r->day_domains++;
	memset(row, 0, sizeof(*row));
	row->day_s = day_s;
	(void)str_copy(row->domain, sizeof(row->domain), p->report.domain);
	row->due_s = day_s + TLSRPT_DAY_S + SETTLE_S +
		random_below(q->conf->tlsrpt.spread_s);
	row->until_s = row->due_s + TLSRPT_DAY_S;
	return ST_OK;
}

/* The row that takes them, with what it has so far. */
static enum status
load(struct queue *q, struct report_pending *p, struct spool_report *row,
	struct tlsrpt_report *sum)
{
	enum status st = spool_report_get(q->spool, p->report.start_s,
		p->report.domain, 0, row);

	if (st == ST_OK && row->state != SPOOL_REPORT_OPEN) {
		/* Its day is closed: they count today. */
		p->report.start_s = tlsrpt_day(clock_wall_s());
		p->report.end_s = p->report.start_s + TLSRPT_DAY_S - 1;
		spool_report_clear(row);
		st = spool_report_get(q->spool, p->report.start_s,
			p->report.domain, 0, row);
		if (st == ST_OK && row->state != SPOOL_REPORT_OPEN) {
			spool_report_clear(row);
			return ST_LIMIT;
		}
	}
	if (st == ST_NOENT)
		st = new_row(q, p, row);
	if (st == ST_OK && (row->totals == NULL || !report_totals(row, sum)))
		tlsrpt_report_init(sum, p->report.domain, p->report.start_s);
	return st;
}

static enum status
store(struct queue *q, struct report_pending *p)
{
	struct tlsrpt_report sum = { 0 };
	struct spool_report row;
	struct buf totals;
	enum status st = load(q, p, &row, &sum);

	if (st == ST_LIMIT) {
		overflow(q->report, p->report.domain);
		return ST_OK;
	}
	if (st != ST_OK)
		return st;
	tlsrpt_report_merge(&sum, &p->report);
	buf_init(&totals, SPOOL_REPORT_TOTALS_MAX);
	spool_report_clear(&row);
	if (encode(&sum, &totals) == ST_OK) {
		row.totals_len = totals.len;
		row.totals = xmalloc(totals.len);
		memcpy(row.totals, buf_data(&totals), totals.len);
		st = spool_report_put(q->spool, &row);
	}
	buf_clear(&totals);
	spool_report_clear(&row);
	tlsrpt_report_clear(&sum);
	return st;
}

static enum status
sweep(struct queue *q)
{
	const struct spool_report_bounds bounds = {
		.before_s = tlsrpt_day(clock_wall_s() -
			q->conf->tlsrpt.keep_s),
		.keep_rows = KEEP_ROWS,
		.keep_bytes = KEEP_BYTES,
	};
	size_t count = 0;
	enum status st = spool_report_sweep(q->spool, &bounds, SWEEP_SLICE,
		&count);

	q->report->sweep_more = count == SWEEP_SLICE;
	return st;
}

bool
report_waiting(const struct queue *q)
{
	return q->report->sweep || (q->report->save &&
		!TAILQ_EMPTY(&q->report->pending));
}

enum status
report_apply(struct queue *q)
{
	struct report_pending *p;
	enum status st = ST_OK;
	size_t count = 0;

	TAILQ_FOREACH(p, &q->report->pending, link) {
		/* That transaction failed, and its rows are not there. */
		if (p->applied)
			q->report->day_s = -1;
		p->applied = false;
	}
	if (!report_waiting(q))
		return ST_OK;
	TAILQ_FOREACH(p, &q->report->pending, link) {
		if (!q->report->save || (count++ >= SAVE_SLICE &&
		    !q->report->all))
			break;
		st = store(q, p);
		if (st != ST_OK)
			return st;
		p->applied = true;
	}
	return q->report->sweep ? sweep(q) : ST_OK;
}

/* ---- after it ---- */

void
report_done(struct queue *q)
{
	struct queue_report *r = q->report;
	struct report_pending *p;

	if (!report_waiting(q))
		return;
	while ((p = TAILQ_FIRST(&r->pending)) != NULL && p->applied)
		pending_free(r, p);
	r->save = r->all = r->sweep = false;
	(void)event_del(r->save_ev);
	if (p != NULL)
		add_timer(r->save_ev, NEXT_SLICE_MS);
	if (r->sweep_more)
		add_timer(r->sweep_ev, 1000);
	r->sweep_more = false;
}

void
report_failed(struct queue *q, enum status st)
{
	struct queue_report *r = q->report;

	if (log_once("totals-not-stored"))
		log_warn("totals-not-stored", "reason", spool_error(q->spool),
			NULL);
	r->sweep = r->save = r->all = false;
	r->day_s = -1;
	/* A damaged table gets no better; a full disk does. */
	if (st == ST_CORRUPT)
		pending_clear(r);
	if (!TAILQ_EMPTY(&r->pending))
		add_timer(r->save_ev, AGAIN_MS);
}

void
report_save(struct queue *q)
{
	q->report->save = q->report->all =
		!TAILQ_EMPTY(&q->report->pending);
}

/* ---- life ---- */

static void
on_save(evutil_socket_t fd, short what, void *arg)
{
	struct queue *q = arg;

	(void)fd;
	(void)what;
	q->report->save = !TAILQ_EMPTY(&q->report->pending);
	queue_schedule_commit(q);
}

static void
on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct queue *q = arg;

	(void)fd;
	(void)what;
	q->report->sweep = true;
	queue_schedule_commit(q);
	add_timer(q->report->sweep_ev, SWEEP_MS);
}

void
queue_report_stats(const struct queue *q, struct queue_report_stats *out)
{
	const struct report_flight *f;

	*out = q->report->stats;
	TAILQ_FOREACH(f, &q->report->flights, link)
		out->flights++;
}

void
report_init(struct queue *q)
{
	struct queue_report *r = xcalloc(1, sizeof(*r));

	TAILQ_INIT(&r->pending);
	TAILQ_INIT(&r->flights);
	r->by_key = table_new();
	r->day_s = -1;
	r->save_ev = event_new(q->base, -1, 0, on_save, q);
	r->sweep_ev = event_new(q->base, -1, 0, on_sweep, q);
	q->report = r;
	add_timer(r->sweep_ev, SWEEP_MS / 60);
	report_send_init(q);
}

void
report_clear(struct queue *q)
{
	struct queue_report *r = q->report;

	report_send_clear(q);
	pending_clear(r);
	table_free(&r->by_key);
	event_free(r->sweep_ev);
	event_free(r->save_ev);
	mem_free(&q->report);
}
