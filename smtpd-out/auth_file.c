/*
 * Reading the password of a relay.  No stdio, which would keep a copy.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "smtpd-out/auth_file.h"

#define FILE_BYTES (2 * AUTH_TEXT_MAX + 4)	/* with ':', CR, LF, excess */

/* What is wrong with the file itself; NULL when nothing is. */
static const char *
file_fault(const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "is not a regular file";
	if (st->st_uid != geteuid() && st->st_uid != 0)
		return "belongs to another user than that of the service";
	if (st->st_mode & (S_IRWXG | S_IRWXO))
		return "can be used by others: its mode must be 0600 or 0400";
	return NULL;
}

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

static enum status
read_open(int fd, struct auth_secret *out, const char **why)
{
	char text[FILE_BYTES];
	size_t used = 0;
	ssize_t n = 0;
	struct stat st;
	bool good;

	*why = fstat(fd, &st) != 0 ? strerror(errno) : file_fault(&st);
	if (*why != NULL)
		return ST_DENIED;
	while (used < sizeof(text) &&
	    (n = read(fd, text + used, sizeof(text) - used)) > 0)
		used += (size_t)n;
	good = n >= 0 && used < sizeof(text) && parse(text, used, out);
	*why = n < 0 ? strerror(errno) : "is not one line \"user:password\"";
	explicit_bzero(text, sizeof(text));
	return good ? ST_OK : n < 0 ? ST_SYS : ST_PARSE;
}

enum status
auth_file_read(const char *path, struct auth_secret *out,
	char err[AUTH_ERR_MAX])
{
	/* Not to hang where somebody has put a FIFO. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	const char *why = NULL;
	enum status st = ST_SYS;

	err[0] = '\0';
	memset(out, 0, sizeof(*out));
	if (fd >= 0) {
		st = read_open(fd, out, &why);
		(void)close(fd);
	} else {
		why = strerror(errno);
	}
	if (st == ST_OK)
		return ST_OK;
	auth_secret_wipe(out);
	(void)snprintf(err, AUTH_ERR_MAX, "%s %s", path, why);
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
