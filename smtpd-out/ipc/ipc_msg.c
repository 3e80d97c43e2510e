/*
 * The one table of messages between parent and children, and their payloads.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/ipc/ipc_limits.h"
#include "smtpd-out/ipc/ipc_msg.h"
#include "smtpd-out/ipc/ipc_report.h"

#define PARENT (1U << IPC_PARENT)
#define INJECT (1U << IPC_INJECT)
#define WORKER (1U << IPC_WORKER)
#define SMALL 8192
#define POLICY_HOST_MIN 13		/* of a host on the wire */
#define POLICY_MAX (4 + MSG_POLICY_HOSTS_MAX * (POLICY_HOST_MIN + 255))
#define STS_MIN 77			/* every string of it empty */
#define STS_MAX (STS_MIN + 255 + MSG_STS_ID_MAX + MSG_STS_TEXT_MAX + \
	MSG_STS_ERROR_MAX + MSG_STS_LIST_MX_MAX * (4 + 255))
#define HOLD_MAX (4 + 255 + 8 + 64 + OUTCOME_TEXT_MAX)
#define LIMITS_MAX (8 + MSG_LIMITS_MAX * (25 + 257))
#define REPORT_MAX (1024 + TLSRPT_RUA_MAX * (5 + MSG_REPORT_TARGET_MAX) + \
	MSG_REPORT_BODY_MAX)
#define BODY_MAX (4U * 1024 * 1024)

/* clang-format off */
static const struct ipc_msg_row rows[IPC_TYPE_COUNT] = {
	/*                name         from             to               first  min  max              fd */
	[IPC_HELLO] =     { "HELLO",     INJECT | WORKER, PARENT,          true,  2, 2,               IPC_FD_NONE },
	[IPC_STOP] =      { "STOP",      PARENT,          INJECT | WORKER, false, 0, 0,               IPC_FD_NONE },
	[IPC_SUBMIT] =    { "SUBMIT",    INJECT,          PARENT,          false, 32, IPC_PAYLOAD_MAX, IPC_FD_NONE },
	[IPC_ACCEPTED] =  { "ACCEPTED",  PARENT,          INJECT,          false, 8, 8,               IPC_FD_NONE },
	[IPC_REJECTED] =  { "REJECTED",  PARENT,          INJECT,          false, 2, SMALL,           IPC_FD_NONE },
	[IPC_BODY_OPEN] = { "BODY_OPEN", INJECT,          PARENT,          false, 0, 0,               IPC_FD_NONE },
	[IPC_BODY_FILE] = { "BODY_FILE", PARENT,          INJECT,          false, 8, 8,               IPC_FD_MUST },
	[IPC_BODY_DROP] = { "BODY_DROP", INJECT,          PARENT,          false, 8, 8,               IPC_FD_NONE },
	[IPC_JOB] =       { "JOB",       PARENT,          WORKER,          false, 32, IPC_PAYLOAD_MAX, IPC_FD_MAY },
	[IPC_RESULT] =    { "RESULT",    WORKER,          PARENT,          false, 5, IPC_PAYLOAD_MAX, IPC_FD_NONE },
	[IPC_POLICY] =    { "POLICY",    PARENT,          WORKER,          false, 4, POLICY_MAX,      IPC_FD_NONE },
	[IPC_POLICY_SAVE] = { "POLICY_SAVE", WORKER,      PARENT,          false, 4, POLICY_MAX,      IPC_FD_NONE },
	[IPC_STS_GET] =   { "STS_GET",   WORKER,          PARENT,          false, STS_MIN, STS_MAX,   IPC_FD_NONE },
	[IPC_STS] =       { "STS",       PARENT,          WORKER,          false, STS_MIN, STS_MAX,   IPC_FD_NONE },
	[IPC_STS_SAVE] =  { "STS_SAVE",  WORKER,          PARENT,          false, STS_MIN, STS_MAX,   IPC_FD_NONE },
	[IPC_DEST_HOLD] = { "DEST_HOLD", WORKER,          PARENT,          false, 12, HOLD_MAX,       IPC_FD_NONE },
	[IPC_LIMITS] =    { "LIMITS",    PARENT,          WORKER,          false, 8, LIMITS_MAX,      IPC_FD_NONE },
	[IPC_TLSRPT] =    { "TLSRPT",    WORKER,          PARENT,          false, 2, MSG_TLSRPT_BYTES_MAX, IPC_FD_NONE },
	[IPC_REPORT] =    { "REPORT",    PARENT,          WORKER,          false, 15, REPORT_MAX,     IPC_FD_NONE },
	[IPC_REPORT_DONE] = { "REPORT_DONE", WORKER,      PARENT,          false, 15, REPORT_MAX,     IPC_FD_NONE },
	[IPC_PING] =      { "PING",      PARENT,          INJECT | WORKER, false, 0, 0,               IPC_FD_NONE },
	[IPC_PONG] =      { "PONG",      INJECT | WORKER, PARENT,          false, 0, 0,               IPC_FD_NONE },
};
/* clang-format on */

