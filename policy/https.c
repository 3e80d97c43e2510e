/*
 * HTTPS requests: what is asked is copied and judged, waits for its turn, runs
 * as a transfer of libcurl, and ends with a result that is handed over from
 * the loop.  Each list below is one state; https_end() is the one way into
 * the last.
 */
#include "config.h"

#include <assert.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "policy/https_int.h"

#define DEFAULT_PORT 443
#define DEFAULT_MS 60000
#define DEFAULT_FLIGHT 8
#define DEFAULT_QUEUE 1000
#define DEFAULT_SLOW_MS 3000
#define LATE_MS 50	/* so exact are timers */
#define PATH_MAX_BYTES 2048
#define TYPE_MAX_BYTES 200

const char *
https_error_name(enum https_error error)
{
	static const char *const names[] = {
		[HTTPS_OK] = "ok",
		[HTTPS_NO_ADDRESS] = "no-address",
		[HTTPS_PRIVATE_ADDRESS] = "private-address",
		[HTTPS_CONNECT] = "connect",
		[HTTPS_TLS] = "tls",
		[HTTPS_CERTIFICATE] = "certificate",
		[HTTPS_TIMEOUT] = "timeout",
		[HTTPS_TOO_LARGE] = "too-large",
		[HTTPS_PROTOCOL] = "protocol",
		[HTTPS_BUSY] = "busy",
		[HTTPS_LOCAL] = "local",
	};

	if ((size_t)error >= sizeof(names) / sizeof(names[0]))
		return "unknown";
	return names[error];
}

/* ---- results ---- */

struct https_result *
https_result_new(enum https_error error, size_t len)
{
	struct https_result *res = xcalloc(1, sizeof(*res) + len + 1);

	res->error = error;
	res->len = len;
	return res;
}

void
https_result_free(struct https_result **res)
{
	mem_free(res);
}

static struct https_result *
refusal(enum https_error error, const char *reason)
{
	struct https_result *res = https_result_new(error, 0);

	str_sanitise(res->reason, sizeof(res->reason), reason,
		strlen(reason));
	return res;
}

/* ---- lists ---- */

static void
enlist(struct https_request *r, enum https_state state)
{
	r->state = state;
	TAILQ_INSERT_TAIL(&r->https->lists[state], r, link);
	r->https->counts[state]++;
}

static void
delist(struct https_request *r)
{
	TAILQ_REMOVE(&r->https->lists[r->state], r, link);
	r->https->counts[r->state]--;
}

static void
request_free(struct https_request *r)
{
	struct https_query *q = &r->query;

	delist(r);
	https_transfer_free(&r->transfer);
	https_result_free(&r->result);
	if (r->timer != NULL)
		event_free(r->timer);
	free((void *)(uintptr_t)q->body);
	free((void *)(uintptr_t)q->addrs);
	free((void *)(uintptr_t)q->content_type);
	free((void *)(uintptr_t)q->path);
	free((void *)(uintptr_t)q->host);
	free(r);
}

/* The result waits for the loop. */
static void
https_end(struct https_request *r, struct https_result *res)
{
	https_transfer_free(&r->transfer);
	delist(r);
	enlist(r, HTTPS_ENDED);
	if (r->timer != NULL)
		(void)event_del(r->timer);
	r->result = res;
	if (res->error == HTTPS_OK)
		r->https->ok++;
	else
		r->https->failed++;
	log_debug("https", "host", r->query.host, "result",
		https_error_name(res->error), "status",
		log_num((long long)res->status), "ip", res->peer, "reason",
		res->reason, NULL);
	event_active(r->https->deliver, EV_TIMEOUT, 0);
}

