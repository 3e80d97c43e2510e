/*
 * Reads "nameserver" lines of resolv.conf(5).
 */
#include "config.h"

#include <arpa/inet.h>
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

void
dns_servers_free(struct conf_addr *addrs, size_t count)
{
	while (count-- > 0)
		mem_free(&addrs[count].text);
}
