/*
 * lint of the configuration: what the daemon would refuse, then what it takes
 * and the operator may not have meant.
 */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/conf.h"
#include "policy/policy.h"
#include "resolver/resolver.h"
#include "smtpd-out/lint/lint.h"

#define SECTION "smtpd-out.conf(5)"

static void
check_file(struct lint *l, const char *what, const char *path)
{
	if (path != NULL && access(path, R_OK) != 0)
		lint_warn(l, "%s: %.300s: %s (" SECTION ")", what, path,
			strerror(errno));
}

/* ---- rules ---- */

static void
check_rule(struct lint *l, const char *section,
	const struct conf_destination *rule)
{
	if (policy_rule_expired(rule, clock_wall_s()))
		lint_warn(l, "%s \"%s\": \"until\" has passed, the rule does "
			"not count (" SECTION ")", section, rule->match);
	if (rule->rule.override)
		lint_warn(l, "%s \"%s\": \"override\" weakens what the "
			"domain's DANE records demand (RFC 7672 2.2)", section,
			rule->match);
	if (rule->rule.tls == CONF_TLS_NONE)
		lint_warn(l, "%s \"%s\": \"tls = none\" sends mail in clear "
			"text (" SECTION ")", section, rule->match);
	check_file(l, "ca-file", rule->rule.ca_file);
	check_file(l, "certificate", rule->rule.cert_file);
	check_file(l, "key", rule->rule.key_file);
	check_file(l, "auth-file", rule->auth_file);
}

static void
check_rules(struct lint *l, const struct conf *conf)
{
	for (size_t i = 0; i < conf->destination_count; i++)
		check_rule(l, "destination", &conf->destinations[i]);
	for (size_t i = 0; i < conf->host_count; i++)
		check_rule(l, "host", &conf->hosts[i]);
}

/* ---- listeners ---- */

static void
check_listen(struct lint *l, const struct conf_listen *listen)
{
	check_file(l, "certificate", listen->cert_file);
	check_file(l, "key", listen->key_file);
	for (size_t i = 0; i < listen->allow_count; i++)
		if (listen->allow[i].prefix_bits == 0)
			lint_warn(l, "listen \"%s\": anybody who reaches it "
				"may send mail through it (RFC 5321 7.9)",
				listen->addr.text);
}

/* ---- the rest ---- */

static void
check_protection(struct lint *l, const struct conf *conf)
{
	if (conf->resolver.dnssec == CONF_DNSSEC_OFF)
		lint_warn(l, "resolver: without DNSSEC there is no DANE (RFC "
			"7672 2.1)");
	if (!conf->sts.enable)
		lint_warn(l, "mta-sts is off: policies of domains without "
			"DANE are not enforced (RFC 8461 5)");
	if (!conf->sandbox)
		lint_warn(l, "the sandbox is off (" SECTION ")");
	if (conf->may_min_version != CONF_TLS_VERSION_DEFAULT &&
	    conf->may_min_version < CONF_TLS_1_2)
		lint_warn(l, "TLS below 1.2 is deprecated (RFC 8996 1)");
}

static void
set_values(struct lint *l, const struct conf *conf)
{
	if (conf->hostname != NULL)
		lint_set(l, "hostname", conf->hostname);
	lint_set(l, "spool", conf->spool);
	for (size_t i = 0; i < conf->listen_count; i++)
		lint_add(l, "listen", conf->listens[i].addr.text);
	for (size_t i = 0; i < conf->destination_count; i++)
		lint_add(l, "destination", conf->destinations[i].match);
	for (size_t i = 0; i < conf->host_count; i++)
		lint_add(l, "host", conf->hosts[i].match);
}

void
lint_config(struct lint *l, const char *name, const char *text)
{
	struct conf *conf = NULL;
	char err[CONF_ERR_MAX] = "";

	if (conf_parse(name, text, &conf, err) != ST_OK ||
	    resolver_check_conf(&conf->resolver, err) != ST_OK) {
		lint_error(l, "%s (" SECTION ")", err);
		conf_free(&conf);
		return;
	}
	set_values(l, conf);
	check_file(l, "ca-file", conf->ca_file);
	for (size_t i = 0; i < conf->listen_count; i++)
		check_listen(l, &conf->listens[i]);
	for (size_t i = 0; i < conf->sts.list_count; i++)
		check_file(l, "mta-sts list", conf->sts.lists[i]);
	check_rules(l, conf);
	check_protection(l, conf);
	conf_free(&conf);
}
