/*
 * What a worker reports: kept in memory until it is on disk, then logged.
 *
 * Deliveries are stored as they come; refusals wait for the end of the
 * attempt, so that one notice tells of all of them, stored in the same
 * transaction that removes the recipients it speaks of.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/queue/queue_int.h"
#include "spool/schedule.h"

/* Of at most so many recipients. */
static struct result_op *
op_new(struct queue *q, struct active *a, size_t count, bool final)
{
	struct result_op *op = xcalloc(1, sizeof(*op));

	op->active = a;
	op->final = final;
	op->indexes = xcalloc(count, sizeof(op->indexes[0]));
	if (a->aside)
		TAILQ_INSERT_TAIL(&q->aside, op, link);
	else
		TAILQ_INSERT_TAIL(&q->results, op, link);
	return op;
}

/* Its delivery stays out, so that nobody sends it again. */
void
result_aside(struct queue *q, struct result_op *op, enum status st)
{
	struct active *a = op->active;
	char id[STR_ID_MAX];

	TAILQ_REMOVE(&q->results, op, link);
	TAILQ_INSERT_TAIL(&q->aside, op, link);
	a->aside = true;
	if (a->ill)
		return;
	a->ill = true;
	q->ill_count++;
	str_id_format(a->delivery.message_id, id);
	log_error("result-not-stored", "id", id, "destination",
		a->delivery.destination, "reason", status_name(st), "detail",
		spool_error(q->spool), NULL);
}

void
result_again(struct queue *q)
{
	struct result_op *op;

	if (TAILQ_EMPTY(&q->aside))
		return;
	TAILQ_FOREACH(op, &q->aside, link)
		op->active->aside = false;
	TAILQ_CONCAT(&q->results, &q->aside, link);
	queue_schedule_commit(q);
}

void
result_op_free(struct result_op **opp)
{
	free((*opp)->indexes);
	mem_free(opp);
}

/* The end of an attempt: everything that is not on disk yet. */
void
result_add_final(struct queue *q, struct active *a)
{
	struct result_op *op = op_new(q, a, a->env->rcpt_count, true);

	a->finishing = true;
	for (size_t i = 0; i < a->env->rcpt_count; i++) {
		if (a->states[i] == ACTIVE_STORED)
			continue;
		if (a->states[i] == ACTIVE_OPEN)
			active_result(a, i)->outcome = a->gone != GONE_NOT ?
				outcome_child_died() :
				outcome_local("no result");
		a->states[i] = ACTIVE_STORED;
		op->indexes[op->count++] = i;
	}
	queue_schedule_commit(q);
}

static void
add_delivered(struct queue *q, struct active *a, size_t most)
{
	struct result_op *op = NULL;

	for (size_t i = 0; i < a->env->rcpt_count; i++) {
		if (a->states[i] != ACTIVE_RESULT ||
		    a->results[i]->outcome.verdict != VERDICT_DONE)
			continue;
		if (op == NULL)
			op = op_new(q, a, most, false);
		a->states[i] = ACTIVE_STORED;
		op->indexes[op->count++] = i;
	}
	if (op != NULL)
		queue_schedule_commit(q);
}

/* How many wait to be stored. */
static size_t
results_held(const struct active *a)
{
	size_t n = 0;

	for (size_t i = 0; i < a->env->rcpt_count; i++)
		n += a->states[i] == ACTIVE_RESULT;
	return n;
}

/* The worker gives it back: its turn would have come too late. */
static bool
nothing_tried(const struct active *a)
{
	for (size_t i = 0; i < a->env->rcpt_count; i++)
		if (a->states[i] != ACTIVE_OPEN)
			return false;
	return a->env->rcpt_count > 0;
}

/* They mostly come in their order: from that index on, then from the start. */
static size_t
index_of(const struct active *a, uint64_t rcpt_id, size_t from)
{
	size_t count = a->env->rcpt_count;

	for (size_t n = 0; n < count; n++) {
		size_t i = from + n < count ? from + n : from + n - count;

		if (a->env->rcpts[i].id == rcpt_id)
			return i;
	}
	return SIZE_MAX;
}

