/*
 * Cached MTA-STS policies: the table sts_policy; and the last good policy
 * lists: sts_list.  What is within a text is nobody's business here.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "spool/spool_int.h"
#include "spool/sts_store.h"

#define DAY_S 86400
#define LARGE_BYTES 4096	/* hardly any policy has a tenth of it */

void
spool_sts_clear(struct spool_sts *row)
{
	mem_free(&row->text);
	row->text_len = 0;
}

void
spool_sts_clear_all(struct spool_sts *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		spool_sts_clear(&rows[i]);
}

/* ---- reading ---- */

static uint32_t
read_u32(struct query *q, int column)
{
	uint64_t value = query_col_id(q, column);

	return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

/* Columns 0 to 9, in the order of COLUMNS in spool_db.c. */
static void
read_row(struct query *q, struct spool_sts *out)
{
	memset(out, 0, sizeof(*out));
	if (!str_copy(out->domain, sizeof(out->domain), query_col_text(q, 0)))
		query_damaged(q, 0);
	if (!str_copy(out->id, sizeof(out->id), query_col_text(q, 1)))
		query_damaged(q, 1);
	out->fetched_s = (int64_t)query_col_id(q, 2);
	out->expires_s = (int64_t)query_col_id(q, 3);
	out->used_s = (int64_t)query_col_id(q, 4);
	out->tried_s = (int64_t)query_col_id(q, 5);
	out->next_try_s = (int64_t)query_col_id(q, 6);
	out->failures = read_u32(q, 7);
	out->failure = read_u32(q, 8);
	(void)str_copy(out->error, sizeof(out->error), query_col_text(q, 9));
}

static enum status
collect(struct query *q, struct spool_sts *out, size_t max,
	size_t *count_out)
{
	size_t count = 0;

	while (count < max && query_step(q))
		read_row(q, &out[count++]);
	*count_out = query_end(q) == ST_OK ? count : 0;
	return q->st;
}

enum status
spool_sts_get(struct spool *s, const char *domain, struct spool_sts *out)
{
	struct query q;
	bool found;

	memset(out, 0, sizeof(*out));
	query_start(&q, s, STMT_STS_GET);
	query_text(&q, domain);
	found = query_step(&q);
	if (found) {
		read_row(&q, out);
		out->text = query_col_blob(&q, 10, SPOOL_STS_TEXT_MAX,
			&out->text_len);
		/* A text with an id, or neither. */
		if ((out->text != NULL) != (out->id[0] != '\0'))
			query_damaged(&q, 10);
	}
	if (query_end(&q) != ST_OK)
		spool_sts_clear(out);
	return q.st != ST_OK || found ? q.st : ST_NOENT;
}

enum status
spool_sts_list(struct spool *s, const char *after, struct spool_sts *out,
	size_t max, size_t *count_out)
{
	struct query q;

	query_start(&q, s, STMT_STS_LIST);
	query_text(&q, after);
	query_limit(&q, max);
	return collect(&q, out, max, count_out);
}

enum status
spool_sts_due(struct spool *s, const struct spool_sts_due *due,
	struct spool_sts *out, size_t max, size_t *count_out)
{
	struct query q;

	query_start(&q, s, STMT_STS_DUE);
	query_int(&q, due->now_s);
	query_int(&q, due->used_since_s);
	query_int(&q, due->after_expires_s);
	query_text(&q, due->after);
	query_limit(&q, max);
	return collect(&q, out, max, count_out);
}

enum status
spool_sts_count(struct spool *s, size_t *domains_out, uint64_t *bytes_out)
{
	struct query q;

	*domains_out = 0;
	*bytes_out = 0;
	query_start(&q, s, STMT_STS_COUNT);
	if (query_step(&q)) {
		*domains_out = (size_t)query_col_id(&q, 0);
		*bytes_out = query_col_id(&q, 1);
	}
	return query_end(&q);
}

/* ---- writing ---- */

enum status
spool_sts_put(struct spool *s, const struct spool_sts *row)
{
	struct query q;
	enum status st = spool_need_tx(s);

	if (st != ST_OK)
		return st;
	if (row->text_len > SPOOL_STS_TEXT_MAX)
		return spool_fail(s, ST_LIMIT, "spool: a policy of %zu bytes",
			row->text_len);
	query_start(&q, s, STMT_STS_PUT);
	query_text(&q, row->domain);
	query_text(&q, row->text != NULL ? row->id : "");
	query_int(&q, row->fetched_s);
	query_int(&q, row->expires_s);
	query_int(&q, row->used_s);
	query_int(&q, row->tried_s);
	query_int(&q, row->next_try_s);
	query_int(&q, row->failures);
	query_int(&q, row->failure);
	query_text(&q, row->error);
	if (row->text != NULL)
		query_blob(&q, row->text, row->text_len);
	else
		query_text(&q, NULL);
	return query_run(&q);
}

static enum status
delete(struct spool *s, const char *domain)
{
	struct query q;

	query_start(&q, s, STMT_STS_DELETE);
	query_text(&q, domain);
	return query_run(&q);
}

enum status
spool_sts_forget(struct spool *s, const char *domain)
{
	enum status st = spool_need_tx(s);

	if (st == ST_OK)
		st = delete(s, domain);
	return st != ST_OK || sqlite3_changes64(s->db) > 0 ? st : ST_NOENT;
}

static enum status
delete_all(struct spool *s, const struct spool_sts *rows, size_t count)
{
	enum status st = ST_OK;

	for (size_t i = 0; st == ST_OK && i < count; i++)
		st = delete(s, rows[i].domain);
	return st;
}

/* Whoever makes us ask for many domains, even with policies of their own, must
 * not push out what protects others: so first those without a policy in force,
 * then large texts, which nobody needs; and last the half that has been here
 * for longest, as far as it is used (rows are numbered as domains come). */
static enum status
sweep_excess(struct spool *s, const struct spool_sts_bounds *b,
	struct spool_sts *out, size_t max, size_t *count_out)
{
	size_t domains, count = 0;
	uint64_t bytes;
	enum status st = spool_sts_count(s, &domains, &bytes);
	struct query q;

	*count_out = 0;
	if (st != ST_OK ||
	    (domains <= b->keep_domains && bytes <= b->keep_bytes))
		return st;
	query_start(&q, s, STMT_STS_EXCESS);
	query_int(&q, b->now_s);
	query_int(&q, LARGE_BYTES);
	query_int(&q, b->used_since_s);
	query_limit(&q, b->keep_domains / 2);
	query_limit(&q, max);
	while (count < max && (domains > b->keep_domains ||
	    bytes > b->keep_bytes) && query_step(&q)) {
		uint64_t size = query_col_id(&q, 10);

		read_row(&q, &out[count++]);
		domains--;
		bytes -= size < bytes ? size : bytes;
	}
	st = query_end(&q);
	if (st == ST_OK)
		*count_out = count;
	return st == ST_OK ? delete_all(s, out, count) : st;
}

enum status
spool_sts_sweep(struct spool *s, const struct spool_sts_bounds *b,
	struct spool_sts *out, size_t max, size_t *count_out)
{
	enum status st = spool_need_tx(s);
	size_t excess = 0;
	struct query q;

	*count_out = 0;
	if (st != ST_OK)
		return st;
	query_start(&q, s, STMT_STS_STALE);
	query_int(&q, b->stale_s);
	/* A failure is remembered beyond its wait, so that waits grow. */
	query_int(&q, b->now_s > DAY_S ? b->now_s - DAY_S : 0);
	query_limit(&q, max);
	st = collect(&q, out, max, count_out);
	if (st == ST_OK)
		st = delete_all(s, out, *count_out);
	if (st == ST_OK && *count_out < max)
		st = sweep_excess(s, b, out + *count_out, max - *count_out,
			&excess);
	*count_out = st == ST_OK ? *count_out + excess : 0;
	return st;
}

/* ---- lists ---- */

enum status
spool_sts_list_put(struct spool *s, const char *path, const char *text,
	size_t len)
{
	struct query q;
	enum status st = spool_need_tx(s);

	if (st != ST_OK)
		return st;
	if (len > SPOOL_STS_LIST_MAX)
		return spool_fail(s, ST_LIMIT, "spool: a list of %zu bytes",
			len);
	query_start(&q, s, STMT_STS_LIST_PUT);
	query_text(&q, path);
	query_blob(&q, text, len);
	return query_run(&q);
}

enum status
spool_sts_list_get(struct spool *s, const char *path, char **text_out,
	size_t *len_out)
{
	struct query q;
	bool found;

	*text_out = NULL;
	*len_out = 0;
	query_start(&q, s, STMT_STS_LIST_GET);
	query_text(&q, path);
	found = query_step(&q);
	if (found) {
		*text_out = query_col_blob(&q, 0, SPOOL_STS_LIST_MAX, len_out);
		if (*text_out == NULL)
			query_damaged(&q, 0);
	}
	if (query_end(&q) != ST_OK)
		mem_free(text_out);
	return q.st != ST_OK || found ? q.st : ST_NOENT;
}

static bool
is_one_of(const char *path, char *const *paths, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(path, paths[i]) == 0)
			return true;
	return false;
}

static enum status
list_delete(struct spool *s, const char *path)
{
	struct query q;

	query_start(&q, s, STMT_STS_LIST_DELETE);
	query_text(&q, path);
	return query_run(&q);
}

/* The next path that is not wanted, owned; NULL: none. */
static char *
unwanted(struct spool *s, char *const *paths, size_t count, enum status *st)
{
	char *path = NULL;
	struct query q;

	query_start(&q, s, STMT_STS_LIST_PATHS);
	while (path == NULL && query_step(&q)) {
		const char *text = query_col_text(&q, 0);

		if (q.st == ST_OK && !is_one_of(text, paths, count))
			path = xstrdup(text);
	}
	*st = query_end(&q);
	return path;
}

enum status
spool_sts_list_keep(struct spool *s, char *const *paths, size_t count)
{
	enum status st = spool_need_tx(s);
	char *path;

	while (st == ST_OK &&
	    (path = unwanted(s, paths, count, &st)) != NULL) {
		if (st == ST_OK)
			st = list_delete(s, path);
		free(path);
	}
	return st;
}
