/*
 * Which addresses are not of the public Internet: the special-purpose
 * registries of IANA (RFC 6890 and later entries) as a table.  Pure.
 */
#include "config.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

#include "policy/https.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct block {
	uint8_t prefix[16];
	unsigned bits;
	const char *kind;	/* NULL: public */
};

/* clang-format off */
static const struct block v4_blocks[] = {
	{ { 0 },           8, "unspecified" },		/* RFC 791 */
	{ { 10 },          8, "private network" },	/* RFC 1918 */
	{ { 100, 64 },    10, "shared address" },	/* RFC 6598 */
	{ { 127 },         8, "loopback" },		/* RFC 1122 */
	{ { 169, 254 },   16, "link-local" },		/* RFC 3927 */
	{ { 172, 16 },    12, "private network" },
	{ { 192, 0, 0 },  24, "reserved" },		/* RFC 6890 */
	{ { 192, 0, 2 },  24, "documentation" },	/* RFC 5737 */
	{ { 192, 88, 99 }, 24, "reserved" },		/* RFC 7526 */
	{ { 192, 168 },   16, "private network" },
	{ { 198, 18 },    15, "benchmarking" },		/* RFC 2544 */
	{ { 198, 51, 100 }, 24, "documentation" },
	{ { 203, 0, 113 }, 24, "documentation" },
	{ { 224 },         4, "multicast" },		/* RFC 1112 */
	{ { 240 },         4, "reserved" },
};

/* The first that fits counts; the last is what has not been given out as
 * global unicast, which is 2000::/3 alone (RFC 4291). */
static const struct block v6_blocks[] = {
	{ { [15] = 1 },              128, "loopback" },
	{ { 0 },                     128, "unspecified" },
	{ { [10] = 0xff, 0xff },      96, "IPv4-mapped" },
	{ { 0xfc },                    7, "private network" },	/* RFC 4193 */
	{ { 0xfe, 0x80 },             10, "link-local" },
	{ { 0xfe, 0xc0 },             10, "private network" },	/* RFC 3879 */
	{ { 0xff },                    8, "multicast" },
	{ { 0x20, 0x01, 0x0d, 0xb8 }, 32, "documentation" },	/* RFC 3849 */
	{ { 0x20, 0x01 },             23, "reserved" },	/* RFC 2928, Teredo */
	{ { 0x3f, 0xff },             20, "documentation" },	/* RFC 9637 */
	{ { 0x20 },                    3, NULL },
	{ { 0 },                       0, "reserved" },
};

/* Forms with an IPv4 address within. */
static const struct {
	struct block block;
	size_t at;
} embedding[] = {
	{ { { 0x00, 0x64, 0xff, 0x9b }, 96, NULL }, 12 },	/* RFC 6052 */
	{ { { 0x20, 0x02 },             16, NULL }, 2 },	/* RFC 3056 */
};
/* clang-format on */

static bool
within(const uint8_t *addr, const struct block *b)
{
	unsigned whole = b->bits / 8, rest = b->bits % 8;

	return memcmp(addr, b->prefix, whole) == 0 && (rest == 0 ||
		((addr[whole] ^ b->prefix[whole]) >> (8 - rest)) == 0);
}

static const char *
kind_of(const uint8_t *addr, const struct block *blocks, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (within(addr, &blocks[i]))
			return blocks[i].kind;
	return NULL;
}

static const char *
kind_v6(const uint8_t *addr)
{
	for (size_t i = 0; i < COUNT(embedding); i++)
		if (within(addr, &embedding[i].block))
			return kind_of(addr + embedding[i].at, v4_blocks,
				COUNT(v4_blocks));
	return kind_of(addr, v6_blocks, COUNT(v6_blocks));
}

const char *
https_address_kind(const struct sockaddr *sa)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	uint8_t bytes[4];

	switch (sa->sa_family) {
	case AF_INET:
		memcpy(&v4, sa, sizeof(v4));
		memcpy(bytes, &v4.sin_addr, sizeof(bytes));
		return kind_of(bytes, v4_blocks, COUNT(v4_blocks));
	case AF_INET6:
		memcpy(&v6, sa, sizeof(v6));
		return kind_v6(v6.sin6_addr.s6_addr);
	default:
		return "no Internet address";
	}
}
