/*
 * A framed message channel over a Unix socket pair, with descriptors.
 *
 * Frame: u32 length of the payload, u16 type, u16 flags (1 = a descriptor is
 * attached), u64 id, payload; big endian.  What each type means and may look
 * like is one table, ipc_msg.c; every frame is checked against it before a
 * handler sees it.  The other side is never trusted: a violation closes the
 * channel with a reason and the owner restarts the child.
 */
#ifndef SMTPD_OUT_IPC_H
#define SMTPD_OUT_IPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct event_base;
struct ipc;

enum ipc_side { IPC_PARENT = 0, IPC_INJECT, IPC_WORKER };

struct ipc_frame {
	uint16_t type;		/* enum ipc_type */
	uint64_t id;		/* request, job or 0 */
	struct reader body;	/* borrowed; valid within the callback */
	int fd;			/* -1, or owned by the callback, which must
				 * close it or set it to -1 after taking it */
};

/* frame == NULL: the channel has ended; why says how.  Only then may the owner
 * call ipc_free() from within the callback. */
#define IPC_WHY_EOF "closed by the other side"
typedef void ipc_cb(struct ipc *, struct ipc_frame *frame, const char *why,
	void *arg);

/* Takes over fd (non-blocking is set).  self and peer select the rows of the
 * message table that may be sent and received. */
struct ipc *ipc_new(struct event_base *, int fd, enum ipc_side self,
	enum ipc_side peer, ipc_cb *, void *arg);
void ipc_free(struct ipc **);

/* Queues a frame; fd -1 or a descriptor that is duplicated.  ST_LIMIT when
 * the payload breaks the table's bounds or the queue is over its hard bound;
 * a frame that our own table forbids is an assertion. */
enum status ipc_send(struct ipc *, uint16_t type, uint64_t id,
	const struct buf *payload, int fd) MUST_CHECK;
size_t ipc_backlog(const struct ipc *);		/* unsent bytes */
/* Stops or resumes reading (back-pressure). */
void ipc_pause(struct ipc *, bool paused);
/* Ends the channel for a reason that the owner found (an unacceptable frame);
 * the callback with frame == NULL follows from the loop, once. */
void ipc_fail(struct ipc *, const char *why);
/* Called after each loop turn in which frames were read, so that a batch can
 * be finished; optional. */
void ipc_set_flush_cb(struct ipc *, void (*cb)(void *), void *arg);

#endif
