/*
 * Single configuration values: conversion and checks.
 */
#include "config.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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
	struct conf_rate *rate;
};

static void
store_text(union slot to, const char *value)
{
	if (to.raw == NULL)
		return;
	free(*to.text);
	*to.text = xstrdup(value);
}

bool
conf_integer(const char *value, int base, int64_t min, int64_t max,
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

	if (!conf_integer(value, row->kind == ROW_OCTAL ? 8 : 10, row->min,
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

static void
row_address(const char *value, union slot to, char *why)
{
	char domain[STR_DOMAIN_MAX];
	size_t local;
	bool utf8;

	if (strpbrk(value, "<>") != NULL ||
	    str_address(value, &local, domain, &utf8) != ST_OK)
		WHY("\"%s\" is not a mail address", value);
	else
		row_text(value, to, why);
}

/* "2027-03-31": through that day, UTC. */
static bool
date_end(const char *value, int64_t *out)
{
	struct tm tm = { 0 }, back;
	time_t at;
	int n = 0;

	if (sscanf(value, "%4d-%2d-%2d%n", &tm.tm_year, &tm.tm_mon,
	    &tm.tm_mday, &n) != 3 || value[n] != '\0' || n != 10)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	back = tm;
	at = timegm(&back);
	if (back.tm_mday != tm.tm_mday || back.tm_mon != tm.tm_mon)
		return false;
	*out = (int64_t)at + 86400;
	return true;
}

static void
row_date(const char *value, union slot to, char *why)
{
	int64_t end;

	if (!date_end(value, &end))
		WHY("\"%s\" is not a date such as 2027-03-31", value);
	else if (to.raw != NULL)
		*to.time = end;
}

static void
row_file(const char *value, union slot to, char *why)
{
	if (value[0] != '/')
		WHY("\"%s\" is not an absolute path", value);
	else
		row_text(value, to, why);
}

enum status
conf_rate_parse(const char *text, struct conf_rate *out)
{
	const char *slash = strchr(text, '/');
	struct conf_rate rate = { .count = 0 };
	char number[16], time[32];
	int64_t n;

	if (slash == NULL && strcmp(text, "0") == 0) {
		*out = rate;
		return ST_OK;
	}
	if (slash == NULL || (size_t)(slash - text) >= sizeof(number) ||
	    strlen(slash + 1) >= sizeof(time) - 1)
		return ST_PARSE;
	memcpy(number, text, (size_t)(slash - text));
	number[slash - text] = '\0';
	/* "10/s" is "10/1s". */
	(void)snprintf(time, sizeof(time), "%s%s",
		slash[1] >= '0' && slash[1] <= '9' ? "" : "1", slash + 1);
	if (!conf_integer(number, 10, 1, 1000000, &n) ||
	    str_duration_ms(time, &rate.per_ms) != ST_OK ||
	    rate.per_ms < 1 || rate.per_ms > CONF_RATE_MS_MAX)
		return ST_PARSE;
	rate.count = (unsigned)n;
	*out = rate;
	return ST_OK;
}

static void
row_rate(const char *value, union slot to, char *why)
{
	struct conf_rate rate;

	if (conf_rate_parse(value, &rate) != ST_OK)
		WHY("\"%s\" is not a rate such as 10/s, 100/1m or 5000/1h",
			value);
	else if (to.raw != NULL)
		*to.rate = rate;
}

#define SMTPS "smtps://"

static bool
is_smtps(const char *value)
{
	return strncmp(value, SMTPS, strlen(SMTPS)) == 0;
}

/* "host", "host:port", "[addr]", "[addr]:port", and these behind "smtps://";
 * what is not the host is cut off later. */
static bool
relay_ok(const char *value)
{
	char host[STR_DOMAIN_MAX + 2], domain[STR_DOMAIN_MAX];
	const char *end, *colon;
	size_t len;
	int64_t port;

	if (is_smtps(value))
		value += strlen(SMTPS);
	end = value[0] == '[' ? strchr(value, ']') : NULL;
	colon = strchr(end != NULL ? end : value, ':');
	len = colon != NULL ? (size_t)(colon - value) : strlen(value);
	if (len == 0 || len >= sizeof(host) ||
	    (colon != NULL && !conf_integer(colon + 1, 10, 1, 65535, &port)))
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
		WHY("\"%s\" is not \"host\", \"host:port\", "
			"\"[address]:port\" or \"smtps://...\"", value);
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
	case ROW_DATE:
		row_date(value, slot, why);
		break;
	case ROW_FILE:
		row_file(value, slot, why);
		break;
	case ROW_ADDRESS:
		row_address(value, slot, why);
		break;
	case ROW_RATE:
		row_rate(value, slot, why);
		break;
	case ROW_RELAY:
		row_relay(value, slot, why);
		break;
	default:
		row_number(row, value, slot, why);
		break;
	}
}

void
conf_relay_port(struct conf_destination *d)
{
	char domain[STR_DOMAIN_MAX];
	char *from, *colon;
	int64_t port;

	d->relay_tls = d->relay_host != NULL && is_smtps(d->relay_host);
	d->relay_port = d->relay_tls ? 465 : 25;
	if (d->relay_host == NULL)
		return;
	if (d->relay_tls)
		memmove(d->relay_host, d->relay_host + strlen(SMTPS),
			strlen(d->relay_host + strlen(SMTPS)) + 1);
	from = d->relay_host[0] == '[' ? strchr(d->relay_host, ']') :
		d->relay_host;
	colon = strchr(from, ':');
	if (colon != NULL && conf_integer(colon + 1, 10, 1, 65535, &port))
		d->relay_port = (uint16_t)port;
	if (colon != NULL)
		*colon = '\0';
	if (d->relay_host[0] != '[' &&
	    str_domain(d->relay_host, domain) == ST_OK)
		store_text((union slot){ .text = &d->relay_host }, domain);
}
