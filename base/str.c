/*
 * Text helpers.  Pure, no allocation that escapes, no locale.
 */
#include "config.h"

#include <errno.h>
#include <idn2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"

#define LOCAL_MAX 64		/* RFC 5321 4.5.3.1.1 */
#define ADDRESS_MAX 320		/* 64 + "@" + 255 */

static bool
is_alnum(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
		(c >= 'A' && c <= 'Z');
}

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool
str_copy(char *out, size_t out_bytes, const char *text)
{
	return snprintf(out, out_bytes, "%s", text) < (int)out_bytes;
}

/* Not 0 when one of the eight octets is c. */
static uint64_t
has_octet(uint64_t eight, uint8_t c)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t x = eight ^ (ones * c);

	return (x - ones) & ~x & (ones << 7);
}

size_t
str_text_run(const uint8_t *bytes, size_t len)
{
	size_t n = 0;
	uint64_t eight;

	for (; n + sizeof(eight) <= len; n += sizeof(eight)) {
		memcpy(&eight, bytes + n, sizeof(eight));
		if ((has_octet(eight, '\r') | has_octet(eight, '\n') |
		    has_octet(eight, '\0')) != 0)
			break;
	}
	while (n < len && bytes[n] != '\r' && bytes[n] != '\n' &&
	    bytes[n] != '\0')
		n++;
	return n;
}

bool
str_is_ascii(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text > 127)
			return false;
	return true;
}

bool
str_is_domain(const char *text)
{
	size_t label = 0, total = 0;

	for (; text[total] != '\0'; total++) {
		unsigned char c = (unsigned char)text[total];

		if (total >= STR_DOMAIN_MAX - 1)
			return false;
		if (c == '.') {
			if (label == 0)
				return false;
			label = 0;
			continue;
		}
		if ((!is_alnum(c) && c != '-' && c != '_') ||
		    (c >= 'A' && c <= 'Z') || ++label > 63)
			return false;
	}
	return total > 0 && label > 0;
}

/* Copies in lower case without the one dot that may end a domain name. */
static enum status
copy_domain(const char *text, char out[STR_DOMAIN_MAX])
{
	size_t len = strlen(text);

	if (len > 1 && text[len - 1] == '.')
		len--;
	if (len >= STR_DOMAIN_MAX)
		return ST_PARSE;
	for (size_t i = 0; i < len; i++)
		out[i] = lower(text[i]);
	out[len] = '\0';
	return str_is_domain(out) ? ST_OK : ST_PARSE;
}

enum status
str_domain(const char *text, char out[STR_DOMAIN_MAX])
{
	size_t len = strlen(text);
	char *ascii = NULL;
	enum status st = ST_PARSE;

	if (len == 0 || len > 1024)
		return ST_PARSE;
	if (str_is_ascii(text))
		return copy_domain(text, out);
	/* Its STD3 rules would leave out what they forbid, so that another
	 * domain is what remains; str_is_domain() judges instead. */
	if (str_is_utf8(text, len) && idn2_to_ascii_8z(text, &ascii,
	    IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) == IDN2_OK)
		st = copy_domain(ascii, out);
	idn2_free(ascii);
	return st;
}

/* Finds the '@' that ends the local part, honouring a quoted string. */
static const char *
find_at(const char *text)
{
	const char *p = text;

	if (*p == '"') {
		for (p++; *p != '\0' && *p != '"'; p++)
			if (*p == '\\' && *++p == '\0')
				return NULL;
		if (*p++ != '"')
			return NULL;
		return *p == '@' ? p : NULL;
	}
	for (; *p != '\0' && *p != '@'; p++)
		if (strchr(" \"(),:;<>[]\\", *p) != NULL)
			return NULL;
	return *p == '@' ? p : NULL;
}

/* C0, DEL or C1 (two octets) in valid UTF-8. */
static bool
has_control(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	for (; *s != '\0'; s++)
		if (*s < 32 || *s == 127 || (*s == 0xc2 && s[1] < 0xa0))
			return true;
	return false;
}

static bool
dots_ok(const char *text, size_t len)
{
	if (len == 0 || text[0] == '.' || text[len - 1] == '.')
		return false;
	for (size_t i = 1; i < len; i++)
		if (text[i] == '.' && text[i - 1] == '.')
			return false;
	return true;
}