const struct ipc_msg_row *
ipc_msg_row(uint16_t type, enum ipc_side from, enum ipc_side to)
{
	const struct ipc_msg_row *row;

	if (type == IPC_NONE || type >= IPC_TYPE_COUNT)
		return NULL;
	row = &rows[type];
	if ((row->from & 1U << from) == 0 || (row->to & 1U << to) == 0)
		return NULL;
	return row;
}

/* Body fields: flag "inline", then bytes, or the token. */
static enum status
put_body(struct buf *out, const uint8_t *body, size_t len)
{
	if (body == NULL)
		return buf_put_u8(out, 0);
	if (buf_put_u8(out, 1) != ST_OK)
		return ST_LIMIT;
	return buf_put_bytes(out, body, len);
}

static const uint8_t *
get_body(struct reader *in, size_t *len_out)
{
	*len_out = 0;
	return reader_u8(in) == 0 ? NULL : reader_bytes(in, BODY_MAX, len_out);
}

enum status
msg_submit_encode(const struct msg_submit *msg, struct buf *out)
{
	if (envelope_encode(msg->env, out) != ST_OK ||
	    put_body(out, msg->body, msg->body_len) != ST_OK ||
	    buf_put_u64(out, msg->file_token) != ST_OK)
		return ST_LIMIT;
	return ST_OK;
}

enum status
msg_submit_decode(struct reader *in, struct msg_submit *msg)
{
	memset(msg, 0, sizeof(*msg));
	msg->env = envelope_decode(in);
	msg->body = get_body(in, &msg->body_len);
	msg->file_token = reader_u64(in);
	if (reader_ok(in, true) && msg->env->rcpt_count > 0)
		return ST_OK;
	envelope_free(&msg->env);
	return ST_PARSE;
}

enum status
msg_rejected_encode(const struct msg_rejected *msg, struct buf *out)
{
	if (buf_put_u16(out, (uint16_t)msg->code) != ST_OK ||
	    buf_put_str(out, msg->enhanced) != ST_OK ||
	    buf_put_str(out, msg->text) != ST_OK)
		return ST_LIMIT;
	return ST_OK;
}

/* A string into a fixed field; too long is a fault, NULL is "".  Sanitised
 * again: no process trusts the text of another. */
void
msg_fixed_get(struct reader *in, char *out, size_t out_bytes)
{
	char *text = reader_str(in, out_bytes - 1);

	out[0] = '\0';
	if (text != NULL)
		str_sanitise(out, out_bytes, text, strlen(text));
	free(text);
}

enum status
msg_rejected_decode(struct reader *in, struct msg_rejected *msg)
{
	memset(msg, 0, sizeof(*msg));
	msg->code = reader_u16(in);
	msg_fixed_get(in, msg->enhanced, sizeof(msg->enhanced));
	msg_fixed_get(in, msg->text, sizeof(msg->text));
	return reader_ok(in, true) ? ST_OK : ST_PARSE;
}

