/*
 * Sending the reports of days that are over (queue_report.h).
 *
 * Each step is a row that is due: ask where it goes, or post it there.  The
 * rows say all that counts; what is in flight is only remembered so that
 * nothing is asked twice at a time, and may be lost.
 */
#include "config.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/queue/queue_int.h"
#include "smtpd-out/queue/queue_report_int.h"

#define TICK_MS 20000
#define SOON_MS 1000
#define FLIGHT_MS 180000	/* a worker answers by then */
#define BACKOFF_MAX_S 14400
#define SLICE 60		/* due rows looked at in one turn */

void
report_tick(struct queue *q, int64_t ms)
{
	const struct timeval tv = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	(void)event_add(q->report->send_ev, &tv);
}

static int64_t
backoff_s(const struct queue *q, uint32_t tries)
{
	int64_t s = q->conf->tlsrpt.retry_s;

	for (uint32_t i = 1; i < tries && s < BACKOFF_MAX_S; i++)
		s *= 2;
	return s < BACKOFF_MAX_S ? s : BACKOFF_MAX_S;
}

/* ---- flights ---- */

static struct report_flight *
flight_of(const struct queue *q, uint64_t row, const char *url)
{
	struct report_flight *f;

	TAILQ_FOREACH(f, &q->report->flights, link)
		if (f->row == row && strcmp(f->url, url) == 0)
			return f;
	return NULL;
}

static void
flight_free(struct queue *q, struct report_flight *f)
{
	TAILQ_REMOVE(&q->report->flights, f, link);
	free(f);
}

/* False when no worker can be asked now. */
static bool
launch(struct queue *q, const struct spool_report *row, const char *url,
	const struct msg_report *msg)
{
	uint64_t worker = q->port.worker_for(row->domain, msg->body_len,
		q->port.arg);
	struct report_flight *f;

	if (worker == 0)
		return false;
	f = xcalloc(1, sizeof(*f));
	f->id = ++q->report->next_flight;
	f->worker = worker;
	f->row = row->row;
	f->started_ms = clock_mono_ms();
	(void)str_copy(f->domain, sizeof(f->domain), row->domain);
	(void)str_copy(f->url, sizeof(f->url), url);
	TAILQ_INSERT_TAIL(&q->report->flights, f, link);
	q->port.send_report(worker, f->id, msg, q->port.arg);
	return true;
}

static bool
is_full(const struct queue *q)
{
	struct queue_report_stats stats;

	queue_report_stats(q, &stats);
	return stats.flights >= REPORT_FLIGHT_MAX;
}

static void
ask_where(struct queue *q, const struct spool_report *row)
{
	struct msg_report msg = { .what = MSG_REPORT_FIND };

	(void)str_copy(msg.domain, sizeof(msg.domain), row->domain);
	if (flight_of(q, row->row, "") == NULL)
		(void)launch(q, row, "", &msg);
}

static void
post_one(struct queue *q, const struct spool_report *row, const char *url,
	const struct buf *gzip)
{
	struct msg_report msg = { .what = MSG_REPORT_POST };

	(void)str_copy(msg.domain, sizeof(msg.domain), row->domain);
	msg_report_add_target(&msg, TLSRPT_HTTPS, url);
	msg.body = xmalloc(gzip->len);
	memcpy(msg.body, buf_data(gzip), gzip->len);
	msg.body_len = gzip->len;
	(void)launch(q, row, url, &msg);
	msg_report_clear(&msg);
}

/* ---- a row that is due ---- */

/* Its totals are there: why there is nothing to send, or NULL. */
static const char *
needless(const struct queue *q, const struct spool_report *row)
{
	struct tlsrpt_report totals;
	const char *why = NULL;

	if (!q->conf->tlsrpt.send)
		return "reports are off (tlsrpt send)";
	if (conf_tlsrpt_excluded(q->conf, row->domain))
		return "the domain is excluded (tlsrpt exclude)";
	if (!report_totals(row, &totals))
		return "its totals are damaged";
	if (tlsrpt_report_empty(&totals))
		why = "nothing to report";
	else if (!q->conf->tlsrpt.success_reports &&
	    tlsrpt_report_failures(&totals) == 0)
		why = "nothing failed (tlsrpt success-reports)";
	tlsrpt_report_clear(&totals);
	return why;
}