enum status
queue_result(struct queue *q, uint64_t child, uint64_t job,
	const struct msg_result *msg)
{
	struct active *a = table_get_id(q->by_job, job);
	size_t from = 0;

	if (a == NULL || a->finishing) {
		q->stats.late_answers++;
		return ST_OK;
	}
	if (a->child != child)
		return ST_DENIED;
	for (size_t n = 0; n < msg->rcpt_count; n++) {
		size_t i = index_of(a, msg->rcpts[n].rcpt_id, from);

		if (i == SIZE_MAX || a->states[i] == ACTIVE_STORED) {
			q->stats.late_answers++;
			continue;
		}
		*active_result(a, i) = msg->rcpts[n];
		a->states[i] = ACTIVE_RESULT;
		from = i + 1 < a->env->rcpt_count ? i + 1 : 0;
	}
	if (msg->final) {
		(void)str_copy(a->trail, sizeof(a->trail), msg->trail);
		if (nothing_tried(a))
			a->gone = GONE_IN_ORDER;
		result_add_final(q, a);
	} else {
		add_delivered(q, a, results_held(a));
	}
	return ST_OK;
}

/* ---- inside the transaction ---- */

/* True when what happened counts as an attempt of the delivery. */
static bool
was_tried(const struct active *a)
{
	return !a->untried && (a->gone == GONE_NOT ||
		a->gone == GONE_CRASHED_OFTEN);
}

/* "Later" becomes "never" when the time is up, also for a message that kills
 * its workers. */
static void
expire_result(const struct active *a, struct msg_rcpt_result *r,
	int64_t now_ms)
{
	enum tls_failure failure = r->outcome.tls_failure;

	if (r->outcome.verdict != VERDICT_LATER || !was_tried(a) ||
	    !schedule_expired(now_ms, a->delivery.expires_ms))
		return;
	r->outcome = outcome_expired(r->outcome.text);
	r->outcome.tls_failure = failure;
}

static int64_t
next_time(struct queue *q, const struct active *a, int64_t now_ms,
	bool delay_noticed)
{
	uint32_t random = 0;

	if (a->untried)
		return a->delivery.next_ms;
	if (!was_tried(a))
		return now_ms + a->again_ms;
	(void)!getrandom(&random, sizeof(random), 0);
	return schedule_next(&q->conf->retry, a->delivery.attempts + 1, now_ms,
		a->delivery.received_ms, a->delivery.expires_ms, delay_noticed,
		random);
}

static enum status
store_retry(struct queue *q, struct result_op *op,
	const struct msg_rcpt_result *finals, int64_t now_ms)
{
	struct active *a = op->active;
	bool delayed = a->gone == GONE_NOT && schedule_delay_due(
		&q->conf->retry, now_ms, a->delivery.received_ms,
		a->delivery.delay_noticed);
	const char *text = "";
	enum status st;

	op->retried = true;
	op->next_ms = next_time(q, a, now_ms,
		delayed || a->delivery.delay_noticed);
	for (size_t n = 0; n < op->count; n++)
		if (finals[n].outcome.verdict == VERDICT_LATER)
			text = finals[n].outcome.text;
	st = spool_retry(q->spool, a->delivery.id, op->next_ms, was_tried(a),
		delayed || a->delivery.delay_noticed, text);
	if (st == ST_OK && delayed)
		st = notice_make(q, op, finals, true);
	return st;
}

enum status
result_apply(struct queue *q, struct result_op *op)
{
	struct active *a = op->active;
	int64_t now_ms = clock_wall_ms();
	struct spool_rcpt_result *rows = xcalloc(op->count, sizeof(rows[0]));
	struct msg_rcpt_result *finals = xcalloc(op->count,
		sizeof(finals[0]));
	char (*texts)[SPOOL_TEXT_MAX] = xcalloc(op->count, SPOOL_TEXT_MAX);
	enum status st;
	size_t later = 0, stored = 0;

	for (size_t n = 0; n < op->count; n++) {
		struct msg_rcpt_result *r = a->results[op->indexes[n]];
		struct spool_rcpt_result *row = &rows[stored];

		expire_result(a, r, now_ms);
		finals[n] = *r;
		later += r->outcome.verdict == VERDICT_LATER;
		(void)snprintf(texts[n], SPOOL_TEXT_MAX, "%s %s",
			r->outcome.enhanced, r->outcome.text);
		row->rcpt_id = a->env->rcpts[op->indexes[n]].id;
		row->finished = r->outcome.verdict != VERDICT_LATER;
		row->text = texts[n];
		/* What was not tried keeps its last result. */
		stored += row->finished || a->gone != GONE_IN_ORDER;
	}
	op->retried = false;
	st = notice_make(q, op, finals, false);
	if (st == ST_OK && later > 0)
		st = store_retry(q, op, finals, now_ms);
	if (st == ST_OK && stored > 0)
		st = spool_results(q->spool, a->delivery.id, rows, stored);
	free(texts);
	free(finals);
	free(rows);
	return st;
}

