/*
 * What is remembered of hosts beyond the mail for them: the table host_tls.
 * Bounded by who sweeps it.
 */
#include "config.h"

#include <stdint.h>

#include "base/str.h"
#include "spool/policy_store.h"
#include "spool/spool_int.h"

static void
read_row(struct query *q, struct spool_host_tls *out)
{
	uint64_t level = query_col_id(q, 1);

	(void)str_copy(out->host, sizeof(out->host), query_col_text(q, 0));
	out->level = level > UINT32_MAX ? UINT32_MAX : (unsigned)level;
	out->last_s = query_col(q, 2);
}

static enum status
collect(struct query *q, struct spool_host_tls *out, size_t max,
	size_t *count_out)
{
	size_t count = 0;

	while (count < max && query_step(q))
		read_row(q, &out[count++]);
	*count_out = query_end(q) == ST_OK ? count : 0;
	return q->st;
}

enum status
spool_host_tls_put(struct spool *s, const struct spool_host_tls *h)
{
	struct query q;
	enum status st = spool_need_tx(s);

	if (st != ST_OK)
		return st;
	query_start(&q, s, STMT_HOST_TLS_PUT);
	query_text(&q, h->host);
	query_int(&q, (int64_t)h->level);
	query_int(&q, h->last_s);
	return query_run(&q);
}

enum status
spool_host_tls_get(struct spool *s, const char *host,
	struct spool_host_tls *out)
{
	struct query q;
	size_t count;
	enum status st;

	query_start(&q, s, STMT_HOST_TLS_GET);
	query_text(&q, host);
	st = collect(&q, out, 1, &count);
	return st != ST_OK || count > 0 ? st : ST_NOENT;
}

static enum status
delete(struct spool *s, const char *host)
{
	struct query q;

	query_start(&q, s, STMT_HOST_TLS_DELETE);
	query_text(&q, host);
	return query_run(&q);
}

enum status
spool_host_tls_forget(struct spool *s, const char *host)
{
	enum status st = spool_need_tx(s);

	if (st == ST_OK)
		st = delete(s, host);
	return st != ST_OK || sqlite3_changes64(s->db) > 0 ? st : ST_NOENT;
}

enum status
spool_host_tls_list(struct spool *s, const char *after,
	struct spool_host_tls *out, size_t max, size_t *count_out)
{
	struct query q;

	query_start(&q, s, STMT_HOST_TLS_LIST);
	query_text(&q, after);
	query_limit(&q, max);
	return collect(&q, out, max, count_out);
}

static enum status
count_rows(struct spool *s, size_t *count_out)
{
	struct query q;

	query_start(&q, s, STMT_HOST_TLS_COUNT);
	*count_out = query_step(&q) ? (size_t)query_col_id(&q, 0) : 0;
	return query_end(&q);
}

enum status
spool_host_tls_sweep(struct spool *s, int64_t before_s, size_t keep,
	struct spool_host_tls *out, size_t max, size_t *count_out)
{
	size_t rows = 0, found = 0;
	enum status st = spool_need_tx(s);
	struct query q;

	*count_out = 0;
	if (st == ST_OK)
		st = count_rows(s, &rows);
	if (st != ST_OK)
		return st;
	query_start(&q, s, STMT_HOST_TLS_OLDEST);
	query_limit(&q, max);
	st = collect(&q, out, max, &found);
	for (size_t i = 0; st == ST_OK && i < found; i++) {
		if (out[i].last_s >= before_s && rows <= keep)
			break;
		st = delete(s, out[i].host);
		rows--;
		(*count_out)++;
	}
	return st;
}
