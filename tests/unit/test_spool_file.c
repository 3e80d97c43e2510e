/*
 * Bodies in files, space given back, the lock.
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
#include "spool/spool_room.h"
#include "tests/unit/test_spool_util.h"

static struct envelope *
add_file(struct spool *s, uint64_t token, size_t size_bytes, enum status want)
{
	struct envelope *env = test_envelope("a@one.test");
	struct spool_body body = { .file_token = token };

	env->size_bytes = size_bytes;
	assert_int_equal(spool_add(s, env, &body, T0, EXPIRES), want);
	return env;
}

static void
test_file_life(void **state)
{
	struct spool *s = test_open(*state);
	uint64_t token = test_body_file(s, 3000);
	struct envelope *env;
	struct stat sb;
	size_t len;
	void *data;
	int fd;

	assert_int_equal(spool_begin(s), ST_OK);
	env = add_file(s, token, 3001, ST_PARSE);
	envelope_free(&env);
	env = add_file(s, token, 3000, ST_OK);
	spool_body_file_drop(s, token);		/* nothing happens */
	assert_int_equal(spool_commit(s), ST_OK);
	spool_body_file_drop(s, token);
	assert_int_equal(spool_body_get(s, env->id, &data, &len, &fd), ST_OK);
	assert_null(data);
	assert_int_equal(len, 3000);
	assert_int_equal(fstat(fd, &sb), 0);
	assert_int_equal(sb.st_size, 3000);
	assert_int_equal(write(fd, "x", 1), -1);
	(void)close(fd);
	spool_close(&s);
	s = test_open(*state);
	assert_int_equal(test_body_files(*state), 1);
	test_finish(s, env->id);
	assert_int_equal(test_body_files(*state), 0);
	test_check_totals(s);
	envelope_free(&env);
	spool_close(&s);
}

