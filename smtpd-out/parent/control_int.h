/*
 * Private to control*.c: a client, and how it is answered.
 */
#ifndef SMTPD_OUT_CONTROL_INT_H
#define SMTPD_OUT_CONTROL_INT_H

#include <jansson.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "base/slice.h"
#include "smtpd-out/queue/queue.h"
#include "spool/policy_store.h"
#include "spool/report_store.h"
#include "spool/spool.h"

#define PAGE 100			/* rows listed per turn */

struct bufferevent;

struct control {
	struct event_base *base;
	struct spool *spool;
	struct queue *queue;
	int fd;
	struct event *accept_ev;
	TAILQ_HEAD(, client) clients;
	size_t count;
};

struct client {
	TAILQ_ENTRY(client) link;
	struct control *control;
	struct bufferevent *bev;
	bool answered;			/* close when everything is written */
	void (*page)(struct client *);	/* the next part of a list */
	char host_after[SPOOL_HOST_MAX];
	struct spool_report_position report_at;
	struct spool_filter filter;
	json_t *request;		/* owns the filter's strings */
	struct event *step_ev;		/* the next part, in the next turn */
	struct spool_walk at;		/* of an action */
	struct slice slice;		/* its parts, in deliveries */
	size_t action;			/* in its table */
	uint64_t after;
	uint64_t rows;
	int cat_fd;
	off_t cat_at;
	uint64_t refresh;		/* a fetch that it waits for, or 0 */
};

/* ---- control.c ---- */

/* One line of the answer, and the last one; the object is taken over. */
void control_send(struct client *, json_t *object);
void control_end(struct client *, json_t *object, const char *error);
void control_fail(struct client *, const char *error);
/* A text of the request, or NULL. */
const char *control_text_of(const json_t *request, const char *key);
/* A value for the answer, taken over. */
void control_set(json_t *object, const char *key, json_t *value);
void control_set_int(json_t *object, const char *key, int64_t value);
/* A text of whatever bytes. */
json_t *control_text_json(const char *text);

/* Work that goes on by page() until it answers; the client is silent. */
void control_long(struct client *, void (*page)(struct client *));
void control_again(struct client *);	/* page() again, in the next turn */

/* ---- control_act.c ---- */

void control_act(struct client *);
void control_demand(struct client *);

/* ---- control_stats.c ---- */

void control_stats(struct client *);
void control_limits(struct client *);
void control_rule(struct client *);	/* pause, resume, limit */

/* ---- control_report.c ---- */

void control_report_list(struct client *);
void control_report_send(struct client *);

/* ---- control_policies.c ---- */

void control_policies_list(struct client *);
void control_policies_show(struct client *);
void control_policies_refresh(struct client *);
void control_policies_forget(struct client *);

#endif
