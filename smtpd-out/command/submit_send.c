/*
 * One message: read its header (and as much as fits in one buffer), ask the
 * service, stream the rest.  Memory does not depend on the size.
 */
#include "config.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/command/submit_client.h"
#include "smtpd-out/command/submit_send.h"
#include "smtpd-out/inject/inject_parse.h"

#define READ_BYTES (64U * 1024)
#define AHEAD_BYTES (256U * 1024)	/* read before the service is asked */
#define HEADER_BYTES (1024U * 1024)
#define FLIGHT 50			/* RCPT commands before replies */

struct message {
	const struct submit_args *args;
	struct submit_client client;
	struct submit_text text;	/* line ends of standard input */
	struct buf kept;		/* read and not yet sent, CRLF */
	bool eof;
	size_t head_len, body_at;	/* within kept */
	struct submit_list rcpts;	/* complete addresses */
	char *sender;			/* "" is null */
	char *user;			/* address of who runs this */
	bool utf8;			/* some address needs SMTPUTF8 */
	bool at_start;			/* the body sent ends in CRLF */
};

static int
complain(int code, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static int
complain(int code, const char *fmt, ...)
{
	va_list ap;

	(void)fputs("smtpd-out submit: ", stderr);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	return code;
}

/* ---- standard input -------------------------------------------------- */

/* One block into kept; EX_OK also at the end. */
static int
read_block(struct message *m)
{
	uint8_t block[READ_BYTES];
	enum status st;
	ssize_t n;

	do
		n = read(STDIN_FILENO, block, sizeof(block));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return complain(EX_IOERR, "standard input: %s",
			strerror(errno));
	st = n > 0 ? submit_text_feed(&m->text, block, (size_t)n, &m->kept) :
		submit_text_end(&m->text, &m->kept);
	m->eof = n == 0 || m->text.ended;
	return st == ST_OK ? EX_OK : complain(EX_DATAERR, "header too large");
}

/*
 * The header, and what follows up to a bound: most messages are then whole
 * before the service is asked, however slowly they are written.
 */
static int
read_ahead(struct message *m)
{
	enum status st = ST_AGAIN;
	int code = EX_OK;

	while (code == EX_OK && !m->eof &&
	    (st != ST_OK || m->kept.len < AHEAD_BYTES)) {
		code = read_block(m);
		st = submit_header_end((const char *)buf_data(&m->kept),
			m->kept.len, m->eof, &m->head_len, &m->body_at);
		if (st != ST_OK && m->kept.len > HEADER_BYTES)
			return complain(EX_DATAERR, "header too large");
	}
	return code;
}

/* ---- addresses ------------------------------------------------------- */

/*
 * Puts an address into the form the service wants: with a domain (its own
 * name when there is none), and with the domain as A-label when that spares
 * the need for SMTPUTF8.  NULL when it is malformed; *code_out tells which
 * half.
 */
static char *
complete(const struct message *m, const char *given, bool *utf8_out,
	int *code_out)
{
	char domain[STR_DOMAIN_MAX], path[INJECT_ADDRESS_BYTES + 1];
	const char *end, *at;
	size_t len = strlen(given), local;

	if (len > 1 && given[0] == '<' && given[len - 1] == '>') {
		given++;
		len -= 2;
	}
	end = given + len;
	at = memrchr(given, '@', len);
	*code_out = EX_NOUSER;
	if (len == 0 || len >= INJECT_ADDRESS_BYTES)
		return NULL;
	if (at == NULL || memchr(at, '"', (size_t)(end - at)) != NULL)
		(void)snprintf(path, sizeof(path), "%.*s@%s", (int)len, given,
			m->client.host);
	else
		(void)snprintf(path, sizeof(path), "%.*s", (int)len, given);
	if (str_address(path, &local, domain, utf8_out) != ST_OK) {
		(void)snprintf(path, sizeof(path), "x%.*s", at == NULL ? 0 :
			(int)(end - at), at == NULL ? "" : at);
		if (at != NULL && str_address(path, &local, domain, utf8_out)
		    != ST_OK)
			*code_out = EX_NOHOST;
		return NULL;
	}
	if (!*utf8_out)
		return xstrdup(path);
	path[local] = '\0';
	*utf8_out = !str_is_ascii(path);
	if (!*utf8_out)
		return xasprintf("%s@%s", path, domain);
	path[local] = '@';
	return xstrdup(path);
}

static int
add_rcpt(struct message *m, const char *given)
{
	bool utf8 = false;
	int code;
	char *address = complete(m, given, &utf8, &code);

	if (address == NULL)
		return complain(code, "bad recipient address \"%s\"", given);
	m->utf8 |= utf8;
	submit_list_add(&m->rcpts, address, strlen(address));
	free(address);
	return EX_OK;
}

/* On the command line a word may be a list (sendmail's habit). */
static int
add_word(struct message *m, const char *word)
{
	struct submit_list list = { NULL, 0 };
	int code = EX_OK;

	if (submit_addresses(word, strlen(word), &list) != ST_OK ||
	    list.count == 0)
		code = complain(EX_NOUSER, "bad recipient address \"%s\"",
			word);
	for (size_t i = 0; i < list.count && code == EX_OK; i++)
		code = add_rcpt(m, list.items[i]);
	submit_list_clear(&list);
	return code;
}

static int
add_header_rcpts(struct message *m)
{
	struct submit_list list = { NULL, 0 };
	char field[32];
	int code = EX_OK;

	if (submit_header_rcpts((const char *)buf_data(&m->kept), m->head_len,
	    &list, field) != ST_OK)
		code = complain(EX_DATAERR, "malformed address in %s", field);
	for (size_t i = 0; i < list.count && code == EX_OK; i++)
		code = add_rcpt(m, list.items[i]);
	submit_list_clear(&list);
	return code;
}

static int
gather_rcpts(struct message *m)
{
	int code = EX_OK;

	for (size_t i = 0; i < m->args->rcpt_count && code == EX_OK; i++)
		code = add_word(m, m->args->rcpts[i]);
	if (code == EX_OK && m->args->rcpts_from_header)
		code = add_header_rcpts(m);
	if (code == EX_OK && m->rcpts.count == 0)
		code = complain(EX_DATAERR, "no recipient in the message");
	return code;
}

/* The user's own address; it cannot be malformed in a way that matters. */
static char *
user_address(const struct message *m)
{
	const struct passwd *pw = getpwuid(getuid());
	bool utf8;
	char user[32], *address = NULL;
	int code;

	if (pw != NULL)
		address = complete(m, pw->pw_name, &utf8, &code);
	if (address != NULL)
		return address;
	(void)snprintf(user, sizeof(user), "uid-%lu",
		(unsigned long)getuid());
	return complete(m, user, &utf8, &code);
}

static int
find_sender(struct message *m)
{
	const char *given = m->args->sender;
	bool utf8 = false;
	int code;

	m->user = user_address(m);
	if (given == NULL)
		m->sender = xstrdup(m->user == NULL ? "" : m->user);
	else if (*given == '\0' || strcmp(given, "<>") == 0)
		m->sender = xstrdup("");
	else
		m->sender = complete(m, given, &utf8, &code);
	if (m->sender == NULL)
		return complain(code, "bad sender address \"%s\"", given);
	m->utf8 |= utf8;
	return EX_OK;
}

/* ---- dialogue -------------------------------------------------------- */

/* What the last reply means for the caller of this command. */
static int
refused(const struct message *m, const char *what)
{
	const struct submit_client *c = &m->client;
	int code = EX_TEMPFAIL;

	if (c->code / 100 == 5)
		code = EX_UNAVAILABLE;
	/* Trying this again later would not help. */
	if (strncmp(c->text, "4.5.3", 5) == 0)
		code = EX_UNAVAILABLE;
	if (strncmp(c->text, "5.1.", 4) == 0)
		code = EX_NOUSER;
	if (c->code == 0)
		return complain(code, "%s: %s", what, c->text);
	return complain(code, "%s: %d %s", what, c->code, c->text);
}

static int
greet(struct message *m, const char *socket_path)
{
	struct submit_client *c = &m->client;

	if (submit_client_open(c, socket_path) != ST_OK)
		return complain(EX_TEMPFAIL, "service is not there: %s: %s",
			socket_path, strerror(errno));
	if (!submit_client_reply(c) || c->code != 220)
		return refused(m, "greeting");
	(void)snprintf(c->host, sizeof(c->host), "%.*s",
		(int)strcspn(c->text, " "), c->text);
	if (!str_is_domain(c->host)) {
		c->code = 0;
		return refused(m, "greeting");
	}
	if (!submit_client_ask(c, "EHLO localhost\r\n", 2))
		return refused(m, "EHLO");
	/* Sending without it would break the promise the caller asked for. */
	if (m->args->require_tls && !c->requiretls)
		return complain(EX_UNAVAILABLE, "--require-tls: the service "
			"at %s does not offer REQUIRETLS, message not sent",
			socket_path);
	return EX_OK;
}

static int
say_mail(struct message *m)
{
	const struct submit_args *a = m->args;
	char envid[INJECT_ENVID_BYTES] = "", line[2048];

	if (a->ret != NULL && strcasecmp(a->ret, "full") != 0 &&
	    strcasecmp(a->ret, "hdrs") != 0)
		return complain(EX_USAGE, "-R: must be full or hdrs");
	if (a->envid != NULL && str_xtext_encode(a->envid, envid,
	    sizeof(envid)) != ST_OK)
		return complain(EX_USAGE, "-V: too long");
	(void)snprintf(line, sizeof(line), "MAIL FROM:<%s>%s%s%s%s%s%s\r\n",
		m->sender, m->utf8 ? " SMTPUTF8" : "",
		a->require_tls ? " REQUIRETLS" : "",
		a->ret == NULL ? "" : " RET=", a->ret == NULL ? "" : a->ret,
		envid[0] == '\0' ? "" : " ENVID=", envid);
	return submit_client_ask(&m->client, line, 2) ? EX_OK :
		refused(m, m->sender);
}

/* Checked here, so that the fault is the command line's. */
static bool
notify_ok(const char *notify)
{
	struct inject_rcpt parsed;
	char line[256];

	if (strpbrk(notify, " \t") != NULL ||
	    snprintf(line, sizeof(line), "TO:<a@b> NOTIFY=%s", notify) >=
	    (int)sizeof(line))
		return false;
	return inject_parse_rcpt(line, "b", &parsed) == REPLY_NONE;
}

/* RCPT commands go out in flights, so that neither side waits for the other
 * with full buffers. */
static int
say_rcpts(struct message *m)
{
	const char *notify = m->args->notify;
	int code = EX_OK;

	if (notify != NULL && !notify_ok(notify))
		return complain(EX_USAGE, "-N: must be never, or some of "
			"success,failure,delay");
	for (size_t at = 0; at < m->rcpts.count; at += FLIGHT) {
		size_t end = m->rcpts.count - at < FLIGHT ? m->rcpts.count :
			at + FLIGHT;

		for (size_t i = at; i < end; i++) {
			char line[1024];
			int n = snprintf(line, sizeof(line),
				"RCPT TO:<%s>%s%s\r\n", m->rcpts.items[i],
				notify == NULL ? "" : " NOTIFY=",
				notify == NULL ? "" : notify);

			(void)submit_client_put(&m->client, line, (size_t)n);
		}
		for (size_t i = at; i < end; i++) {
			if (submit_client_reply(&m->client) &&
			    m->client.code / 100 == 2)
				continue;
			code = refused(m, m->rcpts.items[i]);
			if (m->client.code == 0)
				return code;
		}
	}
	return code;
}

/* ---- the text -------------------------------------------------------- */

static void
make_message_id(const struct message *m, char *out, size_t out_bytes)
{
	uint64_t salt = 0;
	char when[STR_ID_MAX], rand[STR_ID_MAX];

	/* Without it the id is still unique among this host's processes. */
	if (getrandom(&salt, sizeof(salt), 0) != (ssize_t)sizeof(salt))
		salt = (uint64_t)getpid();
	str_id_format((uint64_t)clock_wall_us(), when);
	str_id_format(salt, rand);
	(void)snprintf(out, out_bytes, "<%s.%s@%s>", when, rand,
		m->client.host);
}

/* The name in the password file up to the first comma. */
static const char *
user_name(char *out, size_t out_bytes)
{
	const struct passwd *pw = getpwuid(getuid());
	size_t len = pw == NULL || pw->pw_gecos == NULL ? 0 :
		strcspn(pw->pw_gecos, ",");

	if (len == 0)
		return NULL;
	(void)snprintf(out, out_bytes, "%.*s", (int)len, pw->pw_gecos);
	return out;
}

static bool
send_header(struct message *m)
{
	char date[40], message_id[320], name[256];
	const struct submit_fill fill = {
		.from = m->sender[0] != '\0' ? m->sender : m->user,
		.full_name = m->args->full_name != NULL ? m->args->full_name :
			m->args->sender == NULL ?
			user_name(name, sizeof(name)) : NULL,
		.date = date,
		.message_id = message_id,
	};
	bool start = true, ok;
	struct buf head, stuffed;

	str_date(clock_wall_s(), date);
	make_message_id(m, message_id, sizeof(message_id));
	buf_init(&head, m->head_len + 4096);
	buf_init(&stuffed, 2 * (m->head_len + 4096));
	ok = submit_header_edit((const char *)buf_data(&m->kept), m->head_len,
		&fill, &head) == ST_OK &&
		submit_stuff(buf_data(&head), head.len, &start, &stuffed) ==
		ST_OK &&
		submit_client_put(&m->client, buf_data(&stuffed),
		stuffed.len);
	buf_clear(&head);
	buf_clear(&stuffed);
	return ok;
}

static bool
send_kept(struct message *m)
{
	struct buf stuffed;
	bool ok;

	buf_init(&stuffed, 2 * m->kept.len);
	ok = submit_stuff(buf_data(&m->kept), m->kept.len, &m->at_start,
		&stuffed) == ST_OK && submit_client_put(&m->client,
		buf_data(&stuffed), stuffed.len);
	buf_drain(&m->kept, m->kept.len);
	buf_clear(&stuffed);
	return ok;
}

static int
send_text(struct message *m)
{
	bool ok = send_header(m);
	int code = EX_OK;

	buf_drain(&m->kept, m->body_at);
	ok = ok && send_kept(m);
	while (ok && !m->eof && code == EX_OK) {
		code = read_block(m);
		ok = send_kept(m);
	}
	/* Half a message must not be taken for a whole one: just go. */
	if (code != EX_OK)
		return code;
	if (ok)
		(void)submit_client_put(&m->client, ".\r\n", 3);
	if (!submit_client_reply(&m->client) || m->client.code / 100 != 2)
		return refused(m, "message");
	return EX_OK;
}

static int
deliver(struct message *m, const char *socket_path)
{
	int code = read_ahead(m);

	if (code == EX_OK)
		code = greet(m, socket_path);
	if (code == EX_OK)
		code = gather_rcpts(m);
	if (code == EX_OK)
		code = find_sender(m);
	if (code == EX_OK)
		code = say_mail(m);
	if (code == EX_OK)
		code = say_rcpts(m);
	if (code == EX_OK && !submit_client_ask(&m->client, "DATA\r\n", 3))
		code = refused(m, "DATA");
	if (code == EX_OK)
		code = send_text(m);
	if (code == EX_OK)
		(void)submit_client_put(&m->client, "QUIT\r\n", 6);
	return code;
}

int
submit_send(const struct submit_args *args, const char *socket_path)
{
	struct message m = {
		.args = args,
		.client = { .fd = -1 },
		.text = { .ignore_dots = args->ignore_dots },
		.at_start = true,
	};
	int code;

	if (args->rcpt_count == 0 && !args->rcpts_from_header)
		return complain(EX_USAGE, "no recipients given");
	buf_init(&m.kept, HEADER_BYTES + 4 * READ_BYTES);
	code = deliver(&m, socket_path);
	submit_client_close(&m.client);
	submit_list_clear(&m.rcpts);
	buf_clear(&m.kept);
	free(m.sender);
	free(m.user);
	return code;
}
