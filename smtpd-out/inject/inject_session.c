/*
 * States, input and life of a submitter's session.  What the commands do is in
 * inject_command.c, how the text gets to the queue in inject_transfer.c.
 */
#include "config.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/inject/inject_session_int.h"

#define OUT_MAX (2U * 1024 * 1024)	/* LMTP: a reply for each recipient */
#define OUT_HIGH (16U * 1024)		/* no more input while this waits */
#define ERRORS_MAX 20
#define ANSWER_MS (10 * 60 * 1000)	/* patience with the queue */
#define CLOSING_MS (10 * 1000)		/* to take the last reply */

static size_t input_line(struct inject_session *, const uint8_t *, size_t);
static size_t input_text(struct inject_session *, const uint8_t *, size_t);
static size_t input_chunk(struct inject_session *, const uint8_t *, size_t);
static size_t input_nothing(struct inject_session *, const uint8_t *, size_t);

#define BIT(state) (1U << INJECT_##state)

/* clang-format off */
static const struct state_row {
	const char *name;
	size_t (*input)(struct inject_session *, const uint8_t *, size_t);
	unsigned next;			/* permitted next states */
} states[INJECT_STATE_COUNT] = {
	[INJECT_NEW] = { "new", NULL, BIT(GREETED) | BIT(CLOSING) },
	[INJECT_GREETED] = { "greeted", input_line,
		BIT(READY) | BIT(CHUNK) | BIT(CLOSING) },
	[INJECT_STARTTLS] = { "starttls", NULL, BIT(GREETED) | BIT(CLOSING) },
	[INJECT_READY] = { "ready", input_line,
		BIT(READY) | BIT(STARTTLS) | BIT(MAIL) | BIT(CHUNK) |
		BIT(CLOSING) },
	[INJECT_MAIL] = { "mail", input_line,
		BIT(READY) | BIT(RCPT) | BIT(CHUNK) | BIT(CLOSING) },
	[INJECT_RCPT] = { "rcpt", input_line,
		BIT(READY) | BIT(DATA) | BIT(CHUNK) | BIT(CLOSING) },
	[INJECT_DATA] = { "data", input_text,
		BIT(READY) | BIT(SPILL) | BIT(DISK) | BIT(SUBMIT) |
		BIT(CLOSING) },
	[INJECT_BDAT] = { "bdat", input_line,
		BIT(READY) | BIT(CHUNK) | BIT(CLOSING) },
	[INJECT_CHUNK] = { "chunk", input_chunk,
		BIT(GREETED) | BIT(READY) | BIT(MAIL) | BIT(BDAT) |
		BIT(SPILL) | BIT(DISK) | BIT(SUBMIT) | BIT(CLOSING) },
	[INJECT_SPILL] = { "spill", NULL,
		BIT(DATA) | BIT(CHUNK) | BIT(CLOSING) },
	[INJECT_DISK] = { "disk", NULL,
		BIT(DATA) | BIT(CHUNK) | BIT(CLOSING) },
	[INJECT_SUBMIT] = { "submit", NULL, BIT(READY) | BIT(CLOSING) },
	[INJECT_CLOSING] = { "closing", input_nothing, 0 },
};
/* clang-format on */

const char *
inject_state_name(enum inject_state state)
{
	return (unsigned)state < INJECT_STATE_COUNT ? states[state].name :
		"unknown";
}

void
inject_set_state(struct inject_session *s, enum inject_state state)
{
	assert((states[s->state].next & 1U << state) != 0);
	if (log_enabled(LOG_LEVEL_DEBUG)) {
		char id[STR_ID_MAX];

		str_id_format(s->args.id, id);
		log_debug("inject_state", "session", id, "old",
			states[s->state].name, "new", states[state].name,
			NULL);
	}
	s->state = state;
}

/* ---- replies --------------------------------------------------------- */

