/*
 * What the operator sees and does: lists, actions on what matches a filter,
 * and counts.  One walk over the rows serves lists and actions; it goes page
 * by page, so memory and time of a call are bounded.
 */
#include "config.h"

#include <string.h>

#include "base/str.h"
#include "spool/spool_int.h"

#define SCAN_MAX 2000		/* rows looked at by one call of spool_list */
#define SLICE_MAX 500		/* the same for an action, at most */
#define SLICE_ROWS 8		/* for each delivery that it may change */
#define BATCH 64		/* deliveries per round of an action */
#define BATCH_MAX SLICE_MAX

struct walk {
	struct query q;
	const struct spool_filter *filter;
	struct spool_row row;
};

/* Rows in the order of ids, messages after message_after, of which deliveries
 * after delivery_after. */
static void
walk_start(struct walk *w, struct spool *s, const struct spool_filter *filter,
	uint64_t message_after, uint64_t delivery_after)
{
	bool exact = filter->destination != NULL &&
		filter->destination[0] != '.';

	memset(&w->row, 0, sizeof(w->row));
	w->filter = filter;
	if (filter->message_id > 0 && message_after < filter->message_id - 1)
		message_after = filter->message_id - 1;
	if (delivery_after < message_after)
		delivery_after = message_after;
	query_start(&w->q, s, exact ? STMT_WALK_DESTINATION : STMT_WALK_ALL);
	query_id(&w->q, message_after);
	query_id(&w->q, delivery_after);
	if (exact)
		query_text(&w->q, filter->destination);
}

static bool
walk_step(struct walk *w)
{
	struct spool_row *row = &w->row;
	struct query *q = &w->q;
	int at = SPOOL_DELIVERY_COLUMNS;

	if (!query_step(q))
		return false;
	spool_delivery_read(q, 0, &row->delivery);
	row->rcpt_id = query_col_id(q, at);
	row->size_bytes = query_col_id(q, at + 1);
	row->flags = (unsigned)query_col_id(q, at + 2);
	row->sender = query_col_text(q, at + 3);
	row->rcpt = query_col_text(q, at + 4);
	row->text = query_col_text(q, at + 5);
	return q->st == ST_OK && (w->filter->message_id == 0 ||
		row->delivery.message_id <= w->filter->message_id);
}

static bool
destination_matches(const char *pattern, const char *destination)
{
	size_t tail = strlen(pattern), len = strlen(destination);

	if (pattern[0] != '.')
		return strcmp(pattern, destination) == 0;
	return len > tail && strcmp(destination + len - tail, pattern) == 0;
}

static bool
walk_matches(const struct walk *w)
{
	const struct spool_filter *f = w->filter;
	const struct spool_row *row = &w->row;
	const struct spool_delivery *d = &row->delivery;

	if (f->destination != NULL &&
	    !destination_matches(f->destination, d->destination))
		return false;
	if (f->sender != NULL && strcmp(f->sender, row->sender) != 0)
		return false;
	if (f->rcpt != NULL && strcmp(f->rcpt, row->rcpt) != 0)
		return false;
	if (f->older_than_ms != 0 && d->received_ms >= f->older_than_ms)
		return false;
	return f->held < 0 || (f->held != 0) == d->held;
}

enum status
spool_list(struct spool *s, const struct spool_filter *filter, uint64_t *after,
	size_t max, spool_row_cb *cb, void *arg, bool *more_out)
{
	struct walk w;
	size_t given = 0, scanned = 0;
	uint64_t last_given = 0;

	*more_out = false;
	walk_start(&w, s, filter, *after, 0);
	while (walk_step(&w)) {
		uint64_t id = w.row.delivery.message_id;

		/* Only between messages, so that *after says it all. */
		if (id != *after && (given >= max || scanned >= SCAN_MAX)) {
			*more_out = true;
			break;
		}
		*after = id;
		scanned++;
		if (!walk_matches(&w))
			continue;
		given += id != last_given;
		last_given = id;
		cb(&w.row, arg);
	}
	return query_end(&w.q);
}

/* ---- actions ---- */

struct match {
	uint64_t id, message_id;	/* delivery, and its message */
	bool held;
};

struct act {
	struct spool *s;
	const struct spool_filter *filter;
	int64_t now_ms;
	struct spool_walk at;		/* looked at last */
	struct match matches[BATCH_MAX];
	size_t count, max;
	bool more;
};

