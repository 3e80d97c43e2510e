/*
 * lint of TLSA records for SMTP (RFC 7672 3.1): each is judged by the code
 * that delivery uses, then the choice of parameters.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/str.h"
#include "policy/dane.h"
#include "smtpd-out/lint/lint.h"

#define FIELD_SPACE " \t\r\n()"
#define RDATA_MAX 65535

/* One record as typed: an owner, class and type may stand before it. */
struct rdata {
	struct dns_tlsa tlsa;
	uint8_t *data;
};

static const struct {
	const char *section;
	const char *more;
} faults[] = {
	[DANE_USABLE] = { "", "" },
	[DANE_USAGE_PKIX] = { "RFC 7672 3.1.3",
		": senders treat such a record as unusable" },
	[DANE_USAGE_UNKNOWN] = { "RFC 6698 2.1.1", "" },
	[DANE_SELECTOR_UNKNOWN] = { "RFC 6698 2.1.2", "" },
	[DANE_MATCHING_UNKNOWN] = { "RFC 6698 2.1.3", "" },
	[DANE_LENGTH] = { "RFC 6698 2.1.4",
		": 32 octets for matching 1, 64 for matching 2" },
	[DANE_DATA] = { "RFC 6698 2.1.4", "" },
};

/* ---- reading ---- */

static const char *
skip_space(const char *text)
{
	return text + strspn(text, FIELD_SPACE);
}

/* Past "_25._tcp.mx.example. 3600 IN TLSA", when it is there. */
static const char *
skip_owner(const char *text)
{
	const char *pos = skip_space(text);

	for (int word = 0; word < 4 && *pos != '\0'; word++) {
		size_t len = strcspn(pos, FIELD_SPACE);

		if (len == 4 && strncasecmp(pos, "TLSA", 4) == 0)
			return pos + len;
		pos = skip_space(pos + len);
	}
	return text;
}

static bool
take_number(const char **pos, uint8_t *out)
{
	const char *digits = skip_space(*pos);
	size_t len = strspn(digits, "0123456789");
	unsigned value = 0;

	if (len < 1 || len > 3 || (digits[len] != '\0' &&
	    strchr(FIELD_SPACE, digits[len]) == NULL))
		return false;
	for (size_t i = 0; i < len; i++)
		value = value * 10 + (unsigned)(digits[i] - '0');
	*pos = digits + len;
	*out = (uint8_t)value;
	return value <= 255;
}

/* Spaces may stand anywhere in it (RFC 6698 2.2).  NULL, or the fault. */
static const char *
take_hex(const char *text, struct rdata *out)
{
	size_t digits = 0;

	out->data = xcalloc(strlen(text) / 2 + 1, 1);
	for (; *text != '\0'; text++) {
		int value = str_hex_digit(*text);

		if (strchr(FIELD_SPACE, *text) != NULL)
			continue;
		if (value < 0)
			return "has something in its data that is not hex";
		out->data[digits / 2] = (uint8_t)(out->data[digits / 2] * 16 +
			value);
		digits++;
	}
	if (digits % 2 != 0)
		return "has an odd number of hex digits";
	if (digits == 0)
		return "has no data";
	if (digits / 2 + 3 > RDATA_MAX)
		return "is longer than a record can be";
	out->tlsa.data = out->data;
	out->tlsa.len = digits / 2;
	return NULL;
}

static const char *
parse(const char *text, struct rdata *out)
{
	const char *pos = skip_owner(text);

	memset(out, 0, sizeof(*out));
	if (!take_number(&pos, &out->tlsa.usage) ||
	    !take_number(&pos, &out->tlsa.selector) ||
	    !take_number(&pos, &out->tlsa.matching))
		return "does not begin with three numbers up to 255: usage, "
			"selector, matching type";
	return take_hex(pos, out);
}

/* ---- judging ---- */