void
inject_say_text(struct inject_session *s, int code, const char *enhanced,
	const char *text)
{
	enum status st;

	if (enhanced == NULL || *enhanced == '\0')
		st = buf_printf(&s->out, "%d %s\r\n", code, text);
	else
		st = buf_printf(&s->out, "%d %s %s\r\n", code, enhanced, text);
	/* Not reachable: input stops long before.  A lost reply would put
	 * the session out of step, so end it. */
	if (st != ST_OK && s->state != INJECT_CLOSING) {
		inject_txn_clear(s);
		inject_set_state(s, INJECT_CLOSING);
	}
}

void
inject_say(struct inject_session *s, enum inject_reply reply)
{
	const struct inject_reply_row *row = inject_reply_row(reply);

	inject_say_text(s, row->code, row->enhanced, row->text);
}

void
inject_close(struct inject_session *s, enum inject_reply reply)
{
	if (s->state == INJECT_CLOSING)
		return;
	inject_say(s, reply);
	if (s->state == INJECT_CLOSING)
		return;
	inject_txn_clear(s);
	inject_set_state(s, INJECT_CLOSING);
	s->active_ms = clock_mono_ms();
}

void
inject_error(struct inject_session *s, enum inject_reply reply)
{
	int code = inject_reply_row(reply)->code;

	inject_say(s, reply);
	/* A refused address or a limit is no sign of a broken client. */
	if ((code >= 500 && code <= 503) || code == 555)
		s->errors++;
	if (s->errors > ERRORS_MAX)
		inject_close(s, REPLY_ERRORS);
}

/* ---- input ----------------------------------------------------------- */

/* Reads past an over-long line to its end. */
static size_t
skip_line(struct inject_session *s, const uint8_t *bytes, size_t len)
{
	const uint8_t *lf = memchr(bytes, '\n', len);

	s->line_skipped = lf == NULL;
	if (lf == NULL)
		return len;
	inject_error(s, REPLY_LINE_LONG);
	return (size_t)(lf - bytes) + 1;
}

static enum inject_reply
line_fault(const struct inject_session *s, const uint8_t *line, size_t len,
	bool crlf)
{
	if (memchr(line, '\0', len) != NULL || memchr(line, '\r', len) != NULL)
		return REPLY_LINE_OCTET;
	if (!crlf && s->args.listen->bare_newline == CONF_BARE_REFUSE)
		return REPLY_LINE_BARE;
	return REPLY_NONE;
}

static size_t
input_line(struct inject_session *s, const uint8_t *bytes, size_t len)
{
	char line[INJECT_LINE_BYTES];
	enum inject_reply fault;
	const uint8_t *lf;
	size_t used, n;
	bool crlf;

	if (s->line_skipped)
		return skip_line(s, bytes, len);
	lf = memchr(bytes, '\n', len);
	if (lf == NULL && len < INJECT_LINE_BYTES)
		return 0;
	if (lf == NULL || lf - bytes >= INJECT_LINE_BYTES)
		return skip_line(s, bytes, len);
	n = (size_t)(lf - bytes);
	used = n + 1;
	crlf = n > 0 && bytes[n - 1] == '\r';
	if (crlf)
		n--;
	fault = line_fault(s, bytes, n, crlf);
	if (fault != REPLY_NONE) {
		inject_error(s, fault);
		return used;
	}
	memcpy(line, bytes, n);
	line[n] = '\0';
	inject_command(s, line);
	return used;
}

static size_t
input_text(struct inject_session *s, const uint8_t *bytes, size_t len)
{
	size_t used = inject_body_text(&s->txn.body, bytes, len);

	inject_text_step(s);
	return used;
}

static size_t
input_chunk(struct inject_session *s, const uint8_t *bytes, size_t len)
{
	size_t used = len > s->chunk_left ? (size_t)s->chunk_left : len;

	if (s->chunk_fault == REPLY_NONE)
		used = inject_body_chunk(&s->txn.body, bytes, used);
	s->chunk_left -= used;
	inject_chunk_step(s);
	return used;
}

static size_t
input_nothing(struct inject_session *s, const uint8_t *bytes, size_t len)
{
	(void)s;
	(void)bytes;
	return len;
}

bool
inject_session_wants_input(const struct inject_session *s)
{
	return states[s->state].input != NULL && (s->out.len < OUT_HIGH ||
		s->state == INJECT_CLOSING);
}

