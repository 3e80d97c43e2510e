/*
 * Room of removed large bodies, given back part by part: freeing the blocks of
 * one takes the kernel 10 ms and more, and one commit may remove many.
 */
#ifndef SPOOL_SPOOL_ROOM_H
#define SPOOL_SPOOL_ROOM_H

#include <stdbool.h>

struct spool;

/* After a commit or spool_body_file_drop(): is there some? */
bool spool_room_waits(const struct spool *);
/* A part of it, in a turn of its own; true while more is left. */
bool spool_give_room(struct spool *);

#endif
