/*
 * MTA-STS: the record that announces a policy, and the match of MX hosts.  The
 * policy file is read in sts_policy.c.
 */
#include "config.h"

#include <string.h>

#include "base/str.h"
#include "policy/judge.h"
#include "policy/sts.h"
#include "policy/txt_fields.h"

#define RECORD_RFC "RFC 8461 3.1"
#define PATTERN_TEXT_MAX 1020	/* as written, perhaps in U-labels */
#define RECORD_VERSION "v=STSv1"

_Static_assert(STS_ERR_MAX == JUDGE_TEXT_MAX, "one size of sentences");

const char *
sts_mode_name(enum sts_mode mode)
{
	static const char *const names[] = {
		[STS_MODE_NONE] = "none",
		[STS_MODE_TESTING] = "testing",
		[STS_MODE_ENFORCE] = "enforce",
	};

	if ((size_t)mode >= sizeof(names) / sizeof(names[0]))
		return "unknown";
	return names[mode];
}

const char *
sts_finding_name(enum sts_finding finding)
{
	static const char *const names[] = {
		[STS_FINDING_NONE] = "none",
		[STS_FINDING_RECORD] = "record",
		[STS_FINDING_INVALID] = "invalid",
		[STS_FINDING_FAILED] = "failed",
	};

	if ((size_t)finding >= sizeof(names) / sizeof(names[0]))
		return "unknown";
	return names[finding];
}

bool
sts_record_is(const uint8_t *text, size_t len)
{
	return txt_fields_begin(text, len, RECORD_VERSION);
}

/* Of several ids the first counts: what 3.2 says of repeated fields it says of
 * TXT records, too. */
static enum status
take_id(const struct judge *judge, const struct txt_field *field,
	struct sts_record *out)
{
	char shown[JUDGE_SHOW_MAX];

	if (out->id[0] != '\0') {
		judge_note(judge, "id is there more than once, only the first "
			"one counts (RFC 8461 3.2)");
		return ST_OK;
	}
	if (field->value_len > STS_ID_MAX)
		return judge_fail(judge, "id has more than %d characters (%s)",
			STS_ID_MAX, RECORD_RFC);
	for (size_t i = 0; i < field->value_len; i++) {
		char c = field->value[i];

		if ((c < '0' || c > '9') && (c < 'a' || c > 'z') &&
		    (c < 'A' || c > 'Z'))
			return judge_fail(judge, "id \"%s\" is not of letters "
				"and digits alone (%s)", judge_show(shown,
				field->value, field->value_len), RECORD_RFC);
	}
	memcpy(out->id, field->value, field->value_len);
	out->id[field->value_len] = '\0';
	return ST_OK;
}

static enum status
take_field(const struct judge *judge, const struct txt_field *field,
	struct sts_record *out)
{
	if (txt_field_is(field, "id"))
		return take_id(judge, field, out);
	if (!txt_value_plain(field))
		return judge_fail(judge, "the value of \"%.*s\" has characters "
			"that are not permitted (%s)", (int)field->name_len,
			field->name, RECORD_RFC);
	judge_note(judge, "unknown field \"%.*s\" is ignored (%s)",
		(int)field->name_len, field->name, RECORD_RFC);
	return ST_OK;
}

enum status
sts_record_judge(const uint8_t *text, size_t len, struct sts_record *out,
	char err[STS_ERR_MAX], sts_note_cb *note, void *arg)
{
	struct judge judge = { .err = err, .note = note, .arg = arg };
	struct sts_record record = { "" };
	struct txt_fields fields;
	struct txt_field field;
	enum status st;

	err[0] = '\0';
	memset(out, 0, sizeof(*out));
	if (len > STS_RECORD_MAX)
		return judge_fail(&judge, "longer than %d bytes (%s)",
			STS_RECORD_MAX, RECORD_RFC);
	if (!sts_record_is(text, len))
		return judge_fail(&judge, "does not begin with \"v=STSv1;\" "
			"(%s)", RECORD_RFC);
	txt_fields_init(&fields, text, len, RECORD_RFC);
	while ((st = txt_fields_next(&fields, &judge, &field)) == ST_OK) {
		st = take_field(&judge, &field, &record);
		if (st != ST_OK)
			return st;
	}
	if (st != ST_EOF)
		return st;
	if (record.id[0] == '\0')
		return judge_fail(&judge, "there is no id (%s)", RECORD_RFC);
	*out = record;
	return ST_OK;
}