/* No more than there are now: what a callback starts comes next time. */
static void
on_deliver(evutil_socket_t fd, short what, void *arg)
{
	struct https *https = arg;
	struct https_list *ended = &https->lists[HTTPS_ENDED];
	size_t n = https->counts[HTTPS_ENDED];

	(void)fd;
	(void)what;
	for (; n > 0 && !TAILQ_EMPTY(ended); n--) {
		struct https_request *r = TAILQ_FIRST(ended);
		struct https_result *res = r->result;
		https_cb *cb = r->cb;

		arg = r->arg;
		r->result = NULL;
		request_free(r);
		cb(res, arg);
	}
	if (!TAILQ_EMPTY(ended))
		event_active(https->deliver, EV_TIMEOUT, 0);
}

/* ---- running ---- */

static int64_t
age_ms(const struct https_request *r)
{
	return clock_mono_ms() - r->begun_ms;
}

/* Those that count; *first_out is the one that has run for longest, or NULL. */
static size_t
count_quick(const struct https *https, struct https_request **first_out)
{
	struct https_request *r;
	size_t count = 0;

	*first_out = NULL;
	TAILQ_FOREACH(r, &https->lists[HTTPS_RUNNING], link) {
		if (age_ms(r) >= https->settings.slow_ms)
			continue;
		if (count++ == 0)
			*first_out = r;
	}
	return count;
}

/* Whoever answers slowly, or not at all, must not keep others from being
 * asked: a few such hosts would be enough. */
static bool
has_room(struct https *https)
{
	const struct https_settings *s = &https->settings;
	struct https_request *quick, *oldest;

	if (https->counts[HTTPS_RUNNING] < s->flight_max)
		return true;
	if (count_quick(https, &quick) >= s->flight_max)
		return false;
	if (https->counts[HTTPS_RUNNING] < s->flight_max * HTTPS_SLOW_TIMES)
		return true;
	oldest = TAILQ_FIRST(&https->lists[HTTPS_RUNNING]);
	if (age_ms(oldest) < 4 * s->slow_ms)
		return false;
	https_end(oldest, refusal(HTTPS_BUSY,
		"too slow while others wait for their turn"));
	return true;
}

/* When has_room() may say something else. */
static void
wait_for_room(struct https *https)
{
	const struct https_settings *s = &https->settings;
	struct https_request *r;
	int64_t ms = 4 * s->slow_ms;
	struct timeval tv;

	if (count_quick(https, &r) >= s->flight_max)
		ms = s->slow_ms;
	else
		r = TAILQ_FIRST(&https->lists[HTTPS_RUNNING]);
	ms -= r == NULL ? 0 : age_ms(r);
	ms = ms > 1 ? ms : 1;
	tv.tv_sec = (time_t)(ms / 1000);
	tv.tv_usec = (suseconds_t)(ms % 1000 * 1000);
	(void)event_add(https->room, &tv);
}

static void
on_room(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	https_next(arg);
}

void
https_next(struct https *https)
{
	struct https_request *r;

	while ((r = TAILQ_FIRST(&https->lists[HTTPS_WAITING])) != NULL) {
		if (!has_room(https)) {
			wait_for_room(https);
			return;
		}
		delist(r);
		enlist(r, HTTPS_RUNNING);
		r->begun_ms = clock_mono_ms();
		r->transfer = https_transfer_new(r);
		if (r->transfer == NULL)
			https_end(r, refusal(HTTPS_LOCAL,
				"libcurl refuses the request"));
	}
}

/* The time is up, and most of it went by before it could begin: that says
 * nothing of the server. */
static bool
began_late(const struct https_request *r)
{
	return clock_mono_ms() >= r->deadline_ms - LATE_MS &&
		r->deadline_ms - r->begun_ms < r->query.timeout_ms / 2;
}

void
https_over(struct https_request *r, CURLcode code)
{
	https_end(r, code == CURLE_OPERATION_TIMEDOUT && began_late(r) ?
		refusal(HTTPS_BUSY, "timed out: others left too little time") :
		https_answer_result(r->transfer, code));
}

/* libcurl has the same limit, but knows nothing of those that wait. */
static void
on_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct https_request *r = arg;
	struct https *https = r->https;

	(void)fd;
	(void)what;
	if (r->state == HTTPS_RUNNING)
		https_over(r, CURLE_OPERATION_TIMEDOUT);
	else
		https_end(r, refusal(HTTPS_BUSY,
			"timed out: others did not leave a turn"));
	https_next(https);
}

