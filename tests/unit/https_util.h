/*
 * What the tests of HTTPS share: a loop with its https, and how certificates
 * and scripts of a policy host look.
 */
#ifndef TESTS_UNIT_HTTPS_UTIL_H
#define TESTS_UNIT_HTTPS_UTIL_H

#include "policy/https.h"
#include "tests/lib/peer.h"

#define HOST "mta-sts.a.example"
/* clang-format off */
#define TLS { PEER_TLS, HOST, 0 }
#define TLS_TRY { PEER_TLS_TRY, NULL, 0 }
#define HEAD { PEER_HEAD, NULL, 0 }
#define SEND(text) { PEER_SEND, text, 0 }
#define BYE { PEER_BYE, NULL, 0 }
#define WAIT { PEER_WAIT, NULL, 0 }
#define CUT { PEER_CUT, NULL, 0 }
/* A request must not come through. */
#define NOTHING { PEER_TLS_TRY, NULL, 0 }, { PEER_NEVER, "HTTP/", 0 }
#define FLOOD(text) { PEER_FLOOD, text, 0 }
#define DRIP(text, ms) { PEER_DRIP, text, ms }
#define STATUS(line) "HTTP/1.1 " line "\r\n"
#define PLAIN "Content-Type: text/plain\r\n"
/* clang-format on */

extern const struct cert_spec good_cert;

struct https_world {
	struct event_base *base;
	struct https *https;
	struct peer *peer;		/* NULL: none */
	struct sockaddr_storage addr;	/* of the peer */
	uint16_t port;
	struct https_result *result;	/* of the last request */
	size_t calls;
};

/* Settings of 0 get values fit for a test; loopback is permitted, and the CA
 * is that of the peer (when there is one). */
void world_open(struct https_world *, const struct cert_spec *,
	const struct peer_step *, const struct https_settings *);
/* Without a peer, and with a CA that is of no use to anybody; the address is
 * 127.0.0.1. */
void world_alone(struct https_world *, bool allow_private, int64_t timeout_ms);
/* Also checks that the script went as written. */
void world_close(struct https_world *);
/* Without that check. */
void world_drop(struct https_world *);

/* A callback that keeps the result in the world. */
void world_cb(struct https_result *, void *arg);
/* One request to its end; host, port and address are filled in. */
const struct https_result *world_ask(struct https_world *,
	struct https_query);
/* The loop, until that many callbacks have come in all; fails after 20 s. */
void world_wait(struct https_world *, size_t calls);
/* The query for the peer. */
struct https_query world_query(const struct https_world *);

struct sockaddr_storage world_address(const char *text);
/* Does the work in a process of its own; its exit code, -1 when killed. */
int world_child(int (*work)(void));

#endif
