/*
 * Helpers of the spool's tests.
 */
#include "config.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "spool/spool_int.h"
#include "tests/unit/test_spool_util.h"

int64_t test_now_ms = T0;
const struct spool_filter test_any = { .held = -1 };
static void (*step_hook)(const char *);

static int64_t
now_ms(void)
{
	return test_now_ms;
}

static void
on_step(const char *step)
{
	if (step_hook != NULL)
		step_hook(step);
}

void
test_step_hook(void (*hook)(const char *))
{
	step_hook = hook;
}

int
test_dir_setup(void **state)
{
	char path[] = "/tmp/test-spool-XXXXXX";

	test_now_ms = T0;
	step_hook = NULL;
	if (mkdtemp(path) == NULL)
		return -1;
	*state = xstrdup(path);
	return 0;
}

void
test_dir_remove(const char *path)
{
	struct dirent *entry;
	DIR *dir = opendir(path);

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		char *name;

		if (strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0)
			continue;
		name = xasprintf("%s/%s", path, entry->d_name);
		if (unlink(name) != 0)
			test_dir_remove(name);
		free(name);
	}
	if (dir != NULL)
		(void)closedir(dir);
	(void)rmdir(path);
}

int
test_dir_teardown(void **state)
{
	test_dir_remove(*state);
	free(*state);
	return 0;
}

struct spool *
test_try(const char *dir, enum status *st_out, char err[512])
{
	struct spool_options opt = { .inline_bytes = 1024, .now_ms = now_ms,
		.test_step = on_step };
	char *url = xasprintf("sqlite:%s/spool", dir);
	struct spool *s;

	err[0] = '\0';
	*st_out = spool_open(url, &opt, &s, err, 512);
	free(url);
	return s;
}

struct spool *
test_open(const char *dir)
{
	char err[512];
	enum status st;
	struct spool *s = test_try(dir, &st, err);

	if (s == NULL)
		print_error("%s\n", err);
	assert_int_equal(st, ST_OK);
	return s;
}

struct envelope *
test_envelope(const char *rcpts)
{
	struct envelope *env = envelope_new("s@x.test");
	char *copy = xstrdup(rcpts), *save = NULL;

	for (char *r = strtok_r(copy, " ", &save); r != NULL;
	    r = strtok_r(NULL, " ", &save))
		(void)envelope_add_rcpt(env, r, strchr(r, '@') + 1);
	free(copy);
	return env;
}

uint64_t
test_add(struct spool *s, const char *rcpts, const char *body)
{
	struct envelope *env = test_envelope(rcpts);
	struct spool_body b = { .data = body, .len = strlen(body) };
	uint64_t id;

	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_add(s, env, &b, test_now_ms, EXPIRES), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	id = env->id;
	envelope_free(&env);
	return id;
}

uint64_t
test_body_file(struct spool *s, size_t size_bytes)
{
	static const char block[65536] = "some text\r\n";
	uint64_t token;
	int fd;

	assert_int_equal(spool_body_file_new(s, &token, &fd), ST_OK);
	while (size_bytes > 0) {
		size_t n = size_bytes < sizeof(block) ? size_bytes :
			sizeof(block);

		assert_int_equal(write(fd, block, n), n);
		size_bytes -= n;
	}
	assert_int_equal(close(fd), 0);
	return token;
}

struct spool_delivery
test_delivery(struct spool *s, uint64_t message_id)
{
	struct spool_delivery d[2];
	size_t count;

	assert_int_equal(spool_deliveries_of(s, message_id, d, 2, &count),
		ST_OK);
	assert_int_equal(count, 1);
	return d[0];
}

static void
finish_delivery(struct spool *s, const struct spool_delivery *d)
{
	struct envelope *env;

	assert_int_equal(spool_envelope(s, d->message_id, d->id, &env),
		ST_OK);
	for (size_t i = 0; i < env->rcpt_count; i++) {
		struct spool_rcpt_result r = { .finished = true,
			.rcpt_id = env->rcpts[i].id };

		assert_int_equal(spool_results(s, d->id, &r, 1), ST_OK);
	}
	envelope_free(&env);
}

