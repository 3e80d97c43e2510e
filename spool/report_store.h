/*
 * TLSRPT (RFC 8460): the totals of each UTC day and recipient domain, and what
 * became of the reports made from them, in the same database and the same
 * transactions as the queue.
 *
 * Totals are opaque here.  A report is a row: of a day, a domain and a part.
 * Part 0 takes what comes in until the day is sent; what is sent before the
 * day is over becomes a part of its own, with numbers from 1.  Where a report
 * goes is in rows of its own, one for each URI, once that is known.
 */
#ifndef SPOOL_REPORT_STORE_H
#define SPOOL_REPORT_STORE_H

#include "spool/spool.h"

#define SPOOL_REPORT_DOMAIN_MAX 256
#define SPOOL_REPORT_NOTE_MAX 256
#define SPOOL_REPORT_RUA_MAX 1024
#define SPOOL_REPORT_TOTALS_MAX (1U << 20)

enum spool_report_state {	/* stored: never renumber */
	SPOOL_REPORT_OPEN = 0,	/* nobody was asked yet where it goes */
	SPOOL_REPORT_SENDING,	/* some of its URIs are not done with */
	SPOOL_REPORT_DONE	/* sent, given up, or for nobody */
};

struct spool_report {
	uint64_t row;			/* 0: not stored yet */
	int64_t day_s;			/* first second */
	char domain[SPOOL_REPORT_DOMAIN_MAX];
	unsigned part;
	enum spool_report_state state;
	int64_t due_s, until_s;		/* next step; given up from then on:
					 * of parts a day after their end */
	uint32_t tries;
	int64_t asked_ms;		/* when the operator asked for it */
	char note[SPOOL_REPORT_NOTE_MAX];	/* what happened last */
	void *totals;			/* owned; NULL when not asked for */
	size_t totals_len;
};
void spool_report_clear(struct spool_report *);
void spool_report_clear_all(struct spool_report *, size_t count);

/* Adds the row (and numbers it), or replaces the one of that number; ST_LIMIT
 * when the totals are too long. */
enum status spool_report_put(struct spool *, struct spool_report *)
	MUST_CHECK;
/* All but the totals, of the row of that number. */
enum status spool_report_mark(struct spool *, const struct spool_report *)
	MUST_CHECK;
/* With totals; ST_NOENT. */
enum status spool_report_get(struct spool *, int64_t day_s,
	const char *domain, unsigned part, struct spool_report *out)
	MUST_CHECK;
enum status spool_report_by_row(struct spool *, uint64_t row,
	struct spool_report *out) MUST_CHECK;

/* Rows that are not done and due, the first due first, without totals. */
enum status spool_report_due(struct spool *, int64_t now_s,
	struct spool_report *out, size_t max, size_t *count_out) MUST_CHECK;
/* When the next one is due; INT64_MAX for never. */
enum status spool_report_next_due(struct spool *, int64_t *due_s_out)
	MUST_CHECK;

/* What the operator wants sent now: of days before today_s the rows that are
 * not done become due; with `today` also those of today_s, as parts of their
 * own.  domain NULL: all.  They are marked with now_ms; tries begin anew. */
struct spool_report_ask {
	int64_t now_ms, today_s;
	bool today;
	const char *domain;
	int64_t until_s;
};
enum status spool_report_ask(struct spool *, const struct spool_report_ask *,
	uint64_t *count_out) MUST_CHECK;

/* The seconds that a row tells of, the first and the last: those of the parts
 * of a day follow each other, and no second is in two of them (as far as there
 * are seconds left in the day). */
enum status spool_report_range(struct spool *, const struct spool_report *,
	int64_t *start_s_out, int64_t *end_s_out) MUST_CHECK;

/* In the order of day, domain, part, with totals, those after the given
 * position. */
struct spool_report_query {
	int64_t from_s, to_s;		/* days, both included */
	const char *domain;		/* NULL: all */
	int64_t asked_ms;		/* 0: all */
};
struct spool_report_position {
	int64_t day_s;
	char domain[SPOOL_REPORT_DOMAIN_MAX];
	int part;
};
/* Begins with {from_s, "", -1} and is moved on. */
enum status spool_report_list(struct spool *,
	const struct spool_report_query *, struct spool_report_position *,
	struct spool_report *out, size_t max, size_t *count_out) MUST_CHECK;

/* Rows of part 0 of a day. */
enum status spool_report_count(struct spool *, int64_t day_s,
	size_t *count_out) MUST_CHECK;

/* Removes, at most max in one call, rows of days before before_s, then the
 * oldest of what is more than keep_rows or keep_bytes of totals. */
struct spool_report_bounds {
	int64_t before_s;
	size_t keep_rows;
	uint64_t keep_bytes;
};
enum status spool_report_sweep(struct spool *,
	const struct spool_report_bounds *, size_t max, size_t *count_out)
	MUST_CHECK;

/* ---- where a report goes ---- */

enum spool_rua_state {		/* stored: never renumber */
	SPOOL_RUA_WAITING = 0,
	SPOOL_RUA_SENT,		/* taken, or in our own queue as mail */
	SPOOL_RUA_DROPPED	/* given up, or never possible */
};

struct spool_rua {
	uint64_t report;		/* row of the report */
	char rua[SPOOL_REPORT_RUA_MAX];
	unsigned kind;			/* means nothing here */
	enum spool_rua_state state;
	int64_t due_s;
	uint32_t tries;
	char note[SPOOL_REPORT_NOTE_MAX];
};

/* Adds it or replaces the one of that report and URI. */
enum status spool_rua_put(struct spool *, const struct spool_rua *)
	MUST_CHECK;
enum status spool_rua_list(struct spool *, uint64_t report,
	struct spool_rua *out, size_t max, size_t *count_out) MUST_CHECK;

#endif
