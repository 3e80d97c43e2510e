/*
 * The queue on disk.  Called by the parent alone; one thread, one writer.
 *
 * Writing functions work inside a transaction: spool_begin(), changes,
 * spool_commit().  Nothing has happened until commit returned ST_OK; then it
 * survives power loss (SQLite WAL, synchronous=FULL).  After ST_FULL (disk
 * full), ST_CORRUPT (damaged; spool_error() tells) or ST_SYS from a writing
 * function or commit, call spool_rollback().  ST_PARSE and ST_NOENT mean that
 * this one call changed nothing; the transaction goes on.  Nothing in here
 * aborts on a damaged database or repairs one silently.
 *
 * Ids of messages, deliveries and recipients come from one sequence that only
 * grows (microseconds of the wall clock, or the last one plus one) and outlives
 * restarts: a late answer never meets a foreign row.
 *
 * On disk: message (envelope), body (small bodies) or a file body/<id>,
 * delivery (one per message and destination), recipient (only unfinished
 * ones), destination (counts and due times), destination_rule (dest_rule.h),
 * host_tls (policy_store.h).  ARCHITECTURE.md has the table of states
 * and what a crash leaves.
 * The spool knows nothing of SMTP or TLS: outcomes are opaque text to it.
 */
#ifndef SPOOL_SPOOL_H
#define SPOOL_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/envelope.h"
#include "base/err.h"

struct spool;

#define SPOOL_TEXT_MAX 600

struct spool_options {
	uint64_t inline_bytes;		/* bodies up to this are in the table */
	int64_t (*now_ms)(void);	/* wall clock; NULL: base/clock */
	void (*test_step)(const char *step);	/* tests only; NULL */
};

/* url is "sqlite:DIR"; DIR is made (0700) when its parent exists.  Takes an
 * exclusive lock: ST_DENIED when another process has the spool.  Migrates an
 * older schema, refuses a newer one.  Sweeps orphan body files.  err gets a
 * sentence on failure. */
enum status spool_open(const char *url, const struct spool_options *,
	struct spool **out, char *err, size_t err_bytes) MUST_CHECK;
void spool_close(struct spool **);
const char *spool_error(const struct spool *);	/* of the last failure */
/* True after a failed fsync: nothing is stored until the process restarts. */
bool spool_broken(const struct spool *);

enum status spool_begin(struct spool *) MUST_CHECK;
enum status spool_commit(struct spool *) MUST_CHECK;
void spool_rollback(struct spool *);		/* also when none is open */

/*
 * Body files.  A body larger than inline_bytes is written by the submitter's
 * process into a file that the spool opened ("body/tmp-N"); adding the
 * message renames it.  fd_out is owned by the caller.  Drop removes a file
 * that will not be used; after spool_add it is a no-op.
 */
enum status spool_body_file_new(struct spool *, uint64_t *token_out,
	int *fd_out) MUST_CHECK;
void spool_body_file_drop(struct spool *, uint64_t token);

struct spool_body {
	const void *data;	/* inline bytes, or NULL */
	size_t len;
	uint64_t file_token;	/* when data is NULL: from body_file_new; the
				 * writer has synced it */
};

/*
 * Adds a message: gives env->id and each rcpt->id, makes one delivery for each
 * distinct destination, due at next_ms.  The size of a body file is checked
 * against env->size_bytes (ST_PARSE when it differs); for an inline body
 * env->size_bytes is set, and env->received_ms when it is 0.  After a rollback
 * the token of a body file is good again (ST_NOENT when the disk failed in
 * commit and its state is unknown).  While the disk is full only
 * notices (ENVELOPE_BOUNCE) are added, ST_FULL else.
 */
enum status spool_add(struct spool *, struct envelope *,
	const struct spool_body *, int64_t next_ms, int64_t expires_ms)
	MUST_CHECK;

/* ---- taking work ---- */

struct spool_delivery {		/* plain data, no strings owned elsewhere */
	uint64_t id, message_id;
	char destination[256];
	unsigned attempts;	/* finished attempts */
	int64_t received_ms, next_ms, expires_ms;
	bool held;
	bool delay_noticed;	/* a delay notice was sent */
};

struct spool_cursor {		/* start with zeroes */
	int64_t next_ms;
	uint64_t id;
};

/* ST_NOENT when it is gone. */
enum status spool_delivery(struct spool *, uint64_t id,
	struct spool_delivery *out) MUST_CHECK;

/* Deliveries whose expires_ms has passed, in whatever state (also held), after
 * *cursor (of expires_ms), which moves past them; NULL: from the start. */
enum status spool_expired(struct spool *, int64_t now_ms,
	struct spool_cursor *, struct spool_delivery *out, size_t max,
	size_t *count_out) MUST_CHECK;
/* Those of a destination, in order of ids, which is that of age. */
enum status spool_deliveries_after(struct spool *, const char *destination,
	uint64_t after_id, struct spool_delivery *out, size_t max,
	size_t *count_out) MUST_CHECK;

/* The deliveries of one message (after spool_add, for direct hand-over). */
enum status spool_deliveries_of(struct spool *, uint64_t message_id,
	struct spool_delivery *out, size_t max, size_t *count_out) MUST_CHECK;

/* Envelope with the recipients of one delivery only (delivery_id), or all
 * unfinished ones (0).  ST_NOENT when gone. */
enum status spool_envelope(struct spool *, uint64_t message_id,
	uint64_t delivery_id, struct envelope **out) MUST_CHECK;

/* The body: either *data_out/len (owned by the caller) or a read-only fd
 * (*data_out NULL).  A file body that is missing is ST_CORRUPT. */
