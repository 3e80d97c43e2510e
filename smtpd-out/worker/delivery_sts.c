/*
 * A job and the MTA-STS policy of its destination (RFC 8461): looked up beside
 * the route, and once more before mail waits because of it (section 5.1).
 */
#include "config.h"

#include "base/log.h"
#include "smtpd-out/worker/delivery_int.h"

_Static_assert(ROUTE_HOSTS_MAX <= 32, "hosts are bits");

/* Nobody asks for address literals, for relays that a rule names, or for a
 * message that wants none of it (RFC 8689 section 4.2). */
static bool
wanted(const struct delivery *d)
{
	const struct deliveries *all = d->dest->all;
	const struct conf_destination *rule = conf_destination(all->env->conf,
		d->dest->name);

	return all->env->sts != NULL && str_is_domain(d->dest->name) &&
		(rule == NULL || rule->relay_host == NULL) &&
		delivery_message(d) != POLICY_MESSAGE_OPTIONAL;
}

/* Name servers that cannot answer for such a name are not that rare. */
static void
warn_unknown(const struct delivery *d)
{
	if (d->sts->what == STS_VIEW_DEFER &&
	    d->sts->failure == TLS_FAILURE_STS_FETCH &&
	    log_once("sts-dns-failure"))
		log_warn("sts-dns-failure", "domain", d->dest->name, "reason",
			d->sts->reason, "effect", "mail waits", "option",
			"mta-sts dns-failure", NULL);
}

static void
on_view(struct sts_view *view, void *arg)
{
	struct delivery *d = arg;

	d->sts_lookup = NULL;
	d->sts = view;
	warn_unknown(d);
	if (d->route != NULL)
		delivery_routed(d);
}

void
delivery_sts_start(struct delivery *d)
{
	delivery_sts_clear(d);
	if (wanted(d))
		d->sts_lookup = sts_lookup_start(d->dest->all->env->sts,
			d->dest->name, on_view, d);
}

void
delivery_sts_clear(struct delivery *d)
{
	sts_lookup_cancel(&d->sts_lookup);
	sts_view_unref(&d->sts);
}

void
delivery_sts_blame(struct delivery *d, size_t host, enum demand_why rule,
	const struct outcome *why)
{
	if (d->route != NULL && sts_view_enforces(d->sts) &&
	    (rule == WHY_STS || rule == WHY_REQUIRETLS) &&
	    why->tls_failure != TLS_FAILURE_NONE)
		d->sts_failed |= 1U << host;
}

/* A policy that has changed is tried on the hosts that failed the old one. */
static void
on_recheck(struct sts_view *view, void *arg)
{
	struct delivery *d = arg;
	bool changed = !sts_view_same(view, d->sts);

	d->sts_lookup = NULL;
	sts_view_unref(&d->sts);
	d->sts = view;
	if (changed) {
		d->only_hosts = d->sts_failed;
		d->host = 0;
	}
	delivery_resume(d);
}

bool
delivery_sts_recheck(struct delivery *d)
{
	if (d->sts_failed == 0 || d->sts_rechecked || d->dest->all->stopping)
		return false;
	d->sts_rechecked = true;
	d->sts_lookup = sts_recheck_start(d->dest->all->env->sts,
		d->dest->name, on_recheck, d);
	return true;
}

/* ---- notes ---- */

static void
note(const struct deliveries *all, const struct tls_note *n)
{
	tls_note_log(n);
	if (all->port.note != NULL)
		all->port.note(n, all->port.arg);
}

void
link_note(struct link *l, const struct outcome *why)
{
	const struct tls_note n = {
		.kind = why == NULL ? TLS_NOTE_UP : TLS_NOTE_FAILED,
		.destination = l->dest->name,
		.host = session_info(l->session)->host,
		.rule = l->demand->why,
		.demand = l->demand,
		.info = session_info(l->session),
		.why = why,
		.sts = l->sts,
		.tlsa = l->tlsa,
		.report = l->report,
		.fallback = l->fallback,
	};

	if (l->noted || (why != NULL && why->tls_failure == TLS_FAILURE_NONE))
		return;
	/* A full handshake follows, and tells. */
	if (why != NULL && n.info->resuming)
		return;
	l->noted = true;
	note(l->dest->all, &n);
}

void
delivery_note_skipped(const struct delivery *d, const char *host,
	const struct host_policy_result *result)
{
	const struct tls_note n = {
		.kind = TLS_NOTE_SKIPPED,
		.destination = d->dest->name,
		.host = host,
		.rule = result->rule,
		.why = &result->why,
		.sts = d->sts,
		.tlsa = result->tlsa,
		.report = delivery_is_report(d),
	};

	note(d->dest->all, &n);
}

void
delivery_note_lost(const struct delivery *d, const char *host,
	const struct outcome *why)
{
	const struct host_policy_result result = { .rule = WHY_DEFAULT,
		.why = *why };

	if (why->tls_failure == TLS_FAILURE_DNSSEC_INVALID)
		delivery_note_skipped(d, host, &result);
}
