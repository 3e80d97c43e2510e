/*
 * The inject role as a real process with a parent that is not there: a
 * second process that answers on the channel.
 *
 * It accepts everything with a queue id that is a checksum of the text after
 * our own Received field, except by local part of the first recipient:
 * "reject" gets 452, "silent" nothing, "slow" its answer after 300 ms, and
 * "stats" gets 550 with "opens=N drops=N origin=...".  What it accepts it
 * also leaves in the file DIR/last: sender, recipients with NOTIFY, an empty
 * line, the message without our Received field.
 */
#ifndef TESTS_INJECT_PARENT_H
#define TESTS_INJECT_PARENT_H

#include <stdint.h>
#include <sys/types.h>

#include "base/conf.h"

struct role {
	struct conf conf;
	struct conf_listen listens[3];	/* unix; TCP allowed; TCP not */
	struct conf_net loopback;
	char dir[64], path[96];
	uint16_t ports[3];
	pid_t inject, parent;
	int control;			/* 's': STOP, closed: vanish */
};

/* Prepares configuration; the test changes it, then starts. */
void role_init(struct role *);
void role_start(struct role *);
/* Ends both, returns the exit status of inject (-1: killed by a signal). */
int role_wait(struct role *);
void role_clear(struct role *);

int role_listen(const char *path);	/* a Unix socket */
int role_connect(const struct role *, unsigned listen);
/* The file DIR/last as owned text; then it is removed. */
char *role_last(const struct role *);
uint64_t role_sum(const char *text, size_t len);

#endif
