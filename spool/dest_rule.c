/*
 * The table destination_rule.
 */
#include "config.h"

#include "base/str.h"
#include "spool/dest_rule.h"
#include "spool/spool_int.h"

enum status
spool_dest_rule_put(struct spool *s, const struct spool_dest_rule *r)
{
	const struct conf_bounds *b = &r->bounds;
	bool empty = !r->paused && b->connections == 0 && b->recipients == 0 &&
		b->rate.count == 0;
	enum status st = spool_need_tx(s);
	struct query q;

	if (st != ST_OK)
		return st;
	query_start(&q, s, empty ? STMT_RULE_DELETE : STMT_RULE_PUT);
	query_int(&q, r->host);
	query_text(&q, r->name);
	if (!empty) {
		query_int(&q, r->paused);
		query_int(&q, b->connections);
		query_int(&q, b->recipients);
		query_int(&q, b->rate.count);
		query_int(&q, b->rate.per_ms);
	}
	return query_run(&q);
}

/* One value that cannot be must not end every pause: 0 is no limit. */
static unsigned
small_col(struct query *q, int column)
{
	int64_t value = query_col(q, column);

	return value < 0 ? 0 : value > UINT32_MAX ? UINT32_MAX :
		(unsigned)value;
}

enum status
spool_dest_rules(struct spool *s, struct spool_dest_rule *out, size_t max,
	size_t *count_out)
{
	size_t n = 0;
	struct query q;

	query_start(&q, s, STMT_RULE_LIST);
	query_int(&q, (int64_t)max);
	for (; n < max && query_step(&q); n++) {
		struct spool_dest_rule *r = &out[n];

		*r = (struct spool_dest_rule){ .host = query_col(&q, 0) != 0 };
		(void)str_copy(r->name, sizeof(r->name),
			query_col_text(&q, 1));
		r->paused = query_col(&q, 2) != 0;
		r->bounds.connections = small_col(&q, 3);
		r->bounds.recipients = small_col(&q, 4);
		r->bounds.rate.count = small_col(&q, 5);
		r->bounds.rate.per_ms = query_col(&q, 6);
		if (r->bounds.rate.per_ms < 1 ||
		    r->bounds.rate.per_ms > CONF_RATE_MS_MAX)
			r->bounds.rate = (struct conf_rate){ .count = 0 };
	}
	*count_out = query_end(&q) == ST_OK ? n : 0;
	return q.st;
}
