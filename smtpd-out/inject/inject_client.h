/*
 * A submitter's connection: moves bytes between the socket and its session,
 * and keeps its clock.  The role (inject.c) owns all of them in a table, so
 * that a request number leads back to its client without a pointer.
 */
#ifndef SMTPD_OUT_INJECT_CLIENT_H
#define SMTPD_OUT_INJECT_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/conf.h"
#include "smtpd-out/inject/inject_session.h"
#include "smtpd-out/inject/inject_tls.h"

struct event_base;
struct event;
struct inject_client;

#define INJECT_ORIGIN_BYTES 64

TAILQ_HEAD(inject_client_list, inject_client);

/* The way to the parent and to the disk; none of these calls back at once. */
struct inject_queue {
	enum status (*submit)(void *arg, uint64_t request,
		const struct msg_submit *);
	enum status (*body_open)(void *arg, uint64_t request);
	void (*body_drop)(void *arg, uint64_t request, uint64_t token);
	bool (*write_out)(void *arg, uint64_t request,
		const struct inject_write *);
};

/* What all clients share. */
struct inject_clients {
	struct event_base *base;
	const struct conf *conf;
	const struct inject_queue *queue;
	void *queue_arg;
	struct inject_pool pool;
	struct inject_client **slots;	/* conf->limit.sessions of them */
	size_t count, last_slot;
	uint64_t next_session;		/* number of the next session */
	uint64_t next_request;
	bool paused;			/* no reading: the channel is full */
	struct inject_client_list dead;	/* closed, not yet freed */
	struct event *reap_ev;
	void (*empty)(void *arg);	/* the last one is gone */
	void *empty_arg;
};

void inject_clients_init(struct inject_clients *, struct event_base *,
	const struct conf *);
void inject_clients_clear(struct inject_clients *);

struct inject_peer {		/* who has connected, and where */
	int fd;			/* taken over */
	const struct conf_listen *listen;
	struct inject_tls_server *tls;	/* NULL: STARTTLS is not offered */
	const char *origin;
};

/* refusal REPLY_NONE greets; anything else is said instead. */
void inject_client_new(struct inject_clients *, const struct inject_peer *,
	enum inject_reply refusal);
/* Live clients with this origin. */
size_t inject_clients_of(const struct inject_clients *, const char *origin);

/* The session that waits for this answer; NULL when it is gone. */
struct inject_session *inject_clients_find(struct inject_clients *,
	uint64_t request);
/* After an answer was given to the session of request. */
void inject_clients_answered(struct inject_clients *, uint64_t request);

void inject_clients_pause(struct inject_clients *, bool paused);
void inject_clients_stop(struct inject_clients *);

#endif
