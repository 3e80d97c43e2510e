/*
 * Fields of a line that the control socket answered.
 */
#ifndef SMTPD_OUT_ANSWER_H
#define SMTPD_OUT_ANSWER_H

#include <jansson.h>

/* "" without such a text. */
static inline const char *
get_text(const json_t *line, const char *key)
{
	const char *text = json_string_value(json_object_get(line, key));

	return text != NULL ? text : "";
}

/* 0 without such a number. */
static inline long long
get_int(const json_t *line, const char *key)
{
	return json_integer_value(json_object_get(line, key));
}

#endif
