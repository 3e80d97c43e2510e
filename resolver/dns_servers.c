/*
 * Which resolvers there are: "nameserver" lines of resolv.conf(5); and which
 * of them may be trusted.
 */
#include "config.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "resolver/dns_servers.h"

#define DNS_PORT 53

static enum status
addr_parse(const char *text, struct conf_addr *out)
{
	struct sockaddr_in *v4 = (void *)&out->addr;
	struct sockaddr_in6 *v6 = (void *)&out->addr;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(DNS_PORT);
		out->addr_len = sizeof(*v4);
	} else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(DNS_PORT);
		out->addr_len = sizeof(*v6);
	} else {
		return ST_PARSE;
	}
	out->text = xstrdup(text);
	return ST_OK;
}

enum status
dns_servers_read(const char *path, struct conf_addr *out, size_t max,
	size_t *count_out)
{
	FILE *f = fopen(path, "re");
	char line[512], address[64];

	*count_out = 0;
	if (f == NULL)
		return ST_SYS;
	while (*count_out < max && fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "nameserver %63s", address) == 1 &&
		    addr_parse(address, &out[*count_out]) == ST_OK)
			(*count_out)++;
	fclose(f);
	return ST_OK;
}

enum status
dns_servers_format(const struct conf_addr *from,
	char out[DNS_SERVER_TEXT_MAX])
{
	char text[INET6_ADDRSTRLEN];
	const struct sockaddr_in *v4 = (const void *)&from->addr;
	const struct sockaddr_in6 *v6 = (const void *)&from->addr;

	switch (from->addr.ss_family) {
	case AF_INET:
		inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text));
		snprintf(out, DNS_SERVER_TEXT_MAX, "%s:%u", text,
			(unsigned)ntohs(v4->sin_port));
		return ST_OK;
	case AF_INET6:
		inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text));
		snprintf(out, DNS_SERVER_TEXT_MAX, "[%s]:%u", text,
			(unsigned)ntohs(v6->sin6_port));
		return ST_OK;
	default:
		return ST_PARSE;
	}
}

void
dns_servers_free(struct conf_addr *addrs, size_t count)
{
	while (count-- > 0)
		mem_free(&addrs[count].text);
}

/* RFC 4035 4.9.3: the AD bit counts only over a path that nobody else can
 * write to. */
static bool
may_trust(const struct conf_resolver *conf, const struct conf_addr *server)
{
	const struct sockaddr_in *v4 = (const void *)&server->addr;
	const struct sockaddr_in6 *v6 = (const void *)&server->addr;

	if (v4->sin_family == AF_INET &&
	    ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET)
		return true;
	if (v6->sin6_family == AF_INET6 &&
	    IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr))
		return true;
	for (size_t i = 0; i < conf->trusted_count; i++) {
		const struct sockaddr_in *t4 =
			(const void *)&conf->trusted[i].addr;
		const struct sockaddr_in6 *t6 =
			(const void *)&conf->trusted[i].addr;

		if (t4->sin_family != v4->sin_family)
			continue;
		if (v4->sin_family == AF_INET ?
		    t4->sin_addr.s_addr == v4->sin_addr.s_addr :
		    IN6_ARE_ADDR_EQUAL(&t6->sin6_addr, &v6->sin6_addr))
			return true;
	}
	return false;
}

enum status
dns_servers_trusted(const struct conf_resolver *conf,
	const struct conf_addr *servers, size_t count, char err[CONF_ERR_MAX])
{
	for (size_t i = 0; i < count; i++) {
		if (may_trust(conf, &servers[i]))
			continue;
		snprintf(err, CONF_ERR_MAX, "dnssec = trust-ad needs resolvers "
			"on a loopback address or listed as trusted; %s is "
			"neither", servers[i].text == NULL ? "one" :
			servers[i].text);
		return ST_DENIED;
	}
	return ST_OK;
}
