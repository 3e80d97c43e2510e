/*
 * Validated lookups per second and processor time per lookup, cold and warm,
 * ours beside libunbound's asynchronous interface, through one resolver.
 *
 *	make tests/bench/bench_dns
 *	DNSLAB_HOSTS=2000 tests/lib/dnslab.py [--algorithm X] sh -c \
 *		'tests/bench/bench_dns $DNSLAB_RESOLVER $DNSLAB_ANCHOR'
 *
 * Warm: the zone's keys are known, each name is new.  Cold: nothing is known;
 * a new resolver (context) for each lookup, its making included.
 */
#include "config.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>

#include <event2/event.h>
#include <unbound.h>

#include "base/log.h"
#include "base/mem.h"
#include "resolver/resolver.h"

#define HOSTS_MAX 2000
#define AT_ONCE 50
#define COLD_RUNS 100
#define TYPE_A 1

static const char *server, *anchor;
static unsigned hosts = HOSTS_MAX;

struct run {
	struct event_base *base;
	struct resolver *resolver;
	unsigned next, done, secure, count, first;
};

struct meter {
	double wall, cpu;
};

static void
host_name(char out[64], unsigned i)
{
	snprintf(out, 64, "h%u.big.nsec", i);
}

static void
meter_read(struct meter *m)
{
	struct timespec ts;
	struct rusage ru;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	getrusage(RUSAGE_SELF, &ru);
	m->wall = (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
	m->cpu = (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
		(double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
}

static void
report(const char *what, const struct meter *from, unsigned count,
	unsigned secure)
{
	struct meter to;
	double n = count;

	meter_read(&to);
	printf("%-18s %8.0f lookups/s %8.0f us CPU each%s\n", what,
		n / (to.wall - from->wall), (to.cpu - from->cpu) * 1e6 / n,
		secure == count ? "" : "  NOT ALL SECURE");
	fflush(stdout);
}

/* ---- ours ---------------------------------------------------------------- */

static void
ours_open(struct run *r)
{
	struct conf_addr addr = { 0 };
	struct sockaddr_in *sin = (void *)&addr.addr;
	struct conf_resolver conf = { .servers = &addr, .server_count = 1,
		.dnssec = CONF_DNSSEC_VALIDATE, .cache_entries = 20000,
		.skew_s = 300, .nsec3_iterations = 50 };
	char err[CONF_ERR_MAX];

	sin->sin_family = AF_INET;
	sin->sin_port = htons(53);
	inet_pton(AF_INET, server, &sin->sin_addr);
	addr.addr_len = sizeof(*sin);
	conf.trust_anchor = xstrdup(anchor);
	memset(r, 0, sizeof(*r));
	r->base = event_base_new();
	if (resolver_new(r->base, &conf, &r->resolver, err) != ST_OK) {
		fprintf(stderr, "%s\n", err);
		exit(1);
	}
	mem_free(&conf.trust_anchor);
}

static void
ours_close(struct run *r)
{
	resolver_free(&r->resolver);
	event_base_free(r->base);
}

static void ours_more(struct run *);

static void
on_answer(struct dns_answer *a, void *arg)
{
	struct run *r = arg;

	r->secure += a->security == DNS_SEC_SECURE ? 1U : 0U;
	r->done++;
	dns_answer_free(&a);
	ours_more(r);
}

static void
ours_more(struct run *r)
{
	char name[64];

	while (r->next < r->count && r->next - r->done < AT_ONCE) {
		host_name(name, r->first + r->next++);
		(void)resolver_start(r->resolver, name, DNS_TYPE_A, on_answer,
			r);
	}
	if (r->done == r->count)
		event_base_loopbreak(r->base);
}

static unsigned
ours_run(struct run *r, unsigned first, unsigned count)
{
	r->first = first;
	r->count = count;
	r->next = r->done = r->secure = 0;
	ours_more(r);
	event_base_dispatch(r->base);
	return r->secure;
}

static void
ours(void)
{
	struct run r;
	struct meter from;
	unsigned secure = 0;

	ours_open(&r);
	(void)ours_run(&r, 0, 1);
	meter_read(&from);
	secure = ours_run(&r, 1, hosts - 1);
	report("ours, warm", &from, hosts - 1, secure);
	ours_close(&r);
	secure = 0;
	meter_read(&from);
	for (unsigned i = 0; i < COLD_RUNS; i++) {
		ours_open(&r);
		secure += ours_run(&r, i, 1);
		ours_close(&r);
	}
	report("ours, cold", &from, COLD_RUNS, secure);
}

/* ---- libunbound ---------------------------------------------------------- */

static struct ub_ctx *
ub_open(void)
{
	struct ub_ctx *ctx = ub_ctx_create();
	char path[] = "/tmp/bench.ub.XXXXXX";
	FILE *f = fdopen(mkstemp(path), "w");

	fprintf(f, "server:\n\tdo-not-query-localhost: no\n"
		"\tqname-minimisation: no\n\tdo-ip6: no\n"
		"\ttrust-anchor-file: \"%s\"\n"
		"forward-zone:\n\tname: \".\"\n\tforward-addr: %s@53\n",
		anchor, server);
	fclose(f);
	if (ub_ctx_config(ctx, path) != 0 || ub_ctx_async(ctx, 1) != 0)
		exit(1);
	remove(path);
	return ctx;
}

static void
on_theirs(void *arg, int err, struct ub_result *u)
{
	struct run *r = arg;

	r->done++;
	r->secure += err == 0 && u->secure ? 1U : 0U;
	ub_resolve_free(u);
}

static unsigned
theirs_run(struct ub_ctx *ctx, unsigned first, unsigned count)
{
	struct run r = { .count = count };
	char name[64];

	while (r.done < count) {
		while (r.next < count && r.next - r.done < AT_ONCE) {
			host_name(name, first + r.next++);
			(void)ub_resolve_async(ctx, name, TYPE_A, 1, &r,
				on_theirs, NULL);
		}
		/* ub_wait() would empty the pipe. */
		while (!ub_poll(ctx)) {
			struct timespec ts = { 0, 20000 };

			nanosleep(&ts, NULL);
		}
		(void)ub_process(ctx);
	}
	return r.secure;
}

static void
theirs(void)
{
	struct ub_ctx *ctx = ub_open();
	struct meter from;
	unsigned secure;

	(void)theirs_run(ctx, 0, 1);
	meter_read(&from);
	secure = theirs_run(ctx, 1, hosts - 1);
	report("libunbound, warm", &from, hosts - 1, secure);
	ub_ctx_delete(ctx);
	secure = 0;
	meter_read(&from);
	for (unsigned i = 0; i < COLD_RUNS; i++) {
		ctx = ub_open();
		secure += theirs_run(ctx, i, 1);
		ub_ctx_delete(ctx);
	}
	report("libunbound, cold", &from, COLD_RUNS, secure);
}

int
main(int argc, char **argv)
{
	struct run r;

	if (argc != 3) {
		fprintf(stderr, "usage: bench_dns RESOLVER ANCHOR\n");
		return 64;
	}
	server = argv[1];
	anchor = argv[2];
	if (getenv("DNSLAB_HOSTS") != NULL)
		hosts = (unsigned)strtoul(getenv("DNSLAB_HOSTS"), NULL, 10);
	if (hosts < COLD_RUNS + 1)
		hosts = COLD_RUNS + 1;
	log_init("bench", LOG_TO_STDERR, LOG_LEVEL_ERROR);
	/* Let the resolver know all names, so that it costs both the same. */
	ours_open(&r);
	(void)ours_run(&r, 0, hosts);
	ours_close(&r);
	ours();
	theirs();
	return 0;
}
