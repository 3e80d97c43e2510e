/*
 * Figures of the spool on the disk at hand; run by hand:
 *
 *	make tests/bench/bench_spool
 *	tests/bench/bench_spool DIRECTORY [QUEUED]
 *	tests/bench/bench_spool -f DIRECTORY QUEUED
 *
 * Prints durable adds and results per second at group 1, 10 and 100, and time
 * and memory of opening and of the calls that must not depend on the queue
 * with QUEUED (100,000) messages in it.  What it makes is removed again.
 * With -f it only fills DIRECTORY/bench-spool with mail that waits for an hour.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "spool/spool_lane.h"

#define BODY_BYTES 5120

static char body[BODY_BYTES];

static double
seconds(clockid_t clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void
must(struct spool *s, enum status st, const char *what)
{
	if (st == ST_OK)
		return;
	fprintf(stderr, "%s: %s: %s\n", what, status_name(st),
		s == NULL ? "" : spool_error(s));
	exit(1);
}

static struct spool *
open_spool(const char *dir)
{
	struct spool_options opt = { .inline_bytes = 262144 };
	char *url = xasprintf("sqlite:%s/bench-spool", dir), err[512] = "";
	struct spool *s;
	enum status st = spool_open(url, &opt, &s, err, sizeof(err));

	if (st != ST_OK)
		fprintf(stderr, "%s\n", err);
	must(NULL, st, "open");
	free(url);
	return s;
}

static void
add_many(struct spool *s, unsigned count, unsigned group, int64_t next_ms)
{
	struct spool_body b = { .data = body, .len = sizeof(body) };

	for (unsigned i = 0; i < count; i++) {
		struct envelope *env = envelope_new("sender@example.org");
		char domain[40], address[64];

		(void)snprintf(domain, sizeof(domain), "d%u.example",
			i % 997);
		(void)snprintf(address, sizeof(address), "user%u@%s", i,
			domain);
		(void)envelope_add_rcpt(env, address, domain);
		if (i % group == 0)
			must(s, spool_begin(s), "begin");
		must(s, spool_add(s, env, &b, next_ms, INT64_MAX), "add");
		if (i % group == group - 1 || i == count - 1)
			must(s, spool_commit(s), "commit");
		envelope_free(&env);
	}
}

/* The next deliveries that are due, lane by lane. */
static size_t
next_due(struct spool *s, struct spool_lane *lane, struct spool_cursor *cursor,
	struct spool_delivery *out, size_t max)
{
	struct spool_lane from = { 0 };
	struct spool_due due[1000];
	size_t count = 0, lanes;

	for (;;) {
		if (lane->destination[0] != '\0')
			must(s, spool_lane_due(s, lane->destination, SPOOL_NEW,
				INT64_MAX, cursor, due, max, &count), "due");
		if (count > 0)
			break;
		*cursor = (struct spool_cursor){ 0 };
		from = *lane;
		must(s, spool_lanes(s, SPOOL_NEW, INT64_MAX, &from, lane, 1,
			&lanes), "lanes");
		if (lanes == 0)
			return 0;
	}
	for (size_t i = 0; i < count; i++)
		must(s, spool_delivery(s, due[i].id, &out[i]), "delivery");
	return count;
}

/* Takes everything that is due in batches and finishes it. */
static unsigned
finish_all(struct spool *s, unsigned group)
{
	struct spool_delivery d[100];
	struct spool_cursor cursor = { 0 };
	struct spool_lane lane = { 0 };
	unsigned total = 0, in_group = 0;
	size_t count;

	for (;;) {
		count = next_due(s, &lane, &cursor, d, 100);
		for (size_t i = 0; i < count; i++) {
			struct spool_rcpt_result r = { .finished = true };
			struct envelope *env;

			must(s, spool_envelope(s, d[i].message_id, d[i].id,
				&env), "envelope");
			r.rcpt_id = env->rcpts[0].id;
			envelope_free(&env);
			if (in_group++ == 0)
				must(s, spool_begin(s), "begin");
			must(s, spool_results(s, d[i].id, &r, 1), "results");
			if (in_group == group) {
				must(s, spool_commit(s), "commit");
				in_group = 0;
			}
			total++;
		}
		if (count == 0)
			break;
	}
	if (in_group > 0)
		must(s, spool_commit(s), "commit");
	return total;
}

static void
report(const char *what, unsigned count, double wall, double cpu)
{
	printf("%-28s %9.0f /s   %6.1f us CPU each\n", what, count / wall,
		cpu * 1e6 / count);
}

