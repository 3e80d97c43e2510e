/*
 * Shared by the files of policy/https*.c alone.
 *
 * https.c has the requests (waiting, running, ended), https_loop.c puts
 * libcurl on libevent, https_transfer.c is one exchange in libcurl's terms,
 * https_answer.c what the server answers.
 */
#ifndef POLICY_HTTPS_INT_H
#define POLICY_HTTPS_INT_H

#include <curl/curl.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/buf.h"
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
	int64_t begun_ms;		/* when it began to run; 0: not yet */
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
	struct event *room;		/* when somebody is slow */
	struct https_list lists[HTTPS_ENDED + 1];
	size_t counts[HTTPS_ENDED + 1];
	uint64_t started, ok, failed, cancelled;
};

struct https_transfer {
	struct https_request *request;
	CURL *easy;
	CURLSH *pins;			/* the DNS cache */
	struct curl_slist *resolve, *headers;
	bool added;
	struct buf body;
	size_t header_bytes;
	bool header_over, body_over;
	unsigned types;			/* Content-Type fields seen */
	char media_type[HTTPS_MEDIA_MAX];
	bool encoded;
	bool header_whole;		/* up to the empty line */
	bool framed;			/* the length is in the header */
	struct https_seen seen;
	char error[CURL_ERROR_SIZE];
};

/* A result with room for a body; the rest is zero. */
struct https_result *https_result_new(enum https_error, size_t len);

bool https_loop_open(struct https *);
void https_loop_close(struct https *);

/* NULL when libcurl refuses.  Takes the transfer up with https->multi. */
struct https_transfer *https_transfer_new(struct https_request *);
/* Takes it off again.  Never from within a callback of libcurl. */
void https_transfer_free(struct https_transfer **);

/* Callbacks of libcurl; arg is the transfer. */
size_t https_answer_header(char *, size_t, size_t, void *arg);
size_t https_answer_body(char *, size_t, size_t, void *arg);
/* What came of it. */
struct https_result *https_answer_result(const struct https_transfer *,
	CURLcode);

/* From https_loop.c: the transfer of that request is over. */
void https_over(struct https_request *, CURLcode);
/* And: nothing of libcurl is on the stack, what waits may start. */
void https_next(struct https *);

#endif
