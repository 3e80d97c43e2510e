/*
 * Events that are alike in all but their number are one; what they are alike
 * in is their form on the wire.
 */
#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/table.h"
#include "smtpd-out/worker/tls_report.h"

struct tls_report {
	struct event_base *base;
	const struct conf *conf;
	struct event *timer;
	struct tlsrpt_event events[TLS_REPORT_EVENTS_MAX];
	size_t count, bytes;
	struct table *by_form;
	tls_report_cb *cb;
	void *arg;
};

static void
forget(struct tls_report *t)
{
	for (size_t i = 0; i < t->count; i++)
		tlsrpt_event_clear(&t->events[i]);
	t->count = t->bytes = 0;
	table_free(&t->by_form);
	t->by_form = table_new();
}

void
tls_report_flush(struct tls_report *t)
{
	const struct msg_tlsrpt msg = { .events = t->events,
		.count = t->count };

	if (t->count == 0)
		return;
	(void)event_del(t->timer);
	t->cb(&msg, t->arg);
	forget(t);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	tls_report_flush(arg);
}

static void
start_timer(struct tls_report *t)
{
	const struct timeval tv = { .tv_sec = TLS_REPORT_WAIT_MS / 1000,
		.tv_usec = TLS_REPORT_WAIT_MS % 1000 * 1000 };

	if (!event_pending(t->timer, EV_TIMEOUT, NULL))
		(void)event_add(t->timer, &tv);
}

/* Takes the event over. */
static void
add(struct tls_report *t, struct tlsrpt_event *e)
{
	struct tlsrpt_event *known;
	struct buf form;

	buf_init(&form, MSG_TLSRPT_BYTES_MAX / 2);
	if (tlsrpt_event_encode(e, &form) != ST_OK) {
		tlsrpt_event_clear(e);
		buf_clear(&form);
		return;
	}
	known = table_get(t->by_form, buf_data(&form), form.len);
	if (known != NULL) {
		known->count++;
		tlsrpt_event_clear(e);
	} else {
		if (t->count == TLS_REPORT_EVENTS_MAX ||
		    t->bytes + form.len > TLS_REPORT_BYTES_MAX)
			tls_report_flush(t);
		t->events[t->count] = *e;
		t->bytes += form.len;
		table_put(t->by_form, buf_data(&form), form.len,
			&t->events[t->count++]);
	}
	buf_clear(&form);
	start_timer(t);
}

void
tls_report_note(struct tls_report *t, const struct tls_note *n)
{
	struct tlsrpt_event events[TLS_EVENTS_MAX];
	size_t count = tls_events(t->conf, n, clock_wall_s(), events);

	for (size_t i = 0; i < count; i++)
		add(t, &events[i]);
}

struct tls_report *
tls_report_new(struct event_base *base, const struct conf *conf,
	tls_report_cb *cb, void *arg)
{
	struct tls_report *t = xcalloc(1, sizeof(*t));

	t->base = base;
	t->conf = conf;
	t->timer = event_new(base, -1, 0, on_timer, t);
	t->by_form = table_new();
	t->cb = cb;
	t->arg = arg;
	return t;
}

void
tls_report_free(struct tls_report **tp)
{
	struct tls_report *t = *tp;

	if (t == NULL)
		return;
	forget(t);
	table_free(&t->by_form);
	event_free(t->timer);
	mem_free(tp);
}
