/*
 * Destinations: how much each has queued and when it is next due, so that work
 * can be handed out to each in turn without a look at the mail of the others.
 *
 * A lane is the mail of one destination that is new (never tried), or that is
 * tried again.  The row of a destination says when each of its two lanes is
 * next due: exactly what the index delivery_lane has first, but not before
 * wait_ms.  Within a transaction the destinations that it touches are kept in
 * memory; their rows are brought up to date once, just before COMMIT.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/table.h"
#include "spool/spool_int.h"

/* What the open transaction did to a destination. */
struct touch {
	TAILQ_ENTRY(touch) link;
	int64_t deliveries, held;	/* change */
	int64_t added_ms;		/* earliest of what was added */
	bool moved;			/* more than added: ask the index */
	bool wait_set;
	int64_t wait_ms;
	char name[];
};

/* A row; a lane that is never due has INT64_MAX. */
struct row {
	int64_t deliveries, held, wait_ms;
	int64_t due_ms[SPOOL_CLASSES];
	bool there;
};

static struct touch *
touch_of(struct spool *s, const char *name)
{
	size_t len = strlen(name);
	struct touch *t = table_get(s->touched, name, len);

	if (t != NULL)
		return t;
	t = xcalloc(1, sizeof(*t) + len + 1);
	memcpy(t->name, name, len + 1);
	t->added_ms = INT64_MAX;
	table_put(s->touched, name, len, t);
	TAILQ_INSERT_TAIL(&s->touches, t, link);
	return t;
}

void
spool_touch_added(struct spool *s, const char *destination, int64_t next_ms)
{
	struct touch *t = touch_of(s, destination);

	t->deliveries++;
	if (next_ms < t->added_ms)
		t->added_ms = next_ms;
}

void
spool_touch(struct spool *s, const char *destination, int deliveries, int held)
{
	struct touch *t = touch_of(s, destination);

	t->deliveries += deliveries;
	t->held += held;
	t->moved = true;
}

void
spool_touch_clear(struct spool *s)
{
	struct touch *t;

	while ((t = TAILQ_FIRST(&s->touches)) != NULL) {
		TAILQ_REMOVE(&s->touches, t, link);
		(void)table_remove(s->touched, t->name, strlen(t->name));
		free(t);
	}
}

/* ---- the row ---- */

static int64_t
due_col(struct query *q, int column)
{
	return sqlite3_column_type(q->stmt, column) == SQLITE_NULL ?
		INT64_MAX : query_col(q, column);
}

static enum status
row_read(struct spool *s, const char *name, struct row *out)
{
	struct query q;

	*out = (struct row){ .due_ms = { INT64_MAX, INT64_MAX } };
	query_start(&q, s, STMT_DEST_GET);
	query_text(&q, name);
	if (query_step(&q)) {
		out->there = true;
		out->deliveries = query_col(&q, 0);
		out->held = query_col(&q, 1);
		out->wait_ms = query_col(&q, 2);
		out->due_ms[SPOOL_NEW] = due_col(&q, 3);
		out->due_ms[SPOOL_RETRY] = due_col(&q, 4);
	}
	return query_end(&q);
}

static void
query_due(struct query *q, int64_t due_ms)
{
	if (due_ms == INT64_MAX)
		query_null(q);
	else
		query_int(q, due_ms);
}

static enum status
row_write(struct spool *s, const char *name, const struct row *r)
{
	struct query q;

	if (r->deliveries == 0) {
		query_start(&q, s, STMT_DEST_DELETE);
		query_text(&q, name);
		return query_run(&q);
	}
	query_start(&q, s, STMT_DEST_PUT);
	query_text(&q, name);
	query_int(&q, r->deliveries);
	query_int(&q, r->held);
	query_int(&q, r->wait_ms);
	query_due(&q, r->due_ms[SPOOL_NEW]);
	query_due(&q, r->due_ms[SPOOL_RETRY]);
	return query_run(&q);
}