static void
give_up(struct step *s)
{
	char note[SPOOL_REPORT_NOTE_MAX];

	(void)snprintf(note, sizeof(note), "given up%s%.200s",
		s->row.note[0] != '\0' ? ": " : "", s->row.note);
	for (size_t i = 0; i < s->count; i++)
		if (s->targets[i].state == SPOOL_RUA_WAITING)
			step_end_target(s, &s->targets[i], SPOOL_RUA_DROPPED,
				s->targets[i].note);
	if (s->row.state == SPOOL_REPORT_OPEN)
		step_say(&s->row, NULL, "dropped", note);
	step_end_row(&s->row, note);
}

/* To be posted now, and nobody does yet. */
static bool
wants_post(const struct queue *q, const struct step *s,
	const struct spool_rua *t, int64_t now_s)
{
	return t->state == SPOOL_RUA_WAITING && t->kind == TLSRPT_HTTPS &&
		t->due_s <= now_s && flight_of(q, s->row.row, t->rua) == NULL;
}

static void
post_all(struct queue *q, struct step *s, int64_t now_s)
{
	struct report_made made = { .part = 0 };
	struct buf gzip;

	buf_init(&gzip, MSG_REPORT_BODY_MAX);
	if (!report_make(q, &s->row, &made) ||
	    report_make_gzip(&made, &gzip) != ST_OK) {
		(void)str_copy(s->row.note, sizeof(s->row.note),
			"cannot be written");
		give_up(s);
		(void)step_commit(q, s);
	} else {
		for (size_t i = 0; i < s->count && !is_full(q); i++)
			if (wants_post(q, s, &s->targets[i], now_s))
				post_one(q, &s->row, s->targets[i].rua, &gzip);
	}
	report_made_clear(&made);
	buf_clear(&gzip);
}

static void
post_due(struct queue *q, struct step *s, int64_t now_s)
{
	for (size_t i = 0; i < s->count && !is_full(q); i++)
		if (wants_post(q, s, &s->targets[i], now_s)) {
			post_all(q, s, now_s);
			return;
		}
}

/* A report whose mail could not be queued is mailed from here. */
static void
mail_due(struct queue *q, struct step *s)
{
	step_mail(q, s);
	if (s->sent + s->dropped > 0)
		(void)step_commit(q, s);
}

static bool
load(struct queue *q, uint64_t row, struct step *s)
{
	memset(s, 0, sizeof(*s));
	return spool_report_by_row(q->spool, row, &s->row) == ST_OK &&
		spool_rua_list(q->spool, row, s->targets, TLSRPT_RUA_MAX,
		&s->count) == ST_OK;
}

/* Rows that end with nothing sent: many of them in one transaction. */
struct endings {
	struct step *list[SLICE];
	size_t count;
};

/* Whether each thing that it waits for was tried, if only once: a machine that
 * was off while the day of trying passed has tried none. */
static bool
was_tried(const struct step *s)
{
	if (s->row.state == SPOOL_REPORT_OPEN)
		return s->row.tries > 0;
	for (size_t i = 0; i < s->count; i++)
		if (s->targets[i].state == SPOOL_RUA_WAITING &&
		    s->targets[i].tries == 0)
			return false;
	return true;
}

/* True when the row has come to its end, which is to be stored. */
static bool
has_ended(const struct queue *q, struct step *s, int64_t now_s)
{
	const char *why = s->row.state == SPOOL_REPORT_OPEN ?
		needless(q, &s->row) : NULL;

	if (why != NULL)
		step_end_row(&s->row, why);
	else if (now_s >= s->row.until_s && was_tried(s))
		give_up(s);
	return s->row.state == SPOOL_REPORT_DONE;
}

