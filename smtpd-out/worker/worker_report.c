/*
 * The network's side of reports: each request of the parent is one lookup or
 * one post, and one answer.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "policy/https.h"
#include "policy/tlsrpt_post.h"
#include "resolver/resolver.h"
#include "smtpd-out/ipc/ipc_msg.h"
#include "smtpd-out/worker/tls_report.h"
#include "smtpd-out/worker/worker_report.h"

#define POST_MS 60000		/* a whole post */
#define FLIGHT_MAX 20

struct task {
	TAILQ_ENTRY(task) link;
	struct worker_report *all;
	uint64_t id;
	char domain[STR_DOMAIN_MAX];
	struct dns_request *txt;
	struct tlsrpt_post *post;
};

struct worker_report {
	struct ipc *ipc;
	struct event_base *base;
	const struct conf *conf;
	struct resolver *resolver;
	struct https *https;		/* NULL: nothing was posted yet */
	struct tls_report *collector;
	TAILQ_HEAD(, task) tasks;
	size_t count;
};

/* ---- answers ---- */

static void
task_free(struct task *t)
{
	TAILQ_REMOVE(&t->all->tasks, t, link);
	t->all->count--;
	resolver_cancel(&t->txt);
	tlsrpt_post_cancel(&t->post);
	free(t);
}

static void
send_answer(struct worker_report *w, uint64_t id,
	const struct msg_report *msg)
{
	struct buf payload;

	buf_init(&payload, IPC_PAYLOAD_MAX);
	if (msg_report_encode(msg, &payload) != ST_OK ||
	    ipc_send(w->ipc, IPC_REPORT_DONE, id, &payload, -1) != ST_OK)
		log_warn("report-answer-lost", "domain", msg->domain, NULL);
	buf_clear(&payload);
}

/* Takes what is in msg. */
static void
answer(struct task *t, struct msg_report *msg, const char *text)
{
	(void)str_copy(msg->domain, sizeof(msg->domain), t->domain);
	str_sanitise(msg->text, sizeof(msg->text), text, strlen(text));
	send_answer(t->all, t->id, msg);
	msg_report_clear(msg);
	task_free(t);
}

/* ---- who wants reports ---- */

static void
add_targets(struct msg_report *msg, const struct tlsrpt_record *record)
{
	for (size_t i = 0; i < record->rua_count; i++) {
		const struct tlsrpt_rua *rua = &record->rua[i];

		/* Strangers write records: none may end the worker. */
		if (strlen(rua->target) < MSG_REPORT_TARGET_MAX &&
		    msg_report_target_ok(rua->kind, rua->target))
			msg_report_add_target(msg, rua->kind, rua->target);
	}
}

static void
on_txt(struct dns_answer *dns, void *arg)
{
	struct msg_report msg = { .what = MSG_REPORT_ABSENT };
	char err[TLSRPT_ERR_MAX] = "";
	struct tlsrpt_record *record = NULL;
	struct task *t = arg;

	t->txt = NULL;
	switch (tlsrpt_record_read(dns, &record, err)) {
	case TLSRPT_FINDING_RECORD:
		add_targets(&msg, record);
		if (msg.target_count > 0)
			msg.what = MSG_REPORT_FOUND;
		break;
	case TLSRPT_FINDING_FAILED:
		msg.what = MSG_REPORT_FAILED;
		break;
	case TLSRPT_FINDING_NONE:
		(void)str_copy(err, sizeof(err), "no record asks for reports");
		break;
	case TLSRPT_FINDING_INVALID:
		break;
	}
	tlsrpt_record_free(&record);
	dns_answer_free(&dns);
	answer(t, &msg, err);
}

static void
find(struct task *t)
{
	char name[STR_DOMAIN_MAX + 16];
	struct msg_report none = { .what = MSG_REPORT_ABSENT };

	(void)snprintf(name, sizeof(name), "_smtp._tls.%s", t->domain);
	if (str_is_domain(name))
		t->txt = resolver_start(t->all->resolver, name, DNS_TYPE_TXT,
			on_txt, t);
	else
		answer(t, &none, "the name of the record would be too long");
}