static enum status
lane_first(struct spool *s, const char *name, enum spool_class class,
	int64_t *ms_out)
{
	struct query q;

	*ms_out = INT64_MAX;
	query_start(&q, s, STMT_LANE_FIRST);
	query_text(&q, name);
	query_int(&q, class);
	if (query_step(&q))
		*ms_out = query_col(&q, 0);
	return query_end(&q);
}

static int64_t
not_before(int64_t due_ms, int64_t wait_ms)
{
	return due_ms > wait_ms ? due_ms : wait_ms;
}

static enum status
lanes_ask(struct spool *s, const char *name, struct row *r)
{
	enum status st = ST_OK;

	for (enum spool_class c = 0; st == ST_OK && c < SPOOL_CLASSES; c++) {
		int64_t first_ms;

		st = lane_first(s, name, c, &first_ms);
		r->due_ms[c] = not_before(first_ms, r->wait_ms);
	}
	return st;
}

static enum status
recount(struct spool *s, const char *name, struct row *out)
{
	struct query q;

	query_start(&q, s, STMT_DEST_RECOUNT);
	query_text(&q, name);
	if (query_step(&q)) {
		out->deliveries = query_col(&q, 0);
		out->held = query_col(&q, 1);
	}
	return query_end(&q);
}

/* A row that is lost or wrong must stop no mail: the deliveries count. */
static enum status
recount_ill(struct spool *s, const char *name, struct row *r)
{
	log_error("queue-counts", "destination", name, "action",
		"counted again: they did not agree with the mail", NULL);
	return recount(s, name, r);
}

static enum status
touch_save(struct spool *s, const struct touch *t)
{
	struct row r;
	enum status st = row_read(s, t->name, &r);
	int64_t added_ms;
	bool over, ill;

	if (st != ST_OK)
		return st;
	r.deliveries += t->deliveries;
	r.held += t->held;
	if (!r.there && r.deliveries == 0)
		return ST_OK;
	ill = r.deliveries < 0 || r.held < 0 || r.held > r.deliveries;
	if (ill)
		st = recount_ill(s, t->name, &r);
	if (st != ST_OK)
		return st;
	if (t->wait_set)
		r.wait_ms = t->wait_ms;
	over = r.wait_ms > 0 && r.wait_ms <= spool_now_ms(s);
	if (over)
		r.wait_ms = 0;
	added_ms = not_before(t->added_ms, r.wait_ms);
	if ((t->moved || over || ill) && r.deliveries > 0)
		st = lanes_ask(s, t->name, &r);
	else if (added_ms < r.due_ms[SPOOL_NEW])
		r.due_ms[SPOOL_NEW] = added_ms;
	return st == ST_OK ? row_write(s, t->name, &r) : st;
}

enum status
spool_touch_save(struct spool *s)
{
	enum status st = ST_OK;
	struct touch *t;

	TAILQ_FOREACH(t, &s->touches, link) {
		st = touch_save(s, t);
		if (st != ST_OK)
			return st;
	}
	return st;
}

/* ---- when ---- */

enum status
spool_lanes(struct spool *s, enum spool_class class, int64_t now_ms,
	struct spool_lane *cursor, struct spool_lane *out, size_t max,
	size_t *count_out)
{
	static const enum spool_stmt same[] = { STMT_LANES_NEW_SAME,
		STMT_LANES_RETRY_SAME };
	static const enum spool_stmt later[] = { STMT_LANES_NEW_LATER,
		STMT_LANES_RETRY_LATER };
	size_t n = 0;
	struct query q;

	*count_out = 0;
	for (int step = 0; step < 2 && n < max; step++) {
		if (step == 0 && cursor->due_ms > now_ms)
			continue;
		query_start(&q, s, step == 0 ? same[class] : later[class]);
		query_int(&q, cursor->due_ms);
		if (step == 0)
			query_text(&q, cursor->destination);
		else
			query_int(&q, now_ms);
		query_int(&q, (int64_t)(max - n));
		while (n < max && query_step(&q)) {
			(void)str_copy(out[n].destination,
				sizeof(out[n].destination),
				query_col_text(&q, 0));
			out[n++].due_ms = query_col(&q, 1);
		}
		if (query_end(&q) != ST_OK)
			return q.st;
	}
	*count_out = n;
	if (n > 0)
		*cursor = out[n - 1];
	return ST_OK;
}

