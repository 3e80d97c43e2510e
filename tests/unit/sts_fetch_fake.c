/*
 * Fetches without a network.
 */
#include "config.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "policy/sts.h"
#include "policy/sts_fetch.h"
#include "tests/unit/sts_fetch_fake.h"

struct sts_fetch {
	TAILQ_ENTRY(sts_fetch) link;
	char domain[STR_DOMAIN_MAX];
	struct event *ev;
	sts_fetch_cb *cb;
	void *arg;
};

static TAILQ_HEAD(, sts_fetch) all = TAILQ_HEAD_INITIALIZER(all);
static struct event_base *loop;
static const char *body;
static enum tls_failure failure;
static bool holding, local;
static size_t started, most;

void
fake_fetch_init(struct event_base *base)
{
	loop = base;
	body = NULL;
	failure = TLS_FAILURE_STS_FETCH;
	holding = local = false;
	started = most = 0;
}

void
fake_fetch_clear(void)
{
	assert_true(TAILQ_EMPTY(&all));
}

void
fake_fetch_text(const char *text)
{
	body = text;
	local = false;
}

void
fake_fetch_fail(enum tls_failure what)
{
	body = NULL;
	failure = what;
	local = false;
}

void
fake_fetch_local(void)
{
	body = NULL;
	failure = TLS_FAILURE_STS_FETCH;
	local = true;
}

void
fake_fetch_hold(bool hold)
{
	struct sts_fetch *f;

	holding = hold;
	if (!hold)
		TAILQ_FOREACH(f, &all, link)
			event_active(f->ev, EV_TIMEOUT, 0);
}

size_t
fake_fetch_count(void)
{
	return started;
}

size_t
fake_fetch_most(void)
{
	return most;
}

static void
on_step(evutil_socket_t fd, short what, void *arg)
{
	struct sts_fetch_result *result = xcalloc(1, sizeof(*result));
	struct sts_fetch *f = arg;
	sts_fetch_cb *cb = f->cb;
	void *cb_arg = f->arg;

	(void)fd;
	(void)what;
	if (body != NULL) {
		result->text = xstrdup(body);
		result->len = strlen(body);
		assert_int_equal(sts_policy_parse((const uint8_t *)body,
			strlen(body), &result->policy, result->reason),
			ST_OK);
	} else {
		result->failure = failure;
		result->local = local;
		(void)str_copy(result->reason, sizeof(result->reason),
			"it does not answer");
	}
	sts_fetch_cancel(&f);
	cb(result, cb_arg);
}

struct sts_fetch *
sts_fetch_start(const struct sts_fetch_env *env, const char *domain,
	sts_fetch_cb *cb, void *arg)
{
	struct sts_fetch *f = xcalloc(1, sizeof(*f)), *other;
	size_t same = 1;

	(void)env;
	TAILQ_FOREACH(other, &all, link)
		same += strcmp(other->domain, domain) == 0;
	if (same > most)
		most = same;
	started++;
	(void)str_copy(f->domain, sizeof(f->domain), domain);
	f->cb = cb;
	f->arg = arg;
	f->ev = event_new(loop, -1, 0, on_step, f);
	TAILQ_INSERT_TAIL(&all, f, link);
	if (!holding)
		event_active(f->ev, EV_TIMEOUT, 0);
	return f;
}

void
sts_fetch_cancel(struct sts_fetch **fp)
{
	struct sts_fetch *f = *fp;

	if (f == NULL)
		return;
	TAILQ_REMOVE(&all, f, link);
	event_free(f->ev);
	mem_free(fp);
}

void
sts_fetch_result_free(struct sts_fetch_result **result)
{
	if (*result == NULL)
		return;
	sts_policy_free(&(*result)->policy);
	free((*result)->text);
	mem_free(result);
}
