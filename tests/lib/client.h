/*
 * Runs one client session in a loop of its own against a scripted peer, gives
 * it transactions one after the other, and keeps what came of it.
 */
#ifndef TESTS_LIB_CLIENT_H
#define TESTS_LIB_CLIENT_H

#include "base/conf.h"
#include "smtpd-out/client/session.h"
#include "tests/lib/peer.h"

#define CLIENT_TXNS_MAX 8

struct client {
	/* set before client_run() */
	struct conf conf;		/* patient; change what is needed */
	struct demand demand;
	struct session_target target;
	struct session_addr addrs[SESSION_ADDRS_MAX];
	struct session_txn *txns[CLIENT_TXNS_MAX];	/* NULL ends */
	struct tls_client *tls;		/* shared; NULL: one of its own */
	bool stay;			/* no quit after the last */
	int64_t quit_after_ms;		/* session_quit() then; 0: no */
	int64_t abort_after_ms;		/* session_abort() then; 0: no */

	/* set by it */
	unsigned ready, done, closed;	/* callbacks */
	struct outcome why;
	bool tls_failed;
	struct session_info info;	/* as of the last done() */
	bool resuming;			/* as of closed() */
	bool in_call;			/* within session_*() */

	struct session *session;
	struct event_base *base;
};

void client_init(struct client *);
/* Adds a peer's address to the target. */
void client_add_peer(struct client *, const struct peer *);
/* Runs to the end; aborts the test after 15 seconds. */
void client_run(struct client *);

#endif
