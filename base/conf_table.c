/*
 * The option tables of the configuration: what each section may hold, where
 * it goes and what it is when nothing is said.  conf.c reads with them,
 * conf_value.c and conf_list.c convert; smtpd-out.conf(5) explains.
 */
#include "config.h"

#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "base/conf_int.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define AT(member) offsetof(struct conf, member)
#define LISTEN_AT(member) offsetof(struct conf_listen, member)
#define DEST_AT(member) offsetof(struct conf_destination, member)

/* clang-format off */
static const char *const dnssec_words[] =
	{ "validate", "trust-ad", "off", NULL };
static const char *const log_words[] = { "stderr", "syslog", NULL };
static const char *const level_words[] =
	{ "error", "warn", "info", "debug", NULL };
static const char *const protocol_words[] = { "smtp", "lmtp", NULL };
static const char *const bare_words[] = { "refuse", "normalise", NULL };
static const char *const tls_words[] =
	{ "auto", "none", "may", "encrypt", "dane-only", "pkix", "fingerprint",
	NULL };
static const char *const version_words[] =
	{ "default", "1.0", "1.1", "1.2", "1.3", NULL };
static const char *const insecure_mx_words[] =
	{ "dane", "encrypt", "may", NULL };
static const char *const sts_dns_words[] = { "defer", "ignore", NULL };
static const char *const send_words[] = { "auto", "no", "yes", NULL };
static const char *const remember_words[] =
	{ "off", "warn", "require", NULL };

