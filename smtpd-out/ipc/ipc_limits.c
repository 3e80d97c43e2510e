/*
 * DEST_HOLD and LIMITS on the wire.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/ipc/ipc_limits.h"
#include "smtpd-out/ipc/ipc_msg.h"

#define RULE_MIN 26		/* of a rule on the wire, its name one octet */
#define WORKERS_MAX 1024

enum status
msg_dest_hold_encode(const struct msg_dest_hold *msg, struct buf *out)
{
	if (buf_put_str(out, msg->destination) != ST_OK ||
	    buf_put_u64(out, (uint64_t)msg->until_s) != ST_OK ||
	    msg_outcome_put(out, &msg->outcome) != ST_OK)
		return ST_LIMIT;
	return ST_OK;
}

enum status
msg_dest_hold_decode(struct reader *in, struct msg_dest_hold *msg)
{
	uint64_t until_s;

	memset(msg, 0, sizeof(*msg));
	msg_fixed_get(in, msg->destination, sizeof(msg->destination));
	until_s = reader_u64(in);
	msg->until_s = (int64_t)until_s;
	msg_outcome_get(in, &msg->outcome);
	if (!reader_ok(in, true) || msg->destination[0] == '\0' ||
	    until_s > INT64_MAX / 1000 ||
	    msg->outcome.verdict != VERDICT_LATER)
		return ST_PARSE;
	return ST_OK;
}

static enum status
put_rule(struct buf *out, const struct msg_limit_rule *r)
{
	if (buf_put_u8(out, r->host) != ST_OK ||
	    buf_put_str(out, r->match) != ST_OK ||
	    buf_put_u32(out, r->bounds.connections) != ST_OK ||
	    buf_put_u32(out, r->bounds.recipients) != ST_OK ||
	    buf_put_u32(out, r->bounds.rate.count) != ST_OK ||
	    buf_put_u64(out, (uint64_t)r->bounds.rate.per_ms) != ST_OK)
		return ST_LIMIT;
	return ST_OK;
}

static void
get_rule(struct reader *in, struct msg_limit_rule *r)
{
	uint64_t per_ms;

	r->host = reader_u8(in) != 0;
	msg_fixed_get(in, r->match, sizeof(r->match));
	r->bounds.connections = reader_u32(in);
	r->bounds.recipients = reader_u32(in);
	r->bounds.rate.count = reader_u32(in);
	per_ms = reader_u64(in);
	r->bounds.rate.per_ms = (int64_t)per_ms;
	if (r->match[0] == '\0' || per_ms > CONF_RATE_MS_MAX ||
	    (r->bounds.rate.count > 0) != (per_ms > 0))
		in->bad = true;
}

enum status
msg_limits_encode(const struct msg_limits *msg, struct buf *out)
{
	if (buf_put_u32(out, msg->workers) != ST_OK ||
	    buf_put_u32(out, (uint32_t)msg->count) != ST_OK)
		return ST_LIMIT;
	for (size_t i = 0; i < msg->count; i++)
		if (put_rule(out, &msg->rules[i]) != ST_OK)
			return ST_LIMIT;
	return ST_OK;
}

enum status
msg_limits_decode(struct reader *in, struct msg_limits *msg)
{
	uint32_t count;

	memset(msg, 0, sizeof(*msg));
	msg->workers = reader_u32(in);
	count = reader_u32(in);
	if (!reader_ok(in, false) || msg->workers == 0 ||
	    msg->workers > WORKERS_MAX || count > MSG_LIMITS_MAX ||
	    count > in->left / RULE_MIN)
		return ST_PARSE;
	msg->rules = xcalloc(count, sizeof(msg->rules[0]));
	msg->count = count;
	for (uint32_t i = 0; i < count && !in->bad; i++)
		get_rule(in, &msg->rules[i]);
	if (reader_ok(in, true))
		return ST_OK;
	msg_limits_clear(msg);
	return ST_PARSE;
}

void
msg_limits_clear(struct msg_limits *msg)
{
	mem_free(&msg->rules);
	msg->count = 0;
}
