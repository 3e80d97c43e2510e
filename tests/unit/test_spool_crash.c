/*
 * kill -9 at every step and at random moments; what a crash leaves must be
 * one of the states in ARCHITECTURE.md, and nothing acknowledged is lost.
 */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "tests/unit/test_spool_util.h"

#define FILE_BYTES 5000
#define CHURN_MAX 100000

/* What the victim has done, in memory that outlives it. */
struct diary {
	unsigned steps_left;	/* killed when this reaches 0 */
	unsigned phase;		/* of the script, see below */
	uint64_t ids[3];	/* messages A, B, C; set before the commit */
	size_t added, finished;	/* churn: acknowledged counts */
	uint64_t churn[CHURN_MAX];
};

static struct diary *diary;

static void
on_step(const char *step)
{
	(void)step;
	if (--diary->steps_left == 0)
		(void)kill(getpid(), SIGKILL);
}

static int
diary_setup(void **state)
{
	diary = mmap(NULL, sizeof(*diary), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return diary == MAP_FAILED ? -1 : test_dir_setup(state);
}

static int
diary_teardown(void **state)
{
	test_step_hook(NULL);
	(void)munmap(diary, sizeof(*diary));
	return test_dir_teardown(state);
}

/* The victim exits with 9 when a call fails: it must die, not fail. */
static void
must(enum status st)
{
	if (st != ST_OK)
		_exit(9);
}

static void
add_one(struct spool *s, const struct spool_body *body, uint64_t *id_out,
	uint64_t size_bytes)
{
	struct envelope *env = test_envelope("a@one.test b@two.test");

	env->size_bytes = size_bytes;
	must(spool_add(s, env, body, test_now_ms, EXPIRES));
	*id_out = env->id;
	envelope_free(&env);
}

static void
finish(struct spool *s, uint64_t id)
{
	struct spool_delivery d[2];
	struct envelope *env;
	size_t count;

	must(spool_deliveries_of(s, id, d, 2, &count));
	for (size_t i = 0; i < count; i++) {
		struct spool_rcpt_result r = { .finished = true };

		must(spool_envelope(s, id, d[i].id, &env));
		r.rcpt_id = env->rcpts[0].id;
		must(spool_results(s, d[i].id, &r, 1));
		envelope_free(&env);
	}
}

static struct spool *
victim_open(const char *dir)
{
	char err[512];
	enum status st;
	struct spool *s = test_try(dir, &st, err);

	must(st);
	return s;
}

/*
 * The script.  diary->phase counts commits that have returned:
 *	1: A (inline) is in	2: B (inline) and C (file) are in
 *	3: A is finished	4: C is finished
 */
static void
script(const char *dir)
{
	struct spool *s = victim_open(dir);
	struct spool_body text = { .data = "body", .len = 4 }, file = { 0 };
	char block[FILE_BYTES] = "";
	int fd;

	must(spool_begin(s));
	add_one(s, &text, &diary->ids[0], 4);
	must(spool_commit(s));
	diary->phase = 1;
	must(spool_body_file_new(s, &file.file_token, &fd));
	if (write(fd, block, sizeof(block)) != sizeof(block))
		_exit(9);
	(void)close(fd);
	must(spool_begin(s));
	add_one(s, &text, &diary->ids[1], 4);
	add_one(s, &file, &diary->ids[2], FILE_BYTES);
	must(spool_commit(s));
	diary->phase = 2;
	must(spool_begin(s));
	finish(s, diary->ids[0]);
	must(spool_commit(s));
	diary->phase = 3;
	must(spool_begin(s));
	finish(s, diary->ids[2]);
	must(spool_commit(s));
	diary->phase = 4;
	spool_close(&s);
}

/* Runs the function in a process of its own; true when it was killed. */
static bool
run_victim(void (*victim)(const char *), const char *dir, unsigned steps)
{
	int status;
	pid_t pid;

	diary->steps_left = steps;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		test_step_hook(on_step);
		victim(dir);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status)) {
		assert_int_equal(WTERMSIG(status), SIGKILL);
		return true;
	}
	assert_int_equal(WEXITSTATUS(status), 0);
	return false;
}

/* The message is there, whole: envelope, and body of the right size. */
static bool
is_there(struct spool *s, uint64_t id, size_t size_bytes)
{
	struct envelope *env;
	size_t len;
	void *data;
	int fd;

	if (id == 0 || spool_envelope(s, id, 0, &env) == ST_NOENT)
		return false;
	assert_non_null(env);
	assert_int_equal(env->rcpt_count, 2);
	envelope_free(&env);
	assert_int_equal(spool_body_get(s, id, &data, &len, &fd), ST_OK);
	assert_int_equal(len, size_bytes);
	free(data);
	if (fd >= 0)
		(void)close(fd);
	return true;
}

/* After each phase: which of A, B, C may be there.  Each row is a legal state
 * of the disk; a crash may leave the row of its phase or the next. */
static const bool states[][3] = {
	{ false, false, false },
	{ true, false, false },
	{ true, true, true },
	{ false, true, true },
	{ false, true, false },
};

static bool
state_is(const bool there[3], unsigned phase)
{
	return phase < 5 && memcmp(there, states[phase], 3 * sizeof(bool)) ==
		0;
}

