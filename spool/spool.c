/*
 * Opening and closing the spool, transactions, and housekeeping.  What is
 * kept is in spool_message.c, spool_work.c and spool_list.c.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/table.h"
#include "spool/spool_int.h"

#define URL_PREFIX "sqlite:"
#define MARKER "smtpd-out spool\n"	/* in the lock file once made */
#define WAL_PAGES_MAX 4000		/* checkpoint in commit from here on */
#define WAL_PAGES_FULL 128		/* the same while the disk is full */
#define WAL_PAGES_IDLE 64		/* worth a checkpoint when idle */
/* A checkpoint moves all of the log, and syncs it: how long the log gets
 * before that follows the time that the last one took. */
#define LOG_SLICE { .size = 512, .least = 256, .most = 1000 }
#define FREE_SLICE { .size = 64, .least = 32, .most = 512 }
#define FREE_PAGES_KEPT 1024		/* not given back: reused soon */
#define FREE_PAGES_FULL 16		/* the same while the disk is full */
#define FREE_PAGES_TINY 32		/* at once, while the disk is full */
#define FREE_MS 50			/* for how long free space counts */

int64_t
spool_now_ms(const struct spool *s)
{
	return s->opt.now_ms != NULL ? s->opt.now_ms() : clock_wall_ms();
}

void
spool_step(const struct spool *s, const char *name)
{
	if (s->opt.test_step != NULL)
		s->opt.test_step(name);
}

const char *
spool_error(const struct spool *s)
{
	return s->error;
}

/* ---- opening ---- */

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

/* Makes a new entry of a directory durable. */
static enum status
sync_dir(struct spool *s, int at_fd, const char *name)
{
	int fd = openat(at_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int failed = fd < 0 || fsync(fd) != 0;
	enum status st = failed ? spool_fail_errno(s, "fsync", name) : ST_OK;

	close_fd(&fd);
	return st;
}

static enum status
open_dir(struct spool *s)
{
	struct stat sb;
	bool made = mkdir(s->dir, 0700) == 0;

	if (!made && errno != EEXIST)
		return spool_fail_errno(s, "make directory", ".");
	s->dir_fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir_fd < 0 || fstat(s->dir_fd, &sb) != 0)
		return spool_fail_errno(s, "open directory", ".");
	if ((sb.st_mode & S_IWOTH) != 0)
		return spool_fail(s, ST_DENIED, "spool: %s may be written by "
			"everybody; it must not", s->dir);
	return made ? sync_dir(s, s->dir_fd, "..") : ST_OK;
}

static enum status
take_lock(struct spool *s)
{
	s->lock_fd = openat(s->dir_fd, SPOOL_LOCK_NAME,
		O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock_fd < 0)
		return spool_fail_errno(s, "open", SPOOL_LOCK_NAME);
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return ST_OK;
	if (errno == EWOULDBLOCK)
		return spool_fail(s, ST_DENIED, "spool: %s is in use by "
			"another process", s->dir);
	return spool_fail_errno(s, "lock", SPOOL_LOCK_NAME);
}

static enum status
open_body_dir(struct spool *s)
{
	bool made = mkdirat(s->dir_fd, SPOOL_BODY_DIR, 0700) == 0;

	if (!made && errno != EEXIST)
		return spool_fail_errno(s, "make directory", SPOOL_BODY_DIR);
	s->body_fd = openat(s->dir_fd, SPOOL_BODY_DIR,
		O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (s->body_fd < 0)
		return spool_fail_errno(s, "open directory", SPOOL_BODY_DIR);
	return made ? sync_dir(s, s->dir_fd, ".") : ST_OK;
}

bool
spool_has_marker(const struct spool *s)
{
	struct stat sb;

	return fstat(s->lock_fd, &sb) == 0 && sb.st_size > 0;
}

/* With an empty log the file alone must hold every page that its header
 * promises; SQLite would read a cut last page as zeroes. */
static enum status
check_length(struct spool *s, int64_t size_bytes)
{
	unsigned char h[32] = { 0 };
	int64_t pages, page_bytes;
	struct stat sb;
	int fd;

	if (fstatat(s->dir_fd, SPOOL_DB_NAME "-wal", &sb, 0) == 0 &&
	    sb.st_size > 0)
		return ST_OK;
	fd = openat(s->dir_fd, SPOOL_DB_NAME, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, h, sizeof(h), 0) < 0) {
		enum status st = spool_fail_errno(s, "read", SPOOL_DB_NAME);

		close_fd(&fd);
		return st;
	}
	close_fd(&fd);
	page_bytes = h[16] << 8 | h[17];
	pages = (int64_t)h[28] << 24 | h[29] << 16 | h[30] << 8 | h[31];
	if (size_bytes < pages * page_bytes)
		return spool_fail(s, ST_CORRUPT, "spool: DAMAGED: %s/%s was "
			"cut to %lld of %lld bytes", s->dir, SPOOL_DB_NAME,
			(long long)size_bytes,
			(long long)(pages * page_bytes));
	return ST_OK;
}

