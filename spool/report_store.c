/*
 * Totals and reports: the tables report_day and report_rua.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "spool/report_store.h"
#include "spool/spool_int.h"

#define DAY_S 86400

void
spool_report_clear(struct spool_report *r)
{
	mem_free(&r->totals);
	r->totals_len = 0;
}

void
spool_report_clear_all(struct spool_report *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		spool_report_clear(&rows[i]);
}

/* ---- reading ---- */

static uint32_t
read_u32(struct query *q, int column)
{
	uint64_t value = query_col_id(q, column);

	return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static void
read_text(struct query *q, int column, char *out, size_t out_bytes)
{
	if (!str_copy(out, out_bytes, query_col_text(q, column)))
		query_damaged(q, column);
}

/* Columns 0 to 9, in the order of REPORT_COLUMNS in spool_db.c. */
static void
read_row(struct query *q, struct spool_report *out)
{
	memset(out, 0, sizeof(*out));
	out->row = query_col_id(q, 0);
	out->day_s = (int64_t)query_col_id(q, 1);
	read_text(q, 2, out->domain, sizeof(out->domain));
	out->part = read_u32(q, 3);
	out->state = (enum spool_report_state)read_u32(q, 4);
	if (out->state > SPOOL_REPORT_DONE)
		query_damaged(q, 4);
	out->due_s = (int64_t)query_col_id(q, 5);
	out->until_s = (int64_t)query_col_id(q, 6);
	out->tries = read_u32(q, 7);
	out->asked_ms = (int64_t)query_col_id(q, 8);
	read_text(q, 9, out->note, sizeof(out->note));
}

static void
read_totals(struct query *q, struct spool_report *out)
{
	out->totals = query_col_blob(q, 10, SPOOL_REPORT_TOTALS_MAX,
		&out->totals_len);
	if (out->totals == NULL)
		query_damaged(q, 10);
}

static enum status
collect(struct query *q, bool totals, struct spool_report *out, size_t max,
	size_t *count_out)
{
	size_t count = 0;

	while (count < max && query_step(q)) {
		read_row(q, &out[count]);
		if (totals)
			read_totals(q, &out[count]);
		count++;
	}
	*count_out = count;
	if (query_end(q) != ST_OK) {
		spool_report_clear_all(out, count);
		*count_out = 0;
	}
	return q->st;
}

static enum status
one(struct query *q, struct spool_report *out)
{
	size_t count = 0;
	enum status st;

	memset(out, 0, sizeof(*out));
	st = collect(q, true, out, 1, &count);
	return st != ST_OK || count > 0 ? st : ST_NOENT;
}

enum status
spool_report_get(struct spool *s, int64_t day_s, const char *domain,
	unsigned part, struct spool_report *out)
{
	struct query q;

	query_start(&q, s, STMT_REPORT_GET);
	query_int(&q, day_s);
	query_text(&q, domain);
	query_int(&q, part);
	return one(&q, out);
}

enum status
spool_report_by_row(struct spool *s, uint64_t row, struct spool_report *out)
{
	struct query q;

	query_start(&q, s, STMT_REPORT_BY_ROW);
	query_id(&q, row);
	return one(&q, out);
}

enum status
spool_report_due(struct spool *s, int64_t now_s, struct spool_report *out,
	size_t max, size_t *count_out)
{
	struct query q;

	query_start(&q, s, STMT_REPORT_DUE);
	query_int(&q, now_s);
	query_limit(&q, max);
	return collect(&q, false, out, max, count_out);
}

enum status
spool_report_next_due(struct spool *s, int64_t *due_s_out)
{
	struct query q;

	*due_s_out = INT64_MAX;
	query_start(&q, s, STMT_REPORT_NEXT_DUE);
	if (query_step(&q))
		*due_s_out = (int64_t)query_col_id(&q, 0);
	return query_end(&q);
}

enum status
spool_report_list(struct spool *s, const struct spool_report_query *query,
	struct spool_report_position *at, struct spool_report *out, size_t max,
	size_t *count_out)
{
	struct query q;
	enum status st;

	query_start(&q, s, query->domain != NULL ? STMT_REPORT_OF :
		query->asked_ms != 0 ? STMT_REPORT_ASKED : STMT_REPORT_LIST);
	query_int(&q, at->day_s);
	query_text(&q, at->domain);
	query_int(&q, at->part);
	query_int(&q, query->from_s);
	query_int(&q, query->to_s);
	query_text(&q, query->domain);
	query_int(&q, query->asked_ms);
	query_limit(&q, max);
	st = collect(&q, true, out, max, count_out);
	if (*count_out > 0) {
		const struct spool_report *last = &out[*count_out - 1];

		at->day_s = last->day_s;
		at->part = (int)last->part;
		(void)str_copy(at->domain, sizeof(at->domain), last->domain);
	}
	return st;
}

enum status
spool_report_range(struct spool *s, const struct spool_report *r,
	int64_t *start_s_out, int64_t *end_s_out)
{
	int64_t end_s = r->day_s + DAY_S - 1, before_s = 0;
	struct query q;

	query_start(&q, s, STMT_REPORT_BEFORE);
	query_int(&q, r->day_s);
	query_text(&q, r->domain);
	query_int(&q, r->part);
	if (query_step(&q))
		before_s = (int64_t)query_col_id(&q, 0);
	*end_s_out = r->part > 0 && r->until_s - DAY_S < end_s ?
		r->until_s - DAY_S : end_s;
	*start_s_out = before_s == 0 ? r->day_s : before_s - DAY_S + 1;
	if (*start_s_out > *end_s_out)	/* asked for in the last second */
		*start_s_out = *end_s_out;
	return query_end(&q);
}

static enum status
ask_sizes(struct spool *s, size_t *rows_out, uint64_t *bytes_out)
{
	struct query q;

	*rows_out = 0;
	*bytes_out = 0;
	query_start(&q, s, STMT_REPORT_SIZES);
	if (query_step(&q)) {
		*rows_out = (size_t)query_col_id(&q, 0);
		*bytes_out = query_col_id(&q, 1);
	}
	return query_end(&q);
}

enum status
spool_report_count(struct spool *s, int64_t day_s, size_t *count_out)
{
	struct query q;

	*count_out = 0;
	query_start(&q, s, STMT_REPORT_COUNT);
	query_int(&q, day_s);
	if (query_step(&q))
		*count_out = (size_t)query_col_id(&q, 0);
	return query_end(&q);
}

/* ---- writing ---- */

static enum status
run_mark(struct spool *s, enum spool_stmt which, const struct spool_report *r)
{
	struct query q;

	query_start(&q, s, which);
	if (r->row != 0)
		query_id(&q, r->row);
	else
		query_text(&q, NULL);
	query_int(&q, r->day_s);
	query_text(&q, r->domain);
	query_int(&q, r->part);
	query_int(&q, (int64_t)r->state);
	query_int(&q, r->due_s);
	query_int(&q, r->until_s);
	query_int(&q, r->tries);
	query_int(&q, r->asked_ms);
	query_text(&q, r->note);
	if (which == STMT_REPORT_PUT)
		query_blob(&q, r->totals, r->totals_len);
	return query_run(&q);
}

enum status
spool_report_put(struct spool *s, struct spool_report *r)
{
	enum status st = spool_need_tx(s);

	if (st != ST_OK)
		return st;
	if (r->totals_len > SPOOL_REPORT_TOTALS_MAX)
		return spool_fail(s, ST_LIMIT, "spool: totals of %zu bytes",
			r->totals_len);
	st = run_mark(s, STMT_REPORT_PUT, r);
	if (st == ST_OK && r->row == 0)
		r->row = (uint64_t)sqlite3_last_insert_rowid(s->db);
	return st;
}

enum status
spool_report_mark(struct spool *s, const struct spool_report *r)
{
	enum status st = spool_need_tx(s);

	return st == ST_OK ? run_mark(s, STMT_REPORT_MARK, r) : st;
}

static enum status
run_ask(struct spool *s, enum spool_stmt which,
	const struct spool_report_ask *ask, uint64_t *count)
{
	struct query q;
	enum status st;

	query_start(&q, s, which);
	query_int(&q, ask->now_ms);
	query_int(&q, ask->today_s);
	query_text(&q, ask->domain);
	query_int(&q, ask->until_s);
	st = query_run(&q);
	if (st == ST_OK)
		*count += (uint64_t)sqlite3_changes64(s->db);
	return st;
}

enum status
spool_report_ask(struct spool *s, const struct spool_report_ask *ask,
	uint64_t *count_out)
{
	enum status st = spool_need_tx(s);
	uint64_t urls = 0;

	*count_out = 0;
	if (st == ST_OK)
		st = run_ask(s, STMT_REPORT_ASK_PAST, ask, count_out);
	if (st == ST_OK && ask->today)
		st = run_ask(s, STMT_REPORT_ASK_TODAY, ask, count_out);
	if (st == ST_OK)
		st = run_ask(s, STMT_REPORT_ASK_RUA, ask, &urls);
	return st;
}

static enum status
delete_row(struct spool *s, uint64_t row)
{
	static const enum spool_stmt both[] = { STMT_RUA_DELETE,
		STMT_REPORT_DELETE };
	enum status st = ST_OK;

	for (size_t i = 0; st == ST_OK && i < 2; i++) {
		struct query q;

		query_start(&q, s, both[i]);
		query_id(&q, row);
		st = query_run(&q);
	}
	return st;
}

/* The oldest row, its day and how long its totals are. */
static enum status
oldest(struct spool *s, uint64_t *row, int64_t *day_s, uint64_t *bytes)
{
	struct query q;

	*row = 0;
	query_start(&q, s, STMT_REPORT_OLDEST);
	if (query_step(&q)) {
		*row = query_col_id(&q, 0);
		*day_s = (int64_t)query_col_id(&q, 1);
		*bytes = query_col_id(&q, 2);
	}
	return query_end(&q);
}

enum status
spool_report_sweep(struct spool *s, const struct spool_report_bounds *b,
	size_t max, size_t *count_out)
{
	enum status st = spool_need_tx(s);
	uint64_t bytes = 0, size = 0, row = 0;
	int64_t day_s = 0;
	size_t rows = 0;

	*count_out = 0;
	if (st == ST_OK)
		st = ask_sizes(s, &rows, &bytes);
	while (st == ST_OK && *count_out < max) {
		st = oldest(s, &row, &day_s, &size);
		if (st != ST_OK || row == 0 || (day_s >= b->before_s &&
		    rows <= b->keep_rows && bytes <= b->keep_bytes))
			break;
		st = delete_row(s, row);
		rows--;
		bytes -= size < bytes ? size : bytes;
		*count_out += 1;
	}
	return st;
}

/* ---- where a report goes ---- */

enum status
spool_rua_put(struct spool *s, const struct spool_rua *r)
{
	struct query q;
	enum status st = spool_need_tx(s);

	if (st != ST_OK)
		return st;
	query_start(&q, s, STMT_RUA_PUT);
	query_id(&q, r->report);
	query_text(&q, r->rua);
	query_int(&q, r->kind);
	query_int(&q, (int64_t)r->state);
	query_int(&q, r->due_s);
	query_int(&q, r->tries);
	query_text(&q, r->note);
	return query_run(&q);
}

static void
read_rua(struct query *q, struct spool_rua *out)
{
	memset(out, 0, sizeof(*out));
	out->report = query_col_id(q, 0);
	read_text(q, 1, out->rua, sizeof(out->rua));
	out->kind = read_u32(q, 2);
	out->state = (enum spool_rua_state)read_u32(q, 3);
	if (out->state > SPOOL_RUA_DROPPED)
		query_damaged(q, 3);
	out->due_s = (int64_t)query_col_id(q, 4);
	out->tries = read_u32(q, 5);
	read_text(q, 6, out->note, sizeof(out->note));
}

enum status
spool_rua_list(struct spool *s, uint64_t report, struct spool_rua *out,
	size_t max, size_t *count_out)
{
	struct query q;
	size_t count = 0;

	query_start(&q, s, STMT_RUA_LIST);
	query_id(&q, report);
	while (count < max && query_step(&q))
		read_rua(&q, &out[count++]);
	*count_out = query_end(&q) == ST_OK ? count : 0;
	return q.st;
}
