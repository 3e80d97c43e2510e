/*
 * The commands of a submitter's session: one table, and what each does.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/inject/inject_session_int.h"

/* ---- greeting -------------------------------------------------------- */

static bool
hello(struct inject_session *s, const char *args, bool extended)
{
	enum inject_reply fault = inject_parse_helo(args, s->helo);

	if (fault != REPLY_NONE) {
		inject_error(s, fault);
		return false;
	}
	/* RFC 5321 4.1.4: a later EHLO resets like RSET. */
	inject_txn_clear(s);
	s->extended = extended;
	inject_set_state(s, INJECT_READY);
	return true;
}

static void
cmd_helo(struct inject_session *s, const char *args)
{
	if (hello(s, args, false))
		inject_say_text(s, 250, NULL, s->args.conf->hostname);
}

/* RFC 8689 section 2: only where nobody else can read along. */
static bool
offers_requiretls(const struct inject_session *s)
{
	return s->tls_active ||
		s->args.listen->addr.addr.ss_family == AF_UNIX;
}

static void
cmd_ehlo(struct inject_session *s, const char *args)
{
	char text[512];

	if (!hello(s, args, true))
		return;
	/* Also the keywords of LHLO; the last two of the three required by
	 * RFC 2033 section 4 are here. */
	(void)snprintf(text, sizeof(text), "250-%s\r\n250-PIPELINING\r\n"
		"250-SIZE %llu\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
		"250-DSN\r\n250-CHUNKING\r\n%s%s250 ENHANCEDSTATUSCODES\r\n",
		s->args.conf->hostname,
		(unsigned long long)s->args.conf->limit.message_bytes,
		s->args.starttls && !s->tls_active ? "250-STARTTLS\r\n" : "",
		offers_requiretls(s) ? "250-REQUIRETLS\r\n" : "");
	if (buf_puts(&s->out, text) != ST_OK)
		inject_close(s, REPLY_ERRORS);
}

/* ---- transaction ----------------------------------------------------- */

/* Memory of envelopes counts like that of bodies. */
static void
account(struct inject_session *s, size_t bytes)
{
	s->txn.pooled_bytes += bytes;
	s->args.pool->used_bytes += bytes;
}

static bool
memory_short(const struct inject_session *s)
{
	/* Bodies go to files at the mark; envelopes cannot, so they may go
	 * beyond it, up to twice. */
	return s->args.pool->used_bytes / 2 > s->args.pool->max_bytes;
}

static void
cmd_mail(struct inject_session *s, const char *args)
{
	struct inject_mail mail;
	enum inject_reply fault = inject_parse_mail(args, &mail);

	if (fault == REPLY_NONE &&
	    mail.size_bytes > s->args.conf->limit.message_bytes)
		fault = REPLY_SIZE;	/* RFC 1870 6.1 */
	if (fault == REPLY_NONE && mail.require_tls && !offers_requiretls(s))
		fault = REPLY_REQUIRETLS;
	if (fault == REPLY_NONE && memory_short(s))
		fault = REPLY_MEMORY;
	if (fault != REPLY_NONE) {
		inject_error(s, fault);
		return;
	}
	s->txn.env = envelope_new(mail.sender);
	s->txn.env->origin = xstrdup(s->origin);
	s->txn.env->ret = mail.ret;
	if (mail.envid[0] != '\0')
		s->txn.env->envid = xstrdup(mail.envid);
	s->txn.smtputf8 = mail.smtputf8;
	if (mail.smtputf8)
		s->txn.env->flags |= ENVELOPE_SMTPUTF8;
	if (mail.require_tls)
		s->txn.env->flags |= ENVELOPE_REQUIRETLS;
	account(s, sizeof(*s->txn.env) + strlen(mail.sender) + 256);
	inject_set_state(s, INJECT_MAIL);
	inject_say(s, REPLY_SENDER_OK);
}

static uint64_t
hash_bytes(uint64_t hash, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)bytes[i]) * 1099511628211ULL;
	return hash;
}

/* Local parts are compared as they are (RFC 5321 2.4), domains normalised. */
static bool
is_duplicate(const struct inject_session *s, const struct inject_rcpt *rcpt,
	uint64_t hash)
{
	const struct envelope *env = s->txn.env;

	for (size_t i = 0; i < env->rcpt_count; i++)
		if (s->txn.hashes[i] == hash &&
		    strcmp(env->rcpts[i].destination, rcpt->destination) ==
		    0 && strncmp(env->rcpts[i].address, rcpt->address,
		    rcpt->local_len + 1) == 0)
			return true;
	return false;
}