enum status
sts_record_parse(const uint8_t *text, size_t len, struct sts_record *out,
	char err[STS_ERR_MAX])
{
	return sts_record_judge(text, len, out, err, NULL, NULL);
}

enum sts_finding
sts_record_read(const struct dns_answer *answer, struct sts_record *out,
	char err[STS_ERR_MAX])
{
	struct dns_bytes only = { NULL, 0 };
	const char *why;

	err[0] = '\0';
	memset(out, 0, sizeof(*out));
	switch (txt_fields_pick(answer, RECORD_VERSION, &only)) {
	case TXT_PICK_NONE:
		return STS_FINDING_NONE;
	case TXT_PICK_ONE:
		return sts_record_parse(only.data, only.len, out, err) ==
			ST_OK ? STS_FINDING_RECORD : STS_FINDING_INVALID;
	case TXT_PICK_SEVERAL:
		(void)str_copy(err, STS_ERR_MAX, "more than one record begins "
			"with \"v=STSv1;\" (" RECORD_RFC ")");
		return STS_FINDING_INVALID;
	case TXT_PICK_FAILED:
		break;
	}
	why = answer->why != NULL ? answer->why :
		"no usable answer from the DNS";
	str_sanitise(err, STS_ERR_MAX, why, strlen(why));
	return STS_FINDING_FAILED;
}

/* What str_domain() lets through, and RFC 5321 4.1.2 does not: underscores, and
 * hyphens at the ends of labels. */
static bool
is_host_name(const char *name)
{
	for (const char *p = name; *p != '\0'; p++) {
		bool first = p == name || p[-1] == '.';
		bool last = p[1] == '\0' || p[1] == '.';

		if (*p == '_' || (*p == '-' && (first || last)))
			return false;
	}
	return true;
}

/* Domain of RFC 5321 4.1.2 has no dot at its end, so a pattern has none. */
const char *
sts_pattern_parse(const char *text, size_t len, char out[STS_PATTERN_MAX])
{
	char domain[PATTERN_TEXT_MAX + 1];
	size_t wild = len >= 2 && memcmp(text, "*.", 2) == 0 ? 2 : 0;

	if (len - wild > PATTERN_TEXT_MAX)
		return "is too long";
	if (memchr(text, '\0', len) != NULL)
		return "is not a host name";
	memcpy(domain, text + wild, len - wild);
	domain[len - wild] = '\0';
	if (strchr(domain, '*') != NULL)
		return "has a \"*\" that is not its whole left-most label";
	if (len > wild && domain[len - wild - 1] == '.')
		return "ends in a dot";
	memcpy(out, "*.", 2);
	if (str_domain(domain, out + wild) != ST_OK ||
	    !is_host_name(out + wild))
		return "is not a host name";
	return NULL;
}

static bool
ends_in(const char *host, const char *end)
{
	size_t n = strlen(end), len = strlen(host);

	return len > n && strcmp(host + len - n, end) == 0;
}

/* Both normalised.  4.1: the wildcard stands for exactly one label.  ".example"
 * of a policy list (sts_list.h) for one or more. */
static bool
match(const char *pattern, const char *host)
{
	const char *dot;

	if (pattern[0] == '.')
		return ends_in(host, pattern);
	if (pattern[0] != '*')
		return strcmp(pattern, host) == 0;
	dot = strchr(host, '.');
	return dot != NULL && strcmp(pattern + 1, dot) == 0;
}

bool
sts_match(const char *pattern, const char *host)
{
	char normal[STS_PATTERN_MAX], name[STR_DOMAIN_MAX];

	return sts_pattern_parse(pattern, strlen(pattern), normal) == NULL &&
		str_domain(host, name) == ST_OK && match(normal, name);
}

bool
sts_policy_allows(const struct sts_policy *policy, const char *host)
{
	char name[STR_DOMAIN_MAX];

	if (str_domain(host, name) != ST_OK)
		return false;
	for (size_t i = 0; i < policy->mx_count; i++)
		if (match(policy->mx[i], name))
			return true;
	return false;
}
