/*
 * Sessions against the MTA-STS policy of their destination.
 */
#include "config.h"

#include "base/log.h"
#include "smtpd-out/worker/tls_note.h"

#define NO_STARTTLS "STARTTLS is not offered or not given"
#define UNLISTED "the policy does not name this host"

static bool
has_policy(const struct tls_note *n)
{
	return n->sts != NULL && n->sts->what == STS_VIEW_POLICY &&
		n->sts->policy->mode != STS_MODE_NONE;
}

static enum tls_failure
give(enum tls_failure failure, const char *reason, const char **reason_out)
{
	*reason_out = reason;
	return failure;
}

/* Of a session under a demand that only watches. */
static enum tls_failure
watched(const struct tls_note *n, const char **reason_out)
{
	if (n->demand->watch == DEMAND_WATCH_UNLISTED)
		return give(TLS_FAILURE_VALIDATION, UNLISTED, reason_out);
	if (n->kind == TLS_NOTE_FAILED)
		return give(n->why->tls_failure, n->why->text, reason_out);
	if (!n->info->tls_active)
		return give(TLS_FAILURE_STARTTLS, NO_STARTTLS, reason_out);
	return give(n->info->watched, n->info->watched_text, reason_out);
}

/* An enforced policy, by itself or under REQUIRETLS, is met by a session that
 * is up: nothing else decided then. */
static bool
decided(const struct tls_note *n)
{
	return n->rule == WHY_STS || (n->rule == WHY_REQUIRETLS &&
		n->sts->policy->mode == STS_MODE_ENFORCE &&
		(n->demand == NULL || n->demand->level == DEMAND_PKIX));
}

bool
tls_note_sts(const struct tls_note *n, enum tls_failure *failure_out,
	const char **reason_out)
{
	*failure_out = give(TLS_FAILURE_NONE, "", reason_out);
	if (!has_policy(n))
		return false;
	if (n->demand != NULL && n->demand->watch != DEMAND_WATCH_NONE) {
		*failure_out = watched(n, reason_out);
		return true;
	}
	if (!decided(n))
		return false;
	if (n->kind != TLS_NOTE_UP)
		*failure_out = give(n->why->tls_failure, n->why->text,
			reason_out);
	return true;
}

void
tls_note_log(const struct tls_note *n)
{
	enum tls_failure failure;
	const char *reason;

	if (n->fallback || !tls_note_sts(n, &failure, &reason) ||
	    failure == TLS_FAILURE_NONE ||
	    n->sts->policy->mode != STS_MODE_TESTING)
		return;
	log_warn("sts-testing", "domain", n->destination, "mx", n->host,
		"result_type", tls_failure_name(failure), "reason", reason,
		NULL);
}
