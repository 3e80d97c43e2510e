/*
 * lint of MTA-STS: policy files, records, patterns; and of TLSRPT records,
 * which are published beside them.
 */
#include "config.h"

#include <string.h>

#include "base/str.h"
#include "policy/sts.h"
#include "policy/tlsrpt_record.h"
#include "smtpd-out/lint/lint.h"
#include "smtpd-out/lint/lint_txt.h"

#define DAY_S 86400
#define WEEK_S (7 * DAY_S)

/* ---- policy ---- */

static void
advise_max_age(struct lint *l, int64_t age)
{
	if (age < DAY_S)
		lint_warn(l, "max_age of %lld s is less than a day: an "
			"attacker has only to wait; weeks are expected (RFC "
			"8461 3.2)", (long long)age);
	else if (age < WEEK_S)
		lint_warn(l, "max_age of %lld s is less than a week; weeks or "
			"more are expected (RFC 8461 3.2)", (long long)age);
}

static void
advise_mx(struct lint *l, const char *mx)
{
	bool wild = strncmp(mx, "*.", 2) == 0;
	const char *name = wild ? mx + 2 : mx;
	const char *dot = strrchr(name, '.');
	const char *last = dot == NULL ? name : dot + 1;

	if (wild && dot == NULL)
		lint_warn(l, "mx \"%s\" lets in any host of a whole top-level "
			"domain (RFC 8461 4.1)", mx);
	else if (wild)
		lint_warn(l, "mx \"%s\" lets in every host one label below; "
			"name the hosts if they are known (RFC 8461 4.1)",
			mx);
	else if (dot == NULL)
		lint_warn(l, "mx \"%s\" is a single label: hosts are given in "
			"full (RFC 5321 2.3.5)", mx);
	if (strspn(last, "0123456789") == strlen(last))
		lint_warn(l, "mx \"%s\" looks like an address, and MX records "
			"name hosts (RFC 5321 5.1)", mx);
}

static void
advise_policy(struct lint *l, const struct sts_policy *policy)
{
	if (policy->mode == STS_MODE_TESTING)
		lint_warn(l, "mode testing protects nothing: mail is "
			"delivered all the same and failures are only "
			"reported (RFC 8461 5)");
	if (policy->mode == STS_MODE_NONE)
		lint_warn(l, "mode none takes an earlier policy away, and "
			"protects nothing (RFC 8461 8.3)");
	else
		advise_max_age(l, policy->max_age_s);
	for (size_t i = 0; i < policy->mx_count; i++)
		advise_mx(l, policy->mx[i]);
}

void
lint_sts_policy(struct lint *l, const uint8_t *text, size_t len)
{
	struct sts_policy *policy;
	char err[STS_ERR_MAX];

	if (sts_policy_judge(text, len, &policy, err, lint_note, l) != ST_OK) {
		lint_error(l, "%s", err);
		return;
	}
	lint_set(l, "version", "STSv1");
	lint_set(l, "mode", sts_mode_name(policy->mode));
	(void)json_object_set_new(l->values, "max_age",
		json_integer(policy->max_age_s));
	(void)json_object_set_new(l->values, "mx", json_array());
	for (size_t i = 0; i < policy->mx_count; i++)
		lint_add(l, "mx", policy->mx[i]);
	advise_policy(l, policy);
	sts_policy_free(&policy);
}

/* ---- records ---- */

/* Those that do not count, and which one does. */
static const struct dns_bytes *
counting(struct lint *l, const struct dns_answer *answer,
	bool (*is)(const uint8_t *, size_t), const char *section)
{
	const struct dns_bytes *only = NULL;

	for (size_t i = 0; i < answer->count; i++) {
		const struct dns_bytes *txt = &answer->records[i].u.txt;

		if (is(txt->data, txt->len))
			only = txt;
		else if (answer->count > 1)
			lint_warn(l, "record %zu does not begin as it must "
				"and is passed over (%s)", i + 1, section);
	}
	if (only == NULL && answer->count == 1)
		only = &answer->records[0].u.txt;
	return only;
}