void
test_finish(struct spool *s, uint64_t message_id)
{
	struct spool_delivery d[16];
	size_t count;

	assert_int_equal(spool_deliveries_of(s, message_id, d, 16, &count),
		ST_OK);
	assert_int_equal(spool_begin(s), ST_OK);
	for (size_t i = 0; i < count; i++)
		finish_delivery(s, &d[i]);
	assert_int_equal(spool_commit(s), ST_OK);
}

unsigned
test_body_files(const char *dir)
{
	char *path = xasprintf("%s/spool/body", dir);
	DIR *d = opendir(path);
	struct dirent *entry;
	unsigned count = 0;

	assert_non_null(d);
	while ((entry = readdir(d)) != NULL)
		count += entry->d_name[0] != '.';
	(void)closedir(d);
	free(path);
	return count;
}

static int64_t
count_of(struct spool *s, const char *sql)
{
	sqlite3_stmt *stmt;
	int64_t count;

	assert_int_equal(sqlite3_prepare_v2(s->db, sql, -1, &stmt, NULL),
		SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	count = sqlite3_column_int64(stmt, 0);
	(void)sqlite3_finalize(stmt);
	return count;
}

void
test_check_totals(struct spool *s)
{
	static const char *const zero[] = {
		"SELECT count(*) FROM recipient WHERE delivery_id NOT IN "
		"(SELECT id FROM delivery)",
		"SELECT count(*) FROM delivery d WHERE NOT EXISTS (SELECT 1 "
		"FROM message m WHERE m.id = d.message_id AND d.id > m.id "
		"AND d.id <= m.last_id)",
		"SELECT count(*) FROM delivery WHERE id NOT IN "
		"(SELECT delivery_id FROM recipient)",
		"SELECT count(*) FROM message WHERE id NOT IN "
		"(SELECT message_id FROM delivery)",
		"SELECT count(*) FROM message WHERE body_file = 0 AND id NOT "
		"IN (SELECT id FROM body)",
		"SELECT count(*) FROM body WHERE id NOT IN (SELECT id FROM "
		"message WHERE body_file = 0)",
		"SELECT count(*) FROM message, totals t WHERE "
		"message.last_id > t.last_id",
		/* Counts and due times of destinations, against a recount. */
		"SELECT count(*) FROM destination t WHERE t.deliveries != "
		"(SELECT count(*) FROM delivery d WHERE d.destination = "
		"t.name) OR t.held != (SELECT count(*) FROM delivery d WHERE "
		"d.destination = t.name AND d.held != 0)",
		"SELECT count(*) FROM delivery WHERE retry != (attempts > 0)",
		"SELECT count(*) FROM delivery WHERE destination NOT IN "
		"(SELECT name FROM destination)",
		"SELECT count(*) FROM destination t WHERE t.wait_ms = 0 AND "
		"(t.new_ms IS NOT (SELECT min(next_ms) FROM delivery d WHERE "
		"d.destination = t.name AND d.held = 0 AND d.attempts = 0) "
		"OR t.retry_ms IS NOT (SELECT min(next_ms) FROM delivery d "
		"WHERE d.destination = t.name AND d.held = 0 AND "
		"d.attempts > 0))",
	};
	size_t mended = 0;
	char name[256] = "";
	bool more = true;
	struct spool_stats st;

	assert_int_equal(spool_stats(s, INT64_MAX, &st), ST_OK);
	assert_int_equal(st.messages, count_of(s,
		"SELECT count(*) FROM message"));
	assert_int_equal(st.deliveries, count_of(s,
		"SELECT count(*) FROM delivery"));
	assert_int_equal(st.recipients, count_of(s,
		"SELECT count(*) FROM recipient"));
	assert_int_equal(st.held, count_of(s,
		"SELECT count(*) FROM delivery WHERE held != 0"));
	assert_int_equal(st.due, count_of(s,
		"SELECT count(*) FROM delivery d WHERE held = 0 AND NOT "
		"EXISTS (SELECT 1 FROM destination WHERE "
		"name = d.destination AND wait_ms = 9223372036854775807)"));
	assert_int_equal(st.bytes, count_of(s,
		"SELECT coalesce(sum(size_bytes), 0) FROM message"));
	for (size_t i = 0; i < sizeof(zero) / sizeof(zero[0]); i++)
		assert_int_equal(count_of(s, zero[i]), 0);
	/* The counts are mended in a transaction. */
	while (more && !spool_broken(s)) {
		assert_int_equal(spool_begin(s), ST_OK);
		assert_int_equal(spool_recheck(s, name, 10, &mended, &more),
			ST_OK);
		assert_int_equal(mended, 0);
		assert_int_equal(spool_commit(s), ST_OK);
	}
}

static int
compare_due(const void *left, const void *right)
{
	const struct spool_delivery *a = left, *b = right;

	if (a->next_ms != b->next_ms)
		return a->next_ms < b->next_ms ? -1 : 1;
	return (a->id > b->id) - (a->id < b->id);
}

#define DUE_MAX 20000

static enum status
lane_due(struct spool *s, const char *destination, enum spool_class class,
	int64_t now_ms, struct spool_delivery *all, size_t *n)
{
	struct spool_cursor cursor = { 0 };
	struct spool_due due[7];
	size_t count = 0;
	enum status st;

	do {
		st = spool_lane_due(s, destination, class, now_ms, &cursor,
			due, 7, &count);
		for (size_t i = 0; st == ST_OK && i < count; i++) {
			assert_true(*n < DUE_MAX);
			st = spool_delivery(s, due[i].id, &all[(*n)++]);
		}
	} while (st == ST_OK && count == 7);
	return st;
}

enum status
test_all_due(struct spool *s, int64_t now_ms, struct spool_cursor *cursor,
	struct spool_delivery *out, size_t max, size_t *count_out)
{
	struct spool_delivery *all = xcalloc(DUE_MAX, sizeof(all[0]));
	enum status st = ST_OK;
	size_t n = 0;

	*count_out = 0;
	for (enum spool_class c = 0; c < SPOOL_CLASSES; c++) {
		struct spool_lane at = { 0 }, lanes[3];
		size_t count = 3;

		while (st == ST_OK && count == 3) {
			st = spool_lanes(s, c, now_ms, &at, lanes, 3, &count);
			for (size_t i = 0; st == ST_OK && i < count; i++)
				st = lane_due(s, lanes[i].destination, c,
					now_ms, all, &n);
		}
	}
	qsort(all, n, sizeof(all[0]), compare_due);
	for (size_t i = 0; i < n && *count_out < max; i++) {
		if (all[i].next_ms < cursor->next_ms ||
		    (all[i].next_ms == cursor->next_ms &&
		    all[i].id <= cursor->id))
			continue;
		out[(*count_out)++] = all[i];
	}
	if (*count_out > 0) {
		cursor->next_ms = out[*count_out - 1].next_ms;
		cursor->id = out[*count_out - 1].id;
	}
	free(all);
	return st;
}

int64_t
test_next_due(struct spool *s, const struct spool_cursor *cursor)
{
	struct spool_cursor at = *cursor;
	struct spool_delivery d;
	size_t count;

	assert_int_equal(test_all_due(s, INT64_MAX - 1, &at, &d, 1, &count),
		ST_OK);
	return count > 0 ? d.next_ms : INT64_MAX;
}

uint64_t
test_act(struct spool *s, const struct spool_filter *f,
	enum spool_action action)
{
	uint64_t count;

	assert_int_equal(spool_begin(s), ST_OK);
	assert_int_equal(spool_act(s, f, action, test_now_ms, &count), ST_OK);
	assert_int_equal(spool_commit(s), ST_OK);
	test_check_totals(s);
	return count;
}
