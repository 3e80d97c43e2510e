/*
 * Single configuration values: conversion, checks, and the questions others
 * ask of a finished configuration.
 */
#include "config.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/conf_int.h"
#include "base/mem.h"
#include "base/str.h"

#define WHY(...) (void)snprintf(why, CONF_ERR_MAX, __VA_ARGS__)

union slot {
	void *raw;
	char **text;
	unsigned *number;
	size_t *size;
	uint16_t *port;
	bool *flag;
	int64_t *time;
	uint64_t *bytes;
};

static void
store_text(union slot to, const char *value)
{
	if (to.raw == NULL)
		return;
	free(*to.text);
	*to.text = xstrdup(value);
}

static bool
parse_integer(const char *value, int base, int64_t min, int64_t max,
	int64_t *out)
{
	char *end;

	if (value[0] < '0' || value[0] > '9')
		return false;
	*out = strtoll(value, &end, base);
	return *end == '\0' && *out >= min && *out <= max;
}

static void
row_number(const struct conf_row *row, const char *value, union slot to,
	char *why)
{
	int64_t n;

	if (!parse_integer(value, row->kind == ROW_OCTAL ? 8 : 10, row->min,
	    row->max, &n)) {
		WHY("\"%s\" is not a number from %lld to %lld%s", value,
			(long long)row->min, (long long)row->max,
			row->kind == ROW_OCTAL ? " (octal mode)" : "");
		return;
	}
	if (to.raw == NULL)
		return;
	if (row->kind == ROW_PORT)
		*to.port = (uint16_t)n;
	else if (row->kind == ROW_SIZE_T)
		*to.size = (size_t)n;
	else
		*to.number = (unsigned)n;
}

static void
row_bool(const char *value, union slot to, char *why)
{
	static const char *const words[] = { "no", "yes", "off", "on", "false",
		"true" };

	for (size_t i = 0; i < 6; i++) {
		if (strcmp(words[i], value) != 0)
			continue;
		if (to.raw != NULL)
			*to.flag = i % 2 == 1;
		return;
	}
	WHY("\"%s\" is neither yes nor no", value);
}

static void
row_time(const struct conf_row *row, const char *value, union slot to,
	char *why)
{
	int64_t unit = row->kind == ROW_S ? 1000 : 1, ms;

	if (str_duration_ms(value, &ms) != ST_OK) {
		WHY("\"%s\" is not a duration such as 90s, 5m, 1h or 5d",
			value);
		return;
	}
	if (ms / unit < row->min || ms / unit > row->max) {
		WHY("\"%s\" is outside of what is allowed", value);
		return;
	}
	if (to.raw != NULL)
		*to.time = ms / unit;
}

static void
row_bytes(const struct conf_row *row, const char *value, union slot to,
	char *why)
{
	uint64_t n;

	if (str_size(value, &n) != ST_OK || n > INT64_MAX) {
		WHY("\"%s\" is not a size such as 65536, 512K or 50M", value);
		return;
	}
	if ((int64_t)n < row->min || (int64_t)n > row->max) {
		WHY("\"%s\" is outside of what is allowed", value);
		return;
	}
	if (to.raw != NULL)
		*to.bytes = n;
}

static void
row_word(const struct conf_row *row, const char *value, union slot to,
	char *why)
{
	size_t used = 0;

	for (unsigned i = 0; row->words[i] != NULL; i++) {
		if (strcmp(row->words[i], value) != 0)
			continue;
		if (to.raw != NULL)
			*to.number = i;	/* enums here are unsigned int */
		return;
	}
	WHY("\"%s\" is not one of:", value);
	for (unsigned i = 0; row->words[i] != NULL; i++) {
		used = strlen(why);
		(void)snprintf(why + used, CONF_ERR_MAX - used, " %s",
			row->words[i]);
	}
}

static void
row_text(const char *value, union slot to, char *why)
{
	char clean[1024];

	str_sanitise(clean, sizeof(clean), value, strlen(value));
	if (value[0] == '\0' || strcmp(clean, value) != 0) {
		WHY("must be a line of text");
		return;
	}
	store_text(to, value);
}

static void
row_host(const char *value, union slot to, char *why)
{
	char domain[STR_DOMAIN_MAX];

	if (str_domain(value, domain) != ST_OK) {
		WHY("\"%s\" is not a host name", value);
		return;
	}
	store_text(to, domain);
}

/* "host", "host:port", "[addr]", "[addr]:port"; the port is cut off later. */
static bool
relay_ok(const char *value)
{
	char host[STR_DOMAIN_MAX + 2], domain[STR_DOMAIN_MAX];
	const char *end = value[0] == '[' ? strchr(value, ']') : NULL;
	const char *colon = strchr(end != NULL ? end : value, ':');
	size_t len = colon != NULL ? (size_t)(colon - value) : strlen(value);
	int64_t port;

	if (len == 0 || len >= sizeof(host) ||
	    (colon != NULL && !parse_integer(colon + 1, 10, 1, 65535, &port)))
		return false;
	memcpy(host, value, len);
	host[len] = '\0';
	if (value[0] != '[')
		return str_domain(host, domain) == ST_OK;
	if (host[len - 1] != ']')
		return false;
	host[len - 1] = '\0';
	return inet_pton(strchr(host, ':') ? AF_INET6 : AF_INET, host + 1,
		domain) == 1;
}

