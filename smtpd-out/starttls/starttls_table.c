/*
 * What each protocol wants to hear on the way to TLS.  Nothing here is sent
 * but what any client sends, in the order in which it must come.
 */
#include "config.h"

#include <string.h>
#include <sysexits.h>

#include "smtpd-out/starttls/starttls.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* RFC 6120 4.2, 4.7.1, 5.4.2; a server says who it is. */
#define XMPP_STREAM(ns) "<?xml version='1.0'?><stream:stream to='%d' " \
	ns " xmlns:stream='http://etherx.jabber.org/streams' " \
	"version='1.0'>"
#define XMPP_STEPS(ns) { \
	{ STARTTLS_LIST, STARTTLS_FRAME_XML, XMPP_STREAM(ns), 0, \
	    "/stream:features|stream:features/", \
	    "stream:error|/stream:stream" }, \
	{ STARTTLS_COMMAND, STARTTLS_FRAME_XML, \
	    "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", 0, \
	    "proceed", "failure|stream:error|/stream:stream" }, \
	{ STARTTLS_LIST_TLS, STARTTLS_FRAME_XML, XMPP_STREAM(ns), 0, \
	    "/stream:features|stream:features/", \
	    "stream:error|/stream:stream" }, \
	{ STARTTLS_END, STARTTLS_FRAME_XML, "</stream:stream>", 0, \
	    "/stream:stream", "stream:error" } \
}

/* RFC 5321, 3207; RFC 2033 */
#define SMTP_STEPS(hello) { \
	{ STARTTLS_GREETING, STARTTLS_FRAME_REPLY, NULL, 0, "2", "4|5" }, \
	{ STARTTLS_LIST, STARTTLS_FRAME_REPLY, hello " %h\r\n", 0, "2", \
	    "4|5" }, \
	{ STARTTLS_COMMAND, STARTTLS_FRAME_REPLY, "STARTTLS\r\n", 0, "2", \
	    "4|5" }, \
	{ STARTTLS_LIST_TLS, STARTTLS_FRAME_REPLY, hello " %h\r\n", 0, "2", \
	    "4|5" }, \
	{ STARTTLS_END, STARTTLS_FRAME_REPLY, "QUIT\r\n", 0, "2", "4|5" } \
}

static const struct starttls_row rows[] = {
	{ "smtp", 25, NULL, "STARTTLS", true, SMTP_STEPS("EHLO") },
	{ "submission", 587, "_submission._tcp", "STARTTLS", false,
	    SMTP_STEPS("EHLO") },
	{ "lmtp", 24, NULL, "STARTTLS", false, SMTP_STEPS("LHLO") },
	/* RFC 3501 6.1.1, 6.2.1, 7.1; RFC 9051 */
	{ "imap", 143, "_imap._tcp", "STARTTLS", false, {
	    { STARTTLS_GREETING, STARTTLS_FRAME_LINE, NULL, 0, "* OK",
		"* BYE|* PREAUTH" },
	    { STARTTLS_LIST, STARTTLS_FRAME_TAGGED, "a1 CAPABILITY\r\n", 0,
		"a1 OK", "a1 NO|a1 BAD" },
	    { STARTTLS_COMMAND, STARTTLS_FRAME_TAGGED, "a2 STARTTLS\r\n", 0,
		"a2 OK", "a2 NO|a2 BAD" },
	    { STARTTLS_LIST_TLS, STARTTLS_FRAME_TAGGED, "a3 CAPABILITY\r\n",
		0, "a3 OK", "a3 NO|a3 BAD" },
	    { STARTTLS_END, STARTTLS_FRAME_TAGGED, "a4 LOGOUT\r\n", 0,
		"a4 OK", "a4 NO|a4 BAD" } } },
	/* RFC 1939, 2449 5, 2595 4 */
	{ "pop3", 110, "_pop3._tcp", "STLS", false, {
	    { STARTTLS_GREETING, STARTTLS_FRAME_LINE, NULL, 0, "+OK",
		"-ERR" },
	    { STARTTLS_LIST, STARTTLS_FRAME_DOTTED, "CAPA\r\n", 0, "+OK",
		"-ERR" },
	    { STARTTLS_COMMAND, STARTTLS_FRAME_LINE, "STLS\r\n", 0, "+OK",
		"-ERR" },
	    { STARTTLS_LIST_TLS, STARTTLS_FRAME_DOTTED, "CAPA\r\n", 0, "+OK",
		"-ERR" },
	    { STARTTLS_END, STARTTLS_FRAME_LINE, "QUIT\r\n", 0, "+OK",
		"-ERR" } } },
	/* RFC 3977 5.1, 5.2; RFC 4642 2.2 */
	{ "nntp", 119, NULL, "STARTTLS", false, {
	    { STARTTLS_GREETING, STARTTLS_FRAME_LINE, NULL, 0, "200|201",
		"4|5" },
	    { STARTTLS_LIST, STARTTLS_FRAME_DOTTED, "CAPABILITIES\r\n", 0,
		"101", "4|5" },
	    { STARTTLS_COMMAND, STARTTLS_FRAME_LINE, "STARTTLS\r\n", 0, "382",
		"4|5" },
	    { STARTTLS_LIST_TLS, STARTTLS_FRAME_DOTTED, "CAPABILITIES\r\n", 0,
		"101", "4|5" },
	    { STARTTLS_END, STARTTLS_FRAME_LINE, "QUIT\r\n", 0, "2",
		"4|5" } } },
	{ "xmpp-client", 5222, "_xmpp-client._tcp", "starttls", false,
	    XMPP_STEPS("xmlns='jabber:client'") },
	{ "xmpp-server", 5269, "_xmpp-server._tcp", "starttls", false,
	    XMPP_STEPS("from='%h' xmlns='jabber:server'") },
	/* SSLRequest: a length of 8 and 80877103.  Under TLS a Terminate would
	 * be taken for a startup packet: the end of TLS is the polite one. */
	{ "postgres", 5432, NULL, NULL, false, {
	    { STARTTLS_COMMAND, STARTTLS_FRAME_OCTET,
		"\0\0\0\10\4\322\26\57", 8, "S", "N|E" } } },
	/* TLS from the first octet, whatever comes then. */
	{ "none", 0, NULL, NULL, false, {
	    { STARTTLS_CONNECT, STARTTLS_FRAME_NONE, NULL, 0, NULL,
		NULL } } },
};

