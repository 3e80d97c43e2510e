/*
 * What the files of the spool share among themselves and with their tests.
 * Nobody else includes this.
 */
#ifndef SPOOL_SPOOL_INT_H
#define SPOOL_SPOOL_INT_H

#include <sqlite3.h>
#include <sys/queue.h>

#include "base/slice.h"
#include "spool/spool_lane.h"
#include "spool/spool_stmt.h"

#define SPOOL_APPLICATION_ID 0x536d4f75		/* "SmOu" */
#define SPOOL_DB_NAME "queue.db"
#define SPOOL_LOCK_NAME "lock"
#define SPOOL_BODY_DIR "body"
#define SPOOL_PAGE_BYTES 8192
#define SPOOL_ERROR_MAX 512
#define SPOOL_FILE_NAME_MAX 32

/* Kept in one row; written once per transaction. */
struct spool_totals {
	int64_t last_id;	/* highest id ever given (high-water mark) */
	int64_t messages, deliveries, recipients, held, bytes;
};

/* A body file that the open transaction renamed or will unlink. */
struct spool_file_op {
	uint64_t id;		/* body/<id> */
	uint64_t token;		/* body/tmp-<token>; 0 for a removal */
};

struct spool_file_ops {
	struct spool_file_op *list;
	size_t count, cap;
};

/* Removed body files whose room is given back part by part. */
#define SPOOL_ROOM_MAX 64

struct spool_room_file {
	int fd;
	bool alone;		/* nobody else has it open */
	unsigned asked;		/* ... so often it was asked in vain */
};

struct spool_room {
	struct spool_room_file files[SPOOL_ROOM_MAX];
	size_t count, at;
};

struct spool {
	sqlite3 *db;
	sqlite3_stmt *stmts[STMT_COUNT];
	char *dir;
	int dir_fd, body_fd, lock_fd;
	struct spool_options opt;
	bool tx_open;
	bool was_full;		/* the last failure was a full disk */
	bool reserve_held;	/* else no mail is added */
	bool broken;		/* an fsync failed: trust nothing */
	bool totals_dirty;
	bool commit_failed;	/* the log may hold the transaction */
	int wal_pages;		/* written since the last checkpoint */
	struct slice log_slice;	/* of these, before a checkpoint */
	struct slice free_slice;	/* pages given back at once */
	uint64_t free_bytes;	/* of the file system, as of free_at_ms */
	int64_t free_at_ms;
	uint64_t last_token;
	struct spool_totals totals, committed;
	struct spool_file_ops added, removed;
	struct spool_room room;
	struct table *touched;	/* destinations, by the open transaction */
	TAILQ_HEAD(, touch) touches;
	char error[SPOOL_ERROR_MAX];
};

int64_t spool_now_ms(const struct spool *);
/* The spool was opened completely before. */
bool spool_has_marker(const struct spool *);
/* Tells the test hook, when there is one, that a step was reached. */
void spool_step(const struct spool *, const char *name);

/* ---- spool_db.c: one failure place, one statement in use ---- */

