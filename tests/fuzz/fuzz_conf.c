/*
 * Configuration text: taken or refused with a reason, and what is taken keeps
 * the promises of conf.h.
 */
#include "config.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "base/mem.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool fact)
{
	if (!fact)
		abort();
}

static void
check(const struct conf *c)
{
	must(str_is_domain(c->hostname));
	must(c->postmaster != NULL && c->spool != NULL && c->control != NULL);
	must(c->listen_count > 0);
	must(c->ipv4 || c->ipv6);
	must(c->retry.first_ms >= 1 && c->retry.max_ms >= c->retry.first_ms);
	must(c->limit.recipients >= 1 && c->limit.active >= 1);
	for (size_t i = 0; i < c->listen_count; i++) {
		const struct conf_listen *l = &c->listens[i];
		struct sockaddr_storage any = { .ss_family = AF_INET6 };

		must(l->addr.text != NULL && l->addr.addr_len > 0);
		(void)conf_net_match(l->allow, l->allow_count,
			(const struct sockaddr *)&any);
	}
	for (size_t i = 0; i < c->destination_count; i++) {
		const struct conf_destination *d = &c->destinations[i];

		must(str_is_domain(d->match + (d->match[0] == '.')));
		if (d->match[0] != '.')
			must(conf_destination(c, d->match) == d);
		must(d->relay_host == NULL || d->relay_port > 0);
		must(d->relay_host == NULL || d->relay_host[0] == '[' ||
			str_is_domain(d->relay_host));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char err[CONF_ERR_MAX], *text;
	struct conf *conf = NULL;
	enum status st;

	if (memchr(data, 0, size) != NULL)
		return 0;
	text = xstrndup((const char *)data, size);
	st = conf_parse("fuzz", text, &conf, err);
	must((st == ST_OK) == (conf != NULL));
	if (st == ST_OK)
		check(conf);
	else
		must(err[0] != '\0' && strlen(err) < CONF_ERR_MAX);
	conf_free(&conf);
	free(text);
	return 0;
}