size_t
inject_session_input(struct inject_session *s, const uint8_t *bytes,
	size_t len)
{
	size_t used = 0;

	while (used < len && inject_session_wants_input(s)) {
		size_t n = states[s->state].input(s, bytes + used,
			len - used);

		if (n == 0)
			break;
		used += n;
	}
	if (used > 0 && s->state != INJECT_CLOSING)
		s->active_ms = clock_mono_ms();
	return used;
}

/* ---- life ------------------------------------------------------------ */

struct inject_session *
inject_session_new(const struct inject_session_args *args)
{
	struct inject_session *s = xcalloc(1, sizeof(*s));

	s->args = *args;
	(void)str_copy(s->origin, sizeof(s->origin), args->origin);
	s->args.origin = s->origin;
	buf_init(&s->out, OUT_MAX);
	s->started_ms = s->active_ms = clock_mono_ms();
	return s;
}

void
inject_session_free(struct inject_session **sp)
{
	if (*sp == NULL)
		return;
	inject_txn_clear(*sp);
	buf_clear(&(*sp)->out);
	mem_free(sp);
}

void
inject_session_start(struct inject_session *s, enum inject_reply refusal)
{
	char text[320];

	if (refusal != REPLY_NONE) {
		inject_close(s, refusal);
		return;
	}
	(void)snprintf(text, sizeof(text), "%s %s smtpd-out",
		s->args.conf->hostname, s->args.listen->protocol ==
		CONF_LMTP ? "LMTP" : "ESMTP");
	inject_set_state(s, INJECT_GREETED);
	inject_say_text(s, 220, NULL, text);
}

void
inject_session_tls_up(struct inject_session *s, const char *proto,
	const char *cipher)
{
	s->tls_active = true;
	s->extended = false;
	s->helo[0] = '\0';
	(void)snprintf(s->tls, sizeof(s->tls), "%s %s", proto, cipher);
	s->active_ms = clock_mono_ms();
	inject_set_state(s, INJECT_GREETED);
}

struct buf *
inject_session_output(struct inject_session *s)
{
	return &s->out;
}

bool
inject_session_done(const struct inject_session *s)
{
	return s->state == INJECT_CLOSING && s->out.len == 0;
}

static bool
in_transfer(const struct inject_session *s)
{
	return s->txn.body_begun;
}

void
inject_session_stop(struct inject_session *s)
{
	s->stopping = true;
	if (!in_transfer(s))
		inject_close(s, REPLY_STOPPING);
}

int64_t
inject_session_deadline_ms(const struct inject_session *s)
{
	const struct conf_limit *limit = &s->args.conf->limit;
	int64_t idle = s->active_ms + limit->inject_command_ms;
	int64_t end = s->started_ms + limit->inject_session_ms;

	if (s->state == INJECT_SUBMIT || s->state == INJECT_SPILL ||
	    s->state == INJECT_DISK)
		return s->active_ms + ANSWER_MS;
	if (s->state == INJECT_CLOSING)
		return s->active_ms + CLOSING_MS;
	return idle < end ? idle : end;
}

void
inject_session_timeout(struct inject_session *s)
{
	int64_t now_ms = clock_mono_ms();

	if (now_ms < inject_session_deadline_ms(s))
		return;
	switch (s->state) {
	case INJECT_CLOSING:
		buf_clear(&s->out);
		break;
	case INJECT_SUBMIT:
		/* The queue may still accept it: the submitter tries again
		 * and there may be two.  Better than none. */
		inject_txn_fail(s, REPLY_NO_ANSWER, false);
		break;
	case INJECT_SPILL:
	case INJECT_DISK:
		inject_close(s, REPLY_NO_ANSWER);
		break;
	default:
		inject_close(s, now_ms >= s->started_ms +
			s->args.conf->limit.inject_session_ms ?
			REPLY_SESSION_TIME : REPLY_IDLE);
	}
}

enum inject_state
inject_session_state(const struct inject_session *s)
{
	return s->state;
}
