/*
 * Taking such a record apart, by the letter of the grammar: white space is
 * permitted around a semicolon and nowhere else, the last semicolon may be
 * missing, and a field is never empty.
 */
#include "config.h"

#include <string.h>

#include "policy/txt_fields.h"

#define NAME_MAX_LEN 32

static bool
is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
		(c >= 'A' && c <= 'Z');
}

static bool
is_wsp(char c)
{
	return c == ' ' || c == '\t';
}

bool
txt_name_valid(const char *name, size_t len)
{
	if (len < 1 || len > NAME_MAX_LEN || !is_alnum(name[0]))
		return false;
	for (size_t i = 1; i < len; i++)
		if (!is_alnum(name[i]) && name[i] != '_' && name[i] != '-' &&
		    name[i] != '.')
			return false;
	return true;
}

bool
txt_field_is(const struct txt_field *field, const char *name)
{
	return field->name_len == strlen(name) &&
		memcmp(field->name, name, field->name_len) == 0;
}

bool
txt_value_plain(const struct txt_field *field)
{
	for (size_t i = 0; i < field->value_len; i++) {
		unsigned char c = (unsigned char)field->value[i];

		if (c < 0x21 || c > 0x7e || c == '=' || c == ';')
			return false;
	}
	return field->value_len > 0;
}

bool
txt_fields_begin(const void *text, size_t len, const char *version)
{
	size_t n = strlen(version);

	return len > n && memcmp(text, version, n) == 0 &&
		((const char *)text)[n] == ';';
}

static void
skip_wsp(struct txt_fields *f)
{
	while (f->left > 0 && is_wsp(*f->pos)) {
		f->pos++;
		f->left--;
	}
}

void
txt_fields_init(struct txt_fields *f, const void *text, size_t len,
	const char *rfc)
{
	const char *semicolon = memchr(text, ';', len);
	size_t head = semicolon == NULL ? len :
		(size_t)(semicolon + 1 - (const char *)text);

	f->pos = (const char *)text + head;
	f->left = len - head;
	f->rfc = rfc;
	skip_wsp(f);
}

static enum status
split(const struct txt_fields *f, const struct judge *judge, size_t len,
	struct txt_field *out)
{
	const char *equals = memchr(f->pos, '=', len);
	char shown[JUDGE_SHOW_MAX];

	if (equals == NULL)
		return judge_fail(judge, "field \"%s\" has no \"=\" (%s)",
			judge_show(shown, f->pos, len), f->rfc);
	out->name = f->pos;
	out->name_len = (size_t)(equals - f->pos);
	out->value = equals + 1;
	out->value_len = len - out->name_len - 1;
	if (!txt_name_valid(out->name, out->name_len))
		return judge_fail(judge, "\"%s\" is not a field name (%s)",
			judge_show(shown, out->name, out->name_len), f->rfc);
	if (out->value_len == 0)
		return judge_fail(judge, "field \"%.*s\" has no value (%s)",
			(int)out->name_len, out->name, f->rfc);
	return ST_OK;
}

enum status
txt_fields_next(struct txt_fields *f, const struct judge *judge,
	struct txt_field *out)
{
	const char *end;
	size_t whole, len;
	enum status st;

	if (f->left == 0)
		return ST_EOF;
	end = memchr(f->pos, ';', f->left);
	whole = end == NULL ? f->left : (size_t)(end - f->pos);
	for (len = whole; len > 0 && is_wsp(f->pos[len - 1]);)
		len--;
	if (len == 0)
		return judge_fail(judge, "an empty field between semicolons "
			"(%s)", f->rfc);
	if (end == NULL && len < whole)
		return judge_fail(judge, "white space at the end, without a "
			"semicolon before it (%s)", f->rfc);
	st = split(f, judge, len, out);
	f->pos += whole + (end != NULL ? 1 : 0);
	f->left -= whole + (end != NULL ? 1 : 0);
	skip_wsp(f);
	return st;
}

enum txt_pick
txt_fields_pick(const struct dns_answer *answer, const char *version,
	struct dns_bytes *out)
{
	enum txt_pick pick = TXT_PICK_NONE;

	if (answer->security == DNS_SEC_BOGUS ||
	    answer->security == DNS_SEC_INDETERMINATE)
		return TXT_PICK_FAILED;
	if (answer->result == DNS_NODATA || answer->result == DNS_NXDOMAIN)
		return TXT_PICK_NONE;
	if (answer->result != DNS_FOUND)
		return TXT_PICK_FAILED;
	for (size_t i = 0; i < answer->count; i++) {
		const struct dns_bytes *txt = &answer->records[i].u.txt;

		if (!txt_fields_begin(txt->data, txt->len, version))
			continue;
		if (pick == TXT_PICK_ONE)
			return TXT_PICK_SEVERAL;
		*out = *txt;
		pick = TXT_PICK_ONE;
	}
	return pick;
}
