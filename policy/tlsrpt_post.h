/*
 * Giving a report to an HTTPS target (RFC 8460 section 5.4): addresses of its
 * host from our resolver, one POST; any 2xx is success.
 *
 * tlsrpt_post_start() returns a handle; its owner gets exactly one callback
 * (never inside the starting call), after which the handle is gone, or calls
 * tlsrpt_post_cancel().
 */
#ifndef POLICY_TLSRPT_POST_H
#define POLICY_TLSRPT_POST_H

#include <stdbool.h>
#include <stddef.h>

struct https;
struct resolver;
struct tlsrpt_post;

#define TLSRPT_POST_REASON_MAX 256

struct tlsrpt_post_env {
	struct https *https;		/* its timeout is that of a post */
	struct resolver *resolver;
};

/* reason: what the server or we say, "" when taken. */
typedef void tlsrpt_post_cb(bool taken, const char *reason, void *arg);

/* url is the target of a struct tlsrpt_rua; gzip is copied.  What cannot be
 * asked ends in the callback.  env is copied; what it points to must outlive
 * the post. */
struct tlsrpt_post *tlsrpt_post_start(const struct tlsrpt_post_env *,
	const char *url, const void *gzip, size_t len, tlsrpt_post_cb *,
	void *arg);
void tlsrpt_post_cancel(struct tlsrpt_post **);

#endif
