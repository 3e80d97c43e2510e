/*
 * Cached MTA-STS policies: times, failures, and how they change.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "policy/sts_state.h"
#include "smtpd-out/worker/sts_cached.h"

void
sts_cached_clear(struct sts_cached *c)
{
	free(c->text);
	sts_policy_free(&c->policy);
	sts_policy_free(&c->list);
	memset(c, 0, sizeof(*c));
}

void
sts_cached_forget(struct sts_cached *c)
{
	struct sts_policy *list = c->list;
	int64_t expires_s = c->list_expires_s;

	c->list = NULL;
	sts_cached_clear(c);
	c->list = list;
	c->list_expires_s = expires_s;
}

size_t
sts_policy_bytes(const struct sts_policy *policy)
{
	/* A pattern with what its allocation costs. */
	return policy == NULL ? 0 : sizeof(*policy) + policy->mx_count * 64;
}

size_t
sts_cached_bytes(const struct sts_cached *c)
{
	return sts_policy_bytes(c->policy) + sts_policy_bytes(c->list) +
		(c->text == NULL ? 0 : strlen(c->text));
}

bool
sts_cached_in_force(const struct sts_cached *c)
{
	return c->policy != NULL && clock_wall_s() < c->expires_s;
}

bool
sts_cached_list_over(const struct sts_cached *c)
{
	return c->list != NULL && clock_wall_s() >= c->list_expires_s;
}

const struct sts_policy *
sts_cached_list(const struct sts_cached *c)
{
	return sts_cached_list_over(c) ? NULL : c->list;
}

bool
sts_cached_waits(const struct sts_cached *c, const struct conf_sts *conf)
{
	int64_t left_s = c->next_try_s - clock_wall_s();

	/* Longer than any back-off: the clock was wrong, then or now. */
	return left_s > 0 && left_s <= conf->max_retry_s;
}

/* A policy of the store that cannot be read any more counts as none. */
static void
take_stored(struct sts_cached *c, const struct msg_sts *msg)
{
	char err[STS_ERR_MAX];

	if (msg->text == NULL)
		return;
	if (sts_policy_parse((const uint8_t *)msg->text, msg->text_len,
	    &c->policy, err) != ST_OK) {
		log_warn("sts-stored-policy", "domain", msg->domain, "reason",
			err, NULL);
		return;
	}
	c->text = xstrdup(msg->text);
	c->expires_s = msg->expires_s;
	(void)str_copy(c->id, sizeof(c->id), msg->id);
}

static void
take_list(struct sts_cached *c, const struct msg_sts *msg)
{
	const struct sts_policy policy = { .mx = msg->list_mx,
		.mx_count = msg->list_mx_count,
		.mode = msg->list_mode == MSG_STS_LIST_ENFORCE ?
			STS_MODE_ENFORCE : STS_MODE_TESTING };

	if (msg->list_mode == MSG_STS_LIST_NONE || msg->list_mx_count == 0)
		return;
	c->list = sts_policy_copy(&policy);
	c->list_expires_s = msg->list_expires_s;
}

void
sts_cached_answer(struct sts_cached *c, const struct msg_sts *msg)
{
	if (c->known) {
		c->answered_ms = clock_mono_ms();
		sts_policy_free(&c->list);
		take_list(c, msg);
		return;
	}
	sts_cached_clear(c);
	c->known = true;
	c->answered_ms = clock_mono_ms();
	c->used_s = msg->used_s;
	c->next_try_s = msg->next_try_s;
	c->failures = msg->failures;
	c->failure = msg->failure;
	(void)str_copy(c->error, sizeof(c->error), msg->error);
	take_stored(c, msg);
	take_list(c, msg);
}

void
sts_cached_fetched(struct sts_cached *c, const char *id,
	struct sts_fetch_result *result, struct msg_sts *msg)
{
	sts_policy_free(&c->policy);
	free(c->text);
	c->policy = result->policy;
	c->text = result->text;
	result->policy = NULL;
	result->text = NULL;
	if (id != NULL)
		(void)str_copy(c->id, sizeof(c->id), id);
	c->failures = 0;
	c->next_try_s = 0;
	msg->fetched_s = clock_wall_s();
	msg->expires_s = c->expires_s = msg->fetched_s + c->policy->max_age_s;
	(void)str_copy(msg->id, sizeof(msg->id), c->id);
	msg->text = c->text;
	msg->text_len = result->len;
	log_info("sts-policy", "domain", msg->domain, "id", c->id, "mode",
		sts_mode_name(c->policy->mode), "max_age",
		log_num(c->policy->max_age_s), NULL);
}

void
sts_cached_failed(struct sts_cached *c, const struct conf_sts *conf,
	const struct sts_fetch_result *result, struct msg_sts *msg)
{
	bool stays = sts_cached_in_force(c);

	if (c->failures < UINT32_MAX)
		c->failures++;
	c->failure = result->failure;
	(void)str_copy(c->error, sizeof(c->error), result->reason);
	msg->tried_s = clock_wall_s();
	msg->next_try_s = c->next_try_s = msg->tried_s + sts_backoff_s(
		c->failures, conf->retry_s, conf->max_retry_s);
	msg->failures = c->failures;
	msg->failure = c->failure;
	(void)str_copy(msg->error, sizeof(msg->error), c->error);
	/* RFC 8461 3.3: tell, unless there is nothing to lose. */
	if (!stays || c->policy->mode != STS_MODE_NONE)
		log_warn("sts-fetch-failed", "domain", msg->domain,
			"result_type", tls_failure_name(c->failure), "reason",
			c->error, "old_policy", stays ? "in force" : "none",
			"failures", log_num(c->failures), NULL);
}