static void
advance(struct queue *q, uint64_t row, int64_t now_s, struct endings *ends)
{
	struct step *s = xmalloc(sizeof(*s));

	if (!load(q, row, s)) {
		step_free(s);
	} else if (has_ended(q, s, now_s)) {
		ends->list[ends->count++] = s;
	} else {
		if (s->row.state == SPOOL_REPORT_OPEN && !is_full(q)) {
			ask_where(q, &s->row);
		} else if (s->row.state == SPOOL_REPORT_SENDING) {
			mail_due(q, s);
			post_due(q, s, now_s);
		}
		step_free(s);
	}
}

static void fail_flight(struct queue *, struct report_flight *, const char *);

static void
end_overdue(struct queue *q)
{
	struct report_flight *f, *next;

	for (f = TAILQ_FIRST(&q->report->flights); f != NULL; f = next) {
		next = TAILQ_NEXT(f, link);
		if (clock_mono_ms() - f->started_ms > FLIGHT_MS)
			fail_flight(q, f, "no answer from the worker");
	}
}

void
report_pump(struct queue *q)
{
	struct spool_report *rows;
	struct endings ends = { .count = 0 };
	int64_t now_s = clock_wall_s();
	size_t count = 0;

	report_tick(q, TICK_MS);
	end_overdue(q);
	if (q->stopping || q->results_failing)
		return;
	rows = xcalloc(SLICE, sizeof(rows[0]));
	if (spool_report_due(q->spool, now_s, rows, SLICE, &count) != ST_OK &&
	    log_once("tls-report-due"))
		log_error("tls-report", "reason", spool_error(q->spool), NULL);
	for (size_t i = 0; i < count; i++)
		advance(q, rows[i].row, now_s, &ends);
	free(rows);
	step_commit_all(q, ends.list, ends.count);
	for (size_t i = 0; i < ends.count; i++)
		step_free(ends.list[i]);
	if (ends.count == SLICE)
		report_tick(q, SOON_MS);
}

/* ---- answers ---- */

static void
try_later(struct queue *q, struct step *s, struct spool_rua *t,
	const char *text)
{
	int64_t now_s = clock_wall_s();

	if (t != NULL) {
		t->tries++;
		t->due_s = now_s + backoff_s(q, t->tries);
		(void)str_copy(t->note, sizeof(t->note), text);
		step_say(&s->row, t->rua, "deferred", text);
	} else {
		s->row.tries++;
		s->row.due_s = now_s + backoff_s(q, s->row.tries);
		(void)str_copy(s->row.note, sizeof(s->row.note), text);
		step_say(&s->row, NULL, "deferred", text);
	}
}

static void
take_targets(struct queue *q, struct step *s, const struct msg_report *msg)
{
	int64_t now_s = clock_wall_s();

	s->row.state = SPOOL_REPORT_SENDING;
	s->row.note[0] = '\0';
	for (size_t i = 0; i < msg->target_count; i++) {
		struct spool_rua *t = &s->targets[s->count];
		size_t n = 0;

		while (n < s->count && strcmp(s->targets[n].rua,
		    msg->targets[i].text) != 0)
			n++;
		if (n < s->count)	/* named twice */
			continue;
		*t = (struct spool_rua){ .report = s->row.row,
			.kind = msg->targets[i].kind, .due_s = now_s };
		(void)str_copy(t->rua, sizeof(t->rua), msg->targets[i].text);
		s->count++;
	}
	step_mail(q, s);
}

/* What an answer changes; false when it is not of this state any more. */
static bool
take_found(struct queue *q, struct step *s, const struct msg_report *msg)
{
	if (s->row.state != SPOOL_REPORT_OPEN)
		return false;
	if (msg->what == MSG_REPORT_FOUND) {
		take_targets(q, s, msg);
	} else if (msg->what == MSG_REPORT_ABSENT) {
		step_say(&s->row, NULL, "none", msg->text);
		step_end_row(&s->row, msg->text);
	} else {
		try_later(q, s, NULL, msg->text);
	}
	return true;
}

