/*
 * Writing commands and reading capabilities.  Whatever ends up in a command
 * came from a submitter once, so every argument is looked at again here: no
 * byte that ends a line or a path can leave through this file.
 */
#include "config.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "smtpd-out/client/smtp_auth.h"
#include "smtpd-out/client/smtp_command.h"

/* A command line with all parameters; far above RFC 5321 4.5.3.1.4 with the
 * increments of the extensions, since strings of an envelope are bounded. */
#define LINE_MAX_BYTES 8192

/* ---- capabilities ---- */

/* Decimal number of a whole text; false when it is none or too large. */
static bool
parse_number(const char *p, size_t len, uint64_t *out)
{
	uint64_t value = 0;

	if (len == 0)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (p[i] < '0' || p[i] > '9' || value > UINT64_MAX / 10 - 9)
			return false;
		value = value * 10 + (uint64_t)(p[i] - '0');
	}
	*out = value;
	return true;
}

static void
on_size(struct smtp_caps *caps, const char *word, size_t len)
{
	uint64_t value;

	/* RFC 1870 section 4: zero means no fixed maximum. */
	if (parse_number(word, len, &value))
		caps->size_max = value;
}

/* RFC 9422: name=value; unknown names are ignored. */
static void
on_limit(struct smtp_caps *caps, const char *word, size_t len)
{
	const char *eq = memchr(word, '=', len);
	size_t name_len = eq != NULL ? (size_t)(eq - word) : 0;
	uint64_t value;

	if (eq == NULL || !parse_number(eq + 1, len - name_len - 1, &value) ||
	    value == 0)
		return;
	if (value > UINT32_MAX)
		value = UINT32_MAX;
	if (name_len == 7 && strncasecmp(word, "RCPTMAX", 7) == 0)
		caps->rcpt_max = (unsigned)value;
	else if (name_len == 7 && strncasecmp(word, "MAILMAX", 7) == 0)
		caps->mail_max = (unsigned)value;
}

static void
on_mech(struct smtp_caps *caps, const char *word, size_t len)
{
	if (len == 5 && strncasecmp(word, "PLAIN", 5) == 0)
		caps->auth_mechs |= SMTP_AUTH_PLAIN;
	else if (len == 5 && strncasecmp(word, "LOGIN", 5) == 0)
		caps->auth_mechs |= SMTP_AUTH_LOGIN;
}

static const struct keyword {
	const char *name;
	enum smtp_cap cap;
	void (*on_word)(struct smtp_caps *, const char *, size_t);
} keywords[] = {
	{ "PIPELINING", SMTP_CAP_PIPELINING, NULL },
	{ "SIZE", SMTP_CAP_SIZE, on_size },
	{ "8BITMIME", SMTP_CAP_8BITMIME, NULL },
	{ "SMTPUTF8", SMTP_CAP_SMTPUTF8, NULL },
	{ "DSN", SMTP_CAP_DSN, NULL },
	{ "CHUNKING", SMTP_CAP_CHUNKING, NULL },
	{ "ENHANCEDSTATUSCODES", SMTP_CAP_ENHANCED, NULL },
	{ "STARTTLS", SMTP_CAP_STARTTLS, NULL },
	{ "REQUIRETLS", SMTP_CAP_REQUIRETLS, NULL },
	{ "LIMITS", SMTP_CAP_LIMITS, on_limit },
	{ "AUTH", SMTP_CAP_AUTH, on_mech },
};

static const struct keyword *
find_keyword(const char *word, size_t len)
{
	for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++)
		if (strlen(keywords[i].name) == len &&
		    strncasecmp(keywords[i].name, word, len) == 0)
			return &keywords[i];
	return NULL;
}

/* "XXXXXXXA": what firewalls that "inspect" SMTP write over STARTTLS. */
static bool
is_masked(const char *word, size_t len)
{
	if (len < 4)
		return false;
	for (size_t i = 0; i + 1 < len; i++)
		if (word[i] != 'X')
			return false;
	return word[len - 1] >= 'A' && word[len - 1] <= 'Z';
}

/* The next word of a line; false at the end. */
static bool
next_word(const char **line, size_t *left, size_t *len_out)
{
	while (*left > 0 && (**line == ' ' || **line == '\t')) {
		(*line)++;
		(*left)--;
	}
	*len_out = 0;
	while (*len_out < *left && (*line)[*len_out] != ' ' &&
	    (*line)[*len_out] != '\t')
		(*len_out)++;
	return *len_out > 0;
}

