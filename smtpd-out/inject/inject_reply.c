/*
 * The listener's replies.  Texts are for the person who reads the log of the
 * submitting program: they say what to change.
 */
#include "config.h"

#include <stddef.h>

#include "smtpd-out/inject/inject_reply.h"

/* clang-format off */
static const struct inject_reply_row rows[REPLY_COUNT] = {
	[REPLY_NONE] = { 451, "4.3.0", "internal error" },
	[REPLY_OK] = { 250, "2.0.0", "Ok" },
	[REPLY_SENDER_OK] = { 250, "2.1.0", "Sender ok" },
	[REPLY_RCPT_OK] = { 250, "2.1.5", "Recipient ok" },
	[REPLY_CHUNK_OK] = { 250, "2.0.0", "Chunk received" },
	[REPLY_RESET] = { 250, "2.0.0", "Reset" },
	[REPLY_HELP] = { 214, "2.0.0", "See RFC 5321 and smtpd-out(8)" },
	[REPLY_VRFY] = { 252, "2.0.0",
		"Will not verify; mail to it is accepted and tried" },
	[REPLY_START_DATA] = { 354, NULL, "End with CRLF.CRLF" },
	[REPLY_START_TLS] = { 220, "2.0.0", "Ready to start TLS" },
	[REPLY_BYE] = { 221, "2.0.0", "Bye" },

	[REPLY_STOPPING] = { 421, "4.3.2", "Service is stopping, try later" },
	[REPLY_IDLE] = { 421, "4.4.2", "Idle too long, closing" },
	[REPLY_SESSION_TIME] = { 421, "4.4.2", "Session too long, closing" },
	[REPLY_BUSY] = { 421, "4.3.2", "Too many sessions, try later" },
	[REPLY_BUSY_CLIENT] = { 421, "4.7.0",
		"Too many sessions from this client, try later" },
	[REPLY_ERRORS] = { 421, "4.7.0", "Too many errors, closing" },
	[REPLY_DENIED] = { 554, "5.7.1", "Client is not allowed to relay" },
	[REPLY_EARLY] = { 554, "5.5.1", "Client spoke before the greeting" },
	[REPLY_NOT_SMTP] = { 421, "4.7.0", "This is not your protocol" },

	[REPLY_LINE_LONG] = { 500, "5.5.2", "Command line too long" },
	[REPLY_LINE_BARE] = { 500, "5.5.2", "Command must end in CRLF" },
	[REPLY_LINE_OCTET] = { 500, "5.5.2",
		"Control character within a command" },
	[REPLY_UNKNOWN] = { 500, "5.5.2", "Command not recognized" },
	[REPLY_NOT_OFFERED] = { 502, "5.5.1", "Command not offered here" },
	[REPLY_HELLO_FIRST] = { 503, "5.5.1", "Introduce yourself first" },
	[REPLY_SEQUENCE] = { 503, "5.5.1", "Command out of sequence" },
	[REPLY_NESTED_MAIL] = { 503, "5.5.1", "Sender already given" },
	[REPLY_NO_MAIL] = { 503, "5.5.1", "Need MAIL first" },
	[REPLY_NO_RCPT] = { 503, "5.5.1", "No valid recipients" },
	[REPLY_ARGUMENT] = { 501, "5.5.4", "Command takes no argument" },
	[REPLY_HELLO_NAME] = { 501, "5.5.4", "Give your host name" },
	[REPLY_MAIL_SYNTAX] = { 501, "5.5.4", "Syntax: MAIL FROM:<address>" },
	[REPLY_RCPT_SYNTAX] = { 501, "5.5.4", "Syntax: RCPT TO:<address>" },
	[REPLY_BDAT_SYNTAX] = { 501, "5.5.4",
		"Syntax: BDAT size [LAST]; closing" },
	[REPLY_PARAM] = { 501, "5.5.4", "Bad value of a parameter" },
	[REPLY_PARAM_UNKNOWN] = { 555, "5.5.4", "Parameter not supported" },
	[REPLY_REQUIRETLS] = { 555, "5.7.10",
		"REQUIRETLS needs TLS or the Unix socket" },
	[REPLY_SENDER_BAD] = { 553, "5.1.7", "Sender address is malformed" },
	[REPLY_SENDER_NO_DOMAIN] = { 553, "5.1.7",
		"Sender address needs a domain" },
	[REPLY_RCPT_BAD] = { 553, "5.1.3", "Recipient address is malformed" },
	[REPLY_RCPT_NO_DOMAIN] = { 553, "5.1.3",
		"Recipient address needs a domain" },
	[REPLY_UTF8_SENDER] = { 550, "5.6.7",
		"Sender address needs the SMTPUTF8 parameter" },
	[REPLY_UTF8_RCPT] = { 553, "5.6.7",
		"Recipient address needs SMTPUTF8 in MAIL" },
	[REPLY_RCPT_LIMIT] = { 452, "4.5.3", "Too many recipients" },
	[REPLY_MEMORY] = { 452, "4.3.1", "Too much mail in transit, try later" },

	[REPLY_SIZE] = { 552, "5.3.4", "Message is larger than allowed here" },
	[REPLY_BARE_NEWLINE] = { 550, "5.6.11",
		"Message has a CR or LF that is not part of a CRLF" },
	[REPLY_NUL] = { 550, "5.6.11", "Message has a NUL octet" },
	[REPLY_TEXT_LINE] = { 550, "5.6.0",
		"Message has a line longer than allowed (RFC 5321 4.5.3.1.6)" },
	[REPLY_HOPS] = { 554, "5.4.6",
		"Too many Received headers: mail loop" },
	[REPLY_STORE_FULL] = { 452, "4.3.1", "Not enough storage, try later" },
	[REPLY_STORE] = { 451, "4.3.0", "Cannot store the message, try later" },
	[REPLY_NO_ANSWER] = { 451, "4.3.0",
		"Queue does not answer, try later" },
	[REPLY_REFUSED] = { 451, "4.3.0", "Queue refused the message" },
};
/* clang-format on */

const struct inject_reply_row *
inject_reply_row(enum inject_reply reply)
{
	if ((unsigned)reply >= REPLY_COUNT)
		reply = REPLY_NONE;
	return &rows[reply];
}
