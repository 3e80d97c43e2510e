/*
 * What an attempt brings for each recipient: how outcomes of several hosts
 * combine, what the parent is told, and what the notice will say.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "smtpd-out/worker/delivery_int.h"

#define RESULT_PART 100		/* recipients in one RESULT */

/* ---- outcomes ---- */

bool
delivery_settled(const struct outcome *o)
{
	switch (o->verdict) {
	case VERDICT_DONE:
		return true;
	case VERDICT_NEVER:
		return o->scope != SCOPE_HOST;
	case VERDICT_LATER:
		return o->maybe_duplicate || o->scope == SCOPE_DESTINATION;
	case VERDICT_NONE:
		break;
	}
	return false;
}

/* "Later" from any host outweighs "never" that speaks for one host. */
static bool
old_stands(const struct outcome *old, const struct outcome *new)
{
	return !delivery_settled(new) && old->verdict == VERDICT_LATER &&
		new->verdict == VERDICT_NEVER;
}

struct outcome
delivery_merge(const struct outcome *old, const struct outcome *new)
{
	return old_stands(old, new) ? *old : *new;
}

/* ---- results to the parent ---- */

/* What the connection had: a session under a demand that verifies is not up
 * before it is met. */
const char *
delivery_achieved(bool tls_active, enum demand_level level,
	enum demand_why why)
{
	if (!tls_active)
		return "none";
	if (level <= DEMAND_ENCRYPT)
		return "encrypted";
	return why == WHY_STS ? "sts" : demand_level_name(level);
}

static void
fill_result(const struct delivery *d, size_t i, struct msg_rcpt_result *out)
{
	const struct rcpt *r = &d->rcpts[i];

	memset(out, 0, sizeof(*out));
	out->rcpt_id = d->job.env->rcpts[i].id;
	out->dsn_relayed = r->dsn_relayed;
	out->outcome = r->outcome;
	(void)str_copy(out->mx, sizeof(out->mx), r->info.host);
	(void)str_copy(out->ip, sizeof(out->ip), r->info.ip);
	(void)str_copy(out->tls, sizeof(out->tls), delivery_achieved(
		r->info.tls_active, r->level, r->why));
	(void)str_copy(out->why, sizeof(out->why), demand_why_name(r->why));
	(void)str_copy(out->proto, sizeof(out->proto), r->info.proto);
	(void)str_copy(out->cipher, sizeof(out->cipher), r->info.cipher);
}

/* Sends what is settled (with `final`: everything) and not yet reported. */
void
delivery_report(struct delivery *d, bool final)
{
	struct msg_rcpt_result part[RESULT_PART];
	struct msg_result result = { .rcpts = part };
	size_t count = d->job.env->rcpt_count;

	for (size_t i = 0; i < count; i++) {
		struct rcpt *r = &d->rcpts[i];

		if (r->state == RCPT_REPORTED || (!final &&
		    r->outcome.verdict != VERDICT_DONE))
			continue;
		r->state = RCPT_REPORTED;
		fill_result(d, i, &part[result.rcpt_count++]);
		if (result.rcpt_count < RESULT_PART)
			continue;
		d->dest->all->port.result(d->job_id, &result,
			d->dest->all->port.arg);
		result.rcpt_count = 0;
	}
	result.final = final;
	if (final)
		(void)str_copy(result.trail, sizeof(result.trail), d->trail);
	if (final || result.rcpt_count > 0)
		d->dest->all->port.result(d->job_id, &result,
			d->dest->all->port.arg);
}

/* An outcome, and what is known of the host that it comes from. */
void
delivery_take(struct rcpt *r, const struct outcome *o,
	const struct outcome_source *from)
{
	if (!old_stands(&r->outcome, o)) {
		r->outcome = *o;
		r->info = *from->info;
		r->level = from->level;
		r->why = from->why;
	}
	r->state = delivery_settled(o) ? RCPT_SETTLED : RCPT_TRIED;
}

/* Remembers what kept a host from taking the mail, for the notice. */
void
delivery_note(struct delivery *d, const char *host, const struct outcome *o)
{
	char entry[MSG_TRAIL_MAX];
	size_t used = strlen(d->trail);

	if (o->verdict == VERDICT_DONE || host[0] == '\0')
		return;
	(void)snprintf(entry, sizeof(entry), "%s%s: %.300s",
		used > 0 ? "; " : "", host, o->text);
	if (strstr(d->trail, entry + (used > 0 ? 2 : 0)) == NULL)
		(void)str_copy(d->trail + used, sizeof(d->trail) - used,
			entry);
}

void
delivery_settle_open(struct delivery *d, const struct outcome *o,
	const struct outcome_source *from)
{
	delivery_note(d, from->info->host, o);
	for (size_t i = 0; i < d->job.env->rcpt_count; i++)
		if (d->rcpts[i].state == RCPT_OPEN)
			delivery_take(&d->rcpts[i], o, from);
}

/* A host that was not connected to, or none. */
void
delivery_settle_without(struct delivery *d, const struct outcome *o,
	const char *host, enum demand_why why)
{
	struct session_info info = { .tls_active = false };
	const struct outcome_source from = { .info = &info, .why = why };

	(void)str_copy(info.host, sizeof(info.host), host);
	delivery_settle_open(d, o, &from);
}

/* Recipients that another host may still help are open again. */
size_t
delivery_reopen(struct delivery *d)
{
	size_t open = 0;

	for (size_t i = 0; i < d->job.env->rcpt_count; i++) {
		if (d->rcpts[i].state == RCPT_TRIED)
			d->rcpts[i].state = RCPT_OPEN;
		open += d->rcpts[i].state == RCPT_OPEN;
	}
	return open;
}

size_t
delivery_count_open(const struct delivery *d)
{
	size_t open = 0;

	for (size_t i = 0; i < d->job.env->rcpt_count; i++)
		open += d->rcpts[i].state == RCPT_OPEN;
	return open;
}