static bool
take_posted(struct queue *q, struct step *s, const char *url,
	const struct msg_report *msg)
{
	for (size_t i = 0; i < s->count; i++) {
		struct spool_rua *t = &s->targets[i];

		if (strcmp(t->rua, url) != 0 || t->state != SPOOL_RUA_WAITING)
			continue;
		if (msg->what == MSG_REPORT_TAKEN)
			step_end_target(s, t, SPOOL_RUA_SENT, "");
		else
			try_later(q, s, t, msg->text);
		return true;
	}
	return false;
}

/* The flight is over whatever comes of it. */
static void
land(struct queue *q, struct report_flight *f, const struct msg_report *msg)
{
	struct step *s = xmalloc(sizeof(*s));

	if (load(q, f->row, s) && strcmp(s->row.domain, f->domain) == 0 &&
	    (f->url[0] == '\0' ? take_found(q, s, msg) :
	    take_posted(q, s, f->url, msg)))
		(void)step_commit(q, s);
	step_free(s);
	flight_free(q, f);
}

static void
fail_flight(struct queue *q, struct report_flight *f, const char *why)
{
	struct msg_report msg = { .what = MSG_REPORT_FAILED };

	(void)str_copy(msg.text, sizeof(msg.text), why);
	land(q, f, &msg);
}

/* Only what fits the question; anything else ends the worker. */
static bool
answers(const struct report_flight *f, const struct msg_report *msg)
{
	if (strcmp(f->domain, msg->domain) != 0)
		return false;
	if (msg->what == MSG_REPORT_FAILED)
		return true;
	return f->url[0] == '\0' ? msg->what == MSG_REPORT_FOUND ||
		msg->what == MSG_REPORT_ABSENT :
		msg->what == MSG_REPORT_TAKEN;
}

enum status
queue_report_done(struct queue *q, uint64_t worker, uint64_t id,
	const struct msg_report *msg)
{
	struct report_flight *f;

	TAILQ_FOREACH(f, &q->report->flights, link)
		if (f->id == id && f->worker == worker)
			break;
	if (f == NULL)
		return ST_OK;
	if (!answers(f, msg))
		return ST_DENIED;
	land(q, f, msg);
	report_tick(q, 0);
	return ST_OK;
}

void
report_child_gone(struct queue *q, uint64_t child, bool in_order)
{
	struct report_flight *f, *next;

	for (f = TAILQ_FIRST(&q->report->flights); f != NULL; f = next) {
		next = TAILQ_NEXT(f, link);
		if (f->worker != child)
			continue;
		/* An orderly end says nothing of the report. */
		if (q->stopping || in_order)
			flight_free(q, f);
		else
			fail_flight(q, f, "the worker ended");
	}
	if (in_order && !q->stopping)
		report_tick(q, SOON_MS);
}

/* ---- the operator ---- */

struct asked {
	struct spool_report_ask ask;
	uint64_t count;
};

static enum status
apply_ask(struct queue *q, void *arg)
{
	struct asked *a = arg;

	return spool_report_ask(q->spool, &a->ask, &a->count);
}

enum status
queue_report_send(struct queue *q, bool today, const char *domain,
	int64_t *ticket_ms_out, uint64_t *count_out)
{
	int64_t now_ms = clock_wall_ms();
	struct asked a = { .ask = { .now_ms = now_ms,
		.today_s = tlsrpt_day(now_ms / 1000), .today = today,
		.domain = domain, .until_s = now_ms / 1000 + TLSRPT_DAY_S } };
	enum status st;

	*ticket_ms_out = now_ms;
	(void)queue_flush(q);
	st = queue_transaction(q, apply_ask, &a);
	*count_out = a.count;
	if (st == ST_OK)
		report_tick(q, 0);
	return st;
}

/* ---- life ---- */

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	report_pump(arg);
}

void
report_send_init(struct queue *q)
{
	q->report->send_ev = event_new(q->base, -1, 0, on_tick, q);
	report_tick(q, TICK_MS);
}

void
report_send_clear(struct queue *q)
{
	struct report_flight *f;

	while ((f = TAILQ_FIRST(&q->report->flights)) != NULL)
		flight_free(q, f);
	event_free(q->report->send_ev);
}