/* ---- asking ---- */

static bool
visible(const char *text, char first, size_t max_bytes)
{
	const char *c = text;

	while (*c >= first && *c <= '~')
		c++;
	return *c == '\0' && c > text && (size_t)(c - text) <= max_bytes;
}

/* libcurl takes a name whose last label is a number for an address, and would
 * go there without regard to ours. */
static bool
is_host_name(const char *host)
{
	const char *last = strrchr(host, '.');

	return str_is_domain(host) && last != NULL && !(last[1] >= '0' &&
		last[1] <= '9');
}

static const char *
fault(const struct https_query *q)
{
	if (!is_host_name(q->host))
		return "not a host name";
	if (q->path[0] != '/' || strchr(q->path, '#') != NULL ||
	    !visible(q->path, '!', PATH_MAX_BYTES))
		return "not a path";
	if (q->method == HTTPS_POST && (q->content_type == NULL ||
	    !visible(q->content_type, ' ', TYPE_MAX_BYTES)))
		return "no content type";
	return NULL;
}

/* Keeps the permitted addresses, in the form that libcurl will use. */
static void
take_addresses(struct https_request *r, const struct https_query *from)
{
	struct sockaddr_storage *to = xcalloc(HTTPS_ADDRS_MAX, sizeof(*to));
	size_t n = 0;

	for (size_t i = 0; i < from->addr_count && n < HTTPS_ADDRS_MAX; i++) {
		const struct sockaddr_storage *ss = &from->addrs[i];
		struct sockaddr_in v4 = { .sin_family = AF_INET,
			.sin_port = htons(r->query.port) };
		struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
			.sin6_port = htons(r->query.port) };

		if (ss->ss_family != AF_INET && ss->ss_family != AF_INET6)
			continue;
		if (!r->https->settings.allow_private && https_address_kind(
		    (const struct sockaddr *)ss) != NULL)
			continue;
		if (ss->ss_family == AF_INET) {
			v4.sin_addr = ((const struct sockaddr_in *)ss)->
				sin_addr;
			memcpy(&to[n++], &v4, sizeof(v4));
		} else {
			v6.sin6_addr = ((const struct sockaddr_in6 *)ss)->
				sin6_addr;
			memcpy(&to[n++], &v6, sizeof(v6));
		}
	}
	r->query.addrs = to;
	r->query.addr_count = n;
}

static void
take_query(struct https_request *r, const struct https_query *from)
{
	const struct https_settings *s = &r->https->settings;
	struct https_query *q = &r->query;
	uint8_t *body;

	*q = *from;
	q->host = xstrdup(from->host);
	q->path = xstrdup(from->path);
	q->content_type = from->content_type == NULL ? NULL :
		xstrdup(from->content_type);
	if (q->port == 0)
		q->port = s->port;
	if (q->timeout_ms <= 0)
		q->timeout_ms = s->timeout_ms;
	body = xmalloc(from->body_len + 1);	/* POST wants a pointer */
	if (from->body_len > 0)
		memcpy(body, from->body, from->body_len);
	q->body = body;
	take_addresses(r, from);
	r->deadline_ms = clock_mono_ms() + q->timeout_ms;
}

/* NULL when it may be asked. */
static struct https_result *
refuse(const struct https_request *r, const struct https_query *asked)
{
	struct https *https = r->https;
	const char *why = fault(&r->query);
	char reason[HTTPS_REASON_MAX];

	if (why != NULL)
		return refusal(HTTPS_LOCAL, why);
	if (asked->addr_count == 0)
		return refusal(HTTPS_NO_ADDRESS, "the host has no address");
	if (r->query.addr_count == 0) {
		why = https_address_kind((const struct sockaddr *)
			&asked->addrs[0]);
		(void)snprintf(reason, sizeof(reason), "the host has no "
			"public address (%s)", why != NULL ? why : "none");
		return refusal(HTTPS_PRIVATE_ADDRESS, reason);
	}
	if (!https_trust_ready(https->trust))
		return refusal(HTTPS_LOCAL, "the CA file cannot be read");
	/* It is one of those that wait by now. */
	if (https->counts[HTTPS_WAITING] > https->settings.queue_max &&
	    https->counts[HTTPS_RUNNING] >= https->settings.flight_max)
		return refusal(HTTPS_BUSY, "too many requests are waiting");
	return NULL;
}

