/*
 * What a TLS note (tls_note.h) is in the terms of RFC 8460: events for each
 * policy that applies to the session.  Pure.
 *
 * tlsa		the TLSA records of the host decided, or could not be had, or
 *		were all unusable, or a local rule demands them in vain; or
 *		signed MX or address records, which come before them, are bogus
 * sts		the MTA-STS policy of the domain decided, or was watched, or
 *		could not be had
 * no-policy-found	neither
 *
 * A session for mail that wants no policy ("TLS-Required: No", RFC 8689) is one
 * without: none is looked for, and 4.2 counts by the policy that was applied.
 * Nothing is told of the sessions of our own reports (section 3), of relays
 * that a rule names, of address literals, and of clear text by our own choice;
 * nor of lookups that fail on our side: their outcome has no tls_failure.
 * Mail that goes on in clear text after TLS failed is one session with the one
 * that failed.
 */
#ifndef SMTPD_OUT_TLS_EVENT_H
#define SMTPD_OUT_TLS_EVENT_H

#include "base/conf.h"
#include "policy/tlsrpt.h"
#include "smtpd-out/worker/tls_note.h"

#define TLS_EVENTS_MAX 3

/* How many; the caller clears them.  Exactly one of them has `ended` set. */
size_t tls_events(const struct conf *, const struct tls_note *, int64_t now_s,
	struct tlsrpt_event out[TLS_EVENTS_MAX]);

#endif
