/*
 * Large bodies as files body/<id>.  A file is renamed from body/tmp-<token>
 * before the commit that names it and unlinked after the commit that forgets
 * it; whatever a crash leaves without a row is swept at the next open.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "spool/spool_int.h"

static void
temp_name(uint64_t token, char out[SPOOL_FILE_NAME_MAX])
{
	(void)snprintf(out, SPOOL_FILE_NAME_MAX, "tmp-%" PRIu64, token);
}

void
spool_body_name(uint64_t id, char out[SPOOL_FILE_NAME_MAX])
{
	str_id_format(id, out);
}

static void
ops_push(struct spool_file_ops *ops, uint64_t id, uint64_t token)
{
	if (ops->count == ops->cap) {
		ops->cap = ops->cap == 0 ? 16 : ops->cap * 2;
		ops->list = xrealloc_n(ops->list, ops->cap,
			sizeof(ops->list[0]));
	}
	ops->list[ops->count++] = (struct spool_file_op){ id, token };
}

enum status
spool_body_file_new(struct spool *s, uint64_t *token_out, int *fd_out)
{
	char name[SPOOL_FILE_NAME_MAX];

	*fd_out = -1;
	*token_out = ++s->last_token;
	temp_name(*token_out, name);
	*fd_out = openat(s->body_fd, name, O_RDWR | O_CREAT | O_EXCL |
		O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*fd_out < 0)
		return spool_fail_errno(s, "create body file", name);
	return ST_OK;
}

void
spool_body_file_drop(struct spool *s, uint64_t token)
{
	char name[SPOOL_FILE_NAME_MAX];

	temp_name(token, name);
	spool_room_remove(s, name);
}

static bool
write_all(int fd, const uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

enum status
spool_body_spill(struct spool *s, const void *data, size_t len, int *fd_out)
{
	char name[SPOOL_FILE_NAME_MAX];
	enum status st;
	uint64_t token;
	int fd;

	st = spool_body_file_new(s, &token, &fd);
	*fd_out = -1;
	if (st != ST_OK)
		return st;
	temp_name(token, name);
	if (write_all(fd, data, len))
		*fd_out = openat(s->body_fd, name,
			O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (*fd_out < 0)
		st = spool_fail_errno(s, "write", name);
	(void)close(fd);
	spool_body_file_drop(s, token);
	return st;
}

enum status
spool_body_file_check(struct spool *s, uint64_t token, uint64_t size_bytes)
{
	char name[SPOOL_FILE_NAME_MAX];
	struct stat sb;

	temp_name(token, name);
	if (fstatat(s->body_fd, name, &sb, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? spool_fail(s, ST_NOENT,
			"spool: there is no body file %s", name) :
			spool_fail_errno(s, "look at", name);
	if (!S_ISREG(sb.st_mode) || sb.st_size < 0 ||
	    (uint64_t)sb.st_size != size_bytes)
		return spool_fail(s, ST_PARSE, "spool: body file %s has %lld "
			"bytes, announced were %" PRIu64, name,
			(long long)sb.st_size, size_bytes);
	return ST_OK;
}

enum status
spool_body_file_take(struct spool *s, uint64_t token, uint64_t id)
{
	char from[SPOOL_FILE_NAME_MAX], to[SPOOL_FILE_NAME_MAX];

	temp_name(token, from);
	spool_body_name(id, to);
	spool_step(s, "before-rename");
	if (renameat(s->body_fd, from, s->body_fd, to) != 0)
		return spool_fail_errno(s, "rename body file", from);
	ops_push(&s->added, id, token);
	spool_step(s, "after-rename");
	return ST_OK;
}

void
spool_body_file_remove(struct spool *s, uint64_t id)
{
	ops_push(&s->removed, id, 0);
}

/* The names must be on disk before the rows that speak of them. */
enum status
spool_body_files_sync(struct spool *s)
{
	if (s->added.count == 0)
		return ST_OK;
	if (fsync(s->body_fd) == 0)
		return ST_OK;
	return spool_fail_errno(s, "fsync", SPOOL_BODY_DIR);
}

