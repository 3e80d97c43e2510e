/*
 * Answers the queue command.  A long list is sent page by page as the client
 * reads it, so that neither memory nor the loop depends on the queue's size.
 */
#include "config.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/ipc/turn.h"
#include "smtpd-out/parent/control.h"
#include "smtpd-out/parent/control_int.h"
#include "smtpd-out/parent/listener.h"
#include "smtpd-out/queue/queue_hold.h"
#include "smtpd-out/queue/queue_sts.h"
#include "spool/policy_store.h"

#define REQUEST_MAX 65536
#define CLIENTS_MAX 32
#define CAT_BLOCK 65536
#define IDLE_SECONDS 30

static void
client_free(struct client *c)
{
	if (c->refresh != 0)
		queue_sts_refresh_cancel(c->control->queue, c->refresh);
	TAILQ_REMOVE(&c->control->clients, c, link);
	c->control->count--;
	if (c->cat_fd >= 0)
		(void)close(c->cat_fd);
	json_decref(c->request);
	event_free(c->step_ev);
	bufferevent_free(c->bev);
	free(c);
}

void
control_send(struct client *c, json_t *object)
{
	char *text = json_dumps(object, JSON_COMPACT);

	if (text != NULL) {
		(void)bufferevent_write(c->bev, text, strlen(text));
		(void)bufferevent_write(c->bev, "\n", 1);
	}
	free(text);
	json_decref(object);
}

void
control_end(struct client *c, json_t *object, const char *error)
{
	(void)json_object_set_new(object, "end", json_true());
	if (error != NULL)
		(void)json_object_set_new(object, "error", json_string(error));
	control_send(c, object);
	c->answered = true;
}

void
control_fail(struct client *c, const char *error)
{
	control_end(c, json_object(), error);
}

static void
on_step(evutil_socket_t fd, short what, void *arg)
{
	struct client *c = arg;

	(void)fd;
	(void)what;
	turn_mark("operator");
	if (c->page != NULL)
		c->page(c);
}

void
control_again(struct client *c)
{
	const struct timeval now = { .tv_usec = 0 };

	(void)event_add(c->step_ev, &now);
}

void
control_long(struct client *c, void (*page)(struct client *))
{
	/* It says nothing more: silence is no reason to break off. */
	(void)bufferevent_disable(c->bev, EV_READ);
	c->page = page;
	control_again(c);
}

void
control_set(json_t *object, const char *key, json_t *value)
{
	(void)json_object_set_new(object, key, value);
}

void
control_set_int(json_t *object, const char *key, int64_t value)
{
	control_set(object, key, json_integer((json_int_t)value));
}

/* ---- what is asked for ---- */

const char *
control_text_of(const json_t *request, const char *key)
{
	return json_string_value(json_object_get(request, key));
}

/* "id" "destination" "sender" "rcpt" "older" (ms) "held" of a request. */
static bool
parse_filter(struct client *c)
{
	const char *id = control_text_of(c->request, "id");
	json_int_t older = json_integer_value(json_object_get(c->request,
		"older"));

	memset(&c->filter, 0, sizeof(c->filter));
	c->filter.held = -1;
	if (id != NULL && str_id_parse(id, &c->filter.message_id) != ST_OK)
		return false;
	c->filter.destination = control_text_of(c->request, "destination");
	c->filter.sender = control_text_of(c->request, "sender");
	c->filter.rcpt = control_text_of(c->request, "rcpt");
	if (older > 0)
		c->filter.older_than_ms = clock_wall_ms() - older;
	if (json_object_get(c->request, "held") != NULL)
		c->filter.held = json_is_true(json_object_get(c->request,
			"held"));
	return true;
}

json_t *
control_text_json(const char *text)
{
	json_t *value = json_string(text);

	return value != NULL ? value : json_string("?");	/* not UTF-8 */
}

static const char *
row_state(const struct client *c, const struct spool_delivery *d,
	const struct queue_dest *hold)
{
	if (queue_is_active(c->control->queue, d->id))
		return "active";
	if (!d->held && hold->paused)
		return "paused";
	if (!d->held && hold->hold_until_ms > 0)
		return "waiting";
	return d->held ? "held" : d->attempts > 0 ? "deferred" : "queued";
}

