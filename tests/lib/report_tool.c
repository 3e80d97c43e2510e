/*
 * For tests in other languages: what the report code makes, on standard
 * output.
 *
 *	report_tool json | gzip | mail | international
 *	report_tool sign KEYFILE SELECTOR DOMAIN  <MESSAGE
 *	report_tool find  <MESSAGE		the document in a mail
 *	report_tool gunzip MAX  <FILE		exit 3 when it is larger
 *	report_tool wire			a report in our own form
 *	report_tool page FILE ...		the page, with own data made up
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "policy/tlsrpt_doc.h"
#include "smtpd-out/mail/dkim.h"
#include "smtpd-out/mail/report_mail.h"
#include "smtpd-out/report/report_html.h"
#include "tests/unit/report_sample.h"

#define BIG (64U << 20)

static int
put(struct buf *out, enum status st)
{
	if (st == ST_OK)
		(void)fwrite(buf_data(out), 1, out->len, stdout);
	else
		(void)fprintf(stderr, "%s\n", status_name(st));
	buf_clear(out);
	return st == ST_OK ? 0 : st == ST_LIMIT ? 3 : 1;
}

static void
take(struct buf *in)
{
	char block[65536];
	size_t n;

	buf_init(in, BIG);
	while ((n = fread(block, 1, sizeof(block), stdin)) > 0)
		if (buf_put(in, block, n) != ST_OK)
			exit(1);
}

static int
mail(const char *from, const char *info)
{
	static const char *const to[] = { "tls-reports@rcpt.example",
		"other@collector.example" };
	struct report_mail in = { .submitter = "sender.example",
		.from = from, .to = to, .to_count = 2,
		.now_s = SAMPLE_DAY + 90000 };
	struct tlsrpt_report report;
	struct buf out;
	enum status st;

	report_sample(&report);
	report_sample_fail(&report, TLS_FAILURE_STARTTLS, "mx3.rcpt.example",
		info);
	in.report = &report;
	buf_init(&out, BIG);
	st = report_mail_format(&in, &out);
	tlsrpt_report_clear(&report);
	return put(&out, st);
}

static int
document(bool gzip)
{
	struct tlsrpt_report report;
	struct buf json, out;
	enum status st;

	report_sample(&report);
	buf_init(&json, BIG);
	buf_init(&out, BIG);
	st = tlsrpt_doc_format(&report, gzip ? &json : &out);
	if (gzip && st == ST_OK)
		st = tlsrpt_gzip(buf_data(&json), json.len, &out);
	buf_clear(&json);
	tlsrpt_report_clear(&report);
	return put(&out, st);
}

static int
sign(char **argv)
{
	struct dkim_identity id = { .key_file = argv[0], .selector = argv[1],
		.domain = argv[2] };
	struct dkim_key *key = NULL;
	char err[DKIM_ERR_MAX];
	struct buf message;
	enum status st;

	take(&message);
	st = dkim_key_open(&id, &key, err);
	if (st == ST_OK)
		st = dkim_sign_message(key, &message, err);
	if (st == ST_OK)
		(void)fprintf(stderr, "%s\n", dkim_key_algorithm(key));
	else
		(void)fprintf(stderr, "%s\n", err);
	dkim_key_close(&key);
	return put(&message, st);
}

static int
find(void)
{
	struct report_mail_facts facts;
	struct buf in, out;
	enum status st;

	take(&in);
	buf_init(&out, TLSRPT_DOC_MAX);
	st = report_mail_find(buf_data(&in), in.len, &out, &facts);
	(void)fprintf(stderr, "%s %s %s\n", facts.domain, facts.submitter,
		facts.file);
	buf_clear(&in);
	return put(&out, st);
}

static int
expand(const char *max)
{
	struct buf in, out;
	enum status st;

	take(&in);
	buf_init(&out, strtoul(max, NULL, 10));
	st = tlsrpt_gunzip(buf_data(&in), in.len, &out);
	buf_clear(&in);
	return put(&out, st);
}

static int
wire(void)
{
	struct tlsrpt_report report;
	struct buf out;
	enum status st;

	report_sample(&report);
	buf_init(&out, BIG);
	st = tlsrpt_report_encode(&report, &out);
	tlsrpt_report_clear(&report);
	return put(&out, st);
}

#define OWN_DOMAINS 4
#define OWN_DAYS 30

/* Some weeks of mail to some domains, one of which has a bad week. */
static void
make_own(struct tlsrpt_report *r, unsigned domain, unsigned day)
{
	static const char *const names[OWN_DOMAINS] = { "partner.example",
		"big.example", "legacy.example", "<i>odd</i>.example" };
	unsigned wave = (day % 7 < 5 ? 30 : 8) + (day * 7 + domain * 3) % 11;
	bool bad = domain == 0 && day > 20 && day < 27;

	tlsrpt_report_init(r, names[domain],
		SAMPLE_DAY - (OWN_DAYS - 1 - (int64_t)day) * TLSRPT_DAY_S);
	if (bad) {
		report_sample_fail(r, TLS_FAILURE_EXPIRED,
			"mx1.partner.example", "expired");
		report_sample_fail(r, TLS_FAILURE_EXPIRED,
			"mx2.partner.example", "expired");
	}
	if (domain == 3 && day == 9)
		report_sample_fail(r, TLS_FAILURE_STARTTLS,
			"<script>alert(1)</script>", "\"><img src=x>");
	report_sample_pass(r, wave * 4);
	memset(r->sessions, 0, sizeof(r->sessions));
	r->sessions[TLSRPT_ENDED_SECURED] = domain < 2 ? wave * 4 : 0;
	r->sessions[TLSRPT_ENDED_ENCRYPTED] = domain == 2 ? wave : 0;
	r->sessions[TLSRPT_ENDED_CLEAR] = domain == 2 ? wave / 6 : 0;
	r->sessions[TLSRPT_ENDED_FAILED] = bad ? wave / 3 : 0;
}

