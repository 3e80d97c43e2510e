/*
 * Configuration: one file, parsed once into plain data that nobody changes.
 *
 * The text is read by the parent and handed to every role, which parses the
 * same bytes: there is no second format.  Every default is right for a small
 * server.  Durations are milliseconds, sizes are bytes.  Domains are
 * normalised (base/str.h).  See smtpd-out.conf(5).
 */
#ifndef BASE_CONF_H
#define BASE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/conf_parts.h"
#include "base/err.h"
#include "base/log.h"

#define CONF_FILE_MAX (1024 * 1024)

/* A socket address with its text, "192.0.2.1:25" or "[2001:db8::1]:25" or
 * "unix:/path". */
struct conf_addr {
	struct sockaddr_storage addr;
	socklen_t addr_len;
	char *text;
};

struct conf_net {		/* "192.0.2.0/24" */
	int family;
	uint8_t bytes[16];
	unsigned prefix_bits;
};

enum conf_protocol { CONF_SMTP = 0, CONF_LMTP };
enum conf_bare { CONF_BARE_REFUSE = 0, CONF_BARE_NORMALISE };

struct conf_listen {
	struct conf_addr addr;
	enum conf_protocol protocol;
	struct conf_net *allow;		/* TCP clients; unix: by file mode */
	size_t allow_count;
	enum conf_bare bare_newline;	/* bare CR or LF within DATA */
	unsigned mode;			/* of a Unix socket, e.g. 0666 */
	char *cert_file, *key_file;	/* for STARTTLS; NULL: not offered */
};

enum conf_dnssec { CONF_DNSSEC_VALIDATE = 0, CONF_DNSSEC_TRUST_AD,
	CONF_DNSSEC_OFF };

struct conf_resolver {
	struct conf_addr *servers;	/* default: from /etc/resolv.conf */
	size_t server_count;
	enum conf_dnssec dnssec;
	char *trust_anchor;		/* file of DS or DNSKEY lines */
	int64_t timeout_ms;		/* one try of one server */
	int64_t lookup_ms;		/* a whole lookup */
	unsigned tries;			/* per server */
	size_t cache_entries;
	int64_t min_ttl_s, max_ttl_s;
	int64_t skew_s;			/* signature clock skew allowed */
	unsigned nsec3_iterations;	/* above: insecure */
	struct conf_addr *trusted;	/* non-loopback servers for trust-ad */
	size_t trusted_count;
};

enum conf_tls { CONF_TLS_AUTO = 0, CONF_TLS_NONE, CONF_TLS_MAY,
	CONF_TLS_ENCRYPT, CONF_TLS_DANE_ONLY, CONF_TLS_PKIX,
	CONF_TLS_FINGERPRINT };

/* What a rule says of TLS; absent texts are NULL. */
struct conf_tls_rule {
	enum conf_tls tls;
	bool override;			/* may weaken what others demand */
	int64_t until_s;		/* ignored from then on; 0: for ever */
	char *ca_file;
	char *sni;
	char *ciphers;
	char *cert_file, *key_file;	/* ours, for the client certificate */
	unsigned min_version;		/* enum conf_tls_version */
	char **names;			/* reference identifiers */
	size_t name_count;
	char **prints;			/* SHA-256, 64 lower-case hex digits */
	size_t print_count;
};

enum conf_tls_version { CONF_TLS_VERSION_DEFAULT = 0, CONF_TLS_1_0,
	CONF_TLS_1_1, CONF_TLS_1_2, CONF_TLS_1_3 };

/* What a destination or host may be given; 0: not said here. */
struct conf_bounds {
	unsigned connections;		/* at a time */
	unsigned recipients;		/* per transaction */
	struct conf_rate rate;		/* of messages */
};

/* destination "a.example" or ".example", and host "mx.example" */
struct conf_destination {
	char *match;
	struct conf_tls_rule rule;
	struct conf_bounds bounds;
	char *relay_host;		/* NULL: MX lookup */
	uint16_t relay_port;
	char *auth_file;		/* "user:password" for it, or NULL */
	bool relay_tls;			/* smtps://: TLS from the first byte */
};