/* name, kind, where, default (NULL: none), min, max, words */
static const struct conf_row root_rows[] = {
	{ "hostname", ROW_HOST, AT(hostname), NULL, 0, 0, NULL },
	{ "spool", ROW_TEXT, AT(spool),
	    "sqlite:" LOCALSTATEDIR "/spool/smtpd-out", 0, 0, NULL },
	{ "control", ROW_TEXT, AT(control),
	    "unix:" RUNSTATEDIR "/smtpd-out/control", 0, 0, NULL },
	{ "user", ROW_TEXT, AT(user), "smtpd-out", 0, 0, NULL },
	{ "postmaster", ROW_TEXT, AT(postmaster), NULL, 0, 0, NULL },
	{ "workers", ROW_UINT, AT(workers), "0", 0, 64, NULL },
	{ "smtp-port", ROW_PORT, AT(smtp_port), "25", 1, 65535, NULL },
	{ "ipv4", ROW_BOOL, AT(ipv4), "yes", 0, 0, NULL },
	{ "ipv6", ROW_BOOL, AT(ipv6), "yes", 0, 0, NULL },
	{ "sandbox", ROW_BOOL, AT(sandbox), "yes", 0, 0, NULL },
	{ "require-tls", ROW_BOOL, AT(require_tls), "no", 0, 0, NULL },
	{ "remember-tls", ROW_WORD, AT(remember_tls), "warn", 0, 0,
	    remember_words },
	{ "log", ROW_WORD, AT(log_target), "stderr", 0, 0, log_words },
	{ "log-level", ROW_WORD, AT(log_level), "info", 0, 0, level_words },
};
static const struct conf_row resolver_rows[] = {
	{ "dnssec", ROW_WORD, AT(resolver.dnssec), "validate", 0, 0,
	    dnssec_words },
	{ "trust-anchor", ROW_TEXT, AT(resolver.trust_anchor),
	    "/usr/share/dns/root.key", 0, 0, NULL },
	{ "timeout", ROW_MS, AT(resolver.timeout_ms), "2s", 10, 60000, NULL },
	{ "lookup-timeout", ROW_MS, AT(resolver.lookup_ms), "20s", 10, 600000,
	    NULL },
	{ "tries", ROW_UINT, AT(resolver.tries), "2", 1, 10, NULL },
	{ "cache-entries", ROW_SIZE_T, AT(resolver.cache_entries), "20000", 0,
	    10000000, NULL },
	{ "min-ttl", ROW_S, AT(resolver.min_ttl_s), "5s", 0, 86400, NULL },
	{ "max-ttl", ROW_S, AT(resolver.max_ttl_s), "1d", 1, 604800, NULL },
	{ "clock-skew", ROW_S, AT(resolver.skew_s), "5m", 0, 86400, NULL },
	{ "nsec3-iterations", ROW_UINT, AT(resolver.nsec3_iterations), "50", 0,
	    150, NULL },
};
static const struct conf_row retry_rows[] = {
	{ "first", ROW_MS, AT(retry.first_ms), "5m", 1, INT64_MAX, NULL },
	{ "max", ROW_MS, AT(retry.max_ms), "1h", 1, INT64_MAX, NULL },
	{ "expire", ROW_MS, AT(retry.expire_ms), "5d", 1, 31536000000, NULL },
	{ "delay-notice", ROW_MS, AT(retry.delay_notice_ms), "4h", 0, INT64_MAX,
	    NULL },
	{ "growth", ROW_UINT, AT(retry.factor_percent), "200", 100, 1000,
	    NULL },
};
static const struct conf_row timeout_rows[] = {
	{ "connect", ROW_MS, AT(timeout.connect_ms), "30s", 1, 3600000, NULL },
	{ "banner", ROW_MS, AT(timeout.banner_ms), "5m", 1, 3600000, NULL },
	{ "command", ROW_MS, AT(timeout.command_ms), "5m", 1, 3600000, NULL },
	{ "mail", ROW_MS, AT(timeout.mail_ms), "5m", 1, 3600000, NULL },
	{ "rcpt", ROW_MS, AT(timeout.rcpt_ms), "5m", 1, 3600000, NULL },
	{ "data", ROW_MS, AT(timeout.data_ms), "2m", 1, 3600000, NULL },
	{ "block", ROW_MS, AT(timeout.block_ms), "3m", 1, 3600000, NULL },
	{ "data-end", ROW_MS, AT(timeout.data_end_ms), "10m", 1, 3600000,
	    NULL },
	{ "rset", ROW_MS, AT(timeout.rset_ms), "1m", 1, 3600000, NULL },
	{ "quit", ROW_MS, AT(timeout.quit_ms), "5s", 1, 3600000, NULL },
	{ "tls", ROW_MS, AT(timeout.tls_ms), "1m", 1, 3600000, NULL },
	{ "idle", ROW_MS, AT(timeout.idle_ms), "2s", 0, 3600000, NULL },
	{ "reuse", ROW_MS, AT(timeout.reuse_ms), "5m", 0, 3600000, NULL },
	{ "process", ROW_MS, AT(timeout.process_ms), "2m", 100, 3600000,
	    NULL },
};
static const struct conf_row limit_rows[] = {
	{ "message-size", ROW_BYTES, AT(limit.message_bytes), "50M", 1024,
	    1ULL << 40, NULL },
	{ "recipients", ROW_UINT, AT(limit.recipients), "1000", 1, 10000,
	    NULL },
	{ "sessions", ROW_UINT, AT(limit.sessions), "1000", 1, 100000, NULL },
	{ "sessions-per-client", ROW_UINT, AT(limit.sessions_per_client),
	    "200", 1, 100000, NULL },
	{ "line", ROW_UINT, AT(limit.line_bytes), "998", 500, 1000000, NULL },
	{ "submit-idle", ROW_MS, AT(limit.inject_command_ms), "5m", 1, 3600000,
	    NULL },
	{ "submit-time", ROW_MS, AT(limit.inject_session_ms), "1h", 1,
	    86400000, NULL },
	{ "hops", ROW_UINT, AT(limit.hops), "50", 1, 1000, NULL },
	{ "active", ROW_UINT, AT(limit.active), "5000", 1, 1000000, NULL },
	{ "destination-sessions", ROW_UINT, AT(limit.destination_sessions),
	    "20", 1, 10000, NULL },
	{ "session-recipients", ROW_UINT, AT(limit.session_rcpts), "100", 1,
	    10000, NULL },
	{ "session-messages", ROW_UINT, AT(limit.session_messages), "1000", 0,
	    1000000, NULL },
	{ "destination-rate", ROW_RATE, AT(limit.destination_rate), "0", 0, 0,
	    NULL },
	{ "host-sessions", ROW_UINT, AT(limit.host_sessions), "0", 0, 100000,
	    NULL },
	{ "host-rate", ROW_RATE, AT(limit.host_rate), "0", 0, 0, NULL },
	{ "total-sessions", ROW_UINT, AT(limit.out_sessions), "0", 0, 1000000,
	    NULL },
	{ "total-rate", ROW_RATE, AT(limit.out_rate), "0", 0, 0, NULL },
	{ "inline-body", ROW_BYTES, AT(limit.inline_bytes), "256K", 0,
	    4ULL << 20, NULL },
	{ "bounce-body", ROW_BYTES, AT(limit.bounce_bytes), "50K", 0,
	    1ULL << 20, NULL },
	{ "free-space", ROW_BYTES, AT(limit.free_bytes), "16M", 0, 1ULL << 50,
	    NULL },
};
static const struct conf_row tls_rows[] = {
	{ "ca-file", ROW_FILE, AT(ca_file),
	    "/etc/ssl/certs/ca-certificates.crt", 0, 0, NULL },
	{ "min-version", ROW_WORD, AT(min_version), "1.2", 0, 0,
	    version_words },
	{ "opportunistic-min-version", ROW_WORD, AT(may_min_version), "1.2", 0,
	    0, version_words },
	{ "ciphers", ROW_TEXT, AT(ciphers), NULL, 0, 0, NULL },
	{ "session-cache-timeout", ROW_MS, AT(tls_session_ms), "1h", 0,
	    86400000, NULL },
};
static const struct conf_row dane_rows[] = {
	{ "insecure-mx", ROW_WORD, AT(insecure_mx), "dane", 0, 0,
	    insecure_mx_words },
};
static const struct conf_row sts_rows[] = {
	{ "enable", ROW_BOOL, AT(sts.enable), "yes", 0, 0, NULL },
	{ "fetch-timeout", ROW_MS, AT(sts.fetch_ms), "1m", 10, 600000, NULL },
	{ "fetch-port", ROW_PORT, AT(sts.fetch_port), "443", 1, 65535, NULL },
	{ "allow-private-addresses", ROW_BOOL, AT(sts.allow_private), "no", 0,
	    0, NULL },
	{ "dns-failure", ROW_WORD, AT(sts.dns_failure), "defer", 0, 0,
	    sts_dns_words },
	{ "max-fetches", ROW_UINT, AT(sts.max_fetches), "20", 1, 1000, NULL },
	{ "retry", ROW_S, AT(sts.retry_s), "5m", 1, 86400, NULL },
	{ "max-retry", ROW_S, AT(sts.max_retry_s), "8h", 1, 604800, NULL },
	{ "refresh-check", ROW_MS, AT(sts.refresh_ms), "10m", 10, 86400000,
	    NULL },
	{ "unused", ROW_S, AT(sts.unused_s), "60d", 1, 31536000, NULL },
	{ "cache-size", ROW_SIZE_T, AT(sts.cache_domains), "10000", 1,
	    1000000, NULL },
};
static const struct conf_row tlsrpt_rows[] = {
	{ "send", ROW_WORD, AT(tlsrpt.send_mode), "auto", 0, 0, send_words },
	{ "organization", ROW_TEXT, AT(tlsrpt.organization), NULL, 0, 0,
	    NULL },
	{ "contact", ROW_ADDRESS, AT(tlsrpt.contact), NULL, 0, 0, NULL },
	{ "from", ROW_ADDRESS, AT(tlsrpt.from), NULL, 0, 0, NULL },
	{ "domain", ROW_HOST, AT(tlsrpt.domain), NULL, 0, 0, NULL },
	{ "success-reports", ROW_BOOL, AT(tlsrpt.success_reports), "yes", 0, 0,
	    NULL },
	{ "spread", ROW_S, AT(tlsrpt.spread_s), "4h", 1, 43200, NULL },
	{ "retry", ROW_S, AT(tlsrpt.retry_s), "10m", 1, 43200, NULL },
	{ "keep", ROW_S, AT(tlsrpt.keep_s), "30d", 172800, 31536000, NULL },
	{ "max-domains", ROW_SIZE_T, AT(tlsrpt.domains), "20000", 1, 1000000,
	    NULL },
	{ "allow-private-addresses", ROW_BOOL, AT(tlsrpt.allow_private), "no",
	    0, 0, NULL },
};
static const struct conf_row dkim_rows[] = {
	{ "domain", ROW_HOST, AT(dkim.domain), NULL, 0, 0, NULL },
	{ "selector", ROW_HOST, AT(dkim.selector), NULL, 0, 0, NULL },
	{ "key-file", ROW_FILE, AT(dkim.key_file), NULL, 0, 0, NULL },
	{ "sign-notices", ROW_BOOL, AT(dkim.sign_notices), "no", 0, 0, NULL },
};
static const struct conf_row listen_rows[] = {
	{ "protocol", ROW_WORD, LISTEN_AT(protocol), "smtp", 0, 0,
	    protocol_words },
	{ "bare-newline", ROW_WORD, LISTEN_AT(bare_newline), "refuse", 0, 0,
	    bare_words },
	{ "mode", ROW_OCTAL, LISTEN_AT(mode), "0666", 0, 0777, NULL },
	{ "certificate", ROW_FILE, LISTEN_AT(cert_file), NULL, 0, 0, NULL },
	{ "key", ROW_FILE, LISTEN_AT(key_file), NULL, 0, 0, NULL },
};
#define TLS_RULE_ROWS \
	{ "tls", ROW_WORD, DEST_AT(rule.tls), "auto", 0, 0, tls_words }, \
	{ "override", ROW_BOOL, DEST_AT(rule.override), "no", 0, 0, NULL }, \
	{ "until", ROW_DATE, DEST_AT(rule.until_s), NULL, 0, 0, NULL }, \
	{ "ca-file", ROW_FILE, DEST_AT(rule.ca_file), NULL, 0, 0, NULL }, \
	{ "sni", ROW_HOST, DEST_AT(rule.sni), NULL, 0, 0, NULL }, \
	{ "ciphers", ROW_TEXT, DEST_AT(rule.ciphers), NULL, 0, 0, NULL }, \
	{ "certificate", ROW_FILE, DEST_AT(rule.cert_file), NULL, 0, 0, \
	    NULL }, \
	{ "key", ROW_FILE, DEST_AT(rule.key_file), NULL, 0, 0, NULL }, \
	{ "min-version", ROW_WORD, DEST_AT(rule.min_version), "default", 0, \
	    0, version_words }
