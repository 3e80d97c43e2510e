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
#include "smtpd-out/mail/report_mail.h"
#include "smtpd-out/report/report_read.h"

#define WHY(...) (void)snprintf(err, TLSRPT_ERR_MAX, __VA_ARGS__)

/* JSON, or gzip of it. */
static enum status
read_document(const void *bytes, size_t len, struct tlsrpt_report *out,
	char err[TLSRPT_ERR_MAX])
{
	struct buf json;
	enum status st;

	if (!tlsrpt_is_gzip(bytes, len))
		return tlsrpt_doc_parse(bytes, len, out, err);
	buf_init(&json, TLSRPT_DOC_MAX);
	st = tlsrpt_gunzip(bytes, len, &json);
	if (st == ST_LIMIT)
		WHY("larger than %u bytes when unpacked", TLSRPT_DOC_MAX);
	else if (st != ST_OK)
		WHY("gzip data are damaged or cut");
	else
		st = tlsrpt_doc_parse(buf_data(&json), json.len, out, err);
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
		st = read_document(buf_data(&doc), doc.len, &out->report,
			err);
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
		st = read_document(bytes, len, &out->report, err);
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

static bool
text_same(const char *a, const char *b)
{
	return a != NULL && b != NULL && strcmp(a, b) == 0;
}

/* The report-id is its sender's to keep unique (RFC 8460 4.4). */
static bool
is_known(const struct report_set *set, const struct report_received *one)
{
	for (size_t i = 0; i < set->count; i++) {
		const struct tlsrpt_report *r = &set->items[i].report;

		if (text_same(r->id, one->report.id) &&
		    text_same(report_sender(&set->items[i]),
		    report_sender(one)) && r->start_s == one->report.start_s &&
		    text_same(r->domain, one->report.domain))
			return true;
	}
	return false;
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

static void
add_file(struct report_set *set, const char *path)
{
	struct report_received one = { 0 };
	char err[TLSRPT_ERR_MAX] = "";
	enum status st = ST_SYS;
	size_t len = 0;
	char *bytes;

	if (set->files >= REPORT_FILES_MAX) {
		if (set->files++ == REPORT_FILES_MAX)
			add_fault(set, path, "and what follows: too many "
				"files at once");
		return;
	}
	set->files++;
	bytes = load(path, &len, err);
	if (bytes != NULL)
		st = report_read_bytes(bytes, len, &one, err);
	free(bytes);
	if (st != ST_OK) {
		add_fault(set, path, err);
		report_received_clear(&one);
	} else if (is_known(set, &one)) {
		set->duplicates++;
		report_received_clear(&one);
	} else {
		one.source = xstrdup(path);
		set->items = xrealloc_n(set->items, set->count + 1,
			sizeof(set->items[0]));
		set->items[set->count++] = one;
	}
}

static int
is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static void
add_path(struct report_set *set, const char *path, unsigned depth)
{
	struct dirent **names = NULL;
	struct stat st;
	int n;

	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
		add_file(set, path);
		return;
	}
	n = depth > REPORT_FOLDER_DEPTH ? 0 :
		scandir(path, &names, is_visible, alphasort);
	if (n < 0)
		add_fault(set, path, strerror(errno));
	for (int i = 0; i < n; i++) {
		char *below = xasprintf("%s/%s", path, names[i]->d_name);

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