static size_t
batch_of(const struct spool_walk *at)
{
	if (at->max == 0)
		return BATCH;
	return at->max > BATCH_MAX ? BATCH_MAX : (size_t)at->max;
}

/* The next deliveries that match.  The query ends before anything is
 * changed. */
static enum status
act_collect(struct act *a)
{
	size_t scanned = 0, rows = a->max * SLICE_ROWS;
	struct walk w;

	if (rows > SLICE_MAX)
		rows = SLICE_MAX;
	a->count = 0;
	a->more = false;
	walk_start(&w, a->s, a->filter, a->at.message_from == 0 ? 0 :
		a->at.message_from - 1, a->at.delivery_after);
	while (walk_step(&w)) {
		const struct spool_delivery *d = &w.row.delivery;

		if (d->id != a->at.delivery_after && (a->count == a->max ||
		    scanned++ >= rows)) {
			a->more = true;
			break;
		}
		a->at.message_from = d->message_id;
		a->at.delivery_after = d->id;
		if (walk_matches(&w) && (a->count == 0 ||
		    a->matches[a->count - 1].id != d->id))
			a->matches[a->count++] = (struct match){
				.id = d->id, .message_id = d->message_id,
				.held = d->held };
	}
	return query_end(&w.q);
}

/* The destination of a delivery, for spool_touch(). */
static enum status
touch(struct act *a, const struct match *m, int held)
{
	struct spool_brief d;
	enum status st = spool_brief(a->s, m->id, &d);

	if (st == ST_OK)
		spool_touch(a->s, d.destination, 0, held);
	return st;
}

static enum status
act_flush(struct act *a, const struct match *m)
{
	struct spool_brief d;
	enum status st = spool_brief(a->s, m->id, &d);
	struct query q;

	/* Also what waits because its destination was down. */
	if (st == ST_OK)
		st = spool_destination_wait(a->s, d.destination, 0);
	if (st != ST_OK)
		return st;
	query_start(&q, a->s, STMT_FLUSH);
	query_id(&q, m->id);
	query_int(&q, a->now_ms);
	return query_run(&q);
}

static enum status
set_held(struct act *a, const struct match *m, bool held)
{
	enum status st;
	struct query q;

	if (m->held == held)
		return ST_OK;
	st = touch(a, m, held ? 1 : -1);
	if (st != ST_OK)
		return st;
	query_start(&q, a->s, STMT_SET_HELD);
	query_id(&q, m->id);
	query_int(&q, held);
	a->s->totals.held += held ? 1 : -1;
	a->s->totals_dirty = true;
	return query_run(&q);
}

static enum status
act_hold(struct act *a, const struct match *m)
{
	return set_held(a, m, true);
}

static enum status
act_release(struct act *a, const struct match *m)
{
	return set_held(a, m, false);
}

static enum status
act_remove(struct act *a, const struct match *m)
{
	bool one = a->filter->rcpt != NULL;
	struct query q;

	query_start(&q, a->s, one ? STMT_RCPT_DELETE_ADDRESS :
		STMT_RCPT_DELETE_ALL);
	query_id(&q, m->id);
	if (one)
		query_text(&q, a->filter->rcpt);
	if (query_run(&q) != ST_OK)
		return q.st;
	a->s->totals.recipients -= sqlite3_changes64(a->s->db);
	a->s->totals_dirty = true;
	return spool_delivery_prune(a->s, m->id);
}

enum status
spool_act_slice(struct spool *s, const struct spool_filter *filter,
	enum spool_action action, int64_t now_ms, struct spool_walk *at,
	uint64_t *count_out, bool *more_out)
{
	static enum status (*const actions[])(struct act *,
		const struct match *) = {
		[SPOOL_FLUSH] = act_flush,
		[SPOOL_HOLD] = act_hold,
		[SPOOL_RELEASE] = act_release,
		[SPOOL_REMOVE] = act_remove,
	};
	struct act a = { .s = s, .filter = filter, .now_ms = now_ms,
		.at = *at, .max = batch_of(at) };
	enum status st = spool_need_tx(s);

	if (st == ST_OK)
		st = act_collect(&a);
	for (size_t i = 0; st == ST_OK && i < a.count; i++)
		st = actions[action](&a, &a.matches[i]);
	*count_out += a.count;
	*more_out = a.more;
	*at = a.at;
	spool_step(s, "acted");
	return st;
}

