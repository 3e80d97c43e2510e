/*
 * Local rules, TLSA findings, and what follows.  Knows no network.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "policy/policy.h"

static const struct {
	enum demand_level level;
	bool search;		/* TLSA records may still decide */
} levels[] = {
	[CONF_TLS_AUTO] = { DEMAND_MAY, true },
	[CONF_TLS_NONE] = { DEMAND_NONE, true },
	[CONF_TLS_MAY] = { DEMAND_MAY, true },
	[CONF_TLS_ENCRYPT] = { DEMAND_ENCRYPT, true },
	[CONF_TLS_DANE_ONLY] = { DEMAND_ENCRYPT, true },
	[CONF_TLS_PKIX] = { DEMAND_PKIX, false },
	[CONF_TLS_FINGERPRINT] = { DEMAND_FINGERPRINT, false },
};

#define VERIFIED_MIN_VERSION 0x0303	/* TLS 1.2 */

static const int versions[] = {
	[CONF_TLS_VERSION_DEFAULT] = 0,
	[CONF_TLS_1_0] = 0x0301,
	[CONF_TLS_1_1] = 0x0302,
	[CONF_TLS_1_2] = 0x0303,
	[CONF_TLS_1_3] = 0x0304,
};

enum policy_message
policy_message(unsigned envelope_flags)
{
	if (envelope_flags & ENVELOPE_REQUIRETLS)
		return POLICY_MESSAGE_REQUIRE;
	return envelope_flags & ENVELOPE_TLS_OPTIONAL ?
		POLICY_MESSAGE_OPTIONAL : POLICY_MESSAGE_PLAIN;
}

bool
policy_rule_expired(const struct conf_destination *d, int64_t now_s)
{
	return d->rule.until_s != 0 && now_s >= d->rule.until_s;
}

static const struct conf_destination *
live(const struct conf_destination *d, int64_t now_s)
{
	if (d == NULL || d->rule.tls == CONF_TLS_AUTO ||
	    policy_rule_expired(d, now_s))
		return NULL;
	return d;
}

/* The rule of the host speaks for it, unless that of the destination asks for
 * more, or verifies: it knows whom the mail is for, while any host can be named
 * by DNS that is not signed. */
static const struct conf_destination *
choose_rule(const struct conf *conf, const struct policy_host *h,
	bool *of_host_out)
{
	const struct conf_destination *dest = live(conf_destination(conf,
		h->destination), h->now_s);
	const struct conf_destination *host = live(conf_host(conf, h->host),
		h->now_s);

	*of_host_out = host != NULL && (dest == NULL ||
		(dest->rule.tls < CONF_TLS_DANE_ONLY &&
		host->rule.tls >= dest->rule.tls));
	return *of_host_out ? host : dest;
}

static char *
copy_text(const char *text)
{
	return text == NULL ? NULL : xstrdup(text);
}

/* Who the certificate must name when a rule asks for PKIX.  An MX name from
 * unsigned DNS proves nothing: then it is the destination itself. */
static void
pkix_names(struct demand *d, const struct conf_tls_rule *rule, bool of_host,
	const struct policy_host *h)
{
	for (size_t i = 0; i < rule->name_count; i++)
		demand_add_name(d, rule->names[i]);
	if (rule->name_count > 0)
		return;
	if (of_host || h->relay || h->mx == DNS_SEC_SECURE)
		demand_add_name(d, h->host);
	if (!of_host && !h->relay) {
		char *below = xasprintf(".%s", h->destination);

		demand_add_name(d, h->destination);
		demand_add_name(d, below);
		mem_free(&below);
	}
}

/* Everything a rule says besides its level. */
static void
apply_details(struct demand *d, const struct conf_tls_rule *rule)
{
	d->ca_file = copy_text(rule->ca_file);
	d->sni = copy_text(rule->sni);
	d->ciphers = copy_text(rule->ciphers);
	d->cert_file = copy_text(rule->cert_file);
	d->key_file = copy_text(rule->key_file);
	d->min_version = versions[rule->min_version];
	for (size_t i = 0; i < rule->print_count; i++)
		demand_add_print(d, rule->prints[i]);
}

/* smtps:// in a relay is itself a rule, without an end: never clear text. */
static void
apply_relay(const struct conf *conf, const struct policy_host *h,
	struct demand *d)
{
	const struct conf_destination *dest = conf_destination(conf,
		h->destination);

	if (!h->relay || dest == NULL)
		return;
	d->auth_file = copy_text(dest->auth_file);
	if (!dest->relay_tls)
		return;
	d->tls_first = true;
	if (d->level >= DEMAND_ENCRYPT)
		return;
	d->level = DEMAND_ENCRYPT;
	if (d->why == WHY_DEFAULT)
		d->why = WHY_LOCAL;
}