const struct starttls_row *
starttls_row_at(size_t i)
{
	return i < COUNT(rows) ? &rows[i] : NULL;
}

const struct starttls_row *
starttls_row(const char *name)
{
	for (size_t i = 0; i < COUNT(rows); i++)
		if (strcmp(rows[i].name, name) == 0)
			return &rows[i];
	return NULL;
}

static const struct {
	const char *name;
	int code;
} results[] = {
	[STARTTLS_OPEN] = { "open", EX_SOFTWARE },
	[STARTTLS_OK] = { "ok", EX_OK },
	[STARTTLS_UNREACHABLE] = { "unreachable", EX_TEMPFAIL },
	[STARTTLS_TIMEOUT] = { "timeout", EX_TEMPFAIL },
	[STARTTLS_CLOSED] = { "closed", EX_TEMPFAIL },
	[STARTTLS_TURNED_AWAY] = { "turned-away", EX_TEMPFAIL },
	[STARTTLS_GARBAGE] = { "garbage", EX_UNAVAILABLE },
	[STARTTLS_ABSENT] = { "absent", EX_UNAVAILABLE },
	[STARTTLS_REFUSED] = { "refused", EX_UNAVAILABLE },
	[STARTTLS_STRIPPED] = { "stripped", EX_UNAVAILABLE },
	[STARTTLS_INJECTED] = { "injected", EX_UNAVAILABLE },
	[STARTTLS_FAILED] = { "handshake-failed", EX_UNAVAILABLE },
	[STARTTLS_UNVERIFIED] = { "unverified", EX_UNAVAILABLE },
	[STARTTLS_NO_TLSA] = { "no-tlsa", EX_UNAVAILABLE },
	[STARTTLS_DNS] = { "dns", EX_TEMPFAIL },
};

const char *
starttls_result_name(enum starttls_result result)
{
	return (size_t)result < COUNT(results) ? results[result].name : "?";
}

int
starttls_exit_code(enum starttls_result result)
{
	return (size_t)result < COUNT(results) ? results[result].code :
		EX_SOFTWARE;
}

const char *
starttls_stage_name(enum starttls_stage stage)
{
	static const char *const names[] = {
		[STARTTLS_CONNECT] = "connect",
		[STARTTLS_GREETING] = "greeting",
		[STARTTLS_LIST] = "list",
		[STARTTLS_COMMAND] = "starttls",
		[STARTTLS_HANDSHAKE] = "handshake",
		[STARTTLS_LIST_TLS] = "list-tls",
		[STARTTLS_END] = "end",
	};

	return (size_t)stage < COUNT(names) ? names[stage] : "?";
}