enum status
spool_next_lane(struct spool *s, int64_t after_ms, int64_t *next_ms_out)
{
	struct query q;

	*next_ms_out = INT64_MAX;
	query_start(&q, s, STMT_LANES_NEXT);
	query_int(&q, after_ms);
	query_int(&q, INT64_MAX);
	if (query_step(&q))
		*next_ms_out = query_col(&q, 0);
	return query_end(&q);
}

enum status
spool_lane_due(struct spool *s, const char *destination,
	enum spool_class class, int64_t now_ms, struct spool_cursor *cursor,
	struct spool_due *out, size_t max, size_t *count_out)
{
	size_t n = 0;
	struct query q;

	*count_out = 0;
	for (int step = 0; step < 2 && n < max; step++) {
		if (step == 0 && cursor->next_ms > now_ms)
			continue;
		query_start(&q, s, step == 0 ? STMT_DUE_SAME :
			STMT_DUE_LATER);
		query_text(&q, destination);
		query_int(&q, class);
		query_int(&q, cursor->next_ms);
		if (step == 0)
			query_id(&q, cursor->id);
		else
			query_int(&q, now_ms);
		query_int(&q, (int64_t)(max - n));
		for (; n < max && query_step(&q); n++) {
			out[n].id = query_col_id(&q, 0);
			out[n].next_ms = query_col(&q, 1);
		}
		if (query_end(&q) != ST_OK)
			return q.st;
	}
	*count_out = n;
	if (n > 0) {
		cursor->next_ms = out[n - 1].next_ms;
		cursor->id = out[n - 1].id;
	}
	return ST_OK;
}

enum status
spool_lane_next(struct spool *s, const char *destination,
	enum spool_class class, const struct spool_cursor *cursor,
	int64_t *next_ms_out)
{
	struct query q;

	*next_ms_out = INT64_MAX;
	query_start(&q, s, STMT_NEXT_DUE);
	query_text(&q, destination);
	query_int(&q, class);
	query_int(&q, cursor->next_ms);
	query_id(&q, cursor->id);
	query_int(&q, INT64_MAX);
	if (query_step(&q))
		*next_ms_out = query_col(&q, 0);
	return query_end(&q);
}

/* ---- waiting ---- */

enum status
spool_destination_wait(struct spool *s, const char *destination,
	int64_t until_ms)
{
	enum status st = spool_need_tx(s);
	struct touch *t;

	if (st != ST_OK)
		return st;
	t = touch_of(s, destination);
	t->wait_set = t->moved = true;
	t->wait_ms = until_ms;
	return ST_OK;
}

enum status
spool_waiting(struct spool *s, const char *after, struct spool_lane *out,
	size_t max, size_t *count_out)
{
	size_t n = 0;
	struct query q;

	query_start(&q, s, STMT_DEST_WAITING);
	query_text(&q, after);
	query_int(&q, (int64_t)max);
	for (; n < max && query_step(&q); n++) {
		(void)str_copy(out[n].destination, sizeof(out[n].destination),
			query_col_text(&q, 0));
		out[n].due_ms = query_col(&q, 1);
	}
	*count_out = query_end(&q) == ST_OK ? n : 0;
	return q.st;
}

/* ---- a clock that was set back ---- */

#define REWIND_LANES 32