/* ---- after the commit ---- */

/* The documented line, one for each recipient and attempt (smtpd-out(8)). */
static void
log_delivery(const struct active *a, size_t i)
{
	const struct msg_rcpt_result *r = a->results[i];
	char id[STR_ID_MAX], delay[32], reply[OUTCOME_TEXT_MAX + 8];
	int64_t ms = clock_wall_ms() - a->delivery.received_ms;

	str_id_format(a->delivery.message_id, id);
	(void)snprintf(delay, sizeof(delay), "%lld.%03d",
		(long long)(ms / 1000), (int)(ms % 1000));
	if (r->outcome.code != 0)
		(void)snprintf(reply, sizeof(reply), "%d %s", r->outcome.code,
			r->outcome.text);
	else
		(void)str_copy(reply, sizeof(reply), r->outcome.text);
	log_info("delivery", "id", id, "from", a->env->sender,
		"to", a->env->rcpts[i].address,
		"destination", a->delivery.destination,
		"mx", r->mx[0] != '\0' ? r->mx : NULL,
		"ip", r->ip[0] != '\0' ? r->ip : NULL,
		"tls", r->tls[0] != '\0' ? r->tls : "none",
		"why", r->why[0] != '\0' ? r->why : "default",
		"proto", r->proto[0] != '\0' ? r->proto : NULL,
		"cipher", r->cipher[0] != '\0' ? r->cipher : NULL,
		"status", outcome_verdict_name(r->outcome.verdict),
		"dsn", r->outcome.enhanced,
		"attempt", log_num(a->delivery.attempts + 1),
		"delay", delay, "reply", reply,
		"stage", outcome_stage_name(r->outcome.stage),
		"result_type", r->outcome.tls_failure == TLS_FAILURE_NONE ?
		NULL : tls_failure_name(r->outcome.tls_failure), NULL);
}

/* Mail without a sender that cannot be delivered, a notice above all: nobody
 * is told, so the log says it.  REQUIRETLS holds for a notice as it did for
 * the message (RFC 8689 section 5). */
static void
log_dropped(const struct active *a, size_t i)
{
	const struct envelope *env = a->env;
	char id[STR_ID_MAX];

	if (a->results[i]->outcome.verdict != VERDICT_NEVER ||
	    env->sender[0] != '\0')
		return;
	str_id_format(a->delivery.message_id, id);
	log_warn("notice-dropped", "id", id, "to", env->rcpts[i].address,
		"require_tls", env->flags & ENVELOPE_REQUIRETLS ? "yes" :
		"no", "reason", a->results[i]->outcome.text, NULL);
}

static void
count_result(struct queue *q, enum outcome_verdict verdict)
{
	if (verdict == VERDICT_DONE)
		q->stats.sent++;
	else if (verdict == VERDICT_NEVER)
		q->stats.bounced++;
	else
		q->stats.deferred++;
}

void
result_done(struct queue *q, struct result_op *op)
{
	struct active *a = op->active;

	for (size_t n = 0; n < op->count; n++) {
		size_t i = op->indexes[n];

		/* A worker that left in order never tried these. */
		if (a->gone == GONE_IN_ORDER &&
		    a->results[i]->outcome.verdict == VERDICT_LATER)
			continue;
		count_result(q, a->results[i]->outcome.verdict);
		log_delivery(a, i);
		log_dropped(a, i);
		if (!op->final)
			mem_free(&a->results[i]);
	}
	if (!op->final)
		return;
	if (op->retried)
		work_retried(q, a, op->next_ms);
	active_free(q, &a);
}