/* After a rollback the token is good again: alone in the next group. */
static void
test_file_rollback(void **state)
{
	struct spool *s = test_open(*state);
	uint64_t token = test_body_file(s, 100), other = test_body_file(s, 1);
	struct envelope *env;

	assert_int_equal(spool_begin(s), ST_OK);
	env = add_file(s, token, 100, ST_OK);
	envelope_free(&env);
	spool_rollback(s);
	assert_int_equal(spool_begin(s), ST_OK);
	env = add_file(s, token, 100, ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	assert_int_equal(test_body_files(*state), 2);
	spool_body_file_drop(s, other);
	spool_body_file_drop(s, other);
	spool_body_file_drop(s, UINT64_MAX);
	assert_int_equal(test_body_files(*state), 1);
	/* A removal that is rolled back removes nothing. */
	assert_int_equal(spool_begin(s), ST_OK);
	other = 0;
	assert_int_equal(spool_act(s, &test_any, SPOOL_REMOVE, T0, &other),
		ST_OK);
	assert_int_equal(other, 1);
	spool_rollback(s);
	assert_int_equal(test_body_files(*state), 1);
	test_check_totals(s);
	envelope_free(&env);
	spool_close(&s);
}

static void
test_file_50_mb(void **state)
{
	const size_t size = 50U << 20;
	struct spool *s = test_open(*state);
	struct envelope *env;
	size_t len;
	void *data;
	int fd;

	assert_int_equal(spool_begin(s), ST_OK);
	env = add_file(s, test_body_file(s, size), size, ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	assert_int_equal(spool_body_get(s, env->id, &data, &len, &fd), ST_OK);
	assert_int_equal(lseek(fd, 0, SEEK_END), (off_t)size);
	(void)close(fd);
	assert_int_equal(test_act(s, &test_any, SPOOL_REMOVE), 1);
	assert_int_equal(test_body_files(*state), 0);
	envelope_free(&env);
	spool_close(&s);
}

static uint64_t
sparse_file(struct spool *s, off_t size_bytes)
{
	uint64_t token;
	int fd;

	assert_int_equal(spool_body_file_new(s, &token, &fd), ST_OK);
	assert_int_equal(ftruncate(fd, size_bytes), 0);
	assert_int_equal(close(fd), 0);
	return token;
}

static unsigned
give_all(struct spool *s)
{
	unsigned parts = 1;

	while (spool_give_room(s))
		assert_true(++parts < 10000);
	assert_false(spool_room_waits(s));
	return parts;
}

/* A large body loses its name at once and its room part by part, unless
 * somebody still reads it. */
static void
test_room(void **state)
{
	const off_t size = 50 << 20;
	struct spool *s = test_open(*state);
	struct envelope *env;
	size_t len;
	void *data;
	int fd;

	assert_int_equal(spool_begin(s), ST_OK);
	env = add_file(s, test_body_file(s, (size_t)size), (size_t)size,
		ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	assert_false(spool_room_waits(s));
	assert_int_equal(spool_body_get(s, env->id, &data, &len, &fd), ST_OK);
	assert_int_equal(test_act(s, &test_any, SPOOL_REMOVE), 1);
	assert_int_equal(test_body_files(*state), 0);
	for (int i = 0; i < 20; i++)
		assert_true(spool_give_room(s));
	assert_int_equal(lseek(fd, 0, SEEK_END), size);
	(void)close(fd);
	assert_in_range(give_all(s), 12, 13);
	/* its reader stays: what it reads stays, and is not waited for */
	assert_int_equal(spool_begin(s), ST_OK);
	envelope_free(&env);
	env = add_file(s, sparse_file(s, size), (size_t)size, ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	assert_int_equal(spool_body_get(s, env->id, &data, &len, &fd), ST_OK);
	assert_int_equal(test_act(s, &test_any, SPOOL_REMOVE), 1);
	(void)give_all(s);
	assert_int_equal(lseek(fd, 0, SEEK_END), size);
	(void)close(fd);
	envelope_free(&env);
	spool_close(&s);
}

/* More than are held open, some with a reader; and the spool is closed before
 * all is done. */
static void
test_room_many(void **state)
{
	struct spool *s = test_open(*state);
	int fds[10];

	for (int i = 0; i < 200; i++) {
		uint64_t token = sparse_file(s, 9 << 20);
		char *path = xasprintf("%s/spool/body/tmp-%d", (char *)*state,
			(int)token);

		if (i % 20 == 0)
			fds[i / 20] = open(path, O_RDONLY | O_CLOEXEC);
		free(path);
		spool_body_file_drop(s, token);
	}
	assert_int_equal(test_body_files(*state), 0);
	for (int i = 0; i < 100; i++)
		(void)spool_give_room(s);
	assert_true(spool_room_waits(s));
	(void)give_all(s);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(lseek(fds[i], 0, SEEK_END), 9 << 20);
		(void)close(fds[i]);
	}
	spool_body_file_drop(s, sparse_file(s, 9 << 20));
	assert_true(spool_room_waits(s));
	spool_close(&s);
	s = test_open(*state);
	assert_int_equal(test_body_files(*state), 0);
	spool_close(&s);
}

/* After much was removed, idle work gives the space back in slices. */
static void
test_idle_shrinks(void **state)
{
	struct spool *s = test_open(*state);
	static const char text[7000];
	struct spool_body body = { .data = text, .len = sizeof(text) };
	char *path = xasprintf("%s/spool/queue.db", (char *)*state);
	struct stat before, after;
	unsigned slices = 0;

	assert_int_equal(spool_begin(s), ST_OK);
	for (int i = 0; i < 3000; i++) {
		struct envelope *env = test_envelope("a@one.test");

		assert_int_equal(spool_add(s, env, &body, T0, EXPIRES), ST_OK);
		envelope_free(&env);
	}
	assert_int_equal(spool_commit(s), ST_OK);
	assert_true(spool_log_long(s));
	assert_false(spool_idle(s));
	assert_false(spool_log_long(s));
	assert_int_equal(test_act(s, &test_any, SPOOL_REMOVE), 3000);
	assert_int_equal(stat(path, &before), 0);
	while (spool_idle(s))
		assert_true(++slices < 300);
	assert_true(slices > 1);
	spool_close(&s);
	assert_int_equal(stat(path, &after), 0);
	assert_true(after.st_size < before.st_size / 2);
	free(path);
}

static void
test_lock(void **state)
{
	struct spool *s = test_open(*state), *second;
	char err[512];
	enum status st;

	second = test_try(*state, &st, err);
	assert_null(second);
	assert_int_equal(st, ST_DENIED);
	assert_non_null(strstr(err, "in use"));
	spool_close(&s);
	s = test_open(*state);
	spool_close(&s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, test_dir_setup, \
	test_dir_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_file_life),
		T(test_file_rollback),
		T(test_file_50_mb),
		T(test_room),
		T(test_room_many),
		T(test_idle_shrinks),
		T(test_lock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