#define BOUNDS_ROWS \
	{ "max-connections", ROW_UINT, DEST_AT(bounds.connections), NULL, 1, \
	    100000, NULL }, \
	{ "rate", ROW_RATE, DEST_AT(bounds.rate), NULL, 0, 0, NULL }
static const struct conf_row destination_rows[] = {
	TLS_RULE_ROWS,
	BOUNDS_ROWS,
	{ "max-recipients", ROW_UINT, DEST_AT(bounds.recipients), NULL, 1,
	    10000, NULL },
	{ "relay", ROW_RELAY, DEST_AT(relay_host), NULL, 0, 0, NULL },
	{ "auth-file", ROW_FILE, DEST_AT(auth_file), NULL, 0, 0, NULL },
};
static const struct conf_row host_rows[] = {
	TLS_RULE_ROWS,
	BOUNDS_ROWS,
};

/* A list option: filled by conf_list.c. */
static const struct conf_list_row resolver_lists[] = {
	{ "servers", LIST_ADDR, 53 }, { "trusted", LIST_ADDR, 53 },
};
static const struct conf_list_row listen_lists[] = {
	{ "allow", LIST_NET, 0 },
};
static const struct conf_list_row root_lists[] = {
	{ "local-addresses", LIST_ADDR, 0 },
	{ "hosts-require-tls", LIST_HOST, 0 },
	{ "hosts-avoid-tls", LIST_HOST, 0 },
};
static const struct conf_list_row sts_lists[] = {
	{ "lists", LIST_FILE, 0 },
};
static const struct conf_list_row tlsrpt_lists[] = {
	{ "exclude", LIST_NAME, 0 },
};
static const struct conf_list_row rule_lists[] = {
	{ "match-names", LIST_NAME, 0 }, { "fingerprints", LIST_PRINT, 0 },
};

