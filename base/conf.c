/*
 * Configuration text into struct conf.
 *
 * libconfuse reads the syntax; to it every option is a string.  What an option
 * may hold and where it goes is one table per section here, used twice: while
 * libconfuse still knows the line number (validation) and afterwards (storing).
 */
#include "config.h"

#include <confuse.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/conf_int.h"
#include "base/mem.h"
#include "base/str.h"

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
};
static const struct conf_row dane_rows[] = {
	{ "insecure-mx", ROW_WORD, AT(insecure_mx), "dane", 0, 0,
	    insecure_mx_words },
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
static const struct conf_row destination_rows[] = {
	TLS_RULE_ROWS,
	{ "relay", ROW_RELAY, DEST_AT(relay_host), NULL, 0, 0, NULL },
	{ "auth-file", ROW_FILE, DEST_AT(auth_file), NULL, 0, 0, NULL },
};
static const struct conf_row host_rows[] = {
	TLS_RULE_ROWS,
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
static const struct conf_list_row rule_lists[] = {
	{ "match-names", LIST_NAME, 0 }, { "fingerprints", LIST_PRINT, 0 },
};

static const struct conf_section sections[] = {
	{ NULL, false, root_rows, COUNT(root_rows), root_lists,
	    COUNT(root_lists) },
	{ "resolver", false, resolver_rows, COUNT(resolver_rows),
	    resolver_lists, COUNT(resolver_lists) },
	{ "retry", false, retry_rows, COUNT(retry_rows), NULL, 0 },
	{ "timeout", false, timeout_rows, COUNT(timeout_rows), NULL, 0 },
	{ "limit", false, limit_rows, COUNT(limit_rows), NULL, 0 },
	{ "tls", false, tls_rows, COUNT(tls_rows), NULL, 0 },
	{ "dane", false, dane_rows, COUNT(dane_rows), NULL, 0 },
	{ "listen", true, listen_rows, COUNT(listen_rows), listen_lists,
	    COUNT(listen_lists) },
	{ "destination", true, destination_rows, COUNT(destination_rows),
	    rule_lists, COUNT(rule_lists) },
	{ "host", true, host_rows, COUNT(host_rows), rule_lists,
	    COUNT(rule_lists) },
};
/* clang-format on */

/* Set behind the text: to libconfuse a file that ends within a section or a
 * comment is a good one. */
#define END_KEY "end-of-configuration"
/* In cfg_opt_t.flags, of which libconfuse uses the low bits. */
#define OPT_GIVEN (1 << 29)
#define OPT_AGAIN (1 << 30)

/* libconfuse callbacks carry no argument; parsing is never concurrent. */
static struct {
	const char *name;
	char *err;
} parsing;

static void on_cfg_error(cfg_t *, const char *, va_list)
	__attribute__((format(printf, 2, 0)));

static void
on_cfg_error(cfg_t *cfg, const char *fmt, va_list ap)
{
	char raw[CONF_ERR_MAX / 2];

	if (parsing.err[0] != '\0')
		return;		/* the first error says it best */
	(void)vsnprintf(raw, sizeof(raw), fmt, ap);
	if (strstr(raw, END_KEY) != NULL)
		(void)str_copy(raw, sizeof(raw), "ends too early");
	(void)snprintf(parsing.err, CONF_ERR_MAX, "%s:%d: %s", parsing.name,
		cfg != NULL ? cfg->line : 0, raw);
}

static const struct conf_section *
section_named(const char *name)
{
	for (size_t i = 1; i < COUNT(sections); i++)
		if (name != NULL && strcmp(name, sections[i].name) == 0)
			return &sections[i];
	return &sections[0];
}

/* libconfuse would let the last one win, silently; of a section all of it.  A
 * list comes here for each of its values and at its end. */
static bool
given_twice(cfg_t *cfg, cfg_opt_t *opt)
{
	bool list = (opt->flags & CFGF_LIST) != 0;
	bool given = (opt->flags & OPT_GIVEN) != 0;
	bool twice = given && (!list || (opt->flags & OPT_AGAIN) != 0);

	if (list && cfg_opt_size(opt) > 1) {
		opt->flags |= OPT_GIVEN | OPT_AGAIN;
		return false;
	}
	opt->flags |= given ? OPT_AGAIN : OPT_GIVEN;
	if (twice)
		cfg_error(cfg, "%s: given twice", opt->name);
	return twice;
}

static int
on_section(cfg_t *cfg, cfg_opt_t *opt)
{
	return given_twice(cfg, opt) ? -1 : 0;
}

static int
on_validate(cfg_t *cfg, cfg_opt_t *opt)
{
	const struct conf_section *section = section_named(cfg->name);
	char why[CONF_ERR_MAX] = "";
	const char *value = cfg_opt_getnstr(opt, cfg_opt_size(opt) - 1);

	if (given_twice(cfg, opt))
		return -1;
	for (size_t i = 0; i < section->row_count; i++)
		if (strcmp(section->rows[i].name, opt->name) == 0)
			conf_row_store(&section->rows[i], value, NULL, why);
	for (size_t i = 0; i < section->list_count; i++)
		if (strcmp(section->lists[i].name, opt->name) == 0)
			conf_list_check(&section->lists[i], value, why);
	if (why[0] == '\0')
		return 0;
	cfg_error(cfg, "%s: %s", opt->name, why);
	return -1;
}

static int
on_title(cfg_t *cfg, cfg_opt_t *opt)
{
	cfg_t *sub = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
	const char *title = sub == NULL ? NULL : cfg_title(sub);
	char why[CONF_ERR_MAX] = "";

	if (title == NULL)
		return 0;
	if (strcmp(opt->name, "listen") == 0)
		conf_list_check(&(struct conf_list_row){ "listen", LIST_ADDR,
			10025 }, title, why);
	else
		conf_match_check(title, why);
	if (why[0] == '\0')
		return 0;
	cfg_error(cfg, "%s \"%s\": %s", opt->name, title, why);
	return -1;
}

/* The option array libconfuse wants, for one section; freed by the caller
 * after cfg_init(), which copies it. */
static cfg_opt_t *
options_of(const struct conf_section *section, size_t extra)
{
	size_t n = 0;
	size_t max = section->row_count + section->list_count + extra + 1;
	cfg_opt_t *opts = xcalloc(max, sizeof(*opts));

	for (size_t i = 0; i < section->row_count; i++)
		opts[n++] = (cfg_opt_t)CFG_STR(section->rows[i].name, NULL,
			CFGF_NODEFAULT);
	for (size_t i = 0; i < section->list_count; i++)
		opts[n++] = (cfg_opt_t)CFG_STR_LIST(section->lists[i].name,
			NULL, CFGF_NODEFAULT);
	return opts;
}

static cfg_t *
make_parser(void)
{
	cfg_opt_t *subs[COUNT(sections)], *root;
	size_t n = sections[0].row_count + sections[0].list_count;
	char path[128];
	cfg_t *cfg;

	root = options_of(&sections[0], COUNT(sections));
	for (size_t i = 1; i < COUNT(sections); i++) {
		subs[i] = options_of(&sections[i], 0);
		root[n++] = (cfg_opt_t)CFG_SEC(sections[i].name, subs[i],
			sections[i].titled ? CFGF_MULTI | CFGF_TITLE |
			CFGF_NO_TITLE_DUPES : CFGF_NONE);
	}
	root[n] = (cfg_opt_t)CFG_STR(END_KEY, NULL, CFGF_NODEFAULT);
	cfg = cfg_init(root, CFGF_NONE);
	for (size_t i = 1; i < COUNT(sections); i++)
		free(subs[i]);
	free(root);
	cfg_set_error_function(cfg, on_cfg_error);
	for (size_t s = 0; s < COUNT(sections); s++) {
		const char *name = sections[s].name;

		for (size_t i = 0; i < sections[s].row_count +
		    sections[s].list_count; i++) {
			const char *key = i < sections[s].row_count ?
				sections[s].rows[i].name :
				sections[s].lists[i -
				    sections[s].row_count].name;

			(void)snprintf(path, sizeof(path), "%s%s%s",
				name ? name : "", name ? "|" : "", key);
			cfg_set_validate_func(cfg, path, on_validate);
		}
		if (name != NULL)
			cfg_set_validate_func(cfg, name, sections[s].titled ?
				on_title : on_section);
	}
	return cfg;
}

static void
store_rows(const struct conf_section *section, cfg_t *cfg, void *to)
{
	char why[CONF_ERR_MAX];

	for (size_t i = 0; i < section->row_count; i++) {
		const struct conf_row *row = &section->rows[i];
		const char *value = cfg_size(cfg, row->name) > 0 ?
			cfg_getstr(cfg, row->name) : NULL;

		if (value == NULL)
			value = row->fallback;
		if (value != NULL)
			conf_row_store(row, value, to, why);
	}
}

static void
store_listens(struct conf *conf, cfg_t *cfg)
{
	size_t n = cfg_size(cfg, "listen");

	conf->listens = xcalloc(n + 2, sizeof(conf->listens[0]));
	for (size_t i = 0; i < n; i++) {
		cfg_t *sub = cfg_getnsec(cfg, "listen", (unsigned)i);
		struct conf_listen *l = &conf->listens[conf->listen_count++];

		(void)!conf_addr_parse(cfg_title(sub), 10025, &l->addr);
		store_rows(section_named("listen"), sub, l);
		conf_nets_store(sub, "allow", &l->allow, &l->allow_count);
	}
	if (n > 0)
		return;
	(void)!conf_addr_parse("unix:" RUNSTATEDIR "/smtpd-out/submit", 0,
		&conf->listens[0].addr);
	conf->listens[0].mode = 0666;
	(void)!conf_addr_parse("127.0.0.1:10025", 0, &conf->listens[1].addr);
	conf_nets_default(&conf->listens[1].allow,
		&conf->listens[1].allow_count);
	conf->listen_count = 2;
}

static void
store_rules(cfg_t *cfg, const char *name, struct conf_destination **out,
	size_t *count_out)
{
	const struct conf_section *section = section_named(name);
	size_t n = cfg_size(cfg, name);

	*out = xcalloc(n, sizeof(**out));
	*count_out = n;
	for (size_t i = 0; i < n; i++) {
		cfg_t *sub = cfg_getnsec(cfg, name, (unsigned)i);
		struct conf_destination *d = &(*out)[i];

		d->match = conf_match_copy(cfg_title(sub));
		store_rows(section, sub, d);
		conf_texts_store(sub, "match-names", LIST_NAME,
			&d->rule.names, &d->rule.name_count);
		conf_texts_store(sub, "fingerprints", LIST_PRINT,
			&d->rule.prints, &d->rule.print_count);
		conf_relay_port(d);
	}
}

/* What only the machine knows: its name, and from it the postmaster. */
static void
fill_identity(struct conf *conf)
{
	char name[256] = "", domain[STR_DOMAIN_MAX];

	if (conf->hostname == NULL) {
		(void)gethostname(name, sizeof(name) - 1);
		conf->hostname = xstrdup(str_domain(name, domain) == ST_OK ?
			domain : "localhost");
	}
	if (conf->postmaster == NULL)
		conf->postmaster = xasprintf("postmaster@%s", conf->hostname);
}

static int
by_match(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Rules for one and the same domain, however it is spelt. */
static bool
matches_differ(const struct conf_destination *rules, size_t n,
	const char *section, const char *name, char err[CONF_ERR_MAX])
{
	char **all = xcalloc(n, sizeof(all[0]));
	bool same = false;

	for (size_t i = 0; i < n; i++)
		all[i] = rules[i].match;
	qsort(all, n, sizeof(all[0]), by_match);
	for (size_t i = 1; i < n && !same; i++) {
		same = strcmp(all[i - 1], all[i]) == 0;
		if (same)
			(void)snprintf(err, CONF_ERR_MAX,
				"%s: %s \"%s\": given twice", name, section,
				all[i]);
	}
	free(all);
	return !same;
}

/* A rule without a level is none, and nobody would look at these. */
static bool
has_details(const struct conf_tls_rule *r)
{
	return r->ca_file != NULL || r->cert_file != NULL ||
		r->ciphers != NULL || r->sni != NULL || r->name_count > 0 ||
		r->min_version != CONF_TLS_VERSION_DEFAULT;
}

/* What single options cannot see. */
static const char *
rule_fault(const struct conf_destination *d)
{
	const struct conf_tls_rule *r = &d->rule;

	if (r->tls == CONF_TLS_FINGERPRINT && r->print_count == 0)
		return "tls = fingerprint without fingerprints";
	if (r->tls != CONF_TLS_FINGERPRINT && r->print_count > 0)
		return "fingerprints without tls = fingerprint";
	if ((r->cert_file == NULL) != (r->key_file == NULL))
		return "certificate and key belong together";
	if (r->override && r->tls == CONF_TLS_AUTO)
		return "override without a tls level";
	if (r->tls == CONF_TLS_AUTO && has_details(r))
		return "ca-file, certificate, ciphers, key, match-names, "
			"min-version or sni without a tls level";
	if (d->relay_tls && r->tls == CONF_TLS_NONE)
		return "relay = \"smtps://...\" with tls = none";
	if (d->auth_file != NULL && d->relay_host == NULL)
		return "auth-file without a relay";
	if (d->auth_file != NULL && r->tls != CONF_TLS_DANE_ONLY &&
	    r->tls != CONF_TLS_PKIX && r->tls != CONF_TLS_FINGERPRINT)
		return "auth-file without tls = dane-only, pkix or "
			"fingerprint: a password goes to a verified relay only";
	return NULL;
}

static enum status
check_whole(const char *name, const struct conf *conf, char err[CONF_ERR_MAX])
{
	const char *why = NULL;

	if (strncmp(conf->spool, "sqlite:/", 8) != 0)
		why = "spool: must be \"sqlite:/absolute/directory\"";
	else if (strncmp(conf->control, "unix:/", 6) != 0)
		why = "control: must be \"unix:/absolute/path\"";
	else if (!conf->ipv4 && !conf->ipv6)
		why = "ipv4 and ipv6 are both off: nothing could be delivered";
	else if (conf->min_version == CONF_TLS_1_0 ||
	    conf->min_version == CONF_TLS_1_1)
		why = "tls: min-version: only 1.2 or 1.3; for the rest there "
			"is opportunistic-min-version";
	else if (conf->retry.max_ms < conf->retry.first_ms)
		why = "retry: max is shorter than first";
	for (size_t i = 0; why == NULL && i < conf->listen_count; i++)
		if ((conf->listens[i].cert_file == NULL) !=
		    (conf->listens[i].key_file == NULL))
			why = "listen: certificate and key belong together";
	for (size_t i = 0; why == NULL && i < conf->destination_count; i++)
		why = rule_fault(&conf->destinations[i]);
	for (size_t i = 0; why == NULL && i < conf->host_count; i++)
		why = rule_fault(&conf->hosts[i]);
	if (why == NULL)
		return matches_differ(conf->destinations,
			conf->destination_count, "destination", name, err) &&
			matches_differ(conf->hosts, conf->host_count, "host",
			name, err) ? ST_OK : ST_PARSE;
	(void)snprintf(err, CONF_ERR_MAX, "%s: %s", name, why);
	return ST_PARSE;
}

static struct conf *
store(cfg_t *cfg)
{
	struct conf *conf = xcalloc(1, sizeof(*conf));

	store_rows(&sections[0], cfg, conf);
	for (size_t i = 1; i < COUNT(sections); i++)
		if (!sections[i].titled)
			store_rows(&sections[i],
				cfg_getsec(cfg, sections[i].name), conf);
	conf_addrs_store(cfg, "local-addresses", 0, &conf->local_addrs,
		&conf->local_addr_count);
	conf_addrs_store(cfg_getsec(cfg, "resolver"), "servers", 53,
		&conf->resolver.servers, &conf->resolver.server_count);
	conf_addrs_store(cfg_getsec(cfg, "resolver"), "trusted", 53,
		&conf->resolver.trusted, &conf->resolver.trusted_count);
	store_listens(conf, cfg);
	store_rules(cfg, "destination", &conf->destinations,
		&conf->destination_count);
	store_rules(cfg, "host", &conf->hosts, &conf->host_count);
	conf_host_list_store(cfg, "hosts-require-tls", &conf->require_hosts);
	conf_host_list_store(cfg, "hosts-avoid-tls", &conf->avoid_hosts);
	fill_identity(conf);
	return conf;
}

enum status
conf_parse(const char *name, const char *text, struct conf **conf_out,
	char err[CONF_ERR_MAX])
{
	char *whole = xasprintf("%s\n" END_KEY " = yes\n", text);
	enum status st = ST_PARSE;
	cfg_t *cfg;

	*conf_out = NULL;
	err[0] = '\0';
	parsing.name = name;
	parsing.err = err;
	cfg = make_parser();
	conf_text_blank(whole);
	if (cfg_parse_buf(cfg, whole) == CFG_SUCCESS && err[0] == '\0' &&
	    cfg_size(cfg, END_KEY) == 1) {
		*conf_out = store(cfg);
		st = check_whole(name, *conf_out, err);
	} else if (err[0] == '\0') {
		(void)snprintf(err, CONF_ERR_MAX, "%s: ends too early", name);
	}
	if (st != ST_OK)
		conf_free(conf_out);
	cfg_free(cfg);
	free(whole);
	return st;
}

static enum status
read_all(int fd, char **text_out)
{
	char *text = xmalloc(CONF_FILE_MAX + 2);
	size_t used = 0;
	ssize_t n;

	while ((n = read(fd, text + used, CONF_FILE_MAX + 1 - used)) > 0)
		used += (size_t)n;
	if (n < 0 || used > CONF_FILE_MAX || memchr(text, 0, used) != NULL) {
		free(text);
		return n < 0 ? ST_SYS : ST_LIMIT;
	}
	text[used] = '\0';
	*text_out = xrealloc_n(text, used + 1, 1);
	return ST_OK;
}

enum status
conf_read(const char *path, char **text_out, char err[CONF_ERR_MAX])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	enum status st;

	*text_out = NULL;
	if (fd < 0) {
		(void)snprintf(err, CONF_ERR_MAX, "%s: %s", path,
			strerror(errno));
		return errno == ENOENT ? ST_NOENT : ST_SYS;
	}
	st = read_all(fd, text_out);
	if (st == ST_SYS)
		(void)snprintf(err, CONF_ERR_MAX, "%s: %s", path,
			strerror(errno));
	else if (st != ST_OK)
		(void)snprintf(err, CONF_ERR_MAX,
			"%s: larger than %d bytes or not text", path,
			CONF_FILE_MAX);
	(void)close(fd);
	return st;
}