enum status
msg_job_encode(const struct msg_job *msg, struct buf *out)
{
	if (envelope_encode(msg->env, out) != ST_OK ||
	    buf_put_str(out, msg->destination) != ST_OK ||
	    buf_put_u32(out, msg->attempt) != ST_OK ||
	    put_body(out, msg->body, msg->body_len) != ST_OK)
		return ST_LIMIT;
	return ST_OK;
}

enum status
msg_job_decode(struct reader *in, struct msg_job *msg)
{
	memset(msg, 0, sizeof(*msg));
	msg->env = envelope_decode(in);
	msg->destination = reader_str(in, STR_DOMAIN_MAX);
	msg->attempt = reader_u32(in);
	msg->body = get_body(in, &msg->body_len);
	if (reader_ok(in, true) && msg->destination != NULL &&
	    msg->env->rcpt_count > 0)
		return ST_OK;
	msg_job_clear(msg);
	return ST_PARSE;
}

void
msg_job_clear(struct msg_job *msg)
{
	envelope_free(&msg->env);
	mem_free(&msg->destination);
}

enum status
msg_outcome_put(struct buf *out, const struct outcome *o)
{
	if (buf_put_u8(out, (uint8_t)o->scope) != ST_OK ||
	    buf_put_u8(out, (uint8_t)o->verdict) != ST_OK ||
	    buf_put_u8(out, (uint8_t)o->stage) != ST_OK ||
	    buf_put_u8(out, (uint8_t)(o->remote | o->maybe_duplicate << 1)) !=
	    ST_OK || buf_put_u8(out, (uint8_t)o->tls_failure) != ST_OK ||
	    buf_put_u16(out, (uint16_t)o->code) != ST_OK ||
	    buf_put_str(out, o->enhanced) != ST_OK ||
	    buf_put_str(out, o->text) != ST_OK)
		return ST_LIMIT;
	return ST_OK;
}

void
msg_outcome_get(struct reader *in, struct outcome *o)
{
	unsigned bits;

	memset(o, 0, sizeof(*o));
	o->scope = (enum outcome_scope)reader_u8(in);
	o->verdict = (enum outcome_verdict)reader_u8(in);
	o->stage = (enum outcome_stage)reader_u8(in);
	bits = reader_u8(in);
	o->remote = (bits & 1) != 0;
	o->maybe_duplicate = (bits & 2) != 0;
	o->tls_failure = (enum tls_failure)reader_u8(in);
	o->code = reader_u16(in);
	msg_fixed_get(in, o->enhanced, sizeof(o->enhanced));
	msg_fixed_get(in, o->text, sizeof(o->text));
	if (o->scope > SCOPE_DESTINATION || o->verdict > VERDICT_NEVER ||
	    o->verdict == VERDICT_NONE ||
	    o->tls_failure >= TLS_FAILURE_COUNT || o->stage > STAGE_QUEUE ||
	    o->code > 599 || !str_is_enhanced_code(o->enhanced))
		in->bad = true;
}

static enum status
put_rcpt_result(struct buf *out, const struct msg_rcpt_result *r)
{
	if (buf_put_u64(out, r->rcpt_id) != ST_OK ||
	    buf_put_u8(out, r->dsn_relayed) != ST_OK ||
	    msg_outcome_put(out, &r->outcome) != ST_OK ||
	    buf_put_str(out, r->mx) != ST_OK ||
	    buf_put_str(out, r->ip) != ST_OK ||
	    buf_put_str(out, r->tls) != ST_OK ||
	    buf_put_str(out, r->why) != ST_OK ||
	    buf_put_str(out, r->proto) != ST_OK ||
	    buf_put_str(out, r->cipher) != ST_OK)
		return ST_LIMIT;
	return ST_OK;
}