static enum status
address_literal(const char *text, char out[STR_DOMAIN_MAX])
{
	size_t len = strlen(text);

	if (len < 3 || len >= STR_DOMAIN_MAX || text[len - 1] != ']')
		return ST_PARSE;
	for (size_t i = 0; i <= len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (i > 0 && i + 1 < len && !is_alnum(c) && c != '.' &&
		    c != ':' && c != '-')
			return ST_PARSE;
		out[i] = lower((char)c);
	}
	return ST_OK;
}

enum status
str_address(const char *text, size_t *local_len_out,
	char domain_out[STR_DOMAIN_MAX], bool *utf8_out)
{
	size_t len = strlen(text), local;
	const char *at;

	if (len == 0 || len > ADDRESS_MAX || !str_is_utf8(text, len))
		return ST_PARSE;
	if (has_control(text))
		return ST_PARSE;
	at = find_at(text);
	if (at == NULL)
		return ST_PARSE;
	local = (size_t)(at - text);
	if (local > LOCAL_MAX || (text[0] != '"' && !dots_ok(text, local)))
		return ST_PARSE;
	*local_len_out = local;
	*utf8_out = !str_is_ascii(text);
	if (at[1] == '[')
		return address_literal(at + 1, domain_out);
	return str_domain(at + 1, domain_out);
}

