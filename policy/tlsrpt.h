/*
 * TLSRPT (RFC 8460): what sessions and policy lookups yield, and the report of
 * one recipient domain and one UTC day that they add up to.  Plain data and
 * pure functions; how a report is written and read is in tlsrpt_doc.h.
 *
 * Ownership: every char * and array below belongs to the struct that holds
 * it and is NULL when absent.  The *_clear functions free what is inside and
 * leave zeroes; a zeroed struct is an empty one.  tlsrpt_report_add() copies.
 *
 * A session to which several policies apply yields one event for each of them
 * (RFC 8460 4.2).  Exactly one of these has `ended` set, so that the session is
 * counted once in tlsrpt_report.sessions.
 */
#ifndef POLICY_TLSRPT_H
#define POLICY_TLSRPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum tlsrpt_policy_type {	/* stored: never renumber */
	TLSRPT_POLICY_NONE = 0,	/* no-policy-found */
	TLSRPT_POLICY_TLSA,	/* tlsa */
	TLSRPT_POLICY_STS,	/* sts */
	TLSRPT_POLICY_OTHER,	/* only in reports of others: a type that
				 * RFC 8460 does not know */
	TLSRPT_POLICY_TYPES
};

enum tlsrpt_ended {		/* stored: never renumber */
	TLSRPT_ENDED_NONE = 0,	/* no session, or counted by another event */
	TLSRPT_ENDED_SECURED,	/* TLS, the host verified by its policy */
	TLSRPT_ENDED_ENCRYPTED,	/* TLS, nobody verified */
	TLSRPT_ENDED_CLEAR,	/* mail could go in clear text */
	TLSRPT_ENDED_FAILED,	/* TLS or its policy failed, no mail went */
	TLSRPT_ENDED_COUNT
};

#define TLSRPT_DAY_S INT64_C(86400)
#define TLSRPT_STRINGS_MAX 64	/* policy strings of a policy */
#define TLSRPT_HOSTS_MAX 64	/* mx-host patterns of a policy */
#define TLSRPT_STRING_MAX 4096	/* bytes of one of them */
#define TLSRPT_TEXT_MAX 512	/* bytes of any other text */
#define TLSRPT_REASON_MAX 64	/* bytes of a failure-reason-code */
#define TLSRPT_POLICIES_MAX 32	/* in a report of our own */
#define TLSRPT_FAILURES_MAX 100	/* distinct failure rows in one of our own */
#define TLSRPT_COUNT_MAX INT64_C(9007199254740991)	/* I-JSON: 2^53 - 1 */

/* The failure-reason-code of a row that holds what found no place. */
#define TLSRPT_REASON_OVERFLOW "further-failures"

struct tlsrpt_policy {
	enum tlsrpt_policy_type type;
	char *domain;		/* recipient domain for sts and none, TLSA
				 * base domain for tlsa */
	char **strings;		/* the policy as found (4.4) */
	size_t string_count;
	char **mx_hosts;	/* patterns of an sts policy */
	size_t mx_host_count;
};

struct tlsrpt_failure {
	enum tls_failure result;	/* NONE: see other */
	char *other;		/* a result type of others' that we do not
				 * know; NULL in our own */
	char *sending_ip;
	char *mx_host;		/* receiving-mx-hostname */
	char *mx_helo;		/* receiving-mx-helo */
	char *receiving_ip;
	char *info;		/* additional-information */
	char *reason;		/* failure-reason-code: dane-no-match, ... */
	uint64_t count;		/* failed sessions */
};

/* What one session or one policy lookup yields for one policy. */
struct tlsrpt_event {
	int64_t time_s;		/* Unix time; its UTC day counts */
	char *domain;		/* recipient domain: whose report */
	struct tlsrpt_policy policy;
	bool failed;		/* failure counts; else a success */
	struct tlsrpt_failure failure;	/* its count is not looked at */
	uint64_t count;		/* sessions like this one, mostly 1 */
	enum tlsrpt_ended ended;
};

struct tlsrpt_result {		/* totals of one policy */
	struct tlsrpt_policy policy;
	uint64_t successes, failed;
	struct tlsrpt_failure *failures;
	size_t failure_count;
};

struct tlsrpt_report {
	char *organization;	/* organization-name */
	char *contact;		/* contact-info */
	char *id;		/* report-id */
	char *domain;		/* recipient domain; not in the document */
	int64_t start_s, end_s;	/* first and last second */
	struct tlsrpt_result *results;
	size_t result_count;
	/* How sessions ended; ours alone, not in the document. */
	uint64_t sessions[TLSRPT_ENDED_COUNT];
};

/* "tlsa", "sts", "no-policy-found" (4.2); TLSRPT_POLICY_OTHER for others. */
const char *tlsrpt_policy_type_name(enum tlsrpt_policy_type);
enum tlsrpt_policy_type tlsrpt_policy_type_parse(const char *name);
const char *tlsrpt_ended_name(enum tlsrpt_ended);

/* For sums of counts, whoever says them: they end at TLSRPT_COUNT_MAX, and do
 * not begin anew. */
void tlsrpt_count_add(uint64_t *total, uint64_t more);

/* First second of the UTC day of a time. */
int64_t tlsrpt_day(int64_t unix_s);

void tlsrpt_policy_add_string(struct tlsrpt_policy *, const char *);
void tlsrpt_policy_add_host(struct tlsrpt_policy *, const char *pattern);
bool tlsrpt_policy_same(const struct tlsrpt_policy *,
	const struct tlsrpt_policy *);
void tlsrpt_policy_copy(struct tlsrpt_policy *to,
	const struct tlsrpt_policy *from);
void tlsrpt_policy_clear(struct tlsrpt_policy *);
void tlsrpt_failure_clear(struct tlsrpt_failure *);
void tlsrpt_event_clear(struct tlsrpt_event *);
void tlsrpt_report_clear(struct tlsrpt_report *);

/* An empty report of that domain for the UTC day of day_s. */
void tlsrpt_report_init(struct tlsrpt_report *, const char *domain,
	int64_t day_s);
/*
 * Adds an event; domain and time are the caller's to check.  Failures alike in
 * everything but their info are one row, the first info stays.  Bounded: beyond
 * TLSRPT_FAILURES_MAX rows a failure goes to the overflow row of its policy and
 * result type, beyond TLSRPT_POLICIES_MAX policies to a policy of its type
 * without strings.  Totals are exact in any case.
 */
void tlsrpt_report_add(struct tlsrpt_report *, const struct tlsrpt_event *);
/* Adds the totals of another part of the same day, e.g. of a store. */
void tlsrpt_report_merge(struct tlsrpt_report *, const struct tlsrpt_report *);
/* True when there is nothing in it that a report tells. */
bool tlsrpt_report_empty(const struct tlsrpt_report *);
uint64_t tlsrpt_report_successes(const struct tlsrpt_report *);
uint64_t tlsrpt_report_failures(const struct tlsrpt_report *);

/*
 * Wire form between our processes, and in the store.  Encoding cuts and
 * sanitises what is too long; decoding bounds everything and refuses what
 * encoding would not have made (ST_PARSE, *out is empty then).
 */
enum status tlsrpt_event_encode(const struct tlsrpt_event *, struct buf *)
	MUST_CHECK;
enum status tlsrpt_event_decode(struct reader *, struct tlsrpt_event *out)
	MUST_CHECK;
enum status tlsrpt_report_encode(const struct tlsrpt_report *, struct buf *)
	MUST_CHECK;
enum status tlsrpt_report_decode(struct reader *, struct tlsrpt_report *out)
	MUST_CHECK;

#endif
