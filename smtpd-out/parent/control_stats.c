/*
 * Counts, destinations, and what the operator sets for destinations: pause,
 * resume, limit.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "smtpd-out/ipc/turn.h"
#include "smtpd-out/parent/control_int.h"
#include "smtpd-out/queue/queue_hold.h"

#define TOP 20

static void
set_bounds(json_t *o, const struct conf_bounds *b)
{
	char rate[48], time[32];

	control_set_int(o, "connections", b->connections);
	control_set_int(o, "recipients", b->recipients);
	if (b->rate.per_ms % 1000 == 0)
		(void)snprintf(time, sizeof(time), "%llds",
			(long long)b->rate.per_ms / 1000);
	else
		(void)snprintf(time, sizeof(time), "%lldms",
			(long long)b->rate.per_ms);
	(void)snprintf(rate, sizeof(rate), "%u/%s", b->rate.count, time);
	control_set(o, "rate", json_string(b->rate.count == 0 ?
		"" : rate));
}

static json_t *
destination_json(struct queue *queue, const struct spool_dest_stats *s)
{
	struct queue_dest d;
	json_t *o = json_pack("{s:s, s:I, s:I, s:I}", "destination",
		s->destination, "deliveries", (json_int_t)s->deliveries,
		"held", (json_int_t)s->held, "oldest",
		(json_int_t)(s->oldest_received_ms / 1000));

	queue_dest(queue, s->destination, &d);
	control_set_int(o, "active", (long long)d.active);
	control_set(o, "paused", json_boolean(d.paused));
	control_set_int(o, "hold_until", d.hold_until_ms / 1000);
	control_set(o, "reason", control_text_json(d.why));
	set_bounds(o, &d.bounds);
	return o;
}

/* Those with most mail, or the one that was asked for. */
static json_t *
destinations(struct client *c)
{
	struct control *control = c->control;
	struct spool_dest_stats top[TOP];
	json_t *list = json_array();
	size_t count = 0;
	enum status st;

	if (c->filter.destination != NULL) {
		memset(&top[0], 0, sizeof(top[0]));
		(void)str_copy(top[0].destination, sizeof(top[0].destination),
			c->filter.destination);
		st = spool_destination(control->spool, c->filter.destination,
			&top[0]);
		count = st == ST_OK || st == ST_NOENT ? 1 : 0;
	} else if (spool_top_destinations(control->spool, top, TOP, &count) !=
	    ST_OK) {
		count = 0;
	}
	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(list,
			destination_json(control->queue, &top[i]));
	return list;
}

static json_t *
rule_json(const struct spool_dest_rule *r)
{
	json_t *o = json_pack("{s:s, s:b, s:b}", r->host ? "host" :
		"destination", r->name, "host_rule", r->host, "paused",
		r->paused);

	set_bounds(o, &r->bounds);
	return o;
}

static json_t *
rules(struct queue *queue, bool paused_only)
{
	const struct spool_dest_rule *list;
	size_t count = queue_rules(queue, &list);
	json_t *out = json_array();

	for (size_t i = 0; i < count; i++)
		if (!paused_only || list[i].paused)
			(void)json_array_append_new(out, rule_json(&list[i]));
	return out;
}

static void
set_queue(json_t *o, struct queue *queue)
{
	struct turn_worst worst;
	struct queue_stats q;
	const struct {
		const char *key;
		uint64_t value;
	} rows[] = {
		{ "active", (queue_stats(queue, &q), q.active) },
		{ "accepted", q.accepted }, { "rejected", q.rejected },
		{ "sent", q.sent }, { "deferred", q.deferred },
		{ "bounced", q.bounced }, { "late_answers", q.late_answers },
		{ "commits", q.commits },
		{ "holds", queue_holds(queue, NULL, NULL) },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		control_set_int(o, rows[i].key, (long long)rows[i].value);
	turn_worst(&worst);
	control_set_int(o, "worst_turn_us", worst.us);
	control_set(o, "worst_turn_in", json_string(worst.what));
	control_set_int(o, "slow_turns", (long long)worst.slow);
	control_set_int(o, "worst_turn_cpu_us", worst.cpu_us);
	control_set(o, "worst_turn_cpu_in",
		json_string(worst.cpu_what));
	control_set_int(o, "slow_turns_cpu", (long long)worst.cpu_slow);
}

void
control_stats(struct client *c)
{
	struct control *control = c->control;
	struct spool_stats s;
	json_t *o;

	if (spool_stats(control->spool, clock_wall_ms(), &s) != ST_OK) {
		control_fail(c, spool_error(control->spool));
		return;
	}
	o = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
		"messages", (json_int_t)s.messages,
		"deliveries", (json_int_t)s.deliveries,
		"recipients", (json_int_t)s.recipients,
		"held", (json_int_t)s.held, "due", (json_int_t)s.due,
		"bytes", (json_int_t)s.bytes,
		"oldest", (json_int_t)(s.oldest_received_ms / 1000));
	set_queue(o, control->queue);
	control_set(o, "paused", rules(control->queue, true));
	control_set(o, "destinations", destinations(c));
	control_end(c, o, NULL);
}

/* ---- pause, resume, limit ---- */

void
control_limits(struct client *c)
{
	control_end(c, json_pack("{s:o}", "limits",
		rules(c->control->queue, false)), NULL);
}

static bool
take_uint(const json_t *request, const char *key, unsigned *out)
{
	const json_t *value = json_object_get(request, key);
	json_int_t n = json_integer_value(value);

	if (value == NULL)
		return true;
	if (!json_is_integer(value) || n < 0 || n > 100000)
		return false;
	*out = (unsigned)n;
	return true;
}

/* What is not named stays; 0 leaves it to the configuration. */
static bool
take_bounds(const json_t *request, struct conf_bounds *b)
{
	const char *rate = control_text_of(request, "rate");

	return take_uint(request, "connections", &b->connections) &&
		take_uint(request, "recipients", &b->recipients) &&
		(rate == NULL || conf_rate_parse(rate, &b->rate) == ST_OK);
}

void
control_rule(struct client *c)
{
	const char *cmd = control_text_of(c->request, "cmd");
	bool host = json_is_true(json_object_get(c->request, "host"));
	struct spool_dest_rule rule;
	enum status st;

	if (c->filter.destination == NULL ||
	    strlen(c->filter.destination) >= sizeof(rule.name)) {
		control_fail(c, "no destination");
		return;
	}
	queue_rule_get(c->control->queue, host, c->filter.destination, &rule);
	if (strcmp(cmd, "limit") != 0) {
		rule.paused = strcmp(cmd, "pause") == 0;
	} else if (!take_bounds(c->request, &rule.bounds)) {
		control_fail(c, "no such limit");
		return;
	}
	st = queue_rule_set(c->control->queue, &rule);
	if (st != ST_OK) {
		control_fail(c, st == ST_LIMIT ? "too many rules" :
			spool_error(c->control->spool));
		return;
	}
	log_info("operator", "action", cmd, host ? "host" : "destination",
		rule.name, NULL);
	control_end(c, rule_json(&rule), NULL);
}