static void
check_after(const char *dir)
{
	struct spool *s = test_open(dir);
	bool there[3];
	uint64_t last = 0, id;

	for (int i = 0; i < 3; i++) {
		there[i] = is_there(s, diary->ids[i],
			i == 2 ? FILE_BYTES : 4);
		last = diary->ids[i] > last ? diary->ids[i] : last;
	}
	if (!state_is(there, diary->phase) &&
	    !state_is(there, diary->phase + 1))
		fail_msg("phase %u leaves %d %d %d", diary->phase, there[0],
			there[1], there[2]);
	assert_int_equal(test_body_files(dir), there[2]);
	test_check_totals(s);
	/* An id that was given, even if its commit was lost, may come again
	 * only if nobody was told of it. */
	id = test_add(s, "a@one.test b@two.test", "body");
	for (int i = 0; i < 3; i++)
		if (there[i])
			assert_true(id > diary->ids[i]);
	spool_close(&s);
}

static void
test_each_step(void **state)
{
	unsigned steps = 0;
	bool killed = true;

	while (killed) {
		char *dir = xasprintf("%s/%u", (char *)*state, ++steps);

		assert_true(steps < 200);
		memset(diary, 0, sizeof(diary->ids) + 16);
		assert_int_equal(access(*state, W_OK), 0);
		assert_int_equal(mkdir(dir, 0700), 0);
		killed = run_victim(script, dir, steps);
		check_after(dir);
		free(dir);
	}
	assert_int_equal(diary->phase, 4);
	assert_true(steps > 30);	/* the steps are still there */
}

/* Orphans of both kinds, then a crash at each step of opening and sweeping. */
static void
make_orphans(const char *dir)
{
	struct spool *s = test_open(dir);
	char name[STR_ID_MAX];

	(void)test_body_file(s, 10);
	(void)test_body_file(s, 20);
	(void)test_add(s, "a@one.test b@two.test", "body");
	spool_close(&s);
	for (uint64_t i = 1; i < 4; i++) {
		char *path;

		str_id_format(i, name);
		path = xasprintf("%s/spool/body/%s", dir, name);
		(void)close(open(path, O_CREAT | O_WRONLY, 0600));
		free(path);
	}
	assert_int_equal(test_body_files(dir), 5);
}

static void
open_only(const char *dir)
{
	struct spool *s = victim_open(dir);

	spool_close(&s);
}

static void
test_sweep(void **state)
{
	unsigned steps = 0;
	bool killed = true;

	while (killed) {
		char *dir = xasprintf("%s/%u", (char *)*state, ++steps);
		struct spool *s;
		struct spool_stats st;

		assert_true(steps < 100);
		assert_int_equal(mkdir(dir, 0700), 0);
		make_orphans(dir);
		killed = run_victim(open_only, dir, steps);
		s = test_open(dir);
		assert_int_equal(test_body_files(dir), 0);
		assert_int_equal(spool_stats(s, T0, &st), ST_OK);
		assert_int_equal(st.messages, 1);
		spool_close(&s);
		free(dir);
	}
	assert_true(steps > 10);
}

/* ---- at any moment ---- */

static void
churn(const char *dir)
{
	struct spool *s = victim_open(dir);
	static char body[3000];
	struct spool_body text = { .data = body, .len = sizeof(body) };

	while (diary->added < CHURN_MAX) {
		size_t n = diary->added;

		must(spool_begin(s));
		add_one(s, &text, &diary->churn[n], sizeof(body));
		if (n % 3 == 2 && diary->finished < n / 2)
			finish(s, diary->churn[diary->finished]);
		must(spool_commit(s));
		if (n % 3 == 2 && diary->finished < n / 2)
			diary->finished++;
		diary->added = n + 1;
	}
}

static void
check_churn(const char *dir)
{
	struct spool *s = test_open(dir);
	size_t kept = diary->added - diary->finished;
	struct spool_stats st;

	/* diary->finished and added are what was acknowledged; the commit
	 * under way may be in or not. */
	for (size_t i = 0; i < diary->added; i++) {
		bool there = is_there(s, diary->churn[i], 3000);

		if (i < diary->finished)
			assert_false(there);
		if (i > diary->finished)
			assert_true(there);
	}
	test_check_totals(s);
	assert_int_equal(spool_stats(s, T0, &st), ST_OK);
	assert_in_range(st.messages, kept == 0 ? 0 : kept - 1, kept + 1);
	spool_close(&s);
}

static void
test_any_moment(void **state)
{
	struct timespec wait = { 0 };

	for (unsigned round = 0; round < 25; round++) {
		char *dir = xasprintf("%s/%u", (char *)*state, round);
		int status;
		pid_t pid;

		memset(diary, 0, sizeof(*diary));
		assert_int_equal(mkdir(dir, 0700), 0);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			churn(dir);
			_exit(0);
		}
		wait.tv_nsec = (long)(round * 7919 % 40) * 1000000;
		(void)nanosleep(&wait, NULL);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		check_churn(dir);
		free(dir);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, diary_setup, diary_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_each_step), T(test_sweep), T(test_any_moment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
