/*
 * The part of a notice that people read: plain words, what happened, what to
 * do.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "smtpd-out/mail/bounce_int.h"

#define NAMED_MAX 50		/* recipients named in words */

void
bounce_ascii(char *out, size_t out_bytes, const char *text)
{
	str_sanitise(out, out_bytes, text, strlen(text));
	for (; *out != '\0'; out++)
		if ((unsigned char)*out > 127)
			*out = '?';
}

void
bounce_said(const struct outcome *o, char *out, size_t out_bytes)
{
	size_t code = strlen(o->enhanced);
	const char *text = o->text;

	if (!o->remote) {
		(void)str_copy(out, out_bytes, text);
		return;
	}
	if (code > 0 && strncmp(text, o->enhanced, code) == 0 &&
	    text[code] == ' ')
		text += code + 1;
	(void)snprintf(out, out_bytes, "%03d %s %s", o->code, o->enhanced,
		text);
}

/* ---- words ---- */

/* Per kind: what the notice says before and after the recipients. */
static const struct words {
	const char *subject, *title, *lead, *happened, *tail;
} kinds[] = {
	[BOUNCE_FAILED] = {
		"Your message could not be delivered",
		"Your message was NOT delivered to:",
		NULL,
		"What happened:",
		"Nothing more will be tried for these recipients. Other "
		"recipients of the same message, if there were any, are not "
		"affected.",
	},
	[BOUNCE_DELAYED] = {
		"Your message is delayed, delivery is still being tried",
		"Your message has NOT YET been delivered to:",
		"You do not need to send it again.",
		"What holds it up:",
		NULL,
	},
	[BOUNCE_RELAYED] = {
		"Your message was passed on",
		"Your message was handed over for:",
		NULL,
		"What happened:",
		"The next mail server accepted the message but does not send "
		"confirmations, so you will not hear when it reaches the "
		"mailbox. You asked for this notice; there is nothing to do.",
	},
};

/* By subject and detail of the status code (RFC 3463, IANA), the first that
 * fits; a trailing dot fits every detail. */
static const struct advice {
	const char *code;
	const char *text;
} advices[] = {
	{ "1.1", "This mailbox does not exist there. Check the part before "
	    "the @ for a typing error, or ask the recipient for the current "
	    "address." },
	{ "1.2", "The domain (the part after the @) does not exist. Check it "
	    "for a typing error." },
	{ "1.3", "The address is not well formed. Check it for a typing "
	    "error." },
	{ "1.6", "The recipient has moved. Ask for the new address." },
	{ "1.10", "This domain takes no mail at all. Check the part after "
	    "the @ for a typing error." },
	{ "2.1", "The mailbox has been closed. Reach the recipient in another "
	    "way." },
	{ "2.2", "The mailbox is full. Reach the recipient in another way, or "
	    "send the message again later." },
	{ "2.3", "The message is too large for this mailbox. Make attachments "
	    "smaller, or share them by a link." },
	{ "3.4", "The message is too large for the receiving server. Make "
	    "attachments smaller, or share them by a link." },
	{ "4.4", "No mail server of this domain can be found. Check the part "
	    "after the @ for a typing error." },
	{ "4.6", "The mail would go round in a circle: a mistake in the "
	    "set-up of one of the servers. Tell your postmaster." },
	{ "4.7", "It was tried again and again without success, and the time "
	    "for it is over. Check the part after the @ for a typing error; "
	    "if it is right, send the message again later or reach the "
	    "recipient in another way." },
	{ "6.7", "An address or subject in this message has letters that the "
	    "receiving server does not handle. Use an address in plain "
	    "letters a-z, if there is one." },
	{ "7.5", "The connection to the receiving server could not be secured "
	    "as it has to be. Tell your postmaster." },
	{ "7.10", "The connection to the receiving server could not be "
	    "secured as it has to be. Tell your postmaster." },
	{ "7.30", "The connection to the receiving server could not be "
	    "secured as you demanded. Reach the recipient in another way, or "
	    "send without that demand." },
	{ "7.", "The receiving server refuses this message by its rules. Its "
	    "words above may tell which; your postmaster can help." },
	{ "", "Check the address. If it is right, your postmaster can help; "
	    "send this notice along." },
};

const char *
bounce_subject(enum bounce_kind kind)
{
	return kinds[kind].subject;
}

static const char *
advice_for(const char *enhanced)
{
	const char *code = enhanced[0] != '\0' && enhanced[1] == '.' ?
		enhanced + 2 : "0.0";
	size_t i = 0;

	for (;; i++) {
		const char *row = advices[i].code;
		size_t len = strlen(row);

		if (len == 0 || (row[len - 1] == '.' ?
		    strncmp(code, row, len) == 0 : strcmp(code, row) == 0))
			return advices[i].text;
	}
}

static void
put_event(const struct bounce_input *in, const struct bounce_rcpt *r,
	struct sink *out)
{
	const struct outcome *o = r->outcome;
	bool host = r->remote_host != NULL && r->remote_host[0] != '\0';
	char said[OUTCOME_TEXT_MAX + 32], name[300];
	char line[OUTCOME_TEXT_MAX + 400];

