/*
 * The envelope and its wire form.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/envelope.h"
#include "base/mem.h"
#include "base/str.h"

#define NOTIFY_ALL \
	(NOTIFY_NEVER | NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY)
#define ENVELOPE_ALL (ENVELOPE_8BITMIME | ENVELOPE_SMTPUTF8 | \
	ENVELOPE_REQUIRETLS | ENVELOPE_TLS_OPTIONAL | ENVELOPE_BOUNCE | \
	ENVELOPE_REPORT)

struct envelope *
envelope_new(const char *sender)
{
	struct envelope *env = xcalloc(1, sizeof(*env));

	env->sender = xstrdup(sender);
	return env;
}

void
envelope_free(struct envelope **envp)
{
	struct envelope *env = *envp;

	if (env == NULL)
		return;
	for (size_t i = 0; i < env->rcpt_count; i++) {
		free(env->rcpts[i].address);
		free(env->rcpts[i].destination);
		free(env->rcpts[i].orcpt);
	}
	free(env->rcpts);
	free(env->origin);
	free(env->envid);
	free(env->sender);
	mem_free(envp);
}

static struct envelope_rcpt *
new_rcpt(struct envelope *env)
{
	size_t n = env->rcpt_count;

	/* Grow by doubling: capacity is the next power of two. */
	if ((n & (n - 1)) == 0)
		env->rcpts = xrealloc_n(env->rcpts, n == 0 ? 1 : n * 2,
			sizeof(env->rcpts[0]));
	memset(&env->rcpts[n], 0, sizeof(env->rcpts[n]));
	env->rcpt_count = n + 1;
	return &env->rcpts[n];
}

struct envelope_rcpt *
envelope_add_rcpt(struct envelope *env, const char *address,
	const char *destination)
{
	struct envelope_rcpt *rcpt = new_rcpt(env);

	rcpt->address = xstrdup(address);
	rcpt->destination = xstrdup(destination);
	return rcpt;
}

static enum status
encode_rcpt(const struct envelope_rcpt *rcpt, struct buf *out)
{
	if (buf_put_u64(out, rcpt->id) != ST_OK ||
	    buf_put_str(out, rcpt->address) != ST_OK ||
	    buf_put_str(out, rcpt->destination) != ST_OK ||
	    buf_put_str(out, rcpt->orcpt) != ST_OK ||
	    buf_put_u8(out, (uint8_t)rcpt->notify) != ST_OK)
		return ST_LIMIT;
	return ST_OK;
}

enum status
envelope_encode(const struct envelope *env, struct buf *out)
{
	if (buf_put_u64(out, env->id) != ST_OK ||
	    buf_put_u64(out, (uint64_t)env->received_ms) != ST_OK ||
	    buf_put_u64(out, env->size_bytes) != ST_OK ||
	    buf_put_u32(out, env->flags) != ST_OK ||
	    buf_put_u8(out, (uint8_t)env->ret) != ST_OK ||
	    buf_put_str(out, env->sender) != ST_OK ||
	    buf_put_str(out, env->envid) != ST_OK ||
	    buf_put_str(out, env->origin) != ST_OK ||
	    buf_put_u32(out, (uint32_t)env->rcpt_count) != ST_OK)
		return ST_LIMIT;
	for (size_t i = 0; i < env->rcpt_count; i++)
		if (encode_rcpt(&env->rcpts[i], out) != ST_OK)
			return ST_LIMIT;
	return ST_OK;
}

static bool
destination_ok(const char *destination)
{
	char domain[STR_DOMAIN_MAX], probe[STR_DOMAIN_MAX + 4];
	size_t local;
	bool utf8;

	if (destination == NULL || strlen(destination) >= STR_DOMAIN_MAX)
		return false;
	if (destination[0] != '[')
		return str_is_domain(destination);
	(void)str_copy(probe, sizeof(probe), "x@");
	(void)str_copy(probe + 2, sizeof(probe) - 2, destination);
	return str_address(probe, &local, domain, &utf8) == ST_OK &&
		strcmp(domain, destination) == 0;
}

/* Text that no one could have written in a command: it will stand in one. */
static bool
text_ok(const char *text)
{
	size_t len = text == NULL ? 0 : strlen(text);

	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 32 || text[i] == 127)
			return false;
	return str_is_utf8(text, len);
}

static bool
decode_rcpt(struct reader *in, struct envelope_rcpt *rcpt)
{
	rcpt->id = reader_u64(in);
	rcpt->address = reader_str(in, ENVELOPE_STR_MAX);
	rcpt->destination = reader_str(in, STR_DOMAIN_MAX);
	rcpt->orcpt = reader_str(in, ENVELOPE_STR_MAX);
	rcpt->notify = reader_u8(in);
	return reader_ok(in, false) && rcpt->address != NULL &&
		text_ok(rcpt->address) && text_ok(rcpt->orcpt) &&
		rcpt->notify <= NOTIFY_ALL &&
		destination_ok(rcpt->destination);
}

struct envelope *
envelope_decode(struct reader *in)
{
	struct envelope *env = xcalloc(1, sizeof(*env));
	uint32_t count;

	env->id = reader_u64(in);
	env->received_ms = (int64_t)reader_u64(in);
	env->size_bytes = reader_u64(in);
	env->flags = reader_u32(in);
	env->ret = (enum envelope_ret)reader_u8(in);
	env->sender = reader_str(in, ENVELOPE_STR_MAX);
	env->envid = reader_str(in, ENVELOPE_STR_MAX);
	env->origin = reader_str(in, ENVELOPE_STR_MAX);
	count = reader_u32(in);
	if (!reader_ok(in, false) || env->sender == NULL ||
	    env->flags > ENVELOPE_ALL || env->ret > RET_HDRS ||
	    count > ENVELOPE_RCPTS_MAX || !text_ok(env->sender) ||
	    !text_ok(env->envid) || !text_ok(env->origin))
		goto bad;
	for (uint32_t i = 0; i < count; i++)
		if (!decode_rcpt(in, new_rcpt(env)))
			goto bad;
	return env;
bad:
	in->bad = true;
	envelope_free(&env);
	return NULL;
}
