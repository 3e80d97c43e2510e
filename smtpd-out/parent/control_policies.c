/*
 * Answers `queue policies`: what is known of MTA-STS policies.  A policy's text
 * is handed on as it is; whoever asks reads it.
 */
#include "config.h"

#include <event2/bufferevent.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/parent/control_int.h"
#include "smtpd-out/queue/queue_sts.h"
#include "smtpd-out/queue/sts_lists.h"
#include "spool/sts_store.h"

#define POLICY_PAGE 20			/* with texts */
#define LISTS_MAX 32			/* shown of one domain */

/* What is not UTF-8, or has a NUL, becomes ASCII. */
static json_t *
bytes_json(const char *bytes, size_t len)
{
	json_t *value = NULL;
	char *copy;

	if (memchr(bytes, 0, len) == NULL)
		value = json_stringn(bytes, len);
	if (value != NULL)
		return value;
	copy = xmalloc(len + 1);
	for (size_t i = 0; i < len; i++)
		copy[i] = bytes[i] > 0 ? bytes[i] : '?';
	value = json_stringn(copy, len);
	free(copy);
	return value;
}

static json_t *
policy_json(const struct msg_sts *m)
{
	json_t *o = json_object();

	control_set(o, "domain", json_string(m->domain));
	if (m->text != NULL) {
		control_set(o, "id", json_string(m->id));
		control_set(o, "text", bytes_json(m->text, m->text_len));
		control_set_int(o, "fetched", m->fetched_s);
		control_set_int(o, "expires", m->expires_s);
	}
	if (m->used_s != 0)
		control_set_int(o, "used", m->used_s);
	if (m->failures > 0) {
		control_set_int(o, "failures", m->failures);
		control_set_int(o, "tried", m->tried_s);
		control_set_int(o, "next_try", m->next_try_s);
		control_set(o, "result_type", json_string(tls_failure_name(
			m->failure)));
		control_set(o, "last_error", control_text_json(m->error));
	}
	return o;
}

/* ---- list ---- */

static void
list_page(struct client *c)
{
	struct control *control = c->control;
	struct spool_sts *rows = xcalloc(POLICY_PAGE, sizeof(rows[0]));
	size_t count = 0;
	enum status st = spool_sts_list(control->spool, c->host_after, rows,
		POLICY_PAGE, &count);

	for (size_t i = 0; i < count; i++) {
		struct msg_sts known;

		(void)queue_sts_known(control->queue, rows[i].domain, &known);
		control_send(c, policy_json(&known));
		msg_sts_clear(&known);
		(void)str_copy(c->host_after, sizeof(c->host_after),
			rows[i].domain);
	}
	free(rows);
	c->rows += count;
	if (count == POLICY_PAGE)
		return;
	c->page = NULL;
	control_end(c, json_pack("{s:I}", "rows", (json_int_t)c->rows),
		st == ST_OK ? NULL : spool_error(control->spool));
}

void
control_policies_list(struct client *c)
{
	c->page = list_page;
	list_page(c);
}

/* ---- one domain ---- */

/* False, and an answer, when the request names none. */
static bool
get_domain(struct client *c, char domain[STR_DOMAIN_MAX])
{
	const char *text = control_text_of(c->request, "domain");

	if (text != NULL && str_domain(text, domain) == ST_OK)
		return true;
	control_fail(c, "not a domain");
	return false;
}

static json_t *
lists_json(const struct queue *q, const char *domain)
{
	struct sts_lists_entry found[LISTS_MAX];
	size_t count = sts_lists_find(queue_sts_lists(q), domain,
		clock_wall_s(), found, LISTS_MAX);
	json_t *all = json_array();

	for (size_t i = 0; i < count; i++) {
		const struct sts_policy *p = found[i].policy;
		json_t *mx = json_array();

		for (size_t n = 0; n < p->mx_count; n++)
			(void)json_array_append_new(mx, json_string(p->mx[n]));
		(void)json_array_append_new(all, json_pack("{s:o, s:s, s:o, "
			"s:I}", "file", control_text_json(found[i].path),
			"mode", sts_mode_name(p->mode), "mx", mx, "expires",
			(json_int_t)found[i].expires_s));
	}
	return all;
}

void
control_policies_show(struct client *c)
{
	char domain[STR_DOMAIN_MAX];
	struct msg_sts known;
	json_t *o, *lists;
	bool nothing;

	if (!get_domain(c, domain))
		return;
	if (queue_sts_known(c->control->queue, domain, &known) != ST_OK) {
		msg_sts_clear(&known);
		control_fail(c, spool_error(c->control->spool));
		return;
	}
	o = policy_json(&known);
	lists = lists_json(c->control->queue, domain);
	nothing = !known.found && json_array_size(lists) == 0;
	control_set(o, "lists", lists);
	msg_sts_clear(&known);
	control_end(c, o, nothing ? "no policy is known of that domain" :
		NULL);
}

void
control_policies_forget(struct client *c)
{
	char domain[STR_DOMAIN_MAX];
	enum status st;

	if (!get_domain(c, domain))
		return;
	st = queue_sts_forget(c->control->queue, domain);
	if (st != ST_OK) {
		control_fail(c, st == ST_NOENT ? "no policy is known of that "
			"domain" : spool_error(c->control->spool));
		return;
	}
	log_info("operator", "action", "policies-forget", "domain", domain,
		NULL);
	control_end(c, json_pack("{s:i}", "count", 1), NULL);
}

/* ---- fetching anew ---- */

static void
on_refreshed(const struct msg_sts *result, void *arg)
{
	struct client *c = arg;

	c->refresh = 0;
	if (result == NULL) {
		control_fail(c, "the worker did not answer");
	} else if (result->what == MSG_STS_FETCHED) {
		control_end(c, policy_json(result), NULL);
	} else {
		control_end(c, policy_json(result), result->error[0] != '\0' ?
			result->error : "there is no policy");
	}
}

void
control_policies_refresh(struct client *c)
{
	char domain[STR_DOMAIN_MAX];

	if (!get_domain(c, domain))
		return;
	log_info("operator", "action", "policies-refresh", "domain", domain,
		NULL);
	c->refresh = queue_sts_refresh(c->control->queue, domain,
		on_refreshed, c);
	if (c->refresh == 0) {
		control_fail(c, "no worker can be asked now, or mta-sts is "
			"off");
		return;
	}
	/* A fetch has its own bounds. */
	bufferevent_set_timeouts(c->bev, NULL, NULL);
}