static void
parse_keyword_line(struct smtp_caps *caps, const char *line, size_t left)
{
	const struct keyword *k = NULL;
	size_t len;

	while (next_word(&line, &left, &len)) {
		if (k == NULL) {
			k = find_keyword(line, len);
			if (k == NULL) {
				if (is_masked(line, len))
					caps->flags |= SMTP_CAP_MASKED;
				return;
			}
			caps->flags |= k->cap;
		} else if (k->on_word != NULL) {
			k->on_word(caps, line, len);
		}
		line += len;
		left -= len;
	}
}

void
smtp_caps_parse(struct smtp_caps *caps, const struct smtp_reply *reply)
{
	size_t pos = 0, len;
	const char *line;

	memset(caps, 0, sizeof(*caps));
	/* The first line names the peer (RFC 5321 4.1.1.1). */
	(void)smtp_reply_line(reply, &pos, &len);
	while ((line = smtp_reply_line(reply, &pos, &len)) != NULL)
		parse_keyword_line(caps, line, len);
}

/* ---- commands ---- */

/* A path without its brackets.  Spaces and brackets may stand in a quoted
 * local part only (RFC 5321 4.1.2); control characters never. */
static bool
is_path(const char *text)
{
	bool quoted = false;

	for (const char *p = text; *p != '\0'; p++) {
		unsigned char c = (unsigned char)*p;

		if (c < 32 || c == 127)
			return false;
		if (quoted && c == '\\') {
			if ((unsigned char)p[1] < 32 || p[1] == 127)
				return false;
			p++;
		} else if (c == '"') {
			quoted = !quoted;
		} else if (!quoted && (c == ' ' || c == '<' || c == '>')) {
			return false;
		}
	}
	return !quoted;
}

/* One parameter value (RFC 5321 4.1.2 esmtp-value, and UTF-8 of RFC 6531). */
static bool
is_value(const char *text)
{
	for (const char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p <= 32 || *p == 127)
			return false;
	return text[0] != '\0';
}

/* A command is built aside, so that a fault leaves nothing behind. */
static enum status
finish(struct buf *out, struct buf *line, enum status st)
{
	if (st == ST_OK)
		st = buf_put(line, "\r\n", 2);
	if (st == ST_OK)
		st = buf_put(out, buf_data(line), line->len);
	buf_clear(line);
	return st;
}

enum status
smtp_command(struct buf *out, enum smtp_verb verb, const char *arg)
{
	static const char *const names[] = {
		[SMTP_VERB_EHLO] = "EHLO",
		[SMTP_VERB_HELO] = "HELO",
		[SMTP_VERB_STARTTLS] = "STARTTLS",
		[SMTP_VERB_DATA] = "DATA",
		[SMTP_VERB_RSET] = "RSET",
		[SMTP_VERB_QUIT] = "QUIT",
	};
	struct buf line;
	enum status st;

	assert((size_t)verb < sizeof(names) / sizeof(names[0]) &&
		names[verb] != NULL);
	if (arg != NULL && !is_value(arg))
		return ST_PARSE;
	buf_init(&line, LINE_MAX_BYTES);
	st = buf_puts(&line, names[verb]);
	if (st == ST_OK && arg != NULL)
		st = buf_printf(&line, " %s", arg);
	return finish(out, &line, st);
}

bool
smtp_needs_utf8(const struct session_txn *txn)
{
	if (txn->flags & ENVELOPE_SMTPUTF8 || !str_is_ascii(txn->sender))
		return true;
	for (size_t i = 0; i < txn->rcpt_count; i++)
		if (!str_is_ascii(txn->rcpts[i].address))
			return true;
	return false;
}

/* RFC 3461 section 4.3 and 4.4. */
static enum status
put_mail_dsn(struct buf *line, const struct session_txn *txn)
{
	enum status st = ST_OK;

	if (txn->ret == RET_FULL)
		st = buf_puts(line, " RET=FULL");
	else if (txn->ret == RET_HDRS)
		st = buf_puts(line, " RET=HDRS");
	if (st == ST_OK && txn->envid != NULL)
		st = is_value(txn->envid) ?
			buf_printf(line, " ENVID=%s", txn->envid) : ST_PARSE;
	return st;
}

