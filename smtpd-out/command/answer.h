/*
 * Fields of a line that the control socket answered.
 */
#ifndef SMTPD_OUT_ANSWER_H
#define SMTPD_OUT_ANSWER_H

#include <jansson.h>
#include <stdio.h>
#include <time.h>

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

/* Seconds as local time; "-" without any. */
static inline void
get_time(const json_t *line, const char *key, char out[32])
{
	time_t t = (time_t)get_int(line, key);
	struct tm tm;

	if (t == 0 || localtime_r(&t, &tm) == NULL ||
	    strftime(out, 32, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		(void)snprintf(out, 32, "-");
}

#endif
