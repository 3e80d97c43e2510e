/*
 * Shared by the files of policy/https*.c alone.
 *
 * https.c has the requests (waiting, running, ended), https_loop.c puts
 * libcurl on libevent, https_transfer.c is one exchange in libcurl's terms.
 */
#ifndef POLICY_HTTPS_INT_H
#define POLICY_HTTPS_INT_H

#include <curl/curl.h>
#include <stdint.h>
#include <sys/queue.h>

#include "policy/https.h"
#include "policy/https_tls.h"

struct event;
struct https_transfer;

enum https_state {
	HTTPS_WAITING = 0,	/* for others to end */
	HTTPS_RUNNING,		/* has a transfer */
	HTTPS_ENDED		/* has a result to be handed over */
};

struct https_request {
	TAILQ_ENTRY(https_request) link;	/* of the list of its state */
	struct https *https;
	enum https_state state;
	struct https_query query;	/* texts and addresses are owned; the
					 * addresses are those permitted */
	int64_t deadline_ms;		/* monotonic */
	struct event *timer;
	struct https_transfer *transfer;
	struct https_result *result;
	https_cb *cb;
	void *arg;
};
TAILQ_HEAD(https_list, https_request);

struct https {
	struct event_base *base;
	struct https_settings settings;
	struct https_trust *trust;
	CURLM *multi;
	struct event *curl_timer, *deliver;
	struct https_list lists[HTTPS_ENDED + 1];
	size_t counts[HTTPS_ENDED + 1];
	uint64_t started, ok, failed, cancelled;
};

/* A result with room for a body; the rest is zero. */
struct https_result *https_result_new(enum https_error, size_t len);

bool https_loop_open(struct https *);
void https_loop_close(struct https *);

/* NULL when libcurl refuses.  Takes the transfer up with https->multi. */
struct https_transfer *https_transfer_new(struct https_request *);
/* Takes it off again.  Never from within a callback of libcurl. */
void https_transfer_free(struct https_transfer **);
/* What came of it. */
struct https_result *https_transfer_result(struct https_transfer *, CURLcode);
/* The stage reached, for "no answer in time". */
const char *https_transfer_stage(const struct https_transfer *);

/* From https_loop.c: the transfer of that request is over. */
void https_over(struct https_request *, CURLcode);
/* And: nothing of libcurl is on the stack, what waits may start. */
void https_next(struct https *);

#endif
