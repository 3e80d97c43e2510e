/*
 * A message on its way through a submitter's session: from the first octet of
 * text to the queue's decision and the reply.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "smtpd-out/inject/inject_session_int.h"

#define LMTP_TEXT_BYTES 128		/* of a refusal, per recipient */

/* ---- the transaction ------------------------------------------------- */

void
inject_txn_clear(struct inject_session *s)
{
	struct inject_txn *t = &s->txn;

	if (t->token != 0 && !t->submitted)
		s->args.port->body_drop(s->args.port_arg, t->request,
			t->token);
	if (t->request != 0)
		s->args.port->forget(s->args.port_arg, t->request);
	if (t->body_begun)
		inject_body_clear(&t->body);
	s->args.pool->used_bytes -= t->pooled_bytes;
	envelope_free(&t->env);
	free(t->hashes);
	memset(t, 0, sizeof(*t));
}

static void
format_token(const struct inject_session *s, char *out, size_t out_bytes)
{
	char id[STR_ID_MAX];

	str_id_format(s->args.id, id);
	(void)snprintf(out, out_bytes, "%s-%lu", id, s->messages);
}

/*
 * RFC 5321 4.4.  The queue id does not exist before the queue has the whole
 * message, so "id" is the session's, with the number of the transaction; the
 * log line "submitted" ties both together.
 */
static void
put_received(struct inject_session *s)
{
	const bool lmtp = s->args.listen->protocol == CONF_LMTP;
	/* RFC 3848, RFC 6531 4.3; HELO under TLS has no word of its own. */
	const char *with = lmtp ? s->txn.smtputf8 ? "UTF8LMTP" : "LMTP" :
		s->txn.smtputf8 ? "UTF8SMTP" : s->extended ? "ESMTP" : "SMTP";
	const char *secure = s->tls_active && (lmtp || s->extended ||
		s->txn.smtputf8) ? "S" : "";
	char line[1024], token[64], date[40];

	format_token(s, token, sizeof(token));
	str_date(clock_wall_s(), date);
	(void)snprintf(line, sizeof(line), "Received: from %s (%s%s%s%s)\r\n"
		"\tby %s with %s%s id %s;\r\n\t%s\r\n", s->helo,
		s->origin[0] == '[' ? "" : "local ", s->origin,
		s->tls_active ? " " : "", s->tls, s->args.conf->hostname,
		with, secure, token, date);
	inject_body_prefix(&s->txn.body, line);
}

void
inject_body_begin(struct inject_session *s)
{
	const struct conf_limit *limit = &s->args.conf->limit;
	const struct inject_body_rules rules = {
		.message_bytes = limit->message_bytes,
		.inline_bytes = limit->inline_bytes,
		.line_bytes = limit->line_bytes,
		.hops = limit->hops,
		.normalise = s->args.listen->bare_newline ==
			CONF_BARE_NORMALISE,
	};

	s->messages++;
	inject_body_init(&s->txn.body, &rules, s->args.pool);
	s->txn.body_begun = true;
	put_received(s);
}

/* At the end of a transaction, before the next command. */
static void
txn_end(struct inject_session *s)
{
	if (s->state == INJECT_CLOSING)
		return;
	inject_txn_clear(s);
	inject_set_state(s, INJECT_READY);
	s->active_ms = clock_mono_ms();
	if (s->stopping)
		inject_close(s, REPLY_STOPPING);
}

/* The reply to the whole message; LMTP wants one for each recipient that was
 * accepted (RFC 2033 4.2). */
static void
say_final(struct inject_session *s, int code, const char *enhanced,
	const char *text)
{
	char cut[LMTP_TEXT_BYTES];

	if (s->args.listen->protocol != CONF_LMTP) {
		inject_say_text(s, code, enhanced, text);
		return;
	}
	str_sanitise(cut, sizeof(cut), text, strlen(text));
	for (size_t i = s->txn.rcpt_replies; i > 0; i--)
		inject_say_text(s, code, enhanced, cut);
}

static void
log_refused(const struct inject_session *s, int code, const char *text)
{
	char token[64];

	format_token(s, token, sizeof(token));
	log_info("refused", "session", token, "client", s->origin, "from",
		s->txn.env->sender, "code", log_num(code), "reply", text,
		NULL);
}

void
inject_txn_fail(struct inject_session *s, enum inject_reply fault,
	bool one_reply)
{
	const struct inject_reply_row *row = inject_reply_row(fault);
	const struct msg_rejected *words = &s->txn.refusal;
	int code = row->code;
	const char *enhanced = row->enhanced, *text = row->text;

	if (fault == REPLY_REFUSED && words->code != 0) {
		code = words->code;
		enhanced = words->enhanced;
		text = words->text;
	}
	log_refused(s, code, text);
	if (one_reply)
		inject_say_text(s, code, enhanced, text);
	else
		say_final(s, code, enhanced, text);
	txn_end(s);
}

static void
envelope_finish(struct inject_session *s)
{
	const struct inject_body *b = &s->txn.body;
	struct envelope *env = s->txn.env;

	env->received_ms = clock_wall_ms();
	env->size_bytes = b->stored_bytes;
	/* What counts is the text, not what BODY= said of it: a message that
	 * is ASCII after all can go to hosts without 8BITMIME. */
	if (b->eight_bit)
		env->flags |= ENVELOPE_8BITMIME;
	/* RFC 8689 section 4.1: the parameter outweighs the header field. */
	if (b->tls_optional && (env->flags & ENVELOPE_REQUIRETLS) == 0)
		env->flags |= ENVELOPE_TLS_OPTIONAL;
}

static uint64_t
request(struct inject_session *s)
{
	if (s->txn.request == 0)
		s->txn.request = s->args.port->request(s->args.port_arg, s);
	return s->txn.request;
}

