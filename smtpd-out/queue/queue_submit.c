/*
 * What was submitted, on its way to disk, and the files of large bodies.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/queue/queue_int.h"

#define WAITING_LEAST 1000	/* for a commit, or open */
#define REPORT_EXPIRE_MS INT64_C(86400000)

void
submit_op_free(struct queue *q, struct submit_op *op)
{
	TAILQ_REMOVE(&q->submits, op, link);
	q->submit_count--;
	envelope_free(&op->env);
	free(op->body);
	free(op);
}

static void
reject(struct queue *q, uint64_t child, uint64_t request, int code,
	const char *enhanced, const char *text)
{
	struct msg_rejected msg = { .code = code };

	(void)str_copy(msg.enhanced, sizeof(msg.enhanced), enhanced);
	(void)str_copy(msg.text, sizeof(msg.text), text);
	q->stats.rejected++;
	q->port.rejected(child, request, &msg, q->port.arg);
}

static void
reject_status(struct queue *q, uint64_t child, uint64_t request,
	enum status st)
{
	if (st == ST_FULL)
		reject(q, child, request, 452, "4.3.1",
			"Insufficient system storage");
	else if (st == ST_PARSE)
		reject(q, child, request, 451, "4.3.0",
			"Message was cut short on its way to the queue");
	else
		reject(q, child, request, 451, "4.3.0",
			"Queue is not available");
}

static bool
token_is(struct queue *q, uint64_t token, uint64_t child)
{
	struct body_token *t = table_get_id(q->tokens, token);

	return t != NULL && t->child == child;
}

static void
token_forget(struct queue *q, uint64_t token)
{
	free(table_remove_id(q->tokens, token));
}

/* A session has one message on its way, and there may be two injects. */
static bool
too_many(const struct queue *q, size_t count)
{
	return count >= 2 * (size_t)q->conf->limit.sessions + WAITING_LEAST;
}

void
queue_body_open(struct queue *q, uint64_t child, uint64_t request)
{
	struct body_token *t;
	uint64_t token;
	enum status st;
	int fd;

	if (too_many(q, table_count(q->tokens)))
		st = ST_LIMIT;
	else if (spool_free_bytes(q->spool) < q->conf->limit.free_bytes)
		st = ST_FULL;
	else
		st = spool_body_file_new(q->spool, &token, &fd);
	if (st != ST_OK) {
		log_error("body-file", "reason", st == ST_FULL ?
			"disk full" : st == ST_LIMIT ? "too many" :
			spool_error(q->spool), NULL);
		reject_status(q, child, request, st);
		return;
	}
	t = xcalloc(1, sizeof(*t));
	t->token = token;
	t->child = child;
	table_put_id(q->tokens, token, t);
	q->port.body_file(child, request, token, fd, q->port.arg);
	(void)close(fd);
}

void
queue_body_drop(struct queue *q, uint64_t child, uint64_t token)
{
	if (!token_is(q, token, child))
		return;
	spool_body_file_drop(q->spool, token);
	token_forget(q, token);
	queue_housekeep(q);
}

void
queue_submit(struct queue *q, uint64_t child, uint64_t request,
	struct msg_submit *msg)
{
	struct submit_op *op;

	if (msg->body == NULL && !token_is(q, msg->file_token, child)) {
		reject(q, child, request, 451, "4.3.0", "Body is missing");
		envelope_free(&msg->env);
		return;
	}
	if (too_many(q, q->submit_count)) {
		reject_status(q, child, request, ST_LIMIT);
		envelope_free(&msg->env);
		return;
	}
	op = xcalloc(1, sizeof(*op));
	op->child = child;
	op->request = request;
	op->env = msg->env;
	msg->env = NULL;
	op->token = msg->file_token;
	op->env->received_ms = clock_wall_ms();
	if (msg->body != NULL) {
		op->body = xmalloc(msg->body_len);
		memcpy(op->body, msg->body, msg->body_len);
		op->body_len = msg->body_len;
		op->env->size_bytes = msg->body_len;
		op->token = 0;
	}
	TAILQ_INSERT_TAIL(&q->submits, op, link);
	q->submit_count++;
	queue_schedule_commit(q);
}

