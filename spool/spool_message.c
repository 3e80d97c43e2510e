/*
 * Messages: adding them, reading envelope and body, and removing what has no
 * recipient left.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "spool/spool_int.h"

struct add {
	struct spool *s;
	struct envelope *env;
	const struct spool_body *body;
	int64_t next_ms, expires_ms, received_ms;
	uint64_t next_id;
};

/* ---- adding ---- */

static bool
destination_ok(const char *destination)
{
	return destination != NULL && destination[0] != '\0' &&
		strlen(destination) < sizeof(((struct spool_delivery *)0)->
		destination);
}

static bool
text_ok(const char *text, bool required)
{
	if (text == NULL)
		return !required;
	return strlen(text) <= ENVELOPE_STR_MAX;
}

static enum status
check_envelope(struct spool *s, const struct envelope *env)
{
	bool ok = env->rcpt_count > 0 &&
		env->rcpt_count <= ENVELOPE_RCPTS_MAX &&
		text_ok(env->sender, true) && text_ok(env->envid, false) &&
		text_ok(env->origin, false) && env->size_bytes <= INT64_MAX &&
		env->received_ms >= 0;

	for (size_t i = 0; ok && i < env->rcpt_count; i++)
		ok = text_ok(env->rcpts[i].address, true) &&
			text_ok(env->rcpts[i].orcpt, false) &&
			destination_ok(env->rcpts[i].destination);
	if (!ok)
		return spool_fail(s, ST_PARSE, "spool: the envelope has no "
			"or too many recipients, or a value out of bounds");
	return ST_OK;
}

static enum status
check_body(struct spool *s, struct envelope *env,
	const struct spool_body *body)
{
	if (body->data != NULL) {
		env->size_bytes = body->len;
		return ST_OK;
	}
	return spool_body_file_check(s, body->file_token, env->size_bytes);
}

/* Order of destinations, and of recipients within one. */
static int
compare_rcpts(const void *left, const void *right)
{
	const struct envelope_rcpt *a = *(struct envelope_rcpt *const *)left;
	const struct envelope_rcpt *b = *(struct envelope_rcpt *const *)right;
	int order = strcmp(a->destination, b->destination);

	return order != 0 ? order : (a > b) - (a < b);
}

static uint64_t
first_id(const struct spool *s)
{
	int64_t last = s->totals.last_id, now_us = 0;

	if (__builtin_mul_overflow(spool_now_ms(s), (int64_t)1000, &now_us))
		now_us = 0;
	return (uint64_t)(now_us > last ? now_us : last + 1);
}

static enum status
add_delivery(struct add *a, const struct envelope_rcpt *rcpt, uint64_t id)
{
	struct query q;

	query_start(&q, a->s, STMT_ADD_DELIVERY);
	query_id(&q, id);
	query_id(&q, a->env->id);
	query_int(&q, a->received_ms);
	query_int(&q, a->next_ms < 0 ? 0 : a->next_ms);
	query_int(&q, a->expires_ms);
	query_text(&q, rcpt->destination);
	a->s->totals.deliveries++;
	spool_touch_added(a->s, rcpt->destination,
		a->next_ms < 0 ? 0 : a->next_ms);
	return query_run(&q);
}

static enum status
add_rcpt(struct add *a, struct envelope_rcpt *rcpt, uint64_t delivery_id)
{
	struct query q;

	rcpt->id = a->next_id++;
	query_start(&q, a->s, STMT_ADD_RCPT);
	query_id(&q, delivery_id);
	query_id(&q, rcpt->id);
	query_int(&q, rcpt->notify);
	query_text(&q, rcpt->address);
	query_text(&q, rcpt->orcpt);
	a->s->totals.recipients++;
	return query_run(&q);
}

static enum status
add_rcpts(struct add *a)
{
	struct envelope *env = a->env;
	struct envelope_rcpt **sorted = xcalloc(env->rcpt_count,
		sizeof(sorted[0]));
	uint64_t delivery_id = 0;
	enum status st = ST_OK;

	for (size_t i = 0; i < env->rcpt_count; i++)
		sorted[i] = &env->rcpts[i];
	qsort(sorted, env->rcpt_count, sizeof(sorted[0]), compare_rcpts);
	for (size_t i = 0; st == ST_OK && i < env->rcpt_count; i++) {
		if (i == 0 || strcmp(sorted[i]->destination,
		    sorted[i - 1]->destination) != 0) {
			delivery_id = a->next_id++;
			st = add_delivery(a, sorted[i], delivery_id);
		}
		if (st == ST_OK)
			st = add_rcpt(a, sorted[i], delivery_id);
	}
	free(sorted);
	return st;
}

