/*
 * Policy lists (sts_list.h): JSON in, a table of policies out.
 */
#include "config.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/table.h"
#include "policy/sts_list.h"

/* Seconds that make sense as a date: up to the year 9999. */
#define TIME_MAX_S INT64_C(253402300799)

struct sts_list {
	struct sts_list_info info;
	struct table *aliases;		/* borrowed policies by name */
	struct table *domains;		/* borrowed policies by domain */
	struct sts_policy **policies;	/* owned */
	size_t count, cap;
};

struct parse {
	struct sts_list *list;
	char *err;
	enum status st;
};

static void fail(struct parse *, enum status, const char *, ...)
	__attribute__((format(printf, 3, 4)));

/* The first fault is told; what it quotes is made printable. */
static void
fail(struct parse *p, enum status st, const char *fmt, ...)
{
	char raw[STS_ERR_MAX];
	va_list ap;

	if (p->st != ST_OK)
		return;
	p->st = st;
	va_start(ap, fmt);
	(void)vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	str_sanitise(p->err, STS_ERR_MAX, raw, strlen(raw));
}

/* ---- times ---- */

static bool
number(const char **at, size_t digits, int *out)
{
	*out = 0;
	for (; digits > 0; digits--, (*at)++) {
		if (**at < '0' || **at > '9')
			return false;
		*out = *out * 10 + (**at - '0');
	}
	return true;
}

static bool
literal(const char **at, char c)
{
	return **at == c && *(*at)++ != '\0';
}

/* "Z", "+hh:mm", "-hhmm", or nothing: UTC. */
static bool
zone(const char *at, int64_t *offset_s)
{
	int hours = 0, minutes = 0, sign = *at == '-' ? -1 : 1;

	*offset_s = 0;
	if (*at == '\0' || strcmp(at, "Z") == 0)
		return true;
	if (*at != '+' && *at != '-')
		return false;
	at++;
	if (!number(&at, 2, &hours))
		return false;
	(void)literal(&at, ':');
	if (!number(&at, 2, &minutes) || *at != '\0' || hours > 23 ||
	    minutes > 59)
		return false;
	*offset_s = sign * (hours * 3600 + minutes * 60);
	return true;
}

/* "2026-01-31T12:00:00[.fraction][zone]" */
static bool
date(const char *at, int64_t *out)
{
	struct tm tm = { 0 }, back;
	int64_t offset_s;
	time_t when;

	if (!number(&at, 4, &tm.tm_year) || !literal(&at, '-') ||
	    !number(&at, 2, &tm.tm_mon) || !literal(&at, '-') ||
	    !number(&at, 2, &tm.tm_mday) || !literal(&at, 'T') ||
	    !number(&at, 2, &tm.tm_hour) || !literal(&at, ':') ||
	    !number(&at, 2, &tm.tm_min) || !literal(&at, ':') ||
	    !number(&at, 2, &tm.tm_sec))
		return false;
	if (literal(&at, '.'))
		at += strspn(at, "0123456789");
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	back = tm;
	when = timegm(&back);
	/* What timegm() had to put right was no date. */
	if (tm.tm_year < 70 || back.tm_mon != tm.tm_mon ||
	    back.tm_mday != tm.tm_mday || back.tm_hour != tm.tm_hour ||
	    back.tm_min != tm.tm_min || !zone(at, &offset_s))
		return false;
	*out = (int64_t)when - offset_s;
	return true;
}

static int64_t
get_time(struct parse *p, const json_t *root, const char *key, bool needed)
{
	const json_t *value = json_object_get(root, key);
	int64_t time_s = 0;

	if (value == NULL && !needed)
		return 0;
	if (json_is_integer(value) && json_integer_value(value) >= 0 &&
	    json_integer_value(value) <= TIME_MAX_S)
		return json_integer_value(value);
	if (!json_is_string(value) ||
	    !date(json_string_value(value), &time_s))
		fail(p, ST_PARSE, "\"%s\" is %s", key, value == NULL ?
			"missing" : "not a time");
	return time_s;
}

/* ---- policies ---- */

