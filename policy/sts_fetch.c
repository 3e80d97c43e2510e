/*
 * One fetch: two lookups at the same time, then one request, then the parser.
 * Each step either starts the next one or ends the fetch; whatever is under
 * way is in the structure, so that cancelling is freeing it.
 */
#include "config.h"

#include <assert.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "policy/https.h"
#include "policy/sts.h"
#include "policy/sts_fetch.h"
#include "resolver/resolver.h"

#define PATH "/.well-known/mta-sts.txt"
#define HOST_MAX (STR_DOMAIN_MAX + 8)

struct lookup {
	struct sts_fetch *fetch;
	struct dns_request *request;
	struct dns_answer *answer;
};

struct sts_fetch {
	struct sts_fetch_env env;
	char host[HOST_MAX];
	struct lookup v6, v4;
	struct https_request *request;
	struct event *timer;		/* while looking up */
	int64_t deadline_ms;		/* monotonic */
	sts_fetch_cb *cb;
	void *arg;
	bool local;			/* our side failed */
};

void
sts_fetch_result_free(struct sts_fetch_result **res)
{
	if (*res == NULL)
		return;
	sts_policy_free(&(*res)->policy);
	mem_free(&(*res)->text);
	mem_free(res);
}

void
sts_fetch_cancel(struct sts_fetch **fetch)
{
	struct sts_fetch *f = *fetch;

	if (f == NULL)
		return;
	https_cancel(&f->request);
	resolver_cancel(&f->v4.request);
	resolver_cancel(&f->v6.request);
	dns_answer_free(&f->v4.answer);
	dns_answer_free(&f->v6.answer);
	event_free(f->timer);
	mem_free(fetch);
}

/* ---- the end ---- */

static void
finish(struct sts_fetch *f, struct sts_fetch_result *res)
{
	sts_fetch_cb *cb = f->cb;
	void *arg = f->arg;

	sts_fetch_cancel(&f);
	cb(res, arg);
}

static void
fail(struct sts_fetch *f, enum tls_failure failure, const char *what,
	const char *why)
{
	struct sts_fetch_result *res = xcalloc(1, sizeof(*res));
	char raw[STS_FETCH_REASON_MAX + STR_DOMAIN_MAX];

	res->failure = failure;
	res->local = f->local;
	(void)snprintf(raw, sizeof(raw), "%s: %s", what, why);
	str_sanitise(res->reason, sizeof(res->reason), raw, strlen(raw));
	finish(f, res);
}

static void
parse(struct sts_fetch *f, const struct https_result *got)
{
	struct sts_fetch_result *res = xcalloc(1, sizeof(*res));
	char err[STS_ERR_MAX] = "", raw[STS_ERR_MAX + 40];

	res->len = got->len;
	res->text = xmalloc(got->len + 1);
	memcpy(res->text, got->body, got->len + 1);
	if (sts_policy_parse(got->body, got->len, &res->policy, err) !=
	    ST_OK) {
		res->failure = TLS_FAILURE_STS_INVALID;
		(void)snprintf(raw, sizeof(raw), "the policy is not valid: "
			"%s", err);
		str_sanitise(res->reason, sizeof(res->reason), raw,
			strlen(raw));
	}
	finish(f, res);
}

/* What keeps a response from being a policy (RFC 8461 3.3), or NULL. */
static const char *
fault(const struct https_result *got)
{
	if (got->status != 0 && got->status != 200)
		return got->reason;	/* even if the rest is missing */
	if (got->error != HTTPS_OK)
		return got->reason;
	if (strcmp(got->media_type, "text/plain") != 0)
		return "the media type of the answer is not text/plain";
	if (got->encoded)
		return "the answer is encoded, which was not asked for";
	return NULL;
}

static void
on_response(struct https_result *got, void *arg)
{
	struct sts_fetch *f = arg;
	const char *why = fault(got);

	f->request = NULL;
	f->local = got->error == HTTPS_BUSY || got->error == HTTPS_LOCAL;
	if (got->error == HTTPS_CERTIFICATE)
		fail(f, TLS_FAILURE_STS_WEBPKI, f->host, got->reason);
	else if (why != NULL)
		fail(f, TLS_FAILURE_STS_FETCH, f->host, why);
	else
		parse(f, got);
	https_result_free(&got);
}

/* ---- addresses ---- */

static size_t
count(const struct lookup *l)
{
	return l->answer->result == DNS_FOUND ? l->answer->count : 0;
}

