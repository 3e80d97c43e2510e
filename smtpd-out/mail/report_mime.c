/*
 * Finding the report in a mail that somebody sent: a bounded walk over its
 * parts, also where it was forwarded within another mail.
 */
#include "config.h"

#include <string.h>
#include <strings.h>

#include "smtpd-out/mail/mime.h"
#include "smtpd-out/mail/report_mail.h"

#define TYPE_MAX 80
#define BOUNDARY_MAX 128

/* How sure a part's type and name make us. */
enum guess { GUESS_NONE = 0, GUESS_NAME, GUESS_TYPE };

struct walk {
	unsigned parts_left;
	enum guess best;
	struct mime_entity part;
	char file[256];
};

static bool
has_end(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && strcasecmp(text + n - m, end) == 0;
}

static bool
is_one_of(const char *type, const char *const *types)
{
	for (; *types != NULL; types++)
		if (strcmp(type, *types) == 0)
			return true;
	return false;
}

/* Some say application/gzip, or nothing useful, and name the file well. */
static enum guess
judge(const char *type, const char *file)
{
	static const char *const right[] = { "application/tlsrpt+gzip",
		"application/tlsrpt+json", NULL };
	static const char *const other[] = { "application/gzip",
		"application/x-gzip", "application/json",
		"application/octet-stream", "application/tlsrpt", NULL };

	if (is_one_of(type, right))
		return GUESS_TYPE;
	if (is_one_of(type, other) &&
	    (has_end(file, ".json.gz") || has_end(file, ".json")))
		return GUESS_NAME;
	return GUESS_NONE;
}

static void
look_at(struct walk *w, const struct mime_entity *e, const char *type_field)
{
	char disposition[512], type[TYPE_MAX], file[sizeof(w->file)];
	enum guess guess;

	mime_word(type_field, type, sizeof(type));
	(void)mime_field(e, "Content-Disposition", disposition,
		sizeof(disposition));
	if (!mime_param(disposition, "filename", file, sizeof(file)))
		(void)mime_param(type_field, "name", file, sizeof(file));
	guess = judge(type, file);
	if (guess <= w->best)
		return;
	w->best = guess;
	w->part = *e;
	memcpy(w->file, file, sizeof(file));
}

static void
walk(struct walk *w, const struct mime_entity *e, unsigned depth)
{
	char field[1024], type[TYPE_MAX], boundary[BOUNDARY_MAX];
	struct mime_entity part;
	size_t offset = 0;

	if (w->parts_left == 0 || depth > REPORT_MAIL_DEPTH_MAX ||
	    w->best == GUESS_TYPE)
		return;
	w->parts_left--;
	(void)mime_field(e, "Content-Type", field, sizeof(field));
	mime_word(field, type, sizeof(type));
	if (strcmp(type, "message/rfc822") == 0) {
		mime_split(e->body, e->body_len, &part);
		walk(w, &part, depth + 1);
		return;
	}
	if (strncmp(type, "multipart/", 10) != 0) {
		look_at(w, e, field);
		return;
	}
	if (!mime_param(field, "boundary", boundary, sizeof(boundary)))
		return;
	while (w->parts_left > 0 && mime_next(e, boundary, &offset, &part))
		walk(w, &part, depth + 1);
}

/* A file of a mailbox begins with a line that is no field. */
static void
skip_from_line(const char **bytes, size_t *len)
{
	const char *end = *len > 5 && memcmp(*bytes, "From ", 5) == 0 ?
		memchr(*bytes, '\n', *len) : NULL;

	if (end == NULL)
		return;
	*len -= (size_t)(end + 1 - *bytes);
	*bytes = end + 1;
}

static void
get_domain(const struct mime_entity *e, const char *name,
	char out[STR_DOMAIN_MAX])
{
	char value[STR_DOMAIN_MAX + 64], domain[STR_DOMAIN_MAX];

	out[0] = '\0';
	if (mime_field(e, name, value, sizeof(value)) &&
	    str_domain(value, domain) == ST_OK)
		(void)str_copy(out, STR_DOMAIN_MAX, domain);
}

enum status
report_mail_find(const void *message, size_t len, struct buf *out,
	struct report_mail_facts *facts)
{
	struct walk w = { .parts_left = REPORT_MAIL_PARTS_MAX };
	const char *bytes = message;
	struct mime_entity whole;

	*facts = (struct report_mail_facts){ 0 };
	skip_from_line(&bytes, &len);
	mime_split(bytes, len, &whole);
	get_domain(&whole, "TLS-Report-Domain", facts->domain);
	get_domain(&whole, "TLS-Report-Submitter", facts->submitter);
	walk(&w, &whole, 0);
	if (w.best == GUESS_NONE)
		return ST_NOENT;
	(void)str_copy(facts->file, sizeof(facts->file), w.file);
	return mime_decode(&w.part, out);
}
