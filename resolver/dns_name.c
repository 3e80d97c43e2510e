/*
 * Operations on domain names in wire form.  Pure functions.
 *
 * A name is a row of labels, each a length octet (1 to 63) and that many
 * octets, ended by a zero octet (RFC 1035 3.1).
 */
#include "config.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "resolver/dns_name.h"

#define LABELS_MAX 128

static uint8_t
lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

/* Reads one possibly escaped octet; 0 at a fault, else characters used. */
static size_t
octet_parse(const char *text, uint8_t *out)
{
	unsigned v = 0;

	if (text[0] != '\\') {
		*out = lower((uint8_t)text[0]);
		return 1;
	}
	if (text[1] < '0' || text[1] > '9') {
		*out = lower((uint8_t)text[1]);
		return text[1] == '\0' ? 0 : 2;
	}
	for (int i = 1; i <= 3; i++) {
		if (text[i] < '0' || text[i] > '9')
			return 0;
		v = v * 10 + (unsigned)(text[i] - '0');
	}
	*out = lower((uint8_t)v);
	return v > 255 ? 0 : 4;
}

/* Reads one label; returns the place after it, or NULL. */
static const char *
label_parse(const char *text, uint8_t *out, size_t room, size_t *len_out)
{
	size_t len = 0;

	while (*text != '\0' && *text != '.') {
		size_t n;
		uint8_t c;

		if (len == 63 || len + 2 > room)
			return NULL;
		n = octet_parse(text, &c);
		if (n == 0)
			return NULL;
		out[1 + len++] = c;
		text += n;
	}
	if (len == 0)
		return NULL;
	out[0] = (uint8_t)len;
	*len_out = len + 1;
	return text;
}

enum status
dns_name_parse(const char *text, dns_name out)
{
	size_t used = 0;

	if (strcmp(text, ".") == 0)
		text = "";
	while (*text != '\0') {
		size_t len;

		text = label_parse(text, out + used,
			DNS_NAME_MAX - 1 - used, &len);
		if (text == NULL)
			return ST_PARSE;
		used += len;
		if (*text == '.')
			text++;
	}
	out[used] = 0;
	return ST_OK;
}

static bool
plain(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
		c == '_' || c == '*' || c == '+' || c == '=' || c == '/';
}

void
dns_name_format(const uint8_t *name, char out[DNS_TEXT_MAX])
{
	char *to = out;

	for (const uint8_t *p = name; *p != 0; p += *p + 1) {
		if (p != name)
			*to++ = '.';
		for (unsigned i = 1; i <= *p; i++) {
			if (plain(p[i]))
				*to++ = (char)p[i];
			else
				to += snprintf(to, 5, "\\%03u", p[i]);
		}
	}
	*to = '\0';
}

size_t
dns_name_len(const uint8_t *name)
{
	const uint8_t *p = name;

	while (*p != 0)
		p += *p + 1;
	return (size_t)(p - name) + 1;
}

unsigned
dns_name_labels(const uint8_t *name)
{
	unsigned n = 0;

	for (const uint8_t *p = name; *p != 0; p += *p + 1)
		n++;
	return n;
}

void
dns_name_copy(dns_name to, const uint8_t *from)
{
	memmove(to, from, dns_name_len(from));
}

bool
dns_name_eq(const uint8_t *a, const uint8_t *b)
{
	size_t len = dns_name_len(a);

	return len == dns_name_len(b) && memcmp(a, b, len) == 0;
}

static unsigned
label_starts(const uint8_t *name, const uint8_t *starts[LABELS_MAX])
{
	unsigned n = 0;

	for (const uint8_t *p = name; *p != 0; p += *p + 1)
		starts[n++] = p;
	return n;
}

static int
label_cmp(const uint8_t *a, const uint8_t *b)
{
	size_t len = *a < *b ? *a : *b;
	int d = memcmp(a + 1, b + 1, len);

	return d != 0 ? d : *a - *b;
}

int
dns_name_cmp(const uint8_t *a, const uint8_t *b)
{
	const uint8_t *as[LABELS_MAX], *bs[LABELS_MAX];
	unsigned an = label_starts(a, as), bn = label_starts(b, bs);

	while (an > 0 && bn > 0) {
		int d = label_cmp(as[--an], bs[--bn]);

		if (d != 0)
			return d;
	}
	return (int)an - (int)bn;
}

bool
dns_name_within(const uint8_t *child, const uint8_t *parent)
{
	unsigned cn = dns_name_labels(child), pn = dns_name_labels(parent);

	return cn >= pn && dns_name_eq(dns_name_up(child, cn - pn), parent);
}

const uint8_t *
dns_name_up(const uint8_t *name, unsigned count)
{
	while (count-- > 0) {
		assert(*name != 0);
		name += *name + 1;
	}
	return name;
}

const uint8_t *
dns_name_tail(const uint8_t *name, unsigned labels)
{
	return dns_name_up(name, dns_name_labels(name) - labels);
}

const uint8_t *
dns_name_common(const uint8_t *a, const uint8_t *b)
{
	while (!dns_name_within(b, a))
		a = dns_name_up(a, 1);
	return a;
}

bool
dns_name_is_wildcard(const uint8_t *name)
{
	return name[0] == 1 && name[1] == '*';
}

enum status
dns_name_wildcard(dns_name out, const uint8_t *parent)
{
	size_t len = dns_name_len(parent);

	if (len + 2 > DNS_NAME_MAX)
		return ST_LIMIT;
	memmove(out + 2, parent, len);
	out[0] = 1;
	out[1] = '*';
	return ST_OK;
}

enum status
dns_name_replace(dns_name out, const uint8_t *name, const uint8_t *owner,
	const uint8_t *target)
{
	size_t head = dns_name_len(name) - dns_name_len(owner);
	size_t tail = dns_name_len(target);

	if (head + tail > DNS_NAME_MAX)
		return ST_LIMIT;
	memcpy(out, name, head);
	memcpy(out + head, target, tail);
	return ST_OK;
}
