/*
 * Damaged, lost and foreign databases: reported with a sentence, never
 * replaced, never a crash.  Older and newer schemas.
 */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "spool/policy_store.h"
#include "spool/spool_int.h"
#include "tests/unit/test_spool_util.h"

#define MESSAGES 60
#define STEPS_MAX 32

static char *
db_path(const char *dir)
{
	return xasprintf("%s/spool/%s", dir, SPOOL_DB_NAME);
}

/* A queue of some pages, closed in order: everything is in the one file. */
static void
make_queue(const char *dir)
{
	static char body[4000];
	struct spool *s = test_open(dir);
	struct envelope *env = test_envelope("big@three.test");
	struct spool_body file = { .file_token = test_body_file(s, 5000) };

	memset(body, 'x', sizeof(body) - 1);
	for (int i = 0; i < MESSAGES; i++)
		(void)test_add(s, "a@one.test b@two.test", body);
	assert_int_equal(spool_begin(s), ST_OK);
	env->size_bytes = 5000;
	assert_int_equal(spool_add(s, env, &file, T0, EXPIRES), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	envelope_free(&env);
	spool_close(&s);
}

static off_t
db_size(const char *dir)
{
	char *path = db_path(dir);
	struct stat sb;

	if (stat(path, &sb) != 0)
		sb.st_size = -1;
	free(path);
	return sb.st_size;
}

static void
overwrite(const char *dir, off_t at, int byte, size_t count)
{
	char *path = db_path(dir), *bytes = xmalloc(count);
	int fd = open(path, O_WRONLY);

	memset(bytes, byte, count);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, count, at), count);
	(void)close(fd);
	free(bytes);
	free(path);
}

static void
run_sql(const char *dir, const char *sql)
{
	char *path = db_path(dir);
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	(void)sqlite3_close(db);
	free(path);
}

static void
must_refuse(const char *dir, enum status want, const char *word)
{
	off_t size = db_size(dir);
	char err[512];
	enum status st;
	struct spool *s = test_try(dir, &st, err);

	assert_null(s);
	if (st != want || strstr(err, word) == NULL)
		fail_msg("%s, \"%s\" instead of \"%s\"", status_name(st), err,
			word);
	assert_int_equal(db_size(dir), size);
}

static void
test_lost(void **state)
{
	char *path = db_path(*state), *lock;

	make_queue(*state);
	assert_int_equal(truncate(path, 0), 0);
	must_refuse(*state, ST_CORRUPT, "missing or empty");
	assert_int_equal(unlink(path), 0);
	must_refuse(*state, ST_CORRUPT, "missing or empty");
	/* Also without the mark in the lock file: the bodies speak. */
	lock = xasprintf("%s/spool/%s", (char *)*state, SPOOL_LOCK_NAME);
	assert_int_equal(unlink(lock), 0);
	must_refuse(*state, ST_CORRUPT, "holds the body");
	assert_int_equal(test_body_files(*state), 1);
	free(lock);
	free(path);
}

/* All that was ever written is still in the log, and the log goes. */
static void
test_log_lost(void **state)
{
	struct spool *s = test_open(*state);
	char *copy = xasprintf("%s/copy", (char *)*state);
	char *command = xasprintf("mkdir %s; cp -a %s/spool %s/; "
		"rm %s/spool/queue.db-wal", copy, (char *)*state, copy, copy);

	(void)test_add(s, "a@one.test", "x");
	assert_int_equal(system(command), 0);
	must_refuse(copy, ST_CORRUPT, "version 0");
	spool_close(&s);
	free(command);
	free(copy);
}

static void
test_truncated(void **state)
{
	static const int parts[] = { 10, 50, 90, 99 };
	char *path = db_path(*state);
	off_t size;

	make_queue(*state);
	size = db_size(*state);
	for (size_t i = 4; i-- > 0;) {
		assert_int_equal(truncate(path, size * parts[i] / 100), 0);
		must_refuse(*state, ST_CORRUPT, "DAMAGED");
	}
	assert_int_equal(truncate(path, 3), 0);
	must_refuse(*state, ST_CORRUPT, "DAMAGED");
	free(path);
}

static void
test_header(void **state)
{
	make_queue(*state);
	overwrite(*state, 0, 'G', 16);
	must_refuse(*state, ST_CORRUPT, "DAMAGED");
}

/* ---- every page ---- */

static void
on_row(const struct spool_row *row, void *arg)
{
	size_t *count = arg;

	*count += strlen(row->sender) > 0;
}

