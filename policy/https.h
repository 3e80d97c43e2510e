/*
 * Bounded HTTPS requests on the caller's event loop: one connection for each,
 * to addresses that the caller looked up, and nothing followed.
 *
 * The server is verified against the name in the query by subjectAltName and
 * the CA file, over TLS 1.2 or newer.  There are no redirects, proxies,
 * cookies, credentials, compression, reuse of connections, or answers without
 * an end in time and size.
 *
 * https_start() returns a handle; its owner gets exactly one callback (never
 * inside the starting call), after which the handle is gone, or calls
 * https_cancel().  The result is owned by whoever asked.
 */
#ifndef POLICY_HTTPS_H
#define POLICY_HTTPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"

struct event_base;
struct https;
struct https_request;

#define HTTPS_REASON_MAX 256
#define HTTPS_MEDIA_MAX 64
#define HTTPS_PEER_MAX 46	/* text of an IPv6 address and the NUL */
#define HTTPS_ADDRS_MAX 16	/* of a query; more are left out */
#define HTTPS_SLOW_TIMES 8
#define HTTPS_HEADER_MAX 32768	/* all header fields of a response */

enum https_error {
	HTTPS_OK = 0,		/* a response came whole: see its status */
	HTTPS_NO_ADDRESS,	/* the query has no address */
	HTTPS_PRIVATE_ADDRESS,	/* all addresses are within own networks */
	HTTPS_CONNECT,		/* no address can be reached */
	HTTPS_TLS,		/* handshake: version, protocol */
	HTTPS_CERTIFICATE,	/* the server is not who it should be */
	HTTPS_TIMEOUT,		/* no whole response in time */
	HTTPS_TOO_LARGE,	/* header or body above its bound */
	HTTPS_PROTOCOL,		/* not HTTP/1.x, or cut off */
	HTTPS_BUSY,		/* our side: others left no room or time */
	HTTPS_LOCAL		/* our side: no CA file, unfit query */
};

const char *https_error_name(enum https_error);

struct https_settings {
	const char *ca_file;		/* PEM */
	int64_t timeout_ms;		/* of a request, waiting included;
					 * 0: a minute */
	int64_t connect_timeout_ms;	/* TCP and TLS; 0: the same */
	uint16_t port;			/* 0: 443 */
	bool allow_private;		/* see https_address_kind() */
	/* At a time; 0: 8.  One that takes longer than slow_ms (0: 3 s) leaves
	 * its place to those that wait, until there are HTTPS_SLOW_TIMES as
	 * many in all; then the oldest ends, after four times that time. */
	size_t flight_max;
	int64_t slow_ms;
	size_t queue_max;		/* waiting, in their order; 0: 1000 */
};

enum https_method { HTTPS_GET = 0, HTTPS_POST };

/* Everything in it is copied.  host is normalised (base/str.h); path begins
 * with a slash and may have a query part. */
struct https_query {
	enum https_method method;
	const char *host;		/* SNI, Host, and reference name */
	uint16_t port;			/* 0: that of the settings */
	const char *path;
	const struct sockaddr_storage *addrs;	/* ports are ignored */
	size_t addr_count;
	int64_t timeout_ms;		/* 0: that of the settings */
	const void *body;		/* POST */
	size_t body_len;
	const char *content_type;	/* POST */
	size_t body_max;		/* of the response */
	bool cut_body;			/* be content with the status: OK once
					 * the header is whole, and what is
					 * above body_max is dropped */
};

struct https_result {
	enum https_error error;
	unsigned status;		/* 0: none came; also on errors */
	char media_type[HTTPS_MEDIA_MAX];	/* lower case, without
					 * parameters; "": none, or two */
	bool encoded;			/* has a Content-Encoding */
	char peer[HTTPS_PEER_MAX];	/* address connected to, or "" */
	char reason[HTTPS_REASON_MAX];	/* one line when error or status is
					 * not 2xx; sanitised */
	size_t len;			/* 0 on errors */
	uint8_t body[];			/* and a NUL after it */
};

void https_result_free(struct https_result **);

typedef void https_cb(struct https_result *result, void *arg);

/*
 * Call before entering the sandbox.  Never fails: without a readable CA file
 * there is a line in the log, and every request ends as HTTPS_LOCAL until it
 * can be read (it is looked at again when it changes).  settings are copied.
 * SIGPIPE must be ignored in the process.
 */
struct https *https_new(struct event_base *, const struct https_settings *);
/* Cancels what is under way: no callback runs after this.  Not to be called
 * from one. */
void https_free(struct https **);
struct event_base *https_base(const struct https *);
const struct https_settings *https_settings(const struct https *);

struct https_request *https_start(struct https *, const struct https_query *,
	https_cb *, void *arg);
void https_cancel(struct https_request **);

struct https_stats {
	uint64_t started, ok, failed, cancelled;
	size_t flight, waiting;
};
void https_stats(const struct https *, struct https_stats *out);

/*
 * What keeps an address from being asked by default, in a word or two
 * ("loopback", "private network", ...), or NULL for one of the public
 * Internet.  A name under somebody else's control must not make us talk to our
 * own networks.  Addresses that embed another (NAT64, 6to4) are judged by it.
 */
const char *https_address_kind(const struct sockaddr *);

#endif
