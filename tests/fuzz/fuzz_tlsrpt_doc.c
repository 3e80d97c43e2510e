/*
 * TLSRPT documents, plain or in gzip: bounded, and what is read can be written
 * and read again.
 */
#include "config.h"

#include <stdbool.h>
#include <stdlib.h>

#include "policy/tlsrpt_doc.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool fact)
{
	if (!fact)
		abort();
}

static void
check(const void *text, size_t len)
{
	struct tlsrpt_report report, again;
	char err[TLSRPT_ERR_MAX];
	struct buf out;

	if (tlsrpt_doc_parse(text, len, &report, err) != ST_OK) {
		must(report.results == NULL && err[0] != '\0');
		return;
	}
	must(report.result_count <= TLSRPT_DOC_RESULTS_MAX);
	buf_init(&out, 16 * TLSRPT_DOC_MAX);
	must(tlsrpt_doc_format(&report, &out) == ST_OK);
	if (out.len <= TLSRPT_DOC_MAX) {
		must(tlsrpt_doc_parse(buf_data(&out), out.len, &again, err) ==
			ST_OK);
		must(again.result_count == report.result_count);
		tlsrpt_report_clear(&again);
	}
	buf_clear(&out);
	tlsrpt_report_clear(&report);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct buf out;

	if (!tlsrpt_is_gzip(data, len)) {
		check(data, len);
		return 0;
	}
	buf_init(&out, TLSRPT_DOC_MAX);
	if (tlsrpt_gunzip(data, len, &out) == ST_OK)
		check(buf_data(&out), out.len);
	must(out.len <= TLSRPT_DOC_MAX);
	buf_clear(&out);
	return 0;
}
