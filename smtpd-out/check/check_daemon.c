/*
 * Questions to the daemon: one connection each, blocking and bounded.
 */
#include "config.h"

#include <jansson.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "policy/remember.h"
#include "smtpd-out/check/check_daemon.h"

#define ANSWER_S 3		/* for a part of the answer */
#define LINE_BYTES_MAX (1U << 20)
#define ROWS_MAX 5000		/* of queued mail that are counted */

struct check_daemon {
	struct conf_addr addr;
	enum check_daemon_state state;	/* NONE: not asked yet */
	bool silent;			/* not asked again */
};

/* True: go on. */
typedef bool row_cb(const json_t *row, void *arg);

struct check_daemon *
check_daemon_new(const char *url)
{
	struct check_daemon *d = xcalloc(1, sizeof(*d));

	if (conf_addr_parse(url, 0, &d->addr) != ST_OK)
		d->silent = true;
	return d;
}

void
check_daemon_free(struct check_daemon **dp)
{
	if (*dp == NULL)
		return;
	free((*dp)->addr.text);
	mem_free(dp);
}

/* ---- one question ---- */

static const char *
text_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text == NULL ? "" : text;
}

static int64_t
int_of(const json_t *o, const char *key)
{
	return (int64_t)json_integer_value(json_object_get(o, key));
}

static FILE *
dial(struct check_daemon *d)
{
	const struct timeval tv = { .tv_sec = ANSWER_S };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	FILE *stream = NULL;

	if (fd < 0)
		return NULL;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	if (connect(fd, (const struct sockaddr *)&d->addr.addr,
	    d->addr.addr_len) == 0)
		stream = fdopen(fd, "r");
	else if (errno == EACCES || errno == EPERM)
		d->state = CHECK_DAEMON_DENIED;
	if (stream == NULL)
		(void)close(fd);
	return stream;
}

/* ST_AGAIN: more lines follow. */
static enum status
take_line(struct check_daemon *d, const char *line, row_cb *row, void *arg)
{
	json_t *o = json_loads(line, 0, NULL);
	const char *error = text_of(o, "error");
	enum status st = ST_AGAIN;

	if (o == NULL) {
		st = ST_PARSE;
	} else if (strcmp(error, "permission denied") == 0) {
		d->state = CHECK_DAEMON_DENIED;
		st = ST_DENIED;
	} else if (error[0] != '\0') {
		st = ST_NOENT;
	} else if (!row(o, arg) || json_is_true(json_object_get(o, "end"))) {
		st = ST_OK;
	}
	json_decref(o);
	return st;
}

static enum status
ask(struct check_daemon *d, json_t *request, row_cb *row, void *arg)
{
	char *text = json_dumps(request, JSON_COMPACT), *line = NULL;
	FILE *stream = d->silent ? NULL : dial(d);
	enum status st = stream == NULL ? ST_SYS : ST_AGAIN;
	size_t size = 0;

	json_decref(request);
	if (stream != NULL) {
		d->state = CHECK_DAEMON_FAILED;
		/* It may have said no already, and hung up. */
		(void)dprintf(fileno(stream), "%s\n", text);
	}
	while (st == ST_AGAIN) {
		ssize_t len = getline(&line, &size, stream);

		st = len <= 0 || len > (ssize_t)LINE_BYTES_MAX ? ST_SYS :
			take_line(d, line, row, arg);
	}
	if (st == ST_OK || st == ST_NOENT)
		d->state = CHECK_DAEMON_ASKED;
	else
		d->silent = true;
	if (stream != NULL)
		(void)fclose(stream);
	free(line);
	free(text);
	return st;
}

/* ---- queued mail ---- */

static void
take_next(struct check_queue *q, const json_t *row)
{
	int64_t next_s = int_of(row, "next"), expires_s = int_of(row,
		"expires");

	if (next_s > 0 && (q->next_s == 0 || next_s < q->next_s))
		q->next_s = next_s;
	if (expires_s > 0 && (q->expires_s == 0 || expires_s < q->expires_s))
		q->expires_s = expires_s;
}

/* Mail of a destination that waits as a whole is not tried before that. */
static void
take_hold(struct check_queue *q, const json_t *end)
{
	const char *why = text_of(end, "hold_reason");

	q->paused = json_is_true(json_object_get(end, "paused"));
	q->hold_until_s = int_of(end, "hold_until");
	str_sanitise(q->hold_reason, sizeof(q->hold_reason), why, strlen(why));
	if (q->paused)
		q->next_s = 0;
	else if (q->next_s != 0 && q->next_s < q->hold_until_s)
		q->next_s = q->hold_until_s;
}

