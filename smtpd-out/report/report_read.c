/*
 * Files into reports.  What is wrong with one does not stop the others.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/table.h"
#include "smtpd-out/mail/report_mail.h"
#include "smtpd-out/report/report_read.h"

#define WHY(...) (void)snprintf(err, TLSRPT_ERR_MAX, __VA_ARGS__)
#define ALLOCATION 16		/* what a text costs beside itself */

/* JSON, or gzip of it. */
static enum status
read_document(const void *bytes, size_t len, struct report_received *out,
	char err[TLSRPT_ERR_MAX])
{
	struct buf json;
	enum status st;

	out->document_bytes = len;
	if (!tlsrpt_is_gzip(bytes, len))
		return tlsrpt_doc_parse(bytes, len, &out->report, err);
	buf_init(&json, TLSRPT_DOC_MAX);
	st = tlsrpt_gunzip(bytes, len, &json);
	out->document_bytes = json.len;
	if (st == ST_LIMIT)
		WHY("larger than %u bytes when unpacked", TLSRPT_DOC_MAX);
	else if (st != ST_OK)
		WHY("gzip data are damaged or cut");
	else
		st = tlsrpt_doc_parse(buf_data(&json), json.len, &out->report,
			err);
	buf_clear(&json);
	return st;
}

/* A mail knows better than the document whose report it is. */
static void
apply_facts(const struct report_mail_facts *facts,
	struct report_received *out)
{
	char *domain = facts->domain[0] != '\0' ? xstrdup(facts->domain) :
		tlsrpt_doc_file_domain(facts->file);

	if (domain != NULL) {
		free(out->report.domain);
		out->report.domain = domain;
	}
	if (facts->submitter[0] != '\0')
		out->submitter = xstrdup(facts->submitter);
}

static enum status
read_mail(const void *bytes, size_t len, struct report_received *out,
	char err[TLSRPT_ERR_MAX])
{
	struct report_mail_facts facts;
	struct buf doc;
	enum status st;

	buf_init(&doc, TLSRPT_DOC_MAX);
	st = report_mail_find(bytes, len, &doc, &facts);
	if (st == ST_NOENT)
		WHY("neither a report nor a mail with one");
	else if (st == ST_LIMIT)
		WHY("the attachment is larger than %u bytes", TLSRPT_DOC_MAX);
	else if (st != ST_OK)
		WHY("the encoding of the attachment is not known");
	else
		st = read_document(buf_data(&doc), doc.len, out, err);
	if (st == ST_OK)
		apply_facts(&facts, out);
	buf_clear(&doc);
	return st;
}

static bool
looks_like_json(const char *text, size_t len)
{
	size_t i = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;

	while (i < len && strchr(" \t\r\n", text[i]) != NULL && text[i] != 0)
		i++;
	return i < len && (text[i] == '{' || text[i] == '[');
}

enum status
report_read_bytes(const void *bytes, size_t len, struct report_received *out,
	char err[TLSRPT_ERR_MAX])
{
	enum status st;

	*out = (struct report_received){ 0 };
	err[0] = '\0';
	if (len == 0) {
		WHY("empty");
		return ST_PARSE;
	}
	if (tlsrpt_is_gzip(bytes, len) || looks_like_json(bytes, len))
		st = read_document(bytes, len, out, err);
	else
		st = read_mail(bytes, len, out, err);
	if (st == ST_OK && out->report.domain == NULL)
		out->report.domain = xstrdup("");
	return st;
}

/* NULL with err; not to hang where somebody has put a FIFO. */
static char *
load(const char *path, size_t *len_out, char err[TLSRPT_ERR_MAX])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char *bytes = NULL;
	struct stat st;
	ssize_t n = 0;
	size_t used = 0;

	if (fd < 0 || fstat(fd, &st) != 0) {
		WHY("%s", strerror(errno));
	} else if (!S_ISREG(st.st_mode)) {
		WHY("not a regular file");
	} else if (st.st_size > (off_t)REPORT_FILE_MAX) {
		WHY("larger than %u bytes", REPORT_FILE_MAX);
	} else {
		bytes = xmalloc((size_t)st.st_size + 1);
		while (used < (size_t)st.st_size && (n = read(fd, bytes + used,
		    (size_t)st.st_size - used)) > 0)
			used += (size_t)n;
		if (n < 0) {
			WHY("%s", strerror(errno));
			mem_free(&bytes);
		}
	}
	if (fd >= 0)
		(void)close(fd);
	*len_out = used;
	return bytes;
}

/* The report-id is its sender's to keep unique (RFC 8460 4.4). */
static bool
is_known(struct report_set *set, const struct report_received *one)
{
	const struct tlsrpt_report *r = &one->report;
	bool known = false;
	char *key;

	if (r->id == NULL)
		return false;
	if (set->known == NULL)
		set->known = table_new();
	key = xasprintf("%lld\n%s\n%s\n%s", (long long)r->start_s, r->domain,
		r->id, report_sender(one));
	known = table_get(set->known, key, strlen(key)) != NULL;
	table_put(set->known, key, strlen(key), set);
	free(key);
	return known;
}

static void
add_fault(struct report_set *set, const char *path, const char *why)
{
	struct report_fault *fault;

	set->faults = xrealloc_n(set->faults, set->fault_count + 1,
		sizeof(set->faults[0]));
	fault = &set->faults[set->fault_count++];
	fault->source = xstrdup(path);
	fault->why = xstrdup(why);
}