void
lint_sts_record(struct lint *l, char *const *txt, size_t count)
{
	const struct dns_bytes *only;
	struct sts_record record;
	struct lint_txt t;
	char err[STS_ERR_MAX];

	lint_txt_init(&t, l, txt, count);
	only = counting(l, &t.answer, sts_record_is, "RFC 8461 3.1");
	if (only == NULL)
		lint_error(l, "no record begins with \"v=STSv1;\" (RFC 8461 "
			"3.1)");
	else if (sts_record_read(&t.answer, &record, err) ==
	    STS_FINDING_INVALID && count > 1)
		lint_error(l, "%s", err);
	else if (sts_record_judge(only->data, only->len, &record, err,
	    lint_note, l) != ST_OK)
		lint_error(l, "%s", err);
	else {
		lint_set(l, "version", "STSv1");
		lint_set(l, "id", record.id);
	}
	lint_txt_clear(&t);
}

static void
set_destinations(struct lint *l, const struct tlsrpt_record *record)
{
	json_t *list = json_array();

	for (size_t i = 0; i < record->rua_count; i++)
		lint_add(l, "rua", record->rua[i].uri);
	for (size_t i = 0; i < record->rua_count; i++) {
		const struct tlsrpt_rua *rua = &record->rua[i];
		bool mail = rua->kind == TLSRPT_MAILTO;

		(void)json_array_append_new(list, mail ?
			json_pack("{ss}", "mailto", rua->target) :
			json_pack("{ss ss si}", "https", rua->target, "host",
			rua->host, "port", (int)rua->port));
	}
	(void)json_object_set_new(l->values, "destinations", list);
}

void
lint_tlsrpt_record(struct lint *l, char *const *txt, size_t count)
{
	const struct dns_bytes *only;
	struct tlsrpt_record *record = NULL;
	struct lint_txt t;
	char err[TLSRPT_ERR_MAX];

	lint_txt_init(&t, l, txt, count);
	only = counting(l, &t.answer, tlsrpt_record_is, "RFC 8460 3");
	if (only == NULL) {
		lint_error(l, "no record begins with \"v=TLSRPTv1;\" (RFC "
			"8460 3)");
	} else if (tlsrpt_record_read(&t.answer, &record, err) ==
	    TLSRPT_FINDING_INVALID && count > 1) {
		lint_error(l, "%s", err);
	} else {
		tlsrpt_record_free(&record);
		if (tlsrpt_record_judge(only->data, only->len, &record, err,
		    lint_note, l) != ST_OK)
			lint_error(l, "%s", err);
	}
	if (record != NULL) {
		lint_set(l, "version", "TLSRPTv1");
		set_destinations(l, record);
	}
	tlsrpt_record_free(&record);
	lint_txt_clear(&t);
}

/* ---- match ---- */

void
lint_sts_match(struct lint *l, const char *pattern, const char *host)
{
	char normal[STS_PATTERN_MAX], name[STR_DOMAIN_MAX];
	const char *fault = sts_pattern_parse(pattern, strlen(pattern),
		normal);
	bool host_ok = str_domain(host, name) == ST_OK;
	bool fits = sts_match(pattern, host);

	lint_set(l, "pattern", fault == NULL ? normal : pattern);
	lint_set(l, "host", host_ok ? name : host);
	(void)json_object_set_new(l->values, "match", json_boolean(fits));
	if (fault != NULL)
		lint_error(l, "pattern \"%.200s\" %s (RFC 8461 3.2)", pattern,
			fault);
	if (!host_ok)
		lint_error(l, "host \"%.200s\" is not a host name (RFC 5321 "
			"4.1.2)", host);
	if (fault == NULL && host_ok && !fits)
		lint_error(l, "the host does not fit the pattern%s (RFC 8461 "
			"4.1)", normal[0] == '*' ? ": the \"*\" stands for "
			"one label, the left-most" : "");
}