static void
add_rcpt(struct inject_session *s, const struct inject_rcpt *rcpt)
{
	struct envelope *env = s->txn.env;
	size_t n = env->rcpt_count;
	uint64_t hash = hash_bytes(14695981039346656037ULL, rcpt->address,
		rcpt->local_len + 1);
	struct envelope_rcpt *to;

	hash = hash_bytes(hash, rcpt->destination, strlen(rcpt->destination));
	if (is_duplicate(s, rcpt, hash))
		return;
	if ((n & (n - 1)) == 0)
		s->txn.hashes = xrealloc_n(s->txn.hashes, n == 0 ? 1 : n * 2,
			sizeof(s->txn.hashes[0]));
	s->txn.hashes[n] = hash;
	to = envelope_add_rcpt(env, rcpt->address, rcpt->destination);
	to->notify = rcpt->notify;
	if (rcpt->orcpt[0] != '\0')
		to->orcpt = xstrdup(rcpt->orcpt);
	account(s, 2 * (sizeof(*to) + sizeof(hash)) + 64 +
		strlen(rcpt->address) + strlen(rcpt->destination) +
		strlen(rcpt->orcpt));
}

static void
cmd_rcpt(struct inject_session *s, const char *args)
{
	struct inject_rcpt rcpt;
	enum inject_reply fault = inject_parse_rcpt(args,
		s->args.conf->hostname, &rcpt);

	if (fault == REPLY_NONE && rcpt.address_utf8 && !s->txn.smtputf8)
		fault = REPLY_UTF8_RCPT;
	if (fault == REPLY_NONE &&
	    s->txn.rcpt_replies >= s->args.conf->limit.recipients)
		fault = REPLY_RCPT_LIMIT;
	if (fault == REPLY_NONE && memory_short(s))
		fault = REPLY_MEMORY;
	if (fault != REPLY_NONE) {
		inject_error(s, fault);
		return;
	}
	add_rcpt(s, &rcpt);
	s->txn.rcpt_replies++;
	if (s->state == INJECT_MAIL)
		inject_set_state(s, INJECT_RCPT);
	inject_say(s, REPLY_RCPT_OK);
}

static void
cmd_data(struct inject_session *s, const char *args)
{
	(void)args;
	inject_body_begin(s);
	inject_set_state(s, INJECT_DATA);
	inject_say(s, REPLY_START_DATA);
}

/*
 * RFC 3030.  The octets of a chunk follow the command whatever is thought of
 * it, so they are read (and dropped) in every state.  A command whose size
 * cannot be read leaves nothing but closing: the octets must not be taken
 * for commands.
 */
static void
cmd_bdat(struct inject_session *s, const char *args)
{
	uint64_t size;
	bool last;

	if (inject_parse_bdat(args, &size, &last) != REPLY_NONE) {
		inject_close(s, REPLY_BDAT_SYNTAX);
		return;
	}
	s->chunk_left = size;
	s->chunk_last = last;
	s->chunk_fault = s->state == INJECT_RCPT || s->state == INJECT_BDAT ?
		REPLY_NONE : s->state == INJECT_GREETED ? REPLY_HELLO_FIRST :
		s->state == INJECT_READY ? REPLY_NO_MAIL : REPLY_NO_RCPT;
	s->chunk_from = s->state;
	if (s->state == INJECT_RCPT)
		inject_body_begin(s);
	inject_set_state(s, INJECT_CHUNK);
	s->txn.body.chunked = s->chunk_fault == REPLY_NONE;
	inject_chunk_step(s);
}

static void
cmd_rset(struct inject_session *s, const char *args)
{
	(void)args;
	inject_txn_clear(s);
	if (s->state != INJECT_GREETED)
		inject_set_state(s, INJECT_READY);
	inject_say(s, REPLY_RESET);
}

/* ---- the rest -------------------------------------------------------- */

static void
cmd_noop(struct inject_session *s, const char *args)
{
	(void)args;
	inject_say(s, REPLY_OK);
}

static void
cmd_help(struct inject_session *s, const char *args)
{
	(void)args;
	inject_say(s, REPLY_HELP);
}

static void
cmd_vrfy(struct inject_session *s, const char *args)
{
	if (args[strspn(args, " \t")] == '\0')
		inject_error(s, REPLY_PARAM);
	else
		inject_say(s, REPLY_VRFY);
}

static void
cmd_quit(struct inject_session *s, const char *args)
{
	(void)args;
	inject_close(s, REPLY_BYE);
}

static void
cmd_not_offered(struct inject_session *s, const char *args)
{
	(void)args;
	inject_error(s, REPLY_NOT_OFFERED);
}

static void
cmd_starttls(struct inject_session *s, const char *args)
{
	(void)args;
	if (!s->args.starttls) {
		inject_error(s, REPLY_NOT_OFFERED);
		return;
	}
	if (s->tls_active || s->state != INJECT_READY) {
		inject_error(s, s->state == INJECT_GREETED ?
			REPLY_HELLO_FIRST : REPLY_SEQUENCE);
		return;
	}
	inject_say(s, REPLY_START_TLS);
	inject_set_state(s, INJECT_STARTTLS);
}

/* A browser can be made to send a request, with SMTP in its body, to a port on
 * this machine: do not read on. */
static void
cmd_not_smtp(struct inject_session *s, const char *args)
{
	(void)args;
	log_warn("inject_not_smtp", "client", s->origin, NULL);
	inject_close(s, REPLY_NOT_SMTP);
}

