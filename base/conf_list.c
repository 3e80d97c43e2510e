/*
 * Addresses, networks, names and lists of them; the questions others ask of a
 * finished configuration; its end.
 */
#include "config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/conf_int.h"
#include "base/mem.h"
#include "base/str.h"

#define WHY(...) (void)snprintf(why, CONF_ERR_MAX, __VA_ARGS__)
#define PRINT_DIGITS 64

static bool
parse_unix(const char *path, struct conf_addr *out)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&out->addr;

	if (path[0] != '/' || strlen(path) >= sizeof(un->sun_path))
		return false;
	un->sun_family = AF_UNIX;
	(void)str_copy(un->sun_path, sizeof(un->sun_path), path);
	out->addr_len = sizeof(*un);
	return true;
}

static bool
parse_inet(const char *text, uint16_t port, struct conf_addr *out)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&out->addr;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out->addr;

	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		out->addr_len = sizeof(*in);
		return true;
	}
	if (inet_pton(AF_INET6, text, &in6->sin6_addr) != 1)
		return false;
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	out->addr_len = sizeof(*in6);
	return true;
}

static bool
split_port(char *text, uint16_t *port)
{
	char *close = text[0] == '[' ? strchr(text, ']') : NULL;
	char *colon = close != NULL ? close + 1 : strchr(text, ':');
	int64_t n;

	if (text[0] == '[' && close == NULL)
		return false;
	if (close != NULL)
		*close = '\0';
	else if (colon == NULL || strchr(colon + 1, ':') != NULL)
		return true;	/* no port, or a bare IPv6 address */
	if (*colon == '\0')
		return true;
	if (*colon != ':' || !conf_integer(colon + 1, 10, 1, 65535, &n))
		return false;
	*colon = '\0';
	*port = (uint16_t)n;
	return true;
}

enum status
conf_addr_parse(const char *text, uint16_t default_port,
	struct conf_addr *out)
{
	char copy[128];
	uint16_t port = default_port;
	bool ok;

	memset(out, 0, sizeof(*out));
	if (strncmp(text, "unix:", 5) == 0) {
		ok = parse_unix(text + 5, out);
	} else {
		ok = str_copy(copy, sizeof(copy), text) &&
			split_port(copy, &port) &&
			parse_inet(copy + (copy[0] == '['), port, out);
	}
	if (!ok)
		return ST_PARSE;
	out->text = xstrdup(text);
	return ST_OK;
}

bool
conf_net_parse(const char *text, struct conf_net *out)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	char copy[64];
	char *slash;
	int64_t bits;
	unsigned max;

	if (!str_copy(copy, sizeof(copy), text))
		return false;
	slash = strchr(copy, '/');
	if (slash != NULL)
		*slash = '\0';
	memset(out, 0, sizeof(*out));
	out->family = strchr(copy, ':') != NULL ? AF_INET6 : AF_INET;
	max = out->family == AF_INET6 ? 128 : 32;
	if (inet_pton(out->family, copy, out->bytes) != 1)
		return false;
	bits = max;
	if (slash != NULL && !conf_integer(slash + 1, 10, 0, max, &bits))
		return false;
	out->prefix_bits = (unsigned)bits;
	/* IPv4 in IPv6 is IPv4, as in conf_net_match(). */
	if (out->family == AF_INET6 && bits >= 96 &&
	    memcmp(out->bytes, mapped, 12) == 0) {
		out->family = AF_INET;
		out->prefix_bits -= 96;
		memmove(out->bytes, out->bytes + 12, 4);
	}
	return true;
}

/* 64 hex digits, with colons or without; out gets them in lower case. */
static bool
print_parse(const char *text, char out[PRINT_DIGITS + 1])
{
	size_t n = 0;

	for (; *text != '\0'; text++) {
		if (*text == ':')
			continue;
		if (n == PRINT_DIGITS || !isxdigit((unsigned char)*text))
			return false;
		out[n++] = (char)tolower((unsigned char)*text);
	}
	out[n] = '\0';
	return n == PRINT_DIGITS;
}

static bool
name_ok(const char *text)
{
	char domain[STR_DOMAIN_MAX];

	return str_domain(text + (text[0] == '.'), domain) == ST_OK;
}

