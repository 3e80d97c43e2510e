/*
 * Private to parent.c, parent_kids.c and parent_port.c.
 */
#ifndef SMTPD_OUT_PARENT_INT_H
#define SMTPD_OUT_PARENT_INT_H

#include <sys/queue.h>

#include "smtpd-out/parent/child.h"
#include "smtpd-out/parent/listener.h"
#include "smtpd-out/queue/queue.h"

struct control;

#define WORKERS_MAX 64

/* A place for a child of the present generation. */
struct slot {
	struct parent *parent;
	struct child *child;		/* NULL while it waits to restart */
	enum ipc_side side;
	unsigned index;
	unsigned crashes;		/* in a row */
	struct event *restart_ev;
};

/* Every child, also of old generations. */
struct kid {
	TAILQ_ENTRY(kid) link;
	struct child *child;
	struct slot *slot;		/* NULL: old generation */
	unsigned index, of;		/* a worker's share: index of so many */
};

struct parent {
	struct event_base *base;
	const char *conf_path;
	char *conf_text;
	struct conf *conf;
	struct dkim_key *key;		/* NULL: nothing is signed */
	struct spool *spool;
	struct queue *queue;
	struct control *control;
	struct listeners listeners;
	struct slot inject;
	struct slot workers[WORKERS_MAX];
	unsigned worker_count;
	TAILQ_HEAD(, kid) kids;
	struct event *signals[5];
	struct event *stop_ev;
	bool stopping;
	bool ready_said;
	int status;
};

/* ---- parent_kids.c: children of this and of older generations ---- */

void kids_init(struct parent *);
void kids_clear(struct parent *);	/* kills what is left */
void kids_start(struct parent *);	/* a new generation */
/* The slots let go of their children, which finish on their own. */
void kids_retire(struct parent *);
void kids_reap(struct parent *);	/* after SIGCHLD */
struct kid *kid_by_id(struct parent *, uint64_t id);
/* The loop ends when the parent stops and no child is left. */
void kids_check_stopped(struct parent *);

/* ---- parent_port.c: between children and queue ---- */

/* A frame from a child. */
enum status port_frame(struct child *, struct ipc_frame *, void *parent);
/* What the queue asks of us. */
void port_init(struct parent *, struct queue_port *);

#endif