	bounce_said(o, said, sizeof(said));
	sink_wrap(out, "    ", kinds[in->kind].happened);
	bounce_ascii(name, sizeof(name), host ? r->remote_host : "");
	if (o->remote)
		(void)snprintf(line, sizeof(line), "%s%s said: %s",
			host ? "The mail server " : "The receiving server",
			name, said);
	else
		(void)snprintf(line, sizeof(line), "%s (status %s)", said,
			o->enhanced);
	sink_wrap(out, "        ", line);
}

/* Who demanded TLS, by the why= of the log. */
static const struct {
	const char *why, *text;
} demands[] = {
	{ "dane", "The receiving domain has published TLSA records (DANE), so "
	    "mail goes there only over TLS with a certificate that matches "
	    "them." },
	{ "dane-unusable", "The receiving domain has published TLSA records "
	    "(DANE); none can be used, so mail goes there only over TLS." },
	{ "local", "A rule of this mail system demands TLS for this "
	    "destination." },
	{ "override", "A rule of this mail system decides on TLS for this "
	    "destination." },
	{ "require-tls", "This mail system sends nothing without TLS." },
	{ "hosts-require-tls", "A rule of this mail system demands TLS for "
	    "this mail server." },
	{ "remembered", "This mail server has had TLS before, and this mail "
	    "system does not go back behind that." },
	{ "sts", "The receiving domain has published an MTA-STS policy, so "
	    "that mail goes only to the mail servers that it names, over TLS "
	    "with a certificate for the server's name." },
	{ "requiretls", "The sender demanded TLS all the way (REQUIRETLS)." },
};

/* What does not fit need not be a TLSA record. */
static const char *
cure_for(enum tls_failure failure, const char *why)
{
	if (failure == TLS_FAILURE_VALIDATION && why != NULL &&
	    strcmp(why, "sts") == 0)
		return "name every mail server of the domain in the mx lines "
			"of its MTA-STS policy, and have each offer TLS 1.2 "
			"or newer.";
	return tls_failure_cure(failure);
}

static void
put_policy(const struct bounce_input *in, const struct bounce_rcpt *r,
	struct sink *out)
{
	enum tls_failure failure = r->outcome->tls_failure;
	char trail[1200];

	if (failure == TLS_FAILURE_NONE || failure >= TLS_FAILURE_COUNT)
		return;
	for (size_t i = 0; r->why != NULL &&
	    i < sizeof(demands) / sizeof(demands[0]); i++) {
		if (strcmp(demands[i].why, r->why) != 0)
			continue;
		sink_puts(out, "\r\n");
		sink_wrap(out, "    ", "Who demands it:");
		sink_wrap(out, "        ", demands[i].text);
	}
	if (in->trail != NULL && in->trail[0] != '\0') {
		bounce_ascii(trail, sizeof(trail), in->trail);
		sink_puts(out, "\r\n");
		sink_wrap(out, "    ", "Host by host:");
		sink_wrap(out, "        ", trail);
	}
	sink_puts(out, "\r\n");
	sink_wrap(out, "    ", "What the receiving postmaster should do:");
	sink_wrap(out, "        ", cure_for(failure, r->why));
}

static void
put_rcpt(const struct bounce_input *in, const struct bounce_rcpt *r,
	struct sink *out)
{
	char address[400];

	str_sanitise(address, sizeof(address), r->rcpt->address,
		strlen(r->rcpt->address));
	sink_printf(out, "\r\n  <%s>\r\n\r\n", address);
	put_event(in, r, out);
	if (in->kind != BOUNCE_RELAYED)
		put_policy(in, r, out);
	if (in->kind != BOUNCE_FAILED)
		return;
	sink_puts(out, "\r\n");
	sink_wrap(out, "    ", "What you can do:");
	sink_wrap(out, "        ", advice_for(r->outcome->enhanced));
}

static void
put_delay_end(const struct bounce_input *in, struct sink *out)
{
	char date[40], line[200];

	if (in->kind != BOUNCE_DELAYED)
		return;
	str_date(in->retry_until_s, date);
	(void)snprintf(line, sizeof(line), "Delivery will be tried until %s. "
		"If it does not succeed by then you will get another notice.",
		date);
	sink_puts(out, "\r\n");
	sink_wrap(out, "", line);
}

void
bounce_text(const struct bounce_input *in, struct sink *out)
{
	const struct words *words = &kinds[in->kind];
	size_t named = in->rcpt_count < NAMED_MAX ? in->rcpt_count : NAMED_MAX;
	char line[700], id[STR_ID_MAX];

	(void)snprintf(line, sizeof(line), "This is the mail system at %s.",
		in->hostname);
	sink_wrap(out, "", line);
	sink_puts(out, "\r\n");
	sink_wrap(out, "", words->title);
	for (size_t i = 0; i < named; i++)
		put_rcpt(in, &in->rcpts[i], out);
	if (named < in->rcpt_count)
		sink_printf(out, "\r\n  and %zu more: see the attached "
			"report.\r\n", in->rcpt_count - named);
	put_delay_end(in, out);
	if (words->lead != NULL)
		sink_wrap(out, "", words->lead);
	if (words->tail != NULL) {
		sink_puts(out, "\r\n");
		sink_wrap(out, "", words->tail);
	}
	str_id_format(in->env->id, id);
	(void)snprintf(line, sizeof(line), "For help write to %s and name the "
		"queue id %s. A report for programs and the header of your "
		"message are attached.", in->postmaster, id);
	sink_puts(out, "\r\n");
	sink_wrap(out, "", line);
}