/* A lost database must never look like an empty queue. */
static enum status
check_present(struct spool *s)
{
	struct stat sb;

	if (fstatat(s->dir_fd, SPOOL_DB_NAME, &sb, 0) == 0) {
		if (sb.st_size > 0)
			return check_length(s, sb.st_size);
	} else if (errno != ENOENT) {
		return spool_fail_errno(s, "look at", SPOOL_DB_NAME);
	}
	if (spool_has_marker(s))
		return spool_fail(s, ST_CORRUPT, "spool: DAMAGED: %s/%s is "
			"missing or empty; restore it, or move the directory "
			"away to begin anew", s->dir, SPOOL_DB_NAME);
	return spool_body_check_none(s);
}

static enum status
write_marker(struct spool *s)
{
	ssize_t n;

	if (spool_has_marker(s))
		return ST_OK;
	n = pwrite(s->lock_fd, MARKER, sizeof(MARKER) - 1, 0);
	if (n != (ssize_t)(sizeof(MARKER) - 1) || fsync(s->lock_fd) != 0)
		return spool_fail_errno(s, "write", SPOOL_LOCK_NAME);
	return sync_dir(s, s->dir_fd, ".");
}

static int
on_wal(void *arg, sqlite3 *db, const char *name, int pages)
{
	struct spool *s = arg;

	(void)db;
	(void)name;
	s->wal_pages = pages;
	return SQLITE_OK;
}

/* page_size and auto_vacuum count only before the first table is made. */
static const char pragmas[] =
	"PRAGMA page_size = 8192;"
	"PRAGMA auto_vacuum = INCREMENTAL;"
	"PRAGMA locking_mode = EXCLUSIVE;"
	"PRAGMA trusted_schema = OFF;"
	"PRAGMA cell_size_check = ON;"
	"PRAGMA temp_store = MEMORY;"
	/* Debian's library would write every page again that a sent message
	 * leaves behind. */
	"PRAGMA secure_delete = FAST;"
	"PRAGMA cache_size = -8192;"
	"PRAGMA mmap_size = 0;"
	"PRAGMA journal_mode = WAL;"
	"PRAGMA journal_size_limit = 67108864;"
	"PRAGMA synchronous = FULL;";

static enum status
check_wal_mode(struct spool *s)
{
	sqlite3_stmt *stmt = NULL;
	const char *mode = NULL;
	enum status st = ST_OK;

	if (sqlite3_prepare_v2(s->db, "PRAGMA journal_mode", -1, &stmt,
	    NULL) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW)
		mode = (const char *)sqlite3_column_text(stmt, 0);
	if (mode == NULL || strcmp(mode, "wal") != 0)
		st = spool_fail(s, ST_SYS, "spool: %s does not allow a "
			"write-ahead log (network file system?)", s->dir);
	(void)sqlite3_finalize(stmt);
	return st;
}

/* SQLite would make it readable for all; its log takes the same mode. */
static enum status
make_private_file(struct spool *s)
{
	int fd = openat(s->dir_fd, SPOOL_DB_NAME,
		O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return spool_fail_errno(s, "open", SPOOL_DB_NAME);
	close_fd(&fd);
	return ST_OK;
}

static enum status
open_db(struct spool *s)
{
	char *path = xasprintf("%s/%s", s->dir, SPOOL_DB_NAME);
	int rc;
	enum status st;

	/* Nobody asks, and it takes a lock for each piece of memory. */
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	rc = sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE |
		SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
		SQLITE_OPEN_EXRESCODE, NULL);
	free(path);
	if (rc != SQLITE_OK)
		return spool_fail_db(s, rc, "open");
	(void)sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	(void)sqlite3_limit(s->db, SQLITE_LIMIT_ATTACHED, 0);
	(void)sqlite3_busy_timeout(s->db, 0);
	st = spool_exec(s, pragmas);
	if (st == ST_OK)
		st = check_wal_mode(s);
	(void)sqlite3_wal_hook(s->db, on_wal, s);
	return st;
}

static enum status
open_all(struct spool *s)
{
	static enum status (*const steps[])(struct spool *) = {
		open_dir, take_lock, open_body_dir, check_present,
		make_private_file, open_db, spool_schema_open,
		spool_body_sweep, spool_reserve_open, write_marker,
	};
	enum status st = ST_OK;

	for (size_t i = 0; st == ST_OK &&
	    i < sizeof(steps) / sizeof(steps[0]); i++) {
		st = steps[i](s);
		if (st == ST_OK)
			spool_step(s, "open");
	}
	return st;
}

