/*
 * Text helpers: domains, sanitising, ids, durations.  Pure functions.
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define STR_DOMAIN_MAX 254	/* 253 octets (RFC 1035) and the NUL */
#define STR_ID_MAX 14		/* text of a 64-bit id and the NUL */

/*
 * Puts a domain into the one form used inside this program: lower-case
 * A-labels, no trailing dot (IDNA2008 non-transitional, RFC 5891).  Host-name
 * syntax plus underscore is accepted (labels 1-63 of letters, digits, hyphen,
 * underscore).  ST_PARSE when it is not a domain name.
 */
enum status str_domain(const char *text, char out[STR_DOMAIN_MAX]) MUST_CHECK;
/* True when text already has that form. */
bool str_is_domain(const char *text);

/*
 * Splits an address "local@domain" at its last unquoted '@'.  domain_out gets
 * the normalised domain, or the literal "[...]" in lower case for an address
 * literal (RFC 5321 4.1.3).  local_len_out is the length of the local part.
 * ST_PARSE on an empty, over-long (RFC 5321 4.5.3.1) or malformed address,
 * incl. any control character or unquoted space.  *utf8_out tells whether the
 * local part or the written domain has non-ASCII bytes (needs SMTPUTF8,
 * RFC 6531); malformed UTF-8 is ST_PARSE.
 */
enum status str_address(const char *text, size_t *local_len_out,
	char domain_out[STR_DOMAIN_MAX], bool *utf8_out) MUST_CHECK;

/*
 * Copies remote text for logs, bounces and replies: CR, LF, other control
 * characters, and bytes that are not UTF-8 become '?', the result is cut at
 * a character border to fit and always ends in NUL.
 */
void str_sanitise(char *out, size_t out_bytes, const char *text, size_t len);

bool str_is_utf8(const char *text, size_t len);
bool str_is_ascii(const char *text);
/* How many octets come before the first CR, LF or NUL. */
size_t str_text_run(const uint8_t *bytes, size_t len);

/* "x.y.z" of RFC 3463: class 2, 4 or 5, subject and detail 1-3 digits. */
bool str_is_enhanced_code(const char *text);

/* Queue ids in text: base 31 (no vowels: no words); fixed order, so
 * text order is number order.  Parse refuses anything else. */
void str_id_format(uint64_t id, char out[STR_ID_MAX]);
enum status str_id_parse(const char *text, uint64_t *id_out) MUST_CHECK;

/* "90s" "5m" "1h" "5d" "250ms" or combinations like "1h30m"; ST_PARSE else. */
enum status str_duration_ms(const char *text, int64_t *ms_out) MUST_CHECK;
/* "10485760", "512K", "50M", "1G" (binary multiples). */
enum status str_size(const char *text, uint64_t *bytes_out) MUST_CHECK;

/* Copies with cut; returns false when it had to cut. */
bool str_copy(char *out, size_t out_bytes, const char *text);

/* 0 to 15 of either case, or -1. */
int str_hex_digit(char);

/* RFC 3461 section 4 xtext.  Decode is ST_PARSE on bad form; encode cuts
 * nothing: ST_LIMIT when out is too small. */
enum status str_xtext_decode(const char *text, char *out, size_t out_bytes)
	MUST_CHECK;
enum status str_xtext_encode(const char *text, char *out, size_t out_bytes)
	MUST_CHECK;

/* RFC 5322 date ("Sat, 21 Nov 2026 07:40:11 +0000"), always UTC. */
void str_date(int64_t unix_s, char out[40]);

#endif
