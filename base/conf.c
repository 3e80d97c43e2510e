/*
 * Configuration text into struct conf.
 *
 * libconfuse reads the syntax; to it every option is a string.  What an option
 * may hold and where it goes is one table per section (conf_table.c), used
 * twice: while libconfuse still knows the line number (validation) and
 * afterwards (storing).
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
	for (size_t i = 1; i < conf_section_count; i++)
		if (name != NULL && strcmp(name, conf_sections[i].name) == 0)
			return &conf_sections[i];
	return &conf_sections[0];
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
	cfg_opt_t **subs = xcalloc(conf_section_count, sizeof(*subs)), *root;
	size_t n = conf_sections[0].row_count + conf_sections[0].list_count;
	char path[128];
	cfg_t *cfg;

	root = options_of(&conf_sections[0], conf_section_count);
	for (size_t i = 1; i < conf_section_count; i++) {
		subs[i] = options_of(&conf_sections[i], 0);
		root[n++] = (cfg_opt_t)CFG_SEC(conf_sections[i].name, subs[i],
			conf_sections[i].titled ? CFGF_MULTI | CFGF_TITLE |
			CFGF_NO_TITLE_DUPES : CFGF_NONE);
	}
	root[n] = (cfg_opt_t)CFG_STR(END_KEY, NULL, CFGF_NODEFAULT);
	cfg = cfg_init(root, CFGF_NONE);
	for (size_t i = 1; i < conf_section_count; i++)
		free(subs[i]);
	free(subs);
	free(root);
	cfg_set_error_function(cfg, on_cfg_error);
	for (size_t s = 0; s < conf_section_count; s++) {
		const char *name = conf_sections[s].name;

		for (size_t i = 0; i < conf_sections[s].row_count +
		    conf_sections[s].list_count; i++) {
			const char *key = i < conf_sections[s].row_count ?
				conf_sections[s].rows[i].name :
				conf_sections[s].lists[i -
				    conf_sections[s].row_count].name;

			(void)snprintf(path, sizeof(path), "%s%s%s",
				name ? name : "", name ? "|" : "", key);
			cfg_set_validate_func(cfg, path, on_validate);
		}
		if (name != NULL)
			cfg_set_validate_func(cfg, name,
				conf_sections[s].titled ? on_title :
				on_section);
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
	else if (conf->sts.max_retry_s < conf->sts.retry_s)
		why = "mta-sts: max-retry is shorter than retry";
	else
		why = conf_report_fault(conf);
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

	store_rows(&conf_sections[0], cfg, conf);
	for (size_t i = 1; i < conf_section_count; i++)
		if (!conf_sections[i].titled)
			store_rows(&conf_sections[i],
				cfg_getsec(cfg, conf_sections[i].name), conf);
	conf_addrs_store(cfg, "local-addresses", 0, &conf->local_addrs,
		&conf->local_addr_count);
	conf_addrs_store(cfg_getsec(cfg, "resolver"), "servers", 53,
		&conf->resolver.servers, &conf->resolver.server_count);
	conf_addrs_store(cfg_getsec(cfg, "resolver"), "trusted", 53,
		&conf->resolver.trusted, &conf->resolver.trusted_count);
	conf_texts_store(cfg_getsec(cfg, "mta-sts"), "lists", LIST_FILE,
		&conf->sts.lists, &conf->sts.list_count);
	conf_texts_store(cfg_getsec(cfg, "tlsrpt"), "exclude", LIST_NAME,
		&conf->tlsrpt.exclude, &conf->tlsrpt.exclude_count);
	store_listens(conf, cfg);
	store_rules(cfg, "destination", &conf->destinations,
		&conf->destination_count);
	store_rules(cfg, "host", &conf->hosts, &conf->host_count);
	conf_host_list_store(cfg, "hosts-require-tls", &conf->require_hosts);
	conf_host_list_store(cfg, "hosts-avoid-tls", &conf->avoid_hosts);
	fill_identity(conf);
	conf_report_fill(conf);
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
