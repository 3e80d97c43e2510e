/*
 * Comments become spaces before the text is parsed, so that the line numbers
 * of errors are right: libconfuse 3.3 counts a line with a comment three
 * times.  A comment without end is left for the parser to find.
 */
#include "config.h"

#include <string.h>

#include "base/conf_int.h"

/* Where no word can be in progress: "a#b" and "x//y" are words. */
static bool
starts_token(const char *text, const char *at)
{
	return at == text || strchr(" \t\r\n\"'={}()+,", at[-1]) != NULL;
}

static char *
skip_string(char *at)
{
	char quote = *at++;

	while (*at != '\0' && *at != quote)
		at += *at == '\\' && at[1] != '\0' ? 2 : 1;
	return *at == '\0' ? at : at + 1;
}

/* The end of the comment that begins at `at`; `at` when none does. */
static char *
comment_end(char *at)
{
	char *end;

	if (*at == '#' || strncmp(at, "//", 2) == 0)
		return at + strcspn(at, "\n");
	if (strncmp(at, "/*", 2) != 0)
		return at;
	end = strstr(at + 2, "*/");
	return end == NULL ? at : end + 2;
}

void
conf_text_blank(char *text)
{
	char *at = text;

	while (*at != '\0') {
		char *end = starts_token(text, at) ? comment_end(at) : at;

		if (*at == '"' || *at == '\'')
			at = skip_string(at);
		else if (end == at)
			at++;
		else
			for (; at < end; at++)
				if (*at != '\n')
					*at = ' ';
	}
}