static void
row_relay(const char *value, union slot to, char *why)
{
	if (!relay_ok(value)) {
		WHY("\"%s\" is not \"host\", \"host:port\" or "
			"\"[address]:port\"", value);
		return;
	}
	store_text(to, value);
}

void
conf_row_store(const struct conf_row *row, const char *value, void *to,
	char why[CONF_ERR_MAX])
{
	union slot slot = { .raw = to == NULL ? NULL :
		(char *)to + row->offset };

	why[0] = '\0';
	switch (row->kind) {
	case ROW_TEXT:
		row_text(value, slot, why);
		break;
	case ROW_HOST:
		row_host(value, slot, why);
		break;
	case ROW_BOOL:
		row_bool(value, slot, why);
		break;
	case ROW_MS:
	case ROW_S:
		row_time(row, value, slot, why);
		break;
	case ROW_BYTES:
		row_bytes(row, value, slot, why);
		break;
	case ROW_WORD:
		row_word(row, value, slot, why);
		break;
	case ROW_RELAY:
		row_relay(value, slot, why);
		break;
	default:
		row_number(row, value, slot, why);
		break;
	}
}

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
	if (*colon != ':' || !parse_integer(colon + 1, 10, 1, 65535, &n))
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

static bool
net_parse(const char *text, struct conf_net *out)
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
	if (slash != NULL && !parse_integer(slash + 1, 10, 0, max, &bits))
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

void
conf_list_check(const struct conf_list_row *row, const char *value,
	char why[CONF_ERR_MAX])
{
	struct conf_addr addr;
	struct conf_net net;

	if (row->kind == LIST_NET) {
		if (!net_parse(value, &net))
			WHY("\"%s\" is not a network such as 192.0.2.0/24",
				value);
		return;
	}
	if (conf_addr_parse(value, row->default_port, &addr) != ST_OK) {
		WHY("\"%s\" is not an address such as 127.0.0.1:%u", value,
			row->default_port);
		return;
	}
	free(addr.text);
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
conf_nets_default(struct conf_net **out, size_t *count_out)
{
	*out = xcalloc(2, sizeof(**out));
	(void)net_parse("127.0.0.0/8", &(*out)[0]);
	(void)net_parse("::1/128", &(*out)[1]);
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
		(void)net_parse(cfg_getnstr(cfg, key, i), &(*out)[i]);
}

void
conf_relay_port(struct conf_destination *d)
{
	char domain[STR_DOMAIN_MAX];
	char *from, *colon;
	int64_t port;

	d->relay_port = 25;
	if (d->relay_host == NULL)
		return;
	from = d->relay_host[0] == '[' ? strchr(d->relay_host, ']') :
		d->relay_host;
	colon = strchr(from, ':');
	if (colon != NULL && parse_integer(colon + 1, 10, 1, 65535, &port))
		d->relay_port = (uint16_t)port;
	if (colon != NULL)
		*colon = '\0';
	if (d->relay_host[0] != '[' &&
	    str_domain(d->relay_host, domain) == ST_OK)
		store_text((union slot){ .text = &d->relay_host }, domain);
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

const struct conf_destination *
conf_destination(const struct conf *conf, const char *domain)
{
	const struct conf_destination *best = NULL;
	size_t best_len = 0, len = strlen(domain);

	for (size_t i = 0; i < conf->destination_count; i++) {
		const struct conf_destination *d = &conf->destinations[i];
		size_t n = strlen(d->match);

		if (strcmp(d->match, domain) == 0)
			return d;
		if (d->match[0] == '.' && n < len && n > best_len &&
		    strcmp(domain + len - n, d->match) == 0) {
			best = d;
			best_len = n;
		}
	}
	return best;
}

static void
addrs_free(struct conf_addr *addrs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(addrs[i].text);
	free(addrs);
}

void
conf_free(struct conf **confp)
{
	struct conf *conf = *confp;

	if (conf == NULL)
		return;
	for (size_t i = 0; i < conf->destination_count; i++) {
		free(conf->destinations[i].match);
		free(conf->destinations[i].relay_host);
	}
	free(conf->destinations);
	for (size_t i = 0; i < conf->listen_count; i++) {
		free(conf->listens[i].addr.text);
		free(conf->listens[i].allow);
	}
	free(conf->listens);
	addrs_free(conf->local_addrs, conf->local_addr_count);
	addrs_free(conf->resolver.servers, conf->resolver.server_count);
	addrs_free(conf->resolver.trusted, conf->resolver.trusted_count);
	free(conf->resolver.trust_anchor);
	free(conf->ca_file);
	free(conf->postmaster);
	free(conf->user);
	free(conf->control);
	free(conf->spool);
	free(conf->hostname);
	mem_free(confp);
}
