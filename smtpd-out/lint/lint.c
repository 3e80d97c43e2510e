/*
 * What lint has found, and how it is shown.
 */
#include "config.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "smtpd-out/lint/lint.h"

void
lint_init(struct lint *l)
{
	l->values = json_object();
	l->errors = json_array();
	l->warnings = json_array();
	if (l->values == NULL || l->errors == NULL || l->warnings == NULL)
		abort();
}

void
lint_clear(struct lint *l)
{
	json_decref(l->warnings);
	json_decref(l->errors);
	json_decref(l->values);
	memset(l, 0, sizeof(*l));
}

bool
lint_valid(const struct lint *l)
{
	return json_array_size(l->errors) == 0;
}

/* ---- filling ---- */

static json_t *
printable(const char *text)
{
	size_t len = strlen(text);
	char *clean = xmalloc(len + 1);
	json_t *value;

	str_sanitise(clean, len + 1, text, len);
	value = json_string(clean);
	free(clean);
	return value;
}

static void say(json_t *, const char *fmt, va_list)
	__attribute__((format(printf, 2, 0)));

static void
say(json_t *list, const char *fmt, va_list ap)
{
	char text[LINT_TEXT_MAX];

	(void)vsnprintf(text, sizeof(text), fmt, ap);
	(void)json_array_append_new(list, printable(text));
}

void
lint_error(struct lint *l, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(l->errors, fmt, ap);
	va_end(ap);
}

void
lint_warn(struct lint *l, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(l->warnings, fmt, ap);
	va_end(ap);
}

void
lint_note(unsigned line, const char *sentence, void *arg)
{
	struct lint *l = arg;

	if (line == 0)
		lint_warn(l, "%s", sentence);
	else
		lint_warn(l, "line %u: %s", line, sentence);
}

void
lint_set(struct lint *l, const char *key, const char *text)
{
	(void)json_object_set_new(l->values, key, printable(text));
}

void
lint_add(struct lint *l, const char *key, const char *text)
{
	json_t *list = json_object_get(l->values, key);

	if (list == NULL) {
		list = json_array();
		(void)json_object_set_new(l->values, key, list);
	}
	(void)json_array_append_new(list, printable(text));
}

/* ---- showing ---- */

void
lint_print_json(const struct lint *l, FILE *to)
{
	json_t *out = json_object();

	(void)json_object_set_new(out, "valid", json_boolean(lint_valid(l)));
	(void)json_object_set(out, "errors", l->errors);
	(void)json_object_set(out, "warnings", l->warnings);
	(void)json_object_update_missing(out, l->values);
	if (json_dumpf(out, to, JSON_COMPACT) == 0)
		(void)fputc('\n', to);
	json_decref(out);
}

/* One scalar in a line; an object as its values. */
static void
print_scalar(const json_t *value, FILE *to)
{
	const char *key, *gap = "";
	json_t *member;

	switch (json_typeof(value)) {
	case JSON_STRING:
		(void)fputs(json_string_value(value), to);
		break;
	case JSON_INTEGER:
		(void)fprintf(to, "%lld",
			(long long)json_integer_value(value));
		break;
	case JSON_OBJECT:
		json_object_foreach((json_t *)(uintptr_t)value, key, member) {
			(void)fprintf(to, "%s%s ", gap, key);
			print_scalar(member, to);
			gap = ", ";
		}
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		(void)fputs(json_is_true(value) ? "yes" : "no", to);
		break;
	case JSON_NULL:
	case JSON_REAL:
	case JSON_ARRAY:
		(void)fputc('-', to);
		break;
	}
}

/* The name once, then as many lines as there are values. */
static void
print_value(const char *name, const json_t *value, int width, FILE *to)
{
	size_t i;
	json_t *item;

	if (!json_is_array(value)) {
		(void)fprintf(to, "%-*s  ", width, name);
		print_scalar(value, to);
		(void)fputc('\n', to);
		return;
	}
	json_array_foreach(value, i, item) {
		(void)fprintf(to, "%-*s  ", width, i == 0 ? name : "");
		print_scalar(item, to);
		(void)fputc('\n', to);
	}
}

/* Values, then what is wrong, then the verdict, where a terminal ends. */
void
lint_print(const struct lint *l, FILE *to)
{
	int width = (int)strlen("warning");
	const char *key;
	json_t *value;
	size_t i;

	json_object_foreach(l->values, key, value)
		if ((int)strlen(key) > width)
			width = (int)strlen(key);
	json_object_foreach(l->values, key, value)
		print_value(key, value, width, to);
	json_array_foreach(l->errors, i, value)
		print_value("error", value, width, to);
	json_array_foreach(l->warnings, i, value)
		print_value("warning", value, width, to);
	(void)fprintf(to, "%-*s  %s\n", width, "verdict",
		lint_valid(l) ? "valid" : "invalid");
}
