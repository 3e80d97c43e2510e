/*
 * Fields and address lists of a submitted message.
 *
 *	address-list = address *( "," address )		(RFC 5322 3.4)
 *	address      = [phrase] "<" [route] addr-spec ">" / addr-spec /
 *	               phrase ":" [mailbox-list] ";"
 *
 * Comments and white space may stand between all tokens; empty list elements
 * are passed over (4.4), and so is ";" outside of a group, which some
 * programs write for ",".
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/command/submit_header.h"

#define ADDRESS_BYTES 512

void
submit_list_add(struct submit_list *list, const char *text, size_t len)
{
	size_t n = list->count;

	if ((n & (n - 1)) == 0)
		list->items = xrealloc_n(list->items, n == 0 ? 1 : n * 2,
			sizeof(list->items[0]));
	list->items[list->count++] = xstrndup(text, len);
}

void
submit_list_clear(struct submit_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	mem_free(&list->items);
	list->count = 0;
}

/* ---- address lists --------------------------------------------------- */

enum token { TOKEN_END = 0, TOKEN_WORD, TOKEN_SPECIAL, TOKEN_BAD };

struct scan {
	const char *pos, *end;
	const char *text;	/* the last token */
	size_t len;
};

/* Passes over white space and (nested (comments)). */
static bool
skip_cfws(struct scan *s)
{
	unsigned depth = 0;

	for (; s->pos < s->end; s->pos++) {
		char c = *s->pos;

		if (c == '\\' && depth > 0 && s->pos + 1 < s->end)
			s->pos++;
		else if (c == '(')
			depth++;
		else if (c == ')' && depth > 0)
			depth--;
		else if (depth == 0 && memchr(" \t\r\n", c, 4) == NULL)
			return true;
	}
	return depth == 0;
}

/* To the closing character of a quoted string or domain literal. */
static enum token
delimited(struct scan *s, char close)
{
	for (s->pos++; s->pos < s->end; s->pos++) {
		if (*s->pos == '\\' && s->pos + 1 < s->end) {
			s->pos++;
		} else if (*s->pos == close) {
			s->pos++;
			s->len = (size_t)(s->pos - s->text);
			return TOKEN_WORD;
		}
	}
	return TOKEN_BAD;
}

static enum token
next_token(struct scan *s)
{
	static const char specials[] = "()<>[]:;@\\,.\"";

	if (!skip_cfws(s))
		return TOKEN_BAD;
	if (s->pos == s->end)
		return TOKEN_END;
	s->text = s->pos;
	s->len = 1;
	switch (*s->pos) {
	case '"':
		return delimited(s, '"');
	case '[':
		return delimited(s, ']');
	case '<': case '>': case ':': case ';': case '@': case ',': case '.':
		s->pos++;
		return TOKEN_SPECIAL;
	default:
		break;
	}
	while (s->pos < s->end && (unsigned char)*s->pos > 32 &&
	    *s->pos != 127 && strchr(specials, *s->pos) == NULL)
		s->pos++;
	s->len = (size_t)(s->pos - s->text);
	return s->len > 0 ? TOKEN_WORD : TOKEN_BAD;
}

struct mailbox {		/* what is known of the element so far */
	char text[ADDRESS_BYTES];
	size_t len;
	bool last_word;		/* the last token was a word */
	bool phrase;		/* two words in a row: a name */
	bool in_angle, had_angle;
	bool in_group;
	bool overflow;
};

static void
mailbox_reset(struct mailbox *m)
{
	m->len = 0;
	m->last_word = m->phrase = m->overflow = false;
}

static void
mailbox_put(struct mailbox *m, const char *text, size_t len)
{
	if (len >= sizeof(m->text) - m->len) {
		m->overflow = true;
		return;
	}
	memcpy(m->text + m->len, text, len);
	m->len += len;
	m->text[m->len] = '\0';
}

static bool
mailbox_end(struct mailbox *m, struct submit_list *list)
{
	const char *at = m->text;
	bool empty = m->len == 0;

	if (m->in_angle || m->overflow || (empty && m->had_angle))
		return false;
	if (!empty && m->phrase)
		return false;
	if (!empty) {
		if (*at == '@')		/* an obsolete route */
			at = strchr(at, ':');
		if (at == NULL)
			return false;
		at += *at == ':';
		submit_list_add(list, at, strlen(at));
	}
	mailbox_reset(m);
	m->had_angle = false;
	return true;
}