/* True when the status is one that damage may give. */
static bool
tolerable(enum status st)
{
	return st == ST_OK || st == ST_CORRUPT || st == ST_NOENT;
}

static void
finish_one(struct spool *s, const struct spool_delivery *d)
{
	struct spool_rcpt_result r = { .finished = true };
	struct envelope *env = NULL;
	enum status st = spool_envelope(s, d->message_id, d->id, &env);

	assert_true(tolerable(st));
	if (st != ST_OK)
		return;
	r.rcpt_id = env->rcpts[0].id;
	envelope_free(&env);
	assert_int_equal(spool_begin(s), ST_OK);
	st = spool_results(s, d->id, &r, 1);
	assert_true(tolerable(st));
	if (st == ST_OK)
		st = spool_commit(s);
	assert_true(tolerable(st));
	if (st != ST_OK)
		spool_rollback(s);
}

static void
use_reads(struct spool *s, unsigned *damaged)
{
	struct spool_dest_stats top[4];
	struct spool_stats stats;
	struct spool_delivery d[200];
	uint64_t after = 0;
	bool more = true;
	size_t count;
	enum status st[4];

	st[0] = spool_stats(s, T0, &stats);
	st[1] = spool_top_destinations(s, top, 4, &count);
	st[2] = spool_list(s, &test_any, &after, 1000, on_row, &count, &more);
	st[3] = spool_expired(s, INT64_MAX, NULL, d, 200, &count);
	for (size_t i = 0; i < 4; i++) {
		assert_true(tolerable(st[i]));
		*damaged += st[i] == ST_CORRUPT;
	}
}

static void
use_all(struct spool *s, unsigned *damaged)
{
	struct spool_cursor cursor = { 0 };
	struct spool_delivery d[200];
	size_t count, len;
	enum status st;

	use_reads(s, damaged);
	st = test_all_due(s, T0, &cursor, d, 200, &count);
	assert_true(tolerable(st));
	*damaged += st == ST_CORRUPT;
	for (size_t i = 0; i < count; i++) {
		void *data = NULL;
		int fd = -1;

		st = spool_body_get(s, d[i].message_id, &data, &len, &fd);
		assert_true(tolerable(st));
		*damaged += st == ST_CORRUPT;
		if (st == ST_CORRUPT)
			assert_non_null(strstr(spool_error(s), "DAMAGED"));
		free(data);
		if (fd >= 0)
			(void)close(fd);
		finish_one(s, &d[i]);
	}
}

/* At open: each page in turn is overwritten; a small queue is checked whole,
 * so the damage is found, except in pages that hold only bodies' bytes. */
static void
test_each_page_at_open(void **state)
{
	off_t pages;
	unsigned refused = 0;

	make_queue(*state);
	pages = db_size(*state) / SPOOL_PAGE_BYTES;
	assert_true(pages > 20);
	for (off_t page = 0; page < pages; page++) {
		char *cp = xasprintf("cp %s/spool/queue.db %s/saved",
			(char *)*state, (char *)*state);
		char *back = xasprintf("cp %s/saved %s/spool/queue.db",
			(char *)*state, (char *)*state);
		char err[512];
		enum status st;
		struct spool *s;

		assert_int_equal(system(cp), 0);
		overwrite(*state, page * SPOOL_PAGE_BYTES, page % 2 == 0 ?
			0xff : 0, SPOOL_PAGE_BYTES);
		s = test_try(*state, &st, err);
		assert_true(st == ST_OK || st == ST_CORRUPT);
		refused += st == ST_CORRUPT;
		spool_close(&s);
		assert_int_equal(system(back), 0);
		free(cp);
		free(back);
	}
	assert_true(refused >= (unsigned)pages - 3);
}

/* In use: the file is overwritten under an open spool whose cache is then
 * dropped; every call gives a status, and some tell of the damage. */
static void
test_each_page_in_use(void **state)
{
	off_t pages;
	unsigned damaged = 0;
	char *cp, *back;

	make_queue(*state);
	cp = xasprintf("cp %s/spool/queue.db %s/saved", (char *)*state,
		(char *)*state);
	back = xasprintf("rm -f %s/spool/queue.db-wal; cp %s/saved "
		"%s/spool/queue.db", (char *)*state, (char *)*state,
		(char *)*state);
	assert_int_equal(system(cp), 0);
	pages = db_size(*state) / SPOOL_PAGE_BYTES;
	for (off_t page = 1; page < pages; page += 2) {
		struct spool *s = test_open(*state);

		overwrite(*state, page * SPOOL_PAGE_BYTES, 0x55,
			SPOOL_PAGE_BYTES);
		(void)sqlite3_db_release_memory(s->db);
		use_all(s, &damaged);
		spool_close(&s);
		assert_int_equal(system(back), 0);
	}
	assert_true(damaged > 0);
	free(cp);
	free(back);
}