/* A host may be named by a network: for TLS one of its addresses is enough,
 * against it all must be in the list, since any of them may be the one that is
 * connected to. */
static bool
is_listed(const struct conf_host_list *list, const struct policy_host *h,
	bool all)
{
	size_t count = 0;

	if (conf_host_list_match(list, h->host, NULL))
		return true;
	for (size_t i = 0; i < h->addr_count; i++)
		count += conf_host_list_match(list, h->host, h->addrs[i]);
	return count > 0 && (!all || count == h->addr_count);
}

/* The operator's floor for all mail: no message and no rule without override
 * gets below it. */
static bool
apply_floor(const struct conf *conf, const struct policy_host *h,
	struct demand *d)
{
	if ((!conf->require_tls && !is_listed(&conf->require_hosts, h,
	    false)) || d->level >= DEMAND_ENCRYPT)
		return false;
	d->level = DEMAND_ENCRYPT;
	d->why = conf->require_tls ? WHY_REQUIRE_TLS : WHY_HOSTS_REQUIRE;
	return true;
}

static void
apply_lists(const struct conf *conf, const struct policy_host *h,
	struct demand *d)
{
	if (!apply_floor(conf, h, d) && d->level == DEMAND_MAY &&
	    d->why == WHY_DEFAULT && is_listed(&conf->avoid_hosts, h, true)) {
		d->level = DEMAND_NONE;
		d->why = WHY_HOSTS_AVOID;
	}
}

/* A rule may allow older TLS where nobody is verified; what it says must not
 * weaken verified TLS. */
static void
verify_with(struct demand *d)
{
	if (d->min_version < VERIFIED_MIN_VERSION)
		d->min_version = 0;
}

/* A rule that may weaken does, but not below what the message needs. */
static bool
overrides(const struct conf_tls_rule *rule, const struct policy_host *h)
{
	enum demand_level level = levels[rule->tls].level;

	if (!rule->override || rule->tls == CONF_TLS_DANE_ONLY)
		return false;
	return h->message != POLICY_MESSAGE_REQUIRE ||
		level == DEMAND_PKIX || level == DEMAND_FINGERPRINT;
}

static void
apply_rule(const struct conf_destination *rule, const struct policy_host *h,
	struct policy_plan *out)
{
	struct demand *d = out->floor;

	d->level = levels[rule->rule.tls].level;
	d->why = rule->rule.override ? WHY_OVERRIDE : WHY_LOCAL;
	out->dane_only = rule->rule.tls == CONF_TLS_DANE_ONLY;
	out->unproved = out->dane_only && !out->of_host && !h->relay &&
		h->mx != DNS_SEC_SECURE;
	out->overridden = overrides(&rule->rule, h);
	out->want_tlsa = levels[rule->rule.tls].search && !out->overridden;
	if (out->overridden || (!levels[rule->rule.tls].search &&
	    !out->of_host))
		out->sts = POLICY_STS_OFF;
	else if (!levels[rule->rule.tls].search)
		out->sts = POLICY_STS_HOSTS;
	apply_details(d, &rule->rule);
	if (d->level == DEMAND_PKIX)
		pkix_names(d, &rule->rule, out->of_host, h);
	if (demand_verifies(d))
		verify_with(d);
}

/* RFC 8689 section 4.2: TLS when it is to be had, whatever anybody has
 * published; only what the operator promised for all mail stays.  A rule
 * against TLS still helps mail to arrive. */
static void
plan_optional(const struct conf *conf, const struct policy_host *h,
	const struct conf_destination *rule, struct policy_plan *out)
{
	out->floor->why = WHY_TLS_OPTIONAL;
	if ((rule != NULL && rule->rule.tls == CONF_TLS_NONE) ||
	    is_listed(&conf->avoid_hosts, h, true))
		out->floor->level = DEMAND_NONE;
	(void)apply_floor(conf, h, out->floor);
}

static void
plan_rules(const struct conf *conf, const struct policy_host *h,
	const struct conf_destination *rule, struct policy_plan *out)
{
	out->want_tlsa = true;
	out->sts = h->relay ? POLICY_STS_OFF : POLICY_STS_FULL;
	if (rule != NULL)
		apply_rule(rule, h, out);
	apply_relay(conf, h, out->floor);
	if (!out->overridden)
		apply_lists(conf, h, out->floor);
	if (out->unproved || (h->mx != DNS_SEC_SECURE && !h->relay &&
	    !out->dane_only && conf->insecure_mx == CONF_INSECURE_MX_MAY))
		out->want_tlsa = false;
}

