/*
 * One step of a report: a row and its targets as they are, what is to change,
 * and the transaction that does it (queue_report.h).
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/mail/report_words.h"
#include "smtpd-out/queue/queue_int.h"
#include "smtpd-out/queue/queue_report_int.h"

#define SLOW_TICK_MS 60000	/* after a fault of the spool */

void
step_say(const struct spool_report *row, const char *to, const char *status,
	const char *reason)
{
	char day[REPORT_DAY_MAX];

	report_day_text(row->day_s, day);
	log_info("tls-report", "domain", row->domain, "day", day, "to", to,
		"status", status, "reason", reason[0] != '\0' ? reason : NULL,
		NULL);
}

/* ---- what is known of a row ---- */

void
step_end_target(struct step *s, struct spool_rua *t, enum spool_rua_state state,
	const char *note)
{
	t->state = state;
	(void)str_copy(t->note, sizeof(t->note), note);
	if (state == SPOOL_RUA_SENT)
		s->sent++;
	else
		s->dropped++;
	s->ended |= 1U << (t - s->targets);
}

/* What is durable is said. */
static void
say_ended(const struct step *s)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct spool_rua *t = &s->targets[i];

		if ((s->ended & 1U << i) != 0)
			step_say(&s->row, t->rua, t->state ==
				SPOOL_RUA_DROPPED ? "dropped" : t->kind ==
				TLSRPT_MAILTO ? "queued" : "sent", t->note);
	}
}

void
step_end_row(struct spool_report *row, const char *note)
{
	row->state = SPOOL_REPORT_DONE;
	(void)str_copy(row->note, sizeof(row->note), note);
}

/* The row is due when the first of its targets is, and done when none is left
 * to be tried. */
static void
settle(struct step *s)
{
	int64_t due_s = INT64_MAX;

	if (s->row.state != SPOOL_REPORT_SENDING)
		return;
	for (size_t i = 0; i < s->count; i++)
		if (s->targets[i].state == SPOOL_RUA_WAITING &&
		    s->targets[i].due_s < due_s)
			due_s = s->targets[i].due_s;
	if (due_s == INT64_MAX)
		step_end_row(&s->row, "");
	else
		s->row.due_s = due_s;
}

/* In a transaction: what changed is written, the mail queued. */
static enum status
apply_step(struct queue *q, void *arg)
{
	struct step *s = arg;
	enum status st = ST_OK;

	settle(s);
	for (size_t i = 0; st == ST_OK && i < s->count; i++)
		st = spool_rua_put(q->spool, &s->targets[i]);
	if (st == ST_OK)
		st = spool_report_mark(q->spool, &s->row);
	if (st == ST_OK && s->env != NULL)
		st = submit_store(q, s->env, buf_data(&s->mail), s->mail.len,
			0);
	return st;
}

struct endings {
	struct step *const *list;
	size_t count;
};

static enum status
apply_endings(struct queue *q, void *arg)
{
	const struct endings *e = arg;
	enum status st = ST_OK;

	for (size_t i = 0; st == ST_OK && i < e->count; i++)
		st = apply_step(q, e->list[i]);
	return st;
}

static void
not_stored(struct queue *q, enum status st)
{
	if (log_once("tls-report-not-stored"))
		log_warn("tls-report", "reason", st == ST_FULL ?
			"disk full" : spool_error(q->spool), "action",
			"tried again later", NULL);
	report_tick(q, SLOW_TICK_MS);
}

bool
step_commit(struct queue *q, struct step *s)
{
	enum status st = queue_transaction(q, apply_step, s);

	if (st != ST_OK) {
		not_stored(q, st);
		return false;
	}
	q->report->stats.sent += s->sent;
	q->report->stats.dropped += s->dropped;
	say_ended(s);
	if (s->env != NULL) {
		submit_log(s->env);
		work_start_message(q, s->env, buf_data(&s->mail), s->mail.len);
	}
	return true;
}

void
step_commit_all(struct queue *q, struct step *const *list, size_t count)
{
	struct endings e = { .list = list, .count = count };
	enum status st = count == 0 ? ST_OK :
		queue_transaction(q, apply_endings, &e);

	if (st != ST_OK)
		not_stored(q, st);
	for (size_t i = 0; st == ST_OK && i < count; i++) {
		q->report->stats.dropped += list[i]->dropped;
		say_ended(list[i]);
	}
}

void
step_free(struct step *s)
{
	envelope_free(&s->env);
	buf_clear(&s->mail);
	spool_report_clear(&s->row);
	free(s);
}

/* ---- mail ---- */

/* All of its addresses get one message: queued with the mark, so once. */
void
step_mail(struct queue *q, struct step *s)
{
	const char *to[TLSRPT_RUA_MAX];
	char why[SPOOL_REPORT_NOTE_MAX] = "its totals are damaged";
	struct report_made made = { .part = 0 };
	size_t count = 0;

	for (size_t i = 0; i < s->count; i++)
		if (s->targets[i].kind == TLSRPT_MAILTO &&
		    s->targets[i].state == SPOOL_RUA_WAITING)
			to[count++] = s->targets[i].rua;
	if (count == 0)
		return;
	if (q->key == NULL) {
		(void)str_copy(why, sizeof(why), "reports by mail are off: "
			"no key to sign them with (dkim)");
		if (!q->report->no_key_said)
			log_warn("tls-report", "reason", why, NULL);
		q->report->no_key_said = true;
	} else if (report_make(q, &s->row, &made)) {
		s->env = report_make_mail(q, &made, to, count, &s->mail, why,
			sizeof(why));
	}
	report_made_clear(&made);
	for (size_t i = 0; i < s->count; i++) {
		struct spool_rua *t = &s->targets[i];

		if (t->kind == TLSRPT_MAILTO && t->state == SPOOL_RUA_WAITING)
			step_end_target(s, t, s->env != NULL ? SPOOL_RUA_SENT :
				SPOOL_RUA_DROPPED, s->env != NULL ? "" : why);
	}
}