struct https_request *
https_start(struct https *https, const struct https_query *query,
	https_cb *cb, void *arg)
{
	struct https_request *r = xcalloc(1, sizeof(*r));
	struct https_result *refused;
	struct timeval tv;

	r->https = https;
	r->cb = cb;
	r->arg = arg;
	take_query(r, query);
	enlist(r, HTTPS_WAITING);
	https->started++;
	refused = refuse(r, query);
	if (refused != NULL) {
		https_end(r, refused);
		return r;
	}
	tv.tv_sec = (time_t)(r->query.timeout_ms / 1000);
	tv.tv_usec = (suseconds_t)(r->query.timeout_ms % 1000 * 1000);
	r->timer = evtimer_new(https->base, on_timeout, r);
	assert(r->timer != NULL);
	(void)event_add(r->timer, &tv);
	https_next(https);
	return r;
}

void
https_cancel(struct https_request **request)
{
	struct https_request *r = *request;
	struct https *https;

	if (r == NULL)
		return;
	*request = NULL;
	https = r->https;
	https->cancelled++;
	request_free(r);
	https_next(https);
}

/* ---- life ---- */

struct https *
https_new(struct event_base *base, const struct https_settings *settings)
{
	struct https *https = xcalloc(1, sizeof(*https));
	struct https_settings *s = &https->settings;

	/* Counted by libcurl; nothing else in the process uses it. */
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		abort();
	https->base = base;
	*s = *settings;
	s->ca_file = xstrdup(settings->ca_file);
	s->port = s->port != 0 ? s->port : DEFAULT_PORT;
	s->timeout_ms = s->timeout_ms > 0 ? s->timeout_ms : DEFAULT_MS;
	s->flight_max = s->flight_max > 0 ? s->flight_max : DEFAULT_FLIGHT;
	s->slow_ms = s->slow_ms > 0 ? s->slow_ms : DEFAULT_SLOW_MS;
	s->queue_max = s->queue_max > 0 ? s->queue_max : DEFAULT_QUEUE;
	for (size_t i = 0; i <= HTTPS_ENDED; i++)
		TAILQ_INIT(&https->lists[i]);
	https->trust = https_trust_new(s->ca_file);
	https->deliver = event_new(base, -1, 0, on_deliver, https);
	https->room = evtimer_new(base, on_room, https);
	if (https->deliver == NULL || https->room == NULL ||
	    !https_loop_open(https))
		abort();
	return https;
}

void
https_free(struct https **httpsp)
{
	struct https *https = *httpsp;
	struct https_request *r;

	if (https == NULL)
		return;
	for (size_t i = 0; i <= HTTPS_ENDED; i++)
		while ((r = TAILQ_FIRST(&https->lists[i])) != NULL)
			request_free(r);
	https_loop_close(https);
	event_free(https->room);
	event_free(https->deliver);
	https_trust_free(&https->trust);
	free((void *)(uintptr_t)https->settings.ca_file);
	curl_global_cleanup();
	mem_free(httpsp);
}

struct event_base *
https_base(const struct https *https)
{
	return https->base;
}

const struct https_settings *
https_settings(const struct https *https)
{
	return &https->settings;
}

void
https_stats(const struct https *https, struct https_stats *out)
{
	*out = (struct https_stats){
		.started = https->started,
		.ok = https->ok,
		.failed = https->failed,
		.cancelled = https->cancelled,
		.flight = https->counts[HTTPS_RUNNING],
		.waiting = https->counts[HTTPS_WAITING],
	};
}