enum status
spool_open(const char *url, const struct spool_options *opt,
	struct spool **out, char *err, size_t err_bytes)
{
	struct spool *s;
	enum status st;

	*out = NULL;
	if (strncmp(url, URL_PREFIX, sizeof(URL_PREFIX) - 1) != 0 ||
	    url[sizeof(URL_PREFIX) - 1] == '\0') {
		(void)snprintf(err, err_bytes, "spool: \"%s\" is not of the "
			"form sqlite:DIRECTORY", url);
		return ST_PARSE;
	}
	s = xcalloc(1, sizeof(*s));
	s->dir = xstrdup(url + sizeof(URL_PREFIX) - 1);
	s->opt = *opt;
	s->log_slice = (struct slice)LOG_SLICE;
	s->free_slice = (struct slice)FREE_SLICE;
	s->touched = table_new();
	TAILQ_INIT(&s->touches);
	s->dir_fd = s->body_fd = s->lock_fd = -1;
	st = open_all(s);
	if (st != ST_OK) {
		(void)str_copy(err, err_bytes, s->error);
		spool_close(&s);
		return st;
	}
	*out = s;
	return ST_OK;
}

void
spool_close(struct spool **sp)
{
	struct spool *s = *sp;

	if (s == NULL)
		return;
	spool_rollback(s);
	spool_finalize(s);
	(void)sqlite3_close(s->db);
	spool_touch_clear(s);
	table_free(&s->touched);
	free(s->added.list);
	free(s->removed.list);
	spool_room_clear(s);
	close_fd(&s->body_fd);
	close_fd(&s->dir_fd);
	close_fd(&s->lock_fd);
	free(s->dir);
	mem_free(sp);
}

/* ---- transactions ---- */

static enum status
run_plain(struct spool *s, enum spool_stmt which)
{
	struct query q;

	query_start(&q, s, which);
	return query_run(&q);
}

static bool
checkpoint(struct spool *s, int mode)
{
	unsigned pages = (unsigned)s->wal_pages;
	int rc;

	slice_start(&s->log_slice);
	rc = sqlite3_wal_checkpoint_v2(s->db, NULL, mode, NULL, NULL);
	if (pages >= s->log_slice.least)
		slice_end(&s->log_slice, pages);
	if (rc == SQLITE_OK)
		s->wal_pages = 0;
	else if (log_once("spool-checkpoint"))
		log_warn("spool-checkpoint", "why", sqlite3_errmsg(s->db),
			NULL);
	return rc == SQLITE_OK;
}

bool
spool_broken(const struct spool *s)
{
	return s->broken;
}

enum status
spool_begin(struct spool *s)
{
	enum status st;

	if (s->tx_open)
		return spool_fail(s, ST_SYS, "spool: begin within a "
			"transaction");
	if (s->broken)
		return spool_fail(s, ST_SYS, "spool: %s: a write to disk "
			"failed earlier; restart when the disk is sound",
			s->dir);
	st = run_plain(s, STMT_BEGIN);
	if (st != ST_OK)
		return st;
	s->tx_open = true;
	s->committed = s->totals;
	spool_step(s, "begin");
	return ST_OK;
}

enum status
spool_need_tx(struct spool *s)
{
	/* SQLite rolls back by itself on some failures; what came after would
	 * be committed row by row. */
	if (s->tx_open && sqlite3_get_autocommit(s->db) == 0)
		return ST_OK;
	return spool_fail(s, s->tx_open && s->was_full ? ST_FULL : ST_SYS,
		"spool: write outside a transaction, or in one that failed");
}

static enum status
save_totals(struct spool *s)
{
	const struct spool_totals *t = &s->totals;
	struct query q;

	if (!s->totals_dirty)
		return ST_OK;
	query_start(&q, s, STMT_TOTALS_SAVE);
	query_int(&q, t->last_id);
	query_int(&q, t->messages);
	query_int(&q, t->deliveries);
	query_int(&q, t->recipients);
	query_int(&q, t->held);
	query_int(&q, t->bytes);
	return query_run(&q);
}

enum status
spool_commit(struct spool *s)
{
	enum status st = spool_need_tx(s);

	if (st == ST_OK)
		st = spool_body_files_sync(s);
	if (st == ST_OK)
		st = save_totals(s);
	if (st == ST_OK)
		st = spool_touch_save(s);
	spool_step(s, "before-commit");
	if (st != ST_OK)
		return st;
	s->commit_failed = true;
	st = run_plain(s, STMT_COMMIT);
	if (st != ST_OK)
		return st;
	s->commit_failed = false;
	s->tx_open = s->totals_dirty = false;
	spool_touch_clear(s);
	spool_step(s, "after-commit");
	spool_body_files_committed(s);
	if (s->wal_pages >= (s->reserve_held ? WAL_PAGES_MAX : WAL_PAGES_FULL))
		(void)checkpoint(s, SQLITE_CHECKPOINT_PASSIVE);
	return ST_OK;
}