#define BIT(state) (1U << INJECT_##state)
#define ANY (BIT(GREETED) | BIT(READY) | BIT(MAIL) | BIT(RCPT) | BIT(BDAT))
#define SMTP (1U << CONF_SMTP)
#define LMTP (1U << CONF_LMTP)
#define BOTH (SMTP | LMTP)

/*
 * Lengths without CRLF: 512 octets (RFC 5321 4.5.3.1.4), more where extensions
 * grant it: MAIL 26 SIZE, 17 BODY, 10 SMTPUTF8, 11 REQUIRETLS, 116 DSN; RCPT
 * 529 DSN; and twice that for a path in UTF-8.
 */
/* clang-format off */
static const struct command_row {
	const char *name;
	unsigned protocols;
	unsigned states;		/* permitted here; else: */
	enum inject_reply misplaced;
	bool no_args;
	size_t max_bytes;
	void (*handle)(struct inject_session *, const char *args);
} commands[] = {
	{ "EHLO", SMTP, ANY, REPLY_NONE, false, 510, cmd_ehlo },
	{ "HELO", SMTP, ANY, REPLY_NONE, false, 510, cmd_helo },
	{ "LHLO", LMTP, ANY, REPLY_NONE, false, 510, cmd_ehlo },
	{ "MAIL", BOTH, BIT(READY), REPLY_NESTED_MAIL, false, 1200, cmd_mail },
	{ "RCPT", BOTH, BIT(MAIL) | BIT(RCPT), REPLY_NO_MAIL, false, 1600,
		cmd_rcpt },
	{ "DATA", BOTH, BIT(RCPT), REPLY_NO_RCPT, true, 510, cmd_data },
	{ "BDAT", BOTH, ANY, REPLY_NONE, false, 510, cmd_bdat },
	{ "RSET", BOTH, ANY, REPLY_NONE, true, 510, cmd_rset },
	{ "NOOP", BOTH, ANY, REPLY_NONE, false, 510, cmd_noop },
	{ "HELP", BOTH, ANY, REPLY_NONE, false, 510, cmd_help },
	{ "VRFY", BOTH, ANY, REPLY_NONE, false, 1020, cmd_vrfy },
	{ "QUIT", BOTH, ANY, REPLY_NONE, true, 510, cmd_quit },
	{ "EXPN", BOTH, ANY, REPLY_NONE, false, 510, cmd_not_offered },
	{ "AUTH", BOTH, ANY, REPLY_NONE, false, 2040, cmd_not_offered },
	{ "STARTTLS", BOTH, ANY, REPLY_NONE, true, 510, cmd_starttls },
	{ "ETRN", BOTH, ANY, REPLY_NONE, false, 510, cmd_not_offered },
	{ "TURN", BOTH, ANY, REPLY_NONE, false, 510, cmd_not_offered },
	{ "GET", BOTH, ANY, REPLY_NONE, false, 2048, cmd_not_smtp },
	{ "POST", BOTH, ANY, REPLY_NONE, false, 2048, cmd_not_smtp },
	{ "PUT", BOTH, ANY, REPLY_NONE, false, 2048, cmd_not_smtp },
	{ "HEAD", BOTH, ANY, REPLY_NONE, false, 2048, cmd_not_smtp },
	{ "OPTIONS", BOTH, ANY, REPLY_NONE, false, 2048, cmd_not_smtp },
	{ "CONNECT", BOTH, ANY, REPLY_NONE, false, 2048, cmd_not_smtp },
};
/* clang-format on */

static const struct command_row *
find(const char *line, size_t word)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strlen(commands[i].name) == word &&
		    strncasecmp(commands[i].name, line, word) == 0)
			return &commands[i];
	return NULL;
}

static enum inject_reply
command_fault(const struct inject_session *s, const struct command_row *row,
	const char *line, const char *args)
{
	if (row == NULL ||
	    (row->protocols & 1U << s->args.listen->protocol) == 0)
		return REPLY_UNKNOWN;
	if (strlen(line) > row->max_bytes)
		return REPLY_LINE_LONG;
	if ((row->states & 1U << s->state) == 0)
		return s->state == INJECT_GREETED ? REPLY_HELLO_FIRST :
			s->state == INJECT_BDAT ? REPLY_SEQUENCE :
			row->misplaced;
	if (row->no_args && args[strspn(args, " \t")] != '\0')
		return REPLY_ARGUMENT;
	return REPLY_NONE;
}

void
inject_command(struct inject_session *s, const char *line)
{
	size_t word = strcspn(line, " \t");
	const struct command_row *row = find(line, word);
	enum inject_reply fault = command_fault(s, row, line, line + word);

	if (log_enabled(LOG_LEVEL_DEBUG)) {
		char id[STR_ID_MAX];

		str_id_format(s->args.id, id);
		log_debug("inject_command", "session", id, "line", line,
			NULL);
	}
	if (fault != REPLY_NONE)
		inject_error(s, fault);
	else
		row->handle(s, line + word);
}
