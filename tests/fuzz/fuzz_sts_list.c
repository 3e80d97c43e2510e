/*
 * Policy lists: what is taken keeps the promises of sts_list.h.
 */
#include "config.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "policy/sts_list.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool fact)
{
	if (!fact)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char err[STS_ERR_MAX];
	struct sts_list *list;
	enum status st = sts_list_parse((const char *)data, size, 1000, &list,
		err);
	const struct sts_policy *p;

	must((st == ST_OK) == (list != NULL));
	must((st == ST_OK) == (err[0] == '\0'));
	must(str_is_utf8(err, strlen(err)) && strchr(err, '\n') == NULL);
	if (st != ST_OK)
		return 0;
	must(sts_list_info(list)->expires_s > 1000);
	must(sts_list_info(list)->enforced <= sts_list_info(list)->domains);
	p = sts_list_find(list, "a.example");
	if (p != NULL) {
		must(p->mode != STS_MODE_NONE && p->mx_count > 0);
		must(p->mx_count <= STS_LIST_MX_MAX);
		for (size_t i = 0; i < p->mx_count; i++)
			must(strlen(p->mx[i]) < STR_DOMAIN_MAX);
		(void)sts_policy_allows(p, "mx.a.example");
	}
	sts_list_free(&list);
	return 0;
}
