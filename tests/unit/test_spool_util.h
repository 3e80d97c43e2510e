/*
 * What the tests of the spool share: a private directory, a settable clock,
 * and short ways to say common things.
 */
#ifndef TESTS_UNIT_TEST_SPOOL_UTIL_H
#define TESTS_UNIT_TEST_SPOOL_UTIL_H

#include "spool/spool_lane.h"

#define T0 INT64_C(1700000000000)	/* the tests begin at this time */
#define EXPIRES (T0 + 1000000)

extern int64_t test_now_ms;
extern const struct spool_filter test_any;	/* matches all */

/* cmocka set-up and tear-down: *state is the path of a new directory. */
int test_dir_setup(void **state);
int test_dir_teardown(void **state);
void test_dir_remove(const char *path);

/* Opens DIR/spool; NULL when it does not open, with the status. */
struct spool *test_try(const char *dir, enum status *st_out, char err[512]);
struct spool *test_open(const char *dir);
void test_step_hook(void (*hook)(const char *));

/* A message from "s@x.test" to the space-separated recipients. */
struct envelope *test_envelope(const char *rcpts);
/* Adds and commits one message with an inline body; returns its id. */
uint64_t test_add(struct spool *s, const char *rcpts, const char *body);
/* Writes a body of size bytes to a new file; returns the token. */
uint64_t test_body_file(struct spool *s, size_t size_bytes);
/* What is due of all lanes, as if they were one, in order of due time. */
enum status test_all_due(struct spool *s, int64_t now_ms, struct spool_cursor *,
	struct spool_delivery *out, size_t max, size_t *count_out);
int64_t test_next_due(struct spool *s, const struct spool_cursor *);
/* The only delivery of a message. */
struct spool_delivery test_delivery(struct spool *s, uint64_t message_id);
/* Finishes every recipient of every delivery of a message, in one
 * transaction. */
void test_finish(struct spool *s, uint64_t message_id);
/* Acts in a transaction of its own, then checks the totals. */
uint64_t test_act(struct spool *, const struct spool_filter *,
	enum spool_action);
/* Number of entries of DIR/spool/body. */
unsigned test_body_files(const char *dir);
/* Checks that the totals equal a recount and that no row is loose. */
void test_check_totals(struct spool *s);

#endif
