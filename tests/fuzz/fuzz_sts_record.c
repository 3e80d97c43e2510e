/*
 * MTA-STS records, and patterns against hosts: what is accepted keeps the
 * promises of sts.h.
 */
#include "config.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "policy/sts.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool fact)
{
	if (!fact)
		abort();
}

static void
on_note(unsigned line, const char *sentence, void *arg)
{
	(void)arg;
	must(line == 0 && strstr(sentence, "(RFC 8461 ") != NULL);
	must(str_is_utf8(sentence, strlen(sentence)));
}

/* A host fits a pattern only as written or after its first dot. */
static void
match(const char *text)
{
	char host[STR_DOMAIN_MAX];
	char *pattern = xasprintf("*.%s", text);

	must(!sts_match(pattern, text));
	free(pattern);
	if (str_domain(text, host) == ST_OK && sts_match(text, text))
		must(sts_match(host, host) && sts_match(text, host));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sts_record record, judged;
	char err[STS_ERR_MAX], again[STS_ERR_MAX];
	enum status st = sts_record_parse(data, size, &record, err);
	char *text;

	must(st == sts_record_judge(data, size, &judged, again, on_note, NULL));
	must(strcmp(record.id, judged.id) == 0 && strcmp(err, again) == 0);
	must((st == ST_OK) == (record.id[0] != '\0'));
	must((st == ST_OK) == (err[0] == '\0'));
	must(st != ST_OK || sts_record_is(data, size));
	must(strspn(record.id, "abcdefghijklmnopqrstuvwxyz0123456789"
		"ABCDEFGHIJKLMNOPQRSTUVWXYZ") == strlen(record.id));
	must(st == ST_OK || strstr(err, "(RFC 8461 ") != NULL);
	text = xstrndup((const char *)data, size);
	match(text);
	free(text);
	return 0;
}