static void
set_record(struct lint *l, const struct rdata *r, enum dane_fault fault)
{
	json_t *list = json_object_get(l->values, "records");
	char *hex = xmalloc(r->tlsa.len * 2 + 1);

	for (size_t i = 0; i < r->tlsa.len; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", r->data[i]);
	(void)json_array_append_new(list, json_pack("{si si si ss sb}",
		"usage", (int)r->tlsa.usage,
		"selector", (int)r->tlsa.selector,
		"matching", (int)r->tlsa.matching,
		"data", r->tlsa.len > 0 ? hex : "",
		"usable", fault == DANE_USABLE));
	free(hex);
}

static void
advise_form(struct lint *l, size_t number, const struct dns_tlsa *t)
{
	if (t->usage == 2)
		lint_warn(l, "record %zu: with usage 2 the server must send "
			"the trust anchor's certificate in its chain, and its "
			"own must have the host's name (RFC 7672 3.1.2)",
			number);
	if (t->usage == 2 && t->selector == 1)
		lint_warn(l, "record %zu: for a trust anchor selector 0 is "
			"better, as what its certificate restricts then counts "
			"(RFC 7671 5.2.1)", number);
	if (t->usage == 3 && t->selector == 0)
		lint_warn(l, "record %zu: selector 0 changes whenever the "
			"certificate is renewed; 3 1 1 stays with the key "
			"(RFC 7672 3.1.1)", number);
	if (t->matching == 0)
		lint_warn(l, "record %zu: matching type 0 makes large answers "
			"for nothing; 1 is advised (RFC 7672 3.1)", number);
}

/* Digest agility (RFC 7671 9): where both digests are used with a usage and
 * selector, only the stronger ones may be looked at. */
static void
advise_digests(struct lint *l, const struct rdata *all, size_t count)
{
	size_t digests[4][2][3] = { 0 };

	for (size_t i = 0; i < count; i++)
		if (dane_judge(&all[i].tlsa) == DANE_USABLE)
			digests[all[i].tlsa.usage][all[i].tlsa.selector]
				[all[i].tlsa.matching]++;
	for (int usage = 2; usage <= 3; usage++)
		for (int selector = 0; selector <= 1; selector++) {
			const size_t *n = digests[usage][selector];

			if (n[2] > 0 && n[1] == 0)
				lint_warn(l, "%d %d 2 alone: not every sender "
					"knows SHA2-512; publish %d %d 1 for "
					"the same object (RFC 7672 3.1.1)",
					usage, selector, usage, selector);
			else if (n[2] > 0 && n[1] != n[2])
				lint_warn(l, "%d %d 1 and %d %d 2 must cover "
					"the same objects: senders look at the "
					"stronger ones alone (RFC 7671 9)",
					usage, selector, usage, selector);
		}
}

static bool
same(const struct dns_tlsa *a, const struct dns_tlsa *b)
{
	return a->usage == b->usage && a->selector == b->selector &&
		a->matching == b->matching && a->len == b->len &&
		(a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static void
judge_one(struct lint *l, const char *text, struct rdata *all, size_t i)
{
	const char *wrong = parse(text, &all[i]);
	enum dane_fault fault;

	if (wrong != NULL) {
		lint_error(l, "record %zu %s (RFC 6698 2.2)", i + 1, wrong);
		/* Of no known usage, so that nothing below takes it up. */
		all[i].tlsa.usage = 255;
		all[i].tlsa.len = 0;
		return;
	}
	fault = dane_judge(&all[i].tlsa);
	set_record(l, &all[i], fault);
	if (fault != DANE_USABLE)
		lint_error(l, "record %zu: %s%s (%s)", i + 1,
			dane_fault_text(fault), faults[fault].more,
			faults[fault].section);
	else
		advise_form(l, i + 1, &all[i].tlsa);
	for (size_t before = 0; before < i; before++)
		if (same(&all[before].tlsa, &all[i].tlsa)) {
			lint_warn(l, "record %zu is record %zu once more (RFC "
				"2181 5)", i + 1, before + 1);
			break;
		}
}

/* usage, selector, matching type and data, or more words */
static bool
is_whole(const char *text)
{
	const char *pos = skip_space(text);
	int words = 0;

	for (; *pos != '\0'; words++)
		pos = skip_space(pos + strcspn(pos, FIELD_SPACE));
	return words >= 4;
}

static char *
joined(char *const *words, size_t count)
{
	char *all = xstrdup("");

	for (size_t i = 0; i < count; i++) {
		char *more = xasprintf("%s %s", all, words[i]);

		free(all);
		all = more;
	}
	return all;
}

void
lint_tlsa(struct lint *l, char *const *rdata, size_t count)
{
	char *one = joined(rdata, count);
	struct rdata *all;
	bool whole = true;

	for (size_t i = 0; i < count; i++)
		whole = whole && is_whole(rdata[i]);
	if (!whole) {
		rdata = &one;
		count = 1;
	}
	all = xcalloc(count + 1, sizeof(all[0]));
	(void)json_object_set_new(l->values, "records", json_array());
	for (size_t i = 0; i < count; i++)
		judge_one(l, rdata[i], all, i);
	advise_digests(l, all, count);
	for (size_t i = 0; i < count; i++)
		mem_free(&all[i].data);
	free(all);
	free(one);
}