static enum status
rewind_one(struct spool *s, const char *name, enum spool_class class,
	const struct spool_rewind *to)
{
	struct row r;
	enum status st = row_read(s, name, &r);
	struct query q;

	if (st == ST_OK && r.wait_ms > to->limit_ms && r.wait_ms != INT64_MAX)
		st = spool_destination_wait(s, name, 0);
	if (st != ST_OK)
		return st;
	query_start(&q, s, STMT_REWIND);
	query_text(&q, name);
	query_int(&q, class);
	query_int(&q, to->limit_ms);
	query_int(&q, to->now_ms);
	query_int(&q, SPOOL_REWIND_MAX);
	spool_touch(s, name, 0, 0);
	return query_run(&q);
}

enum status
spool_rewind(struct spool *s, const struct spool_rewind *to, bool *found_out)
{
	enum status st = spool_need_tx(s);
	int64_t before = sqlite3_total_changes64(s->db);

	*found_out = false;
	for (enum spool_class c = 0; st == ST_OK && c < SPOOL_CLASSES; c++) {
		struct spool_lane at = { .due_ms = to->limit_ms };
		struct spool_lane found[REWIND_LANES];
		size_t count = 0;

		/* After those of that time exactly, of which there are none. */
		(void)memset(at.destination, 0xff, sizeof(at.destination) - 1);
		st = spool_lanes(s, c, INT64_MAX, &at, found, REWIND_LANES,
			&count);
		*found_out |= count > 0;
		for (size_t i = 0; st == ST_OK && i < count &&
		    sqlite3_total_changes64(s->db) - before <
		    SPOOL_REWIND_MAX; i++)
			st = rewind_one(s, found[i].destination, c, to);
	}
	return st;
}

/* ---- checking ---- */

static enum status
check_one(struct spool *s, const char *name, bool *mended)
{
	struct row is, want;
	enum status st = row_read(s, name, &is);

	want = is;
	if (st == ST_OK && is.deliveries <= SPOOL_RECOUNT_MAX)
		st = recount(s, name, &want);
	if (st == ST_OK)
		st = lanes_ask(s, name, &want);
	if (st != ST_OK || (is.deliveries == want.deliveries &&
	    is.held == want.held &&
	    is.due_ms[SPOOL_NEW] == want.due_ms[SPOOL_NEW] &&
	    is.due_ms[SPOOL_RETRY] == want.due_ms[SPOOL_RETRY]))
		return st;
	*mended = true;
	return row_write(s, name, &want);
}

/* The next destination that has a row or mail; rows without the other are what
 * is looked for. */
static enum status
next_name(struct spool *s, char name[256], size_t *rows, bool *more_out)
{
	char after[256];
	struct query q;

	(void)str_copy(after, sizeof(after), name);
	query_start(&q, s, STMT_DEST_AFTER);
	query_text(&q, after);
	*more_out = query_step(&q);
	if (*more_out) {
		(void)str_copy(name, 256, query_col_text(&q, 0));
		*rows += query_col_id(&q, 1);
	}
	if (query_end(&q) != ST_OK)
		return q.st;
	query_start(&q, s, STMT_MAIL_AFTER);
	query_text(&q, after);
	if (query_step(&q) && (!*more_out ||
	    strcmp(query_col_text(&q, 0), name) < 0)) {
		(void)str_copy(name, 256, query_col_text(&q, 0));
		*more_out = true;
	}
	return query_end(&q);
}

enum status
spool_recheck(struct spool *s, char name[256], size_t max, size_t *mended_out,
	bool *more_out)
{
	enum status st = spool_need_tx(s);
	size_t n = 0, rows = 0;

	*mended_out = 0;
	*more_out = true;
	for (; st == ST_OK && n < max && rows < SPOOL_RECOUNT_MAX; n++) {
		bool mended = false;

		st = next_name(s, name, &rows, more_out);
		if (st != ST_OK || !*more_out)
			break;
		st = check_one(s, name, &mended);
		*mended_out += mended;
	}
	return st;
}