/*
 * A COMMIT that failed may have left the whole transaction in the log, where a
 * crash would bring it back to life.  True when the log was emptied, so that
 * this cannot happen any more.
 */
static bool
bury_commit(struct spool *s)
{
	return !s->commit_failed || (!s->broken &&
		checkpoint(s, SQLITE_CHECKPOINT_TRUNCATE));
}

void
spool_rollback(struct spool *s)
{
	char error[SPOOL_ERROR_MAX];
	bool was_full = s->was_full;

	if (!s->tx_open)
		return;
	/* What is told is why, not how the way back went. */
	(void)str_copy(error, sizeof(error), s->error);
	s->tx_open = false;
	/* SQLite has already rolled back by itself on some failures. */
	if (sqlite3_get_autocommit(s->db) == 0)
		(void)run_plain(s, STMT_ROLLBACK);
	/* Ids were perhaps seen; none comes twice. */
	s->committed.last_id = s->totals.last_id;
	s->totals = s->committed;
	s->totals_dirty = false;
	spool_touch_clear(s);
	(void)str_copy(s->error, sizeof(s->error), error);
	/* What was done must still find room to be recorded. */
	if (was_full)
		spool_reserve_release(s);
	spool_body_files_rolled_back(s, bury_commit(s));
	s->commit_failed = false;
	(void)str_copy(s->error, sizeof(s->error), error);
}

/* ---- housekeeping ---- */

/* Free pages are worth giving back. */
static bool
has_free_pages(struct spool *s)
{
	int64_t kept = s->reserve_held ? FREE_PAGES_KEPT : FREE_PAGES_FULL;
	int64_t pages = 0;
	struct query q;

	query_start(&q, s, STMT_FREELIST);
	if (query_step(&q))
		pages = query_col(&q, 0);
	return query_end(&q) == ST_OK && pages > kept;
}

/* Gives some of them back. */
static enum status
free_pages(struct spool *s)
{
	char sql[64];
	enum status st;

	slice_start(&s->free_slice);
	(void)snprintf(sql, sizeof(sql), "PRAGMA incremental_vacuum(%u)",
		s->reserve_held ? s->free_slice.size : FREE_PAGES_TINY);
	st = spool_exec(s, sql);
	slice_end(&s->free_slice, s->free_slice.size);
	return st;
}

bool
spool_log_long(const struct spool *s)
{
	return s->wal_pages >= (int)s->log_slice.size;
}

bool
spool_idle(struct spool *s)
{
	bool full = !s->reserve_held;

	if (s->tx_open || s->broken)
		return false;
	/* The log keeps its size for the next commits, but not while others
	 * need the room. */
	if (s->wal_pages >= (full ? 1 : WAL_PAGES_IDLE)) {
		if (!checkpoint(s, full ? SQLITE_CHECKPOINT_TRUNCATE :
		    SQLITE_CHECKPOINT_PASSIVE))
			return false;
	} else if (has_free_pages(s) && free_pages(s) != ST_OK) {
		return false;
	}
	if (has_free_pages(s) || (full && s->wal_pages > 0))
		return true;
	(void)!spool_reserve_take(s);
	return false;
}

uint64_t
spool_free_bytes(struct spool *s)
{
	int64_t now_ms = clock_mono_ms();
	struct statvfs vfs;

	if (now_ms - s->free_at_ms < FREE_MS && s->free_at_ms != 0)
		return s->free_bytes;
	s->free_at_ms = now_ms;
	s->free_bytes = fstatvfs(s->dir_fd, &vfs) != 0 ? 0 :
		(uint64_t)vfs.f_bavail * vfs.f_frsize;
	return s->free_bytes;
}

enum status
spool_meta_get(struct spool *s, const char *key, char *out, size_t out_bytes)
{
	struct query q;
	enum status found = ST_NOENT;

	query_start(&q, s, STMT_META_GET);
	query_text(&q, key);
	if (query_step(&q))
		found = str_copy(out, out_bytes, query_col_text(&q, 0)) ?
			ST_OK : ST_LIMIT;
	if (query_end(&q) != ST_OK)
		return q.st;
	return found;
}

enum status
spool_meta_set(struct spool *s, const char *key, const char *value)
{
	struct query q;
	enum status st = spool_need_tx(s);

	if (st != ST_OK)
		return st;
	query_start(&q, s, STMT_META_SET);
	query_text(&q, key);
	query_text(&q, value);
	return query_run(&q);
}
