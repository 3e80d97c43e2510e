/*
 * The table of MTA-STS policies of a worker: one entry per domain, which asks
 * the DNS and the parent, fetches where it has to, and serves who waits.
 */
#include "config.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/table.h"
#include "policy/sts_state.h"
#include "resolver/resolver.h"
#include "smtpd-out/worker/sts_cached.h"
#include "smtpd-out/worker/sts_table.h"

#define USED_S 86400		/* the parent is told once a day */

enum entry_state {
	ENTRY_IDLE = 0,		/* nothing under way; view, or never asked */
	ENTRY_ASKING,		/* DNS, parent */
	ENTRY_FETCHING
};

struct sts_entry {
	TAILQ_ENTRY(sts_entry) link;	/* table->entries, last used last */
	struct sts_table *table;
	char domain[STR_DOMAIN_MAX];
	enum entry_state state;
	bool serving;			/* callbacks run */
	struct dns_request *txt;
	uint64_t request;		/* to the parent, 0: none */
	bool parent_silent;
	struct event *timer;		/* for the parent */
	struct event *ready;		/* serves waiters from the loop */
	enum sts_finding finding;
	struct sts_record record;
	char finding_error[STS_ERR_MAX];
	bool ours;			/* FAILED, but for our resolver */
	uint32_t ttl_s;
	char failed_id[STS_ID_MAX + 1];	/* of the last fetch in vain */
	struct sts_fetch *fetch;
	bool refresh;			/* the parent wants a fetch */
	uint64_t refresh_id;
	struct sts_cached cached;
	size_t bytes;			/* of texts and policies */
	struct sts_view *view;
	bool anew;			/* past the cache of the resolver */
	int64_t asked_ms;		/* monotonic, the last time */
	TAILQ_HEAD(, sts_lookup) waiters;
};

struct sts_lookup {
	TAILQ_ENTRY(sts_lookup) link;
	struct sts_entry *entry;
	sts_lookup_cb *cb;
	void *arg;
};

struct sts_table {
	struct event_base *base;
	const struct conf *conf;
	struct sts_fetch_env env;
	struct sts_table_port port;
	struct table *by_domain;
	TAILQ_HEAD(entry_list, sts_entry) entries;
	uint64_t requests;		/* numbers given out */
	size_t bytes;
};

/* ---- entries ---- */

static size_t
view_bytes(const struct sts_view *view)
{
	if (view == NULL)
		return 0;
	return sizeof(*view) + sts_policy_bytes(view->policy) +
		(view->text == NULL ? 0 : strlen(view->text));
}

/* Counts an entry anew after a change. */
static void
weigh(struct sts_entry *e)
{
	e->table->bytes -= e->bytes;
	e->bytes = sizeof(*e) + view_bytes(e->view) +
		sts_cached_bytes(&e->cached);
	e->table->bytes += e->bytes;
}

static void
entry_free(struct sts_entry *e)
{
	struct sts_table *t = e->table;
	struct sts_lookup *w;

	while ((w = TAILQ_FIRST(&e->waiters)) != NULL) {
		TAILQ_REMOVE(&e->waiters, w, link);
		free(w);
	}
	resolver_cancel(&e->txt);
	sts_fetch_cancel(&e->fetch);
	event_free(e->timer);
	event_free(e->ready);
	sts_view_unref(&e->view);
	sts_cached_clear(&e->cached);
	t->bytes -= e->bytes;
	TAILQ_REMOVE(&t->entries, e, link);
	(void)table_remove(t->by_domain, e->domain, strlen(e->domain));
	free(e);
}

/* The least recently used ones go; the parent still has what they knew. */
static void
make_room(struct sts_table *t)
{
	struct sts_entry *e = TAILQ_FIRST(&t->entries), *next;

	for (; e != NULL && (table_count(t->by_domain) > STS_ENTRIES_MAX ||
	    t->bytes > STS_BYTES_MAX); e = next) {
		next = TAILQ_NEXT(e, link);
		if (e->state == ENTRY_IDLE && TAILQ_EMPTY(&e->waiters) &&
		    !e->serving && next != NULL)
			entry_free(e);
	}
}

static struct sts_entry *
find(const struct sts_table *t, const char *domain)
{
	return table_get(t->by_domain, domain, strlen(domain));
}

static void on_ready(evutil_socket_t, short, void *);
static void on_parent_silent(evutil_socket_t, short, void *);