enum status
spool_act(struct spool *s, const struct spool_filter *filter,
	enum spool_action action, int64_t now_ms, uint64_t *count_out)
{
	struct spool_walk at = { 0 };
	enum status st = ST_OK;
	bool more = true;

	*count_out = 0;
	while (st == ST_OK && more)
		st = spool_act_slice(s, filter, action, now_ms, &at, count_out,
			&more);
	return st;
}

enum status
spool_set_flags(struct spool *s, const struct spool_filter *filter,
	unsigned clear, unsigned set, struct spool_walk *at,
	uint64_t *count_out, bool *more_out)
{
	struct act a = { .s = s, .filter = filter, .at = *at,
		.max = batch_of(at) };
	uint64_t last = at->flagged;
	enum status st = spool_need_tx(s);

	if (st == ST_OK)
		st = act_collect(&a);
	for (size_t i = 0; st == ST_OK && i < a.count; i++) {
		struct query q;

		if (a.matches[i].message_id == last)
			continue;
		last = a.matches[i].message_id;
		query_start(&q, s, STMT_SET_FLAGS);
		query_id(&q, last);
		query_int(&q, clear);
		query_int(&q, set);
		st = query_run(&q);
		(*count_out)++;
	}
	*at = a.at;
	at->flagged = last;
	*more_out = a.more;
	spool_step(s, "flagged");
	return st;
}

/* ---- counts ---- */

static enum status
oldest_received(struct spool *s, int64_t *ms_out)
{
	struct query q;

	query_start(&q, s, STMT_MESSAGE_FIRST);
	*ms_out = query_step(&q) ? query_col(&q, 0) : 0;
	return query_end(&q);
}

enum status
spool_stats(struct spool *s, int64_t now_ms, struct spool_stats *out)
{
	const struct spool_totals *t = &s->totals;
	struct query q;

	*out = (struct spool_stats){
		.messages = (uint64_t)t->messages,
		.deliveries = (uint64_t)t->deliveries,
		.recipients = (uint64_t)t->recipients,
		.held = (uint64_t)t->held,
		.bytes = (uint64_t)t->bytes,
	};
	query_start(&q, s, STMT_DUE_COUNT);
	query_int(&q, now_ms);
	query_int(&q, SPOOL_DUE_COUNT_MAX);
	if (query_step(&q))
		out->due = query_col_id(&q, 0);
	if (query_end(&q) != ST_OK)
		return q.st;
	return oldest_received(s, &out->oldest_received_ms);
}

static void
dest_read(struct query *q, struct spool_dest_stats *out)
{
	(void)str_copy(out->destination, sizeof(out->destination),
		query_col_text(q, 0));
	out->deliveries = query_col_id(q, 1);
	out->held = query_col_id(q, 2);
	out->wait_ms = query_col(q, 3);
}

enum status
spool_top_destinations(struct spool *s, struct spool_dest_stats *out,
	size_t max, size_t *count_out)
{
	struct query q;
	size_t count = 0;

	*count_out = 0;
	query_start(&q, s, STMT_TOP);
	query_int(&q, max > INT32_MAX ? INT32_MAX : (int64_t)max);
	while (count < max && query_step(&q))
		dest_read(&q, &out[count++]);
	if (query_end(&q) != ST_OK)
		return q.st;
	for (size_t i = 0; i < count; i++) {
		query_start(&q, s, STMT_TOP_OLDEST);
		query_text(&q, out[i].destination);
		out[i].oldest_received_ms = query_step(&q) ?
			query_col(&q, 0) : 0;
		if (query_end(&q) != ST_OK)
			return q.st;
	}
	*count_out = count;
	return ST_OK;
}

enum status
spool_destination(struct spool *s, const char *destination,
	struct spool_dest_stats *out)
{
	struct query q;
	bool there;

	query_start(&q, s, STMT_DEST_ONE);
	query_text(&q, destination);
	there = query_step(&q);
	if (there) {
		dest_read(&q, out);
		out->oldest_received_ms = query_col(&q, 4);
	}
	if (query_end(&q) != ST_OK)
		return q.st;
	return there ? ST_OK : ST_NOENT;
}
