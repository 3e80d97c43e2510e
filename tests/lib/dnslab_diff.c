/*
 * Asks for many names and types, of our validator and of libunbound, through
 * the same resolver, and compares what they say.
 *
 *	dnslab_diff RESOLVER ANCHOR NAMES
 *
 * A line of NAMES is "NAME TYPE", or "NAME TYPE SECURITY" where ours is to be
 * just that and libunbound is known to differ.
 *
 * Each difference is a line; exit status 1 when there is any.
 */
#include "config.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <unbound.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "resolver/resolver.h"

#define NAMES_MAX 4000
#define AT_ONCE 40

struct item {
	char name[256];
	uint16_t type;
	char expected[32];
	struct dns_answer *ours;
	struct run *run;
};

struct run {
	struct event_base *base;
	struct resolver *resolver;
	struct item items[NAMES_MAX];
	size_t count, next, done;
	unsigned differ, secure, insecure, bogus;
};

static void
names_read(struct run *r, const char *path)
{
	FILE *f = fopen(path, "r");
	char line[400], type[32];

	if (f == NULL) {
		perror(path);
		exit(99);
	}
	while (r->count < NAMES_MAX && fgets(line, sizeof(line), f) != NULL) {
		struct item *it = &r->items[r->count];

		if (sscanf(line, "%255s %31s %31s", it->name, type,
		    it->expected) < 2)
			continue;
		if (dns_type_parse(type, &it->type) != ST_OK)
			abort();
		it->run = r;
		r->count++;
	}
	fclose(f);
}

/* ---- ours ------------------------------------------------------------ */

static void on_answer(struct dns_answer *, void *);

static void
more(struct run *r)
{
	while (r->next < r->count && r->next - r->done < AT_ONCE) {
		struct item *it = &r->items[r->next++];

		(void)resolver_start(r->resolver, it->name, it->type,
			on_answer, it);
	}
	if (r->done == r->count)
		event_base_loopbreak(r->base);
}

static void
on_answer(struct dns_answer *a, void *arg)
{
	struct item *it = arg;

	it->ours = a;
	it->run->done++;
	more(it->run);
}

static void
ask_ours(struct run *r, const char *server, const char *anchor)
{
	struct conf_addr addr = { 0 };
	struct sockaddr_in *sin = (void *)&addr.addr;
	struct conf_resolver conf = { .servers = &addr, .server_count = 1,
		.dnssec = CONF_DNSSEC_VALIDATE, .timeout_ms = 1500,
		.lookup_ms = 15000, .tries = 2, .cache_entries = 20000,
		.max_ttl_s = 86400, .skew_s = 300, .nsec3_iterations = 150 };
	char err[CONF_ERR_MAX];

	sin->sin_family = AF_INET;
	sin->sin_port = htons(53);
	inet_pton(AF_INET, server, &sin->sin_addr);
	addr.addr_len = sizeof(*sin);
	conf.trust_anchor = xstrdup(anchor);
	r->base = event_base_new();
	if (resolver_new(r->base, &conf, &r->resolver, err) != ST_OK) {
		printf("Bail out! %s\n", err);
		exit(99);
	}
	mem_free(&conf.trust_anchor);
	more(r);
	event_base_dispatch(r->base);
}

/* ---- libunbound ------------------------------------------------------ */

static void
ub_ok(int rc, const char *what)
{
	if (rc == 0)
		return;
	printf("Bail out! libunbound: %s: %s\n", what, ub_strerror(rc));
	exit(99);
}

static struct ub_ctx *
ub_open(const char *server, const char *anchor)
{
	struct ub_ctx *ctx = ub_ctx_create();
	char path[] = "/tmp/dnslab.ub.XXXXXX";
	FILE *f = fdopen(mkstemp(path), "w");

	fprintf(f, "server:\n\tdo-not-query-localhost: no\n"
		"\tqname-minimisation: no\n\tlocal-zone: \"test.\" nodefault\n"
		"\ttrust-anchor-file: \"%s\"\n\tdo-ip6: no\n"
		"forward-zone:\n\tname: \".\"\n\tforward-addr: %s@53\n",
		anchor, server);
	fclose(f);
	ub_ok(ub_ctx_config(ctx, path), "config");
	remove(path);
	return ctx;
}

