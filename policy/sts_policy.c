/*
 * The MTA-STS policy file (RFC 8461 3.2): lines of "key: value", ended by CRLF
 * or LF.  The grammar permits white space before the value and at the end of
 * the line, no empty lines, and no control characters.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "policy/judge.h"
#include "policy/sts.h"
#include "policy/txt_fields.h"

#define POLICY_RFC "RFC 8461 3.2"
#define MAX_AGE_DIGITS 10

enum key {
	KEY_VERSION = 0,
	KEY_MODE,
	KEY_MAX_AGE,
	KEY_MX,
	KEY_COUNT
};

struct parse {
	struct judge judge;
	struct sts_policy *policy;
	bool seen[KEY_COUNT];
};

struct value {
	const char *text;
	size_t len;
};

static bool
value_is(const struct value *value, const char *text)
{
	return value->len == strlen(text) &&
		memcmp(value->text, text, value->len) == 0;
}

static enum status
take_version(struct parse *p, const struct value *value)
{
	char shown[JUDGE_SHOW_MAX];

	if (!value_is(value, "STSv1"))
		return judge_fail(&p->judge, "version is \"%s\", not \"STSv1\" "
			"(%s)", judge_show(shown, value->text, value->len),
			POLICY_RFC);
	return ST_OK;
}

static enum status
take_mode(struct parse *p, const struct value *value)
{
	static const enum sts_mode modes[] = {
		STS_MODE_NONE, STS_MODE_TESTING, STS_MODE_ENFORCE
	};
	char shown[JUDGE_SHOW_MAX];

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (!value_is(value, sts_mode_name(modes[i])))
			continue;
		p->policy->mode = modes[i];
		return ST_OK;
	}
	return judge_fail(&p->judge, "mode is \"%s\", not \"enforce\", "
		"\"testing\" or \"none\" (%s)", judge_show(shown, value->text,
		value->len), POLICY_RFC);
}

static enum status
take_max_age(struct parse *p, const struct value *value)
{
	char shown[JUDGE_SHOW_MAX];
	int64_t age = 0;

	(void)judge_show(shown, value->text, value->len);
	for (size_t i = 0; i < value->len; i++) {
		char c = value->text[i];

		if (c < '0' || c > '9' || i >= MAX_AGE_DIGITS)
			return judge_fail(&p->judge, "max_age \"%s\" is not a "
				"number of at most %d digits (%s)", shown,
				MAX_AGE_DIGITS, POLICY_RFC);
		age = age * 10 + (c - '0');
	}
	if (age > STS_MAX_AGE_MAX)
		return judge_fail(&p->judge, "max_age %s is more than %d, a "
			"year (%s)", shown, STS_MAX_AGE_MAX, POLICY_RFC);
	p->policy->max_age_s = age;
	return ST_OK;
}

static void
note_mx(const struct parse *p, const struct value *value, const char *normal)
{
	const struct sts_policy *policy = p->policy;
	char shown[JUDGE_SHOW_MAX];

	(void)judge_show(shown, value->text, value->len);
	for (size_t i = 0; i < value->len; i++)
		if ((unsigned char)value->text[i] > 127) {
			judge_note(&p->judge, "mx \"%s\" should be written in "
				"A-labels; other senders may refuse it (%s)",
				shown, POLICY_RFC);
			break;
		}
	for (size_t i = 0; i < policy->mx_count; i++)
		if (strcmp(policy->mx[i], normal) == 0) {
			judge_note(&p->judge, "mx \"%s\" is there more than "
				"once (%s)", shown, POLICY_RFC);
			break;
		}
}

static enum status
take_mx(struct parse *p, const struct value *value)
{
	struct sts_policy *policy = p->policy;
	char normal[STS_PATTERN_MAX], shown[JUDGE_SHOW_MAX];
	const char *fault = sts_pattern_parse(value->text, value->len, normal);

	if (fault != NULL)
		return judge_fail(&p->judge, "mx \"%s\" %s (%s)",
			judge_show(shown, value->text, value->len), fault,
			POLICY_RFC);
	if (policy->mx_count >= STS_MX_MAX)
		return judge_fail(&p->judge, "more than %d mx patterns (%s)",
			STS_MX_MAX, POLICY_RFC);
	if (p->judge.note != NULL)
		note_mx(p, value, normal);
	policy->mx = xrealloc_n(policy->mx, policy->mx_count + 1,
		sizeof(policy->mx[0]));
	policy->mx[policy->mx_count++] = xstrdup(normal);
	return ST_OK;
}

static const struct {
	const char *name;
	enum status (*take)(struct parse *, const struct value *);
} keys[KEY_COUNT] = {
	[KEY_VERSION] = { "version", take_version },
	[KEY_MODE] = { "mode", take_mode },
	[KEY_MAX_AGE] = { "max_age", take_max_age },
	[KEY_MX] = { "mx", take_mx },
};

static enum status
take_pair(struct parse *p, const struct value *name, const struct value *value)
{
	size_t i = 0;

	while (i < KEY_COUNT && !value_is(name, keys[i].name))
		i++;
	if (i == KEY_COUNT) {
		judge_note(&p->judge, "unknown key \"%.*s\" is ignored (%s)",
			(int)name->len, name->text, POLICY_RFC);
		return ST_OK;
	}
	if (p->seen[i] && i != KEY_MX) {
		judge_note(&p->judge, "%s is there more than once, only the "
			"first one counts (%s)", keys[i].name, POLICY_RFC);
		return ST_OK;
	}
	p->seen[i] = true;
	if (i == KEY_VERSION && p->judge.line > 1)
		judge_note(&p->judge, "version is not the first key, where "
			"other senders may expect it (%s)", POLICY_RFC);
	return keys[i].take(p, value);
}

static bool
is_wsp(char c)
{
	return c == ' ' || c == '\t';
}

/* sts-policy-vchar and spaces; the text is UTF-8. */
static bool
value_valid(const struct value *value)
{
	for (size_t i = 0; i < value->len; i++) {
		unsigned char c = (unsigned char)value->text[i];

		if (c < 32 || c == 127)
			return false;
	}
	return value->len > 0;
}