enum status spool_body_get(struct spool *, uint64_t message_id,
	void **data_out, size_t *len_out, int *fd_out) MUST_CHECK;

/* ---- results ---- */

struct spool_rcpt_result {
	uint64_t rcpt_id;
	bool finished;			/* delivered or given up: remove it */
	const char *text;		/* last result, kept unless finished */
};

/* Records results of some recipients of a delivery.  Unknown recipients are
 * ignored (late answers).  Removes a delivery without recipients, a message
 * without deliveries, and its body; a body file is unlinked after commit. */
enum status spool_results(struct spool *, uint64_t delivery_id,
	const struct spool_rcpt_result *, size_t count) MUST_CHECK;

/* Ends an attempt: counts it and sets the next time.  `text` is the last
 * problem of the delivery as a whole (shown by queue list).  delay_noticed is
 * remembered once set.  An unknown delivery is ignored (late answer). */
enum status spool_retry(struct spool *, uint64_t delivery_id, int64_t next_ms,
	bool count_attempt, bool delay_noticed, const char *text) MUST_CHECK;

/* ---- the operator ---- */

struct spool_filter {		/* all given members must match */
	uint64_t message_id;	/* 0: any */
	const char *destination;/* NULL: any; ".example" for a domain below */
	const char *sender;	/* NULL: any; exact, "" is the null sender */
	const char *rcpt;	/* NULL: any; exact */
	int64_t older_than_ms;	/* received before this; 0: any */
	int held;		/* -1 any, 0 not held, 1 held */
};

struct spool_row {		/* one unfinished recipient */
	struct spool_delivery delivery;
	uint64_t rcpt_id;
	uint64_t size_bytes;
	unsigned flags;
	const char *sender, *rcpt;
	const char *text;	/* last result; "" when never tried */
};

/* Streams rows in message order from a read snapshot taken page by page (the
 * WAL is not pinned).  *after is the last message id looked at (start with 0);
 * returns when `max` messages were given or many were passed over; *more_out
 * tells if there are more.  The row is valid within the callback only, which
 * must not call the spool. */
typedef void spool_row_cb(const struct spool_row *, void *arg);
enum status spool_list(struct spool *, const struct spool_filter *,
	uint64_t *after, size_t max, spool_row_cb *, void *arg, bool *more_out)
	MUST_CHECK;

enum spool_action {
	SPOOL_FLUSH,		/* due now (attempts keep their count) */
	SPOOL_HOLD,
	SPOOL_RELEASE,		/* due when it was due before */
	SPOOL_REMOVE		/* without a bounce */
};
/* Removes a message by its id, without looking at what may be damaged:
 * for one that the actions above fail on or do not find.  *count_out grows by
 * its deliveries. */
enum status spool_purge(struct spool *, uint64_t message_id,
	uint64_t *count_out) MUST_CHECK;

struct spool_walk {		/* start with zeroes */
	uint64_t message_from, delivery_after, flagged, max; /* at once, or 0 */
};
/* Applies to all matching deliveries; *count_out says how many.  With
 * filter->rcpt a removal takes that recipient alone, the other actions the
 * delivery that it belongs to. */
enum status spool_act(struct spool *, const struct spool_filter *,
	enum spool_action, int64_t now_ms, uint64_t *count_out) MUST_CHECK;
/* The same, a bounded part at a time; *count_out grows. */
enum status spool_act_slice(struct spool *, const struct spool_filter *,
	enum spool_action, int64_t now_ms, struct spool_walk *,
	uint64_t *count_out, bool *more_out) MUST_CHECK;

/* Changes flags of the messages that have a matching recipient, as a whole, a
 * bounded part at a time; *count_out grows by the messages. */
enum status spool_set_flags(struct spool *, const struct spool_filter *,
	unsigned clear, unsigned set, struct spool_walk *, uint64_t *count_out,
	bool *more_out) MUST_CHECK;

struct spool_stats {
	uint64_t messages, deliveries, recipients, held, due, bytes;
	int64_t oldest_received_ms;	/* 0 when empty */
};
/* Answers in constant time from maintained totals; only `due` is counted, in
 * the index, and not beyond SPOOL_DUE_COUNT_MAX. */
#define SPOOL_DUE_COUNT_MAX 100000
enum status spool_stats(struct spool *, int64_t now_ms,
	struct spool_stats *out) MUST_CHECK;

struct spool_dest_stats {
	char destination[256];
	uint64_t deliveries, held;
	int64_t wait_ms;		/* spool_destination_wait(), or 0 */
	int64_t oldest_received_ms;
};
/* The destinations with most deliveries. */
enum status spool_top_destinations(struct spool *, struct spool_dest_stats *,
	size_t max, size_t *count_out) MUST_CHECK;
/* One of them; ST_NOENT when nothing is queued for it. */
enum status spool_destination(struct spool *, const char *destination,
	struct spool_dest_stats *out) MUST_CHECK;

/* ---- housekeeping ---- */

/* A bounded slice of work (checkpoint, incremental vacuum); true while more is
 * left.  Outside a transaction, when idle or spool_log_long(). */
bool spool_idle(struct spool *);
bool spool_log_long(const struct spool *);
uint64_t spool_free_bytes(struct spool *);	/* a moment old */

/* Small remembered values (schema-free state of the parent). */
enum status spool_meta_get(struct spool *, const char *key, char *out,
	size_t out_bytes) MUST_CHECK;
enum status spool_meta_set(struct spool *, const char *key, const char *value)
	MUST_CHECK;

#endif