static struct sts_entry *
entry_get(struct sts_table *t, const char *domain)
{
	struct sts_entry *e = find(t, domain);

	if (e == NULL) {
		e = xcalloc(1, sizeof(*e));
		e->table = t;
		(void)str_copy(e->domain, sizeof(e->domain), domain);
		e->timer = event_new(t->base, -1, 0, on_parent_silent, e);
		e->ready = event_new(t->base, -1, 0, on_ready, e);
		TAILQ_INIT(&e->waiters);
		table_put(t->by_domain, domain, strlen(domain), e);
	} else {
		TAILQ_REMOVE(&t->entries, e, link);
	}
	TAILQ_INSERT_TAIL(&t->entries, e, link);
	weigh(e);
	make_room(t);
	return e;
}

/* ---- to the parent ---- */

static struct msg_sts
message(const struct sts_entry *e, enum msg_sts_what what)
{
	struct msg_sts msg = { .what = what, .found = true };

	(void)str_copy(msg.domain, sizeof(msg.domain), e->domain);
	if (!TAILQ_EMPTY(&e->waiters))
		msg.used_s = clock_wall_s();
	return msg;
}

static void
save(struct sts_entry *e, struct msg_sts *msg)
{
	if (msg->used_s != 0)
		e->cached.used_s = msg->used_s;
	e->table->port.save(msg->what == MSG_STS_USED ? 0 : e->refresh_id,
		msg, e->table->port.arg);
}

static void
save_used(struct sts_entry *e)
{
	struct msg_sts msg = message(e, MSG_STS_USED);

	if (e->view->what != STS_VIEW_POLICY ||
	    e->view->source == STS_SOURCE_LIST ||
	    clock_wall_s() - e->cached.used_s < USED_S)
		return;
	msg.used_s = clock_wall_s();
	save(e, &msg);
}

/* ---- the end: a view ---- */

static int64_t
fresh_until(const struct sts_entry *e, const struct sts_view *view)
{
	int64_t ms = (int64_t)e->ttl_s * 1000, left_ms;

	if (ms > STS_FRESH_MAX_MS)
		ms = STS_FRESH_MAX_MS;
	if (view->what == STS_VIEW_POLICY) {
		left_ms = ((view->source == STS_SOURCE_LIST ?
			e->cached.list_expires_s : e->cached.expires_s) -
			clock_wall_s()) * 1000;
		if (left_ms < ms)
			ms = left_ms;
	}
	/* A policy that could not be fetched is missed for no longer than that
	 * is to be waited for, however long its record lives. */
	left_ms = (e->cached.next_try_s - clock_wall_s()) * 1000;
	if (view->failure != TLS_FAILURE_NONE && left_ms > 0 && left_ms < ms)
		ms = left_ms;
	if (ms < STS_FRESH_MIN_MS || view->what == STS_VIEW_DEFER)
		ms = STS_FRESH_MIN_MS;
	return clock_mono_ms() + ms;
}

/* What is wrong is told while the domain still announces a policy, or when mail
 * waits because its DNS does not say so; not what is wrong on our side. */
static void
take_failure(const struct sts_entry *e, struct sts_view *view)
{
	if (view->what == STS_VIEW_DEFER && !e->parent_silent && !e->ours &&
	    e->finding == STS_FINDING_FAILED) {
		view->failure = TLS_FAILURE_STS_FETCH;
		(void)str_copy(view->reason, sizeof(view->reason),
			e->finding_error);
	}
	if (e->cached.failures == 0 || e->finding != STS_FINDING_RECORD)
		return;
	view->failure = e->cached.failure;
	(void)str_copy(view->reason, sizeof(view->reason), e->cached.error);
}

static struct sts_view *
make_view(const struct sts_entry *e, enum sts_act act, bool fetched)
{
	const struct sts_cached *c = &e->cached;
	struct sts_view *view = sts_view_new(act == STS_ACT_DEFER ?
		STS_VIEW_DEFER : act == STS_ACT_NONE ? STS_VIEW_NONE :
		STS_VIEW_POLICY);

	if (act == STS_ACT_USE) {
		view->source = fetched ? STS_SOURCE_FETCHED :
			STS_SOURCE_CACHE;
		view->policy = sts_policy_copy(c->policy);
		view->text = xstrdup(c->text);
		(void)str_copy(view->id, sizeof(view->id), c->id);
	} else if (act == STS_ACT_LIST) {
		view->source = STS_SOURCE_LIST;
		view->policy = sts_policy_copy(c->list);
	} else if (act == STS_ACT_DEFER) {
		view->later = outcome_sts_later(e->domain, e->parent_silent ?
			"the queue manager does not answer" :
			e->finding_error);
	}
	take_failure(e, view);
	view->fresh_until_ms = fresh_until(e, view);
	return view;
}

