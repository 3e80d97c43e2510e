/*
 * Limits as a worker looks them up.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/table.h"
#include "smtpd-out/ipc/limits.h"

struct limits {
	const struct conf *conf;
	struct msg_limits set;		/* rules that the tables point at */
	struct table *destinations, *hosts;
	unsigned generation;
};

struct limits *
limits_new(const struct conf *conf)
{
	struct limits *l = xcalloc(1, sizeof(*l));

	l->conf = conf;
	l->set.workers = 1;
	l->destinations = table_new();
	l->hosts = table_new();
	return l;
}

void
limits_free(struct limits **lp)
{
	struct limits *l = *lp;

	if (l == NULL)
		return;
	table_free(&l->hosts);
	table_free(&l->destinations);
	msg_limits_clear(&l->set);
	mem_free(lp);
}

void
limits_set(struct limits *l, const struct msg_limits *msg)
{
	table_free(&l->hosts);
	table_free(&l->destinations);
	l->destinations = table_new();
	l->hosts = table_new();
	msg_limits_clear(&l->set);
	l->set.workers = msg->workers;
	l->set.count = msg->count;
	l->set.rules = xcalloc(msg->count, sizeof(msg->rules[0]));
	for (size_t i = 0; i < msg->count; i++) {
		struct msg_limit_rule *r = &l->set.rules[i];

		*r = msg->rules[i];
		table_put(r->host ? l->hosts : l->destinations, r->match,
			strlen(r->match), r);
	}
	l->generation++;
}

unsigned
limits_generation(const struct limits *l)
{
	return l->generation;
}

/* Values that nobody has set so far. */
static void
fill(struct conf_bounds *out, const struct conf_bounds *from)
{
	if (out->connections == 0)
		out->connections = from->connections;
	if (out->recipients == 0)
		out->recipients = from->recipients;
	if (out->rate.count == 0)
		out->rate = from->rate;
}

/* The rule for the name itself, then those of its parents. */
static void
fill_from_table(struct conf_bounds *out, const struct table *t,
	const char *name)
{
	const struct msg_limit_rule *r = table_get(t, name, strlen(name));

	while (true) {
		if (r != NULL)
			fill(out, &r->bounds);
		name = name[0] == '\0' ? NULL : strchr(name + 1, '.');
		if (name == NULL)
			return;
		r = table_get(t, name, strlen(name));
	}
}

/* A worker's part of n. */
static unsigned
part_of(unsigned n, unsigned workers)
{
	return n / workers + (n % workers != 0);
}

static void
share(const struct limits *l, struct conf_bounds *b)
{
	b->connections = part_of(b->connections, l->set.workers);
	b->rate.count = part_of(b->rate.count, l->set.workers);
}

void
limits_get(const struct limits *l, const char *destination,
	struct conf_bounds *out)
{
	const struct conf_destination *rule = conf_destination(l->conf,
		destination);

	memset(out, 0, sizeof(*out));
	fill_from_table(out, l->destinations, destination);
	if (rule != NULL)
		fill(out, &rule->bounds);
	fill(out, &(struct conf_bounds){
		.connections = l->conf->limit.destination_sessions,
		.recipients = l->conf->limit.session_rcpts,
		.rate = l->conf->limit.destination_rate,
	});
}

void
limits_get_host(const struct limits *l, const char *host,
	struct conf_bounds *out)
{
	const struct conf_destination *rule = conf_host(l->conf, host);

	memset(out, 0, sizeof(*out));
	fill_from_table(out, l->hosts, host);
	if (rule != NULL)
		fill(out, &rule->bounds);
	fill(out, &(struct conf_bounds){
		.connections = l->conf->limit.host_sessions,
		.rate = l->conf->limit.host_rate,
	});
	share(l, out);
}

void
limits_get_total(const struct limits *l, struct conf_bounds *out)
{
	*out = (struct conf_bounds){
		.connections = l->conf->limit.out_sessions,
		.rate = l->conf->limit.out_rate,
	};
	share(l, out);
}
