/*
 * Views of MTA-STS policies: counting and comparing.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "policy/sts_view.h"

const char *
sts_source_name(enum sts_source source)
{
	static const char *const names[] = {
		[STS_SOURCE_NONE] = "none",
		[STS_SOURCE_FETCHED] = "fetched",
		[STS_SOURCE_CACHE] = "cache",
		[STS_SOURCE_LIST] = "list",
	};

	if ((size_t)source >= sizeof(names) / sizeof(names[0]))
		return "unknown";
	return names[source];
}

struct sts_view *
sts_view_new(enum sts_view_what what)
{
	struct sts_view *view = xcalloc(1, sizeof(*view));

	view->refs = 1;
	view->what = what;
	return view;
}

struct sts_view *
sts_view_ref(struct sts_view *view)
{
	view->refs++;
	return view;
}

void
sts_view_unref(struct sts_view **viewp)
{
	struct sts_view *view = *viewp;

	*viewp = NULL;
	if (view == NULL || --view->refs > 0)
		return;
	sts_policy_free(&view->policy);
	free(view->text);
	free(view);
}

bool
sts_view_enforces(const struct sts_view *view)
{
	return view != NULL && view->what == STS_VIEW_POLICY &&
		view->policy->mode == STS_MODE_ENFORCE;
}

static bool
same_policy(const struct sts_policy *a, const struct sts_policy *b)
{
	if (a->mode != b->mode || a->mx_count != b->mx_count)
		return false;
	for (size_t i = 0; i < a->mx_count; i++)
		if (strcmp(a->mx[i], b->mx[i]) != 0)
			return false;
	return true;
}

bool
sts_view_same(const struct sts_view *a, const struct sts_view *b)
{
	if (a == b)
		return true;
	if (a->what != b->what || strcmp(a->id, b->id) != 0)
		return false;
	return a->what != STS_VIEW_POLICY || same_policy(a->policy,
		b->policy);
}