static void
finish(struct sts_entry *e, enum sts_act act, bool fetched)
{
	struct sts_view *view = make_view(e, act, fetched);

	log_debug("sts", "domain", e->domain, "record",
		sts_finding_name(e->finding), "result", sts_act_name(act),
		"id", view->id, "mode", view->policy == NULL ? NULL :
		sts_mode_name(view->policy->mode), NULL);
	sts_view_unref(&e->view);
	e->view = view;
	e->state = ENTRY_IDLE;
	e->refresh = false;
	e->refresh_id = 0;
	weigh(e);
	event_active(e->ready, EV_TIMEOUT, 0);
}

/* A callback may start a new lookup here, and cancel others. */
static void
on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct sts_entry *e = arg;
	struct sts_lookup *w;

	(void)fd;
	(void)what;
	if (e->state == ENTRY_IDLE && e->view != NULL &&
	    !TAILQ_EMPTY(&e->waiters))
		save_used(e);
	e->serving = true;
	while (e->state == ENTRY_IDLE && e->view != NULL &&
	    (w = TAILQ_FIRST(&e->waiters)) != NULL) {
		sts_lookup_cb *cb = w->cb;
		void *cb_arg = w->arg;

		TAILQ_REMOVE(&e->waiters, w, link);
		free(w);
		cb(sts_view_ref(e->view), cb_arg);
	}
	e->serving = false;
}

/* ---- the way there ---- */

/* failed: a fetch has just failed, so that there is no other now. */
static enum sts_act
decide(const struct sts_entry *e, bool failed)
{
	const struct sts_cached *c = &e->cached;
	const struct conf_sts *conf = &e->table->conf->sts;
	const struct sts_policy *list = sts_cached_list(c);
	bool other = e->failed_id[0] != '\0' &&
		strcmp(e->failed_id, e->record.id) != 0;
	const struct sts_known known = {
		.finding = e->finding,
		.in_force = sts_cached_in_force(c),
		.same_id = strcmp(e->record.id, c->id) == 0,
		.backing_off = failed || (sts_cached_waits(c, conf) && !other),
		.listed = list != NULL,
		.list_enforces = list != NULL &&
			list->mode == STS_MODE_ENFORCE,
		.may_ignore = conf->dns_failure == CONF_STS_DNS_IGNORE,
	};

	return sts_decide(&known);
}

static void
save_absent(struct sts_entry *e, const char *reason)
{
	struct msg_sts msg = message(e, MSG_STS_ABSENT);

	(void)str_copy(msg.error, sizeof(msg.error), reason);
	save(e, &msg);
}

/* A refresh may find the policy without its record: the id stays. */
static void
take_fetched(struct sts_entry *e, struct sts_fetch_result *result)
{
	struct msg_sts msg = message(e, MSG_STS_FETCHED);

	sts_cached_fetched(&e->cached, e->finding == STS_FINDING_RECORD ?
		e->record.id : NULL, result, &msg);
	e->failed_id[0] = '\0';
	save(e, &msg);
}

static void
take_failed(struct sts_entry *e, const struct sts_fetch_result *result)
{
	struct msg_sts msg = message(e, MSG_STS_FAILED);

	sts_cached_failed(&e->cached, &e->table->conf->sts, result, &msg);
	(void)str_copy(e->failed_id, sizeof(e->failed_id), e->record.id);
	save(e, &msg);
}

/* That we cannot fetch says nothing of the domain: what is in force stays, or a
 * list that protects, else mail waits, and the next one tries again. */
static enum sts_act
decide_without(const struct sts_entry *e)
{
	const struct sts_policy *list = sts_cached_list(&e->cached);
	enum sts_act act = decide(e, true);

	if (e->finding == STS_FINDING_RECORD && (act == STS_ACT_NONE ||
	    (act == STS_ACT_LIST && list->mode != STS_MODE_ENFORCE)))
		return STS_ACT_DEFER;
	return act;
}

static void
fetch_not_made(struct sts_entry *e, const char *reason)
{

	if (log_once("sts-fetch-local"))
		log_error("sts-fetch-not-made", "domain", e->domain, "reason",
			reason, NULL);
	if (e->refresh)
		save_absent(e, reason);
	(void)str_copy(e->finding_error, sizeof(e->finding_error), reason);
	finish(e, decide_without(e), false);
}