static bool
mailbox_word(struct mailbox *m, const struct scan *s)
{
	if (m->had_angle && !m->in_angle)
		return false;	/* something after the ">" */
	m->phrase |= m->last_word;
	m->last_word = true;
	mailbox_put(m, s->text, s->len);
	return true;
}

static bool
mailbox_special(struct mailbox *m, char c, struct submit_list *list)
{
	if (m->in_angle && c != '>' && c != '<' && c != ';') {
		m->last_word = false;
		mailbox_put(m, &c, 1);
		return true;
	}
	switch (c) {
	case '<':
		if (m->in_angle || m->had_angle)
			return false;
		mailbox_reset(m);
		m->in_angle = m->had_angle = true;
		return true;
	case '>':
		if (!m->in_angle || m->phrase)
			return false;
		m->in_angle = false;
		return true;
	case ':':
		if (m->in_group || m->had_angle)
			return false;
		mailbox_reset(m);
		m->in_group = true;
		return true;
	case ';':
		m->in_group = false;
		return mailbox_end(m, list);
	case ',':
		return mailbox_end(m, list);
	default:		/* "." and "@" */
		if (m->had_angle)
			return false;
		/* "J. Doe <...>" has a dot in its name (4.1) */
		m->last_word = false;
		mailbox_put(m, &c, 1);
		return true;
	}
}

enum status
submit_addresses(const char *text, size_t len, struct submit_list *list)
{
	struct scan s = { .pos = text, .end = text + len };
	struct mailbox m = { .len = 0 };
	enum token token;
	bool ok = true;

	while (ok && (token = next_token(&s)) != TOKEN_END)
		ok = token == TOKEN_WORD ? mailbox_word(&m, &s) :
			token == TOKEN_SPECIAL ?
			mailbox_special(&m, *s.text, list) : false;
	if (!ok || m.in_group || !mailbox_end(&m, list))
		return ST_PARSE;
	return ST_OK;
}

/* ---- fields ---------------------------------------------------------- */

/* Length of the field name at text, 0 when there is none. */
static size_t
field_name(const char *text, size_t len)
{
	size_t n = 0, colon;

	while (n < len && text[n] > 32 && text[n] < 127 && text[n] != ':')
		n++;
	colon = n;
	while (colon < len && (text[colon] == ' ' || text[colon] == '\t'))
		colon++;
	return n > 0 && colon < len && text[colon] == ':' ? n : 0;
}

/* Length of the line at text with its CRLF, 0 when it is not whole. */
static size_t
line_len(const char *text, size_t len)
{
	const char *lf = memchr(text, '\n', len);

	return lf == NULL ? 0 : (size_t)(lf - text) + 1;
}

static bool
is_separator(const char *text, size_t len)
{
	return (len >= 5 && memcmp(text, "From ", 5) == 0) ||
		(len >= 6 && memcmp(text, ">From ", 6) == 0);
}

enum status
submit_header_end(const char *text, size_t len, bool all,
	size_t *head_len_out, size_t *body_at_out)
{
	size_t at = 0, n;

	while (at < len) {
		n = line_len(text + at, len - at);
		if (n == 0)
			break;
		*head_len_out = *body_at_out = at;
		if (n == 2) {
			*body_at_out = at + 2;
			return ST_OK;
		}
		if (!(at == 0 && is_separator(text, n)) &&
		    !(at > 0 && (text[at] == ' ' || text[at] == '\t')) &&
		    field_name(text + at, n) == 0)
			return ST_OK;
		at += n;
	}
	if (!all)
		return ST_AGAIN;
	*head_len_out = *body_at_out = at;
	return ST_OK;
}

struct field {
	const char *text;	/* the whole field, folded, with CRLF */
	size_t len;
	size_t name_len;	/* 0: a mailbox separator */
};

static bool
next_field(const char *head, size_t len, size_t *at, struct field *out)
{
	size_t n;

	if (*at >= len)
		return false;
	out->text = head + *at;
	out->len = line_len(out->text, len - *at);
	if (out->len == 0)
		return false;
	out->name_len = field_name(out->text, out->len);
	while (*at + out->len < len && (out->text[out->len] == ' ' ||
	    out->text[out->len] == '\t')) {
		n = line_len(out->text + out->len, len - *at - out->len);
		if (n == 0)
			break;
		out->len += n;
	}
	*at += out->len;
	return true;
}

static bool
field_is(const struct field *f, const char *name)
{
	return strlen(name) == f->name_len &&
		strncasecmp(f->text, name, f->name_len) == 0;
}

static bool
field_in(const struct field *f, const char *const *names)
{
	for (; *names != NULL; names++)
		if (field_is(f, *names))
			return true;
	return false;
}

