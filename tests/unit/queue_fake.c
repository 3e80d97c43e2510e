/*
 * The parts around a queue manager.
 */
#include "config.h"

#include <dirent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "tests/unit/queue_fake.h"

#define JOBS_MAX 20000

struct queue *fq;
struct spool *fq_spool;
struct job *fq_jobs;
size_t fq_job_count;
struct request fq_requests[2000];
uint64_t fq_worker;
bool fq_send_fails;
size_t fq_asked;
struct msg_policy_host fq_told[FQ_TOLD_MAX];
size_t fq_told_count;
uint64_t fq_told_worker;
struct fq_sts fq_sts[FQ_STS_MAX];
size_t fq_sts_count;
bool fq_owns;
struct fq_report fq_reports[FQ_REPORTS_MAX];
size_t fq_report_count;

static const char *die_at;
static struct event_base *base;
static struct conf *conf;
static char dir[64], conf_text[1000];
static unsigned next_request;
static bool in_transaction;

/* ---- the port ---- */

static void
on_accepted(uint64_t child, uint64_t request, uint64_t id, void *arg)
{
	assert_ptr_equal(arg, &fq);
	assert_false(in_transaction);	/* durable, then said */
	assert_int_equal(child, INJECT_ID);
	assert_true(id != 0);
	assert_int_equal(fq_requests[request].accepted, 0);
	assert_int_equal(fq_requests[request].rejected, 0);
	fq_requests[request].accepted = id;
}

static void
on_rejected(uint64_t child, uint64_t request, const struct msg_rejected *msg,
	void *arg)
{
	struct request *r = &fq_requests[request];

	assert_ptr_equal(arg, &fq);
	assert_true(child == INJECT_ID || child == INJECT_ID + 1);
	assert_int_equal(r->accepted, 0);
	assert_int_equal(r->rejected, 0);
	assert_int_equal(msg->enhanced[0], '0' + msg->code / 100);
	assert_true(msg->text[0] != '\0');
	r->rejected = (unsigned)msg->code;
	(void)str_copy(r->enhanced, sizeof(r->enhanced), msg->enhanced);
}

static void
on_body_file(uint64_t child, uint64_t request, uint64_t token, int fd,
	void *arg)
{
	assert_ptr_equal(arg, &fq);
	assert_int_equal(child, INJECT_ID);
	fq_requests[request].token = token;
	fq_requests[request].fd = dup(fd);
	assert_true(fq_requests[request].fd >= 0);
}

static uint64_t
worker_for(const char *destination, size_t bytes, void *arg)
{
	assert_ptr_equal(arg, &fq);
	assert_true(destination[0] != '\0');
	assert_true(bytes <= IPC_PAYLOAD_MAX);
	fq_asked++;
	return fq_worker;
}

static char *
body_of(const struct msg_job *msg, int fd)
{
	size_t len = (size_t)msg->env->size_bytes;
	char *body = xcalloc(len + 1, 1);

	if (msg->body != NULL) {
		assert_int_equal(msg->body_len, len);
		memcpy(body, msg->body, len);
	} else {
		assert_true(fd >= 0);
		assert_int_equal(pread(fd, body, len + 1, 0), (ssize_t)len);
	}
	return body;
}

static bool
send_job(uint64_t worker, uint64_t id, const struct buf *payload, int fd,
	void *arg)
{
	struct job *j = &fq_jobs[fq_job_count];
	struct reader r;

	assert_ptr_equal(arg, &fq);
	assert_true(worker != 0 && worker == fq_worker);
	if (fq_send_fails)
		return false;
	assert_true(++fq_job_count < JOBS_MAX);
	j->id = id;
	j->worker = worker;
	reader_init(&r, buf_data(payload), payload->len);
	assert_int_equal(msg_job_decode(&r, &j->msg), ST_OK);
	j->body = body_of(&j->msg, fd);
	j->msg.body = NULL;
	for (size_t i = 0; i < j->msg.env->rcpt_count; i++)
		assert_string_equal(j->msg.env->rcpts[i].destination,
			j->msg.destination);
	for (size_t i = 0; i + 1 < fq_job_count; i++)
		assert_true(fq_jobs[i].id != id);
	return true;
}

static void
on_remembered(const struct msg_policy *msg, uint64_t worker, void *arg)
{
	assert_ptr_equal(arg, &fq);
	assert_false(in_transaction);	/* durable, then said */
	assert_true(msg->count > 0 && msg->count <= MSG_POLICY_HOSTS_MAX);
	fq_told_worker = worker;
	for (size_t i = 0; i < msg->count; i++)
		if (fq_told_count < FQ_TOLD_MAX)
			fq_told[fq_told_count++] = msg->hosts[i];
}