/* hosts-require-tls, hosts-avoid-tls: names, ".domain", addresses, networks */
struct conf_host_list {
	char **names;
	size_t name_count;
	struct conf_net *nets;
	size_t net_count;
};

enum conf_insecure_mx { CONF_INSECURE_MX_DANE = 0, CONF_INSECURE_MX_ENCRYPT,
	CONF_INSECURE_MX_MAY };

enum conf_remember { CONF_REMEMBER_OFF = 0, CONF_REMEMBER_WARN,
	CONF_REMEMBER_REQUIRE };

struct conf {
	char *hostname;			/* EHLO, Received, Message-ID */
	char *spool;			/* "sqlite:PATH" */
	char *control;			/* "unix:PATH" */
	char *user;			/* drop to this when started as root */
	char *postmaster;		/* From: of notices */
	struct conf_listen *listens;
	size_t listen_count;
	struct conf_resolver resolver;
	struct conf_destination *destinations;
	size_t destination_count;
	struct conf_destination *hosts;	/* rules by MX host */
	size_t host_count;
	struct conf_host_list require_hosts, avoid_hosts;
	enum conf_insecure_mx insecure_mx;
	struct conf_sts sts;
	struct conf_tlsrpt tlsrpt;
	struct conf_dkim dkim;
	unsigned min_version;		/* of verified TLS */
	unsigned may_min_version;	/* of opportunistic TLS */
	char *ciphers;			/* NULL: the library's */
	int64_t tls_session_ms;		/* how long resumed; 0: never */
	struct conf_retry retry;
	struct conf_timeout timeout;
	struct conf_limit limit;
	char *ca_file;
	unsigned workers;		/* 0: one per CPU */
	uint16_t smtp_port;
	bool ipv4, ipv6;
	struct conf_addr *local_addrs;	/* also "this machine" in loop tests */
	size_t local_addr_count;
	bool sandbox;
	bool require_tls;
	enum conf_remember remember_tls;
	enum log_target log_target;
	enum log_level log_level;
};

#define CONF_DEFAULT_FILE SYSCONFDIR "/smtpd-out/smtpd-out.conf"
#define CONF_ERR_MAX 512

/* Reads a whole file (at most CONF_FILE_MAX) into owned text. */
enum status conf_read(const char *path, char **text_out,
	char err[CONF_ERR_MAX]) MUST_CHECK;
/* Parses text; name is used in errors ("NAME:LINE: ...").  The caller frees
 * the result with conf_free(). */
enum status conf_parse(const char *name, const char *text,
	struct conf **conf_out, char err[CONF_ERR_MAX]) MUST_CHECK;
void conf_free(struct conf **);

/* "100/1m", "10/s", "5000/h", "0" for none. */
enum status conf_rate_parse(const char *text, struct conf_rate *out)
	MUST_CHECK;

/* The rule for a destination: exact match, then the longest ".parent";
 * NULL when there is none. */
const struct conf_destination *conf_destination(const struct conf *,
	const char *domain);
/* The same for `host` rules. */
const struct conf_destination *conf_host(const struct conf *,
	const char *host);
/* True when the list names the host or one of its addresses. */
bool conf_host_list_match(const struct conf_host_list *, const char *host,
	const struct sockaddr *addr);
/* True when no report is sent to that domain (tlsrpt { exclude }). */
bool conf_tlsrpt_excluded(const struct conf *, const char *domain);
/* True when addr is within one of the networks. */
bool conf_net_match(const struct conf_net *, size_t count,
	const struct sockaddr *);
/* Parses "ADDR:PORT", "[V6]:PORT", "ADDR" (with default_port) or
 * "unix:PATH" into an owned address. */
enum status conf_addr_parse(const char *text, uint16_t default_port,
	struct conf_addr *out) MUST_CHECK;

#endif
