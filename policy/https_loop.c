/*
 * libcurl's multi handle on libevent: it says which sockets and which time it
 * wants watched, we tell it what happened.
 *
 * A handle is taken off only after libcurl has returned (finish_all()).
 */
#include "config.h"

#include <event2/event.h>

#include "policy/https_int.h"

/* Messages are gone with their handle, hence one at a time. */
static void
finish_all(struct https *https)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(https->multi, &left)) != NULL) {
		CURLcode code = msg->data.result;
		char *request = NULL;

		if (msg->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE,
			&request);
		https_over((struct https_request *)(void *)request, code);
	}
	https_next(https);
}

static void
act(struct https *https, curl_socket_t fd, int bits)
{
	int running;

	(void)curl_multi_socket_action(https->multi, fd, bits, &running);
	finish_all(https);
}

static void
on_socket(evutil_socket_t fd, short what, void *arg)
{
	act(arg, fd, ((what & EV_READ) != 0 ? CURL_CSELECT_IN : 0) |
		((what & EV_WRITE) != 0 ? CURL_CSELECT_OUT : 0));
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	act(arg, CURL_SOCKET_TIMEOUT, 0);
}

/* libcurl wants this socket watched so, or no longer. */
static int
watch(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct https *https = arg;
	struct event *ev = known;
	short flags = EV_PERSIST;

	(void)easy;
	if (ev != NULL)
		event_free(ev);
	ev = NULL;
	if (what != CURL_POLL_REMOVE) {
		flags |= (what & CURL_POLL_IN) != 0 ? EV_READ : 0;
		flags |= (what & CURL_POLL_OUT) != 0 ? EV_WRITE : 0;
		ev = event_new(https->base, fd, flags, on_socket, https);
		if (ev == NULL || event_add(ev, NULL) != 0)
			return -1;
	}
	(void)curl_multi_assign(https->multi, fd, ev);
	return 0;
}

static int
set_timer(CURLM *multi, long ms, void *arg)
{
	struct https *https = arg;
	const struct timeval tv = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	(void)multi;
	if (ms < 0)
		return event_del(https->curl_timer);
	return event_add(https->curl_timer, &tv);
}

bool
https_loop_open(struct https *https)
{
	CURLM *m = curl_multi_init();

	https->multi = m;
	https->curl_timer = evtimer_new(https->base, on_timer, https);
	return m != NULL && https->curl_timer != NULL &&
		curl_multi_setopt(m, CURLMOPT_SOCKETFUNCTION, watch) ==
		CURLM_OK &&
		curl_multi_setopt(m, CURLMOPT_SOCKETDATA, https) ==
		CURLM_OK &&
		curl_multi_setopt(m, CURLMOPT_TIMERFUNCTION, set_timer) ==
		CURLM_OK &&
		curl_multi_setopt(m, CURLMOPT_TIMERDATA, https) == CURLM_OK &&
		curl_multi_setopt(m, CURLMOPT_PIPELINING,
		(long)CURLPIPE_NOTHING) == CURLM_OK;
}

void
https_loop_close(struct https *https)
{
	(void)curl_multi_cleanup(https->multi);
	if (https->curl_timer != NULL)
		event_free(https->curl_timer);
}