static void
on_send_sts(uint64_t worker, uint64_t id, const struct msg_sts *msg,
	void *arg)
{
	struct fq_sts *to = &fq_sts[fq_sts_count];
	struct reader r;
	struct buf b;

	assert_ptr_equal(arg, &fq);
	assert_true(fq_sts_count < FQ_STS_MAX);
	fq_sts_count++;
	to->worker = worker;
	to->id = id;
	buf_init(&b, IPC_PAYLOAD_MAX);
	assert_int_equal(msg_sts_encode(msg, &b), ST_OK);
	reader_init(&r, buf_data(&b), b.len);
	assert_int_equal(msg_sts_decode(&r, &to->msg), ST_OK);
	buf_clear(&b);
}

static void
on_send_report(uint64_t worker, uint64_t id, const struct msg_report *msg,
	void *arg)
{
	struct fq_report *to = &fq_reports[fq_report_count];
	struct reader r;
	struct buf b;

	assert_ptr_equal(arg, &fq);
	assert_true(fq_report_count < FQ_REPORTS_MAX);
	fq_report_count++;
	to->worker = worker;
	to->id = id;
	buf_init(&b, IPC_PAYLOAD_MAX);
	assert_int_equal(msg_report_encode(msg, &b), ST_OK);
	reader_init(&r, buf_data(&b), b.len);
	assert_int_equal(msg_report_decode(&r, &to->msg), ST_OK);
	buf_clear(&b);
}

void
fq_reports_clear(void)
{
	for (size_t i = 0; i < fq_report_count; i++)
		msg_report_clear(&fq_reports[i].msg);
	fq_report_count = 0;
}

static bool
owns(uint64_t worker, const char *domain, void *arg)
{
	assert_ptr_equal(arg, &fq);
	assert_true(domain[0] != '\0');
	return fq_owns && worker == WORKER_ID;
}

void
fq_sts_clear(void)
{
	for (size_t i = 0; i < fq_sts_count; i++)
		msg_sts_clear(&fq_sts[i].msg);
	fq_sts_count = 0;
}

/* ---- life ---- */

static void
on_step(const char *step)
{
	if (die_at != NULL && strcmp(step, die_at) == 0)
		_exit(9);
	if (strcmp(step, "begin") == 0)
		in_transaction = true;
	else if (strcmp(step, "after-commit") == 0)
		in_transaction = false;
}

static void
open_all(void)
{
	const struct queue_port port = { .accepted = on_accepted,
		.rejected = on_rejected, .body_file = on_body_file,
		.worker_for = worker_for, .send_job = send_job,
		.remembered = on_remembered, .send_sts = on_send_sts,
		.send_report = on_send_report, .owns = owns, .arg = &fq };
	const struct spool_options opt = { .inline_bytes = 1000,
		.test_step = on_step };
	char url[100], err[SPOOL_TEXT_MAX], text[1500];

	(void)snprintf(text, sizeof(text), "hostname = \"me.example\"\n"
		"postmaster = \"pm@me.example\"\n"
		"limit { free-space = 0 }\n%s", conf_text);
	if (conf_parse("t", strstr(conf_text, "limit") == NULL ? text :
	    conf_text, &conf, err) != ST_OK)
		fail_msg("%s", err);
	(void)snprintf(url, sizeof(url), "sqlite:%s/spool", dir);
	if (spool_open(url, &opt, &fq_spool, err, sizeof(err)) != ST_OK)
		fail_msg("%s", err);
	in_transaction = false;
	fq = queue_new(base, conf, fq_spool, &port);
}

static void
forget_jobs(void)
{
	for (size_t i = 0; i < fq_job_count; i++) {
		msg_job_clear(&fq_jobs[i].msg);
		free(fq_jobs[i].body);
	}
	memset(fq_jobs, 0, fq_job_count * sizeof(fq_jobs[0]));
	fq_job_count = 0;
}

static void
close_all(void)
{
	queue_free(&fq);
	spool_close(&fq_spool);
	conf_free(&conf);
	forget_jobs();
}

void
fq_restart(void)
{
	close_all();
	open_all();
}

void
fq_use_conf(const char *more)
{
	(void)str_copy(conf_text, sizeof(conf_text), more);
	fq_restart();
}

bool
fq_die(const char *step, void (*work)(void))
{
	int status = 0;
	pid_t pid;

	close_all();
	pid = fork();
	if (pid == 0) {
		(void)event_reinit(base);
		open_all();
		die_at = step;
		work();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	open_all();
	return WIFEXITED(status) && WEXITSTATUS(status) == 9;
}

int
fq_setup(void **state)
{
	(void)state;
	(void)str_copy(dir, sizeof(dir), "/tmp/test-queue-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	log_init("t", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	clock_test_set(T0);
	conf_text[0] = '\0';
	fq_told_count = 0;
	fq_owns = true;
	fq_worker = WORKER_ID;
	fq_send_fails = false;
	fq_asked = 0;
	next_request = 0;
	memset(fq_requests, 0, sizeof(fq_requests));
	for (size_t i = 0; i < 2000; i++)
		fq_requests[i].fd = -1;
	fq_jobs = xcalloc(JOBS_MAX, sizeof(fq_jobs[0]));
	base = event_base_new();
	open_all();
	return 0;
}

static void
remove_dir(const char *path)
{
	char command[200];

	assert_int_equal(strncmp(path, "/tmp/test-queue-", 16), 0);
	(void)snprintf(command, sizeof(command), "rm -rf %s", path);
	assert_int_equal(system(command), 0);
}

int
fq_teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2000; i++)
		if (fq_requests[i].fd >= 0)
			(void)close(fq_requests[i].fd);
	close_all();
	fq_sts_clear();
	fq_reports_clear();
	free(fq_jobs);
	event_base_free(base);
	clock_test_real();
	remove_dir(dir);
	return 0;
}