static bool
header_has(const char *head, size_t len, const char *const *names)
{
	struct field f;

	for (size_t at = 0; next_field(head, len, &at, &f);)
		if (field_in(&f, names))
			return true;
	return false;
}

enum status
submit_header_rcpts(const char *head, size_t len, struct submit_list *list,
	char field_out[32])
{
	static const char *const plain[] = { "To", "Cc", "Bcc", NULL };
	static const char *const resent[] = { "Resent-To", "Resent-Cc",
		"Resent-Bcc", NULL };
	const char *const *names = header_has(head, len, resent) ? resent :
		plain;
	struct field f;

	for (size_t at = 0; next_field(head, len, &at, &f);) {
		const char *colon;

		if (!field_in(&f, names))
			continue;
		colon = memchr(f.text, ':', f.len);
		if (submit_addresses(colon + 1, f.len -
		    (size_t)(colon + 1 - f.text), list) == ST_OK)
			continue;
		(void)snprintf(field_out, 32, "%.*s", (int)f.name_len, f.text);
		return ST_PARSE;
	}
	return ST_OK;
}

/* ---- editing --------------------------------------------------------- */

/* RFC 2047 4.2, 5: a word in a phrase; each holds whole characters and at most
 * 75 octets. */
static enum status
put_encoded(struct buf *out, const char *name)
{
	static const char open[] = "=?UTF-8?Q?";
	size_t line = 0;

	for (const char *p = name; *p != '\0'; p++) {
		unsigned char c = (unsigned char)*p;
		bool plain = (c >= '0' && c <= '9') ||
			(c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
		bool starts = (c & 0xc0) != 0x80;

		/* A character may take 12 more octets, the end 2. */
		if (line == 0 || (starts && line > 60)) {
			if (buf_printf(out, "%s%s", line == 0 ? "" : "?=\r\n ",
			    open) != ST_OK)
				return ST_LIMIT;
			line = sizeof(open) - 1;
		}
		if (buf_printf(out, plain ? "%c" : "=%02X", c) != ST_OK)
			return ST_LIMIT;
		line += plain ? 1 : 3;
	}
	return buf_puts(out, "?=");
}

static enum status
put_quoted(struct buf *out, const char *name)
{
	if (buf_puts(out, "\"") != ST_OK)
		return ST_LIMIT;
	for (; *name != '\0'; name++)
		if (((*name == '"' || *name == '\\') &&
		    buf_puts(out, "\\") != ST_OK) ||
		    buf_put(out, name, 1) != ST_OK)
			return ST_LIMIT;
	return buf_puts(out, "\"");
}

static enum status
put_from(struct buf *out, const char *full_name, const char *address)
{
	char name[256];
	enum status st;

	str_sanitise(name, sizeof(name), full_name == NULL ? "" : full_name,
		full_name == NULL ? 0 : strlen(full_name));
	if (name[0] == '\0')
		return buf_printf(out, "From: %s\r\n", address);
	if (buf_puts(out, "From: ") != ST_OK)
		return ST_LIMIT;
	if (!str_is_ascii(name))
		st = put_encoded(out, name);
	else if (strpbrk(name, "()<>[]:;@\\,.\"") != NULL)
		st = put_quoted(out, name);
	else
		st = buf_puts(out, name);
	return st != ST_OK ? st : buf_printf(out, " <%s>\r\n", address);
}

enum status
submit_header_edit(const char *head, size_t len,
	const struct submit_fill *fill, struct buf *out)
{
	static const char *const dropped[] = { "Bcc", "Resent-Bcc",
		"Return-Path", NULL };
	static const char *const from[] = { "From", NULL };
	static const char *const date[] = { "Date", NULL };
	static const char *const message_id[] = { "Message-ID", NULL };
	struct field f;

	for (size_t at = 0; next_field(head, len, &at, &f);)
		if (f.name_len > 0 && !field_in(&f, dropped) &&
		    buf_put(out, f.text, f.len) != ST_OK)
			return ST_LIMIT;
	if (!header_has(head, len, date) &&
	    buf_printf(out, "Date: %s\r\n", fill->date) != ST_OK)
		return ST_LIMIT;
	if (!header_has(head, len, message_id) && buf_printf(out,
	    "Message-ID: %s\r\n", fill->message_id) != ST_OK)
		return ST_LIMIT;
	if (!header_has(head, len, from) &&
	    put_from(out, fill->full_name, fill->from) != ST_OK)
		return ST_LIMIT;
	return buf_puts(out, "\r\n");
}