void
policy_plan(const struct conf *conf, const struct policy_host *h,
	struct policy_plan *out)
{
	const struct conf_destination *rule;

	memset(out, 0, sizeof(*out));
	out->floor = demand_new(DEMAND_MAY, WHY_DEFAULT);
	rule = choose_rule(conf, h, &out->of_host);
	if (h->message == POLICY_MESSAGE_OPTIONAL && !h->relay &&
	    (rule == NULL || !rule->rule.override))
		plan_optional(conf, h, rule, out);
	else
		plan_rules(conf, h, rule, out);
}

void
policy_plan_clear(struct policy_plan *plan)
{
	demand_free(&plan->floor);
}

static struct demand *
raise_to_encrypt(const struct demand *floor, enum demand_why why)
{
	struct demand *d = demand_copy(floor);

	if (d->level < DEMAND_ENCRYPT) {
		d->level = DEMAND_ENCRYPT;
		d->why = why;
	}
	return d;
}

/* RFC 7672 3.2.2: the base domain; the next-hop domain too when a secure MX
 * RRset led here, and the name before aliases. */
static struct demand *
dane_demand(const struct policy_host *h, const struct demand *floor,
	const struct demand *found, const char *base)
{
	struct demand *d = demand_copy(floor);

	d->level = DEMAND_DANE;
	d->why = WHY_DANE;
	verify_with(d);
	d->tlsa_base = xstrdup(base);
	demand_add_name(d, base);
	demand_add_name(d, h->host);
	if (h->mx == DNS_SEC_SECURE && !h->relay)
		demand_add_name(d, h->destination);
	for (size_t i = 0; i < found->tlsa_count; i++)
		demand_add_tlsa(d, found->tlsa[i].usage,
			found->tlsa[i].selector, found->tlsa[i].matching,
			found->tlsa[i].data, found->tlsa[i].len);
	return d;
}

/* ---- MTA-STS ---- */

/* The policy that may rule a host out; NULL without one. */
static const struct sts_policy *
enforced(const struct policy_host *h, const struct policy_plan *plan)
{
	return plan->sts != POLICY_STS_OFF && h->sts != NULL &&
		h->sts->mode == STS_MODE_ENFORCE ? h->sts : NULL;
}

/* RFC 8461 section 2: DANE comes first.  It tells who the host is, signed MX
 * records that it is one of the destination's. */
static bool
dane_suffices(const struct policy_host *h, const struct policy_plan *plan,
	enum dane_finding finding)
{
	return h->mx == DNS_SEC_SECURE && plan->want_tlsa &&
		finding == DANE_FOUND;
}

/* RFC 8461 section 5: a host that the policy does not name is not used; nor is
 * any while nobody knows whether there is a policy. */
static bool
sts_excludes(const struct policy_host *h, const struct policy_plan *plan,
	enum dane_finding finding, struct outcome *why)
{
	if (plan->sts == POLICY_STS_OFF || dane_suffices(h, plan, finding))
		return false;
	if (h->sts_later != NULL) {
		*why = *h->sts_later;
		return true;
	}
	if (enforced(h, plan) == NULL || sts_policy_allows(h->sts, h->host))
		return false;
	*why = outcome_sts_mx_mismatch(h->host, h->destination);
	return true;
}

/* A certificate by a known CA with the host's name: the operator's CA file and
 * TLS 1.2 at least (RFC 8461 section 4.2). */
static void
demand_pkix(struct demand *d, const struct policy_host *h,
	enum demand_why why)
{
	d->level = DEMAND_PKIX;
	d->why = why;
	demand_add_name(d, h->host);
	verify_with(d);
}

/* What the search demands without REQUIRETLS: d is the result so far. */
static struct demand *
apply_sts(struct demand *d, const struct policy_host *h,
	const struct policy_plan *plan)
{
	if (plan->sts != POLICY_STS_FULL || h->sts == NULL ||
	    h->sts->mode == STS_MODE_NONE)
		return d;
	if (h->sts->mode == STS_MODE_ENFORCE && !demand_verifies(d)) {
		mem_free(&d->ca_file);
		demand_pkix(d, h, WHY_STS);
		return d;
	}
	if (d->level == DEMAND_NONE)	/* by our own choice */
		return d;
	if (sts_policy_allows(h->sts, h->host)) {
		d->watch = DEMAND_WATCH_HOST;
		d->watch_name = xstrdup(h->host);
	} else {
		d->watch = DEMAND_WATCH_UNLISTED;
	}
	return d;
}

