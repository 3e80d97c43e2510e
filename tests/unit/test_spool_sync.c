/*
 * What reaches the disk, and when: fsync and fdatasync are our own here, for
 * SQLite as well, so that the order of things can be seen and made to fail.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "spool/spool_int.h"
#include "tests/unit/test_spool_util.h"

static unsigned syncs;		/* of files */
static unsigned dir_syncs;	/* of directories */
static unsigned at_before_commit[2], at_after_commit;
static int fail_with;		/* errno of the next ones; 0: none */

static int
sync_fd(int fd)
{
	struct stat sb;

	if (fail_with != 0) {
		errno = fail_with;
		return -1;
	}
	if (fstat(fd, &sb) == 0 && S_ISDIR(sb.st_mode))
		dir_syncs++;
	else
		syncs++;
	return (int)syscall(SYS_fsync, fd);
}

int
fsync(int fd)
{
	return sync_fd(fd);
}

int
fdatasync(int fd)
{
	return sync_fd(fd);
}

static void
on_step(const char *step)
{
	if (strcmp(step, "before-commit") == 0) {
		at_before_commit[0] = syncs;
		at_before_commit[1] = dir_syncs;
	} else if (strcmp(step, "after-commit") == 0) {
		at_after_commit = syncs;
	}
}

static int
setup(void **state)
{
	int rc = test_dir_setup(state);

	fail_with = 0;
	test_step_hook(on_step);
	return rc;
}

static int
teardown(void **state)
{
	fail_with = 0;
	test_step_hook(NULL);
	return test_dir_teardown(state);
}

static enum status
add_file(struct spool *s, uint64_t token, uint64_t *id_out)
{
	struct envelope *env = test_envelope("a@one.test");
	struct spool_body body = { .file_token = token };
	enum status st;

	env->size_bytes = 3000;
	st = spool_begin(s);
	if (st == ST_OK)
		st = spool_add(s, env, &body, T0, EXPIRES);
	if (st == ST_OK)
		st = spool_commit(s);
	*id_out = env->id;
	envelope_free(&env);
	return st;
}

/* The log is synced within each commit: not before, not later. */
static void
test_commit(void **state)
{
	struct spool *s = test_open(*state);

	for (int i = 0; i < 20; i++) {
		unsigned before = syncs;
		uint64_t id = test_add(s, "a@one.test", "x");

		assert_int_equal(at_before_commit[0], before);
		assert_true(at_after_commit > before);
		test_finish(s, id);
		assert_true(at_after_commit > at_before_commit[0]);
	}
	spool_close(&s);
}

/* The name of a body is synced before the row that speaks of it. */
static void
test_file(void **state)
{
	struct spool *s = test_open(*state);
	uint64_t token = test_body_file(s, 3000), id;
	unsigned before = dir_syncs;

	assert_int_equal(add_file(s, token, &id), ST_OK);
	assert_int_equal(at_before_commit[1], before + 1);
	assert_true(at_after_commit > at_before_commit[0]);
	spool_close(&s);
}

/* What a crash right now would leave: a copy of the directory. */
static struct spool *
open_copy(const char *dir)
{
	char *copy = xasprintf("%s/copy", dir);
	char *command = xasprintf("rm -rf %s; mkdir %s; cp -a %s/spool %s/",
		copy, copy, dir, copy);
	struct spool *s;

	assert_int_equal(system(command), 0);
	s = test_open(copy);
	free(command);
	free(copy);
	return s;
}

/* Each message that is listed can be read. */
static unsigned
count_whole(struct spool *s)
{
	struct spool_cursor cursor = { 0 };
	struct spool_delivery d[16];
	size_t count;

	assert_int_equal(test_all_due(s, INT64_MAX, &cursor, d, 16, &count),
		ST_OK);
	for (size_t i = 0; i < count; i++) {
		size_t len;
		void *data;
		int fd;

		assert_int_equal(spool_body_get(s, d[i].message_id, &data,
			&len, &fd), ST_OK);
		free(data);
		if (fd >= 0)
			(void)close(fd);
	}
	test_check_totals(s);
	return (unsigned)count;
}

/* The disk fails: nothing is taken any more; a crash leaves whole messages. */
static void
test_fails(void **state)
{
	struct spool *s = test_open(*state), *copy;
	uint64_t token = test_body_file(s, 3000), id;

	(void)test_add(s, "a@one.test", "x");
	fail_with = EIO;
	assert_int_equal(add_file(s, token, &id), ST_SYS);
	spool_rollback(s);
	fail_with = 0;
	/* fsync of the directory failed first: the token is good. */
	assert_int_equal(add_file(s, token, &id), ST_OK);
	fail_with = EIO;
	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_meta_set(s, "a", "b"), ST_OK);
	assert_int_equal(spool_commit(s), ST_SYS);
	spool_rollback(s);
	fail_with = 0;
	assert_int_equal(spool_begin(s), ST_SYS);
	assert_non_null(strstr(spool_error(s), "failed earlier"));
	assert_false(spool_idle(s));
	copy = open_copy(*state);
	assert_int_equal(count_whole(copy), 2);
	spool_close(&copy);
	assert_int_equal(count_whole(s), 2);
	spool_close(&s);
	s = test_open(*state);
	assert_int_equal(count_whole(s), 2);
	spool_close(&s);
}

/* Fails within COMMIT alone. */
static int commit_error;

static void
on_step_fail(const char *step)
{
	if (strcmp(step, "before-commit") == 0)
		fail_with = commit_error;
}

static void
failed_commit(const char *dir, int error, enum status want, bool token_good)
{
	struct spool *s = test_open(dir), *copy;
	uint64_t token = test_body_file(s, 3000), id;

	(void)test_add(s, "a@one.test", "x");
	test_step_hook(on_step_fail);
	commit_error = error;
	assert_int_equal(add_file(s, token, &id), want);
	fail_with = 0;
	spool_rollback(s);
	test_step_hook(NULL);
	/* The transaction may be in the log; then so must its file. */
	copy = open_copy(dir);
	assert_in_range(count_whole(copy), 1, token_good ? 1 : 2);
	spool_close(&copy);
	assert_int_equal(add_file(s, token, &id), token_good ? ST_OK : want);
	spool_rollback(s);
	spool_close(&s);
	s = test_open(dir);
	assert_int_equal(count_whole(s), token_good ? 2 : 1);
	spool_close(&s);
}

static void
test_commit_fails(void **state)
{
	failed_commit(*state, EIO, ST_SYS, false);
}

static void
test_commit_full(void **state)
{
	failed_commit(*state, ENOSPC, ST_FULL, true);
}

static void
test_commit_quota(void **state)
{
	failed_commit(*state, EDQUOT, ST_FULL, true);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_commit), T(test_file), T(test_fails),
		T(test_commit_fails), T(test_commit_full),
		T(test_commit_quota),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