static enum status
add_row(struct add *a)
{
	const struct envelope *env = a->env;
	struct query q;

	query_start(&q, a->s, STMT_ADD_MESSAGE);
	query_id(&q, env->id);
	query_id(&q, a->next_id - 1);
	query_int(&q, a->received_ms);
	query_id(&q, env->size_bytes);
	query_int(&q, env->flags);
	query_int(&q, (int64_t)env->ret);
	query_int(&q, a->body->data == NULL);
	query_text(&q, env->sender);
	query_text(&q, env->envid);
	query_text(&q, env->origin);
	return query_run(&q);
}

static enum status
add_body(struct add *a)
{
	struct query q;

	if (a->body->data == NULL)
		return spool_body_file_take(a->s, a->body->file_token,
			a->env->id);
	query_start(&q, a->s, STMT_ADD_BODY);
	query_id(&q, a->env->id);
	query_blob(&q, a->body->data, a->body->len);
	return query_run(&q);
}

enum status
spool_add(struct spool *s, struct envelope *env, const struct spool_body *body,
	int64_t next_ms, int64_t expires_ms)
{
	struct add a = { .s = s, .env = env, .body = body,
		.next_ms = next_ms, .expires_ms = expires_ms };
	enum status st = spool_need_tx(s);

	/* A notice comes with the removal of what it reports: it belongs to
	 * what the reserve is kept for. */
	if (st == ST_OK && (env->flags & ENVELOPE_BOUNCE) == 0)
		st = spool_reserve_take(s);
	if (st == ST_OK)
		st = check_envelope(s, env);
	if (st == ST_OK)
		st = check_body(s, env, body);
	if (st != ST_OK)
		return st;
	if (env->received_ms == 0)
		env->received_ms = spool_now_ms(s);
	a.received_ms = env->received_ms;
	env->id = first_id(s);
	a.next_id = env->id + 1;
	st = add_rcpts(&a);
	if (st == ST_OK)
		st = add_row(&a);
	if (st == ST_OK)
		st = add_body(&a);
	s->totals.last_id = (int64_t)(a.next_id - 1);
	s->totals.messages++;
	s->totals.bytes += (int64_t)env->size_bytes;
	s->totals_dirty = true;
	spool_step(s, "added");
	return st;
}

/* ---- reading ---- */

static enum status
read_message(struct spool *s, uint64_t id, struct envelope **out)
{
	struct envelope *env = NULL;
	struct query q;

	query_start(&q, s, STMT_MESSAGE);
	query_id(&q, id);
	if (query_step(&q)) {
		const char *text;
		uint64_t ret = query_col_id(&q, 3);

		env = envelope_new(query_col_text(&q, 4));
		env->id = id;
		env->received_ms = query_col(&q, 0);
		env->size_bytes = query_col_id(&q, 1);
		env->flags = (unsigned)query_col_id(&q, 2);
		env->ret = ret > RET_HDRS ? RET_NONE : (enum envelope_ret)ret;
		text = query_col_text_null(&q, 5);
		env->envid = text == NULL ? NULL : xstrdup(text);
		text = query_col_text_null(&q, 6);
		env->origin = text == NULL ? NULL : xstrdup(text);
	}
	*out = env;
	if (query_end(&q) != ST_OK)
		return q.st;
	return env == NULL ? ST_NOENT : ST_OK;
}

