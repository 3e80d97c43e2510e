/*
 * The TLSRPT record (RFC 8460 3) and the URIs in it: mailto (RFC 6068) and
 * https (RFC 9110 4.2.2), within the characters of RFC 3986.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "policy/judge.h"
#include "policy/tlsrpt_record.h"
#include "policy/txt_fields.h"

#define RECORD_RFC "RFC 8460 3"
#define RECORD_VERSION "v=TLSRPTv1"
#define HTTPS_PORT 443

_Static_assert(TLSRPT_ERR_MAX == JUDGE_TEXT_MAX, "one size of sentences");

const char *
tlsrpt_finding_name(enum tlsrpt_finding finding)
{
	static const char *const names[] = {
		[TLSRPT_FINDING_NONE] = "none",
		[TLSRPT_FINDING_RECORD] = "record",
		[TLSRPT_FINDING_INVALID] = "invalid",
		[TLSRPT_FINDING_FAILED] = "failed",
	};

	if ((size_t)finding >= sizeof(names) / sizeof(names[0]))
		return "unknown";
	return names[finding];
}

bool
tlsrpt_record_is(const uint8_t *text, size_t len)
{
	return txt_fields_begin(text, len, RECORD_VERSION);
}

/* ---- URIs ---- */

struct parse {
	struct judge judge;
	struct tlsrpt_record *record;
	bool too_many;
};

/* Part of a URI, and the whole of it for sentences. */
struct uri {
	const char *text;	/* what follows the scheme's colon */
	size_t len;
	char shown[JUDGE_SHOW_MAX];
};

/* NULL, or what is wrong with the characters (RFC 3986 2). */
static const char *
uri_fault(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '!')
			return "has a \"!\", which must be written %21";
		if (c < 0x21 || c > 0x7e || strchr("\"<>\\^`{|}", c) != NULL)
			return "has a character that must be percent-encoded";
		if (c != '%')
			continue;
		if (len - i < 3 || str_hex_digit(text[i + 1]) < 0 ||
		    str_hex_digit(text[i + 2]) < 0)
			return "has a \"%\" without two hex digits";
		i += 2;
	}
	return NULL;
}

/* Owned; NULL when it holds an encoded NUL. */
static char *
percent_decode(const char *text, size_t len)
{
	char *out = xmalloc(len + 1);
	size_t used = 0;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (c == '%') {
			c = (char)(str_hex_digit(text[i + 1]) * 16 +
				str_hex_digit(text[i + 2]));
			i += 2;
		}
		if (c == '\0') {
			mem_free(&out);
			return NULL;
		}
		out[used++] = c;
	}
	out[used] = '\0';
	return out;
}

static enum status
take_mailto(const struct parse *p, const struct uri *uri,
	struct tlsrpt_rua *rua)
{
	const char *query = memchr(uri->text, '?', uri->len);
	const char *hash = memchr(uri->text, '#', uri->len);
	size_t len = uri->len, local;
	char domain[STR_DOMAIN_MAX];
	bool utf8;

	if (query != NULL)
		len = (size_t)(query - uri->text);
	if (hash != NULL && (size_t)(hash - uri->text) < len)
		len = (size_t)(hash - uri->text);
	rua->target = percent_decode(uri->text, len);
	if (rua->target == NULL || str_address(rua->target, &local, domain,
	    &utf8) != ST_OK)
		return judge_fail(&p->judge, "\"%s\" is not a mail address "
			"(RFC 6068 2)", uri->shown);
	/* Possible within quotes; nobody has one, many misread it. */
	if (strpbrk(rua->target, "<>") != NULL)
		return judge_fail(&p->judge, "\"%s\" has an angle bracket in "
			"its address, which nothing here can write (RFC 6068 "
			"2)", uri->shown);
	if (strncmp(rua->target, "//", 2) == 0)
		judge_note(&p->judge, "in \"%s\" the slashes are part of the "
			"address (RFC 6068 2)", uri->shown);
	if (len < uri->len)
		judge_note(&p->judge, "of \"%s\" only the address is used "
			"(RFC 8460 5.3)", uri->shown);
	return ST_OK;
}

/* Digits alone, 1 to 65535; nothing after the colon is the default. */
static bool
take_port(const char *text, size_t len, uint16_t *port_out)
{
	unsigned port = 0;

	if (len > 5)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		port = port * 10 + (unsigned)(text[i] - '0');
	}
	*port_out = len == 0 ? HTTPS_PORT : (uint16_t)port;
	return len == 0 || (port > 0 && port <= 65535);
}

/* The last label of a domain is never a number (RFC 3696 2): that would be an
 * address. */
static bool
is_address(const char *domain)
{
	const char *dot = strrchr(domain, '.');
	const char *last = dot == NULL ? domain : dot + 1;

	return strspn(last, "0123456789") == strlen(last);
}

