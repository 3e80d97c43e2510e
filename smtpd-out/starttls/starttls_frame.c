/*
 * Answers of all protocols, taken apart no further than needed.  Lines end
 * with LF, whatever stands before it.
 */
#include "config.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "smtpd-out/starttls/starttls_frame.h"

#define LINE_MAX_OCTETS 8192

/* Whether text begins with one of the words, which '|' parts. */
static bool
begins(const char *text, size_t len, const char *words)
{
	while (words != NULL && *words != '\0') {
		size_t n = strcspn(words, "|");

		if (len >= n && strncasecmp(text, words, n) == 0)
			return true;
		words += n + (words[n] == '|');
	}
	return false;
}

static enum starttls_answer
judge(const struct starttls_step *step, const char *line, size_t len)
{
	if (begins(line, len, step->good))
		return STARTTLS_ANSWER_GOOD;
	return begins(line, len, step->bad) ? STARTTLS_ANSWER_BAD :
		STARTTLS_ANSWER_ODD;
}

struct lines {
	const char *text;
	size_t len;
	size_t pos;		/* behind the line */
	const char *line;	/* the current one, without its end */
	size_t line_len;
};

/* GOOD: there is a line; PART: not a whole one yet; ODD: too long. */
static enum starttls_answer
next(struct lines *l)
{
	const char *end;

	l->line = l->text + l->pos;
	l->line_len = l->len - l->pos;
	end = memchr(l->line, '\n', l->line_len);
	if (end == NULL)
		return l->line_len > LINE_MAX_OCTETS ? STARTTLS_ANSWER_ODD :
			STARTTLS_ANSWER_PART;
	l->line_len = (size_t)(end - l->line);
	l->pos += l->line_len + 1;
	if (l->line_len > 0 && l->line[l->line_len - 1] == '\r')
		l->line_len--;
	return STARTTLS_ANSWER_GOOD;
}

static bool
is_code(const char *line, size_t len)
{
	return len >= 3 && isdigit((unsigned char)line[0]) &&
		isdigit((unsigned char)line[1]) &&
		isdigit((unsigned char)line[2]) && (len == 3 ||
		line[3] == ' ' || line[3] == '-');
}

static enum starttls_answer
reply(const struct starttls_step *step, struct lines *l)
{
	enum starttls_answer got;

	while ((got = next(l)) == STARTTLS_ANSWER_GOOD) {
		if (!is_code(l->line, l->line_len))
			return STARTTLS_ANSWER_ODD;
		if (l->line_len == 3 || l->line[3] == ' ')
			return judge(step, l->line, l->line_len);
	}
	return got;
}

/* good is "TAG OK". */
static enum starttls_answer
tagged(const struct starttls_step *step, struct lines *l)
{
	size_t tag_len = strcspn(step->good, " ") + 1;
	enum starttls_answer got;

	while ((got = next(l)) == STARTTLS_ANSWER_GOOD) {
		if (l->line_len >= tag_len && strncasecmp(l->line, step->good,
		    tag_len) == 0)
			return judge(step, l->line, l->line_len);
		if (!begins(l->line, l->line_len, "* "))
			return STARTTLS_ANSWER_ODD;
	}
	return got;
}

static enum starttls_answer
dotted(const struct starttls_step *step, struct lines *l)
{
	enum starttls_answer got = next(l);

	if (got == STARTTLS_ANSWER_GOOD)
		got = judge(step, l->line, l->line_len);
	if (got != STARTTLS_ANSWER_GOOD)
		return got;
	while ((got = next(l)) == STARTTLS_ANSWER_GOOD)
		if (l->line_len == 1 && l->line[0] == '.')
			return STARTTLS_ANSWER_GOOD;
	return got;
}

static enum starttls_answer
line(const struct starttls_step *step, struct lines *l)
{
	enum starttls_answer got = next(l);

	return got == STARTTLS_ANSWER_GOOD ? judge(step, l->line,
		l->line_len) : got;
}

/* One of "name", "/name" (an end tag) and "name/" (an empty element). */
static bool
is_tag(const char *tag, size_t len, const char *words)
{
	while (words != NULL && *words != '\0') {
		size_t n = strcspn(words, "|");
		bool empty = words[n - 1] == '/';
		size_t name = n - empty;

		if (len >= name && memcmp(tag, words, name) == 0 &&
		    (len == name || strchr(" \t\r\n/", tag[name]) != NULL) &&
		    (!empty || tag[len - 1] == '/'))
			return true;
		words += n + (words[n] == '|');
	}
	return false;
}

static enum starttls_answer
xml(const struct starttls_step *step, struct lines *l)
{
	const char *open, *close;

	while (l->pos < l->len && isspace((unsigned char)l->text[l->pos]))
		l->pos++;
	if (l->pos < l->len && l->text[l->pos] != '<')
		return STARTTLS_ANSWER_ODD;
	while ((open = memchr(l->text + l->pos, '<', l->len - l->pos)) !=
	    NULL) {
		size_t at = (size_t)(open - l->text) + 1;

		close = memchr(l->text + at, '>', l->len - at);
		if (close == NULL)
			break;
		l->pos = (size_t)(close - l->text) + 1;
		if (is_tag(open + 1, l->pos - at - 1, step->good))
			return STARTTLS_ANSWER_GOOD;
		if (is_tag(open + 1, l->pos - at - 1, step->bad))
			return STARTTLS_ANSWER_BAD;
	}
	return STARTTLS_ANSWER_PART;
}

static enum starttls_answer
octet(const struct starttls_step *step, struct lines *l)
{
	if (l->len == 0)
		return STARTTLS_ANSWER_PART;
	l->pos = 1;
	return judge(step, l->text, 1);
}

enum starttls_answer
starttls_frame(const struct starttls_step *step, const char *text, size_t len,
	size_t *len_out)
{
	static enum starttls_answer (*const frames[])(
		const struct starttls_step *, struct lines *) = {
		[STARTTLS_FRAME_REPLY] = reply,
		[STARTTLS_FRAME_LINE] = line,
		[STARTTLS_FRAME_TAGGED] = tagged,
		[STARTTLS_FRAME_DOTTED] = dotted,
		[STARTTLS_FRAME_XML] = xml,
		[STARTTLS_FRAME_OCTET] = octet,
	};
	struct lines l = { .text = text, .len = len };
	enum starttls_answer got;

	if (step->frame == STARTTLS_FRAME_NONE)
		return STARTTLS_ANSWER_ODD;
	got = frames[step->frame](step, &l);
	*len_out = l.pos;
	return got;
}