/* Into the form of sts.h, and ".example" as it is. */
static char *
get_pattern(struct parse *p, const char *where, const json_t *value)
{
	const char *text = json_string_value(value);
	char pattern[STS_PATTERN_MAX + 1];
	bool deep = text != NULL && text[0] == '.';
	const char *why;

	if (text == NULL) {
		fail(p, ST_PARSE, "\"%s\": \"mxs\" has a member that is not "
			"text", where);
		return NULL;
	}
	pattern[0] = '.';
	why = deep && text[1] == '*' ? "is not a host name" :
		sts_pattern_parse(text + deep, strlen(text + deep),
		pattern + deep);
	if (why == NULL && strlen(pattern) >= STR_DOMAIN_MAX)
		why = "is too long";
	if (why != NULL) {
		fail(p, ST_PARSE, "\"%s\": \"%.80s\" %s", where, text, why);
		return NULL;
	}
	return xstrdup(pattern);
}

static void
get_patterns(struct parse *p, const char *where, const json_t *mxs,
	struct sts_policy *policy)
{
	size_t count = json_array_size(mxs);

	if (!json_is_array(mxs) || count == 0 || count > STS_LIST_MX_MAX) {
		fail(p, ST_PARSE, "\"%s\": \"mxs\" must be a list of 1 to %d "
			"names", where, STS_LIST_MX_MAX);
		return;
	}
	policy->mx = xcalloc(count, sizeof(policy->mx[0]));
	for (size_t i = 0; i < count && p->st == ST_OK; i++) {
		policy->mx[i] = get_pattern(p, where, json_array_get(mxs, i));
		policy->mx_count += policy->mx[i] != NULL;
	}
}

static struct sts_policy *
add_policy(struct sts_list *list)
{
	if (list->count == list->cap) {
		list->cap = list->cap == 0 ? 64 : list->cap * 2;
		list->policies = xrealloc_n(list->policies, list->cap,
			sizeof(list->policies[0]));
	}
	list->policies[list->count] = xcalloc(1, sizeof(struct sts_policy));
	return list->policies[list->count++];
}

/* NULL after a fault. */
static const struct sts_policy *
get_policy(struct parse *p, const char *where, const json_t *value)
{
	const char *mode = json_string_value(json_object_get(value, "mode"));
	struct sts_policy *policy;

	if (!json_is_object(value)) {
		fail(p, ST_PARSE, "\"%s\" is not an object", where);
		return NULL;
	}
	if (mode == NULL || (strcmp(mode, "testing") != 0 &&
	    strcmp(mode, "enforce") != 0)) {
		fail(p, ST_PARSE, "\"%s\": \"mode\" must be \"testing\" or "
			"\"enforce\"", where);
		return NULL;
	}
	policy = add_policy(p->list);
	policy->mode = strcmp(mode, "enforce") == 0 ? STS_MODE_ENFORCE :
		STS_MODE_TESTING;
	get_patterns(p, where, json_object_get(value, "mxs"), policy);
	return p->st == ST_OK ? policy : NULL;
}

static void
get_alias(struct parse *p, const char *name, const json_t *value)
{
	const struct sts_policy *policy = get_policy(p, name, value);

	/* The table borrows; it never changes what it points to. */
	if (policy != NULL)
		table_put(p->list->aliases, name, strlen(name),
			p->list->policies[p->list->count - 1]);
}

/* "policy-alias" wins over what stands beside it. */
static void
get_domain(struct parse *p, const char *name, const json_t *value)
{
	const json_t *alias = json_object_get(value, "policy-alias");
	const char *alias_name = json_string_value(alias);
	struct table *domains = p->list->domains;
	char domain[STR_DOMAIN_MAX];
	struct sts_policy *policy = NULL;

	if (str_domain(name, domain) != ST_OK) {
		fail(p, ST_PARSE, "\"%.80s\" is not a domain", name);
	} else if (table_get(domains, domain, strlen(domain)) != NULL) {
		fail(p, ST_PARSE, "\"%.80s\" is there twice", name);
	} else if (alias == NULL) {
		if (get_policy(p, name, value) != NULL)
			policy = p->list->policies[p->list->count - 1];
	} else if (alias_name != NULL) {
		policy = table_get(p->list->aliases, alias_name,
			strlen(alias_name));
	}
	if (policy == NULL) {
		fail(p, ST_PARSE, "\"%.80s\": there is no alias \"%.80s\"",
			name, alias_name != NULL ? alias_name : "?");
		return;
	}
	table_put(domains, domain, strlen(domain), policy);
	p->list->info.domains++;
	p->list->info.enforced += policy->mode == STS_MODE_ENFORCE;
}