/* NULL, or what is wrong with host and port. */
static const char *
take_authority(const char *text, size_t len, struct tlsrpt_rua *rua)
{
	const char *colon = memchr(text, ':', len);
	size_t host_len = colon == NULL ? len : (size_t)(colon - text);
	char host[STR_DOMAIN_MAX];
	char *written;
	enum status st;

	if (memchr(text, '@', len) != NULL)
		return "has a user name (RFC 9110 4.2.4)";
	if (len > 0 && text[0] == '[')
		return "names an address, not a host (RFC 8460 3)";
	rua->port = HTTPS_PORT;
	if (colon != NULL && !take_port(colon + 1, len - host_len - 1,
	    &rua->port))
		return "has a bad port (RFC 3986 3.2.3)";
	written = percent_decode(text, host_len);
	st = written == NULL ? ST_PARSE : str_domain(written, host);
	mem_free(&written);
	if (st != ST_OK)
		return "has no host name (RFC 9110 4.2.2)";
	if (is_address(host))
		return "names an address, not a host (RFC 8460 3)";
	rua->host = xstrdup(host);
	return NULL;
}

static enum status
take_https(const struct parse *p, const struct uri *uri,
	struct tlsrpt_rua *rua)
{
	const char *hash = memchr(uri->text, '#', uri->len);
	size_t len = hash == NULL ? uri->len : (size_t)(hash - uri->text);
	const char *fault = "has no \"//\" (RFC 9110 4.2.2)";
	size_t end = 2;

	if (len >= 2 && memcmp(uri->text, "//", 2) == 0) {
		while (end < len && strchr("/?", uri->text[end]) == NULL)
			end++;
		fault = take_authority(uri->text + 2, end - 2, rua);
	}
	if (fault != NULL)
		return judge_fail(&p->judge, "\"%s\" %s", uri->shown, fault);
	if (hash != NULL)
		judge_note(&p->judge, "the fragment of \"%s\" is not used "
			"(RFC 8460 5.4)", uri->shown);
	rua->target = xasprintf("https:%.*s", (int)len, uri->text);
	return ST_OK;
}

static const struct {
	const char *name;
	enum tlsrpt_kind kind;
	enum status (*take)(const struct parse *, const struct uri *,
		struct tlsrpt_rua *);
} schemes[] = {
	{ "mailto", TLSRPT_MAILTO, take_mailto },
	{ "https", TLSRPT_HTTPS, take_https },
};
#define SCHEMES (sizeof(schemes) / sizeof(schemes[0]))

/* RFC 3986 3.1: a letter, then letters, digits, "+", "-", "."; without regard
 * to case. */
static bool
scheme_of(const char *text, size_t len, char out[32])
{
	size_t i;

	for (i = 0; i < len && i < 31 && text[i] != ':'; i++) {
		char c = text[i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c + 32);
		if ((c < 'a' || c > 'z') && (i == 0 || ((c < '0' || c > '9') &&
		    c != '+' && c != '-' && c != '.')))
			return false;
		out[i] = c;
	}
	out[i] = '\0';
	return i > 0 && i < len && text[i] == ':';
}

static void
rua_clear(struct tlsrpt_rua *rua)
{
	mem_free(&rua->host);
	mem_free(&rua->target);
	mem_free(&rua->uri);
}

static void
keep(struct parse *p, const struct tlsrpt_rua *rua)
{
	struct tlsrpt_record *record = p->record;

	record->rua = xrealloc_n(record->rua, record->rua_count + 1,
		sizeof(record->rua[0]));
	record->rua[record->rua_count++] = *rua;
}

static enum status
take_known(struct parse *p, size_t scheme, const struct uri *uri,
	const char *whole, size_t len)
{
	struct tlsrpt_rua rua = { .kind = schemes[scheme].kind };
	enum status st = schemes[scheme].take(p, uri, &rua);

	if (st == ST_OK && p->record->rua_count >= TLSRPT_RUA_MAX) {
		if (!p->too_many)
			judge_note(&p->judge, "only the first %d places are "
				"used (%s)", TLSRPT_RUA_MAX, RECORD_RFC);
		p->too_many = true;
	} else if (st == ST_OK) {
		rua.uri = xstrndup(whole, len);
		keep(p, &rua);
		return ST_OK;
	}
	rua_clear(&rua);
	return st;
}

static enum status
take_uri(struct parse *p, const char *text, size_t len)
{
	struct uri uri = { text, len, "" };
	const char *fault = uri_fault(text, len);
	char scheme[32];

	(void)judge_show(uri.shown, text, len);
	if (len == 0)
		return judge_fail(&p->judge, "rua has an empty place (%s)",
			RECORD_RFC);
	if (fault != NULL)
		return judge_fail(&p->judge, "\"%s\" %s (%s)", uri.shown, fault,
			RECORD_RFC);
	if (!scheme_of(text, len, scheme))
		return judge_fail(&p->judge, "\"%s\" is not a URI, such as "
			"mailto:... (%s)", uri.shown, RECORD_RFC);
	uri.text += strlen(scheme) + 1;
	uri.len -= strlen(scheme) + 1;
	for (size_t i = 0; i < SCHEMES; i++)
		if (strcmp(scheme, schemes[i].name) == 0)
			return take_known(p, i, &uri, text, len);
	judge_note(&p->judge, "\"%s\" is ignored: reports go to mailto and "
		"https only (%s)", uri.shown, RECORD_RFC);
	return ST_OK;
}

