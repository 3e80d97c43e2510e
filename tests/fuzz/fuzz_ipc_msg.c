/*
 * Payloads from another process.  The first byte says which; what is decoded
 * is encoded and decoded again, and must then stay as it is.
 */
#include "config.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "smtpd-out/ipc/ipc_limits.h"
#include "smtpd-out/ipc/ipc_msg.h"
#include "smtpd-out/ipc/ipc_report.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool fact)
{
	if (!fact)
		abort();
}

/* Each decodes from r and, when that works, encodes to out. */
static bool
submit(struct reader *r, struct buf *out)
{
	struct msg_submit msg;

	if (msg_submit_decode(r, &msg) != ST_OK)
		return false;
	must(msg.env->rcpt_count > 0);
	must(msg_submit_encode(&msg, out) == ST_OK);
	envelope_free(&msg.env);
	return true;
}

static bool
rejected(struct reader *r, struct buf *out)
{
	struct msg_rejected msg;

	if (msg_rejected_decode(r, &msg) != ST_OK)
		return false;
	must(strpbrk(msg.text, "\r\n") == NULL);
	must(msg_rejected_encode(&msg, out) == ST_OK);
	return true;
}

static bool
job(struct reader *r, struct buf *out)
{
	struct msg_job msg;

	if (msg_job_decode(r, &msg) != ST_OK)
		return false;
	must(msg.env->rcpt_count > 0 && msg.destination != NULL);
	must(msg_job_encode(&msg, out) == ST_OK);
	msg_job_clear(&msg);
	return true;
}

static bool
result(struct reader *r, struct buf *out)
{
	struct msg_result msg;

	if (msg_result_decode(r, &msg) != ST_OK)
		return false;
	for (size_t i = 0; i < msg.rcpt_count; i++) {
		const struct msg_rcpt_result *one = &msg.rcpts[i];

		must(one->outcome.verdict != VERDICT_NONE);
		must(str_is_enhanced_code(one->outcome.enhanced));
		must(strpbrk(one->outcome.text, "\r\n") == NULL);
		must(strpbrk(one->mx, "\r\n") == NULL);
	}
	must(msg_result_encode(&msg, out) == ST_OK);
	msg_result_clear(&msg);
	return true;
}

static bool
sts(struct reader *r, struct buf *out)
{
	struct msg_sts msg;

	if (msg_sts_decode(r, &msg) != ST_OK)
		return false;
	must(msg.domain[0] != '\0' && strpbrk(msg.error, "\r\n") == NULL);
	must(msg.text == NULL || msg.text_len <= MSG_STS_TEXT_MAX);
	must(msg_sts_encode(&msg, out) == ST_OK);
	msg_sts_clear(&msg);
	return true;
}

static bool
hold(struct reader *r, struct buf *out)
{
	struct msg_dest_hold msg;

	if (msg_dest_hold_decode(r, &msg) != ST_OK)
		return false;
	must(msg.destination[0] != '\0' && msg.until_s >= 0);
	must(msg_dest_hold_encode(&msg, out) == ST_OK);
	return true;
}

static bool
limits(struct reader *r, struct buf *out)
{
	struct msg_limits msg;

	if (msg_limits_decode(r, &msg) != ST_OK)
		return false;
	must(msg.count <= MSG_LIMITS_MAX && msg.workers > 0);
	must(msg_limits_encode(&msg, out) == ST_OK);
	msg_limits_clear(&msg);
	return true;
}

static bool
tlsrpt(struct reader *r, struct buf *out)
{
	struct msg_tlsrpt msg;

	if (msg_tlsrpt_decode(r, &msg) != ST_OK)
		return false;
	for (size_t i = 0; i < msg.count; i++)
		must(str_is_domain(msg.events[i].domain));
	must(msg_tlsrpt_encode(&msg, out) == ST_OK);
	msg_tlsrpt_clear(&msg);
	return true;
}

static bool
report(struct reader *r, struct buf *out)
{
	struct msg_report msg;

	if (msg_report_decode(r, &msg) != ST_OK)
		return false;
	must(str_is_domain(msg.domain) && strpbrk(msg.text, "\r\n") == NULL);
	for (size_t i = 0; i < msg.target_count; i++)
		must(strpbrk(msg.targets[i].text, "\r\n<>") == NULL ||
			msg.targets[i].kind == TLSRPT_HTTPS);
	must(msg_report_encode(&msg, out) == ST_OK);
	msg_report_clear(&msg);
	return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool (*const kinds[])(struct reader *, struct buf *) = {
		submit, rejected, job, result, sts, hold,
		limits, tlsrpt, report };
	bool (*kind)(struct reader *, struct buf *);
	struct buf once, twice;
	struct reader r;

	if (size == 0)
		return 0;
	kind = kinds[data[0] % 9];
	buf_init(&once, IPC_PAYLOAD_MAX);
	buf_init(&twice, IPC_PAYLOAD_MAX);
	reader_init(&r, data + 1, size - 1);
	if (kind(&r, &once)) {
		reader_init(&r, buf_data(&once), once.len);
		must(kind(&r, &twice));
		must(once.len == twice.len && memcmp(buf_data(&once),
			buf_data(&twice), once.len) == 0);
	}
	buf_clear(&once);
	buf_clear(&twice);
	return 0;
}