/* ---- rows and files that do not fit ---- */

static const struct sql_case {
	const char *what, *sql, *word;
} sql_cases[] = {
	{ "totals lost", "DELETE FROM totals", "row of totals" },
	{ "totals negative", "UPDATE totals SET messages = -1", "unexpected" },
	{ "ids beyond the mark", "UPDATE totals SET last_id = 5", "above" },
	{ "a table lost", "DROP TABLE recipient", "recipient" },
	{ "an index lost", "DROP INDEX delivery_lane", "delivery_lane" },
	{ "version lost", "PRAGMA user_version = 0", "version 0" },
};

static void
test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(sql_cases) / sizeof(sql_cases[0]); i++) {
		char *dir = xasprintf("%s/%zu", (char *)*state, i);

		assert_int_equal(mkdir(dir, 0700), 0);
		make_queue(dir);
		run_sql(dir, sql_cases[i].sql);
		must_refuse(dir, ST_CORRUPT, sql_cases[i].word);
		free(dir);
	}
}

static enum status
get_body(struct spool *s, uint64_t id)
{
	enum status st;
	size_t len;
	void *data;
	int fd;

	st = spool_body_get(s, id, &data, &len, &fd);
	free(data);
	if (fd >= 0)
		(void)close(fd);
	return st;
}

static void
test_bodies(void **state)
{
	struct spool *s = test_open(*state);
	struct envelope *env = test_envelope("a@one.test");
	struct spool_body file = { .file_token = test_body_file(s, 5000) };
	uint64_t id = test_add(s, "a@one.test", "text");
	char name[STR_ID_MAX], *path, *sql;

	env->size_bytes = 5000;
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_add(s, env, &file, T0, EXPIRES), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	str_id_format(env->id, name);
	path = xasprintf("%s/spool/body/%s", (char *)*state, name);
	assert_int_equal(truncate(path, 4999), 0);
	assert_int_equal(get_body(s, env->id), ST_CORRUPT);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(get_body(s, env->id), ST_CORRUPT);
	assert_non_null(strstr(spool_error(s), name));
	/* It can still be removed. */
	test_finish(s, env->id);
	spool_close(&s);
	sql = xasprintf("UPDATE body SET data = x'00' WHERE id = %llu",
		(unsigned long long)id);
	run_sql(*state, sql);
	s = test_open(*state);
	assert_int_equal(get_body(s, id), ST_CORRUPT);
	spool_close(&s);
	envelope_free(&env);
	free(path);
	free(sql);
}

/* ---- whose database ---- */

static void
test_foreign(void **state)
{
	char *path = xasprintf("%s/spool", (char *)*state);

	assert_int_equal(mkdir(path, 0700), 0);
	run_sql(*state, "CREATE TABLE photos (x); INSERT INTO photos "
		"VALUES (1)");
	must_refuse(*state, ST_DENIED, "another program");
	run_sql(*state, "PRAGMA application_id = 7; DROP TABLE photos");
	must_refuse(*state, ST_DENIED, "another program");
	free(path);
}

static void
test_newer(void **state)
{
	make_queue(*state);
	run_sql(*state, "PRAGMA user_version = 1000");
	must_refuse(*state, ST_DENIED, "newer smtpd-out");
	run_sql(*state, "PRAGMA user_version = -3");
	must_refuse(*state, ST_CORRUPT, "DAMAGED");
}

static void
test_modes(void **state)
{
	static const char *const files[] = { "queue.db", "queue.db-wal",
		"lock", "body", "reserve" };
	char *path = xasprintf("%s/spool", (char *)*state);
	struct spool *s = test_open(*state);
	struct stat sb;

	assert_int_equal(stat(path, &sb), 0);
	assert_int_equal(sb.st_mode & 0777, 0700);
	(void)test_add(s, "a@one.test", "x");
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char *file = xasprintf("%s/%s", path, files[i]);

		assert_int_equal(stat(file, &sb), 0);
		assert_int_equal(sb.st_mode & 077, 0);
		free(file);
	}
	spool_close(&s);
	assert_int_equal(chmod(path, 0777), 0);
	must_refuse(*state, ST_DENIED, "written by everybody");
	free(path);
}