/* ---- time ---- */

void
fq_turn(void)
{
	for (int i = 0; i < 6; i++)
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
}

void
fq_run_ms(unsigned ms)
{
	for (unsigned i = 0; i < ms; i += 5) {
		fq_turn();
		(void)usleep(5000);
	}
	fq_turn();
}

void
fq_advance(int64_t ms)
{
	clock_test_set(clock_wall_ms() + ms);
	queue_kick(fq);
	fq_run_ms(40);
}

/* ---- inject's part ---- */

struct envelope *
fq_envelope(const char *sender, const char *rcpts)
{
	struct envelope *env = envelope_new(sender);
	char *copy = xstrdup(rcpts), *save = NULL;

	for (char *r = strtok_r(copy, " ", &save); r != NULL;
	    r = strtok_r(NULL, " ", &save))
		(void)envelope_add_rcpt(env, r, strchr(r, '@') + 1);
	free(copy);
	return env;
}

unsigned
fq_submit_env(struct envelope *env, const char *body)
{
	struct msg_submit msg = { .env = env, .body = (const uint8_t *)body,
		.body_len = strlen(body) };

	assert_true(++next_request < 2000);
	queue_submit(fq, INJECT_ID, next_request, &msg);
	assert_null(msg.env);
	return next_request;
}

unsigned
fq_submit(const char *sender, const char *rcpts)
{
	return fq_submit_env(fq_envelope(sender, rcpts),
		"Subject: test\r\n\r\nHello\r\n");
}

/* ---- the worker's part ---- */

struct job *
fq_job(const char *destination)
{
	for (size_t i = fq_job_count; i > 0; i--)
		if (!fq_jobs[i - 1].answered && strcmp(destination,
		    fq_jobs[i - 1].msg.destination) == 0)
			return &fq_jobs[i - 1];
	return NULL;
}

size_t
fq_open_jobs(void)
{
	size_t n = 0;

	for (size_t i = 0; i < fq_job_count; i++)
		n += !fq_jobs[i].answered;
	return n;
}

struct outcome
fq_outcome(int code)
{
	return outcome_reply(SCOPE_RCPT, code == 250 ? STAGE_EOM : STAGE_RCPT,
		code, code == 550 ? "5.1.1" : NULL, "says the host");
}

void
fq_answer(struct job *j, int code)
{
	size_t n = j->msg.env->rcpt_count;
	struct msg_rcpt_result *r = xcalloc(n, sizeof(*r));
	const struct msg_result msg = { .final = true, .rcpts = r,
		.rcpt_count = n };

	assert_false(j->answered);
	for (size_t i = 0; i < n; i++) {
		r[i].rcpt_id = j->msg.env->rcpts[i].id;
		r[i].outcome = fq_outcome(code);
		(void)str_copy(r[i].mx, sizeof(r[i].mx), "mx.example");
	}
	assert_int_equal(queue_result(fq, j->worker, j->id, &msg), ST_OK);
	j->answered = true;
	free(r);
}

void
fq_answer_one(struct job *j, size_t i, int code, bool final)
{
	struct msg_rcpt_result r = { .rcpt_id = j->msg.env->rcpts[i].id,
		.outcome = fq_outcome(code) };
	const struct msg_result msg = { .final = final, .rcpts = &r,
		.rcpt_count = 1 };

	assert_int_equal(queue_result(fq, j->worker, j->id, &msg), ST_OK);
	j->answered = j->answered || final;
}

/* ---- questions ---- */

struct spool_stats
fq_spool_stats(void)
{
	struct spool_stats s;

	assert_int_equal(spool_stats(fq_spool, clock_wall_ms(), &s), ST_OK);
	return s;
}

struct queue_stats
fq_stats(void)
{
	struct queue_stats s;

	queue_stats(fq, &s);
	return s;
}

unsigned
fq_body_files(void)
{
	char path[100];
	struct dirent *e;
	unsigned n = 0;
	DIR *d;

	(void)snprintf(path, sizeof(path), "%s/spool/body", dir);
	d = opendir(path);
	assert_non_null(d);
	while ((e = readdir(d)) != NULL)
		n += e->d_name[0] != '.';
	(void)closedir(d);
	return n;
}
