/*
 * Policy lists in the parent (sts_lists.h).
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/queue/sts_lists.h"
#include "spool/sts_store.h"

_Static_assert(STS_LIST_TEXT_MAX == SPOOL_STS_LIST_MAX,
	"what is read can be stored");

struct entry {
	char *path;
	struct sts_list *list;		/* NULL: none that is good */
	struct stat seen;		/* of the file; all zero: not there */
};

struct sts_lists {
	struct entry *entries;
	size_t count;
	int64_t read_s;
};

/* ---- the file ---- */

struct text {
	char *bytes;			/* owned */
	size_t len;
};

static enum status
read_all(int fd, struct text *out)
{
	size_t max = STS_LIST_TEXT_MAX + 1;
	ssize_t n;

	out->bytes = xmalloc(max);
	out->len = 0;
	while (out->len < max &&
	    (n = read(fd, out->bytes + out->len, max - out->len)) != 0) {
		if (n < 0)
			return ST_SYS;
		out->len += (size_t)n;
	}
	return ST_OK;
}

static enum status
read_file(const char *path, struct text *out, char err[STS_ERR_MAX])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	enum status st = ST_SYS;
	struct stat sb;

	if (fd >= 0 && fstat(fd, &sb) == 0) {
		if (S_ISREG(sb.st_mode))
			st = read_all(fd, out);
		else
			errno = 0;
	}
	if (st != ST_OK)
		(void)snprintf(err, STS_ERR_MAX, "%s", errno == 0 ?
			"not a regular file" : strerror(errno));
	if (fd >= 0)
		(void)close(fd);
	return st;
}

static void
look(const char *path, struct stat *out)
{
	memset(out, 0, sizeof(*out));
	if (stat(path, out) != 0)
		memset(out, 0, sizeof(*out));
}

static bool
has_changed(const struct entry *e)
{
	struct stat now;

	look(e->path, &now);
	return now.st_ino != e->seen.st_ino || now.st_size != e->seen.st_size ||
		now.st_mtim.tv_sec != e->seen.st_mtim.tv_sec ||
		now.st_mtim.tv_nsec != e->seen.st_mtim.tv_nsec;
}

/* The list of a file, and its text. */
static struct sts_list *
load_file(const char *path, int64_t now_s, struct text *text,
	char err[STS_ERR_MAX])
{
	struct sts_list *list = NULL;

	if (read_file(path, text, err) != ST_OK ||
	    sts_list_parse(text->bytes, text->len, now_s, &list, err) !=
	    ST_OK)
		return NULL;
	return list;
}

enum status
sts_lists_check(const struct conf_sts *conf, int64_t now_s,
	char err[CONF_ERR_MAX])
{
	for (size_t i = 0; conf->enable && i < conf->list_count; i++) {
		struct text text = { NULL, 0 };
		char why[STS_ERR_MAX];
		struct sts_list *list = load_file(conf->lists[i], now_s, &text,
			why);

		free(text.bytes);
		if (list == NULL) {
			(void)snprintf(err, CONF_ERR_MAX, "%.200s: %s",
				conf->lists[i], why);
			return ST_PARSE;
		}
		sts_list_free(&list);
	}
	return ST_OK;
}

/* ---- the last good one ---- */

static void
log_list(const char *path, const struct sts_list *list)
{
	const struct sts_list_info *info = sts_list_info(list);
	char when[40];

	str_date(info->expires_s, when);
	log_info("sts-list", "file", path, "domains",
		log_num((long long)info->domains), "enforced",
		log_num((long long)info->enforced), "author", info->author,
		"expires", when, NULL);
}

static void
log_refused(const char *path, const char *why, const struct sts_list *kept)
{
	char text[80] = "no list of this file", when[40];

	if (kept != NULL) {
		str_date(sts_list_info(kept)->expires_s, when);
		(void)snprintf(text, sizeof(text),
			"the last good list, until %s", when);
	}
	log_error("sts-list", "file", path, "reason", why, "used", text,
		NULL);
}

static void
store(struct spool *spool, const char *path, const struct text *text)
{
	enum status st;

	if (spool == NULL)
		return;
	st = spool_begin(spool);
	if (st == ST_OK)
		st = spool_sts_list_put(spool, path, text->bytes, text->len);
	if (st == ST_OK)
		st = spool_commit(spool);
	if (st == ST_OK)
		return;
	log_warn("sts-list", "file", path, "reason", spool_error(spool),
		"effect", "not kept over a restart", NULL);
	spool_rollback(spool);
}

/* The good list of before, whatever the file says now. */
static struct sts_list *
load_kept(const char *path, struct spool *spool, int64_t now_s,
	struct text *text)
{
	enum status st = ST_NOENT;
	struct sts_list *list = NULL;
	char err[STS_ERR_MAX];

	if (spool != NULL)
		st = spool_sts_list_get(spool, path, &text->bytes, &text->len);
	if (st == ST_NOENT)
		return NULL;
	(void)str_copy(err, sizeof(err), spool_error(spool));
	if (st == ST_OK && sts_list_parse(text->bytes, text->len, now_s,
	    &list, err) == ST_OK)
		return list;
	log_warn("sts-list", "file", path, "dropped", "the last good list",
		"reason", err, NULL);
	return NULL;
}

