/*
 * Reading a secret.  No stdio, which would keep a copy.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret_file.h"

static bool
owner_ok(uid_t owner, const char *user)
{
	const struct passwd *pw;

	if (owner == geteuid() || owner == 0)
		return true;
	pw = user == NULL ? NULL : getpwnam(user);
	return pw != NULL && pw->pw_uid == owner;
}

/* What is wrong with the file itself; NULL when nothing is. */
static const char *
file_fault(const struct stat *st, const char *user)
{
	if (!S_ISREG(st->st_mode))
		return "is not a regular file";
	if (!owner_ok(st->st_uid, user))
		return "belongs to another user than that of the service";
	if (st->st_mode & (S_IRWXG | S_IRWXO))
		return "can be used by others: its mode must be 0600 or 0400";
	return NULL;
}

static enum status
read_open(int fd, char *out, size_t size, size_t *len_out, const char **why)
{
	size_t used = 0;
	ssize_t n = 0;

	while (used < size && (n = read(fd, out + used, size - used)) > 0)
		used += (size_t)n;
	*why = n < 0 ? strerror(errno) : "is too large for what it should be";
	if (n < 0 || used == size)
		return n < 0 ? ST_SYS : ST_LIMIT;
	out[used] = '\0';
	*len_out = used;
	return ST_OK;
}

enum status
secret_file_read(const struct secret_file *file, char *out, size_t size,
	size_t *len_out, char err[SECRET_ERR_MAX])
{
	/* Not to hang where somebody has put a FIFO. */
	int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK |
		O_NOCTTY);
	const char *why = NULL;
	enum status st = ST_SYS;
	struct stat info;

	err[0] = '\0';
	*len_out = 0;
	if (fd >= 0) {
		why = fstat(fd, &info) != 0 ? strerror(errno) :
			file_fault(&info, file->user);
		st = why != NULL ? ST_DENIED :
			read_open(fd, out, size, len_out, &why);
		(void)close(fd);
	} else {
		why = strerror(errno);
	}
	if (st == ST_OK)
		return ST_OK;
	explicit_bzero(out, size);
	(void)snprintf(err, SECRET_ERR_MAX, "%s %s", file->path,
		why);
	return st;
}
