/*
 * Making the mail that carries a report (RFC 8460 section 5.3, 5.4).
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sink.h"
#include "policy/tlsrpt_doc.h"
#include "smtpd-out/mail/report_mail.h"
#include "smtpd-out/mail/report_words.h"

#define WORDS_MAX (1024U * 1024)
#define GZIP_MAX (1024U * 1024)

static bool
address_ok(const char *address)
{
	char domain[STR_DOMAIN_MAX];
	size_t local;
	bool utf8;

	return address != NULL && strpbrk(address, "<>") == NULL &&
		str_address(address, &local, domain, &utf8) == ST_OK;
}

/* An id stands between < and > in the header (RFC 5322 3.6.4). */
static bool
id_ok(const char *id)
{
	return id != NULL && id[0] != '\0' && strlen(id) < 600 &&
		str_is_ascii(id) && strpbrk(id, " <>\t\r\n\"(),;:\\[]") == NULL;
}

static bool
input_ok(const struct report_mail *in)
{
	const struct tlsrpt_report *r = in->report;

	for (size_t i = 0; i < in->to_count; i++)
		if (!address_ok(in->to[i]))
			return false;
	return in->to_count > 0 && address_ok(in->from) && id_ok(r->id) &&
		r->domain != NULL && str_is_domain(r->domain) &&
		str_is_domain(in->submitter);
}

static void
put_addresses(const struct report_mail *in, struct sink *out)
{
	for (size_t i = 0; i < in->to_count; i++)
		sink_printf(out, "%s<%s>%s\r\n", i == 0 ? "To: " : " ",
			in->to[i], i + 1 < in->to_count ? "," : "");
}

static void
put_header(const struct report_mail *in, const char *boundary,
	struct sink *out)
{
	char *subject = tlsrpt_doc_subject(in->report, in->submitter);
	char date[40];

	str_date(in->now_s, date);
	sink_printf(out, "Date: %s\r\nFrom: TLS reports <%s>\r\n", date,
		in->from);
	put_addresses(in, out);
	sink_field(out, "Subject", subject);
	sink_printf(out, "Message-ID: <%s>\r\n", in->report->id);
	sink_printf(out, "TLS-Report-Domain: %s\r\n", in->report->domain);
	sink_printf(out, "TLS-Report-Submitter: %s\r\n", in->submitter);
	sink_printf(out, "TLS-Required: No\r\n"
		"Auto-Submitted: auto-generated\r\n"
		"MIME-Version: 1.0\r\n"
		"Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n"
		" boundary=\"%s\"\r\n\r\n"
		"This is a MIME-encapsulated message.\r\n", boundary);
	free(subject);
}

static void
put_words(const struct report_mail *in, const char *boundary, struct sink *out)
{
	struct sink text;
	bool ascii;

	sink_init(&text, WORDS_MAX);
	report_words(in->report, in->submitter, &text);
	ascii = sink_is_ascii(&text);
	sink_printf(out, "\r\n--%s\r\n"
		"Content-Type: text/plain; charset=%s\r\n"
		"Content-Transfer-Encoding: %s\r\n\r\n", boundary,
		ascii ? "us-ascii" : "utf-8",
		ascii ? "7bit" : "quoted-printable");
	if (ascii)
		sink_put(out, buf_data(&text.buf), text.buf.len);
	else
		sink_quoted_printable(out, buf_data(&text.buf), text.buf.len);
	out->full = out->full || text.full;
	sink_clear(&text);
}

static void
put_document(const struct report_mail *in, const char *boundary,
	const struct buf *gzip, struct sink *out)
{
	char *file = tlsrpt_doc_file(in->report, in->part, in->submitter);

	sink_printf(out, "\r\n--%s\r\n"
		"Content-Type: application/tlsrpt+gzip;\r\n"
		" name=\"%s\"\r\n"
		"Content-Transfer-Encoding: base64\r\n"
		"Content-Disposition: attachment;\r\n"
		" filename=\"%s\"\r\n\r\n", boundary, file, file);
	sink_base64(out, buf_data(gzip), gzip->len);
	sink_printf(out, "\r\n--%s--\r\n", boundary);
	free(file);
}

static enum status
make_document(const struct tlsrpt_report *report, struct buf *gzip)
{
	struct buf json;
	enum status st;

	buf_init(&json, TLSRPT_DOC_MAX);
	st = tlsrpt_doc_format(report, &json);
	if (st == ST_OK)
		st = tlsrpt_gzip(buf_data(&json), json.len, gzip);
	buf_clear(&json);
	return st;
}

/* "=_" is neither in base64 nor in quoted-printable; in plain words, what
 * others said never stands at the start of a line. */
static void
make_boundary(const struct buf *gzip, char out[40])
{
	const uint8_t *bytes = buf_data(gzip);
	uint64_t hash = 0xcbf29ce484222325;

	for (size_t i = 0; i < gzip->len; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3;
	(void)snprintf(out, 40, "=_tlsrpt.%016llx", (unsigned long long)hash);
}

enum status
report_mail_format(const struct report_mail *in, struct buf *out)
{
	struct sink sink;
	struct buf gzip;
	char boundary[40];
	enum status st;

	if (!input_ok(in))
		return ST_PARSE;
	buf_init(&gzip, GZIP_MAX);
	sink_init(&sink, out->max_bytes);
	st = make_document(in->report, &gzip);
	if (st == ST_OK) {
		make_boundary(&gzip, boundary);
		put_header(in, boundary, &sink);
		put_words(in, boundary, &sink);
		put_document(in, boundary, &gzip, &sink);
		st = sink.full ? ST_LIMIT :
			buf_put(out, buf_data(&sink.buf), sink.buf.len);
	}
	sink_clear(&sink);
	buf_clear(&gzip);
	return st;
}