/*
 * RFC 8689 section 4.2.1: the certificate must be verified, and for a host
 * that we were led to in a way that nobody can forge: by signed MX records, by
 * an MTA-STS policy that names it or by the operator.  (That a host is signed,
 * or has a rule of its own, proves nothing when the MX record which names it is
 * not signed.)
 */
static struct demand *
require_demand(const struct policy_host *h, const struct policy_plan *plan,
	enum dane_finding finding, const struct demand *found,
	const char *base, struct outcome *why)
{
	bool led = h->relay || h->mx == DNS_SEC_SECURE ||
		enforced(h, plan) != NULL;
	struct demand *d = NULL;

	if (led && finding == DANE_FOUND && plan->want_tlsa) {
		d = dane_demand(h, plan->floor, found, base);
	} else if (demand_verifies(plan->floor) && (led || !plan->of_host)) {
		d = demand_copy(plan->floor);
	} else if (led && str_is_domain(h->host)) {
		d = demand_copy(plan->floor);
		demand_pkix(d, h, WHY_REQUIRETLS);
	} else {
		*why = outcome_require_tls(h->host, "neither signed DNS nor "
			"an MTA-STS policy names it, so that its certificate "
			"proves nothing");
		return NULL;
	}
	d->why = WHY_REQUIRETLS;
	return d;
}

/* What rules and TLSA records say. */
static struct demand *
search(const struct conf *conf, const struct policy_host *h,
	const struct policy_plan *plan, enum dane_finding finding,
	const struct demand *found, const char *base)
{
	bool trusted = h->relay || h->mx == DNS_SEC_SECURE || plan->dane_only ||
		conf->insecure_mx == CONF_INSECURE_MX_DANE;

	if (!plan->want_tlsa || finding == DANE_NONE)
		return demand_copy(plan->floor);
	if (finding == DANE_UNUSABLE)
		return raise_to_encrypt(plan->floor, WHY_DANE_UNUSABLE);
	if (!trusted)
		return raise_to_encrypt(plan->floor, WHY_DANE);
	return dane_demand(h, plan->floor, found, base);
}

/* What keeps a host from being used, whatever the message. */
static bool
excludes(const struct policy_host *h, const struct policy_plan *plan,
	enum dane_finding finding, struct outcome *why)
{
	if (plan->unproved) {
		*why = outcome_dane_required(h->host,
			"the MX records that name it are not signed");
		return true;
	}
	if (finding == DANE_FAILED && plan->want_tlsa) {
		*why = outcome_tlsa_lookup(h->host);
		return true;
	}
	if (plan->dane_only && finding != DANE_FOUND) {
		*why = outcome_dane_required(h->host, finding == DANE_UNUSABLE ?
			"none of its TLSA records is usable" :
			"it has no secure TLSA records");
		return true;
	}
	return sts_excludes(h, plan, finding, why);
}

static struct demand *
decide(const struct conf *conf, const struct policy_host *h,
	const struct policy_plan *plan, enum dane_finding finding,
	const struct demand *found, const char *base, struct outcome *why)
{
	if (excludes(h, plan, finding, why))
		return NULL;
	if (h->message == POLICY_MESSAGE_REQUIRE)
		return require_demand(h, plan, finding, found, base, why);
	return apply_sts(search(conf, h, plan, finding, found, base), h,
		plan);
}

enum demand_why
policy_blame(const struct policy_host *h, const struct policy_plan *plan,
	enum dane_finding finding)
{
	struct policy_host without = *h;
	struct outcome why;

	without.sts = NULL;
	without.sts_later = NULL;
	if (excludes(h, plan, finding, &why) &&
	    !excludes(&without, plan, finding, &why))
		return WHY_STS;
	if (h->message == POLICY_MESSAGE_REQUIRE)
		return WHY_REQUIRETLS;
	return plan->dane_only || plan->floor->auth_file != NULL ? WHY_LOCAL :
		WHY_DANE;
}

/* A password goes to a verified relay only; and without it nothing does. */
struct demand *
policy_decide(const struct conf *conf, const struct policy_host *h,
	const struct policy_plan *plan, enum dane_finding finding,
	const struct demand *found, const char *base, struct outcome *why)
{
	struct demand *d = decide(conf, h, plan, finding, found, base, why);

	if (d == NULL || d->auth_file == NULL || demand_verifies(d))
		return d;
	*why = outcome_auth(h->host, "no rule in force verifies its "
		"certificate, so that no password is sent");
	demand_free(&d);
	return NULL;
}