static enum status
put_mail_params(struct buf *line, const struct smtp_caps *caps,
	const struct session_txn *txn)
{
	enum status st = ST_OK;

	if (caps->flags & SMTP_CAP_SIZE)
		st = buf_printf(line, " SIZE=%llu",
			(unsigned long long)txn->body.size_bytes);
	if (st == ST_OK && caps->flags & SMTP_CAP_8BITMIME &&
	    txn->flags & ENVELOPE_8BITMIME)
		st = buf_puts(line, " BODY=8BITMIME");
	if (st == ST_OK && caps->flags & SMTP_CAP_SMTPUTF8 &&
	    smtp_needs_utf8(txn))
		st = buf_puts(line, " SMTPUTF8");
	if (st == ST_OK && caps->flags & SMTP_CAP_REQUIRETLS &&
	    txn->flags & ENVELOPE_REQUIRETLS)
		st = buf_puts(line, " REQUIRETLS");
	if (st == ST_OK && caps->flags & SMTP_CAP_DSN)
		st = put_mail_dsn(line, txn);
	return st;
}

enum status
smtp_command_mail(struct buf *out, const struct smtp_caps *caps,
	const struct session_txn *txn)
{
	struct buf line;
	enum status st;

	if (!is_path(txn->sender))
		return ST_PARSE;
	buf_init(&line, LINE_MAX_BYTES);
	st = buf_printf(&line, "MAIL FROM:<%s>", txn->sender);
	if (st == ST_OK)
		st = put_mail_params(&line, caps, txn);
	return finish(out, &line, st);
}

/* RFC 3461 section 4.1: NEVER stands alone. */
static enum status
put_notify(struct buf *line, unsigned notify)
{
	static const struct {
		unsigned bit;
		const char *name;
	} words[] = {
		{ NOTIFY_SUCCESS, "SUCCESS" },
		{ NOTIFY_FAILURE, "FAILURE" },
		{ NOTIFY_DELAY, "DELAY" },
	};
	enum status st = ST_OK;
	char sep = '=';

	if (notify & NOTIFY_NEVER)
		return buf_puts(line, " NOTIFY=NEVER");
	if (notify != 0)
		st = buf_puts(line, " NOTIFY");
	for (size_t i = 0; st == ST_OK && i < 3; i++) {
		if (!(notify & words[i].bit))
			continue;
		st = buf_printf(line, "%c%s", sep, words[i].name);
		sep = ',';
	}
	return st;
}

enum status
smtp_command_rcpt(struct buf *out, const struct smtp_caps *caps,
	const struct session_rcpt *rcpt)
{
	const unsigned all = NOTIFY_NEVER | NOTIFY_SUCCESS | NOTIFY_FAILURE |
		NOTIFY_DELAY;
	struct buf line;
	enum status st;

	if (rcpt->address[0] == '\0' || !is_path(rcpt->address))
		return ST_PARSE;
	buf_init(&line, LINE_MAX_BYTES);
	st = buf_printf(&line, "RCPT TO:<%s>", rcpt->address);
	if (st == ST_OK && caps->flags & SMTP_CAP_DSN) {
		st = put_notify(&line, rcpt->notify & all);
		if (st == ST_OK && rcpt->orcpt != NULL)
			st = is_value(rcpt->orcpt) ?
				buf_printf(&line, " ORCPT=%s", rcpt->orcpt) :
				ST_PARSE;
	}
	return finish(out, &line, st);
}

/* ---- flight ---- */

bool
smtp_flight_full(const struct smtp_flight *f)
{
	return f->count == SMTP_FLIGHT_MAX;
}

void
smtp_flight_push(struct smtp_flight *f, enum smtp_verb verb, size_t rcpt)
{
	size_t at = (f->head + f->count) % SMTP_FLIGHT_MAX;

	assert(!smtp_flight_full(f));
	f->sent[at].verb = verb;
	f->sent[at].rcpt = (unsigned)rcpt & 0xffffff;
	f->count++;
}

struct smtp_sent
smtp_flight_peek(const struct smtp_flight *f)
{
	static const struct smtp_sent none = { SMTP_VERB_NONE, 0 };

	return f->count == 0 ? none : f->sent[f->head];
}

struct smtp_sent
smtp_flight_pop(struct smtp_flight *f)
{
	struct smtp_sent sent = smtp_flight_peek(f);

	if (f->count > 0) {
		f->head = (f->head + 1) % SMTP_FLIGHT_MAX;
		f->count--;
	}
	return sent;
}
