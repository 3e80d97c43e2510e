/*
 * Looks over a record's RDATA in the raw message and says whether it has the
 * shape that its type demands, to the last octet, before any library reads
 * it: ldns 1.8 accepts RDATA that is too short, that has octets left over,
 * or whose name runs past RDLENGTH, and its accessors abort on some of them.
 */
#include "config.h"

#include <string.h>

#include "resolver/dns_parse.h"
#include "resolver/dns_shape.h"
#include "resolver/resolver.h"

/*
 * One letter per field: n name, may be compressed; N name, may not be;
 * 1 2 4 6(=16) octets; t one or more character-strings; s one character-string;
 * m a type bitmap; h NSEC3 head; d DS digest; + one or more octets; * any.
 */
static const struct shape {
	uint16_t type;
	const char *fields;
} shapes[] = {
	{ DNS_TYPE_A, "4" },
	{ DNS_TYPE_NS, "n" },
	{ DNS_TYPE_CNAME, "n" },
	{ DNS_TYPE_SOA, "nn44444" },
	{ DNS_TYPE_PTR, "n" },
	{ DNS_TYPE_MX, "2n" },
	{ DNS_TYPE_TXT, "t" },
	{ DNS_TYPE_AAAA, "6" },
	{ DNS_TYPE_SRV, "222n" },
	{ DNS_TYPE_DNAME, "n" },
	{ DNS_TYPE_DS, "21d" },
	{ DNS_TYPE_RRSIG, "2114442N+" },
	{ DNS_TYPE_NSEC, "Nm" },
	{ DNS_TYPE_DNSKEY, "211+" },
	{ DNS_TYPE_NSEC3, "hm" },
	{ DNS_TYPE_TLSA, "111*" },
};

const char *
dns_shape_fields(uint16_t type)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		if (shapes[i].type == type)
			return shapes[i].fields;
	return NULL;
}

bool
dns_shape_name(const uint8_t *wire, size_t end, size_t *pos, bool compressed)
{
	size_t p = *pos;

	while (p < end) {
		uint8_t c = wire[p];

		if ((c & 0xc0) == 0xc0 && compressed && end - p >= 2) {
			*pos = p + 2;
			return true;
		}
		if (c > 63)
			return false;
		if (c == 0) {
			p++;
			if (p - *pos > DNS_NAME_MAX)
				return false;
			*pos = p;
			return true;
		}
		p += (size_t)c + 1;
	}
	return false;
}

static bool
skip(size_t end, size_t *pos, size_t count)
{
	if (end - *pos < count)
		return false;
	*pos += count;
	return true;
}

static bool
strings(const uint8_t *wire, size_t end, size_t *pos)
{
	if (*pos == end)
		return false;
	while (*pos < end)
		if (!skip(end, pos, (size_t)wire[*pos] + 1))
			return false;
	return true;
}

/* RFC 4034 4.1.2: blocks in rising order, 1 to 32 octets each. */
static bool
bitmap(const uint8_t *wire, size_t end, size_t *pos)
{
	int last = -1;

	while (*pos < end) {
		const uint8_t *block = wire + *pos;

		if (end - *pos < 2 || block[0] <= last || block[1] < 1 ||
		    block[1] > 32)
			return false;
		last = block[0];
		if (!skip(end, pos, (size_t)block[1] + 2))
			return false;
	}
	return true;
}

/* RFC 5155 3.2: algorithm, flags, iterations, salt, next hashed owner. */
static bool
nsec3_head(const uint8_t *wire, size_t end, size_t *pos)
{
	if (end - *pos < 5)
		return false;
	*pos += 4;
	if (!skip(end, pos, (size_t)wire[*pos] + 1) || *pos == end)
		return false;
	/* A hash of no octets means nothing and crashes helpers. */
	return wire[*pos] > 0 && skip(end, pos, (size_t)wire[*pos] + 1);
}

/* RFC 4509, 6605: the lengths of the digests that we know. */
static bool
digest(const uint8_t *wire, size_t end, size_t *pos)
{
	static const uint8_t lengths[] = { 0, 20, 32, 32, 48 };
	size_t left = end - *pos, len;

	if (left < 2)
		return false;
	len = wire[*pos] < sizeof(lengths) ? lengths[wire[*pos]] : 0;
	*pos = end;
	return len == 0 || left - 1 == len;
}

static bool
field(char what, const uint8_t *wire, size_t end, size_t *pos)
{
	size_t left = end - *pos;

	switch (what) {
	case 'n':
	case 'N':
		return dns_shape_name(wire, end, pos, what == 'n');
	case 't':
		return strings(wire, end, pos);
	case 'm':
		return bitmap(wire, end, pos);
	case 'h':
		return nsec3_head(wire, end, pos);
	case 'd':
		return digest(wire, end, pos);
	case '+':
	case '*':
		*pos = end;
		return what == '*' || left > 0;
	default:
		return skip(end, pos, what == '6' ? 16 : (size_t)(what - '0'));
	}
}

bool
dns_shape_check(const char *fields, const uint8_t *wire, size_t pos,
	size_t end)
{
	for (; *fields != '\0'; fields++)
		if (!field(*fields, wire, end, &pos))
			return false;
	return pos == end;
}