static const char *
their_result(const struct ub_result *u)
{
	if (u->bogus || (u->rcode != 0 && u->rcode != 3))
		return "later";
	if (u->havedata)
		return "found";
	return u->nxdomain ? "nxdomain" : "nodata";
}

static const char *
their_security(const struct ub_result *u)
{
	if (u->bogus)
		return "bogus";
	if (u->rcode != 0 && u->rcode != 3)
		return "indeterminate";
	return u->secure ? "secure" : "insecure";
}

static size_t
their_count(const struct ub_result *u)
{
	size_t n = 0;

	while (u->havedata && !u->bogus && u->data[n] != NULL)
		n++;
	return n;
}

static void
compare(struct run *r, struct item *it, const struct ub_result *u)
{
	const char *result = dns_result_name(it->ours->result);
	const char *security = dns_security_name(it->ours->security);

	r->secure += it->ours->security == DNS_SEC_SECURE ? 1U : 0U;
	r->insecure += it->ours->security == DNS_SEC_INSECURE ? 1U : 0U;
	r->bogus += it->ours->security == DNS_SEC_BOGUS ? 1U : 0U;
	if (strcmp(result, their_result(u)) == 0 &&
	    strcmp(security, their_security(u)) == 0 &&
	    it->ours->count == their_count(u))
		return;
	r->differ++;
	printf("# %s %s: ours %s %s %zu (%s), libunbound %s %s %zu (%s)\n",
		it->name, dns_type_name(it->type), result, security,
		it->ours->count, it->ours->why == NULL ? "" : it->ours->why,
		their_result(u), their_security(u), their_count(u),
		u->why_bogus == NULL ? "" : u->why_bogus);
}

static void
expect(struct run *r, const struct item *it)
{
	const char *security = dns_security_name(it->ours->security);

	if (strcmp(security, it->expected) == 0)
		return;
	r->differ++;
	printf("# %s %s: ours %s %s (%s), expected %s\n", it->name,
		dns_type_name(it->type), dns_result_name(it->ours->result),
		security, it->ours->why == NULL ? "" : it->ours->why,
		it->expected);
}

static void
ask_theirs(struct run *r, const char *server, const char *anchor)
{
	struct ub_ctx *ctx = ub_open(server, anchor);

	for (size_t i = 0; i < r->count; i++) {
		struct ub_result *u = NULL;

		if (r->items[i].expected[0] != '\0') {
			expect(r, &r->items[i]);
			continue;
		}
		ub_ok(ub_resolve(ctx, r->items[i].name, r->items[i].type, 1,
			&u), r->items[i].name);
		compare(r, &r->items[i], u);
		ub_resolve_free(u);
	}
	ub_ctx_delete(ctx);
}

int
main(int argc, char **argv)
{
	struct run *r = xcalloc(1, sizeof(*r));

	if (argc != 4) {
		fprintf(stderr, "usage: dnslab_diff RESOLVER ANCHOR NAMES\n");
		return 99;
	}
	log_init("diff", LOG_TO_STDERR, LOG_LEVEL_WARN);
	names_read(r, argv[3]);
	ask_ours(r, argv[1], argv[2]);
	ask_theirs(r, argv[1], argv[2]);
	printf("# %zu questions: %u secure, %u insecure, %u bogus; "
		"%u differ\n", r->count, r->secure, r->insecure, r->bogus,
		r->differ);
	for (size_t i = 0; i < r->count; i++)
		dns_answer_free(&r->items[i].ours);
	resolver_free(&r->resolver);
	event_base_free(r->base);
	r->count = r->differ;
	argc = r->differ > 0 ? 1 : 0;
	free(r);
	return argc;
}