static void
check_addr(const struct conf_list_row *row, const char *value, char *why)
{
	struct conf_addr addr;

	if (conf_addr_parse(value, row->default_port, &addr) == ST_OK)
		free(addr.text);
	else
		WHY("\"%s\" is not an address such as 127.0.0.1:%u", value,
			row->default_port);
}

void
conf_list_check(const struct conf_list_row *row, const char *value,
	char why[CONF_ERR_MAX])
{
	char print[PRINT_DIGITS + 1];
	struct conf_net net;

	switch (row->kind) {
	case LIST_ADDR:
		check_addr(row, value, why);
		break;
	case LIST_NET:
		if (!conf_net_parse(value, &net))
			WHY("\"%s\" is not a network such as 192.0.2.0/24",
				value);
		break;
	case LIST_NAME:
		if (!name_ok(value))
			WHY("\"%s\" is not a domain", value);
		break;
	case LIST_PRINT:
		if (!print_parse(value, print))
			WHY("\"%s\" is not a SHA-256 in 64 hex digits",
				value);
		break;
	case LIST_FILE:
		conf_row_store(&(struct conf_row){ .kind = ROW_FILE }, value,
			NULL, why);
		break;
	case LIST_HOST:
		if (!conf_net_parse(value, &net) && !name_ok(value))
			WHY("\"%s\" is neither a host, a domain nor a network",
				value);
		break;
	}
}

void
conf_match_check(const char *title, char why[CONF_ERR_MAX])
{
	char domain[STR_DOMAIN_MAX];

	if (str_domain(title + (title[0] == '.'), domain) != ST_OK)
		WHY("not a domain, nor \".domain\" for those below it");
}

char *
conf_match_copy(const char *title)
{
	char domain[STR_DOMAIN_MAX];
	bool below = title[0] == '.';

	if (str_domain(title + below, domain) != ST_OK)
		domain[0] = '\0';
	return xasprintf("%s%s", below ? "." : "", domain);
}

void
conf_addrs_store(cfg_t *cfg, const char *key, uint16_t default_port,
	struct conf_addr **out, size_t *count_out)
{
	unsigned n = cfg_size(cfg, key);

	*out = xcalloc(n, sizeof(**out));
	*count_out = 0;
	for (unsigned i = 0; i < n; i++)
		if (conf_addr_parse(cfg_getnstr(cfg, key, i), default_port,
		    &(*out)[*count_out]) == ST_OK)
			(*count_out)++;
}

void
conf_texts_store(cfg_t *cfg, const char *key, enum conf_list_kind kind,
	char ***out, size_t *count_out)
{
	unsigned n = cfg_size(cfg, key);
	char print[PRINT_DIGITS + 1];

	*out = xcalloc(n, sizeof(**out));
	*count_out = n;
	for (unsigned i = 0; i < n; i++) {
		const char *text = cfg_getnstr(cfg, key, i);

		if (kind == LIST_PRINT && print_parse(text, print))
			(*out)[i] = xstrdup(print);
		else if (kind == LIST_FILE)
			(*out)[i] = xstrdup(text);
		else
			(*out)[i] = conf_match_copy(text);
	}
}

void
conf_host_list_store(cfg_t *cfg, const char *key, struct conf_host_list *out)
{
	unsigned n = cfg_size(cfg, key);

	out->names = xcalloc(n, sizeof(out->names[0]));
	out->nets = xcalloc(n, sizeof(out->nets[0]));
	for (unsigned i = 0; i < n; i++) {
		const char *text = cfg_getnstr(cfg, key, i);

		if (conf_net_parse(text, &out->nets[out->net_count]))
			out->net_count++;
		else
			out->names[out->name_count++] = conf_match_copy(text);
	}
}

void
conf_nets_default(struct conf_net **out, size_t *count_out)
{
	*out = xcalloc(2, sizeof(**out));
	(void)conf_net_parse("127.0.0.0/8", &(*out)[0]);
	(void)conf_net_parse("::1/128", &(*out)[1]);
	*count_out = 2;
}

void
conf_nets_store(cfg_t *cfg, const char *key, struct conf_net **out,
	size_t *count_out)
{
	unsigned n = cfg_size(cfg, key);

	if (n == 0) {
		conf_nets_default(out, count_out);
		return;
	}
	*out = xcalloc(n, sizeof(**out));
	*count_out = n;
	for (unsigned i = 0; i < n; i++)
		(void)conf_net_parse(cfg_getnstr(cfg, key, i), &(*out)[i]);
}