/* ---- migration ---- */

static int64_t
pragma(struct spool *s, const char *sql)
{
	sqlite3_stmt *stmt;
	int64_t value;

	assert_int_equal(sqlite3_prepare_v2(s->db, sql, -1, &stmt, NULL),
		SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	value = sqlite3_column_int64(stmt, 0);
	(void)sqlite3_finalize(stmt);
	return value;
}

/* Later versions: each missing step once, all or none, mail untouched. */
static void
test_migration(void **state)
{
	struct spool_migration good[STEPS_MAX], bad[STEPS_MAX];
	int now;
	struct spool *s;

	(void)spool_migrations(&now);
	assert_true(now + 2 <= STEPS_MAX);
	for (int i = 0; i < now; i++)
		good[i] = bad[i] = (struct spool_migration){ "never run" };
	good[now] = bad[now] = (struct spool_migration){
		"ALTER TABLE message ADD COLUMN added TEXT" };
	good[now + 1].sql = "UPDATE message SET added = 'yes'";
	bad[now + 1].sql = "UPDATE nowhere SET added = 'yes'";
	make_queue(*state);
	s = test_open(*state);
	assert_int_not_equal(spool_migrate(s, bad, now + 2), ST_OK);
	assert_int_equal(pragma(s, "PRAGMA user_version"), now);
	assert_int_equal(pragma(s, "SELECT count(*) FROM "
		"pragma_table_info('message') WHERE name = 'added'"), 0);
	assert_int_equal(spool_migrate(s, good, now + 2), ST_OK);
	assert_int_equal(pragma(s, "PRAGMA user_version"), now + 2);
	assert_int_equal(pragma(s, "PRAGMA application_id"),
		SPOOL_APPLICATION_ID);
	assert_int_equal(pragma(s, "SELECT count(*) FROM message WHERE "
		"added = 'yes'"), MESSAGES + 1);
	assert_int_equal(spool_migrate(s, good, now + 2), ST_OK);
	assert_int_equal(spool_migrate(s, good, 1), ST_DENIED);
	test_check_totals(s);
	spool_close(&s);
	must_refuse(*state, ST_DENIED, "newer");
}

/* Back to before work went by destination. */
#define FROM_3 "DROP TABLE destination; DROP TABLE destination_rule;" \
	"DROP INDEX delivery_lane;" \
	"ALTER TABLE delivery DROP COLUMN retry;" \
	"CREATE INDEX delivery_due ON delivery (next_ms) WHERE held = 0;"

static void
test_from_version_2(void **state)
{
	struct spool_filter f = { .destination = "one.test", .held = -1 };
	struct spool_dest_stats d;
	struct spool *s;
	uint64_t id;

	s = test_open(*state);
	id = test_add(s, "a@one.test", "x");
	(void)test_add(s, "a@one.test b@two.test", "x");
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_retry(s, test_delivery(s, id).id, T0 + 7, true,
		false, "x"), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	f.message_id = test_add(s, "a@one.test", "x");
	assert_int_equal(test_act(s, &f, SPOOL_HOLD), 1);
	spool_close(&s);
	run_sql(*state, "DROP TABLE sts_policy; DROP TABLE sts_list; "
		"DROP TABLE report_day; DROP TABLE report_rua; " FROM_3
		"PRAGMA user_version = 2");
	s = test_open(*state);
	assert_int_equal(spool_destination(s, "one.test", &d), ST_OK);
	assert_int_equal(d.deliveries, 3);
	assert_int_equal(d.held, 1);
	test_check_totals(s);
	spool_close(&s);
}

/* A queue of version 1, before hosts were remembered. */
static void
test_from_version_1(void **state)
{
	struct spool_host_tls h = { .host = "mx.example", .level = 2,
		.last_s = 5 };
	struct spool *s;
	int now;

	make_queue(*state);
	run_sql(*state, "DROP TABLE host_tls; DROP TABLE sts_policy; "
		"DROP TABLE sts_list; DROP TABLE report_day; "
		"DROP TABLE report_rua; " FROM_3 "PRAGMA user_version = 1");
	(void)spool_migrations(&now);
	s = test_open(*state);
	assert_int_equal(pragma(s, "PRAGMA user_version"), now);
	assert_int_equal(pragma(s, "SELECT count(*) FROM message"),
		MESSAGES + 1);
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_host_tls_put(s, &h), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	test_check_totals(s);
	spool_close(&s);
	/* The version says that the table is there. */
	run_sql(*state, "DROP TABLE host_tls");
	must_refuse(*state, ST_CORRUPT, "host_tls");
}

/* A queue as the program of that version left it: its tables made by its own
 * steps, which never change, the mail in the columns that it knew. */
static void
as_version(const char *dir, int version)
{
	static const char copy[] = "INSERT INTO message SELECT * FROM "
		"old.message; INSERT INTO body SELECT * FROM old.body;"
		"INSERT INTO delivery (id, message_id, attempts, received_ms,"
		" next_ms, expires_ms, held, delay_noticed, destination, text)"
		" SELECT id, message_id, attempts, received_ms, next_ms,"
		" expires_ms, held, delay_noticed, destination, text FROM "
		"old.delivery; INSERT INTO recipient SELECT * FROM "
		"old.recipient; DELETE FROM totals; INSERT INTO totals "
		"SELECT * FROM old.totals;";
	const struct spool_migration *steps;
	char *path = db_path(dir), *made = xasprintf("%s/made", dir), *sql;
	sqlite3 *db;
	int now;

	steps = spool_migrations(&now);
	assert_int_equal(sqlite3_open(made, &db), SQLITE_OK);
	sql = xasprintf("PRAGMA page_size = 8192; PRAGMA auto_vacuum = "
		"INCREMENTAL; PRAGMA application_id = %d; "
		"PRAGMA user_version = %d; ATTACH '%s' AS old",
		SPOOL_APPLICATION_ID, version, path);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	for (int i = 0; i < version; i++)
		assert_int_equal(sqlite3_exec(db, steps[i].sql, NULL, NULL,
			NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, copy, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	assert_int_equal(rename(made, path), 0);
	free(sql);
	free(made);
	free(path);
}

/* Many destinations; some of each was tried, some is held, some was noticed. */
static void
fill_mixed(struct spool *s)
{
	struct spool_delivery ds[4];
	char rcpts[100];
	size_t count;

	for (unsigned i = 0; i < 300; i++) {
		struct spool_filter f = { .held = -1 };
		uint64_t id;

		(void)snprintf(rcpts, sizeof(rcpts), "a@d%u.test b@d%u.test "
			"c@many.test", i % 40, i % 7);
		id = test_add(s, rcpts, "x");
		f.message_id = id;
		if (i % 3 == 0) {
			assert_int_equal(spool_begin(s), ST_OK);
			assert_int_equal(spool_deliveries_of(s, id, ds, 4,
				&count), ST_OK);
			assert_true(count >= 2);
			assert_int_equal(spool_retry(s, ds[i % 2].id, T0 + i,
				true, i % 2 == 0, "x"), ST_OK);
			assert_int_equal(spool_commit(s), ST_OK);
		}
		if (i % 5 == 0)
			assert_true(test_act(s, &f, SPOOL_HOLD) > 0);
	}
}

static void
test_from_each_version(void **state)
{
	int now;

	(void)spool_migrations(&now);
	for (int version = 1; version < now; version++) {
		char name[256] = "", *dir = xasprintf("%s/v%d",
			(char *)*state, version);
		size_t mended = 0;
		struct spool_stats before, after;
		struct spool *s;
		bool more = true;

		assert_int_equal(mkdir(dir, 0700), 0);
		s = test_open(dir);
		fill_mixed(s);
		assert_int_equal(spool_stats(s, T0 + 1000, &before), ST_OK);
		spool_close(&s);
		as_version(dir, version);
		s = test_open(dir);
		assert_int_equal(pragma(s, "PRAGMA user_version"), now);
		test_check_totals(s);
		assert_int_equal(spool_stats(s, T0 + 1000, &after), ST_OK);
		assert_memory_equal(&before, &after, sizeof(before));
		assert_int_equal(pragma(s, "SELECT count(*) FROM delivery "
			"WHERE retry <> (attempts > 0)"), 0);
		while (more) {
			assert_int_equal(spool_begin(s), ST_OK);
			assert_int_equal(spool_recheck(s, name, 64, &mended,
				&more), ST_OK);
			assert_int_equal(spool_commit(s), ST_OK);
			assert_int_equal(mended, 0);
		}
		spool_close(&s);
		free(dir);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, test_dir_setup, \
	test_dir_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_lost), T(test_log_lost), T(test_truncated),
		T(test_header),
		T(test_each_page_at_open), T(test_each_page_in_use),
		T(test_rows), T(test_bodies), T(test_foreign), T(test_newer),
		T(test_modes), T(test_migration),
		T(test_from_version_1), T(test_from_version_2),
		T(test_from_each_version),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
