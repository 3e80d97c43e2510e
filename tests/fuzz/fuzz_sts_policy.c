/*
 * Policy files: what is accepted keeps the promises of sts.h, and written out
 * again it is the same policy.
 */
#include "config.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "policy/sts.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool fact)
{
	if (!fact)
		abort();
}

static void
on_note(unsigned line, const char *sentence, void *arg)
{
	must(line > 0 && strstr(sentence, "(RFC 8461 ") != NULL);
	must(str_is_utf8(sentence, strlen(sentence)));
	++*(size_t *)arg;
}

static char *
written(const struct sts_policy *policy)
{
	char *text = xasprintf("version: STSv1\nmode: %s\nmax_age: %lld\n",
		sts_mode_name(policy->mode), (long long)policy->max_age_s);

	for (size_t i = 0; i < policy->mx_count; i++) {
		char *more = xasprintf("%smx: %s\n", text, policy->mx[i]);

		free(text);
		text = more;
	}
	return text;
}

static void
same(const struct sts_policy *a, const struct sts_policy *b)
{
	must(a->mode == b->mode && a->max_age_s == b->max_age_s);
	must(a->mx_count == b->mx_count);
	for (size_t i = 0; i < a->mx_count; i++)
		must(strcmp(a->mx[i], b->mx[i]) == 0);
}

static void
accepted(const struct sts_policy *policy)
{
	struct sts_policy *again, *copy = sts_policy_copy(policy);
	char err[STS_ERR_MAX], *text = written(policy);

	must(policy->max_age_s >= 0 && policy->max_age_s <= STS_MAX_AGE_MAX);
	must(policy->mx_count > 0 || policy->mode == STS_MODE_NONE);
	must(policy->mx_count <= STS_MX_MAX);
	for (size_t i = 0; i < policy->mx_count; i++) {
		const char *mx = policy->mx[i];
		bool wild = strncmp(mx, "*.", 2) == 0;

		must(str_is_domain(wild ? mx + 2 : mx));
		must(sts_policy_allows(policy, mx) == !wild);
		must(sts_match(mx, wild ? mx + 2 : mx) == !wild);
	}
	must(strlen(text) > STS_POLICY_MAX || sts_policy_parse(
		(const uint8_t *)text, strlen(text), &again, err) == ST_OK);
	if (strlen(text) <= STS_POLICY_MAX) {
		same(policy, again);
		sts_policy_free(&again);
	}
	same(policy, copy);
	sts_policy_free(&copy);
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sts_policy *policy, *judged;
	char err[STS_ERR_MAX], same_err[STS_ERR_MAX];
	size_t notes = 0;
	enum status st = sts_policy_parse(data, size, &policy, err);

	must(st == sts_policy_judge(data, size, &judged, same_err, on_note,
		&notes));
	must(strcmp(err, same_err) == 0);
	must((st == ST_OK) == (policy != NULL) && (st == ST_OK) ==
		(err[0] == '\0'));
	must(st == ST_OK || strstr(err, "(RFC 8461 ") != NULL);
	if (st == ST_OK) {
		same(policy, judged);
		accepted(policy);
	}
	sts_policy_free(&policy);
	sts_policy_free(&judged);
	return 0;
}