static void
get_rcpt_result(struct reader *in, struct msg_rcpt_result *r)
{
	memset(r, 0, sizeof(*r));
	r->rcpt_id = reader_u64(in);
	r->dsn_relayed = reader_u8(in) != 0;
	msg_outcome_get(in, &r->outcome);
	msg_fixed_get(in, r->mx, sizeof(r->mx));
	msg_fixed_get(in, r->ip, sizeof(r->ip));
	msg_fixed_get(in, r->tls, sizeof(r->tls));
	msg_fixed_get(in, r->why, sizeof(r->why));
	msg_fixed_get(in, r->proto, sizeof(r->proto));
	msg_fixed_get(in, r->cipher, sizeof(r->cipher));
}

enum status
msg_result_encode(const struct msg_result *msg, struct buf *out)
{
	if (buf_put_u8(out, msg->final) != ST_OK ||
	    buf_put_str(out, msg->trail) != ST_OK ||
	    buf_put_u32(out, (uint32_t)msg->rcpt_count) != ST_OK)
		return ST_LIMIT;
	for (size_t i = 0; i < msg->rcpt_count; i++)
		if (put_rcpt_result(out, &msg->rcpts[i]) != ST_OK)
			return ST_LIMIT;
	return ST_OK;
}

enum status
msg_result_decode(struct reader *in, struct msg_result *msg)
{
	char raw[MSG_TRAIL_MAX];
	uint32_t count;

	memset(msg, 0, sizeof(*msg));
	msg->final = reader_u8(in) != 0;
	msg_fixed_get(in, raw, sizeof(raw));
	str_sanitise(msg->trail, sizeof(msg->trail), raw, strlen(raw));
	count = reader_u32(in);
	/* A recipient takes at least 30 bytes on the wire. */
	if (!reader_ok(in, false) || count > ENVELOPE_RCPTS_MAX ||
	    count > in->left / 30)
		return ST_PARSE;
	msg->rcpts = xcalloc(count, sizeof(msg->rcpts[0]));
	msg->rcpt_count = count;
	for (uint32_t i = 0; i < count && !in->bad; i++)
		get_rcpt_result(in, &msg->rcpts[i]);
	if (reader_ok(in, true))
		return ST_OK;
	msg_result_clear(msg);
	return ST_PARSE;
}

void
msg_result_clear(struct msg_result *msg)
{
	mem_free(&msg->rcpts);
	msg->rcpt_count = 0;
}

enum status
msg_policy_encode(const struct msg_policy *msg, struct buf *out)
{
	if (buf_put_u32(out, (uint32_t)msg->count) != ST_OK)
		return ST_LIMIT;
	for (size_t i = 0; i < msg->count; i++) {
		const struct msg_policy_host *h = &msg->hosts[i];

		if (buf_put_str(out, h->host) != ST_OK ||
		    buf_put_u8(out, (uint8_t)h->level) != ST_OK ||
		    buf_put_u64(out, (uint64_t)h->last_s) != ST_OK)
			return ST_LIMIT;
	}
	return ST_OK;
}

static void
get_policy_host(struct reader *in, struct msg_policy_host *h)
{
	uint64_t last_s;
	unsigned level;

	msg_fixed_get(in, h->host, sizeof(h->host));
	level = reader_u8(in);
	last_s = reader_u64(in);
	h->level = (enum remember_level)level;
	h->last_s = (int64_t)last_s;
	if (h->host[0] == '\0' || level >= REMEMBER_LEVELS ||
	    last_s > INT64_MAX)
		in->bad = true;
}

enum status
msg_policy_decode(struct reader *in, struct msg_policy *msg)
{
	uint32_t count = reader_u32(in);

	memset(msg, 0, sizeof(*msg));
	if (!reader_ok(in, false) || count > MSG_POLICY_HOSTS_MAX ||
	    count > in->left / POLICY_HOST_MIN)
		return ST_PARSE;
	msg->hosts = xcalloc(count, sizeof(msg->hosts[0]));
	msg->count = count;
	for (uint32_t i = 0; i < count && !in->bad; i++)
		get_policy_host(in, &msg->hosts[i]);
	if (reader_ok(in, true))
		return ST_OK;
	msg_policy_clear(msg);
	return ST_PARSE;
}

void
msg_policy_clear(struct msg_policy *msg)
{
	mem_free(&msg->hosts);
	msg->count = 0;
}
