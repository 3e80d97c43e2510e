/*
 * A mail that may hold a report: the walk ends, and what it finds is within the
 * message.  Also the wire form of TLSRPT records, which a worker sends.
 */
#include "config.h"

#include <stdbool.h>
#include <stdlib.h>

#include "policy/tlsrpt_doc.h"
#include "smtpd-out/report/report_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool fact)
{
	if (!fact)
		abort();
}

static void
check_wire(const uint8_t *data, size_t len)
{
	struct tlsrpt_report report;
	struct tlsrpt_event event;
	struct reader in;
	struct buf out;

	reader_init(&in, data, len);
	if (tlsrpt_event_decode(&in, &event) == ST_OK) {
		buf_init(&out, 16 << 20);
		must(tlsrpt_event_encode(&event, &out) == ST_OK);
		must(out.len == len - in.left);
		buf_clear(&out);
		tlsrpt_event_clear(&event);
	}
	reader_init(&in, data, len);
	if (tlsrpt_report_decode(&in, &report) == ST_OK) {
		buf_init(&out, 64 << 20);
		must(tlsrpt_report_encode(&report, &out) == ST_OK);
		buf_clear(&out);
		tlsrpt_report_clear(&report);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct report_received one;
	char err[TLSRPT_ERR_MAX];

	if (report_read_bytes(data, len, &one, err) == ST_OK)
		must(one.report.domain != NULL);
	else
		must(err[0] != '\0');
	report_received_clear(&one);
	check_wire(data, len);
	return 0;
}
