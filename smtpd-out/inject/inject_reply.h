/*
 * Everything that the listener says to a submitter, on one page: reply code,
 * enhanced code (RFC 3463, RFC 5248) and text.
 */
#ifndef SMTPD_OUT_INJECT_REPLY_H
#define SMTPD_OUT_INJECT_REPLY_H

enum inject_reply {
	REPLY_NONE = 0,		/* no fault */

	/* 2xx and 3xx */
	REPLY_OK,
	REPLY_SENDER_OK,
	REPLY_RCPT_OK,
	REPLY_CHUNK_OK,
	REPLY_RESET,
	REPLY_HELP,
	REPLY_VRFY,
	REPLY_START_DATA,
	REPLY_START_TLS,
	REPLY_BYE,

	/* the session ends */
	REPLY_STOPPING,		/* the service is being stopped */
	REPLY_IDLE,		/* the submitter was silent too long */
	REPLY_SESSION_TIME,	/* the session lasted too long */
	REPLY_BUSY,		/* too many sessions */
	REPLY_BUSY_CLIENT,	/* too many sessions of this client */
	REPLY_ERRORS,		/* too many errors */
	REPLY_DENIED,		/* not within the allowed networks */
	REPLY_EARLY,		/* talked before the greeting */
	REPLY_NOT_SMTP,		/* another protocol's request */

	/* commands */
	REPLY_LINE_LONG,
	REPLY_LINE_BARE,	/* command line without CRLF */
	REPLY_LINE_OCTET,	/* NUL or CR within a command */
	REPLY_UNKNOWN,
	REPLY_NOT_OFFERED,
	REPLY_HELLO_FIRST,
	REPLY_SEQUENCE,
	REPLY_NESTED_MAIL,
	REPLY_NO_MAIL,
	REPLY_NO_RCPT,
	REPLY_ARGUMENT,
	REPLY_HELLO_NAME,
	REPLY_MAIL_SYNTAX,
	REPLY_RCPT_SYNTAX,
	REPLY_BDAT_SYNTAX,
	REPLY_PARAM,		/* known parameter, bad value */
	REPLY_PARAM_UNKNOWN,
	REPLY_REQUIRETLS,	/* not over a readable connection (RFC 8689) */
	REPLY_SENDER_BAD,
	REPLY_SENDER_NO_DOMAIN,
	REPLY_RCPT_BAD,
	REPLY_RCPT_NO_DOMAIN,
	REPLY_UTF8_SENDER,	/* needs SMTPUTF8 (RFC 6531) */
	REPLY_UTF8_RCPT,
	REPLY_RCPT_LIMIT,
	REPLY_MEMORY,		/* no room for more right now */

	/* the message */
	REPLY_SIZE,
	REPLY_BARE_NEWLINE,
	REPLY_NUL,
	REPLY_TEXT_LINE,	/* line of text over the limit */
	REPLY_HOPS,
	REPLY_STORE_FULL,
	REPLY_STORE,		/* cannot be stored for another reason */
	REPLY_NO_ANSWER,	/* the queue did not answer in time */
	REPLY_REFUSED,		/* the queue's own words; not in the table */
	REPLY_COUNT
};

struct inject_reply_row {
	int code;
	const char *enhanced;	/* NULL where RFC 2034 has none */
	const char *text;
};

/* Never NULL. */
const struct inject_reply_row *inject_reply_row(enum inject_reply);

#endif
