/*
 * Work: what is due, what has expired, and what came of it.
 */
#include "config.h"

#include <stdint.h>

#include "base/str.h"
#include "spool/spool_int.h"

void
spool_delivery_read(struct query *q, int column, struct spool_delivery *out)
{
	out->id = query_col_id(q, column);
	out->message_id = query_col_id(q, column + 1);
	(void)str_copy(out->destination, sizeof(out->destination),
		query_col_text(q, column + 2));
	out->attempts = (unsigned)query_col_id(q, column + 3);
	out->received_ms = query_col(q, column + 4);
	out->next_ms = query_col(q, column + 5);
	out->expires_ms = query_col(q, column + 6);
	out->held = query_col(q, column + 7) != 0;
	out->delay_noticed = query_col(q, column + 8) != 0;
}

/* Appends the rows of a query that has its values, up to max in all. */
static enum status
collect(struct query *q, struct spool_delivery *out, size_t max,
	size_t *count)
{
	while (*count < max && query_step(q))
		spool_delivery_read(q, 0, &out[(*count)++]);
	return query_end(q);
}

enum status
spool_delivery(struct spool *s, uint64_t id, struct spool_delivery *out)
{
	struct query q;
	size_t count = 0;
	enum status st;

	query_start(&q, s, STMT_DELIVERY_ROW);
	query_id(&q, id);
	st = collect(&q, out, 1, &count);
	return st != ST_OK || count > 0 ? st : ST_NOENT;
}

enum status
spool_expired(struct spool *s, int64_t now_ms, struct spool_cursor *cursor,
	struct spool_delivery *out, size_t max, size_t *count_out)
{
	struct spool_cursor at = { 0 };
	struct query q;
	enum status st;

	*count_out = 0;
	if (cursor != NULL)
		at = *cursor;
	query_start(&q, s, STMT_EXPIRED);
	query_int(&q, now_ms);
	query_int(&q, at.next_ms);
	query_id(&q, at.id);
	query_limit(&q, max);
	st = collect(&q, out, max, count_out);
	if (cursor != NULL && *count_out > 0) {
		cursor->next_ms = out[*count_out - 1].expires_ms;
		cursor->id = out[*count_out - 1].id;
	}
	return st;
}

enum status
spool_deliveries_after(struct spool *s, const char *destination,
	uint64_t after_id, struct spool_delivery *out, size_t max,
	size_t *count_out)
{
	struct query q;

	*count_out = 0;
	query_start(&q, s, STMT_DELIVERIES_AFTER);
	query_text(&q, destination);
	query_id(&q, after_id);
	query_limit(&q, max);
	return collect(&q, out, max, count_out);
}

enum status
spool_deliveries_of(struct spool *s, uint64_t message_id,
	struct spool_delivery *out, size_t max, size_t *count_out)
{
	struct query q;

	*count_out = 0;
	query_start(&q, s, STMT_DELIVERIES_OF);
	query_id(&q, message_id);
	query_limit(&q, max);
	return collect(&q, out, max, count_out);
}

/* ---- results ---- */

/* The text as kept: bounded, or NULL. */
static const char *
cut_text(const char *text, char kept[SPOOL_TEXT_MAX])
{
	if (text == NULL)
		return NULL;
	(void)str_copy(kept, SPOOL_TEXT_MAX, text);
	return kept;
}

static enum status
finish_rcpt(struct spool *s, uint64_t delivery_id, uint64_t rcpt_id,
	bool *removed)
{
	struct query q;

	query_start(&q, s, STMT_RCPT_DELETE);
	query_id(&q, delivery_id);
	query_id(&q, rcpt_id);
	if (query_run(&q) == ST_OK && sqlite3_changes64(s->db) > 0) {
		s->totals.recipients--;
		s->totals_dirty = true;
		*removed = true;
	}
	return q.st;
}

static enum status
note_rcpt(struct spool *s, uint64_t delivery_id,
	const struct spool_rcpt_result *result)
{
	char kept[SPOOL_TEXT_MAX];
	struct query q;

	query_start(&q, s, STMT_RCPT_SET_TEXT);
	query_id(&q, delivery_id);
	query_id(&q, result->rcpt_id);
	query_text(&q, cut_text(result->text, kept));
	return query_run(&q);
}

enum status
spool_results(struct spool *s, uint64_t delivery_id,
	const struct spool_rcpt_result *results, size_t count)
{
	enum status st = spool_need_tx(s);
	bool removed = false;

	for (size_t i = 0; st == ST_OK && i < count; i++)
		st = results[i].finished ? finish_rcpt(s, delivery_id,
			results[i].rcpt_id, &removed) :
			note_rcpt(s, delivery_id, &results[i]);
	if (st == ST_OK && removed)
		st = spool_delivery_prune(s, delivery_id);
	spool_step(s, "results");
	return st;
}

enum status
spool_retry(struct spool *s, uint64_t delivery_id, int64_t next_ms,
	bool count_attempt, bool delay_noticed, const char *text)
{
	char kept[SPOOL_TEXT_MAX];
	struct spool_brief d;
	struct query q;
	enum status st = spool_need_tx(s);

	if (st == ST_OK)
		st = spool_brief(s, delivery_id, &d);
	if (st != ST_OK)
		return st == ST_NOENT ? ST_OK : st;
	spool_touch(s, d.destination, 0, 0);
	query_start(&q, s, STMT_RETRY);
	query_id(&q, delivery_id);
	query_int(&q, next_ms < 0 ? 0 : next_ms);
	query_int(&q, count_attempt);
	query_int(&q, delay_noticed);
	query_text(&q, cut_text(text, kept));
	return query_run(&q);
}
