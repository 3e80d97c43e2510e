/*
 * The part of a notice that programs read: message/delivery-status of RFC
 * 3464, and for international addresses RFC 6533.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "smtpd-out/mail/bounce_int.h"

static void
put_date(struct sink *out, const char *name, int64_t unix_s)
{
	char date[40];

	if (unix_s <= 0)
		return;
	str_date(unix_s, date);
	sink_field(out, name, date);
}

/* Text of a field: ASCII unless the notice is an international one. */
static void
field_text(const struct bounce_input *in, char *out, size_t out_bytes,
	const char *text)
{
	if (str_is_ascii(in->env->sender))
		bounce_ascii(out, out_bytes, text);
	else
		str_sanitise(out, out_bytes, text, strlen(text));
}

/* The code point at text (well-formed UTF-8), and its length. */
static unsigned long
code_point(const char *text, size_t *len_out)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t len = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	unsigned long point = len == 1 ? s[0] :
		s[0] & (0xffU >> (len + 1));

	for (size_t i = 1; i < len; i++)
		point = point << 6 | (s[i] & 0x3fU);
	*len_out = len;
	return point;
}

/* utf-8-addr-xtext of RFC 6533 section 3: ASCII with \x{HEX} in it. */
static void
put_utf8_xtext(const char *text, char *out, size_t out_bytes)
{
	size_t used = 0, len;

	for (; *text != '\0' && used + 12 < out_bytes; text += len) {
		unsigned long point = code_point(text, &len);

		if (point > 126 || point <= 32 || point == '+' ||
		    point == '=' || point == '\\')
			used += (size_t)snprintf(out + used, 12, "\\x{%02lX}",
				point);
		else
			out[used++] = *text;
	}
	out[used] = '\0';
}

static void
put_address(const struct bounce_input *in, const char *name,
	const char *address, struct sink *out)
{
	char safe[ENVELOPE_STR_MAX + 1], value[ENVELOPE_STR_MAX * 2];
	bool ascii = str_is_ascii(address);
	int used;

	str_sanitise(safe, sizeof(safe), address, strlen(address));
	used = snprintf(value, sizeof(value), "%s; ",
		ascii ? "rfc822" : "utf-8");
	if (ascii || !str_is_ascii(in->env->sender))
		(void)str_copy(value + used, sizeof(value) - (size_t)used,
			safe);
	else
		put_utf8_xtext(safe, value + used,
			sizeof(value) - (size_t)used);
	sink_field(out, name, value);
}

/* RFC 3461 4.2: "type;xtext", decoded; for utf-8 the form of RFC 6533 stays
 * as it came.  What is malformed is left out. */
static void
put_orcpt(const struct bounce_input *in, const char *orcpt, struct sink *out)
{
	char value[ENVELOPE_STR_MAX + 64], text[ENVELOPE_STR_MAX + 1];
	char safe[ENVELOPE_STR_MAX + 1];
	const char *semicolon = orcpt == NULL ? NULL : strchr(orcpt, ';');
	size_t type = semicolon == NULL ? 0 : (size_t)(semicolon - orcpt);

	if (type == 0 || type > 40 || strlen(semicolon) > ENVELOPE_STR_MAX)
		return;
	for (size_t i = 0; i < type; i++)
		if (orcpt[i] <= 32 || orcpt[i] > 126)
			return;
	if (type == 5 && strncasecmp(orcpt, "utf-8", 5) == 0) {
		if (!str_is_ascii(semicolon + 1)) {
			put_address(in, "Original-Recipient", semicolon + 1,
				out);
			return;
		}
		(void)str_copy(text, sizeof(text), semicolon + 1);
	} else if (str_xtext_decode(semicolon + 1, text, sizeof(text)) !=
	    ST_OK) {
		return;
	}
	field_text(in, safe, sizeof(safe), text);
	(void)snprintf(value, sizeof(value), "%.*s; %s", (int)type, orcpt,
		safe);
	sink_field(out, "Original-Recipient", value);
}

/* The status code, of the class that the action needs. */
static void
status_code(const struct bounce_input *in, const struct outcome *o,
	char out[OUTCOME_ENHANCED_MAX])
{
	static const char classes[] = {
		[BOUNCE_NONE] = '5', [BOUNCE_FAILED] = '5',
		[BOUNCE_DELAYED] = '4', [BOUNCE_RELAYED] = '2',
	};
	char class = classes[in->kind];
	bool fits = str_is_enhanced_code(o->enhanced) &&
		(o->enhanced[0] == class ||
		(in->kind == BOUNCE_FAILED && o->enhanced[0] == '4'));

	(void)snprintf(out, OUTCOME_ENHANCED_MAX, "%c.0.0", class);
	if (fits)
		(void)str_copy(out, OUTCOME_ENHANCED_MAX, o->enhanced);
}

/* RFC 3464 2.3.5, 2.3.6: only what a remote host said is "smtp"; our own words
 * have a type of their own. */
static void
put_diagnostic(const struct bounce_input *in, const struct bounce_rcpt *r,
	struct sink *out)
{
	const struct outcome *o = r->outcome;
	char text[OUTCOME_TEXT_MAX + 32], value[OUTCOME_TEXT_MAX + 64];
	char said[OUTCOME_TEXT_MAX + 32];

	bounce_said(o, said, sizeof(said));
	field_text(in, text, sizeof(text), said);
	if (o->remote && r->remote_host != NULL && r->remote_host[0] != '\0') {
		char host[300];

		bounce_ascii(host, sizeof(host), r->remote_host);
		(void)snprintf(value, sizeof(value), "dns; %s", host);
		sink_field(out, "Remote-MTA", value);
	}
	(void)snprintf(value, sizeof(value), "%s; %s",
		o->remote ? "smtp" : "X-smtpd-out", text);
	sink_field(out, "Diagnostic-Code", value);
}

static void
put_rcpt_fields(const struct bounce_input *in, const struct bounce_rcpt *r,
	struct sink *out)
{
	char status[OUTCOME_ENHANCED_MAX];

	sink_puts(out, "\r\n");
	put_orcpt(in, r->rcpt->orcpt, out);
	put_address(in, "Final-Recipient", r->rcpt->address, out);
	sink_field(out, "Action", bounce_kind_name(in->kind));
	status_code(in, r->outcome, status);
	sink_field(out, "Status", status);
	put_diagnostic(in, r, out);
	put_date(out, "Last-Attempt-Date", r->last_attempt_s);
	if (in->kind == BOUNCE_DELAYED)
		put_date(out, "Will-Retry-Until", in->retry_until_s);
}

void
bounce_report(const struct bounce_input *in, struct sink *out)
{
	char text[ENVELOPE_STR_MAX + 1], safe[ENVELOPE_STR_MAX + 1];
	char id[STR_ID_MAX];

	if (in->env->envid != NULL && str_xtext_decode(in->env->envid, text,
	    sizeof(text)) == ST_OK) {
		field_text(in, safe, sizeof(safe), text);
		sink_field(out, "Original-Envelope-Id", safe);
	}
	(void)snprintf(text, sizeof(text), "dns; %s", in->hostname);
	sink_field(out, "Reporting-MTA", text);
	str_id_format(in->env->id, id);
	sink_field(out, "X-Smtpd-Out-Queue-Id", id);
	put_date(out, "Arrival-Date", in->env->received_ms / 1000);
	for (size_t i = 0; i < in->rcpt_count; i++)
		put_rcpt_fields(in, &in->rcpts[i], out);
}