/* The whole text is here, and on the disk if it is large: hand it to the
 * queue. */
static void
submit(struct inject_session *s)
{
	struct inject_body *b = &s->txn.body;
	struct msg_submit msg = { .env = s->txn.env };

	if (b->fault != REPLY_NONE) {
		inject_txn_fail(s, b->fault, false);
		return;
	}
	envelope_finish(s);
	if (b->fd >= 0) {
		msg.file_token = b->token;
	} else {
		msg.body = buf_data(&b->mem);
		msg.body_len = b->mem.len;
	}
	if (s->args.port->submit(s->args.port_arg, request(s), &msg) !=
	    ST_OK) {
		inject_txn_fail(s, REPLY_STORE, false);
		return;
	}
	s->txn.submitted = true;
	inject_body_clear(b);
	inject_set_state(s, INJECT_SUBMIT);
	s->active_ms = clock_mono_ms();
}

static void
ask_file(struct inject_session *s)
{
	if (s->args.port->body_open(s->args.port_arg, request(s)) != ST_OK) {
		inject_body_fail(&s->txn.body, REPLY_STORE);
		return;
	}
	inject_set_state(s, INJECT_SPILL);
	s->active_ms = clock_mono_ms();
}

/* Puts on the disk what is due.  Only when the disk falls behind, and at the
 * end, the session waits for it. */
static void
disk_step(struct inject_session *s)
{
	struct inject_body *b = &s->txn.body;
	struct inject_write what;

	if (inject_body_next_write(b, &what) &&
	    !s->args.port->write_out(s->args.port_arg, request(s), &what))
		inject_body_written(b, errno);
	if (!inject_body_waits(b))
		return;
	inject_set_state(s, INJECT_DISK);
	s->active_ms = clock_mono_ms();
}

void
inject_text_step(struct inject_session *s)
{
	struct inject_body *b = &s->txn.body;

	if (inject_body_wants_file(b))
		ask_file(s);
	else
		disk_step(s);
	if (s->state == INJECT_DATA && b->ended)
		submit(s);
}

void
inject_chunk_step(struct inject_session *s)
{
	struct inject_body *b = &s->txn.body;

	if (s->chunk_left > 0 && s->chunk_fault == REPLY_NONE &&
	    inject_body_wants_file(b))
		ask_file(s);
	else if (s->chunk_left > 0 && s->chunk_fault == REPLY_NONE)
		disk_step(s);
	if (s->state != INJECT_CHUNK || s->chunk_left > 0)
		return;
	if (s->chunk_fault != REPLY_NONE) {
		inject_set_state(s, s->chunk_from);
		inject_error(s, s->chunk_fault);
		return;
	}
	if (s->chunk_last && !b->ended)
		inject_body_end_chunks(b);
	if (inject_body_wants_file(b))
		ask_file(s);
	else
		disk_step(s);
	if (s->state != INJECT_CHUNK)
		return;
	if (s->chunk_last) {
		submit(s);
	} else if (b->fault != REPLY_NONE) {
		inject_txn_fail(s, b->fault, true);
	} else {
		inject_set_state(s, INJECT_BDAT);
		inject_say(s, REPLY_CHUNK_OK);
	}
}

/* ---- answers of the queue -------------------------------------------- */

void
inject_session_accepted(struct inject_session *s, uint64_t queue_id)
{
	char text[64], id[STR_ID_MAX], token[64];
	const struct envelope *env = s->txn.env;

	if (s->state != INJECT_SUBMIT)
		return;
	str_id_format(queue_id, id);
	format_token(s, token, sizeof(token));
	log_info("submitted", "id", id, "session", token, "client", s->origin,
		"from", env->sender, "rcpts",
		log_num((long long)env->rcpt_count), "size",
		log_num((long long)env->size_bytes), NULL);
	(void)snprintf(text, sizeof(text), "Ok: queued as %s", id);
	s->errors = 0;
	say_final(s, 250, "2.0.0", text);
	txn_end(s);
}

/* Back to receiving after SPILL or DISK. */
static void
resume(struct inject_session *s)
{
	s->active_ms = clock_mono_ms();
	if (s->txn.body.chunked) {
		inject_set_state(s, INJECT_CHUNK);
		inject_chunk_step(s);
	} else {
		inject_set_state(s, INJECT_DATA);
		inject_text_step(s);
	}
}

void
inject_session_rejected(struct inject_session *s,
	const struct msg_rejected *msg)
{
	struct msg_rejected *words = &s->txn.refusal;

	if (s->state != INJECT_SUBMIT && s->state != INJECT_SPILL)
		return;
	*words = *msg;
	str_sanitise(words->text, sizeof(words->text), msg->text,
		strlen(msg->text));
	if (words->code < 400 || words->code > 599)
		words->code = 0;
	if (!str_is_enhanced_code(words->enhanced))
		words->enhanced[0] = '\0';
	if (s->state == INJECT_SPILL) {
		inject_body_fail(&s->txn.body, REPLY_REFUSED);
		resume(s);
		return;
	}
	s->txn.submitted = false;	/* the file is of no use any more */
	inject_txn_fail(s, REPLY_REFUSED, false);
}

void
inject_session_file(struct inject_session *s, int fd, uint64_t token)
{
	if (s->state != INJECT_SPILL) {
		(void)close(fd);
		return;
	}
	s->txn.token = token;
	inject_body_set_file(&s->txn.body, fd, token);
	resume(s);
}

void
inject_session_written(struct inject_session *s, int error)
{
	if (!s->txn.body_begun)
		return;
	inject_body_written(&s->txn.body, error);
	if (s->state == INJECT_DISK)
		resume(s);
}
