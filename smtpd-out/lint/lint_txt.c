/*
 * TXT records of a command line: bare text is taken as it is; text that begins
 * with a quote is read as a zone file has it (RFC 1035 5.1): quoted strings of
 * at most 255 octets, joined as RFC 8461 3.1 and RFC 8460 3 want.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "smtpd-out/lint/lint_txt.h"

#define STRING_MAX 255

/* One octet, perhaps escaped as \. or \046; 0 when the escape is malformed. */
static size_t
take_octet(const char *text, uint8_t *out)
{
	unsigned value = 0;

	*out = (uint8_t)text[0];
	if (text[0] != '\\')
		return 1;
	*out = (uint8_t)text[1];
	if (text[1] < '0' || text[1] > '9')
		return text[1] == '\0' ? 0 : 2;
	for (int i = 1; i <= 3; i++) {
		if (text[i] < '0' || text[i] > '9')
			return 0;
		value = value * 10 + (unsigned)(text[i] - '0');
	}
	*out = (uint8_t)value;
	return value > 255 ? 0 : 4;
}

/* A quoted string; what follows it, or NULL. */
static const char *
take_string(struct lint *l, const char *text, uint8_t *out, size_t *len)
{
	size_t begin = *len, used;

	for (text++; *text != '"'; text += used) {
		used = *text == '\0' ? 0 : take_octet(text, &out[*len]);
		if (used == 0) {
			lint_error(l, "a quoted string has no end, or a bad "
				"escape (RFC 1035 5.1)");
			return NULL;
		}
		++*len;
	}
	if (*len - begin > STRING_MAX)
		lint_error(l, "a string of %zu octets: at most %d are "
			"possible, split it (RFC 1035 3.3)", *len - begin,
			STRING_MAX);
	return text + 1;
}

static size_t
take_quoted(struct lint *l, const char *text, uint8_t *out)
{
	size_t len = 0;

	while (text != NULL && *text != '\0') {
		if (*text == '"') {
			text = take_string(l, text, out, &len);
		} else if (*text == ' ' || *text == '\t') {
			text++;
		} else {
			lint_error(l, "\"%.40s\" is outside of the quotes "
				"(RFC 1035 5.1)", text);
			break;
		}
	}
	return len;
}

static size_t
take_text(struct lint *l, const char *text, uint8_t *out)
{
	size_t len = strlen(text);

	if (text[0] == '"')
		return take_quoted(l, text, out);
	memcpy(out, text, len);
	if (len > STRING_MAX)
		lint_warn(l, "%zu octets: split it into strings of at most "
			"%d, which are joined without a space (RFC 1035 3.3)",
			len, STRING_MAX);
	return len;
}

void
lint_txt_init(struct lint_txt *t, struct lint *l, char *const *txt,
	size_t count)
{
	memset(t, 0, sizeof(*t));
	t->answer.type = DNS_TYPE_TXT;
	t->answer.result = DNS_FOUND;
	t->answer.chain_security = DNS_SEC_UNKNOWN;
	t->answer.records = xcalloc(count + 1, sizeof(struct dns_record));
	t->answer.count = count;
	t->data = xcalloc(count + 1, sizeof(t->data[0]));
	for (size_t i = 0; i < count; i++) {
		struct dns_bytes *bytes = &t->answer.records[i].u.txt;

		t->data[i] = xmalloc(strlen(txt[i]) + 1);
		bytes->len = take_text(l, txt[i], t->data[i]);
		bytes->data = t->data[i];
	}
}

void
lint_txt_clear(struct lint_txt *t)
{
	for (size_t i = 0; i < t->answer.count; i++)
		mem_free(&t->data[i]);
	mem_free(&t->data);
	mem_free(&t->answer.records);
}
