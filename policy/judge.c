/*
 * Sentences about published texts.  Whatever is quoted in them has passed
 * judge_show(), so that they may go to logs and terminals.
 */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/str.h"
#include "policy/judge.h"

enum status
judge_fail(const struct judge *judge, const char *fmt, ...)
{
	char text[JUDGE_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (judge->line == 0)
		(void)str_copy(judge->err, JUDGE_TEXT_MAX, text);
	else
		(void)snprintf(judge->err, JUDGE_TEXT_MAX, "line %u: %.*s",
			judge->line, JUDGE_TEXT_MAX - 20, text);
	return ST_PARSE;
}

void
judge_note(const struct judge *judge, const char *fmt, ...)
{
	char text[JUDGE_TEXT_MAX];
	va_list ap;

	if (judge->note == NULL)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	judge->note(judge->line, text, judge->arg);
}

const char *
judge_show(char out[JUDGE_SHOW_MAX], const void *text, size_t len)
{
	str_sanitise(out, JUDGE_SHOW_MAX, text, len);
	return out;
}