static void
bench_group(struct spool *s, unsigned group)
{
	unsigned count = group == 1 ? 3000 : group == 10 ? 10000 : 20000;
	double wall = seconds(CLOCK_MONOTONIC);
	double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	char what[64];

	add_many(s, count, group, 1);
	(void)snprintf(what, sizeof(what), "add, group %u", group);
	report(what, count, seconds(CLOCK_MONOTONIC) - wall,
		seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
	wall = seconds(CLOCK_MONOTONIC);
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	count = finish_all(s, group);
	(void)snprintf(what, sizeof(what), "result, group %u", group);
	report(what, count, seconds(CLOCK_MONOTONIC) - wall,
		seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
}

static void
on_row(const struct spool_row *row, void *arg)
{
	*(unsigned *)arg += row->rcpt_id != 0;
}

static void
print_ms(const char *what, double since)
{
	printf("%-28s %9.2f ms\n", what,
		(seconds(CLOCK_MONOTONIC) - since) * 1e3);
}

static void
bench_calls(struct spool *s)
{
	static const struct spool_filter any = { .held = -1 };
	struct spool_dest_stats top[20];
	struct spool_cursor cursor = { 0 };
	struct spool_lane lane = { 0 };
	static struct spool_delivery d[1000];
	struct spool_stats stats;
	uint64_t after = 0, acted;
	unsigned rows = 0;
	bool more = true;
	size_t count;
	double t = seconds(CLOCK_MONOTONIC);

	count = next_due(s, &lane, &cursor, d, 1000);
	print_ms("1000 due", t);
	t = seconds(CLOCK_MONOTONIC);
	must(s, spool_stats(s, 2, &stats), "stats");
	print_ms("stats", t);
	t = seconds(CLOCK_MONOTONIC);
	must(s, spool_top_destinations(s, top, 20, &count), "top");
	print_ms("top 20 destinations", t);
	t = seconds(CLOCK_MONOTONIC);
	must(s, spool_list(s, &any, &after, 1000, on_row, &rows, &more),
		"list");
	print_ms("list of 1000", t);
	t = seconds(CLOCK_MONOTONIC);
	must(s, spool_begin(s), "begin");
	must(s, spool_act(s, &any, SPOOL_FLUSH, 5, &acted), "flush");
	must(s, spool_commit(s), "commit");
	print_ms("flush of all", t);
}

static void
bench_open(const char *dir)
{
	double t = seconds(CLOCK_MONOTONIC);
	struct rusage usage;
	struct spool *s = open_spool(dir);

	print_ms("open", t);
	(void)getrusage(RUSAGE_SELF, &usage);
	printf("%-28s %9.1f MB\n", "memory after open",
		(double)usage.ru_maxrss / 1024);
	bench_calls(s);
	(void)getrusage(RUSAGE_SELF, &usage);
	printf("%-28s %9.1f MB\n", "memory after these calls",
		(double)usage.ru_maxrss / 1024);
	spool_close(&s);
}

/* In a process of its own, so that its memory does not count later. */
static void
fill(const char *dir, unsigned queued)
{
	struct spool *s;
	pid_t pid = fork();
	int status = 1;

	if (pid != 0) {
		(void)waitpid(pid, &status, 0);
		if (status != 0)
			exit(1);
		return;
	}
	s = open_spool(dir);
	bench_group(s, 1);
	bench_group(s, 10);
	bench_group(s, 100);
	add_many(s, queued, 100, 1);
	spool_close(&s);
	exit(0);
}

static int
fill_only(const char *dir, const char *queued)
{
	struct timespec ts;
	struct spool *s = open_spool(dir);

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	add_many(s, (unsigned)strtoul(queued, NULL, 10), 1000,
		(int64_t)(ts.tv_sec + 3600) * 1000);
	spool_close(&s);
	return 0;
}

int
main(int argc, char **argv)
{
	unsigned queued = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) :
		100000;
	char *command;

	memset(body, 'x', sizeof(body));
	if (argc == 4 && strcmp(argv[1], "-f") == 0)
		return fill_only(argv[2], argv[3]);
	if (argc < 2) {
		fprintf(stderr, "usage: bench_spool DIRECTORY [QUEUED]\n");
		return 64;
	}
	fill(argv[1], queued);
	printf("with %u messages queued:\n", queued);
	bench_open(argv[1]);
	command = xasprintf("rm -rf '%s/bench-spool'", argv[1]);
	if (system(command) != 0)
		fprintf(stderr, "cannot remove %s/bench-spool\n", argv[1]);
	free(command);
	return 0;
}