static void
on_row(const struct spool_row *row, void *arg)
{
	struct client *c = arg;
	const struct spool_delivery *d = &row->delivery;
	struct queue_dest hold;
	char id[STR_ID_MAX];

	queue_dest(c->control->queue, d->destination, &hold);
	str_id_format(d->message_id, id);
	c->rows++;
	control_send(c, json_pack("{s:s, s:s, s:o, s:o, s:s, s:I, s:I, s:i, "
		"s:I, s:I, s:o, s:b, s:b, s:I, s:o}", "id", id, "state",
		row_state(c, d, &hold), "sender",
		control_text_json(row->sender), "rcpt",
		control_text_json(row->rcpt), "destination", d->destination,
		"size", (json_int_t)row->size_bytes, "arrived",
		(json_int_t)(d->received_ms / 1000), "attempts",
		(int)d->attempts, "next", (json_int_t)(d->next_ms / 1000),
		"expires", (json_int_t)(d->expires_ms / 1000), "reason",
		control_text_json(row->text), "require_tls",
		(row->flags & ENVELOPE_REQUIRETLS) != 0, "tls_optional",
		(row->flags & ENVELOPE_TLS_OPTIONAL) != 0, "hold_until",
		(json_int_t)(hold.hold_until_ms / 1000), "hold_reason",
		control_text_json(hold.why)));
}

/* What keeps a destination's mail, also when none is queued. */
static void
put_hold(const struct client *c, json_t *o)
{
	struct queue_dest hold;

	queue_dest(c->control->queue, c->filter.destination, &hold);
	(void)json_object_set_new(o, "paused", json_boolean(hold.paused));
	(void)json_object_set_new(o, "hold_until", json_integer(
		(json_int_t)(hold.hold_until_ms / 1000)));
	(void)json_object_set_new(o, "hold_reason",
		control_text_json(hold.why));
}

static void
list_page(struct client *c)
{
	uint64_t rows = c->rows;
	json_t *o;
	bool more = false;
	enum status st = spool_list(c->control->spool, &c->filter, &c->after,
		PAGE, on_row, c, &more);

	if (st == ST_OK && more) {
		/* Nothing matched so far: go on in the next turn. */
		if (c->rows == rows)
			control_again(c);
		return;
	}
	c->page = NULL;
	o = json_pack("{s:I}", "rows", (json_int_t)c->rows);
	if (c->filter.destination != NULL && c->filter.destination[0] != '.')
		put_hold(c, o);
	control_end(c, o, st == ST_OK ? NULL :
		spool_error(c->control->spool));
}

static void
do_list(struct client *c)
{
	control_long(c, list_page);
}

static void
cat_block(struct client *c)
{
	char block[CAT_BLOCK];
	ssize_t n = pread(c->cat_fd, block, sizeof(block), c->cat_at);

	if (n > 0) {
		c->cat_at += n;
		(void)bufferevent_write(c->bev, block, (size_t)n);
		return;
	}
	(void)close(c->cat_fd);
	c->cat_fd = -1;
	c->answered = true;
}

static void
do_cat(struct client *c)
{
	void *data = NULL;
	size_t len = 0;
	enum status st = ST_NOENT;

	if (c->filter.message_id != 0)
		st = spool_body_get(c->control->spool, c->filter.message_id,
			&data, &len, &c->cat_fd);
	if (st != ST_OK) {
		control_fail(c, st == ST_NOENT ? "no such message" :
			spool_error(c->control->spool));
		return;
	}
	control_send(c, json_pack("{s:b}", "body", 1));
	if (data != NULL) {
		(void)bufferevent_write(c->bev, data, len);
		free(data);
		c->answered = true;
	}
	bufferevent_setwatermark(c->bev, EV_WRITE, CAT_BLOCK / 2, 0);
}

/* ---- what is remembered of hosts ---- */

static void
tls_page(struct client *c)
{
	struct spool_host_tls rows[PAGE];
	size_t count = 0;
	enum status st = spool_host_tls_list(c->control->spool, c->host_after,
		rows, PAGE, &count);

	for (size_t i = 0; i < count; i++) {
		control_send(c, json_pack("{s:o, s:s, s:I}", "host",
			control_text_json(rows[i].host), "tls",
			remember_level_name((enum remember_level)
			rows[i].level), "last",
			(json_int_t)rows[i].last_s));
		(void)str_copy(c->host_after, sizeof(c->host_after),
			rows[i].host);
	}
	c->rows += count;
	if (count == PAGE)
		return;
	c->page = NULL;
	control_end(c, json_pack("{s:I}", "rows", (json_int_t)c->rows),
		st == ST_OK ? NULL : spool_error(c->control->spool));
}

static void
do_tls_list(struct client *c)
{
	c->page = tls_page;
	tls_page(c);
}

static void
do_tls_forget(struct client *c)
{
	const char *host = control_text_of(c->request, "host");
	enum status st = host == NULL ? ST_NOENT :
		queue_forget(c->control->queue, host);

	if (st != ST_OK) {
		control_fail(c, st == ST_NOENT ? "nothing is remembered of "
			"that host" : spool_error(c->control->spool));
		return;
	}
	log_info("operator", "action", "tls-forget", "host", host, NULL);
	control_end(c, json_pack("{s:i}", "count", 1), NULL);
}