static int
page(char **paths, int count)
{
	static struct tlsrpt_report own[OWN_DOMAINS * OWN_DAYS];
	struct report_page p = { .host = "mail.example.org", .own = own,
		.own_count = OWN_DOMAINS * OWN_DAYS,
		.now_s = SAMPLE_DAY + 80000 };
	struct report_set set = { 0 };
	struct sink out;
	int status;

	for (unsigned i = 0; i < OWN_DOMAINS * OWN_DAYS; i++)
		make_own(&own[i], i % OWN_DOMAINS, i / OWN_DOMAINS);
	for (int i = 0; i < count; i++)
		report_set_add(&set, paths[i]);
	p.received = set.items;
	p.received_count = set.count;
	sink_init(&out, BIG);
	report_html(&p, &out);
	status = put(&out.buf, out.full ? ST_LIMIT : ST_OK);
	report_set_clear(&set);
	for (unsigned i = 0; i < OWN_DOMAINS * OWN_DAYS; i++)
		tlsrpt_report_clear(&own[i]);
	return status;
}

int
main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "json") == 0 || strcmp(what, "gzip") == 0)
		return document(what[0] == 'g');
	if (strcmp(what, "mail") == 0)
		return mail("reports@sender.example", "no STARTTLS");
	if (strcmp(what, "international") == 0)
		return mail("reports@sender.example", "\xc3\xa9t\xc3\xa9");
	if (strcmp(what, "sign") == 0 && argc == 5)
		return sign(argv + 2);
	if (strcmp(what, "find") == 0)
		return find();
	if (strcmp(what, "gunzip") == 0 && argc == 3)
		return expand(argv[2]);
	if (strcmp(what, "wire") == 0)
		return wire();
	if (strcmp(what, "page") == 0)
		return page(argv + 2, argc - 2);
	return 2;
}
