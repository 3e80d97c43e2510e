/*
 * Arguments of MAIL, RCPT, BDAT and EHLO.
 *
 *	mail   = "FROM:" path *( SP param )
 *	rcpt   = "TO:" path *( SP param )
 *	path   = "<" [ route ":" ] mailbox ">" / "<>"	(RFC 5321 4.1.2)
 *	route  = "@" domain *( "," "@" domain )		(obsolete, dropped)
 *	param  = keyword [ "=" value ]
 *
 * Lenient in two places that local programs get wrong and that do no harm:
 * spaces after the colon, and a path without the angle brackets.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "smtpd-out/inject/inject_parse.h"

#define PARAM_BYTES 600		/* longest keyword=value: ORCPT */

/* ---- paths ----------------------------------------------------------- */

static const char *
skip_space(const char *text)
{
	while (*text == ' ' || *text == '\t')
		text++;
	return text;
}

/* The '>' that ends a path; a quoted local part may hold one. */
static const char *
path_end(const char *text)
{
	bool quoted = false;

	for (; *text != '\0'; text++) {
		if (quoted && *text == '\\' && text[1] != '\0')
			text++;
		else if (*text == '"')
			quoted = !quoted;
		else if (*text == '>' && !quoted)
			return text;
	}
	return NULL;
}

/*
 * Copies the path that starts at text and returns what follows it, or NULL
 * when there is none that fits.
 */
static const char *
take_path(const char *text, char *out, size_t out_bytes)
{
	const char *end;
	size_t len;

	text = skip_space(text);
	if (*text == '<') {
		end = path_end(++text);
		if (end == NULL)
			return NULL;
	} else {
		end = text + strcspn(text, " \t");
		if (end == text)
			return NULL;
	}
	len = (size_t)(end - text);
	if (len >= out_bytes)
		return NULL;
	memcpy(out, text, len);
	out[len] = '\0';
	if (*end == '>')
		end++;
	return *end == '\0' || *end == ' ' || *end == '\t' ? end : NULL;
}

/* Removes a source route in place (RFC 5321 appendix C: ignored). */
static bool
strip_route(char *path)
{
	char domain[STR_DOMAIN_MAX], name[STR_DOMAIN_MAX + 2];
	const char *p = path;

	if (*p != '@')
		return true;
	for (;;) {
		size_t len = strcspn(++p, ",:");

		if (len >= sizeof(name))
			return false;
		memcpy(name, p, len);
		name[len] = '\0';
		if (str_domain(name, domain) != ST_OK)
			return false;
		p += len;
		if (*p == ':')
			break;
		if (*p != ',' || *++p != '@')
			return false;
	}
	memmove(path, p + 1, strlen(p + 1) + 1);
	return true;
}

/* ---- parameters ------------------------------------------------------ */

struct params {			/* where the handlers put what they find */
	struct inject_mail *mail;
	struct inject_rcpt *rcpt;
};

static bool
param_size(const char *value, struct params *to)
{
	unsigned long long n;

	/* RFC 1870 section 4: 1*20DIGIT; strtoull() saturates. */
	if (*value == '\0' || strlen(value) > 20 ||
	    strspn(value, "0123456789") != strlen(value))
		return false;
	n = strtoull(value, NULL, 10);
	to->mail->size_bytes = n;
	return true;
}

static bool
param_body(const char *value, struct params *to)
{
	/* What the body is we see ourselves.  BINARYMIME is not offered. */
	(void)to;
	return strcasecmp(value, "8BITMIME") == 0 ||
		strcasecmp(value, "7BIT") == 0;
}

static bool
param_smtputf8(const char *value, struct params *to)
{
	to->mail->smtputf8 = true;
	return value == NULL;
}

static bool
param_requiretls(const char *value, struct params *to)
{
	to->mail->require_tls = true;
	return value == NULL;
}

static bool
param_ret(const char *value, struct params *to)
{
	to->mail->ret = strcasecmp(value, "FULL") == 0 ? RET_FULL :
		strcasecmp(value, "HDRS") == 0 ? RET_HDRS : RET_NONE;
	return to->mail->ret != RET_NONE;
}

static bool
param_envid(const char *value, struct params *to)
{
	char plain[INJECT_ENVID_BYTES];

	return *value != '\0' &&
		str_xtext_decode(value, plain, sizeof(plain)) == ST_OK &&
		str_copy(to->mail->envid, sizeof(to->mail->envid), value);
}