/* Nobody looks at the texts of policies here, and they may be long. */
static void
drop_policy_texts(struct tlsrpt_report *r)
{
	for (size_t i = 0; i < r->result_count; i++) {
		struct tlsrpt_policy *p = &r->results[i].policy;
		struct tlsrpt_policy bare = { .type = p->type,
			.domain = p->domain };

		p->domain = NULL;
		tlsrpt_policy_clear(p);
		*p = bare;
	}
}

static size_t
text_bytes(const char *text)
{
	return text == NULL ? 0 : strlen(text) + ALLOCATION;
}

static size_t
kept_bytes(const struct report_received *one)
{
	const struct tlsrpt_report *r = &one->report;
	size_t n = sizeof(*one) + text_bytes(r->organization) +
		text_bytes(r->contact) + text_bytes(r->id) +
		text_bytes(one->source);

	for (size_t i = 0; i < r->result_count; i++) {
		const struct tlsrpt_result *result = &r->results[i];

		n += sizeof(*result) + text_bytes(result->policy.domain);
		for (size_t j = 0; j < result->failure_count; j++) {
			const struct tlsrpt_failure *f = &result->failures[j];

			n += sizeof(*f) + text_bytes(f->other) +
				text_bytes(f->sending_ip) +
				text_bytes(f->mx_host) +
				text_bytes(f->mx_helo) +
				text_bytes(f->receiving_ip) +
				text_bytes(f->info) + text_bytes(f->reason);
		}
	}
	return n;
}

/* Takes the report over. */
static void
keep(struct report_set *set, const char *path, struct report_received *one)
{
	one->source = xstrdup(path);
	drop_policy_texts(&one->report);
	set->kept += kept_bytes(one);
	set->items = xrealloc_n(set->items, set->count + 1,
		sizeof(set->items[0]));
	set->items[set->count++] = *one;
}

static void
add_file(struct report_set *set, const char *path)
{
	struct report_received one = { 0 };
	char err[TLSRPT_ERR_MAX] = "";
	enum status st = ST_SYS;
	size_t len = 0;
	char *bytes;

	bytes = load(path, &len, err);
	if (bytes != NULL)
		st = report_read_bytes(bytes, len, &one, err);
	free(bytes);
	set->work += len + one.document_bytes;
	if (st != ST_OK) {
		add_fault(set, path, err);
		report_received_clear(&one);
	} else if (is_known(set, &one)) {
		set->duplicates++;
		report_received_clear(&one);
	} else {
		keep(set, path, &one);
	}
}

/* ---- folders ---- */

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a folder but hidden ones, in order; of very many not all, for
 * they would be too many anyway.  False with errno. */
static bool
list_folder(const char *path, char ***names_out, size_t *count_out)
{
	DIR *dir = opendir(path);
	char **names = NULL;
	struct dirent *entry;
	size_t count = 0;

	*names_out = NULL;
	*count_out = 0;
	if (dir == NULL)
		return false;
	while (count <= REPORT_FILES_MAX && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		names = xrealloc_n(names, count + 1, sizeof(names[0]));
		names[count++] = xstrdup(entry->d_name);
	}
	(void)closedir(dir);
	if (count > 1)
		qsort(names, count, sizeof(names[0]), by_name);
	*names_out = names;
	*count_out = count;
	return true;
}

/* Says once that it is. */
static bool
is_full(struct report_set *set, const char *path)
{
	if (set->full)
		return true;
	set->full = true;
	if (set->files >= REPORT_FILES_MAX)
		add_fault(set, path, "and what follows: too many files at "
			"once");
	else if (set->kept >= REPORT_KEPT_MAX || set->work >= REPORT_WORK_MAX)
		add_fault(set, path, "and what follows: too much at once");
	else
		set->full = false;
	return set->full;
}

static void
add_path(struct report_set *set, const char *path, unsigned depth)
{
	char **names;
	struct stat st;
	size_t count;

	if (is_full(set, path))
		return;
	set->files++;
	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
		add_file(set, path);
		return;
	}
	if (depth > REPORT_FOLDER_DEPTH)
		return;
	if (!list_folder(path, &names, &count))
		add_fault(set, path, strerror(errno));
	for (size_t i = 0; i < count; i++) {
		char *below = xasprintf("%s/%s", path, names[i]);

		add_path(set, below, depth + 1);
		free(below);
		free(names[i]);
	}
	free(names);
}

void
report_set_add(struct report_set *set, const char *path)
{
	add_path(set, path, 0);
}

void
report_received_clear(struct report_received *one)
{
	tlsrpt_report_clear(&one->report);
	free(one->submitter);
	free(one->source);
	*one = (struct report_received){ 0 };
}

void
report_set_clear(struct report_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		report_received_clear(&set->items[i]);
	free(set->items);
	for (size_t i = 0; i < set->fault_count; i++) {
		free(set->faults[i].source);
		free(set->faults[i].why);
	}
	free(set->faults);
	table_free(&set->known);
	*set = (struct report_set){ 0 };
}

const char *
report_sender(const struct report_received *one)
{
	if (one->report.organization != NULL)
		return one->report.organization;
	if (one->submitter != NULL)
		return one->submitter;
	return one->report.contact != NULL ? one->report.contact :
		"unknown sender";
}