static const struct {
	const char *cmd;
	void (*run)(struct client *);
} commands[] = {
	{ "list", do_list }, { "stats", control_stats }, { "cat", do_cat },
	{ "flush", control_act }, { "hold", control_act },
	{ "release", control_act }, { "remove", control_act },
	{ "demand", control_demand }, { "pause", control_rule },
	{ "resume", control_rule }, { "limit", control_rule },
	{ "limits", control_limits },
	{ "tls-list", do_tls_list }, { "tls-forget", do_tls_forget },
	{ "report-list", control_report_list },
	{ "report-send", control_report_send },
	{ "policies-list", control_policies_list },
	{ "policies-show", control_policies_show },
	{ "policies-refresh", control_policies_refresh },
	{ "policies-forget", control_policies_forget },
};

static void
run_request(struct client *c, const char *line)
{
	const char *cmd;

	c->request = json_loads(line, 0, NULL);
	cmd = c->request == NULL ? NULL : control_text_of(c->request, "cmd");
	if (cmd == NULL || !parse_filter(c)) {
		control_fail(c, cmd == NULL ? "malformed request" :
			"no such id");
		return;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].cmd, cmd) == 0) {
			commands[i].run(c);
			return;
		}
	control_fail(c, "unknown command");
}

/* ---- the socket ---- */

static void
on_client_read(struct bufferevent *bev, void *arg)
{
	struct client *c = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	char *line;

	turn_mark("operator");
	if (c->request != NULL || c->answered) {
		(void)evbuffer_drain(in, evbuffer_get_length(in));
		return;
	}
	line = evbuffer_readln(in, NULL, EVBUFFER_EOL_LF);
	if (line != NULL)
		run_request(c, line);
	else if (evbuffer_get_length(in) > REQUEST_MAX)
		control_fail(c, "request too long");
	free(line);
}

static void
on_client_written(struct bufferevent *bev, void *arg)
{
	struct client *c = arg;

	turn_mark("operator");
	/* An action has nothing to write until it ends. */
	if (c->page != NULL && !evtimer_pending(c->step_ev, NULL))
		c->page(c);
	else if (c->page != NULL)
		return;
	else if (c->cat_fd >= 0)
		cat_block(c);
	else if (c->answered &&
	    evbuffer_get_length(bufferevent_get_output(bev)) == 0)
		client_free(c);
}

static void
on_client_event(struct bufferevent *bev, short what, void *arg)
{
	(void)bev;
	(void)what;
	client_free(arg);
}

static bool
may_ask(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
		(cred.uid == 0 || cred.uid == geteuid());
}

static void
on_accept(evutil_socket_t listen_fd, short what, void *arg)
{
	static const char denied[] =
		"{\"end\":true,\"error\":\"permission denied\"}\n";
	const struct timeval idle = { .tv_sec = IDLE_SECONDS };
	struct control *control = arg;
	struct client *c;
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)what;
	if (fd < 0)
		return;
	if (!may_ask(fd) || control->count >= CLIENTS_MAX) {
		(void)!write(fd, denied, sizeof(denied) - 1);
		(void)close(fd);
		return;
	}
	c = xcalloc(1, sizeof(*c));
	c->control = control;
	c->cat_fd = -1;
	c->bev = bufferevent_socket_new(control->base, fd,
		BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
	c->step_ev = event_new(control->base, -1, 0, on_step, c);
	TAILQ_INSERT_TAIL(&control->clients, c, link);
	control->count++;
	bufferevent_setcb(c->bev, on_client_read, on_client_written,
		on_client_event, c);
	bufferevent_set_timeouts(c->bev, &idle, &idle);
	(void)bufferevent_enable(c->bev, EV_READ | EV_WRITE);
}

enum status
control_new(struct event_base *base, const struct conf *conf,
	struct spool *spool, struct queue *queue, struct control **out,
	char err[CONF_ERR_MAX])
{
	struct control *control;
	struct conf_addr addr;
	enum status st;
	int fd = -1;

	if (conf_addr_parse(conf->control, 0, &addr) != ST_OK) {
		(void)snprintf(err, CONF_ERR_MAX, "control: bad path");
		return ST_PARSE;
	}
	/* Who may ask is checked by user id: others get a plain "permission
	 * denied" instead of a puzzle. */
	st = listener_open(&addr, 0666, &fd, err);
	free(addr.text);
	if (st != ST_OK)
		return st;
	control = xcalloc(1, sizeof(*control));
	control->base = base;
	control->spool = spool;
	control->queue = queue;
	control->fd = fd;
	TAILQ_INIT(&control->clients);
	control->accept_ev = event_new(base, fd, EV_READ | EV_PERSIST,
		on_accept, control);
	(void)event_add(control->accept_ev, NULL);
	*out = control;
	return ST_OK;
}

void
control_free(struct control **controlp)
{
	struct control *control = *controlp;

	if (control == NULL)
		return;
	while (!TAILQ_EMPTY(&control->clients))
		client_free(TAILQ_FIRST(&control->clients));
	event_free(control->accept_ev);
	(void)close(control->fd);
	mem_free(controlp);
}