/* An older list than the one in use is a mistake, or somebody's replay. */
static bool
is_older(const struct sts_list *list, const struct sts_list *kept)
{
	return kept != NULL && sts_list_info(list)->timestamp_s <
		sts_list_info(kept)->timestamp_s;
}

static struct sts_list *
load(const char *path, struct spool *spool, int64_t now_s)
{
	struct text text = { NULL, 0 }, kept_text = { NULL, 0 };
	char err[STS_ERR_MAX] = "";
	struct sts_list *kept, *list = load_file(path, now_s, &text, err);

	kept = load_kept(path, spool, now_s, &kept_text);
	if (list != NULL && is_older(list, kept)) {
		(void)str_copy(err, sizeof(err), "its timestamp is before "
			"that of the list in use");
		sts_list_free(&list);
	}
	if (list != NULL) {
		if (text.len != kept_text.len || memcmp(text.bytes,
		    kept_text.bytes, text.len) != 0)
			store(spool, path, &text);
		sts_list_free(&kept);
	} else {
		log_refused(path, err, kept);
		list = kept;
	}
	free(kept_text.bytes);
	free(text.bytes);
	if (list != NULL)
		log_list(path, list);
	return list;
}

/* ---- life ---- */

/* What is not configured any more, or has expired, leaves the spool. */
static void
tidy(const struct sts_lists *lists, struct spool *spool)
{
	char **paths = xcalloc(lists->count + 1, sizeof(paths[0]));
	enum status st = spool_begin(spool);
	size_t count = 0;

	for (size_t i = 0; i < lists->count; i++)
		if (lists->entries[i].list != NULL)
			paths[count++] = lists->entries[i].path;
	if (st == ST_OK)
		st = spool_sts_list_keep(spool, paths, count);
	if (st == ST_OK)
		st = spool_commit(spool);
	if (st != ST_OK) {
		log_warn("sts-list", "reason", spool_error(spool), NULL);
		spool_rollback(spool);
	}
	free(paths);
}

struct sts_lists *
sts_lists_new(const struct conf_sts *conf, struct spool *spool, int64_t now_s)
{
	struct sts_lists *lists = xcalloc(1, sizeof(*lists));

	if (!conf->enable)
		return lists;
	lists->entries = xcalloc(conf->list_count, sizeof(struct entry));
	lists->count = conf->list_count;
	lists->read_s = now_s;
	for (size_t i = 0; i < lists->count; i++) {
		lists->entries[i].path = xstrdup(conf->lists[i]);
		look(conf->lists[i], &lists->entries[i].seen);
		lists->entries[i].list = load(conf->lists[i], spool, now_s);
	}
	if (spool != NULL)
		tidy(lists, spool);
	return lists;
}

void
sts_lists_free(struct sts_lists **listsp)
{
	struct sts_lists *lists = *listsp;

	if (lists == NULL)
		return;
	for (size_t i = 0; i < lists->count; i++) {
		sts_list_free(&lists->entries[i].list);
		free(lists->entries[i].path);
	}
	free(lists->entries);
	mem_free(listsp);
}

bool
sts_lists_outdated(const struct sts_lists *lists, int64_t now_s)
{
	for (size_t i = 0; i < lists->count; i++) {
		const struct entry *e = &lists->entries[i];

		if (e->list != NULL ? sts_list_info(e->list)->expires_s <=
		    now_s : now_s < lists->read_s || has_changed(e))
			return true;
	}
	return false;
}

size_t
sts_lists_find(const struct sts_lists *lists, const char *domain,
	int64_t now_s, struct sts_lists_entry *out, size_t max)
{
	size_t found = 0;

	for (size_t i = 0; i < lists->count && found < max; i++) {
		const struct entry *e = &lists->entries[i];
		const struct sts_policy *policy;

		if (e->list == NULL ||
		    sts_list_info(e->list)->expires_s <= now_s)
			continue;
		policy = sts_list_find(e->list, domain);
		if (policy != NULL)
			out[found++] = (struct sts_lists_entry){
				.path = e->path, .policy = policy,
				.expires_s = sts_list_info(e->list)->
					expires_s };
	}
	return found;
}

void
sts_lists_answer(const struct sts_lists *lists, int64_t now_s,
	struct msg_sts *out)
{
	struct sts_lists_entry e;

	if (sts_lists_find(lists, out->domain, now_s, &e, 1) == 0)
		return;
	out->list_mode = e.policy->mode == STS_MODE_ENFORCE ?
		MSG_STS_LIST_ENFORCE : MSG_STS_LIST_TESTING;
	out->list_expires_s = e.expires_s;
	out->list_mx_count = e.policy->mx_count;
	out->list_mx = xcalloc(e.policy->mx_count, sizeof(out->list_mx[0]));
	for (size_t i = 0; i < e.policy->mx_count; i++)
		out->list_mx[i] = xstrdup(e.policy->mx[i]);
}
