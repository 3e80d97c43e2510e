/*
 * A report as it leaves: from the totals of a row, in the names that the
 * configuration gives us.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "policy/tlsrpt_doc.h"
#include "smtpd-out/mail/dkim.h"
#include "smtpd-out/mail/report_mail.h"
#include "smtpd-out/queue/queue_int.h"
#include "smtpd-out/queue/queue_report_int.h"

#define MAIL_MAX (4U << 20)
#define SIGNATURE_MAX 8192

bool
report_make(const struct queue *q, const struct spool_report *row,
	struct report_made *out)
{
	const struct conf_tlsrpt *conf = &q->conf->tlsrpt;
	struct tlsrpt_report *r = &out->report;

	if (!report_totals(row, r))
		return false;
	if (spool_report_range(q->spool, row, &r->start_s, &r->end_s) !=
	    ST_OK) {
		tlsrpt_report_clear(r);
		return false;
	}
	out->part = row->part;
	free(r->organization);
	free(r->contact);
	free(r->id);
	r->organization = xstrdup(conf->organization);
	r->contact = xstrdup(conf->contact);
	/* Several hosts of ours may report for one domain, each its own. */
	r->id = tlsrpt_doc_id(row->domain, row->day_s, row->part,
		q->conf->hostname);
	return true;
}

bool
queue_report_encode(const struct queue *q, const struct spool_report *row,
	struct buf *out)
{
	struct report_made made = { .part = 0 };
	bool ok = report_make(q, row, &made) &&
		tlsrpt_report_encode(&made.report, out) == ST_OK;

	report_made_clear(&made);
	return ok;
}

void
report_made_clear(struct report_made *made)
{
	tlsrpt_report_clear(&made->report);
}

enum status
report_make_gzip(const struct report_made *made, struct buf *out)
{
	struct buf json;
	enum status st;

	buf_init(&json, TLSRPT_DOC_MAX);
	st = tlsrpt_doc_format(&made->report, &json);
	if (st == ST_OK)
		st = tlsrpt_gzip(buf_data(&json), json.len, out);
	buf_clear(&json);
	return st;
}

static bool
is_8bit(const struct buf *text)
{
	const uint8_t *bytes = buf_data(text);

	for (size_t i = 0; i < text->len; i++)
		if (bytes[i] > 127)
			return true;
	return false;
}

/* Nobody is told when it cannot be delivered (RFC 8460 section 3: reports are
 * not reported on); it asks for delivery whatever the state of TLS. */
static struct envelope *
make_envelope(const struct queue *q, const char *const *to, size_t count)
{
	struct envelope *env = envelope_new(q->conf->tlsrpt.from);

	env->flags = ENVELOPE_TLS_OPTIONAL | ENVELOPE_REPORT;
	env->origin = xstrdup("tls-report");
	env->received_ms = clock_wall_ms();
	for (size_t i = 0; i < count; i++) {
		char domain[STR_DOMAIN_MAX];
		size_t local;
		bool utf8;

		if (str_address(to[i], &local, domain, &utf8) != ST_OK)
			continue;
		envelope_add_rcpt(env, to[i], domain)->notify = NOTIFY_NEVER;
		if (utf8)
			env->flags |= ENVELOPE_SMTPUTF8;
	}
	if (env->rcpt_count == 0)
		envelope_free(&env);
	return env;
}

struct envelope *
report_make_mail(const struct queue *q, const struct report_made *made,
	const char *const *to, size_t to_count, struct buf *out, char *err,
	size_t err_bytes)
{
	const struct report_mail in = {
		.report = &made->report,
		.submitter = q->conf->tlsrpt.domain,
		.from = q->conf->tlsrpt.from,
		.to = to,
		.to_count = to_count,
		.part = made->part,
		.now_s = clock_wall_s(),
	};
	char why[DKIM_ERR_MAX] = "it cannot be written as mail";
	struct envelope *env = NULL;

	buf_init(out, MAIL_MAX - SIGNATURE_MAX);
	if (report_mail_format(&in, out) == ST_OK) {
		out->max_bytes = MAIL_MAX;
		if (dkim_sign_message(q->key, out, why) == ST_OK)
			env = make_envelope(q, to, to_count);
	}
	if (env != NULL && is_8bit(out))
		env->flags |= ENVELOPE_8BITMIME;
	if (env == NULL)
		(void)str_copy(err, err_bytes, why);
	return env;
}