bool
conf_net_match(const struct conf_net *nets, size_t count,
	const struct sockaddr *addr)
{
	const struct sockaddr_in6 *in6 = (const void *)addr;
	const struct sockaddr_in *in = (const void *)addr;
	int family = addr->sa_family;
	const uint8_t *bytes;

	if (family == AF_INET) {
		bytes = (const uint8_t *)&in->sin_addr;
	} else if (family == AF_INET6) {
		bytes = in6->sin6_addr.s6_addr;
		if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
			family = AF_INET;
			bytes += 12;
		}
	} else {
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		unsigned whole = nets[i].prefix_bits / 8;
		unsigned rest = nets[i].prefix_bits % 8;
		uint8_t mask = (uint8_t)(0xff00U >> rest);

		if (nets[i].family == family &&
		    memcmp(nets[i].bytes, bytes, whole) == 0 &&
		    (rest == 0 ||
		    ((nets[i].bytes[whole] ^ bytes[whole]) & mask) == 0))
			return true;
	}
	return false;
}

static bool
below(const char *match, const char *domain)
{
	size_t n = strlen(match), len = strlen(domain);

	return match[0] == '.' && n < len &&
		strcmp(domain + len - n, match) == 0;
}

/* The exact rule, else the one with the longest parent domain. */
static const struct conf_destination *
find_rule(const struct conf_destination *rules, size_t count,
	const char *domain)
{
	const struct conf_destination *best = NULL;

	for (size_t i = 0; i < count; i++) {
		if (strcmp(rules[i].match, domain) == 0)
			return &rules[i];
		if (below(rules[i].match, domain) && (best == NULL ||
		    strlen(rules[i].match) > strlen(best->match)))
			best = &rules[i];
	}
	return best;
}

const struct conf_destination *
conf_destination(const struct conf *conf, const char *domain)
{
	return find_rule(conf->destinations, conf->destination_count, domain);
}

const struct conf_destination *
conf_host(const struct conf *conf, const char *host)
{
	return find_rule(conf->hosts, conf->host_count, host);
}

bool
conf_host_list_match(const struct conf_host_list *list, const char *host,
	const struct sockaddr *addr)
{
	for (size_t i = 0; i < list->name_count; i++)
		if (strcmp(list->names[i], host) == 0 ||
		    below(list->names[i], host))
			return true;
	return addr != NULL &&
		conf_net_match(list->nets, list->net_count, addr);
}

static void
addrs_free(struct conf_addr *addrs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(addrs[i].text);
	free(addrs);
}

static void
texts_free(char **texts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(texts[i]);
	free(texts);
}

static void
rules_free(struct conf_destination *rules, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct conf_destination *d = &rules[i];

		texts_free(d->rule.names, d->rule.name_count);
		texts_free(d->rule.prints, d->rule.print_count);
		free(d->rule.ca_file);
		free(d->rule.sni);
		free(d->rule.ciphers);
		free(d->rule.cert_file);
		free(d->rule.key_file);
		free(d->auth_file);
		free(d->relay_host);
		free(d->match);
	}
	free(rules);
}

static void
host_list_free(struct conf_host_list *list)
{
	texts_free(list->names, list->name_count);
	free(list->nets);
}

void
conf_free(struct conf **confp)
{
	struct conf *conf = *confp;

	if (conf == NULL)
		return;
	rules_free(conf->destinations, conf->destination_count);
	rules_free(conf->hosts, conf->host_count);
	host_list_free(&conf->require_hosts);
	host_list_free(&conf->avoid_hosts);
	for (size_t i = 0; i < conf->listen_count; i++) {
		free(conf->listens[i].addr.text);
		free(conf->listens[i].allow);
		free(conf->listens[i].cert_file);
		free(conf->listens[i].key_file);
	}
	free(conf->listens);
	addrs_free(conf->local_addrs, conf->local_addr_count);
	addrs_free(conf->resolver.servers, conf->resolver.server_count);
	addrs_free(conf->resolver.trusted, conf->resolver.trusted_count);
	texts_free(conf->sts.lists, conf->sts.list_count);
	conf_report_free(conf);
	free(conf->resolver.trust_anchor);
	free(conf->ciphers);
	free(conf->ca_file);
	free(conf->postmaster);
	free(conf->user);
	free(conf->control);
	free(conf->spool);
	free(conf->hostname);
	mem_free(confp);
}