/* ---- posts ---- */

static void
on_posted(bool taken, const char *reason, void *arg)
{
	struct msg_report msg = { .what = taken ? MSG_REPORT_TAKEN :
		MSG_REPORT_FAILED };
	struct task *t = arg;

	t->post = NULL;
	answer(t, &msg, reason);
}

/* Made for the first post: the authorities of the CA file take memory, and
 * most workers post nothing. */
static struct https *
get_https(struct worker_report *w)
{
	const struct https_settings settings = {
		.ca_file = w->conf->ca_file,
		.timeout_ms = POST_MS,
		.connect_timeout_ms = w->conf->timeout.connect_ms,
		.allow_private = w->conf->tlsrpt.allow_private,
		.flight_max = FLIGHT_MAX,
	};

	if (w->https == NULL)
		w->https = https_new(w->base, &settings);
	return w->https;
}

static void
post(struct task *t, const struct msg_report *msg)
{
	const struct tlsrpt_post_env env = { .https = get_https(t->all),
		.resolver = t->all->resolver };

	t->post = tlsrpt_post_start(&env, msg->targets[0].text, msg->body,
		msg->body_len, on_posted, t);
}

/* ---- the channel ---- */

static void
start(struct worker_report *w, uint64_t id, const struct msg_report *msg)
{
	struct task *t = xcalloc(1, sizeof(*t));
	struct msg_report busy = { .what = MSG_REPORT_FAILED };

	t->all = w;
	t->id = id;
	(void)str_copy(t->domain, sizeof(t->domain), msg->domain);
	TAILQ_INSERT_TAIL(&w->tasks, t, link);
	if (++w->count > WORKER_REPORT_JOBS_MAX)
		answer(t, &busy, "too many reports are under way");
	else if (msg->what == MSG_REPORT_FIND)
		find(t);
	else
		post(t, msg);
}

void
worker_report_take(struct worker_report *w, struct ipc_frame *frame)
{
	struct msg_report msg;

	if (msg_report_decode(&frame->body, &msg) != ST_OK) {
		ipc_fail(w->ipc, "malformed report");
		return;
	}
	if (msg.what == MSG_REPORT_FIND || msg.what == MSG_REPORT_POST)
		start(w, frame->id, &msg);
	else
		ipc_fail(w->ipc, "report of the wrong kind");
	msg_report_clear(&msg);
}

static void
on_events(const struct msg_tlsrpt *msg, void *arg)
{
	struct worker_report *w = arg;
	struct buf payload;

	buf_init(&payload, MSG_TLSRPT_BYTES_MAX);
	if (msg_tlsrpt_encode(msg, &payload) != ST_OK ||
	    ipc_send(w->ipc, IPC_TLSRPT, 0, &payload, -1) != ST_OK)
		log_warn("tlsrpt-lost", "events",
			log_num((long long)msg->count), NULL);
	buf_clear(&payload);
}

void
worker_report_note(struct worker_report *w, const struct tls_note *n)
{
	tls_report_note(w->collector, n);
}

void
worker_report_flush(struct worker_report *w)
{
	tls_report_flush(w->collector);
}

struct worker_report *
worker_report_new(struct event_base *base, const struct conf *conf,
	struct resolver *resolver, struct ipc *ipc)
{
	struct worker_report *w = xcalloc(1, sizeof(*w));

	w->ipc = ipc;
	w->base = base;
	w->conf = conf;
	w->resolver = resolver;
	w->collector = tls_report_new(base, conf, on_events, w);
	TAILQ_INIT(&w->tasks);
	return w;
}

void
worker_report_free(struct worker_report **wp)
{
	struct worker_report *w = *wp;

	if (w == NULL)
		return;
	while (!TAILQ_EMPTY(&w->tasks))
		task_free(TAILQ_FIRST(&w->tasks));
	tls_report_free(&w->collector);
	https_free(&w->https);
	mem_free(wp);
}