/* Records a sentence and returns the status. */
enum status spool_fail(struct spool *, enum status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
enum status spool_fail_errno(struct spool *, const char *what,
	const char *name);
enum status spool_fail_db(struct spool *, int rc, const char *what);
/* Unprepared SQL without results, for opening. */
enum status spool_exec(struct spool *, const char *sql) MUST_CHECK;
void spool_finalize(struct spool *);
const char *spool_stmt_sql(enum spool_stmt);	/* for tests */

/*
 * A statement in use.  Values are bound in order; the first fault sticks and
 * every later call does nothing; query_end() tells.
 */
struct query {
	struct spool *s;
	sqlite3_stmt *stmt;
	enum spool_stmt which;
	enum status st;
	int bound;
};

void query_start(struct query *, struct spool *, enum spool_stmt);
void query_int(struct query *, int64_t);
void query_limit(struct query *, size_t max_rows);	/* of LIMIT ? */
void query_id(struct query *, uint64_t);
void query_null(struct query *);
void query_text(struct query *, const char *);	/* NULL is NULL */
void query_blob(struct query *, const void *, size_t);
bool query_step(struct query *);		/* true: a row is there */
enum status query_end(struct query *) MUST_CHECK;
enum status query_run(struct query *) MUST_CHECK;	/* step, end */
/* Columns.  A value of the wrong kind is damage: ST_CORRUPT. */
int64_t query_col(struct query *, int column);
uint64_t query_col_id(struct query *, int column);
const char *query_col_text(struct query *, int column);
const char *query_col_text_null(struct query *, int column);
/* Owned bytes with a NUL behind them; NULL for NULL.  More is damage. */
char *query_col_blob(struct query *, int column, size_t max, size_t *len_out);
/* The caller found a value that cannot be: ST_CORRUPT. */
void query_damaged(struct query *, int column);

/* ---- spool_schema.c ---- */

struct spool_migration {
	const char *sql;	/* from version `index` to `index` + 1 */
};
const struct spool_migration *spool_migrations(int *count_out);
enum status spool_schema_open(struct spool *) MUST_CHECK;
enum status spool_migrate(struct spool *, const struct spool_migration *,
	int count) MUST_CHECK;
enum status spool_totals_load(struct spool *) MUST_CHECK;

/* ---- spool_body.c ---- */

void spool_body_name(uint64_t id, char out[SPOOL_FILE_NAME_MAX]);
/* Checks size and kind; changes nothing. */
enum status spool_body_file_check(struct spool *, uint64_t token,
	uint64_t size_bytes) MUST_CHECK;
enum status spool_body_file_take(struct spool *, uint64_t token, uint64_t id)
	MUST_CHECK;
void spool_body_file_remove(struct spool *, uint64_t id);
enum status spool_body_files_sync(struct spool *) MUST_CHECK;
void spool_body_files_committed(struct spool *);
/* names_free: no row can come back that names the files. */
void spool_body_files_rolled_back(struct spool *, bool names_free);
enum status spool_body_sweep(struct spool *) MUST_CHECK;
/* ST_CORRUPT when bodies of messages are there (and no database is). */
enum status spool_body_check_none(struct spool *) MUST_CHECK;
enum status spool_body_file_open(struct spool *, uint64_t id,
	uint64_t size_bytes, int *fd_out) MUST_CHECK;

/* ---- spool_room.c ---- */

/* Removes a file of body/ and keeps its room to be given back. */
void spool_room_remove(struct spool *, const char *name);
void spool_room_clear(struct spool *);

/* ---- spool_reserve.c ---- */

void spool_reserve_release(struct spool *);
enum status spool_reserve_take(struct spool *) MUST_CHECK;
enum status spool_reserve_open(struct spool *) MUST_CHECK;

/* ---- spool_lane.c: what the open transaction does to a destination ---- */

void spool_touch_added(struct spool *, const char *destination,
	int64_t next_ms);
/* Anything else: changes of its counts, and of what is due when. */
void spool_touch(struct spool *, const char *destination, int deliveries,
	int held);
enum status spool_touch_save(struct spool *) MUST_CHECK;
void spool_touch_clear(struct spool *);

/* ---- shared by message, work and list ---- */

struct spool_brief {
	uint64_t message_id;
	bool held;
	char destination[256];
};
/* ST_NOENT when it is gone. */
enum status spool_brief(struct spool *, uint64_t delivery_id,
	struct spool_brief *out) MUST_CHECK;

enum status spool_need_tx(struct spool *) MUST_CHECK;
/* Reads the columns of a delivery, starting at the given one. */
#define SPOOL_DELIVERY_COLUMNS 9
void spool_delivery_read(struct query *, int column,
	struct spool_delivery *out);
/* After recipients of a delivery were removed: removes the delivery without
 * recipients, the message without deliveries, and its body. */
enum status spool_delivery_prune(struct spool *, uint64_t delivery_id)
	MUST_CHECK;

#endif