/* By turns, so that one family cannot crowd out the other. */
static size_t
collect(const struct sts_fetch *f, struct sockaddr_storage *to)
{
	size_t n = 0;

	for (size_t i = 0; i < HTTPS_ADDRS_MAX; i++) {
		struct sockaddr_in v4 = { .sin_family = AF_INET };
		struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };

		if (i < count(&f->v6) && n < HTTPS_ADDRS_MAX) {
			v6.sin6_addr = f->v6.answer->records[i].u.aaaa;
			memcpy(&to[n++], &v6, sizeof(v6));
		}
		if (i < count(&f->v4) && n < HTTPS_ADDRS_MAX) {
			v4.sin_addr = f->v4.answer->records[i].u.a;
			memcpy(&to[n++], &v4, sizeof(v4));
		}
	}
	return n;
}

static void
ask(struct sts_fetch *f)
{
	struct sockaddr_storage addrs[HTTPS_ADDRS_MAX] = { 0 };
	int64_t left_ms = f->deadline_ms - clock_mono_ms();
	struct https_query q = {
		.host = f->host,
		.port = f->env.port,
		.path = PATH,
		.addrs = addrs,
		.addr_count = collect(f, addrs),
		.timeout_ms = left_ms > 1 ? left_ms : 1,
		.body_max = STS_POLICY_MAX,
	};
	const struct dns_answer *later =
		f->v4.answer->result == DNS_LATER ? f->v4.answer :
		f->v6.answer->result == DNS_LATER ? f->v6.answer : NULL;

	(void)event_del(f->timer);
	f->local = later != NULL && later->silent;
	if (q.addr_count == 0 && later != NULL)
		fail(f, TLS_FAILURE_STS_FETCH, f->host, later->why != NULL ?
			later->why : "no usable DNS answer");
	else if (q.addr_count == 0)
		fail(f, TLS_FAILURE_STS_FETCH, f->host,
			"the host has no address");
	else
		f->request = https_start(f->env.https, &q, on_response, f);
}

static void
on_answer(struct dns_answer *answer, void *arg)
{
	struct lookup *l = arg;
	struct sts_fetch *f = l->fetch;

	l->request = NULL;
	l->answer = answer;
	if (f->v4.answer != NULL && f->v6.answer != NULL)
		ask(f);
}

/* ---- the beginning ---- */

static void
on_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct sts_fetch *f = arg;

	(void)fd;
	(void)what;
	if (f->v4.request == NULL && f->v6.request == NULL)
		fail(f, TLS_FAILURE_STS_FETCH, f->host, "not a host name");
	else
		fail(f, TLS_FAILURE_STS_FETCH, f->host,
			"timed out: no DNS answer");
}

static void
look_up(struct lookup *l, struct sts_fetch *f, uint16_t type)
{
	l->fetch = f;
	l->request = resolver_start(f->env.resolver, f->host, type, on_answer,
		l);
}

struct https *
sts_fetch_https(struct event_base *base, const struct conf *conf)
{
	const struct https_settings settings = {
		.ca_file = conf->ca_file,
		.timeout_ms = conf->sts.fetch_ms,
		.connect_timeout_ms = conf->timeout.connect_ms,
		.port = conf->sts.fetch_port,
		.allow_private = conf->sts.allow_private,
		.flight_max = conf->sts.max_fetches,
	};

	return https_new(base, &settings);
}

struct sts_fetch *
sts_fetch_start(const struct sts_fetch_env *env, const char *domain,
	sts_fetch_cb *cb, void *arg)
{
	struct sts_fetch *f = xcalloc(1, sizeof(*f));
	int64_t ms = https_settings(env->https)->timeout_ms;
	const struct timeval tv = { .tv_sec = (time_t)(ms / 1000),
		.tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	f->env = *env;
	f->cb = cb;
	f->arg = arg;
	f->deadline_ms = clock_mono_ms() + ms;
	f->timer = evtimer_new(https_base(env->https), on_timeout, f);
	assert(f->timer != NULL);
	(void)snprintf(f->host, sizeof(f->host), "mta-sts.%s", domain);
	if (!str_is_domain(f->host)) {		/* too long */
		event_active(f->timer, EV_TIMEOUT, 0);
		return f;
	}
	(void)event_add(f->timer, &tv);
	look_up(&f->v6, f, DNS_TYPE_AAAA);
	look_up(&f->v4, f, DNS_TYPE_A);
	return f;
}
