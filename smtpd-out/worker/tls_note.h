/*
 * What a session, or a host that no session was made to, says of the transport
 * security of a destination: for the log, and for reports (RFC 8460).  Borrowed
 * facts, good within the call.
 *
 * A session is noted once: when it is ready for mail, or when it ends before
 * that for TLS or its policy.  Mail that goes on in clear text after such an
 * end is noted as a session of its own, marked as fallback.
 */
#ifndef SMTPD_OUT_TLS_NOTE_H
#define SMTPD_OUT_TLS_NOTE_H

#include "policy/policy.h"
#include "policy/sts_view.h"
#include "policy/tlsa_seen.h"
#include "smtpd-out/client/session.h"

enum tls_note_kind {
	TLS_NOTE_UP = 0,	/* ready for mail */
	TLS_NOTE_FAILED,	/* ended before, for TLS or its policy */
	TLS_NOTE_SKIPPED	/* ruled out by policy, or its DNS is bogus: not
				 * connected to */
};

struct tls_note {
	enum tls_note_kind kind;
	const char *destination;
	const char *host;		/* "": not known */
	enum demand_why rule;		/* who decided */
	const struct demand *demand;	/* NULL when skipped */
	const struct session_info *info;	/* NULL when skipped */
	const struct outcome *why;	/* NULL when up */
	/* What is known of the destination's MTA-STS policy; NULL: it was not
	 * asked for.  Its failure tells of policies that could not be had. */
	const struct sts_view *sts;
	const struct tlsa_seen *tlsa;	/* NULL: none, or not asked for */
	bool report;			/* for a report of ours */
	bool fallback;
};

/*
 * What the destination's MTA-STS policy has to say of it, of whatever mode and
 * whether it decided or was watched: TLS_FAILURE_NONE for met, else what fails
 * and a sentence.  False when there is no such policy, or it was out of force
 * here (a rule, the message, mode none).
 */
bool tls_note_sts(const struct tls_note *, enum tls_failure *failure_out,
	const char **reason_out);

/* One line for a policy in testing mode that would have failed. */
void tls_note_log(const struct tls_note *);

#endif