/* NOTIFY = "NEVER" / 1#( "SUCCESS" / "FAILURE" / "DELAY" ) (RFC 3461 4.1) */
static bool
param_notify(const char *value, struct params *to)
{
	static const struct {
		const char *name;
		unsigned bit;
	} words[] = {
		{ "NEVER", NOTIFY_NEVER },
		{ "SUCCESS", NOTIFY_SUCCESS },
		{ "FAILURE", NOTIFY_FAILURE },
		{ "DELAY", NOTIFY_DELAY },
	};
	unsigned bits = 0;

	for (;;) {
		size_t len = strcspn(value, ","), i = 0;

		while (i < 4 && (strlen(words[i].name) != len ||
		    strncasecmp(words[i].name, value, len) != 0))
			i++;
		if (i == 4)
			return false;
		bits |= words[i].bit;
		value += len;
		if (*value == '\0')
			break;
		value++;
	}
	to->rcpt->notify = bits;
	return (bits & NOTIFY_NEVER) == 0 || bits == NOTIFY_NEVER;
}

/* ORCPT = addr-type ";" xtext; type utf-8 has its own coding (RFC 6533 3). */
static bool
param_orcpt(const char *value, struct params *to)
{
	char plain[INJECT_ORCPT_BYTES];
	size_t type = strcspn(value, ";");
	const char *text = value + type + 1;

	if (type == 0 || value[type] != ';' || *text == '\0')
		return false;
	for (size_t i = 0; i < type; i++)
		if (strchr("()<>@,:\\\".[]=+", value[i]) != NULL ||
		    (unsigned char)value[i] < 33 ||
		    (unsigned char)value[i] > 126)
			return false;
	if (type == 5 && strncasecmp(value, "utf-8", 5) == 0) {
		if (!str_is_utf8(text, strlen(text)) ||
		    strpbrk(text, "=+") != NULL)
			return false;
	} else if (str_xtext_decode(text, plain, sizeof(plain)) != ST_OK) {
		return false;
	}
	return str_copy(to->rcpt->orcpt, sizeof(to->rcpt->orcpt), value);
}

static const struct param_row {
	const char *name;
	bool of_mail;		/* else of RCPT */
	bool has_value;
	bool (*parse)(const char *value, struct params *);
} param_rows[] = {
	{ "SIZE", true, true, param_size },
	{ "BODY", true, true, param_body },
	{ "SMTPUTF8", true, false, param_smtputf8 },
	{ "REQUIRETLS", true, false, param_requiretls },
	{ "RET", true, true, param_ret },
	{ "ENVID", true, true, param_envid },
	{ "NOTIFY", false, true, param_notify },
	{ "ORCPT", false, true, param_orcpt },
};

#define PARAM_COUNT (sizeof(param_rows) / sizeof(param_rows[0]))

static enum inject_reply
parse_param(const char *text, struct params *to, unsigned *seen)
{
	size_t len = strcspn(text, "=");
	const char *value = text[len] == '=' ? text + len + 1 : NULL;

	for (size_t i = 0; i < PARAM_COUNT; i++) {
		const struct param_row *row = &param_rows[i];

		if (row->of_mail != (to->mail != NULL) ||
		    strlen(row->name) != len ||
		    strncasecmp(row->name, text, len) != 0)
			continue;
		/* A parameter given twice has no defined meaning. */
		if ((*seen & 1U << i) != 0 ||
		    row->has_value != (value != NULL))
			return REPLY_PARAM;
		*seen |= 1U << i;
		return row->parse(value, to) ? REPLY_NONE : REPLY_PARAM;
	}
	return REPLY_PARAM_UNKNOWN;
}

static enum inject_reply
parse_params(const char *text, struct params *to)
{
	char param[PARAM_BYTES];
	unsigned seen = 0;

	for (text = skip_space(text); *text != '\0'; text = skip_space(text)) {
		size_t len = strcspn(text, " \t");
		enum inject_reply fault;

		if (len >= sizeof(param))
			return REPLY_PARAM;
		memcpy(param, text, len);
		param[len] = '\0';
		fault = parse_param(param, to, &seen);
		if (fault != REPLY_NONE)
			return fault;
		text += len;
	}
	return REPLY_NONE;
}

/* ---- commands -------------------------------------------------------- */

static bool
has_control(const char *text)
{
	for (; *text != '\0'; text++)
		if (((unsigned char)*text < 32 && *text != '\t') ||
		    *text == 127)
			return true;
	return false;
}

