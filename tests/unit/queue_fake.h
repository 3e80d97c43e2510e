/*
 * A queue manager on a real spool in a private directory, with inject and
 * workers played by the test.  The clock stands still until it is moved.
 */
#ifndef TESTS_UNIT_QUEUE_FAKE_H
#define TESTS_UNIT_QUEUE_FAKE_H

#include "smtpd-out/queue/queue.h"

#define T0 INT64_C(1700000000000)
#define HOUR INT64_C(3600000)
#define INJECT_ID 3
#define WORKER_ID 7
#define BIG_BODY 5000		/* goes to a file */

/* A job that the worker has been given. */
struct job {
	uint64_t id, worker;
	struct msg_job msg;	/* body is owned and ends in NUL */
	char *body;
	bool answered;
};

struct request {		/* what inject got for a request */
	uint64_t accepted;	/* queue id */
	unsigned rejected;	/* code */
	char enhanced[OUTCOME_ENHANCED_MAX];
	uint64_t token;
	int fd;			/* of body_file: -1 or open */
};

extern struct queue *fq;
extern struct spool *fq_spool;
extern struct job *fq_jobs;	/* in order of arrival */
extern size_t fq_job_count;
extern struct request fq_requests[2000];	/* by request number */
extern uint64_t fq_worker;	/* 0: none can take a job */
extern bool fq_send_fails;
extern size_t fq_asked;		/* how often for a worker */
#define FQ_TOLD_MAX 1000
extern struct msg_policy_host fq_told[FQ_TOLD_MAX];	/* to workers */
extern size_t fq_told_count;
extern uint64_t fq_told_worker;	/* the last time */

struct fq_sts {			/* what a worker was told of a policy */
	uint64_t worker, id;
	struct msg_sts msg;	/* text is owned */
};
#define FQ_STS_MAX 500
extern struct fq_sts fq_sts[FQ_STS_MAX];
extern size_t fq_sts_count;
extern bool fq_owns;		/* workers serve every domain */
void fq_sts_clear(void);

struct fq_report {		/* what a worker was asked for */
	uint64_t worker, id;
	struct msg_report msg;	/* owned */
};
#define FQ_REPORTS_MAX 500
extern struct fq_report fq_reports[FQ_REPORTS_MAX];
extern size_t fq_report_count;
void fq_reports_clear(void);

/* cmocka set-up and tear-down. */
int fq_setup(void **state);
int fq_teardown(void **state);

/* Closes all and opens it again on the same spool; as after a crash the
 * worker's jobs are forgotten. */
void fq_restart(void);
void fq_use_conf(const char *more);	/* then restarts */
/* In a process of its own, which dies when the spool comes to that step; then
 * all is opened again here.  False when it did not die there. */
bool fq_die(const char *step, void (*work)(void));

void fq_turn(void);			/* until nothing is due at once */
void fq_run_ms(unsigned ms);		/* real time */
void fq_advance(int64_t ms);		/* moves the clock, kicks, runs */

/* Submits a message and returns its request number. */
unsigned fq_submit(const char *sender, const char *rcpts);
unsigned fq_submit_env(struct envelope *, const char *body);
struct envelope *fq_envelope(const char *sender, const char *rcpts);

/* The newest job for a destination that is not answered; NULL for none. */
struct job *fq_job(const char *destination);
size_t fq_open_jobs(void);
/* Answers all recipients of a job. */
void fq_answer(struct job *, int code);
/* Answers recipient i of a job. */
void fq_answer_one(struct job *, size_t i, int code, bool final);
struct outcome fq_outcome(int code);

struct spool_stats fq_spool_stats(void);
struct queue_stats fq_stats(void);
unsigned fq_body_files(void);

#endif
