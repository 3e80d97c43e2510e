/*
 * Local rules into demands.  Knows no network and no time.
 */
#include "config.h"

#include "policy/policy.h"

const char *
demand_level_name(enum demand_level level)
{
	static const char *const names[] = {
		[DEMAND_NONE] = "none",
		[DEMAND_MAY] = "may",
		[DEMAND_ENCRYPT] = "encrypt",
	};

	if ((size_t)level >= sizeof(names) / sizeof(names[0]))
		return "unknown";
	return names[level];
}

const char *
demand_why_name(enum demand_why why)
{
	static const char *const names[] = {
		[WHY_DEFAULT] = "default",
		[WHY_LOCAL] = "local",
		[WHY_REQUIRE_TLS] = "require-tls",
	};

	if ((size_t)why >= sizeof(names) / sizeof(names[0]))
		return "unknown";
	return names[why];
}

bool
demand_forbids_clear(const struct demand *demand)
{
	return demand->level >= DEMAND_ENCRYPT;
}

struct demand
policy_local(const struct conf *conf, const char *destination)
{
	static const enum demand_level levels[] = {
		[CONF_TLS_AUTO] = DEMAND_MAY,
		[CONF_TLS_NONE] = DEMAND_NONE,
		[CONF_TLS_MAY] = DEMAND_MAY,
		[CONF_TLS_ENCRYPT] = DEMAND_ENCRYPT,
	};
	const struct conf_destination *rule =
		conf_destination(conf, destination);
	struct demand demand = { .level = DEMAND_MAY, .why = WHY_DEFAULT };

	if (rule != NULL && rule->tls != CONF_TLS_AUTO) {
		demand.level = levels[rule->tls];
		demand.why = WHY_LOCAL;
	}
	if (conf->require_tls && demand.level < DEMAND_ENCRYPT) {
		demand.level = DEMAND_ENCRYPT;
		demand.why = WHY_REQUIRE_TLS;
	}
	return demand;
}
