/*
 * The table of remembered hosts in a worker.  The parent bounds it: what is
 * too much or too old it tells us to forget.  What this worker learns goes
 * in at once, so that it is told to the parent once.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/table.h"
#include "smtpd-out/worker/host_memory.h"

/* The parent's bound and some that it has not stored yet. */
#define HOSTS_MAX (REMEMBER_HOSTS_MAX + 10000)

struct host_memory {
	enum conf_remember mode;
	struct table *hosts;		/* of struct remembered */
	host_memory_save_cb *save;
	void *arg;
};

struct host_memory *
host_memory_new(enum conf_remember mode, host_memory_save_cb *save, void *arg)
{
	struct host_memory *m;

	if (mode == CONF_REMEMBER_OFF)
		return NULL;
	m = xcalloc(1, sizeof(*m));
	m->mode = mode;
	m->hosts = table_new();
	m->save = save;
	m->arg = arg;
	return m;
}

static void
free_value(void *value, void *arg)
{
	(void)arg;
	free(value);
}

void
host_memory_free(struct host_memory **mp)
{
	if (*mp == NULL)
		return;
	table_each((*mp)->hosts, free_value, NULL);
	table_free(&(*mp)->hosts);
	mem_free(mp);
}

static void
set(struct host_memory *m, const struct msg_policy_host *h)
{
	size_t len = strlen(h->host);
	struct remembered *r = table_get(m->hosts, h->host, len);

	if (h->level == REMEMBER_NONE) {
		free(table_remove(m->hosts, h->host, len));
		return;
	}
	if (r == NULL) {
		if (table_count(m->hosts) >= HOSTS_MAX)
			return;
		r = xcalloc(1, sizeof(*r));
		table_put(m->hosts, h->host, len, r);
	}
	r->level = h->level;
	r->last_s = h->last_s;
}

void
host_memory_take(struct host_memory *m, const struct msg_policy *msg)
{
	if (m == NULL)
		return;
	for (size_t i = 0; i < msg->count; i++)
		set(m, &msg->hosts[i]);
}

static const struct remembered *
find(const struct host_memory *m, const char *host)
{
	return table_get(m->hosts, host, strlen(host));
}

void
host_memory_demand(const struct host_memory *m, const char *host,
	struct demand *d)
{
	if (m != NULL && m->mode == CONF_REMEMBER_REQUIRE)
		(void)remember_raise(d, remember_present(find(m, host),
			clock_wall_s()));
}

static void
warn_downgrade(const char *host, const struct remembered *had,
	enum remember_level has, const char *action, const char *reason)
{
	char since[32] = "-", key[300];
	time_t t = (time_t)had->last_s;
	struct tm tm;

	(void)snprintf(key, sizeof(key), "tls-downgrade %s %s", action, host);
	if (!log_once(key))
		return;
	if (gmtime_r(&t, &tm) != NULL)
		(void)strftime(since, sizeof(since), "%Y-%m-%dT%H:%M:%SZ",
			&tm);
	log_warn("tls-downgrade", "host", host, "had",
		remember_level_name(had->level), "has",
		remember_level_name(has), "since", since, "action", action,
		"reason", reason, NULL);
}

static void
learn(struct host_memory *m, const char *host, enum remember_level level,
	int64_t now_s)
{
	struct msg_policy_host h = { .level = level, .last_s = now_s };
	const struct msg_policy msg = { .hosts = &h, .count = 1 };

	if (!str_copy(h.host, sizeof(h.host), host) || host[0] == '\0')
		return;
	set(m, &h);
	m->save(&msg, m->arg);
}

void
host_memory_ready(struct host_memory *m, const char *host,
	const struct demand *d, bool tls_active)
{
	enum remember_level shown = remember_shown(d, tls_active);
	int64_t now_s = clock_wall_s();
	const struct remembered *had;

	/* Without TLS because the operator said so; or with it from the first
	 * byte, which says nothing of STARTTLS. */
	if (m == NULL || d->level == DEMAND_NONE || d->tls_first)
		return;
	had = find(m, host);
	if (remember_is_downgrade(d, tls_active, remember_present(had,
	    now_s)))
		warn_downgrade(host, had, shown, "continued", NULL);
	if (remember_changes(had, shown, now_s))
		learn(m, host, shown, now_s);
}

void
host_memory_closed(struct host_memory *m, const char *host,
	const struct demand *d, const struct outcome *why)
{
	const struct remembered *had;

	if (m == NULL || d->why != WHY_REMEMBERED ||
	    why->tls_failure == TLS_FAILURE_NONE)
		return;
	had = find(m, host);
	if (had != NULL)
		warn_downgrade(host, had, REMEMBER_NONE, "refused", why->text);
}
