/*
 * What a server says that it can do, as a list of words: a line of SMTP, POP3
 * and NNTP is one, IMAP has them all on a line, XMPP has elements.
 */
#include "config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/starttls/starttls.h"

#define WORD_MAX 128
#define DEPTH_MAX 8

static void
add(struct starttls_list *l, const char *text, size_t len)
{
	char word[WORD_MAX];

	while (len > 0 && isspace((unsigned char)text[len - 1]))
		len--;
	if (len == 0)
		return;
	l->total++;
	if (l->count == STARTTLS_WORDS_MAX)
		return;
	str_sanitise(word, sizeof(word), text, len);
	l->words[l->count++] = xstrdup(word);
}

/* ---- lines ---- */

/* The next line without its end; false after the last. */
static bool
next_line(const char **text, size_t *left, const char **line_out,
	size_t *len_out)
{
	const char *end = memchr(*text, '\n', *left);

	if (end == NULL)
		return false;
	*line_out = *text;
	*len_out = (size_t)(end - *text);
	*left -= *len_out + 1;
	*text = end + 1;
	if (*len_out > 0 && (*line_out)[*len_out - 1] == '\r')
		--*len_out;
	return true;
}

/* The first line of an answer says who speaks. */
static void
take_lines(struct starttls_list *l, size_t skip, const char *text,
	size_t left)
{
	bool first = true;
	const char *line;
	size_t len;

	while (next_line(&text, &left, &line, &len)) {
		if (!first && len > skip && !(len == 1 && line[0] == '.'))
			add(l, line + skip, len - skip);
		first = false;
	}
}

static void
take_imap(struct starttls_list *l, const char *text, size_t left)
{
	static const char head[] = "* CAPABILITY ";
	const size_t head_len = sizeof(head) - 1;
	const char *line, *space;
	size_t len;

	while (next_line(&text, &left, &line, &len)) {
		if (len < head_len || strncasecmp(line, head, head_len) != 0)
			continue;
		line += head_len;
		len -= head_len;
		while ((space = memchr(line, ' ', len)) != NULL) {
			add(l, line, (size_t)(space - line));
			len -= (size_t)(space - line) + 1;
			line = space + 1;
		}
		add(l, line, len);
	}
}

/* ---- elements ---- */

static size_t
name_len(const char *tag, size_t len)
{
	size_t n = 0;

	while (n < len && (isalnum((unsigned char)tag[n]) || tag[n] == ':' ||
	    tag[n] == '-' || tag[n] == '_' || tag[n] == '.'))
		n++;
	return n;
}

static bool
is_name(const char *tag, size_t len, const char *name)
{
	size_t n = name_len(tag, len);

	return n == strlen(name) && memcmp(tag, name, n) == 0;
}

/* <mechanism>PLAIN</mechanism> is worth its content. */
static void
add_element(struct starttls_list *l, const char *tag, size_t tag_len,
	const char *after, size_t after_len)
{
	const char *end = memchr(after, '<', after_len);

	if (is_name(tag, tag_len, "mechanism") && end != NULL)
		add(l, after, (size_t)(end - after));
	else if (!is_name(tag, tag_len, "mechanisms"))
		add(l, tag, name_len(tag, tag_len));
}

/* The children of <stream:features>, and the mechanisms below them.  What a
 * peer nests deeper than anybody does is passed over. */
static void
take_xml(struct starttls_list *l, const char *text, size_t left)
{
	int depth = -1;			/* below the features; -1: outside */
	const char *open, *close;

	while ((open = memchr(text, '<', left)) != NULL) {
		const char *tag = open + 1;
		size_t len;

		left -= (size_t)(tag - text);
		text = tag;
		close = memchr(tag, '>', left);
		if (close == NULL)
			return;
		len = (size_t)(close - tag);
		left -= len + 1;
		text = close + 1;
		if (len == 0 || tag[0] == '?' || tag[0] == '!')
			continue;
		if (depth < 0) {
			if (is_name(tag, len, "stream:features"))
				depth = 0;
			continue;
		}
		if (tag[0] == '/') {
			depth--;
			continue;
		}
		if (depth == 0 || is_name(tag, len, "mechanism"))
			add_element(l, tag, len, text, left);
		if (tag[len - 1] != '/' && ++depth > DEPTH_MAX)
			return;
	}
}

void
starttls_list_take(struct starttls_list *l, enum starttls_frame frame,
	const char *text, size_t len)
{
	switch (frame) {
	case STARTTLS_FRAME_REPLY:
		take_lines(l, 4, text, len);
		break;
	case STARTTLS_FRAME_DOTTED:
		take_lines(l, 0, text, len);
		break;
	case STARTTLS_FRAME_TAGGED:
		take_imap(l, text, len);
		break;
	case STARTTLS_FRAME_XML:
		take_xml(l, text, len);
		break;
	case STARTTLS_FRAME_NONE:
	case STARTTLS_FRAME_LINE:
	case STARTTLS_FRAME_OCTET:
		break;
	}
}

void
starttls_list_clear(struct starttls_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->words[i]);
	memset(l, 0, sizeof(*l));
}

/* A keyword may have parameters behind it. */
bool
starttls_list_has(const struct starttls_list *l, const char *word)
{
	size_t len = strlen(word);

	for (size_t i = 0; i < l->count; i++)
		if (strncasecmp(l->words[i], word, len) == 0 &&
		    (l->words[i][len] == '\0' || l->words[i][len] == ' '))
			return true;
	return false;
}
