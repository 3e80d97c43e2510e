/*
 * A full disk: new mail is refused, what was there stays, and what is done
 * can still be recorded.  By a limit of SQLite, by a limit on file size, and
 * on a small file system of its own when the test may mount one.
 */
#include "config.h"

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "spool/spool_int.h"
#include "tests/unit/test_spool_util.h"

#define MAX_ADDS 5000
#define SKIPPED 77

static uint64_t ids[MAX_ADDS];

/* These run in a process of its own: a line number is the verdict. */
#define CHECK(fact) do { \
	if (!(fact)) { \
		fprintf(stderr, "# line %d: %s (%s)\n", __LINE__, #fact, \
			s == NULL ? "-" : spool_error(s)); \
		return 1; \
	} \
} while (0)

static enum status
add(struct spool *s, unsigned flags, size_t size_bytes, uint64_t *id_out)
{
	static const char body[20000];
	struct envelope *env = test_envelope("a@one.test");
	struct spool_body b = { .data = body, .len = size_bytes };
	enum status st = spool_begin(s);

	env->flags = flags;
	if (st == ST_OK)
		st = spool_add(s, env, &b, T0, EXPIRES);
	if (st == ST_OK)
		st = spool_commit(s);
	if (st != ST_OK)
		spool_rollback(s);
	*id_out = env->id;
	envelope_free(&env);
	return st;
}

static enum status
finish(struct spool *s, uint64_t id)
{
	struct spool_filter f = { .held = -1, .message_id = id };
	enum status st = spool_begin(s);
	uint64_t count = 0;

	if (st == ST_OK)
		st = spool_act(s, &f, SPOOL_REMOVE, T0, &count);
	if (st == ST_OK)
		st = spool_commit(s);
	if (st != ST_OK)
		spool_rollback(s);
	return st != ST_OK || count == 1 ? st : ST_NOENT;
}

static bool
all_there(struct spool *s, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		size_t len;
		void *data;
		int fd;

		if (spool_body_get(s, ids[i], &data, &len, &fd) != ST_OK ||
		    len != 9000)
			return false;
		free(data);
	}
	return true;
}

/* Adds until it is full; the disk may find some room by itself once. */
static enum status
fill_up(struct spool *s, size_t *count)
{
	enum status st = ST_OK;

	for (int refused = 0; refused < 3 && *count < MAX_ADDS;) {
		st = add(s, 0, 9000, &ids[*count]);
		if (st != ST_OK && st != ST_FULL)
			return st;
		refused = st == ST_OK ? 0 : refused + 1;
		*count += st == ST_OK;
	}
	return st;
}

static int
fill(const char *dir)
{
	struct spool *s = test_open(dir);
	struct spool_stats st;
	size_t count = 0;

	CHECK(fill_up(s, &count) == ST_FULL);
	CHECK(count > 5);
	CHECK(strstr(spool_error(s), "spool:") != NULL);
	CHECK(spool_stats(s, T0, &st) == ST_OK && st.messages == count);
	CHECK(all_there(s, 0, count));
	spool_close(&s);
	s = test_open(dir);
	CHECK(spool_stats(s, T0, &st) == ST_OK && st.messages == count);
	CHECK(all_there(s, 0, count));
	spool_close(&s);
	return 0;
}

/* What is done can be recorded, in one step or many, until all is done; its
 * space is given back and takes new mail. */
static int
drain(const char *dir)
{
	struct spool *s = test_open(dir);
	struct spool_stats st;
	size_t count = 0;
	uint64_t id;

	CHECK(fill_up(s, &count) == ST_FULL);
	for (size_t i = 0; i < count / 2; i++)
		CHECK(finish(s, ids[i]) == ST_OK);
	CHECK(all_there(s, count / 2, count));
	CHECK(add(s, 0, 9000, &id) == ST_FULL);
	CHECK(add(s, ENVELOPE_BOUNCE, 9000, &id) == ST_OK);
	CHECK(finish(s, id) == ST_OK);
	for (int i = 0; i < 1000 && spool_idle(s); i++)
		;
	CHECK(add(s, 0, 9000, &id) == ST_OK);
	CHECK(all_there(s, count / 2, count));
	CHECK(spool_stats(s, T0, &st) == ST_OK &&
		st.messages == count - count / 2 + 1);
	spool_close(&s);
	return 0;
}

static int
run_apart(int (*test)(const char *), const char *dir)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(test(dir));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static bool
mount_small(const char *dir)
{
	return unshare(CLONE_NEWNS) == 0 &&
		mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		mount("tmpfs", dir, "tmpfs", 0, "size=16m,mode=0700") == 0;
}

static int
fill_small_disk(const char *dir)
{
	return mount_small(dir) ? fill(dir) : SKIPPED;
}

static int
drain_small_disk(const char *dir)
{
	return mount_small(dir) ? drain(dir) : SKIPPED;
}

static void
test_small_disk(void **state)
{
	int verdict = run_apart(fill_small_disk, *state);

	if (verdict == SKIPPED)
		skip();
	assert_int_equal(verdict, 0);
}

static void
test_drain_small_disk(void **state)
{
	int verdict = run_apart(drain_small_disk, *state);

	if (verdict == SKIPPED)
		skip();
	assert_int_equal(verdict, 0);
}

/* No file may grow beyond the limit: EFBIG, which is not ENOSPC. */
static int
with_file_limit(const char *dir)
{
	struct rlimit limit = { 5 << 20, 5 << 20 };

	(void)signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
		return SKIPPED;
	return fill(dir);
}

static void
test_file_limit(void **state)
{
	assert_int_equal(run_apart(with_file_limit, *state), 0);
}

/* SQLITE_FULL in the middle of a group: the whole group is undone, bodies in
 * files come back under their tokens. */
static void
test_group(void **state)
{
	struct spool *s = test_open(*state);
	uint64_t kept = test_add(s, "a@one.test", "x"), token;
	static const char body[20000];
	struct envelope *env = test_envelope("a@one.test");
	struct spool_body file = { .file_token = test_body_file(s, 3000) };
	struct spool_body big = { .data = body, .len = sizeof(body) };
	enum status st;

	token = file.file_token;
	assert_int_equal(sqlite3_exec(s->db, "PRAGMA max_page_count = 20",
		NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(spool_begin(s), ST_OK);
	env->size_bytes = 3000;
	assert_int_equal(spool_add(s, env, &file, T0, EXPIRES), ST_OK);
	for (int i = 0; i < 100; i++) {
		st = spool_add(s, env, &big, T0, EXPIRES);
		if (st != ST_OK)
			break;
	}
	assert_int_equal(st, ST_FULL);
	/* Whoever goes on regardless gets nowhere. */
	assert_int_equal(spool_commit(s), ST_FULL);
	spool_rollback(s);
	test_check_totals(s);
	assert_int_equal(test_delivery(s, kept).message_id, kept);
	assert_int_equal(spool_begin(s), ST_OK);
	env->size_bytes = 3000;
	assert_int_equal(spool_add(s, env, &file, T0, EXPIRES), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	assert_int_equal(test_body_files(*state), 1);
	spool_body_file_drop(s, token);
	assert_int_equal(test_body_files(*state), 1);
	envelope_free(&env);
	spool_close(&s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, test_dir_setup, \
	test_dir_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_small_disk), T(test_drain_small_disk),
		T(test_file_limit), T(test_group),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
