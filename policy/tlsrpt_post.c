/*
 * One post: two lookups at the same time, then one request.  Whatever is under
 * way is in the structure, so that cancelling is freeing it.
 */
#include "config.h"

#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "policy/https.h"
#include "policy/tlsrpt_post.h"
#include "policy/tlsrpt_record.h"
#include "resolver/resolver.h"

#define RECORD "v=TLSRPTv1; rua="
#define SCHEME "https://"
#define ANSWER_MAX 4096		/* nobody reads it */

struct lookup {
	struct tlsrpt_post *post;
	struct dns_request *request;
	struct dns_answer *answer;
};

struct tlsrpt_post {
	struct tlsrpt_post_env env;
	struct tlsrpt_record *record;	/* the URL, parsed; NULL: it is none */
	char *path;
	uint8_t *body;
	size_t len;
	struct lookup v6, v4;
	struct https_request *request;
	struct event *timer;		/* while looking up */
	int64_t deadline_ms;		/* monotonic */
	tlsrpt_post_cb *cb;
	void *arg;
};

void
tlsrpt_post_cancel(struct tlsrpt_post **post)
{
	struct tlsrpt_post *p = *post;

	if (p == NULL)
		return;
	https_cancel(&p->request);
	resolver_cancel(&p->v4.request);
	resolver_cancel(&p->v6.request);
	dns_answer_free(&p->v4.answer);
	dns_answer_free(&p->v6.answer);
	tlsrpt_record_free(&p->record);
	free(p->body);
	free(p->path);
	event_free(p->timer);
	mem_free(post);
}

static void
finish(struct tlsrpt_post *p, bool taken, const char *why)
{
	tlsrpt_post_cb *cb = p->cb;
	void *arg = p->arg;
	char reason[TLSRPT_POST_REASON_MAX];

	str_sanitise(reason, sizeof(reason), why, strlen(why));
	tlsrpt_post_cancel(&p);
	cb(taken, reason, arg);
}

static void
on_response(struct https_result *got, void *arg)
{
	struct tlsrpt_post *p = arg;
	bool taken = got->error == HTTPS_OK && got->status >= 200 &&
		got->status <= 299;

	p->request = NULL;
	finish(p, taken, taken ? "" : got->reason);
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
collect(const struct tlsrpt_post *p, struct sockaddr_storage *to)
{
	size_t n = 0;

	for (size_t i = 0; i < HTTPS_ADDRS_MAX; i++) {
		struct sockaddr_in v4 = { .sin_family = AF_INET };
		struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };

		if (i < count(&p->v6) && n < HTTPS_ADDRS_MAX) {
			v6.sin6_addr = p->v6.answer->records[i].u.aaaa;
			memcpy(&to[n++], &v6, sizeof(v6));
		}
		if (i < count(&p->v4) && n < HTTPS_ADDRS_MAX) {
			v4.sin_addr = p->v4.answer->records[i].u.a;
			memcpy(&to[n++], &v4, sizeof(v4));
		}
	}
	return n;
}

static void
ask(struct tlsrpt_post *p)
{
	struct sockaddr_storage addrs[HTTPS_ADDRS_MAX] = { 0 };
	const struct tlsrpt_rua *rua = &p->record->rua[0];
	int64_t left_ms = p->deadline_ms - clock_mono_ms();
	const struct https_query q = {
		.method = HTTPS_POST,
		.host = rua->host,
		.port = rua->port,
		.path = p->path,
		.addrs = addrs,
		.addr_count = collect(p, addrs),
		.timeout_ms = left_ms > 1 ? left_ms : 1,
		.body = p->body,
		.body_len = p->len,
		.content_type = "application/tlsrpt+gzip",
		.body_max = ANSWER_MAX,
		.cut_body = true,
	};

	(void)event_del(p->timer);
	if (q.addr_count == 0)
		finish(p, false, "the host has no address");
	else
		p->request = https_start(p->env.https, &q, on_response, p);
}

static void
on_answer(struct dns_answer *answer, void *arg)
{
	struct lookup *l = arg;
	struct tlsrpt_post *p = l->post;

	l->request = NULL;
	l->answer = answer;
	if (p->v4.answer != NULL && p->v6.answer != NULL)
		ask(p);
}

/* ---- the beginning ---- */

static void
on_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct tlsrpt_post *p = arg;

	(void)fd;
	(void)what;
	finish(p, false, p->record == NULL ? "not a URL for reports" :
		"timed out: no DNS answer");
}

static void
look_up(struct lookup *l, struct tlsrpt_post *p, uint16_t type)
{
	l->post = p;
	l->request = resolver_start(p->env.resolver, p->record->rua[0].host,
		type, on_answer, l);
}

/* The parser of records knows what a URL may be. */
static void
parse(struct tlsrpt_post *p, const char *url)
{
	char *text = xasprintf(RECORD "%s", url), err[TLSRPT_ERR_MAX];
	const char *path;

	if (tlsrpt_record_parse((const uint8_t *)text, strlen(text),
	    &p->record, err) == ST_OK && (p->record->rua_count != 1 ||
	    p->record->rua[0].kind != TLSRPT_HTTPS))
		tlsrpt_record_free(&p->record);
	free(text);
	if (p->record == NULL)
		return;
	path = p->record->rua[0].target + strlen(SCHEME);
	path += strcspn(path, "/?");
	p->path = xasprintf("%s%s", *path == '/' ? "" : "/", path);
}

struct tlsrpt_post *
tlsrpt_post_start(const struct tlsrpt_post_env *env, const char *url,
	const void *gzip, size_t len, tlsrpt_post_cb *cb, void *arg)
{
	struct tlsrpt_post *p = xcalloc(1, sizeof(*p));
	int64_t ms = https_settings(env->https)->timeout_ms;
	const struct timeval tv = { .tv_sec = (time_t)(ms / 1000),
		.tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	p->env = *env;
	p->cb = cb;
	p->arg = arg;
	p->body = xmalloc(len + 1);
	memcpy(p->body, gzip, len);
	p->len = len;
	p->deadline_ms = clock_mono_ms() + ms;
	p->timer = evtimer_new(https_base(env->https), on_timeout, p);
	parse(p, url);
	if (p->record == NULL) {
		event_active(p->timer, EV_TIMEOUT, 0);
		return p;
	}
	(void)event_add(p->timer, &tv);
	look_up(&p->v6, p, DNS_TYPE_AAAA);
	look_up(&p->v4, p, DNS_TYPE_A);
	return p;
}