/* What follows "FROM:" or "TO:", or NULL. */
static const char *
after_word(const char *args, const char *word)
{
	args = skip_space(args);
	if (has_control(args) || strncasecmp(args, word, strlen(word)) != 0)
		return NULL;
	return args + strlen(word);
}

enum inject_reply
inject_parse_mail(const char *args, struct inject_mail *out)
{
	char domain[STR_DOMAIN_MAX], path[1024];
	struct params to = { .mail = out };
	const char *rest = after_word(args, "FROM:");
	enum inject_reply fault;
	size_t local;

	memset(out, 0, sizeof(*out));
	if (rest != NULL)
		rest = take_path(rest, path, sizeof(path));
	if (rest == NULL)
		return REPLY_MAIL_SYNTAX;
	fault = parse_params(rest, &to);
	if (fault != REPLY_NONE)
		return fault;
	if (path[0] == '\0')
		return REPLY_NONE;
	if (!strip_route(path))
		return REPLY_SENDER_BAD;
	if (strchr(path, '@') == NULL)
		return REPLY_SENDER_NO_DOMAIN;
	if (str_address(path, &local, domain, &out->address_utf8) != ST_OK ||
	    local == 0 || !str_copy(out->sender, sizeof(out->sender), path))
		return REPLY_SENDER_BAD;
	if (out->address_utf8 && !out->smtputf8)
		return REPLY_UTF8_SENDER;
	return REPLY_NONE;
}

static enum inject_reply
rcpt_address(char *path, size_t path_bytes, const char *hostname,
	struct inject_rcpt *out)
{
	if (!strip_route(path))
		return REPLY_RCPT_BAD;
	if (strcasecmp(path, "postmaster") == 0) {
		size_t len = strlen(path);

		path[len++] = '@';
		if (!str_copy(path + len, path_bytes - len, hostname))
			return REPLY_RCPT_BAD;
	}
	if (strchr(path, '@') == NULL)
		return path[0] == '\0' ? REPLY_RCPT_BAD : REPLY_RCPT_NO_DOMAIN;
	if (str_address(path, &out->local_len, out->destination,
	    &out->address_utf8) != ST_OK || out->local_len == 0 ||
	    !str_copy(out->address, sizeof(out->address), path))
		return REPLY_RCPT_BAD;
	return REPLY_NONE;
}

enum inject_reply
inject_parse_rcpt(const char *args, const char *hostname,
	struct inject_rcpt *out)
{
	char path[1024];
	struct params to = { .rcpt = out };
	const char *rest = after_word(args, "TO:");
	enum inject_reply fault;

	memset(out, 0, sizeof(*out));
	if (rest != NULL)
		rest = take_path(rest, path, sizeof(path));
	if (rest == NULL)
		return REPLY_RCPT_SYNTAX;
	fault = parse_params(rest, &to);
	if (fault != REPLY_NONE)
		return fault;
	return rcpt_address(path, sizeof(path), hostname, out);
}

enum inject_reply
inject_parse_bdat(const char *args, uint64_t *size_out, bool *last_out)
{
	unsigned long long size;
	size_t digits;

	args = skip_space(args);
	digits = strspn(args, "0123456789");
	/* 18 digits cannot overflow and no message is that large. */
	if (digits == 0 || digits > 18)
		return REPLY_BDAT_SYNTAX;
	size = strtoull(args, NULL, 10);
	args += digits;
	if (*args != '\0' && *args != ' ')
		return REPLY_BDAT_SYNTAX;
	args = skip_space(args);
	*last_out = strncasecmp(args, "LAST", 4) == 0;
	if (*last_out)
		args += 4;
	if (*skip_space(args) != '\0')
		return REPLY_BDAT_SYNTAX;
	*size_out = size;
	return REPLY_NONE;
}

enum inject_reply
inject_parse_helo(const char *args, char out[INJECT_HELO_BYTES])
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"0123456789.-_[]:";
	size_t len;

	args = skip_space(args);
	len = strlen(args);
	while (len > 0 && (args[len - 1] == ' ' || args[len - 1] == '\t'))
		len--;
	if (len == 0 || len >= INJECT_HELO_BYTES)
		return REPLY_HELLO_NAME;
	for (size_t i = 0; i < len; i++) {
		if (args[i] == ' ' || args[i] == '\t')
			return REPLY_HELLO_NAME;
		out[i] = strchr(plain, args[i]) != NULL ? args[i] : '?';
	}
	out[len] = '\0';
	return REPLY_NONE;
}
