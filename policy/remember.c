/*
 * Comparing what a host had with what it has.
 */
#include "config.h"

#include "policy/remember.h"

const char *
remember_level_name(enum remember_level level)
{
	static const char *const names[] = {
		[REMEMBER_NONE] = "none",
		[REMEMBER_ENCRYPTED] = "encrypted",
		[REMEMBER_VERIFIED] = "verified",
	};

	if ((size_t)level >= sizeof(names) / sizeof(names[0]))
		return "unknown";
	return names[level];
}

enum remember_level
remember_shown(const struct demand *d, bool tls_active)
{
	if (!tls_active)
		return REMEMBER_NONE;
	/* An MTA-STS policy is the destination's: others at the same host may
	 * have none, which is no downgrade. */
	return d->level == DEMAND_DANE ? REMEMBER_VERIFIED :
		REMEMBER_ENCRYPTED;
}

bool
remember_is_downgrade(const struct demand *d, bool tls_active,
	enum remember_level had)
{
	if (had == REMEMBER_NONE || d->level == DEMAND_NONE)
		return false;
	if (!tls_active)
		return true;
	/* With WHY_DANE the records are there: dane { insecure-mx }. */
	return had == REMEMBER_VERIFIED && !demand_verifies(d) &&
		d->why != WHY_DANE && d->why != WHY_OVERRIDE &&
		d->why != WHY_TLS_OPTIONAL;
}

enum remember_level
remember_present(const struct remembered *had, int64_t now_s)
{
	if (had == NULL || now_s - had->last_s > REMEMBER_EXPIRE_S)
		return REMEMBER_NONE;
	return had->level;
}

bool
remember_changes(const struct remembered *had, enum remember_level shown,
	int64_t now_s)
{
	enum remember_level present = remember_present(had, now_s);
	int64_t age_s;

	if (shown == REMEMBER_NONE)
		return false;
	if (present == REMEMBER_NONE || shown > present)
		return true;
	/* From the future: the clock was wrong, then or now. */
	age_s = now_s - had->last_s;
	if (age_s < 0)
		return true;
	return age_s >= (shown < present ? REMEMBER_FADE_S : REMEMBER_FRESH_S);
}

bool
remember_raise(struct demand *d, enum remember_level had)
{
	if (had == REMEMBER_NONE || d->level != DEMAND_MAY ||
	    (d->why != WHY_DEFAULT && d->why != WHY_LOCAL))
		return false;
	d->level = DEMAND_ENCRYPT;
	d->why = WHY_REMEMBERED;
	return true;
}