/* A report of ours is tried for a day (RFC 8460 section 5.5): who was down for
 * longer has others to read by then. */
static int64_t
expire_ms(const struct queue *q, const struct envelope *env)
{
	int64_t ms = q->conf->retry.expire_ms;

	return (env->flags & ENVELOPE_REPORT) != 0 && ms > REPORT_EXPIRE_MS ?
		REPORT_EXPIRE_MS : ms;
}

enum status
submit_store(struct queue *q, struct envelope *env, const uint8_t *body,
	size_t body_len, uint64_t token)
{
	const struct spool_body data = { .data = body, .len = body_len,
		.file_token = token };
	int64_t now_ms = clock_wall_ms();

	return spool_add(q->spool, env, &data, now_ms,
		now_ms + expire_ms(q, env));
}

enum status
submit_apply(struct queue *q, struct submit_op *op)
{
	if (spool_free_bytes(q->spool) <
	    q->conf->limit.free_bytes + op->env->size_bytes)
		return ST_FULL;
	return submit_store(q, op->env, op->body, op->body_len, op->token);
}

void
submit_log(const struct envelope *env)
{
	char id[STR_ID_MAX];

	str_id_format(env->id, id);
	log_info("accepted", "id", id, "from", env->sender, "size",
		log_num((long long)env->size_bytes), "recipients",
		log_num((long long)env->rcpt_count), "origin", env->origin,
		NULL);
}

/* Durable: says so, and hands it to the workers without reading it back. */
void
submit_done(struct queue *q, struct submit_op *op)
{
	q->stats.accepted++;
	submit_log(op->env);
	if (op->token != 0)
		token_forget(q, op->token);
	q->port.accepted(op->child, op->request, op->env->id, q->port.arg);
	work_start_message(q, op->env, op->body, op->body_len);
	submit_op_free(q, op);
}

void
submit_failed(struct queue *q, struct submit_op *op, enum status st)
{
	log_error("not-accepted", "reason", st == ST_FULL ? "disk full" :
		spool_error(q->spool), NULL);
	if (op->token != 0) {
		spool_body_file_drop(q->spool, op->token);
		token_forget(q, op->token);
	}
	reject_status(q, op->child, op->request, st);
	submit_op_free(q, op);
}

/* ---- a child is gone ---- */

struct gone {
	struct queue *q;
	uint64_t child;
	uint64_t tokens[64];
	size_t count;
};

static void
collect_token(void *value, void *arg)
{
	const struct body_token *t = value;
	struct gone *gone = arg;

	if (t->child == gone->child &&
	    gone->count < sizeof(gone->tokens) / sizeof(gone->tokens[0]))
		gone->tokens[gone->count++] = t->token;
}

void
submit_drop_files(struct queue *q, uint64_t child)
{
	struct gone gone = { .q = q, .child = child };

	do {
		gone.count = 0;
		table_each(q->tokens, collect_token, &gone);
		for (size_t i = 0; i < gone.count; i++)
			queue_body_drop(q, child, gone.tokens[i]);
	} while (gone.count > 0);
}

bool
submit_waiting(const struct queue *q, uint64_t child)
{
	const struct submit_op *op;

	TAILQ_FOREACH(op, &q->submits, link)
		if (op->child == child && op->token != 0)
			return true;
	return false;
}

static void
free_token(void *value, void *arg)
{
	struct body_token *t = value;

	spool_body_file_drop(((struct queue *)arg)->spool, t->token);
	free(t);
}

void
submit_init(struct queue *q)
{
	TAILQ_INIT(&q->submits);
	q->tokens = table_new();
}

void
submit_clear(struct queue *q)
{
	while (!TAILQ_EMPTY(&q->submits))
		submit_op_free(q, TAILQ_FIRST(&q->submits));
	table_each(q->tokens, free_token, q);
	table_free(&q->tokens);
}
