/*
 * The decision about a domain's MTA-STS policy, as guard clauses in the order
 * of RFC 8461.
 */
#include "config.h"

#include "policy/sts_state.h"

const char *
sts_act_name(enum sts_act act)
{
	static const char *const names[] = {
		[STS_ACT_NONE] = "none",
		[STS_ACT_USE] = "use",
		[STS_ACT_LIST] = "list",
		[STS_ACT_FETCH] = "fetch",
		[STS_ACT_DEFER] = "defer",
	};

	if ((size_t)act >= sizeof(names) / sizeof(names[0]))
		return "unknown";
	return names[act];
}

enum sts_act
sts_decide(const struct sts_known *k)
{
	bool record = k->finding == STS_FINDING_RECORD;

	/* 5.1: a new id, or none that is in force: fetch. */
	if (record && !(k->in_force && k->same_id) && !k->backing_off)
		return STS_ACT_FETCH;
	/* 3.3: whatever became of the record or the policy host. */
	if (k->in_force)
		return STS_ACT_USE;
	/* That the DNS fails proves no absence; a list that protects will do
	 * until it answers. */
	if (k->finding == STS_FINDING_FAILED && !k->may_ignore)
		return k->list_enforces ? STS_ACT_LIST : STS_ACT_DEFER;
	return k->listed ? STS_ACT_LIST : STS_ACT_NONE;
}

int64_t
sts_backoff_s(uint32_t failures, int64_t first_s, int64_t max_s)
{
	int64_t wait_s = first_s;

	while (failures > 1 && wait_s < max_s) {
		wait_s *= 2;
		failures--;
	}
	return wait_s < max_s ? wait_s : max_s;
}