/* ---- the record ---- */

static bool
is_wsp(char c)
{
	return c == ' ' || c == '\t';
}

/* tlsrpt-uri *(*WSP "," *WSP tlsrpt-uri) */
static enum status
take_rua(struct parse *p, const struct txt_field *field)
{
	const char *pos = field->value;
	const char *end = pos + field->value_len;
	enum status st;

	if (is_wsp(*pos))
		return judge_fail(&p->judge, "white space after \"rua=\" (%s)",
			RECORD_RFC);
	do {
		const char *comma = memchr(pos, ',', (size_t)(end - pos));
		const char *stop = comma == NULL ? end : comma;
		const char *next = comma == NULL ? NULL : comma + 1;

		while (pos < stop && is_wsp(*pos))
			pos++;
		while (stop > pos && is_wsp(stop[-1]))
			stop--;
		st = take_uri(p, pos, (size_t)(stop - pos));
		pos = next;
	} while (st == ST_OK && pos != NULL);
	return st;
}

static enum status
take_field(struct parse *p, const struct txt_field *field)
{
	if (txt_field_is(field, "rua"))
		return take_rua(p, field);
	if (!txt_value_plain(field))
		return judge_fail(&p->judge, "the value of \"%.*s\" has "
			"characters that are not permitted (%s)",
			(int)field->name_len, field->name, RECORD_RFC);
	judge_note(&p->judge, "unknown field \"%.*s\" is ignored (%s)",
		(int)field->name_len, field->name, RECORD_RFC);
	return ST_OK;
}

static enum status
take_fields(struct parse *p, const uint8_t *text, size_t len)
{
	struct txt_fields fields;
	struct txt_field field;
	bool seen = false;
	enum status st;

	txt_fields_init(&fields, text, len, RECORD_RFC);
	while ((st = txt_fields_next(&fields, &p->judge, &field)) == ST_OK) {
		seen = seen || txt_field_is(&field, "rua");
		st = take_field(p, &field);
		if (st != ST_OK)
			return st;
	}
	if (st != ST_EOF)
		return st;
	if (!seen)
		return judge_fail(&p->judge, "there is no rua (%s)",
			RECORD_RFC);
	if (p->record->rua_count == 0)
		return judge_fail(&p->judge, "rua names no place that reports "
			"can go to, mailto or https (%s)", RECORD_RFC);
	return ST_OK;
}

enum status
tlsrpt_record_judge(const uint8_t *text, size_t len,
	struct tlsrpt_record **out, char err[TLSRPT_ERR_MAX],
	tlsrpt_note_cb *note, void *arg)
{
	struct parse p = { .judge = { .err = err, .note = note, .arg = arg } };
	enum status st;

	*out = NULL;
	err[0] = '\0';
	if (len > TLSRPT_RECORD_MAX)
		return judge_fail(&p.judge, "longer than %d bytes (%s)",
			TLSRPT_RECORD_MAX, RECORD_RFC);
	if (!tlsrpt_record_is(text, len))
		return judge_fail(&p.judge, "does not begin with "
			"\"v=TLSRPTv1;\" (%s)", RECORD_RFC);
	p.record = xcalloc(1, sizeof(*p.record));
	st = take_fields(&p, text, len);
	if (st == ST_OK)
		*out = p.record;
	else
		tlsrpt_record_free(&p.record);
	return st;
}

enum status
tlsrpt_record_parse(const uint8_t *text, size_t len,
	struct tlsrpt_record **out, char err[TLSRPT_ERR_MAX])
{
	return tlsrpt_record_judge(text, len, out, err, NULL, NULL);
}

void
tlsrpt_record_free(struct tlsrpt_record **record)
{
	if (*record == NULL)
		return;
	for (size_t i = 0; i < (*record)->rua_count; i++)
		rua_clear(&(*record)->rua[i]);
	mem_free(&(*record)->rua);
	mem_free(record);
}

enum tlsrpt_finding
tlsrpt_record_read(const struct dns_answer *answer, struct tlsrpt_record **out,
	char err[TLSRPT_ERR_MAX])
{
	struct dns_bytes only = { NULL, 0 };
	const char *why;

	err[0] = '\0';
	*out = NULL;
	switch (txt_fields_pick(answer, RECORD_VERSION, &only)) {
	case TXT_PICK_NONE:
		return TLSRPT_FINDING_NONE;
	case TXT_PICK_ONE:
		return tlsrpt_record_parse(only.data, only.len, out, err) ==
			ST_OK ? TLSRPT_FINDING_RECORD : TLSRPT_FINDING_INVALID;
	case TXT_PICK_SEVERAL:
		(void)str_copy(err, TLSRPT_ERR_MAX, "more than one record "
			"begins with \"v=TLSRPTv1;\" (" RECORD_RFC ")");
		return TLSRPT_FINDING_INVALID;
	case TXT_PICK_FAILED:
		break;
	}
	why = answer->why != NULL ? answer->why :
		"no usable answer from the DNS";
	str_sanitise(err, TLSRPT_ERR_MAX, why, strlen(why));
	return TLSRPT_FINDING_FAILED;
}