void
spool_body_files_committed(struct spool *s)
{
	char name[SPOOL_FILE_NAME_MAX];

	for (size_t i = 0; i < s->removed.count; i++) {
		spool_body_name(s->removed.list[i].id, name);
		spool_step(s, "before-unlink");
		spool_room_remove(s, name);
		spool_step(s, "after-unlink");
	}
	s->added.count = s->removed.count = 0;
}

void
spool_body_files_rolled_back(struct spool *s, bool names_free)
{
	char from[SPOOL_FILE_NAME_MAX], to[SPOOL_FILE_NAME_MAX];

	/* Else the names stay, for a sweep to decide on. */
	for (size_t i = 0; names_free && i < s->added.count; i++) {
		spool_body_name(s->added.list[i].id, from);
		temp_name(s->added.list[i].token, to);
		if (renameat(s->body_fd, from, s->body_fd, to) != 0)
			log_warn("spool-body-left", "file", from, "why",
				strerror(errno), NULL);
	}
	s->added.count = s->removed.count = 0;
}

enum status
spool_body_file_open(struct spool *s, uint64_t id, uint64_t size_bytes,
	int *fd_out)
{
	char name[SPOOL_FILE_NAME_MAX];
	struct stat sb;
	int fd;

	spool_body_name(id, name);
	fd = openat(s->body_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)
		return spool_fail(s, ST_CORRUPT, "spool: DAMAGED: %s/%s/%s, "
			"the body of a queued message, is missing", s->dir,
			SPOOL_BODY_DIR, name);
	if (fd < 0)
		return spool_fail_errno(s, "open body file", name);
	if (fstat(fd, &sb) != 0 || sb.st_size < 0 ||
	    (uint64_t)sb.st_size != size_bytes) {
		(void)close(fd);
		return spool_fail(s, ST_CORRUPT, "spool: DAMAGED: %s/%s/%s "
			"should have %" PRIu64 " bytes", s->dir,
			SPOOL_BODY_DIR, name, size_bytes);
	}
	*fd_out = fd;
	return ST_OK;
}

/* *wanted_out: a row names this file. */
static enum status
row_wants_file(struct spool *s, uint64_t id, bool *wanted_out)
{
	struct query q;

	*wanted_out = false;
	query_start(&q, s, STMT_BODY_KIND);
	query_id(&q, id);
	if (query_step(&q))
		*wanted_out = query_col(&q, 0) != 0;
	return query_end(&q);
}

static enum status
sweep_one(struct spool *s, const char *name)
{
	bool wanted = false;
	uint64_t id;
	enum status st;

	if (strncmp(name, "tmp-", 4) != 0) {
		if (str_id_parse(name, &id) != ST_OK)
			return ST_OK;	/* "." and ".."; or not ours */
		st = row_wants_file(s, id, &wanted);
		if (st != ST_OK || wanted)
			return st;
	}
	log_info("spool-sweep", "file", name, NULL);
	if (unlinkat(s->body_fd, name, 0) != 0)
		return spool_fail_errno(s, "remove orphan", name);
	spool_step(s, "after-sweep");
	return ST_OK;
}

static enum status
refuse_body(struct spool *s, const char *name)
{
	uint64_t id;

	if (str_id_parse(name, &id) != ST_OK)
		return ST_OK;
	return spool_fail(s, ST_CORRUPT, "spool: DAMAGED: %s/%s is missing or "
		"empty but %s holds the body of message %s; restore it, or "
		"move the directory away to begin anew", s->dir,
		SPOOL_DB_NAME, SPOOL_BODY_DIR, name);
}

static enum status
each_file(struct spool *s, enum status (*fn)(struct spool *, const char *))
{
	enum status st = ST_OK;
	struct dirent *entry;
	int fd = openat(s->body_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (dir == NULL) {
		st = spool_fail_errno(s, "read", SPOOL_BODY_DIR);
		if (fd >= 0)
			(void)close(fd);
		return st;
	}
	while (st == ST_OK && (entry = readdir(dir)) != NULL)
		st = fn(s, entry->d_name);
	(void)closedir(dir);
	return st;
}

enum status
spool_body_sweep(struct spool *s)
{
	return each_file(s, sweep_one);
}

enum status
spool_body_check_none(struct spool *s)
{
	return each_file(s, refuse_body);
}