static bool
on_queue_row(const json_t *row, void *arg)
{
	struct check_queue *q = arg;
	const char *state = text_of(row, "state"), *reason = text_of(row,
		"reason");

	if (json_is_true(json_object_get(row, "end"))) {
		take_hold(q, row);
		return true;
	}
	if (q->waiting + q->held + q->active == ROWS_MAX) {
		q->more = true;
		return false;
	}
	if (strcmp(state, "held") == 0) {
		q->held++;
	} else if (strcmp(state, "active") == 0) {
		q->active++;
	} else {
		q->waiting++;
		take_next(q, row);
	}
	if (reason[0] != '\0')
		str_sanitise(q->last_error, sizeof(q->last_error), reason,
			strlen(reason));
	return true;
}

void
check_daemon_queue(struct check_daemon *d, const char *domain,
	struct check_queue *out)
{
	(void)ask(d, json_pack("{s:s, s:s}", "cmd", "list", "destination",
		domain), on_queue_row, out);
	out->state = d->state;
}

/* ---- what is remembered ---- */

/* The first of them counts, as it does in the daemon. */
static void
take_list(const json_t *list, struct msg_sts *m)
{
	const json_t *mx = json_object_get(list, "mx");
	size_t count = json_array_size(mx);

	if (count == 0 || m->list_mx != NULL)
		return;
	if (count > MSG_STS_LIST_MX_MAX)
		count = MSG_STS_LIST_MX_MAX;
	m->list_mode = strcmp(text_of(list, "mode"), "enforce") == 0 ?
		MSG_STS_LIST_ENFORCE : MSG_STS_LIST_TESTING;
	m->list_expires_s = int_of(list, "expires");
	m->list_mx = xcalloc(count, sizeof(m->list_mx[0]));
	for (size_t i = 0; i < count; i++) {
		const char *name = json_string_value(json_array_get(mx, i));

		if (name != NULL)
			m->list_mx[m->list_mx_count++] = xstrdup(name);
	}
}

static bool
on_policy(const json_t *row, void *arg)
{
	struct msg_sts *m = arg;
	const char *text = text_of(row, "text");

	take_list(json_array_get(json_object_get(row, "lists"), 0), m);

	if (m->text == NULL && text[0] != '\0' &&
	    strlen(text) <= MSG_STS_TEXT_MAX) {
		m->text = xstrdup(text);
		m->text_len = strlen(text);
		m->fetched_s = int_of(row, "fetched");
		m->expires_s = int_of(row, "expires");
		(void)str_copy(m->id, sizeof(m->id), text_of(row, "id"));
	}
	m->found = true;
	m->used_s = int_of(row, "used");
	m->tried_s = int_of(row, "tried");
	m->next_try_s = int_of(row, "next_try");
	m->failures = (uint32_t)(int_of(row, "failures") & 0xffff);
	m->failure = tls_failure_parse(text_of(row, "result_type"));
	str_sanitise(m->error, sizeof(m->error), text_of(row, "last_error"),
		strlen(text_of(row, "last_error")));
	return true;
}

bool
check_daemon_policy(struct check_daemon *d, struct msg_sts *out)
{
	enum status st = ask(d, json_pack("{s:s, s:s}", "cmd",
		"policies-show", "domain", out->domain), on_policy, out);

	/* As the parent does: what has expired is gone. */
	if (out->text != NULL && out->expires_s <= clock_wall_s())
		mem_free(&out->text);
	return st == ST_OK || st == ST_NOENT;
}

struct hosts {
	void (*cb)(const struct msg_policy_host *, void *arg);
	void *arg;
};

static enum remember_level
level_of(const char *name)
{
	enum remember_level level = REMEMBER_VERIFIED;

	while (level > REMEMBER_NONE &&
	    strcmp(remember_level_name(level), name) != 0)
		level--;
	return level;
}

static bool
on_host(const json_t *row, void *arg)
{
	const struct hosts *to = arg;
	struct msg_policy_host host = { .last_s = int_of(row, "last"),
		.level = level_of(text_of(row, "tls")) };

	if (host.level != REMEMBER_NONE && str_copy(host.host,
	    sizeof(host.host), text_of(row, "host")))
		to->cb(&host, to->arg);
	return true;
}

void
check_daemon_hosts(struct check_daemon *d,
	void (*host)(const struct msg_policy_host *, void *arg), void *arg)
{
	struct hosts to = { host, arg };

	(void)!ask(d, json_pack("{s:s}", "cmd", "tls-list"), on_host, &to);
}
