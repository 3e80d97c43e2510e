/*
 * Reading the password of a relay.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/secret_file.h"
#include "base/str.h"
#include "smtpd-out/client/auth_file.h"

#define FILE_BYTES (2 * AUTH_TEXT_MAX + 5)	/* ':', CR, LF, excess, NUL */

/* Fails also when the text does not fit. */
static bool
take(char out[AUTH_TEXT_MAX + 1], const char *from, size_t len)
{
	if (len == 0 || len > AUTH_TEXT_MAX)
		return false;
	memcpy(out, from, len);
	out[len] = '\0';
	return true;
}

/* One line; the password may hold ':', neither may hold control characters
 * (RFC 4616 section 2). */
static bool
parse(const char *text, size_t len, struct auth_secret *out)
{
	const char *colon;

	if (len > 0 && text[len - 1] == '\n')
		len--;
	if (len > 0 && text[len - 1] == '\r')
		len--;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 32 || text[i] == 127)
			return false;
	colon = memchr(text, ':', len);
	return colon != NULL &&
		take(out->user, text, (size_t)(colon - text)) &&
		take(out->password, colon + 1, len - 1 -
		(size_t)(colon - text));
}

enum status
auth_file_read(const char *path, struct auth_secret *out,
	char err[AUTH_ERR_MAX])
{
	char text[FILE_BYTES];
	size_t len;
	enum status st = secret_file_read(&(struct secret_file){ path, NULL },
		text, sizeof(text), &len, err);

	memset(out, 0, sizeof(*out));
	if (st == ST_LIMIT || (st == ST_OK && !parse(text, len, out)))
		st = ST_PARSE;
	explicit_bzero(text, sizeof(text));
	if (st == ST_OK)
		return ST_OK;
	auth_secret_wipe(out);
	if (st == ST_PARSE)
		(void)snprintf(err, AUTH_ERR_MAX,
			"%s is not one line \"user:password\"", path);
	return st;
}

void
auth_secret_wipe(struct auth_secret *secret)
{
	explicit_bzero(secret, sizeof(*secret));
}

void
auth_files_check(const struct conf *conf)
{
	for (size_t i = 0; i < conf->destination_count; i++) {
		const char *path = conf->destinations[i].auth_file;
		struct auth_secret secret;
		char err[AUTH_ERR_MAX];

		if (path == NULL)
			continue;
		if (auth_file_read(path, &secret, err) != ST_OK)
			log_error("auth-file", "destination",
				conf->destinations[i].match, "reason", err,
				NULL);
		auth_secret_wipe(&secret);
	}
}
