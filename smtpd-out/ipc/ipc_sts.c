/*
 * The payload of the MTA-STS messages.  A policy's text is bytes that a remote
 * host wrote: carried, bounded, not read here.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/ipc/ipc_msg.h"

static enum status
put_times(const struct msg_sts *msg, struct buf *out)
{
	const int64_t times[] = { msg->fetched_s, msg->expires_s, msg->used_s,
		msg->tried_s, msg->next_try_s, msg->list_expires_s };

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
		if (buf_put_u64(out, (uint64_t)times[i]) != ST_OK)
			return ST_LIMIT;
	return ST_OK;
}

enum status
msg_sts_encode(const struct msg_sts *msg, struct buf *out)
{
	if (buf_put_u8(out, (uint8_t)msg->what) != ST_OK ||
	    buf_put_str(out, msg->domain) != ST_OK ||
	    buf_put_u8(out, msg->found) != ST_OK ||
	    buf_put_str(out, msg->id) != ST_OK ||
	    buf_put_u8(out, msg->text != NULL) != ST_OK ||
	    buf_put_bytes(out, msg->text != NULL ? msg->text : "",
	    msg->text_len) != ST_OK ||
	    put_times(msg, out) != ST_OK ||
	    buf_put_u32(out, msg->failures) != ST_OK ||
	    buf_put_u8(out, (uint8_t)msg->failure) != ST_OK ||
	    buf_put_str(out, msg->error) != ST_OK ||
	    buf_put_u8(out, (uint8_t)msg->list_mode) != ST_OK ||
	    buf_put_u32(out, (uint32_t)msg->list_mx_count) != ST_OK)
		return ST_LIMIT;
	for (size_t i = 0; i < msg->list_mx_count; i++)
		if (buf_put_str(out, msg->list_mx[i]) != ST_OK)
			return ST_LIMIT;
	return ST_OK;
}

/* A name in the form that base/str.h gives it, or it is a fault. */
static void
get_domain(struct reader *in, char out[256])
{
	char *text = reader_str(in, STR_DOMAIN_MAX - 1);
	char domain[STR_DOMAIN_MAX];

	if (text == NULL || str_domain(text, domain) != ST_OK ||
	    strcmp(text, domain) != 0 || !str_copy(out, 256, domain))
		in->bad = true;
	free(text);
}

/* RFC 8461 3.1: 1 to 32 letters and digits. */
static void
get_id(struct reader *in, char out[MSG_STS_ID_MAX])
{
	char *text = reader_str(in, MSG_STS_ID_MAX - 1);

	if (text == NULL || strspn(text, "0123456789"
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") !=
	    strlen(text) || !str_copy(out, MSG_STS_ID_MAX, text))
		in->bad = true;
	free(text);
}

static void
get_text(struct reader *in, struct msg_sts *msg)
{
	bool present = reader_u8(in) != 0;
	size_t len;
	const uint8_t *bytes = reader_bytes(in, MSG_STS_TEXT_MAX, &len);

	if (bytes == NULL || !present) {
		in->bad = in->bad || bytes == NULL || len > 0;
		return;
	}
	msg->text = xmalloc(len + 1);
	memcpy(msg->text, bytes, len);
	msg->text[len] = '\0';
	msg->text_len = len;
}

static void
get_times(struct reader *in, struct msg_sts *msg)
{
	int64_t *const times[] = { &msg->fetched_s, &msg->expires_s,
		&msg->used_s, &msg->tried_s, &msg->next_try_s,
		&msg->list_expires_s };

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		uint64_t at = reader_u64(in);

		if (at > INT64_MAX)
			in->bad = true;
		else
			*times[i] = (int64_t)at;
	}
}

/* A sentence, sanitised again: no process trusts the text of another. */
static void
get_error(struct reader *in, struct msg_sts *msg)
{
	char *text = reader_str(in, MSG_STS_ERROR_MAX - 1);

	if (text == NULL)
		in->bad = true;
	else
		str_sanitise(msg->error, sizeof(msg->error), text,
			strlen(text));
	free(text);
}

static void
get_list(struct reader *in, struct msg_sts *msg)
{
	unsigned mode = reader_u8(in);
	uint32_t count = reader_u32(in);

	if (in->bad || mode > MSG_STS_LIST_ENFORCE ||
	    count > MSG_STS_LIST_MX_MAX ||
	    (mode == MSG_STS_LIST_NONE) != (count == 0)) {
		in->bad = true;
		return;
	}
	msg->list_mode = (enum msg_sts_list)mode;
	msg->list_mx = xcalloc(count, sizeof(msg->list_mx[0]));
	for (uint32_t i = 0; i < count; i++) {
		msg->list_mx[i] = reader_str(in, STR_DOMAIN_MAX - 1);
		msg->list_mx_count = i + 1;
		if (msg->list_mx[i] == NULL || msg->list_mx[i][0] == '\0') {
			in->bad = true;
			return;
		}
	}
}

enum status
msg_sts_decode(struct reader *in, struct msg_sts *msg)
{
	unsigned what, failure;

	memset(msg, 0, sizeof(*msg));
	what = reader_u8(in);
	msg->what = (enum msg_sts_what)what;
	get_domain(in, msg->domain);
	msg->found = reader_u8(in) != 0;
	get_id(in, msg->id);
	get_text(in, msg);
	get_times(in, msg);
	msg->failures = reader_u32(in);
	failure = reader_u8(in);
	msg->failure = (enum tls_failure)failure;
	get_error(in, msg);
	if (what >= MSG_STS_WHATS || failure >= TLS_FAILURE_COUNT)
		in->bad = true;
	get_list(in, msg);
	/* A policy is a text with an id, or it is none. */
	if (reader_ok(in, true) && (msg->text != NULL) == (msg->id[0] != '\0')
	    && (msg->text != NULL || msg->what != MSG_STS_FETCHED))
		return ST_OK;
	msg_sts_clear(msg);
	return ST_PARSE;
}

void
msg_sts_clear(struct msg_sts *msg)
{
	for (size_t i = 0; i < msg->list_mx_count; i++)
		free(msg->list_mx[i]);
	mem_free(&msg->list_mx);
	msg->list_mx_count = 0;
	mem_free(&msg->text);
	msg->text_len = 0;
}
