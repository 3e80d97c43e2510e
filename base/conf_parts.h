/*
 * Sections of the configuration that are plain values: part of base/conf.h,
 * which is what others include.
 */
#ifndef BASE_CONF_PARTS_H
#define BASE_CONF_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "100/1m": so many messages in so much time; 0 is no bound. */
struct conf_rate {
	unsigned count;
	int64_t per_ms;
};
#define CONF_RATE_MS_MAX 86400000

/* What a failed lookup of a domain's MTA-STS record does when no policy of the
 * domain is cached: its mail waits, or goes as if there were none. */
enum conf_sts_dns { CONF_STS_DNS_DEFER = 0, CONF_STS_DNS_IGNORE };

struct conf_sts {		/* MTA-STS, RFC 8461 */
	bool enable;
	int64_t fetch_ms;		/* a whole fetch */
	uint16_t fetch_port;
	bool allow_private;		/* policy hosts at private addresses */
	enum conf_sts_dns dns_failure;
	unsigned max_fetches;		/* at a time, per worker */
	int64_t retry_s, max_retry_s;	/* after a failed fetch, doubling */
	int64_t refresh_ms;		/* how often refreshes are looked for */
	int64_t unused_s;		/* without mail: no refresh any more */
	size_t cache_domains;		/* remembered in the spool */
	char **lists;			/* files of policies for others */
	size_t list_count;
};

enum conf_tlsrpt_send { CONF_TLSRPT_AUTO = 0, CONF_TLSRPT_NO,
	CONF_TLSRPT_YES };

struct conf_tlsrpt {		/* reports to others, RFC 8460 */
	enum conf_tlsrpt_send send_mode;
	bool send;			/* what follows from the mode */
	char *organization;
	char *contact;			/* address; none of these is NULL */
	char *from;			/* address, of mail with reports */
	char *domain;			/* who submits: TLS-Report-Submitter */
	bool success_reports;		/* also for days without a failure */
	int64_t spread_s;		/* of a day's reports, after its end */
	int64_t retry_s;		/* after a failed try, doubling */
	int64_t keep_s;			/* how long totals are kept */
	size_t domains;			/* counted in a day */
	bool allow_private;		/* https targets at private addresses */
	char **exclude;			/* domains, ".domain" */
	size_t exclude_count;
};

struct conf_dkim {		/* all NULL: nothing is signed */
	char *domain, *selector, *key_file;
	bool sign_notices;		/* bounces and delay notices too */
};

struct conf_retry {
	int64_t first_ms, max_ms, expire_ms;
	int64_t delay_notice_ms;	/* 0: none */
	unsigned factor_percent;	/* growth per attempt; 200 doubles */
};

/* RFC 5321 4.5.3.2, and our own for the rest. */
struct conf_timeout {
	int64_t connect_ms, banner_ms, command_ms, mail_ms, rcpt_ms,
		data_ms, block_ms, data_end_ms, rset_ms, quit_ms, tls_ms,
		idle_ms, reuse_ms, process_ms;
};

struct conf_limit {
	uint64_t message_bytes;
	unsigned recipients;		/* per message accepted */
	unsigned sessions;		/* inject, in all */
	unsigned sessions_per_client;	/* inject, per address */
	unsigned line_bytes;		/* of text in DATA, RFC 5321: 998 */
	int64_t inject_command_ms;	/* idle time of a submitter */
	int64_t inject_session_ms;	/* whole session */
	unsigned hops;			/* Received headers */
	unsigned active;		/* deliveries in work, in all */
	unsigned destination_sessions;	/* concurrent, per destination */
	unsigned session_rcpts;		/* per transaction we send */
	unsigned session_messages;	/* per connection; 0: any */
	struct conf_rate destination_rate;
	unsigned host_sessions;		/* concurrent, per MX host; 0: any */
	struct conf_rate host_rate;
	unsigned out_sessions;		/* concurrent, in all; 0: any */
	struct conf_rate out_rate;
	uint64_t inline_bytes;		/* larger bodies go to a file */
	uint64_t bounce_bytes;		/* RET=FULL up to this size */
	uint64_t free_bytes;		/* refuse mail below this free space */
};

#endif