/* False when the policy whose refresh this was, without a record, has been
 * forgotten meanwhile: nobody announces what was fetched. */
static bool
has_id(const struct sts_entry *e)
{
	return e->finding == STS_FINDING_RECORD || e->cached.id[0] != '\0';
}

static void
on_fetched(struct sts_fetch_result *result, void *arg)
{
	struct sts_entry *e = arg;
	bool ok = result->policy != NULL && has_id(e);

	e->fetch = NULL;
	if (result->policy == NULL && result->local) {
		fetch_not_made(e, result->reason);
		sts_fetch_result_free(&result);
		return;
	}
	if (ok)
		take_fetched(e, result);
	else if (result->policy != NULL)
		save_absent(e, "forgotten while it was fetched");
	else if (e->refresh && e->finding == STS_FINDING_NONE)
		save_absent(e, result->reason);
	else
		take_failed(e, result);
	sts_fetch_result_free(&result);
	/* A policy that is fetched is used, however short it lives. */
	finish(e, ok ? STS_ACT_USE : decide(e, true), ok);
}

/* Of a domain without record and policy there is nothing to refresh. */
static bool
wants_refresh(struct sts_entry *e)
{
	if (!e->refresh || e->parent_silent)
		return false;
	if (e->finding == STS_FINDING_RECORD ||
	    sts_cached_in_force(&e->cached))
		return true;
	save_absent(e, "no MTA-STS record");
	return false;
}

/* When both answers are there. */
static void
step(struct sts_entry *e)
{
	enum sts_act act;

	if (e->txt != NULL || e->request != 0)
		return;
	(void)event_del(e->timer);
	act = e->parent_silent ? STS_ACT_DEFER : decide(e, false);
	if (act != STS_ACT_FETCH && !wants_refresh(e)) {
		finish(e, act, false);
		return;
	}
	e->state = ENTRY_FETCHING;
	e->fetch = sts_fetch_start(&e->table->env, e->domain, on_fetched, e);
}

static void
on_txt(struct dns_answer *answer, void *arg)
{
	struct sts_entry *e = arg;

	e->txt = NULL;
	memset(&e->record, 0, sizeof(e->record));
	e->finding = sts_record_read(answer, &e->record, e->finding_error);
	e->ours = resolver_at_fault(e->table->env.resolver, answer);
	e->ttl_s = answer->ttl_s;
	dns_answer_free(&answer);
	step(e);
}

static void
on_parent_silent(evutil_socket_t fd, short what, void *arg)
{
	struct sts_entry *e = arg;

	(void)fd;
	(void)what;
	log_warn("sts-parent-silent", "domain", e->domain, NULL);
	e->request = 0;
	e->parent_silent = !e->cached.known || sts_cached_list_over(&e->cached);
	step(e);
}

/* Lists are replaced when they expire, and what the parent says of them is not
 * for ever. */
static bool
parent_is_heard(const struct sts_cached *c)
{
	return c->known && !sts_cached_list_over(c) &&
		clock_mono_ms() - c->answered_ms < STS_FRESH_MAX_MS;
}

static void
ask_parent(struct sts_entry *e)
{
	struct sts_table *t = e->table;
	int64_t ms = t->port.wait_ms > 0 ? t->port.wait_ms : STS_PARENT_MS;
	const struct timeval tv = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	if (parent_is_heard(&e->cached))
		return;
	e->request = ++t->requests;
	(void)event_add(e->timer, &tv);
	t->port.get(e->request, e->domain, t->port.arg);
}

/* Asks the DNS and, where nothing is known yet, the parent at the same time. */
static void
ask(struct sts_entry *e)
{
	char name[STR_DOMAIN_MAX + 16];

	e->state = ENTRY_ASKING;
	e->asked_ms = clock_mono_ms();
	e->parent_silent = false;
	ask_parent(e);
	(void)snprintf(name, sizeof(name), "_mta-sts.%s", e->domain);
	if (str_is_domain(name)) {
		if (e->anew)
			resolver_forget(e->table->env.resolver, name,
				DNS_TYPE_TXT);
		e->anew = false;
		e->txt = resolver_start(e->table->env.resolver, name,
			DNS_TYPE_TXT, on_txt, e);
		return;
	}
	/* Too long a name has no record. */
	memset(&e->record, 0, sizeof(e->record));
	e->finding = STS_FINDING_NONE;
	e->ttl_s = STS_FRESH_MAX_MS / 1000;
	step(e);
}