static void
get_all(struct parse *p, const json_t *root, const char *key, size_t max,
	void (*one)(struct parse *, const char *, const json_t *))
{
	json_t *all = json_object_get(root, key);
	const char *name;
	json_t *value;

	if (p->st != ST_OK)
		return;
	if (!json_is_object(all)) {
		fail(p, ST_PARSE, "\"%s\" is not an object", key);
		return;
	}
	if (json_object_size(all) > max)
		fail(p, ST_LIMIT, "\"%s\" has %zu members, more than %zu",
			key, json_object_size(all), max);
	json_object_foreach(all, name, value) {
		if (p->st != ST_OK)
			return;
		one(p, name, value);
	}
}

static void
get_head(struct parse *p, const json_t *root, int64_t now_s)
{
	struct sts_list_info *info = &p->list->info;
	const char *version = json_string_value(json_object_get(root,
		"version"));
	const char *author = json_string_value(json_object_get(root,
		"author"));

	if (version == NULL || strncmp(version, "0.", 2) != 0)
		fail(p, ST_PARSE, "\"version\" must be \"0.1\"");
	info->timestamp_s = get_time(p, root, "timestamp", false);
	info->expires_s = get_time(p, root, "expires", true);
	if (author != NULL)
		str_sanitise(info->author, sizeof(info->author), author,
			strlen(author));
	if (p->st == ST_OK && info->expires_s <= now_s) {
		char when[40];

		str_date(info->expires_s, when);
		fail(p, ST_DENIED, "it expired on %s", when);
	}
}

static void
get_list(struct parse *p, const json_t *root, int64_t now_s)
{
	if (!json_is_object(root))
		fail(p, ST_PARSE, "it is not an object");
	if (p->st == ST_OK)
		get_head(p, root, now_s);
	if (json_object_get(root, "policy-aliases") != NULL)
		get_all(p, root, "policy-aliases", STS_LIST_ALIASES_MAX,
			get_alias);
	get_all(p, root, "policies", STS_LIST_DOMAINS_MAX, get_domain);
}

enum status
sts_list_parse(const char *text, size_t len, int64_t now_s,
	struct sts_list **out, char err[STS_ERR_MAX])
{
	struct parse p = { .err = err };
	json_error_t error;
	json_t *root;

	*out = NULL;
	err[0] = '\0';
	if (len > STS_LIST_TEXT_MAX) {
		fail(&p, ST_LIMIT, "it has more than %u bytes",
			STS_LIST_TEXT_MAX);
		return p.st;
	}
	root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	if (root == NULL) {
		fail(&p, ST_PARSE, "line %d: %s", error.line, error.text);
		return p.st;
	}
	p.list = xcalloc(1, sizeof(*p.list));
	p.list->aliases = table_new();
	p.list->domains = table_new();
	get_list(&p, root, now_s);
	json_decref(root);
	if (p.st == ST_OK)
		*out = p.list;
	else
		sts_list_free(&p.list);
	return p.st;
}

void
sts_list_free(struct sts_list **listp)
{
	struct sts_list *list = *listp;

	if (list == NULL)
		return;
	for (size_t i = 0; i < list->count; i++)
		sts_policy_free(&list->policies[i]);
	free(list->policies);
	table_free(&list->domains);
	table_free(&list->aliases);
	mem_free(listp);
}

const struct sts_list_info *
sts_list_info(const struct sts_list *list)
{
	return &list->info;
}

const struct sts_policy *
sts_list_find(const struct sts_list *list, const char *domain)
{
	return table_get(list->domains, domain, strlen(domain));
}