static enum status
read_rcpts(struct spool *s, uint64_t delivery_id, struct envelope *env)
{
	struct query q;

	query_start(&q, s, delivery_id != 0 ? STMT_RCPTS_OF_DELIVERY :
		STMT_RCPTS_OF_MESSAGE);
	query_id(&q, env->id);
	if (delivery_id != 0)
		query_id(&q, delivery_id);
	while (env->rcpt_count < ENVELOPE_RCPTS_MAX && query_step(&q)) {
		const char *orcpt = query_col_text_null(&q, 3);
		const char *address = query_col_text(&q, 2);
		struct envelope_rcpt *rcpt = envelope_add_rcpt(env, address,
			query_col_text(&q, 4));

		rcpt->id = query_col_id(&q, 0);
		rcpt->notify = (unsigned)query_col_id(&q, 1);
		rcpt->orcpt = orcpt == NULL ? NULL : xstrdup(orcpt);
	}
	if (query_end(&q) != ST_OK)
		return q.st;
	return env->rcpt_count == 0 ? ST_NOENT : ST_OK;
}

enum status
spool_envelope(struct spool *s, uint64_t message_id, uint64_t delivery_id,
	struct envelope **out)
{
	enum status st = read_message(s, message_id, out);

	if (st == ST_OK)
		st = read_rcpts(s, delivery_id, *out);
	if (st == ST_NOENT)
		st = spool_fail(s, ST_NOENT, "spool: no such message");
	if (st != ST_OK)
		envelope_free(out);
	return st;
}

static enum status
read_inline(struct spool *s, uint64_t id, uint64_t size_bytes, void **data_out,
	size_t *len_out)
{
	struct query q;
	bool found;

	query_start(&q, s, STMT_BODY);
	query_id(&q, id);
	found = query_step(&q);
	if (found) {
		const void *data = sqlite3_column_blob(q.stmt, 0);
		int len = sqlite3_column_bytes(q.stmt, 0);

		found = len >= 0 && (uint64_t)len == size_bytes;
		if (found) {
			*len_out = (size_t)len;
			*data_out = xmalloc(*len_out);
			if (*len_out > 0)
				memcpy(*data_out, data, *len_out);
		}
	}
	if (query_end(&q) != ST_OK)
		return q.st;
	if (!found)
		return spool_fail(s, ST_CORRUPT, "spool: %s/%s: DAMAGED: the "
			"body of message %" PRIu64 " is missing or cut",
			s->dir, SPOOL_DB_NAME, id);
	return ST_OK;
}

enum status
spool_body_get(struct spool *s, uint64_t message_id, void **data_out,
	size_t *len_out, int *fd_out)
{
	struct query q;
	bool found, in_file = false;
	uint64_t size_bytes = 0;

	*data_out = NULL;
	*len_out = 0;
	*fd_out = -1;
	query_start(&q, s, STMT_BODY_KIND);
	query_id(&q, message_id);
	found = query_step(&q);
	if (found) {
		in_file = query_col(&q, 0) != 0;
		size_bytes = query_col_id(&q, 1);
	}
	if (query_end(&q) != ST_OK)
		return q.st;
	if (!found)
		return spool_fail(s, ST_NOENT, "spool: no such message");
	*len_out = size_bytes;
	if (in_file)
		return spool_body_file_open(s, message_id, size_bytes, fd_out);
	return read_inline(s, message_id, size_bytes, data_out, len_out);
}

/* ---- removing ---- */

static enum status
delete_by_id(struct spool *s, enum spool_stmt which, uint64_t id)
{
	struct query q;

	query_start(&q, s, which);
	query_id(&q, id);
	return query_run(&q);
}

static enum status
remove_message(struct spool *s, uint64_t id, uint64_t size_bytes, bool in_file)
{
	enum status st = ST_OK;

	if (in_file)
		spool_body_file_remove(s, id);
	else
		st = delete_by_id(s, STMT_BODY_DELETE, id);
	if (st == ST_OK)
		st = delete_by_id(s, STMT_MESSAGE_DELETE, id);
	s->totals.messages--;
	s->totals.bytes -= (int64_t)size_bytes;
	return st;
}

/* A message's deliveries and recipients have the ids behind its own. */
#define IDS_MAX (2 * ENVELOPE_RCPTS_MAX)

