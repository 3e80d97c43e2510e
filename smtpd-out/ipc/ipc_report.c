/*
 * The payloads of TLSRPT messages.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/ipc/ipc_report.h"

#define TARGET_MIN 5		/* of a target on the wire */
#define EVENT_MIN 60		/* of an event, less than it can be */

/* ---- events ---- */

enum status
msg_tlsrpt_encode(const struct msg_tlsrpt *msg, struct buf *out)
{
	if (buf_put_u16(out, (uint16_t)msg->count) != ST_OK)
		return ST_LIMIT;
	for (size_t i = 0; i < msg->count; i++)
		if (tlsrpt_event_encode(&msg->events[i], out) != ST_OK)
			return ST_LIMIT;
	return ST_OK;
}

/* A worker knows of three kinds of policies. */
static bool
event_ok(const struct tlsrpt_event *e)
{
	return e->policy.type < TLSRPT_POLICY_OTHER && e->count > 0 &&
		e->failure.other == NULL;
}

enum status
msg_tlsrpt_decode(struct reader *in, struct msg_tlsrpt *msg)
{
	size_t count = reader_u16(in);

	memset(msg, 0, sizeof(*msg));
	if (!reader_ok(in, false) || count > MSG_TLSRPT_MAX ||
	    count > in->left / EVENT_MIN)
		return ST_PARSE;
	msg->events = xcalloc(count, sizeof(msg->events[0]));
	while (msg->count < count && !in->bad) {
		struct tlsrpt_event *e = &msg->events[msg->count];

		if (tlsrpt_event_decode(in, e) != ST_OK)
			break;
		msg->count++;
		if (!event_ok(e))
			in->bad = true;
	}
	if (reader_ok(in, true) && msg->count == count)
		return ST_OK;
	msg_tlsrpt_clear(msg);
	return ST_PARSE;
}

void
msg_tlsrpt_clear(struct msg_tlsrpt *msg)
{
	for (size_t i = 0; i < msg->count; i++)
		tlsrpt_event_clear(&msg->events[i]);
	mem_free(&msg->events);
	msg->count = 0;
}

/* ---- reports ---- */

enum status
msg_report_encode(const struct msg_report *msg, struct buf *out)
{
	if (buf_put_u8(out, (uint8_t)msg->what) != ST_OK ||
	    buf_put_str(out, msg->domain) != ST_OK ||
	    buf_put_str(out, msg->text) != ST_OK ||
	    buf_put_u16(out, (uint16_t)msg->target_count) != ST_OK)
		return ST_LIMIT;
	for (size_t i = 0; i < msg->target_count; i++)
		if (buf_put_u8(out, (uint8_t)msg->targets[i].kind) != ST_OK ||
		    buf_put_str(out, msg->targets[i].text) != ST_OK)
			return ST_LIMIT;
	return buf_put_bytes(out, msg->body != NULL ? msg->body :
		(const uint8_t *)"", msg->body_len);
}

/* What the parser of records lets through (policy/tlsrpt_record.h): the worker
 * that read it is not trusted. */
bool
msg_report_target_ok(enum tlsrpt_kind kind, const char *text)
{
	char domain[STR_DOMAIN_MAX];
	size_t local;
	bool utf8;

	if (kind == TLSRPT_MAILTO)
		return strpbrk(text, "<>") == NULL &&
			str_address(text, &local, domain, &utf8) == ST_OK;
	for (const char *p = text; *p != '\0'; p++)
		if (*p <= ' ' || *p >= 127)
			return false;
	return kind == TLSRPT_HTTPS && strncmp(text, "https://", 8) == 0;
}

static void
get_targets(struct reader *in, struct msg_report *msg)
{
	size_t count = reader_u16(in);

	if (count > TLSRPT_RUA_MAX || count > in->left / TARGET_MIN)
		in->bad = true;
	for (size_t i = 0; i < count && reader_ok(in, false); i++) {
		enum tlsrpt_kind kind = (enum tlsrpt_kind)reader_u8(in);
		char *text = reader_str(in, MSG_REPORT_TARGET_MAX - 1);

		if (text == NULL || !msg_report_target_ok(kind, text))
			in->bad = true;
		else
			msg_report_add_target(msg, kind, text);
		free(text);
	}
}

static void
get_words(struct reader *in, struct msg_report *msg)
{
	char *domain = reader_str(in, STR_DOMAIN_MAX - 1);
	char *text = reader_str(in, MSG_REPORT_TEXT_MAX - 1);

	if (domain == NULL || text == NULL || !str_is_domain(domain)) {
		in->bad = true;
	} else {
		(void)str_copy(msg->domain, sizeof(msg->domain), domain);
		str_sanitise(msg->text, sizeof(msg->text), text, strlen(text));
	}
	free(text);
	free(domain);
}

static void
get_body(struct reader *in, struct msg_report *msg)
{
	size_t len;
	const uint8_t *bytes = reader_bytes(in, MSG_REPORT_BODY_MAX, &len);

	if (bytes == NULL || len == 0)
		return;
	msg->body = xmalloc(len);
	memcpy(msg->body, bytes, len);
	msg->body_len = len;
}

/* What belongs to each kind, and nothing else. */
static bool
parts_ok(const struct msg_report *msg)
{
	bool post = msg->what == MSG_REPORT_POST;
	bool found = msg->what == MSG_REPORT_FOUND;

	if (post && (msg->target_count != 1 ||
	    msg->targets[0].kind != TLSRPT_HTTPS))
		return false;
	return (msg->target_count > 0) == (post || found) &&
		(msg->body_len > 0) == post;
}

enum status
msg_report_decode(struct reader *in, struct msg_report *msg)
{
	unsigned what = reader_u8(in);

	memset(msg, 0, sizeof(*msg));
	msg->what = (enum msg_report_what)what;
	get_words(in, msg);
	get_targets(in, msg);
	get_body(in, msg);
	if (reader_ok(in, true) && what < MSG_REPORT_WHATS && parts_ok(msg))
		return ST_OK;
	msg_report_clear(msg);
	return ST_PARSE;
}

void
msg_report_add_target(struct msg_report *msg, enum tlsrpt_kind kind,
	const char *text)
{
	struct msg_report_target *t;

	msg->targets = xrealloc_n(msg->targets, msg->target_count + 1,
		sizeof(msg->targets[0]));
	t = &msg->targets[msg->target_count++];
	memset(t, 0, sizeof(*t));
	t->kind = kind;
	(void)str_copy(t->text, sizeof(t->text), text);
}

void
msg_report_clear(struct msg_report *msg)
{
	mem_free(&msg->targets);
	msg->target_count = 0;
	mem_free(&msg->body);
	msg->body_len = 0;
}