const struct conf_section conf_sections[] = {
	{ NULL, false, root_rows, COUNT(root_rows), root_lists,
	    COUNT(root_lists) },
	{ "resolver", false, resolver_rows, COUNT(resolver_rows),
	    resolver_lists, COUNT(resolver_lists) },
	{ "retry", false, retry_rows, COUNT(retry_rows), NULL, 0 },
	{ "timeout", false, timeout_rows, COUNT(timeout_rows), NULL, 0 },
	{ "limit", false, limit_rows, COUNT(limit_rows), NULL, 0 },
	{ "tls", false, tls_rows, COUNT(tls_rows), NULL, 0 },
	{ "dane", false, dane_rows, COUNT(dane_rows), NULL, 0 },
	{ "mta-sts", false, sts_rows, COUNT(sts_rows), sts_lists,
	    COUNT(sts_lists) },
	{ "tlsrpt", false, tlsrpt_rows, COUNT(tlsrpt_rows), tlsrpt_lists,
	    COUNT(tlsrpt_lists) },
	{ "dkim", false, dkim_rows, COUNT(dkim_rows), NULL, 0 },
	{ "listen", true, listen_rows, COUNT(listen_rows), listen_lists,
	    COUNT(listen_lists) },
	{ "destination", true, destination_rows, COUNT(destination_rows),
	    rule_lists, COUNT(rule_lists) },
	{ "host", true, host_rows, COUNT(host_rows), rule_lists,
	    COUNT(rule_lists) },
};
/* clang-format on */

const size_t conf_section_count = COUNT(conf_sections);