static enum status
purge_delivery(struct spool *s, uint64_t message_id, bool *there_out)
{
	struct spool_brief d;
	uint64_t id = 0;
	enum status st;
	struct query q;

	query_start(&q, s, STMT_DELIVERY_FIRST);
	query_id(&q, message_id);
	query_id(&q, message_id + IDS_MAX);
	*there_out = query_step(&q);
	if (*there_out)
		id = query_col_id(&q, 0);
	st = query_end(&q);
	if (st != ST_OK || !*there_out)
		return st;
	st = spool_brief(s, id, &d);
	if (st == ST_OK)
		st = delete_by_id(s, STMT_RCPT_DELETE_ALL, id);
	if (st != ST_OK)
		return st;
	s->totals.recipients -= sqlite3_changes64(s->db);
	s->totals.deliveries--;
	s->totals.held -= d.held;
	s->totals_dirty = true;
	spool_touch(s, d.destination, -1, -(int)d.held);
	return delete_by_id(s, STMT_DELIVERY_DELETE, id);
}

enum status
spool_purge(struct spool *s, uint64_t message_id, uint64_t *count_out)
{
	enum status st = spool_need_tx(s);
	bool there = true;
	uint64_t count = 0;
	struct query q;

	while (st == ST_OK && there) {
		st = purge_delivery(s, message_id, &there);
		count += there;
	}
	*count_out += count;
	if (st != ST_OK)
		return st;
	query_start(&q, s, STMT_MESSAGE_SIZE);
	query_id(&q, message_id);
	if (query_step(&q))
		s->totals.bytes -= query_col(&q, 0);
	else if (count == 0)
		return query_end(&q);
	s->totals.messages--;
	st = query_end(&q);
	if (st == ST_OK)
		st = delete_by_id(s, STMT_BODY_DELETE, message_id);
	if (st == ST_OK)
		st = delete_by_id(s, STMT_MESSAGE_DELETE, message_id);
	spool_body_file_remove(s, message_id);
	s->totals_dirty = true;
	return st;
}

static enum status
prune_message(struct spool *s, uint64_t id)
{
	struct query q;
	bool found, in_file = false, has_deliveries = false;
	uint64_t size_bytes = 0;

	query_start(&q, s, STMT_DELIVERY_ANY);
	query_id(&q, id);
	found = query_step(&q);
	if (found) {
		size_bytes = query_col_id(&q, 0);
		in_file = query_col(&q, 1) != 0;
		has_deliveries = query_col(&q, 2) != 0;
	}
	if (query_end(&q) != ST_OK)
		return q.st;
	if (!found)
		return spool_fail(s, ST_CORRUPT, "spool: %s/%s: DAMAGED: a "
			"delivery without its message %" PRIu64, s->dir,
			SPOOL_DB_NAME, id);
	return has_deliveries ? ST_OK :
		remove_message(s, id, size_bytes, in_file);
}

/* *there_out: the first row exists. */
static enum status
has_rcpts(struct spool *s, uint64_t delivery_id, bool *there_out)
{
	struct query q;

	query_start(&q, s, STMT_RCPT_ANY);
	query_id(&q, delivery_id);
	*there_out = query_step(&q);
	return query_end(&q);
}

enum status
spool_brief(struct spool *s, uint64_t delivery_id, struct spool_brief *out)
{
	struct query q;
	bool there;

	query_start(&q, s, STMT_DELIVERY);
	query_id(&q, delivery_id);
	there = query_step(&q);
	if (there) {
		out->message_id = query_col_id(&q, 0);
		out->held = query_col(&q, 1) != 0;
		(void)str_copy(out->destination, sizeof(out->destination),
			query_col_text(&q, 2));
	}
	if (query_end(&q) != ST_OK)
		return q.st;
	return there ? ST_OK : ST_NOENT;
}

enum status
spool_delivery_prune(struct spool *s, uint64_t delivery_id)
{
	struct spool_brief d;
	bool there = false;
	enum status st = has_rcpts(s, delivery_id, &there);

	if (st != ST_OK || there)
		return st;
	st = spool_brief(s, delivery_id, &d);
	if (st != ST_OK)
		return st == ST_NOENT ? ST_OK : st;
	st = delete_by_id(s, STMT_DELIVERY_DELETE, delivery_id);
	s->totals.deliveries--;
	s->totals.held -= d.held;
	s->totals_dirty = true;
	spool_touch(s, d.destination, -1, -(int)d.held);
	return st == ST_OK ? prune_message(s, d.message_id) : st;
}