static bool
is_fresh(const struct sts_entry *e)
{
	return e->view != NULL && clock_mono_ms() < e->view->fresh_until_ms;
}

static struct sts_lookup *
start(struct sts_table *t, const char *domain, bool anew, sts_lookup_cb *cb,
	void *arg)
{
	struct sts_entry *e = entry_get(t, domain);
	struct sts_lookup *w = xcalloc(1, sizeof(*w));

	w->entry = e;
	w->cb = cb;
	w->arg = arg;
	TAILQ_INSERT_TAIL(&e->waiters, w, link);
	if (e->state != ENTRY_IDLE)
		return w;
	e->anew = anew;
	if (is_fresh(e) && !anew)
		event_active(e->ready, EV_TIMEOUT, 0);
	else
		ask(e);
	return w;
}

/* ---- interface ---- */

struct sts_lookup *
sts_lookup_start(struct sts_table *t, const char *domain, sts_lookup_cb *cb,
	void *arg)
{
	return start(t, domain, false, cb, arg);
}

struct sts_lookup *
sts_recheck_start(struct sts_table *t, const char *domain, sts_lookup_cb *cb,
	void *arg)
{
	const struct sts_entry *e = entry_get(t, domain);

	return start(t, domain, clock_mono_ms() - e->asked_ms >=
		STS_RECHECK_MS, cb, arg);
}

void
sts_lookup_cancel(struct sts_lookup **wp)
{
	struct sts_lookup *w = *wp;

	if (w == NULL)
		return;
	TAILQ_REMOVE(&w->entry->waiters, w, link);
	mem_free(wp);
}

bool
sts_table_holds(const struct sts_table *t, const char *domain,
	const struct sts_view *view)
{
	const struct sts_entry *e = find(t, domain);

	return e == NULL || (e->view != NULL && sts_view_same(e->view, view));
}

size_t
sts_table_count(const struct sts_table *t)
{
	return table_count(t->by_domain);
}

/* ---- from the parent ---- */

static void
take_answer(struct sts_table *t, uint64_t id, const struct msg_sts *msg)
{
	struct sts_entry *e = find(t, msg->domain);

	if (e == NULL || id == 0 || e->request != id)
		return;
	sts_cached_answer(&e->cached, msg);
	weigh(e);
	e->request = 0;
	step(e);
}

/* What is under way goes on; it finds nothing cached but a list's policy, which
 * is not forgotten in that way.  Then the parent is asked again. */
static void
take_forget(struct sts_table *t, const char *domain)
{
	struct sts_entry *e = find(t, domain);

	if (e == NULL)
		return;
	sts_cached_forget(&e->cached);
	e->failed_id[0] = '\0';
	sts_view_unref(&e->view);
	if (e->state == ENTRY_IDLE && !TAILQ_EMPTY(&e->waiters))
		ask(e);
	else if (e->state == ENTRY_ASKING && e->request == 0)
		ask_parent(e);
	weigh(e);
}

static void
take_refresh(struct sts_table *t, uint64_t id, const char *domain)
{
	struct sts_entry *e = entry_get(t, domain);

	e->refresh = true;
	e->refresh_id = id;
	if (e->state == ENTRY_IDLE)
		ask(e);
}

void
sts_table_take(struct sts_table *t, uint64_t id, const struct msg_sts *msg)
{
	if (msg->what == MSG_STS_ANSWER)
		take_answer(t, id, msg);
	else if (msg->what == MSG_STS_FORGET)
		take_forget(t, msg->domain);
	else if (msg->what == MSG_STS_REFRESH)
		take_refresh(t, id, msg->domain);
}

struct sts_table *
sts_table_new(struct event_base *base, const struct conf *conf,
	const struct sts_fetch_env *env, const struct sts_table_port *port)
{
	struct sts_table *t = xcalloc(1, sizeof(*t));

	t->base = base;
	t->conf = conf;
	t->env = *env;
	t->port = *port;
	t->by_domain = table_new();
	TAILQ_INIT(&t->entries);
	return t;
}

void
sts_table_free(struct sts_table **tp)
{
	struct sts_table *t = *tp;
	struct sts_entry *e;

	if (t == NULL)
		return;
	while ((e = TAILQ_FIRST(&t->entries)) != NULL)
		entry_free(e);
	table_free(&t->by_domain);
	mem_free(tp);
}
