/*
 * Ties the table of MTA-STS policies to HTTPS and to the parent.
 */
#include "config.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "policy/https.h"
#include "smtpd-out/worker/sts_table.h"
#include "smtpd-out/worker/worker_sts.h"

struct worker_sts {
	struct ipc *ipc;
	struct https *https;
	struct sts_table *table;
};

static void
send_sts(struct worker_sts *s, enum ipc_type type, uint64_t id,
	const struct msg_sts *msg)
{
	struct buf payload;

	buf_init(&payload, IPC_PAYLOAD_MAX);
	if (msg_sts_encode(msg, &payload) != ST_OK ||
	    ipc_send(s->ipc, (uint16_t)type, id, &payload, -1) != ST_OK)
		log_warn("sts-message-lost", "domain", msg->domain, NULL);
	buf_clear(&payload);
}

static void
on_get(uint64_t request, const char *domain, void *arg)
{
	struct msg_sts msg = { .what = MSG_STS_GET };

	(void)str_copy(msg.domain, sizeof(msg.domain), domain);
	send_sts(arg, IPC_STS_GET, request, &msg);
}

static void
on_save(uint64_t id, const struct msg_sts *msg, void *arg)
{
	send_sts(arg, IPC_STS_SAVE, id, msg);
}

void
worker_sts_take(struct worker_sts *s, struct ipc_frame *frame)
{
	struct msg_sts msg;

	if (s == NULL)
		return;
	if (msg_sts_decode(&frame->body, &msg) != ST_OK) {
		ipc_fail(s->ipc, "malformed policy of MTA-STS");
		return;
	}
	sts_table_take(s->table, frame->id, &msg);
	msg_sts_clear(&msg);
}

struct worker_sts *
worker_sts_new(struct event_base *base, const struct conf *conf,
	struct resolver *resolver, struct ipc *ipc)
{
	struct sts_fetch_env env = { .resolver = resolver };
	struct sts_table_port port = { .get = on_get, .save = on_save };
	struct worker_sts *s;

	if (!conf->sts.enable)
		return NULL;
	s = xcalloc(1, sizeof(*s));
	s->ipc = ipc;
	s->https = sts_fetch_https(base, conf);
	env.https = s->https;
	port.arg = s;
	s->table = sts_table_new(base, conf, &env, &port);
	return s;
}

void
worker_sts_free(struct worker_sts **sp)
{
	if (*sp == NULL)
		return;
	sts_table_free(&(*sp)->table);
	https_free(&(*sp)->https);
	mem_free(sp);
}

struct sts_table *
worker_sts_table(const struct worker_sts *s)
{
	return s == NULL ? NULL : s->table;
}
