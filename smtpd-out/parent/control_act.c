/*
 * The operator's actions on what matches a selection: a part in each loop
 * turn, so that a million deliveries hold up nobody.  Once begun, an action
 * goes on to its end, also when the client does not wait for it.
 */
#include "config.h"

#include <event2/event.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "smtpd-out/parent/control_int.h"

/* Deliveries: the commit has work for each, and an fsync for all of them that
 * a smaller part would not make shorter. */
#define SLICE { .size = 32, .least = 32, .most = 256 }

static const struct {
	const char *name;
	enum spool_action action;
} actions[] = {
	{ "flush", SPOOL_FLUSH }, { "hold", SPOOL_HOLD },
	{ "release", SPOOL_RELEASE }, { "remove", SPOOL_REMOVE },
};

static const struct {
	const char *name;
	unsigned flags;
} demands[] = {
	{ "require", ENVELOPE_REQUIRETLS }, { "none", ENVELOPE_TLS_OPTIONAL },
	{ "default", 0 },
};

/* Part of the action of a client, in the open transaction. */
typedef enum status slice_fn(struct client *, bool *more);

/* A part, in one transaction.  How many deliveries it has follows the time
 * that the last one took, most of which may be its commit. */
static enum status
run_slice(struct client *c, slice_fn *slice, bool *more)
{
	struct spool *spool = c->control->spool;
	struct spool_walk at = c->at;
	uint64_t count = c->rows;
	enum status st;

	if (c->slice.size == 0)
		c->slice = (struct slice)SLICE;
	c->at.max = c->slice.size;
	slice_start(&c->slice);
	st = spool_begin(spool);
	if (st == ST_OK)
		st = slice(c, more);
	if (st == ST_OK)
		st = spool_commit(spool);
	slice_end(&c->slice, c->slice.size);
	queue_housekeep(c->control->queue);
	if (st != ST_OK) {
		spool_rollback(spool);
		c->at = at;
		c->rows = count;
	}
	return st;
}

static enum status
act_slice(struct client *c, bool *more)
{
	return spool_act_slice(c->control->spool, &c->filter,
		actions[c->action].action, clock_wall_ms(), &c->at, &c->rows,
		more);
}

static enum status
purge_slice(struct client *c, bool *more)
{
	*more = false;
	return spool_purge(c->control->spool, c->filter.message_id, &c->rows);
}

static bool
is_one_removal(const struct client *c)
{
	const struct spool_filter *f = &c->filter;

	return actions[c->action].action == SPOOL_REMOVE &&
		f->message_id != 0 && f->destination == NULL &&
		f->sender == NULL && f->rcpt == NULL &&
		f->older_than_ms == 0 && f->held < 0;
}

static void
act_page(struct client *c)
{
	const char *name = actions[c->action].name;
	bool more = false;
	enum status st = run_slice(c, act_slice, &more);

	/* What is damaged can still be removed, by its id. */
	if (is_one_removal(c) && (st == ST_CORRUPT ||
	    (st == ST_OK && !more && c->rows == 0)))
		st = run_slice(c, purge_slice, &more);
	if (st == ST_OK && more) {
		control_again(c);
		return;
	}
	c->page = NULL;
	if (c->rows > 0)
		log_info("operator", "action", name, "deliveries",
			log_num((long long)c->rows), NULL);
	queue_kick(c->control->queue);
	control_end(c, json_pack("{s:I}", "count", (json_int_t)c->rows),
		st == ST_OK ? NULL : spool_error(c->control->spool));
}

void
control_act(struct client *c)
{
	const char *name = control_text_of(c->request, "cmd");

	while (strcmp(actions[c->action].name, name) != 0)
		c->action++;
	if (actions[c->action].action == SPOOL_FLUSH)
		queue_flush_holds(c->control->queue, c->filter.destination);
	control_long(c, act_page);
}

/* ---- demands ---- */

static enum status
demand_slice(struct client *c, bool *more)
{
	return spool_set_flags(c->control->spool, &c->filter,
		ENVELOPE_REQUIRETLS | ENVELOPE_TLS_OPTIONAL,
		demands[c->action].flags, &c->at, &c->rows, more);
}

static void
demand_page(struct client *c)
{
	bool more = false;
	enum status st = run_slice(c, demand_slice, &more);

	if (st == ST_OK && more) {
		control_again(c);
		return;
	}
	c->page = NULL;
	if (st == ST_OK)
		log_info("operator", "action", "demand", "demand",
			demands[c->action].name, "id",
			control_text_of(c->request, "id"), "messages",
			log_num((long long)c->rows), NULL);
	control_end(c, json_pack("{s:I}", "count", (json_int_t)c->rows),
		st == ST_OK ? NULL : spool_error(c->control->spool));
}

/* What messages demand of their transport (RFC 8689), in place of what the
 * sender said.  A job that is out keeps what it was given. */
void
control_demand(struct client *c)
{
	const char *name = control_text_of(c->request, "demand");

	while (c->action < 3 && (name == NULL ||
	    strcmp(demands[c->action].name, name) != 0))
		c->action++;
	if (c->action == 3)
		control_fail(c, "no such demand");
	else
		control_long(c, demand_page);
}
