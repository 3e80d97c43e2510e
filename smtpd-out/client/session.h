/*
 * One SMTP client session: a connection to one MX host and the transactions
 * on it.  States and permitted transitions are tables (session_table.h); the
 * engine in session.c is the only code that changes a state (RFC 5321).
 *
 * Life: session_start() -> ready() when a transaction may be given (state
 * READY) -> session_send() -> done() -> ready() again ... -> closed(), which
 * comes exactly once, after done() of any unfinished transaction.  No callback
 * runs inside session_start(), session_send() or session_quit().  Within
 * ready() the owner may call session_send() or session_quit().  The session
 * frees nothing under its own callbacks: after closed() the owner puts it on
 * a reap list and calls session_free() from the loop.
 *
 * The process must ignore SIGPIPE.
 */
#ifndef SMTPD_OUT_SESSION_H
#define SMTPD_OUT_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/conf.h"
#include "base/envelope.h"
#include "base/err.h"
#include "policy/demand.h"

struct event_base;
struct host_memory;
struct session;
struct session_watcher;	/* session_watch.h */
struct sts_table;
struct tls_client;	/* tls.h: client context shared by sessions */

struct session_addr {
	struct sockaddr_storage addr;	/* with port */
	socklen_t len;
};

/* Where to and under what demand; copied by session_start(). */
struct session_target {
	const char *host;		/* MX host name, or "[192.0.2.1]" */
	const struct session_addr *addrs; /* raced, IPv6 first (RFC 8305) */
	size_t addr_count;		/* 1 .. SESSION_ADDRS_MAX */
	const struct demand *demand;
	bool no_starttls;		/* new session after a failed handshake
					 * under DEMAND_MAY: stay in clear */
	bool full_handshake;		/* no TLS session is resumed */
	const struct session_watcher *watcher;	/* NULL: none; outlives it */
};
#define SESSION_ADDRS_MAX 16

/* What was achieved; tls= proto= cipher= in the log. */
struct session_info {
	char host[256];
	char ip[64];			/* peer, "" before connected */
	char local_ip[64];		/* our end of it */
	char helo[256];			/* first word of its greeting */
	bool tls_active;
	bool starttls_refused;		/* it was asked for, and not given */
	bool reused;			/* not the first transaction */
	bool resuming;			/* the handshake offered a session that
					 * it did not come up with (tls.h) */
	/* With DEMAND_WATCH_HOST, once TLS is up: what a demand for that would
	 * have failed with, NONE when nothing. */
	enum tls_failure watched;
	char watched_text[128];
	struct demand_proof proof;	/* what was verified */
	char proto[16];			/* "TLSv1.3", "" in clear */
	char cipher[64];
};

/* Where body bytes come from: memory (borrowed) or a file descriptor (owned
 * by the transaction's owner), CRLF line ends, not dot-stuffed. */
struct session_body {
	const uint8_t *data;		/* NULL: use fd */
	int fd;
	uint64_t size_bytes;
};

struct session_rcpt {
	const char *address;		/* borrowed */
	const char *orcpt;		/* or NULL */
	unsigned notify;
	struct outcome outcome;		/* set by the session */
	bool dsn_relayed;		/* NOTIFY went to the peer (RFC 3461) */
};

/* A transaction: owned by the caller, alive from session_send() to done(). */
struct session_txn {
	const char *sender;		/* "" for null */
	const char *envid;		/* or NULL */
	enum envelope_ret ret;
	unsigned flags;			/* ENVELOPE_8BITMIME, _SMTPUTF8 ... */
	struct session_body body;
	struct session_rcpt *rcpts;
	size_t rcpt_count;
	void *arg;			/* the owner's */
};

struct session_callbacks {
	void (*ready)(struct session *, void *arg);
	/* Every rcpt of txn has an outcome (verdict not NONE). */
	void (*done)(struct session *, struct session_txn *txn, void *arg);
	/* why: how the session ended.  verdict DONE after an orderly QUIT;
	 * else the reason, also for a failed start; tls_failed tells a failed
	 * handshake, after which DEMAND_MAY may try again in clear text. */
	void (*closed)(struct session *, const struct outcome *why,
		bool tls_failed, void *arg);
};

/* Shared by all sessions of a worker; outlives them. */
struct session_env {
	struct event_base *base;
	const struct conf *conf;
	struct tls_client *tls;
	struct host_memory *memory;	/* host_memory.h; NULL: off */
	struct sts_table *sts;		/* sts_table.h; NULL: off */
	struct limits *limits;		/* set at run time, conf, defaults */
};

struct session *session_start(const struct session_env *,
	const struct session_target *, const struct session_callbacks *,
	void *arg);
/* True when session_send() may be called: READY, without a transaction. */
bool session_is_ready(const struct session *);
/* Only when ready; if the session has ended since, done() follows all the
 * same, with every recipient to be tried later on another connection. */
void session_send(struct session *, struct session_txn *);
/* Orderly end: QUIT from READY at once; elsewhere after what must not be
 * interrupted (BODY, EOM).  closed() follows within the QUIT timeout. */
void session_quit(struct session *);
/* Ends at once, without callbacks; for the owner's own teardown. */
void session_abort(struct session *);
void session_free(struct session **);	/* after closed() or abort */

const struct session_info *session_info(const struct session *);

#endif
