/*
 * Text helpers: what they accept keeps its promises, and applying them twice
 * is applying them once.
 */
#include "config.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool fact)
{
	if (!fact)
		abort();
}

static void
names(const char *text)
{
	char domain[STR_DOMAIN_MAX], again[STR_DOMAIN_MAX];
	size_t local;
	bool utf8;

	if (str_domain(text, domain) == ST_OK) {
		must(str_is_domain(domain));
		must(str_domain(domain, again) == ST_OK);
		must(strcmp(domain, again) == 0);
	}
	must(!str_is_domain(text) || str_domain(text, domain) == ST_OK);
	if (str_address(text, &local, domain, &utf8) != ST_OK)
		return;
	must(text[local] == '@' && local >= 1 && local <= 64);
	must(domain[0] == '[' || str_is_domain(domain));
	must(utf8 == !str_is_ascii(text));
	must(strpbrk(text, "\r\n") == NULL);
}

static void
sanitised(const uint8_t *data, size_t size)
{
	char out[100], again[100];

	for (size_t room = 1; room <= sizeof(out); room += 33) {
		str_sanitise(out, room, (const char *)data, size);
		must(strlen(out) < room);
		must(str_is_utf8(out, strlen(out)));
		str_sanitise(again, sizeof(again), out, strlen(out));
		must(strcmp(out, again) == 0);
	}
}

static void
numbers(const char *text)
{
	char out[1024], back[1024], id_text[STR_ID_MAX];
	uint64_t bytes, id;
	int64_t ms;

	if (str_id_parse(text, &id) == ST_OK) {
		str_id_format(id, id_text);
		must(strcmp(text, id_text) == 0);
	}
	if (str_duration_ms(text, &ms) == ST_OK)
		must(ms >= 0);
	(void)!str_size(text, &bytes);
	(void)str_is_enhanced_code(text);
	if (str_xtext_encode(text, out, sizeof(out)) == ST_OK) {
		must(str_xtext_decode(out, back, sizeof(back)) == ST_OK);
		must(strcmp(text, back) == 0);
	}
	(void)!str_xtext_decode(text, out, sizeof(out));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = xstrndup((const char *)data, size);

	names(text);
	numbers(text);
	sanitised(data, size);
	free(text);
	return 0;
}
