/*
 * TLSRPT records: what is accepted keeps the promises of tlsrpt_record.h.
 */
#include "config.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "policy/tlsrpt_record.h"

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
	must(line == 0 && strstr(sentence, "(RFC ") != NULL);
	must(str_is_utf8(sentence, strlen(sentence)));
}

static void
accepted(const struct tlsrpt_record *record)
{
	must(record->rua_count > 0 && record->rua_count <= TLSRPT_RUA_MAX);
	for (size_t i = 0; i < record->rua_count; i++) {
		const struct tlsrpt_rua *rua = &record->rua[i];
		char domain[STR_DOMAIN_MAX];
		size_t local;
		bool utf8;

		must(strpbrk(rua->uri, ",!; \t\r\n") == NULL);
		if (rua->kind == TLSRPT_MAILTO) {
			must(str_address(rua->target, &local, domain, &utf8) ==
				ST_OK);
			must(rua->host == NULL && rua->port == 0);
			continue;
		}
		must(strncmp(rua->target, "https://", 8) == 0);
		must(strchr(rua->target, '#') == NULL);
		must(str_is_domain(rua->host) && rua->port > 0);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tlsrpt_record *record, *judged;
	char err[TLSRPT_ERR_MAX], again[TLSRPT_ERR_MAX];
	enum status st = tlsrpt_record_parse(data, size, &record, err);

	must(st == tlsrpt_record_judge(data, size, &judged, again, on_note,
		NULL));
	must(strcmp(err, again) == 0 && (st == ST_OK) == (err[0] == '\0'));
	must((st == ST_OK) == (record != NULL));
	must((st == ST_OK) == (judged != NULL));
	must(st == ST_OK || strstr(err, "(RFC ") != NULL);
	if (st == ST_OK)
		accepted(record);
	tlsrpt_record_free(&record);
	tlsrpt_record_free(&judged);
	return 0;
}