/* One line without its end. */
static enum status
take_line(struct parse *p, const char *line, size_t len)
{
	const struct judge *judge = &p->judge;
	const char *colon = memchr(line, ':', len);
	struct value name = { line, 0 }, value;
	char shown[JUDGE_SHOW_MAX];

	if (len == 0)
		return judge_fail(judge, "an empty line (%s)", POLICY_RFC);
	if (!str_is_utf8(line, len))
		return judge_fail(judge, "not UTF-8 (%s)", POLICY_RFC);
	(void)judge_show(shown, line, len);
	if (colon == NULL)
		return judge_fail(judge, "\"%s\" has no colon (%s)", shown,
			POLICY_RFC);
	name.len = (size_t)(colon - line);
	if (!txt_name_valid(name.text, name.len))
		return judge_fail(judge, "\"%s\" does not begin with a key "
			"(%s)", shown, POLICY_RFC);
	value.text = colon + 1;
	value.len = len - name.len - 1;
	for (; value.len > 0 && is_wsp(*value.text); value.len--)
		value.text++;
	len = value.len;
	while (value.len > 0 && is_wsp(value.text[value.len - 1]))
		value.len--;
	if (value.len == 0)
		return judge_fail(judge, "%.*s has no value (%s)",
			(int)name.len, name.text, POLICY_RFC);
	if (!value_valid(&value))
		return judge_fail(judge, "\"%s\" has a control character (%s)",
			shown, POLICY_RFC);
	if (value.len < len)
		judge_note(judge, "white space at the end of the line (%s)",
			POLICY_RFC);
	return take_pair(p, &name, &value);
}

static enum status
take_lines(struct parse *p, const char *text, size_t len)
{
	enum status st = ST_OK;

	while (st == ST_OK && len > 0) {
		const char *end = memchr(text, '\n', len);
		size_t whole = end == NULL ? len : (size_t)(end - text) + 1;
		size_t line = end == NULL ? len : whole - 1;

		if (end != NULL && line > 0 && text[line - 1] == '\r')
			line--;
		p->judge.line++;
		st = take_line(p, text, line);
		text += whole;
		len -= whole;
	}
	return st;
}

static enum status
require(struct parse *p)
{
	p->judge.line = 0;
	for (size_t i = 0; i < KEY_COUNT; i++) {
		if (p->seen[i])
			continue;
		if (i != KEY_MX)
			return judge_fail(&p->judge, "there is no %s (%s)",
				keys[i].name, POLICY_RFC);
		if (p->policy->mode != STS_MODE_NONE)
			return judge_fail(&p->judge, "there is no mx, and mode "
				"is %s (%s)", sts_mode_name(p->policy->mode),
				POLICY_RFC);
	}
	return ST_OK;
}

enum status
sts_policy_judge(const uint8_t *text, size_t len, struct sts_policy **out,
	char err[STS_ERR_MAX], sts_note_cb *note, void *arg)
{
	struct parse p = { .judge = { .err = err, .note = note, .arg = arg } };
	enum status st;

	*out = NULL;
	err[0] = '\0';
	if (len == 0)
		return judge_fail(&p.judge, "empty (%s)", POLICY_RFC);
	if (len > STS_POLICY_MAX)
		return judge_fail(&p.judge, "longer than %d bytes (RFC 8461 "
			"3.3)", STS_POLICY_MAX);
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		return judge_fail(&p.judge, "begins with a byte order mark "
			"(%s)", POLICY_RFC);
	p.policy = xcalloc(1, sizeof(*p.policy));
	st = take_lines(&p, (const char *)text, len);
	if (st == ST_OK)
		st = require(&p);
	if (st == ST_OK)
		*out = p.policy;
	else
		sts_policy_free(&p.policy);
	return st;
}

enum status
sts_policy_parse(const uint8_t *text, size_t len, struct sts_policy **out,
	char err[STS_ERR_MAX])
{
	return sts_policy_judge(text, len, out, err, NULL, NULL);
}

void
sts_policy_free(struct sts_policy **policy)
{
	if (*policy == NULL)
		return;
	for (size_t i = 0; i < (*policy)->mx_count; i++)
		mem_free(&(*policy)->mx[i]);
	mem_free(&(*policy)->mx);
	mem_free(policy);
}

struct sts_policy *
sts_policy_copy(const struct sts_policy *policy)
{
	struct sts_policy *copy = xcalloc(1, sizeof(*copy));

	*copy = *policy;
	copy->mx = NULL;
	if (policy->mx_count > 0)
		copy->mx = xcalloc(policy->mx_count, sizeof(copy->mx[0]));
	for (size_t i = 0; i < policy->mx_count; i++)
		copy->mx[i] = xstrdup(policy->mx[i]);
	return copy;
}