/* Length of the UTF-8 sequence at text, 0 when malformed (RFC 3629). */
static size_t
utf8_len(const unsigned char *s, size_t left)
{
	size_t n;

	if (s[0] < 0x80)
		return 1;
	n = s[0] >= 0xc2 && s[0] <= 0xdf ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 :
		s[0] >= 0xf0 && s[0] <= 0xf4 ? 4 : 0;
	if (n == 0 || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

bool
str_is_utf8(const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;

	while (len > 0) {
		size_t n = utf8_len(s, len);

		if (n == 0)
			return false;
		s += n;
		len -= n;
	}
	return true;
}

/* What changes the direction of the text after it, or ends its line: U+061C,
 * U+200E, U+200F, U+2028 to U+202E, U+2066 to U+2069 (UAX 9, 2).  It makes
 * words of others look like ours. */
static bool
is_direction(const unsigned char *s, size_t n)
{
	if (n == 2)
		return s[0] == 0xd8 && s[1] == 0x9c;
	if (n != 3 || s[0] != 0xe2)
		return false;
	return s[1] == 0x80 ? s[2] == 0x8e || s[2] == 0x8f ||
		(s[2] >= 0xa8 && s[2] <= 0xae) :
		s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9;
}

void
str_sanitise(char *out, size_t out_bytes, const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t used = 0;

	if (out_bytes == 0)
		return;
	while (len > 0) {
		size_t n = utf8_len(s, len);
		/* C0, DEL and C1 controls are never shown. */
		bool bad = n == 0 || s[0] < 32 || s[0] == 127 ||
			(n == 2 && s[0] == 0xc2 && s[1] < 0xa0) ||
			is_direction(s, n);

		if (n == 0)
			n = 1;
		if (used + (bad ? 1 : n) >= out_bytes)
			break;
		if (bad) {
			out[used++] = '?';
		} else {
			memcpy(out + used, s, n);
			used += n;
		}
		s += n;
		len -= n;
	}
	out[used] = '\0';
}

bool
str_is_enhanced_code(const char *text)
{
	const char *p = text;

	if (*p != '2' && *p != '4' && *p != '5')
		return false;
	p++;
	for (int part = 0; part < 2; part++) {
		int digits = 0;

		if (*p++ != '.')
			return false;
		for (; *p >= '0' && *p <= '9'; p++)
			digits++;
		if (digits < 1 || digits > 3)
			return false;
	}
	return *p == '\0';
}

static const char id_digits[] = "0123456789bcdfghjklmnpqrstvwxyz";
#define ID_BASE 31

void
str_id_format(uint64_t id, char out[STR_ID_MAX])
{
	for (int i = STR_ID_MAX - 2; i >= 0; i--) {
		out[i] = id_digits[id % ID_BASE];
		id /= ID_BASE;
	}
	out[STR_ID_MAX - 1] = '\0';
}

enum status
str_id_parse(const char *text, uint64_t *id_out)
{
	uint64_t id = 0;

	if (strlen(text) != STR_ID_MAX - 1)
		return ST_PARSE;
	for (; *text != '\0'; text++) {
		const char *d = memchr(id_digits, *text, ID_BASE);

		if (d == NULL ||
		    __builtin_mul_overflow(id, (uint64_t)ID_BASE, &id) ||
		    __builtin_add_overflow(id, (uint64_t)(d - id_digits), &id))
			return ST_PARSE;
	}
	*id_out = id;
	return ST_OK;
}

static const struct unit {
	const char *name;
	int64_t factor;
} duration_units[] = {
	{ "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 },
	{ "d", 86400000 }, { "w", 604800000 },
};

static const struct unit *
unit_at(const char *text)
{
	size_t len = 0;

	while (text[len] >= 'a' && text[len] <= 'z')
		len++;
	for (size_t i = 0; i < sizeof(duration_units) /
	    sizeof(duration_units[0]); i++)
		if (strlen(duration_units[i].name) == len &&
		    strncmp(text, duration_units[i].name, len) == 0)
			return &duration_units[i];
	return NULL;
}

enum status
str_duration_ms(const char *text, int64_t *ms_out)
{
	int64_t total = 0;

	if (*text == '\0')
		return ST_PARSE;
	while (*text != '\0') {
		const struct unit *unit;
		char *end;
		long long n;

		if (*text < '0' || *text > '9')
			return ST_PARSE;
		errno = 0;
		n = strtoll(text, &end, 10);
		unit = unit_at(end);
		if (errno != 0 || unit == NULL ||
		    n > INT64_MAX / unit->factor ||
		    n * unit->factor > INT64_MAX - total)
			return ST_PARSE;
		total += n * unit->factor;
		text = end + strlen(unit->name);
	}
	*ms_out = total;
	return ST_OK;
}

enum status
str_size(const char *text, uint64_t *bytes_out)
{
	unsigned shift = 0;
	unsigned long long n;
	char *end;

	if (*text < '0' || *text > '9')
		return ST_PARSE;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno != 0)
		return ST_PARSE;
	switch (*end) {
	case 'k': case 'K': shift = 10; break;
	case 'm': case 'M': shift = 20; break;
	case 'g': case 'G': shift = 30; break;
	case '\0': *bytes_out = n; return ST_OK;
	default: return ST_PARSE;
	}
	if (end[1] != '\0' || n > UINT64_MAX >> shift)
		return ST_PARSE;
	*bytes_out = (uint64_t)n << shift;
	return ST_OK;
}

int
str_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* RFC 3461 4: in xtext they are upper case. */
static int
xtext_digit(char c)
{
	return c >= 'a' ? -1 : str_hex_digit(c);
}

enum status
str_xtext_decode(const char *text, char *out, size_t out_bytes)
{
	size_t used = 0;

	for (; *text != '\0'; text++) {
		int value = (unsigned char)*text;

		if (value < 33 || value > 126 || value == '=')
			return ST_PARSE;
		if (value == '+') {
			int hi = xtext_digit(text[1]);
			int lo = hi < 0 ? -1 : xtext_digit(text[2]);

			if (lo < 0)
				return ST_PARSE;
			value = hi * 16 + lo;
			text += 2;
		}
		if (value == 0)
			return ST_PARSE;
		if (used + 1 >= out_bytes)
			return ST_LIMIT;
		out[used++] = (char)value;
	}
	if (out_bytes == 0)
		return ST_LIMIT;
	out[used] = '\0';
	return ST_OK;
}

enum status
str_xtext_encode(const char *text, char *out, size_t out_bytes)
{
	size_t used = 0;

	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;
		bool plain = c >= 33 && c <= 126 && c != '+' && c != '=';

		if (used + (plain ? 1 : 3) >= out_bytes)
			return ST_LIMIT;
		if (plain)
			out[used++] = (char)c;
		else
			used += (size_t)snprintf(out + used, 4, "+%02X", c);
	}
	if (out_bytes == 0)
		return ST_LIMIT;
	out[used] = '\0';
	return ST_OK;
}

void
str_date(int64_t unix_s, char out[40])
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t when = (time_t)unix_s;
	struct tm tm = { 0 };

	(void)gmtime_r(&when, &tm);
	(void)snprintf(out, 40, "%.3s, %d %.3s %lld %02d:%02d:%02d +0000",
		days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon,
		tm.tm_year + 1900LL, tm.tm_hour, tm.tm_min, tm.tm_sec);
}
